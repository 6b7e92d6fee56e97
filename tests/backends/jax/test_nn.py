"""The neural operations against the oracle, finite differences and their own laws."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.extend.core import ClosedJaxpr, Jaxpr
from jax.test_util import check_grads

import mlmethods_numpy.ops.nn as oracle
from mlmethods.errors import InvalidInputError
from mlmethods_jax.ops.nn import (
    alibi_bias,
    alibi_slopes,
    attention,
    discounted_cumsum,
)

B, T, S, H, E = 2, 7, 9, 2, 4
TOLERANCE = {
    "float32": {"rtol": 5e-4, "atol": 2e-6},
    "float64": {"rtol": 5e-7, "atol": 1e-12},
    # half precision keeps 8 or 11 bits
    "bfloat16": {"rtol": 3e-2, "atol": 3e-2},
    "float16": {"rtol": 4e-3, "atol": 4e-3},
}


def make_case(name: str, seed: int = 0) -> tuple[list[np.ndarray], dict[str, Any]]:
    """Return q, k, v and the keywords of a named situation, in float64."""
    rng = np.random.default_rng(seed)
    t, s, h, e = {
        "one-query": (1, S, H, E),
        "one-key": (T, 1, H, E),
        "one-head-one-feature": (T, S, 1, 1),
        "more-queries-than-keys": (S, T, H, E),
    }.get(name, (T, S, H, E))
    qkv = [rng.normal(size=(B, length, h, e)) for length in (t, s, s)]
    full = (B, h, t, s)
    empty_row = np.arange(t)[None, None, :, None] != 3
    keywords: dict[str, Any] = {
        "full-bias": {"bias": rng.normal(size=full)},
        "key-bias": {"bias": rng.normal(size=(B, h, 1, s)), "scale": 0.3},
        "head-bias": {"bias": rng.normal(size=(1, h, 1, s)), "causal": True},
        "row-bias": {"bias": rng.normal(size=(1, h, t, 1))},
        "infinite-bias": {"bias": np.where(rng.random(full) < 0.3, -np.inf, 1.0)},
        "mask": {"mask": (rng.random((1, 1, t, s)) < 0.6) & empty_row},
        "key-mask": {"key_mask": np.arange(s)[None] >= np.array([[2], [s]])},
        "segments": {
            "query_segments": np.sort(rng.integers(0, 3, (B, t)), axis=1),
            "key_segments": np.sort(rng.integers(0, 4, (B, s)), axis=1),
        },
        "all": {
            "bias": rng.normal(size=(1, h, 1, s)),
            "mask": rng.random((B, 1, t, s)) < 0.8,
            "key_mask": rng.random((B, s)) < 0.8,
            "query_segments": np.sort(rng.integers(0, 2, (B, t)), axis=1),
            "key_segments": np.sort(rng.integers(0, 2, (B, s)), axis=1),
            "causal": True,
        },
        "more-queries-than-keys": {"causal": True},
        "causal": {"causal": True},
    }.get(name, {})
    return qkv, keywords


CASES = [
    "plain",
    "causal",
    "full-bias",
    "key-bias",
    "head-bias",
    "row-bias",
    "infinite-bias",
    "mask",
    "key-mask",
    "segments",
    "all",
    "one-query",
    "one-key",
    "one-head-one-feature",
    "more-queries-than-keys",
]


def cast(x: Any, dtype: str) -> Any:
    """Cast what is floating among arrays and numbers."""
    if isinstance(x, np.ndarray) and x.dtype.kind == "f":
        return jnp.asarray(x).astype(dtype)
    return x


@pytest.mark.parametrize("block_size", [None, 4, 100])
@pytest.mark.parametrize("name", CASES)
def test_attention_equals_the_oracle(name, block_size):
    qkv, keywords = make_case(name)
    args = [cast(x, "float32") for x in qkv]
    given = {n: cast(x, "float32") for n, x in keywords.items()}
    got = attention(*args, **given, block_size=block_size)
    assert got.dtype == jnp.float32
    want = oracle.attention(*qkv, **keywords)
    np.testing.assert_allclose(got, want, **TOLERANCE["float32"])
    empty = np.all(want == 0, axis=-1)
    assert np.all(np.asarray(got)[empty] == 0)


@pytest.mark.parametrize("block_size", [None, 4])
@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "float16"])
def test_attention_keeps_the_dtype(dtype, block_size):
    qkv, keywords = make_case("all")
    with jax.enable_x64(True):
        args = [cast(x, dtype) for x in qkv]
        given = {n: cast(x, dtype) for n, x in keywords.items()}
        got = attention(*args, **given, block_size=block_size)
        grads = jax.grad(
            lambda *a: jnp.sum(attention(*a, **given, block_size=block_size)), (0, 1, 2)
        )(*args)
    assert {str(x.dtype) for x in (got, *grads)} == {dtype}
    want = oracle.attention(*qkv, **keywords)
    got = np.asarray(got).astype("float64")
    np.testing.assert_allclose(got, want, **TOLERANCE[dtype])


def test_numpy_float64_follows_the_rule_of_jax():
    qkv, _ = make_case("plain")
    expected = "float64" if jax.config.jax_enable_x64 else "float32"
    assert attention(*qkv).dtype == expected
    assert discounted_cumsum(np.ones((3, 2)), 0.9).dtype == expected


@pytest.mark.parametrize("block_size", [None, 4])
def test_float64_arrays_need_no_global_mode(block_size):
    qkv, keywords = make_case("all")
    with jax.enable_x64(True):
        args = [jnp.asarray(x) for x in qkv]
    with jax.enable_x64(False):
        got = attention(*args, **keywords, block_size=block_size)
        summed = discounted_cumsum(args[0], 0.9)
    want = oracle.attention(*qkv, **keywords)
    np.testing.assert_allclose(got, want, **TOLERANCE["float64"])
    want = oracle.discounted_cumsum(qkv[0], 0.9)
    np.testing.assert_allclose(summed, want, **TOLERANCE["float64"])


@pytest.mark.parametrize("block_size", [None, 4])
@pytest.mark.parametrize(
    "name", ["all", "full-bias", "row-bias", "infinite-bias", "mask", "one-key"]
)
def test_gradients_equal_finite_differences(name, block_size):
    qkv, keywords = make_case(name)
    bias = keywords.pop("bias", np.zeros((1, 1, 1, 1)))
    scale = keywords.pop("scale", 0.4)
    finite = np.isfinite(bias)
    with jax.enable_x64(True):

        def f(q, k, v, bias, scale):
            # -inf stays where it is while the finite entries move
            bias = jnp.where(finite, bias, -jnp.inf)
            return attention(
                q, k, v, bias=bias, scale=scale, block_size=block_size, **keywords
            )

        args = (*qkv, np.where(finite, bias, 0.0), np.float64(scale))
        check_grads(f, tuple(map(jnp.asarray, args)), order=1, modes=["rev"])


@pytest.mark.parametrize("name", ["all", "key-bias", "mask", "more-queries-than-keys"])
def test_blocked_gradients_equal_dense_ones(name):
    qkv, keywords = make_case(name)
    args = [cast(x, "float32") for x in qkv]
    given = {n: cast(x, "float32") for n, x in keywords.items()}
    bias = given.pop("bias", jnp.zeros((1, 1, 1, 1)))

    def loss(q, k, v, bias, *, block_size):
        out = attention(q, k, v, bias=bias, block_size=block_size, **given)
        return jnp.sum(jnp.sin(out))

    dense, blocked = (
        jax.jit(jax.grad(functools.partial(loss, block_size=b), (0, 1, 2, 3)))(
            *args, bias
        )
        for b in (None, 4)
    )
    for a, b in zip(dense, blocked, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("block_size", [None, 2])
def test_empty_rows_have_zero_gradients(block_size):
    q, k, v = (jnp.ones((1, 3, 1, 2)) for _ in range(3))
    mask = np.ones((1, 1, 3, 1), bool)
    mask[0, 0, 1] = False
    bias = jnp.zeros((1, 1, 3, 3)).at[0, 0, 2].set(-jnp.inf)

    def loss(q, k, v, bias):
        out = attention(q, k, v, bias=bias, mask=mask, block_size=block_size)
        return jnp.sum(out**2) + jnp.sum(out)

    value, grads = jax.value_and_grad(loss, (0, 1, 2, 3))(q, k, v, bias)
    assert float(value) == 4.0
    assert all(bool(jnp.all(jnp.isfinite(g))) for g in grads)
    assert bool(jnp.all(grads[0][0, 1:] == 0))
    assert bool(jnp.all(grads[3][0, 0, 1:] == 0))


@pytest.mark.parametrize("block_size", [None, 2])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_large_scores_do_not_overflow(dtype, block_size):
    q = jnp.full((1, 4, 1, 1), 200.0, dtype)
    k = jnp.array([200.0, 100.0, 0.0, -200.0], dtype)[None, :, None, None]
    v = jnp.array([3.0, 5.0, 7.0, 9.0], dtype)[None, :, None, None]
    out = attention(q, k, v, block_size=block_size)
    np.testing.assert_allclose(out, np.full((1, 4, 1, 1), 3.0))


def test_agrees_with_the_attention_of_jax():
    qkv, _ = make_case("causal")
    q, k, v = (cast(x[:, :T], "float32") for x in qkv)
    want = jax.nn.dot_product_attention(q, k, v, is_causal=True)
    got = attention(q, k, v, causal=True, block_size=4)
    np.testing.assert_allclose(got, want, **TOLERANCE["float32"])


def test_vmap_is_a_loop():
    qkv, keywords = make_case("head-bias")
    args = [cast(x, "float32") for x in qkv]
    bias = jnp.stack([cast(keywords["bias"], "float32")] * 2)
    many = [jnp.stack([x, 2 * x]) for x in args]

    def grad(q, k, v, bias):
        f = functools.partial(attention, causal=True, block_size=4)
        return jax.grad(lambda q, b: jnp.sum(f(q, k, v, bias=b) ** 2), (0, 1))(q, bias)

    mapped = jax.vmap(grad)(*many, bias)
    for i in range(2):
        alone = grad(*(x[i] for x in many), bias[i])
        for a, b in zip(mapped, alone, strict=True):
            np.testing.assert_allclose(a[i], b, rtol=1e-5, atol=1e-6)


def shapes_inside(jaxpr: Any) -> set[tuple[int, ...]]:
    """Return the shapes of everything that a jaxpr computes, inner ones included."""
    shapes = set()
    for equation in jaxpr.eqns:
        shapes |= {tuple(getattr(x.aval, "shape", ())) for x in equation.outvars}
        for inner in jax.tree.leaves(
            list(equation.params.values()),
            is_leaf=lambda x: isinstance(x, Jaxpr | ClosedJaxpr),
        ):
            if isinstance(inner, ClosedJaxpr):
                inner = inner.jaxpr
            if isinstance(inner, Jaxpr):
                shapes |= shapes_inside(inner)
    return shapes


def quadratic(shapes: set[tuple[int, ...]], t: int, s: int) -> set[tuple[int, ...]]:
    """Return the shapes with at least t x s entries."""
    return {x for x in shapes if np.prod(x, dtype=float) >= t * s}


@pytest.mark.parametrize("bias_shape", [(2, 2, 1, 96), (1, 2, 1, 96), (1, 1, 80, 1)])
def test_no_array_of_t_times_s_exists_with_blocks(bias_shape):
    t, s, block = 80, 96, 8
    q, k, v = jnp.ones((2, t, 2, 4)), *jnp.ones((2, 2, s, 2, 4))
    bias, present = jnp.zeros(bias_shape), jnp.ones((2, s), bool)
    segments = {
        "query_segments": jnp.zeros((2, t), int),
        "key_segments": jnp.zeros((2, s), int),
    }

    def loss(q, k, v, bias, block_size):
        out = attention(
            q,
            k,
            v,
            bias=bias,
            key_mask=present,
            causal=True,
            block_size=block_size,
            **segments,
        )
        return jnp.sum(out**2)

    grad = jax.grad(loss, (0, 1, 2, 3))
    for function in (loss, grad):
        for block_size in (block, None):
            traced = jax.make_jaxpr(functools.partial(function, block_size=block_size))
            shapes = shapes_inside(traced(q, k, v, bias).jaxpr)
            assert bool(quadratic(shapes, t, s)) == (block_size is None)
            # the check sees into the scans: tiles are there
            assert block_size is None or (2, 2, block, block) in shapes


@pytest.mark.parametrize("block_size", [None, 3])
@given(seed=st.integers(0, 2**16))
@settings(max_examples=15, deadline=None)
def test_properties(block_size, seed):
    rng = np.random.default_rng(seed)
    q, k, v = (jnp.asarray(rng.normal(size=(B, n, H, E)), "float32") for n in (T, S, S))
    bias = jnp.asarray(rng.normal(size=(1, H, T, S)), "float32")
    present = rng.random((B, S)) < 0.7
    run = functools.partial(attention, block_size=block_size)
    out = run(q, k, v, bias=bias, key_mask=present)

    order = rng.permutation(S)
    permuted = run(
        q,
        k[:, order],
        v[:, order],
        bias=bias[..., order],
        key_mask=present[:, order],
    )
    np.testing.assert_allclose(out, permuted, rtol=1e-4, atol=1e-5)

    row_constant = jnp.asarray(rng.normal(size=(1, H, T, 1)), "float32")
    shifted = run(q, k, v, bias=bias + jnp.tile(row_constant, S), key_mask=present)
    np.testing.assert_allclose(out, shifted, rtol=1e-4, atol=1e-5)

    cut_q, cut_k = int(rng.integers(1, T)), int(rng.integers(1, S))
    packed = run(
        q,
        k,
        v,
        query_segments=np.tile(np.arange(T) >= cut_q, (B, 1)).astype(int),
        key_segments=np.tile(np.arange(S) >= cut_k, (B, 1)).astype(int),
    )
    apart = [
        oracle.attention(q[:, :cut_q], k[:, :cut_k], v[:, :cut_k]),
        oracle.attention(q[:, cut_q:], k[:, cut_k:], v[:, cut_k:]),
    ]
    np.testing.assert_allclose(packed, np.concatenate(apart, 1), rtol=1e-4, atol=1e-5)


def test_a_new_scale_or_discount_compiles_nothing():
    from mlmethods_jax.ops import nn

    qkv, _ = make_case("plain")
    args = [cast(x, "float32") for x in qkv]
    x = jnp.ones((3, 2))
    attention(*args, scale=0.5)
    discounted_cumsum(x, 0.5)
    before = nn._attention._cache_size(), nn._discounted_cumsum._cache_size()
    for value in (0.25, np.float32(0.1), np.float64(0.2), 1):
        attention(*args, scale=value)
        discounted_cumsum(x, value)
    after = nn._attention._cache_size(), nn._discounted_cumsum._cache_size()
    assert after == before


@pytest.mark.parametrize("num_heads", [1, 8, 12, 16, 112])
def test_alibi_equals_the_oracle(num_heads, rng):
    np.testing.assert_allclose(
        alibi_slopes(num_heads), oracle.alibi_slopes(num_heads), rtol=1e-5
    )
    mask = rng.random((2, 11)) < 0.7
    for kind in (bool, np.int32):
        bias = alibi_bias(mask.astype(kind), num_heads)
        assert bias.dtype == jnp.float32
        want = oracle.alibi_bias(mask, num_heads)
        np.testing.assert_allclose(bias, want, rtol=1e-5)


def test_left_padding_changes_nothing_under_alibi():
    qkv, _ = make_case("plain")
    q, k, v = (cast(x[:, :T], "float32") for x in qkv)
    present = jnp.ones((B, T), bool)
    out = attention(q, k, v, bias=alibi_bias(present, H), key_mask=present, causal=True)
    pads = [(0, 0), (3, 0), (0, 0), (0, 0)]
    q, k, v = (jnp.pad(x, pads, constant_values=5.0) for x in (q, k, v))
    present = jnp.pad(present, pads[:2])
    padded = attention(
        q,
        k,
        v,
        bias=alibi_bias(present, H),
        key_mask=present,
        causal=True,
        block_size=4,
    )
    np.testing.assert_allclose(padded[:, 3:], out, rtol=1e-5, atol=1e-6)
    assert bool(jnp.all(padded[:, :3] == 0))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(0, 2), (1, 2), (6,), (6, 2), (6, 2, 3)])
def test_discounted_cumsum_equals_the_oracle(shape, dtype, rng):
    x, end = rng.normal(size=shape), rng.normal(size=shape[1:])
    done = rng.random(shape[:2]) < 0.3
    with jax.enable_x64(dtype == "float64"):
        for flags, bootstrap in ((None, None), (done, end), (done.astype(float), None)):
            given = [cast(a, dtype) for a in (x, flags, bootstrap)]
            given[2] = None if bootstrap is None else jnp.asarray(bootstrap, dtype)
            got = discounted_cumsum(given[0], 0.9, given[1], bootstrap=given[2])
            assert got.dtype == dtype
            want = oracle.discounted_cumsum(x, 0.9, flags, bootstrap=bootstrap)
            np.testing.assert_allclose(got, want, **TOLERANCE[dtype])


def test_discounted_cumsum_differentiates_in_all_modes(rng):
    done = rng.random((5, 2)) < 0.3
    with jax.enable_x64(True):
        x, end = jnp.asarray(rng.normal(size=(5, 2))), jnp.asarray(rng.normal(size=2))

        def f(x, discount, end):
            return discounted_cumsum(x, discount, done, bootstrap=end)

        check_grads(f, (x, jnp.float64(0.8), end), order=2)


def test_integers_are_summed_in_the_default_dtype():
    out = discounted_cumsum(jnp.arange(3)[:, None], 0.5)
    assert out.dtype == jnp.result_type(float)
    np.testing.assert_allclose(out[:, 0], [1.0, 2.0, 2.0])


def test_discounted_cumsum_maps(rng):
    x = jnp.asarray(rng.normal(size=(3, 6, 2)), "float32")
    discounts = jnp.array([0.0, 0.5, 1.0])
    mapped = jax.vmap(discounted_cumsum)(x, discounts)
    for one, discount, got in zip(x, (0.0, 0.5, 1.0), mapped, strict=True):
        np.testing.assert_allclose(
            got, oracle.discounted_cumsum(one, discount), rtol=1e-5, atol=1e-6
        )


q0, k0 = jnp.ones((2, 3, 2, 4)), jnp.ones((2, 5, 2, 4))
BAD = [
    ({"q": q0[0]}, "q must be a floating array of four axes"),
    ({"q": q0.astype(int)}, "q must be a floating array"),
    ({"scale": np.ones(2)}, "scale must be a scalar"),
    ({"k": k0[:1]}, "k must have shape"),
    ({"v": k0[:, :4]}, "v must have shape"),
    ({"k": k0[:, :0], "v": k0[:, :0]}, "no empty axis"),
    ({"bias": jnp.ones((2, 2, 3, 4))}, "bias must be a floating array whose axes"),
    ({"bias": jnp.ones((3, 5))}, "bias must be a floating array whose axes"),
    ({"mask": jnp.ones((1, 1, 3, 5))}, "mask must be a boolean array"),
    ({"key_mask": jnp.ones((2, 5), int)}, "key_mask must be a boolean array"),
    ({"key_segments": jnp.ones((2, 5), int)}, "must be given together"),
    (
        {"query_segments": jnp.ones((2, 3)), "key_segments": jnp.ones((2, 5), int)},
        "query_segments must be an integer array",
    ),
    ({"block_size": 0}, "block_size must be None, 'auto' or an integer >= 1"),
    ({"block_size": 2.0}, "block_size must be None, 'auto' or an integer >= 1"),
]


@pytest.mark.parametrize(("given", "message"), BAD)
def test_attention_refuses_what_does_not_fit(given, message):
    with pytest.raises(InvalidInputError, match=message):
        attention(**({"q": q0, "k": k0, "v": k0} | given))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: alibi_slopes(0), "num_heads must be >= 1"),
        (lambda: alibi_bias(jnp.ones((2, 3)), 2), "attention_mask must be"),
        (lambda: discounted_cumsum(jnp.float32(1), 0.9), "x must have a time axis"),
        (lambda: discounted_cumsum(q0, jnp.ones(3)), "discount must be a scalar"),
        (lambda: discounted_cumsum(q0, 0.9, jnp.ones(2)), "done must have shape"),
        (
            lambda: discounted_cumsum(q0, 0.9, bootstrap=jnp.ones(2)),
            "bootstrap must have shape",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InvalidInputError, match=message):
        call()


def test_automatic_tiles_change_no_value_and_spare_the_score_matrix(rng):
    q, k, v = (rng.normal(size=(1, 300, 2, 8)).astype(np.float32) for _ in range(3))
    dense = attention(q, k, v, causal=True)
    tiled = attention(q, k, v, causal=True, block_size="auto")
    np.testing.assert_allclose(tiled, dense, atol=2e-6)
    short = attention(q[:, :9], k[:, :9], v[:, :9], block_size="auto")
    np.testing.assert_array_equal(short, attention(q[:, :9], k[:, :9], v[:, :9]))
    with pytest.raises(InvalidInputError, match="block_size must be None, 'auto'"):
        attention(q, k, v, block_size="some")
