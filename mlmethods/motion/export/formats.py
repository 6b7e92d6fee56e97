"""One entry for every file of labeled spans."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlmethods.errors import InvalidInputError
from mlmethods.motion.export.elan import read_eaf, write_eaf
from mlmethods.motion.export.praat import read_textgrid, write_textgrid
from mlmethods.motion.export.tables import (
    read_csv,
    read_events,
    write_csv,
    write_events,
)
from mlmethods.motion.segments import Segments

__all__ = ["convert", "read_tracks", "write_tracks"]

_SUFFIXES = {".csv": "csv", ".eaf": "eaf", ".textgrid": "textgrid", ".tsv": "events"}


def read_tracks(
    path: str | os.PathLike[str], classes: Sequence[str] | None = None
) -> dict[str, Segments]:
    """Read the spans of one recording from a file of any kind.

    Parameters
    ----------
    path : path-like
        ``.csv``, ``.eaf``, ``.TextGrid`` or ``.tsv`` (events of BIDS).
    classes : sequence of str, optional
        Classes in their order.

    Returns
    -------
    dict of str to Segments
        By side or name of the tier.

    Raises
    ------
    DataFormatError
        If the file does not follow its format.
    InvalidInputError
        If the suffix is unknown, or a CSV file holds several recordings.
    """
    kind = _kind(path)
    if kind == "eaf":
        return read_eaf(path, classes)
    if kind == "textgrid":
        return read_textgrid(path, classes)
    if kind == "events":
        return read_events(path, classes)
    tracks = read_csv(path, classes)
    recordings = sorted({recording for recording, _ in tracks})
    if len(recordings) > 1:
        raise InvalidInputError(
            f"path must hold one recording, {path} holds {', '.join(recordings)}"
        )
    return {side: spans for (_, side), spans in tracks.items()}


def write_tracks(
    path: str | os.PathLike[str],
    tracks: Segments | Mapping[str, Segments],
    *,
    recording: str = "",
) -> None:
    """Write the spans of one recording to a file of any kind.

    Parameters
    ----------
    path : path-like
        ``.csv``, ``.eaf``, ``.TextGrid`` or ``.tsv`` (events of BIDS).
    tracks : Segments or mapping of str to Segments
        Spans by side or name of the tier.
    recording : str
        Its name, which only CSV keeps.

    Raises
    ------
    InvalidInputError
        If the suffix is unknown, or the format cannot hold the spans.
    """
    kind = _kind(path)
    if kind == "csv":
        sides = {"": tracks} if isinstance(tracks, Segments) else dict(tracks)
        write_csv(path, {(recording, side): spans for side, spans in sides.items()})
        return
    # A file of tiers needs a name for each.
    if not isinstance(tracks, Segments) and list(tracks) == [""]:
        tracks = tracks[""]
    if kind == "eaf":
        write_eaf(path, tracks)
    elif kind == "textgrid":
        write_textgrid(path, tracks)
    else:
        write_events(path, tracks)


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    classes: Sequence[str] | None = None,
) -> None:
    """Write the spans of one file as a file of another kind.

    Parameters
    ----------
    source, target : path-like
        ``.csv``, ``.eaf``, ``.TextGrid`` or ``.tsv`` (events of BIDS).
    classes : sequence of str, optional
        Classes in their order.

    Raises
    ------
    DataFormatError
        If the source does not follow its format.
    InvalidInputError
        If a suffix is unknown, or the target cannot hold the spans.
    """
    write_tracks(target, read_tracks(source, classes), recording=Path(source).stem)


def _kind(path: str | os.PathLike[str]) -> str:
    suffix = Path(path).suffix.lower()
    if suffix not in _SUFFIXES:
        raise InvalidInputError(
            f"path must end in .csv, .eaf, .TextGrid or .tsv, got {str(path)!r}"
        )
    return _SUFFIXES[suffix]
