"""ColBERT-shaped ONNX models with random weights, made in about a second: tests need neither a hub nor torch.

The graph is what exporting a BERT gives (post-LN, gelu by erf, learned positions, additive attention mask)
with ColBERT's projection on top, as in colbert-ir/colbertv2.0's ``model.onnx``. Beside it lie the files that
such a checkpoint ships, with the uncased BERT vocabulary of all-MiniLM-L6-v2.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

CHECKPOINT = Path(__file__).parents[1] / "core/colbert_qdrant/embedding/data/all-MiniLM-L6-v2"


def build_colbert(
    folder: Path,
    *,
    hidden: int = 64,
    layers: int = 2,
    heads: int = 4,
    intermediate: int = 128,
    dim: int = 128,
    positions: int = 512,
    token_type_ids: bool = False,
    normalize: bool = True,
    output_name: str = "contextual",
    seed: int = 0,
) -> Path:
    """Write a ColBERT checkpoint with random weights and return its folder.

    Parameters
    ----------
    folder
        Created when missing. Receives ``model.onnx``, the tokenizer's files, ``config.json`` and Stanford's
        ``artifact.metadata`` (query marker [unused0], document marker [unused1], lengths 32 and 180).
    hidden, layers, heads, intermediate, dim
        The shape: answerai-colbert-small-v1 is 384, 12, 12, 1536, 96; colbertv2.0 is 768, 12, 12, 3072, 128.
    positions
        Tokens that the encoder reads at most.
    token_type_ids
        Whether the graph has that input; without it the segment is 0, as in colbertv2.0's graph.
    normalize
        Whether the graph itself gives its ``(batch, tokens, dim)`` output rows length 1.
    """
    config = json.loads((CHECKPOINT / "config.json").read_text(encoding="utf-8"))
    config |= {
        "_name_or_path": "random weights",
        "architectures": ["HF_ColBERT"],
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": intermediate,
        "max_position_embeddings": positions,
    }
    graph = _Graph(seed)
    states = _bert(graph, config, token_type_ids=token_type_ids)
    return _finished(folder, graph, states, config, dim, token_type_ids, normalize, output_name)


def build_modern_colbert(
    folder: Path,
    *,
    hidden: int = 64,
    layers: int = 2,
    heads: int = 4,
    intermediate: int = 96,
    dim: int = 128,
    positions: int = 512,
    seed: int = 0,
) -> Path:
    """Write a checkpoint of ModernBERT's layers with random weights: rotary positions, gated units, norms first.

    https://arxiv.org/abs/2412.13663, section 2.1.
    """
    config = json.loads((CHECKPOINT / "config.json").read_text(encoding="utf-8"))
    config |= {
        "_name_or_path": "random weights",
        "architectures": ["HF_ColBERT"],
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": intermediate,
        "max_position_embeddings": positions,
    }
    graph = _Graph(seed)
    return _finished(folder, graph, _modern_bert(graph, config), config, dim, False, True, "contextual")


def _finished(
    folder: Path,
    graph: _Graph,
    states: str,
    config: dict[str, int],
    dim: int,
    token_type_ids: bool,
    normalize: bool,
    output_name: str,
) -> Path:
    """Put the projection on top, and write the graph and what lies beside it."""
    hidden, positions = config["hidden_size"], config["max_position_embeddings"]
    projected = graph.add("MatMul", states, graph.weights("linear.weight", (hidden, dim)))
    if normalize:
        length = graph.add("ReduceL2", projected, axes=[-1], keepdims=1)
        projected = graph.add("Div", projected, graph.add("Max", length, graph.constant(1e-12)))
    graph.add("Identity", projected, outputs=[output_name])

    folder.mkdir(parents=True, exist_ok=True)
    inputs = ["input_ids", "attention_mask", *(["token_type_ids"] if token_type_ids else [])]
    onnx.save(graph.model(inputs, output_name, dim), folder / "model.onnx")
    for name in ("tokenizer.json", "special_tokens_map.json"):
        shutil.copyfile(CHECKPOINT / name, folder / name)
    tokenizer = json.loads((CHECKPOINT / "tokenizer_config.json").read_text(encoding="utf-8"))
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer | {"model_max_length": positions}))
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    (folder / "artifact.metadata").write_text(json.dumps(_metadata(dim), indent=4), encoding="utf-8")
    return folder


def weights_sha256(folder: Path) -> str:
    """Return the fingerprint of the weights alone: the bytes of the file also hold the writer's version."""
    digest = hashlib.sha256()
    for tensor in onnx.load(folder / "model.onnx").graph.initializer:
        digest.update(f"{tensor.name} {list(tensor.dims)} ".encode())
        digest.update(numpy_helper.to_array(tensor).tobytes())
    return digest.hexdigest()


def _metadata(dim: int) -> dict[str, object]:
    """As ColBERTConfig saves it: https://github.com/stanford-futuredata/ColBERT (colbert/infra/config)."""
    return {
        "query_token_id": "[unused0]",
        "doc_token_id": "[unused1]",
        "query_token": "[Q]",
        "doc_token": "[D]",
        "query_maxlen": 32,
        "doc_maxlen": 180,
        "mask_punctuation": True,
        "attend_to_mask_tokens": False,
        "dim": dim,
        "similarity": "cosine",
        "interaction": "colbert",
    }


class _Graph:
    """Nodes and weights in the order they are asked for; a tensor is known by its name."""

    def __init__(self, seed: int) -> None:
        # RandomState's stream is frozen (NEP 19), random_sample needs no libm: the same weights everywhere.
        self._random = np.random.RandomState(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: dict[str, onnx.TensorProto] = {}

    def add(
        self,
        operator: str,
        *inputs: str,
        outputs: Sequence[str] = (),
        **attributes: int | float | Sequence[int],
    ) -> str:
        outputs = outputs or [f"{operator}_{len(self._nodes)}"]
        self._nodes.append(helper.make_node(operator, list(inputs), outputs, **attributes))
        return outputs[0]

    def weights(self, name: str, shape: tuple[int, ...], *, deviation: float | None = None) -> str:
        """Add uniform weights; the default deviation keeps the variance of what passes through them."""
        half_width = math.sqrt(3) * (1 / math.sqrt(shape[0]) if deviation is None else deviation)
        values = (self._random.random_sample(shape) * 2 - 1) * half_width
        return self._initializer(name, values.astype(np.float32))

    def table(self, name: str, values: npt.NDArray[np.float64]) -> str:
        return self._initializer(name, values.astype(np.float32))

    def constant(self, value: float | Sequence[int]) -> str:
        array = np.array(value, dtype=np.float32 if isinstance(value, float) else np.int64)
        return self._initializer(f"constant {value}", array)

    def linear(self, name: str, inputs: str, rows: int, columns: int, *, gain: float = 1.0) -> str:
        weights = self.weights(f"{name}.weight", (rows, columns), deviation=gain / math.sqrt(rows))
        product = self.add("MatMul", inputs, weights)
        return self.add("Add", self.weights(f"{name}.bias", (columns,), deviation=0.02), product)

    def layer_norm(self, name: str, inputs: str, size: int) -> str:
        scale = self._initializer(f"{name}.weight", np.ones(size, dtype=np.float32))
        shift = self._initializer(f"{name}.bias", np.zeros(size, dtype=np.float32))
        return self.add("LayerNormalization", inputs, scale, shift, axis=-1, epsilon=1e-12)

    def model(self, inputs: Sequence[str], output: str, dim: int) -> onnx.ModelProto:
        graph = helper.make_graph(
            self._nodes,
            "colbert",
            [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"]) for name in inputs],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", "tokens", dim])],
            list(self._initializers.values()),
        )
        # IR 8 came with opset 17; the writer's own default is newer than what older onnxruntimes read.
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

    def _initializer(self, name: str, array: npt.NDArray[np.generic]) -> str:
        self._initializers[name] = numpy_helper.from_array(array, name)
        return name


def _bert(graph: _Graph, config: dict[str, int], *, token_type_ids: bool) -> str:
    hidden = config["hidden_size"]
    # Positions are weak beside words, as in a trained model: a word means much the same wherever it stands.
    words = graph.weights("embeddings.word", (config["vocab_size"], hidden), deviation=1.0)
    positions = graph.weights("embeddings.position", (config["max_position_embeddings"], hidden), deviation=0.3)
    segments = graph.weights("embeddings.token_type", (2, hidden), deviation=0.3)

    tokens = graph.add("Shape", "input_ids", start=1, end=2)
    position = graph.add("Slice", positions, graph.constant([0]), tokens, graph.constant([0]))
    segment = graph.add("Gather", segments, "token_type_ids" if token_type_ids else graph.constant([0]))
    embedded = graph.add("Add", graph.add("Gather", words, "input_ids"), position)
    states = graph.layer_norm("embeddings.norm", graph.add("Add", embedded, segment), hidden)

    by_key = graph.add("Unsqueeze", "attention_mask", graph.constant([1, 2]))
    unseen = graph.add("Sub", graph.constant(1.0), graph.add("Cast", by_key, to=TensorProto.FLOAT))
    mask = graph.add("Mul", unseen, graph.constant(float(np.finfo(np.float32).min)))
    for layer in range(config["num_hidden_layers"]):
        states = _layer(graph, f"layer.{layer}", states, mask, config)
    return states


def _layer(graph: _Graph, name: str, states: str, mask: str, config: dict[str, int]) -> str:
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    intermediate, per_head = config["intermediate_size"], hidden // heads
    # What a branch adds is much the same for all tokens of a text: unscaled, twelve layers make them all one
    # (the scaling of GPT-2's initialisation, section 2.3 of its paper).
    branch = 1 / math.sqrt(2 * config["num_hidden_layers"])

    def by_head(part: str, axes: Sequence[int]) -> str:
        flat = graph.linear(f"{name}.{part}", states, hidden, hidden)
        return graph.add("Transpose", graph.add("Reshape", flat, split), perm=axes)

    split, join = graph.constant([0, 0, heads, per_head]), graph.constant([0, 0, hidden])
    query, key = by_head("query", [0, 2, 1, 3]), by_head("key", [0, 2, 3, 1])
    value = by_head("value", [0, 2, 1, 3])
    scores = graph.add("Div", graph.add("MatMul", query, key), graph.constant(math.sqrt(per_head)))
    attention = graph.add("Softmax", graph.add("Add", scores, mask), axis=-1)
    context = graph.add("Transpose", graph.add("MatMul", attention, value), perm=[0, 2, 1, 3])
    context = graph.add("Reshape", context, join)
    attended = graph.linear(f"{name}.attention", context, hidden, hidden, gain=branch)
    states = graph.layer_norm(f"{name}.attention.norm", graph.add("Add", attended, states), hidden)

    inner = graph.linear(f"{name}.intermediate", states, hidden, intermediate)
    erf = graph.add("Erf", graph.add("Div", inner, graph.constant(math.sqrt(2))))
    doubled = graph.add("Mul", inner, graph.add("Add", erf, graph.constant(1.0)))
    gelu = graph.add("Mul", doubled, graph.constant(0.5))
    outer = graph.linear(f"{name}.output", gelu, intermediate, hidden, gain=branch)
    return graph.layer_norm(f"{name}.output.norm", graph.add("Add", outer, states), hidden)


def _modern_bert(graph: _Graph, config: dict[str, int]) -> str:
    hidden, per_head = config["hidden_size"], config["hidden_size"] // config["num_attention_heads"]
    states = graph.add(
        "Gather", graph.weights("embeddings.word", (config["vocab_size"], hidden), deviation=1.0), "input_ids"
    )
    states = graph.layer_norm("embeddings.norm", states, hidden)
    by_key = graph.add("Unsqueeze", "attention_mask", graph.constant([1, 2]))
    unseen = graph.add("Sub", graph.constant(1.0), graph.add("Cast", by_key, to=TensorProto.FLOAT))
    mask = graph.add("Mul", unseen, graph.constant(float(np.finfo(np.float32).min)))
    angles = np.outer(np.arange(config["max_position_embeddings"]), 10_000.0 ** (-np.arange(0, per_head, 2) / per_head))
    turns = np.concatenate([angles, angles], axis=1)
    tokens = graph.add("Shape", "input_ids", start=1, end=2)
    tables = [graph.table("rotary.cos", np.cos(turns)), graph.table("rotary.sin", np.sin(turns))]
    cos, sin = (graph.add("Slice", table, graph.constant([0]), tokens, graph.constant([0])) for table in tables)
    for layer in range(config["num_hidden_layers"]):
        states = _modern_layer(graph, f"layer.{layer}", states, mask, (cos, sin), config)
    return graph.layer_norm("final.norm", states, hidden)


def _modern_layer(
    graph: _Graph, name: str, states: str, mask: str, rotary: tuple[str, str], config: dict[str, int]
) -> str:
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    intermediate, per_head = config["intermediate_size"], hidden // heads
    branch = 1 / math.sqrt(2 * config["num_hidden_layers"])

    def product(part: str, inputs: str, rows: int, columns: int, gain: float = 1.0) -> str:
        return graph.add("MatMul", inputs, graph.weights(f"{name}.{part}", (rows, columns), deviation=gain / rows**0.5))

    def turned(vectors: str) -> str:
        half, end = graph.constant([per_head // 2]), graph.constant([per_head])
        first = graph.add("Slice", vectors, graph.constant([0]), half, graph.constant([3]))
        second = graph.add("Slice", vectors, half, end, graph.constant([3]))
        swapped = graph.add("Concat", graph.add("Neg", second), first, axis=-1)
        return graph.add("Add", graph.add("Mul", vectors, rotary[0]), graph.add("Mul", swapped, rotary[1]))

    normed = graph.layer_norm(f"{name}.attention.norm", states, hidden)
    shape = graph.constant([0, 0, 3, heads, per_head])
    parts = graph.add(
        "Transpose", graph.add("Reshape", product("qkv", normed, hidden, 3 * hidden), shape), perm=[2, 0, 3, 1, 4]
    )
    query, key, value = (graph.add("Gather", parts, graph.constant(number), axis=0) for number in range(3))
    transposed = graph.add("Transpose", turned(key), perm=[0, 1, 3, 2])
    scores = graph.add("Mul", graph.add("MatMul", turned(query), transposed), graph.constant(per_head**-0.5))
    attention = graph.add("Softmax", graph.add("Add", scores, mask), axis=-1)
    context = graph.add("Transpose", graph.add("MatMul", attention, value), perm=[0, 2, 1, 3])
    context = graph.add("Reshape", context, graph.constant([0, 0, hidden]))
    states = graph.add("Add", states, product("attention", context, hidden, hidden, branch))

    normed = graph.layer_norm(f"{name}.mlp.norm", states, hidden)
    inner, gate = f"{name}.inner", f"{name}.gate"
    graph.add("Split", product("mlp.in", normed, hidden, 2 * intermediate), outputs=[inner, gate], axis=-1)
    erf = graph.add("Erf", graph.add("Div", inner, graph.constant(math.sqrt(2))))
    doubled = graph.add("Mul", inner, graph.add("Add", erf, graph.constant(1.0)))
    gated = graph.add("Mul", graph.add("Mul", doubled, graph.constant(0.5)), gate)
    return graph.add("Add", states, product("mlp.out", gated, intermediate, hidden, branch))
