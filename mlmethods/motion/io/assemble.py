"""From columns to a recording in SI units."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from mlmethods.errors import DataFormatError, InvalidInputError
from mlmethods.interfaces import NDArray
from mlmethods.motion._labels import classes_of, label_ids, parse_side, unknown_label
from mlmethods.motion._units import (
    SI,
    factor,
    guess_acceleration,
    guess_angle,
    guess_rotation,
    rest_norm,
    sensor_groups,
)
from mlmethods.motion.io.columns import ColumnMap
from mlmethods.motion.io.names import Identity
from mlmethods.motion.io.stamps import TimeAxis, time_axis
from mlmethods.motion.io.table import Table
from mlmethods.motion.recording import Channel, QualityEntry, Recording, Side
from mlmethods.motion.segments import Segments

__all__ = ["convert_units", "in_frames", "recording_of"]


def recording_of(
    table: Table, column_map: ColumnMap, fs: float | None, identity: Identity
) -> Recording:
    """Return what a table holds.

    Raises
    ------
    DataFormatError
        If a cell has no number, there is no channel, or rate or units cannot be told.
    """
    try:
        columns = column_map.completed(table.names, table.units)
    except InvalidInputError as error:
        raise DataFormatError(f"{table.path}: {error}") from error
    if not len(table):
        raise DataFormatError(f"{table.path}: the table has no rows")
    ignored = list(columns.ignore)
    axis = _time(table, columns, columns.fs if fs is None else fs)
    kept: list[Channel] = []
    values: list[NDArray] = []
    for name, channel in (columns.channels or {}).items():
        if channel.kind == "feature" and table.is_text(name):
            ignored.append(name)
            continue
        kept.append(channel)
        values.append(table.numbers(name))
    if not kept:
        raise DataFormatError(f"{table.path}: no column holds a signal")
    data, channels = _ordered(values, kept)
    data, channels, quality = convert_units(data, channels, axis.fs, str(table.path))
    side, extra = _side(table, columns.side)
    if extra is not None:
        data = np.column_stack([data, extra[1]])
        channels = (*channels, extra[0])
    labels = _labels(table, columns, axis.fs)
    meta: dict[str, Any] = {"name": identity.name, "source": table.path.name}
    if ignored:
        meta["ignored_columns"] = ignored
    if axis.time is not None:
        meta["time"] = axis.time
    try:
        return Recording(
            data,
            axis.fs,
            channels,
            subject=identity.subject,
            session=identity.session,
            activity=identity.activity,
            side=side,
            labels=labels,
            quality=(*axis.quality, *quality),
            meta=meta,
        )
    except InvalidInputError as error:
        raise DataFormatError(f"{table.path}: {error}") from error


def convert_units(
    data: NDArray, channels: Sequence[Channel], fs: float, where: str
) -> tuple[NDArray, tuple[Channel, ...], list[QualityEntry]]:
    """Return signals in the units of a recording.

    An empty unit of accelerations, angular velocities or angles is told from the
    values, for all channels of the kind at once.

    Parameters
    ----------
    data : float array of shape (T, D)
        Signals in the units of `channels`.
    channels : sequence of Channel
        With plain units.
    fs : float
        Frames per second.
    where : str
        The file or recording, for messages.

    Raises
    ------
    DataFormatError
        If the values do not tell the unit.
    """
    quality = []
    known = list(channels)
    for kind in ("accel", "gyro", "angle"):
        columns = [j for j, x in enumerate(channels) if x.kind == kind and not x.unit]
        if not columns:
            continue
        unit = _told_unit(kind, data, channels, columns, fs, where)
        for column in columns:
            known[column] = dataclasses.replace(known[column], unit=unit)
        quality.append(
            QualityEntry(
                known[columns[0]].name if len(columns) == 1 else "*",
                f"no unit of {kind}",
                0.0,
                len(data) / fs,
                f"taken as {unit}",
            )
        )
    factors = np.array([factor(x.kind, x.unit) for x in known])
    if (factors != 1).any():
        data = data * factors.astype(np.result_type(data, np.float32))
    return data, tuple(_in_si(channel) for channel in known), quality


def in_frames(labels: Segments, fs: float, time: NDArray) -> Segments:
    """Return spans in seconds of uniform frames, from spans in seconds of stamps."""
    order = np.sort(time)
    order = np.append(order, order[-1] + 1 / fs)
    frames = np.arange(len(order)) / fs
    start, end = (np.interp(x, order, frames) for x in (labels.start, labels.end))
    kept = start < end
    part = labels[kept]
    return Segments(
        start[kept], end[kept], part.label, labels.classes, part.confidence, part.valid
    )


def _time(table: Table, columns: ColumnMap, fs: float | None) -> TimeAxis:
    if columns.time is None:
        if fs is None:
            raise DataFormatError(
                f"{table.path}: no column of time stamps was found; give fs="
            )
        return TimeAxis(fs, None, [])
    if len(table) < 2 and fs is not None:
        return TimeAxis(fs, None, [])
    stamps = table.numbers(columns.time)
    missing = ~np.isfinite(stamps)
    if missing.any():
        where = table.where(int(np.argmax(missing)), columns.time)
        raise DataFormatError(f"{where} must hold a time stamp, got none")
    where = f"{table.path}: column {columns.time!r}"
    return time_axis(stamps, columns.time_unit, fs, where)


def _ordered(
    values: list[NDArray], channels: list[Channel]
) -> tuple[NDArray, tuple[Channel, ...]]:
    """Stack columns; the components of a quaternion come in the order w, x, y, z."""
    order = list(range(len(channels)))
    for columns in sensor_groups(channels, "quat").values():
        letters = [channels[j].name.lower()[-1:] for j in columns]
        if sorted(letters) == ["w", "x", "y", "z"]:
            places = [columns[letters.index(letter)] for letter in "wxyz"]
            for slot, place in zip(columns, places, strict=True):
                order[slot] = place
    # One column after another: a row at a time would miss the cache in every column.
    data = np.empty((len(channels), len(values[0])), np.float32)
    for row, place in enumerate(order):
        with np.errstate(over="ignore"):
            data[row] = values[place]
    return np.ascontiguousarray(data.T), tuple(channels[j] for j in order)


def _told_unit(
    kind: str,
    data: NDArray,
    channels: Sequence[Channel],
    columns: list[int],
    fs: float,
    where: str,
) -> str:
    names = repr(channels[columns[0]].name)
    names += " and others" if len(columns) > 1 else ""
    if kind == "accel":
        groups = sensor_groups(channels, kind).values()
        norms = [
            rest_norm(data[:, group], fs)
            for group in groups
            if len(group) == 3 and set(group) <= set(columns)
        ]
        unit = guess_acceleration(norms)
        seen = ", ".join(f"{norm:.4g}" for norm in norms[:4]) or "unknown"
        problem = f"their norm at rest is {seen}, neither 1 (g) nor 9.81 (m/s2)"
    elif kind == "gyro":
        unit = guess_rotation(data[:, columns])
        problem = "they fit neither rad/s nor deg/s alone"
    else:
        unit = guess_angle(data[:, columns])
        problem = "they are small enough for radians"
    if unit is None:
        raise DataFormatError(
            f"{where}: column {names} has no unit of {kind}, and the values do not "
            f"tell it: {problem}; give units in a column map"
        )
    return unit


def _in_si(channel: Channel) -> Channel:
    unit = SI.get(channel.kind, channel.unit)
    return channel if channel.unit == unit else dataclasses.replace(channel, unit=unit)


def _side(
    table: Table, name: str | None
) -> tuple[Side | None, tuple[Channel, NDArray] | None]:
    """Return the arm, and a column that holds it as a number."""
    if name is None:
        return None, None
    if not table.is_text(name):
        return None, (Channel(name, "side", "1"), table.numbers(name))
    side: Side | None = None
    for row, text in enumerate(table.texts(name)):
        if text is None:
            continue
        found = parse_side(text)
        if found is None or (side is not None and found != side):
            raise DataFormatError(
                f"{table.where(row, name)} must hold one of left and right all the "
                f"time, got {text!r}"
            )
        side = found
    return side, None


def _labels(table: Table, columns: ColumnMap, fs: float) -> Segments | None:
    if columns.label is None:
        return None
    texts = table.texts(columns.label)
    names = {text for text in texts if text is not None}
    if not names:
        return None
    classes = columns.classes or classes_of(names)
    ids: dict[str | None, int] = {None: -1}
    for name, label in label_ids(names, classes).items():
        if label is None:
            where = table.where(texts.index(name), columns.label)
            raise unknown_label(where, name, classes)
        ids[name] = label
    frames = np.array([ids[text] for text in texts], np.int32)
    return Segments.from_frames(frames, fs, classes)
