"""The Purkayastha distribution: the angle's exact law, and draws on the sphere."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from mlmethods.errors import InvalidInputError
from mlmethods.privacy.contract import MechanismConfig
from mlmethods_jax.privacy import purkayastha_angle, purkayastha_sample
from mlmethods_jax.testing import compile_guard
from mlmethods_numpy.engines.privacy import engine

FALSE_ALARM = 1e-4


def distribution(p, kappa):
    """Return the exact distribution function of the angle, by quadrature."""
    n = p - 2
    mode = np.arctan2(n, kappa)
    spread = np.sin(mode) / np.sqrt(n) if n else 1 / max(kappa, 0.3)
    # Far on the right the density falls as exp(-kappa t).
    reach = 45 * max(spread, 1 / max(kappa, 1e-9) if kappa > n else 0.0)
    grid = np.linspace(max(mode - reach, 0.0), min(mode + reach, np.pi), 20_001)
    with np.errstate(divide="ignore"):
        log = n * np.log(np.sin(grid) / np.sin(mode)) if n else np.zeros_like(grid)
    density = np.exp(np.minimum(log - kappa * (grid - mode), 50))
    cdf = integrate.cumulative_trapezoid(density, grid, initial=0)
    return lambda t: np.interp(t, grid, cdf / cdf[-1])


LAWS = [
    (2, 0.0),
    (2, 3.0),
    (3, 0.0),
    (3, 1.0),
    (3, 1e6),
    (4, 20.0),
    (10, 4.0),
    (1000, 500.0),
    (61706, 1e4),
    (10_000_000, 1.0),
    (10_000_000, 1e6),
]


@pytest.mark.parametrize(("p", "kappa"), LAWS)
def test_float32_angles_have_the_exact_law(p, kappa) -> None:
    angle = purkayastha_angle(
        jax.random.key(p), p, np.full(20_000, kappa, np.float32), 20_000
    )
    assert angle.dtype == jnp.float32
    angle = np.asarray(angle, np.float64)
    assert np.isfinite(angle).all()
    assert stats.kstest(angle, distribution(p, kappa)).pvalue > FALSE_ALARM


@pytest.mark.slow
def test_float64_angles_have_the_exact_law() -> None:
    with jax.enable_x64(True):
        angle = purkayastha_angle(
            jax.random.key(3), 61706, np.full(20_000, 300.0), 20_000
        )
        assert angle.dtype == jnp.float64
    law = distribution(61706, 300.0)
    assert stats.kstest(np.asarray(angle), law).pvalue > FALSE_ALARM


@pytest.mark.parametrize("p", [2, 3, 10, 1000])
@pytest.mark.parametrize("kappa", [0.0, 6.0])
def test_the_reference_draws_the_same_law(p, kappa) -> None:
    rows = np.tile(np.eye(p)[0], (4000, 1))
    config = MechanismConfig(kind="purkayastha", scale=kappa)
    released = engine.release(np.random.default_rng(0), rows, config)
    np.testing.assert_allclose(np.linalg.norm(released, axis=1), 1, atol=1e-12)
    law = distribution(p, kappa)
    angle = np.arccos(np.clip(released[:, 0], -1, 1))
    assert stats.kstest(angle, law).pvalue > FALSE_ALARM
    assert abs(released[:, 1].mean()) < 5 / np.sqrt(4000)


@pytest.mark.parametrize("p", [2, 3])
def test_vectors_have_the_law_and_uniform_tangents(p) -> None:
    count, kappa = 20_000, 2.5
    mu = np.zeros((count, p), np.float32)
    mu[:, -1] = -4.0
    y = np.asarray(purkayastha_sample(jax.random.key(1), mu, kappa), np.float64)
    np.testing.assert_allclose(np.linalg.norm(y, axis=1), 1, atol=1e-6)
    angle = np.arccos(np.clip(-y[:, -1], -1, 1))
    assert stats.kstest(angle, distribution(p, kappa)).pvalue > FALSE_ALARM
    tangent = y[:, :-1] / np.linalg.norm(y[:, :-1], axis=1, keepdims=True)
    if p == 2:
        positive = int((tangent[:, 0] > 0).sum())
        assert stats.binomtest(positive, count).pvalue > FALSE_ALARM
    else:
        law = stats.beta(0.5, (p - 2) / 2)
        assert stats.kstest(tangent[:, 0] ** 2, law.cdf).pvalue > FALSE_ALARM
    assert stats.spearmanr(tangent[:, 0], angle).pvalue > FALSE_ALARM


@pytest.mark.slow
def test_draws_at_model_size_are_unit_vectors() -> None:
    p, kappa = 1_000_000, 1e5
    mu = np.zeros(p, np.float32)
    mu[3] = 1.0
    y = np.asarray(purkayastha_sample(jax.random.key(0), mu, kappa), np.float64)
    assert abs(np.linalg.norm(y) - 1) < 1e-6
    mode = np.arctan2(p - 2, kappa)
    assert abs(np.arccos(y[3]) - mode) < 6 / np.sqrt(p)


def test_invalid_lanes_are_nan_and_others_are_not() -> None:
    kappa = np.array([1.0, -1.0, np.nan, np.inf, 0.0, 1e8], np.float32)
    bad = [False, True, True, True, False, False]
    angle = purkayastha_angle(jax.random.key(0), 12, np.resize(kappa, 20_000), 20_000)
    assert np.isnan(angle[:6]).tolist() == bad
    mu = np.ones((6, 12), np.float32)
    y = np.array(purkayastha_sample(jax.random.key(0), mu, kappa))
    assert np.isnan(y).all(axis=1).tolist() == bad
    mu[0], mu[4] = 0.0, np.nan
    y = np.asarray(purkayastha_sample(jax.random.key(0), mu, np.ones(6, np.float32)))
    assert np.isnan(y[[0, 4]]).all()
    assert np.isfinite(y[[1, 2, 3, 5]]).all()


def test_keys_and_vmap() -> None:
    keys = jax.random.split(jax.random.key(0), 3)
    mu = jnp.ones((3, 5), jnp.float32)
    mapped = jax.jit(jax.vmap(purkayastha_sample, (0, 0, None)))(keys, mu, 2.0)
    single = [purkayastha_sample(k, m, 2.0) for k, m in zip(keys, mu, strict=True)]
    np.testing.assert_allclose(mapped, jnp.stack(single), rtol=1e-6)
    assert not np.any(mapped[0] == mapped[1])


@pytest.mark.slow
def test_half_precision_is_kept() -> None:
    mu = jnp.ones((3, 5), jnp.bfloat16)
    half = purkayastha_sample(jax.random.key(0), mu, 2.0)
    assert half.dtype == jnp.bfloat16
    norms = np.linalg.norm(np.asarray(half, np.float64), axis=1)
    np.testing.assert_allclose(norms, 1, atol=1e-2)


def test_new_numbers_compile_nothing() -> None:
    lanes = np.full(20_000, 2.0, np.float32)
    purkayastha_angle(jax.random.key(0), 40, lanes, 20_000)
    with compile_guard():
        purkayastha_angle(jax.random.key(1), 50, 3 * lanes, 20_000)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda k: purkayastha_angle(k, 1, 1.0), "p must be an integer >= 2"),
        (lambda k: purkayastha_angle(k, 2.5, 1.0), "p must be an integer >= 2"),
        (lambda k: purkayastha_angle(k, 5, np.ones(3, np.float32), 2), "broadcast"),
        (lambda k: purkayastha_sample(k, jnp.ones(()), 1.0), "mu must have shape"),
        (lambda k: purkayastha_sample(k, jnp.ones((3, 1)), 1.0), "p >= 2, got"),
        (
            lambda k: purkayastha_sample(k, jnp.ones((3, 4)), jnp.ones(2)),
            "kappa must broadcast",
        ),
    ],
)
def test_bad_arguments_are_refused(call, message) -> None:
    with pytest.raises(InvalidInputError, match=message):
        call(jax.random.key(0))
