"""Networks trained until they fit their noise: the study, on scikit-learn's digits."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

from mlmethods.errors import InvalidInputError, NotInterpolatedWarning
from mlmethods.overfitting import InterpolationStudy, StudyResult
from mlmethods.overfitting._network_cells import Cells, Run
from mlmethods.overfitting._network_plan import Plan, check_data
from mlmethods.overfitting.noise import label_transition

SMALL = {
    "n_grid": [32, 64],
    "noise_levels": [0, 0.25],
    "n_seeds": 2,
    "depth": 1,
    "width": 32,
    "loss": "cross_entropy",
    "optimizer": "adam",
    "learning_rate": 1e-2,
    "patience": 5,
    "n_bootstrap": 100,
}
KEYS = ["n", "seed", "noise", "stop"]


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:600] / 16, np.where(y[:600] >= 5, "high", "low")


@pytest.fixture(scope="module")
def result(digits):
    return InterpolationStudy(**SMALL).run(*digits)


def without_time(table):
    return table.drop(columns="seconds").set_index(KEYS).sort_index()


def test_interpolating_networks_fit_all_their_noise(result):
    table = result.table
    fitted = table[table["stop"] == "interpolate"]
    assert len(table) == 2 * 2 * 2 * 2
    assert fitted["interpolates"].all()
    assert fitted["stopped"].all()
    assert (fitted["train_error"] == 0).all()
    assert (fitted.loc[fitted["noise"] > 0, "memorized"] == 1).all()
    assert fitted["validation_error"].isna().all()
    clean = fitted[fitted["noise"] == 0]
    assert clean["memorized"].isna().all()
    assert clean["risk"].mean() < 0.25 < 0.5
    assert (fitted["epochs"] == fitted["epochs_run"]).all()


def test_early_stopping_holds_noisy_rows_out(result):
    early = result.table[result.table["stop"] == "early"]
    assert early["validation_error"].between(0, 1).all()
    assert (early["epochs_run"] - early["epochs"] == 5).all()


def test_there_is_a_verdict_for_each_rule(result, tmp_path):
    assert list(result.verdict) == ["interpolate", "early"]
    # two sizes cannot tell a trend
    assert result.verdict["interpolate"].label == "undetermined"
    assert result.verdict["interpolate"].tau > 0
    result.save(tmp_path / "study")
    loaded = StudyResult.load(tmp_path / "study")
    pd.testing.assert_frame_equal(loaded.table, result.table)
    assert loaded.settings["loss"] == "cross_entropy"


def test_the_rows_labels_and_noise_of_a_run(digits):
    study = InterpolationStudy(**SMALL, validation_fraction=0.25)
    plan = Plan(study)
    data = check_data(study, plan, *digits, None, None)
    runs = [Run(seed, 0.25, stop) for seed in (0, 1) for stop in plan.stop]
    swap = label_transition("symmetric", None, 2)
    large, small = (Cells(plan, data, swap, n, runs) for n in (64, 32))
    # a smaller n is a prefix, a seed has its own rows, a rule has not
    np.testing.assert_array_equal(large.rows[:, :32], small.rows)
    np.testing.assert_array_equal(large.rows[0], large.rows[1])
    assert not np.array_equal(large.rows[0], large.rows[2])
    assert all(len(set(rows)) == 64 for rows in large.rows)
    assert set(large.rows.ravel()) <= set(data.pool)
    assert len(data.test_codes) + len(data.pool) == 600
    assert ((large.clean != large.noisy).sum(1) == 16).all()
    np.testing.assert_array_equal(large.noisy[0], large.noisy[1])
    assert large.held_out.sum(1).tolist() == [0, 16, 0, 16]


def test_other_runs_do_not_change_a_run(result, digits):
    other = SMALL | {"n_grid": [64], "stop": ["interpolate", 1]}
    table = InterpolationStudy(**other).run(*digits).table
    table = without_time(table[table["stop"] == "interpolate"])
    expected = without_time(result.table).loc[table.index]
    columns = ["train_error", "memorized"]
    pd.testing.assert_frame_equal(table[columns], expected[columns])
    # vectorized lanes of an accelerator may round differently
    np.testing.assert_allclose(table["risk"], expected["risk"], atol=0.05)
    assert (table["epochs"] - expected["epochs"]).abs().max() <= 3


def test_a_store_keeps_finished_runs(digits, tmp_path):
    settings = SMALL | {"store": tmp_path, "stop": [1, 2]}
    first = InterpolationStudy(**settings).run(*digits).table
    assert len(list(tmp_path.iterdir())) == 16
    again = InterpolationStudy(**settings).run(*digits).table
    pd.testing.assert_frame_equal(again, first)  # the seconds too
    wider = InterpolationStudy(**settings | {"n_seeds": 4}).run(*digits).table
    assert len(list(tmp_path.iterdir())) == 32
    kept = wider[wider["seed"] < 2].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, first)
    InterpolationStudy(**settings | {"patience": 6}).run(*digits)
    assert len(list(tmp_path.iterdir())) == 48


def test_a_cap_that_is_too_low_warns(digits):
    study = InterpolationStudy(**SMALL | {"max_epochs": 1, "stop": ["interpolate", 2]})
    with pytest.warns(NotInterpolatedWarning, match="8 of 8 networks"):
        table = study.run(*digits).table
    assert not table.loc[table["stop"] == "interpolate", "stopped"].any()


def test_given_test_rows_are_used(digits):
    X, y = digits
    study = InterpolationStudy(**SMALL | {"stop": [1, 2]})
    result = study.run(X, y, X[480:], y[480:])
    assert result.settings["n_test"] == 120
    swapped = np.where(y[480:] == "high", "low", "high")
    other = study.run(X, y, X[480:], swapped)
    np.testing.assert_allclose(other.table["risk"], 1 - result.table["risk"])


def test_progress_counts_runs(digits):
    events = []
    settings = SMALL | {"stop": [1, 2], "callbacks": (events.append,)}
    InterpolationStudy(**settings).run(*digits)
    assert (events[0].kind, events[-1].kind) == ("start", "end")
    steps = [event.step for event in events]
    assert steps == sorted(steps)
    assert steps[-1] == events[-1].total == 16


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"n_grid": [3]}, "n_grid must be an integer >= 4"),
        ({"n_grid": [32, 32]}, "n_grid must hold different"),
        ({"n_grid": [1000]}, "n_grid must not exceed"),
        (
            {"noise_levels": [0.1]},
            "noise_levels must hold different values, at least 2",
        ),
        ({"noise_levels": [0, 0.6]}, "rate must be at most"),
        ({"noise_levels": [0, -0.1]}, "noise_levels must be"),
        ({"n_seeds": 0}, "n_seeds must be"),
        ({"stop": ["late"]}, "stop must be one of"),
        ({"stop": []}, "stop must hold"),
        ({"stop": [0]}, "stop must be an integer"),
        ({"model": "resnet"}, "model must be 'mlp' or a callable"),
        ({"depth": 0}, "depth must be"),
        ({"width": 1.5}, "width must be"),
        ({"parameterization": "mup"}, "parameterization must be"),
        ({"loss": "hinge"}, "loss must be one of"),
        ({"optimizer": "lbfgs"}, "optimizer must be one of"),
        ({"learning_rate": 0}, "learning_rate must be"),
        ({"batch_size": 33}, "batch_size must be at most the smallest n 32"),
        ({"max_epochs": 0}, "max_epochs must be"),
        ({"check_every": 0}, "check_every must be"),
        ({"patience": 0}, "patience must be"),
        ({"validation_fraction": 1}, "validation_fraction must be"),
        ({"monitor": "accuracy"}, "monitor must be one of"),
        ({"noise_kind": "random"}, "kind must be one of"),
        ({"store": "x", "random_state": None}, "random_state must be an integer"),
        ({"test_size": 2.0}, "test_size must be"),
    ],
)
def test_bad_arguments(given, message, digits):
    with pytest.raises(InvalidInputError, match=message):
        InterpolationStudy(**SMALL | given).run(*digits)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X, y: (X, y[:-1]), "X must have shape"),
        (lambda X, y: (np.where(X > 0, np.nan, X), y), "X must be finite"),
        (lambda X, y: (X, np.zeros(len(X), int)), "y must hold two classes"),
        (lambda X, y: (X, np.linspace(0, 1, len(X))), "y must hold class labels"),
        (lambda X, y: (X * 1e40, y), "within float32"),
        (lambda X, y: (X, y, X), "given together"),
        (lambda X, y: (X, y, X[:, :3], y), "X_test must have shape"),
        (lambda X, y: (X, y, X[:1], np.array(["none"])), "y_test must hold no class"),
    ],
)
def test_bad_data(change, message, digits):
    with pytest.raises(InvalidInputError, match=message):
        InterpolationStudy(**SMALL).run(*change(*digits))


def test_a_backend_without_the_engine_says_so(digits):
    with pytest.raises(Exception, match="engine:overfitting"):
        InterpolationStudy(**SMALL, backend="numpy").run(*digits)
