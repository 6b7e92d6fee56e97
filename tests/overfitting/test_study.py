"""Studies: streams, tables, stores that survive, and the three verdicts of kernels."""

from __future__ import annotations

import signal
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlmethods.errors import (
    CheckpointError,
    DivergenceError,
    InvalidInputError,
    MLMethodsWarning,
    NotInterpolatedWarning,
)
from mlmethods.kernels import (
    GaussianKernel,
    KernelRidge,
    KernelRidgeClassifier,
    LaplaceKernel,
    kernel_diagnostics,
)
from mlmethods.overfitting import (
    HilbertRegressor,
    OverfittingStudy,
    Problem,
    StudyResult,
    Verdict,
    sphere_problem,
)
from mlmethods.overfitting._cells import COLUMNS

LAPLACE = LaplaceKernel(bandwidth=1.0)
CELL = ["n", "seed", "noise"]
TIMED = [name for name in COLUMNS if name != "seconds"]


NUMPY = {"backend": "numpy"}


def linear(rng, n=300, d=3):
    X = rng.normal(size=(n, d))
    return X, X[:, 0] - X[:, 1] + 0.1 * X[:, 2] ** 2


def table_of(study, *data):
    return study.run(*data).table


def indexed(table):
    return table.set_index(CELL).sort_index()[["risk", "train_error"]]


# Three verdicts --------------------------------------------------------------


def test_the_laplace_kernel_is_tempered():
    study = OverfittingStudy(LAPLACE, [64, 128, 256, 512, 1024], [0, 1], **NUMPY)
    result = study.run(sphere_problem(3, test_size=600))
    assert result.verdict.label == "tempered"
    # 1.417 to 1.421 by leaving out rows of the kernel matrix.
    assert result.verdict.e0["e0"].iloc[-1] == pytest.approx(1.42, abs=0.03)
    assert result.verdict.interpolates
    assert result.complete
    table = result.table
    assert table.columns.tolist() == list(COLUMNS)
    assert len(table) == 5 * 5 * 2
    assert table["resolved"].all()
    assert (table["cond"] > 100).all()


def test_the_gaussian_kernel_is_catastrophic():
    study = OverfittingStudy(
        GaussianKernel(bandwidth=0.5), [64, 128, 256, 512], [0, 1], 4, **NUMPY
    )
    verdict = study.run(sphere_problem(6, test_size=500)).verdict
    assert verdict.label == "catastrophic"
    assert verdict.e0["e0"].iloc[2] == pytest.approx(2.16, abs=0.25)


def test_a_ridge_is_benign():
    study = OverfittingStudy(
        KernelRidge(LAPLACE, reg=1.0, **NUMPY), [64, 128, 256, 512], [0, 1], 4, **NUMPY
    )
    verdict = study.run(sphere_problem(3, test_size=500)).verdict
    assert verdict.label == "benign"
    assert not verdict.interpolates


def test_rounding_never_looks_benign():
    study = OverfittingStudy(
        GaussianKernel(bandwidth=0.5), [64, 128, 256, 512], [0, 1], 3, **NUMPY
    )
    with pytest.warns(NotInterpolatedWarning, match="do not fit their training set"):
        result = study.run(sphere_problem(3, test_size=300))
    assert result.verdict.label in ("undetermined", "catastrophic")
    assert not result.table.loc[result.table["n"] == 512, "resolved"].any()
    jittered = OverfittingStudy(
        KernelRidge(
            GaussianKernel(bandwidth=0.5), reg=0.0, on_singular="jitter", **NUMPY
        ),
        [128, 256, 512],
        [0, 1],
        n_seeds=3,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = jittered.run(sphere_problem(3, test_size=300))
    assert found.verdict.label == "undetermined"


def test_one_neighbor_costs_two():
    study = OverfittingStudy(
        KNeighborsRegressor(1), [64, 128, 256, 512, 1024], [0, 0.5, 1]
    )
    verdict = study.run(sphere_problem(3)).verdict
    assert verdict.label == "tempered"
    assert_allclose(verdict.e0["e0"], 2, atol=0.05)


# What a cell is --------------------------------------------------------------


def test_risks_are_those_of_the_definition():
    """One cell by hand: the streams, the noise and both errors."""
    X, y = linear(np.random.default_rng(0))
    seen = {}

    class Watcher(RegressorMixin, BaseEstimator):
        def fit(self, X, y):
            seen.setdefault("fits", []).append((X.copy(), y.copy()))
            self.mean_ = y.mean()
            return self

        def predict(self, X):
            seen.setdefault("rows", []).append(len(X))
            return np.full(len(X), self.mean_)

    study = OverfittingStudy(Watcher(), [40, 80], [0, 4.0], n_seeds=1, test_size=100)
    table = study.run(X, y).table
    assert seen["rows"] == [40, 100, 40, 100, 80, 100, 80, 100]
    rows = {row.tobytes(): index for index, row in enumerate(X)}
    places = [[rows[row.tobytes()] for row in fit[0]] for fit in seen["fits"]]
    # Nested: the smaller training set is the first part of the larger one.
    assert places[0] == places[1] == places[2][:40]
    assert len(set(places[2])) == 80
    clean, noisy = seen["fits"][2][1], seen["fits"][3][1]
    assert_array_equal(clean, y[places[2]])
    assert np.var(noisy - clean) == pytest.approx(4, rel=0.5)
    last = table.iloc[3]
    assert last["train_error"] == pytest.approx(np.var(noisy))
    assert not last["interpolates"]
    assert (table["seconds"] > 0).all()
    assert table["cond"].isna().all()


def test_the_risk_includes_the_noise_and_test_rows_are_apart(rng):
    X, y = linear(rng)

    class Zero(RegressorMixin, BaseEstimator):
        def fit(self, X, y):
            self.fitted_ = True
            return self

        def predict(self, X):
            return np.zeros(len(X))

    table = table_of(OverfittingStudy(Zero(), [50], [0, 0.7, 9], n_seeds=2), X, y)
    risk = table.pivot(index="seed", columns="noise", values="risk").to_numpy()
    assert_allclose(risk - risk[:, :1], [[0, 0.7, 9]] * 2)
    # The test set is split off once: all seeds share it.
    assert risk[0, 0] == risk[1, 0]
    assert 0.5 * np.mean(y**2) < risk[0, 0] < 2 * np.mean(y**2)


@pytest.mark.parametrize(
    "learner", [Ridge(1e-3), KernelRidge(LAPLACE, reg=0.1, **NUMPY)]
)
@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("source", ["data", "problem"])
def test_more_of_anything_leaves_other_cells_alone(rng, learner, nested, source):
    data = linear(rng) if source == "data" else (sphere_problem(3, test_size=50),)
    options = {"nested": nested, "random_state": 3}
    small = OverfittingStudy(learner, [20, 70], [0, 1], 2, **options)
    large = OverfittingStudy(learner, [35, 200, 70, 20], [2, 0, 0.5, 1], 3, **options)
    a, b = indexed(table_of(small, *data)), indexed(table_of(large, *data))
    assert_allclose(a, b.loc[a.index], rtol=1e-9, atol=1e-25)
    assert len(b) == 4 * 4 * 3
    other = OverfittingStudy(learner, [20, 70], [0, 1], 2, nested=nested)
    assert not np.allclose(indexed(table_of(other, *data)), a)


def test_one_factorization_gives_what_single_fits_give(rng):
    X, y = linear(rng, n=200)

    class Opaque(RegressorMixin, BaseEstimator):
        def fit(self, X, y):
            self.model_ = KernelRidge(LAPLACE, reg=0.0, backend="numpy").fit(X, y)
            return self

        def predict(self, X):
            return self.model_.predict(X)

    options = {"n_seeds": 2, "n_draws": 2}
    joint = OverfittingStudy(LAPLACE, [30, 60], [0, 1], backend="numpy", **options)
    single = OverfittingStudy(Opaque(), [30, 60], [0, 1], **options)
    a, b = table_of(joint, X, y), table_of(single, X, y)
    assert_allclose(a["risk"], b["risk"], rtol=1e-9)
    assert a["interpolates"].all()
    assert b["interpolates"].all()
    assert b["resolved"].all()


def test_conditions_come_from_the_kernel_matrix():
    problem = sphere_problem(3, test_size=20)
    study = OverfittingStudy(LAPLACE, [32, 64], [0, 1], 1, backend="numpy")
    table = table_of(study, problem)
    seen = []
    watched = Problem(
        sample=lambda n, rng: seen.append(problem.sample(n, rng)) or seen[-1],
        test_size=20,
        task="regression",
    )
    table_of(OverfittingStudy(LAPLACE, [64], [0, 1], 1, backend="numpy"), watched)
    X = seen[-1][0]
    found = kernel_diagnostics(LAPLACE, X, backend="numpy")
    assert table["cond"].iloc[-1] == pytest.approx(found.cond)
    assert table["cond"].iloc[2] == table["cond"].iloc[3]


# Classification --------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    X, digit = load_digits(return_X_y=True)
    return X / 16, np.where(digit >= 5, "high", "low")


def test_one_neighbor_repeats_flipped_labels(digits):
    study = OverfittingStudy(KNeighborsClassifier(1), [100, 300, 900], [0, 0.2, 0.4])
    result = study.run(*digits)
    verdict = result.verdict
    assert verdict.task == "classification"
    assert verdict.label == "tempered"
    # Errors of about p above those without noise: the area is about a half.
    assert 0.35 < verdict.tau < 0.6
    assert verdict.interpolates
    # The classes are about even, so that guessing errs on about a half.
    assert verdict.evidence["chance"] == pytest.approx(0.5, abs=0.01)
    axes = result.plot()
    line = axes.get_lines()[0]
    assert_allclose(line.get_xdata(), [0, 0.2, 0.4])


def test_forests_and_pipelines(digits):
    learners = [
        RandomForestClassifier(5),
        make_pipeline(StandardScaler(), LogisticRegression()),
    ]
    for learner in learners:
        study = OverfittingStudy(learner, [50, 100], [0, 0.3], n_seeds=2)
        table = table_of(study, pd.DataFrame(digits[0][:800]), digits[1][:800])
        assert_allclose(table["risk"], table_of(study, *_first(digits))["risk"])
        noisy = table[table["noise"] == 0.3]["risk"].mean()
        assert noisy > table[table["noise"] == 0]["risk"].mean()
    # The user's own object is never fitted or seeded.
    assert learners[0].random_state is None
    assert not hasattr(learners[0], "estimators_")


def _first(digits):
    return digits[0][:800], digits[1][:800]


@pytest.mark.parametrize("K", [2, 10])
def test_kernels_take_labels(K):
    X, digit = load_digits(return_X_y=True)
    y = digit if K == 10 else digit % 2
    kernel = LaplaceKernel(bandwidth=3.0)
    options = {"n_seeds": 2, "n_draws": 2}
    study = OverfittingStudy(kernel, [50, 100], [0, 0.3], **options, **NUMPY)
    verdict = study.run(X / 16, y)
    assert verdict.table["interpolates"].all()
    assert verdict.table["risk"].max() < 0.6
    own = OverfittingStudy(
        KernelRidgeClassifier(kernel, reg=0.0, **NUMPY),
        [50, 100],
        [0, 0.3],
        **options,
    )
    # Centered targets change the bias at small sizes, not what is learned.
    assert_allclose(own.run(X / 16, y).table["risk"], verdict.table["risk"], atol=0.06)


def test_a_class_that_noise_removes_is_named():
    y = np.r_[np.zeros(60), np.ones(60), np.full(4, 2)].astype(int)
    X = np.arange(124.0)[:, None]
    away = [[0.5, 0.5, 0], [0.5, 0.5, 0], [1, 0, 0]]
    study = OverfittingStudy(
        KNeighborsClassifier(1), [60], [0, 0.5], 3, noise_kind="matrix", matrix=away
    )
    with pytest.warns(MLMethodsWarning, match="2.* is missing from a training set"):
        study.run(X, y)
    few = OverfittingStudy(KNeighborsClassifier(1), [2], [0, 0.5], 5)
    with pytest.raises(InvalidInputError, match="two classes in every training set"):
        few.run(X, y)


# Stores ----------------------------------------------------------------------

SCRIPT = """
import os, signal, sys
import numpy as np
from mlmethods.overfitting import HilbertRegressor, OverfittingStudy, sphere_problem

def stop(event):
    if event.kind == "step" and event.step == 5:
        os.kill(os.getpid(), signal.SIGKILL)

OverfittingStudy(
    HilbertRegressor(), [20, 40, 80, 160], [0, 1], 3, store=sys.argv[1],
    callbacks=[stop],
).run(sphere_problem(3, test_size=30))
"""


def test_a_killed_study_continues(tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "cells")],
        capture_output=True,
        timeout=100,
        check=False,
    )
    assert run.returncode == -signal.SIGKILL, run.stderr.decode()
    done = sorted((tmp_path / "cells").glob("*.parquet"))
    assert len(done) == 5 * 2
    stamps = [path.stat().st_mtime_ns for path in done]
    grid = ([20, 40, 80, 160], [0, 1], 3)
    problem = sphere_problem(3, test_size=30)
    store = {"store": tmp_path / "cells"}
    resumed = OverfittingStudy(HilbertRegressor(), *grid, **store).run(problem)
    assert [path.stat().st_mtime_ns for path in done] == stamps
    whole = OverfittingStudy(HilbertRegressor(), *grid).run(problem)
    pd.testing.assert_frame_equal(resumed.table[TIMED], whole.table[TIMED])
    assert resumed.verdict.to_dict() == whole.verdict.to_dict()
    # A damaged cell is computed again.
    done[3].write_bytes(b"nothing")
    with pytest.warns(MLMethodsWarning, match="is damaged"):
        again = OverfittingStudy(HilbertRegressor(), *grid, **store).run(problem)
    pd.testing.assert_frame_equal(again.table[TIMED], whole.table[TIMED])


def test_a_store_keeps_studies_apart(tmp_path, rng):
    X, y = linear(rng, n=100)
    counts = []

    def run(learner, X=X, y=y, **options):
        options = {"random_state": 0, "store": tmp_path, **options}
        grid = options.pop("grid", ([20, 30], [0, 1], 1))
        OverfittingStudy(learner, *grid, **options).run(X, y)
        counts.append(len(list(tmp_path.glob("*.parquet"))))
        return counts[-1] - ([0, *counts])[-2]

    assert run(Ridge(1.0)) == 4
    assert run(Ridge(1.0)) == 0
    assert run(Ridge(1.0), grid=([20, 30, 40], [0, 1, 2], 2)) == 18 - 4
    assert run(Ridge(2.0)) == 4
    assert run(Ridge(1.0), random_state=1) == 4
    assert run(Ridge(1.0), nested=False) == 4
    assert run(Ridge(1.0), X=X + 1) == 4
    assert run(Ridge(1.0), y=2 * y) == 4
    assert run(Ridge(1.0), n_draws=2) == 4
    assert run(Ridge(1.0), test_size=10) == 4
    assert run(make_pipeline(StandardScaler(), Ridge(1.0))) == 4
    assert run(LAPLACE, **NUMPY) == 4
    assert run(LaplaceKernel(bandwidth=2.0), **NUMPY) == 4


def test_an_interrupt_leaves_finished_cells(tmp_path, rng):
    X, y = linear(rng, n=100)

    def interrupt(event):
        if event.step == 2:
            raise KeyboardInterrupt

    study = OverfittingStudy(
        Ridge(), [20, 30], [0, 1], 2, store=tmp_path, callbacks=[interrupt]
    )
    with pytest.raises(KeyboardInterrupt):
        study.run(X, y)
    assert len(list(tmp_path.glob("*.parquet"))) == 4


def test_time_runs_out(rng):
    X, y = linear(rng)
    study = OverfittingStudy(Ridge(), [20, 40, 80, 160], [0, 1], 2, max_seconds=1e-9)
    result = study.run(X, y)
    assert not result.complete
    assert len(result.table) == 2
    assert result.verdict.label == "undetermined"
    assert study.run(X, y).table["n"].tolist() == [20, 20]


def test_events(rng):
    X, y = linear(rng)
    events = []
    study = OverfittingStudy(Ridge(), [20, 40], [0, 1], 2, callbacks=[events.append])
    study.run(X, y)
    assert [event.kind for event in events] == ["start", *["step"] * 4, "end"]
    assert [event.step for event in events] == [0, 1, 2, 3, 4, 4]
    assert {event.total for event in events} == {4}
    assert events[1].metrics["n"] == 20


# Results ---------------------------------------------------------------------


def test_saving(tmp_path, rng):
    X, y = linear(rng)
    result = OverfittingStudy(Ridge(), [20, 40, 80], [0, 1], 2).run(X, y)
    for _ in range(2):
        result.save(tmp_path / "study")
    names = sorted(path.name for path in (tmp_path / "study").iterdir())
    assert names == ["study.json", "table.parquet"]
    loaded = StudyResult.load(tmp_path / "study")
    pd.testing.assert_frame_equal(loaded.table, result.table)
    assert isinstance(loaded.verdict, Verdict)
    assert loaded.verdict.to_dict() == result.verdict.to_dict()
    assert loaded.settings == result.settings
    assert loaded.complete
    both = StudyResult(
        table=result.table.assign(stop="early"),
        verdict={"early": result.verdict, "late": result.verdict},
    )
    both.save(tmp_path / "both")
    again = StudyResult.load(tmp_path / "both")
    assert list(again.verdict) == ["early", "late"]
    assert_allclose(again.plot("early").get_lines()[0].get_xdata(), [20, 40, 80])
    with pytest.raises(InvalidInputError, match="name must be one of"):
        again.plot("never")


def test_folders_that_are_no_study(tmp_path, rng):
    result = OverfittingStudy(Ridge(), [20, 40], [0, 1], 2).run(*linear(rng))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(CheckpointError, match=r"thesis\.tex"):
        result.save(tmp_path / "mine")
    (tmp_path / "file").write_text("x")
    with pytest.raises(CheckpointError, match="is a file"):
        result.save(tmp_path / "file")
    with pytest.raises(CheckpointError, match="missing"):
        StudyResult.load(tmp_path / "mine")
    result.save(tmp_path / "study")
    (tmp_path / "study" / "table.parquet").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="damaged"):
        StudyResult.load(tmp_path / "study")
    (tmp_path / "study" / "study.json").write_text("{}")
    with pytest.raises(CheckpointError, match="no study"):
        StudyResult.load(tmp_path / "study")


# Bad input -------------------------------------------------------------------

X = np.random.default_rng(0).normal(size=(50, 2))
Y = X[:, 0]
LABELS = np.arange(50) % 2


@pytest.mark.parametrize(
    ("learner", "grid", "levels", "options", "data", "message"),
    [
        (Ridge(), [10, 41], [0, 1], {}, (X, Y), "must not exceed the 40 rows"),
        (Ridge(), [1, 5], [0, 1], {}, (X, Y), "n_grid must be an integer >= 2"),
        (Ridge(), [2.5], [0, 1], {}, (X, Y), "n_grid must be an integer"),
        (Ridge(), [], [0, 1], {}, (X, Y), "n_grid must hold different"),
        (Ridge(), [5, 5], [0, 1], {}, (X, Y), "n_grid must hold different"),
        (Ridge(), [5], [0, -1], {}, (X, Y), "noise_levels must be"),
        (Ridge(), [5], [0, np.nan], {}, (X, Y), "noise_levels must be"),
        (Ridge(), [5], [1], {}, (X, Y), "at least two levels"),
        (Ridge(), [5], [0, 1], {"n_seeds": 0}, (X, Y), "n_seeds must be"),
        (Ridge(), [5], [0, 1], {"n_draws": 0}, (X, Y), "n_draws must be"),
        (Ridge(), [5], [0, 1], {"task": "both"}, (X, Y), "task must be one of"),
        (Ridge(), [5], [0, 1], {"max_seconds": 0}, (X, Y), "max_seconds must be"),
        (Ridge(), [5], [0, 1], {"test_size": 50}, (X, Y), "test_size must be"),
        (Ridge(), [5], [0, 1], {"test_size": 1.5}, (X, Y), "test_size must be"),
        (Ridge(), [5], [0, 1], {"random_state": "x"}, (X, Y), "random_state must"),
        (Ridge(), [5], [0, 1], {}, (X, Y[:9]), "X must have shape"),
        (Ridge(), [5], [0, 1], {}, (X,), "y must be given"),
        (Ridge(), [5], [0, 1], {}, (X * np.nan, Y), "X must be finite"),
        (Ridge(), [5], [0, 1], {}, (X, Y * np.inf), "y must be finite"),
        (Ridge(), [5], [0, 1], {}, (X * 1j, Y), "X must be real"),
        (Ridge(), [5], [0, 1], {}, (X, 0 * Y), "targets that are constant"),
        (LAPLACE, [5], [0, 0.1], {}, (X, 0 * LABELS), "of one class"),
        (LAPLACE, [5], [0, 0.6], {}, (X, LABELS), "at most 1 - 1/K"),
        (Ridge(), [5], [0, 1], {}, (X, LABELS.astype(str)), "y must be numbers"),
        (Ridge(), [5], [0, 0.1], {"task": "classification"}, (X, LABELS), "regressor"),
        (
            LogisticRegression(),
            [5],
            [0, 1],
            {"task": "regression"},
            (X, Y),
            "is a classifier",
        ),
        (
            Ridge(),
            [5],
            [0, 1],
            {"test_size": 9},
            (sphere_problem(3),),
            "must be None for a problem",
        ),
    ],
)
def test_bad_input(learner, grid, levels, options, data, message):
    with pytest.raises(InvalidInputError, match=message):
        OverfittingStudy(learner, grid, levels, **options).run(*data)


def test_a_store_needs_a_seed_and_names_that_last(tmp_path):
    study = OverfittingStudy(Ridge(), [5], [0, 1], store=tmp_path, random_state=None)
    with pytest.raises(InvalidInputError, match="random_state must be an integer"):
        study.run(X, Y)
    nameless = KNeighborsRegressor(1, metric=lambda a, b: np.abs(a - b).sum())
    study = OverfittingStudy(nameless, [5], [0, 1], store=tmp_path)
    with pytest.raises(InvalidInputError, match="no name that lasts"):
        study.run(X, Y)


def test_predictions_that_are_not_finite():
    class Broken(RegressorMixin, BaseEstimator):
        def fit(self, X, y):
            self.fitted_ = True
            return self

        def predict(self, X):
            return np.full(len(X), np.nan)

    with pytest.raises(DivergenceError, match="not finite"):
        OverfittingStudy(Broken(), [5], [0, 1]).run(X, Y)


@pytest.mark.parametrize(
    "sample",
    [
        lambda n, rng: rng.normal(size=(n, 2)),
        lambda n, rng: (rng.normal(size=(n, 2)), rng.normal(size=(n, 1))),
        lambda n, rng: (rng.normal(size=n), rng.normal(size=n)),
    ],
)
def test_problems_that_return_something_else(sample):
    with pytest.raises(InvalidInputError, match="must return X"):
        OverfittingStudy(Ridge(), [5], [0, 1]).run(Problem(sample=sample))


def test_bad_problems():
    with pytest.raises(InvalidInputError, match="sample must be callable"):
        Problem(sample=3)
    with pytest.raises(InvalidInputError, match="d must be"):
        sphere_problem(1)


@pytest.mark.parametrize(
    ("y", "levels"),
    [
        (np.linspace(-3.0, 3.0, 200), [0.0, 1.515, 3.030]),
        (np.arange(200) % 2 == 0, [0.0, 0.2, 0.4]),
    ],
)
def test_noise_levels_are_chosen_for_the_targets(y, levels):
    X = np.random.default_rng(0).normal(size=(200, 2))
    kernel = LaplaceKernel(bandwidth=1.0)
    study = OverfittingStudy(kernel, [8, 16], n_seeds=1, backend="numpy")
    found = sorted(study.run(X, y).table["noise"].unique())
    np.testing.assert_allclose(found, levels, atol=1e-3)


def test_constant_targets_of_a_problem_get_noise_of_variance_one():
    study = OverfittingStudy(LaplaceKernel(bandwidth=1.0), [8, 16], n_seeds=1)
    table = study.run(sphere_problem(3)).table
    assert sorted(table["noise"].unique()) == [0.0, 0.5, 1.0]
