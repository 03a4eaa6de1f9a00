"""Learn the projection of the offline model's token vectors from 384 numbers to 128, and write it as package data.

    python tests/data/make_projection.py [--dim N] [--steps N]

The texts are free: the standard library's docstrings and its language reference, and texts made up from the words of
the tokenizer's vocabulary, drawn by their frequency, or around topics: a word and what lies nearest to it in the
model's own table of words. No test set is among them.

The model stays as it is; learned is one matrix, applied to its token vectors. It starts from their principal components
and is then trained (Adam) to keep differences of MaxSim scores: in each step parts of some texts are queries, and each
query's scores of some sixty other texts, half of them near it, shall differ as they do with all 384 numbers. About ten
minutes of one core; the same seed gives the same matrix but for the rounding of BLAS.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from colbert_qdrant import ColbertEmbedder
from colbert_qdrant.embedding.registry import OFFLINE_MODEL

DATA = Path(__file__).parents[2] / "core/colbert_qdrant/embedding/data"
PROSE, SALAD, TOPICS, OF_A_TOPIC = 1500, 2500, 500, 8
NEAR, STRANGERS, QUERIES = 44, 28, 16
OF_TOKENS = 0.2
"""Weight of each query token's own error beside that of a query's score."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Texts:
    """Token vectors of all texts in one array; neighbours in `order` are about the same."""

    vectors: Floats
    starts: npt.NDArray[np.int64]
    order: tuple[npt.NDArray[np.int64], ...]

    def rows(self, texts: Sequence[int]) -> tuple[Floats, npt.NDArray[np.int64]]:
        parts = [self.vectors[self.starts[text] : self.starts[text + 1]] for text in texts]
        return np.concatenate(parts), np.cumsum([0, *map(len, parts[:-1])])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--steps", type=int, default=2000)
    options = parser.parse_args()
    projection = learned(encoded(np.random.default_rng(0)), options.dim, options.steps)
    write(DATA / f"all-MiniLM-L6-v2-{options.dim}d", projection)


def encoded(random: np.random.Generator) -> Texts:
    embedder = ColbertEmbedder(OFFLINE_MODEL)
    prose, salad, topics = passages(random), mixtures(random), list(topical(random, embedder))
    multivectors = [vectors.astype(np.float16) for vectors in embedder.embed([*prose, *salad, *topics])]
    kinds = np.split(np.arange(len(multivectors)), np.cumsum([len(prose), len(salad)]))
    starts = np.cumsum([0, *map(len, multivectors)])
    return Texts(np.concatenate(multivectors).astype(np.float32), starts, tuple(kinds))


def passages(random: np.random.Generator) -> list[str]:
    """Cut passages of 20 to 120 words out of the standard library, in the order they stand there."""
    import pydoc_data.topics

    texts = [*docstrings(), *pydoc_data.topics.topics.values()]
    words = " ".join(texts).split()
    starts = np.sort(random.integers(0, len(words) - 120, PROSE))
    return [" ".join(words[start : start + random.integers(20, 121)]) for start in starts]


def docstrings() -> Iterator[str]:
    library = Path(os.__file__).parent
    for path in sorted(library.rglob("*.py")):
        if not {"site-packages", "test", "tests"} & set(path.relative_to(library).parts):
            try:
                tree = ast.parse(path.read_bytes())
            except (SyntaxError, ValueError):  # what a library keeps to test its own parser
                continue
            for node in ast.walk(tree):
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                    yield ast.get_docstring(node) or ""


def vocabulary() -> tuple[list[str], list[int]]:
    """Return the words of the tokenizer's vocabulary, the frequent ones first, and their ids."""
    content = json.loads((DATA / "all-MiniLM-L6-v2/tokenizer.json").read_text(encoding="utf-8"))
    known = sorted(content["model"]["vocab"].items(), key=lambda item: int(item[1]))
    words = [(word, number) for word, number in known if re.fullmatch("[a-z]{3,}", word)]
    return [word for word, _ in words], [number for _, number in words]


def mixtures(random: np.random.Generator) -> list[str]:
    words, _ = vocabulary()
    chances = 1 / (np.arange(len(words)) + 300)
    chances /= chances.sum()
    return [" ".join(random.choice(words, random.integers(10, 61), p=chances)) for _ in range(SALAD)]


def topical(random: np.random.Generator, embedder: ColbertEmbedder) -> Iterator[str]:
    """Yield texts around two words each, with common words in between and a few that have nothing to do with them."""
    words, ids = vocabulary()
    frequent, commonest = 400, 150
    table = word_table(embedder)[ids]
    table -= table.mean(axis=0)
    table /= np.linalg.norm(table, axis=1, keepdims=True)
    chances = 1 / (np.arange(len(words)) + 2000)
    chances[:frequent] = 0
    chances /= chances.sum()

    def near(word: int) -> npt.NDArray[np.int64]:
        return np.argsort(-(table[frequent:] @ table[word]))[:80] + frequent

    for _ in range(TOPICS):
        first, second = map(near, random.choice(len(words), 2, replace=False, p=chances))
        for _ in range(OF_A_TOPIC):
            chosen = []
            for kind in random.random(random.integers(12, 56)):
                nearness = int(80 * random.random() ** 2)
                if kind < 0.35:
                    chosen.append(random.integers(commonest))
                elif kind < 0.88:
                    chosen.append((first if kind < 0.7 else second)[nearness])
                else:
                    chosen.append(random.choice(len(words), p=chances))
            yield " ".join(words[word] for word in chosen)


def word_table(embedder: ColbertEmbedder) -> Floats:
    """Return the model's vectors of its vocabulary, before any layer."""
    import onnx
    from onnx import numpy_helper

    tensors = {tensor.name: tensor for tensor in onnx.load(embedder._files.onnx).graph.initializer}
    name = "inner.embeddings.word_embeddings.weight"
    return numpy_helper.to_array(tensors[f"{name}_q"]).astype(np.float32) * numpy_helper.to_array(
        tensors[f"{name}_scale"]
    )


def learned(texts: Texts, dim: int, steps: int) -> Floats:
    random = np.random.default_rng(0)
    projection = principal(texts.vectors, dim)
    slow, square = np.zeros_like(projection), np.zeros_like(projection)
    for step in range(1, steps + 1):
        gradient, error = slope(projection, *batch(texts, random))
        slow, square = 0.9 * slow + 0.1 * gradient, 0.99 * square + 0.01 * gradient**2
        rate = 3e-3 * min(1, step / 50) * (1 + np.cos(np.pi * step / steps)) / 2
        projection -= rate * (slow / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.99**step)) + 1e-8)
        if step % 100 == 0:
            print(f"step {step}: {error:.4f} of the scores' variance lost", flush=True)
    return projection


def principal(vectors: Floats, dim: int) -> Floats:
    """Return the principal components, the weaker ones strengthened: ``(384, dim)``."""
    strength, components = np.linalg.eigh(vectors.T @ vectors / len(vectors))
    found = components[:, ::-1][:, :dim] * strength[::-1][:dim] ** -0.2
    return (found * (0.04 / np.abs(found).mean())).astype(np.float32)


def batch(texts: Texts, random: np.random.Generator) -> tuple[Floats, list[int], Floats, npt.NDArray[np.int64]]:
    """Return token vectors of queries, their lengths, those of other texts, and where each of these begins."""
    prose, salad, topics = texts.order
    kind = random.random()
    if kind < 0.85:
        line = prose if kind < 0.35 else topics
        at = random.integers(0, len(line) - NEAR)
        near = line[at : at + NEAR]
    else:
        near = random.choice(salad, NEAR, replace=False)
    asking = random.choice(near, QUERIES, replace=False)
    everyone = len(texts.starts) - 1
    others = np.setdiff1d(np.r_[near, random.choice(everyone, STRANGERS, replace=False)], asking)
    queries = []
    for text in asking:
        rows, _ = texts.rows([text])
        count = min(int(random.integers(8, 24)), len(rows))
        start = random.integers(0, len(rows) - count + 1)
        queries.append(rows[start : start + count])
    return np.concatenate(queries), [len(query) for query in queries], *texts.rows(others)


def slope(
    projection: Floats, queries: Floats, lengths: list[int], documents: Floats, starts: npt.NDArray[np.int64]
) -> tuple[Floats, float]:
    """Return the gradient of the squared error of score differences, and that error beside the scores' variance."""
    exact = np.maximum.reduceat(queries @ documents.T, starts, axis=1)
    exact -= exact.mean(axis=1, keepdims=True)
    asked, asked_norms = unit(queries @ projection)
    given, given_norms = unit(documents @ projection)
    similar = asked @ given.T
    ends = [*starts[1:], len(documents)]
    best = np.stack([similar[:, a:b].argmax(axis=1) + a for a, b in zip(starts, ends, strict=True)], axis=1)
    found = np.take_along_axis(similar, best, axis=1)
    errors = found - found.mean(axis=1, keepdims=True) - exact
    first = np.cumsum([0, *lengths[:-1]])
    of_scores, scores = np.add.reduceat(errors, first, axis=0), np.add.reduceat(exact, first, axis=0)
    pull = np.repeat(of_scores / np.array(lengths)[:, None], lengths, axis=0) + OF_TOKENS * errors
    pulls = np.zeros_like(similar)
    np.put_along_axis(pulls, best, (2 / len(queries) * pull).astype(np.float32), axis=1)
    gradient = queries.T @ through_unit(pulls @ given, asked, asked_norms)
    gradient += documents.T @ through_unit(pulls.T @ asked, given, given_norms)
    return gradient, float((of_scores**2).mean() / (scores**2).mean())


def unit(rows: Floats) -> tuple[Floats, Floats]:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / norms, norms


def through_unit(gradient: Floats, rows: Floats, norms: Floats) -> Floats:
    return (gradient - (gradient * rows).sum(axis=1, keepdims=True) * rows) / norms


def write(folder: Path, projection: Floats) -> None:
    """Write it as sentence-transformers keeps a Dense module, in half precision."""
    module = folder / "1_Dense"
    module.mkdir(parents=True, exist_ok=True)
    weight = np.ascontiguousarray(projection.T).astype("<f2")
    described = {"dtype": "F16", "shape": list(weight.shape), "data_offsets": [0, weight.nbytes]}
    header = json.dumps({"linear.weight": described}).encode()
    (module / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + weight.tobytes())
    config = {
        "in_features": weight.shape[1],
        "out_features": weight.shape[0],
        "bias": False,
        "activation_function": "torch.nn.modules.linear.Identity",
    }
    (module / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    modules = [{"idx": 1, "name": "1", "path": "1_Dense", "type": "pylate.models.Dense.Dense"}]
    (folder / "modules.json").write_text(json.dumps(modules, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
