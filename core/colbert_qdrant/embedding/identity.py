"""Which model it is, by its files and not by its name: what tells two folders of one name apart."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from colbert_qdrant.embedding.cache import digest_of
from colbert_qdrant.embedding.files import ModelFiles, external_data
from colbert_qdrant.embedding.pooling import TokenPooling
from colbert_qdrant.embedding.projection import Projection
from colbert_qdrant.embedding.reader import parse_json
from colbert_qdrant.embedding.spec import ColbertSpec

_OF_DOCUMENTS = (
    "document_marker",
    "document_prompt",
    "skiplist",
    "skip_first_pieces",
    "lowercase",
    "drop_first",
    "normalize",
)
"""Fields of a spec that change a document's vectors; its length and `strip` are the caller's, and remembered apart."""


def identity(files: ModelFiles, spec: ColbertSpec, projection: Projection | None) -> dict[str, str]:
    """Return digests of all that makes a document's vectors: what a collection remembers of a model.

    Returns
    -------
    dict
        ``graph``: of the ONNX file and of the weights outside of it. ``tokenizer``: of the vocabulary and its rules.
        ``projection``: of the layers that are kept beside the graph, where there are some. ``text``: of what the spec
        does to a document, and of how a checkpoint pools that does it in a way of its own.
    """
    fields = {name: value for name, value in asdict(spec).items() if name in _OF_DOCUMENTS}
    own = spec.pooling
    if own is not None and own != TokenPooling(own.factor, normalize=spec.normalize):
        fields["pooling"] = [own.protected_tokens, own.normalize]
    found = {
        "graph": graph_digest(files),
        "tokenizer": digest_of(files.folder / "tokenizer.json", _tokenizer_alone)[:32],
        "text": hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:32],
    }
    return found | ({} if projection is None else {"projection": projection.digest})


def graph_digest(files: ModelFiles) -> str:
    """Return the SHA-256 of a graph, or of its file and those of its weights together."""
    parts = [files.source, *(files.source.parent / name for name in external_data(files.source))]
    return digest_of(files.source) if len(parts) == 1 else _together(parts)


def _together(paths: list[Path]) -> str:
    return hashlib.sha256("\n".join(digest_of(path) for path in paths).encode()).hexdigest()


def _tokenizer_alone(raw: bytes) -> bytes:
    """Leave out how long texts of the last call were, which libraries save along and nobody reads."""
    content = parse_json(raw, Path("tokenizer.json"))
    if not isinstance(content, dict):
        return raw
    kept = {name: value for name, value in content.items() if name not in ("padding", "truncation")}
    return json.dumps(kept, sort_keys=True).encode()
