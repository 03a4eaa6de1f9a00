"""Measure on your own questions what each way to search finds, keeps and costs, and choose the cheapest that will do.

    pip install "colbert-qdrant[evaluate]"
    python examples/evaluate_searches.py    # no hub, no server

The same from the command line: ``colbert-qdrant evaluate questions.jsonl --path store``.
"""

from stdlib_docs import paragraphs

from colbert_qdrant import ColbertEmbedder, MultivectorCollection, Muvera, evaluate

found = list(paragraphs("textwrap", "shutil", "glob", "bisect", "heapq"))
texts = {paragraph.id: paragraph.text for paragraph in found}
questions = {f"{each.module}.{each.name}": f"what does {each.name.replace('_', ' ')} do?" for each in found}
answers = {name: [each.id for each in found if f"{each.module}.{each.name}" == name] for name in questions}

embedder = ColbertEmbedder("all-MiniLM-L6-v2-int8")
with MultivectorCollection("docs", embedder, stages=[Muvera.from_embedder(embedder)]) as docs:
    docs.add(texts.values(), ids=texts)
    evaluation = evaluate(docs, questions, answers, candidates=(20, 50))
print(evaluation)
if evaluation.cheapest is not None:
    print(f"\nUse {evaluation.cheapest.name}, {evaluation.cheapest.candidates or 'all'} candidates")
