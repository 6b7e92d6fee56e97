"""What every kernel object can do."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import numbers
from abc import ABC, abstractmethod
from typing import Any, TypeVar

import numpy as np

from mlmethods.backend import get_backend
from mlmethods.common.validation import check_integer, check_real
from mlmethods.errors import InvalidInputError, OperationNotSupportedError
from mlmethods.interfaces import KERNEL_NAMES, ArrayLike, Backend, KernelSpec, NDArray
from mlmethods.kernels._arrays import floating, matrices

__all__ = ["Kernel"]

KernelT = TypeVar("KernelT", bound="Kernel")


class Kernel(ABC):
    """A positive definite function of two points, as an object with parameters.

    A subclass stores the arguments of its constructor unchanged, as scikit-learn's
    estimators do, so that a kernel is cloned and searched over inside one
    (``GridSearchCV(model, {"kernel__bandwidth": [...]})``). Their ranges are checked
    by :meth:`to_spec`, thus where the kernel is used.

    Kernels of the same class and parameters are equal.
    """

    @abstractmethod
    def to_spec(self) -> KernelSpec:
        """Return the kernel as data, for the operations of a backend.

        Raises
        ------
        InvalidInputError
            If a parameter is outside its range.
        """

    def __call__(
        self,
        X: ArrayLike,
        Z: ArrayLike | None = None,
        M: ArrayLike | None = None,
        *,
        backend: str | Backend = "auto",
        dtype: str = "auto",
    ) -> NDArray:
        """Return the kernel matrix.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Left points.
        Z : array-like of shape (m, d), optional
            Right points; `X` by default.
        M : array-like of shape (d, d) or (d,), optional
            Mahalanobis matrix or its diagonal; the identity by default.
        backend : str or Backend, default="auto"
            What computes it; see :func:`mlmethods.get_backend`.
        dtype : {"auto", "float32", "float64"}, default="auto"
            ``"auto"`` is float32 on JAX and float64 on NumPy.

        Returns
        -------
        ndarray of shape (n, m)

        Raises
        ------
        InvalidInputError
            If a parameter of the kernel or the shape of an array is wrong.
        OperationNotSupportedError
            If the backend cannot compute this kernel.
        """
        arrays = matrices(X, Z, M)
        spec = self.to_spec()
        facts = {"kernel": spec, "dtype": dtype}
        chosen = get_backend(backend, "kernels.pairwise", **facts)
        native = [_to_device(chosen, array, dtype) for array in arrays]
        return np.asarray(chosen.to_numpy(chosen.kernels.pairwise(spec, *native)))

    def diag(self, X: ArrayLike, M: ArrayLike | None = None) -> NDArray:
        """Return ``k(x, x)`` for each row of `X`.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Points.
        M : array-like of shape (d, d) or (d,), optional
            Mahalanobis matrix or its diagonal.

        Returns
        -------
        ndarray of shape (n,), float64
        """
        X, _, _ = matrices(X, None, M)
        self.to_spec()
        return np.ones(len(X))

    def grad(
        self,
        X: ArrayLike,
        Z: ArrayLike | None,
        alpha: ArrayLike,
        M: ArrayLike | None = None,
        *,
        backend: str | Backend = "auto",
        dtype: str = "auto",
    ) -> NDArray:
        """Return the gradient at each x of ``sum_j alpha_j k(x, z_j)``.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Where to differentiate.
        Z : array-like of shape (m, d) or None
            Centers; None means `X`, and then no sample contributes to its own
            gradient where the kernel has none.
        alpha : array-like of shape (m, c) or (m,)
            Coefficients.
        M, backend, dtype
            As in calling the kernel.

        Returns
        -------
        ndarray of shape (n, c, d), or (n, d) for alpha of shape (m,)
        """
        X, Z, M = matrices(X, Z, M)
        alpha = floating("alpha", alpha)
        single = alpha.ndim == 1
        m = len(X) if Z is None else len(Z)
        if alpha.ndim not in (1, 2) or len(alpha) != m:
            raise InvalidInputError(
                f"alpha must have shape ({m}, c) or ({m},), one entry for each "
                f"center, got shape {alpha.shape}"
            )
        spec = self.to_spec()
        facts = {"kernel": spec, "dtype": dtype}
        chosen = get_backend(backend, "kernels.grad", **facts)
        columns = alpha[:, None] if single else alpha
        native = [_to_device(chosen, array, dtype) for array in (X, Z, columns, M)]
        gradient = np.asarray(chosen.to_numpy(chosen.kernels.grad(spec, *native)))
        return gradient[:, 0] if single else gradient

    def to_sklearn(self) -> Any:
        """Return the equal kernel of :mod:`sklearn.gaussian_process.kernels`.

        Raises
        ------
        OperationNotSupportedError
            If scikit-learn has none.
        """
        raise OperationNotSupportedError(
            f"scikit-learn has no kernel equal to {self!r}; classes that it has are "
            "LaplaceKernel, LaplaceL1Kernel, GaussianKernel, MaternKernel, "
            "RationalQuadraticKernel, LinearKernel, QuadraticKernel, PolynomialKernel "
            "and sums and products of these"
        )

    def zonal(
        self,
        c: ArrayLike,
        d: int,
        *,
        radius: float | None = None,
        backend: str | Backend = "numpy",
        dtype: str = "float64",
    ) -> NDArray:
        """Return the kernel of two points on a sphere, given the cosine between them.

        Parameters
        ----------
        c : array-like of shape (n,) or ()
            Cosines, from -1 to 1.
        d : int
            Dimension of the space that the sphere lies in.
        radius : float, optional
            Norm of both points; by default 1, or ``sqrt(d)`` where a network kernel
            takes part, which divides inner products by d.
        backend : str or Backend, default="numpy"
            What computes it; NumPy takes differences without cancellation.
        dtype : {"auto", "float32", "float64"}, default="float64"
            As in calling the kernel.

        Returns
        -------
        ndarray of the shape of `c`

        Raises
        ------
        InvalidInputError
            If an argument is outside its range.
        OperationNotSupportedError
            If the kernel changes when both points are rotated.

        Examples
        --------
        >>> from mlmethods.kernels import GaussianKernel
        >>> GaussianKernel(bandwidth=1.0).zonal([1.0, 0.0, -1.0], 3).round(4)
        array([1.    , 0.3679, 0.1353])
        """
        cosines = np.asarray(floating("c", c), dtype=np.float64)
        if not (np.abs(cosines) <= 1).all():
            raise InvalidInputError("c must hold cosines from -1 to 1")
        check_integer("d", d, minimum=1)
        spec = self.to_spec()
        if not _is_rotation_invariant(spec):
            raise OperationNotSupportedError(
                f"{self!r} changes when points are rotated and has no zonal profile"
            )
        if radius is None:
            radius = float(d) ** 0.5 if _has_network(spec) else 1.0
        radius = check_real("radius", radius, minimum=0, open_minimum=True)
        # Two coordinates suffice, where a network divides by d all the same.
        spec = _in_two_columns(spec, d)
        flat = cosines.ravel()
        sines = np.sqrt((1 - flat) * (1 + flat))
        points = radius * np.stack([flat, sines], axis=1)
        pole = np.array([[radius, 0.0]])
        facts = {"kernel": spec, "dtype": dtype}
        chosen = get_backend(backend, "kernels.pairwise", **facts)
        native = [_to_device(chosen, array, dtype) for array in (points, pole)]
        values = chosen.to_numpy(chosen.kernels.pairwise(spec, *native))
        return np.asarray(values)[:, 0].reshape(cosines.shape)

    def __add__(self, other: Any) -> Kernel:
        """Return the sum with another kernel."""
        if not isinstance(other, Kernel):
            return NotImplemented
        return importlib.import_module("mlmethods.kernels.composite").add(self, other)

    def __mul__(self, other: Any) -> Kernel:
        """Return the product with another kernel, or with a number >= 0."""
        composite = importlib.import_module("mlmethods.kernels.composite")
        if isinstance(other, Kernel):
            return composite.multiply(self, other)
        if isinstance(other, numbers.Real) and not isinstance(other, bool):
            return composite.scaled(self, float(other))
        return NotImplemented

    __rmul__ = __mul__

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor's arguments by name; `deep` changes nothing."""
        signature = inspect.signature(type(self).__init__)
        names = [name for name in signature.parameters if name != "self"]
        return {name: getattr(self, name) for name in names}

    def set_params(self: KernelT, **params: Any) -> KernelT:
        """Set constructor arguments by name.

        Raises
        ------
        InvalidInputError
            If there is no such argument.
        """
        known = self.get_params()
        for name, value in params.items():
            if name not in known:
                raise InvalidInputError(
                    f"{type(self).__name__} has no parameter {name!r}; it has: "
                    f"{', '.join(known) or 'none'}"
                )
            setattr(self, name, value)
        return self

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        mine, theirs = (k.get_params(deep=False) for k in (self, other))  # type: ignore[attr-defined]
        return mine == theirs

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        arguments = ", ".join(
            f"{k}={v!r}" for k, v in self.get_params(deep=False).items()
        )
        return f"{type(self).__name__}({arguments})"


def _to_device(backend: Backend, array: NDArray | None, dtype: str) -> Any:
    if array is None:
        return None
    return backend.asarray(array, dtype=None if dtype == "auto" else dtype)


# These change with the axes: all else depends on distances and inner products.
_OF_THE_AXES = ("lpq", "sum_power")
_NETWORKS = ("nngp", "ntk")


def _is_rotation_invariant(spec: KernelSpec) -> bool:
    if spec.children:
        return all(map(_is_rotation_invariant, spec.children))
    if spec.name not in KERNEL_NAMES:
        return False
    # The norm with p = 2 is the Euclidean one.
    euclidean = spec.name == "lpq" and spec.params["p"] == 2
    return spec.name not in _OF_THE_AXES or euclidean


def _has_network(spec: KernelSpec) -> bool:
    return spec.name in _NETWORKS or any(map(_has_network, spec.children))


def _in_two_columns(spec: KernelSpec, d: int) -> KernelSpec:
    """Return what has, on points of two columns, the values of `spec` on those of d."""
    params = spec.params
    if spec.name in _NETWORKS:
        params = {**params, "scale": params["scale"] * 2 / d}
    children = tuple(_in_two_columns(child, d) for child in spec.children)
    return dataclasses.replace(spec, params=params, children=children)
