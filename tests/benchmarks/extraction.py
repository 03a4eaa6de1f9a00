"""How much of the text that answers is kept, of so many characters: whole chunks, and the sentences that answer.

    python tests/benchmarks/extraction.py [--data DIR] [--corpora NAME ...] [--json FILE] [--check]

The general evaluation of https://github.com/brandonstarxel/chunking_evaluation: questions with the excerpts of a corpus
that answer them. Chunks of 200 and 400 tokens are ranked by the dense model's cosine and by MaxSim; sentences by the
evidence of `colbert_qdrant.passages`, over windows of the whole corpus. Kept is what comes first, up to a budget of
characters, the last piece cut. Recall is the share of the excerpts' characters that is kept; IoU what is kept of them
by what is either. The model is all-MiniLM-L6-v2, by its sentence vectors and by its token vectors. The settings were
chosen on state_of_the_union, wikitexts and chatlogs; finance and pubmed are for reporting.

``--check``: over the corpora of the settings together sentences keep more than chunks by MaxSim at every budget, at 400
characters by at least a quarter, and some budget keeps 90% of the recall of five chunks of 400 tokens at three times
its IoU.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TypeAlias

import numpy as np

from colbert_qdrant import ColbertEmbedder, maxsim
from colbert_qdrant.embedding.sentence import SentenceEmbedder
from colbert_qdrant.passages import EncodedText, Evidence, judged
from colbert_qdrant.sentences import Span

MODEL = "all-MiniLM-L6-v2-int8"
CORPORA = ("state_of_the_union", "wikitexts", "chatlogs", "finance", "pubmed")
TUNED_ON = CORPORA[:3]
BUDGETS = (200, 400, 800, 1_200, 1_600, 2_000, 3_000, 4_000)

Ranking: TypeAlias = Callable[[int], tuple[Sequence[int], list[Span]]]
"""For a question: the pieces' numbers, the best first, and where each piece stands."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = Path(__file__).parents[3] / "shared/data"
    parser.add_argument("--data", type=Path, default=data, help="holds chunking_evaluation; default: %(default)s")
    parser.add_argument("--corpora", nargs="+", default=CORPORA, choices=CORPORA)
    parser.add_argument("--json", type=Path, help="write every figure here")
    parser.add_argument("--check", action="store_true", help="fail where a claim is missed")
    arguments = parser.parse_args()
    folder = arguments.data / "chunking_evaluation"
    if not folder.is_dir():
        sys.exit(
            f"{folder} is not there: get the general evaluation of brandonstarxel/chunking_evaluation, give --data"
        )

    rows = [row for name in arguments.corpora for row in measure(folder, name)]
    for name in arguments.corpora:
        print(f"### {name}{'' if name in TUNED_ON else ' (for reporting only)'}\n")
        print(f"| kept | {' | '.join(f'{budget:,}' for budget in BUDGETS)} |\n|---|{'--:|' * len(BUDGETS)}")
        for row in rows:
            if row["corpus"] == name:
                cells = (f"{r:.2f} / {i:.2f}" for r, i in zip(row["recall"], row["iou"], strict=True))
                print(f"| {row['kept']} | {' | '.join(cells)} |")
        print()
    print("Recall / IoU, by the characters that are kept.\n")
    print(beside_the_single_vector(rows))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    if arguments.check and (missed := misses(rows)):
        sys.exit("\n".join(missed))


def measure(folder: Path, corpus: str) -> list[dict]:
    """Return a row for each way to choose what to keep."""
    text = (folder / f"corpora/{corpus}.md").read_text(encoding="utf-8")
    with (folder / "questions_df.csv").open(encoding="utf-8") as file:
        asked = [row for row in csv.DictReader(file) if row["corpus_id"] == corpus]
    excerpts = [[(each["start_index"], each["end_index"]) for each in json.loads(row["references"])] for row in asked]
    embedder = ColbertEmbedder(MODEL, long_documents="window")
    questions = [row["question"] for row in asked]
    queries = list(embedder.query_embed(questions))
    [whole] = embedder.token_vectors([text])
    encoded = EncodedText(text, whole.vectors, whole.spans)

    def sentences(question: int) -> tuple[Sequence[int], list[Span]]:
        evidence = Evidence.of(queries[question], encoded)
        return np.argsort(-judged(queries[question], [evidence])[0], kind="stable"), evidence.segments

    ways: dict[str, Ranking] = {}
    for tokens in (200, 400):
        spans = chunks(encoded, tokens)
        texts = [text[start:end] for start, end in spans]
        ways[f"chunks of {tokens} tokens, dense"] = by_dense(spans, texts, questions)
        ways[f"chunks of {tokens} tokens, MaxSim"] = by_maxsim(spans, list(embedder.embed(texts)), queries)
    ways["sentences, by token evidence"] = sentences
    return [row_of(corpus, kept, ranking, excerpts) for kept, ranking in ways.items()]


def row_of(corpus: str, kept: str, ranking: Ranking, excerpts: Sequence[Sequence[Span]]) -> dict:
    """Return recall and IoU at each budget, and of the five first pieces whole, over all questions."""
    at_budgets, five = [], []
    for number, wanted in enumerate(excerpts):
        order, pieces = ranking(number)
        at_budgets.append([overlap(cut(order, pieces, budget), wanted) for budget in BUDGETS])
        five.append(overlap([pieces[index] for index in order[:5]], wanted))
    recall, iou = np.mean(at_budgets, axis=0).T
    return {
        "corpus": corpus,
        "kept": kept,
        "budgets": BUDGETS,
        "recall": recall.tolist(),
        "iou": iou.tolist(),
        "five": np.mean(five, 0).tolist(),
    }


def chunks(encoded: EncodedText, tokens: int) -> list[Span]:
    """Return stretches of so many tokens, one after the other."""
    placed = encoded.spans[encoded.spans[:, 1] > 0]
    return [(int(part[0, 0]), int(part[-1, 1])) for part in np.split(placed, range(tokens, len(placed), tokens))]


def by_dense(spans: list[Span], texts: list[str], questions: list[str]) -> Ranking:
    """Rank chunks by the cosine of sentence vectors."""
    model = SentenceEmbedder(MODEL)
    documents, asked = np.array(list(model.embed(texts))), np.array(list(model.query_embed(questions)))
    return lambda question: (np.argsort(-(documents @ asked[question]), kind="stable"), spans)


def by_maxsim(spans: list[Span], vectors: list[np.ndarray], queries: list[np.ndarray]) -> Ranking:
    """Rank chunks by MaxSim."""
    return lambda question: (np.argsort(-maxsim(queries[question], vectors), kind="stable"), spans)


def cut(order: Sequence[int], pieces: list[Span], budget: int) -> list[Span]:
    """Return the first pieces up to so many characters, the last one cut."""
    chosen = [pieces[index] for index in order[: budget + 1]]
    room = [budget, *(budget - used for used in accumulate(end - start for start, end in chosen))]
    return [(start, min(end, start + left)) for (start, end), left in zip(chosen, room, strict=False) if left > 0]


def overlap(kept: Sequence[Span], wanted: Sequence[Span]) -> tuple[float, float]:
    """Return recall and intersection over union, in characters."""
    ours, theirs = characters(kept), characters(wanted)
    both = len(ours & theirs)
    return both / len(theirs), both / len(ours | theirs)


def characters(spans: Sequence[Span]) -> set[int]:
    return {place for start, end in spans for place in range(start, end)}


def misses(rows: Sequence[dict]) -> list[str]:
    """Return the claims that the corpora of the settings, together, do not meet."""
    tuned = [row for row in rows if row["corpus"] in TUNED_ON]
    mean = {kept: np.mean([row["recall"] for row in tuned if row["kept"] == kept], axis=0) for kept in kinds(tuned)}
    ours = mean["sentences, by token evidence"]
    theirs = np.maximum(mean["chunks of 200 tokens, MaxSim"], mean["chunks of 400 tokens, MaxSim"])
    iou = np.mean([row["iou"] for row in tuned if row["kept"] == "sentences, by token evidence"], axis=0)
    five = np.mean([row["five"] for row in tuned if row["kept"] == "chunks of 400 tokens, MaxSim"], axis=0)
    missed = [
        f"{budget}: {o:.3f}, chunks {t:.3f}" for budget, o, t in zip(BUDGETS, ours, theirs, strict=True) if o <= t
    ]
    if ours[1] < 1.25 * theirs[1]:
        missed.append(f"at 400 characters {ours[1]:.3f}, chunks {theirs[1]:.3f}")
    if not any((ours >= 0.9 * five[0]) & (iou >= 3 * five[1])):
        missed.append(f"five chunks of 400: recall {five[0]:.3f}, IoU {five[1]:.3f}; no budget has 90% and three times")
    return missed


def beside_the_single_vector(rows: Sequence[dict]) -> str:
    """Say what MaxSim keeps beside the single vector of the same model, of as many characters of the same chunks."""
    said = []
    for tokens in (200, 400):
        recall = {
            by: np.array([row["recall"] for row in rows if row["kept"] == f"chunks of {tokens} tokens, {by}"])
            for by in ("MaxSim", "dense")
        }
        at = BUDGETS.index(2_000)
        ahead = 100 * (recall["MaxSim"] - recall["dense"])[:, at]
        said.append(
            f"Of chunks of {tokens} tokens, 2,000 characters in all, MaxSim keeps {recall['MaxSim'][:, at].mean():.2f} "
            f"of what answers and the single vector of the same model {recall['dense'][:, at].mean():.2f}: by corpus "
            f"{ahead.min():+.0f} to {ahead.max():+.0f} points."
        )
    return "\n\n".join(said)


def kinds(rows: Sequence[dict]) -> list[str]:
    return list(dict.fromkeys(row["kept"] for row in rows))


if __name__ == "__main__":
    main()
