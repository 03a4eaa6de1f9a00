from __future__ import annotations

from colbert_qdrant.collection.fingerprints import fingerprint


def test_a_fingerprint_depends_on_the_text_and_the_settings() -> None:
    prints = {fingerprint(text, settings) for text in ("a", "b") for settings in ({"model": "x"}, {"model": "y"})}

    assert len(prints) == 4
