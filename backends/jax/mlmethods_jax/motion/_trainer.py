"""Training of a motion network, one epoch at a time."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mlmethods.errors import CheckpointError, DivergenceError, InvalidInputError
from mlmethods.interfaces import Array, Callback, Key, NDArray, PyTree
from mlmethods.motion.contract import TrainingConfig, TrainingData
from mlmethods_jax.motion._gather import draw_offsets, make_gather
from mlmethods_jax.motion._optimizer import make_optimizer, with_rates
from mlmethods_jax.motion._sizes import padded_length
from mlmethods_jax.random import key_from_seed
from mlmethods_jax.training import TrainState, TrainStep, fit_loop, make_train_step

__all__ = ["BatchLoss", "MotionTrainer", "train_step"]

BatchLoss = Callable[[PyTree, Mapping[str, Array], Key], Array]
"""``loss(params, batch, key)``: one loss a window."""

# steps in one compiled call: an interrupt waits for no more
_CHUNK = 8
# of batches of one recording: sizes that steps are compiled for
_MOST_SIZES = 2
_PATIENCE, _FACTOR, _PROGRESS = 3, 0.5, 1e-4


def _weighted(loss: BatchLoss) -> BatchLoss:
    """Return the mean loss of the rows that count."""

    def mean(params: PyTree, batch: Mapping[str, Array], key: Key) -> Array:
        losses, weight = loss(params, batch, key), batch["weight"]
        return jnp.sum(losses * weight) / jnp.maximum(jnp.sum(weight), 1.0)

    return mean


def _over_sizes(mean: BatchLoss, sizes: tuple[int, ...]) -> BatchLoss:
    """Return the same loss, computed at the smallest size that holds the batch.

    The gradient is taken within the branch: what the other branches would keep for it
    is then never allocated.
    """
    if len(sizes) == 1:
        return mean

    def branch(size: int) -> Callable[..., Any]:
        def cut(params: PyTree, batch: Mapping[str, Array], key: Key) -> Array:
            short = {name: batch[name][:, :size] for name in ("x", "mask", "labels")}
            return mean(params, {**batch, **short}, key)

        return jax.value_and_grad(cut)

    branches = [branch(size) for size in sizes]

    def forward(params: PyTree, batch: Mapping[str, Array], key: Key) -> Any:
        longest = jnp.max(jnp.sum(batch["mask"], axis=1, dtype=jnp.int32))
        number = jnp.sum(longest > jnp.array(sizes[:-1], jnp.int32), dtype=jnp.int32)
        return lax.switch(number, branches, params, dict(batch), key)

    @jax.custom_vjp
    def loss(params: PyTree, batch: Mapping[str, Array], key: Key) -> Array:
        return forward(params, batch, key)[0]

    def backward(grads: PyTree, cotangent: Array) -> tuple[PyTree, None, None]:
        return jax.tree.map(lambda g: cotangent * g, grads), None, None

    loss.defvjp(forward, backward)
    return loss


@functools.lru_cache(maxsize=32)
def train_step(
    loss: BatchLoss, optimizer: str, schedule: str, sizes: tuple[int, ...]
) -> TrainStep:
    """Return the step of a training; the same function every time.

    Parameters
    ----------
    loss : callable
        One loss a window; the same object for the same network.
    optimizer, schedule : str
        See :class:`mlmethods.motion.contract.TrainingConfig`.
    sizes : tuple of int
        Ascending lengths that batches are cut to.
    """
    return make_train_step(
        _over_sizes(_weighted(loss), sizes), make_optimizer(optimizer, schedule)
    )


class _Stored(NamedTuple):
    """What a resumed run needs."""

    state: TrainState
    best: NDArray
    waited: NDArray


class MotionTrainer:
    """A network in training.

    Parameters
    ----------
    loss : callable
        One loss a window, see :data:`BatchLoss`.
    params : mapping of str to array
        Where to start.
    data : TrainingData
        The windows.
    config : TrainingConfig
        How to train.
    end_token : int
        Token of the end.
    seed : int
        Of everything random.
    multiple : int
        Lengths that the network takes are multiples of it.
    mesh : jax.sharding.Mesh, optional
        Devices that each batch is spread over.

    Notes
    -----
    Batches, moves of windows and dropout depend on the seed and the step alone, so that
    a resumed run does what an uninterrupted one would have done.
    """

    def __init__(
        self,
        loss: BatchLoss,
        params: Mapping[str, NDArray],
        data: TrainingData,
        config: TrainingConfig,
        *,
        end_token: int,
        seed: int,
        multiple: int = 1,
        mesh: Mesh | None = None,
    ) -> None:
        if not len(data.start):
            raise InvalidInputError("data must have windows, got none")
        self._config = config
        self._mesh = mesh
        self._batch = min(config.batch_size, len(data.start))
        self._per_epoch = -(-len(data.start) // self._batch)
        self._key = key_from_seed(seed)
        self._data = self._put(_device_data(data, config))
        self._gather = make_gather(data.size, data.max_tokens, end_token, mesh)
        sizes: tuple[int, ...] = (data.size,)
        if self._batch == 1:
            sizes = _sizes(data.length, data.size, multiple)
        self._step = train_step(loss, config.optimizer, config.schedule, sizes)
        self._state = self._put(self._initial(params))
        self._best, self._waited = float("inf"), 0

    def _put(self, tree: PyTree) -> PyTree:
        if self._mesh is None:
            return jax.device_put(tree)
        return jax.device_put(tree, NamedSharding(self._mesh, PartitionSpec()))

    def _initial(self, params: Mapping[str, NDArray]) -> TrainState:
        optimizer = make_optimizer(self._config.optimizer, self._config.schedule)
        own = {name: jnp.asarray(array) for name, array in params.items()}
        state = TrainState.create(own, optimizer)
        rates = with_rates(
            state.opt_state,
            lr=self._config.lr,
            weight_decay=self._config.weight_decay,
            total=self._per_epoch * self._config.epochs,
        )
        return TrainState(state.params, rates, state.step)

    @property
    def steps(self) -> int:
        """Steps taken."""
        return int(self._state.step)

    def epoch(self, callback: Callback | None = None) -> dict[str, float]:
        """Take one epoch and return its mean metrics.

        Returns
        -------
        dict
            ``loss`` and ``grad_norm``.

        Raises
        ------
        DivergenceError
            If the loss or the gradient of a step is not finite; the state is the one
            before the epoch.
        """
        number = self.steps // self._per_epoch
        result = fit_loop(
            self._step,
            self._state,
            self._epoch_data(number),
            key=self._key,
            num_steps=self._per_epoch,
            batch_size=self._batch,
            callback=callback,
            log_every=_CHUNK,
            num_rows=self._per_epoch * self._batch,
            gather=self._gather,
        )
        bad = ~np.isfinite(result.history["loss"]) | (result.history["skipped"] > 0)
        if bad.any():
            step = self.steps + int(np.argmax(bad)) + 1
            raise DivergenceError(
                f"the loss or its gradient is not finite at step {step}; lower lr, or "
                "look for extreme values in the recordings"
            )
        self._state = result.state
        loss = float(result.history["loss"].mean())
        self._note_progress(loss)
        return {"loss": loss, "grad_norm": float(result.history["grad_norm"].mean())}

    def _epoch_data(self, number: int) -> dict[str, Any]:
        """Return the data with what changes from epoch to epoch."""
        shift = self._data["shift"]
        if self._config.random_shift:
            offset = draw_offsets(self._key, np.int32(number), shift)
        else:
            offset = jnp.zeros_like(shift)
        share = min(number / max(self._config.epochs - 1, 1), 1.0)
        teacher = 1.0 + (self._config.teacher_final - 1.0) * share
        changing = {"offset": offset, "teacher": np.float32(teacher)}
        return {**self._data, **self._put(changing)}

    def _note_progress(self, loss: float) -> None:
        """Lower the rate after epochs without progress, where the schedule says so."""
        if self._config.schedule != "plateau":
            return
        if loss < self._best * (1 - _PROGRESS):
            self._best, self._waited = loss, 0
            return
        self._waited += 1
        if self._waited > _PATIENCE:
            rates = self._state.opt_state
            rates = rates._replace(scale=rates.scale * jnp.float32(_FACTOR))
            self._state = TrainState(self._state.params, rates, self._state.step)
            self._waited = 0

    def params(self) -> dict[str, NDArray]:
        """Return the parameters under flat names."""
        fetched = jax.device_get(self._state.params)
        return {name: np.array(array) for name, array in fetched.items()}

    def _stored(self) -> list[tuple[str, Any]]:
        # numbers of Python are float64: the best loss is restored with all its bits
        stored = _Stored(self._state, np.float64(self._best), np.int64(self._waited))  # type: ignore[arg-type]
        return [
            (jax.tree_util.keystr(path, simple=True, separator="/"), leaf)
            for path, leaf in jax.tree_util.tree_leaves_with_path(stored)
        ]

    def arrays(self) -> dict[str, NDArray]:
        """Return everything that a resumed run needs, under names."""
        return {name: np.array(jax.device_get(leaf)) for name, leaf in self._stored()}

    def restore(self, arrays: Mapping[str, NDArray]) -> None:
        """Go on from these arrays.

        Raises
        ------
        CheckpointError
            If a name, shape or dtype differs.
        """
        own = self._stored()
        different = {name for name, _ in own} ^ set(arrays)
        if different:
            raise CheckpointError(
                f"the stored state has other arrays than this network: "
                f"{min(different)!r} is in one of them only"
            )
        leaves = []
        for name, leaf in own:
            array = np.asarray(arrays[name])
            if (array.shape, array.dtype) != (leaf.shape, leaf.dtype):
                raise CheckpointError(
                    f"the stored array {name!r} is {array.dtype} {list(array.shape)}, "
                    f"this network has {leaf.dtype} {list(leaf.shape)}"
                )
            leaves.append(array)
        *state, best, waited = leaves
        tree = jax.tree.structure(self._state)
        self._state = self._put(jax.tree.unflatten(tree, state))
        self._best, self._waited = float(best), int(waited)


def _device_data(data: TrainingData, config: TrainingConfig) -> dict[str, Any]:
    """Return the arrays of windows, padded to lengths that other data share."""
    count = len(data.start)
    rows = padded_length(count)

    def fill(array: NDArray, to: int, value: float) -> NDArray:
        widths = [(0, to - len(array))] + [(0, 0)] * (array.ndim - 1)
        return np.pad(array, widths, constant_values=value)

    # a slice that would end behind the frames would begin earlier
    total = padded_length(len(data.frames) + data.size + int(data.shift.max()), 64)
    own: dict[str, Any] = {
        "frames": fill(np.asarray(data.frames, np.float32), total, 0),
        "labels": fill(np.asarray(data.labels, np.int32), total, -1),
        "count": np.int32(count),
        "start_token": np.int32(data.start_token),
    }
    for name in ("start", "length", "core", "shift"):
        own[name] = fill(np.asarray(getattr(data, name), np.int32), rows, 0)
    if config.class_weights is not None:
        own["class_weights"] = np.array(config.class_weights, np.float32)
    if data.tokens is not None:
        own["tokens"] = fill(np.asarray(data.tokens, np.int32), rows, 0)
    return own


def _sizes(length: NDArray, size: int, multiple: int) -> tuple[int, ...]:
    """Return ascending sizes, about half of the next, that hold some of the rows."""
    sizes = [size]
    while len(sizes) < _MOST_SIZES:
        half = -(-(sizes[0] // 2) // multiple) * multiple
        if half >= sizes[0] or not (length <= half).any():
            break
        sizes.insert(0, half)
    return tuple(sizes)
