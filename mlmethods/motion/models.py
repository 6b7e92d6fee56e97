"""Trained motion models, read from their folders by the class that wrote them."""

from __future__ import annotations

import importlib
import os
from typing import Any

from mlmethods.common.checkpoint import read_store
from mlmethods.errors import CheckpointError

__all__ = ["load_model"]

_MODELS = {
    "ASFormer": "mlmethods.motion.segmentation",
    "ASRF": "mlmethods.motion.segmentation",
    "BiGRUTagger": "mlmethods.motion.segmentation",
    "CNNTagger": "mlmethods.motion.segmentation",
    "CTCRecognizer": "mlmethods.motion.recognizers",
    "MSTCN": "mlmethods.motion.segmentation",
    "Seg2Seq": "mlmethods.motion.recognizers",
    "Seq2SeqRecognizer": "mlmethods.motion.recognizers",
    "WindowForest": "mlmethods.motion.forest",
}


def load_model(directory: str | os.PathLike[str]) -> Any:
    """Return the model that ``save_pretrained`` wrote into a folder.

    Parameters
    ----------
    directory : path-like
        The folder; nothing in it is run.

    Returns
    -------
    estimator
        Of the class that wrote it.

    Raises
    ------
    CheckpointError
        If the folder holds no motion model, or is damaged.
    """
    _, config = read_store(directory)
    name = config.get("class")
    if name not in _MODELS:
        raise CheckpointError(
            f"{directory} must hold a motion model ({', '.join(_MODELS)}), got {name!r}"
        )
    cls = getattr(importlib.import_module(_MODELS[name]), name)
    return cls.from_pretrained(directory)
