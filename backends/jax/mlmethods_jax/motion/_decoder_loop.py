"""Steps of the decoder as pure functions, and the loop of training with its gradient.

The loop takes as many steps as the longest target of the batch has tokens, however
much room there is. A loop of unknown length has no gradient of its own, so it is
written here: step by step backwards, with the products for the large weights taken
once, after the last step.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from mlmethods_jax.layers.gru import gru_update

__all__ = [
    "Attention",
    "Memory",
    "Recurrent",
    "Weights",
    "attend",
    "decoder_step",
    "memory_of",
    "readout",
    "teacher_forced",
]

_NEVER = np.float32(-1e30)


class Attention(NamedTuple):
    """Weights of the attention; pairs of kernel and bias, or None."""

    phi: Any
    reduce: Any


class Recurrent(NamedTuple):
    """Weights of the recurrent layer, gates in the order reset, update, candidate."""

    kernel: Array
    bias: Array
    recurrent_kernel: Array
    recurrent_bias: Array


class Weights(NamedTuple):
    """All weights of the decoder."""

    recurrent: Recurrent
    attention: Attention
    psi: Any
    readout: Any


class Memory(NamedTuple):
    """What the decoder looks at.

    Attributes
    ----------
    values : float32 array of shape (b, t, n)
        Outputs of the encoder, 0 where the mask is False.
    keys : float32 array of shape (b, t, a) or None
        What queries are compared with; None where the weights are all the same.
    mask : bool array of shape (b, t)
        Steps that count.
    """

    values: Array
    keys: Any
    mask: Array


def _linear(pair: Any, x: Array) -> Array:
    kernel, bias = pair
    return x @ kernel + bias.reshape((1,) * (x.ndim - 1) + (-1,))


def memory_of(kind: str, psi: Any, values: Array, mask: Array) -> Memory:
    """Return the memory of encoder outputs, its keys computed once."""
    if kind == "mean":
        return Memory(values, None, mask)
    keys = values if psi is None else jax.nn.relu(_linear(psi, values))
    return Memory(values, keys, mask)


def attend(
    heads: int, weights: Attention, memory: Memory, state: Array
) -> tuple[Array, Array]:
    """Return the contexts [b, k, n] and the attention [b, k, t] of states [b, k, n].

    With several heads the attention is their mean.
    """
    values, keys, mask = memory
    if keys is None:
        share = mask.astype(values.dtype)
        share = share / jnp.maximum(jnp.sum(share, 1, keepdims=True), 1)
        attention = jnp.broadcast_to(share[:, None], (*state.shape[:2], mask.shape[1]))
        return attention @ values, attention
    query = state if weights.phi is None else jax.nn.relu(_linear(weights.phi, state))
    # one query a head, next to each other: [b, k heads, a]
    query = query.reshape(query.shape[0], -1, keys.shape[-1])
    scores = query @ jnp.swapaxes(keys, 1, 2)
    scores = jnp.where(mask[:, None], scores, _NEVER)
    attention = jax.nn.softmax(scores, axis=-1)
    context = (attention @ values).reshape(*state.shape[:2], -1)
    if weights.reduce is not None:
        context = _linear(weights.reduce, context)
    mean = jnp.mean(attention.reshape(*state.shape[:2], heads, -1), axis=2)
    return context, jnp.where(mask[:, None], mean, jnp.zeros_like(mean))


def _gates(
    weights: Recurrent, tokens: Array, context: Array, state: Array
) -> tuple[Array, Array]:
    """Return the two halves of the gates; the one-hot token takes a row of weights."""
    vocabulary = weights.kernel.shape[0] - context.shape[-1]
    table, kernel = weights.kernel[:vocabulary], weights.kernel[vocabulary:]
    inputs = table[tokens] + _linear((kernel, weights.bias), context)
    pair = (weights.recurrent_kernel, weights.recurrent_bias)
    return inputs, _linear(pair, state)


def decoder_step(
    heads: int,
    weights: Weights,
    memory: Memory,
    tokens: Array,
    context: Array,
    state: Array,
) -> tuple[Array, Array, Array]:
    """Return the next state and context [b, k, n] and the attention [b, k, t].

    `tokens` [b, k] are the tokens before; `context` and `state` [b, k, n] are those of
    the step before.
    """
    inputs, hidden = _gates(weights.recurrent, tokens, context, state)
    state = gru_update(inputs, hidden, state)
    context, attention = attend(heads, weights.attention, memory, state)
    return state, context, attention


def readout(weights: Weights, state: Array, context: Array) -> Array:
    """Return the logits [..., C + 2] of states and contexts."""
    return _linear(weights.readout, jnp.concatenate((state, context), -1))


class _Trace(NamedTuple):
    """What the loop leaves for each step [l, b, ...]; zeros where it did not go."""

    tokens: Array
    inputs: Array
    hidden: Array
    states: Array
    contexts: Array
    attention: Array


def _own(weights: Weights, state: Array, context: Array) -> Array:
    """Return the likeliest class as a token, neither padding nor the end."""
    logits = readout(weights, state, context)[..., 1:-1]
    return 1 + jnp.argmax(logits, -1).astype(jnp.int32)


def _loop(
    heads: int,
    weights: Weights,
    memory: Memory,
    first: Array,
    tokens: Array,
    own: Array,
) -> tuple[Array, _Trace]:
    """Return the number of steps and the trace of all of them."""
    room, count = tokens.shape[1], _count(tokens)
    zero = jnp.zeros_like(memory.values[:, :1])

    def step(i: Any, before: Any) -> Any:
        token, context, state = before
        inputs, hidden = _gates(weights.recurrent, token, context, state)
        state = gru_update(inputs, hidden, state)
        context, attention = attend(heads, weights.attention, memory, state)
        found = _Trace(token, inputs, hidden, state, context, attention)
        drawn = lax.dynamic_index_in_dim(own, i, 1)
        true = lax.dynamic_index_in_dim(tokens, i, 1)
        following = jnp.where(drawn, _own(weights, state, context), true)
        return (following, context, state), jax.tree.map(lambda v: v[:, 0], found)

    start = (first[:, None], memory.values[:, :1], zero)
    shapes = jax.eval_shape(lambda b: step(np.int32(0), b)[1], start)
    empty = jax.tree.map(lambda s: jnp.zeros((room, *s.shape), s.dtype), shapes)

    def body(i: Any, carry: Any) -> Any:
        before, trace = carry
        after, found = step(i, before)
        trace = jax.tree.map(
            lambda buffer, v: lax.dynamic_update_index_in_dim(buffer, v, i, 0),
            trace,
            found,
        )
        return after, trace

    return count, lax.fori_loop(np.int32(0), count, body, (start, empty))[1]


def _count(tokens: Array) -> Array:
    """Return the steps until the last token that is not padding."""
    places = jnp.arange(1, tokens.shape[1] + 1, dtype=jnp.int32)
    return jnp.max(jnp.where(tokens > 0, places[None], 0), initial=np.int32(0))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _teacher_forced(
    heads: int,
    weights: Weights,
    values: Array,
    keys: Any,
    mask: Array,
    targets: tuple[Array, Array, Array],
) -> tuple[Array, Array, Array]:
    _, trace = _loop(heads, weights, Memory(values, keys, mask), *targets)
    return trace.states, trace.contexts, trace.attention


def _forward(
    heads: int,
    weights: Weights,
    values: Array,
    keys: Any,
    mask: Array,
    targets: tuple[Array, Array, Array],
) -> tuple[Any, Any]:
    count, trace = _loop(heads, weights, Memory(values, keys, mask), *targets)
    residuals = (weights, values, keys, mask, count, trace)
    return (trace.states, trace.contexts, trace.attention), residuals


def _before(first: Array, rows: Array) -> Array:
    """Return the rows [l, ...] of the steps before."""
    return jnp.concatenate((first[None], rows[:-1]))


def _backward(heads: int, residuals: Any, given: Any) -> Any:
    weights, values, keys, mask, count, trace = residuals
    recurrent = weights.recurrent
    vocabulary = recurrent.kernel.shape[0] - values.shape[-1]
    context_kernel = recurrent.kernel[vocabulary:].T
    recurrent_kernel = recurrent.recurrent_kernel.T
    states = _before(jnp.zeros_like(trace.states[0]), trace.states)
    contexts = _before(values[:, 0], trace.contexts)

    def after_gates(small: Any, inputs: Array, hidden: Array, state: Array) -> Any:
        attention, values, keys = small
        state = gru_update(inputs, hidden, state)
        memory = Memory(values, keys, mask)
        return state, attend(heads, attention, memory, state[:, None])[0][:, 0]

    small = (weights.attention, values, keys)

    def body(turn: Any, carry: Any) -> Any:
        dstate, dcontext, dsmall, dinputs, dhidden = carry
        i = count - 1 - turn
        row = functools.partial(lax.dynamic_index_in_dim, index=i, keepdims=False)
        _, pull = jax.vjp(
            after_gates, small, row(trace.inputs), row(trace.hidden), row(states)
        )
        cotangents = (dstate + row(given[0]), dcontext + row(given[1]))
        part, from_inputs, from_hidden, dstate = pull(cotangents)
        put = functools.partial(lax.dynamic_update_index_in_dim, index=i, axis=0)
        return (
            dstate + from_hidden @ recurrent_kernel,
            from_inputs @ context_kernel,
            jax.tree.map(jnp.add, dsmall, part),
            put(dinputs, from_inputs),
            put(dhidden, from_hidden),
        )

    nothing = jnp.zeros_like(trace.states[0])
    zeros = functools.partial(jax.tree.map, jnp.zeros_like)
    start = (nothing, nothing, zeros(small), zeros(trace.inputs), zeros(trace.hidden))
    _, dcontext, dsmall, dinputs, dhidden = lax.fori_loop(
        np.int32(0), count, body, start
    )
    dattention, dvalues, dkeys = dsmall
    # the first context is the first output of the encoder
    dvalues = dvalues.at[:, 0].add(dcontext)
    marks = jax.nn.one_hot(trace.tokens, vocabulary, dtype=values.dtype)
    over_steps = functools.partial(jnp.einsum, "lbi,lbg->ig")
    dkernel = (over_steps(marks, dinputs), over_steps(contexts, dinputs))
    drecurrent = Recurrent(
        jnp.concatenate(dkernel),
        jnp.sum(dinputs, (0, 1)),
        over_steps(states, dhidden),
        jnp.sum(dhidden, (0, 1)),
    )
    dweights = Weights(
        drecurrent, dattention, zeros(weights.psi), zeros(weights.readout)
    )
    return dweights, dvalues, dkeys, None, None


_teacher_forced.defvjp(_forward, _backward)


def teacher_forced(
    heads: int,
    weights: Weights,
    memory: Memory,
    first: Array,
    tokens: Array,
    own: Array,
) -> tuple[Array, Array, Array]:
    """Run the decoder over known targets.

    Parameters
    ----------
    heads : int
        Heads of the attention; static.
    weights : Weights
        Of the decoder; the gradient does not pass through its predictions.
    memory : Memory
        Outputs of the encoder.
    first : int32 array of shape (b,)
        The token before the first one.
    tokens : int32 array of shape (b, l)
        Targets, 0 after their end.
    own : bool array of shape (b, l)
        Where the next step sees the likeliest class instead of the target.

    Returns
    -------
    states, contexts : float32 arrays of shape (b, l, n)
        What the readout takes; 0 behind the longest target of the batch.
    attention : float32 array of shape (b, l, t)
        Constant for the gradient.
    """
    found = _teacher_forced(
        heads, weights, memory.values, memory.keys, memory.mask, (first, tokens, own)
    )
    states, contexts, attention = (jnp.swapaxes(v, 0, 1) for v in found)
    return states, contexts, lax.stop_gradient(attention)
