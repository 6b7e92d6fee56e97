"""Missing samples: which are filled, and which are too many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mlmethods.interfaces import NDArray
from mlmethods.motion._defects import full_quaternions, runs
from mlmethods.motion._resampling import slerp
from mlmethods.motion.recording import Channel, QualityEntry

__all__ = ["Gaps", "fill_gaps"]

# Steps of stamps above this many periods miss a sample.
_MISSED = 1.5
_ROUNDING = 1e-9


class Gaps(NamedTuple):
    """Signals without missing samples, and where they are not to be trusted.

    Attributes
    ----------
    data : float32 array of shape (T, D)
        Finite.
    bad : bool array of shape (T,)
        Frames in long gaps of any channel.
    breaks : list of (float, float)
        Times of the samples around long gaps of the time stamps.
    quality : list of QualityEntry
        Gaps in channels, in seconds of uniform frames.
    stamps : list of QualityEntry
        Gaps in the time stamps, in their seconds.
    """

    data: NDArray
    bad: NDArray
    breaks: list[tuple[float, float]]
    quality: list[QualityEntry]
    stamps: list[QualityEntry]


def fill_gaps(
    data: NDArray,
    channels: Sequence[Channel],
    seconds: NDArray | None,
    fs: float,
    max_gap: float,
    on_long_gap: str,
) -> Gaps:
    """Fill missing samples on lines, or arcs for quaternions, and mark long gaps.

    Parameters
    ----------
    data : float32 array of shape (T, D)
        NaN where there is no value; returned itself if there is none.
    channels : sequence of Channel
        Of the columns.
    seconds : float64 array of shape (T,) or None
        Time stamps, increasing, unless they are uniform.
    fs : float
        Frames per second.
    max_gap : float
        Seconds that may be filled.
    on_long_gap : {"split", "mask"}
        What is said of longer ones.
    """
    times = np.arange(len(data)) / fs if seconds is None else seconds
    long = "split" if on_long_gap == "split" else "masked"
    bad = np.zeros(len(data), bool)
    quality: list[QualityEntry] = []
    missing = np.isnan(data)
    if missing.any():
        data = np.array(data)
        together = full_quaternions(channels)
        single = {j for columns in together for j in columns}
        groups = [*together, *([j] for j in range(len(channels)) if j not in single)]
        for columns in groups:
            empty = missing[:, columns].any(axis=1)
            if not empty.any():
                continue
            _fill(data, columns, times, empty)
            for first, last in runs(empty):
                is_long = _length(times, first, last, fs) > max_gap + _ROUNDING
                bad[first:last] |= is_long
                quality += [
                    QualityEntry(
                        channels[j].name,
                        "missing values",
                        first / fs,
                        last / fs,
                        long if is_long else "interpolated",
                    )
                    for j in columns
                ]
    breaks, stamps = (
        _breaks(times, fs, max_gap, long) if seconds is not None else ([], [])
    )
    return Gaps(data, bad, breaks, quality, stamps)


def _fill(data: NDArray, columns: list[int], times: NDArray, empty: NDArray) -> None:
    known, gone = np.flatnonzero(~empty), np.flatnonzero(empty)
    if len(columns) == 4 and len(known):
        rotations = data[known[:, None], columns]
        data[gone[:, None], columns] = slerp(times[known], rotations, times[gone])
        return
    # Components that are never there together are taken one by one.
    for column in columns:
        gone = np.flatnonzero(np.isnan(data[:, column]))
        known = np.flatnonzero(np.isfinite(data[:, column]))
        data[gone, column] = np.interp(times[gone], times[known], data[known, column])


def _length(times: NDArray, first: int, last: int, fs: float) -> float:
    """Return for how long there is no value; n missing uniform samples are n / fs."""
    if first == 0 or last == len(times):
        # One side is open, or both.
        return float(times[last - 1] - times[first]) + 1 / fs
    return float(times[last] - times[first - 1]) - 1 / fs


def _breaks(
    times: NDArray, fs: float, max_gap: float, long: str
) -> tuple[list[tuple[float, float]], list[QualityEntry]]:
    steps = np.diff(times)
    breaks, entries = [], []
    for index in np.flatnonzero(steps > _MISSED / fs).tolist():
        start, end = float(times[index]), float(times[index + 1])
        is_long = end - start - 1 / fs > max_gap + _ROUNDING
        if is_long:
            breaks.append((start, end))
        entries.append(
            QualityEntry(
                "*",
                "missing samples",
                start + 1 / fs,
                end,
                long if is_long else "interpolated",
            )
        )
    return breaks, entries
