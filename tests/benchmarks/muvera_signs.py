"""What MUVERA's candidates lose when its vectors are cut to signs: why the stage has Qdrant store them so.

    python tests/benchmarks/muvera_signs.py [--data DIR] [--sets NAME ...] [--queries N]

Encodings of the offline model's token vectors, MUVERA's default settings. Documents are put in order by each likeness,
in numpy: cosine and dot product of whole numbers, and the documents' signs with a query of whole numbers, of 8 bits
(as Qdrant's SCALAR8BITS) and of signs too. Shown is which share of exact MaxSim's ten best is among the first
50, 100 and 200.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

import numpy as np
import numpy.typing as npt
from judged import DATA, load_each

from colbert_qdrant import ColbertEmbedder, Muvera, maxsim
from colbert_qdrant.embedding.registry import OFFLINE_MODEL

CANDIDATES = (50, 100, 200)

Floats = npt.NDArray[np.float32]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of test sets, default: %(default)s")
    parser.add_argument("--sets", nargs="+", default=("xquad_en", "cranfield"), metavar="NAME")
    parser.add_argument("--queries", type=int, default=300, help="most queries of a set, default: %(default)s")
    arguments = parser.parse_args()

    embedder = ColbertEmbedder(OFFLINE_MODEL)
    muvera = Muvera.from_embedder(embedder)
    for judged in load_each(arguments.data, arguments.sets):
        judged = judged.sample(arguments.queries)
        documents = list(embedder.embed(judged.documents.values()))
        queries = list(embedder.query_embed(judged.queries.values()))
        best = [np.argsort(-maxsim(query, documents), kind="stable")[:10] for query in queries]
        print(f"## {judged.name}: {len(documents)} documents, {len(queries)} queries\n")
        print("| documents, query | first 50 | first 100 | first 200 |\n|---|--:|--:|--:|")
        encoded = muvera.process_documents(documents), np.stack([muvera.process_query(query) for query in queries])
        for name, likeness in likenesses(*encoded):
            orders = np.argsort(-likeness, axis=1, kind="stable")
            shares = [
                fmean(np.isin(ten, order[:count]).mean() for ten, order in zip(best, orders, strict=True))
                for count in CANDIDATES
            ]
            print(f"| {name} | {' | '.join(f'{share:.3f}' for share in shares)} |")
        print()


def likenesses(documents: Floats, queries: Floats) -> Iterator[tuple[str, Floats]]:
    """Yield the likeness of each query, a row, with each document, by name."""
    signs = np.where(documents > 0, 1, -1).astype(np.float32)
    yield "whole, by cosine", queries @ (documents / np.linalg.norm(documents, axis=1, keepdims=True)).T
    yield "whole, by dot product", queries @ documents.T
    yield "signs, whole", queries @ signs.T
    steps = np.abs(queries).max(axis=1, keepdims=True) / 127
    yield "signs, 8 bits", np.rint(queries / steps) @ signs.T
    yield "signs, signs", np.where(queries > 0, 1, -1).astype(np.float32) @ signs.T


if __name__ == "__main__":
    main()
