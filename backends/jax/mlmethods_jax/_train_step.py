"""The state of training, gradients of examples, and the function of one step."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import Array, GradientMechanism, Key, PyTree
from mlmethods_jax.random import STREAM_DROPOUT, STREAM_NOISE, stream

__all__ = [
    "TrainState",
    "TrainStep",
    "check_positive",
    "leading_size",
    "make_train_step",
    "per_example_gradients",
]

LossFn = Callable[[PyTree, PyTree, Key], Array]
"""``loss_fn(params, batch, key)``: the mean over the batch, or one loss an example."""


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["params", "opt_state", "step", "mechanism_state"],
    meta_fields=[],
)
@dataclass(frozen=True)
class TrainState:
    """Everything that a training step changes.

    Attributes
    ----------
    params : pytree
        What is trained.
    opt_state : pytree
        State of the optax optimizer.
    step : int32 array of shape ()
        Steps taken, skipped ones included.
    mechanism_state : pytree
        State of the gradient mechanism, if there is one.
    """

    params: PyTree
    opt_state: PyTree
    step: Any
    mechanism_state: PyTree = ()

    @classmethod
    def create(
        cls,
        params: PyTree,
        optimizer: optax.GradientTransformation,
        *,
        mechanism: GradientMechanism | None = None,
    ) -> TrainState:
        """Return the state before the first step."""
        return cls(
            params,
            optimizer.init(params),
            jax.device_put(np.int32(0)),
            () if mechanism is None else mechanism.init(params),
        )


class TrainStep(Protocol):
    """A pure function of one step, to be jitted or scanned by the caller."""

    def __call__(
        self, state: TrainState, batch: PyTree, key: Key, mask: Array | None = None
    ) -> tuple[TrainState, dict[str, Array]]:
        """Return the next state and metrics; `key` is the root key of the run."""
        ...


def leading_size(batch: PyTree, name: str = "batch") -> int:
    """Return the length of the leading axis that all leaves share."""
    sizes = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(batch)}
    if len(sizes) != 1 or sizes == {()}:
        raise InvalidInputError(
            f"{name} must hold arrays with one common leading axis, got leading axes "
            f"{sorted(sizes)}"
        )
    return sizes.pop()[0]


def check_positive(name: str, value: Any) -> int:
    """Return `value` if it is an integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise InvalidInputError(f"{name} must be an integer >= 1, got {value!r}")
    return int(value)


def _example_value_and_grad(
    loss_fn: LossFn, params: PyTree
) -> Callable[[PyTree, Any], tuple[Array, PyTree]]:
    """Return ``(example, key) -> (loss, gradient)`` of one row of a batch."""

    def loss_of_one(params: PyTree, example: PyTree, key: Any) -> Array:
        batch = jax.tree.map(lambda leaf: leaf[None], example)
        return jnp.sum(loss_fn(params, batch, key))

    return functools.partial(jax.value_and_grad(loss_of_one), params)


def per_example_gradients(
    loss_fn: LossFn,
    params: PyTree,
    batch: PyTree,
    *,
    key: Key | None = None,
    microbatch: int | None = None,
) -> PyTree:
    """Return the gradient of every example's loss, leaves [b, ...].

    Parameters
    ----------
    loss_fn : callable
        ``loss_fn(params, batch, key)``; it sees batches of one example.
    params : pytree
        Where the gradients are taken.
    batch : pytree of arrays [b, ...]
        The examples.
    key : key, optional
        Split over the examples; without it `loss_fn` receives None.
    microbatch : int, optional
        Examples that are differentiated at once, all by default: it bounds the memory
        of activations, not that of the result.

    Raises
    ------
    InvalidInputError
        If the leading axes of `batch` differ or `microbatch` is below 1.
    """
    size = leading_size(batch)
    chunk = size if microbatch is None else check_positive("microbatch", microbatch)
    value_and_grad = _example_value_and_grad(loss_fn, params)
    keys = None if key is None else jax.random.split(key, size)

    def gradient(example_and_key: tuple[PyTree, Any]) -> PyTree:
        return value_and_grad(*example_and_key)[1]

    return lax.map(gradient, (batch, keys), batch_size=min(chunk, size))


def _microbatches(tree: PyTree, size: int, microbatch: int) -> PyTree:
    """Cut leaves [b, ...] into [num, microbatch, ...], repeating the last row."""
    extra = -size % microbatch

    def cut(leaf: Any) -> Any:
        widths = [(0, extra)] + [(0, 0)] * (leaf.ndim - 1)
        # repeated rows keep gradients finite where zeros might not; they are masked
        padded = jnp.pad(leaf, widths, mode="edge") if extra else leaf
        return padded.reshape(-1, microbatch, *leaf.shape[1:])

    return jax.tree.map(cut, tree)


def _cut_mask(mask: Array | None, size: int, microbatch: int) -> Array | None:
    """Cut a mask [b] as :func:`_microbatches` cuts rows; what is added is left out."""
    if mask is None:
        return None
    return jnp.pad(mask, (0, -size % microbatch)).reshape(-1, microbatch)


def _needed(kept: Array | None, num: int) -> Any:
    """Return how many of `num` microbatches to go through: to the last kept row.

    The number is traced where there is a mask. Rows that are packed to the front cost
    what they are, whatever the room is.
    """
    if kept is None:
        return num
    last = num - jnp.argmax(jnp.any(kept, axis=1)[::-1])
    return jnp.where(jnp.any(kept), last, 0).astype(jnp.int32)


def _at(tree: PyTree, i: Any) -> PyTree:
    """Return the entry `i` of the leading axis of every leaf."""

    def pick(leaf: Any) -> Array:
        return lax.dynamic_index_in_dim(leaf, i, keepdims=False)

    return jax.tree.map(pick, tree)


def _add(a: PyTree, b: PyTree) -> PyTree:
    return jax.tree.map(jnp.add, a, b)


def _all_finite(tree: PyTree) -> Array:
    finite = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]
    return functools.reduce(jnp.logical_and, finite, jnp.array(True))


def _divide(tree: PyTree, count: Array) -> PyTree:
    return jax.tree.map(lambda leaf: leaf / count.astype(leaf.dtype), tree)


def _plain_gradient(
    loss_fn: LossFn, params: PyTree, batch: PyTree, mask: Array | None, key: Key
) -> tuple[Array, Array, PyTree]:
    """Return the summed loss, the number of examples, and the summed gradient."""

    def summed(params: PyTree) -> tuple[Array, Array]:
        losses = loss_fn(params, batch, key)
        if losses.ndim == 0:
            if mask is not None:
                raise InvalidInputError(
                    "loss_fn must return one loss an example where a mask is given, "
                    "got a scalar"
                )
            return losses, jnp.ones((), jnp.float32)
        if mask is None:
            return jnp.sum(losses), jnp.full((), losses.size, jnp.float32)
        kept = jnp.where(mask, losses, jnp.zeros((), losses.dtype))
        return jnp.sum(kept), jnp.sum(mask, dtype=jnp.float32)

    (total, count), grads = jax.value_and_grad(summed, has_aux=True)(params)
    return total, count, grads


def _accumulated_gradient(
    loss_fn: LossFn,
    params: PyTree,
    batch: PyTree,
    mask: Array | None,
    key: Key,
    microbatch: int | None,
) -> tuple[Array, PyTree]:
    """Return the mean loss and its gradient."""
    size = leading_size(batch)
    if microbatch is None:
        total, count, grads = _plain_gradient(loss_fn, params, batch, mask, key)
        return _divide((total, grads), jnp.maximum(count, 1))
    if mask is None and size % microbatch:
        raise InvalidInputError(
            f"microbatch must divide the batch size {size}, got {microbatch}"
        )
    parts = _microbatches(batch, size, microbatch)
    kept = _cut_mask(mask, size, microbatch)

    def one(i: Any) -> tuple[Array, Array, PyTree]:
        rows, mask = _at((parts, kept), i)
        return _plain_gradient(loss_fn, params, rows, mask, jax.random.fold_in(key, i))

    shapes = jax.eval_shape(one, np.int32(0))
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    total, count, grads = lax.fori_loop(
        0,
        _needed(kept, -(-size // microbatch)),
        lambda i, sums: _add(sums, one(i)),
        zeros,
    )
    return _divide((total, grads), jnp.maximum(count, 1))


def _private_gradient(
    loss_fn: LossFn,
    mechanism: GradientMechanism,
    state: TrainState,
    batch: PyTree,
    mask: Array | None,
    keys: tuple[Key, Key],
    microbatch: int | None,
) -> tuple[Array, PyTree, PyTree]:
    """Return the mean loss, the mechanism's gradient and its state."""
    size = leading_size(batch)
    chunk = min(microbatch or size, size)
    num = -(-size // chunk)
    loss_key, noise_key = keys
    value_and_grad = _example_value_and_grad(loss_fn, state.params)
    parts = _microbatches(batch, size, chunk)
    needed = _needed(_cut_mask(mask, size, chunk), num)
    mask = jnp.ones(size, bool) if mask is None else mask
    kept = _cut_mask(mask, size, chunk)

    def release(mechanism_state: PyTree, i: Any) -> tuple[PyTree, Any]:
        rows, mask = _at((parts, kept), i)
        numbers = i * chunk + jnp.arange(chunk, dtype=jnp.int32)
        row_keys = jax.vmap(jax.random.fold_in, (None, 0))(loss_key, numbers)
        losses, grads = jax.vmap(value_and_grad)(rows, row_keys)
        part, mechanism_state = mechanism.randomize(
            jax.random.fold_in(noise_key, i), grads, mask, mechanism_state
        )
        loss = jnp.sum(jnp.where(mask, losses, jnp.zeros((), losses.dtype)))
        return mechanism_state, (loss, part)

    def body(i: Any, carry: Any) -> Any:
        mechanism_state, sums = carry
        mechanism_state, part = release(mechanism_state, i)
        return mechanism_state, _add(sums, part)

    shapes = jax.eval_shape(release, state.mechanism_state, np.int32(0))[1]
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    mechanism_state, (loss, total) = lax.fori_loop(
        np.int32(0), needed, body, (state.mechanism_state, zeros)
    )
    count = jnp.sum(mask, dtype=jnp.int32)
    loss = _divide(loss, jnp.maximum(count, 1))
    finalize = getattr(mechanism, "finalize", None)
    if finalize is None:
        return loss, _divide(total, jnp.maximum(count, 1)), mechanism_state
    grads, mechanism_state = finalize(
        jax.random.fold_in(noise_key, num), total, count, mechanism_state
    )
    return loss, grads, mechanism_state


def make_train_step(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    *,
    mechanism: GradientMechanism | None = None,
    microbatch: int | None = None,
) -> TrainStep:
    """Return the pure function of one training step.

    Parameters
    ----------
    loss_fn : callable
        ``loss_fn(params, batch, key)`` returns the mean loss of the batch, or the loss
        of each example; with a mechanism it sees batches of one example.
    optimizer : optax.GradientTransformation
        Turns gradients into updates.
    mechanism : GradientMechanism, optional
        Receives per-example gradients and returns what the optimizer sees. It is not
        called for microbatches behind the last row that a mask keeps.
    microbatch : int, optional
        Rows that are differentiated at once. With a mechanism, memory grows with
        ``microbatch`` times the number of parameters, not with the batch.

    Returns
    -------
    TrainStep
        ``step(state, batch, key, mask=None) -> (state, metrics)`` with the metrics
        ``loss``, ``grad_norm`` and ``skipped`` (1 where the gradient or the update was
        not finite, and parameters and optimizer state stayed as they were). The loss
        is never randomised. ``mask`` [b] leaves out padded rows: with rows to keep in
        front, a step costs what they cost. An empty batch has loss 0.

    Raises
    ------
    InvalidInputError
        If `microbatch` is below 1; from the step, if it does not divide the batch where
        there is neither a mechanism nor a mask.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, optax
    >>> from mlmethods_jax.training import TrainState, make_train_step
    >>> def loss_fn(w, batch, key):
    ...     return jnp.mean((batch["x"] @ w - batch["y"]) ** 2)
    >>> optimizer = optax.sgd(0.5)
    >>> step = jax.jit(make_train_step(loss_fn, optimizer))
    >>> state = TrainState.create(jnp.zeros(2), optimizer)
    >>> batch = {"x": jnp.eye(2), "y": jnp.ones(2)}
    >>> state, metrics = step(state, batch, jax.random.key(0))
    >>> state.params.tolist(), float(metrics["loss"])
    ([0.5, 0.5], 1.0)
    """
    if microbatch is not None:
        microbatch = check_positive("microbatch", microbatch)

    def step(
        state: TrainState, batch: PyTree, key: Key, mask: Array | None = None
    ) -> tuple[TrainState, dict[str, Array]]:
        loss_key = stream(key, STREAM_DROPOUT, state.step)
        mechanism_state = state.mechanism_state
        if mechanism is None:
            loss, grads = _accumulated_gradient(
                loss_fn, state.params, batch, mask, loss_key, microbatch
            )
        else:
            keys = (loss_key, stream(key, STREAM_NOISE, state.step))
            loss, grads, mechanism_state = _private_gradient(
                loss_fn, mechanism, state, batch, mask, keys, microbatch
            )
        # optax mixes counts and decay rates, also where the program promotes strictly
        with jax.numpy_dtype_promotion("standard"):
            updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
            params = optax.apply_updates(state.params, updates)
        finite = _all_finite((grads, updates))

        def keep(new: Any, old: Any) -> Any:
            return jnp.where(finite, new, old)

        metrics = {
            "loss": loss,
            "grad_norm": optax.tree.norm(grads),
            "skipped": 1 - finite.astype(jnp.int32),
        }
        new_state = TrainState(
            jax.tree.map(keep, params, state.params),
            jax.tree.map(keep, opt_state, state.opt_state),
            state.step + 1,
            # what was released has been released, also where the update is skipped
            mechanism_state,
        )
        return new_state, metrics

    return step
