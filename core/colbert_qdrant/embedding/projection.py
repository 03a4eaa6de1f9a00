"""The linear layers between an encoder's hidden states and its token vectors, for graphs exported without them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

import numpy as np

from colbert_qdrant.embedding.checkpoint import BGE_HEAD, works_on_tokens
from colbert_qdrant.embedding.reader import is_file, read_config, read_modules
from colbert_qdrant.embedding.weights import LARGEST_ENCODER, WEIGHT_FILES, Weights, read_weights
from colbert_qdrant.errors import InvalidModel
from colbert_qdrant.types import Multivector

PROJECTION_FILES = ("modules.json", "*_Dense/*", BGE_HEAD)
"""What to fetch of a checkpoint for its projection; Stanford's lies in a file that holds the whole encoder too."""

_HIDDEN_STATES = ("last_hidden_state", "token_embeddings")
"""Names under which exporters (transformers, optimum, sentence-transformers) give a backbone's own output."""

_WIDEST = 2**16

Activation = Callable[[Multivector], Multivector]


@dataclass(frozen=True, slots=True)
class Dense:
    """One layer: ``activation(rows @ weight.T + bias)``, plus ``rows @ residual.T`` where it has that.

    Parameters
    ----------
    weight
        ``(dim_out, dim_in)``, float32.
    bias
        ``(dim_out,)``, or ``None``.
    activation
        Works on each number.
    residual
        ``(dim_out, dim_in)``: maps the rows that are added to the result; ``None``: nothing is added.
    """

    weight: Weights
    bias: Weights | None
    activation: Activation
    residual: Weights | None = None

    def __call__(self, rows: Multivector) -> Multivector:
        """Map ``(tokens, dim_in)`` to ``(tokens, dim_out)``."""
        projected = rows @ self.weight.T
        if self.bias is not None:
            projected += self.bias
        projected = self.activation(projected)
        return projected if self.residual is None else projected + rows @ self.residual.T


Layer: TypeAlias = Dense | Callable[[Multivector], Multivector]


def normalized(rows: Multivector) -> Multivector:
    """Bring each row to length 1, as torch's ``normalize`` does; a row of zeros stays one."""
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    unit: Multivector = rows / np.maximum(lengths, 1e-12)[:, None]
    return unit


@dataclass(frozen=True, slots=True)
class Projection:
    """A checkpoint's layers, in the order they are applied.

    Parameters
    ----------
    layers
        At least one of them is a `Dense`; `normalized` may stand between.
    """

    layers: tuple[Layer, ...]

    @property
    def dense(self) -> list[Dense]:
        """The linear layers."""
        return [layer for layer in self.layers if isinstance(layer, Dense)]

    @property
    def dim_in(self) -> int:
        """Length of a hidden state."""
        return int(self.dense[0].weight.shape[1])

    @property
    def dim_out(self) -> int:
        """Length of a token vector."""
        return int(self.dense[-1].weight.shape[0])

    @property
    def is_linear(self) -> bool:
        """Whether it is nothing but products and sums."""
        dense = self.dense
        return len(dense) == len(self.layers) and all(
            layer.activation is _identity and layer.residual is None for layer in dense
        )

    @property
    def digest(self) -> str:
        """What tells it from every other, in hexadecimal."""
        digest = hashlib.sha256()
        for layer in self.layers:
            if not isinstance(layer, Dense):
                digest.update(b"normalized")
                continue
            digest.update(
                next((name for name, known in _ACTIVATIONS.items() if known is layer.activation), "?").encode()
            )
            for part in (layer.weight, layer.bias, layer.residual):
                digest.update(b"none" if part is None else f"{part.shape}".encode() + part.tobytes())
        return digest.hexdigest()[:32]

    def __call__(self, rows: Multivector) -> Multivector:
        """Turn hidden states into token vectors.

        Parameters
        ----------
        rows
            ``(tokens, dim_in)``, float32.

        Returns
        -------
        numpy.ndarray
            ``(tokens, dim_out)``, float32; rows are not of length 1 yet.
        """
        for layer in self.layers:
            rows = layer(rows)
        return rows

    def is_missing_from(self, output: str, width: int) -> bool:
        """Tell whether a graph ends with the backbone, so that these layers are still to be applied.

        Parameters
        ----------
        output, width
            Name and last dimension of the graph's output. The width decides; where the layers don't change it (as
            in bge-m3), the name does: an exporter of a whole model names its output for what it is.

        Raises
        ------
        InvalidModel
            The layers belong to another encoder.
        """
        if width not in (self.dim_in, self.dim_out):
            raise InvalidModel(
                f"the graph's {output} has rows of {width} numbers, the checkpoint's projection maps {self.dim_in} to "
                f"{self.dim_out}; take graph and projection from one checkpoint"
            )
        return width == self.dim_in and (width != self.dim_out or output in _HIDDEN_STATES)


def read_projection(folder: Path) -> Projection | None:
    """Read a checkpoint's projection; ``None`` when its folder holds none.

    Raises
    ------
    InvalidModel
        Layers that can't be read, that don't fit each other, or with an activation that is not known.

    References
    ----------
    sentence-transformers and PyLate keep each layer in an ``N_Dense`` folder, listed in ``modules.json``; Stanford's
    ColBERT keeps ``linear.weight`` among the encoder's weights; bge-m3 has ``colbert_linear.pt``.
    """
    projection = Projection(tuple(_bge_head(folder) or _token_modules(folder) or _stanford_linear(folder)))
    for before, after in pairwise(projection.dense):
        if before.weight.shape[0] != after.weight.shape[1]:
            raise InvalidModel(
                f"{folder}: a Dense module gives {before.weight.shape[0]} numbers and the next takes "
                f"{after.weight.shape[1]}; fetch the model's files again"
            )
    return projection if projection.dense else None


def _token_modules(folder: Path) -> list[Layer]:
    """Return what a checkpoint's modules do to the rows of its first, the encoder, up to the last linear layer.

    What comes after it are a length of 1 and which rows are kept: `ColbertSpec` says so.
    """
    modules = read_modules(folder)
    kinds = [module.kind for module in modules]
    if "Pooling" in kinds:  # what follows it maps the mean of the tokens, not the tokens
        return []
    layers: list[Layer] = []
    for number, module in enumerate(modules):
        match module.kind:
            case "Dense":
                layers.append(_dense_module(module.folder))
            case "Normalize":
                layers += [normalized] if works_on_tokens(module) else []
            case "Dropout" | "MultiVectorMask" | "HierarchicalTokenPooling":
                pass
            case unknown if number > 0:  # the first one is the encoder, under whatever name
                raise InvalidModel(
                    f"{folder / 'modules.json'} has the module {unknown[:60]!r}, and what it does to token vectors "
                    "is not known here: use another checkpoint, or a graph that was exported with it inside, in a "
                    "folder without modules.json"
                )
    while layers and not isinstance(layers[-1], Dense):
        layers.pop()
    return layers


def _dense_module(folder: Path) -> Dense:
    config = read_config(folder / "config.json")
    name = config.text("activation_function", "")
    package, _, activation = name.rpartition(".")
    if not package.startswith("torch.nn") or activation not in _ACTIVATIONS:
        known = ", ".join(_ACTIVATIONS)
        raise InvalidModel(
            f"{config.place} asks for the activation {name[:80]!r}; known are those of torch.nn: {known}. "
            "Use a graph that was exported with its projection"
        )
    found = [folder / file for file in WEIGHT_FILES if is_file(folder / file)]
    if not found:
        raise InvalidModel(f"{folder} has no model.safetensors; fetch the model's files again")
    weights = read_weights(found[0], ["linear.weight", "linear.bias", "residual.weight"])
    try:
        weight = weights["linear.weight"]
        bias = weights["linear.bias"] if config.flag("bias", True) else None
        residual = None
        if config.flag("use_residual", False):
            same = len(set(weight.shape)) == 1
            residual = np.eye(len(weight), dtype=np.float32) if same else weights["residual.weight"]
    except KeyError as error:
        raise InvalidModel(f"{found[0]} lacks {error}, which its config.json promises") from error
    return _checked(Dense(weight, bias, _ACTIVATIONS[activation], residual), found[0])


def _stanford_linear(folder: Path) -> list[Dense]:
    config = folder / "config.json"
    path = next((folder / file for file in WEIGHT_FILES if is_file(folder / file)), None)
    if path is None or not is_file(config) or "HF_ColBERT" not in read_config(config).words("architectures", ()):
        return []
    weights = read_weights(path, ["linear.weight"], most=LARGEST_ENCODER)
    return [_checked(Dense(weight, None, _identity), path) for weight in weights.values()]


def _bge_head(folder: Path) -> list[Dense]:
    path = folder / BGE_HEAD
    if not is_file(path):
        return []
    weights = read_weights(path, ["weight", "bias"])
    if len(weights) < 2:
        raise InvalidModel(f"{path} lacks weight or bias; fetch the file again")
    return [_checked(Dense(weights["weight"], weights["bias"], _identity), path)]


def _checked(layer: Dense, path: Path) -> Dense:
    shape = layer.weight.shape
    fits = len(shape) == 2 and min(shape) > 0 and max(shape) <= _WIDEST
    fits = fits and (layer.bias is None or layer.bias.shape == shape[:1])
    if not fits or (layer.residual is not None and layer.residual.shape != shape):
        raise InvalidModel(f"{path}: weight, bias and residual are of shapes that don't fit each other ({shape})")
    return layer


def _identity(x: Multivector) -> Multivector:
    return x


def _sigmoid(x: Multivector) -> Multivector:
    tanh: Multivector = np.tanh(x / 2)  # in this form nothing overflows
    tanh += 1
    tanh /= 2
    return tanh


def _gelu(x: Multivector) -> Multivector:
    """``x * Phi(x)``; numpy has no erf, this one is good to 1.5e-7 (Abramowitz and Stegun, 7.1.26)."""
    z = np.abs(x) / 2**0.5
    t = 1 / (1 + 0.3275911 * z)
    series = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t
    erf: Multivector = np.copysign(1 - series * np.exp(-z * z), x)
    erf += 1
    erf *= x
    erf /= 2
    return erf


def _softplus(x: Multivector) -> Multivector:
    return np.logaddexp(x, np.float32(0), dtype=x.dtype)


def _elu(x: Multivector) -> Multivector:
    elu: Multivector = np.maximum(x, 0)
    elu += np.expm1(np.minimum(x, 0))
    return elu


def _hardswish(x: Multivector) -> Multivector:
    swish: Multivector = np.clip(x + 3, 0, 6)
    swish *= x
    swish /= 6
    return swish


_ACTIVATIONS: dict[str, Activation] = {
    "Identity": _identity,
    "Tanh": np.tanh,
    "ReLU": lambda x: np.maximum(x, 0),
    "GELU": _gelu,
    "Sigmoid": _sigmoid,
    "SiLU": lambda x: x * _sigmoid(x),
    "ELU": _elu,
    "Hardswish": _hardswish,
    "LeakyReLU": lambda x: np.maximum(x, x * np.float32(0.01)),
    "Mish": lambda x: x * np.tanh(_softplus(x)),
    "Softplus": _softplus,
}
"""By the name of torch's class, with its default arguments: a config holds no others."""
