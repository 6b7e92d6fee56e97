"""Gated recurrent units against PyTorch's, and what masks must not change."""

from __future__ import annotations

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file

from mlmethods.errors import InvalidInputError
from mlmethods_jax.layers.dropout import Dropout
from mlmethods_jax.layers.gru import GRU, GRUCell, gru

GOLDEN = Path(__file__).parent.parent / "golden"
NAMES = ("weight_ih_l0", "bias_ih_l0", "weight_hh_l0", "bias_hh_l0")


@functools.cache
def golden():
    return load_file(GOLDEN / "gru.safetensors")


def weights(found, prefix):
    """Return kernel, bias, recurrent kernel, recurrent bias of both directions."""
    stacked = [
        np.stack([found[f"{prefix}.{name}{end}"].T for end in ("", "_reverse")])
        for name in NAMES
    ]
    return [np.moveaxis(stacked[0], 0, 1), *stacked[1:]]


def mask_of(lengths, size):
    return np.arange(size)[None] < np.asarray(lengths)[:, None]


@jax.jit
def run(x, mask, parameters):
    return gru(x, mask, *parameters)


@jax.jit
def gradients(x, mask, parameters, weight):
    def total(x, parameters):
        return jnp.sum(gru(x, mask, *parameters) * weight)

    return jax.grad(total, (0, 1))(x, parameters)


def test_states_and_gradients_are_those_of_pytorch():
    found = golden()
    mask = mask_of(found["lengths"], 7)
    parameters = weights(found, "layer")
    y = run(found["x"], mask, parameters)
    np.testing.assert_allclose(y, found["y"], atol=1e-6)
    # what masked steps hold does not matter, also if it is not a number
    spoiled = np.where(mask[..., None], found["x"], np.float32(np.nan))
    dx, dparameters = gradients(spoiled, mask, parameters, found["weights"])
    np.testing.assert_allclose(dx, found["dx"], atol=2e-6)
    for ours, theirs in zip(dparameters, weights(found, "grad"), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=5e-6)


def test_padding_and_neighbors_change_nothing(rng):
    parameters = weights(golden(), "layer")
    x = rng.standard_normal((3, 7, 3)).astype(np.float32)
    mask = mask_of((5, 2, 0), 7)
    spoiled = np.where(mask[..., None], x, np.float32(1e6))
    y = run(spoiled, mask, parameters)
    alone = run(x[:1, :5], np.ones((1, 5), bool), parameters)
    np.testing.assert_allclose(y[0, :5], alone[0], atol=1e-6)
    assert not np.any(y[0, 5:])
    assert not np.any(y[2])


def test_one_direction_is_the_first_of_two():
    found = golden()
    kernel, bias, recurrent, other = weights(found, "layer")
    one = jax.jit(gru)(
        found["x"], None, kernel[:, :1], bias[:1], recurrent[:1], other[:1]
    )
    both = run(found["x"], np.ones((3, 7), bool), (kernel, bias, recurrent, other))
    np.testing.assert_allclose(one, both[..., :4], atol=1e-6)


def test_the_initial_state_goes_on_with_a_sequence():
    found = golden()
    parts = [
        p[:, :1] if i == 0 else p[:1] for i, p in enumerate(weights(found, "layer"))
    ]
    x = found["x"]
    whole = jax.jit(gru)(x, None, *parts)
    run_on = functools.partial(gru, initial=whole[None, :, 3])
    rest = jax.jit(run_on)(x[:, 4:], None, *parts)
    np.testing.assert_allclose(rest, whole[:, 4:], atol=1e-6)


@pytest.mark.slow
def test_unrolling_changes_nothing():
    found = golden()
    parameters = weights(found, "layer")
    mask = mask_of(found["lengths"], 7)
    unrolled = jax.jit(functools.partial(gru, unroll=4))(found["x"], mask, *parameters)
    np.testing.assert_allclose(unrolled, found["y"], atol=1e-6)


def test_half_precision_products_give_float32_near_the_rest():
    found = golden()
    mask = mask_of(found["lengths"], 7)
    half = functools.partial(gru, dtype=jnp.bfloat16)
    y = jax.jit(half)(found["x"], mask, *weights(found, "layer"))
    assert y.dtype == jnp.float32
    np.testing.assert_allclose(y, found["y"], atol=3e-2)
    assert np.max(np.abs(y - found["y"])) > 1e-5


def test_each_example_has_its_own_gradient():
    found = golden()
    parameters = weights(found, "layer")
    mask = mask_of(found["lengths"], 7)

    def loss(kernel, x, mask, weight):
        y = gru(x[None], mask[None], kernel, *parameters[1:])
        return jnp.sum(y * weight[None])

    each = jax.jit(jax.vmap(jax.grad(loss), (None, 0, 0, 0)))(
        parameters[0], found["x"], mask, found["weights"]
    )
    expected = weights(found, "grad")[0]
    np.testing.assert_allclose(np.sum(each, 0), expected, atol=5e-6)
    assert not np.allclose(each[0], each[1])


def test_modules_hold_the_weights_in_their_bounds():
    layer = GRU(3, 4, rngs=nnx.Rngs(0))
    for parameter in (layer.kernel, layer.bias, layer.recurrent_kernel):
        values = np.asarray(parameter[...])
        assert np.max(np.abs(values)) <= 0.5
        assert np.std(values) > 0.15
    x = jnp.ones((2, 5, 3))
    y = jax.jit(layer)(x)
    cell = GRUCell(3, 4, rngs=nnx.Rngs(0))
    cell.kernel[...] = layer.kernel[:, 0]
    cell.bias[...] = layer.bias[0]
    cell.recurrent_kernel[...] = layer.recurrent_kernel[0]
    cell.recurrent_bias[...] = layer.recurrent_bias[0]
    step = jax.jit(lambda x: cell(x, jnp.zeros((2, 4))))
    np.testing.assert_allclose(step(x[:, 0]), y[:, 0, :4], atol=1e-6)


@pytest.mark.parametrize("sizes", [(0, 4), (3, 0)])
def test_sizes_below_one_are_refused(sizes):
    for kind in (GRU, GRUCell):
        with pytest.raises(InvalidInputError, match="in_features and hidden"):
            kind(*sizes, rngs=nnx.Rngs(0))


def test_other_channels_are_refused():
    with pytest.raises(InvalidInputError, match=r"shape \(b, t, 3\), got \(1, 5, 2\)"):
        GRU(3, 4, rngs=nnx.Rngs(0))(jnp.zeros((1, 5, 2)))


def test_dropout_keeps_the_mean_and_whole_channels():
    layer = Dropout(0.25, rngs=nnx.Rngs(0))
    x = jnp.ones((4, 50, 20))
    assert layer(x) is x
    layer.train()
    y = np.asarray(layer(x))
    assert set(np.unique(y)) == {0.0, np.float32(1 / 0.75)}
    np.testing.assert_allclose(y.mean(), 1.0, atol=0.05)
    channels = Dropout(0.5, channels=True, rngs=nnx.Rngs(1))
    channels.train()
    y = np.asarray(channels(x))
    assert np.all(y == y[:, :1])
    assert 0 < np.mean(y == 0) < 1
