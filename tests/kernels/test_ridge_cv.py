"""KernelRidgeCV and KernelRidgeClassifier."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import mlmethods
from mlmethods.errors import (
    DuplicateInputsError,
    EffectiveRidgeWarning,
    InvalidInputError,
    MemoryLimitError,
    NotPositiveDefiniteError,
)
from mlmethods.kernels import (
    InnerProductKernel,
    KernelRidge,
    KernelRidgeClassifier,
    KernelRidgeCV,
    LaplaceKernel,
    ridge_path,
)


@parametrize_with_checks(
    [
        KernelRidgeCV(backend="numpy"),
        KernelRidgeClassifier(backend="numpy", temperature=0.1),
        KernelRidgeClassifier(backend="numpy"),
    ]
)
def test_scikit_learn_conventions(estimator, check):
    check(estimator)


# Compiling for every check takes 20 seconds: what JAX adds shows in the regressors.
@pytest.mark.slow
@parametrize_with_checks(
    [KernelRidgeCV(backend="jax"), KernelRidgeClassifier(backend="jax")]
)
def test_scikit_learn_conventions_on_jax(estimator, check):
    check(estimator)


@pytest.fixture(params=["numpy", "jax"])
def backend(request):
    return request.param


@pytest.fixture(scope="module")
def diabetes():
    X, y = load_diabetes(return_X_y=True)
    return StandardScaler().fit_transform(X)[:90], (y[:90] - y[:90].mean()) / y.std()


@pytest.fixture(scope="module")
def iris():
    X, y = load_iris(return_X_y=True)
    return X[::2], np.array(["setosa", "versicolor", "virginica"])[y][::2]


# The regressor


@pytest.mark.parametrize(
    ("backend", "cv", "weighted"),
    [
        ("numpy", "loo", False),
        ("numpy", "loo", True),
        ("numpy", "gcv", True),
        ("numpy", "mll", True),
        ("jax", "loo", True),
    ],
)
def test_the_ridge_is_the_best_of_the_path(diabetes, backend, cv, weighted):
    X, y = diabetes
    Y = np.stack([y, np.abs(y)], axis=1)
    w = np.linspace(0, 2, 90) if weighted else None
    model = KernelRidgeCV(cv=cv, backend=backend).fit(X, Y, sample_weight=w)
    path = ridge_path("laplace", X, Y, model.regs, sample_weight=w, backend="numpy")
    assert model.best_index_ == path.best(cv)
    assert model.reg_ == model.regs[path.best(cv)]
    if cv == "loo":
        assert 1e-6 < model.reg_ < 1e3
    assert model.best_score_ == pytest.approx(path.scores(cv).max())
    assert model.cv_results_["rank_score"][model.best_index_] == 1
    assert_allclose(model.cv_results_["loo_mse"], path.loo_mse)
    refit = KernelRidge(reg=model.reg_, backend=backend).fit(X, Y, sample_weight=w)
    assert_allclose(model.predict(X), refit.predict(X), rtol=1e-6, atol=1e-6)
    assert_allclose(model.loo_residuals_, path.loo[path.best(cv)], rtol=1e-6)


def _product(t):
    return t


def _one(t):
    return 1 + 0 * t


def test_equal_to_scikit_learn_with_a_linear_kernel(diabetes):
    X, y = diabetes
    regs = [0.1, 1.0, 10.0, 100.0]
    theirs = RidgeCV(regs, fit_intercept=False, store_cv_results=True).fit(X, y)
    kernel = InnerProductKernel(_product, _one)
    ours = KernelRidgeCV(kernel, regs, backend="numpy").fit(X, y)
    assert ours.reg_ == theirs.alpha_
    assert_allclose(ours.cv_results_["loo_mse"], theirs.cv_results_.mean(axis=0))
    assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-6)


def test_folds_are_refits(diabetes):
    X, y = diabetes
    w = np.linspace(0.5, 2, 90)
    regs = [0.1, 1.0, 10.0]
    model = KernelRidgeCV(regs=regs, cv=3, backend="numpy").fit(X, y, sample_weight=w)
    total = np.zeros(3)
    for k, reg in enumerate(regs):
        for fold in np.split(np.arange(90), 3):
            rest = np.setdiff1d(np.arange(90), fold)
            part = KernelRidge(reg=reg, backend="numpy").fit(X[rest], y[rest], w[rest])
            total[k] += np.sum(w[fold] * (y[fold] - part.predict(X[fold])) ** 2)
    assert_allclose(model.cv_results_["score"], -total / w.sum(), rtol=1e-8)
    assert model.reg_ == regs[np.argmin(total)]


def test_equal_scores_take_the_largest_ridge(backend):
    X = np.arange(5.0)[:, None]
    model = KernelRidgeCV(regs=[1.0, 7.0, 0.5], backend=backend).fit(X, np.zeros(5))
    assert model.reg_ == 7.0
    one = KernelRidgeCV(backend=backend).fit([[1.0]], [2.0])
    assert one.reg_ == 1000.0


def test_a_ridge_of_zero_among_duplicates(diabetes):
    X, y = diabetes
    X, y = np.concatenate([X, X[:9]]), np.concatenate([y, y[:9] + 1])
    with pytest.warns(EffectiveRidgeWarning, match="9 of 99"):
        model = KernelRidgeCV(regs=[0.0, 1.0], backend="numpy").fit(X, y)
    assert np.isfinite(model.cv_results_["loo_mse"]).all()


def _minus(t):
    return -t


def test_an_indefinite_kernel():
    model = KernelRidgeCV(InnerProductKernel(_minus, _one), backend="numpy")
    with pytest.raises(NotPositiveDefiniteError, match="not positive definite"):
        model.fit(np.eye(3), np.ones(3))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"regs": [-1.0]}, r"regs must be finite numbers >= 0, got regs\[0\]"),
        ({"regs": []}, "regs must be a sequence of at least one ridge"),
        ({"cv": "aic"}, "cv must be one of 'loo', 'gcv', 'mll'"),
        ({"dtype": "float16"}, "dtype must be one of"),
        ({"kernel": "laplac"}, "did you mean 'laplace'"),
        ({"kernel": LaplaceKernel(), "bandwidth": 1.0}, "bandwidth must be None"),
        ({"memory_limit": 0}, "memory_limit must be a number of bytes"),
    ],
)
def test_bad_parameters(params, message):
    with pytest.raises(InvalidInputError, match=message):
        KernelRidgeCV(backend="numpy", **params).fit(np.ones((3, 1)), np.ones(3))


def test_weights_that_are_all_zero():
    with pytest.raises(ValueError, match="at least one non-zero"):
        KernelRidgeCV(backend="numpy").fit(np.eye(3), np.ones(3), np.zeros(3))


def test_memory_limit_refuses_before_allocating(diabetes):
    with pytest.raises(MemoryLimitError, match="n=90 rows with 28 ridges"):
        KernelRidgeCV(memory_limit=1000, backend="numpy").fit(*diabetes)


# The classifier


@pytest.mark.parametrize(
    ("backend", "classes"), [("numpy", 2), ("numpy", 3), ("jax", 2)]
)
def test_scores_are_ridge_regressions_on_indicators(iris, backend, classes):
    X, y = iris
    if classes == 2:
        y = np.where(y == "setosa", "versicolor", y)
    w = np.linspace(0.2, 2, len(y))
    model = KernelRidgeClassifier("gaussian", bandwidth=1.0, reg=0.1, backend=backend)
    model.fit(X, y, sample_weight=w)
    labels = np.unique(y)
    onehot = (y[:, None] == labels).astype(float)
    priors = np.average(onehot, axis=0, weights=w)
    machine = KernelRidge("gaussian", bandwidth=1.0, reg=0.1, backend="numpy")
    scores = machine.fit(X, onehot - priors, sample_weight=w).predict(X) + priors
    assert_allclose(model.priors_, priors)
    assert_array_equal(model.predict(X), labels[scores.argmax(axis=1)])
    if classes == 2:
        scores = scores[:, 1] - scores[:, 0]
    assert_allclose(model.decision_function(X), scores, rtol=1e-7, atol=1e-9)


def test_probabilities_need_a_temperature(iris):
    X, y = iris
    model = KernelRidgeClassifier(backend="numpy").fit(X, y)
    assert not hasattr(model, "predict_proba")
    with pytest.raises(AttributeError, match="has no attribute 'predict_proba'"):
        model.predict_proba(X)
    model.set_params(temperature=0.2)
    scores = model.decision_function(X)
    expected = np.exp(scores / 0.2) / np.exp(scores / 0.2).sum(axis=1, keepdims=True)
    assert_allclose(model.predict_proba(X), expected)
    with pytest.raises(InvalidInputError, match="temperature must be a finite number"):
        model.set_params(temperature=0.0).fit(X, y)


def test_balanced_classes_are_weights(iris):
    X, y = iris
    X, y = X[:60], y[:60]
    counts = {label: np.sum(y == label) for label in np.unique(y)}
    w = np.array([20 / counts[label] for label in y])
    balanced = KernelRidgeClassifier(class_weight="balanced", backend="numpy").fit(X, y)
    weighted = KernelRidgeClassifier(backend="numpy").fit(X, y, sample_weight=w)
    assert_allclose(balanced.priors_, 1 / 3)
    assert_allclose(balanced.decision_function(X), weighted.decision_function(X))


def test_contradicting_labels_and_single_classes():
    X, y = np.zeros((2, 1)), ["a", "b"]
    with pytest.raises(DuplicateInputsError, match="rows 0 and 1"):
        KernelRidgeClassifier(reg=0, backend="numpy").fit(X, y)
    with pytest.raises(InvalidInputError, match="at least 2 classes, got one class"):
        KernelRidgeClassifier(backend="numpy").fit(X, ["a", "a"])
    with pytest.raises(InvalidInputError, match="at least 2 classes, got one class"):
        KernelRidgeClassifier(backend="numpy").fit(X, y, sample_weight=[1, 0])


# Saving


@pytest.mark.parametrize(
    "model",
    [
        KernelRidgeCV(regs=[0.1, 1.0], backend="numpy"),
        KernelRidgeClassifier(LaplaceKernel(), temperature=0.5, backend="numpy"),
    ],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_save_and_load(iris, tmp_path, model, weighted):
    X, y = iris
    target = X[:, 0] - 6 if isinstance(model, KernelRidgeCV) else y
    w = np.linspace(0, 1, len(y)) if weighted else None
    model.fit(X, target, sample_weight=w).save(tmp_path / "model")
    loaded = mlmethods.load(tmp_path / "model")
    assert type(loaded) is type(model)
    assert_array_equal(loaded.predict(X), model.predict(X))
    assert loaded.get_params(deep=False) == model.get_params(deep=False)
    if isinstance(model, KernelRidgeCV):
        assert loaded.reg_ == model.reg_
        assert loaded.best_score_ == model.best_score_
        for name, values in model.cv_results_.items():
            assert_array_equal(loaded.cv_results_[name], values)
    else:
        assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
