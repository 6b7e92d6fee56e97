"""The public float32 sampler against the exact law that accounting uses."""

from __future__ import annotations

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from mlmethods.privacy import vmf
from mlmethods.privacy._cosine_law import cosine_survival
from mlmethods_jax.ops import privacy

FALSE_ALARM = 1e-4
DRAWS = 100_000


def distance(p, kappa, w):
    """Return the Kolmogorov-Smirnov distance of draws rounded to float32.

    A number in float32 stands for all that round to it, so that the empirical law at a
    draw is compared with the exact law at the upper end of its cell.
    """
    values, counts = np.unique(w, return_counts=True)
    above = np.nextafter(values, np.float32(2), dtype=np.float32)
    edges = (values.astype(np.float64) + above.astype(np.float64)) / 2
    empirical = np.cumsum(counts) / w.size
    return np.abs(empirical - 1 + cosine_survival(p, kappa, np.minimum(edges, 1))).max()


@pytest.mark.parametrize("kappa", [1.0, 500.0, 1e4, 1e6])
@pytest.mark.parametrize("p", [3, 10, 1000, 61706, 10_000_000])
def test_float32_cosines_have_the_law_of_the_accountant(p, kappa) -> None:
    lanes = np.full(DRAWS, kappa, np.float32)
    w = np.asarray(privacy.vmf_cosine(jax.random.key(p), p, lanes, DRAWS))
    assert w.dtype == np.float32
    d = distance(p, kappa, w)
    assert stats.kstwobign.sf(d * np.sqrt(DRAWS)) > FALSE_ALARM
    mean = vmf.mean_resultant(p, kappa)
    # The slope of A by a difference; 1 - A^2 - (p - 1) A / kappa would cancel.
    step = 1e-4 * max(kappa, np.sqrt(p))
    low = max(kappa - step, 0.0)
    high = kappa + step
    slope = (vmf.mean_resultant(p, high) - vmf.mean_resultant(p, low)) / (high - low)
    spacing = np.spacing(np.float32(mean))
    exact = w.astype(np.float64)
    assert abs(exact.mean() - mean) < 5 * np.sqrt(slope / DRAWS) + spacing
    # The fourth moment is at most 15 times the squared variance.
    slack = 5 * np.sqrt(14 / DRAWS) * slope + spacing**2 + spacing * np.sqrt(slope)
    assert abs(exact.var() - slope) < slack


def test_tangents_at_model_size_are_isotropic() -> None:
    p, count = 500, 1000
    rng = np.random.default_rng(0)
    mu = rng.standard_normal(p)
    mu /= np.linalg.norm(mu)
    lanes = jnp.asarray(np.tile(mu, (count, 1)), jnp.float32)
    y = np.asarray(privacy.vmf_sample(jax.random.key(1), lanes, 300.0), np.float64)
    tangent = y - (y @ mu)[:, None] * mu
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    directions = rng.standard_normal((p, 40))
    directions -= mu[:, None] * (mu @ directions)
    directions /= np.linalg.norm(directions, axis=0)
    # Projections of a uniform direction on S^(p-2): mean 0, and moments of a beta law.
    n = p - 1
    projection = tangent @ directions * np.sqrt(n)
    assert np.abs(projection.mean(axis=0)).max() < 5 / np.sqrt(count)
    second, fourth = (projection**2).mean(), (projection**4).mean()
    total = count * directions.shape[1]
    # Projections on 40 directions are nearly independent: p is far larger.
    assert abs(second - 1) < 6 * np.sqrt(2 / total)
    assert abs(fourth - 3 * n / (n + 2)) < 6 * np.sqrt(96 / total)


@pytest.mark.slow
@pytest.mark.parametrize("kappa", [1.0, 1e6])
def test_ten_million_dimensions_take_a_few_vectors(kappa) -> None:
    p = 10_000_000
    shape = jax.ShapeDtypeStruct((p,), jnp.float32)
    scalar = jax.ShapeDtypeStruct((), jnp.float32)
    compiled = privacy._sample.lower(jax.random.key(0), shape, scalar).compile()
    memory = compiled.memory_analysis()
    held = memory.temp_size_in_bytes + memory.output_size_in_bytes
    assert held < 4.1 * 4 * p
    mu = jnp.zeros(p, jnp.float32).at[7].set(1.0)
    y = np.asarray(privacy.vmf_sample(jax.random.key(0), mu, kappa), np.float64)
    assert abs(np.linalg.norm(y) - 1) < 1e-6
    assert abs(y[7] - vmf.mean_resultant(p, kappa)) < 6 / np.sqrt(p)


@pytest.mark.slow
def test_time_is_linear_in_the_dimension() -> None:
    sizes, seconds = (100_000, 1_000_000, 10_000_000), []
    for p in sizes:
        mu = jnp.zeros(p, jnp.float32).at[0].set(1.0)
        jax.block_until_ready(privacy.vmf_sample(jax.random.key(0), mu, 500.0))
        best = np.inf
        for seed in range(1, 8):
            start = time.process_time()
            jax.block_until_ready(privacy.vmf_sample(jax.random.key(seed), mu, 500.0))
            best = min(best, time.process_time() - start)
        seconds.append(best)
    # The smallest size fits a cache and the largest does not; a rotation would give 2.
    exponent = np.log(seconds[-1] / seconds[0]) / np.log(sizes[-1] / sizes[0])
    assert 0.8 < exponent < 1.3
