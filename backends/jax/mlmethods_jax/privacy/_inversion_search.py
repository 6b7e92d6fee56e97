"""The compiled searches behind gradient inversion."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from mlmethods.interfaces import Array, PyTree

__all__ = ["Numbers", "Release", "search"]

_LINESEARCH_STEPS = 20
# Where the step size of Adam falls by a factor of ten, as parts of the run.
_DROPS = (0.375, 0.625, 0.875)


class Release(NamedTuple):
    """How an example's gradient is scaled before the average is taken; static.

    Attributes
    ----------
    scaling : {"none", "unit", "clip"}
        Not at all, to the norm of its group, or to at most that norm.
    groups : tuple of tuples of int
        The numbers of the arrays in each group.
    """

    scaling: str
    groups: tuple[tuple[int, ...], ...]


class Numbers(NamedTuple):
    """What changes nothing that is compiled."""

    num_steps: Any
    learning_rate: Any
    tv_weight: Any
    low: Any
    high: Any
    norms: Any


def _scaled(leaves: list[Array], release: Release, norms: Array) -> list[Array]:
    """Return one example's gradient, each group at its norm or clipped to it."""
    if release.scaling == "none":
        return leaves
    scaled = list(leaves)
    for number, group in enumerate(release.groups):
        squares = jnp.stack([jnp.sum(leaves[i] * leaves[i]) for i in group])
        # above zero, so that the derivative exists at a gradient of zero
        found = jnp.sqrt(jnp.sum(squares) + jnp.finfo(squares.dtype).tiny)
        if release.scaling == "clip":
            found = jnp.maximum(found, norms[number])
        for i in group:
            scaled[i] = leaves[i] * (norms[number] / found)
    return scaled


def _released(
    loss_fn: Any, release: Release, params: PyTree, norms: Array, x: Array, targets: Any
) -> list[Array]:
    """Return the leaves of what the batch `x` would release without noise."""

    def of_one(row: Array, target: Array) -> list[Array]:
        def loss(values: PyTree) -> Array:
            return jnp.sum(loss_fn(values, row[None], target[None]))

        return _scaled(jax.tree.leaves(jax.grad(loss)(params)), release, norms)

    if release.scaling == "none" or len(x) == 1:

        def mean_loss(values: PyTree) -> Array:
            return jnp.mean(loss_fn(values, x, targets))

        grads = jax.tree.leaves(jax.grad(mean_loss)(params))
        return _scaled(grads, release, norms)
    return [jnp.mean(leaf, axis=0) for leaf in jax.vmap(of_one)(x, targets)]


def _distance(
    method: str, release: Release, ours: list[Array], target: list[Array]
) -> Array:
    """Return how far two gradients are apart, in a unit without scale."""

    def dot(a: list[Array], b: list[Array]) -> Array:
        return jnp.sum(jnp.stack([jnp.sum(x * y) for x, y in zip(a, b, strict=True)]))

    tiny = jnp.finfo(target[0].dtype).tiny
    if method == "cosine":
        length = jnp.sqrt(dot(ours, ours) + tiny) * jnp.sqrt(dot(target, target) + tiny)
        return 1 - dot(ours, target) / length
    if release.scaling == "unit":
        # noise has shortened the target: its direction is what is left to compare
        ones = jnp.ones(len(release.groups), target[0].dtype)
        ours, target = _scaled(ours, release, ones), _scaled(target, release, ones)
    gap = [a - b for a, b in zip(ours, target, strict=True)]
    return dot(gap, gap) / (dot(target, target) + tiny)


def _total_variation(images: Array) -> Array:
    down = jnp.mean(jnp.abs(images[:, 1:] - images[:, :-1]))
    return down + jnp.mean(jnp.abs(images[:, :, 1:] - images[:, :, :-1]))


@functools.partial(
    jax.jit,
    static_argnames=(
        "loss_fn",
        "method",
        "release",
        "shape",
        "image_shape",
        "num_classes",
        "num_restarts",
        "bounded",
    ),
)
def search(
    key: Array,
    params: PyTree,
    target: PyTree,
    labels: Array | None,
    numbers: Numbers,
    *,
    loss_fn: Any,
    method: str,
    release: Release,
    shape: tuple[int, ...],
    image_shape: tuple[int, ...] | None,
    num_classes: int,
    num_restarts: int,
    bounded: bool,
) -> tuple[Array, Array, Array]:
    """Return inputs, labels and distance of the best restart."""
    wanted = jax.tree.leaves(target)
    dtype = wanted[0].dtype

    def distance(variables: Any) -> Array:
        x, soft = variables
        targets = jax.nn.softmax(soft, axis=-1) if labels is None else labels
        ours = _released(loss_fn, release, params, numbers.norms, x, targets)
        return _distance(method, release, ours, wanted)

    def objective(variables: Any) -> Array:
        value = distance(variables)
        if image_shape is None:
            return value
        images = variables[0].reshape(shape[0], *image_shape)
        return value + numbers.tv_weight * _total_variation(images)

    def start(key: Array) -> Any:
        key_x, key_soft = jax.random.split(key)
        if bounded:
            unit = jax.random.uniform(key_x, shape, dtype)
            x = numbers.low + (numbers.high - numbers.low) * unit
        else:
            x = jax.random.normal(key_x, shape, dtype)
        rows = 0 if labels is not None else shape[0]
        return x, jax.random.normal(key_soft, (rows, num_classes), dtype)

    def one(key: Array) -> tuple[Any, Array]:
        descend = _signed_adam if method == "cosine" else _lbfgs
        found = descend(objective, start(key), numbers)
        x = jnp.clip(found[0], numbers.low, numbers.high)
        return (x, found[1]), distance((x, found[1]))

    found, distances = jax.vmap(one)(jax.random.split(key, num_restarts))
    ranked = jnp.where(jnp.isfinite(distances), distances, jnp.inf)
    best = jnp.argmin(ranked)
    x, soft = (leaf[best] for leaf in found)
    answer = jnp.argmax(soft, axis=-1).astype(jnp.int32) if labels is None else labels
    return x, answer, ranked[best]


def _keep_best(best: Any, value: Array, variables: Any) -> Any:
    """Return the lowest value seen and where it was; NaN is never the lowest."""
    lower = value < best[0]
    kept = jax.tree.map(lambda n, o: jnp.where(lower, n, o), variables, best[1])
    return jnp.where(lower, value, best[0]), kept


def _signed_adam(objective: Any, start: Any, numbers: Numbers) -> Any:
    """Return the best variables of Adam on the sign of the gradient, within bounds."""
    optimizer = optax.scale_by_adam()
    value_and_grad = jax.value_and_grad(objective)

    def body(i: Array, carry: Any) -> Any:
        variables, state, best = carry
        value, grads = value_and_grad(variables)
        best = _keep_best(best, value, variables)
        with jax.numpy_dtype_promotion("standard"):
            updates, state = optimizer.update(jax.tree.map(jnp.sign, grads), state)
        done = i.astype(value.dtype) / numbers.num_steps.astype(value.dtype)
        drops = sum((done >= part).astype(value.dtype) for part in _DROPS)
        rate = numbers.learning_rate * jnp.asarray(0.1, value.dtype) ** drops
        x, soft = jax.tree.map(lambda v, u: v - rate * u, variables, updates)
        return (jnp.clip(x, numbers.low, numbers.high), soft), state, best

    best = (jnp.asarray(jnp.inf, numbers.low.dtype), start)
    carry = (start, optimizer.init(start), best)
    # one more round, to look at where the last step led
    return jax.lax.fori_loop(0, numbers.num_steps + 1, body, carry)[2][1]


def _lbfgs(objective: Any, start: Any, numbers: Numbers) -> Any:
    """Return the best variables of L-BFGS with a line search."""
    search = optax.scale_by_zoom_linesearch(
        max_linesearch_steps=_LINESEARCH_STEPS, initial_guess_strategy="one"
    )
    optimizer = optax.lbfgs(linesearch=search)
    value_and_grad = optax.value_and_grad_from_state(objective)

    def body(_: Array, carry: Any) -> Any:
        variables, state, best = carry
        with jax.numpy_dtype_promotion("standard"):
            value, grads = value_and_grad(variables, state=state)
            best = _keep_best(best, value, variables)
            updates, state = optimizer.update(
                grads, state, variables, value=value, grad=grads, value_fn=objective
            )
            variables = optax.apply_updates(variables, updates)
        return variables, state, best

    best = (jnp.asarray(jnp.inf, numbers.low.dtype), start)
    carry = (start, optimizer.init(start), best)
    # one more round, to look at where the last step led
    return jax.lax.fori_loop(0, numbers.num_steps + 1, body, carry)[2][1]
