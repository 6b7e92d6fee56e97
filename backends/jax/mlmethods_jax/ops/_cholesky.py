"""Cholesky factors without a copy of the matrix.

On a CPU the public factorization passes over the matrix twice more, to clear one
triangle and to mark a failure: 15 percent of its time at n = 3000. Here LAPACK works
in place through the foreign function interface; other platforms take the public way.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax.linalg import triangular_solve

try:
    from jaxlib import lapack
except ImportError:  # it is no public interface of jaxlib
    lapack = None  # type: ignore[assignment]

__all__ = ["factor", "solve"]


def factor(matrix: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Factor a symmetric matrix.

    Parameters
    ----------
    matrix : array of shape (n, n)
        The matrix, float32 or float64.

    Returns
    -------
    R : array of shape (n, n)
        Upper triangular with ``R^T R = matrix``; what is below the diagonal, and all
        of it after a failure, means nothing.
    good : bool array of shape ()
        Whether the matrix is positive definite.
    """
    if lapack is None:
        return _public(matrix)
    return jax.lax.platform_dependent(matrix, cpu=_in_place, default=_public)


def solve(R: jax.Array, right: jax.Array) -> jax.Array:
    """Solve ``R^T R x = right``, given the `R` of :func:`factor`.

    Parameters
    ----------
    R : array of shape (n, n)
        The factor.
    right : array of shape (n, c)
        Right-hand sides.

    Returns
    -------
    array of shape (n, c)
    """
    # LAPACK reads columns first: the transpose, a lower triangle, needs no copy.
    L = R.T
    half = triangular_solve(L, right, left_side=True, lower=True)
    return triangular_solve(L, half, left_side=True, lower=True, transpose_a=True)


def _public(matrix: jax.Array) -> tuple[jax.Array, jax.Array]:
    L = jax.lax.linalg.cholesky(matrix.T, symmetrize_input=False)
    # After a failed pivot the factor is NaN.
    return L.T, jnp.all(jnp.isfinite(jnp.diagonal(L)))


def _in_place(matrix: jax.Array) -> tuple[jax.Array, jax.Array]:
    # LAPACK sees the transpose, an equal matrix, and its lower triangle is our upper.
    R, info = jax.ffi.ffi_call(
        lapack.prepare_lapack_call("potrf_ffi", matrix.dtype),
        (
            jax.ShapeDtypeStruct(matrix.shape, matrix.dtype),
            jax.ShapeDtypeStruct((), np.int32),
        ),
        vmap_method="broadcast_all",
        input_output_aliases={0: 0},
    )(matrix, uplo=np.uint8(ord("L")))
    return R, info == 0
