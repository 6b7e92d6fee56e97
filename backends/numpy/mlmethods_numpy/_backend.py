"""The object that the entry point names."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from mlmethods._version import __version__
from mlmethods.errors import InvalidInputError, OperationNotSupportedError
from mlmethods.interfaces import (
    API_VERSION,
    KERNEL_NAMES,
    OPS,
    BackendInfo,
    KernelSpec,
    Seed,
)

__all__ = ["NumpyBackend", "backend"]

_ENGINES: dict[str, str] = {"privacy": "mlmethods_numpy.engines.privacy"}


def _declines(kernel: KernelSpec, name: str) -> str | None:
    """Return why this operation cannot take the kernel, or None."""
    if kernel.name not in KERNEL_NAMES:
        return f"it has no kernel {kernel.name!r}; it has {', '.join(KERNEL_NAMES)}"
    own = kernel.name in ("nngp", "ntk") and not isinstance(
        kernel.option("activation"), str
    )
    if own and name in ("kernels.grad", "kernels.agop"):
        return "it differentiates networks with activation relu, erf or gelu only"
    reasons = (_declines(child, name) for child in kernel.children)
    return next((reason for reason in reasons if reason), None)


class NumpyBackend:
    """Backend of plain NumPy and SciPy in float64."""

    info = BackendInfo(
        name="numpy",
        version=__version__,
        api_version=API_VERSION,
        ops=frozenset(OPS),
        engines=frozenset(_ENGINES),
        dtypes=frozenset({"float64"}),
        default_dtype="float64",
        description="reference implementation in NumPy and SciPy, float64",
        default_priority=0,
    )

    def is_available(self) -> Literal[True] | str:
        """Return True: NumPy is always there."""
        return True

    def can_run(self, name: str, /, **facts: Any) -> Literal[True] | str:
        """Return True, or why `name` cannot run with these facts."""
        if name.startswith("engine:"):
            if name.removeprefix("engine:") not in self.info.engines:
                return f"the NumPy backend has no {name}"
        elif name not in self.info.ops:
            return f"{name} is not an operation of the NumPy backend"
        kernel = facts.get("kernel")
        if kernel is not None and (reason := _declines(kernel, name)):
            return reason
        dtype = facts.get("dtype")
        if dtype not in (None, "auto", "float64"):
            return f"it computes in float64 only, not {dtype}"
        return True

    def asarray(
        self, x: Any, *, dtype: str | None = None, device: Any = None
    ) -> np.ndarray:
        """Return `x` as a NumPy array; floating arrays become float64."""
        if device not in (None, "cpu"):
            raise InvalidInputError(
                f"device must be None or 'cpu' on the NumPy backend, got {device!r}"
            )
        array = np.asarray(x)
        if dtype is not None:
            return np.asarray(array, dtype=dtype)
        return array.astype(np.float64) if array.dtype.kind == "f" else array

    def to_numpy(self, x: Any) -> Any:
        """Return `x`: its arrays are NumPy's already."""
        return x

    def key(self, seed: Seed) -> np.random.Generator:
        """Return the generator of a seed."""
        if isinstance(seed, np.random.SeedSequence):
            # Splitting the key must not advance the caller's sequence.
            seed = np.random.SeedSequence(seed.entropy, spawn_key=seed.spawn_key)
        return np.random.default_rng(seed)

    def split(self, key: np.random.Generator, n: int) -> Sequence[np.random.Generator]:
        """Return `n` independent generators."""
        return key.spawn(n)

    def synchronize(self, tree: Any) -> None:
        """Return at once: NumPy computes eagerly."""

    @property
    def kernels(self) -> Any:
        """The kernel operations."""
        return importlib.import_module("mlmethods_numpy.ops.kernels")

    @property
    def linalg(self) -> Any:
        """The linear algebra."""
        return importlib.import_module("mlmethods_numpy.ops.linalg")

    @property
    def privacy(self) -> Any:
        """The privacy operations."""
        return importlib.import_module("mlmethods_numpy.ops.privacy")

    @property
    def nn(self) -> Any:
        """The operations of networks."""
        return importlib.import_module("mlmethods_numpy.ops.nn")

    def engine(self, method: str) -> Any:
        """Return the engine of a method."""
        if method not in _ENGINES:
            raise OperationNotSupportedError(
                f"the NumPy backend has no engine for {method!r}; it has: "
                f"{', '.join(sorted(_ENGINES)) or 'none'}"
            )
        return importlib.import_module(_ENGINES[method]).engine


backend = NumpyBackend()
