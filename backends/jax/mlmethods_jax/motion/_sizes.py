"""A few lengths and batch sizes, so that other recordings compile little."""

from __future__ import annotations

import math

__all__ = ["padded_batch", "padded_length"]

_FINE = 1024


def padded_length(frames: int, multiple: int = 1) -> int:
    """Return the length for so many frames, one of few.

    They grow by a factor of the square root of 2; up to 1,024 frames, where windows
    are, by its fourth root.

    Parameters
    ----------
    frames : int
        At least 1.
    multiple : int
        The result is a multiple of it.

    Examples
    --------
    >>> from mlmethods_jax.motion._sizes import padded_length
    >>> padded_length(600, 8), padded_length(513, 8), padded_length(512, 8)
    (616, 560, 512)
    """
    steps = 8 if frames <= _FINE else 2
    power = math.ceil(steps * math.log2(max(frames, 1)) - 1e-9)
    length = max(math.ceil(2 ** (power / steps) - 1e-9), frames)
    return -(-length // multiple) * multiple


def padded_batch(rows: int) -> int:
    """Return the size of a batch of so many rows: the next power of four.

    Examples
    --------
    >>> from mlmethods_jax.motion._sizes import padded_batch
    >>> padded_batch(1), padded_batch(5), padded_batch(64)
    (1, 16, 64)
    """
    bits = max(0, rows - 1).bit_length()
    return 1 << (bits + bits % 2)
