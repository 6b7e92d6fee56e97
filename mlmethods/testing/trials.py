"""What a conformance check works with: a backend, the oracle, a dtype, a registry."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from mlmethods.interfaces import Backend, KernelSpec
from mlmethods.testing.tolerances import assert_close

__all__ = [
    "CHECKS",
    "KERNELS",
    "Check",
    "Trial",
    "check",
    "expand",
    "get_operation",
    "require",
]


class Check(NamedTuple):
    """One check of one operation; `kernels` are those that it is repeated for."""

    function: Callable[..., None]
    kernels: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name of its function, in words."""
        return self.function.__name__.replace("_", " ")


CHECKS: dict[str, list[Check]] = defaultdict(list)
"""Checks by the name of what they check: an operation, an engine, or an edge."""


def check(
    *names: str, kernels: tuple[str, ...] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a check, a function of a :class:`Trial` that raises AssertionError.

    Parameters
    ----------
    *names : str
        What it checks, such as ``"kernels.agop"`` or ``"engine:rfm"``.
    kernels : tuple of str
        Keys of :data:`KERNELS`; the function then takes a KernelSpec as well and
        runs once for each that the backend accepts.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        for name in names:
            CHECKS[name].append(Check(function, kernels))
        return function

    return register


def _square(product: Any) -> Any:
    return (product + 1.0) * (product + 1.0)


def _square_slope(product: Any) -> Any:
    return (product + 1.0) * 2.0


def _network(name: str, activation: str, depth: int) -> KernelSpec:
    return KernelSpec(
        name=name,
        params={
            "w_std": 1.25,
            "b_std": 0.25,
            "readout_w_std": 1.0,
            "readout_b_std": 0.0,
            "scale": 1.0,
        },
        static=(("activation", activation), ("depth", depth), ("skip", False)),
    )


# Numbers are exact in float32, so that both dtypes describe the same kernel.
KERNELS = {
    "laplace": KernelSpec(name="laplace", bandwidth=2.5),
    "gaussian": KernelSpec(name="gaussian", bandwidth=2.0),
    "exp_power": KernelSpec(name="exp_power", bandwidth=2.0, params={"q": 1.25}),
    "matern 1/2": KernelSpec(name="matern", bandwidth=3.0, static=(("nu", 0.5),)),
    "matern 3/2": KernelSpec(name="matern", bandwidth=2.0, static=(("nu", 1.5),)),
    "matern 5/2": KernelSpec(name="matern", bandwidth=2.0, static=(("nu", 2.5),)),
    "matern 3/4": KernelSpec(name="matern", bandwidth=2.0, static=(("nu", 0.75),)),
    "lpq": KernelSpec(name="lpq", bandwidth=4.0, params={"p": 1.5, "q": 1.25}),
    "sum_power": KernelSpec(
        name="sum_power",
        bandwidth=2.0,
        params={"q": 1.0, "power": 2.0, "const_mix": 0.25},
    ),
    "quadratic": KernelSpec(name="quadratic"),
    "inner_product": KernelSpec(
        name="inner_product", static=(("dh", _square_slope), ("h", _square))
    ),
    "linear": KernelSpec(name="linear"),
    "polynomial": KernelSpec(
        name="polynomial",
        params={"constant": 0.5, "scale": 0.25},
        static=(("degree", 3),),
    ),
    "rational_quadratic": KernelSpec(
        name="rational_quadratic", bandwidth=2.0, params={"alpha": 0.75}
    ),
    "nngp": _network("nngp", "gelu", 1),
    "ntk": _network("ntk", "relu", 2),
}
KERNELS["sum"] = KernelSpec(
    name="sum",
    params={"weights": np.array([0.5, 2.0])},
    children=(KERNELS["laplace"], KERNELS["nngp"]),
)
KERNELS["product"] = KernelSpec(
    name="product",
    children=(KERNELS["laplace"], KERNELS["quadratic"], KERNELS["lpq"]),
)
"""The kernels that operations are checked with, one of each kind."""


@dataclass(frozen=True)
class Trial:
    """One backend on trial in one dtype, beside the oracle.

    Attributes
    ----------
    backend : Backend
        The backend that is checked.
    oracle : Backend
        The reference.
    name : str
        What is checked, such as ``"kernels.agop"``.
    dtype : str
        The floating dtype of arrays given to the backend.
    """

    backend: Backend
    oracle: Backend
    name: str
    dtype: str

    def rng(self) -> np.random.Generator:
        """Return a generator with the seed that every check starts from."""
        return np.random.default_rng(20240308)

    def key(self, seed: int = 0) -> Any:
        """Return a new key of the backend."""
        return self.backend.key(seed)

    def run(self, *arguments: Any, op: str | None = None, **keywords: Any) -> Any:
        """Return the operation's result as NumPy arrays of the trial's dtype.

        NumPy arrays among the arguments go through ``asarray``; those of a floating
        dtype in the dtype of the trial.

        Raises
        ------
        AssertionError
            If the operation changes an argument or returns another floating dtype.
        """
        operation = get_operation(self.backend, op or self.name)
        native, named = _map_arrays((arguments, keywords), self._native)
        before = _map_arrays((native, named), self._copy)
        result = operation(*native, **named)
        self.backend.synchronize(result)
        after = _map_arrays((native, named), self._copy)
        require(_same(before, after), "an argument was modified in place")
        out = self.backend.to_numpy(result)
        for array in _leaves(out):
            dtype = np.asarray(array).dtype
            require(
                dtype.kind != "f" or dtype.name == self.dtype,
                f"{self.dtype} arguments gave a result of dtype {dtype.name}",
            )
        return out

    def reference(self, *arguments: Any, op: str | None = None, **keywords: Any) -> Any:
        """Return the oracle's result for the same arguments, rounded to the dtype."""
        operation = get_operation(self.oracle, op or self.name)
        native, named = _map_arrays((arguments, keywords), self._rounded)
        return self.oracle.to_numpy(operation(*native, **named))

    def compare(
        self, *arguments: Any, label: str = "the result", **keywords: Any
    ) -> Any:
        """Run the operation, require agreement with the oracle, return the result."""
        actual = self.run(*arguments, **keywords)
        self.close(actual, self.reference(*arguments, **keywords), label)
        return actual

    def close(
        self,
        actual: Any,
        expected: Any,
        label: str = "the result",
        rtol: float | None = None,
    ) -> None:
        """Require that two arrays agree to the tolerance of the dtype."""
        assert_close(actual, expected, dtype=self.dtype, rtol=rtol, label=label)

    def _copy(self, x: Any) -> np.ndarray:
        return np.array(self.backend.to_numpy(x))

    def _native(self, x: np.ndarray) -> Any:
        return self.backend.asarray(
            x, dtype=self.dtype if x.dtype.kind == "f" else None
        )

    def _rounded(self, x: np.ndarray) -> Any:
        floating = x.dtype.kind == "f"
        return self.oracle.asarray(x.astype(self.dtype) if floating else x)


def require(condition: Any, message: str) -> None:
    """Raise AssertionError with `message` unless `condition` holds."""
    if not condition:
        raise AssertionError(message)


def expand(trial: Trial, one: Check) -> Iterator[tuple[str, tuple[Any, ...] | str]]:
    """Yield the label and arguments of each run of a check.

    Where the backend declines a kernel its name and the reason stand in their place.
    """
    if not one.kernels:
        yield one.name, (trial,)
    for key in one.kernels:
        kernel = KERNELS[key]
        answer = trial.backend.can_run(trial.name, kernel=kernel, dtype=trial.dtype)
        if answer is True:
            yield f"{one.name} ({key})", (trial, kernel)
        else:
            yield key, str(answer)


def get_operation(backend: Backend, name: str) -> Callable[..., Any]:
    """Return the operation called ``family.operation``."""
    family, operation = name.split(".")
    return getattr(getattr(backend, family), operation)


def _map_arrays(tree: Any, function: Callable[[Any], Any]) -> Any:
    """Apply a function to the arrays among arguments; leave all else as it is."""
    if isinstance(tree, tuple):
        return tuple(_map_arrays(item, function) for item in tree)
    if isinstance(tree, dict):
        return {name: _map_arrays(item, function) for name, item in tree.items()}
    return function(tree) if hasattr(tree, "shape") and tree.ndim > 0 else tree


def _leaves(tree: Any) -> Iterator[Any]:
    if isinstance(tree, tuple | list):
        for item in tree:
            yield from _leaves(item)
    else:
        yield tree


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, tuple):
        return all(_same(a, b) for a, b in zip(first, second, strict=True))
    if isinstance(first, dict):
        return all(_same(first[name], second[name]) for name in first)
    if isinstance(first, np.ndarray):
        return np.array_equal(first, second, equal_nan=first.dtype.kind == "f")
    return True
