"""Kernel ridge solves and the symmetric eigenproblem with SciPy.

Nothing here raises because of the numbers it is given: a result carries a status, and
``mlmethods`` turns it into an error or a warning.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import scipy.linalg
from scipy.sparse.linalg import LinearOperator, cg

from mlmethods.interfaces import KernelSpec, SolveResult, SolveStatus
from mlmethods_scipy_example.kernels import matvec

__all__ = ["eigh", "ridge_cg", "ridge_solve"]


def ridge_solve(
    K: np.ndarray,
    Y: np.ndarray,
    reg: Any,
    *,
    weights: np.ndarray | None = None,
    solve_dtype: str = "float64",
    jitter: Literal["ladder", "none"] = "ladder",
) -> SolveResult:
    """Solve ``(K + reg I) alpha = Y``; several `reg` [r] give alpha [r, n, c]."""
    if np.ndim(reg) == 1:
        solved = [
            ridge_solve(K, Y, value, weights=weights, jitter=jitter) for value in reg
        ]
        return SolveResult(*(np.stack(field) for field in zip(*solved, strict=True)))
    root = _root(Y, weights)
    A, B = root * K * root.T, root * Y
    if not _finite(A, B, reg):
        return _failed(Y, SolveStatus.NOT_FINITE)
    rungs = [0.0] if jitter == "none" else [0.0, *np.logspace(-12, -6, 7)]
    for added in np.mean(np.diagonal(A)) * np.array(rungs):
        shifted = A + (reg + added) * np.eye(len(A))
        try:
            beta = scipy.linalg.cho_solve(scipy.linalg.cho_factor(shifted), B)
        except scipy.linalg.LinAlgError:
            continue
        status = SolveStatus.JITTERED if added > 0 else SolveStatus.OK
        return _solved(root * beta, status, added, shifted @ beta - B, B)
    return _failed(Y, SolveStatus.NOT_POSITIVE_DEFINITE)


def ridge_cg(
    kernel: KernelSpec,
    X: np.ndarray,
    Y: np.ndarray,
    reg: Any,
    M: np.ndarray | None = None,
    *,
    weights: np.ndarray | None = None,
    rank: int | None = None,
    tol: float = 1e-8,
    max_iter: int = 1000,
    block_size: int | None = None,
    solve_dtype: str = "float64",
) -> SolveResult:
    """Solve the same system by conjugate gradients, without the kernel matrix.

    There is no preconditioner, so that `rank` has no effect.
    """
    root = _root(Y, weights)
    B = root * Y
    if not _finite(X, B, reg):
        return _failed(Y, SolveStatus.NOT_FINITE)

    def product(v: np.ndarray) -> np.ndarray:
        v = v.reshape(len(X), -1)
        Kv = matvec(kernel, X, None, root * v, M, block_size=block_size)
        return root * Kv + reg * v

    operator = LinearOperator((len(X), len(X)), matvec=product, dtype=np.float64)
    beta, unfinished = np.empty_like(B), 0
    for column in range(B.shape[1]):
        beta[:, column], code = cg(operator, B[:, column], rtol=tol, maxiter=max_iter)
        unfinished += code
    if unfinished:
        return _failed(Y, SolveStatus.MAX_ITERATIONS)
    return _solved(root * beta, SolveStatus.OK, 0.0, product(beta) - B, B)


def eigh(K: np.ndarray, *, dtype: str = "float64") -> tuple[np.ndarray, np.ndarray]:
    """Return eigenvalues, descending, and eigenvectors whose largest entry is > 0."""
    values, vectors = scipy.linalg.eigh(K)
    values, vectors = values[::-1].copy(), vectors[:, ::-1]
    peak = np.abs(vectors).argmax(axis=0)
    return values, vectors * np.sign(vectors[peak, np.arange(len(K))])


def _root(Y: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    return np.sqrt(np.ones(len(Y)) if weights is None else weights)[:, None]


def _finite(*values: Any) -> bool:
    return all(np.isfinite(value).all() for value in values)


def _solved(
    alpha: np.ndarray,
    status: SolveStatus,
    jitter: float,
    difference: np.ndarray,
    B: np.ndarray,
) -> SolveResult:
    residual = np.linalg.norm(difference) / max(np.linalg.norm(B), 1e-300)
    return SolveResult(
        alpha, np.array(int(status)), np.array(jitter), np.array(residual)
    )


def _failed(Y: np.ndarray, status: SolveStatus) -> SolveResult:
    return SolveResult(
        np.full_like(Y, np.nan), np.array(int(status)), np.array(0.0), np.array(np.nan)
    )
