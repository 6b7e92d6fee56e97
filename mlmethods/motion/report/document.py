"""The content of a report, as JSON."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlmethods.errors import MLMethodsWarning
from mlmethods.motion.segments import Segments

if TYPE_CHECKING:
    import pandas as pd

    from mlmethods.motion.primseq import PrimSeqResult

__all__ = ["SCHEMA", "report_document"]

SCHEMA = "mlmethods.motion.report/1"
"""Name and version of the layout; the number changes when a reader would notice."""

_SEED = 0


def report_document(result: PrimSeqResult) -> dict[str, Any]:
    """Return all that a report says, as JSON values.

    Times are seconds: those of segments, of masked time and of quality count from the
    first frame of a recording, which begins `offset` seconds into its file. What is
    not known is null.

    Parameters
    ----------
    result : PrimSeqResult
        What was found.

    Returns
    -------
    dict
        ``schema``, ``created``, ``synthetic``, ``classes``, ``recordings``,
        ``counts``, ``totals``, ``activities``, ``interval``, ``calibration``,
        ``metrics`` (null without labels) and ``provenance``.
    """
    quality = result.quality
    recordings = []
    for source, spans in zip(result.sources, result.segments, strict=True):
        own = quality[quality["recording"] == source.name].drop(columns="recording")
        recordings.append(
            {
                "name": source.name,
                "subject": source.subject,
                "session": source.session,
                "activity": source.activity,
                "side": source.side,
                "fs": source.fs,
                "duration": source.duration,
                "offset": source.offset,
                "valid_minutes": source.valid_minutes,
                "masked": [list(span) for span in source.masked],
                "truncated_windows": source.truncated,
                "synthetic": source.synthetic,
                "repeated": source.repeated,
                "segments": _spans(spans),
                "labels": None if source.labels is None else _spans(source.labels),
                "quality": _rows(own),
            }
        )
    return {
        "schema": SCHEMA,
        "created": result.provenance.get("created"),
        "synthetic": any(source.synthetic for source in result.sources),
        "classes": list(result.classes),
        "recordings": recordings,
        "counts": _rows(result.counts),
        "totals": _rows(result.totals(["subject", "session", "side"])),
        "activities": _rows(result.totals(["activity", "side"])),
        "interval": result.interval._asdict(),
        "calibration": _calibration(result),
        "metrics": _metrics(result),
        "provenance": dict(result.provenance),
    }


def _spans(spans: Segments) -> list[dict[str, Any]]:
    return [
        {
            "start": span.start,
            "end": span.end,
            "label": span.name,
            "confidence": _plain(span.confidence),
            "valid": span.valid,
        }
        for span in spans
    ]


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    names = list(table.columns)
    return [
        {name: _plain(value) for name, value in zip(names, row, strict=True)}
        for row in table.itertuples(index=False, name=None)
    ]


def _plain(value: Any) -> Any:
    """Return a value of a table as JSON: no NumPy, and null for NaN."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _calibration(result: PrimSeqResult) -> dict[str, Any] | None:
    known = result.calibration
    if known is None:
        return None
    temperature = known.temperature._asdict()
    return {
        "n_patients": known.n_patients,
        "temperature": {name: _plain(value) for name, value in temperature.items()},
        "miss_rate": dict(known.miss_rate),
    }


def _metrics(result: PrimSeqResult) -> dict[str, Any] | None:
    """Return how well labels were met, for the recordings that have them."""
    from mlmethods.motion.metrics import evaluate

    truths, found, patients, left_out = [], [], [], []
    for source, spans in zip(result.sources, result.segments, strict=True):
        if source.labels is None or source.repeated:
            continue
        truth = _in_classes(source.labels, result.classes)
        if truth is None:
            left_out.append(source.name)
            continue
        truths.append(truth)
        found.append(spans)
        patients.append(source.subject)
    if not truths:
        return None
    notes = []
    if left_out:
        notes.append(f"Labels of other classes were left out: {', '.join(left_out)}.")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", MLMethodsWarning)
        scores = evaluate(truths, found, patients=patients)
        values = {name: _plain(value) for name, value in scores.to_dict().items()}
        intervals = {}
        if len(set(patients)) > 1:
            table = scores.bootstrap(seed=_SEED)
            intervals = {
                str(name): [_plain(row["low"]), _plain(row["high"])]
                for name, row in table.iterrows()
            }
    notes += sorted({str(warning.message) for warning in caught})
    return {
        "n_recordings": len(truths),
        "n_patients": len(set(patients)),
        "values": values,
        "intervals": intervals,
        "confusion": {
            "rows": [str(name) for name in scores.confusion.index],
            "columns": [str(name) for name in scores.confusion.columns],
            "values": scores.confusion.to_numpy().tolist(),
        },
        "notes": notes,
    }


def _in_classes(labels: Segments, classes: Sequence[str]) -> Segments | None:
    """Return labels with these classes, or None if they use others."""
    if labels.classes == tuple(classes):
        return labels
    if set(labels.names) - set(classes):
        return None
    unused = {name: None for name in labels.classes if name not in classes}
    return labels.relabel(unused, classes)
