"""What every kernel object can do."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from typing import Any, TypeVar

import numpy as np

from mlmethods.backend import get_backend
from mlmethods.errors import InvalidInputError, OperationNotSupportedError
from mlmethods.interfaces import ArrayLike, Backend, KernelSpec, NDArray
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
            "LaplaceKernel, GaussianKernel, MaternKernel and QuadraticKernel"
        )

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
        return self.get_params() == other.get_params()  # type: ignore[attr-defined]

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        arguments = ", ".join(f"{k}={v!r}" for k, v in self.get_params().items())
        return f"{type(self).__name__}({arguments})"


def _to_device(backend: Backend, array: NDArray | None, dtype: str) -> Any:
    if array is None:
        return None
    return backend.asarray(array, dtype=None if dtype == "auto" else dtype)
