"""Kernel ridge solves, direct and matrix-free, and the symmetric eigenproblem.

Solves default to float64, inside a scope of their own, whatever the dtype of the
caller; results come back in the caller's dtype. All functions work under ``jit`` and
``vmap``; gradients are reverse mode only.
"""

from __future__ import annotations

import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

import mlmethods_jax._pytrees  # noqa: F401
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import KernelSpec, SolveResult
from mlmethods_jax.ops import _cg, _solve, kernels
from mlmethods_jax.ops._precision import (
    as_dtype,
    as_spec,
    compute_dtype,
    scope,
    working_dtype,
    x64,
)

__all__ = ["eigh", "ridge_cg", "ridge_solve"]

_SOLVE_DTYPES = ("float64", "float32", "auto")


def ridge_solve(
    K: Float[Array, "n n"],
    Y: Float[Array, "n c"],
    reg: Any,
    *,
    weights: Float[Array, n] | None = None,
    solve_dtype: str = "float64",
    jitter: Literal["ladder", "none"] = "ladder",
) -> SolveResult:
    """Solve ``(K + reg I) alpha = Y``.

    Parameters
    ----------
    K : array of shape (n, n)
        Symmetric kernel matrix.
    Y : array of shape (n, c)
        Targets.
    reg : float or array of shape (r,)
        Added to the diagonal, not divided by n.
    weights : array of shape (n,) or None
        Sample weights w; with s = sqrt(w), ``alpha = s (s K s + reg I)^-1 s Y``.
    solve_dtype : {"float64", "float32", "auto"}
        ``"auto"`` factors in float32 and refines with float64 residuals; where that
        does not reach a relative residual of 1e-6, it factors in float64.
    jitter : {"ladder", "none"}
        After a failed factorization, add 1e-12 to 1e-6 times the mean diagonal (for
        a float32 matrix 1e-7 to 1e-3); ``"none"`` fails at once.

    Returns
    -------
    SolveResult
        With a leading axis of length r where `reg` is an array. A failed solve has
        NaN coefficients and says why in `status`.

    Raises
    ------
    InvalidInputError
        If shapes or options do not fit.

    Notes
    -----
    One Cholesky factorization for each reg, or one eigendecomposition for 12 and
    more. Peak memory is three float64 arrays of n x n.

    Examples
    --------
    >>> import numpy as np
    >>> from mlmethods_jax.ops.linalg import ridge_solve
    >>> result = ridge_solve(np.eye(2), np.array([[1.0], [2.0]]), 1.0)
    >>> [round(float(a), 4) for a in result.alpha[:, 0]], bool(result.ok)
    ([0.5, 1.0], True)
    """
    _check_system(K, Y, weights)
    _check_option("solve_dtype", solve_dtype, _SOLVE_DTYPES)
    _check_option("jitter", jitter, ("ladder", "none"))
    _check_reg(reg)
    dtype = compute_dtype(K, Y, weights)
    work = working_dtype(dtype)
    with scope(work):
        result = _solve.solve(
            *(as_dtype(a, work) for a in (K, Y, reg, weights)),
            solve_dtype=solve_dtype,
            ladder=jitter == "ladder",
        )
        return _in_dtype(result, dtype)


def ridge_cg(
    kernel: KernelSpec,
    X: Float[Array, "n d"],
    Y: Float[Array, "n c"],
    reg: Any,
    M: Float[Array, ...] | None = None,
    *,
    weights: Float[Array, n] | None = None,
    rank: int | None = None,
    tol: float = 1e-8,
    max_iter: int = 1000,
    block_size: int | None = None,
    solve_dtype: str = "float64",
) -> SolveResult:
    """Solve ``(K(X, X) + reg I) alpha = Y`` without forming the matrix.

    Parameters
    ----------
    kernel : KernelSpec
        The kernel function.
    X : array of shape (n, d)
        Samples.
    Y : array of shape (n, c)
        Targets.
    reg : float or array of shape (r,)
        Added to the diagonal, not divided by n.
    M : array of shape (d, d) or (d,), or None
        Mahalanobis matrix.
    weights : array of shape (n,) or None
        Sample weights, as in :func:`ridge_solve`.
    rank : int or None
        Columns of the preconditioner, a greedy pivoted Cholesky factor; None means
        at most 100.
    tol : float
        Relative residual of every column at which to stop; never less than what the
        precision of the solve can reach, 10 sqrt(n) eps.
    max_iter : int
        Most iterations.
    block_size : int or None
        Rows of the kernel matrix at a time.
    solve_dtype : {"float64", "float32", "auto"}
        ``"auto"`` is float64.

    Returns
    -------
    SolveResult

    Notes
    -----
    Peak memory is O(n (d + rank + c) + block_size n). Each iteration computes the
    kernel matrix once, blockwise.

    Examples
    --------
    >>> import numpy as np
    >>> from mlmethods.interfaces import KernelSpec
    >>> from mlmethods_jax.ops.linalg import ridge_cg
    >>> kernel = KernelSpec(name="gaussian", bandwidth=1.0)
    >>> X = np.linspace(0.0, 1.0, 8)[:, None]
    >>> bool(ridge_cg(kernel, X, X, 0.1).ok)
    True
    """
    _check_option("solve_dtype", solve_dtype, _SOLVE_DTYPES)
    if getattr(Y, "ndim", None) != 2 or Y.shape[0] != X.shape[0]:
        raise InvalidInputError(
            f"Y must have shape ({X.shape[0]}, c) to match X, got "
            f"{getattr(Y, 'shape', type(Y).__name__)}"
        )
    kernels.check_arguments(kernel, X, None, M, weights=weights)
    kernels.check_block(block_size)
    _check_reg(reg)
    dtype = compute_dtype(X, Y, M, weights)
    work = working_dtype(dtype)
    rank = min(X.shape[0], 100 if rank is None else rank)
    with scope(work):
        result = _cg.solve(
            as_spec(kernel, work),
            *(as_dtype(a, work) for a in (X, Y, reg, M, weights)),
            as_dtype(tol, work),
            max_iter,
            rank=rank,
            block_size=block_size,
            wide=solve_dtype != "float32",
        )
        return _in_dtype(result, dtype)


def eigh(
    K: Float[Array, "n n"], *, dtype: str = "float64"
) -> tuple[Float[Array, n], Float[Array, "n n"]]:
    """Return eigenvalues, descending, and eigenvectors of a symmetric matrix.

    Parameters
    ----------
    K : array of shape (n, n)
        Symmetric matrix.
    dtype : {"float64", "float32"}
        Precision of the decomposition; results have the dtype of `K`.

    Returns
    -------
    w : array of shape (n,)
        Eigenvalues, largest first.
    V : array of shape (n, n)
        Eigenvectors as columns; the entry of largest magnitude is positive.

    Examples
    --------
    >>> import numpy as np
    >>> from mlmethods_jax.ops.linalg import eigh
    >>> w, V = eigh(np.diag([1.0, 3.0]))
    >>> [float(v) for v in w]
    [3.0, 1.0]
    """
    if getattr(K, "ndim", None) != 2 or K.shape[0] != K.shape[1]:
        raise InvalidInputError(
            f"K must be a square matrix, got {getattr(K, 'shape', type(K).__name__)}"
        )
    _check_option("dtype", dtype, ("float64", "float32"))
    own = compute_dtype(K)
    with scope(own):
        return _eigh_jit(as_dtype(K, own), wide=dtype == "float64")


@functools.partial(jax.jit, static_argnames=("wide",))
def _eigh_jit(K: Array, *, wide: bool) -> tuple[Array, Array]:
    return _eigh(K, wide)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _eigh(K: Array, wide: bool) -> tuple[Array, Array]:
    with x64() if wide else scope(K.dtype):
        A = K.astype(jnp.float64 if wide else jnp.float32)
        w, V = jnp.linalg.eigh(A)
        w, V = w[::-1], V[:, ::-1]
        largest = jnp.take_along_axis(V, _solve.argmax(jnp.abs(V))[None, :], axis=0)
        V = V * jnp.where(largest < 0, -1.0, 1.0).astype(V.dtype)
        return w.astype(K.dtype), V.astype(K.dtype)


def _eigh_forward(K: Array, wide: bool) -> Any:
    w, V = _eigh(K, wide)
    return (w, V), (w, V)


def _eigh_backward(wide: bool, residuals: Any, cotangents: Any) -> tuple[Array]:
    w, V = residuals
    dw, dV = cotangents
    gap = w[None, :] - w[:, None]
    distinct = jnp.abs(gap) > 0
    inverse = jnp.where(distinct, 1.0 / jnp.where(distinct, gap, 1.0), 0.0)
    inner = jnp.diag(dw) + inverse * _solve.dot(V.T, dV)
    dK = _solve.dot(_solve.dot(V, inner), V.T)
    return ((dK + dK.T) / 2.0,)


_eigh.defvjp(_eigh_forward, _eigh_backward)


def _in_dtype(result: SolveResult, dtype: Any) -> SolveResult:
    alpha, status, jitter, residual = result
    return SolveResult(
        as_dtype(alpha, dtype),
        status,
        as_dtype(jitter, dtype),
        as_dtype(residual, dtype),
    )


def _check_reg(reg: Any) -> None:
    if jnp.ndim(reg) > 1:
        raise InvalidInputError(
            f"reg must be a number or a vector, got an array of shape {jnp.shape(reg)}"
        )


def _check_option(name: str, value: str, options: tuple[str, ...]) -> None:
    if value not in options:
        raise InvalidInputError(f"{name} must be one of {options}, got {value!r}")


def _check_system(K: Any, Y: Any, weights: Any) -> None:
    shape = getattr(K, "shape", None)
    if shape is None or len(shape) != 2 or shape[0] != shape[1]:
        raise InvalidInputError(f"K must be a square matrix, got shape {shape}")
    if getattr(Y, "ndim", None) != 2 or Y.shape[0] != shape[0]:
        raise InvalidInputError(
            f"Y must have shape ({shape[0]}, c) to match K, got "
            f"{getattr(Y, 'shape', type(Y).__name__)}"
        )
    if weights is not None and tuple(weights.shape) != (shape[0],):
        raise InvalidInputError(
            f"weights must have shape ({shape[0]},) to match K, got {weights.shape}"
        )
