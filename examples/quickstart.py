"""The main job, end to end: text becomes ColBERT multivectors, Qdrant stores them, a question finds the right text.

What one learns: make a collection, add texts with metadata, search. Nothing else is needed.

    python examples/quickstart.py                                                    # no hub, no server
    python examples/quickstart.py --model answerdotai/answerai-colbert-small-v1      # a real ColBERT from the hub
    python examples/quickstart.py --url http://localhost:6333                        # on a Qdrant server
"""

import argparse
import textwrap

from movies import MOVIES

from colbert_qdrant import ColbertEmbedder, Hit, MultivectorCollection

QUESTIONS = [
    "A movie for kids with fantasy elements and wonders",
    "the same day again and again",
    "a film about a rock band",
    "thieves and the police",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="all-MiniLM-L6-v2-int8", help="a model's name or folder (%(default)s)")
    parser.add_argument("--url", help="a Qdrant server; without one the collection is in memory")
    parser.add_argument("--limit", type=int, default=3, help="hits a question (%(default)s)")
    options = parser.parse_args()

    embedder = ColbertEmbedder(options.model)
    with MultivectorCollection("movies", embedder, url=options.url) as movies:
        report = movies.add(
            texts=[movie.description for movie in MOVIES],
            metadatas=[{"name": movie.name, "minutes": movie.minutes} for movie in MOVIES],
            ids=[movie.name for movie in MOVIES],
        )
        print(f"{report.stored} movies, one vector of {embedder.dim} numbers a token, by {embedder.model_name}")
        for question in QUESTIONS:
            print_hits(question, movies.search(question, limit=options.limit))


def print_hits(question: str, hits: list[Hit]) -> None:
    print(f"\n{question}\n{'rank':>4}  {'score':>7}  {'title':<31}  text")
    for rank, hit in enumerate(hits, start=1):
        title = textwrap.shorten(hit.metadata["name"], 31, placeholder="...")
        print(f"{rank:>4}  {hit.score:>7.3f}  {title:<31}  {textwrap.shorten(hit.text, 70, placeholder='...')}")


if __name__ == "__main__":
    main()
