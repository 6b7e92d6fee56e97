"""Checks of the arrays that kernels take."""

from __future__ import annotations

import numpy as np

from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import ArrayLike, NDArray

__all__ = ["floating", "matrices", "squared_norms"]


def floating(name: str, value: ArrayLike) -> NDArray:
    """Return `value` as an array of a floating dtype; `name` is for the message."""
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise InvalidInputError(
            f"{name} must be an array of real numbers, got dtype {array.dtype}"
        )
    return array if array.dtype.kind == "f" else array.astype(np.float64)


def matrices(
    X: ArrayLike, Z: ArrayLike | None, M: ArrayLike | None
) -> tuple[NDArray, NDArray | None, NDArray | None]:
    """Return the arguments as floating arrays of matching shapes."""
    X = floating("X", X)
    if X.ndim != 2:
        raise InvalidInputError(f"X must have shape (n, d), got shape {X.shape}")
    d = X.shape[1]
    if Z is not None:
        Z = floating("Z", Z)
        if Z.ndim != 2 or Z.shape[1] != d:
            raise InvalidInputError(
                f"Z must have shape (m, {d}) as X has {d} columns, got shape {Z.shape}"
            )
    if M is not None:
        M = floating("M", M)
        if M.shape not in ((d,), (d, d)):
            raise InvalidInputError(
                f"M must have shape ({d}, {d}) or ({d},), got shape {M.shape}"
            )
    return X, Z, M


def squared_norms(X: ArrayLike, M: ArrayLike | None) -> NDArray:
    """Return ``x^T M x`` for each row, in float64."""
    X, _, M = matrices(X, None, M)
    if M is None:
        return (X.astype(np.float64) ** 2).sum(axis=1)
    return ((X * M if M.ndim == 1 else X @ M) * X).sum(axis=1, dtype=np.float64)
