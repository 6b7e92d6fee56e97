"""Row blocks: how operations bound their memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

__all__ = [
    "choose_block",
    "default_budget",
    "map_row_blocks",
    "padded_size",
    "scan_row_blocks",
]


def default_budget() -> int:
    """Return the bytes that the temporary arrays of one block may take.

    A CPU is fastest while they stay in its cache: 2.2 times for a kernel matvec.
    """
    return 2**25 if jax.default_backend() == "cpu" else 2**29


def padded_size(n: int) -> int:
    """Return the size to pad `n` rows to: a power of two, then multiples of 64."""
    if n <= 256:
        return 1 << max(0, n - 1).bit_length()
    return -(-n // 64) * 64


def choose_block(
    n: int, bytes_per_row: int, block_size: int | None, budget: int | None = None
) -> int:
    """Return how many of `n` rows to process at once."""
    if block_size is None:
        budget = default_budget() if budget is None else budget
        block_size = max(1, budget // max(1, bytes_per_row))
    block_size = max(1, min(block_size, n))
    # Equal blocks waste at most one row each on padding.
    return -(-n // -(-n // block_size)) if n else 1


def _pad_rows(x: jax.Array, rows: int) -> jax.Array:
    return jnp.pad(x, [(0, rows - x.shape[0])] + [(0, 0)] * (x.ndim - 1))


def map_row_blocks(
    function: Callable[..., jax.Array], block: int, *arrays: Any
) -> jax.Array:
    """Apply `function` to blocks of rows of `arrays` and stack its row results.

    Rows beyond the end are zeros and their results are cut off. The backward pass
    computes each block again instead of storing it.
    """
    n = arrays[0].shape[0]
    if block >= n:
        return function(*arrays)
    count = -(-n // block)
    blocks = tuple(
        _pad_rows(a, count * block).reshape(count, block, *a.shape[1:]) for a in arrays
    )
    out = jax.lax.map(lambda args: jax.checkpoint(function)(*args), blocks)
    return out.reshape(count * block, *out.shape[2:])[:n]


def scan_row_blocks(function: Callable[..., Any], block: int, *arrays: Any) -> Any:
    """Sum the pytrees that `function` returns over blocks of rows of `arrays`.

    Rows beyond the end are zeros: `function` must give them no weight.
    """
    n = arrays[0].shape[0]
    if block >= n:
        return function(*arrays)
    count = -(-n // block)
    blocks = tuple(
        _pad_rows(a, count * block).reshape(count, block, *a.shape[1:]) for a in arrays
    )
    shapes = jax.eval_shape(function, *(b[0] for b in blocks))
    zero = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

    def step(total: Any, args: Any) -> tuple[Any, None]:
        part = jax.checkpoint(function)(*args)
        return jax.tree.map(jnp.add, total, part), None

    total, _ = jax.lax.scan(step, zero, blocks)
    return total
