"""Every ridge of one kernel matrix from one eigendecomposition, with LAPACK."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.linalg

from mlmethods.errors import InvalidInputError, NotPositiveDefiniteError
from mlmethods.interfaces import NDArray

__all__ = [
    "PathArrays",
    "eigensystem",
    "path_arrays",
    "path_bytes",
    "require_definite",
]

# LAPACK's divide and conquer counts 2 n^2 numbers of work space in 32 bits.
_LARGEST_DIVIDE_AND_CONQUER = 32000
# Columns of eigenvectors that are squared at a time, to stay in the cache.
_BLOCK = 64


class PathArrays(NamedTuple):
    """What :func:`path_arrays` finds for r ridges, n rows and c outputs.

    `alpha`, `residuals` and `loo` are (r, n, c); `gcv`, `df`, `mll`, `e0` and `kappa`
    (r,); `eigenvalues` (n,), ascending; `kept` (r,) the number of directions that are
    not dropped.
    """

    alpha: NDArray
    residuals: NDArray
    loo: NDArray
    gcv: NDArray
    df: NDArray
    mll: NDArray
    e0: NDArray
    kappa: NDArray
    eigenvalues: NDArray
    kept: NDArray


class _Inverses(NamedTuple):
    """Inverse eigenvalues of every ridge.

    `solid` (n, r) is zero where a direction is dropped: for the ridges `cut` (r,), the
    directions `lost` (n,). Nothing of their eigenvalues is known beyond `threshold`;
    a row has a part in them if their squared entries are more than `noise` there.
    """

    solid: NDArray
    cut: NDArray
    lost: NDArray
    threshold: float
    noise: float


def path_bytes(n: int, c: int, r: int, itemsize: int) -> int:
    """Return the bytes at the peak: matrix, its copy, LAPACK's work, the results."""
    return itemsize * (4 * n * n + n * r * (4 * c + 4))


def eigensystem(K: NDArray) -> tuple[NDArray, NDArray]:
    """Return the eigenvalues, ascending, and eigenvectors of a symmetric matrix.

    `K` of shape (n, n) is overwritten where it is contiguous.
    """
    driver = "evd" if len(K) <= _LARGEST_DIVIDE_AND_CONQUER else "evr"
    # The transpose, an equal matrix, has the order of LAPACK and needs no copy.
    values, vectors = scipy.linalg.eigh(
        K.T, driver=driver, overwrite_a=True, check_finite=False
    )
    return values, vectors


def require_definite(eigenvalues: NDArray, regs: NDArray) -> None:
    """Raise unless every ridge makes the matrix positive, up to round-off.

    Raises
    ------
    InvalidInputError
        If the eigenvalues are not finite, as those of a matrix with NaN.
    NotPositiveDefiniteError
        If the least eigenvalue, ascending, is negative and a ridge does not help.
    """
    if not np.isfinite(eigenvalues).all():
        raise InvalidInputError("the kernel gives values on X that are not finite")
    least, largest = eigenvalues[0], np.abs(eigenvalues[[0, -1]]).max()
    rounding = len(eigenvalues) * np.finfo(eigenvalues.dtype).eps * largest
    if least < -rounding and least + regs.min() <= rounding:
        raise NotPositiveDefiniteError(
            f"the kernel is not positive definite on X: its matrix has the eigenvalue "
            f"{least:.3g}, which reg={regs.min():.3g} does not make positive"
        )


def path_arrays(
    K: NDArray, Y: NDArray, regs: NDArray, weights: NDArray | None = None
) -> PathArrays:
    """Solve ``(K + reg I) alpha = Y`` for every reg, with all leave-one-out errors.

    Parameters
    ----------
    K : ndarray of shape (n, n)
        Symmetric matrix, finite; it is overwritten.
    Y : ndarray of shape (n, c)
        Targets.
    regs : ndarray of shape (r,)
        Ridges >= 0.
    weights : ndarray of shape (n,) or None
        Positive weights w: with s = sqrt(w) the matrix is ``s K s``.

    Notes
    -----
    With eigenvalues v and eigenvectors V, the diagonals of all inverses are the
    product of the squared entries of V with the matrix ``1 / (v_k + reg_r)``.

    A ridge of at most ``eps max(v)`` is zero to this matrix. There, directions with
    ``v <= n eps max(v)`` are dropped from the coefficients, and the other results are
    their limits for a ridge that goes to zero. With P the projection on the dropped
    directions, the inverse grows like ``P / reg`` at the rows that have a part in
    them and stays the pseudo-inverse at the others.

    Raises
    ------
    NotPositiveDefiniteError
        If an eigenvalue is negative beyond round-off and a ridge is too small for it.
    """
    n, c = Y.shape
    own = K.dtype
    s = np.ones(n, own) if weights is None else np.sqrt(weights).astype(own)
    if weights is not None:
        K *= s[:, None]
        K *= s
    Y, regs = (s[:, None] * Y).astype(own), regs.astype(own)
    raw, V = eigensystem(K)
    require_definite(raw, regs)
    found = _inverses(raw, regs)
    solid, cut, lost = found.solid, found.cut, found.lost
    diagonals = _diagonals(V, np.column_stack([solid, solid**2, lost]))
    inverse, square = np.split(diagonals[:, :-1], 2, axis=1)
    rotated = V.T @ Y
    beta = _product(V, rotated[:, None, :] * solid[:, :, None])
    residuals = beta * regs[:, None]
    power = rotated**2
    gcv = (power.T @ solid**2).sum(axis=0)
    trace = solid.sum(axis=0)
    loo = beta.copy()
    if cut.any():
        left = _product(V, rotated * lost[:, None])
        residuals[:, cut] = left[:, None]
        # The inverse over its growth, and the square over that of it.
        share = diagonals[:, -1]
        part = share > found.noise
        here = np.ix_(part, cut)
        loo[here] = left[part, None]
        inverse[here] = square[here] = share[part, None]
        gcv[cut] = power[lost].sum() / found.threshold**2
        trace[cut] = lost.sum() / found.threshold
    loo /= inverse[:, :, None]
    total = np.sum(s**2) * c
    fit = (power.T @ solid).sum(axis=0)
    # Of K + reg / w, whose root is that of the weighted matrix over s.
    determinant = -np.log(solid, where=solid > 0, out=np.zeros_like(solid)).sum(axis=0)
    determinant -= 2 * np.log(s).sum()
    mll = -0.5 * (fit + c * (determinant + n * np.log(2 * np.pi)))
    return PathArrays(
        alpha=_leading(s[:, None, None] * beta),
        residuals=_leading(residuals / s[:, None, None]),
        loo=_leading(loo / s[:, None, None]),
        gcv=n**2 * gcv / (total * trace**2),
        df=(n - regs * solid.sum(axis=0) - cut * lost.sum()).astype(own),
        mll=np.where(cut, np.nan, mll).astype(own),
        e0=np.mean(square / inverse**2, axis=0),
        kappa=1 / trace,
        eigenvalues=raw,
        kept=n - cut * lost.sum(),
    )


def _inverses(raw: NDArray, regs: NDArray) -> _Inverses:
    n = len(raw)
    floor = np.finfo(raw.dtype).eps * max(abs(raw[0]), abs(raw[-1]))
    # Round-off of a singular matrix is no negative eigenvalue.
    values = np.where(np.abs(raw) <= n * floor, np.maximum(raw, 0), raw)
    lost = values <= n * floor
    cut = (regs <= floor) & lost.any()
    dropped = lost[:, None] & cut
    shifted = np.where(dropped, 1, values[:, None] + np.where(cut, 0, regs))
    # Eigenvectors are wrong by about the rounding over the gap to the others.
    gap = values[~lost].min() if not lost.all() else np.inf
    return _Inverses(
        solid=np.where(dropped, 0, 1 / shifted),
        cut=cut,
        lost=lost,
        threshold=float(floor) or 1.0,
        noise=(n * floor / gap) ** 2,
    )


def _diagonals(V: NDArray, columns: NDArray) -> NDArray:
    """Return ``V^2 @ columns``: the diagonals of ``V diag(column) V^T``."""
    total = np.zeros((len(V), columns.shape[1]), V.dtype)
    for start in range(0, len(V), _BLOCK):
        part = slice(start, start + _BLOCK)
        total += V[:, part] ** 2 @ columns[part]
    return total


def _product(V: NDArray, columns: NDArray) -> NDArray:
    """Return ``V @ columns`` for columns of shape (n, r, c), as one product."""
    flat = np.ascontiguousarray(columns).reshape(len(V), -1)
    return (V @ flat).reshape(columns.shape)


def _leading(array: NDArray) -> NDArray:
    """Return (n, r, c) as (r, n, c)."""
    return np.ascontiguousarray(np.moveaxis(array, 0, 1))
