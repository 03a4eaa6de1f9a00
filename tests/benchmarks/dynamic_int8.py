"""What a dynamically quantised graph makes of a text beside others, and what running texts one by one costs.

    python tests/benchmarks/dynamic_int8.py [--texts N]

The offline model's graph with its weights made whole, and that one quantised by ONNX Runtime (`quantize_dynamic`, a
scale for each channel). The quantised graph runs over passages alone and in padded batches of 8, sorted by length as an
encoder would: shown is the lowest cosine of a token's vectors between the two. Then the CPU seconds of `embed`, with
the quantised graph, which this encoder gives one text a run, with its batches allowed, and with the whole weights.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from ingest import passages
from onnxruntime.quantization import QuantType, quantize_dynamic

from colbert_qdrant import ColbertEmbedder
from colbert_qdrant.embedding.registry import OFFLINE_MODEL

BATCH, ROUNDS = 8, 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=128, help="default: %(default)s")
    texts = sorted(passages(parser.parse_args().texts), key=len)
    whole = ColbertEmbedder(OFFLINE_MODEL)
    with tempfile.TemporaryDirectory() as scratch:
        quantised = ColbertEmbedder(str(quantize(whole, Path(scratch))))
        alone, batched = list(quantised.embed(texts)), ColbertEmbedder(str(Path(scratch)))
        batched._document_encoder._planning = whole._document_encoder._planning  # as if it were no such graph
        together = [v for at in range(0, len(texts), BATCH) for v in in_one_run(batched, texts[at : at + BATCH])]
        lowest = min(float(np.einsum("ij,ij->i", a, b).min()) for a, b in zip(alone, together, strict=True))
        print(f"Lowest cosine of a token alone and in a batch of {BATCH}: {lowest:.2f}\n")
        print("| graph | CPU, s |\n|---|--:|")
        for name, embedder in (
            ("quantised, one text a run", quantised),
            ("quantised, in batches", batched),
            ("whole weights, in batches", whole),
        ):
            print(f"| {name} | {min(cpu_seconds(embedder, texts) for _ in range(ROUNDS)):.2f} |")


def quantize(whole: ColbertEmbedder, folder: Path) -> Path:
    """Write the quantised graph, and the checkpoint's other files beside it."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC  # makes the weights whole
    options.optimized_model_filepath = str(folder / "whole.onnx")
    onnxruntime.InferenceSession(str(whole._files.onnx), options, providers=["CPUExecutionProvider"])
    kind = {"weight_type": QuantType.QInt8, "per_channel": True}
    quantize_dynamic(folder / "whole.onnx", folder / "model.onnx", op_types_to_quantize=["MatMul", "Gemm"], **kind)
    (folder / "whole.onnx").unlink()
    for file in whole._files.folder.iterdir():
        if file.is_file() and file.suffix != ".onnx":
            shutil.copy(file, folder)
    return folder


def in_one_run(embedder: ColbertEmbedder, texts: Sequence[str]) -> list[np.ndarray]:
    tokenized = embedder._tokenizer.documents(list(texts))
    return embedder._document_encoder._run(tokenized, max(len(text.ids) for text in tokenized))


def cpu_seconds(embedder: ColbertEmbedder, texts: Sequence[str]) -> float:
    start = time.process_time()
    list(embedder.embed(texts))
    return time.process_time() - start


if __name__ == "__main__":
    main()
