"""Rows of an EigenPro fit: training and validation rows, and how many to sample."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.utils.validation import check_array

from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import ArrayLike, NDArray
from mlmethods.kernels.contract import eigenpro_bytes

__all__ = ["Rows", "choose_subsample", "given_validation", "hold_out", "with_weight"]

_SMALL_SUBSAMPLE, _LARGE_SUBSAMPLE = 2000, 12000
# The eigenvectors of so many rows cost about as much as one pass over all.
_ROWS_PER_SUBSAMPLE_ROW = 25


class Rows(NamedTuple):
    """Rows, targets (n, c) and weights."""

    X: NDArray
    Y: NDArray
    weights: NDArray


def choose_subsample(n: int, d: int, c: int, dtype: str, limit: int) -> int:
    """Return how many rows the preconditioner is made from.

    2000, and from 50,000 rows on a 25th of them, at most 12,000, where `limit` bytes
    allow more than 2000.

    Examples
    --------
    >>> [choose_subsample(n, 10, 1, "float32", 2**36) for n in (500, 20000, 100000)]
    [500, 2000, 4000]
    """
    wanted = min(n // _ROWS_PER_SUBSAMPLE_ROW, _LARGE_SUBSAMPLE)
    while wanted > _SMALL_SUBSAMPLE and eigenpro_bytes(n, d, c, wanted, dtype) > limit:
        wanted //= 2
    return min(n, max(wanted, _SMALL_SUBSAMPLE))


def hold_out(
    rows: Rows, fraction: float, rng: np.random.Generator
) -> tuple[Rows, Rows]:
    """Return training rows and the share that is held out, in their order."""
    n = len(rows.X)
    if n < 2:
        raise InvalidInputError(
            f"early_stopping=True needs at least 2 samples to hold one out, got {n}"
        )
    train, held_out = train_test_split(
        np.arange(n), test_size=fraction, random_state=int(rng.integers(2**31))
    )
    first, second = np.sort(train), np.sort(held_out)
    return Rows(*(a[first] for a in rows)), Rows(*(a[second] for a in rows))


def with_weight(X: NDArray, Y: NDArray, weights: NDArray) -> Rows:
    """Leave out the rows of weight 0."""
    positive = weights > 0
    Y = np.asarray(Y, np.float64)
    if positive.all():
        return Rows(X, Y, weights)
    return Rows(X[positive], Y[positive], weights[positive])


def given_validation(
    X_val: ArrayLike | None, y_val: ArrayLike | None, data: Rows
) -> Rows | None:
    """Return the validation rows that the caller gave, checked against the rows."""
    if (X_val is None) != (y_val is None):
        missing = "y_val" if y_val is None else "X_val"
        raise InvalidInputError(
            f"X_val and y_val must be given together, got no {missing}"
        )
    if X_val is None:
        return None
    rows = check_array(X_val, dtype=[np.float64, np.float32])
    if rows.shape[1] != data.X.shape[1]:
        raise InvalidInputError(
            f"X_val must have {data.X.shape[1]} features as X has, got {rows.shape[1]}"
        )
    targets = np.asarray(y_val, np.float64)
    expected = (len(rows), data.Y.shape[1])
    if targets.size != expected[0] * expected[1] or len(targets) != len(rows):
        raise InvalidInputError(
            f"y_val must have shape {expected} to match X_val and y, got shape "
            f"{targets.shape}"
        )
    if not np.isfinite(targets).all():
        raise InvalidInputError("y_val must be finite, got NaN or infinity")
    return Rows(rows, targets.reshape(expected), np.ones(len(rows)))
