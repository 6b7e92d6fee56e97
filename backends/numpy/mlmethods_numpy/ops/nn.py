"""Operations that networks share, in plain loops: the oracle."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from mlmethods.errors import InvalidInputError

__all__ = ["alibi_bias", "alibi_slopes", "attention", "discounted_cumsum"]


def _check(name: str, x: Any, shape: tuple[int, ...]) -> np.ndarray:
    array = np.asarray(x)
    if array.shape != shape:
        raise InvalidInputError(f"{name} must have shape {shape}, got {array.shape}")
    return array


def _broadcast(name: str, x: Any, shape: tuple[int, ...]) -> np.ndarray:
    array = np.asarray(x)
    if array.ndim != len(shape) or any(
        size not in (1, full) for size, full in zip(array.shape, shape, strict=True)
    ):
        raise InvalidInputError(
            f"{name} must have axes that are 1 or those of {shape}, got {array.shape}"
        )
    return np.broadcast_to(array, shape)


def _boolean(name: str, x: Any) -> np.ndarray:
    array = np.asarray(x)
    if array.dtype != np.bool_:
        raise InvalidInputError(
            f"{name} must be a boolean array, got dtype {array.dtype}"
        )
    return array


def attention(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    *,
    bias: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    key_mask: np.ndarray | None = None,
    query_segments: np.ndarray | None = None,
    key_segments: np.ndarray | None = None,
    causal: bool = False,
    scale: float | None = None,
    block_size: int | Literal["auto"] | None = None,
) -> np.ndarray:
    """Return softmax attention [b, t, h, e], one query at a time.

    Parameters
    ----------
    q, k, v : arrays [b, t, h, e], [b, s, h, e], [b, s, h, e]
        Queries, keys and values.
    bias : array, axes 1 or those of [b, h, t, s], optional
        Added to the scaled scores; ``-inf`` excludes a key.
    mask : bool array, axes 1 or those of [b, h, t, s], optional
        True where a query may attend to a key.
    key_mask : bool array [b, s], optional
        True where a key exists.
    query_segments, key_segments : int arrays [b, t] and [b, s], optional
        A query attends to keys of its own segment only.
    causal : bool
        Query i attends to keys ``j <= i + s - t``.
    scale : float, optional
        Factor of the scores, ``1 / sqrt(e)`` by default.
    block_size : int, "auto" or None
        Without effect: one row of scores is all that ever exists.

    Raises
    ------
    InvalidInputError
        If a shape does not fit, a mask is not boolean, or only one of the segment
        arrays is given.
    """
    whole = isinstance(block_size, int) and block_size >= 1
    if block_size not in (None, "auto") and not whole:
        raise InvalidInputError(
            f"block_size must be None, 'auto' or an integer >= 1, got {block_size!r}"
        )
    q, k, v = (np.asarray(x, dtype=np.float64) for x in (q, k, v))
    for name, x in (("q", q), ("k", k)):
        if x.ndim != 4 or 0 in x.shape:
            raise InvalidInputError(
                f"{name} must have four axes [batch, time, heads, size], none empty, "
                f"got shape {x.shape}"
            )
    batch, length, heads, size = q.shape
    num_keys = k.shape[1]
    _check("k", k, (batch, num_keys, heads, size))
    _check("v", v, k.shape)
    scale = 1.0 / math.sqrt(size) if scale is None else scale
    full = (batch, heads, length, num_keys)
    if bias is not None:
        bias = _broadcast("bias", np.asarray(bias, dtype=np.float64), full)
    allowed = np.ones(full, dtype=bool)
    if mask is not None:
        allowed &= _broadcast("mask", _boolean("mask", mask), full)
    if key_mask is not None:
        key_mask = _check("key_mask", _boolean("key_mask", key_mask), (batch, num_keys))
        allowed &= key_mask[:, None, None, :]
    if (query_segments is None) != (key_segments is None):
        raise InvalidInputError(
            "query_segments and key_segments must be given together, got only one"
        )
    if query_segments is not None and key_segments is not None:
        queries = _check("query_segments", query_segments, (batch, length))
        keys = _check("key_segments", key_segments, (batch, num_keys))
        allowed &= (queries[:, :, None] == keys[:, None, :])[:, None]
    if causal:
        allowed &= np.tri(length, num_keys, num_keys - length, dtype=bool)

    out = np.zeros_like(q)
    for b, h, i in np.ndindex(batch, heads, length):
        scores = scale * (k[b, :, h] @ q[b, i, h])
        if bias is not None:
            scores = scores + bias[b, h, i]
        kept = allowed[b, h, i] & (scores != -np.inf)
        if kept.any():
            weights = np.exp(scores[kept] - scores[kept].max())
            out[b, i, h] = weights @ v[b, kept, h] / weights.sum()
    return out


def alibi_slopes(num_heads: int) -> np.ndarray:
    """Return the slope of each head's linear position bias, [h].

    Raises
    ------
    InvalidInputError
        If `num_heads` is below 1.

    References
    ----------
    Press, Smith and Lewis (2022), Train short, test long, section 3.
    """
    if num_heads < 1:
        raise InvalidInputError(f"num_heads must be >= 1, got {num_heads}")
    power = 2 ** math.floor(math.log2(num_heads))
    first = [2.0 ** (-8.0 * i / power) for i in range(1, power + 1)]
    rest = [2.0 ** (-4.0 * i / power) for i in range(1, 2 * (num_heads - power), 2)]
    return np.array(first + rest)


def alibi_bias(attention_mask: np.ndarray, num_heads: int) -> np.ndarray:
    """Return the linear position bias of each key, [b, h, 1, s].

    Parameters
    ----------
    attention_mask : bool or integer array [b, s]
        True (or 1) where a key exists; positions count those.
    num_heads : int
        Number of heads h.

    Raises
    ------
    InvalidInputError
        If the mask is not of two axes, or `num_heads` is below 1.
    """
    present = np.asarray(attention_mask)
    if present.ndim != 2 or present.dtype.kind not in "biu":
        raise InvalidInputError(
            "attention_mask must be a boolean or integer array [batch, keys], got "
            f"shape {present.shape} and dtype {present.dtype}"
        )
    present = present.astype(np.int64)
    positions = (np.cumsum(present, axis=1) - 1) * present
    return alibi_slopes(num_heads)[None, :, None, None] * positions[:, None, None, :]


def discounted_cumsum(
    x: np.ndarray,
    discount: Any,
    done: np.ndarray | None = None,
    *,
    bootstrap: np.ndarray | None = None,
) -> np.ndarray:
    """Return ``y[t] = x[t] + discount (1 - done[t]) y[t + 1]``, backwards in time.

    Parameters
    ----------
    x : array [t, b, ...]
        What is summed.
    discount : scalar
        Factor per step.
    done : array [t, b], optional
        1 where an episode ends with step t.
    bootstrap : array [b, ...], optional
        The value after the last step, zero by default.

    Raises
    ------
    InvalidInputError
        If a shape does not fit.
    """
    x = np.asarray(x, dtype=np.float64)
    if x.ndim == 0:
        raise InvalidInputError("x must have a time axis, got a scalar")
    if np.shape(discount) != ():
        raise InvalidInputError(
            f"discount must be a scalar, got shape {np.shape(discount)}"
        )
    if done is None:
        done = np.zeros(x.shape[:2])
    done = _check("done", done, x.shape[:2]).astype(np.float64)
    if bootstrap is None:
        bootstrap = np.zeros(x.shape[1:])
    later = _check("bootstrap", bootstrap, x.shape[1:]).astype(np.float64)
    y = np.empty_like(x)
    for t in reversed(range(len(x))):
        keep = (1.0 - done[t]).reshape(done[t].shape + (1,) * (x.ndim - done.ndim))
        y[t] = later = x[t] + discount * keep * later
    return y
