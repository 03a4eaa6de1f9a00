"""Texts become token vectors in Qdrant, a question finds the right one: index, search, read the hits.

pip install "colbert-qdrant[offline]"
python quickstart.py
"""

from colbert_qdrant import MultivectorCollection

FILMS = {
    "Edge of Tomorrow": (2014, "A soldier fighting aliens gets to relive the same day over and over again."),
    "Heat": (1995, "Professional thieves start to feel the heat from the LAPD when they leave a clue at a heist."),
    "Kubo and the Two Strings": (2016, "A young boy must find a magical suit of armour to defeat a vengeful spirit."),
    "Paprika": (2006, "A machine that allows therapists to enter their patients' dreams is stolen."),
    "Philomena": (2013, "A journalist picks up the story of a woman's search for her son, taken from her decades ago."),
    "Sherlock Jr.": (
        1924,
        "A film projectionist longs to be a detective when a rival frames him for stealing a watch.",
    ),
    "This Is Spinal Tap": (1984, "One of England's loudest bands is chronicled by a film director on a fateful tour."),
    "Toy Story 3": (
        2010,
        "The toys are mistakenly delivered to a day-care center right before Andy leaves for college.",
    ),
}
QUESTIONS = [
    "a mother looks for her child",
    "the same day again and again",
    "a film about a rock group",
    "bank robbers",
]

# Nothing but a name and a model: in memory. path="films.qdrant" keeps it in a folder, url="http://localhost:6333" on a
# server. A ColBERT from the hub, such as "answerdotai/answerai-colbert-small-v1", takes the model's place.
with MultivectorCollection("films", "all-MiniLM-L6-v2-int8") as films:
    report = films.add(
        texts=[text for _, text in FILMS.values()],
        metadatas=[{"year": year} for year, _ in FILMS.values()],
        ids=list(FILMS),
    )
    print(f"{report.stored} films")
    for question in QUESTIONS:
        print(f"\n{question}")
        for hit in films.search(question, limit=2):
            print(f"  {hit.relevance:.2f}  {hit.id} ({hit.metadata['year']}): {hit.text}")
