"""Several experiments in one go, and the page that shows them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlmethods.common import methods
from mlmethods.common.machine import machine, versions
from mlmethods.common.recipe import Recipe, run_recipe
from mlmethods.common.report import Panel, panel_from_result, write_page
from mlmethods.common.result import RecipeResult
from mlmethods.errors import MLMethodsError

__all__ = ["Outcome", "run_suite", "write_index"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one experiment ended: with a result, or with an error.

    Attributes
    ----------
    recipe : Recipe
        What was run.
    result : RecipeResult or None
        What it found.
    error : Exception or None
        Why it found nothing.
    """

    recipe: Recipe
    result: RecipeResult | None = None
    error: Exception | None = None

    @property
    def problem(self) -> str:
        """Why there is no result, in one sentence; empty where there is one."""
        if self.error is None:
            return ""
        text = " ".join(str(self.error).split())
        known = isinstance(self.error, MLMethodsError)
        return text if known else f"{type(self.error).__name__}: {text}"


def run_suite(
    recipes: Sequence[Recipe],
    *,
    on_outcome: Callable[[Outcome], None] | None = None,
    **settings: Any,
) -> list[Outcome]:
    """Run every recipe, whether or not the ones before it succeeded.

    Parameters
    ----------
    recipes : sequence of Recipe
        In order.
    on_outcome : callable or None
        Called after each.
    **settings
        The keywords of :func:`mlmethods.common.recipe.run_recipe`.
    """
    outcomes = []
    for entry in recipes:
        try:
            outcome = Outcome(recipe=entry, result=run_recipe(entry, **settings))
        except Exception as error:
            outcome = Outcome(recipe=entry, error=error)
        outcomes.append(outcome)
        if on_outcome is not None:
            on_outcome(outcome)
    return outcomes


def write_index(
    out: str | Path, outcomes: Sequence[Outcome], *, title: str, lead: str
) -> Path:
    """Write ``out/index.html`` with one panel for each outcome.

    Parameters
    ----------
    out : path-like
        The folder that the recipes wrote to.
    outcomes : sequence of Outcome
        From top to bottom.
    title, lead : str
        Headline of the page and the sentence below it.
    """
    here = machine()
    facts = [
        ("machine", f"{here['processor']}, {here['cores']} cores, {here['system']}"),
        *(item for item in versions(["mlmethods", "numpy", "jax"]).items()),
    ]
    panels = [_panel(outcome, Path(out)) for outcome in outcomes]
    return write_page(
        Path(out, "index.html"), title=title, lead=lead, panels=panels, facts=facts
    )


def _panel(outcome: Outcome, out: Path) -> Panel:
    entry = outcome.recipe
    method = next(
        (m for m in methods.METHODS if m.name == entry.name.partition("-")[0]), None
    )
    kicker = method.title if method else ""
    url = method.url if method else ""
    if outcome.result is not None:
        return panel_from_result(
            outcome.result,
            out / entry.name,
            kicker=kicker,
            about=entry.about,
            url=url,
            code=entry.code,
        )
    return Panel(
        anchor=entry.name,
        title=entry.title,
        kicker=kicker,
        about=entry.about,
        experiment=entry.experiment,
        claim=entry.claim,
        source=entry.source,
        url=url,
        criterion=entry.criterion,
        problem=outcome.problem,
    )
