"""Every public name and every command has its place in the documentation."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

from mlmethods.cli.main import app

PAGES = Path(__file__).resolve().parents[2] / "docs" / "api"
MODULES = (
    "mlmethods",
    "mlmethods.datasets",
    "mlmethods.errors",
    "mlmethods.interfaces",
    "mlmethods.kernels",
    "mlmethods.motion",
    "mlmethods.motion.align",
    "mlmethods.motion.calibration",
    "mlmethods.motion.callbacks",
    "mlmethods.motion.counting",
    "mlmethods.motion.datasets",
    "mlmethods.motion.export",
    "mlmethods.motion.intervals",
    "mlmethods.motion.io",
    "mlmethods.motion.metrics",
    "mlmethods.motion.postprocess",
    "mlmethods.motion.preprocess",
    "mlmethods.motion.report",
    "mlmethods.motion.windows",
    "mlmethods.overfitting",
    "mlmethods.privacy",
    "mlmethods.privacy.attacks",
    "mlmethods.privacy.audit",
    "mlmethods.privacy.vmf",
    "mlmethods.rfm",
    "mlmethods.rfm.benchmarks",
    "mlmethods.testing",
    "mlmethods_jax.adapters",
    "mlmethods_jax.layers.mlp",
    "mlmethods_jax.ops.kernels",
    "mlmethods_jax.ops.linalg",
    "mlmethods_jax.ops.nn",
    "mlmethods_jax.ops.privacy",
    "mlmethods_jax.layers.conv",
    "mlmethods_jax.layers.gru",
    "mlmethods_jax.layers.local_attention",
    "mlmethods_jax.layers.tcn",
    "mlmethods_jax.motion",
    "mlmethods_jax.overfitting.theory",
    "mlmethods_jax.privacy",
    "mlmethods_jax.random",
    "mlmethods_jax.sharding",
    "mlmethods_jax.solvers.path",
    "mlmethods_jax.testing",
    "mlmethods_jax.training",
)


@pytest.fixture(scope="module")
def documented() -> dict[str, set[str]]:
    """Return the names in the summaries of the API pages, by module."""
    names: dict[str, set[str]] = {}
    for page in sorted(PAGES.glob("*.rst")):
        module, in_summary = "", False
        for line in page.read_text(encoding="utf-8").splitlines():
            if line.startswith(".. currentmodule::"):
                module = line.split("::")[1].strip()
            elif line.startswith(".. autosummary::"):
                in_summary = True
            elif line and not line.startswith(" "):
                in_summary = False
            elif in_summary and re.fullmatch(r" +\w+", line):
                names.setdefault(module, set()).add(line.strip())
    return names


def _public(module: ModuleType) -> set[str]:
    """Return what a module's page must list: its names that are not modules."""
    return {
        name
        for name in module.__all__
        if name != "__version__" and not isinstance(getattr(module, name), ModuleType)
    }


# Where a page lists a name of another module, which re-exports it.
RE_EXPORTED = {"mlmethods.rfm": {"EigenProRegressor": "mlmethods.kernels"}}


@pytest.mark.parametrize("name", MODULES)
def test_the_pages_list_the_public_names(
    name: str, documented: dict[str, set[str]]
) -> None:
    module = importlib.import_module(name)
    elsewhere = RE_EXPORTED.get(name, {})
    for other, home in elsewhere.items():
        assert other in documented[home]
        assert getattr(module, other) is getattr(importlib.import_module(home), other)
    assert documented.get(name, set()) == _public(module) - set(elsewhere)


def test_no_page_documents_a_module_that_is_not_checked(
    documented: dict[str, set[str]],
) -> None:
    assert set(documented) <= set(MODULES)


def _commands(command: Any, path: str) -> Iterator[str]:
    if not hasattr(command, "commands"):
        yield path
        return
    for name, child in command.commands.items():
        yield from _commands(child, f"{path} {name}")


def test_the_command_line_page_lists_the_commands() -> None:
    page = (PAGES / "cli.rst").read_text(encoding="utf-8")
    shown = set(re.findall(r"^   \* - ``(mlmethods(?: [a-z]+)+)", page, re.MULTILINE))
    assert shown == set(_commands(typer.main.get_command(app), "mlmethods"))
