"""How far confidences can be trusted, and a temperature that corrects them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mlmethods.common.validation import check_integer
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import ArrayLike, NDArray

__all__ = ["Temperature", "expected_calibration_error", "fit_temperature"]

# Confidences of exactly 0 or 1 have no finite log-odds.
_EDGE = 1e-6
_RANGE = (0.02, 20.0)


class Temperature(NamedTuple):
    """A temperature of confidences.

    Attributes
    ----------
    value : float
        What log-odds are divided by: above 1 for a model that is too sure.
    ece_before, ece_after : float
        Expected calibration error of the tokens it was fitted to, without and with it.
    n : int
        How many tokens.
    """

    value: float = 1.0
    ece_before: float = float("nan")
    ece_after: float = float("nan")
    n: int = 0

    def apply(self, confidence: ArrayLike) -> NDArray:
        """Return calibrated confidences, float64 in [0, 1].

        Examples
        --------
        >>> from mlmethods.motion.calibration import Temperature
        >>> Temperature(2.0).apply([0.5, 0.9]).round(3).tolist()
        [0.5, 0.75]
        """
        chances = np.asarray(confidence, dtype=np.float64)
        if self.value == 1:
            return chances
        return _logistic(_log_odds(chances) / self.value)


def fit_temperature(confidence: ArrayLike, correct: ArrayLike) -> Temperature:
    """Fit a temperature to tokens of which it is known whether they are right.

    The log-odds of the chosen token against all else are divided by one number that
    maximizes the likelihood of what was right, so that the order of confidences stays.
    No temperature takes a confidence from one side of 0.5 to the other: a model that is
    sure and mostly wrong needs more than this.

    Parameters
    ----------
    confidence : array-like of shape (n,)
        Posterior of each chosen token, in [0, 1].
    correct : bool array-like of shape (n,)
        Whether it was right.

    Returns
    -------
    Temperature
        With fewer than two tokens, or when all tokens are right or all wrong, the
        temperature is 1: nothing can be learned from them.

    Raises
    ------
    InvalidInputError
        If lengths differ or a confidence is outside [0, 1].

    References
    ----------
    C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On calibration of modern neural
    networks", ICML 2017.

    Examples
    --------
    >>> from mlmethods.motion.calibration import fit_temperature
    >>> fitted = fit_temperature([0.99] * 10, [True] * 8 + [False] * 2)
    >>> fitted.apply([0.99]).round(2).tolist()
    [0.8]
    """
    from scipy.optimize import minimize_scalar

    chances, right = _tokens(confidence, correct)
    before = expected_calibration_error(chances, right)
    if len(chances) < 2 or right.all() or not right.any():
        return Temperature(1.0, before, before, len(chances))
    sign = np.where(right, -1.0, 1.0) * _log_odds(chances)

    def loss(log_temperature: float) -> float:
        return float(np.logaddexp(0, sign / np.exp(log_temperature)).mean())

    found = minimize_scalar(loss, bounds=np.log(_RANGE), method="bounded")
    fitted = Temperature(float(np.exp(found.x)))
    after = expected_calibration_error(fitted.apply(chances), right)
    return Temperature(fitted.value, before, after, len(chances))


def expected_calibration_error(
    confidence: ArrayLike, correct: ArrayLike, *, bins: int = 10
) -> float:
    """Return the mean gap between confidence and share of right ones, over bins.

    Parameters
    ----------
    confidence : array-like of shape (n,)
        In [0, 1].
    correct : bool array-like of shape (n,)
        Whether each was right.
    bins : int
        Bins of equal width on [0, 1]; each weighs as many as it holds.

    Returns
    -------
    float
        In [0, 1]; NaN without values.

    Raises
    ------
    InvalidInputError
        If lengths differ or a confidence is outside [0, 1].

    Examples
    --------
    >>> from mlmethods.motion.calibration import expected_calibration_error
    >>> round(expected_calibration_error([0.9, 0.9, 0.3], [True, False, False]), 3)
    0.367
    """
    chances, right = _tokens(confidence, correct)
    bins = check_integer("bins", bins, minimum=1)
    if not len(chances):
        return float("nan")
    place = np.minimum((chances * bins).astype(np.int64), bins - 1)
    gap = np.bincount(place, weights=chances - right, minlength=bins)
    return float(np.abs(gap).sum() / len(chances))


def _tokens(confidence: ArrayLike, correct: ArrayLike) -> tuple[NDArray, NDArray]:
    chances = np.asarray(confidence, dtype=np.float64)
    right = np.asarray(correct)
    if chances.ndim != 1 or right.shape != chances.shape:
        raise InvalidInputError(
            "confidence and correct must be of one length, got shapes "
            f"{chances.shape} and {right.shape}"
        )
    if not ((chances >= 0) & (chances <= 1)).all():
        raise InvalidInputError("confidence must be in [0, 1]")
    return chances, right.astype(bool)


def _log_odds(chances: NDArray) -> NDArray:
    inside = np.clip(chances, _EDGE, 1 - _EDGE)
    return np.log(inside) - np.log1p(-inside)


def _logistic(x: NDArray) -> NDArray:
    return np.exp(-np.logaddexp(0, -x))
