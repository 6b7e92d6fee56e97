"""Training: steps, per-example gradients and the loop, shared by every network.

Batches, dropout and noise are drawn from streams of one root key, folded with the
step: a run that resumes from a state draws what an uninterrupted run would have drawn.
"""

from __future__ import annotations

import contextlib
import functools
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import Callback, Event, Key, NDArray, PyTree
from mlmethods_jax._batches import batch_chunks
from mlmethods_jax._train_step import (
    TrainState,
    TrainStep,
    check_positive,
    leading_size,
    make_train_step,
    per_example_gradients,
)

__all__ = [
    "FitInterrupted",
    "FitResult",
    "TrainState",
    "TrainStep",
    "fit_loop",
    "make_train_step",
    "per_example_gradients",
]


Gather = Callable[[PyTree, Any], PyTree]
"""``gather(data, indices)``: the batch of the rows `indices` [batch_size]."""


class FitResult(NamedTuple):
    """What :func:`fit_loop` returns.

    Attributes
    ----------
    state : TrainState
        The state after the last step.
    history : dict of str to numpy array, one entry a step
        The metrics of every step.
    """

    state: TrainState
    history: dict[str, NDArray]


class FitInterrupted(KeyboardInterrupt):
    """The loop was interrupted; ``result`` holds what was done until then."""

    def __init__(self, result: FitResult) -> None:
        super().__init__("training was interrupted")
        self.result = result


@contextlib.contextmanager
def _deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Let Ctrl-C wait for the end of a chunk; a second one is immediate.

    An interrupt between a call that donates the state and the assignment of its
    result would lose both.
    """
    pending = False

    def note(signum: int, frame: Any) -> None:
        nonlocal pending
        pending = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if ours:
        signal.signal(signal.SIGINT, note)
    try:
        yield lambda: pending
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _take_rows(data: PyTree, indices: Any) -> PyTree:
    return jax.tree.map(lambda leaf: jnp.take(leaf, indices, 0, mode="clip"), data)


@functools.partial(jax.jit, static_argnames=("step", "gather"), donate_argnames="state")
def _run_chunk(
    step: TrainStep,
    gather: Gather,
    state: TrainState,
    data: PyTree,
    rows: Any,
    sizes: Any,
    count: Any,
    key: Any,
) -> tuple[TrainState, dict[str, Any]]:
    """Take the first `count` steps of a chunk of batches rows [chunk, batch].

    With sizes [chunk], only so many rows of each batch count.
    """

    def one(state: TrainState, i: Any) -> tuple[TrainState, dict[str, Any]]:
        batch = gather(data, rows[i])
        if sizes is None:
            return step(state, batch, key)
        mask = jnp.arange(rows.shape[1], dtype=jnp.int32) < sizes[i]
        state, metrics = step(state, batch, key, mask)
        return state, {**metrics, "examples": sizes[i]}

    def body(i: Any, carry: Any) -> Any:
        state, history = carry
        state, metrics = one(state, i)
        return state, jax.tree.map(lambda h, m: h.at[i].set(m), history, metrics)

    shapes = jax.eval_shape(one, state, np.int32(0))[1]
    empty = jax.tree.map(lambda s: jnp.zeros((len(rows), *s.shape), s.dtype), shapes)
    # the trip count is traced: a short last chunk runs the program of the others, so
    # where chunks begin changes no bit of the result
    return lax.fori_loop(0, count, body, (state, empty))


@jax.jit
def _copy(tree: PyTree) -> PyTree:
    return jax.tree.map(jnp.copy, tree)


def _number_of_rows(data: PyTree, num_rows: int | None, gather: Gather | None) -> int:
    """Return the rows that batches are drawn from."""
    if gather is not None:
        if num_rows is None:
            raise InvalidInputError("num_rows must be given with gather, got None")
        return check_positive("num_rows", num_rows)
    size = leading_size(data, "data")
    if num_rows is None:
        return size
    if check_positive("num_rows", num_rows) > size:
        raise InvalidInputError(
            f"num_rows must be at most the number of rows {size}, got {num_rows}"
        )
    return num_rows


def _number_of_steps(num_steps: int | None, epochs: int | None, per_epoch: int) -> int:
    if (num_steps is None) == (epochs is None):
        raise InvalidInputError(
            f"one of num_steps and epochs must be given, got num_steps={num_steps} "
            f"and epochs={epochs}"
        )
    if epochs is not None:
        return check_positive("epochs", epochs) * per_epoch
    return check_positive("num_steps", num_steps)


def fit_loop(
    step: TrainStep,
    state: TrainState,
    data: PyTree,
    *,
    key: Key,
    num_steps: int | None = None,
    epochs: int | None = None,
    batch_size: int,
    sampling: str = "shuffle",
    rate: float | None = None,
    capacity: int | None = None,
    callback: Callback | None = None,
    log_every: int = 100,
    scan_chunk: int | None = None,
    num_rows: int | None = None,
    gather: Gather | None = None,
) -> FitResult:
    """Train on data that fits on the device.

    Every epoch visits the rows in a new order, and rows that do not fill a batch wait
    for another epoch; or each batch includes each row on its own. Steps run in compiled
    chunks, with one compilation for a `step` function, its shapes and the length of a
    chunk.

    Parameters
    ----------
    step : TrainStep
        From :func:`make_train_step`.
    state : TrainState
        Where to start; its buffers are copied, not consumed. A run that continues
        from the state of another one, with the same key, data and batch size, gives
        bit for bit what one run of all steps gives.
    data : pytree of arrays [n, ...]
        The training set, moved to the device once.
    key : key
        Root key of the run.
    num_steps, epochs : int
        How many further steps, or epochs, to take; give one of them.
    batch_size : int
        Rows in a batch; of Poisson batches, their expected number.
    sampling : {"shuffle", "poisson"}
        How batches are drawn. ``"poisson"`` includes each row of the data in each batch
        with probability `rate`, independently; `step` then receives a mask, `loss_fn`
        must return one loss an example, and the metric ``examples`` says how many rows
        there were.
    rate : float, optional
        Of Poisson batches, ``batch_size / num_rows`` by default. Where the number of
        rows is private, give the public rate. Another value does not compile again.
    capacity : int, optional
        Room in a Poisson batch; the default is exceeded with probability 1e-12 a step
        at most.
    callback : callable, optional
        Receives a ``"start"`` event, ``"step"`` events with the mean of each metric
        since the last one (of ``skipped`` the sum), and an ``"end"`` event.
    log_every : int
        Steps between ``"step"`` events.
    scan_chunk : int, optional
        Steps in one compiled call, `log_every` by default.
    num_rows : int, optional
        Batches come from the first `num_rows` rows only. Data of several sizes that
        are padded to one length share a compiled program.
    gather : callable, optional
        ``gather(data, indices)`` returns the batch of the rows `indices`; by default
        it takes these rows of every leaf. The leaves of `data` are then its own
        affair, and `num_rows` must be given. Another function compiles again.

    Returns
    -------
    FitResult
        The last state and the metrics of every step.

    Raises
    ------
    InvalidInputError
        If a number is below 1, both or none of `num_steps` and `epochs` are given, the
        batch size exceeds the rows, `num_rows` exceeds the data, or it is missing
        where `gather` is given; if `sampling` is unknown, or `rate` or `capacity` is
        out of its range or given for shuffled batches.
    SamplerError
        If a Poisson batch exceeds `capacity`; no batch is ever cut.
    FitInterrupted
        On KeyboardInterrupt, after the running chunk, with what was done until then.
    """
    size = _number_of_rows(data, num_rows, gather)
    gather = _take_rows if gather is None else gather
    if check_positive("batch_size", batch_size) > size and rate is None:
        raise InvalidInputError(
            f"batch_size must be at most the number of rows {size}, got {batch_size}"
        )
    total = _number_of_steps(num_steps, epochs, size // batch_size)
    log_every = check_positive("log_every", log_every)
    chunk = (
        log_every if scan_chunk is None else check_positive("scan_chunk", scan_chunk)
    )

    began = time.perf_counter()
    draw = batch_chunks(
        key,
        sampling=sampling,
        size=size,
        batch_size=batch_size,
        rate=rate,
        capacity=capacity,
    )
    first = int(state.step)
    parts: list[dict[str, NDArray]] = []
    done = logged = 0

    def history(start: int = 0) -> dict[str, NDArray]:
        names = parts[0] if parts else {}
        return {n: np.concatenate([p[n] for p in parts])[start:] for n in names}

    def emit(kind: str, message: str = "") -> None:
        if callback is None:
            return
        metrics = {
            name: int(values.sum()) if name == "skipped" else float(values.mean())
            for name, values in history(logged).items()
            if kind == "step"
        }
        elapsed = time.perf_counter() - began
        event = Event(
            kind=kind,
            task="training",
            step=done,
            total=total,
            metrics=metrics,
            elapsed=elapsed,
            message=message,
        )
        callback(event)

    state = _copy(state)
    data = jax.device_put(data)
    try:
        emit("start")
        while done < total:
            count = min(chunk, total - done, logged + log_every - done)
            rows, sizes = draw(first + done, count, chunk)
            with _deferred_interrupt() as interrupted:
                state, metrics = _run_chunk(
                    step, gather, state, data, rows, sizes, np.int32(count), key
                )
                fetched = jax.device_get(metrics)
                parts.append({name: v[:count] for name, v in fetched.items()})
                done += count
            if interrupted():
                raise KeyboardInterrupt
            if done - logged == log_every or done == total:
                emit("step")
                logged = done
    except KeyboardInterrupt as error:
        if any(leaf.is_deleted() for leaf in jax.tree.leaves(state)):
            raise  # by a second interrupt within a chunk: there is no state to hand over
        with contextlib.suppress(KeyboardInterrupt):
            emit("end", f"interrupted after {done} steps")
        raise FitInterrupted(FitResult(state, history())) from error
    emit("end", f"finished {done} steps")
    return FitResult(state, history())
