"""Figures of motions over time, of counts, and of what a decoder attended to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlmethods.common.plotting import INK, MUTED, PALETTE, new_figure, style
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import ArrayLike
from mlmethods.motion.segments import Segments

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_attention", "plot_counts", "plot_timeline"]

_FAINTEST = 0.35


def plot_timeline(
    truth: Segments | None, pred: Segments | None = None, ax: Axes | None = None
) -> Axes:
    """Draw what was labeled and what was found, over time.

    Parameters
    ----------
    truth, pred : Segments, optional
        With the same classes; at least one is given. Predictions are fainter where
        they are less certain, and hatched where they overlap masked time.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        One row a class, so that nothing depends on colors: predictions above, labels
        below.

    Raises
    ------
    InvalidInputError
        If there is nothing to draw, or classes differ.

    Examples
    --------
    >>> from mlmethods.motion import Segments, plot_timeline
    >>> truth = Segments([0, 2], [2, 3], [0, 1], ("idle", "reach"))
    >>> axes = plot_timeline(truth, truth)
    >>> [label.get_text() for label in axes.get_yticklabels()]
    ['idle', 'reach']
    """
    given = [spans for spans in (truth, pred) if spans is not None]
    if not given or not all(isinstance(spans, Segments) for spans in given):
        raise InvalidInputError(
            "truth and pred must be Segments, at least one of them, got "
            f"{type(truth).__name__} and {type(pred).__name__}"
        )
    classes = given[0].classes
    if any(spans.classes != classes for spans in given):
        raise InvalidInputError(
            f"truth and pred must have the same classes, got {given[0].classes} and "
            f"{given[1].classes}"
        )
    both = len(given) == 2
    with style():
        size = (8.0, 0.45 * len(classes) + 1.2)
        axes = new_figure(size=size)[1] if ax is None else ax
        if pred is not None:
            _draw(axes, pred, top=0.42 if both else 0.35, height=0.5 if both else 0.7)
        if truth is not None and both:
            spans = np.stack([truth.start, truth.durations], axis=1)
            for index in range(len(classes)):
                own = spans[truth.label == index]
                line = (index + 0.13, 0.14)
                if len(own):
                    axes.broken_barh(own.tolist(), line, facecolor=INK, linewidth=0)
        elif truth is not None:
            _draw(axes, truth, top=0.35, height=0.7)
        axes.set_yticks(range(len(classes)), classes)
        axes.set_ylim(len(classes) - 0.5, -0.55)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("time (s)")
        axes.set_title(
            "Found (bars) and labeled (dark lines)"
            if both
            else "Labeled"
            if pred is None
            else "Found"
        )
    return axes


def plot_counts(
    table: Any, ax: Axes | None = None, *, by: str | None = None, label: str = "class"
) -> Axes:
    """Draw counts and their intervals.

    Parameters
    ----------
    table : DataFrame
        As ``PrimSeqResult.counts`` or ``totals()``: the columns ``class`` and
        ``count``, and ``low`` and ``high`` where there are intervals. Rows of a class
        are added up; their intervals cannot be, and are drawn for single rows only.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.
    by : str, optional
        A column whose values are told apart, such as ``"side"`` or ``"activity"``.
    label : str
        The column with the names of the classes.

    Returns
    -------
    matplotlib.axes.Axes
        Bars in the order of the table.

    Raises
    ------
    InvalidInputError
        If a column is missing or there is no row.

    Examples
    --------
    >>> import pandas as pd
    >>> from mlmethods.motion import plot_counts
    >>> table = pd.DataFrame({"class": ["idle", "reach"], "count": [4, 7]})
    >>> axes = plot_counts(table)
    >>> [int(patch.get_width()) for patch in axes.patches]
    [4, 7]
    """
    import pandas as pd

    if not isinstance(table, pd.DataFrame):
        raise InvalidInputError(
            f"table must be a DataFrame of counts, got {type(table).__name__}"
        )
    needed = [label, "count", *([] if by is None else [by])]
    missing = [name for name in needed if name not in table]
    if missing or table.empty:
        problem = f"no column {missing[0]!r}" if missing else "no row"
        raise InvalidInputError(
            f"table must have rows with the columns {', '.join(needed)}, got {problem}"
        )
    classes = list(dict.fromkeys(table[label]))
    values = [None] if by is None else list(dict.fromkeys(table[by]))
    tall = 0.8 / len(values)
    with style():
        rows = len(classes) * (0.25 * len(values) + 0.2)
        axes = new_figure(size=(6.4, rows + 1.2))[1] if ax is None else ax
        for number, value in enumerate(values):
            part = table if by is None else _equal(table, by, value)
            places, counts, ends = [], [], []
            for index, name in enumerate(classes):
                own = part[part[label] == name]
                places.append(index - 0.4 + tall * (number + 0.5))
                counts.append(float(own["count"].sum()))
                ends.append(_interval(own))
            color = PALETTE[number % len(PALETTE)]
            axes.barh(places, counts, 0.9 * tall, color=color, label=str(value))
            for place, end in zip(places, ends, strict=True):
                if end is not None:
                    axes.plot(end, [place, place], color=INK, lw=1.4, marker="|")
        axes.set_yticks(range(len(classes)), classes)
        axes.invert_yaxis()
        axes.set_xlim(left=0)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("count")
        if by is not None:
            axes.legend(title=by, loc="upper left", bbox_to_anchor=(1.01, 1))
    return axes


def plot_attention(
    attention: ArrayLike,
    tokens: Sequence[str] | None = None,
    ax: Axes | None = None,
    *,
    seconds: float | None = None,
) -> Axes:
    """Draw how much of each step of the encoder each token saw.

    Parameters
    ----------
    attention : array-like of shape (N, T')
        Weights >= 0 of N tokens, as of ``Seq2SeqRecognizer.forward`` for one window.
    tokens : sequence of str, optional
        Names of the tokens, one a row.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.
    seconds : float, optional
        Length of the window; by default the axis counts steps.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InvalidInputError
        If the shape is wrong, a weight is negative or not finite, or there is not one
        name for each token.

    Examples
    --------
    >>> from mlmethods.motion import plot_attention
    >>> axes = plot_attention([[0.9, 0.1], [0.2, 0.8]], ["reach", "idle"])
    >>> [label.get_text() for label in axes.get_yticklabels()]
    ['reach', 'idle']
    """
    weights = np.asarray(attention, dtype=np.float64)
    if weights.ndim != 2 or 0 in weights.shape:
        raise InvalidInputError(
            f"attention must have shape (tokens, steps), got {weights.shape}"
        )
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise InvalidInputError("attention must be finite and >= 0")
    names = list(map(str, range(len(weights)))) if tokens is None else list(tokens)
    if len(names) != len(weights):
        raise InvalidInputError(
            f"tokens must have one name for each of {len(weights)} rows, got "
            f"{len(names)}"
        )
    end = weights.shape[1] if seconds is None else seconds
    with style():
        size = (7.2, 0.3 * len(names) + 1.4)
        axes = new_figure(size=size)[1] if ax is None else ax
        image = axes.imshow(
            weights,
            aspect="auto",
            interpolation="nearest",
            extent=(0, end, len(names) - 0.5, -0.5),
            vmin=0,
        )
        axes.grid(visible=False)
        axes.set_yticks(range(len(names)), names)
        axes.set_xlabel("encoder step" if seconds is None else "time (s)")
        axes.set_title("Where each token looked")
        bar = axes.figure.colorbar(image, ax=axes)
        bar.set_label("weight", color=MUTED)
    return axes


def _draw(axes: Axes, spans: Segments, *, top: float, height: float) -> None:
    """Draw spans, each in the row of its class."""
    sure = np.ones(len(spans)) if spans.confidence is None else spans.confidence
    sure = np.nan_to_num(sure, nan=1.0)
    usable = np.ones(len(spans), bool) if spans.valid is None else spans.valid
    for index in range(len(spans.classes)):
        for valid in (True, False):
            own = (spans.label == index) & (usable == valid)
            if not own.any():
                continue
            color = PALETTE[index % len(PALETTE)]
            axes.broken_barh(
                np.stack([spans.start[own], spans.durations[own]], axis=1).tolist(),
                (index - top, height),
                facecolors=[
                    (color, _FAINTEST + (1 - _FAINTEST) * chance)
                    for chance in sure[own].tolist()
                ],
                hatch=None if valid else "////",
                edgecolor="none" if valid else MUTED,
                linewidth=0,
            )


def _equal(table: Any, column: str, value: Any) -> Any:
    """Return the rows with a value, which may be missing."""
    rows = table[column]
    # None and NaN are equal to nothing.
    return table[rows.isna() if value is None or value != value else rows == value]


def _interval(rows: Any) -> list[float] | None:
    """Return the interval of a single row."""
    if len(rows) != 1 or not {"low", "high"} <= set(rows):
        return None
    ends = rows[["low", "high"]].to_numpy(dtype=np.float64)[0].tolist()
    return None if np.isnan(ends).any() else ends
