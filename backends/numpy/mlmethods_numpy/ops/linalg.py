"""Kernel ridge solves and the symmetric eigenproblem, in float64 with LAPACK."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import scipy.linalg

from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import KernelSpec, NDArray, SolveResult, SolveStatus
from mlmethods_numpy.ops import kernels

__all__ = ["eigh", "ridge_cg", "ridge_solve"]

# One eigendecomposition costs about as much as this many Cholesky factorizations.
_SHARED_EIGH_FROM = 12
_LADDER = (0.0, *(10.0**exponent for exponent in range(-12, -5)))


def ridge_solve(
    K: Any,
    Y: Any,
    reg: Any,
    *,
    weights: Any | None = None,
    solve_dtype: str = "float64",
    jitter: Literal["ladder", "none"] = "ladder",
) -> SolveResult:
    """Solve ``(K + reg I) alpha = Y``.

    Parameters
    ----------
    K : ndarray of shape (n, n)
        Symmetric matrix.
    Y : ndarray of shape (n, c)
        Right-hand sides.
    reg : float or ndarray of shape (r,)
        Added to the diagonal, not multiplied by n. One Cholesky factorization each;
        from 12 on they share one eigendecomposition.
    weights : ndarray of shape (n,), optional
        With ``s = sqrt(weights)`` the result is ``s (s K s + reg I)^-1 s Y``.
    solve_dtype : {"float64", "float32", "auto"}, default="float64"
        Accepted for the contract; the solve is float64 in any case.
    jitter : {"ladder", "none"}, default="ladder"
        Whether to add 1e-12, 1e-11, ..., 1e-6 times the mean diagonal where the
        matrix is not positive definite, until it is.

    Returns
    -------
    SolveResult
        ``alpha`` of shape (n, c), or (r, n, c) with several `reg`.

    Examples
    --------
    >>> import numpy as np
    >>> ridge_solve(np.eye(2), np.array([[2.0], [4.0]]), 1.0).alpha.ravel()
    array([1., 2.])
    """
    K = np.asarray(K, dtype=np.float64)
    Y, regs, s = _right_side(Y, reg, weights)
    _check_dtype("solve_dtype", solve_dtype, ("float64", "float32", "auto"))
    if K.shape != (len(Y), len(Y)):
        raise InvalidInputError(
            f"K must have shape ({len(Y)}, {len(Y)}) as Y has {len(Y)} rows, "
            f"got shape {K.shape}"
        )
    if jitter not in ("ladder", "none"):
        raise InvalidInputError(f"jitter must be 'ladder' or 'none', got {jitter!r}")
    if not (_finite(K, Y, s) and _finite(regs)):
        results = [_failed(Y, SolveStatus.NOT_FINITE)] * len(regs)
        return _collect(results, reg)
    A, B = s[:, None] * K * s, s[:, None] * Y
    rungs = _LADDER if jitter == "ladder" else (0.0,)
    shifts = np.mean(np.diagonal(A)) * np.array(rungs)
    factor = _Eigen(A) if len(regs) >= _SHARED_EIGH_FROM else _Cholesky(A)
    return _collect([_climb(factor, A, B, s, value, shifts) for value in regs], reg)


def ridge_cg(
    kernel: KernelSpec,
    X: Any,
    Y: Any,
    reg: Any,
    M: Any | None = None,
    *,
    weights: Any | None = None,
    rank: int | None = None,
    tol: float = 1e-8,
    max_iter: int = 1000,
    block_size: int | None = None,
    solve_dtype: str = "float64",
) -> SolveResult:
    """Solve ``(K(X, X) + reg I) alpha = Y`` by preconditioned conjugate gradients.

    Parameters
    ----------
    kernel, X, M
        As in :func:`mlmethods_numpy.ops.kernels.pairwise`; the matrix is never formed.
    Y, reg, weights, solve_dtype
        As in :func:`ridge_solve`.
    rank : int, optional
        Columns of the pivoted Cholesky factor that preconditions; min(n, 100) by
        default. The pivots are greedy, so the result is deterministic.
    tol : float, default=1e-8
        Relative residual, in the norm of each column of Y, at which to stop.
    max_iter : int, default=1000
        Bound on the iterations.
    block_size : int, optional
        Rows of X in one block.

    Returns
    -------
    SolveResult
        Status MAX_ITERATIONS where `tol` was not reached.

    References
    ----------
    Harbrecht, Peters and Schneider, "On the low-rank approximation by the pivoted
    Cholesky decomposition", Applied Numerical Mathematics 62 (2012).
    """
    X = np.asarray(X, dtype=np.float64)
    Y, regs, s = _right_side(Y, reg, weights)
    _check_dtype("solve_dtype", solve_dtype, ("float64", "float32", "auto"))
    if not (_finite(X, Y, s) and _finite(regs) and (M is None or _finite(M))):
        results = [_failed(Y, SolveStatus.NOT_FINITE)] * len(regs)
        return _collect(results, reg)

    def product(V: NDArray) -> NDArray:
        KV = kernels.matvec(kernel, X, None, s[:, None] * V, M, block_size=block_size)
        return s[:, None] * KV

    L, rest = _pivoted_cholesky(kernel, X, M, s, min(len(X), rank or 100))
    B = s[:, None] * Y
    results = []
    for value in regs:
        # Without reg the shift is the size of what the factor leaves out.
        shift = value if value > 0 else max(rest, 1e-12 * s.max() ** 2)

        def shifted(V: NDArray, value: float = value) -> NDArray:
            return product(V) + value * V

        beta, status = _conjugate_gradients(
            shifted, B, _inverse(L, shift), tol, max_iter
        )
        residual = _relative(shifted(beta) - B, B)
        if not status.ok:
            beta = np.full_like(beta, np.nan)
        results.append((s[:, None] * beta, status, 0.0, residual))
    return _collect(results, reg)


def eigh(K: Any, *, dtype: str = "float64") -> tuple[NDArray, NDArray]:
    """Return the eigenvalues and eigenvectors of a symmetric matrix.

    Parameters
    ----------
    K : ndarray of shape (n, n)
        Symmetric matrix.
    dtype : {"float64", "float32"}, default="float64"
        Accepted for the contract; the computation is float64 in any case.

    Returns
    -------
    eigenvalues : ndarray of shape (n,), float64
        Descending.
    eigenvectors : ndarray of shape (n, n), float64
        Columns; the entry of largest magnitude in each is positive.

    Examples
    --------
    >>> import numpy as np
    >>> eigh(np.diag([1.0, 3.0]))[0]
    array([3., 1.])
    """
    _check_dtype("dtype", dtype, ("float64", "float32"))
    values, vectors = scipy.linalg.eigh(np.asarray(K, dtype=np.float64))
    values, vectors = values[::-1], vectors[:, ::-1]
    largest = np.abs(vectors).argmax(axis=0)
    signs = np.sign(vectors[largest, np.arange(len(values))])
    return values.copy(), vectors * signs


_Result = tuple[NDArray, SolveStatus, float, float]


def _check_dtype(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        options = ", ".join(repr(choice) for choice in choices)
        raise InvalidInputError(f"{name} must be one of {options}, got {value!r}")


def _right_side(
    Y: Any, reg: Any, weights: Any | None
) -> tuple[NDArray, NDArray, NDArray]:
    """Return Y, the regularization values [r] and the roots of the weights [n]."""
    Y = np.asarray(Y, dtype=np.float64)
    if Y.ndim != 2:
        raise InvalidInputError(f"Y must have shape (n, c), got shape {Y.shape}")
    regs = np.atleast_1d(np.asarray(reg, dtype=np.float64))
    if regs.ndim != 1:
        raise InvalidInputError(
            f"reg must be a number or have shape (r,), got shape {regs.shape}"
        )
    if weights is None:
        return Y, regs, np.ones(len(Y))
    weights = np.asarray(weights, dtype=np.float64)
    if weights.shape != (len(Y),):
        raise InvalidInputError(
            f"weights must have shape ({len(Y)},), got shape {weights.shape}"
        )
    return Y, regs, np.sqrt(weights)


def _finite(*arrays: Any) -> bool:
    return all(bool(np.isfinite(array).all()) for array in arrays)


def _failed(Y: NDArray, status: SolveStatus) -> _Result:
    return np.full_like(Y, np.nan), status, 0.0, float("nan")


def _collect(results: list[_Result], reg: Any) -> SolveResult:
    """Stack the results of several `reg`, or unwrap the only one of a scalar."""
    columns = [np.array(column) for column in zip(*results, strict=True)]
    if np.ndim(reg) == 0:
        columns = [column[0] for column in columns]
    alpha, status, jitter, residual = columns
    return SolveResult(alpha, np.asarray(status), jitter, residual)


class _Cholesky:
    """Solves with ``A + shift I`` by one factorization each."""

    def __init__(self, A: NDArray) -> None:
        self.A = A

    def solve(self, shift: float, B: NDArray) -> NDArray | None:
        """Return the solution, or None if the matrix is not positive definite."""
        shifted = self.A + shift * np.eye(len(self.A))
        try:
            factor = scipy.linalg.cho_factor(
                shifted, lower=True, overwrite_a=True, check_finite=False
            )
        except scipy.linalg.LinAlgError:
            return None
        return scipy.linalg.cho_solve(factor, B, check_finite=False)


class _Eigen:
    """Solves with ``A + shift I`` for many shifts from one eigendecomposition."""

    def __init__(self, A: NDArray) -> None:
        self.values, self.vectors = eigh(A)

    def solve(self, shift: float, B: NDArray) -> NDArray | None:
        """Return the solution, or None if the matrix is not positive definite."""
        values = self.values + shift
        rounding = len(values) * np.finfo(np.float64).eps * abs(values[0])
        if values[-1] <= rounding:
            return None
        return self.vectors @ ((self.vectors.T @ B) / values[:, None])


def _climb(
    factor: _Cholesky | _Eigen,
    A: NDArray,
    B: NDArray,
    s: NDArray,
    reg: float,
    shifts: NDArray,
) -> _Result:
    for shift in shifts:
        beta = factor.solve(reg + shift, B)
        if beta is not None and _finite(beta):
            status = SolveStatus.JITTERED if shift > 0 else SolveStatus.OK
            residual = _relative(A @ beta + (reg + shift) * beta - B, B)
            return s[:, None] * beta, status, float(shift), residual
    return _failed(B, SolveStatus.NOT_POSITIVE_DEFINITE)


def _relative(difference: NDArray, B: NDArray) -> float:
    norm = np.linalg.norm(B)
    return float(np.linalg.norm(difference) / (norm if norm > 0 else 1.0))


def _pivoted_cholesky(
    kernel: KernelSpec, X: NDArray, M: Any | None, s: NDArray, rank: int
) -> tuple[NDArray, float]:
    """Return L [n, rank] with ``L L^T ~ s K s``, and the largest diagonal left out."""
    rest = s**2 * kernels.kernel_diagonal(kernel, X, M)
    floor = len(X) * np.finfo(np.float64).eps * rest.max()
    L = np.zeros((len(X), rank))
    for k in range(rank):
        pivot = int(rest.argmax())
        if rest[pivot] <= floor:
            return L[:, :k], float(rest.max())
        column = kernels.pairwise(kernel, X, X[pivot : pivot + 1], M)[:, 0]
        column = s * column * s[pivot] - L[:, :k] @ L[pivot, :k]
        L[:, k] = column / np.sqrt(rest[pivot])
        rest = np.maximum(rest - L[:, k] ** 2, 0.0)
        rest[pivot] = 0.0
    return L, float(rest.max())


def _inverse(L: NDArray, shift: float) -> Callable[[NDArray], NDArray]:
    """Return the function ``V -> (L L^T + shift I)^-1 V``."""
    U, singular, _ = scipy.linalg.svd(L, full_matrices=False)
    scale = 1 / (singular**2 + shift) - 1 / shift

    def apply(V: NDArray) -> NDArray:
        return U @ (scale[:, None] * (U.T @ V)) + V / shift

    return apply


def _conjugate_gradients(
    product: Callable[[NDArray], NDArray],
    B: NDArray,
    precondition: Callable[[NDArray], NDArray],
    tol: float,
    max_iter: int,
) -> tuple[NDArray, SolveStatus]:
    """Solve for each column of B on its own step lengths, in one product a step."""
    target = tol * np.linalg.norm(B, axis=0)
    beta = np.zeros_like(B)
    remaining = max_iter
    while True:
        # The recursive residual drifts: each pass starts from the true one.
        residual = B - product(beta)
        if (np.linalg.norm(residual, axis=0) <= target).all():
            return beta, SolveStatus.OK
        if remaining <= 0:
            return beta, SolveStatus.MAX_ITERATIONS
        z = precondition(residual)
        direction = z
        rho = (residual * z).sum(axis=0)
        while remaining > 0 and (np.linalg.norm(residual, axis=0) > target).any():
            remaining -= 1
            image = product(direction)
            curvature = (direction * image).sum(axis=0)
            active = rho > 0
            if not np.isfinite(curvature).all():
                return beta, SolveStatus.NOT_FINITE
            if (curvature[active] <= 0).any():
                return beta, SolveStatus.NOT_POSITIVE_DEFINITE
            step = np.where(active, rho, 0.0) / np.where(active, curvature, 1.0)
            beta = beta + step * direction
            residual = residual - step * image
            z = precondition(residual)
            previous, rho = rho, (residual * z).sum(axis=0)
            ratio = np.where(active, rho, 0.0) / np.where(active, previous, 1.0)
            direction = z + ratio * direction
