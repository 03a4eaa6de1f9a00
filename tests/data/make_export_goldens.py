"""Make small checkpoints of random weights without ONNX, and record what torch computes with them.

    python tests/data/make_export_goldens.py [--env FOLDER]

sentence-transformers runs in an environment of its own, made if missing. Written to the folders of ``exports/``:

================  ============================================================================================
bert              transformers' own layout: no prefix, float32
bert-head         ``pytorch_model.bin`` in half precision, names behind ``bert.``, a head beside; activation by tanh
stanford          colbert-ai's layout: ``linear.weight`` among the encoder's weights, ``pytorch_model.bin``
modernbert        PyLate's layout: two kinds of layers, a Dense; queries are expanded beyond what a layer sees
modernbert-old    as transformers 4 wrote its config; biases everywhere, names behind ``model.``, bfloat16
================  ============================================================================================

Beside the checkpoint's files lies ``golden.npz``: ``ids`` and ``attention``, ``(texts, tokens)``, and ``hidden``, the
encoder's ``last_hidden_state``, where ``attention`` is 1 and, but for BERT, where it is 0 too. In ``modernbert`` and
``stanford`` there are also ``documents`` and ``queries``, JSON lists, and for each ``<kind>_rows`` and
``<kind>_vectors`` as in ``checkpoints/``; ``library`` names what made them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).absolute().parent
EXPORTS = HERE / "exports"
CHECKPOINTS = HERE / "checkpoints"
SENTENCE_TRANSFORMERS = ("sentence-transformers==6.2.0",)

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
TEXTS = [
    "Vectors",
    "Late interaction keeps one vector for every token of a passage, and compares each query token with all of them.",
    "a rare name still counts where a single vector would have averaged it away",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--env", type=Path, help="sentence-transformers' environment (default: temporary)")
    arguments = parser.parse_args()

    sys.path.insert(0, str(HERE.parent))
    from environments import python_with

    with tempfile.TemporaryDirectory() as scratch:
        python = python_with(arguments.env or Path(scratch) / "environment", SENTENCE_TRANSFORMERS)
        subprocess.run([python, __file__, "record"], check=True)
    for folder in sorted(EXPORTS.iterdir()):
        print(f"{folder.name}: {sum(file.stat().st_size for file in folder.rglob('*') if file.is_file()):,} bytes")


def record() -> None:
    """Make everything. Runs in the environment of sentence-transformers."""
    import torch
    from transformers import BertConfig, BertForMaskedLM, BertModel, ModernBertConfig, ModernBertForMaskedLM

    torch.manual_seed(0)
    shutil.rmtree(EXPORTS, ignore_errors=True)

    bert = BertModel(BertConfig(vocab_size=228, max_position_embeddings=40, initializer_range=0.3, **SIZES))
    save(bert, EXPORTS / "bert")
    record_hidden(EXPORTS / "bert")

    config = BertConfig(
        vocab_size=60, max_position_embeddings=40, initializer_range=0.3, hidden_act="gelu_new", **SIZES
    )
    head = BertForMaskedLM(config)
    save(head, EXPORTS / "bert-head", torch.float16)
    record_hidden(EXPORTS / "bert-head")

    make_stanford(bert)
    make_modernbert()

    config = ModernBertConfig(
        vocab_size=60,
        max_position_embeddings=64,
        initializer_range=0.3,
        local_attention=6,
        norm_bias=True,
        attention_bias=True,
        mlp_bias=True,
        hidden_activation="silu",
        rope_parameters={
            "full_attention": {"rope_type": "default", "rope_theta": 80_000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 5_000.0},
        },
        **SPECIAL,
        **SIZES | {"num_hidden_layers": 3},
    )
    old = ModernBertForMaskedLM(config)
    with torch.no_grad():
        for name, parameter in old.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.2)
    save(old, EXPORTS / "modernbert-old", torch.bfloat16)
    path = EXPORTS / "modernbert-old/config.json"
    stated = json.loads(path.read_text())
    del stated["rope_parameters"], stated["layer_types"]
    path.write_text(json.dumps(stated | {"global_rope_theta": 80_000.0, "local_rope_theta": 5_000.0}, indent=2))
    record_hidden(EXPORTS / "modernbert-old")


SPECIAL = {"pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3}


def make_stanford(bert: Any) -> None:
    """Write what colbert-ai saves."""
    import torch
    from sentence_transformers import MultiVectorEncoder

    folder = EXPORTS / "stanford"
    shutil.copytree(CHECKPOINTS / "stanford-bert", folder, ignore=shutil.ignore_patterns("*.onnx", "*.npz", "model.*"))
    stated = json.loads((EXPORTS / "bert/config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**stated, "architectures": ["HF_ColBERT"]}, indent=2))
    weights = {f"bert.{name}": tensor for name, tensor in bert.state_dict().items() if "pooler" not in name}
    weights["bert.embeddings.position_ids"] = torch.arange(40)[None]  # as transformers 4 saved it
    torch.save({**weights, "linear.weight": torch.randn(16, 32)}, folder / "pytorch_model.bin")
    record_vectors(MultiVectorEncoder(str(folder), device="cpu"), folder)


def make_modernbert() -> None:
    """Write what PyLate saves, with queries expanded to 24 tokens where a layer sees 4 to each side."""
    import torch
    from safetensors.torch import save_file
    from sentence_transformers import MultiVectorEncoder
    from transformers import ModernBertConfig, ModernBertModel

    source, folder = CHECKPOINTS / "pylate-modernbert", EXPORTS / "modernbert"
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.onnx", "*.npz", "2_Dense", "3_Dense"))
    config = ModernBertConfig(
        vocab_size=402,
        max_position_embeddings=128,
        initializer_range=0.3,
        global_attn_every_n_layers=2,
        local_attention=8,
        **SPECIAL,
        **SIZES | {"num_hidden_layers": 3},
    )
    ModernBertModel(config).save_pretrained(folder)
    modules = json.loads((folder / "modules.json").read_text())[:2]
    (folder / "modules.json").write_text(json.dumps(modules, indent=2))
    dense = json.loads((folder / "1_Dense/config.json").read_text())
    dense |= {"in_features": 32, "out_features": 16, "bias": False, "use_residual": False}
    dense["activation_function"] = "torch.nn.modules.linear.Identity"
    (folder / "1_Dense/config.json").write_text(json.dumps(dense))
    save_file({"linear.weight": torch.randn(16, 32)}, folder / "1_Dense/model.safetensors")
    settings = json.loads((folder / "config_sentence_transformers.json").read_text())
    settings |= {"do_query_expansion": True, "attend_to_expansion_tokens": False, "query_length": 24}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(settings, indent=2))
    record_vectors(MultiVectorEncoder(str(folder), device="cpu"), folder)
    record_hidden(folder)


def save(model: Any, folder: Path, dtype: Any = None) -> None:
    """Save a model, and its weights as an older program would have where a type is given."""
    import torch
    from safetensors.torch import save_file

    model.save_pretrained(folder)
    if dtype is not None:
        state = {key: tensor.to(dtype) for key, tensor in model.state_dict().items() if key != "decoder.weight"}
        (folder / "model.safetensors").unlink()
        if dtype == torch.float16:
            torch.save(state, folder / "pytorch_model.bin")
        else:
            save_file(state, folder / "model.safetensors")
    (folder / "generation_config.json").unlink(missing_ok=True)


def record_hidden(folder: Path) -> None:
    import torch
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    random = np.random.RandomState(0)
    ids = random.randint(4, 60, size=(4, 36))
    attention = (np.arange(36) < [[36], [1], [9], [23]]).astype(np.int64)
    with torch.no_grad():
        hidden = model(input_ids=torch.tensor(ids), attention_mask=torch.tensor(attention)).last_hidden_state
    golden = dict(np.load(folder / "golden.npz")) if (folder / "golden.npz").exists() else {}
    golden |= {"ids": ids, "attention": attention, "hidden": hidden.numpy()}
    np.savez_compressed(folder / "golden.npz", **golden)


def record_vectors(model: Any, folder: Path) -> None:
    golden = {"library": np.array(f"sentence-transformers {version('sentence-transformers')}")}
    for kind, encode in (("documents", model.encode_document), ("queries", model.encode_query)):
        arrays = encode(TEXTS, convert_to_numpy=True)
        golden[kind] = np.array(json.dumps(TEXTS))
        golden[f"{kind}_rows"] = np.array([len(array) for array in arrays], dtype=np.int32)
        golden[f"{kind}_vectors"] = np.concatenate(arrays)
        print(f"{folder.name} {kind}, rows: {golden[f'{kind}_rows'].tolist()}")
    np.savez_compressed(folder / "golden.npz", **golden)


if __name__ == "__main__":
    if sys.argv[1:] == ["record"]:
        record()
    else:
        main()
