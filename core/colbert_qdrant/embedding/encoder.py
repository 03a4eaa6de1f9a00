"""Token ids become token vectors: one ONNX session, batches under a token budget, masking, packed rows."""

from __future__ import annotations

import ctypes
import mmap
import re
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import numpy as np

from colbert_qdrant._fork import first_after_fork, renewed_after_fork
from colbert_qdrant.embedding.batches import ONE_BY_ONE
from colbert_qdrant.embedding.hardware import Hardware, open_session, shrinking_run, silent_run
from colbert_qdrant.embedding.inputs import GraphInputs, read_arguments, read_inputs
from colbert_qdrant.embedding.loading import check_unchanged, file_key, file_states, runnable_graph
from colbert_qdrant.embedding.projection import Projection
from colbert_qdrant.embedding.reader import reason_of
from colbert_qdrant.embedding.tokens import TokenizedText
from colbert_qdrant.errors import InvalidInput, InvalidModel
from colbert_qdrant.types import Multivector

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_MIN_NORM = 1e-12
_NO_TOKEN = 2**30


class Encoder:
    """Runs a ColBERT graph over tokenized texts.

    Parameters
    ----------
    onnx
        The graph. It takes ``input_ids`` and ``attention_mask``, ``token_type_ids`` and ``position_ids`` too if it
        likes, and gives one vector a token.
    pad_id
        Token that fills up a batch.
    dim
        Length of the model's token vectors, where known: tells the output apart from others.
    cut_dim
        Keep that many numbers of each vector, for models trained to be cut (Matryoshka).
    projection
        What turns the graph's rows into token vectors, for graphs that end with the backbone.
    hardware
        Where to run.
    wide
        Spread each run over all threads, for the latency of a single short query. Otherwise texts are encoded by the
        threads side by side, each with the graph to itself: twice the throughput of one run spread over them.
    normalize
        Bring each row to length 1.
    longest
        Tokens that the model reads, where known.
    first_position
        See `GraphInputs`.

    Raises
    ------
    InvalidModel
        Not an ONNX file, or not a graph of this kind.
    ProviderUnavailable
        A provider that this installation of ONNX Runtime lacks, or can't start.
    """

    def __init__(
        self,
        onnx: Path,
        *,
        pad_id: int,
        dim: int | None,
        cut_dim: int | None,
        projection: Projection | None,
        hardware: Hardware,
        wide: bool = False,
        normalize: bool = True,
        longest: int | None = None,
        first_position: int = 0,
    ) -> None:
        self._hardware = hardware
        self._intra_op_threads = hardware.threads if wide else 1
        self._onnx, self._states = onnx, file_states(onnx)
        self._graph = runnable_graph(onnx) if hardware.is_plain_processor else None
        sessions = self._open()
        self._inputs = read_inputs(sessions[0], onnx, first_position)
        self._vocabulary = _vocabulary(sessions[0], self._inputs)
        self._output, width = find_output(sessions[0], onnx, dim, projection)
        missing = projection is not None and projection.is_missing_from(self._output, width)
        self._projection = projection if missing else None
        full = self._projection.dim_out if self._projection else width
        self.dim = min(cut_dim or full, full)
        self._pad_id = pad_id if self._vocabulary is None or pad_id < self._vocabulary else 0
        self._normalize = normalize
        is_alone = self._inputs.one_by_one or is_dynamically_quantized(onnx)
        self._planning = ONE_BY_ONE if is_alone else hardware.planning
        self._longest = longest
        self._shrinks_beyond = None if hardware.is_accelerated else hardware.planning.budget
        self._at_work = len(sessions) if hardware.is_accelerated or wide else hardware.threads
        # One thread fills a batch and empties another while the device runs a third.
        self._workers = 2 * self._at_work if hardware.planning.overlaps else self._at_work
        self._hand_out(sessions)
        renewed_after_fork(self)

    def _open(self) -> list[InferenceSession]:
        check_unchanged(self._onnx, self._states)
        return [
            open_session(self._onnx, devices, self._intra_op_threads, self._graph)
            for devices in self._hardware.providers_by_device
        ]

    def _hand_out(self, sessions: Sequence[InferenceSession]) -> None:
        self._sessions: SimpleQueue[InferenceSession] = SimpleQueue()
        for session in islice(cycle(sessions), self._at_work):
            self._sessions.put(session)
        several = self._workers > 1
        self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="colbert-encoder") if several else None
        self._reopening = threading.Lock()
        self._must_reopen = False

    def _renew_after_fork(self) -> None:
        """Take threads of one's own, and sessions where the parent's had threads or were at work.

        A session of one thread that was idle is shared with the parent, so that processes hold the weights once.
        """
        idle = [self._sessions.get_nowait() for _ in range(self._sessions.qsize())]
        has_threads = self._intra_op_threads > 1 or self._hardware.is_accelerated
        can_go_on = len(idle) == self._at_work and not has_threads and not self._must_reopen
        if not can_go_on:
            for session in idle:
                _leave_behind(session)
        self._hand_out(idle if can_go_on else [])
        self._must_reopen = not can_go_on

    def _session(self) -> InferenceSession:
        """Take a session: one for each thread, on whichever device is free."""
        if self._must_reopen:
            with self._reopening:
                if self._must_reopen:
                    for session in islice(cycle(self._open()), self._at_work):
                        self._sessions.put(session)
                    self._must_reopen = False
        return self._sessions.get()

    def encode(self, texts: Sequence[TokenizedText]) -> list[Multivector]:
        """Encode texts; the result is in their order, each ``(kept tokens, dim)`` float32.

        Raises
        ------
        InvalidInput
            A text has a token that the graph does not know; raised before anything is run.
        InvalidModel
            The graph fails, or what it gives are no vectors.
        """
        self._check_vocabulary(texts)
        self._check_width(texts)
        batches = self._planning.batches([len(text.ids) for text in texts], self._longest)
        groups = [[texts[i] for i in batch.positions] for batch in batches]
        widths = [self._inputs.width or batch.width for batch in batches]
        run = self._pool.map if self._pool and len(groups) > 1 else map
        results: list[Multivector] = [np.empty(0, dtype=np.float32)] * len(texts)
        for batch, multivectors in zip(batches, run(self._run, groups, widths), strict=True):
            for position, multivector in zip(batch.positions, multivectors, strict=True):
                results[position] = multivector
        return results

    def _run(self, batch: Sequence[TokenizedText], width: int) -> list[Multivector]:
        shape = len(batch), width
        ids = np.full(shape, self._pad_id, dtype=np.int64)
        attention = np.zeros(shape, dtype=np.int64)
        keep = np.zeros(shape, dtype=np.bool_)
        for row, text in enumerate(batch):
            ids[row, : len(text.ids)] = text.ids
            attention[row, : text.attended] = 1
            keep[row, : len(text.ids)] = text.keep
        is_large = self._shrinks_beyond is not None and ids.size > self._shrinks_beyond
        session = self._session()
        try:
            (hidden,) = session.run(
                [self._output], self._inputs.feeds(ids, attention), shrinking_run() if is_large else None
            )
        except Exception as error:  # the runtime's exceptions have no base class but Exception
            raise InvalidModel(
                f"{self._onnx} fails on {shape[0]} texts of up to {shape[1]} tokens ({reason_of(error)}); if it reads "
                "fewer, give document_length=, and else fetch or export the model again"
            ) from error
        finally:
            self._sessions.put(session)
        if hidden.shape[:2] != shape or hidden.ndim != 3:
            raise InvalidModel(f"{self._onnx} gives {self._output} of shape {hidden.shape} for {shape}: no row a token")
        rows = self._token_vectors(hidden[keep].astype(np.float32, copy=False))
        ends = np.cumsum([int(np.count_nonzero(text.keep)) for text in batch])
        return np.split(rows, ends[:-1])

    def _check_vocabulary(self, texts: Sequence[TokenizedText]) -> None:
        if self._vocabulary is None:
            return
        for position, text in enumerate(texts):
            highest = text.ids.max(initial=0)
            if highest >= self._vocabulary:
                raise InvalidInput(
                    f"text {position} of {len(texts)} has the token {highest}, and {self._onnx} knows "
                    f"{self._vocabulary}: its tokenizer.json is of another model; take both from one"
                )

    def _check_width(self, texts: Sequence[TokenizedText]) -> None:
        width = self._inputs.width
        for position, text in enumerate(texts if width is not None else ()):
            if len(text.ids) > (width or 0):
                raise InvalidInput(
                    f"text {position} of {len(texts)} has {len(text.ids)} tokens, and {self._onnx} was exported for "
                    f"{width}: give document_length={width} and query_length={width}, or export it with a dynamic "
                    "number of tokens (`colbert-qdrant export` does)"
                )

    def _token_vectors(self, rows: Multivector) -> Multivector:
        if self._projection is not None:
            rows = self._projection(rows)
        if self.dim < rows.shape[1]:
            rows = np.ascontiguousarray(rows[:, : self.dim])
        if not np.isfinite(np.einsum("ij,ij->", rows, rows)):
            raise InvalidModel(f"{self._onnx} gives NaN, infinity or near it; fetch or export the model again")
        if self._normalize:
            normalize_rows(rows)
        return rows


_encoders: weakref.WeakValueDictionary[tuple[Any, ...], Encoder] = weakref.WeakValueDictionary()
_sharing = threading.RLock()


def shared_encoder(onnx: Path, *, projection: Projection | None, hardware: Hardware, **settings: Any) -> Encoder:
    """Return the encoder of these settings that this process has loaded already, or load it.

    A program that makes an embedder for each reranker pays for one model. The last one to let go of it frees it.

    Parameters
    ----------
    onnx, projection, hardware, settings
        See `Encoder`. A file that was changed since is loaded anew.
    """
    key = file_key(onnx), projection and projection.digest, repr(hardware), tuple(sorted(settings.items()))
    with _sharing:
        encoder = _encoders.get(key)
        if encoder is None:
            encoder = _encoders[key] = Encoder(onnx, projection=projection, hardware=hardware, **settings)
        return encoder


def _unlocked() -> None:
    global _sharing
    _sharing = threading.RLock()


first_after_fork(_unlocked)


def _leave_behind(session: InferenceSession) -> None:
    """Keep a session of the parent for ever: its end would wait for threads that are not in this process."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))


def normalize_rows(rows: Multivector) -> None:
    """Scale each row to length 1, in place; a row of zeros stays one."""
    norms = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    rows /= np.maximum(norms, _MIN_NORM)[:, None]


def is_dynamically_quantized(onnx: Path) -> bool:
    """Tell whether a graph measures its activations' range anew in every run.

    The range is taken over the whole padded batch, so a text's vectors would depend on the texts beside it (lowest
    token cosine: 0.91, tests/benchmarks/dynamic_int8.py). Such graphs get one text a run, which costs a CPU nothing
    and makes the same text give the same vectors always. ``DynamicQuantizeMatMul`` and ``DynamicQuantizeLSTM`` are what
    ONNX Runtime's optimiser saves; ``MatMulNBits`` measures blocks of rows where its accuracy level is 4.
    https://onnx.ai/onnx/operators/onnx__DynamicQuantizeLinear.html,
    https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.MatMulNBits
    """
    with onnx.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(b"DynamicQuantize") >= 0 or content.find(b"accuracy_level\x18\x04") >= 0


def _vocabulary(session: InferenceSession, inputs: GraphInputs) -> int | None:
    """Return how many tokens a graph knows; ``None`` where it does not tell by refusing one that it can't know.

    Devices look up whatever lies there, so they don't tell.
    """
    try:
        session.run(None, inputs.blank(_NO_TOKEN), silent_run())
    except Exception as error:
        bounds = re.search(r"range \[-\d+,(\d+)\]", str(error))
        return int(bounds[1]) + 1 if bounds and str(_NO_TOKEN) in str(error) else None
    return None


def find_output(
    session: InferenceSession, onnx: Path, dim: int | None, projection: Projection | None
) -> tuple[str, int]:
    """Find the output that holds one vector a token, by rank and last dimension; exporters agree on no name."""
    outputs = {name: output.shape for name, output in read_arguments(session.get_outputs(), onnx).items()}
    widths: dict[str, Any] = {name: shape[-1] for name, shape in outputs.items() if len(shape) == 3}
    if any(not isinstance(width, int) for width in widths.values()):
        try:
            tried = session.run(list(widths), read_inputs(session, onnx).blank())
        except Exception as error:
            raise InvalidModel(f"{onnx} fails on one token ({reason_of(error)}); export it again") from error
        widths = {name: array.shape[-1] for name, array in zip(widths, tried, strict=True)}
    wanted = [dim, projection.dim_out if projection else None, projection.dim_in if projection else None]
    for width in wanted:  # a graph with the projection inside goes before one without
        for name in widths:
            if width is not None and widths[name] == width:
                return name, width
    if widths and not any(wanted):
        return next(iter(widths.items()))
    shapes = ", ".join(f"{name} {shape}" for name, shape in outputs.items())
    raise InvalidModel(
        f"{onnx} has no output of one {dim or ''}-dimensional vector a token, only {shapes}; "
        "choose another file with model_file="
    )
