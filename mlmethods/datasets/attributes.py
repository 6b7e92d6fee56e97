"""Files whose header declares a type for each attribute: shared by ARFF and KEEL."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlmethods.errors import DataFormatError

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Attribute",
    "Row",
    "build_frame",
    "fail",
    "parse_attribute",
    "read_lines",
    "split_values",
]

_NAME = re.compile(
    r"""\s*('(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[^\s{'"][^\s{]*)\s*(.*)""", re.DOTALL
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}
_NUMERIC = ("numeric", "real", "integer")
_DATE = {
    "yyyy": "%Y",
    "yy": "%y",
    "MM": "%m",
    "dd": "%d",
    "HH": "%H",
    "mm": "%M",
    "ss": "%S",
}


@dataclass(frozen=True)
class Attribute:
    """A declared column: ``kind`` is numeric, integer, nominal, string or date."""

    name: str
    kind: str
    values: tuple[str, ...] = ()
    date_format: str = ""


@dataclass(frozen=True)
class Row:
    """The values of a line, None where they are missing."""

    line: int
    values: list[str | None]


def fail(path: Path, line: int, problem: str) -> DataFormatError:
    """Return the error for one line of a file."""
    return DataFormatError(f"{path}, line {line}: {problem}")


def read_lines(path: Path) -> list[str]:
    """Return the lines of a UTF-8 text file.

    Raises
    ------
    DataFormatError
        If it is empty, or not text; the message names the line.
    """
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise fail(path, line, "it is not text in UTF-8") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise fail(path, line, "it contains a null byte and is no text file")
    if not text.strip():
        raise fail(path, 1, "the file is empty")
    return text.splitlines()


def split_values(text: str, path: Path, line: int) -> list[tuple[str, bool]]:
    r"""Split at commas that are not inside quotes; undo backslash escapes.

    Returns
    -------
    list of (value, quoted)
        A quoted ``'?'`` is text, a bare ``?`` is a missing value.
    """
    if not any(mark in text for mark in "'\"\\"):
        return [(value.strip(), False) for value in text.split(",")]
    values: list[tuple[str, bool]] = []
    current: list[str] = []
    quote, quoted, position = "", False, 0
    while position < len(text):
        char = text[position]
        if char == "\\" and position + 1 < len(text):
            position += 1
            current.append(_ESCAPES.get(text[position], text[position]))
        elif quote:
            if char == quote:
                quote = ""
            else:
                current.append(char)
        elif char in "'\"" and not "".join(current).strip() and not quoted:
            quote, quoted, current = char, True, []
        elif char == ",":
            values.append((_end(current, quoted), quoted))
            current, quoted = [], False
        elif not (quoted and char.isspace()):
            if quoted:
                raise fail(path, line, "there is text after a closing quote")
            current.append(char)
        position += 1
    if quote:
        raise fail(path, line, f"the quote {quote} is never closed")
    values.append((_end(current, quoted), quoted))
    return values


def _end(characters: list[str], quoted: bool) -> str:
    text = "".join(characters)
    return text if quoted else text.strip()


def parse_attribute(declaration: str, path: Path, line: int) -> Attribute:
    """Return the attribute that the text after ``@attribute`` declares.

    KEEL adds the range, as in ``real [0.1, 7.9]``; it is not needed and not checked.
    """
    match = _NAME.match(declaration)
    if match is None or not match[2]:
        raise fail(path, line, "@attribute needs a name and a type")
    name = split_values(match[1], path, line)[0][0]
    kind = match[2].strip()
    if kind.startswith("{"):
        if not kind.endswith("}"):
            raise fail(path, line, f"the values of {name!r} lack the closing brace")
        values = tuple(value for value, _ in split_values(kind[1:-1], path, line))
        if len(set(values)) < len(values):
            raise fail(path, line, f"{name!r} declares a value twice")
        return Attribute(name, "nominal", values)
    word, _, rest = kind.partition(" ")
    word = word.partition("[")[0].lower()
    if word in _NUMERIC:
        return Attribute(name, "integer" if word == "integer" else "numeric")
    if word == "string":
        return Attribute(name, "string")
    if word == "date":
        return Attribute(
            name, "date", date_format=_date_format(rest.strip(), path, line)
        )
    raise fail(
        path,
        line,
        f"attribute {name!r} has the type {word!r}; numeric, real, integer, nominal, "
        "string and date are read",
    )


def _date_format(pattern: str, path: Path, line: int) -> str:
    """Translate a pattern such as ``yyyy-MM-dd`` into that of strptime."""
    pattern = pattern.strip("'\"") or "yyyy-MM-dd'T'HH:mm:ss"
    translated = re.sub(
        "|".join(_DATE), lambda match: _DATE[match[0]], pattern.replace("'T'", "T")
    )
    if re.search(r"(?<!%)[A-SU-Za-z]", translated):
        raise fail(
            path,
            line,
            f"the date format {pattern!r} has parts other than yyyy MM dd HH mm ss",
        )
    return translated


def build_frame(
    attributes: Sequence[Attribute], rows: Sequence[Row], path: Path
) -> pd.DataFrame:
    """Return the typed columns of a file.

    Numbers become float64 (integer attributes without missing values int64), nominal
    attributes categoricals with the declared categories, dates datetime64.

    Raises
    ------
    DataFormatError
        For a value that is not of its attribute's type; it names line and attribute.
    """
    import pandas as pd

    columns = {}
    for index, attribute in enumerate(attributes):
        if attribute.kind in ("numeric", "integer"):
            columns[attribute.name] = pd.Series(_numbers(attribute, index, rows, path))
        elif attribute.kind == "nominal":
            columns[attribute.name] = pd.Series(
                pd.Categorical.from_codes(
                    _codes(attribute, index, rows, path),
                    categories=pd.Index(attribute.values, dtype=object),
                )
            )
        elif attribute.kind == "string":
            columns[attribute.name] = pd.Series(
                [row.values[index] for row in rows], dtype=object
            )
        else:
            columns[attribute.name] = pd.Series(_dates(attribute, index, rows, path))
    return pd.DataFrame(columns)


def _codes(
    attribute: Attribute, index: int, rows: Sequence[Row], path: Path
) -> np.ndarray:
    """Return the positions of nominal values; -1 where they are missing."""
    positions: dict[str | None, int] = {v: i for i, v in enumerate(attribute.values)}
    positions[None] = -1
    codes = np.empty(len(rows), dtype=np.int64)
    for position, row in enumerate(rows):
        value = row.values[index]
        if value not in positions:
            raise fail(
                path,
                row.line,
                f"{value!r} is not a declared value of {attribute.name!r}",
            )
        codes[position] = positions[value]
    return codes


def _numbers(
    attribute: Attribute, index: int, rows: Sequence[Row], path: Path
) -> np.ndarray:
    texts = [row.values[index] for row in rows]
    missing = np.array([text is None for text in texts])
    try:
        numbers = np.array(["nan" if t is None else t for t in texts], dtype=np.float64)
        wrong = ~np.isfinite(numbers) & ~missing
    except ValueError:
        wrong = np.array([text is not None and not _is_number(text) for text in texts])
    if wrong.any():
        row = int(np.argmax(wrong))
        raise fail(
            path,
            rows[row].line,
            f"{texts[row]!r} is not a finite number, as {attribute.name!r} requires",
        )
    whole = attribute.kind == "integer" and not missing.any()
    if whole and (numbers == np.round(numbers)).all():
        return numbers.astype(np.int64)
    return numbers


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _dates(
    attribute: Attribute, index: int, rows: Sequence[Row], path: Path
) -> np.ndarray:
    from datetime import datetime

    dates = np.full(len(rows), np.datetime64("NaT"), dtype="datetime64[s]")
    for position, row in enumerate(rows):
        text = row.values[index]
        if text is None:
            continue
        try:
            dates[position] = datetime.strptime(text, attribute.date_format)
        except ValueError:
            raise fail(
                path,
                row.line,
                f"{text!r} is not a date of the format of {attribute.name!r}",
            ) from None
    return dates
