"""What became of the records given to `add`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from colbert_qdrant.collection.ids import RecordId
from colbert_qdrant.errors import InvalidInput
from colbert_qdrant.notebook import counts_html

OnError: TypeAlias = Literal["raise", "skip"]


def check_on_error(on_error: OnError) -> None:
    """Refuse a word that says neither, such as "ignore", which would do as one of them does.

    Raises
    ------
    InvalidInput
        Names the two.
    """
    if on_error not in get_args(OnError):
        raise InvalidInput(f"on_error={on_error!r:.60}: give {' or '.join(map(repr, get_args(OnError)))}")


@dataclass(frozen=True, slots=True)
class Failure:
    """A record that was left out.

    Parameters
    ----------
    position
        Of its text among the texts, from 0.
    id
        The id that was given for it, if one was.
    reason
        What is wrong with it.
    """

    position: int
    id: RecordId | None
    reason: str


@dataclass(slots=True)
class AddReport:
    """What became of the records given to `add`.

    Parameters
    ----------
    ids
        Of all that are stored now, in the order of the texts.
    added, updated, unchanged
        How many were new, replaced another or its metadata, or were there already and cost no more than a look-up.
    encoded
        How many texts were encoded.
    failed
        Those left out, with ``on_error="skip"``.
    """

    ids: list[str] = field(default_factory=list, repr=False)
    added: int = 0
    updated: int = 0
    unchanged: int = 0
    encoded: int = 0
    failed: list[Failure] = field(default_factory=list)
    _again: dict[str, list[int]] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Where records stand that stood before, by id: what becomes of one becomes of all."""
    _refused: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)

    def take_again(self, record_id: str, position: int) -> None:
        """Note that a record stands at a further position."""
        if record_id in self._refused:
            self.failed.append(Failure(position, record_id, self._refused[record_id]))
            return
        self._again.setdefault(record_id, []).append(position)
        self.ids.append(record_id)

    def leave_out(self, record_id: str, position: int, reason: str) -> None:
        """Note that a record can't be stored after all."""
        positions = [position, *self._again.pop(record_id, ())]
        self.failed += [Failure(each, record_id, reason) for each in positions]
        self.ids = [stored for stored in self.ids if stored != record_id]
        self._refused[record_id] = reason

    @property
    def stored(self) -> int:
        """How many records are in the collection now."""
        return self.added + self.updated + self.unchanged

    def _repr_html_(self) -> str:
        counts = {name: getattr(self, name) for name in ("added", "updated", "unchanged", "encoded")}
        return counts_html({**counts, "failed": len(self.failed)})
