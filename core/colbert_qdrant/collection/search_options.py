"""How a search may be asked for: what there is to choose, and what of it is refused. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypedDict

import numpy as np
from qdrant_client import models

from colbert_qdrant.checks import check_thresholds
from colbert_qdrant.collection.operations import check_filter
from colbert_qdrant.collection.prefetching import Fusion
from colbert_qdrant.collection.ranking import Blend, Boost, as_formula
from colbert_qdrant.collection.stages import CANDIDATES
from colbert_qdrant.errors import InvalidInput


class SearchKeywords(TypedDict, total=False):
    """The fields of `SearchOptions` but `limit`, as keyword arguments of `search` and `search_batch`."""

    filter: models.Filter | None
    offset: int
    score_threshold: float | None
    min_relevance: float | None
    with_vectors: bool
    search_params: models.SearchParams | None
    mmr: models.Mmr | None
    consistency: models.ReadConsistencyType | Literal["majority", "quorum", "all"] | int | None
    candidates: int
    fusion: Fusion
    exhaustive: bool
    passages: int
    final: Blend | None
    boost: Boost | None
    group_by: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """How to search.

    Parameters
    ----------
    limit
        Most hits to return.
    filter
        Only records that pass it are searched.
    offset
        Hits to skip. Hits of one score stand in the order of their points' ids, so that no page loses or repeats one of
        the same candidates: give `candidates` that reach as far as the last page.
    score_threshold
        Lowest MaxSim of a hit.
    min_relevance
        Lowest relevance of a hit, from 0 to 1; see `Hit`. In half precision a text finds itself at 0.9998 or so.
    with_vectors
        Return each hit's token vectors.
    search_params
        Qdrant's own, such as ``exact``, ``quantization`` and ``hnsw_ef``, the number of documents that a graph keeps in
        sight; by default that of a MUVERA stage is five times `candidates`. More finds more, and takes longer: among
        250,000 documents on a server, half of them unlike all others, as many as the candidates still found 98 in 100
        of those, in half the time (tests/benchmarks/scale.py).
    mmr
        Maximal marginal relevance: trade relevance for diversity; see `diversified`, which answers it.
    consistency
        Read consistency of a cluster: how many copies are to answer, or ``"majority"``, ``"quorum"`` or ``"all"``.
        https://qdrant.tech/documentation/guides/distributed_deployment/#read-consistency
    candidates
        How many each first stage hands on to MaxSim.
    fusion
        How several first stages' orders become one.
    exhaustive
        MaxSim over all documents, past the first stages; `final` and `boost` look at all of them, too.
    passages
        How many of each hit's best passages to return with it; see `MultivectorCollection.passages`. The hits' vectors
        are fetched for it.
    final
        What orders the candidates: ``None``: MaxSim alone; a `Blend` weighs it with first stages.
    boost
        A formula over the payload that changes each candidate's score, ``"$score"`` in it: a `FormulaQuery` of
        `qdrant_client.models`, or one of its expressions. Score, relevance and thresholds are then of what comes out.
        Candidates are, also where there is no stage, the `candidates` best by MaxSim: what is below them no boost
        lifts, unless the search is `exhaustive`.
        https://qdrant.tech/documentation/concepts/hybrid-queries/#score-boosting
    group_by
        A metadata key (spelled as for `create_index`): only the best hit of each of its values, strings or integers.
        Groups of one score stand in the order of these values; which of equal hits stands for a group is left open.
        They are those of the `candidates` or, where these have fewer than are wanted, of more; a server, which looks
        for groups by itself, may look at more in any case.
    """

    limit: int = 10
    filter: models.Filter | None = None
    offset: int = 0
    score_threshold: float | None = None
    min_relevance: float | None = None
    with_vectors: bool = False
    search_params: models.SearchParams | None = None
    mmr: models.Mmr | None = None
    consistency: models.ReadConsistencyType | Literal["majority", "quorum", "all"] | int | None = None
    candidates: int = CANDIDATES
    fusion: Fusion = "rrf"
    exhaustive: bool = False
    passages: int = 0
    final: Blend | None = None
    boost: Boost | None = None
    group_by: str | None = None

    def __post_init__(self) -> None:
        """Refuse what Qdrant would answer with an error, or worse, not."""
        for name, least in (("limit", 1), ("offset", 0), ("candidates", 1), ("passages", 0)):
            value = getattr(self, name)
            if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer) or value < least:
                raise InvalidInput(f"{name}={value!r}: give a whole number, {least} or more")
            object.__setattr__(self, name, int(value))  # numpy's among them; frozen for everybody else
        check_thresholds(self.score_threshold, self.min_relevance)
        if self.fusion not in ("rrf", "dbsf"):
            raise InvalidInput(f"fusion={self.fusion!r}: use 'rrf' or 'dbsf'")
        if self.final is not None and not isinstance(self.final, Blend):
            raise InvalidInput(f"final is a {type(self.final).__name__}; give a Blend, or None for MaxSim alone")
        for name, kind in (("mmr", models.Mmr), ("search_params", models.SearchParams)):
            value = getattr(self, name)
            if value is not None and not isinstance(value, kind):
                raise InvalidInput(f"{name} is a {type(value).__name__}; give qdrant_client.models.{kind.__name__}")
        if self.mmr is not None and not 0 <= (self.mmr.diversity or 0) <= 1:
            raise InvalidInput(
                f"mmr: diversity={self.mmr.diversity:g}; give 0 (relevance alone) to 1 (diversity alone)"
            )
        if self.group_by is not None and self.mmr is not None:
            raise InvalidInput("mmr and group_by: a hit of each group is diverse already; give one of them")
        object.__setattr__(self, "consistency", _as_consistency(self.consistency))
        object.__setattr__(self, "boost", as_formula(self.boost))
        object.__setattr__(self, "filter", check_filter(self.filter))  # frozen for everybody else


def options(limit: int, given: SearchKeywords) -> SearchOptions:
    """Return the options of a search.

    Raises
    ------
    TypeError
        One of them is none; names those that are.
    """
    known = SearchKeywords.__annotations__
    unknown = [name for name in given if name not in known]
    if unknown:
        meant = " (the most hits to return are limit=)" if unknown[0] in ("k", "top_k", "n", "top_n") else ""
        raise TypeError(f"search has no option {unknown[0]!r}{meant}; it takes limit, {', '.join(known)}")
    return SearchOptions(limit=limit, **given)


def _as_consistency(asked: Any) -> models.ReadConsistencyType | int | None:
    """Return Qdrant's own for a name, which the client does not know over gRPC."""
    if asked is None or (isinstance(asked, int) and not isinstance(asked, bool) and asked >= 1):
        return asked
    try:
        return models.ReadConsistencyType(asked)
    except ValueError:
        names = ", ".join(repr(kind.value) for kind in models.ReadConsistencyType)
        raise InvalidInput(f"consistency={asked!r}: give a number of copies, 1 or more, or {names}") from None
