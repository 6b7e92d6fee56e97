"""Common currencies: numbers in which different mechanisms can be compared.

An epsilon of directions and an epsilon of presence do not mean the same. These numbers
compare mechanisms by what they release; none of them but Renyi divergence and delta is a
privacy guarantee.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mlmethods.backend import get_backend
from mlmethods.common.validation import check_integer, check_real
from mlmethods.errors import OperationNotSupportedError
from mlmethods.interfaces import PrivacyMechanism
from mlmethods.privacy.mechanisms import (
    CoordinateLaplaceMechanism,
    EuclideanLaplaceMechanism,
    GaussianMechanism,
    NoPrivacy,
    PurkayasthaMechanism,
    VonMisesFisherMechanism,
)

__all__ = ["bayes_capacity", "gdp_mu", "kappa_for_gdp", "signal_to_noise"]

# Trapezoidal nodes over 24 standard deviations: an analytic integrand needs no more.
_NODES = 2001
_REACH = 12.0


def gdp_mu(mechanism: PrivacyMechanism, p: int | None = None) -> float:
    """Return mu of Gaussian differential privacy for one release.

    Parameters
    ----------
    mechanism : VonMisesFisherMechanism, GaussianMechanism or NoPrivacy
        One direction: a single kappa.
    p : int, optional
        Dimension of what is released; the Gaussian needs none.

    Returns
    -------
    float
        ``2 kappa / sqrt(p)`` for von Mises-Fisher: an approximation for kappa far below
        p, not a bound. ``s / noise_multiplier`` for the Gaussian: exact, with s = 1
        under add-remove and 2 under replace-one adjacency.

    Raises
    ------
    OperationNotSupportedError
        If the mechanism has no such reading.
    InvalidInputError
        If `p` is not an integer >= 2.

    References
    ----------
    J. Dong, A. Roth, W. J. Su, "Gaussian Differential Privacy", JRSS B 84 (2022).

    Examples
    --------
    >>> from mlmethods.privacy import VonMisesFisherMechanism, gdp_mu
    >>> round(gdp_mu(VonMisesFisherMechanism(500.0), p=61706), 3)
    4.026
    """
    if isinstance(mechanism, GaussianMechanism):
        return mechanism.sensitivity / mechanism.noise_multiplier
    if isinstance(mechanism, VonMisesFisherMechanism):
        p = check_integer("p", p, minimum=2)
        return 2 * mechanism.single("gdp_mu") / math.sqrt(p)
    if isinstance(mechanism, NoPrivacy):
        return math.inf
    raise _unsupported("gdp_mu", mechanism)


def kappa_for_gdp(mu: float, p: int) -> float:
    """Return the concentration that reads as mu of Gaussian differential privacy.

    Parameters
    ----------
    mu : float
        At least 0.
    p : int
        Dimension of what is released, at least 2.

    Returns
    -------
    float
        ``mu sqrt(p) / 2``, the inverse of :func:`gdp_mu`: an approximation for kappa far
        below p, not a bound.

    Raises
    ------
    InvalidInputError
        If an argument is outside its range.

    Examples
    --------
    >>> from mlmethods.privacy import kappa_for_gdp
    >>> kappa_for_gdp(1.0, p=10_000), kappa_for_gdp(1.0, p=1_000_000)
    (50.0, 500.0)
    """
    mu = check_real("mu", mu, minimum=0)
    return mu * math.sqrt(check_integer("p", p, minimum=2)) / 2


def signal_to_noise(
    mechanism: PrivacyMechanism, p: int | None = None, batch_size: int = 1
) -> float:
    """Return the noise multiplier of the Gaussian with the same signal-to-noise.

    Both average `batch_size` gradients of norm 1 in p dimensions: the mechanism
    randomizes each, the Gaussian adds its noise once to the sum. The signals are
    scaled to the same length and the noises have equal expected squared norms.

    Parameters
    ----------
    mechanism : any but ProjectedNormalMechanism
        One direction: a single number.
    p : int, optional
        Dimension of what is released; the Gaussian needs none.
    batch_size : int, default=1
        Gradients that are averaged.

    Returns
    -------
    float
        A noise multiplier: smaller is more signal. For von Mises-Fisher it is
        ``sqrt(B (1 - A^2) / p) / A`` with A the mean resultant length, about
        ``sqrt(B p) / kappa`` for kappa far below p; inf for kappa 0.

    Raises
    ------
    OperationNotSupportedError
        If the mechanism has no such reading.
    InvalidInputError
        If `p` is not an integer >= 2, or `batch_size` not one >= 1.

    Notes
    -----
    It says how well the model can be trained, and is no statement about privacy: what
    the others of a batch hide is not credited in any guarantee of this library.

    Examples
    --------
    >>> from mlmethods.privacy import VonMisesFisherMechanism, signal_to_noise
    >>> mechanism = VonMisesFisherMechanism(500.0)
    >>> round(signal_to_noise(mechanism, p=61706, batch_size=100), 2)
    4.97
    """
    batch = check_integer("batch_size", batch_size, minimum=1)
    if isinstance(mechanism, GaussianMechanism):
        return mechanism.noise_multiplier
    if isinstance(mechanism, NoPrivacy):
        return 0.0
    # The expected squared norm of one example's noise relative to its signal's.
    p = check_integer("p", p, minimum=2)
    if isinstance(mechanism, VonMisesFisherMechanism):
        kappa = mechanism.single("signal_to_noise")
        ratio = _ratio(float(get_backend("numpy").privacy.mean_resultant(p, kappa)))
    elif isinstance(mechanism, PurkayasthaMechanism):
        kappa = mechanism.single("signal_to_noise")
        # By parts, the mean cosine is k / (n + 1) Z_(n + 1) / Z_n.
        log_mean = _log_partition(p + 1, kappa) - _log_partition(p, kappa)
        ratio = _ratio(min(kappa / (p - 1) * math.exp(log_mean), 1.0))
    elif isinstance(mechanism, EuclideanLaplaceMechanism):
        ratio = p * (p + 1) / mechanism.single("signal_to_noise") ** 2
    elif isinstance(mechanism, CoordinateLaplaceMechanism):
        ratio = 2 * p / mechanism.single("signal_to_noise") ** 2
    else:
        raise _unsupported("signal_to_noise", mechanism)
    return math.sqrt(batch * ratio / p)


def _ratio(mean: float) -> float:
    """Return noise over signal of unit vectors with a mean of this length."""
    return (1 - mean) * (1 + mean) / mean**2 if mean > 0 else math.inf


def bayes_capacity(mechanism: PrivacyMechanism, p: int) -> float:
    """Return the log of the multiplicative Bayes capacity of one release, in nats.

    The most by which a release can multiply the probability that an attacker guesses
    the direction, over all priors: ``log`` of the integral over outputs of the largest
    density over secrets. It is about reconstruction, and no bound on membership.

    Parameters
    ----------
    mechanism : VonMisesFisherMechanism, PurkayasthaMechanism, GaussianMechanism or \
NoPrivacy
        One direction: a single number.
    p : int
        Dimension of what is released, at least 2.

    Returns
    -------
    float
        At least 0. Secrets are all directions; for the Gaussian gradients have exactly
        the clipping norm, and the release is of one example, without others in its sum.

    Raises
    ------
    OperationNotSupportedError
        If it is not implemented for the mechanism.
    InvalidInputError
        If `p` is not an integer >= 2.

    References
    ----------
    S. Biswas, M. Dras, P. Faustini, N. Fernandes, A. McIver, C. Palamidessi, P.
    Sadeghi, "Bayes' capacity as a measure for reconstruction attacks in federated
    learning" (2024), arXiv:2406.13569. The notion; the formulas are derived here.

    Examples
    --------
    >>> from mlmethods.privacy import VonMisesFisherMechanism, bayes_capacity
    >>> round(bayes_capacity(VonMisesFisherMechanism(500.0), p=61706), 2)
    497.97
    """
    p = check_integer("p", p, minimum=2)
    if isinstance(mechanism, VonMisesFisherMechanism):
        kappa = mechanism.single("bayes_capacity")
        # Every output is the mean direction of some secret: C(kappa) e^kappa / C(0).
        log_partition = get_backend("numpy").privacy.log_norm_ratio(p, 0.0, kappa)
        return max(kappa - float(log_partition), 0.0)
    if isinstance(mechanism, PurkayasthaMechanism):
        kappa = mechanism.single("bayes_capacity")
        return max(_log_partition(p, 0.0) - _log_partition(p, kappa), 0.0)
    if isinstance(mechanism, GaussianMechanism):
        return _gaussian_capacity(mechanism.noise_multiplier, p)
    if isinstance(mechanism, NoPrivacy):
        return math.inf
    raise _unsupported("bayes_capacity", mechanism)


def _log_partition(p: int, kappa: float) -> float:
    """Return the log of the integral of ``exp(-kappa t) sin(t)^(p - 2)`` over (0, pi).

    ``pi exp(-pi kappa / 2) Gamma(n + 1) / (2^n |Gamma(1 + (n + i kappa) / 2)|^2)`` for
    n = p - 2.
    """
    from scipy.special import loggamma

    n = p - 2
    pair = 2 * loggamma(complex(1 + n / 2, kappa / 2)).real
    smooth = math.lgamma(n + 1) - n * math.log(2) - pair
    return math.log(math.pi) - math.pi * kappa / 2 + float(smooth)


def _gaussian_capacity(sigma: float, p: int) -> float:
    """Return the log capacity of unit vectors under noise of deviation `sigma`.

    At radius r the largest density is that of the secret on the same ray, so that a
    radial integral remains: of ``r^(p - 1) exp(-(r - 1)^2 / (2 sigma^2))``.
    """
    variance = sigma**2
    mode = (1 + math.sqrt(1 + 4 * (p - 1) * variance)) / 2
    spread = 1 / math.sqrt((p - 1) / mode**2 + 1 / variance)
    start = max(mode - _REACH * spread, 0.0)
    radius = np.linspace(start, mode + _REACH * spread, _NODES)
    # Relative to the mode, with the linear terms canceled.
    away = radius - mode
    share = away / mode
    with np.errstate(divide="ignore"):
        bend = (p - 1) * (np.log1p(share) - share)
    integral = np.trapezoid(np.exp(bend - away**2 / (2 * variance)), radius)
    log_top = (p - 1) * math.log(mode) - (mode - 1) ** 2 / (2 * variance)
    log_area = math.log(2) + p / 2 * math.log(math.pi) - math.lgamma(p / 2)
    log_noise = p / 2 * math.log(2 * math.pi * variance)
    return float(math.log(integral) + log_top + log_area - log_noise)


def _unsupported(function: str, mechanism: Any) -> OperationNotSupportedError:
    return OperationNotSupportedError(
        f"{function} is not defined for {type(mechanism).__name__}"
    )
