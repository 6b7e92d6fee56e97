"""Kernels of the Mahalanobis distance: one matrix product gives every distance."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from mlmethods.interfaces import KernelSpec
from mlmethods_jax.ops import _distances as dist
from mlmethods_jax.ops._kernel_functions import radial_value, radial_weight

__all__ = ["Extra", "prepare"]


class Extra(NamedTuple):
    """What further features add to each pair of a block.

    `squared` to the squared distance, `total` to the sum over the coordinates or to
    the inner product; there are `coordinates` of them.
    """

    squared: jax.Array
    total: jax.Array
    coordinates: int


class Setup(NamedTuple):
    """Centered centers and, as `rows`, what a block of points needs."""

    rows: tuple[jax.Array, ...]
    centers: jax.Array
    center_norms: jax.Array
    factor: jax.Array | None

    def _squared(self, rows: tuple[jax.Array, ...]) -> jax.Array:
        _, xm, norms = rows
        return dist.squared_distances(xm, norms, self.centers, self.center_norms)

    def values(
        self,
        kernel: KernelSpec,
        rows: tuple[jax.Array, ...],
        index: jax.Array,
        extra: Extra | None = None,
    ) -> jax.Array:
        """Return the kernel matrix of a block of rows."""
        r2 = self._squared(rows)
        zero = dist.self_mask(index, self.centers.shape[0])
        if r2.dtype == jnp.float64:
            # Duplicated rows must give equal rows, or K is not singular. In float32
            # the threshold would reach true distances and K would lose definiteness.
            zero = zero | dist.coincident(r2, rows[2], self.center_norms)
        r2 = jnp.where(zero, 0.0, r2)
        return radial_value(kernel, r2 if extra is None else r2 + extra.squared)

    def weights(
        self,
        kernel: KernelSpec,
        rows: tuple[jax.Array, ...],
        index: jax.Array,
        extra: Extra | None = None,
    ) -> jax.Array:
        """Return w of each pair, zero where they coincide."""
        r2 = self._squared(rows)
        if extra is not None:
            r2 = r2 + extra.squared
        excluded = dist.self_mask(index, self.centers.shape[0]) | dist.coincident(
            r2, rows[2], self.center_norms
        )
        return jnp.where(excluded, 0.0, radial_weight(kernel, r2))

    def pulled(
        self,
        kernel: KernelSpec,
        w: jax.Array,
        rows: tuple[jax.Array, ...],
        alpha: jax.Array,
    ) -> jax.Array:
        """Return b of shape (rows, c, d); the gradients are ``b M``."""
        x = rows[0]
        # The last column gives sum_j w_ij alpha_j in the same pass over w.
        ones = jnp.ones((self.centers.shape[0], 1), w.dtype)
        augmented = jnp.concatenate([self.centers, ones], axis=1)

        def one_output(a: jax.Array) -> jax.Array:
            sums = dist.dot(w, a[:, None] * augmented)
            return sums[:, :-1] - sums[:, -1:] * x

        if alpha.shape[1] == 1:
            return one_output(alpha[:, 0])[:, None, :]
        # One output at a time: all together would need an array of m c d.
        return jnp.swapaxes(jax.lax.map(one_output, alpha.T), 0, 1)


def prepare(X: jax.Array, Z: jax.Array | None, M: jax.Array | None) -> Setup:
    """Center both sets and compute what all blocks share."""
    x, z = dist.centered(X, Z)
    xm = dist.apply_metric(x, M)
    x_norms = dist.squared_norms(x, xm)
    same = Z is None
    z_norms = x_norms if same else dist.squared_norms(z, dist.apply_metric(z, M))
    return Setup((x, xm, x_norms), z, z_norms, M)
