"""ColbertEmbedder: text in, multivectors out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from colbert_qdrant._once import once
from colbert_qdrant.checks import check_text, check_texts
from colbert_qdrant.embedding import files, registry
from colbert_qdrant.embedding.encoder import Encoder, Provider, cpu_count, windows
from colbert_qdrant.embedding.spec import ColbertSpec, QueryExpansion, resolve_spec
from colbert_qdrant.embedding.tokens import TextTokenizer
from colbert_qdrant.errors import InvalidInput, UnknownModel
from colbert_qdrant.types import Multivector, TokenVectors

DEFAULT_MODEL = "answerdotai/answerai-colbert-small-v1"
WINDOW = 256


class ColbertEmbedder:
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
        Another ONNX file of the model, relative to its folder, such as a quantised one.
    model_path
        A folder that holds the files of the model named by `model`: nothing is fetched.
    providers
        ONNX Runtime execution providers; ``None``: the CPU.
    threads
        Processor cores to use; ``None``: all that the process may.
    query_length, query_expansion, document_length
        See `ColbertSpec`; ``None``: as the model was made. A `query_length` without a `query_expansion` cuts
        longer queries, which otherwise pass whole.

    Raises
    ------
    UnknownModel
        Neither a registered name nor a folder.
    ModelFilesNotFound, MissingExtra
        The files can't be had.
    InvalidModel
        The files can't be used (raised on first use where only loading can tell).

    Notes
    -----
    A graph with dynamic int8 quantisation takes the range of its activations over the whole batch, so it is run one
    text at a time: the same text then always gives the same vectors.

    References
    ----------
    ColBERT, https://arxiv.org/abs/2004.12832. The method names are those of FastEmbed's
    ``LateInteractionTextEmbedding``.

    Examples
    --------
    >>> embedder = ColbertEmbedder("all-MiniLM-L6-v2-int8")
    >>> [document] = embedder.embed(["A soldier relives the same day."])
    >>> document.shape
    (9, 384)
    """

    def __init__(
        self,
        model: str | Path = DEFAULT_MODEL,
        *,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        revision: str | None = None,
        model_file: str | None = None,
        model_path: str | Path | None = None,
        providers: Sequence[Provider] | None = None,
        threads: int | None = None,
        query_length: int | None = None,
        query_expansion: QueryExpansion | None = None,
        document_length: int | None = None,
    ) -> None:
        if threads is not None and threads < 1:
            raise InvalidInput(f"threads={threads}: give at least 1, or None for all cores")
        options = files.HubOptions(cache_dir, revision, local_files_only)
        self.model_name, row, self._files = _locate(model, model_path, model_file, options)
        explicit = {
            "query_length": query_length,
            "query_expansion": query_expansion,
            "document_length": document_length,
        }
        self.spec: ColbertSpec = resolve_spec(
            explicit={name: value for name, value in explicit.items() if value is not None},
            registered=row.spec if row else {},
            folder=self._files.folder,
        )
        self._dim = self.spec.dim or (row.dim if row and not model_file else None)
        self._providers = providers
        self._threads = threads or cpu_count()

    @property
    def dim(self) -> int:
        """Length of a token vector."""
        return self._dim or self._document_encoder.dim

    @property
    def embedding_size(self) -> int:
        """Length of a token vector, by FastEmbed's name."""
        return self.dim

    @property
    def settings(self) -> dict[str, Any]:
        """What a document's vectors depend on besides its text; a collection remembers it."""
        return {
            "model": self.model_name,
            "file": self._files.onnx.name,
            "dim": self.dim,
            "document_length": self._tokenizer.document_limit,
        }

    def embed(
        self, documents: str | Iterable[str], batch_size: int = WINDOW, parallel: int | None = None
    ) -> Iterator[Multivector]:
        """Encode documents.

        Parameters
        ----------
        documents
            Texts; an endless iterable is fine, as only `batch_size` of them are read ahead.
        batch_size
            Texts that are sorted by length together. Memory depends on it hardly: what runs at once is bounded by
            tokens.
        parallel
            Taken for FastEmbed's sake; all `threads` are always used.

        Yields
        ------
        numpy.ndarray
            ``(tokens, dim)``, float32, rows of length 1, in input order. Rows of skip-listed punctuation are left
            out. An empty text has the rows of its special tokens.

        Raises
        ------
        InvalidInput
            Something that is not text: raised before any text of its `batch_size` is encoded.
        """
        return self._encode(check_texts(documents, "document"), batch_size, is_query=False)

    def passage_embed(self, texts: Iterable[str], batch_size: int = WINDOW) -> Iterator[Multivector]:
        """Encode documents; the same as `embed`."""
        return self.embed(texts, batch_size)

    def query_embed(self, query: str | Iterable[str], batch_size: int = WINDOW) -> Iterator[Multivector]:
        """Encode queries: ``(tokens, dim)`` float32 each, expansion rows included, in input order.

        Raises
        ------
        InvalidInput
            Something that is not text.
        """
        return self._encode(check_texts(query, "query"), batch_size, is_query=True)

    def token_vectors(self, texts: Iterable[str], *, is_query: bool = False) -> Iterator[TokenVectors]:
        """Encode texts and say for each row which token of the text it stands for."""
        for text in texts:
            check_text(text)
            [vectors] = self.query_embed(text) if is_query else self.embed(text)
            tokens, spans = self._tokenizer.spans(text, is_query=is_query)
            yield TokenVectors(vectors, tokens, spans)

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
            for window in windows(check_texts(texts), _at_least_one(batch_size))
        )
        return sum(counts)

    @classmethod
    def list_supported_models(cls) -> list[dict[str, Any]]:
        """Return a dict for each registered model: name, dim, licence, size in GB, sources and file."""
        return [row.as_row() for row in registry.registered()]

    @classmethod
    def get_embedding_size(cls, model_name: str) -> int:
        """Return the length of a registered model's token vectors, without loading it."""
        return _registered(model_name).dim

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model_name!r}, dim={self._dim})"

    def _encode(self, texts: Iterator[str], batch_size: int, *, is_query: bool) -> Iterator[Multivector]:
        size = _at_least_one(batch_size)
        return self._encode_windows(windows(texts, size), is_query=is_query)

    def _encode_windows(self, texts: Iterator[list[str]], *, is_query: bool) -> Iterator[Multivector]:
        encoder, tokenize = (
            (self._query_encoder, self._tokenizer.queries)
            if is_query
            else (self._document_encoder, self._tokenizer.documents)
        )
        for window in texts:
            yield from encoder.encode(tokenize(window))

    @once
    def _tokenizer(self) -> TextTokenizer:
        return TextTokenizer(self._files.folder, self.spec)

    @once
    def _document_encoder(self) -> Encoder:
        return self._load(wide=False)

    @once
    def _query_encoder(self) -> Encoder:
        return self._load(wide=True) if self._threads > 1 else self._document_encoder

    def _load(self, *, wide: bool) -> Encoder:
        return Encoder(
            self._files.onnx,
            pad_id=self._tokenizer.pad_id,
            dim=self._dim,
            providers=self._providers,
            threads=self._threads,
            wide=wide,
        )


class LateInteractionTextEmbedding(ColbertEmbedder):
    """FastEmbed's class of that name on this encoder: change the import, keep the program.

    Parameters
    ----------
    model_name
        As `model` of `ColbertEmbedder`.
    cache_dir, threads, providers, local_files_only
        As in `ColbertEmbedder`.
    cuda
        ``True``: the CUDA provider, an error where it is missing; ``False``: the CPU; ``"auto"``: CUDA where this
        installation of ONNX Runtime has it. `providers` goes first.
    lazy_load
        Load the model on first use instead of now.
    specific_model_path
        A folder that holds the named model's files.

    References
    ----------
    https://github.com/qdrant/fastembed/blob/main/fastembed/late_interaction/late_interaction_text_embedding.py
    """

    def __init__(
        self,
        model_name: str,
        cache_dir: str | None = None,
        threads: int | None = None,
        providers: Sequence[Provider] | None = None,
        cuda: bool | str = "auto",
        lazy_load: bool = False,
        *,
        local_files_only: bool = False,
        specific_model_path: str | Path | None = None,
    ) -> None:
        super().__init__(
            model_name,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            model_path=specific_model_path,
            providers=providers or _cuda_or_cpu(cuda),
            threads=threads,
        )
        if not lazy_load:
            _ = self._document_encoder


def _locate(
    model: str | Path, model_path: str | Path | None, model_file: str | None, options: files.HubOptions
) -> tuple[str, registry.RegisteredModel | None, files.ModelFiles]:
    """Find a model's registered row, if it has one, and its files."""
    if not isinstance(model, str | Path) or not str(model):
        raise InvalidInput(f"model={model!r}: give a model's name or the folder that holds its files")
    row = registry.find(str(model))
    folder = Path(model_path) if model_path is not None else None if row else Path(model)
    if folder is not None and folder.is_dir():
        name = row.model if row else folder.resolve().name
        return name, row, files.from_folder(folder, model_file or (row.model_file if row else None))
    if model_path is not None:
        raise InvalidInput(f"model_path={str(model_path)!r} is not a folder; give the one that holds {model}")
    if row is not None and row.hf is None and row.packaged is not None:
        return row.model, row, files.from_package(row, row.packaged)
    repo, onnx = (row.hf, model_file or row.model_file) if row else (str(model), model_file)
    if repo is None or onnx is None or "/" not in repo:
        names = ", ".join(known.model for known in registry.registered())
        raise UnknownModel(
            f"{str(model)!r} is neither a folder nor a known model ({names}); for another repository of the hub "
            "name its ONNX file too, with model_file="
        )
    return (
        (row.model if row else repo),
        row,
        files.from_hub(repo, onnx, row.additional_files if row else (), options),
    )


def _registered(name: str) -> registry.RegisteredModel:
    row = registry.find(name)
    if row is None:
        names = ", ".join(known.model for known in registry.registered())
        raise UnknownModel(f"{name!r} is not a known model; known are {names}")
    return row


def _cuda_or_cpu(cuda: bool | str) -> list[Provider]:
    if str(cuda).lower().endswith("auto"):  # FastEmbed's Device.AUTO, whose value is "auto"
        import onnxruntime

        cuda = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    return ["CUDAExecutionProvider", "CPUExecutionProvider"] if cuda else ["CPUExecutionProvider"]


def _at_least_one(batch_size: int) -> int:
    if batch_size < 1:
        raise InvalidInput(f"batch_size={batch_size}: give at least 1")
    return batch_size
