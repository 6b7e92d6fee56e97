"""Bootstrap intervals of metrics over patients."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from mlmethods.common import statistics
from mlmethods.common.rng import generator
from mlmethods.common.statistics import Interval
from mlmethods.common.validation import check_choice, check_integer, check_real
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import NDArray
from mlmethods.motion.metrics._aggregates import METRICS, NEEDS, check_column

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["bootstrap_ci"]

SCHEMES = ("patients", "paper")


def bootstrap_ci(
    table: pd.DataFrame,
    stat: str | Callable[[pd.DataFrame], float],
    groups: str | None = "patient",
    *,
    n: int = 1000,
    level: float = 0.95,
    seed: Any = 0,
    scheme: str = "patients",
) -> Interval:
    """Return a percentile bootstrap interval of a metric.

    Parameters
    ----------
    table : pandas.DataFrame
        A row for each recording, such as from :meth:`EvaluationResult.to_dataframe`.
    stat : str or callable
        Name of a metric; or of another column, for its mean; or what maps rows of the
        table to a number. A group that is drawn twice then has two different values in
        the column of groups.
    groups : str, optional
        Column of what is drawn, by default patients: recordings of a person are not
        independent. None draws rows.
    n : int
        Resamples.
    level : float
        Confidence, in (0, 1).
    seed : None, int or numpy.random.Generator
        Who draws.
    scheme : {"patients", "paper"}
        ``"paper"`` draws a quarter of the rows, with replacement, whoever they are of,
        as the published intervals of StrokeRehab do.

    Returns
    -------
    Interval
        The estimate and the two ends.

    Raises
    ------
    InvalidInputError
        If a column is missing, or there are fewer than two groups to draw from.

    Examples
    --------
    >>> import pandas as pd
    >>> from mlmethods.motion.metrics import bootstrap_ci
    >>> table = pd.DataFrame({"patient": ["a", "a", "b", "c"], "edit": [60, 70, 80, 90]})
    >>> interval = bootstrap_ci(table, "edit", n=200)
    >>> interval.estimate, 60 <= interval.low < interval.high <= 90
    (75.0, True)
    """
    check_choice("scheme", scheme, SCHEMES)
    check_integer("n", n, minimum=1)
    codes = np.zeros(len(table), np.int64)
    members = [np.array([row]) for row in range(len(table))]
    if groups is not None:
        check_column(table, groups)
        codes = np.asarray(table.groupby(groups, sort=False, dropna=False).ngroup())
        members = np.split(
            np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1]
        )
    measure = _measure(table, stat, groups)
    if scheme == "paper":
        return _quarter_ci(measure, codes, n, level, seed)
    sizes = np.array([len(rows) for rows in members])

    def of_drawn(drawn: NDArray) -> float:
        chosen = drawn.astype(np.int64)
        rows = np.concatenate([members[group] for group in chosen])
        if groups is None:
            return measure(rows, codes)
        return measure(rows, np.repeat(np.arange(len(chosen)), sizes[chosen]))

    every = np.arange(len(members))
    return statistics.bootstrap_ci(every, of_drawn, n=n, level=level, rng=seed)


def _quarter_ci(
    measure: Callable[[NDArray, NDArray], float],
    codes: NDArray,
    n: int,
    level: float,
    seed: Any,
) -> Interval:
    inside = check_real(
        "level", level, minimum=0, maximum=1, open_minimum=True, open_maximum=True
    )
    if len(codes) < 4:
        raise InvalidInputError(
            f"table must have at least 4 rows to draw a quarter, got {len(codes)}"
        )
    rng = generator(seed)
    draws = rng.integers(len(codes), size=(n, len(codes) // 4))
    values = [measure(rows, codes[rows]) for rows in draws]
    low, high = np.quantile(values, [(1 - inside) / 2, (1 + inside) / 2])
    return Interval(measure(np.arange(len(codes)), codes), float(low), float(high))


def _measure(
    table: pd.DataFrame,
    stat: str | Callable[[pd.DataFrame], float],
    groups: str | None,
) -> Callable[[NDArray, NDArray], float]:
    """Return what maps drawn rows, and the groups they are of, to the statistic."""
    if callable(stat):

        def of_rows(rows: NDArray, codes: NDArray) -> float:
            part = table.iloc[rows]
            return float(
                stat(part if groups is None else part.assign(**{groups: codes}))
            )

        return of_rows
    if stat in METRICS and set(NEEDS[stat]) <= set(table):
        columns = {name: table[name].to_numpy(np.float64) for name in NEEDS[stat]}
        metric = METRICS[stat]
        return lambda rows, codes: metric(
            {name: values[rows] for name, values in columns.items()}, codes
        )
    check_column(table, stat)
    values = table[stat].to_numpy(np.float64)
    return lambda rows, codes: float(values[rows].mean())
