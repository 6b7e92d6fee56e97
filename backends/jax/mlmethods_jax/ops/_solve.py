"""The direct ridge solve: precision, jitter ladder, refinement and its gradient."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mlmethods.interfaces import SolveResult, SolveStatus
from mlmethods_jax.ops._blocks import choose_block, map_row_blocks
from mlmethods_jax.ops._cholesky import factor
from mlmethods_jax.ops._cholesky import solve as solve_factored
from mlmethods_jax.ops._precision import scope, x64

__all__ = [
    "System",
    "argmax",
    "direct_status",
    "dot",
    "factored",
    "least_jitter",
    "solve",
    "spectrum",
    "weight_derivative",
]

EIGH_FROM = 12
"""Number of regs from which one eigendecomposition beats a Cholesky each."""

_REFINED = 1e-6
_MAX_REFINEMENTS = 3
_FEW_COLUMNS = 8
_NOT_FINITE = int(SolveStatus.NOT_FINITE)


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
        narrow = own if solve_dtype == "auto" else wide
        s = jnp.sqrt(weights.astype(wide))
        right = s[:, None] * Y.astype(wide)
        system = System(K.astype(narrow), s)
        regs = regs.astype(wide)
        if regs.shape[0] >= EIGH_FROM:
            solved = _by_eigh(system, right, regs, ladder)
        else:
            one = functools.partial(
                _mixed if solve_dtype == "auto" else _by_cholesky,
                system,
                right,
                ladder=ladder,
            )
            if regs.shape[0] == 1:
                # A loop of one turn would copy the matrix.
                solved = jax.tree.map(lambda a: a[None], one(regs[0]))
            else:
                solved = jax.lax.map(one, regs)
        beta, status, jitter, residual = solved
        ok = status <= SolveStatus.REFINEMENT_FELL_BACK
        # Whole matrices are searched for NaN only after a failure.
        finite = jax.lax.cond(
            jnp.all(ok),
            lambda: jnp.full((), True),
            lambda: _finite(K) & _finite(right) & _finite(s),
        )
        status = jnp.where(finite & jnp.isfinite(regs), status, _NOT_FINITE)
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
    dw = weight_derivative(
        weights,
        regs + jitter,
        alpha,
        gamma,
        Y[None] - jnp.matmul(K[None], alpha, precision=jax.lax.Precision.HIGHEST),
        cotangents[0] - jnp.matmul(K[None], gamma, precision=jax.lax.Precision.HIGHEST),
    )
    return (dK + dK.T) / 2.0, dY, dreg, dw


_ridge.defvjp(_forward, _backward)


def weight_derivative(
    weights: jax.Array,
    reg: jax.Array,
    alpha: jax.Array,
    gamma: jax.Array,
    error: jax.Array,
    error_g: jax.Array,
) -> jax.Array:
    """Return the derivative by the weights of solutions alpha (r, n, c) for `reg` (r,).

    With e = Y - K alpha, and e_g its like for the cotangent, it is e e_g / reg. Since
    alpha = (w / reg) e, the difference e, which loses digits, serves at w = 0 alone.
    """
    positive, usable = weights > 0, reg > 0
    inverse = jnp.where(positive, 1.0 / jnp.where(positive, weights, 1.0), 0.0)
    scale = jnp.where(usable, 1.0 / jnp.where(usable, reg, 1.0), 0.0)
    inside = reg[:, None, None] * (alpha * gamma) * (inverse**2)[None, :, None]
    outside = error * error_g * scale[:, None, None]
    each = jnp.where(positive[None, :, None], inside, outside)
    return jnp.sum(each, axis=(0, 2))


class System(NamedTuple):
    """The matrix ``s K s``, which is never stored: each use is one pass over K."""

    K: jax.Array
    s: jax.Array

    def matrix(self, dtype: Any) -> jax.Array:
        """Return the matrix itself."""
        s = self.s.astype(dtype)
        return self.K.astype(dtype) * s[:, None] * s[None, :]

    def mean_diagonal(self) -> jax.Array:
        """Return the mean of the diagonal."""
        return jnp.mean(jnp.diagonal(self.K).astype(self.s.dtype) * self.s**2)

    def product(self, beta: jax.Array) -> jax.Array:
        """Return the matrix times `beta` in its dtype, with no copy of K in it."""
        beta = self.s[:, None] * beta
        # Depending on beta, the conversion stays in the loop that it would else leave.
        K, beta = jax.lax.optimization_barrier((self.K, beta))
        if beta.shape[1] <= _FEW_COLUMNS:
            columns = [
                jnp.sum(K.astype(beta.dtype) * column[None, :], axis=1)
                for column in beta.T
            ]
            return self.s[:, None] * jnp.stack(columns, axis=1)
        block = choose_block(K.shape[0], 8 * K.shape[0], None, 2**24)
        out = map_row_blocks(lambda rows: dot(rows.astype(beta.dtype), beta), block, K)
        return self.s[:, None] * out

    def residual(
        self, beta: jax.Array, right: jax.Array, shift: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Return the residual of a solution, and its relative norm."""
        residual = right - self.product(beta) - shift * beta
        norm = jnp.linalg.norm(right)
        scale = jnp.where(norm > 0, norm, 1.0)
        return residual, jnp.linalg.norm(residual) / scale


def _finite(x: jax.Array) -> jax.Array:
    return jnp.all(jnp.isfinite(x))


def _ladder(system: System, reg: jax.Array, ladder: bool) -> jax.Array:
    """Return the jitters to try, the first of which is zero.

    They begin at the precision of K and end at what its round-off may take from its
    eigenvalues: the distance of duplicated rows is no zero in float32.
    """
    exponents = range(-7, -2) if system.K.dtype == jnp.float32 else range(-12, -5)
    rungs = [0.0] + ([10.0**e for e in exponents] if ladder else [])
    dtype = system.s.dtype
    return jnp.asarray(rungs, dtype) * (system.mean_diagonal() + reg)


def _cholesky(
    system: System, shift: jax.Array, dtype: Any
) -> tuple[jax.Array, jax.Array]:
    """Return the factor of the matrix plus ``shift I`` and whether it exists."""
    shape = system.K.shape
    rows = jax.lax.broadcasted_iota(jnp.int32, shape, 0)
    columns = jax.lax.broadcasted_iota(jnp.int32, shape, 1)
    zero = jnp.zeros((), dtype)
    diagonal = jnp.where(rows == columns, shift.astype(dtype), zero)
    return factor(system.matrix(dtype) + diagonal)


def factored(
    system: System, reg: jax.Array, ladder: bool
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return the Cholesky factor, the jitter that it took, and whether it exists."""
    dtype = system.s.dtype
    R, good = _cholesky(system, reg, dtype)
    none = jnp.zeros((), dtype)
    if not ladder:
        return R, none, good
    rungs = _ladder(system, reg, ladder)
    last = rungs.shape[0] - 1
    # A matrix with NaN would send every rung of the ladder to LAPACK.
    hopeless = jax.lax.cond(
        good, lambda: jnp.full((), True), lambda: ~_finite(system.K)
    )
    first = jnp.where(hopeless, last, 0)
    State = tuple[jax.Array, jax.Array, jax.Array, jax.Array]

    def failing(state: State) -> jax.Array:
        return ~state[3] & (state[0] < last)

    def climb(state: State) -> State:
        rung = state[0] + 1
        return rung, rungs[rung], *_cholesky(system, reg + rungs[rung], dtype)

    _, jitter, R, good = jax.lax.while_loop(failing, climb, (first, none, R, good))
    return R, jitter, good


def _by_cholesky(
    system: System, right: jax.Array, reg: jax.Array, *, ladder: bool
) -> Solution:
    R, jitter, good = factored(system, reg, ladder)
    beta = solve_factored(R, right)
    _, relative = system.residual(beta, right, reg + jitter)
    # A residual is finite only where the solution is.
    status = direct_status(good & jnp.isfinite(relative), jitter)
    return beta, status, jitter, relative


def direct_status(good: jax.Array, jitter: jax.Array) -> jax.Array:
    """Return the status of a solve that took a jitter, or failed."""
    status = jnp.where(jitter > 0, int(SolveStatus.JITTERED), int(SolveStatus.OK))
    status = jnp.where(good, status, int(SolveStatus.NOT_POSITIVE_DEFINITE))
    return status.astype(jnp.int32)


def _mixed(
    system: System, right: jax.Array, reg: jax.Array, *, ladder: bool
) -> Solution:
    """Factor in float32, refine with float64 residuals, else factor in float64."""
    narrow = system.K.dtype
    R, good = _cholesky(system, reg, narrow)

    def correction(residual: jax.Array) -> jax.Array:
        scale = jnp.max(jnp.abs(residual))
        scale = jnp.where(scale > 0, scale, 1.0)
        small = (residual / scale).astype(narrow)
        return solve_factored(R, small).astype(right.dtype) * scale

    def unfinished(state: Any) -> jax.Array:
        step, _, _, relative, change = state
        reached = (relative <= _REFINED) & (change <= _REFINED * 10)
        return (step <= _MAX_REFINEMENTS) & ~reached & jnp.isfinite(relative)

    def refine(state: Any) -> Any:
        step, beta, residual, _, _ = state
        delta = correction(residual)
        beta = beta + delta
        residual, relative = system.residual(beta, right, reg)
        size = jnp.linalg.norm(beta)
        change = jnp.linalg.norm(delta) / jnp.where(size > 0, size, 1.0)
        return step + 1, beta, residual, relative, change

    # The first turn solves, those after it refine.
    one = jnp.ones((), right.dtype)
    state = (jnp.zeros((), jnp.int32), jnp.zeros_like(right), right, one, one)
    _, beta, _, relative, change = jax.lax.while_loop(unfinished, refine, state)
    reached = good & (relative <= _REFINED) & (change <= _REFINED * 10)

    def accept() -> Solution:
        zero = jnp.zeros((), right.dtype)
        return beta, jnp.full((), int(SolveStatus.OK), jnp.int32), zero, relative

    def fall_back() -> Solution:
        beta, status, jitter, relative = _by_cholesky(system, right, reg, ladder=ladder)
        fell = jnp.full((), int(SolveStatus.REFINEMENT_FELL_BACK), jnp.int32)
        status = jnp.where(status == SolveStatus.OK, fell, status)
        return beta, status, jitter, relative

    return jax.lax.cond(reached, accept, fall_back)


def spectrum(system: System) -> tuple[jax.Array, jax.Array]:
    """Return the eigenvalues, round-off as zero, and eigenvectors of the matrix."""
    dtype = system.s.dtype
    w, V = jnp.linalg.eigh(jnp.where(_finite(system.K), system.matrix(dtype), 0.0))
    # Round-off of a singular matrix is no negative eigenvalue.
    return jnp.where(jnp.abs(w) <= V.shape[0] * _floor(w), 0.0, w), V


def _floor(w: jax.Array) -> jax.Array:
    return jnp.finfo(w.dtype).eps * jnp.max(jnp.abs(w))


def least_jitter(
    system: System, w: jax.Array, reg: jax.Array, ladder: bool
) -> tuple[jax.Array, jax.Array]:
    """Return the first jitter that makes eigenvalues positive, and whether one does."""
    rungs = _ladder(system, reg, ladder)
    enough = jnp.min(w) + reg + rungs > _floor(w)
    good = jnp.any(enough)
    return jnp.where(good, rungs[argmax(enough.astype(w.dtype))], rungs[-1]), good


def _by_eigh(
    system: System, right: jax.Array, regs: jax.Array, ladder: bool
) -> Solution:
    finite = _finite(system.K)
    w, V = spectrum(system)
    rotated = dot(V.T, right)

    def one(reg: jax.Array) -> Solution:
        jitter, good = least_jitter(system, w, reg, ladder)
        beta = dot(V, rotated / (w + reg + jitter)[:, None])
        _, relative = system.residual(beta, right, reg + jitter)
        status = direct_status(finite & good & jnp.isfinite(relative), jitter)
        return beta, status, jitter, relative

    return jax.lax.map(one, regs)
