"""What a benchmark case is."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Case", "Implementation", "Size", "relative_error", "size_label"]

Size = Mapping[str, int]
"""Named dimensions; ``n`` is the one whose growth is fitted."""


def size_label(size: Size) -> str:
    """Return a size as text, such as ``n=3000, d=20``."""
    return ", ".join(f"{name}={value}" for name, value in size.items())


def relative_error(ours: np.ndarray, other: np.ndarray) -> float:
    """Return the norm of the difference relative to the norm of `other`."""
    ours, other = np.asarray(ours, float), np.asarray(other, float)
    if ours.shape != other.shape:
        return float("inf")
    norm = float(np.linalg.norm(other))
    error = float(np.linalg.norm(ours - other)) / (norm or 1.0)
    return error if np.isfinite(error) else float("inf")


@dataclass(frozen=True, kw_only=True)
class Implementation:
    """One way to do the work of a case.

    Attributes
    ----------
    setup : callable
        ``setup(data)`` prepares everything that is not timed and returns a function
        without arguments, which does the work and returns when it is done.
    collect : callable
        ``collect(result)`` turns what that function returned into the array that is
        compared; not timed.
    requires : tuple of str
        Modules that must be importable; without them the row says how to install.
    install : str
        The command that provides them.
    """

    setup: Callable[[Any], Callable[[], Any]]
    collect: Callable[[Any], np.ndarray] = np.asarray
    requires: tuple[str, ...] = ()
    install: str = "pip install 'mlmethods[peers]'"

    def missing(self) -> str:
        """Return the first module that is not installed, or an empty string."""
        for module in self.requires:
            if importlib.util.find_spec(module) is None:
                return module
        return ""


@dataclass(frozen=True, kw_only=True)
class Case:
    """The same work, done by several implementations on the same data.

    Attributes
    ----------
    name : str
        ``module.case``.
    title : str
        What is done, in a few words.
    sizes, quick_sizes : tuple of Size
        What is measured, and what ``--quick`` measures instead.
    make_data : callable
        ``make_data(size, rng)`` returns the data of a size.
    implementations : mapping of str to Implementation
        Ours is the first.
    tolerance : float
        Largest relative error of a peer's output against ours; beyond it the ratio
        is void.
    work : callable or None
        ``work(size)`` returns floating-point operations, to report the rate against
        the machine's.
    dtype : str
        Precision of the computation.
    """

    name: str
    title: str
    sizes: tuple[Size, ...]
    quick_sizes: tuple[Size, ...]
    make_data: Callable[[Size, np.random.Generator], Any]
    implementations: Mapping[str, Implementation]
    tolerance: float
    work: Callable[[Size], float] | None = None
    dtype: str = "float32"

    @property
    def ours(self) -> str:
        """Name of the implementation that the others are compared with."""
        return next(iter(self.implementations))

    def data(self, size: Size, seed: int) -> Any:
        """Return the data of a size; the same in every process."""
        return self.make_data(size, np.random.default_rng([seed, *size.values()]))
