"""All metrics of a set of recordings, with intervals."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlmethods.common.statistics import Interval
from mlmethods.errors import InvalidInputError, MLMethodsWarning
from mlmethods.motion.metrics._aggregates import (
    COLUMNS,
    METRICS,
    NAMES,
    OVERLAPS,
    check_column,
    metrics_of,
)
from mlmethods.motion.metrics._labels import (
    check_recordings,
    check_same_length,
    classes_of,
    span_pair,
)
from mlmethods.motion.metrics.alignment import confusion, labeled_pairs
from mlmethods.motion.metrics.bootstrap import bootstrap_ci
from mlmethods.motion.metrics.counts import check_groups
from mlmethods.motion.metrics.framewise import agreement, best_overlaps, counts_at
from mlmethods.motion.metrics.sequences import edit_scores

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["EvaluationResult", "evaluate"]


@dataclass(frozen=True, eq=False, repr=False)
class EvaluationResult:
    """Metrics of a set of recordings.

    Attributes
    ----------
    table : pandas.DataFrame
        Counts of each recording, from which all metrics follow.
    confusion : pandas.DataFrame
        As from :func:`substitution_table`.

    Examples
    --------
    >>> from mlmethods.motion.metrics import evaluate
    >>> truth = [[0, 0, 1, 1, 2, 2], [0, 0, 0, 1, 1, 1]]
    >>> result = evaluate(truth, [[0, 0, 1, 1, 2, 2], [0, 0, 0, 0, 0, 0]])
    >>> result.to_dict()["edit"], result.to_dict()["aer"]
    (75.0, 0.2)
    """

    table: pd.DataFrame
    confusion: pd.DataFrame

    def to_dict(self) -> dict[str, float]:
        """Return the metrics by name.

        `edit`, `accuracy`, `f1@10`, `f1@25` and `f1@50` are from 0 to 100. `aer` (all
        recordings together), `sensitivity`, `fdr` and `f1` (means over patients) are
        fractions.
        """
        values = self._values
        return {name: values[name] for name in NAMES}

    def summary(self) -> pd.Series:
        """Return the metrics, the other averages of the AER, and what was counted."""
        import pandas as pd

        counted: dict[str, float] = {"recordings": len(self.table)}
        if "patient" in self.table:
            counted["patients"] = self.table["patient"].nunique()
        counted["true actions"] = self.table["gt_len"].sum()
        counted["predicted actions"] = self.table["pred_len"].sum()
        return pd.Series({**self._values, **counted}, name="value", dtype=np.float64)

    def by(self, column: str) -> pd.DataFrame:
        """Return the metrics of each value of a column, such as ``"patient"``.

        `sensitivity`, `fdr` and `f1` are of all counts of the group together, as in the
        published tables by activity.

        Raises
        ------
        InvalidInputError
            If the table has no such column.
        """
        import pandas as pd

        check_column(self.table, column)
        rows = {
            value: metrics_of(part, pooled=True)
            for value, part in self.table.groupby(column, sort=False, dropna=False)
        }
        names = pd.Index(list(rows), name=column)
        return pd.DataFrame(list(rows.values()), index=names)

    def to_dataframe(self) -> pd.DataFrame:
        """Return a row for each recording.

        Columns are `recording`, `patient` and other groups where given, `gt_len`,
        `pred_len`, `hits`, `sub`, `missed`, `extra`, `edit`, `aer`, `correct` and
        `labeled` (frames, or seconds), and `tp@k`, `fp@k` and `fn@k`.
        """
        return self.table.copy()

    def bootstrap(
        self,
        *,
        n: int = 1000,
        level: float = 0.95,
        seed: Any = 0,
        scheme: str = "patients",
    ) -> pd.DataFrame:
        """Return an interval of each metric: estimate, low and high.

        Patients are resampled, or recordings where no patients were given. Parameters
        are those of :func:`bootstrap_ci`.
        """
        import pandas as pd

        groups = "patient" if "patient" in self.table else None
        nothing = Interval(np.nan, np.nan, np.nan)
        values = self._values
        rows = [
            nothing
            if np.isnan(values[name])
            else bootstrap_ci(
                self.table, name, groups, n=n, level=level, seed=seed, scheme=scheme
            )
            for name in NAMES
        ]
        return pd.DataFrame(rows, index=list(NAMES))

    @property
    def _values(self) -> dict[str, float]:
        return metrics_of(self.table)

    def __repr__(self) -> str:
        values = ", ".join(f"{k}={v:.4g}" for k, v in self.to_dict().items())
        return f"EvaluationResult({len(self.table)} recordings, {values})"


def evaluate(
    truth: Sequence[Any],
    pred: Sequence[Any],
    background: Any = None,
    *,
    patients: Sequence[Any] | None = None,
    collapse_repeats: bool | None = None,
    framewise: bool = True,
    align: str | None = None,
    groups: Mapping[str, Sequence[Any]] | None = None,
) -> EvaluationResult:
    """Compute all metrics of predictions for several recordings.

    Parameters
    ----------
    truth, pred : lists of Segments, of labels of frames, or of sequences
        One entry for each recording. The id -1 has no label.
    background : int, str or a collection of them, optional
        Labels left out of sequences and spans. Neighbors of a label left out are not
        merged. They do count for the accuracy of frames.
    patients : sequence, optional
        Who is seen in each recording. By default nobody is told apart: rates pool all
        counts, and intervals resample recordings.
    collapse_repeats : bool, optional
        Whether runs of equal labels count once; see :func:`edit_score`.
    framewise : bool
        False for sequences without times: there is no accuracy and no overlap F1.
    align : {"nearest"}, optional
        Stretches a prediction of another number of frames; by default that is an error.
    groups : mapping of str to sequence, optional
        Further columns of the table, one value for each recording, such as
        ``{"activity": ...}``, for :meth:`EvaluationResult.by`.

    Returns
    -------
    EvaluationResult

    Raises
    ------
    InvalidInputError
        If lengths differ or the arguments cannot be compared.

    Warns
    -----
    MLMethodsWarning
        If a recording has no true action: it is left out of the action error rate.

    Examples
    --------
    >>> from mlmethods.motion.metrics import evaluate
    >>> result = evaluate(
    ...     [["reach", "idle"], ["reach", "idle"]],
    ...     [["reach", "idle"], ["reach", "reach"]],
    ...     patients=["s1", "s2"],
    ... )
    >>> result.by("patient")["aer"].tolist()
    [0.0, 0.5]
    """
    import pandas as pd

    truths, preds = check_recordings(truth, pred)
    columns: dict[str, Sequence[Any]] = dict(groups or {})
    if patients is not None:
        columns = {"patient": patients, **columns}
    columns = {**check_groups(columns, len(truths))}
    clash = set(columns) & {"recording", *METRICS, *COLUMNS}
    if clash:
        raise InvalidInputError(
            f"groups must have names that are not metrics, got {sorted(clash)[0]!r}"
        )
    pairs, rows = [], []
    for one, other in zip(truths, preds, strict=True):
        aligned = labeled_pairs(one, other, background, collapse_repeats)
        row = _sequence_columns(aligned)
        if framewise:
            ready = check_same_length(one, other, align)
            row.update(_frame_columns(*ready, background, collapse_repeats))
        pairs.append(aligned)
        rows.append(row)
    numbers = pd.DataFrame(rows, columns=list(COLUMNS))
    empty = int((numbers["gt_len"] == 0).sum())
    if empty:
        warnings.warn(
            f"{empty} of {len(truths)} recordings have no true action and are left out "
            "of the action error rate",
            MLMethodsWarning,
            stacklevel=2,
        )
    found = {label for row in pairs for pair in row for label in pair}
    classes = classes_of((*truths, *preds), found - {None})
    names = pd.DataFrame({"recording": range(len(truths)), **columns})
    return EvaluationResult(
        pd.concat([names, numbers], axis=1), confusion(pairs, classes)
    )


def _sequence_columns(aligned: Sequence[tuple[Any, Any]]) -> dict[str, float]:
    missed = sum(pred is None for _, pred in aligned)
    extra = sum(truth is None for truth, _ in aligned)
    hits = sum(truth == pred for truth, pred in aligned)
    truth_length, pred_length = len(aligned) - extra, len(aligned) - missed
    distance = len(aligned) - hits
    lengths = np.array([truth_length]), np.array([pred_length])
    return {
        "gt_len": truth_length,
        "pred_len": pred_length,
        "hits": hits,
        "sub": distance - missed - extra,
        "missed": missed,
        "extra": extra,
        "edit": float(edit_scores(np.array([distance]), *lengths)[0]),
        "aer": distance / truth_length if truth_length else np.nan,
    }


def _frame_columns(
    truth: Any, pred: Any, background: Any, collapse: bool | None
) -> dict[str, float]:
    correct, labeled = agreement(truth, pred)
    one, other = span_pair(truth, pred, background, collapse)
    best = best_overlaps(one, other)
    row: dict[str, float] = {"correct": correct, "labeled": labeled}
    for k in OVERLAPS:
        counts = counts_at(best, len(one.start), len(other.start), k / 100)
        row.update(zip((f"tp@{k}", f"fp@{k}", f"fn@{k}"), counts, strict=True))
    return row
