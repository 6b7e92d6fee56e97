import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.test_util import check_grads

from mlmethods.errors import InvalidInputError
from mlmethods.kernels import NNGPKernel, NTKKernel
from mlmethods_jax.adapters import from_nnx
from mlmethods_jax.layers.mlp import MLP

SCALES = {"b_std": 0.3, "readout_w_std": 1.5, "readout_b_std": 0.2}


def network(parameterization, hidden=(7, 6), **given):
    make = functools.partial(
        MLP, 5, hidden, 2, parameterization=parameterization, **given
    )
    return from_nnx(make)


def dense(params, x, parameterization, w_stds, b_stds):
    """Return the outputs in NumPy, float64."""
    h = np.asarray(x, float)
    for i, (w, b) in enumerate(zip(w_stds, b_stds, strict=True)):
        layer = {k: np.asarray(v, float) for k, v in params["layers"][i].items()}
        if parameterization == "ntk":
            h = w / math.sqrt(h.shape[1]) * h @ layer["kernel"]
            h = h + b * layer.get("offset", np.zeros(1))
        else:
            h = h @ layer["kernel"] + layer["bias"]
        h = np.maximum(h, 0) if i + 1 < len(w_stds) else h
    return h


@pytest.mark.parametrize("parameterization", ["standard", "ntk"])
@pytest.mark.parametrize("scales", [{}, SCALES])
def test_outputs_are_those_of_numpy(parameterization, scales, rng):
    model = network(parameterization, **scales)
    x = rng.normal(size=(4, 5)).astype("float32")
    params = model.init(jax.random.key(0), x)
    b, last = scales.get("b_std", 0.0), scales.get("readout_b_std", 0.0)
    w_last = scales.get("readout_w_std", 1.0)
    expected = dense(
        params, x, parameterization, [2**0.5, 2**0.5, w_last], [b, b, last]
    )
    for apply in (model.apply, jax.jit(model.apply)):
        np.testing.assert_allclose(apply(params, x), expected, rtol=1e-4, atol=1e-5)
    stacked = jax.vmap(model.apply, (None, 0))(params, x[:, None])
    np.testing.assert_allclose(stacked[:, 0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_gradients_agree_with_finite_differences(rng):
    with jax.enable_x64(True):
        model = network("ntk", param_dtype="float64", activation=jnp.tanh, **SCALES)
        x = jnp.asarray(rng.normal(size=(3, 5)))
        params = model.init(jax.random.key(1), x)
        loss = lambda p: jnp.sum(jnp.sin(model.apply(p, x)))  # noqa: E731
        check_grads(loss, (params,), order=1, modes=["rev"])


def test_parameters_of_both_parameterizations():
    shapes = [(5, 64), (64, 64), (64, 2)]
    for name, std in (("standard", lambda m: math.sqrt(2 / m)), ("ntk", lambda m: 1)):
        model = network(name, hidden=(64, 64))
        params = model.init(jax.random.key(0), None)["layers"]
        for i, shape in enumerate(shapes):
            kernel = np.asarray(params[i]["kernel"])
            assert kernel.shape == shape
            gain = 1.0 if name == "ntk" or i < 2 else math.sqrt(0.5)
            expected = gain * std(shape[0])
            assert kernel.std() == pytest.approx(
                expected, rel=4 / math.sqrt(kernel.size)
            )
            # without their standard deviation, biases start at 0, or are not there
            assert ("bias" in params[i]) == (name == "standard")
            assert not np.any(params[i].get("bias", 0))


def empirical_kernels(model, params, x):
    """Return NTK and NNGP estimates: of gradients, and of outputs."""
    jacobian = jax.jacrev(model.apply)(params, x)
    parts = [leaf.reshape(len(x), 2, -1) for leaf in jax.tree.leaves(jacobian)]
    flat = jnp.concatenate(parts, axis=2)
    ntk = jnp.einsum("icp,jcp->ij", flat, flat) / 2
    return np.asarray(ntk)


@pytest.mark.parametrize("scales", [pytest.param({}, marks=pytest.mark.slow), SCALES])
def test_gradients_at_the_start_tend_to_the_neural_tangent_kernel(scales, rng):
    x = rng.normal(size=(4, 5)).astype("float32")
    expected = NTKKernel(depth=2, **scales)(x.astype("float64"), backend="numpy")
    errors = []
    for width in (64, 1024):
        model = network("ntk", hidden=(width, width), **scales)
        params = model.init(jax.random.key(3), x)
        found = empirical_kernels(model, params, jnp.asarray(x))
        errors.append(np.abs(found - expected).max() / expected.max())
    assert errors[1] < 0.15
    assert errors[1] < errors[0]


@pytest.mark.parametrize("parameterization", ["standard", "ntk"])
def test_outputs_at_the_start_have_the_covariance_of_the_nngp_kernel(
    parameterization, rng
):
    x = rng.normal(size=(3, 5)).astype("float32")
    model = network(parameterization, hidden=(128,), **SCALES)
    keys = jax.random.split(jax.random.key(0), 2000)
    draw = jax.jit(jax.vmap(lambda key: model.apply(model.init(key, None), x)))
    outputs = np.asarray(draw(keys)).transpose(0, 2, 1).reshape(-1, 3)
    expected = NNGPKernel(depth=1, **SCALES)(x.astype("float64"), backend="numpy")
    # 4000 draws: a relative standard error of a variance of 0.022
    np.testing.assert_allclose(np.cov(outputs.T), expected, atol=0.1 * expected.max())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"hidden": (0,)}, "at least 1"),
        ({"parameterization": "mup"}, "parameterization must be one of"),
        ({"b_std": -1.0}, "b_std must be"),
        ({"w_std": float("nan")}, "w_std must be"),
    ],
)
def test_bad_input(given, message):
    settings = {"hidden": (3,)} | given
    with pytest.raises(InvalidInputError, match=message):
        MLP(2, out_features=1, rngs=nnx.Rngs(0), **settings)


def test_without_hidden_layers_it_is_linear():
    model = MLP(3, (), 2, rngs=nnx.Rngs(0))
    x = jnp.eye(3, dtype=jnp.float32)
    np.testing.assert_allclose(model(2 * x), 2 * model(x), rtol=1e-5)
