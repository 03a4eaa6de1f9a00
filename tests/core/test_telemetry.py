from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from colbert_qdrant import MultivectorCollection, Muvera, telemetry
from conftest import WordEmbedder


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(telemetry, "_tracer", lambda: provider.get_tracer("test"))
    return exporter


def test_a_search_is_a_span_with_its_steps_inside(spans: InMemorySpanExporter, words: WordEmbedder) -> None:
    collection = MultivectorCollection("watched", words, stages=[Muvera(16)])
    collection.add(["a private text", "b"])
    spans.clear()

    collection.search("a secret question", limit=1, candidates=2)

    finished = {span.name: span for span in spans.get_finished_spans()}
    search = finished["colbert_qdrant.search"]
    assert dict(search.attributes or {}) == {"colbert.model": "words", "colbert.engine": "ClientEngine"}
    encode, call = finished["colbert_qdrant.EncodeQueries"], finished["colbert_qdrant.Call"]
    assert dict(encode.attributes or {}) == {"colbert.queries": 1, "colbert.tokens": 3}
    assert call.attributes is not None
    assert call.attributes["db.operation.name"] == "query_points"
    assert call.attributes["colbert.candidates"] == 2
    assert encode.parent == call.parent == search.context


def test_spans_hold_no_texts(spans: InMemorySpanExporter, words: WordEmbedder) -> None:
    collection = MultivectorCollection("watched", words)
    collection.add(["a private text"], [{"secret": "s3cret"}])
    collection.search("a secret question")

    shown = "".join(span.to_json() for span in spans.get_finished_spans())
    assert "private" not in shown
    assert "s3cret" not in shown
    assert "question" not in shown


async def test_the_asynchronous_face_has_the_same_spans(spans: InMemorySpanExporter, words: WordEmbedder) -> None:
    await MultivectorCollection("watched", words).as_async().search("a")

    assert {"colbert_qdrant.search", "colbert_qdrant.Call"} <= {span.name for span in spans.get_finished_spans()}


def test_without_opentelemetry_there_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry", None)
    telemetry._tracer.cache_clear()

    with telemetry.span("search", {"a": 1}) as opened:
        assert opened is None

    telemetry._tracer.cache_clear()
