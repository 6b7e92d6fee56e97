"""The probe for layers that mix the examples of a batch."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

from mlmethods.errors import CrossExampleLayerError, InvalidInputError
from mlmethods_jax.adapters import from_callable, from_nnx
from mlmethods_jax.layers.conv import LeNet
from mlmethods_jax.layers.mlp import MLP
from mlmethods_jax.privacy.isolation import check_no_cross_example

KEY = jax.random.key(0)
ROWS = np.zeros((4, 6), "float32")


class Centered(nnx.Module):
    """Subtract the mean of the batch, which differentiation may not see."""

    def __init__(self, hidden_from_derivative=False):
        self.hidden = hidden_from_derivative

    def __call__(self, x):
        mean = jnp.mean(x, 0, keepdims=True)
        return x - (jax.lax.stop_gradient(mean) if self.hidden else mean)


class Net(nnx.Module):
    """A dense layer, a layer to examine, a second dense layer."""

    def __init__(self, middle, rngs):
        self.first = nnx.Linear(6, 8, rngs=rngs)
        self.middle = middle(rngs)
        self.last = nnx.Linear(8, 3, rngs=rngs)

    def __call__(self, x):
        return self.last(nnx.relu(self.middle(self.first(x))))


class Inline(Net):
    """The mean is taken outside of every layer."""

    def __call__(self, x):
        h = self.first(x)
        return self.last(h - jnp.mean(h, 0, keepdims=True))


class Nested(nnx.Module):
    def __init__(self, middle, rngs):
        self.blocks = nnx.List([Net(middle, rngs)])

    def __call__(self, x):
        return self.blocks[0](x)


MIXING = {
    "batch": lambda rngs: nnx.BatchNorm(8, rngs=rngs),
    "centered": lambda rngs: Centered(),
    "stopped": lambda rngs: Centered(True),
}
ISOLATED = {
    "layer": lambda rngs: nnx.LayerNorm(8, rngs=rngs),
    "group": lambda rngs: nnx.GroupNorm(8, num_groups=2, rngs=rngs),
    "dropout": lambda rngs: nnx.Dropout(0.5, rngs=rngs),
}


def check_nnx(make, x=ROWS):
    model = from_nnx(make)
    check_no_cross_example(model, model.init(KEY, x), x, key=KEY)


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "name", ["batch", "stopped", pytest.param("centered", marks=SLOW)]
)
def test_a_mixing_layer_is_named(name):
    kind = "BatchNorm" if name == "batch" else "Centered"
    with pytest.raises(CrossExampleLayerError, match=rf"layer 'middle' \({kind}\)"):
        check_nnx(functools.partial(_net, Net, MIXING[name]))


def _net(kind, middle, rngs):
    return kind(middle, rngs)


def test_the_path_of_a_nested_layer():
    with pytest.raises(CrossExampleLayerError, match=r"layer 'blocks\.0\.middle'"):
        check_nnx(functools.partial(_net, Nested, MIXING["batch"]))


def test_mixing_outside_of_layers_is_laid_to_what_holds_it():
    # the next layer is the first one that sees mixed values
    with pytest.raises(CrossExampleLayerError, match="layer 'last'"):
        check_nnx(functools.partial(_net, Inline, ISOLATED["layer"]))


@pytest.mark.parametrize(
    "name", ["layer", "dropout", pytest.param("group", marks=SLOW)]
)
def test_layers_of_one_example_pass(name):
    check_nnx(functools.partial(_net, Net, ISOLATED[name]))


@pytest.mark.parametrize("shape", [(28, 28, 1), pytest.param((32, 32, 3), marks=SLOW)])
def test_convolutions_pass(shape):
    check_nnx(functools.partial(LeNet, shape), np.zeros((1, *shape), "float32"))


def test_built_modules_and_perceptrons_pass():
    module = MLP(6, (5,), 2, rngs=nnx.Rngs(0))
    model = from_nnx(module)
    check_no_cross_example(module, model.init(KEY, ROWS), ROWS, key=KEY)


class LinenNet(linen.Module):
    norm: str

    @linen.compact
    def __call__(self, x, train: bool = False):
        x = linen.Dense(8)(x)
        if self.norm == "batch":
            x = linen.BatchNorm(use_running_average=not train)(x)
        elif self.norm == "layer":
            x = linen.LayerNorm()(x)
        else:
            x = linen.Dropout(0.5, deterministic=not train)(x)
        return linen.Dense(3)(x)


@pytest.mark.parametrize(
    "norm", ["batch", *(pytest.param(n, marks=SLOW) for n in ("layer", "dropout"))]
)
def test_linen(norm):
    module = LinenNet(norm)
    params = module.init(KEY, ROWS)["params"]
    if norm == "batch":
        with pytest.raises(
            CrossExampleLayerError, match=r"layer 'BatchNorm_0' \(BatchNorm\)"
        ):
            check_no_cross_example(module, params, ROWS, key=KEY)
    else:
        check_no_cross_example(module, params, ROWS, key=KEY)


@pytest.mark.parametrize("mixes", [True, False])
def test_plain_functions(mixes):
    def init(key, sample):
        return jax.random.normal(key, (sample.shape[1], 2), "float32")

    def apply(params, x):
        outputs = x @ params
        return jax.nn.softmax(outputs, axis=0 if mixes else 1)

    model = from_callable(init, apply)
    params = model.init(KEY, ROWS)
    if mixes:
        with pytest.raises(CrossExampleLayerError, match=r"^the model computes"):
            check_no_cross_example(model, params, ROWS, key=KEY)
    else:
        check_no_cross_example(model, params, ROWS, key=KEY)


@pytest.mark.parametrize("mixes", [True, False])
def test_tokens(mixes):
    def init(key, sample):
        return jax.random.normal(key, (10, 4))

    def apply(params, tokens):
        h = params[tokens]
        return h - jnp.mean(h, 0 if mixes else 1, keepdims=True)

    model = from_callable(init, apply)
    tokens = np.arange(10, dtype="int32").reshape(2, 5)
    if mixes:
        with pytest.raises(CrossExampleLayerError, match="the model"):
            check_no_cross_example(model, model.init(KEY, tokens), tokens, key=KEY)
    else:
        check_no_cross_example(model, model.init(KEY, tokens), tokens, key=KEY)


def test_not_a_number_is_not_a_dependence():
    model = from_callable(lambda key, x: (), lambda params, x: jnp.log(x - 100.0))
    check_no_cross_example(model, (), ROWS, key=KEY)


def test_bad_input():
    model = from_callable(lambda key, x: (), lambda params, x: x)
    for sample in (np.float32(1), np.zeros((0, 3), "float32")):
        with pytest.raises(InvalidInputError, match="sample must have shape"):
            check_no_cross_example(model, (), sample, key=KEY)
    with pytest.raises(InvalidInputError, match="model must be a flax module"):
        check_no_cross_example(3, (), ROWS, key=KEY)
