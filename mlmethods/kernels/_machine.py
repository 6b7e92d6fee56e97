"""What the kernel ridge estimators share: predictions, saving, leave-one-out."""

from __future__ import annotations

import os
import warnings
from typing import Any, NamedTuple, TypeVar

import numpy as np
from scipy.linalg import LinAlgError, cholesky, solve_triangular
from sklearn.base import BaseEstimator
from sklearn.utils.validation import (
    _check_sample_weight,
    check_is_fitted,
    validate_data,
)

from mlmethods.backend import get_backend
from mlmethods.common.buckets import pad_rows
from mlmethods.common.checkpoint import load_estimator, save_estimator
from mlmethods.common.memory import require_memory, resolve_memory_limit
from mlmethods.errors import EffectiveRidgeWarning
from mlmethods.interfaces import ArrayLike, Backend, NDArray
from mlmethods.kernels._inverse import inverse_diagonals, largest_eigenvalue
from mlmethods.kernels._spectral import eigensystem
from mlmethods.kernels._system import Options, Solution
from mlmethods.kernels._training import KernelMatrix, Training
from mlmethods.kernels.base import Kernel
from mlmethods.kernels.path import path_of

__all__ = ["Diagnosis", "KernelMachine"]

MachineT = TypeVar("MachineT", bound="KernelMachine")
# Entries of the kernel between new and training rows at a time, for deviations.
_BLOCK_ELEMENTS = 2**24
# The kernel matrix and its copy.
_MATRICES = 2


class Diagnosis(NamedTuple):
    """What the kernel matrix says about a fit; `loo` is (n, c)."""

    loo: NDArray
    gcv: float
    kappa: float
    e0: float
    cond: float
    rank: int


class KernelMachine(BaseEstimator):
    """What the estimators share; subclasses have the parameters that it reads."""

    dtype: str
    memory_limit: int | str
    backend: str | Backend
    kernel_: Kernel
    dual_coef_: NDArray
    X_fit_: NDArray
    sample_weight_: NDArray | None
    reg_: float
    solver_: str
    jitter_: float

    def _read_weights(
        self, sample_weight: ArrayLike | None, rows: NDArray
    ) -> NDArray | None:
        if sample_weight is None:
            return None
        weights: NDArray = _check_sample_weight(
            sample_weight, rows, ensure_non_negative=True
        )
        return weights

    def _options(self, on_singular: str, solver: str) -> Options:
        options = Options(
            who=type(self).__name__,
            on_singular=on_singular,
            solver=solver,
            dtype=self.dtype,
            memory_limit=self.memory_limit,
            backend=self.backend,
        )
        options.check()
        return options

    def _keep_rows(
        self, rows: NDArray, weights: NDArray | None, reg: float, backend: str
    ) -> None:
        """Set what every machine keeps of a fit, and forget what it cached."""
        for cached in ("_diagnosis", "_factor"):
            self.__dict__.pop(cached, None)
        self.X_fit_ = rows
        self.sample_weight_ = weights
        self.reg_ = reg
        self.backend_ = backend

    def _keep_solution(self, found: Solution) -> None:
        self.solver_ = found.solver
        self.jitter_ = found.jitter
        self.residual_ = found.residual

    def _outputs(self, X: ArrayLike) -> NDArray:
        """Return ``sum_i alpha_i k(x, x_i)``, of shape (m, c)."""
        check_is_fitted(self)
        rows = validate_data(self, X, reset=False, dtype=np.float64)
        spec = self.kernel_.to_spec()
        backend = get_backend(
            self.backend, "kernels.matvec", kernel=spec, dtype=self.dtype
        )
        dtype = backend.info.default_dtype if self.dtype == "auto" else self.dtype
        alpha = self.dual_coef_.reshape(len(self.X_fit_), -1)
        native = [
            backend.asarray(array, dtype=dtype)
            for array in (pad_rows(rows), self.X_fit_, alpha)
        ]
        product = backend.kernels.matvec(spec, *native)
        return np.asarray(backend.to_numpy(product))[: len(rows)]

    def _deviation(self, X: ArrayLike) -> NDArray:
        """Return the posterior standard deviation at rows, of shape (m,), float64."""
        rows = validate_data(self, X, reset=False, dtype=np.float64)
        active, s = self._active()
        # Variances are differences: float32 would leave few of their digits.
        matrix = KernelMatrix(
            self.kernel_, self.X_fit_[active], "float64", self.backend
        )
        if not hasattr(self, "_factor"):
            self._factor = _root_of_inverse(self._weighted(matrix, s))
        variance = self.kernel_.diag(rows)
        step = max(1, _BLOCK_ELEMENTS // len(s))
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            K = matrix.backend.to_numpy(matrix.native(rows[part]))
            variance[part] -= np.sum(self._factor(s[:, None] * K) ** 2, axis=0)
        return np.sqrt(np.maximum(variance, 0))

    def _active(self) -> tuple[NDArray, NDArray]:
        """Return the rows of positive weight and the roots of their weights."""
        if self.sample_weight_ is None:
            return np.arange(len(self.X_fit_)), np.ones(len(self.X_fit_))
        active = np.flatnonzero(self.sample_weight_)
        return active, np.sqrt(self.sample_weight_[active])

    def _weighted(self, matrix: KernelMatrix, s: NDArray) -> NDArray:
        """Return ``s K s`` plus the ridge and the jitter of the fit."""
        require_memory(
            _MATRICES * 8 * len(s) ** 2,
            resolve_memory_limit(self.memory_limit),
            what=f"the kernel matrix of n={len(s)} rows, for what is not stored",
            alternative="use fewer rows or a larger memory_limit",
        )
        A = matrix.host()
        if self.sample_weight_ is not None:
            A *= s[:, None]
            A *= s
        A[np.diag_indices(len(A))] += self.reg_ + self.jitter_
        return A

    def _diagnose(self, targets: NDArray) -> Diagnosis:
        """Return the diagnosis of the fit to `targets` (n, c), once computed."""
        if not hasattr(self, "_diagnosis"):
            self._diagnosis = self._compute_diagnosis(targets)
        return self._diagnosis

    def _compute_diagnosis(self, targets: NDArray) -> Diagnosis:
        active, s = self._active()
        if self.solver_ not in ("eigh", "pinv"):
            matrix = KernelMatrix(
                self.kernel_, self.X_fit_[active], self.dtype, self.backend
            )
            A = self._weighted(matrix, s)
            largest = largest_eigenvalue(A)
            found = inverse_diagonals(A)
            if found is not None:
                alpha = self.dual_coef_.reshape(len(self.X_fit_), -1)
                loo = np.empty(alpha.shape)
                loo[active] = alpha[active] / (s**2 * found.inverse)[:, None]
                if len(active) < len(loo):
                    passive = np.setdiff1d(np.arange(len(loo)), active)
                    outputs = self._outputs(self.X_fit_[passive])
                    loo[passive] = targets[passive] - outputs
                n, beta = len(s), alpha[active] / s[:, None]
                trace = float(found.inverse.sum(dtype=np.float64))
                scale = np.sum(s**2) * alpha.shape[1] * trace**2
                return Diagnosis(
                    loo=loo,
                    gcv=float(n**2 * np.sum(beta**2) / scale),
                    kappa=1 / trace,
                    e0=float(np.mean(found.square / found.inverse**2)),
                    cond=float(largest * found.norm),
                    rank=n,
                )
        data = Training(self.X_fit_, targets, self.sample_weight_, False)
        with warnings.catch_warnings():
            # The fit has said it already.
            warnings.simplefilter("ignore", EffectiveRidgeWarning)
            path = path_of(
                self.kernel_,
                data,
                np.array([self.reg_ + self.jitter_]),
                self.dtype,
                self.memory_limit,
                self.backend,
            )
        return Diagnosis(
            loo=path.loo[0],
            gcv=float(path.gcv[0]),
            kappa=float(path.kappa[0]),
            e0=float(path.e0[0]),
            cond=float(path.cond[0]),
            rank=len(s) if path.floor < self.reg_ + self.jitter_ else path.rank,
        )

    def _saved_arrays(self) -> dict[str, NDArray]:
        """Return the fitted arrays that :meth:`save` writes."""
        arrays = {"dual_coef_": self.dual_coef_, "X_fit_": self.X_fit_}
        if self.sample_weight_ is not None:
            arrays["sample_weight_"] = self.sample_weight_
        return arrays

    def _saved_state(self) -> dict[str, Any]:
        """Return the other fitted attributes that :meth:`save` writes."""
        names = ("kernel_", "backend_", "reg_", "solver_", "jitter_", "residual_")
        return {name: getattr(self, name) for name in names if hasattr(self, name)}

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Save the fitted estimator in a folder; nothing is pickled.

        Raises
        ------
        InvalidInputError
            If a parameter cannot be stored, such as a kernel made of functions.
        """
        check_is_fitted(self)
        save_estimator(self, directory, self._saved_arrays(), self._saved_state())

    @classmethod
    def load(cls: type[MachineT], directory: str | os.PathLike[str]) -> MachineT:
        """Return the estimator that :meth:`save` wrote.

        Raises
        ------
        CheckpointError
            If the folder is missing, damaged or holds another class.
        """
        machine = load_estimator(cls, directory)
        if not hasattr(machine, "sample_weight_"):
            machine.sample_weight_ = None
        return machine


def _root_of_inverse(A: NDArray) -> Any:
    """Return a function that gives ``R B`` with ``R^T R`` the (pseudo-)inverse of A."""
    original = A.copy()
    try:
        L = cholesky(A, lower=True, overwrite_a=True, check_finite=False)
    except LinAlgError:
        values, V = eigensystem(original)
        kept = values > len(values) * np.finfo(values.dtype).eps * values[-1]
        root = (V[:, kept] / np.sqrt(values[kept])).T
        return lambda B: root @ B
    return lambda B: solve_triangular(L, B, lower=True, check_finite=False)
