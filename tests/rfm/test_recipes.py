from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from mlmethods.common.recipe import find_recipes, run_recipe
from mlmethods.rfm.recipes import lowrank


def test_the_recipes_are_registered_and_one_is_for_the_demo() -> None:
    found = {entry.name: entry for entry in find_recipes("rfm")}
    assert {
        "rfm-tables",
        "rfm-lowrank",
        "rfm-nfa",
        "rfm-uci",
        "rfm-svhn",
        "rfm-celeba",
    } <= set(found)
    assert found["rfm-tables"].demo
    assert found["rfm-tables"].about
    compile(found["rfm-tables"].code, "code", "exec")


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
