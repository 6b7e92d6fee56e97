"""Kernels of the inner product ``t = x^T M z``, smooth everywhere."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from mlmethods.interfaces import KernelSpec
from mlmethods_jax.ops import _distances as dist
from mlmethods_jax.ops._kernel_functions import (
    inner_product_derivative,
    inner_product_value,
)

__all__ = ["prepare"]


class Setup(NamedTuple):
    """Centers, and as `rows` the points times M."""

    rows: tuple[jax.Array, ...]
    centers: jax.Array
    M: jax.Array | None

    @property
    def has_full_metric(self) -> bool:
        """Whether gradients still lack a matrix product with M."""
        return self.M is not None and self.M.ndim == 2

    def values(
        self, kernel: KernelSpec, rows: tuple[jax.Array, ...], index: jax.Array
    ) -> jax.Array:
        """Return the kernel matrix of a block of rows."""
        return inner_product_value(kernel, dist.dot(rows[0], self.centers.T))

    def product(
        self,
        kernel: KernelSpec,
        rows: tuple[jax.Array, ...],
        index: jax.Array,
        alpha: jax.Array,
    ) -> jax.Array:
        """Return the kernel matrix of a block times `alpha`."""
        return dist.dot(self.values(kernel, rows, index), alpha)

    def inner_gradients(
        self,
        kernel: KernelSpec,
        rows: tuple[jax.Array, ...],
        index: jax.Array,
        alpha: jax.Array,
    ) -> jax.Array:
        """Return b of shape (rows, c, d); the gradients are ``b M``."""
        w = inner_product_derivative(kernel, dist.dot(rows[0], self.centers.T))
        stacked = jax.lax.map(lambda a: dist.dot(w, a[:, None] * self.centers), alpha.T)
        return jnp.swapaxes(stacked, 0, 1)

    def outer(self, inner: jax.Array) -> jax.Array:
        """Return ``inner @ M`` for inner gradients (rows, c, d)."""
        b, c, d = inner.shape
        return dist.apply_metric(inner.reshape(b * c, d), self.M).reshape(b, c, d)

    def outer_both(self, second: jax.Array) -> jax.Array:
        """Return ``M second M``."""
        if self.M is None:
            return second
        half = dist.apply_metric(second, self.M)
        return dist.apply_metric(half.T, self.M).T

    def outer_diagonal(self, second: jax.Array) -> jax.Array:
        """Return the diagonal of ``M diag(second) M`` for a diagonal M."""
        return second if self.M is None else second * self.M**2


def prepare(X: jax.Array, Z: jax.Array | None, M: jax.Array | None) -> Setup:
    """Compute what all blocks share."""
    return Setup((dist.apply_metric(X, M),), X if Z is None else Z, M)
