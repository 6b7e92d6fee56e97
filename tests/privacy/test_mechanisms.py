"""Mechanisms: their guarantees against densities, laws and independent libraries."""

from __future__ import annotations

import json
import math

import dp_accounting
import numpy as np
import pytest
from dp_accounting.pld import privacy_loss_mechanism
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import integrate, stats

from mlmethods.backend import get_backend
from mlmethods.errors import (
    ConfigError,
    InvalidInputError,
    OperationNotSupportedError,
)
from mlmethods.privacy import (
    CoordinateLaplaceMechanism,
    EuclideanLaplaceMechanism,
    GaussianMechanism,
    NoPrivacy,
    ProjectedNormalMechanism,
    PurkayasthaMechanism,
    VonMisesFisherMechanism,
    vmf,
)
from mlmethods.privacy._cosine_law import antipodal_delta, cosine_cdf, cosine_survival
from mlmethods.privacy.contract import MechanismConfig
from mlmethods.privacy.mechanisms import mechanism_from_dict

FALSE_ALARM = 1e-4
ALL = [
    VonMisesFisherMechanism(2.0),
    GaussianMechanism(0.8),
    PurkayasthaMechanism(1.5),
    EuclideanLaplaceMechanism(1.5),
    CoordinateLaplaceMechanism(0.5),
    ProjectedNormalMechanism(0.3),
    NoPrivacy(),
]
PURE = [PurkayasthaMechanism(0.5), EuclideanLaplaceMechanism(0.7)]


def unit_rows(rng, n, p):
    rows = rng.standard_normal((n, p))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


# ------------------------------------------------------------------ von Mises-Fisher


def test_delta_at_zero_on_the_sphere_is_a_hyperbolic_tangent() -> None:
    kappa = np.array([0.01, 1.0, 5.0])
    found = [float(VonMisesFisherMechanism(k).delta(0.0, 3)) for k in kappa]
    assert_allclose(found, np.tanh(kappa / 2), rtol=1e-12)


@pytest.mark.parametrize(("p", "kappa"), [(2, 1.5), (3, 20.0), (10, 0.7), (1000, 40.0)])
def test_delta_is_the_integral_of_the_excess(p, kappa) -> None:
    epsilon = np.array([-3.0, -0.1, 0.0, 0.2, 1.3, 1.9 * kappa])
    grid = np.linspace(0, np.pi, 200_001)
    density = np.exp(kappa * (np.cos(grid) - 1)) * np.sin(grid) ** (p - 2)
    density /= integrate.simpson(density, x=grid)
    excess = np.maximum(-np.expm1(epsilon[:, None] - 2 * kappa * np.cos(grid)), 0)
    expected = integrate.simpson(excess * density, x=grid, axis=1)
    found = VonMisesFisherMechanism(kappa).delta(epsilon, p)
    assert_allclose(found, expected, atol=2e-9)


def test_delta_of_many_epsilons_agrees_with_the_law() -> None:
    p, kappa = 61706, 500.0
    epsilon = np.linspace(0, 60, 5001)
    w = epsilon / (2 * kappa)
    expected = cosine_survival(p, kappa, w) - np.exp(epsilon) * cosine_cdf(p, kappa, -w)
    found = antipodal_delta(p, kappa, epsilon)
    assert_allclose(found, expected, atol=1e-11)
    assert np.all(np.diff(found) <= 0)
    assert np.all(antipodal_delta(p, kappa, np.array([1000.0, 2000.0, np.inf])) == 0)


def test_the_gaussian_reading_of_a_large_model() -> None:
    mechanism = VonMisesFisherMechanism(500.0)
    gaussian = GaussianMechanism(math.sqrt(61706) / 1000.0)
    assert round(float(mechanism.delta(0.0, 61706)), 4) == 0.9559
    epsilon = np.array([0.0, 1.0, 5.0, 10.0])
    assert_allclose(mechanism.delta(epsilon, 61706), gaussian.delta(epsilon), atol=2e-4)


@settings(max_examples=25, deadline=None)
@given(
    p=st.sampled_from([2, 3, 10, 1000]),
    log_kappa=st.floats(-6, 6),
    steps=st.lists(st.floats(0.001, 1.0), min_size=2, max_size=8),
)
def test_delta_is_a_convex_curve_between_its_bounds(p, log_kappa, steps) -> None:
    kappa = 10.0**log_kappa
    epsilon = (
        2 * kappa * np.sort(np.concatenate([[0.0], np.cumsum(steps) / len(steps)]))
    )
    delta = VonMisesFisherMechanism(kappa).delta(epsilon, p)
    assert np.all((delta >= 0) & (delta <= 1))
    assert np.all(np.diff(delta) <= 1e-15)
    # Convex in exp(epsilon); no larger than randomized response with 2 kappa.
    bound = -np.expm1(np.minimum(epsilon - 2 * kappa, 0)) / (1 + math.exp(-2 * kappa))
    assert np.all(delta <= bound + 1e-12)


@pytest.mark.parametrize("p", [3, 10, 1000])
def test_no_density_ratio_exceeds_the_metric_bound(p) -> None:
    rng, kappa, count = np.random.default_rng(p), 7.0, 100_000 if p < 1000 else 4000
    mu, other = unit_rows(rng, count, p), unit_rows(rng, count, p)
    y = VonMisesFisherMechanism(kappa).sample(rng, mu)
    log_ratio = kappa * np.einsum("ij,ij->i", mu - other, y)
    if p < 1000:
        by_density = vmf.log_prob(y, mu, kappa) - vmf.log_prob(y, other, kappa)
        assert_allclose(by_density, log_ratio, atol=1e-9)
    chord = np.linalg.norm(mu - other, axis=1)
    assert np.all(log_ratio <= kappa * chord + 1e-9)
    assert np.all(log_ratio <= VonMisesFisherMechanism(kappa).pure_epsilon())


def test_the_divergence_is_the_integral_of_the_densities() -> None:
    mechanism = VonMisesFisherMechanism(2.0)
    w = np.linspace(-1, 1, 20_001)
    density = 2.0 * np.exp(2 * w) / (2 * np.sinh(2.0))
    for order in (1.5, 2.0, 8.0):
        moment = integrate.simpson(density * np.exp((order - 1) * 4 * w), x=w)
        expected = math.log(moment) / (order - 1)
        assert_allclose(mechanism.rdp(order, 3), expected, rtol=1e-9)
    divergence = integrate.simpson(density * 4 * w, x=w)
    assert_allclose(mechanism.rdp([1.0, 1 + 1e-9], 3), divergence, rtol=1e-7)


@pytest.mark.parametrize("p", [2, 61706, 10_000_000])
@pytest.mark.parametrize("kappa", [1e-3, 500.0])
def test_the_divergence_grows_with_order_and_angle(p, kappa) -> None:
    mechanism = VonMisesFisherMechanism(kappa)
    orders = np.concatenate([[1.0], 1 + np.geomspace(1e-10, 1e7, 60), [np.inf]])
    curves = np.array(
        [mechanism.renyi(orders, p, angle) for angle in np.linspace(0, np.pi, 9)]
    )
    assert np.all(np.isfinite(curves))
    assert np.all(np.diff(curves, axis=1) >= -1e-12 * curves[:, 1:])
    assert np.all(np.diff(curves, axis=0) >= 0)
    assert_allclose(curves[-1], mechanism.rdp(orders, p))
    assert curves[-1, -1] == mechanism.pure_epsilon()
    # The Kullback-Leibler limit of the antipodal pair.
    limit = 2 * kappa * vmf.mean_resultant(p, kappa)
    assert_allclose(curves[-1, :3], limit, rtol=1e-7)
    half = 2 * kappa * math.sin(np.pi / 4)
    assert_allclose(mechanism.renyi(np.inf, p, np.pi / 2), half)


@pytest.mark.parametrize("p", [2, 3, 10, 61706])
@pytest.mark.parametrize("kappa", [0.01, 1.0, 500.0])
def test_a_uniform_release_of_a_zero_gradient_costs_no_more(p, kappa) -> None:
    orders = np.array([1.01, 1.5, 2.0, 10.0, 300.0])
    worst = VonMisesFisherMechanism(kappa).rdp(orders, p)
    # psi(t) = log C(0) - log C(t), even and convex.
    psi = lambda t: vmf.log_norm_ratio(p, 0.0, np.abs(t))  # noqa: E731
    directed = (psi(orders * kappa) - orders * psi(kappa)) / (orders - 1)
    uniform = (psi((1 - orders) * kappa) - (1 - orders) * psi(kappa)) / (orders - 1)
    assert np.all(directed <= worst * (1 + 1e-9))
    assert np.all(uniform <= worst * (1 + 1e-9))


@pytest.mark.parametrize("p", [2, 3, 10, 61706])
@pytest.mark.parametrize("kappa", [0.01, 1.0, 500.0])
def test_a_uniform_release_is_no_easier_to_tell(p, kappa) -> None:
    epsilon = np.linspace(0, min(2 * kappa, 60), 50)
    scale = np.exp(epsilon)
    # The density ratio is exp(kappa w - psi): each world wins on one side of a cosine.
    psi = vmf.log_norm_ratio(p, 0.0, kappa)
    above, below = (psi + epsilon) / kappa, (psi - epsilon) / kappa
    directed = cosine_survival(p, kappa, above) - scale * cosine_survival(p, 0, above)
    uniform = cosine_cdf(p, 0, below) - scale * cosine_cdf(p, kappa, below)
    bound = VonMisesFisherMechanism(kappa).delta(epsilon, p)
    assert directed[0] > 0
    assert np.all(directed <= bound + 1e-11)
    assert np.all(uniform <= bound + 1e-11)


# ------------------------------------------------------------- the other mechanisms


@pytest.mark.parametrize("adjacency", ["add_remove", "replace_one"])
@pytest.mark.parametrize("sigma", [0.05, 1.0, 30.0])
def test_the_gaussian_equals_dp_accounting(adjacency, sigma) -> None:
    mechanism = GaussianMechanism(sigma, adjacency=adjacency)
    scale = 1.0 if adjacency == "add_remove" else 2.0
    loss = privacy_loss_mechanism.GaussianPrivacyLoss(sigma, sensitivity=scale)
    epsilon = np.array([0.0, 0.01, 1.0, 5.0, 20.0])
    expected = [loss.get_delta_for_epsilon(e) for e in epsilon]
    assert_allclose(mechanism.delta(epsilon), expected, atol=1e-12)
    accountant = dp_accounting.rdp.RdpAccountant([2.0, 7.0, 32.0])
    accountant.compose(mechanism.event())
    assert_allclose(mechanism.rdp([2.0, 7.0, 32.0]), accountant._rdp, rtol=1e-12)


def test_the_gaussian_keeps_its_tails() -> None:
    delta = GaussianMechanism(1.0).delta([20.0, 30.0, 36.0, 1e6, np.inf])
    # Leading terms of both tails, with their difference in closed form.
    x = np.array([20.0, 30.0, 36.0])
    mills = lambda z: stats.norm.sf(z) / stats.norm.pdf(z)  # noqa: E731
    expected = stats.norm.pdf(x - 0.5) * (mills(x - 0.5) - mills(x + 0.5))
    assert_allclose(delta[:3], expected, rtol=1e-9)
    assert delta[3:].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("mechanism", [m for m in ALL if m.kind in ("vmf", "gaussian")])
def test_a_pair_that_may_be_swapped_has_a_mirrored_curve(mechanism) -> None:
    epsilon = np.array([0.3, 1.0, 2.5])
    forward, mirrored = mechanism.delta(epsilon, 10), mechanism.delta(-epsilon, 10)
    assert_allclose(mirrored, 1 - np.exp(-epsilon) * (1 - forward), rtol=1e-12)


@pytest.mark.parametrize("mechanism", PURE)
def test_a_pure_mechanism_is_bounded_by_randomized_response(mechanism) -> None:
    pure = mechanism.pure_epsilon()
    first = 1 / (1 + math.exp(-pure))
    p, q = np.array([first, 1 - first]), np.array([1 - first, first])
    epsilon = np.array([-2 * pure, -0.3, 0.0, 0.5 * pure, pure, 2 * pure])
    excess = np.maximum(p - np.exp(epsilon)[:, None] * q, 0).sum(axis=1)
    assert_allclose(mechanism.delta(epsilon, 9), excess, atol=1e-14)
    orders = np.array([1.0001, 1.5, 2.0, 30.0])
    moments = (p ** orders[:, None] * q ** (1 - orders[:, None])).sum(axis=1)
    expected = np.log(moments) / (orders - 1)
    assert_allclose(mechanism.rdp(orders, 9), expected, rtol=1e-9)
    kl = float(np.sum(p * np.log(p / q)))
    assert_allclose(mechanism.rdp([1.0, 1 + 1e-12, np.inf], 9), [kl, kl, pure])


def test_huge_pure_epsilons_do_not_overflow() -> None:
    mechanism = EuclideanLaplaceMechanism(1e6)
    assert_allclose(mechanism.rdp([1.5, 64.0, np.inf], 9), 2e6, rtol=1e-5)
    assert_allclose(mechanism.delta([0.0, 1e6, 3e6], 9), [1, 1, 0])


def test_purkayastha_ratios_stay_below_its_metric_bound() -> None:
    rng, kappa = np.random.default_rng(0), 3.0
    mechanism = PurkayasthaMechanism(kappa)
    mu, other = unit_rows(rng, 50_000, 5), unit_rows(rng, 50_000, 5)
    y = mechanism.sample(rng, mu)
    angle = lambda a, b: np.arccos(np.clip(np.sum(a * b, axis=1), -1, 1))  # noqa: E731
    log_ratio = kappa * (angle(other, y) - angle(mu, y))
    assert np.all(
        log_ratio <= mechanism.metric_epsilon("angle") * angle(mu, other) + 1e-6
    )
    chord = np.linalg.norm(mu - other, axis=1)
    assert np.all(log_ratio <= mechanism.metric_epsilon("chord") * chord + 1e-6)
    assert mechanism.pure_epsilon() == math.pi * kappa


def test_bounds_of_the_laplace_mechanisms() -> None:
    euclidean, coordinate = (
        EuclideanLaplaceMechanism(3.0),
        CoordinateLaplaceMechanism(0.5),
    )
    assert euclidean.pure_epsilon() == 6.0
    assert euclidean.metric_epsilon("chord") == euclidean.metric_epsilon("angle") == 3.0
    assert coordinate.pure_epsilon(p=100) == 10.0
    assert coordinate.metric_epsilon("chord", p=100) == 5.0
    assert coordinate.pure_epsilon() == coordinate.metric_epsilon() == math.inf


# ------------------------------------------------------------------------- releases


def test_laplace_noise_has_its_law() -> None:
    rng, p, epsilon = np.random.default_rng(1), 6, 2.0
    rows = np.tile(np.eye(p)[2], (20_000, 1))
    noise = EuclideanLaplaceMechanism(epsilon).sample(rng, rows) - rows
    length = np.linalg.norm(noise, axis=1)
    assert stats.kstest(length, stats.gamma(p, scale=0.5).cdf).pvalue > FALSE_ALARM
    square = (noise[:, 0] / length) ** 2
    assert stats.kstest(square, stats.beta(0.5, (p - 1) / 2).cdf).pvalue > FALSE_ALARM
    noise = CoordinateLaplaceMechanism(epsilon).sample(rng, rows) - rows
    law = stats.laplace(scale=0.5)
    assert stats.kstest(noise.ravel(), law.cdf).pvalue > FALSE_ALARM


def test_normal_noise_has_its_law() -> None:
    rng = np.random.default_rng(2)
    rows = np.tile(np.eye(4)[0], (10_000, 1))
    noise = GaussianMechanism(0.7).sample(rng, rows) - rows
    law = stats.norm(scale=0.7)
    assert stats.kstest(noise.ravel(), law.cdf).pvalue > FALSE_ALARM
    projected = ProjectedNormalMechanism(0.7).sample(rng, rows)
    assert_allclose(np.linalg.norm(projected, axis=1), 1)
    other = rows + 0.7 * rng.standard_normal(rows.shape)
    cosine = other[:, 0] / np.linalg.norm(other, axis=1)
    assert stats.ks_2samp(projected[:, 0], cosine).pvalue > FALSE_ALARM
    assert np.array_equal(NoPrivacy().sample(rng, rows), rows)


@pytest.mark.parametrize("p", [2, 3, 10])
def test_vmf_releases_have_their_law(p) -> None:
    rows = np.tile(np.eye(p)[0], (20_000, 1))
    released = VonMisesFisherMechanism(4.0).sample(3, rows)
    assert_allclose(np.linalg.norm(released, axis=1), 1)
    law = lambda w: cosine_cdf(p, 4.0, w)  # noqa: E731
    assert stats.kstest(released[:, 0], law).pvalue > FALSE_ALARM


@pytest.mark.parametrize("mechanism", ALL, ids=lambda m: m.kind)
def test_a_release_follows_its_seed(mechanism) -> None:
    rows = np.eye(5)
    first, again = (
        mechanism.sample(0, rows),
        mechanism.sample(0, 2 * rows, normalize=True),
    )
    assert np.array_equal(first, again)
    if mechanism.kind != "none":
        assert not np.any(first == mechanism.sample(1, rows))


# ------------------------------------------------------------------ groups and dicts


@pytest.mark.parametrize("mechanism", ALL, ids=lambda m: m.kind)
def test_a_mechanism_is_a_value(mechanism) -> None:
    values = json.loads(json.dumps(mechanism.to_dict()))
    assert mechanism_from_dict(values) == mechanism
    assert hash(mechanism_from_dict(values)) == hash(mechanism)
    config = mechanism.config()
    assert config.kind == mechanism.kind
    assert hash(config) == hash(mechanism.config())
    assert mechanism.unit.startswith("one example")
    assert mechanism.adjacency in ("replace_one", "add_remove")
    assert isinstance(mechanism.event(), dp_accounting.DpEvent)


def test_groups_survive_a_dictionary() -> None:
    mechanism = VonMisesFisherMechanism(
        [50, 5], norm=(1.0, 2.0), granularity=[["conv"], ["dense", "head"]]
    )
    assert mechanism.kappa == (50.0, 5.0)
    assert mechanism.granularity == (("conv",), ("dense", "head"))
    values = json.loads(json.dumps(mechanism.to_dict()))
    assert mechanism_from_dict(values) == mechanism


def test_costs_add_over_groups() -> None:
    dimensions = [10, 200, 3]
    whole = VonMisesFisherMechanism(50.0).parts(dimensions)
    assert whole == ((VonMisesFisherMechanism(50.0), 213),)
    layered = VonMisesFisherMechanism(50.0, granularity="layer", norm=3.0)
    parts = layered.parts(dimensions)
    assert [p for _, p in parts] == dimensions
    assert sum(part.pure_epsilon() for part, _ in parts) == 300.0
    assert all(part.granularity == "model" for part, _ in parts)
    assert_allclose([part.norm for part, _ in parts], math.sqrt(3))
    each = VonMisesFisherMechanism((1.0, 2.0, 3.0), granularity="layer", norm=(3, 2, 1))
    assert each.pure_epsilon() == 12.0
    assert each.metric_epsilon() == 6.0
    found = [(part.kappa, part.norm, p) for part, p in each.parts(dimensions)]
    assert found == [(1.0, 3.0, 10), (2.0, 2.0, 200), (3.0, 1.0, 3)]
    assert GaussianMechanism(1.0, granularity="layer").parts(dimensions)[0][1] == 213
    assert len(GaussianMechanism(1.0, granularity="layer").parts(dimensions)) == 1


BAD = [
    (lambda: VonMisesFisherMechanism(-1.0), "kappa must be finite and >= 0, got -1"),
    (lambda: VonMisesFisherMechanism(np.nan), "kappa must be finite and >= 0, got nan"),
    (lambda: VonMisesFisherMechanism(np.inf), "got inf; NoPrivacy"),
    (lambda: VonMisesFisherMechanism("5"), "kappa must be finite"),
    (lambda: VonMisesFisherMechanism(True), "kappa must be finite"),
    (lambda: VonMisesFisherMechanism(1.0, norm=0.0), "norm must be finite and > 0"),
    (
        lambda: VonMisesFisherMechanism((1.0, 2.0)),
        "one number with granularity 'model'",
    ),
    (
        lambda: VonMisesFisherMechanism((1.0,), granularity=(("a",), ("b",))),
        "each of 2 groups",
    ),
    (lambda: VonMisesFisherMechanism(1.0, granularity="tensor"), "granularity must be"),
    (lambda: VonMisesFisherMechanism(1.0, granularity=("a",)), "groups of path"),
    (lambda: VonMisesFisherMechanism(1.0, granularity=()), "groups of path"),
    (lambda: VonMisesFisherMechanism(1.0).rdp(0.5, 10), "orders must be >= 1"),
    (lambda: VonMisesFisherMechanism(1.0).rdp(np.nan, 10), "orders must be >= 1"),
    (lambda: VonMisesFisherMechanism(1.0).rdp(2.0, 1), "p must be an integer >= 2"),
    (lambda: VonMisesFisherMechanism(1.0).delta(1.0, 2.5), "p must be an integer"),
    (lambda: VonMisesFisherMechanism(1.0).delta(np.nan, 5), "must not be NaN"),
    (lambda: VonMisesFisherMechanism(1.0).renyi(2.0, 5, 4.0), "angle must be"),
    (lambda: VonMisesFisherMechanism(1.0).metric_epsilon("cosine"), "metric must be"),
    (
        lambda: VonMisesFisherMechanism((1, 2), granularity="layer").rdp(2.0, 5),
        "take the mechanism apart",
    ),
    (
        lambda: VonMisesFisherMechanism((1, 2), granularity="layer").parts([3]),
        "kappa has 2 numbers for 1 groups",
    ),
    (lambda: VonMisesFisherMechanism(1.0).parts([]), "one group at least"),
    (lambda: VonMisesFisherMechanism(1.0).parts([0]), "dimensions must be an integer"),
    (lambda: VonMisesFisherMechanism(1.0).sample(0, np.ones((2, 3))), "unit vectors"),
    (
        lambda: VonMisesFisherMechanism(1.0).sample(
            0, np.zeros((2, 3)), normalize=True
        ),
        "zero or not finite",
    ),
    (
        lambda: VonMisesFisherMechanism(1.0).sample(0, np.full((1, 3), np.nan)),
        "unit vectors",
    ),
    (lambda: VonMisesFisherMechanism(1.0).sample(0, np.ones(3)), "shape \\(n, p\\)"),
    (lambda: VonMisesFisherMechanism(1.0).sample("x", np.eye(3)), "rng must be"),
    (lambda: GaussianMechanism(0.0), "noise_multiplier must be finite and > 0"),
    (lambda: GaussianMechanism((1.0, 2.0)), "noise_multiplier must be one number"),
    (
        lambda: GaussianMechanism(1.0, clip_norm=-1.0),
        "clip_norm must be finite and > 0",
    ),
    (lambda: GaussianMechanism(1.0, adjacency="swap"), "adjacency must be one of"),
    (lambda: GaussianMechanism(1.0).delta(np.nan), "must not be NaN"),
    (lambda: PurkayasthaMechanism(-1.0), "kappa must be finite and >= 0"),
    (lambda: PurkayasthaMechanism(1.0).rdp(2.0, 1), "p must be an integer >= 2"),
    (lambda: EuclideanLaplaceMechanism(0.0), "epsilon must be finite and > 0"),
    (lambda: CoordinateLaplaceMechanism(np.inf), "epsilon must be finite and > 0"),
    (lambda: ProjectedNormalMechanism(-0.1), "sigma must be finite and > 0"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_arguments_are_refused(call, message) -> None:
    with pytest.raises(InvalidInputError, match=message):
        call()


def test_controls_have_no_accounting() -> None:
    control = ProjectedNormalMechanism(0.1)
    for call in (lambda: control.rdp(2.0, 5), lambda: control.delta(1.0, 5)):
        with pytest.raises(OperationNotSupportedError, match="without accounting"):
            call()
    assert NoPrivacy().rdp([2.0, 3.0]).tolist() == [math.inf] * 2
    assert NoPrivacy().delta([0.0, 1e9, np.inf]).tolist() == [1.0, 1.0, 0.0]


ENGINE_BAD = [
    (np.eye(3), MechanismConfig(kind="vmf", scale=(1.0, 2.0)), "one finite number"),
    (np.eye(3), MechanismConfig(kind="vmf", scale=-1.0), "one finite number"),
    (np.ones(3), MechanismConfig(kind="vmf", scale=1.0), "shape \\(n, p\\)"),
    (np.zeros((2, 3)), MechanismConfig(kind="vmf", scale=1.0), "zero or not finite"),
]


@pytest.mark.parametrize(("rows", "config", "message"), ENGINE_BAD)
def test_the_reference_engine_refuses_bad_arguments(rows, config, message) -> None:
    engine = get_backend("numpy").engine("privacy")
    with pytest.raises(InvalidInputError, match=message):
        engine.release(np.random.default_rng(0), rows, config)


def test_the_reference_engine_does_not_train() -> None:
    engine = get_backend("numpy").engine("privacy")
    with pytest.raises(OperationNotSupportedError, match="trains no networks"):
        engine.program(None, None, None, None)
    with pytest.raises(OperationNotSupportedError, match="not 'cauchy'"):
        engine.release(None, np.eye(3), MechanismConfig(kind="cauchy"))


def test_unknown_dictionaries_are_refused() -> None:
    with pytest.raises(ConfigError, match="mechanism must be one of"):
        mechanism_from_dict({"mechanism": "cauchy"})
    with pytest.raises(ConfigError, match="no field 'kapa'"):
        mechanism_from_dict({"mechanism": "vmf", "kapa": 1.0})


def test_kappa_zero_is_uniform_and_free() -> None:
    mechanism = VonMisesFisherMechanism(0.0)
    assert mechanism.pure_epsilon() == 0.0
    assert mechanism.rdp([1.0, 2.0, np.inf], 7).tolist() == [0.0, 0.0, 0.0]
    assert_allclose(mechanism.delta([-1.0, 0.0, 1.0], 7), [1 - math.exp(-1), 0, 0])
    assert_allclose(PurkayasthaMechanism(0.0).rdp([1.0, 2.0], 7), 0)
