"""Many trainings side by side: one compiled step for a stack of states.

A lane is one training with weights, labels and rows of its own. On an accelerator the
lanes are vmapped. On a CPU, where batched products gain nothing, the same program goes
through the lanes that still train, one after another: finished lanes cost nothing, and
a lane gives the same bits whatever runs beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool

from mlmethods.interfaces import PyTree
from mlmethods_jax.training import TrainState, TrainStep

__all__ = ["lanes_step", "over_lanes", "stack_states"]


def over_lanes(
    function: Callable[[PyTree, PyTree], tuple[PyTree, PyTree]],
    state: PyTree,
    inputs: PyTree,
    active: Bool[Array, "lanes"],
    *,
    sequential: bool,
) -> tuple[PyTree, PyTree]:
    """Apply a function to the state of every active lane.

    Parameters
    ----------
    function : callable
        ``function(state, inputs) -> (state, outputs)`` of one lane.
    state, inputs : pytree of arrays [lanes, ...]
        What the lanes have of their own.
    active : bool array of shape (lanes,)
        The others keep their state, and their outputs are zeros.
    sequential : bool
        Whether to go through the active lanes one after another.

    Returns
    -------
    state, outputs : pytree of arrays [lanes, ...]
        `state` keeps its dtypes.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from mlmethods_jax.overfitting.lanes import over_lanes
    >>> state, outputs = over_lanes(
    ...     lambda s, x: (s + x, s), jnp.ones(3), jnp.arange(3.0),
    ...     jnp.array([True, False, True]), sequential=True,
    ... )
    >>> state.tolist(), outputs.tolist()
    ([1.0, 1.0, 3.0], [1.0, 0.0, 1.0])
    """
    if not sequential:
        new, outputs = jax.vmap(function)(state, inputs)
        return (
            jax.tree.map(lambda a, b: _where(active, a, b), new, state),
            jax.tree.map(lambda a: _where(active, a, jnp.zeros_like(a)), outputs),
        )

    def at(tree: PyTree, lane: Any) -> PyTree:
        return jax.tree.map(lambda leaf: leaf[lane], tree)

    def put(tree: PyTree, lane: Any, values: PyTree) -> PyTree:
        return jax.tree.map(lambda leaf, v: leaf.at[lane].set(v), tree, values)

    # active lanes first: the trip count is traced, so that no lane is computed in vain
    order = jnp.argsort(jnp.logical_not(active), stable=True)

    def body(i: Any, carry: Any) -> Any:
        state, outputs = carry
        new, output = function(at(state, order[i]), at(inputs, order[i]))
        return put(state, order[i], new), put(outputs, order[i], output)

    shapes = jax.eval_shape(function, at(state, 0), at(inputs, 0))[1]
    empty = jax.tree.map(lambda s: jnp.zeros((len(active), *s.shape), s.dtype), shapes)
    return lax.fori_loop(0, jnp.sum(active, dtype=jnp.int32), body, (state, empty))


def _where(active: Any, a: Any, b: Any) -> Any:
    return jnp.where(active.reshape((-1,) + (1,) * (a.ndim - 1)), a, b)


def stack_states(states: TrainState) -> TrainState:
    """Return the vmapped states of :meth:`TrainState.create` as one stack.

    Its step is a single counter, which :func:`fit_loop` reads.
    """
    return TrainState(
        states.params,
        states.opt_state,
        states.step[0],
        states.mechanism_state,
    )


def lanes_step(
    step: TrainStep,
    batch_of: Callable[[PyTree, PyTree], tuple[PyTree, Array]],
    *,
    sequential: bool,
) -> TrainStep:
    """Return the step of a stack of states, for :func:`fit_loop`.

    Parameters
    ----------
    step : TrainStep
        Of one lane, from :func:`make_train_step`.
    batch_of : callable
        ``batch_of(shared, own)`` returns the batch of a lane and the mask of its rows
        that train, from what all lanes share and what is its own.
    sequential : bool
        As in :func:`over_lanes`.

    Returns
    -------
    TrainStep
        Its batches are dicts of ``shared``, ``own`` (leaves [lanes, ...]), ``keys``
        [lanes], the root key of each lane, and ``active`` [lanes]; the key that the
        loop passes is for the order of the batches only. Lanes that are not active
        keep their state, and their metrics are zeros.
    """

    def take(
        state: TrainState, batch: PyTree, key: Any, mask: Array | None = None
    ) -> tuple[TrainState, dict[str, Array]]:
        del key, mask

        def one(own_state: PyTree, inputs: PyTree) -> tuple[PyTree, PyTree]:
            params, opt_state, mechanism_state = own_state
            own, key = inputs
            rows, trains = batch_of(batch["shared"], own)
            new, metrics = step(
                TrainState(params, opt_state, state.step, mechanism_state),
                rows,
                key,
                trains,
            )
            return (new.params, new.opt_state, new.mechanism_state), metrics

        own_state, metrics = over_lanes(
            one,
            (state.params, state.opt_state, state.mechanism_state),
            (batch["own"], batch["keys"]),
            batch["active"],
            sequential=sequential,
        )
        params, opt_state, mechanism_state = own_state
        return TrainState(params, opt_state, state.step + 1, mechanism_state), metrics

    return take
