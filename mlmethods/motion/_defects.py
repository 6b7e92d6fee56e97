"""What is wrong with sensor signals: each search marks samples as missing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from mlmethods.interfaces import NDArray
from mlmethods.motion._units import GRAVITY, sensor_groups, still_norm
from mlmethods.motion.recording import Channel, QualityEntry

__all__ = [
    "continue_signs",
    "find_flat",
    "find_implausible",
    "find_not_finite",
    "find_saturation",
    "find_wrong_norms",
    "full_quaternions",
    "gravity_entries",
    "runs",
]

# A sensor that works does not repeat a value for longer, in seconds.
_FLAT = 0.5
# Channels that repeat more than this share of their samples anyway are not judged.
_REPEATS = 0.2
# Nor those whose usual steps are below this many of their smallest steps.
_RESOLUTION = 3.0
# Absolute values that no sensor or joint reaches.
_IMPLAUSIBLE = {"accel": 32 * GRAVITY, "gyro": 80.0, "angle": 720.0}
# Limits of ranges are above these values, and are reached for this many samples.
_RANGES = {"accel": 1.9 * GRAVITY, "gyro": math.radians(120.0)}
_AT_LIMIT = 3
_WRONG_NORM, _INEXACT_NORM = 0.1, 1e-3
_REST_TOLERANCE = 0.15


def runs(mask: NDArray) -> list[tuple[int, int]]:
    """Return first and last + 1 of every run of True in a bool array [T]."""
    edges = np.flatnonzero(np.diff(mask.astype(np.int8), prepend=0, append=0))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def full_quaternions(channels: Sequence[Channel]) -> list[list[int]]:
    """Return the columns of every quaternion that has all four components."""
    groups = sensor_groups(channels, "quat").values()
    return [group for group in groups if len(group) == 4]


def find_not_finite(
    data: NDArray, channels: Sequence[Channel], fs: float
) -> list[QualityEntry]:
    """Mark infinite values as missing."""
    if not np.isinf(data).any():
        return []
    return _marked(data, channels, np.isinf(data), "infinite value", fs)


def find_implausible(
    data: NDArray, channels: Sequence[Channel], fs: float
) -> list[QualityEntry]:
    """Mark values that no sensor or joint reaches as missing."""
    limits = np.array([_IMPLAUSIBLE.get(x.kind, math.inf) for x in channels])
    with np.errstate(invalid="ignore"):
        wrong = np.abs(data) > limits.astype(np.float32)
    return (
        _marked(data, channels, wrong, "implausible value", fs) if wrong.any() else []
    )


def find_saturation(
    data: NDArray, channels: Sequence[Channel], fs: float
) -> list[QualityEntry]:
    """Return where signals stay at the limit of their range; they are kept."""
    entries = []
    for column, channel in enumerate(channels):
        least = _RANGES.get(channel.kind)
        values = data[:, column]
        if least is None or not np.isfinite(values).any():
            continue
        for limit in (np.nanmin(values), np.nanmax(values)):
            if abs(limit) < least:
                continue
            entries += [
                QualityEntry(channel.name, "saturated", a / fs, b / fs, "kept")
                for a, b in runs(values == limit)
                if b - a >= _AT_LIMIT
            ]
    return entries


def find_flat(
    data: NDArray, channels: Sequence[Channel], fs: float
) -> list[QualityEntry]:
    """Mark stretches in which a sensor repeats one value as missing.

    Accelerations and angular velocities are judged one by one, the components of a
    quaternion together, and all joint angles together, as a joint may rest. Coarse
    signals repeat values at rest, and are not judged. A signal that is constant from
    beginning to end is kept.
    """
    entries = []
    for columns in _judged(channels):
        values = data[:, columns]
        same = (values[1:] == values[:-1]).all(axis=1)
        if len(same) and same.all():
            entries += _entries(columns, channels, [(0, len(data))], "flat", fs, "kept")
            continue
        # Samples a..b are equal where the steps a..b-1 are.
        found = [(a, b + 1) for a, b in runs(same) if b + 1 - a > _FLAT * fs]
        steps = np.ones(len(same), bool)
        for a, b in found:
            steps[a : b - 1] = False
        if not found or (steps.any() and same[steps].mean() > _REPEATS):
            continue
        if not any(_is_fine(values[:, j]) for j in range(len(columns))):
            continue
        for a, b in found:
            data[a:b, columns] = np.nan
        entries += _entries(columns, channels, found, "flat", fs, "taken as missing")
    return entries


def find_wrong_norms(
    data: NDArray, channels: Sequence[Channel], fs: float
) -> list[QualityEntry]:
    """Mark quaternions without unit norm as missing, and scale those that are near."""
    entries = []
    for columns in sensor_groups(channels, "quat").values():
        norm = np.sqrt(np.sum(np.square(data[:, columns], dtype=np.float64), axis=1))
        known = np.isfinite(norm)
        # A part of a unit vector is not longer than one.
        off = np.abs(norm - 1) if len(columns) == 4 else np.maximum(norm - 1, 0)
        wrong = known & (off > _WRONG_NORM)
        inexact = known & ~wrong & (off > _INEXACT_NORM)
        data[np.ix_(wrong, columns)] = np.nan
        name = "norm of quaternion"
        entries += _entries(
            columns, channels, runs(wrong), name, fs, "taken as missing"
        )
        if len(columns) == 4 and inexact.any():
            data[np.ix_(inexact, columns)] /= norm[inexact, None].astype(np.float32)
            entries += _entries(
                columns, channels, runs(inexact), name, fs, "renormalized"
            )
    return entries


def continue_signs(
    data: NDArray, channels: Sequence[Channel], fs: float
) -> list[QualityEntry]:
    """Turn the signs of quaternions so that they do not jump."""
    entries = []
    for columns in full_quaternions(channels):
        known = np.flatnonzero(np.isfinite(data[:, columns]).all(axis=1))
        values = data[known[:, None], columns]
        flips = np.sum(values[1:] * values[:-1], axis=1) < 0
        if not flips.any():
            continue
        negative = np.concatenate([[False], np.cumsum(flips) % 2 == 1])
        data[known[negative][:, None], columns] *= -1
        places = known[1:][flips]
        entries += _entries(
            columns,
            channels,
            [(int(places[0]), int(places[-1]) + 1)],
            "sign of quaternion",
            fs,
            "made continuous",
        )
    return entries


def gravity_entries(
    data: NDArray, channels: Sequence[Channel], fs: float
) -> list[QualityEntry]:
    """Return the accelerations whose norm at rest is not gravity; they are kept."""
    entries = []
    for columns in sensor_groups(channels, "accel").values():
        free = any("free" in channels[j].name.lower() for j in columns)
        if len(columns) != 3 or free:
            continue
        norm = still_norm(data[:, columns], fs)
        if math.isfinite(norm) and abs(norm / GRAVITY - 1) > _REST_TOLERANCE:
            issue = f"{norm:.3g} m/s2 at rest"
            entries += _entries(columns, channels, [(0, len(data))], issue, fs, "kept")
    return entries


def _is_fine(values: NDArray) -> bool:
    """Return whether a signal has steps well above its resolution."""
    steps = np.abs(np.diff(values))
    steps = steps[steps > 0]
    return bool(len(steps)) and np.median(steps) > _RESOLUTION * steps.min()


def _judged(channels: Sequence[Channel]) -> list[list[int]]:
    single = [[j] for j, x in enumerate(channels) if x.kind in ("accel", "gyro")]
    angles = [j for j, x in enumerate(channels) if x.kind == "angle"]
    turning = list(sensor_groups(channels, "quat").values())
    return [*single, *turning, *([angles] if angles else [])]


def _marked(
    data: NDArray, channels: Sequence[Channel], wrong: NDArray, issue: str, fs: float
) -> list[QualityEntry]:
    entries = []
    for column in np.flatnonzero(wrong.any(axis=0)).tolist():
        entries += _entries(
            [column], channels, runs(wrong[:, column]), issue, fs, "taken as missing"
        )
    data[wrong] = np.nan
    return entries


def _entries(
    columns: Sequence[int],
    channels: Sequence[Channel],
    spans: Iterable[tuple[int, int]],
    issue: str,
    fs: float,
    action: str,
) -> list[QualityEntry]:
    return [
        QualityEntry(channels[column].name, issue, a / fs, b / fs, action)
        for a, b in spans
        for column in columns
    ]
