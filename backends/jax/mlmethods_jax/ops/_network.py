"""Covariance and tangent kernels of infinitely wide networks (``nngp``, ``ntk``).

A layer maps the covariance S of two points and their variances q to
``S' = w^2 E[phi(u) phi(v)] + b^2`` with (u, v) Gaussian, and the tangent kernel to
``T' = S' + w^2 T E[phi'(u) phi'(v)]``. For ReLU the angle is carried instead of S.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mlmethods.interfaces import KernelSpec
from mlmethods_jax.ops import _distances as dist
from mlmethods_jax.ops._activations import ends, moments
from mlmethods_jax.ops._arc_cosine import relu_layer
from mlmethods_jax.ops._kernel_functions import safe_root

__all__ = ["prepare"]


class _Layer(NamedTuple):
    """Standard deviations of one dense layer, and whether its input is added."""

    w: jax.Array
    b: jax.Array
    skip: bool


def _layers(kernel: KernelSpec) -> list[_Layer]:
    """Return the dense layers that follow activations, the readout last."""
    p = kernel.params
    hidden = _Layer(p["w_std"], p["b_std"], kernel.option("skip"))
    readout = _Layer(p["readout_w_std"], p["readout_b_std"], False)
    return [hidden] * (kernel.option("depth") - 1) + [readout]


def _inverse(x: jax.Array) -> jax.Array:
    """Return 1 / x for x >= 0, and 0 (value and gradient) at x = 0."""
    zero = x <= 0
    return jnp.where(zero, 0.0, 1.0 / jnp.where(zero, 1.0, x))


def _dense(
    p: jax.Array, v_x: jax.Array, v_z: jax.Array, b: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Add the bias: return m and the roots of both variances.

    Without the bias the roots are `v_x`, `v_z` and m is ``p / (v_x v_z)``. The
    difference of roots appears as a product, without cancellation.
    """
    b2 = b * b
    root_x, root_z = safe_root(v_x**2 + b2), safe_root(v_z**2 + b2)
    total = root_x * root_z + v_x * v_z + b2
    apart = b2 * (v_x - v_z) ** 2 * _inverse(total)
    m = (apart + p) * (_inverse(root_x) * _inverse(root_z))
    return jnp.clip(m, 0.0, 2.0), root_x, root_z


def _relu_kernel(
    kernel: KernelSpec, p: jax.Array, u_x: jax.Array, u_z: jax.Array
) -> jax.Array:
    """Return the kernel, given lengths (times w) and ``p = u_x u_z (1 - cos)``."""
    b = kernel.params["b_std"]
    m, root_x, root_z = _dense(p, u_x, u_z, b)
    T = root_x * root_z * (1.0 - m)
    S = T
    layers = _layers(kernel)
    for place, (w, b, skip) in enumerate(layers):
        next_m, share = relu_layer(m)
        half = w * (0.5**0.5)
        v_x, v_z = half * root_x, half * root_z
        S = v_x * v_z * (1.0 - next_m) + b * b
        T = S + w * w * T * share + (T if skip else 0.0)
        if place + 1 < len(layers):
            p = v_x * v_z * next_m
            if skip:
                # Both variances are proportional to the root's square.
                p = p + root_x * root_z * m
                grown = jnp.sqrt(1.0 + half * half)
                v_x, v_z = grown * root_x, grown * root_z
            m, root_x, root_z = _dense(p, v_x, v_z, b)
    return T if kernel.name == "ntk" else S


def _smooth_kernel(
    kernel: KernelSpec, t: jax.Array, t_x: jax.Array, t_z: jax.Array
) -> jax.Array:
    """Return the kernel, given scaled inner products and squared norms.

    `t_x` has a column for each column of `t`, or one; `t_z` is one row.
    """
    w, b = kernel.params["w_std"], kernel.params["b_std"]
    S, q_x, q_z = (w * w * a + b * b for a in (t, t_x, t_z))
    T = S
    activation = kernel.option("activation")
    for w, b, skip in _layers(kernel):
        value, slope = moments(activation, S, q_x, q_z, kernel.name == "ntk")
        grown = w * w * value + b * b
        T = grown + w * w * T * slope + (T if skip else 0.0)
        S = grown + (S if skip else 0.0)
        q_x, q_z = (
            w * w * ends(activation, q) + b * b + (q if skip else 0.0)
            for q in (q_x, q_z)
        )
    return T if kernel.name == "ntk" else S


def _both_slopes(
    function: Callable[[jax.Array, jax.Array], jax.Array], a: jax.Array, b: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return the derivatives by each argument, pair by pair.

    `b` may have one column: it then enters each pair of its row alone, so that forward
    derivatives are those of pairs.
    """
    return (
        jax.jvp(function, (a, b), (jnp.ones_like(a), jnp.zeros_like(b)))[1],
        jax.jvp(function, (a, b), (jnp.zeros_like(a), jnp.ones_like(b)))[1],
    )


def _pulled(
    w: tuple[jax.Array, jax.Array],
    own: jax.Array,
    base: jax.Array,
    centers: jax.Array,
    alpha: jax.Array,
) -> jax.Array:
    """Return ``sum_j alpha_j (w0_ij (center_j - base_i) + w1_ij own_i)``."""
    ones = jnp.ones((centers.shape[0], 1), centers.dtype)
    augmented = jnp.concatenate([centers, ones], axis=1)

    def one_output(a: jax.Array) -> jax.Array:
        sums = dist.dot(w[0], a[:, None] * augmented)
        along = dist.dot(w[1], a[:, None])
        return sums[:, :-1] - sums[:, -1:] * base + along * own

    # One output at a time: all together would need an array of m c d.
    return jnp.swapaxes(jax.lax.map(one_output, alpha.T), 0, 1)


class ReluSetup(NamedTuple):
    """Directions, centered as the points of radial kernels are, and lengths.

    `rows` are the directions, the same centered, times M, their squared norms and the
    length of each point.
    """

    rows: tuple[jax.Array, ...]
    centers: jax.Array
    center_norms: jax.Array
    lengths: jax.Array
    factor: jax.Array | None

    def _half_squared(
        self, rows: tuple[jax.Array, ...], index: jax.Array, always: bool
    ) -> tuple[jax.Array, jax.Array]:
        """Return ``1 - cos`` and where directions coincide."""
        _, _, xm, norms, _ = rows
        r2 = dist.squared_distances(xm, norms, self.centers, self.center_norms)
        same = dist.self_mask(index, len(self.centers))
        # As for radial kernels: in float32 only gradients need the threshold.
        if always or r2.dtype == jnp.float64:
            same = same | dist.coincident(r2, norms, self.center_norms)
        m = jnp.where(same, 0.0, r2 / 2.0)
        if m.dtype == jnp.float64:
            # The angle to the opposite direction would lose half of the digits.
            m = jnp.where(m > 2.0 - 8 * float(jnp.finfo(m.dtype).eps), 2.0, m)
        return m, same

    def _scale(self, kernel: KernelSpec) -> jax.Array:
        d = self.centers.shape[1]
        return kernel.params["w_std"] * jnp.sqrt(kernel.params["scale"] / d)

    def values(
        self, kernel: KernelSpec, rows: tuple[jax.Array, ...], index: jax.Array
    ) -> jax.Array:
        """Return the kernel matrix of a block of rows."""
        m, _ = self._half_squared(rows, index, always=False)
        scale = self._scale(kernel)
        u_x, u_z = scale * rows[4][:, None], scale * self.lengths[None, :]
        return _relu_kernel(kernel, u_x * u_z * m, u_x, u_z)

    def weights(
        self, kernel: KernelSpec, rows: tuple[jax.Array, ...], index: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Return the factors of ``z/|z| - x/|x|`` and of x/|x| in the gradient."""
        m, same = self._half_squared(rows, index, always=True)
        scale = self._scale(kernel)
        u_z = scale * self.lengths[None, :]
        u_x = jnp.broadcast_to(scale * rows[4][:, None], m.shape)
        # Lengths that differ by round-off alone must not leave a small angle.
        equal = same & (jnp.abs(u_x - u_z) <= 8 * float(jnp.finfo(m.dtype).eps) * u_z)
        u_x = jnp.where(equal, u_z, u_x)
        by_p, by_length = _both_slopes(
            lambda p, u_x: _relu_kernel(kernel, p, u_x, u_z), u_x * u_z * m, u_x
        )
        # By p and not by m, which has no slope at a row of norm 0.
        return -scale * u_z * jnp.where(same, 0.0, by_p), scale * by_length

    def pulled(
        self,
        kernel: KernelSpec,
        w: tuple[jax.Array, jax.Array],
        rows: tuple[jax.Array, ...],
        alpha: jax.Array,
    ) -> jax.Array:
        """Return b of shape (rows, c, d); the gradients are ``b M``."""
        return _pulled(w, rows[0], rows[1], self.centers, alpha)


class SmoothSetup(NamedTuple):
    """Points, points times M and squared norms as `rows`; the centers' likewise."""

    rows: tuple[jax.Array, ...]
    centers: jax.Array
    squared: jax.Array
    factor: jax.Array | None

    def _products(
        self, kernel: KernelSpec, rows: tuple[jax.Array, ...], index: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        _, xm, squared = rows
        same = dist.self_mask(index, len(self.centers))
        t = jnp.where(same, squared[:, None], dist.dot(xm, self.centers.T))
        scale = kernel.params["scale"] / self.centers.shape[1]
        return scale * t, scale * squared[:, None], scale * self.squared[None, :]

    def values(
        self, kernel: KernelSpec, rows: tuple[jax.Array, ...], index: jax.Array
    ) -> jax.Array:
        """Return the kernel matrix of a block of rows."""
        return _smooth_kernel(kernel, *self._products(kernel, rows, index))

    def weights(
        self, kernel: KernelSpec, rows: tuple[jax.Array, ...], index: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Return the factors of z and of x in the gradient."""
        t, t_x, t_z = self._products(kernel, rows, index)
        scale = kernel.params["scale"] / self.centers.shape[1]

        by_t, by_t_x = _both_slopes(
            lambda t, t_x: _smooth_kernel(kernel, t, t_x, t_z), t, t_x
        )
        return scale * by_t, 2.0 * scale * by_t_x

    def pulled(
        self,
        kernel: KernelSpec,
        w: tuple[jax.Array, jax.Array],
        rows: tuple[jax.Array, ...],
        alpha: jax.Array,
    ) -> jax.Array:
        """Return b of shape (rows, c, d); the gradients are ``b M``."""
        return _pulled(w, rows[0], jnp.zeros_like(rows[0]), self.centers, alpha)


def _prepare_relu(X: jax.Array, Z: jax.Array | None, M: jax.Array | None) -> ReluSetup:
    def directions(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        lengths = safe_root(dist.squared_norms(x, dist.apply_metric(x, M)))
        return x * _inverse(lengths)[:, None], lengths

    x, x_lengths = directions(X)
    z, z_lengths = (x, x_lengths) if Z is None else directions(Z)
    # Taken to unit length first: the round-off of a long point is not a short one's.
    xc, zc = dist.centered(x, None if Z is None else z)
    xm = dist.apply_metric(xc, M)
    norms = dist.squared_norms(xc, xm)
    z_norms = norms
    if Z is not None:
        z_norms = dist.squared_norms(zc, dist.apply_metric(zc, M))
    return ReluSetup((x, xc, xm, norms, x_lengths), zc, z_norms, z_lengths, M)


def prepare(
    kernel: KernelSpec, X: jax.Array, Z: jax.Array | None, M: jax.Array | None
) -> Any:
    """Compute what all blocks share."""
    if kernel.option("activation") == "relu":
        return _prepare_relu(X, Z, M)
    xm = dist.apply_metric(X, M)
    squared = dist.squared_norms(X, xm)
    if Z is None:
        return SmoothSetup((X, xm, squared), X, squared, M)
    own = dist.squared_norms(Z, dist.apply_metric(Z, M))
    return SmoothSetup((X, xm, squared), Z, own, M)
