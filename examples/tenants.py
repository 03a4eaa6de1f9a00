"""One collection, many customers: nothing of another tenant's can be reached by any method, filter or id.

pip install "colbert-qdrant[offline]"
python tenants.py
"""

from qdrant_client import QdrantClient

from colbert_qdrant import ColbertEmbedder, MultivectorCollection

NOTES = {"museum": "The museum opens at nine.", "school": "Lessons begin at eight."}

client = QdrantClient(":memory:")  # or QdrantClient(url=...)
embedder = ColbertEmbedder("all-MiniLM-L6-v2-int8")  # loaded once, for all of them
for tenant, note in NOTES.items():
    MultivectorCollection("notes", embedder, client=client, tenant=tenant).add([note], ids=["hours"])

for tenant in NOTES:  # both used the id "hours"
    notes = MultivectorCollection("notes", embedder, client=client, tenant=tenant)
    print(f"{tenant}: {notes.count()} note, {[hit.text for hit in notes.search('When does it start?')]}")
