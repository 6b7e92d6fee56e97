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
    factor: jax.Array | None

    def values(
        self, kernel: KernelSpec, rows: tuple[jax.Array, ...], index: jax.Array
    ) -> jax.Array:
        """Return the kernel matrix of a block of rows."""
        return inner_product_value(kernel, dist.dot(rows[0], self.centers.T))

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


def prepare(X: jax.Array, Z: jax.Array | None, M: jax.Array | None) -> Setup:
    """Compute what all blocks share."""
    return Setup((dist.apply_metric(X, M),), X if Z is None else Z, M)
