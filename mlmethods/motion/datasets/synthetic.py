"""Synthetic recordings of primitives: signals of a simple arm, not of a person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mlmethods.common.validation import check_integer, check_real
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import NDArray
from mlmethods.motion.collection import RecordingDataset
from mlmethods.motion.recording import Channel, Recording
from mlmethods.motion.segments import Segments

__all__ = ["make_synthetic_primitives"]

_CLASSES = ("idle", "reach", "reposition", "stabilize", "transport")
_IDLE, _REACH, _REPOSITION, _STABILIZE, _TRANSPORT = range(5)
_MOVES = (_REACH, _REPOSITION, _TRANSPORT)
# What may follow what, and how often.
_NEXT = {
    _IDLE: ((_REACH, 0.7), (_REPOSITION, 0.3)),
    _REACH: ((_TRANSPORT, 0.65), (_STABILIZE, 0.35)),
    _REPOSITION: ((_IDLE, 0.5), (_REACH, 0.5)),
    _STABILIZE: ((_TRANSPORT, 0.55), (_REPOSITION, 0.45)),
    _TRANSPORT: ((_STABILIZE, 0.35), (_REPOSITION, 0.35), (_REACH, 0.3)),
}
# Roll and pitch of the hand after each movement, and before the first, rad.
_POSTURE = {
    _IDLE: (1.3, -0.3),
    _REACH: (0.2, 0.2),
    _REPOSITION: (1.2, -0.2),
    _TRANSPORT: (0.0, 0.5),
}
# A tenth is shorter than 0.4 s.
_MEDIAN, _SPREAD = 0.9, 0.633
_SHORTEST = 0.12
_GRAVITY = 9.80665
_SENSORS = (("hand", 1.0), ("forearm", 0.6))
# Accelerations beyond this (m/s2) are not those of an arm at a table.
_STRENGTH = 1.5


class _Arm(NamedTuple):
    """What makes the movements of one subject its own."""

    tremor_hz: float
    tremor: float
    slowness: float
    submovements: float
    posture: NDArray
    bias: NDArray


def make_synthetic_primitives(
    n: int,
    seed: int = 0,
    *,
    primitives: int = 30,
    subjects: int | None = None,
    impairment: float | Sequence[float] = 0.0,
    fs: float = 100.0,
) -> RecordingDataset:
    """Return SYNTHETIC recordings of the five primitives.

    The hand of one arm moves between targets along minimum-jerk paths (reach,
    transport, reposition) or stays with tremor and sway (idle, stabilize). Durations
    are log-normal with a median of 0.9 s, a tenth below 0.4 s. Sensors on hand and
    forearm of both arms see acceleration with gravity and angular velocity, with
    noise, bias and drift. They are good for tests and for trends, not for claims about
    patients.

    Parameters
    ----------
    n : int
        Recordings.
    seed : int, default=0
        Recording i depends on the seed and on i only.
    primitives : int, default=30
        Primitives of a recording.
    subjects : int, optional
        Recording i is of subject ``i % subjects``; by default each has its own. Odd
        subjects use the left arm.
    impairment : float or sequence of n floats, default=0
        From 0 to 1: slower movements of more pieces, and more tremor.
    fs : float, default=100
        Frames per second.

    Returns
    -------
    RecordingDataset
        ``meta["synthetic"]`` is True, and every repr says SYNTHETIC.

    Raises
    ------
    InvalidInputError
        If an argument is out of its range.

    References
    ----------
    T. Flash, N. Hogan, "The coordination of arm movements: an experimentally confirmed
    mathematical model", Journal of Neuroscience 5, 1985.

    Examples
    --------
    >>> from mlmethods.motion.datasets import make_synthetic_primitives
    >>> data = make_synthetic_primitives(2, seed=1, primitives=5)
    >>> data
    RecordingDataset(SYNTHETIC primitives: 2 recordings of 2 subjects, 5 classes)
    >>> len(data[0].labels), len(data.feature_names)
    (5, 25)
    """
    check_integer("n", n, minimum=1)
    check_integer("seed", seed, minimum=0)
    check_integer("primitives", primitives, minimum=1)
    count = n if subjects is None else check_integer("subjects", subjects, minimum=1)
    check_real("fs", fs, minimum=20)
    levels = np.asarray(impairment, np.float64)
    if levels.ndim > 1 or (levels.ndim == 1 and len(levels) != n):
        raise InvalidInputError(
            f"impairment must be a number or {n} of them, got the shape {levels.shape}"
        )
    if not ((levels >= 0) & (levels <= 1)).all():
        raise InvalidInputError(f"impairment must be in [0, 1], got {impairment!r}")
    levels = np.broadcast_to(levels, n)
    recordings = [
        _recording(index, index % count, seed, primitives, float(level), float(fs))
        for index, level in enumerate(levels)
    ]
    return RecordingDataset(recordings, name="SYNTHETIC primitives")


def _recording(
    index: int, subject: int, seed: int, primitives: int, impairment: float, fs: float
) -> Recording:
    arm = _arm(np.random.default_rng([seed, 0, subject]), impairment)
    rng = np.random.default_rng([seed, 1, index])
    kinds, lengths = _plan(rng, primitives, arm, fs)
    place, posture, shake = _movement(rng, kinds, lengths, arm, fs)
    T = int(lengths.sum())
    calm = np.zeros(T)
    still = _sway(rng, T, fs)
    sides = {
        "rt": (place, posture, shake),
        "lt": (0.01 * still, 0.05 * still + [1.3, -0.3, 0.0], calm),
    }
    columns, channels = [], []
    for token, side in (("lt", "left"), ("rt", "right")):
        where, angles, tremor = sides[token]
        for sensor, share in _SENSORS:
            accel, gyro = _felt(share * where, share * angles, share * tremor, fs)
            for kind, unit, values in (
                ("accel", "m/s2", accel),
                ("gyro", "rad/s", gyro),
            ):
                columns.append(values)
                channels += [
                    Channel(f"{sensor}_{kind}_{axis}_{token}", kind, unit, sensor, side)  # type: ignore[arg-type]
                    for axis in "xyz"
                ]
    signals = np.concatenate(columns, axis=1)
    signals += _errors(rng, T, channels, fs, arm)
    channels.append(Channel("side", "side", "1"))
    data = np.column_stack([signals, np.ones(T)]).astype(np.float32)
    recording = Recording(
        data,
        fs,
        tuple(channels),
        subject=f"synthetic-{subject}",
        session=str(index),
        activity="synthetic",
        side="right",
        labels=Segments.from_frames(np.repeat(kinds, lengths), fs, _CLASSES),
        meta={
            "name": f"synthetic-{index}",
            "synthetic": True,
            "impairment": impairment,
        },
    )
    if subject % 2 == 0:
        return recording
    from mlmethods.motion.mirror import mirror_side

    mirrored = mirror_side(recording)
    return mirrored.replace(meta=recording.meta)


def _arm(rng: np.random.Generator, impairment: float) -> _Arm:
    return _Arm(
        tremor_hz=rng.uniform(5.0, 8.0),
        tremor=0.1 + 0.6 * impairment,
        slowness=(1 + impairment) * rng.uniform(0.9, 1.1),
        submovements=3 * impairment,
        posture=rng.normal(0.0, 0.1, 3),
        bias=rng.normal(0.0, 1.0, 24),
    )


def _plan(
    rng: np.random.Generator, count: int, arm: _Arm, fs: float
) -> tuple[NDArray, NDArray]:
    """Return the primitives in order, and how many frames each lasts."""
    kind, kinds = _IDLE, []
    for _ in range(count):
        kinds.append(kind)
        options, weights = zip(*_NEXT[kind], strict=True)
        kind = int(rng.choice(options, p=weights))
    seconds = _MEDIAN * np.exp(_SPREAD * rng.standard_normal(count))
    slower = np.where(np.isin(kinds, _MOVES), arm.slowness, 1.0)
    lengths = np.round(np.maximum(seconds * slower, _SHORTEST) * fs)
    return np.array(kinds, np.int32), lengths.astype(np.int64)


def _movement(
    rng: np.random.Generator, kinds: NDArray, lengths: NDArray, arm: _Arm, fs: float
) -> tuple[NDArray, NDArray, NDArray]:
    """Return positions (m) and angles (rad) of the hand, [T, 3], and its tremor [T]."""
    place = np.array([0.25, -0.2, 0.0])
    angles = np.array([*_POSTURE[_IDLE], 0.0]) + arm.posture
    places, postures, shakes = [], [], []
    for kind, length in zip(kinds, lengths, strict=True):
        seconds = length / fs
        profile = _path(rng, length, arm) if kind in _MOVES else _rise(length)
        target = place
        if kind in _MOVES:
            # Repositioning ends near the body, the others at an object.
            near = kind == _REPOSITION
            target = rng.uniform(
                [0.15 if near else 0.3, -0.4, -0.05],
                [0.3 if near else 0.6, 0.2, 0.05 if near else 0.35],
            )
            reach = np.linalg.norm(target - place)
            most = _STRENGTH * seconds**2 / 5.8 + 0.02
            target = place + (target - place) * min(1.0, most / reach)
        # A hand that stays keeps the posture that it came with.
        final = angles + rng.normal(0.0, 0.02, 3)
        if kind in _MOVES:
            final = np.array([*_POSTURE[int(kind)], 0.0]) + arm.posture
            final = final + rng.normal(0.0, 0.15, 3)
        turned = angles + (final - angles) * min(1.0, 2 * seconds)
        places.append(place + profile[:, None] * (target - place))
        postures.append(angles + _rise(length)[:, None] * (turned - angles))
        holds = kind in (_STABILIZE, _TRANSPORT)
        shakes.append(np.full(length, arm.tremor * (2.0 if holds else 1.0)))
        place, angles = target, turned
    T = int(lengths.sum())
    still = _sway(rng, T, fs)
    phase = rng.uniform(0, 2 * np.pi)
    time = np.arange(T) / fs
    shake = np.concatenate(shakes) * np.sin(2 * np.pi * arm.tremor_hz * time + phase)
    return (
        np.concatenate(places) + 0.005 * still,
        np.concatenate(postures) + 0.03 * still,
        shake,
    )


def _rise(length: int) -> NDArray:
    """Return the minimum-jerk profile from 0 to 1."""
    t = (np.arange(length) + 0.5) / length
    return t**3 * (10 - 15 * t + 6 * t**2)


def _path(rng: np.random.Generator, length: int, arm: _Arm) -> NDArray:
    """Return a profile from 0 to 1 in one movement, or in several that overlap."""
    pieces = 1 + int(rng.poisson(arm.submovements))
    if pieces == 1 or length < 8 * pieces:
        return _rise(length)
    weights = rng.dirichlet(np.full(pieces, 4.0))
    starts = np.linspace(0.0, 1 - 1.3 / pieces, pieces)
    t = (np.arange(length) + 0.5) / length
    each = np.clip((t[:, None] - starts) / (1.3 / pieces), 0.0, 1.0)
    return (each**3 * (10 - 15 * each + 6 * each**2)) @ weights


def _sway(rng: np.random.Generator, T: int, fs: float) -> NDArray:
    """Return slow oscillations of size 1, [T, 3]."""
    hz, phase = rng.uniform(0.15, 0.5, (3, 3)), rng.uniform(0, 2 * np.pi, (3, 3))
    time = np.arange(T)[:, None, None] / fs
    return np.sin(2 * np.pi * hz * time + phase).mean(axis=1)


def _felt(
    place: NDArray, angles: NDArray, tremor: NDArray, fs: float
) -> tuple[NDArray, NDArray]:
    """Return what a sensor feels: acceleration with gravity, and angular velocity."""
    from scipy.spatial.transform import Rotation

    moving = np.gradient(np.gradient(place, 1 / fs, axis=0), 1 / fs, axis=0)
    moving = moving + tremor[:, None] * np.array([0.3, 1.0, 0.6])
    turn = Rotation.from_euler("xyz", angles)
    accel = turn.inv().apply(moving + np.array([0.0, 0.0, _GRAVITY]))
    step = (turn[:-1].inv() * turn[1:]).as_rotvec() * fs
    gyro = np.concatenate([step, step[-1:]]) if len(step) else np.zeros((1, 3))
    # A tremor turns the hand a little as well.
    return accel, gyro + tremor[:, None] * np.array([0.3, 0.05, 0.1])


def _errors(
    rng: np.random.Generator, T: int, channels: list[Channel], fs: float, arm: _Arm
) -> NDArray:
    """Return noise, bias and drift of the sensors, [T, D]."""
    size = np.array([0.05 if c.kind == "accel" else 0.01 for c in channels])
    noise = rng.standard_normal((T, len(channels)))
    drift = np.cumsum(rng.standard_normal((T, len(channels))), axis=0)
    return size * (noise + 2 * arm.bias + 0.05 * drift / np.sqrt(fs))
