"""RFM by EigenPro's passes: the same machine without a square matrix."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from mlmethods.errors import InvalidInputError, MemoryLimitError
from mlmethods.kernels import LaplaceKernel
from mlmethods.rfm import RFMClassifier, RFMRegressor
from mlmethods.rfm._solvers import choose_solver
from mlmethods.rfm.contract import RFMConfig

BACKENDS = ("numpy", "jax")


def table(n=300, d=6, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    return X, X[:, 0] * X[:, 1] + 0.1 * rng.standard_normal(n)


@pytest.mark.parametrize("backend", BACKENDS)
def test_passes_reach_the_direct_machine(backend):
    X, y = table()
    settings = {
        "n_iter": 2,
        "reg": 1.0,
        "early_stopping": False,
        "dtype": "float64",
        "backend": backend,
    }
    direct = RFMRegressor(solver="cholesky", **settings).fit(X, y)
    passes = RFMRegressor(solver="eigenpro", epochs=150, **settings).fit(X, y)
    assert_allclose(passes.M_, direct.M_, rtol=1e-4, atol=1e-5)
    assert_allclose(passes.predict(X), direct.predict(X), rtol=1e-4, atol=1e-5)


def test_weights_and_categories_go_through_the_passes():
    X, y = table(200, 3)
    frame = pd.DataFrame(X, columns=list("abc"))
    frame["kind"] = np.random.default_rng(1).choice(["u", "v", "w"], 200)
    y = y + (frame["kind"] == "u")
    weights = np.random.default_rng(2).uniform(0.5, 2.0, 200)
    settings = {
        "n_iter": 1,
        "reg": 1.0,
        "early_stopping": False,
        "categorical_features": "from_dtype",
        "backend": "numpy",
    }
    direct = RFMRegressor(**settings).fit(frame, y, weights)
    passes = RFMRegressor(solver="eigenpro", epochs=200, **settings).fit(
        frame, y, weights
    )
    assert_allclose(passes.M_, direct.M_, rtol=1e-4, atol=1e-5)
    assert_allclose(passes.predict(frame), direct.predict(frame), atol=1e-4)


def test_a_hold_out_ends_the_passes_and_the_refit_takes_as_many():
    X, y = table()
    labels = (y > 0).astype(int)
    model = RFMClassifier(
        solver="eigenpro", epochs=8, n_iter=2, backend="numpy", random_state=0
    ).fit(X, labels)
    assert len(model.X_fit_) == len(X)
    assert all(1 <= entry["passes"] <= 8 for entry in model.history_)
    assert model.score(X, labels) > 0.9
    again = RFMClassifier(
        solver="eigenpro", epochs=8, n_iter=2, backend="numpy", random_state=0
    ).fit(X, labels)
    assert_allclose(again.decision_function(X), model.decision_function(X))


def test_an_interrupted_fit_resumes_to_the_same_machine(tmp_path):
    X, y = table(120)
    settings = {
        "solver": "eigenpro",
        "n_iter": 3,
        "epochs": 4,
        "backend": "numpy",
        "random_state": 0,
    }
    whole = RFMRegressor(**settings).fit(X, y)

    def interrupt(event):
        if event.kind == "step" and event.step == 2:
            raise KeyboardInterrupt

    folder = {"checkpoint_dir": tmp_path}
    with pytest.raises(KeyboardInterrupt):
        RFMRegressor(callbacks=[interrupt], **settings, **folder).fit(X, y)
    resumed = RFMRegressor(**settings, **folder).fit(X, y)
    assert_allclose(resumed.predict(X), whole.predict(X), rtol=1e-12)


def test_auto_takes_passes_where_the_matrix_does_not_fit():
    config = RFMConfig(kernel=LaplaceKernel().to_spec(), dtype="float64")

    def passes(solver, limit):
        chosen = choose_solver(config, solver, (5000, 3, 1), int(limit), 7, None)
        return chosen.passes

    # A direct fit needs 32 bytes for each of 25 million pairs.
    assert passes("auto", 900e6) == 0
    assert passes("auto", 500e6) == 7
    assert passes("eigenpro", 900e6) == 7
    with pytest.raises(MemoryLimitError, match="solver='eigenpro'"):
        passes("cholesky", 500e6)
    with pytest.raises(MemoryLimitError, match="EigenPro on n=5000"):
        passes("auto", 1e6)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"reg": [0.1, 1.0]}, "takes one reg"),
        ({"selection": "loo"}, "takes one reg"),
        ({"epochs": 0}, "epochs must be"),
        ({"solver": "lu"}, "solver must be"),
    ],
)
def test_bad_settings_are_refused(settings, sentence):
    X, y = table(20)
    with pytest.raises(InvalidInputError, match=sentence):
        RFMRegressor(**{"solver": "eigenpro", "backend": "numpy", **settings}).fit(X, y)
