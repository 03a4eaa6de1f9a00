"""Record what FastEmbed computes, so that the tests compare with it without installing it.

    python tests/data/make_fastembed_golden.py [--env FOLDER]

Builds the model of tests/tiny_models.py, has FastEmbed encode the texts below with it, and writes
fastembed_golden.npz beside this file: for each kind, ``documents`` and ``queries``,

- ``<kind>``: the texts, a JSON list;
- ``<kind>_shape``: ``(texts, 2)``, the shape of each text's array;
- ``<kind>_vectors``, ``<kind>_text``, ``<kind>_row``: float32 rows; of which text, and which of its rows.
  A long text keeps `ROWS_KEPT` rows, evenly spaced, the first and the last among them.

``weights_sha256`` names the model, ``fastembed`` the version.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np

HERE = Path(__file__).absolute().parent
GOLDEN = HERE / "fastembed_golden.npz"
ROWS_KEPT = 24

PROSE = """
Late interaction keeps one vector for every token of a passage and compares each query token with all of them,
so a rare name still counts where a single vector would have averaged it away. The price is storage: a passage
of a hundred tokens needs a hundred vectors, and an index has to hold, compress and search them fast enough.
"""
WORDS = PROSE.split()

DOCUMENTS = [
    "",
    " ",
    "Qdrant",
    "?!.,;: -- (...)",
    "Hello World",
    "E-mail: o'neil@example.com, #42 -- 100% [sic] {a_b} <c/d> ~$5.",
    " ".join(WORDS),
    " ".join(WORDS * 11),
    "Η ταχεία αλεπού πηδά",
    "敏捷的狐狸跳过了狗。",
    "الثعلب البني السريع",
    "तेज़ भूरी लोमड़ी",
    "быстрая лисица и 速い狐",
    "ship it 🚀👩‍💻 🇬🇷 ok",
    "Café naïve, Cafe\u0301 nai\u0308ve",
    "\n\t  surrounded by space \u00a0\n",
    "zero\u200bwidth, nul\x00 and bell\x07",
    "the capital of [MASK] is Paris",
    "one [SEP] two [CLS] three [UNK]",
    "x" * 120,
]

QUERIES = [
    "",
    "Qdrant",
    "?!.,",
    "what is late interaction?",
    " ".join(WORDS[:30]),
    " ".join(WORDS[:60]),
    " ".join(WORDS * 11),
    "Ποια είναι η πρωτεύουσα;",
    "什么是后期交互？",
    "ما هو التفاعل المتأخر؟",
    "देर से बातचीत क्या है?",
    "🚀 launch 👩‍💻",
    "\t trailing and leading  \n",
    "the capital of [MASK] [SEP] is",
    # With [CLS], marker and [SEP]: 32 tokens, which just need no expansion, and 33, which pass whole.
    " ".join(["word"] * 29),
    " ".join(["word"] * 30),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--env", type=Path, help="FastEmbed's environment, made if missing (default: temporary)")
    arguments = parser.parse_args()

    sys.path.insert(0, str(HERE.parent))
    from environments import FASTEMBED, python_with
    from tiny_models import build_colbert, weights_sha256

    with tempfile.TemporaryDirectory() as scratch:
        folder = build_colbert(Path(scratch) / "model")
        python = python_with(arguments.env or Path(scratch) / "env", FASTEMBED)
        subprocess.run([python, __file__, "record", folder, weights_sha256(folder)], check=True)
    print(f"{GOLDEN}: {GOLDEN.stat().st_size:,} bytes")


def record(folder: str, weights_sha256: str) -> None:
    """Encode all texts and write the golden file. Runs in FastEmbed's environment."""
    from fastembed import LateInteractionTextEmbedding

    model = LateInteractionTextEmbedding("colbert-ir/colbertv2.0", specific_model_path=folder)
    golden = {"weights_sha256": np.array(weights_sha256), "fastembed": np.array(version("fastembed"))}
    texts = {"documents": DOCUMENTS, "queries": QUERIES}
    encoded = {"documents": model.embed(DOCUMENTS), "queries": model.query_embed(QUERIES)}
    for kind in texts:
        vectors = list(encoded[kind])
        rows = [np.unique(np.linspace(0, len(v) - 1, ROWS_KEPT).astype(np.int32)) for v in vectors]
        golden[kind] = np.array(json.dumps(texts[kind]))
        golden[f"{kind}_shape"] = np.array([v.shape for v in vectors], dtype=np.int32)
        golden[f"{kind}_vectors"] = np.concatenate([v[kept] for v, kept in zip(vectors, rows, strict=True)])
        golden[f"{kind}_text"] = np.concatenate([np.full_like(kept, i) for i, kept in enumerate(rows)])
        golden[f"{kind}_row"] = np.concatenate(rows)
        print(f"{kind}, rows: {[len(v) for v in vectors]}")
    np.savez_compressed(GOLDEN, **golden)


if __name__ == "__main__":
    if sys.argv[1:2] == ["record"]:
        record(*sys.argv[2:])
    else:
        main()
