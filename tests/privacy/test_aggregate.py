"""Sums of von Mises-Fisher draws at once, against draws one by one and exact laws."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from mlmethods.errors import InvalidInputError
from mlmethods_jax.ops.privacy import mean_resultant
from mlmethods_jax.privacy import aggregate
from mlmethods_jax.privacy.aggregate import vmf_aggregate
from mlmethods_jax.testing import compile_guard

FALSE_ALARM = 1e-4
P, B = 40, 6
DRAWS = 20_000


@functools.partial(jax.jit, static_argnames=("draws", "aggregation"))
def _sums(key, gradients, kappa, weights, *, draws, aggregation):
    def one(key):
        return vmf_aggregate(
            key, gradients, kappa, weights=weights, aggregation=aggregation
        )

    return jax.lax.map(one, jax.random.split(key, draws))


def sums(gradients, kappa, weights=None, *, aggregation, draws=DRAWS, seed=0):
    """Return independent float64 sums [draws, p]."""
    weights = np.ones(len(gradients)) if weights is None else np.asarray(weights)
    out = _sums(
        jax.random.key(seed),
        jnp.asarray(gradients, jnp.float32),
        jnp.float32(kappa),
        jnp.asarray(weights, jnp.float32),
        draws=draws,
        aggregation=aggregation,
    )
    return np.asarray(out, np.float64)


@pytest.fixture(scope="module")
def rows():
    """Return six directions, of which two are nearly parallel (cosine about .96)."""
    rng = np.random.default_rng(0)
    G = rng.normal(size=(B, P))
    G[1] = G[0] + 0.3 * rng.normal(size=P)
    return G


def zero_row(G):
    G = G.copy()
    G[3] = 0
    return G


def duplicate(G):
    G = G.copy()
    G[4] = 3 * G[2]
    return G


MASK = [1, 1, 0, 1, 1, 0]


@pytest.mark.parametrize(
    ("change", "kappa", "weights"),
    [
        (np.asarray, 40.0, None),
        (zero_row, 5.0, MASK),
        (duplicate, 40.0, [1.0, -2.0, 0.5, 1.0, 1.0, 3.0]),
        (np.asarray, 0.0, None),
    ],
    ids=["parallel", "zero-and-masked", "duplicate-weighted", "uniform"],
)
def test_the_law_is_that_of_draws_one_by_one(rows, change, kappa, weights):
    G = change(rows)
    ours = sums(G, kappa, weights, aggregation="exact", seed=1)
    naive = sums(G, kappa, weights, aggregation="naive", seed=2)
    other = np.random.default_rng(1).normal(size=P)
    found = [stats.ks_2samp((ours**2).sum(1), (naive**2).sum(1)).pvalue]
    for direction in (rows[0], rows[0] - rows[1], rows[2], other):
        found.append(stats.ks_2samp(ours @ direction, naive @ direction).pvalue)
    assert min(found) > FALSE_ALARM / len(found)
    # standard error of a covariance entry is about sqrt(2 / draws) of its scale
    a, b = np.cov(ours.T), np.cov(naive.T)
    bound = 6 * np.sqrt(2 * 2 / DRAWS) * np.diag(b).max()
    assert np.abs(a - b).max() < bound


def test_the_mean_is_the_resultant_times_the_directions(rows):
    kappa = 40.0
    out = sums(rows, kappa, aggregation="exact", seed=3)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    expected = float(mean_resultant(P, kappa)) * unit.sum(axis=0)
    error = (out.mean(axis=0) - expected) / (out.std(axis=0) / np.sqrt(DRAWS))
    assert np.abs(error).max() < stats.norm.isf(FALSE_ALARM / P / 2)


def test_a_nearly_singular_pair_takes_the_other_path(rows):
    """Below the precision of K no draw is taken from its factor."""
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    other = np.random.default_rng(2).normal(size=P) / np.sqrt(P)
    for size, expected in ((1e-1, True), (1e-3, False), (0.0, False)):
        G = unit.copy()
        G[1] = G[0] + size * other
        gram = aggregate._gram([jnp.asarray(G, jnp.float32)], jnp.ones(B, bool))
        assert bool(gram.ok) == expected


def test_the_factor_leaves_orthonormal_rows(rng):
    """U = R^-1 M is orthonormal to float32 accuracy wherever the factor is accepted."""
    p = 5000
    common = rng.normal(size=p)
    G = rng.normal(size=(16, p)) + 2 * common
    unit = G / np.linalg.norm(G, axis=1, keepdims=True)
    gram = aggregate._gram([jnp.asarray(G, jnp.float32)], jnp.ones(16, bool))
    assert bool(gram.ok)
    U = np.asarray(gram.inverse, np.float64) @ unit
    np.testing.assert_allclose(U @ U.T, np.eye(16), atol=1e-5)


@pytest.mark.parametrize("dof", [2.0, 3.0, 61_690.0, 1e7])
def test_chi_draws_in_float32(dof):
    values, done = aggregate.chi(jax.random.key(4), jnp.full(100_000, dof))
    assert bool(done.all())
    law = stats.chi(dof)
    test = stats.kstest(np.asarray(values, np.float64), law.cdf)
    # float32 has a grid of 2^-23; on it 1e5 draws differ from the law by rounding alone
    grid = 3e3 * 2.0**-23 * law.std() * law.pdf(law.median())
    step = np.spacing(np.float32(law.mean()), dtype=np.float32) * law.pdf(law.median())
    assert test.statistic < stats.kstwo(100_000).isf(FALSE_ALARM) + min(step, grid)


@pytest.mark.parametrize("p", [2, 3, 4])
def test_few_dimensions(p):
    """In two to four dimensions the length of one draw is 1 and its mean is A mu."""
    G = np.zeros((1, p))
    G[0, -1] = -7.0
    out = sums(G, 3.0, aggregation="exact", draws=4000, seed=5)
    np.testing.assert_allclose(np.linalg.norm(out, axis=1), 1, atol=1e-5)
    A = float(mean_resultant(p, 3.0))
    error = (out.mean(axis=0)[-1] + A) / (out.std(axis=0)[-1] / np.sqrt(4000))
    assert abs(error) < stats.norm.isf(FALSE_ALARM / 2)


# All tests from here on share the program of five rows in 600 dimensions.


@pytest.fixture
def gradients(rng):
    return jnp.asarray(rng.normal(size=(5, 600)), jnp.float32)


def unit_sum(G, weights=None):
    unit = np.asarray(G, np.float64)
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    return unit.sum(0) if weights is None else np.asarray(weights, float) @ unit


def one_draw(G, kappa, weights=None, *, aggregation="auto", seed=0):
    weights = jnp.ones(5) if weights is None else jnp.asarray(weights, jnp.float32)
    return vmf_aggregate(
        jax.random.key(seed),
        G,
        jnp.float32(kappa),
        weights=weights,
        aggregation=aggregation,
    )


def test_one_example_is_one_unit_vector(gradients):
    out = one_draw(gradients, 500.0, [0, 0, 1, 0, 0])
    assert abs(float(jnp.linalg.norm(out)) - 1) < 1e-5


@pytest.mark.parametrize("aggregation", ["auto", "naive"])
def test_extreme_concentrations(gradients, aggregation):
    # the deviation of a draw from its mean direction is about sqrt(p / kappa)
    out = one_draw(gradients, 1e8, aggregation=aggregation)
    np.testing.assert_allclose(out, unit_sum(gradients), atol=2e-3)
    for kappa in (0.0, 1e-12):
        out = one_draw(gradients, kappa, aggregation=aggregation)
        # five uniform directions: the squared length is 5, with deviation near 0.26
        assert abs(float(jnp.sum(out**2)) - 5) < 1.2


def test_identical_gradients(gradients):
    same = jnp.broadcast_to(gradients[:1], gradients.shape)
    np.testing.assert_allclose(one_draw(same, 1e8), unit_sum(same), atol=2e-3)


def test_rows_of_weight_zero_contribute_nothing_whatever_they_hold(gradients):
    bad = gradients.at[1].set(jnp.nan).at[3, 5].set(jnp.inf)
    mask = [1, 0, 1, 0, 1]
    out = one_draw(bad, 1e8, mask)
    np.testing.assert_allclose(out, unit_sum(gradients, mask), atol=2e-3)
    for G in (gradients, bad):
        for aggregation in ("auto", "naive"):
            none = one_draw(G, 5.0, np.zeros(5), aggregation=aggregation)
            assert not np.any(np.asarray(none))


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_rows_without_direction_are_released_as_uniform_ones(gradients, value):
    """At a concentration of 1e8 only such a row is random: its length is 1."""
    G = gradients.at[1].set(value)
    known = unit_sum(gradients, [1, 0, 1, 1, 1])
    rest = np.stack([one_draw(G, 1e8, seed=seed) - known for seed in range(60)])
    np.testing.assert_allclose(np.linalg.norm(rest, axis=1), 1, atol=1e-2)
    assert np.abs(rest.mean(axis=0)).max() < 6 / np.sqrt(60 * 600)
    # uniform directions are nearly orthogonal to each other and to the rows
    cosines = rest @ rest.T - np.eye(60)
    assert np.abs(cosines).max() < 6 / np.sqrt(600) + 2e-2


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_only_directions_count(gradients, size):
    np.testing.assert_allclose(
        one_draw(gradients * size, 1e8), unit_sum(gradients), atol=2e-3
    )
    wide = gradients.astype(jnp.bfloat16)
    out = one_draw((wide.astype(jnp.float32) * size).astype(jnp.bfloat16), 1e8)
    assert out.dtype == jnp.float32
    np.testing.assert_allclose(out, unit_sum(wide.astype(jnp.float32)), atol=4e-3)


@pytest.mark.parametrize("kappa", [-1.0, np.nan, np.inf])
def test_a_bad_traced_concentration_gives_nan(gradients, kappa):
    assert bool(jnp.isnan(one_draw(gradients, kappa)).all())


def test_an_unfinished_sampler_gives_nan(rng, monkeypatch):
    def refuse(key, propose, like, valid):
        return jnp.zeros_like(like), jnp.zeros(like.shape, bool), jnp.int32(100)

    monkeypatch.setattr(aggregate, "first_accepted", refuse)
    G = jnp.asarray(rng.normal(size=(2, 601)), jnp.float32)
    out = vmf_aggregate(jax.random.key(0), G, 5.0)
    assert bool(jnp.isnan(out).all())


def test_a_new_concentration_compiles_nothing(gradients):
    one_draw(gradients, 1.0)
    with compile_guard(max_compiles=0):
        one_draw(gradients, 2.0)


@pytest.mark.slow
def test_float64(gradients):
    with jax.enable_x64(True):
        out = vmf_aggregate(
            jax.random.key(0), jnp.asarray(np.asarray(gradients, float)), 1e8
        )
        assert out.dtype == jnp.float64
    np.testing.assert_allclose(out, unit_sum(gradients), atol=2e-3)


@pytest.mark.slow
def test_vmap_and_padding_of_rows(rng):
    """47 rows are no multiple of a block."""
    G = jnp.asarray(rng.normal(size=(2, 47, 600)), jnp.float32)
    keys = jax.random.split(jax.random.key(0), 2)
    out = jax.vmap(vmf_aggregate, (0, 0, None))(keys, G, jnp.float32(1e8))
    unit = G / jnp.linalg.norm(G, axis=2, keepdims=True)
    np.testing.assert_allclose(out, unit.sum(1), atol=1e-2)


@pytest.mark.slow
def test_blocks_side_by_side_draw_the_same(rng, monkeypatch):
    G = jnp.asarray(rng.normal(size=(64, 600)), jnp.float32)
    one = vmf_aggregate(jax.random.key(0), G, 30.0)
    monkeypatch.setattr(jax, "device_count", lambda: 8)
    jax.clear_caches()
    np.testing.assert_allclose(
        vmf_aggregate(jax.random.key(0), G, 30.0), one, rtol=1e-4, atol=1e-5
    )
    jax.clear_caches()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (((np.ones(5), 1.0), {}), "gradients must have shape"),
        (((np.ones((2, 1)), 1.0), {}), "p >= 2"),
        (((np.ones((2, 5)), np.ones(3)), {}), "kappa must broadcast"),
        (((np.ones((2, 5)), 1.0), {"weights": np.ones(3)}), "weights must broadcast"),
        (((np.ones((2, 5)), 1.0), {"aggregation": "fast"}), "aggregation must be"),
    ],
)
def test_bad_input(arguments, words):
    positional, named = arguments
    with pytest.raises(InvalidInputError, match=words):
        vmf_aggregate(jax.random.key(0), *positional, **named)
