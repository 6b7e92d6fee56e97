"""The experiments: what they claim, and that their criteria can fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlmethods.common.recipe import find_recipes, run_recipe
from mlmethods.overfitting.recipes import anchors, images, sphere, theory

NAMES = {
    "overfitting-trichotomy",
    "overfitting-ridge-cost-law",
    "overfitting-sphere-kernels",
    "overfitting-jitter-flip",
    "overfitting-eigen-vs-empirical",
    "overfitting-mnist-noise-profile",
    "overfitting-fashion-krr",
    "overfitting-dnn-interpolation",
    "overfitting-knn-anchors",
}


def test_the_recipes_are_registered_and_one_is_for_the_demo() -> None:
    found = {entry.name: entry for entry in find_recipes("overfitting")}
    assert set(found) == NAMES
    shown = [entry for entry in found.values() if entry.demo]
    assert [entry.name for entry in shown] == ["overfitting-mnist-noise-profile"]
    compile(shown[0].code, "code", "exec")


@pytest.mark.slow
def test_theory_has_its_three_kinds_with_fewer_modes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(theory, "_MODES", 2_000_000)
    result = run_recipe("overfitting-trichotomy", out=tmp_path, backend="numpy")
    passed = {row.claim: row.passed for row in result.rows}
    assert all(passed.values()), passed
    assert result.values["power_2.0_e0"] == pytest.approx(2, rel=0.01)


def test_a_spectrum_cut_too_early_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With fewer modes than rows the tail, a ridge, does what the modes should do.
    monkeypatch.setattr(theory, "_MODES", 20_000)
    result = run_recipe("overfitting-trichotomy", out=tmp_path, backend="numpy")
    assert not result.passed


def test_the_cost_law_holds(tmp_path: Path) -> None:
    result = run_recipe("overfitting-ridge-cost-law", out=tmp_path, backend="numpy")
    assert result.passed, result.rows
    assert (tmp_path / "overfitting-ridge-cost-law" / "law.png").exists()


def test_predictions_match_measurements_on_fewer_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sphere._PREDICTED, False, ((6,), (128, 256), 3))
    run = run_recipe("overfitting-eigen-vs-empirical", out=tmp_path, backend="numpy")
    assert run.passed, run.rows


def test_neighbors_on_one_dimension(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(anchors, "_DIMENSIONS", (2,))
    monkeypatch.setattr(anchors, "_SIZES", (64, 128, 256, 512, 1024))
    result = run_recipe("overfitting-knn-anchors", out=tmp_path, backend="numpy")
    assert result.values["one_neighbor_e0_2"] == pytest.approx(2, abs=0.1)
    assert [row.passed for row in result.rows[1:]] == [True] * 3


@pytest.mark.slow
def test_the_profile_of_few_digits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLMETHODS_DATA_DIR", str(tmp_path))
    monkeypatch.setitem(images._ROWS, False, 150)
    monkeypatch.setattr(images, "_TEST_ROWS", 150)
    monkeypatch.setattr(images, "_DRAWS", 2)
    run = run_recipe("overfitting-mnist-noise-profile", out=tmp_path, backend="numpy")
    assert run.values["laplace_tau"] < run.values["gaussian_1_tau"]
    assert run.values["laplace_error_0.0"] < run.values["laplace_error_0.4"]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", sorted(NAMES - {"overfitting-fashion-krr"}))
def test_the_quick_experiment_meets_its_criterion(name: str, tmp_path: Path) -> None:
    result = run_recipe(name, out=tmp_path)
    assert result.passed, result.rows
    assert all((tmp_path / name / figure).exists() for figure in result.figures)
