"""Categorical columns: blocks of the metric, lookup, and what is unknown."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import mlmethods
from mlmethods.errors import InvalidInputError
from mlmethods.kernels import LpqKernel
from mlmethods.rfm import RFMClassifier, RFMRegressor, matrix_power_psd
from mlmethods.rfm._columns import find_categories

BACKENDS = ("numpy", "jax")
PLAIN = {"early_stopping": False, "fit_intercept": False, "dtype": "float64"}


def frame(n=80, cities=40, seed=0):
    """Return a synthetic table of two numbers, three colors and many cities."""
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(
        {
            "color": rng.choice(["blue", "green", "red"], n),
            "size": rng.standard_normal(n),
            "city": np.array([f"city {i:04d}" for i in range(cities)])[
                rng.permutation(np.arange(n) % cities)
            ],
            "age": rng.standard_normal(n),
        }
    )
    value = X["city"].str[-1].astype(int) % 3 + (X["color"] == "red") * X["size"]
    return X, value.to_numpy(float)


def one_hot(X, columns):
    """Return what the machine stands for: numbers, colors, cities."""
    parts = [X[["size", "age"]].to_numpy()]
    for position, name in ((0, "color"), (2, "city")):
        known = columns[position]
        parts.append(X[name].to_numpy()[:, None] == known[None, :])
    return np.concatenate(parts, axis=1).astype(float)


@pytest.mark.filterwarnings("ignore:the columns of X differ in scale")
@pytest.mark.parametrize(
    "backend", ["numpy", pytest.param("jax", marks=pytest.mark.slow)]
)
def test_the_metric_is_that_of_one_hot_codes_in_blocks(backend):
    X, y = frame()
    settings = {"bandwidth": 3.0, "backend": backend, "reg": 0.1, **PLAIN}
    model = RFMRegressor(categorical_features="from_dtype", n_iter=1, **settings).fit(
        X, y
    )
    Z = one_hot(X, model.categories_)
    plain = RFMRegressor(normalize="none", n_iter=1, **settings).fit(Z, y)
    groups = np.repeat([0, 1, 2], [2, 3, 40])
    expected = np.where(groups[:, None] == groups, plain.M_, 0.0)
    assert_allclose(model.M_, expected / expected.max(), rtol=1e-6, atol=1e-9)
    root = matrix_power_psd(model.M_, 0.5)
    again = RFMRegressor(n_iter=0, **settings).fit(Z @ root, y)
    assert_allclose(model.predict(X), again.predict(Z @ root), rtol=1e-6, atol=1e-8)
    assert_allclose(
        model.gradients(X[:3]),
        again.gradients(Z[:3] @ root) @ root,
        rtol=1e-6,
        atol=1e-8,
    )


@pytest.mark.parametrize(
    ("kernel", "diagonal"),
    [
        ("laplace", False),
        (LpqKernel(p=1.5, q=1.0), True),
        pytest.param("laplace", True, marks=pytest.mark.slow),
        pytest.param(LpqKernel(p=1.5, q=1.0), False, marks=pytest.mark.slow),
    ],
)
def test_the_backends_agree(kernel, diagonal):
    X, y = frame()
    one, other = (
        RFMRegressor(
            kernel,
            n_iter=2,
            diagonal=diagonal,
            categorical_features=["city", "color"],
            bandwidth_mode="adaptive",
            backend=backend,
            **PLAIN,
        ).fit(X, y)
        for backend in BACKENDS
    )
    tight = {"rtol": 1e-6, "atol": 1e-8}
    assert_allclose(one.M_, other.M_, **tight)
    assert_allclose(one.predict(X), other.predict(X), **tight)
    assert_allclose(one.agop(X), other.agop(X), **tight)
    assert_allclose(one.transform(X), other.transform(X), **tight)
    assert_allclose(one.bandwidth_, other.bandwidth_, rtol=1e-6)


def test_importances_are_those_of_the_columns_given():
    X, y = frame(200)
    model = RFMRegressor(
        categorical_features=[0, 2], backend="numpy", random_state=0
    ).fit(X, y)
    shares = dict(zip(X.columns, model.feature_importances_, strict=True))
    assert_allclose(sum(shares.values()), 1.0)
    assert shares["city"] > shares["age"]
    assert_array_equal(model.feature_names_in_, X.columns)
    assert model.n_features_in_ == 4


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_unknown_or_missing_is_a_block_of_zeros(backend):
    X, y = frame()
    model = RFMRegressor(
        categorical_features="from_dtype", backend=backend, n_iter=1, **PLAIN
    ).fit(X, y)
    strange = X[:2].copy()
    strange["city"] = ["elsewhere", None]
    strange["color"] = ["mauve", np.nan]
    Z = one_hot(strange.fillna(""), model.categories_)
    assert not Z[:, 2:].any()
    outputs = model.predict(strange)
    assert np.isfinite(outputs).all()
    strange["age"] = strange["age"].iloc[0]
    strange["size"] = strange["size"].iloc[0]
    assert_allclose(*model.predict(strange), rtol=1e-12)


def test_a_saved_classifier_reads_the_same_table(tmp_path):
    X, y = frame()
    labels = np.where(y > 1, "high", "low")
    model = RFMClassifier(
        categorical_features="from_dtype", backend="numpy", random_state=0
    ).fit(X, labels)
    model.save(tmp_path / "model")
    loaded = mlmethods.load(tmp_path / "model")
    assert_array_equal(loaded.predict(X), model.predict(X))
    assert_allclose(loaded.feature_importances_, model.feature_importances_)


@pytest.mark.slow
def test_a_thousand_categories():
    X, y = frame(1200, cities=1000)
    model = RFMRegressor(categorical_features="from_dtype", n_iter=1).fit(X, y)
    assert model.M_.shape == (1005, 1005)
    assert model.X_fit_.shape == (1200, 6)
    assert np.isfinite(model.predict(X[:5])).all()


@pytest.mark.parametrize("column", ["color", "city"])
def test_a_table_of_categories_alone(column):
    X, y = frame()
    one, other = (
        RFMRegressor(
            categorical_features="from_dtype", n_iter=1, backend=backend, **PLAIN
        ).fit(X[[column]], y)
        for backend in BACKENDS
    )
    assert_allclose(one.M_, other.M_, rtol=1e-6, atol=1e-9)
    ours, theirs = (model.predict(X[[column]]) for model in (one, other))
    assert_allclose(ours, theirs, rtol=1e-6, atol=1e-8)
    assert_allclose(one.feature_importances_, [1.0])


def test_columns_of_every_kind():
    X = pd.DataFrame(
        {
            "flag": [True, False, True],
            "level": pd.Categorical(["b", "a", None]),
            "code": [3, 1, 3],
            "x": [0.5, 1.5, 2.5],
        }
    )
    columns = find_categories(X, "from_dtype")
    assert sorted(columns.categories) == [0, 1]
    assert_allclose(
        columns.encode(X),
        [[3, 0.5, 0, 1, 0, 1], [1, 1.5, 1, 0, 1, 0], [3, 2.5, 0, 1, 0, 0]],
    )
    masked = find_categories(X, [False, False, True, False])
    assert_array_equal(masked.categories[2], [1, 3])
    array = find_categories(np.array([[1.0, 7.0], [2.0, 7.0]]), [1])
    assert_allclose(array.encode([[5.0, 7.0], [6.0, 8.0]]), [[5.0, 1.0], [6.0, 0.0]])


@pytest.mark.parametrize(
    ("which", "sentence"),
    [
        ("text", "must be None, 'from_dtype'"),
        (["size", "weight"], "names columns that X lacks: weight"),
        ([True, False], "one boolean for each of 4 columns"),
        ([4], "must be positions from 0 to 3"),
        ([0.5], "must be positions from 0 to 3"),
    ],
)
def test_columns_that_do_not_exist(which, sentence):
    X, y = frame(10)
    with pytest.raises(InvalidInputError, match=sentence):
        RFMRegressor(categorical_features=which, backend="numpy").fit(X, y)


def test_text_beside_numbers_in_a_column():
    X = pd.DataFrame({"x": [1.0, 2.0], "mixed": ["a", 1]})
    with pytest.raises(InvalidInputError, match="column 1 of X"):
        RFMRegressor(categorical_features=[1], backend="numpy").fit(X, [0.0, 1.0])


def test_text_without_the_option_gets_the_advice():
    X, y = frame(10)
    with pytest.raises(InvalidInputError, match="categorical_features='from_dtype'"):
        RFMRegressor(backend="numpy").fit(X, y)


def test_missing_numbers_are_refused():
    X, y = frame(10)
    X.loc[3, "age"] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        RFMRegressor(categorical_features=[0, 2], backend="numpy").fit(X, y)
