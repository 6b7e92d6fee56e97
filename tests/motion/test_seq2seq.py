"""Sequence networks: weights of PyTorch, padding, losses, gradients, refusals."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file

from mlmethods.errors import (
    CheckpointError,
    InvalidInputError,
    OperationNotSupportedError,
)
from mlmethods.motion.contract import BiGRUConfig, Seq2SeqConfig
from mlmethods_jax.layers.tcn import TemporalConv
from mlmethods_jax.motion import LASDecoder, PyramidBiGRU, encoders
from mlmethods_jax.motion._state import flatten, init, merge, shapes, unflatten
from mlmethods_jax.motion.losses_seq import draw_own
from mlmethods_jax.motion.seq2seq import (
    Seq2SeqModule,
    init_seq2seq,
    make_seq2seq,
    seq2seq_forward,
    seq2seq_loss,
)
from mlmethods_jax.motion.taggers import bigru_logits, bigru_loss, init_bigru
from mlmethods_jax.motion.torch_seq2seq import from_torch, to_torch

GOLDEN = Path(__file__).parent.parent / "golden"
SIZE, RATE = 20, 4
LENGTHS = np.array([20, 12])
TOKENS = np.array([[2, 4, 1, 6], [5, 6, 0, 0]], np.int32)
PREVIOUS = np.array([1, 3], np.int32)
KINDS = ("dot", "mlp", "mean")
MEAN = Seq2SeqConfig(
    n_features=3, n_classes=5, hidden=4, layers=2, attention="mean", label_smoothing=0.1
)


@functools.cache
def golden(kind):
    found = load_file(GOLDEN / f"seq2seq_{kind}.safetensors")
    weights = {
        name.removeprefix("weights."): value
        for name, value in found.items()
        if name.startswith("weights.")
    }
    return weights, found


@functools.cache
def imported(kind):
    return from_torch(golden(kind)[0], MEAN if kind == "mean" else None)


def mask_of(lengths, size):
    return np.arange(size)[None] < np.asarray(lengths)[:, None]


def batch_of(kind, size=SIZE):
    """Return the golden recordings and a padded row, with `size` frames."""
    x, labels = golden(kind)[1]["x"], golden(kind)[1]["labels"].astype(np.int32)
    extra = ((0, 1), (0, size - SIZE))
    return {
        "x": np.pad(x, (*extra, (0, 0)), constant_values=np.nan),
        "mask": mask_of([*LENGTHS, 0], size),
        "labels": np.pad(labels, extra),
        "tokens": np.pad(TOKENS, ((0, 1), (0, 0))),
        "previous": np.pad(PREVIOUS, (0, 1)),
    }


losses = jax.jit(seq2seq_loss, static_argnames="config")


@functools.partial(jax.jit, static_argnames="config")
def with_gradient(config, params, batch):
    """Return the losses and the gradient of their sum."""

    def total(params):
        found = seq2seq_loss(config, params, batch, None, None)
        return jnp.sum(found), found

    gradient, found = jax.grad(total, has_aux=True)(params)
    return found, gradient


def check_losses_and_gradients(kind):
    config, params = imported(kind)
    # what a row of padding holds reaches nothing, also if it is not a number
    found, gradient = with_gradient(config, params, batch_of(kind))
    expected = golden(kind)[1]
    np.testing.assert_allclose(found, [*expected["losses"], 0.0], atol=1e-5)
    for name, value in to_torch(config, gradient).items():
        np.testing.assert_allclose(
            value, expected[f"grad.{name}"], atol=1e-5, err_msg=name
        )


def test_losses_and_gradients_are_those_of_pytorch():
    check_losses_and_gradients("mlp")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dot", "mean"])
def test_losses_and_gradients_of_other_attention_are_those_of_pytorch(kind):
    check_losses_and_gradients(kind)


@pytest.mark.parametrize("kind", ["mlp", pytest.param("mean", marks=pytest.mark.slow)])
def test_outputs_are_those_of_pytorch(kind):
    _, expected = golden(kind)
    config, params = imported(kind)
    y = seq2seq_forward(
        config, params, expected["x"], mask_of(LENGTHS, SIZE), PREVIOUS, TOKENS
    )
    for name in ("encoder", "log_probs", "attention"):
        np.testing.assert_allclose(y[name], expected[name], atol=1e-5, err_msg=name)
    for i, steps in enumerate(LENGTHS // RATE):
        np.testing.assert_allclose(
            y["frame_logits"][i, :steps], expected["frame_logits"][i, :steps], atol=1e-5
        )
    ids = np.where(TOKENS > 0, np.argmax(expected["log_probs"], -1), 0)
    np.testing.assert_array_equal(y["ids"], ids)


def test_free_running_is_that_of_pytorch():
    _, expected = golden("dot")
    config, params = imported("dot")
    y = seq2seq_forward(
        config, params, expected["x"], mask_of(LENGTHS, SIZE), PREVIOUS, max_tokens=4
    )
    ids = np.argmax(expected["free_log_probs"], -1)
    # PyTorch's loop goes on after the end
    until = np.cumsum(np.pad(ids == 6, ((0, 0), (1, 0)))[:, :-1], 1) == 0
    np.testing.assert_array_equal(y["ids"], np.where(until, ids, 0))
    logs = np.where(until[..., None], expected["free_log_probs"], 0)
    np.testing.assert_allclose(y["log_probs"], logs, atol=1e-5)


def test_the_imported_configuration_comes_from_the_shapes():
    config, _ = imported("mlp")
    assert (config.attention, config.heads, config.attention_width) == ("mlp", 2, 6)
    assert (config.n_features, config.n_classes) == (3, 5)
    assert (config.hidden, config.layers) == (4, 2)
    assert imported("dot")[0].attention == "dot"


@pytest.mark.parametrize("kind", KINDS)
def test_weights_return_to_pytorch_unchanged(kind):
    weights, _ = golden(kind)
    back = to_torch(*imported(kind))
    assert back.keys() == weights.keys()
    for name, value in weights.items():
        np.testing.assert_array_equal(back[name], value, err_msg=name)


def test_names_that_do_not_fit_are_listed():
    weights = dict(golden("mlp")[0])
    del weights["listener.fc.bias"]
    weights["speller.extra"] = np.zeros(3, np.float32)
    with pytest.raises(CheckpointError) as error:
        from_torch(weights)
    assert "missing: listener.fc.bias" in str(error.value)
    assert "unknown: speller.extra" in str(error.value)


def test_shapes_that_do_not_fit_are_listed():
    weights = dict(golden("dot")[0])
    weights["listener.fc.bias"] = np.zeros(6, np.float32)
    with pytest.raises(
        CheckpointError, match=r"frame_head\.bias \[6\] instead of \[5\]"
    ):
        from_torch(weights)
    weights = dict(golden("dot")[0])
    name = "listener.pLSTM_layer1.BLSTM.bias_hh_l0_reverse"
    weights[name] = np.zeros(3, np.float32)
    with pytest.raises(CheckpointError, match="must have the same shape"):
        from_torch(weights)
    with pytest.raises(CheckpointError, match="pLSTM_layer0"):
        from_torch({"fc.weight": np.zeros((2, 2), np.float32)})


def test_weights_of_the_encoder_for_video_have_no_such_names():
    config = dataclasses.replace(MEAN, encoder="tcn-stride")
    with pytest.raises(OperationNotSupportedError, match="tcn-stride"):
        to_torch(config, {})


def test_padding_and_neighbors_change_nothing():
    config, params = imported("mlp")
    # more frames behind, more room for tokens, and other neighbors
    batch = batch_of("mlp", 31)
    order = [2, 1, 0]
    batch = {name: value[order] for name, value in batch.items()}
    batch["tokens"] = np.pad(batch["tokens"], ((0, 0), (0, 3)))
    found = losses(config, params, batch, None, None)
    expected = golden("mlp")[1]["losses"]
    np.testing.assert_allclose(found, [0.0, expected[1], expected[0]], atol=1e-5)


def test_windows_without_targets_add_nothing():
    config, params = imported("mlp")
    batch = batch_of("mlp")
    batch["tokens"] = np.zeros((3, 4), np.int32)
    batch["labels"] = np.full((3, SIZE), -1, np.int32)
    found, gradient = with_gradient(config, params, batch)
    assert np.asarray(found).tolist() == [0.0, 0.0, 0.0]
    assert all(not np.any(value) for value in gradient.values())


def test_scheduled_sampling_feeds_the_likeliest_class():
    config, params = imported("mlp")
    encoded = golden("mlp")[1]["encoder"]

    @jax.jit
    def run(tokens, own):
        decoder = merge(make_seq2seq, config, params).decoder
        return decoder(encoded, previous=PREVIOUS, tokens=tokens, own=own)[0]

    tokens = np.array([[2, 4, 1, 6], [5, 5, 3, 6]], np.int32)
    own = np.zeros((2, 4), bool)
    given = np.asarray(run(tokens, own))
    # a step whose likeliest class is not the target
    places = 1 + np.argmax(given[:, :3, 1:-1], -1)
    row, step = np.argwhere(places != tokens[:, :3])[0]
    own[row, step] = True
    fed = tokens.copy()
    fed[row, step] = places[row, step]
    mixed, expected = run(tokens, own), run(fed, np.zeros((2, 4), bool))
    np.testing.assert_allclose(mixed, expected, atol=1e-6)
    assert np.max(np.abs(mixed[row, step + 1] - given[row, step + 1])) > 1e-3


def test_own_tokens_are_drawn_one_by_one():
    own = np.asarray(draw_own(jax.random.key(0), (200, 50), jnp.float32(0.7)))
    assert np.mean(own) == pytest.approx(0.3, abs=0.02)
    assert len(np.unique(own.sum(1))) > 5
    assert np.all(draw_own(jax.random.key(0), (20, 5), jnp.float32(0.0)))


@pytest.mark.slow
def test_dropout_and_sampling_are_drawn_from_the_key():
    config, params = imported("dot")
    config = dataclasses.replace(config, dropout=0.3)
    batch, teacher = batch_of("dot"), jnp.float32(0.5)
    a, b, again = (
        losses(config, params, batch, jax.random.key(i), teacher) for i in (0, 1, 0)
    )
    np.testing.assert_array_equal(a, again)
    assert np.min(np.abs(a - b)[:2]) > 1e-3


def test_the_encoder_for_video_halves_by_strides(rng):
    conv = TemporalConv(4, 6, rngs=nnx.Rngs(0))
    x = rng.standard_normal((2, 10, 4)).astype(np.float32)
    y, mask = encoders._halved(conv, jnp.asarray(x), jnp.ones((2, 10), bool))
    expected = jax.lax.conv_general_dilated(
        x, conv.kernel[...], (2,), ((1, 1),), dimension_numbers=("NWC", "WIO", "NWC")
    )
    expected = jax.nn.relu(expected + conv.bias[...].reshape(1, 1, -1))
    np.testing.assert_allclose(y, expected, atol=1e-5)
    assert np.asarray(mask).tolist() == [[True] * 5] * 2


@pytest.mark.slow
def test_the_encoder_for_video_ignores_padding(rng, monkeypatch):
    monkeypatch.setattr(encoders, "_STAGE_LAYERS", 2)
    encoder = encoders.StridedTCN(3, 4, layers=2, rngs=nnx.Rngs(0))
    x = rng.standard_normal((1, 9, 3)).astype(np.float32)
    run = jax.jit(lambda x, mask: encoder(*encoders.pad_frames(x, mask, 4)))
    short, kept = run(x, None)
    mask = mask_of([9], 19)
    wide = np.pad(x, ((0, 0), (0, 10), (0, 0)), constant_values=np.nan)
    long, _ = run(wide, mask)
    assert short.shape == (1, 3, 8)
    assert np.asarray(kept).tolist() == [[True] * 3]
    np.testing.assert_allclose(long[:, :3], short, atol=1e-5)
    assert not np.any(long[:, 3:])


def test_frames_that_do_not_fit_the_pyramid_are_refused():
    encoder = PyramidBiGRU(3, 4, layers=3, rngs=nnx.Rngs(0))
    with pytest.raises(InvalidInputError, match=r"2\*\*3 = 8 .*got 20"):
        encoder(jnp.zeros((1, 20, 3)))
    with pytest.raises(InvalidInputError, match=r"\(b, t, 3\), got \(1, 16, 2\)"):
        encoder(jnp.zeros((1, 16, 2)))


def test_unknown_kinds_are_refused():
    with pytest.raises(InvalidInputError, match="attention must be one of"):
        LASDecoder(8, 5, attention="none", rngs=nnx.Rngs(0))
    with pytest.raises(InvalidInputError, match="heads must be 1"):
        LASDecoder(8, 5, heads=2, rngs=nnx.Rngs(0))
    config = dataclasses.replace(MEAN, encoder="lstm")
    with pytest.raises(InvalidInputError, match="encoder must be one of"):
        Seq2SeqModule(config, rngs=nnx.Rngs(0))
    for kind in (PyramidBiGRU, encoders.StridedTCN):
        with pytest.raises(InvalidInputError, match="layers must be at least 1"):
            kind(3, 4, layers=0, rngs=nnx.Rngs(0))


def test_initial_parameters_depend_on_the_seed_alone():
    a, b = init_seq2seq(MEAN, 0), init_seq2seq(MEAN, 1)
    again = init(make_seq2seq, MEAN, 0)
    assert a.keys() == shapes(make_seq2seq, MEAN).keys()
    for name in a:
        np.testing.assert_array_equal(a[name], again[name])
        assert not np.array_equal(a[name], b[name])


def test_the_default_network_has_the_published_size():
    config = Seq2SeqConfig(n_features=77, n_classes=5)
    sizes = {k: np.prod(v.shape) for k, v in shapes(make_seq2seq, config).items()}
    encoder = sum(n for k, n in sizes.items() if k.startswith("encoder."))
    decoder = sum(n for k, n in sizes.items() if k.startswith("decoder."))
    assert round(encoder / 1e6, 2) == 4.57
    assert round(decoder / 1e6, 2) == 1.59


def test_names_and_nested_dictionaries_are_each_other():
    tree = {"encoder": {"layers": {0: {"bias": 1}, 1: {"bias": 2}}}, "head": 3}
    flat = flatten(tree)
    assert flat == {"encoder.layers.0.bias": 1, "encoder.layers.1.bias": 2, "head": 3}
    assert unflatten(flat) == tree


def test_the_tagger_and_its_loss_ignore_padding(rng):
    config = BiGRUConfig(n_features=3, n_classes=4, hidden=5, layers=2, dropout=0.0)
    params = init_bigru(config, 0)
    x = rng.standard_normal((2, 9, 3)).astype(np.float32)
    labels = rng.integers(-1, 4, (2, 9)).astype(np.int32)
    mask = mask_of([9, 6], 9)
    y = np.asarray(bigru_logits(config, params, x, mask))
    assert y.shape == (1, 2, 9, 4)
    swapped = np.stack((np.where(mask[1][:, None], x[1], np.nan), -x[0]))
    alone = bigru_logits(config, params, swapped, mask[::-1])
    np.testing.assert_allclose(y[0, 1, :6], alone[0, 0, :6], atol=1e-5)
    batch = {"x": x, "mask": mask, "labels": labels}
    loss = jax.jit(bigru_loss, static_argnames="config")(config, params, batch, None)
    logs = y[0] - np.log(np.sum(np.exp(y[0]), -1, keepdims=True))
    for i, length in enumerate((9, 6)):
        picked = [-logs[i, t, k] for t, k in enumerate(labels[i, :length]) if k >= 0]
        np.testing.assert_allclose(loss[i], np.mean(picked), rtol=1e-5)
