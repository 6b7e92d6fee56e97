"""The benchmark cases, one module for each name on the command line."""

from __future__ import annotations

import importlib
import pkgutil

from benchmarks.harness.case import Case

__all__ = ["load_cases", "module_names"]


def module_names() -> list[str]:
    """Return the names that the command line takes."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load_cases(name: str) -> list[Case]:
    """Return the cases of one module."""
    return list(importlib.import_module(f"{__name__}.{name}").CASES)
