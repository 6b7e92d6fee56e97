"""The object that the entry point names; it imports jax on first use only."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from mlmethods._version import __version__
from mlmethods.errors import OperationNotSupportedError
from mlmethods.interfaces import (
    API_VERSION,
    KERNEL_NAMES,
    OPS,
    BackendInfo,
    KernelSpec,
    Seed,
)

__all__ = ["JaxBackend", "backend"]

_ENGINES = {
    "kernels": "mlmethods_jax.solvers.eigenpro",
    "motion": "mlmethods_jax.motion.engine",
    "overfitting": "mlmethods_jax.overfitting.engine",
    "privacy": "mlmethods_jax.privacy.engine",
    "rfm": "mlmethods_jax.rfm.engine",
}


@functools.cache
def _jax_problem() -> str | None:
    """Return why jax cannot be imported, or None."""
    try:
        importlib.import_module("jax")
    except Exception as error:
        return f"jax cannot be imported ({type(error).__name__}: {error})"
    return None


def _declines(kernel: KernelSpec) -> str | None:
    """Return why no operation takes the kernel, or None."""
    if kernel.name not in KERNEL_NAMES:
        return f"it has no kernel {kernel.name!r}; it has {', '.join(KERNEL_NAMES)}"
    if kernel.name == "matern":
        nu = kernel.option("nu")
        if nu not in (0.5, 1.5, 2.5):
            return f"a Matern kernel with nu={nu} needs Bessel functions; use 0.5, 1.5 or 2.5"
    reasons = (_declines(child) for child in kernel.children)
    return next((reason for reason in reasons if reason), None)


class JaxBackend:
    """Backend of compiled JAX functions for CPU, GPU and TPU.

    Parameters
    ----------
    mesh : jax.sharding.Mesh, optional
        Devices to spread the rows of iterative kernel solvers over, as
        :func:`mlmethods_jax.sharding.make_mesh` returns; everything else runs on one
        device. Give the object itself to an estimator, ``backend=JaxBackend(mesh)``.
    """

    info = BackendInfo(
        name="jax",
        version=__version__,
        api_version=API_VERSION,
        ops=frozenset(OPS),
        engines=frozenset(_ENGINES),
        dtypes=frozenset({"float32", "float64"}),
        default_dtype="float32",
        description="compiled JAX functions for CPU, GPU and TPU",
        default_priority=100,
    )

    def __init__(self, mesh: Any = None) -> None:
        self.mesh = mesh

    def __deepcopy__(self, memo: Any) -> JaxBackend:
        # Devices cannot be copied, and cloning an estimator copies its parameters.
        return self

    def is_available(self) -> Literal[True] | str:
        """Return True, or why jax cannot be imported."""
        return _jax_problem() or True

    def can_run(self, name: str, /, **facts: Any) -> Literal[True] | str:
        """Return True, or why `name` cannot run with these facts."""
        if name.startswith("engine:"):
            if name.removeprefix("engine:") not in self.info.engines:
                return f"the JAX backend has no {name}"
        elif name not in self.info.ops:
            return f"{name} is not an operation of the JAX backend"
        kernel = facts.get("kernel")
        if kernel is not None and (reason := _declines(kernel)):
            return reason
        dtype = facts.get("dtype")
        if dtype not in (None, "auto", *self.info.dtypes):
            return f"it computes in float32 and float64, not {dtype}"
        return True

    def asarray(self, x: Any, *, dtype: str | None = None, device: Any = None) -> Any:
        """Put `x` on the device in one transfer.

        float64 stays float64 only for ``dtype="float64"`` or with jax's x64 mode on.
        """
        import jax

        wide = dtype in ("float64", "int64")
        with jax.enable_x64(wide or bool(jax.config.read("jax_enable_x64"))):
            array = np.asarray(x, dtype=dtype)
            return jax.device_put(array, device)

    def to_numpy(self, x: Any) -> Any:
        """Bring a pytree of arrays back as NumPy arrays, in one transfer."""
        import jax

        return jax.tree.map(np.asarray, jax.device_get(x))

    def key(self, seed: Seed) -> Any:
        """Return the JAX key of a seed."""
        from mlmethods_jax.random import key_from_seed

        return key_from_seed(seed)

    def split(self, key: Any, n: int) -> Sequence[Any]:
        """Return `n` independent keys."""
        import jax

        return list(jax.random.split(key, n))

    def synchronize(self, tree: Any) -> None:
        """Return when every array of `tree` has been computed."""
        import jax

        jax.block_until_ready(tree)

    @property
    def kernels(self) -> Any:
        """The kernel operations."""
        return importlib.import_module("mlmethods_jax.ops.kernels")

    @property
    def linalg(self) -> Any:
        """The linear algebra."""
        return importlib.import_module("mlmethods_jax.ops.linalg")

    @property
    def privacy(self) -> Any:
        """The privacy operations."""
        return importlib.import_module("mlmethods_jax.ops.privacy")

    @property
    def nn(self) -> Any:
        """The operations of networks."""
        return importlib.import_module("mlmethods_jax.ops.nn")

    def engine(self, method: str) -> Any:
        """Return the engine of a method."""
        if method not in _ENGINES:
            raise OperationNotSupportedError(
                f"the JAX backend has no engine for {method!r}; it has: "
                f"{', '.join(sorted(_ENGINES)) or 'none'}"
            )
        if method == "kernels" and self.mesh is not None:
            solver = importlib.import_module("mlmethods_jax.solvers.sharded_eigenpro")
            return solver.ShardedKernelEngine(self.mesh)
        if method == "rfm" and self.mesh is not None:
            return importlib.import_module(_ENGINES[method]).RFMEngine(self.mesh)
        if method == "motion" and self.mesh is not None:
            return importlib.import_module(_ENGINES[method]).MotionEngine(self.mesh)
        return importlib.import_module(_ENGINES[method]).engine


backend = JaxBackend()
