"""What has the last word on the order: MaxSim alone, MaxSim weighed with first stages, a formula over the payload.

All in the one request that finds the candidates. Pure: no I/O.
https://qdrant.tech/documentation/concepts/hybrid-queries/
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from pydantic import BaseModel
from qdrant_client import models

from colbert_qdrant.collection.operations import check_condition
from colbert_qdrant.collection.stages import Stage
from colbert_qdrant.errors import InvalidInput

Boost: TypeAlias = models.FormulaQuery | models.Expression
By: TypeAlias = Literal["scores", "ranks"]

MAXSIM = "maxsim"
"""What MaxSim is called among the names of stages."""

RANK_CONSTANT = 2
"""Of reciprocal rank fusion: Qdrant's default."""


@dataclass(frozen=True, slots=True)
class Blend:
    """MaxSim weighed with the scores, or the ranks, of first stages.

    The outcome lies on MaxSim's scale, so that `Hit.relevance` and thresholds keep their meaning: the weighted mean of
    each part's share of its most, times the number of query vectors. The most is 1 for a cosine and for the relevance;
    for sparse vectors, whose scores have none, a score of `half` counts 0.5. A document that a stage did not find has
    nothing from it.

    Parameters
    ----------
    weights
        By the name of a stage, ``"maxsim"`` among them; those that are not named have no say.
    by
        ``"scores"``, or ``"ranks"``: reciprocal ranks, for parts whose scores don't compare. Documents that a part
        scores alike have its ranks in any order, and may change places from one search to the next. With a boost,
        ranks are those within a shard.
    half
        The score of a sparse stage that counts half.

    Examples
    --------
    >>> collection.search("error E1432", final=Blend({"maxsim": 0.7, "bm25": 0.3}))
    """

    weights: Mapping[str, float]
    by: By = "scores"
    half: float = field(default=10.0, kw_only=True)

    def __post_init__(self) -> None:
        """Refuse weights that weigh nothing."""
        if not isinstance(self.weights, Mapping) or not all(_is_weight(weight) for weight in self.weights.values()):
            raise InvalidInput(
                f"weights={self.weights!r:.80}: give a finite number, 0 or more, by the name of each part"
            )
        if not sum(self.weights.values()):
            raise InvalidInput("weights: give at least one above 0")
        if self.by not in get_args(By):
            raise InvalidInput(f"by={self.by!r}: use 'scores' or 'ranks'")
        if not _is_weight(self.half) or not self.half:
            raise InvalidInput(f"half={self.half!r}: give a number above 0")

    def check(self, stages: Sequence[Stage]) -> None:
        """Refuse names that are of no stage of the collection."""
        known = [MAXSIM, *(stage.name for stage in stages)]
        unknown = [name for name in self.weights if name not in known]
        if unknown:
            raise InvalidInput(f"weights: {unknown[0]!r} is no stage of this collection; it has {', '.join(known)}")

    def scale(self, query_vectors: int) -> float:
        """Return what the query's score is to be multiplied with to lie on MaxSim's scale."""
        if self.by == "scores":
            return 1.0  # the formula does it
        most = sum(1 / (1 / weight + RANK_CONSTANT - 1) for weight in self.weights.values() if weight)
        return query_vectors / most

    def within(self, prefetch: list[models.Prefetch], query: Any, limit: int, query_vectors: int) -> models.Prefetch:
        """Return what `plan` returned as a branch of another query, its scores on MaxSim's scale.

        Ranks are then counted within each shard: a cluster's are only brought together by the outermost query.
        """
        inner = models.Prefetch.model_construct(prefetch=prefetch, query=query, using=None, limit=limit)
        if self.by == "scores":
            return inner
        scaled = models.FormulaQuery(formula=models.MultExpression(mult=[self.scale(query_vectors), "$score"]))
        return models.Prefetch.model_construct(prefetch=[inner], query=scaled, using=None, limit=limit)

    def plan(
        self, maxsim: models.Prefetch, branches: Mapping[str, models.Prefetch], stages: Sequence[Stage], vectors: int
    ) -> tuple[list[models.Prefetch], Any]:
        """Return the branches of a request and the query that weighs them.

        Parameters
        ----------
        maxsim
            The branch that ends in MaxSim.
        branches
            By stage, the branch that finds its candidates.
        stages
            Of the collection.
        vectors
            How many the query has.
        """
        parts = [(name, weight) for name, weight in self.weights.items() if weight]
        chosen = [maxsim if name == MAXSIM else branches[name] for name, _ in parts]
        if self.by == "ranks":
            return chosen, models.RrfQuery(rrf=models.Rrf(k=RANK_CONSTANT, weights=[weight for _, weight in parts]))
        sparse = {stage.name for stage in stages if isinstance(stage.params(), models.SparseVectorParams)}
        total = sum(weight for _, weight in parts)
        terms: list[models.Expression] = [
            models.MultExpression(mult=[weight * vectors / total, self._share(number, name, name in sparse, vectors)])
            for number, (name, weight) in enumerate(parts)
        ]
        defaults = {_score(number): 0.0 for number in range(len(parts))}
        return chosen, models.FormulaQuery(formula=models.SumExpression(sum=terms), defaults=defaults)

    def _share(self, number: int, name: str, is_sparse: bool, vectors: int) -> models.Expression:
        score = _score(number)
        if name == MAXSIM:
            return models.MultExpression(mult=[1 / vectors, score])
        if not is_sparse:
            return score
        return models.DivExpression(
            div=models.DivParams(left=score, right=models.SumExpression(sum=[score, self.half]))
        )


def as_formula(boost: Boost | None) -> models.FormulaQuery | None:
    """Return a boost as the query that carries it out; ``"$score"`` in it is the score so far.

    Its conditions ask for numbers as they are stored, as those of a filter do.

    Raises
    ------
    InvalidInput
        It is no formula of Qdrant's, or has a condition that no filter may have.
    """
    if boost is None:
        return None
    expressions = tuple(kind for kind in get_args(models.Expression) if isinstance(kind, type))
    if not isinstance(boost, (models.FormulaQuery, *expressions)):
        raise InvalidInput(
            f"boost is a {type(boost).__name__}; give a formula of qdrant_client.models, such as SumExpression(sum=["
            "'$score', MultExpression(mult=[0.5, 'metadata.stars'])])"
        )
    whole = boost if isinstance(boost, models.FormulaQuery) else models.FormulaQuery(formula=boost)
    checked: models.FormulaQuery = _checked(whole)
    return checked


def _checked(part: Any) -> Any:
    """Return a part of a formula with what becomes of the conditions in it."""
    if isinstance(part, get_args(models.Condition)):
        return check_condition(part)
    if isinstance(part, list):
        return [_checked(each) for each in part]
    if not isinstance(part, BaseModel):
        return part
    values = {name: getattr(part, name) for name in type(part).model_fields}
    changes = {name: new for name, value in values.items() if (new := _checked(value)) != value}
    return part.model_copy(update=changes) if changes else part


def _score(number: int) -> str:
    return f"$score[{number}]"


def _is_weight(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
