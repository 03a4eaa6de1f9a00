"""All that a ColBERT checkpoint does to text, as data, and where that data is read from.

One frozen dataclass drives one code path; a new checkpoint is new data, never a new class. A value is taken from
the first of: the caller's explicit arguments, the registry's row, the checkpoint's own config files, the defaults.
"""

from __future__ import annotations

import json
import string
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from colbert_qdrant.errors import InvalidInput, InvalidModel

QueryExpansion = Literal["min", "fixed", "none"]

PUNCTUATION = tuple(string.punctuation)
"""ColBERT's document skiplist: the 32 ASCII punctuation marks (colbert-ai, ``mask_punctuation``)."""

CONFIG_FILES = ("config_sentence_transformers.json", "artifact.metadata", "onnx_config.json")
"""Files that say how a checkpoint treats text, the most trustworthy first."""


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
    expansion_token
        The token that pads queries; ``None``: the tokenizer's mask token.
    attend_to_expansion
        Whether the encoder sees the expansion tokens (jina-colbert-v2 was trained so).
    document_length
        Longest document in tokens, markers included; ``None``: what the encoder can read.
    skiplist
        Tokens whose rows are dropped from documents.
    lowercase
        Lower-case the text before the tokenizer sees it.

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
    expansion_token: str | None = None
    attend_to_expansion: bool = False
    document_length: int | None = None
    skiplist: tuple[str, ...] = ()
    lowercase: bool = False

    def __post_init__(self) -> None:
        """Refuse what no checkpoint can mean."""
        if self.query_expansion not in ("min", "fixed", "none"):
            raise InvalidInput(f"query_expansion={self.query_expansion!r}: use 'min', 'fixed' or 'none'")
        for name, length in (("query_length", self.query_length), ("document_length", self.document_length)):
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
        return self.query_length if self.cut_queries or self.query_expansion == "fixed" else None


COLBERT: Mapping[str, Any] = {
    "query_marker": "[unused0]",
    "document_marker": "[unused1]",
    "query_length": 32,
    "query_expansion": "min",
    "skiplist": PUNCTUATION,
}
"""Stanford's settings, which most BERT checkpoints keep (colbert-ai, ``infra/config/settings.py``)."""


def resolve_spec(explicit: Mapping[str, Any], registered: Mapping[str, Any], folder: Path) -> ColbertSpec:
    """Merge the four sources of a spec.

    Parameters
    ----------
    explicit
        Fields the caller gave. A `query_length` without a `query_expansion` asks for exactly that length.
    registered
        Fields of the registry's row.
    folder
        The checkpoint's folder, for its own config files.

    Raises
    ------
    InvalidInput
        A value that no checkpoint can mean.
    InvalidModel
        A config file that can't be read.
    """
    found = {**read_checkpoint(folder), **registered}
    asked = dict(explicit)
    if "query_length" in asked and "query_expansion" not in asked:
        asked["query_expansion"] = "none" if found.get("query_expansion", "none") == "none" else "fixed"
        asked["cut_queries"] = True
    return ColbertSpec(**{**found, **asked})


def read_checkpoint(folder: Path) -> dict[str, Any]:
    """Return the spec fields that the checkpoint's own files state; empty when it has none of them.

    References
    ----------
    PyLate's ``config_sentence_transformers.json``, Stanford's ``artifact.metadata``, next-plaid's
    ``onnx_config.json``.
    """
    readers = (_read_pylate, _read_stanford, _read_next_plaid)
    for name, reader in zip(CONFIG_FILES, readers, strict=True):
        if (folder / name).is_file():
            fields = reader(read_json(folder / name), folder)
            if fields:
                return fields
    return _read_sentence_transformer(folder)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; `InvalidModel` when it isn't one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidModel(f"{path} is not JSON ({error}); fetch the model's files again") from error
    if not isinstance(content, dict):
        raise InvalidModel(f"{path} holds {type(content).__name__}, not an object; fetch the model's files again")
    return content


def _read_pylate(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    if config.get("model_type") not in ("ColBERT", "MultiVectorEncoder") and "query_prefix" not in config:
        return {}  # a plain sentence-transformers folder has this file too
    expands = config.get("do_query_expansion", True)
    return {
        "query_marker": config.get("query_prefix", "[Q] ") or None,
        "document_marker": config.get("document_prefix", "[D] ") or None,
        "query_length": config.get("query_length") or 32,
        "query_expansion": "min" if expands else "none",
        "attend_to_expansion": bool(config.get("attend_to_expansion_tokens", False)),
        "document_length": config.get("document_length") or 180,
        "skiplist": tuple(config.get("skiplist_words", PUNCTUATION)),
        "lowercase": _lowercases(folder),
    }


def _read_stanford(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    return {
        "dim": config.get("dim"),
        "query_marker": config.get("query_token_id", "[unused0]"),
        "document_marker": config.get("doc_token_id", "[unused1]"),
        "query_length": config.get("query_maxlen", 32),
        "query_expansion": "min",
        "attend_to_expansion": bool(config.get("attend_to_mask_tokens", False)),
        "document_length": config.get("doc_maxlen", 220),
        "skiplist": PUNCTUATION if config.get("mask_punctuation", True) else (),
    }


def _read_next_plaid(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    # Its exporters write do_query_expansion=false whatever the model does, so the flag says nothing and the
    # default of ColBERT stands.
    return {
        "dim": config.get("embedding_dim"),
        "query_marker": config.get("query_prefix") or None,
        "document_marker": config.get("document_prefix") or None,
        "query_length": config.get("query_length", 48),
        "query_expansion": "min",
        "attend_to_expansion": bool(config.get("attend_to_expansion_tokens", False)),
        "document_length": config.get("document_length", 300),
        "skiplist": tuple(config.get("skiplist_words", PUNCTUATION)),
        "lowercase": bool(config.get("do_lower_case", False)),
    }


def _read_sentence_transformer(folder: Path) -> dict[str, Any]:
    # max_seq_length is left aside: it is where a mean over tokens was found to work best, not what the encoder
    # can read, and late interaction has no mean.
    return {"lowercase": True} if _lowercases(folder) else {}


def _lowercases(folder: Path) -> bool:
    path = folder / "sentence_bert_config.json"
    return path.is_file() and bool(read_json(path).get("do_lower_case", False))
