"""Who, when and what: from names of files and from participants.tsv."""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlmethods.errors import DataFormatError
from mlmethods.motion._labels import parse_side
from mlmethods.motion.io.table import MISSING, read_rows
from mlmethods.motion.recording import Recording, Side

__all__ = ["Identity", "Participant", "identity_of", "participants", "with_participant"]

_ENTITY = re.compile(r"(?:^|_)(sub|ses|task|acq|run|tracksys)-([^_]+)")
_STROKEREHAB = re.compile(r"(s\d+)_([^_]+)_.*", re.IGNORECASE)
_SIDE = re.compile(r"((paretic|affected|impaired|hemiparetic)_?)?(side|arm)")
_FUGL_MEYER = re.compile(r"fugl_?meyer(_.*)?|fma?(_.*)?")


@dataclass(frozen=True)
class Identity:
    """What the name of a file says."""

    name: str
    subject: str
    session: str | None = None
    activity: str | None = None


@dataclass(frozen=True)
class Participant:
    """A row of participants.tsv."""

    side: Side | None
    fugl_meyer: float | None
    others: dict[str, str] = field(default_factory=dict)


def identity_of(path: Path) -> Identity:
    """Return what the name of a file says.

    BIDS entities (``sub-01_ses-1_task-feeding``), or StrokeRehab's names
    (``s12_feeding_...``); else the subject is the whole name.
    """
    name = path.stem.strip()
    entities = dict(_ENTITY.findall(name))
    if "sub" in entities:
        return Identity(
            name, entities["sub"], entities.get("ses"), entities.get("task")
        )
    match = _STROKEREHAB.fullmatch(name)
    if match:
        return Identity(name, match[1].lower(), None, match[2].strip())
    return Identity(name, name)


def participants(path: Path) -> dict[str, Participant]:
    """Read participants.tsv: side and Fugl-Meyer score by subject.

    Raises
    ------
    DataFormatError
        If there is no column participant_id, or a cell is not accepted.
    """
    names, rows = read_rows(path)
    keys = [name.lower().replace(" ", "_").replace("-", "_") for name in names]
    if "participant_id" not in keys:
        raise DataFormatError(
            f"{path}:1: there must be a column participant_id, got {', '.join(names)}"
        )
    found = {}
    for line, cells in rows:
        row = dict(zip(keys, cells, strict=True))
        side: Side | None = None
        score: float | None = None
        others = {}
        for key, cell in row.items():
            if cell in MISSING or key == "participant_id":
                continue
            if _SIDE.fullmatch(key):
                side = parse_side(cell)
                if side is None:
                    raise DataFormatError(
                        f"{path}:{line}: column {key!r} must hold left or right, got "
                        f"{cell!r}"
                    )
            elif _FUGL_MEYER.fullmatch(key):
                score = _score(cell, f"{path}:{line}: column {key!r}")
            else:
                others[key] = cell
        found[_plain(row["participant_id"])] = Participant(side, score, others)
    return found


def with_participant(recording: Recording, known: dict[str, Participant]) -> Recording:
    """Return the recording with what is known of its subject."""
    person = known.get(_plain(recording.subject))
    if person is None:
        return recording
    meta: dict[str, Any] = dict(recording.meta)
    if person.fugl_meyer is not None:
        meta["fugl_meyer"] = person.fugl_meyer
    if person.others:
        meta["participant"] = person.others
    side = recording.side if recording.side is not None else person.side
    return dataclasses.replace(recording, side=side, meta=meta)


def _plain(subject: str) -> str:
    return subject.strip().lower().removeprefix("sub-")


def _score(cell: str, where: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataFormatError(f"{where} must hold a score, got {cell!r}")
    return value
