"""The overfitting engine: networks trained in lanes, until each one's rule stops it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from mlmethods.errors import DivergenceError, InvalidInputError
from mlmethods.interfaces import Array, Callback, Event, Key, NDArray, PyTree
from mlmethods.overfitting.contract import LaneGroup, LaneOutcome, NetworkConfig
from mlmethods_jax.adapters import from_nnx
from mlmethods_jax.layers.mlp import MLP
from mlmethods_jax.overfitting.lanes import lanes_step, over_lanes, stack_states
from mlmethods_jax.overfitting.stopping import Look, StopRules
from mlmethods_jax.random import STREAM_INIT, key_from_seed, stream
from mlmethods_jax.training import (
    TrainState,
    TrainStep,
    fit_loop,
    make_train_step,
)

__all__ = ["NetworkTrainer", "OverfittingEngine", "engine", "row_losses"]

_MOMENTUM = 0.9
_OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "sgd": functools.partial(optax.sgd, momentum=_MOMENTUM),
    "adam": optax.adam,
}
# steps in one compiled call, for every n, and rows in one block of an evaluation
_CHUNK = 32
_BLOCK = 256


def row_losses(outputs: Array, labels: Array, *, loss: str) -> Array:
    """Return the loss of every row.

    Parameters
    ----------
    outputs : array of shape (b, c)
        What the network returned.
    labels : int array of shape (b,)
        Classes from 0 to c - 1.
    loss : {"mse", "cross_entropy"}
        The squared error is the mean over the outputs, against one-hot rows that are
        centered (minus 1 / c) and scaled to mean square 1.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from mlmethods_jax.overfitting.engine import row_losses
    >>> row_losses(jnp.array([[1.0, -1.0], [0.0, 0.0]]), jnp.array([0, 1]), loss="mse")
    Array([0., 1.], dtype=float32)
    """
    classes = outputs.shape[-1]
    one_hot = jax.nn.one_hot(labels, classes, dtype=outputs.dtype)
    if loss == "cross_entropy":
        return -jnp.sum(one_hot * jax.nn.log_softmax(outputs), axis=-1)
    scale = classes / np.sqrt(classes - 1.0)
    targets = (one_hot - 1.0 / classes) * float(scale)
    return jnp.mean((outputs - targets) ** 2, axis=-1)


class _Program(NamedTuple):
    """The functions that are compiled for a network; the same objects every time."""

    init: Callable[[Key], TrainState]
    step: TrainStep
    evaluate: Callable[..., tuple[Array, Array]]


def _gather(data: PyTree, indices: Any) -> PyTree:
    """Return the batches of all lanes: row numbers of the pool, not rows."""
    return {
        "shared": data["x"],
        "own": {name: data[name][:, indices] for name in ("rows", "labels", "trains")},
        "keys": data["keys"],
        "active": data["active"],
    }


def _batch_of(shared: Array, own: dict[str, Array]) -> tuple[PyTree, Array]:
    return {"x": shared[own["rows"]], "labels": own["labels"]}, own["trains"]


@functools.lru_cache(maxsize=16)
def _program(config: NetworkConfig, features: int, sequential: bool) -> _Program:
    """Return the program of a network; its learning rate is a traced number."""
    model = from_nnx(_builder(config, features))
    if jax.tree.leaves(model.state):
        raise InvalidInputError(
            "model must keep no state besides its parameters, such as batch statistics"
        )
    optimizer = optax.inject_hyperparams(_OPTIMIZERS[config.optimizer])(
        learning_rate=config.learning_rate
    )

    def loss_fn(params: PyTree, batch: PyTree, key: Key) -> Array:
        outputs = model.apply(params, batch["x"], key=key, train=True)
        return row_losses(outputs, batch["labels"], loss=config.loss)

    @jax.jit
    def init(key: Key) -> TrainState:
        sample = jnp.zeros((1, features), jnp.float32)
        params = model.init(stream(key, STREAM_INIT), sample)
        with jax.numpy_dtype_promotion("standard"):
            return TrainState.create(params, optimizer)

    @jax.jit
    def evaluate(
        params: PyTree, x: Any, rows: Any, labels: Any, active: Any, blocks: Any
    ) -> tuple[Array, Array]:
        """Return predictions and losses [lanes, n] of the first blocks of rows."""

        def one(found: PyTree, own: PyTree) -> tuple[PyTree, tuple[()]]:
            params, rows, labels = own
            width = min(_BLOCK, len(rows))

            def block(i: Any, found: PyTree) -> PyTree:
                part = lax.dynamic_slice_in_dim(rows, i * width, width)
                outputs = model.apply(params, x[part])
                known = lax.dynamic_slice_in_dim(labels, i * width, width)
                losses = row_losses(outputs, known, loss=config.loss)
                classes = jnp.argmax(outputs, axis=-1).astype(jnp.int32)
                return tuple(
                    lax.dynamic_update_slice_in_dim(whole, piece, i * width, 0)
                    for whole, piece in zip(found, (classes, losses), strict=True)
                )

            return lax.fori_loop(0, blocks, block, found), ()

        empty = (jnp.zeros(rows.shape, jnp.int32), jnp.zeros(rows.shape, jnp.float32))
        own = (params, rows, labels)
        return over_lanes(one, empty, own, active, sequential=sequential)[0]

    step = lanes_step(
        make_train_step(loss_fn, optimizer), _batch_of, sequential=sequential
    )
    return _Program(init, step, evaluate)


def _builder(config: NetworkConfig, features: int) -> Callable[..., Any]:
    if callable(config.model):
        make = config.model
        return lambda *, rngs: make(features, config.n_classes, rngs)
    return functools.partial(
        MLP,
        features,
        (config.width,) * config.depth,
        config.n_classes,
        parameterization=config.parameterization,
    )


@jax.jit
def _keep(better: Any, new: PyTree, old: PyTree) -> PyTree:
    def choose(a: Any, b: Any) -> Any:
        return jnp.where(better.reshape((-1,) + (1,) * (a.ndim - 1)), a, b)

    return jax.tree.map(choose, new, old)


class NetworkTrainer:
    """A network, and a pool of rows that every lane takes its own from.

    Parameters
    ----------
    config : NetworkConfig
        The network and how it learns.
    X, X_test : ndarrays of shape (N, d) and (m, d)
        The pool and the rows that are predicted at the end.
    max_rows : int
        Most rows of a lane; smaller groups are padded, so that every n runs the same
        compiled program.
    sequential : bool or None
        Whether to go through the lanes one after another; None decides by the device.
    """

    def __init__(
        self,
        config: NetworkConfig,
        X: NDArray,
        X_test: NDArray,
        max_rows: int,
        *,
        sequential: bool | None = None,
    ) -> None:
        if sequential is None:
            sequential = jax.default_backend() == "cpu"
        self._config = config
        self._program = _program(
            dataclasses.replace(config, learning_rate=0.0), X.shape[1], sequential
        )
        # one pool, so that training and test rows are evaluated by one program
        self._x = jax.device_put(np.concatenate([X, X_test]).astype(np.float32))
        self._test_rows = np.arange(len(X), len(X) + len(X_test), dtype=np.int32)
        self._width = min(_BLOCK, max_rows)
        self._padded = -(-max_rows // self._width) * self._width

    def train(self, group: LaneGroup, callback: Callback | None = None) -> LaneOutcome:
        """Train the lanes of a group until each has stopped.

        Parameters
        ----------
        group : LaneGroup
            The lanes.
        callback : callable, optional
            Receives an event after every look at the stop rules.

        Raises
        ------
        DivergenceError
            If a loss or a gradient stops being finite.
        """
        n = group.rows.shape[1]
        data = self._data(group)
        order = key_from_seed(group.order_seed)
        state = self._initial(data["keys"])
        best = state.params
        rules = StopRules(
            group.stop,
            squared=self._config.loss == "mse",
            patience=group.patience,
            max_epochs=group.max_epochs,
            check_every=group.check_every,
            monitor=group.monitor,
        )
        steps = n // group.batch_size
        while rules.training.any():
            epochs = rules.next_look()
            state, history = fit_loop(
                self._program.step,
                state,
                {**data, "active": rules.training},
                key=order,
                epochs=epochs,
                batch_size=group.batch_size,
                log_every=_CHUNK,
                num_rows=n,
                gather=_gather,
            )
            self._check_finite(history, rules)
            running = history["loss"][-steps:].mean(0)
            looked = rules.to_look_at(running)
            look = self._look(group, data, state.params, looked)
            better = rules.update(epochs, looked, look)
            if better.any():
                best = _keep(better, state.params, best)
            if callback is not None:
                callback(
                    Event(
                        kind="step",
                        task=f"networks, n={n}",
                        step=rules.done,
                        total=group.max_epochs,
                        metrics={"stopped": int((~rules.training).sum())},
                    )
                )
        final = _keep(rules.early, best, state.params)
        return self._outcome(group, data, final, rules)

    def _initial(self, keys: Key) -> TrainState:
        """Return the stack of the lanes' first states."""
        # lane by lane, so that any number of lanes shares one program
        states = jax.device_get([self._program.init(key) for key in keys])
        stack = stack_states(jax.tree.map(lambda *leaves: np.stack(leaves), *states))
        hyperparams = dict(stack.opt_state.hyperparams)
        rates = np.full(len(states), self._config.learning_rate, np.float32)
        hyperparams["learning_rate"] = rates
        opt_state = stack.opt_state._replace(hyperparams=hyperparams)
        return jax.device_put(dataclasses.replace(stack, opt_state=opt_state))

    def _data(self, group: LaneGroup) -> dict[str, Any]:
        """Return the padded arrays of the lanes, on the device."""
        n = group.rows.shape[1]

        def pad(values: NDArray, dtype: Any) -> Any:
            return np.pad(values.astype(dtype), [(0, 0), (0, self._padded - n)])

        arrays = {
            "rows": pad(group.rows, np.int32),
            "labels": pad(group.labels, np.int32),
            "trains": pad(~group.held_out, np.bool_),
        }
        keys = jnp.stack([key_from_seed(seed) for seed in group.seeds])
        return {**jax.device_put(arrays), "x": self._x, "keys": keys}

    def _check_finite(self, history: dict[str, NDArray], rules: StopRules) -> None:
        wrong = history["skipped"].any(0) | ~np.isfinite(history["loss"]).all(0)
        if (wrong & rules.training).any():
            raise DivergenceError(
                f"the loss stopped being finite after epoch {rules.done}; lower "
                f"learning_rate {self._config.learning_rate:g}"
            )

    def _evaluate(
        self, params: PyTree, rows: Any, labels: Any, active: NDArray, count: int
    ) -> tuple[NDArray, NDArray]:
        blocks = np.int32(-(-count // self._width))
        found = self._program.evaluate(params, self._x, rows, labels, active, blocks)
        predictions, losses = jax.device_get(found)
        return predictions[:, :count], losses[:, :count]

    def _look(
        self, group: LaneGroup, data: PyTree, params: PyTree, looked: NDArray
    ) -> Look:
        lanes, n = group.rows.shape
        if not looked.any():
            return Look(*(np.full(lanes, np.nan) for _ in Look._fields))
        found = self._evaluate(params, data["rows"], data["labels"], looked, n)
        return _summary(group, *found)

    def _outcome(
        self, group: LaneGroup, data: PyTree, params: PyTree, rules: StopRules
    ) -> LaneOutcome:
        lanes, n = group.rows.shape
        every = np.ones(lanes, bool)
        predictions, losses = self._evaluate(
            params, data["rows"], data["labels"], every, n
        )
        parts = []
        for start in range(0, len(self._test_rows), self._padded):
            part = self._test_rows[start : start + self._padded]
            rows = np.zeros((lanes, self._padded), np.int32)
            rows[:, : len(part)] = part
            labels = np.zeros_like(rows)
            parts.append(self._evaluate(params, rows, labels, every, len(part))[0])
        return LaneOutcome(
            epochs=rules.epochs,
            epochs_run=rules.epochs_run,
            stopped=rules.stopped,
            train_loss=_summary(group, predictions, losses).train_loss,
            predictions=predictions,
            test_predictions=np.concatenate(parts, axis=1),
        )


def _summary(group: LaneGroup, predictions: NDArray, losses: NDArray) -> Look:
    """Return errors and mean losses of the rows that train and of those held out."""
    wrong = predictions != group.labels
    values = []
    for rows in (~group.held_out, group.held_out):
        count = rows.sum(1)
        for of_row in (wrong, losses.astype(np.float64)):
            total = np.where(rows, of_row, 0).sum(1)
            nothing = np.full(len(count), np.nan)
            values.append(np.divide(total, count, out=nothing, where=count > 0))
    return Look(*values)


class OverfittingEngine:
    """The overfitting engine of this backend."""

    def networks(
        self, config: NetworkConfig, X: NDArray, X_test: NDArray, max_rows: int
    ) -> NetworkTrainer:
        """Put the rows on the device; groups have at most `max_rows` rows a lane."""
        return NetworkTrainer(config, X, X_test, max_rows)


engine = OverfittingEngine()
