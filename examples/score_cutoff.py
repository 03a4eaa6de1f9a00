"""Return nothing rather than something unrelated: cut hits by their relevance, from 0 to 1.

    python examples/score_cutoff.py         # no hub, no server

Find the cut-off on questions of your own: it depends on the model and on the texts.
"""

from movies import MOVIES

from colbert_qdrant import MultivectorCollection

with MultivectorCollection("movies", "all-MiniLM-L6-v2-int8") as movies:
    movies.add([movie.description for movie in MOVIES], ids=[movie.name for movie in MOVIES])
    for question in ("a boy with a suit of armour", "how do I restore a database backup"):
        best = movies.search(question, limit=1)[0]
        kept = movies.search(question, limit=3, min_relevance=0.5)
        print(f"{question}: best relevance {best.relevance:.2f} (MaxSim {best.score:.2f})")
        print("   ", ", ".join(f"{hit.id} {hit.relevance:.2f}" for hit in kept) or "nothing to show")
