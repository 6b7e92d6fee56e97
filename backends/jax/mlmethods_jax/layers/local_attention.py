"""Attention to a window of frames, in blocks: no array of time by time exists.

``local_attention(q, k, v, window, mask=None, pattern="frame")``
"""

from __future__ import annotations

import functools
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from mlmethods.errors import InvalidInputError

__all__ = ["local_attention"]

_LOG_EXCLUDED = math.log(1e-6)
_NEVER = -1e30
# Blocks of short windows are taken together: products of few rows are slow.
_TILE = 32
# Scores that are held at once; on a CPU they stay in the cache: three times faster.
_SCORES = {"cpu": 2**19}
_SCORES_ELSEWHERE = 2**24


def _patterns(tile: int, window: int, pattern: str) -> tuple[Array, Array]:
    """Return which keys enter the softmax of a query, and which of them it attends to.

    Key j of a tile is frame ``j - window // 2`` from the first query of the tile.
    """
    reach = window // 2
    i = jnp.arange(tile, dtype=jnp.int32)[:, None]
    j = jnp.arange(tile + 2 * reach, dtype=jnp.int32)[None, :]
    from_block = j - i // window * window
    inside = (from_block >= 0) & (from_block < window + 2 * reach)
    if pattern == "frame":
        return inside, (j >= i) & (j < i + window)
    return inside, (from_block >= 0) & (from_block < 2 * window - 1)


@functools.partial(jax.checkpoint, static_argnums=(4, 5))
def _attend(
    q: Array, k: Array, v: Array, present: Array, window: int, pattern: str
) -> Array:
    """Attend from tiles of queries [b, n, t, e] to their keys [b, n, s, e].

    Gradients compute the scores again: to keep them would take the most memory of all.
    """
    inside, chosen = _patterns(q.shape[2], window, pattern)
    attended = chosen[None, None] & present[:, :, None, :]
    scores = jnp.einsum("bnte,bnse->bnts", q, k, preferred_element_type=jnp.float32)
    scores = jnp.where(attended, scores, scores + _LOG_EXCLUDED)
    scores = jnp.where(inside[None, None], scores, _NEVER)
    largest = lax.stop_gradient(jnp.max(scores, axis=-1, keepdims=True))
    weights = jnp.exp(scores - largest)
    total = jnp.sum(weights, axis=-1, keepdims=True)
    weights = jnp.where(attended, weights, 0.0).astype(v.dtype)
    out = jnp.einsum("bnts,bnse->bnte", weights, v, preferred_element_type=jnp.float32)
    return (out / total).astype(v.dtype)


def _spans(x: Array, tile: int, tiles: int, reach: int) -> Array:
    """Return the frames around each tile, [b, tiles, tile + 2 reach, ...]."""
    length = (tiles + 1) * tile
    widths = [(0, 0), (reach, length - reach - x.shape[1])] + [(0, 0)] * (x.ndim - 2)
    x = jnp.pad(x, widths).reshape(x.shape[0], tiles + 1, tile, *x.shape[2:])
    pairs = jnp.concatenate([x[:, :-1], x[:, 1:]], axis=2)
    return pairs[:, :, : tile + 2 * reach]


def local_attention(
    q: Float[Array, "b t e"],
    k: Float[Array, "b t e"],
    v: Float[Array, "b t f"],
    window: int,
    mask: Bool[Array, "b t"] | None = None,
    *,
    pattern: Literal["frame", "block"] = "frame",
) -> Float[Array, "b t f"]:
    """Return the attention of each frame to `window` frames around it.

    Frame i attends to the frames ``i - window // 2`` to ``i - window // 2 + window -
    1``. Queries come in blocks of `window`, and a block sees ``window + 2 (window //
    2)`` keys around it. The keys of the block that a frame does not attend to enter its
    softmax nevertheless, with a score lowered by ``log(1e6)``, and keys outside of the
    recording with a score of ``-log(1e6)``; their weights are then set to zero. That is
    how the segmentation transformer was trained, and its weights need it.

    Parameters
    ----------
    q, k, v : floating arrays [b, t, e], [b, t, e], [b, t, f]
        Queries, keys and values.
    window : int
        Frames that a frame attends to.
    mask : bool array [b, t], optional
        True where a frame exists, False where it is padding.
    pattern : {"frame", "block"}
        With ``"block"`` all frames of a block attend to the same keys, the first ``2
        window - 1`` of the block's. It is what the released code of the transformer
        does until one changes it as its authors advise.

    Returns
    -------
    array [b, t, f] of the dtype of `v`
        Scores and softmax are in float32. Frames of padding get finite numbers without
        meaning.

    Raises
    ------
    InvalidInputError
        If the window is below 1, the pattern unknown or a shape does not fit.

    References
    ----------
    Yi, Wen, Jiang (2021), ASFormer: transformer for action segmentation, BMVC;
    arXiv:2110.08568, section 3.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from mlmethods_jax.layers.local_attention import local_attention
    >>> x, v = jnp.zeros((1, 4, 2)), jnp.arange(4.0).reshape(1, 4, 1)
    >>> [f"{y:.3f}" for y in local_attention(x, x, v, 2)[0, :, 0]]
    ['0.000', '0.500', '1.500', '2.500']
    """
    if window < 1:
        raise InvalidInputError(f"window must be at least 1, got {window}")
    if pattern not in ("frame", "block"):
        raise InvalidInputError(f"pattern must be 'frame' or 'block', got {pattern!r}")
    if q.ndim != 3 or k.shape != q.shape or v.shape[:2] != q.shape[:2] or v.ndim != 3:
        raise InvalidInputError(
            "q, k and v must be of shapes (b, t, e), (b, t, e) and (b, t, f), got "
            f"{q.shape}, {k.shape} and {v.shape}"
        )
    batch, length = q.shape[:2]
    if mask is None:
        mask = jnp.ones((batch, length), bool)
    k = jnp.where(mask[:, :, None], k, jnp.zeros((), k.dtype))
    q = q * jnp.asarray(1.0 / math.sqrt(q.shape[-1]), q.dtype)
    tile = window if window >= _TILE else _TILE // window * window
    limit = _SCORES.get(jax.default_backend(), _SCORES_ELSEWHERE)
    tiles = -(-length // tile)
    at_once = limit // (batch * tile * (tile + 2 * (window // 2)))
    at_once = min(max(1, at_once), tiles)
    steps = -(-tiles // at_once)
    tiles = steps * at_once
    widths = ((0, 0), (0, tiles * tile - length), (0, 0))
    queries = jnp.pad(q, widths).reshape(batch, tiles, tile, -1)
    spans = [_spans(x, tile, tiles, window // 2) for x in (k, v, mask)]
    if steps == 1:
        out = _attend(queries, *spans, window, pattern)
    else:
        out = _in_steps([queries, *spans], steps, window, pattern)
    return out.reshape(batch, tiles * tile, -1)[:, :length]


def _in_steps(parts: list[Any], steps: int, window: int, pattern: str) -> Array:
    """Attend from a few tiles at a time."""

    def cut(x: Array) -> Array:
        split = x.reshape(x.shape[0], steps, -1, *x.shape[2:])
        return jnp.moveaxis(split, 1, 0)

    out = lax.map(
        lambda part: _attend(*part, window, pattern), tuple(cut(x) for x in parts)
    )
    out = jnp.moveaxis(out, 0, 1)
    return out.reshape(out.shape[0], -1, *out.shape[3:])
