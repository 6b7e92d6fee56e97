"""Files of a result: tables, and annotations that people can correct."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlmethods.common.atomic import write_text

if TYPE_CHECKING:
    from mlmethods.motion.primseq import PrimSeqResult

__all__ = ["export_result", "file_stems"]

# What some file system refuses, or a shell would split.
_AWKWARD = re.compile(r"[^\w.+-]+")


def export_result(result: PrimSeqResult, folder: Path) -> None:
    """Write tables of all recordings, and annotations of each."""
    from mlmethods.motion import export

    folder.mkdir(parents=True, exist_ok=True)
    moved = [
        spans.shift(source.offset)
        for source, spans in zip(result.sources, result.segments, strict=True)
    ]
    tracks = {
        (source.name, source.side or ""): spans
        for source, spans in zip(result.sources, moved, strict=True)
    }
    export.write_csv(folder / "segments.csv", tracks)
    _write_table(folder / "counts.csv", result.counts)
    _write_table(folder / "quality.csv", result.quality)
    stems = file_stems([source.name for source in result.sources])
    for stem, source, spans in zip(stems, result.sources, moved, strict=True):
        named = {source.side: spans} if source.side else spans
        export.write_eaf(folder / f"{stem}.eaf", named)
        end = source.offset + source.duration
        export.write_textgrid(folder / f"{stem}.TextGrid", named, duration=end)
        export.write_events(folder / f"{stem}_events.tsv", named)


def file_stems(names: list[str]) -> list[str]:
    """Return names that files may have, different ones for different recordings.

    Examples
    --------
    >>> from mlmethods.motion._export_result import file_stems
    >>> file_stems(["s1 shelf", "s1/shelf", "S1 shelf"])
    ['s1_shelf', 's1_shelf_2', 'S1_shelf_3']
    """
    stems: list[str] = []
    # Some file systems do not tell upper from lower case.
    taken: set[str] = set()
    for name in names:
        plain = _AWKWARD.sub("_", name).strip("._") or "recording"
        stem, number = plain, 1
        while stem.casefold() in taken:
            number += 1
            stem = f"{plain}_{number}"
        taken.add(stem.casefold())
        stems.append(stem)
    return stems


def _write_table(path: Path, table: Any) -> None:
    buffer = io.StringIO()
    table.to_csv(buffer, index=False, lineterminator="\n")
    write_text(path, buffer.getvalue())
