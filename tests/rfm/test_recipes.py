from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata

from mlmethods.common.recipe import find_recipes, run_recipe
from mlmethods.common.result import read_result
from mlmethods.datasets import load_table
from mlmethods.datasets.catalog import KEEL_NAMES, lookup
from mlmethods.errors import DatasetNotFoundError
from mlmethods.rfm.recipes import lowrank, uci

PEERS = ("Laplace kernel", "random forest")


@pytest.fixture
def keel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a data root whose KEEL sets are two tables of one rule."""
    monkeypatch.setenv("MLMETHODS_DATA_DIR", str(tmp_path / "none"))
    monkeypatch.setattr("mlmethods.datasets.locate._CHECKOUT", tmp_path / "none")
    monkeypatch.setattr("platformdirs.user_data_path", lambda *_, **__: tmp_path)
    root = tmp_path / "root"
    (root / "keel").mkdir(parents=True)
    for name, n in (("banana", 120), ("tae", 100)):
        rng = np.random.default_rng(n)
        X = rng.standard_normal((n, 3))
        word = np.where(rng.random(n) < 0.5, "red", "blue")
        lines = [
            f"{row[0]:.4f},{row[1]:.4f},{row[2]:.4f},{color},{int(row[0] > 0)}"
            for row, color in zip(X, word, strict=True)
        ]
        (root / "keel" / f"{name}.dat").write_text("\n".join(lines))
    return root


def test_the_recipes_are_registered_and_one_is_for_the_demo() -> None:
    found = {entry.name: entry for entry in find_recipes("rfm")}
    assert {"rfm-tables", "rfm-lowrank", "rfm-nfa", "rfm-uci"} <= set(found)
    assert found["rfm-tables"].demo
    assert found["rfm-tables"].about
    compile(found["rfm-tables"].code, "code", "exec")


@pytest.mark.parametrize("seed", [0, 1])
def test_the_summary_agrees_with_a_direct_count(seed: int) -> None:
    # Rounded: ties occur, and share their rank.
    values = np.random.default_rng(seed).uniform(0.6, 1, (12, 4)).round(1)
    by_set = pd.DataFrame(values, columns=list("abcd"))
    summary = uci.summarize(by_set).loc[list("abcd")]
    best = values.max(axis=1, keepdims=True)
    np.testing.assert_allclose(summary["accuracy"], values.mean(axis=0))
    np.testing.assert_allclose(summary["PMA"], (values / best).mean(axis=0))
    for name, share in (("P90", 0.9), ("P95", 0.95)):
        reached = (values / best >= share).mean(axis=0)
        np.testing.assert_allclose(summary[name], reached)
    ranks = np.mean([rankdata(-row) for row in values], axis=0)
    np.testing.assert_allclose(summary["rank"], ranks)
    means = uci.summarize(by_set)["accuracy"]
    assert means.is_monotonic_decreasing


def test_uci_without_its_data_names_the_command(keel: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match="make data"):
        run_recipe("rfm-uci", out=keel, backend="numpy", data_root=keel)


def test_uci_takes_the_first_sound_sets_in_order_of_name() -> None:
    sound = [name for name in KEEL_NAMES if lookup(f"keel:{name}").sound]
    assert {"crx", "australian", "ring"}.isdisjoint(sound)
    assert sound == sorted(sound)
    assert list(uci.QUICK_SETS) == [n for n in sound if n in uci.QUICK_SETS]
    assert len(uci.QUICK_SETS) == 20


def test_uci_learns_a_rule_in_every_fold_of_every_set(
    keel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uci, "QUICK_SETS", ("banana", "tae"))
    monkeypatch.setattr(uci, "_UCI_FOLDS", 2)
    monkeypatch.setitem(uci._REGS, False, (0.1,))
    monkeypatch.setitem(uci._TREES, False, 10)
    monkeypatch.setattr(uci, "_UCI_UPDATES", 1)
    result = run_recipe("rfm-uci", out=tmp_path, backend="numpy", data_root=keel)
    folder = tmp_path / "rfm-uci"
    assert read_result(folder / "result.json") == result
    folds = pd.read_csv(folder / "folds.csv")
    assert set(folds["dataset"]) == {"banana", "tae"}
    assert (folds.groupby(["dataset", "method"]).size() == 2).all()
    means = folds.groupby("method")["accuracy"].mean()
    assert len(means) == 7
    assert result.values["rfm_accuracy_paper_protocol"] == pytest.approx(
        means["RFM, paper's protocol"]
    )
    # The class is the sign of one column.
    assert means["RFM"] > 0.8
    assert result.values["rfm_accuracy"] == pytest.approx(means["RFM"])
    for row, peer, slack in zip(result.rows, PEERS, (0.005, 0.01), strict=True):
        assert row.passed == (means["RFM"] >= means[peer] - slack)
    assert (folder / "accuracy.svg").exists()


def test_the_search_never_sees_a_test_row(monkeypatch: pytest.MonkeyPatch) -> None:
    table = load_table("iris")
    y = np.unique(table.y, return_inverse=True)[1]
    problem = uci._Problem("iris", table.X, y)
    seen = []

    class Spy:
        settings = ""

        def score(self, X, y) -> float:
            trained = seen[-1]
            assert trained.isdisjoint(X.index)
            assert len(trained) + len(X) == len(table.X)
            return 1.0

    def search(X, y, fitted, held):
        seen.append(set(X.index))
        assert set(fitted).isdisjoint(held)
        assert set(fitted) | set(held) == set(range(len(X)))
        chosen = Spy()
        chosen.model = chosen
        return chosen

    monkeypatch.setattr(uci, "_searches", lambda X, context: {"spy": search})
    monkeypatch.setattr(uci, "_search_with_leak", lambda problem, context: search)
    context = type("Context", (), {"seed": 0, "full": False})()
    rows = list(uci._classify(problem, context))
    assert [row["fold"] for row in rows] == [0, 0, 1, 1, 2, 2, 3, 3]
    tested = set(range(len(y))) - set.intersection(*seen)
    assert tested == set(range(len(y)))


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["numpy", "jax"])
@pytest.mark.parametrize("name", ["rfm-tables", "rfm-lowrank"])
def test_the_quick_experiment_meets_its_criterion(
    name: str, backend: str, tmp_path: Path
) -> None:
    result = run_recipe(name, out=tmp_path, backend=backend)
    assert result.passed, result.rows
    assert all((tmp_path / name / figure).exists() for figure in result.figures)


def test_lowrank_improves_update_by_update_on_fewer_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(lowrank._LOWRANK_ROWS, False, 500)
    result = run_recipe("rfm-lowrank", out=tmp_path, backend="numpy")
    errors = [result.values[f"mse_{update}"] for update in range(6)]
    assert errors[5] < errors[1] < errors[0]
    assert result.values["gain"] == pytest.approx(errors[0] / errors[5])
    factor, support = result.rows
    assert factor.passed == (errors[0] >= 2.5 * errors[5])
    assert support.ours == "0, 1, 5"
    # Target variance: E[x0^2 x1^2] / 2 with x ~ N(0, 1/4).
    assert errors[0] < 1 / 32


@pytest.mark.slow
def test_weights_of_a_network_correlate_with_its_gradients(tmp_path: Path) -> None:
    result = run_recipe("rfm-nfa", out=tmp_path, seed=1)
    assert result.passed
    table = pd.read_csv(tmp_path / "rfm-nfa" / "correlations.csv")
    assert table["layer"].nunique() == 6
    assert set(table["power"]) == {0.5, 1.0}
