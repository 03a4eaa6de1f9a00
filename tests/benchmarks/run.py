"""Run every benchmark and write what they print to RESULTS.md, with the machine, the versions and the date.

What a benchmark can write as JSON goes to the folder ``results``, and `plots.py` makes pictures of it, where matplotlib
is installed (the extra ``bench``).

    python tests/benchmarks/run.py              # all of them: an hour or so on two cores
    python tests/benchmarks/run.py pooling maxsim
    python tests/benchmarks/run.py --page       # none: the page and the pictures anew

Benchmarks that are not named keep what they printed last. Peers are installed into environments of their own.
"""

import argparse
import datetime
import os
import platform
import re
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE / "RESULTS.md"
FIGURES = HERE / "results"

BENCHMARKS = {
    "encode_vs_fastembed": "Encoding, beside FastEmbed on the same ONNX file",
    "memory": "Memory while encoding and adding",
    "model_memory": "Memory of a loaded model, and of a long text",
    "beir": "Published figures, beside ours",
    "pooling": "Fewer vectors: what token pooling and half precision cost",
    "first_stages": "First stages: quality, latency and size",
    "storage": "Ways to store token vectors on a server, all-MiniLM-L6-v2-int8",
    "muvera_signs": "What MUVERA's candidates lose by signs",
    "centroids": "What centroids keep, by what they were trained on",
    "embedded_engine": "The embedded engine, beside qdrant-client's local mode",
    "search_overhead": "What a collection adds to the engine's own search",
    "filters": "Filters by a list of numbers",
    "evaluate": "What `evaluate` says of a collection with three first stages",
    "extraction": "Context of so many characters: chunks, and the sentences that answer",
    "thresholds": "One cut-off for all collections: is there an answer here?",
    "ingest": "Adding documents: time outside of the model",
    "serving": "Many queries at once: the event loop's lag",
    "faults": "Adding through a server that fails one request in five",
    "upload": "Adding to a server where the encoder costs nothing",
    "scale": "How a collection grows: 10,000, 50,000 and 250,000 documents",
    "cluster": "Three nodes: one is killed and comes back, another leaves",
    "maxsim": "MaxSim, beside a loop and maxsim-cpu",
    "muvera_vs_fastembed": "MUVERA, beside FastEmbed",
    "precision": "Integer products: speed, vectors and quality, beside float32",
    "dynamic_int8": "A dynamically quantised graph, alone and in batches",
    "langchain_overhead": "What the LangChain store adds to the core's search",
    "llama_index_colbert_rerank": "Reranking, beside llama-index-postprocessor-colbert-rerank",
}
PICTURES = {
    "encoding": "CPU seconds of encoding, beside FastEmbed",
    "latency": "Milliseconds a search by each way to search Cranfield, with its nDCG@10",
    "size": "nDCG@10 against bytes a document",
    "beir": "nDCG@10 of one model's single vector, its token vectors, and BM25, beside published figures",
    "evaluate": "What each way to search keeps of exact MaxSim, and its nDCG@10, against its time",
    "extraction": "Recall of the text that answers, by the characters that are kept",
    "thresholds": "F1 of one cut-off, fitted on one set and applied to others",
}
PACKAGES = ("colbert-qdrant", "onnxruntime", "tokenizers", "numpy", "qdrant-client", "qdrant-edge-py")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(BENCHMARKS)}")
    parser.add_argument("--page", action="store_true", help="run nothing, write the page and the pictures anew")
    options = parser.parse_args()
    unknown = set(options.names) - set(BENCHMARKS)
    if unknown:
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")

    sections, failed = earlier_sections(), []
    FIGURES.mkdir(exist_ok=True)
    for name in () if options.page else options.names or BENCHMARKS:
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            sections[name] = run(name)
        except subprocess.CalledProcessError:
            failed.append(name)
        RESULTS.write_text(page(sections), encoding="utf-8")
    RESULTS.write_text(page(sections), encoding="utf-8")
    if find_spec("matplotlib"):
        subprocess.run([sys.executable, str(HERE / "plots.py")], check=True)
    if failed:
        sys.exit(f"Failed: {', '.join(failed)}")


def run(name: str) -> str:
    """Run one benchmark; returns what it printed, under a line that says when and on what."""
    load = f"{os.getloadavg()[0]:.1f}"
    script = HERE / f"{name}.py"
    command = [sys.executable, "-W", "ignore", str(script)]
    if '"--json"' in script.read_text(encoding="utf-8"):
        command += ["--json", str(FIGURES / f"{name}.json")]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return f"{datetime.date.today()}, {machine()}, load {load} at the start; {versions()}\n\n{done.stdout.strip()}\n"


def machine() -> str:
    """Return what the figures depend on; no name of a machine."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        found = re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text())
        model = found[1] if found else model
    return f"{os.cpu_count()} cores of {model}, Python {platform.python_version()}"


def versions() -> str:
    """Return the versions of what was measured."""
    return ", ".join(f"{package} {version(package)}" for package in PACKAGES)


def earlier_sections() -> dict[str, str]:
    """Return what each benchmark printed last."""
    if not RESULTS.is_file():
        return {}
    parts = re.split(r"^## .*\n<!-- (\w+) -->\n\n", RESULTS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def page(sections: dict[str, str]) -> str:
    """Return the page, the benchmarks in their order."""
    known = [(name, title) for name, title in BENCHMARKS.items() if name in sections]
    body = "\n".join(f"## {title}\n<!-- {name} -->\n\n{sections[name].strip()}\n" for name, title in known)
    intro = "Printed by `python tests/benchmarks/run.py`. The machines are shared: ratios count, single times do not."
    pictures = "\n\n".join(f"![{about}](plots/{name}.svg)" for name, about in PICTURES.items())
    return f"# Results\n\n{intro}\n\n{pictures}\n\n{body}"


if __name__ == "__main__":
    main()
