"""What a table of scores says: intervals, ranks and whether they differ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from mlmethods.common.rng import generator
from mlmethods.common.validation import check_choice, check_integer, check_real
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import ArrayLike, NDArray

__all__ = [
    "FriedmanRanks",
    "Interval",
    "auc",
    "bootstrap_ci",
    "clopper_pearson",
    "friedman_ranks",
    "roc_curve",
    "tpr_at_fpr",
]


# Names of SciPy's alternatives: a lower end is the interval of "greater".
_SIDES = {"both": "two-sided", "lower": "greater", "upper": "less"}


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


def clopper_pearson(
    successes: int, trials: int, *, level: float = 0.95, side: str = "both"
) -> Interval:
    """Return the exact interval of a probability from independent trials.

    Parameters
    ----------
    successes, trials : int
        How many of how many.
    level : float
        Confidence, in (0, 1): at least this for every probability.
    side : {"both", "lower", "upper"}
        ``"lower"`` puts all of the confidence into the lower end, and the upper is 1;
        ``"upper"`` the other way round.

    Returns
    -------
    Interval
        The share of successes and the two ends.

    Raises
    ------
    InvalidInputError
        If `trials` is below 1 or `successes` not in 0..trials.

    References
    ----------
    C. J. Clopper, E. S. Pearson, "The use of confidence or fiducial limits illustrated
    in the case of the binomial", Biometrika 26 (1934).

    Examples
    --------
    >>> from mlmethods.common.statistics import clopper_pearson
    >>> [round(x, 4) for x in clopper_pearson(2, 10)]
    [0.2, 0.0252, 0.5561]
    """
    from scipy.stats import binomtest

    trials = check_integer("trials", trials, minimum=1)
    successes = check_integer("successes", successes, minimum=0, maximum=trials)
    check_choice("side", side, _SIDES)
    test = binomtest(successes, trials, alternative=_SIDES[side])
    low, high = test.proportion_ci(_level(level), method="exact")
    return Interval(successes / trials, float(low), float(high))


def roc_curve(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray, NDArray]:
    """Return the error rates of every threshold on a score.

    Parameters
    ----------
    labels : bool array-like of shape (m,)
        What is to be found, both values at least once.
    scores : array-like of shape (m,)
        Higher says True.

    Returns
    -------
    fpr, tpr : float64 ndarray of shape (thresholds + 1,)
        False and true positive rates, both from 0 to 1.

    Raises
    ------
    InvalidInputError
        If the lengths differ, a score is not finite, or a label is missing.

    Examples
    --------
    >>> from mlmethods.common.statistics import roc_curve
    >>> fpr, tpr = roc_curve([False, True, True], [0.1, 0.4, 0.3])
    >>> fpr.tolist(), tpr.tolist()
    ([0.0, 0.0, 0.0, 1.0], [0.0, 0.5, 1.0, 1.0])
    """
    from sklearn import metrics

    truth, values = _labelled(labels, scores)
    fpr, tpr, _ = metrics.roc_curve(truth, values, drop_intermediate=False)
    return fpr, tpr


def auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Return the area under the ROC curve.

    The probability that a True case scores above a False one, ties counting one half.

    Parameters
    ----------
    labels : bool array-like of shape (m,)
        What is to be found, both values at least once.
    scores : array-like of shape (m,)
        Higher says True.

    Raises
    ------
    InvalidInputError
        If the lengths differ, a score is not finite, or a label is missing.

    Examples
    --------
    >>> from mlmethods.common.statistics import auc
    >>> auc([False, True, True, False], [0.1, 0.4, 0.1, 0.0])
    0.875
    """
    from sklearn import metrics

    return float(metrics.roc_auc_score(*_labelled(labels, scores)))


def tpr_at_fpr(labels: ArrayLike, scores: ArrayLike, fpr: float) -> float:
    """Return the largest true positive rate at a false positive rate of at most `fpr`.

    Thresholds are those of the sample, without randomizing between two of them.

    Parameters
    ----------
    labels : bool array-like of shape (m,)
        What is to be found, both values at least once.
    scores : array-like of shape (m,)
        Higher says True.
    fpr : float
        In [0, 1].

    Raises
    ------
    InvalidInputError
        If `fpr` is outside its range, the lengths differ, a score is not finite, or a
        label is missing.

    Examples
    --------
    >>> from mlmethods.common.statistics import tpr_at_fpr
    >>> tpr_at_fpr([False, True, True, False], [0.1, 0.4, 0.1, 0.0], 0.01)
    0.5
    """
    bound = check_real("fpr", fpr, minimum=0, maximum=1)
    found_fpr, found_tpr = roc_curve(labels, scores)
    return float(found_tpr[found_fpr <= bound].max())


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


def _labelled(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray, NDArray]:
    values = _sample("scores", scores)
    truth = _same_length("labels", np.asarray(labels), values)
    if truth.dtype.kind not in "biu" or not np.isin(truth, (0, 1)).all():
        raise InvalidInputError(f"labels must be boolean, got {truth.dtype}")
    truth = truth.astype(bool)
    if truth.all() or not truth.any():
        raise InvalidInputError(
            f"labels must have both values, got {truth.sum()} True of {len(truth)}"
        )
    return truth, values
