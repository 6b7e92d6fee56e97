"""Private training of what other parts make, by the shared step and loop alone."""

from __future__ import annotations

import functools

import jax
import numpy as np
import optax
import pytest
from flax import linen
from sklearn.datasets import load_digits

from mlmethods.privacy import GaussianMechanism, VonMisesFisherMechanism
from mlmethods.rfm import RFMClassifier
from mlmethods_jax.adapters import from_callable, from_linen, from_nnx
from mlmethods_jax.layers.mlp import MLP
from mlmethods_jax.privacy import gradient_mechanism
from mlmethods_jax.training import TrainState, fit_loop, make_train_step

KEY = jax.random.key(5)
TRAIN, BATCH = 1400, 100


@functools.cache
def digits():
    X, y = load_digits(return_X_y=True)
    return (X / 16).astype("float32"), y.astype("int32")


def train(model, X, y, mechanism, *, epochs=6, learning_rate=2.0):
    """Return the accuracy on the rows that were not trained on."""
    acting = gradient_mechanism(mechanism.config(), expected_batch_size=BATCH)
    optimizer = optax.sgd(learning_rate)

    def loss_fn(params, batch, key):
        outputs = model.apply(params, batch["x"], key=key, train=True)
        targets = jax.nn.one_hot(batch["y"], 10, dtype=outputs.dtype)
        return optax.softmax_cross_entropy(outputs, targets)

    step = make_train_step(loss_fn, optimizer, mechanism=acting, microbatch=50)
    params = model.init(KEY, X[:1])
    result = fit_loop(
        step,
        TrainState.create(params, optimizer, mechanism=acting),
        {"x": X[:TRAIN], "y": y[:TRAIN]},
        key=KEY,
        epochs=epochs,
        batch_size=BATCH,
        sampling="poisson",
    )
    assert result.history["skipped"].sum() == 0
    outputs = model.apply(result.state.params, X[TRAIN:])
    return np.mean(np.asarray(outputs).argmax(1) == y[TRAIN:])


@pytest.mark.slow
def test_a_perceptron_on_the_features_of_a_recursive_feature_machine():
    X, y = digits()
    machine = RFMClassifier(n_iter=1, random_state=0).fit(X[:500], y[:500])
    values, vectors = np.linalg.eigh(np.asarray(machine.M_, float))
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    features = (X @ root).astype("float32")
    features /= features[:TRAIN].std()
    model = from_nnx(functools.partial(MLP, 64, (16,), 10))
    mechanism = VonMisesFisherMechanism(300.0)
    assert train(model, features, y, mechanism, epochs=10, learning_rate=1.0) > 0.6


class Net(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.Dense(10)(linen.relu(linen.Dense(16)(x)))


def plain():
    def init(key, sample):
        return 0.01 * jax.random.normal(key, (sample.shape[1], 10), "float32")

    return from_callable(init, lambda params, x: x @ params)


def test_a_plain_function():
    assert train(plain(), *digits(), GaussianMechanism(1.0)) > 0.75


@pytest.mark.slow
def test_a_linen_module():
    X, y = digits()
    model = from_linen(Net())
    assert train(model, X, y, VonMisesFisherMechanism(300.0), epochs=10) > 0.6
