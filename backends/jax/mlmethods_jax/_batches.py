"""Which rows make the batch of a step: shuffled epochs, and Poisson sampling.

Every step has rows of its own that depend on the root key and its number alone, so
that a run that resumes draws what an uninterrupted one would have drawn.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mlmethods.errors import InvalidInputError, SamplerError
from mlmethods.interfaces import Key, NDArray
from mlmethods_jax._train_step import check_positive
from mlmethods_jax.ops._precision import x64
from mlmethods_jax.random import STREAM_DATA, stream

__all__ = ["Chunk", "batch_chunks", "poisson_capacity", "poisson_rows"]

_OVERFLOW = 1e-12


class Chunk(NamedTuple):
    """The rows of a number of batches.

    Attributes
    ----------
    rows : int32 array of shape (chunk, width)
        Row numbers; what lies beyond the batches that were asked for has no meaning.
    sizes : int32 array of shape (chunk,) or None
        How many rows of each batch count, from the left; None where all do.
    """

    rows: Any
    sizes: Any


@functools.partial(jax.jit, static_argnames="size")
def _permutation(key: Any, epoch: Any, *, size: int) -> Any:
    return jax.random.permutation(stream(key, STREAM_DATA, epoch), size)


def _shuffled(key: Any, size: int, batch_size: int, first: int) -> Iterator[NDArray]:
    """Yield the rows of the batches of steps `first`, `first` + 1, ..."""
    per_epoch = size // batch_size
    epoch, start = divmod(first, per_epoch)
    while True:
        order = np.asarray(_permutation(key, np.int32(epoch), size=size), np.int32)
        for i in range(start, per_epoch):
            yield order[i * batch_size : (i + 1) * batch_size]
        epoch, start = epoch + 1, 0


def _included(key: Any, rate: Any, size: Any, capacity: int) -> tuple[Any, Any]:
    """Return the rows of one Poisson batch in float64, and how many there are.

    The number of rows that are passed over before the next one is geometric, so that a
    batch costs its own size, not that of the data. One gap more than the capacity is
    drawn: a size of ``capacity + 1`` says that there was no room.
    """
    # in (0, 1]: the logarithm is finite
    u = 1 - jax.random.uniform(key, (capacity + 1,), jnp.float64)
    # a rate of 1 divides by -inf: every gap is 0
    gaps = jnp.floor(jnp.log(u) / jnp.log1p(-rate))
    # cut before the sum, which then cannot overflow
    gaps = jnp.minimum(gaps, size.astype(jnp.float64)).astype(jnp.int64)
    rows = jnp.cumsum(gaps + 1) - 1
    count = jnp.sum(rows < size, dtype=jnp.int32)
    # padding repeats a row of the batch: it is as finite as the batch is
    rows = jnp.where(rows < size, rows, jnp.minimum(rows[0], size - 1))
    return rows[:capacity].astype(jnp.int32), count


@functools.partial(jax.jit, static_argnames=("chunk", "capacity"))
def _poisson(
    key: Any, first: Any, rate: Any, size: Any, *, chunk: int, capacity: int
) -> tuple[Any, Any]:
    def draw(step: Any) -> tuple[Any, Any]:
        return _included(stream(key, STREAM_DATA, step), rate, size, capacity)

    # one step after another: the length of a chunk cannot change a bit of a draw
    return lax.map(draw, first + jnp.arange(chunk, dtype=jnp.int32))


def poisson_rows(
    key: Key, first: int, *, rate: float, size: int, chunk: int, capacity: int
) -> Chunk:
    """Draw Poisson batches: each row of `size` with probability `rate`, on its own.

    Parameters
    ----------
    key : key
        The root key of the run; the stream of its data is folded with the step.
    first : int
        The first step.
    rate : float
        Probability of each row; another value does not compile again.
    size : int
        Number of rows; another value does not compile again.
    chunk, capacity : int
        Number of steps, and room in a batch; they decide what is compiled.

    Returns
    -------
    Chunk
        Row numbers in ascending order; a size of ``capacity + 1`` is an overflow.

    Notes
    -----
    Inclusions are independent and exact to the grid of float64 uniforms, 2**-52.
    """
    with x64():
        return Chunk(
            *_poisson(
                key,
                np.int32(first),
                np.float64(rate),
                np.int64(size),
                chunk=chunk,
                capacity=capacity,
            )
        )


def poisson_capacity(size: int, rate: float, multiple: int = 1) -> int:
    """Return the room that a Poisson batch needs.

    Parameters
    ----------
    size : int
        Number of rows.
    rate : float
        Probability of each.
    multiple : int
        The result is a multiple of it.

    Returns
    -------
    int
        The smallest one that a batch exceeds with probability below 1e-12, by the
        binomial tail.

    Examples
    --------
    >>> from mlmethods_jax._batches import poisson_capacity
    >>> poisson_capacity(60_000, 256 / 60_000, 64)
    384
    """
    from scipy.special import bdtrc

    # bisection: the tail falls in the capacity
    low, high = 0, size
    while low < high:
        middle = (low + high) // 2
        if bdtrc(middle, size, rate) < _OVERFLOW:
            high = middle
        else:
            low = middle + 1
    return max(1, -(-low // multiple)) * multiple


def batch_chunks(
    key: Key,
    *,
    sampling: str,
    size: int,
    batch_size: int,
    rate: float | None,
    capacity: int | None,
) -> Callable[[int, int, int], Chunk]:
    """Return ``(first, count, chunk) -> Chunk``: the batches of steps in order.

    Parameters
    ----------
    key : key
        The root key of the run.
    sampling : {"shuffle", "poisson"}
        The law of the batches.
    size, batch_size : int
        Number of rows, and the size of a batch or its expectation.
    rate, capacity : float, int
        Of Poisson batches; None are ``batch_size / size`` and
        :func:`poisson_capacity`.

    Raises
    ------
    InvalidInputError
        If an argument is out of its range, or `rate` or `capacity` is given for
        shuffled batches.
    """
    if sampling not in ("shuffle", "poisson"):
        raise InvalidInputError(
            f"sampling must be 'shuffle' or 'poisson', got {sampling!r}"
        )
    if sampling == "shuffle":
        for name, value in (("rate", rate), ("capacity", capacity)):
            if value is not None:
                raise InvalidInputError(
                    f"{name} is for sampling='poisson' only, got {value!r}"
                )
        return functools.partial(_shuffled_chunk, key, size, batch_size, {})
    rate = batch_size / size if rate is None else rate
    if not 0 < rate <= 1:
        raise InvalidInputError(f"rate must be above 0 and at most 1, got {rate!r}")
    if capacity is None:
        capacity = poisson_capacity(size, rate, 8)
    return functools.partial(
        _poisson_chunk, key, rate, size, check_positive("capacity", capacity)
    )


def _shuffled_chunk(
    key: Key,
    size: int,
    batch_size: int,
    running: dict[int, Iterator[NDArray]],
    first: int,
    count: int,
    chunk: int,
) -> Chunk:
    batches = running.pop(first, None) or _shuffled(key, size, batch_size, first)
    rows = np.zeros((chunk, batch_size), np.int32)
    rows[:count] = list(itertools.islice(batches, count))
    # the next chunk goes on in the order that is there
    running[first + count] = batches
    return Chunk(rows, None)


def _poisson_chunk(
    key: Key, rate: float, size: int, capacity: int, first: int, count: int, chunk: int
) -> Chunk:
    drawn = poisson_rows(
        key, first, rate=rate, size=size, chunk=chunk, capacity=capacity
    )
    # read before a step is taken: a batch that was cut would void the guarantee
    largest = int(np.max(jax.device_get(drawn.sizes)[:count]))
    if largest > capacity:
        raise SamplerError(
            f"a Poisson batch of one of the steps {first} to {first + count - 1} has "
            f"more rows than capacity={capacity}; none of these steps was taken"
        )
    return drawn
