"""What lets a collection be pickled, copied and sent to another process: it goes as what it was made of."""

from __future__ import annotations

import os
import threading
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from colbert_qdrant.collection.engines import Place
from colbert_qdrant.collection.schema import Layout
from colbert_qdrant.collection.storage import Storage
from colbert_qdrant.errors import InvalidInput
from colbert_qdrant.types import Embedder

_OPENING = threading.RLock()
_WAITING = "_waiting"


class Reopened:
    """A collection that was unpickled or copied opens when it is first used, under the rules of any other.

    Nothing is created then: a collection that is gone by that time is an error. What is pickled holds the api key, if
    one was given.

    Raises
    ------
    InvalidInput
        On pickling: the collection lives in memory, or in the caller's own client.
    """

    place: Place
    embedder: Embedder
    storage: Storage

    if TYPE_CHECKING:

        @property
        def layout(self) -> Layout:
            """Where things are in the collection."""
            ...

    else:  # type checkers would take any name for an attribute

        def __getattr__(self, name: str) -> Any:
            if not name.startswith("__"):
                with _OPENING:
                    arguments = vars(self).pop(_WAITING, None)
                    if arguments is not None:
                        try:
                            self.__init__(**arguments)
                        except BaseException:
                            vars(self)[_WAITING] = arguments  # the next use tries again
                            raise
                    return object.__getattribute__(self, name)
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __getstate__(self) -> dict[str, Any]:
        """Return the arguments to make it again with."""
        waiting: dict[str, Any] | None = vars(self).get(_WAITING)
        return self._made_of() if waiting is None else waiting

    def __setstate__(self, arguments: dict[str, Any]) -> None:
        """Wait for the first use."""
        vars(self)[_WAITING] = arguments

    def _made_of(self) -> dict[str, Any]:
        place, layout = self.place, self.layout
        name = f"the collection {layout.name!r} can't be pickled or copied"
        if place.client is not None:
            raise InvalidInput(f"{name}: it lives in your own client, which only you make: open it with url= or path=")
        if place.path is None and not place.is_server:
            raise InvalidInput(f"{name}: it lives in this process's memory: open it with url= or path=")
        stated = {field.name: getattr(place, field.name) for field in fields(place)}
        stated |= {"tenant": layout.tenant, "shard_key": layout.shard_key}
        if place.path is not None:
            stated["path"] = os.path.abspath(place.path)
        return {
            **{name: value for name, value in stated.items() if value is not None},
            "name": layout.name,
            "embedder": self.embedder,
            "vector_name": layout.vector_name,
            "content_key": layout.content_key,
            "metadata_key": layout.metadata_key,
            "stages": layout.stages or None,
            "storage": self.storage,
            "create": False,
        }
