"""Sequences from the decoder: greedy, or by a beam of hypotheses.

``seq2seq_decode(config, params, x, mask, previous, length_penalty, *, beam=1,
max_tokens=35)`` returns a ``DecodeResult``; it is compiled, and stops when all rows
have ended.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from mlmethods.errors import InvalidInputError
from mlmethods.motion.contract import DecodeResult, Seq2SeqConfig
from mlmethods_jax.motion import _decoder_loop as loop
from mlmethods_jax.motion._greedy import greedy_trace
from mlmethods_jax.motion._state import merge
from mlmethods_jax.motion.seq2seq import make_seq2seq

__all__ = ["MAX_BEAM", "beam_search", "check_beam", "greedy", "seq2seq_decode"]

MAX_BEAM = 16

_NEVER = np.float32(-1e30)


def check_beam(beam: int, max_tokens: int) -> None:
    """Raise InvalidInputError unless the width is 1 to 16 and there is room."""
    if not 1 <= beam <= MAX_BEAM:
        raise InvalidInputError(f"beam must be from 1 to {MAX_BEAM}, got {beam}")
    if max_tokens < 1:
        raise InvalidInputError(f"max_tokens must be at least 1, got {max_tokens}")


def greedy(
    heads: int,
    weights: loop.Weights,
    memory: loop.Memory,
    first: Array,
    max_tokens: int,
) -> tuple[Array, Array, Array]:
    """Return the likeliest class or end of every step.

    Returns
    -------
    ids : int32 array of shape (b, l)
        Classes as tokens, 0 from the end on.
    log_probs : float32 array of shape (b, l)
        Log-probability of each.
    truncated : bool array of shape (b,)
        Whether the end was not found.
    """
    logs, ids, _ = greedy_trace(
        heads, weights, memory, first, max_tokens, padding=False
    )
    chosen = jnp.take_along_axis(logs, ids[..., None], axis=2)[..., 0]
    end = weights.readout[0].shape[-1] - 1
    classes = (ids > 0) & (ids < end)
    truncated = jnp.any(memory.mask, axis=1) & ~jnp.any(ids == end, axis=1)
    return (
        jnp.where(classes, ids, 0),
        jnp.where(classes, chosen, jnp.zeros_like(chosen)),
        truncated,
    )


def _rank(total: Array, length: Array, penalty: Array) -> Array:
    """Return the score of hypotheses: the log-probability over length ** penalty."""
    return total / jnp.maximum(length, 1).astype(total.dtype) ** penalty


def _take(tree: Any, rows: Array) -> Any:
    """Return the hypotheses `rows` [b, k] of arrays [b, k, ...]."""

    def one(leaf: Array) -> Array:
        index = rows.reshape(*rows.shape, *(1,) * (leaf.ndim - 2))
        return jnp.take_along_axis(leaf, index, axis=1)

    return jax.tree.map(one, tree)


def _keep(frozen: Array, old: Any, new: Any) -> Any:
    """Return the old arrays [b, ...] of the rows that are frozen."""

    def one(a: Array, b: Array) -> Array:
        return jnp.where(frozen.reshape(-1, *(1,) * (a.ndim - 1)), a, b)

    return jax.tree.map(one, old, new)


def _candidates(log_probs: Array, total: Array, ended: Array) -> Array:
    """Return the totals [b, k, C + 2] of hypotheses and their next token.

    An ended hypothesis stays itself: its one candidate is padding.
    """
    stay = jnp.zeros_like(log_probs[..., :1])
    never = jnp.full_like(stay, _NEVER)
    live = jnp.concatenate((never, log_probs[..., 1:]), -1)
    same = jnp.concatenate((stay, jnp.full_like(log_probs[..., 1:], _NEVER)), -1)
    return total[..., None] + jnp.where(ended[..., None], same, live)


def beam_search(
    heads: int,
    weights: loop.Weights,
    memory: loop.Memory,
    first: Array,
    length_penalty: Array,
    *,
    beam: int,
    max_tokens: int,
) -> tuple[Array, Array, Array]:
    """Return the best of the sequences that a beam of hypotheses finds.

    Hypotheses are ranked by log-probability over ``length ** length_penalty``, the end
    counted in both; an ended one keeps its place among the others while nothing better
    comes. A row stops when no live hypothesis can become better than the best ended
    one. A width of 1 is greedy decoding.

    Parameters
    ----------
    heads, weights, memory, first
        See :func:`greedy`.
    length_penalty : float32 array of shape ()
        At least 0; 0 takes the likeliest sequence.
    beam : int
        Hypotheses of a row.
    max_tokens : int
        Most tokens, the end among them.

    Returns
    -------
    ids, log_probs, truncated
        See :func:`greedy`; truncated is what ranks first without an end.
    """
    vocabulary = weights.readout[0].shape[-1]
    batch, end = first.shape[0], vocabulary - 1
    empty = ~jnp.any(memory.mask, axis=1)
    most = jnp.full((), max_tokens, jnp.int32)

    def finished(total: Array, length: Array, ended: Array) -> Array:
        ranks = _rank(total, length, length_penalty)
        best = jnp.max(jnp.where(ended, ranks, _NEVER), axis=1)
        # later tokens only lower the total; the longest length flatters it the most
        bound = jnp.where(ended, _NEVER, _rank(total, most, length_penalty))
        return empty | jnp.all(ended, 1) | (best >= jnp.max(bound, axis=1))

    def step(carry: Any) -> Any:
        i, done, hypotheses = carry
        tokens, context, state, total, length, ended, ids, logs = hypotheses
        state, context, _ = loop.decoder_step(
            heads, weights, memory, tokens, context, state
        )
        log_probs = jax.nn.log_softmax(loop.readout(weights, state, context))
        totals = _candidates(log_probs, total, ended)
        lengths = length[..., None] + (~ended[..., None]).astype(jnp.int32)
        ranks = _rank(totals, jnp.broadcast_to(lengths, totals.shape), length_penalty)
        _, places = lax.top_k(ranks.reshape(batch, -1), beam)
        parents, chosen = places // vocabulary, places % vocabulary
        kept = (context, state, length, ended, ids, logs)
        context, state, length, ended, ids, logs = _take(kept, parents)
        flat = (totals.reshape(batch, -1), log_probs.reshape(batch, -1))
        total, found = _take(flat, places)
        length = length + (~ended).astype(jnp.int32)
        here = jnp.arange(max_tokens, dtype=jnp.int32)[None, None] == i
        write = here & ~ended[..., None]
        ids = jnp.where(write, chosen[..., None], ids)
        logs = jnp.where(write, found[..., None], logs)
        ended = ended | (chosen == end)
        new = (chosen, context, state, total, length, ended, ids, logs)
        new = _keep(done, hypotheses, new)
        return i + 1, done | finished(new[3], new[4], new[5]), new

    def going(carry: Any) -> Array:
        return (carry[0] < max_tokens) & ~jnp.all(carry[1])

    start = _start(memory, first, beam, max_tokens)
    _, _, last = lax.while_loop(going, step, (np.int32(0), empty, start))
    _, _, _, total, length, ended, ids, logs = last
    ranks = _rank(total, length, length_penalty)
    best = jnp.argmax(ranks, axis=1).astype(jnp.int32)[:, None]
    ids, logs, ended = (v[:, 0] for v in _take((ids, logs, ended), best))
    classes = (ids > 0) & (ids < end)
    logs = jnp.where(classes, logs, jnp.zeros_like(logs))
    return jnp.where(classes, ids, 0), logs, ~ended & ~empty


def _start(memory: loop.Memory, first: Array, beam: int, max_tokens: int) -> Any:
    """Return the hypotheses before the first step: all but one cannot win."""
    batch, _, size = memory.values.shape
    shape = (batch, beam)
    only = jnp.arange(beam, dtype=jnp.int32)[None] == 0
    total = jnp.broadcast_to(jnp.where(only, np.float32(0), _NEVER), shape)
    return (
        jnp.broadcast_to(first[:, None].astype(jnp.int32), shape),
        jnp.broadcast_to(memory.values[:, :1], (*shape, size)),
        jnp.zeros((*shape, size), memory.values.dtype),
        total,
        jnp.zeros(shape, jnp.int32),
        jnp.zeros(shape, bool),
        jnp.zeros((*shape, max_tokens), jnp.int32),
        jnp.zeros((*shape, max_tokens), memory.values.dtype),
    )


@functools.partial(jax.jit, static_argnames=("config", "beam", "max_tokens"))
def seq2seq_decode(
    config: Seq2SeqConfig,
    params: Mapping[str, Any],
    x: Any,
    mask: Any = None,
    previous: Any = None,
    length_penalty: Any = None,
    *,
    beam: int = 1,
    max_tokens: int = 35,
) -> DecodeResult:
    """Return the best token sequence of each window.

    Parameters
    ----------
    config : Seq2SeqConfig
        Of the network.
    params : mapping of str to array
        Its parameters.
    x : float32 array of shape (b, t, d)
        Frames.
    mask : bool array of shape (b, t), optional
        Frames that count; a row without any has no tokens and delays nothing.
    previous : int32 array of shape (b,), optional
        Token before the first one; 1, the first class, by default.
    length_penalty : float32 array of shape (), optional
        Of a beam; 0 by default.
    beam : int
        Width, 1 to 16; 1 is greedy.
    max_tokens : int
        Most tokens, the end among them.

    Returns
    -------
    DecodeResult
        Of jax arrays.

    Raises
    ------
    InvalidInputError
        If the width or the room is out of its range.
    """
    check_beam(beam, max_tokens)
    module = merge(make_seq2seq, config, params)
    encoded, kept, frame_logits = module.encode(x, mask)
    if previous is None:
        previous = jnp.ones(x.shape[0], jnp.int32)
    decoder = module.decoder
    weights, memory = decoder.weights(), decoder.memory(encoded, kept)
    found: Any
    if beam == 1:
        found = greedy(decoder.heads, weights, memory, previous, max_tokens)
    else:
        penalty = jnp.asarray(0.0 if length_penalty is None else length_penalty)
        found = beam_search(
            decoder.heads,
            weights,
            memory,
            previous,
            penalty.astype(jnp.float32),
            beam=beam,
            max_tokens=max_tokens,
        )
    ids, values, truncated = found
    return DecodeResult(ids, values, truncated, frame_logits)
