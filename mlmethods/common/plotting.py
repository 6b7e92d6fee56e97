"""One style for every figure of the library; matplotlib is imported on first use."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlmethods.common.atomic import atomic_path
from mlmethods.common.validation import check_real
from mlmethods.errors import InvalidInputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "GRID",
    "INK",
    "MUTED",
    "PALETTE",
    "new_figure",
    "plot_critical_difference",
    "save_figure",
    "style",
]

PALETTE = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#8c6bb1",
)
"""Line colors that stay apart in the common kinds of color blindness, and that read
on white and on near-black: the first six are Okabe and Ito's."""

INK = "#1c2733"
MUTED = "#5f6b7a"
GRID = "#dde2e8"
"""Colors of text, ticks and grid lines. A page that follows the reader's light or
dark setting finds these exact values in an SVG and replaces them."""


def _settings() -> Any:
    from cycler import cycler

    return {
        "figure.figsize": (7.2, 4.0),
        "figure.dpi": 100,
        "figure.facecolor": "none",
        "figure.constrained_layout.use": True,
        "savefig.dpi": 160,
        "axes.prop_cycle": cycler(color=PALETTE),
        "axes.facecolor": "none",
        "axes.edgecolor": MUTED,
        "axes.labelcolor": INK,
        "axes.labelsize": 10,
        "axes.titlesize": 11,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.titlecolor": INK,
        "axes.titlepad": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.8,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": GRID,
        "grid.linewidth": 0.8,
        "text.color": INK,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.labelcolor": MUTED,
        "ytick.labelcolor": MUTED,
        "xtick.labelsize": 9,
        "ytick.labelsize": 9,
        "lines.linewidth": 2.0,
        "lines.markersize": 5,
        "legend.frameon": False,
        "legend.fontsize": 9,
        "image.cmap": "cividis",
        "font.size": 10,
        "font.family": "sans-serif",
        "svg.fonttype": "path",
        # Fixed, so that the same figure is the same file.
        "svg.hashsalt": "mlmethods",
    }


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Draw in the style of the library inside the ``with`` block.

    matplotlib's own settings are as before afterwards.

    Examples
    --------
    >>> with style():
    ...     figure, axes = new_figure()
    ...     _ = axes.plot([0, 1], [1, 0])
    """
    import matplotlib as mpl

    with mpl.rc_context(_settings()):
        yield


def new_figure(
    rows: int = 1, columns: int = 1, *, size: tuple[float, float] | None = None
) -> tuple[Figure, Any]:
    """Return a figure and its axes, outside pyplot's list of open figures.

    Parameters
    ----------
    rows, columns : int
        Grid of axes.
    size : tuple of float or None
        Width and height in inches.

    Returns
    -------
    figure : matplotlib.figure.Figure
        It needs no window and no closing.
    axes : matplotlib.axes.Axes or ndarray of Axes
        As from ``Figure.subplots``.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=size)
    return figure, figure.subplots(rows, columns)


def save_figure(figure: Figure, stem: str | os.PathLike[str]) -> list[Path]:
    """Save a figure as PNG on white and as transparent SVG, each atomically.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        What to save.
    stem : path-like
        The file name without suffix; it may contain dots.

    Returns
    -------
    list of pathlib.Path
        The two files; the same figure gives the same bytes.
    """
    stem = Path(stem)
    png = stem.with_name(stem.name + ".png")
    svg = stem.with_name(stem.name + ".svg")
    with style():
        with atomic_path(png) as scratch:
            figure.savefig(scratch, facecolor="white", metadata={"Software": None})
        with atomic_path(svg) as scratch:
            figure.savefig(
                scratch, transparent=True, metadata={"Date": None, "Creator": None}
            )
    return [png, svg]


def plot_critical_difference(
    ranks: Mapping[str, float], critical_difference: float, *, ax: Axes | None = None
) -> Axes:
    """Draw average ranks; methods beside one bar are not told apart.

    Parameters
    ----------
    ranks : mapping of str to float
        The average rank of each method over datasets, at least two.
    critical_difference : float
        What two ranks must differ by, as of
        :func:`mlmethods.common.statistics.friedman_ranks`.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The best method is at the top.

    Raises
    ------
    InvalidInputError
        If there are fewer than two methods, or a number is not positive and finite.

    References
    ----------
    J. Demsar, "Statistical comparisons of classifiers over multiple data sets", JMLR 7
    (2006).

    Examples
    --------
    >>> axes = plot_critical_difference({"RFM": 1.4, "forest": 1.9, "ridge": 2.7}, 0.8)
    >>> [label.get_text() for label in axes.get_yticklabels()]
    ['RFM  1.40', 'forest  1.90', 'ridge  2.70']
    """
    positive: Any = {"minimum": 0, "open_minimum": True}
    width = check_real("critical_difference", critical_difference, **positive)
    if len(ranks) < 2:
        raise InvalidInputError(
            f"ranks must hold at least two methods, got {len(ranks)}"
        )
    named = {
        name: check_real(f"ranks[{name!r}]", x, **positive) for name, x in ranks.items()
    }
    order = sorted(named, key=lambda name: named[name])
    places = [named[name] for name in order]
    with style():
        size = (8.0, 0.4 * len(order) + 1.6)
        axes = new_figure(size=size)[1] if ax is None else ax
        axes.plot(places, range(len(order)), "o", color=PALETTE[0], ms=8)
        right = axes.get_yaxis_transform()
        for column, (first, last) in enumerate(_not_told_apart(places, width)):
            beside = [1.02 + 0.025 * column] * 2
            bar = [first - 0.25, last + 0.25]
            options: Any = {"color": PALETTE[1], "lw": 4, "solid_capstyle": "butt"}
            axes.plot(beside, bar, transform=right, clip_on=False, **options)
        labels = [f"{name}  {named[name]:.2f}" for name in order]
        axes.set_yticks(range(len(order)), labels)
        axes.invert_yaxis()
        axes.set_xlabel("average rank, 1 is the best")
        axes.set_title(f"Methods beside one bar are within {width:.2f} ranks")
    return axes


def _not_told_apart(places: list[float], width: float) -> list[tuple[int, int]]:
    """Return the first and last of each group of sorted ranks closer than `width`."""
    groups: list[tuple[int, int]] = []
    for first, place in enumerate(places):
        last = max(i for i, other in enumerate(places) if other - place < width)
        # A group inside the one before says nothing new.
        if last > first and not (groups and groups[-1][1] >= last):
            groups.append((first, last))
    return groups
