from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd
import pytest

from mlmethods.common import methods
from mlmethods.common import recipe as recipe_module
from mlmethods.common.plotting import new_figure
from mlmethods.common.recipe import (
    find_recipes,
    list_recipes,
    recipe,
    run_recipe,
)
from mlmethods.common.result import read_result
from mlmethods.errors import ConfigError, DataFormatError, InvalidInputError

TEXTS = {"title": "t", "claim": "c", "source": "s", "criterion": "k"}


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> dict:
    """Start from no recipe, and two methods whose packages have no recipes module."""
    table = tuple(
        methods.Method(name=name, title=name, package="email", paper="", url="")
        for name in ("second", "first")
    )
    monkeypatch.setattr(methods, "METHODS", table)
    monkeypatch.setattr(recipe_module, "_registry", {})
    return recipe_module._registry


def register(name: str, function=None):
    def passes(context):
        """Do nothing.

        At length.
        """
        context.check(claim="c", published=1, ours="1", tolerance_text="", passed=True)

    recipe(name, **TEXTS)(function or passes)


def run(tmp_path: Path, **settings):
    return run_recipe("first-one", out=tmp_path, backend="numpy", **settings)


def test_everything_that_a_recipe_reports_is_in_the_result(tmp_path: Path) -> None:
    events = []

    def reports(context):
        """Report everything."""
        assert context.backend == "numpy"
        assert context.dtype == "auto"
        assert context.data_root == Path("/data")
        context.progress(1, 2, loss=0.5)
        context.progress(2, 2)
        context.figure(new_figure()[0], "plot")
        context.table(pd.DataFrame({"a": [1, 2]}), "plain")
        context.table(
            pd.DataFrame({"a": [1]}, index=pd.Index([5], name="row")), "named"
        )
        context.value(accuracy=0.75, gap=float("nan"))
        context.note("scaled down")
        for passed in (True, False):
            context.check(
                claim="c",
                published=0.123456,
                ours="2 x",
                tolerance_text="t",
                passed=passed,
            )

    register("first-one", reports)
    result = run(tmp_path, seed=3, full=True, data_root="/data", callback=events.append)
    assert not result.passed
    assert (result.mode, result.seed, result.backend) == ("full", 3, "numpy")
    assert (result.dtype, result.device) == ("float64", "cpu:0")
    assert result.experiment == "Report everything."
    assert result.seconds > 0
    assert result.figures == ("plot.png", "plot.svg")
    assert (result.rows[0].published, result.rows[0].ours) == ("0.1235", "2 x")
    assert [event.kind for event in events] == ["step", "end"]
    assert events[0].metrics == {"loss": 0.5}
    folder = tmp_path / "first-one"
    assert (folder / "plain.csv").read_text() == "a\n1\n2\n"
    assert (folder / "named.csv").read_text() == "row,a\n5,1\n"
    stored = read_result(folder / "result.json")
    assert math.isnan(stored.values.pop("gap"))
    assert math.isnan(result.values.pop("gap"))
    assert stored == result


def test_result_json_has_the_documented_fields(tmp_path: Path) -> None:
    register("first-one")
    run(tmp_path)
    document = json.loads((tmp_path / "first-one" / "result.json").read_text())
    assert document["schema"] == 1
    documented = """name mode seed criterion values passed seconds versions backend
        device dtype rows figures data notes"""
    assert set(documented.split()) <= set(document)
    assert document["rows"][0] == {
        "claim": "c",
        "published": "1",
        "ours": "1",
        "tolerance": "",
        "passed": True,
    }


def test_a_second_run_replaces_the_files_of_the_first(tmp_path: Path) -> None:
    counts = iter([2, 1])

    def shrinking(context):
        """Write fewer tables each time."""
        for number in range(next(counts)):
            context.table(pd.DataFrame({"a": [1]}), f"table{number}")
        context.check(claim="", published="", ours="", tolerance_text="", passed=True)

    register("first-one", shrinking)
    run(tmp_path)
    (tmp_path / "first-one" / "mine.txt").write_text("kept")
    run(tmp_path)
    names = sorted(path.name for path in (tmp_path / "first-one").iterdir())
    assert names == ["mine.txt", "result.json", "table0.csv"]


def test_a_run_that_fails_leaves_no_result_of_an_earlier_one(tmp_path: Path) -> None:
    register("first-one")
    run(tmp_path)

    def fails(context):
        """Fail."""
        raise RuntimeError("broken")

    register("first-one", fails)
    with pytest.raises(RuntimeError, match="broken"):
        run(tmp_path)
    assert not (tmp_path / "first-one" / "result.json").exists()


def test_a_precision_that_the_recipe_chose_is_reported(tmp_path: Path) -> None:
    def narrow(context):
        """Choose."""
        context.dtype = "float32"
        context.check(claim="", published="", ours="", tolerance_text="", passed=True)

    register("first-one", narrow)
    assert run(tmp_path).dtype == "float32"


def test_a_run_without_a_check_shows_nothing(tmp_path: Path) -> None:
    def idle(context):
        """Do nothing."""

    register("first-one", idle)
    with pytest.raises(ConfigError, match="'first-one' ended without a check"):
        run(tmp_path)


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden"])
def test_files_stay_in_the_folder_of_the_recipe(tmp_path: Path, name: str) -> None:
    def escapes(context):
        """Write elsewhere."""
        context.table(pd.DataFrame({"a": [1]}), name)

    register("first-one", escapes)
    with pytest.raises(InvalidInputError, match="must be a file name"):
        run(tmp_path)


def test_recipes_are_found_by_name_and_by_method_in_table_order() -> None:
    for name in ("first-one", "second-a", "first-two", "third-unknown"):
        register(name)
    assert [entry.name for entry in list_recipes()] == (
        ["second-a", "first-one", "first-two"]
    )
    assert [e.name for e in find_recipes("first")] == ["first-one", "first-two"]
    assert [e.name for e in find_recipes("second-a")] == ["second-a"]
    with pytest.raises(InvalidInputError, match="did you mean 'first-two'"):
        find_recipes("first-tow")
    with pytest.raises(InvalidInputError, match="is a method"):
        run_recipe("first", out=".", backend="numpy")


@pytest.mark.parametrize("name", ["one", "First-one", "first_one", "first-", "-one"])
def test_malformed_names_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="named <method>-<experiment>"):
        register(name)


def test_a_name_is_taken_once_and_a_docstring_is_required() -> None:
    register("first-one")

    def elsewhere(context):
        """Clash."""

    elsewhere.__module__ = "another.package"
    with pytest.raises(ConfigError, match="already defined in"):
        register("first-one", elsewhere)
    with pytest.raises(ConfigError, match="needs a docstring"):
        register("first-two", lambda context: None)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema": 1}', '{"schema": 1, "rows": [{"x": 1}]}']
)
def test_other_files_are_no_results(tmp_path: Path, text: str) -> None:
    path = tmp_path / "result.json"
    path.write_text(text)
    with pytest.raises(DataFormatError, match="is not the result of a recipe"):
        read_result(path)


def test_a_result_of_another_schema_is_refused(tmp_path: Path) -> None:
    register("first-one")
    run(tmp_path)
    path = tmp_path / "first-one" / "result.json"
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 2'))
    with pytest.raises(DataFormatError, match="schema 2, this version reads 1"):
        read_result(path)
