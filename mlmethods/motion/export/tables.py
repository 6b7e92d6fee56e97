"""Labeled spans as tables: segments.csv, and events of BIDS."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path

from mlmethods.common.atomic import write_text
from mlmethods.errors import DataFormatError, InvalidInputError
from mlmethods.motion.export.spans import Row, as_tracks, number, segments_of
from mlmethods.motion.io.table import MISSING, read_rows
from mlmethods.motion.segments import Segments

__all__ = ["read_csv", "read_events", "write_csv", "write_events"]

_CSV = ["recording", "side", "start_s", "end_s", "label", "confidence", "valid"]
_EVENTS = ["onset", "duration", "trial_type", "side", "confidence", "valid"]
_TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def write_csv(
    path: str | os.PathLike[str], tracks: Mapping[tuple[str, str], Segments]
) -> None:
    """Write spans of any number of recordings, one row each.

    Columns are recording, side, start_s, end_s, label, confidence and valid. Times are
    written in full, so that they are read back exactly.

    Parameters
    ----------
    path : path-like
        The file; it is replaced at once or not at all.
    tracks : mapping of (recording, side) to Segments
        Spans; the side may be empty.

    See Also
    --------
    read_csv : The way back.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from mlmethods.motion import Segments, export
    >>> path = Path(tempfile.mkdtemp(), "segments.csv")
    >>> spans = Segments([0.1], [0.7], [1], ("idle", "reach"))
    >>> export.write_csv(path, {("s1_feeding", "left"): spans})
    >>> path.read_text().splitlines()[1]
    's1_feeding,left,0.1,0.7,reach,,true'
    >>> export.read_csv(path, ("idle", "reach"))[("s1_feeding", "left")] == spans
    True
    """
    rows = []
    for key, spans in tracks.items():
        if not (isinstance(key, tuple) and len(key) == 2):
            raise InvalidInputError(
                f"tracks must map (recording, side) to Segments, got the key {key!r}"
            )
        for span in spans:
            rows.append(
                [
                    *key,
                    repr(span.start),
                    repr(span.end),
                    span.name,
                    "" if math.isnan(span.confidence) else repr(span.confidence),
                    "true" if span.valid else "false",
                ]
            )
    _write(Path(path), _CSV, rows, ",")


def read_csv(
    path: str | os.PathLike[str], classes: Sequence[str] | None = None
) -> dict[tuple[str, str], Segments]:
    """Read the spans of a table that :func:`write_csv` wrote, or a corrected one.

    Columns start_s, end_s and label are needed, in any order.

    Parameters
    ----------
    path : path-like
        The file; comma, semicolon or tab part its cells.
    classes : sequence of str, optional
        Classes in their order.

    Returns
    -------
    dict of (recording, side) to Segments
        In the order of the file.

    Raises
    ------
    DataFormatError
        If a column is missing, or a cell, label or span is not accepted.
    """
    tracks: dict[tuple[str, str], list[Row]] = {}
    for where, row in _rows(Path(path), ("start_s", "end_s", "label")):
        key = (row.get("recording", ""), row.get("side", ""))
        start = number(row["start_s"], where, "start_s")
        end = number(row["end_s"], where, "end_s")
        tracks.setdefault(key, []).append(
            Row(where, start, end, row["label"], *_rest(row, where))
        )
    return {key: segments_of(rows, classes) for key, rows in tracks.items()}


def write_events(
    path: str | os.PathLike[str], tracks: Segments | Mapping[str, Segments]
) -> None:
    """Write spans as an ``_events.tsv`` of BIDS.

    Columns are onset, duration, trial_type, side, confidence and valid.

    Parameters
    ----------
    path : path-like
        The file; it is replaced at once or not at all.
    tracks : Segments or mapping of side to Segments
        Spans; ``n/a`` is the side of a single Segments.
    """
    single = isinstance(tracks, Segments)
    rows = [
        [
            repr(span.start),
            _duration(span.start, span.end),
            span.name,
            "n/a" if single else side,
            "n/a" if math.isnan(span.confidence) else repr(span.confidence),
            "true" if span.valid else "false",
        ]
        for side, spans in as_tracks(tracks).items()
        for span in spans
    ]
    rows.sort(key=lambda row: float(row[0]))
    _write(Path(path), _EVENTS, rows, "\t")


def read_events(
    path: str | os.PathLike[str], classes: Sequence[str] | None = None
) -> dict[str, Segments]:
    """Read events of BIDS that last some time.

    Events without a duration or trial_type are marks and are left out.

    Parameters
    ----------
    path : path-like
        The file, with the columns onset, duration and trial_type.
    classes : sequence of str, optional
        Classes in their order.

    Returns
    -------
    dict of str to Segments
        By side; the name is empty where the file gives none.

    Raises
    ------
    DataFormatError
        If a column is missing, or a cell, label or span is not accepted.
    """
    tracks: dict[str, list[Row]] = {}
    for where, row in _rows(Path(path), ("onset", "duration", "trial_type")):
        if row["duration"] in MISSING or row["trial_type"] in MISSING:
            continue
        start = number(row["onset"], where, "onset")
        duration = number(row["duration"], where, "duration")
        if duration == 0:
            continue
        side = row.get("side", "")
        end = _end(row["onset"], row["duration"])
        tracks.setdefault("" if side in MISSING else side, []).append(
            Row(where, start, end, row["trial_type"], *_rest(row, where))
        )
    return {side: segments_of(rows, classes) for side, rows in tracks.items()}


def _write(path: Path, header: list[str], rows: list[list[str]], mark: str) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=mark, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, buffer.getvalue())


def _rows(path: Path, needed: tuple[str, ...]) -> list[tuple[str, dict[str, str]]]:
    names, rows = read_rows(path)
    plain = [name.strip().lower() for name in names]
    for column in needed:
        if column not in plain:
            raise DataFormatError(
                f"{path}:1: there must be a column {column!r}, got {', '.join(names)}"
            )
    return [
        (f"{path}:{line}", dict(zip(plain, cells, strict=True))) for line, cells in rows
    ]


def _rest(row: dict[str, str], where: str) -> tuple[float, bool]:
    """Return confidence and validity, which may be missing."""
    text = row.get("confidence", "")
    confidence = math.nan if text in MISSING else number(text, where, "confidence")
    text = row.get("valid", "")
    if text in MISSING:
        return confidence, True
    if text.lower() not in _TRUTH:
        raise DataFormatError(
            f"{where}: column 'valid' must hold true or false, got {text!r}"
        )
    return confidence, _TRUTH[text.lower()]


def _duration(start: float, end: float) -> str:
    """Return what is added to `start` as written to give `end` as written."""
    return str(Decimal(repr(end)) - Decimal(repr(start)))


def _end(onset: str, duration: str) -> float:
    """Add two numbers as they are written, without the rounding of floats."""
    total = float(onset) + float(duration)
    try:
        return float(Decimal(onset) + Decimal(duration))
    except (ArithmeticError, ValueError):
        # Too large or small for a decimal.
        return total
