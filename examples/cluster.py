"""A Qdrant cluster: the same class with a url; shards and replicas are Qdrant's own.

What one learns: how many shards and copies a collection has is said once, in its storage; adding and searching do not
change. With ``write_consistency_factor=2`` both copies acknowledge a write, which so waits while one's node is
dead; with 1 it goes on. Three nodes are started by `docker compose -f examples/cluster/compose.yaml up -d`.

    python examples/cluster.py [--url http://localhost:6333]
"""

import argparse
import os
import sys

from movies import MOVIES

from colbert_qdrant import ColbertEmbedder, MultivectorCollection, Storage
from colbert_qdrant.errors import EngineUnavailable

STORAGE = Storage(shard_number=6, replication_factor=2, write_consistency_factor=2, on_disk_payload=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default=os.environ.get("QDRANT_URL", "http://localhost:6333"))
    options = parser.parse_args()

    embedder = ColbertEmbedder("all-MiniLM-L6-v2-int8")
    try:
        movies = MultivectorCollection("movies-cluster", embedder, url=options.url, storage=STORAGE)
    except EngineUnavailable as error:
        sys.exit(str(error))
    with movies:
        report = movies.add([movie.description for movie in MOVIES], ids=[movie.name for movie in MOVIES])
        cluster = movies.engine.call("collection_cluster_info", {"collection_name": movies.name})
        print(f"{report.stored} movies in {cluster.shard_count} shards, two copies of each")
        for hit in movies.search("a film about a rock band", limit=3):
            print(f"{hit.score:.3f}  {hit.id}")


if __name__ == "__main__":
    main()
