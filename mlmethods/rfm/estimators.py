"""Recursive Feature Machines as scikit-learn estimators."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils import Tags, compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight

from mlmethods.common.validation import check_choice
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import ArrayLike, Backend, Callback, NDArray
from mlmethods.kernels import Kernel
from mlmethods.rfm._encodings import ENCODINGS, Encoding, make_encoding
from mlmethods.rfm._inputs import check_weights, check_y_val, given_together
from mlmethods.rfm._machine import RecursiveFeatureMachine
from mlmethods.rfm._outputs import (
    ClassifierOutputs,
    RegressorOutputs,
    decision,
    probabilities,
)

__all__ = ["RFMClassifier", "RFMRegressor"]


class RFMRegressor(RegressorMixin, RecursiveFeatureMachine):
    """Recursive Feature Machine for regression.

    Parameters
    ----------
    kernel : str or Kernel, default="laplace"
        A name, with the defaults of its class, or a kernel object.
    bandwidth : float, "median" or None, default=None
        Length scale L; None means the kernel object's own, or 10 for a name, which is
        meant for standardized columns.
    bandwidth_mode : {"constant", "adaptive"}, default="constant"
        Whether L is the bandwidth, or the bandwidth times the median distance between
        training rows (at most 2000) under each M; there None means 1 for a name.
    reg : float or sequence of float, default=1e-3
        Ridge added to the diagonal of the kernel matrix, not divided by n. Of
        several, each solve takes that of least leave-one-out error, in closed form.
    n_iter : int, default=5
        Updates of M; there is one more solve than updates. 0 is the plain kernel
        machine.
    diagonal : bool, default=False
        Whether M is a diagonal: cheaper, one weight a feature.
    center : {"none", "per_output", "pooled"}, default="none"
        Which mean gradient the AGOP subtracts.
    agop_power : float, default=1.0
        s in M = normalize(AGOP)^s, a power of the Mahalanobis matrix.
    agop_shrinkage : float, default=0.0
        Share of the AGOP, from 0 to 1, that its mean diagonal times the identity
        replaces first, against the noise of few rows; 1 keeps the plain kernel.
    normalize : {"max", "trace", "none"}, default="max"
        What divides the AGOP before the power: its largest entry, its trace over d,
        or nothing.
    agop_samples : int, default=20000
        Most rows that the AGOP averages over, drawn without replacement.
    early_stopping : bool or "auto", default="auto"
        Keep the iterate of the best validation score and stop when it gets worse;
        False keeps the last. Auto holds rows out from 50 rows on.
    selection : {"holdout", "loo"}, default="holdout"
        What validates where no `X_val` is given: rows held out, or each row from all
        others, in closed form. Leave-one-out uses every row, but favors later
        iterates, whose M has seen each row's target: over 20 small tables it costs
        1.6 points of accuracy against the hold-out.
    validation_fraction : float, default=0.2
        Share of the rows that is held out.
    early_stop_multiplier : float, default=1.1
        Stop when the validation loss exceeds this times the best.
    scoring : str, callable or None, default=None
        A scikit-learn scorer for the choice of the iterate; None is the mean squared
        error on the encoded targets.
    refit : bool, default=True
        Solve once more on all rows with the chosen M.
    fit_intercept : bool, default=True
        Subtract the (weighted) mean of the targets first.
    categorical_features : None, "from_dtype" or sequence, default=None
        Columns of categories: the text, category and boolean columns of a DataFrame,
        or a mask, positions or names. Each is a block of its own in M, as if one-hot;
        the distances between more than 32 categories are read from a table. One that
        was not seen at fit, or is missing, is a block of zeros.
    keep_iterates : bool, default=False
        Keep every iterate for ``staged_predict``.
    checkpoint_dir : path-like or None, default=None
        Write the state after every update there, and resume from it.
    dtype : {"auto", "float32", "float64"}, default="auto"
        Precision; auto is the backend's own (float32 on JAX, float64 on NumPy).
    solver : {"auto", "cholesky", "eigenpro"}, default="auto"
        How each system is solved: directly, or by EigenPro's passes over the rows,
        which need no matrix of n x n. Auto is EigenPro where the direct solve exceeds
        `memory_limit`.
    epochs : int, default=10
        Most passes of EigenPro in each solve; with validation rows the best one counts.
    solve_dtype : {"auto", "float32", "float64"}, default="auto"
        Precision of the factorization; auto is float32 refined to a verified
        residual, float64 where that is not reached.
    memory_limit : float or "auto", default="auto"
        Bytes that the fit may take; more raises MemoryLimitError beforehand.
    backend : str or Backend, default="auto"
        Which backend computes; an explicit one never falls back.
    random_state : int, RandomState, SeedSequence or None, default=None
        Seeds the hold-out, the AGOP's sample and the median heuristic.
    verbose : int, default=0
        1 draws a progress bar.
    callbacks : sequence of callables, default=()
        Each receives the events of the fit.

    Attributes
    ----------
    M_ : ndarray of shape (n_features, n_features) or (n_features,)
        The Mahalanobis matrix that was learned.
    dual_coef_ : ndarray of shape (n_samples, n_outputs)
        Coefficients of the kernel machine.
    X_fit_ : ndarray of shape (n_samples, n_features)
        Its centers.
    intercept_ : ndarray of shape (n_outputs,)
        What is added to its outputs.
    n_iter_ : int
        The update whose M was chosen; 0 is the plain kernel machine.
    history_ : list of dict
        One entry a solve: iteration, scores, losses, jitter, seconds.
    feature_importances_ : ndarray of shape (n_features,)
        Diagonal of M over its sum.
    categories_ : dict of int to ndarray, or None
        The categories of each categorical column, by its position.
    bandwidth_, backend_, dtype_ : float, str, str
        What was used.

    Notes
    -----
    Time is O(n^3) for each solve, memory about 3 n^2 float64 numbers. Sources write
    the power of the AGOP differently; here it is a power of the Mahalanobis matrix
    M, so that 1 is the published algorithm and xRFM's ``agop_power=0.5``.

    References
    ----------
    Radhakrishnan, Beaglehole, Pandit, Belkin (2024), Science 383:1461-1467.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from mlmethods.rfm import RFMRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = make_pipeline(
    ...     StandardScaler(), RFMRegressor(reg=1.0, backend="numpy", random_state=0)
    ... )
    >>> model.fit(X, y).predict(X[:3]).shape
    (3,)
    """

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        X_val: ArrayLike | None = None,
        y_val: ArrayLike | None = None,
    ) -> RFMRegressor:
        """Fit the machine.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Standardized numeric features.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,), optional
            Weights; 2 equals a duplicated row.
        X_val, y_val : array-like, optional
            Validation rows, in place of held-out ones.

        Returns
        -------
        RFMRegressor

        Raises
        ------
        InvalidInputError
            If a parameter is out of range.
        MemoryLimitError
            If the fit would exceed `memory_limit`; nothing was allocated.
        NotPositiveDefiniteError, DivergenceError
            If a solve fails beyond jitter.
        """
        points, targets = self._read(X, y, multi_output=True, y_numeric=True)
        weights = _check_sample_weight(sample_weight, points, dtype=np.float64)
        check_weights(weights)
        Y = np.asarray(targets, dtype=np.float64)
        self._single_output = Y.ndim == 1
        Y = Y[:, None] if Y.ndim == 1 else Y
        validation = None
        if given_together(X_val, y_val):
            X_v = self._read_validation(X_val, points)
            Y_v = check_y_val(y_val, len(X_v), Y.shape[1])
            validation = X_v, Y_v
        self.single_output_ = self._single_output
        self._fit_encoded(points, Y, weights, validation, None)
        return self

    def predict(self, X: ArrayLike) -> NDArray:
        """Return predictions.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        return self._shaped(self._predict_encoded(X))

    def staged_predict(self, X: ArrayLike) -> Iterator[NDArray]:
        """Yield the predictions of each iterate; needs ``keep_iterates=True``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Yields
        ------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        for outputs in self._staged(X):
            yield self._shaped(outputs)

    def _shaped(self, outputs: NDArray) -> NDArray:
        return outputs[:, 0] if self.single_output_ else outputs

    def _decode(self, Y: NDArray) -> NDArray:
        return Y[:, 0] if self._single_output else Y

    def _proxy(self) -> Any:
        return RegressorOutputs(self._single_output)

    def _state(self) -> dict[str, Any]:
        return {"single_output_": self.single_output_}

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = True
        return tags


class RFMClassifier(ClassifierMixin, RecursiveFeatureMachine):
    """Recursive Feature Machine for classification.

    A kernel machine is regressed on codes of the classes; the class of the largest
    score decides.

    Parameters
    ----------
    kernel, bandwidth, bandwidth_mode, reg, n_iter, diagonal, center, agop_power, \
agop_shrinkage, normalize, agop_samples, early_stopping, selection, validation_fraction, \
early_stop_multiplier, scoring, refit, fit_intercept, categorical_features, \
keep_iterates, checkpoint_dir, dtype, solver, epochs, solve_dtype, memory_limit, \
backend, random_state, verbose, callbacks
        As in :class:`RFMRegressor`, except that `fit_intercept` is False by default.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, multiplied into the sample weights.
    target_encoding : {"onehot", "pm1", "prevalence"}, default="onehot"
        One output a class, 0 or 1; for two classes one output, -1 or 1; or one output
        fewer than classes, on the corners of a simplex, where zero stands for the
        shares of the classes in the training set: far from the data, and with a large
        `reg`, the probabilities are those shares.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels.
    priors_ : ndarray of shape (n_classes,)
        Their weighted shares in the training set.
    M_, dual_coef_, X_fit_, n_iter_, history_, feature_importances_
        As in :class:`RFMRegressor`.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from mlmethods.rfm import RFMClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = RFMClassifier(backend="numpy", random_state=0).fit(X, y)
    >>> model.predict_proba(X[:2]).shape
    (2, 3)
    """

    def __init__(
        self,
        kernel: str | Kernel = "laplace",
        *,
        bandwidth: float | str | None = None,
        bandwidth_mode: str = "constant",
        reg: float | Sequence[float] = 1e-3,
        n_iter: int = 5,
        diagonal: bool = False,
        center: str = "none",
        agop_power: float = 1.0,
        agop_shrinkage: float = 0.0,
        normalize: str = "max",
        agop_samples: int = 20000,
        early_stopping: bool | str = "auto",
        selection: str = "holdout",
        validation_fraction: float = 0.2,
        early_stop_multiplier: float = 1.1,
        scoring: Any = None,
        refit: bool = True,
        fit_intercept: bool = False,
        categorical_features: Any = None,
        keep_iterates: bool = False,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        dtype: str = "auto",
        solver: str = "auto",
        epochs: int = 10,
        solve_dtype: str = "auto",
        memory_limit: float | str = "auto",
        backend: str | Backend = "auto",
        random_state: Any = None,
        verbose: int = 0,
        callbacks: Sequence[Callback] = (),
        class_weight: Any = None,
        target_encoding: str = "onehot",
    ) -> None:
        super().__init__(
            kernel,
            bandwidth=bandwidth,
            bandwidth_mode=bandwidth_mode,
            reg=reg,
            n_iter=n_iter,
            diagonal=diagonal,
            center=center,
            agop_power=agop_power,
            agop_shrinkage=agop_shrinkage,
            normalize=normalize,
            agop_samples=agop_samples,
            early_stopping=early_stopping,
            selection=selection,
            validation_fraction=validation_fraction,
            early_stop_multiplier=early_stop_multiplier,
            scoring=scoring,
            refit=refit,
            fit_intercept=fit_intercept,
            categorical_features=categorical_features,
            keep_iterates=keep_iterates,
            checkpoint_dir=checkpoint_dir,
            dtype=dtype,
            solver=solver,
            epochs=epochs,
            solve_dtype=solve_dtype,
            memory_limit=memory_limit,
            backend=backend,
            random_state=random_state,
            verbose=verbose,
            callbacks=callbacks,
        )
        self.class_weight = class_weight
        self.target_encoding = target_encoding

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        X_val: ArrayLike | None = None,
        y_val: ArrayLike | None = None,
    ) -> RFMClassifier:
        """Fit the machine.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Standardized numeric features.
        y : array-like of shape (n_samples,)
            Labels.
        sample_weight : array-like of shape (n_samples,), optional
            Weights; 2 equals a duplicated row.
        X_val, y_val : array-like, optional
            Validation rows, in place of held-out ones.

        Returns
        -------
        RFMClassifier

        Raises
        ------
        InvalidInputError
            If a parameter is out of range, or there is only one class.
        MemoryLimitError
            If the fit would exceed `memory_limit`; nothing was allocated.
        """
        points, targets = self._read(X, y)
        labels = np.asarray(targets)
        check_classification_targets(labels)
        weights = _check_sample_weight(sample_weight, points, dtype=np.float64)
        check_weights(weights)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(np.unique(codes[weights > 0])) < 2:
            raise InvalidInputError(
                f"y must have at least 2 classes, got one class: {self.classes_[0]!r}"
            )
        if self.class_weight is not None:
            weights = weights * compute_sample_weight(self.class_weight, labels)
        check_choice("target_encoding", self.target_encoding, ENCODINGS)
        shares = np.bincount(codes, weights, minlength=len(self.classes_))
        self.priors_ = shares / shares.sum()
        table = self._encoding().codes
        validation = None
        if given_together(X_val, y_val):
            X_v = self._read_validation(X_val, points)
            val_labels = check_y_val(y_val, len(X_v), None)
            unknown = np.setdiff1d(val_labels, self.classes_)
            if unknown.size:
                raise InvalidInputError(
                    f"y_val must have classes of y only, got also {unknown.tolist()}"
                )
            validation = X_v, table[np.searchsorted(self.classes_, val_labels)]
        self._fit_encoded(points, table[codes], weights, validation, codes)
        return self

    def predict(self, X: ArrayLike) -> NDArray:
        """Return the label of the largest score.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        return self._decode(self._predict_encoded(X))

    def decision_function(self, X: ArrayLike) -> NDArray:
        """Return the scores of the classes; for two classes, their difference.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples, n_classes) or (n_samples,)
        """
        return decision(self._scores(X))

    def predict_proba(self, X: ArrayLike) -> NDArray:
        """Return the scores clipped to [1e-3, 1 - 1e-3] and renormalized.

        Those of two classes are moved to sum to one first, so that they order like
        the decision. For calibrated ones see scikit-learn's CalibratedClassifierCV.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        return probabilities(self._scores(X))

    def staged_predict(self, X: ArrayLike) -> Iterator[NDArray]:
        """Yield the labels of each iterate; needs ``keep_iterates=True``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Yields
        ------
        ndarray of shape (n_samples,)
        """
        for outputs in self._staged(X):
            yield self._decode(outputs)

    def _scores(self, X: ArrayLike) -> NDArray:
        outputs = self._predict_encoded(X)
        return self._encoding().scores(outputs)

    def _encoding(self) -> Encoding:
        return make_encoding(self.target_encoding, self.priors_)

    def _decode(self, Y: NDArray) -> NDArray:
        return self.classes_[np.argmax(self._encoding().scores(Y), axis=1)]

    def _proxy(self) -> Any:
        return ClassifierOutputs(self.classes_, self._encoding())

    def _state(self) -> dict[str, Any]:
        return {"classes_": self.classes_, "priors_": self.priors_}
