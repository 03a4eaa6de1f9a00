"""What there is to index: documents with ids, texts and metadata, out of files, folders and standard input."""

from colbert_qdrant.cli.reading.corpus import Corpus, Document, Failed, Source
from colbert_qdrant.cli.reading.sources import read, said_of
from colbert_qdrant.cli.reading.walk import Choice

__all__ = ["Choice", "Corpus", "Document", "Failed", "Source", "read", "said_of"]
