"""Networks of frames: PyTorch's results, padding, losses, weights and chunks."""

from __future__ import annotations

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file

from mlmethods.errors import CheckpointError
from mlmethods.motion.contract import (
    ASFormerConfig,
    ASRFConfig,
    CNNConfig,
    MSTCNConfig,
)
from mlmethods_jax.motion import (
    ASFormerModule,
    ASRFModule,
    CNNModule,
    MSTCNModule,
    _state,
    asformer,
    asrf,
    cnn,
    mstcn,
    torch_framewise,
)
from mlmethods_jax.motion.chunks import apply_in_chunks

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
D, C, MAPS = 5, 3, 8
LENGTHS = (29, 17, 1)


@functools.cache
def golden(name):
    arrays = load_file(GOLDEN / f"{name}.safetensors")
    weights = {
        key.removeprefix("weight:"): value
        for key, value in arrays.items()
        if key.startswith("weight:")
    }
    return weights, {k: v for k, v in arrays.items() if not k.startswith("weight:")}


STORED = {
    "mstcn": MSTCNConfig(n_features=D, n_classes=C, stages=2, layers=3, maps=MAPS),
    "asrf": ASRFConfig(n_features=D, n_classes=C, stages=2, layers=3, maps=MAPS),
    "asformer": ASFormerConfig(
        n_features=D, n_classes=C, decoders=2, layers=3, maps=MAPS
    ),
}
BLOCK = ASFormerConfig(
    n_features=D, n_classes=C, decoders=0, layers=3, maps=MAPS, window="block"
)
CONFIGS = {
    "mstcn": MSTCNConfig(n_features=D, n_classes=C, stages=2, layers=2, maps=MAPS),
    "asrf": ASRFConfig(n_features=D, n_classes=C, stages=2, layers=2, maps=MAPS),
    "asformer": ASFormerConfig(
        n_features=D, n_classes=C, decoders=1, layers=2, maps=MAPS
    ),
    "cnn": CNNConfig(n_features=D, n_classes=C, layers=2, maps=MAPS, width=5),
}
MODULES = {"mstcn": mstcn, "asrf": asrf, "asformer": asformer, "cnn": cnn}
KINDS = tuple(CONFIGS)


def quick(*kinds, of=KINDS):
    """Return the kinds as parameters; those that are not named are slow."""
    return [
        kind if kind in kinds else pytest.param(kind, marks=pytest.mark.slow)
        for kind in of
    ]


def part(kind, pattern):
    return getattr(MODULES[kind], pattern.format(kind))


@functools.cache
def params_of(kind):
    return _state.init(part(kind, "make_{}"), CONFIGS[kind], 0)


def logits(kind, x, mask=None, key=None):
    return part(kind, "{}_logits")(CONFIGS[kind], params_of(kind), x, mask, key)


@functools.partial(jax.jit, static_argnames="kind")
def losses(kind, params, batch):
    return part(kind, "{}_loss")(CONFIGS[kind], params, batch)


@functools.partial(jax.jit, static_argnames="kind")
def training_losses(kind, params, batch, key):
    def total(params):
        own = part(kind, "{}_loss")(CONFIGS[kind], params, batch, key)
        return jnp.sum(own), own

    gradient, own = jax.grad(total, has_aux=True)(params)
    return own, gradient


@functools.cache
def batch():
    """Return recordings of several lengths, with rubbish in the padding."""
    rng = np.random.default_rng(3)
    shape = (len(LENGTHS), max(LENGTHS))
    mask = np.arange(shape[1]) < np.array(LENGTHS)[:, None]
    labels = rng.integers(0, C, shape).astype(np.int32)
    labels[0, 4:7] = -1
    x = rng.standard_normal((*shape, D)).astype(np.float32)
    x[~mask] = np.nan
    return {"x": x, "mask": mask, "labels": labels}


# --- PyTorch


def torch_loss(kind, found):
    """Return the loss of what is stored as a function of configuration, parameters."""
    rows = {"x": found["x"], "labels": found["labels"].astype(np.int32)}
    weights = ()
    if kind == "asrf":
        weights = np.array([0.5, 1.0, 2.0], np.float32), np.float32(7.5)
    own = part(kind, "{}_loss")
    return lambda config, params: jnp.sum(own(config, params, rows, None, *weights))


@pytest.mark.parametrize("kind", ["mstcn", "asrf", "asformer"])
def test_logits_and_loss_are_those_of_pytorch(kind):
    weights, found = golden(kind)
    config, params = getattr(torch_framewise, f"{kind}_from_torch")(weights)
    assert config == STORED[kind]
    loss_of = torch_loss(kind, found)

    @jax.jit
    def run(params):
        own = part(kind, "{}_logits")(config, params, found["x"])
        return own, loss_of(config, params)

    got, loss = run(params)
    expected = found["logits"]
    if kind == "asrf":
        expected = expected[-1], found["boundaries"][-1, :, :, 0]
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert a.dtype == jnp.float32
        np.testing.assert_allclose(a, b, atol=2e-5)
    np.testing.assert_allclose(loss, found["loss"], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mstcn", "asrf", "asformer"])
def test_gradients_are_those_of_pytorch(kind):
    weights, found = golden(kind)
    config, params = getattr(torch_framewise, f"{kind}_from_torch")(weights)
    loss = torch_loss(kind, found)
    gradient = jax.jit(jax.grad(loss, 1), static_argnums=0)(config, params)
    first = {
        "mstcn": "stages.0.conv_in",
        "asrf": "shared.conv_in",
        "asformer": "encoder.conv_1x1",
    }[kind]
    expected = found["gradient"][:, 0].T
    scale = np.abs(expected).max()
    np.testing.assert_allclose(gradient[f"{first}.kernel"], expected, atol=1e-4 * scale)


def test_windows_of_blocks_are_those_of_pytorch():
    weights, found = golden("asformer_block")
    config, params = torch_framewise.asformer_from_torch(weights, BLOCK)
    assert config == BLOCK
    got = asformer.asformer_logits(config, params, found["x"])
    np.testing.assert_allclose(got, found["logits"], atol=2e-5)
    # the frames' own windows give something else
    other = torch_framewise.asformer_from_torch(weights)[0]
    assert other.window == "frame"
    frames = asformer.asformer_logits(other, params, found["x"])
    assert np.abs(frames - found["logits"]).max() > 1e-2


@pytest.mark.parametrize("kind", ["mstcn", "asrf", "asformer"])
def test_weights_go_to_pytorch_and_back(kind):
    weights, _ = golden(kind)
    _, params = getattr(torch_framewise, f"{kind}_from_torch")(weights, STORED[kind])
    again = getattr(torch_framewise, f"{kind}_to_torch")(params)
    assert again.keys() == weights.keys()
    for name, value in again.items():
        np.testing.assert_array_equal(value, weights[name])


@pytest.mark.parametrize("kind", ["mstcn", "asrf", "asformer"])
def test_names_that_do_not_fit_are_listed(kind):
    weights, _ = golden(kind)
    convert = getattr(torch_framewise, f"{kind}_from_torch")
    name = {
        "mstcn": "stages.0.layers.2.conv_dilated.bias",
        "asrf": "brb.0.layers.2.conv_in.weight",
        "asformer": "decoders.1.layers.2.att_layer.value_conv.bias",
    }[kind]
    lacking = {k: v for k, v in weights.items() if k != name}
    with pytest.raises(CheckpointError, match=f"missing: {name}$"):
        convert(lacking)
    with pytest.raises(CheckpointError, match=r"unknown: another, more$"):
        convert(weights | {"more": np.zeros(1), "another": np.zeros(1)})
    with pytest.raises(CheckpointError, match=rf"shape: {name} .* instead of"):
        convert(weights | {name: np.zeros((9, 9, 9), np.float32)})
    with pytest.raises(CheckpointError, match="missing: "):
        convert({"other": np.zeros(1)})


def test_window_masks_are_no_weights():
    weights, _ = golden("asformer")
    mask = {"encoder.layers.1.att_layer.window_mask": np.ones((1, 2, 4))}
    config, _ = torch_framewise.asformer_from_torch(weights | mask)
    assert config == STORED["asformer"]


def test_a_configuration_of_another_network_is_refused():
    weights, _ = golden("mstcn")
    with pytest.raises(CheckpointError, match="MSTCNConfig"):
        torch_framewise.mstcn_from_torch(weights, CONFIGS["asrf"])


# --- Padding, neighbors, dtypes


@pytest.mark.parametrize("kind", KINDS)
def test_a_recording_is_the_same_alone_and_padded(kind):
    rows = batch()
    got = logits(kind, rows["x"], rows["mask"])
    alone = logits(kind, rows["x"][1:2, : LENGTHS[1]])
    outs = [got, alone] if kind == "asrf" else [(got,), (alone,)]
    for padded, own in zip(*outs, strict=True):
        axis = padded.ndim - own.ndim + (1 if own.ndim == 4 else 0)
        padded = np.moveaxis(np.asarray(padded), axis, 0)
        own = np.moveaxis(np.asarray(own), axis, 0)
        assert np.isfinite(padded).all()
        time = 1 if padded.ndim == 4 else 0
        inside = (slice(None),) * time + (slice(0, LENGTHS[1]),)
        outside = (slice(None),) * time + (slice(LENGTHS[1], None),)
        np.testing.assert_allclose(padded[1][inside], own[0], atol=1e-5)
        assert not padded[1][outside].any()


@pytest.mark.parametrize("kind", quick("asrf"))
def test_the_loss_of_a_recording_is_the_same_in_any_batch(kind):
    rows = batch()
    together = losses(kind, params_of(kind), rows)
    length = LENGTHS[1]
    one = {name: value[1:2, :length] for name, value in rows.items()}
    alone = losses(kind, params_of(kind), one)
    np.testing.assert_allclose(together[1], alone[0], rtol=1e-5)


@pytest.mark.parametrize("kind", quick("mstcn"))
def test_dropout_follows_its_key_and_gradients_are_finite(kind):
    rows = batch()

    def run(seed):
        return training_losses(kind, params_of(kind), rows, jax.random.key(seed))

    (first, gradient), (again, _), (other, _) = run(1), run(1), run(2)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other)[:2].min() > 1e-4
    assert all(np.isfinite(g).all() for g in gradient.values())
    assert all(g.any() for g in gradient.values())


@pytest.mark.parametrize("kind", quick("asformer"))
def test_results_are_float32_under_bfloat16(kind):
    rows = batch()
    full = logits(kind, rows["x"], rows["mask"])
    half = logits(kind, rows["x"].astype(jnp.bfloat16), rows["mask"])
    for a, b in zip(jax.tree.leaves(full), jax.tree.leaves(half), strict=True):
        assert b.dtype == jnp.float32
        assert b.shape == a.shape
        assert 0 < np.abs(a - b).max() < 0.1


def test_modules_can_be_used_alone():
    x = jnp.ones((2, 9, D))
    shared = {"maps": MAPS, "rngs": nnx.Rngs(0)}
    network = CNNModule(D, C, layers=1, width=3, **shared)
    assert network(x).shape == (2, 9, C)
    network.train()
    assert not np.array_equal(network(x), network(x))
    others = {
        MSTCNModule(D, C, stages=1, layers=1, **shared): [(1, 2, 9, C)],
        ASFormerModule(D, C, decoders=0, layers=1, **shared): [(1, 2, 9, C)],
        ASRFModule(D, C, stages=1, layers=1, **shared): [(1, 2, 9, C), (1, 2, 9)],
    }
    for module, expected in others.items():
        out = jax.tree.leaves(jax.eval_shape(module, x))
        assert [leaf.shape for leaf in out] == expected


# --- Long recordings


@pytest.mark.parametrize("kind", quick("mstcn", "cnn", of=("mstcn", "asrf", "cnn")))
def test_chunks_give_what_the_whole_gives(kind):
    config, params = CONFIGS[kind], params_of(kind)
    function, halo = part(kind, "{}_logits"), part(kind, "{}_halo")(config)
    rng = np.random.default_rng(5)
    x = rng.standard_normal((2, 230, D)).astype(np.float32)
    mask = np.arange(230) < np.array([[230], [90]])
    whole = function(config, params, x, mask)
    axis = 1 if kind == "asrf" else 2
    found = apply_in_chunks(
        lambda part, kept: function(config, params, part, kept),
        x,
        mask,
        halo=halo,
        axis=axis,
        chunk=64,
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, whole)
    # one frame less of surroundings would show
    changed = x.copy()
    changed[0, 0] += 10.0
    other = function(config, params, changed, mask)
    a, b = (v[0][None] if kind == "asrf" else v for v in (whole, other))
    difference = np.abs(np.asarray(a - b))[-1, 0].max(axis=-1)
    assert difference[halo] > 0
    assert not difference[halo + 1 :].any()


def test_chunks_without_frames_are_not_computed():
    calls = []

    def count(part, kept):
        calls.append(part.shape)
        return part * kept[..., None]

    x = np.ones((1, 100, 1), np.float32)
    mask = np.arange(100)[None] < 25
    found = apply_in_chunks(count, x, mask, halo=3, axis=1, chunk=10)
    assert calls == [(1, 16, 1)] * 3
    np.testing.assert_array_equal(found[0, :, 0], mask[0])
