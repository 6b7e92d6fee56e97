"""Hilbert weights and log n neighbors: interpolation, laws, conventions."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.utils.estimator_checks import parametrize_with_checks

import mlmethods
from mlmethods.errors import CheckpointError, InvalidInputError
from mlmethods.overfitting import (
    HilbertClassifier,
    HilbertRegressor,
    LogNeighborsClassifier,
    LogNeighborsRegressor,
    anchors,
)

ALL = [
    HilbertRegressor(),
    HilbertClassifier(),
    LogNeighborsRegressor(),
    LogNeighborsClassifier(),
]


@parametrize_with_checks(ALL)
def test_scikit_learn_conventions(estimator, check):
    check(estimator)


# Hilbert ---------------------------------------------------------------------


@pytest.mark.parametrize("power", [None, 1.5])
def test_the_averages_are_those_of_the_definition(rng, power):
    X, Y = rng.normal(size=(30, 3)), rng.normal(size=(30, 2))
    Z, weights = rng.normal(size=(7, 3)), rng.uniform(0, 2, 30)
    model = HilbertRegressor(power=power).fit(X, Y, sample_weight=weights)
    distance = np.linalg.norm(Z[:, None] - X, axis=2)
    W = weights * distance ** -(3 if power is None else power)
    assert_allclose(model.predict(Z), W @ Y / W.sum(axis=1)[:, None], rtol=1e-12)


@pytest.mark.parametrize("d", [1, 3, 400])
def test_it_fits_every_target_exactly(rng, d):
    X, y = rng.normal(size=(50, d)), rng.normal(size=50)
    assert_array_equal(HilbertRegressor().fit(X, y).predict(X), y)
    labels = np.where(y > 0, "up", "down")
    model = HilbertClassifier().fit(X, labels)
    assert_array_equal(model.predict(X), labels)
    near = HilbertRegressor().fit(X, y).predict(X + 1e-9 * rng.normal(size=X.shape))
    assert_allclose(near, y, atol=1e-5)


def test_high_dimensions_neither_overflow_nor_vanish(rng):
    # Powers of 1e3 or 1e-3 to the 400 are out of the range of doubles.
    X, y = rng.normal(size=(40, 400)), rng.normal(size=40)
    for scale in (1e-3, 1.0, 1e3):
        model = HilbertRegressor().fit(scale * X, y)
        values = model.predict(scale * rng.normal(size=(5, 400)))
        assert np.isfinite(values).all()
        assert values.min() >= y.min()
        assert values.max() <= y.max()


def test_equal_rows_share_their_targets():
    model = HilbertRegressor().fit([[0.0], [0.0], [1.0]], [1.0, 3.0, 7.0])
    assert model.predict([[0.0]]) == 2.0
    weighted = HilbertRegressor().fit([[0.0], [0.0], [1.0]], [1, 3, 7], [1, 3, 1])
    assert weighted.predict([[0.0]]) == pytest.approx(2.5)


def test_weight_two_is_a_repeated_row_and_zero_none(rng):
    X, y = rng.normal(size=(12, 2)), rng.integers(3, size=12)
    weights = np.r_[np.full(4, 2.0), np.ones(7), 0.0]
    repeated = np.r_[np.arange(11), np.arange(4)]
    a = HilbertClassifier().fit(X, y, sample_weight=weights)
    b = HilbertClassifier().fit(X[repeated], y[repeated])
    Z = rng.normal(size=(6, 2))
    assert_allclose(a.predict_proba(Z), b.predict_proba(Z), rtol=1e-12)
    assert_allclose(a.predict_proba(Z).sum(axis=1), 1)


def test_blocks_change_nothing(rng, monkeypatch):
    X, y, Z = rng.normal(size=(20, 2)), rng.normal(size=20), rng.normal(size=(33, 2))
    whole = HilbertRegressor().fit(X, y).predict(Z)
    monkeypatch.setattr(anchors, "_BLOCK_ENTRIES", 50)
    assert_allclose(HilbertRegressor().fit(X, y).predict(Z), whole, rtol=1e-13)


def test_one_row():
    assert HilbertRegressor().fit([[1.0]], [5.0]).predict([[3.0]]) == 5.0
    assert LogNeighborsRegressor().fit([[1.0]], [5.0]).predict([[3.0]]) == 5.0


@pytest.mark.parametrize("power", [0, -1, np.inf, "d"])
def test_bad_powers(power):
    with pytest.raises(InvalidInputError, match="power must be a finite number > 0"):
        HilbertRegressor(power=power).fit([[0.0], [1.0]], [0, 1])


def test_weights_of_zero():
    with pytest.raises((InvalidInputError, ValueError), match="weight"):
        HilbertRegressor().fit([[0.0], [1.0]], [0, 1], sample_weight=[0, 0])


# log n neighbors -------------------------------------------------------------


@pytest.mark.parametrize(("n", "k"), [(1, 1), (2, 1), (3, 2), (20, 3), (21, 4)])
def test_the_number_of_neighbors(rng, n, k):
    X, y = rng.normal(size=(n, 2)), rng.normal(size=n)
    model = LogNeighborsRegressor().fit(X, y)
    assert model.n_neighbors_ == k
    theirs = KNeighborsRegressor(k).fit(X, y)
    Z = rng.normal(size=(5, 2))
    assert_allclose(model.predict(Z), theirs.predict(Z))


def test_labels_of_neighbors(rng):
    X, y = rng.normal(size=(60, 2)), rng.integers(3, size=60)
    ours = LogNeighborsClassifier().fit(X, np.array(["a", "b", "c"])[y])
    theirs = KNeighborsClassifier(5).fit(X, y)
    Z = rng.normal(size=(30, 2))
    assert_array_equal(ours.predict(Z), np.array(["a", "b", "c"])[theirs.predict(Z)])
    again = ours.fit(X[:20], y[:20])
    assert again.n_neighbors_ == 3
    assert_array_equal(
        again.predict(Z), KNeighborsClassifier(3).fit(X[:20], y[:20]).predict(Z)
    )


@pytest.mark.parametrize("estimator", ALL, ids=lambda e: type(e).__name__)
def test_saving(estimator, rng, tmp_path):
    X = rng.normal(size=(15, 3))
    y = np.where(X[:, 0] > 0, "yes", "no")
    if "Regressor" in type(estimator).__name__:
        y = X[:, 0]
    model = estimator.fit(X, y)
    model.save(tmp_path / "model")
    Z = rng.normal(size=(9, 3))
    for loaded in (
        type(model).load(tmp_path / "model"),
        mlmethods.load(tmp_path / "model"),
    ):
        assert_array_equal(loaded.predict(Z), model.predict(Z))
        assert loaded.n_features_in_ == 3
    with pytest.raises(CheckpointError):
        type(model).load(tmp_path / "none")
