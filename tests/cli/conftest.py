"""A small method package with real experiments, and a runner for the program."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mlmethods.cli.main import app
from mlmethods.common import methods, recipe

RECIPES = '''
"""Experiments on numbers with known answers."""

import math

import numpy as np

from mlmethods.common.plotting import new_figure, style
from mlmethods.common.recipe import recipe
from mlmethods.errors import DatasetNotFoundError


@recipe(
    "tiny-pi",
    title="Random points find pi",
    claim="the share of points in the quarter disc tends to pi / 4",
    source="Buffon (1777)",
    criterion="the estimate is within 0.05 of pi",
    demo=True,
    about="A Monte Carlo estimate.",
    code="""
    import numpy as np
    points = np.random.default_rng(0).random((20_000, 2))
    4 * np.mean((points**2).sum(axis=1) < 1)
    """,
)
def estimate_pi(context):
    """Draw 20,000 points in the unit square."""
    import pandas as pd

    rng = np.random.default_rng(context.seed)
    count = 200_000 if context.full else 20_000
    inside = (rng.random((count, 2)) ** 2).sum(axis=1) < 1
    running = 4 * np.cumsum(inside) / np.arange(1, count + 1)
    context.progress(1, 1, estimate=float(running[-1]))
    with style():
        figure, axes = new_figure(size=(7, 3))
        axes.plot(running[::100])
        axes.axhline(math.pi, linestyle="--")
        axes.set_title("Estimate after that many points")
        context.figure(figure, "running")
    context.table(pd.DataFrame({"count": [count], "pi": [running[-1]]}), "estimate")
    context.value(pi=running[-1])
    context.check(
        claim="the estimate is pi",
        published=math.pi,
        ours=running[-1],
        tolerance_text="within 0.05",
        passed=abs(running[-1] - math.pi) < 0.05,
    )


@recipe(
    "tiny-wrong",
    title="A claim that does not hold",
    claim="pi is 3",
    source="a bill of 1897",
    criterion="pi is 3 to two digits",
)
def wrong(context):
    """Compare pi with 3."""
    context.check(
        claim="pi is 3", published=3.0, ours=math.pi, tolerance_text="0.01",
        passed=abs(math.pi - 3) < 0.01,
    )


@recipe(
    "tiny-missing",
    title="Data that is elsewhere",
    claim="it would hold",
    source="nobody",
    criterion="none",
)
def missing(context):
    """Look for a dataset that no machine has."""
    raise DatasetNotFoundError("dataset 'atlantis' is not here; nothing provides it")


@recipe(
    "tiny-defect",
    title="A defect of the program",
    claim="none",
    source="nobody",
    criterion="none",
)
def defect(context):
    """Divide by zero."""
    context.note(str(1 / 0))
'''


@pytest.fixture
def tiny_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Install the package of a method called tiny, the only one."""
    package = tmp_path / "packages" / "tiny_method"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "recipes.py").write_text(RECIPES)
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setattr(recipe, "_registry", {})
    entry = methods.Method(
        name="tiny", title="Tiny", package="tiny_method", paper="None", url="#"
    )
    monkeypatch.setattr(methods, "METHODS", (entry,))
    yield "tiny"
    for name in ("tiny_method", "tiny_method.recipes"):
        sys.modules.pop(name, None)


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Return a function that runs the program in this process."""
    monkeypatch.setenv("MLMETHODS_CACHE_DIR", str(tmp_path / "cache"))
    # What a command sets for its own process must not reach other tests.
    for name in ("JAX_COMPILATION_CACHE_DIR", "JAX_PLATFORMS"):
        monkeypatch.setenv(name, "placeholder")
        monkeypatch.delenv(name)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "jax"))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object):
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return run
