"""Subject 86 of the CMU motion capture data: activities of a few seconds each."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import numpy as np

from mlmethods.errors import DataFormatError, DatasetNotFoundError
from mlmethods.motion.collection import RecordingDataset
from mlmethods.motion.datasets._layout import find_root
from mlmethods.motion.recording import Channel, Recording
from mlmethods.motion.segments import Segments

__all__ = ["load_cmu86"]

_FS = 120.0
_ANGLES = 4
_GET = (
    "The nine recordings are files of the package tsseg (0.3.0): data/mocap/86_*.csv; "
    "install it, or give a folder with these files as root"
)


def load_cmu86(root: str | os.PathLike[str] | None = None) -> RecordingDataset:
    """Return nine recordings of four joint angles at 120 Hz with their activities.

    The numbers of activities belong to one recording each; ``state 2`` of two
    recordings is not the same activity. They are for finding where something changes,
    not for recognizing what it is.

    Parameters
    ----------
    root : path-like, optional
        A folder with the files ``86_*.csv``; by default those of the package tsseg if
        it is installed, else ``cmu86`` in a data root.

    Returns
    -------
    RecordingDataset
        One subject, ``"86"``.

    Raises
    ------
    DatasetNotFoundError
        If there are no such files.
    DataFormatError
        If a file is not rows of four numbers and a state.
    """
    folder = _installed() if root is None else None
    if folder is None:
        folder = find_root(root, ("cmu86",), "86_*.csv", _GET)
    paths = sorted(folder.glob("86_*.csv"))
    if not paths:
        raise DatasetNotFoundError(f"no files 86_*.csv in {folder}. {_GET}")
    tables = [_table(path) for path in paths]
    count = 1 + max(int(table[:, _ANGLES].max()) for table in tables)
    classes = tuple(f"state {state}" for state in range(count))
    channels = tuple(
        Channel(f"angle_{index}", "angle", "deg") for index in range(_ANGLES)
    )
    return RecordingDataset(
        [
            Recording(
                table[:, :_ANGLES],
                _FS,
                channels,
                subject="86",
                session=path.stem[3:],
                labels=Segments.from_frames(
                    table[:, _ANGLES].astype(np.int32), _FS, classes
                ),
                meta={"name": path.stem},
            )
            for path, table in zip(paths, tables, strict=True)
        ],
        classes=classes,
        name="CMU motion capture, subject 86",
    )


def _installed() -> Path | None:
    spec = importlib.util.find_spec("tsseg")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(place, "data", "mocap")
        if folder.is_dir():
            return folder
    return None


def _table(path: Path) -> np.ndarray:
    try:
        table = np.loadtxt(path, delimiter=",", ndmin=2, encoding="utf-8-sig")
    except ValueError as error:
        raise DataFormatError(f"{path}: rows must be numbers, {error}") from error
    states = table[:, -1]
    if table.shape[1] != _ANGLES + 1 or (states < 0).any() or (states % 1).any():
        raise DataFormatError(
            f"{path}: rows must be four angles and the number of a state, got "
            f"{table.shape[1]} columns"
        )
    return table
