"""Sequences of recordings: lazy, split by subject, stored as Arrow."""

from __future__ import annotations

import datasets
import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.model_selection import GroupKFold, cross_validate

from mlmethods.errors import DataFormatError, InvalidInputError
from mlmethods.motion.collection import (
    LazyRecording,
    RecordingDataset,
    check_subjects_apart,
)
from mlmethods.motion.recording import Channel, QualityEntry, Recording
from mlmethods.motion.segments import Segments

CLASSES = ("idle", "reach")
CHANNELS = (
    Channel("ax", "accel", "m/s2", sensor="hand", side="left"),
    Channel("side", "side", "1"),
)


def make(subject, T=60, labels=True, **fields):
    rng = np.random.default_rng(T)
    spans = Segments(
        [0.1, 0.3], [0.3, 0.45], [1, 1], CLASSES, [0.5, np.nan], [1 > 0] * 2
    )
    return Recording(
        rng.standard_normal((T, 2)).astype(np.float32),
        100.0,
        CHANNELS,
        subject=subject,
        labels=spans if labels else None,
        **fields,
    )


def equal(a, b):
    assert a.data.tobytes() == b.data.tobytes()
    assert (a.fs, a.channels, a.subject, a.session) == (
        b.fs,
        b.channels,
        b.subject,
        b.session,
    )
    assert (a.activity, a.side, a.quality) == (b.activity, b.side, b.quality)
    assert (a.labels is None) == (b.labels is None)
    if a.labels is not None:
        assert a.labels == b.labels
        assert a.labels.sequence() == b.labels.sequence()
    assert a.meta.keys() == b.meta.keys()
    for key, value in a.meta.items():
        np.testing.assert_array_equal(value, b.meta[key])


def rich():
    return [
        make(
            "s1",
            session="2",
            activity="drinking",
            side="left",
            quality=[QualityEntry("ax", "gap", 0.1, 0.2, "interpolated")],
            meta={"valid": np.arange(60) > 5, "trial": "a", "score": 3, "pair": (1, 2)},
        ),
        make("Ünïcode 2", T=70, labels=False),
        make("s3", T=80).replace(
            labels=Segments.from_frames(
                np.repeat([1, 0, 1], [20, 30, 30]), 100.0, CLASSES
            )
        ),
        make("s1", T=90),
    ]


def test_hf_round_trip_in_memory_and_on_disk(tmp_path):
    recordings = rich()
    data = RecordingDataset(recordings)
    memory = data.to_hf()
    assert memory.num_rows == 4
    assert memory["subject"][1] == "Ünïcode 2"
    mapped = data.to_hf(tmp_path / "x.arrow")
    assert mapped.cache_files[0]["filename"] == str(tmp_path / "x.arrow")
    datasets.disable_progress_bars()
    mapped.save_to_disk(str(tmp_path / "saved"))
    for source in (memory, mapped, datasets.load_from_disk(str(tmp_path / "saved"))):
        back = RecordingDataset.from_hf(source)
        assert back.classes == CLASSES
        assert back.feature_names == ["ax", "side"]
        assert back.subjects == data.subjects
        for a, b in zip(recordings, back, strict=True):
            equal(a, b)
    assert RecordingDataset.from_hf(mapped.select([3, 0]))[0].n_frames == 90


def test_from_hf_refuses_other_tables():
    with pytest.raises(DataFormatError, match="no 'activity'"):
        RecordingDataset.from_hf(datasets.Dataset.from_dict({"subject": ["a"]}))
    rows = RecordingDataset(rich()).to_hf()
    with pytest.raises(InvalidInputError, match="must have rows"):
        RecordingDataset.from_hf(rows.select([]))
    with pytest.raises(InvalidInputError, match=r"meta\.odd"):
        RecordingDataset([make("s1", meta={"odd": object()})]).to_hf()


def test_lazy_recordings_are_loaded_on_use_only():
    loaded = []

    def loader(index):
        def load():
            loaded.append(index)
            return make(f"s{index}", T=60 + index)

        return load

    data = RecordingDataset(
        [LazyRecording(loader(i), f"s{i}") for i in range(4)],
        classes=CLASSES,
        feature_names=["ax", "side"],
    )
    train, test = data.split_by_subject(["s1", "s3"])
    assert (len(data), train.subjects, test.subjects) == (4, ["s0", "s2"], ["s1", "s3"])
    assert data.feature_names == ["ax", "side"]
    assert loaded == []
    assert test[1].n_frames == 63
    assert [r.n_frames for r in data[1:3]] == [61, 62]
    assert loaded == [3, 1, 2]
    assert data.select(lambda r: r.n_frames > 62).subjects == ["s3"]


def test_split_by_share_is_by_subject_and_repeatable():
    data = RecordingDataset([make(f"s{i % 5}", T=60 + i) for i in range(15)])
    train, test = data.split_by_subject(0.4, random_state=3)
    assert len(set(test.subjects)) == 2
    assert not set(train.subjects) & set(test.subjects)
    assert len(train) + len(test) == 15
    assert test.subjects == data.split_by_subject(0.4, random_state=3)[1].subjects
    check_subjects_apart(train.subjects, test.subjects)
    with pytest.raises(InvalidInputError, match="allow_subject_overlap"):
        check_subjects_apart(train.subjects, data.subjects)


def test_scikit_learn_splits_by_subject():
    class Model(BaseEstimator):
        def fit(self, X, y=None):
            self.seen_ = {recording.subject for recording in X}
            return self

        def score(self, X, y=None):
            return float(not self.seen_ & {recording.subject for recording in X})

    data = RecordingDataset([make(f"s{i % 3}", T=60 + i) for i in range(6)])
    scores = cross_validate(
        Model(), data, groups=np.array(data.subjects), cv=GroupKFold(3)
    )
    assert scores["test_score"].tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("held_out", "message"),
    [
        (["s9"], "'s9'"),
        (["s0", "s1", "s2"], "both sides"),
        ([], "both sides"),
        ("s1", "list of subjects"),
        (1.5, "held_out"),
    ],
)
def test_split_refuses(held_out, message):
    data = RecordingDataset([make(f"s{i}") for i in range(3)])
    with pytest.raises(InvalidInputError, match=message):
        data.split_by_subject(held_out)


def test_classes_must_agree():
    other = make("s2").replace(labels=Segments([0], [0.1], [0], ("a", "b")))
    with pytest.raises(InvalidInputError, match="classes idle, reach"):
        RecordingDataset([make("s1"), other])
    lazy = RecordingDataset([make("s1"), LazyRecording(lambda: other, "s2")])
    with pytest.raises(InvalidInputError, match="classes idle, reach"):
        lazy[1]
    with pytest.raises(InvalidInputError, match="at least one"):
        RecordingDataset([])
    with pytest.raises(InvalidInputError, match="ndarray"):
        RecordingDataset([np.zeros((3, 3))])
    assert RecordingDataset([make("s1", labels=False)]).classes == ()
