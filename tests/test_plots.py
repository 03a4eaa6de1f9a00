"""The pictures of RESULTS.md say one thing each: a title, and labels that don't touch."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from benchmarks import plots

mpl.use("Agg")

DRAWN: dict[str, tuple[Callable[[Any], Figure], str]] = {
    "encoding": (plots.encoding, "encode_vs_fastembed"),
    "size": (plots.size, "first_stages"),
    "latency": (plots.latency, "first_stages"),
    "beir": (plots.beir, "beir"),
    "extraction": (plots.extraction, "extraction"),
    "thresholds": (plots.thresholds, "thresholds"),
}


def labels(figure: Figure) -> list[Text]:
    """Return what is drawn: matplotlib keeps labels of ticks that lie outside of an axis, and does not draw them."""
    outside = {
        label
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
        for label in (tick.label1, tick.label2)
    }
    return [
        text for text in figure.findobj(Text) if text not in outside and text.get_visible() and text.get_text().strip()
    ]


@pytest.mark.parametrize("name", DRAWN)
def test_no_label_touches_another(name: str) -> None:
    draw, results = DRAWN[name]
    figure = draw(plots.read(results))
    figure.canvas.draw()
    boxes = [(text.get_text(), text.get_window_extent()) for text in labels(figure)]

    touching = [(one, other) for (one, a), (other, b) in combinations(boxes, 2) if a.overlaps(b)]

    plots.plt.close(figure)
    assert touching == []


@pytest.mark.parametrize("name", DRAWN)
def test_a_picture_has_a_title_and_is_the_committed_one(name: str) -> None:
    draw, results = DRAWN[name]
    figure = draw(plots.read(results))
    titles = [figure.get_suptitle(), *(axes.get_title(loc=side) for axes in figure.axes for side in ("left", "center"))]
    plots.plt.close(figure)

    [title, *_] = filter(None, titles)
    assert title in (Path(plots.PLOTS) / f"{name}.svg").read_text(encoding="utf-8")
