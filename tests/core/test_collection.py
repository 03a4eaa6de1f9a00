"""What a collection does, the same on every engine."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import uuid
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from colbert_qdrant import AsyncMultivectorCollection, Bm25, Dense, MultivectorCollection
from colbert_qdrant.collection.conditions import equal, in_metadata
from colbert_qdrant.collection.schema import METADATA_KEY
from colbert_qdrant.collection.search_options import SearchKeywords, SearchOptions
from colbert_qdrant.errors import CollectionMismatch, CollectionNotFound, InvalidInput
from conftest import WordEmbedder

TEXTS = ["red apple", "green apple pie", "blue sky", "red sky at night"]
METADATAS = [
    {"color": "red", "size": 1},
    {"color": "green", "size": 2, "nested": {"list": [1, "two", None, 2.5, True]}},
    {},
    {"color": "red", "size": 4.5},
]
IDS = ["0", "18446744073709551615", "11111111-2222-3333-4444-555555555555", "any string: ünïcode"]

Make = Callable[..., MultivectorCollection]


@pytest.fixture
def fruits(collection: MultivectorCollection) -> MultivectorCollection:
    collection.add(TEXTS, METADATAS, IDS)
    return collection


def color(value: str) -> models.Filter:
    return models.Filter(must=[models.FieldCondition(key="metadata.color", match=models.MatchValue(value=value))])


def maxsim(embedder: WordEmbedder, query: str, text: str) -> float:
    [q], [d] = embedder.embed(query), embedder.embed(text)
    return float((q @ d.T).max(axis=1).sum())


def test_an_empty_collection_finds_nothing(collection: MultivectorCollection) -> None:
    assert collection.search("anything") == []
    assert collection.count() == 0
    assert list(collection.scroll()) == []


def test_a_search_returns_maxsim_best_first(fruits: MultivectorCollection, words: WordEmbedder) -> None:
    hits = fruits.search("red apple", limit=4)

    assert hits[0].id == "0"
    scores = {hit.text: hit.score for hit in hits}
    assert scores == pytest.approx({text: maxsim(words, "red apple", text) for text in TEXTS}, abs=1e-3)
    assert [hit.score for hit in hits] == sorted(scores.values(), reverse=True)


def test_ids_texts_and_metadata_come_back_exactly(fruits: MultivectorCollection) -> None:
    records = fruits.get(IDS)

    assert [record.id for record in records] == IDS
    assert [record.text for record in records] == TEXTS
    assert [record.metadata for record in records] == METADATAS


def test_get_leaves_out_what_is_missing(fruits: MultivectorCollection) -> None:
    assert [record.id for record in fruits.get([IDS[3], "missing", IDS[0]])] == [IDS[3], IDS[0]]
    assert fruits.get([]) == []


def test_vectors_come_back_when_asked_for(fruits: MultivectorCollection, words: WordEmbedder) -> None:
    [hit] = fruits.search("green pie", limit=1, with_vectors=True)
    [record] = fruits.get([hit.id], with_vectors=True)

    [expected] = words.embed(hit.text)
    assert hit.vectors is not None
    np.testing.assert_allclose(hit.vectors, expected, atol=1e-3)  # half precision
    np.testing.assert_allclose(record.vectors, expected, atol=1e-3)
    assert fruits.search("green pie", limit=1)[0].vectors is None


def test_a_multivector_is_a_query_too(fruits: MultivectorCollection, words: WordEmbedder) -> None:
    [vectors] = words.query_embed("blue sky")

    assert [hit.id for hit in fruits.search(vectors, limit=2)] == [hit.id for hit in fruits.search("blue sky", limit=2)]


def test_a_filter_limits_the_search(fruits: MultivectorCollection) -> None:
    hits = fruits.search("apple", filter=color("red"))

    assert {hit.id for hit in hits} == {IDS[0], IDS[3]}


def test_offset_and_limit_page_through_the_hits(fruits: MultivectorCollection) -> None:
    everything = [hit.id for hit in fruits.search("red apple sky", limit=4)]

    assert [hit.id for hit in fruits.search("red apple sky", limit=2, offset=1)] == everything[1:3]


@pytest.mark.parametrize("limit", [1, 3, 10])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mmr": models.Mmr(diversity=0.3)},
        {"boost": models.SumExpression(sum=["$score", 0.0])},
        {"with_vectors": True},
    ],
    ids=["plain", "mmr", "boost", "vectors"],
)
def test_pages_of_equal_scores_lose_and_repeat_nothing(
    collection: MultivectorCollection, limit: int, options: dict[str, Any]
) -> None:
    collection.add(["red apple", *["red sky"] * 23, "blue sky"], [{"n": n} for n in range(25)], ids=range(25))

    hits = [hit for at in range(0, 25, limit) for hit in collection.search("red sky", limit, offset=at, **options)]

    assert sorted(hit.metadata["n"] for hit in hits) == list(range(25))
    assert all((hit.vectors is not None) == ("with_vectors" in options) for hit in hits)
    assert [hit.id for hit in hits] == [hit.id for hit in collection.search("red sky", 25, **options)]


def test_equal_scores_of_a_batch_are_paged_too(collection: MultivectorCollection) -> None:
    collection.add(["red sky"] * 9, ids=range(9))

    pages = [collection.search_batch(["red sky", "sky"], 2, offset=at) for at in range(0, 9, 2)]

    assert all(len({hit.id for page in pages for hit in page[query]}) == 9 for query in (0, 1))


@pytest.mark.parametrize("by", ["dense", "bm25"])
def test_equal_scores_behind_a_stage_are_paged_too(make_collection: Make, by: str) -> None:
    collection = make_collection(stages=[Bm25() if by == "bm25" else Dense(lambda texts: [[1.0, 2.0] for _ in texts])])
    collection.add(["red sky"] * 23, ids=range(23))

    pages = [collection.search("red sky", 5, offset=at) for at in range(0, 23, 5)]

    assert len({hit.id for page in pages for hit in page}) == 23


@pytest.mark.parametrize("offset", [0, 1, 2])
def test_a_page_that_cuts_no_tie_is_asked_for_once(
    fruits: MultivectorCollection, monkeypatch: pytest.MonkeyPatch, offset: int
) -> None:
    calls, call = [], fruits.engine.call

    def counted(method: str, arguments: Any) -> Any:
        calls.append(method)
        return call(method, arguments)

    monkeypatch.setattr(fruits.engine, "call", counted)

    assert len(fruits.search("red apple sky", limit=2, offset=offset)) == 2
    assert calls == ["query_points"]


@pytest.mark.parametrize("boost", [None, models.SumExpression(sum=["$score", 0.0])], ids=["plain", "boost"])
def test_a_hit_passes_the_threshold_of_its_own_score(fruits: MultivectorCollection, boost: Any) -> None:
    fruits.add([""], ids=["without a word"])
    hits = fruits.search("red apple sky", boost=boost)

    for number, hit in enumerate(hits, start=1):
        assert fruits.search("red apple sky", score_threshold=hit.score, boost=boost) == hits[:number]


def test_a_threshold_leaves_out_lower_scores(fruits: MultivectorCollection) -> None:
    hits = fruits.search("red apple", limit=4)

    assert len(fruits.search("red apple", limit=4, score_threshold=hits[1].score - 1e-3)) == 2


def test_maximal_marginal_relevance_prefers_what_is_different(fruits: MultivectorCollection) -> None:
    fruits.add(["red apple red apple"], ids=["twin"])

    relevant = fruits.search("red apple", limit=2, mmr=models.Mmr(diversity=0.0, candidates_limit=5))
    diverse = fruits.search("red apple", limit=2, mmr=models.Mmr(diversity=1.0, candidates_limit=5))

    assert {hit.id for hit in relevant} == {"0", "twin"}
    assert {hit.id for hit in diverse} != {"0", "twin"}


def test_a_batch_answers_as_the_single_searches_do(fruits: MultivectorCollection) -> None:
    queries = ["red apple", "blue sky", "pie"]

    batch = fruits.search_batch(queries, limit=2, filter=None)

    assert [[hit.id for hit in hits] for hits in batch] == [
        [hit.id for hit in fruits.search(query, limit=2)] for query in queries
    ]
    assert fruits.search_batch([]) == []


@pytest.mark.parametrize(
    "options",
    [
        {"offset": 1, "with_vectors": True},
        {"filter": color("red"), "min_relevance": 0.2},
        {"mmr": models.Mmr(diversity=0.8, candidates_limit=4)},
        {"exhaustive": True, "score_threshold": 0.5, "search_params": models.SearchParams(exact=True)},
    ],
)
def test_a_batch_takes_all_that_a_search_takes(fruits: MultivectorCollection, options: dict[str, Any]) -> None:
    queries = ["red apple", "blue sky"]

    batch = fruits.search_batch(queries, 2, **options)

    assert batch == [fruits.search(query, 2, **options) for query in queries]
    assert all(batch)


def test_the_keywords_of_a_search_are_its_options() -> None:
    options = [field.name for field in dataclasses.fields(SearchOptions) if field.name != "limit"]

    assert list(SearchKeywords.__annotations__) == options


def test_stored_records_are_scored_where_they_lie(fruits: MultivectorCollection, words: WordEmbedder) -> None:
    scores = fruits.score("red apple", [IDS[3], "missing", IDS[1]])

    assert scores == pytest.approx(
        {IDS[3]: maxsim(words, "red apple", TEXTS[3]), IDS[1]: maxsim(words, "red apple", TEXTS[1])}, abs=1e-3
    )
    assert fruits.score("red apple", []) == {}


def test_delete_by_ids_by_filter_and_by_both(fruits: MultivectorCollection) -> None:
    fruits.delete([IDS[0], IDS[1], "missing"], filter=color("red"))
    assert fruits.count() == 3  # of the two only the first is red

    fruits.delete([IDS[1]])
    assert fruits.count() == 2

    fruits.delete(filter=color("red"))
    assert [record.id for record in fruits.scroll()] == [IDS[2]]

    fruits.delete([])
    assert fruits.count() == 1

    fruits.delete(filter=models.Filter())
    assert fruits.count() == 0


def test_delete_without_anything_is_refused(fruits: MultivectorCollection) -> None:
    with pytest.raises(InvalidInput, match="ids or a filter"):
        fruits.delete()

    assert fruits.count() == 4


def test_count_and_scroll_take_a_filter(fruits: MultivectorCollection) -> None:
    assert fruits.count(color("red")) == 2
    assert {record.id for record in fruits.scroll(color("red"))} == {IDS[0], IDS[3]}


def test_scroll_goes_through_all_pages(collection: MultivectorCollection) -> None:
    collection.add([f"text {number}" for number in range(600)])

    seen = [record.text for record in collection.scroll()]

    assert sorted(seen) == sorted(f"text {number}" for number in range(600))


def test_a_record_with_a_stored_id_replaces_it(fruits: MultivectorCollection) -> None:
    report = fruits.add(["yellow banana"], [{"color": "yellow"}], [IDS[3]])

    assert (report.added, report.updated) == (0, 1)
    assert fruits.count() == 4
    assert fruits.search("yellow banana", limit=1)[0].id == IDS[3]
    assert fruits.get([IDS[3]])[0].metadata == {"color": "yellow"}


def test_ids_may_be_integers_and_uuids(collection: MultivectorCollection) -> None:
    unique = uuid.uuid4()

    collection.add(["one", "two"], ids=[7, unique])

    assert [record.id for record in collection.get([7, str(unique)])] == ["7", str(unique)]


def test_a_uuid_is_the_same_with_its_hyphens_and_without(collection: MultivectorCollection) -> None:
    """``uuid4().hex`` is what langchain-qdrant and mcp-server-qdrant name their points by."""
    unique = uuid.uuid4()
    collection.add(["red apple"], ids=[unique.hex])

    both = [record.id for record in collection.get([str(unique), unique.hex])]
    scores = collection.score("red", [unique.hex, str(unique)])
    with pytest.raises(InvalidInput, match="stands twice in this call"):
        collection.add(["one", "two"], ids=[unique.hex, unique])
    replaced = collection.add(["red apple"], ids=[unique])

    assert both == [unique.hex, unique.hex]  # as it was given
    assert list(scores) == [unique.hex, str(unique)]
    assert (replaced.updated, replaced.encoded) == (1, 0)
    assert collection.search("red")[0].id == str(unique)
    collection.delete([unique.hex])
    assert collection.count() == 0


def test_without_ids_the_same_record_is_stored_once(collection: MultivectorCollection) -> None:
    first = collection.add(["same", "same", "other"], [{}, {}, {}])
    second = collection.add(["same"], [{"but": "other metadata"}])

    assert collection.count() == 3
    assert first.ids[0] == first.ids[1] != first.ids[2]
    assert second.ids != first.ids[:1]


@pytest.mark.parametrize(
    "others",
    [
        {"vectors": [np.eye(16)[:1], np.eye(16)[1:2], None]},
        {"encoded_as": ["first page", "second page", "page"]},
        {"extras": [{"_of": "first"}, {"_of": "second"}, {}]},
    ],
    ids=lambda others: str(*others),
)
def test_records_of_one_text_that_differ_in_what_is_stored_are_several(
    collection: MultivectorCollection, others: dict[str, Any]
) -> None:
    plain = collection.add(["page"], [{"number": 1}]).ids

    report = collection.add(["page"] * 3, [{"number": 1}] * 3, **others)

    assert (report.added, report.unchanged, len(set(report.ids))) == (2, 1, 3)
    assert report.ids[2:] == plain == ["423811eb-1b01-5825-a719-eb2c77ba4fc3"]
    assert collection.count() == 3
    assert collection.add(["page"] * 3, [{"number": 1}] * 3, **others).unchanged == 3


def test_extra_payload_is_kept_beside_the_metadata(collection: MultivectorCollection) -> None:
    collection.add(["text"], [{"a": 1}], ["x"], extras=[{"_node": {"class": "TextNode"}}])

    [record] = collection.get(["x"])
    assert record.metadata == {"a": 1}
    assert record.payload["_node"] == {"class": "TextNode"}


def test_another_text_may_be_encoded_than_is_stored(collection: MultivectorCollection) -> None:
    collection.add(["body"], ids=["x"], encoded_as=["title body"])

    [hit] = collection.search("title body")
    assert hit.text == "body"
    assert hit.score == pytest.approx(2, abs=1e-3)


def test_named_keys_and_vectors(make_collection: Make) -> None:
    collection = make_collection(vector_name="tokens", content_key="text", metadata_key="meta")

    collection.add(["red apple"], [{"color": "red"}], ["x"])

    [hit] = collection.search("apple")
    assert (hit.text, hit.metadata) == ("red apple", {"color": "red"})
    assert {"text", "meta"} <= set(hit.payload)


@pytest.mark.parametrize("key", ["meta.data", "metadata[0]", "the data"])
def test_metadata_is_found_and_set_under_any_key(make_collection: Make, place: dict[str, Any], key: str) -> None:
    collection = make_collection(metadata_key=key, indexes={"color": "keyword"})
    collection.add(["red apple", "red plum", "green apple"], [{"color": c} for c in ("red", "red", "green")], [1, 2, 3])
    names = set(collection.get([1])[0].payload)

    assert collection.set_metadata([1], {"color": "blue"}) == 1

    assert collection.get([1])[0].metadata == {"color": "blue"}
    assert set(collection.get([1])[0].payload) == names
    assert sorted(hit.metadata["color"] for hit in collection.search("apple", group_by="color")) == [
        "blue",
        "green",
        "red",
    ]
    is_blue = in_metadata(collection.layout, ["color"], lambda path: equal(path, "blue"))
    assert collection.count(models.Filter(must=[is_blue])) == 1
    assert collection.indexes() == ({} if "client" in place else {"color": "keyword"})


def test_an_unnamed_vector_can_be_had(make_collection: Make) -> None:
    collection = make_collection(vector_name="")

    collection.add(["red apple"], ids=["x"])

    assert [hit.id for hit in collection.search("apple", with_vectors=True)] == ["x"]


def test_a_collection_is_attached_to_again(fruits: MultivectorCollection, make_collection: Make) -> None:
    if fruits.place.path:
        fruits.close()

    again = make_collection(name=fruits.name)

    assert again.count() == 4


def test_another_model_is_refused(fruits: MultivectorCollection, make_collection: Make, words: WordEmbedder) -> None:
    if fruits.place.path:
        fruits.close()
    words.model_name = "other-words"

    with pytest.raises(CollectionMismatch, match="made with the model 'words', this is 'other-words'"):
        make_collection(words, name=fruits.name)


def test_every_difference_is_named(fruits: MultivectorCollection, make_collection: Make, words: WordEmbedder) -> None:
    if fruits.place.path:
        fruits.close()
    words.model_name, words.dim = "other-words", 8

    with pytest.raises(CollectionMismatch) as caught:
        make_collection(words, name=fruits.name)

    assert all(part in str(caught.value) for part in ("16 dimensions, the model's 8", "'words'", "'other-words'"))


@pytest.mark.parametrize("other", [{}, {"content_key": "body"}, {"content_key": "text", "metadata_key": "about"}])
def test_other_keys_of_the_payload_than_it_was_made_with_are_refused(
    make_collection: Make, other: dict[str, str]
) -> None:
    """Else texts come back empty, and what is added there takes the place of what is stored."""
    name = make_collection(content_key="text").name
    fitting = make_collection(name=name, content_key="text")
    [(key, asked)] = {"content_key": "page_content", **other}.items() - {("content_key", "text")}

    with pytest.raises(CollectionMismatch, match=rf"under '.*', not '{asked}' \(pass {key}="):
        make_collection(name=name, **other)

    assert fitting.layout.content_key == "text"


def test_keys_of_a_collection_that_does_not_remember_them_are_taken_as_asked(words: WordEmbedder) -> None:
    client = QdrantClient(":memory:")
    MultivectorCollection("docs", words, client=client, content_key="text").add(["red apple"], ids=["x"])
    client.update_collection("docs", metadata={METADATA_KEY: {"model": "words", "dim": 16}})

    assert MultivectorCollection("docs", words, client=client, content_key="text").get(["x"])[0].text == "red apple"
    assert MultivectorCollection("docs", words, client=client).get(["x"])[0].text == ""


def test_a_vector_that_is_not_there_is_named_with_those_that_are(
    fruits: MultivectorCollection, make_collection: Make
) -> None:
    if fruits.place.path:
        fruits.close()

    with pytest.raises(CollectionMismatch, match="no vector 'nope', its vectors: 'colbert'"):
        make_collection(name=fruits.name, vector_name="nope")


def test_a_collection_deleted_meanwhile_is_not_found(fruits: MultivectorCollection) -> None:
    fruits.engine.call("delete_collection", {"collection_name": fruits.name})

    with pytest.raises(CollectionNotFound, match=fruits.name):
        fruits.search("red")


def test_a_vector_deleted_meanwhile_is_not_taken_for_the_collection(make_collection: Make) -> None:
    collection = make_collection(name="colbert")  # which stands in what is said of the vector
    collection.engine.call("delete_vector_name", {"collection_name": "colbert", "vector_name": "colbert"})

    with pytest.raises((CollectionMismatch, InvalidInput), match=r"(?i)vector.*colbert.*open it again"):
        collection.search("red")


async def test_the_asynchronous_face_does_all_of_it(fruits: MultivectorCollection) -> None:
    face = fruits.as_async()

    report = await face.add(["white snow"], [{"color": "white"}], ["snow"])
    assert report.added == 1
    assert [hit.id for hit in await face.search("white snow", limit=1)] == ["snow"]
    assert [[hit.id for hit in hits] for hits in await face.search_batch(["white snow"], limit=1)] == [["snow"]]
    assert list(await face.score("snow", ["snow"])) == ["snow"]
    assert [record.id for record in await face.get(["snow"])] == ["snow"]
    assert await face.count(color("white")) == 1
    assert [failure.position for failure in await face.plan(["fine", None])] == [1]  # type: ignore[list-item]
    assert await face.footprint(["red sky"], 1000) == fruits.footprint(["red sky"], 1000)
    assert [record.id async for record in face.scroll(color("white"))] == ["snow"]
    await face.delete(["snow"])
    assert fruits.count() == 4


async def test_an_event_loop_has_one_face_until_it_is_closed(fruits: MultivectorCollection) -> None:
    face = fruits.as_async()
    assert fruits.as_async() is face

    await face.close()

    assert fruits.as_async() is not face


def test_a_face_is_for_an_event_loop_that_runs(fruits: MultivectorCollection) -> None:
    with pytest.raises(InvalidInput, match="no event loop is running here"):
        fruits.as_async()


def test_faces_of_event_loops_that_are_closed_are_forgotten(fruits: MultivectorCollection) -> None:
    async def count() -> int:
        return await fruits.as_async().count()

    assert [asyncio.run(count()) for _ in range(3)] == [4, 4, 4]
    assert len(fruits._faces) == 1


def test_what_is_not_to_be_created_is_not_found(words: WordEmbedder) -> None:
    client = QdrantClient(":memory:")

    with pytest.raises(CollectionNotFound, match="nowhere"):
        MultivectorCollection("nowhere", words, client=client, create=False)

    assert not client.collection_exists("nowhere")


@pytest.mark.parametrize("lone", ["plum", b"1", bytearray(b"1"), 49, np.int64(49), uuid.UUID(int=49)], ids=repr)
@pytest.mark.parametrize("call", ["delete", "get"])
def test_a_lone_id_is_not_taken_for_its_letters(fruits: MultivectorCollection, call: str, lone: Any) -> None:
    with pytest.raises(InvalidInput, match=re.escape(f"[{lone!r}]")):
        getattr(fruits, call)(lone)


def test_one_vector_a_point_is_no_multivector(words: WordEmbedder) -> None:
    client = QdrantClient(":memory:")
    client.create_collection("dense", vectors_config=models.VectorParams(size=16, distance=models.Distance.EUCLID))

    with pytest.raises(CollectionMismatch, match=r"not a multivector; its distance is Euclid"):
        MultivectorCollection("dense", words, client=client)


async def test_an_asynchronous_collection_opens_on_first_use(words: WordEmbedder) -> None:
    async with AsyncMultivectorCollection("words", words) as collection:
        await collection.add(["red apple"], ids=["x"])

        assert [hit.id for hit in await collection.search("apple")] == ["x"]


def test_a_name_of_a_model_is_an_embedder() -> None:
    with MultivectorCollection("movies", "all-MiniLM-L6-v2-int8") as movies:
        movies.add(["a soldier relives the same day", "toys at a day-care center"])

        assert movies.search("time loop", limit=1)[0].text == "a soldier relives the same day"


def test_an_api_key_is_in_no_representation(words: WordEmbedder) -> None:
    from colbert_qdrant.collection.engines import Place

    assert "s3cret" not in repr(Place(url="http://localhost:6333", api_key="s3cret"))


def test_local_mode_that_grows_names_the_embedded_engine_once(
    words: WordEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("colbert_qdrant.collection.engines.client.LOCAL_MODE_DOCUMENTS", 2)
    collection = MultivectorCollection("growing", words, client=QdrantClient(":memory:"))

    with pytest.warns(UserWarning, match="path= opens the embedded engine"):
        collection.add(["one", "two", "three"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        collection.add(["four"])
