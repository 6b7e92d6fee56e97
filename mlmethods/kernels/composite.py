"""Sums and products of kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from mlmethods.common.validation import check_real
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import ArrayLike, KernelSpec, NDArray
from mlmethods.kernels.base import Kernel

__all__ = ["ProductKernel", "SumKernel", "add", "multiply", "scaled"]

CompositeT = TypeVar("CompositeT", bound="_CompositeKernel")


class _CompositeKernel(Kernel):
    """A kernel made of others, whose parameters are reached by their places."""

    kernels: Any

    def _children(self) -> list[Kernel]:
        kernels = self.kernels
        if not isinstance(kernels, list | tuple) or not kernels:
            raise InvalidInputError(
                f"kernels must be a list of at least one kernel, got {kernels!r}"
            )
        for kernel in kernels:
            if not isinstance(kernel, Kernel):
                raise InvalidInputError(
                    f"kernels must hold Kernel objects, got {kernel!r}"
                )
        return list(kernels)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the arguments by name and, with `deep`, those of the kernels.

        The kernel at place 0 is ``"0"``, its bandwidth ``"0__bandwidth"``.
        """
        params = super().get_params(deep=False)
        if deep and isinstance(self.kernels, list | tuple):
            for place, kernel in enumerate(self.kernels):
                params[str(place)] = kernel
                if isinstance(kernel, Kernel):
                    nested = kernel.get_params(deep=True)
                    params |= {f"{place}__{k}": v for k, v in nested.items()}
        return params

    def set_params(self: CompositeT, **params: Any) -> CompositeT:
        """Set arguments by name: ``kernels``, ``"0"`` or ``"0__bandwidth"``.

        Raises
        ------
        InvalidInputError
            If there is no such argument.
        """
        own = super().get_params(deep=False)
        super().set_params(**{k: params.pop(k) for k in list(params) if k in own})
        nested: dict[str, dict[str, Any]] = {}
        # A kernel is replaced before its own parameters are set.
        for name in sorted(params, key=lambda name: "__" in name):
            place, _, rest = name.partition("__")
            if not place.isdigit() or int(place) >= len(self.kernels):
                known = ", ".join(self.get_params())
                raise InvalidInputError(
                    f"{type(self).__name__} has no parameter {name!r}; it has: {known}"
                )
            if rest:
                nested.setdefault(place, {})[rest] = params[name]
            else:
                changed = list(self.kernels)
                changed[int(place)] = params[name]
                self.kernels = changed
        for place, values in nested.items():
            self.kernels[int(place)].set_params(**values)
        return self

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _CompositeKernel) or type(self) is not type(other):
            return NotImplemented
        return self._parts() == other._parts()

    __hash__ = None  # type: ignore[assignment]

    def _parts(self) -> tuple[Any, ...]:
        return (list(self.kernels),)


class SumKernel(_CompositeKernel):
    """The weighted sum ``sum_i w_i k_i(x, z)``; ``a + b`` and ``2 * a`` make one.

    Parameters
    ----------
    kernels : list of Kernel
        The kernels k_i.
    weights : list of float, optional
        Their weights, at least 0; 1 by default.

    Notes
    -----
    Parameters of the kernels are searched over by their places:
    ``GridSearchCV(model, {"kernel__0__bandwidth": [...]})``.

    Examples
    --------
    >>> from mlmethods.kernels import GaussianKernel, LaplaceKernel
    >>> kernel = LaplaceKernel(bandwidth=1.0) + 0.5 * GaussianKernel(bandwidth=1.0)
    >>> kernel.weights
    [1.0, 0.5]
    >>> kernel([[0.0]], [[0.0]], backend="numpy")
    array([[1.5]])
    >>> sorted(kernel.get_params())
    ['0', '0__bandwidth', '1', '1__bandwidth', 'kernels', 'weights']
    """

    def __init__(
        self, kernels: Sequence[Kernel], weights: Sequence[float] | None = None
    ) -> None:
        self.kernels = kernels
        self.weights = weights

    def _weights(self) -> list[float]:
        count = len(self._children())
        if self.weights is None:
            return [1.0] * count
        weights = np.asarray(self.weights, dtype=object)
        if weights.shape != (count,):
            raise InvalidInputError(
                f"weights must be None or {count} numbers, one for each kernel, "
                f"got {self.weights!r}"
            )
        return [check_real("weights", weight, minimum=0) for weight in weights]

    def _parts(self) -> tuple[Any, ...]:
        weights = self.weights
        return (list(self.kernels), None if weights is None else list(weights))

    def to_spec(self) -> KernelSpec:
        """Return the kernel as data."""
        return KernelSpec(
            name="sum",
            params={"weights": np.array(self._weights())},
            children=tuple(kernel.to_spec() for kernel in self._children()),
        )

    def diag(self, X: ArrayLike, M: ArrayLike | None = None) -> NDArray:
        """Return k(x, x) for each row of `X`, an array of shape (n,)."""
        parts = np.array([kernel.diag(X, M) for kernel in self._children()])
        return np.array(self._weights()) @ parts

    def to_sklearn(self) -> Any:
        """Return the sum of the equal kernels."""
        from sklearn.gaussian_process.kernels import ConstantKernel

        total: Any = None
        for kernel, weight in zip(self._children(), self._weights(), strict=True):
            peer = kernel.to_sklearn()
            peer = peer if weight == 1 else ConstantKernel(weight) * peer
            total = peer if total is None else total + peer
        return total


class ProductKernel(_CompositeKernel):
    """The product ``prod_i k_i(x, z)`` of kernels; ``a * b`` makes one.

    Parameters
    ----------
    kernels : list of Kernel
        The kernels.

    Examples
    --------
    >>> from mlmethods.kernels import LaplaceKernel, LinearKernel
    >>> kernel = LaplaceKernel(bandwidth=1.0) * LinearKernel()
    >>> kernel([[2.0]], [[3.0]], backend="numpy").round(4)
    array([[2.2073]])
    """

    def __init__(self, kernels: Sequence[Kernel]) -> None:
        self.kernels = kernels

    def to_spec(self) -> KernelSpec:
        """Return the kernel as data."""
        children = tuple(kernel.to_spec() for kernel in self._children())
        return KernelSpec(name="product", children=children)

    def diag(self, X: ArrayLike, M: ArrayLike | None = None) -> NDArray:
        """Return k(x, x) for each row of `X`, an array of shape (n,)."""
        return np.prod([kernel.diag(X, M) for kernel in self._children()], axis=0)

    def to_sklearn(self) -> Any:
        """Return the product of the equal kernels."""
        peers = [kernel.to_sklearn() for kernel in self._children()]
        total = peers[0]
        for peer in peers[1:]:
            total = total * peer
        return total


def add(left: Kernel, right: Kernel) -> SumKernel:
    """Return ``left + right`` as one sum, where these are sums themselves as well."""
    kernels: list[Kernel] = []
    weights: list[float] = []
    for kernel in (left, right):
        if isinstance(kernel, SumKernel):
            kernels += kernel._children()
            weights += kernel._weights()
        else:
            kernels.append(kernel)
            weights.append(1.0)
    return SumKernel(kernels, weights)


def multiply(left: Kernel, right: Kernel) -> ProductKernel:
    """Return ``left * right`` as one product."""
    kernels: list[Kernel] = []
    for kernel in (left, right):
        kernels += kernel._children() if isinstance(kernel, ProductKernel) else [kernel]
    return ProductKernel(kernels)


def scaled(kernel: Kernel, factor: float) -> SumKernel:
    """Return ``factor * kernel``."""
    factor = check_real("the factor of a kernel", factor, minimum=0)
    if isinstance(kernel, SumKernel):
        weights = [factor * weight for weight in kernel._weights()]
        return SumKernel(kernel._children(), weights)
    return SumKernel([kernel], [factor])
