"""StrokeRehab: functional primitives of stroke patients and healthy subjects."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple

import numpy as np

from mlmethods.common.validation import check_choice, check_real
from mlmethods.errors import DataFormatError, DatasetNotFoundError, InvalidInputError
from mlmethods.interfaces import NDArray
from mlmethods.motion.collection import LazyRecording, RecordingDataset
from mlmethods.motion.datasets._layout import (
    check_split_subjects,
    common_length,
    features_file,
    find_root,
    label_ids,
    label_lines,
)
from mlmethods.motion.io.table import Table, text_table
from mlmethods.motion.recording import Channel, ChannelKind, Recording, Side
from mlmethods.motion.segments import Segments

__all__ = ["STROKEREHAB_CLASSES", "STROKEREHAB_SPLITS", "load_strokerehab"]

STROKEREHAB_CLASSES = ("idle", "reach", "reposition", "stabilize", "transport")
"""The five functional primitives, in the order of their ids."""

STROKEREHAB_SPLITS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        name: tuple(subjects.split())
        for name, subjects in (
            ("fold_1", "s46 s45 s36 s11 s19 s20 s2 s22"),
            ("fold_2", "s7 s32 s25 s35 s5 s10 s3 s43"),
            ("fold_3", "s13 s16 s12 s6 s40 s18 s28 s23"),
            ("fold_4", "s41 s48 s1 s24 s27 s8 s30 s9 s33"),
            ("test", "s4 s17 s26 s37 s39 s42 s44 s47"),
            ("severe", "s21 s29 s31 s34 s49 s50 s51"),
        )
    }
)
"""Patients of the published four-fold cross-validation, its test and the severe ones.

Fold k validates on ``"fold_k"`` and trains on the three others.
"""

_ALIASES = {"rest": "idle", "retract": "reposition", "0": None, "": None}
_PARTS = ("train", "val", "test", "severe", "healthy")
_IMU_FS = 100.0
_VIDEO_FS = 60.0
_MG = 9.80665e-3
_GET = (
    "StrokeRehab is at https://simtk.org/projects/primseq (an account is needed). Put "
    "the sensor files (one CSV a trial), or the folders features and groundTruth of "
    "the videos, into a folder and give it as root"
)
_TRUNK_ANGLES = tuple(
    f"{region}{angle}deg"
    for region in ("lumbar", "thoracic")
    for angle in ("flexion", "lateralrt", "axialrt")
)
_LIMB_ANGLES = (
    "elbowflexion",
    "shouldertotalflexion",
    "shoulderflexion",
    "shoulderabduction",
    "shoulderrotationout",
    "wristextension",
    "wristradial",
    "wristsupination",
)
# Segments in the order of the columns, with their side.
_SENSORS: tuple[tuple[str, Side | None], ...] = (
    ("upperspine", None),
    *((name, "left") for name in ("upperarm", "forearm", "hand")),
    *((name, "right") for name in ("upperarm", "forearm", "hand")),
    ("lowerspine", None),
    ("pelvis", None),
)
_TOKEN: dict[Side | None, str] = {"left": "lt", "right": "rt", None: ""}
_ACTIVITIES = {"deodrant": "deodorant", "facewash": "face wash"}
_SIDED = re.compile(r"^(rtt|shelf)\s*(left|right)(\s*side)?$")
_VIDEO_ID = re.compile(r"^([A-Za-z]+)0*(\d+)_(.+?)\s*(\d)\s*_(\d)$")


class _Trial(NamedTuple):
    """A file, and what its name tells."""

    path: Path
    subject: str
    activity: str
    repetition: str
    camera: str | None
    side: Side | None


def load_strokerehab(
    root: str | os.PathLike[str] | None = None,
    modality: Literal["imu", "video"] = "imu",
    split: str | Mapping[str, Sequence[str]] = "fold_1",
    part: Literal["train", "val", "test", "severe", "healthy"] = "train",
    mmap: bool = True,
    *,
    fs: float | None = None,
    allow_subject_overlap: bool = False,
) -> RecordingDataset:
    """Return one part of StrokeRehab; files are read when they are asked for.

    Labels and columns are found by their names, never by numbers or places. Names of
    files may be misspelled as published, with spaces and upper case.

    Parameters
    ----------
    root : path-like, optional
        The folder; by default ``strokerehab`` in a data root.
    modality : {"imu", "video"}, default="imu"
        Sensors: 22 joint angles (deg), 27 accelerations (m/s2) and 27 components of
        quaternions at 100 Hz, then the side. Channels keep the names of the columns,
        also where the unit in the name is another one. Video: the released features of frames.
    split : str or mapping, default="fold_1"
        ``"fold_1"`` to ``"fold_4"``, or a mapping of parts to lists of subjects such as
        ``{"train": ["s1"], "val": ["s2"]}``.
    part : {"train", "val", "test", "severe", "healthy"}, default="train"
        The patients of :data:`STROKEREHAB_SPLITS`; ``"healthy"`` are the files of
        subjects whose name does not begin with s.
    mmap : bool, default=True
        Whether features of video stay on the disk until they are used.
    fs : float, optional
        Frames per second of video features, 60 by default. Sensors have 100.
    allow_subject_overlap : bool, default=False
        Whether a mapping may name a subject in two parts.

    Returns
    -------
    RecordingDataset
        Subjects are called ``"s7"``. ``meta["trial"]`` is the same for the two cameras
        of a trial; ``meta["repetition"]`` counts the repetitions of an activity. Frames
        of the label ``0`` have none.

    Raises
    ------
    DatasetNotFoundError
        If there is no such folder, or no file of a subject of the part.
    InvalidInputError
        If a subject is in two parts.
    DataFormatError
        If a name of a file is not understood; when a file is read: if a column is
        missing, a label is unknown (the message has the line), or labels and features
        differ in length by more than a second.

    References
    ----------
    A. Kaku et al., "StrokeRehab: a benchmark dataset for sub-second action
    identification", NeurIPS Datasets and Benchmarks, 2022.
    """
    check_choice("modality", modality, ("imu", "video"))
    check_choice("part", part, _PARTS)
    folder = find_root(
        root,
        ("strokerehab",),
        "**/*.[cC][sS][vV]" if modality == "imu" else "**/groundTruth",
        _GET,
    )
    wanted = _subjects(split, part, allow=allow_subject_overlap)
    trials = _imu_trials(folder) if modality == "imu" else _video_trials(folder)
    trials = [
        trial
        for trial in trials
        if (
            not trial.subject.startswith("s")
            if wanted is None
            else trial.subject in wanted
        )
    ]
    if not trials:
        names = "healthy subjects" if wanted is None else ", ".join(sorted(wanted))
        raise DatasetNotFoundError(
            f"no {modality} file of part {part!r} in {folder} ({names}). {_GET}"
        )
    rate = (
        _VIDEO_FS if fs is None else check_real("fs", fs, minimum=0, open_minimum=True)
    )
    if modality == "imu" and fs not in (None, _IMU_FS):
        raise InvalidInputError(f"fs must be {_IMU_FS:g} for sensors, got {fs:g}")
    items = [
        LazyRecording(
            functools.partial(_read_imu, trial)
            if modality == "imu"
            else functools.partial(_read_video, trial, rate, mmap),
            trial.subject,
        )
        for trial in trials
    ]
    return RecordingDataset(
        items,
        classes=STROKEREHAB_CLASSES,
        feature_names=[channel.name for channel in _channels()]
        if modality == "imu"
        else None,
        name=f"StrokeRehab {modality} {part}",
    )


def _subjects(
    split: str | Mapping[str, Sequence[str]], part: str, *, allow: bool
) -> set[str] | None:
    """Return the subjects of a part; None stands for all healthy ones."""
    if not isinstance(split, str):
        check_split_subjects(split, allow=allow)
        if part not in split:
            raise InvalidInputError(
                f"part must be one of {', '.join(map(repr, split))}, got {part!r}"
            )
        return {str(subject).lower() for subject in split[part]}
    folds = [name for name in STROKEREHAB_SPLITS if name.startswith("fold")]
    check_choice("split", split, folds)
    if part == "healthy":
        return None
    if part == "val":
        return set(STROKEREHAB_SPLITS[split])
    if part == "train":
        return {s for fold in folds if fold != split for s in STROKEREHAB_SPLITS[fold]}
    return set(STROKEREHAB_SPLITS[part])


def _subject(letters: str, digits: str) -> str:
    return f"{letters.lower()}{int(digits)}"


def _activity(text: str) -> str:
    """Return an activity without misspellings: ``"RTT left side"``, ``"face wash"``."""
    name = " ".join(text.lower().split())
    name = _ACTIVITIES.get(name, name)
    sided = _SIDED.match(name)
    if sided:
        word = "RTT" if sided[1] == "rtt" else sided[1]
        return f"{word} {sided[2]} side"
    return "RTT" if name == "rtt" else name


def _imu_trials(folder: Path) -> list[_Trial]:
    trials = []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() != ".csv":
            continue
        stem = path.name[: -len(path.suffix)].strip()
        fields = [field.strip() for field in stem.split("_")]
        # Healthy subjects have the side second, patients the activity.
        sides = [field.upper() for field in fields[1:] if field.upper() in ("RT", "LT")]
        rest = [field for field in fields[1:] if field.upper() not in ("RT", "LT")]
        who = re.fullmatch(r"([A-Za-z]+)0*(\d+)", fields[0])
        if who is None or not rest or not rest[0]:
            raise DataFormatError(
                f"{path}: names must be like 's4_drinking_RT_SB_mod_drinking 3.csv', "
                "with subject, activity and repetition"
            )
        side: Side | None = None
        if sides:
            side = "right" if sides[0] == "RT" else "left"
        trials.append(
            _Trial(
                path,
                _subject(who[1], who[2]),
                _activity(rest[0]),
                # Some subjects did an activity once, and their files have no number.
                stem[-1] if stem[-1].isdigit() else "1",
                None,
                side,
            )
        )
    return trials


def _video_trials(folder: Path) -> list[_Trial]:
    trials = []
    for path in sorted(folder.rglob("groundTruth/*.txt")):
        match = _VIDEO_ID.match(path.stem.strip())
        if match is None:
            raise DataFormatError(
                f"{path}: names must be like 'S00039_drinking3_1.txt', with subject, "
                "activity, repetition and camera"
            )
        trials.append(
            _Trial(
                path,
                _subject(match[1], match[2]),
                _activity(match[3]),
                match[4],
                match[5],
                None,
            )
        )
    return trials


@functools.cache
def _channels() -> tuple[Channel, ...]:
    """Return the 76 features in their order, and the side."""

    def channel(
        name: str, kind: ChannelKind, unit: str, sensor: str | None, side: Side | None
    ) -> Channel:
        return Channel(name, kind, unit, sensor, side)

    channels = [channel(name, "angle", "deg", None, None) for name in _TRUNK_ANGLES]
    sides: tuple[Side, Side] = ("left", "right")
    channels += [
        channel(f"{angle}{_TOKEN[side]}deg", "angle", "deg", None, side)
        for angle in _LIMB_ANGLES
        for side in sides
    ]
    channels += [
        channel(f"{body}accelsensor{axis}{_TOKEN[side]}mg", "accel", "m/s2", body, side)
        for body, side in _SENSORS
        for axis in "xyz"
    ]
    channels += [
        channel(f"{_TOKEN[side]}{body}rot{axis}", "quat", "1", body, side)
        for body, side in _SENSORS
        for axis in "xyz"
    ]
    return (*channels, Channel("side", "side", "1"))


def _read_imu(trial: _Trial) -> Recording:
    table = text_table(trial.path)
    own = {re.sub(r"[\s_]", "", name).lower(): name for name in table.names}
    channels = _channels()
    data = np.empty((len(table), len(channels)), np.float32)
    for column, channel in enumerate(channels[:-1]):
        if channel.name not in own:
            raise DataFormatError(
                f"{trial.path}: the column {channel.name!r} is missing"
            )
        scale = _MG if channel.kind == "accel" else 1.0
        data[:, column] = scale * table.numbers(own[channel.name])
    if "class" not in own:
        raise DataFormatError(
            f"{trial.path}: the column 'class' with labels is missing"
        )
    code, side = _side(table, own, trial)
    data[:, -1] = code
    names = [text or "" for text in table.texts(own["class"])]
    ids = label_ids(
        names,
        STROKEREHAB_CLASSES,
        lambda row: table.where(row, own["class"]),
        aliases=_ALIASES,
    )
    return _recording(trial, data, _IMU_FS, channels, ids, side)


def _side(
    table: Table, own: Mapping[str, str], trial: _Trial
) -> tuple[float, Side | None]:
    """Return the constant of the side's column, and the side if something tells it.

    The column is called so, or is the one after the last feature.
    """
    named = [name for plain, name in own.items() if "side" in plain]
    last = max(table.names.index(own[c.name]) for c in _channels()[:-1])
    name = named[0] if named else [*table.names, ""][last + 1]
    if not name or name.lower() in ("class", "markers", "markernames"):
        raise DataFormatError(
            f"{trial.path}: the column of the paretic side, after the features, is "
            "missing"
        )
    if table.is_text(name):
        words = {(text or "").lower()[:1] for text in table.texts(name)}
        if len(words) != 1 or not words <= {"l", "r"}:
            raise DataFormatError(
                f"{table.where(0, name)} must be the same side in all rows, left or "
                "right"
            )
        side: Side = "left" if words == {"l"} else "right"
        return float(side == "right"), side
    values = table.numbers(name)
    different = np.flatnonzero(values != values[0])
    if len(different):
        raise DataFormatError(
            f"{table.where(int(different[0]), name)}: the side must be the same in all "
            "rows"
        )
    return float(values[0]), trial.side


def _read_video(trial: _Trial, fs: float, mmap: bool) -> Recording:
    path = trial.path.parent.parent / "features" / f"{trial.path.stem}.npy"
    data = features_file(path, mmap=mmap)
    ids = label_ids(
        label_lines(trial.path),
        STROKEREHAB_CLASSES,
        lambda row: f"{trial.path}:{row + 1}",
        aliases=_ALIASES,
    )
    length = common_length(len(data), len(ids), fs, trial.path)
    channels = tuple(
        Channel(f"feature_{index}", "feature", "1") for index in range(data.shape[1])
    )
    return _recording(trial, data[:length], fs, channels, ids[:length], None)


def _recording(
    trial: _Trial,
    data: NDArray,
    fs: float,
    channels: tuple[Channel, ...],
    ids: NDArray,
    side: Side | None,
) -> Recording:
    # Healthy subjects did each activity with both arms.
    parts = (trial.subject, trial.side, trial.activity, trial.repetition)
    meta = {
        "name": trial.path.stem.strip(),
        "trial": " ".join(part for part in parts if part),
        "repetition": int(trial.repetition),
    }
    if trial.camera is not None:
        meta["camera"] = int(trial.camera)
    return Recording(
        data,
        fs,
        channels,
        subject=trial.subject,
        activity=trial.activity,
        side=side,
        labels=Segments.from_frames(ids, fs, STROKEREHAB_CLASSES),
        meta=meta,
    )
