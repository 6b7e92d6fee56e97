"""Time stamps: their unit, the rate, and whether they are uniform."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mlmethods.errors import DataFormatError
from mlmethods.interfaces import NDArray
from mlmethods.motion.recording import QualityEntry

__all__ = ["MINIMUM_RATE", "TOLERANCE", "TimeAxis", "time_axis"]

MINIMUM_RATE = 40.0
"""Hertz below which motions of less than a second cannot be told apart."""

_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
# Rates of sensors; the ranges of two units do not overlap.
_RATES = (10.0, 5000.0)
TOLERANCE = 0.1
"""Stamps within this share of a period of their grid count as uniform."""

# Stamps whose steps differ by a larger share from a given rate are not believed.
_AGREEMENT = 0.1


class TimeAxis(NamedTuple):
    """When the frames of a recording were taken.

    Attributes
    ----------
    fs : float
        Frames per second.
    time : float64 array of shape (T,) or None
        Seconds from the earliest frame, in the order of the file; None if uniform.
    quality : list of QualityEntry
        What had to be assumed.
    origin : float
        Earliest stamp in seconds.
    """

    fs: float
    time: NDArray | None
    quality: list[QualityEntry]
    origin: float = 0.0


def time_axis(
    stamps: NDArray, unit: str | None, fs: float | None, where: str
) -> TimeAxis:
    """Return the rate that time stamps say, and the stamps unless they are uniform.

    Parameters
    ----------
    stamps : float64 array of shape (T,)
        As in the file, finite.
    unit : {"s", "ms", "us", "ns", "index"} or None
        None tells it from the steps.
    fs : float or None
        Frames per second, if known.
    where : str
        File and column, for messages.

    Raises
    ------
    DataFormatError
        If the rate cannot be told, or is too low to be one of motion sensors.
    """
    steps = np.diff(stamps)
    steps = steps[steps > 0]
    if not len(steps):
        if fs is None:
            raise DataFormatError(
                f"{where} must hold increasing time stamps; give fs= if there are none"
            )
        return TimeAxis(fs, None, [])
    step = float(np.median(steps))
    known = unit or _unit(step, fs)
    told = None if known is None or known == "index" else step * _SECONDS[known]
    if fs is not None and (
        known is None or (told is not None and abs(told * fs - 1) > _AGREEMENT)
    ):
        entry = QualityEntry(
            "*", "time stamps disagree with fs", 0.0, len(stamps) / fs, "ignored"
        )
        return TimeAxis(fs, None, [entry])
    if known is None or (known == "index" and fs is None):
        raise DataFormatError(
            f"{where} has steps of {step:g}, which do not tell the rate; give fs=, or "
            "time_unit in a column map"
        )
    second = 1 / fs if known == "index" and fs is not None else _SECONDS[known]
    origin = float(stamps.min()) * second
    time = (stamps - stamps.min()) * second
    near = steps[(steps > 0.5 * step) & (steps < 1.5 * step)]
    rate = 1 / (float(near.mean()) * second)
    if fs is None and rate < MINIMUM_RATE * (1 - 1e-3):
        raise DataFormatError(
            f"{where} gives {rate:.4g} Hz if it is in {known}, and at least "
            f"{MINIMUM_RATE:g} Hz are needed to tell motions of less than a second; "
            "give fs= if the rate is another one"
        )
    candidates = [float(round(rate)), rate] if round(rate) else [rate]
    candidates = candidates if fs is None else [fs, *candidates]
    grid = np.arange(len(time))
    for candidate in candidates:
        if np.abs(stamps[0] * second - stamps * second + grid / candidate).max() <= (
            TOLERANCE / candidate
        ):
            return TimeAxis(candidate, None, [], origin)
    nominal = next((x for x in candidates if abs(x / rate - 1) < 5e-3), rate)
    return TimeAxis(nominal, time, [], origin)


def _unit(step: float, fs: float | None) -> str | None:
    """Return the unit in which a step is plausible, or None."""
    if fs is not None:
        if step == 1.0:
            return "index"
        fits = [
            name
            for name, unit in _SECONDS.items()
            if abs(step * unit * fs - 1) <= _AGREEMENT
        ]
        return fits[0] if fits else None
    # A step of one may be a millisecond as well as a count.
    if step == 1.0:
        return None
    low, high = _RATES
    return next(
        (
            name
            for name, unit in _SECONDS.items()
            if 1 / high <= step * unit * (1 + 1e-9) and step * unit < 1 / low
        ),
        None,
    )
