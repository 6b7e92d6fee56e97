"""Preconditioned conjugate gradients on a kernel matrix that is never formed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve

from mlmethods.interfaces import KernelSpec, SolveResult, SolveStatus
from mlmethods_jax.ops import kernels
from mlmethods_jax.ops._precision import as_spec, scope, x64
from mlmethods_jax.ops._solve import argmax, dot, weight_derivative

__all__ = ["solve"]


@functools.partial(jax.jit, static_argnames=("rank", "block_size", "wide"))
def solve(
    kernel: KernelSpec,
    X: jax.Array,
    Y: jax.Array,
    reg: jax.Array,
    M: jax.Array | None,
    weights: jax.Array | None,
    tol: jax.Array,
    max_iter: jax.Array,
    *,
    rank: int,
    block_size: int | None,
    wide: bool,
) -> SolveResult:
    """Solve for one reg (a scalar) or several (a vector)."""
    weights = jnp.ones(X.shape[0], X.dtype) if weights is None else weights
    options = (rank, block_size, wide)

    def one(reg: jax.Array) -> Any:
        return _ridge(kernel, X, Y, reg, M, weights, tol, max_iter, options)

    return SolveResult(*(one(reg) if reg.ndim == 0 else jax.lax.map(one, reg)))


@functools.partial(jax.custom_vjp, nondiff_argnums=(8,))
def _ridge(
    kernel: KernelSpec,
    X: jax.Array,
    Y: jax.Array,
    reg: jax.Array,
    M: jax.Array | None,
    weights: jax.Array,
    tol: jax.Array,
    max_iter: jax.Array,
    options: tuple[int, int | None, bool],
) -> Any:
    rank, block_size, wide = options
    own = X.dtype
    with x64() if wide else scope(own):
        dtype = jnp.dtype(jnp.float64 if wide else jnp.float32)
        spec = as_spec(kernel, dtype)
        x, y, r = (a.astype(dtype) for a in (X, Y, reg))
        m = None if M is None else M.astype(dtype)
        s = jnp.sqrt(weights.astype(dtype))[:, None]

        def apply(v: jax.Array) -> jax.Array:
            product = kernels._matvec(spec, x, None, s * v, m, block_size=block_size)
            return s * product + r * v

        factor = s * _pivoted_cholesky(spec, x, m, s[:, 0], rank)
        precondition = _woodbury(factor, r)
        right = s * y
        reachable = 10.0 * x.shape[0] ** 0.5 * float(jnp.finfo(dtype).eps)
        goal = jnp.maximum(tol.astype(dtype), reachable)
        beta, reached, relative = _conjugate_gradients(
            apply, precondition, right, goal, max_iter
        )
        numbers = [x, y, r, s, *jax.tree.leaves((spec, m))]
        finite = jnp.stack([jnp.all(jnp.isfinite(a)) for a in numbers]).all()
        status = jnp.where(
            reached, int(SolveStatus.OK), int(SolveStatus.MAX_ITERATIONS)
        )
        status = jnp.where(finite, status, int(SolveStatus.NOT_FINITE))
        ok = status == SolveStatus.OK
        alpha = jnp.where(ok, s * beta, jnp.nan)
        return (
            alpha.astype(own),
            status.astype(jnp.int32),
            jnp.zeros((), own),
            relative.astype(own),
        )


def _forward(*args: Any) -> Any:
    out = _ridge(*args)
    return out, (*args[:8], out[0])


def _backward(options: tuple[int, int | None, bool], saved: Any, cot: Any) -> Any:
    # Implicit function theorem: the same system, solved for the cotangent.
    kernel, X, Y, reg, M, weights, tol, max_iter, alpha = saved
    gamma = _ridge(kernel, X, cot[0], reg, M, weights, tol, max_iter, options)[0]

    def form(kernel: KernelSpec, X: jax.Array, M: Any) -> jax.Array:
        product = kernels._matvec(kernel, X, None, alpha, M, block_size=options[1])
        return -jnp.sum(gamma * product)

    d_kernel, d_x, d_m = jax.grad(form, argnums=(0, 1, 2))(kernel, X, M)
    positive = weights > 0
    inverse = jnp.where(positive, 1.0 / jnp.where(positive, weights, 1.0), 0.0)
    d_reg = -jnp.sum(gamma * alpha * inverse[:, None])
    product = kernels._matvec(
        kernel,
        X,
        None,
        jnp.concatenate([alpha, gamma], axis=1),
        M,
        block_size=options[1],
    )
    c = Y.shape[1]
    error, error_g = Y - product[:, :c], cot[0] - product[:, c:]
    stacked = (a[None] for a in (alpha, gamma, error, error_g))
    d_w = weight_derivative(weights, reg[None], *stacked)
    return d_kernel, d_x, gamma, d_reg, d_m, d_w, jnp.zeros_like(tol), None


_ridge.defvjp(_forward, _backward)


def _pivoted_cholesky(
    kernel: KernelSpec, x: jax.Array, m: jax.Array | None, s: jax.Array, rank: int
) -> jax.Array:
    """Return a factor L (n, rank) of the kernel matrix, pivots chosen greedily."""
    n = x.shape[0]
    diagonal = jax.lax.map(
        lambda row: kernels._pairwise(kernel, row[None], None, m)[0, 0],
        x,
        batch_size=256,
    )

    def column(i: jax.Array, state: tuple[jax.Array, jax.Array]) -> Any:
        L, left = state
        # The weighted remainder decides, so that samples without weight never do.
        pivot = argmax(left * s**2)
        own = kernels._pairwise(kernel, x, x[pivot][None], m)[:, 0]
        rest = own - jnp.sum(L * L[pivot][None, :], axis=1)
        size = left[pivot]
        usable = size > 1e-12 * diagonal[pivot]
        new = jnp.where(usable, rest / jnp.sqrt(jnp.where(usable, size, 1.0)), 0.0)
        left = jnp.maximum(left - new**2, 0.0).at[pivot].set(0.0)
        return L.at[:, i].set(new), left

    start = (jnp.zeros((n, rank), x.dtype), diagonal)
    return jax.lax.fori_loop(0, rank, column, start)[0]


def _woodbury(factor: jax.Array, reg: jax.Array) -> Callable[[jax.Array], jax.Array]:
    """Return the inverse of ``L L^T + delta I``; delta is reg, or little at reg 0."""
    n, rank = factor.shape
    trace = jnp.sum(factor**2) / n
    delta = jnp.maximum(reg, 1e-8 * jnp.where(trace > 0, trace, 1.0))
    inner = dot(factor.T, factor) + delta * jnp.eye(rank, dtype=factor.dtype)
    L = jnp.linalg.cholesky(inner)

    def apply(v: jax.Array) -> jax.Array:
        return (v - dot(factor, cho_solve((L, True), dot(factor.T, v)))) / delta

    return apply


def _conjugate_gradients(
    apply: Callable[[jax.Array], jax.Array],
    precondition: Callable[[jax.Array], jax.Array],
    right: jax.Array,
    tol: jax.Array,
    max_iter: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return the solution, whether each column is within tol, and the residual."""
    norms = jnp.linalg.norm(right, axis=0)
    scale = jnp.where(norms > 0, norms, 1.0)

    def columns(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.sum(a * b, axis=0)

    def ratio(a: jax.Array, b: jax.Array) -> jax.Array:
        # A column that has converged exactly has 0 / 0 and stays where it is.
        return jnp.where(b > 0, a / jnp.where(b > 0, b, 1.0), 0.0)

    def worst(residual: jax.Array) -> jax.Array:
        return jnp.max(jnp.linalg.norm(residual, axis=0) / scale)

    def running(state: Any) -> jax.Array:
        step, _, residual, _, _ = state
        return (step < max_iter) & (worst(residual) > tol)

    def step(state: Any) -> Any:
        k, x, residual, direction, rz = state
        image = apply(direction)
        a = ratio(rz, columns(direction, image))
        x = x + a[None, :] * direction
        # The recursion drifts from the true residual; every 50 steps it is renewed.
        residual = jax.lax.cond(
            (k + 1) % 50 == 0,
            lambda: right - apply(x),
            lambda: residual - a[None, :] * image,
        )
        z = precondition(residual)
        new = columns(residual, z)
        direction = z + ratio(new, rz)[None, :] * direction
        return k + 1, x, residual, direction, new

    z = precondition(right)
    zero = jnp.zeros((), jnp.int32)
    state = (zero, jnp.zeros_like(right), right, z, columns(right, z))
    _, x, _, _, _ = jax.lax.while_loop(running, step, state)
    left = right - apply(x)
    whole = jnp.linalg.norm(right)
    relative = jnp.linalg.norm(left) / jnp.where(whole > 0, whole, 1.0)
    # The recursion stopped on its own residual; the true one may be a little larger.
    return x, worst(left) <= 2.0 * tol, relative
