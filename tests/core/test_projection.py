"""The projection a checkpoint keeps beside its graph, and the files its weights are in."""

from __future__ import annotations

import json
import math
import os
import pickle
import shutil
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from colbert_qdrant.embedding.projection import Dense, Projection, read_projection
from colbert_qdrant.embedding.weights import read_weights
from colbert_qdrant.errors import InvalidModel

CHECKPOINTS = Path(__file__).parents[1] / "data" / "checkpoints"
IDENTITY = "torch.nn.modules.linear.Identity"
NUMPY_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8"}


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_safetensors(path: Path, tensors: dict[str, npt.NDArray[Any]], dtype: str = "F32") -> Path:
    header, data = {}, b""
    for name, tensor in tensors.items():
        if dtype == "BF16":
            raw = (tensor.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
        else:
            raw = tensor.astype(NUMPY_TYPES[dtype]).tobytes()
        header[name] = {"dtype": dtype, "shape": tensor.shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    encoded = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(len(encoded).to_bytes(8, "little") + encoded + data)
    return path


def write_dense(folder: Path, index: int, tensors: dict[str, npt.NDArray[Any]], **config: object) -> Path:
    name = f"{index}_Dense"
    modules = [{"type": "pylate.models.Dense.Dense", "path": f"{i}_Dense"} for i in range(1, index + 1)]
    write_json(folder / "modules.json", modules)
    write_json(folder / name / "config.json", {"bias": False, "activation_function": IDENTITY, **config})
    write_safetensors(folder / name / "model.safetensors", tensors)
    return folder


def test_a_folder_without_layers_has_no_projection(tmp_path: Path) -> None:
    assert read_projection(tmp_path) is None


def test_layers_are_applied_in_the_order_of_the_list(tmp_path: Path) -> None:
    write_dense(tmp_path, 1, {"linear.weight": np.array([[1, 0], [0, 1], [1, 1]])})
    write_dense(tmp_path, 2, {"linear.weight": np.array([[0, 0, 2]]), "linear.bias": np.array([0.5])}, bias=True)

    projection = read_projection(tmp_path)

    assert projection is not None
    assert (projection.dim_in, projection.dim_out) == (2, 1)
    assert projection(np.float32([[3, 4]])).tolist() == [[14.5]]


def test_a_residual_is_the_rows_themselves_where_the_length_stays(tmp_path: Path) -> None:
    folder = write_dense(tmp_path, 1, {"linear.weight": np.array([[0, 1], [0, 0]])}, use_residual=True)

    projection = read_projection(folder)

    assert projection is not None
    assert projection(np.float32([[3, 4]])).tolist() == [[7, 4]]


@pytest.mark.parametrize(
    ("name", "exact"),
    [
        ("linear.Identity", lambda x: x),
        ("activation.Tanh", math.tanh),
        ("activation.ReLU", lambda x: max(x, 0)),
        ("activation.GELU", lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2),
        ("activation.Sigmoid", lambda x: 1 / (1 + math.exp(-x))),
        ("activation.SiLU", lambda x: x / (1 + math.exp(-x))),
        ("activation.ELU", lambda x: x if x > 0 else math.expm1(x)),
        ("activation.Hardswish", lambda x: x * min(max(x + 3, 0), 6) / 6),
        ("activation.LeakyReLU", lambda x: x if x > 0 else x / 100),
        ("activation.Mish", lambda x: x * math.tanh(math.log1p(math.exp(x)))),
        ("activation.Softplus", lambda x: math.log1p(math.exp(x))),
    ],
)
def test_activations_are_those_of_torch(tmp_path: Path, name: str, exact: Callable[[float], float]) -> None:
    folder = write_dense(tmp_path, 1, {"linear.weight": np.eye(1)}, activation_function=f"torch.nn.modules.{name}")
    numbers = [-90.0, -3.0, -0.5, 0.0, 0.1, 2.0, 90.0]

    projection = read_projection(folder)

    assert projection is not None
    activated = projection(np.float32(numbers)[:, None])[:, 0]
    assert activated.dtype == np.float32
    np.testing.assert_allclose(activated, [exact(x) for x in numbers], atol=1e-6)


def test_layers_behind_a_pooling_are_not_for_tokens(tmp_path: Path) -> None:
    write_dense(tmp_path, 1, {"linear.weight": np.eye(2)})
    kinds = ["models.Transformer", "models.Pooling", "models.Dense"]
    modules = [{"type": f"sentence_transformers.{kind}", "path": "1_Dense"} for kind in kinds]
    write_json(tmp_path / "modules.json", modules)

    assert read_projection(tmp_path) is None


def test_stanfords_layer_is_found_among_the_encoders_weights() -> None:
    projection = read_projection(CHECKPOINTS / "stanford-bert")

    assert projection is not None
    assert (projection.dim_in, projection.dim_out) == (32, 16)


def test_bges_head_maps_rows_as_torch_does() -> None:
    golden = np.load(CHECKPOINTS / "bge-head" / "golden.npz")

    projection = read_projection(CHECKPOINTS / "bge-head")

    assert projection is not None
    np.testing.assert_allclose(projection(golden["rows"]), golden["projected"], atol=1e-6)


@pytest.mark.parametrize("content", ['[{"path": "1_Dense"}]', "[1]", "7", "not JSON"])
def test_a_broken_list_of_modules_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "modules.json").write_text(content)

    with pytest.raises(InvalidModel, match=r"modules\.json"):
        read_projection(tmp_path)


@pytest.mark.parametrize("activation", ["torch.nn.modules.activation.Softmax", "os.Tanh", "Tanh", None])
def test_an_unknown_activation_is_named_with_its_file(tmp_path: Path, activation: str | None) -> None:
    folder = write_dense(tmp_path, 1, {"linear.weight": np.eye(2)}, activation_function=activation)

    with pytest.raises(InvalidModel, match=rf"1_Dense.config.json asks for the activation '{activation or ''}'"):
        read_projection(folder)


@pytest.mark.parametrize(
    ("tensors", "config"),
    [
        ({"linear.weight": np.ones(4)}, {}),
        ({"linear.weight": np.ones((3, 4)), "linear.bias": np.ones(4)}, {"bias": True}),
        ({"linear.weight": np.ones((3, 4)), "residual.weight": np.ones((4, 3))}, {"use_residual": True}),
        ({"linear.weight": np.ones((3, 4))}, {"bias": True}),
        ({"linear.weight": np.ones((3, 4))}, {"use_residual": True}),
        ({"weight": np.ones((3, 4))}, {}),
    ],
)
def test_weights_that_do_not_make_a_layer_are_named_with_their_file(
    tmp_path: Path, tensors: dict[str, npt.NDArray[Any]], config: dict[str, object]
) -> None:
    folder = write_dense(tmp_path, 1, tensors, **config)

    with pytest.raises(InvalidModel, match=r"1_Dense.model.safetensors"):
        read_projection(folder)


def test_layers_that_do_not_fit_each_other_are_refused(tmp_path: Path) -> None:
    write_dense(tmp_path, 1, {"linear.weight": np.ones((3, 4))})
    write_dense(tmp_path, 2, {"linear.weight": np.ones((2, 5))})

    with pytest.raises(InvalidModel, match="gives 3 numbers and the next takes 5"):
        read_projection(tmp_path)


def test_a_layer_without_weights_is_named(tmp_path: Path) -> None:
    folder = write_dense(tmp_path, 1, {"linear.weight": np.eye(2)})
    (folder / "1_Dense" / "model.safetensors").unlink()

    with pytest.raises(InvalidModel, match=r"1_Dense has no model\.safetensors"):
        read_projection(folder)


def layers(dim_out: int, dim_in: int) -> Projection:
    return Projection((Dense(np.ones((dim_out, dim_in), dtype=np.float32), None, lambda rows: rows),))


@pytest.mark.parametrize(
    ("projection", "output", "width", "missing"),
    [
        (layers(96, 384), "last_hidden_state", 384, True),
        (layers(96, 384), "contextual", 96, False),
        (layers(1024, 1024), "token_embeddings", 1024, True),
        (layers(1024, 1024), "colbert_vecs", 1024, False),
    ],
)
def test_the_graph_itself_says_whether_the_projection_is_missing(
    projection: Projection, output: str, width: int, missing: bool
) -> None:
    assert projection.is_missing_from(output, width) is missing


def test_a_projection_of_another_encoder_is_refused() -> None:
    with pytest.raises(InvalidModel, match="rows of 768 numbers, the checkpoint's projection maps 384 to 96"):
        layers(96, 384).is_missing_from("last_hidden_state", 768)


# The weight files


@pytest.mark.parametrize("dtype", ["F64", "F32", "F16", "BF16"])
def test_safetensors_of_every_float_are_read_as_float32(tmp_path: Path, dtype: str) -> None:
    tensor = np.array([[1.5, -2.0, 0.25], [0.0, 96.0, -0.5]])
    path = write_safetensors(tmp_path / "w.safetensors", {"other": np.ones(3), "a": tensor}, dtype)

    weights = read_weights(path, ["a", "absent"])

    assert weights.keys() == {"a"}
    assert weights["a"].dtype == np.float32
    np.testing.assert_array_equal(weights["a"], tensor)


def test_a_small_tensor_of_a_large_file_is_read_alone(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    header = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [2**36, 2**36 + 8]}}).encode()
    with path.open("wb") as file:  # sparse: 64 GB on paper
        file.write(len(header).to_bytes(8, "little") + header)
        file.seek(2**36, os.SEEK_CUR)
        file.write(np.float32([1, 2]).tobytes())

    assert read_weights(path, ["a"])["a"].tolist() == [1, 2]


def spoilt(content: bytes, **changes: object) -> bytes:
    """Change the entry of tensor ``a`` in a safetensors file."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["a"] |= changes
    encoded = json.dumps(header).encode()
    return len(encoded).to_bytes(8, "little") + encoded + content[8 + length :]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: b"",
        lambda content: content[:-1],
        lambda content: b"version https://git-lfs.github.com/spec/v1",
        lambda content: content.replace(b"{", b"[", 1),
        lambda content: spoilt(content, data_offsets=[0, 99]),
        lambda content: spoilt(content, data_offsets=[-4, 12]),
        lambda content: spoilt(content, data_offsets=[8, 0]),
        lambda content: spoilt(content, shape=[3, 3]),
        lambda content: spoilt(content, shape=None),
        lambda content: spoilt(content, dtype="I64"),
    ],
)
def test_a_damaged_safetensors_file_is_named(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    path = write_safetensors(tmp_path / "w.safetensors", {"a": np.ones((2, 2))})
    path.write_bytes(spoil(path.read_bytes()))

    with pytest.raises(InvalidModel, match=r"w\.safetensors can't be read as weights"):
        read_weights(path, ["a"])


class Call:
    """Pickles as a call of `function`: how a harmful file runs code on being loaded."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return self.call


def write_torch(path: Path, state: object) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(state, protocol=2))
    return path


@pytest.mark.parametrize("run", [os.mkdir, eval, getattr, np.frombuffer, shutil.rmtree])
def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path, run: Callable[..., Any]) -> None:
    path = write_torch(tmp_path / "colbert_linear.pt", OrderedDict(weight=Call(run, str(tmp_path / "made"))))

    with pytest.raises(InvalidModel, match=f"colbert_linear.pt.*it asks for .*{run.__name__}"):
        read_weights(path, ["weight"])

    assert os.listdir(tmp_path) == ["colbert_linear.pt"]


@pytest.mark.parametrize("state", [7, OrderedDict(weight=7), OrderedDict(weight=((("F32", "0"), 0, (2,), (1,))))])
def test_a_pickle_without_tensors_is_refused(tmp_path: Path, state: object) -> None:
    path = write_torch(tmp_path / "colbert_linear.pt", state)

    with pytest.raises(InvalidModel, match="can't be read as weights"):
        read_weights(path, ["weight"])


def test_a_file_of_torch_that_ends_early_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "colbert_linear.pt"
    with zipfile.ZipFile(CHECKPOINTS / "bge-head" / path.name) as whole, zipfile.ZipFile(path, "w") as part:
        for name in whole.namelist():
            part.writestr(name, whole.read(name)[: 64 if name.endswith("data/0") else None])

    with pytest.raises(InvalidModel, match="can't be read as weights"):
        read_weights(path, ["weight", "bias"])


def test_torchs_old_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "colbert_linear.pt"
    path.write_bytes(pickle.dumps({"weight": 1}))

    with pytest.raises(InvalidModel, match="not a zip file"):
        read_weights(path, ["weight"])


def test_whole_numbers_beside_weights_are_passed_over_and_not_read() -> None:
    """Older versions of transformers save the positions too."""
    path = Path(__file__).parents[1] / "data" / "exports" / "stanford" / "pytorch_model.bin"

    assert read_weights(path, ["linear.weight"])["linear.weight"].shape == (16, 32)
    with pytest.raises(InvalidModel, match="numbers of type 'I64' are no weights"):
        read_weights(path, ["bert.embeddings.position_ids"])
