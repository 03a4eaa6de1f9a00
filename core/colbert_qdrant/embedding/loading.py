"""A graph as a processor runs it: tidied, and what sessions can share of its weights held once."""

from __future__ import annotations

import mmap
import struct
import threading
import weakref
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from colbert_qdrant._fork import first_after_fork
from colbert_qdrant.embedding.cache import FileState, FileVersion, file_version
from colbert_qdrant.embedding.files import external_data
from colbert_qdrant.embedding.graph.attention import long_attention
from colbert_qdrant.embedding.graph.model import Graph, read_model, write_model
from colbert_qdrant.embedding.graph.tensors import Tensor
from colbert_qdrant.embedding.graph.tidy import tidied
from colbert_qdrant.embedding.hardware import CPU_TOKEN_BUDGET
from colbert_qdrant.errors import InvalidModel

if TYPE_CHECKING:
    from onnxruntime import OrtValue

FileKey: TypeAlias = tuple[FileVersion, ...]
"""Which files they are, as they are now."""

ONE_SESSION_BEYOND = 2**30
"""Bytes of a model of which a process is to hold one session: a second one, with weights laid out for itself, would
bring a lone query sooner, and take as much again."""

_LARGE = 2**16
"""Bytes of a weight that is worth a place of its own."""

_PACKED_OR_FOLDED = (
    "MatMul",
    "Gemm",
    "MatMulInteger",
    "MatMulIntegerToFloat",
    "DynamicQuantizeMatMul",
    "Cast",
    "Transpose",
)
"""Operators whose weights a session lays out anew for itself when it is made, and then needs no more."""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class RunnableGraph:
    """What sessions of one file are made of.

    Parameters
    ----------
    content
        The graph without its large weights: it says where in the model's file they lie.
    folder
        Holds that file.
    tables
        Those of them that sessions only look up, by name: token embeddings above all. A session made with them holds
        none of its own.
    """

    content: bytes
    folder: Path
    tables: Mapping[str, OrtValue]


def file_key(onnx: Path) -> FileKey:
    """Return what tells a graph's file, and those of its weights outside of it, from what may lie there later."""
    return tuple(file_version(path) for path in _files(onnx))


def file_states(onnx: Path) -> list[FileState]:
    """Return the same files as they are now; they compare by whether they are the same."""
    return [FileState.of(path) for path in _files(onnx)]


def check_unchanged(onnx: Path, states: Sequence[FileState]) -> None:
    """Refuse to load a graph once more where it is another one by now.

    Raises
    ------
    InvalidModel
        Documents and queries would be encoded by two models, or by the graph of one with weights of the other.
    """
    try:
        is_same = file_states(onnx) == list(states)
    except OSError:
        is_same = False
    if not is_same:
        raise InvalidModel(f"{onnx} was changed since this embedder first used it: make the embedder anew")


def runnable_graph(onnx: Path) -> RunnableGraph | None:
    """Return a graph as a processor is to run it; those who have a file's share it.

    Guards that never act are left out, a Gelu in five operators is one, and a text that runs alone needs no memory
    that grows with the square of its length; see `tidied` and `long_attention`. ``None``: the graph can't be read here,
    and the runtime may read it or say what is wrong.
    """
    key = file_key(onnx)
    with _sharing:
        graph = _graphs.get(key)
        if graph is None:
            try:
                graph = _read(onnx)
            except (ValueError, LookupError, OverflowError, struct.error, OSError):  # of a graph that is none
                return None
            _graphs[key] = graph
        return graph


def weight_bytes(onnx: Path) -> int:
    """Return how large a graph is, with the weights outside of it."""
    return sum(path.stat().st_size for path in _files(onnx))


def _files(onnx: Path) -> list[Path]:
    return [onnx, *(onnx.parent / name for name in external_data(onnx))]


def _read(onnx: Path) -> RunnableGraph:
    onnx = onnx.resolve()  # the hub's cache is made of links, and the runtime follows none that leaves a folder
    with onnx.open("rb") as file:
        content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    graph = long_attention(tidied(read_model(content, onnx.parent)), CPU_TOKEN_BUDGET)
    tables = _tables(graph)
    values = {tensor.name: _value(tensor) for tensor in tables}
    lying = {name: tensor.lying_in(content, onnx.name, _LARGE) for name, tensor in graph.initializers.items()}
    return RunnableGraph(b"".join(write_model(replace(graph, initializers=lying))), onnx.parent, values)


def _tables(graph: Graph) -> Iterable[Tensor]:
    """Return the large weights that a session keeps as they are."""
    takers = defaultdict(set)
    for part in graph.nodes:
        for place, name in enumerate(part.inputs):
            takers[name].add(part.operator if place or part.operator in ("Cast", "Transpose") else f"{part.operator} 0")
    return [
        tensor
        for name, tensor in graph.initializers.items()
        if tensor.bytes >= _LARGE and not takers[name].intersection(_PACKED_OR_FOLDED) and name not in graph.inputs
    ]


def _value(tensor: Tensor) -> OrtValue:
    import onnxruntime

    return onnxruntime.OrtValue.ortvalue_from_numpy(np.array(tensor.array()))


_graphs: weakref.WeakValueDictionary[FileKey, RunnableGraph] = weakref.WeakValueDictionary()
_sharing = threading.RLock()


def _unlocked() -> None:
    global _sharing
    _sharing = threading.RLock()


first_after_fork(_unlocked)
