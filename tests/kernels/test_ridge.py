"""KernelRidge against scikit-learn's, and its policies on singular systems."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import kernel_ridge as peer
from sklearn.datasets import load_diabetes
from sklearn.exceptions import NotFittedError
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import mlmethods
from mlmethods.errors import (
    CheckpointError,
    DivergenceError,
    DuplicateInputsError,
    EffectiveRidgeWarning,
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
    ridge_path,
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


@pytest.mark.parametrize(
    ("backend", "weighted"), [("numpy", False), ("numpy", True), ("jax", True)]
)
def test_eigendecomposition_equals_scikit_learn(diabetes, backend, weighted):
    weights = np.linspace(0.0, 3.0, 150) if weighted else None
    ours, theirs, new = _fit_both(
        diabetes, backend, solver="eigh", targets=2, weights=weights
    )
    assert ours.solver_ == "eigh"
    assert ours.residual_ < 1e-12
    assert_allclose(ours.predict(new), theirs.predict(new), rtol=1e-8)


@pytest.mark.parametrize("weighted", [False, True])
def test_eigenpro_reports_its_residual(diabetes, weighted):
    weights = np.linspace(0.0, 3.0, 150) if weighted else None
    ours, theirs, new = _fit_both(
        diabetes, "numpy", solver="eigenpro", reg=3.0, targets=2, weights=weights
    )
    K = ours.kernel_(ours.X_fit_, backend="numpy")
    s = np.sqrt(np.ones(150) if weights is None else weights)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        beta = np.where(s > 0, ours.dual_coef_ / s, 0)
    left = s * (ours.y_fit_ - K @ ours.dual_coef_) - 3.0 * beta
    norm = np.linalg.norm(left) / np.linalg.norm(s * ours.y_fit_)
    assert ours.residual_ == pytest.approx(norm, rel=1e-6)
    assert norm < 1e-4
    scale = np.abs(theirs.predict(new)).max()
    assert_allclose(ours.predict(new), theirs.predict(new), atol=1e-2 * scale)


def test_eigenpro_that_does_not_arrive_warns(rng):
    X, y = rng.normal(size=(60, 2)), rng.normal(size=60)
    model = KernelRidge("gaussian", bandwidth=3.0, reg=1e-9, solver="eigenpro", backend="numpy")  # fmt: skip
    with pytest.warns(NumericalWarning, match="'eigenpro' has a relative residual of"):
        model.fit(X, y)
    assert model.residual_ > 1e-3


def test_reg_scaling(diabetes):
    X, y, _ = diabetes
    weights = np.linspace(0.5, 2, 150)
    for w, n in ((None, 150), (weights, weights.sum())):
        scaled = KernelRidge(reg=0.1, reg_scaling="n", backend="numpy").fit(X, y, w)
        plain = KernelRidge(reg=0.1 * n, backend="numpy").fit(X, y, w)
        assert scaled.reg_ == pytest.approx(0.1 * n)
        assert_allclose(scaled.dual_coef_, plain.dual_coef_)


@pytest.mark.parametrize(
    ("backend", "solver", "weighted"),
    [
        ("numpy", "cholesky", False),
        ("numpy", "cholesky", True),
        ("numpy", "eigh", True),
        ("numpy", "cg", True),
        ("jax", "cholesky", True),
        ("jax", "eigh", False),
    ],
)
def test_diagnosis_equals_the_path(diabetes, backend, solver, weighted):
    X, y, _ = diabetes
    w = np.linspace(0.0, 2.0, 150) if weighted else None
    model = KernelRidge("laplace", reg=0.3, solver=solver, backend=backend)
    model.fit(X, y, sample_weight=w)
    path = ridge_path("laplace", X, y, [0.3], sample_weight=w, backend="numpy")
    assert_allclose(model.loo_residuals_, path.loo[0], rtol=1e-4)
    for name in ("gcv", "kappa", "e0"):
        assert getattr(model, f"{name}_") == pytest.approx(getattr(path, name)[0])
    assert path.cond[0] / 1.5 < model.cond_ < 1.001 * path.cond[0]
    assert model.rank_ == (149 if weighted else 150)


def test_diagnosis_belongs_to_the_last_fit(diabetes):
    X, y, _ = diabetes
    model = KernelRidge(reg=0.3, backend="numpy").fit(X, y)
    first = model.e0_
    assert model.fit(X, y).e0_ == first
    assert model.set_params(reg=3.0).fit(X, y).e0_ < first
    assert model.loo_residuals_ is not None
    with pytest.raises(NotFittedError):
        _ = KernelRidge().e0_


def test_diagnosis_of_a_machine_saved_without_targets(diabetes):
    X, y, _ = diabetes
    model = KernelRidge(backend="numpy").fit(X, y)
    del model.y_fit_
    with pytest.raises(InvalidInputError, match="saved by an earlier version"):
        _ = model.loo_residuals_


@pytest.mark.parametrize(
    ("backend", "weighted"), [("numpy", False), ("numpy", True), ("jax", True)]
)
def test_deviation_is_that_of_a_gaussian_process(diabetes, backend, weighted):
    X, y, new = diabetes
    w = np.linspace(0.5, 2.0, 150) if weighted else np.ones(150)
    model = KernelRidge("gaussian", bandwidth=4.0, reg=0.3, backend=backend)
    mean, deviation = model.fit(X, y, w).predict(new, return_std=True)
    process = GaussianProcessRegressor(RBF(4.0), alpha=0.3 / w, optimizer=None)
    expected = process.fit(X, y).predict(new, return_std=True)
    assert_allclose(mean, expected[0], rtol=1e-7)
    assert_allclose(deviation, expected[1], rtol=1e-7)
    assert_allclose(model.predict(X[:1], return_std=True)[1] > 0, True)


def test_deviation_is_zero_at_rows_that_are_interpolated(duplicated):
    X, y = duplicated
    model = KernelRidge("laplace", reg=0, on_singular="pinv", backend="numpy")
    with pytest.warns(EffectiveRidgeWarning):
        model.fit(X, y)
    _, deviation = model.predict(np.concatenate([X[:5], X[:5] + 1]), return_std=True)
    assert (deviation[:5] < 1e-6).all()
    assert (deviation[5:] > 1e-2).all()


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
    model = KernelRidge(
        "laplace", bandwidth=1.0, reg=0, on_singular="pinv", backend=backend
    )
    with pytest.warns(EffectiveRidgeWarning, match="30 of 60 directions"):
        model.fit(X, y, sample_weight=weights)
    assert model.solver_ == "pinv"
    assert 0.1 < model.residual_ < 0.9
    assert model.rank_ == 30
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
    y[30:] = y[:30]
    with pytest.raises(SingularKernelError, match="reg=0"):
        model.set_params(reg=0, on_singular="error").fit(X, y)


@pytest.mark.parametrize("solver", ["cholesky", "eigh", "cg", "eigenpro"])
def test_duplicates_with_different_targets_are_named(duplicated, solver):
    X, y = duplicated
    X[47], y[47] = -0.0, 3.0
    X[17], y[17] = 0.0, 3.0
    y[30:40] = y[:10]
    model = KernelRidge(reg=0, solver=solver, backend="numpy")
    for policy in ("auto", "error"):
        model.set_params(on_singular=policy)
        with pytest.raises(DuplicateInputsError, match="rows 10 and 40 of X are equal"):
            model.fit(X, y)
    # A row of weight 0 contradicts nothing, and equal targets do not.
    w = np.ones(60)
    w[40:47] = w[48:] = 0
    if solver in ("cholesky", "eigh"):
        with pytest.warns(EffectiveRidgeWarning, match="11 of 41 directions"):
            model.set_params(on_singular="auto").fit(X, y, sample_weight=w)
        assert_allclose(model.predict(X[w > 0]), y[w > 0], rtol=1e-6)


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


def test_memory_limit_of_what_is_computed_later(diabetes):
    X, y, new = diabetes
    model = KernelRidge(solver="cg", memory_limit=1000, backend="numpy").fit(X, y)
    with pytest.raises(MemoryLimitError, match="n=150 rows, for what is not stored"):
        model.predict(new, return_std=True)
    with pytest.raises(MemoryLimitError, match="n=150 rows"):
        _ = model.e0_


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
        assert_allclose(loaded.loo_residuals_, model.loo_residuals_)
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
        ({"reg_scaling": "m"}, "reg_scaling must be one of 'none', 'n'"),
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
