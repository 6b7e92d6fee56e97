"""Rows of files as labeled spans, and tracks of spans by name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mlmethods.errors import DataFormatError, InvalidInputError
from mlmethods.motion._labels import classes_of, label_ids, unknown_label
from mlmethods.motion.segments import Segments

__all__ = ["DEFAULT_TRACK", "Row", "as_tracks", "number", "segments_of"]

DEFAULT_TRACK = "primitives"
"""Name of the track where a file needs one and there is only one."""

_ROUNDING = 1e-6


class Row(NamedTuple):
    """A span as a file has it.

    Attributes
    ----------
    where : str
        File and line, for messages.
    start, end : float
        Seconds.
    label : str
        Class.
    confidence : float
        NaN where there is none.
    valid : bool
        Whether the sensors worked.
    """

    where: str
    start: float
    end: float
    label: str
    confidence: float = math.nan
    valid: bool = True


def segments_of(rows: Sequence[Row], classes: Sequence[str] | None) -> Segments:
    """Return rows, in any order, as spans.

    Parameters
    ----------
    rows : sequence of Row
        What a file holds.
    classes : sequence of str, optional
        Classes in their order; by default those of StrokeRehab where they hold all
        labels, else the labels in alphabetical order.

    Raises
    ------
    DataFormatError
        If a label is unknown, or a span is empty or overlaps with another one.
    """
    known = tuple(classes) if classes else classes_of({row.label for row in rows})
    ids = label_ids({row.label for row in rows}, known)
    ordered = sorted(rows, key=lambda row: row.start)
    before = -math.inf
    for row in ordered:
        if ids[row.label] is None:
            raise unknown_label(row.where, row.label, known)
        if not (math.isfinite(row.start) and math.isfinite(row.end)):
            raise DataFormatError(f"{row.where}: times must be finite")
        if row.end <= row.start:
            raise DataFormatError(
                f"{row.where}: a span must end after it starts, got {row.start:g} to "
                f"{row.end:g} s"
            )
        if row.start < before - _ROUNDING:
            raise DataFormatError(
                f"{row.where}: spans must not overlap, got one that starts at "
                f"{row.start:g} s before the last one ends at {before:g} s"
            )
        before = row.end
    confidence = np.array([row.confidence for row in ordered], np.float64)
    valid = np.array([row.valid for row in ordered], bool)
    return Segments(
        np.array([row.start for row in ordered], np.float64),
        np.array([row.end for row in ordered], np.float64),
        np.array([ids[row.label] for row in ordered], np.int32),
        known or (DEFAULT_TRACK,),
        None if np.isnan(confidence).all() else confidence,
        None if valid.all() else valid,
    )


def as_tracks(tracks: Segments | Mapping[str, Segments]) -> dict[str, Segments]:
    """Return tracks by name.

    Raises
    ------
    InvalidInputError
        If there is none, or one is no Segments.
    """
    found = {DEFAULT_TRACK: tracks} if isinstance(tracks, Segments) else dict(tracks)
    for name, spans in found.items():
        if not isinstance(name, str) or not name or not isinstance(spans, Segments):
            raise InvalidInputError(
                f"tracks must map names to Segments, got {name!r} to "
                f"{type(spans).__name__}"
            )
    if not found:
        raise InvalidInputError("tracks must be at least one Segments, got none")
    return found


def number(text: str, where: str, column: str) -> float:
    """Return a cell as a number.

    Raises
    ------
    DataFormatError
        If it is none.
    """
    try:
        return float(text)
    except ValueError as error:
        raise DataFormatError(
            f"{where}: column {column!r} must hold numbers, got {text!r}"
        ) from error
