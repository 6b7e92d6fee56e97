"""``mlmethods backends``: which there are, and whether one keeps the contract."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import typer

from mlmethods.cli.command import Options, command
from mlmethods.cli.exits import Exit
from mlmethods.cli.output import print_json, print_table, say, tell

__all__ = ["app"]

app = typer.Typer(help="List and check backends.", no_args_is_help=True)


def list_installed(options: Options) -> None:
    """List the installed backends, the automatic choice first."""
    from mlmethods.backend import list_backends
    from mlmethods.interfaces import OPS

    backends = list_backends()
    if options.json:
        print_json([_as_json(info) for info in backends])
        return
    print_table(
        ("name", "version", "operations", "engines", "dtypes", "description"),
        [
            (
                info.name,
                info.version,
                f"{len(info.ops)} of {len(OPS)}",
                ", ".join(sorted(info.engines)),
                ", ".join(sorted(info.dtypes)),
                info.description,
            )
            for info in backends
        ],
    )


def _as_json(info: Any) -> dict[str, Any]:
    document = dataclasses.asdict(info)
    return {
        key: sorted(value) if isinstance(value, frozenset) else value
        for key, value in document.items()
    }


def check(
    options: Options,
    name: Annotated[str, typer.Argument(help="An installed backend.")],
) -> None:
    """Hold a backend to the contract of every operation that it declares."""
    from mlmethods.errors import ConformanceError
    from mlmethods.testing import check_backend

    try:
        report = check_backend(name)
    except ConformanceError as error:
        # One line a failed operation: too much for the usual single sentence.
        tell(str(error))
        raise typer.Exit(Exit.NOT_MET) from None
    if options.json:
        print_json(dataclasses.asdict(report))
    else:
        say(str(report))


command(app, "list")(list_installed)
command(app, "check")(check)
