"""KernelRidge against scikit-learn's, and its policies on singular systems."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import kernel_ridge as peer
from sklearn.datasets import load_diabetes
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import mlmethods
from mlmethods.errors import (
    CheckpointError,
    DivergenceError,
    InvalidInputError,
    MemoryLimitError,
    NotPositiveDefiniteError,
    NumericalWarning,
    OperationNotSupportedError,
    SingularKernelError,
)
from mlmethods.kernels import (
    GaussianKernel,
    InnerProductKernel,
    KernelRidge,
    LaplaceKernel,
    MaternKernel,
    median_bandwidth,
)


@parametrize_with_checks([KernelRidge(backend="numpy"), KernelRidge(backend="jax")])
def test_scikit_learn_conventions(estimator, check):
    check(estimator)


@pytest.fixture(params=["numpy", "jax"])
def backend(request):
    return request.param


@pytest.fixture(scope="module")
def diabetes():
    X, y = load_diabetes(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    return X[:150], y[:150], X[150:250]


def _fit_both(data, backend, *, solver="auto", reg=0.3, weights=None, targets=1):
    X, y, new = data
    y = y if targets == 1 else np.stack([y, -2 * y + X[:, 0]], axis=1)
    ours = KernelRidge(
        "gaussian", bandwidth=4.0, reg=reg, solver=solver, backend=backend
    )
    theirs = peer.KernelRidge(kernel="rbf", gamma=1 / (2 * 4.0**2), alpha=reg)
    ours.fit(X, y, sample_weight=weights)
    theirs.fit(X, y, sample_weight=weights)
    return ours, theirs, new


@pytest.mark.parametrize("targets", [1, 2])
@pytest.mark.parametrize("weighted", [False, True])
def test_equal_to_scikit_learn(diabetes, backend, weighted, targets):
    weights = np.linspace(0.0, 3.0, 150) if weighted else None
    ours, theirs, new = _fit_both(diabetes, backend, weights=weights, targets=targets)
    assert ours.solver_ == "cholesky"
    assert ours.backend_ == backend
    assert ours.dual_coef_.shape == theirs.dual_coef_.shape
    assert ours.predict(new).shape == theirs.predict(new).shape
    assert ours.predict(new).dtype == np.float64
    assert_allclose(ours.predict(new), theirs.predict(new), rtol=1e-8)
    assert_allclose(ours.dual_coef_, theirs.dual_coef_, rtol=1e-8, atol=1e-7)


def test_conjugate_gradients_equal_scikit_learn(diabetes, backend):
    ours, theirs, new = _fit_both(diabetes, backend, solver="cg", targets=2)
    assert ours.solver_ == "cg"
    assert_allclose(ours.predict(new), theirs.predict(new), rtol=1e-6, atol=1e-5)


def test_float32_is_near(diabetes):
    X, y, new = diabetes
    single = KernelRidge("gaussian", bandwidth=4.0, dtype="float32", backend="jax")
    double = KernelRidge("gaussian", bandwidth=4.0, backend="jax")
    values = single.fit(X, y).predict(new)
    assert values.dtype == np.float32
    assert_allclose(values, double.fit(X, y).predict(new), rtol=1e-3)
    with pytest.raises(OperationNotSupportedError, match="float64 only"):
        single.set_params(backend="numpy").fit(X, y)


@pytest.mark.parametrize("kernel", ["laplace", MaternKernel(3.3), LaplaceKernel()])
def test_reg_zero_interpolates(diabetes, kernel):
    X, y, _ = diabetes
    model = KernelRidge(kernel, reg=0, backend="numpy").fit(X, y)
    assert_allclose(model.predict(X), y, rtol=1e-6)
    assert model.jitter_ == 0


@pytest.fixture
def duplicated(rng):
    X, y = rng.normal(size=(30, 2)), rng.normal(size=30)
    return np.concatenate([X, X]), np.concatenate([y, y + 1.0])


@pytest.mark.parametrize("weighted", [False, True])
def test_pinv_is_the_solution_of_least_norm(duplicated, backend, weighted):
    X, y = duplicated
    weights = np.linspace(0.5, 1.5, 60) if weighted else None
    model = KernelRidge("laplace", bandwidth=1.0, reg=0, backend=backend)
    model.fit(X, y, sample_weight=weights)
    assert model.solver_ == "pinv"
    # Where labels differ at one point the least squares fit is their mean.
    w = np.ones(60) if weights is None else weights
    means = (w[:30] * y[:30] + w[30:] * y[30:]) / (w[:30] + w[30:])
    assert_allclose(model.predict(X[:30]), means, rtol=1e-6, atol=1e-7)
    s = np.sqrt(w)
    K = LaplaceKernel(bandwidth=1.0)(X, backend="numpy")
    expected = s * (np.linalg.pinv(s[:, None] * K * s, hermitian=True) @ (s * y))
    assert_allclose(model.dual_coef_, expected, rtol=1e-6, atol=1e-7)


def test_a_singular_system_is_an_error_for_reg_above_zero(duplicated, backend):
    X, y = duplicated
    model = KernelRidge("laplace", bandwidth=1.0, reg=1e-300, backend=backend)
    with pytest.raises(SingularKernelError, match="numerically singular"):
        model.fit(X, y)
    with pytest.raises(SingularKernelError, match="reg=0"):
        model.set_params(reg=0, on_singular="error").fit(X, y)


def test_jitter_is_reported(backend):
    X, y = np.zeros((4, 1)), np.ones(4)  # K is all ones: a pivot is exactly zero
    model = KernelRidge("laplace", reg=0, on_singular="jitter", backend=backend)
    with pytest.warns(NumericalWarning, match="jitter"):
        model.fit(X, y)
    assert 1e-12 <= model.jitter_ <= 1e-6
    assert_allclose(model.predict(X), y, rtol=1e-5)


def _minus(t):
    return -t


def _minus_slope(t):
    return -1 + 0 * t


def test_a_kernel_that_is_not_positive_is_named():
    model = KernelRidge(
        InnerProductKernel(_minus, _minus_slope),
        reg=0,
        on_singular="jitter",
        backend="numpy",
    )
    with pytest.raises(NotPositiveDefiniteError, match="not positive definite"):
        model.fit(np.eye(3), np.ones(3))


def test_conjugate_gradients_that_stall_raise(rng):
    X, y = rng.normal(size=(120, 2)), rng.normal(size=120)
    model = KernelRidge("gaussian", reg=1e-14, solver="cg", backend="numpy")
    with pytest.raises(DivergenceError, match="relative residual"):
        model.fit(X, y)


def test_memory_limit_refuses_before_allocating(diabetes):
    X, y, _ = diabetes
    model = KernelRidge(solver="cholesky", memory_limit=1000, backend="numpy")
    with pytest.raises(MemoryLimitError, match=r"n=150 rows needs 540 kB.*solver='cg'"):
        model.fit(X, y)
    model.set_params(solver="auto").fit(X, y)
    assert model.solver_ == "cg"


def test_median_bandwidth_of_the_training_rows(diabetes):
    X, y, _ = diabetes
    model = KernelRidge("gaussian", bandwidth="median", backend="numpy").fit(X, y)
    assert model.kernel_ == GaussianKernel(bandwidth=median_bandwidth(X))


def test_a_search_reaches_into_the_kernel(diabetes):
    X, y, _ = diabetes
    grid = {"kernelridge__kernel__bandwidth": [1e-3, 4.0], "kernelridge__reg": [0.1]}
    model = make_pipeline(
        StandardScaler(), KernelRidge(GaussianKernel(), backend="numpy")
    )
    search = GridSearchCV(model, grid, cv=3).fit(X, y)
    assert search.best_params_["kernelridge__kernel__bandwidth"] == 4.0


@pytest.mark.parametrize("kernel", ["laplace", MaternKernel(2.5, bandwidth=3.0)])
def test_save_and_load(diabetes, tmp_path, kernel):
    X, y, new = diabetes
    model = KernelRidge(kernel, reg=0.5, backend="numpy").fit(X, y)
    model.save(tmp_path / "model")
    for loaded in (
        KernelRidge.load(tmp_path / "model"),
        mlmethods.load(tmp_path / "model"),
    ):
        assert_array_equal(loaded.predict(new), model.predict(new))
        assert loaded.kernel_ == model.kernel_
        assert loaded.get_params(deep=False) == model.get_params(deep=False)
        assert loaded.n_features_in_ == 10
    config = tmp_path / "model" / "config.json"
    damaged = json.loads(config.read_text())
    damaged["config"]["class"] = "RFMRegressor"
    config.write_text(json.dumps(damaged))
    with pytest.raises(CheckpointError, match="RFMRegressor"):
        KernelRidge.load(tmp_path / "model")


def test_what_cannot_be_saved(tmp_path):
    with pytest.raises(NotFittedError):
        KernelRidge().save(tmp_path / "model")
    model = KernelRidge(InnerProductKernel(_minus, _minus_slope), backend="numpy")
    model.set_params(reg=10).fit(np.eye(3), np.ones(3))
    with pytest.raises(InvalidInputError, match="never its code"):
        model.save(tmp_path / "model")


def test_names_of_columns_are_kept(diabetes):
    import pandas as pd

    X, y, _ = diabetes
    frame = pd.DataFrame(X, columns=[f"c{i}" for i in range(10)])
    model = KernelRidge(backend="numpy").fit(frame, y)
    assert list(model.feature_names_in_) == list(frame.columns)
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[frame.columns[::-1]])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"reg": -1.0}, "reg must be a finite number >= 0, got -1.0"),
        ({"on_singular": "drop"}, "on_singular must be one of"),
        ({"solver": "lu"}, "solver must be one of 'auto', 'cholesky', 'cg'"),
        ({"dtype": "float16"}, "dtype must be one of"),
        ({"memory_limit": "4GB"}, "memory_limit must be a number of bytes"),
        ({"memory_limit": True}, "memory_limit must be a number of bytes"),
        ({"kernel": "laplac"}, "did you mean 'laplace'"),
        ({"kernel": GaussianKernel(), "bandwidth": 1.0}, "bandwidth must be None"),
        ({"bandwidth": 0.0}, "bandwidth must be a finite number > 0"),
    ],
)
def test_bad_parameters(params, message):
    with pytest.raises(InvalidInputError, match=message):
        KernelRidge(backend="numpy", **params).fit(np.ones((3, 1)), np.ones(3))
