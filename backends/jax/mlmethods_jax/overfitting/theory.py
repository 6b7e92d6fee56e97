"""Effective regularization of a spectrum as a differentiable JAX function."""

from __future__ import annotations

from typing import TypeAlias

import jax
import jax.numpy as jnp

__all__ = ["effective_regularization", "overfitting_coefficient"]

# Halvings of an interval of log kappa reach rounding long before.
_MOST_STEPS = 200

State: TypeAlias = tuple[
    jax.Array, jax.Array, jax.Array, jax.Array, jax.Array, jax.Array
]
"""Ends, iterate, last step, length of the one before, number of steps."""


@jax.jit
def effective_regularization(
    values: jax.Array,
    multiplicities: jax.Array,
    tail: jax.Array,
    n: jax.Array,
    reg: jax.Array,
) -> jax.Array:
    """Return the root kappa of the eigenframework.

    ``sum_i m_i lambda_i / (lambda_i + kappa) + (reg + tail) / kappa = n``. For several
    `n` or `reg` use ``jax.vmap``; derivatives of any order are those of the implicit
    function.

    Parameters
    ----------
    values : array of shape (levels,), float32 or float64
        Eigenvalues >= 0, whose dtype is computed in.
    multiplicities : array of shape (levels,)
        Modes of each level.
    tail, n, reg : arrays of shape (), or numbers
        Mass beyond the spectrum, samples and ridge.

    Returns
    -------
    array of shape ()
        NaN where there is no root: no ridge, no tail and at most n modes.
    """
    dtype = values.dtype
    counts, tail, n, reg = (
        jnp.asarray(x).astype(dtype) for x in (multiplicities, tail, n, reg)
    )
    return _root(values, counts, n, reg + tail)


@jax.jit
def overfitting_coefficient(
    values: jax.Array,
    multiplicities: jax.Array,
    tail: jax.Array,
    n: jax.Array,
    reg: jax.Array,
) -> jax.Array:
    """Return ``E0 = n / (n - sum_i m_i L_i^2)``, the cost of unit noise.

    Parameters
    ----------
    values, multiplicities, tail, n, reg
        As in :func:`effective_regularization`.

    Returns
    -------
    array of shape ()
        NaN where kappa has no root.
    """
    dtype = values.dtype
    counts, tail, n, reg = (
        jnp.asarray(x).astype(dtype) for x in (multiplicities, tail, n, reg)
    )
    kappa = _root(values, counts, n, reg + tail)
    # The equation of kappa turns n - sum L^2 into a sum without cancellation.
    return n / _sums(values, counts, reg + tail, kappa)[1]


def _sums(
    values: jax.Array, counts: jax.Array, ridge: jax.Array, kappa: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return the left side of the equation and minus its derivative in log kappa."""
    learned = values / (values + kappa)
    share = ridge / kappa
    missed = kappa / (values + kappa)
    filled = jnp.sum(counts * learned) + share
    return filled, jnp.sum(counts * learned * missed) + share


@jax.custom_jvp
def _root(
    values: jax.Array, counts: jax.Array, n: jax.Array, ridge: jax.Array
) -> jax.Array:
    dtype = values.dtype
    # Eigenvalues and intervals below the smallest normal number count as zero.
    smallest = jnp.finfo(dtype).tiny
    positive = values >= smallest
    values = jnp.where(positive, values, 0.0)
    modes = jnp.sum(jnp.where(positive, counts, 0.0))
    least = jnp.min(jnp.where(positive, values, jnp.inf))
    floor = jnp.where(modes > n, least * (modes - n), 0.0)
    wide = 64 * jnp.finfo(dtype).eps
    lower = jnp.maximum(jnp.maximum(ridge, floor) / n * (1 - wide), smallest)
    upper = (jnp.sum(values * counts) + ridge) / n * (1 + wide)
    low, high = jnp.log(lower), jnp.log(jnp.maximum(upper, lower))
    tolerance = 4 * jnp.finfo(dtype).eps

    def unfinished(state: State) -> jax.Array:
        low, high, _, moved, _, step = state
        scale = tolerance * jnp.maximum(jnp.abs(low), 1.0)
        open_ = (moved > jnp.sqrt(tolerance)) & (high - low > scale)
        return open_ & (step < _MOST_STEPS)

    def improve(state: State) -> State:
        low, high, u, last, before, step = state
        filled, flow = _sums(values, counts, ridge, jnp.exp(u))
        gap = jnp.log(filled / n)
        low, high = jnp.where(gap > 0, u, low), jnp.where(gap > 0, high, u)
        # Newton's step for the logarithm, which is straight for a power law.
        newton = u + gap * filled / flow
        good = (newton >= low) & (newton <= high)
        good &= jnp.abs(newton - u) <= 0.5 * before
        new = jnp.where(good, newton, 0.5 * (low + high))
        # A bisection says nothing of the error that is left.
        moved = jnp.abs(new - u)
        reached = jnp.where(good, moved, jnp.maximum(moved, 1.0))
        return low, high, new, reached, last, step + 1

    start = 0.5 * (low + high)
    width = jnp.maximum(high - low, 1.0)
    state = (low, high, start, width, width, jnp.asarray(0, jnp.int32))
    u = jax.lax.while_loop(unfinished, improve, state)[2]
    solvable = (modes > n) | (ridge > smallest * n)
    return jnp.where(solvable, jnp.exp(u), jnp.nan)


@_root.defjvp
def _root_jvp(
    primals: tuple[jax.Array, ...], tangents: tuple[jax.Array, ...]
) -> tuple[jax.Array, jax.Array]:
    values, counts, _, ridge = primals
    d_values, d_counts, d_n, d_ridge = tangents
    kappa = _root(*primals)
    total = values + kappa
    _, flow = _sums(values, counts, ridge, kappa)
    change = jnp.sum(counts * kappa / total**2 * d_values)
    change += jnp.sum(values / total * d_counts) + d_ridge / kappa - d_n
    return kappa, kappa / flow * change
