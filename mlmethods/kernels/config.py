"""Kernels as JSON values, and back through a fixed table of classes."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from typing import Any

from mlmethods.errors import ConfigError, InvalidInputError
from mlmethods.kernels import family
from mlmethods.kernels.base import Kernel

__all__ = ["kernel_from_config", "kernel_to_config"]

_CLASSES: dict[str, type[Kernel]] = {
    kernel.__name__: kernel
    for kernel in (
        family.ExpPowerKernel,
        family.GaussianKernel,
        family.LaplaceKernel,
        family.LpqKernel,
        family.MaternKernel,
        family.QuadraticKernel,
        family.SumPowerLaplaceKernel,
    )
}


def kernel_to_config(kernel: Kernel) -> dict[str, Any]:
    """Return a kernel as JSON-able values.

    Parameters
    ----------
    kernel : Kernel
        A kernel of this library whose parameters are numbers.

    Returns
    -------
    dict
        ``{"class": name, "params": {name: number}}``.

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
    if _CLASSES.get(type(kernel).__name__) is not type(kernel):
        raise InvalidInputError(
            f"kernel {kernel!r} cannot be stored: a file holds the parameters of a "
            f"kernel, never its code; kernels that can be are {', '.join(_CLASSES)}"
        )
    kernel.to_spec()
    params = {name: _number(value) for name, value in kernel.get_params().items()}
    return {"class": type(kernel).__name__, "params": params}


def _number(value: Any) -> int | float:
    return int(value) if isinstance(value, numbers.Integral) else float(value)


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
    kernel = _CLASSES[name]()
    unknown = sorted(set(params) - set(kernel.get_params()))
    if unknown:
        raise ConfigError(f"{name} has no parameter {unknown[0]!r}")
    try:
        kernel.set_params(**params).to_spec()
    except InvalidInputError as error:
        raise ConfigError(f"the stored {name} is damaged: {error}") from error
    return kernel
