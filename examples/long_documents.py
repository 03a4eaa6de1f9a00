"""Long documents: one multivector by overlapping windows, found by any of their parts, cited by the sentence.

    pip install "colbert-qdrant[offline]"
    python long_documents.py

A model reads so many tokens at a time, 512 here. Cut there, which is what the core does unless told otherwise, the rest
of a document is never found. By windows each of its tokens has a vector, made with what stands around it. The adapters
and the command line do that by themselves.
"""

import warnings
from pydoc_data.topics import topics  # Python's own reference

from colbert_qdrant import ColbertEmbedder, MultivectorCollection

CHAPTERS = {name: topics[name] for name in ("assert", "lambda", "raise", "while", "with")}
QUESTION = "how can exception chaining be suppressed?"

for long_documents in ("truncate", "window"):
    embedder = ColbertEmbedder("all-MiniLM-L6-v2-int8", long_documents=long_documents)
    with MultivectorCollection("reference", embedder) as reference, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # which says that documents were cut
        reference.add(CHAPTERS.values(), ids=CHAPTERS)
        [hit] = reference.search(QUESTION, limit=1, passages=1)
        [passage] = hit.passages
        [record] = reference.get([hit.id], with_vectors=True)
        print(f"{long_documents}: {hit.id}, {len(hit.text):,} characters, {len(record.vectors):,} vectors")
        print(f"  {passage.start:,}: {' '.join(passage.text.split())}")
