"""Verdict and spectrum of a table, through the NumPy backend."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

RUN = ("--target", "y", "--backend", "numpy", "--bandwidth", "median")


@pytest.fixture
def table(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Write a table whose target is a wave with much noise."""
    frame = pd.DataFrame(rng.normal(size=(200, 3)), columns=["x0", "x1", "x2"])
    frame["y"] = np.sin(2 * frame["x0"]) + rng.normal(size=200)
    frame["kind"] = np.where(frame["x1"] > 0, "up", "down")
    path = tmp_path / "table.csv"
    frame.to_csv(path, index=False)
    return path


@pytest.mark.filterwarnings("ignore::mlmethods.errors.EffectiveRidgeWarning")
def test_a_gaussian_kernel_costs_more_with_every_row(invoke, table: Path) -> None:
    run = invoke(
        *("overfitting", "verdict", table, "--kernel", "gaussian", "--drop", "kind"),
        *RUN,
    )
    assert run.exit_code == 0, run.output
    assert run.stdout.startswith("catastrophic: E0 = ")
    assert "All 200 rows: E0" in run.stdout
    assert "best with reg" in run.stdout


def test_the_ridges_are_those_of_the_path(invoke, table: Path) -> None:
    run = invoke(
        *("overfitting", "verdict", table, "--drop", "kind", "--json", "--seeds", "3"),
        *RUN,
    )
    assert run.exit_code == 0, run.output
    found = json.loads(run.stdout)
    assert found["rows"] == 200
    assert found["verdict"]["task"] == "regression"
    assert found["verdict"]["label"] in ("tempered", "undetermined")
    # Noise of variance one is fitted exactly, or not.
    assert found["best_loo_error"] < found["target_cost_loo_error"] < 1.6
    assert found["best_loo_error"] < found["loo_error"]
    from mlmethods.kernels import KernelRidge

    frame = pd.read_csv(table).drop(columns="kind")
    X = frame[["x0", "x1", "x2"]]
    X = ((X - X.mean()) / X.std(ddof=0)).to_numpy()
    y = frame["y"].to_numpy() - frame["y"].mean()
    settings = {"bandwidth": "median", "backend": "numpy"}
    model = KernelRidge("laplace", reg=found["best_reg"], **settings).fit(X, y)
    error = float((model.loo_residuals_**2).mean())
    assert error == pytest.approx(found["best_loo_error"], rel=1e-6)


def test_classes_are_targets_too(invoke, table: Path) -> None:
    run = invoke(
        *("overfitting", "verdict", table, "--target", "kind", "--drop", "y"),
        *("--backend", "numpy", "--kernel", "laplace", "--reg", "1", "--rows", "128"),
    )
    assert run.exit_code == 0, run.output
    assert "All 128 rows" in run.stdout
    assert "with reg 1:" in run.stdout


def test_the_spectrum_is_written_and_drawn(invoke, table: Path, tmp_path) -> None:
    run = invoke(
        *("overfitting", "spectrum", table, "--drop", "kind", "--json"),
        *("--out", tmp_path / "s.csv", "--figure", tmp_path / "s.png"),
        *RUN,
    )
    assert run.exit_code == 0, run.output
    summary = json.loads(run.stdout)
    low, high = summary["interval"]
    assert low < summary["exponent"] < high
    values = pd.read_csv(tmp_path / "s.csv")["eigenvalue"]
    assert len(values) == 200
    # The trace of a kernel that is 1 on its diagonal.
    assert values.sum() == pytest.approx(1.0)
    assert (tmp_path / "s.png").stat().st_size > 1000
    assert (tmp_path / "s.svg").exists()
    spoken = invoke("overfitting", "spectrum", table, "--drop", "kind", *RUN)
    assert spoken.stdout.startswith("eigenvalues fall as i^-")


@pytest.mark.parametrize(
    ("arguments", "code", "fragment"),
    [
        (("verdict", "none.csv", "--target", "y"), 2, "none.csv"),
        (("verdict", "TABLE", "--target", "z"), 2, "lacks the columns 'z'"),
        (("verdict", "TABLE", "--target", "y"), 2, "--drop kind"),
        (("verdict", "TABLE", *RUN, "--drop", "kind", "--reg", "-1"), 2, "reg must be"),
        (("verdict", "TABLE", *RUN, "--drop", "kind", "--kernel", "x"), 2, "kernel"),
        (("spectrum", "TABLE", *RUN[:4], "--bandwidth", "wide"), 2, "wide"),
    ],
)
def test_a_mistake_is_one_sentence(invoke, table, arguments, code, fragment) -> None:
    run = invoke(
        "overfitting", *(table if word == "TABLE" else word for word in arguments)
    )
    assert run.exit_code == code
    assert fragment in run.output
    assert "Traceback" not in run.output
