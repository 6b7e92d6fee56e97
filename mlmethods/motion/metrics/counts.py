"""Numbers of actions, predicted against true."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mlmethods.common.validation import check_real
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import ArrayLike, NDArray
from mlmethods.motion.metrics._labels import (
    check_recordings,
    classes_of,
    named,
    token_pair,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Agreement",
    "bland_altman",
    "count_error",
    "count_table",
    "icc",
    "rates_from_counts",
]

_COUNTS = ("gt_len", "pred_len", "sub", "missed", "extra")


class Agreement(NamedTuple):
    """Limits of agreement of two ways to count.

    Attributes
    ----------
    bias : float
        Mean of predicted minus true.
    low, high : float
        Between which the given share of differences is expected to be.
    """

    bias: float
    low: float
    high: float


def count_table(
    truths: Sequence[Any],
    preds: Sequence[Any],
    background: Any = None,
    *,
    classes: Sequence[Any] | None = None,
    groups: Mapping[str, Sequence[Any]] | None = None,
    collapse_repeats: bool | None = None,
) -> pd.DataFrame:
    """Count the actions of each class in each recording.

    Parameters
    ----------
    truths, preds : lists of Segments or of sequences of int or str
        One entry for each recording.
    background, collapse_repeats
        As for :func:`edit_score`.
    classes : sequence, optional
        Classes in their order; by default those of Segments, or the labels that occur,
        sorted.
    groups : mapping of str to sequence, optional
        Further columns, one value for each recording, such as patient and activity.

    Returns
    -------
    pandas.DataFrame
        A row for each recording and class, with the columns `recording` (from 0), those
        of `groups`, `class`, `true` and `pred`.

    Raises
    ------
    InvalidInputError
        If a column has not one value for each recording, or the arguments cannot be
        compared.

    Examples
    --------
    >>> from mlmethods.motion.metrics import count_table
    >>> table = count_table([["a", "b", "a"]], [["a", "b"]])
    >>> table[["class", "true", "pred"]].values.tolist()
    [['a', 2, 1], ['b', 1, 1]]
    """
    import pandas as pd

    left, right = check_recordings(truths, preds)
    columns = check_groups(groups, len(left))
    counts = []
    for one, other in zip(left, right, strict=True):
        a, b, known = token_pair(one, other, background, collapse_repeats)
        counts.append((Counter(named(a, known)), Counter(named(b, known))))
    if classes is None:
        found = set().union(*(tally for pair in counts for tally in pair))
        classes = classes_of((*left, *right), found)
    rows = [
        {
            "recording": index,
            **{name: values[index] for name, values in columns.items()},
            "class": label,
            "true": true[label],
            "pred": pred[label],
        }
        for index, (true, pred) in enumerate(counts)
        for label in classes
    ]
    names = ["recording", *columns, "class", "true", "pred"]
    return pd.DataFrame(rows, columns=names)


def count_error(table: pd.DataFrame, by: str | Sequence[str] = "class") -> pd.DataFrame:
    """Return how far predicted counts are from true ones.

    Parameters
    ----------
    table : pandas.DataFrame
        With the columns `true` and `pred`, such as from :func:`count_table`.
    by : str or sequence of str
        Columns whose values are reported apart.

    Returns
    -------
    pandas.DataFrame
        A row for each group: `true` and `pred` (sums), `error` (predicted minus true),
        `relative` (the error over the true count, NaN if that is 0), and `absolute`,
        the mean over the rows of the group of the absolute error.

    Raises
    ------
    InvalidInputError
        If a column is missing.

    Examples
    --------
    >>> from mlmethods.motion.metrics import count_error, count_table
    >>> error = count_error(count_table([[0, 1, 0], [1, 0]], [[0, 1], [0, 1, 0]]))
    >>> error.loc[0, ["true", "pred", "error", "absolute"]].tolist()
    [3.0, 3.0, 0.0, 1.0]
    """
    columns = [by] if isinstance(by, str) else list(by)
    _check_columns("table", table, [*columns, "true", "pred"])
    found = table.assign(absolute=(table["pred"] - table["true"]).abs())
    grouped = found.groupby(columns, sort=False, dropna=False)
    result = grouped[["true", "pred"]].sum()
    result["error"] = result["pred"] - result["true"]
    result["relative"] = result["error"] / result["true"].where(result["true"] > 0)
    result["absolute"] = grouped["absolute"].mean()
    return result


def icc(*ratings: ArrayLike) -> float:
    """Return the intraclass correlation ICC(2,1) of counts.

    Two-way random effects, absolute agreement, a single rater.

    Parameters
    ----------
    *ratings : array-likes of shape (n,)
        What each of two or more raters said of the same n cases, such as true and
        predicted counts.

    Returns
    -------
    float
        At most 1; NaN if all ratings are equal, so that there is nothing to explain.

    Raises
    ------
    InvalidInputError
        If there are fewer than two raters or cases, lengths differ, or a value is not
        finite.

    References
    ----------
    P. E. Shrout, J. L. Fleiss, "Intraclass correlations: uses in assessing rater
    reliability", Psychological Bulletin 86 (1979).

    Examples
    --------
    >>> from mlmethods.motion.metrics import icc
    >>> round(icc([10, 12, 20], [10, 13, 19]), 3)
    0.986
    """
    table = _ratings(ratings)
    n, k = table.shape
    mean = table.mean()
    rows = k * ((table.mean(axis=1) - mean) ** 2).sum() / (n - 1)
    columns = n * ((table.mean(axis=0) - mean) ** 2).sum() / (k - 1)
    rest = ((table - mean) ** 2).sum() - rows * (n - 1) - columns * (k - 1)
    error = max(rest, 0.0) / ((n - 1) * (k - 1))
    whole = rows + (k - 1) * error + k * (columns - error) / n
    return float((rows - error) / whole) if whole else float("nan")


def bland_altman(true: ArrayLike, pred: ArrayLike, *, level: float = 0.95) -> Agreement:
    """Return the limits of agreement of predicted and true counts.

    Parameters
    ----------
    true, pred : array-like of shape (n,)
        Counts of the same n cases.
    level : float
        Share of normally distributed differences between the limits.

    Returns
    -------
    Agreement
        Mean difference, and the limits at as many standard deviations from it.

    Raises
    ------
    InvalidInputError
        If there are fewer than two cases, lengths differ, or a value is not finite.

    References
    ----------
    J. M. Bland, D. G. Altman, "Statistical methods for assessing agreement between two
    methods of clinical measurement", The Lancet 327 (1986).

    Examples
    --------
    >>> from mlmethods.motion.metrics import bland_altman
    >>> [round(x, 2) for x in bland_altman([10, 12, 20], [11, 12, 19])]
    [0.0, -1.96, 1.96]
    """
    share = check_real(
        "level", level, minimum=0, maximum=1, open_minimum=True, open_maximum=True
    )
    table = _ratings((true, pred))
    difference = table[:, 1] - table[:, 0]
    bias = float(difference.mean())
    half = NormalDist().inv_cdf((1 + share) / 2) * float(difference.std(ddof=1))
    return Agreement(bias, bias - half, bias + half)


def rates_from_counts(table: pd.DataFrame, *, group: str = "group") -> pd.DataFrame:
    """Return rates of groups, such as patients, from counts of aligned actions.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns `gt_len` and `pred_len` (true and predicted actions), `sub`, `missed`,
        `extra`, and the group. Rows of a group are added.
    group : str
        Name of the column of groups.

    Returns
    -------
    pandas.DataFrame
        A row for each group: the sums, `hits`, and `sensitivity`, `fdr`, `f1` and
        `aer`. ``attrs`` holds `mean_sensitivity`, `mean_fdr`, `mean_f1` and `mean_aer`,
        means over groups, and `micro_aer`, of all counts together.

    Raises
    ------
    InvalidInputError
        If a column is missing, or the counts of a row contradict each other.

    Examples
    --------
    >>> import pandas as pd
    >>> from mlmethods.motion.metrics import rates_from_counts
    >>> columns = ["group", "gt_len", "pred_len", "sub", "missed", "extra"]
    >>> rates = rates_from_counts(pd.DataFrame([["s1", 10, 9, 1, 2, 1]], columns=columns))
    >>> rates[["sensitivity", "aer"]].round(2).values.tolist()
    [[0.7, 0.4]]
    """
    import pandas as pd

    _check_columns("table", table, [group, *_COUNTS])
    _check_counts(table)
    sums = table.groupby(group, sort=False, dropna=False)[list(_COUNTS)].sum()
    counts = {name: sums[name].to_numpy(np.float64) for name in _COUNTS}
    found = rates(counts)
    sums["hits"] = sums["gt_len"] - sums["sub"] - sums["missed"]
    result = pd.concat([sums, pd.DataFrame(found, index=sums.index)], axis=1)
    for name, values in found.items():
        seen = values[~np.isnan(values)]
        result.attrs[f"mean_{name}"] = float(seen.mean()) if len(seen) else np.nan
    total = {name: values.sum(keepdims=True) for name, values in counts.items()}
    result.attrs["micro_aer"] = float(rates(total)["aer"][0])
    return result


def rates(counts: Mapping[str, NDArray]) -> dict[str, NDArray]:
    """Return the rates of arrays of counts; NaN where nothing was there to find."""
    truth, pred = counts["gt_len"], counts["pred_len"]
    sub, missed, extra = counts["sub"], counts["missed"], counts["extra"]
    nothing = np.full(len(truth), np.nan)
    seen = truth > 0
    found = np.divide(truth - missed - sub, truth, out=nothing.copy(), where=seen)
    fdr = np.divide(extra + sub, pred, out=np.zeros(len(pred)), where=pred > 0)
    both = (1 - fdr) + found
    f1 = np.divide(
        2 * (1 - fdr) * found, both, out=np.zeros_like(both), where=both != 0
    )
    aer = np.divide(sub + missed + extra, truth, out=nothing, where=seen)
    return {"sensitivity": found, "fdr": fdr, "f1": f1, "aer": aer}


def check_groups(
    groups: Mapping[str, Sequence[Any]] | None, count: int
) -> dict[str, list[Any]]:
    """Return columns that have one value for each recording.

    Raises
    ------
    InvalidInputError
        If one has more or fewer.
    """
    columns = {name: list(values) for name, values in (groups or {}).items()}
    for name, values in columns.items():
        if len(values) != count:
            raise InvalidInputError(
                f"{name} must have one entry for each of {count} recordings, got "
                f"{len(values)}"
            )
    return columns


def _check_columns(name: str, table: pd.DataFrame, columns: Sequence[str]) -> None:
    missing = [column for column in columns if column not in table]
    if missing:
        raise InvalidInputError(
            f"{name} must have the columns {', '.join(columns)}; it lacks "
            f"{', '.join(missing)}"
        )


def _check_counts(table: pd.DataFrame) -> None:
    numbers = table[list(_COUNTS)].to_numpy(np.float64)
    whole = np.isfinite(numbers) & (numbers >= 0) & (numbers == np.floor(numbers))
    truth, pred, sub, missed, extra = numbers.T
    paired = truth - missed
    with np.errstate(invalid="ignore"):
        right = whole.all(axis=1) & (paired == pred - extra) & (sub <= paired)
    if not right.all():
        row = int(np.argmin(right))
        raise InvalidInputError(
            "table must hold counts with gt_len - missed equal to pred_len - extra and "
            f"at least sub, got {dict(zip(_COUNTS, numbers[row].tolist(), strict=True))}"
            f" in row {row}"
        )


def _ratings(columns: Sequence[ArrayLike]) -> NDArray:
    arrays = [np.asarray(column) for column in columns]
    shapes = {array.shape for array in arrays}
    good = len(arrays) > 1 and len(shapes) == 1 and arrays[0].ndim == 1
    if not good or any(array.dtype.kind not in "fiu" for array in arrays):
        raise InvalidInputError(
            "ratings must be numbers of at least two raters on the same cases, got "
            f"shapes {[array.shape for array in arrays]}"
        )
    table = np.stack(arrays, axis=1).astype(np.float64)
    if len(table) < 2 or not np.isfinite(table).all():
        raise InvalidInputError(
            f"ratings must be finite and of at least two cases, got {len(table)} cases"
        )
    return table
