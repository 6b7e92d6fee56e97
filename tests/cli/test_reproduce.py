from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from mlmethods.common.result import read_result

pytestmark = pytest.mark.usefixtures("tiny_method")


def test_a_met_criterion_ends_with_zero_and_its_files(invoke, tmp_path: Path) -> None:
    run = invoke("reproduce", "tiny-pi", "--backend", "numpy", "--out", tmp_path / "r")
    assert run.exit_code == 0, run.output
    assert "✓ holds" in run.stdout
    assert "within 0.05" in run.stdout
    result = read_result(tmp_path / "r" / "tiny-pi" / "result.json")
    assert result.passed
    assert result.backend == "numpy"
    assert result.dtype == "float64"
    assert result.mode == "quick"
    assert result.values["pi"] == pytest.approx(math.pi, abs=0.05)
    for name in (*result.figures, *result.data):
        assert (tmp_path / "r" / "tiny-pi" / name).stat().st_size > 0
    page = (tmp_path / "r" / "index.html").read_text()
    assert "Random points find pi" in page


def test_the_same_seed_gives_the_same_numbers_and_full_is_larger(invoke) -> None:
    def pi(*extra: object) -> float:
        run = invoke(
            "reproduce", "tiny-pi", "--backend", "numpy", "--json", "--out", "r", *extra
        )
        assert run.exit_code == 0, run.output
        (result,) = json.loads(run.stdout)
        return result["values"]["pi"]

    first = pi("--seed", 5)
    assert pi("--seed", 5, "--quick") == first
    assert pi("--seed", 6) != first
    assert abs(pi("--seed", 5, "--full") - math.pi) < 0.02


@pytest.mark.parametrize(
    ("name", "code", "sentence"),
    [
        ("tiny-wrong", 1, "tiny-wrong: the criterion is not met"),
        ("tiny-missing", 3, "dataset 'atlantis' is not here"),
        ("tiny-defect", 1, "ZeroDivisionError"),
        ("tiny-pie", 2, "did you mean 'tiny-pi'?"),
    ],
)
def test_exit_codes(invoke, name: str, code: int, sentence: str) -> None:
    run = invoke("reproduce", name, "--backend", "numpy")
    assert run.exit_code == code, run.output
    assert sentence in run.stderr
    # A traceback is for defects; a user can act on the rest.
    assert ("Traceback" in run.stderr) == (name == "tiny-defect")


def test_a_method_runs_all_of_its_experiments_and_the_largest_code_wins(
    invoke, tmp_path: Path
) -> None:
    run = invoke("reproduce", "tiny", "--backend", "numpy", "--out", "r")
    assert run.exit_code == 3, run.output
    page = (tmp_path / "r" / "index.html").read_text()
    for part in ("1 of 2 criteria met", "2 not run here", "atlantis", "tiny-wrong"):
        assert part in page


def test_list_shows_every_experiment(invoke) -> None:
    run = invoke("reproduce", "--list", "--json")
    names = [entry["name"] for entry in json.loads(run.stdout)]
    assert names == ["tiny-pi", "tiny-wrong", "tiny-missing", "tiny-defect"]
    assert "pi is 3 to two digits" in invoke("reproduce", "--list").stdout


@pytest.mark.parametrize("arguments", [(), ("tiny-pi", "--all"), ("--list", "--all")])
def test_reproduce_wants_exactly_one_of_its_forms(invoke, arguments) -> None:
    run = invoke("reproduce", *arguments)
    assert run.exit_code == 2
    assert "give one of NAME" in run.stderr


def test_demo_runs_the_marked_experiments_only(invoke, tmp_path: Path) -> None:
    run = invoke("demo", "--backend", "numpy", "--out", "page")
    assert run.exit_code == 0, run.output
    assert f"The page is {tmp_path / 'page' / 'index.html'}" in run.stdout
    page = (tmp_path / "page" / "index.html").read_text()
    assert 'id="tiny-pi"' in page
    assert "tiny-wrong" not in page
    assert "default_rng" in page


def test_an_interrupt_ends_with_130(invoke, monkeypatch) -> None:
    from mlmethods.common import suite

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(suite, "run_recipe", interrupted)
    run = invoke("reproduce", "tiny-pi", "--backend", "numpy")
    assert run.exit_code == 130
    assert "interrupted" in run.stderr
