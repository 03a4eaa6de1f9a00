"""What a checkpoint's own config files say: the fields of `ColbertSpec` that they state."""

from __future__ import annotations

import json
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from colbert_qdrant.errors import InvalidModel

T = TypeVar("T")

PUNCTUATION = tuple(string.punctuation)
"""ColBERT's document skiplist: the 32 ASCII punctuation marks (colbert-ai, ``mask_punctuation``)."""

CONFIG_FILES = ("config_sentence_transformers.json", "artifact.metadata", "onnx_config.json")
"""Files that say how a checkpoint treats text, the most trustworthy first."""


BGE_HEAD = "colbert_linear.pt"
"""bge-m3's projection of token vectors; the modules beside it are those of its single vector."""


def read_checkpoint(folder: Path) -> dict[str, Any]:
    """Return the spec fields that the checkpoint's own files state; empty when it has none of them.

    Raises
    ------
    InvalidModel
        A file that can't be read, or a checkpoint that is not for text.

    References
    ----------
    PyLate and sentence-transformers: ``config_sentence_transformers.json`` and the files of the modules,
    https://sbert.net/docs/package_reference/multi_vector_encoder/; Stanford: ``artifact.metadata``,
    https://github.com/stanford-futuredata/ColBERT (colbert/infra/config); next-plaid: ``onnx_config.json``.
    """
    readers = (_read_sentence_transformers, _read_stanford, _read_next_plaid)
    for name, reader in zip(CONFIG_FILES, readers, strict=True):
        if (folder / name).is_file():
            fields = reader(read_json(folder / name), folder)
            if fields:
                return fields
    return _read_sentence_encoder(folder)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; `InvalidModel` when it isn't one."""
    content = _json(path)
    if not isinstance(content, dict):
        raise InvalidModel(f"{path} holds {type(content).__name__}, not an object; fetch the model's files again")
    return content


def read_modules(folder: Path) -> list[tuple[str, Path]]:
    """Read ``modules.json``: kind and folder of each module, in order; empty where there is no such file.

    The kind is the name of its class, such as ``"Dense"``, whose package differs between libraries and versions.
    """
    path = folder / "modules.json"
    modules = _json(path) if path.is_file() else []
    try:
        return [(str(module["type"]).rpartition(".")[2], folder / str(module["path"])) for module in modules]
    except (TypeError, KeyError) as error:
        raise InvalidModel(f"{path} is no list of modules ({error!r}); fetch the model's files again") from error


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidModel(f"{path} is not JSON ({error}); fetch the model's files again") from error


def _read_sentence_transformers(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    if config.get("model_type") == "MultiVectorEncoder":
        return _read_multi_vector_encoder(config, folder)
    if config.get("model_type") == "ColBERT" or "query_prefix" in config:
        return _read_pylate(config, folder)
    return {}  # a plain sentence encoder has this file too


def _read_pylate(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    return {
        "query_marker": _stated(config, "query_prefix", "[Q] ") or None,
        "document_marker": _stated(config, "document_prefix", "[D] ") or None,
        "query_length": _stated(config, "query_length", 32),
        "query_expansion": "min" if _stated(config, "do_query_expansion", True) else "none",
        "attend_to_expansion": _stated(config, "attend_to_expansion_tokens", False),
        "document_length": _stated(config, "document_length", 180),
        "skiplist": tuple(_stated(config, "skiplist_words", PUNCTUATION)),
        "lowercase": _lowercases(folder),
        **_prompts(config),
        **_expansion_token(folder),
    }


def _read_multi_vector_encoder(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Read what sentence-transformers 6 saves: markers are part of the prompts, masking is a module of its own."""
    transformer = _read_if_there(folder / "sentence_bert_config.json")
    expansion = transformer.get("query_expansion")
    query_length = transformer.get("query_length")
    fields = {
        "document_length": transformer.get("document_length"),
        "skiplist": (),
        "lowercase": _lowercases(folder),
        **_prompts(config),
        **_expansion_token(folder),
    }
    if expansion:
        fields |= {
            "query_length": expansion.get("length", 32),
            "query_expansion": expansion.get("strategy", "fixed"),
            "attend_to_expansion": expansion.get("attend", False),
        }
        if expansion.get("token"):
            fields["expansion_token"] = expansion["token"]
    elif query_length:
        fields |= {"query_length": query_length, "cut_queries": True}
    for kind, path in read_modules(folder):
        if kind == "MultiVectorMask":
            mask = read_json(path / "config.json")
            if mask.get("keep_only_token_ids"):
                raise InvalidModel(f"{path / 'config.json'} keeps only the tokens of images: no checkpoint for text")
            tasks = mask.get("skiplist_tasks") or ["document"]
            words = tuple(mask.get("skiplist_words") or ())
            fields |= {"skiplist": words if "document" in tasks else ()}
            if "query" in tasks and words:
                fields |= {"query_skiplist": words}
    return fields


def _read_stanford(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    return {
        "dim": config.get("dim"),
        "query_marker": _stated(config, "query_token_id", "[unused0]"),
        "document_marker": _stated(config, "doc_token_id", "[unused1]"),
        "query_length": _stated(config, "query_maxlen", 32),
        "query_expansion": "min",
        "attend_to_expansion": _stated(config, "attend_to_mask_tokens", False),
        "document_length": _stated(config, "doc_maxlen", 220),
        "skiplist": PUNCTUATION if _stated(config, "mask_punctuation", True) else (),
        **_expansion_token(folder),
    }


def _read_next_plaid(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    # Its exporters write do_query_expansion=false whatever the model does, so the flag says nothing and the
    # default of ColBERT stands.
    return {
        "dim": config.get("embedding_dim"),
        "query_marker": config.get("query_prefix") or None,
        "document_marker": config.get("document_prefix") or None,
        "query_length": _stated(config, "query_length", 48),
        "query_expansion": "min",
        "attend_to_expansion": _stated(config, "attend_to_expansion_tokens", False),
        "document_length": _stated(config, "document_length", 300),
        "skiplist": tuple(_stated(config, "skiplist_words", PUNCTUATION)),
        "lowercase": _stated(config, "do_lower_case", False),
        **_expansion_token(folder),
    }


def _read_sentence_encoder(folder: Path) -> dict[str, Any]:
    # max_seq_length is left aside: it is where a mean over tokens was found to work best, not what the encoder
    # can read, and late interaction has no mean. So are prompts: their words would be matched with documents.
    fields = {"lowercase": _lowercases(folder), "drop_first": (folder / BGE_HEAD).is_file()}
    return {name: True for name, stated in fields.items() if stated}


def _prompts(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the text that goes before every query and every document, where there is any."""
    prompts = config.get("prompts") or {}
    default = prompts.get(config.get("default_prompt_name"))
    document = next((prompts[name] for name in ("document", "passage", "corpus") if prompts.get(name)), default)
    found = {"query_prompt": prompts.get("query") or default, "document_prompt": document}
    return {name: prompt for name, prompt in found.items() if prompt}


def _expansion_token(folder: Path) -> dict[str, str]:
    """Return the token that pads queries: the mask token, or the end of text where a decoder has no such token."""
    named = _read_if_there(folder / "special_tokens_map.json") | _read_if_there(folder / "tokenizer_config.json")
    token = named.get("mask_token") or named.get("eos_token")
    if isinstance(token, dict):
        token = token.get("content")
    return {"expansion_token": token} if token else {}


def _lowercases(folder: Path) -> bool:
    return bool(_read_if_there(folder / "sentence_bert_config.json").get("do_lower_case", False))


def _read_if_there(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def _stated(config: Mapping[str, Any], name: str, default: T) -> T:
    """Return a setting; one that is ``null`` is not stated."""
    value: T | None = config.get(name)
    return default if value is None else value
