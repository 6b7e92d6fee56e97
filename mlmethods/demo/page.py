"""Run the experiments that are marked for the demonstration and show them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlmethods.common.recipe import list_recipes
from mlmethods.common.suite import Outcome, run_suite, write_index

__all__ = ["build_demo"]

_TITLE = "Research methods, running"
_LEAD = (
    "Each panel is one method of the library at work: a small experiment on this "
    "machine, its figure, its number beside the published or a peer's number, and "
    "whether the criterion that was fixed beforehand is met."
)


def build_demo(out: str | Path, **settings: Any) -> tuple[Path, list[Outcome]]:
    """Run the quick mode of every recipe with ``demo=True`` and write the page.

    Parameters
    ----------
    out : path-like
        Where ``index.html`` and the files of the recipes go.
    **settings
        The keywords of :func:`mlmethods.common.suite.run_suite`.

    Returns
    -------
    page : pathlib.Path
        The page.
    outcomes : list of Outcome
        How each experiment ended.
    """
    recipes = [entry for entry in list_recipes() if entry.demo]
    outcomes = run_suite(recipes, out=out, **settings)
    return write_index(out, outcomes, title=_TITLE, lead=_LEAD), outcomes
