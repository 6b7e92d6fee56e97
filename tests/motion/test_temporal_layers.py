"""Dilated convolutions, windowed attention, dropout and the losses of frames."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from mlmethods.errors import InvalidInputError
from mlmethods_jax.layers.local_attention import local_attention
from mlmethods_jax.layers.tcn import (
    DilatedStage,
    LayerDropout,
    TemporalConv,
    masked,
    temporal_conv,
)
from mlmethods_jax.motion.asformer import instance_norm
from mlmethods_jax.motion.losses_frame import (
    boundary_loss,
    boundary_targets,
    cross_entropy,
    similarity,
    smoothing_loss,
)

# --- Convolutions


def lax_conv(x, kernel, dilation):
    reach = dilation * (kernel.shape[0] // 2)
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (1,),
        [(reach, reach)],
        rhs_dilation=(dilation,),
        dimension_numbers=("NWC", "WIO", "NWC"),
    )


@pytest.mark.parametrize(
    ("length", "width", "dilation"), [(9, 3, 2), (3, 3, 8), (1, 5, 2)]
)
def test_convolution_and_its_gradients_are_those_of_lax(rng, length, width, dilation):
    x = rng.standard_normal((2, length, 3)).astype(np.float32)
    kernel = rng.standard_normal((width, 3, 4)).astype(np.float32)
    weights = rng.standard_normal((2, length, 4)).astype(np.float32)

    def run(function):
        def total(x, kernel):
            y = function(x, kernel, dilation)
            return jnp.sum(jnp.sin(y) * weights), y

        slopes, y = jax.jit(jax.grad(total, (0, 1), has_aux=True))(x, kernel)
        return y, *slopes

    for ours, theirs in zip(run(temporal_conv), run(lax_conv), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_second_derivatives_of_the_convolution(rng):
    x = rng.standard_normal((1, 5, 2)).astype(np.float32)
    kernel = rng.standard_normal((3, 2, 2)).astype(np.float32)

    def second(function):
        def slope(kernel):
            own = jax.grad(lambda k: jnp.sum(jnp.sin(function(x, k, 2))))(kernel)
            return jnp.sum(own**2)

        return jax.jit(jax.grad(slope))(kernel)

    np.testing.assert_allclose(second(temporal_conv), second(lax_conv), atol=1e-4)


@pytest.mark.parametrize(
    ("shape", "kernel", "dilation", "message"),
    [
        ((1, 4, 2), (2, 2, 2), 1, "odd width"),
        ((1, 4, 3), (3, 2, 2), 1, "shape"),
        ((1, 4, 2), (3, 2, 2), 0, "dilation"),
    ],
)
def test_convolution_refuses(shape, kernel, dilation, message):
    with pytest.raises(InvalidInputError, match=message):
        temporal_conv(jnp.zeros(shape), jnp.zeros(kernel), dilation)


def test_layers_have_the_parameters_of_flax_and_its_result(rng):
    layer = TemporalConv(3, 4, dilation=2, rngs=nnx.Rngs(0))
    x = jnp.asarray(rng.standard_normal((2, 7, 3)), jnp.float32)
    np.testing.assert_allclose(layer(x), nnx.Conv.__call__(layer, x), atol=1e-5)
    assert np.abs(layer.kernel[...]).max() <= 1 / 3


def test_masked_frames_are_zero_whatever_they_were():
    x = jnp.array([[[1.0], [jnp.nan]]])
    mask = jnp.array([[True, False]])
    np.testing.assert_array_equal(masked(x, mask), [[[1.0], [0.0]]])
    assert masked(x, None) is x


def test_a_stage_needs_no_last_layer():
    stage = DilatedStage(3, None, layers=2, maps=4, rngs=nnx.Rngs(0))
    assert jax.eval_shape(stage, jnp.ones((1, 6, 3))).shape == (1, 6, 4)


# --- Dropout


@pytest.mark.parametrize("rate", [0.5, 0.3])
def test_dropout_drops_as_often_as_asked(rate):
    dropout = LayerDropout(rate, rngs=nnx.Rngs(0))
    dropout.train()
    first, second = dropout(2, (4, 100, 30))
    kept = 1 - rate
    for factors in (first, second):
        assert factors.shape == (4, 100, 30)
        np.testing.assert_allclose(np.unique(factors), [0, 1 / kept], rtol=1e-4)
        # five standard deviations
        assert abs(np.mean(factors > 0) - kept) < 5 * np.sqrt(rate * kept / 12000)
    agreement = np.mean((first > 0) == (second > 0))
    assert abs(agreement - (kept**2 + rate**2)) < 0.03
    assert not np.array_equal(dropout(1, (4, 100, 30))[0], first)


def test_dropout_is_off_in_evaluation_and_at_rate_zero():
    dropout = LayerDropout(0.0, rngs=nnx.Rngs(0))
    dropout.train()
    assert dropout(2, (1, 2, 3)) == [None, None]
    assert LayerDropout(0.5, rngs=nnx.Rngs(0))(1, (1, 2, 3)) == [None]


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_dropout_refuses_other_rates(rate):
    with pytest.raises(InvalidInputError, match="dropout"):
        LayerDropout(rate, rngs=nnx.Rngs(0))


# --- Attention


def reference_attention(q, k, v, window, mask, pattern):
    """Return the attention of one recording, a frame at a time."""
    length, size = q.shape
    reach = window // 2
    out = np.zeros((length, v.shape[1]))
    for i in range(length):
        block = i // window * window
        keys = np.arange(block - reach, block + window + reach)
        inside = (keys >= 0) & (keys < length)
        inside[inside] = mask[keys[inside]]
        if pattern == "frame":
            chosen = (keys >= i - reach) & (keys < i - reach + window)
        else:
            chosen = np.arange(len(keys)) < 2 * window - 1
        chosen &= inside
        scores = np.zeros(len(keys))
        scores[inside] = k[keys[inside]] @ q[i] / np.sqrt(size)
        weights = np.exp(scores + np.log(chosen + 1e-6))
        weights = weights / weights.sum() * chosen
        out[i] = weights[chosen] @ v[keys[chosen]]
    return out


attention = jax.jit(local_attention, static_argnames=("window", "pattern"))


@pytest.mark.parametrize(
    ("window", "length", "pattern"),
    [
        (1, 5, "frame"),
        (3, 40, "frame"),
        (16, 9, "frame"),
        (64, 200, "frame"),
        (1, 5, "block"),
        (8, 70, "block"),
    ],
)
def test_attention_is_that_of_a_loop(window, length, pattern):
    rng = np.random.default_rng(window)
    q, k = 3 * rng.standard_normal((2, 2, length, 4)).astype(np.float32)
    v = rng.standard_normal((2, length, 3)).astype(np.float32)
    mask = np.arange(length) < np.array([[length], [length - length // 3]])
    got = attention(q, k, v, window, mask, pattern=pattern)
    for b, own in enumerate(mask):
        expected = reference_attention(q[b], k[b], v[b], window, own, pattern)
        np.testing.assert_allclose(got[b][own], expected[own], atol=2e-5)


def test_attention_in_steps_is_attention_at_once(monkeypatch):
    from mlmethods_jax.layers import local_attention as module

    rng = np.random.default_rng(0)
    q, k, v = rng.standard_normal((3, 2, 150, 4)).astype(np.float32)

    def run():
        def total(v):
            out = local_attention(q, k, v, 8)
            return jnp.sum(out**2), out

        return jax.jit(jax.grad(total, has_aux=True))(v)

    once = run()
    monkeypatch.setattr(module, "_SCORES", {})
    monkeypatch.setattr(module, "_SCORES_ELSEWHERE", 2 * 2 * 32 * 40)
    for got, expected in zip(run(), once, strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-5)


def test_no_array_of_time_by_time_exists():
    length = 4096
    shape = jax.ShapeDtypeStruct((1, length, 4), jnp.float32)

    def total(q, k, v):
        return jnp.sum(local_attention(q, k, v, 16))

    compiled = jax.jit(jax.grad(total, (0, 1, 2))).lower(shape, shape, shape).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < length * length


@pytest.mark.parametrize(
    ("shape", "window", "pattern", "message"),
    [
        ((1, 4, 2), 0, "frame", "window"),
        ((1, 4, 2), 2, "other", "pattern"),
        ((1, 5, 2), 2, "frame", "shapes"),
    ],
)
def test_attention_refuses(shape, window, pattern, message):
    with pytest.raises(InvalidInputError, match=message):
        local_attention(
            jnp.zeros((1, 4, 2)),
            jnp.zeros((1, 4, 2)),
            jnp.zeros(shape),
            window,
            pattern=pattern,
        )


def test_instance_norm_counts_frames_of_the_recording_alone(rng):
    x = rng.standard_normal((2, 9, 3)).astype(np.float32) * 5 + 2
    mask = np.arange(9) < np.array([[9], [4]])
    got = instance_norm(jnp.asarray(x), jnp.asarray(mask))
    own = x[1, :4]
    expected = (own - own.mean(0)) / np.sqrt(own.var(0) + 1e-5)
    np.testing.assert_allclose(got[1, :4], expected, atol=1e-5)
    np.testing.assert_array_equal(got[1, 4:], 0)


# --- Losses


def test_cross_entropy_is_weighted_and_leaves_out_frames(rng):
    scores = rng.standard_normal((1, 4, 3)).astype(np.float32)
    labels = np.array([[0, 2, -1, 1]], np.int32)
    weights = np.array([1.0, 2.0, 4.0], np.float32)
    log_probs = np.log(np.exp(scores[0]) / np.exp(scores[0]).sum(-1, keepdims=True))
    nll = -log_probs[[0, 1, 3], [0, 2, 1]]
    np.testing.assert_allclose(cross_entropy(scores, labels), [nll.mean()], rtol=1e-5)
    expected = nll @ [1, 4, 2] / 7
    np.testing.assert_allclose(
        cross_entropy(scores, labels, weights), [expected], rtol=1e-5
    )
    assert cross_entropy(scores, np.full((1, 4), -1, np.int32)).tolist() == [0.0]


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31))
def test_shifts_of_scores_change_no_loss(seed):
    rng = np.random.default_rng(seed)
    scores = rng.standard_normal((1, 6, 3)).astype(np.float32)
    moved = scores + rng.standard_normal((1, 6, 1)).astype(np.float32)
    mask = np.ones((1, 6), bool)
    labels = rng.integers(-1, 3, (1, 6)).astype(np.int32)
    for loss, given_ in ((smoothing_loss, mask), (cross_entropy, labels)):
        np.testing.assert_allclose(
            loss(scores, given_), loss(moved, given_), rtol=1e-3, atol=1e-5
        )


def test_smoothing_is_clipped_and_one_sided_unless_asked():
    # a change of the log-probabilities by more than 4 has no slope
    scores = jnp.array([[[0.0, 0.0], [1.0, 0.0], [30.0, 0.0]]])
    mask = jnp.ones((1, 3), bool)

    def slope(both):
        def loss(s):
            return jnp.sum(smoothing_loss(s, mask, both=both))

        return jax.jit(jax.grad(loss))(scores)[0]

    one, two = slope(False), slope(True)
    assert not one[0].any()
    assert two[0].any()
    np.testing.assert_allclose(np.sum(two, axis=-1), 0, atol=1e-6)
    far = smoothing_loss(scores[:, 1:] * jnp.float32(100), mask[:, 1:])
    assert 0 < far[0] <= 16


def test_smoothing_weights_pairs_by_their_similarity():
    x = jnp.array([[[0.0, 0.0], [3.0, 4.0], [3.0, 4.0]]])
    np.testing.assert_allclose(similarity(x), [[np.exp(-2.5), 1.0]], rtol=1e-6)
    scores = jnp.array([[[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]]])
    mask = jnp.ones((1, 3), bool)
    plain = smoothing_loss(scores, mask)
    got = smoothing_loss(scores, mask, weights=similarity(x))
    np.testing.assert_allclose(got / plain, [(1 + np.exp(-2.5)) / 2], rtol=1e-5)


def test_boundaries_are_weighted_by_their_rarity():
    labels = jnp.array([[0, 0, 1, 1, -1, 1]])
    begins, known = boundary_targets(labels)
    assert begins[0, :4].tolist() == [True, False, True, False]
    assert known[0].tolist() == [True, True, True, True, False, False]
    scores = jnp.array([[1.0, -1.0, 2.0, 0.5, 9.0, 9.0]])

    def softplus(z):
        return np.log1p(np.exp(z))

    terms = softplus(-1.0) + softplus(-2.0), softplus(-1.0) + softplus(0.5)
    expected = (2 * terms[0] + terms[1]) / 4
    np.testing.assert_allclose(boundary_loss(scores, labels), [expected], rtol=1e-5)
    given_ = boundary_loss(scores, labels, jnp.float32(5.0))
    np.testing.assert_allclose(given_, [(5 * terms[0] + terms[1]) / 4], rtol=1e-5)
