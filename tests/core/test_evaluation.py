"""What `evaluate` says of searches: quality by judgements, what is kept of exact MaxSim, and what it costs."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from qdrant_client import models

from colbert_qdrant import AsyncMultivectorCollection, Bm25, MultivectorCollection, Muvera, aevaluate, evaluate
from colbert_qdrant.errors import InvalidInput, MissingExtra
from colbert_qdrant.evaluation import quality
from colbert_qdrant.evaluation.measuring import SAMPLE
from colbert_qdrant.evaluation.report import Estimate, Evaluation, Setting

NAMES = [
    f"{animal}-{place}"
    for animal in ("fox", "bear", "otter", "lynx", "heron")
    for place in ("river", "barn", "lake", "street", "wall")
]
# Words of its own keep each text from scoring the same as another.
TEXTS = {
    name: f"{name.replace('-', ' ')} {' '.join('z' * (9 * number + own + 4) for own in range(9))}"
    for number, name in enumerate(NAMES)
}
QUESTIONS = {name: name.replace("-", " ") for name in NAMES}
ANSWERS: dict[str, Any] = {key: key for key in QUESTIONS}
MUVERA = Muvera(16, k_sim=2, dim_proj=8, r_reps=8)

Make = Callable[..., MultivectorCollection]


@pytest.fixture
def filled(make_collection: Make) -> MultivectorCollection:
    """A collection with one first stage."""
    collection = make_collection(stages=[MUVERA])
    collection.add(TEXTS.values(), ids=TEXTS)
    return collection


def by_name(evaluation: Evaluation) -> dict[tuple[str, int | None], Setting]:
    return {(each.name, each.candidates): each for each in evaluation.searches}


def test_exact_search_keeps_everything_and_finds_what_answers(filled: MultivectorCollection) -> None:
    exact = by_name(evaluate(filled, QUESTIONS, ANSWERS))["exact MaxSim", None]

    assert exact.kept.value == 1
    assert exact.ndcg is not None
    assert exact.ndcg.value == 1
    assert exact.mrr is not None
    assert exact.mrr.value == 1


def test_every_way_to_search_is_measured(filled: MultivectorCollection) -> None:
    ways = by_name(evaluate(filled, QUESTIONS, ANSWERS, candidates=(10, 20, 1_000)))

    assert set(ways) == {
        ("exact MaxSim", None),
        ("muvera alone", None),
        ("muvera -> MaxSim", 10),
        ("muvera -> MaxSim", 20),  # 1,000 candidates are more than there are documents
    }
    assert all(each.milliseconds is not None and each.milliseconds > 0 for each in ways.values())
    assert ways["muvera alone", None].kept.value < 1
    assert ways["muvera alone", None].bytes < ways["muvera -> MaxSim", 10].bytes


def test_more_candidates_keep_more(filled: MultivectorCollection) -> None:
    ways = by_name(evaluate(filled, QUESTIONS, candidates=(10, 20)))

    assert ways["muvera -> MaxSim", 10].kept.value <= ways["muvera -> MaxSim", 20].kept.value


def test_what_a_search_keeps_is_counted_among_its_ten_best(filled: MultivectorCollection) -> None:
    ways = by_name(evaluate(filled, QUESTIONS, candidates=(15,)))

    shares = []
    for text in QUESTIONS.values():
        exact = {hit.id for hit in filled.search(text, exhaustive=True, search_params=models.SearchParams(exact=True))}
        shares.append(len(exact & {hit.id for hit in filled.search(text, candidates=15)}) / 10)
    assert ways["muvera -> MaxSim", 15].kept.value == pytest.approx(np.mean(shares))


def test_several_stages_are_measured_each_and_together(make_collection: Make) -> None:
    pytest.importorskip("qdrant_edge")
    collection = make_collection(stages=[MUVERA, Bm25()])
    collection.add(TEXTS.values(), ids=TEXTS)

    ways = by_name(evaluate(collection, QUESTIONS, ANSWERS, candidates=(15,)))

    assert {name for name, _ in ways} == {
        "exact MaxSim",
        "muvera alone",
        "bm25 alone",
        "muvera -> MaxSim",
        "bm25 -> MaxSim",
        "muvera + bm25 -> MaxSim",
    }
    alone = ways["bm25 alone", None].mrr
    assert alone is not None
    assert alone.value > 0.5  # by both words of the question


def test_the_quickest_that_keeps_the_share_is_named(filled: MultivectorCollection) -> None:
    evaluation = evaluate(filled, QUESTIONS, share=0.01)

    assert evaluation.cheapest == evaluation.searches[0]
    times = [each.milliseconds for each in evaluation.searches]
    assert times == sorted(times)


def test_without_stages_the_usual_search_is_held_against_the_exact_one(collection: MultivectorCollection) -> None:
    collection.add(TEXTS.values(), ids=TEXTS)

    assert set(by_name(evaluate(collection, QUESTIONS))) == {("exact MaxSim", None), ("MaxSim as searched", None)}


def test_pooling_is_tried_on_stored_vectors(filled: MultivectorCollection) -> None:
    storage = {each.name: each for each in evaluate(filled, QUESTIONS, ANSWERS).storage}

    assert storage["as stored"].kept.value == 1
    assert storage["pooled by 2"].bytes < storage["as stored"].bytes
    assert storage["pooled by 3"].kept.value < 1
    assert filled.count() == len(TEXTS)


def test_without_judgements_nothing_is_said_of_quality(filled: MultivectorCollection) -> None:
    evaluation = evaluate(filled, list(QUESTIONS.values()))

    assert all(each.ndcg is None for each in evaluation.searches)
    assert "nDCG" not in str(evaluation)


def test_a_question_without_a_name_is_judged_by_its_text(filled: MultivectorCollection) -> None:
    evaluation = evaluate(filled, ["fox barn", "lynx lake"], {"lynx lake": ["lynx-lake"]})

    assert (evaluation.queries, evaluation.judged) == (2, 1)


def test_vectors_are_questions_too(make_collection: Make, words: Any) -> None:
    collection = make_collection(None, dim=16)
    collection.add(TEXTS.values(), ids=TEXTS, vectors=list(words.embed(TEXTS.values())))
    vectors = {key: next(words.embed([text])) for key, text in QUESTIONS.items()}

    evaluation = evaluate(collection, vectors, ANSWERS)

    assert evaluation.encoding is None
    assert by_name(evaluation)["exact MaxSim", None].mrr == by_name(evaluation)["MaxSim as searched", None].mrr


def test_grades_weigh(filled: MultivectorCollection) -> None:
    """Of two that answer, the better one stands first: its gain is 2, the other's 1."""
    right = evaluate(filled, ["fox barn"], {"fox barn": {"fox-barn": 2, "fox-lake": 1}})
    wrong = evaluate(filled, ["fox barn"], {"fox barn": {"fox-barn": 1, "bear-barn": 2}})

    assert right.searches[0].ndcg != wrong.searches[0].ndcg


def test_judged_records_that_are_not_there_are_named(filled: MultivectorCollection) -> None:
    evaluation = evaluate(filled, QUESTIONS, {**ANSWERS, "fox-barn": ["fox-barn", "fox-moon"]})

    assert evaluation.missing == ("fox-moon",)
    assert "fox-moon: nothing can find them" in str(evaluation)


def test_a_judged_record_may_be_spelled_as_it_is_not_stored(collection: MultivectorCollection) -> None:
    unique = uuid.uuid4()
    collection.add(["fox barn", "otter lake"], ids=[unique, "other"])

    evaluation = evaluate(collection, ["fox barn"], {"fox barn": unique.hex})

    assert evaluation.missing == ()
    assert evaluation.searches[0].ndcg == Estimate(1, 1, 1)


def test_a_tenant_is_measured_by_its_own_documents(make_collection: Make) -> None:
    everybody = make_collection(name="shared-evaluation", stages=[MUVERA])
    everybody.add(TEXTS.values(), ids=TEXTS)
    own = make_collection(name="shared-evaluation", stages=[MUVERA], tenant="a")
    own.add(["fox barn", "lynx lake"], ids=["one", "two"])

    evaluation = evaluate(own, ["fox barn"], {"fox barn": "one"})

    assert evaluation.documents == 2
    assert all(each.mrr is not None and each.mrr.value == 1 for each in evaluation.searches)


async def test_the_asynchronous_face_says_the_same(filled: MultivectorCollection) -> None:
    evaluation = await aevaluate(filled.as_async(), QUESTIONS, ANSWERS, candidates=(15,))

    here = by_name(evaluate(filled, QUESTIONS, ANSWERS, candidates=(15,)))
    assert {key: each.mrr for key, each in by_name(evaluation).items()} == {key: each.mrr for key, each in here.items()}


async def test_an_asynchronous_collection_is_opened_first(words: Any) -> None:
    async with AsyncMultivectorCollection("animals", words, location=":memory:") as collection:
        await collection.add(["the fox"])
        assert (await aevaluate(collection, ["fox"])).documents == 1


@pytest.mark.parametrize(
    ("queries", "qrels", "options", "said"),
    [
        ([], None, {}, "no questions"),
        ("fox", None, {}, "single question"),
        (["fox"], {"bear": "fox-barn"}, {}, "judges none of the questions"),
        (["fox"], {"fox": {}}, {}, "of no question what answers it, such as 'fox'"),
        (["fox"], {"fox": {"fox-barn": 0}}, {}, "a grade of 0 is none, give 1 or more"),
        (["fox"], ["fox-barn"], {}, "qrels is a list"),
        (["fox"], {"fox": "no-such"}, {}, "none of the 1 records"),
        (["fox"], {"fox": {"fox-barn": 0.5}}, {}, "a grade is a whole number"),
        (["fox"], {"fox": {"fox-barn": 10**10}}, {}, "at most 1,000,000"),
        (["fox"], None, {"limit": 5}, "limit=5"),
        (["fox"], None, {"share": 95}, "share=95"),
        (["fox"], None, {"candidates": (0,)}, "candidates=0"),
    ],
)
def test_what_means_nothing_is_refused(
    filled: MultivectorCollection, queries: Any, qrels: Any, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        evaluate(filled, queries, qrels, **options)


def test_a_collection_without_token_vectors_is_refused(collection: MultivectorCollection) -> None:
    """As another program may fill one."""
    point = models.PointStruct(id=1, payload={"page_content": "fox"}, vector={})
    collection.engine.call("upsert", {"collection_name": collection.name, "points": [point], "wait": True})

    with pytest.raises(InvalidInput, match=r"no record of collection .* has token vectors"):
        evaluate(collection, ["fox"])


def test_a_sample_without_token_vectors_has_no_size(make_collection: Make) -> None:
    """As after an upgrade: what has no text comes first, and a sparse stage's size is of what is encoded."""
    collection = make_collection(stages=[Bm25()])
    empty = [models.PointStruct(id=number, payload={"page_content": "fox"}, vector={}) for number in range(SAMPLE)]
    collection.engine.call("upsert", {"collection_name": collection.name, "points": empty, "wait": True})
    collection.add(["fox"], ids=["ffffffff-ffff-ffff-ffff-ffffffffffff"])

    assert evaluate(collection, ["fox"]).searches


def test_an_empty_collection_is_refused(collection: MultivectorCollection) -> None:
    with pytest.raises(InvalidInput, match="empty"):
        evaluate(collection, ["fox"])


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    def remove(name: str) -> None:
        for loaded in [each for each in sys.modules if each.partition(".")[0] == name]:
            monkeypatch.delitem(sys.modules, loaded)
        monkeypatch.setitem(sys.modules, name, None)

    return remove


def test_a_missing_extra_is_named_before_anything_is_searched(
    filled: MultivectorCollection, without: Callable[[str], None]
) -> None:
    without("ir_measures")

    with pytest.raises(MissingExtra, match=r'pip install "colbert-qdrant\[evaluate\]"'):
        evaluate(filled, QUESTIONS, ANSWERS)
    assert evaluate(filled, QUESTIONS).queries == len(QUESTIONS)


def test_a_plot_has_a_line_for_each_way_and_needs_matplotlib(
    filled: MultivectorCollection, without: Callable[[str], None]
) -> None:
    evaluation = evaluate(filled, QUESTIONS, ANSWERS, candidates=(10, 15))
    figure = evaluation.plot()

    labels = figure.axes[0].get_legend_handles_labels()[1]
    assert set(labels) == {"exact MaxSim", "muvera alone", "muvera -> MaxSim"}
    assert [axes.get_title() for axes in figure.axes] == ["What candidates keep", "How good it is"]
    without("matplotlib")
    with pytest.raises(MissingExtra, match="evaluate"):
        evaluation.plot()


def test_a_question_that_found_nothing_counts_as_none() -> None:
    figures = quality.measured({"a": ["x"], "b": []}, {"a": {"x": 1}, "b": {"y": 1}}, 10)

    assert {name: each.value for name, each in figures.items()} == {"ndcg": 0.5, "recall": 0.5, "mrr": 0.5}


def test_an_order_is_measured_as_it_was_found() -> None:
    """A tie in scores must not put what was found first behind."""
    figures = quality.measured({"a": ["z", "y", "x"]}, {"a": {"x": 1}}, 10)

    assert figures["mrr"].value == pytest.approx(1 / 3)
    assert figures["ndcg"].value == pytest.approx(0.5)


def test_intervals_are_of_the_mean_and_the_same_each_time() -> None:
    values = np.random.default_rng(1).standard_normal(400)
    found = quality.estimate(values.tolist())

    assert found == quality.estimate(values.tolist())
    assert found.low < found.value < found.high
    assert found.margin == pytest.approx(1.96 * values.std() / 20, rel=0.1)
