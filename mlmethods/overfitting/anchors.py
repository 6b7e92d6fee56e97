"""Reference learners whose kind of overfitting is known."""

from __future__ import annotations

import os
from typing import Any, TypeVar

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.utils import Tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    _check_sample_weight,
    check_is_fitted,
    validate_data,
)

from mlmethods.common.checkpoint import load_estimator, save_estimator
from mlmethods.common.validation import check_real
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import ArrayLike, NDArray

__all__ = [
    "HilbertClassifier",
    "HilbertRegressor",
    "LogNeighborsClassifier",
    "LogNeighborsRegressor",
]

# Entries of a block of distances.
_BLOCK_ENTRIES = 2**22

EstimatorT = TypeVar("EstimatorT", bound="_Stored")


class _Stored(BaseEstimator):
    """Training rows and targets, kept in a folder without pickle."""

    _names: tuple[str, ...] = ("X_fit_", "y_fit_")

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Save the fitted estimator in a folder; nothing is pickled."""
        check_is_fitted(self)
        state = {}
        if hasattr(self, "classes_"):
            state["classes_"] = self.classes_
        arrays = {name: getattr(self, name) for name in self._names}
        save_estimator(self, directory, arrays, state)

    @classmethod
    def load(cls: type[EstimatorT], directory: str | os.PathLike[str]) -> EstimatorT:
        """Return the estimator that :meth:`save` wrote.

        Raises
        ------
        CheckpointError
            If the folder is missing, damaged or holds another class.
        """
        return load_estimator(cls, directory)


class _Hilbert(_Stored):
    """Weights ``|x - x_i|^-power``, computed as logarithms."""

    _names = ("X_fit_", "y_fit_", "log_weight_")

    def __init__(self, *, power: float | None = None) -> None:
        self.power = power

    def _keep(self, X: NDArray, Y: NDArray, sample_weight: Any) -> None:
        self._power(X.shape[1])
        weights = np.ones(len(X))
        if sample_weight is not None:
            weights = _check_sample_weight(sample_weight, X, ensure_non_negative=True)
            if not weights.any():
                raise InvalidInputError("sample_weight must have a positive entry")
        counted = weights > 0
        self.X_fit_, self.y_fit_ = X[counted], Y[counted]
        self.log_weight_ = np.log(weights[counted])

    def _power(self, d: int) -> float:
        if self.power is None:
            return float(d)
        return check_real("power", self.power, minimum=0, open_minimum=True)

    def _average(self, X: NDArray, Y: NDArray) -> NDArray:
        """Return the weighted averages of the rows of Y, of shape (len(X), c)."""
        from scipy.spatial.distance import cdist

        step = max(1, _BLOCK_ENTRIES // len(self.X_fit_))
        power = self._power(X.shape[1])
        out = np.empty((len(X), Y.shape[1]))
        for start in range(0, len(X), step):
            block = slice(start, start + step)
            distance = cdist(X[block], self.X_fit_)
            with np.errstate(divide="ignore"):
                log_weight = self.log_weight_ - power * np.log(distance)
            # A training row itself has an infinite weight: it alone counts.
            exact = distance == 0
            hit = exact.any(axis=1)
            log_weight[hit] = np.where(exact[hit], self.log_weight_, -np.inf)
            log_weight -= log_weight.max(axis=1, keepdims=True)
            weight = np.exp(log_weight, out=log_weight)
            out[block] = (weight @ Y) / weight.sum(axis=1, keepdims=True)
        return out


class HilbertRegressor(RegressorMixin, _Hilbert):
    """Averages of all targets with the weights ``|x - x_i|^-d``: it interpolates.

    The Nadaraya-Watson estimator with the singular kernel of Hilbert, also called
    Shepard's inverse distance weighting. It fits every training target exactly and is
    consistent all the same: a benign interpolator, if a slow one.

    Parameters
    ----------
    power : float, optional
        Power > 0 of the inverse distance; the number of columns by default, the only
        one for which the estimator is consistent.

    Attributes
    ----------
    X_fit_ : ndarray of shape (n_samples, n_features)
        Training rows with a positive weight.
    y_fit_ : ndarray of shape (n_samples,) or (n_samples, n_targets)
        Their targets.
    log_weight_ : ndarray of shape (n_samples,)
        Logarithms of the sample weights.
    n_features_in_ : int
        Number of columns.

    Notes
    -----
    Equal training rows share the average of their targets. The weights are computed
    as logarithms, so that no dimension is too high for them, and in blocks of rows.

    References
    ----------
    L. Devroye, L. Györfi, A. Krzyżak, "The Hilbert kernel regression estimate",
    Journal of Multivariate Analysis 65 (1998).

    M. Belkin, A. Rakhlin, A. B. Tsybakov, "Does data interpolation contradict
    statistical optimality?", AISTATS 2019.

    Examples
    --------
    >>> from mlmethods.overfitting import HilbertRegressor
    >>> model = HilbertRegressor().fit([[0.0], [1.0], [3.0]], [0.0, 1.0, 0.0])
    >>> model.predict([[1.0], [2.0]]).round(3)
    array([1. , 0.4])
    """

    def __sklearn_tags__(self) -> Tags:
        """Return the tags: several targets are accepted."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> HilbertRegressor:
        """Keep the training rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training rows.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets.
        sample_weight : float or array-like of shape (n_samples,), optional
            Factors of the weights; 0 leaves a row out.

        Returns
        -------
        HilbertRegressor
            The fitted estimator.

        Raises
        ------
        InvalidInputError
            If `power` is not positive, or no row has a weight.
        """
        rows, targets = validate_data(
            self, X, y, multi_output=True, y_numeric=True, dtype=np.float64
        )
        self._keep(rows, targets.astype(np.float64), sample_weight)
        return self

    def predict(self, X: ArrayLike) -> NDArray:
        """Return the averages.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_targets)
        """
        check_is_fitted(self)
        rows = validate_data(self, X, reset=False, dtype=np.float64)
        values = self._average(rows, self.y_fit_.reshape(len(self.y_fit_), -1))
        return values.reshape(len(rows), *self.y_fit_.shape[1:])


class HilbertClassifier(ClassifierMixin, _Hilbert):
    """Votes of all training rows with the weights ``|x - x_i|^-d``: it interpolates.

    The classifier of :class:`HilbertRegressor`.

    Parameters
    ----------
    power : float, optional
        Power > 0 of the inverse distance; the number of columns by default.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels.
    X_fit_ : ndarray of shape (n_samples, n_features)
        Training rows with a positive weight.
    y_fit_ : ndarray of shape (n_samples,), int
        The places of their labels in `classes_`.
    log_weight_ : ndarray of shape (n_samples,)
        Logarithms of the sample weights.
    n_features_in_ : int
        Number of columns.

    References
    ----------
    L. Devroye, L. Györfi, A. Krzyżak, "The Hilbert kernel regression estimate",
    Journal of Multivariate Analysis 65 (1998).

    Examples
    --------
    >>> from mlmethods.overfitting import HilbertClassifier
    >>> model = HilbertClassifier().fit([[0.0], [1.0], [3.0]], ["a", "b", "a"])
    >>> model.predict([[1.0], [2.0]]).tolist()
    ['b', 'a']
    """

    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> HilbertClassifier:
        """Keep the training rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training rows.
        y : array-like of shape (n_samples,)
            Labels.
        sample_weight : float or array-like of shape (n_samples,), optional
            Factors of the weights; 0 leaves a row out.

        Returns
        -------
        HilbertClassifier
            The fitted estimator.

        Raises
        ------
        InvalidInputError
            If `power` is not positive, or no row has a weight.
        """
        rows, labels = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(labels)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        self._keep(rows, codes.ravel(), sample_weight)
        return self

    def predict_proba(self, X: ArrayLike) -> NDArray:
        """Return the share of the weights of each class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        check_is_fitted(self)
        rows = validate_data(self, X, reset=False, dtype=np.float64)
        return self._average(rows, np.eye(len(self.classes_))[self.y_fit_])

    def predict(self, X: ArrayLike) -> NDArray:
        """Return the label with the largest share.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        shares = self.predict_proba(X)
        return self.classes_[shares.argmax(axis=1)]


class _LogNeighbors(_Stored):
    """Nearest neighbors, as many as the logarithm of the number of rows."""

    _inner: type

    def __init__(self, *, n_jobs: int | None = None) -> None:
        self.n_jobs = n_jobs

    def _neighbors(self) -> Any:
        """Return scikit-learn's estimator, made again after loading."""
        if not hasattr(self, "_model"):
            model = self._inner(n_neighbors=self.n_neighbors_, n_jobs=self.n_jobs)
            self._model = model.fit(self.X_fit_, self.y_fit_)
        return self._model

    def _keep(self, X: NDArray, y: NDArray) -> None:
        self.X_fit_, self.y_fit_ = X, y
        if hasattr(self, "_model"):
            del self._model
        self._neighbors()

    @property
    def n_neighbors_(self) -> int:
        """``ceil(log n)``, at least 1."""
        return max(1, int(np.ceil(np.log(len(self.X_fit_)))))

    def __sklearn_is_fitted__(self) -> bool:
        """Return whether there are training rows."""
        return hasattr(self, "X_fit_")


class LogNeighborsRegressor(RegressorMixin, _LogNeighbors):
    """The mean of the ``ceil(log n)`` nearest targets, a benign learner.

    A fixed number k of neighbors leaves the share ``1 / k`` of the noise in the
    prediction; with k growing and ``k / n`` falling the cost of noise goes to nothing.
    It does not interpolate.

    Parameters
    ----------
    n_jobs : int, optional
        Threads that search for neighbors.

    Attributes
    ----------
    n_neighbors_ : int
        ``ceil(log n)``.
    X_fit_, y_fit_ : ndarray
        The training rows and their targets.
    n_features_in_ : int
        Number of columns.

    Examples
    --------
    >>> from mlmethods.overfitting import LogNeighborsRegressor
    >>> model = LogNeighborsRegressor().fit([[0.0], [1.0], [2.0], [9.0]], [0, 2, 4, 9])
    >>> model.n_neighbors_, model.predict([[0.2]]).tolist()
    (2, [1.0])
    """

    _inner = KNeighborsRegressor

    def __sklearn_tags__(self) -> Tags:
        """Return the tags: several targets are accepted."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: ArrayLike, y: ArrayLike) -> LogNeighborsRegressor:
        """Keep the training rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training rows.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets.

        Returns
        -------
        LogNeighborsRegressor
            The fitted estimator.
        """
        rows, targets = validate_data(
            self, X, y, multi_output=True, y_numeric=True, dtype=np.float64
        )
        self._keep(rows, targets)
        return self

    def predict(self, X: ArrayLike) -> NDArray:
        """Return the means.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_targets)
        """
        check_is_fitted(self)
        rows = validate_data(self, X, reset=False, dtype=np.float64)
        return self._neighbors().predict(rows)


class LogNeighborsClassifier(ClassifierMixin, _LogNeighbors):
    """The commonest of the ``ceil(log n)`` nearest labels, a benign learner.

    The classifier of :class:`LogNeighborsRegressor`.

    Parameters
    ----------
    n_jobs : int, optional
        Threads that search for neighbors.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels.
    n_neighbors_ : int
        ``ceil(log n)``.
    X_fit_, y_fit_ : ndarray
        The training rows, and the places of their labels in `classes_`.
    n_features_in_ : int
        Number of columns.

    Examples
    --------
    >>> from mlmethods.overfitting import LogNeighborsClassifier
    >>> model = LogNeighborsClassifier().fit([[0.0], [1.0], [2.0]], ["a", "a", "b"])
    >>> model.n_neighbors_, model.predict([[0.2]]).tolist()
    (2, ['a'])
    """

    _inner = KNeighborsClassifier

    def fit(self, X: ArrayLike, y: ArrayLike) -> LogNeighborsClassifier:
        """Keep the training rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training rows.
        y : array-like of shape (n_samples,)
            Labels.

        Returns
        -------
        LogNeighborsClassifier
            The fitted estimator.
        """
        rows, labels = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(labels)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        self._keep(rows, codes.ravel())
        return self

    def predict_proba(self, X: ArrayLike) -> NDArray:
        """Return the share of the neighbors in each class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        check_is_fitted(self)
        rows = validate_data(self, X, reset=False, dtype=np.float64)
        return self._neighbors().predict_proba(rows)

    def predict(self, X: ArrayLike) -> NDArray:
        """Return the commonest labels; the first class where several are.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        shares = self.predict_proba(X)
        return self.classes_[shares.argmax(axis=1)]
