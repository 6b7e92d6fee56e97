"""Intervals of counts: conformal by patient, and from the confidence of each token."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mlmethods.common.validation import check_real
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import ArrayLike, NDArray

__all__ = [
    "MIN_PATIENTS",
    "ConformalQuantile",
    "conformal_interval",
    "conformal_quantile",
    "count_residuals",
    "poisson_binomial",
    "poisson_binomial_interval",
]

MIN_PATIENTS = 8
"""With fewer patients than this an interval is called nominal."""

# Ends of intervals are counts; rounding must not move them by one.
_ROUNDING = 1e-9


class ConformalQuantile(NamedTuple):
    """How large the residual of a new patient is at most.

    Attributes
    ----------
    value : float
        The quantile.
    level : float
        Share of new patients' residuals that it covers.
    n_patients : int
        Patients it was computed from.
    nominal : bool
        True if they are too few for the level, or fewer than 8: the largest residual
        is used, and nothing is guaranteed.
    """

    value: float
    level: float
    n_patients: int
    nominal: bool


def count_residuals(true: ArrayLike, predicted: ArrayLike) -> NDArray:
    """Return ``|true - predicted| / max(predicted, 1)``.

    Parameters
    ----------
    true, predicted : int array-like of shape (n,)
        Counts.

    Raises
    ------
    InvalidInputError
        If shapes differ or a count is negative.

    Examples
    --------
    >>> from mlmethods.motion.intervals import count_residuals
    >>> count_residuals([10, 2], [8, 0]).tolist()
    [0.25, 2.0]
    """
    counted, found = _counts("true", true), _counts("predicted", predicted)
    if counted.shape != found.shape:
        raise InvalidInputError(
            f"true and predicted must have one shape, got {counted.shape} and "
            f"{found.shape}"
        )
    return np.abs(counted - found) / np.maximum(found, 1)


def conformal_quantile(
    residuals: ArrayLike, patients: ArrayLike, *, level: float = 0.9
) -> ConformalQuantile:
    """Return the split-conformal quantile of residuals that belong to patients.

    Patients are exchangeable, the sessions of one are not independent: each of K
    patients weighs 1 / (K + 1), shared by their residuals, and the rest is the weight
    of the unseen one. With one residual a patient this is the usual quantile of rank
    ``ceil((K + 1) level)``. A residual drawn from those of a new patient is below it
    with a probability of at least `level`, whatever the distribution.

    Parameters
    ----------
    residuals : array-like of shape (n,)
        At least one, >= 0.
    patients : array-like of shape (n,)
        Whom each belongs to.
    level : float
        In (0, 1).

    Returns
    -------
    ConformalQuantile

    Raises
    ------
    InvalidInputError
        If there is no residual, one is negative or not finite, or lengths differ.

    References
    ----------
    V. Vovk, A. Gammerman, G. Shafer, "Algorithmic Learning in a Random World", 2005.
    R. Dunn, L. Wasserman, A. Ramdas, "Distribution-free prediction sets for two-layer
    hierarchical models", JASA 118 (2023).

    Examples
    --------
    >>> from mlmethods.motion.intervals import conformal_quantile
    >>> residuals = [0.1, 0.3, 0.2, 0.5, 0.0, 0.4, 0.7, 0.6, 0.8]
    >>> conformal_quantile(residuals, range(9), level=0.8)
    ConformalQuantile(value=0.7, level=0.8, n_patients=9, nominal=False)
    """
    level = check_level(level)
    scores = np.asarray(residuals, dtype=np.float64)
    groups = np.asarray(list(patients) if isinstance(patients, range) else patients)
    if scores.ndim != 1 or not len(scores) or groups.shape != scores.shape:
        raise InvalidInputError(
            "residuals and patients must be of one length above 0, got shapes "
            f"{scores.shape} and {groups.shape}"
        )
    if not np.isfinite(scores).all() or (scores < 0).any():
        raise InvalidInputError("residuals must be finite and >= 0")
    code, size = np.unique(groups, return_inverse=True, return_counts=True)[1:]
    count = len(size)
    order = np.argsort(scores, kind="stable")
    covered = np.cumsum(1 / size[code.ravel()[order]]) / (count + 1)
    enough = np.flatnonzero(covered >= level - _ROUNDING)
    place = enough[0] if len(enough) else -1
    return ConformalQuantile(
        value=float(scores[order[place]]),
        level=level,
        n_patients=count,
        nominal=not len(enough) or count < MIN_PATIENTS,
    )


def conformal_interval(
    predicted: ArrayLike, quantile: ConformalQuantile
) -> tuple[NDArray, NDArray]:
    """Return the counts whose residual is at most the quantile.

    Parameters
    ----------
    predicted : int array-like
        Predicted counts, of any shape.
    quantile : ConformalQuantile
        As of :func:`conformal_quantile`.

    Returns
    -------
    low, high : int64 ndarray
        Both ends belong to the interval.

    Examples
    --------
    >>> from mlmethods.motion.intervals import ConformalQuantile, conformal_interval
    >>> low, high = conformal_interval([0, 30], ConformalQuantile(0.25, 0.9, 12, False))
    >>> low.tolist(), high.tolist()
    ([0, 23], [0, 37])
    """
    found = _counts("predicted", predicted)
    reach = quantile.value * np.maximum(found, 1)
    low = np.ceil(np.maximum(found - reach, 0) - _ROUNDING)
    high = np.floor(found + reach + _ROUNDING)
    return low.astype(np.int64), high.astype(np.int64)


def poisson_binomial(probabilities: ArrayLike) -> NDArray:
    """Return how many of independent events happen: the probability of 0, 1, ..., n.

    Products of generating functions by FFT, in pairs: O(n log^2 n).

    Parameters
    ----------
    probabilities : array-like of shape (n,)
        Of each event, in [0, 1].

    Returns
    -------
    float64 ndarray of shape (n + 1,)
        Probabilities, exact to about 1e-14.

    Raises
    ------
    InvalidInputError
        If a value is outside [0, 1] or not of one dimension.

    References
    ----------
    Y. Hong, "On computing the distribution function for the Poisson binomial
    distribution", Computational Statistics & Data Analysis 59 (2013).

    Examples
    --------
    >>> from mlmethods.motion.intervals import poisson_binomial
    >>> poisson_binomial([0.5, 0.5]).round(3).tolist()
    [0.25, 0.5, 0.25]
    """
    chances = np.asarray(probabilities, dtype=np.float64)
    if chances.ndim != 1 or not ((chances >= 0) & (chances <= 1)).all():
        raise InvalidInputError(
            "probabilities must be in [0, 1] and of one dimension, got shape "
            f"{chances.shape}"
        )
    count = len(chances)
    # Events that never happen fill up to a power of two; they change nothing.
    padded = np.zeros(1 << max(count - 1, 0).bit_length())
    padded[:count] = chances
    factors = np.stack([1 - padded, padded], axis=1)
    while len(factors) > 1:
        size = 2 * factors.shape[1] - 1
        spectrum = np.fft.rfft(factors, n=size, axis=1)
        factors = np.fft.irfft(spectrum[::2] * spectrum[1::2], n=size, axis=1)
    pmf = np.maximum(factors[0, : count + 1], 0)
    return pmf / pmf.sum()


def poisson_binomial_interval(
    probabilities: ArrayLike, *, level: float = 0.9, miss_rate: float = 0.0
) -> tuple[int, int]:
    """Return an interval of a true count, from the confidence of what was found.

    Each predicted token is true with its probability, independently. Of all true
    ones a share `miss_rate` was not found; their number is taken as Poisson with mean
    ``miss_rate / (1 - miss_rate)`` times the expected number of true ones found.

    Parameters
    ----------
    probabilities : array-like of shape (n,)
        Calibrated confidences.
    level : float
        In (0, 1); each end leaves out at most half of the rest.
    miss_rate : float
        In [0, 1).

    Returns
    -------
    low, high : int
        Both ends belong to the interval.

    Raises
    ------
    InvalidInputError
        If a probability, the level or the miss rate is out of its range.

    Examples
    --------
    >>> from mlmethods.motion.intervals import poisson_binomial_interval
    >>> poisson_binomial_interval([0.9] * 20)
    (16, 20)
    >>> poisson_binomial_interval([0.9] * 20, miss_rate=0.1)
    (17, 23)
    """
    from scipy.stats import poisson

    level = check_level(level)
    rate = check_real("miss_rate", miss_rate, minimum=0, maximum=1, open_maximum=True)
    pmf = poisson_binomial(probabilities)
    mean = rate / (1 - rate) * float(np.sum(np.asarray(probabilities, np.float64)))
    if mean:
        missed = poisson.pmf(np.arange(int(poisson.isf(1e-12, mean)) + 2), mean)
        size = len(pmf) + len(missed) - 1
        product = np.fft.rfft(pmf, n=size) * np.fft.rfft(missed, n=size)
        pmf = np.maximum(np.fft.irfft(product, n=size), 0)
    below = np.cumsum(pmf) / pmf.sum()
    tail = (1 - level) / 2
    low = int(np.searchsorted(below, tail + _ROUNDING))
    high = int(np.searchsorted(below, 1 - tail - _ROUNDING))
    return low, min(high, len(pmf) - 1)


def check_level(level: float) -> float:
    """Return `level` if it is in (0, 1)."""
    return check_real(
        "level", level, minimum=0, maximum=1, open_minimum=True, open_maximum=True
    )


def _counts(name: str, values: ArrayLike) -> NDArray:
    counts = np.asarray(values)
    if counts.dtype.kind not in "iu" and not (
        counts.dtype.kind == "f" and (counts == np.floor(counts)).all()
    ):
        raise InvalidInputError(f"{name} must be counts, got dtype {counts.dtype}")
    if (counts < 0).any():
        raise InvalidInputError(f"{name} must be >= 0, got {counts.min()}")
    return counts.astype(np.int64)
