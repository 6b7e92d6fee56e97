"""Runs of frames: from the tokens of cores to those of a recording."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlmethods.motion._pieces import Joiner, Runs, align_core, frame_runs
from mlmethods.motion.count_calibration import hits


def test_repeats_within_a_core_stay_and_edges_join():
    def runs(*spans):
        start, end, label = (
            np.array(column, np.int64) for column in zip(*spans, strict=True)
        )
        return Runs(
            start, end, label, np.full(len(start), 0.5), np.ones(len(start), bool)
        )

    cores = [runs((0, 3, 1), (3, 8, 1)), runs((8, 9, 1), (9, 16, 2)), Runs.none()]
    for collapse, expected in ((False, [3, 9, 16]), (True, [9, 16])):
        joiner = Joiner(collapse)
        parts = [joiner.push(core) for core in cores]
        parts.append(joiner.flush())
        joined = Runs.concat(parts)
        assert joined.end.tolist() == expected
        assert joined.confidence.tolist() == [0.5] * len(expected)


def test_more_tokens_than_frames_keep_the_surest():
    label, confidence, bounds = align_core(
        np.array([0, 1, 2, 1]),
        np.array([0.4, 0.9, 0.2, 0.8]),
        np.zeros((4, 3)),
        (9, 11),
        8,
    )
    assert label.tolist() == [1, 1]
    assert confidence.tolist() == [0.9, 0.8]
    assert bounds.tolist() == [0, 1, 2]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_core_is_covered_whatever_the_tokens(seed):
    rng = np.random.default_rng(seed)
    first, length = int(rng.integers(0, 60)), int(rng.integers(1, 80))
    count = int(rng.integers(1, 35))
    steps = -(-(first + length + int(rng.integers(0, 20))) // 8)
    label, confidence, bounds = align_core(
        rng.integers(4, size=count),
        rng.random(count),
        rng.normal(size=(steps, 4)),
        (first, first + length),
        8,
        rng.random((count, steps)) if rng.random() < 0.3 else None,
    )
    assert bounds[0] == 0
    assert bounds[-1] == length
    assert (np.diff(bounds) >= 1).all()
    assert len(label) == len(confidence) == min(count, length)


def test_frame_runs_by_hand():
    proba = np.array([[0.8, 0.2], [0.6, 0.4], [0.1, 0.9]])
    runs = frame_runs(proba, 5, np.array([True, True, False]))
    assert runs.start.tolist() == [5, 7]
    assert runs.end.tolist() == [7, 8]
    assert runs.label.tolist() == [0, 1]
    assert runs.confidence.tolist() == pytest.approx([0.7, 0.9])
    assert runs.valid.tolist() == [True, False]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 2), max_size=9), st.lists(st.integers(0, 2), max_size=9))
def test_hits_are_as_many_on_both_sides(truth, found):
    known, right = hits(truth, found)
    assert known.sum() == right.sum()
    matched = [t for t, k in zip(truth, known, strict=True) if k]
    assert matched == [f for f, r in zip(found, right, strict=True) if r]
