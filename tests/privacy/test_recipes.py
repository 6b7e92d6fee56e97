"""The experiments: what they claim, and that their criteria can fail."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlmethods.common.recipe import find_recipes, run_recipe
from mlmethods.privacy import VonMisesFisherMechanism
from mlmethods.privacy.recipes import guarantee, utility

NAMES = {
    "privacy-guarantee",
    "privacy-utility",
    "privacy-mia",
    "privacy-reconstruct",
    "privacy-compare",
    "privacy-digits",
}
GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "opacus_accuracy.json"


def test_the_recipes_are_registered_and_one_is_for_the_demo() -> None:
    found = {entry.name: entry for entry in find_recipes("privacy")}
    assert set(found) == NAMES
    shown = [entry for entry in found.values() if entry.demo]
    assert [entry.name for entry in shown] == ["privacy-digits"]
    compile(shown[0].code, "code", "exec")


def test_the_accuracy_of_opacus_is_the_measured_one() -> None:
    measured = json.loads(GOLDEN.read_text(encoding="utf-8"))["test_accuracy"]
    mean = sum(measured) / len(measured)
    assert pytest.approx(mean, abs=5e-4) == utility._OPACUS


def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarantee, "_TRIPLES", 2000)
    monkeypatch.setattr(guarantee, "_BLOCK", 2000)
    monkeypatch.setattr(guarantee, "_RATIO_DIMENSIONS", (3, 10))
    monkeypatch.setitem(guarantee._AUDITS, False, ((3, 1.0, 20_000),))


def test_the_guarantee_holds_on_fewer_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _few(monkeypatch)
    result = run_recipe("privacy-guarantee", out=tmp_path)
    assert result.passed, result.rows
    assert all(
        (tmp_path / "privacy-guarantee" / name).exists() for name in result.figures
    )


def test_a_weaker_mechanism_fails_the_guarantee(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _few(monkeypatch)
    honest = VonMisesFisherMechanism.config

    def leaky(self):
        return honest(VonMisesFisherMechanism(4 * self.kappa))

    monkeypatch.setattr(VonMisesFisherMechanism, "config", leaky)
    assert not run_recipe("privacy-guarantee", out=tmp_path).passed


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", sorted(NAMES - {"privacy-utility"}))
def test_the_quick_experiment_meets_its_criterion(name: str, tmp_path: Path) -> None:
    result = run_recipe(name, out=tmp_path)
    assert result.passed, result.rows
    assert all((tmp_path / name / figure).exists() for figure in result.figures)
