"""A checkpoint's linear layers put at the end of its graph."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from colbert_qdrant.embedding.graph.model import Graph, node, value_message
from colbert_qdrant.embedding.graph.tensors import constant

TOKEN_VECTORS = "colbert-qdrant/token_vectors"

Layer = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32] | None]
"""A weight, ``(dim_out, dim_in)``, and a bias, ``(dim_out,)``."""


def projected(graph: Graph, output: str, layers: Sequence[Layer]) -> Graph:
    """Return a graph whose only output, `TOKEN_VECTORS`, is one of the graph's taken through linear layers."""
    nodes, constants = list(graph.nodes), []
    for number, (weight, bias) in enumerate(layers):
        last = number == len(layers) - 1
        given = TOKEN_VECTORS if last else f"{TOKEN_VECTORS}/{number}"
        constants.append(constant(f"{TOKEN_VECTORS}/{number}/weight", np.ascontiguousarray(weight.T)))
        product = given if bias is None else f"{given}/product"
        nodes.append(node("MatMul", [output, constants[-1].name], product))
        if bias is not None:
            constants.append(constant(f"{TOKEN_VECTORS}/{number}/bias", bias))
            nodes.append(node("Add", [product, constants[-1].name], given))
        output = given
    message = value_message(TOKEN_VECTORS, ["batch", "tokens", len(layers[-1][0])])
    changed = graph.changed(nodes, constants)
    return Graph(changed.nodes, changed.initializers, {TOKEN_VECTORS: message}, graph.opset, graph.rest, graph.model)
