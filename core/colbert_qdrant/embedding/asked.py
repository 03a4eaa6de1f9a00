"""What a caller may ask of a model, held against what the model can do."""

from __future__ import annotations

from pathlib import Path

from colbert_qdrant.embedding.hardware import Hardware
from colbert_qdrant.embedding.registry import RegisteredModel
from colbert_qdrant.embedding.tokens import encoder_limit
from colbert_qdrant.errors import InvalidInput
from colbert_qdrant.types import Precision


def check_dim(dim: int | None, full: int | None, trained: tuple[int, ...]) -> int | None:
    """Return the length that vectors are to be cut to; refuse one that the model was not trained for."""
    if dim is None or dim == full or dim in trained:
        return dim
    known = f"it was trained for {', '.join(map(str, trained))}" if trained else "it was not trained to be cut"
    raise InvalidInput(f"dim={dim}: the model's vectors have {full or 'their own'} numbers and {known}")


def check_lengths(folder: Path, **asked: int | None) -> None:
    """Refuse a length that the encoder does not read: lowered in silence, it would cut what it was meant to keep."""
    limit = encoder_limit(folder)
    for name, length in asked.items():
        if limit is not None and length is not None and length > limit:
            raise InvalidInput(f"{name}={length}: the encoder reads {limit} tokens, by the checkpoint's config.json")


def check_precision(
    precision: Precision | None, row: RegisteredModel | None, hardware: Hardware, *, quantized: bool
) -> Precision:
    """Return what to compute in; refuse integers where they can't be made, or are not for."""
    if precision is None:
        return row.precision if row is not None and not hardware.is_accelerated else "float32"
    if precision not in ("float32", "int8"):
        raise InvalidInput(f"precision={precision!r}: use 'float32' or 'int8'")
    if precision == "int8" and quantized:
        raise InvalidInput("quantized=True and precision='int8' exclude each other: it is made of the float32 file")
    if precision == "int8" and hardware.is_accelerated:
        raise InvalidInput("precision='int8' is for processors; leave it out where an accelerator computes")
    return precision
