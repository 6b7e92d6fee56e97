"""The law of the cosine of von Mises-Fisher vectors, against 30 digits."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import integrate

from mlmethods.privacy import vmf
from mlmethods.privacy._cosine_law import antipodal_delta, cosine_cdf, cosine_survival


def by_mpmath(p, kappa, w):
    """Return the survival function by quadrature in 30 digits."""
    mpmath = pytest.importorskip("mpmath")
    mpmath.mp.dps = 30
    n, k = p - 2, mpmath.mpf(kappa)
    mode = mpmath.atan2(
        mpmath.sqrt(2 * n / (n + mpmath.hypot(n, 2 * k))) if n else 0,
        2 * k / (n + mpmath.hypot(n, 2 * k)) if n or k else 1,
    )
    sine = mpmath.sin(mode) if n else 1
    spread = 1 / mpmath.sqrt(k * mpmath.cos(mode) + n / sine**2 + mpmath.mpf("0.1"))

    def log_density(t):
        log = k * (mpmath.cos(t) - mpmath.cos(mode))
        return log + (n * mpmath.log(mpmath.sin(t) / sine) if n else 0)

    def integral(low, high):
        # Relative to the larger end: the quadrature stops at an absolute error.
        top = log_density(min(max(mode, low), high))
        points = [mode + j * spread for j in range(-40, 41, 2)]
        inner = [t for t in points if low < t < high]
        area = mpmath.quad(
            lambda t: mpmath.exp(log_density(t) - top), [low, *inner, high]
        )
        return area * mpmath.exp(top)

    tiny = mpmath.mpf("1e-25")
    low = max(tiny, mode - 40 * spread)
    high = min(mpmath.pi - tiny, mode + 40 * spread)
    angle = mpmath.acos(mpmath.mpf(w))
    return float(integral(low, angle) / integral(low, high))


@pytest.mark.parametrize(
    ("p", "kappa", "w"),
    [
        (2, 1.0, 0.5),
        (2, 0.0, -0.25),
        (4, 0.5, 0.99),
        (10, 50.0, 0.99),
        (10, -50.0, 0.25),
        (1000, 500.0, 0.75),
        (10_000_000, 1e6, 0.1),
    ],
)
def test_the_survival_function_equals_quadrature(p, kappa, w) -> None:
    assert_allclose(cosine_survival(p, kappa, w), by_mpmath(p, kappa, w), rtol=1e-10)


@pytest.mark.parametrize("kappa", [0.0, 1e-9, 0.3, 40.0, 1e6])
def test_on_the_sphere_the_law_is_elementary(kappa) -> None:
    versine = np.geomspace(1e-15, 1, 60)
    w = 1 - versine
    versine = 1 - w
    share = versine / 2
    if kappa:
        share = np.expm1(-kappa * versine) / np.expm1(-2 * kappa)
    assert_allclose(cosine_survival(3, kappa, w), share, rtol=1e-11)
    below = versine / 2
    if kappa:
        # exp(-2 kappa) times expm1(kappa x), where it is representable.
        size = kappa * versine
        below = np.exp(size - 2 * kappa) * -np.expm1(-size) / -np.expm1(-2 * kappa)
    small = below > 1e-290
    assert_allclose(cosine_cdf(3, kappa, -w)[small], below[small], rtol=1e-10)


@pytest.mark.parametrize("p", [2, 3, 10, 61706, 10_000_000])
@pytest.mark.parametrize("kappa", [0.0, 2.0, 1e4])
def test_the_law_has_the_exact_mean(p, kappa) -> None:
    # E w = 1 - integral of the distribution function, over the support.
    mean = float(vmf.mean_resultant(p, kappa))
    deviation = math.sqrt(max(1 - mean**2 - (p - 1) * mean / kappa, 0)) if kappa else 1
    deviation = max(deviation, 1e-9) if kappa else 1 / math.sqrt(p)
    low, high = max(-1.0, mean - 30 * deviation), min(1.0, mean + 30 * deviation)
    w = np.linspace(low, high, 20_001)
    found = low + integrate.simpson(cosine_survival(p, kappa, w), x=w)
    assert abs(found - mean) < 1e-3 * deviation
    assert_allclose(
        cosine_cdf(p, kappa, w) + cosine_survival(p, kappa, w), 1, atol=1e-12
    )


def test_the_law_ends_with_the_support() -> None:
    assert_allclose(cosine_survival(7, 3.0, [-2.0, -1.0, 1.0, 1.5]), [1, 1, 0, 0])
    assert_allclose(cosine_cdf(7, 3.0, [-2.0, -1.0, 1.0, 1.5]), [0, 0, 1, 1])


# Quadrature in 40 digits with mpmath 1.3 of the positive integrand.
DELTAS = [
    (10000000, 1000000.0, 198662.263, 0.15825642464671608),
    (61706, 500.0, 16.153, 0.014012713586946288),
    (1000, 100000.0, 191067.298, 1.0),
    (2, 3.0, 5.732, 0.06144180854053707),
]


@pytest.mark.parametrize(("p", "kappa", "epsilon", "expected"), DELTAS)
def test_delta_equals_forty_digits(p, kappa, epsilon, expected) -> None:
    found = antipodal_delta(p, kappa, np.array([epsilon]))
    assert_allclose(found, expected, rtol=0, atol=1e-12)
