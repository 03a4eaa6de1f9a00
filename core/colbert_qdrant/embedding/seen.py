"""Which files an embedder was made of: what it loads later has to come from the same ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from colbert_qdrant._once import once
from colbert_qdrant.embedding.cache import FileState, digest_of
from colbert_qdrant.embedding.checkpoint import BGE_HEAD, CONFIG_FILES, TRANSFORMER_FILES
from colbert_qdrant.embedding.files import TOKENIZER_FILES, ModelFiles, external_data
from colbert_qdrant.embedding.reader import is_file, read_modules
from colbert_qdrant.embedding.weights import WEIGHT_FILES
from colbert_qdrant.errors import InvalidModel

_NAMES = (*TOKENIZER_FILES, *CONFIG_FILES, *TRANSFORMER_FILES, "modules.json", BGE_HEAD)


class Seen:
    """A model's files as they were when its settings were read.

    Parameters
    ----------
    files
        Graph, weights outside of it, tokenizer, configs and modules are what counts.
    """

    def __init__(self, files: ModelFiles) -> None:
        self._files = files
        self._known_by: Callable[[Path], object] = FileState.of
        self._found = self._now()

    def check(self) -> None:
        """Refuse to read the files once more where they are others by now.

        Raises
        ------
        InvalidModel
            The settings of one model would go with the graph or the tokenizer of another, or documents and queries be
            encoded by two.
        """
        now = self._now()
        for path in sorted(now.keys() | self._found.keys()):
            if now.get(path) != self._found.get(path):
                raise InvalidModel(f"{path} was changed since this embedder was made from it: make the embedder anew")
        self._found = now

    def __getstate__(self) -> dict[str, Any]:
        """Know the files by their content from now on: another machine has the same ones with other times."""
        self.check()
        return {
            "_files": self._files,
            "_known_by": digest_of,
            "_found": {path: digest_of(path) for path in self._found},
        }

    def _now(self) -> dict[Path, object]:
        return {path: self._known_by(path) for path in _parts(self._files)}


class FromFiles:
    """What is shared by embedders, which load their model when it is first used.

    Parameters
    ----------
    files
        Where it is.
    """

    def __init__(self, files: ModelFiles) -> None:
        self._files = files
        self._seen = Seen(files)

    def __getstate__(self) -> dict[str, Any]:
        """Leave what was loaded behind: it is loaded again where it is used, from the same files."""
        return {
            name: value for name, value in vars(self).items() if not isinstance(getattr(type(self), name, None), once)
        }

    def __copy__(self) -> Self:
        """Return another embedder that shares what was loaded."""
        other = type(self).__new__(type(self))
        vars(other).update(vars(self))
        return other

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return this one: nothing in it changes, and a model is large."""
        return self


def _parts(files: ModelFiles) -> list[Path]:
    graphs = [onnx for onnx in (files.onnx, files.source) if is_file(onnx)]
    weights = [onnx.parent / name for onnx in graphs for name in external_data(onnx)]
    folders = (files.folder, files.projection or files.folder)
    named = [folder / name for folder in folders for name in _NAMES]
    modules = [module.folder for folder in folders for module in read_modules(folder) if module.folder not in folders]
    beside = [folder / name for folder in modules for name in ("config.json", *WEIGHT_FILES)]
    return [path for path in (*graphs, *weights, *named, *beside) if is_file(path)]
