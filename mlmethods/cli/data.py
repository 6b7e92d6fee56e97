"""``mlmethods data``: which datasets are here, where, and in what state."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from mlmethods.cli.command import Options, command
from mlmethods.cli.exits import Exit
from mlmethods.cli.output import print_json, print_table, say, tell

__all__ = ["app"]

app = typer.Typer(help="Find, check and convert datasets.", no_args_is_help=True)

_Root = Annotated[
    Path | None, typer.Option(help="Where to look first.", file_okay=False)
]


def list_known(options: Options, root: _Root = None) -> None:
    """List the datasets that the library reads, and which are here."""
    from mlmethods.datasets import list_datasets

    _print_records(list_datasets(root=root), options)


def path(
    options: Options,
    name: Annotated[str, typer.Argument(help="A dataset.")],
    root: _Root = None,
) -> None:
    """Say where a dataset is."""
    from mlmethods.datasets import find_data

    found = str(find_data(name, root=root))
    if options.json:
        print_json({"name": name, "path": found})
    else:
        say(found)


def check(options: Options, root: _Root = None) -> None:
    """Read every dataset that is here; end with 2 if one is damaged."""
    from mlmethods.datasets import check_data

    records = list(check_data(root))
    _print_records(records, options)
    damaged = [record.name for record in records if record.problem]
    if damaged:
        tell(f"damaged: {', '.join(damaged)}")
        raise typer.Exit(Exit.USAGE)


def convert(
    options: Options,
    name: Annotated[str, typer.Argument(help="A dataset, or a file of one.")],
    out: Annotated[
        Path, typer.Argument(dir_okay=False, help="A .csv or .parquet file.")
    ],
    root: _Root = None,
) -> None:
    """Write a table as CSV or Parquet; the target is the last column."""
    from mlmethods.common.atomic import atomic_path
    from mlmethods.datasets import load_table
    from mlmethods.errors import InvalidInputError

    if out.suffix not in (".csv", ".parquet"):
        raise InvalidInputError(f"OUT must end in .csv or .parquet, got {out.name!r}")
    table = load_table(name, root=root)
    frame = table.X.assign(**{str(table.y.name or "target"): table.y})
    with atomic_path(out) as scratch:
        if out.suffix == ".csv":
            frame.to_csv(scratch, index=False)
        else:
            frame.to_parquet(scratch, index=False)
    if options.json:
        print_json({"out": str(out), "rows": len(frame), "columns": frame.shape[1]})
    elif not options.quiet:
        tell(f"{len(frame)} rows and {frame.shape[1]} columns are in {out}")


def _print_records(records: Iterable[Any], options: Options) -> None:
    rows = [dataclasses.asdict(record) for record in records]
    if options.json:
        print_json([{k: _plain(v) for k, v in row.items()} for row in rows])
    elif rows:
        print_table(
            tuple(rows[0]), [[_shown(cell) for cell in row.values()] for row in rows]
        )


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "✓" if value else "✗"
    return "" if value is None else str(value)


command(app, "list")(list_known)
command(app)(path)
command(app)(check)
command(app)(convert)
