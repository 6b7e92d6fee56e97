"""Networks of nnx, linen and plain functions as models, and their layers."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

from mlmethods.errors import InvalidInputError
from mlmethods_jax.adapters import (
    from_callable,
    from_linen,
    from_nnx,
    intermediate,
    layer_kernel,
    layer_names,
)

X = jnp.asarray(np.random.default_rng(0).normal(size=(6, 8, 8, 2)), "float32")
KEY = jax.random.key(0)


class NnxNet(nnx.Module):
    """Convolution, attention, a list of layers, batch statistics and dropout."""

    def __init__(self, rngs: nnx.Rngs):
        self.head = nnx.Linear(4, 3, rngs=rngs)
        self.conv = nnx.Conv(2, 4, (3, 3), strides=2, rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.more = nnx.List([nnx.Linear(4, 4, rngs=rngs)])
        self.attention = nnx.MultiHeadAttention(2, 4, rngs=rngs, decode=False)

    def __call__(self, x):
        x = self.norm(self.conv(x)).reshape(len(x), -1, 4)
        x = self.attention(self.dropout(self.more[0](x)))
        return self.head(jnp.mean(x, axis=1))


class LinenNet(linen.Module):
    """The same network in linen."""

    @linen.compact
    def __call__(self, x, train=False):
        x = linen.Conv(4, (3, 3), strides=2, name="conv")(x)
        x = linen.BatchNorm(use_running_average=not train, name="norm")(x)
        x = linen.Dense(4, name="more")(x.reshape(len(x), -1, 4))
        x = linen.Dropout(0.5, deterministic=not train)(x)
        x = linen.MultiHeadDotProductAttention(2, name="attention")(x)
        return linen.Dense(3, name="head")(jnp.mean(x, axis=1))


@functools.cache
def network(kind: str):
    """Return the model and its parameters."""
    if kind == "nnx":
        model = from_nnx(NnxNet)
        return model, model.init(KEY, X)
    variables = LinenNet().init(KEY, X)
    return from_linen(LinenNet(), variables), variables["params"]


def direct(kind: str, params):
    """Return the outputs in evaluation mode as flax itself computes them."""
    if kind == "linen":
        return LinenNet().apply({"params": params, **network(kind)[0].state}, X)
    module = NnxNet(nnx.Rngs(KEY))
    nnx.update(module, params)
    module.eval()
    return module(X)


KINDS = pytest.mark.parametrize("kind", ["nnx", "linen"])
ATTENTION = ["attention.query", "attention.key", "attention.value", "attention.out"]
LAYERS = {
    "nnx": ["conv", "more.0", *ATTENTION, "head"],
    "linen": ["conv", "more", *ATTENTION, "head"],
}


@KINDS
def test_apply_is_the_network_in_evaluation_mode(kind):
    model, params = network(kind)
    np.testing.assert_allclose(
        jax.jit(model.apply)(params, X), direct(kind, params), rtol=1e-5, atol=1e-6
    )
    # evaluation uses the stored statistics: a row does not depend on the others
    np.testing.assert_allclose(
        model.apply(params, X[:1]), model.apply(params, X)[:1], rtol=1e-5, atol=1e-6
    )


@KINDS
def test_parameters_are_the_trainable_arrays_alone(kind):
    model, params = network(kind)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(params))
    # conv 76, norm 8, more 20, attention 4 x 20, head 15
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 199
    assert sum(leaf.size for leaf in jax.tree.leaves(model.state)) == 8
    grads = jax.grad(lambda p: jnp.sum(model.apply(p, X) ** 2))(params)
    assert jax.tree.structure(grads) == jax.tree.structure(params)


@KINDS
def test_training_mode_draws_from_the_key_and_moves_the_statistics(kind):
    model, params = network(kind)

    @jax.jit
    def train(key):
        return model.apply_with_state(params, model.state, X, key=key, train=True)

    (a, state), (b, _), (c, _) = train(KEY), train(KEY), train(jax.random.key(1))
    np.testing.assert_array_equal(a, b)
    assert float(jnp.max(jnp.abs(a - c))) > 1e-3
    moved = [
        float(jnp.max(jnp.abs(new - old)))
        for new, old in zip(
            jax.tree.leaves(state), jax.tree.leaves(model.state), strict=True
        )
    ]
    assert min(moved) > 1e-4
    with pytest.raises(InvalidInputError, match="key must be given"):
        model.apply(params, X, train=True)


@KINDS
def test_models_map_over_parameters(kind):
    model, params = network(kind)
    two = jax.tree.map(lambda p: jnp.stack([p, 0.5 * p]), params)
    mapped = jax.vmap(model.apply, (0, None))(two, X)
    half = model.apply(jax.tree.map(lambda p: 0.5 * p, params), X)
    np.testing.assert_allclose(mapped[1], half, rtol=1e-5, atol=1e-6)


def test_a_built_module_stays_as_it_was():
    module = NnxNet(nnx.Rngs(3))
    before = jax.tree.leaves(nnx.to_pure_dict(nnx.state(module, nnx.BatchStat)))
    model = from_nnx(module)
    params = model.init(jax.random.key(9), X)
    assert not module.dropout.deterministic
    np.testing.assert_array_equal(params["head"]["kernel"], module.head.kernel[...])
    model.apply(params, X, key=KEY, train=True)
    after = jax.tree.leaves(nnx.to_pure_dict(nnx.state(module, nnx.BatchStat)))
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)


def test_init_follows_the_key():
    model = from_nnx(functools.partial(nnx.Linear, 2, 3))
    a, b, c = (model.init(jax.random.key(i), X)["kernel"] for i in (0, 0, 1))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


def test_plain_functions_receive_what_they_name():
    def init(key, sample):
        return jax.random.normal(key, sample.shape[-1:], sample.dtype)

    seen = {}

    def apply(params, x, *, train):
        seen["train"] = train
        return x @ params

    model = from_callable(init, apply)
    params = model.init(KEY, X)
    np.testing.assert_allclose(
        model.apply(params, X, key=KEY, train=True), X @ params, rtol=1e-6
    )
    assert seen == {"train": True}
    plain = from_callable(init, lambda params, x: x @ params)
    np.testing.assert_allclose(plain.apply(params, X), X @ params, rtol=1e-6)


@KINDS
def test_layer_names_come_in_call_order(kind):
    assert layer_names(network(kind)[0], X) == LAYERS[kind]


@pytest.mark.parametrize(
    ("kind", "layer"),
    [(kind, name) for kind, names in LAYERS.items() for name in names],
)
def test_a_network_is_its_two_parts(kind, layer):
    model, params = network(kind)
    view = intermediate(model, params, layer)
    h = view.input(X)
    np.testing.assert_allclose(
        view.output(h, X), model.apply(params, X), rtol=1e-5, atol=1e-6
    )
    other = view.output(2.0 * h + 1.0, X)
    assert float(jnp.max(jnp.abs(other - model.apply(params, X)))) > 1e-4


@KINDS
def test_inputs_and_jacobians_of_a_dense_layer(kind):
    model, params = network(kind)
    view = intermediate(model, params, "head")
    kernel = layer_kernel(model, params, "head")
    h = view.input(X)
    assert h.shape == (6, 4)
    np.testing.assert_allclose(
        h @ kernel + params["head"]["bias"][None],
        model.apply(params, X),
        rtol=1e-5,
        atol=1e-6,
    )

    @jax.jit
    @jax.vmap
    def jacobian(x):
        h = view.input(x[None])[0]
        return jax.jacrev(lambda h: view.output(h[None], x[None])[0])(h)

    # the head is the last layer: the Jacobian of its output is its weight
    np.testing.assert_allclose(
        jacobian(X), np.tile(kernel.T, (6, 1, 1)), rtol=1e-5, atol=1e-6
    )


@KINDS
def test_kernels_are_matrices_of_patch_or_axes(kind):
    model, params = network(kind)
    patches = jax.lax.conv_general_dilated_patches(
        X, (3, 3), (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    # jax orders patches by (channel, height, width)
    patches = patches.reshape(*patches.shape[:3], 2, 9)
    patches = jnp.swapaxes(patches, -1, -2).reshape(*patches.shape[:3], 18)
    kernel = layer_kernel(model, params, "conv", sample=X)
    conv = jax.lax.conv_general_dilated(
        X,
        params["conv"]["kernel"],
        (2, 2),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    np.testing.assert_allclose(patches @ kernel, conv, rtol=1e-4, atol=1e-5)
    for name in ("query", "out"):
        layer = f"attention.{name}"
        assert layer_kernel(model, params, layer, sample=X).shape == (4, 4)


class Twice(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.layer = nnx.Linear(2, 2, rngs=rngs)
        self.alias = self.layer
        self.grouped = nnx.Conv(2, 2, (1,), feature_group_count=2, rngs=rngs)

    def __call__(self, x):
        return self.alias(self.layer(x))


def test_what_has_no_single_input_or_matrix_is_refused():
    model = from_nnx(Twice)
    params = model.init(KEY, X)
    name = layer_names(model, X)
    assert len(name) == 1
    with pytest.raises(InvalidInputError, match="called 2 times"):
        intermediate(model, params, name[0]).input(X)
    with pytest.raises(InvalidInputError, match="several groups"):
        layer_kernel(model, params, "grouped")


def _linen():
    return network("linen")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: from_nnx(3), "module must be an nnx.Module or build one"),
        (lambda: from_linen(3), "module must be a linen.Module"),
        (lambda: from_linen(LinenNet(), {}), "variables must have the collection"),
        (lambda: from_linen(LinenNet()).init(KEY, X), "variables must be given"),
        (lambda: from_callable(None, len), "init must be callable"),
        (
            lambda: intermediate(from_callable(len, len), {}, "a"),
            "model must come from from_nnx or from_linen",
        ),
        (
            lambda: intermediate(*_linen(), "none").input(X),
            "got 'none', called 0 times; the layers are 'conv', 'more'",
        ),
        (lambda: layer_kernel(*_linen(), "none"), "layer must name a dense or"),
        (lambda: layer_kernel(*_linen(), "conv"), "sample must be given for layer"),
        (lambda: layer_kernel(*network("nnx"), "norm"), "layer must name a dense or"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InvalidInputError, match=message):
        call()
