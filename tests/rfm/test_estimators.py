"""The RFM estimators against exact vectors, laws and scikit-learn's contract."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import mlmethods
from mlmethods.errors import (
    CheckpointError,
    InvalidInputError,
    MemoryLimitError,
    NumericalWarning,
)
from mlmethods.kernels import LaplaceKernel, LpqKernel, SumPowerLaplaceKernel
from mlmethods.rfm import RFMClassifier, RFMRegressor, agop, kernel_agop
from mlmethods_jax.testing import compile_guard

BACKENDS = ("numpy", "jax")
X4 = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
Y4 = np.array([0.0, 1.0, 2.0, 4.0])
Z2 = np.array([[0.5, 0.5], [3.0, -1.0]])

# Exact float64 values of two independent programs, agreeing to 1e-6; the l_{p,q} and
# sum-of-powers programs add 1e-8 to diag(M), hence the wider tolerance there.
VECTORS = [
    ("laplace", 0, [1.51994216, 0.18034964], [1, 0, 0, 1], 1e-6),
    ("laplace", 1, [1.61754935, 0.39568907], [0.25978041, 0.17386249, 0.17386249, 1], 1e-6),
    ("laplace", 2, [1.67199525, 0.39246252], [0.10488338, 0.24631067, 0.24631067, 1], 1e-6),
    ("gaussian", 0, [2.00217858, -0.00727433], [1, 0, 0, 1], 1e-6),
    ("gaussian", 1, [2.10439436, 0.03453885], [0.27432731, 0.12516458, 0.12516458, 1], 1e-6),
    ("gaussian", 2, [2.23020758, -0.29319523], [0.08865785, 0.18986148, 0.18986148, 1], 1e-6),
    (LpqKernel(p=1.5, q=1.0, bandwidth=1.0), 1, [1.5909091, 0.32100296], [0.227774, 0.140066, 0.140066, 1], 1e-5),
    (LpqKernel(p=1.0, q=1.0, bandwidth=1.0), 1, [1.52771799, 0.21416216], [0.164598, 0.092029, 0.092029, 1], 1e-5),
    (SumPowerLaplaceKernel(q=1.0, bandwidth=1.0), 1, [1.50818627, 0.16743552], [0.21758, 0.01739, 0.01739, 1], 1e-5),
]  # fmt: skip


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("kernel", "updates", "values", "M", "tolerance"), VECTORS)
def test_exact_vectors(backend, kernel, updates, values, M, tolerance):
    model = RFMRegressor(
        kernel,
        bandwidth=1.0 if isinstance(kernel, str) else None,
        reg=0.1,
        n_iter=updates,
        fit_intercept=False,
        early_stopping=False,
        dtype="float64",
        backend=backend,
    ).fit(X4, Y4)
    np.testing.assert_allclose(model.predict(Z2), values, atol=tolerance)
    np.testing.assert_allclose(model.M_.ravel(), M, atol=tolerance)


def expected_failures(estimator):
    if estimator.backend == "numpy" or estimator.dtype == "float64":
        return {}
    return dict.fromkeys(
        (
            "check_methods_subset_invariance",
            "check_regressor_multioutput",
            "check_sample_weight_equivalence_on_dense_data",
        ),
        "the default is float32, the check's tolerance 1e-7",
    )


@parametrize_with_checks(
    [
        RFMRegressor(),
        RFMRegressor(backend="numpy"),
        RFMClassifier(backend="numpy"),
    ],
    expected_failed_checks=expected_failures,
)
def test_sklearn_contract(estimator, check):
    check(estimator)


# What JAX adds to the contract the regressor shows in the fast tests: compiling for
# every check takes a minute an estimator.
@pytest.mark.slow
@parametrize_with_checks(
    [RFMClassifier(), RFMRegressor(dtype="float64"), RFMClassifier(dtype="float64")],
    expected_failed_checks=expected_failures,
)
def test_sklearn_contract_in_full(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def diabetes():
    X, y = load_diabetes(return_X_y=True)
    return StandardScaler().fit_transform(X), y


def test_second_fit_and_other_numbers_compile_nothing(diabetes):
    X, y = diabetes
    RFMRegressor(reg=1.0, random_state=0).fit(X, y).predict(X[:40])
    with compile_guard(max_compiles=0):
        RFMRegressor(reg=2.0, bandwidth=5.0, random_state=1).fit(X, y).predict(X[:33])


def test_fit_and_predict_compile_at_most_three_programs(rng):
    X, y = rng.normal(size=(90, 3)), rng.normal(size=90)
    with compile_guard(max_compiles=3):
        RFMRegressor(reg=0.3, diagonal=True, random_state=0).fit(X, y).predict(X[:50])


@pytest.mark.parametrize("backend", BACKENDS)
def test_row_order_changes_nothing(backend, rng):
    X, y = rng.normal(size=(40, 3)), rng.normal(size=40)
    order = rng.permutation(40)
    settings = {"dtype": "float64", "backend": backend, "early_stopping": False}
    a = RFMRegressor(reg=0.1, **settings).fit(X, y)
    b = RFMRegressor(reg=0.1, **settings).fit(X[order], y[order])
    np.testing.assert_allclose(a.M_, b.M_, atol=1e-8)
    np.testing.assert_allclose(a.predict(X), b.predict(X), atol=1e-8)


def test_rotation_rotates_the_metric(rng):
    X, y = rng.normal(size=(40, 3)), rng.normal(size=40)
    Q = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    settings = {"normalize": "trace", "dtype": "float64", "early_stopping": False}
    a = RFMRegressor(reg=0.1, **settings).fit(X, y)
    b = RFMRegressor(reg=0.1, **settings).fit(X @ Q.T, y)
    np.testing.assert_allclose(b.M_, Q @ a.M_ @ Q.T, atol=1e-7)
    np.testing.assert_allclose(b.predict(X @ Q.T), a.predict(X), atol=1e-7)


@pytest.mark.parametrize("backend", BACKENDS)
def test_weight_two_is_a_duplicated_row(backend, rng):
    X, y = rng.normal(size=(20, 3)), rng.normal(size=20)
    settings = {"dtype": "float64", "backend": backend, "early_stopping": False}
    weights = np.ones(20)
    weights[:5] = 2
    a = RFMRegressor(reg=0.5, **settings).fit(X, y, sample_weight=weights)
    twice = np.r_[np.arange(20), np.arange(5)]
    b = RFMRegressor(reg=0.5, **settings).fit(X[twice], y[twice])
    np.testing.assert_allclose(a.predict(X), b.predict(X), atol=1e-8)


def test_float32_is_close_to_float64(diabetes):
    X, y = diabetes
    fits = [
        RFMRegressor(reg=0.1, n_iter=3, early_stopping=False, dtype=dtype).fit(X, y)
        for dtype in ("float32", "float64")
    ]
    difference = np.abs(fits[0].M_ - fits[1].M_).max() / np.abs(fits[1].M_).max()
    assert difference < 1e-3


def test_gradients_are_those_of_the_predictions(diabetes):
    X, y = diabetes
    model = RFMRegressor(reg=1.0, dtype="float64", random_state=0).fit(X, y)
    points, step = X[:4] + 0.01, 1e-5
    numeric = np.stack(
        [
            (model.predict(points + step * e) - model.predict(points - step * e))
            / (2 * step)
            for e in np.eye(X.shape[1])
        ],
        axis=1,
    )
    np.testing.assert_allclose(model.gradients(points)[:, 0], numeric, rtol=1e-5)


def test_kernel_agop_is_the_mean_of_outer_products(rng):
    X, alpha = rng.normal(size=(12, 3)), rng.normal(size=(12, 2))
    kernel = LaplaceKernel(bandwidth=2.0)
    expected = np.zeros((3, 3))
    for i in range(12):
        others = np.arange(12) != i
        g = kernel.grad(X[i : i + 1], X[others], alpha[others], backend="numpy")[0]
        expected += g.T @ g / 12
    for backend in BACKENDS:
        result = kernel_agop(kernel, X, alpha, dtype="float64", backend=backend)
        np.testing.assert_allclose(result, expected, rtol=1e-10)


def test_best_iterate_is_the_earliest_best(diabetes):
    X, y = diabetes
    model = RFMRegressor(reg=1.0, random_state=0, keep_iterates=True).fit(X, y)
    scores = [row["validation_score"] for row in model.history_]
    assert model.n_iter_ == int(np.argmax(scores))
    assert len(list(model.staged_predict(X))) == len(scores)


def test_a_scorer_chooses_the_iterate():
    X, y = load_iris(return_X_y=True)
    model = RFMClassifier(scoring="accuracy", random_state=0).fit(X, y)
    assert all(0 <= row["validation_score"] <= 1 for row in model.history_)
    assert model.predict_proba(X).sum(axis=1) == pytest.approx(1.0)


def test_save_and_load(tmp_path):
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    X = X.iloc[:, :5]
    with pytest.warns(NumericalWarning, match="differ in scale"):
        model = RFMClassifier(random_state=0).fit(X * [1, 1, 1, 1, 1e-2], y)
    model.save(tmp_path / "model")
    again = mlmethods.load(tmp_path / "model")
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    assert list(again.feature_names_in_) == list(X.columns)


class Interrupt:
    """Raises after a given number of steps."""

    def __init__(self, after):
        self.after = after

    def __call__(self, event):
        if event.kind == "step" and event.step == self.after:
            raise KeyboardInterrupt


@pytest.mark.parametrize("backend", BACKENDS)
def test_interrupted_fit_keeps_the_best_and_resumes_exactly(
    backend, diabetes, tmp_path
):
    X, y = diabetes
    settings = {"reg": 1.0, "random_state": 0, "backend": backend, "n_iter": 3}
    whole = RFMRegressor(**settings).fit(X, y)
    model = RFMRegressor(**settings, checkpoint_dir=tmp_path, callbacks=[Interrupt(2)])
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert np.isfinite(model.predict(X[:3])).all()
    resumed = RFMRegressor(**settings, checkpoint_dir=tmp_path).fit(X, y)
    np.testing.assert_array_equal(resumed.M_, whole.M_)
    np.testing.assert_array_equal(resumed.predict(X), whole.predict(X))
    with pytest.raises(CheckpointError, match="another fit"):
        RFMRegressor(**settings | {"reg": 2.0}, checkpoint_dir=tmp_path).fit(X, y)
    model = RFMRegressor(**settings, scoring="r2", checkpoint_dir=tmp_path)
    with pytest.raises(CheckpointError, match="another fit"):
        model.fit(X, y)


def test_a_fit_that_stopped_early_does_not_go_on(diabetes, tmp_path):
    X, y = diabetes
    settings = {
        "reg": 1e-3,
        "bandwidth": 1.0,
        "n_iter": 6,
        "early_stop_multiplier": 1.0,
        "random_state": 0,
        "checkpoint_dir": tmp_path,
    }
    first = RFMRegressor(**settings).fit(X, y)
    assert len(first.history_) < 7
    again = RFMRegressor(**settings).fit(X, y)
    assert again.history_ == first.history_
    np.testing.assert_array_equal(again.predict(X), first.predict(X))


def test_nothing_global_changes(diabetes):
    import jax

    X, y = diabetes
    before = np.random.get_state()[1].copy(), jax.config.jax_enable_x64  # noqa: NPY002
    RFMRegressor(random_state=0, dtype="float64").fit(X, y)
    assert np.array_equal(np.random.get_state()[1], before[0])  # noqa: NPY002
    assert jax.config.jax_enable_x64 == before[1]


def test_constant_targets_keep_the_metric(rng):
    with pytest.warns(NumericalWarning, match="outer product is zero"):
        model = RFMRegressor(backend="numpy").fit(rng.normal(size=(10, 2)), np.ones(10))
    np.testing.assert_allclose(model.M_, np.eye(2))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"reg": -1.0}, "reg must be a finite number >= 0"),
        ({"n_iter": -1}, "n_iter must be an integer >= 0"),
        ({"bandwidth": 0.0}, "bandwidth must be"),
        ({"kernel": LpqKernel(1.0, 1.5)}, "q must be at most p"),
        ({"kernel": "laplac"}, "did you mean 'laplace'"),
        ({"center": True}, "center must be one of"),
        ({"normalize": "sum"}, "normalize must be one of"),
        ({"validation_fraction": 1.0}, "validation_fraction must be"),
        ({"early_stopping": "yes"}, "early_stopping must be"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_parameters_out_of_range(parameters, message):
    with pytest.raises(InvalidInputError, match=message):
        RFMRegressor(**parameters).fit(X4, Y4)


def test_bad_data():
    with pytest.raises(InvalidInputError, match="at least 2 classes"):
        RFMClassifier().fit(X4, np.ones(4))
    with pytest.raises(ValueError, match="NaN"):
        RFMRegressor().fit(np.full((4, 2), np.nan), Y4)
    with pytest.raises(ValueError, match="expecting 2 features"):
        RFMRegressor(backend="numpy").fit(X4, Y4).predict(np.ones((1, 3)))
    with pytest.raises(InvalidInputError, match="X_val and y_val"):
        RFMRegressor().fit(X4, Y4, X_val=X4)
    with pytest.raises(MemoryLimitError, match="n=4"):
        RFMRegressor(memory_limit=100).fit(X4, Y4)


def test_text_columns_are_refused_with_advice():
    import pandas as pd

    table = pd.DataFrame({"a": [1.0, 2.0], "city": ["x", "y"]})
    with pytest.raises(InvalidInputError, match=r"city.*ColumnTransformer"):
        RFMRegressor().fit(table, [0.0, 1.0])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kernel", ["laplace", "gaussian"])
def test_agop_is_that_of_the_differentiated_predictions(backend, kernel, diabetes):
    X, y = diabetes[0][:60], np.column_stack([diabetes[1], diabetes[1] ** 2])[:60]
    model = RFMRegressor(
        kernel, bandwidth=4.0, reg=1.0, n_iter=2, backend=backend, dtype="float64"
    ).fit(X, y / y.std(axis=0))
    centers, alpha, M = model.X_fit_, model.dual_coef_, model.M_

    def predict(x):
        u = x[None, :] - centers
        r2 = jnp.einsum("nd,de,ne->n", u, M, u)
        scaled = jnp.sqrt(r2) / 4 if kernel == "laplace" else r2 / 32
        return jnp.exp(-scaled) @ alpha

    queries = diabetes[0][60:80]
    expected = agop(predict, queries, backend="jax", dtype="float64")
    np.testing.assert_allclose(model.agop(queries), expected, rtol=1e-9, atol=1e-12)
    # The rows of the fit: each leaves out its own term, where Laplace has a kink.
    own = np.mean(np.einsum("ncd,nce->nde", *[model.gradients(X)] * 2), axis=0)
    np.testing.assert_allclose(model.agop(), own, rtol=1e-9, atol=1e-12)
