"""Agreement of spans and frames: accuracy, overlap F1, boundaries."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlmethods.common.validation import check_real
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import NDArray
from mlmethods.motion.metrics._labels import (
    Spans,
    check_recordings,
    check_same_length,
    is_background,
    is_many,
    overlaps,
    span_pair,
    spans,
)
from mlmethods.motion.segments import Segments

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["boundary_scores", "f1_at", "f1_counts", "framewise_accuracy"]

# Overlaps of spans in seconds carry rounding; those of frames are far coarser.
_DIGITS = 9
# A span that starts here starts with the recording, and is no change.
_BEGINNING = 1e-6


def framewise_accuracy(truth: Any, pred: Any, *, align: str | None = None) -> float:
    """Return the percentage of labeled frames, or time, that has the right label.

    Parameters
    ----------
    truth, pred : labels of frames or Segments, or lists of these
        Labels of one recording, or of several, all of whose frames count alike.
        Frames whose true label is -1, and time without a true segment, do not count.
    align : {"nearest"}, optional
        Stretches a prediction of another number of frames; by default that is an error.

    Returns
    -------
    float
        From 0 to 100; NaN if nothing is labeled.

    Raises
    ------
    InvalidInputError
        If a prediction has another number of frames and `align` is not given, or the
        arguments cannot be compared.

    Examples
    --------
    >>> from mlmethods.motion.metrics import framewise_accuracy
    >>> framewise_accuracy([0, 0, 1, 1], [0, 1, 1, 1])
    75.0
    """
    truths, preds = [truth], [pred]
    if is_many(truth) or is_many(pred):
        truths, preds = check_recordings(truth, pred)
    total = np.zeros(2)
    for one, other in zip(truths, preds, strict=True):
        total += agreement(*check_same_length(one, other, align))
    return float(100.0 * total[0] / total[1]) if total[1] else float("nan")


def f1_counts(
    truth_frames: Any,
    pred_frames: Any,
    iou: float,
    background: Any = None,
    *,
    align: str | None = None,
) -> tuple[int, int, int]:
    """Count predicted spans that overlap a true one of the same label enough.

    Each predicted span, in order, looks at the true span of its label that it overlaps
    most (the first of equals), measured by intersection over union. It is a true
    positive if that is at least `iou` and the true span was not used before, and a
    false positive otherwise. True spans that are never used are false negatives.

    Parameters
    ----------
    truth_frames, pred_frames : labels of frames or Segments
        Of one recording; -1 has no label.
    iou : float
        Intersection over union, in (0, 1].
    background : int, str or a collection of them, optional
        Labels whose spans do not count.
    align : {"nearest"}, optional
        As for :func:`framewise_accuracy`.

    Returns
    -------
    tp, fp, fn : int

    Raises
    ------
    InvalidInputError
        If `iou` is outside its range or the arguments cannot be compared.

    References
    ----------
    C. Lea et al., "Temporal convolutional networks for action segmentation and
    detection", CVPR 2017.

    Examples
    --------
    >>> from mlmethods.motion.metrics import f1_counts
    >>> f1_counts([0, 0, 0, 1, 1, 0], [0, 0, 1, 1, 1, 1], iou=0.5)
    (2, 0, 1)
    """
    threshold = _iou("iou", iou)
    truth, pred = check_same_length(truth_frames, pred_frames, align)
    one, other = span_pair(truth, pred, background)
    return counts_at(best_overlaps(one, other), len(one[0]), len(other[0]), threshold)


def f1_at(
    truths: Sequence[Any],
    preds: Sequence[Any],
    iou: float,
    background: Any = None,
    *,
    align: str | None = None,
) -> float:
    """Return the overlap F1 of several recordings, from 0 to 100.

    Counts of :func:`f1_counts` are added over the recordings first. It is 100 if there
    is no span at all.

    Parameters
    ----------
    truths, preds : lists of labels of frames or of Segments
        One entry for each recording.
    iou, background, align
        As for :func:`f1_counts`.

    Raises
    ------
    InvalidInputError
        If `iou` is outside its range or the arguments cannot be compared.

    Examples
    --------
    >>> from mlmethods.motion.metrics import f1_at
    >>> f1_at([[0, 0, 0, 1, 1, 0]], [[0, 0, 1, 1, 1, 1]], iou=0.5)
    80.0
    """
    left, right = check_recordings(truths, preds)
    counts = [
        f1_counts(one, other, iou, background, align=align)
        for one, other in zip(left, right, strict=True)
    ]
    return f1_score(*np.sum(counts, axis=0))


def boundary_scores(
    truths: Sequence[Any],
    preds: Sequence[Any],
    tolerance: float = 0.5,
    *,
    fs: float | None = None,
    bins: Sequence[float] = (0.5, 1.0, 2.0),
) -> pd.DataFrame:
    """Return how well the beginnings of segments are found, by their duration.

    A boundary is where a segment begins, whatever its label, except at time 0. Pairs of
    a true and a predicted one within the tolerance are matched, nearest pairs first,
    each boundary at most once.

    Parameters
    ----------
    truths, preds : lists of Segments or of labels of frames
        One entry for each recording; times are not stretched.
    tolerance : float
        Seconds.
    fs : float, optional
        Frames per second, needed for labels of frames.
    bins : sequence of float
        Durations in seconds, increasing, at which the bins meet.

    Returns
    -------
    pandas.DataFrame
        A row for each bin and one for ``"all"``: `truth` and `pred` (boundaries of
        segments of that duration), `recall` (of the true ones), `precision` (of the
        predicted ones), `f1`, and `offset` and `absolute_offset`, the mean of predicted
        minus true seconds over matched true boundaries, signed and not. NaN where there
        is nothing to divide by.

    Raises
    ------
    InvalidInputError
        If `fs` is needed and not given, the bins do not increase, or the arguments
        cannot be compared.

    Examples
    --------
    >>> from mlmethods.motion.metrics import boundary_scores
    >>> table = boundary_scores([[0] * 9 + [1] * 3], [[0] * 8 + [1] * 4], fs=10)
    >>> table.loc["all", ["recall", "precision", "offset"]].round(2).tolist()
    [1.0, 1.0, -0.1]
    """
    import pandas as pd

    reach = check_real("tolerance", tolerance, minimum=0)
    edges = np.asarray([check_real("bins", edge, minimum=0) for edge in bins])
    if (np.diff(edges) <= 0).any():
        raise InvalidInputError(f"bins must increase, got {list(bins)}")
    left, right = check_recordings(truths, preds)
    found = [
        _boundaries(one, other, reach, fs)
        for one, other in zip(left, right, strict=True)
    ]
    duration, offset, pred_duration, hit = (
        np.concatenate(part) for part in zip(*found, strict=True)
    )
    names = [f"{edge:g}" for edge in edges]
    rows = (
        [f"< {names[0]} s"]
        + [f"{a}-{b} s" for a, b in itertools.pairwise(names)]
        + [f">= {names[-1]} s"]
        if names
        else []
    )
    # Rounding of divisions by the rate must not move a duration to another bin.
    codes, pred_codes = (
        np.searchsorted(edges, np.round(x, 6), side="right")
        for x in (duration, pred_duration)
    )
    table = [
        _boundary_row(offset[codes == code], hit[pred_codes == code])
        for code in range(len(rows))
    ]
    return pd.DataFrame([*table, _boundary_row(offset, hit)], index=[*rows, "all"])


def agreement(truth: Any, pred: Any) -> tuple[float, float]:
    """Return the frames, or seconds, with the right label, and those with a label."""
    if isinstance(truth, Segments):
        one, other = spans("truth", truth), spans("pred", pred)
        left, right, shared = overlaps(one, other)
        right_label = one.label[left] == other.label[right]
        return float(shared[right_label].sum()), float(truth.durations.sum())
    labeled = ~is_background(truth, None)
    if not len(truth):
        return 0.0, 0.0
    return float((labeled & (truth == pred)).sum()), float(labeled.sum())


def best_overlaps(truth: Spans, pred: Spans) -> tuple[NDArray, NDArray]:
    """Return, for predicted spans that overlap one of their label, which and how much.

    The first of the true spans with the largest intersection over union.
    """
    which, match, shared = overlaps(pred, truth)
    same = pred.label[which] == truth.label[match]
    which, match, shared = which[same], match[same], shared[same]
    total = (pred.end - pred.start)[which] + (truth.end - truth.start)[match] - shared
    ratio = np.round(shared / total, _DIGITS)
    order = np.lexsort((match, -ratio, which))
    first = order[np.flatnonzero(np.diff(which[order], prepend=-1))]
    return match[first], ratio[first]


def counts_at(
    best: tuple[NDArray, NDArray], n_truth: int, n_pred: int, iou: float
) -> tuple[int, int, int]:
    """Return true and false positives and false negatives at a threshold."""
    match, ratio = best
    # The first prediction that may use a true span does; later ones are false.
    hits = len(np.unique(match[ratio >= round(iou, _DIGITS)]))
    return hits, n_pred - hits, n_truth - hits


def f1_score(tp: Any, fp: Any, fn: Any) -> float:
    """Return F1 from 0 to 100; 100 if there is nothing to find and nothing found."""
    total = 2.0 * tp + fp + fn
    return float(200.0 * tp / total) if total else 100.0


def _iou(name: str, value: float) -> float:
    return check_real(name, value, minimum=0, maximum=1, open_minimum=True)


def _boundaries(
    truth: Any, pred: Any, tolerance: float, fs: float | None
) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """Return true durations and offsets (NaN: missed), predicted durations and hits."""
    start, duration = _beginnings("truths", truth, fs)
    other, pred_duration = _beginnings("preds", pred, fs)
    reach = tolerance + _BEGINNING
    first = np.searchsorted(other, start - reach, side="left")
    count = np.searchsorted(other, start + reach, side="right") - first
    left = np.repeat(np.arange(len(start)), count)
    before = np.repeat(np.cumsum(count) - count, count)
    right = np.repeat(first, count) + np.arange(len(left)) - before
    distance = other[right] - start[left]
    offset = np.full(len(start), np.nan)
    hit = np.zeros(len(other), bool)
    for k in np.lexsort((right, left, np.round(np.abs(distance), _DIGITS))).tolist():
        if np.isnan(offset[left[k]]) and not hit[right[k]]:
            offset[left[k]] = distance[k]
            hit[right[k]] = True
    return duration, offset, pred_duration, hit


def _beginnings(name: str, values: Any, fs: float | None) -> tuple[NDArray, NDArray]:
    found = spans(name, values)
    scale = 1.0
    if not isinstance(values, Segments):
        if fs is None:
            raise InvalidInputError("fs must be given for labels of frames, got None")
        scale = check_real("fs", fs, minimum=0, open_minimum=True)
    start, end = found.start / scale, found.end / scale
    kept = start > _BEGINNING
    return start[kept], (end - start)[kept]


def _boundary_row(offset: NDArray, hit: NDArray) -> dict[str, float]:
    matched = offset[~np.isnan(offset)]
    recall = len(matched) / len(offset) if len(offset) else float("nan")
    precision = float(hit.mean()) if len(hit) else float("nan")
    both = recall + precision
    f1 = 2 * recall * precision / both if both else 0.0
    nothing = float("nan")
    return {
        "truth": len(offset),
        "pred": len(hit),
        "recall": recall,
        "precision": precision,
        "f1": f1,
        "offset": float(matched.mean()) if len(matched) else nothing,
        "absolute_offset": float(np.abs(matched).mean()) if len(matched) else nothing,
    }
