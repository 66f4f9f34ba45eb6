"""Identity of a stage: an exact encoding of its config, and the fingerprint of it.

The encoder refuses what it cannot encode exactly (callables, paths, sets, objects with a default repr, NaN): identity
never depends on `str(object)`. Paths, devices and credentials are execution and do not belong in a config.
"""

import dataclasses
import hashlib
import json
import math
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from ops.errors import InputError

T = TypeVar("T")


def encode(value: Any, where: str = "config") -> Any:
    """`value` as plain JSON data, exactly.

    Frozen dataclasses become objects with their class name under `class`; tuples and lists become arrays; floats keep
    every bit (shortest round-trip repr).

    Raises:
        InputError: for anything else, naming the field.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if type(value) is int:
        return value
    if type(value) is float:
        if not math.isfinite(value):
            raise InputError(f"{where}: {value} has no exact encoding")
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        if not type(value).__dataclass_params__.frozen:  # type: ignore[attr-defined]
            raise InputError(f"{where}: {type(value).__name__} is not a frozen dataclass")
        fields = {
            field.name: encode(getattr(value, field.name), f"{where}.{field.name}")
            for field in dataclasses.fields(value)
        }
        return {"class": type(value).__name__, **fields}
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise InputError(f"{where}: keys must be strings")
        return {key: encode(item, f"{where}[{key!r}]") for key, item in sorted(value.items())}
    if isinstance(value, tuple | list):
        return [encode(item, f"{where}[{index}]") for index, item in enumerate(value)]
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    raise InputError(f"{where}: a {kind} has no exact encoding; identity holds plain values only")


def canonical(value: Any) -> str:
    """Canonical JSON text of encoded data: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def fingerprint(value: Any) -> str:
    """64 hex digits of SHA-256 over the canonical encoding of `value`."""
    return hashlib.sha256(canonical(encode(value)).encode()).hexdigest()


def decode(kind: type[T], data: Any, where: str = "config") -> T:
    """The inverse of `encode`, by the type hints of the dataclass `kind`.

    Raises:
        InputError: for unknown or missing fields and wrong types, naming the field.
    """
    return _decode(kind, data, where)


def _decode(kind: Any, data: Any, where: str) -> Any:
    origin = typing.get_origin(kind)
    if kind is Any:
        return data
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _decode_dataclass(kind, data, where)
    if origin in (typing.Union, types.UnionType):
        return _decode_union(kind, data, where)
    if origin is typing.Literal:
        if data not in typing.get_args(kind):
            raise InputError(f"{where}: {data!r} is not one of {list(typing.get_args(kind))}")
        return data
    if origin is tuple:
        if not isinstance(data, Sequence) or isinstance(data, str):
            raise InputError(f"{where}: expected a list, got {data!r}")
        arguments = typing.get_args(kind)
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(_decode(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(data))
        if len(arguments) != len(data):
            raise InputError(f"{where}: expected {len(arguments)} items, got {len(data)}")
        pairs = enumerate(zip(arguments, data, strict=True))
        return tuple(_decode(argument, item, f"{where}[{i}]") for i, (argument, item) in pairs)
    if origin is not None and issubclass(origin, Sequence):
        if not isinstance(data, Sequence) or isinstance(data, str):
            raise InputError(f"{where}: expected a list, got {data!r}")
        item_kind = typing.get_args(kind)[0]
        return tuple(_decode(item_kind, item, f"{where}[{i}]") for i, item in enumerate(data))
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(data, Mapping):
            raise InputError(f"{where}: expected an object, got {data!r}")
        value_kind = typing.get_args(kind)[1]
        return {key: _decode(value_kind, item, f"{where}[{key!r}]") for key, item in data.items()}
    if kind is float and type(data) is int:
        return float(data)
    if kind is type(None):
        kind = types.NoneType
    if type(data) is not kind:
        raise InputError(f"{where}: expected {getattr(kind, '__name__', kind)}, got {data!r}")
    return data


def _decode_dataclass(kind: type, data: Any, where: str) -> Any:
    if not isinstance(data, Mapping):
        raise InputError(f"{where}: expected an object for {kind.__name__}, got {data!r}")
    hints = typing.get_type_hints(kind)
    known = {field.name: field for field in dataclasses.fields(kind)}
    given = {key: item for key, item in data.items() if key != "class"}
    if data.get("class", kind.__name__) != kind.__name__:
        raise InputError(f"{where}: expected a {kind.__name__}, got a {data['class']}")
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise InputError(f"{where}: {kind.__name__} has no fields {unknown}; it has {sorted(known)}")
    missing = [
        name
        for name, field in known.items()
        if name not in given and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise InputError(f"{where}: {kind.__name__} needs the fields {missing}")
    values = {name: _decode(hints[name], item, f"{where}.{name}") for name, item in given.items()}
    try:
        return kind(**values)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{where}: {error}") from error


def _decode_union(kind: Any, data: Any, where: str) -> Any:
    options = typing.get_args(kind)
    if data is None and types.NoneType in options:
        return None
    classes = [option for option in options if isinstance(option, type) and dataclasses.is_dataclass(option)]
    if isinstance(data, Mapping) and classes:
        name = data.get("class", classes[0].__name__ if len(classes) == 1 else None)
        for option in classes:
            if option.__name__ == name:
                return _decode_dataclass(option, data, where)
        raise InputError(f"{where}: `class` must be one of {[option.__name__ for option in classes]}")
    errors = []
    for option in options:
        if option is types.NoneType or option in classes:
            continue
        try:
            return _decode(option, data, where)
        except InputError as error:
            errors.append(str(error))
    raise InputError("; or ".join(errors) or f"{where}: {data!r} fits none of {options}")
