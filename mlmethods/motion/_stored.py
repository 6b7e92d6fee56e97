"""Motion models in folders: parameters as arrays, everything else as JSON."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any, TypeVar

from mlmethods.common.checkpoint import read_store, write_store
from mlmethods.common.machine import versions
from mlmethods.errors import CheckpointError
from mlmethods.interfaces import NDArray
from mlmethods.motion import contract
from mlmethods.motion.normalize import ZNormalizer
from mlmethods.motion.windows import WindowSpec

__all__ = ["model_config", "model_from", "read_model", "write_model"]

PathLike = str | os.PathLike[str]
ModelT = TypeVar("ModelT")

_KIND = "kind"
_FITTED = ("classes_", "feature_names_", "n_features_in_", "fs_")
# Objects that a configuration may hold, by the name it is stored under.
_DATACLASSES = {
    cls.__name__: cls
    for cls in (
        WindowSpec,
        contract.ASFormerConfig,
        contract.ASRFConfig,
        contract.BiGRUConfig,
        contract.CNNConfig,
        contract.CTCConfig,
        contract.MSTCNConfig,
        contract.Seq2SeqConfig,
    )
}


def _plain(value: Any) -> Any:
    """Return a value as what JSON holds."""
    if isinstance(value, ZNormalizer):
        fitted = {
            name: own
            for name, own in vars(value).items()
            if name.endswith("_") and not name.startswith("_")
        }
        parts = {"params": value.get_params(), "fitted": fitted}
        return {_KIND: "ZNormalizer", **parts}
    if type(value).__name__ in _DATACLASSES:
        return {_KIND: type(value).__name__, **dataclasses.asdict(value)}
    return value


def _object(value: Any) -> Any:
    """Return what :func:`_plain` was given."""
    if not isinstance(value, dict) or _KIND not in value:
        return value
    fields = dict(value)
    kind = fields.pop(_KIND)
    if kind == "ZNormalizer":
        normalizer = ZNormalizer(**fields["params"])
        for name, own in fields["fitted"].items():
            setattr(normalizer, name, own)
        return normalizer
    return _DATACLASSES[kind](**fields)


def write_model(
    directory: PathLike,
    model: Any,
    arrays: Mapping[str, NDArray],
    state: Mapping[str, Any],
) -> None:
    """Write a fitted model.

    Parameters
    ----------
    directory : path-like
        See :func:`mlmethods.common.checkpoint.write_store`.
    model : MotionEstimator
        Its constructor's arguments and what every model has are stored.
    arrays : mapping of str to ndarray
        Parameters.
    state : mapping of str to object
        Further fitted attributes.
    """
    config = {**model_config(model, state), "versions": versions()}
    write_store(directory, arrays=arrays, config=config)


def model_config(model: Any, state: Mapping[str, Any]) -> dict[str, Any]:
    """Return all of a fitted model but its arrays, as values of JSON."""
    params = model.get_params(deep=False)
    fitted = {name: getattr(model, name) for name in _FITTED} | dict(state)
    fitted["normalizer_"] = model.normalizer_
    return {
        "class": type(model).__name__,
        "params": {name: _plain(value) for name, value in params.items()},
        "state": {name: _plain(value) for name, value in fitted.items()},
    }


def read_model(
    cls: type[ModelT], directory: PathLike
) -> tuple[ModelT, dict[str, NDArray], dict[str, Any]]:
    """Return a model with the stored arguments, its arrays and its further state.

    Raises
    ------
    CheckpointError
        If the folder is damaged or holds another class.
    """
    arrays, config = read_store(directory)
    if config.get("class") != cls.__name__:
        raise CheckpointError(
            f"{directory} holds a {config.get('class')}, not a {cls.__name__}"
        )
    model, state = model_from(cls, directory, config)
    return model, arrays, state


def model_from(
    cls: type[ModelT], directory: PathLike, config: Mapping[str, Any]
) -> tuple[ModelT, dict[str, Any]]:
    """Return a model with what :func:`model_config` gave, and its further state.

    Raises
    ------
    CheckpointError
        If it is not what a model of this class gives.
    """
    try:
        params = {name: _object(value) for name, value in config["params"].items()}
        state = {name: _object(value) for name, value in config["state"].items()}
        model: Any = cls(**params)
        for name in (*_FITTED, "normalizer_"):
            setattr(model, name, state.pop(name))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{directory} is damaged: params or state are malformed ({error})"
        ) from error
    return model, state
