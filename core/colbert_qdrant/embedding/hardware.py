"""Where the encoder runs: processors, devices, and ONNX Runtime's sessions on them."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from colbert_qdrant.embedding.batches import Planning
from colbert_qdrant.errors import InvalidInput, InvalidModel, ProviderUnavailable

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, RunOptions

    from colbert_qdrant.embedding.loading import RunnableGraph

Provider: TypeAlias = str | tuple[str, dict[str, Any]]
Device: TypeAlias = Literal["cpu", "cuda", "auto"]

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"

_ON_THE_PROCESSOR = (
    CPU,
    "OpenVINOExecutionProvider",
    "DnnlExecutionProvider",
    "XnnpackExecutionProvider",
    "ACLExecutionProvider",
    "ArmNNExecutionProvider",
)
"""Providers whose large batches would fall out of a processor's caches like those of its own.

OpenVINO may be told to use a GPU by its option ``device_type``; it is planned as the processor all the same.
https://onnxruntime.ai/docs/execution-providers/
"""

CPU_TOKEN_BUDGET = 512
"""Tokens in one run of the graph, padding included. On a processor larger batches only fall out of its caches."""

_FOR_PROCESSORS = Planning(budget=CPU_TOKEN_BUDGET)

_FOR_ACCELERATORS = Planning(budget=32_768, step=32, growth=1.2, read_ahead=4_096, overlaps=True)
"""An accelerator is idle with less; activations of a base-sized model for that many take about 2 GiB. Without a bound,
padding doubles the work on texts of skewed lengths."""


@dataclass(frozen=True, slots=True)
class Hardware:
    """What to run on.

    Parameters
    ----------
    providers_by_device
        ONNX Runtime's execution providers, a list for each device to use side by side.
    threads
        Processor cores.
    """

    providers_by_device: tuple[tuple[Provider, ...], ...]
    threads: int

    @property
    def is_accelerated(self) -> bool:
        """Whether the work is done elsewhere than on the processor."""
        return _name(self.providers_by_device[0][0]) not in _ON_THE_PROCESSOR

    @property
    def is_plain_processor(self) -> bool:
        """Whether ONNX Runtime's own operators for processors do all the work."""
        return all(_name(providers[0]) == CPU for providers in self.providers_by_device)

    @property
    def widens_queries(self) -> bool:
        """Whether a lone query is fastest spread over all cores, in a session of its own."""
        return self.threads > 1 and not self.is_accelerated

    @property
    def planning(self) -> Planning:
        """How texts are put together for one run of the graph."""
        return _FOR_ACCELERATORS if self.is_accelerated else _FOR_PROCESSORS


def choose_hardware(
    device: Device, device_ids: Sequence[int] | None, providers: Sequence[Provider] | None, threads: int | None
) -> Hardware:
    """Decide what to run on.

    Parameters
    ----------
    device
        ``"cpu"``; ``"cuda"``, an error where it is missing; ``"auto"``: CUDA where this installation of ONNX Runtime
        has it and it starts, else the processor, with a warning where it has it and does not.
    device_ids
        Several devices of that kind, to be used side by side.
    providers
        Execution providers by name instead.
    threads
        Processor cores; ``None``: all that the process may use.

    Raises
    ------
    InvalidInput
        Arguments that mean nothing, or exclude each other.
    """
    if threads is not None and threads < 1:
        raise InvalidInput(f"threads={threads}: give at least 1, or None for all cores")
    if device not in ("cpu", "cuda", "auto"):
        raise InvalidInput(f"device={device!r}: use 'cpu', 'cuda' or 'auto'")
    cores = threads or cpu_count()
    if providers:
        if device_ids:
            raise InvalidInput("providers and device_ids exclude each other: a provider's own options name its device")
        return Hardware((tuple(providers),), cores)
    if device == "auto":
        device = "cuda" if _has_cuda() else "cpu"
    if device == "cpu":
        return Hardware(((CPU,),), cores)
    return Hardware(tuple(((CUDA, {"device_id": number}), CPU) for number in device_ids or (0,)), cores)


@cache
def _has_cuda() -> bool:
    """Tell whether CUDA is there and starts; installed and unusable, it is said once and not used.

    A graph of one node is enough to try: the provider is what fails, for want of a driver or a library.
    """
    import onnxruntime

    if CUDA not in onnxruntime.get_available_providers():
        return False
    _load_cuda_libraries()
    try:
        session = onnxruntime.InferenceSession(_ONE_NODE, providers=[CUDA, CPU])
    except Exception:  # the runtime's exceptions have no base class but Exception
        starts = False
    else:
        starts = CUDA in session.get_providers()
    if not starts:
        warnings.warn(
            "onnxruntime has CUDA here, and it does not start (a driver or library it needs is missing): running on "
            "the processor. device='cpu' says so from the start, device='cuda' makes it an error",
            stacklevel=4,
        )
    return starts


def _load_cuda_libraries() -> None:
    """Load CUDA and cuDNN from the packages that pip installed, where ONNX Runtime knows how to.

    https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html#preload-dlls
    """
    import onnxruntime

    preload = getattr(onnxruntime, "preload_dlls", None)
    if preload is not None:
        with contextlib.redirect_stdout(None):  # it prints what it does not find, and what fails fails by name later
            preload()


_ONE_NODE = bytes.fromhex(
    "080812003a370a100a016112016222084964656e746974791201675a0f0a0161120a0a08080112040a02080162"
    "0f0a0162120a0a08080112040a02080142040a001011"
)
"""An ONNX file whose graph gives what it takes."""


def cpu_count() -> int:
    """Return how many processors this process may use, which a container often makes fewer than the machine has."""
    affinity: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def open_session(
    onnx: Path, providers: Sequence[Provider], intra_op_threads: int, graph: RunnableGraph | None = None
) -> InferenceSession:
    """Load a graph: `graph` where it is given, which was made of the file, and else the file.

    Raises
    ------
    ProviderUnavailable
        The first provider is not installed or can't start: ONNX Runtime itself would go on without it, slowly.
    InvalidModel
        The file is no graph.
    """
    import onnxruntime

    available = onnxruntime.get_available_providers()
    if CUDA in map(_name, providers) and CUDA in available:
        _load_cuda_libraries()
    missing = [name for name in map(_name, providers) if name not in available]
    if missing:
        raise ProviderUnavailable(
            f"{', '.join(missing)} not available: this installation of onnxruntime has {', '.join(available)}"
            + ("; CUDA comes with `pip install onnxruntime-gpu` in its place" if CUDA in missing else "")
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = intra_op_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Every batch has another shape, so a memory pattern never fits. The arena stays on: the C library's own allocator
    # keeps two and a half times as much of what such batches leave behind (tests/benchmarks/memory.py).
    options.enable_mem_pattern = False
    # Threads that spin while they wait for the next query burn a core each.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    # On a processor the fused kernel is slower than the three operators it replaces: by 2 to 11% of a run on Zen 3, by
    # 5 to 13% on Zen 5, the most for dynamically quantised graphs. Other providers have kernels of their own.
    disabled = ["SkipLayerNormFusion"] if _name(providers[0]) == CPU else []
    content: str | bytes = str(onnx)
    if graph is not None:
        content = graph.content
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(graph.folder))
        for name, table in graph.tables.items():
            options.add_initializer(name, table)
    try:
        session = onnxruntime.InferenceSession(
            content, options, providers=list(providers), disabled_optimizers=disabled
        )
    except Exception as error:  # the runtime's exceptions have no base class but Exception
        if graph is not None:  # the file itself may be one that the runtime takes, and says else what is wrong with it
            return open_session(onnx, providers, intra_op_threads)
        raise InvalidModel(f"{onnx} can't be loaded as an ONNX model ({error}); fetch the file again") from error
    session.graph = graph  # whose tables are to live as long as the session, which only points to them
    first = _name(providers[0])
    if first not in session.get_providers():
        raise ProviderUnavailable(
            f"{first} is installed and did not start (a driver or library it needs is missing); "
            "run with device='cpu', or set ORT's log level to see its reason"
        )
    # A session reads these where they lie and does not own them: let go of, they would be read all the same.
    session.tables_of_ours = graph.tables if graph is not None else {}
    return session


def fold_constants(onnx: Path, target: Path) -> InferenceSession:
    """Write a graph as ONNX Runtime simplifies it without regard to hardware: constants folded, functions inlined.

    The weights come into a file beside it: a model's own holds at most 2 GiB, and the runtime writes a graph whose
    weights lie outside of it in no other way.

    Parameters
    ----------
    onnx
        The graph.
    target
        The file to write.

    Returns
    -------
    onnxruntime.InferenceSession
        The graph, loaded.

    Raises
    ------
    InvalidModel
        The file is no graph.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.disable_prepacking", "1")
    entry = "session.optimized_model_external_initializers_"
    options.add_session_config_entry(f"{entry}file_name", f"{target.name}.weights")
    options.add_session_config_entry(f"{entry}min_size_in_bytes", "1024")
    try:
        return onnxruntime.InferenceSession(str(onnx), options, providers=[CPU])
    except Exception as error:  # the runtime's exceptions have no base class but Exception
        raise InvalidModel(f"{onnx} can't be loaded as an ONNX model ({error}); fetch the file again") from error


def shrinking_run() -> RunOptions:
    """Return options of a run after which the arena gives its free memory back.

    For the odd long text: the memory of its attention grows with the square of its length, and would be held for ever.
    https://onnxruntime.ai/docs/get-started/with-c.html#features
    """
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options


def silent_run() -> RunOptions:
    """Return options of a run that is expected to fail, and is not to say so on stderr."""
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.log_severity_level = 4
    return options


def _name(provider: Provider) -> str:
    return provider if isinstance(provider, str) else provider[0]
