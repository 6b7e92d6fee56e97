"""Distances, roots and products that kernels are made of."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

__all__ = [
    "apply_metric",
    "centered",
    "coincident",
    "dot",
    "metric_root",
    "outer",
    "outer_both",
    "outer_diagonal",
    "self_mask",
    "squared_distances",
    "squared_norms",
]


def dot(a: jax.Array, b: jax.Array) -> jax.Array:
    """Return ``a @ b`` of two matrices; reduced precision would ruin distances."""
    return jax.lax.dot(a, b, precision=jax.lax.Precision.HIGHEST)


def apply_metric(x: jax.Array, M: jax.Array | None) -> jax.Array:
    """Return ``x @ M`` for a matrix, a diagonal or None (the identity)."""
    if M is None:
        return x
    return x * M[None, :] if M.ndim == 1 else dot(x, M)


def outer(inner: jax.Array, factor: jax.Array | None) -> jax.Array:
    """Return ``inner @ factor`` for inner gradients (rows, c, d)."""
    b, c, d = inner.shape
    return apply_metric(inner.reshape(b * c, d), factor).reshape(b, c, d)


def outer_both(second: jax.Array, factor: jax.Array | None) -> jax.Array:
    """Return ``factor second factor`` for symmetric matrices."""
    if factor is None:
        return second
    return apply_metric(apply_metric(second, factor).T, factor).T


def outer_diagonal(second: jax.Array, factor: jax.Array | None) -> jax.Array:
    """Return the diagonal of ``factor diag(second) factor`` for a diagonal factor."""
    return second if factor is None else second * factor**2


def squared_norms(x: jax.Array, xm: jax.Array) -> jax.Array:
    """Return ``x^T M x`` by row, given ``xm = x @ M``; clamped at 0."""
    return jnp.maximum(jnp.sum(x * xm, axis=1), 0.0)


def centered(x: jax.Array, z: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """Return `x` and `z` less the mean of `z`; None means that z is x.

    Translation changes no difference and saves the digits that an offset would cost.
    """
    if z is None:
        x = x - jnp.mean(x, axis=0, keepdims=True)
        return x, x
    mean = jnp.mean(z, axis=0, keepdims=True)
    return x - mean, z - mean


def squared_distances(
    xm: jax.Array, x_norms: jax.Array, z: jax.Array, z_norms: jax.Array
) -> jax.Array:
    """Return the squared distances [n, m] by the expansion of the square."""
    cross = dot(xm, z.T)
    return jnp.maximum(x_norms[:, None] + z_norms[None, :] - 2.0 * cross, 0.0)


def coincident(r2: jax.Array, x_norms: jax.Array, z_norms: jax.Array) -> jax.Array:
    """Return where a squared distance is no more than round-off."""
    tolerance = 16 * float(jnp.finfo(r2.dtype).eps)
    return r2 < tolerance * (x_norms[:, None] + z_norms[None, :])


def self_mask(index: jax.Array, m: int) -> jax.Array:
    """Return [n, m] that is True where a column is the row's own sample."""
    return index[:, None] == jnp.arange(m, dtype=index.dtype)[None, :]


@jax.custom_jvp
def metric_root(M: jax.Array) -> jax.Array:
    """Return the symmetric root of a positive semi-definite matrix.

    Negative eigenvalues, which are round-off, count as zero.
    """
    w, v = jnp.linalg.eigh(M)
    return dot(v * jnp.sqrt(jnp.maximum(w, 0.0))[None, :], v.T)


@metric_root.defjvp
def _metric_root_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    # d(R R) = dM is a Sylvester equation, well posed where eigenvalues repeat.
    (M,), (dM,) = primals, tangents
    w, v = jnp.linalg.eigh(M)
    s = jnp.sqrt(jnp.maximum(w, 0.0))
    total = s[:, None] + s[None, :]
    positive = total > 0
    inner = dot(dot(v.T, dM), v)
    inner = jnp.where(positive, inner / jnp.where(positive, total, 1.0), 0.0)
    return dot(v * s[None, :], v.T), dot(dot(v, inner), v.T)
