"""Signals at another rate: polyphase filters, lines between samples, and slerp."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from mlmethods.interfaces import NDArray

__all__ = ["at_times", "resample", "slerp"]

# The filter passes up to this share of the lower Nyquist frequency, and stops there.
_PASS = 0.8
_STOP_DB = 80.0
_MAX_FACTOR = 1000
# Below this angle between two quaternions a line is as good as an arc.
_SMALL = 1e-4


def slerp(times: NDArray, quaternions: NDArray, wanted: NDArray) -> NDArray:
    """Return rotations between given ones, at constant angular velocity.

    Parameters
    ----------
    times : float64 array of shape (T,)
        Increasing.
    quaternions : array of shape (T, 4)
        Of unit norm; the order of the components does not matter.
    wanted : float64 array of shape (N,)
        Times; before the first and after the last one the rotation stands still.

    Returns
    -------
    float64 array of shape (N, 4)
        Of unit norm.
    """
    rotations = np.asarray(quaternions, np.float64)
    rotations = rotations / np.linalg.norm(rotations, axis=1, keepdims=True)
    low, share = _between(times, wanted)
    first, second = rotations[low], rotations[np.minimum(low + 1, len(times) - 1)]
    dot = np.sum(first * second, axis=1, keepdims=True)
    # The shorter of the two arcs.
    second = np.where(dot < 0, -second, second)
    angle = np.arccos(np.clip(np.abs(dot), 0.0, 1.0))
    near = angle < _SMALL
    sine = np.where(near, 1.0, np.sin(angle))
    share = share[:, None]
    a = np.where(near, 1 - share, np.sin((1 - share) * angle) / sine)
    b = np.where(near, share, np.sin(share * angle) / sine)
    between = a * first + b * second
    return between / np.linalg.norm(between, axis=1, keepdims=True)


def at_times(
    times: NDArray,
    data: NDArray,
    wanted: NDArray,
    quaternions: Sequence[Sequence[int]],
    constant: Sequence[int],
) -> NDArray:
    """Return signals at other times, on lines between samples.

    Parameters
    ----------
    times : float64 array of shape (T,)
        Increasing.
    data : float32 array of shape (T, D)
        Finite.
    wanted : float64 array of shape (N,)
        Times.
    quaternions : sequence of sequences of int
        Columns that turn together, on arcs.
    constant : sequence of int
        Columns that take the value of the sample before.

    Returns
    -------
    float32 array of shape (N, D)
    """
    low, share = _between(times, wanted)
    high = np.minimum(low + 1, len(times) - 1)
    weight = share[:, None].astype(np.float32)
    result = data[low] * (1 - weight) + data[high] * weight
    for columns in quaternions:
        result[:, columns] = slerp(times, data[:, columns], wanted)
    result[:, list(constant)] = data[low][:, list(constant)]
    return result


def resample(
    data: NDArray,
    fs: float,
    fs_out: float,
    quaternions: Sequence[Sequence[int]],
    constant: Sequence[int],
) -> NDArray:
    """Return uniform signals at another rate, without aliases.

    The ratio of the rates is rounded to a fraction of numbers up to 1000. The filter
    has a flat passband up to 0.8 of the lower Nyquist frequency and stops 80 dB of
    what is above that frequency; it shifts nothing in time.

    Parameters
    ----------
    data : float32 array of shape (T, D)
        Finite.
    fs, fs_out : float
        Frames per second.
    quaternions : sequence of sequences of int
        Columns that turn together, on arcs; they are not filtered.
    constant : sequence of int
        Columns that take the value of the sample before.

    Returns
    -------
    float32 array of shape (N, D)
        N is T times the ratio, rounded up.
    """
    from scipy.signal import firwin, kaiserord, resample_poly

    ratio = Fraction(fs_out / fs).limit_denominator(_MAX_FACTOR)
    up, down = ratio.numerator, ratio.denominator
    widest = max(up, down)
    taps, beta = kaiserord(_STOP_DB, (1 - _PASS) / widest)
    taps += 1 - taps % 2
    window = firwin(taps, (1 + _PASS) / 2 / widest, window=("kaiser", beta))
    filtered = resample_poly(data, up, down, axis=0, window=window, padtype="line")
    result = filtered.astype(np.float32)
    wanted = np.arange(len(result)) * (down / up)
    times = np.arange(len(data), dtype=np.float64)
    for columns in quaternions:
        result[:, columns] = slerp(times, data[:, columns], wanted)
    low, _ = _between(times, wanted)
    result[:, list(constant)] = data[low][:, list(constant)]
    return result


def _between(times: NDArray, wanted: NDArray) -> tuple[NDArray, NDArray]:
    """Return the sample at or before each time, and how far it is to the next one."""
    low = np.searchsorted(times, wanted, side="right") - 1
    low = np.clip(low, 0, max(len(times) - 2, 0))
    step = times[np.minimum(low + 1, len(times) - 1)] - times[low]
    share = (wanted - times[low]) / np.where(step > 0, step, math.inf)
    return low, np.clip(share, 0.0, 1.0)
