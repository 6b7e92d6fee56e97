"""Figures of spectra, of what noise costs, and of learning curves with their theory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mlmethods.common.plotting import MUTED, PALETTE, new_figure, style
from mlmethods.common.validation import check_integer
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import ArrayLike
from mlmethods.overfitting.empirical import ExponentFit
from mlmethods.overfitting.spectrum import Spectrum
from mlmethods.overfitting.theory import EigenPrediction

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = [
    "plot_cost",
    "plot_learnabilities",
    "plot_learning_curve",
    "plot_noise_profile",
    "plot_spectrum",
    "scale_samples",
]

# A curve of a spectrum needs no more points than that.
_MOST_POINTS = 2000
# More sizes than this overlap as labels.
_MOST_TICKS = 8
# Lines of reference of a noise profile, by column.
_REFERENCES = {
    "chance": ("guessing", ":"),
    "nearest": ("1-NN", "--"),
    "bayes": ("Bayes", "-."),
}


def plot_spectrum(
    spectrum: Spectrum, fit: ExponentFit | None = None, *, ax: Axes | None = None
) -> Axes:
    """Draw the eigenvalues against their index on logarithmic scales.

    Parameters
    ----------
    spectrum : Spectrum
        A level with several modes is a step. Zeros are not drawn.
    fit : ExponentFit, optional
        Its law is drawn over the indices that it was fitted to.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InvalidInputError
        If it is not a spectrum or has no positive eigenvalue.

    Examples
    --------
    >>> from mlmethods.overfitting import Spectrum, fit_exponent, plot_spectrum
    >>> spectrum = Spectrum.powerlaw(1.5, 400)
    >>> axes = plot_spectrum(spectrum, fit_exponent(spectrum, random_state=0))
    >>> axes.get_title(loc="left")
    'Eigenvalues fall like i^-1.50'
    """
    if not isinstance(spectrum, Spectrum) or not (spectrum.values > 0).any():
        raise InvalidInputError(
            f"spectrum must be a Spectrum with a positive eigenvalue, got {spectrum!r}"
        )
    order = np.argsort(-spectrum.values, kind="stable")
    values = spectrum.values[order]
    last = np.cumsum(spectrum.multiplicities[order])
    first = last - spectrum.multiplicities[order] + 1
    shown = np.flatnonzero(values > 0)
    if len(shown) > _MOST_POINTS:
        # Evenly spaced on the axis, which is logarithmic.
        picked = np.geomspace(1, len(shown), _MOST_POINTS).round().astype(int) - 1
        shown = shown[np.unique(picked)]
    index = np.stack([first[shown], np.maximum(last[shown], first[shown])], axis=1)
    with style():
        axes = new_figure()[1] if ax is None else ax
        axes.plot(index.ravel(), np.repeat(values[shown], 2), label="eigenvalues")
        title = "Eigenvalues"
        if fit is not None:
            ends = np.array([fit.i_min, fit.i_max], dtype=np.float64)
            law = np.exp(fit.intercept - fit.alpha * np.log(ends))
            axes.plot(ends, law, "--", label=f"fit: exponent {fit.alpha:.2f}")
            title = f"Eigenvalues fall like i^-{fit.alpha:.2f}"
            if fit.superpolynomial:
                title = "Eigenvalues fall faster than a power law"
            axes.legend()
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("index")
        axes.set_ylabel("eigenvalue")
        axes.set_title(title)
    return axes


def plot_cost(
    e0: Any, theory: float | pd.DataFrame | None = None, *, ax: Axes | None = None
) -> Axes:
    """Draw what noise costs against the number of samples, with its interval.

    Parameters
    ----------
    e0 : DataFrame or Verdict
        Columns n and e0, and optionally lower, upper and resolved. Points that are not
        resolved are hollow.
    theory : float or DataFrame, optional
        A limit, drawn as a line across, or columns n and e0, drawn as a curve.
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
    >>> from mlmethods.overfitting import plot_cost
    >>> table = pd.DataFrame({"n": [100, 200, 400], "e0": [1.45, 1.42, 1.42]})
    >>> axes = plot_cost(table, theory=1.5)
    >>> [label.get_text() for label in axes.get_legend().get_texts()]
    ['measured', 'theory', 'no cost']
    """
    table = _table("e0", _inside(e0, "e0"), "n", "e0").sort_values("n")
    n, cost = (table[name].to_numpy(dtype=np.float64) for name in ("n", "e0"))
    resolved = np.ones(len(table), dtype=bool)
    if "resolved" in table:
        resolved = table["resolved"].to_numpy(dtype=bool)
    limit: Any = theory
    curve = None
    if theory is not None and np.ndim(limit):
        curve = _table("theory", theory, "n", "e0").sort_values("n")
    with style():
        axes = new_figure()[1] if ax is None else ax
        color = PALETTE[0]
        if {"lower", "upper"} <= set(table):
            low, high = (
                table[k].to_numpy(dtype=np.float64) for k in ("lower", "upper")
            )
            axes.fill_between(n, low, high, color=color, alpha=0.2, lw=0)
        axes.plot(n[resolved], cost[resolved], "o-", color=color, label="measured")
        if not resolved.all():
            hollow: Any = {"color": color, "fillstyle": "none", "label": "not resolved"}
            axes.plot(n[~resolved], cost[~resolved], "o", **hollow)
        if curve is not None:
            axes.plot(curve["n"], curve["e0"], "--", color=PALETTE[1], label="theory")
        elif limit is not None:
            axes.axhline(float(limit), ls="--", color=PALETTE[1], label="theory")
        axes.axhline(1.0, ls=":", color=MUTED, label="no cost")
        scale_samples(axes, n)
        if (cost > 10).any():
            axes.set_yscale("log")
        axes.set_ylabel("overfitting coefficient")
        axes.set_title("What one unit of noise costs")
        axes.legend()
    return axes


def plot_noise_profile(profile: Any, *, ax: Axes | None = None) -> Axes:
    """Draw the test error against the rate of flipped labels, with lines of reference.

    Parameters
    ----------
    profile : NoiseProfile or DataFrame
        Columns noise and risk, one row a rate or a draw; of several draws the mean is
        drawn and the band spans them, unless columns lower and upper give it. Columns
        bayes, nearest and chance are drawn as lines where there are any.
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
    >>> from mlmethods.overfitting import plot_noise_profile
    >>> table = pd.DataFrame({"noise": [0, 0.2, 0.4], "risk": [0.06, 0.12, 0.35],
    ...                       "bayes": 0.0, "chance": 0.5})
    >>> axes = plot_noise_profile(table)
    >>> [label.get_text() for label in axes.get_legend().get_texts()]
    ['measured', 'guessing', 'Bayes']
    """
    table = _table("profile", _inside(profile, "table"), "noise", "risk")
    groups = table.groupby("noise", sort=True)
    mean = groups["risk"].mean()
    low = groups["lower"].mean() if "lower" in table else groups["risk"].min()
    high = groups["upper"].mean() if "upper" in table else groups["risk"].max()
    title = "Error against label noise"
    if getattr(profile, "tau", None) is not None:
        title += f": tau = {float(profile.tau):.2f}"
    with style():
        axes = new_figure()[1] if ax is None else ax
        axes.fill_between(mean.index, low, high, color=PALETTE[0], alpha=0.2, lw=0)
        axes.plot(mean.index, mean, "o-", color=PALETTE[0], label="measured")
        for column, (label, dashes) in _REFERENCES.items():
            if column in table:
                line = groups[column].mean()
                axes.plot(line.index, line, ls=dashes, color=MUTED, label=label)
        axes.set_xlabel("rate of flipped training labels")
        axes.set_ylabel("test error")
        axes.set_title(title)
        axes.legend()
    return axes


def plot_learning_curve(
    table: Any, theory: pd.DataFrame | None = None, *, ax: Axes | None = None
) -> Axes:
    """Draw the test risk against the number of samples, one curve a noise level.

    Parameters
    ----------
    table : DataFrame or StudyResult
        Columns n and risk, and optionally noise; of several rows the mean is drawn, and
        bars of one standard deviation.
    theory : DataFrame, optional
        Columns n and risk, and noise if `table` has it; drawn dashed.
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
    >>> from mlmethods.overfitting import plot_learning_curve
    >>> table = pd.DataFrame({"n": [50, 50, 100, 100], "risk": [1.5, 1.7, 1.4, 1.4]})
    >>> axes = plot_learning_curve(table)
    >>> axes.get_lines()[0].get_ydata().round(3)
    array([1.6, 1.4])
    """
    runs = _table("table", _inside(table, "table"), "n", "risk")
    leveled = "noise" in runs
    curves = _by_noise(runs)
    predicted = {}
    if theory is not None:
        needed = ("n", "risk", "noise") if leveled else ("n", "risk")
        predicted = _by_noise(_table("theory", theory, *needed))
    with style():
        axes = new_figure()[1] if ax is None else ax
        for place, (noise, rows) in enumerate(curves.items()):
            color = PALETTE[place % len(PALETTE)]
            groups = rows.groupby("n", sort=True)["risk"]
            mean, spread = groups.mean(), groups.std().fillna(0.0)
            label = f"noise {noise:g}" if leveled else "measured"
            n, risk = mean.index.to_numpy(), mean.to_numpy()
            bars: Any = {"yerr": spread.to_numpy(), "color": color, "label": label}
            axes.errorbar(n, risk, fmt="o-", **bars)
            if noise in predicted:
                line = predicted[noise].sort_values("n")
                axes.plot(line["n"], line["risk"], "--", color=color)
        scale_samples(axes, runs["n"].to_numpy(dtype=np.float64))
        axes.set_yscale("log")
        axes.set_ylabel("test risk")
        dashed = ", theory dashed" if predicted else ""
        axes.set_title(f"Learning curves{dashed}")
        if leveled:
            axes.legend()
    return axes


def plot_learnabilities(
    prediction: EigenPrediction, *, levels: int = 30, ax: Axes | None = None
) -> Axes:
    """Draw the share of each level that is learned as bars.

    Parameters
    ----------
    prediction : EigenPrediction
        Of one n and reg.
    levels : int, default=30
        Draw the first so many.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InvalidInputError
        If it is not the prediction of one pair of n and reg, or `levels` is below 1.

    Examples
    --------
    >>> from mlmethods.overfitting import Spectrum, plot_learnabilities, predict
    >>> axes = plot_learnabilities(predict(Spectrum.powerlaw(2.0, 100), None, 10))
    >>> len(axes.patches)
    30
    """
    if not isinstance(prediction, EigenPrediction) or np.ndim(prediction.kappa):
        raise InvalidInputError(
            f"prediction must be an EigenPrediction of one n and reg, got "
            f"{prediction!r}"
        )
    shown = prediction.learnabilities[: check_integer("levels", levels, minimum=1)]
    with style():
        from matplotlib.ticker import MaxNLocator

        axes = new_figure()[1] if ax is None else ax
        axes.bar(np.arange(1, len(shown) + 1), shown)
        axes.set_ylim(0.0, 1.0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(visible=False, axis="x")
        axes.set_xlabel("level")
        axes.set_ylabel("learnability")
        axes.set_title("Share of each level that is learned")
    return axes


def scale_samples(axes: Axes, n: ArrayLike) -> None:
    """Make the axis of samples logarithmic, with ticks at a few measured sizes."""
    sizes = np.unique(n)
    axes.set_xscale("log")
    axes.set_xlabel("training rows n")
    if len(sizes) <= _MOST_TICKS:
        axes.set_xticks(sizes, [f"{size:,.0f}" for size in sizes])
        axes.minorticks_off()


def _inside(value: Any, attribute: str) -> Any:
    """Return what an object holds; a table is it itself, whatever its columns."""
    import pandas as pd

    if isinstance(value, pd.DataFrame):
        return value
    return getattr(value, attribute, value)


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


def _by_noise(table: pd.DataFrame) -> dict[float, pd.DataFrame]:
    """Return the rows of each noise level; all of them without such a column."""
    if "noise" not in table:
        return {0.0: table}
    groups: Any = table.groupby("noise", sort=True)
    return {float(noise): rows for noise, rows in groups}
