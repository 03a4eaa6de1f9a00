"""A Qdrant cluster: the same class with a url; shards and replicas are Qdrant's own.

    docker compose -f cluster/compose.yaml up -d        # three nodes on this machine
    pip install "colbert-qdrant[offline]"
    python cluster.py [--url http://localhost:6333]

How many shards and copies a collection has is said once, in its storage; adding and searching do not change. With
``write_consistency_factor=2`` both copies acknowledge a write, which so waits while one's node is dead; with 1 it goes
on.
"""

import argparse
import os
import sys

from colbert_qdrant import ColbertEmbedder, MultivectorCollection, Storage
from colbert_qdrant.errors import EngineUnavailable

FILMS = {
    "Edge of Tomorrow": "A soldier fighting aliens gets to relive the same day over and over again.",
    "Heat": "Professional thieves start to feel the heat from the LAPD when they leave a clue at their latest heist.",
    "Paprika": "A machine that allows therapists to enter their patients' dreams is stolen.",
    "This Is Spinal Tap": "One of England's loudest bands is chronicled by a film director on a fateful tour.",
    "Toy Story 3": "The toys are mistakenly delivered to a day-care center right before Andy leaves for college.",
}
STORAGE = Storage(shard_number=6, replication_factor=2, write_consistency_factor=2, on_disk_payload=True)

parser = argparse.ArgumentParser()
parser.add_argument("--url", default=os.environ.get("QDRANT_URL", "http://localhost:6333"))
url = parser.parse_args().url

embedder = ColbertEmbedder("all-MiniLM-L6-v2-int8")
try:
    films = MultivectorCollection("films-cluster", embedder, url=url, storage=STORAGE)
except EngineUnavailable as error:
    sys.exit(str(error))
with films:
    report = films.add(FILMS.values(), ids=FILMS)
    cluster = films.engine.call("collection_cluster_info", {"collection_name": films.name})
    print(f"{report.stored} films in {cluster.shard_count} shards, two copies of each")
    for hit in films.search("a film about a rock band", limit=3):
        print(f"{hit.relevance:.2f}  {hit.id}")
