"""ModernBERT, https://arxiv.org/abs/2412.13663, with the weights' names of transformers' ``ModernBertModel``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from colbert_qdrant.embedding.graph.model import Graph
from colbert_qdrant.embedding.reader import Config
from colbert_qdrant.export.graph_building import IDS, LOWEST, Building, dimension, head_size

GLOBAL, LOCAL = "full_attention", "sliding_attention"

_FLOAT = 1
_THETA = {GLOBAL: ("global_rope_theta", 160_000.0), LOCAL: ("local_rope_theta", 10_000.0)}


@dataclass(frozen=True, slots=True)
class _View:
    """What layers of one kind share.

    Parameters
    ----------
    cos, sin
        ``(tokens, size)``: the rotation of each position.
    mask
        Added to scores.
    sees
        ``(batch, tokens, 1)``, 1.0 or 0.0: whether a token attends to any; ``None``: all do.
    """

    cos: str
    sin: str
    mask: str
    sees: str | None = None


def modernbert(building: Building, config: Config) -> Graph:
    """Build the graph.

    Raises
    ------
    InvalidModel
        A variant that is not known, such as rotations that are scaled.
    """
    hidden, vocabulary = dimension(config, "hidden_size"), dimension(config, "vocab_size")
    kinds = _kinds(config)
    name = "embeddings.tok_embeddings.weight"
    words = building.table(name, building.weights.tensor(name, vocabulary, hidden))
    states = _norm(building, config, building.op("Gather", words, IDS), "embeddings.norm")
    views = _views(building, config, set(kinds))
    for number, kind in enumerate(kinds):
        normed = states if number == 0 else _norm(building, config, states, f"layers.{number}.attn_norm")
        mixed = _attention(building, config, normed, views[kind], f"layers.{number}.attn")
        states = building.op("Add", states, mixed)
        normed = _norm(building, config, states, f"layers.{number}.mlp_norm")
        states = building.op("Add", states, _gated(building, config, normed, f"layers.{number}.mlp"))
    return building.graph(_norm(building, config, states, "final_norm"), hidden)


def _kinds(config: Config) -> tuple[str, ...]:
    layers, period = dimension(config, "num_hidden_layers"), config.count("global_attn_every_n_layers", 3)
    if period < 1:
        raise config.wrong("global_attn_every_n_layers", "at least 1")
    kinds = config.words("layer_types", tuple(LOCAL if number % period else GLOBAL for number in range(layers)))
    if len(kinds) != layers or not set(kinds) <= {GLOBAL, LOCAL}:
        raise config.wrong("layer_types", f"{GLOBAL!r} or {LOCAL!r} for each of {layers} layers")
    return kinds


def _views(building: Building, config: Config, kinds: set[str]) -> dict[str, _View]:
    length = building.op("Squeeze", building.length())
    zero, one = (building.constant(f"scalar_{value}", np.array(value, dtype=np.int64)) for value in (0, 1))
    places = building.op("Cast", building.op("Range", zero, length, one), to=_FLOAT)
    column = building.op("Unsqueeze", places, building.integers(1))
    unattended = building.unattended()
    views = {}
    for kind in sorted(kinds):
        cos, sin = _rotations(building, config, kind, column)
        if kind == GLOBAL:
            views[kind] = _View(cos, sin, building.op("Mul", unattended, building.number(LOWEST)))
            continue
        reach = building.number(float(dimension(config, "local_attention") // 2) + 0.5)
        distance = building.op(
            "Abs", building.op("Sub", column, building.op("Unsqueeze", places, building.integers(0)))
        )
        beyond = building.op("Cast", building.op("Greater", distance, reach), to=_FLOAT)
        hidden = building.op("Max", unattended, beyond)  # (batch, 1, tokens, tokens)
        # A query's expansion may lie further from its last word than a layer sees. Torch's attention gives such a token
        # nothing; a softmax over equal scores would give it the mean of all, its batch's padding among them.
        nothing = building.op("ReduceMin", building.op("Squeeze", hidden, building.integers(1)), axes=[-1], keepdims=1)
        sees = building.op("Sub", building.number(1.0), nothing)
        views[kind] = _View(cos, sin, building.op("Mul", hidden, building.number(LOWEST)), sees)
    return views


def _rotations(building: Building, config: Config, kind: str, places: str) -> tuple[str, str]:
    """Return cosines and sines of positions, https://arxiv.org/abs/2104.09864."""
    _, size = head_size(config)
    if size % 2:
        raise config.wrong("num_attention_heads", "such that a head has an even size")
    theta = np.float32(_theta(config, kind))
    steps = np.arange(0, size, 2, dtype=np.float32) / np.float32(size)
    angles = building.op("Mul", places, building.constant(f"{kind}.frequencies", (1 / theta**steps).astype(np.float32)))
    both = building.op("Concat", angles, angles, axis=-1)
    return building.op("Cos", both), building.op("Sin", both)


def _theta(config: Config, kind: str) -> float:
    """Return the base of the rotations, as transformers 5 states it and as 4 did."""
    stated = config.section("rope_parameters").section(kind)
    for place in (stated, config.section("rope_scaling")):
        scaled = place.text("rope_type", None) or place.text("type", "default")
        if scaled != "default":
            raise place.wrong("rope_type" if "rope_type" in place else "type", "'default' to be exported")
    name, usual = _THETA[kind]
    if kind == LOCAL and "local_rope_theta" in config.values and "local_rope_theta" not in config:
        name, usual = _THETA[GLOBAL]  # null: as the other layers do it
    theta = stated.number("rope_theta", config.number(name, usual))
    if not 0 < theta < 2**63:
        raise config.wrong(name, "above 0")
    return theta


def _attention(building: Building, config: Config, rows: str, view: _View, name: str) -> str:
    hidden, bias = dimension(config, "hidden_size"), config.flag("attention_bias", False)
    heads, size = head_size(config)
    combined = building.linear(rows, f"{name}.Wqkv", hidden, 3 * hidden, bias=bias)
    parts = building.split("Split", combined, building.integers(hidden, hidden, hidden), outputs=3, axis=-1)
    query, key, value = (building.heads(part, heads, size) for part in parts)
    query, key = (_rotated(building, part, view, size) for part in (query, key))
    mixed = building.attention(query, key, value, view.mask, size)
    if view.sees is not None:
        mixed = building.op("Mul", mixed, view.sees)
    return building.linear(mixed, f"{name}.Wo", hidden, hidden, bias=bias)


def _rotated(building: Building, rows: str, view: _View, size: int) -> str:
    halves = building.integers(size // 2, size // 2)
    first, second = building.split("Split", rows, halves, outputs=2, axis=-1)
    turned = building.op("Concat", building.op("Neg", second), first, axis=-1)
    return building.op("Add", building.op("Mul", rows, view.cos), building.op("Mul", turned, view.sin))


def _gated(building: Building, config: Config, rows: str, name: str) -> str:
    hidden, inner = dimension(config, "hidden_size"), dimension(config, "intermediate_size")
    bias = config.flag("mlp_bias", False)
    wide = building.linear(rows, f"{name}.Wi", hidden, 2 * inner, bias=bias)
    active, gate = building.split("Split", wide, building.integers(inner, inner), outputs=2, axis=-1)
    gated = building.op("Mul", building.activation(active, config, "hidden_activation"), gate)
    return building.linear(gated, f"{name}.Wo", inner, hidden, bias=bias)


def _norm(building: Building, config: Config, rows: str, name: str) -> str:
    epsilon, bias = config.number("norm_eps", 1e-5), config.flag("norm_bias", False)
    return building.layer_norm(rows, name, dimension(config, "hidden_size"), epsilon, bias=bias)
