"""Currencies: closed forms against integrals, and limits in which all agree."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import integrate

from mlmethods.errors import InvalidInputError, OperationNotSupportedError
from mlmethods.privacy import (
    CoordinateLaplaceMechanism,
    EuclideanLaplaceMechanism,
    GaussianMechanism,
    NoPrivacy,
    ProjectedNormalMechanism,
    PurkayasthaMechanism,
    VonMisesFisherMechanism,
    bayes_capacity,
    gdp_mu,
    kappa_for_gdp,
    signal_to_noise,
)
from mlmethods.privacy.currencies import _log_partition


def test_the_gaussian_dp_reading() -> None:
    assert round(gdp_mu(VonMisesFisherMechanism(500.0), 61706), 3) == 4.026
    assert gdp_mu(GaussianMechanism(0.5)) == 2.0
    assert gdp_mu(GaussianMechanism(0.5, adjacency="replace_one")) == 4.0
    assert gdp_mu(NoPrivacy()) == math.inf
    for p in (2, 1000, 10**7):
        assert_allclose(gdp_mu(VonMisesFisherMechanism(kappa_for_gdp(1.5, p)), p), 1.5)


@pytest.mark.parametrize(("kappa", "expected"), [(500, 5.0), (50, 50), (1, 2484)])
def test_signal_to_noise_of_a_small_network(kappa, expected) -> None:
    found = signal_to_noise(VonMisesFisherMechanism(kappa), 61706, 100)
    assert_allclose(found, expected, rtol=0.01)
    assert_allclose(found, math.sqrt(61706 * 100) / kappa, rtol=1e-4)


@pytest.mark.parametrize(
    "mechanism",
    [
        VonMisesFisherMechanism(6.0),
        PurkayasthaMechanism(4.0),
        EuclideanLaplaceMechanism(9.0),
        CoordinateLaplaceMechanism(3.0),
    ],
)
def test_signal_to_noise_is_that_of_draws(mechanism) -> None:
    p, batch, count = 6, 16, 40_000
    axis = np.eye(p)[0]
    draws = mechanism.sample(5, np.tile(axis, (count, 1)))
    signal = draws.mean(axis=0) @ axis
    noise = np.sum((draws / signal - axis) ** 2, axis=1)
    # The Gaussian's noise has expected squared norm p sigma^2, on the sum of the batch.
    expected = math.sqrt(batch * noise.mean() / p)
    error = (
        expected
        * (noise.std() / noise.mean() / 2 + math.sqrt(noise.mean()))
        / math.sqrt(count)
    )
    assert abs(signal_to_noise(mechanism, p, batch) - expected) < 5 * error


def test_signal_to_noise_at_its_ends() -> None:
    assert signal_to_noise(GaussianMechanism(1.3), batch_size=7) == 1.3
    assert signal_to_noise(NoPrivacy()) == 0.0
    assert signal_to_noise(VonMisesFisherMechanism(0.0), 5) == math.inf
    assert signal_to_noise(PurkayasthaMechanism(0.0), 5) == math.inf
    one = signal_to_noise(VonMisesFisherMechanism(50.0), 100, 1)
    assert_allclose(signal_to_noise(VonMisesFisherMechanism(50.0), 100, 64), 8 * one)


@pytest.mark.parametrize("p", [2, 3, 10, 500])
@pytest.mark.parametrize("kappa", [0.0, 0.7, 30.0])
def test_the_normalizer_of_purkayastha_equals_quadrature(p, kappa) -> None:
    angle = np.linspace(0, np.pi, 200_001)
    density = np.exp(-kappa * angle) * np.sin(angle) ** (p - 2)
    expected = math.log(integrate.simpson(density, x=angle))
    assert_allclose(_log_partition(p, kappa), expected, atol=1e-9)


def test_capacities_of_directions_are_integrals() -> None:
    # On the sphere: the mean direction's density times the area.
    kappa = 3.0
    density = kappa * math.exp(kappa) / (4 * math.pi * math.sinh(kappa))
    found = bayes_capacity(VonMisesFisherMechanism(kappa), 3)
    assert_allclose(found, math.log(4 * math.pi * density), rtol=1e-12)
    angle = np.linspace(0, np.pi, 20_001)
    area = (
        2 * np.pi * integrate.simpson(np.exp(-kappa * angle) * np.sin(angle), x=angle)
    )
    found = bayes_capacity(PurkayasthaMechanism(kappa), 3)
    assert_allclose(found, math.log(4 * math.pi / area), rtol=1e-9)


@pytest.mark.parametrize("sigma", [0.05, 0.6, 4.0])
def test_the_gaussian_capacity_is_an_integral_over_the_plane(sigma) -> None:
    edge = 1 + 9 * sigma
    x = np.linspace(-edge, edge, 1501)
    radius = np.hypot(x[:, None], x[None, :])
    largest = np.exp(-((radius - 1) ** 2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)
    expected = np.sum(largest) * (x[1] - x[0]) ** 2
    found = bayes_capacity(GaussianMechanism(sigma), 2)
    assert_allclose(found, math.log(expected), atol=2e-3)


def test_the_gaussian_capacity_is_estimated_by_draws() -> None:
    p, sigma, count = 3, 1.0, 200_000
    rng = np.random.default_rng(0)
    y = np.eye(p)[0] + sigma * rng.standard_normal((count, p))
    distance = np.sum((y - np.eye(p)[0]) ** 2, axis=1)
    nearest = (np.linalg.norm(y, axis=1) - 1) ** 2
    ratio = np.exp((distance - nearest) / (2 * sigma**2))
    error = ratio.std() / ratio.mean() / math.sqrt(count)
    found = bayes_capacity(GaussianMechanism(sigma), p)
    assert abs(found - math.log(ratio.mean())) < 5 * error


def test_capacities_agree_where_noise_is_small() -> None:
    # Locally both are Gaussian with variance 1 / kappa on the tangent.
    kappa = 1e6
    for p in (2, 5):
        vmf = bayes_capacity(VonMisesFisherMechanism(kappa), p)
        gaussian = bayes_capacity(GaussianMechanism(1e-3), p)
        assert_allclose(vmf, gaussian, atol=1e-4)


@pytest.mark.parametrize("p", [2, 61706, 10_000_000])
def test_capacities_are_finite_and_monotone(p) -> None:
    of = {
        VonMisesFisherMechanism: [0.0, 1.0, 500.0, 1e6],
        PurkayasthaMechanism: [0.0, 1.0, 500.0, 1e6],
        GaussianMechanism: [1e4, 10.0, 1.0, 0.01],
    }
    for kind, numbers in of.items():
        values = [bayes_capacity(kind(number), p) for number in numbers]
        assert np.all(np.isfinite(values))
        assert values[0] >= 0
        assert np.all(np.diff(values) > 0)
    assert bayes_capacity(VonMisesFisherMechanism(0.0), p) == 0.0
    assert bayes_capacity(NoPrivacy(), p) == math.inf


BAD = [
    (lambda: gdp_mu(VonMisesFisherMechanism(1.0)), "p must be an integer"),
    (lambda: gdp_mu(VonMisesFisherMechanism(1.0), 1), "p must be an integer >= 2"),
    (lambda: kappa_for_gdp(-1.0, 10), "mu must be a finite number >= 0"),
    (lambda: kappa_for_gdp(math.inf, 10), "mu must be a finite number"),
    (lambda: kappa_for_gdp(1.0, 1), "p must be an integer >= 2"),
    (lambda: signal_to_noise(GaussianMechanism(1.0), 5, 0), "batch_size must be"),
    (lambda: signal_to_noise(PurkayasthaMechanism(1.0)), "p must be an integer"),
    (lambda: bayes_capacity(GaussianMechanism(1.0), 1), "p must be an integer >= 2"),
    (
        lambda: bayes_capacity(
            VonMisesFisherMechanism((1.0, 2.0), granularity="layer"), 5
        ),
        "take the mechanism apart",
    ),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_arguments_are_refused(call, message) -> None:
    with pytest.raises(InvalidInputError, match=message):
        call()


@pytest.mark.parametrize(
    "call",
    [
        lambda: gdp_mu(PurkayasthaMechanism(1.0), 5),
        lambda: signal_to_noise(ProjectedNormalMechanism(1.0), 5),
        lambda: bayes_capacity(EuclideanLaplaceMechanism(1.0), 5),
    ],
)
def test_undefined_readings_are_refused(call) -> None:
    with pytest.raises(OperationNotSupportedError, match="is not defined for"):
        call()
