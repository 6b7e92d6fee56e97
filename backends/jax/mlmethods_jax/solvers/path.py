"""Kernel ridge regression for many ridges, and diagonals of inverses, in JAX.

Pure functions of arrays, in the dtype of the kernel matrix. They work under ``jit``
and ``vmap``; gradients are exact where the eigenvalues differ (:func:`ridge_path`) or
the matrix is positive definite (:func:`inverse_diagonals`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax.linalg import triangular_solve
from jaxtyping import Array, Float

from mlmethods_jax.ops._precision import as_dtype, compute_dtype, scope, working_dtype

__all__ = [
    "InverseDiagonals",
    "RidgePathArrays",
    "inverse_diagonals",
    "ridge_path",
]


class RidgePathArrays(NamedTuple):
    """What :func:`ridge_path` finds for r ridges, n rows and c outputs.

    `alpha`, `residuals` and `loo` are (r, n, c); `gcv`, `df`, `mll`, `e0` and `kappa`
    (r,); `eigenvalues` (n,), ascending; `kept` (r,) the number of directions that are
    not dropped. An indefinite matrix that a ridge does not make positive has NaN for
    that ridge.
    """

    alpha: Float[Array, "r n c"]
    residuals: Float[Array, "r n c"]
    loo: Float[Array, "r n c"]
    gcv: Float[Array, r]
    df: Float[Array, r]
    mll: Float[Array, r]
    e0: Float[Array, r]
    kappa: Float[Array, r]
    eigenvalues: Float[Array, n]
    kept: Any


class InverseDiagonals(NamedTuple):
    """Diagonals (n,) of an inverse M and of its square, and its spectral norm.

    All are NaN where the matrix is not positive definite.
    """

    inverse: Float[Array, n]
    square: Float[Array, n]
    norm: Float[Array, ""]


def ridge_path(
    K: Float[Array, "n n"],
    Y: Float[Array, "n c"],
    regs: Float[Array, r],
    *,
    weights: Float[Array, n] | None = None,
) -> RidgePathArrays:
    """Solve ``(K + reg I) alpha = Y`` for every reg, with all leave-one-out errors.

    Parameters
    ----------
    K : array of shape (n, n)
        Symmetric matrix.
    Y : array of shape (n, c)
        Targets.
    regs : array of shape (r,)
        Ridges >= 0; new values compile nothing.
    weights : array of shape (n,) or None
        Positive weights w; with s = sqrt(w) the matrix is ``s K s``.

    Returns
    -------
    RidgePathArrays

    Notes
    -----
    As :func:`mlmethods.kernels.ridge_path`, which see: one eigendecomposition, then
    the diagonals of all inverses as one product of matrices. Ridges of at most
    ``eps`` times the largest eigenvalue are zero to this matrix, and directions with
    eigenvalues of at most n times that are dropped there.

    Examples
    --------
    >>> import numpy as np
    >>> from mlmethods_jax.solvers.path import ridge_path
    >>> path = ridge_path(np.eye(3), np.ones((3, 1)), np.array([1.0, 3.0]))
    >>> path.loo.shape, [round(float(v), 2) for v in path.df]
    ((2, 3, 1), [1.5, 0.75])
    """
    dtype = working_dtype(compute_dtype(K, Y, weights))
    w = np.ones(K.shape[0]) if weights is None else weights
    with scope(dtype):
        return _path(*(as_dtype(a, dtype) for a in (K, Y, regs, w)))


@jax.jit
def _path(K: Array, Y: Array, regs: Array, weights: Array) -> RidgePathArrays:
    n, c = Y.shape
    s = jnp.sqrt(weights)
    raw, V = jnp.linalg.eigh(s[:, None] * K * s[None, :], symmetrize_input=False)
    floor = jnp.finfo(K.dtype).eps * jnp.maximum(jnp.abs(raw[0]), jnp.abs(raw[-1]))
    values = jnp.where(jnp.abs(raw) <= n * floor, jnp.maximum(raw, 0), raw)
    lost = values <= n * floor
    cut = (regs <= floor) & jnp.any(lost)
    dropped = lost[:, None] & cut[None, :]
    shifted = values[:, None] + jnp.where(cut, 0, regs)[None, :]
    # The logarithm of a negative number, and all after it, is NaN.
    solid = jnp.where(dropped, 0, 1 / jnp.where(dropped, 1, shifted))
    logs = jnp.log(jnp.where(dropped, 1, shifted))
    indefinite = jnp.where(jnp.any(jnp.isnan(logs), axis=0), jnp.nan, 1)
    solid = solid * indefinite[None, :].astype(K.dtype)
    only_lost = lost.astype(K.dtype)[:, None]
    columns = jnp.concatenate([solid, solid**2, only_lost], axis=1)
    diagonals = _dot(V**2, columns)
    share = diagonals[:, -1:]
    inverse, square = jnp.split(diagonals[:, :-1], 2, axis=1)
    rotated = _dot(V.T, s[:, None] * Y)
    scaled = (rotated[:, None, :] * solid[:, :, None]).reshape(n, -1)
    both = _dot(V, jnp.concatenate([scaled, rotated * only_lost], axis=1))
    beta, left = both[:, :-c].reshape(n, -1, c), both[:, -c:]
    # Eigenvectors are wrong by about the rounding over the gap to the others.
    gap = jnp.min(jnp.where(lost, jnp.inf, values))
    part = share > (n * floor / gap) ** 2
    here = part & cut[None, :]
    safe = jnp.where(part, share, 1)
    loo = beta / jnp.where(here, 1, inverse)[:, :, None]
    loo = jnp.where(here[:, :, None], (left / safe)[:, None, :], loo)
    residuals = jnp.where(
        cut[None, :, None], left[:, None, :], beta * regs[None, :, None]
    )
    terms = jnp.where(here, 1 / safe, square / jnp.where(here, 1, inverse) ** 2)
    power = jnp.sum(rotated**2, axis=1)
    count = jnp.sum(only_lost)
    threshold = jnp.where(floor > 0, floor, 1)
    trace = jnp.where(cut, count / threshold, jnp.sum(solid, axis=0))
    noise = jnp.sum(power * only_lost[:, 0]) / threshold**2
    squares = jnp.where(cut, noise, _dot(power[None, :], solid**2)[0])
    fit = _dot(power[None, :], solid)[0]
    determinant = jnp.sum(logs, axis=0) - jnp.sum(jnp.log(weights))
    mll = -0.5 * (fit + c * (determinant + n * np.log(2 * np.pi).astype(K.dtype)))
    return RidgePathArrays(
        alpha=(s[:, None, None] * beta).swapaxes(0, 1),
        residuals=(residuals / s[:, None, None]).swapaxes(0, 1),
        loo=(loo / s[:, None, None]).swapaxes(0, 1),
        gcv=n**2 * squares / (c * jnp.sum(weights) * trace**2),
        df=n - regs * jnp.sum(solid, axis=0) - jnp.where(cut, count, 0),
        mll=jnp.where(cut, jnp.nan, mll),
        e0=jnp.mean(terms, axis=0),
        kappa=1 / trace,
        eigenvalues=raw,
        kept=n - jnp.sum(dropped, axis=0),
    )


def inverse_diagonals(A: Float[Array, "n n"]) -> InverseDiagonals:
    """Return the diagonals of the inverse of a positive definite matrix and its square.

    Parameters
    ----------
    A : array of shape (n, n)
        Symmetric matrix.

    Returns
    -------
    InverseDiagonals

    Examples
    --------
    >>> import numpy as np
    >>> from mlmethods_jax.solvers.path import inverse_diagonals
    >>> found = inverse_diagonals(np.diag([2.0, 4.0]))
    >>> [round(float(v), 4) for v in found.square], round(float(found.norm), 4)
    ([0.25, 0.0625], 0.5)
    """
    dtype = working_dtype(compute_dtype(A))
    with scope(dtype):
        return _inverse_diagonals(as_dtype(A, dtype))


@jax.jit
def _inverse_diagonals(A: Array) -> InverseDiagonals:
    L = jax.lax.linalg.cholesky(A, symmetrize_input=False)
    unit = jnp.eye(A.shape[0], dtype=A.dtype)
    half = triangular_solve(L, unit, left_side=True, lower=True)
    M = _dot(half.T, half)
    diagonal = jnp.diagonal(M)
    # Powers of the row of the largest entry: it has a part in the top direction.
    v = M[jnp.argmax(diagonal)]
    for _ in range(_POWER_STEPS):
        v = v / jnp.linalg.norm(v)
        v = _dot(M, v[:, None])[:, 0]
    norm = jnp.linalg.norm(v)
    return InverseDiagonals(diagonal, jnp.sum(M**2, axis=1), norm)


_POWER_STEPS = 4


def device_path(K: Array, Y: Any, regs: Any, weights: Any) -> Any | None:
    """Return :func:`ridge_path` as NumPy arrays, or None on a CPU.

    There LAPACK on the host is as fast, works in place and compiles nothing.
    """
    if _on_cpu(K):
        return None
    return jax.device_get(ridge_path(K, Y, regs, weights=weights))


def device_inverse_diagonals(A: Array) -> Any | None:
    """Return :func:`inverse_diagonals` as NumPy arrays, or None on a CPU."""
    return None if _on_cpu(A) else jax.device_get(inverse_diagonals(A))


def _on_cpu(K: Array) -> bool:
    return all(device.platform == "cpu" for device in K.devices())


def _dot(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)
