"""Overlap F1, accuracy of frames and boundaries, against slow references."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlmethods.errors import InvalidInputError
from mlmethods.motion import Segments
from mlmethods.motion.metrics import (
    boundary_scores,
    f1_at,
    f1_counts,
    framewise_accuracy,
)

CLASSES = ("a", "b", "c")
few = settings(max_examples=100, deadline=None)


@st.composite
def pairs(draw, low=0):
    size = draw(st.integers(0, 30))
    label = st.integers(low, 2)
    one, other = (draw(st.lists(label, min_size=size, max_size=size)) for _ in range(2))
    return np.array(one, int), np.array(other, int)


def slow_runs(y, background):
    runs = []
    for t, label in enumerate(y):
        if runs and runs[-1][2] == label:
            runs[-1][1] = t + 1
        else:
            runs.append([t, t + 1, label])
    return [run for run in runs if run[2] not in background]


def slow_f1_counts(truth, pred, iou, background=()):
    """Apply the definition with exact fractions and no tricks."""
    gt, found = slow_runs(truth, background), slow_runs(pred, background)
    used = set()
    tp = fp = 0
    for first, last, label in found:
        best, which = Fraction(0), None
        for k, (a, b, name) in enumerate(gt):
            shared = max(min(last, b) - max(first, a), 0)
            ratio = Fraction(shared, last - first + b - a - shared)
            if name == label and ratio > best:
                best, which = ratio, k
        if which is not None and best >= iou and which not in used:
            tp += 1
            used.add(which)
        else:
            fp += 1
    return tp, fp, len(gt) - len(used)


@few
@given(pairs(low=-1), st.sampled_from([10, 25, 50, 75, 100]))
def test_f1_counts_are_those_of_the_definition(pair, percent):
    truth, pred = pair
    expected = slow_f1_counts(truth, pred, Fraction(percent, 100), background=(-1,))
    assert f1_counts(truth, pred, percent / 100) == expected
    ignored = slow_f1_counts(truth, pred, Fraction(percent, 100), background=(-1, 1))
    assert f1_counts(truth, pred, percent / 100, background=1) == ignored


@few
@given(pairs(low=-1), st.sampled_from([10, 25, 50]), st.sampled_from([30.0, 100 / 3]))
def test_segments_give_the_counts_of_their_frames(pair, percent, fs):
    truth, pred = (Segments.from_frames(y, fs, CLASSES) for y in pair)
    assert f1_counts(truth, pred, percent / 100) == f1_counts(*pair, percent / 100)
    assert f1_counts(truth, pred, percent / 100, background="b") == f1_counts(
        *pair, percent / 100, background=1
    )
    if (pair[0] >= 0).any():
        assert framewise_accuracy(truth, pred) == pytest.approx(
            framewise_accuracy(*pair)
        )


@few
@given(pairs())
def test_f1_of_equal_and_of_swapped_labels(pair):
    truth, pred = pair
    tp, fp, fn = f1_counts(truth, truth, 1.0)
    assert (tp, fp, fn) == (len(slow_runs(truth, ())), 0, 0)
    # Above one half a span has one possible partner, so that both directions agree.
    a, b = f1_counts(truth, pred, 0.6), f1_counts(pred, truth, 0.6)
    assert a == (b[0], b[2], b[1])
    low, high = f1_counts(truth, pred, 0.1), f1_counts(truth, pred, 0.5)
    assert low[0] + low[1] == high[0] + high[1]
    assert low[0] + low[2] == high[0] + high[2]


def test_the_first_of_equal_overlaps_counts_and_only_once():
    # The prediction overlaps two true spans alike and takes the first.
    truth = [0, 0, 1, 0, 0]
    assert f1_counts(truth, [0] * 5, 0.4) == (1, 0, 2)
    # Two predictions look at the same true span: the second is false.
    assert f1_counts([0] * 6, [0, 0, 0, 1, 0, 0], 0.25) == (1, 2, 0)
    # An overlap of exactly the threshold is enough.
    assert f1_counts([0, 0], [0, 1], 0.5) == (1, 1, 0)


def test_repeats_are_spans_only_where_the_truth_can_hold_them():
    listed = Segments([0, 1], [1, 2], [1, 1], CLASSES)
    framed = Segments.from_frames([1, 1], 1.0, CLASSES)
    assert f1_counts(listed, listed, 0.5) == (2, 0, 0)
    assert f1_counts(framed, listed, 0.9) == (1, 0, 0)


def test_counts_are_added_before_f1():
    truths = [[0, 1], [0, 0, 1, 1]]
    preds = [[0, 1], [1, 1, 0, 0]]
    assert f1_at(truths, preds, 0.5) == pytest.approx(50)
    assert f1_at([[0, 0]], [[1, 1]], 0.5) == 0
    assert f1_at([[0, 0]], [[0, 0]], 0.5, background=0) == 100
    assert f1_at([[]], [[]], 0.5) == 100


def test_accuracy_counts_labeled_frames_of_all_recordings():
    assert framewise_accuracy([[0, 0, 0, 0], [1]], [[0, 0, 1, 1], [1]]) == 60
    assert framewise_accuracy([0, -1, 1], [0, 0, 0]) == 50
    assert framewise_accuracy(["a", "b"], ["a", "a"]) == 50
    assert np.isnan(framewise_accuracy([-1], [0]))
    truth = Segments([0, 2], [1, 4], [0, 1], CLASSES)
    pred = Segments([0.5, 1.5], [1.5, 3.0], [0, 1], CLASSES)
    assert framewise_accuracy(truth, pred) == pytest.approx(50)


def test_another_number_of_frames_is_an_error_unless_stretched():
    with pytest.raises(InvalidInputError, match="as many frames as truth, 4, got 2"):
        f1_counts([0, 0, 1, 1], [0, 1], 0.5)
    assert f1_counts([0, 0, 1, 1], [0, 1], 0.5, align="nearest") == (2, 0, 0)
    assert framewise_accuracy([0, 1], [0, 0, 1, 1], align="nearest") == 100
    with pytest.raises(InvalidInputError, match="must have frames to stretch"):
        framewise_accuracy([0], [], align="nearest")
    with pytest.raises(InvalidInputError, match="align must be one of 'nearest'"):
        framewise_accuracy([0], [0], align="linear")
    with pytest.raises(InvalidInputError, match="both be labels of frames or both be"):
        framewise_accuracy([0], Segments([0], [1], [0], CLASSES))


@pytest.mark.parametrize("iou", [0, 1.5, float("nan"), "0.5"])
def test_overlap_is_a_share(iou):
    with pytest.raises(InvalidInputError, match="iou must be"):
        f1_counts([0], [0], iou)


def spans(start, last):
    return Segments(
        start, [*start[1:], last], [k % 2 for k in range(len(start))], CLASSES
    )


def test_boundaries_by_duration():
    truth = spans([0.0, 1.0, 1.4, 2.2, 3.7], 6.7)
    pred = spans([0.0, 1.1, 1.4, 3.3, 6.0], 6.7)
    table = boundary_scores([truth], [pred], tolerance=0.5)
    assert list(table.index) == ["< 0.5 s", "0.5-1 s", "1-2 s", ">= 2 s", "all"]
    assert table["truth"].tolist() == [1, 1, 1, 1, 4]
    assert table["pred"].tolist() == [1, 1, 1, 1, 4]
    assert table["recall"].tolist() == [1.0, 1.0, 0.0, 1.0, 0.75]
    # Those at 1.1, 6.0, 1.4 and 3.3 s; nothing is near the one at 6 s.
    assert table["precision"].tolist() == [1.0, 0.0, 1.0, 1.0, 0.75]
    assert table.loc["all", "f1"] == 0.75
    assert table.loc["1-2 s", ["recall", "f1"]].tolist() == [0.0, 0.0]
    assert table.loc["all", "offset"] == pytest.approx(-0.1)
    assert table.loc["all", "absolute_offset"] == pytest.approx(0.5 / 3)
    assert table.loc[">= 2 s", "offset"] == pytest.approx(-0.4)


def test_nearest_boundaries_are_matched_first_and_once():
    table = boundary_scores([spans([0, 2.0], 3)], [spans([0, 1.7, 1.9, 2.4], 3)])
    row = table.loc["all"]
    assert (row["recall"], row["precision"]) == (1.0, pytest.approx(1 / 3))
    assert row["offset"] == pytest.approx(-0.1)


def test_a_boundary_at_the_tolerance_is_found():
    truth, pred = [0] * 30 + [1] * 30, [0] * 15 + [1] * 45
    found = boundary_scores([truth], [pred], 0.5, fs=30).loc["all", "recall"]
    assert found == 1
    missed = boundary_scores([truth], [pred], 0.49, fs=30).loc["all"]
    assert (missed["recall"], missed["precision"], missed["f1"]) == (0, 0, 0)
    assert np.isnan(missed["offset"])


def test_recordings_without_a_change_have_no_boundary():
    row = boundary_scores([[0, 0]], [[0, 0]], fs=1).loc["all"]
    assert (row["truth"], row["pred"]) == (0, 0)
    assert np.isnan([row["recall"], row["precision"], row["f1"]]).all()
    assert list(boundary_scores([[0, 1]], [[0, 1]], fs=1, bins=()).index) == ["all"]


def test_boundaries_need_times():
    with pytest.raises(InvalidInputError, match="fs must be given"):
        boundary_scores([[0, 1]], [[0, 1]])
    with pytest.raises(InvalidInputError, match="bins must increase"):
        boundary_scores([[0, 1]], [[0, 1]], fs=1, bins=(1, 1))
