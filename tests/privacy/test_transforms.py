"""Private aggregation as optax transformations."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from mlmethods.errors import InvalidInputError
from mlmethods_jax.privacy import dp_gaussian, dp_vmf

KEY = jax.random.key(0)
PARAMS = {"a": jnp.zeros((3, 2)), "b": {"c": jnp.zeros(4)}}


@pytest.fixture
def gradients(rng):
    return {
        "a": jnp.asarray(rng.normal(size=(5, 3, 2)), jnp.float32),
        "b": {"c": jnp.asarray(3 * rng.normal(size=(5, 4)), jnp.float32)},
    }


def flat(tree):
    leaves = jax.tree.leaves(tree)
    return np.concatenate(
        [np.asarray(x, float).reshape(x.shape[0], -1) for x in leaves], axis=1
    )


def flat_update(tree):
    return np.concatenate([np.asarray(x, float).ravel() for x in jax.tree.leaves(tree)])


def test_without_noise_the_gaussian_is_that_of_optax(gradients):
    ours = dp_gaussian(0.0, 1.5, key=KEY)
    theirs = optax.contrib.differentially_private_aggregate(1.5, 0.0, key=KEY)
    update, _ = ours.update(gradients, ours.init(PARAMS))
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        expected, _ = theirs.update(gradients, theirs.init(PARAMS))
    jax.tree.map(
        lambda a, b: assert_allclose(a, b, rtol=1e-5, atol=1e-6), update, expected
    )


def test_clipping_against_numpy_by_group(gradients):
    transform = dp_gaussian(0.0, (0.5, 2.0), key=KEY, granularity=(("b",), ("a",)))
    update, _ = transform.update(gradients, transform.init(PARAMS))
    for leaf, rows, limit in (
        (update["b"]["c"], gradients["b"]["c"], 0.5),
        (update["a"], gradients["a"], 2.0),
    ):
        rows = np.asarray(rows, float).reshape(5, -1)
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        expected = (rows * np.minimum(1, limit / norms)).mean(axis=0)
        assert_allclose(np.ravel(leaf), expected, rtol=1e-5)


def test_the_noise_of_the_gaussian_has_its_deviation():
    transform = dp_gaussian(2.0, 3.0, key=KEY, expected_batch_size=4)
    params = jnp.zeros(40_000)
    update, _ = transform.update(jnp.zeros((2, 40_000)), transform.init(params))
    # the deviation of an estimated deviation is 1 / sqrt(2 n) of it
    assert abs(float(jnp.std(update)) / 1.5 - 1) < 4 / np.sqrt(2 * 40_000)


@pytest.mark.parametrize("granularity", ["model", "layer"])
def test_at_high_concentration_directions_are_averaged(gradients, granularity):
    transform = dp_vmf(1e8, 2.0, key=KEY, granularity=granularity)
    update, _ = transform.update(gradients, transform.init(PARAMS))
    groups = [flat(gradients)]
    if granularity == "layer":
        groups = [flat(gradients["a"]), flat(gradients["b"])]
    unit = [g / np.linalg.norm(g, axis=1, keepdims=True) for g in groups]
    norm = 2.0 / np.sqrt(len(groups))
    expected = norm * np.concatenate(unit, axis=1).mean(axis=0)
    assert_allclose(flat_update(update), expected, atol=2e-3)


def test_the_state_passes_through_chain_jit_and_scan(gradients):
    optimizer = optax.chain(dp_vmf(50.0, key=KEY), optax.adam(0.1))
    state = jax.jit(optimizer.init)(PARAMS)

    def step(state, _):
        with jax.numpy_dtype_promotion("standard"):
            update, new = optimizer.update(gradients, state, PARAMS)
        return new, update

    last, updates = jax.lax.scan(step, state, length=3)
    assert int(last[0].step) == 3
    single, _ = step(state, None)
    assert jax.tree.structure(single) == jax.tree.structure(state)
    first = np.asarray(updates["b"]["c"])
    assert first.shape == (3, 4)
    # every step draws anew
    assert np.abs(np.diff(first, axis=0)).min(axis=1).max() > 0


def test_the_same_key_and_step_draw_the_same(gradients):
    transform = dp_vmf(5.0, key=KEY)
    start = transform.init(PARAMS)
    one, state = transform.update(gradients, start)
    again, _ = transform.update(gradients, start)
    after, _ = transform.update(gradients, state)
    assert_array_equal(flat_update(one), flat_update(again))
    assert np.abs(flat_update(one) - flat_update(after)).max() > 1e-3


@pytest.mark.parametrize(
    "make", [lambda **k: dp_vmf(5.0, **k), lambda **k: dp_gaussian(1.0, **k)]
)
def test_frozen_and_integer_leaves_pass(rng, make):
    params = {"w": jnp.zeros(4, jnp.bfloat16), "frozen": None, "n": jnp.int32(3)}
    gradients = {
        "w": jnp.asarray(rng.normal(size=(2, 4)), jnp.bfloat16),
        "frozen": None,
        "n": jnp.zeros(2, jnp.int32),
    }
    transform = make(key=KEY)
    update, _ = transform.update(gradients, transform.init(params), params)
    assert update["frozen"] is None
    assert update["n"].dtype == jnp.int32
    assert int(update["n"]) == 0
    assert update["w"].dtype == jnp.bfloat16
    assert bool(jnp.isfinite(update["w"]).all())


@pytest.mark.parametrize(
    ("gradients", "words"),
    [
        ({"a": jnp.zeros((2, 3)), "s": jnp.float32(1)}, r"'s' of shape \(\)"),
        ({"a": jnp.zeros((2, 3)), "b": jnp.zeros((3, 2))}, r"'b' of shape \(3, 2\)"),
    ],
)
def test_leaves_without_a_batch_axis(gradients, words):
    transform = dp_vmf(5.0, key=KEY)
    state = transform.init({"a": jnp.zeros(3), "s": jnp.zeros(2)})
    with pytest.raises(InvalidInputError, match=words):
        transform.update(gradients, state)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: dp_vmf(-1.0, key=KEY), "scale must be finite and >= 0, got -1.0"),
        (lambda: dp_vmf(np.inf, key=KEY), "scale must be finite"),
        (lambda: dp_vmf(1.0, 0.0, key=KEY), "norm must be finite and > 0"),
        (lambda: dp_vmf(1.0, key=KEY, aggregation="x"), "aggregation must be"),
        (lambda: dp_vmf(1.0, key=KEY, expected_batch_size=0), "expected_batch_size"),
        (lambda: dp_gaussian(-0.5, key=KEY), "scale must be finite and >= 0"),
        (lambda: dp_gaussian((1.0, 2.0), key=KEY), "one number for the Gaussian"),
        (
            lambda: dp_vmf((1.0, 2.0), key=KEY).init(PARAMS),
            "scale must have one number for each of 1 groups, got 2",
        ),
        (
            lambda: dp_vmf(1.0, key=KEY, granularity="layer").init({"b": jnp.zeros(1)}),
            "at least 2 parameters",
        ),
        (
            lambda: dp_vmf(1.0, key=KEY, granularity=(("a",),)).init(PARAMS),
            "'b.c' into exactly one group, got none",
        ),
        (
            lambda: dp_vmf(1.0, key=KEY, granularity=(("a", "b"), ("b.c",))).init(
                PARAMS
            ),
            r"'b.c' into exactly one group, got groups \[0, 1\]",
        ),
        (
            lambda: dp_vmf(1.0, key=KEY, granularity=(("a", "b"), ("d",))).init(PARAMS),
            "must name parameters that exist",
        ),
        (
            lambda: dp_vmf(1.0, key=KEY, granularity="row").init(PARAMS),
            "granularity must be 'model', 'layer'",
        ),
        (lambda: dp_vmf(1.0, key=KEY).init({"n": jnp.int32(1)}), "a floating array"),
    ],
)
def test_bad_input(make, words):
    with pytest.raises(InvalidInputError, match=words):
        make()
