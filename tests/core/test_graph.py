"""ONNX graphs read, rewritten and written by hand, beside the onnx package and ONNX Runtime."""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from colbert_qdrant.embedding.graph.int8 import by_row, products, quantised_by_column
from colbert_qdrant.embedding.graph.model import Graph, read_model, write_model
from colbert_qdrant.embedding.graph.projected import TOKEN_VECTORS, projected
from colbert_qdrant.embedding.graph.tensors import constant
from colbert_qdrant.embedding.graph.tidy import tidied
from colbert_qdrant.embedding.graph.wire import MalformedMessage

RANDOM = np.random.RandomState(0)
SHAPE = (2, 5, 64)


def model(nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray], *, opset: int = 17) -> onnx.ModelProto:
    """A model from ``x``, float32 of `SHAPE`, to ``y``."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None] * len(SHAPE))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def read(proto: onnx.ModelProto) -> Graph:
    return read_model(memoryview(proto.SerializeToString()))


def run(graph: Graph | onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    content = b"".join(write_model(graph)) if isinstance(graph, Graph) else graph.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def floats(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


def test_a_model_that_is_read_and_written_is_the_same_model(tiny_folder: Path) -> None:
    original = onnx.load(tiny_folder / "model.onnx")
    written = onnx.load_from_string(b"".join(write_model(read(original))))

    del written.opset_import[-1]  # ONNX Runtime's own operators are always declared
    del original.graph.value_info[:], written.graph.value_info[:]
    assert [(n.op_type, n.input, n.output, n.attribute) for n in written.graph.node] == [
        (n.op_type, n.input, n.output, n.attribute) for n in original.graph.node
    ]
    assert {t.name: t.SerializeToString() for t in written.graph.initializer} == {
        t.name: t.SerializeToString() for t in original.graph.initializer
    }
    assert (written.graph.input, written.graph.output) == (original.graph.input, original.graph.output)
    assert written.ir_version == original.ir_version


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("values", [floats(3, 4), np.array([[-1, 2**40]]), np.array(-3, np.int32)])
def test_tensors_are_read_however_they_are_written(values: np.ndarray, raw: bool) -> None:
    kind = helper.np_dtype_to_tensor_dtype(values.dtype)
    content = values.tobytes() if raw else values.ravel().tolist()
    proto = helper.make_model(
        helper.make_graph([], "g", [], [], [helper.make_tensor("t", kind, values.shape, content, raw)])
    )

    np.testing.assert_array_equal(read(proto).initializers["t"].array(), values)


def test_bytes_that_are_no_model_are_refused_and_nothing_else_happens(tiny_folder: Path) -> None:
    proto = onnx.load(tiny_folder / "model.onnx")
    del proto.graph.initializer[:]
    whole = proto.SerializeToString()
    chance = random.Random(0)
    for _ in range(100):
        damaged = bytearray(whole[: chance.randrange(1, len(whole))] if chance.random() < 0.5 else whole)
        for _ in range(chance.randrange(1, 5)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        with suppress(MalformedMessage):
            by_row(tidied(read_model(memoryview(damaged))))


def test_a_weight_of_another_size_than_its_shape_is_refused() -> None:
    tensor = onnx.TensorProto(name="t", data_type=TensorProto.FLOAT, dims=[2, 2], raw_data=b"\0" * 12)

    with pytest.raises(MalformedMessage, match=r"t has 3 values, its shape is \[2, 2\]"):
        read(helper.make_model(helper.make_graph([], "g", [], [], [tensor]))).initializers["t"].array()


def test_weights_outside_of_the_folder_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"\0" * 16)
    (tmp_path / "model").mkdir()
    tensor = onnx.TensorProto(name="t", data_type=TensorProto.FLOAT, dims=[2, 2], data_location=1)
    tensor.external_data.add(key="location", value="../secret")
    content = helper.make_model(helper.make_graph([], "g", [], [], [tensor])).SerializeToString()

    with pytest.raises(MalformedMessage, match="from where it is not read"):
        read_model(memoryview(content), tmp_path / "model").initializers["t"].array()


WEIGHTS, BIAS = floats(64, 48) / 8, floats(48)
KINDS: dict[str, tuple[list[onnx.NodeProto], dict[str, np.ndarray]]] = {
    "MatMul": ([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": WEIGHTS}),
    "Gemm": (
        [
            helper.make_node("Flatten", ["x"], ["flat"], axis=2),
            helper.make_node("Gemm", ["flat", "w", "b"], ["y"], alpha=0.5, transB=1),
        ],
        {"w": np.ascontiguousarray(WEIGHTS.T), "b": BIAS},
    ),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("opset", [11, 13, 17, 18, 21])
def test_a_product_by_row_is_near_the_exact_one(kind: str, opset: int) -> None:
    exact, x = model(*KINDS[kind], opset=opset), floats(*SHAPE)

    np.testing.assert_allclose(run(by_row(read(exact)), x), run(exact, x), atol=0.05)


@pytest.mark.parametrize("opset", [13, 18, 20])
def test_what_a_gelu_gives_has_most_of_its_steps_above_zero(opset: int) -> None:
    gelu = helper.make_node("Gelu", ["x"], ["a"], domain="" if opset >= 20 else "com.microsoft")
    product = helper.make_node("MatMul", ["a", "w"], ["y"])
    proto = model([gelu, product], {"w": WEIGHTS}, opset=opset)
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    both_sides = model([helper.make_node("Identity", ["x"], ["a"]), product], {"w": WEIGHTS}, opset=opset)
    x = floats(*SHAPE)
    gelus = run(model([helper.make_node("Gelu", ["x"], ["y"])], {}, opset=20), x)
    exact = gelus @ WEIGHTS

    ours, symmetric = run(by_row(read(proto)), x) - exact, run(by_row(read(both_sides)), gelus) - exact
    assert np.square(ours).mean() < 0.9 * np.square(symmetric).mean()


def test_no_two_weights_overflow_16_bits() -> None:
    for weights in (floats(64, 48), floats(63, 48), np.abs(floats(64, 48)), np.ones((2, 2), np.float32)):
        steps = quantised_by_column(weights)[0].astype(int)
        pairs = [
            (steps[row : row + 2] * (steps[row : row + 2] * sign > 0)).sum(axis=0)
            for row in range(0, len(steps), 2)
            for sign in (1, -1)
        ]

        assert 126 <= np.abs(pairs).max(axis=0).min() <= np.abs(pairs).max() <= 128


def test_this_processor_adds_up_without_error() -> None:
    steps = quantised_by_column(np.abs(floats(64, 48)))[0]
    sums = model(
        [
            helper.make_node("Cast", ["x"], ["u"], to=TensorProto.UINT8),
            helper.make_node("MatMulInteger", ["u", "w"], ["s"]),
            helper.make_node("Cast", ["s"], ["y"], to=TensorProto.FLOAT),
        ],
        {"w": steps},
    )

    x = np.full(SHAPE, 255, np.float32)
    np.testing.assert_array_equal(run(sums, x), x @ steps.astype(np.float32))


def test_a_row_of_zeros_stays_one() -> None:
    x = floats(*SHAPE)
    x[0, 1] = 0
    y = run(by_row(read(model(*KINDS["MatMul"]))), x)

    assert not y[0, 1].any()
    assert np.isfinite(y).all()


def test_rows_do_not_depend_on_each_other() -> None:
    x = floats(*SHAPE)
    louder = x.copy()
    louder[1] *= 1000
    graph = by_row(read(model(*KINDS["MatMul"])))

    np.testing.assert_array_equal(run(graph, x)[0], run(graph, louder)[0])


def test_what_several_products_share_is_quantised_once() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["one"]),
        helper.make_node("MatMul", ["x", "v"], ["other"]),
        helper.make_node("Add", ["one", "other"], ["y"]),
    ]
    graph = by_row(read(model(nodes, {"w": WEIGHTS, "v": floats(64, 48)})))

    operators = [node.operator for node in graph.nodes]
    assert (operators.count("QuantizeLinear"), operators.count("MatMulIntegerToFloat")) == (1, 2)


def test_weights_that_were_replaced_are_dropped_and_shared_ones_kept() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["product"]),
        helper.make_node("ReduceSum", ["w"], ["sum"], keepdims=0),
        helper.make_node("Add", ["product", "sum"], ["y"]),
    ]

    assert "w" not in by_row(read(model(*KINDS["MatMul"]))).initializers
    assert "w" in by_row(read(model(nodes, {"w": WEIGHTS}))).initializers


def test_small_products_and_products_of_activations_stay() -> None:
    nodes = [helper.make_node("MatMul", ["x", "x"], ["s"]), helper.make_node("MatMul", ["s", "w"], ["y"])]

    assert products(read(model(nodes, {"w": floats(64, 8)}))) == []


def test_operators_from_before_opset_11_are_refused() -> None:
    with pytest.raises(MalformedMessage, match="opset 10"):
        by_row(read(model(*KINDS["MatMul"], opset=10)))


def test_quantised_weights_are_within_half_a_step() -> None:
    steps, scales = quantised_by_column(WEIGHTS)

    np.testing.assert_allclose(steps * scales, WEIGHTS, atol=scales.max() / 2 * 1.001)


HALF, ONE, ROOT = (np.array(value, np.float32) for value in (0.5, 1, np.sqrt(2)))
GELUS = {
    "half last": ["Div x root a", "Erf a b", "Add b one c", "Mul x c d", "Mul d half y"],
    "half first": ["Div x root a", "Erf a b", "Add one b c", "Mul half x d", "Mul d c y"],
    "half in between": ["Mul x inverse a", "Erf a b", "Add b one c", "Mul c half d", "Mul d x y"],
}


@pytest.mark.parametrize("kind", GELUS)
def test_a_gelu_spelled_out_becomes_one(kind: str) -> None:
    words = [line.split() for line in GELUS[kind]]
    nodes = [helper.make_node(operator, inputs, [output]) for operator, *inputs, output in words]
    constants = {"half": HALF, "one": ONE, "root": ROOT, "inverse": (1 / ROOT).astype(np.float32)}
    used = {name: constants[name] for name in constants if any(name in node.input for node in nodes)}
    proto, x = model(nodes, used), floats(*SHAPE)
    graph = tidied(read(proto))

    assert [node.operator for node in graph.nodes] == ["Gelu"]
    np.testing.assert_allclose(run(graph, x), run(proto, x), atol=1e-6)


def test_what_only_looks_like_a_gelu_stays() -> None:
    nodes = [
        helper.make_node("Div", ["x", "root"], ["a"]),
        helper.make_node("Erf", ["a"], ["b"]),
        helper.make_node("Add", ["b", "half"], ["c"]),
        helper.make_node("Mul", ["x", "c"], ["d"]),
        helper.make_node("Mul", ["d", "half"], ["y"]),
    ]

    assert len(tidied(read(model(nodes, {"root": ROOT, "half": HALF}))).nodes) == 5


ZERO = np.array(0, np.float32)
ATTENTION = ["Softmax x s", "IsNaN s nan", "Where nan zero s guarded", "MatMul guarded values a", "Transpose a y"]


def attention(lines: list[str], *, is_node: bool = False) -> onnx.ModelProto:
    nodes = [helper.make_node(line.split()[0], line.split()[1:-1], line.split()[-1:]) for line in lines]
    constants = {"zero": ZERO, "values": np.linspace(-1, 1, 64 * 8, dtype=np.float32).reshape(64, 8)}
    if is_node:
        nodes.insert(
            0, helper.make_node("Constant", [], ["zero"], value=numpy_helper.from_array(constants.pop("zero")))
        )
    return model(nodes, constants)


@pytest.mark.parametrize("is_node", [False, True])
def test_a_guard_stands_behind_what_is_attended_to_and_still_acts(is_node: bool) -> None:
    """A token whose layer looks at padding alone attends to nothing, and NaNs of it would spread to all others."""
    proto, x = attention(ATTENTION, is_node=is_node), np.sin(np.arange(640, dtype=np.float32)).reshape(SHAPE)
    x[0, 2:4] = -np.inf
    graph = tidied(read(proto))

    assert [node.operator for node in graph.nodes][-5:] == ["Softmax", "MatMul", "Transpose", "IsNaN", "Where"]
    assert np.isfinite(run(proto, x)).all()
    np.testing.assert_array_equal(run(graph, x), run(proto, x))


@pytest.mark.parametrize(
    "lines",
    [
        [*ATTENTION[:3], "Add guarded zero y"],
        [*ATTENTION[:2], "Where nan x s guarded", *ATTENTION[3:]],
        [*ATTENTION[:3], "MatMul guarded values a", "ReduceSum guarded b", "Mul a b y"],
    ],
)
def test_a_guard_that_can_not_be_moved_stays(lines: list[str]) -> None:
    assert [node.operator for node in tidied(read(attention(lines))).nodes] == [line.split()[0] for line in lines]


@pytest.mark.parametrize("bias", [None, floats(16)])
def test_linear_layers_are_put_at_the_end(bias: np.ndarray | None) -> None:
    proto, x = model([helper.make_node("Abs", ["x"], ["y"])], {}), floats(*SHAPE)
    first, second = floats(32, 64), floats(16, 32)
    graph = projected(read(proto), "y", [(first, None), (second, bias)])

    assert list(graph.outputs) == [TOKEN_VECTORS]
    np.testing.assert_allclose(run(graph, x), np.abs(x) @ first.T @ second.T + (0 if bias is None else bias), rtol=1e-4)


def test_constants_are_written_as_the_onnx_package_writes_them() -> None:
    values = floats(2, 3)
    proto = onnx.TensorProto.FromString(b"".join(constant("t", values).message))

    np.testing.assert_array_equal(numpy_helper.to_array(proto), values)
    assert proto.name == "t"
