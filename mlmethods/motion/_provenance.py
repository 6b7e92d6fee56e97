"""What a result was computed with."""

from __future__ import annotations

import datetime
import hashlib
import json
import re
from typing import Any

import numpy as np

from mlmethods.common.machine import versions

__all__ = ["describe"]


def describe(pipeline: Any) -> dict[str, Any]:
    """Return the model, its settings, hashes of both, versions and the time.

    Parameters
    ----------
    pipeline : PrimSeq
        What computes.
    """
    model = pipeline.model
    settings = _settings(model)
    text = json.dumps(settings, sort_keys=True, default=_plain)
    calibration = pipeline.calibration
    temperature = None if calibration is None else calibration.temperature
    return {
        "model": type(model).__name__,
        "model_id": _model_id(model),
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


def _plain(value: Any) -> str:
    """Return what stands for an object in JSON, the same in every process."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))


def _model_id(model: Any) -> str:
    """Return a name that two models share only if their parameters are equal."""
    params = getattr(model, "params_", None)
    if not params:
        return ""
    digest = hashlib.sha256(type(model).__name__.encode())
    for name in sorted(params):
        array = np.ascontiguousarray(params[name])
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:16]


def _settings(model: Any) -> dict[str, Any]:
    read = getattr(model, "get_params", None)
    return {} if read is None else dict(read(deep=False))
