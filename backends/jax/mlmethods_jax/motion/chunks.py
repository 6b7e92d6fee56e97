"""Long recordings through local networks, a part at a time.

``apply_in_chunks(function, x, mask, halo=..., axis=..., chunk=None)``
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import NDArray

__all__ = ["apply_in_chunks"]

# A chunk has eight halos and the two around it: a quarter is computed twice.
_HALOS = 8
_SMALLEST = 4096


def apply_in_chunks(
    function: Callable[[NDArray, NDArray], Any],
    x: NDArray,
    mask: NDArray | None = None,
    *,
    halo: int,
    axis: int,
    chunk: int | None = None,
) -> Any:
    """Return what a local function says of recordings, in bounded memory.

    Every chunk is computed with the frames around it that its outputs depend on, and
    these are cut off again. All chunks have one size, so that one program serves them.

    Parameters
    ----------
    function : callable
        ``function(x, mask)`` returns an array, or a tuple of them, whose output at a
        frame depends on at most `halo` frames before and after it, and is zero where
        `mask` is False.
    x : float array of shape (B, T, D)
        Frames.
    mask : bool array of shape (B, T), optional
        Which frames are there.
    halo : int
        Frames on each side that an output depends on.
    axis : int
        Axis of time in the outputs.
    chunk : int, optional
        Frames of a chunk without its surroundings; eight halos by default, and 4,096
        at least.

    Returns
    -------
    numpy array, or a tuple of them
        As of the whole recordings.

    Raises
    ------
    InvalidInputError
        If a size is not positive or the halo negative.

    Examples
    --------
    >>> import numpy as np
    >>> from mlmethods_jax.motion.chunks import apply_in_chunks
    >>> x = np.arange(6.0).reshape(1, 6, 1)
    >>> double = lambda part, kept: 2 * part * kept[..., None]
    >>> apply_in_chunks(double, x, halo=1, axis=1, chunk=4)[0, :, 0].tolist()
    [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    """
    if chunk is None:
        chunk = max(_HALOS * halo, _SMALLEST)
    if chunk < 1 or halo < 0:
        raise InvalidInputError(
            f"chunk must be at least 1 and halo at least 0, got {chunk} and {halo}"
        )
    rows, frames, features = x.shape
    if mask is None:
        mask = np.ones((rows, frames), bool)
    results: list[NDArray] = []
    single = True
    for start in range(0, frames, chunk):
        first, last = max(start - halo, 0), min(start + chunk + halo, frames)
        if results and not mask[:, start : start + chunk].any():
            continue  # what was allocated is zero
        place = slice(first - (start - halo), last - (start - halo))
        part = np.zeros((rows, chunk + 2 * halo, features), x.dtype)
        kept = np.zeros(part.shape[:2], bool)
        part[:, place] = x[:, first:last]
        kept[:, place] = mask[:, first:last]
        found = jax.device_get(function(part, kept))
        single = not isinstance(found, tuple)
        arrays = (found,) if single else found
        if not results:
            shapes = [(*a.shape[:axis], frames, *a.shape[axis + 1 :]) for a in arrays]
            results = [
                np.zeros(shape, a.dtype)
                for shape, a in zip(shapes, arrays, strict=True)
            ]
        stop = min(start + chunk, frames)
        before = (slice(None),) * axis
        for result, own in zip(results, arrays, strict=True):
            own_part = own[(*before, slice(halo, halo + stop - start))]
            result[(*before, slice(start, stop))] = own_part
    return results[0] if single else tuple(results)
