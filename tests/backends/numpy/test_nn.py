"""The oracle of the neural operations against closed forms and SciPy."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.special import softmax

from mlmethods.errors import InvalidInputError
from mlmethods_numpy.ops.nn import (
    alibi_bias,
    alibi_slopes,
    attention,
    discounted_cumsum,
)


@pytest.fixture
def qkv(rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    return tuple(rng.normal(size=(2, length, 3, 4)) for length in (5, 6, 6))


def _by_softmax(q, k, v, extra=0.0, scale=0.5):
    scores = scale * np.einsum("bthe,bshe->bhts", q, k) + extra
    return np.einsum("bhts,bshe->bthe", softmax(scores, axis=-1), v)


@pytest.mark.parametrize("scale", [None, 0.1])
def test_attention_is_softmax_of_scaled_products(qkv, rng, scale):
    bias = rng.normal(size=(2, 1, 5, 6))
    got = attention(*qkv, bias=bias, scale=scale)
    np.testing.assert_allclose(got, _by_softmax(*qkv, bias, scale or 0.5), rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "excluded"),
    [
        ("mask", lambda b, h, i, j: (i + j) % 3 == 1),
        ("key_mask", lambda b, h, i, j: (j == 4 + b) + 0 * i),
        ("segments", lambda b, h, i, j: (i < 2) != (j < 3)),
        ("causal", lambda b, h, i, j: j > i + 1),
    ],
)
def test_exclusions_equal_minus_infinity_in_the_scores(qkv, name, excluded):
    grid = np.indices((2, 3, 5, 6))
    out = np.broadcast_to(excluded(*grid), (2, 3, 5, 6)).astype(bool)
    arguments = {
        "mask": {"mask": ~out[:, :1]},
        "key_mask": {"key_mask": ~out[:, 0, 0]},
        "segments": {
            "query_segments": np.tile([0, 0, 7, 7, 7], (2, 1)),
            "key_segments": np.tile([0, 0, 0, 7, 7, 7], (2, 1)),
        },
        "causal": {"causal": True},
    }[name]
    with_bias = attention(*qkv, bias=np.where(out, -np.inf, 0.0))
    np.testing.assert_allclose(attention(*qkv, **arguments), with_bias, rtol=1e-12)
    np.testing.assert_allclose(
        with_bias, _by_softmax(*qkv, np.where(out, -1e9, 0.0)), rtol=1e-9
    )


def test_rows_without_keys_give_zeros(qkv):
    mask = np.ones((2, 1, 5, 1), bool)
    mask[1, 0, 3] = False
    out = attention(*qkv, mask=mask)
    assert np.all(out[1, 3] == 0)
    assert np.all(out[0] != 0)
    # more queries than keys: the first ones precede every key
    q, k, v = qkv
    assert np.all(attention(q, k[:, :2], v[:, :2], causal=True)[:, :3] == 0)


def test_scores_of_a_thousand_do_not_overflow():
    q = np.full((1, 1, 1, 1), 1e4)
    k = np.array([1.0, 0.5])[None, :, None, None]
    v = np.array([3.0, 5.0])[None, :, None, None]
    np.testing.assert_allclose(attention(q, k, v), 3.0)


def test_alibi_slopes_of_the_paper():
    eight = [Fraction(1, 2**i) for i in range(1, 9)]
    np.testing.assert_array_equal(alibi_slopes(8), np.array(eight, dtype=float))
    np.testing.assert_allclose(alibi_slopes(16)[:2], [2**-0.5, 2**-1], rtol=1e-14)
    np.testing.assert_allclose(alibi_slopes(16)[-1], 2.0**-8, rtol=1e-14)
    # 12 heads: those of 8, then every other one of 16
    twelve = np.concatenate([alibi_slopes(8), alibi_slopes(16)[:8:2]])
    np.testing.assert_allclose(alibi_slopes(12), twelve, rtol=1e-14)
    np.testing.assert_allclose(alibi_slopes(112)[64], 2 ** (-1 / 16), rtol=1e-14)
    assert alibi_slopes(112).shape == (112,)
    assert alibi_slopes(1).tolist() == [2.0**-8]


def test_alibi_positions_count_present_keys():
    mask = np.array([[0, 0, 1, 1, 1], [1, 1, 0, 1, 0]])
    bias = alibi_bias(mask, 2)
    assert bias.shape == (2, 2, 1, 5)
    np.testing.assert_allclose(bias[0, 0, 0] / alibi_slopes(2)[0], [0, 0, 0, 1, 2])
    np.testing.assert_allclose(bias[1, 1, 0] / alibi_slopes(2)[1], [0, 1, 0, 2, 0])


def test_alibi_equals_the_relative_form(qkv):
    q, k, v = (x[:, :5] for x in qkv)
    i, j = np.indices((5, 5))
    relative = -alibi_slopes(3)[None, :, None, None] * (i - j)
    absolute = alibi_bias(np.ones((2, 5), bool), 3)
    np.testing.assert_allclose(
        attention(q, k, v, bias=absolute, causal=True),
        attention(q, k, v, bias=relative, causal=True),
        rtol=1e-12,
    )


def test_discounted_cumsum_is_a_recursive_filter(rng):
    x = rng.normal(size=(7, 2, 3))
    got = discounted_cumsum(x, 0.9)
    want = lfilter([1.0], [1.0, -0.9], x[::-1], axis=0)[::-1]
    np.testing.assert_allclose(got, want, rtol=1e-12)


def test_done_cuts_and_bootstrap_continues():
    x = np.ones((3, 2))
    done = np.array([[0, 0], [1, 0], [0, 0]])
    got = discounted_cumsum(x, 0.5, done, bootstrap=np.array([8.0, 8.0]))
    np.testing.assert_allclose(got, [[1.5, 2.75], [1.0, 3.5], [5.0, 5.0]])


BAD = {
    "q": (lambda a: {**a, "q": a["q"][0]}, "q must have four axes"),
    "k": (lambda a: {**a, "k": a["k"][..., :2]}, "k must have shape"),
    "bias": (lambda a: {**a, "bias": np.zeros((2, 3, 5, 4))}, "bias must have axes"),
    "mask": (lambda a: {**a, "mask": np.ones((1, 1, 5, 6))}, "mask must be a boolean"),
    "key_mask": (lambda a: {**a, "key_mask": np.ones((2, 5), bool)}, "key_mask must"),
    "segments": (lambda a: {**a, "key_segments": np.ones((2, 6))}, "together"),
    "block_size": (lambda a: {**a, "block_size": 0}, "block_size must be"),
}


@pytest.mark.parametrize("name", BAD)
def test_attention_refuses_what_does_not_fit(qkv, name):
    spoil, message = BAD[name]
    arguments = spoil(dict(zip("qkv", qkv, strict=True)))
    with pytest.raises(InvalidInputError, match=message):
        attention(**arguments)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: alibi_slopes(0), "num_heads must be >= 1"),
        (lambda: alibi_bias(np.ones((2, 3)), 2), "attention_mask must be"),
        (lambda: discounted_cumsum(np.float64(1), 0.9), "x must have a time axis"),
        (lambda: discounted_cumsum(np.ones((2, 3)), np.ones(3)), "discount must be"),
        (lambda: discounted_cumsum(np.ones((2, 3)), 0.9, np.ones(2)), "done must"),
        (
            lambda: discounted_cumsum(np.ones((2, 3)), 0.9, bootstrap=np.ones(2)),
            "bootstrap must",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InvalidInputError, match=message):
        call()
