"""Every exception a caller can meet.

All derive from `ColbertQdrantError`; each also derives from the built-in that fits, so that code which
catches ``ValueError`` or ``ImportError`` keeps working. A message names the value, the reason and the way out.
"""


class ColbertQdrantError(Exception):
    """Base class of everything this package raises on purpose."""


class InvalidInput(ColbertQdrantError, ValueError):
    """An argument can't be used; nothing was written."""


class UnknownModel(InvalidInput):
    """The model name is neither registered nor a folder."""


class PointTooLarge(InvalidInput):
    """A document's multivector is larger than Qdrant accepts for one point."""


class ModelFilesNotFound(ColbertQdrantError, FileNotFoundError):
    """The model is known, its files could not be had from where they were looked for."""


class InvalidModel(ColbertQdrantError, ValueError):
    """The model's files are there and can't be used: corrupt, incomplete or of another shape."""


class ProviderUnavailable(ColbertQdrantError, ValueError):
    """The asked-for ONNX Runtime execution provider is not in this installation."""


class CollectionMismatch(ColbertQdrantError, ValueError):
    """The collection exists and was made for something else; the message lists each difference."""


class CollectionNotFound(ColbertQdrantError, LookupError):
    """The collection does not exist (any more)."""


class CollectionLocked(ColbertQdrantError, RuntimeError):
    """Another process holds the embedded collection open."""


class UnsupportedByEngine(ColbertQdrantError, NotImplementedError):
    """The engine behind the collection lacks the named construct."""


class EngineUnavailable(ColbertQdrantError, ConnectionError):
    """The Qdrant server could not be reached, did not answer in time, or is too busy: trying again may help.

    Parameters
    ----------
    message
        What happened.
    retry_after
        Seconds the server asks to be left alone, if it says so.
    timed_out
        Whether the caller has waited for the whole ``timeout`` already.
    """

    def __init__(self, message: str, *, retry_after: float | None = None, timed_out: bool = False) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.timed_out = timed_out


class EngineError(ColbertQdrantError, RuntimeError):
    """Qdrant refused a request."""


class AccessDenied(EngineError):
    """The server does not let this ``api_key`` do that: it has none, a wrong one, or one that only reads."""


class MissingIndex(EngineError):
    """The server's strict mode wants a payload index that the collection lacks; `create_index` makes it.

    https://qdrant.tech/documentation/guides/administration/#strict-mode
    """


class MissingExtra(ColbertQdrantError, ImportError):
    """An optional dependency is not installed; the message names the extra that brings it."""
