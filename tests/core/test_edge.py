"""The embedded engine answers as `QdrantClient` does: held against its local mode, on the same points and calls."""

from __future__ import annotations

import datetime as dt
import uuid

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from colbert_qdrant.collection.engines.edge import EdgeClient
from colbert_qdrant.errors import (
    InvalidInput,
)
from edge_samples import (
    DENSE_DIM,
    DENSE_QUERY,
    NEAREST_COLBERT,
    POINTS,
    PUBLIC,
    QUERY,
    SPARSE_QUERY,
    Pair,
    same_hits,
    uuid_of,
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    pair = Pair(tmp_path_factory.mktemp("shared"))
    yield pair
    pair.close()


@pytest.fixture
def pair(tmp_path):
    pair = Pair(tmp_path)
    yield pair
    pair.close()


@pytest.fixture
def client(tmp_path):
    with EdgeClient(tmp_path) as client:
        yield client


@pytest.fixture
def small(client):
    """A client with one collection of one unnamed vector of two numbers."""
    client.create_collection("small", vectors_config=models.VectorParams(size=2, distance=models.Distance.DOT))
    return client


# --- queries ---

FUSED = [
    models.Prefetch(query=DENSE_QUERY, using="dense", limit=POINTS),
    models.Prefetch(query=SPARSE_QUERY, using="bm25", limit=POINTS),
]

QUERIES = {
    "maxsim of an array": NEAREST_COLBERT,
    "maxsim of lists": {"query": QUERY.tolist(), "using": "colbert"},
    "maxsim of NearestQuery": {"query": models.NearestQuery(nearest=QUERY.tolist()), "using": "colbert"},
    "dense": {"query": DENSE_QUERY, "using": "dense"},
    "sparse with idf": {"query": SPARSE_QUERY, "using": "bm25", "limit": 5},
    "filter": {**NEAREST_COLBERT, "query_filter": PUBLIC},
    "limit": {**NEAREST_COLBERT, "limit": 3},
    "offset": {**NEAREST_COLBERT, "limit": 5, "offset": 4},
    "score threshold": {**NEAREST_COLBERT, "score_threshold": 1.2, "limit": POINTS},
    "no payload": {**NEAREST_COLBERT, "with_payload": False},
    "payload fields": {**NEAREST_COLBERT, "with_payload": ["year", "tag"]},
    "payload include": {**NEAREST_COLBERT, "with_payload": models.PayloadSelectorInclude(include=["owner.name"])},
    "payload exclude": {**NEAREST_COLBERT, "with_payload": models.PayloadSelectorExclude(exclude=["text", "where"])},
    "dense, then maxsim": {
        **NEAREST_COLBERT,
        "prefetch": models.Prefetch(query=DENSE_QUERY, using="dense", limit=12),
    },
    "dense filtered, then maxsim": {
        **NEAREST_COLBERT,
        "prefetch": [models.Prefetch(query=DENSE_QUERY, using="dense", limit=12, filter=PUBLIC)],
    },
    "dense above a score, then maxsim": {
        **NEAREST_COLBERT,
        "prefetch": [models.Prefetch(query=DENSE_QUERY, using="dense", limit=12, score_threshold=0.5)],
    },
    "rrf, then maxsim": {
        **NEAREST_COLBERT,
        "prefetch": models.Prefetch(prefetch=FUSED, query=models.FusionQuery(fusion=models.Fusion.RRF), limit=POINTS),
    },
    "rrf with k and weights": {
        "query": models.RrfQuery(rrf=models.Rrf(k=7, weights=[1.0, 0.37])),
        "prefetch": FUSED,
        "limit": 8,
    },
    "dbsf": {"query": models.FusionQuery(fusion=models.Fusion.DBSF), "prefetch": FUSED, "limit": 8},
    "dbsf, then maxsim": {
        **NEAREST_COLBERT,
        "prefetch": models.Prefetch(prefetch=FUSED, query=models.FusionQuery(fusion=models.Fusion.DBSF), limit=9),
    },
    "mmr": {
        "query": models.NearestQuery(nearest=QUERY.tolist(), mmr=models.Mmr(diversity=0.4, candidates_limit=20)),
        "using": "colbert",
        "limit": 6,
    },
    "mmr with its defaults": {
        "query": models.NearestQuery(nearest=DENSE_QUERY, mmr=models.Mmr()),
        "using": "dense",
        "limit": 6,
    },
    "id of a point": {"query": 5, "using": "colbert"},
    "uuid of a point": {"query": uuid.UUID(uuid_of(8)), "using": "dense"},
    "id of a point, sparse and filtered": {"query": 5, "using": "bm25", "query_filter": PUBLIC, "limit": 4},
    "id of a point in a prefetch": {
        **NEAREST_COLBERT,
        "prefetch": models.Prefetch(query=5, using="dense", limit=7),
    },
}


@pytest.mark.parametrize("arguments", QUERIES.values(), ids=QUERIES.keys())
def test_a_query_finds_what_local_mode_finds(shared, arguments):
    edge, local = shared.both("query_points", **arguments)

    same_hits(edge, local)


FORMULAS = {
    "score and a field": models.SumExpression(
        sum=["$score", models.MultExpression(mult=[0.013, models.NegExpression(neg="year")])]
    ),
    "condition": models.SumExpression(
        sum=[
            "$score",
            models.MultExpression(mult=[2.0, models.FieldCondition(key="tag", match=models.MatchAny(any=["b"]))]),
        ]
    ),
    "distance": models.SumExpression(
        sum=[
            "$score",
            models.GaussDecayExpression(
                gauss_decay=models.DecayParamsExpression(
                    x=models.GeoDistance(
                        geo_distance=models.GeoDistanceParams(origin=models.GeoPoint(lon=3, lat=2), to="where")
                    ),
                    scale=900_000,
                )
            ),
        ]
    ),
    "time": models.SumExpression(
        sum=[
            "$score",
            models.ExpDecayExpression(
                exp_decay=models.DecayParamsExpression(
                    x=models.DatetimeKeyExpression(datetime_key="written"),
                    target=models.DatetimeExpression(datetime="2024-01-10T00:00:00Z"),
                    scale=86_400,
                    midpoint=0.3,
                )
            ),
        ]
    ),
    "arithmetic": models.DivExpression(
        div=models.DivParams(
            left=models.PowExpression(pow=models.PowParams(base="$score", exponent=2.0)),
            right=models.SumExpression(sum=[models.SqrtExpression(sqrt=models.AbsExpression(abs="price")), 1.0]),
        )
    ),
    "default of a missing field": models.SumExpression(sum=["$score", "rare"]),
}


@pytest.mark.parametrize("formula", FORMULAS.values(), ids=FORMULAS.keys())
def test_a_formula_scores_as_in_local_mode(shared, formula):
    prefetch = models.Prefetch(query=QUERY.tolist(), using="colbert", limit=15)
    query = models.FormulaQuery(formula=formula, defaults={"rare": 100})

    edge, local = shared.both("query_points", query=query, prefetch=prefetch)

    same_hits(edge, local)


def test_a_score_is_the_sum_of_each_query_tokens_best_match(shared):
    hit = shared.edge.query_points("docs", **NEAREST_COLBERT, limit=1, with_vectors=["colbert"]).points[0]

    queries = QUERY / np.linalg.norm(QUERY, axis=1, keepdims=True)
    assert hit.score == pytest.approx((queries @ hit.vector["colbert"].T).max(axis=1).sum(), abs=1e-5)


def test_search_parameters_are_taken(shared):
    params = models.SearchParams(
        exact=True,
        hnsw_ef=64,
        indexed_only=False,
        quantization=models.QuantizationSearchParams(rescore=True, oversampling=2.0),
        acorn=models.AcornSearchParams(enable=True),
    )

    hits = shared.edge.query_points("docs", **NEAREST_COLBERT, search_params=params)

    same_hits(hits, shared.local.query_points("docs", **NEAREST_COLBERT))


def test_a_batch_answers_each_request(shared):
    requests = [
        models.QueryRequest(query=QUERY.tolist(), using="colbert", limit=3, with_payload=True),
        models.QueryRequest(query=DENSE_QUERY, using="dense", limit=4, filter=PUBLIC, with_payload=True),
    ]

    edge, local = shared.both("query_batch_points", requests)

    for answers in zip(edge, local, strict=True):
        same_hits(*answers)


def test_vectors_come_back_as_they_are_stored(shared):
    edge, local = shared.both("query_points", **NEAREST_COLBERT, limit=4, with_vectors=True)

    for ours, theirs in zip(edge.points, local.points, strict=True):
        assert ours.vector["colbert"].dtype == np.float32
        assert ours.vector["colbert"] == pytest.approx(np.array(theirs.vector["colbert"]), abs=1e-6)
        assert ours.vector["dense"] == pytest.approx(theirs.vector["dense"])
        assert dict(zip(ours.vector["bm25"].indices, ours.vector["bm25"].values, strict=True)) == pytest.approx(
            dict(zip(theirs.vector["bm25"].indices, theirs.vector["bm25"].values, strict=True))
        )


def test_order_by_a_field_needs_its_index(pair):
    query = models.OrderByQuery(order_by=models.OrderBy(key="year", direction=models.Direction.DESC))
    with pytest.raises(InvalidInput, match=r"year.*create_payload_index"):
        pair.edge.query_points("docs", query=query)

    pair.edge.create_payload_index("docs", "year", models.PayloadSchemaType.INTEGER)

    same_hits(*pair.both("query_points", query=query))


def test_a_sample_is_of_the_points_that_match(shared):
    query = models.SampleQuery(sample=models.Sample.RANDOM)

    hits = shared.edge.query_points("docs", query=query, query_filter=PUBLIC, limit=POINTS).points

    assert len(hits) == POINTS / 2
    assert all(hit.payload["public"] for hit in hits)


# --- filters ---


def field(key: str, **condition: object) -> models.Filter:
    return models.Filter(must=[models.FieldCondition(key=key, **condition)])


def nested(key: str, *must: models.FieldCondition) -> models.Filter:
    return models.Filter(must=[models.NestedCondition(nested=models.Nested(key=key, filter=models.Filter(must=must)))])


TAG_A = models.FieldCondition(key="tag", match=models.MatchValue(value="a"))
LATE = models.FieldCondition(key="year", range=models.Range(gt=2010))
CHEAP = models.FieldCondition(key="price", range=models.Range(lt=30))
WHEEL = models.FieldCondition(key="name", match=models.MatchValue(value="wheel"))
THREE = models.FieldCondition(key="count", match=models.MatchValue(value=3))
RING = [models.GeoPoint(lon=lon, lat=lat) for lon, lat in [(2, 0), (20, 0), (20, 12), (2, 12), (2, 0)]]
HOLE = [models.GeoPoint(lon=lon, lat=lat) for lon, lat in [(8, 3), (13, 3), (13, 8), (8, 8), (8, 3)]]

FILTERS = {
    "string": field("tag", match=models.MatchValue(value="b")),
    "integer": field("year", match=models.MatchValue(value=2001)),
    "true": field("public", match=models.MatchValue(value=True)),
    "false": field("public", match=models.MatchValue(value=False)),
    "element of a list": field("tags", match=models.MatchValue(value="w")),
    "path": field("owner.name", match=models.MatchValue(value="o3")),
    "uuid": field("owner.id", match=models.MatchValue(value=uuid_of(3))),
    "element of objects": field("parts[].count", match=models.MatchValue(value=2)),
    "any string": field("tag", match=models.MatchAny(any=["a", "c"])),
    "any integer": field("year", match=models.MatchAny(any=[1991, 2003, 1800])),
    "except": field("tag", match=models.MatchExcept(**{"except": ["a", "c"]})),
    "text": field("text", match=models.MatchText(text="fox blue")),
    "any word": field("text", match=models.MatchTextAny(text_any="blue red")),
    "phrase": field("text", match=models.MatchPhrase(phrase="green fox")),
    "range": field("price", range=models.Range(gte=6.0, lt=21.0)),
    "open range": field("year", range=models.Range(lte=1993)),
    "times": field("written", range=models.DatetimeRange(gt=dt.datetime(2024, 1, 9, 12, tzinfo=dt.UTC))),
    "times of another zone": field(
        "written",
        range=models.DatetimeRange(lte=dt.datetime(2024, 1, 3, 14, tzinfo=dt.timezone(dt.timedelta(hours=2)))),
    ),
    "days": field("written", range=models.DatetimeRange(gte=dt.date(2024, 1, 5), lt=dt.date(2024, 1, 8))),
    "number of values": field("tags", values_count=models.ValuesCount(gte=2)),
    "empty": models.Filter(must=[models.IsEmptyCondition(is_empty=models.PayloadField(key="note"))]),
    "empty where missing": models.Filter(must=[models.IsEmptyCondition(is_empty=models.PayloadField(key="rare"))]),
    "null": models.Filter(must=[models.IsNullCondition(is_null=models.PayloadField(key="note"))]),
    "ids": models.Filter(must=[models.HasIdCondition(has_id=[1, 2, uuid_of(4), 999])]),
    "has vector": models.Filter(must=[models.HasVectorCondition(has_vector="dense")]),
    "nested": nested("parts", WHEEL, THREE),
    "box": field(
        "where",
        geo_bounding_box=models.GeoBoundingBox(
            top_left=models.GeoPoint(lon=3.5, lat=9.2), bottom_right=models.GeoPoint(lon=15.5, lat=0)
        ),
    ),
    "circle": field("where", geo_radius=models.GeoRadius(center=models.GeoPoint(lon=10, lat=5), radius=400_000)),
    "polygon": field(
        "where",
        geo_polygon=models.GeoPolygon(
            exterior=models.GeoLineString(points=RING), interiors=[models.GeoLineString(points=HOLE)]
        ),
    ),
    "must": models.Filter(must=[TAG_A, LATE]),
    "must, a single one": models.Filter(must=LATE),
    "should": models.Filter(should=[TAG_A, LATE]),
    "must not": models.Filter(must_not=[TAG_A, LATE]),
    "min should": models.Filter(min_should=models.MinShould(conditions=[TAG_A, LATE, CHEAP], min_count=2)),
    "all of them": models.Filter(must=[CHEAP], should=[TAG_A, LATE], must_not=[THREE, WHEEL]),
    "filter in a filter": models.Filter(must=[models.Filter(should=[LATE, CHEAP]), models.Filter(must_not=[TAG_A])]),
}


@pytest.mark.parametrize("query_filter", FILTERS.values(), ids=FILTERS.keys())
def test_a_filter_selects_what_it_selects_in_local_mode(shared, query_filter):
    edge, local = shared.ids(query_filter)

    assert set(edge) == set(local)
    assert edge


def test_filters_select_the_same_once_fields_are_indexed(pair):
    phrases = models.TextIndexParams(type=models.TextIndexType.TEXT, phrase_matching=True)
    schemas = {"tag": "keyword", "year": "integer", "public": "bool", "text": phrases, "where": "geo"}
    before = {name: pair.ids(query_filter)[0] for name, query_filter in FILTERS.items()}

    for name, schema in schemas.items():
        pair.edge.create_payload_index("docs", name, schema)

    assert {name: pair.ids(query_filter)[0] for name, query_filter in FILTERS.items()} == before


# --- reading and writing ---


def test_scrolling_visits_every_point_once(shared):
    seen, offset = [], None
    while True:
        page, offset = shared.edge.scroll("docs", limit=7, offset=offset)
        seen += [record.id for record in page]
        if offset is None:
            break

    assert seen == shared.ids()[0]
    assert len(seen) == len(set(seen)) == POINTS


def test_scroll_by_a_field_needs_its_index(pair):
    with pytest.raises(InvalidInput, match=r"price.*create_payload_index"):
        pair.edge.scroll("docs", order_by="price")

    pair.edge.create_payload_index("docs", "price", models.FloatIndexParams(type=models.FloatIndexType.FLOAT))
    edge, local = pair.both("scroll", order_by="price", limit=5)

    assert [record.id for record in edge[0]] == [record.id for record in local[0]]


def test_facet_needs_an_index_and_counts_values(pair):
    with pytest.raises(InvalidInput, match=r"tag.*create_payload_index"):
        pair.edge.facet("docs", "tag")

    pair.edge.create_payload_index("docs", "tag", models.PayloadSchemaType.KEYWORD)
    edge, local = pair.both("facet", "tag", facet_filter=PUBLIC, exact=True)

    assert {hit.value: hit.count for hit in edge.hits} == {hit.value: hit.count for hit in local.hits}


def test_count_is_of_the_points_that_match(shared):
    edge, local = shared.both("count", count_filter=PUBLIC)

    assert edge.count == local.count == POINTS / 2


def test_retrieve_keeps_the_order_asked_for_and_leaves_out_the_unknown(shared):
    edge, local = shared.both("retrieve", [7, 999, uuid_of(4), 3])

    assert [record.id for record in edge] == [record.id for record in local] == [7, uuid_of(4), 3]
    assert [record.payload for record in edge] == [record.payload for record in local]


def test_upsert_replaces_a_point(pair):
    new = models.PointStruct(id=1, vector={"dense": [1.0] * DENSE_DIM}, payload={"only": "this"})

    pair.both("upsert", [new])
    edge, local = pair.both("retrieve", [1], with_vectors=True)

    assert edge[0].payload == local[0].payload == {"only": "this"}
    assert edge[0].vector == local[0].vector == {"dense": [1.0] * DENSE_DIM}
    assert pair.edge.count("docs").count == POINTS


def test_unvalidated_points_with_arrays_are_stored(small):
    point = models.PointStruct.model_construct(id=1, vector=np.array([1, 2], np.float32), payload={"a": 1})

    small.upsert("small", [point])

    assert small.retrieve("small", [1], with_vectors=True)[0].vector == [1.0, 2.0]


def test_payload_is_stored_as_json(small):
    when, who = dt.datetime(2024, 5, 1, tzinfo=dt.UTC), uuid.UUID(int=3)
    payload = {"when": when, "who": who, "pair": (1, 2.5), "none": None, "flag": True}

    small.upsert("small", [models.PointStruct(id=1, vector=[1.0, 2.0], payload=payload)])

    stored = {"when": "2024-05-01T00:00:00Z", "who": str(who), "pair": [1, 2.5], "none": None, "flag": True}
    assert small.retrieve("small", [1])[0].payload == stored


WRITES = {
    "delete ids": ("delete", [[1, uuid_of(4), 999]]),
    "delete a list of ids": ("delete", [models.PointIdsList(points=[2, 3])]),
    "delete by filter": ("delete", [PUBLIC]),
    "delete all": ("delete", [models.Filter()]),
    "delete by filter selector": ("delete", [models.FilterSelector(filter=PUBLIC)]),
    "update vectors": ("update_vectors", [[models.PointVectors(id=3, vector={"dense": [9.0] * DENSE_DIM})]]),
    "delete vectors": ("delete_vectors", [["dense"], [3, 5]]),
    "delete vectors by filter": ("delete_vectors", [["dense", "bm25"], PUBLIC]),
    "set payload": ("set_payload", [{"year": 1, "new": "x"}, [1, 2]]),
    "set payload by filter": ("set_payload", [{"new": dt.date(2024, 1, 1)}, PUBLIC]),
    "set payload below a key": ("set_payload", [{"name": "me"}, [1], "owner"]),
    "overwrite payload": ("overwrite_payload", [{"new": 1}, [1, 2]]),
    "overwrite payload by filter": ("overwrite_payload", [{"new": 1}, models.FilterSelector(filter=PUBLIC)]),
}


@pytest.mark.parametrize(("method", "arguments"), WRITES.values(), ids=WRITES.keys())
def test_a_write_leaves_what_it_leaves_in_local_mode(pair, method, arguments):
    before = content(pair.edge)

    result, _ = pair.both(method, *arguments)

    assert result.status == models.UpdateStatus.COMPLETED
    assert content(pair.edge) == content(pair.local) != before


def content(client: EdgeClient | QdrantClient) -> dict:
    records, _ = client.scroll("docs", limit=POINTS, with_vectors=["dense", "bm25"])
    return {
        record.id: (
            record.payload,
            sorted(record.vector),
            np.round(record.vector.get("dense", []), 4).tolist(),
        )
        for record in records
    }
