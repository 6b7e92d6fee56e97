"""Metrics of a set of recordings from the counts of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import NDArray
from mlmethods.motion.metrics.counts import rates
from mlmethods.motion.metrics.framewise import f1_score
from mlmethods.motion.metrics.sequences import mean_error_rate

if TYPE_CHECKING:
    import pandas as pd

OVERLAPS = (10, 25, 50)

# Columns of drawn recordings, and the group that each is of.
Columns = Mapping[str, NDArray]
Metric = Callable[[Columns, NDArray], float]


def metrics_of(table: pd.DataFrame, *, pooled: bool = False) -> dict[str, float]:
    """Return all metrics of the recordings of a table.

    Rates are means over patients, or of all counts together if they are `pooled`.
    """
    columns = {name: table[name].to_numpy(np.float64) for name in COLUMNS}
    codes = np.zeros(len(table), np.int64)
    if "patient" in table:
        codes = np.asarray(table.groupby("patient", sort=False, dropna=False).ngroup())
    own = np.zeros_like(codes) if pooled else codes
    return {
        name: metric(columns, own if name in _RATES else codes)
        for name, metric in METRICS.items()
    }


def check_column(table: pd.DataFrame, column: str) -> None:
    """Refuse a column that a table does not have.

    Raises
    ------
    InvalidInputError
        If it does not.
    """
    if column not in table:
        raise InvalidInputError(
            f"column must be one of {', '.join(map(str, table.columns))}, got {column!r}"
        )


def _edit(columns: Columns, codes: NDArray) -> float:
    return float(columns["edit"].mean())


def _accuracy(columns: Columns, codes: NDArray) -> float:
    labeled = columns["labeled"].sum()
    return float(100 * columns["correct"].sum() / labeled) if labeled else np.nan


def _overlap(k: int) -> Metric:
    def metric(columns: Columns, codes: NDArray) -> float:
        counts = [columns[f"{kind}@{k}"].sum() for kind in ("tp", "fp", "fn")]
        return np.nan if np.isnan(counts[0]) else f1_score(*counts)

    return metric


def _error_rate(average: str) -> Metric:
    def metric(columns: Columns, codes: NDArray) -> float:
        seen = columns["gt_len"] > 0
        if not seen.any():
            return np.nan
        distance = columns["sub"] + columns["missed"] + columns["extra"]
        return mean_error_rate(
            distance[seen], columns["gt_len"][seen], average, codes[seen]
        )

    return metric


def _rate(name: str) -> Metric:
    def metric(columns: Columns, codes: NDArray) -> float:
        present = np.bincount(codes) > 0
        pooled = {key: np.bincount(codes, columns[key])[present] for key in _RATED}
        values = rates(pooled)[name]
        known = values[~np.isnan(values)]
        return float(known.mean()) if len(known) else np.nan

    return metric


_RATES = ("sensitivity", "fdr", "f1")
_RATED = ("gt_len", "pred_len", "sub", "missed", "extra")
_ERRORS = ("gt_len", "sub", "missed", "extra")
NEEDS: dict[str, tuple[str, ...]] = {
    "edit": ("edit",),
    "accuracy": ("correct", "labeled"),
    **{f"f1@{k}": (f"tp@{k}", f"fp@{k}", f"fn@{k}") for k in OVERLAPS},
    **dict.fromkeys(("aer", "aer_macro", "aer_patient"), _ERRORS),
    **dict.fromkeys(_RATES, _RATED),
}
METRICS: dict[str, Metric] = {
    "edit": _edit,
    "accuracy": _accuracy,
    **{f"f1@{k}": _overlap(k) for k in OVERLAPS},
    "aer": _error_rate("micro"),
    **{name: _rate(name) for name in _RATES},
    "aer_macro": _error_rate("macro"),
    "aer_patient": _error_rate("patient"),
}
NAMES = (
    *("edit", "accuracy", "f1@10", "f1@25", "f1@50"),
    *("aer", "sensitivity", "fdr", "f1"),
)
COLUMNS = (
    *("gt_len", "pred_len", "hits", "sub", "missed", "extra", "edit", "aer"),
    *("correct", "labeled"),
    *(f"{kind}@{k}" for k in OVERLAPS for kind in ("tp", "fp", "fn")),
)
