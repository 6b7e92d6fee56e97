"""The von Mises-Fisher distribution and norm clipping on NumPy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import special, stats

from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import SampleStatus
from mlmethods_numpy.ops import privacy

REFERENCE = json.loads(
    (Path(__file__).parents[2] / "golden" / "vmf_reference.json").read_text("utf-8")
)
FALSE_ALARM = 1e-4


def test_constants_equal_mpmath():
    for row in REFERENCE["constants"]:
        p, kappa = row["p"], row["kappa"]
        np.testing.assert_allclose(
            privacy.mean_resultant(p, kappa), row["mean_resultant"], rtol=2e-15
        )
        np.testing.assert_allclose(
            privacy.vmf_log_normalizer(p, kappa),
            row["log_normalizer"],
            rtol=2e-15,
            atol=2e-15 * row["log_partition"],
        )
        np.testing.assert_allclose(
            privacy.log_norm_ratio(p, 0.0, kappa), row["log_partition"], rtol=2e-15
        )


def test_log_norm_ratio_keeps_the_digits_of_differences():
    for row in REFERENCE["log_norm_ratio"]:
        actual = privacy.log_norm_ratio(row["p"], row["kappa1"], row["kappa2"])
        np.testing.assert_allclose(actual, row["value"], rtol=2e-15)


def test_constants_equal_scipy_where_scipy_can():
    kappa = np.geomspace(0.1, 300, 20)
    for p in (2, 3, 8, 30):
        order = p / 2 - 1
        bessel = np.log(special.ive(order, kappa)) + kappa
        expected = order * np.log(kappa) - p / 2 * np.log(2 * np.pi) - bessel
        np.testing.assert_allclose(
            privacy.vmf_log_normalizer(p, kappa), expected, rtol=1e-12, atol=1e-11
        )


@pytest.mark.parametrize("kappa", [-1.0, np.nan, np.inf])
def test_constants_of_an_invalid_concentration_are_nan(kappa):
    assert np.isnan(privacy.vmf_log_normalizer(5, kappa))
    assert np.isnan(privacy.mean_resultant(5, kappa))
    assert np.isnan(privacy.log_norm_ratio(5, 1.0, kappa))


@pytest.mark.parametrize("kappa", [0.0, 1.0, 500.0, 1e6, 1e8])
@pytest.mark.parametrize("p", [2, 3, 4, 10, 1000, 10_000_000])
def test_cosine_has_the_moments_of_the_law(p, kappa, rng):
    count = 20_000
    versine, complement, rounds = privacy._versines(rng, p, np.full(count, kappa))
    row = next(r for r in REFERENCE["constants"] if (r["p"], r["kappa"]) == (p, kappa))
    deviation = versine.std()
    mean = row["mean_resultant"]
    assert abs(versine.mean() - (1 - mean)) < 4 * deviation / count**0.5 + 1e-15
    np.testing.assert_allclose(versine + complement, 2, rtol=1e-14)
    assert rounds < 40
    if 0 < kappa < 1e4:
        variance = 1 - mean**2 - (p - 1) * mean / kappa
        # The fourth moment of w is at most 15 times the square of its variance.
        bound = 4 * (14 / count) ** 0.5
        np.testing.assert_allclose(deviation**2, variance, rtol=bound)


@pytest.mark.parametrize(
    ("p", "kappa", "cdf"),
    [
        (2, 0.7, lambda w: 1 - 2 * (stats.vonmises(0.7).cdf(np.arccos(w)) - 0.5)),
        (2, 40.0, lambda w: 1 - 2 * (stats.vonmises(40.0).cdf(np.arccos(w)) - 0.5)),
        (3, 5.0, lambda w: np.expm1(5 * (w + 1)) / np.expm1(10)),
        (3, 1e-9, lambda w: (w + 1) / 2),
        (7, 0.0, lambda w: stats.beta(3, 3).cdf((w + 1) / 2)),
        (61706, 0.0, lambda w: stats.beta(30852.5, 30852.5).cdf((w + 1) / 2)),
        # p >> kappa: normal, and kappa >> p: Gamma, to within the resolution of KS
        (10_000_000, 1e4, lambda w: stats.norm(1e-3, 1e-7**0.5).cdf(w)),
        (9, 1e7, lambda w: stats.gamma(4, scale=1e-7).sf(1 - w)),
    ],
)
def test_cosine_has_the_exact_law(p, kappa, cdf, rng):
    w = privacy.vmf_cosine(rng, p, kappa, 50_000)
    assert stats.kstest(w, cdf).pvalue > FALSE_ALARM


@pytest.mark.parametrize("p", [2, 3, 10])
def test_vectors_agree_with_scipy(p, rng):
    count = 20_000
    mu = np.zeros(p)
    mu[0] = -1
    result = privacy.vmf_sample_with_status(rng, np.tile(2 * mu, (count, 1)), 6.0)
    assert result.ok.all()
    np.testing.assert_allclose(np.linalg.norm(result.value, axis=1), 1, rtol=1e-14)
    theirs = stats.vonmises_fisher(mu, 6.0).rvs(count, random_state=1)
    for projection in (np.linspace(1, 2, p), mu, np.eye(p)[-1]):
        test = stats.ks_2samp(result.value @ projection, theirs @ projection)
        assert test.pvalue > FALSE_ALARM


def test_model_size_draw(rng):
    p, kappa = 1_000_000, 1e6
    mu = rng.standard_normal(p)
    y = privacy.vmf_sample(rng, mu, kappa)
    assert abs(np.linalg.norm(y) - 1) < 1e-12
    cosine = y @ mu / np.linalg.norm(mu)
    assert abs(cosine - privacy.mean_resultant(p, kappa)) < 5 / p**0.5


def test_key_discipline():
    mu = np.ones((3, 8))
    first = privacy.vmf_sample(np.random.default_rng(0), mu, 2.0)
    again = privacy.vmf_sample(np.random.default_rng(0), mu, 2.0)
    other = privacy.vmf_sample(np.random.default_rng(1), mu, 2.0)
    np.testing.assert_array_equal(first, again)
    assert not np.any(first == other)
    assert not np.any(first[0] == first[1])


def test_invalid_lanes_are_nan_and_say_so(rng):
    mu = np.ones((7, 5))
    mu[4] = 0
    mu[5, 2] = np.nan
    mu[6, 2] = np.inf
    kappa = np.array([1, -1, np.nan, np.inf, 1, 1, 1])
    result = privacy.vmf_sample_with_status(rng, mu, kappa)
    expected = [SampleStatus.OK] + 6 * [SampleStatus.INVALID_PARAMETERS]
    assert result.status.tolist() == expected
    assert np.isfinite(result.value[0]).all()
    assert np.isnan(result.value[1:]).all()
    assert np.isnan(privacy.vmf_cosine(rng, 5, -1.0, 3)).all()


def test_a_draw_that_is_never_accepted_is_not_returned(rng, monkeypatch):
    monkeypatch.setattr(privacy, "MAX_ROUNDS", 1)
    result = privacy.vmf_sample_with_status(rng, np.ones((2000, 4)), 1e6)
    failed = result.status == SampleStatus.MAX_ROUNDS
    assert int(result.rounds) == 1
    assert 0 < failed.sum() < 2000
    np.testing.assert_array_equal(np.isnan(result.value).all(axis=1), failed)
    np.testing.assert_array_equal(np.isnan(result.value).any(axis=1), failed)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: privacy.vmf_sample(r, 1.0, 1.0), "mu must have shape"),
        (lambda r: privacy.vmf_sample(r, np.ones((3, 1)), 1.0), "p >= 2, got"),
        (
            lambda r: privacy.vmf_sample(r, np.ones((3, 4)), np.ones(2)),
            r"kappa must broadcast to shape \(3,\), got shape \(2,\)",
        ),
        (lambda r: privacy.vmf_sample(0, np.ones(3), 1.0), "Generator, got int"),
        (lambda r: privacy.vmf_cosine(r, 1, 1.0, 3), "p must be an integer >= 2"),
        (lambda r: privacy.vmf_log_normalizer(2.5, 1.0), "p must be an integer"),
        (lambda r: privacy.mean_resultant(True, 1.0), "got True"),
        (lambda r: privacy.log_norm_ratio(0, 1.0, 1.0), "got 0"),
        (lambda r: privacy.clip_by_norm(1.0, 1.0), "got a scalar"),
        (lambda r: privacy.clip_by_norm(np.ones((2, 3)), np.nan), "must be >= 0"),
        (lambda r: privacy.clip_by_norm(np.ones((2, 3)), np.ones(3)), "broadcast"),
    ],
)
def test_bad_input(call, message, rng):
    with pytest.raises(InvalidInputError, match=message):
        call(rng)


def test_clipping_equals_its_definition(rng):
    g = rng.standard_normal((6, 50)) * np.geomspace(1e-3, 1e3, 6)[:, None]
    g[2] = 0
    clipped, norms = privacy.clip_by_norm(g, 1.5)
    expected = np.linalg.norm(g, axis=1)
    np.testing.assert_allclose(norms, expected, rtol=1e-14)
    factor = np.minimum(1, 1.5 / np.maximum(expected, 1e-300))
    np.testing.assert_allclose(clipped, g * factor[:, None], rtol=1e-14)
    np.testing.assert_array_equal(clipped[expected <= 1.5], g[expected <= 1.5])


def test_clipping_neither_over_nor_underflows():
    scales = np.array([1e-310, 1e-300, 1e300])
    g = scales[:, None] * np.array([[1.0, -1.0, 1.0, -1.0]])
    clipped, norms = privacy.clip_by_norm(g, [1.0, 1e-300, 1.0])
    np.testing.assert_allclose(norms, 2 * scales, rtol=1e-12)
    np.testing.assert_array_equal(clipped[0], g[0])
    np.testing.assert_allclose(clipped[1], g[1] / 2, rtol=1e-14)
    np.testing.assert_allclose(clipped[2], [0.5, -0.5, 0.5, -0.5], rtol=1e-14)


def test_clipping_hides_nothing_that_is_not_finite():
    clipped, norms = privacy.clip_by_norm([[1, np.nan], [1, np.inf], [3, 4]], 1.0)
    assert np.isnan(clipped[:2]).all()
    assert not np.isfinite(norms[:2]).any()
    np.testing.assert_allclose(clipped[2], [0.6, 0.8])
