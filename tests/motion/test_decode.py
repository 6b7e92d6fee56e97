"""Decoding: against all sequences, and in any company."""

from __future__ import annotations

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mlmethods.errors import InvalidInputError
from mlmethods.motion.contract import Seq2SeqConfig
from mlmethods_jax.motion import LASDecoder, _decoder_loop
from mlmethods_jax.motion._greedy import greedy_trace
from mlmethods_jax.motion.decode import beam_search, greedy, seq2seq_decode
from mlmethods_jax.motion.seq2seq import init_seq2seq

CLASSES, END, ROOM = 2, 3, 3
FIRST = np.array([1, 2, 1], np.int32)
MASK = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]], bool)


@functools.cache
def decoder():
    return LASDecoder(6, CLASSES, attention="mlp", width=5, rngs=nnx.Rngs(0))


@functools.cache
def weights(seed=0):
    """Return weights that are large enough for sequences of several lengths."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: jnp.asarray(rng.standard_normal(leaf.shape), jnp.float32),
        decoder().weights(),
    )


def encoded(seed=0):
    x = np.random.default_rng(seed).standard_normal((3, 4, 6))
    return np.where(MASK[..., None], x, 0).astype(np.float32)


def memory_of(weights, values, mask):
    return _decoder_loop.memory_of("mlp", weights.psi, values, mask)


@functools.partial(jax.jit, static_argnames=("beam", "room"))
def search(weights, values, mask, first, penalty, beam, room=ROOM):
    memory = memory_of(weights, values, mask)
    return beam_search(1, weights, memory, first, penalty, beam=beam, max_tokens=room)


@functools.partial(jax.jit, static_argnames="room")
def first_choices(weights, values, mask, first, room=ROOM):
    return greedy(1, weights, memory_of(weights, values, mask), first, room)


SEQUENCES = [
    sequence
    for length in range(ROOM + 1)
    for sequence in itertools.product(range(1, CLASSES + 1), repeat=length)
]


@jax.jit
def scores(weights, values, mask, first):
    """Return the log-probabilities [s, l] of the tokens of all sequences."""
    tokens = np.zeros((len(SEQUENCES), ROOM), np.int32)
    for row, sequence in zip(tokens, SEQUENCES, strict=True):
        row[: len(sequence) + 1] = (*sequence, END)[:ROOM]
    many = functools.partial(jnp.repeat, repeats=len(tokens), axis=0)
    memory = memory_of(weights, many(values[None]), many(mask[None]))
    own = jnp.zeros(tokens.shape, bool)
    states, contexts, _ = _decoder_loop.teacher_forced(
        1, weights, memory, many(first[None]), jnp.asarray(tokens), own
    )
    logs = jax.nn.log_softmax(_decoder_loop.readout(weights, states, contexts))
    picked = jnp.take_along_axis(logs, jnp.asarray(tokens)[..., None], 2)[..., 0]
    return jnp.where(tokens > 0, picked, 0.0)


@pytest.mark.parametrize("penalty", [0.0, 0.8])
def test_a_wide_beam_finds_the_best_of_all_sequences(penalty):
    found = set()
    for seed in range(12):
        values = encoded(seed)
        result = search(
            weights(seed), values, MASK, FIRST, np.float32(penalty), beam=16
        )
        ids, logs, truncated = map(np.asarray, result)
        for row in range(2):
            each = np.asarray(scores(weights(seed), values[row], MASK[row], FIRST[row]))
            lengths = np.array([min(len(s) + 1, ROOM) for s in SEQUENCES])
            best = int(np.argmax(each.sum(1) / lengths**penalty))
            sequence = SEQUENCES[best]
            assert tuple(ids[row][ids[row] > 0]) == sequence
            expected = [*each[best, : len(sequence)], *[0.0] * (ROOM - len(sequence))]
            np.testing.assert_allclose(logs[row], expected, atol=1e-5)
            assert truncated[row] == (len(sequence) == ROOM)
            found.add(sequence)
        assert not ids[2].any()
        assert not truncated[2]
    assert len(found) > 3


def test_a_beam_of_one_is_greedy():
    for seed in range(12):
        arguments = (weights(seed), encoded(seed), MASK, FIRST)
        one = search(*arguments, np.float32(0.5), beam=1)
        for a, b in zip(one, first_choices(*arguments), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)


def test_sequences_do_not_depend_on_their_neighbors():
    values = encoded(3)
    order = [2, 1, 0]
    for run in (
        first_choices,
        functools.partial(search, penalty=np.float32(0.3), beam=16),
    ):
        a = run(weights(3), values, MASK, FIRST)
        b = run(weights(3), values[order], MASK[order], FIRST[order])
        for x, y in zip(a, b, strict=True):
            np.testing.assert_allclose(x, np.asarray(y)[order], atol=1e-5)


def with_bias(token, size=50.0):
    kernel, bias = weights().readout
    return weights()._replace(readout=(kernel, bias.at[token].add(size)))


def test_what_finds_no_end_is_truncated():
    never = with_bias(END, -1e4)
    for ids, logs, truncated in (
        first_choices(never, encoded(), MASK, FIRST),
        search(never, encoded(), MASK, FIRST, np.float32(0.5), beam=16),
    ):
        assert np.asarray(truncated).tolist() == [True, True, False]
        assert np.all(np.asarray(ids)[:2] > 0)
        assert np.all(np.asarray(logs)[:2] < 0)
        assert np.all(np.asarray(ids) < END)


def test_padding_is_never_a_choice():
    ids, _, _ = first_choices(with_bias(0), encoded(), MASK, FIRST)
    plain, _, _ = first_choices(weights(), encoded(), MASK, FIRST)
    assert np.any(plain)
    np.testing.assert_array_equal(ids[:, 0], plain[:, 0])


@pytest.mark.parametrize("beam", [0, pytest.param(4, marks=pytest.mark.slow)])
def test_decoding_stops_when_all_rows_have_ended(beam, monkeypatch):
    steps = []
    step = _decoder_loop.decoder_step

    def counted(*arguments):
        jax.debug.callback(lambda: steps.append(1))
        return step(*arguments)

    monkeypatch.setattr(_decoder_loop, "decoder_step", counted)

    @jax.jit
    def run(weights):
        memory = memory_of(weights, encoded(), MASK)
        if beam == 0:
            return greedy_trace(1, weights, memory, FIRST, 35)
        penalty = jnp.float32(0.0)
        return beam_search(1, weights, memory, FIRST, penalty, beam=beam, max_tokens=35)

    # the padded row neither begins nor waits
    jax.block_until_ready(run(with_bias(END)))
    jax.effects_barrier()
    assert len(steps) == 1


def test_windows_are_decoded():
    config = Seq2SeqConfig(n_features=3, n_classes=2, hidden=3, layers=1)
    params = init_seq2seq(config, 0)
    x = np.random.default_rng(0).standard_normal((2, 7, 3)).astype(np.float32)
    mask = np.arange(7)[None] < np.array([[7], [0]])
    found = seq2seq_decode(config, params, x, mask, max_tokens=5)
    assert found.ids.shape == found.log_probs.shape == (2, 5)
    assert found.ids.dtype == jnp.int32
    assert found.frame_logits.shape == (2, 4, 2)
    assert np.asarray(found.truncated).tolist() == [
        not np.any(found.ids[0] == 0),
        False,
    ]
    with pytest.raises(InvalidInputError, match="beam must be from 1 to 16, got 17"):
        seq2seq_decode(config, params, x, mask, beam=17)
    with pytest.raises(InvalidInputError, match="max_tokens must be at least 1, got 0"):
        seq2seq_decode(config, params, x, mask, max_tokens=0)
