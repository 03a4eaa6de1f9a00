"""What centroids keep of exact MaxSim: how many a query asks for, how many texts train them, and of which subject.

    python tests/benchmarks/centroids.py [--data DIR] [--sets NAME ...] [--queries N]

Encodings of the offline model's token vectors. Documents are put in order by the dot product of `Centroids`' sparse
vectors, in numpy, and by MUVERA's signs as its stage is searched (see muvera_signs.py). Shown is which share of exact
MaxSim's ten best is among the first 50, 100 and 200, and how many weights a document has. Rows: trained on the set's
own documents, on a hundred of them, and on those of the other set, which is what becomes of a collection whose subject
is not the one that it was trained for.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from statistics import fmean

import numpy as np
import numpy.typing as npt
from encoded import best_similarities, maxsims, tokens_of
from judged import DATA, Judged, load_each
from muvera_signs import CANDIDATES, likenesses

from colbert_qdrant import Centroids, Muvera
from colbert_qdrant.embedding import centroids
from colbert_qdrant.embedding.centroids import COUNT

PROBES = (4, 8, 16, 32)
FEW = 100
"""Documents to train on."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Encoded:
    """A test set's token vectors, and which documents exact MaxSim puts first for each query."""

    name: str
    documents: Sequence[Floats]
    queries: Sequence[Floats]
    best: Sequence[npt.NDArray[np.intp]]

    @classmethod
    def of(cls, judged: Judged) -> Encoded:
        documents, queries = tokens_of(judged)
        documents = [vectors.astype(np.float32) for vectors in documents]
        exact = maxsims(queries, best_similarities(queries, documents))
        return cls(judged.name, documents, queries, [*np.argsort(-exact, axis=1, kind="stable")[:, :10]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of test sets, default: %(default)s")
    parser.add_argument("--sets", nargs="+", default=("xquad_en", "cranfield"), metavar="NAME")
    parser.add_argument("--queries", type=int, default=150, help="most queries of a set, default: %(default)s")
    arguments = parser.parse_args()

    sets = [Encoded.of(judged.sample(arguments.queries)) for judged in load_each(arguments.data, arguments.sets)]
    for of_set in sets:
        print(f"## {of_set.name}: {len(of_set.documents)} documents, {len(of_set.queries)} queries\n")
        print("| trained on | centroids | weights | asked for | first 50 | first 100 | first 200 |\n|---|" + "--:|" * 6)
        print(as_row("MUVERA's signs", "", "", "", of_set, by_signs(of_set)), flush=True)
        for said, sample, probes in samples(of_set, sets):
            trained = Centroids.train(sample, COUNT)
            encoded = [trained.process_document(vectors) for vectors in of_set.documents]
            dense = np.zeros((len(encoded), trained.count + 1), np.float32)
            for row, weights in zip(dense, encoded, strict=True):
                row[weights.indices] = weights.values
            weights_each = f"{fmean(len(weights.indices) for weights in encoded):.0f}"
            for asked in probes:
                centroids.PROBES = asked
                likeness = np.stack([by_weights(trained, query, dense) for query in of_set.queries])
                print(as_row(said, f"{trained.count:,}", weights_each, str(asked), of_set, likeness), flush=True)
        print()


def samples(of_set: Encoded, sets: Sequence[Encoded]) -> Iterator[tuple[str, Sequence[Floats], Sequence[int]]]:
    """Yield what to train on, by name, and how many centroids to ask for."""
    documents = of_set.documents
    yield f"its {len(documents)} documents", documents, PROBES
    few = documents[:: max(1, len(documents) // FEW)][:FEW]
    yield f"{len(few)} of them", few, (16,)
    others = [other.documents for other in sets if other is not of_set]
    if others:
        yield "documents of another subject", [*chain(*others)], (16,)


def by_weights(trained: Centroids, query: Floats, documents: Floats) -> Floats:
    weights = trained.process_query(query)
    likeness: Floats = documents[:, weights.indices] @ weights.values
    return likeness


def by_signs(of_set: Encoded) -> Floats:
    muvera = Muvera(of_set.documents[0].shape[1])
    queries = np.stack([muvera.process_query(query) for query in of_set.queries])
    return dict(likenesses(muvera.process_documents(of_set.documents), queries))["signs, 8 bits"]


def as_row(said: str, count: str, weights: str, asked: str, of_set: Encoded, likeness: Floats) -> str:
    orders = np.argsort(-likeness, axis=1, kind="stable")
    shares = [
        fmean(np.isin(ten, order[:first]).mean() for ten, order in zip(of_set.best, orders, strict=True))
        for first in CANDIDATES
    ]
    return f"| {said} | {count} | {weights} | {asked} | {' | '.join(f'{share:.3f}' for share in shares)} |"


if __name__ == "__main__":
    main()
