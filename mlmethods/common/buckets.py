"""Padding rows to a few sizes, so that a new number of rows compiles nothing."""

from __future__ import annotations

import numpy as np

from mlmethods.interfaces import NDArray

__all__ = ["pad_rows", "padded_size"]


def padded_size(n: int) -> int:
    """Return the size for `n` rows: a power of two up to 256, then multiples of 64.

    Examples
    --------
    >>> padded_size(100), padded_size(300)
    (128, 320)
    """
    if n <= 256:
        return 1 << max(0, n - 1).bit_length()
    return -(-n // 64) * 64


def pad_rows(X: NDArray) -> NDArray:
    """Repeat the last row up to the padded size; X has shape (n, d), n > 0."""
    return np.pad(X, [(0, padded_size(len(X)) - len(X)), (0, 0)], mode="edge")
