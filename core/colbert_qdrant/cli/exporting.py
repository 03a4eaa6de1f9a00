"""``colbert-qdrant export``: a checkpoint's weights as an ONNX file."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from colbert_qdrant.cli import tables, terminal
from colbert_qdrant.cli.options import FilledPath, as_json, carefully


@click.command()
@click.argument("folder", type=FilledPath(path_type=Path))
@click.option("--overwrite", is_flag=True, help="Replace the folder's model.onnx, if it has one.")
@as_json
@carefully
def export(*, folder: Path, overwrite: bool, to_json: bool) -> None:
    """Make a checkpoint's model.onnx, without torch.

    FOLDER holds config.json and model.safetensors or pytorch_model.bin of a BERT or ModernBERT, as PyLate,
    sentence-transformers, colbert-ai or transformers save it.
    """
    from colbert_qdrant.export import export as exported

    onnx = exported(folder, overwrite=overwrite)
    size = onnx.stat().st_size
    if to_json:
        terminal.say_json({"file": str(onnx), "bytes": size})
        return
    terminal.say(f"{onnx} ({tables.in_bytes(size)})")
    terminal.complain(f"Use it with --model {shlex.quote(str(folder))}, or as ColbertEmbedder({str(folder)!r}).")
