"""Random draws in the shapes that compile fast.

On a CPU, XLA takes four to eight times as long to compile a draw of three or four axes as
one of a single axis; the numbers are the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

__all__ = ["normal", "normal_like", "uniform"]

# Arrays of fewer entries share a draw; larger ones may be spread over devices.
_SMALL = 2**16


def normal(key: Array, shape: tuple[int, ...], dtype: np.dtype) -> Array:
    """Return standard normal draws."""
    return jax.random.normal(key, (math.prod(shape),), dtype).reshape(shape)


def uniform(key: Array, shape: tuple[int, ...], dtype: np.dtype) -> Array:
    """Return uniform draws in (0, 1], as fine near 0 as the random bits allow."""
    width = np.dtype(dtype).itemsize * 8
    bits = jax.random.bits(key, (math.prod(shape),), f"uint{width}").reshape(shape)
    return (bits.astype(dtype) + 0.5) * 2.0**-width


def normal_like(key: Array, leaves: Sequence[Array]) -> list[Array]:
    """Return standard normal draws in the shapes and the dtype of `leaves`."""
    small = [i for i, leaf in enumerate(leaves) if leaf.size < _SMALL]
    large = [i for i, leaf in enumerate(leaves) if leaf.size >= _SMALL]
    keys = jax.random.split(key, len(large) + 1)
    found: dict[int, Array] = {}
    for i, leaf_key in zip(large, keys[1:], strict=True):
        found[i] = normal(leaf_key, leaves[i].shape, leaves[i].dtype)
    if small:
        ends = np.cumsum([leaves[i].size for i in small])
        shared = normal(keys[0], (int(ends[-1]),), leaves[small[0]].dtype)
        for i, part in zip(small, jnp.split(shared, ends[:-1].tolist()), strict=True):
            found[i] = part.reshape(leaves[i].shape).astype(leaves[i].dtype)
    return [found[i] for i in range(len(leaves))]
