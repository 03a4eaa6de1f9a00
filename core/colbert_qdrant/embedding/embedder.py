"""ColbertEmbedder: text in, multivectors out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from colbert_qdrant._once import once
from colbert_qdrant.checks import check_text, check_texts
from colbert_qdrant.cuts import tell_of_cut_queries, tell_of_cuts
from colbert_qdrant.embedding import files
from colbert_qdrant.embedding.asked import check_dim, check_lengths, check_precision
from colbert_qdrant.embedding.batches import one_ahead, windows
from colbert_qdrant.embedding.encoder import Encoder, shared_encoder
from colbert_qdrant.embedding.hardware import Device, Provider, choose_hardware
from colbert_qdrant.embedding.identity import identity
from colbert_qdrant.embedding.known import KnownModels
from colbert_qdrant.embedding.loading import ONE_SESSION_BEYOND, weight_bytes
from colbert_qdrant.embedding.long_documents import LongDocuments, encode_documents
from colbert_qdrant.embedding.pooling import TokenPooling, pool, pool_to
from colbert_qdrant.embedding.precision import int8_graph
from colbert_qdrant.embedding.processor import int8_pays
from colbert_qdrant.embedding.projection import Projection, normalized, read_projection
from colbert_qdrant.embedding.seen import FromFiles
from colbert_qdrant.embedding.spec import ColbertSpec, Compat, QueryExpansion, resolve_spec
from colbert_qdrant.embedding.tokens import TextTokenizer, TokenizedText, encoder_limit, first_position
from colbert_qdrant.errors import InvalidInput
from colbert_qdrant.types import Multivector, Precision, TokenVectors

Dtype: TypeAlias = Literal["float32", "float16"]

DEFAULT_MODEL = "answerdotai/answerai-colbert-small-v1"
WINDOW = 256


class ColbertEmbedder(FromFiles, KnownModels):
    """Encodes documents and queries into ColBERT multivectors with ONNX Runtime.

    The files are found (or downloaded) at construction; the model is loaded when it is first used. One embedder
    may be shared by any number of threads.

    Parameters
    ----------
    model
        A name of `list_supported_models`, a folder that holds ``tokenizer.json`` and an ONNX file, or, together
        with `model_file`, any repository of the hub.
    cache_dir
        Where downloads are kept; ``None``: ``huggingface_hub``'s cache.
    local_files_only
        Never use the network.
    revision
        Branch, tag or commit of the hub's repository.
    model_file
        Another ONNX file of the model, relative to its folder.
    quantized
        Use the int8 file that the model's makers publish: a quarter of the size to fetch, for vectors whose cosine with
        the exact ones is about 0.98 (0.93 where it was quantised per tensor). `precision` is faster and closer.
    model_path
        A folder that holds the files of the model named by `model`: nothing is fetched.
    device
        ``"cpu"``; ``"cuda"``, an error where it can't be had; ``"auto"``: CUDA where this installation of ONNX
        Runtime has it.
    device_ids
        Several devices to use side by side.
    providers
        ONNX Runtime execution providers by name, instead of `device`.
    threads
        Processor cores to use; ``None``: all that the process may.
    query_length, query_expansion, document_length
        See `ColbertSpec`; ``None``: as the model was made. A `query_length` without a `query_expansion` cuts
        longer queries, which otherwise pass whole.
    precision
        ``"int8"``: products in 8-bit integers, each token's activations with a scale of their own: up to twice the
        speed of ``"float32"`` or more, cosine with its vectors 0.998. Made of the model's float32 file when that is
        first loaded, and kept in a cache. On a processor that is slower with integers it is float32 all the same, as
        `repr` then says. ``None``: float32, but for models that `list_supported_models` says compute in integers.
    compat
        Treat text exactly as ``"fastembed"`` or ``"pylate"`` does; see `resolve_spec`.
    long_documents
        What becomes of a document longer than `document_length`: ``"truncate"`` cuts it, with one warning a call
        that counts the cut ones; ``"window"`` encodes overlapping windows and keeps each token once, so that it
        becomes one multivector of any length; ``"error"`` refuses it. ``None``: unsaid, which is ``"truncate"`` here,
        as in FastEmbed, and ``"window"`` in the adapters, see `windowed`.
    pool_factor
        Keep about one in so many vectors of a document; see `pool`. ``None``: as the checkpoint's own modules do, which
        is hardly ever.
    max_vectors
        Pool a document down to so many vectors where it has more: Qdrant takes fewer than 1,048,576 / `dim` of them.
    dim
        Cut vectors to that length, for a model that was trained for it (jina-colbert-v2: 128, 96, 64).
    dtype
        ``"float32"`` or ``"float16"``: of the vectors that come out; half the memory, differences below 1e-3.

    Raises
    ------
    UnknownModel
        Neither a registered name nor a folder.
    ModelFilesNotFound, MissingExtra
        The files can't be had.
    InvalidModel
        The files can't be used (raised on first use where only loading can tell).
    ProviderUnavailable
        The hardware asked for can't be used (on first use); there is no silent fall-back.

    Notes
    -----
    A graph with dynamic int8 quantisation takes the range of its activations over the whole batch, so that a text's
    vectors would depend on the texts beside it (lowest token cosine: 0.91, tests/benchmarks/dynamic_int8.py). Such a
    graph is run one text at a time, which costs a CPU nothing: the same text then always gives the same vectors.

    References
    ----------
    ColBERT, https://arxiv.org/abs/2004.12832. The method names are those of FastEmbed's
    ``LateInteractionTextEmbedding``.

    Examples
    --------
    >>> embedder = ColbertEmbedder("all-MiniLM-L6-v2-int8")
    >>> [document] = embedder.embed(["A soldier relives the same day."])
    >>> document.shape
    (11, 384)
    """

    def __init__(
        self,
        model: str | Path = DEFAULT_MODEL,
        *,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        revision: str | None = None,
        model_file: str | None = None,
        quantized: bool = False,
        model_path: str | Path | None = None,
        device: Device = "cpu",
        device_ids: Sequence[int] | None = None,
        providers: Sequence[Provider] | None = None,
        threads: int | None = None,
        query_length: int | None = None,
        query_expansion: QueryExpansion | None = None,
        document_length: int | None = None,
        precision: Precision | None = None,
        compat: Compat | None = None,
        long_documents: LongDocuments | None = None,
        pool_factor: float | None = None,
        max_vectors: int | None = None,
        dim: int | None = None,
        dtype: Dtype = "float32",
    ) -> None:
        if long_documents not in (None, "truncate", "window", "error"):
            raise InvalidInput(f"long_documents={long_documents!r}: use 'truncate', 'window' or 'error'")
        if dtype not in ("float32", "float16"):
            raise InvalidInput(f"dtype={dtype!r}: use 'float32' or 'float16'")
        if not (pool_factor is None or pool_factor >= 1) or (max_vectors is not None and max_vectors < 1):
            raise InvalidInput(f"pool_factor={pool_factor}, max_vectors={max_vectors}: give at least 1")
        self._hardware = choose_hardware(device, device_ids, providers, threads)
        self._cache_dir = None if cache_dir is None else Path(cache_dir).expanduser().absolute()
        options = files.HubOptions(cache_dir, revision, local_files_only)
        self.model_name, row, found = files.locate(model, model_path, model_file, options, quantized=quantized)
        super().__init__(found)
        self._asked_precision = check_precision(precision, row, self._hardware, quantized=quantized)
        explicit = {
            "query_length": query_length,
            "query_expansion": query_expansion,
            "document_length": document_length,
        }
        self.spec: ColbertSpec = resolve_spec(
            explicit={name: value for name, value in explicit.items() if value is not None},
            registered=row.spec if row else {},
            folder=self._files.folder,
            compat=compat,
        )
        check_lengths(self._files.folder, query_length=query_length, document_length=document_length)
        self._full_dim = self.spec.dim or (row.dim if row else None)
        self._cut_dim = check_dim(dim, self._full_dim, row.dims if row else ())
        self._long_documents: LongDocuments = long_documents or "truncate"
        self._says_what_of_long = long_documents is not None
        self._pooling = self.spec.pooling or TokenPooling(1, normalize=self.spec.normalize)
        if pool_factor is not None and pool_factor != self._pooling.factor:
            self._pooling = TokenPooling(pool_factor, normalize=self.spec.normalize)
        self._max_vectors = max_vectors
        self._dtype = np.dtype(dtype)

    @property
    def dim(self) -> int:
        """Length of a token vector."""
        return self._cut_dim or self._full_dim or self._document_encoder.dim

    @property
    def embedding_size(self) -> int:
        """Length of a token vector, by FastEmbed's name."""
        return self.dim

    @property
    def precision(self) -> Precision:
        """What the model computes in, on this processor."""
        return "int8" if self._asked_precision == "int8" and int8_pays() else "float32"

    @property
    def settings(self) -> dict[str, Any]:
        """What a document's vectors depend on besides its text; a collection remembers it."""
        self._seen.check()
        settings = {
            "model": self.model_name,
            "file": self._files.onnx.name,
            "dim": self.dim,
            "document_length": self._tokenizer.document_limit,
            "long_documents": self._long_documents,
            "pool_factor": self._pooling.factor,
            **identity(self._files, self.spec, self._projection),
        }
        if self.spec.strip:
            settings["strip"] = True
        if not self.spec.normalize:
            settings["normalize"] = False
        if self.precision == "int8":
            settings["precision"] = "int8"
        return settings if self._max_vectors is None else settings | {"max_vectors": self._max_vectors}

    def embed(
        self, documents: str | Iterable[str], batch_size: int = WINDOW, parallel: int | None = None
    ) -> Iterator[Multivector]:
        """Encode documents.

        Parameters
        ----------
        documents
            Texts; an endless iterable is fine, as only `batch_size` of them are read ahead, on an accelerator twice
            as many.
        batch_size
            Texts that are sorted by length together; on an accelerator at least 4,096 of usual length. Memory depends
            on it hardly on a processor: what runs at once is bounded by tokens.
        parallel
            Taken for FastEmbed's sake; all `threads` are always used.

        Yields
        ------
        numpy.ndarray
            ``(tokens, dim)``, of the embedder's `dtype`, rows of length 1, in input order. Rows of skip-listed
            punctuation are left out. An empty text has the rows of its special tokens.

        Raises
        ------
        InvalidInput
            Something that is not text, or, with ``long_documents="error"``, a long document: raised before any
            text of its `batch_size` is encoded.
        """
        return self._embed_windows(
            windows(check_texts(documents, "document"), _at_least_one(batch_size), self._hardware.planning)
        )

    def windowed(self) -> Self:
        """Return this embedder as one that cuts no document, unless it was made with `long_documents`.

        The model is shared. It is what the adapters, whose callers see no warning that counts what was cut, make of an
        embedder that they are given.
        """
        return self if self._says_what_of_long else self._windowed

    @once
    def _windowed(self) -> Self:
        other = copy(self)
        other._long_documents, other._says_what_of_long = "window", True
        vars(other).pop("_tokenizer", None)  # which cuts
        return other

    def passage_embed(self, texts: Iterable[str], batch_size: int = WINDOW) -> Iterator[Multivector]:
        """Encode documents; the same as `embed`."""
        return self.embed(texts, batch_size)

    def query_embed(self, query: str | Iterable[str], batch_size: int = WINDOW) -> Iterator[Multivector]:
        """Encode queries: ``(tokens, dim)`` each, expansion rows included, in input order.

        What goes beyond what the model reads is cut, with a warning; what goes beyond `query_length` too, unless
        `query_expansion` lets it pass.

        Raises
        ------
        InvalidInput
            Something that is not text.
        """
        return self._query_windows(
            windows(check_texts(query, "query"), _at_least_one(batch_size), self._hardware.planning)
        )

    def token_vectors(self, texts: Iterable[str], *, is_query: bool = False) -> Iterator[TokenVectors]:
        """Encode texts and say for each row which token of the text it stands for.

        Raises
        ------
        InvalidInput
            The embedder pools, so that a row stands for several tokens.
        """
        if not is_query:
            self._refuse_pooling()
        for text in texts:
            check_text(text)
            [vectors] = self.query_embed(text) if is_query else self.embed(text)
            tokens, spans = self._tokenizer.spans(text, is_query=is_query)
            yield TokenVectors(vectors, tokens, spans)

    def token_spans(self, text: str) -> tuple[list[str], npt.NDArray[np.int64]]:
        """Say which token of a document each of its vectors stands for; no model is run.

        Returns
        -------
        tokens : list of str
            As the tokenizer spells them, markers included.
        spans : numpy.ndarray
            ``(tokens, 2)``: start and end in the text, in characters; ``(0, 0)`` for what the text does not hold.

        Raises
        ------
        InvalidInput
            The embedder pools, so that a vector stands for several tokens.
        """
        self._refuse_pooling()
        return self._tokenizer.spans(check_text(text), is_query=False)

    def vector_count(self, text: str) -> int:
        """Count the vectors that a document will have at least; no model is run. Exact where nothing is pooled."""
        [document] = self._tokenizer.documents([check_text(text)])
        rows = int(document.keep.sum())
        if self._pooling.factor > 1:
            rows = int(rows // self._pooling.factor)
        return rows if self._max_vectors is None else min(rows, self._max_vectors)

    def token_count(
        self,
        texts: str | Iterable[str],
        batch_size: int = 1024,
        is_doc: bool = True,
        include_extension: bool = False,
    ) -> int:
        """Count the tokens of texts, ``[CLS]`` and ``[SEP]`` included.

        Parameters
        ----------
        texts
            Documents or queries.
        batch_size
            Texts that are read ahead.
        is_doc
            Whether they are documents.
        include_extension
            Count markers and, for queries, the expansion too.
        """
        counts = (
            self._tokenizer.count(window, is_query=not is_doc, with_extension=include_extension)
            for window in windows(check_texts(texts), _at_least_one(batch_size), self._hardware.planning)
        )
        return sum(counts)

    def __repr__(self) -> str:
        precision = ""
        if self._asked_precision != "float32":
            unused = "" if self.precision == "int8" else " (faster than int8 on this processor)"
            precision = f", precision={self.precision!r}{unused}"
        return f"{type(self).__name__}({self.model_name!r}, dim={self._cut_dim or self._full_dim}{precision})"

    def _embed_windows(self, texts: Iterator[list[str]]) -> Iterator[Multivector]:
        cut = total = 0
        try:
            for window, documents in self._prepared(texts, self._tokenizer.documents):
                cut += sum(document.is_cut for document in documents)
                total += len(window)
                encoded = encode_documents(
                    documents,
                    self._document_encoder,
                    self._tokenizer,
                    self._long_documents,
                    first=total - len(window),
                )
                yield from map(self._finished, encoded)
        finally:
            if total:
                tell_of_cuts(cut, total, self._tokenizer.document_limit)

    def _prepared(
        self, texts: Iterator[list[str]], tokenize: Callable[[list[str]], list[TokenizedText]]
    ) -> Iterator[tuple[list[str], list[TokenizedText]]]:
        if self._hardware.planning.overlaps:
            return one_ahead(texts, tokenize)
        return ((window, tokenize(window)) for window in texts)

    def _refuse_pooling(self) -> None:
        if self._pooling.factor > 1 or self._max_vectors is not None:
            raise InvalidInput("pooled vectors stand for several tokens each; use an embedder that does not pool")

    def _finished(self, vectors: Multivector) -> Multivector:
        factor, protected, normalize = self._pooling.factor, self._pooling.protected_tokens, self._pooling.normalize
        if factor > 1:
            vectors = pool(vectors, factor, protected_tokens=protected, normalize=normalize)
        if self._max_vectors is not None:
            vectors = pool_to(vectors, self._max_vectors, protected_tokens=protected, normalize=normalize)
        if normalize and not self.spec.normalize:
            vectors = normalized(vectors)
        return vectors.astype(self._dtype, copy=False)

    def _query_windows(self, texts: Iterator[list[str]]) -> Iterator[Multivector]:
        for _, queries in self._prepared(texts, self._tokenizer.queries):
            tell_of_cut_queries(sum(query.is_cut for query in queries), len(queries), self._tokenizer.query_limit)
            for vectors in self._query_encoder.encode(queries):
                yield vectors.astype(self._dtype, copy=False)

    @once
    def _tokenizer(self) -> TextTokenizer:
        self._seen.check()
        return TextTokenizer(self._files.folder, self.spec, cut_documents=self._long_documents == "truncate")

    @once
    def _document_encoder(self) -> Encoder:
        return self._other_encoder("_query_encoder") or self._load(wide=False)

    @once
    def _query_encoder(self) -> Encoder:
        if not self._hardware.widens_queries:
            return self._document_encoder
        return self._other_encoder("_document_encoder") or self._load(wide=True)

    def _other_encoder(self, name: str) -> Encoder | None:
        """Return the encoder that is loaded already, where the model is too large to be loaded twice."""
        return vars(self).get(name) if weight_bytes(self._graph) > ONE_SESSION_BEYOND else None

    @once
    def _projection(self) -> Projection | None:
        self._seen.check()
        return read_projection(self._files.projection or self._files.folder)

    @once
    def _graph(self) -> Path:
        if self.precision == "float32":
            return self._files.onnx
        return int8_graph(self._files.onnx, dim=self._full_dim, projection=self._projection, cache_dir=self._cache_dir)

    def _load(self, *, wide: bool) -> Encoder:
        self._seen.check()
        return shared_encoder(
            self._graph,
            pad_id=self._tokenizer.pad_id,
            dim=self._full_dim,
            cut_dim=self._cut_dim,
            projection=self._projection,
            hardware=self._hardware,
            wide=wide,
            normalize=self.spec.normalize,
            longest=encoder_limit(self._files.folder),
            first_position=first_position(self._files.folder),
        )


def _at_least_one(batch_size: int) -> int:
    if batch_size < 1:
        raise InvalidInput(f"batch_size={batch_size}: give at least 1")
    return batch_size
