"""RFM estimators that choose their settings."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_iris
from sklearn.model_selection import KFold
from sklearn.utils.estimator_checks import parametrize_with_checks

from mlmethods.errors import InvalidInputError
from mlmethods.kernels import GaussianKernel
from mlmethods.rfm import RFMClassifier, RFMClassifierCV, RFMRegressor, RFMRegressorCV
from mlmethods_jax.testing import compile_guard


def table(n=60, d=4, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    return X, X[:, 0] * X[:, 1] + 0.1 * rng.standard_normal(n)


@parametrize_with_checks(
    [
        RFMRegressorCV(
            RFMRegressor(n_iter=1, backend="numpy"), regs=(0.1, 1.0), bandwidths=(10.0,)
        ),
        RFMClassifierCV(
            RFMClassifier(n_iter=1, backend="numpy"),
            regs=(0.1, 1.0),
            bandwidths=(10.0,),
            cv=2,
        ),
    ],
)
def test_sklearn_contract(estimator, check):
    check(estimator)


def test_the_choice_is_that_of_the_fits_it_stands_for():
    X, y = table()
    bandwidths, regs, folds = (2.0, 8.0), (0.01, 1.0), KFold(3)
    model = RFMRegressorCV(
        RFMRegressor(n_iter=2, backend="numpy"),
        bandwidths=bandwidths,
        regs=regs,
        cv=folds,
    ).fit(X, y)
    means = np.zeros((2, 3))
    for i, bandwidth in enumerate(bandwidths):
        for train, test in folds.split(X):
            for updates in range(3):
                one = RFMRegressor(
                    bandwidth=bandwidth,
                    reg=regs,
                    n_iter=updates,
                    early_stopping=False,
                    backend="numpy",
                ).fit(X[train], y[train])
                means[i, updates] -= np.mean((one.predict(X[test]) - y[test]) ** 2) / 3
    assert_allclose(model.cv_results_["mean_test_score"], means.ravel(), rtol=1e-9)
    i, updates = np.unravel_index(np.argmax(means), means.shape)
    assert model.best_params_["bandwidth"] == bandwidths[i]
    assert model.best_params_["n_iter"] == updates
    assert model.best_params_["reg"] in regs
    again = RFMRegressor(
        bandwidth=bandwidths[i],
        reg=regs,
        n_iter=int(updates),
        early_stopping=False,
        backend="numpy",
    ).fit(X, y)
    assert_allclose(model.predict(X), again.predict(X))
    assert_allclose(model.M_, again.M_)


def test_folds_of_a_classifier_compile_once():
    X, y = load_iris(return_X_y=True)
    model = RFMClassifierCV(
        RFMClassifier(n_iter=1), regs=(0.1, 1.0), bandwidths=(10.0,), cv=4
    ).fit(X, y)
    with compile_guard(0):
        again = RFMClassifierCV(
            RFMClassifier(n_iter=1), regs=(0.2, 2.0), bandwidths=(5.0, 20.0), cv=4
        ).fit(X, y)
    assert min(model.score(X, y), again.score(X, y)) > 0.95
    assert again.best_params_["reg"] in (0.2, 2.0)
    assert_array_equal(again.predict_proba(X).argmax(1), again.predict(X))


def test_a_kernel_object_gets_the_bandwidth():
    X, y = table()
    model = RFMRegressorCV(
        RFMRegressor(GaussianKernel(), n_iter=0, backend="numpy"),
        bandwidths=(1.0, 3.0),
        cv=3,
    ).fit(X, y)
    assert model.best_estimator_.kernel.bandwidth == model.best_params_["bandwidth"]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"regs": ()}, "regs must have at least one"),
        ({"bandwidths": ()}, "bandwidths must have at least one"),
        ({"bandwidths": (0.0,)}, "bandwidths must be"),
        ({"regs": (-1.0,)}, "regs must be"),
        ({"estimator": RFMClassifier()}, "estimator must be None or an RFMRegressor"),
    ],
)
def test_bad_settings_are_refused(settings, sentence):
    X, y = table(20)
    with pytest.raises(InvalidInputError, match=sentence):
        RFMRegressorCV(**settings).fit(X, y)
