"""Words and meaning together: BM25 and MUVERA find candidates, and the order weighs MaxSim with BM25, in one request.

python examples/hybrid.py    # no hub, no server
"""

from movies import MOVIES

from colbert_qdrant import Blend, Bm25, ColbertEmbedder, MultivectorCollection, Muvera

embedder = ColbertEmbedder("all-MiniLM-L6-v2-int8")
with MultivectorCollection("films", embedder, stages=[Muvera.from_embedder(embedder), Bm25()]) as films:
    films.add([movie.description for movie in MOVIES], ids=[movie.name for movie in MOVIES])
    for question in ("thieves and the LAPD", "a soldier relives the same day"):
        for name, final in (("MaxSim", None), ("MaxSim and BM25", Blend({"maxsim": 0.7, "bm25": 0.3}))):
            [hit] = films.search(question, limit=1, final=final)
            print(f"{question}, by {name}: {hit.id}")
