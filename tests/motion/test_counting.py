"""Counts by who, when, what for and with which arm."""

from __future__ import annotations

import numpy as np
import pytest

from mlmethods.errors import InvalidInputError
from mlmethods.motion import Channel, Recording, Segments
from mlmethods.motion.counting import count_segments, distinct_trials, valid_minutes

CLASSES = ("idle", "reach", "transport")


def spans(label, **columns):
    edges = np.arange(len(label) + 1.0)
    return Segments(edges[:-1], edges[1:], label, CLASSES, **columns)


def recording(seconds=30, **about):
    data = np.zeros((seconds * 10, 1))
    about = {"subject": "s1", **about}
    return Recording(data, 10.0, [Channel("ax", "accel", "m/s2")], **about)


def test_counts_and_rates_of_groups():
    recordings = [
        recording(
            session="1", activity="drinking", side="left", labels=spans([1, 2, 1])
        ),
        recording(session="1", activity="drinking", side="left", labels=spans([1, 0])),
        recording(session="1", activity="shelf", side="right", labels=spans([2])),
        recording(60, subject="s2", activity="shelf", labels=spans([])),
    ]
    table = count_segments(recordings)
    assert list(table) == [
        *("subject", "session", "activity", "side"),
        *("class", "count", "valid", "minutes", "per_minute"),
    ]
    assert len(table) == 9
    assert table["count"].tolist() == [1, 3, 1, 0, 0, 1, 0, 0, 0]
    assert table["minutes"].tolist() == [1.0] * 3 + [0.5] * 3 + [1.0] * 3
    assert table["per_minute"].tolist() == [1, 3, 1, 0, 0, 2, 0, 0, 0]
    by_subject = count_segments(recordings, by="subject").set_index(
        ["subject", "class"]
    )
    assert by_subject.loc[("s1", "reach"), "count"] == 3
    assert by_subject.loc[("s1", "reach"), "per_minute"] == pytest.approx(2)
    whole = count_segments(recordings, by=())
    assert whole["count"].tolist() == [1, 3, 2]
    assert whole["count"].sum() == sum(len(item.labels) for item in recordings)


def test_two_cameras_of_a_trial_count_once():
    camera = {"activity": "drinking", "labels": spans([1, 2])}
    recordings = [
        recording(meta={"trial": "drinking3"}, **camera),
        recording(meta={"trial": "drinking3"}, **camera),
        recording(meta={"trial": "drinking4"}, **camera),
        recording(subject="s2", meta={"trial": "drinking3"}, **camera),
        recording(session="2", meta={"trial": "drinking3"}, **camera),
        recording(**camera),
        recording(**camera),
    ]
    assert distinct_trials(recordings) == [0, 2, 3, 4, 5, 6]
    table = count_segments(recordings, by="activity")
    assert table["count"].tolist() == [0, 6, 6]
    assert table["minutes"].tolist() == [3.0] * 3


def test_rates_are_about_valid_time():
    masked = recording(meta={"valid": np.arange(300) < 150})
    assert valid_minutes(masked) == 0.25
    found = spans([1, 1, 2], valid=[True, False, True])
    table = count_segments([masked], [found], by=()).set_index("class")
    assert table.loc["reach"].tolist() == [2, 1, 0.25, 4.0]
    lost = recording(meta={"valid": np.zeros(300, bool)})
    rate = count_segments([lost], [found], by=())["per_minute"]
    assert rate.isna().all()


def test_repeats_count_as_the_segments_say():
    listed = spans([1, 1, 2])
    framed = Segments.from_frames([1, 1, 2], 1.0, CLASSES)
    item = recording()
    assert count_segments([item], [listed], by=())["count"].tolist() == [0, 2, 1]
    assert count_segments([item], [framed], by=())["count"].tolist() == [0, 1, 1]
    merged = count_segments([item], [listed], by=(), collapse_repeats=True)
    assert merged["count"].tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([],), "recordings must be at least one"),
        (([recording()],), "got none for 's1'"),
        (([recording()], []), "segments must have one entry for each of 1"),
        (
            ([recording()] * 2, [spans([1]), Segments([], [], [], ("a",))]),
            "must have the same classes",
        ),
    ],
)
def test_refuses_what_cannot_be_counted(arguments, message):
    with pytest.raises(InvalidInputError, match=message):
        count_segments(*arguments)


def test_groups_are_fields_of_a_recording():
    with pytest.raises(InvalidInputError, match="by must be one of"):
        count_segments([recording(labels=spans([1]))], by="trial")
