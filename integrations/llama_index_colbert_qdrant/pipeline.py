"""ColbertIngestionPipeline: LlamaIndex's pipeline, which shows the progress of the encoding as well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.schema import BaseNode

from llama_index_colbert_qdrant.embedding import showing


class ColbertIngestionPipeline(IngestionPipeline):
    """An ``IngestionPipeline`` into a `ColbertQdrantVectorStore`; `ColbertQdrantVectorStore.as_pipeline` makes one.

    LlamaIndex's own tells neither transformations nor its store whether to show progress, and so draws a bar of the
    placeholders' making alone, which is over at once.
    """

    def run(self, show_progress: bool = False, *args: Any, **kwargs: Any) -> Sequence[BaseNode]:
        """Run; see ``IngestionPipeline.run``."""
        with showing(show_progress):
            return super().run(show_progress, *args, **kwargs)

    async def arun(self, show_progress: bool = False, *args: Any, **kwargs: Any) -> Sequence[BaseNode]:
        """Run; see ``IngestionPipeline.arun``."""
        with showing(show_progress):
            return await super().arun(show_progress, *args, **kwargs)
