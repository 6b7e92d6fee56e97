"""Ridge regression with any kernel of the family."""

from __future__ import annotations

from typing import Literal, overload

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import ArrayLike, Backend, NDArray
from mlmethods.kernels._machine import Diagnosis, KernelMachine
from mlmethods.kernels._system import effective_reg, solve
from mlmethods.kernels.base import Kernel
from mlmethods.kernels.resolve import resolve_kernel

__all__ = ["KernelRidge"]


class KernelRidge(RegressorMixin, KernelMachine):
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
    reg_scaling : {"none", "n"}, default="none"
        ``"n"`` multiplies `reg` by the number of rows, or the sum of their weights.
    on_singular : {"auto", "error", "pinv", "jitter"}, default="auto"
        What to do where a direct solver meets a matrix without a unique solution:
        raise, take the solution of least norm with an EffectiveRidgeWarning, or raise
        the diagonal slightly, with a NumericalWarning. ``"auto"`` is ``"error"`` for
        ``reg > 0`` and ``"pinv"`` for ``reg = 0``, except that equal rows with
        different targets are an error there.
    solver : {"auto", "cholesky", "cg", "eigh", "eigenpro"}, default="auto"
        ``"cg"`` is preconditioned conjugate gradients that never form K; ``"auto"``
        takes it where the matrices of ``"cholesky"`` exceed `memory_limit`.
        ``"eigh"`` is one eigendecomposition, as slow as 15 Cholesky factorizations,
        and robust. ``"eigenpro"`` does at most 50 passes of
        :class:`EigenProRegressor`, which has more settings, and reaches fewer digits:
        see `residual_`.
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
    reg_ : float
        The ridge on the diagonal, after `reg_scaling`.
    solver_ : {"cholesky", "pinv", "cg", "eigh", "eigenpro"}
        What found the solution.
    jitter_ : float
        What was added to the diagonal beyond `reg_`.
    residual_ : float
        Norm of what the solution leaves of the linear system, relative to the
        targets.
    y_fit_, sample_weight_ : ndarray
        Targets and weights (or None) of the fit.
    backend_ : str
        Name of the backend that fitted.
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : ndarray of str
        Their names, where `X` had names.

    Notes
    -----
    The properties `loo_residuals_`, `gcv_`, `kappa_`, `e0_`, `cond_` and `rank_` are
    computed together at the first use of one of them, from the training rows: O(n^3),
    about twice the time of a fit, or another eigendecomposition where the fit was
    one.

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
        reg_scaling: str = "none",
        on_singular: str = "auto",
        solver: str = "auto",
        dtype: str = "float64",
        memory_limit: int | str = "auto",
        backend: str | Backend = "auto",
    ) -> None:
        self.kernel = kernel
        self.bandwidth = bandwidth
        self.reg = reg
        self.reg_scaling = reg_scaling
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
        DuplicateInputsError
            If equal rows have different targets with ``reg=0`` and `on_singular` is
            ``"auto"`` or ``"error"``.
        SingularKernelError
            If the system has no unique solution and `on_singular` is ``"error"``.
        DivergenceError
            If conjugate gradients did not converge.
        MemoryLimitError
            If the matrices would exceed `memory_limit`; nothing was allocated.
        """
        options = self._options(self.on_singular, self.solver)
        rows, targets = validate_data(
            self, X, y, multi_output=True, y_numeric=True, dtype=np.float64
        )
        weights = self._read_weights(sample_weight, rows)
        reg = effective_reg(self.reg, self.reg_scaling, weights, len(rows))
        self.kernel_ = resolve_kernel(self.kernel, self.bandwidth, X=rows, rng=0)
        Y = targets.reshape(len(rows), -1).astype(np.float64)
        found = solve(self.kernel_, rows, Y, weights, reg, options)
        self.dual_coef_ = found.alpha.reshape(targets.shape)
        self.y_fit_ = targets
        self._keep_rows(rows, weights, reg, found.backend)
        self._keep_solution(found)
        return self

    @overload
    def predict(self, X: ArrayLike, return_std: Literal[False] = False) -> NDArray: ...

    @overload
    def predict(
        self, X: ArrayLike, return_std: Literal[True]
    ) -> tuple[NDArray, NDArray]: ...

    def predict(
        self, X: ArrayLike, return_std: bool = False
    ) -> NDArray | tuple[NDArray, NDArray]:
        """Return the predictions.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        return_std : bool, default=False
            Also return the standard deviation of a Gaussian process with this kernel
            and noise variance `reg_` (over the weight), given the training rows. It
            is that of the function, without the noise of a new target, and the same
            for all outputs. The first call factors the kernel matrix, O(n^3), each
            row then costs O(n^2).

        Returns
        -------
        mean : ndarray of shape (n_samples,) or (n_samples, n_targets)
            In the precision of `dtype`.
        std : ndarray of shape (n_samples,)
            With `return_std` only.
        """
        outputs = self._outputs(X)
        mean = outputs.reshape(len(outputs), *self.dual_coef_.shape[1:])
        return (mean, self._deviation(X)) if return_std else mean

    @property
    def loo_residuals_(self) -> NDArray:
        """Target minus the prediction of the other rows; shape of the targets."""
        return self._diagnosed().loo.reshape(self.dual_coef_.shape)

    @property
    def gcv_(self) -> float:
        """Generalized cross-validation error."""
        return self._diagnosed().gcv

    @property
    def kappa_(self) -> float:
        """Effective ridge of the population, ``1 / tr (K + reg I)^-1``."""
        return self._diagnosed().kappa

    @property
    def e0_(self) -> float:
        """Cost of overfitting; see :class:`KernelDiagnostics`."""
        return self._diagnosed().e0

    @property
    def cond_(self) -> float:
        """Condition number of ``K + reg I``; estimated unless by eigenvalues."""
        return self._diagnosed().cond

    @property
    def rank_(self) -> int:
        """Numerical rank of ``K + reg I``."""
        return self._diagnosed().rank

    def _diagnosed(self) -> Diagnosis:
        check_is_fitted(self)
        if not hasattr(self, "y_fit_"):
            raise InvalidInputError(
                "this KernelRidge was saved by an earlier version, without its "
                "targets; fit it again"
            )
        return self._diagnose(self.y_fit_.reshape(len(self.X_fit_), -1))

    def _saved_arrays(self) -> dict[str, NDArray]:
        return {**super()._saved_arrays(), "y_fit_": self.y_fit_}
