"""What a result was computed with."""

from __future__ import annotations

import datetime
import hashlib
import json
from typing import Any

from mlmethods.common.machine import versions

__all__ = ["describe"]


def describe(pipeline: Any) -> dict[str, Any]:
    """Return the model, its settings and their hash, versions and the time.

    Parameters
    ----------
    pipeline : PrimSeq
        What computes.
    """
    model = pipeline.model
    settings = _settings(model)
    text = json.dumps(settings, sort_keys=True, default=repr)
    calibration = pipeline.calibration
    temperature = None if calibration is None else calibration.temperature
    return {
        "model": type(model).__name__,
        "model_id": str(getattr(model, "model_id_", "")),
        "config_hash": hashlib.sha256(text.encode()).hexdigest()[:16],
        "settings": json.loads(text),
        "pipeline": {
            "align": pipeline.align,
            "interval": pipeline.interval,
            "level": pipeline.level,
            "collapse_repeats": pipeline.collapse_repeats,
            "temperature": 1.0 if temperature is None else temperature.value,
        },
        "versions": versions(),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _settings(model: Any) -> dict[str, Any]:
    read = getattr(model, "get_params", None)
    return {} if read is None else dict(read(deep=False))
