"""Mechanisms within a training step."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from mlmethods.errors import InvalidInputError
from mlmethods.privacy.contract import MechanismConfig
from mlmethods_jax.privacy import mechanisms
from mlmethods_jax.privacy.mechanisms import gradient_mechanism, release
from mlmethods_jax.testing import compile_guard
from mlmethods_jax.training import TrainState, make_train_step

FALSE_ALARM = 1e-4
KINDS = [
    "vmf",
    "gaussian",
    "purkayastha",
    "euclidean_laplace",
    "coordinate_laplace",
    "projected_normal",
    "none",
]
# numbers at which a release is almost the direction itself
SHARP = {
    "vmf": 1e8,
    "purkayastha": 1e6,
    "euclidean_laplace": 1e6,
    "coordinate_laplace": 1e6,
    "projected_normal": 1e-6,
}
P = 30


def mechanism(kind, scale=1.0, *, size=None, **given):
    config = MechanismConfig(kind=kind, scale=scale, **given)
    return gradient_mechanism(config, expected_batch_size=size)


def run(acting, gradients, mask=None, params=None, seed=0):
    """Return the sum and the state of one call."""
    params = jnp.zeros(gradients.shape[1:]) if params is None else params
    mask = jnp.ones(gradients.shape[0], bool) if mask is None else jnp.asarray(mask)
    step = jax.jit(acting.randomize)
    return step(jax.random.key(seed), gradients, mask, acting.init(params))


@pytest.fixture
def gradients(rng):
    return jnp.asarray(rng.normal(size=(4, P)), jnp.float32)


def unit(rows):
    rows = np.asarray(rows, float)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("kind", SHARP)
def test_sums_are_of_directions_scaled_to_the_norm(gradients, kind):
    acting = mechanism(kind, SHARP[kind], norm=2.0)
    total, _ = run(acting, gradients)
    assert_allclose(total, 2 * unit(gradients).sum(0), atol=5e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_masked_rows_contribute_exactly_zero(gradients, kind):
    acting = mechanism(kind, 3.0)
    bad = gradients.at[1].set(jnp.nan).at[2, 0].set(jnp.inf)
    total, _ = run(acting, bad, np.zeros(4, bool))
    assert not np.any(np.asarray(total))
    total, _ = run(acting, bad, [True, False, False, True])
    assert bool(jnp.isfinite(total).all())


@pytest.mark.parametrize("kind", KINDS)
def test_nan_safe(gradients, kind):
    bad = gradients.at[1, 3].set(jnp.nan)
    total, state = run(mechanism(kind, 3.0, count_zero_gradients=True), bad)
    assert bool(jnp.isfinite(total).all())
    assert int(state.zero_gradients) == 1
    total, state = run(mechanism(kind, 3.0, nan_safe=False), bad)
    assert bool(jnp.isnan(total).all())
    assert int(state.zero_gradients) == 0


def test_zero_gradients_are_counted_where_they_count(gradients):
    acting = mechanism("vmf", 3.0, count_zero_gradients=True)
    zeros = gradients.at[0].set(0).at[2].set(0)
    _, state = run(acting, zeros, [True, True, False, True])
    assert int(state.zero_gradients) == 1


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_clipping_neither_over_nor_underflows(gradients, dtype, size):
    rows = (gradients * size).astype(dtype)
    total, _ = run(mechanism("gaussian", norm=0.5), rows)
    expected = 0.5 * unit(rows.astype(jnp.float32)) if size > 1 else np.zeros((4, P))
    assert total.dtype == jnp.float32
    assert_allclose(total, expected.sum(0), atol=1e-6)


def test_noise_comes_also_to_an_empty_batch_and_is_divided_by_the_constant():
    acting = mechanism("gaussian", 2.0, norm=(3.0, 4.0), granularity="layer", size=10)
    params = {"a": jnp.zeros(30_000), "b": jnp.zeros(10_000)}
    rows = jax.tree.map(lambda leaf: jnp.ones((2, *leaf.shape)), params)
    key, mask = jax.random.key(0), jnp.zeros(2, bool)
    total, state = acting.randomize(key, rows, mask, acting.init(params))
    mean, _ = acting.finalize(jax.random.key(1), total, jnp.int32(0), state)
    # the norm of the whole is 5: deviation 2 x 5 / 10
    for leaf in jax.tree.leaves(mean):
        test = stats.kstest(np.asarray(leaf, float), stats.norm.cdf)
        assert test.pvalue > FALSE_ALARM


def test_numbers_live_in_the_state_and_compile_nothing(gradients):
    first, second = mechanism("vmf", 5.0, size=4), mechanism("vmf", 7.0, size=8)
    assert first == second
    assert hash(first) == hash(second)
    assert first != mechanism("vmf", 5.0)
    assert first != mechanism("vmf", 5.0, size=4, granularity="layer")
    step = jax.jit(
        lambda acting, key, rows, mask, state: acting.randomize(key, rows, mask, state),
        static_argnums=0,
    )
    key, mask, params = jax.random.key(0), jnp.ones(4, bool), jnp.zeros(P)
    one, state = step(first, key, gradients, mask, first.init(params))
    other = second.init(params)
    with compile_guard(max_compiles=0):
        two, _ = step(second, key, gradients, mask, other)
    assert float(state.scale[0]) == 5.0
    assert np.abs(np.asarray(one - two)).max() > 0


def test_an_unfinished_lane_makes_the_step_a_skipped_one(gradients, monkeypatch):
    def unfinished(key, unit, kappa):
        return jnp.where(jnp.arange(len(unit))[:, None] == 1, jnp.nan, unit)

    monkeypatch.setitem(mechanisms._RELEASES, "purkayastha", unfinished)
    acting = mechanism("purkayastha", 3.0)
    optimizer = optax.sgd(1.0)
    step = make_train_step(lambda w, batch, key: batch @ w, optimizer, mechanism=acting)
    state = TrainState.create(jnp.ones(P), optimizer, mechanism=acting)
    new, metrics = jax.jit(step)(state, gradients, jax.random.key(0))
    assert int(metrics["skipped"]) == 1
    assert_allclose(new.params, 1)


def test_a_step_with_microbatches_moves_against_the_directions(gradients):
    acting = mechanism("vmf", 1e8, norm=2.0, size=4)
    optimizer = optax.sgd(1.0)
    step = make_train_step(
        lambda w, batch, key: batch @ w, optimizer, mechanism=acting, microbatch=2
    )
    state = TrainState.create(jnp.zeros(P), optimizer, mechanism=acting)
    mask = jnp.array([True, True, True, False])
    new, _ = jax.jit(step)(state, gradients, jax.random.key(0), mask)
    assert_allclose(new.params, -2 * unit(gradients)[:3].sum(0) / 4, atol=2e-3)


# Releases of unit vectors -----------------------------------------------------


def draws(kind, scale, n=20_000, p=5):
    mu = jnp.zeros((n, p)).at[:, 0].set(1.0)
    out = release(jax.random.key(3), mu, MechanismConfig(kind=kind, scale=scale))
    return np.asarray(out - mu, float)


def test_euclidean_laplace_noise_has_a_gamma_length():
    noise = draws("euclidean_laplace", 3.0)
    length = np.linalg.norm(noise, axis=1)
    assert stats.kstest(length, stats.gamma(5, scale=1 / 3).cdf).pvalue > FALSE_ALARM
    # a coordinate of a uniform direction in 5 dimensions: its square is beta
    square = (noise[:, 1] / length) ** 2
    assert stats.kstest(square, stats.beta(0.5, 2).cdf).pvalue > FALSE_ALARM


def test_coordinate_laplace_and_normal_noise():
    noise = draws("coordinate_laplace", 3.0)[:, 2]
    assert stats.kstest(noise, stats.laplace(scale=1 / 3).cdf).pvalue > FALSE_ALARM
    noise = draws("gaussian", 0.7)[:, 2]
    assert stats.kstest(noise, stats.norm(scale=0.7).cdf).pvalue > FALSE_ALARM


def test_the_projected_normal_returns_to_the_sphere():
    mu = jnp.eye(5)
    out = release(
        jax.random.key(0), mu, MechanismConfig(kind="projected_normal", scale=1.0)
    )
    assert_allclose(np.linalg.norm(out, axis=1), 1, atol=1e-6)
    assert np.abs(np.asarray(out) - np.eye(5)).max() > 0.1


def test_without_a_mechanism_vectors_are_as_they_were():
    out = release(jax.random.key(0), jnp.eye(3), MechanismConfig(kind="none"))
    assert_allclose(out, np.eye(3))


@pytest.mark.parametrize(
    ("config", "vectors", "words"),
    [
        ({"kind": "vmf"}, np.ones(3), "unit_vectors must have shape"),
        ({"kind": "vmf"}, np.ones((3, 1)), "p >= 2"),
        ({"kind": "vmf", "scale": (1.0, 2.0)}, np.eye(3), "one number for a release"),
        ({"kind": "vmf", "scale": -1.0}, np.eye(3), "scale must be finite and >= 0"),
        ({"kind": "euclidean_laplace"}, np.eye(3), "scale must be finite and > 0"),
    ],
)
def test_bad_releases(config, vectors, words):
    with pytest.raises(InvalidInputError, match=words):
        release(jax.random.key(0), vectors, MechanismConfig(**config))


def test_an_unknown_kind():
    with pytest.raises(InvalidInputError, match="kind must be one of vmf"):
        mechanism("laplace")
