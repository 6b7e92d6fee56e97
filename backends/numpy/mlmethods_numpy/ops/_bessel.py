"""Normaliser and mean resultant length of the von Mises-Fisher distribution.

The Bessel function I_v, v = p/2 - 1, under- and overflows and is never formed. Its ratio
``r_v = I_(v+1) / I_v`` comes from the uniform expansion in h = (p-1)/2 above order 30,
whose terms solve ``r' = 1 - r^2 - (2h/kappa) r`` (DLMF 10.29.2) order by order, and from
there down by ``r_v = 1 / (2(v+1)/kappa + r_(v+1))`` (DLMF 10.29.1), which is stable.
``log C(0) - log C(kappa)``, the integral of r, is summed beside it from terms that
vanish at 0, so that no digits cancel.
"""

from __future__ import annotations

import functools
import math
import numbers
from typing import Any

import numpy as np
from numpy.polynomial import polynomial

from mlmethods.errors import InvalidInputError

__all__ = ["check_dimension", "log_norm_ratio", "mean_resultant", "vmf_log_normalizer"]

# Order and number of terms at which the expansion is exact to float64 (error 2e-16).
_ORDER = 30
_TERMS = 12


@functools.cache
def _expansion() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return the terms c_j, polynomials in t = h / sqrt(h^2 + kappa^2), and integrals.

    The ratio is ``kappa / (h + sqrt(h^2 + kappa^2)) * sum_j c_j(t) / h^j``. The integral
    of term j >= 2 over kappa is ``(1 - t) d_j(t) h^(1 - j)``.
    """
    one_less_t = [1.0, -1.0]
    ratio = [np.ones(1)]
    for j in range(_TERMS):
        convolution: np.ndarray = np.zeros(1)
        for i in range(1, j + 1):
            product = polynomial.polymul(ratio[i], ratio[j + 1 - i])
            convolution = polynomial.polyadd(convolution, product)
        slope = polynomial.polyder(ratio[j]) if j else np.zeros(1)
        total = polynomial.polysub(
            polynomial.polymul([0.0, 0.0, 1.0], ratio[j]),
            polynomial.polymul([0.0, 0.0, 1.0, 0.0, -1.0], slope),
        )
        total = polynomial.polyadd(total, polynomial.polymul(one_less_t, convolution))
        ratio.append(-total / 2)
    integral = []
    for term in ratio[2:]:
        primitive = polynomial.polyint(polynomial.polydiv(term[2:], [1.0, 1.0])[0])
        below_one = polynomial.polysub([primitive.sum()], primitive)
        integral.append(polynomial.polydiv(below_one, one_less_t)[0])
    return ratio, integral


def _evaluate(p: int, kappa: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return A(kappa) and ``log C(0) - log C(kappa)``; NaN for invalid `kappa`."""
    kappa = np.where((kappa >= 0) & (kappa < np.inf), kappa, np.nan)
    steps = max(0, math.ceil(_ORDER + 1 - p / 2))
    h = (p + 2 * steps - 1) / 2
    ratio, integral = _expansion()
    radius = np.hypot(h, kappa)
    t = h / radius
    # radius / h - 1 without its cancellation.
    growth = (kappa / h) * (kappa / (h + radius))
    correction = sum(polynomial.polyval(t, c) / h**j for j, c in enumerate(ratio))
    mean = kappa / (h + radius) * correction
    log_partition = h * (growth - np.log1p(growth / 2))
    log_partition -= np.log1p(growth / (2 + growth)) / 2
    for j, d in enumerate(integral, start=2):
        log_partition += growth / (1 + growth) * polynomial.polyval(t, d) * h ** (1 - j)
    for q in range(p + 2 * (steps - 1), p - 2, -2):
        log_partition += np.log1p(kappa * mean / q)
        mean = kappa / (q + kappa * mean)
    return mean, log_partition


def check_dimension(p: Any) -> int:
    """Return `p` as an int of at least 2.

    Raises
    ------
    InvalidInputError
        If it is not one.
    """
    if isinstance(p, bool) or not isinstance(p, numbers.Integral) or p < 2:
        raise InvalidInputError(f"p must be an integer >= 2, got {p!r}")
    return int(p)


def vmf_log_normalizer(p: int, kappa: Any) -> np.ndarray:
    """Return ``log C_p(kappa)`` of the density ``C_p(kappa) exp(kappa mu.y)``.

    The density is with respect to the surface measure of the unit sphere in R^p.

    Parameters
    ----------
    p : int
        Dimension, from 2 to 1e8.
    kappa : array of shape (...)
        Concentration, from 0 to 1e8.

    Returns
    -------
    float64 array of shape (...)
        NaN where `kappa` is negative or not finite.

    Raises
    ------
    InvalidInputError
        If `p` is not an integer >= 2.

    References
    ----------
    K. V. Mardia, P. E. Jupp, *Directional Statistics* (2000), equation 9.3.4.
    NIST Digital Library of Mathematical Functions, sections 10.29 and 10.41.

    Examples
    --------
    >>> import numpy as np
    >>> from mlmethods_numpy.ops.privacy import vmf_log_normalizer
    >>> bool(np.isclose(vmf_log_normalizer(3, 0.0), -np.log(4 * np.pi)))
    True
    """
    p = check_dimension(p)
    uniform = math.lgamma(p / 2) - math.log(2) - p / 2 * math.log(math.pi)
    return np.asarray(uniform - _evaluate(p, np.asarray(kappa, np.float64))[1])


def mean_resultant(p: int, kappa: Any) -> np.ndarray:
    """Return A_p(kappa), the expected cosine of a draw with its mean direction.

    Parameters
    ----------
    p : int
        Dimension, from 2 to 1e8.
    kappa : array of shape (...)
        Concentration, from 0 to 1e8.

    Returns
    -------
    float64 array of shape (...)
        ``I_(p/2)(kappa) / I_(p/2-1)(kappa)``; NaN where `kappa` is negative or not
        finite.

    Raises
    ------
    InvalidInputError
        If `p` is not an integer >= 2.

    Examples
    --------
    >>> from mlmethods_numpy.ops.privacy import mean_resultant
    >>> round(float(mean_resultant(3, 1.0)), 6)  # coth(1) - 1
    0.313035
    """
    p = check_dimension(p)
    return np.asarray(_evaluate(p, np.asarray(kappa, np.float64))[0])


def log_norm_ratio(p: int, kappa1: Any, kappa2: Any) -> np.ndarray:
    """Return ``log C_p(kappa1) - log C_p(kappa2)`` to full relative precision.

    Parameters
    ----------
    p : int
        Dimension, from 2 to 1e8.
    kappa1, kappa2 : arrays that broadcast with each other
        Concentrations, from 0 to 1e8.

    Returns
    -------
    float64 array of the broadcast shape
        The integral of A_p from `kappa1` to `kappa2`; NaN where either is negative or
        not finite.

    Raises
    ------
    InvalidInputError
        If `p` is not an integer >= 2.

    Examples
    --------
    >>> from mlmethods_numpy.ops.privacy import log_norm_ratio
    >>> f"{float(log_norm_ratio(10_000_000, 0.0, 10.0)):.4e}"  # about 10^2 / (2 p)
    '5.0000e-06'
    """
    p = check_dimension(p)
    first, second = (
        np.where(np.isfinite(k), k, np.nan)
        for k in np.broadcast_arrays(
            np.asarray(kappa1, np.float64), np.asarray(kappa2, np.float64)
        )
    )
    # Close arguments: Gauss-Legendre on A. Its poles are imaginary, of modulus above
    # p/2; within a quarter of their distance 12 nodes are exact to float64.
    middle, radius = (first + second) / 2, (second - first) / 2
    close = np.abs(radius) <= np.hypot(middle, p / 2) / 4
    ratio = np.empty(middle.shape)
    ratio[~close] = _evaluate(p, second[~close])[1] - _evaluate(p, first[~close])[1]
    offsets, weights = np.polynomial.legendre.leggauss(12)
    nodes = middle[close] + np.multiply.outer(offsets, radius[close])
    ratio[close] = radius[close] * (weights @ _evaluate(p, nodes)[0])
    return ratio
