"""Leave-one-out errors of a ridge solve in closed form, for several regs."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.lax.linalg import triangular_solve

from mlmethods.interfaces import SolveStatus
from mlmethods_jax.ops import _solve
from mlmethods_jax.ops._cholesky import solve as solve_factored
from mlmethods_jax.ops._precision import x64

__all__ = ["LeaveOneOut", "leave_one_out"]

_BLOCKS = 8


class LeaveOneOut(NamedTuple):
    """The solve for the reg of least leave-one-out error.

    `alpha` and `errors` (target minus prediction from the other rows) are (n, c);
    `which` is the index of the reg. A failed solve has a `status` that says so.
    """

    alpha: jax.Array
    errors: jax.Array
    which: jax.Array
    status: jax.Array
    jitter: jax.Array
    residual: jax.Array


def leave_one_out(
    K: jax.Array, Y: jax.Array, regs: jax.Array, weights: jax.Array, counts: jax.Array
) -> LeaveOneOut:
    """Solve ``(K + reg I) alpha = Y`` in float64 and leave out each row in turn.

    Parameters
    ----------
    K : array of shape (n, n)
        Kernel matrix.
    Y : array of shape (n, c)
        Targets.
    regs : array of shape (r,)
        Ridges to choose from.
    weights : array of shape (n,)
        Positive sample weights, as in a ridge solve.
    counts : array of shape (n,)
        Weights of the rows in the error that decides; 0 for padding.

    Notes
    -----
    With w the weights and A the symmetric weighted matrix, the error of row i is
    ``alpha_i / (w_i (A^-1)_ii)``. One factorization for each reg, one
    eigendecomposition from 12 regs on. Forward only.
    """
    own = K.dtype
    with x64():
        wide = jnp.float64
        s = jnp.sqrt(weights.astype(wide))
        system = _solve.System(K, s)
        right = s[:, None] * Y.astype(wide)
        regs = regs.astype(wide)
        one = _by_eigh if regs.shape[0] >= _solve.EIGH_FROM else _by_cholesky
        parts = one(system, right, regs)
        beta, inverse, status, jitter, residual = parts
        errors = beta / (s[None, :] * inverse)[:, :, None]
        counted = jnp.mean(errors**2, axis=2) * counts.astype(wide)[None, :]
        loss = jnp.sum(counted, axis=1)
        failed = status > SolveStatus.REFINEMENT_FELL_BACK
        loss = jnp.where(failed | ~jnp.isfinite(loss), jnp.inf, loss)
        best = _solve.argmax(-loss)
        status = jnp.where(
            jnp.all(jnp.isfinite(K)), status, int(SolveStatus.NOT_FINITE)
        )
        alpha = s[:, None] * beta[best]
        return LeaveOneOut(
            alpha.astype(own),
            errors[best].astype(own),
            best,
            status[best].astype(jnp.int32),
            jitter[best].astype(own),
            residual[best].astype(own),
        )


_Parts = tuple[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array]


def _by_cholesky(system: _solve.System, right: jax.Array, regs: jax.Array) -> _Parts:
    def one(reg: jax.Array) -> _Parts:
        R, jitter, good = _solve.factored(system, reg, ladder=True)
        beta = solve_factored(R, right)
        _, relative = system.residual(beta, right, reg + jitter)
        status = _solve.direct_status(good & jnp.isfinite(relative), jitter)
        return beta, _inverse_diagonal(R), status, jitter, relative

    if regs.shape[0] == 1:
        return jax.tree.map(lambda a: a[None], one(regs[0]))
    return jax.lax.map(one, regs)


def _inverse_diagonal(R: jax.Array) -> jax.Array:
    """Return the diagonal of the inverse of ``R^T R``.

    Column j of the inverse of R^T is zero above row j: each block of columns solves
    the rest of the triangle alone, a third of the work.
    """
    n = R.shape[0]
    L = R.T
    block = -(-n // _BLOCKS)
    parts = []
    for start in range(0, n, block):
        width = min(block, n - start)
        unit = jnp.eye(n - start, width, dtype=R.dtype)
        columns = triangular_solve(L[start:, start:], unit, left_side=True, lower=True)
        parts.append(jnp.sum(columns**2, axis=0))
    return jnp.concatenate(parts)


def _by_eigh(system: _solve.System, right: jax.Array, regs: jax.Array) -> _Parts:
    w, V = _solve.spectrum(system)

    def one(reg: jax.Array) -> _Parts:
        jitter, good = _solve.least_jitter(system, w, reg, ladder=True)
        inverse = 1.0 / (w + reg + jitter)
        beta = _solve.dot(V, _solve.dot(V.T, right) * inverse[:, None])
        _, relative = system.residual(beta, right, reg + jitter)
        status = _solve.direct_status(good & jnp.isfinite(relative), jitter)
        return beta, _solve.dot(V**2, inverse[:, None])[:, 0], status, jitter, relative

    return jax.lax.map(one, regs)
