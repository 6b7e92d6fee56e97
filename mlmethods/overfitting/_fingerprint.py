"""What a learner and its data are, as JSON that changes when a result may."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from mlmethods.errors import InvalidInputError

__all__ = ["describe", "digest"]


def describe(name: str, value: Any) -> Any:
    """Return the class and all parameters of an object, as deep as they go.

    Raises
    ------
    InvalidInputError
        If a part has no lasting name, such as a lambda; `name` is for the message.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, np.ndarray):
        return {"array": digest(value)}
    if isinstance(value, list | tuple):
        return [describe(name, item) for item in value]
    if isinstance(value, Mapping):
        pairs = ((describe(name, k), describe(name, v)) for k, v in value.items())
        return [list(pair) for pair in pairs]
    if hasattr(value, "get_params") and not isinstance(value, type):
        params = value.get_params(deep=False)
        return {
            "class": _path(type(value)),
            "params": {
                key: describe(f"{name}.{key}", params[key]) for key in sorted(params)
            },
        }
    path = _path(value)
    if path and "<" not in path:
        return {"object": path}
    text = repr(value)
    if " at 0x" in text or "<lambda>" in text:
        raise InvalidInputError(
            f"{name} holds {text}, which has no name that lasts, so that a store "
            "cannot tell whether its cells belong to it; define it in a module"
        )
    return {"class": _path(type(value)), "repr": text}


def digest(*arrays: Any) -> str:
    """Return a hash of the values, shapes and dtypes of arrays or tables."""
    total = hashlib.sha256()
    for array in arrays:
        if hasattr(array, "columns"):
            total.update(repr([str(column) for column in array.columns]).encode())
        values = np.asarray(array)
        total.update(f"{values.dtype.str}{values.shape}".encode())
        if values.dtype.kind == "O":
            total.update(repr(values.tolist()).encode())
        else:
            total.update(np.ascontiguousarray(values).tobytes())
    return total.hexdigest()


def _path(value: Any) -> str:
    name = getattr(value, "__qualname__", "")
    return f"{value.__module__}.{name}" if name and value.__module__ else ""
