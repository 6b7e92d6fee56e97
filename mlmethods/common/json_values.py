"""Python values as strict JSON and back, without changing their type.

JSON has no tuples, no dictionaries with integer keys, no NaN and no arrays. Each of
these becomes an object with one key that starts with ``$``. Anything else that is
not JSON is refused: reading a file back never runs code that the file names.
"""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mlmethods.errors import CheckpointError, InvalidInputError

__all__ = ["from_json", "to_json"]

_FLOATS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_ARRAY_KINDS = "biufUO"


def to_json(name: str, value: Any) -> Any:
    """Return `value` as JSON that :func:`from_json` reads back.

    Parameters
    ----------
    name : str
        What the value is called, for the message; entries of mappings add theirs.
    value : object
        None, a boolean, number, string, path, list, tuple, mapping, a NumPy scalar
        or array of numbers, booleans or strings, or a Kernel object; nested freely.

    Raises
    ------
    InvalidInputError
        If it is none of these.

    Examples
    --------
    >>> to_json("p", (1, float("inf")))
    {'$tuple': [1, {'$float': 'inf'}]}
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": str(value)}
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, list):
        return [to_json(name, item) for item in value]
    if isinstance(value, tuple):
        return {"$tuple": [to_json(name, item) for item in value]}
    if isinstance(value, Mapping):
        return _mapping(name, value)
    if isinstance(value, np.ndarray) and value.dtype.kind in _ARRAY_KINDS:
        items = [to_json(name, item) for item in value.ravel().tolist()]
        dtype = "object" if value.dtype.kind == "O" else value.dtype.str
        return {"$array": {"dtype": dtype, "shape": list(value.shape), "items": items}}
    if hasattr(value, "to_spec"):
        kernels = importlib.import_module("mlmethods.kernels")
        return {"$kernel": kernels.kernel_to_config(value)}
    raise InvalidInputError(
        f"{name} holds a {type(value).__name__}, which cannot be stored as JSON; "
        "use numbers, strings, lists or mappings of them, or a Kernel object"
    )


def _mapping(name: str, value: Mapping[Any, Any]) -> dict[str, Any]:
    plain = all(isinstance(key, str) and not key.startswith("$") for key in value)
    if plain:
        return {key: to_json(f"{name}.{key}", item) for key, item in value.items()}
    pairs = [[to_json(name, key), to_json(name, item)] for key, item in value.items()]
    return {"$mapping": pairs}


def from_json(value: Any) -> Any:
    """Return the Python value that :func:`to_json` wrote.

    Raises
    ------
    CheckpointError
        If `value` has a tag that this version does not know, or a damaged one.
    """
    if isinstance(value, list):
        return [from_json(item) for item in value]
    if not isinstance(value, dict):
        return value
    tags = [key for key in value if key.startswith("$")]
    if not tags:
        return {key: from_json(item) for key, item in value.items()}
    tag = tags[0]
    if len(value) != 1 or tag not in _READERS:
        raise CheckpointError(f"a stored value has the unknown tag {tag!r}")
    try:
        return _READERS[tag](value[tag])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"a stored value tagged {tag!r} is damaged") from error


def _read_array(stored: dict[str, Any]) -> np.ndarray:
    items = [from_json(item) for item in stored["items"]]
    dtype = np.dtype(stored["dtype"])
    if dtype.kind not in _ARRAY_KINDS:
        raise ValueError(dtype)
    array = np.empty(len(items), dtype=dtype)
    array[:] = items
    return array.reshape(stored["shape"])


def _read_kernel(stored: dict[str, Any]) -> Any:
    return importlib.import_module("mlmethods.kernels").kernel_from_config(stored)


_READERS: dict[str, Callable[[Any], Any]] = {
    "$float": lambda stored: _FLOATS[stored],
    "$tuple": lambda stored: tuple(from_json(item) for item in stored),
    "$mapping": lambda stored: {from_json(k): from_json(v) for k, v in stored},
    "$array": _read_array,
    "$kernel": _read_kernel,
}
