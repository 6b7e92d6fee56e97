"""The rows of a fit: what validates, and what an engine sees of them."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from sklearn.model_selection import train_test_split

from mlmethods.interfaces import NDArray
from mlmethods.rfm._metric import Metric
from mlmethods.rfm.contract import RFMConfig, Rows

__all__ = ["FitRows", "hold_out", "iterate_metric", "make_rows", "stored"]


class FitRows(NamedTuple):
    """The rows of a fit as its engine sees them, and as they were."""

    rows: Rows
    validation: Rows | None
    basis: NDArray | None
    intercept: NDArray
    X: NDArray


def iterate_metric(t: int, matrix: NDArray, basis: NDArray | None) -> Metric:
    """Return the metric of an iterate; the identity has no basis."""
    if t == 0 and basis is not None:
        return Metric(np.ones(len(basis), matrix.dtype))
    return Metric(matrix, basis)


def stored(X: NDArray, dtype: str) -> NDArray:
    """Return rows as they are kept."""
    return np.ascontiguousarray(X, dtype=dtype)


def make_rows(
    config: RFMConfig, basis: NDArray | None, X: NDArray, Y: NDArray, weights: NDArray
) -> Rows:
    """Return rows with centered targets for an engine, in coordinates of a basis."""
    points = X if basis is None else X @ basis
    dtype = config.dtype
    return Rows(stored(points, dtype), Y.astype(dtype), weights.astype(dtype))


def hold_out(
    n: int, labels: NDArray | None, fraction: float, seed: np.random.SeedSequence
) -> tuple[NDArray, NDArray]:
    """Return the rows to train on and those held out, both ascending.

    Stratified by `labels` (n,) where every class can be on both sides.
    """
    stratify = None
    if labels is not None:
        counts = np.unique(labels, return_counts=True)[1]
        size = math.ceil(fraction * n)
        if counts.min() >= 2 and min(size, n - size) >= len(counts):
            stratify = labels
    train, held_out = train_test_split(
        np.arange(n),
        test_size=fraction,
        random_state=int(seed.generate_state(1)[0]),
        stratify=stratify,
    )
    return np.sort(train), np.sort(held_out)
