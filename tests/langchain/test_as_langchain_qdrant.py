"""Programs written for langchain-qdrant's `QdrantVectorStore`: its arguments, methods and answers, over token vectors.

The cases are those of its integration tests, told anew. What can't mean anything for token vectors is at the end, each
with the refusal that it meets.
"""

from __future__ import annotations

import inspect
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from qdrant_client import AsyncQdrantClient, QdrantClient, models

from colbert_qdrant.errors import CollectionMismatch, CollectionNotFound, EngineError, InvalidInput
from conftest import WordEmbedder, shown
from langchain_colbert_qdrant import ColbertQdrantVectorStore

TEXTS = ["red apple", "green pear", "yellow plum"]
UUIDS = [f"fa38d572-4c31-4579-aedc-1960d79df6d{number}" for number in range(3)]
PAGES = [{"page": page, "more": {"page": page + 1, "pages": [page + 2, -1]}} for page in range(3)]

VECTOR_NAMES = pytest.mark.parametrize("vector_name", ["", "my-vector"])
BATCH_SIZES = pytest.mark.parametrize("batch_size", [1, 64])
CONTENT_KEYS = pytest.mark.parametrize("content_key", [ColbertQdrantVectorStore.CONTENT_KEY, "text"])
METADATA_KEYS = pytest.mark.parametrize("metadata_key", [ColbertQdrantVectorStore.METADATA_KEY, "about"])

Open = Callable[..., Awaitable[ColbertQdrantVectorStore]]
Call = Callable[..., Awaitable[Any]]


class LongerWords(WordEmbedder):
    """Another model: its vectors are longer."""

    model_name = "longer words"
    dim = 24


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Call:
    """Call a method of a store, or its asynchronous twin."""
    prefix = "a" if request.param == "async" else ""

    async def called(owner: Any, method: str, *arguments: Any, **keywords: Any) -> Any:
        answer = getattr(owner, prefix + method)(*arguments, **keywords)
        return await answer if inspect.isawaitable(answer) else answer

    return called


@pytest.fixture
async def from_texts(call: Call, place: dict[str, Any], words: WordEmbedder) -> Any:
    """Open a store of texts, of a name of its own."""
    stores: list[ColbertQdrantVectorStore] = []

    async def opened(texts: list[str] = TEXTS, embedding: Any = words, **options: Any) -> ColbertQdrantVectorStore:
        options.setdefault("collection_name", f"test-{uuid.uuid4().hex[:12]}")
        stores.append(await call(ColbertQdrantVectorStore, "from_texts", texts, embedding, **place, **options))
        return stores[-1]

    yield opened
    for store in stores:
        if "url" in place and store.collection_name in store.collection.list(**place):
            store.delete_collection()
        store.close()


def count(store: ColbertQdrantVectorStore) -> int:
    answer: int = store.client.count(collection_name=store.collection_name).count
    return answer


def texts(documents: list[Document]) -> list[str]:
    return [document.page_content for document in documents]


def on_page(page: int, metadata_key: str = "metadata") -> models.Filter:
    return models.Filter(must=[models.FieldCondition(key=f"{metadata_key}.page", match=models.MatchValue(value=page))])


class TestFromTexts:
    async def test_stores_the_texts(self, from_texts: Open) -> None:
        assert count(await from_texts()) == 3

    @VECTOR_NAMES
    @BATCH_SIZES
    async def test_stores_under_the_ids(self, from_texts: Open, vector_name: str, batch_size: int) -> None:
        store = await from_texts(ids=[UUIDS[0], 786, UUIDS[1]], vector_name=vector_name, batch_size=batch_size)

        points = store.client.retrieve(collection_name=store.collection_name, ids=[UUIDS[0], 786, UUIDS[1]])
        assert {point.id for point in points} == {UUIDS[0], 786, UUIDS[1]}

    @VECTOR_NAMES
    async def test_names_the_vector(self, from_texts: Open, vector_name: str) -> None:
        store = await from_texts(vector_name=vector_name)

        points, _ = store.client.scroll(collection_name=store.collection_name, limit=10, with_vectors=True)
        assert store.vector_name == vector_name
        assert (store.content_payload_key, store.metadata_payload_key) == ("page_content", "metadata")
        assert all(vector_name in point.vector if vector_name else len(point.vector) == 2 for point in points)

    @VECTOR_NAMES
    async def test_adds_to_a_collection_that_is_there(self, from_texts: Open, vector_name: str) -> None:
        store = await from_texts(vector_name=vector_name)

        again = await from_texts(["one", "two"], collection_name=store.collection_name, vector_name=vector_name)

        assert count(again) == 5

    @VECTOR_NAMES
    async def test_another_dimension_is_an_error(self, from_texts: Open, vector_name: str) -> None:
        name = (await from_texts(vector_name=vector_name)).collection_name

        with pytest.raises(CollectionMismatch, match="16 dimensions, the model's 24"):
            await from_texts(embedding=LongerWords(), collection_name=name, vector_name=vector_name)

    @pytest.mark.parametrize("names", [("", "custom"), ("custom", ""), ("first", "second")], ids=str)
    async def test_another_vector_name_is_an_error(self, from_texts: Open, names: tuple[str, str]) -> None:
        name = (await from_texts(vector_name=names[0])).collection_name

        with pytest.raises(CollectionMismatch, match="it has no vector"):
            await from_texts(collection_name=name, vector_name=names[1])

    @VECTOR_NAMES
    async def test_recreates_when_forced(self, from_texts: Open, vector_name: str) -> None:
        name = (await from_texts(vector_name=vector_name)).collection_name

        longer = {"embedding": LongerWords(), "collection_name": name, "vector_name": vector_name}
        store = await from_texts(["one", "two"], force_recreate=True, **longer)

        assert count(store) == 2

    @pytest.mark.parametrize(
        "wrong", [{"ids": ["one"]}, {"metadatas": [{"x": object()}] * 3}, {"embedding": None}, {"top_k": 3}], ids=shown
    )
    async def test_recreates_nothing_for_what_could_not_be_stored(
        self, from_texts: Open, wrong: dict[str, Any]
    ) -> None:
        store = await from_texts()

        with pytest.raises((InvalidInput, TypeError)):
            await from_texts(collection_name=store.collection_name, force_recreate=True, **wrong)

        assert count(store) == 3

    @CONTENT_KEYS
    @METADATA_KEYS
    @VECTOR_NAMES
    async def test_stores_the_metadata(
        self, from_texts: Open, call: Call, content_key: str, metadata_key: str, vector_name: str
    ) -> None:
        keys = {"content_payload_key": content_key, "metadata_payload_key": metadata_key}
        store = await from_texts(metadatas=PAGES, vector_name=vector_name, **keys)

        [found] = await call(store, "similarity_search", "red apple", 1)

        assert (found.page_content, found.metadata) == ("red apple", PAGES[0])

    @pytest.mark.filterwarnings("ignore:qdrant-client's local mode stores vectors as they are")
    async def test_creates_with_the_options(self, from_texts: Open) -> None:
        store = await from_texts(collection_create_options={"on_disk_payload": True}, vector_params={"on_disk": True})

        assert store.collection.storage.on_disk
        assert store.collection.storage.on_disk_payload

    async def test_attaches_to_what_exists(self, from_texts: Open, call: Call, place: Any, words: Any) -> None:
        name = (await from_texts(["one"])).collection_name

        store = await call(ColbertQdrantVectorStore, "from_existing_collection", name, words, **place)
        await call(store, "add_texts", ["two", "three"])

        assert count(store) == 3


class TestAddTexts:
    @VECTOR_NAMES
    async def test_extends_the_collection(self, from_texts: Open, call: Call, vector_name: str) -> None:
        store = await from_texts(vector_name=vector_name)

        await call(store, "add_documents", [Document("ripe melon"), Document("sour lime")])

        assert texts(await call(store, "similarity_search", "ripe melon", k=1)) == ["ripe melon"]

    @VECTOR_NAMES
    @BATCH_SIZES
    async def test_returns_all_ids(self, from_texts: Open, call: Call, vector_name: str, batch_size: int) -> None:
        store = await from_texts(vector_name=vector_name)

        ids = await call(store, "add_texts", ["one", "two", "three"], None, None, batch_size)

        assert len(set(ids)) == 3
        assert texts(await call(store, "get_by_ids", ids)) == ["one", "two", "three"]

    async def test_stores_the_same_text_twice(self, from_texts: Open, call: Call) -> None:
        store = await from_texts([])

        ids = await call(store, "add_texts", ["abc", "abc"], [{"a": 1}, {"a": 2}])

        assert len(set(ids)) == count(store) == 2

    @VECTOR_NAMES
    @BATCH_SIZES
    async def test_ids_by_position(self, from_texts: Open, call: Call, vector_name: str, batch_size: int) -> None:
        store = await from_texts([], vector_name=vector_name)

        await call(store, "add_texts", TEXTS, PAGES, [UUIDS[0], 432, 432145435], batch_size)

        assert len(await call(store, "get_by_ids", [UUIDS[0], 432, 432145435])) == 3


class TestDeleting:
    @VECTOR_NAMES
    async def test_by_id(self, from_texts: Open, call: Call, vector_name: str) -> None:
        store = await from_texts(ids=UUIDS, vector_name=vector_name)

        assert await call(store, "delete", [UUIDS[0]]) is True
        assert count(store) == 2
        assert await call(store, "delete", ids=UUIDS[1:]) is True
        assert count(store) == 0

    async def test_by_integer(self, from_texts: Open, call: Call) -> None:
        store = await from_texts(ids=[1, 2, 3])

        await call(store, "delete", [1, 2])

        assert texts(await call(store, "get_by_ids", [1, 2, 3])) == TEXTS[2:]

    async def test_the_collection(self, from_texts: Open, call: Call) -> None:
        store = await from_texts()

        await call(store, "delete_collection")

        with pytest.raises(CollectionNotFound):
            store.similarity_search("apple")


class TestGetting:
    @VECTOR_NAMES
    async def test_by_ids(self, from_texts: Open, call: Call, vector_name: str) -> None:
        store = await from_texts(ids=UUIDS, vector_name=vector_name)

        assert texts(await call(store, "get_by_ids", [UUIDS[0], UUIDS[2]])) == [TEXTS[0], TEXTS[2]]

    @pytest.mark.parametrize("missing", [[], [str(uuid.UUID(int=1))]], ids=["none", "unknown"])
    async def test_what_is_missing_is_left_out(self, from_texts: Open, call: Call, missing: list[str]) -> None:
        assert await call(await from_texts(), "get_by_ids", missing) == []


class TestSearching:
    @VECTOR_NAMES
    @BATCH_SIZES
    async def test_by_text(self, from_texts: Open, call: Call, vector_name: str, batch_size: int) -> None:
        store = await from_texts(vector_name=vector_name, batch_size=batch_size)

        assert texts(await call(store, "similarity_search", "green pear", 1)) == ["green pear"]

    @CONTENT_KEYS
    @METADATA_KEYS
    @VECTOR_NAMES
    async def test_by_vector(
        self, from_texts: Open, call: Call, words: Any, content_key: str, metadata_key: str, vector_name: str
    ) -> None:
        keys = {"content_payload_key": content_key, "metadata_payload_key": metadata_key}
        store = await from_texts(vector_name=vector_name, **keys)
        [vectors] = words.query_embed("green pear")

        found = await call(store, "similarity_search_by_vector", vectors.tolist(), 1)
        [(scored, score)] = await call(store, "similarity_search_with_score_by_vector", vectors.tolist(), 1)

        assert texts(found) == texts([scored]) == ["green pear"]
        assert score == pytest.approx(1, abs=1e-3)

    @CONTENT_KEYS
    @METADATA_KEYS
    async def test_by_filter(self, from_texts: Open, call: Call, content_key: str, metadata_key: str) -> None:
        keys = {"content_payload_key": content_key, "metadata_payload_key": metadata_key}
        store = await from_texts(metadatas=PAGES, **keys)
        matches = {content_key: "green pear", f"{metadata_key}.page": 1, f"{metadata_key}.more.page": 2}
        conditions = [models.FieldCondition(key=k, match=models.MatchValue(value=v)) for k, v in matches.items()]
        element = models.FieldCondition(key=f"{metadata_key}.more.pages", match=models.MatchAny(any=[3]))

        found = await call(store, "similarity_search", "red apple", 3, models.Filter(must=[*conditions, element]))

        assert [(document.page_content, document.metadata) for document in found] == [("green pear", PAGES[1])]

    async def test_a_filter_of_langchains_other_stores(self, from_texts: Open, call: Call) -> None:
        store = await from_texts(metadatas=PAGES)

        assert texts(await call(store, "similarity_search", "red apple", 3, {"page": {"$gte": 2}})) == ["yellow plum"]

    @VECTOR_NAMES
    async def test_relevance_is_between_0_and_1(self, from_texts: Open, call: Call, vector_name: str) -> None:
        store = await from_texts(vector_name=vector_name)

        found = await call(store, "similarity_search_with_relevance_scores", "red apple", k=3, score_threshold=None)

        assert len(found) == 3
        assert all(0 <= score <= 1 for _, score in found)

    @VECTOR_NAMES
    @pytest.mark.parametrize("method", ["similarity_search_with_relevance_scores", "similarity_search_with_score"])
    async def test_a_threshold(self, from_texts: Open, call: Call, vector_name: str, method: str) -> None:
        store = await from_texts(vector_name=vector_name)

        [(found, score)] = await call(store, method, "red apple", k=3, score_threshold=0.99)

        assert (found.page_content, score >= 0.99) == ("red apple", True)

    @METADATA_KEYS
    @VECTOR_NAMES
    async def test_a_threshold_and_a_filter(
        self, from_texts: Open, call: Call, metadata_key: str, vector_name: str
    ) -> None:
        store = await from_texts(metadatas=PAGES, vector_name=vector_name, metadata_payload_key=metadata_key)

        async def search(page: int) -> list[Any]:
            keywords = {"k": 3, "score_threshold": 0.99, "filter": on_page(page, metadata_key)}
            found: list[Any] = await call(store, "similarity_search_with_relevance_scores", "red apple", **keywords)
            return found

        assert (len(await search(1)), len(await search(0))) == (0, 1)

    @CONTENT_KEYS
    @METADATA_KEYS
    @VECTOR_NAMES
    async def test_diversity(
        self, from_texts: Open, call: Call, content_key: str, metadata_key: str, vector_name: str
    ) -> None:
        keys = {"content_payload_key": content_key, "metadata_payload_key": metadata_key}
        corpus = ["red apple", "red red apple", "yellow plum"]
        store = await from_texts(corpus, metadatas=PAGES, vector_name=vector_name, **keys)
        search = {"k": 2, "fetch_k": 3, "lambda_mult": 0.0}

        diverse = await call(store, "max_marginal_relevance_search", "red apple", **search)
        filtered = await call(
            store, "max_marginal_relevance_search", "red apple", filter=on_page(2, metadata_key), **search
        )

        assert texts(diverse)[1] == "yellow plum"
        assert texts(filtered) == ["yellow plum"]

    async def test_other_keywords(self, from_texts: Open, call: Call) -> None:
        fusion = models.FusionQuery(fusion=models.Fusion.DBSF)
        exact = models.SearchParams(exact=True)

        found = await call(await from_texts(), "similarity_search", "red apple", 2, None, search_params=exact, offset=1)
        fused = await call(await from_texts(), "similarity_search", "red apple", 1, hybrid_fusion=fusion)

        assert (len(found), texts(fused)) == (2, ["red apple"])


class TestAttributes:
    async def test_of_langchain_qdrant(self, from_texts: Open, words: WordEmbedder) -> None:
        store = await from_texts()

        assert store.embeddings is words
        assert store.client.collection_exists(collection_name=store.collection_name)
        assert store.as_retriever().tags == ["ColbertQdrantVectorStore", "WordEmbedder"]
        assert (store.CONTENT_KEY, store.METADATA_KEY) == ("page_content", "metadata")
        assert store.vector_name == store.VECTOR_NAME


class TestConstructor:
    @pytest.mark.parametrize("named", [0, 1, 2, 3])
    def test_the_client_may_stand_first(self, words: WordEmbedder, named: int) -> None:
        client = QdrantClient(":memory:")
        arguments = {"client": client, "collection_name": "fruits", "embedding": words}
        positional = list(arguments.values())[: 3 - named]
        keywords = dict(list(arguments.items())[3 - named :])

        store = ColbertQdrantVectorStore(*positional, **keywords)

        assert (store.client, store.collection_name, store.embeddings) == (client, "fruits", words)

    def test_all_of_langchain_qdrants_positions(self, words: WordEmbedder) -> None:
        cosine, client = models.Distance.COSINE, QdrantClient(":memory:")

        store = ColbertQdrantVectorStore(client, "fruits", words, "dense", "v", "text", "about", cosine, None)  # type: ignore[call-overload]

        assert (store.vector_name, store.collection.layout.content_key) == ("v", "text")

    def test_what_has_no_effect(self, words: WordEmbedder) -> None:
        options: dict[str, Any] = {"validate_embeddings": False, "validate_collection_config": True}

        ColbertQdrantVectorStore("fruits", words, distance=models.Distance.COSINE, retrieval_mode="dense", **options)

    def test_construct_instance(self, words: WordEmbedder) -> None:
        store = ColbertQdrantVectorStore.construct_instance(
            words, client_options={"location": ":memory:"}, collection_name="fruits", vector_name="v"
        )

        assert (store.collection_name, store.vector_name) == ("fruits", "v")

    @pytest.mark.parametrize(
        ("options", "url"),
        [
            ({"host": "127.0.0.1", "port": 1}, "http://127.0.0.1:1"),
            ({"host": "127.0.0.1", "port": 1, "https": True}, "https://127.0.0.1:1"),
            ({"location": "http://127.0.0.1:1", "prefix": "qdrant"}, "http://127.0.0.1:1/qdrant"),
            ({"url": "http://127.0.0.1:1", "grpc_port": 2, "pool_size": 4}, "http://127.0.0.1:1"),
            ({"url": "http://127.0.0.1:1", "headers": {"x": "y"}, "verify": False}, "http://127.0.0.1:1"),
        ],
        ids=shown,
    )
    def test_ways_to_a_server(
        self, words: WordEmbedder, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], url: str
    ) -> None:
        asked: list[str] = []

        def no_answer(client: Any, *_: Any, **__: Any) -> Any:
            asked.append(client._client.rest_uri)
            raise ConnectionError

        monkeypatch.setattr(QdrantClient, "collection_exists", no_answer)

        with pytest.raises(EngineError):
            ColbertQdrantVectorStore("fruits", words, **options)

        assert asked == [url]

    async def test_an_asynchronous_client_beside_the_other(self, words: WordEmbedder, tmp_path: Path) -> None:
        beside = AsyncQdrantClient(":memory:")
        store = ColbertQdrantVectorStore(QdrantClient(":memory:"), "fruits", words, async_client=beside)
        await beside.create_collection("fruits", models.VectorParams(size=16, distance=models.Distance.COSINE))

        face = store.collection.as_async()
        await store.aclose()

        assert face.engine.client is beside  # type: ignore[attr-defined]
        assert await beside.collection_exists("fruits")  # it is the caller's own: still open


class TestUpgraded:
    """A collection that langchain-qdrant made, its dense vectors and payload as it writes them."""

    @pytest.fixture
    def client(self) -> QdrantClient:
        client = QdrantClient(":memory:")
        client.create_collection("fruits", {"": models.VectorParams(size=8, distance=models.Distance.COSINE)})
        vectors = DeterministicFakeEmbedding(size=8).embed_documents(TEXTS)
        client.upsert(
            "fruits",
            [
                models.PointStruct(id=key, vector={"": vector}, payload={"page_content": text, "metadata": page})
                for key, vector, text, page in zip(UUIDS, vectors, TEXTS, PAGES, strict=True)
            ],
        )
        return client

    async def test_is_searched_and_filtered(self, client: QdrantClient, words: WordEmbedder, call: Call) -> None:
        store = await call(ColbertQdrantVectorStore, "upgrade", "fruits", words, client=client)

        [found] = await call(store, "similarity_search", "green pear", 1)
        filtered = await call(store, "similarity_search", "green pear", 3, {"page": {"$gt": 1}})

        assert found == Document(id=UUIDS[1], page_content="green pear", metadata=PAGES[1])
        assert texts(filtered) == ["yellow plum"]

    async def test_goes_by_the_ids_that_were_returned(
        self, client: QdrantClient, words: WordEmbedder, call: Call
    ) -> None:
        """They are ``uuid4().hex``, and Qdrant keeps the UUIDs."""
        returned, dense = [uuid.UUID(key).hex for key in UUIDS], DeterministicFakeEmbedding(size=8)
        store = await call(ColbertQdrantVectorStore, "upgrade", "fruits", words, dense=dense, client=client)

        assert texts(await call(store, "get_by_ids", returned)) == TEXTS
        await call(store, "delete", returned[:1])
        await call(store, "add_texts", ["green pear, ripe"], ids=[returned[1]])
        assert texts(await call(store, "get_by_ids", returned)) == ["green pear, ripe", *TEXTS[2:]]
        assert client.count("fruits").count == len(TEXTS) - 1


class Sparse:
    """Stands for a sparse embedding of langchain-qdrant."""


class TestRefused:
    """What asks for other vectors than token vectors, with what to write instead."""

    @pytest.mark.parametrize(
        ("options", "instead"),
        [
            ({"retrieval_mode": "sparse"}, r"stages=\[Bm25\(\)\]"),
            ({"retrieval_mode": "hybrid"}, "dense=embeddings, or both"),
            ({"sparse_embedding": Sparse()}, r"stages=\[Bm25\(\)\]"),
            ({"sparse_vector_name": "my-sparse-vector"}, r"stages=\[Bm25\(\)\]"),
            ({"distance": models.Distance.EUCLID}, "compared by cosine"),
            ({"collection_create_options": {"optimizers_config": {}}}, "storage=Storage"),
            ({"vector_params": {"hnsw_config": {}}}, "storage=Storage"),
        ],
        ids=shown,
    )
    async def test_options(self, from_texts: Open, options: dict[str, Any], instead: str) -> None:
        with pytest.raises(InvalidInput, match=instead):
            await from_texts(**options)

    @pytest.mark.parametrize(
        ("embedding", "instead"),
        [(None, "a ColbertEmbedder or the name of a model"), (DeterministicFakeEmbedding(size=16), "ColbertEmbedder")],
        ids=["none", "dense"],
    )
    async def test_embeddings(self, from_texts: Open, embedding: Any, instead: str) -> None:
        with pytest.raises(InvalidInput, match=instead):
            await from_texts(embedding=embedding)

    async def test_a_fusion_that_is_none(self, from_texts: Open, call: Call) -> None:
        store = await from_texts()

        with pytest.raises(InvalidInput, match="fusion='rrf'"):
            await call(store, "similarity_search", "apple", hybrid_fusion="rrf")

    def test_recreating_what_other_tenants_share(self, words: WordEmbedder) -> None:
        client = QdrantClient(":memory:")
        ColbertQdrantVectorStore(client, "fruits", words, tenant="a").add_texts(["red apple"])

        with pytest.raises(InvalidInput, match="all tenants' documents"):
            ColbertQdrantVectorStore(client, "fruits", words, tenant="b", force_recreate=True)

        assert client.count("fruits").count == 1

    def test_a_collection_of_dense_vectors(self, words: WordEmbedder) -> None:
        client = QdrantClient(":memory:")
        client.create_collection("fruits", models.VectorParams(size=16, distance=models.Distance.COSINE))

        with pytest.raises(CollectionMismatch, match="one vector a point, not a multivector"):
            ColbertQdrantVectorStore(client, "fruits", words)

    async def test_an_unknown_keyword(self, from_texts: Open) -> None:
        with pytest.raises(TypeError, match="'vector_nam'; did you mean vector_name"):
            await from_texts(vector_nam="v")
