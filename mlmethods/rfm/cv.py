"""Recursive Feature Machines that choose bandwidth, ridge and updates themselves."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    MetaEstimatorMixin,
    RegressorMixin,
    clone,
)
from sklearn.model_selection import check_cv
from sklearn.utils import (
    Tags,
    _safe_indexing,
    assert_all_finite,
    column_or_1d,
    indexable,
)
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from mlmethods.common.validation import check_real
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import ArrayLike, NDArray
from mlmethods.kernels import Kernel
from mlmethods.rfm.estimators import RFMClassifier, RFMRegressor

__all__ = ["RFMClassifierCV", "RFMRegressorCV"]

_REGS = (1e-3, 1e-2, 0.1, 1.0, 10.0)
_BANDWIDTHS = (3.0, 10.0, 30.0)


class _ValidatedMachine(MetaEstimatorMixin, BaseEstimator, ABC):
    """What the regressor and the classifier share."""

    def __init__(
        self,
        estimator: Any = None,
        *,
        bandwidths: Sequence[float] = _BANDWIDTHS,
        regs: Sequence[float] = _REGS,
        cv: Any = 5,
        n_jobs: int | None = None,
    ) -> None:
        self.estimator = estimator
        self.bandwidths = bandwidths
        self.regs = regs
        self.cv = cv
        self.n_jobs = n_jobs

    @abstractmethod
    def _default(self) -> Any:
        """Return the machine that is used without a prototype."""

    def _fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None) -> None:
        if y is None:
            raise InvalidInputError(
                f"{type(self).__name__} requires y to be passed, but the target y is None"
            )
        X, y = indexable(X, y)
        weights = None
        if sample_weight is not None:
            weights = _check_sample_weight(sample_weight, X)
        machine = self._prototype()
        classifier = isinstance(machine, RFMClassifier)
        if classifier:
            y = column_or_1d(y, warn=True)
        assert_all_finite(y, input_name="y")
        folds = list(check_cv(self.cv, y, classifier=classifier).split(X, y))
        scores = Parallel(n_jobs=self.n_jobs)(
            delayed(_fold_scores)(
                _with_bandwidth(machine, bandwidth), X, y, weights, *fold
            )
            for bandwidth in self.bandwidths
            for fold in folds
        )
        shape = (len(self.bandwidths), len(folds), machine.n_iter + 1)
        self._choose(np.reshape(scores, shape))
        best = _with_bandwidth(machine, self.best_params_["bandwidth"])
        best.set_params(n_iter=self.best_params_["n_iter"])
        self.best_estimator_ = best.fit(X, y, weights)
        self.best_params_["reg"] = best.reg_

    def _prototype(self) -> Any:
        for name in ("bandwidths", "regs"):
            values = getattr(self, name)
            if not len(values):
                raise InvalidInputError(
                    f"{name} must have at least one value, got none"
                )
        for bandwidth in self.bandwidths:
            check_real("bandwidths", bandwidth, minimum=0, open_minimum=True)
        for reg in self.regs:
            check_real("regs", reg, minimum=0)
        machine = self._default() if self.estimator is None else clone(self.estimator)
        kind = type(self._default())
        if not isinstance(machine, kind):
            raise InvalidInputError(
                f"estimator must be None or an {kind.__name__}, got {machine!r}"
            )
        regs = tuple(self.regs) if len(self.regs) > 1 else self.regs[0]
        return machine.set_params(
            reg=regs, early_stopping=False, solver="cholesky", checkpoint_dir=None
        )

    def _choose(self, scores: NDArray) -> None:
        """Keep the mean scores, and the first of the best settings."""
        means = scores.mean(axis=1)
        which, updates = map(int, np.unravel_index(np.argmax(means), means.shape))
        count = means.shape[1]
        self.cv_results_ = {
            "bandwidth": np.repeat(np.asarray(self.bandwidths, float), count),
            "n_iter": np.tile(np.arange(count), len(means)),
            "mean_test_score": means.ravel(),
            "std_test_score": scores.std(axis=1).ravel(),
        }
        self.n_splits_ = scores.shape[1]
        self.best_score_ = float(means[which, updates])
        self.best_params_ = {
            "bandwidth": float(self.bandwidths[which]),
            "n_iter": updates,
        }

    def predict(self, X: ArrayLike) -> NDArray:
        """Return the predictions of the machine that was chosen.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        check_is_fitted(self, "best_estimator_")
        return self.best_estimator_.predict(X)

    @property
    def feature_importances_(self) -> NDArray:
        """Those of the machine that was chosen; shape (n_features,)."""
        return self.best_estimator_.feature_importances_

    @property
    def M_(self) -> NDArray:
        """The Mahalanobis matrix of the machine that was chosen."""
        return self.best_estimator_.M_

    @property
    def n_features_in_(self) -> int:
        """Number of columns."""
        return self.best_estimator_.n_features_in_

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "best_estimator_")


def _with_bandwidth(machine: Any, bandwidth: float) -> Any:
    """Return a copy of a machine whose kernel has a bandwidth."""
    copy = clone(machine)
    if isinstance(copy.kernel, Kernel):
        settings = {**copy.kernel.get_params(), "bandwidth": bandwidth}
        return copy.set_params(kernel=type(copy.kernel)(**settings))
    return copy.set_params(bandwidth=bandwidth)


def _fold_scores(
    machine: Any,
    X: Any,
    y: Any,
    weights: NDArray | None,
    train: NDArray,
    test: NDArray,
) -> list[float]:
    """Return the validation score after each number of updates."""
    machine.fit(
        _safe_indexing(X, train),
        _safe_indexing(y, train),
        None if weights is None else weights[train],
        _safe_indexing(X, test),
        _safe_indexing(y, test),
    )
    scores = [entry["validation_score"] for entry in machine.history_]
    # A machine that cannot be updated any more stays as it is.
    return scores + scores[-1:] * (machine.n_iter + 1 - len(scores))


class RFMRegressorCV(RegressorMixin, _ValidatedMachine):
    """Recursive Feature Machine for regression that chooses its settings.

    The bandwidth and the number of updates come from cross-validation; each solve takes
    the ridge of least leave-one-out error, in closed form and from one kernel matrix,
    so that a grid of ridges costs no further fits.

    Parameters
    ----------
    estimator : RFMRegressor or None, default=None
        The machine whose other settings hold; its scoring compares the settings, None
        being the mean squared error.
    bandwidths : sequence of float, default=(3.0, 10.0, 30.0)
        Bandwidths to compare.
    regs : sequence of float, default=(1e-3, 1e-2, 0.1, 1.0, 10.0)
        Ridges that each solve chooses from.
    cv : int, splitter or iterable, default=5
        Folds, as in scikit-learn. The metric is learned again in each.
    n_jobs : int or None, default=None
        Processes; each compiles for itself.

    Attributes
    ----------
    best_estimator_ : RFMRegressor
        Fitted on all rows with the best settings.
    best_params_ : dict
        Its bandwidth, n_iter and reg.
    best_score_ : float
        Mean score over the folds.
    cv_results_ : dict of ndarrays
        Bandwidth, n_iter, mean_test_score and std_test_score of each setting.
    n_splits_ : int
        Number of folds.
    M_, feature_importances_ : ndarrays
        As in :class:`RFMRegressor`.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.preprocessing import scale
    >>> from mlmethods.rfm import RFMRegressor, RFMRegressorCV
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = RFMRegressorCV(RFMRegressor(n_iter=2, backend="numpy"), cv=3)
    >>> sorted(model.fit(scale(X), y).best_params_)
    ['bandwidth', 'n_iter', 'reg']
    """

    def _default(self) -> RFMRegressor:
        return RFMRegressor()

    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> RFMRegressorCV:
        """Choose the settings and fit with them.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Standardized features.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,), optional
            Weights in the fits; folds are scored without.

        Returns
        -------
        RFMRegressorCV

        Raises
        ------
        InvalidInputError
            If a parameter is out of range.
        MemoryLimitError
            If a direct solve would exceed the machine's `memory_limit`.
        """
        self._fit(X, y, sample_weight)
        return self

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class RFMClassifierCV(ClassifierMixin, _ValidatedMachine):
    """Recursive Feature Machine for classification that chooses its settings.

    Parameters
    ----------
    estimator : RFMClassifier or None, default=None
        The machine whose other settings hold; its scoring compares the settings, None
        being the mean squared error on the encoded targets.
    bandwidths, regs, cv, n_jobs
        As in :class:`RFMRegressorCV`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels.
    best_estimator_, best_params_, best_score_, cv_results_, n_splits_, M_, \
feature_importances_
        As in :class:`RFMRegressorCV`.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from mlmethods.rfm import RFMClassifier, RFMClassifierCV
    >>> X, y = load_iris(return_X_y=True)
    >>> model = RFMClassifierCV(RFMClassifier(n_iter=1, backend="numpy"), cv=3)
    >>> model.fit(X, y).predict_proba(X[:2]).shape
    (2, 3)
    """

    def _default(self) -> RFMClassifier:
        return RFMClassifier()

    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> RFMClassifierCV:
        """Choose the settings and fit with them.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Standardized features.
        y : array-like of shape (n_samples,)
            Labels.
        sample_weight : array-like of shape (n_samples,), optional
            Weights in the fits; folds are scored without.

        Returns
        -------
        RFMClassifierCV

        Raises
        ------
        InvalidInputError
            If a parameter is out of range, or there is only one class.
        MemoryLimitError
            If a direct solve would exceed the machine's `memory_limit`.
        """
        self._fit(X, y, sample_weight)
        self.classes_ = self.best_estimator_.classes_
        return self

    def predict_proba(self, X: ArrayLike) -> NDArray:
        """Return the probabilities of the machine that was chosen.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        check_is_fitted(self, "best_estimator_")
        return self.best_estimator_.predict_proba(X)

    def decision_function(self, X: ArrayLike) -> NDArray:
        """Return the scores of the machine that was chosen.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples, n_classes) or (n_samples,)
        """
        check_is_fitted(self, "best_estimator_")
        return self.best_estimator_.decision_function(X)
