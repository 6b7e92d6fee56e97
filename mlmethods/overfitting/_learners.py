"""One learner, fitted to several noisy copies of the same rows."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator, clone, is_classifier, is_regressor
from sklearn.neighbors import KNeighborsRegressor

from mlmethods.errors import (
    DivergenceError,
    EffectiveRidgeWarning,
    InvalidInputError,
)
from mlmethods.interfaces import Backend, NDArray
from mlmethods.kernels.base import Kernel
from mlmethods.kernels.diagnostics import kernel_diagnostics
from mlmethods.kernels.ridge import KernelRidge
from mlmethods.kernels.ridge_classifier import KernelRidgeClassifier
from mlmethods.overfitting._fingerprint import describe
from mlmethods.overfitting.anchors import HilbertRegressor, LogNeighborsRegressor

__all__ = ["Fits", "Learner", "resolve_task"]

# Solvers of KernelRidge that do not stop early: rounding is their only error.
_DIRECT = ("cholesky", "eigh", "pinv")
# Fitting columns of targets together is the same as fitting each, and saves time.
_SMOOTHERS = (KNeighborsRegressor, LogNeighborsRegressor, HilbertRegressor)


class Fits(NamedTuple):
    """Predictions of one learner after several fits.

    Attributes
    ----------
    train, test : ndarray of shape (m, n), (m, n_test)
        Predictions of m fits.
    seconds : float
        Wall time of one fit, on average.
    resolved : bool
        Whether rounding had no part in the fits.
    cond : float
        Condition number of the system; NaN where unknown.
    """

    train: NDArray
    test: NDArray
    seconds: float
    resolved: bool = True
    cond: float = np.nan


class Learner:
    """A learner of a study.

    Parameters
    ----------
    learner : Kernel or object with fit and predict
        A kernel stands for kernel regression without a ridge.
    task : {"regression", "classification"}
        How a KernelRidge takes its targets: as numbers, or one column a class.
    classes : ndarray of shape (K,) or None
        The labels for classification.
    backend : str or Backend
        What computes where `learner` is a kernel.
    """

    def __init__(
        self,
        learner: Any,
        task: str,
        classes: NDArray | None,
        backend: str | Backend = "auto",
    ) -> None:
        if isinstance(learner, Kernel):
            # Equal rows with different noise cannot be fitted; the table says so.
            learner = KernelRidge(learner, reg=0.0, on_singular="pinv", backend=backend)
        self.estimator = learner
        self.task = task
        self.classes = classes
        self.is_ridge = isinstance(learner, KernelRidge)
        if task == "regression" and _is(is_classifier, learner):
            raise InvalidInputError(
                f"{learner!r} is a classifier, but the task is regression"
            )
        numeric = _is(is_regressor, learner) and not self.is_ridge
        if task == "classification" and numeric:
            raise InvalidInputError(
                f"{learner!r} is a regressor, but the task is classification"
            )

    @property
    def is_joint(self) -> bool:
        """Whether many targets are fitted in about the time of one."""
        smoothes = type(self.estimator) in _SMOOTHERS
        return self.is_ridge or (smoothes and self.task == "regression")

    @property
    def must_interpolate(self) -> bool:
        """Whether the learner is a kernel that fits any targets in exact arithmetic."""
        kernels = KernelRidge | KernelRidgeClassifier
        return isinstance(self.estimator, kernels) and self.estimator.reg == 0

    def describe(self) -> Any:
        """Return the class and the parameters as JSON."""
        return describe("learner", self.estimator)

    def fit(
        self,
        X: Any,
        targets: Sequence[NDArray],
        X_test: Any,
        seeds: Sequence[np.random.SeedSequence],
    ) -> Fits:
        """Fit each of the targets and predict the training and the test rows.

        Raises
        ------
        DivergenceError
            If a prediction is not finite.
        """
        fits = self._fit_jointly if self.is_joint else self._fit_each
        result: Fits = fits(X, targets, X_test, seeds)
        if self.task == "regression":
            finite = np.isfinite(result.train).all() and np.isfinite(result.test).all()
            if not finite:
                raise DivergenceError(
                    f"{self.estimator!r} fitted to n={len(targets[0])} rows predicts "
                    "values that are not finite"
                )
        return result

    def _fit_each(
        self,
        X: Any,
        targets: Sequence[NDArray],
        X_test: Any,
        seeds: Sequence[np.random.SeedSequence],
    ) -> Fits:
        start = time.perf_counter()
        train, test = [], []
        for target, seed in zip(targets, seeds, strict=True):
            model = _seeded(clone(self.estimator, safe=False), seed)
            with warnings.catch_warnings():
                # The study says so itself, by `resolved`.
                warnings.simplefilter("ignore", EffectiveRidgeWarning)
                model.fit(X, target)
            train.append(_flat(model.predict(X), len(target)))
            test.append(_flat(model.predict(X_test), len(X_test)))
        resolved, cond = _diagnose(model)
        seconds = (time.perf_counter() - start) / len(targets)
        return Fits(np.array(train), np.array(test), seconds, resolved, cond)

    def _fit_jointly(
        self,
        X: Any,
        targets: Sequence[NDArray],
        X_test: Any,
        _: Sequence[np.random.SeedSequence],
    ) -> Fits:
        """Solve for all targets with one factorization."""
        start = time.perf_counter()
        n, m = len(targets[0]), len(targets)
        Y = np.stack([self._columns(target) for target in targets], axis=1)
        model = clone(self.estimator)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", EffectiveRidgeWarning)
            model.fit(X, Y.reshape(n, -1))
        train, test = (
            self._decode(model.predict(rows).reshape(len(rows), m, -1))
            for rows in (X, X_test)
        )
        resolved, cond = _diagnose(model)
        seconds = (time.perf_counter() - start) / m
        return Fits(train, test, seconds, resolved, cond)

    def _columns(self, target: NDArray) -> NDArray:
        if self.classes is None:
            return target[:, None].astype(np.float64)
        return (target[:, None] == self.classes).astype(np.float64)

    def _decode(self, values: NDArray) -> NDArray:
        if self.classes is None:
            return values[:, :, 0].T.astype(np.float64)
        return self.classes[values.argmax(axis=2)].T


def resolve_task(task: str, learner: Any, y: NDArray) -> str:
    """Return what `y` is: a classifier has labels, a regressor numbers.

    A kernel takes both, and any other object may: floats are numbers then, and all
    other dtypes labels.
    """
    if task != "auto":
        return task
    takes_both = isinstance(learner, Kernel | KernelRidge)
    if _is(is_classifier, learner):
        return "classification"
    if _is(is_regressor, learner) and not takes_both:
        return "regression"
    return "regression" if y.dtype.kind == "f" else "classification"


def _is(question: Callable[[Any], bool], learner: Any) -> bool:
    """Ask for a tag of scikit-learn; an object without tags is nothing."""
    try:
        return question(learner)
    except AttributeError:
        return False


def _diagnose(model: Any) -> tuple[bool, float]:
    """Return whether a fit is free of rounding, and its condition number."""
    is_kernel = isinstance(model, KernelRidge | KernelRidgeClassifier)
    if not is_kernel or model.solver_ not in _DIRECT:
        return True, np.nan
    reg = float(model.reg)
    if model.reg_scaling == "n":
        reg *= len(model.X_fit_)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EffectiveRidgeWarning)
        found = kernel_diagnostics(
            model.kernel_,
            model.X_fit_,
            reg,
            dtype=model.dtype,
            jitter=model.jitter_,
            memory_limit=model.memory_limit,
            backend=model.backend,
        )
    return bool(found.resolved), float(found.cond)


def _seeded(model: Any, seed: np.random.SeedSequence) -> Any:
    """Give every `random_state` of an estimator, however deep, its own integer."""
    if not isinstance(model, BaseEstimator) and not hasattr(model, "get_params"):
        return model
    names = sorted(
        name
        for name in model.get_params(deep=True)
        if name == "random_state" or name.endswith("__random_state")
    )
    words = seed.generate_state(max(1, len(names)))[: len(names)]
    return model.set_params(
        **{name: int(word) >> 1 for name, word in zip(names, words, strict=True)}
    )


def _flat(values: Any, n: int) -> NDArray:
    array = np.asarray(values)
    if array.size != n:
        raise InvalidInputError(
            f"the learner must predict one value for each of {n} rows, got shape "
            f"{array.shape}"
        )
    return array.reshape(n)
