"""Inputs from gradients: exact cases, laws of the searches, and metrics."""

from __future__ import annotations

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from mlmethods.datasets import load_images
from mlmethods.errors import (
    DivergenceError,
    InvalidInputError,
    OperationNotSupportedError,
)
from mlmethods.privacy import (
    GaussianMechanism,
    NoPrivacy,
    VonMisesFisherMechanism,
)
from mlmethods.privacy.attacks import (
    dlg,
    first_layer_exact,
    idlg,
    invert_gradients,
    reconstruction_metrics,
)
from mlmethods_jax.adapters import from_callable
from mlmethods_jax.privacy import _inversion_search as searching
from mlmethods_jax.privacy.inversion import (
    OutputLoss,
    infer_labels,
    invert_gradient,
    soft_cross_entropy,
)
from mlmethods_jax.testing import compile_guard

# A network small enough to compile quickly, wide enough to determine its input.
SHAPE, CLASSES = (5,), 3


def network(params, x):
    h = jnp.tanh(x @ params["w"] + params["c"][None])
    return h @ params["v"] + params["b"][None]


LOSS = OutputLoss(network)


@functools.cache
def parameters():
    keys = jax.random.split(jax.random.key(0), 4)
    return {
        "w": jax.random.normal(keys[0], (5, 12)) / 2,
        "c": jax.random.normal(keys[1], (12,)) / 2,
        "v": jax.random.normal(keys[2], (12, CLASSES)) / 3,
        "b": jax.random.normal(keys[3], (CLASSES,)) / 3,
    }


def gradient_of(x, y):
    """Return the average gradient of a batch."""
    grads = jax.grad(lambda p: jnp.mean(LOSS(p, jnp.asarray(x), jnp.asarray(y))))
    return jax.tree.map(np.asarray, grads(parameters()))


X = np.array([[0.1, 0.9, 0.4, 0.7, 0.2], [0.8, 0.3, 0.6, 0.1, 0.5]], np.float32)
Y = np.array([2, 0], np.int32)
KEY = jax.random.key(1)


def search(gradient, **options):
    given = {"shape": (1, *SHAPE), "num_classes": CLASSES, "bounds": (0.0, 1.0)}
    return invert_gradient(KEY, LOSS, parameters(), gradient, **{**given, **options})


# The closed form of the first layer.


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(0, 10_000),
    st.sampled_from([1e-20, 1.0, 1e15]),
)
def test_the_first_layer_gives_its_input(d, out, seed, scale) -> None:
    rng = np.random.default_rng(seed)
    x, db = rng.normal(size=d), rng.normal(size=out) * scale
    db[0] = scale
    for layout, dW in (("in_out", np.outer(x, db)), ("out_in", np.outer(db, x))):
        exact = first_layer_exact(dW, db, layout=layout)
        assert_allclose(exact, x, rtol=1e-9, atol=1e-12)
        if d != out:
            assert_allclose(first_layer_exact(dW, db), exact)
        one = first_layer_exact(dW, db, layout=layout, neurons=1)
        assert_allclose(one, x, rtol=1e-9, atol=1e-12)


def test_a_square_layer_is_read_the_way_its_neurons_agree(rng) -> None:
    x, db = rng.normal(size=6), rng.normal(size=6)
    for dW in (np.outer(x, db), np.outer(db, x)):
        assert_allclose(first_layer_exact(dW, db), x, rtol=1e-9)


def test_the_first_layer_of_a_network_in_float32_is_exact_to_1e_5() -> None:
    for i in range(2):
        found = gradient_of(X[i : i + 1], Y[i : i + 1])
        # the layer's inputs, in a network of a library that has (in, out) kernels
        assert_allclose(first_layer_exact(found["w"], found["c"]), X[i], atol=1e-5)


def test_a_batch_is_a_mixture_unless_a_neuron_is_alone(rng) -> None:
    x = rng.random((2, 7))
    moved = np.array([[1.0, 0.5, 0.0], [0.0, 0.5, 0.2]])  # neuron 0 sees example 0 only
    dW, db = x.T @ moved, moved.sum(axis=0)
    assert_allclose(first_layer_exact(dW, db, neurons=1), x[0])
    mixed = first_layer_exact(dW, db)
    weights = np.linalg.lstsq(x.T, mixed, rcond=None)[0]
    assert_allclose(weights @ x, mixed)
    assert 0.1 < weights[1] < weights[0]


def test_many_neurons_average_noise_away(rng) -> None:
    x, db = rng.random(50), rng.normal(size=40)
    noisy = np.outer(x, db) + 0.1 * rng.normal(size=(50, 40))
    errors = [
        np.mean((first_layer_exact(noisy, db, neurons=k) - x) ** 2) for k in (1, 10, 40)
    ]
    # the error is sigma^2 / sum db^2
    assert errors[0] > 2 * errors[1]
    assert errors[1] > errors[2]
    assert errors[2] == pytest.approx(0.01 / np.sum(db**2), rel=0.6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dW": np.ones(4)}, "dW must"),
        ({"db": np.zeros(3)}, "db must not be zero"),
        ({"db": np.ones(5)}, "dW must have one axis"),
        ({"db": np.full(3, np.nan)}, "db must be finite"),
        ({"dW": np.full((4, 3), np.inf)}, "dW must be finite"),
        ({"layout": "out_in"}, "dW must have one axis"),
        ({"layout": "rows"}, "layout must"),
        ({"neurons": 4}, "neurons must"),
        ({"neurons": 0}, "neurons must"),
    ],
)
def test_bad_layers_are_named(arguments, message) -> None:
    good = {"dW": np.ones((4, 3)), "db": np.ones(3)}
    with pytest.raises(InvalidInputError, match=message):
        first_layer_exact(**{**good, **arguments})


# Metrics.


def naive_ssim(x, y, span, window):
    """Return the structural similarity of one channel by plain loops."""
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    values = []
    for i in range(x.shape[0] - window + 1):
        for j in range(x.shape[1] - window + 1):
            a, b = (z[i : i + window, j : j + window].ravel() for z in (x, y))
            cov = np.cov(a, b, ddof=1)
            top = (2 * a.mean() * b.mean() + c1) * (2 * cov[0, 1] + c2)
            low = (a.mean() ** 2 + b.mean() ** 2 + c1) * (cov[0, 0] + cov[1, 1] + c2)
            values.append(top / low)
    return np.mean(values)


@pytest.mark.parametrize("window", [3, 7])
@pytest.mark.parametrize("span", [1.0, 255.0])
def test_metrics_by_their_definitions(window, span, rng) -> None:
    truth = rng.random((3, 11, 9, 2)) * span
    ours = truth + 0.1 * span * rng.normal(size=truth.shape)
    found = reconstruction_metrics(ours, truth, data_range=span, window=window)
    for i in range(3):
        mse = np.mean((ours[i] - truth[i]) ** 2)
        assert_allclose(found.mse[i], mse)
        assert_allclose(found.psnr[i], 10 * np.log10(span**2 / mse))
        channels = [
            naive_ssim(ours[i, :, :, c], truth[i, :, :, c], span, window)
            for c in range(2)
        ]
        assert_allclose(found.ssim[i], np.mean(channels), rtol=1e-9)
    assert_array_equal(found.order, np.arange(3))
    one = reconstruction_metrics(ours[..., 0], truth[..., 0], data_range=span, window=3)
    assert_allclose(one.ssim[0], naive_ssim(ours[0, ..., 0], truth[0, ..., 0], span, 3))


def test_a_perfect_reconstruction_and_its_order(rng) -> None:
    truth = rng.random((5, 8, 8))
    order = np.array([3, 1, 4, 0, 2])
    found = reconstruction_metrics(truth[order], truth)
    assert_array_equal(order[found.order], np.arange(5))
    assert_allclose(found.mse, 0)
    assert_array_equal(found.psnr, np.inf)
    assert_allclose(found.ssim, 1)
    assert found.to_dict() == {"mse": 0.0, "psnr": None, "ssim": pytest.approx(1.0)}
    kept = reconstruction_metrics(truth[order], truth, match=False)
    assert kept.mse[1] == 0 < kept.mse[0]
    flat = reconstruction_metrics(truth.reshape(5, -1), truth.reshape(5, -1))
    assert np.isnan(flat.ssim).all()
    small = reconstruction_metrics(truth[:, :6], truth[:, :6])
    assert np.isnan(small.ssim).all()


@pytest.mark.peers
def test_the_similarity_is_that_of_scikit_image(rng) -> None:
    skimage = pytest.importorskip("skimage.metrics")
    truth = rng.random((2, 20, 17, 3))
    ours = np.clip(truth + 0.2 * rng.normal(size=truth.shape), 0, 1)
    found = reconstruction_metrics(ours, truth, match=False)
    for i in range(2):
        theirs = skimage.structural_similarity(
            ours[i], truth[i], data_range=1.0, channel_axis=-1
        )
        assert_allclose(found.ssim[i], theirs, rtol=1e-9)
        theirs = skimage.peak_signal_noise_ratio(truth[i], ours[i], data_range=1.0)
        assert_allclose(found.psnr[i], theirs, rtol=1e-9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"inputs": np.ones((2, 8))}, "inputs must have the shape"),
        ({"inputs": np.ones(3)}, "inputs must be real"),
        ({"targets": np.full((3, 8), np.nan)}, "targets must be finite"),
        ({"data_range": 0}, "data_range must"),
        ({"window": 4}, "window must be odd"),
        ({"window": 1}, "window must"),
    ],
)
def test_bad_reconstructions_are_named(arguments, message) -> None:
    good = {"inputs": np.ones((3, 8)), "targets": np.zeros((3, 8))}
    with pytest.raises(InvalidInputError, match=message):
        reconstruction_metrics(**{**good, **arguments})


# The compiled searches.


def test_the_cross_entropy_takes_classes_and_probabilities(rng) -> None:
    outputs = rng.normal(size=(6, 4)).astype(np.float32) * 30
    labels = rng.integers(0, 4, 6).astype(np.int32)
    stable = outputs - outputs.max(axis=1, keepdims=True)
    reference = np.log(np.exp(stable.astype(np.float64)).sum(axis=1))
    reference = reference - stable[np.arange(6), labels]
    hard = soft_cross_entropy(jnp.asarray(outputs), jnp.asarray(labels))
    assert_allclose(hard, reference, rtol=1e-5, atol=1e-5)
    soft = np.eye(4, dtype=np.float32)[labels]
    assert_allclose(soft_cross_entropy(jnp.asarray(outputs), soft), hard, rtol=1e-6)


def test_a_label_is_read_whatever_the_scale() -> None:
    for i in range(2):
        found = gradient_of(X[i : i + 1], Y[i : i + 1])
        for scale in (1e-6, 1.0, 1e6):
            scaled = jax.tree.map(lambda leaf, s=scale: leaf * s, found)
            assert_array_equal(infer_labels(scaled, CLASSES), Y[i : i + 1])
    # another array of that shape does not sum to zero
    other = {"a": np.array([5.0, -9.0, 1.0]), "b": np.array([0.25, 0.5, -0.75])}
    assert_array_equal(infer_labels(other, 3), [2])
    with pytest.raises(InvalidInputError, match="labels must be given"):
        infer_labels(other, 4)


def test_the_cosine_attack_finds_the_input_of_any_scale() -> None:
    found = gradient_of(X[:1], Y[:1])
    plain = search(found, num_restarts=2, num_steps=600)
    assert_array_equal(plain.labels, Y[:1])
    assert_allclose(plain.inputs, X[:1], atol=0.02)
    assert 0 <= plain.distance < 1e-4
    assert plain.inputs.dtype == np.float32
    # other numbers, the same program; scaling the gradient changes nothing
    with compile_guard(max_compiles=0):
        scaled = search(
            jax.tree.map(lambda leaf: 1e-3 * leaf, found),
            num_restarts=2,
            num_steps=500,
            learning_rate=0.05,
            bounds=(0.0, 2.0),
            labels=Y[:1],
        )
    assert_allclose(scaled.inputs, X[:1], atol=0.02)
    again = search(found, num_restarts=2, num_steps=600)
    assert_array_equal(again.inputs, plain.inputs)


@pytest.mark.parametrize(
    "method", [pytest.param("idlg", marks=pytest.mark.slow), "dlg"]
)
def test_the_squared_distance_goes_to_zero(method) -> None:
    found = gradient_of(X[:1], Y[:1])
    result = search(found, method=method, num_steps=60, num_restarts=3)
    assert_array_equal(result.labels, Y[:1])
    assert_allclose(result.inputs, X[:1], atol=1e-3)
    assert result.distance < 1e-7
    # a sum that was divided by 50 instead of 1
    part = jax.tree.map(lambda leaf: leaf / 50, found)
    with compile_guard(max_compiles=0):
        scaled = search(
            part, method=method, num_steps=60, num_restarts=3, gradient_scale=50.0
        )
    assert_allclose(scaled.inputs, X[:1], atol=1e-3)
    other = search(part, method=method, num_steps=60, num_restarts=3)
    assert other.distance > 1e-3


@pytest.mark.slow
def test_float64_parameters_are_searched_in_float64() -> None:
    with jax.enable_x64(True):
        params = jax.tree.map(
            lambda leaf: jnp.asarray(np.asarray(leaf, np.float64)), parameters()
        )
        x = jnp.asarray(X[:1].astype(np.float64))
        grads = jax.grad(lambda p: jnp.mean(LOSS(p, x, jnp.asarray(Y[:1]))))(params)
    found = invert_gradient(
        KEY,
        LOSS,
        params,
        grads,
        shape=(1, *SHAPE),
        num_classes=CLASSES,
        method="idlg",
        num_steps=60,
        num_restarts=3,
    )
    assert found.inputs.dtype == np.float64
    assert_allclose(found.inputs, X[:1], atol=1e-7)


def scaled_average(x, y, scaling, norms, groups):
    """Return the average of scaled gradients by NumPy, in float64."""
    total = None
    for i in range(len(x)):
        leaves = [
            np.asarray(leaf, np.float64)
            for leaf in jax.tree.leaves(gradient_of(x[i : i + 1], y[i : i + 1]))
        ]
        for norm, group in zip(norms, groups, strict=True):
            found = np.sqrt(sum((leaves[j] ** 2).sum() for j in group))
            factor = norm / found if scaling == "unit" else min(1, norm / found)
            for j in group:
                leaves[j] = leaves[j] * factor
        total = (
            leaves
            if total is None
            else [a + b for a, b in zip(total, leaves, strict=True)]
        )
    return [leaf / len(x) for leaf in total]


@pytest.mark.parametrize("scaling", ["unit", "clip"])
@pytest.mark.parametrize("groups", [((0, 1, 2, 3),), ((0, 3), (1,), (2,))])
def test_the_attacker_scales_as_the_mechanism_does(scaling, groups) -> None:
    norms = np.array([0.3, 0.5, 0.2][: len(groups)], np.float32)
    release = searching.Release(scaling, groups)
    for size in (1, 2):
        x, y = X[:size], Y[:size]
        ours = searching._released(
            LOSS, release, parameters(), norms, jnp.asarray(x), jnp.asarray(y)
        )
        expected = scaled_average(x, y, scaling, norms, groups)
        for a, b in zip(ours, expected, strict=True):
            assert_allclose(a, b, rtol=2e-5, atol=1e-6)


def test_distances_by_their_definitions(rng) -> None:
    a, b = ([rng.normal(size=s).astype(np.float32) for s in (4, 3)] for _ in range(2))
    flat = [np.concatenate(z).astype(np.float64) for z in (a, b)]
    plain = searching.Release("none", ((0, 1),))
    cosine = flat[0] @ flat[1] / np.linalg.norm(flat[0]) / np.linalg.norm(flat[1])
    found = searching._distance("cosine", plain, a, b)
    assert_allclose(found, 1 - cosine, rtol=1e-5)
    squared = np.sum((flat[0] - flat[1]) ** 2) / np.sum(flat[1] ** 2)
    assert_allclose(searching._distance("dlg", plain, a, b), squared, rtol=1e-5)
    # after scaling to one norm only directions count
    unit = searching.Release("unit", ((0, 1),))
    found = searching._distance("dlg", unit, [7 * leaf for leaf in a], b)
    assert_allclose(found, 2 - 2 * cosine, rtol=1e-5)
    zero = [0 * leaf for leaf in a]
    assert np.isfinite(searching._distance("cosine", plain, zero, b))


def test_total_variation_is_smallest_for_flat_images(rng) -> None:
    image = rng.random((2, 4, 5, 3)).astype(np.float32)
    naive = (
        np.abs(np.diff(image, axis=1)).mean() + np.abs(np.diff(image, axis=2)).mean()
    )
    assert_allclose(searching._total_variation(jnp.asarray(image)), naive, rtol=1e-6)
    assert searching._total_variation(jnp.ones((1, 3, 3))) == 0


def test_nan_is_never_the_best() -> None:
    best = (jnp.float32(jnp.inf), jnp.zeros(2))
    best = searching._keep_best(best, jnp.float32(jnp.nan), jnp.ones(2))
    assert best[0] == jnp.inf
    best = searching._keep_best(best, jnp.float32(3.0), jnp.full(2, 2.0))
    best = searching._keep_best(best, jnp.float32(4.0), jnp.full(2, 5.0))
    assert (float(best[0]), best[1].tolist()) == (3.0, [2.0, 2.0])


def test_a_search_without_a_finite_end_is_an_error() -> None:
    loss = OutputLoss(lambda params, x: network(params, x) * jnp.nan)
    with pytest.raises(DivergenceError, match="none of 1 restarts"):
        invert_gradient(
            KEY,
            loss,
            parameters(),
            gradient_of(X[:1], Y[:1]),
            shape=(1, 5),
            num_classes=CLASSES,
            num_steps=2,
        )


GOOD = {"w": np.ones((5, 12)), "c": np.ones(12), "v": np.ones((12, 3)), "b": np.ones(3)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "magic"}, "method must"),
        ({"scaling": "half"}, "scaling must"),
        ({"shape": (5,)}, "shape must"),
        ({"shape": (1, 0)}, "shape must"),
        ({"num_classes": 0}, "num_classes must"),
        ({"num_restarts": 0}, "num_restarts must"),
        ({"num_steps": 0}, "num_steps must"),
        ({"num_steps": 1.5}, "num_steps must"),
        ({"learning_rate": 0.0}, "learning_rate must"),
        ({"gradient_scale": np.inf}, "gradient_scale must"),
        ({"tv_weight": -1.0}, "tv_weight must"),
        ({"tv_weight": 1.0}, "image_shape must"),
        ({"tv_weight": 1.0, "image_shape": (2, 3)}, "image_shape must"),
        ({"tv_weight": 1.0, "image_shape": (5, 1)}, "at least 2 x 2"),
        ({"bounds": (1.0, 0.0)}, "bounds must"),
        ({"bounds": (0.0, np.inf)}, "bounds must"),
        ({"norm": 0.0}, "norm must"),
        ({"norm": (1.0, 2.0)}, "norm must be one number"),
        ({"groups": (("w",),)}, "exactly one group"),
        ({"groups": "tensor"}, "granularity must"),
        ({"labels": [3]}, "labels must be in 0..2"),
        ({"labels": [0.5]}, "labels must be integers"),
        ({"labels": [0, 1]}, "labels must be integers of shape"),
        ({"shape": (2, 5)}, "labels must be given for 2 inputs"),
        ({"n_observations": 2}, "2 observations"),
        ({"n_observations": 0}, "n_observations must"),
        ({"gradient": {**GOOD, "b": np.ones(4)}}, "shapes of params"),
        ({"gradient": {"w": np.ones((5, 12))}}, "pytree like params"),
        ({"gradient": {**GOOD, "c": np.full(12, np.nan)}}, "gradient must be finite"),
    ],
)
def test_bad_arguments_are_named(changes, message) -> None:
    options = dict(changes)
    with pytest.raises(InvalidInputError, match=message):
        search(options.pop("gradient", GOOD), **options)


# Through the front, with a trainer.


def init_digits(key, sample):
    first, second = jax.random.split(key)
    size = sample.size // len(sample)
    return {
        "w": jax.random.normal(first, (size, 32)) / np.sqrt(size),
        "c": jnp.zeros(32),
        "v": jax.random.normal(second, (32, 10)) / np.sqrt(32),
        "b": jnp.zeros(10),
    }


def apply_digits(params, x):
    return network(params, x.reshape(len(x), -1))


@functools.cache
def digit_trainer():
    """Return a trainer without noise, and images and labels."""
    from mlmethods.backend import get_backend
    from mlmethods.privacy import make_private

    images, labels = digits(2)
    engine = get_backend("jax").engine("privacy")
    made = make_private(
        from_callable(init_digits, apply_digits),
        engine.optimizer("sgd", 1.0),
        NoPrivacy(),
        data_size=100,
        batch_size=64,
    )
    return made.initialize(images[:1], key=0), images, labels


@functools.cache
def digits(n: int):
    images, labels = load_images("mnist-5k")
    rows = np.random.default_rng(0).permutation(len(images))[:n]
    return (images[rows] / 255).astype(np.float32), labels[rows].astype(np.int32)


def test_a_shared_gradient_shows_a_real_digit() -> None:
    trainer, images, labels = digit_trainer()
    released = trainer.released_gradient((images[:1], labels[:1]), 0)
    exact = first_layer_exact(released["w"], released["c"])
    assert np.mean((exact - images[0].ravel()) ** 2) < 1e-8
    found = invert_gradients(
        trainer, released, shape=images.shape[1:], targets=images[:1], num_steps=300
    )
    assert found.inputs.shape == (1, 28, 28, 1)
    assert_array_equal(found.labels, labels[:1])
    assert found.metrics.psnr[0] > 25
    assert found.metrics.ssim[0] > 0.9
    assert_allclose(found.metrics.mse[0], np.mean((found.inputs - images[:1]) ** 2))
    data = json.loads(json.dumps(found.to_dict()))
    assert data["method"] == "inverting gradients"
    assert data["labels"] == labels[:1].tolist()
    # the pair of a program and its state is as good as the trainer
    with compile_guard(max_compiles=0):
        pair = invert_gradients(
            (trainer.program, trainer.state),
            released,
            shape=images.shape[1:],
            num_steps=300,
        )
    assert_array_equal(pair.inputs, found.inputs)
    assert pair.metrics is None


def test_noise_hides_the_digit_and_observations_bring_it_back(rng) -> None:
    trainer, images, labels = digit_trainer()
    plain = trainer.released_gradient((images[:1], labels[:1]), 0)
    leaves, tree = jax.tree.flatten(plain)
    flat = np.concatenate([np.ravel(leaf) for leaf in leaves]).astype(np.float64)
    mechanism = VonMisesFisherMechanism(2e4)
    rows = np.tile(flat / np.linalg.norm(flat), (40, 1))
    draws = np.split(
        mechanism.sample(rng, rows), np.cumsum([x.size for x in leaves])[:-1], axis=1
    )
    stacked = tree.unflatten(
        [d.reshape(40, *x.shape) for d, x in zip(draws, leaves, strict=True)]
    )
    options = {"shape": images.shape[1:], "targets": images[:1], "num_steps": 200}
    options |= {"labels": labels[:1], "num_restarts": 1, "mechanism": mechanism}
    first = jax.tree.map(lambda leaf: leaf[0], stacked)
    one = invert_gradients(trainer, first, **options)
    many = invert_gradients(trainer, stacked, n_observations=40, **options)
    assert many.metrics.psnr[0] > one.metrics.psnr[0] + 3
    assert many.distance < one.distance


def test_what_the_attacker_knows_of_the_mechanism(monkeypatch) -> None:
    images, _ = digits(2)
    seen = []

    class Engine:
        def invert(self, key, program, state, gradient, **options):
            seen.append(options)
            zeros = np.zeros((options["shape"]), np.float32)
            from mlmethods.privacy.contract import Reconstruction

            return Reconstruction(zeros, np.zeros(len(zeros), int), 0.0)

    class Backend:
        def key(self, seed):
            return seed

        def engine(self, method):
            return Engine()

    from mlmethods.privacy.attacks import inversion

    monkeypatch.setattr(inversion, "get_backend", lambda *a: Backend())

    class Trainer:
        program, state = object(), object()
        mechanism = VonMisesFisherMechanism(3.0, norm=2.0, granularity="layer")

    shape = images.shape[1:]
    invert_gradients(Trainer(), {}, shape=shape)
    dlg(Trainer(), {}, shape=shape, mechanism=GaussianMechanism(1.0, clip_norm=4.0))
    idlg(Trainer(), {}, shape=shape, mechanism=None, bounds=None)
    dlg((1, 2), {}, shape=(3,), n_examples=4, batch_size=64)
    invert_gradients(Trainer(), {}, shape=(3,), mechanism=NoPrivacy())
    known = [
        (o.get("scaling"), o.get("norm"), o.get("groups"), o["method"]) for o in seen
    ]
    assert known == [
        ("unit", 2.0, "layer", "cosine"),
        ("clip", 4.0, "model", "dlg"),
        (None, None, None, "idlg"),
        (None, None, None, "dlg"),
        ("none", 1.0, "model", "cosine"),
    ]
    assert [o["shape"] for o in seen[:1]] == [(1, 28, 28, 1)]
    assert (seen[3]["shape"], seen[3]["gradient_scale"]) == ((4, 3), 16.0)
    assert (seen[0]["tv_weight"], seen[4]["tv_weight"]) == (1e-3, 0.0)


def test_a_backend_without_derivatives_says_so() -> None:
    with pytest.raises(OperationNotSupportedError, match="no gradient inversion"):
        dlg((1, 2), {}, shape=(3,), backend="numpy")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"trainer": 3}, "trainer must"),
        ({"n_examples": 0}, "n_examples must"),
        ({"shape": (0,)}, "shape must"),
        ({"batch_size": 0}, "batch_size must"),
    ],
)
def test_bad_attacks_are_named(arguments, message) -> None:
    good = {"trainer": (1, 2), "gradient": {}, "shape": (3,)}
    with pytest.raises(InvalidInputError, match=message):
        invert_gradients(**{**good, **arguments})


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mlp", "lenet"])
def test_fifteen_of_twenty_real_digits_are_recognized(kind) -> None:
    from mlmethods.backend import get_backend
    from mlmethods.privacy import make_private

    images, labels = digits(20)
    engine = get_backend("jax").engine("privacy")
    made = make_private(
        engine.network(kind, images.shape[1:], 10),
        engine.optimizer("sgd", 1.0),
        NoPrivacy(),
        data_size=100,
        batch_size=64,
    ).initialize(images[:1], key=1)
    quality = []
    for i in range(20):
        pair = images[i : i + 1], labels[i : i + 1]
        found = invert_gradients(
            made, made.released_gradient(pair, i), shape=pair[0].shape[1:], key=i
        )
        quality.append(reconstruction_metrics(found.inputs, pair[0]).psnr[0])
    assert np.sum(np.array(quality) >= 20) >= 15
