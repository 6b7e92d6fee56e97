"""The rows of every cell of a study, from streams that do not depend on each other."""

from __future__ import annotations

import struct
from typing import Any, Protocol

import numpy as np

from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import ArrayLike, NDArray
from mlmethods.overfitting._fingerprint import digest
from mlmethods.overfitting.problems import Problem

__all__ = [
    "DataSource",
    "ProblemSource",
    "Source",
    "check_rows",
    "count_test_rows",
    "level_key",
    "rows_of",
    "stream",
]

# First words of the keys of streams.
SUBSET, NOISE, LEARNER, TEST, VERDICT = range(5)

_LARGEST_TEST = 5000
_FIRST_BLOCK = 64


def stream(base: np.random.SeedSequence, *key: int) -> np.random.SeedSequence:
    """Return the seed that belongs to a key, whatever other keys there are."""
    return np.random.SeedSequence(
        entropy=base.entropy, spawn_key=(*base.spawn_key, *key)
    )


def level_key(level: float) -> tuple[int, int]:
    """Return a noise level as two words of a key; -0.0 is 0.0."""
    first, second = struct.unpack(">II", struct.pack(">d", level + 0.0))
    return first, second


class Source(Protocol):
    """Where a study takes its rows from."""

    X_test: Any
    y_test: NDArray

    def training(self, n: int, seed: int) -> tuple[Any, NDArray]:
        """Return n rows and their noiseless targets."""
        ...

    def fingerprint(self) -> dict[str, Any]:
        """Return what tells this source from others, as JSON."""
        ...


class DataSource:
    """Subsets of given rows; a test set is split off first, once."""

    def __init__(
        self,
        X: Any,
        y: NDArray,
        base: np.random.SeedSequence,
        *,
        nested: bool,
        test_size: float | None,
        largest: int,
    ) -> None:
        N = len(y)
        test = count_test_rows(test_size, N)
        if largest > N - test:
            raise InvalidInputError(
                f"n_grid must not exceed the {N - test} rows that are left of {N} "
                f"after {test} for testing (test_size), got {largest}"
            )
        order = np.random.default_rng(stream(base, TEST)).permutation(N)
        self.X, self.y, self.base, self.nested = X, y, base, nested
        self.pool = np.sort(order[test:])
        held_out = np.sort(order[:test])
        self.X_test, self.y_test = rows_of(X, held_out), y[held_out]

    def training(self, n: int, seed: int) -> tuple[Any, NDArray]:
        """Return n rows of the pool; nested: the first of one order for each seed."""
        key = (SUBSET, seed) if self.nested else (SUBSET, seed, n)
        order = np.random.default_rng(stream(self.base, *key)).permutation(self.pool)
        return rows_of(self.X, order[:n]), self.y[order[:n]]

    def fingerprint(self) -> dict[str, Any]:
        """Return a hash of the data and the size of the test set."""
        return {"data": digest(self.X, self.y), "test": len(self.y_test)}


class ProblemSource:
    """Samples of a problem."""

    def __init__(
        self, problem: Problem, base: np.random.SeedSequence, *, nested: bool
    ) -> None:
        self.problem, self.base, self.nested = problem, base, nested
        rng = np.random.default_rng(stream(base, TEST))
        self.X_test, self.y_test = problem.draw(problem.test_size, rng)

    def training(self, n: int, seed: int) -> tuple[NDArray, NDArray]:
        """Return n rows; nested: the first of one endless sample for each seed."""
        key = (SUBSET, seed) if self.nested else (SUBSET, seed, n)
        blocks: list[tuple[NDArray, NDArray]] = []
        size, total = _FIRST_BLOCK, 0
        # Blocks of sizes that do not depend on n, so that a prefix stays one.
        while total < n:
            seeds = stream(self.base, *key, len(blocks))
            blocks.append(self.problem.draw(size, np.random.default_rng(seeds)))
            total += size
            size = total
        X, y = (np.concatenate(parts)[:n] for parts in zip(*blocks, strict=True))
        return X, y

    def fingerprint(self) -> dict[str, Any]:
        """Return the name, and a hash of the test set and of a first sample."""
        return {
            "problem": self.problem.name,
            "config": self.problem.config,
            "test": digest(self.X_test, self.y_test),
            "sample": digest(*self.training(_FIRST_BLOCK, 0)),
        }


def rows_of(X: Any, indices: NDArray) -> Any:
    """Return rows of an array or of a table."""
    return X.iloc[indices] if hasattr(X, "iloc") else X[indices]


def check_rows(X: Any, y: ArrayLike) -> tuple[Any, NDArray]:
    """Return `X` as a table or an array, and `y` as an array of as many targets."""
    if hasattr(X, "toarray"):
        raise InvalidInputError("X must be dense, got a sparse matrix; use X.toarray()")
    X = X if hasattr(X, "iloc") else np.asarray(X)
    targets = np.asarray(y)
    if X.ndim != 2 or targets.ndim != 1 or len(X) != len(targets):
        raise InvalidInputError(
            "X must have shape (n, d) and y shape (n,), got shapes "
            f"{X.shape} and {targets.shape}"
        )
    for name, array in (("X", X), ("y", targets)):
        kind = getattr(getattr(array, "dtype", None), "kind", "")
        if kind == "c":
            raise InvalidInputError(f"{name} must be real, got complex numbers")
        if kind == "f" and not np.isfinite(array).all():
            raise InvalidInputError(
                f"{name} must be finite, got {int((~np.isfinite(array)).sum())} values "
                "that are NaN or infinite"
            )
    return X, targets


def count_test_rows(test_size: float | None, N: int) -> int:
    """Return how many of N rows are held out."""
    if test_size is None:
        count = min(_LARGEST_TEST, N // 5)
    elif isinstance(test_size, int | np.integer) and not isinstance(test_size, bool):
        count = int(test_size)
    elif isinstance(test_size, float) and 0 < test_size < 1:
        count = round(test_size * N)
    else:
        count = 0
    if not 1 <= count < N:
        raise InvalidInputError(
            f"test_size must be a share in (0, 1) or a number of rows that leaves some "
            f"of {N} for training, got {test_size!r}"
        )
    return count
