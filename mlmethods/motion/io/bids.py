"""BIDS-motion: signals, their channels, and events as labels."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from mlmethods.errors import DataFormatError, InvalidInputError
from mlmethods.motion._labels import parse_side
from mlmethods.motion._units import known_unit
from mlmethods.motion.io.assemble import convert_units, in_frames
from mlmethods.motion.io.names import identity_of
from mlmethods.motion.io.stamps import TimeAxis, time_axis
from mlmethods.motion.io.table import MISSING, Table, read_rows, text_table
from mlmethods.motion.recording import Channel, Recording, Side
from mlmethods.motion.segments import Segments

__all__ = ["is_bids", "read_bids"]

_KINDS = {"ACCEL": "accel", "GYRO": "gyro", "ANGVEL": "gyro", "JNTANG": "angle"}
_TYPES = {*_KINDS, "ANGACCEL", "LATENCY", "MAGN", "MISC", "ORNT", "POS", "VEL"}


def is_bids(path: Path) -> bool:
    """Return whether a file is the signals of BIDS-motion."""
    return path.name.endswith("_motion.tsv")


def read_bids(path: Path, fs: float | None = None) -> Recording:
    """Read ``*_motion.tsv`` with ``*_channels.tsv``, ``*_motion.json`` and events.

    Parameters
    ----------
    path : pathlib.Path
        The file of signals.
    fs : float, optional
        Samples per second; by default ``SamplingFrequency``.

    Raises
    ------
    DataFormatError
        If one of the files is missing or does not fit the others.
    """
    stem = path.name.removesuffix("_motion.tsv")
    names, channels, latency = _channels(_sibling(path, f"{stem}_channels.tsv"))
    sidecar = _sidecar(path.with_name(f"{stem}_motion.json"))
    table = text_table(path, names)
    first = table.columns
    if len(first) != len(names):
        raise DataFormatError(
            f"{path}: there must be {len(names)} columns as in channels.tsv, got "
            f"{len(first)}"
        )
    axis = _axis(table, latency, sidecar, fs)
    kept = [name for name in names if name in channels]
    columns = [table.numbers(name) for name in kept]
    data = np.column_stack([np.asarray(x, np.float32) for x in columns])
    found = [channels[name] for name in kept]
    data, si, quality = convert_units(data, found, axis.fs, str(path))
    identity = identity_of(path)
    side, labels = _events(path, stem)
    if labels is not None and len(labels):
        # Events count from the start of the recording, as latencies do.
        labels = labels.shift(-axis.origin)
        labels = labels.clip(0.0, max(float(labels.end[-1]), 0.0))
        if axis.time is not None:
            labels = in_frames(labels, axis.fs, axis.time)
    meta: dict[str, Any] = {"name": stem, "source": path.name}
    if axis.time is not None:
        meta["time"] = axis.time
    try:
        return Recording(
            data,
            axis.fs,
            si,
            subject=identity.subject,
            session=identity.session,
            activity=sidecar.get("TaskName") or identity.activity,
            side=side,
            labels=labels,
            quality=(*axis.quality, *quality),
            meta=meta,
        )
    except InvalidInputError as error:
        raise DataFormatError(f"{path}: {error}") from error


def _sibling(path: Path, name: str) -> Path:
    file = path.with_name(name)
    if not file.is_file():
        raise DataFormatError(f"{path}: {name} must lie beside it and is missing")
    return file


def _channels(path: Path) -> tuple[list[str], dict[str, Channel], str | None]:
    """Return all columns, the channels among them, and the one of time stamps."""
    header, rows = read_rows(path)
    for column in ("name", "type", "units"):
        if column not in header:
            raise DataFormatError(f"{path}:1: there must be a column {column!r}")
    names: list[str] = []
    channels: dict[str, Channel] = {}
    latency = None
    for line, cells in rows:
        row = dict(zip(header, cells, strict=True))
        name, kind = row["name"], row["type"].upper()
        if not name or name in names:
            raise DataFormatError(
                f"{path}:{line}: column 'name' must be new in every row, got {name!r}"
            )
        if kind not in _TYPES:
            raise DataFormatError(
                f"{path}:{line}: column 'type' must be one of "
                f"{', '.join(sorted(_TYPES))}, got {row['type']!r}"
            )
        names.append(name)
        if kind == "LATENCY":
            latency = name
        else:
            channels[name] = _channel(row, kind, f"{path}:{line}")
    if not channels:
        raise DataFormatError(f"{path}: there is no channel of signals")
    return names, channels, latency


def _channel(row: dict[str, str], kind: str, where: str) -> Channel:
    component = row.get("component", "").lower()
    unit = "" if row["units"] in MISSING else row["units"]
    if kind == "ORNT":
        own = "quat" if component.startswith("quat") else "angle"
    else:
        own = _KINDS.get(kind, "feature")
    known = "1" if own == "quat" else known_unit(own, unit) if unit else ""
    if known is None:
        raise DataFormatError(
            f"{where}: column 'units' must be a unit of {kind}, got {unit!r}"
        )
    point = row.get("tracked_point", "")
    point = "" if point in MISSING else point
    words = point.lower().replace("_", " ").replace("-", " ").split()
    side = next((s for s in map(parse_side, words) if s is not None), None)
    sensor = point or None
    for prefix in ("left", "right"):
        if side is None and point.lower().startswith(prefix):
            side = parse_side(prefix)
    return Channel(row["name"], own, known, sensor, side)  # type: ignore[arg-type]


def _sidecar(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        line = getattr(error, "lineno", 1)
        raise DataFormatError(f"{path}:{line}: this is not JSON") from error
    if not isinstance(content, dict):
        raise DataFormatError(f"{path}:1: there must be an object of JSON")
    return content


def _axis(
    table: Table, latency: str | None, sidecar: dict[str, Any], fs: float | None
) -> TimeAxis:
    rate = fs if fs is not None else sidecar.get("SamplingFrequency")
    if isinstance(rate, bool) or not isinstance(rate, (int, float, type(None))):
        rate = None
    if rate is not None and not 0 < rate < math.inf:
        rate = None
    if latency is not None and len(table) > 1:
        stamps = table.numbers(latency)
        missing = ~np.isfinite(stamps)
        if missing.any():
            where = table.where(int(np.argmax(missing)), latency)
            raise DataFormatError(f"{where} must hold a time stamp, got none")
        return time_axis(stamps, "s", rate, f"{table.path}: column {latency!r}")
    if rate is None:
        raise DataFormatError(
            f"{table.path}: motion.json must have a SamplingFrequency; give fs="
        )
    return TimeAxis(float(rate), None, [])


def _events(path: Path, stem: str) -> tuple[Side | None, Segments | None]:
    """Return the side and the labels of the events that belong to signals."""
    from mlmethods.motion.export import read_events

    without = "_".join(x for x in stem.split("_") if not x.startswith("tracksys-"))
    for name in (stem, without):
        file = path.with_name(f"{name}_events.tsv")
        if file.is_file():
            tracks = read_events(file)
            key = next(iter(tracks), None)
            if key is None:
                return None, None
            if len(tracks) > 1:
                raise DataFormatError(
                    f"{file}: labels of one arm are needed, got {', '.join(tracks)}"
                )
            return parse_side(key), tracks[key]
    return None, None
