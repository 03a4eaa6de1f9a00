"""First stages find the candidates, MaxSim orders them: the same on every engine."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from colbert_qdrant import Bm25, Centroids, Dense, MultivectorCollection, Muvera
from colbert_qdrant.collection import searching
from colbert_qdrant.collection.derived import MuveraStage
from colbert_qdrant.collection.engines.bm25 import bm25_vector
from colbert_qdrant.collection.prefetching import plan_prefetch
from colbert_qdrant.collection.search_options import SearchOptions
from colbert_qdrant.collection.stages import as_stages
from colbert_qdrant.collection.storage import Storage, footprint
from colbert_qdrant.errors import CollectionMismatch, InvalidInput, UnsupportedByEngine
from conftest import WordEmbedder
from servers import needs_server, server_place

Make = Callable[..., MultivectorCollection]

NOUNS = ["apple", "river", "engine", "planet", "violin", "tiger", "harbour", "desert"]
COLORS = ["red", "green", "blue", "black", "white"]
TEXTS = [f"{color} {noun} number {number}" for number, noun in enumerate(NOUNS) for color in COLORS]
IDS = [str(number) for number in range(len(TEXTS))]


def mean_vector(texts: list[str]) -> list[np.ndarray]:
    return [vectors.mean(axis=0) for vectors in WordEmbedder().embed(texts)]


def muvera() -> Muvera:
    return Muvera(16, k_sim=3, dim_proj=8, r_reps=10)


def centroids() -> Centroids:
    return Centroids.train(WordEmbedder().embed(TEXTS), 40)


STAGES: dict[str, Callable[[], list[Any]]] = {
    "muvera": lambda: [muvera()],
    "centroids": lambda: [centroids()],
    "dense": lambda: [Dense(mean_vector)],
    "bm25": lambda: [Bm25()],
    "three": lambda: [muvera(), Dense(mean_vector), Bm25()],
}


@pytest.fixture(params=STAGES)
def stages(request: pytest.FixtureRequest) -> list[Any]:
    return STAGES[request.param]()


@pytest.fixture
def staged(make_collection: Make, stages: list[Any]) -> MultivectorCollection:
    collection = make_collection(stages=stages)
    collection.add(TEXTS, [{"color": text.split()[0]} for text in TEXTS], IDS)
    return collection


def test_a_staged_search_finds_what_an_exhaustive_one_does(staged: MultivectorCollection) -> None:
    query = "red violin"

    found, exact = (
        staged.search(query, limit=1, candidates=20),
        staged.search(query, limit=1, exhaustive=True),
    )

    assert found[0].text == exact[0].text == "red violin number 4"
    assert found[0].score == pytest.approx(exact[0].score, abs=1e-3)


def test_only_the_candidates_are_ordered(staged: MultivectorCollection) -> None:
    hits = staged.search("red violin", limit=2, candidates=2)

    assert len(hits) <= 2


def test_candidates_suffice_for_what_is_asked(staged: MultivectorCollection) -> None:
    if any(isinstance(stage, Bm25) for stage in staged.layout.stages) and len(staged.layout.stages) == 1:
        pytest.skip("BM25 alone finds only documents that share a word")

    assert len(staged.search("red violin", limit=5, offset=10, candidates=1)) == 5


def test_filters_hold_in_every_branch(staged: MultivectorCollection) -> None:
    blue = models.Filter(must=[models.FieldCondition(key="metadata.color", match=models.MatchValue(value="blue"))])

    hits = staged.search("red violin number", limit=3, candidates=3, filter=blue)

    assert len(hits) == 3
    assert {hit.metadata["color"] for hit in hits} == {"blue"}


def test_a_threshold_is_on_maxsim(staged: MultivectorCollection) -> None:
    hits = staged.search("red violin", limit=10, score_threshold=1.99)

    assert [hit.text for hit in hits] == ["red violin number 4"]


def test_a_batch_goes_through_the_stages_too(staged: MultivectorCollection) -> None:
    queries = ["red violin", "blue tiger"]

    batch = staged.search_batch(queries, limit=1)

    assert [hits[0].text for hits in batch] == ["red violin number 4", "blue tiger number 5"]


async def test_the_asynchronous_face_goes_through_the_stages_too(staged: MultivectorCollection) -> None:
    [hit] = await staged.as_async().search("red violin", limit=1)

    assert hit.text == "red violin number 4"


def test_the_collection_remembers_its_stages(staged: MultivectorCollection, make_collection: Make) -> None:
    if staged.place.path:
        staged.close()
    if any(isinstance(stage, Dense) for stage in staged.layout.stages):
        with pytest.raises(CollectionMismatch, match="'dense' needs its encoder"):
            make_collection(name=staged.name)
        return

    again = make_collection(name=staged.name)

    assert [stage.settings for stage in again.layout.stages] == [stage.settings for stage in staged.layout.stages]
    assert again.search("red violin", limit=1)[0].text == "red violin number 4"


def test_a_stage_made_otherwise_is_refused(make_collection: Make) -> None:
    first = make_collection(stages=[muvera()])
    if first.place.path:
        first.close()

    with pytest.raises(CollectionMismatch, match=r"'muvera' was made with .*random_seed=42"):
        make_collection(name=first.name, stages=[Muvera(16, k_sim=3, dim_proj=8, r_reps=10, random_seed=7)])


def test_leaving_a_stage_out_is_refused(make_collection: Make) -> None:
    first = make_collection(stages=[muvera()])
    if first.place.path:
        first.close()

    with pytest.raises(CollectionMismatch, match="first stage 'muvera', which new records would lack"):
        make_collection(name=first.name, stages=[])


@pytest.mark.parametrize("kind", ["muvera", "centroids", "dense", "bm25"])
def test_a_stage_is_added_to_what_is_stored(make_collection: Make, kind: str) -> None:
    collection = make_collection()
    collection.add(TEXTS, ids=IDS)

    collection.add_stage(STAGES[kind]()[0])

    assert collection.search("red violin", limit=1, candidates=20)[0].text == "red violin number 4"
    assert len(collection.search("red violin number", limit=40, candidates=40)) == 40
    if collection.place.path:
        collection.close()
    again = make_collection(name=collection.name, stages=STAGES[kind]())
    again.add(["purple violin"], ids=["new"])
    assert again.search("purple violin", limit=1)[0].id == "new"


def test_a_query_without_text_needs_a_stage_of_token_vectors(make_collection: Make, words: WordEmbedder) -> None:
    collection = make_collection(stages=[Dense(mean_vector)])
    [vectors] = words.query_embed("red violin")

    with pytest.raises(InvalidInput, match="stage 'dense' encodes text"):
        collection.search(vectors)


def test_encoders_of_any_framework_will_do() -> None:
    class LangChain:
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return [[1.0, 2.0] for _ in texts]

        def embed_query(self, text: str) -> list[float]:
            return [3.0, 4.0]

    class LlamaIndex:
        model_name = "li"

        def get_text_embedding_batch(self, texts: list[str]) -> list[list[float]]:
            return [[1.0, 2.0] for _ in texts]

        def get_query_embedding(self, text: str) -> list[float]:
            return [3.0, 4.0]

    for encoder, name in ((LangChain(), "LangChain"), (LlamaIndex(), "li")):
        stage = Dense(encoder)

        assert stage.settings == {"kind": "dense", "model": name, "dim": 2}
        assert [vector.tolist() for vector in stage.encode_documents(["a", "b"], [])] == [[1, 2], [1, 2]]
        assert stage.encode_query("a", np.ones((1, 1))) == [3, 4]


def test_an_encoder_that_gives_other_shapes_is_named() -> None:
    stage = Dense(lambda texts: [[1.0]] * 3, dim=1)

    with pytest.raises(InvalidInput, match="2 texts became 3 vectors"):
        stage.encode_documents(["a", "b"], [])


@pytest.mark.parametrize(
    ("stages", "reason"),
    [
        ([object()], "is no first stage"),
        ([muvera(), muvera()], "a name of its own"),
        ([Dense(3)], "give LangChain's Embeddings"),
    ],
)
def test_what_is_no_stage_is_refused(words: WordEmbedder, stages: list[Any], reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        MultivectorCollection("bad", words, stages=stages)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"vector_name": ""}, "an unnamed multivector stands alone"),
        ({"vector_name": "muvera"}, "also the name of a first stage"),
    ],
)
def test_names_that_clash_are_refused(words: WordEmbedder, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        MultivectorCollection("bad", words, stages=[muvera()], **options)


def test_the_multivector_gets_no_graph_behind_a_stage(make_collection: Make) -> None:
    collection = make_collection(stages=[muvera()])

    info = collection.engine.call("get_collection", {"collection_name": collection.name})
    assert info.config.params.vectors["colbert"].hnsw_config.m == 0


def test_several_stages_are_fused_in_one_request() -> None:
    stages = as_stages([muvera(), Bm25()])
    assert isinstance(stages[0], MuveraStage)

    [fused] = plan_prefetch(
        [(stage, [1.0]) for stage in stages], candidates=50, fusion="dbsf", filter=None, params=None
    )

    assert [branch.using for branch in fused.prefetch] == ["muvera", "bm25"]
    assert fused.query == models.FusionQuery(fusion=models.Fusion.DBSF)
    assert fused.limit == 50


@pytest.mark.parametrize("datatype", ["float32", "float16", "turbo8"])
def test_precision_keeps_the_order(make_collection: Make, datatype: Any) -> None:
    collection = make_collection(storage=Storage(datatype=datatype))
    collection.add(TEXTS, ids=IDS)

    assert collection.search("red violin", limit=1)[0].text == "red violin number 4"


@pytest.mark.parametrize("quantization", ["int8", "turbo", "turbo2", "turbo8", "binary2"])
def test_quantised_candidates_are_rescored(make_collection: Make, quantization: Any) -> None:
    collection = make_collection(storage=Storage(quantization=quantization, oversampling=4))
    collection.add(TEXTS, ids=IDS)

    [hit] = collection.search("red violin", limit=1)
    assert hit.text == "red violin number 4"
    assert hit.score == pytest.approx(2, abs=1e-3)


def test_whoever_searches_a_quantised_collection_has_it_rescored(words: WordEmbedder) -> None:
    client = QdrantClient(":memory:")
    with pytest.warns(UserWarning, match="quantization_config has no effect here"):
        made = MultivectorCollection("q", words, client=client, storage=Storage(quantization="int8", oversampling=4))
    reopened = MultivectorCollection("q", words, client=client)
    [query] = words.query_embed("red violin")

    one = next(searching.search(made.layout, query, SearchOptions()))
    batch = next(searching.search_batch(made.layout, [query, query], SearchOptions()))
    later = next(searching.search(reopened.layout, query, SearchOptions()))

    assert one.arguments["search_params"].quantization == rescoring(4)
    assert batch.arguments["requests"][0].params.quantization == rescoring(4)
    assert later.arguments["search_params"].quantization == rescoring(2)


def test_what_the_caller_says_of_quantisation_holds_for_stages_too(words: WordEmbedder) -> None:
    said = models.SearchParams(quantization=models.QuantizationSearchParams(ignore=True))

    [branch] = plan_prefetch([(MuveraStage(muvera()), [0.0])], candidates=7, fusion="rrf", filter=None, params=said)

    assert branch.params is not None
    assert branch.params.quantization == said.quantization


def rescoring(oversampling: float) -> models.QuantizationSearchParams:
    return models.QuantizationSearchParams(rescore=True, oversampling=oversampling)


def test_the_embedded_engine_refuses_shards(words: WordEmbedder, tmp_path: Any) -> None:
    with pytest.raises(UnsupportedByEngine, match="shard_number"):
        MultivectorCollection("shards", words, path=tmp_path, storage=Storage(shard_number=3))


def test_local_mode_says_what_it_does_not_do(words: WordEmbedder) -> None:
    with pytest.warns(UserWarning, match="datatype"):
        MultivectorCollection("local", words, storage=Storage(datatype="turbo8"))


def test_local_mode_says_nothing_of_the_default(words: WordEmbedder, recwarn: pytest.WarningsRecorder) -> None:
    MultivectorCollection("local", words)

    assert not recwarn.list


def test_new_collections_store_half_precision(make_collection: Make, place: dict[str, Any]) -> None:
    collection = make_collection(stages=[Dense(mean_vector)])

    info = collection.engine.call("get_collection", {"collection_name": collection.name})

    assert info.config.params.vectors["colbert"].datatype == models.Datatype.FLOAT16
    assert info.config.params.vectors["dense"].datatype is None


@pytest.mark.parametrize(
    ("quantization", "bits"),
    [
        *[("int8", 8), ("binary", 1), ("binary1.5", 1.5), ("binary2", 2), ("product", 2)],
        *[("turbo", 4), ("turbo1", 1), ("turbo1.5", 1.5), ("turbo2", 2), ("turbo8", 8)],
    ],
)
def test_a_footprint_counts_the_bits_of_the_quantised_copy(quantization: Any, bits: float) -> None:
    def memory(storage: Storage) -> int:
        return footprint(storage, documents=1000, tokens=10, dim=128, stages=[], text=0).memory

    plain, quantised = memory(Storage()), memory(Storage(quantization=quantization))

    assert quantised - plain == 1000 * 10 * 128 * bits / 8


def test_quantisation_may_be_qdrants_own(make_collection: Make) -> None:
    encoding = models.BinaryQuantizationQueryEncoding.SCALAR8BITS
    own = models.BinaryQuantization(binary=models.BinaryQuantizationConfig(query_encoding=encoding))
    collection = make_collection(storage=Storage(quantization=own, oversampling=8))
    collection.add(TEXTS, ids=IDS)

    info = collection.engine.call("get_collection", {"collection_name": collection.name})
    assert collection.search("red violin", limit=1)[0].text == "red violin number 4"
    assert info.config.params.vectors["colbert"].quantization_config in (own, None)  # none in local mode


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"datatype": "float8"}, "datatype='float8'"),
        ({"quantization": "int4"}, "quantization='int4'"),
        ({"quantization": 4}, "quantization=4"),
        ({"oversampling": 0.5}, "oversampling=0.5"),
    ],
)
def test_storage_that_qdrant_does_not_know_is_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        Storage(**options)


def test_a_footprint_is_estimated_before_anything_is_stored(words: WordEmbedder) -> None:
    collection = MultivectorCollection("plan", words, client=QdrantClient(":memory:"), stages=[muvera()])

    estimate = collection.footprint(["one two three four"], documents=1_000_000)

    signs, numbers = 640 // 8, 640 * 2
    assert estimate.bytes_per_document == 4 * 16 * 2 + signs + numbers + 18
    assert estimate.disk == 1_000_000 * estimate.bytes_per_document
    assert estimate.memory == 1_000_000 * (4 * 16 * 2 + signs + 18)
    assert "1.40 GiB on disk" in str(estimate)
    assert collection.count() == 0


def test_a_plan_names_what_add_would_refuse(words: WordEmbedder) -> None:
    collection = MultivectorCollection("plan", words)

    refused = collection.plan(["fine", None, " ".join(["long"] * 65536)])  # type: ignore[list-item]

    assert [failure.position for failure in refused] == [1, 2]
    assert "at most 65535 tokens" in refused[1].reason
    assert collection.count() == 0


def test_muvera_candidates_are_found_by_signs_and_left_for_maxsim_to_order() -> None:
    stage = MuveraStage(muvera())
    exact = models.SearchParams(exact=True)

    [branch] = plan_prefetch([(stage, [0.0])], candidates=7, fusion="rrf", filter=None, params=exact)

    assert isinstance(stage.params().quantization_config, models.BinaryQuantization)
    assert branch.params == models.SearchParams(
        exact=True, hnsw_ef=35, quantization=models.QuantizationSearchParams(rescore=False)
    )


def test_how_far_a_graph_is_searched_is_the_callers_to_say() -> None:
    said = models.SearchParams(hnsw_ef=1_000)

    [branch] = plan_prefetch([(MuveraStage(muvera()), [0.0])], candidates=7, fusion="rrf", filter=None, params=said)

    assert branch.params is not None
    assert branch.params.hnsw_ef == 1_000


@pytest.mark.parametrize(
    ("asked", "links", "effort"),
    [(None, 64, None), (models.HnswConfigDiff(m=48), 48, None), (models.HnswConfigDiff(ef_construct=400), 64, 400)],
)
def test_muveras_graph_is_larger_than_qdrants_own(
    make_collection: Make, asked: models.HnswConfigDiff | None, links: int, effort: int | None
) -> None:
    collection = make_collection(stages=[muvera()], storage=Storage(hnsw=asked))

    info = collection.engine.call("get_collection", {"collection_name": collection.layout.name})

    graph = info.config.params.vectors["muvera"].hnsw_config
    assert (graph.m, graph.ef_construct) == (links, effort)
    assert info.config.params.vectors["colbert"].hnsw_config.m == 0


def test_a_server_too_old_for_muveras_queries_is_told_of(words: WordEmbedder) -> None:
    class OldServer(QdrantClient):
        def create_collection(self, collection_name: str, **arguments: Any) -> bool:
            arguments["vectors_config"]["muvera"].quantization_config.binary.query_encoding = None
            return super().create_collection(collection_name, **arguments)

    with pytest.warns(UserWarning, match=r"'muvera' will be poor.*Qdrant 1\.15"):
        MultivectorCollection("old", words, client=OldServer(":memory:"), stages=[muvera()])


def test_search_finds_the_same_after_its_indexes_are_built(make_collection: Make) -> None:
    collection = make_collection(stages=[muvera()])
    collection.add(TEXTS, ids=IDS)
    before = [hit.id for hit in collection.search("red violin", limit=1)]

    collection.optimize()

    assert [hit.id for hit in collection.search("red violin", limit=1)] == before


class TestWhatEncodersGive:
    """NaN, too few and too many are refused by name; what is good beside them is stored."""

    def test_a_document_whose_dense_vector_is_no_number_is_left_out_by_name(self, make_collection: Make) -> None:
        def poisoned(texts: list[str]) -> list[np.ndarray]:
            return [
                np.full(16, np.nan) if "bad" in text else vector
                for text, vector in zip(texts, mean_vector(texts), strict=True)
            ]

        collection = make_collection(stages=[Dense(poisoned, dim=16)])

        with pytest.raises(InvalidInput, match=r"text 1 \(id '2'\): the vector of stage 'dense' .* NaN or infinite"):
            collection.add(["good", "bad"], ids=["1", "2"])
        assert collection.count() == 0
        report = collection.add(["good", "bad"], ids=["1", "2"], on_error="skip")

        assert (report.ids, [failure.id for failure in report.failed]) == (["1"], ["2"])
        assert [record.id for record in collection.scroll()] == ["1"]

    def test_a_stage_is_not_added_where_its_vectors_are_no_numbers(self, make_collection: Make) -> None:
        collection = make_collection()
        collection.add(["good"], ids=["1"])

        with pytest.raises(InvalidInput, match=r"id '1': the vector of stage 'dense' .* NaN or infinite"):
            collection.add_stage(Dense(lambda texts: [np.full(16, np.inf)] * len(texts), dim=16))

        assert collection.layout.stages == ()

    @pytest.mark.parametrize("given", [[], [np.ones(16)] * 2, [np.ones(3)], [np.full(16, np.nan)], ["a"]])
    def test_a_query_whose_dense_vector_is_none_is_refused(self, given: list[Any], words: WordEmbedder) -> None:
        class Encoder:
            def embed_documents(self, texts: list[str]) -> list[np.ndarray]:
                return mean_vector(texts)

            def embed_query(self, text: str) -> Any:
                return given[0] if len(given) == 1 else given

        collection = MultivectorCollection("queries", words, stages=[Dense(Encoder(), dim=16)])

        with pytest.raises(InvalidInput, match="stage 'dense': the query"):
            collection.search("red violin")

    @pytest.mark.parametrize(
        ("count", "reason"), [(1, "gave 1 results for 2 texts"), (3, "gave more results than 2 texts")]
    )
    def test_a_stage_gives_one_vector_each(self, words: WordEmbedder, count: int, reason: str) -> None:
        class Counting(Dense):
            def encode_documents(self, texts: Any, multivectors: Any) -> list[Any]:
                return [np.ones(16, np.float32)] * count

        collection = MultivectorCollection("counted", words, stages=[Counting(mean_vector, dim=16)])

        with pytest.raises(InvalidInput, match=f"stage 'dense' {reason}"):
            collection.add(["a", "b"])
        assert collection.count() == 0


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Bm25(language="klingon"), "language='klingon'.*english"),
        (lambda: Bm25(average_length=0), "average_length=0"),
        (lambda: Bm25(average_length=float("nan")), "average_length=nan"),
        (lambda: Bm25(average_length="256"), "average_length='256'"),
        (lambda: Dense(mean_vector, dim=0), "dim=0"),
        (lambda: Dense(mean_vector, dim=100_000), "65,536"),
        (lambda: as_stages([Bm25]), "Bm25 is a class.*Bm25"),
        (lambda: as_stages(Bm25()), r"stages=\[...\]"),
    ],
)
def test_a_stage_that_can_not_work_is_refused_when_it_is_made(make: Callable[[], Any], reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        make()


@pytest.mark.parametrize("language", ["english", "german", "chinese"])
def test_languages_that_qdrant_knows_are_taken(language: str) -> None:
    Bm25(language=language)


@needs_server
def test_a_server_encodes_bm25_as_the_embedded_engine_does(tmp_path: Path, words: WordEmbedder) -> None:
    name, texts = f"test-{uuid.uuid4().hex[:12]}", [*TEXTS, "The running engines were running; a red, RED apple."]
    stage = Bm25()
    found = []
    for place in (server_place(), {"path": tmp_path}):
        with MultivectorCollection(name, words, stages=[stage], **place) as collection:
            collection.add(texts, ids=[str(number) for number in range(len(texts))])
            question = stage.encode_query("red apples, engines run", np.empty((0, 16)))
            if "path" in place:
                question = bm25_vector(question, is_query=True)
            asked = {"collection_name": name, "query": question, "using": stage.name, "limit": 20}
            found.append({point.id: point.score for point in collection.engine.call("query_points", asked).points})
            if "url" in place:
                collection.drop()

    on_server, embedded = found
    assert len(on_server) > 5
    assert on_server == pytest.approx(embedded, rel=1e-4)
