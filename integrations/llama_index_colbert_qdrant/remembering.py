"""What a postprocessor with a model remembers of its making: in a dict, in a copy, on its way to another process."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Self

from llama_index.core.bridge.pydantic import Field, PrivateAttr
from llama_index.core.postprocessor.types import BaseNodePostprocessor

from colbert_qdrant.errors import InvalidInput

if TYPE_CHECKING:
    from colbert_qdrant.types import Embedder
    from llama_index_colbert_qdrant.vector_store import ColbertQdrantVectorStore

GIVEN = "made_with"
"""Where the settings say what a postprocessor was made with that they can't hold."""


def source_of(
    model: str | None, embedder: Embedder | None, vector_store: ColbertQdrantVectorStore | None
) -> str | None:
    """Return the name of the argument that brings the model; ``None``: it is the default one.

    Raises
    ------
    InvalidInput
        More than one of them does.
    """
    sources = {"model": model, "embedder": embedder, "vector_store": vector_store}
    named = [name for name, value in sources.items() if value is not None]
    if len(named) > 1:
        raise InvalidInput(f"{' and '.join(named)} each bring a model; give one of them")
    return named[0] if named else None


class RememberingPostprocessor(BaseNodePostprocessor):
    """A postprocessor of a model, an embedder or a store, whose fields are the arguments that it is made of again."""

    model: str = Field(description="Name of the ColBERT model.")

    _given: str | None = PrivateAttr(default=None)
    """Which argument it was made with that a dict does not hold."""

    @property
    @abstractmethod
    def _embedder(self) -> Embedder:
        """What encodes for it."""

    def to_dict(self, **kwargs: Any) -> dict[str, Any]:
        """Return the settings; of an embedder or a store that was given, only that it was, see `from_dict`."""
        data = super().to_dict(**kwargs)
        return data if self._given is None else {**data, GIVEN: self._given}

    @classmethod
    def from_dict(cls, data: dict[str, Any], **kwargs: Any) -> Self:
        """Return the postprocessor of these settings.

        Raises
        ------
        InvalidInput
            It had an embedder or a store of its own, which a dict does not hold, and none is given in its place.
        """
        settings = {**data, **kwargs}
        given = settings.pop(GIVEN, None)
        if given is not None and not any(kwargs.get(name) is not None for name in ("embedder", "vector_store")):
            raise InvalidInput(f"this {cls.__name__} was made with {given}=, which a dict does not hold: give {given}=")
        if given is not None:
            settings.pop("model")
        settings.pop("class_name", None)
        return cls(**settings)

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Return another of the same settings, which shares the model and the store."""
        return self.model_copy()

    def __reduce__(self) -> tuple[Any, ...]:
        """Be rebuilt of what it was made of: LlamaIndex would drop what can't be pickled."""
        if self._given == "vector_store":
            raise TypeError(
                f"a {type(self).__name__} with vector_store= can't be pickled, as the store can't: make another there"
            )
        return _remade, (type(self), self.to_dict(), self._embedder if self._given else None)


def _remade(
    cls: type[RememberingPostprocessor], data: dict[str, Any], embedder: Embedder | None
) -> RememberingPostprocessor:
    return cls.from_dict(data) if embedder is None else cls.from_dict(data, embedder=embedder)
