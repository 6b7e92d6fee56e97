"""Arrays and settings in a folder: ``model.safetensors`` beside ``config.json``.

Nothing is pickled, and reading runs no code that a file names: estimators come from
a fixed table of classes.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from mlmethods.common.atomic import atomic_directory, write_json
from mlmethods.common.json_values import from_json, to_json
from mlmethods.common.machine import versions
from mlmethods.errors import CheckpointError, InvalidInputError

__all__ = ["load", "load_estimator", "read_store", "save_estimator", "write_store"]

ARRAYS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
FORMAT = "mlmethods-store"
FORMAT_VERSION = (1, 0)

_ESTIMATORS = {
    "RFMRegressor": "mlmethods.rfm.estimators",
    "RFMClassifier": "mlmethods.rfm.estimators",
    "LinearRFMRegressor": "mlmethods.rfm.linear",
    "MatrixCompletion": "mlmethods.rfm.completion",
    "TreeRFMClassifier": "mlmethods.rfm.trees.estimators",
    "TreeRFMRegressor": "mlmethods.rfm.trees.estimators",
    "EigenProRegressor": "mlmethods.kernels.eigenpro",
    "HilbertClassifier": "mlmethods.overfitting.anchors",
    "HilbertRegressor": "mlmethods.overfitting.anchors",
    "LogNeighborsClassifier": "mlmethods.overfitting.anchors",
    "LogNeighborsRegressor": "mlmethods.overfitting.anchors",
    "KernelRidge": "mlmethods.kernels.ridge",
    "KernelRidgeCV": "mlmethods.kernels.ridge_cv",
    "KernelRidgeClassifier": "mlmethods.kernels.ridge_classifier",
}

EstimatorT = TypeVar("EstimatorT")
PathLike = str | os.PathLike[str]


def write_store(
    directory: PathLike,
    *,
    arrays: Mapping[str, np.ndarray],
    config: Mapping[str, Any],
) -> None:
    """Write arrays and a configuration as one folder, atomically.

    Parameters
    ----------
    directory : path-like
        Where to write. A folder there must be empty or an earlier store, which is
        replaced as a whole.
    arrays : mapping of str to ndarray
        Numbers and booleans of any shape.
    config : mapping of str to object
        Values that :func:`mlmethods.common.json_values.to_json` accepts.

    Raises
    ------
    InvalidInputError
        If an array or a value cannot be stored.
    CheckpointError
        If something that is not a store is in the way; nothing is changed.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp(), "store")
    >>> write_store(folder, arrays={"M": np.eye(2)}, config={"step": 3})
    >>> arrays, config = read_store(folder)
    >>> arrays["M"].shape, config["step"]
    ((2, 2), 3)
    """
    from safetensors.numpy import save_file

    directory = Path(directory)
    plain = {}
    for name, array in arrays.items():
        array = np.asarray(array)
        if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
            raise InvalidInputError(
                f"arrays[{name!r}] has dtype {array.dtype}, which cannot be stored; "
                "arrays hold numbers or booleans, text goes into config"
            )
        # safetensors writes the memory as it lies: row by row, in native byte order.
        plain[name] = array.astype(array.dtype.newbyteorder("="), order="C", copy=False)
    document = {
        "format": FORMAT,
        "format_version": ".".join(map(str, FORMAT_VERSION)),
        "arrays": {
            name: {"shape": list(array.shape), "dtype": array.dtype.name}
            for name, array in plain.items()
        },
        "config": {key: to_json(key, value) for key, value in config.items()},
    }
    _require_replaceable(directory)
    with atomic_directory(directory) as scratch:
        save_file(plain, scratch / ARRAYS_FILE)
        write_json(scratch / CONFIG_FILE, document)


def _require_replaceable(directory: Path) -> None:
    if not directory.exists():
        return
    if not directory.is_dir():
        raise CheckpointError(f"{directory} is a file; give the name of a folder")
    foreign = {path.name for path in directory.iterdir()} - {ARRAYS_FILE, CONFIG_FILE}
    if foreign:
        raise CheckpointError(
            f"{directory} holds other files ({min(foreign)!r} among them) and is not "
            "replaced; give a new or an empty folder"
        )


def read_store(
    directory: PathLike,
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read what :func:`write_store` wrote.

    Parameters
    ----------
    directory : path-like
        The folder.

    Returns
    -------
    arrays : dict of str to ndarray
        The arrays, with the shapes and dtypes they were written with.
    config : dict of str to object
        The configuration.

    Raises
    ------
    CheckpointError
        If the folder or a file is missing, damaged, or of another major version.
    """
    declared, config = _read_config(directory)
    return _read_arrays(Path(directory) / ARRAYS_FILE, declared), config


def _read_config(
    directory: PathLike,
) -> tuple[dict[str, tuple[tuple[int, ...], str]], dict[str, Any]]:
    """Return the declared shape and dtype of each array, and the configuration."""
    document = _read_document(Path(directory))
    try:
        declared = {
            name: (tuple(entry["shape"]), str(entry["dtype"]))
            for name, entry in document["arrays"].items()
        }
        stored = dict(document["config"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{Path(directory, CONFIG_FILE)} is damaged: arrays or config are malformed"
        ) from error
    return declared, {key: from_json(value) for key, value in stored.items()}


def _read_document(directory: Path) -> dict[str, Any]:
    path = directory / CONFIG_FILE
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(
            f"{directory} is not a saved model: it has no {CONFIG_FILE}"
        ) from None
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged: it is not JSON ({error})") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise CheckpointError(f"{path} was not written by mlmethods")
    version = str(document.get("format_version"))
    if version.partition(".")[0] != str(FORMAT_VERSION[0]):
        raise CheckpointError(
            f"{directory} has format version {version}, this mlmethods reads version "
            f"{FORMAT_VERSION[0]}; use the mlmethods that wrote it"
        )
    return document


def _read_arrays(
    path: Path, declared: Mapping[str, tuple[tuple[int, ...], str]]
) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            names = set(file.keys())
            if names != set(declared):
                raise CheckpointError(
                    f"{path} does not belong to its {CONFIG_FILE}: the arrays "
                    f"{sorted(names ^ set(declared))} are in one of them only"
                )
            arrays = {name: file.get_tensor(name) for name in declared}
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing") from None
    except (SafetensorError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    for name, (shape, dtype) in declared.items():
        array = arrays[name]
        if array.shape != shape or array.dtype.name != dtype:
            raise CheckpointError(
                f"{path} does not belong to its {CONFIG_FILE}: {name!r} is "
                f"{array.dtype.name} {list(array.shape)}, declared as {dtype} "
                f"{list(shape)}"
            )
    return arrays


def save_estimator(
    estimator: Any,
    directory: PathLike,
    arrays: Mapping[str, np.ndarray],
    state: Mapping[str, Any],
) -> None:
    """Save a fitted estimator, so that :func:`load_estimator` gives it back.

    Parameters
    ----------
    estimator : object
        It has ``get_params``; ``n_features_in_`` and ``feature_names_in_`` are
        stored where it has them.
    directory : path-like
        As for :func:`write_store`.
    arrays : mapping of str to ndarray
        Fitted numeric arrays by attribute name, such as ``dual_coef_``.
    state : mapping of str to object
        Other fitted attributes by name: numbers, strings, class labels, histories.

    Raises
    ------
    InvalidInputError
        If a parameter or an attribute cannot be stored; the message names it.
    CheckpointError
        If something that is not a saved model is in the way.
    """
    state = dict(state)
    for name in ("n_features_in_", "feature_names_in_"):
        if hasattr(estimator, name):
            state[name] = getattr(estimator, name)
    for name in (*arrays, *state):
        if not _is_fitted_name(name):
            raise InvalidInputError(
                f"a stored attribute is named like 'dual_coef_', got {name!r}"
            )
    dtypes = [np.asarray(array).dtype for array in arrays.values()]
    floating = [dtype for dtype in dtypes if dtype.kind == "f"]
    write_store(
        directory,
        arrays=arrays,
        config={
            "class": type(estimator).__name__,
            "params": estimator.get_params(deep=False),
            "state": state,
            "dtype": np.result_type(*floating).name if floating else None,
            "versions": versions(),
        },
    )


def _is_fitted_name(name: str) -> bool:
    return name.isidentifier() and name.endswith("_") and not name.startswith("_")


def load_estimator(cls: type[EstimatorT], directory: PathLike) -> EstimatorT:
    """Return the fitted estimator that :func:`save_estimator` wrote.

    Parameters
    ----------
    cls : type
        The class that was saved.
    directory : path-like
        The folder.

    Returns
    -------
    object
        ``cls(**params)`` with the stored arrays and state as attributes.

    Raises
    ------
    CheckpointError
        If the folder is damaged, holds another class, or has parameters that `cls`
        does not know.
    """
    arrays, config = read_store(directory)
    kind = _stored_class(directory, config)
    if kind != cls.__name__:
        raise CheckpointError(
            f"{directory} holds a {kind}, not a {cls.__name__}; mlmethods.load reads "
            "either"
        )
    params, state = config.get("params"), config.get("state")
    if not isinstance(params, dict) or not isinstance(state, dict):
        raise CheckpointError(f"{directory} is damaged: params or state are missing")
    estimator: Any = cls()
    unknown = sorted(set(params) - set(estimator.get_params(deep=False)))
    if unknown:
        raise CheckpointError(
            f"{directory} was written by mlmethods "
            f"{config.get('versions', {}).get('mlmethods', '(unknown)')}, whose {kind} "
            f"has parameters that this one lacks: {', '.join(unknown)}"
        )
    estimator.set_params(**params)
    for name, value in {**arrays, **state}.items():
        if not _is_fitted_name(name):
            raise CheckpointError(f"{directory} is damaged: attribute {name!r}")
        setattr(estimator, name, value)
    return estimator


def load(directory: PathLike) -> Any:
    """Return the fitted estimator of any class that was saved in a folder.

    Parameters
    ----------
    directory : path-like
        What an estimator's ``save`` wrote.

    Raises
    ------
    CheckpointError
        If the folder is damaged or holds a class that is not the library's own; a
        subclass of yours is read by its own ``load``.
    """
    _, config = _read_config(directory)
    kind = _stored_class(directory, config)
    if kind not in _ESTIMATORS:
        raise CheckpointError(
            f"{directory} holds a {kind}, which is not a class of mlmethods; call "
            f"{kind}.load"
        )
    return getattr(importlib.import_module(_ESTIMATORS[kind]), kind).load(directory)


def _stored_class(directory: PathLike, config: Mapping[str, Any]) -> str:
    kind = config.get("class")
    if not isinstance(kind, str):
        raise CheckpointError(f"{directory} is a store, but not of an estimator")
    return kind
