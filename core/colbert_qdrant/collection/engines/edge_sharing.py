"""Which collections of the embedded engine this process holds open: each once, shared, closed by its last user.

The engine can be opened once a folder, and a program opens the same folder many times without meaning to: a notebook's
cell that is run again, two stores over one collection. So whoever opens a folder that is open in this process gets the
same one; other processes meet its lock.
"""

from __future__ import annotations

import os
import threading
import weakref
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from colbert_qdrant.collection.engines.edge_folder import CollectionFolder, delete
from colbert_qdrant.errors import EngineError

if TYPE_CHECKING:
    from qdrant_client.http import models

_turn = threading.RLock()
_open: weakref.WeakValueDictionary[str, CollectionFolder] = weakref.WeakValueDictionary()
"""By real path; weak, so that what its users forgot to close is let go of with the last of them."""


def hold(folder: Path, user: object, description: models.CreateCollection | None = None) -> CollectionFolder:
    """Return a collection, opened if need be, that stays open until the user releases it.

    Parameters
    ----------
    folder
        Where the collection is, or shall be.
    user
        Who holds it; when the user is gone, so is its share.
    description
        The request to make it with; None: it exists.
    """
    with _turn:
        key = os.path.realpath(folder)
        collection = _open.get(key)
        if collection is not None and not collection.is_in_place():  # its folder was deleted, or another put there
            collection.let_go()
        if collection is None or collection.closed:
            collection = _open[key] = CollectionFolder(folder, description)
        elif description is not None:
            raise EngineError(f"Collection {folder.name!r} already exists in {folder.parent}.")
        collection.users.add(user)
        return collection


def release(collection: CollectionFolder, user: object) -> None:
    """Give up a user's share; with the last one the collection is closed, when the call that runs in it has ended."""
    with _turn:
        collection.users.discard(user)
        if not collection.users:
            collection.close()


def drop(folder: Path) -> None:
    """Delete a collection, whoever in this process uses it: their next call finds none, as on a server."""
    with _turn:
        collection = _open.get(os.path.realpath(folder))
        if collection is not None:
            with suppress(EngineError):  # whatever it holds is of no more use
                collection.close()
        delete(folder)


def _begin_anew_after_fork() -> None:
    global _turn, _open
    left, _open, _turn = list(_open.values()), weakref.WeakValueDictionary(), threading.RLock()
    for collection in left:
        collection.leave_to_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew_after_fork)
