"""The decoder on its own choices, until all sequences have ended."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from mlmethods_jax.motion import _decoder_loop as loop

__all__ = ["greedy_trace"]


def greedy_trace(
    heads: int,
    weights: loop.Weights,
    memory: loop.Memory,
    first: Array,
    max_tokens: int,
    *,
    padding: bool = True,
) -> tuple[Array, Array, Array]:
    """Take the likeliest token of each step.

    Parameters
    ----------
    heads, weights, memory
        See :func:`loop.decoder_step`. Rows whose mask is False everywhere have ended
        before the first step.
    first : int32 array of shape (b,)
        The token before the first one.
    max_tokens : int
        Most steps.
    padding : bool
        Whether the token of padding may be chosen, as the network alone would.

    Returns
    -------
    log_probs : float32 array of shape (b, l, C + 2)
        0 behind the end of a row.
    ids : int32 array of shape (b, l)
        Tokens, the end among them; 0 behind it.
    attention : float32 array of shape (b, l, t)
        0 behind the end of a row.
    """
    vocabulary = weights.readout[0].shape[-1]
    batch, room = first.shape[0], memory.mask.shape[1]
    end = vocabulary - 1

    def step(carry: Any) -> Any:
        i, ended, token, context, state, traces = carry
        state, context, attention = loop.decoder_step(
            heads, weights, memory, token, context, state
        )
        logits = loop.readout(weights, state, context)[:, 0]
        log_probs = jax.nn.log_softmax(logits)
        choice = log_probs if padding else log_probs[:, 1:]
        chosen = jnp.argmax(choice, -1).astype(jnp.int32) + (0 if padding else 1)
        chosen = jnp.where(ended, 0, chosen)
        gone = ended[:, None]
        found = (
            jnp.where(gone, jnp.zeros_like(log_probs), log_probs),
            chosen,
            jnp.where(gone, jnp.zeros_like(attention[:, 0]), attention[:, 0]),
        )
        traces = tuple(
            lax.dynamic_update_index_in_dim(trace, v, i, 0)
            for trace, v in zip(traces, found, strict=True)
        )
        ended = ended | (chosen == end)
        return i + 1, ended, chosen[:, None], context, state, traces

    def going(carry: Any) -> Array:
        return (carry[0] < max_tokens) & ~jnp.all(carry[1])

    values = memory.values
    traces = (
        jnp.zeros((max_tokens, batch, vocabulary), values.dtype),
        jnp.zeros((max_tokens, batch), jnp.int32),
        jnp.zeros((max_tokens, batch, room), values.dtype),
    )
    start = (
        np.int32(0),
        ~jnp.any(memory.mask, axis=1),
        first[:, None].astype(jnp.int32),
        values[:, :1],
        jnp.zeros_like(values[:, :1]),
        traces,
    )
    log_probs, ids, attention = lax.while_loop(going, step, start)[-1]
    return jnp.swapaxes(log_probs, 0, 1), ids.T, jnp.swapaxes(attention, 0, 1)
