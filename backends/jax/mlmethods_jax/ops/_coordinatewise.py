"""Kernels of the coordinates of ``u = M^{1/2} (x - z)``: l_{p,q} and sum of powers.

Coordinates are taken one at a time, so that no (n, m, d) array exists.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mlmethods.interfaces import KernelSpec
from mlmethods_jax.ops import _distances as dist
from mlmethods_jax.ops._kernel_functions import safe_power, safe_root
from mlmethods_jax.ops._radial import Extra

__all__ = ["phi", "prepare", "slope"]


# Without it the backward pass would keep an (n, m) array for each coordinate.
_recomputed = functools.partial(jax.checkpoint, prevent_cse=False)


def phi(kernel: KernelSpec, t: jax.Array) -> jax.Array:
    """Return what one coordinate difference adds to the sum under the kernel."""
    if kernel.name == "lpq":
        return safe_power(jnp.abs(t), kernel.params["p"])
    return jnp.exp(-safe_power(jnp.abs(t) / kernel.bandwidth, kernel.params["q"]))


def slope(kernel: KernelSpec, t: jax.Array) -> jax.Array:
    """Return the factor of the gradient that belongs to one coordinate."""
    magnitude, q = jnp.abs(t), kernel.params["q"]
    if kernel.name == "lpq":
        return jnp.sign(t) * safe_power(magnitude, kernel.params["p"] - 1.0)
    return (
        (q / kernel.bandwidth**q)
        * jnp.sign(t)
        * safe_power(magnitude, q - 1.0)
        * phi(kernel, t)
    )


def _mixed(kernel: KernelSpec, total: jax.Array, d: int) -> jax.Array:
    mix = kernel.params["const_mix"]
    return mix + (1.0 - mix) * (total / d)


def _value(kernel: KernelSpec, total: jax.Array, d: int) -> jax.Array:
    """Return the kernel, given the sum over the coordinates."""
    if kernel.name == "lpq":
        p, q = kernel.params["p"], kernel.params["q"]
        return jnp.exp(-safe_power(total, q / p) / kernel.bandwidth**q)
    return _mixed(kernel, total, d) ** kernel.params["power"]


def _weight(kernel: KernelSpec, total: jax.Array, d: int) -> jax.Array:
    """Return the factor of the gradient that all coordinates share."""
    if kernel.name == "lpq":
        p, q = kernel.params["p"], kernel.params["q"]
        scale = q / kernel.bandwidth**q
        return scale * _value(kernel, total, d) * safe_power(total, q / p - 1.0)
    power, mix = kernel.params["power"], kernel.params["const_mix"]
    return power * _mixed(kernel, total, d) ** (power - 1.0) * ((1.0 - mix) / d)


class Setup(NamedTuple):
    """Points (as `rows`) and centers times the root of M."""

    rows: tuple[jax.Array, ...]
    centers: jax.Array
    center_norms: jax.Array
    factor: jax.Array | None

    def _total(self, kernel: KernelSpec, x: jax.Array) -> jax.Array:
        """Return the sums over the coordinates."""

        @_recomputed
        def one_coordinate(kernel: KernelSpec, a: jax.Array, b: jax.Array) -> jax.Array:
            return phi(kernel, a[:, None] - b[None, :])

        def add(
            total: jax.Array, columns: tuple[jax.Array, jax.Array]
        ) -> tuple[jax.Array, None]:
            return total + one_coordinate(kernel, *columns), None

        zero = jnp.zeros((x.shape[0], self.centers.shape[0]), x.dtype)
        return jax.lax.scan(add, zero, (x.T, self.centers.T))[0]

    def values(
        self,
        kernel: KernelSpec,
        rows: tuple[jax.Array, ...],
        index: jax.Array,
        extra: Extra | None = None,
    ) -> jax.Array:
        """Return the kernel matrix of a block of rows."""
        total, count = self._total(kernel, rows[0]), rows[0].shape[1]
        if extra is not None:
            total, count = total + extra.total, count + extra.coordinates
        return _value(kernel, total, count)

    def weights(
        self,
        kernel: KernelSpec,
        rows: tuple[jax.Array, ...],
        index: jax.Array,
        extra: Extra | None = None,
    ) -> jax.Array:
        """Return what all coordinates of a pair share, zero where they coincide."""
        x, norms = rows
        total, count = self._total(kernel, x), x.shape[1]
        r2 = dist.squared_distances(x, norms, self.centers, self.center_norms)
        if extra is not None:
            total, count = total + extra.total, count + extra.coordinates
            r2 = r2 + extra.squared
        same = dist.self_mask(index, len(self.centers)) | dist.coincident(
            r2, norms, self.center_norms
        )
        return jnp.where(same, 0.0, _weight(kernel, total, count))

    def pulled(
        self,
        kernel: KernelSpec,
        w: jax.Array,
        rows: tuple[jax.Array, ...],
        alpha: jax.Array,
    ) -> jax.Array:
        """Return b of shape (rows, c, d); the gradients are ``b M^{1/2}``."""

        @_recomputed
        def one_coordinate(
            kernel: KernelSpec, w: jax.Array, alpha: jax.Array, a: jax.Array, b: Any
        ) -> jax.Array:
            return -dist.dot(w * slope(kernel, a[:, None] - b[None, :]), alpha)

        stacked = jax.lax.map(
            lambda columns: one_coordinate(kernel, w, alpha, *columns),
            (rows[0].T, self.centers.T),
        )
        return jnp.moveaxis(stacked, 0, 2)


def prepare(X: jax.Array, Z: jax.Array | None, M: jax.Array | None) -> Setup:
    """Center both sets and apply the root of M."""
    x, z = dist.centered(X, Z)
    root = None
    if M is not None:
        root = safe_root(M) if M.ndim == 1 else dist.metric_root(M)
    u = dist.apply_metric(x, root)
    v = u if Z is None else dist.apply_metric(z, root)
    return Setup((u, jnp.sum(u**2, axis=1)), v, jnp.sum(v**2, axis=1), root)
