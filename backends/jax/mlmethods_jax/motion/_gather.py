"""Batches of windows, cut out of the concatenated recordings while training.

Windows overlap by a factor of ten; they are never stored.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mlmethods.interfaces import Array, Key
from mlmethods_jax.random import STREAM_DATA, stream
from mlmethods_jax.sharding import DATA_AXIS

__all__ = ["draw_offsets", "make_gather", "run_tokens"]

# folded into the key of the data, whose own folds are the numbers of epochs
_OFFSETS = 0x7FFFFFFF


@jax.jit
def draw_offsets(key: Key, epoch: Any, shift: Array) -> Array:
    """Return by how many frames each window moves in an epoch, int32 in 0..shift."""
    key = jax.random.fold_in(stream(key, STREAM_DATA, _OFFSETS), epoch)
    uniform = jax.random.uniform(key, shift.shape, jnp.float32)
    moved = jnp.floor(uniform * (shift + 1).astype(jnp.float32)).astype(jnp.int32)
    return jnp.minimum(moved, shift)


def run_tokens(labels: Array, core: Array, *, room: int, end: int) -> Array:
    """Return the tokens of the runs of equal labels in a core.

    Parameters
    ----------
    labels : int32 array of shape (W,)
        Classes, -1 where there is none; a gap ends a run.
    core : int32 array of shape (2,)
        First and last + 1 frame.
    room : int
        Tokens L; what does not fit is left out.
    end : int
        Token of the end.

    Returns
    -------
    int32 array of shape (L,)
        Classes + 1, the end token, and 0 after it.

    Examples
    --------
    >>> import jax, numpy as np
    >>> from mlmethods_jax.motion._gather import run_tokens
    >>> labels, core = np.int32([2, 2, 0, 0, 1, 1]), np.int32([1, 5])
    >>> compiled = jax.jit(run_tokens, static_argnames=("room", "end"))
    >>> compiled(labels, core, room=6, end=9).tolist()
    [3, 1, 2, 9, 0, 0]
    """
    frame = jnp.arange(labels.shape[0], dtype=jnp.int32)
    counted = (frame >= core[0]) & (frame < core[1]) & (labels >= 0)
    before = jnp.concatenate([jnp.full((1,), -1, labels.dtype), labels[:-1]])
    begins = counted & ((labels != before) | (frame == core[0]))
    place = jnp.cumsum(begins.astype(jnp.int32)) - 1
    count = jnp.minimum(jnp.sum(begins, dtype=jnp.int32), room - 1)
    # one place more than there is room collects what is left out
    place = jnp.where(begins & (place < room - 1), place, room)
    tokens = jnp.zeros(room + 1, jnp.int32).at[place].set(labels + 1)[:room]
    return tokens.at[count].set(end)


@functools.lru_cache(maxsize=32)
def make_gather(
    size: int, room: int, end: int, mesh: Mesh | None = None
) -> Callable[[Any, Any], dict[str, Array]]:
    """Return ``gather(data, rows)``; the same function every time.

    Parameters
    ----------
    size : int
        Frames W of a window.
    room : int
        Tokens L of a window.
    end : int
        Token of the end.
    mesh : jax.sharding.Mesh, optional
        Devices that the windows of a batch are spread over.

    Returns
    -------
    callable
        Its batches hold ``x`` [b, W, D], zero in the padding; ``mask`` [b, W];
        ``labels`` [b, W], -1 in the padding; ``core`` [b, 2]; ``tokens`` [b, L];
        ``previous`` [b]; ``teacher`` [b]; ``weight`` [b], which is 0 for rows that
        fill up a batch; and ``class_weights`` [b, C] where the data have them.
    """

    def window(data: Any, row: Any) -> dict[str, Array]:
        real = row < data["count"]
        row = jnp.minimum(row, data["count"] - 1)
        start = data["start"][row] + data["offset"][row]
        own = jnp.arange(size, dtype=jnp.int32) < data["length"][row]
        x = lax.dynamic_slice_in_dim(data["frames"], start, size)
        labels = lax.dynamic_slice_in_dim(data["labels"], start, size)
        labels = jnp.where(own, labels, -1)
        core = data["core"][row]
        # the first frames of all have a blank in front, never another recording
        before = data["labels"][jnp.maximum(start + core[0] - 1, 0)]
        given = data.get("tokens")
        if given is None:
            tokens = run_tokens(labels, core, room=room, end=end)
        else:
            tokens = given[row]
        weights = data.get("class_weights")
        extra = {} if weights is None else {"class_weights": weights}
        return extra | {
            "x": jnp.where(own[:, None], x, jnp.zeros((), x.dtype)),
            "mask": own,
            "labels": labels,
            "core": core,
            "tokens": tokens,
            "previous": jnp.where(before < 0, data["start_token"], before + 1),
            "teacher": data["teacher"],
            "weight": real.astype(jnp.float32),
        }

    def gather(data: Any, rows: Any) -> dict[str, Array]:
        if mesh is not None:
            extra = -rows.shape[0] % mesh.shape[DATA_AXIS]
            # rows that do not exist have no weight
            fill = jnp.full((extra,), jnp.iinfo(jnp.int32).max, rows.dtype)
            rows = jnp.concatenate([rows, fill])
        batch = jax.vmap(lambda row: window(data, row))(rows)
        if mesh is None:
            return batch
        spread = NamedSharding(mesh, PartitionSpec(DATA_AXIS))
        return jax.tree.map(
            lambda leaf: lax.with_sharding_constraint(leaf, spread), batch
        )

    return gather
