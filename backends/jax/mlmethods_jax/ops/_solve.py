"""The direct ridge solve: precision, jitter ladder, refinement and its gradient."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve

from mlmethods.interfaces import SolveResult, SolveStatus
from mlmethods_jax.ops._blocks import choose_block, map_row_blocks
from mlmethods_jax.ops._precision import scope, x64

__all__ = ["argmax", "dot", "solve"]

EIGH_FROM = 12
"""Number of regs from which one eigendecomposition beats a Cholesky each."""

_REFINED = 1e-6
_MAX_REFINEMENTS = 3


def dot(a: jax.Array, b: jax.Array) -> jax.Array:
    """Return ``a @ b`` of two matrices in full precision.

    jnp.matmul names its result's dtype, which batching refuses for float64 outside
    the scope; lax.dot does not.
    """
    return jax.lax.dot(a, b, precision=jax.lax.Precision.HIGHEST)


def argmax(x: jax.Array) -> jax.Array:
    """Return the first index of the maximum along axis 0.

    jnp.argmax on float64 does not lower outside the scope that it was traced in.
    """
    index = jax.lax.broadcasted_iota(jnp.int32, x.shape, 0)
    largest = x == jnp.max(x, axis=0, keepdims=True)
    return jnp.min(jnp.where(largest, index, x.shape[0] - 1), axis=0)


@functools.partial(jax.jit, static_argnames=("solve_dtype", "ladder"))
def solve(
    K: jax.Array,
    Y: jax.Array,
    reg: jax.Array,
    weights: jax.Array | None,
    *,
    solve_dtype: str,
    ladder: bool,
) -> SolveResult:
    """Solve for one reg (a scalar) or several (a vector)."""
    if solve_dtype == "auto" and K.dtype == jnp.float64:
        solve_dtype = "float64"
    weights = jnp.ones(K.shape[0], K.dtype) if weights is None else weights
    if reg.ndim == 0:
        result = _ridge(K, Y, reg[None], weights, solve_dtype, ladder)
        return SolveResult(*(a[0] for a in result))
    return SolveResult(*_ridge(K, Y, reg, weights, solve_dtype, ladder))


Solution = tuple[jax.Array, jax.Array, jax.Array, jax.Array]


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _ridge(
    K: jax.Array,
    Y: jax.Array,
    regs: jax.Array,
    weights: jax.Array,
    solve_dtype: str,
    ladder: bool,
) -> Solution:
    own = K.dtype
    with x64() if solve_dtype != "float32" else scope(own):
        wide = jnp.float32 if solve_dtype == "float32" else jnp.float64
        s = jnp.sqrt(weights.astype(wide))
        finite = (
            jnp.all(jnp.isfinite(K)) & jnp.all(jnp.isfinite(Y)) & jnp.all(s >= 0)
        ) & jnp.all(jnp.isfinite(s))
        right = s[:, None] * Y.astype(wide)
        if solve_dtype == "auto":
            s32 = s.astype(jnp.float32)
            matrix = K * s32[:, None] * s32[None, :]
        else:
            matrix = K.astype(wide) * s[:, None] * s[None, :]
        # A matrix with NaN would send every rung of the ladder to LAPACK.
        matrix = jnp.where(finite, matrix, jnp.eye(K.shape[0], dtype=matrix.dtype))
        right = jnp.where(finite, right, 0.0)
        if regs.shape[0] >= EIGH_FROM:
            solved = _by_eigh(matrix.astype(wide), right, regs.astype(wide), ladder)
        else:
            one = functools.partial(
                _mixed if solve_dtype == "auto" else _by_cholesky,
                matrix,
                right,
                ladder=ladder,
            )
            solved = jax.lax.map(one, regs.astype(wide))
        beta, status, jitter, residual = solved
        finite_reg = finite & jnp.isfinite(regs)
        status = jnp.where(finite_reg, status, int(SolveStatus.NOT_FINITE))
        ok = status <= SolveStatus.REFINEMENT_FELL_BACK
        alpha = jnp.where(ok[:, None, None], s[None, :, None] * beta, jnp.nan)
        residual = jnp.where(ok, residual, jnp.nan)
        return (
            alpha.astype(own),
            status.astype(jnp.int32),
            jitter.astype(own),
            residual.astype(own),
        )


def _forward(
    K: jax.Array,
    Y: jax.Array,
    regs: jax.Array,
    weights: jax.Array,
    solve_dtype: str,
    ladder: bool,
) -> Any:
    out = _ridge(K, Y, regs, weights, solve_dtype, ladder)
    return out, (K, Y, regs, weights, out[0], out[2])


def _backward(
    solve_dtype: str, ladder: bool, residuals: Any, cotangents: Any
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    # With gamma the solution for the cotangent, dK = -gamma alpha^T (implicit
    # function theorem); the matrix is symmetric, so its cotangent is too.
    K, Y, regs, weights, alpha, jitter = residuals
    parts = [
        _ridge(K, g, (r + j)[None], weights, solve_dtype, ladder)[0][0]
        for g, r, j in zip(cotangents[0], regs, jitter, strict=True)
    ]
    gamma = jnp.stack(parts)
    dK = -jnp.einsum("rnc,rmc->nm", gamma, alpha, precision=jax.lax.Precision.HIGHEST)
    dY = jnp.sum(gamma, axis=0)
    positive = weights > 0
    scaled = jnp.where(positive, 1.0 / jnp.where(positive, weights, 1.0), 0.0)
    dreg = -jnp.sum(gamma * alpha * scaled[None, :, None], axis=(1, 2))
    # alpha = (w / reg)(Y - K alpha), hence the derivative by w, also at w = 0.
    total = regs + jitter
    usable = total > 0
    precision = jax.lax.Precision.HIGHEST
    error = Y[None] - jnp.matmul(K[None], alpha, precision=precision)
    error_g = cotangents[0] - jnp.matmul(K[None], gamma, precision=precision)
    inverse = jnp.where(usable, 1.0 / jnp.where(usable, total, 1.0), 0.0)
    dw = jnp.sum(error * error_g * inverse[:, None, None], axis=(0, 2))
    return (dK + dK.T) / 2.0, dY, dreg, dw


_ridge.defvjp(_forward, _backward)


def _ladder(dtype: Any, scale: jax.Array, ladder: bool) -> jax.Array:
    """Return the jitters to try, the first of which is zero."""
    lowest = -7 if dtype == jnp.float32 else -12
    rungs = [0.0] + ([10.0**e for e in range(lowest, -5)] if ladder else [])
    return jnp.asarray(rungs, dtype) * scale


def _factor(
    matrix: jax.Array, reg: jax.Array, ladder: bool
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return the Cholesky factor, the jitter that it took, and whether it exists."""
    n = matrix.shape[0]
    rungs = _ladder(matrix.dtype, jnp.mean(jnp.diagonal(matrix)) + reg, ladder)
    diagonal = jnp.arange(n)

    def attempt(rung: jax.Array) -> jax.Array:
        shifted = matrix.at[diagonal, diagonal].add(reg + rungs[rung])
        return jnp.linalg.cholesky(shifted, symmetrize_input=False)

    def good(L: jax.Array) -> jax.Array:
        # LAPACK fills the factor with NaN from the failed pivot on.
        return jnp.all(jnp.isfinite(jnp.diagonal(L)))

    def failing(state: tuple[jax.Array, jax.Array]) -> jax.Array:
        return ~good(state[1]) & (state[0] < rungs.shape[0] - 1)

    def climb(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        return state[0] + 1, attempt(state[0] + 1)

    first = jnp.zeros((), jnp.int32)
    rung, L = jax.lax.while_loop(failing, climb, (first, attempt(first)))
    return L, rungs[rung], good(L)


def _relative_residual(
    matrix: jax.Array, beta: jax.Array, right: jax.Array, shift: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return the residual in the dtype of `beta`, and its relative norm."""
    block = choose_block(matrix.shape[0], 8 * matrix.shape[0], None, 2**26)

    def rows(part: jax.Array) -> jax.Array:
        return dot(part.astype(beta.dtype), beta)

    residual = right - map_row_blocks(rows, block, matrix) - shift * beta
    norm = jnp.linalg.norm(right)
    scale = jnp.where(norm > 0, norm, 1.0)
    return residual, jnp.linalg.norm(residual) / scale


def _by_cholesky(
    matrix: jax.Array, right: jax.Array, reg: jax.Array, *, ladder: bool
) -> Solution:
    L, jitter, good = _factor(matrix, reg, ladder)
    beta = cho_solve((L, True), right)
    _, relative = _relative_residual(matrix, beta, right, reg + jitter)
    good = good & jnp.all(jnp.isfinite(beta))
    status = jnp.where(jitter > 0, int(SolveStatus.JITTERED), int(SolveStatus.OK))
    status = jnp.where(good, status, int(SolveStatus.NOT_POSITIVE_DEFINITE))
    return beta, status.astype(jnp.int32), jitter, relative


def _mixed(
    matrix: jax.Array, right: jax.Array, reg: jax.Array, *, ladder: bool
) -> Solution:
    """Factor in float32, refine with float64 residuals, else factor in float64."""
    L, _, good = _factor(matrix, reg.astype(matrix.dtype), False)

    def correction(residual: jax.Array) -> jax.Array:
        scale = jnp.max(jnp.abs(residual))
        scale = jnp.where(scale > 0, scale, 1.0)
        small = (residual / scale).astype(matrix.dtype)
        return cho_solve((L, True), small).astype(right.dtype) * scale

    def unfinished(state: Any) -> jax.Array:
        step, _, _, relative, change = state
        reached = (relative <= _REFINED) & (change <= _REFINED * 10)
        return (step < _MAX_REFINEMENTS) & ~reached & jnp.isfinite(relative)

    def refine(state: Any) -> Any:
        step, beta, residual, _, _ = state
        delta = correction(residual)
        beta = beta + delta
        residual, relative = _relative_residual(matrix, beta, right, reg)
        size = jnp.linalg.norm(beta)
        change = jnp.linalg.norm(delta) / jnp.where(size > 0, size, 1.0)
        return step + 1, beta, residual, relative, change

    start = correction(right)
    residual, relative = _relative_residual(matrix, start, right, reg)
    infinite = jnp.full((), jnp.inf, right.dtype)
    state = (jnp.zeros((), jnp.int32), start, residual, relative, infinite)
    _, beta, _, relative, change = jax.lax.while_loop(unfinished, refine, state)
    reached = good & (relative <= _REFINED) & (change <= _REFINED * 10)

    def accept(_: None) -> Solution:
        zero = jnp.zeros((), right.dtype)
        return beta, jnp.full((), int(SolveStatus.OK), jnp.int32), zero, relative

    def fall_back(_: None) -> Solution:
        beta, status, jitter, relative = _by_cholesky(
            matrix.astype(right.dtype), right, reg, ladder=ladder
        )
        fell = jnp.full((), int(SolveStatus.REFINEMENT_FELL_BACK), jnp.int32)
        status = jnp.where(status == SolveStatus.OK, fell, status)
        return beta, status, jitter, relative

    return jax.lax.cond(reached, accept, fall_back, None)


def _by_eigh(
    matrix: jax.Array, right: jax.Array, regs: jax.Array, ladder: bool
) -> Solution:
    w, V = jnp.linalg.eigh(matrix)
    rotated = dot(V.T, right)
    largest = jnp.max(jnp.abs(w))
    floor = matrix.shape[0] * jnp.finfo(matrix.dtype).eps * largest

    def one(reg: jax.Array) -> Solution:
        rungs = _ladder(matrix.dtype, jnp.mean(jnp.diagonal(matrix)) + reg, ladder)
        enough = jnp.min(w) + reg + rungs > floor
        jitter = jnp.where(
            jnp.any(enough), rungs[argmax(enough.astype(w.dtype))], rungs[-1]
        )
        beta = dot(V, rotated / (w + reg + jitter)[:, None])
        _, relative = _relative_residual(matrix, beta, right, reg + jitter)
        good = jnp.any(enough) & jnp.all(jnp.isfinite(beta))
        status = jnp.where(jitter > 0, int(SolveStatus.JITTERED), int(SolveStatus.OK))
        status = jnp.where(good, status, int(SolveStatus.NOT_POSITIVE_DEFINITE))
        return beta, status.astype(jnp.int32), jitter, relative

    return jax.lax.map(one, regs)
