"""Fit, predict and explain from files, through the NumPy backend."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest


@pytest.fixture
def tables(tmp_path: Path, rng: np.random.Generator) -> tuple[Path, Path]:
    """Write a training and a test table: y depends on x1 alone, `kind` on its sign."""
    frame = pd.DataFrame(rng.normal(size=(160, 3)), columns=["x0", "x1", "x2"])
    frame["y"] = np.sin(2 * frame["x1"])
    frame["kind"] = np.where(frame["x1"] > 0, "up", "down")
    frame["id"] = [f"row{number}" for number in range(len(frame))]
    train, test = tmp_path / "train.csv", tmp_path / "test.csv"
    frame.iloc[:120].to_csv(train, index=False)
    # Reversed rows and shuffled columns: names decide, not positions.
    frame.iloc[:119:-1][["id", "kind", "x2", "y", "x0", "x1"]].to_csv(test, index=False)
    return train, test


FIT = ("--backend", "numpy", "--index", "id", "--n-iter", "2")


def test_regression_predicts_each_row_under_its_own_name(
    invoke, tables, tmp_path: Path
) -> None:
    train, test = tables
    run = invoke(
        "rfm", "fit", train, "--target", "y", "--drop", "kind", "--out", "model", *FIT
    )
    assert run.exit_code == 0, run.output
    assert "RFMRegressor fitted on 120 rows and 3 columns" in run.stdout
    run = invoke("rfm", "predict", "model", test, "--index", "id", "--out", "p.csv")
    assert run.exit_code == 0, run.output
    predictions = pd.read_csv(tmp_path / "p.csv", index_col="id")["prediction"]
    truth = pd.read_csv(test, index_col="id")["y"]
    assert predictions.index.tolist() == truth.index.tolist()
    error = ((predictions - truth) ** 2).mean() / truth.var()
    assert error < 0.2
    ranked = json.loads(invoke("rfm", "importance", "model", "--json").stdout)
    assert ranked[0]["column"] == "x1"
    assert {entry["column"] for entry in ranked} == {"x0", "x1", "x2"}
    assert "x1" in invoke("rfm", "importance", "model").stdout.splitlines()[3]


def test_classification_gives_labels_and_probabilities(
    invoke, tables, tmp_path: Path
) -> None:
    train, test = tables
    run = invoke(
        *("rfm", "fit", train, "--target", "kind", "--drop", "y", "--out", "model"),
        *("--json", "--seed", "3", *FIT),
    )
    assert run.exit_code == 0, run.output
    assert json.loads(run.stdout)["task"] == "classification"
    invoke("rfm", "predict", "model", test, "--index", "id", "--out", "p.csv")
    table = pd.read_csv(tmp_path / "p.csv", index_col="id")
    truth = pd.read_csv(test, index_col="id")["kind"]
    assert (table["prediction"] == truth).mean() > 0.85
    shares = table[["probability_down", "probability_up"]]
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-6)
    likeliest = shares.idxmax(axis=1).str.removeprefix("probability_")
    assert (likeliest == table["prediction"]).all()


def test_a_table_without_names_keeps_its_row_numbers(
    invoke, tables, tmp_path: Path
) -> None:
    train, _ = tables
    text = ("--drop", "kind", "--drop", "id", "--backend", "numpy", "--n-iter", "0")
    invoke("rfm", "fit", train, "--target", "y", "--out", "model", *text)
    invoke("rfm", "predict", "model", train, "--out", "p.csv")
    table = pd.read_csv(tmp_path / "p.csv")
    assert table.columns.tolist() == ["index", "prediction"]
    assert table["index"].tolist() == list(range(120))


def test_the_saved_model_is_an_estimator_of_the_library(invoke, tables) -> None:
    import mlmethods

    train, _ = tables
    invoke(
        "rfm", "fit", train, "--target", "y", "--drop", "kind", "--out", "model", *FIT
    )
    model = mlmethods.load("model/model")
    assert type(model).__name__ == "RFMRegressor"
    assert model.get_params()["n_iter"] == 2
    assert list(model.feature_names_in_) == ["x0", "x1", "x2"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--target", "z"), "lacks the columns 'z'"),
        (("--target", "y", *FIT), "column 'kind' of"),
        (
            ("--target", "y", "--drop", "kind", "--bandwidth", "wide", *FIT),
            "nor median",
        ),
        (("--target", "y", "--drop", "kind", "--reg", "-1", *FIT), "reg must be"),
    ],
)
def test_mistakes_end_with_two_and_write_nothing(
    invoke, tables, tmp_path: Path, arguments, sentence: str
) -> None:
    run = invoke("rfm", "fit", tables[0], "--out", "model", *arguments)
    assert run.exit_code == 2, run.output
    assert sentence in run.stderr
    assert not (tmp_path / "model").exists()


def test_a_folder_of_other_things_is_not_replaced(invoke, tables, tmp_path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "a.tex").write_text("")
    run = invoke("rfm", "fit", tables[0], "--target", "y", "--out", "thesis")
    assert run.exit_code == 2
    assert "is not replaced" in run.stderr
    run = invoke("rfm", "importance", "thesis")
    assert run.exit_code == 2
    assert "not written by 'mlmethods rfm fit'" in run.stderr
