"""Alignment of token sequences to frames, against all segmentations."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlmethods.errors import InvalidInputError
from mlmethods.motion.align import attention_align, refine_boundaries, viterbi_align


def _score(log_probs, tokens, bounds):
    return sum(
        log_probs[b:e, k].sum()
        for k, b, e in zip(tokens, bounds, bounds[1:], strict=False)
    )


def _brute_force(log_probs, tokens):
    length = len(log_probs)
    return max(
        _score(log_probs, tokens, (0, *inner, length))
        for inner in itertools.combinations(range(1, length), len(tokens) - 1)
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 5))
def test_viterbi_finds_the_best_of_all_segmentations(seed, length, count):
    rng = np.random.default_rng(seed)
    count = min(count, length)
    log_probs = np.log(rng.dirichlet(np.full(3, 0.4), size=length) + 1e-6)
    tokens = rng.integers(3, size=count)
    bounds = viterbi_align(log_probs, tokens)
    assert bounds[0] == 0
    assert bounds[-1] == length
    assert (np.diff(bounds) >= 1).all()
    best = _brute_force(log_probs, tokens.tolist())
    assert _score(log_probs, tokens, bounds) == pytest.approx(best, abs=1e-9)


def test_weights_are_repeated_frames_that_stay_together():
    rng = np.random.default_rng(0)
    log_probs = np.log(rng.dirichlet(np.ones(4), size=10))
    weights = rng.integers(1, 4, size=10)
    tokens = [2, 0, 1]
    bounds = viterbi_align(log_probs, tokens, weights=weights)
    repeated = np.repeat(log_probs, weights, axis=0)
    ends = np.concatenate([[0], np.cumsum(weights)])
    best = max(
        _score(repeated, tokens, ends[[0, *inner, 10]])
        for inner in itertools.combinations(range(1, 10), 2)
    )
    assert _score(repeated, tokens, ends[bounds]) == pytest.approx(best, abs=1e-9)
    plain = viterbi_align(log_probs, tokens)
    assert (plain != bounds).any()


def test_impossible_classes_are_avoided_and_do_not_give_nan():
    log_probs = np.full((6, 2), -np.inf)
    log_probs[:4, 0] = 0.0
    log_probs[4:, 1] = 0.0
    assert viterbi_align(log_probs, [0, 1]).tolist() == [0, 4, 6]


def test_edge_sizes():
    log_probs = np.zeros((3, 2))
    assert viterbi_align(log_probs, []).tolist() == [0]
    assert viterbi_align(log_probs, [1]).tolist() == [0, 3]
    assert viterbi_align(log_probs, [1, 1, 1]).tolist() == [0, 1, 2, 3]


def test_an_hour_of_frames_is_linear():
    truth = np.repeat(np.arange(60) % 5, 1000)
    log_probs = np.log(np.full((60_000, 5), 0.1))
    log_probs[np.arange(60_000), truth] = np.log(0.6)
    bounds = viterbi_align(log_probs, np.arange(60) % 5)
    np.testing.assert_array_equal(bounds, np.arange(61) * 1000)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((2, 3)), [0, 1, 2]), "3 tokens for 2 frames"),
        ((np.zeros((2, 3)), [3]), r"in 0\.\.2, got 3"),
        ((np.zeros((2, 3)), [0.5]), "must be integers"),
        ((np.zeros(3), [0]), "shape"),
        ((np.full((2, 2), np.nan), [0]), "finite"),
    ],
)
def test_viterbi_refuses(arguments, message):
    with pytest.raises(InvalidInputError, match=message):
        viterbi_align(*arguments)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.integers(0, 6))
def test_refinement_never_loses_likelihood_nor_a_frame(seed, count, reach):
    rng = np.random.default_rng(seed)
    length = 30
    log_probs = np.log(rng.dirichlet(np.ones(3), size=length))
    tokens = rng.integers(3, size=count)
    inner = np.sort(rng.choice(np.arange(1, length), count - 1, replace=False))
    bounds = np.concatenate([[0], inner, [length]])
    refined = refine_boundaries(log_probs, tokens, bounds, reach)
    assert (np.diff(refined) >= 1).all()
    assert (refined[[0, -1]] == bounds[[0, -1]]).all()
    assert (np.abs(refined - bounds) <= reach).all()
    before, after = (_score(log_probs, tokens, b) for b in (bounds, refined))
    assert after >= before - 1e-9


def test_refinement_finds_the_frame_of_the_change():
    step, change = 8, 37
    log_probs = np.log(np.full((80, 2), 0.2))
    log_probs[:change, 0] = np.log(0.8)
    log_probs[change:, 1] = np.log(0.8)
    coarse = viterbi_align(log_probs[::step], [0, 1]) * step
    assert abs(coarse[1] - change) < step
    assert refine_boundaries(log_probs, [0, 1], coarse, step)[1] == change


def test_attention_keeps_order_and_a_frame_each():
    attention = np.eye(5)[[3, 1, 1, 4]]
    bounds = attention_align(attention, 40)
    assert bounds[0] == 0
    assert bounds[-1] == 40
    assert (np.diff(bounds) >= 1).all()
    crowded = attention_align(np.eye(5)[[4, 4, 4]], 3)
    assert crowded.tolist() == [0, 1, 2, 3]
    with pytest.raises(InvalidInputError, match="3 tokens for 2 frames"):
        attention_align(np.eye(5)[[4, 4, 4]], 2)
    with pytest.raises(InvalidInputError, match="positive somewhere"):
        attention_align(np.zeros((1, 3)), 2)
