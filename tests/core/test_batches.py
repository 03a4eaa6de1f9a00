"""Which texts run together; and that a text's vectors do not depend on the texts beside it."""

from __future__ import annotations

import itertools
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnxruntime.quantization import QuantType, quantize_dynamic

from colbert_qdrant import ColbertEmbedder
from colbert_qdrant.embedding.batches import ONE_BY_ONE, Batch, Planning, one_ahead, windows
from colbert_qdrant.embedding.encoder import is_dynamically_quantized
from colbert_qdrant.embedding.hardware import CPU, CUDA, Hardware
from colbert_qdrant.errors import InvalidInput

TEXTS = ["Hello World", "a much longer text of rather many words, " * 3, "apple"]


def dynamic(source: Path, target: Path) -> None:
    quantize_dynamic(source, target, weight_type=QuantType.QInt8)


def optimised(source: Path, target: Path) -> None:
    """Save it as ONNX Runtime fuses it when it loads."""
    dynamic(source, target.with_name("plain.onnx"))
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(target.with_name("plain.onnx"), options, providers=["CPUExecutionProvider"])
    target.with_name("plain.onnx").unlink()


@pytest.mark.parametrize("made", [dynamic, optimised])
def test_a_graph_that_measures_its_batch_gets_one_text_a_run(
    tiny_folder: Path, tmp_path: Path, made: Callable[[Path, Path], None]
) -> None:
    folder = shutil.copytree(tiny_folder, tmp_path / "int8")
    made(tiny_folder / "model.onnx", folder / "model.onnx")
    embedder = ColbertEmbedder(folder, threads=1)

    together = list(embedder.embed(TEXTS))

    assert is_dynamically_quantized(folder / "model.onnx")
    for text, vectors in zip(TEXTS, together, strict=True):
        np.testing.assert_array_equal(vectors, next(embedder.embed(text)))


@pytest.mark.parametrize(
    ("operator", "attributes", "measures"),
    [
        ("DynamicQuantizeLinear", {}, True),
        ("DynamicQuantizeMatMul", {}, True),  # all that ONNX Runtime's optimiser leaves of the former
        ("MatMulNBits", {"accuracy_level": 4}, True),
        ("MatMulNBits", {"accuracy_level": 0}, False),
        ("MatMul", {}, False),
    ],
)
def test_operators_that_measure_are_known(
    tmp_path: Path, operator: str, attributes: dict[str, int], measures: bool
) -> None:
    node = onnx.helper.make_node(operator, ["a"], ["b"], **attributes)
    graph = onnx.helper.make_graph([node], "g", [], [])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "model.onnx")

    assert is_dynamically_quantized(tmp_path / "model.onnx") is measures


def test_a_float_graph_is_run_in_batches(tiny_folder: Path) -> None:
    assert not is_dynamically_quantized(tiny_folder / "model.onnx")


ACCELERATOR = Hardware(((CUDA, CPU),), 1).planning
SKEWED = np.random.RandomState(0).lognormal(4.2, 1.1, 4_096).clip(5, 8_192).astype(int).tolist()
"""Lengths of texts as they come: half of them below 67 tokens, one in a hundred above 800."""


def test_batches_hold_texts_of_similar_length_under_the_budget() -> None:
    planned = Planning(budget=200).batches([3, 100, 90, 5, 600, 4])

    assert [batch.positions for batch in planned] == [[4], [1, 2], [3, 5, 0]]
    assert [batch.width for batch in planned] == [600, 100, 5]


@pytest.mark.parametrize("planning", [Planning(budget=512), ACCELERATOR, ONE_BY_ONE])
def test_every_text_is_in_one_batch_that_it_fits(planning: Planning) -> None:
    planned = planning.batches(SKEWED)

    assert sorted(itertools.chain(*(batch.positions for batch in planned))) == list(range(len(SKEWED)))
    assert all(batch.width >= max(SKEWED[at] for at in batch.positions) for batch in planned)
    assert all(len(b.positions) * b.width <= planning.budget for b in planned if len(b.positions) > 1)


def test_an_accelerators_batches_are_little_padded_where_lengths_are_skewed() -> None:
    planned = ACCELERATOR.batches(SKEWED)
    unbounded = Planning(budget=ACCELERATOR.budget).batches(SKEWED)

    assert padding(planned) < 1.35 < 1.6 < padding([b for at in range(0, 4_096, 256) for b in each_256(at)])
    assert len(planned) < 1.5 * len(unbounded)
    for batch in planned:
        shortest = min(SKEWED[at] for at in batch.positions)
        assert batch.width % 32 == 0
        assert batch.width <= 1.2 * (shortest + 31)


def each_256(at: int) -> list[Batch]:
    """What was planned before: texts sorted 256 at a time, a batch as wide as its longest."""
    return [
        Batch([at + position for position in batch.positions], batch.width)
        for batch in Planning(budget=ACCELERATOR.budget).batches(SKEWED[at : at + 256])
    ]


def padding(planned: list[Batch]) -> float:
    texts = [at for batch in planned for at in batch.positions]
    return sum(len(batch.positions) * batch.width for batch in planned) / sum(SKEWED[at] for at in texts)


def test_no_text_is_padded_beyond_what_the_encoder_reads() -> None:
    assert [batch.width for batch in ACCELERATOR.batches([299, 40], longest=300)] == [300, 64]


def test_an_accelerator_reads_4096_texts_ahead_and_a_processor_what_it_is_told() -> None:
    texts = ["a text of usual length"] * 10_000

    assert [len(window) for window in windows(iter(texts), 256, ACCELERATOR)] == [4_096, 4_096, 1_808]
    assert {len(window) for window in windows(iter(texts), 250, Planning(budget=512))} == {250}
    assert next(len(window) for window in windows(iter(texts), 9_000, ACCELERATOR)) == 9_000


def test_fewer_long_texts_are_read_ahead() -> None:
    [first, *_] = windows(itertools.repeat("x" * 100_000, 1_000), 16, ACCELERATOR)

    assert len(first) == 84


def test_the_next_texts_are_prepared_while_these_run() -> None:
    begun = [threading.Event() for _ in range(3)]

    def work(number: int) -> int:
        begun[number].set()
        return number * 10

    prepared = one_ahead(iter(range(3)), work)

    assert next(prepared) == (0, 0)
    assert begun[1].wait(5)  # before it is asked for
    assert not begun[2].is_set()
    assert list(prepared) == [(1, 10), (2, 20)]


@pytest.mark.parametrize("fails", ["items", "work"])
def test_what_was_prepared_before_a_failure_comes_before_it(fails: str) -> None:
    def items() -> Iterator[int]:
        yield 1
        if fails == "items":
            raise InvalidInput("no text")
        yield 0

    prepared = one_ahead(items(), lambda number: 1 // number)

    assert next(prepared) == (1, 1)
    with pytest.raises((InvalidInput, ZeroDivisionError)):
        next(prepared)


def test_items_are_taken_in_the_callers_thread() -> None:
    takers = []

    def items() -> Iterator[int]:
        for number in range(3):
            takers.append(threading.current_thread())
            yield number

    assert len(list(one_ahead(items(), str))) == 3
    assert set(takers) == {threading.current_thread()}


@dataclass(frozen=True)
class Pretended(Hardware):
    """The processor, planned as an accelerator."""

    @property
    def is_accelerated(self) -> bool:
        return True


def test_an_accelerators_batches_give_the_processors_vectors(tiny_folder: Path) -> None:
    texts = [" ".join(["word"] * (1 + number * 7 % 90)) for number in range(60)]
    accelerated = ColbertEmbedder(tiny_folder)
    accelerated._hardware = Pretended(((CPU,),), 1)

    for ours, theirs in zip(accelerated.embed(texts), ColbertEmbedder(tiny_folder).embed(texts), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-6)
    [ours], [theirs] = accelerated.query_embed("a query"), ColbertEmbedder(tiny_folder).query_embed("a query")
    np.testing.assert_allclose(ours, theirs, atol=2e-6)


def test_two_batches_are_filled_and_emptied_beside_the_one_that_runs(tiny_folder: Path) -> None:
    accelerated = ColbertEmbedder(tiny_folder)
    accelerated._hardware = Pretended(((CPU,),), 1)

    encoder = accelerated._document_encoder

    assert (encoder._workers, encoder._sessions.qsize()) == (2, 1)
