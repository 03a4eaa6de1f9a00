"""First stages whose vectors are derived from the token vectors: no second model is run. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qdrant_client import models

from colbert_qdrant.collection.sparse import as_sparse
from colbert_qdrant.embedding.centroids import Centroids
from colbert_qdrant.embedding.muvera import Muvera
from colbert_qdrant.types import Multivector

SIGNS_GRAPH = models.HnswConfigDiff(m=64)
"""The graph of a stage that is searched by signs, unless `Storage.hnsw` says else: four times Qdrant's own links.

Of 200 documents that are like no others (see `drawn` in tests/benchmarks), among 100,000 such in two segments, 97% are
in 200 candidates where it is searched for four times as many (`prefetching.EFFORT` is five), in 41 ms of processor time
where comparing all takes 138. With 32 links it is 86%, and eight times as many take 51 ms and find 96%. Of Qdrant's own
16 links, searched for no more than the candidates, it was 46% among 50,000. Building with 64 links takes 1.2 times the
processor time of 32; 32 links with an ``ef_construct`` of 300 take 2.4 times, and find no more."""


@dataclass(frozen=True, slots=True)
class MuveraStage:
    """Candidates by a single vector that is derived from the token vectors: no second model.

    Parameters
    ----------
    encoder
        How to derive it.
    name
        Of the vector.
    """

    encoder: Muvera
    name: str = "muvera"

    @property
    def settings(self) -> dict[str, Any]:
        """The parameters, which a query must share with the documents."""
        encoder = self.encoder
        settings = {
            "kind": "muvera",
            "dim": encoder.dim,
            "k_sim": encoder.k_sim,
            "dim_proj": encoder.dim_proj,
            "r_reps": encoder.r_reps,
            "random_seed": encoder.random_seed,
        }
        return settings if encoder.center is None else settings | {"center": encoder.center.tolist()}

    def params(self) -> models.VectorParams:
        """Return a vector compared by cosine, of which search sees one bit a number.

        Measured on Cranfield (tests/benchmarks/muvera_signs.py), as the share of the exact ten best among the first
        hundred: 0.967 by cosine, 0.916 by the paper's dot product; 0.963 where a document's numbers are cut to their
        signs and the query's to 8 bits. With a query of signs too it is 0.682: the zeros of its empty cells would
        become signs. So 1,280 bytes are held in memory in place of 40,960. The originals wait on disk for Qdrant to
        index them.
        https://qdrant.tech/documentation/guides/quantization/#asymmetric-quantization
        """
        signs = models.BinaryQuantizationConfig(
            memory=models.Memory.PINNED, query_encoding=models.BinaryQuantizationQueryEncoding.SCALAR8BITS
        )
        return models.VectorParams(
            size=self.encoder.embedding_size,
            distance=models.Distance.COSINE,
            datatype=models.Datatype.FLOAT16,
            memory=models.Memory.COLD,
            hnsw_config=SIGNS_GRAPH,
            quantization_config=models.BinaryQuantization(binary=signs),
        )

    def encode_documents(self, texts: Sequence[str], multivectors: Sequence[Multivector]) -> list[Any]:
        """Derive a vector a document."""
        return list(self.encoder.process_documents(multivectors))

    def encode_query(self, text: str | None, multivector: Multivector) -> Any:
        """Derive a query's vector."""
        return self.encoder.process_query(multivector).tolist()


@dataclass(frozen=True, slots=True)
class CentroidsStage:
    """Candidates by the centroids that tokens lie near, in Qdrant's inverted index: no second model, no graph.

    Parameters
    ----------
    encoder
        The centroids.
    """

    encoder: Centroids

    @property
    def name(self) -> str:
        """Of the sparse vector: with their digest, so that no other centroids are ever taken for these.

        Whoever has a collection open while another one takes its name, by `publish` say, is told so by his next search.
        """
        return f"centroids-{self.encoder.digest}"

    @property
    def settings(self) -> dict[str, Any]:
        """The centroids themselves, which a query must share with the documents."""
        return {"kind": "centroids", "dim": self.encoder.dim, "packed": self.encoder.packed}

    def params(self) -> models.SparseVectorParams:
        """Return a sparse vector. Its index is exact: a search by it loses nothing that the centroids tell."""
        return models.SparseVectorParams()

    def encode_documents(self, texts: Sequence[str], multivectors: Sequence[Multivector]) -> list[Any]:
        """Derive a sparse vector a document."""
        return [as_sparse(self.encoder.process_document(vectors), self.name) for vectors in multivectors]

    def encode_query(self, text: str | None, multivector: Multivector) -> Any:
        """Derive a query's sparse vector."""
        return as_sparse(self.encoder.process_query(multivector), self.name)
