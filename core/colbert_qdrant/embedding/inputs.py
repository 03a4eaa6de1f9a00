"""What a graph takes and gives, and how to feed it: names, types and shapes that it was exported with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from colbert_qdrant.errors import InvalidModel

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, NodeArg

IDS, ATTENTION, TYPES, POSITIONS = "input_ids", "attention_mask", "token_type_ids", "position_ids"

_KNOWN = (IDS, ATTENTION, TYPES, POSITIONS)
_INTEGERS: dict[str, type[np.integer[Any]]] = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Argument:
    """An input or an output of a graph: its type as ONNX Runtime writes it, and its sizes, or the names of any size."""

    type: str
    shape: Sequence[int | str | None]


def read_arguments(arguments: Iterable[NodeArg], onnx: Path) -> dict[str, Argument]:
    """Return a graph's inputs or outputs by name.

    Raises
    ------
    InvalidModel
        A name is not text: ONNX Runtime loads such a graph, and fails where the name is asked for.
    """
    try:
        return {argument.name: Argument(argument.type, argument.shape) for argument in arguments}
    except UnicodeDecodeError as error:
        raise InvalidModel(
            f"{onnx} is damaged: a name of its inputs or outputs is not UTF-8 ({error.reason}); fetch the file again"
        ) from error


@dataclass(frozen=True, slots=True)
class GraphInputs:
    """How to feed a graph.

    Parameters
    ----------
    dtypes
        Of each of its inputs, by name.
    one_by_one
        Whether it was exported for a single text.
    width
        How many tokens it was exported for; ``None``: any number.
    first_position
        The position of a text's first token, where the graph wants to be told.
    """

    dtypes: dict[str, type[np.integer[Any]]]
    one_by_one: bool = False
    width: int | None = None
    first_position: int = 0

    def feeds(self, ids: Ids, attention: Ids) -> dict[str, npt.NDArray[Any]]:
        """Return what to run it with: ids and attention are ``(texts, tokens)``."""
        values = {IDS: ids, ATTENTION: attention, TYPES: np.zeros_like(ids)}
        if POSITIONS in self.dtypes:
            places = np.arange(self.first_position, self.first_position + ids.shape[1])
            values[POSITIONS] = np.broadcast_to(places, ids.shape)
        return {name: values[name].astype(dtype, copy=False) for name, dtype in self.dtypes.items()}

    def blank(self, token: int = 1) -> dict[str, npt.NDArray[Any]]:
        """Return a text of one token, or of as many as the graph wants."""
        ids = np.full((1, self.width or 1), token, dtype=np.int64)
        return self.feeds(ids, np.ones_like(ids))


def read_inputs(session: InferenceSession, onnx: Path, first_position: int = 0) -> GraphInputs:
    """Find out how to feed a graph.

    Raises
    ------
    InvalidModel
        It takes what a text does not give, or a number of texts that is neither one nor any.
    """
    arguments = read_arguments(session.get_inputs(), onnx)
    names = ", ".join(arguments)
    if not arguments.keys() <= set(_KNOWN) or not arguments.keys() >= {IDS, ATTENTION}:
        raise InvalidModel(
            f"{onnx} takes {names}; a text encoder takes {IDS}, {ATTENTION} and, if it likes, {TYPES} and {POSITIONS}: "
            "export it again as one"
        )
    for name, argument in arguments.items():
        if argument.type not in _INTEGERS or len(argument.shape) != 2:
            raise InvalidModel(
                f"{onnx} takes {name} as {argument.type} of shape {argument.shape}; a text encoder takes int64 or "
                "int32 of shape (texts, tokens): export it again as one"
            )
    texts, tokens = (_fixed(arguments[IDS].shape[axis]) for axis in (0, 1))
    if texts not in (None, 1):
        raise InvalidModel(
            f"{onnx} was exported for {texts} texts at a time; export it with both dimensions of {names} dynamic "
            "(`colbert-qdrant export` does), or for one text"
        )
    dtypes = {name: _INTEGERS[argument.type] for name, argument in arguments.items()}
    return GraphInputs(dtypes, texts == 1, tokens, first_position)


def _fixed(size: object) -> int | None:
    return size if isinstance(size, int) and size > 0 else None
