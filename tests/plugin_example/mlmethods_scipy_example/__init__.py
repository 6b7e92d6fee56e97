"""A third-party backend for mlmethods, complete: copy it to begin your own.

A backend is a distribution of its own with three things.

1. An entry point in the group ``mlmethods.backends`` (see ``pyproject.toml``). Its
   value is a backend object, or a function without arguments that returns one.
   Importing it must be cheap: ``mlmethods`` reads ``info`` of every installed backend.
2. The object, here :class:`ScipyBackend`: who it is (``info``), what it can run
   (``can_run``), how arrays and random keys go in and out.
3. Families of operations: a module or an object each, with the signatures of
   :mod:`mlmethods.interfaces`. Declare in ``info.ops`` what you implement. These seven
   (``kernels`` and ``linalg``) are enough to fit a Recursive Feature Machine.

Of ``mlmethods`` a backend imports ``mlmethods.interfaces`` and ``mlmethods.errors``,
nothing else. Then hold it to the contract, and use it::

    pip install -e .
    pytest --pyargs mlmethods.testing --backend=scipy-example
    python -c "import mlmethods; print(mlmethods.get_backend('scipy-example').info)"

This one computes in float64 with SciPy and knows two kernels, Laplace and Gaussian.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from mlmethods.errors import OperationNotSupportedError
from mlmethods.interfaces import BackendInfo, Seed

__all__ = ["ScipyBackend", "backend"]


class ScipyBackend:
    """Kernels and solves on SciPy, in float64."""

    info = BackendInfo(
        name="scipy-example",
        version="1.0",
        # A literal: the version of the contract that this code was written for.
        api_version=1,
        ops=frozenset(
            {
                "kernels.pairwise",
                "kernels.matvec",
                "kernels.grad",
                "kernels.agop",
                "linalg.ridge_solve",
                "linalg.ridge_cg",
                "linalg.eigh",
            }
        ),
        dtypes=frozenset({"float64"}),
        default_dtype="float64",
        description="example of a third-party backend, on SciPy",
        # Below the built-in backends: it is used where it is asked for by name.
        default_priority=-10,
    )

    def is_available(self) -> Literal[True] | str:
        """Return True, or why it cannot be used on this machine."""
        return True

    def can_run(self, name: str, /, **facts: Any) -> Literal[True] | str:
        """Return True, or why `name` cannot run with these facts."""
        if name not in self.info.ops:
            return f"the scipy-example backend has no {name}"
        kernel = facts.get("kernel")
        if kernel is not None and kernel.name not in ("laplace", "gaussian"):
            return f"it has the kernels laplace and gaussian, not {kernel.name}"
        dtype = facts.get("dtype")
        if dtype not in (None, "auto", "float64"):
            return f"it computes in float64, not {dtype}"
        return True

    def asarray(
        self, x: Any, *, dtype: str | None = None, device: Any = None
    ) -> np.ndarray:
        """Return `x` as a NumPy array; floating arrays become float64."""
        array = np.asarray(x, dtype=dtype)
        return (
            array.astype(np.float64, copy=False) if array.dtype.kind == "f" else array
        )

    def to_numpy(self, x: Any) -> Any:
        """Return `x`, whose arrays are NumPy's."""
        return x

    def key(self, seed: Seed) -> np.random.SeedSequence:
        """Return the key of a seed: a seed sequence of its own."""
        if isinstance(seed, np.random.SeedSequence):
            return np.random.SeedSequence(seed.entropy, spawn_key=seed.spawn_key)
        return np.random.SeedSequence(seed)

    def split(
        self, key: np.random.SeedSequence, n: int
    ) -> Sequence[np.random.SeedSequence]:
        """Return `n` independent keys."""
        return self.key(key).spawn(n)

    def synchronize(self, tree: Any) -> None:
        """Return at once: nothing here runs in the background."""

    @property
    def kernels(self) -> Any:
        """The kernel operations."""
        # Imported here, so that looking at `info` does not load SciPy.
        from mlmethods_scipy_example import kernels

        return kernels

    @property
    def linalg(self) -> Any:
        """The linear algebra."""
        from mlmethods_scipy_example import linalg

        return linalg

    @property
    def privacy(self) -> Any:
        """Not implemented."""
        raise OperationNotSupportedError("scipy-example has no privacy operations")

    @property
    def nn(self) -> Any:
        """Not implemented."""
        raise OperationNotSupportedError("scipy-example has no neural operations")

    def engine(self, method: str) -> Any:
        """Refuse: this backend brings operations, mlmethods composes them."""
        raise OperationNotSupportedError(f"scipy-example has no engine for {method!r}")


backend = ScipyBackend()
