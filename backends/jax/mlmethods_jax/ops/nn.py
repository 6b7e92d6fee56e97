"""Operations that networks share: attention, ALiBi, discounted sums."""

from __future__ import annotations

import functools
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from mlmethods.errors import InvalidInputError
from mlmethods_jax.ops._attention import (
    Rules,
    accumulator_dtype,
    attend,
    attend_in_blocks,
)
from mlmethods_jax.ops._precision import as_dtype, compute_dtype, scope

__all__ = ["alibi_bias", "alibi_slopes", "attention", "discounted_cumsum"]


def _is(x: Any, kind: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(x), kind)


def _check_attention(
    q: Any,
    k: Any,
    v: Any,
    bias: Any,
    mask: Any,
    key_mask: Any,
    query_segments: Any,
    key_segments: Any,
    scale: Any,
    block_size: Any,
) -> None:
    """Refuse shapes and dtypes that do not fit; values are not looked at."""
    for name, x in (("q", q), ("k", k), ("v", v)):
        if np.ndim(x) != 4 or not _is(x, jnp.floating):
            raise InvalidInputError(
                f"{name} must be a floating array of four axes [batch, time, heads, "
                f"size], got shape {np.shape(x)} and dtype {jnp.result_type(x)}"
            )
    batch, length, heads, size = np.shape(q)
    num_keys = np.shape(k)[1]
    if 0 in (batch, length, heads, size, num_keys):
        raise InvalidInputError(
            f"q and k must have no empty axis, got shapes {np.shape(q)}, {np.shape(k)}"
        )
    for name, x in (("k", k), ("v", v)):
        if np.shape(x) != (batch, num_keys, heads, size):
            raise InvalidInputError(
                f"{name} must have shape {(batch, num_keys, heads, size)} to go with q "
                f"of shape {np.shape(q)}, got {np.shape(x)}"
            )
    full = (batch, heads, length, num_keys)
    for name, x, kind, word in (
        ("bias", bias, jnp.floating, "a floating"),
        ("mask", mask, jnp.bool_, "a boolean"),
    ):
        if x is None:
            continue
        shape = np.shape(x)
        fits = len(shape) == 4 and all(
            a in (1, b) for a, b in zip(shape, full, strict=True)
        )
        if not fits or not _is(x, kind):
            raise InvalidInputError(
                f"{name} must be {word} array whose axes are 1 or those of {full}, "
                f"got shape {shape} and dtype {jnp.result_type(x)}"
            )
    if (query_segments is None) != (key_segments is None):
        raise InvalidInputError(
            "query_segments and key_segments must be given together, got only one"
        )
    for name, x, kind, word, shape in (
        ("key_mask", key_mask, jnp.bool_, "a boolean", (batch, num_keys)),
        ("query_segments", query_segments, jnp.integer, "an integer", (batch, length)),
        ("key_segments", key_segments, jnp.integer, "an integer", (batch, num_keys)),
    ):
        if x is not None and (np.shape(x) != shape or not _is(x, kind)):
            raise InvalidInputError(
                f"{name} must be {word} array of shape {shape}, "
                f"got shape {np.shape(x)} and dtype {jnp.result_type(x)}"
            )
    if scale is not None and np.shape(scale) != ():
        raise InvalidInputError(f"scale must be a scalar, got shape {np.shape(scale)}")
    whole = isinstance(block_size, int) and block_size >= 1
    if block_size not in (None, "auto") and not whole:
        raise InvalidInputError(
            f"block_size must be None, 'auto' or an integer >= 1, got {block_size!r}"
        )


def _block(block_size: int | str | None, t: int, s: int) -> int | None:
    """Return the size of a tile; "auto" is the fastest that was measured."""
    if block_size != "auto":
        return block_size  # type: ignore[return-value]
    if jax.default_backend() == "cpu":
        # Tiles stay in the cache: five times faster at t = s = 2048.
        return 128 if min(t, s) >= 256 else None
    return 512 if min(t, s) >= 4096 else None


@functools.partial(jax.jit, static_argnames=("causal", "block_size"))
def _attention(
    q: Any,
    k: Any,
    v: Any,
    bias: Any,
    mask: Any,
    key_mask: Any,
    query_segments: Any,
    key_segments: Any,
    scale: Any,
    *,
    causal: bool,
    block_size: int | None,
) -> Any:
    if scale is None:
        scale = 1.0 / math.sqrt(q.shape[-1])
    scale = jnp.asarray(scale, accumulator_dtype(q.dtype))
    masks = [] if mask is None else [mask]
    if key_mask is not None:
        masks.append(key_mask[:, None, None, :])
    segments: tuple[Any, ...] = ()
    if query_segments is not None:
        key_segments = key_segments.astype(query_segments.dtype)
        segments = (query_segments[:, None, :, None], key_segments[:, None, None, :])
    rules = Rules(tuple(masks), segments)
    if block_size is None:
        return attend(q, k, v, bias, scale, rules, causal)
    return attend_in_blocks(q, k, v, bias, scale, rules, causal, block_size)


def attention(
    q: Float[Array, "b t h e"],
    k: Float[Array, "b s h e"],
    v: Float[Array, "b s h e"],
    *,
    bias: Float[Array, "#b #h #t #s"] | None = None,
    mask: Bool[Array, "#b #h #t #s"] | None = None,
    key_mask: Bool[Array, "b s"] | None = None,
    query_segments: Int[Array, "b t"] | None = None,
    key_segments: Int[Array, "b s"] | None = None,
    causal: bool = False,
    scale: float | None = None,
    block_size: int | Literal["auto"] | None = None,
) -> Float[Array, "b t h e"]:
    """Return softmax attention; a query with nothing to attend to gives zeros.

    Parameters
    ----------
    q, k, v : floating arrays [b, t, h, e], [b, s, h, e], [b, s, h, e]
        Queries, keys and values. JAX arrays decide the dtype of the result, the
        widest first; NumPy arrays become float32 unless x64 mode is on.
    bias : floating array, axes 1 or those of [b, h, t, s], optional
        Added to the scaled scores; ``-inf`` excludes a key.
    mask : bool array, axes 1 or those of [b, h, t, s], optional
        True where a query may attend to a key.
    key_mask : bool array [b, s], optional
        True where a key exists, False where it is padding.
    query_segments, key_segments : int arrays [b, t] and [b, s], optional
        A query attends to keys of its own segment only.
    causal : bool
        Query i attends to keys ``j <= i + s - t``: the last query sees every key.
    scale : float, optional
        Factor of the scores, ``1 / sqrt(e)`` by default.
    block_size : int, "auto" or None
        Number of queries and keys in a tile. With it no array of t x s entries
        exists, forward or backward, beyond a `bias` or `mask` that has them. "auto"
        takes tiles where they are faster: on a CPU from 256 queries and keys on.

    Returns
    -------
    array [b, t, h, e]
        Scores and softmax are in float32 for inputs of 16 bits.

    Raises
    ------
    InvalidInputError
        If a shape or dtype does not fit.

    Notes
    -----
    Excluded keys and values must be finite. With `block_size` the function is a
    ``custom_vjp``: reverse mode only. The gradient of a `bias` that is constant over
    keys is exactly zero there, because the softmax cancels it. Gradients in float64
    are taken within ``jax.enable_x64(True)``.

    References
    ----------
    Vaswani et al. (2017), Attention is all you need, eq. 1. Dao (2023),
    FlashAttention-2, algorithms 1 and 2 for the tiles.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from mlmethods_jax.ops.nn import alibi_bias, attention
    >>> q, k, v = jax.random.normal(jax.random.key(0), (3, 2, 5, 4, 8))
    >>> present = jnp.ones((2, 5), bool)
    >>> bias = alibi_bias(present, 4)
    >>> attention(q, k, v, bias=bias, key_mask=present, causal=True).shape
    (2, 5, 4, 8)
    """
    _check_attention(
        q, k, v, bias, mask, key_mask, query_segments, key_segments, scale, block_size
    )
    dtype = compute_dtype(q, k, v)
    with scope(dtype):
        return _attention(
            as_dtype(q, dtype),
            as_dtype(k, dtype),
            as_dtype(v, dtype),
            bias,
            mask,
            key_mask,
            query_segments,
            key_segments,
            as_dtype(scale, accumulator_dtype(dtype)),
            causal=bool(causal),
            block_size=_block(block_size, q.shape[1], k.shape[1]),
        )


@functools.cache
def _slopes(num_heads: int) -> np.ndarray:
    """Return the slopes in float32 arithmetic, as released models compute them."""
    if num_heads < 1:
        raise InvalidInputError(f"num_heads must be >= 1, got {num_heads}")
    power = math.floor(math.log2(num_heads))

    def base(exponent: int) -> np.float32:
        return np.float32(2.0 ** -(2.0 ** (3 - exponent)))

    first = base(power) ** np.arange(1, 2**power + 1, dtype=np.float32)
    rest = num_heads - 2**power
    odd = np.arange(1, 2 * rest, 2, dtype=np.float32)
    return np.concatenate([first, base(power + 1) ** odd])


def alibi_slopes(num_heads: int) -> Float[Array, " h"]:
    """Return the slope of each head's linear position bias, float32 [h].

    With c the largest power of two up to the number of heads, the first c heads have
    ``2^(-8 i / c)`` for i = 1..c; the others take the odd powers of the sequence for
    2c heads.

    Raises
    ------
    InvalidInputError
        If `num_heads` is below 1.

    References
    ----------
    Press, Smith and Lewis (2022), Train short, test long, section 3.

    Examples
    --------
    >>> from mlmethods_jax.ops.nn import alibi_slopes
    >>> alibi_slopes(4).tolist()
    [0.25, 0.0625, 0.015625, 0.00390625]
    """
    return jax.device_put(_slopes(int(num_heads)))


@jax.jit
def _alibi_bias(attention_mask: Any, slopes: Any) -> Any:
    present = attention_mask.astype(jnp.int32)
    positions = (jnp.cumsum(present, axis=1) - 1) * present
    return slopes[None, :, None, None] * positions.astype(jnp.float32)[:, None, None, :]


def alibi_bias(
    attention_mask: Bool[Array, "b s"] | Int[Array, "b s"], num_heads: int
) -> Float[Array, "b h 1 s"]:
    """Return the linear position bias of each key, float32 [b, h, 1, s].

    Positions count the keys that are present, so padding on either side changes
    nothing. The bias depends on the key alone; the softmax makes it equal to
    ``-slope (i - j)`` for query i.

    Parameters
    ----------
    attention_mask : bool or integer array [b, s]
        True (or 1) where a key exists.
    num_heads : int
        Number of heads h.

    Raises
    ------
    InvalidInputError
        If the mask is not of two axes, or `num_heads` is below 1.
    """
    if np.ndim(attention_mask) != 2 or _is(attention_mask, jnp.inexact):
        raise InvalidInputError(
            "attention_mask must be a boolean or integer array [batch, keys], got "
            f"shape {np.shape(attention_mask)} and dtype "
            f"{jnp.result_type(attention_mask)}"
        )
    return _alibi_bias(attention_mask, _slopes(int(num_heads)))


@jax.jit
def _discounted_cumsum(x: Any, discount: Any, done: Any, bootstrap: Any) -> Any:
    if done is None:
        factors = jnp.broadcast_to(discount, x.shape[:1])
    else:
        factors = discount * (1 - done.astype(x.dtype))
        factors = factors.reshape(*factors.shape, *([1] * (x.ndim - factors.ndim)))
    if bootstrap is None:
        start = jnp.zeros(x.shape[1:], x.dtype)
    else:
        start = bootstrap.astype(x.dtype)

    def step(later: Any, now: tuple[Any, Any]) -> tuple[Any, Any]:
        x_now, factor = now
        total = x_now + factor * later
        return total, total

    return lax.scan(step, start, (x, factors), reverse=True)[1]


def discounted_cumsum(
    x: Float[Array, "t ..."],
    discount: float,
    done: Array | None = None,
    *,
    bootstrap: Float[Array, " ..."] | None = None,
) -> Float[Array, "t ..."]:
    """Return ``y[t] = x[t] + discount (1 - done[t]) y[t + 1]``.

    Returns of rewards, advantages of temporal differences and successor features of
    cumulants are all of this form.

    Parameters
    ----------
    x : array [t, b, ...]
        What is summed; integers become floating.
    discount : scalar
        Factor per step; traced, so a new value compiles nothing.
    done : bool, integer or floating array [t, b], optional
        1 where an episode ends with step t: what follows is not added to it.
    bootstrap : array [b, ...], optional
        The value after the last step, zero by default.

    Returns
    -------
    array [t, b, ...] of the dtype of `x`

    Raises
    ------
    InvalidInputError
        If a shape does not fit.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from mlmethods_jax.ops.nn import discounted_cumsum
    >>> discounted_cumsum(jnp.ones((3, 1)), 0.5)[:, 0].tolist()
    [1.75, 1.5, 1.0]
    """
    shape = np.shape(x)
    if not shape:
        raise InvalidInputError("x must have a time axis, got a scalar")
    if np.shape(discount) != ():
        raise InvalidInputError(
            f"discount must be a scalar, got shape {np.shape(discount)}"
        )
    if done is not None and np.shape(done) != shape[:2]:
        raise InvalidInputError(
            f"done must have shape {shape[:2]}, the leading axes of x, "
            f"got {np.shape(done)}"
        )
    if bootstrap is not None and np.shape(bootstrap) != shape[1:]:
        raise InvalidInputError(
            f"bootstrap must have shape {shape[1:]}, that of x[0], "
            f"got {np.shape(bootstrap)}"
        )
    dtype = compute_dtype(x)
    with scope(dtype):
        return _discounted_cumsum(
            as_dtype(x, dtype), as_dtype(discount, dtype), done, bootstrap
        )
