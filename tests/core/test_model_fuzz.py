"""Spoilt checkpoints: each is a working model or an error of `errors`, in under 2 GB and 20 s.

    MUTATIONS=10000 pytest tests/core/test_model_fuzz.py -s

tries that many; without it, a few hundred, the same each time. They are tried in a process of their own, which can be
ended. One alone, with its traceback: ``python tests/core/test_model_fuzz.py FOLDER 4711``.
"""

from __future__ import annotations

import contextlib
import copy
import json
import math
import os
import queue
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from colbert_qdrant import ColbertEmbedder
from colbert_qdrant.errors import ColbertQdrantError

CHECKPOINTS = Path(__file__).parents[1] / "data" / "checkpoints"
SECONDS = 20
BYTES = 2 * 2**30
SAYS = "mutation "

CONFIGS = {
    "pylate-bert": [
        "config_sentence_transformers.json",
        "modules.json",
        "1_Dense/config.json",
        "config.json",
        "tokenizer_config.json",
        "tokenizer.json",
        "sentence_bert_config.json",
    ],
    "st-bert": [
        "config_sentence_transformers.json",
        "modules.json",
        "2_MultiVectorMask/config.json",
        "3_Normalize/config.json",
        "sentence_bert_config.json",
    ],
    "stanford-bert": ["artifact.metadata", "config.json", "special_tokens_map.json"],
    "next-plaid": ["onnx_config.json", "special_tokens_map.json"],
}
WEIGHTS = {
    "pylate-bert": ["1_Dense/model.safetensors", "1_Dense/pytorch_model.bin", "model.onnx"],
    "stanford-bert": ["model.safetensors"],
    "outside": ["model.onnx", "model.onnx_data"],
    "bge": ["colbert_linear.pt"],
}

NASTY: list[Any] = [
    *[None, True, False, 0, 1, -1, 3, 5, 127, 511, 2**16, 2**31, 2**53, 2**64, 10**300, -(2**63), 0.5, -0.0, 1e30],
    *[math.nan, math.inf, "", "a", "[Q] ", "\0", "\ud800", "../..", "/etc/passwd", "torch.nn.Tanh", "é" * 5000],
    *[[], {}, [None], [1], ["a"], [[]], {"a": 1}, {"content": 7}, [0] * 1000, {"x": {"y": {}}}],
]


# What is spoilt


def nasty(rng: random.Random) -> Any:
    """Return one of them, which may be spoilt further without spoiling the others."""
    return copy.deepcopy(rng.choice(NASTY))


def mutated_json(content: Any, rng: random.Random) -> Any:
    """Replace, remove or add a value somewhere."""
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        for key in list(keys)[:200]:  # of a vocabulary, some
            places.append((node, key))
            walk(node[key])

    walk(content)
    if not places:
        return nasty(rng)
    node, key = rng.choice(places)
    match rng.randrange(5):
        case 0 if isinstance(node, dict):
            del node[key]
        case 1 if isinstance(node, dict):
            node[rng.choice(["x", "", str(key) + "s"])] = nasty(rng)
        case 2 if isinstance(node[key], str):
            node[key] = rng.choice([node[key][:-1], node[key] * 2, node[key].upper(), node[key] + "\0"])
        case 3 if type(node[key]) in (int, float):
            node[key] = rng.choice([-node[key], node[key] + 1, node[key] * 1000, float(node[key]), str(node[key])])
        case _:
            node[key] = nasty(rng)
    return content


def mutated_bytes(raw: bytes, rng: random.Random) -> bytes:
    """Flip, cut, repeat or overwrite some of it, its beginning and its end above all."""
    content = bytearray(raw)
    for _ in range(rng.choice([1, 1, 2, 8])):
        end = max(1, len(content))
        at = min(
            rng.choice([rng.randrange(end), rng.randrange(min(end, 256)), end - 1 - rng.randrange(min(end, 256))]), end
        )
        match rng.randrange(6):
            case 0:
                content[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                content[at : at + 4] = rng.choice(
                    [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f"]
                )
            case 2:
                del content[at:]
            case 3:
                del content[at : at + rng.choice([1, 8, 100])]
            case 4:
                content[at:at] = content[at : at + rng.choice([1, 8, 100])]
            case _:
                content[at : at + 8] = rng.randbytes(8)
    return bytes(content)


def spoil(folders: Path, place: Path, number: int) -> str:
    """Write checkpoint `number` to `place`, and say what was done to it."""
    rng = random.Random(number)
    table = CONFIGS if rng.random() < 0.6 else WEIGHTS
    kind = rng.choice(list(table))
    name = rng.choice(table[kind])
    shutil.copytree(folders / kind, place, copy_function=os.link if hasattr(os, "link") else shutil.copyfile)
    if name.endswith("pytorch_model.bin"):
        (place / "1_Dense/model.safetensors").unlink()
    raw = (place / name).read_bytes()
    (place / name).unlink()  # it is linked to the whole one
    if table is CONFIGS and rng.random() < 0.8:
        content = json.loads(raw)
        for _ in range(rng.choice([1, 1, 1, 3])):
            content = mutated_json(content, rng)
        raw = json.dumps(content).encode("utf-8", "surrogatepass")
    else:
        raw = mutated_bytes(raw, rng)
    (place / name).write_bytes(raw)
    return f"{kind}/{name}"


def build(folders: Path) -> None:
    """Write the whole checkpoints, of four kinds of settings and four formats of weights."""
    import zipfile

    import onnx

    for kind in ("pylate-bert", "st-bert", "stanford-bert"):
        shutil.copytree(CHECKPOINTS / kind, folders / kind, ignore=shutil.ignore_patterns("golden.npz"))
    (folders / "pylate-bert/sentence_bert_config.json").write_text('{"do_lower_case": true}')
    (folders / "stanford-bert/special_tokens_map.json").write_text('{"mask_token": "[MASK]", "pad_token": "[PAD]"}')

    plain = shutil.copytree(folders / "stanford-bert", folders / "next-plaid")
    for name in ("artifact.metadata", "model.safetensors"):
        (plain / name).unlink()
    shutil.copytree(plain, folders / "outside")
    shutil.copytree(plain, folders / "bge")
    settings = {"query_prefix": "[unused0]", "document_prefix": "[unused1]", "query_length": 32, "document_length": 64}
    (plain / "onnx_config.json").write_text(json.dumps(settings | {"embedding_dim": 32, "skiplist_words": [".", ","]}))
    graph = onnx.load(folders / "outside/model.onnx")
    onnx.save_model(
        graph,
        folders / "outside/model.onnx",
        save_as_external_data=True,
        location="model.onnx_data",
        size_threshold=64,
    )
    pickled = {"bge/colbert_linear.pt": ("weight", "bias"), "pylate-bert/1_Dense/pytorch_model.bin": ("linear.weight",)}
    for target, names in pickled.items():
        with zipfile.ZipFile(folders / target, "w") as archive:
            shapes = {"weight": (32, 32), "bias": (32,), "linear.weight": (16, 32)}
            archive.writestr("archive/data.pkl", state_dict({name: shapes[name] for name in names}))
            for index, name in enumerate(names):
                numbers = np.random.default_rng(index).standard_normal(shapes[name], dtype=np.float32)
                archive.writestr(f"archive/data/{index}", numbers.tobytes())


def state_dict(shapes: dict[str, tuple[int, ...]]) -> bytes:
    """Write the index that ``torch.save`` writes of an ``OrderedDict`` of float32 tensors."""

    def text(value: str) -> bytes:
        return b"X" + len(value).to_bytes(4, "little") + value.encode()

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(b"M" + value.to_bytes(2, "little") for value in values) + b"t"

    index = b"\x80\x02ccollections\nOrderedDict\n)R("
    for key, (name, shape) in enumerate(shapes.items()):
        strides = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
        storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(str(key)) + text("cpu") + b"M\x00\x04tQ"
        tensor = b"(" + storage + b"K\x00" + numbers(shape) + numbers(strides) + b"\x89ccollections\nOrderedDict\n)Rt"
        index += text(name) + b"ctorch._utils\n_rebuild_tensor_v2\n" + tensor + b"R"
    return index + b"u."


# What comes of it


def outcome(folder: Path) -> str:
    """Load a checkpoint and encode with it; what comes is a model or a named error."""
    try:
        embedder = ColbertEmbedder(folder, threads=1)
        vectors = [
            *embedder.embed(["Late interaction, keeps a vector.", "", "?!"]),
            *embedder.query_embed("Which price?"),
        ]
        assert all(np.isfinite(rows).all() and rows.ndim == 2 for rows in vectors)
        assert embedder.settings
    except ColbertQdrantError as error:
        return f"{type(error).__name__}"
    return "works"


def work(folders: Path, numbers: range) -> None:
    """Try each of these; say which one before, and what came of it after."""
    warnings.simplefilter("ignore")
    for number in numbers:
        with tempfile.TemporaryDirectory() as scratch:
            what = spoil(folders, Path(scratch) / "model", number)
            print(f"{SAYS}{number} {what}", flush=True)
            try:
                found = outcome(Path(scratch) / "model")
            except BaseException as error:
                if len(numbers) == 1:
                    raise
                found = f"UNNAMED {type(error).__module__}.{type(error).__name__}: {str(error)[:200]!r}"
            print(f"{SAYS}{number} = {found} {_peak()}", flush=True)


def _peak() -> int:
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def lines(folders: Path, numbers: range) -> Iterator[str]:
    """Yield what a process says that works on these; end it where it is silent for too long."""
    command = [sys.executable, __file__, str(folders), str(numbers.start), str(numbers.stop)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    said: queue.Queue[str | None] = queue.Queue()

    def listen(put: Callable[[str | None], None]) -> None:
        for line in process.stdout or ():
            put(line)
        put(None)

    threading.Thread(target=listen, args=(said.put,), daemon=True).start()
    try:
        while (line := said.get(timeout=SECONDS * 3)) is not None:  # three times, as other tests run beside
            if line.startswith(SAYS):  # ONNX Runtime prints there too
                yield line.removeprefix(SAYS).strip()
    except queue.Empty:
        yield f"= UNNAMED no end within {SECONDS * 3} s"
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folders = tmp_path_factory.mktemp("whole")
    build(folders)
    return folders


@pytest.mark.parametrize("kind", sorted(CONFIGS.keys() | WEIGHTS.keys()))
def test_unspoilt_they_work(whole: Path, kind: str) -> None:
    assert outcome(whole / kind) == "works"


@pytest.mark.skipif(sys.platform == "win32", reason="counts memory as POSIX does")
def test_a_spoilt_checkpoint_is_a_model_or_a_named_error(whole: Path) -> None:
    count = int(os.environ.get("MUTATIONS", "300"))
    outcomes: Counter[str] = Counter()
    unnamed: list[str] = []
    peak = done = 0
    while done < count:
        current, before = "", done
        for line in lines(whole, range(done, min(count, done + 500))):
            if "=" not in line:
                current = line
                continue
            done = int(current.split()[0]) + 1
            found = line.partition("= ")[2]
            if found.startswith("UNNAMED"):
                unnamed.append(f"{current}: {found}")
            else:
                name, _, size = found.rpartition(" ")
                outcomes[name] += 1
                peak = max(peak, int(size))
            current = ""
        if current:  # it ended without a word
            unnamed.append(f"{current}: the process died")
            done = int(current.split()[0]) + 1
        assert done > before, f"mutation {done} could not be made"
        print(f"{done} mutations: {dict(outcomes)}, peak {peak / 2**20:.0f} MiB, unnamed {unnamed}", flush=True)

    assert unnamed == []
    assert peak < BYTES
    assert outcomes["works"] > count / 20
    assert outcomes["InvalidModel"] > count / 20


if __name__ == "__main__":
    first = int(sys.argv[2])
    with contextlib.suppress(BrokenPipeError):
        work(Path(sys.argv[1]), range(first, int(sys.argv[3]) if len(sys.argv) > 3 else first + 1))
