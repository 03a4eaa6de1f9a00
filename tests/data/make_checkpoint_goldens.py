"""Make small checkpoints of random weights, and record what PyLate and sentence-transformers compute with them.

    python tests/data/make_checkpoint_goldens.py [--pylate-env FOLDER] [--st-env FOLDER]

Each library runs in an environment of its own, made if missing. Written to the folders of ``checkpoints/``:

=================  ===========================================================================================
pylate-bert        by PyLate: BERT, one Dense, expansion, query length 32
pylate-modernbert  by PyLate: ModernBERT, lower-cased, two Dense (bias, GELU, residual), prompts, no expansion
stanford-bert      Stanford's files: ``linear.weight`` among the encoder's, attended expansion, query length 16
st-bert            pylate-bert read and saved by sentence-transformers; expansion "min", query length 24
st-modernbert      pylate-modernbert read and saved by sentence-transformers
st-modules         by sentence-transformers: one BERT under lists of modules and settings of which each folder in it is
                   one, with its golden: no ``Normalize``, one before ``Dense``, token pooling, empty prompts, and
                   expansion "min" with a longest query
bge-head           ``colbert_linear.pt`` as ``torch.save`` writes it, half precision; its golden: rows in, rows out
=================  ===========================================================================================

Beside the library's own files lie, except in the last, ``model.onnx``, which ends with the backbone, and
``golden.npz``: for each kind, ``documents`` and ``queries``,

- ``<kind>``: the texts, a JSON list;
- ``<kind>_rows``: rows of each text's array;
- ``<kind>_vectors``: all rows, float32, the arrays one behind the other;

and ``library``: its name and version. The weights of the backbone are deleted after export; the graph holds them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import string
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).absolute().parent
CHECKPOINTS = HERE / "checkpoints"
PYLATE = ("pylate==1.6.0", "onnx")
SENTENCE_TRANSFORMERS = ("sentence-transformers==6.2.0",)

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
POSITIONS = 128
SPECIAL_TOKENS = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
MARKERS = ["[unused0]", "[unused1]"]  # in the vocabulary, as in BERT's, and not among the special tokens

PROSE = """
Late interaction keeps one vector for every token of a passage and compares each query token with all of them,
so a rare name still counts where a single vector would have averaged it away. The price is storage: a passage
of a hundred tokens needs a hundred vectors, and an index has to hold, compress and search them fast enough.
"""
WORDS = PROSE.split()

DOCUMENTS = [
    "",
    " ",
    "Vectors",
    "?!.,;: -- (...)",
    "Hello World",
    "E-mail: o'neil@example.com, #42 -- 100% [sic] {a_b} <c/d> ~$5.",
    "A passage, a query; and an INDEX.",
    " ".join(WORDS[:30]),
    " ".join(WORDS * 3),
    "\n\t  surrounded by white  space \u00a0\n",
    "MiXeD CaSe, Café naïve, Cafe\u0301 nai\u0308ve",
    "ΟΔΥΣΣΕΥΣ 敏捷的狐狸 🚀 xyzzy",
    "between [MASK] and [SEP], [Q] or [D] here",
]
QUERIES = [
    "",
    "Vectors",
    "?!.,",
    "What is late interaction?",
    "  Which price,\tand for which passage? ",
    "MiXeD CaSe Café",
    "ΟΔΥΣΣΕΥΣ 敏捷的狐狸 xyzzy",
    "the [MASK] of [SEP]",
    " ".join(WORDS[:11]),
    " ".join(WORDS[:40]),
    " ".join(WORDS * 4),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pylate-env", type=Path, help="PyLate's environment (default: temporary)")
    parser.add_argument("--st-env", type=Path, help="sentence-transformers' environment (default: temporary)")
    arguments = parser.parse_args()

    sys.path.insert(0, str(Path(__file__).absolute().parents[1]))
    from environments import python_with

    shutil.rmtree(CHECKPOINTS, ignore_errors=True)
    with tempfile.TemporaryDirectory() as scratch:
        for library, requirements, folder in (
            ("pylate", PYLATE, arguments.pylate_env),
            ("sentence-transformers", SENTENCE_TRANSFORMERS, arguments.st_env),
        ):
            python = python_with(folder or Path(scratch) / library, requirements)
            subprocess.run([python, __file__, library, scratch], check=True)
    for folder in sorted(CHECKPOINTS.iterdir()):
        if not folder.name.startswith("stanford"):  # there, the projection lies among the encoder's weights
            (folder / "model.safetensors").unlink(missing_ok=True)
        (folder / "README.md").unlink(missing_ok=True)
        print(f"{folder.name}: {sum(file.stat().st_size for file in folder.rglob('*') if file.is_file()):,} bytes")


def record_pylate(scratch: Path) -> None:
    """Make the checkpoints of PyLate and of Stanford. Runs in PyLate's environment."""
    import torch
    from pylate.models import ColBERT, Dense
    from sentence_transformers.models import Transformer

    torch.manual_seed(0)
    bert, modernbert = save_bert(scratch / "bert"), save_modernbert(scratch / "modernbert")

    model = ColBERT(str(bert), device="cpu", embedding_size=16, query_length=32, document_length=48)
    model.save(str(CHECKPOINTS / "pylate-bert"))

    model = ColBERT(
        modules=[
            Transformer(str(modernbert), do_lower_case=True),
            Dense(32, 24, bias=True, activation_function=torch.nn.GELU(), use_residual=True),
            Dense(24, 24, bias=True, activation_function=torch.nn.Tanh(), use_residual=True),
            Dense(24, 12, bias=False),
        ],
        device="cpu",
        query_length=24,
        document_length=64,
        do_query_expansion=False,
        prompts={"query": "search: ", "document": "passage: "},
    )
    model.save(str(CHECKPOINTS / "pylate-modernbert"))

    save_as_stanford(bert, CHECKPOINTS / "stanford-bert")
    save_bge_head(CHECKPOINTS / "bge-head")

    for name in ("pylate-bert", "pylate-modernbert", "stanford-bert"):
        folder = CHECKPOINTS / name
        model = ColBERT(str(folder), device="cpu")
        export(model[0].auto_model, folder / "model.onnx")
        prompts = (lambda kind: kind) if model.prompts.get("query") else (lambda kind: None)
        save_golden(
            folder,
            documents=model.encode(DOCUMENTS, is_query=False, prompt_name=prompts("document")),
            queries=model.encode(QUERIES, is_query=True, prompt_name=prompts("query")),
            library="pylate",
        )


def record_sentence_transformers(scratch: Path) -> None:
    """Save PyLate's checkpoints in the format of sentence-transformers. Runs in the latter's environment."""
    from sentence_transformers import MultiVectorEncoder

    for shape in ("bert", "modernbert"):
        source, folder = CHECKPOINTS / f"pylate-{shape}", CHECKPOINTS / f"st-{shape}"
        model = MultiVectorEncoder(str(source), device="cpu")
        if shape == "bert":
            model[0].query_expansion = {"strategy": "min", "length": 24}
        model.save(str(folder))
        shutil.copyfile(source / "model.onnx", folder / "model.onnx")
        model = MultiVectorEncoder(str(folder), device="cpu")
        save_golden(
            folder,
            documents=model.encode_document(DOCUMENTS, convert_to_numpy=True),
            queries=model.encode_query(QUERIES, convert_to_numpy=True),
            library="sentence-transformers",
        )


def record_modules(scratch: Path) -> None:
    """Save one encoder under several lists of modules. Runs in the environment of sentence-transformers."""
    import torch
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling, MultiVectorMask

    torch.manual_seed(1)
    bert = save_bert(scratch / "bert-of-modules")
    folder = CHECKPOINTS / "st-modules"
    shutil.rmtree(folder, ignore_errors=True)
    of_tokens = {"module_input_name": "token_embeddings"}
    activation = torch.nn.Tanh()
    dense = Dense(32, 16, bias=True, activation_function=activation, **of_tokens)
    plain = [dense, MultiVectorMask(), Normalize(**of_tokens)]
    stated_empty = {"query": "", "document": "", "x": "topic: "}
    expansion = {"strategy": "min", "length": 8}
    variants: dict[str, tuple[list[Any], dict[str, Any], dict[str, Any]]] = {
        "no-normalize": ([dense, MultiVectorMask()], {}, {}),
        "normalize-first": ([Normalize(**of_tokens), *plain], {}, {}),
        "pooled": ([*plain, HierarchicalTokenPooling(pool_factor=2)], {}, {}),
        "pooled-as-they-are": ([*plain, HierarchicalTokenPooling(pool_factor=2, normalize_embeddings=False)], {}, {}),
        "empty-prompts": (plain, {}, {"prompts": stated_empty, "default_prompt_name": "x"}),
        "longest-query": (plain, {"query_expansion": expansion, "query_length": 12}, {}),
    }
    for name, (modules, knobs, settings) in variants.items():
        transformer = Transformer(str(bert), **knobs)
        MultiVectorEncoder(modules=[transformer, *modules], device="cpu", **settings).save(str(folder / name))
        model = MultiVectorEncoder(str(folder / name), device="cpu")
        save_golden(
            folder / name,
            documents=model.encode_document(DOCUMENTS, convert_to_numpy=True),
            queries=model.encode_query(QUERIES, convert_to_numpy=True),
            library="sentence-transformers",
        )
    export(model[0].auto_model, folder / "model.onnx")
    for name in variants:
        for file in ("tokenizer.json", "model.safetensors", "README.md"):  # the same in each, or inside the graph
            where = folder / name / file
            if file == "tokenizer.json":
                shutil.copyfile(where, folder / file)
            where.unlink(missing_ok=True)


def save_golden(folder: Path, *, library: str, **encoded: list[np.ndarray]) -> None:
    golden = {"library": np.array(f"{library} {version(library)}")}
    for kind, arrays in encoded.items():
        golden[kind] = np.array(json.dumps(DOCUMENTS if kind == "documents" else QUERIES))
        golden[f"{kind}_rows"] = np.array([len(array) for array in arrays], dtype=np.int32)
        golden[f"{kind}_vectors"] = np.concatenate(arrays)
        print(f"{folder.name} {kind}, rows: {golden[f'{kind}_rows'].tolist()}")
    np.savez_compressed(folder / "golden.npz", **golden)


def save_bert(folder: Path) -> Path:
    """Save an uncased BERT with a WordPiece vocabulary."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import BertConfig, BertModel

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=300,
        special_tokens=list(SPECIAL_TOKENS.values()),
        initial_alphabet=[*string.punctuation, *string.ascii_lowercase, *string.digits],
        show_progress=False,
    )
    tokenizer.train_from_iterator([PROSE], trainer)
    vocabulary = tokenizer.get_vocab()
    vocabulary |= {marker: len(vocabulary) + i for i, marker in enumerate(MARKERS)}
    tokenizer.model = models.WordPiece(vocabulary, unk_token="[UNK]")
    save_tokenizer(tokenizer, folder, ["input_ids", "token_type_ids", "attention_mask"])
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(), max_position_embeddings=POSITIONS, initializer_range=0.3, **SIZES
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


def save_modernbert(folder: Path) -> Path:
    """Save a ModernBERT with a vocabulary of byte pairs; its second layer looks four tokens far."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import ModernBertConfig, ModernBertModel

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=list(SPECIAL_TOKENS.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([PROSE, PROSE.lower()], trainer)
    save_tokenizer(tokenizer, folder, ["input_ids", "attention_mask"])
    ids = {f"{role}_token_id": tokenizer.token_to_id(token) for role, token in SPECIAL_TOKENS.items() if role != "mask"}
    config = ModernBertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        max_position_embeddings=POSITIONS,
        global_attn_every_n_layers=2,
        local_attention=8,
        initializer_range=0.3,
        bos_token_id=ids["cls_token_id"],
        eos_token_id=ids["sep_token_id"],
        **ids,
        **SIZES,
    )
    ModernBertModel(config).save_pretrained(folder)
    return folder


def save_tokenizer(tokenizer: Any, folder: Path, inputs: list[str]) -> None:
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    special = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=special)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=POSITIONS,
        model_input_names=inputs,
        **{f"{role}_token": token for role, token in SPECIAL_TOKENS.items()},
    ).save_pretrained(folder)


def save_as_stanford(bert: Path, folder: Path) -> None:
    """Save as colbert-ai does: the projection among the encoder's weights, the settings in a file of their own."""
    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(bert, folder)
    weights = {f"bert.{name}": tensor for name, tensor in load_file(bert / "model.safetensors").items()}
    save_file({**weights, "linear.weight": torch.randn(16, 32)}, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((bert / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["HF_ColBERT"]}, indent=2))
    metadata = {
        "query_token_id": "[unused0]",
        "doc_token_id": "[unused1]",
        "query_maxlen": 16,
        "doc_maxlen": 40,
        "mask_punctuation": True,
        "attend_to_mask_tokens": True,
        "dim": 16,
    }
    (folder / "artifact.metadata").write_text(json.dumps(metadata, indent=4))


def save_bge_head(folder: Path) -> None:
    """Save as bge-m3's repository has it: the state of a linear layer in half precision."""
    import torch

    folder.mkdir()
    head = torch.nn.Linear(8, 8).half()
    torch.save(head.state_dict(), folder / "colbert_linear.pt")
    rows = torch.randn(5, 8)
    np.savez_compressed(folder / "golden.npz", rows=rows.numpy(), projected=head.float()(rows).detach().numpy())


def export(backbone: Any, path: Path) -> None:
    """Write the graph as optimum does: hidden states, no projection."""
    import torch

    class Backbone(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = backbone.eval()

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state

    backbone.set_attn_implementation("eager")  # what the tracing exporter can follow
    ids = torch.tensor([[2, 9, 8, 7, 3], [2, 9, 8, 3, 0]])
    names = ["input_ids", "attention_mask", "last_hidden_state"]
    torch.onnx.export(
        Backbone(),
        (ids, (ids > 0).long()),
        path,
        input_names=names[:2],
        output_names=names[2:],
        dynamic_axes={name: {0: "batch", 1: "tokens"} for name in names},
        opset_version=17,
        dynamo=False,
    )


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["pylate", scratch]:
            record_pylate(Path(scratch))
        case ["sentence-transformers", scratch]:
            record_sentence_transformers(Path(scratch))
            record_modules(Path(scratch))
        case ["modules", scratch]:
            record_modules(Path(scratch))
        case _:
            main()
