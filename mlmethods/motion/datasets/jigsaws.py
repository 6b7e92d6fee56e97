"""JIGSAWS: surgical gestures with the kinematics of a robot."""

from __future__ import annotations

import functools
import os
import re
import warnings
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from mlmethods.common.validation import check_choice, check_integer
from mlmethods.errors import (
    DataFormatError,
    DatasetNotFoundError,
    InvalidInputError,
    MLMethodsWarning,
)
from mlmethods.interfaces import NDArray
from mlmethods.motion.collection import LazyRecording, RecordingDataset
from mlmethods.motion.datasets._layout import find_root, label_ids
from mlmethods.motion.recording import Channel, Recording, Side
from mlmethods.motion.segments import Segments

__all__ = ["load_jigsaws"]

_FS = 30.0
_TASKS = ("Suturing", "Knot_Tying", "Needle_Passing")
_USERS = "BCDEFGHI"
_TRIALS = 5
_GESTURES = tuple(f"G{number}" for number in range(1, 16))
_GET = (
    "JIGSAWS is at https://cirl.lcsr.jhu.edu/research/hmm/datasets/jigsaws_release (on "
    "request). Give the folder that holds {task}/kinematics and {task}/transcriptions"
)
# Of each of the four arms, in the order of the columns.
_COLUMNS = (
    *((f"position_{axis}", "m") for axis in "xyz"),
    *((f"rotation_{row}{column}", "1") for row in "123" for column in "123"),
    *((f"velocity_{axis}", "m/s") for axis in "xyz"),
    *((f"turn_{axis}", "rad/s") for axis in "xyz"),
    ("gripper", "rad"),
)


class _Trial(NamedTuple):
    """A recording, and what is known about it."""

    kinematics: Path
    transcription: Path
    user: str
    number: int
    skill: dict[str, Any]


def load_jigsaws(
    root: str | os.PathLike[str] | None = None,
    task: Literal["Suturing", "Knot_Tying", "Needle_Passing"] = "Suturing",
    scheme: Literal["LOSO", "LOUO"] = "LOUO",
    out: int | str = 1,
    part: Literal["train", "test"] = "train",
) -> RecordingDataset:
    """Return one part of JIGSAWS; files are read when they are asked for.

    Parameters
    ----------
    root : path-like, optional
        The folder that holds those of the tasks; by default ``jigsaws`` in a data root.
    task : {"Suturing", "Knot_Tying", "Needle_Passing"}, default="Suturing"
        What was done.
    scheme : {"LOSO", "LOUO"}, default="LOUO"
        Leave one user out, or one trial number of all users (``"LOSO"``); in the
        latter, all users are in training and in the test.
    out : int or str, default=1
        Which is left out: user 1 to 8, or B to I; or trial 1 to 5.
    part : {"train", "test"}, default="train"
        The others, or what is left out.

    Returns
    -------
    RecordingDataset
        76 channels of two masters and two slaves at 30 Hz; labels are segments, and
        frames between them have none. ``meta["skill"]`` has the self-proclaimed skill
        and the scores, where the file of the task has them.

    Raises
    ------
    DatasetNotFoundError
        If the task or the part is not there.
    DataFormatError
        If a file is not understood, or a gesture unknown; the message has the line.

    Warns
    -----
    MLMethodsWarning
        If recordings have no transcription; they are left out.

    References
    ----------
    Y. Gao et al., "JHU-ISI gesture and skill assessment working set (JIGSAWS)", M2CAI
    workshop, 2014.
    """
    check_choice("task", task, _TASKS)
    check_choice("scheme", scheme, ("LOSO", "LOUO"))
    check_choice("part", part, ("train", "test"))
    base = find_root(root, ("jigsaws", "JIGSAWS"), task, _GET.format(task=task))
    trials = _trials(base / task, task)
    chosen = _left_out(scheme, out)
    kept = [
        trial
        for trial in trials
        if ((trial.user if scheme == "LOUO" else trial.number) == chosen)
        == (part == "test")
    ]
    if not kept:
        raise DatasetNotFoundError(
            f"no recording of part {part!r} with {scheme} {out} in {base / task}"
        )
    silent = [trial for trial in kept if not trial.transcription.exists()]
    if silent:
        warnings.warn(
            f"{len(silent)} recordings of {task} have no transcription and are left "
            f"out, {silent[0].kinematics.stem} among them",
            MLMethodsWarning,
            stacklevel=2,
        )
    return RecordingDataset(
        [
            LazyRecording(functools.partial(_read, trial, task), trial.user)
            for trial in kept
            if trial not in silent
        ],
        classes=_GESTURES,
        feature_names=[channel.name for channel in _channels()],
        name=f"JIGSAWS {task} {scheme} {out} {part}",
    )


def _left_out(scheme: str, out: int | str) -> str | int:
    if scheme == "LOSO":
        return check_integer("out", out, minimum=1, maximum=_TRIALS)
    if isinstance(out, str):
        check_choice("out", out, tuple(_USERS))
        return out
    return _USERS[check_integer("out", out, minimum=1, maximum=len(_USERS)) - 1]


def _trials(folder: Path, task: str) -> list[_Trial]:
    pattern = re.compile(rf"{task}_([A-Z])(\d+)")
    skills = _skills(folder / f"meta_file_{task}.txt")
    trials = []
    for path in sorted((folder / "kinematics" / "AllGestures").glob("*.txt")):
        match = pattern.fullmatch(path.stem)
        if match is None:
            raise DataFormatError(
                f"{path}: names must be like '{task}_B001.txt', with user and trial"
            )
        trials.append(
            _Trial(
                path,
                folder / "transcriptions" / path.name,
                match[1],
                int(match[2]),
                skills.get(path.stem, {}),
            )
        )
    return trials


def _skills(path: Path) -> dict[str, dict[str, Any]]:
    """Return the skill and the scores of each recording; nothing without the file."""
    if not path.exists():
        return {}
    skills = {}
    for line, text in enumerate(path.read_text("utf-8-sig").splitlines(), 1):
        fields = text.split()
        if not fields:
            continue
        try:
            scores = [int(field) for field in fields[2:]]
        except ValueError as error:
            raise DataFormatError(
                f"{path}:{line}: scores must be integers, got {text!r}"
            ) from error
        level = fields[1] if len(fields) > 1 else None
        skills[fields[0]] = {"level": level, "scores": scores}
    return skills


@functools.cache
def _channels() -> tuple[Channel, ...]:
    sides: tuple[Side, Side] = ("left", "right")
    return tuple(
        Channel(f"{arm}_{side}_{name}", "feature", unit, f"{arm}_{side}", side)
        for arm in ("master", "slave")
        for side in sides
        for name, unit in _COLUMNS
    )


def _read(trial: _Trial, task: str) -> Recording:
    channels = _channels()
    data = _numbers(trial.kinematics, len(channels))
    return Recording(
        data,
        _FS,
        channels,
        subject=trial.user,
        session=str(trial.number),
        activity=task,
        labels=_gestures(trial.transcription, len(data)),
        meta={"name": trial.kinematics.stem, "skill": trial.skill},
    )


def _numbers(path: Path, columns: int) -> NDArray:
    text = path.read_text("utf-8-sig")
    lines = [line.split() for line in text.rstrip().splitlines()]
    wrong = next((i for i, row in enumerate(lines) if len(row) != columns), None)
    if wrong is not None or not lines:
        raise DataFormatError(
            f"{path}:{(wrong or 0) + 1}: a row must have {columns} numbers, got "
            f"{len(lines[wrong]) if wrong is not None else 0}"
        )
    try:
        return np.array(lines, dtype=np.float32)
    except ValueError as error:
        raise DataFormatError(f"{path}: rows must hold numbers, {error}") from error


def _gestures(path: Path, frames: int) -> Segments:
    """Return the segments of a transcription; its frames count from 1, ends included."""
    start, end, names, lines = [], [], [], []
    for line, text in enumerate(path.read_text("utf-8-sig").splitlines(), 1):
        fields = text.split()
        if not fields:
            continue
        if len(fields) != 3 or not (fields[0].isdigit() and fields[1].isdigit()):
            raise DataFormatError(
                f"{path}:{line}: a line must be first frame, last frame and gesture, "
                f"got {text!r}"
            )
        start.append(int(fields[0]) - 1)
        end.append(int(fields[1]))
        names.append(fields[2])
        lines.append(line)
    ids = label_ids(names, _GESTURES, lambda index: f"{path}:{lines[index]}")
    if end and end[-1] > frames:
        if end[-1] > frames + _FS:
            raise DataFormatError(
                f"{path}:{lines[-1]}: labels must end with the signals, got frame "
                f"{end[-1]} of {frames}, more than a second later"
            )
        end[-1] = frames
    try:
        return Segments(np.array(start) / _FS, np.array(end) / _FS, ids, _GESTURES)
    except InvalidInputError as error:
        raise DataFormatError(f"{path}: {error}") from error
