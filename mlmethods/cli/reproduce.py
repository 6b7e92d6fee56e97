"""``mlmethods reproduce``: the papers' experiments, judged by numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlmethods.cli.command import Options, command
from mlmethods.cli.output import print_json, print_table, say, tell
from mlmethods.cli.verdicts import finish, printer

if TYPE_CHECKING:
    from mlmethods.common.recipe import Recipe

__all__ = ["register"]

_TITLE = "Reproduced results"
_LEAD = (
    "Claims of the papers, tested here: the published or a peer's number beside the "
    "one that this run found, and whether the criterion that was fixed beforehand is "
    "met."
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, computes=True)(reproduce)


def reproduce(
    options: Options,
    name: Annotated[
        str | None, typer.Argument(help="An experiment, or a method for all of its.")
    ] = None,
    list_only: Annotated[
        bool, typer.Option("--list", help="List the experiments.")
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Run every experiment.")
    ] = False,
    full: Annotated[
        bool, typer.Option("--full/--quick", help="The paper's scale, or minutes.")
    ] = False,
    out: Annotated[
        Path, typer.Option(file_okay=False, help="Where results go.")
    ] = Path("build/reproduce"),
    data: Annotated[
        Path | None, typer.Option(help="Where datasets are looked for first.")
    ] = None,
) -> None:
    """Run experiments: a table, result.json, figures and one page."""
    if sum((name is not None, list_only, everything)) != 1:
        raise typer.BadParameter("give one of NAME, --list and --all")
    from mlmethods.common.progress import progress_callback
    from mlmethods.common.recipe import find_recipes, list_recipes
    from mlmethods.common.suite import run_suite, write_index

    if list_only:
        _print_list(list_recipes(), options)
        return
    recipes = find_recipes(name) if name is not None else list_recipes()
    backend = options.resolve_backend()
    with progress_callback(not options.quiet) as callback:
        outcomes = run_suite(
            recipes,
            on_outcome=printer(callback, json=options.json),
            out=out,
            full=full,
            seed=options.seed,
            backend=backend.info.name,
            dtype=options.dtype.value,
            data_root=data,
            callback=callback,
        )
    page = write_index(out, outcomes, title=_TITLE, lead=_LEAD)
    if options.json:
        print_json([o.result.to_dict() for o in outcomes if o.result is not None])
        tell(f"the page is {page}")
    else:
        say(f"The page is {page}")
    finish(outcomes)


def _print_list(recipes: list[Recipe], options: Options) -> None:
    if options.json:
        fields = ("name", "title", "claim", "source", "criterion")
        print_json([{key: getattr(entry, key) for key in fields} for entry in recipes])
        return
    print_table(
        ("name", "claim", "criterion"),
        [(entry.name, entry.claim, entry.criterion) for entry in recipes],
    )
