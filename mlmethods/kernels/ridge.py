"""Ridge regression with any kernel of the family."""

from __future__ import annotations

import os
import warnings
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import Tags
from sklearn.utils.validation import (
    _check_sample_weight,
    check_is_fitted,
    validate_data,
)

from mlmethods.backend import get_backend
from mlmethods.common.buckets import pad_rows
from mlmethods.common.checkpoint import load_estimator, save_estimator
from mlmethods.common.memory import require_memory, resolve_memory_limit
from mlmethods.common.validation import check_choice, check_real
from mlmethods.errors import (
    DivergenceError,
    InvalidInputError,
    NotPositiveDefiniteError,
    NumericalWarning,
    SingularKernelError,
)
from mlmethods.interfaces import (
    ArrayLike,
    Backend,
    KernelSpec,
    NDArray,
    SolveResult,
    SolveStatus,
)
from mlmethods.kernels.base import Kernel
from mlmethods.kernels.resolve import resolve_kernel

__all__ = ["KernelRidge"]

_ON_SINGULAR = ("auto", "error", "pinv", "jitter")
_SOLVERS = ("auto", "cholesky", "cg")
_DTYPES = ("auto", "float32", "float64")
# The kernel matrix, its weighted copy and the factor, the last two in float64.
_MATRICES = 3
# A factorization that "succeeds" on a singular matrix shows in its residual.
_LARGEST_RESIDUAL = {"float64": 1e-6, "float32": 1e-3}


class KernelRidge(RegressorMixin, BaseEstimator):
    """Kernel ridge regression: ``f(x) = sum_i alpha_i k(x, x_i)``.

    The coefficients solve ``(K + reg I) alpha = y``. Nothing is subtracted first:
    center `y` if its mean is not near zero.

    Parameters
    ----------
    kernel : str or Kernel, default="laplace"
        A name with the defaults of its class, or an object; see
        :func:`mlmethods.kernels.resolve_kernel`.
    bandwidth : float, "median" or None, default=None
        Length scale for a named kernel: None is 10, meant for standardized columns;
        ``"median"`` the median distance between at most 5000 training rows, drawn
        with a fixed seed.
    reg : float, default=1.0
        Ridge >= 0, added to the diagonal and not divided by n; 0 interpolates.
    on_singular : {"auto", "error", "pinv", "jitter"}, default="auto"
        What to do where the Cholesky solver meets a matrix without a unique
        solution: raise, take the solution of least norm, or raise the diagonal
        slightly, with a NumericalWarning. ``"auto"`` is ``"error"`` for ``reg > 0``
        and ``"pinv"`` for ``reg = 0``.
    solver : {"auto", "cholesky", "cg"}, default="auto"
        ``"cg"`` is preconditioned conjugate gradients that never form K; ``"auto"``
        takes it where the matrices of ``"cholesky"`` exceed `memory_limit`.
    dtype : {"float64", "float32", "auto"}, default="float64"
        Precision of the kernel values; ``"auto"`` is the backend's own choice.
    memory_limit : int or "auto", default="auto"
        Bytes; ``"auto"`` is 80 % of what is available.
    backend : str or Backend, default="auto"
        What computes; see :func:`mlmethods.get_backend`.

    Attributes
    ----------
    dual_coef_ : ndarray of shape (n_samples,) or (n_samples, n_targets)
        The coefficients alpha.
    X_fit_ : ndarray of shape (n_samples, n_features)
        The training rows.
    kernel_ : Kernel
        The kernel with its bandwidth.
    solver_ : {"cholesky", "pinv", "cg"}
        What found the solution.
    jitter_ : float
        What was added to the diagonal beyond `reg`.
    backend_ : str
        Name of the backend that fitted.
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : ndarray of str
        Their names, where `X` had names.

    Examples
    --------
    >>> import numpy as np
    >>> from mlmethods.kernels import KernelRidge
    >>> X = np.linspace(0, 3, 20)[:, None]
    >>> model = KernelRidge("gaussian", bandwidth=0.5, reg=1e-3, backend="numpy")
    >>> model.fit(X, np.sin(X[:, 0])).predict([[1.5]]).round(2)
    array([1.])
    """

    def __init__(
        self,
        kernel: str | Kernel = "laplace",
        *,
        bandwidth: float | str | None = None,
        reg: float = 1.0,
        on_singular: str = "auto",
        solver: str = "auto",
        dtype: str = "float64",
        memory_limit: int | str = "auto",
        backend: str | Backend = "auto",
    ) -> None:
        self.kernel = kernel
        self.bandwidth = bandwidth
        self.reg = reg
        self.on_singular = on_singular
        self.solver = solver
        self.dtype = dtype
        self.memory_limit = memory_limit
        self.backend = backend

    def __sklearn_tags__(self) -> Tags:
        """Return the tags: several targets are accepted."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> KernelRidge:
        """Fit the coefficients.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training rows.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets.
        sample_weight : float or array-like of shape (n_samples,), optional
            Weights of the squared errors; 0 leaves a row out, 2 counts it twice.

        Returns
        -------
        KernelRidge
            The fitted estimator.

        Raises
        ------
        InvalidInputError
            If a parameter is outside its range.
        SingularKernelError
            If the system has no unique solution and `on_singular` is ``"error"``.
        DivergenceError
            If conjugate gradients did not converge.
        MemoryLimitError
            If the matrices would exceed `memory_limit`; nothing was allocated.
        """
        reg = check_real("reg", self.reg, minimum=0)
        check_choice("on_singular", self.on_singular, _ON_SINGULAR)
        check_choice("solver", self.solver, _SOLVERS)
        check_choice("dtype", self.dtype, _DTYPES)
        rows, targets = validate_data(
            self, X, y, multi_output=True, y_numeric=True, dtype=np.float64
        )
        weights = None
        if sample_weight is not None:
            weights = _check_sample_weight(
                sample_weight, rows, ensure_non_negative=True
            )
        self.kernel_ = resolve_kernel(self.kernel, self.bandwidth, X=rows, rng=0)
        solver = self._choose_solver(len(rows))
        backend = self._get_backend(
            "kernels.pairwise" if solver == "cholesky" else "linalg.ridge_cg",
            "linalg.ridge_solve" if solver == "cholesky" else "kernels.matvec",
        )
        system = _System(
            backend,
            self._dtype(backend),
            self.kernel_.to_spec(),
            rows,
            targets.reshape(len(rows), -1),
            weights,
        )
        if solver == "cholesky":
            alpha, solver, jitter = self._solve_directly(system, reg)
        else:
            alpha, jitter = _accept_iterative(system.iterate(reg))
        self.dual_coef_ = alpha.reshape(targets.shape)
        self.X_fit_ = rows
        self.solver_ = solver
        self.jitter_ = float(jitter)
        self.backend_ = backend.info.name
        return self

    def predict(self, X: ArrayLike) -> NDArray:
        """Return the predictions.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_targets)
            In the precision of `dtype`.
        """
        check_is_fitted(self)
        rows = validate_data(self, X, reset=False, dtype=np.float64)
        backend = self._get_backend("kernels.matvec")
        dtype = self._dtype(backend)
        alpha = self.dual_coef_.reshape(len(self.X_fit_), -1)
        native = [
            backend.asarray(array, dtype=dtype)
            for array in (pad_rows(rows), self.X_fit_, alpha)
        ]
        product = backend.kernels.matvec(self.kernel_.to_spec(), *native)
        values = np.asarray(backend.to_numpy(product))[: len(rows)]
        return values.reshape(len(rows), *self.dual_coef_.shape[1:])

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Save the fitted estimator in a folder; nothing is pickled.

        Raises
        ------
        InvalidInputError
            If a parameter cannot be stored, such as a kernel made of functions.
        """
        check_is_fitted(self)
        names = ("dual_coef_", "X_fit_")
        save_estimator(
            self,
            directory,
            {name: getattr(self, name) for name in names},
            {
                name: getattr(self, name)
                for name in ("kernel_", "solver_", "jitter_", "backend_")
            },
        )

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> KernelRidge:
        """Return the estimator that :meth:`save` wrote.

        Raises
        ------
        CheckpointError
            If the folder is missing, damaged or holds another class.
        """
        return load_estimator(cls, directory)

    def _get_backend(self, *operations: str) -> Backend:
        return get_backend(
            self.backend, *operations, kernel=self.kernel_.to_spec(), dtype=self.dtype
        )

    def _dtype(self, backend: Backend) -> str:
        return backend.info.default_dtype if self.dtype == "auto" else self.dtype

    def _choose_solver(self, n: int) -> str:
        limit = resolve_memory_limit(self.memory_limit)
        needed = _MATRICES * 8 * n**2
        if self.solver == "auto":
            return "cholesky" if needed <= limit else "cg"
        if self.solver == "cholesky":
            require_memory(
                needed,
                limit,
                what=f"KernelRidge with solver='cholesky' on n={n} rows",
                alternative="use solver='cg', fewer rows or a larger memory_limit",
            )
        return self.solver

    def _solve_directly(
        self, system: _System, reg: float
    ) -> tuple[NDArray, str, float]:
        policy = self.on_singular
        if policy == "auto":
            policy = "error" if reg > 0 else "pinv"
        result = system.factorize(reg, jitter=policy == "jitter")
        status = SolveStatus(int(result.status))
        if status == SolveStatus.NOT_FINITE:
            raise InvalidInputError(
                f"kernel {self.kernel_!r} gives values on X that are not finite"
            )
        exact = float(result.residual) <= _LARGEST_RESIDUAL[system.dtype]
        if status.ok and (exact or policy == "jitter"):
            if status == SolveStatus.JITTERED:
                warnings.warn(
                    f"KernelRidge: {status.message} ({float(result.jitter):.1e})",
                    NumericalWarning,
                    stacklevel=3,
                )
            return result.alpha, "cholesky", float(result.jitter)
        if policy == "pinv":
            return system.pseudo_inverse(reg), "pinv", 0.0
        if policy == "jitter":
            raise NotPositiveDefiniteError(
                f"kernel {self.kernel_!r} is not positive definite on X: "
                f"{status.message}"
            )
        raise SingularKernelError(
            f"the kernel matrix with reg={self.reg!r} is numerically singular (rows "
            "may be duplicated); raise reg, or set on_singular to 'pinv' or 'jitter'"
        )


class _System:
    """The linear system of one fit on one backend."""

    def __init__(
        self,
        backend: Backend,
        dtype: str,
        spec: KernelSpec,
        X: NDArray,
        Y: NDArray,
        weights: NDArray | None,
    ) -> None:
        self.backend = backend
        self.dtype = dtype
        self.spec = spec
        self.X = backend.asarray(X, dtype=dtype)
        self.Y = Y
        self.weights = weights

    def _native(self, array: NDArray | None) -> Any:
        if array is None:
            return None
        return self.backend.asarray(array, dtype=self.dtype)

    def _to_numpy(self, result: SolveResult) -> SolveResult:
        return SolveResult(*(np.asarray(self.backend.to_numpy(x)) for x in result))

    def factorize(self, reg: float, *, jitter: bool) -> SolveResult:
        """Solve by Cholesky."""
        K = self.backend.kernels.pairwise(self.spec, self.X)
        result = self.backend.linalg.ridge_solve(
            K,
            self._native(self.Y),
            reg,
            weights=self._native(self.weights),
            jitter="ladder" if jitter else "none",
        )
        return self._to_numpy(result)

    def iterate(self, reg: float) -> SolveResult:
        """Solve by conjugate gradients."""
        result = self.backend.linalg.ridge_cg(
            self.spec,
            self.X,
            self._native(self.Y),
            reg,
            weights=self._native(self.weights),
        )
        return self._to_numpy(result)

    def pseudo_inverse(self, reg: float) -> NDArray:
        """Return the solution of least norm."""
        K = self.backend.to_numpy(self.backend.kernels.pairwise(self.spec, self.X))
        s = np.ones(len(K)) if self.weights is None else np.sqrt(self.weights)
        A = self.backend.asarray(s[:, None] * K * s, dtype=self.dtype)
        values, vectors = self.backend.to_numpy(self.backend.linalg.eigh(A))
        values = values + reg
        rounding = len(values) * np.finfo(self.dtype).eps * np.abs(values).max()
        kept = values > rounding
        basis = vectors[:, kept]
        inner = (basis.T @ (s[:, None] * self.Y)) / values[kept, None]
        return s[:, None] * (basis @ inner)


def _accept_iterative(result: SolveResult) -> tuple[NDArray, float]:
    status = SolveStatus(int(result.status))
    if status.ok:
        return result.alpha, float(result.jitter)
    if status == SolveStatus.MAX_ITERATIONS:
        raise DivergenceError(
            f"solver='cg' stopped at a relative residual of "
            f"{float(result.residual):.1e}; raise reg, or use solver='cholesky'"
        )
    raise SingularKernelError(f"solver='cg': {status.message}")
