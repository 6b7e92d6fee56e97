"""Recordings: what they accept, and their parts."""

from __future__ import annotations

import numpy as np
import pytest

from mlmethods.errors import InvalidInputError
from mlmethods.motion import Channel, Recording, Segments
from mlmethods.motion.recording import QualityEntry

CHANNELS = [
    Channel("ax", "accel", "m/s2", sensor="hand", side="left"),
    Channel("wx", "gyro", "rad/s", sensor="hand", side="left"),
    Channel("paretic", "side", "1"),
]


def recording(**changes):
    values = {
        "data": np.arange(60.0).reshape(20, 3),
        "fs": 10.0,
        "channels": CHANNELS,
        "subject": "s1",
        "labels": Segments([0.0, 1.0], [1.0, 2.0], [0, 1], ("idle", "reach")),
        "quality": [QualityEntry("ax", "gap", 0.5, 1.5, "interpolated")],
        "meta": {"time": np.arange(20) / 10, "valid": np.arange(20) % 2 == 0},
    }
    values.update(changes)
    return Recording(
        values.pop("data"), values.pop("fs"), values.pop("channels"), **values
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": np.zeros(20)}, r"data must be numbers of shape \(T, D\)"),
        ({"data": np.zeros((0, 3))}, r"data must be numbers of shape \(T, D\)"),
        ({"data": np.full((2, 3), "a")}, r"data must be numbers of shape \(T, D\)"),
        ({"channels": CHANNELS[:2]}, "one entry for each of 3 columns, got 2"),
        ({"channels": [CHANNELS[0]] * 3}, "got 'ax' twice"),
        ({"channels": ["ax", "wx", "s"]}, "must be Channel objects"),
        ({"fs": 0}, "fs must be a finite number > 0"),
        ({"fs": float("nan")}, "fs must be a finite number > 0"),
        ({"subject": None}, "subject must be a name"),
        ({"subject": ""}, "subject must be a name"),
        ({"session": 1.5}, "session must be a name"),
        ({"side": "Left"}, "side must be one of 'left', 'right'"),
        ({"labels": [0, 1]}, "labels must be Segments, got list"),
        ({"labels": Segments([0], [3.5], [0], ("a",))}, "at 2 s, got 3.5 s"),
        ({"meta": {"valid": [True]}}, r"meta\['valid'\] must have one entry"),
    ],
)
def test_refuses_what_does_not_fit_together(changes, message):
    with pytest.raises(InvalidInputError, match=message):
        recording(**changes)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (("", "accel", "g"), "name must be a name"),
        (("a", "acc", "g"), "kind must be one of .*did you mean 'accel'"),
        (("a", "accel", None), "unit must be a string"),
        (("a", "accel", "g", None, "L"), "side must be one of"),
    ],
)
def test_channels_are_checked(values, message):
    with pytest.raises(InvalidInputError, match=message):
        Channel(*values)


def test_float32_frames_are_neither_copied_nor_changed():
    data = np.zeros((4, 3), np.float32)
    found = recording(data=data, labels=None, meta={})
    assert np.shares_memory(found.data, data)
    assert data.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        found.data[0, 0] = 1
    assert recording().data.dtype == np.float32


def test_a_value_too_large_for_float32_is_infinite():
    data = np.full((4, 3), 1e300)
    assert np.isinf(recording(data=data, labels=None, meta={}).data).all()


def test_memory_maps_stay_on_disk(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((5, 3), np.float32))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    found = recording(data=mapped, labels=None, meta={})
    assert isinstance(found.data, np.memmap)


def test_what_is_known_about_it():
    found = recording(subject=7, session=2, activity="drinking", side="left")
    assert (found.subject, found.session, found.name) == ("7", "2", "7 2 drinking")
    assert (found.n_frames, len(found), found.duration) == (20, 20, 2.0)
    assert found.feature_names == ["ax", "wx", "paretic"]
    assert found.frame_labels().tolist() == [0] * 10 + [1] * 10
    assert found.quality_table().values.tolist() == [
        ["ax", "gap", 0.5, 1.5, "interpolated"]
    ]
    assert list(recording(quality=None).quality_table()) == list(QualityEntry._fields)
    assert recording(meta={"name": "S00039_drinking3"}).name == "S00039_drinking3"
    assert "SYNTHETIC" in repr(recording(meta={"synthetic": True}))
    assert "SYNTHETIC" not in repr(found)
    with pytest.raises(InvalidInputError, match="got none for recording 's1'"):
        recording(labels=None).frame_labels()


def test_slices_take_along_labels_quality_and_frames_of_meta():
    part = recording().slice(0.8, 1.7)
    np.testing.assert_array_equal(part.data, recording().data[8:17])
    assert part.labels == Segments(
        [0.0, 1.0 - 0.8], [1.0 - 0.8, 1.7 - 0.8], [0, 1], ("idle", "reach")
    )
    entry = part.quality[0]
    assert entry.start == 0.0
    assert entry.end == pytest.approx(0.7)
    np.testing.assert_array_equal(part.meta["time"], np.arange(8, 17) / 10)
    assert part.meta["valid"].tolist() == [True, False] * 4 + [True]
    assert len(recording().slice(-5, 50)) == 20
    assert recording().slice(1.6, 2.0).quality == ()
    with pytest.raises(InvalidInputError, match="which lasts 2 s, got 3 to 4"):
        recording().slice(3, 4)


def test_select_by_name_and_by_kind():
    found = recording().select(["wx", "ax"])
    assert found.feature_names == ["wx", "ax"]
    np.testing.assert_array_equal(found.data, recording().data[:, [1, 0]])
    moving = recording().select(lambda channel: channel.kind != "side")
    assert moving.feature_names == ["ax", "wx"]
    with pytest.raises(InvalidInputError, match="got 'wxx'; did you mean 'wx'"):
        recording().select(["wxx"])
    with pytest.raises(InvalidInputError, match="must leave at least one"):
        recording().select(lambda channel: False)


def test_with_data_keeps_all_else():
    found = recording(side="right").with_data(np.ones((20, 3)))
    assert found.side == "right"
    assert found.data.min() == 1
    other = recording(meta={}).with_data(np.ones((40, 1)), fs=20, channels=CHANNELS[:1])
    assert (other.duration, other.feature_names) == (2.0, ["ax"])
