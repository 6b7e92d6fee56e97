"""The page of a report: one HTML file that loads nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlmethods.common.atomic import write_json, write_text
from mlmethods.errors import InvalidInputError
from mlmethods.motion.report import drawing
from mlmethods.motion.report.document import report_document

if TYPE_CHECKING:
    from mlmethods.motion.primseq import PrimSeqResult

__all__ = ["render_page", "write_report"]

_QUALITY_ROWS = 40
_METRICS = {
    "aer": ("action error rate", "", 3),
    "edit": ("edit score", "", 1),
    "sensitivity": ("sensitivity", "", 3),
    "fdr": ("false discovery rate", "", 3),
    "f1": ("F1 of actions", "", 3),
    "accuracy": ("frames with the right class", " %", 1),
    "f1@10": ("F1 at an overlap of 10 %", "", 1),
    "f1@25": ("F1 at an overlap of 25 %", "", 1),
    "f1@50": ("F1 at an overlap of 50 %", "", 1),
}


def write_report(
    result: PrimSeqResult, path: str | os.PathLike[str]
) -> tuple[Path, Path]:
    """Write the page and its content as JSON.

    Parameters
    ----------
    result : PrimSeqResult
        What was found.
    path : path-like
        An ``.html`` file, with a ``.json`` file of the same name beside it; or a
        folder, for ``report.html`` and ``report.json``.

    Returns
    -------
    page, document : pathlib.Path
        The two files, each written at once or not at all.

    Raises
    ------
    InvalidInputError
        If the path has another suffix.
    """
    target = Path(path)
    if target.suffix.lower() not in (".html", ".htm"):
        if target.suffix and not target.is_dir():
            raise InvalidInputError(
                f"path must be an .html file or a folder, got {os.fspath(path)!r}"
            )
        target = target / "report.html"
    document = report_document(result)
    page = render_page(document)
    write_json(target.with_suffix(".json"), document)
    write_text(target, page)
    return target, target.with_suffix(".json")


def render_page(document: Mapping[str, Any]) -> str:
    """Return the page of a document as HTML; everything in it is escaped.

    Parameters
    ----------
    document : mapping
        As of :func:`report_document`, or read from a ``report.json``.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mlmethods.motion.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = _number
    classes = list(document["classes"])
    recordings = [
        {
            **recording,
            "strips": drawing.strips(recording, classes),
            "shown_quality": recording["quality"][:_QUALITY_ROWS],
            "more_quality": max(len(recording["quality"]) - _QUALITY_ROWS, 0),
        }
        for recording in document["recordings"]
    ]
    return environment.get_template("report.html").render(
        document=document,
        title=_title(document["recordings"]),
        recordings=recordings,
        classes=[(name, drawing.color_of(i)) for i, name in enumerate(classes)],
        totals=_grouped(document["totals"], ("subject", "session", "side")),
        activities=drawing.bar_groups(document["activities"], classes),
        metrics=_metric_rows(document["metrics"]),
        facts=_facts(document),
        left=drawing.LEFT,
        width=drawing.WIDTH,
        lane=drawing.LANE,
        minutes=sum(r["duration"] for r in recordings) / 60,
        valid_minutes=sum(r["valid_minutes"] for r in recordings),
        defects=sum(len(r["quality"]) for r in recordings),
        motions=sum(len(r["segments"]) for r in recordings),
    )


def _number(value: Any, digits: int = 2) -> str:
    """Return a number as text, and a dash for what is not known."""
    return "–" if value is None else f"{value:.{digits}f}"


def _title(recordings: Sequence[Mapping[str, Any]]) -> str:
    subjects = sorted({str(recording["subject"]) for recording in recordings})
    if len(subjects) > 3:
        return f"Motions of {len(subjects)} people"
    return f"Motions of {', '.join(subjects)}"


def _facts(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return where a report comes from, name and value."""
    known: dict[str, Any] = {}
    for name, value in document["provenance"].items():
        if isinstance(value, Mapping):
            # The settings of a model are many; the page unfolds them.
            known.update({} if name == "settings" else value)
        else:
            known[name] = value
    calibration = document["calibration"]
    if calibration is not None:
        known["calibration patients"] = calibration["n_patients"]
        known["calibration error before"] = calibration["temperature"]["ece_before"]
        known["calibration error after"] = calibration["temperature"]["ece_after"]
    return [
        (
            name.replace("_", " "),
            f"{value:.4g}" if isinstance(value, float) else str(value),
        )
        for name, value in known.items()
        if value not in (None, "")
    ]


def _grouped(
    rows: Sequence[Mapping[str, Any]], keys: Sequence[str]
) -> list[dict[str, Any]]:
    """Return tables of rows with the same keys."""
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    return [
        {
            "title": " · ".join(str(part) for part in key if part is not None),
            "minutes": members[0]["minutes"],
            "rows": members,
        }
        for key, members in groups.items()
    ]


def _metric_rows(metrics: Mapping[str, Any] | None) -> list[tuple[str, str, str]]:
    """Return name, value and interval of each metric that is known."""
    if metrics is None:
        return []
    rows = []
    for key, (name, unit, digits) in _METRICS.items():
        value = metrics["values"].get(key)
        low, high = metrics["intervals"].get(key, (None, None))
        interval = (
            ""
            if low is None or high is None
            else f"{low:.{digits}f} to {high:.{digits}f}{unit}"
        )
        if value is not None:
            rows.append((name, f"{value:.{digits}f}{unit}", interval))
    return rows
