"""Rejection sampling in bounded rounds, and the hat of a log-concave density."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from mlmethods_jax.ops._draws import uniform

__all__ = [
    "CANDIDATES",
    "MAX_ROUNDS",
    "Proposal",
    "TangentHat",
    "first_accepted",
    "log1p_less",
]

MAX_ROUNDS = 100
# Six candidates a round leave about 1 lane in 1e4 for a second round.
CANDIDATES = 6


class Proposal(NamedTuple):
    """A rejection sampler: `propose` candidates, and turn one into `parts`."""

    propose: Callable[[Array], tuple[Array, Array]]
    parts: Callable[[Array], Any]


class TangentHat(NamedTuple):
    """The smallest of 1 and two tangents, above a log-concave density with mode 0.

    The density is 1 at its mode. Arrays have one entry a lane.

    Attributes
    ----------
    start, stop : arrays
        Where the tangents reach 1.
    slope_left, slope_right : arrays
        Sizes of their slopes, in the logarithm.
    low, high : arrays
        Ends of the support.
    """

    start: Array
    stop: Array
    slope_left: Array
    slope_right: Array
    low: Array
    high: Array

    @classmethod
    def of(
        cls,
        log_density: Callable[[Array], Array],
        slope: Callable[[Array], Array],
        touch: tuple[Array, Array],
        ends: tuple[Array, Array],
    ) -> TangentHat:
        """Return the hat of the tangents at the points `touch`, left and right of 0."""
        left, right = touch
        slope_left, slope_right = slope(left), -slope(right)
        start = left - log_density(left) / slope_left
        stop = right + log_density(right) / slope_right
        return cls(start, stop, slope_left, slope_right, *ends)

    def propose(
        self, log_density: Callable[[Array], Array], key: Array
    ) -> tuple[Array, Array]:
        """Return candidates [CANDIDATES, ...] under the hat, and which are accepted."""
        # The exponential tails end with the support, at these multiples of their scale.
        end_left = self.slope_left * (self.start - self.low)
        end_right = self.slope_right * (self.high - self.stop)
        flat = self.stop - self.start
        tail_left = -jnp.expm1(-end_left) / self.slope_left
        tail_right = -jnp.expm1(-end_right) / self.slope_right

        def candidate(position: Array, u: Array) -> tuple[Array, Array]:
            position = position * (flat + tail_left + tail_right)
            in_flat = position < flat
            in_left = position < flat + tail_left
            depth = -jnp.log(
                u + (1 - u) * jnp.exp(-jnp.where(in_left, end_left, end_right))
            )
            tail = jnp.where(
                in_left,
                self.start - depth / self.slope_left,
                self.stop + depth / self.slope_right,
            )
            e = jnp.where(in_flat, self.start + position, tail)
            inside = (e > self.low) & (e < self.high)
            log_ratio = log_density(jnp.where(inside, e, 0))
            log_ratio = log_ratio + jnp.where(in_flat, 0, depth)
            return e, jnp.where(inside, log_ratio, -jnp.inf)

        key_position, key_depth, key_accept = jax.random.split(key, 3)
        shape, dtype = (CANDIDATES, *self.start.shape), self.start.dtype
        position = uniform(key_position, shape, dtype)
        depth = uniform(key_depth, shape, dtype)
        e, log_ratio = jax.vmap(candidate)(position, depth)
        return e, jnp.log(uniform(key_accept, shape, dtype)) <= log_ratio


def first_accepted(
    key: Array,
    propose: Callable[[Array], tuple[Array, Array]],
    like: Array,
    valid: Array,
) -> tuple[Array, Array, Array]:
    """Return the first accepted candidate of each lane.

    Parameters
    ----------
    key : key
        Consumed.
    propose : callable
        Returns candidates and whether they are accepted, both [CANDIDATES, ...].
    like : array of shape (...)
        Of the dtype of candidates.
    valid : bool array of shape (...)
        Lanes to draw.

    Returns
    -------
    value : array of shape (...)
        Meaningless where a lane is not done.
    done : bool array of shape (...)
        Whether the lane is valid and accepted a candidate within 100 rounds.
    rounds : int array of shape ()
        Rounds that were run.
    """

    def unfinished(state: tuple[Array, Array, Array]) -> Array:
        rounds, done, _ = state
        return (rounds < MAX_ROUNDS) & ~jnp.all(done)

    def step(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        rounds, done, value = state
        candidates, accepted = propose(jax.random.fold_in(key, rounds))
        first = jnp.argmax(accepted, axis=0)[None]
        chosen = jnp.take_along_axis(candidates, first, axis=0)[0]
        hit = jnp.any(accepted, axis=0) & ~done
        return rounds + 1, done | hit, jnp.where(hit, chosen, value)

    start = (jnp.int32(0), ~valid, jnp.zeros_like(like))
    rounds, done, value = jax.lax.while_loop(unfinished, step, start)
    return value, done & valid, rounds


def log1p_less(x: Array) -> Array:
    """Return ``log1p(x) - x`` to full relative precision."""
    # With r = x / (2 + x), log1p(x) = 2 atanh(r) and x = 2 r / (1 - r).
    small = (x > -0.5) & (x < 1)
    near = jnp.where(small, x, 0)
    r = near / (2 + near)
    square = r * r
    terms = 9 if x.dtype == jnp.float32 else 18
    total = jnp.zeros_like(x)
    for j in reversed(range(terms)):
        total = total * square + 1 / (2 * j + 3)
    return jnp.where(small, r * (2 * square * total - near), jnp.log1p(x) - x)
