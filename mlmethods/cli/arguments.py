"""Arguments that commands on tables share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["Bandwidth", "Drop", "Index", "TableFile", "Task", "parse_bandwidth"]

TableFile = Annotated[
    Path,
    typer.Argument(
        exists=True, dir_okay=False, metavar="TABLE", help="CSV, TSV or Parquet."
    ),
]
Index = Annotated[
    str | None, typer.Option(help="Column that names the rows and is no feature.")
]
Drop = Annotated[
    list[str] | None, typer.Option(help="A column to leave out; repeatable.")
]
Bandwidth = Annotated[
    str | None, typer.Option(help="Length scale, or median; default 10.")
]


class Task(StrEnum):
    """What is predicted."""

    AUTO = "auto"
    REGRESSION = "regression"
    CLASSIFICATION = "classification"


def parse_bandwidth(text: str | None) -> float | str | None:
    """Return a length scale as estimators take it.

    Raises
    ------
    typer.BadParameter
        If it is neither a number nor ``"median"``.
    """
    if text is None or text == "median":
        return text
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is neither a number nor median", param_hint="--bandwidth"
        ) from None
