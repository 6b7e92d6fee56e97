"""Labeled spans: what they accept, and ways to and from frames."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlmethods.errors import InvalidInputError
from mlmethods.motion import Segments

CLASSES = ("idle", "reach", "reposition", "stabilize", "transport")


def spans(**changes):
    values = {"start": [0.0, 1.0, 2.5], "end": [1.0, 2.0, 3.0], "label": [1, 4, 0]}
    values.update({"classes": CLASSES, **changes})
    return Segments(**values)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"end": [1.0, 2.0]}, "end must have one entry for each of 3 spans, got 2"),
        ({"label": [1.0, 4.0, 0.0]}, "label must be integers"),
        ({"label": [1, 5, 0]}, r"label must be in 0\.\.4, got 5 at index 1"),
        ({"label": [1, 2**32, 0]}, "label must be small integers, got 4294967296"),
        ({"label": [1, -1, 0]}, r"label must be in 0\.\.4, got -1"),
        ({"start": [0.0, 0.5, 2.5]}, "must not overlap, got 1 as an end before 0.5"),
        ({"end": [1.0, 1.0, 3.0]}, "end must be after start, got 1 to 1 at index 1"),
        ({"end": [1.0, np.nan, 3.0]}, "must be finite"),
        ({"start": [["a"]]}, "start must be numbers of one dimension"),
        ({"classes": ("idle", "idle")}, "got 'idle' twice"),
        ({"classes": "idle"}, "classes must be names"),
        ({"classes": ()}, "classes must be names"),
        ({"confidence": [0.5, 1.5, 0.5]}, r"confidence must be in \[0, 1\]"),
        ({"confidence": [0.5]}, "confidence must have one entry"),
        ({"valid": [1, 0, 1]}, "valid must be booleans"),
    ],
)
def test_refuses_what_is_no_list_of_spans(changes, message):
    with pytest.raises(InvalidInputError, match=message):
        spans(**changes)


def test_arrays_are_copies_that_cannot_be_changed():
    start = np.array([0.0])
    found = Segments(start, [1.0], [0], ["idle"])
    start[0] = 0.5
    assert found.start[0] == 0.0
    with pytest.raises(ValueError, match="read-only"):
        found.start[0] = 1.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.classes = ("a",)
    dtypes = found.start.dtype, found.end.dtype, found.label.dtype, found.classes
    assert dtypes == (np.float64, np.float64, np.int32, ("idle",))


def slow_runs(y):
    """Return (first, last, label) of runs of labels >= 0."""
    runs = []
    for t, label in enumerate(y):
        if runs and runs[-1][1] == t and runs[-1][2] == label:
            runs[-1][1] = t + 1
        else:
            runs.append([t, t + 1, label])
    return [tuple(run) for run in runs if run[2] >= 0]


frames = st.lists(st.integers(-1, 3), max_size=40)
rates = st.sampled_from([1.0, 12.5, 29.97, 30.0, 60.0, 100.0, 100 / 3])


@settings(max_examples=100, deadline=None)
@given(frames, rates)
def test_frames_make_a_round_trip(y, fs):
    found = Segments.from_frames(np.array(y, int), fs, CLASSES)
    runs = slow_runs(y)
    np.testing.assert_array_equal(found.to_frames(fs, len(y)), y)
    np.testing.assert_allclose(found.start, [a / fs for a, _, _ in runs])
    np.testing.assert_allclose(found.end, [b / fs for _, b, _ in runs])
    assert found.sequence() == [label for _, _, label in runs]
    assert found.sequence(collapse_repeats=True) == found.sequence()


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 2), st.floats(0.01, 2)), max_size=8),
    st.floats(0.5, 50),
)
def test_a_frame_belongs_to_the_span_of_its_center(steps, fs):
    edges = np.cumsum(np.array(steps).reshape(-1, 2).ravel())
    found = Segments(edges[::2], edges[1::2], np.arange(len(edges) // 2) % 5, CLASSES)
    y = found.to_frames(fs, 60)
    center = (np.arange(60) + 0.5) / fs
    for t in range(60):
        near = np.abs(edges - center[t]) * fs < 1e-5
        inside = (found.start <= center[t]) & (center[t] < found.end)
        expected = found.label[inside][0] if inside.any() else -1
        assert near.any() or y[t] == expected


def test_frames_outside_are_cut_off_and_missing_ones_have_no_label():
    found = Segments([-1.0, 1.0], [0.5, 9.0], [2, 3], CLASSES)
    assert found.to_frames(2, 5).tolist() == [2, -1, 3, 3, 3]
    assert found.to_frames(2, 0).tolist() == []
    assert Segments([], [], [], CLASSES).to_frames(2, 2).tolist() == [-1, -1]


def test_from_frames_starts_where_told_and_refuses_other_labels():
    found = Segments.from_frames([0, 1], 2, CLASSES, start=10)
    assert found.start.tolist() == [10.0, 10.5]
    with pytest.raises(InvalidInputError, match="class ids or -1, got -2"):
        Segments.from_frames([-2], 2, CLASSES)
    with pytest.raises(InvalidInputError, match=r"label must be in 0\.\.4, got 5"):
        Segments.from_frames([5], 2, CLASSES)
    with pytest.raises(InvalidInputError, match="fs must be"):
        Segments.from_frames([0], 0, CLASSES)


def test_equal_neighbors_are_merged_only_where_they_touch():
    found = Segments([0, 1, 2.5, 3], [1, 2, 3, 4], [4, 4, 4, 1], CLASSES)
    assert found.sequence() == [4, 4, 4, 1]
    assert found.sequence(collapse_repeats=True) == [4, 4, 1]
    merged = found.merge_repeats()
    assert (merged.start.tolist(), merged.end.tolist()) == ([0, 2.5, 3], [2, 3, 4])


def test_merged_spans_weigh_confidence_and_need_all_valid():
    found = Segments(
        [0, 1, 4], [1, 4, 5], [2, 2, 0], CLASSES, [0.2, 0.6, 0.9], [True, False, True]
    ).merge_repeats()
    np.testing.assert_allclose(found.confidence, [0.5, 0.9])
    assert found.valid.tolist() == [False, True]
    assert len(Segments([], [], [], CLASSES).merge_repeats()) == 0


def test_clip_and_shift():
    found = spans(confidence=[0.1, 0.2, 0.3], valid=[True, False, True])
    part = found.clip(0.5, 2.0)
    assert part == Segments(
        [0.5, 1.0], [1.0, 2.0], [1, 4], CLASSES, [0.1, 0.2], [True, False]
    )
    assert part.shift(-0.5).start.tolist() == [0.0, 0.5]
    assert len(found.clip(2.1, 2.2)) == 0
    with pytest.raises(InvalidInputError, match="t1 must be"):
        found.clip(2.0, 1.0)


def test_relabel_merges_drops_and_orders_classes():
    found = spans()
    merged = found.relabel({"transport": "reach"})
    assert merged.classes == ("idle", "reach", "reposition", "stabilize")
    assert merged.names == ["reach", "reach", "idle"]
    dropped = found.relabel({"idle": None})
    assert dropped.names == ["reach", "transport"]
    assert dropped.classes == CLASSES[1:]
    upper = found.relabel(str.upper, ("TRANSPORT", "REACH", "IDLE"))
    assert upper.label.tolist() == [1, 0, 2]
    with pytest.raises(InvalidInputError, match="'Reach'; did you mean 'reach'"):
        found.relabel({"reach": "Reach"}, CLASSES)
    # Frames that were told apart by a gap only stay from frames.
    framed = Segments.from_frames([0, 1, 1], 1, CLASSES).relabel({"idle": "reach"})
    assert framed.sequence() == [0]


def test_from_names_finds_ids_and_names_the_closest():
    found = Segments.from_names([0], [1], ["transport"], CLASSES, valid=[False])
    assert (found.label.tolist(), found.valid.tolist()) == ([4], [False])
    with pytest.raises(
        InvalidInputError, match="'Transport'; did you mean 'transport'"
    ):
        Segments.from_names([0], [1], ["Transport"], CLASSES)


def test_concat_fills_in_what_is_not_known():
    first = spans()
    second = Segments([0.0], [1.0], [3], CLASSES, [0.7], [False])
    joined = Segments.concat([first, second], offsets=[0, 3])
    assert joined.start.tolist() == [0.0, 1.0, 2.5, 3.0]
    np.testing.assert_array_equal(joined.confidence, [np.nan] * 3 + [0.7])
    assert joined.valid.tolist() == [True, True, True, False]
    assert Segments.concat([first]).confidence is None
    with pytest.raises(InvalidInputError, match="must not overlap"):
        Segments.concat([first, second])
    with pytest.raises(InvalidInputError, match="same classes"):
        Segments.concat([first, Segments([], [], [], ("a",))])
    with pytest.raises(InvalidInputError, match="offsets must have one entry"):
        Segments.concat([first], offsets=[])


def test_items_slices_and_equality():
    found = spans(confidence=[0.1, np.nan, 0.3])
    assert found[0] == (0.0, 1.0, 1, "reach", 0.1, True)
    assert [span.name for span in found] == ["reach", "transport", "idle"]
    assert found[1:] == spans(confidence=[0.1, np.nan, 0.3])[np.array([1, 2])]
    assert found != found[1:]
    assert found != spans()
    assert spans() == spans(valid=[True] * 3)
    assert found != "spans"
    assert "3 spans, 5 classes, 0 to 3 s" in repr(found)
    assert "0 spans" in repr(found[:0])


def test_dataframe_has_names():
    table = spans(valid=[True, False, True]).to_dataframe()
    assert list(table) == ["start", "end", "label", "confidence", "valid"]
    assert table["label"].tolist() == ["reach", "transport", "idle"]
    assert table["valid"].tolist() == [True, False, True]
    assert table["confidence"].isna().all()
