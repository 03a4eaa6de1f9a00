"""Return nothing rather than something unrelated: cut hits by their relevance, from 0 to 1.

    pip install "colbert-qdrant[offline]"
    python score_cutoff.py

Find the cut-off on questions of your own, some of which nothing answers: it depends on the model and on the texts.
"""

from colbert_qdrant import MultivectorCollection

HELP = {
    "password": "To reset your password, click 'Forgot password' and follow the link that we send you.",
    "invoice": "Invoices are in your account under Billing, as PDF, from the day after the payment.",
    "delete": "Deleting your account removes all of its data after thirty days.",
    "team": "Invite colleagues under Team; each of them gets a mail and chooses a password.",
}
QUESTIONS = ["how do I get a new password", "where is my invoice", "can I cook rice in it", "the capital of Peru"]

with MultivectorCollection("help", "all-MiniLM-L6-v2-int8") as articles:
    articles.add(HELP.values(), ids=HELP)
    for question in QUESTIONS:
        best = articles.search(question, limit=1)[0]
        kept = articles.search(question, limit=3, min_relevance=0.4)
        print(f"{question}: best {best.relevance:.2f}, kept", ", ".join(hit.id for hit in kept) or "nothing")
