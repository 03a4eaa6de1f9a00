"""What a checkpoint's own config files say: the fields of `ColbertSpec` that they state."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

from colbert_qdrant.embedding.pooling import TokenPooling
from colbert_qdrant.embedding.reader import Config, Module, is_file, read_config, read_config_if_there, read_modules
from colbert_qdrant.errors import InvalidModel

PUNCTUATION = tuple(string.punctuation)
"""ColBERT's document skiplist: the 32 ASCII punctuation marks (colbert-ai, ``mask_punctuation``)."""

CONFIG_FILES = ("config_sentence_transformers.json", "artifact.metadata", "onnx_config.json")
"""Files that say how a checkpoint treats text, the most trustworthy first."""

TRANSFORMER_FILES = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
"""What sentence-transformers has called the settings of its encoder; the first that there is counts.

https://github.com/huggingface/sentence-transformers (``Transformer.load_config``)
"""

EXPORTABLE = ("bert", "modernbert")
"""The architectures, by ``model_type``, that `colbert_qdrant.export` makes a graph of."""

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
        if is_file(folder / name):
            fields = reader(read_config(folder / name), folder)
            if fields:
                return fields
    return _read_sentence_encoder(folder)


def _read_sentence_transformers(config: Config, folder: Path) -> dict[str, Any]:
    kind = config.text("model_type", None)
    if kind == "MultiVectorEncoder":
        return _read_multi_vector_encoder(config, folder)
    if kind == "ColBERT" or "query_prefix" in config.values:
        return _read_pylate(config, folder)
    return {}  # a plain sentence encoder has this file too


def _read_pylate(config: Config, folder: Path) -> dict[str, Any]:
    return {
        "query_marker": config.text("query_prefix", "[Q] ") or None,
        "document_marker": config.text("document_prefix", "[D] ") or None,
        "query_length": config.count("query_length", 32),
        "query_expansion": "min" if config.flag("do_query_expansion", True) else "none",
        "attend_to_expansion": config.flag("attend_to_expansion_tokens", False),
        "document_length": config.count("document_length", 180),
        "skiplist": config.words("skiplist_words", PUNCTUATION),
        "lowercase": _lowercases(folder),
        **_prompts(config),
        **_expansion_token(folder),
    }


def _read_multi_vector_encoder(config: Config, folder: Path) -> dict[str, Any]:
    """Read what sentence-transformers 6 saves: markers are part of the prompts, and each step is a module.

    https://sbert.net/docs/package_reference/multi_vector_encoder/modules.html
    """
    transformer = _transformer(folder)
    expansion = transformer.section("query_expansion")
    longest_query = transformer.count("query_length", None)
    fields: dict[str, Any] = {
        "document_length": transformer.count("document_length", None),
        "skiplist": (),
        "lowercase": _lowercases(folder),
        **_prompts(config),
        **_expansion_token(folder),
    }
    if expansion.values:
        strategy = expansion.text("strategy", "fixed")
        if strategy not in ("min", "fixed"):
            raise expansion.wrong("strategy", "'min' or 'fixed'")
        fields |= {
            "query_length": expansion.count("length", 32),
            "query_expansion": strategy,
            "attend_to_expansion": expansion.flag("attend", False),
            "longest_query": longest_query,
        }
        if expansion.text("token", None):
            fields["expansion_token"] = expansion.text("token", None)
    elif longest_query:
        fields |= {"query_length": longest_query, "cut_queries": True}
    modules = read_modules(folder)
    fields["normalize"] = False
    for module in modules:
        match module.kind:
            case "MultiVectorMask":
                fields |= _mask(module)
            case "Normalize":
                fields["normalize"] = works_on_tokens(module)
            case "Dense":
                fields["normalize"] = False
            case "HierarchicalTokenPooling":
                fields["pooling"] = _token_pooling(module)
    return fields


def works_on_tokens(module: Module) -> bool:
    """Tell whether a module changes token vectors, or the one of the whole text."""
    config = read_config_if_there(module.folder / "config.json")
    return config.text("module_input_name", "sentence_embedding") == "token_embeddings"


def _mask(module: Module) -> dict[str, Any]:
    mask = read_config(module.folder / "config.json")
    if mask.values.get("keep_only_token_ids"):
        raise InvalidModel(f"{mask.place} keeps only the tokens of images: no checkpoint for text")
    tasks = mask.words("skiplist_tasks", ()) or ("document",)
    words = mask.words("skiplist_words", ())
    skipped = {"skiplist": words if "document" in tasks else ()}
    return skipped | {"query_skiplist": words} if "query" in tasks and words else skipped


def _token_pooling(module: Module) -> TokenPooling | None:
    config = read_config(module.folder / "config.json")
    tasks = config.words("tasks", ()) or ("document",)
    if tasks != ("document",):
        raise config.wrong("tasks", "documents alone, as nothing else is pooled here")
    factor = config.number("pool_factor", 1.0)
    if not 1 <= factor <= 10**6:
        raise config.wrong("pool_factor", "at least 1")
    return TokenPooling(
        factor=factor,
        protected_tokens=config.count("num_protected_tokens", 1),
        normalize=config.flag("normalize_embeddings", False),  # what is not stated was saved before it existed
    )


def _read_stanford(config: Config, folder: Path) -> dict[str, Any]:
    return {
        "dim": config.count("dim", None),
        "query_marker": config.text("query_token_id", "[unused0]"),
        "document_marker": config.text("doc_token_id", "[unused1]"),
        "query_length": config.count("query_maxlen", 32),
        "query_expansion": "min",
        "attend_to_expansion": config.flag("attend_to_mask_tokens", False),
        "document_length": config.count("doc_maxlen", 220),
        "skiplist": PUNCTUATION if config.flag("mask_punctuation", True) else (),
        **_expansion_token(folder),
    }


def _read_next_plaid(config: Config, folder: Path) -> dict[str, Any]:
    # Its exporters write do_query_expansion=false whatever the model does, so the flag says nothing and the
    # default of ColBERT stands.
    return {
        "dim": config.count("embedding_dim", None),
        "query_marker": config.text("query_prefix", None) or None,
        "document_marker": config.text("document_prefix", None) or None,
        "query_length": config.count("query_length", 48),
        "query_expansion": "min",
        "attend_to_expansion": config.flag("attend_to_expansion_tokens", False),
        "document_length": config.count("document_length", 300),
        "skiplist": config.words("skiplist_words", PUNCTUATION),
        "lowercase": config.flag("do_lower_case", False),
        **_expansion_token(folder),
    }


def _read_sentence_encoder(folder: Path) -> dict[str, Any]:
    # max_seq_length is left aside: it is where a mean over tokens was found to work best, not what the encoder
    # can read, and late interaction has no mean. So are prompts: their words would be matched with documents.
    fields = {"lowercase": _lowercases(folder), "drop_first": is_file(folder / BGE_HEAD)}
    return {name: True for name, stated in fields.items() if stated}


def read_sentence_encoder(folder: Path) -> dict[str, Any]:
    """Return the spec fields that a checkpoint states for its one vector a text: there prompts are part of a text.

    Raises
    ------
    InvalidModel
        A file that can't be read.
    """
    return {"lowercase": _lowercases(folder), **_prompts(read_config_if_there(folder / CONFIG_FILES[0]))}


def _prompts(config: Config) -> dict[str, str]:
    """Return the text that goes before every query and every document, where there is any.

    A prompt that is stated counts, also an empty one; the default one is for kinds that have none of their own.
    """
    prompts = config.section("prompts")
    default = prompts.text(config.text("default_prompt_name", ""), "")
    document = next((name for name in ("document", "passage", "corpus") if name in prompts), "")
    found = {"query_prompt": prompts.text("query", default), "document_prompt": prompts.text(document, default)}
    return {name: prompt for name, prompt in found.items() if prompt}


def _expansion_token(folder: Path) -> dict[str, str]:
    """Return the token that pads queries: the mask token, or the end of text where a decoder has no such token."""
    named: dict[str, str] = {}
    for file in ("special_tokens_map.json", "tokenizer_config.json"):
        config = read_config_if_there(folder / file)
        for role in ("mask_token", "eos_token"):
            is_described = isinstance(config.values.get(role), dict)
            token = config.section(role).text("content", None) if is_described else config.text(role, None)
            if token:
                named[role] = token
    token = named.get("mask_token") or named.get("eos_token")
    return {"expansion_token": token} if token else {}


def _lowercases(folder: Path) -> bool:
    return _transformer(folder).flag("do_lower_case", False)


def _transformer(folder: Path) -> Config:
    """Return the settings of the encoder; without values where there are none."""
    configs = [read_config_if_there(folder / name) for name in TRANSFORMER_FILES]
    return next((config for config in configs if config.values), configs[0])
