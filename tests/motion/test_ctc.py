"""Sequences with blanks, against sums over all paths."""

from __future__ import annotations

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlmethods.errors import InvalidInputError
from mlmethods.motion.contract import CTCConfig
from mlmethods_jax.motion._prefix_beam import prefix_beam
from mlmethods_jax.motion.ctc import (
    collapse,
    ctc_decode,
    ctc_logits,
    ctc_loss,
    init_ctc,
    sequence_loss,
)

STEPS, TOKENS = 4, 3


def labels_of(path):
    return tuple(token for token, _ in itertools.groupby(path) if token)


@functools.cache
def paths(steps):
    """Return all paths of so many steps, by what they become."""
    found = {}
    for path in itertools.product(range(TOKENS), repeat=steps):
        found.setdefault(labels_of(path), []).append(path)
    return found


def probabilities(logs):
    """Return the probability of every sequence."""
    chances = np.exp(logs.astype(float))
    return {
        labels: sum(np.prod(chances[range(len(logs)), path]) for path in some)
        for labels, some in paths(len(logs)).items()
    }


def log_probs_of(seed, rows, steps=STEPS):
    logits = 2 * np.random.default_rng(seed).standard_normal((rows, steps, TOKENS))
    return np.asarray(jax.nn.log_softmax(jnp.asarray(logits, jnp.float32)))


def padded(sequences, room):
    rows = np.zeros((len(sequences), room), np.int32)
    for row, sequence in zip(rows, sequences, strict=True):
        row[: len(sequence)] = sequence
    return rows


@jax.jit
def losses_and_gradient(logs, mask, tokens):
    def total(logs):
        found = sequence_loss(logs, mask, tokens)
        return jnp.sum(found), found

    gradient, found = jax.grad(total, has_aux=True)(logs)
    return found, gradient


def test_the_loss_sums_all_paths():
    sequences = [(), (1,), (2, 1), (1, 1), (1, 2, 1, 2), (2, 2), (1, 1, 1), (2,)]
    logs = log_probs_of(0, 8)
    # the next to last has no path; of the last three steps count, and then none
    lengths = np.array([4, 4, 4, 4, 4, 3, 4, 0])
    mask = np.arange(STEPS)[None] < lengths[:, None]
    spoiled = np.where(mask[..., None], logs, np.float32(-3.0))
    found, gradient = losses_and_gradient(spoiled, mask, padded(sequences, 5))
    for i, sequence in enumerate(sequences[:6]):
        chance = probabilities(logs[i, : lengths[i]])[sequence]
        expected = -np.log(chance) / max(len(sequence), 1)
        np.testing.assert_allclose(found[i], expected, rtol=1e-4)
    assert np.asarray(found)[6:].tolist() == [0.0, 0.0]
    assert np.all(np.isfinite(gradient))
    assert not np.any(np.asarray(gradient)[6:])
    assert not np.any(np.asarray(gradient)[~mask])


@functools.partial(jax.jit, static_argnames=("beam", "room"))
def search(logs, mask, beam=16, room=4):
    one = functools.partial(prefix_beam, beam=beam, max_tokens=room)
    return jax.vmap(one)(logs, mask)


def test_a_wide_beam_finds_the_likeliest_sequence():
    logs = log_probs_of(1, 64)
    lengths = np.resize([3, 2, 1, 0], 64)
    mask = np.arange(STEPS)[None] < lengths[:, None]
    ids, values, truncated = map(np.asarray, search(logs, mask))
    differs = 0
    for i, length in enumerate(lengths):
        chances = probabilities(logs[i, :length])
        best = max(chances, key=chances.get)
        assert tuple(ids[i][ids[i] > 0]) == best
        differs += best != labels_of(np.argmax(logs[i, :length], -1))
        # the log-probability of a token is that of one of its steps
        for token, value in zip(best, values[i], strict=False):
            assert np.min(np.abs(logs[i, :length, token] - value)) < 1e-6
    assert not truncated.any()
    assert differs > 3


def test_a_narrow_beam_joins_prefixes():
    # a path for each of two ways to the same sequence, and one likelier path
    chances = np.array([[0.4, 0.6, 0.0], [0.6, 0.4, 0.0]]) + 1e-9
    logs = np.log(chances).astype(np.float32)[None]
    ids, _, _ = search(logs, np.ones((1, 2), bool), beam=2)
    assert np.asarray(ids)[0].tolist() == [1, 0, 0, 0]


def test_room_cuts_and_says_so():
    steps = np.array([[1, 2, 1, 2, 1], [1, 1, 2, 2, 1], [1, 0, 2, 0, 0]])
    logs = np.log(0.01 + 0.97 * np.eye(TOKENS, dtype=np.float32)[steps])
    mask = np.ones((3, 5), bool)
    expected = [[1, 2, 1], [1, 2, 1], [1, 2, 0]]
    for ids, values, truncated in (
        search(logs, mask, beam=4, room=3),
        jax.jit(collapse, static_argnums=2)(logs, mask, 3),
    ):
        assert np.asarray(ids).tolist() == expected
        assert np.asarray(truncated).tolist() == [True, False, False]
        likely = np.where(np.asarray(expected) > 0, np.log(0.98), 0.0)
        np.testing.assert_allclose(values, likely, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=0, max_size=9))
def test_collapsing_groups_equal_steps(path):
    steps = np.zeros((1, 9), np.int32)
    steps[0, : len(path)] = path
    steps[0, len(path) :] = 2
    mask = np.arange(9)[None] < len(path)
    logs = np.log(0.1 + np.eye(TOKENS, dtype=np.float32)[steps])
    ids, _, truncated = collapsed(logs, mask)
    assert np.asarray(ids)[0].tolist() == [
        *labels_of(path),
        *[0] * (9 - len(labels_of(path))),
    ]
    assert not truncated[0]


@jax.jit
def collapsed(logs, mask):
    return collapse(logs, mask, 9)


def test_windows_are_classified_trained_and_decoded(rng):
    config = CTCConfig(n_features=3, n_classes=2, hidden=3, layers=1)
    params = init_ctc(config, 0)
    x = rng.standard_normal((2, 9, 3)).astype(np.float32)
    mask = np.arange(9)[None] < np.array([[9], [6]])
    spoiled = np.where(mask[..., None], x, np.float32(np.nan))
    logs = np.asarray(ctc_logits(config, params, spoiled, mask))
    assert logs.shape == (2, 5, 3)
    np.testing.assert_allclose(np.exp(logs).sum(-1), 1, atol=1e-5)
    order = [1, 0]
    swapped = ctc_logits(config, params, spoiled[order], mask[order])
    np.testing.assert_allclose(np.asarray(swapped)[1], logs[0], atol=1e-5)

    # the end of sequences is no token here
    batch = {"x": x, "mask": mask, "tokens": np.array([[1, 2, 3], [2, 3, 0]], np.int32)}
    found = jax.jit(ctc_loss, static_argnames="config")(config, params, batch, None)
    for i, (sequence, length) in enumerate([((1, 2), 5), ((2,), 3)]):
        chance = probabilities(logs[i, :length])[sequence]
        np.testing.assert_allclose(found[i], -np.log(chance) / len(sequence), rtol=1e-4)

    result = ctc_decode(config, params, x, mask, max_tokens=4)
    for i, length in enumerate((5, 3)):
        labels = labels_of(np.argmax(logs[i, :length], -1))
        row = np.asarray(result.ids)[i]
        assert tuple(row[row > 0]) == labels[:4]
        assert np.asarray(result.truncated)[i] == (len(labels) > 4)
        assert np.all((np.asarray(result.log_probs)[i] < 0) == (row > 0))
    np.testing.assert_allclose(result.frame_logits, logs[..., 1:], atol=1e-6)
    with pytest.raises(InvalidInputError, match="beam must be from 1 to 16"):
        ctc_decode(config, params, x, mask, beam=0)
