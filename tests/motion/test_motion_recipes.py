"""The experiments: what they claim, and that their criteria can fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlmethods.common.recipe import find_recipes, run_recipe
from mlmethods.errors import DatasetNotFoundError
from mlmethods.motion import metrics
from mlmethods.motion.recipes import definitions, sessions

NAMES = {
    "motion-metrics",
    "motion-primseq-table",
    "motion-sessions",
    "motion-overcount",
    "motion-counts",
    "motion-intervals",
    "motion-impairment",
    "motion-strokerehab",
    "motion-tas",
}


def test_the_recipes_are_registered_and_one_is_for_the_demo() -> None:
    found = {entry.name: entry for entry in find_recipes("motion")}
    assert set(found) == NAMES
    shown = [entry for entry in found.values() if entry.demo]
    assert [entry.name for entry in shown] == ["motion-sessions"]
    compile(shown[0].code, "code", "exec")


def test_the_published_rates_follow_from_the_published_counts(tmp_path: Path) -> None:
    result = run_recipe("motion-primseq-table", out=tmp_path)
    assert result.passed, result.rows


def test_the_definitions_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(definitions, "_PAIRS", 50)
    result = run_recipe("motion-metrics", out=tmp_path)
    assert result.passed, result.rows


def test_a_distance_without_substitutions_fails_the_definitions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(definitions, "_PAIRS", 50)
    monkeypatch.setattr(
        metrics,
        "action_error_rate",
        lambda truth, pred: metrics.levenshtein(truth, pred, 2) / len(truth),
    )
    result = run_recipe("motion-metrics", out=tmp_path)
    assert not result.passed


def test_the_demo_on_fewer_sessions_draws_a_timeline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlmethods.motion.recipes._shared import watch_parts

    monkeypatch.setattr(
        sessions, "watch_parts", lambda seed, **_: watch_parts(seed, sessions=1)
    )
    result = run_recipe("motion-sessions", out=tmp_path)
    assert result.figures
    assert all(
        (tmp_path / "motion-sessions" / name).exists() for name in result.figures
    )
    numbers = result.values
    assert numbers["raw_aer"] > numbers["smoothed_aer"]


@pytest.mark.parametrize("name", ["motion-strokerehab", "motion-tas"])
def test_data_that_are_missing_are_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError):
        run_recipe(name, out=tmp_path, data_root=tmp_path)
