import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.signal import correlate2d

from mlmethods.errors import InvalidInputError
from mlmethods_jax.adapters import from_nnx
from mlmethods_jax.layers.conv import LeNet, PatchConv


def lenet(shape, n_classes=10, **given):
    return from_nnx(functools.partial(LeNet, shape, n_classes, **given))


def reference(params, image):
    """Return the outputs for one image in NumPy and SciPy, float64."""

    def convolve(x, layer, mode):
        kernel, bias = (np.asarray(layer[k], float) for k in ("kernel", "bias"))
        maps = [
            sum(
                correlate2d(x[:, :, i], kernel[:, :, i, o], mode)
                for i in range(x.shape[2])
            )
            for o in range(kernel.shape[3])
        ]
        return np.stack(maps, -1) + bias

    def pool(x):
        h, w = (size // 2 * 2 for size in x.shape[:2])
        x = x[:h, :w]
        return (x[::2, ::2] + x[1::2, ::2] + x[::2, 1::2] + x[1::2, 1::2]) / 4

    x = pool(np.maximum(convolve(np.asarray(image, float), params["conv1"], "same"), 0))
    x = pool(np.maximum(convolve(x, params["conv2"], "valid"), 0)).ravel()
    for name in ("dense1", "dense2", "readout"):
        layer = {k: np.asarray(v, float) for k, v in params[name].items()}
        x = x @ layer["kernel"] + layer["bias"]
        x = x if name == "readout" else np.maximum(x, 0)
    return x


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "shape",
    [(13, 15, 2), *(pytest.param(s, marks=SLOW) for s in ((28, 28, 1), (32, 32, 3)))],
)
def test_lenet_is_its_formula(shape, rng):
    model = lenet(shape, 7)
    images = rng.normal(size=(2, *shape)).astype("float32")
    params = model.init(jax.random.key(0), images)
    outputs = jax.jit(model.apply)(params, images)
    expected = [reference(params, image) for image in images]
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "count"), [((28, 28, 1), 61_706), ((32, 32, 3), 83_126)]
)
def test_number_of_parameters(shape, count):
    params = lenet(shape).init(jax.random.key(0), jnp.zeros((1, *shape)))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == count


@pytest.mark.parametrize(
    "shape", [(28, 28), (11, 28, 1), (28, 11, 1), (28, 28, 0), (28,)]
)
def test_bad_shapes(shape):
    with pytest.raises(InvalidInputError, match="shape must be height and width"):
        lenet(shape)


def test_bad_calls():
    with pytest.raises(InvalidInputError, match="n_classes must be at least 1"):
        lenet((28, 28, 1), 0)
    model = lenet((28, 28, 1))
    params = model.init(jax.random.key(0), jnp.zeros((1, 28, 28, 1)))
    with pytest.raises(InvalidInputError, match="images must have shape"):
        model.apply(params, jnp.zeros((1, 28, 28)))


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("window", [(3, 3), (5, 3), (1, 1)])
def test_patches_are_the_convolution_and_its_gradients(padding, window):
    layer = PatchConv(2, 3, window, padding=padding, rngs=nnx.Rngs(1))
    graph, state = nnx.split(layer)
    plain = nnx.Conv(2, 3, window, padding=padding, rngs=nnx.Rngs(2))
    plain_graph = nnx.split(plain)[0]
    x = jax.random.normal(jax.random.key(0), (4, 9, 7, 2))

    def value(graph, state, x):
        return jnp.sum(jnp.sin(nnx.merge(graph, state)(x)))

    ours = jax.value_and_grad(value, (1, 2))(graph, state, x)
    with jax.numpy_dtype_promotion("standard"):
        theirs = jax.value_and_grad(value, (1, 2))(plain_graph, state, x)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(
    ("window", "padding", "message"),
    [((3, 3), "CIRCULAR", "padding must be"), ((2, 3), "SAME", "must be odd")],
)
def test_patches_refuse_what_they_are_not(window, padding, message):
    with pytest.raises(InvalidInputError, match=message):
        PatchConv(1, 1, window, padding=padding, rngs=nnx.Rngs(0))
