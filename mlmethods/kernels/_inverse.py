"""The inverse of a positive definite matrix, in place, for its diagonals."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg import blas, lapack

from mlmethods.interfaces import NDArray

__all__ = ["Diagonals", "inverse_diagonals", "largest_eigenvalue", "numerical_rank"]

_BLOCK = 256
_POWER_STEPS = 4


class Diagonals(NamedTuple):
    """Diagonals (n,) of an inverse M and of its square, and its norm, estimated."""

    inverse: NDArray
    square: NDArray
    norm: float


def largest_eigenvalue(A: NDArray) -> float:
    """Return the largest eigenvalue of a positive semidefinite matrix, estimated.

    Four power steps from the row sums, which for a positive kernel lie close to the
    top direction; it is never above the true one by more than round-off.
    """
    v = A.sum(axis=1)
    if not v.any():
        v = np.ones(len(A), A.dtype)
    return _power(A, v)


def inverse_diagonals(A: NDArray) -> Diagonals | None:
    """Return the diagonals of the inverse, or None if A is not positive definite.

    `A` (n, n), symmetric and contiguous, is overwritten; O(n^3), as three Cholesky
    factorizations. The norm takes four power steps.
    """
    potrf, potri = lapack.get_lapack_funcs(("potrf", "potri"), (A,))
    # The transpose, an equal matrix, has the order of LAPACK and needs no copy.
    factor, info = potrf(A.T, lower=1, clean=0, overwrite_a=1)
    if info != 0:
        return None
    M, info = potri(factor, lower=1, overwrite_c=1)
    if info != 0 or not np.isfinite(np.sum(np.diagonal(M))):
        return None
    diagonal = np.diagonal(M).copy()
    square = np.zeros_like(diagonal)
    for start in range(0, len(M), _BLOCK):
        # Only the lower triangle of M is there: a column stands for its row too.
        stop = start + _BLOCK
        block = M[start:, start:stop]
        head = np.tril(block[:_BLOCK]) ** 2
        tail = block[_BLOCK:] ** 2
        square[start:stop] += head.sum(axis=0) + head.sum(axis=1) + tail.sum(axis=0)
        square[stop:] += tail.sum(axis=1)
    square -= diagonal**2
    return Diagonals(diagonal, square, _norm(M, diagonal))


def numerical_rank(A: NDArray) -> int:
    """Return the rank by a pivoted Cholesky factorization; `A` is overwritten.

    It ends where the largest pivot left is at most ``n eps`` times the first.
    """
    (pstrf,) = lapack.get_lapack_funcs(("pstrf",), (A,))
    tol = len(A) * np.finfo(A.dtype).eps * np.abs(np.diagonal(A)).max()
    _, _, rank, info = pstrf(A.T, tol=tol, lower=1, overwrite_a=1)
    return len(A) if info == 0 else int(rank)


def _norm(M: NDArray, diagonal: NDArray) -> float:
    """Return the spectral norm from the lower triangle, estimated from below."""
    (symv,) = blas.get_blas_funcs(("symv",), (M,))
    v = np.zeros_like(diagonal)
    v[diagonal.argmax()] = 1
    norm = 0.0
    for _ in range(_POWER_STEPS):
        v = symv(1.0, M, v, lower=1)
        norm = float(np.linalg.norm(v))
        v /= norm
    return norm


def _power(A: NDArray, v: NDArray) -> float:
    norm = 0.0
    for _ in range(_POWER_STEPS):
        v = A @ (v / np.linalg.norm(v))
        norm = float(np.linalg.norm(v))
        if norm == 0:
            break
    return norm
