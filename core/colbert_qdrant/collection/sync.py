"""MultivectorCollection: documents as token vectors in Qdrant, for callers that wait."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from qdrant_client import models

from colbert_qdrant._fork import renewed_after_fork
from colbert_qdrant.collection import administration, citing, ingest, operations, search_options, searching
from colbert_qdrant.collection.columns import Source
from colbert_qdrant.collection.driving import Driver
from colbert_qdrant.collection.engines import Place, connect
from colbert_qdrant.collection.ids import RecordId
from colbert_qdrant.collection.indexes import Index
from colbert_qdrant.collection.managed import ManagedCollection
from colbert_qdrant.collection.operations import Query
from colbert_qdrant.collection.points import Hit, Record
from colbert_qdrant.collection.progress import progress_bar
from colbert_qdrant.collection.reports import AddReport, Failure, OnError
from colbert_qdrant.collection.schema import DEFAULT_VECTOR, Layout
from colbert_qdrant.collection.search_options import SearchKeywords
from colbert_qdrant.collection.stages import StageLike, as_stages
from colbert_qdrant.collection.storage import Footprint, Storage
from colbert_qdrant.collection.tenants import check_tenant
from colbert_qdrant.embedders import as_embedder, check_collection_name, embedder_dim, embedder_settings
from colbert_qdrant.errors import InvalidInput
from colbert_qdrant.explanation import Explanation
from colbert_qdrant.microbatch import QueryBatcher
from colbert_qdrant.passages import EncodedText, Passage
from colbert_qdrant.types import Embedder

if TYPE_CHECKING:
    from qdrant_client import AsyncQdrantClient, QdrantClient

    from colbert_qdrant.collection.aio import AsyncMultivectorCollection


class MultivectorCollection(ManagedCollection):
    """A Qdrant collection of documents, each stored as one vector a token and found by MaxSim.

    The collection is created when it is missing. One that exists is attached to when it fits, also when it was
    made by hand with an unnamed multivector and a payload of its own.

    Parameters
    ----------
    name
        Of the collection.
    embedder
        A `ColbertEmbedder`, the name of a model, or any `Embedder`. ``None``: a collection that takes and gives
        vectors only, each of `dim` numbers.
    client, async_client, url, path, location, api_key, prefer_grpc, timeout, client_options
        Where the collection lives; see `Place`. By default in memory.
    vector_name
        Of the multivector; ``""``: the unnamed one.
    content_key, metadata_key
        Payload keys of the text and of the metadata, which the collection remembers.
    stages
        What finds the candidates that MaxSim then puts in order: `Muvera`, `Centroids`, `Dense`, `Sparse`, `Bm25`, or
        several. ``None``: as the collection was made; for a new one none, so that MaxSim answers over all documents.
    storage
        How a new collection is stored; see `Storage`.
    indexes
        Payload indexes by metadata key, such as ``{"year": "integer"}``; those that are missing are made. See
        `create_index`.
    tenant
        Whose collection this is: all that it adds is this tenant's, and nothing of another is found, read, changed
        or deleted through it, ids included: each tenant has ids of its own. What concerns the whole collection
        (`drop`, `add_stage`, ...) is refused. Without a tenant everything is seen, a tenant's records under the ids of
        their points.
    shard_key
        Keep to the shard of this key, which is made where it is missing; a new collection is sharded by keys. Of a
        cluster.
    create
        Make the collection where there is none.

    Raises
    ------
    CollectionMismatch
        The collection was made for other vectors, by another model or with other keys.
    CollectionNotFound
        There is none, and it is not to be created.
    EngineUnavailable
        The server does not answer.

    Notes
    -----
    Scores are MaxSim over cosine: for each query vector the similarity of the best document vector, summed, so at
    most the number of query vectors. https://qdrant.tech/documentation/concepts/vectors/#multivectors

    Examples
    --------
    >>> with MultivectorCollection("movies", "all-MiniLM-L6-v2-int8") as movies:
    ...     movies.add(["A soldier relives the same day.", "Toys are left at a day-care center."])
    ...     [hit] = movies.search("time loop", limit=1)
    ...     hit.text
    AddReport(added=2, updated=0, unchanged=0, encoded=2, failed=[])
    'A soldier relives the same day.'
    """

    def __init__(
        self,
        name: str,
        embedder: Embedder | str | None,
        *,
        dim: int | None = None,
        client: QdrantClient | None = None,
        async_client: AsyncQdrantClient | None = None,
        url: str | None = None,
        path: str | os.PathLike[str] | None = None,
        location: str | None = None,
        api_key: str | None = None,
        prefer_grpc: bool = False,
        timeout: float | None = None,
        client_options: Mapping[str, Any] | None = None,
        vector_name: str = DEFAULT_VECTOR,
        content_key: str = "page_content",
        metadata_key: str = "metadata",
        stages: Iterable[StageLike] | None = None,
        storage: Storage | None = None,
        indexes: Mapping[str, Index] | None = None,
        tenant: str | None = None,
        shard_key: str | int | None = None,
        create: bool = True,
    ) -> None:
        check_collection_name(name, embedder)
        self.place = Place(
            client=client,
            async_client=async_client,
            url=url,
            path=path,
            location=location,
            api_key=api_key,
            prefer_grpc=prefer_grpc,
            timeout=timeout,
            client_options=client_options,
        )
        self.embedder = as_embedder(embedder, dim)
        self.settings = embedder_settings(self.embedder)
        self.queries = QueryBatcher(self.embedder)
        self.storage = storage or Storage()
        size = embedder_dim(self.embedder)
        wanted = Layout(
            name,
            vector_name,
            content_key,
            metadata_key,
            size,
            as_stages(stages or ()),
            tenant=check_tenant(tenant),
            shard_key=shard_key,
        )
        self._begin_without_faces()
        renewed_after_fork(self)
        self.engine = connect(self.place)
        try:
            opening = administration.open_collection(
                wanted, self.settings, self.storage, indexes or {}, create=create, restore=stages is None
            )
            self.layout = Driver._run(self, opening)  # the whole collection's, whoever opens it
        except BaseException:
            self.close()
            raise

    def _renew_after_fork(self) -> None:
        """Let go of threads and event loops of the parent; see `colbert_qdrant._fork`."""
        super()._renew_after_fork()
        self._begin_without_faces()

    def _begin_without_faces(self) -> None:
        self._faces: dict[asyncio.AbstractEventLoop, AsyncMultivectorCollection] = {}
        self._making_a_face = threading.Lock()

    @property
    def name(self) -> str:
        """The collection's name."""
        return self.layout.name

    def add(
        self,
        texts: Iterable[str] | None = None,
        metadatas: Iterable[Mapping[str, Any] | None] | None = None,
        ids: Iterable[RecordId | None] | None = None,
        *,
        extras: Iterable[Mapping[str, Any]] | None = None,
        encoded_as: Iterable[str] | None = None,
        vectors: Iterable[Any] | None = None,
        stage_vectors: Mapping[str, Iterable[Any]] | None = None,
        on_error: OnError = "raise",
        show_progress: bool | None = None,
        progress: Callable[[AddReport], None] | None = None,
    ) -> AddReport:
        """Encode and store documents; one whose id is stored already replaces it.

        What is stored with the same text and the same model is looked up, not encoded again: adding a corpus twice
        costs a look-up, and a run that was stopped is finished by running it again. Encoding and upload overlap;
        uploads are cut by bytes and, where the server fails for a passing reason, repeated with growing pauses.

        Parameters
        ----------
        texts
            Any iterable. A sequence is checked in full before anything is written; of another iterable, what comes
            before the bad item may be stored.
        metadatas
            One mapping of JSON values a text, or ``None``.
        ids
            One a text: any string, an integer or a UUID, which is the same with its hyphens and without. Without one
            the id is derived from text and metadata, and from `extras`, `encoded_as` and `vectors` where they are
            given, so that adding the same again changes nothing.
        extras
            Further payload keys a text, each with a leading underscore, beside text and metadata.
        encoded_as
            What to encode for each text where that is not the text itself, such as the text under its title.
        vectors
            Token vectors that were computed elsewhere, ``(tokens, dim)`` a text, stored in place of encoding it;
            ``None`` among them: encode this one. Without `texts`, of what has none, such as the image of a page.
        stage_vectors
            Vectors of first stages that were computed elsewhere, by stage, such as ``{"dense": [...]}``: one a text,
            ``None`` where the stage's own encoder is to make it. They are taken for what that encoder makes of the
            text; one that is stored and is another one is replaced.
        on_error
            ``"skip"``: leave out records that can't be stored and report them; ``"raise"``: stop at the first.
        show_progress
            A bar with texts/s and the time left; ``None``: where a terminal is attached.
        progress
            Called with the running report after each window of texts.

        Raises
        ------
        InvalidInput
            Says which text, metadata or id is wrong and why.
        PointTooLarge
            A text has more token vectors than Qdrant takes for one point.
        CollectionMismatch
            The name is an alias that another collection was given meanwhile, and all texts are in the one before.
        EngineUnavailable
            The server failed for longer than the retries last.
        """
        source = Source(
            texts=texts,
            metadatas=metadatas,
            ids=ids,
            extras=extras,
            encoded_as=encoded_as,
            vectors=vectors,
            stage_vectors=stage_vectors,
        )
        with progress_bar(vectors if texts is None else texts, show=show_progress, also=progress) as advance:
            before = self.layout
            report, after = self._run(
                ingest.add(before, self.settings, self.engine.wire, source, on_error=on_error, progress=advance)
            )
        if after.stages != before.stages:  # others have added one
            self.layout = after
        return report

    def search(self, query: Query, limit: int = 10, **options: Unpack[SearchKeywords]) -> list[Hit]:
        """Find the documents with the highest MaxSim, the best first.

        Parameters
        ----------
        query
            A text, or its ``(tokens, dim)`` multivector.
        limit
            Most hits to return.
        **options
            The fields of `SearchOptions`: ``filter``, ``offset``, ``min_relevance``, ``candidates`` and so on.
        """
        return self._run(searching.search(self.layout, query, search_options.options(limit, options)))

    def search_batch(
        self, queries: Sequence[Query], limit: int = 10, **options: Unpack[SearchKeywords]
    ) -> list[list[Hit]]:
        """Answer several queries at once: encoded together, asked in one request.

        Parameters
        ----------
        queries
            Texts, multivectors, or some of each.
        limit, **options
            As in `search`, for every query.
        """
        return self._run(searching.search_batch(self.layout, queries, search_options.options(limit, options)))

    def score(self, query: Query, ids: Sequence[RecordId], *, texts: Sequence[str] | None = None) -> dict[str, float]:
        """Return the MaxSim of these records with a query, from their stored vectors; missing ones are left out.

        Parameters
        ----------
        query
            A text, or its ``(tokens, dim)`` multivector.
        ids
            Of the records.
        texts
            What each id stands for where the ids come from elsewhere: records whose vectors were made of another text,
            or with other settings, are left out as well.
        """
        return self._run(searching.score(self.layout, self.settings, query, ids, texts))

    def passages(self, query: Query, ids: Sequence[RecordId], limit: int = 3) -> dict[str, tuple[Passage, ...]]:
        """Return the parts of records that answer a query best, by their stored vectors: no document is encoded.

        A part is a sentence, a line of code or a row of a table; its place in the text, its own MaxSim and its share of
        the record's come with it. See `colbert_qdrant.passages`.

        Parameters
        ----------
        query
            A text, or its ``(tokens, dim)`` multivector.
        ids
            Of the records; missing ones are left out.
        limit
            Passages of each at most, the best first.

        Raises
        ------
        InvalidInput
            `limit` is below 1. The embedder pools, so that a vector stands for several places, or can't say where one
            stands; or a record's vectors are not those of its text.
        """
        return self._run(citing.passages(self.layout, query, ids, limit))

    def encoded(self, ids: Sequence[RecordId]) -> dict[str, EncodedText]:
        """Return the texts of records with their stored token vectors and the place of each in the text, by id.

        Left out are ids that are not stored, and records whose vectors are not those of their text.

        Raises
        ------
        InvalidInput
            As for `passages`.
        """
        return self._run(citing.encoded(self.layout, ids))

    def explain(self, query: str, record_id: RecordId) -> Explanation:
        """Say which token of a record answered which of the query, by its stored vectors; see `colbert_qdrant.explain`.

        Raises
        ------
        InvalidInput
            There is no such record, or as for `passages`.
        """
        return self._run(citing.explanation(self.layout, query, record_id))

    def get(self, ids: Sequence[RecordId], *, with_vectors: bool = False) -> list[Record]:
        """Return records in the order of their ids; missing ones are left out."""
        return self._run(operations.get(self.layout, ids, with_vectors=with_vectors))

    def delete(self, ids: Iterable[RecordId] | None = None, *, filter: models.Filter | None = None) -> None:
        """Delete records by id, by filter, or those of the ids that pass the filter; missing ones are no error."""
        self._run(operations.delete(self.layout, ids, filter))

    def set_metadata(self, ids: Iterable[RecordId], metadata: Mapping[str, Any]) -> int:
        """Set keys in the metadata of records without encoding anything; their other keys and vectors stay.

        Parameters
        ----------
        ids
            Of the records; those that are not stored are left out.
        metadata
            JSON values by key. A value replaces the one that is there, with all that lies below it; None removes the
            key (deeper down, and in what `add` stores, it is JSON's null).

        Returns
        -------
        int
            How many records there were.
        """
        return self._run(operations.set_metadata(self.layout, ids, metadata))

    def count(self, filter: models.Filter | None = None) -> int:
        """Return how many records pass a filter, exactly."""
        return self._run(operations.count(self.layout, filter))

    def scroll(
        self, filter: models.Filter | None = None, *, with_vectors: bool = False, agreed: bool = False
    ) -> Iterator[Record]:
        """Yield all records that pass a filter, a page at a time.

        Parameters
        ----------
        filter
            ``None``: all there are.
        with_vectors
            Bring the token vectors along.
        agreed
            Of a cluster, leave out what one copy or another lacks or holds otherwise, as after a write that was
            refused; where a copy does not answer, that is everything.
        """
        operations.check_filter(filter)
        offset = None
        while True:
            page, offset = self._run(
                operations.scroll_page(self.layout, filter, offset, with_vectors=with_vectors, agreed=agreed)
            )
            yield from page
            if offset is None:
                return

    def footprint(self, texts: Sequence[str], documents: int) -> Footprint:
        """Estimate what so many documents will take, judging by some of them.

        Parameters
        ----------
        texts
            Typical documents; they are encoded.
        documents
            How many there will be.
        """
        return self._run(operations.estimate(self.layout, self.storage, texts, documents))

    def plan(self, texts: Sequence[str]) -> list[Failure]:
        """Return the texts that `add` would refuse, each with the reason; they are encoded, nothing is stored."""
        return self._run(ingest.refusals(self.layout, texts))

    def as_async(self) -> AsyncMultivectorCollection:
        """Return this collection for the running event loop: with `url` on a client of its own, else on threads.

        Every call on one loop returns the same. An asynchronous client's connections belong to the loop that opened
        them, and programs call ``asyncio.run`` more than once. https://github.com/encode/httpx/discussions/2489
        """
        from colbert_qdrant.collection.aio import AsyncMultivectorCollection

        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise InvalidInput(
                "as_async: no event loop is running here: call it within one, or make an AsyncMultivectorCollection"
            ) from None
        with self._making_a_face:
            if loop not in self._faces:
                self._faces = {other: face for other, face in self._faces.items() if not other.is_closed()}
                self._faces[loop] = AsyncMultivectorCollection.of(self)
            return self._faces[loop]

    def _forget(self, face: AsyncMultivectorCollection) -> None:
        """Let go of a face that was closed."""
        with self._making_a_face:
            self._faces = {loop: other for loop, other in self._faces.items() if other is not face}

    def close(self) -> None:
        """Close the connection, unless it is the caller's own `client`."""
        if self.place.client is None:
            self.engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        layout = getattr(self, "layout", None)  # there is none while the constructor fails
        if layout is None:
            return f"{type(self).__name__}(not opened)"
        return f"{type(self).__name__}({layout.name!r}, model={self.embedder.model_name!r})"
