"""Tables in text and Parquet files, with the place of every cell."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlmethods.errors import DataFormatError
from mlmethods.interfaces import NDArray
from mlmethods.motion._units import known_unit

if TYPE_CHECKING:
    import pyarrow

__all__ = ["MISSING", "Table", "head", "parquet_table", "read_rows", "text_table"]

MISSING = ["", "n/a", "N/A", "NA", "nan", "NaN", "NAN", "null", "NULL", "None", "#N/A"]
"""Cells without a value."""

_HEAD_BYTES = 65536
_DELIMITERS = (";", "\t", ",", "|")
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")
_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of a file.

    Attributes
    ----------
    path : pathlib.Path
        The file.
    names : list of str
        Names of the columns.
    units : list of str or None
        Units, where the file has them in a row of their own.
    columns : list of pyarrow.ChunkedArray
        What is in them.
    layout : _Layout or None
        How the text is laid out; None for Parquet.
    """

    path: Path
    names: list[str]
    units: list[str | None]
    columns: list[pyarrow.ChunkedArray]
    layout: _Layout | None

    def __len__(self) -> int:
        return len(self.columns[0]) if self.columns else 0

    def column(self, name: str) -> pyarrow.ChunkedArray:
        """Return a column."""
        return self.columns[self.names.index(name)]

    def where(self, row: int, name: str) -> str:
        """Return the place of a cell for a message."""
        if self.layout is None:
            return f"{self.path}: row {row} of column {name!r}"
        kept = (place for place, cells in _rows(self.path, self.layout) if cells)
        line = next(place for index, place in enumerate(kept) if index == row)
        return f"{self.path}:{line}: column {name!r}"

    def numbers(self, name: str) -> NDArray:
        """Return a column as float64, NaN where there is no value.

        Raises
        ------
        DataFormatError
            If a cell is not a number.
        """
        import pyarrow as pa

        values = self.column(name)
        kind = values.type
        if pa.types.is_dictionary(kind):
            values = values.cast(kind.value_type)
            kind = values.type
        if pa.types.is_timestamp(kind):
            return values.cast(pa.timestamp("ns")).cast(pa.int64()).to_numpy() / 1e9
        if not (
            pa.types.is_integer(kind)
            or pa.types.is_floating(kind)
            or pa.types.is_boolean(kind)
            or pa.types.is_null(kind)
        ):
            row, cell = self._first_text(name)
            raise DataFormatError(
                f"{self.where(row, name)} must hold numbers, got {cell!r}"
            )
        return np.asarray(values.cast(pa.float64()).to_numpy(zero_copy_only=False))

    def is_text(self, name: str) -> bool:
        """Return whether most of a column's values are no numbers."""
        import pyarrow as pa

        kind = self.column(name).type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            return pa.types.is_dictionary(kind)
        cells = [cell for cell in self.column(name).to_pylist() if cell is not None]
        return 2 * sum(not _is_number(cell) for cell in cells) > len(cells)

    def texts(self, name: str) -> list[str | None]:
        """Return a column as text, None where there is no value."""
        cells = self.column(name).to_pylist()
        return [None if cell is None else str(cell).strip() or None for cell in cells]

    def _first_text(self, name: str) -> tuple[int, Any]:
        for row, cell in enumerate(self.column(name).to_pylist()):
            if cell is not None and not _is_number(cell):
                return row, cell
        return 0, self.column(name).type


@dataclass(frozen=True)
class _Layout:
    """How a table is written: what parts cells, and where its rows begin."""

    encoding: str
    delimiter: str
    decimal: str
    header: int | None
    units: int | None
    first: int


def head(path: Path) -> str:
    """Return the beginning of a text file."""
    with path.open("rb") as file:
        return _decoded(file.read(_HEAD_BYTES))[0]


def text_table(path: Path, names: list[str] | None = None) -> Table:
    """Read a table from text.

    What parts cells, whether decimals have a comma, and after how many lines the names
    of the columns come are told from the beginning of the file.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    names : list of str, optional
        Names of the columns of a file that has none in it.

    Raises
    ------
    DataFormatError
        If no table is found, or rows have different numbers of cells.
    """
    with path.open("rb") as file:
        raw = file.read(_HEAD_BYTES)
    text, encoding = _decoded(raw)
    if not text.strip():
        raise DataFormatError(f"{path}: the file is empty")
    # The last line may be cut.
    lines = re.split(r"\r\n|\n|\r", text)
    lines = lines[:-1] if len(raw) == _HEAD_BYTES else lines
    layout = _layout(path, lines, encoding, headless=names is not None)
    units: list[str | None] = []
    if names is None:
        assert layout.header is not None
        names = [cell.strip() for cell in _cells(lines[layout.header], layout)]
        if layout.units is not None:
            row = _cells(lines[layout.units], layout)
            units = [cell.strip().strip("()[]") or None for cell in row]
    units = units or [None] * len(names)
    columns = _arrow(path, layout, len(names))
    if len(names) > 1 and not names[-1] and columns[-1].null_count == len(columns[-1]):
        # Some programs end every line with a delimiter.
        names, units, columns = names[:-1], units[:-1], columns[:-1]
    _check_names(path, names, None if layout.header is None else layout.header + 1)
    return Table(path, names, units, columns, layout)


def parquet_table(path: Path) -> Table:
    """Read a table from a Parquet file.

    Raises
    ------
    DataFormatError
        If it is none.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        if not path.exists():
            raise
        raise DataFormatError(f"{path}: this is no complete Parquet file") from error
    kept = [name for name in table.column_names if not name.startswith("__index_level")]
    _check_names(path, kept, None)
    columns = [table.column(name) for name in kept]
    return Table(path, kept, [None] * len(kept), columns, None)


def read_rows(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Read a small table of text: the header, and each row with its line.

    Raises
    ------
    DataFormatError
        If a row has another number of cells than the header.
    """
    text = head(path) if path.stat().st_size <= _HEAD_BYTES else None
    if text is None:
        text = _decoded(path.read_bytes())[0]
    first = text.split("\n", 1)[0]
    delimiter = next((mark for mark in ("\t", ";", ",") if mark in first), "\t")
    rows = [
        (line, [cell.strip() for cell in row])
        for line, row in _numbered(path, io.StringIO(text, newline=""), delimiter)
        if any(cell.strip() for cell in row)
    ]
    if not rows:
        raise DataFormatError(f"{path}: the file is empty")
    names = rows[0][1]
    for line, cells in rows[1:]:
        if len(cells) != len(names):
            raise DataFormatError(
                f"{path}:{line}: a row must have {len(names)} cells, got {len(cells)}"
            )
    return names, rows[1:]


def _decoded(raw: bytes) -> tuple[str, str]:
    for mark, encoding in _MARKS:
        if raw.startswith(mark):
            return raw.decode(encoding, errors="ignore"), encoding
    try:
        # A character may be cut at the end.
        codecs.getincrementaldecoder("utf-8")().decode(raw)
    except UnicodeDecodeError:
        return raw.decode("latin-1"), "latin-1"
    return raw.decode("utf-8", errors="ignore"), "utf-8"


def _layout(path: Path, lines: list[str], encoding: str, *, headless: bool) -> _Layout:
    """Find the line of names: as wide as the first row of numbers, and just above."""
    for delimiter in _DELIMITERS:
        rows = [next(csv.reader([line], delimiter=delimiter), []) for line in lines]
        # Most lines are those of the table; free lines above it are narrower.
        widths = Counter(len(row) for row in rows if any(_values(row)))
        if not widths:
            break
        width = max(widths, key=lambda width: (widths[width], width))
        if headless:
            if width > 1 or delimiter == _DELIMITERS[-1]:
                decimal = _decimal(rows, delimiter)
                return _Layout(encoding, delimiter, decimal, None, None, 0)
            continue
        if width < 2:
            continue
        # Blank lines and rows without any value may come in between.
        filled = [i for i, row in enumerate(rows) if any(_values(row))]
        for place, index in enumerate(filled[1:], 1):
            header, units = filled[place - 1], None
            first = header + 1
            if _are_units(rows[header]) and place > 1:
                header, units = filled[place - 2], header
            wide = len(rows[header]) == width
            if wide and _is_data(rows[index]) and not _is_data(rows[header]):
                decimal = _decimal(rows[index:], delimiter)
                return _Layout(encoding, delimiter, decimal, header, units, first)
    raise DataFormatError(
        f"{path}: no line of column names followed by rows of numbers was found"
    )


def _values(row: list[str]) -> list[str]:
    return [cell.strip() for cell in row if cell.strip() not in MISSING]


def _is_data(row: list[str]) -> bool:
    cells = _values(row)
    numbers = sum(
        bool(_NUMBER.fullmatch(cell)) or bool(re.match(r"\d{4}-\d\d-\d\d", cell))
        for cell in cells
    )
    return bool(cells) and 2 * numbers >= len(cells)


def _are_units(row: list[str]) -> bool:
    cells = [cell.strip().strip("()[]") for cell in row if cell.strip()]
    times = ("s", "ms", "us", "sec", "µs")
    return bool(cells) and all(
        cell in times
        or any(known_unit(kind, cell) for kind in ("accel", "gyro", "angle"))
        for cell in cells
    )


def _decimal(rows: list[list[str]], delimiter: str) -> str:
    if delimiter == ",":
        return "."
    cells = [cell.strip() for row in rows for cell in row]
    return "," if any(_COMMA.fullmatch(cell) for cell in cells) else "."


def _cells(line: str, layout: _Layout) -> list[str]:
    return next(csv.reader([line], delimiter=layout.delimiter))


def _arrow(path: Path, layout: _Layout, width: int) -> list[pyarrow.ChunkedArray]:
    import pyarrow as pa
    from pyarrow import csv as pa_csv

    numbers = [f"c{column}" for column in range(width)]
    encoding = layout.encoding.replace("utf-8-sig", "utf-8")
    failure: Exception | None = None
    # Types are told from the first block; one that holds all tells them from all.
    for block in (None, min(path.stat().st_size + 1, 2**31 - 1)):
        try:
            table = pa_csv.read_csv(
                path,
                pa_csv.ReadOptions(
                    column_names=numbers,
                    skip_rows=layout.first,
                    encoding=encoding,
                    block_size=block,
                ),
                pa_csv.ParseOptions(delimiter=layout.delimiter),
                pa_csv.ConvertOptions(
                    decimal_point=layout.decimal,
                    null_values=MISSING,
                    strings_can_be_null=True,
                    true_values=[],
                    false_values=[],
                ),
            )
        except UnicodeDecodeError as error:
            raise DataFormatError(
                f"{path}: the text must be {layout.encoding} to the end"
            ) from error
        except pa.ArrowInvalid as error:
            failure = error
        else:
            return list(table.columns)
    for line, cells in _rows(path, layout):
        if cells and len(cells) != width:
            raise DataFormatError(
                f"{path}:{line}: a row must have {width} cells as the names of the "
                f"columns, got {len(cells)}"
            ) from failure
    return _as_text(path, layout, width)


def _as_text(path: Path, layout: _Layout, width: int) -> list[pyarrow.ChunkedArray]:
    """Read a table that has cells of no encoding: as text, then as numbers."""
    import pyarrow as pa

    cells: list[list[str | None]] = [[] for _ in range(width)]
    for _, row in _rows(path, layout):
        for column, cell in zip(cells, row, strict=False):
            text = cell.strip()
            column.append(None if text in MISSING else text)
    columns = []
    for column in cells:
        plain = [
            None if cell is None else cell.replace(layout.decimal, ".")
            for cell in column
        ]
        if all(cell is None or _is_number(cell) for cell in plain):
            values = [None if cell is None else float(cell) for cell in plain]
            columns.append(pa.chunked_array([pa.array(values, pa.float64())]))
        else:
            columns.append(pa.chunked_array([pa.array(column, pa.string())]))
    return columns


def _rows(path: Path, layout: _Layout) -> Iterator[tuple[int, list[str]]]:
    """Yield each line below the header that is not blank, with its number."""
    with path.open(encoding=layout.encoding, newline="", errors="replace") as file:
        for line, cells in _numbered(path, file, layout.delimiter):
            if line > layout.first and cells:
                yield line, cells


def _numbered(path: Path, file: Any, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(file, delimiter=delimiter)
    line = 1
    try:
        for cells in reader:
            yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataFormatError(f"{path}:{line}: {error}") from error


def _is_number(cell: Any) -> bool:
    try:
        float(cell)
    except (TypeError, ValueError):
        return False
    return True


def _check_names(path: Path, names: list[str], line: int | None) -> None:
    place = f"{path}:{line}" if line else str(path)
    seen = set()
    for name in names:
        if name in seen:
            raise DataFormatError(
                f"{place}: columns must have different names, got {name!r} twice"
            )
        seen.add(name)
