"""From raw sensor signals to uniform, finite ones in SI units."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from mlmethods.common.validation import check_choice, check_real
from mlmethods.errors import DataFormatError, InvalidInputError, MLMethodsWarning
from mlmethods.interfaces import NDArray
from mlmethods.motion import _defects as defects
from mlmethods.motion._gaps import Gaps, fill_gaps
from mlmethods.motion._resampling import at_times, resample
from mlmethods.motion._time_order import (
    entry_at_stamps,
    in_order,
    labels_at_stamps,
    uneven_entry,
)
from mlmethods.motion._units import SI, known_unit
from mlmethods.motion.io.assemble import convert_units
from mlmethods.motion.io.stamps import MINIMUM_RATE
from mlmethods.motion.recording import Channel, QualityEntry, Recording

__all__ = ["SensorSanitizer"]

# Rates below it blur actions of less than a second.
_FULL_RATE = 100.0
_WARN_SHARE = 0.01
# A channel without more than this share of its samples is lost.
_LOST = 0.9
# The shortest piece that a recognizer accepts.
_FEWEST = 8
# Rates that differ by less count as equal.
_SAME_RATE = 1e-6
_NEAR_RATE = 0.02


class SensorSanitizer(TransformerMixin, BaseEstimator):
    """Repair sensor signals and put them on one rate; say what was done.

    Parameters
    ----------
    fs_out : float, default=100.0
        Frames per second of the results.
    max_gap : float, default=0.2
        Seconds. Missing samples for at most this long are interpolated.
    on_long_gap : {"split", "mask"}, default="split"
        What becomes of a recording with longer gaps: ``"split"`` cuts it there, and
        ``"mask"`` keeps it whole with ``meta["valid"]`` False in the gaps.

    Notes
    -----
    In this order: units become m/s2, rad/s and degrees (a missing one is told from the
    values, as :func:`mlmethods.motion.io.read` does); time stamps are sorted, and equal
    ones merged; infinite and implausible values, stretches in which a sensor repeats
    one value for more than 0.5 s, and quaternions without unit norm count as missing;
    signs of quaternions are made continuous; channels with more than 90 % missing
    are left out; gaps are filled; uneven stamps are put on a grid by lines between
    samples; the rate is changed by a polyphase filter that passes 0.8 of the lower
    Nyquist frequency and stops what is above it by 80 dB. Quaternions move on arcs of
    constant angular velocity. Saturated stretches and accelerations without gravity are
    reported and kept.

    Everything that was found is in :attr:`Recording.quality`. A recording without
    defects at the right rate keeps its signals bit by bit.

    A piece of a split recording keeps the name and starts at 0; ``meta["offset"]``
    holds the seconds before it and ``meta["part"]`` its number. The gaps are reported with the piece
    before them, after its end.

    Examples
    --------
    >>> import numpy as np
    >>> from mlmethods.motion import Channel, Recording
    >>> from mlmethods.motion.preprocess import SensorSanitizer
    >>> rng = np.random.default_rng(0)
    >>> data = rng.normal([0, 0, 9.81], 0.1, (500, 3))
    >>> data[100:105, 0] = np.nan
    >>> channels = [Channel(f"a{axis}", "accel", "m/s2") for axis in "xyz"]
    >>> recording = Recording(data, 100.0, channels, subject="s1")
    >>> (repaired,) = SensorSanitizer().fit_transform([recording])
    >>> repaired.quality
    (QualityEntry(channel='ax', issue='missing values', start=1.0, end=1.05, action='interpolated'),)
    """

    def __init__(
        self,
        fs_out: float = 100.0,
        max_gap: float = 0.2,
        on_long_gap: str = "split",
    ) -> None:
        self.fs_out = fs_out
        self.max_gap = max_gap
        self.on_long_gap = on_long_gap

    def fit(self, X: Any, y: Any = None) -> SensorSanitizer:
        """Do nothing; there is nothing to learn."""
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def transform(self, X: Recording | Iterable[Recording]) -> list[Recording]:
        """Return repaired recordings.

        Parameters
        ----------
        X : Recording or iterable of Recording
            Raw signals.

        Returns
        -------
        list of Recording
            In the same order; with ``on_long_gap="split"`` one may give several.

        Raises
        ------
        InvalidInputError
            If a rate is below 40 Hz, more than a fifth of the time stamps is out of
            order, units cannot be told, no channel moves, or nothing is left.

        Warns
        -----
        MLMethodsWarning
            If a rate is below 100 Hz and `fs_out`, or more than 1 % of the time stamps
            are out of order.
        """
        fs_out = check_real("fs_out", self.fs_out, minimum=MINIMUM_RATE)
        max_gap = check_real("max_gap", self.max_gap, minimum=0)
        check_choice("on_long_gap", self.on_long_gap, ("split", "mask"))
        recordings = [X] if isinstance(X, Recording) else list(X)
        results: list[Recording] = []
        slow, shuffled = [], []
        for recording in recordings:
            if not isinstance(recording, Recording):
                raise InvalidInputError(
                    f"X must hold recordings, got {type(recording).__name__}"
                )
            _check_rate(recording)
            if recording.fs < min(_FULL_RATE, fs_out) * (1 - _SAME_RATE):
                slow.append(recording.name)
            ordered, share = in_order(recording)
            if share > _WARN_SHARE:
                shuffled.append(recording.name)
            results += _repaired(ordered, fs_out, max_gap, self.on_long_gap)
        _warn(
            slow,
            f"are slower than {fs_out:g} Hz: actions of less than a second may blur",
        )
        _warn(shuffled, "have more than 1 % of their time stamps out of order")
        return results


class _State(NamedTuple):
    """A recording in repair."""

    data: NDArray
    channels: tuple[Channel, ...]
    quality: list[QualityEntry]


def _repaired(
    recording: Recording, fs_out: float, max_gap: float, on_long_gap: str
) -> list[Recording]:
    fs = recording.fs
    state = _in_units(recording)
    _check_motion(state, recording.name)
    state = _searched(state, fs)
    state = _without_lost(state, recording)
    time = recording.meta.get("time")
    seconds = None if time is None else np.asarray(time, np.float64)
    gaps = fill_gaps(state.data, state.channels, seconds, fs, max_gap, on_long_gap)
    quality = [*state.quality, *gaps.quality]
    if seconds is not None:
        quality = [entry_at_stamps(entry, seconds, fs) for entry in quality]
        quality += gaps.stamps
    labels = recording.labels
    if labels is not None and seconds is not None:
        labels = labels_at_stamps(labels, seconds, fs)
    data, valid = _at_rate(gaps, recording, state.channels, seconds, fs_out)
    if seconds is not None:
        quality.append(uneven_entry(seconds, fs, fs_out))
    elif data is not gaps.data:
        quality.append(
            QualityEntry(
                "*",
                f"{fs:g} Hz",
                0.0,
                recording.duration,
                f"resampled to {fs_out:g} Hz",
            )
        )
    meta = {
        name: x for name, x in recording.meta.items() if name not in ("time", "valid")
    }
    if not valid.all():
        meta["valid"] = valid
    if data is recording.data and not quality and "time" not in recording.meta:
        return [recording]
    whole = recording.replace(
        data=data,
        fs=fs_out,
        channels=state.channels,
        labels=labels if labels is None else labels.clip(0.0, len(data) / fs_out),
        quality=(*recording.quality, *quality),
        meta=meta,
    )
    if on_long_gap == "mask" or valid.all():
        if not valid.any():
            raise _nothing_left(recording)
        return [whole]
    return _pieces(whole, valid)


def _in_units(recording: Recording) -> _State:
    """Return the signals in SI units."""
    channels = []
    for channel in recording.channels:
        unit = channel.unit
        if channel.kind in SI and unit:
            known = known_unit(channel.kind, unit)
            if known is None:
                raise InvalidInputError(
                    f"channels must have units of their kind, got {unit!r} for the "
                    f"{channel.kind} {channel.name!r} of recording {recording.name!r}"
                )
            unit = known
        channels.append(
            channel if unit == channel.unit else dataclasses.replace(channel, unit=unit)
        )
    try:
        data, si, quality = convert_units(
            recording.data, channels, recording.fs, f"recording {recording.name!r}"
        )
    except DataFormatError as error:
        raise InvalidInputError(str(error)) from error
    # Files are converted when they are read; here a conversion is news.
    changed = [
        QualityEntry(
            after.name,
            f"unit {before.unit}",
            0.0,
            recording.duration,
            f"converted to {after.unit}",
        )
        for before, after in zip(channels, si, strict=True)
        if before.unit and before.unit != after.unit
    ]
    return _State(data, si, [*quality, *changed])


def _searched(state: _State, fs: float) -> _State:
    """Return the signals with all that cannot be true taken as missing."""
    data = np.array(state.data, np.float32)
    channels = state.channels
    quality = [
        *state.quality,
        *defects.find_not_finite(data, channels, fs),
        *defects.find_implausible(data, channels, fs),
        *defects.find_saturation(data, channels, fs),
        *defects.find_flat(data, channels, fs),
        *defects.find_wrong_norms(data, channels, fs),
        *defects.continue_signs(data, channels, fs),
        *defects.gravity_entries(data, channels, fs),
    ]
    # Nothing was touched: hand on the very same array.
    untouched = np.array_equal(data, state.data, equal_nan=True)
    return _State(state.data if untouched else data, channels, quality)


def _check_motion(state: _State, name: str) -> None:
    moving = [j for j, x in enumerate(state.channels) if x.kind != "side"]
    values = state.data[:, moving]
    if not np.isfinite(values).any():
        raise InvalidInputError(f"recording {name!r} has no values at all")
    with np.errstate(invalid="ignore"):
        change = (values[1:] != values[:-1]) & np.isfinite(values[1:])
    if len(values) > 1 and not change.any():
        raise InvalidInputError(f"recording {name!r} has no motion signal: all is flat")


def _without_lost(state: _State, recording: Recording) -> _State:
    """Return the signals without channels that hold next to nothing."""
    share = np.isnan(state.data).mean(axis=0)
    kept = np.flatnonzero(share <= _LOST)
    if len(kept) == len(share):
        return state
    if not len(kept):
        raise _nothing_left(recording)
    lost = [
        QualityEntry(
            state.channels[j].name,
            "missing values",
            0.0,
            recording.duration,
            "left out",
        )
        for j in np.flatnonzero(share > _LOST)
    ]
    channels = tuple(state.channels[j] for j in kept)
    return _State(state.data[:, kept], channels, [*state.quality, *lost])


def _at_rate(
    gaps: Gaps,
    recording: Recording,
    channels: tuple[Channel, ...],
    seconds: NDArray | None,
    fs_out: float,
) -> tuple[NDArray, NDArray]:
    """Return signals and validity at the wanted rate."""
    quaternions = defects.full_quaternions(channels)
    constant = [j for j, x in enumerate(channels) if x.kind == "side"]
    data, fs = gaps.data, recording.fs
    good = ~gaps.bad
    if recording.meta.get("valid") is not None:
        good = good & np.asarray(recording.meta["valid"], bool)
    if seconds is not None:
        fs = fs_out if abs(fs / fs_out - 1) < _NEAR_RATE else fs
        grid = np.arange(int(np.floor(seconds[-1] * fs + 1e-6)) + 1) / fs
        good = _good_between(seconds, good, grid, gaps.breaks)
        data = at_times(seconds, data, grid, quaternions, constant)
    if abs(fs / fs_out - 1) < _SAME_RATE:
        return data, good
    result = resample(data, fs, fs_out, quaternions, constant)
    times = np.arange(len(data)) / fs
    return result, _good_between(times, good, np.arange(len(result)) / fs_out, [])


def _good_between(
    times: NDArray, good: NDArray, wanted: NDArray, breaks: list[tuple[float, float]]
) -> NDArray:
    """Return which times have good samples on both sides, and lie in no break."""
    low = np.clip(np.searchsorted(times, wanted + 1e-9, side="right") - 1, 0, None)
    high = np.clip(np.searchsorted(times, wanted - 1e-9), 0, len(times) - 1)
    result = good[low] & good[high]
    for start, end in breaks:
        result &= (wanted <= start + 1e-9) | (wanted >= end - 1e-9)
    return result


def _pieces(whole: Recording, valid: NDArray) -> list[Recording]:
    """Cut a recording where it is not valid."""
    spans = [(a, b) for a, b in defects.runs(valid) if b - a >= _FEWEST]
    if not spans:
        raise _nothing_left(whole)
    pieces = []
    for part, (first, last) in enumerate(spans):
        start, end = first / whole.fs, last / whole.fs
        until = spans[part + 1][0] / whole.fs if part + 1 < len(spans) else np.inf
        piece = whole.slice(start, end)
        after = [
            entry._replace(start=entry.start - start, end=entry.end - start)
            for entry in whole.quality
            if (entry.start >= end or (part == 0 and entry.end <= start))
            and entry.start < until
        ]
        meta = {name: x for name, x in piece.meta.items() if name != "valid"}
        meta["part"] = part
        meta["offset"] = float(meta.get("offset", 0.0)) + start
        pieces.append(piece.replace(meta=meta, quality=(*piece.quality, *after)))
    return pieces


def _check_rate(recording: Recording) -> None:
    if recording.fs < MINIMUM_RATE * (1 - 1e-3):
        raise InvalidInputError(
            f"recording {recording.name!r} has {recording.fs:g} Hz, and at least "
            f"{MINIMUM_RATE:g} Hz are needed to tell motions of less than a second; "
            "give fs= when reading it if that rate is wrong"
        )


def _nothing_left(recording: Recording) -> InvalidInputError:
    return InvalidInputError(
        f"recording {recording.name!r} has no stretch of {_FEWEST} frames without gaps"
    )


def _warn(names: list[str], what: str) -> None:
    if names:
        shown = ", ".join(map(repr, names[:3]))
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        warnings.warn(
            f"recordings {shown}{more} {what}", MLMethodsWarning, stacklevel=3
        )
