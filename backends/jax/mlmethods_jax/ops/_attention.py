"""Attention in tiles: the online softmax and its backward pass.

Inside this module arrays are [b, h, t, e] and [b, h, s, e]; what limits or shifts the
scores is of rank four with axes of size 1 or of the size in [b, h, t, s].
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

__all__ = ["Rules", "accumulator_dtype", "attend", "attend_in_blocks"]

_HIGHEST = lax.Precision.HIGHEST


class Rules(NamedTuple):
    """Which keys a query may attend to, beyond causality.

    Attributes
    ----------
    masks : tuple of bool arrays
        All must be True.
    segments : tuple of two int arrays [b, 1, t, 1] and [b, 1, 1, s], or empty
        Must be equal.
    """

    masks: tuple[Any, ...]
    segments: tuple[Any, ...]


class _Blocks(NamedTuple):
    """Static sizes: of the tiles, and of the arrays before padding."""

    query_block: int
    key_block: int
    num_queries: int
    num_keys: int
    causal: bool


def accumulator_dtype(dtype: np.dtype) -> np.dtype:
    """Return the dtype in which scores and sums of inputs of `dtype` are held."""
    return np.dtype(np.float64 if dtype == np.float64 else np.float32)


def _contract(pattern: str, a: Any, b: Any) -> Any:
    return jnp.einsum(
        pattern,
        a,
        b,
        precision=_HIGHEST,
        preferred_element_type=accumulator_dtype(a.dtype),
    )


def _visible(rules: Rules, causal: bool, rows: Any, columns: Any, offset: int) -> Any:
    """Return the conjunction of all conditions, or None; rows [t, 1], columns [1, s]."""
    conditions = list(rules.masks)
    if rules.segments:
        queries, keys = rules.segments
        conditions.append(queries == keys)
    if causal:
        conditions.append((columns <= rows + offset)[None, None])
    return functools.reduce(jnp.logical_and, conditions) if conditions else None


def _limit(scores: Any, scale: Any, bias: Any, visible: Any) -> Any:
    scores = scores * scale
    if bias is not None:
        scores = scores + bias.astype(scores.dtype)
    if visible is not None:
        scores = jnp.where(visible, scores, -jnp.inf)
    return scores


def _finite(maximum: Any) -> Any:
    # -inf - -inf is NaN; a row without keys is shifted by 0 and stays at exp(-inf)
    return jnp.where(maximum == -jnp.inf, 0.0, maximum)


def _divide(total: Any, weight: Any) -> Any:
    # a row without keys has weight 0 and total 0
    return total / jnp.where(weight == 0, 1.0, weight)


def attend(
    q: Any, k: Any, v: Any, bias: Any, scale: Any, rules: Rules, causal: bool
) -> Any:
    """Return attention with all scores [b, h, t, s] at once; inputs are [b, t, h, e].

    The scale comes in the accumulator's dtype.
    """
    num_queries, num_keys = q.shape[1], k.shape[1]
    rows = jnp.arange(num_queries)[:, None]
    columns = jnp.arange(num_keys)[None, :]
    visible = _visible(rules, causal, rows, columns, num_keys - num_queries)
    scores = _limit(_contract("bthe,bshe->bhts", q, k), scale, bias, visible)
    shift = lax.stop_gradient(_finite(jnp.max(scores, axis=-1, keepdims=True)))
    weights = jnp.exp(scores - shift)
    total = _contract("bhts,bshe->bthe", weights.astype(v.dtype), v)
    weight = jnp.sum(weights, axis=-1)
    return _divide(total, jnp.swapaxes(weight, 1, 2)[..., None]).astype(q.dtype)


def _slice(x: Any, start: Any, size: int, axis: int) -> Any:
    if x.shape[axis] == 1:
        return x
    return lax.dynamic_slice_in_dim(x, start, size, axis)


def _tile(x: Any, i: Any, j: Any, blocks: _Blocks) -> Any:
    """Cut tile (i, j) out of an array that broadcasts to [b, h, t, s]."""
    x = _slice(x, i * blocks.query_block, blocks.query_block, 2)
    return _slice(x, j * blocks.key_block, blocks.key_block, 3)


def _rows(x: Any, i: Any, size: int) -> Any:
    """Cut block i out of the third axis of [b, h, t, ...]."""
    return lax.dynamic_slice_in_dim(x, i * size, size, 2)


def _tile_scores(
    q: Any, k: Any, bias: Any, scale: Any, rules: Rules, i: Any, j: Any, blocks: _Blocks
) -> Any:
    """Return the limited scores of tile (i, j) from its block of q and of k."""
    rows = i * blocks.query_block + jnp.arange(blocks.query_block)[:, None]
    columns = j * blocks.key_block + jnp.arange(blocks.key_block)[None, :]
    tiles = jax.tree.map(lambda x: _tile(x, i, j, blocks), rules)
    if blocks.num_keys % blocks.key_block:
        inside = (columns < blocks.num_keys)[None, None]
        tiles = tiles._replace(masks=(*tiles.masks, inside))
    offset = blocks.num_keys - blocks.num_queries
    visible = _visible(tiles, blocks.causal, rows, columns, offset)
    bias = None if bias is None else _tile(bias, i, j, blocks)
    return _limit(_contract("bhte,bhse->bhts", q, k), scale, bias, visible)


def _reached(i: Any, j: Any, blocks: _Blocks) -> Any:
    """Whether any query of block i comes at or after the first key of block j."""
    last = (i + 1) * blocks.query_block - 1 + blocks.num_keys - blocks.num_queries
    return j * blocks.key_block <= last


def _when_reached(i: Any, j: Any, blocks: _Blocks, step: Any, carry: Any) -> Any:
    # a causal tile above the diagonal contributes nothing: half of the work
    if not blocks.causal:
        return step(carry)
    return lax.cond(_reached(i, j, blocks), step, lambda carry: carry, carry)


def _forward(
    blocks: _Blocks, q: Any, k: Any, v: Any, bias: Any, scale: Any, rules: Rules
) -> tuple[Any, Any]:
    """Return the outputs [b, h, t, e] and the log normalisers [b, h, t, 1]."""
    accumulator = accumulator_dtype(q.dtype)
    batch, heads, length, size = q.shape
    num_query_blocks = length // blocks.query_block
    num_key_blocks = k.shape[2] // blocks.key_block
    lead = (batch, heads, blocks.query_block)

    def over_queries(_: None, i: Any) -> tuple[None, tuple[Any, Any]]:
        q_block = _rows(q, i, blocks.query_block)

        def over_keys(carry: Any, j: Any) -> tuple[Any, None]:
            def step(carry: Any) -> Any:
                maximum, weight, total = carry
                k_block = _rows(k, j, blocks.key_block)
                v_block = _rows(v, j, blocks.key_block)
                scores = _tile_scores(
                    q_block, k_block, bias, scale, rules, i, j, blocks
                )
                raised = jnp.maximum(maximum, jnp.max(scores, axis=-1, keepdims=True))
                shift = _finite(raised)
                weights = jnp.exp(scores - shift)
                rescale = jnp.exp(maximum - shift)
                weight = weight * rescale + jnp.sum(weights, axis=-1, keepdims=True)
                part = _contract("bhts,bhse->bhte", weights.astype(v.dtype), v_block)
                return raised, weight, total * rescale + part

            return _when_reached(i, j, blocks, step, carry), None

        start = (
            jnp.full((*lead, 1), -jnp.inf, accumulator),
            jnp.zeros((*lead, 1), accumulator),
            jnp.zeros((*lead, size), accumulator),
        )
        carry, _unused = lax.scan(over_keys, start, jnp.arange(num_key_blocks))
        maximum, weight, total = carry
        log_weight = jnp.log(jnp.where(weight == 0, 1.0, weight))
        out = _divide(total, weight).astype(q.dtype)
        return None, (out, _finite(maximum) + log_weight)

    _unused, (out, normalizer) = lax.scan(
        over_queries, None, jnp.arange(num_query_blocks)
    )
    return _join(out, 2), _join(normalizer, 2)


def _join(stacked: Any, axis: int) -> Any:
    """Turn blocks [n, ...] into one array, joined along `axis` of a block."""
    moved = jnp.moveaxis(stacked, 0, axis)
    shape = (*moved.shape[:axis], -1, *moved.shape[axis + 2 :])
    return moved.reshape(shape)


def _sum_to(x: Any, shape: tuple[int, ...]) -> Any:
    """Sum a score tile over the axes of b, h, t, s along which a bias has size 1."""
    axes = tuple(axis for axis in range(4) if shape[axis] == 1)
    return jnp.sum(x, axis=axes, keepdims=True)


def _backward(blocks: _Blocks, residuals: Any, grad_out: Any) -> tuple[Any, ...]:
    q, k, v, bias, scale, rules, out, normalizer = residuals
    accumulator = accumulator_dtype(q.dtype)
    num_query_blocks = q.shape[2] // blocks.query_block
    num_key_blocks = k.shape[2] // blocks.key_block
    # along a key axis of size 1 a bias shifts whole rows, which softmax cancels
    bias_counts = bias is not None and bias.shape[3] != 1
    delta = jnp.sum(
        grad_out.astype(accumulator) * out.astype(accumulator), axis=-1, keepdims=True
    )

    def over_keys(grad_q: Any, j: Any) -> tuple[Any, tuple[Any, ...]]:
        k_block = _rows(k, j, blocks.key_block)
        v_block = _rows(v, j, blocks.key_block)

        def over_queries(carry: Any, i: Any) -> tuple[Any, Any]:
            def step(carry: Any) -> Any:
                grad_q, grad_k, grad_v, _ = carry
                q_block = _rows(q, i, blocks.query_block)
                do_block = _rows(grad_out, i, blocks.query_block)
                scores = _tile_scores(
                    q_block, k_block, bias, scale, rules, i, j, blocks
                )
                weights = jnp.exp(scores - _rows(normalizer, i, blocks.query_block))
                grad_weights = _contract("bhte,bhse->bhts", do_block, v_block)
                grad_scores = weights * (
                    grad_weights - _rows(delta, i, blocks.query_block)
                )
                low = grad_scores.astype(q.dtype)
                grad_v += _contract(
                    "bhts,bhte->bhse", weights.astype(q.dtype), do_block
                )
                grad_k += _contract("bhts,bhte->bhse", low, q_block)
                part = _contract("bhts,bhse->bhte", low, k_block)
                start = i * blocks.query_block
                grad_q = lax.dynamic_update_slice_in_dim(
                    grad_q, _rows(grad_q, i, blocks.query_block) + part, start, 2
                )
                tile = _sum_to(grad_scores, bias.shape) if bias_counts else None
                return grad_q, grad_k, grad_v, tile

            tile = _zero_bias_tile(bias, blocks, accumulator) if bias_counts else None
            *carry, tile = _when_reached(i, j, blocks, step, (*carry, tile))
            return tuple(carry), tile

        start = (
            grad_q,
            jnp.zeros(k_block.shape, accumulator),
            jnp.zeros(v_block.shape, accumulator),
        )
        (grad_q, grad_k, grad_v), tiles = lax.scan(
            over_queries, start, jnp.arange(num_query_blocks)
        )
        if bias_counts:
            tiles = jnp.sum(tiles, axis=0) if bias.shape[2] == 1 else _join(tiles, 2)
        return grad_q, (grad_k, grad_v, tiles)

    grad_q, (grad_k, grad_v, tiles) = lax.scan(
        over_keys, jnp.zeros(q.shape, accumulator), jnp.arange(num_key_blocks)
    )
    grad_scale = jnp.sum(grad_q * q.astype(accumulator))
    if bias is None:
        grad_bias = None
    elif bias_counts:
        grad_bias = _join(tiles, 3).astype(bias.dtype)
    else:
        grad_bias = jnp.zeros_like(bias)
    return (
        (grad_q * scale).astype(q.dtype),
        (_join(grad_k, 2) * scale).astype(k.dtype),
        _join(grad_v, 2).astype(v.dtype),
        grad_bias,
        grad_scale,
        None,
    )


def _zero_bias_tile(bias: Any, blocks: _Blocks, dtype: Any) -> Any:
    batch, heads, rows, _ = bias.shape
    rows = 1 if rows == 1 else blocks.query_block
    return jnp.zeros((batch, heads, rows, blocks.key_block), dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _blocked(
    blocks: _Blocks, q: Any, k: Any, v: Any, bias: Any, scale: Any, rules: Rules
) -> Any:
    return _forward(blocks, q, k, v, bias, scale, rules)[0]


def _blocked_forward(
    blocks: _Blocks, q: Any, k: Any, v: Any, bias: Any, scale: Any, rules: Rules
) -> tuple[Any, Any]:
    out, normalizer = _forward(blocks, q, k, v, bias, scale, rules)
    return out, (q, k, v, bias, scale, rules, out, normalizer)


_blocked.defvjp(_blocked_forward, _backward)


def _pad(x: Any, axis: int, length: int) -> Any:
    if x.shape[axis] in (1, length):
        return x
    widths = [(0, 0)] * x.ndim
    widths[axis] = (0, length - x.shape[axis])
    return jnp.pad(x, widths)


def _round_up(length: int, block: int) -> int:
    return -(-length // block) * block


def attend_in_blocks(
    q: Any,
    k: Any,
    v: Any,
    bias: Any,
    scale: Any,
    rules: Rules,
    causal: bool,
    block_size: int,
) -> Any:
    """Return attention without an array [t, s], forward or backward.

    Arguments are those of :func:`attend`. Both lengths are cut into blocks; the
    backward pass recomputes the scores of a tile from the saved normalisers.
    """
    length, num_keys = q.shape[1], k.shape[1]
    blocks = _Blocks(
        min(block_size, length), min(block_size, num_keys), length, num_keys, causal
    )
    rows = _round_up(length, blocks.query_block)
    columns = _round_up(num_keys, blocks.key_block)

    def pad_scores(x: Any) -> Any:
        return _pad(_pad(x, 2, rows), 3, columns)

    q, k, v = (jnp.swapaxes(x, 1, 2) for x in (q, k, v))
    bias, rules = jax.tree.map(pad_scores, (bias, rules))
    q, k, v = _pad(q, 2, rows), _pad(k, 2, columns), _pad(v, 2, columns)
    out = _blocked(blocks, q, k, v, bias, scale, rules)
    return jnp.swapaxes(out[:, :, :length], 1, 2)
