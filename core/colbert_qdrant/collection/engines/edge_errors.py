"""What the embedded engine and the file system beneath it raise, as errors of this package: one boundary for both."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from colbert_qdrant.checks import QUOTED
from colbert_qdrant.errors import ColbertQdrantError, EngineError, InvalidInput

# How the engine's error texts begin when the request is at fault, not the storage (it has no error classes).
_CALLER_ERRORS = (
    "No appropriate index",
    "No point with id",
    "No range index",
    "Not existing vector name",
    "Validation failed",
    "Vector dimension error",
    "Wrong ",
)

_NO_FOLDER = "something that is no folder stands where a folder is needed (a file, or a link that leads nowhere)"
_NO_RIGHT = "this user may not write there: change the owner or the rights, or choose another folder"

# What to do about it, and whether the path is at fault or the place that it leads to.
_OS_ERRORS: dict[int, tuple[type[ColbertQdrantError], str]] = {
    errno.EACCES: (EngineError, _NO_RIGHT),
    errno.EPERM: (EngineError, _NO_RIGHT),
    errno.EROFS: (EngineError, "the embedded engine writes even to search: copy the folder to where it can"),
    errno.ENOSPC: (EngineError, "free some space on that disk, and repeat"),
    errno.EDQUOT: (EngineError, "this user's share of that disk is used up"),
    errno.EEXIST: (InvalidInput, _NO_FOLDER),
    errno.ENOTDIR: (InvalidInput, _NO_FOLDER),
    errno.EISDIR: (EngineError, "a folder stands where a file of the collection is needed"),
    errno.ELOOP: (InvalidInput, "its links lead in a circle"),
    errno.ENAMETOOLONG: (InvalidInput, "the path, or a name in it, is longer than the file system takes"),
}


@contextmanager
def engine_errors(subject: str) -> Iterator[None]:
    """Raise what the engine and the file system raise as errors of this package."""
    try:
        yield
    except ColbertQdrantError:
        raise
    except OSError as error:
        raise _named(error, subject) from error
    except (TypeError, ValueError, OverflowError) as error:
        raise refusal(subject, error) from error
    except BaseException as error:
        text = str(error)
        panic = type(error).__name__ == "PanicException"  # a BaseException, to pass by every `except Exception`
        if not (panic or isinstance(error, Exception)):
            raise
        if "index for `order_by`" in text or "index for faceting" in text:
            text += " (client.create_payload_index makes one)"
        if text.startswith("Not existing vector name"):
            text += ". The collection has changed since it was opened, or never had that vector: open it again"
        if text.startswith("Operation cancelled"):  # what is left of the reason, where it is a formula's
            text += (
                ": where there is a formula, such as boost=, it can't be computed for some point. A key that it reads "
                "has no number there (FormulaQuery(defaults=) gives one), or something in it comes to no finite number"
            )
        kind = InvalidInput if text.startswith(_CALLER_ERRORS) else EngineError
        raise kind(f"{subject}: {text}") from error


def refusal(subject: str, error: Exception) -> InvalidInput:
    """Return what to raise for an argument that the engine does not take."""
    way_out = f": {QUOTED}" if "invalid JSON path" in str(error) else ""
    return InvalidInput(f"{subject}: {error}{way_out}")


def _named(error: OSError, subject: str) -> ColbertQdrantError:
    kind, way_out = _OS_ERRORS.get(error.errno or 0, (EngineError, ""))
    reason = f"{error.strerror or error} ({error.filename!r:.300})" if error.filename else str(error)
    return kind(f"{subject}: {reason}" + (f"; {way_out}" if way_out else ""))
