"""``mlmethods methods``: what the library implements."""

from __future__ import annotations

import dataclasses

import typer

from mlmethods.cli.command import Options, command
from mlmethods.cli.output import print_json, print_table

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "methods")(methods)


def methods(options: Options) -> None:
    """List the methods, their packages and their papers."""
    from mlmethods.common.methods import METHODS

    if options.json:
        print_json([dataclasses.asdict(method) for method in METHODS])
        return
    print_table(
        ("name", "method", "package", "paper"),
        [(m.name, m.title, m.package, f"{m.paper}\n{m.url}") for m in METHODS],
    )
