"""What an evaluation found, as figures, as text and as a plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from colbert_qdrant.errors import MissingExtra
from colbert_qdrant.notebook import table_html
from colbert_qdrant.terminal import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over questions, with the bounds that hold 95% of such means (bootstrap)."""

    value: float
    low: float
    high: float

    @property
    def margin(self) -> float:
        """Half of what lies between the bounds."""
        return (self.high - self.low) / 2

    def __str__(self) -> str:
        return f"{self.value:.3f} ±{self.margin:.3f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A way to search or to store, and what it keeps and costs.

    Parameters
    ----------
    name
        Such as ``"muvera -> MaxSim"``.
    candidates
        How many its first stages hand on; ``None``: it has none.
    kept
        Share of the exact ten best that are among its ten best.
    ndcg, recall, mrr
        nDCG@10, recall of as many as were asked for, MRR@10; ``None`` without judgements.
    milliseconds
        Of a search, the median, the question encoded; ``None`` for what was computed and not searched.
    bytes
        Of the vectors of a document, on average, that it reads.
    queries
        How many questions the figures are from.
    """

    name: str
    candidates: int | None
    kept: Estimate
    ndcg: Estimate | None = None
    recall: Estimate | None = None
    mrr: Estimate | None = None
    milliseconds: float | None
    bytes: int
    queries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What `colbert_qdrant.evaluate` found.

    Parameters
    ----------
    searches
        Every way to search that the collection has, the quickest first.
    storage
        What other storage would keep, computed from stored vectors.
    share
        What was to be kept.
    limit
        Hits of a search.
    documents, queries, judged
        How many there are, and for how many questions it is known what answers them.
    missing
        Ids that the judgements name and that are not in the collection: nothing can find these.
    encoding
        Milliseconds that encoding a question takes, the median; ``None``: they came as vectors.
    model
        What encoded them; empty where the collection does not say.
    """

    searches: Sequence[Setting]
    storage: Sequence[Setting]
    share: float
    limit: int
    documents: int
    queries: int
    judged: int
    missing: Sequence[str]
    encoding: float | None
    model: str

    @property
    def cheapest(self) -> Setting | None:
        """The quickest search that keeps `share` of the exact ten best."""
        return next((each for each in self.searches if each.kept.value >= self.share), None)

    def __str__(self) -> str:
        said = [f"{self.documents:,} documents, {self.queries:,} questions"]
        if self.judged:
            said.append(f"{self.judged:,} of them judged")
        if self.model:
            said.append(printable(self.model))
        if self.encoding is not None:
            said.append(f"{self.encoding:.1f} ms to encode a question")
        lines = [", ".join(said)]
        if self.missing:
            lines.append(
                f"{len(self.missing):,} records that are judged are not in the collection, such as "
                f"{printable(self.missing[0])}: nothing can find them"
            )
        lines += ["", *self._table("search", self.searches)]
        if self.cheapest is None:
            lines.append(f"No search keeps {self.share:.0%} of the exact ten best.")
        else:
            lines.append(f"* the quickest that keeps {self.share:.0%} of the exact ten best")
        if self.storage:
            few = self.storage[0].queries
            lines += ["", *self._table("storage", self.storage)]
            lines.append(f"Computed from stored vectors: the exact best of {few} questions put in order anew.")
        lines += ["", "±: 95% of the means over questions drawn anew lie that close."]
        return "\n".join(lines)

    def plot(self) -> Figure:
        """Draw what each search keeps, and how good it is where that is known, against its time.

        Returns
        -------
        matplotlib.figure.Figure
            ``figure.savefig("evaluation.svg")`` writes it.

        Raises
        ------
        MissingExtra
            matplotlib is not installed.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError:
            raise MissingExtra('a plot takes matplotlib: pip install "colbert-qdrant[evaluate]"') from None
        panels = ["kept", "ndcg"] if self.judged else ["kept"]
        figure = Figure(figsize=(5.2 * len(panels), 3.6), layout="constrained")
        for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            self._draw(axes, panel)
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside right upper", fontsize=7, frameon=False)
        return figure

    def _draw(self, axes: Axes, panel: str) -> None:
        for name in dict.fromkeys(each.name for each in self.searches):
            own = sorted((s for s in self.searches if s.name == name), key=lambda setting: setting.candidates or 0)
            heights = [getattr(each, panel) for each in own]
            values = [each.value for each in heights]
            bars = [[e.value - e.low for e in heights], [e.high - e.value for e in heights]]
            times = [each.milliseconds or 0.0 for each in own]
            axes.errorbar(times, values, yerr=bars, marker="o", markersize=4, linewidth=1, capsize=2, label=name)
        axes.set_xscale("log")
        axes.set_xlabel("ms a search")
        if panel == "kept":
            axes.axhline(self.share, color="gray", linestyle=":", linewidth=1)
            axes.set_ylabel("share of the exact ten best")
            axes.set_title("What candidates keep")
        else:
            axes.set_ylabel("nDCG@10")
            axes.set_title("How good it is")
        axes.spines[["top", "right"]].set_visible(False)

    def _repr_html_(self) -> str:
        head, *_ = str(self).split("\n", 1)
        tables = [
            table_html(self._header(name), [self._cells(setting) for setting in settings])
            for name, settings in (("search", self.searches), ("storage", self.storage))
            if settings
        ]
        note = f"*: the quickest that keeps {self.share:.0%} of the exact ten best. ±: 95% of the means lie that close."
        return f"<p>{escape(head)}</p>{''.join(tables)}<p>{escape(note)}</p>"

    def _header(self, first: str) -> list[str]:
        judged = ["nDCG@10", f"recall@{self.limit}", "MRR@10"] if self.judged else []
        return [first, "candidates", "kept of ten best", *judged, "ms", "bytes a document"]

    def _table(self, first: str, settings: Sequence[Setting]) -> list[str]:
        header = self._header(first)
        rows = [header, *(self._cells(setting) for setting in settings)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
        aligned = [
            "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
            for row in rows
        ]
        return [aligned[0], "  ".join("-" * width for width in widths), *aligned[1:]]

    def _cells(self, setting: Setting) -> list[str]:
        kept = setting.kept
        figures = [setting.ndcg, setting.recall, setting.mrr] if self.judged else []
        return [
            f"{printable(setting.name)}{' *' if setting is self.cheapest else ''}",
            "" if setting.candidates is None else f"{setting.candidates:,}",
            f"{kept.value:.1%} ±{kept.margin:.1%}",
            *("" if each is None else str(each) for each in figures),
            "" if setting.milliseconds is None else f"{setting.milliseconds:.1f}",
            f"{setting.bytes:,}",
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return all figures as JSON has them."""
        from dataclasses import asdict

        return {**asdict(self), "cheapest": None if self.cheapest is None else asdict(self.cheapest)}
