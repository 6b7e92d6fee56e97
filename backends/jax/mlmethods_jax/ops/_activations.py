"""Gaussian expectations of products of activations.

For (u, v) with variances q_x, q_z and covariance S: ``E[phi(u) phi(v)]`` and
``E[phi'(u) phi'(v)]``. ``erf`` and ``gelu`` have closed forms; other activations are
expanded in Hermite polynomials (Mehler's formula).
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlmethods_jax.ops._kernel_functions import safe_root

__all__ = ["ends", "moments"]

# Nodes of the quadrature, and as many terms: at S = q_x = q_z the series is then the
# quadrature of phi^2 itself.
_DEGREE = 64


def moments(
    activation: Any, S: jax.Array, q_x: jax.Array, q_z: jax.Array, tangent: bool
) -> tuple[jax.Array, jax.Array]:
    """Return both expectations for each pair; the second is 0 unless `tangent`.

    Parameters
    ----------
    activation : {"erf", "gelu"} or (phi, dphi)
        The activation.
    S : array of shape (n, m)
        Covariances.
    q_x, q_z : arrays of shape (n, 1), (1, m)
        Variances.
    tangent : bool
        Whether the second is needed.
    """
    if activation == "erf":
        return _erf(S, q_x, q_z)
    if activation == "gelu":
        return _gelu(S, q_x, q_z)
    phi, dphi = activation
    value = _mehler(phi, S, q_x, q_z)
    return value, _mehler(dphi, S, q_x, q_z) if tangent else jnp.zeros_like(value)


def ends(activation: Any, q: jax.Array) -> jax.Array:
    """Return ``E[phi(u)^2]`` for variances `q`."""
    if activation == "erf":
        return jnp.arctan2(2.0 * q, jnp.sqrt(1.0 + 4.0 * q)) * (2 / math.pi)
    if activation == "gelu":
        return _gelu(q, q, q)[0]
    nodes, weights, _ = _quadrature(q.dtype)
    values = activation[0](safe_root(q)[..., None] * _last_axis(nodes, q))
    return jnp.sum(values**2 * _last_axis(weights, q), axis=-1)


def _erf(S: jax.Array, q_x: jax.Array, q_z: jax.Array) -> tuple[jax.Array, jax.Array]:
    # (1 + 2 q_x) (1 + 2 q_z) - 4 S^2, at least what it is where S^2 = q_x q_z.
    gap = jnp.maximum(q_x * q_z - S * S, 0.0)
    root = jnp.sqrt(1.0 + 2.0 * (q_x + q_z) + 4.0 * gap)
    return jnp.arctan2(2.0 * S, root) * (2 / math.pi), (4 / math.pi) / root


def _gelu(S: jax.Array, q_x: jax.Array, q_z: jax.Array) -> tuple[jax.Array, jax.Array]:
    gap = jnp.maximum(q_x * q_z - S * S, 0.0)
    determinant = 1.0 + q_x + q_z + gap
    root = jnp.sqrt(determinant)
    both = 0.25 + jnp.arctan2(S, root) / (2 * math.pi)
    mix = 1.0 / (1.0 + q_x) + 1.0 / (1.0 + q_z) - 1.0
    top = q_x * q_z + S * S * mix
    value = S * both + top / (2 * math.pi * root)
    slope = both + S * (1.0 + 2.0 * mix + top / determinant) / (2 * math.pi * root)
    return value, slope


@functools.cache
def _host_quadrature() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    nodes, weights = np.polynomial.hermite_e.hermegauss(_DEGREE)
    weights = weights / weights.sum()
    basis = np.zeros((_DEGREE, _DEGREE))
    basis[0] = 1.0
    basis[1] = nodes
    for k in range(1, _DEGREE - 1):
        # Hermite polynomials over the roots of factorials: no overflow.
        basis[k + 1] = (nodes * basis[k] - k**0.5 * basis[k - 1]) / (k + 1) ** 0.5
    return nodes, weights, basis * weights


def _quadrature(dtype: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return nodes, weights and what takes values at nodes to coefficients."""
    nodes, weights, basis = (jnp.asarray(a, dtype) for a in _host_quadrature())
    return nodes, weights, basis


def _last_axis(vector: jax.Array, q: jax.Array) -> jax.Array:
    return vector.reshape((1,) * q.ndim + (-1,))


def _coefficients(phi: Any, q: jax.Array) -> jax.Array:
    """Return the Hermite coefficients of ``phi(sqrt(q) a)``, [_DEGREE, *q.shape]."""
    nodes, _, basis = _quadrature(q.dtype)
    # A row of norm 0 without biases has no slope here: there it is given as 0.
    values = phi(safe_root(q)[..., None] * _last_axis(nodes, q))
    flat = jnp.broadcast_to(values, (*q.shape, _DEGREE)).reshape(-1, _DEGREE)
    product = jax.lax.dot(basis, flat.T, precision=jax.lax.Precision.HIGHEST)
    return product.reshape(_DEGREE, *q.shape)


def _mehler(phi: Any, S: jax.Array, q_x: jax.Array, q_z: jax.Array) -> jax.Array:
    product = q_x * q_z
    zero = product <= 0
    cosine = jnp.where(zero, 1.0, S / jnp.sqrt(jnp.where(zero, 1.0, product)))
    cosine = jnp.clip(cosine, -1.0, 1.0)

    def horner(total: jax.Array, pair: tuple[jax.Array, jax.Array]) -> Any:
        return total * cosine + pair[0] * pair[1], None

    terms = (_coefficients(phi, q_x), _coefficients(phi, q_z))
    return jax.lax.scan(horner, jnp.zeros_like(cosine), terms, reverse=True)[0]
