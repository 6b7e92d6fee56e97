import dataclasses

import jax
import numpy as np
import pytest

from mlmethods.errors import DivergenceError
from mlmethods.rfm import feature_ansatz
from mlmethods.rfm.contract import PerceptronConfig
from mlmethods_jax.rfm.perceptron import train_perceptron

CONFIG = PerceptronConfig(
    hidden=(16, 16),
    init_scale=0.5,
    optimizer="adam",
    learning_rate=1e-2,
    keep_epochs=(1, 40),
)


@pytest.fixture(scope="module")
def rows():
    X = np.random.default_rng(0).standard_normal((256, 8))
    return X, np.abs(X[:, :1])  # without biases, a network is homogeneous


@pytest.fixture(scope="module")
def trained(rows):
    return train_perceptron(CONFIG, *rows, seed=0)


def same(a, b):
    return jax.tree.all(jax.tree.map(np.array_equal, a, b))


def test_learns(trained, rows):
    X, Y = rows
    outputs = np.asarray(trained.model.apply(trained.params[-1], X.astype(np.float32)))
    assert np.mean((outputs - Y) ** 2) < 0.1 * np.var(Y)
    assert trained.epochs == (0, 1, 40)
    assert trained.losses[2] < trained.losses[1]


def test_what_is_kept_is_the_run_until_then(trained, rows):
    short = dataclasses.replace(CONFIG, keep_epochs=(1,))
    assert same(train_perceptron(short, *rows, seed=0).params[-1], trained.params[1])


def test_seed_decides(trained, rows):
    short = dataclasses.replace(CONFIG, keep_epochs=(1,))
    assert not same(train_perceptron(short, *rows, seed=1).params[0], trained.params[0])


def test_scale_multiplies_every_layer(trained, rows):
    halved = dataclasses.replace(CONFIG, init_scale=0.25, keep_epochs=(1,))
    start = train_perceptron(halved, *rows, seed=0).params[0]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b / 2, rtol=1e-6),
        start,
        trained.params[0],
    )


def test_weight_decay_shrinks_the_weights(rows):
    def norm(decay):
        config = dataclasses.replace(
            CONFIG,
            optimizer="sgd",
            weight_decay=decay,
            learning_rate=0.1,
            keep_epochs=(5,),
        )
        params = train_perceptron(config, *rows, seed=0).params[-1]
        return sum(float((leaf**2).sum()) for leaf in jax.tree.leaves(params))

    assert norm(0.1) < 0.9 * norm(0.0)


def test_relevant_input_dominates_the_first_layer(trained, rows):
    from mlmethods.rfm import neural_feature_matrix

    first = next(
        row.layer
        for row in feature_ansatz(
            trained.model, rows[0], params=trained.params[-1], backend="jax"
        ).correlations
    )
    matrix = neural_feature_matrix(
        trained.model, first, params=trained.params[-1], backend="jax"
    )
    assert np.argmax(np.diag(matrix)) == 0


def test_events_tell_epochs(rows):
    events = []
    train_perceptron(CONFIG, *rows, seed=0, callback=events.append)
    assert [event.step for event in events] == [1, 40]
    assert all(event.total == 40 for event in events)


def test_divergence_is_an_error(rows):
    wild = dataclasses.replace(CONFIG, optimizer="sgd", learning_rate=1e6)
    with pytest.raises(DivergenceError, match="learning_rate"):
        train_perceptron(wild, *rows, seed=0)
