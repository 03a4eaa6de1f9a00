"""The int8 form of a float32 graph: made when it is first asked for, then kept."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from colbert_qdrant.embedding.cache import digest_of, own_folder, write_whole
from colbert_qdrant.embedding.encoder import find_output
from colbert_qdrant.embedding.files import external_data
from colbert_qdrant.embedding.graph.attention import long_attention
from colbert_qdrant.embedding.graph.int8 import by_row, products
from colbert_qdrant.embedding.graph.model import Graph, read_model, write_model
from colbert_qdrant.embedding.graph.projected import projected
from colbert_qdrant.embedding.graph.tidy import tidied
from colbert_qdrant.embedding.graph.wire import MalformedMessage, write_nested, write_text
from colbert_qdrant.embedding.hardware import CPU_TOKEN_BUDGET, fold_constants
from colbert_qdrant.embedding.projection import Projection
from colbert_qdrant.errors import InvalidModel

_VERSION = 3
"""Of the rewriting: another one makes other files."""

_END = b"".join(write_nested(14, [write_text(1, "colbert-qdrant"), write_text(2, "whole")]))
"""What stands last in a kept file: an entry of the model's metadata."""


def int8_graph(
    onnx: Path,
    *,
    dim: int | None,
    projection: Projection | None,
    cache_dir: str | Path | None,
) -> Path:
    """Return the file of a graph's int8 form, its projection inside where that is linear.

    Parameters
    ----------
    onnx
        The float32 graph.
    dim
        Length of the model's token vectors, where known.
    projection
        What is still to be applied to the graph's output.
    cache_dir
        See `own_folder`.

    Raises
    ------
    InvalidModel
        Not a graph, or one without float32 products.
    """
    folded = projection if projection is not None and projection.is_linear else None
    target = own_folder(cache_dir) / f"{_digest(onnx, folded)}.onnx"
    if not _is_whole(target):
        try:
            graph = _rewritten(onnx, dim, folded, target.parent)
            with suppress(FileExistsError):
                write_whole(target, [*write_model(graph), _END], check=lambda _: _refuse_whole(target))
        except MalformedMessage as error:
            raise InvalidModel(f"{onnx} can't be made int8 ({error}); use precision='float32'") from error
        except OSError as error:
            raise InvalidModel(
                f"{target.parent} can't keep a model's int8 form ({error}); name another cache_dir="
            ) from (error)
    return target


def _refuse_whole(kept: Path) -> None:
    """Let another process, which was faster, keep its file: it may have loaded it by now."""
    if _is_whole(kept):
        raise FileExistsError(kept)


def _is_whole(kept: Path) -> bool:
    """Tell whether a file is there to its last byte."""
    try:
        with kept.open("rb") as file:
            file.seek(-len(_END), os.SEEK_END)
            return file.read() == _END
    except OSError:
        return False


def _rewritten(onnx: Path, dim: int | None, projection: Projection | None, own: Path) -> Graph:
    with tempfile.TemporaryDirectory(dir=own) as scratch:
        whole = Path(scratch) / "folded.onnx"
        session = fold_constants(onnx, whole)
        output, width = find_output(session, onnx, dim, projection)
        del session
        graph = tidied(read_model(memoryview(whole.read_bytes()), Path(scratch)))
        if not products(graph):
            raise InvalidModel(
                f"{onnx} has no float32 product with constant weights to make int8; precision='int8' takes a model's "
                "float32 file"
            )
        if projection is not None and projection.is_missing_from(output, width):
            graph = projected(graph, output, [(layer.weight, layer.bias) for layer in projection.dense])
        return long_attention(by_row(graph), CPU_TOKEN_BUDGET).inlined()


def _digest(onnx: Path, projection: Projection | None) -> str:
    """Return what tells apart all that an int8 graph is made of."""
    digest = hashlib.sha256(f"{_VERSION}".encode())
    for path in (onnx, *(onnx.parent / name for name in external_data(onnx))):
        digest.update(digest_of(path).encode())
    for part in _parts(projection):
        digest.update(part)
    return digest.hexdigest()[:32]


def _parts(projection: Projection | None) -> Iterable[bytes]:
    for layer in projection.dense if projection else ():
        yield str(layer.weight.shape).encode()
        yield layer.weight.tobytes()
        yield layer.bias.tobytes() if layer.bias is not None else b"no bias"
