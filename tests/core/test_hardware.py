from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from colbert_qdrant import ColbertEmbedder, LateInteractionTextEmbedding
from colbert_qdrant.embedding.hardware import CPU, CPU_TOKEN_BUDGET, CUDA, Hardware, _has_cuda, choose_hardware
from colbert_qdrant.errors import InvalidInput, ModelFilesNotFound, ProviderUnavailable
from tiny_models import build_colbert

HAS_CUDA = CUDA in onnxruntime.get_available_providers()


def test_the_processor_is_the_default() -> None:
    hardware = choose_hardware("cpu", None, None, 3)

    assert hardware == Hardware(((CPU,),), 3)
    assert (hardware.is_accelerated, hardware.planning.budget) == (False, 512)


def test_all_cores_that_the_process_may_use_are_used() -> None:
    assert choose_hardware("cpu", None, None, None).threads >= 1


def test_several_devices_have_a_session_each_and_larger_batches() -> None:
    hardware = choose_hardware("cuda", [0, 1], None, 1)

    assert hardware.providers_by_device == (((CUDA, {"device_id": 0}), CPU), ((CUDA, {"device_id": 1}), CPU))
    assert hardware.is_accelerated
    assert hardware.planning.budget > 512


@pytest.mark.skipif(HAS_CUDA, reason="this installation has CUDA")
def test_auto_is_the_processor_where_cuda_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with onnxruntime-gpu on a machine without a driver."""
    available = onnxruntime.get_available_providers()
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, *available])
    _has_cuda.cache_clear()

    with pytest.warns(UserWarning, match="it does not start"):
        chosen = choose_hardware("auto", None, None, 1)
    _has_cuda.cache_clear()

    assert chosen.providers_by_device == ((CPU,),)


@pytest.mark.parametrize("provider", ["OpenVINOExecutionProvider", ("OpenVINOExecutionProvider", {}), CPU])
def test_what_computes_on_the_processor_is_planned_as_the_processor(provider: Any) -> None:
    chosen = choose_hardware("cpu", None, [provider], 2)

    assert (chosen.is_accelerated, chosen.planning.budget) == (False, CPU_TOKEN_BUDGET)


@pytest.mark.skipif(HAS_CUDA, reason="this installation has CUDA")
def test_auto_is_the_processor_where_there_is_no_cuda() -> None:
    assert not choose_hardware("auto", None, None, 1).is_accelerated


@pytest.mark.skipif(HAS_CUDA, reason="this installation has CUDA")
def test_a_missing_device_is_an_error_and_no_silent_fall_back(tiny_folder: Path) -> None:
    with pytest.raises(ProviderUnavailable, match=r"CUDAExecutionProvider not available.*onnxruntime-gpu"):
        list(ColbertEmbedder(tiny_folder, device="cuda").embed("a"))


def test_a_provider_that_does_not_start_is_an_error(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # ONNX Runtime warns and goes on with the next provider when a driver is missing.
    class FellBack:
        def __init__(self, *_: object, **__: object) -> None:
            pass

        def get_providers(self) -> list[str]:
            return [CPU]

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(onnxruntime, "InferenceSession", FellBack)

    with pytest.raises(ProviderUnavailable, match="did not start"):
        list(ColbertEmbedder(tiny_folder, device="cuda").embed("a"))


def test_several_sessions_give_the_same_vectors_in_order(
    tiny: ColbertEmbedder, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_devices = Hardware(((CPU,), (CPU,)), threads=2)
    monkeypatch.setattr("colbert_qdrant.embedding.embedder.choose_hardware", lambda *_: two_devices)
    texts = [f"text number {number} " * (number % 40) for number in range(100)]

    for ours, theirs in zip(ColbertEmbedder(tiny_folder).embed(texts), tiny.embed(texts), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"threads": 0}, "threads=0"),
        ({"device": "tpu"}, "device='tpu'"),
        ({"providers": [CPU], "device_ids": [0]}, "exclude each other"),
        ({"dtype": "int8"}, "dtype='int8'"),
        ({"long_documents": "drop"}, "long_documents='drop'"),
        ({"pool_factor": 0.5}, "pool_factor=0.5"),
        ({"pool_factor": float("nan")}, "pool_factor=nan"),
        ({"max_vectors": 0}, "max_vectors=0"),
        ({"dim": 64}, "dim=64: the model's vectors have 128 numbers and it was not trained to be cut"),
        ({"compat": "colbert"}, "compat='colbert'"),
    ],
)
def test_settings_that_mean_nothing_are_refused(tiny_folder: Path, arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        ColbertEmbedder(tiny_folder, **arguments)


def test_vectors_are_cut_as_the_model_was_trained_for(
    tiny: ColbertEmbedder, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from colbert_qdrant.embedding import registry

    row = registry.RegisteredModel("m", 128, "model.onnx", "", 0, "", spec={**registry.COLBERT}, dims=(128, 64))
    monkeypatch.setitem(registry._registry, "m", row)
    embedder = ColbertEmbedder("m", model_path=tiny_folder, dim=64)

    [cut], [whole] = embedder.embed("Hello World"), tiny.embed("Hello World")

    assert embedder.dim == 64
    expected = whole[:, :64] / np.linalg.norm(whole[:, :64], axis=1, keepdims=True)
    np.testing.assert_allclose(cut, expected, atol=1e-5)


def test_a_quantised_file_is_found_by_asking_for_it(tiny_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "model"))
    with pytest.raises(ModelFilesNotFound, match=r"model_int8\.onnx"):
        ColbertEmbedder(folder, quantized=True)

    shutil.copyfile(folder / "model.onnx", folder / "model_int8.onnx")

    assert ColbertEmbedder(folder, quantized=True).settings["file"] == "model_int8.onnx"


def test_a_custom_model_is_asked_for_by_name(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from colbert_qdrant.embedding import registry

    monkeypatch.setattr(registry, "_registry", dict(registry._registry))
    ColbertEmbedder.add_custom_model("me/mine", dim=128, spec={"query_length": 20, "query_expansion": "fixed"})

    embedder = ColbertEmbedder("Me/Mine", model_path=tiny_folder)

    assert embedder.model_name == "me/mine"
    assert [len(query) for query in embedder.query_embed("what?")] == [20]
    assert "me/mine" in [row["model"] for row in ColbertEmbedder.list_supported_models()]


def test_a_custom_model_with_an_unknown_field_is_refused() -> None:
    with pytest.raises(InvalidInput, match="query_lenght"):
        ColbertEmbedder.add_custom_model("me/mine", dim=128, spec={"query_lenght": 20})


@pytest.mark.parametrize("cuda", [False, "cpu", "auto"])
def test_fastembeds_words_for_a_device_are_taken(tiny_folder: Path, cuda: bool | str) -> None:
    [vectors] = LateInteractionTextEmbedding(str(tiny_folder), cuda=cuda).embed("a")

    assert vectors.shape[1] == 128


def test_a_device_that_fastembed_does_not_know_is_refused(tiny_folder: Path) -> None:
    with pytest.raises(InvalidInput, match="cuda='gpu'"):
        LateInteractionTextEmbedding(str(tiny_folder), cuda="gpu")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this system does not tell a process its memory")
def test_the_memory_of_a_long_text_is_given_back(tmp_path: Path) -> None:
    folder = build_colbert(tmp_path, positions=2048)
    embedder = ColbertEmbedder(str(folder), document_length=2048, threads=1)
    list(embedder.embed("short"))
    before = resident_mib()

    [vectors] = embedder.embed("word " * 2000)

    attention = 4 * len(vectors) ** 2 * 4 / 2**20  # four heads, in float32
    assert len(vectors) > 2000
    assert resident_mib() - before < attention


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
