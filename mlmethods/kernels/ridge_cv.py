"""Kernel ridge regression that chooses its ridge from the training rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata
from sklearn.base import RegressorMixin
from sklearn.model_selection import check_cv
from sklearn.utils import Tags
from sklearn.utils.validation import validate_data

from mlmethods.common.validation import check_choice
from mlmethods.interfaces import ArrayLike, Backend, NDArray
from mlmethods.kernels._machine import KernelMachine
from mlmethods.kernels._training import Training, read_regs
from mlmethods.kernels.base import Kernel
from mlmethods.kernels.path import CRITERIA, choose_ridge, path_of
from mlmethods.kernels.resolve import resolve_kernel

__all__ = ["KernelRidgeCV"]

# Three ridges a decade: another one costs little beside the eigendecomposition.
_REGS = tuple(float(f"{reg:.4g}") for reg in np.logspace(-6, 3, 28))


class KernelRidgeCV(RegressorMixin, KernelMachine):
    """Kernel ridge regression with the ridge of least leave-one-out error.

    All ridges come from one eigendecomposition, and so do their exact leave-one-out
    errors: nothing is fitted again. Nothing is subtracted first: center `y` if its
    mean is not near zero.

    Parameters
    ----------
    kernel : str or Kernel, default="laplace"
        A name with the defaults of its class, or an object; see
        :func:`mlmethods.kernels.resolve_kernel`.
    regs : sequence of float, default=28 values from 1e-6 to 1e3
        Ridges >= 0 to choose from, added to the diagonal and not divided by n.
    cv : {"loo", "gcv", "mll"}, int, splitter or iterable, default="loo"
        Least (weighted) mean squared leave-one-out error; least generalized
        cross-validation; or largest log marginal likelihood of a Gaussian process
        with noise variance reg. Anything else is folds, as scikit-learn's ``cv``:
        least mean squared error at the rows held out, from one eigendecomposition a
        fold. Of equal ridges the largest is taken.
    bandwidth : float, "median" or None, default=None
        Length scale for a named kernel: None is 10, meant for standardized columns;
        ``"median"`` the median distance between at most 5000 training rows, drawn
        with a fixed seed.
    dtype : {"float64", "float32", "auto"}, default="float64"
        Precision of the whole computation; ``"auto"`` is the backend's own choice.
    memory_limit : int or "auto", default="auto"
        Bytes; ``"auto"`` is 80 % of what is available.
    backend : str or Backend, default="auto"
        What computes; see :func:`mlmethods.get_backend`.

    Attributes
    ----------
    reg_ : float
        The chosen ridge.
    best_score_ : float
        Its score, larger is better: the negative mean squared leave-one-out error,
        that at rows held out, the negative `gcv` or the `mll`.
    best_index_ : int
        Its place in `regs`.
    cv_results_ : dict of ndarray of shape (n_regs,)
        ``reg``, ``score`` and ``rank_score``; also ``loo_mse``, ``gcv``, ``mll``,
        ``df``, ``e0`` and ``kappa``, see :class:`RidgePath`.
    loo_residuals_ : ndarray of shape (n_samples,) or (n_samples, n_targets)
        Target minus the prediction of the other rows with the chosen ridge.
    dual_coef_, X_fit_, sample_weight_, kernel_, backend_
        As those of :class:`KernelRidge`.
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : ndarray of str
        Their names, where `X` had names.

    Notes
    -----
    Leaving out a row of weight 2 leaves out both of the rows that it stands for: the
    choice is not that of the repeated rows, whose copies predict each other.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.preprocessing import StandardScaler
    >>> from mlmethods.kernels import KernelRidgeCV
    >>> X, y = load_diabetes(return_X_y=True)
    >>> X = StandardScaler().fit_transform(X)
    >>> model = KernelRidgeCV("laplace", regs=[0.01, 0.1, 1, 10], backend="numpy")
    >>> model.fit(X[:200], y[:200] - y[:200].mean()).reg_
    1.0
    """

    def __init__(
        self,
        kernel: str | Kernel = "laplace",
        regs: Sequence[float] = _REGS,
        *,
        cv: Any = "loo",
        bandwidth: float | str | None = None,
        dtype: str = "float64",
        memory_limit: int | str = "auto",
        backend: str | Backend = "auto",
    ) -> None:
        self.kernel = kernel
        self.regs = regs
        self.cv = cv
        self.bandwidth = bandwidth
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
    ) -> KernelRidgeCV:
        """Choose the ridge and fit the coefficients.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training rows.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets.
        sample_weight : float or array-like of shape (n_samples,), optional
            Weights of the squared errors, in the fit and in the criterion; 0 leaves a
            row out.

        Returns
        -------
        KernelRidgeCV
            The fitted estimator.

        Raises
        ------
        InvalidInputError
            If a parameter is outside its range.
        NotPositiveDefiniteError
            If the kernel matrix has a negative eigenvalue and a ridge is too small
            for it.
        MemoryLimitError
            If the fit would exceed `memory_limit`; nothing was allocated.

        Warns
        -----
        EffectiveRidgeWarning
            If a ridge is zero to this precision and the kernel matrix singular.
        """
        if isinstance(self.cv, str):
            check_choice("cv", self.cv, CRITERIA)
        regs = read_regs("regs", self.regs)
        options = self._options("auto", "auto")
        rows, targets = validate_data(
            self, X, y, multi_output=True, y_numeric=True, dtype=np.float64
        )
        weights = self._read_weights(sample_weight, rows)
        self.kernel_ = resolve_kernel(self.kernel, self.bandwidth, X=rows, rng=0)
        Y = targets.reshape(len(rows), -1).astype(np.float64)
        data = Training(rows, Y, weights, targets.ndim == 1)
        settings = (regs, options.dtype, options.memory_limit, options.backend)
        if isinstance(self.cv, str):
            path = path_of(self.kernel_, data, *settings)
            score = path.scores(self.cv)
        else:
            score = -self._held_out(data, settings)
            path = path_of(self.kernel_, data, *settings)
        best = choose_ridge(regs, score, f"the score of cv={self.cv!r}")
        self.best_index_, self.best_score_ = best, float(score[best])
        self.cv_results_ = {
            "reg": path.regs,
            "score": score,
            "rank_score": rankdata(-score, method="min").astype(int),
            "loo_mse": path.loo_mse,
            **{
                name: getattr(path, name)
                for name in ("gcv", "mll", "df", "e0", "kappa")
            },
        }
        self.dual_coef_ = path.dual_coef[best]
        self.loo_residuals_ = path.loo[best]
        self._keep_rows(rows, weights, float(regs[best]), path.backend)
        return self

    def _held_out(self, data: Training, settings: Any) -> NDArray:
        """Return the mean squared error at the rows held out, for every ridge."""
        weights = np.ones(len(data.X)) if data.weights is None else data.weights
        total, count = np.zeros(len(settings[0])), 0.0
        for train, test in check_cv(self.cv).split(data.X, data.Y):
            part = Training(data.X[train], data.Y[train], weights[train], False)
            if not weights[train].any() or not weights[test].any():
                continue
            path = path_of(self.kernel_, part, *settings)
            K = self.kernel_(
                data.X[test], part.X, backend=settings[3], dtype=settings[1]
            )
            outputs = np.einsum("mn,rnc->rmc", K, path.dual_coef, optimize=True)
            squares = np.mean((data.Y[test] - outputs) ** 2, axis=2)
            total += squares @ weights[test]
            count += weights[test].sum()
        return total / count

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
        outputs = self._outputs(X)
        return outputs.reshape(len(outputs), *self.dual_coef_.shape[1:])

    def _saved_arrays(self) -> dict[str, NDArray]:
        return {**super()._saved_arrays(), "loo_residuals_": self.loo_residuals_}

    def _saved_state(self) -> dict[str, Any]:
        names = ("cv_results_", "best_index_", "best_score_")
        mine = {name: getattr(self, name) for name in names}
        return {**super()._saved_state(), **mine}
