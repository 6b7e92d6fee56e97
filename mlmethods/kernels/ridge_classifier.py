"""Classification by kernel ridge regression on the indicators of the classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import softmax
from sklearn.base import ClassifierMixin
from sklearn.utils import compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from mlmethods.common.validation import check_real
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import ArrayLike, Backend, NDArray
from mlmethods.kernels._machine import KernelMachine
from mlmethods.kernels._system import effective_reg, solve
from mlmethods.kernels.base import Kernel
from mlmethods.kernels.resolve import resolve_kernel

__all__ = ["KernelRidgeClassifier"]


def _has_temperature(classifier: KernelRidgeClassifier) -> bool:
    if classifier.temperature is None:
        raise AttributeError(
            "predict_proba needs a temperature: least squares gives scores, not "
            "probabilities; set temperature to have their softmax"
        )
    return True


class KernelRidgeClassifier(ClassifierMixin, KernelMachine):
    """Kernel ridge regression on the indicators of the classes.

    The target of a class is its indicator minus its share of the (weighted) rows,
    which is added back to the predictions: far from all rows a prediction is these
    shares. The predicted class has the largest score.

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
    temperature : float or None, default=None
        Temperature > 0 of a softmax of the scores, for `predict_proba`. Scores of
        least squares lie about between 0 and 1 and are no probabilities, so that
        there is no `predict_proba` without a choice; a
        :class:`sklearn.calibration.CalibratedClassifierCV` finds calibrated ones.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, which multiply `sample_weight`.
    on_singular : {"auto", "error", "pinv", "jitter"}, default="auto"
        As for :class:`KernelRidge`.
    solver : {"auto", "cholesky", "cg", "eigh", "eigenpro"}, default="auto"
        As for :class:`KernelRidge`.
    dtype : {"float64", "float32", "auto"}, default="float64"
        Precision of the kernel values; ``"auto"`` is the backend's own choice.
    memory_limit : int or "auto", default="auto"
        Bytes; ``"auto"`` is 80 % of what is available.
    backend : str or Backend, default="auto"
        What computes; see :func:`mlmethods.get_backend`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted.
    priors_ : ndarray of shape (n_classes,)
        Their shares of the weighted rows.
    dual_coef_ : ndarray of shape (n_samples,) or (n_samples, n_classes)
        The coefficients, for two classes those of the second one.
    X_fit_, sample_weight_, kernel_, reg_, solver_, jitter_, residual_, backend_
        As those of :class:`KernelRidge`; `sample_weight_` includes `class_weight`.
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : ndarray of str
        Their names, where `X` had names.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from mlmethods.kernels import KernelRidgeClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = KernelRidgeClassifier("gaussian", bandwidth=2.0, backend="numpy")
    >>> float(model.fit(X, y).score(X, y)) > 0.95
    True
    >>> hasattr(model, "predict_proba")
    False
    """

    def __init__(
        self,
        kernel: str | Kernel = "laplace",
        *,
        bandwidth: float | str | None = None,
        reg: float = 1.0,
        reg_scaling: str = "none",
        temperature: float | None = None,
        class_weight: Any = None,
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
        self.temperature = temperature
        self.class_weight = class_weight
        self.on_singular = on_singular
        self.solver = solver
        self.dtype = dtype
        self.memory_limit = memory_limit
        self.backend = backend

    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> KernelRidgeClassifier:
        """Fit the coefficients.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training rows.
        y : array-like of shape (n_samples,)
            Labels.
        sample_weight : float or array-like of shape (n_samples,), optional
            Weights of the rows; 0 leaves a row out, 2 counts it twice.

        Returns
        -------
        KernelRidgeClassifier
            The fitted estimator.

        Raises
        ------
        InvalidInputError
            If a parameter is outside its range, or there are fewer than two classes.
        DuplicateInputsError
            If equal rows have different labels with ``reg=0`` and `on_singular` is
            ``"auto"`` or ``"error"``.
        SingularKernelError
            If the system has no unique solution and `on_singular` is ``"error"``.
        MemoryLimitError
            If the matrices would exceed `memory_limit`; nothing was allocated.
        """
        options = self._options(self.on_singular, self.solver)
        if self.temperature is not None:
            check_real("temperature", self.temperature, minimum=0, open_minimum=True)
        rows, labels = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(labels)
        weights = self._read_weights(sample_weight, rows)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if self.class_weight is not None:
            factor = compute_sample_weight(self.class_weight, labels)
            weights = factor if weights is None else weights * factor
        shares = np.bincount(codes, weights, minlength=len(self.classes_))
        if np.sum(shares > 0) < 2:
            raise InvalidInputError(
                f"y must have at least 2 classes, got one class: "
                f"{self.classes_[shares.argmax()]!r}"
            )
        self.priors_ = shares / shares.sum()
        reg = effective_reg(self.reg, self.reg_scaling, weights, len(rows))
        self.kernel_ = resolve_kernel(self.kernel, self.bandwidth, X=rows, rng=0)
        Y = np.eye(len(self.classes_))[codes] - self.priors_
        binary = len(self.classes_) == 2
        if binary:
            Y = Y[:, 1:]
        found = solve(self.kernel_, rows, Y, weights, reg, options)
        self.dual_coef_ = found.alpha[:, 0] if binary else found.alpha
        self._keep_rows(rows, weights, reg, found.backend)
        self._keep_solution(found)
        return self

    def decision_function(self, X: ArrayLike) -> NDArray:
        """Return the scores of the classes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples, n_classes) or (n_samples,)
            Estimates of the indicators; for two classes that of the second minus
            that of the first.
        """
        scores = self._scores(X)
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    def predict(self, X: ArrayLike) -> NDArray:
        """Return the class of the largest score.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples,)
            Labels.
        """
        best: NDArray = self._scores(X).argmax(axis=1)
        labels: NDArray = self.classes_[best]
        return labels

    @available_if(_has_temperature)
    def predict_proba(self, X: ArrayLike) -> NDArray:
        """Return the softmax of the scores over `temperature`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Positive, with rows that sum to one; calibrated only as far as the
            temperature is.
        """
        scores = self._scores(X)
        # Typed in full: `available_if` is there only where it is a number.
        probabilities: NDArray = softmax(scores / float(self.temperature or 1), axis=1)
        return probabilities

    def _scores(self, X: ArrayLike) -> NDArray:
        outputs = self._outputs(X)
        if len(self.classes_) == 2:
            second = self.priors_[1] + outputs[:, 0]
            return np.stack([1 - second, second], axis=1)
        return self.priors_ + outputs

    def _saved_state(self) -> dict[str, Any]:
        labels = {"classes_": self.classes_, "priors_": self.priors_}
        return {**super()._saved_state(), **labels}
