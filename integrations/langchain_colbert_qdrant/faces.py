"""The asynchronous face of a collection, for whichever event loop asks."""

from __future__ import annotations

import asyncio
import threading

from colbert_qdrant.collection.aio import AsyncMultivectorCollection
from colbert_qdrant.collection.sync import MultivectorCollection


class AsyncFaces:
    """One face for each event loop: an asynchronous client's connections belong to the loop that opened them.

    LangChain's users call ``asyncio.run`` more than once, and in more than one thread.
    https://github.com/encode/httpx/discussions/2489

    Parameters
    ----------
    collection
        The open collection.
    """

    def __init__(self, collection: MultivectorCollection) -> None:
        self._collection = collection
        self._of_loop: dict[asyncio.AbstractEventLoop, AsyncMultivectorCollection] = {}
        self._opening = threading.Lock()

    def here(self) -> AsyncMultivectorCollection:
        """Return the face of the running loop; forget those of closed loops."""
        loop = asyncio.get_running_loop()
        with self._opening:
            if loop not in self._of_loop:
                self._of_loop = {other: face for other, face in self._of_loop.items() if not other.is_closed()}
                self._of_loop[loop] = self._collection.as_async()
            return self._of_loop[loop]

    async def close_here(self) -> None:
        """Close the face of the running loop, if it has one."""
        face = self._of_loop.pop(asyncio.get_running_loop(), None)
        if face is not None:
            await face.close()
