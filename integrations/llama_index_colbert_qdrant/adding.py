"""What goes on around an ``add``: its options, the events that LlamaIndex is told, and what became of the nodes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from llama_index.core import Settings
from llama_index.core.callbacks import CBEventType, EventPayload
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]  # not in its __all__
from llama_index.core.instrumentation.events.embedding import EmbeddingEndEvent, EmbeddingStartEvent
from llama_index.core.schema import BaseNode

from colbert_qdrant.errors import InvalidInput
from llama_index_colbert_qdrant import migration
from llama_index_colbert_qdrant.embedding import embeddings_of

if TYPE_CHECKING:
    from colbert_qdrant.collection.reports import AddReport

_NAMED = 3
"""Failures whose reasons an error gives."""

dispatcher = get_dispatcher(__name__)


def options_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of the collection's ``add``: a node that can't be stored does not keep others from it."""
    options = {name: value for name, value in given.items() if name in ("on_error", "progress")}
    migration.refuse({name: value for name, value in given.items() if name not in options}, "add")
    return {"on_error": "skip", **options}


@contextmanager
def reported(model_name: str, texts: Sequence[str]) -> Iterator[None]:
    """Tell LlamaIndex that texts are being encoded, and by what, as its own embedding models do.

    Both its instrumentation and its callbacks are told; a multivector is not among what they know.
    """
    model = {"model_name": model_name}
    dispatcher.event(EmbeddingStartEvent(model_dict=model))
    with Settings.callback_manager.event(CBEventType.EMBEDDING, payload={EventPayload.SERIALIZED: model}) as event:
        yield
        event.on_end(payload={EventPayload.CHUNKS: list(texts), EventPayload.EMBEDDINGS: []})
    dispatcher.event(EmbeddingEndEvent(chunks=list(texts), embeddings=[]))


def settled(report: AddReport, total: int, given: Mapping[str, Any]) -> list[str]:
    """Return the ids of what is stored.

    Raises
    ------
    InvalidInput
        Something could not be stored, and was not to be left out without a word.
    """
    if report.failed and given.get("on_error") != "skip":
        reasons = [f"{failure.id!r}: {failure.reason}" for failure in report.failed[:_NAMED]]
        if len(report.failed) > _NAMED:
            reasons.append(f"and {len(report.failed) - _NAMED} more")
        raise InvalidInput(
            f"{len(report.failed)} of {total} nodes were not stored, the others are: {'; '.join(reasons)}. A text that "
            "is too long is cut by store.splitter(), as as_index() and as_pipeline() do"
        )
    return report.ids


def warn_of_embeddings(nodes: Sequence[BaseNode]) -> bool:
    """Say that an embedding model is paid for nothing, where nodes come with its vectors; return whether it was."""
    given = [embedding for embedding in embeddings_of(nodes) if embedding is not None]
    if given:
        warnings.warn(
            f"nodes come with embeddings ({len(given[0])} numbers each) that nobody looks at: this "
            "store encodes texts itself. Settings.embed_model = ColbertTextEmbedding(), or an index of "
            "store.as_index(), saves them; stages=[Dense(model)] and embed_model=model make use of them",
            stacklevel=4,
        )
    return bool(given)
