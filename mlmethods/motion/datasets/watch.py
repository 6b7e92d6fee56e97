"""Shoulder exercises recorded with a watch, and sessions composed of them."""

from __future__ import annotations

import functools
import importlib.util
import itertools
from typing import Any

import numpy as np

from mlmethods.common.validation import check_integer
from mlmethods.errors import DatasetNotFoundError
from mlmethods.interfaces import NDArray
from mlmethods.motion.collection import RecordingDataset
from mlmethods.motion.recording import Channel, Recording, Side
from mlmethods.motion.segments import Segments

__all__ = ["load_watch", "make_watch_sessions"]

_FS = 50.0
_GRAVITY = 9.80665
# Seconds of a bout; from the shortest to the longest.
_BOUT = (1.0, 6.0)


def load_watch() -> RecordingDataset:
    """Return the 140 recordings of shoulder exercises of the package seglearn.

    Ten volunteers did seven exercises with each arm, a set of 20 repetitions each, with
    a watch on the wrist: acceleration (m/s2) and angular velocity (rad/s) at 50 Hz. The
    label of a recording is its exercise, over its whole length.

    Returns
    -------
    RecordingDataset
        ``meta["repetitions"]`` of each recording is 20.

    Raises
    ------
    DatasetNotFoundError
        If seglearn is not installed.

    See Also
    --------
    make_watch_sessions : Sessions in which the exercises change every few seconds.

    References
    ----------
    D. M. Burns et al., "Shoulder physiotherapy exercise recognition: machine learning
    the inertial signals from a smartwatch", Physiological Measurement 39, 2018.

    Examples
    --------
    >>> from mlmethods.motion.datasets import load_watch
    >>> data = load_watch()
    >>> len(data), data.classes, data.feature_names
    (140, ('PEN', 'ABD', 'FEL', 'IR', 'ER', 'TRAP', 'ROW'), ['ax', 'ay', 'az', 'wx', 'wy', 'wz'])
    """
    signals, exercises, subjects, sides, channels, classes = _watch()
    recordings = []
    for data, exercise, subject, side in zip(
        signals, exercises, subjects, sides, strict=True
    ):
        duration = len(data) / _FS
        recordings.append(
            Recording(
                data,
                _FS,
                channels,
                subject=str(subject),
                activity=classes[exercise],
                side=side,
                labels=Segments([0.0], [duration], [exercise], classes),  # type: ignore[arg-type]
                meta={
                    "name": f"watch {subject} {side} {classes[exercise]}",
                    "repetitions": 20,
                },
            )
        )
    return RecordingDataset(recordings, name="watch")


def make_watch_sessions(
    seed: int = 0, bouts: int = 14, sessions: int = 4
) -> RecordingDataset:
    """Return sessions of real signals in composed order.

    The recordings of :func:`load_watch` are cut and joined: a session is a sequence of
    bouts of one arm of one volunteer, each of another exercise than the one before, 1
    to 6 seconds long, from a random place of that recording. Signals are real, their
    order is composed, and so are the jumps between bouts. It stands in for data of
    stroke patients where those are not at hand.

    Parameters
    ----------
    seed : int, default=0
        Of all choices. Those for one session do not depend on the other arguments.
    bouts : int, default=14
        Bouts of a session.
    sessions : int, default=4
        Sessions of each arm of each volunteer.

    Returns
    -------
    RecordingDataset
        ``20 * sessions`` recordings with a label for each frame.

    Raises
    ------
    DatasetNotFoundError
        If seglearn is not installed.

    Examples
    --------
    >>> from mlmethods.motion.datasets import make_watch_sessions
    >>> data = make_watch_sessions(sessions=1)
    >>> len(data), len(data[0].labels)
    (20, 14)
    """
    check_integer("seed", seed, minimum=0)
    check_integer("bouts", bouts, minimum=1)
    check_integer("sessions", sessions, minimum=1)
    signals, exercises, subjects, sides, channels, classes = _watch()
    source = {
        (subject, side, exercise): data
        for data, exercise, subject, side in zip(
            signals, exercises, subjects, sides, strict=True
        )
    }
    both: tuple[Side, Side] = ("left", "right")
    recordings = []
    for subject, right, session in itertools.product(
        sorted(set(subjects)), (0, 1), range(sessions)
    ):
        side = both[right]
        rng = np.random.default_rng([seed, subject, right, session])
        own = [source[subject, side, exercise] for exercise in range(len(classes))]
        data, labels = _compose(rng, own, bouts)
        recordings.append(
            Recording(
                data,
                _FS,
                channels,
                subject=str(subject),
                session=str(session + 1),
                activity="composed",
                side=side,
                labels=Segments.from_frames(labels, _FS, classes),
                meta={
                    "name": f"watch {subject} {side} session {session + 1}",
                    "composed": True,
                },
            )
        )
    return RecordingDataset(
        recordings, name="watch sessions (real signals in composed order)"
    )


def _compose(
    rng: np.random.Generator, exercises: list[NDArray], bouts: int
) -> tuple[NDArray, NDArray]:
    """Return the signals and the labels of bouts of these exercises."""
    pieces, labels = [], []
    last = -1
    for _ in range(bouts):
        last = int(rng.choice([k for k in range(len(exercises)) if k != last]))
        data = exercises[last]
        length = min(round(rng.uniform(*_BOUT) * _FS), len(data))
        first = int(rng.integers(len(data) - length + 1))
        pieces.append(data[first : first + length])
        labels.append(np.full(length, last, np.int32))
    return np.concatenate(pieces), np.concatenate(labels)


@functools.cache
def _watch() -> tuple[
    list[NDArray],
    list[int],
    list[int],
    list[Side],
    tuple[Channel, ...],
    tuple[str, ...],
]:
    if importlib.util.find_spec("seglearn") is None:
        raise DatasetNotFoundError(
            "the watch recordings are in the package seglearn, which is not "
            "installed: pip install seglearn==1.2.5"
        )
    # Its own reader: the file is a pickle, which only its package should open.
    from seglearn.datasets import load_watch as read

    stored: dict[str, Any] = read()
    scale = np.where([name.startswith("a") for name in stored["X_labels"]], _GRAVITY, 1)
    signals = []
    for X in stored["X"]:
        data = (np.asarray(X, np.float64) * scale).astype(np.float32)
        data.flags.writeable = False
        signals.append(data)
    channels = tuple(
        Channel(name, "accel", "m/s2", sensor="wrist")
        if name.startswith("a")
        else Channel(name, "gyro", "rad/s", sensor="wrist")
        for name in stored["X_labels"]
    )
    sides: list[Side] = ["right" if side else "left" for side in stored["side"]]
    return (
        signals,
        [int(k) for k in stored["y"]],
        [int(subject) for subject in stored["subject"]],
        sides,
        channels,
        tuple(stored["y_labels"]),
    )
