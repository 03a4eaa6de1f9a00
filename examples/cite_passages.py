"""Point at the sentence that answers, with its place in the text, from stored vectors: no model runs for a document.

pip install "colbert-qdrant[offline]"
python cite_passages.py
"""

from colbert_qdrant import MultivectorCollection

GUIDE = (
    "The museum opens at nine and closes at five. In 1969 a lunar lander set two men down on the Moon; a copy of it "
    "hangs in the hall. The cafe on the second floor serves tea and cake. Groups of ten and more pay half."
)
QUESTIONS = ["When did people land on the moon?", "Where can I eat?", "Is it cheaper for a school class?"]

with MultivectorCollection("guides", "all-MiniLM-L6-v2-int8") as guides:
    guides.add([GUIDE], ids=["museum"])
    for question in QUESTIONS:
        [hit] = guides.search(question, limit=1, passages=1)
        [passage] = hit.passages
        print(f"{question}\n  {hit.id}, characters {passage.start}-{passage.end}: {passage.text}")
