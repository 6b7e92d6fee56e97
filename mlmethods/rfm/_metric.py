"""The learned metric, also where it is kept in the coordinates of a subspace."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mlmethods.interfaces import NDArray
from mlmethods.rfm.network import matrix_power_psd

__all__ = ["Metric", "row_space"]


class Metric(NamedTuple):
    """A Mahalanobis matrix.

    Attributes
    ----------
    matrix : ndarray of shape (d, d) or (d,), or (r, r) with a basis
        The matrix, or its diagonal.
    basis : ndarray of shape (d, r) or None
        Orthonormal columns; the matrix of the d features is ``basis matrix basis.T``.
    """

    matrix: NDArray
    basis: NDArray | None = None

    def coordinates(self, X: NDArray) -> NDArray:
        """Return rows (n, d) as the coordinates that `matrix` measures."""
        return X if self.basis is None else X @ self.basis.astype(X.dtype)

    def lift(self, values: NDArray) -> NDArray:
        """Return coordinates (..., r) as vectors of features (..., d)."""
        return values if self.basis is None else values @ self.basis.T

    def lift_matrix(self, matrix: NDArray) -> NDArray:
        """Return a matrix of the coordinates as one of the features."""
        if self.basis is None:
            return matrix
        return self.basis @ matrix @ self.basis.T

    def diagonal(self) -> NDArray:
        """Return the diagonal (d,), without forming the matrix."""
        if self.basis is not None:
            return np.einsum("ij,ij->i", self.basis @ self.matrix, self.basis)
        return self.matrix if self.matrix.ndim == 1 else np.diag(self.matrix)

    def transform(self, X: NDArray) -> NDArray:
        """Return ``X M^{1/2}`` (n, d)."""
        root = matrix_power_psd(self.matrix, 0.5)
        if root.ndim == 1:
            return X * root
        return self.lift(self.coordinates(X) @ root)


def row_space(*parts: NDArray) -> NDArray:
    """Return orthonormal columns (d, r) that span the rows of all `parts`.

    A radial kernel, whose distances no rotation changes, is the same function of the
    coordinates; and the AGOP lies in the span of the rows.
    """
    rows = np.concatenate([np.asarray(part, np.float64) for part in parts])
    _, values, vectors = np.linalg.svd(rows, full_matrices=False)
    rounding = max(rows.shape) * np.finfo(np.float64).eps * values[:1].sum()
    return np.ascontiguousarray(vectors[values > rounding].T)
