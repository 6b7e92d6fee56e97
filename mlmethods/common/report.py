"""Result pages: one self-contained HTML file, light or dark as the reader's screen.

A page loads nothing: styles, figures and tables are inside it.
"""

from __future__ import annotations

import base64
import csv
import datetime
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlmethods.common.atomic import write_text
from mlmethods.common.plotting import GRID, INK, MUTED
from mlmethods.common.result import Check, RecipeResult
from mlmethods.errors import InvalidInputError

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["Panel", "Table", "panel_from_result", "write_page"]

_TABLE_ROWS = 60
_INKS = {INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--grid)"}


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table to unfold: its name, the names of its columns and its rows as text."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One experiment on a page.

    Attributes
    ----------
    anchor : str
        Its identifier on the page, such as the recipe's name.
    title : str
        The headline.
    kicker : str
        A short line above the headline, such as the method's name.
    about : str
        What it is.
    experiment : str
        What was run.
    claim, source, url : str
        What the paper says, which paper, and its address.
    criterion : str
        What decides, fixed beforehand.
    rows : tuple of Check
        Number beside published number.
    passed : bool or None
        The verdict of this run; None where it could not run.
    problem : str
        Why it could not run.
    figures : tuple of pathlib.Path
        SVG or PNG files to put inside the page.
    code : str
        The lines of Python that do it.
    facts : tuple of (str, str)
        Settings of the run, label and value.
    notes : tuple of str
        What a reader should know.
    tables : tuple of Table
        Data to unfold.
    """

    anchor: str
    title: str
    kicker: str = ""
    about: str = ""
    experiment: str = ""
    claim: str = ""
    source: str = ""
    url: str = ""
    criterion: str = ""
    rows: tuple[Check, ...] = ()
    passed: bool | None = None
    problem: str = ""
    figures: tuple[Path, ...] = ()
    code: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()


def panel_from_result(
    result: RecipeResult,
    folder: Path,
    *,
    kicker: str = "",
    about: str = "",
    url: str = "",
    code: str = "",
) -> Panel:
    """Return the panel of a result whose files lie in `folder`.

    Parameters
    ----------
    result : RecipeResult
        What was found.
    folder : pathlib.Path
        Where its figures and tables are.
    kicker, about, url, code : str
        As in :class:`Panel`.
    """
    figures = [name for name in result.figures if name.endswith(".svg")]
    facts = (
        ("mode", result.mode),
        ("seconds", f"{result.seconds:.1f}"),
        ("backend", result.backend),
        ("device", result.device),
        ("dtype", result.dtype),
        ("seed", str(result.seed)),
    )
    return Panel(
        anchor=result.name,
        title=result.title,
        kicker=kicker,
        about=about,
        experiment=result.experiment,
        claim=result.claim,
        source=result.source,
        url=url,
        criterion=result.criterion,
        rows=result.rows,
        passed=result.passed,
        figures=tuple(folder / name for name in figures),
        code=code,
        facts=facts,
        notes=result.notes,
        tables=tuple(_read_table(folder / name) for name in result.data),
    )


def _read_table(path: Path) -> Table:
    with path.open(newline="", encoding="utf-8") as file:
        lines = list(itertools.islice(csv.reader(file), _TABLE_ROWS + 1))
    columns = tuple(lines[0]) if lines else ()
    rows = tuple(tuple(_rounded(cell) for cell in line) for line in lines[1:])
    return Table(name=path.name, columns=columns, rows=rows)


def _rounded(cell: str) -> str:
    """Shorten a long decimal; the file beside the page has every digit."""
    return f"{float(cell):.5g}" if re.fullmatch(r"-?\d+\.\d{5,}", cell) else cell


def write_page(
    path: str | Path,
    *,
    title: str,
    lead: str,
    panels: Sequence[Panel],
    facts: Sequence[tuple[str, str]] = (),
    today: datetime.date | None = None,
) -> Path:
    """Write a page of panels.

    Parameters
    ----------
    path : path-like
        The HTML file.
    title, lead : str
        The headline of the page and the sentence below it.
    panels : sequence of Panel
        From top to bottom.
    facts : sequence of (str, str)
        About the whole page, such as the machine.
    today : datetime.date or None
        The date to print; None is the present one.

    Returns
    -------
    pathlib.Path
        Where the page is.

    Raises
    ------
    InvalidInputError
        If a figure is neither SVG nor PNG.
    """
    rendered = [
        {
            "panel": panel,
            "figures": [
                _embed(figure, prefix=f"{panel.anchor}-{position}")
                for position, figure in enumerate(panel.figures)
            ],
            "code": _highlight(panel.code),
        }
        for panel in panels
    ]
    ran = [panel for panel in panels if panel.passed is not None]
    page = (
        _environment()
        .get_template("page.html")
        .render(
            title=title,
            lead=lead,
            panels=rendered,
            facts=facts,
            date=(today or datetime.date.today()).isoformat(),
            met=sum(bool(panel.passed) for panel in ran),
            ran=len(ran),
            missing=len(panels) - len(ran),
        )
    )
    path = Path(path)
    write_text(path, page)
    return path


def _environment() -> Environment:
    import jinja2

    return jinja2.Environment(
        loader=jinja2.PackageLoader("mlmethods.common", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _embed(figure: Path, prefix: str) -> str:
    """Return markup that shows a figure without a second file."""
    if figure.suffix == ".svg":
        return _inline_svg(figure.read_text(encoding="utf-8"), prefix)
    if figure.suffix == ".png":
        data = base64.b64encode(figure.read_bytes()).decode("ascii")
        return f'<img alt="" src="data:image/png;base64,{data}">'
    raise InvalidInputError(f"a figure must be an SVG or a PNG file, got {figure}")


def _inline_svg(text: str, prefix: str) -> str:
    """Return an SVG element that takes its ink from the page's variables."""
    svg = text[text.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # Identifiers are unique in a file, not in a page that holds several.
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{prefix}-", svg)
    for color, variable in _INKS.items():
        svg = svg.replace(color, variable)
    # The view box gives the proportions; the page gives the width.
    return re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1).replace(
        "<svg", '<svg role="img"', 1
    )


def _highlight(code: str) -> str:
    if not code:
        return ""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    return highlight(code, PythonLexer(), HtmlFormatter(nowrap=True)).rstrip()
