"""Directions along which a node of a tree is split."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy import linalg

from mlmethods.errors import NumericalWarning
from mlmethods.interfaces import NDArray
from mlmethods.kernels import LaplaceKernel
from mlmethods.rfm.estimators import RFMRegressor
from mlmethods.rfm.functions import kernel_agop

__all__ = ["SPLITS", "Sample", "find_direction"]

# The machine that finds a direction: one solve, meant for standardized columns.
_BANDWIDTH = 10.0
_REG = 1e-3


class Sample(NamedTuple):
    """Rows of a node: X (n, d), numbers Y (n, c) and positive weights (n,)."""

    X: NDArray
    Y: NDArray
    weights: NDArray

    def centered(self) -> tuple[NDArray, NDArray]:
        """Return X and Y less their means, times the root of the weights."""
        root = np.sqrt(self.weights)[:, None]
        X, Y = (
            root * (values - np.average(values, axis=0, weights=self.weights))
            for values in (self.X, self.Y)
        )
        return X, Y


def find_direction(
    split: str, sample: Sample, machine: dict[str, Any], rng: np.random.Generator
) -> NDArray:
    """Return a direction of length one, (d,).

    Parameters
    ----------
    split : str
        A key of ``SPLITS``.
    sample : Sample
        Rows of the node.
    machine : dict
        Backend, dtype and memory limit of the kernel machine.
    rng : numpy.random.Generator
        For a random direction.
    """
    v = SPLITS[split](sample, machine, rng)
    if v is None:
        # The targets of the sample are constant: only the columns are left to go by.
        v = _principal(sample, machine, rng)
        assert v is not None
    return v / np.linalg.norm(v)


def _agop(
    sample: Sample, machine: dict[str, Any], rng: np.random.Generator
) -> NDArray | None:
    """Return the top eigenvector of the AGOP of a kernel machine, if it is not zero.

    With more columns than rows, the machine works in the space of the rows: distances
    are the same there, and it holds every gradient.
    """
    X, basis = sample.X, None
    if X.shape[1] > len(X):
        basis = linalg.qr(X.T, mode="economic")[0]
        X = X @ basis
    model = RFMRegressor(
        "laplace",
        bandwidth=_BANDWIDTH,
        reg=_REG,
        n_iter=0,
        early_stopping=False,
        **machine,
    )
    with warnings.catch_warnings():
        # A direction needs no accurate solution; the leaves report on theirs.
        warnings.simplefilter("ignore", NumericalWarning)
        model.fit(X, sample.Y, sample_weight=sample.weights)
    matrix = kernel_agop(
        LaplaceKernel(bandwidth=_BANDWIDTH),
        model.X_fit_,
        model.dual_coef_,
        weights=sample.weights,
        dtype=model.dtype_,
        backend=machine["backend"],
    )
    largest = np.abs(matrix).max()
    if not largest > 0:
        return None
    last = len(matrix) - 1
    scaled = np.asarray(matrix, dtype=np.float64) / largest
    v = linalg.eigh(scaled, subset_by_index=[last, last])[1][:, 0]
    return v if basis is None else basis @ v


def _principal(
    sample: Sample, machine: dict[str, Any], rng: np.random.Generator
) -> NDArray | None:
    """Return the first principal direction."""
    return np.linalg.svd(sample.centered()[0], full_matrices=False)[2][0]


def _random(
    sample: Sample, machine: dict[str, Any], rng: np.random.Generator
) -> NDArray | None:
    """Return a direction uniform on the sphere."""
    return rng.standard_normal(size=(sample.X.shape[1],))


def _linear(
    sample: Sample, machine: dict[str, Any], rng: np.random.Generator
) -> NDArray | None:
    """Return the coefficients of least squares, if they are not zero.

    Of several outputs, the direction that they share most: the first left singular
    vector.
    """
    coefficients = linalg.lstsq(*sample.centered())[0]
    if not coefficients.any():
        return None
    return np.linalg.svd(coefficients, full_matrices=False)[0][:, 0]


SPLITS: dict[str, Callable[..., NDArray | None]] = {
    "agop": _agop,
    "pca": _principal,
    "random": _random,
    "linear": _linear,
}
"""What finds a direction, by name; None where it finds none."""
