"""Units of sensor channels: names, factors, and what signals at rest say of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from mlmethods.interfaces import NDArray
from mlmethods.motion.recording import Channel

__all__ = [
    "GRAVITY",
    "SI",
    "factor",
    "guess_acceleration",
    "guess_angle",
    "guess_rotation",
    "known_unit",
    "rest_norm",
    "sensor_groups",
    "still_norm",
]

GRAVITY = 9.80665
"""Standard gravity in m/s2."""

SI = {"accel": "m/s2", "gyro": "rad/s", "angle": "deg", "quat": "1"}
"""Unit of each kind of channel in a recording; other kinds keep theirs."""

_DEGREE = math.pi / 180
_FACTORS: dict[str, dict[str, float]] = {
    "accel": {"m/s2": 1.0, "g": GRAVITY, "mg": GRAVITY / 1000, "cm/s2": 0.01},
    "gyro": {"rad/s": 1.0, "deg/s": _DEGREE, "mdeg/s": _DEGREE / 1000},
    "angle": {"deg": 1.0, "rad": 1 / _DEGREE},
    "quat": {"1": 1.0},
}
_ALIASES = {
    "accel": {
        "m/s2": "m/s2|m/s^2|m/s**2|m/s/s|ms2|ms-2|ms^-2|m.s-2|m s-2|mps2|m/sec2|m/sec^2",
        "g": "g|gn|gs|g0",
        "mg": "mg|milli-g|millig",
        "cm/s2": "cm/s2|cm/s^2",
    },
    "gyro": {
        "rad/s": "rad/s|rads|rad/sec|rad s-1|rad.s-1|radps|rps",
        "deg/s": "deg/s|degs|deg/sec|dps|degree/s|degrees/s|degps|deg s-1|deg.s-1",
        "mdeg/s": "mdps|mdeg/s",
    },
    "angle": {"deg": "deg|degree|degrees", "rad": "rad|radian|radians"},
    "quat": {"1": "1|n/a|a.u.|au|-|unitless|none"},
}
_KNOWN = {
    kind: {alias: unit for unit, names in units.items() for alias in names.split("|")}
    for kind, units in _ALIASES.items()
}

# Medians of the norm at rest, in units that sensors report in, and their tolerance.
_AT_REST = {"g": 1.0, "m/s2": GRAVITY, "mg": 1000.0}
_REST_TOLERANCE = 0.15
_STILL = 0.05
# Arms turn at 1 to 20 rad/s when they move, which is 60 deg/s and more.
_RAD_PER_SECOND = (0.5, 20.0)
_DEG_PER_SECOND = 60.0
# No joint turns by more than a full circle.
_RADIANS = 6.5


def known_unit(kind: str, unit: str) -> str | None:
    """Return the plain name of a unit of a kind of channel, or None.

    Case, spaces, the degree sign and superscripts do not matter. A kind without units
    of its own keeps whatever it has.
    """
    text = unit.strip().lower()
    if kind not in _KNOWN:
        return unit.strip()
    for sign, plain in (("°", "deg"), ("²", "2"), ("^2", "2"), ("·", " "), ("μ", "u")):
        text = text.replace(sign, plain)
    return _KNOWN[kind].get(text)


def factor(kind: str, unit: str) -> float:
    """Return what values in a plain unit are multiplied by."""
    return _FACTORS[kind][unit] if kind in _FACTORS else 1.0


def sensor_groups(
    channels: Sequence[Channel], kind: str
) -> dict[tuple[str, str], list[int]]:
    """Return the columns of each sensor that has channels of a kind."""
    groups: dict[tuple[str, str], list[int]] = {}
    for column, channel in enumerate(channels):
        if channel.kind == kind:
            key = (channel.sensor or "", channel.side or "")
            groups.setdefault(key, []).append(column)
    return groups


def rest_norm(vectors: NDArray, fs: float) -> float:
    """Return the median length of vectors [T, 3] while they change least.

    The quietest fifth of all half seconds counts as rest. NaN if nothing is finite.
    """
    norm = np.sqrt(np.sum(np.square(vectors, dtype=np.float64), axis=1))
    norm = norm[np.isfinite(norm)]
    if not len(norm):
        return math.nan
    size = max(min(int(fs / 2), len(norm)), 1)
    pieces = norm[: len(norm) // size * size].reshape(-1, size)
    spread = pieces.std(axis=1)
    return float(np.median(pieces[spread <= np.quantile(spread, 0.2)]))


def still_norm(vectors: NDArray, fs: float) -> float:
    """Return the median length of accelerations [T, 3] in m/s2 while nothing moves.

    NaN if they change by more than a twentieth of gravity in every half second.
    """
    size = max(int(fs / 2), 1)
    pieces = vectors[: len(vectors) // size * size].reshape(-1, size, 3)
    pieces = pieces[np.isfinite(pieces).all(axis=(1, 2))].astype(np.float64)
    spread = np.sqrt(pieces.var(axis=1).sum(axis=1))
    still = pieces[spread < _STILL * GRAVITY]
    return float(np.median(np.linalg.norm(still, axis=2))) if len(still) else math.nan


def guess_acceleration(norms: Iterable[float]) -> str | None:
    """Return the unit in which norms at rest are gravity, or None if it is unclear.

    Norms that fit no unit are left out, as of a sensor that was lost; two units among
    the rest are unclear.
    """
    units = {
        unit
        for norm in norms
        for unit, gravity in _AT_REST.items()
        if abs(norm / gravity - 1) <= _REST_TOLERANCE
    }
    return units.pop() if len(units) == 1 else None


def guess_rotation(values: NDArray) -> str | None:
    """Return the unit of angular velocities of a moving arm, or None if unclear."""
    size = np.abs(values[np.isfinite(values)])
    if not len(size):
        return None
    high = float(np.quantile(size, 0.999))
    if high >= _DEG_PER_SECOND:
        return "deg/s"
    low, most = _RAD_PER_SECOND
    return "rad/s" if low <= high <= most else None


def guess_angle(values: NDArray) -> str | None:
    """Return "deg" where angles exceed a full circle in radians, else None."""
    size = np.abs(values[np.isfinite(values)])
    return "deg" if len(size) and float(size.max()) > _RADIANS else None
