"""Smoothing and relabeling of frames, against slow references."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlmethods.errors import InvalidInputError
from mlmethods.motion.postprocess import (
    median_filter,
    refine_with_boundaries,
    relabel_short,
    smooth_kaiser,
)

few = settings(max_examples=100, deadline=None)


def probabilities(frames, classes=3, seed=0):
    return np.random.default_rng(seed).dirichlet(np.ones(classes), frames)


@pytest.mark.parametrize(
    ("width", "beta"), [(1, 3.0), (20, 14.0), (51, 3.0), (2, 0.0), (60, 0.0)]
)
def test_smoothing_is_a_convolution_with_the_window(width, beta):
    p = probabilities(60)
    window = np.kaiser(width, beta)
    window /= window.sum()
    expected = [np.convolve(column, window, mode="same") for column in p.T]
    np.testing.assert_allclose(smooth_kaiser(p, width, beta), np.transpose(expected))


def test_smoothing_with_a_window_longer_than_the_recording():
    p = probabilities(5)
    padded = np.zeros((205, 3))
    padded[100:105] = p
    expected = smooth_kaiser(padded, 21, 2.0)[100:105]
    np.testing.assert_allclose(smooth_kaiser(p, 21, 2.0), expected)


def test_smoothing_keeps_the_dtype_and_the_input():
    p = probabilities(9).astype(np.float32)
    before = p.copy()
    assert smooth_kaiser(p, 3, 1.0).dtype == np.float32
    assert median_filter(p, 3).dtype == np.float32
    assert smooth_kaiser(p.astype(int), 3, 1.0).dtype == np.float64
    np.testing.assert_array_equal(p, before)


@pytest.mark.parametrize("width", [1, 3, 9, 31])
def test_medians_are_those_of_the_repeated_edges(width):
    p = probabilities(20)
    half = width // 2
    padded = np.pad(p, ((half, half), (0, 0)), mode="edge")
    expected = [np.median(padded[t : t + width], axis=0) for t in range(20)]
    np.testing.assert_array_equal(median_filter(p, width), expected)


def slow_refinement(scores, boundary, threshold):
    count = len(scores)
    cuts = [0]
    for t in range(1, count - 1):
        peak = boundary[t] > boundary[t - 1] and boundary[t] > boundary[t + 1]
        if peak and boundary[t] >= threshold:
            cuts.append(t)
    labels = []
    for first, last in zip(cuts, [*cuts[1:], count], strict=True):
        part = scores[first:last]
        votes = [row.tolist().index(max(row)) for row in part]
        keys = [(votes.count(c), sum(part[:, c])) for c in range(scores.shape[1])]
        labels += [keys.index(max(keys))] * (last - first)
    return labels


# Few values, so that ties and plateaus occur; sums of them are exact.
grid = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])


@few
@given(st.lists(st.tuples(grid, grid, grid, grid), min_size=1, max_size=15), grid)
def test_refinement_is_that_of_the_definition(rows, threshold):
    table = np.array(rows)
    scores, boundary = table[:, :3], table[:, 3]
    found = refine_with_boundaries(scores, boundary, threshold)
    assert found.dtype == np.int32
    assert found.tolist() == slow_refinement(scores, boundary, threshold)


def slow_relabel(y, theta):
    """Relabel one run at a time, from scratch, until nothing is short."""
    y, stuck = list(y), set()
    while True:
        runs = []
        for t, label in enumerate(y):
            if runs and runs[-1][2] == label:
                runs[-1][1] = t + 1
            else:
                runs.append([t, t + 1, label])
        short = [
            (b - a, a, k)
            for k, (a, b, label) in enumerate(runs)
            if b - a < theta and label >= 0 and (a, b) not in stuck
        ]
        if not short:
            return y
        _, _, k = min(short)
        first, last, _ = runs[k]
        near = [runs[i] for i in (k - 1, k + 1) if 0 <= i < len(runs)]
        near = [run for run in near if run[2] >= 0]
        if not near:
            stuck.add((first, last))
            continue
        longest = max(b - a for a, b, _ in near)
        label = next(name for a, b, name in near if b - a == longest)
        y[first:last] = [label] * (last - first)


@few
@given(
    st.lists(st.tuples(st.integers(-1, 3), st.integers(1, 6)), max_size=14),
    st.integers(0, 9),
)
def test_relabeling_is_that_of_the_definition(runs, theta):
    y = [label for label, length in runs for _ in range(length)]
    found = relabel_short(y, theta)
    assert found.dtype == np.int32
    assert found.tolist() == slow_relabel(y, theta)
    np.testing.assert_array_equal(relabel_short(found, theta), found)


def test_relabeling_by_hand():
    # Both neighbors are as long: the earlier one. Then the run of 1 has grown to 5.
    assert relabel_short([1] * 4 + [2] + [3] * 4, 2).tolist() == [1] * 5 + [3] * 4
    # The shortest run is first, and joins what it parted, which is then the longer one.
    assert relabel_short([0, 0, 1, 0, 0, 2, 2, 2], 4).tolist() == [0] * 8
    # Frames without a label stay and lend nothing.
    assert relabel_short([-1, 1, -1, -1, 2, 3, 3], 2).tolist() == [
        -1,
        1,
        -1,
        -1,
        3,
        3,
        3,
    ]
    assert relabel_short([], 5).tolist() == []
    assert relabel_short([4], 5).tolist() == [4]


def test_many_runs_are_fast():
    y = np.random.default_rng(0).integers(0, 5, 20_000)
    found = relabel_short(y, 15)
    changes = np.flatnonzero(np.diff(found)) + 1
    assert np.diff(np.concatenate([[0], changes, [len(y)]])).min() >= 15


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: smooth_kaiser([0.1, 0.2], 3, 1.0), r"p must be numbers of shape"),
        (lambda: smooth_kaiser([[np.nan]], 3, 1.0), "p must be finite"),
        (lambda: smooth_kaiser([[0.1]], 0, 1.0), "width must be an integer >= 1"),
        (lambda: smooth_kaiser([[0.1]], 3, -1.0), "beta must be"),
        (lambda: median_filter([[0.1]], 2), "width must be odd, got 2"),
        (lambda: median_filter([1, 2], 3), "p must be numbers of shape"),
        (
            lambda: refine_with_boundaries([[0.1]], [0.1, 0.2]),
            "one number for each of 1",
        ),
        (lambda: refine_with_boundaries([[0.1]], [np.inf]), "boundary must be finite"),
        (lambda: refine_with_boundaries([[0.1]], [0.1], 2), "threshold must be"),
        (lambda: relabel_short([0.5], 3), "y must be integers of one dimension"),
        (lambda: relabel_short([0], -1), "theta must be an integer >= 0"),
    ],
)
def test_refuses_bad_arguments(call, message):
    with pytest.raises(InvalidInputError, match=message):
        call()
