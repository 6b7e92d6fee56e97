"""``mlmethods bench``: the benchmarks of a checkout, in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from mlmethods.cli.command import Options, command
from mlmethods.cli.exits import Exit
from mlmethods.cli.output import tell

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app)(bench)


def bench(
    options: Options,
    case: Annotated[str, typer.Argument(help="A case, such as rfm.")],
    peers: Annotated[
        str | None, typer.Option(help="Peers to compare with: all, or names.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Small sizes.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="End with 1 if a target is missed.")
    ] = False,
) -> None:
    """Time a case beside its peers: same data, same machine, same threads."""
    root = _checkout()
    if root is None:
        tell(
            "the benchmarks are part of the source tree: run this in a checkout of "
            "mlmethods"
        )
        raise typer.Exit(Exit.MISSING)
    arguments = [sys.executable, "-m", "benchmarks", case]
    arguments += ["--peers", peers] if peers else []
    arguments += ["--quick"] if quick else []
    arguments += ["--check"] if check else []
    # A fresh process: thread settings and the order of imports are its own.
    code = subprocess.run(arguments, cwd=root, check=False).returncode
    if code:
        raise typer.Exit(Exit.INTERRUPTED if code < 0 else code)


def _checkout() -> Path | None:
    """Return the source tree around the working directory or the package."""
    package = Path(__file__).resolve().parents[2]
    for folder in (Path(os.getcwd()), *Path(os.getcwd()).parents, package):
        if Path(folder, "benchmarks", "__main__.py").is_file() and (
            Path(folder, "mlmethods", "_version.py").is_file()
        ):
            return folder
    return None
