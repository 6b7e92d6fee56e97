"""Tables of predicted counts, with rates and intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import NDArray
from mlmethods.motion.count_calibration import CountCalibration
from mlmethods.motion.intervals import conformal_interval, poisson_binomial_interval
from mlmethods.motion.segments import Segments

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["KEYS", "IntervalNote", "Source", "count_table", "interval_note"]

KEYS = ("subject", "session", "activity", "side")
"""What counts can be kept apart by."""

_COLUMNS = ("class", "count", "low", "high", "valid", "minutes", "per_minute")


class Source(NamedTuple):
    """What is known about a recording, without its signals.

    Attributes
    ----------
    name : str
        Unique within a result.
    subject, session, activity, side : str or None
        As of the recording.
    fs : float
        Frames per second.
    duration : float
        Seconds.
    offset : float
        Seconds of its first frame after the start of the file that it is a part of.
    masked : tuple of (float, float)
        Seconds without a usable signal, start and end.
    labels : Segments or None
        The truth, if it is known.
    truncated : int
        Windows whose sequence had not ended within the room for it.
    synthetic : bool
        Whether the signals are made up.
    repeated : bool
        Whether another recording shows the same movements and is counted instead.
    """

    name: str
    subject: str
    session: str | None
    activity: str | None
    side: str | None
    fs: float
    duration: float
    offset: float
    masked: tuple[tuple[float, float], ...]
    labels: Segments | None
    truncated: int
    synthetic: bool
    repeated: bool

    @property
    def valid_minutes(self) -> float:
        """Minutes with a usable signal."""
        return (self.duration - sum(b - a for a, b in self.masked)) / 60


class IntervalNote(NamedTuple):
    """What the intervals of a table are.

    Attributes
    ----------
    method : str
        ``"conformal"``, ``"poisson-binomial"`` or ``"none"``.
    level : float
        Share of cases that an interval is to cover.
    n_patients : int
        Patients of the calibration.
    nominal : bool
        Whether they are too few for the level to be more than a name.
    text : str
        All of this in a sentence.
    """

    method: str
    level: float
    n_patients: int
    nominal: bool
    text: str


def interval_note(
    method: str | None, level: float, calibration: CountCalibration | None
) -> IntervalNote:
    """Return what can be said about intervals of this method."""
    patients = 0 if calibration is None else calibration.n_patients
    if method is None:
        return IntervalNote("none", level, patients, False, "No intervals.")
    if method == "conformal" and (calibration is None or not patients):
        text = "No intervals: the pipeline was not calibrated on labeled patients."
        return IntervalNote("none", level, 0, False, text)
    if method == "conformal":
        assert calibration is not None
        nominal = any(
            calibration.quantile(name, [], level=level).nominal
            for name in calibration.classes
        )
        text = (
            f"Intervals are split-conformal at the level {100 * level:g} %, from {patients} "
            f"calibration {'patient' if patients == 1 else 'patients'}."
        )
    else:
        nominal = patients < 1
        text = (
            f"Intervals are Poisson-binomial at the level {100 * level:g} %, from the "
            "confidence of each motion"
        )
        text += (
            ", which was not calibrated, and without a rate of missed motions."
            if nominal
            else f" and the rates of missed motions of {patients} calibration patients."
        )
    if nominal:
        text += " The level is nominal: too few patients support it."
    return IntervalNote(method, level, patients, nominal, text)


def count_table(
    sources: Sequence[Source],
    segments: Sequence[Segments],
    classes: Sequence[str],
    *,
    by: Sequence[str] = KEYS,
    note: IntervalNote | None = None,
    calibration: CountCalibration | None = None,
) -> pd.DataFrame:
    """Return counts of each class, added up over recordings.

    Parameters
    ----------
    sources : sequence of Source
        Recordings.
    segments : sequence of Segments
        What was found in each.
    classes : sequence of str
        Names of the classes; each has a row, also with a count of 0.
    by : sequence of str
        What is kept apart, of `KEYS`.
    note : IntervalNote, optional
        Which intervals; none by default.
    calibration : CountCalibration, optional
        Where they come from.

    Returns
    -------
    DataFrame
        Columns `by`, class, count, low, high, valid, minutes and per_minute: `valid`
        motions overlap no masked time, `minutes` are those that are not masked, and
        the rate is of the former in the latter, NaN where there are none.

    Raises
    ------
    InvalidInputError
        If `by` has an unknown name.
    """
    import pandas as pd

    keys = list(dict.fromkeys(by))
    unknown = [name for name in keys if name not in KEYS]
    if unknown:
        raise InvalidInputError(
            f"by must be of {', '.join(map(repr, KEYS))}, got {unknown[0]!r}"
        )
    groups: dict[tuple[Any, ...], list[int]] = {}
    for index, source in enumerate(sources):
        if not source.repeated:
            key = tuple(getattr(source, name) for name in keys)
            groups.setdefault(key, []).append(index)
    quantiles = {}
    if note is not None and note.method == "conformal" and calibration is not None:
        level = note.level
        quantiles = {c: calibration.quantile(c, keys, level=level) for c in classes}
    missed = {} if calibration is None else calibration.miss_rate
    rows = []
    for key, members in groups.items():
        minutes = sum(sources[i].valid_minutes for i in members)
        label, chance, valid = _pooled([segments[i] for i in members])
        for number, name in enumerate(classes):
            own = label == number
            count = int(own.sum())
            low, high = np.nan, np.nan
            if name in quantiles:
                low, high = map(float, conformal_interval(count, quantiles[name]))
            elif note is not None and note.method == "poisson-binomial":
                rate = missed.get(name, 0.0)
                low, high = _binomial_interval(chance[own], note.level, rate)
            usable = int((own & valid).sum())
            rate = usable / minutes if minutes > 0 else np.nan
            rows.append((*key, name, count, low, high, usable, minutes, rate))
    columns = [*keys, *_COLUMNS]
    return pd.DataFrame(rows, columns=columns)


def _pooled(parts: Sequence[Segments]) -> tuple[NDArray, NDArray, NDArray]:
    label = np.concatenate([part.label for part in parts])
    chance = np.concatenate(
        [
            np.full(len(part), np.nan) if part.confidence is None else part.confidence
            for part in parts
        ]
    )
    valid = np.concatenate(
        [
            np.ones(len(part), bool) if part.valid is None else part.valid
            for part in parts
        ]
    )
    return label, chance, valid


def _binomial_interval(
    chance: NDArray, level: float, miss_rate: float
) -> tuple[float, float]:
    # What nobody vouches for is as likely as not.
    chance = np.nan_to_num(chance, nan=0.5)
    low, high = poisson_binomial_interval(chance, level=level, miss_rate=miss_rate)
    return float(low), float(high)
