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

KEPT = ("#74c0fc", "#1971c2", "#8ce99a", "#2f9e44", OURS)
MODEL = "all-MiniLM-L6-v2"

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
    save(beir(read("beir")), "beir")
    save(extraction(read("extraction")), "extraction")
    save(thresholds(read("thresholds")), "thresholds")


def read(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def save(figure: Figure, name: str) -> None:
    figure.savefig(PLOTS / f"{name}.svg", metadata={"Date": None}, bbox_inches="tight")
    plt.close(figure)


def encoding(figures: Mapping[str, Any]) -> Figure:
    """CPU seconds for the same texts through the same ONNX file, by distribution of their lengths."""
    figure, axes = plt.subplots(figsize=(6, 2.8))
    systems = {
        "fastembed": ("FastEmbed 0.9.1", PEER),
        "colbert-qdrant": ("colbert-qdrant", OURS),
        "int8": ("colbert-qdrant, int8", OURS),
    }
    for group, (lengths, runs) in enumerate(figures["runs"].items()):
        for line, (system, (label, color)) in enumerate(systems.items()):
            seconds = median(run["cpu"] for run in runs[system])
            place = 3.5 * group + line
            axes.barh(place, seconds, color=color, height=0.8)
            ratio = figures["ratios"][lengths].get(system)
            times = f", {ratio['cpu']:.1f}x less" if ratio else ""
            axes.text(seconds, place, f"  {label}: {seconds:.0f} s{times}", va="center", fontsize=9)
    axes.set_yticks([1.0, 4.5], [f"{lengths} lengths" for lengths in figures["runs"]])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.5 * axes.get_xlim()[1])
    axes.set_xlabel("CPU seconds (less is better)")
    axes.set_title("Encoding the same texts with the same ONNX file", fontsize=11)
    return figure


def size(rows: Iterable[Row]) -> Figure:
    """Quality of exact MaxSim against the bytes that the token vectors take, by how they are stored."""
    return panels(rows, size_of_set, "What shorter and fewer vectors cost in quality")


def size_of_set(axes: Axes, rows: Iterable[Row]) -> None:
    exact = [row for row in rows if row["name"] == "exact MaxSim"]
    colored = sorted(
        zip(exact, (OURS, *OTHERS), strict=False), key=lambda pair: (-round(pair[0]["ndcg"], 4), pair[0]["memory"])
    )
    for place, (row, color) in enumerate(colored):
        at = row["memory"] / 1024, row["ndcg"]
        axes.plot(*at, "o", color=color, markersize=8)
        beside = 0, (8, -15)[place % 2]
        axes.annotate(row["vectors"], at, beside, textcoords="offset points", ha="center", fontsize=9)
    axes.margins(y=0.2)
    axes.set_xlim(0, 1.15 * axes.get_xlim()[1])
    axes.set_xlabel("KiB of token vectors a document")


def latency(rows: Iterable[Row], name: str = "cranfield") -> Figure:
    """Time of a search by each way to search a set, a dot for each number of candidates, with the quality beside it.

    One set: of XQuAD's 240 documents 200 candidates are nearly all.
    """
    whole = [row for row in rows if row["vectors"] == "float32" and row["test_set"] == name]
    ways = dict.fromkeys(row["name"] for row in sorted(whole, key=lambda row: -row["search"]))
    figure, axes = plt.subplots(figsize=(8, 0.5 * len(ways) + 1.2))
    for place, way in enumerate(ways):
        own = sorted((row for row in whole if row["name"] == way), key=lambda row: row["candidates"] or 0)
        color = OURS if "MaxSim" in way else PEER
        times = [row["search"] for row in own]
        axes.plot(times, [place] * len(own), "o-", color=color, markersize=6, linewidth=1.5)
        for row in own:
            said = "" if row["candidates"] is None else str(row["candidates"])
            axes.annotate(said, (row["search"], place), (0, 6), textcoords="offset points", ha="center", fontsize=7)
        best = own[len(own) // 2]["ndcg"]
        axes.annotate(f"{best:.3f}", (1.02, place), xycoords=("axes fraction", "data"), va="center", fontsize=9)
    axes.annotate("nDCG@10", (1.02, -0.85), xycoords=("axes fraction", "data"), fontsize=9)
    axes.set_yticks(range(len(ways)), list(ways), fontsize=9)
    axes.set_ylim(len(ways) - 0.5, -0.6)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("ms a search, the query encoded; small numbers: candidates (nDCG@10 is that of 100)")
    axes.set_title(f"What a first stage saves on {name.title()}", fontsize=11)
    return figure


def beir(rows: Iterable[Row]) -> Figure:
    """Quality with its interval, and what others published of the same."""
    rows = list(rows)
    figure, axes = plt.subplots(figsize=(6, 0.42 * len(rows) + 0.8))
    for place, row in enumerate(rows):
        value, low, high = row["ndcg"]
        color = OURS if "MaxSim" in row["search"] else PEER
        axes.barh(place, value, color=color, height=0.7)
        axes.plot([low, high], [place, place], color="black", linewidth=1)
        if row["published"]:
            axes.plot(row["published"], place, "D", color="black", markerfacecolor="white", markersize=6)
    axes.set_yticks(range(len(rows)), [f"{row['search']}" for row in rows], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("nDCG@10; line: 95%; diamond: as published")
    axes.set_title(f"One model, its vectors used in each way: {rows[0]['test_set']}, {MODEL}", fontsize=11)
    return figure


def extraction(rows: Iterable[Row]) -> Figure:
    """Recall by the characters that are kept, a panel a corpus."""
    rows = list(rows)
    corpora = list(dict.fromkeys(row["corpus"] for row in rows))
    figure, all_axes = plt.subplots(1, len(corpora), figsize=(3 * len(corpora), 3), sharey=True)
    for axes, corpus in zip(all_axes, corpora, strict=True):
        for row, color in zip((row for row in rows if row["corpus"] == corpus), KEPT, strict=True):
            style = "--" if "dense" in row["kept"] else "-"
            axes.plot(row["budgets"], row["recall"], style, marker="o", markersize=3, color=color, label=row["kept"])
        axes.set_title(corpus, fontsize=10)
        axes.set_xlabel("characters kept")
    all_axes[0].set_ylabel("recall of what answers")
    all_axes[-1].legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    figure.suptitle("How much of what answers is kept", x=0.01, ha="left", fontsize=11)
    figure.tight_layout()
    return figure


def thresholds(figures: Mapping[str, Mapping[str, Row]]) -> Figure:
    """F1 with the cut-off of the first set, a group a set."""
    sets = list(figures)
    measures = list(figures[sets[0]])
    figure, axes = plt.subplots(figsize=(2.4 * len(sets), 3.4))
    width = 0.85 / len(measures)
    for number, measure in enumerate(measures):
        color = (PEER, "black", "#ced4da")[number] if number < 3 else (OURS, *OTHERS)[number - 3]
        places = [group + number * width for group in range(len(sets))]
        axes.bar(places, [figures[name][measure]["f1"] for name in sets], width, color=color, label=measure)
    axes.axhline(2 / 3, color="gray", linestyle=":", linewidth=1)
    axes.set_xticks([group + 0.4 for group in range(len(sets))], sets)
    axes.set_ylabel("F1 (dotted: always yes)")
    axes.set_title("Is there an answer? One cut-off, fitted on the first set", fontsize=11)
    axes.legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def panels(rows: Iterable[Row], draw: Any, title: str) -> Figure:
    """Draw one panel a test set."""
    rows = list(rows)
    sets = list(dict.fromkeys(row["test_set"] for row in rows))
    figure, all_axes = plt.subplots(1, len(sets), figsize=(5.2 * len(sets), 3.6))
    for axes, name in zip(all_axes, sets, strict=True):
        draw(axes, [row for row in rows if row["test_set"] == name])
        axes.set_title(name)
    all_axes[0].set_ylabel("nDCG@10")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    figure.tight_layout()
    return figure


if __name__ == "__main__":
    main()
