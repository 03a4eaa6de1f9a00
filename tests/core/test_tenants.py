"""A tenant reaches nothing of another: by no public method, no filter and no id."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from qdrant_client import models

from colbert_qdrant import Blend, Bm25, MultivectorCollection, Muvera
from colbert_qdrant.collection.ids import TENANT_KEY, point_id
from colbert_qdrant.collection.schema import Layout
from colbert_qdrant.collection.steps import Begin, Call
from colbert_qdrant.collection.tenants import carried
from colbert_qdrant.errors import ColbertQdrantError, InvalidInput, UnsupportedByEngine
from conftest import WordEmbedder

Make = Callable[..., MultivectorCollection]

IDS = ["1", "doc", "11111111-2222-3333-4444-555555555555"]
THEIRS = ["their red apple", "their green pear", "their blue plum"]
EVERYTHING = models.Filter(must_not=[models.HasIdCondition(has_id=[0])])
ANY_TENANT = models.Filter(should=[models.IsEmptyCondition(is_empty=models.PayloadField(key="nothing")), EVERYTHING])


@pytest.fixture
def tenants(make_collection: Make, place: dict[str, Any], words: WordEmbedder) -> list[MultivectorCollection]:
    """Two tenants of one collection, on one engine; the other's records are there."""
    ours = make_collection(tenant="ours", stages=[Muvera(16, k_sim=3, dim_proj=8, r_reps=10), Bm25()])
    theirs = beside(ours, words, "theirs")
    theirs.add(THEIRS, [{"secret": True, "n": number} for number in range(3)], IDS)
    return [ours, theirs]


def beside(collection: MultivectorCollection, words: WordEmbedder, tenant: str | None) -> MultivectorCollection:
    """Open the same collection for another tenant; where only one client may, over the same engine."""
    place = collection.place
    if place.path is None:
        return MultivectorCollection(collection.name, words, client=place.client, url=place.url, tenant=tenant)
    from dataclasses import replace

    other = MultivectorCollection("aside", words, client=None, tenant=tenant)
    other.engine, other.layout = collection.engine, replace(collection.layout, tenant=tenant)
    return other


def stored(collection: MultivectorCollection) -> list[Any]:
    return [(record.id, record.text, record.metadata) for record in collection.get(IDS)]


def test_nothing_of_another_is_found_read_or_counted(tenants: list[MultivectorCollection]) -> None:
    ours, theirs = tenants

    for filter in (None, EVERYTHING, ANY_TENANT, models.Filter(must=[models.HasIdCondition(has_id=point_ids(theirs))])):
        assert ours.search("their red apple", filter=filter) == []
        assert ours.search("their red apple", filter=filter, exhaustive=True) == []
        assert ours.search("their red apple", filter=filter, mmr=models.Mmr(diversity=0.5)) == []
        assert ours.search_batch(["their red apple", "pear"], filter=filter) == [[], []]
        assert ours.count(filter) == 0
        assert list(ours.scroll(filter)) == []
    assert ours.get([*IDS, *point_ids(theirs)], with_vectors=True) == []
    assert ours.score("their red apple", [*IDS, *point_ids(theirs)]) == {}
    assert ours.score("their red apple", IDS, texts=THEIRS) == {}
    assert ours.passages("their red apple", [*IDS, *point_ids(theirs)]) == {}
    assert ours.encoded([*IDS, *point_ids(theirs)]) == {}
    assert ours.search("their red apple", final=Blend({"maxsim": 1, "bm25": 1})) == []
    assert ours.search("their red apple", boost=models.SumExpression(sum=["$score", 1.0])) == []
    assert ours.search("their red apple", group_by="n") == []
    for record_id in IDS:
        with pytest.raises(ColbertQdrantError, match=record_id):
            ours.explain("their red apple", record_id)


def test_nothing_of_another_is_changed_or_deleted(tenants: list[MultivectorCollection]) -> None:
    ours, theirs = tenants
    before = stored(theirs)

    for filter in (EVERYTHING, ANY_TENANT, models.Filter()):
        ours.delete(filter=filter)
        ours.delete([*IDS, *point_ids(theirs)], filter=filter)
    ours.delete([*IDS, *point_ids(theirs)])
    assert ours.set_metadata([*IDS, *point_ids(theirs)], {"secret": False}) == 0

    assert stored(theirs) == before
    assert len(before) == 3


def test_an_id_is_each_tenants_own(tenants: list[MultivectorCollection]) -> None:
    ours, theirs = tenants
    before = stored(theirs)

    report = ours.add(["our red apple"] * 3, [{"secret": False}] * 3, IDS)

    assert (report.added, report.updated) == (3, 0)
    assert stored(theirs) == before
    assert {text for _, text, _ in stored(ours)} == {"our red apple"}
    assert [record.id for record in ours.get(IDS)] == IDS
    assert ours.add(["our red apple"] * 3, [{"secret": False}] * 3, IDS).unchanged == 3
    assert ours.add(["our red apple"], [{"new": 1}], IDS[:1]).updated == 1
    ours.delete(IDS)
    assert (ours.count(), theirs.count()) == (0, 3)


def test_the_same_text_without_an_id_is_two_records(tenants: list[MultivectorCollection]) -> None:
    ours, theirs = tenants

    assert ours.add(["shared"]).added == theirs.add(["shared"]).added == 1
    assert (ours.count(), theirs.count()) == (1, 4)


def test_a_point_id_of_another_is_no_way_in(tenants: list[MultivectorCollection]) -> None:
    ours, theirs = tenants
    before = stored(theirs)

    ours.add(["overwritten"] * 3, ids=point_ids(theirs))

    assert stored(theirs) == before


def test_a_tenant_can_not_say_it_is_another(tenants: list[MultivectorCollection]) -> None:
    ours, theirs = tenants

    with pytest.raises(InvalidInput, match=TENANT_KEY):
        ours.add(["red"], extras=[{TENANT_KEY: "theirs"}])
    ours.add(["red"], [{TENANT_KEY: "theirs", "_id": "1"}], ["x"])
    ours.set_metadata(["x"], {TENANT_KEY: "theirs"})

    assert theirs.count() == 3
    assert ours.get(["x"])[0].metadata == {TENANT_KEY: "theirs", "_id": "1"}


def test_what_concerns_the_whole_collection_is_refused(tenants: list[MultivectorCollection]) -> None:
    ours, theirs = tenants
    whole: list[Callable[[], Any]] = [
        ours.drop,
        lambda: ours.publish("docs"),
        lambda: ours.create_index("n", "integer"),
        lambda: ours.drop_index("n"),
        lambda: ours.add_stage(Bm25(name="other")),
    ]

    for operation in whole:
        with pytest.raises(ColbertQdrantError, match="tenant='ours'"):
            operation()
    assert theirs.count() == 3


def test_every_public_method_is_one_of_these() -> None:
    """Whoever adds a method adds it to a test above."""
    tested = {"search", "search_batch", "count", "scroll", "get", "score", "delete", "set_metadata", "add"}
    tested |= {"passages", "explain", "encoded"}
    refused = {"drop", "publish", "create_index", "drop_index", "add_stage"}
    tells_nothing = {"indexes", "optimize", "footprint", "plan", "name", "close", "as_async", "queries", "list"}
    of_no_collection = {"upgrade", "downgrade", "discard"}  # they take a name

    public = {name for name in dir(MultivectorCollection) if not name.startswith("_")}
    assert public <= tested | refused | tells_nothing | of_no_collection


async def test_an_asynchronous_face_is_the_same_tenant(tenants: list[MultivectorCollection]) -> None:
    ours, _ = tenants
    face = ours.as_async()

    assert await face.search("their red apple") == []
    assert await face.get(IDS) == []
    with pytest.raises(InvalidInput, match="tenant='ours'"):
        await face.drop()
    await face.close()


def test_without_a_tenant_everything_is_seen(tenants: list[MultivectorCollection], words: WordEmbedder) -> None:
    ours = tenants[0]
    ours.add(["our red apple"], ids=["1"])

    everybody = beside(ours, words, None)

    assert everybody.count() == 4
    assert {hit.text for hit in everybody.search("red apple", 2)} == {"their red apple", "our red apple"}


def test_an_id_that_is_seen_without_a_tenant_leads_to_that_record(
    tenants: list[MultivectorCollection], words: WordEmbedder
) -> None:
    """A tenant's "1" is not everybody's, which would be read, changed and deleted in its place."""
    ours, theirs = tenants
    everybody = beside(ours, words, None)
    everybody.add(["own red apple"] * 3, [{"own": True}] * 3, IDS)
    before = stored(theirs)

    [hit] = everybody.search("their red apple", 1)

    assert hit.text == "their red apple"
    assert {hit.id, *IDS} < {record.id for record in everybody.scroll()}
    assert [record.text for record in everybody.get([hit.id])] == [hit.text]
    assert everybody.score("their red apple", [hit.id]) == {hit.id: pytest.approx(hit.score, abs=1e-3)}
    assert everybody.set_metadata([hit.id], {"seen": True}) == 1
    assert stored(theirs) == [(*before[0][:2], {**before[0][2], "seen": True}), *before[1:]]
    everybody.delete([hit.id])
    assert stored(theirs) == before[1:]
    assert [text for _, text, _ in stored(everybody)] == ["own red apple"] * 3


def test_a_tenants_record_is_replaced_by_that_tenant_alone(
    tenants: list[MultivectorCollection], words: WordEmbedder
) -> None:
    ours, theirs = tenants
    everybody = beside(ours, words, None)
    before = stored(theirs)
    [hit] = everybody.search("their red apple", 1)

    with pytest.raises(InvalidInput, match=r"id .* is of the tenant 'theirs'"):
        everybody.add(["overwritten"], ids=[hit.id])
    report = everybody.add(["overwritten", "new"], ids=[hit.id, "new"], on_error="skip")

    assert (report.added, [failure.position for failure in report.failed]) == (1, [0])
    assert stored(theirs) == before


def test_a_stage_added_for_everybody_is_every_tenants(make_collection: Make, words: WordEmbedder) -> None:
    everybody = make_collection()
    ours = beside(everybody, words, "ours")
    ours.add(["our red apple", "our green pear"], ids=["1", "2"])

    everybody.add_stage(Muvera(16, k_sim=3, dim_proj=8, r_reps=10))

    staged = beside(everybody, words, "ours")
    assert staged.layout.stages
    assert staged.search("red apple", 1, candidates=1)[0].id == "1"


@pytest.mark.parametrize("step_of", [lambda call: call, Begin], ids=["awaited", "begun"])
def test_a_request_is_kept_to_tenant_and_shard_however_it_is_made(step_of: Callable[[Call], Any]) -> None:
    layout = Layout("docs", "colbert", "text", "metadata", 4, tenant="ours", shard_key="europe")

    def operation(of: str) -> Any:
        point = models.PointStruct(id=point_id("1", "ours"), payload={"_id": "1", TENANT_KEY: of}, vector={})
        yield step_of(Call("upsert", {"collection_name": "docs", "points": [point]}))

    kept = next(carried(layout, operation("ours")))
    call = kept if isinstance(kept, Call) else kept.call

    assert call.arguments["shard_key_selector"] == "europe"
    with pytest.raises(InvalidInput, match="tenant 'theirs' can't be written by 'ours'"):
        next(carried(layout, operation("theirs")))


def test_the_tenant_has_an_index_of_its_kind(make_collection: Make, place: dict[str, Any]) -> None:
    collection = make_collection(tenant="ours", indexes={"n": "integer"})

    expected = {} if "client" in place else {"$._tenant": "keyword", "n": "integer"}
    assert collection.indexes() == expected


def test_a_uuid_is_one_id_in_both_its_spellings_for_a_tenant_too() -> None:
    unique = "01234567-89ab-cdef-0123-456789abcdef"

    assert point_id(unique, "ours") == point_id(unique.replace("-", ""), "ours") != point_id(unique)


def test_a_tenants_points_are_named_by_tenant_and_id() -> None:
    ids = {point_id(i, tenant) for i in IDS for tenant in (None, "a", "b")}

    assert len(ids) == 9
    assert point_id("1", "a") == str(uuid.UUID(str(point_id("1", "a"))))


@pytest.mark.parametrize("tenant", ["", 3, "\ud800"])
def test_a_tenant_has_a_name(tenant: Any, words: WordEmbedder) -> None:
    with pytest.raises(InvalidInput, match="tenant"):
        MultivectorCollection("docs", words, tenant=tenant)


def test_shard_keys_need_a_cluster(make_collection: Make, place: dict[str, Any]) -> None:
    if "url" in place:
        pytest.skip("it may be one")
    with pytest.raises(UnsupportedByEngine, match="shard"):
        make_collection(shard_key="europe")


def point_ids(collection: MultivectorCollection) -> list[str]:
    return [str(point_id(each, collection.layout.tenant)) for each in IDS]
