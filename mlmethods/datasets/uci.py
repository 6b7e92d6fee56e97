"""The layout of the 121 UCI classification problems of Fernandez-Delgado et al."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np

from mlmethods.datasets.attributes import fail, read_lines
from mlmethods.datasets.table import Table
from mlmethods.errors import DataFormatError, DatasetNotFoundError

__all__ = ["load_uci121"]

_HEADER = re.compile(r"\s*(\w+)\s*=\s*(\S*)\s*")
_FOLDS = 4


def load_uci121(root: str | os.PathLike[str], name: str) -> Table:
    """Load one of the 121 problems, with its published splits.

    Parameters
    ----------
    root : path-like
        The folder that holds one folder for each problem.
    name : str
        The problem: ``<root>/<name>/<name>.txt`` describes the data files, which
        have one header line and then ``index feature ... feature label`` in a line.

    Returns
    -------
    Table
        ``X`` has the columns ``f1`` to ``fd`` as the files have them (standardised by
        the authors), ``y`` the labels from 0. ``selection`` is the split in
        ``conxuntos.dat``, ``folds`` the four folds in ``conxuntos_kfold.dat``; a
        problem with a test file of its own and no folds has that one fold. Row
        numbers start from 0.

    Raises
    ------
    DatasetNotFoundError
        If the folder or one of the files is missing.
    DataFormatError
        If the files do not agree with each other; it names file and line.

    References
    ----------
    M. Fernández-Delgado, E. Cernadas, S. Barro, D. Amorim, "Do we need hundreds of
    classifiers to solve real world classification problems?", JMLR 15 (2014).
    """
    import pandas as pd

    folder = Path(root, name)
    header_path = _existing(folder / f"{name}.txt")
    header = _read_header(header_path)
    n_features = _count(header, "n_entradas", header_path)
    n_classes = _count(header, "n_clases", header_path)
    sizes, parts = [], []
    for file_key, count_key in (("fich1", "n_patrons1"), ("fich2", "n_patrons2")):
        if file_key in header:
            size = _count(header, count_key, header_path)
            path = _existing(folder / header[file_key])
            parts.append(_read_rows(path, size, n_features, n_classes))
            sizes.append(size)
    if not parts:
        raise DataFormatError(f"{header_path} names no data file (fich1)")
    X = np.concatenate([features for features, _ in parts])
    y = np.concatenate([labels for _, labels in parts])
    selection = _read_splits(folder / "conxuntos.dat", 1, len(y))
    folds = _read_splits(folder / "conxuntos_kfold.dat", _FOLDS, len(y))
    if not folds and len(sizes) == 2:
        folds = ((np.arange(sizes[0]), np.arange(sizes[0], len(y))),)
    return Table(
        X=pd.DataFrame(X, columns=[f"f{j + 1}" for j in range(n_features)]),
        y=pd.Series(y, name="class"),
        task="classification",
        name=name,
        source="UCI, in the version of Fernandez-Delgado et al. (2014)",
        license="that of each UCI dataset",
        selection=selection[0] if selection else None,
        folds=folds,
    )


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise DatasetNotFoundError(
            f"there is no file {path}; load_uci121 reads the unpacked archive of the "
            "121 problems, one folder for each problem below its root"
        )
    return path


def _read_header(path: Path) -> dict[str, str]:
    header = {}
    for number, line in enumerate(read_lines(path), start=1):
        if line.strip():
            match = _HEADER.fullmatch(line)
            if match is None:
                raise fail(path, number, f"expected 'key= value', found {line!r}")
            header[match[1]] = match[2]
    return header


def _count(header: dict[str, str], key: str, path: Path) -> int:
    value = header.get(key, "")
    if not value.isdecimal() or int(value) == 0:
        raise DataFormatError(
            f"{path} must give {key} as a positive integer, found {value!r}"
        )
    return int(value)


def _read_rows(
    path: Path, size: int, n_features: int, n_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    X = np.empty((size, n_features))
    y = np.empty(size, dtype=np.int64)
    lines = read_lines(path)
    rows = [
        (i, line) for i, line in enumerate(lines, start=1) if i > 1 and line.strip()
    ]
    if len(rows) != size:
        raise fail(path, len(lines), f"expected {size} rows, found {len(rows)}")
    for row, (number, line) in enumerate(rows):
        values = line.split()
        if len(values) != n_features + 2:
            raise fail(
                path,
                number,
                f"expected an index, {n_features} features and a label, found "
                f"{len(values)} values",
            )
        try:
            X[row] = [float(value) for value in values[1:-1]]
            y[row] = int(values[-1])
        except ValueError as error:
            raise fail(path, number, str(error)) from None
        if not np.isfinite(X[row]).all() or not 0 <= y[row] < n_classes:
            raise fail(
                path, number, f"expected finite features and a label below {n_classes}"
            )
    return X, y


def _read_splits(
    path: Path, count: int, n: int
) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Return pairs of lines of row numbers; no file, no splits."""
    if not path.is_file():
        return ()
    lines = [
        (number, line)
        for number, line in enumerate(read_lines(path), start=1)
        if line.strip()
    ]
    if len(lines) != 2 * count:
        raise fail(
            path, lines[-1][0], f"expected {2 * count} lines, found {len(lines)}"
        )
    sets = []
    for number, line in lines:
        try:
            indices = np.array(line.split(), dtype=np.int64)
        except ValueError:
            raise fail(path, number, "expected row numbers") from None
        if indices.min() < 0 or indices.max() >= n:
            raise fail(path, number, f"a row number is outside 0..{n - 1}")
        sets.append(indices)
    for index in range(count):
        if np.intersect1d(sets[2 * index], sets[2 * index + 1]).size:
            raise fail(path, lines[2 * index + 1][0], "a row is on both sides")
    return tuple((sets[2 * i], sets[2 * i + 1]) for i in range(count))
