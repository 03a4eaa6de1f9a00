"""All that a ColBERT checkpoint does to text, as data, and where that data is read from.

One frozen dataclass drives one code path; a new checkpoint is new data, never a new class. A value is taken from
the first of: the caller's explicit arguments, the registry's row, the checkpoint's own config files, the defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from colbert_qdrant.embedding.checkpoint import PUNCTUATION, read_checkpoint
from colbert_qdrant.embedding.pooling import TokenPooling
from colbert_qdrant.errors import InvalidInput, InvalidModel

QueryExpansion = Literal["min", "fixed", "none"]
Compat = Literal["fastembed", "pylate"]


@dataclass(frozen=True, slots=True)
class ColbertSpec:
    """What happens to a text on its way into the encoder, and to the rows that come out.

    The defaults describe a plain sentence encoder whose token vectors are used as they are.

    Parameters
    ----------
    dim
        Length of a token vector; ``None``: what the graph says.
    query_marker, document_marker
        Tokens inserted at position 1, behind ``[CLS]``. ``None``: none.
    query_length
        Length in tokens, marker and ``[CLS]``/``[SEP]`` included, that `query_expansion` refers to.
    query_expansion
        ``"min"`` pads shorter queries with the expansion token up to `query_length` and lets longer ones pass
        whole (FastEmbed, sentence-transformers 6); ``"fixed"`` pads and cuts to exactly `query_length`
        (ColBERT, PyLate); ``"none"`` does not pad.
    cut_queries
        Cut queries at `query_length` although `query_expansion` does not.
    longest_query
        Where queries are cut that are let pass `query_length`; ``None``: at what the encoder can read.
    expansion_token
        The token that pads queries; ``None``: the tokenizer's mask token.
    attend_to_expansion
        Whether the encoder sees the expansion tokens (jina-colbert-v2 was trained so).
    document_length
        Longest document in tokens, markers included; ``None``: what the encoder can read.
    skiplist
        Tokens whose rows are dropped from documents.
    skip_first_pieces
        Drop the first piece of each skip-listed word instead of the token that is spelled like it, as colbert-ai and
        FastEmbed do; it makes a difference for SentencePiece vocabularies alone.
    query_skiplist
        The same for queries.
    query_prompt, document_prompt
        Text put before every query or document, such as ``"search_query: "``.
    lowercase, strip
        Lower-case the text and its prompt, or take white space off their ends, before the tokenizer sees it.
    drop_first
        Drop the first row, that of ``[CLS]`` (bge-m3).
    normalize
        Bring each row to length 1.
    pooling
        How documents are pooled by the checkpoint itself (sentence-transformers 6).

    References
    ----------
    ColBERT, https://arxiv.org/abs/2004.12832 (section 3.2); ColBERTv2, https://arxiv.org/abs/2112.01488.
    """

    dim: int | None = None
    query_marker: str | None = None
    document_marker: str | None = None
    query_length: int = 32
    query_expansion: QueryExpansion = "none"
    cut_queries: bool = False
    longest_query: int | None = None
    expansion_token: str | None = None
    attend_to_expansion: bool = False
    document_length: int | None = None
    skiplist: tuple[str, ...] = ()
    skip_first_pieces: bool = False
    query_skiplist: tuple[str, ...] = ()
    query_prompt: str = ""
    document_prompt: str = ""
    lowercase: bool = False
    strip: bool = False
    drop_first: bool = False
    normalize: bool = True
    pooling: TokenPooling | None = None

    def __post_init__(self) -> None:
        """Refuse what no checkpoint can mean."""
        if self.query_expansion not in ("min", "fixed", "none"):
            raise InvalidInput(f"query_expansion={self.query_expansion!r}: use 'min', 'fixed' or 'none'")
        for name in ("query_length", "document_length", "longest_query"):
            length = getattr(self, name)
            if length is not None and (isinstance(length, bool) or not isinstance(length, int) or length < 4):
                raise InvalidInput(
                    f"{name}={length!r}: give a whole number of at least 4 tokens ([CLS], marker, a word, [SEP])"
                )

    @property
    def query_padding(self) -> int:
        """Length up to which queries are padded; 0: not at all."""
        return 0 if self.query_expansion == "none" else self.query_length

    @property
    def query_limit(self) -> int | None:
        """Length at which queries are cut; ``None``: at what the encoder can read."""
        return self.query_length if self.cut_queries or self.query_expansion == "fixed" else self.longest_query


COLBERT: Mapping[str, Any] = {
    "query_marker": "[unused0]",
    "document_marker": "[unused1]",
    "query_length": 32,
    "query_expansion": "min",
    "skiplist": PUNCTUATION,
}
"""Stanford's settings, which most BERT checkpoints keep (colbert-ai, ``infra/config/settings.py``)."""


MODERN_COLBERT: Mapping[str, Any] = {
    "query_marker": "[Q] ",
    "document_marker": "[D] ",
    "query_length": 32,
    "query_expansion": "none",
    "skiplist": PUNCTUATION,
}
"""What the ModernBERT checkpoints trained with PyLate share."""


def resolve_spec(
    explicit: Mapping[str, Any], registered: Mapping[str, Any], folder: Path, compat: Compat | None = None
) -> ColbertSpec:
    """Merge the four sources of a spec.

    Parameters
    ----------
    explicit
        Fields the caller gave. A `query_length` without a `query_expansion` asks for exactly that length.
    registered
        Fields of the registry's row.
    folder
        The checkpoint's folder, for its own config files.
    compat
        Treat text as another library does: ``"fastembed"`` reads documents as long as the encoder can;
        ``"pylate"`` cuts and pads queries to `query_length` and takes white space off the ends of every text.

    Raises
    ------
    InvalidInput
        A value that no checkpoint can mean.
    InvalidModel
        A config file that can't be read.
    """
    stated = read_checkpoint(folder)
    try:
        ColbertSpec(**stated)
    except InvalidInput as error:
        raise InvalidModel(f"{folder}: its config files state {error}") from error
    found = {**stated, **registered}
    found |= _compatible(found, compat)
    asked = dict(explicit)
    if "query_length" in asked and "query_expansion" not in asked:
        asked["query_expansion"] = "none" if found.get("query_expansion", "none") == "none" else "fixed"
        asked["cut_queries"] = True
    return ColbertSpec(**{**found, **asked})


def _compatible(found: Mapping[str, Any], compat: Compat | None) -> dict[str, Any]:
    expands = found.get("query_expansion", "none") != "none"
    match compat:
        case None:
            return {}
        case "fastembed":
            return {"query_expansion": "min" if expands else "none", "document_length": None}
        case "pylate":
            return {"query_expansion": "fixed" if expands else "none", "cut_queries": True, "strip": True}
        case _:
            raise InvalidInput(f"compat={compat!r}: use 'fastembed' or 'pylate'")
