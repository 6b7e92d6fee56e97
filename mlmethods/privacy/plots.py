"""Figures of attacks, of what privacy costs, and of what a run has spent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mlmethods.common.plotting import MUTED, PALETTE, new_figure, style
from mlmethods.common.validation import check_integer, check_real
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import ArrayLike, NDArray
from mlmethods.privacy.accountant import Accountant, Method

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["plot_epsilon", "plot_frontier", "plot_reconstructions", "plot_roc"]

_MARKERS = "osD^vPX"
# The left end of a curve on logarithmic axes, where nothing smaller is resolved.
_SMALLEST_RATE = 1e-3
_GAP = 2


def plot_roc(results: Mapping[str, Any], *, ax: Axes | None = None) -> Axes:
    """Draw membership attacks: true against false positives, on logarithmic scales.

    Parameters
    ----------
    results : mapping of str to MembershipResult
        Anything with ``fpr`` and ``tpr``, ascending, and ``auc``; with
        ``auc_interval`` the label tells it.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        What lies on the dotted diagonal is guessed.

    Raises
    ------
    InvalidInputError
        If there is no result, or one has no curve.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> from mlmethods.privacy import plot_roc
    >>> attack = SimpleNamespace(fpr=[0, 0.1, 1], tpr=[0, 0.5, 1], auc=0.7)
    >>> axes = plot_roc({"loss": attack})
    >>> [label.get_text() for label in axes.get_legend().get_texts()]
    ['loss: AUC 0.700', 'guessing']
    """
    if not isinstance(results, Mapping) or not results:
        raise InvalidInputError(
            f"results must be a mapping of names to attacks, got {results!r}"
        )
    curves = {name: _curve(name, result) for name, result in results.items()}
    positive = [
        x[x > 0].min() for curve in curves.values() for x in curve if (x > 0).any()
    ]
    smallest = min([_SMALLEST_RATE, *positive])
    with style():
        axes = new_figure(size=(5.6, 4.6))[1] if ax is None else ax
        for place, (name, (fpr, tpr)) in enumerate(curves.items()):
            label = f"{name}: AUC {float(results[name].auc):.3f}"
            interval = getattr(results[name], "auc_interval", None)
            if interval is not None:
                label += f" ({interval[0]:.3f} to {interval[1]:.3f})"
            color = PALETTE[place % len(PALETTE)]
            # A rate of zero has no place on the axis; its edge stands for it.
            x, y = np.maximum(fpr, smallest), np.maximum(tpr, smallest)
            axes.plot(x, y, color=color, label=label, drawstyle="steps-post")
        ends = [smallest, 1.0]
        axes.plot(ends, ends, ls=":", color=MUTED, label="guessing")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(smallest, 1.0)
        axes.set_ylim(smallest, 1.05)
        axes.set_xlabel("false positive rate")
        axes.set_ylabel("true positive rate")
        axes.set_title("Who was in the training set?")
        axes.legend(loc="lower right")
    return axes


def plot_frontier(
    table: Any,
    x: str,
    y: str,
    *,
    by: str = "mechanism",
    xlabel: str | None = None,
    ylabel: str | None = None,
    chance: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw utility against attack success, one line a mechanism.

    Parameters
    ----------
    table : DataFrame
        Columns `x`, `y` and `by`, one row a setting. Columns ``<x>_lower`` and
        ``<x>_upper``, and those of `y`, are drawn as intervals.
    x, y : str
        Columns of the attack's success and of the utility.
    by : str, default="mechanism"
        Column that tells lines apart.
    xlabel, ylabel : str, optional
        Labels with units; by default the names of the columns.
    chance : float, optional
        Success of guessing, drawn as a line.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InvalidInputError
        If a column is missing or there is no row.

    Examples
    --------
    >>> import pandas as pd
    >>> from mlmethods.privacy import plot_frontier
    >>> table = pd.DataFrame({"mechanism": ["vMF", "vMF", "Gaussian"],
    ...                       "auc": [0.6, 0.5, 0.55], "accuracy": [0.8, 0.6, 0.7]})
    >>> axes = plot_frontier(table, "auc", "accuracy", chance=0.5)
    >>> [label.get_text() for label in axes.get_legend().get_texts()]
    ['vMF', 'Gaussian', 'guessing']
    """
    rows = _table("table", table, x, y, by)
    with style():
        axes = new_figure()[1] if ax is None else ax
        for place, name in enumerate(dict.fromkeys(rows[by])):
            line = rows[rows[by] == name].sort_values(x)
            axes.errorbar(
                line[x].to_numpy(np.float64),
                line[y].to_numpy(np.float64),
                xerr=_interval(line, x),
                yerr=_interval(line, y),
                color=PALETTE[place % len(PALETTE)],
                marker=_MARKERS[place % len(_MARKERS)],
                elinewidth=1.0,
                capsize=2,
                label=str(name),
            )
        if chance is not None:
            at = check_real("chance", chance)
            axes.axvline(at, ls=":", color=MUTED, label="guessing")
        axes.set_xlabel(x.replace("_", " ") if xlabel is None else xlabel)
        axes.set_ylabel(y.replace("_", " ") if ylabel is None else ylabel)
        axes.set_title("Utility against attack success")
        handles, names = axes.get_legend_handles_labels()
        # matplotlib puts lines before those with bars; guessing comes last.
        order = sorted(range(len(names)), key=lambda i: names[i] == "guessing")
        axes.legend([handles[i] for i in order], [names[i] for i in order])
    return axes


def plot_reconstructions(
    images: Mapping[str, ArrayLike], *, ax: Axes | None = None
) -> Axes:
    """Draw images in rows: what was trained on, and what attacks recovered.

    Parameters
    ----------
    images : mapping of str to array-like of shape (n, h, w) or (n, h, w, channels)
        Rows of one size each, with 1 or 3 channels; values in [0, 1], or integers in
        [0, 255]. Values outside are clipped.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        One picture of all, with a label for each row.

    Raises
    ------
    InvalidInputError
        If there is no row, or shapes differ.

    Examples
    --------
    >>> import numpy as np
    >>> from mlmethods.privacy import plot_reconstructions
    >>> image = np.linspace(0, 1, 64).reshape(1, 8, 8)
    >>> axes = plot_reconstructions({"image": image, "attack": 1 - image})
    >>> [label.get_text() for label in axes.get_yticklabels()]
    ['image', 'attack']
    """
    if not isinstance(images, Mapping) or not images:
        raise InvalidInputError(
            f"images must be a mapping of names to arrays of images, got "
            f"{type(images).__name__}"
        )
    rows = {name: _pictures(name, values) for name, values in images.items()}
    shapes = {row.shape for row in rows.values()}
    if len(shapes) > 1:
        raise InvalidInputError(
            f"images must have one shape in every row, got {sorted(shapes)}"
        )
    n, height, width, _ = shapes.pop()
    cell_height, cell_width = height + _GAP, width + _GAP
    # Transparent between the images, so that the page's own color shows.
    canvas = np.zeros((len(rows) * cell_height - _GAP, n * cell_width - _GAP, 4))
    for place, row in enumerate(rows.values()):
        top = place * cell_height
        for column, picture in enumerate(row):
            left = column * cell_width
            canvas[top : top + height, left : left + width, :3] = picture
            canvas[top : top + height, left : left + width, 3] = 1.0
    with style():
        size = (1.6 + 0.8 * n, 0.4 + 0.8 * len(rows) * height / width)
        axes = new_figure(size=size)[1] if ax is None else ax
        axes.imshow(canvas, interpolation="nearest")
        middles = np.arange(len(rows)) * cell_height + (height - 1) / 2
        axes.set_yticks(middles, list(rows))
        axes.set_xticks([])
        axes.tick_params(length=0)
        axes.grid(visible=False)
        for side in axes.spines.values():
            side.set_visible(False)
    return axes


def plot_epsilon(
    accountant: Any,
    delta: float = 1e-5,
    *,
    points: int = 12,
    ax: Axes | None = None,
) -> Axes:
    """Draw what a run had spent after each number of steps.

    Parameters
    ----------
    accountant : Accountant or DPTrainer
        An account with its steps, or what has one.
    delta : float, default=1e-5
        In (0, 1).
    points : int, default=12
        Numbers of steps that are computed, spread evenly on a logarithmic scale.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        Epsilon for the account's neighbors, by Renyi divergences and by loss
        distributions; the latter is dashed where it rests on a conjecture.

    Raises
    ------
    InvalidInputError
        If nothing was recorded, dimensions are missing, or an argument is outside its
        range.

    Examples
    --------
    >>> from mlmethods.privacy import Accountant, GaussianMechanism, plot_epsilon
    >>> accountant = Accountant()
    >>> accountant.step(GaussianMechanism(4.0), count=100)
    >>> axes = plot_epsilon(accountant, points=3)
    >>> axes.get_lines()[0].get_xdata()
    array([  1,  10, 100])
    """
    account = getattr(accountant, "accountant", accountant)
    if not isinstance(account, Accountant) or not account.entries:
        raise InvalidInputError(
            f"accountant must be an Accountant with recorded steps, or have one, got "
            f"{accountant!r}"
        )
    check_integer("points", points, minimum=2)
    total = account.n_steps
    steps = np.unique(np.geomspace(1, total, points).round().astype(np.int64))
    prefixes = [_prefix(account, int(n)) for n in steps]
    proven = account.pld_is_proven
    names: dict[Method, str] = {"rdp": "Renyi divergences", "pld": "loss distributions"}
    if not proven:
        names["pld"] += " (conjecture)"
    with style():
        axes = new_figure()[1] if ax is None else ax
        for place, (method, label) in enumerate(names.items()):
            spent = np.array([prefix.epsilon(delta, method) for prefix in prefixes])
            dashes = "--" if method == "pld" and not proven else "-"
            marker = _MARKERS[place]
            options: Any = {"color": PALETTE[place], "marker": marker, "ls": dashes}
            axes.plot(steps, spent, label=label, **options)
            if (np.isfinite(spent) & (spent > 0)).any():
                axes.set_yscale("log")
        axes.set_xscale("log")
        axes.set_xlabel("steps")
        axes.set_ylabel(f"epsilon at delta {delta:g}")
        neighbors = str(account.adjacency).replace("_", " ")
        axes.set_title(f"Privacy spent ({neighbors})")
        axes.legend()
    return axes


def _prefix(account: Accountant, n_steps: int) -> Accountant:
    """Return the account as it was after so many steps."""
    kept = []
    for entry in account.entries:
        count = min(entry.count, n_steps)
        if count:
            kept.append(replace(entry, count=count))
        n_steps -= count
    prefix = account.copy()
    prefix.entries = tuple(kept)
    return prefix


def _curve(name: str, result: Any) -> tuple[NDArray, NDArray]:
    """Return the rates of an attack's curve."""
    try:
        fpr = np.asarray(result.fpr, dtype=np.float64)
        tpr = np.asarray(result.tpr, dtype=np.float64)
        float(result.auc)
    except (AttributeError, TypeError, ValueError) as error:
        raise InvalidInputError(
            f"results[{name!r}] must have fpr, tpr and auc, got {type(result).__name__}"
        ) from error
    if fpr.ndim != 1 or fpr.shape != tpr.shape or not len(fpr):
        raise InvalidInputError(
            f"results[{name!r}] must have fpr and tpr of one length, got shapes "
            f"{fpr.shape} and {tpr.shape}"
        )
    return fpr, tpr


def _table(name: str, value: Any, *columns: str) -> pd.DataFrame:
    """Return `value` as a table that has these columns and a row."""
    import pandas as pd

    if not isinstance(value, pd.DataFrame):
        raise InvalidInputError(
            f"{name} must be a DataFrame with the columns {', '.join(columns)}, got "
            f"{type(value).__name__}"
        )
    missing = [column for column in columns if column not in value]
    if missing or value.empty:
        problem = f"no column {missing[0]!r}" if missing else "no row"
        raise InvalidInputError(
            f"{name} must have rows with the columns {', '.join(columns)}, got "
            f"{problem}"
        )
    return value


def _interval(line: pd.DataFrame, column: str) -> NDArray | None:
    """Return how far bars reach below and above, where the table has an interval."""
    ends = (f"{column}_lower", f"{column}_upper")
    if not set(ends) <= set(line):
        return None
    center, low, high = (line[k].to_numpy(np.float64) for k in (column, *ends))
    # An interval by resampling need not contain the estimate.
    return np.maximum([center - low, high - center], 0.0)


def _pictures(name: str, values: ArrayLike) -> NDArray:
    """Return images [n, h, w, 3] in [0, 1]."""
    array = np.asarray(values)
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4 or array.shape[-1] not in (1, 3) or 0 in array.shape:
        raise InvalidInputError(
            f"images[{name!r}] must have shape (n, h, w) or (n, h, w, 1 or 3), got "
            f"{np.shape(values)}"
        )
    if array.dtype.kind not in "biuf":
        raise InvalidInputError(
            f"images[{name!r}] must hold numbers, got dtype {array.dtype}"
        )
    scaled = array / 255.0 if array.dtype.kind in "iu" else array.astype(np.float64)
    return np.broadcast_to(np.clip(scaled, 0, 1), (*array.shape[:3], 3))
