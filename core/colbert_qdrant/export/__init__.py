"""A checkpoint's weights as an ONNX graph, without torch: BERT's and ModernBERT's."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from colbert_qdrant.embedding.cache import write_whole
from colbert_qdrant.embedding.checkpoint import EXPORTABLE
from colbert_qdrant.embedding.files import how_to_export
from colbert_qdrant.embedding.graph.model import write_model
from colbert_qdrant.embedding.hardware import CPU, open_session
from colbert_qdrant.embedding.reader import read_config, reason_of
from colbert_qdrant.errors import InvalidInput, InvalidModel
from colbert_qdrant.export.bert import bert
from colbert_qdrant.export.graph_building import Building
from colbert_qdrant.export.modernbert import modernbert
from colbert_qdrant.export.weights import EncoderWeights

MODEL_FILE = "model.onnx"

_ARCHITECTURES = dict(zip(EXPORTABLE, (bert, modernbert), strict=True))

_LARGEST_FILE = 2**31 - 1
"""Protocol Buffers' limit: of a model's file, whose weights are inside."""


def export(folder: str | Path, *, overwrite: bool = False) -> Path:
    """Write ``model.onnx`` beside a checkpoint's weights.

    The graph takes ``input_ids`` and ``attention_mask`` and ends with the encoder's hidden states; what comes after
    them, such as ColBERT's projection, is read from the checkpoint's own files whenever the model is used. Its numbers
    are PyTorch's but for rounding: 1e-5 on the goldens.

    Parameters
    ----------
    folder
        A checkpoint of BERT or ModernBERT: ``config.json`` with ``model.safetensors`` or ``pytorch_model.bin``, as
        PyLate, sentence-transformers, colbert-ai or transformers save it.
    overwrite
        Replace a ``model.onnx`` that is there.

    Returns
    -------
    pathlib.Path
        The file. It is written under another name, run once, and renamed: an interrupted export leaves nothing that
        looks like a model.

    Raises
    ------
    InvalidInput
        No folder, or one that has its ``model.onnx`` already.
    InvalidModel
        An architecture or a variant of one that is not known, or weights that are missing or damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InvalidInput(f"{folder} is not a folder; give the one that holds a checkpoint's config.json and weights")
    target = folder / MODEL_FILE
    if (target.exists() or target.is_symlink()) and not overwrite:
        raise InvalidInput(f"{target} is there already; overwrite it with --overwrite, or overwrite=True from Python")
    config = read_config(folder / "config.json")
    architecture = config.text("model_type", "")
    if architecture not in _ARCHITECTURES:
        raise InvalidModel(
            f"{config.place} is of the architecture {architecture[:40]!r}, and those that can be exported are "
            f"{' and '.join(EXPORTABLE)}; else {how_to_export(folder)}"
        )
    building = Building(EncoderWeights.of(folder))
    content = write_model(_ARCHITECTURES[architecture](building, config))
    if sum(map(len, content)) > _LARGEST_FILE:
        raise InvalidModel(f"{folder}: as ONNX its weights would take more than 2 GiB, which one file can't hold")
    try:
        write_whole(target, content, check=_runs)
        target.chmod((folder / "config.json").stat().st_mode & 0o666)
    except OSError as error:
        raise InvalidInput(f"{target} can't be written ({reason_of(error)}); export a copy of the folder") from error
    return target


def _runs(onnx: Path) -> None:
    session = open_session(onnx, [CPU], 1)
    two = np.zeros((1, 2), dtype=np.int64)
    (hidden,) = session.run(None, {"input_ids": two, "attention_mask": two + 1})
    if not np.isfinite(hidden).all():
        raise InvalidModel(f"{onnx.parent}: the weights give NaN or infinity; fetch them again")
