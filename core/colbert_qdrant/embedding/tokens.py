"""Text becomes token ids: markers at position 1, limits, skiplist, query expansion. No model is run here."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from colbert_qdrant.embedding.reader import read_bytes, read_config_if_there, reason_of
from colbert_qdrant.embedding.spec import ColbertSpec
from colbert_qdrant.errors import ColbertQdrantError, InvalidInput, InvalidModel

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

_MASK_TOKENS = ("[MASK]", "<mask>")
_PAD_TOKENS = ("[PAD]", "<pad>")
_UNLIMITED = 10**6
"""transformers writes 1e30 for a tokenizer that has no limit."""

_USUAL_LIMIT = 512
"""Of an encoder whose files don't say how far it reads."""

_BEHIND_PADDING = (
    "camembert",
    "data2vec-text",
    "ibert",
    "longformer",
    "luke",
    "mpnet",
    "roberta",
    "xlm-roberta",
    "xmod",
)
"""How the names of the architectures begin whose positions do; those are 514 for 512 tokens, and the id is 1.

https://github.com/huggingface/transformers: the models with ``create_position_ids_from_input_ids``
"""

_LONGEST_QUERY = 8192
_LONGEST_TOKENIZER = 512 * 2**20
_LARGEST_VOCABULARY = 2**24


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """One text as the encoder takes it.

    Parameters
    ----------
    ids
        ``(tokens,)``, int64.
    attended
        How many of them, from the first, the encoder may look at.
    keep
        ``(tokens,)``, bool: the rows of the output that belong to the multivector.
    is_cut
        Whether the text was longer than what is here of it.
    """

    ids: npt.NDArray[np.int64]
    attended: int
    keep: npt.NDArray[np.bool_]
    is_cut: bool = False


class TextTokenizer:
    """A checkpoint's tokenizer under a `ColbertSpec`.

    Two tokenizers are held, one for documents and one for queries, and neither is changed after this: a tokenizer
    whose truncation is switched between calls can't be shared by threads.
    https://github.com/qdrant/fastembed/pull/556

    Parameters
    ----------
    folder
        Holds ``tokenizer.json``; ``tokenizer_config.json`` and ``config.json`` give the encoder's limit.
    spec
        What the checkpoint does to text.
    cut_documents
        Cut documents at the limit; else they come out whole, for `windows`.

    Raises
    ------
    InvalidModel
        No usable tokenizer, or one without a token that the spec names.
    """

    def __init__(self, folder: Path, spec: ColbertSpec, *, cut_documents: bool = True) -> None:
        self.spec = spec
        limit = encoder_limit(folder)
        self.document_limit = min(spec.document_length or limit or _USUAL_LIMIT, limit or _UNLIMITED)
        self.query_limit = min(spec.query_limit or limit or _USUAL_LIMIT, limit or _UNLIMITED)
        if spec.query_padding > (limit or _LONGEST_QUERY):
            raise InvalidModel(
                f"{folder}: queries are padded to {spec.query_padding} tokens, and the encoder reads {limit}; give a "
                "smaller query_length="
            )
        path = folder / "tokenizer.json"
        self._documents, self._queries = _load(path), _load(path)
        with _refused_by_name(f"{path} can't be used as a tokenizer", InvalidModel):
            self._set_up(cut_documents=cut_documents)

    def _set_up(self, *, cut_documents: bool) -> None:
        spec = self.spec
        self.pad_id = self._pad_id()
        self._documents.no_padding()  # batches are padded by the encoder, to their own longest text
        self._queries.no_padding()
        self._document_marker = self._id_of(spec.document_marker, "document_marker")
        self._query_marker = self._id_of(spec.query_marker, "query_marker")
        self._expansion_id = self._expansion() if spec.query_padding else self.pad_id
        self._documents.no_truncation()
        self._lead, self._tail = self._special_tokens_around()
        if self._lead + self._tail >= self.document_limit:
            raise InvalidModel(f"no word fits between the {self._lead + self._tail} special tokens of every text")
        if cut_documents:
            self._documents.enable_truncation(self.document_limit - (self._document_marker is not None))
        self._queries.enable_truncation(self.query_limit - (self._query_marker is not None))
        self._kept_in_documents = self._all_but(spec.skiplist)
        self._kept_in_queries = self._all_but(spec.query_skiplist)

    def documents(self, texts: Sequence[str]) -> list[TokenizedText]:
        """Tokenize documents; rows of skip-listed tokens are marked as dropped."""
        return [self._document(encoding) for encoding in self._encode(texts, is_query=False)]

    def queries(self, texts: Sequence[str]) -> list[TokenizedText]:
        """Tokenize queries, padded with the expansion token as the spec says."""
        return [self._query(encoding) for encoding in self._encode(texts, is_query=True)]

    def windows(self, document: TokenizedText) -> list[TokenizedText]:
        """Cut a document into overlapping parts that the encoder can read; see `cut_into_windows`."""
        return cut_into_windows(document, self.document_limit, self._lead, self._tail)

    def spans(self, text: str, *, is_query: bool) -> tuple[list[str], npt.NDArray[np.int64]]:
        """Return the kept tokens of a text and where each stands in it, ``(tokens, 2)`` in characters; see `_place`."""
        tokenizer, marker = (
            (self._queries, self._query_marker) if is_query else (self._documents, self._document_marker)
        )
        encoding = tokenizer.encode(self._prepared(text, is_query=is_query))
        tokenized = self._query(encoding) if is_query else self._document(encoding)
        origins = self._origins(text, is_query=is_query)
        offsets = [_place(text, origins[start:end]) for start, end in encoding.offsets]
        if marker is not None:
            offsets = [*offsets[:1], (0, 0), *offsets[1:]]
        offsets += [(0, 0)] * (len(tokenized.ids) - len(offsets))
        kept = np.flatnonzero(tokenized.keep)
        tokens = [tokenizer.id_to_token(int(tokenized.ids[row])) or "" for row in kept]
        return tokens, np.array(offsets, dtype=np.int64).reshape(-1, 2)[kept]

    def count(self, texts: Sequence[str], *, is_query: bool, with_extension: bool) -> int:
        """Count tokens, ``[CLS]`` and ``[SEP]`` included; `with_extension` adds markers and expansion."""
        marker = self._query_marker if is_query else self._document_marker
        total = 0
        for encoding in self._encode(texts, is_query=is_query):
            length = len(encoding)
            if with_extension:
                length += marker is not None
                length = max(length, self.spec.query_padding) if is_query else length
            total += length
        return total

    def _encode(self, texts: Sequence[str], *, is_query: bool) -> list[Encoding]:
        tokenizer = self._queries if is_query else self._documents
        prepared = [self._prepared(text, is_query=is_query) for text in texts]
        with _refused_by_name(f"the tokenizer gave up on one of {len(texts)} texts", InvalidInput):
            return tokenizer.encode_batch_fast(prepared)  # without offsets: a fifth less time

    def _prepared(self, text: str, *, is_query: bool) -> str:
        text = self._prompt(is_query) + text
        if self.spec.strip:
            text = text.strip()
        return text.lower() if self.spec.lowercase else text

    def _origins(self, text: str, *, is_query: bool) -> list[int]:
        """Return which character of the text each one of the prepared text comes from; negative: of the prompt."""
        prompt = self._prompt(is_query)
        text = prompt + text
        start = len(text) - len(text.lstrip()) if self.spec.strip else 0
        origins = range(start - len(prompt), len(text) - len(prompt))
        if not self.spec.lowercase:
            return list(origins)
        return [origin for origin, letter in zip(origins, text[start:], strict=True) for _ in letter.lower()]

    def _prompt(self, is_query: bool) -> str:
        return self.spec.query_prompt if is_query else self.spec.document_prompt

    def _document(self, encoding: Encoding) -> TokenizedText:
        ids = _with_marker(encoding.ids, self._document_marker)
        keep = _looked_up(self._kept_in_documents, ids)
        keep[:1] &= not self.spec.drop_first
        is_cut = len(ids) == self.document_limit and bool(encoding.overflowing)
        return TokenizedText(ids, len(ids), keep, is_cut)

    def _query(self, encoding: Encoding) -> TokenizedText:
        ids = _with_marker(encoding.ids, self._query_marker)
        attended = len(ids)
        missing = self.spec.query_padding - attended
        if missing > 0:
            ids = np.concatenate([ids, np.full(missing, self._expansion_id, dtype=np.int64)])
            attended = len(ids) if self.spec.attend_to_expansion else attended
        keep = _looked_up(self._kept_in_queries, ids)
        keep[:1] &= not self.spec.drop_first
        return TokenizedText(ids, attended, keep, is_cut=bool(encoding.overflowing))

    def _special_tokens_around(self) -> tuple[int, int]:
        """Count the tokens before and behind a document's own, marker and prompt among those before."""
        special = self._documents.encode("a").special_tokens_mask
        lead = special.index(0) if 0 in special else 0
        tail = special[::-1].index(0) if 0 in special else 0
        prompt = self._documents.encode(self.spec.document_prompt, add_special_tokens=False)
        return lead + (self._document_marker is not None) + len(prompt), tail

    def _all_but(self, skiplist: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Build the table ``kept[token id]``, whose last entry is for all ids beyond it.

        A look-up a token is all the masking there is.
        """
        # A word that is not in the vocabulary is left out: looked up as [UNK] it would drop every unknown word.
        skipped = [token_id for token_id in map(self._skipped, skiplist) if token_id is not None]
        if max(skipped, default=0) > _LARGEST_VOCABULARY:
            raise InvalidModel(f"a token of the skiplist has the id {max(skipped)}, which no vocabulary reaches")
        kept = np.ones(max(skipped, default=0) + 2, dtype=np.bool_)
        kept[skipped] = False
        return kept

    def _skipped(self, word: str) -> int | None:
        if self.spec.skip_first_pieces:
            return next(iter(self._documents.encode(word, add_special_tokens=False).ids), None)
        found = self._documents.token_to_id(word)
        return None if found is None else int(found)

    def _id_of(self, token: str | None, role: str) -> int | None:
        if token is None:
            return None
        token_id = self._documents.token_to_id(token)
        if token_id is None:
            raise InvalidModel(
                f"{role} {token!r} is not in the tokenizer's vocabulary; give the checkpoint's own marker, or None"
            )
        return int(token_id)

    def _pad_id(self) -> int:
        padding = self._documents.padding
        if padding is not None:
            return int(padding["pad_id"])
        return next((i for i in map(self._documents.token_to_id, _PAD_TOKENS) if i is not None), 0)

    def _expansion(self) -> int:
        names = (self.spec.expansion_token,) if self.spec.expansion_token else _MASK_TOKENS
        for name in names:
            token_id = self._documents.token_to_id(name)
            if token_id is not None:
                return int(token_id)
        raise InvalidModel(
            f"the tokenizer has no {' or '.join(names)} to expand queries with; give expansion_token= or "
            "query_expansion='none'"
        )


def cut_into_windows(document: TokenizedText, limit: int, lead: int, tail: int) -> list[TokenizedText]:
    """Cut a long document into windows that overlap by a quarter, each token kept once.

    A token is kept from the window in which it stands farthest from an edge, so where it has most context; the
    leading special tokens are kept from the first window and the trailing ones from the last.

    Parameters
    ----------
    document
        The whole document, special tokens and marker included.
    limit
        Tokens the encoder reads.
    lead, tail
        How many tokens before and behind the document's own every window repeats.
    """
    count = len(document.ids) - lead - tail
    room = limit - lead - tail
    if count <= room:
        return [document]
    step = room - room // 4
    starts = [*range(0, count - room, step), count - room]  # the last one ends with the document
    middles = [(after + before + room) // 2 for before, after in pairwise(starts)]
    first, last = document.ids[:lead], document.ids[len(document.ids) - tail :]
    parts = []
    for start, (kept_from, kept_to) in zip(starts, pairwise([0, *middles, count]), strict=True):
        content = slice(lead + start, lead + start + room)
        keep = document.keep[content].copy()
        keep[: kept_from - start] = False
        keep[kept_to - start :] = False
        parts.append(
            TokenizedText(
                ids=np.concatenate([first, document.ids[content], last]),
                attended=lead + room + tail,
                keep=np.concatenate(
                    [
                        document.keep[:lead] & (start == 0),
                        keep,
                        document.keep[len(document.ids) - tail :] & (start == starts[-1]),
                    ]
                ),
            )
        )
    return parts


def first_position(folder: Path) -> int:
    """Return the position of a text's first token: RoBERTa and its kin count from behind their padding id."""
    config = read_config_if_there(folder / "config.json")
    padded = config.text("model_type", "").startswith(_BEHIND_PADDING)
    return config.count("pad_token_id", 1) + 1 if padded else 0


def encoder_limit(folder: Path) -> int | None:
    """Return how many tokens the encoder reads, special tokens included; ``None``: the checkpoint does not say.

    ``config.json`` knows by how many positions there are. ``tokenizer_config.json`` is asked where it does not: PyLate
    and sentence-transformers leave there the length of the last call before they saved.
    """
    config = read_config_if_there(folder / "config.json")
    positions = config.count("max_position_embeddings", 0)
    if positions:
        # 514 of RoBERTa's read 512 tokens.
        limit = positions - first_position(folder)
        if limit < 4:
            raise config.wrong("max_position_embeddings", "at least 4 more than pad_token_id")
        return limit
    tokenizer = read_config_if_there(folder / "tokenizer_config.json")
    stated = [tokenizer.number(name, 0) for name in ("model_max_length", "max_length")]
    return min((int(n) for n in stated if 4 <= n < _UNLIMITED), default=None)


def _load(path: Path) -> Tokenizer:
    from tokenizers import Tokenizer

    with _refused_by_name(f"{path} can't be read as a tokenizer", InvalidModel):
        return Tokenizer.from_buffer(read_bytes(path, _LONGEST_TOKENIZER))


@contextlib.contextmanager
def _refused_by_name(what: str, kind: type[InvalidModel | InvalidInput]) -> Iterator[None]:
    """Name what the tokenizer's library raises: bare exceptions, and panics, which are no ``Exception``.

    A panic is a backtracking regular expression that was given up, for one. https://pyo3.rs (PanicException)
    """
    try:
        yield
    except ColbertQdrantError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise kind(f"{what} ({reason_of(error)}); fetch the model's files again, or mend them") from error


def _looked_up(kept: npt.NDArray[np.bool_], ids: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = kept[np.minimum(ids, len(kept) - 1)]
    return found


def _with_marker(ids: list[int], marker: int | None) -> npt.NDArray[np.int64]:
    if marker is not None:
        ids = [*ids[:1], marker, *ids[1:]]
    return np.array(ids, dtype=np.int64)


def _place(text: str, origins: Sequence[int]) -> tuple[int, int]:
    """Return where a token stands in the text, without the spaces that byte-level BPE and SentencePiece count to it.

    The space may be of the prompt, and the word behind it of the text.
    """
    places = [origin for origin in origins if origin >= 0]
    word = [place for place in places if not text[place].isspace()] or places
    return (word[0], word[-1] + 1) if word else (0, 0)
