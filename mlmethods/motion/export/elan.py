"""Labeled spans as files of ELAN (.eaf), and back."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ElementTree
import xml.parsers.expat
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from mlmethods.common.atomic import write_text
from mlmethods.errors import DataFormatError, InvalidInputError
from mlmethods.motion.export.spans import Row, as_tracks, segments_of
from mlmethods.motion.segments import Segments

__all__ = ["read_eaf", "write_eaf"]

_TYPE = "primitive"
_VOCABULARY = "primitives"
_SCHEMA = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"
_UNDETERMINED = {
    "LANG_ID": "und",
    "LANG_DEF": "http://cdb.iso.org/lg/CDB-00130975-001",
    "LANG_LABEL": "undetermined (und)",
}


def write_eaf(
    path: str | os.PathLike[str],
    tracks: Segments | Mapping[str, Segments],
    *,
    media: str | None = None,
) -> None:
    """Write spans for ELAN, one tier for each track.

    Times are rounded to milliseconds. Spans over masked time (``valid`` False) have a
    blank label; confidences are not kept. The classes are the controlled vocabulary of
    the tiers, so that ELAN offers them.

    Parameters
    ----------
    path : path-like
        The file; it is replaced at once or not at all.
    tracks : Segments or mapping of str to Segments
        Spans by name of the tier, such as ``"left"``.
    media : str, optional
        Address of the video that belongs to it.

    Raises
    ------
    InvalidInputError
        If a span is empty once it is rounded, starts before 0, or tracks have
        different classes.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from mlmethods.motion import Segments, export
    >>> path = Path(tempfile.mkdtemp(), "session.eaf")
    >>> spans = Segments([0.1, 0.7], [0.7, 1.5], [1, 0], ("idle", "reach"))
    >>> export.write_eaf(path, {"left": spans})
    >>> export.read_eaf(path)["left"] == spans
    True
    """
    named = as_tracks(tracks)
    classes = next(iter(named.values())).classes
    if any(spans.classes != classes for spans in named.values()):
        raise InvalidInputError("tracks must all have the same classes")
    root = ElementTree.Element(
        "ANNOTATION_DOCUMENT",
        {
            "AUTHOR": "mlmethods",
            "DATE": datetime.now(UTC).isoformat(timespec="seconds"),
            "FORMAT": "3.0",
            "VERSION": "3.0",
            "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
            "xsi:noNamespaceSchemaLocation": _SCHEMA,
        },
    )
    header = ElementTree.SubElement(
        root, "HEADER", {"MEDIA_FILE": "", "TIME_UNITS": "milliseconds"}
    )
    if media is not None:
        ElementTree.SubElement(
            header, "MEDIA_DESCRIPTOR", {"MEDIA_URL": media, "MIME_TYPE": "video/mp4"}
        )
    times = {name: _milliseconds(name, spans) for name, spans in named.items()}
    slots = _slots(root, times)
    count = 0
    for name, spans in named.items():
        tier = ElementTree.SubElement(
            root, "TIER", {"LINGUISTIC_TYPE_REF": _TYPE, "TIER_ID": name}
        )
        for place, span in enumerate(spans):
            count += 1
            holder = ElementTree.SubElement(tier, "ANNOTATION")
            annotation = ElementTree.SubElement(
                holder,
                "ALIGNABLE_ANNOTATION",
                {
                    "ANNOTATION_ID": f"a{count}",
                    "TIME_SLOT_REF1": slots[name, place, "start"],
                    "TIME_SLOT_REF2": slots[name, place, "end"],
                },
            )
            value = ElementTree.SubElement(annotation, "ANNOTATION_VALUE")
            value.text = span.name if span.valid else ""
    _vocabulary(root, classes)
    ElementTree.indent(root, " ")
    text = ElementTree.tostring(root, encoding="unicode", short_empty_elements=True)
    write_text(path, f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n')


def read_eaf(
    path: str | os.PathLike[str], classes: Sequence[str] | None = None
) -> dict[str, Segments]:
    """Read the tiers of a file of ELAN that have annotations of their own times.

    Annotations with a blank label are left out, and so are tiers that refer to others.
    A time slot without a time lies evenly between its neighbors, as ELAN shows it.

    Parameters
    ----------
    path : path-like
        The file.
    classes : sequence of str, optional
        Classes in their order; by default those of a vocabulary that
        :func:`write_eaf` wrote, else what the labels tell.

    Returns
    -------
    dict of str to Segments
        By name of the tier.

    Raises
    ------
    DataFormatError
        If it is no complete XML of ELAN, or a label or span is not accepted.
    """
    source = Path(path)
    reader = _Reader(source)
    reader.run()
    times = _filled(source, reader.slots)
    known = tuple(classes) if classes else tuple(reader.vocabulary) or None
    tracks = {}
    for tier, found in reader.tiers.items():
        rows = []
        for line, first, last, label in found:
            where = f"{source}:{line}"
            if first not in times or last not in times:
                raise DataFormatError(
                    f"{where}: the annotation refers to a time slot that is not there"
                )
            if label:
                rows.append(Row(where, times[first] / 1e3, times[last] / 1e3, label))
        tracks[tier] = segments_of(rows, known)
    return tracks


def _milliseconds(name: str, spans: Segments) -> list[tuple[int, int]]:
    times = [(round(span.start * 1e3), round(span.end * 1e3)) for span in spans]
    for start, end in times:
        if start < 0 or end <= start:
            raise InvalidInputError(
                f"tracks[{name!r}] must hold spans of a millisecond or more from 0 on, "
                f"got {start} to {end} ms"
            )
    return times


def _slots(
    root: Any, times: Mapping[str, list[tuple[int, int]]]
) -> dict[tuple[str, int, str], str]:
    """Write the time slots in order, and return the names of those of each span.

    Spans that touch have slots of their own, or ELAN would move both together.
    """
    order = ElementTree.SubElement(root, "TIME_ORDER")
    ends = [
        (time, (name, place, edge))
        for name, spans in times.items()
        for place, pair in enumerate(spans)
        for edge, time in zip(("start", "end"), pair, strict=True)
    ]
    ends.sort(key=lambda item: item[0])
    names = {}
    for index, (time, key) in enumerate(ends, 1):
        names[key] = f"ts{index}"
        ElementTree.SubElement(
            order, "TIME_SLOT", {"TIME_SLOT_ID": f"ts{index}", "TIME_VALUE": str(time)}
        )
    return names


def _vocabulary(root: Any, classes: Sequence[str]) -> None:
    ElementTree.SubElement(
        root,
        "LINGUISTIC_TYPE",
        {
            "CONTROLLED_VOCABULARY_REF": _VOCABULARY,
            "GRAPHIC_REFERENCES": "false",
            "LINGUISTIC_TYPE_ID": _TYPE,
            "TIME_ALIGNABLE": "true",
        },
    )
    ElementTree.SubElement(root, "LANGUAGE", _UNDETERMINED)
    vocabulary = ElementTree.SubElement(
        root, "CONTROLLED_VOCABULARY", {"CV_ID": _VOCABULARY}
    )
    ElementTree.SubElement(vocabulary, "DESCRIPTION", {"LANG_REF": "und"})
    for index, name in enumerate(classes):
        entry = ElementTree.SubElement(
            vocabulary, "CV_ENTRY_ML", {"CVE_ID": f"cveid{index}"}
        )
        value = ElementTree.SubElement(
            entry, "CVE_VALUE", {"DESCRIPTION": "", "LANG_REF": "und"}
        )
        value.text = name


class _Reader:
    """What a file of ELAN holds, with the lines where it stands."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.slots: dict[str, float | None] = {}
        self.tiers: dict[str, list[tuple[int, str, str, str]]] = {}
        self.vocabulary: list[str] = []
        self.tier = ""
        self.open: tuple[int, str, str] | None = None
        self.text: list[str] | None = None
        self.own = False
        self.root = ""
        self.parser = xml.parsers.expat.ParserCreate()
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._characters

    def run(self) -> None:
        """Go through the file once."""
        try:
            self.parser.Parse(self.path.read_bytes(), True)
        except xml.parsers.expat.ExpatError as error:
            raise DataFormatError(
                f"{self.path}:{error.lineno}: the XML breaks off or is damaged at "
                f"column {error.offset}"
            ) from error
        if self.root != "ANNOTATION_DOCUMENT":
            raise DataFormatError(
                f"{self.path}: a file of ELAN starts with ANNOTATION_DOCUMENT, got "
                f"{self.root!r}"
            )

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        line = self.parser.CurrentLineNumber
        self.root = self.root or tag
        if tag == "TIME_SLOT":
            self.slots[self._need(attributes, "TIME_SLOT_ID")] = self._time(attributes)
        elif tag == "TIER":
            self.tier = self._need(attributes, "TIER_ID")
        elif tag == "ALIGNABLE_ANNOTATION":
            first = self._need(attributes, "TIME_SLOT_REF1")
            self.open = (line, first, self._need(attributes, "TIME_SLOT_REF2"))
        elif tag == "CONTROLLED_VOCABULARY":
            self.own = attributes.get("CV_ID") == _VOCABULARY
        if tag in ("ANNOTATION_VALUE", "CVE_VALUE"):
            self.text = []

    def _end(self, tag: str) -> None:
        text = "".join(self.text or ()).strip()
        if tag == "ANNOTATION_VALUE" and self.open is not None:
            self.tiers.setdefault(self.tier, []).append((*self.open, text))
            self.open = None
        elif tag == "CVE_VALUE" and self.own and text not in self.vocabulary:
            self.vocabulary.append(text)
        if tag in ("ANNOTATION_VALUE", "CVE_VALUE"):
            self.text = None

    def _characters(self, text: str) -> None:
        if self.text is not None:
            self.text.append(text)

    def _need(self, attributes: dict[str, str], name: str) -> str:
        if name not in attributes:
            raise DataFormatError(
                f"{self.path}:{self.parser.CurrentLineNumber}: the attribute {name} is "
                "missing"
            )
        return attributes[name]

    def _time(self, attributes: dict[str, str]) -> float | None:
        text = attributes.get("TIME_VALUE")
        if text is None:
            return None
        try:
            return float(int(text))
        except ValueError as error:
            raise DataFormatError(
                f"{self.path}:{self.parser.CurrentLineNumber}: TIME_VALUE must be whole "
                f"milliseconds, got {text!r}"
            ) from error


def _filled(path: Path, slots: dict[str, float | None]) -> dict[str, float]:
    """Put slots without a time evenly between their neighbors."""
    known = [(i, time) for i, time in enumerate(slots.values()) if time is not None]
    if not slots:
        return {}
    if not known:
        raise DataFormatError(f"{path}: no time slot has a time")
    places, values = zip(*known, strict=True)
    times = np.interp(np.arange(len(slots)), places, values)
    return dict(zip(slots, times.tolist(), strict=True))
