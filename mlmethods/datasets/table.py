"""A table with a target."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlmethods.errors import DataFormatError, InvalidInputError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

__all__ = ["Table", "infer_task", "split_target"]

_MAX_INTEGER_CLASSES = 20


@dataclass(frozen=True, eq=False, kw_only=True)
class Table:
    """Features and target of a supervised problem.

    Attributes
    ----------
    X : pandas.DataFrame of shape (n_samples, n_features)
        Numbers and categoricals as the file has them, nothing scaled or encoded.
    y : pandas.Series of shape (n_samples,)
        The target, with the same index.
    task : str
        ``"classification"`` or ``"regression"``.
    name : str
        The dataset, or the stem of the file.
    source : str
        Who distributes it, or the path of the file.
    license : str
        What is known about its licence.
    note : str
        What a user must know before relying on it.
    selection : tuple of (train, validation) index arrays, or None
        The published split for choosing hyper-parameters, where there is one.
    folds : tuple of (train, test) index arrays
        The published folds, where there are any.
    """

    X: pd.DataFrame
    y: pd.Series
    task: str
    name: str
    source: str
    license: str = "unknown"
    note: str = ""
    selection: tuple[np.ndarray, np.ndarray] | None = None
    folds: tuple[tuple[np.ndarray, np.ndarray], ...] = ()

    def __repr__(self) -> str:
        n, d = self.X.shape
        return f"Table({self.name!r}, n={n}, d={d}, task={self.task!r})"


def infer_task(y: pd.Series) -> str:
    """Return ``"classification"`` or ``"regression"`` from the values of a target.

    Text, categories, booleans and integers of at most 20 distinct values are classes.
    """
    import pandas as pd

    types = pd.api.types
    if types.is_bool_dtype(y) or not types.is_numeric_dtype(y):
        return "classification"
    few = y.nunique() <= _MAX_INTEGER_CLASSES
    return "classification" if types.is_integer_dtype(y) and few else "regression"


def split_target(
    frame: pd.DataFrame, target: str | None, where: Path
) -> tuple[pd.DataFrame, pd.Series]:
    """Split a frame into features and target; None is the last column.

    Raises
    ------
    InvalidInputError
        If there is no such column.
    DataFormatError
        If no feature would be left.
    """
    if target is None:
        target = frame.columns[-1]
    if target not in frame.columns:
        raise InvalidInputError(
            f"target must be a column of {where.name}, which has "
            f"{', '.join(map(repr, frame.columns))}; got {target!r}"
        )
    if frame.shape[1] < 2:
        raise DataFormatError(f"{where} has no column besides the target {target!r}")
    return frame.drop(columns=target), frame[target]
