"""Draw the pictures of RESULTS.md from the figures that `run.py` left in the folder ``results``.

    python tests/benchmarks/plots.py

It needs matplotlib, which the extra ``bench`` brings.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

HERE = Path(__file__).absolute().parent
RESULTS, PLOTS = HERE / "results", HERE / "plots"
OURS, PEER = "#d6336c", "#868e96"
OTHERS = ("#1971c2", "#2f9e44", "#f08c00", "#7048e8", "#0c8599", "#c92a2a", "#495057", "#94d82d")

Row = Mapping[str, Any]


def main() -> None:
    PLOTS.mkdir(exist_ok=True)
    # The same figures give the same file, and text stays text.
    mpl.rcParams.update({"svg.hashsalt": "colbert-qdrant", "svg.fonttype": "none", "font.family": "sans-serif"})
    mpl.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "axes.titlelocation": "left"})
    stages = read("first_stages")
    save(encoding(read("encode_vs_fastembed")), "encoding")
    save(size(stages), "size")
    save(latency(stages), "latency")


def read(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def save(figure: Figure, name: str) -> None:
    figure.savefig(PLOTS / f"{name}.svg", metadata={"Date": None}, bbox_inches="tight")
    plt.close(figure)


def encoding(figures: Mapping[str, Any]) -> Figure:
    """CPU seconds for the same texts through the same ONNX file, by distribution of their lengths."""
    figure, axes = plt.subplots(figsize=(6, 2.2))
    systems = {"fastembed": ("FastEmbed 0.9.1", PEER), "colbert-qdrant": ("colbert-qdrant", OURS)}
    for group, (lengths, runs) in enumerate(figures["runs"].items()):
        for line, (system, (label, color)) in enumerate(systems.items()):
            seconds = median(run["cpu"] for run in runs[system])
            place = 2.5 * group + line
            axes.barh(place, seconds, color=color, height=0.8)
            times = f", {figures['ratios'][lengths]['cpu']:.1f}x less" if system == "colbert-qdrant" else ""
            axes.text(seconds, place, f" {label}: {seconds:.0f} s{times}", va="center", fontsize=9)
    axes.set_yticks([0.5, 3.0], [f"{lengths} lengths" for lengths in figures["runs"]])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.5 * axes.get_xlim()[1])
    axes.set_xlabel("CPU seconds (less is better)")
    return figure


def size(rows: Iterable[Row]) -> Figure:
    """Quality of exact MaxSim against the bytes that the token vectors take, by how they are stored."""
    return panels(rows, size_of_set)


def size_of_set(axes: Axes, rows: Iterable[Row]) -> None:
    exact = [row for row in rows if row["name"] == "exact MaxSim"]
    for place, (row, color) in enumerate(zip(exact, (OURS, *OTHERS), strict=False)):
        at = row["memory"] / 1024, row["ndcg"]
        axes.plot(*at, "o", color=color, markersize=8)
        axes.annotate(row["vectors"], at, (7, (6, -13)[place % 2]), textcoords="offset points", fontsize=9)
    axes.margins(y=0.15)
    axes.set_xlim(0, 1.35 * axes.get_xlim()[1])
    axes.set_xlabel("KiB of token vectors a document")


def latency(rows: Iterable[Row]) -> Figure:
    """Quality against the time of a search, by first stage and number of candidates."""
    return panels(rows, latency_of_set)


def latency_of_set(axes: Axes, rows: Iterable[Row]) -> None:
    whole = [row for row in rows if row["vectors"] == "float32"]
    names = list(dict.fromkeys(row["name"] for row in whole))
    colors = dict(zip([name for name in names if name != "exact MaxSim"], OTHERS, strict=False))
    for name in names:
        own = sorted((row for row in whole if row["name"] == name), key=lambda row: row["candidates"] or 0)
        is_exact, is_alone = name == "exact MaxSim", name.endswith("alone")
        mark = "*" if is_exact else "x" if is_alone else "o-"
        color = OURS if is_exact else colors[name]
        points = [row["search"] for row in own], [row["ndcg"] for row in own]
        axes.plot(*points, mark, color=color, markersize=13 if is_exact else 5, label=name)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("ms a search, the query encoded; 50, 100, 200 candidates")
    axes.legend(fontsize=7, frameon=False, loc="lower right")


def panels(rows: Iterable[Row], draw: Any) -> Figure:
    """Draw one panel a test set."""
    rows = list(rows)
    sets = list(dict.fromkeys(row["test_set"] for row in rows))
    figure, all_axes = plt.subplots(1, len(sets), figsize=(5.2 * len(sets), 3.6))
    for axes, name in zip(all_axes, sets, strict=True):
        draw(axes, [row for row in rows if row["test_set"] == name])
        axes.set_title(name)
    all_axes[0].set_ylabel("nDCG@10")
    figure.tight_layout()
    return figure


if __name__ == "__main__":
    main()
