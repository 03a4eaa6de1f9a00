"""Token ids become token vectors: one ONNX session, batches under a token budget, masking, packed rows."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from colbert_qdrant.embedding.tokens import TokenizedText
from colbert_qdrant.errors import InvalidModel, ProviderUnavailable
from colbert_qdrant.types import Multivector

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

T = TypeVar("T")

Provider = str | tuple[str, dict[str, Any]]

TOKEN_BUDGET = 512
"""Tokens in one run of the graph, padding included. On a CPU larger batches only fall out of its caches."""

_MIN_NORM = 1e-12
_KNOWN_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class Encoder:
    """Runs a ColBERT graph over tokenized texts.

    Parameters
    ----------
    onnx
        The graph. It takes ``input_ids`` and ``attention_mask``, ``token_type_ids`` too if it likes, and gives one
        vector a token.
    pad_id
        Token that fills up a batch.
    dim
        Length of a token vector, where known: tells the output apart from others.
    providers
        ONNX Runtime execution providers.
    threads
        Texts of a window are encoded by that many threads side by side, each with the graph to itself: twice the
        throughput of one run spread over the same threads.
    wide
        Spread each run over all threads instead, for the latency of a single short query.

    Raises
    ------
    InvalidModel
        Not an ONNX file, or not a graph of this kind.
    ProviderUnavailable
        A provider that this installation of ONNX Runtime lacks.
    """

    def __init__(
        self,
        onnx: Path,
        *,
        pad_id: int,
        dim: int | None,
        providers: Sequence[Provider] | None,
        threads: int,
        wide: bool = False,
    ) -> None:
        self._session = _open_session(onnx, providers, intra_op_threads=threads if wide else 1)
        self._pad_id = pad_id
        self._token_types = _check_inputs(self._session, onnx)
        self._output, self.dim = _find_output(self._session, onnx, dim)
        self._budget = 0 if is_dynamically_quantized(onnx) else TOKEN_BUDGET
        self._pool = None if wide or threads == 1 else ThreadPoolExecutor(threads, thread_name_prefix="colbert-encoder")

    def encode(self, texts: Sequence[TokenizedText]) -> list[Multivector]:
        """Encode texts; the result is in their order, each ``(kept tokens, dim)`` float32 with rows of length 1."""
        batches = plan_batches([len(text.ids) for text in texts], self._budget)
        groups = [[texts[i] for i in batch] for batch in batches]
        encoded = self._pool.map(self._run, groups) if self._pool and len(groups) > 1 else map(self._run, groups)
        results: list[Multivector] = [np.empty(0, dtype=np.float32)] * len(texts)
        for batch, multivectors in zip(batches, encoded, strict=True):
            for position, multivector in zip(batch, multivectors, strict=True):
                results[position] = multivector
        return results

    def _run(self, batch: Sequence[TokenizedText]) -> list[Multivector]:
        shape = len(batch), max(len(text.ids) for text in batch)
        ids = np.full(shape, self._pad_id, dtype=np.int64)
        attention = np.zeros(shape, dtype=np.int64)
        keep = np.zeros(shape, dtype=np.bool_)
        for row, text in enumerate(batch):
            ids[row, : len(text.ids)] = text.ids
            attention[row, : text.attended] = 1
            keep[row, : len(text.ids)] = text.keep
        feeds = {"input_ids": ids, "attention_mask": attention}
        if self._token_types:
            feeds["token_type_ids"] = np.zeros(shape, dtype=np.int64)
        (hidden,) = self._session.run([self._output], feeds)
        packed = hidden[keep].astype(np.float32, copy=False)
        normalize_rows(packed)
        ends = np.cumsum([int(np.count_nonzero(text.keep)) for text in batch])
        return np.split(packed, ends[:-1])


def plan_batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Group texts of similar length so that little of a batch is padding.

    Parameters
    ----------
    lengths
        Tokens of each text.
    budget
        Most tokens of a batch, padding included; a text longer than that is a batch of its own, and with 0 every
        text is.

    Returns
    -------
    list of list of int
        Positions in `lengths`, the longest texts first, so that no thread is left with a long one at the end.
    """
    batches: list[list[int]] = []
    width = 0
    for position in np.argsort(-np.asarray(lengths), kind="stable").tolist():
        if batches and (len(batches[-1]) + 1) * width <= budget:
            batches[-1].append(position)
        else:
            batches.append([position])
            width = lengths[position]
    return batches


def normalize_rows(rows: Multivector) -> None:
    """Scale each row to length 1, in place; a row of zeros stays one."""
    norms = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    rows /= np.maximum(norms, _MIN_NORM)[:, None]


def windows(items: Iterator[T], size: int) -> Iterator[list[T]]:
    """Cut an iterator, endless or not, into lists of at most `size` items."""
    while window := list(islice(items, size)):
        yield window


def cpu_count() -> int:
    """Return how many processors this process may use, which a container often makes fewer than the machine has."""
    affinity: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def is_dynamically_quantized(onnx: Path) -> bool:
    """Tell whether a graph measures its activations' range anew in every run.

    The range is taken over the whole padded batch, so a text's vectors would depend on the texts beside it (lowest
    token cosine measured: 0.94). Such graphs get one text a run, which costs a few per cent on a CPU and makes the
    same text give the same vectors always.
    https://onnx.ai/onnx/operators/onnx__DynamicQuantizeLinear.html
    """
    with onnx.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(b"DynamicQuantizeLinear") >= 0


def _open_session(onnx: Path, providers: Sequence[Provider] | None, intra_op_threads: int) -> InferenceSession:
    import onnxruntime

    available = onnxruntime.get_available_providers()
    wanted = list(providers or ["CPUExecutionProvider"])
    missing = [name for name in (p if isinstance(p, str) else p[0] for p in wanted) if name not in available]
    if missing:
        raise ProviderUnavailable(
            f"{', '.join(missing)} not available: this installation of onnxruntime has {', '.join(available)}"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = intra_op_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Every batch has another shape: an arena would keep the largest of each and a memory pattern never fits.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    # Threads that spin while they wait for the next query burn a core each.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        return onnxruntime.InferenceSession(str(onnx), options, providers=wanted)
    except Exception as error:  # the runtime's exceptions have no base class but Exception
        raise InvalidModel(f"{onnx} can't be loaded as an ONNX model ({error}); fetch the file again") from error


def _check_inputs(session: InferenceSession, onnx: Path) -> bool:
    """Return whether the graph wants ``token_type_ids``; refuse a graph that wants what a text does not give."""
    names = [argument.name for argument in session.get_inputs()]
    unknown = [name for name in names if name not in _KNOWN_INPUTS]
    if unknown or "input_ids" not in names or "attention_mask" not in names:
        raise InvalidModel(
            f"{onnx} takes {', '.join(names)}; a text encoder takes input_ids, attention_mask and, if it likes, "
            "token_type_ids: export it again as one"
        )
    return "token_type_ids" in names


def _find_output(session: InferenceSession, onnx: Path, dim: int | None) -> tuple[str, int]:
    """Find the output that holds one vector a token, by rank and last dimension; exporters agree on no name."""
    outputs = {argument.name: argument.shape for argument in session.get_outputs()}
    per_token = {name: shape[-1] for name, shape in outputs.items() if len(shape) == 3}
    fixed = {name: last for name, last in per_token.items() if isinstance(last, int)}
    fitting = [name for name, last in per_token.items() if dim is None or last == dim or name not in fixed]
    if not fitting:
        shapes = ", ".join(f"{name} {shape}" for name, shape in outputs.items())
        raise InvalidModel(
            f"{onnx} has no output of one {dim or ''}-dimensional vector a token, only {shapes}; "
            "choose another file with model_file="
        )
    name = next((name for name in fitting if name in fixed), fitting[0])
    if name in fixed:
        return name, fixed[name]
    one_token = np.ones((1, 1), dtype=np.int64)
    feeds = {argument.name: one_token for argument in session.get_inputs()}
    return name, int(session.run([name], feeds)[0].shape[-1])
