"""How good orders of documents are: measures by ``ir_measures``, intervals by bootstrap. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec

import numpy as np
import numpy.typing as npt

from colbert_qdrant.errors import MissingExtra
from colbert_qdrant.evaluation.report import Estimate

Run = Mapping[str, Sequence[str]]
"""The ids that were found for each question, the best first."""

DRAWS = 2_000
_DRAWN_AT_ONCE = 1_000_000
BEST = 10
"""Of the exact order, how many are to be kept; and the rank at which nDCG and MRR stop."""


def check_installed() -> None:
    """Refuse judgements where nothing can count with them, before anything is searched.

    Raises
    ------
    MissingExtra
        ``ir_measures`` is not installed.
    """
    if find_spec("ir_measures") is None:
        raise MissingExtra('nDCG, recall and MRR take ir_measures: pip install "colbert-qdrant[evaluate]"')


def measured(run: Run, grades: Mapping[str, Mapping[str, int]], limit: int) -> dict[str, Estimate]:
    """Return ``ndcg``, ``recall`` and ``mrr`` over the judged questions; one that found nothing has 0."""
    import ir_measures

    measures = {
        "ndcg": ir_measures.nDCG @ BEST,
        "recall": ir_measures.R @ limit,
        "mrr": ir_measures.RR @ BEST,
    }
    names = {str(measure): name for name, measure in measures.items()}
    # Ranks for scores: equal scores would be put in another order than was found.
    found = {name: {record: -float(rank) for rank, record in enumerate(run[name])} for name in grades}
    values = {name: dict.fromkeys(grades, 0.0) for name in measures}
    for metric in ir_measures.iter_calc(list(measures.values()), {k: dict(v) for k, v in grades.items()}, found):
        values[names[str(metric.measure)]][metric.query_id] = metric.value
    return {name: estimate(list(each.values())) for name, each in values.items()}


def kept(run: Run, exact: Run) -> Estimate:
    """Return the share of the exact ten best (fewer, where there are fewer) that are among a run's ten best."""
    shares = [len({*run[name][:BEST]} & {*best[:BEST]}) / len(best[:BEST]) for name, best in exact.items() if best]
    return estimate(shares or [1.0])


def estimate(values: Sequence[float]) -> Estimate:
    """Return the mean, and the bounds that hold 95% of the means of as many values drawn from these."""
    figures: npt.NDArray[np.float64] = np.asarray(values, dtype=np.float64)
    random, count = np.random.default_rng(0), len(figures)
    at_once = max(1, _DRAWN_AT_ONCE // count)
    blocks = [min(at_once, DRAWS - at) for at in range(0, DRAWS, at_once)]
    means = np.concatenate([figures[random.integers(count, size=(block, count))].mean(axis=1) for block in blocks])
    low, high = np.quantile(means, [0.025, 0.975])
    return Estimate(float(figures.mean()), float(low), float(high))
