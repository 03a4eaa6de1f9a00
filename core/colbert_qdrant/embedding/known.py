"""The models that are known by name, as FastEmbed's classes give, size and take them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from colbert_qdrant.embedding import registry
from colbert_qdrant.embedding.spec import ColbertSpec
from colbert_qdrant.errors import InvalidInput, UnknownModel


class KnownModels:
    """Class methods of an embedder, by FastEmbed's names, over `registry`."""

    @classmethod
    def list_supported_models(cls) -> list[dict[str, Any]]:
        """Return a dict for each registered model: name, dim, licence, size in GB, sources, file, published nDCG@10."""
        return [row.as_row() for row in registry.registered()]

    @classmethod
    def get_embedding_size(cls, model_name: str) -> int:
        """Return the length of a registered model's token vectors, without loading it."""
        return _registered(model_name).dim

    @classmethod
    def add_custom_model(
        cls,
        model: str,
        *,
        dim: int,
        hf: str | None = None,
        model_file: str = "model.onnx",
        additional_files: Sequence[str] = (),
        license: str = "",
        size_in_gb: float = 0.0,
        description: str = "",
        spec: Mapping[str, Any] | None = None,
    ) -> None:
        """Register a model, so that it can be asked for by name; one of that name is replaced.

        Parameters
        ----------
        model
            The name.
        dim
            Length of its token vectors.
        hf
            Its repository on the hub; ``None``: as `model`.
        model_file, additional_files
            The ONNX file, and files it needs beside it.
        license, size_in_gb, description
            For `list_supported_models`.
        spec
            Fields of `ColbertSpec` that the checkpoint's own files do not state.

        Raises
        ------
        InvalidInput
            A field that `ColbertSpec` does not have, or a value that it does not take.
        """
        fields = {"dim": dim, **(spec or {})}
        try:
            ColbertSpec(**fields)
        except TypeError as error:
            raise InvalidInput(f"spec of {model!r}: {error}; its fields are those of ColbertSpec") from None
        registry.add(
            registry.RegisteredModel(
                model=model,
                dim=dim,
                model_file=model_file,
                license=license,
                size_in_gb=size_in_gb,
                description=description,
                hf=hf or model,
                additional_files=tuple(additional_files),
                spec=fields,
            )
        )


def _registered(name: str) -> registry.RegisteredModel:
    row = registry.find(name)
    if row is None:
        raise UnknownModel(f"{name!r} is not a known model; {registry.said_of_unknown(name)}")
    return row
