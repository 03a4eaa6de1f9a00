"""Can one cut-off say for any collection whether it has an answer? Fitted on one set, applied to others.

    python tests/benchmarks/thresholds.py [--data DIR] [--fitted-on NAME] [--sets NAME ...] [--queries N] [--json FILE]

Each question is asked twice: of the collection as it is, and of the collection without the documents that answer it.
"Is there an answer here?" is said by one number a question reaching a cut-off. The cut-off is the one with the best F1
on the first set, and is then applied to the others; beside its F1 there stand the best F1 that any cut-off has on that
set (to say yes always has 0.667), and AUC: how often an answered question has more than an unanswered one.

The numbers are raw MaxSim of the best document, the same by the question's length (`Hit.relevance`), the cosine of the
same model's single vector, and ideas that hold the best document's score against what unrelated documents have: a
background of so many documents drawn at random. The model is all-MiniLM-L6-v2. The set chunking_evaluation is the
general evaluation of brandonstarxel/chunking_evaluation, in chunks of about 800 characters.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from encoded import Vectors, best_similarities, sentences_of, tokens_of
from judged import DATA, Judged, load, load_corpora

FITTED_ON = "xquad_en"
SETS = ("scifact", "cranfield", "chunking_evaluation")
BACKGROUND = 200
"""Documents drawn at random, for what unrelated ones score."""

Indices = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Asked:
    """A question with what every document answers to it, and which documents are there.

    Parameters
    ----------
    best
        ``(query_tokens, documents)``: the best similarity to each token of the question in each document.
    cosines
        ``(documents,)``, of the single vectors.
    there
        The documents that are in the collection.
    background
        Some of them, drawn at random.
    """

    best: Vectors
    cosines: Vectors
    there: Indices
    background: Indices

    @cached_property
    def scores(self) -> Vectors:
        """MaxSim of each document that is there, the best first."""
        scores: Vectors = self.best[:, self.there].sum(axis=0)
        return scores

    @cached_property
    def top(self) -> int:
        """The document with the highest MaxSim."""
        return int(self.there[self.scores.argmax()])

    @cached_property
    def unrelated(self) -> Vectors:
        """MaxSim of the background."""
        scores: Vectors = self.best[:, self.background].sum(axis=0)
        return scores

    @property
    def tokens(self) -> int:
        return len(self.best)


def relevance(asked: Asked) -> float:
    return float(asked.scores.max()) / asked.tokens


def cosine(asked: Asked) -> float:
    return float(asked.cosines[asked.there].max())


def z_score(asked: Asked) -> float:
    """Standard deviations above the background."""
    return float((asked.scores.max() - asked.unrelated.mean()) / (asked.unrelated.std() + 1e-6))


def gumbel(asked: Asked) -> float:
    """The same, less what the best of so many unrelated documents reaches by chance.

    The mode of the maximum of n normal values: sqrt(2 ln n) standard deviations (Fisher and Tippett, 1928).
    """
    return z_score(asked) - float(np.sqrt(2 * np.log(len(asked.there))))


def way_to_perfect(asked: Asked) -> float:
    """Which part of the way from the mean of the background to the highest possible score."""
    unrelated = asked.unrelated.mean()
    return float((asked.scores.max() - unrelated) / (asked.tokens - unrelated))


def tokens_way_to_perfect(asked: Asked) -> float:
    """The same for each token of the question by itself, on average."""
    unrelated = asked.best[:, asked.background].mean(axis=1)
    return float(np.mean((asked.best[:, asked.top] - unrelated) / (1.02 - unrelated)))


def tokens_z_score(asked: Asked) -> float:
    """Standard deviations above the background, for each token of the question by itself, on average."""
    background = asked.best[:, asked.background]
    return float(np.mean((asked.best[:, asked.top] - background.mean(axis=1)) / (background.std(axis=1) + 0.02)))


def rare_tokens(asked: Asked) -> float:
    """Relevance, each token of the question weighed by what the background lacks of it."""
    weights = 1 - asked.best[:, asked.background].mean(axis=1)
    return float(weights @ asked.best[:, asked.top] / weights.sum())


def weakest_tokens(asked: Asked) -> float:
    """Relevance of the quarter of the question that the best document answers worst."""
    return float(np.sort(asked.best[:, asked.top])[: max(1, asked.tokens // 4)].mean())


def over_the_tenth(asked: Asked) -> float:
    """Relevance of the best document less that of the tenth."""
    tenth = np.sort(asked.scores)[-min(10, len(asked.scores))]
    return float(asked.scores.max() - tenth) / asked.tokens


def of_what_all_answer(asked: Asked) -> float:
    """The best document's score by what it were if each token took its best document of all."""
    return float(asked.scores.max() / asked.best[:, asked.there].max(axis=1).sum())


Measure = Callable[[Asked], float]

KNOWN: dict[str, Measure] = {
    "MaxSim": lambda asked: float(asked.scores.max()),
    "MaxSim / length (relevance)": relevance,
    "cosine of the single vector": cosine,
}
IDEAS: dict[str, Measure] = {
    "z-score over the background": z_score,
    "z-score less the expected maximum (Gumbel)": gumbel,
    "way from the background to perfect": way_to_perfect,
    "the same, token by token": tokens_way_to_perfect,
    "z-score, token by token": tokens_z_score,
    "relevance, rare tokens count more": rare_tokens,
    "relevance of the weakest quarter": weakest_tokens,
    "margin over the tenth": over_the_tenth,
    "share of what all documents answer together": of_what_all_answer,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of test sets, default: %(default)s")
    parser.add_argument("--fitted-on", default=FITTED_ON, metavar="NAME", help="default: %(default)s")
    parser.add_argument("--sets", nargs="+", default=SETS, metavar="NAME", help="default: %(default)s")
    parser.add_argument("--queries", type=int, default=300, help="most questions of a set, default: %(default)s")
    parser.add_argument("--json", type=Path, help="write every figure here")
    arguments = parser.parse_args()

    figures: dict[str, dict[str, dict[str, float]]] = {}
    cuts: dict[str, float] = {}
    for name in (arguments.fitted_on, *arguments.sets):
        folder = arguments.data / name
        judged = load_corpora(folder) if (folder / "corpora").is_dir() else load(folder)
        asked = list(both_ways(judged.sample(arguments.queries)))
        figures[name] = {}
        for measure, of in {**KNOWN, **IDEAS}.items():
            with_answer, without = (np.array([of(each) for each in pair]) for pair in zip(*asked, strict=True))
            cut, best = best_cut(with_answer, without)
            cuts.setdefault(measure, cut)
            transferred = f1(with_answer, without, cuts[measure])
            figures[name][measure] = {"f1": transferred, "best": best, "auc": auc(with_answer, without)}
    print(table(figures, arguments.fitted_on))
    print(f"\n{verdict(figures, arguments.sets)}\n\n{ceiling(figures, arguments.sets)}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def both_ways(judged: Judged) -> Iterator[tuple[Asked, Asked]]:
    """Yield each question asked of all documents, and of all but those that answer it."""
    documents, queries = tokens_of(judged)
    sentences, asked = sentences_of(judged)
    cosines = sentences @ asked.T
    similarities = best_similarities(queries, documents)
    ends = np.cumsum([len(query) for query in queries])
    everything = np.arange(len(documents))
    drawn = np.random.default_rng(0).permutation(len(documents))[:BACKGROUND]
    place = {record: number for number, record in enumerate(judged.documents)}
    for number, (query, end) in enumerate(zip(judged.queries, ends, strict=True)):
        answers = [place[record] for record in judged.grades[query] if record in place]
        best = similarities[end - len(queries[number]) : end]
        background = np.setdiff1d(drawn, answers)
        yield (
            Asked(best, cosines[:, number], everything, background),
            Asked(best, cosines[:, number], np.setdiff1d(everything, answers), background),
        )


def f1(with_answer: Vectors, without: Vectors, cut: float) -> float:
    """Return F1 of yes, where a number reaches the cut-off."""
    right, wrong = int((with_answer >= cut).sum()), int((without >= cut).sum())
    return 2 * right / (right + wrong + len(with_answer))


def best_cut(with_answer: Vectors, without: Vectors) -> tuple[float, float]:
    """Return the cut-off with the highest F1, and that."""
    cuts = np.unique(np.concatenate([with_answer, without]))
    figures = [f1(with_answer, without, cut) for cut in cuts]
    best = int(np.argmax(figures))
    return float(cuts[best]), figures[best]


def auc(with_answer: Vectors, without: Vectors) -> float:
    """Return how often a question with an answer has more than one without; equal ones count half."""
    ordered = np.sort(without)
    below, upto = (np.searchsorted(ordered, with_answer, side) for side in ("left", "right"))
    return float((below + upto).mean() / 2 / len(without))


def table(figures: Mapping[str, Mapping[str, Mapping[str, float]]], fitted_on: str) -> str:
    sets = list(figures)
    named = (f"{name}{' (fitted here)' if name == fitted_on else ''}" for name in sets)
    lines = [f"| said by | {' | '.join(named)} |", f"|---|{'--:|' * len(sets)}"]
    for measure in figures[fitted_on]:
        of = (figures[name][measure] for name in sets)
        cells = (f"{each['f1']:.3f} of {each['best']:.3f}, AUC {each['auc']:.2f}" for each in of)
        lines.append(f"| {measure} | {' | '.join(cells)} |")
    return "\n".join(
        [*lines, "", "F1 with the cut-off of the first set, of the best F1 that a cut-off has on this set."]
    )


def verdict(figures: Mapping[str, Mapping[str, Mapping[str, float]]], sets: Sequence[str]) -> str:
    """Say which ideas are ahead of all that is known, on all sets."""
    bars = {name: max(figures[name][known]["f1"] for known in KNOWN) for name in sets}
    ahead = {idea: [name for name in sets if figures[name][idea]["f1"] > bars[name]] for idea in IDEAS}
    winners = [idea for idea, where in ahead.items() if len(where) == len(sets)]
    if winners:
        return f"Ahead of all three on every set: {', '.join(winners)}."
    most = max(len(where) for where in ahead.values())
    nearest = "; ".join(f"{idea} ({', '.join(where)})" for idea, where in ahead.items() if len(where) == most and where)
    nearest = f" Nearest: {nearest}." if nearest else ""
    return f"No idea is ahead of all three on every set, so none is part of the product.{nearest}"


def ceiling(figures: Mapping[str, Mapping[str, Mapping[str, float]]], sets: Sequence[str]) -> str:
    """Say how far a cut-off can get at all where it is applied."""
    best = [max(each["best"] for each in figures[name].values()) for name in sets]
    return (
        f"On the sets it is applied to, the best cut-off of the best measure has {min(best):.3f} to {max(best):.3f}, "
        "and to say yes always has 0.667: what is left of those collections without the answer is about the same "
        "things, and scores like it. A cut-off fitted on one collection says little about another; relevance is the "
        "one to fit on questions of one's own."
    )


if __name__ == "__main__":
    main()
