"""A graph, written operator by operator: what encoders have in common."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import count

import numpy as np

from colbert_qdrant.embedding.graph import wire
from colbert_qdrant.embedding.graph.model import Graph, Node, node, value_message
from colbert_qdrant.embedding.graph.tensors import Array, Tensor, constant
from colbert_qdrant.embedding.graph.wire import Field
from colbert_qdrant.embedding.reader import Config
from colbert_qdrant.embedding.weights import Weights
from colbert_qdrant.export.weights import EncoderWeights

IDS, ATTENTION, HIDDEN = "input_ids", "attention_mask", "last_hidden_state"

_IR_VERSION, _OPSET = 8, 17  # the first opset with LayerNormalization, which ONNX Runtime reads since 1.12
_INT64, _FLOAT = 7, 1

LOWEST = float(np.finfo(np.float32).min)
"""What is added to the score of a token that is not attended to, as transformers does it."""


class Building:
    """Collects nodes and constants; each method adds some and returns the name of what they give.

    Parameters
    ----------
    weights
        Of the checkpoint.
    """

    def __init__(self, weights: EncoderWeights) -> None:
        self.weights = weights
        self._nodes: list[Node] = []
        self._constants: dict[str, Tensor] = {}
        self._numbers = count()

    def graph(self, hidden: str, width: int) -> Graph:
        """Return the model whose output is `hidden`, ``(batch, tokens, width)``."""
        self._nodes.append(node("Identity", [hidden], HIDDEN))
        inputs: list[Field] = [
            (11, memoryview(value_message(name, ["batch", "tokens"], _INT64))) for name in (IDS, ATTENTION)
        ]
        opset = b"".join([wire.write_text(1, ""), wire.write_integer(2, _OPSET)])
        return Graph(
            nodes=tuple(self._nodes),
            initializers=self._constants,
            outputs={HIDDEN: value_message(HIDDEN, ["batch", "tokens", width])},
            opset=_OPSET,
            rest=((2, memoryview(b"encoder")), *inputs),
            model=((1, _IR_VERSION), (2, memoryview(b"colbert-qdrant")), (8, memoryview(opset))),
        )

    def op(self, operator: str, *inputs: str, **attributes: int | float | Sequence[int]) -> str:
        """Add a node with one output."""
        return self.split(operator, *inputs, outputs=1, **attributes)[0]

    def split(
        self, operator: str, *inputs: str, outputs: int, **attributes: int | float | Sequence[int]
    ) -> tuple[str, ...]:
        """Add a node with several outputs."""
        number = next(self._numbers)
        made = node(operator, inputs, f"{operator}_{number}", domain="", **attributes)
        names = tuple(f"{operator}_{number}_{part}" for part in range(outputs)) if outputs > 1 else made.outputs
        self._nodes.append(Node(made.operator, made.inputs, names, made.attributes, made.domain, made.name))
        return names

    def constant(self, name: str, values: Array) -> str:
        """Add a constant, once."""
        self._constants.setdefault(name, constant(name, values))
        return name

    def integers(self, *values: int) -> str:
        """Add a list of whole numbers."""
        return self.constant(f"integers_{'_'.join(map(str, values))}", np.array(values, dtype=np.int64))

    def number(self, value: float) -> str:
        """Add a number."""
        return self.constant(f"number_{value!r}", np.array(value, dtype=np.float32))

    def table(self, name: str, rows: Weights) -> str:
        """Add an embedding table."""
        return self.constant(name, rows)

    def linear(self, rows: str, name: str, dim_in: int, dim_out: int, *, bias: bool = True) -> str:
        """Apply a linear layer of the checkpoint's."""
        weight = self.weights.tensor(f"{name}.weight", dim_out, dim_in)
        product = self.op("MatMul", rows, self.constant(f"{name}.weight", np.ascontiguousarray(weight.T)))
        if not bias:
            return product
        return self.op("Add", product, self.constant(f"{name}.bias", self.weights.tensor(f"{name}.bias", dim_out)))

    def layer_norm(self, rows: str, name: str, dim: int, epsilon: float, *, bias: bool = True) -> str:
        """Apply a layer's normalisation."""
        inputs = [rows, self.constant(f"{name}.weight", self.weights.tensor(f"{name}.weight", dim))]
        if bias:
            inputs.append(self.constant(f"{name}.bias", self.weights.tensor(f"{name}.bias", dim)))
        return self.op("LayerNormalization", *inputs, axis=-1, epsilon=epsilon)

    def length(self) -> str:
        """Return the number of tokens, ``(1,)``."""
        return self.op("Shape", IDS, start=1, end=2)

    def unattended(self) -> str:
        """Return which tokens are not attended to: ``(batch, 1, 1, tokens)``, 1.0 or 0.0."""
        attention = self.op("Cast", self.op("Unsqueeze", ATTENTION, self.integers(1, 2)), to=_FLOAT)
        return self.op("Sub", self.number(1.0), attention)

    def heads(self, rows: str, heads: int, size: int) -> str:
        """Turn ``(batch, tokens, heads * size)`` into ``(batch, heads, tokens, size)``."""
        return self.op("Transpose", self.op("Reshape", rows, self.integers(0, 0, heads, size)), perm=[0, 2, 1, 3])

    def attention(self, query: str, key: str, value: str, mask: str, size: int) -> str:
        """Attend: ``softmax(query @ key.T / sqrt(size) + mask) @ value``, ``(batch, tokens, heads * size)``."""
        scores = self.op("MatMul", query, self.op("Transpose", key, perm=[0, 1, 3, 2]))
        scores = self.op("Add", self.op("Mul", scores, self.number(1 / math.sqrt(size))), mask)
        mixed = self.op("MatMul", self.op("Softmax", scores, axis=-1), value)
        return self.op("Reshape", self.op("Transpose", mixed, perm=[0, 2, 1, 3]), self.integers(0, 0, -1))

    def activation(self, x: str, config: Config, name: str) -> str:
        """Apply the activation that a setting names.

        Raises
        ------
        InvalidModel
            It is not known.
        """
        match config.text(name, "gelu"):
            case "gelu":
                erf = self.op("Erf", self.op("Mul", x, self.number(math.sqrt(0.5))))
                return self.op("Mul", self.op("Mul", x, self.op("Add", erf, self.number(1.0))), self.number(0.5))
            case "gelu_new" | "gelu_pytorch_tanh":
                cube = self.op("Mul", self.op("Mul", x, x), x)
                inner = self.op("Add", x, self.op("Mul", cube, self.number(0.044715)))
                tanh = self.op("Tanh", self.op("Mul", inner, self.number(math.sqrt(2 / math.pi))))
                return self.op("Mul", self.op("Mul", x, self.op("Add", tanh, self.number(1.0))), self.number(0.5))
            case "relu":
                return self.op("Relu", x)
            case "silu" | "swish":
                return self.op("Mul", x, self.op("Sigmoid", x))
        raise config.wrong(name, "gelu, gelu_new, gelu_pytorch_tanh, relu or silu to be exported")


def dimension(config: Config, name: str) -> int:
    """Return a size that has to be stated.

    Raises
    ------
    InvalidModel
        It is missing, or 0.
    """
    size: int = config.count(name, 0)
    if size < 1:
        raise config.wrong(name, "at least 1")
    return size


def head_size(config: Config) -> tuple[int, int]:
    """Return how many heads attend, and the size of one.

    Raises
    ------
    InvalidModel
        They don't share the hidden size evenly.
    """
    hidden, heads = dimension(config, "hidden_size"), dimension(config, "num_attention_heads")
    if hidden % heads:
        raise config.wrong("num_attention_heads", f"a divisor of hidden_size, {hidden}")
    return heads, hidden // heads
