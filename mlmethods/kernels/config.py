"""Kernels as JSON values, and back through a fixed table of classes."""

from __future__ import annotations

import inspect
import numbers
from collections.abc import Mapping
from typing import Any

import numpy as np

from mlmethods.errors import ConfigError, InvalidInputError
from mlmethods.kernels import composite, family, network
from mlmethods.kernels.base import Kernel

__all__ = ["kernel_from_config", "kernel_to_config"]

_CLASSES: dict[str, type[Kernel]] = {
    kernel.__name__: kernel
    for kernel in (
        family.ExpPowerKernel,
        family.GaussianKernel,
        family.LaplaceKernel,
        family.LaplaceL1Kernel,
        family.LinearKernel,
        family.LpqKernel,
        family.MaternKernel,
        family.PolynomialKernel,
        family.QuadraticKernel,
        family.RationalQuadraticKernel,
        family.SumPowerLaplaceKernel,
        network.NNGPKernel,
        network.NTKKernel,
        composite.ProductKernel,
        composite.SumKernel,
    )
}


def kernel_to_config(kernel: Kernel) -> dict[str, Any]:
    """Return a kernel as JSON-able values.

    Parameters
    ----------
    kernel : Kernel
        A kernel of this library without functions among its parameters.

    Returns
    -------
    dict
        ``{"class": name, "params": {name: value}}``; the kernels of a sum or a
        product are such dictionaries in turn.

    Raises
    ------
    InvalidInputError
        If it is of another class, or a parameter is outside its range.

    Examples
    --------
    >>> from mlmethods.kernels import MaternKernel, kernel_to_config
    >>> kernel_to_config(MaternKernel(2.5, bandwidth=3))
    {'class': 'MaternKernel', 'params': {'nu': 2.5, 'bandwidth': 3}}
    """
    stored = _CLASSES.get(type(kernel).__name__) is type(kernel)
    params = kernel.get_params(deep=False)
    if not stored or any(map(_holds_code, params.values())):
        raise InvalidInputError(
            f"kernel {kernel!r} cannot be stored: a file holds the parameters of a "
            f"kernel, never its code; kernels that can be are {', '.join(_CLASSES)}"
        )
    kernel.to_spec()
    params = {name: _plain(value) for name, value in params.items()}
    return {"class": type(kernel).__name__, "params": params}


def _holds_code(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_holds_code, value))
    return callable(value) and not isinstance(value, Kernel)


def _plain(value: Any) -> Any:
    """Return a checked parameter as JSON has it."""
    if isinstance(value, Kernel):
        return kernel_to_config(value)
    if value is None or isinstance(value, str | bool | np.bool_):
        return bool(value) if isinstance(value, np.bool_) else value
    if isinstance(value, numbers.Number):
        return int(value) if isinstance(value, numbers.Integral) else float(value)  # type: ignore[arg-type]
    return [_plain(item) for item in value]


def kernel_from_config(config: Mapping[str, Any]) -> Kernel:
    """Return the kernel that :func:`kernel_to_config` described.

    Raises
    ------
    ConfigError
        If the class is not one of this library's, or a parameter is unknown or
        outside its range.
    """
    if not isinstance(config, Mapping) or set(config) != {"class", "params"}:
        raise ConfigError(f"a kernel is stored as class and params, got {config!r}")
    name, params = config["class"], config["params"]
    if not isinstance(name, str) or name not in _CLASSES:
        raise ConfigError(
            f"there is no kernel class {name!r}; there are {', '.join(_CLASSES)}"
        )
    kind = _CLASSES[name]
    known = inspect.signature(kind).parameters
    unknown = sorted(set(params) - set(known))
    if unknown:
        raise ConfigError(f"{name} has no parameter {unknown[0]!r}")
    missing = [
        key
        for key, parameter in known.items()
        if parameter.default is parameter.empty and key not in params
    ]
    if missing:
        raise ConfigError(f"the stored {name} lacks {missing[0]!r}")
    values = {key: _restored(value) for key, value in params.items()}
    try:
        kernel = kind(**values)
        kernel.to_spec()
    except InvalidInputError as error:
        raise ConfigError(f"the stored {name} is damaged: {error}") from error
    return kernel


def _restored(value: Any) -> Any:
    if isinstance(value, Mapping):
        return kernel_from_config(value)
    return [_restored(item) for item in value] if isinstance(value, list) else value
