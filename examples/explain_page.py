"""See why a document has the score it has: which of its words answered which word of the question.

    pip install "colbert-qdrant[offline]"
    python explain_page.py

It writes ``explain.html``, one page that needs nothing else, to open in a browser or to attach to a bug report. In a
notebook an explanation shows itself: ``explain.ipynb``.
"""

from pathlib import Path

from colbert_qdrant import ColbertEmbedder, explain

QUESTION = "A movie for kids with fantasy elements and wonders"
KUBO = (
    "A young boy named Kubo must locate a magical suit of armour worn by his late father in order to defeat a "
    "vengeful spirit from the past."
)

explanation = explain(QUESTION, KUBO, embedder=ColbertEmbedder("all-MiniLM-L6-v2-int8"))
print(explanation.to_terminal(width=100))
strongest = ", ".join(f"{word.text} {word.heat:.2f}" for word in explanation.highlights(limit=3))
print(f"\nAnswered most: {strongest}")

page = Path("explain.html")
page.write_text(explanation.to_html(), encoding="utf-8")
print(f"The page: {page}")
