"""BERT, https://arxiv.org/abs/1810.04805, with the weights' names of transformers' ``BertModel``."""

from __future__ import annotations

from colbert_qdrant.embedding.graph.model import Graph
from colbert_qdrant.embedding.reader import Config
from colbert_qdrant.export.graph_building import IDS, LOWEST, Building, dimension, head_size


def bert(building: Building, config: Config) -> Graph:
    """Build the graph.

    Raises
    ------
    InvalidModel
        A variant that is not known: a decoder, relative positions.
    """
    if config.text("position_embedding_type", "absolute") != "absolute":
        raise config.wrong("position_embedding_type", "'absolute' to be exported")
    if config.flag("is_decoder", False):
        raise config.wrong("is_decoder", "false: each token attends to those before and after it")
    layers = dimension(config, "num_hidden_layers")
    states = _embedded(building, config)
    mask = building.op("Mul", building.unattended(), building.number(LOWEST))
    for number in range(layers):
        states = _layer(building, config, states, mask, f"encoder.layer.{number}")
    return building.graph(states, dimension(config, "hidden_size"))


def _embedded(building: Building, config: Config) -> str:
    hidden, weights = dimension(config, "hidden_size"), building.weights
    vocabulary, positions = dimension(config, "vocab_size"), dimension(config, "max_position_embeddings")
    words = building.table("embeddings.words", weights.tensor("embeddings.word_embeddings.weight", vocabulary, hidden))
    kinds = weights.tensor("embeddings.token_type_embeddings.weight", config.count("type_vocab_size", 2), hidden)
    places = weights.tensor("embeddings.position_embeddings.weight", positions, hidden)
    table = building.table("embeddings.positions", places + kinds[0])  # a text is one segment, the first
    first = building.op("Slice", table, building.integers(0), building.length(), building.integers(0))
    return _norm(building, config, building.op("Add", building.op("Gather", words, IDS), first), "embeddings")


def _layer(building: Building, config: Config, states: str, mask: str, name: str) -> str:
    hidden, inner = dimension(config, "hidden_size"), dimension(config, "intermediate_size")
    heads, size = head_size(config)
    query, key, value = (
        building.heads(building.linear(states, f"{name}.attention.self.{part}", hidden, hidden), heads, size)
        for part in ("query", "key", "value")
    )
    mixed = building.attention(query, key, value, mask, size)
    mixed = building.linear(mixed, f"{name}.attention.output.dense", hidden, hidden)
    states = _norm(building, config, building.op("Add", mixed, states), f"{name}.attention.output")
    wide = building.linear(states, f"{name}.intermediate.dense", hidden, inner)
    narrow = building.linear(building.activation(wide, config, "hidden_act"), f"{name}.output.dense", inner, hidden)
    return _norm(building, config, building.op("Add", narrow, states), f"{name}.output")


def _norm(building: Building, config: Config, rows: str, name: str) -> str:
    epsilon = config.number("layer_norm_eps", 1e-12)
    return building.layer_norm(rows, f"{name}.LayerNorm", dimension(config, "hidden_size"), epsilon)
