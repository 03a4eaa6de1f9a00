"""`qdrant_client.models` in, the objects of qdrant_edge out. Pure: no I/O.

Both libraries wrap one engine, so nearly every model has a twin with the same name and the same fields. `translate`
walks a model by that rule, and the tables hold only the places where the twins differ. A set field that the twin
doesn't take is refused by name: nothing is dropped in silence.

https://qdrant.tech/documentation/edge/
"""

from __future__ import annotations

import datetime
import functools
import importlib
import importlib.metadata
import operator
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from colbert_qdrant.collection.engines.edge_errors import refusal
from colbert_qdrant.errors import InvalidInput, MissingExtra, UnsupportedByEngine

if TYPE_CHECKING:
    from pydantic import BaseModel

_TESTED_VERSION = "0.9."

_DEEPEST = 64

_TWINS = {
    "BinaryQuantization": "BinaryQuantizationConfig",
    "CreateCollection": "EdgeConfig",
    "Datatype": "VectorStorageDatatype",
    "DatetimeRange": "RangeDateTime",
    "DisabledStemmerParams": "DisabledStemmer",
    "ExpDecayExpression": "Expression.Decay",
    "FormulaQuery": "Formula",
    "GaussDecayExpression": "Expression.Decay",
    "GeoDistance": "Expression.GeoDistance",
    "HnswConfigDiff": "HnswIndexConfig",
    "IdfCorpusParams": "IdfParams",
    "LinDecayExpression": "Expression.Decay",
    "OptimizersConfigDiff": "EdgeOptimizersConfig",
    "PayloadSelectorExclude": "PayloadSelector.Exclude",
    "PayloadSelectorInclude": "PayloadSelector.Include",
    "ProductQuantization": "ProductQuantizationConfig",
    "Range": "RangeFloat",
    "RrfQuery": "Fusion.Rrf",
    "ScalarQuantization": "ScalarQuantizationConfig",
    "SparseVectorParams": "EdgeSparseVectorParams",
    "TurboQuantization": "TurboQuantQuantizationConfig",
    "VectorParams": "EdgeVectorParams",
}

# Models whose fields the twin of the model around them takes itself: Nested(key, filter) in NestedCondition(nested).
_INLINED = {
    "BinaryQuantizationConfig",
    "DecayParamsExpression",
    "DivParams",
    "GeoDistanceParams",
    "Nested",
    "PayloadField",
    "PowParams",
    "ProductQuantizationConfig",
    "Rrf",
    "ScalarQuantizationConfig",
    "Slice",
    "SparseIndexParams",
    "TurboQuantQuantizationConfig",
}

_PARAMETERS = {
    "abs": "expr",
    "acosh": "expr",
    "datetime": "date_time",
    "datetime_key": "path",
    "exclude": "keys",
    "exp": "expr",
    "has_id": "point_ids",
    "has_vector": "vector",
    "include": "keys",
    "ln": "expr",
    "log10": "expr",
    "max": "exprs",
    "min": "exprs",
    "mult": "exprs",
    "neg": "expr",
    "optimizers_config": "optimizers",
    "prefetch": "prefetches",
    "sqrt": "expr",
    "sum": "exprs",
}

_EXPRESSIONS = {"base", "expr", "exponent", "exprs", "formula", "left", "right", "target", "x"}
_LISTS = {"must", "must_not", "should"}  # qdrant_client lets a single one stand for the list
_SETS = {"custom", "languages", "point_ids"}

# What Qdrant assumes where its own models leave a field open and the twins demand it.
# https://qdrant.tech/documentation/concepts/indexing/#vector-index
# https://qdrant.tech/documentation/concepts/hybrid-queries/#reciprocal-rank-fusion-rrf
HNSW_DEFAULTS: Mapping[str, int] = {"m": 16, "ef_construct": 100, "full_scan_threshold": 10_000}
RRF_DEFAULTS: Mapping[str, int] = {"k": 2}
_DEFAULTS = {"HnswConfigDiff": HNSW_DEFAULTS, "RrfQuery": RRF_DEFAULTS}


@functools.cache
def engine() -> ModuleType:
    """Return the module ``qdrant_edge``.

    Raises
    ------
    MissingExtra
        It is not installed, or its API is of another version.
    """
    try:
        version = importlib.metadata.version("qdrant-edge-py")
        module = importlib.import_module("qdrant_edge")
    except ImportError as error:
        raise MissingExtra(
            'The embedded engine is not installed: pip install "colbert-qdrant[edge]". '
            "Without it, pass client=QdrantClient(...) of your own."
        ) from error
    if not version.startswith(_TESTED_VERSION):
        raise MissingExtra(
            f"qdrant-edge-py {version} is installed and {_TESTED_VERSION}x is needed, its API moves between minor "
            'versions: pip install "colbert-qdrant[edge]".'
        )
    return module


def translate(value: Any) -> Any:
    """Return the twin of a model, enum member or container of them; a plain value as it is.

    Raises
    ------
    UnsupportedByEngine
        The embedded engine lacks the model, the enum member or a field that is set.
    InvalidInput
        The engine refuses a value.
    """
    from pydantic import BaseModel

    if isinstance(value, BaseModel):
        return twin(value)
    if isinstance(value, Enum):
        return _member(value)
    if isinstance(value, Mapping):
        return {key: translate(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [translate(item) for item in value]
    if isinstance(value, datetime.date):
        return value.isoformat()
    return value


def twin(model: BaseModel, **ready: object) -> Any:
    """Return the engine's object for a model.

    Parameters
    ----------
    model
        Of `qdrant_client.models`, validated or not.
    **ready
        Fields which the caller has already translated; None leaves one out.
    """
    name = type(model).__name__
    if name == "GeoLineString":
        (points,) = only(model, "points")
        return translate(points)
    constructor, accepted = _constructor(name)
    arguments: dict[str, object] = dict(_DEFAULTS.get(name, {}))
    if "Expression" in constructor.__qualname__:  # its variants take every parameter, None for the open ones
        arguments = dict.fromkeys(accepted)
    if name.endswith("DecayExpression"):
        arguments["kind"] = getattr(engine().DecayKind, name.removesuffix("DecayExpression"))
    for label, field, value in _given(model):
        parameter = _PARAMETERS.get(field, field)
        if field in ready or (field == "type" and field not in accepted):  # the twin's class is itself the type
            continue
        if parameter not in accepted:
            raise UnsupportedByEngine(f"{label} is not supported by the embedded engine: leave it unset.")
        arguments[parameter] = _argument(parameter, value)
    arguments |= {_PARAMETERS.get(field, field): value for field, value in ready.items() if value is not None}
    try:
        return constructor(**arguments)
    except (TypeError, ValueError, OverflowError) as error:
        raise refusal(name, error) from error


def check_depth(value: object, what: str) -> None:
    """Refuse a payload's value, or a filter, that the engine would write to its log and not read again.

    A collection that holds one can't be opened any more, with all that is in it. The engine's recursion ends at about
    120 levels of mappings and lists (qdrant-edge-py 0.9.0).

    Raises
    ------
    InvalidInput
        It is nested too deep, or contains itself.
    """
    _check_depth(value, what, _DEEPEST)


def _check_depth(value: object, what: str, left: int) -> None:
    if isinstance(value, Mapping):
        inner: Iterable[object] = value.values()
    elif isinstance(value, list | tuple):
        inner = value
    elif hasattr(type(value), "model_fields"):
        inner = vars(value).values()
    else:
        return
    if not left:
        raise InvalidInput(
            f"{what} is nested more than {_DEEPEST} levels deep, or contains itself: a collection that stores it could "
            "not be read again. Store the deep part as text (json.dumps), or make it flatter"
        )
    for item in inner:
        if item is not None and not isinstance(item, str | int | float):
            _check_depth(item, what, left - 1)


def only(model: BaseModel, *fields: str) -> tuple[Any, ...]:
    """Return the named fields (None where unset); any other that is set is refused."""
    given = set_fields(model)
    refuse(type(model).__name__, {field: value for field, value in given.items() if field not in fields})
    return tuple(given.get(field) for field in fields)


def set_fields(model: BaseModel | None) -> dict[str, Any]:
    """Return the fields of a model that are set; none of None."""
    return {field: value for _, field, value in _given(model)} if model else {}


def refuse(owner: str, arguments: Mapping[str, object]) -> None:
    """Raise `UnsupportedByEngine` for the first argument that is not None."""
    for name, value in arguments.items():
        if value is not None:
            raise UnsupportedByEngine(
                f"{owner}: {name}={value!r} is not supported by the embedded engine: leave it unset."
            )


def _given(model: BaseModel) -> Iterator[tuple[str, str, Any]]:
    """Yield what is set as (label for messages, field, value), inlined models as fields of their own."""
    for name, field in type(model).model_fields.items():
        value = getattr(model, name, None)
        if value is None or value is field.default:
            continue
        if type(value).__name__ in _INLINED:
            yield from _given(value)
        else:
            yield f"{type(model).__name__}.{name}", field.alias or name, value


@functools.cache
def _constructor(name: str) -> tuple[Any, frozenset[str]]:
    path = _TWINS.get(name, name)
    if path.endswith("Expression"):
        path = f"Expression.{path.removesuffix('Expression')}"
    try:
        constructor = operator.attrgetter(path)(engine())
    except AttributeError:
        raise UnsupportedByEngine(f"{name} is not supported by the embedded engine.") from None
    # Not inspect.signature: `MatchExcept(except)` is no valid Python signature.
    signature: str = constructor.__text_signature__
    return constructor, frozenset(part.split("=")[0].strip() for part in signature.strip("()").split(","))


def _argument(parameter: str, value: Any) -> Any:
    if parameter in _LISTS and not isinstance(value, list):
        value = [value]
    if parameter == "value" and isinstance(value, bool):
        return np.bool_(value)  # qdrant_edge 0.9 reads True as the integer 1, which matches no boolean
    if parameter in _EXPRESSIONS:
        return [_expression(item) for item in value] if parameter == "exprs" else _expression(value)
    return set(translate(value)) if parameter in _SETS else translate(value)


def _expression(value: Any) -> Any:
    variant = engine().Expression
    if isinstance(value, str):
        return variant.Variable(value)
    if isinstance(value, (int, float)):
        return variant.Constant(value)
    result = translate(value)
    return result if isinstance(result, variant) else variant.Condition(result)


def _member(value: Enum) -> Any:
    kind = type(value).__name__
    members = getattr(engine(), _TWINS.get(kind, kind), None)
    for name in dir(members):
        if _spelling(name) == _spelling(str(value.value)):
            return getattr(members, name)
    raise UnsupportedByEngine(f"{kind} {value.value!r} is not supported by the embedded engine.")


def _spelling(name: str) -> str:
    return name.replace("_", "").lower()
