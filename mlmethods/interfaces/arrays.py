"""Type aliases for arrays, keys and seeds.

The aliases are deliberately wide: a backend passes its own native arrays through
the interfaces, and only that backend knows their class.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["Array", "ArrayLike", "Key", "NDArray", "PyTree", "Seed", "Static"]

Array: TypeAlias = Any
"""A native array of some backend."""

NDArray: TypeAlias = np.ndarray
"""A NumPy array."""

Key: TypeAlias = Any
"""A random key of some backend (a JAX key, a NumPy generator)."""

PyTree: TypeAlias = Any
"""A nested container of arrays."""

Seed: TypeAlias = int | np.random.SeedSequence
"""What ``Backend.key`` accepts."""

Static: TypeAlias = tuple[tuple[str, Hashable], ...]
"""Sorted name-value pairs that select code paths, never numerical values."""
