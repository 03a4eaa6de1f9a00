"""LateInteractionTextEmbedding: FastEmbed's interface to ColBERT, on this encoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from colbert_qdrant.embedding.embedder import ColbertEmbedder
from colbert_qdrant.embedding.hardware import Device, Provider
from colbert_qdrant.errors import InvalidInput


class LateInteractionTextEmbedding(ColbertEmbedder):
    """FastEmbed's class of that name on this encoder: change the import, keep the program.

    Parameters
    ----------
    model_name
        As `model` of `ColbertEmbedder`.
    cache_dir, threads, providers, local_files_only
        As in `ColbertEmbedder`.
    cuda
        ``True`` or ``"cuda"``: the CUDA provider, an error where it is missing; ``False`` or ``"cpu"``: the CPU;
        ``"auto"``: CUDA where this installation of ONNX Runtime has it. FastEmbed's ``Device`` is one of the strings.
    device_ids
        Several CUDA devices to use side by side.
    lazy_load
        Load the model on first use instead of now.
    specific_model_path
        A folder that holds the named model's files.

    References
    ----------
    https://github.com/qdrant/fastembed/blob/main/fastembed/late_interaction/late_interaction_text_embedding.py
    """

    def __init__(
        self,
        model_name: str,
        cache_dir: str | None = None,
        threads: int | None = None,
        providers: Sequence[Provider] | None = None,
        cuda: bool | str = "auto",
        device_ids: list[int] | None = None,
        lazy_load: bool = False,
        *,
        local_files_only: bool = False,
        specific_model_path: str | Path | None = None,
    ) -> None:
        super().__init__(
            model_name,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            model_path=specific_model_path,
            device=_device(cuda),
            device_ids=device_ids,
            providers=providers,
            threads=threads,
            compat="fastembed",
        )
        if not lazy_load:
            _ = self._document_encoder


def _device(cuda: bool | str) -> Device:
    named: dict[bool | str, Device] = {True: "cuda", False: "cpu", "cuda": "cuda", "cpu": "cpu", "auto": "auto"}
    if cuda not in named:
        raise InvalidInput(f"cuda={cuda!r}: use True, False, 'cuda', 'cpu' or 'auto'")
    return named[cuda]
