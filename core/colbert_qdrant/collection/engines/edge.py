"""The embedded engine: real Qdrant segments on disk, in this process, behind the calls of `QdrantClient`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from colbert_qdrant.collection.engines import edge_answers as answers
from colbert_qdrant.collection.engines.edge_collections import EdgeCollections
from colbert_qdrant.collection.engines.edge_query import PointId, check_payload, ordering, point, query_request
from colbert_qdrant.collection.engines.edge_schema import all_vectors
from colbert_qdrant.collection.engines.edge_space import changes_need, points_need
from colbert_qdrant.collection.engines.edge_translate import check_depth, engine, only, refuse, translate
from colbert_qdrant.errors import InvalidInput

if TYPE_CHECKING:
    from qdrant_client.http import models

    Payload: TypeAlias = dict[str, Any]
    Selector: TypeAlias = list[PointId] | models.PointIdsList | models.Filter | models.FilterSelector
    WithPayload: TypeAlias = bool | list[str] | models.PayloadSelectorInclude | models.PayloadSelectorExclude
    WithVectors: TypeAlias = bool | list[str]


class EdgeClient(EdgeCollections):
    """The part of `QdrantClient` that a collection needs, over qdrant-edge-py.

    Methods, keyword arguments and the `qdrant_client.models` in and out are those of `QdrantClient`; an argument, model
    or field which the embedded engine lacks raises `UnsupportedByEngine`. Points may come from ``model_construct`` with
    arrays for vectors. Multivectors come back as float32 arrays (as lists of Python floats they take eight times the
    memory), other vectors as lists.

    A collection is opened when first used, and stays open and locked until `close`: nobody else can open it meanwhile,
    not even another client of this process. A client may be shared between threads, but the engine holds Python's
    global interpreter lock during every call: threads take turns, and an event loop waits for its own turn: where many
    tasks search at once, ``sys.setswitchinterval(0.001)`` makes that five times shorter (tests/benchmarks/serving.py).

    A write is carried out when its method returns, whatever `wait` says, and survives the death of the process from
    then on. As on a server it is on the disk itself, and survives a power failure, some seconds later: every 5 s while
    writes go on, at `flush` and at `close`. Nothing is indexed before `optimize`.

    Parameters
    ----------
    path
        Folder of the collections, one sub-folder each; made with the first collection.

    Raises
    ------
    MissingExtra
        qdrant-edge-py is not installed, or not in the version whose API this is written for.
    InvalidInput
        The path can't hold embedded collections.
    """

    def upsert(
        self,
        collection_name: str,
        points: Sequence[models.PointStruct],
        wait: bool = True,
        **unsupported: object,
    ) -> models.UpdateResult:
        """Insert points, or replace those with the same id; all of them, or none when one is refused."""
        refuse("upsert", unsupported)
        with self._collection(collection_name) as collection:
            vectors = all_vectors(collection.description)
            operation = engine().UpdateOperation.upsert_points([point(item, vectors) for item in points])
            collection.update(operation, lambda: points_need(points))
        return answers.completed()

    def update_vectors(
        self,
        collection_name: str,
        points: Sequence[models.PointVectors],
        wait: bool = True,
        **unsupported: object,
    ) -> models.UpdateResult:
        """Replace the named vectors of points, leaving their others and the payload."""
        refuse("update_vectors", unsupported)
        with self._collection(collection_name) as collection:
            vectors = all_vectors(collection.description)
            operation = engine().UpdateOperation.update_vectors([point(item, vectors) for item in points])
            collection.update(operation, lambda: points_need(points))
        return answers.completed()

    def delete(
        self, collection_name: str, points_selector: Selector, wait: bool = True, **unsupported: object
    ) -> models.UpdateResult:
        """Delete points by id or by filter; an id that isn't there is no error."""
        refuse("delete", unsupported)
        return self._update_selected(collection_name, "delete_points", points_selector)

    def delete_vectors(
        self,
        collection_name: str,
        vectors: Sequence[str],
        points: Selector,
        wait: bool = True,
        **unsupported: object,
    ) -> models.UpdateResult:
        """Delete the named vectors of points, by id or by filter."""
        refuse("delete_vectors", unsupported)
        return self._update_selected(collection_name, "delete_vectors", points, list(vectors))

    def set_payload(
        self,
        collection_name: str,
        payload: Payload,
        points: Selector,
        key: str | None = None,
        wait: bool = True,
        **unsupported: object,
    ) -> models.UpdateResult:
        """Set the given payload fields of points, by id or by filter; below `key` when it is given."""
        refuse("set_payload", unsupported)
        return self._update_selected(collection_name, "set_payload", points, payload, key)

    def overwrite_payload(
        self,
        collection_name: str,
        payload: Payload,
        points: Selector,
        wait: bool = True,
        **unsupported: object,
    ) -> models.UpdateResult:
        """Replace the whole payload of points, by id or by filter."""
        refuse("overwrite_payload", unsupported)
        return self._update_selected(collection_name, "overwrite_payload", points, payload)

    def query_points(
        self,
        collection_name: str,
        query: Any = None,
        using: str | None = None,
        prefetch: models.Prefetch | list[models.Prefetch] | None = None,
        query_filter: models.Filter | None = None,
        search_params: models.SearchParams | None = None,
        limit: int = 10,
        offset: int | None = None,
        with_payload: WithPayload = True,
        with_vectors: WithVectors = False,
        score_threshold: float | None = None,
        **unsupported: object,
    ) -> models.QueryResponse:
        """Search: nearest to a vector or to a stored point, fusion, formula, order by a field, or a random sample.

        Parameters
        ----------
        query
            Multivector ``(tokens, dim)`` or vector ``(dim,)`` as array or lists, `SparseVector`, id of a point,
            `NearestQuery` (with MMR), `FusionQuery`, `RrfQuery`, `FormulaQuery`, `OrderByQuery` (its field must be
            indexed) or `SampleQuery`; None returns points in the order of their ids.
        """
        from qdrant_client.http import models

        refuse("query_points", unsupported)
        request = models.QueryRequest.model_construct(
            query=query,
            using=using,
            prefetch=prefetch,
            filter=query_filter,
            params=search_params,
            limit=limit,
            offset=offset,
            with_payload=with_payload,
            with_vector=with_vectors,
            score_threshold=score_threshold,
        )
        return self.query_batch_points(collection_name, [request])[0]

    def query_batch_points(
        self, collection_name: str, requests: Sequence[models.QueryRequest], **unsupported: object
    ) -> list[models.QueryResponse]:
        """Search once for each request, one after the other: the engine's batch call was measured to be no faster."""
        refuse("query_batch_points", unsupported)
        with self._collection(collection_name) as collection:

            def stored_vector(point_id: PointId, name: str) -> Any:
                for record in collection.shard.retrieve([point_id], False, [name]):
                    vector = record.vector.get(name) if isinstance(record.vector, dict) else record.vector
                    if vector is not None:
                        return vector
                raise InvalidInput(f"there is no point {point_id!r} with a vector {name!r} to search by.")

            return [
                answers.query_response(collection.shard.query(query_request(request, stored_vector)))
                for request in requests
            ]

    def retrieve(
        self,
        collection_name: str,
        ids: Sequence[PointId],
        with_payload: WithPayload = True,
        with_vectors: WithVectors = False,
        **unsupported: object,
    ) -> list[models.Record]:
        """Return the points with these ids, in this order; an id that isn't there is left out."""
        refuse("retrieve", unsupported)
        with self._collection(collection_name) as collection:
            return answers.records(collection.shard.retrieve(list(ids), translate(with_payload), with_vectors))

    def scroll(
        self,
        collection_name: str,
        scroll_filter: models.Filter | None = None,
        limit: int = 10,
        order_by: str | models.OrderBy | None = None,
        offset: PointId | None = None,
        with_payload: WithPayload = True,
        with_vectors: WithVectors = False,
        **unsupported: object,
    ) -> tuple[list[models.Record], PointId | None]:
        """Return a page of points in the order of their ids, or of an indexed field, and where the next one starts."""
        refuse("scroll", unsupported)
        with self._collection(collection_name) as collection:
            request = engine().ScrollRequest(
                offset=offset,
                limit=limit,
                filter=translate(scroll_filter),
                with_payload=translate(with_payload),
                with_vector=with_vectors,
                order_by=None if order_by is None else ordering(order_by),
            )
            found, next_offset = collection.shard.scroll(request)
            return answers.records(found), answers.point_id(next_offset)

    def count(
        self,
        collection_name: str,
        count_filter: models.Filter | None = None,
        exact: bool = True,
        **unsupported: object,
    ) -> models.CountResult:
        """Return the number of points, of those that match the filter."""
        from qdrant_client.http import models

        refuse("count", unsupported)
        with self._collection(collection_name) as collection:
            request = engine().CountRequest(exact=exact, filter=translate(count_filter))
            return models.CountResult(count=collection.shard.count(request))

    def facet(
        self,
        collection_name: str,
        key: str,
        facet_filter: models.Filter | None = None,
        limit: int = 10,
        exact: bool = False,
        **unsupported: object,
    ) -> models.FacetResponse:
        """Return the most frequent values of an indexed payload field with their counts."""
        refuse("facet", unsupported)
        with self._collection(collection_name) as collection:
            request = engine().FacetRequest(key=key, limit=limit, exact=exact, filter=translate(facet_filter))
            return answers.facet_response(collection.shard.facet(request))

    def _update_selected(
        self, name: str, operation: str, selector: Selector, *arguments: object
    ) -> models.UpdateResult:
        """Carry out ``operation`` by ids, or its twin ``operation_by_filter``."""
        from pydantic_core import to_jsonable_python
        from qdrant_client.http import models

        with self._collection(name) as collection:
            if isinstance(selector, models.FilterSelector):
                (selector,) = only(selector, "filter")
            if isinstance(selector, models.PointIdsList):
                (selector,) = only(selector, "points")
            if isinstance(selector, models.Filter):
                operation, selected = f"{operation}_by_filter", _selecting(selector)
            else:
                selected = list(selector)
            for argument in arguments:
                check_payload(argument)
            make = getattr(engine().UpdateOperation, operation)

            def need() -> int:
                touched = len(selected) if isinstance(selected, list) else collection.count()
                return changes_need(touched, arguments)

            collection.update(make(selected, *to_jsonable_python(arguments)), need)
        return answers.completed()


def _selecting(selector: models.Filter) -> Any:
    """Return the engine's filter; one nested too deep would be written to the log, which then can't be read again."""
    check_depth(selector, "filter")
    return translate(selector)
