"""The von Mises-Fisher distribution in float64, against SciPy and its own laws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import integrate, stats

from mlmethods.errors import InvalidInputError
from mlmethods.privacy import vmf


def axis(p):
    direction = np.arange(1.0, p + 1)
    return direction / np.linalg.norm(direction)


@pytest.mark.parametrize(("p", "kappa"), [(2, 3.0), (3, 0.5), (10, 30.0)])
def test_density_and_entropy_equal_scipy(p, kappa) -> None:
    law = stats.vonmises_fisher(axis(p), kappa)
    y = law.rvs(50, random_state=0)
    assert_allclose(vmf.log_prob(y, axis(p), kappa), law.logpdf(y), rtol=1e-12)
    assert_allclose(vmf.entropy(p, kappa), law.entropy(), rtol=1e-12)


@pytest.mark.parametrize(("p", "kappa"), [(2, 3.0), (3, 0.5), (10, 30.0)])
def test_the_fit_equals_scipy(p, kappa) -> None:
    X = stats.vonmises_fisher(axis(p), kappa).rvs(500, random_state=1)
    mu, found = vmf.fit(X)
    expected_mu, expected = stats.vonmises_fisher.fit(X)
    assert_allclose(mu, expected_mu, atol=1e-14)
    assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize("kappa", [0.0, 2.0, 100.0])
def test_the_density_integrates_to_one_on_the_circle(kappa) -> None:
    angle = np.linspace(0, 2 * np.pi, 2000, endpoint=False)
    y = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    density = np.exp(vmf.log_prob(y, [1.0, 0.0], kappa))
    assert_allclose(density.mean() * 2 * np.pi, 1, rtol=1e-12)
    entropy = -np.mean(density * np.log(density)) * 2 * np.pi
    assert_allclose(vmf.entropy(2, kappa), entropy, rtol=1e-12)


@pytest.mark.parametrize("p", [2, 3, 10, 1024, 4096, 1_000_000])
def test_the_resultant_is_inverted(p) -> None:
    kappa = np.array([0.0, 1e-8, 1e-3, 1.0, 10.0, 50.0, 1e3, 1e5])
    length = vmf.mean_resultant(p, kappa)
    # Rounding of a length near 1 is amplified by 1 / (1 - length).
    slack = 1e-14 + 2e-15 / (1 - length)
    assert np.all(np.abs(vmf.kappa_from_resultant(p, length) - kappa) <= slack * kappa)


def test_lengths_next_to_one_are_inverted() -> None:
    # 1 - A = (p - 1) / (2 kappa) to leading order.
    found = vmf.kappa_from_resultant(3, 1 - 2.0**-40)
    assert_allclose(found, 2.0**40, rtol=1e-3)


@settings(max_examples=30, deadline=None)
@given(p=st.integers(2, 2000), length=st.floats(0, 0.999999))
def test_the_concentration_is_inside_its_bracket(p, length) -> None:
    kappa = vmf.kappa_from_resultant(p, length)
    room = 1 - length**2
    assert length * (p - 2) / room * (1 - 1e-9) <= kappa
    assert kappa <= length * p / room * (1 + 1e-9)
    assert_allclose(vmf.mean_resultant(p, kappa), length, rtol=1e-9, atol=1e-15)


def test_differences_of_constants_keep_their_digits() -> None:
    p, first, second = 10_000_000, 3.0, 3.5
    inner = np.linspace(first, second, 201)
    expected = integrate.simpson(vmf.mean_resultant(p, inner), x=inner)
    assert_allclose(vmf.log_norm_ratio(p, first, second), expected, rtol=1e-12)
    found = vmf.log_norm(3, 2.0) - vmf.log_norm(3, 5.0)
    assert_allclose(vmf.log_norm_ratio(3, 2.0, 5.0), found, rtol=1e-12)
    assert_allclose(vmf.log_norm(3, 2.0), math.log(2 / (4 * math.pi * math.sinh(2))))


@pytest.mark.parametrize("kappa", [1e4, 1e8])
def test_a_narrow_sample_is_fitted(kappa) -> None:
    p = 4
    X = vmf.rvs(axis(p), kappa, size=4000, rng=0)
    mu, found = vmf.fit(X)
    # 2 kappa (1 - w) tends to a chi-square with p - 1 degrees of freedom.
    assert abs(found / kappa - 1) < 5 * math.sqrt(2 / (4000 * (p - 1)))
    assert_allclose(mu, axis(p), atol=5 / math.sqrt(4000 * kappa))


def test_a_sample_in_many_dimensions_is_fitted() -> None:
    p, n = 1024, 4000
    for kappa in (50.0, 300.0):
        X = vmf.rvs(axis(p), kappa, size=n, rng=2)
        mu, found = vmf.fit(X)
        # The length of the mean is biased upwards by (1 - R^2) / n in its square.
        length = vmf.mean_resultant(p, kappa)
        expected = vmf.kappa_from_resultant(p, math.sqrt(length**2 + 1 / n))
        assert abs(found / expected - 1) < 0.05
        assert mu @ axis(p) > 0.9


def test_the_likelihood_is_largest_at_the_fit() -> None:
    X = vmf.rvs(axis(6), 9.0, size=200, rng=3)
    mu, kappa = vmf.fit(X)
    best = vmf.log_prob(X, mu, kappa).sum()
    for factor in (0.99, 1.01):
        assert vmf.log_prob(X, mu, factor * kappa).sum() < best
    turned = mu + 0.01 * np.eye(6)[0]
    assert vmf.log_prob(X, turned, kappa, normalize=True).sum() < best


def test_shapes_of_draws() -> None:
    mu = np.stack([axis(5), -axis(5)])
    kappa = np.array([[1.0], [1e6], [0.0]])
    y = vmf.rvs(mu, kappa, size=(4, 7), rng=0)
    assert y.shape == (4, 7, 3, 2, 5)
    assert_allclose(np.linalg.norm(y, axis=-1), 1)
    assert np.all(y[:, :, 1, 0] @ axis(5) > 0.99)
    assert np.all(y[:, :, 1, 1] @ axis(5) < -0.99)
    assert np.array_equal(y, vmf.rvs(mu, kappa, size=(4, 7), rng=0))
    assert vmf.rvs(axis(5), 1.0, rng=1).shape == (5,)
    assert vmf.log_prob(y, mu, kappa).shape == (4, 7, 3, 2)


BAD = [
    (lambda: vmf.log_norm(3, -1.0), "kappa must be finite and >= 0, got -1.0"),
    (lambda: vmf.log_norm(3, np.nan), "kappa must be finite and >= 0, got nan"),
    (lambda: vmf.log_norm(3, [1.0, np.inf]), "kappa must be finite and >= 0, got inf"),
    (lambda: vmf.log_norm(1, 1.0), "p must be an integer >= 2, got 1"),
    (lambda: vmf.log_norm(3.0, 1.0), "p must be an integer >= 2, got 3.0"),
    (lambda: vmf.log_norm_ratio(3, 1.0, -2.0), "kappa2 must be finite"),
    (lambda: vmf.log_norm_ratio(3, np.nan, 2.0), "kappa1 must be finite"),
    (lambda: vmf.mean_resultant(3, -1e-9), "kappa must be finite"),
    (lambda: vmf.entropy(3, np.inf), "kappa must be finite"),
    (lambda: vmf.kappa_from_resultant(3, 1.0), "resultant must be >= 0 and < 1"),
    (lambda: vmf.kappa_from_resultant(3, [0.5, -0.1]), "got -0.1"),
    (lambda: vmf.kappa_from_resultant(3, np.nan), "resultant must be"),
    (lambda: vmf.log_prob(np.ones(3), axis(3), 1.0), "y must be unit vectors"),
    (lambda: vmf.log_prob(axis(3), np.ones(3), 1.0), "normalize=True scales them"),
    (lambda: vmf.log_prob(axis(3), axis(4), 1.0), "same dimension"),
    (lambda: vmf.log_prob(np.eye(3), axis(3), np.ones(2)), "do not broadcast"),
    (lambda: vmf.rvs(1.001 * axis(3), 1.0), "got one of norm 1.001"),
    (lambda: vmf.rvs(np.zeros(3), 1.0, normalize=True), "zero or not finite"),
    (lambda: vmf.rvs(np.array([np.nan, 1.0]), 1.0), "got one of norm nan"),
    (lambda: vmf.rvs(np.ones(1), 1.0), "p >= 2, got shape"),
    (lambda: vmf.rvs(axis(3), -1.0), "kappa must be finite"),
    (lambda: vmf.rvs(np.eye(3), np.ones(2)), "kappa must broadcast"),
    (lambda: vmf.rvs(axis(3), 1.0, rng="seed"), "rng must be"),
    (lambda: vmf.fit(axis(3)), "X must have shape"),
    (lambda: vmf.fit(np.ones((4, 3))), "X must be unit vectors"),
    (lambda: vmf.fit(np.stack([axis(3), -axis(3)])), "sum to zero"),
    (lambda: vmf.fit(np.stack([axis(3), axis(3)])), "concentration is infinite"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_arguments_are_refused(call, message) -> None:
    with pytest.raises(InvalidInputError, match=message):
        call()


def test_vectors_are_scaled_on_request() -> None:
    y, mu = 3 * axis(4), np.ones(4)
    found = vmf.log_prob(y, mu, 2.0, normalize=True)
    assert_allclose(found, vmf.log_prob(axis(4), np.full(4, 0.5), 2.0))
    scaled = vmf.rvs(2 * axis(4), 5.0, size=3, rng=0, normalize=True)
    assert_allclose(scaled, vmf.rvs(axis(4), 5.0, size=3, rng=0))
