"""Estimators around weights that were trained elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sklearn.base import clone

from mlmethods.common.validation import check_real
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import NDArray
from mlmethods.motion.contract import NetworkConfig

__all__ = ["set_up_imported"]


def set_up_imported(
    model: Any,
    config: NetworkConfig,
    params: dict[str, NDArray],
    *,
    classes: Sequence[str] | None,
    feature_names: Sequence[str] | None,
    fs: float,
) -> None:
    """Give an unfitted estimator a network, as if it had been fitted.

    Classes and features that have no names get numbers.

    Raises
    ------
    InvalidInputError
        If names are not as many as the network has classes or features, or statistics
        of training recordings would be needed.
    """
    if getattr(model.normalizer, "per", None) == "train":
        raise InvalidInputError(
            "normalizer must not need training recordings where weights are imported, "
            "got per='train'"
        )
    model.classes_ = _names("classes", classes, config.n_classes, "class")
    names = _names("feature_names", feature_names, config.n_features, "feature")
    model.feature_names_ = list(names)
    model.n_features_in_ = config.n_features
    model.fs_ = check_real("fs", fs, minimum=0, open_minimum=True)
    model.normalizer_ = None if model.normalizer is None else clone(model.normalizer)
    model.config_, model.params_ = config, params
    model.history_, model.best_epoch_ = [], 0


def _names(
    name: str, values: Sequence[str] | None, count: int, stem: str
) -> tuple[str, ...]:
    if values is None:
        return tuple(f"{stem} {number}" for number in range(count))
    if len(values) != count:
        raise InvalidInputError(
            f"{name} must have {count} entries for these weights, got {len(values)}"
        )
    return tuple(str(value) for value in values)
