"""Datasets from the command line, on those that scikit-learn ships."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from sklearn.datasets import load_iris


def test_the_bundled_sets_are_listed(invoke) -> None:
    run = invoke("data", "list", "--json")
    assert run.exit_code == 0, run.output
    assert {"iris", "digits"} <= {entry["name"] for entry in json.loads(run.stdout)}
    assert "iris" in invoke("data", "list").stdout


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_is_converted_with_the_target_last(
    invoke, tmp_path: Path, suffix: str
) -> None:
    run = invoke("data", "convert", "iris", f"iris{suffix}", "--json")
    assert run.exit_code == 0, run.output
    assert json.loads(run.stdout)["rows"] == 150
    path = tmp_path / f"iris{suffix}"
    frame = pd.read_csv(path) if suffix == ".csv" else pd.read_parquet(path)
    assert frame.shape == (150, 5)
    assert (frame.iloc[:, :4].to_numpy() == load_iris().data).all()
    assert frame.iloc[:, 4].nunique() == 3


def test_other_formats_and_missing_sets_have_their_exit_codes(invoke) -> None:
    run = invoke("data", "convert", "iris", "iris.xlsx")
    assert run.exit_code == 2
    assert "must end in .csv or .parquet" in run.stderr
    run = invoke("data", "path", "atlantis")
    assert run.exit_code in (2, 3)
    assert "atlantis" in run.stderr
    assert "Traceback" not in run.stderr


def test_what_comes_with_packages_is_whole(invoke, monkeypatch, tmp_path) -> None:
    # What `make data` fetched is not ours to judge here.
    monkeypatch.setenv("MLMETHODS_DATA_DIR", str(tmp_path))
    monkeypatch.setattr("mlmethods.datasets.locate._CHECKOUT", tmp_path)
    assert invoke("data", "check").exit_code == 0
