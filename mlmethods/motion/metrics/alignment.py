"""Which actions were found, taken for others, missed, or found where none was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mlmethods.interfaces import NDArray
from mlmethods.motion.metrics._labels import (
    check_recordings,
    classes_of,
    is_many,
    named,
    token_pair,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["AlignCounts", "align_counts", "align_pairs", "substitution_table"]

EXTRA, MISSED = "(extra)", "(missed)"


class AlignCounts(NamedTuple):
    """What became of the true actions, and of the predicted ones.

    Attributes
    ----------
    hits : int
        True actions that were found.
    sub : int
        True actions that were taken for another class.
    missed : int
        True actions without a prediction.
    extra : int
        Predictions without a true action.
    """

    hits: int
    sub: int
    missed: int
    extra: int

    @property
    def truth_length(self) -> int:
        """True actions."""
        return self.hits + self.sub + self.missed

    @property
    def pred_length(self) -> int:
        """Predicted actions."""
        return self.hits + self.sub + self.extra

    @property
    def distance(self) -> int:
        """Edit distance."""
        return self.sub + self.missed + self.extra

    @property
    def sensitivity(self) -> float:
        """Share of the true actions that were found; NaN if there are none."""
        return _share(self.hits, self.truth_length, float("nan"))

    @property
    def fdr(self) -> float:
        """Share of the predictions that are wrong; 0 if there are none."""
        return _share(self.extra + self.sub, self.pred_length, 0.0)

    @property
    def f1(self) -> float:
        """Harmonic mean of the sensitivity and of one minus `fdr`."""
        if not self.truth_length:
            return float("nan")
        precision, recall = 1.0 - self.fdr, self.sensitivity
        return _share(2.0 * precision * recall, precision + recall, 0.0)

    @property
    def aer(self) -> float:
        """Edit distance per true action; NaN if there are none."""
        return _share(self.distance, self.truth_length, float("nan"))


def align_counts(
    truth: Any,
    pred: Any,
    background: Any = None,
    *,
    collapse_repeats: bool | None = None,
) -> AlignCounts:
    """Count hits, substitutions, misses and extras in a best alignment.

    Parameters
    ----------
    truth, pred, background, collapse_repeats
        As for :func:`edit_score`. Counts of several recordings are added.

    Returns
    -------
    AlignCounts

    Notes
    -----
    Of the alignments with the least edit distance the one is taken that, seen from the
    end, prefers a match, then a substitution, then a missed action, then an extra one.
    Time and memory grow with ``len(G) * len(P)``.

    Examples
    --------
    >>> from mlmethods.motion.metrics import align_counts
    >>> align_counts(["reach", "idle", "stabilize"], ["reach", "transport"])
    AlignCounts(hits=1, sub=1, missed=1, extra=0)
    """
    truths, preds = [truth], [pred]
    if is_many(truth) or is_many(pred):
        truths, preds = check_recordings(truth, pred)
    total = np.zeros(4, np.int64)
    for one, other in zip(truths, preds, strict=True):
        left, right = _coded(one, other, background, collapse_repeats)
        total += counts_of(left, right, *align(left, right))
    return AlignCounts(*(int(count) for count in total))


def align_pairs(
    truth: Any,
    pred: Any,
    background: Any = None,
    *,
    collapse_repeats: bool | None = None,
) -> tuple[NDArray, NDArray]:
    """Return the alignment that :func:`align_counts` counts.

    Returns
    -------
    truth_index, pred_index : int64 ndarrays of equal length
        Places in the two sequences, -1 where one has no partner.

    Examples
    --------
    >>> from mlmethods.motion.metrics import align_pairs
    >>> [places.tolist() for places in align_pairs([0, 1, 2], [0, 2])]
    [[0, 1, 2], [0, -1, 1]]
    """
    left, right = _coded(truth, pred, background, collapse_repeats)
    return align(left, right)


def substitution_table(
    truths: Sequence[Any],
    preds: Sequence[Any],
    background: Any = None,
    *,
    classes: Sequence[Any] | None = None,
    collapse_repeats: bool | None = None,
) -> pd.DataFrame:
    """Return how often actions of each class were taken for each other class.

    Parameters
    ----------
    truths, preds : lists of Segments or of sequences of int or str
        One entry for each recording.
    background, collapse_repeats
        As for :func:`edit_score`.
    classes : sequence, optional
        Rows and columns in their order; by default the classes of Segments, or the
        labels that occur, sorted.

    Returns
    -------
    pandas.DataFrame
        True classes in rows and predicted ones in columns, hits on the diagonal. The
        last column has the actions missed, the last row the extra ones.

    Examples
    --------
    >>> from mlmethods.motion.metrics import substitution_table
    >>> print(substitution_table([["a", "b", "a"]], [["a", "c"]]))
             a  b  c  (missed)
    a        1  0  1         0
    b        0  0  0         1
    c        0  0  0         0
    (extra)  0  0  0         0
    """
    left, right = check_recordings(truths, preds)
    pairs = [
        labeled_pairs(one, other, background, collapse_repeats)
        for one, other in zip(left, right, strict=True)
    ]
    if classes is None:
        found = {label for row in pairs for pair in row for label in pair}
        classes = classes_of((*left, *right), found - {None})
    return confusion(pairs, classes)


def labeled_pairs(
    truth: Any, pred: Any, background: Any, collapse_repeats: bool | None
) -> list[tuple[Any, Any]]:
    """Return the aligned labels of a recording, None where one has no partner."""
    left, right, classes = token_pair(truth, pred, background, collapse_repeats)
    rows, columns = align(*_codes(left, right))
    one, other = named(left, classes), named(right, classes)
    return [
        (None if i < 0 else one[i], None if j < 0 else other[j])
        for i, j in zip(rows.tolist(), columns.tolist(), strict=True)
    ]


def confusion(
    pairs: Sequence[Sequence[tuple[Any, Any]]], classes: Sequence[Any]
) -> pd.DataFrame:
    """Return the table of aligned labels; labels outside `classes` are left out."""
    import pandas as pd

    size = len(classes)
    place: dict[Any, int] = {label: index for index, label in enumerate(classes)}
    place[None] = size
    table = np.zeros((size + 1, size + 1), np.int64)
    for row in pairs:
        for truth, pred in row:
            if truth in place and pred in place:
                table[place[truth], place[pred]] += 1
    return pd.DataFrame(table, [*classes, EXTRA], [*classes, MISSED])


def align(truth: NDArray, pred: NDArray) -> tuple[NDArray, NDArray]:
    """Return the alignment of two sequences of ids, -1 where one has no partner."""
    rows, columns = len(truth), len(pred)
    cost = np.empty((rows + 1, columns + 1), np.int32)
    step = np.arange(columns + 1, dtype=np.int32)
    cost[0] = step
    for i in range(1, rows + 1):
        above, row = cost[i - 1], cost[i]
        row[0] = i
        np.minimum(above[:-1] + (pred != truth[i - 1]), above[1:] + 1, out=row[1:])
        # An extra costs 1 for each step to the right: a running minimum of what is
        # left after taking the steps off.
        row -= step
        np.minimum.accumulate(row, out=row)
        row += step
    return _backtrace(truth.tolist(), pred.tolist(), cost)


def counts_of(
    truth: NDArray, pred: NDArray, rows: NDArray, columns: NDArray
) -> NDArray:
    """Return hits, substitutions, misses and extras of an alignment."""
    both = (rows >= 0) & (columns >= 0)
    hits = int((truth[rows[both]] == pred[columns[both]]).sum())
    missed, extra = int((columns < 0).sum()), int((rows < 0).sum())
    return np.array([hits, int(both.sum()) - hits, missed, extra], np.int64)


def _backtrace(
    truth: list[int], pred: list[int], cost: NDArray
) -> tuple[NDArray, NDArray]:
    i, j = len(truth), len(pred)
    rows, columns = [], []
    while i or j:
        here = cost[i, j]
        # Equal labels always match at no cost, so that one test covers both.
        if i and j and here == cost[i - 1, j - 1] + (truth[i - 1] != pred[j - 1]):
            step = (1, 1)
        elif i and here == cost[i - 1, j] + 1:
            step = (1, 0)
        else:
            step = (0, 1)
        i, j = i - step[0], j - step[1]
        rows.append(i if step[0] else -1)
        columns.append(j if step[1] else -1)
    return np.array(rows[::-1], np.int64), np.array(columns[::-1], np.int64)


def _coded(
    truth: Any, pred: Any, background: Any, collapse_repeats: bool | None
) -> tuple[NDArray, NDArray]:
    left, right, _ = token_pair(truth, pred, background, collapse_repeats)
    return _codes(left, right)


def _codes(truth: NDArray, pred: NDArray) -> tuple[NDArray, NDArray]:
    if truth.dtype.kind != "U" and pred.dtype.kind != "U":
        return truth, pred
    # An empty sequence has no names, and its numbers are none.
    both = np.concatenate([truth.astype(str), pred.astype(str)])
    codes = np.unique(both, return_inverse=True)[1]
    return codes[: len(truth)], codes[len(truth) :]


def _share(part: float, whole: float, otherwise: float) -> float:
    return part / whole if whole else otherwise
