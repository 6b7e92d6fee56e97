"""Results on the standard output stream, everything else on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["console", "print_json", "print_table", "say", "tell"]

_PIPE_WIDTH = 160


def console() -> Console:
    """Return a console on standard output; a pipe gets wide, plain lines."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    return Console(width=width, highlight=False, soft_wrap=False)


def say(text: str) -> None:
    """Write a line of the result."""
    sys.stdout.write(text + "\n")


def tell(text: str) -> None:
    """Write a line for the person at the terminal."""
    sys.stderr.write(f"mlmethods: {text}\n")


def print_json(document: Any) -> None:
    """Write one JSON document."""
    json.dump(document, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table; ticks and crosses get a color on a terminal.

    Columns without any name get no header.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=box.SIMPLE_HEAD if any(columns) else None,
        show_header=any(columns),
        pad_edge=False,
        padding=(0, 2, 0, 0),
        header_style="bold",
    )
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(cell), style=_style(str(cell))) for cell in row))
    console().print(table)


def _style(cell: str) -> str:
    return {"✓": "green", "✗": "red"}.get(cell[:1], "")
