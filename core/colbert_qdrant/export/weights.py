"""The weights of an encoder, one tensor at a time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from colbert_qdrant.embedding.reader import is_file
from colbert_qdrant.embedding.weights import LARGEST_ENCODER, WEIGHT_FILES, Weights, read_weights
from colbert_qdrant.errors import InvalidModel

_PREFIXES = ("", "bert.", "model.", "encoder.", "auto_model.", "0.auto_model.")
"""What stands before the names of an encoder's weights: nothing, the name of a head's attribute, or of a wrapper's."""

_EMBEDDINGS = ("embeddings.word_embeddings.weight", "embeddings.tok_embeddings.weight")


@dataclass(frozen=True, slots=True)
class EncoderWeights:
    """The weights of a checkpoint's encoder by the names that its own class gives them.

    Parameters
    ----------
    path
        Their file.
    prefix
        What stands before each name in it.
    """

    path: Path
    prefix: str

    @classmethod
    def of(cls, folder: Path) -> EncoderWeights:
        """Find them.

        Raises
        ------
        InvalidModel
            There are none.
        """
        path = next((folder / name for name in WEIGHT_FILES if is_file(folder / name)), None)
        if path is None:
            several = "; they lie in several files, save them as one" if [*folder.glob("model-*.safetensors")] else ""
            raise InvalidModel(f"{folder} has no weights to export, {' or '.join(WEIGHT_FILES)}{several}")
        for prefix in _PREFIXES:
            if read_weights(path, [prefix + name for name in _EMBEDDINGS], most=LARGEST_ENCODER):
                return cls(path, prefix)
        raise InvalidModel(f"{path} has no {' or '.join(_EMBEDDINGS)}, under any known prefix: it holds no encoder")

    def tensor(self, name: str, *shape: int) -> Weights:
        """Return a tensor of that shape.

        Raises
        ------
        InvalidModel
            It is missing, or of another shape than ``config.json`` says.
        """
        found = read_weights(self.path, [self.prefix + name], most=LARGEST_ENCODER)
        if self.prefix + name not in found:
            raise InvalidModel(f"{self.path} lacks {self.prefix + name}, which its config.json promises")
        tensor = found[self.prefix + name]
        if tensor.shape != shape:
            raise InvalidModel(
                f"{self.path}: {self.prefix + name} is of shape {list(tensor.shape)}, "
                f"and {list(shape)} by its config.json"
            )
        return tensor
