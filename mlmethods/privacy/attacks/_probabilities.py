"""Checks of probabilities and labels."""

from __future__ import annotations

import numpy as np

from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import ArrayLike, NDArray

__all__ = ["check_labels", "check_probabilities"]


def check_probabilities(name: str, values: ArrayLike) -> NDArray:
    """Return probabilities of classes as float64 [n, classes].

    Raises
    ------
    InvalidInputError
        If they are not of that shape, or a row is not one of probabilities.
    """
    table = np.asarray(values)
    if table.dtype.kind not in "fiu" or table.ndim != 2 or 0 in table.shape:
        raise InvalidInputError(
            f"{name} must have shape (n, classes), got {table.dtype} of shape "
            f"{table.shape}"
        )
    table = table.astype(np.float64)
    wrong = ~((table >= 0) & (table <= 1 + 1e-6)).all(axis=1)
    wrong |= ~(np.abs(table.sum(axis=1) - 1) <= 1e-3)
    if wrong.any():
        raise InvalidInputError(
            f"{name} must have rows of probabilities that sum to 1, got "
            f"{table[wrong][0].tolist()}"
        )
    return np.minimum(table, 1.0)


def check_labels(name: str, values: ArrayLike, table: NDArray) -> NDArray:
    """Return one class for each row of `table` [n, classes].

    Raises
    ------
    InvalidInputError
        If they are not integers of that length, or one is no column of `table`.
    """
    labels = np.asarray(values)
    if labels.dtype.kind not in "iu" or labels.shape != table.shape[:1]:
        raise InvalidInputError(
            f"{name} must be integers of shape ({len(table)},), got {labels.dtype} of "
            f"shape {labels.shape}"
        )
    if labels.min() < 0 or labels.max() >= table.shape[1]:
        raise InvalidInputError(
            f"{name} must be in 0..{table.shape[1] - 1}, got "
            f"{labels.min()}..{labels.max()}"
        )
    return labels
