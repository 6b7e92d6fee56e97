"""One entry for every format of a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mlmethods.common.validation import check_choice, check_real
from mlmethods.errors import DataFormatError, DatasetNotFoundError
from mlmethods.motion.io.assemble import recording_of
from mlmethods.motion.io.bids import is_bids, read_bids
from mlmethods.motion.io.columns import ColumnMap
from mlmethods.motion.io.mvnx import read_mvnx
from mlmethods.motion.io.names import identity_of, participants, with_participant
from mlmethods.motion.io.noraxon import is_noraxon, read_noraxon
from mlmethods.motion.io.table import head, parquet_table, text_table
from mlmethods.motion.recording import Recording

__all__ = ["FORMATS", "SUFFIXES", "check_arguments", "read", "read_file"]

FORMATS = ("auto", "csv", "parquet", "noraxon", "mvnx", "bids")
"""Names of formats."""

SUFFIXES = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".mvnx": "mvnx",
}
"""Suffix in lower case to the format that it may be."""

# How far above a file the table of participants is looked for.
_LEVELS = 5


def read(
    path: str | os.PathLike[str],
    *,
    format: str = "auto",
    column_map: Any = None,
    fs: float | None = None,
) -> Any:
    r"""Read a recording from a file, or all recordings in a folder.

    Parameters
    ----------
    path : path-like
        A table as CSV, TSV or Parquet; an export of Noraxon MyoMotion; an Xsens
        ``.mvnx``; a ``*_motion.tsv`` of BIDS-motion; or a folder, which
        :func:`read_folder` reads.
    format : {"auto", "csv", "parquet", "noraxon", "mvnx", "bids"}
        ``"auto"`` tells it from the name and the beginning of the file.
    column_map : ColumnMap, mapping or path-like, optional
        What the columns of a table are, where their names do not tell.
    fs : float, optional
        Samples per second, where the file does not tell, or tells something else.

    Returns
    -------
    Recording, or list of Recording for a folder
        Accelerations in m/s2, angular velocities in rad/s, joint angles in degrees.
        Missing values are NaN. Uneven time stamps are in ``meta["time"]``; the frames
        count as uniform until :class:`~mlmethods.motion.preprocess.SensorSanitizer`
        puts them on a grid, and so do labels of frames.

    Raises
    ------
    DatasetNotFoundError
        If nothing is there.
    DataFormatError
        If the file is damaged, or its rate, units or labels cannot be told; the
        message names file, line and column.
    InvalidInputError
        If an argument is not accepted.

    Notes
    -----
    A unit that is not written is told from the values: accelerations are 1 (g), 9.81
    (m/s2) or 1000 (mg) long at rest, within 15 %; angular velocities of a moving arm
    reach 0.5 to 20 in rad/s and more than 60 in deg/s. What fits none is refused. The
    assumption is in :attr:`Recording.quality`.

    The subject, session and activity come from the name of the file, side and
    Fugl-Meyer score from a ``participants.tsv`` beside or above it.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from mlmethods.motion import io
    >>> path = Path(tempfile.mkdtemp(), "s1_feeding_1.csv")
    >>> rows = ["time_ms;ax (g);ay (g);az (g)"]
    >>> rows += [f"{20 * i};0,0;0,0;1,0" for i in range(100)]
    >>> _ = path.write_text("\n".join(rows))
    >>> recording = io.read(path)
    >>> recording.fs, recording.n_frames, recording.subject
    (50.0, 100, 's1')
    >>> recording.data[0].round(2)
    array([0.  , 0.  , 9.81], dtype=float32)
    """
    check_arguments(format, fs)
    source = Path(path)
    if source.is_dir():
        from mlmethods.motion.io.folder import read_folder

        return read_folder(source, format=format, column_map=column_map, fs=fs)
    if not source.is_file():
        raise DatasetNotFoundError(f"path must be a file or folder, {source} is none")
    recording = read_file(source, format, ColumnMap.of(column_map), fs)
    table = _participants_above(source)
    if table is None:
        return recording
    return with_participant(recording, participants(table))


def check_arguments(format: str, fs: float | None) -> None:
    """Refuse arguments that no format accepts.

    Raises
    ------
    InvalidInputError
        If the format is unknown or `fs` is not positive.
    """
    check_choice("format", format, FORMATS)
    if fs is not None:
        check_real("fs", fs, minimum=0, open_minimum=True)


def read_file(
    path: Path, format: str, column_map: ColumnMap, fs: float | None
) -> Recording:
    """Read one file.

    Raises
    ------
    DataFormatError
        If it does not follow its format.
    """
    kind = _format_of(path) if format == "auto" else format
    if kind == "mvnx":
        return read_mvnx(path, fs)
    if kind == "bids":
        return read_bids(path, fs)
    if kind == "noraxon":
        return read_noraxon(path, column_map, fs)
    table = parquet_table(path) if kind == "parquet" else text_table(path)
    return recording_of(table, column_map, fs, identity_of(path))


def _format_of(path: Path) -> str:
    if is_bids(path):
        return "bids"
    kind = SUFFIXES.get(path.suffix.lower().strip())
    if kind is None:
        raise DataFormatError(
            f"{path}: the format is not known from the suffix {path.suffix!r}; give "
            f"format= as one of {', '.join(FORMATS[1:])}"
        )
    if kind == "csv" and is_noraxon(head(path)):
        return "noraxon"
    return kind


def _participants_above(path: Path) -> Path | None:
    for folder in list(path.resolve().parents)[:_LEVELS]:
        if (folder / "participants.tsv").is_file():
            return folder / "participants.tsv"
        if (folder / "dataset_description.json").is_file():
            return None
    return None
