"""Questions and what answers them, as a caller may give them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from colbert_qdrant.collection.ids import RecordId, id_text
from colbert_qdrant.collection.operations import Query
from colbert_qdrant.errors import InvalidInput

Grades: TypeAlias = RecordId | Iterable[RecordId] | Mapping[RecordId, int]
"""What answers a question: an id, ids, or grades by id."""

HIGHEST = 1_000_000
"""Of grades: trec_eval, which counts with them, keeps a table as long as the highest."""


@dataclass(frozen=True, slots=True)
class Questions:
    """Questions, checked.

    Parameters
    ----------
    queries
        By name.
    grades
        By a question's name the grade of each record that answers it, 1 or more; ``None``: nobody knows.
    """

    queries: Mapping[str, Query]
    grades: Mapping[str, Mapping[str, int]] | None

    @property
    def judged(self) -> list[str]:
        """The ids of all records that answer something."""
        return list(dict.fromkeys(record for grades in (self.grades or {}).values() for record in grades))

    def naming(self, ids: Mapping[str, str]) -> Questions:
        """Return the same questions with these ids in place of those that stand for them, as a search gives them."""
        if self.grades is None:
            return self
        each = self.grades.items()
        named = {name: {ids.get(record, record): grade for record, grade in grades.items()} for name, grades in each}
        return Questions(self.queries, named)


def as_questions(queries: Mapping[str, Query] | Iterable[str], qrels: Mapping[str, Grades] | None) -> Questions:
    """Check questions and judgements.

    Raises
    ------
    InvalidInput
        There is nothing to ask, or the judgements are of other questions.
    """
    if isinstance(queries, str):
        raise InvalidInput(f"queries={queries!r:.60} is a single question; give a list")
    named = dict(queries) if isinstance(queries, Mapping) else {text: text for text in queries}
    if not named:
        raise InvalidInput("there are no questions; give at least one, better fifty")
    if qrels is None:
        return Questions(named, None)
    if not isinstance(qrels, Mapping):
        raise InvalidInput(f"qrels is a {type(qrels).__name__}; give what answers each question by the question's name")
    grades = {str(name): _grades(str(name), given) for name, given in qrels.items()}
    asked = {name: found for name, found in grades.items() if name in named}
    known = {name: found for name, found in asked.items() if found}
    if asked and not known:
        raise InvalidInput(
            f"qrels says of no question what answers it, such as {next(iter(asked))!r:.60}: a grade of 0 is none, give "
            "1 or more"
        )
    if not known:
        example = next(iter(grades), None)
        raise InvalidInput(
            f"qrels judges none of the questions: it has {example!r:.60}, they are {next(iter(named))!r:.60}, ...; "
            "give what answers each by its name in queries"
        )
    return Questions(named, known)


def _grades(name: str, given: Grades) -> dict[str, int]:
    if isinstance(given, Mapping):
        for record, grade in given.items():
            if isinstance(grade, bool) or not isinstance(grade, int | np.integer) or grade > HIGHEST:
                raise InvalidInput(
                    f"qrels[{name!r:.60}][{record!r:.60}] is {grade!r:.60}; "
                    f"a grade is a whole number of at most {HIGHEST:,}"
                )
        return {id_text(record): int(grade) for record, grade in given.items() if grade > 0}
    ids = [given] if isinstance(given, str) or not isinstance(given, Iterable) else given
    return {id_text(record): 1 for record in ids}
