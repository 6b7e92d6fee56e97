"""All recordings of a folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mlmethods.errors import DatasetNotFoundError
from mlmethods.motion.io.columns import ColumnMap
from mlmethods.motion.io.names import Participant, participants, with_participant
from mlmethods.motion.io.reading import SUFFIXES, check_arguments, read_file
from mlmethods.motion.recording import Recording

__all__ = ["read_folder", "recording_files"]

# Tables that describe recordings and are none.
_OTHER_NAMES = {"participants.tsv", "samples.tsv", "segments.csv", "counts.csv"}
_OTHER_ENDS = (
    "_channels.tsv",
    "_events.tsv",
    "_scans.tsv",
    "_sessions.tsv",
    "_electrodes.tsv",
)


def read_folder(
    path: str | os.PathLike[str],
    *,
    format: str = "auto",
    column_map: Any = None,
    fs: float | None = None,
) -> list[Recording]:
    """Read every recording in a folder and the folders in it.

    Formats may be mixed. Hidden files, ``.txt`` and ``.json`` files, and tables that
    describe recordings (events, channels, scans, exported segments) are left out. A
    ``participants.tsv`` gives the side and the Fugl-Meyer score of the subjects below
    its folder.

    Parameters
    ----------
    path : path-like
        A folder.
    format, column_map, fs
        As for :func:`read`, and the same for all files.

    Returns
    -------
    list of Recording
        In the order of the paths.

    Raises
    ------
    DatasetNotFoundError
        If there is no such folder or no recording in it.
    DataFormatError
        If a file is damaged; the message names it.

    See Also
    --------
    read : One file.
    """
    check_arguments(format, fs)
    root = Path(path)
    if not root.is_dir():
        raise DatasetNotFoundError(f"path must be a folder, {root} is none")
    files = recording_files(root)
    if not files:
        raise DatasetNotFoundError(
            f"{root} holds no recording; files of sensors end in "
            f"{', '.join(suffix for suffix in SUFFIXES if suffix != '.txt')}"
        )
    columns = ColumnMap.of(column_map)
    tables: dict[Path, dict[str, Participant]] = {}
    recordings = []
    for file in files:
        recording = read_file(file, format, columns, fs)
        table = _participants_of(file, root)
        if table is not None:
            if table not in tables:
                tables[table] = participants(table)
            recording = with_participant(recording, tables[table])
        recordings.append(recording)
    return recordings


def recording_files(root: Path) -> list[Path]:
    """Return the files of a folder that may hold signals, in order."""
    return [
        file
        for file in sorted(root.rglob("*"))
        if file.is_file()
        and file.suffix.lower().strip() in SUFFIXES
        and file.suffix.lower().strip() != ".txt"
        and file.name.lower() not in _OTHER_NAMES
        and not file.name.lower().endswith(_OTHER_ENDS)
        and not any(x.startswith(".") for x in file.relative_to(root).parts)
    ]


def _participants_of(file: Path, root: Path) -> Path | None:
    folder = file.parent
    while True:
        if (folder / "participants.tsv").is_file():
            return folder / "participants.tsv"
        if folder == root:
            return None
        folder = folder.parent
