"""One collection, many customers: nothing of another tenant's can be reached by any method, filter or id.

python examples/tenants.py    # no hub, no server
"""

from qdrant_client import QdrantClient

from colbert_qdrant import ColbertEmbedder, MultivectorCollection

client = QdrantClient(":memory:")  # or QdrantClient(url=...)
embedder = ColbertEmbedder("all-MiniLM-L6-v2-int8")
NOTES = {"museum": "The museum opens at nine.", "school": "Lessons begin at eight."}
for tenant, note in NOTES.items():
    MultivectorCollection("notes", embedder, client=client, tenant=tenant).add([note], ids=["hours"])
for tenant in NOTES:
    notes = MultivectorCollection("notes", embedder, client=client, tenant=tenant)
    print(f"{tenant}: {notes.count()} note, {[hit.text for hit in notes.search('When does it start?')]}")
