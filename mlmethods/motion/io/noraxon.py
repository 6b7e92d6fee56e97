"""Exports of Noraxon MyoMotion as text."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

from mlmethods.errors import DataFormatError
from mlmethods.motion._units import known_unit
from mlmethods.motion.io.assemble import recording_of
from mlmethods.motion.io.columns import ColumnMap, split_unit
from mlmethods.motion.io.names import identity_of
from mlmethods.motion.io.table import text_table
from mlmethods.motion.recording import Channel, Recording, Side

__all__ = ["is_noraxon", "noraxon_channel", "read_noraxon"]

_PREFIX = re.compile(
    r"noraxon\s+myomotion[-\s.]+(segments|joints|trajectories)?[-\s.]*"
)
_SIDES: dict[str, Side] = {"lt": "left", "rt": "right"}
_TRUNK = ("lumbar", "thoracic")
_MARK = re.compile(r"noraxon|myomotion|\b[lr]t [a-z ]+\(deg\)", re.IGNORECASE)
_BOOKKEEPING = re.compile(
    r"time|activity|activities|activity names|marker.*|.*contact.*|class|label|side|"
)


def is_noraxon(text: str) -> bool:
    """Return whether the beginning of a file looks like such an export."""
    return _MARK.search(text) is not None


def noraxon_channel(name: str) -> Channel:
    """Return the channel of a column, with StrokeRehab's name.

    Words are glued in lower case, the side comes after them and the unit last.

    Examples
    --------
    >>> from mlmethods.motion.io.noraxon import noraxon_channel
    >>> noraxon_channel("Noraxon MyoMotion-Joints-Elbow LT-Flexion (deg)").name
    'elbowflexionltdeg'
    >>> noraxon_channel("RT Shoulder Rotation - out (deg)").name
    'shoulderrotationoutrtdeg'
    >>> noraxon_channel("Foot Accel Sensor X LT (mG)").kind
    'accel'
    """
    base, unit = split_unit(name)
    words = re.findall(r"[a-z0-9]+", _PREFIX.sub("", base.lower()))
    plain = "" if unit is None else re.sub(r"[^a-z0-9]", "", unit.lower())
    ends = [word for word in words if word in _SIDES]
    glued = "".join([*(word for word in words if word not in _SIDES), *ends, plain])
    trunk = bool(words) and words[0] in _TRUNK
    side = _SIDES[ends[-1]] if ends and not trunk else None
    kind = _kind(words, unit)
    filler = {"accel", "sensor", "rot", "gyro", "gyroscope", "x", "y", "z", "w"}
    sensor = None
    if kind != "angle":
        rest = [word for word in words if word not in filler and word not in _SIDES]
        sensor = "".join(rest) or None
    known = known_unit(kind, unit) if unit is not None else ""
    if known is None:
        raise DataFormatError(
            f"column {name!r} must have a unit of {kind}, got {unit!r}"
        )
    known = "1" if kind == "quat" else known
    return Channel(glued or name, kind, known, sensor, side)  # type: ignore[arg-type]


def read_noraxon(
    path: Path, column_map: ColumnMap | None = None, fs: float | None = None
) -> Recording:
    """Read an export; what `column_map` gives replaces what the names say.

    Raises
    ------
    DataFormatError
        If there is no table, or a cell, unit or rate is not accepted.
    """
    table = text_table(path)
    columns = ColumnMap() if column_map is None else column_map
    if columns.channels is None:
        try:
            channels = _channels(table.names, columns)
        except DataFormatError as error:
            line = "" if table.layout is None else f":{(table.layout.header or 0) + 1}"
            raise DataFormatError(f"{path}{line}: {error}") from error
        columns = dataclasses.replace(columns, channels=channels)
    return recording_of(table, columns, fs, identity_of(path))


def _channels(names: Sequence[str], columns: ColumnMap) -> dict[str, Channel]:
    taken = {columns.time, columns.label, columns.side, *columns.ignore}
    found = {
        name: noraxon_channel(name)
        for name in names
        if name not in taken and not _BOOKKEEPING.fullmatch(split_unit(name)[0].lower())
    }
    used = [channel.name for channel in found.values()]
    for name, channel in found.items():
        if used.count(channel.name) > 1:
            raise DataFormatError(
                f"columns must have different names, got {channel.name!r} twice, last "
                f"as {name!r}"
            )
    return found


def _kind(words: list[str], unit: str | None) -> str:
    if "accel" in words or (unit is not None and unit.lower() == "mg"):
        return "accel"
    if "gyro" in words or "gyroscope" in words:
        return "gyro"
    if unit is not None and known_unit("gyro", unit) and "/" in unit:
        return "gyro"
    if "rot" in words and (unit is None or not known_unit("angle", unit)):
        return "quat"
    if unit is not None and known_unit("angle", unit):
        return "angle"
    return "feature"
