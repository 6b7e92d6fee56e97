"""Leave-one-out, several regs, adaptive bandwidths, and more features than rows."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mlmethods.errors import InvalidInputError
from mlmethods.kernels import KernelRidge, LpqKernel, median_bandwidth
from mlmethods.rfm import RFMClassifier, RFMRegressor

BACKENDS = ("numpy", "jax")
PLAIN = {"early_stopping": False, "fit_intercept": False, "dtype": "float64"}


def table(n: int = 40, d: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return synthetic rows and a target of two features."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    return X, X[:, 0] * X[:, 1] + np.sin(2 * X[:, 0]) + 0.1 * rng.standard_normal(n)


def left_out_errors(X, y, weights, reg, M) -> np.ndarray:
    """Fit without each row in turn."""
    errors = []
    root = np.linalg.cholesky(M)
    for i in range(len(X)):
        rest = np.arange(len(X)) != i
        model = KernelRidge("laplace", reg=reg, backend="numpy")
        model.fit(X[rest] @ root, y[rest], weights[rest])
        errors.append(y[i] - model.predict(X[i : i + 1] @ root)[0])
    return np.array(errors)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("weighted", [False, True])
def test_leave_one_out_equals_brute_force(backend, weighted):
    X, y = table()
    rng = np.random.default_rng(1)
    weights = rng.uniform(0.5, 2.0, len(X)) if weighted else np.ones(len(X))
    model = RFMRegressor(
        selection="loo",
        reg=0.1,
        n_iter=2,
        keep_iterates=True,
        early_stopping=True,
        early_stop_multiplier=100.0,
        fit_intercept=False,
        dtype="float64",
        backend=backend,
    ).fit(X, y, weights)
    assert len(model.history_) == 3
    for (_, M), entry in zip(model.iterates_, model.history_, strict=True):
        errors = left_out_errors(X, y, weights, 0.1, M)
        expected = np.average(errors**2, weights=weights)
        assert_allclose(entry["validation_loss"], expected, rtol=1e-7)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_solve_takes_the_reg_of_least_left_out_error(backend):
    X, y = table()
    regs = [1e-4, 1e-2, 1.0, 100.0]
    settings = {**PLAIN, "n_iter": 0, "backend": backend}
    model = RFMRegressor(reg=regs, **settings).fit(X, y)
    ones = np.ones(len(X))
    losses = [
        np.mean(left_out_errors(X, y, ones, reg, np.eye(X.shape[1])) ** 2)
        for reg in regs
    ]
    assert model.reg_ == regs[int(np.argmin(losses))]
    alone = RFMRegressor(reg=model.reg_, **settings).fit(X, y)
    assert_allclose(model.dual_coef_, alone.dual_coef_, rtol=1e-8)


@pytest.mark.parametrize("backend", BACKENDS)
def test_many_regs_share_a_decomposition(backend):
    X, y = table()
    few = np.logspace(-3, 1, 9)
    many = np.sort(np.concatenate([few, [1e4, 2e4, 3e4, 4e4]]))
    settings = {**PLAIN, "n_iter": 1, "backend": backend}
    one = RFMRegressor(reg=few, **settings).fit(X, y)
    other = RFMRegressor(reg=many, **settings).fit(X, y)
    assert one.reg_ == other.reg_
    assert_allclose(one.M_, other.M_, rtol=1e-7)
    assert_allclose(one.predict(X), other.predict(X), rtol=1e-7)


def test_the_backends_select_alike():
    X, y = table(60)
    models = [
        RFMRegressor(
            reg=[1e-3, 0.1, 1.0],
            selection="loo",
            bandwidth_mode="adaptive",
            dtype="float64",
            backend=backend,
        ).fit(X, y)
        for backend in BACKENDS
    ]
    assert models[0].n_iter_ == models[1].n_iter_
    assert models[0].reg_ == models[1].reg_
    assert_allclose(models[0].M_, models[1].M_, rtol=1e-6, atol=1e-9)
    assert_allclose(models[0].predict(X), models[1].predict(X), rtol=1e-6)


def test_a_duplicated_row_without_reg_stays_finite():
    X, y = table(20)
    X, y = np.concatenate([X, X[:4]]), np.concatenate([y, y[:4]])
    with pytest.warns(UserWarning, match="jitter"):
        model = RFMRegressor(reg=0.0, selection="loo", backend="jax").fit(X, y)
    assert np.isfinite(model.predict(X)).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_adaptive_bandwidth_is_the_median_under_each_metric(backend):
    X, y = table()
    model = RFMRegressor(
        bandwidth=2.0,
        bandwidth_mode="adaptive",
        keep_iterates=True,
        n_iter=2,
        backend=backend,
        **PLAIN,
    ).fit(X, y)
    for (_, M), entry in zip(model.iterates_, model.history_, strict=True):
        assert_allclose(entry["bandwidth"], 2 * median_bandwidth(X, M), rtol=1e-9)
    assert model.bandwidth_ == model.history_[-1]["bandwidth"]
    assert model.history_[0]["bandwidth"] != model.history_[1]["bandwidth"]
    *_, last = model.staged_predict(X)
    assert_allclose(last, model.predict(X), rtol=1e-9)


def test_adaptive_bandwidth_makes_the_scale_of_the_data_irrelevant():
    X, y = table()
    settings = {"bandwidth_mode": "adaptive", "backend": "numpy", **PLAIN}
    one = RFMRegressor(n_iter=0, **settings).fit(X, y)
    other = RFMRegressor(n_iter=0, **settings).fit(1000 * X, y)
    assert_allclose(one.predict(X), other.predict(1000 * X), rtol=1e-9)


def test_adaptive_bandwidth_measures_with_the_norm_of_the_kernel(tmp_path):
    X, y = table()
    kernel = LpqKernel(p=1.5, q=0.8, bandwidth=1.0)
    model = RFMRegressor(
        kernel, bandwidth_mode="adaptive", n_iter=1, backend="numpy", **PLAIN
    ).fit(X, y)
    assert_allclose(model.history_[0]["bandwidth"], median_bandwidth(X, p=1.5))
    model.save(tmp_path / "model")
    loaded = RFMRegressor.load(tmp_path / "model")
    assert_allclose(loaded.predict(X), model.predict(X), rtol=1e-12)


@pytest.mark.parametrize(
    ("backend", "normalize", "power"),
    [
        ("numpy", "max", 1.0),
        ("numpy", "trace", 0.5),
        ("jax", "max", 0.5),
        pytest.param("jax", "trace", 1.0, marks=pytest.mark.slow),
    ],
)
def test_more_features_than_rows_give_the_same_machine(
    backend, normalize, power, monkeypatch
):
    X, y = table(24, 60)
    queries = np.random.default_rng(5).standard_normal((7, 60))
    settings = {
        "normalize": normalize,
        "agop_power": power,
        "n_iter": 2,
        "backend": backend,
        "bandwidth": 5.0,
        "keep_iterates": True,
        **PLAIN,
    }
    short = RFMRegressor(**settings).fit(X, y)
    assert short.metric_basis_.shape == (60, 24)
    monkeypatch.setattr("mlmethods.rfm._solvers._RADIAL", ())
    long = RFMRegressor(**settings).fit(X, y)
    assert long.metric_basis_ is None
    # The root of eigenvalues that are zero but for round-off is no smaller than this.
    tight = {"rtol": 1e-7, "atol": 1e-10 if power == 1 else 1e-6}
    assert_allclose(short.M_, long.M_, **tight)
    assert_allclose(short.predict(queries), long.predict(queries), **tight)
    assert_allclose(short.gradients(queries), long.gradients(queries), **tight)
    assert_allclose(short.agop(), long.agop(), **tight)
    assert_allclose(short.agop(queries), long.agop(queries), **tight)
    if power == 1:
        assert_allclose(short.transform(queries), long.transform(queries), atol=1e-6)
    assert_allclose(short.feature_importances_, long.feature_importances_, **tight)
    for one, other in zip(
        short.staged_predict(queries), long.staged_predict(queries), strict=True
    ):
        assert_allclose(one, other, **tight)


@pytest.mark.parametrize("n_iter", [0, 2])
def test_more_features_than_rows_with_a_hold_out(n_iter, tmp_path, monkeypatch):
    X, y = table(60, 90)
    settings = {"n_iter": n_iter, "backend": "numpy", "random_state": 0}
    short = RFMRegressor(**settings).fit(X, y)
    short.save(tmp_path / "model")
    monkeypatch.setattr("mlmethods.rfm._solvers._RADIAL", ())
    long = RFMRegressor(**settings).fit(X, y)
    assert short.n_iter_ == long.n_iter_
    queries = np.random.default_rng(5).standard_normal((7, 90))
    assert_allclose(short.predict(queries), long.predict(queries), rtol=1e-7)
    assert_allclose(short.M_, long.M_, rtol=1e-6, atol=1e-10)
    loaded = RFMRegressor.load(tmp_path / "model")
    assert_allclose(loaded.predict(queries), short.predict(queries), rtol=1e-12)


def test_many_features_need_no_square_matrix():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 40_000))
    y = np.arange(40) % 2
    # A matrix of all features would take 12.8 GB.
    model = RFMClassifier(n_iter=1, early_stopping=False, bandwidth=200.0).fit(X, y)
    assert model.metric_matrix_.shape == (40, 40)
    assert_allclose(model.feature_importances_.sum(), 1.0, rtol=1e-5)
    assert model.score(X, y) == 1.0


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"reg": []}, "reg must have at least one value"),
        ({"reg": [0.1, -1.0]}, "reg must be"),
        ({"selection": "best"}, "selection must be"),
        ({"bandwidth_mode": "median"}, "bandwidth_mode must be"),
        (
            {"bandwidth_mode": "adaptive", "bandwidth": "median"},
            "bandwidth must be a number or None",
        ),
        ({"bandwidth_mode": "adaptive", "kernel": "sum_power"}, "is refused for"),
    ],
)
def test_bad_settings_are_refused(settings, sentence):
    X, y = table(10)
    with pytest.raises(InvalidInputError, match=sentence):
        RFMRegressor(backend="numpy", **settings).fit(X, y)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("solver", ["cholesky", "eigenpro"])
def test_shrinkage_moves_the_metric_towards_the_identity(backend, solver):
    X, y = table()
    settings = {
        "n_iter": 1,
        "normalize": "trace",
        "reg": 1.0,
        "solver": solver,
        "epochs": 3,
        "random_state": 0,
        "backend": backend,
        **PLAIN,
    }
    none, some, whole = (
        RFMRegressor(agop_shrinkage=share, **settings).fit(X, y).M_
        for share in (0.0, 0.3, 1.0)
    )
    assert_allclose(some, 0.7 * none + 0.3 * np.eye(X.shape[1]), rtol=1e-6, atol=1e-9)
    assert_allclose(whole, np.eye(X.shape[1]), rtol=1e-9)


def test_a_shrunk_metric_of_many_features_is_kept_whole():
    X, y = table(10, 30)
    model = RFMRegressor(agop_shrinkage=0.5, n_iter=1, backend="numpy", **PLAIN)
    model.fit(X, y)
    assert model.metric_basis_ is None
    assert np.linalg.eigvalsh(model.M_).min() > 0.01 / 30
