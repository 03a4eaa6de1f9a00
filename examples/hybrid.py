"""Words and meaning together: BM25 and MUVERA find candidates, MaxSim and BM25 weighed give the order, in one request.

    pip install "colbert-qdrant[offline]"
    python hybrid.py

MaxSim finds a part by what it is called elsewhere: a seal for a gasket, a lid for a cover. That it is the part of P-110
and not of P-101 is one piece of a word among ten, so the wrong one comes close. Words that must be there weigh more
when BM25 has its say.
"""

from colbert_qdrant import Blend, Bm25, ColbertEmbedder, MultivectorCollection, Muvera

PARTS = [
    "Hexagon screw M6x20, zinc plated, for the cover of pump P-110.",
    "Hexagon screw M6x25, zinc plated, for the cover of pump P-101.",
    "Gasket for the cover of pump P-110, rubber, 80 mm.",
    "Gasket for the cover of pump P-101, rubber, 60 mm.",
    "Bearing 6203-2RS for the shaft of pump P-110.",
    "Bearing 6302-2RS for the shaft of pump P-101.",
    "Motor for pump P-101, 0.75 kW, with plug.",
]
QUESTIONS = ["rubber seal for the lid of P-110", "which bearing does the P-101 need?", "screws for P-101"]

embedder = ColbertEmbedder("all-MiniLM-L6-v2-int8")
with MultivectorCollection("parts", embedder, stages=[Muvera.from_embedder(embedder), Bm25()]) as parts:
    parts.add(PARTS)
    for question in QUESTIONS:
        print(question)
        for name, final in (("MaxSim", None), ("MaxSim and BM25", Blend({"maxsim": 0.7, "bm25": 0.3}))):
            first, second = parts.search(question, limit=2, final=final)
            lead = 1 - second.score / first.score
            print(f"  {name:<16} {first.text:<63} {lead:.0%} ahead of {second.text}")
