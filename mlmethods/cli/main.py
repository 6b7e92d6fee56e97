"""The program ``mlmethods``: every command in one place."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from mlmethods._version import __version__
from mlmethods.cli import (
    backends,
    bench,
    data,
    demo,
    info,
    methods,
    motion,
    overfitting,
    privacy,
    reproduce,
    rfm,
)

__all__ = ["app", "run"]

app = typer.Typer(
    name="mlmethods",
    help="Research methods of machine learning: fit, reproduce, compare.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _version(value: bool) -> None:
    if value:
        sys.stdout.write(f"mlmethods {__version__}\n")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Show the version."
        ),
    ] = False,
) -> None:
    """Research methods of machine learning: fit, reproduce, compare."""


info.register(app)
methods.register(app)
app.add_typer(backends.app, name="backends")
reproduce.register(app)
demo.register(app)
bench.register(app)
app.add_typer(data.app, name="data")
app.add_typer(rfm.app, name="rfm")
app.add_typer(overfitting.app, name="overfitting")
app.add_typer(motion.app, name="motion")
app.add_typer(privacy.app, name="privacy")


def run() -> None:
    """Run the program with the arguments of the process."""
    app()
