"""Labeled spans as TextGrid files of Praat, and back."""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mlmethods.common.atomic import write_text
from mlmethods.common.validation import check_real
from mlmethods.errors import DataFormatError
from mlmethods.motion.export.spans import Row, as_tracks, segments_of
from mlmethods.motion.segments import Segments

__all__ = ["read_textgrid", "write_textgrid"]

# Quoted text, where two quotes stand for one; flags; comments; any other word.
_TOKEN = re.compile(r'"((?:[^"]|"")*)"|(<[^>]*>)|(![^\n]*)|([^\s"]+)')
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?%?")


def write_textgrid(
    path: str | os.PathLike[str],
    tracks: Segments | Mapping[str, Segments],
    *,
    duration: float | None = None,
) -> None:
    """Write spans for Praat, one tier of intervals for each track.

    Tiers have no gaps: time without a span, and spans over masked time (``valid``
    False), have a blank label. Confidences are not kept.

    Parameters
    ----------
    path : path-like
        The file, in UTF-8; it is replaced at once or not at all.
    tracks : Segments or mapping of str to Segments
        Spans by name of the tier, such as ``"left"``.
    duration : float, optional
        Seconds of the recording; by default the last end.

    Raises
    ------
    InvalidInputError
        If a span starts before 0 or ends after `duration`.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from mlmethods.motion import Segments, export
    >>> path = Path(tempfile.mkdtemp(), "session.TextGrid")
    >>> spans = Segments([0.1, 0.7], [0.7, 1.5], [1, 0], ("idle", "reach"))
    >>> export.write_textgrid(path, {"left": spans}, duration=2.0)
    >>> export.read_textgrid(path, ("idle", "reach"))["left"] == spans
    True
    """
    named = as_tracks(tracks)
    last = max(
        (float(spans.end[-1]) for spans in named.values() if len(spans)), default=0
    )
    first = min(
        (float(spans.start[0]) for spans in named.values() if len(spans)), default=0
    )
    check_real("the first start", first, minimum=0)
    total = last if duration is None else check_real("duration", duration, minimum=last)
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0"]
    lines += [
        f"xmax = {total!r}",
        "tiers? <exists>",
        f"size = {len(named)}",
        "item []:",
    ]
    for index, (name, spans) in enumerate(named.items(), 1):
        intervals = list(_gapless(spans, total))
        lines += [
            f"    item [{index}]:",
            '        class = "IntervalTier"',
            f"        name = {_quoted(name)}",
            "        xmin = 0",
            f"        xmax = {total!r}",
            f"        intervals: size = {len(intervals)}",
        ]
        for place, (start, end, label) in enumerate(intervals, 1):
            lines += [
                f"        intervals [{place}]:",
                f"            xmin = {start!r}",
                f"            xmax = {end!r}",
                f"            text = {_quoted(label)}",
            ]
    write_text(path, "\n".join(lines) + "\n")


def read_textgrid(
    path: str | os.PathLike[str], classes: Sequence[str] | None = None
) -> dict[str, Segments]:
    """Read the tiers of intervals of a TextGrid.

    Both the long and the short text format are read, in UTF-8 or UTF-16. Intervals
    with a blank label, and tiers of points, are left out.

    Parameters
    ----------
    path : path-like
        The file.
    classes : sequence of str, optional
        Classes in their order.

    Returns
    -------
    dict of str to Segments
        By name of the tier.

    Raises
    ------
    DataFormatError
        If it is no complete TextGrid, or a label or span is not accepted.
    """
    source = Path(path)
    tokens = _Tokens(source, _text(source))
    if tokens.text() != "ooTextFile" or tokens.text() != "TextGrid":
        raise tokens.error("a file of Praat with a TextGrid")
    tokens.number()
    tokens.number()
    tracks = {}
    count = tokens.count() if tokens.flag() == "<exists>" else 0
    for _ in range(count):
        kind, name = tokens.text(), tokens.text()
        tokens.number()
        tokens.number()
        rows = []
        for _ in range(tokens.count()):
            start = tokens.number()
            end = tokens.number() if kind == "IntervalTier" else start
            line = tokens.line
            label = tokens.text().strip()
            if label:
                rows.append(Row(f"{source}:{line}", start, end, label))
        if kind == "IntervalTier":
            tracks[name] = segments_of(rows, classes)
    return tracks


def _gapless(spans: Segments, total: float) -> Iterator[tuple[float, float, str]]:
    before = 0.0
    for span in spans:
        if span.start > before:
            yield before, span.start, ""
        yield max(span.start, before), span.end, span.name if span.valid else ""
        before = span.end
    if total > before:
        yield before, total, ""


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _text(path: Path) -> str:
    raw = path.read_bytes()
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    else:
        encoding = "utf-8-sig"
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataFormatError(f"{path}: the text must be UTF-8 or UTF-16") from error


class _Tokens:
    """Numbers, texts and flags of a file of Praat; all other words are comments."""

    def __init__(self, path: Path, content: str) -> None:
        self.path = path
        self.content = content
        self.matches = self._kept()
        self.line = 1
        self.position = 0

    def _kept(self) -> Iterator[re.Match[str]]:
        for match in _TOKEN.finditer(self.content):
            word = match[4]
            if match[3] is not None or (word and not _NUMBER.fullmatch(word)):
                continue
            yield match

    def text(self) -> str:
        """Return the next token, which must be a text."""
        match = self._next("a quoted text")
        if match[1] is None:
            raise self.error("a quoted text", match[0])
        return match[1].replace('""', '"')

    def number(self) -> float:
        """Return the next token, which must be a number."""
        match = self._next("a number")
        if match[4] is None or match[4].endswith("%"):
            raise self.error("a number", match[0])
        return float(match[4])

    def count(self) -> int:
        """Return the next token, which must be a whole number."""
        value = self.number()
        if value < 0 or value != int(value):
            raise self.error("a count", f"{value:g}")
        return int(value)

    def flag(self) -> str:
        """Return the next token, which must be a flag."""
        match = self._next("a flag")
        if match[2] is None:
            raise self.error("a flag", match[0])
        return match[2]

    def error(self, wanted: str, got: str | None = None) -> DataFormatError:
        """Return the error of a token that is something else."""
        found = "" if got is None else f", got {got[:40]!r}"
        return DataFormatError(
            f"{self.path}:{self.line}: there must be {wanted} here{found}"
        )

    def _next(self, wanted: str) -> re.Match[str]:
        match = next(self.matches, None)
        if match is None:
            raise self.error(f"{wanted}, but the file ends")
        self.line += self.content.count("\n", self.position, match.start())
        self.position = match.start()
        return match
