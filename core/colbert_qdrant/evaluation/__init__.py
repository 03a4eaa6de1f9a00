"""How good a collection's searches are on questions of your own, and what each of its settings keeps and costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from colbert_qdrant.evaluation import quality
from colbert_qdrant.evaluation.measuring import CANDIDATES, evaluated
from colbert_qdrant.evaluation.questions import Grades, as_questions
from colbert_qdrant.evaluation.report import Estimate, Evaluation, Setting
from colbert_qdrant.notebook import is_watched

if TYPE_CHECKING:
    from colbert_qdrant.collection.aio import AsyncMultivectorCollection
    from colbert_qdrant.collection.operations import Query
    from colbert_qdrant.collection.sync import MultivectorCollection

__all__ = ["Estimate", "Evaluation", "Setting", "aevaluate", "evaluate"]


def evaluate(
    collection: MultivectorCollection,
    queries: Mapping[str, Query] | Iterable[str],
    qrels: Mapping[str, Grades] | None = None,
    *,
    limit: int = 10,
    candidates: Iterable[int] = CANDIDATES,
    share: float = 0.95,
    show_progress: bool | None = None,
) -> Evaluation:
    """Search for each question in every way that the collection has, and say what each way finds and costs.

    The ways are exact MaxSim; each first stage alone, and before MaxSim with so many candidates; all stages fused. Of
    each is measured the share of the exact ten best that it keeps, milliseconds a search (the median, one at a time,
    the question encoded) and bytes of vectors a document; with `qrels` also nDCG@10, recall and MRR@10. Beside them
    stands what other storage would keep, computed from stored vectors: half precision, pooling by 2 and 3. For that
    the exact fifty best of twenty questions are put in order anew; what lies behind them can't come up, and the
    figures are that little too kind.

    Parameters
    ----------
    collection
        It is only read.
    queries
        Texts, or by name texts or ``(tokens, dim)`` vectors. Fifty show a trend; a hundred and more tell apart what is
        close.
    qrels
        What answers a question, by the name it has in `queries` or, if it has none, its text: the id of a record, ids,
        or grades by id, of which 0 is none. Questions without an entry count for what is kept alone.
    limit
        Hits of a search, 10 at least; recall is of so many.
    candidates
        How many a stage hands on to MaxSim.
    share
        What is to be kept: the cheapest search that does is `Evaluation.cheapest`.
    show_progress
        A bar; ``None``: where a terminal is attached.

    Returns
    -------
    Evaluation
        ``print`` shows it as tables, `Evaluation.plot` draws it. Intervals hold 95% of the means over questions drawn
        anew (bootstrap of 2,000 draws, seeded).

    Raises
    ------
    MissingExtra
        With `qrels`, without the extra ``evaluate``, whose ``ir_measures`` does the arithmetic.
    InvalidInput
        There are no questions or no documents, or `qrels` names none of them.

    References
    ----------
    https://ir-measur.es, for the measures; Efron, "Bootstrap methods: another look at the jackknife", 1979.

    Examples
    --------
    >>> print(evaluate(collection, ["how do I restore a backup"], {"how do I restore a backup": "backup.md"}))
    """
    asked = as_questions(queries, qrels)
    if asked.grades is not None:
        quality.check_installed()
    with _bar(show_progress) as advance:
        return collection._run(
            evaluated(collection.layout, collection.settings, asked, limit, candidates, share, advance)
        )


async def aevaluate(
    collection: AsyncMultivectorCollection,
    queries: Mapping[str, Query] | Iterable[str],
    qrels: Mapping[str, Grades] | None = None,
    *,
    limit: int = 10,
    candidates: Iterable[int] = CANDIDATES,
    share: float = 0.95,
    show_progress: bool | None = None,
) -> Evaluation:
    """Do as `evaluate` does, with an `AsyncMultivectorCollection`."""
    asked = as_questions(queries, qrels)
    if asked.grades is not None:
        quality.check_installed()
    await collection._open()
    with _bar(show_progress) as advance:
        return await collection._run(
            evaluated(collection.layout, collection.settings, asked, limit, candidates, share, advance)
        )


@contextmanager
def _bar(show: bool | None) -> Iterator[Callable[[int, int], None]]:
    """Give a function that draws how many of how many searches are done."""
    from tqdm import tqdm

    with tqdm(unit="search", desc="evaluate", disable=not is_watched() if show is None else not show, delay=0.5) as bar:

        def advance(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield advance
