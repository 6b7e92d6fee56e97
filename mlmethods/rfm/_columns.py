"""Tables with categorical columns, as numbers and codes for a kernel machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils.validation import check_array

from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import ArrayLike, NDArray

__all__ = ["Columns", "expand", "find_categories"]

_LARGEST_ONE_HOT = 32


class Columns(NamedTuple):
    """How the columns of a table become those of a machine.

    First the numbers; then the categorical columns of at most 32 categories, one-hot;
    then the codes of the others. Each categorical column is one block of the metric,
    in that order, and the numbers together are another.

    Attributes
    ----------
    width : int
        Columns of the table.
    categories : dict of int to ndarray
        The categories of each categorical column, by its position.
    """

    width: int
    categories: dict[int, NDArray]

    @property
    def numbers(self) -> list[int]:
        """Positions of the other columns."""
        return [i for i in range(self.width) if i not in self.categories]

    @property
    def small(self) -> list[int]:
        """Positions of the columns that are one-hot."""
        return [i for i, c in self.categories.items() if len(c) <= _LARGEST_ONE_HOT]

    @property
    def large(self) -> list[int]:
        """Positions of the columns that stay codes."""
        return [i for i, c in self.categories.items() if len(c) > _LARGEST_ONE_HOT]

    @property
    def lookup(self) -> tuple[int, ...]:
        """Number of categories of each column that stays codes."""
        return tuple(len(self.categories[i]) for i in self.large)

    @property
    def blocks(self) -> tuple[int, ...]:
        """Sizes of the diagonal blocks of the metric."""
        ordered = [*self.small, *self.large]
        sizes = [len(self.numbers), *(len(self.categories[i]) for i in ordered)]
        return tuple(size for size in sizes if size)

    def encode(self, X: Any) -> NDArray:
        """Return a table (n, width) as floats; what is unknown becomes zeros, or -1."""
        numbers = np.empty((np.shape(X)[0], 0))
        if self.numbers:
            table = _take(X, self.numbers)
            numbers = check_array(table, dtype=[np.float64, np.float32])
        parts = [numbers]
        for i in self.small:
            codes = _codes(X, i, self.categories[i])
            parts.append(codes[:, None] == np.arange(len(self.categories[i])))
        parts += [_codes(X, i, self.categories[i])[:, None] for i in self.large]
        return np.concatenate(parts, axis=1, dtype=numbers.dtype)

    def gather(self, diagonal: NDArray) -> NDArray:
        """Return values of the metric's features, summed for each column (width,)."""
        out = np.zeros(self.width, diagonal.dtype)
        out[self.numbers] = diagonal[: len(self.numbers)]
        start = len(self.numbers)
        for i in (*self.small, *self.large):
            stop = start + len(self.categories[i])
            out[i] = diagonal[start:stop].sum()
            start = stop
        return out


def expand(X: NDArray, lookup: tuple[int, ...]) -> NDArray:
    """Return encoded rows with the codes one-hot as well; -1 becomes zeros."""
    if not lookup:
        return X
    first = X.shape[1] - len(lookup)
    parts = [X[:, :first]]
    for column, size in enumerate(lookup):
        parts.append(X[:, first + column, None] == np.arange(size))
    return np.concatenate(parts, axis=1, dtype=X.dtype)


def find_categories(X: ArrayLike, which: str | Sequence[Any]) -> Columns:
    """Return the columns of a table.

    Parameters
    ----------
    X : DataFrame or array-like of shape (n, d)
        The table.
    which : "from_dtype", or sequence of bool, int or str
        Text, category and boolean columns of a DataFrame; or a mask, positions or
        names.

    Raises
    ------
    InvalidInputError
        If `which` does not fit the table, or a column cannot be sorted into categories.
    """
    width = np.shape(X)[1]
    positions = _positions(X, which, width)
    return Columns(width, {i: _categories(X, i) for i in positions})


def _positions(X: Any, which: str | Sequence[Any], width: int) -> list[int]:
    frame = hasattr(X, "iloc")
    if isinstance(which, str):
        if which != "from_dtype" or not frame:
            raise InvalidInputError(
                "categorical_features must be None, 'from_dtype' with a DataFrame, or "
                f"a sequence of positions, names or booleans, got {which!r}"
            )
        return [
            i
            for i, dtype in enumerate(X.dtypes)
            if getattr(dtype, "kind", "O") in "OUSb" or str(dtype) in _TEXT
        ]
    chosen = np.asarray(which)
    if chosen.ndim != 1:
        raise InvalidInputError(
            "categorical_features must be None, 'from_dtype' or a sequence of "
            f"positions, names or booleans, got {which!r}"
        )
    if chosen.dtype.kind == "b":
        if chosen.shape != (width,):
            raise InvalidInputError(
                f"categorical_features must have one boolean for each of {width} "
                f"columns, got {chosen.size}"
            )
        return np.flatnonzero(chosen).tolist()
    if chosen.dtype.kind in "UO" and chosen.size:
        names = list(X.columns) if frame else []
        missing = [str(name) for name in which if name not in names]
        if missing:
            raise InvalidInputError(
                f"categorical_features names columns that X lacks: {', '.join(missing)}"
            )
        return sorted(names.index(name) for name in which)
    if chosen.size and (
        chosen.dtype.kind not in "iu" or chosen.min() < 0 or chosen.max() >= width
    ):
        raise InvalidInputError(
            f"categorical_features must be positions from 0 to {width - 1}, got "
            f"{which!r}"
        )
    return sorted(set(chosen.astype(int).tolist()))


_TEXT = ("category", "str", "string", "boolean")


def _take(X: Any, positions: list[int]) -> Any:
    return X.iloc[:, positions] if hasattr(X, "iloc") else np.asarray(X)[:, positions]


def _column(X: Any, position: int) -> Any:
    import pandas as pd

    if hasattr(X, "iloc"):
        column = X.iloc[:, position]
        return (
            column.astype(column.cat.categories.dtype)
            if _is_category(column)
            else column
        )
    return pd.Series(np.asarray(X)[:, position]).infer_objects()


def _is_category(column: Any) -> bool:
    return str(column.dtype) == "category"


def _categories(X: Any, position: int) -> NDArray:
    """Return the sorted categories of a column, without what is missing."""
    values = _column(X, position).dropna().unique()
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        array = np.asarray([*values], dtype=object)
    try:
        return np.sort(array)
    except TypeError as error:
        raise InvalidInputError(
            f"categorical column {position} of X must hold either text or numbers, "
            "got both"
        ) from error


def _codes(X: Any, position: int, categories: NDArray) -> NDArray:
    """Return the code of each row, -1 for a category that was not seen."""
    import pandas as pd

    return pd.Index(categories).get_indexer(pd.Index(_column(X, position)))
