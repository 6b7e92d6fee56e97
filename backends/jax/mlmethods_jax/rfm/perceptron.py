"""A perceptron trained on arrays: the network in which the feature ansatz is tested."""

from __future__ import annotations

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array

from mlmethods.errors import DivergenceError
from mlmethods.interfaces import Callback, Event, NDArray, PyTree
from mlmethods.rfm.contract import PerceptronConfig, TrainedPerceptron
from mlmethods_jax.adapters import from_nnx
from mlmethods_jax.random import key_from_seed
from mlmethods_jax.training import TrainState, fit_loop, make_train_step

__all__ = ["Perceptron", "train_perceptron"]


class Perceptron(nnx.Module):
    """Dense layers without biases, with rectifiers between them.

    Parameters
    ----------
    sizes : tuple of int
        Inputs, units of each hidden layer, outputs.
    scale : float
        Multiplies the initial weights of variance 2 / inputs of a layer.
    rngs : nnx.Rngs
        Source of the weights.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from mlmethods_jax.rfm.perceptron import Perceptron
    >>> Perceptron((4, 8, 2), 1.0, rngs=nnx.Rngs(0))(jnp.ones((3, 4))).shape
    (3, 2)
    """

    def __init__(self, sizes: tuple[int, ...], scale: float, *, rngs: nnx.Rngs) -> None:
        init = nnx.initializers.variance_scaling(2.0 * scale**2, "fan_in", "normal")
        self.layers = nnx.List(
            nnx.Linear(a, b, use_bias=False, kernel_init=init, rngs=rngs)
            for a, b in itertools.pairwise(sizes)
        )

    def __call__(self, x: Array) -> Array:
        """Return the outputs [b, c] for inputs [b, d]."""
        *hidden, last = self.layers
        for layer in hidden:
            x = jax.nn.relu(layer(x))
        return last(x)


def train_perceptron(
    config: PerceptronConfig,
    X: NDArray,
    Y: NDArray,
    *,
    seed: int,
    callback: Callback | None = None,
) -> TrainedPerceptron:
    """Train on the mean squared error and keep the weights of some epochs.

    Parameters
    ----------
    config : PerceptronConfig
        The network and its training.
    X, Y : ndarrays of shape (n, d) and (n, c)
        Inputs and targets.
    seed : int
        Seed of the weights and of the batches.
    callback : callable, optional
        Receives an event after each kept epoch.

    Returns
    -------
    TrainedPerceptron

    Raises
    ------
    DivergenceError
        If the loss stops being finite.
    """
    X, Y = X.astype(np.float32), Y.astype(np.float32)
    key = key_from_seed(seed)
    model = from_nnx(
        functools.partial(
            Perceptron, (X.shape[1], *config.hidden, Y.shape[1]), config.init_scale
        )
    )
    params = model.init(key, jnp.asarray(X[:1]))

    def loss_fn(params: PyTree, batch: PyTree, key: Array) -> Array:
        del key
        return jnp.mean((model.apply(params, batch["x"]) - batch["y"]) ** 2)

    rule = {"sgd": optax.sgd, "adam": optax.adam}[config.optimizer]
    optimizer = optax.chain(
        optax.add_decayed_weights(config.weight_decay), rule(config.learning_rate)
    )
    step = make_train_step(loss_fn, optimizer)
    state = TrainState.create(params, optimizer)
    batch_size = min(config.batch_size, len(X))
    kept, losses, done = [params], [float("nan")], 0
    for epoch in config.keep_epochs:
        state, history = fit_loop(
            step,
            state,
            {"x": X, "y": Y},
            key=key,
            epochs=epoch - done,
            batch_size=batch_size,
        )
        done = epoch
        loss = float(np.mean(history["loss"][-(len(X) // batch_size) :]))
        if history["skipped"].any() or not np.isfinite(loss):
            raise DivergenceError(
                f"the loss stopped being finite before epoch {epoch}; lower "
                f"learning_rate {config.learning_rate:g}"
            )
        kept.append(state.params)
        losses.append(loss)
        if callback is not None:
            callback(
                Event(
                    kind="step",
                    task="perceptron",
                    step=epoch,
                    total=config.keep_epochs[-1],
                    metrics={"loss": loss},
                )
            )
    return TrainedPerceptron(model, (0, *config.keep_epochs), kept, losses)
