"""Datasets as two arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import NDArray

__all__ = ["as_inputs", "as_rows"]

# columns that are known for inputs and targets, in this order
_COLUMNS = (("x", "y"), ("image", "label"), ("img", "label"))


def as_rows(ds: Any, columns: tuple[str, str] | None = None) -> tuple[NDArray, NDArray]:
    """Return inputs and targets of a dataset as checked arrays.

    Parameters
    ----------
    ds : tuple, mapping or datasets.Dataset
        Two arrays, as a tuple, under names, or as columns.
    columns : tuple of two str, optional
        The names of inputs and targets; by default ``("x", "y")``, ``("image",
        "label")`` or ``("img", "label")``.

    Returns
    -------
    inputs : array of shape (n, ...)
        float64 becomes float32.
    targets : array of shape (n, ...)
        Integers as int32, others as float32.

    Raises
    ------
    InvalidInputError
        If it is no such dataset, lengths differ, it is empty, or values are not finite
        numbers.

    Examples
    --------
    >>> from mlmethods.privacy._rows import as_rows
    >>> X, y = as_rows({"x": [[0.0, 1.0]], "y": [3]})
    >>> X.dtype.name, y.dtype.name
    ('float32', 'int32')
    """
    if isinstance(ds, tuple | list) and len(ds) == 2:
        x, y = ds
    elif isinstance(ds, Mapping):
        x, y = (ds[name] for name in _names(ds.keys(), columns))
    elif hasattr(ds, "column_names") and hasattr(ds, "with_format"):
        names = _names(ds.column_names, columns)
        table = ds.select_columns(list(names)).with_format("numpy")[:]
        x, y = (table[name] for name in names)
    else:
        raise InvalidInputError(
            "ds must be a tuple (X, y), a mapping of two arrays or a datasets.Dataset, "
            f"got {type(ds).__name__}"
        )
    inputs, targets = as_inputs(x), _checked("targets", y)
    if targets.dtype.kind in "iub":
        targets = _as_int32(targets)
    if targets.ndim == 0 or len(inputs) != len(targets):
        raise InvalidInputError(
            f"inputs and targets must have as many rows, got shapes {inputs.shape} and "
            f"{targets.shape}"
        )
    return inputs, targets


def as_inputs(x: Any) -> NDArray:
    """Return inputs as a checked array; float64 becomes float32.

    Raises
    ------
    InvalidInputError
        If there are no rows, or values are not finite numbers.
    """
    inputs = _checked("inputs", x)
    if inputs.ndim < 2 or len(inputs) == 0:
        raise InvalidInputError(
            f"inputs must have shape (n, ...) with n >= 1, got shape {inputs.shape}"
        )
    return inputs


def _names(known: Any, columns: tuple[str, str] | None) -> tuple[str, str]:
    known = list(known)
    candidates = _COLUMNS if columns is None else (tuple(columns),)
    for names in candidates:
        if len(names) == 2 and set(names) <= set(known):
            return names[0], names[1]
    raise InvalidInputError(
        f"columns must name inputs and targets among {', '.join(map(str, known))}, got "
        f"{columns!r}"
    )


def _checked(name: str, values: Any) -> NDArray:
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise InvalidInputError(f"{name} must be one array: {error}") from error
    if array.dtype.kind not in "iufb":
        raise InvalidInputError(
            f"{name} must hold numbers of one shape, got dtype {array.dtype}"
        )
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise InvalidInputError(f"{name} must be finite, got NaN or infinity")
        array = array.astype(np.float32, copy=False)
    elif array.dtype.itemsize > 4:
        array = _as_int32(array)
    return array


def _as_int32(array: NDArray) -> NDArray:
    limit = np.iinfo(np.int32)
    if array.size and (array.min() < limit.min or array.max() > limit.max):
        raise InvalidInputError(
            f"integers must fit into 32 bits, got {array.min()} to {array.max()}"
        )
    return array.astype(np.int32)
