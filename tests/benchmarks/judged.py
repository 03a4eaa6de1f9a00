"""Retrieval test sets in BEIR layout, and the figures that tell how good an order of their documents is.

A folder in that layout holds ``corpus.jsonl``, ``queries.jsonl`` and ``qrels.tsv``.
https://github.com/beir-cellar/beir/wiki/Load-your-custom-dataset
"""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from colbert_qdrant.sentences import sentences

DATA = Path(__file__).absolute().parents[3] / "shared/data"


@dataclass(frozen=True)
class Judged:
    """A test set: texts by id, and for each query the grade of every document that was judged relevant."""

    name: str
    documents: Mapping[str, str]
    queries: Mapping[str, str]
    grades: Mapping[str, Mapping[str, int]]

    def sample(self, count: int | None) -> Judged:
        """Keep so many queries, spread evenly; all of them with ``None``."""
        step = max(1, len(self.queries) // count) if count else 1
        kept = list(self.queries)[::step][:count]
        return Judged(self.name, self.documents, {query: self.queries[query] for query in kept}, self.grades)

    def beside(self, others: int) -> Judged:
        """Keep the documents that answer the queries and so many others, spread evenly."""
        wanted = {document for query in self.queries for document in self.grades[query]}
        rest = [document for document in self.documents if document not in wanted]
        wanted.update(rest[:: max(1, len(rest) // max(1, others))][:others])
        documents = {name: text for name, text in self.documents.items() if name in wanted}
        return Judged(self.name, documents, self.queries, self.grades)


def load(folder: Path) -> Judged:
    """Read a test set; queries that nothing was judged for are left out, titles stand before their texts."""
    grades: dict[str, dict[str, int]] = {}
    for line in (folder / "qrels.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        query, document, grade = line.split("\t")
        if int(grade) > 0:
            grades.setdefault(query, {})[document] = int(grade)
    return Judged(
        name=folder.name,
        documents={row["_id"]: f"{row.get('title', '')} {row['text']}".strip() for row in _rows(folder, "corpus")},
        queries={row["_id"]: row["text"] for row in _rows(folder, "queries") if row["_id"] in grades},
        grades=grades,
    )


def load_each(data: Path, names: Iterable[str]) -> Iterator[Judged]:
    """Read those of the test sets that are there; say which are not, and stop where none is."""
    there = [name for name in names if (data / name / "qrels.tsv").is_file()]
    for name in names:
        if name not in there:
            print(f"Skipped {name}: there is no {data / name} in BEIR layout (--data says where)", file=sys.stderr)
    if not there:
        sys.exit("Nothing to measure")
    yield from (load(data / name) for name in there)


def load_corpora(folder: Path) -> Judged:
    """Read the general evaluation of chunking_evaluation as a test set: chunks, graded 1 where an excerpt reaches in.

    https://github.com/brandonstarxel/chunking_evaluation
    """
    documents: dict[str, str] = {}
    places: dict[str, list[tuple[int, int]]] = {}
    for file in sorted((folder / "corpora").glob("*.md")):
        text = file.read_text(encoding="utf-8")
        places[file.stem] = chunks_of_sentences(text)
        documents |= {f"{file.stem}-{number}": text[slice(*span)] for number, span in enumerate(places[file.stem])}
    queries: dict[str, str] = {}
    grades: dict[str, dict[str, int]] = {}
    with (folder / "questions_df.csv").open(encoding="utf-8") as file_of_questions:
        for number, row in enumerate(csv.DictReader(file_of_questions)):
            excerpts = [(each["start_index"], each["end_index"]) for each in json.loads(row["references"])]
            queries[str(number)] = row["question"]
            grades[str(number)] = {
                f"{row['corpus_id']}-{chunk}": 1
                for chunk, (start, end) in enumerate(places[row["corpus_id"]])
                if any(start < last and first < end for first, last in excerpts)
            }
    return Judged(folder.name, documents, queries, grades)


def chunks_of_sentences(text: str, length: int = 800) -> list[tuple[int, int]]:
    """Return stretches of whole sentences, each of so many characters or a sentence more."""
    chunks: list[tuple[int, int]] = []
    for start, end in sentences(text):
        if chunks and chunks[-1][1] - chunks[-1][0] < length:
            chunks[-1] = (chunks[-1][0], end)
        else:
            chunks.append((start, end))
    return chunks


def ndcg(order: Sequence[str], grades: Mapping[str, int], k: int = 10) -> float:
    """Return the normalised discounted cumulative gain of an order's first `k`, the grade being the gain."""
    best = sorted(grades.values(), reverse=True)
    return _dcg([grades.get(document, 0) for document in order[:k]]) / _dcg(best[:k])


def recall(order: Sequence[str], wanted: Iterable[str], k: int = 100) -> float:
    """Return which share of the wanted documents an order's first `k` holds."""
    sought = set(wanted)
    return len(sought.intersection(order[:k])) / len(sought)


def _dcg(gains: Iterable[int]) -> float:
    return sum(gain / math.log2(rank + 2) for rank, gain in enumerate(gains))


def _rows(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / f"{name}.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
