"""A network, its loss, its optimizer and a mechanism as compiled programs."""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen, nnx

from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import (
    Array,
    ArrayLike,
    Callback,
    GradientMechanism,
    Key,
    NDArray,
    PyTree,
)
from mlmethods.privacy.contract import (
    FitOutcome,
    MechanismConfig,
    TrainerConfig,
)
from mlmethods_jax.adapters import LinenModel, NnxModel, from_nnx
from mlmethods_jax.privacy._fingerprint import fingerprint
from mlmethods_jax.privacy._runs import run
from mlmethods_jax.privacy._state_arrays import from_arrays, to_arrays
from mlmethods_jax.privacy.groups import group_dimensions
from mlmethods_jax.privacy.isolation import as_model, check_no_cross_example
from mlmethods_jax.privacy.mechanisms import gradient_mechanism
from mlmethods_jax.random import STREAM_INIT, stream
from mlmethods_jax.training import TrainState, TrainStep, make_train_step

__all__ = ["PrivateProgram", "cross_entropy"]

# rows of one block of an evaluation
_BLOCK = 256
_KEPT = 32

Loss = Callable[[Array, Array], Array]


def cross_entropy(outputs: Array, targets: Array) -> Array:
    """Return the softmax cross entropy of each row, with integer targets."""
    # optax subtracts arrays of several dtypes where the program promotes strictly
    with jax.numpy_dtype_promotion("standard"):
        return optax.softmax_cross_entropy_with_integer_labels(outputs, targets)


class _Core:
    """What is compiled for programs with equal static parts.

    Parameters
    ----------
    model : object
        With ``init`` and ``apply``.
    optimizer : optax.GradientTransformation
        As the user gave it.
    loss : callable
        ``(outputs, targets) -> one loss an example``.
    mechanism : GradientMechanism or None
        Its numbers are in the state, not here.
    microbatch : int
        Rows that are differentiated at once.
    """

    def __init__(
        self,
        model: Any,
        optimizer: optax.GradientTransformation,
        loss: Loss,
        mechanism: GradientMechanism | None,
        microbatch: int,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.loss = loss
        self.mechanism = mechanism
        # without a mechanism a batch is differentiated at once, as a whole
        size = None if mechanism is None else microbatch
        self.step: TrainStep = make_train_step(
            self._train_loss, optimizer, mechanism=mechanism, microbatch=size
        )
        self.isolated: set[Hashable] = set()

    def _train_loss(self, params: PyTree, batch: PyTree, key: Key) -> Array:
        return self._losses(params, batch["x"], batch["y"], key=key, train=True)

    def _losses(self, params: PyTree, x: Array, y: Array, **mode: Any) -> Array:
        losses = self.loss(self.model.apply(params, x, **mode), y)
        if losses.shape != (x.shape[0],):
            raise InvalidInputError(
                f"loss must return one loss an example, shape ({x.shape[0]},), got "
                f"shape {losses.shape}"
            )
        return losses

    def evaluate(self, params: PyTree, x: Array) -> Array:
        """Return the outputs in evaluation mode."""
        return self.model.apply(params, x)

    def losses(self, params: PyTree, x: Array, y: Array) -> Array:
        """Return the losses in evaluation mode."""
        return self._losses(params, x, y)

    def gradients(self, params: PyTree, x: Array, y: Array) -> PyTree:
        """Return the gradient of each row's loss in evaluation mode."""

        def one(params: PyTree, x: Array, y: Array) -> Array:
            return self._losses(params, x[None], y[None])[0]

        return jax.vmap(jax.grad(one), (None, 0, 0))(params, x, y)


@functools.partial(jax.jit, static_argnames=("core", "what"))
def _on_block(core: _Core, what: str, params: PyTree, *rows: Any) -> PyTree:
    return getattr(core, what)(params, *rows)


@functools.partial(jax.jit, static_argnames="core")
def _release(
    core: _Core, params: PyTree, state: PyTree, x: Any, y: Any, key: Any
) -> PyTree:
    grads = core.gradients(params, x, y)
    size = x.shape[0]
    if core.mechanism is None:
        return jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), grads)
    sum_key, final_key = jax.random.split(key)
    mask = jnp.ones(size, bool)
    total, state = core.mechanism.randomize(sum_key, grads, mask, state)
    finalize = getattr(core.mechanism, "finalize", None)
    if finalize is None:
        return jax.tree.map(lambda leaf: leaf / size, total)
    return finalize(final_key, total, jnp.int32(size), state)[0]


@functools.partial(jax.jit, static_argnames="model")
def _init(model: Any, key: Any, sample: Any) -> PyTree:
    with jax.numpy_dtype_promotion("standard"):
        return model.init(stream(key, STREAM_INIT), sample)


@functools.partial(jax.jit, static_argnames="core")
def _init_optimizer(core: _Core, params: PyTree) -> PyTree:
    with jax.numpy_dtype_promotion("standard"):
        return core.optimizer.init(params)


class _Shared:
    """The objects of the last programs, by what makes them equal."""

    def __init__(self, maxsize: int) -> None:
        self._maxsize = maxsize
        self._lock = threading.Lock()
        self._found: OrderedDict[Hashable, Any] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """Return the object of a key, made at the first time."""
        with self._lock:
            if key not in self._found:
                self._found[key] = make()
            self._found.move_to_end(key)
            while len(self._found) > self._maxsize:
                self._found.popitem(last=False)
            return self._found[key]


_cores = _Shared(_KEPT)
_models = _Shared(_KEPT)


def _static_key(model: Any) -> Hashable:
    """Return what decides the outputs of a model besides its parameters."""
    if isinstance(model, NnxModel) and not jax.tree.leaves(model.state):
        return (NnxModel, *model.graphs)
    if isinstance(model, LinenModel) and not jax.tree.leaves(model.state):
        try:
            hash(model.module)
        except TypeError:
            return fingerprint(model)
        return LinenModel, model.module
    return fingerprint(model)


class PrivateProgram:
    """A network, its loss, its optimizer and a mechanism, ready to run.

    Made by ``engine.program``; what it promises is in
    :class:`mlmethods.privacy.contract.Program`.

    Attributes
    ----------
    dimensions : tuple of int
        Number of parameters in each group; empty before `init`.
    """

    def __init__(
        self,
        model: Any,
        optimizer: optax.GradientTransformation,
        mechanism: MechanismConfig,
        config: TrainerConfig,
        loss: Loss | None,
    ) -> None:
        if not hasattr(optimizer, "init") or not hasattr(optimizer, "update"):
            raise InvalidInputError(
                f"optimizer must be an optax.GradientTransformation, got {optimizer!r}"
            )
        self._given = model
        self._optimizer = optimizer
        self._loss: Loss = cross_entropy if loss is None else loss
        self._mechanism_config = mechanism
        self._config = config
        self._model: Any = None
        self._core: _Core | None = None
        self.dimensions: tuple[int, ...] = ()

    @property
    def core(self) -> _Core:
        """What is compiled; known after `init`."""
        if self._core is None:
            raise InvalidInputError("program must be initialized first: call init")
        return self._core

    def init(self, key: Key, sample: NDArray) -> PyTree:
        """Return the state before the first step, for inputs like `sample` [n, ...].

        Only shape and dtype of `sample` count: what is initialized does not depend on
        the data.
        """
        shape = (2, *np.shape(sample)[1:])
        sample = np.ones(shape, np.asarray(sample).dtype)
        model = self._adapted(sample, key)
        if isinstance(self._given, nnx.Module):
            params = model.init(key, sample)
        else:
            params = _init(model, key, sample)
        mechanism = self._mechanism()
        core = self._core = _cores.get(
            (
                _static_key(model),
                fingerprint(self._optimizer),
                fingerprint(self._loss),
                mechanism,
                self._config.microbatch,
            ),
            lambda: _Core(
                model, self._optimizer, self._loss, mechanism, self._config.microbatch
            ),
        )
        seen = (shape, sample.dtype)
        if seen not in core.isolated:
            check_no_cross_example(
                core.model, params, sample, key=stream(key, STREAM_INIT, 1)
            )
            core.isolated.add(seen)
        self.dimensions = group_dimensions(params, self._mechanism_config.granularity)
        return TrainState(
            params,
            _init_optimizer(core, params),
            jax.device_put(np.int32(0)),
            () if mechanism is None else mechanism.init(params),
        )

    def _adapted(self, sample: NDArray, key: Key) -> Any:
        """Return the model as functions; equal ones are one object."""
        if self._model is None:
            if isinstance(self._given, nnx.Module):
                self._model = from_nnx(self._given)
            else:
                given: Any = self._given
                known: Hashable = fingerprint(given)
                if isinstance(given, linen.Module):
                    known = fingerprint(given), sample.shape, sample.dtype
                self._model = _models.get(known, lambda: as_model(given, sample, key))
        return self._model

    def _mechanism(self) -> GradientMechanism | None:
        config = self._mechanism_config
        if config.kind == "none" and self._config.sampling == "shuffle":
            # the plain sum of a full batch needs no gradient of one example
            return None
        return gradient_mechanism(config, expected_batch_size=self._config.batch_size)

    def fit(
        self,
        state: PyTree,
        data: tuple[NDArray, NDArray],
        *,
        key: Key,
        num_steps: int,
        callback: Callback | None = None,
    ) -> FitOutcome:
        """Take further steps on the rows of `data`; `key` is the root key of the run.

        Raises
        ------
        DivergenceError
            If the loss is no longer finite. Its attribute ``result`` holds the state
            before, with the number of steps that were taken, and their history.
        FitInterrupted
            On KeyboardInterrupt; its attribute ``result`` holds what was done.
        """
        x, y = data
        return run(
            self.core.step,
            state,
            {"x": x, "y": y},
            key=key,
            num_steps=num_steps,
            config=self._config,
            callback=callback,
        )

    def _blocks(
        self, what: str, state: PyTree, *rows: ArrayLike, block: int = _BLOCK
    ) -> PyTree:
        """Return a function of rows, block by block; the last one is filled up."""
        arrays = [np.asarray(part) for part in rows]
        size = len(arrays[0])
        if any(len(part) != size for part in arrays):
            raise InvalidInputError(
                "inputs and targets must have as many rows, got "
                f"{', '.join(str(len(part)) for part in arrays)}"
            )
        found = []
        for start in range(0, max(size, 1), block):
            # an empty set is computed as one row that is then left out
            chosen = np.minimum(np.arange(start, start + block), max(size - 1, 0))
            parts = [
                part[chosen] if size else np.zeros((block, *part.shape[1:]), part.dtype)
                for part in arrays
            ]
            result = jax.device_get(_on_block(self.core, what, state.params, *parts))
            kept = min(block, size - start)
            found.append(jax.tree.map(lambda leaf, kept=kept: leaf[:kept], result))
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *found)

    def outputs(self, state: PyTree, inputs: NDArray) -> NDArray:
        """Return the network's outputs for each row, in evaluation mode."""
        return self._blocks("evaluate", state, inputs)

    def losses(self, state: PyTree, inputs: NDArray, targets: NDArray) -> NDArray:
        """Return the loss of each row, in evaluation mode."""
        return self._blocks("losses", state, inputs, targets)

    def gradients(self, state: PyTree, inputs: NDArray, targets: NDArray) -> PyTree:
        """Return the gradient of each row's loss, leaves [n, ...], in evaluation mode."""
        block = self._config.microbatch
        return self._blocks("gradients", state, inputs, targets, block=block)

    def release(
        self, state: PyTree, inputs: NDArray, targets: NDArray, *, key: Key
    ) -> PyTree:
        """Return what the mechanism releases of a batch that is exactly these rows."""
        found = _release(
            self.core, state.params, state.mechanism_state, inputs, targets, key
        )
        return jax.device_get(found)

    def params(self, state: PyTree) -> PyTree:
        """Return the parameters, in memory of the host."""
        return jax.device_get(state.params)

    def arrays(self, state: PyTree) -> dict[str, NDArray]:
        """Return everything in the state under names, for a checkpoint."""
        return to_arrays(state)

    def restore(self, state: PyTree, arrays: Mapping[str, NDArray]) -> PyTree:
        """Return a state like `state` with these arrays.

        Raises
        ------
        CheckpointError
            If a name, shape or dtype differs.
        """
        return from_arrays(state, arrays)
