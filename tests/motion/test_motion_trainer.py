"""Training of a network: batches, schedules, resuming, divergence, devices."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from mlmethods.errors import CheckpointError, DivergenceError, InvalidInputError
from mlmethods.motion._recordings import Example
from mlmethods.motion._training_data import whole_recordings, windows_of
from mlmethods.motion.contract import TrainingConfig
from mlmethods.motion.windows import WindowSpec
from mlmethods_jax.motion._optimizer import make_optimizer, one_cycle, with_rates
from mlmethods_jax.motion._trainer import MotionTrainer, train_step
from mlmethods_jax.sharding import make_mesh
from mlmethods_jax.testing import compile_guard

DEVICES = 8
enough = jax.device_count() >= DEVICES
on_eight = pytest.mark.skipif(not enough, reason="runs in the process with 8 devices")

CONFIG = TrainingConfig(lr=0.05, batch_size=8, epochs=4, schedule="one-cycle")
rate_of = jax.jit(one_cycle)
SPEC = WindowSpec(size=2.0, hop=1.0, context=0.5)


def linear_loss(params, batch, key):
    """Return the mean cross-entropy of the labeled frames of each window."""
    logits = batch["x"] @ params["w"] + params["b"].reshape(1, 1, -1)
    logs = jax.nn.log_softmax(logits)
    known = ((batch["labels"] >= 0) & batch["mask"]).astype(jnp.float32)
    label = jnp.maximum(batch["labels"], 0)
    own = jnp.take_along_axis(logs, label[..., None], axis=2)[..., 0]
    return -jnp.sum(own * known, axis=1) / jnp.maximum(jnp.sum(known, 1), 1.0)


def exploding_loss(params, batch, key):
    """Return what is not finite from the first frame above 90 on."""
    large = jnp.max(batch["x"], axis=(1, 2)) > 90.0
    factor = jnp.where(large, jnp.float32(np.inf), jnp.float32(1))
    return jnp.sum(params["w"] ** 2) * factor


def examples(lengths=(130, 77, 101), scale=1.0):
    rng = np.random.default_rng(0)
    found = []
    for number, length in enumerate(lengths):
        y = np.repeat(rng.integers(0, 3, length), 11)[:length].astype(np.int32)
        x = np.eye(3)[y] + 0.3 * rng.normal(size=(length, 3))
        found.append(Example((scale * x).astype(np.float32), y, f"r{number}"))
    return found


def parameters():
    return {"w": np.zeros((3, 3), np.float32), "b": np.zeros(3, np.float32)}


def trainer(config=CONFIG, data=None, *, loss=linear_loss, mesh=None, seed=3):
    if data is None:
        data = windows_of(examples(), 20.0, SPEC, hop=0.25)
    return MotionTrainer(
        loss, parameters(), data, config, end_token=4, seed=seed, mesh=mesh
    )


def test_the_loss_falls_and_a_resumed_run_is_bit_for_bit_the_same():
    whole = trainer()
    losses = [whole.epoch()["loss"] for _ in range(4)]
    assert losses[-1] < 0.5 * losses[0]
    first = trainer()
    first.epoch()
    resumed = trainer()
    resumed.restore(first.arrays())
    assert resumed.steps == first.steps
    for _ in range(3):
        resumed.epoch()
    assert resumed.steps == whole.steps
    for name, array in whole.arrays().items():
        assert_array_equal(array, resumed.arrays()[name], err_msg=name)


def test_a_state_of_another_network_is_refused():
    running = trainer()
    arrays = running.arrays()
    with pytest.raises(CheckpointError, match="in one of them only"):
        running.restore({**arrays, "more": np.zeros(1)})
    name = next(name for name in arrays if name.endswith("params/w"))
    with pytest.raises(CheckpointError, match="float64"):
        running.restore({**arrays, name: arrays[name].astype(np.float64)})


def test_other_rates_other_seeds_and_other_epochs_compile_nothing():
    data = windows_of(examples(), 20.0, SPEC, hop=0.25)
    trainer(data=data).epoch()
    with compile_guard(max_compiles=0):
        other = dataclasses.replace(CONFIG, lr=0.01, weight_decay=0.1, epochs=9)
        running = trainer(other, data, seed=8)
        first, second = running.epoch(), running.epoch()
        running.params()
    assert np.isfinite([first["loss"], second["loss"]]).all()
    assert running.steps > 0


@pytest.mark.slow
def test_every_window_is_seen_once_an_epoch():
    seen = []

    def noting(params, batch, key):
        jax.debug.callback(
            lambda x, w: seen.append((np.array(x), np.array(w))),
            batch["x"][:, 0, 0],
            batch["weight"],
            ordered=True,
        )
        return linear_loss(params, batch, key)

    data = windows_of(examples(), 20.0, SPEC, hop=0.25)
    config = dataclasses.replace(CONFIG, random_shift=False)
    trainer(config, data, loss=noting).epoch()
    jax.effects_barrier()
    x = np.concatenate([x for x, _ in seen])
    weight = np.concatenate([w for _, w in seen])
    expected = data.frames[data.start, 0]
    assert_array_equal(np.sort(x[weight > 0]), np.sort(expected))
    assert len(expected) % CONFIG.batch_size


def test_an_infinite_loss_stops_and_keeps_the_state():
    calm = windows_of(examples(), 20.0, SPEC, hop=0.25)
    running = trainer(data=calm, loss=exploding_loss)
    running.epoch()
    before = running.arrays()
    wild = windows_of(examples(scale=200.0), 20.0, SPEC, hop=0.25)
    exploding = trainer(data=wild, loss=exploding_loss)
    exploding.restore(before)
    with pytest.raises(DivergenceError, match=f"at step {running.steps + 1};"):
        exploding.epoch()
    for name, array in exploding.arrays().items():
        assert_array_equal(array, before[name])


def test_no_windows_are_refused():
    data = windows_of(examples(), 20.0, SPEC, hop=0.25)
    with pytest.raises(InvalidInputError, match="must have windows"):
        trainer(data=data._replace(start=data.start[:0]))


@pytest.mark.parametrize("total", [1, 2, 7, 100])
def test_one_cycle_is_piecewise_linear(total):
    steps = np.arange(total)
    top = max(0.3 * total - 1, 0)
    knots = [0, top, max(total - 1, top + 1)]
    expected = np.interp(steps, knots, [0.04, 1.0, 0.04]) if top else None
    if expected is None:
        expected = np.interp(steps, knots[1:], [1.0, 0.04])
    rates = rate_of(np.float32(steps), np.float32(1), np.float32(total))
    assert_allclose(np.asarray(rates), expected, atol=0.02)


@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_updates_are_those_of_optax(kind):
    import optax

    params = {"w": jnp.float32([1.0, -2.0])}
    ours = make_optimizer(kind, "constant")
    state = with_rates(ours.init(params), lr=0.1, weight_decay=0.3, total=5)
    if kind == "adamw":
        theirs = optax.adamw(0.1, weight_decay=0.3)
    else:
        theirs = optax.chain(optax.add_decayed_weights(0.3), optax.adam(0.1))
    reference = theirs.init(params)
    with jax.numpy_dtype_promotion("standard"):
        for step in range(3):
            grads = {"w": jnp.float32([0.5, step])}
            updates, state = ours.update(grads, state, params)
            expected, reference = theirs.update(grads, reference, params)
            assert_allclose(updates["w"], expected["w"], rtol=1e-5)


def test_unknown_names_are_refused():
    with pytest.raises(InvalidInputError, match="schedule must be one of"):
        make_optimizer("adam", "cosine")


def test_a_plateau_lowers_the_rate_and_survives_a_resume():
    config = TrainingConfig(
        optimizer="adam", schedule="plateau", lr=1e-12, batch_size=8, epochs=9
    )
    # a rate that changes nothing: no epoch is better than the first by a share
    config = dataclasses.replace(config, random_shift=False)
    running = trainer(config)
    scales = []
    for epoch in range(6):
        running.epoch()
        if epoch == 2:
            resumed = trainer(config)
            resumed.restore(running.arrays())
            running = resumed
        scales.append(
            float(next(v for k, v in running.arrays().items() if k.endswith("scale")))
        )
    assert scales == [1.0, 1.0, 1.0, 1.0, 0.5, 0.5]


@pytest.mark.slow
def test_short_recordings_are_computed_at_their_size():
    lengths = (190, 40, 90, 200)
    data = whole_recordings(examples(lengths), multiple=8)
    config = dataclasses.replace(CONFIG, batch_size=1, random_shift=False)
    short = trainer(config, data)
    short.epoch()
    # the same steps at the full length alone
    full = trainer(config, data)
    full._step = train_step(linear_loss, "adamw", "one-cycle", (data.size,))
    full.epoch()
    assert short._step is not full._step
    for name, array in full.params().items():
        assert_allclose(short.params()[name], array, rtol=1e-5, atol=1e-7)


# Devices ---------------------------------------------------------------------


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


@on_eight
@pytest.mark.multidevice
@pytest.mark.parametrize("batch_size", [16, 12])
def test_twenty_steps_on_eight_devices_are_those_on_one(batch_size):
    config = dataclasses.replace(CONFIG, batch_size=batch_size)
    one, eight = trainer(config), trainer(config, mesh=make_mesh())
    while one.steps < 20:
        expected, found = one.epoch(), eight.epoch()
        assert_allclose(found["loss"], expected["loss"], rtol=1e-5)
    assert eight.steps == one.steps
    for name, array in one.params().items():
        assert_allclose(eight.params()[name], array, rtol=1e-4, atol=1e-6)


@on_eight
@pytest.mark.multidevice
def test_a_state_moves_between_one_and_eight_devices():
    one, eight = trainer(), trainer(mesh=make_mesh())
    eight.epoch()
    one.restore(eight.arrays())
    for name, array in eight.arrays().items():
        assert_array_equal(one.arrays()[name], array)
    back = trainer(mesh=make_mesh())
    back.restore(one.arrays())
    assert_allclose(back.epoch()["loss"], one.epoch()["loss"], rtol=1e-5)
