"""Noise profiles: areas, lines of reference, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.neighbors import KNeighborsClassifier

from mlmethods.errors import InvalidInputError
from mlmethods.kernels import KernelRidge, LaplaceKernel
from mlmethods.overfitting import LogNeighborsClassifier, noise_profile

LEVELS = [0.0, 0.1, 0.2, 0.3, 0.4]


@pytest.fixture(scope="module")
def halves():
    """Synthetic points of two classes with a gap between them."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, size=(1500, 2))
    X[:, 0] += np.sign(X[:, 0])
    return X, np.where(X[:, 0] > 0, "right", "left")


def test_one_neighbor_errs_as_often_as_labels_are_flipped(halves):
    profile = noise_profile(KNeighborsClassifier(1), *halves, LEVELS, random_state=0)
    table = profile.table
    assert len(table) == 5 * 5
    mean = table.groupby("noise")["risk"].mean()
    assert_allclose(mean, LEVELS, atol=0.03)
    assert_array_equal(table["risk"], table["nearest"])
    assert (table["bayes"] == 0).all()
    assert_allclose(table["chance"], 0.5, atol=0.03)
    assert table["interpolates"].all()
    # The area under p from 0 to 0.4 is 0.08, that under chance 0.2.
    assert profile.tau == pytest.approx(0.4, abs=0.03)
    assert profile.tau_ci[0] < profile.tau < profile.tau_ci[1]


def test_votes_of_neighbors_are_nearly_benign(halves):
    profile = noise_profile(LogNeighborsClassifier(), *halves, LEVELS, random_state=0)
    one = noise_profile(KNeighborsClassifier(1), *halves, LEVELS, random_state=0)
    assert profile.tau < 0.5 * one.tau
    assert not profile.table["interpolates"].all()
    # The same noise, whatever the learner.
    assert_array_equal(profile.table["nearest"], one.table["nearest"])


def test_tau_is_the_area_of_the_definition(halves):
    class Half(ClassifierMixin, BaseEstimator):
        """Errs on a tenth of the test rows, or on a third where labels are noisy."""

        def fit(self, X, y):
            self.classes_ = np.unique(y)
            noisy = np.any((X[:, 0] > 0) != (y == "right"))
            self.share_ = 1 / 3 if noisy else 0.1
            return self

        def predict(self, X):
            right = X[:, 0] > 0
            right[: round(self.share_ * len(X))] ^= True
            return np.where(right, "right", "left")

    X, y = halves
    data = {"X_test": X[:300], "y_test": y[:300], "random_state": 0}
    own = noise_profile(Half(), X[300:], y[300:], [0, 0.2, 0.4], **data)
    chance = own.table["chance"].iloc[0]
    area = 0.2 * (0.5 + 1) * (1 / 3 - 0.1)
    assert own.tau == pytest.approx(area / (0.4 * (chance - 0.1)))
    assert_allclose(own.tau_ci, own.tau)
    zero = noise_profile(Half(), X[300:], y[300:], [0, 0.2, 0.4], bayes=0.0, **data)
    full = 0.2 * (0.05 + 1 / 3 + 1 / 6)
    assert zero.tau == pytest.approx(full / (0.4 * chance))
    assert zero.table["bayes"].unique() == [0]


def test_kernels_share_one_factorization(halves, monkeypatch):
    fits = []
    original = KernelRidge.fit

    def count(self, X, y, sample_weight=None):
        fits.append(np.shape(y))
        return original(self, X, y, sample_weight)

    monkeypatch.setattr(KernelRidge, "fit", count)
    kernel = LaplaceKernel(bandwidth=1.0)
    X, y = halves[0][:300], halves[1][:300]
    profile = noise_profile(
        kernel, X, y, LEVELS, n_draws=3, backend="numpy", random_state=0
    )
    assert fits == [(240, 2 * 3 * 5)]
    assert profile.table["interpolates"].all()
    assert 0.05 < profile.tau < 0.5


def test_tables_and_words(halves):
    X, y = pd.DataFrame(halves[0], columns=["a", "b"]), pd.Series(halves[1])

    class ByColumn(KNeighborsClassifier):
        def fit(self, X, y):
            return super().fit(X[["a", "b"]].to_numpy(), y)

        def predict(self, X):
            return super().predict(X[["a", "b"]].to_numpy())

    plain = noise_profile(KNeighborsClassifier(1), *halves, [0, 0.2], random_state=1)
    named = noise_profile(ByColumn(1), X, y, [0, 0.2], random_state=1)
    assert_array_equal(named.table["risk"], plain.table["risk"])
    worded = noise_profile(ByColumn(1), X.assign(c="word"), y, [0, 0.2], random_state=1)
    assert "nearest" not in worded.table


def test_one_draw_has_no_interval(halves):
    profile = noise_profile(
        KNeighborsClassifier(1), *halves, [0, 0.2], n_draws=1, random_state=0
    )
    assert np.isnan(profile.tau_ci).all()
    assert profile.tau > 0


def test_seeds(halves):
    a, b, c = (
        noise_profile(KNeighborsClassifier(1), *halves, [0, 0.2], random_state=seed)
        for seed in (0, 0, 1)
    )
    pd.testing.assert_frame_equal(a.table, b.table)
    assert a.tau_ci == b.tau_ci
    assert not a.table.equals(c.table)
    more = noise_profile(
        KNeighborsClassifier(1), *halves, [0, 0.1, 0.2], random_state=0
    )
    kept = more.table[more.table["noise"] != 0.1].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, a.table)


def test_the_figure_shows_means_and_lines(halves):
    profile = noise_profile(KNeighborsClassifier(1), *halves, LEVELS, random_state=0)
    axes = profile.plot()
    measured = axes.get_lines()[0]
    assert_allclose(measured.get_xdata(), LEVELS)
    mean = profile.table.groupby("noise")["risk"].mean()
    assert_allclose(measured.get_ydata(), mean)
    assert len(axes.get_lines()) == 4


X = np.arange(20.0)[:, None]
Y = np.arange(20) % 2


@pytest.mark.parametrize(
    ("levels", "options", "message"),
    [
        ([0.0], {}, "at least two different shares"),
        ([0.0, 0.0], {}, "at least two different shares"),
        ([0.1, 0.2], {}, "levels must include 0"),
        ([0.0, 0.6], {}, "at most 1 - 1/K"),
        ([0.0, -0.1], {}, "rate must be"),
        ([0.0, 0.1], {"n_draws": 0}, "n_draws must be"),
        ([0.0, 0.1], {"kind": "par"}, "did you mean 'pair'"),
        ([0.0, 0.1], {"bayes": 2.0}, "bayes must be"),
        ([0.0, 0.1], {"X_test": X}, "given together"),
        ([0.0, 0.1], {"X_test": X, "y_test": Y, "test_size": 3}, "test_size must be"),
        ([0.0, 0.1], {"test_size": 20}, "test_size must be"),
        ([0.0, 0.1], {"random_state": -1}, "random_state must be"),
    ],
)
def test_bad_input(levels, options, message):
    with pytest.raises(InvalidInputError, match=message):
        noise_profile(KNeighborsClassifier(1), X, Y, levels, **options)


def test_one_class_and_lengths():
    with pytest.raises(InvalidInputError, match="two classes"):
        noise_profile(KNeighborsClassifier(1), X, 0 * Y, [0, 0.1])
    with pytest.raises(InvalidInputError, match="X must have shape"):
        noise_profile(KNeighborsClassifier(1), X, Y[:9], [0, 0.1])
