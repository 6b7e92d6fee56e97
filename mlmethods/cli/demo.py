"""``mlmethods demo``: one page on which every method runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlmethods.cli.command import Options, command
from mlmethods.cli.output import print_json, say
from mlmethods.cli.verdicts import finish, printer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, computes=True)(demo)


def demo(
    options: Options,
    out: Annotated[
        Path, typer.Option(file_okay=False, help="Where the page goes.")
    ] = Path("build/demo"),
    data: Annotated[
        Path | None, typer.Option(help="Where datasets are looked for first.")
    ] = None,
) -> None:
    """Run one small experiment of every method and write a page."""
    from mlmethods.common.progress import progress_callback
    from mlmethods.demo import build_demo

    backend = options.resolve_backend()
    with progress_callback(not options.quiet) as callback:
        page, outcomes = build_demo(
            out,
            on_outcome=printer(callback, json=options.json),
            seed=options.seed,
            backend=backend.info.name,
            dtype=options.dtype.value,
            data_root=data,
            callback=callback,
        )
    if options.json:
        results = [o.result.to_dict() for o in outcomes if o.result is not None]
        print_json({"page": str(page), "results": results})
    else:
        say(f"The page is {page.absolute()}")
    finish(outcomes)
