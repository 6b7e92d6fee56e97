"""Training rows that functions read, and the kernel matrix of rows."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import issparse

from mlmethods.backend import get_backend
from mlmethods.common.validation import check_choice
from mlmethods.errors import DuplicateInputsError, InvalidInputError
from mlmethods.interfaces import Array, ArrayLike, Backend, NDArray
from mlmethods.kernels._arrays import floating
from mlmethods.kernels.base import Kernel

__all__ = [
    "KernelMatrix",
    "Training",
    "read_regs",
    "read_rows",
    "read_training",
    "refuse_conflicts",
]

DTYPES = ("auto", "float32", "float64")


class Training(NamedTuple):
    """Rows X (n, d), targets Y (n, c) and weights (n,) or None, checked.

    `single` says whether the targets were given as a vector.
    """

    X: NDArray
    Y: NDArray
    weights: NDArray | None
    single: bool


def read_rows(X: ArrayLike) -> NDArray:
    """Return `X` as finite float64 rows.

    Raises
    ------
    InvalidInputError
        If it is sparse, complex, not of shape (n, d) or not finite.
    """
    if issparse(X):
        raise InvalidInputError(
            "X must be a dense array: a kernel matrix has no zeros to leave out, got "
            f"{type(X).__name__}"
        )
    rows = floating("X", X)
    if rows.ndim != 2 or 0 in rows.shape:
        raise InvalidInputError(
            f"X must have shape (n, d) with n, d >= 1, got shape {rows.shape}"
        )
    return _finite("X", rows.astype(np.float64, copy=False))


def read_training(
    X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None
) -> Training:
    """Return checked training data.

    Raises
    ------
    InvalidInputError
        If an array has another shape, is not of finite real numbers, or no weight is
        positive.
    """
    rows = read_rows(X)
    targets = floating("y", y).astype(np.float64, copy=False)
    if targets.ndim not in (1, 2) or len(targets) != len(rows) or 0 in targets.shape:
        raise InvalidInputError(
            f"y must have shape ({len(rows)},) or ({len(rows)}, c) as X has "
            f"{len(rows)} rows, got shape {targets.shape}"
        )
    _finite("y", targets)
    weights = None
    if sample_weight is not None:
        weights = floating("sample_weight", sample_weight).astype(np.float64)
        if weights.shape != (len(rows),):
            raise InvalidInputError(
                f"sample_weight must have shape ({len(rows)},), got shape "
                f"{weights.shape}"
            )
        _finite("sample_weight", weights)
        if weights.min() < 0 or weights.max() <= 0:
            raise InvalidInputError(
                "sample_weight must be >= 0 with at least one positive entry, got "
                f"values from {weights.min():g} to {weights.max():g}"
            )
    return Training(rows, targets.reshape(len(rows), -1), weights, targets.ndim == 1)


def read_regs(name: str, regs: Any) -> NDArray:
    """Return ridges as a float64 array of shape (r,).

    Raises
    ------
    InvalidInputError
        If there is none, or one is negative or not finite.
    """
    values = floating(name, regs).astype(np.float64)
    if values.ndim != 1 or not len(values):
        raise InvalidInputError(
            f"{name} must be a sequence of at least one ridge, got shape {values.shape}"
        )
    bad = ~(np.isfinite(values) & (values >= 0))
    if bad.any():
        k = int(bad.argmax())
        raise InvalidInputError(
            f"{name} must be finite numbers >= 0, got {name}[{k}]={values[k].item()}"
        )
    return values


def refuse_conflicts(X: NDArray, Y: NDArray) -> None:
    """Raise if equal rows of `X` (n, d) have different targets `Y` (n, c).

    Raises
    ------
    DuplicateInputsError
        Naming the first such pair.
    """
    # Rows as bytes sort quickly; adding zero makes -0.0 the same bytes as 0.0.
    rows = np.ascontiguousarray(X + 0.0)
    bytes_of_rows = rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1])))
    _, first, group = np.unique(bytes_of_rows, return_index=True, return_inverse=True)
    earliest = first[group.ravel()]
    differs = (Y[earliest] != Y).any(axis=1)
    if differs.any():
        j = int(differs.argmax())
        i = int(earliest[j])
        raise DuplicateInputsError(
            f"rows {i} and {j} of X are equal and have different targets "
            f"({Y[i].tolist()} and {Y[j].tolist()}): no function fits both with reg=0; "
            "set reg > 0, or on_singular='pinv' for their mean"
        )


class KernelMatrix:
    """The kernel matrix of rows on a chosen backend.

    Attributes
    ----------
    backend : Backend
        What computes it.
    dtype : {"float32", "float64"}
        Of its values.
    """

    def __init__(
        self, kernel: Kernel, X: NDArray, dtype: str, backend: str | Backend
    ) -> None:
        check_choice("dtype", dtype, DTYPES)
        self.kernel = kernel
        self.spec = kernel.to_spec()
        self.backend = get_backend(
            backend, "kernels.pairwise", kernel=self.spec, dtype=dtype
        )
        info = self.backend.info
        self.dtype = info.default_dtype if dtype == "auto" else dtype
        self._X = X

    def native(self, Z: NDArray | None = None) -> Array:
        """Return the matrix [n, n], or [n, m] against the rows `Z`, on the device."""
        rows = [
            None if rows is None else self.backend.asarray(rows, dtype=self.dtype)
            for rows in (self._X, Z)
        ]
        return self.backend.kernels.pairwise(self.spec, *rows)

    def host(self, native: Array | None = None) -> NDArray:
        """Return the matrix as a NumPy array that may be overwritten.

        Raises
        ------
        InvalidInputError
            If the kernel gives values that are not finite.
        """
        K = np.asarray(
            self.backend.to_numpy(self.native() if native is None else native),
            dtype=self.dtype,
        )
        if not np.isfinite(np.sum(K)):
            raise InvalidInputError(
                f"kernel {self.kernel!r} gives values on X that are not finite"
            )
        return K if K.flags.writeable and K.flags.c_contiguous else K.copy()

    def engine(self, name: str) -> Any:
        """Return what the backend's kernel engine has under this name, or None."""
        if "kernels" not in self.backend.info.engines:
            return None
        return getattr(self.backend.engine("kernels"), name, None)


def _finite(name: str, array: NDArray) -> NDArray:
    bad = ~np.isfinite(array)
    if bad.any():
        place = tuple(int(k) for k in np.unravel_index(bad.argmax(), array.shape))
        where = ", ".join(
            f"{axis} {k}" for axis, k in zip(("row", "column"), place, strict=False)
        )
        raise InvalidInputError(
            f"{name} must be finite, got {array[place]} in {where}"
            + (f" and {bad.sum() - 1} more" if bad.sum() > 1 else "")
        )
    return array
