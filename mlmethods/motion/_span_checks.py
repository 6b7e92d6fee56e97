"""Checks of what spans are made of."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import numpy as np

from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import NDArray

# Seconds by which rounding may let neighbors overlap, or part those that touch.
ROUNDING = 1e-6

_LARGEST = 2**31 - 1


def column(name: str, values: Any, dtype: Any) -> NDArray:
    """Return a copy of one column of spans.

    Raises
    ------
    InvalidInputError
        If it does not fit.
    """
    array = np.asarray(values)
    kinds = {np.float64: "fiu", np.int32: "iu", np.bool_: "b"}[dtype]
    if array.ndim != 1 or (array.size and array.dtype.kind not in kinds):
        wanted = {"fiu": "numbers", "iu": "integers", "b": "booleans"}[kinds]
        raise InvalidInputError(
            f"{name} must be {wanted} of one dimension, got {array.dtype} of shape "
            f"{array.shape}"
        )
    # Integers of 64 bits would wrap around in silence.
    if dtype is np.int32 and array.size and np.abs(array).max() > _LARGEST:
        raise InvalidInputError(
            f"{name} must be small integers, got {np.abs(array).max()}"
        )
    return np.array(array, dtype=dtype)


def class_names(classes: Any) -> tuple[str, ...]:
    """Return the names of classes, all different.

    Raises
    ------
    InvalidInputError
        If it does not fit.
    """
    names = () if isinstance(classes, str) else tuple(classes)
    if not names or not all(isinstance(name, str) and name for name in names):
        raise InvalidInputError(f"classes must be names, at least one, got {classes!r}")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidInputError(f"classes must be different, got {twice!r} twice")
    return names


def check_length(name: str, array: NDArray, count: int) -> None:
    """Refuse a column that has not one entry for each span.

    Raises
    ------
    InvalidInputError
        If it does not fit.
    """
    if len(array) != count:
        raise InvalidInputError(
            f"{name} must have one entry for each of {count} spans, got {len(array)}"
        )


def check_times(start: NDArray, end: NDArray) -> None:
    """Refuse times that are not finite, in order, and after each other.

    Raises
    ------
    InvalidInputError
        If it does not fit.
    """
    finite = np.isfinite(start) & np.isfinite(end)
    if not finite.all():
        index = int(np.argmin(finite))
        raise InvalidInputError(
            f"start and end must be finite, got {start[index]:g} to {end[index]:g} at "
            f"index {index}"
        )
    empty = end <= start
    if empty.any():
        index = int(np.argmax(empty))
        raise InvalidInputError(
            f"end must be after start, got {start[index]:g} to {end[index]:g} at index "
            f"{index}"
        )
    early = start[1:] < end[:-1] - ROUNDING
    if early.any():
        index = int(np.argmax(early))
        raise InvalidInputError(
            f"start must be sorted and spans must not overlap, got {end[index]:g} as "
            f"an end before {start[index + 1]:g} as a start at index {index + 1}"
        )


def class_id(name: str, ids: Mapping[str, int]) -> int:
    """Return the id of a class, or name the closest one.

    Raises
    ------
    InvalidInputError
        If it does not fit.
    """
    if name in ids:
        return ids[name]
    close = difflib.get_close_matches(str(name), list(ids), n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise InvalidInputError(
        f"names must be among {', '.join(map(repr, ids))}, got {name!r}{hint}"
    )
