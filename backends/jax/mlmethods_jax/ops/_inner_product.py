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
from mlmethods_jax.ops._radial import Extra

__all__ = ["prepare"]


class Setup(NamedTuple):
    """Centers, and as `rows` the points times M."""

    rows: tuple[jax.Array, ...]
    centers: jax.Array
    factor: jax.Array | None

    def _products(self, rows: tuple[jax.Array, ...], extra: Extra | None) -> jax.Array:
        products = dist.dot(rows[0], self.centers.T)
        return products if extra is None else products + extra.total

    def values(
        self,
        kernel: KernelSpec,
        rows: tuple[jax.Array, ...],
        index: jax.Array,
        extra: Extra | None = None,
    ) -> jax.Array:
        """Return the kernel matrix of a block of rows."""
        return inner_product_value(kernel, self._products(rows, extra))

    def weights(
        self,
        kernel: KernelSpec,
        rows: tuple[jax.Array, ...],
        index: jax.Array,
        extra: Extra | None = None,
    ) -> jax.Array:
        """Return the derivative by the inner product of each pair."""
        return inner_product_derivative(kernel, self._products(rows, extra))

    def pulled(
        self,
        kernel: KernelSpec,
        w: jax.Array,
        rows: tuple[jax.Array, ...],
        alpha: jax.Array,
    ) -> jax.Array:
        """Return b of shape (rows, c, d); the gradients are ``b M``."""
        stacked = jax.lax.map(lambda a: dist.dot(w, a[:, None] * self.centers), alpha.T)
        return jnp.swapaxes(stacked, 0, 1)


def prepare(X: jax.Array, Z: jax.Array | None, M: jax.Array | None) -> Setup:
    """Compute what all blocks share."""
    return Setup((dist.apply_metric(X, M),), X if Z is None else Z, M)
