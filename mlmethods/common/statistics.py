"""What a table of scores says: intervals, ranks and whether they differ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from mlmethods.common.rng import generator
from mlmethods.common.validation import check_integer, check_real
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import ArrayLike, NDArray

__all__ = ["FriedmanRanks", "Interval", "bootstrap_ci", "friedman_ranks"]


class Interval(NamedTuple):
    """A statistic and its confidence interval.

    Attributes
    ----------
    estimate : float
        The statistic of the sample.
    low, high : float
        Ends of the interval.
    """

    estimate: float
    low: float
    high: float


def bootstrap_ci(
    values: ArrayLike,
    stat: Callable[[NDArray], float] = np.mean,
    *,
    groups: ArrayLike | None = None,
    paired: ArrayLike | None = None,
    n: int = 2000,
    level: float = 0.95,
    rng: Any = None,
) -> Interval:
    """Return a percentile bootstrap interval of a statistic.

    Parameters
    ----------
    values : array-like of shape (m,)
        The sample.
    stat : callable
        Maps an array of values to a number; by default the mean.
    groups : array-like of shape (m,), optional
        What each value belongs to, such as a dataset. Whole groups are drawn, because
        the values of one are not independent.
    paired : array-like of shape (m,), optional
        A second sample on the same cases; the statistic is of ``values - paired``.
    n : int
        Number of resamples.
    level : float
        Confidence, in (0, 1).
    rng : None, int or numpy.random.Generator
        Who draws.

    Returns
    -------
    Interval
        The estimate and the two ends.

    Raises
    ------
    InvalidInputError
        If a sample is not finite or not of one dimension, the lengths differ, or there
        are fewer than two values, or groups, to draw from.

    References
    ----------
    B. Efron, R. J. Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.

    Examples
    --------
    >>> from mlmethods.common.statistics import bootstrap_ci
    >>> interval = bootstrap_ci([0.8, 0.9, 0.7, 0.85], rng=0)
    >>> round(interval.estimate, 4), 0.7 <= interval.low <= interval.high <= 0.9
    (0.8125, True)
    """
    from scipy.stats import bootstrap

    n = check_integer("n", n, minimum=1)
    level = _level(level)
    sample = _sample("values", values)
    if paired is not None:
        sample = sample - _same_length("paired", _sample("paired", paired), sample)
    members: list[NDArray] | NDArray
    if groups is None:
        members = sample
    else:
        labels = _same_length("groups", np.asarray(groups), sample)
        codes = np.unique(labels, return_inverse=True)[1].ravel()
        order = np.argsort(codes, kind="stable")
        members = np.split(order, np.cumsum(np.bincount(codes))[:-1])
    if len(members) < 2:
        raise InvalidInputError(
            f"values must hold at least two values or groups, got {len(members)}"
        )

    def of_drawn(drawn: NDArray) -> float:
        if groups is None:
            return float(stat(sample[drawn]))
        rows = np.concatenate([members[int(group)] for group in drawn])
        return float(stat(sample[rows]))

    result = bootstrap(
        (np.arange(len(members)),),
        of_drawn,
        n_resamples=n,
        confidence_level=level,
        method="percentile",
        vectorized=False,
        rng=generator(rng),
    )
    low, high = result.confidence_interval
    return Interval(float(stat(sample)), float(low), float(high))


class FriedmanRanks(NamedTuple):
    """Average ranks of methods, and what can be said of them.

    Attributes
    ----------
    ranks : ndarray of shape (k,)
        Average rank of each method, 1 being the best; ties share the average.
    chi2 : float
        Friedman's statistic, corrected for ties.
    statistic, p_value : float
        The correction of Iman and Davenport, which follows an F distribution, and how
        likely so large a value is if all methods are equal.
    critical_difference : float
        Two average ranks that differ by less are not significantly different in the
        test of Nemenyi at the level asked for.
    """

    ranks: NDArray
    chi2: float
    statistic: float
    p_value: float
    critical_difference: float


def friedman_ranks(
    scores: ArrayLike, *, higher_is_better: bool = True, level: float = 0.95
) -> FriedmanRanks:
    """Rank methods on each dataset, and test whether their average ranks differ.

    Parameters
    ----------
    scores : array-like of shape (n_datasets, k)
        The score of each method on each dataset; at least two datasets and three
        methods.
    higher_is_better : bool
        Whether the largest score has rank 1.
    level : float
        Confidence of the critical difference, in (0, 1).

    Returns
    -------
    FriedmanRanks

    Raises
    ------
    InvalidInputError
        If there are too few scores, or one is not finite.

    References
    ----------
    J. Demsar, "Statistical comparisons of classifiers over multiple data sets", JMLR 7
    (2006).

    Examples
    --------
    >>> from mlmethods.common.statistics import friedman_ranks
    >>> result = friedman_ranks([[0.9, 0.8, 0.7], [0.9, 0.7, 0.8], [0.6, 0.5, 0.5]])
    >>> result.ranks.round(2)
    array([1. , 2.5, 2.5])
    """
    from scipy import stats

    table = np.asarray(scores)
    finite = table.dtype.kind in "fiu" and bool(np.isfinite(table).all())
    if not finite or table.ndim != 2 or table.shape[0] < 2 or table.shape[1] < 3:
        raise InvalidInputError(
            "scores must be finite numbers of shape (n_datasets, k) with at least two "
            f"datasets and three methods, got shape {table.shape}"
        )
    level = _level(level)
    count, k = table.shape
    table = table.astype(np.float64)
    ranked = stats.rankdata(-table if higher_is_better else table, axis=1)
    chi2 = 0.0
    # Methods that tie on every dataset leave nothing to divide by.
    if np.ptp(ranked, axis=1).any():
        chi2 = float(stats.friedmanchisquare(*ranked.T).statistic)
    rest = count * (k - 1) - chi2
    statistic = (count - 1) * chi2 / rest if rest > 1e-9 * count else np.inf
    p_value = float(stats.f.sf(statistic, k - 1, (k - 1) * (count - 1)))
    quantile = stats.studentized_range.ppf(level, k, np.inf) / np.sqrt(2)
    return FriedmanRanks(
        ranks=ranked.mean(axis=0),
        chi2=chi2,
        statistic=float(statistic),
        p_value=p_value,
        critical_difference=float(quantile * np.sqrt(k * (k + 1) / (6 * count))),
    )


def _level(level: float) -> float:
    return check_real(
        "level", level, minimum=0, maximum=1, open_minimum=True, open_maximum=True
    )


def _sample(name: str, values: ArrayLike) -> NDArray:
    array = np.asarray(values)
    if array.dtype.kind not in "fiub" or array.ndim != 1:
        raise InvalidInputError(
            f"{name} must be numbers of one dimension, got {array.dtype} of shape "
            f"{array.shape}"
        )
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        raise InvalidInputError(f"{name} must be finite, got NaN or infinity")
    return array


def _same_length(name: str, array: NDArray, sample: NDArray) -> NDArray:
    if array.shape != sample.shape:
        raise InvalidInputError(
            f"{name} must have one entry for each of {len(sample)} values, got shape "
            f"{array.shape}"
        )
    return array
