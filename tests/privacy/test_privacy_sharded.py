"""Examples spread over eight devices: the same update, and no gathered gradients."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from mlmethods_jax.ops.privacy import mean_resultant
from mlmethods_jax.privacy import dp_gaussian, dp_vmf, vmf_aggregate
from mlmethods_jax.sharding import make_mesh, shard_leading_axis

DEVICES = 8
enough = jax.device_count() >= DEVICES
on_eight = pytest.mark.skipif(not enough, reason="runs in the process with 8 devices")

# 8 blocks of 16 rows: one a device
B, P = 128, 2048


@pytest.mark.multidevice
@pytest.mark.timeout(600)
@pytest.mark.skipif(enough, reason="this is the process with 8 devices")
def test_the_file_passes_on_eight_simulated_devices():
    flags = f"--xla_force_host_platform_device_count={DEVICES}"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "pytest", __file__, "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "-m", "multidevice", "-n", "0"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "1 skipped" in done.stdout


@pytest.fixture
def gradients(rng):
    return rng.normal(size=(B, P)).astype(np.float32)


def _spread(rows):
    return shard_leading_axis([rows], make_mesh())[0]


def _update(make):
    transform = make(key=jax.random.key(0))
    state = transform.init(jnp.zeros(P))
    return jax.jit(lambda rows: transform.update(rows, state)[0])


@on_eight
@pytest.mark.multidevice
@pytest.mark.parametrize(
    "make",
    [
        lambda key: dp_vmf(300.0, key=key),
        lambda key: dp_gaussian(1.0, 0.1, key=key),
    ],
    ids=["vmf", "gaussian"],
)
def test_the_update_is_that_of_one_device(gradients, make):
    update = _update(make)
    spread = _spread(gradients)
    alone = update(jax.device_put(gradients, jax.devices()[0]))
    together = update(spread)
    scale = float(jnp.abs(alone).max())
    assert_allclose(together, alone, rtol=1e-5, atol=1e-5 * scale)
    compiled = update.lower(spread).compile().as_text()
    gathered = re.findall(r"= f32\[([\d,]+)\]\S* all-gather", compiled)
    largest = max(
        (np.prod([int(n) for n in g.split(",")]) for g in gathered), default=0
    )
    assert largest < B * P / DEVICES


@on_eight
@pytest.mark.multidevice
def test_cosines_have_their_mean_and_shards_draw_apart(gradients):
    """Sums over the rows of each device alone: their noise must not repeat."""
    kappa, share = 300.0, B // DEVICES
    one = np.broadcast_to(np.eye(1, P, dtype=np.float32), (B, P))
    rows = np.where(np.arange(B)[:, None] % 2 == 0, one, -one) + 1e-2 * gradients
    spread = _spread(np.ascontiguousarray(rows, dtype=np.float32))
    draw = jax.jit(vmf_aggregate)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    noise = []
    for device in range(DEVICES):
        weights = (np.arange(B) // share == device).astype(np.float32)
        total = draw(jax.random.key(1), spread, kappa, weights=weights)
        A = float(mean_resultant(P, kappa))
        noise.append(np.asarray(total, float) - A * (weights @ unit))
    cosines = np.corrcoef(np.stack(noise)) - np.eye(DEVICES)
    pairs = DEVICES * (DEVICES - 1) / 2
    assert np.abs(cosines).max() < stats.norm.isf(1e-4 / pairs / 2) / np.sqrt(P)
    # the squared length of a sum of 16 independent tangents
    lengths = np.sum(np.stack(noise) ** 2, axis=1) / share
    assert_allclose(lengths, 1 - A * A, rtol=0.2)


@on_eight
@pytest.mark.multidevice
def test_the_moments_of_cosines_are_those_of_one_device(gradients):
    """The mean of released sums along the sum of directions, over 64 keys."""
    kappa = 300.0
    common = np.eye(1, P, dtype=np.float32)
    rows = gradients / np.float32(np.sqrt(P)) + common
    spread = _spread(rows)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    direction = unit.sum(0) / np.linalg.norm(unit.sum(0))
    draw = jax.jit(vmf_aggregate)
    along = [
        float(np.asarray(draw(jax.random.key(i), spread, kappa)) @ direction)
        for i in range(64)
    ]
    expected = float(mean_resultant(P, kappa)) * float(unit.sum(0) @ direction)
    error = (np.mean(along) - expected) / (np.std(along, ddof=1) / 8)
    assert abs(error) < stats.t(63).isf(1e-4 / 2)
