"""Three nodes of the tests' own, started from QDRANT_BINARY: shards, copies and keys, with nodes that come and go."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import QdrantClient, models

from colbert_qdrant import AsyncMultivectorCollection, Bm25, ColbertEmbedder, MultivectorCollection, Muvera, Storage
from colbert_qdrant.errors import EngineUnavailable, InvalidInput
from conftest import WordEmbedder
from servers import CLUSTER_SETTINGS, Cluster, needs_binary, node_command, own_cluster

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests/benchmarks"))

TEXTS = ["red apple", "blue sky", "green hill"]


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with own_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture(params=["REST", "gRPC"])
def place(request: pytest.FixtureRequest, nodes: Cluster) -> dict[str, Any]:
    if request.param == "REST":
        return {"url": nodes.url(0)}
    return {"url": nodes.url(0), "prefer_grpc": True, "client_options": {"grpc_port": nodes.ports[0] + 1}}


@pytest.fixture
def name() -> str:
    return f"test-{uuid.uuid4().hex[:12]}"


@needs_binary
@pytest.mark.parametrize("factor", [1, 2])
def test_nothing_acknowledged_is_lost_while_nodes_come_and_go(tmp_path: Path, factor: int) -> None:
    from cluster import AFTER, BEFORE, KILLED, LEAVING, run

    with own_cluster(tmp_path) as cluster:
        outcome = run(cluster, 2_000, factor=factor, seconds=2)

    assert (outcome.lost, outcome.failed_searches, outcome.restored) == (0, 0, 2_000), outcome.reasons
    for phase in (BEFORE, KILLED, LEAVING, AFTER):
        assert outcome.searches[phase], f"no search while {phase}"
        assert outcome.shares[phase] == 1.0


@needs_binary
class TestShardKeys:
    @pytest.fixture
    def regions(
        self, name: str, place: dict[str, Any], words: WordEmbedder
    ) -> Iterator[tuple[MultivectorCollection, MultivectorCollection]]:
        options: dict[str, Any] = {"stages": [Muvera.from_embedder(words)], "storage": Storage(shard_number=2)}
        with (
            MultivectorCollection(name, words, **place, **options, shard_key="europe") as europe,
            MultivectorCollection(name, words, **place, shard_key="asia") as asia,
        ):
            europe.add(TEXTS, ids=["a", "b", "c"])
            asia.add(["red apple pie"], ids=["d"])
            yield europe, asia
            europe.drop()

    def test_what_is_added_lies_in_its_shards(self, regions: Any, nodes: Cluster) -> None:
        europe, _ = regions
        info = europe.engine.call("collection_cluster_info", {"collection_name": europe.name})
        shards = [*info.local_shards, *info.remote_shards]
        keys = {shard.shard_key: 0 for shard in shards}

        assert set(keys) == {"europe", "asia"}
        assert len(shards) == 4

    def test_each_finds_counts_and_reads_its_own(self, regions: Any) -> None:
        europe, asia = regions

        assert {hit.id for hit in europe.search("red apple", limit=9)} == {"a", "b", "c"}
        assert [hit.id for hit in asia.search("red apple", limit=9)] == ["d"]
        assert [[hit.id for hit in hits] for hits in asia.search_batch(["red", "apple"])] == [["d"], ["d"]]
        assert (europe.count(), asia.count()) == (3, 1)
        assert [record.id for record in asia.scroll()] == ["d"]
        assert asia.get(["a", "d"])[0].id == "d"
        assert set(asia.score("red apple", ["a", "d"])) == {"d"}

    def test_each_deletes_and_changes_its_own(self, regions: Any) -> None:
        europe, asia = regions

        asia.delete(["a"])
        asia.set_metadata(["a"], {"seen": True})
        asia.delete(filter=models.Filter())

        assert (europe.count(), asia.count()) == (3, 0)
        assert europe.get(["a"])[0].metadata == {}

    async def test_the_asynchronous_face_keeps_to_its_shard(
        self, regions: Any, place: dict[str, Any], words: WordEmbedder
    ) -> None:
        name = regions[0].name
        async with AsyncMultivectorCollection(name, words, **place, shard_key="asia") as asia:
            await asia.add(["red apple tart"], ids=["e"])

            assert {hit.id for hit in await asia.search("red apple", limit=9)} == {"d", "e"}
            await asia.delete(["a", "e"])
            assert await asia.count() == 1
        assert regions[0].count() == 3

    def test_a_tenant_has_a_shard_of_its_own(self, regions: Any, place: dict[str, Any], words: WordEmbedder) -> None:
        name = regions[0].name
        with MultivectorCollection(name, words, **place, tenant="ours", shard_key="ours") as ours:
            ours.add(["red apple cake"], ids=["a"])

            assert [hit.text for hit in ours.search("red apple")] == ["red apple cake"]
            ours.delete(filter=models.Filter())
            assert ours.count() == 0
        assert regions[0].count() == 3

    def test_langchain_keeps_to_it(self, regions: Any, place: dict[str, Any], words: WordEmbedder) -> None:
        langchain = pytest.importorskip("langchain_colbert_qdrant")
        asia = langchain.ColbertQdrantVectorStore(regions[0].name, words, **place, shard_key="asia")

        asia.add_texts(["red apple tart"], ids=["e"])
        found = {document.id for document in asia.similarity_search("red apple", k=9)}
        asia.delete(["a", "e"])

        assert found == {"d", "e"}
        assert (regions[0].count(), regions[1].count()) == (3, 1)

    @pytest.mark.parametrize("consistency", ["all", "majority", models.ReadConsistencyType.QUORUM, 1])
    def test_each_asks_as_many_copies_as_it_is_told_to(self, regions: Any, consistency: Any) -> None:
        europe, _ = regions

        assert len(europe.search("red apple", limit=9, consistency=consistency)) == len(TEXTS)
        assert len(europe.search_batch(["red", "sky"], limit=9, consistency=consistency)[1]) == len(TEXTS)

    def test_langchain_asks_all_copies_where_it_is_told_to(
        self, regions: Any, place: dict[str, Any], words: WordEmbedder
    ) -> None:
        langchain = pytest.importorskip("langchain_colbert_qdrant")
        asia = langchain.ColbertQdrantVectorStore(regions[0].name, words, **place, shard_key="asia")

        assert [document.id for document in asia.similarity_search("red apple", k=9, consistency="all")] == ["d"]

    def test_llama_index_keeps_to_it(self, regions: Any, place: dict[str, Any], words: WordEmbedder) -> None:
        adapter = pytest.importorskip("llama_index_colbert_qdrant")
        from llama_index.core.schema import TextNode
        from llama_index.core.vector_stores import VectorStoreQuery

        asia = adapter.ColbertQdrantVectorStore(regions[0].name, embedder=words, **place, shard_key="asia")
        asia.add([TextNode(text="red apple tart", id_="e")])
        found = asia.query(VectorStoreQuery(query_str="red apple", similarity_top_k=9))
        asia.delete_nodes(["a", "e"])

        assert set(found.ids) == {"d", "e"}
        assert (regions[0].count(), regions[1].count()) == (3, 1)


@contextmanager
def without_node(nodes: Cluster, name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Kill a node for a while; what fails meanwhile is tried again at once."""
    nodes.kill(2)
    try:
        with monkeypatch.context() as patch:
            patch.setattr("time.sleep", lambda seconds: None)
            yield
    finally:
        nodes.start(2)
    nodes.await_active(name)


def held_by_all(collection: MultivectorCollection, vector: str) -> int:
    """Return how many points have a vector in all copies."""
    having = models.Filter(must=[models.HasVectorCondition(has_vector=vector)])
    arguments = {"collection_name": collection.name, "scroll_filter": having, "limit": 1_000, "consistency": 2}
    return len(collection.engine.call("scroll", arguments)[0])


def held_by_any(nodes: Cluster, name: str) -> set[str]:
    """Return the ids of what any copy has: each node answers from its own, where it has one."""
    ids = set()
    for node in range(3):
        with closing(QdrantClient(nodes.url(node))) as client:
            ids |= {record.payload["_id"] for record in client.scroll(name, limit=1_000)[0]}
    return ids


def lose(collection: MultivectorCollection, vector: str) -> None:
    """Take a vector from all points, as those that another program wrote never had it."""
    collection.engine.call(
        "delete_vectors",
        {"collection_name": collection.name, "vectors": [vector], "points": models.Filter(), "wait": True},
    )


def make_single_vectors(client: QdrantClient, name: str, texts: Sequence[str]) -> None:
    """Make a collection as langchain-qdrant does, of two copies, both of which are to take a write."""
    client.create_collection(
        name,
        vectors_config=models.VectorParams(size=4, distance=models.Distance.COSINE),
        shard_number=6,
        replication_factor=2,
        write_consistency_factor=2,
    )
    written = [
        models.PointStruct(id=number, vector=[1.0] * 4, payload={"page_content": text, "metadata": {}})
        for number, text in enumerate(texts)
    ]
    client.upsert(name, written, wait=True)


@needs_binary
class TestConsistency:
    WORDS = tuple(f"word {number}" for number in range(40))

    @pytest.fixture
    def copied(self, name: str, place: dict[str, Any], words: WordEmbedder) -> Iterator[Any]:
        """Collections of two copies, a write to be taken by so many of them."""
        opened: list[MultivectorCollection] = []

        def collection(factor: int, embedder: Any = words) -> MultivectorCollection:
            storage = Storage(shard_number=6, replication_factor=2, write_consistency_factor=factor)
            opened.append(MultivectorCollection(f"{name}-{factor}", embedder, **place, storage=storage))
            return opened[-1]

        yield collection
        for each in opened:
            each.drop()
            each.close()

    def test_a_write_that_one_copy_is_to_take_goes_on_without_a_dead_node(self, copied: Any, nodes: Cluster) -> None:
        lax = copied(1)
        nodes.kill(2)
        try:
            assert lax.add(self.WORDS).added == 40
            assert lax.add(self.WORDS).unchanged == 40  # the dead copies are made again from the others
            assert lax.search("word 7", limit=1)[0].text == "word 7"
        finally:
            nodes.start(2)
        nodes.await_active(lax.name)

        assert [lax.count() for _ in range(9)] == [40] * 9
        assert lax.search("word 7", limit=1, consistency="all")[0].text == "word 7"

    def test_a_write_that_both_copies_are_to_take_waits_for_a_dead_node(
        self, copied: Any, nodes: Cluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        strict = copied(2)
        with without_node(nodes, strict.name, monkeypatch):
            for _ in range(2):  # the second time, too, though one copy has what was refused
                with pytest.raises(EngineUnavailable, match="failed to apply"):
                    strict.add(self.WORDS)

        assert strict.add(self.WORDS).stored == 40
        assert [strict.count() for _ in range(9)] == [40] * 9
        assert len(strict.search("word", limit=50, consistency="all")) == 40

    @pytest.mark.parametrize("again", ["add_stage", "add"])
    def test_a_stage_that_one_copy_missed_is_completed(
        self, copied: Any, nodes: Cluster, monkeypatch: pytest.MonkeyPatch, again: str
    ) -> None:
        strict = copied(2)
        strict.add(self.WORDS)
        strict.add_stage(Bm25())
        lose(strict, "bm25")
        with without_node(nodes, strict.name, monkeypatch), pytest.raises(EngineUnavailable, match="failed to apply"):
            strict.add_stage(Bm25())

        if again == "add":
            assert strict.add(self.WORDS).unchanged == 40
        else:
            strict.add_stage(Bm25())

        assert held_by_all(strict, "bm25") == 40

    def test_an_upgrade_that_one_copy_missed_is_completed_by_another_run(
        self, name: str, place: dict[str, Any], nodes: Cluster, words: WordEmbedder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        reports: list[Any] = []

        def upgrade() -> MultivectorCollection:
            return MultivectorCollection.upgrade(name, words, **place, progress=reports.append)

        with closing(QdrantClient(nodes.url(0))) as client:
            make_single_vectors(client, name, self.WORDS)
            with upgrade() as docs:
                assert (reports[-1].encoded, reports[-1].unchanged) == (40, 0)
                lose(docs, "colbert")
                with without_node(nodes, name, monkeypatch), pytest.raises(EngineUnavailable, match="failed to apply"):
                    upgrade()
                missed = 40 - held_by_all(docs, "colbert")

                for expected in ((missed, 40 - missed), (0, 40)):
                    upgrade().close()
                    assert (reports[-1].encoded, reports[-1].unchanged) == expected
                    assert held_by_all(docs, "colbert") == 40
                docs.drop()

    def test_documents_that_one_copy_missed_are_stored_again_and_what_they_have_no_longer_goes_from_all(
        self, copied: Any, nodes: Cluster, offline: ColbertEmbedder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        adapter = pytest.importorskip("llama_index_colbert_qdrant")
        from llama_index.core.schema import Document

        documents = [Document(id_=text, text=text) for text in self.WORDS]
        strict = copied(2, offline)
        store = adapter.ColbertQdrantVectorStore.of(strict)
        store.as_index().insert_documents(documents[:1])  # which indexes the payload, too

        with without_node(nodes, strict.name, monkeypatch), pytest.raises(EngineUnavailable, match="failed to apply"):
            store.as_index().insert_documents(documents)
        assert any(store.as_index().refresh_ref_docs(documents))
        assert len(list(strict.scroll(agreed=True))) == 40

        with without_node(nodes, strict.name, monkeypatch), pytest.raises(EngineUnavailable, match="failed to apply"):
            store.keep_only([], of=self.WORDS)
        assert held_by_any(nodes, strict.name)
        store.keep_only([], of=self.WORDS)
        assert not held_by_any(nodes, strict.name)


@pytest.mark.parametrize("consistency", ["most", 0, True, 1.5])
def test_a_consistency_that_is_none_is_refused(words: WordEmbedder, consistency: Any) -> None:
    with pytest.raises(InvalidInput, match="consistency="):
        MultivectorCollection("docs", words).search("red apple", consistency=consistency)


@needs_binary
def test_the_example_runs_as_it_stands(nodes: Cluster) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples/cluster.py"), "--url", nodes.url(1)],
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode == 0, done.stderr
    assert "5 films in 6 shards, two copies of each" in done.stdout


@pytest.mark.parametrize("file", ["one.yaml", "compose.yaml"])
def test_compose_files_state_what_the_tests_start(file: str) -> None:
    yaml = pytest.importorskip("yaml")
    services = yaml.safe_load((ROOT / "examples/cluster" / file).read_text(encoding="utf-8"))["services"]
    is_cluster = file == "compose.yaml"
    first, *_ = services

    assert len(services) == (3 if is_cluster else 1)
    for service, stated in services.items():
        uri, bootstrap = (f"http://{each}:6335" for each in (service, first))
        arguments = node_command(uri, None if service == first else bootstrap) if is_cluster else []
        assert stated["command"].split() == ["./qdrant", *arguments]
        settings = {"telemetry_disabled": "true"}
        if is_cluster:
            settings |= {**CLUSTER_SETTINGS, "cluster__p2p__port": "6335"}
        assert stated["environment"] == {f"QDRANT__{key.upper()}": value for key, value in settings.items()}
        assert all(port.startswith("127.0.0.1:") for port in stated["ports"])
        assert stated["image"] == "qdrant/qdrant:v1.19.0"
