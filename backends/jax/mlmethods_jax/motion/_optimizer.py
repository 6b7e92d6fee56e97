"""Optimizers whose rates are numbers of their state: other rates compile nothing."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import Array, PyTree

__all__ = ["RatesState", "make_optimizer", "one_cycle", "with_rates"]

_WARM_UP = 0.3
_DIVISOR = 25.0


class RatesState(NamedTuple):
    """State of an optimizer, with its rates.

    Attributes
    ----------
    count : float32 array of shape ()
        Updates made.
    lr, weight_decay : float32 arrays of shape ()
        Peak learning rate, and weight decay.
    total : float32 array of shape ()
        Planned updates.
    scale : float32 array of shape ()
        Factor of the learning rate that epochs without progress have lowered.
    inner : pytree
        Moments of Adam.
    """

    count: Any
    lr: Any
    weight_decay: Any
    total: Any
    scale: Any
    inner: PyTree


def one_cycle(count: Array, peak: Array, total: Array) -> Array:
    """Return the rate of the update number `count`, counted from 0.

    It rises linearly from ``peak / 25`` over 30 % of the updates and falls back
    linearly; both ends are reached.

    Examples
    --------
    >>> import jax, numpy as np
    >>> from mlmethods_jax.motion._optimizer import one_cycle
    >>> rates = jax.jit(one_cycle)(
    ...     np.float32([0, 2, 9]), np.float32(25), np.float32(10)
    ... )
    >>> [round(float(rate), 3) for rate in rates]
    [1.0, 25.0, 1.0]
    """
    low = peak / _DIVISOR
    # a run of few updates has no room for a rise
    top = jnp.maximum(_WARM_UP * total - 1.0, 0.0)
    last = jnp.maximum(total - 1.0, top + 1.0)
    rising = low + (peak - low) * count / jnp.maximum(top, 1.0)
    falling = peak + (low - peak) * jnp.minimum((count - top) / (last - top), 1.0)
    return jnp.where(count < top, rising, falling)


@functools.lru_cache(maxsize=8)
def make_optimizer(kind: str, schedule: str) -> optax.GradientTransformation:
    """Return an optimizer; the same object every time.

    Parameters
    ----------
    kind : {"adam", "adamw"}
        ``"adam"`` adds the weight decay to the gradient, ``"adamw"`` to the update.
    schedule : {"constant", "one-cycle", "plateau"}
        ``"plateau"`` is constant here; what lowers `scale` is the loop over epochs.

    Raises
    ------
    InvalidInputError
        If a name is unknown.
    """
    for name, value, known in (
        ("optimizer", kind, ("adam", "adamw")),
        ("schedule", schedule, ("constant", "one-cycle", "plateau")),
    ):
        if value not in known:
            raise InvalidInputError(
                f"{name} must be one of {', '.join(known)}, got {value!r}"
            )
    adam = optax.scale_by_adam()

    def init(params: PyTree) -> RatesState:
        # distinct buffers: the state is donated
        count, lr, decay, total = (jnp.zeros((), jnp.float32) for _ in range(4))
        scale = jnp.ones((), jnp.float32)
        return RatesState(count, lr, decay, total, scale, adam.init(params))

    def update(
        grads: PyTree, state: RatesState, params: PyTree | None = None
    ) -> tuple[PyTree, RatesState]:
        def decayed(tree: PyTree) -> PyTree:
            return jax.tree.map(lambda u, p: u + state.weight_decay * p, tree, params)

        if kind == "adam":
            grads = decayed(grads)
        updates, inner = adam.update(grads, state.inner, params)
        if kind == "adamw":
            updates = decayed(updates)
        rate = state.lr * state.scale
        if schedule == "one-cycle":
            rate = one_cycle(state.count, rate, state.total)
        updates = jax.tree.map(lambda u: -rate * u, updates)
        return updates, state._replace(count=state.count + 1.0, inner=inner)

    return optax.GradientTransformation(init, update)


def with_rates(
    state: RatesState, *, lr: float, weight_decay: float, total: int
) -> RatesState:
    """Return a state with these rates."""
    return state._replace(
        lr=jnp.float32(lr),
        weight_decay=jnp.float32(weight_decay),
        total=jnp.float32(total),
    )
