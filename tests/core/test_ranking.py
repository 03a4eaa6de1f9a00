"""Who has the last word on the order: blends, boosts, groups; and learned sparse vectors: the same on every engine."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from qdrant_client import models

from colbert_qdrant import Blend, Bm25, Dense, MultivectorCollection, Sparse, Storage
from colbert_qdrant.collection.grouping import values_at
from colbert_qdrant.errors import CollectionMismatch, EngineError, InvalidInput
from conftest import WordEmbedder
from servers import needs_server, server_place

Make = Callable[..., MultivectorCollection]

TEXTS = ["red apple", "red sky", "green apple", "blue sky", "red plum pie", "black tiger"]
IDS = list("abcdef")
METADATAS: list[dict[str, Any]] = [
    {"doc": "x", "stars": 1, "parts": {"no": [1, 2]}},
    {"doc": "x", "stars": 5, "parts": {"no": [2]}},
    {"doc": "y", "stars": 1, "parts": {"no": [3]}},
    {"doc": "y", "stars": 1},
    {"doc": "z", "stars": 3},
    {"stars": 2},
]
QUERY = "red apple"
PRICE = models.FieldCondition(key="metadata.price", range=models.Range(gte=1 / 11, lte=1 / 11))
NOTHING = models.FieldCondition(key="metadata.price", match=models.MatchValue(value="nothing"))


def mean_vector(texts: list[str]) -> list[np.ndarray]:
    return [vectors.mean(axis=0) for vectors in WordEmbedder().embed(texts)]


def counts(texts: list[str]) -> list[dict[int, float]]:
    """A learned sparse encoder's stand-in: an index a word, its count the weight."""
    return [{sum(map(ord, word)): float(n) for word, n in Counter(text.split()).items()} for text in texts]


@pytest.fixture
def docs(make_collection: Make) -> MultivectorCollection:
    collection = make_collection(stages=[Dense(mean_vector), Sparse(counts)])
    collection.add(TEXTS, METADATAS, IDS)
    return collection


def maxsims(collection: MultivectorCollection) -> dict[str, float]:
    return {hit.id: hit.relevance for hit in collection.search(QUERY, 6, exhaustive=True)}


def cosine(one: str, other: str) -> float:
    a, b = mean_vector([one, other])
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def overlap(one: str, other: str) -> float:
    a, b = counts([one, other])
    return sum(a[index] * b.get(index, 0) for index in a)


def test_a_blend_is_the_weighted_mean_of_its_parts(docs: MultivectorCollection) -> None:
    exact = maxsims(docs)

    hits = docs.search(QUERY, 6, final=Blend({"maxsim": 2, "dense": 1, "sparse": 1}, half=2.0))

    expected = {
        i: (2 * exact[i] + cosine(QUERY, text) + (s := overlap(QUERY, text)) / (s + 2)) / 4
        for i, text in zip(IDS, TEXTS, strict=True)
    }
    assert {hit.id: hit.score / 2 for hit in hits} == pytest.approx(expected, abs=5e-3)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert hits[0].relevance == pytest.approx(hits[0].score / 2)


def test_maxsim_alone_in_a_blend_is_maxsim(docs: MultivectorCollection) -> None:
    for final in (Blend({"maxsim": 3}), Blend({"maxsim": 1, "dense": 0})):
        hits = docs.search(QUERY, 6, final=final)
        assert {hit.id: hit.relevance for hit in hits} == pytest.approx(maxsims(docs), abs=5e-3)


def test_ranks_are_fused_by_weight_and_first_everywhere_is_1(docs: MultivectorCollection) -> None:
    hits = docs.search(QUERY, 6, final=Blend({"maxsim": 2, "dense": 1}, by="ranks"))

    assert hits[0].id == "a"
    assert hits[0].relevance == pytest.approx(1, abs=1e-3)
    assert all(0 < hit.relevance < 1 for hit in hits[1:])


@needs_server
def test_ranks_are_those_among_all_shards() -> None:
    tokens = np.random.default_rng(0).standard_normal((26, 1, 8)).astype(np.float32)
    name, of_ranks = f"ranked-{uuid.uuid4().hex}", Blend({"maxsim": 1.0}, by="ranks")
    storage = Storage(shard_number=4)
    with MultivectorCollection(name, embedder=None, dim=8, storage=storage, **server_place()) as sharded:
        try:
            sharded.add(map(str, range(24)), vectors=tokens[:24])
            exact = sharded.search(tokens[24], 24, exhaustive=True)
            ranked = sharded.search(tokens[24], 24, exhaustive=True, final=of_ranks)
        finally:
            sharded.drop()

    assert [hit.id for hit in ranked] == [hit.id for hit in exact]
    assert [hit.relevance for hit in ranked] == pytest.approx([1 / (1 + rank / 2) for rank in range(24)], rel=1e-4)


@pytest.mark.parametrize("by", ["scores", "ranks"])
def test_thresholds_are_of_what_comes_out(docs: MultivectorCollection, by: Any) -> None:
    final = Blend({"maxsim": 1, "dense": 1}, by=by)
    hits = docs.search(QUERY, 6, final=final)
    middle = (hits[1].relevance + hits[2].relevance) / 2

    assert [hit.id for hit in docs.search(QUERY, 6, final=final, min_relevance=middle)] == [hit.id for hit in hits[:2]]
    assert len(docs.search(QUERY, 6, final=final, score_threshold=2 * middle)) == 2


def test_a_threshold_holds_where_the_engine_holds_no_formula_against_it(
    docs: MultivectorCollection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As servers of Qdrant 1.16."""
    final = Blend({"maxsim": 1, "dense": 1})
    hits = docs.search(QUERY, 6, final=final)
    call = docs.engine.call

    def without_threshold(method: str, arguments: Any) -> Any:
        return call(method, {name: value for name, value in arguments.items() if name != "score_threshold"})

    monkeypatch.setattr(docs.engine, "call", without_threshold)

    assert docs.search(QUERY, 6, final=final, score_threshold=hits[1].score) == hits[:2]
    assert docs.search(QUERY, 6, final=final, min_relevance=hits[1].relevance) == hits[:2]


def test_a_boost_is_a_formula_over_the_payload(docs: MultivectorCollection) -> None:
    stars = models.MultExpression(mult=[1.0, "metadata.stars"])
    formula = models.FormulaQuery(formula=models.SumExpression(sum=["$score", stars]))
    plain = {hit.id: hit.score for hit in docs.search(QUERY, 6, exhaustive=True)}

    for boost in (formula, formula.formula):
        hits = docs.search(QUERY, 6, boost=boost)
        expected = {i: plain[i] + metadata["stars"] for i, metadata in zip(IDS, METADATAS, strict=True)}
        assert {hit.id: hit.score for hit in hits} == pytest.approx(expected, abs=5e-3)
        assert hits[0].id == "b"


@pytest.mark.parametrize("by", ["scores", "ranks"])
def test_a_boost_works_on_a_blend(docs: MultivectorCollection, by: Any) -> None:
    final = Blend({"maxsim": 1, "dense": 1}, by=by)
    boost = models.MultExpression(mult=["$score", 2.0])
    plain = docs.search(QUERY, 3, final=final)

    hits = docs.search(QUERY, 3, final=final, boost=boost)

    assert [hit.id for hit in hits] == [hit.id for hit in plain]
    assert [hit.score for hit in hits] == pytest.approx([2 * hit.score for hit in plain], abs=1e-2)


@pytest.mark.parametrize("final", [None, Blend({"maxsim": 1, "dense": 1})], ids=["maxsim", "blend"])
def test_a_boost_lifts_what_is_below_the_candidates_where_the_search_is_exhaustive(
    docs: MultivectorCollection, final: Any
) -> None:
    boost = models.SumExpression(sum=["$score", "metadata.stars"])

    assert docs.search("black tiger", 1, boost=boost, final=final, candidates=1)[0].id == "f"
    assert docs.search("black tiger", 1, boost=boost, final=final, candidates=1, exhaustive=True)[0].id == "b"


@pytest.mark.parametrize("asked", [PRICE, models.Filter(must_not=[NOTHING], must=[PRICE])], ids=["bare", "in a filter"])
def test_a_condition_of_a_boost_finds_the_numbers_that_a_filter_finds(make_collection: Make, asked: Any) -> None:
    collection = make_collection()
    collection.add(["red apple", "red sky"], [{"price": 1 / 11}, {"price": 5}], ["a", "b"])
    boost = models.SumExpression(sum=["$score", models.MultExpression(mult=[10.0, asked])])

    hits = collection.search("red", boost=models.FormulaQuery(formula=boost))

    assert {hit.id: round(hit.score) for hit in hits} == {"a": 11, "b": 1}
    assert collection.search("red", boost=boost) == hits


def test_a_formula_that_can_not_be_computed_says_why(docs: MultivectorCollection) -> None:
    with pytest.raises(EngineError, match=r"(?i)no (value|number)"):
        docs.search(QUERY, boost=models.SumExpression(sum=["$score", "metadata.missing"]))


def test_a_hit_without_token_vectors_takes_part_in_diversity(docs: MultivectorCollection) -> None:
    [vector] = mean_vector([QUERY])
    point = models.PointStruct(id=7, vector={"dense": vector.tolist()}, payload={"page_content": QUERY})
    docs.engine.call("upsert", {"collection_name": docs.name, "points": [point], "wait": True})

    hits = docs.search(QUERY, 7, final=Blend({"maxsim": 0.1, "dense": 0.9}), mmr=models.Mmr(diversity=0.3))

    assert {hit.id for hit in hits} == {*IDS, "7"}


def test_a_boost_needs_no_stage(make_collection: Make) -> None:
    collection = make_collection()
    collection.add(TEXTS, METADATAS, IDS)

    hits = collection.search(QUERY, 1, boost=models.SumExpression(sum=["$score", "metadata.stars"]))

    assert hits[0].id == "b"


def test_each_group_has_its_best_hit(docs: MultivectorCollection) -> None:
    hits = docs.search(QUERY, 5, group_by="doc")

    exact = maxsims(docs)
    assert [hit.metadata["doc"] for hit in hits][:1] == ["x"]
    assert {hit.metadata["doc"] for hit in hits} == {"x", "y", "z"}
    for hit in hits:
        members = [i for i, metadata in zip(IDS, METADATAS, strict=True) if metadata.get("doc") == hit.metadata["doc"]]
        assert exact[hit.id] == pytest.approx(max(exact[i] for i in members), abs=1e-3)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_groups_are_paged_filtered_and_batched(docs: MultivectorCollection) -> None:
    everything = docs.search(QUERY, 3, group_by="doc")
    not_x = models.Filter(must_not=[models.FieldCondition(key="metadata.doc", match=models.MatchValue(value="x"))])

    assert docs.search(QUERY, 1, offset=1, group_by="doc") == everything[1:2]
    assert [h.metadata["doc"] for h in docs.search(QUERY, 3, group_by="doc", filter=not_x)] == [
        hit.metadata["doc"] for hit in everything if hit.metadata["doc"] != "x"
    ]
    assert docs.search_batch([QUERY, "blue sky"], 3, group_by="doc") == [
        everything,
        docs.search("blue sky", 3, group_by="doc"),
    ]


def test_many_of_one_group_do_not_hide_the_others(make_collection: Make) -> None:
    collection = make_collection()
    many = [f"red apple {number}" for number in range(40)]
    collection.add([*many, "blue sky"], [{"doc": "many"}] * 40 + [{"doc": "one"}])

    hits = collection.search(QUERY, 2, group_by="doc")

    assert [hit.metadata["doc"] for hit in hits] == ["many", "one"]


@pytest.mark.parametrize("options", [{}, {"boost": models.SumExpression(sum=["$score", 0.0])}], ids=["stage", "boost"])
def test_more_of_one_group_than_there_are_candidates_do_not_hide_the_others(
    make_collection: Make, options: dict[str, Any]
) -> None:
    collection = make_collection(stages=[] if options else [Dense(mean_vector)])
    many = [f"red apple {number}" for number in range(40)]
    others = [f"red plum pie {number}" for number in range(5)]
    collection.add(many + others, [{"doc": "many"}] * 40 + [{"doc": text} for text in others])

    hits = collection.search(QUERY, 4, group_by="doc", candidates=8, **options)

    assert len({hit.metadata["doc"] for hit in hits}) == 4


@pytest.mark.parametrize("stages", [[], [Dense(mean_vector)]], ids=["no stage", "stage"])
def test_groups_are_those_of_the_candidates_where_these_have_enough(
    make_collection: Make, place: dict[str, Any], stages: Any
) -> None:
    if "url" in place:
        pytest.skip("a server looks for groups by itself, and at more")
    collection = make_collection(stages=stages)
    collection.add(TEXTS, [*METADATAS[:5], {"doc": "far", "stars": 50}], IDS)
    boost = models.SumExpression(sum=["$score", "metadata.stars"])

    found = {
        (limit, candidates): [
            hit.id for hit in collection.search(QUERY, limit, group_by="doc", candidates=candidates, boost=boost)
        ]
        for limit, candidates in ((2, 4), (3, 4), (2, 6), (4, 4))
    }

    assert found == {(2, 4): ["b", "e"], (3, 4): ["b", "e", "c"], (2, 6): ["f", "b"], (4, 4): ["f", "b", "e", "c"]}


def test_groups_of_one_score_are_paged_without_loss(make_collection: Make) -> None:
    collection = make_collection()
    collection.add(["same words"] * 23, [{"doc": f"{number}"} for number in range(23)], list(range(23)))

    pages = [collection.search("same words", 3, offset=offset, group_by="doc") for offset in range(0, 23, 3)]

    assert len({hit.metadata["doc"] for page in pages for hit in page}) == 23


def test_what_a_point_is_grouped_by_is_the_same_on_every_engine(make_collection: Make) -> None:
    metadatas: list[dict[str, Any]] = [
        {"kind": ["x", True]},
        {"kind": ["y", 2.5]},
        {"kind": ["p", 7]},
        {"list": [{"n": "a"}, {"n": "b"}], "a key": "c", "deep": [[{"n": 1}]]},
    ]
    collection = make_collection()
    collection.add([f"red {number}" for number in range(4)], metadatas)

    found = {
        key: len(collection.search("red", group_by=key))
        for key in ("kind", "list.n", "list[].n", '"a key"', "deep[].n", "deep[][].n")
    }

    assert found == {"kind": 2, "list.n": 0, "list[].n": 2, '"a key"': 1, "deep[].n": 0, "deep[][].n": 1}


@pytest.mark.parametrize("key", ["a key", "list[0].n", "list[*].n", "a..b", "a.", ".a", "a[", 'a"', "list[x]"])
def test_a_path_that_engines_read_differently_groups_nothing(make_collection: Make, key: str) -> None:
    with pytest.raises(InvalidInput, match="no path of a group's key: put a key in quotes"):
        make_collection().search("red", group_by=key)


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("metadata.doc", ["x"]),
        ('metadata."a b".c', [1, 2]),
        ("metadata.list[].n", ["p", 3]),
        ("metadata.list.n", []),
        ("metadata.mixed[].n", []),
        ("metadata.flag", []),
        ("metadata.missing.deep", []),
    ],
)
def test_what_a_point_is_grouped_by(path: str, values: list[Any]) -> None:
    parts = [{"n": "p"}, {"n": 3}]
    metadata = {"doc": "x", "a b": {"c": [1, 2]}, "list": parts, "mixed": [*parts, {"n": 2.5}], "flag": True}

    assert values_at({"metadata": metadata}, path) == values


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"final": "bm25"}, "final is a str"),
        ({"final": Blend({"maxsim": 1, "bm25": 1})}, "'bm25' is no stage .* maxsim, dense, sparse"),
        ({"boost": {"sum": ["$score"]}}, "boost is a dict"),
        ({"boost": models.SumExpression(sum=["$score", models.HasIdCondition(has_id=["a"])])}, "has_id: 'a'"),
        ({"group_by": "doc", "mmr": models.Mmr(diversity=0.5)}, "mmr and group_by"),
        ({"group_by": ""}, "metadata key"),
    ],
)
def test_what_can_not_rank_is_refused(docs: MultivectorCollection, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        docs.search(QUERY, 2, **options)


@pytest.mark.parametrize(
    ("weights", "options"),
    [
        *[({}, {}), ({"maxsim": 0}, {}), ({"maxsim": -1}, {}), ({"maxsim": float("nan")}, {}), ({"maxsim": True}, {})],
        *[({"maxsim": 1}, {"by": "votes"}), ({"maxsim": 1}, {"half": 0})],
    ],
)
def test_a_blend_weighs_something(weights: dict[str, Any], options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        Blend(weights, **options)


def test_a_learned_sparse_stage_finds_the_candidates(make_collection: Make) -> None:
    collection = make_collection(stages=[Sparse(counts, model="counts")])
    collection.add(TEXTS, METADATAS, IDS)

    hits = collection.search(QUERY, 6)

    assert {hit.id for hit in hits} == {"a", "b", "c", "e"}  # those that share a word
    assert hits[0].score == pytest.approx(2, abs=1e-3)
    name = collection.name
    collection.close()
    with pytest.raises(CollectionMismatch, match=r"Sparse\(..., name='sparse'\)"):
        make_collection(name=name)


def test_a_sparse_stage_is_added_later(make_collection: Make) -> None:
    collection = make_collection()
    collection.add(TEXTS, METADATAS, IDS)

    collection.add_stage(Sparse(counts, idf=True))

    assert {hit.id for hit in collection.search("tiger", 6)} == {"f"}


class FastEmbeds:
    """The shape of FastEmbed's SparseTextEmbedding: arrays in an object, a method for queries."""

    model_name = "prithivida/Splade_PP_en_v1"

    def embed(self, documents: list[str]) -> Any:
        for vector in counts(documents):
            yield SimpleNamespace(indices=np.array(list(vector)), values=np.array(list(vector.values())))

    def query_embed(self, query: list[str]) -> Any:
        return self.embed(query)


def test_fastembeds_encoder_is_taken_as_it_is(make_collection: Make) -> None:
    collection = make_collection(stages=[Sparse(FastEmbeds()), Bm25()])
    collection.add(TEXTS, METADATAS, IDS)

    assert collection.search(QUERY, 1)[0].id == "a"
    assert collection.layout.stages[0].settings["model"] == "prithivida/Splade_PP_en_v1"


@pytest.mark.parametrize(
    "vector", [None, [1, 2], {"word": 1.0}, {1: float("nan")}, SimpleNamespace(indices=[1, 1], values=[1, 2])]
)
def test_what_is_no_sparse_vector_is_refused(vector: Any) -> None:
    with pytest.raises(InvalidInput, match="stage 'sparse'"):
        Sparse(lambda texts: [vector for _ in texts]).encode_documents(["text"], [])
