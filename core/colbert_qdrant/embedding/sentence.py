"""One vector a text, from the same encoders and files: what the first stage `Dense` needs a model for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from colbert_qdrant._once import once
from colbert_qdrant.checks import check_texts
from colbert_qdrant.embedding import files
from colbert_qdrant.embedding.asked import check_lengths
from colbert_qdrant.embedding.batches import windows
from colbert_qdrant.embedding.checkpoint import read_sentence_encoder, works_on_tokens
from colbert_qdrant.embedding.encoder import Encoder, normalize_rows
from colbert_qdrant.embedding.hardware import Device, Provider, choose_hardware
from colbert_qdrant.embedding.identity import graph_digest
from colbert_qdrant.embedding.reader import Config, Module, read_config, read_modules
from colbert_qdrant.embedding.registry import OFFLINE_MODEL
from colbert_qdrant.embedding.seen import FromFiles
from colbert_qdrant.embedding.spec import ColbertSpec
from colbert_qdrant.embedding.tokens import TextTokenizer, encoder_limit, first_position
from colbert_qdrant.errors import InvalidInput, InvalidModel

SentenceVector: TypeAlias = npt.NDArray[np.float32]
"""``(dim,)``, of length 1."""

WINDOW = 256


class SentenceEmbedder(FromFiles):
    """Encodes a text into one vector: the mean of its tokens' hidden states, brought to length 1.

    The files are found (or downloaded) at construction; the model is loaded when it is first used. One embedder may
    be shared by any number of threads.

    Parameters
    ----------
    model
        Name or folder of a sentence-transformers model that was trained with mean pooling, such as all-MiniLM.
    cache_dir, local_files_only, revision, model_file, quantized, model_path
        Where its files come from; as in `ColbertEmbedder`.
    device, device_ids, providers, threads
        Where it runs; as in `ColbertEmbedder`.
    length
        Longest text in tokens, ``[CLS]`` and ``[SEP]`` included; longer ones stand for their beginning. ``None``: as
        long as the encoder reads.

    Raises
    ------
    UnknownModel
        Neither a registered name nor a folder.
    ModelFilesNotFound, MissingExtra
        The files can't be had.
    InvalidModel
        The checkpoint's files say that its vectors are made in another way, or can't be used (raised on first use
        where only loading can tell).
    ProviderUnavailable
        The hardware asked for can't be used (on first use).

    References
    ----------
    Reimers and Gurevych, "Sentence-BERT", 2019, section 3: https://arxiv.org/abs/1908.10084. The method names are
    those of FastEmbed's ``TextEmbedding``.

    Examples
    --------
    >>> sentences = SentenceEmbedder()
    >>> [vector] = sentences.embed(["A soldier relives the same day."])
    >>> vector.shape
    (384,)
    """

    def __init__(
        self,
        model: str | Path = OFFLINE_MODEL,
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
        length: int | None = None,
    ) -> None:
        self._hardware = choose_hardware(device, device_ids, providers, threads)
        options = files.HubOptions(cache_dir, revision, local_files_only)
        self.model_name, _, found = files.locate(model, model_path, model_file, options, quantized=quantized)
        super().__init__(found)
        stated = read_sentence_encoder(found.folder)
        self._spec = ColbertSpec(document_length=length, longest_query=length, **stated)
        check_lengths(found.folder, length=length)
        _check_modules(found.folder, has_prompts=bool(self._spec.query_prompt or self._spec.document_prompt))

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self._document_encoder.dim

    @property
    def embedding_size(self) -> int:
        """Length of a vector, by FastEmbed's name."""
        return self.dim

    @property
    def graph(self) -> str:
        """The SHA-256 of its ONNX file: what a collection remembers besides the name."""
        self._seen.check()
        return graph_digest(self._files)

    def embed(self, documents: str | Iterable[str], batch_size: int = WINDOW) -> Iterator[SentenceVector]:
        """Encode texts.

        Parameters
        ----------
        documents
            Texts; an endless iterable is fine, as only `batch_size` of them are read ahead.
        batch_size
            Texts that are sorted by length together.

        Yields
        ------
        numpy.ndarray
            ``(dim,)``, float32, of length 1, in input order; zeros for a text without a token, as where a tokenizer
            adds none of its own to an empty text.

        Raises
        ------
        InvalidInput
            Something that is not text.
        """
        if batch_size < 1:
            raise InvalidInput(f"batch_size={batch_size}: give at least 1")
        return self._means(windows(check_texts(documents, "text"), batch_size, self._hardware.planning), is_query=False)

    def query_embed(self, query: str | Iterable[str]) -> Iterator[SentenceVector]:
        """Encode queries: the vectors of `embed` but for the checkpoint's prompts, and sooner for a single one."""
        return self._means(windows(check_texts(query, "query"), WINDOW, self._hardware.planning), is_query=True)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model_name!r})"

    def _means(self, texts: Iterator[list[str]], *, is_query: bool) -> Iterator[SentenceVector]:
        for window in texts:
            encoder = self._query_encoder if is_query else self._document_encoder
            tokenized = (self._tokenizer.queries if is_query else self._tokenizer.documents)(window)
            means = np.zeros((len(window), encoder.dim), dtype=np.float32)
            filled = [number for number, text in enumerate(tokenized) if len(text.ids)]
            for number, states in zip(filled, encoder.encode([tokenized[number] for number in filled]), strict=True):
                means[number] = states.mean(axis=0)
            normalize_rows(means)
            yield from means

    @once
    def _tokenizer(self) -> TextTokenizer:
        self._seen.check()
        return TextTokenizer(self._files.folder, self._spec)

    @once
    def _document_encoder(self) -> Encoder:
        return self._load(wide=False)

    @once
    def _query_encoder(self) -> Encoder:
        return self._load(wide=True) if self._hardware.widens_queries else self._document_encoder

    def _load(self, *, wide: bool) -> Encoder:
        self._seen.check()
        return Encoder(
            self._files.onnx,
            pad_id=self._tokenizer.pad_id,
            dim=None,
            cut_dim=None,
            projection=None,
            hardware=self._hardware,
            longest=encoder_limit(self._files.folder),
            first_position=first_position(self._files.folder),
            wide=wide,
            normalize=False,
        )


def _check_modules(folder: Path, *, has_prompts: bool) -> None:
    """Refuse a checkpoint that says its vector is something else than a mean; many say nothing.

    https://sbert.net/docs/package_reference/sentence_transformer/modules.html
    """
    modules = read_modules(folder)
    others = [module.kind for module in modules if not _leaves_a_mean(module, has_prompts=has_prompts)]
    if modules and "Pooling" not in [module.kind for module in modules]:
        others.append("no Pooling")
    if others:
        raise InvalidModel(
            f"{folder} makes a text's vector in another way than by the mean of its tokens' hidden states: its "
            f"modules.json has {', '.join(others)[:200]}; use a model with mean pooling alone, such as all-MiniLM"
        )


def _leaves_a_mean(module: Module, *, has_prompts: bool) -> bool:
    match module.kind:
        case "Transformer" | "Dropout":
            return True
        case "Normalize":
            return not works_on_tokens(module)
        case "Pooling":
            config = read_config(module.folder / "config.json")
            return _takes_means(config) and (config.flag("include_prompt", True) or not has_prompts)
    return False


def _takes_means(config: Config) -> bool:
    """Tell whether a pooling is the mean alone: since sentence-transformers 6 it is named, before each had a flag."""
    mode = config.values.get("pooling_mode")
    if mode is not None:
        return mode in ("mean", ["mean"])
    flags = {name for name in config.values if name.startswith("pooling_mode_") and config.flag(name, False)}
    means = "pooling_mode_mean_tokens"
    return config.flag(means, True) and flags <= {means}
