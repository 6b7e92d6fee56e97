"""Reader of the attribute-relation file format (ARFF) of Weka."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from mlmethods.datasets.attributes import (
    Attribute,
    Row,
    build_frame,
    fail,
    parse_attribute,
    read_lines,
    split_values,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_arff"]


def read_arff(path: str | os.PathLike[str]) -> pd.DataFrame:
    r"""Read a dense ARFF file.

    Parameters
    ----------
    path : path-like
        A text file in UTF-8.

    Returns
    -------
    pandas.DataFrame of shape (n_rows, n_attributes)
        Numeric attributes are float64 (integer ones int64 where none is missing),
        nominal ones categoricals with all declared values, string ones objects,
        dates datetime64. A bare ``?`` is a missing value.

    Raises
    ------
    DataFormatError
        If the file does not follow the format, or is sparse or weighted; the message
        names file and line.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "weather.arff")
    >>> _ = path.write_text(
    ...     "@relation weather\n@attribute 'air temperature' real\n"
    ...     "@attribute play {yes,no}\n@data\n21.5,yes\n?,no\n"
    ... )
    >>> read_arff(path).columns.tolist()
    ['air temperature', 'play']
    """
    path = Path(path)
    attributes: list[Attribute] = []
    rows: list[Row] = []
    in_data = False
    lines = read_lines(path)
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text.startswith("%"):
            continue
        if in_data:
            rows.append(_row(text, attributes, path, number))
            continue
        keyword = text.split(None, 1)[0].lower()
        if keyword == "@attribute":
            attributes.append(parse_attribute(text[len(keyword) :], path, number))
        elif keyword == "@data":
            in_data = True
            _check_names(attributes, path, number)
        elif keyword != "@relation":
            raise fail(
                path,
                number,
                f"expected @relation, @attribute or @data, found {text[:40]!r}",
            )
    if not in_data:
        raise fail(path, len(lines), "the file ends before @data")
    if not rows:
        raise fail(path, len(lines), "there are no rows after @data")
    return build_frame(attributes, rows, path)


def _check_names(attributes: list[Attribute], path: Path, line: int) -> None:
    if not attributes:
        raise fail(path, line, "no attribute is declared before @data")
    names = [attribute.name for attribute in attributes]
    for name in names:
        if names.count(name) > 1:
            raise fail(path, line, f"the attribute {name!r} is declared twice")


def _row(text: str, attributes: list[Attribute], path: Path, line: int) -> Row:
    if text.startswith("{"):
        raise fail(
            path,
            line,
            "the rows are sparse; write them dense, one value for each attribute",
        )
    values = split_values(text, path, line)
    if len(values) == len(attributes) + 1 and values[-1][0].startswith("{"):
        raise fail(path, line, "the rows have weights, which are not read")
    if len(values) != len(attributes):
        raise fail(
            path, line, f"expected {len(attributes)} values, found {len(values)}"
        )
    return Row(line, [None if v == "?" and not quoted else v for v, quoted in values])
