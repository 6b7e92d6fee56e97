"""Edit distances between sequences of actions, and the scores made of them."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from mlmethods.common.validation import check_choice, check_integer
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import NDArray
from mlmethods.motion.metrics._labels import (
    check_recordings,
    is_many,
    token_pair,
)

__all__ = ["action_error_rate", "edit_score", "levenshtein", "levenshtein_pairs"]

AVERAGES = ("micro", "macro", "patient")


def levenshtein(a: Any, b: Any, substitution_cost: int = 1) -> int:
    """Return the edit distance of two sequences, as they are.

    Inserting and deleting cost 1.

    Parameters
    ----------
    a, b : sequence of int or str
        Nothing is collapsed or left out.
    substitution_cost : int
        1 is the distance of the action error rate; 2 or more leaves insertions and
        deletions only, as the metric of some benchmarks does.

    Raises
    ------
    InvalidInputError
        If the cost is not an integer of at least 0.

    References
    ----------
    V. I. Levenshtein, "Binary codes capable of correcting deletions, insertions, and
    reversals", Soviet Physics Doklady 10 (1966).

    Examples
    --------
    >>> from mlmethods.motion.metrics import levenshtein
    >>> levenshtein(["reach", "idle", "stabilize"], ["reach", "transport"])
    2
    >>> levenshtein([1, 2], [1, 3], substitution_cost=2)
    2
    """
    return int(levenshtein_pairs([a], [b], substitution_cost)[0])


def levenshtein_pairs(
    a: Sequence[Any], b: Sequence[Any], substitution_cost: int = 1
) -> NDArray:
    """Return the edit distance of each sequence of `a` to its partner in `b`.

    Parameters
    ----------
    a, b : sequences of equal length, of sequences of int or str
        Nothing is collapsed or left out.
    substitution_cost : int
        As for :func:`levenshtein`.

    Returns
    -------
    int64 ndarray of shape (n,)

    Raises
    ------
    InvalidInputError
        If the numbers of sequences differ, or the cost is not an integer of at least 0.

    Examples
    --------
    >>> from mlmethods.motion.metrics import levenshtein_pairs
    >>> levenshtein_pairs([[0, 1, 2], [3]], [[0, 2], []]).tolist()
    [1, 1]
    """
    from rapidfuzz.distance.Levenshtein import distance

    cost = check_integer("substitution_cost", substitution_cost, minimum=0)
    if len(a) != len(b):
        raise InvalidInputError(
            f"b must have one sequence for each of {len(a)}, got {len(b)}"
        )
    left, right = _encode(a, b)
    weights = (1, 1, cost)
    return np.fromiter(
        (distance(x, y, weights=weights) for x, y in zip(left, right, strict=True)),
        np.int64,
        count=len(left),
    )


def edit_score(
    truth: Any,
    pred: Any,
    background: Any = None,
    *,
    collapse_repeats: bool | None = None,
) -> float:
    """Return how similar two sequences of actions are, from 0 to 100.

    It is ``100 (1 - L / max(|G|, |P|))`` with the edit distance L; the mean over
    recordings if there are several. Two empty sequences score 100.

    Parameters
    ----------
    truth, pred : Segments or sequence of int or str, or lists of these
        Labels of frames, or of actions in order, of one recording or of several. The
        id -1 has no label and is left out.
    background : int, str or a collection of them, optional
        Labels that are left out. Neighbors of a label left out are not merged.
    collapse_repeats : bool, optional
        Whether runs of equal labels count once. None means True for labels in a list
        or array, and for Segments from frames; predictions for those are collapsed too,
        because labels of frames cannot hold two equal actions in a row. Other Segments
        are taken as they are.

    Raises
    ------
    InvalidInputError
        If an argument is none of these, or the classes of the two differ.

    References
    ----------
    C. Lea, R. Vidal, G. D. Hager, "Learning convolutional action primitives for
    fine-grained action recognition", ICRA 2016.

    Examples
    --------
    >>> from mlmethods.motion.metrics import edit_score
    >>> round(edit_score(["reach", "idle", "stabilize"], ["reach", "idle"]), 2)
    66.67
    """
    left, right = token_pairs(truth, pred, background, collapse_repeats)
    distance = levenshtein_pairs(left, right)
    return float(np.mean(edit_scores(distance, lengths(left), lengths(right))))


def action_error_rate(
    truth: Any,
    pred: Any,
    background: Any = None,
    *,
    average: str = "micro",
    patients: Sequence[Any] | None = None,
    collapse_repeats: bool | None = None,
) -> float:
    """Return the edit distance per true action; it may exceed 1.

    Parameters
    ----------
    truth, pred, background, collapse_repeats
        As for :func:`edit_score`.
    average : {"micro", "macro", "patient"}
        Of several recordings: all distances over all true actions, the mean of
        recordings, or the mean over patients of the first.
    patients : sequence, optional
        Who is seen in each recording, for ``average="patient"``.

    Raises
    ------
    InvalidInputError
        If a true sequence is empty, or an argument is not accepted.

    References
    ----------
    A. Kaku et al., "StrokeRehab: a benchmark dataset for sub-second action
    identification", NeurIPS 2022 datasets and benchmarks.

    Examples
    --------
    >>> from mlmethods.motion.metrics import action_error_rate
    >>> truth = ["reach", "idle", "stabilize"]
    >>> round(action_error_rate(truth, [*truth, "transport"]), 3)
    0.333
    """
    check_choice("average", average, AVERAGES)
    left, right = token_pairs(truth, pred, background, collapse_repeats)
    length = lengths(left)
    if not length.all():
        raise InvalidInputError(
            "truth must hold at least one action in every recording, got none in "
            f"recording {int(np.argmin(length))}"
        )
    distance = levenshtein_pairs(left, right)
    codes = None
    if average == "patient":
        codes = patient_codes(patients, len(left))
    return mean_error_rate(distance, length, average, codes)


def edit_scores(distance: NDArray, truth: NDArray, pred: NDArray) -> NDArray:
    """Return edit scores from distances and lengths."""
    longest = np.maximum(truth, pred)
    return 100.0 * (1.0 - distance / np.maximum(longest, 1))


def mean_error_rate(
    distance: NDArray, length: NDArray, average: str, codes: NDArray | None
) -> float:
    """Return the action error rate of recordings that all have actions."""
    if average == "macro":
        return float(np.mean(distance / length))
    if average == "patient":
        assert codes is not None
        total = np.bincount(codes, length)
        seen = total > 0
        return float(np.mean(np.bincount(codes, distance)[seen] / total[seen]))
    return float(distance.sum() / length.sum())


def patient_codes(patients: Sequence[Any] | None, count: int) -> NDArray:
    """Return an integer for who is seen in each recording.

    Raises
    ------
    InvalidInputError
        If there is not one entry for each recording.
    """
    if patients is None or len(patients) != count:
        got = "none" if patients is None else len(patients)
        raise InvalidInputError(
            f"patients must have one entry for each of {count} recordings, got {got}"
        )
    ids: dict[Any, int] = {}
    return np.array([ids.setdefault(patient, len(ids)) for patient in patients])


def token_pairs(
    truth: Any, pred: Any, background: Any, collapse_repeats: bool | None
) -> tuple[list[NDArray], list[NDArray]]:
    """Return the sequences of one recording, or of several."""
    truths, preds = [truth], [pred]
    if is_many(truth) or is_many(pred):
        truths, preds = check_recordings(truth, pred)
    left, right = [], []
    for one, other in zip(truths, preds, strict=True):
        pair = token_pair(one, other, background, collapse_repeats)
        left.append(pair[0])
        right.append(pair[1])
    return left, right


def lengths(sequences: Iterable[Any]) -> NDArray:
    """Return how long each sequence is."""
    return np.array([len(sequence) for sequence in sequences], np.int64)


def _encode(a: Sequence[Any], b: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Return sequences of small codes that compare fast and without collisions."""
    left, right = _as_bytes(a), _as_bytes(b)
    if left is not None and right is not None:
        return left, right
    listed = [x.tolist() if isinstance(x, np.ndarray) else x for x in (*a, *b)]
    ids = {value: code for code, value in enumerate(set().union(*listed))}
    coded: list[Any]
    if len(ids) <= 256:
        coded = [bytes(map(ids.__getitem__, x)) for x in listed]
    else:
        coded = [array("I", map(ids.__getitem__, x)) for x in listed]
    return coded[: len(a)], coded[len(a) :]


def _as_bytes(sequences: Sequence[Any]) -> list[bytes] | None:
    """Return class ids as bytes, or None if they are something else."""
    if not len(sequences):
        return []
    if all(isinstance(x, np.ndarray) for x in sequences):
        flat = np.concatenate(sequences)
        small = flat.dtype.kind in "iu" and flat.ndim == 1
        if not small or (flat.size and (flat.min() < 0 or flat.max() > 255)):
            return None
        raw = flat.astype(np.uint8).tobytes()
        ends = np.cumsum(lengths(sequences)).tolist()
        return [raw[i:j] for i, j in zip([0, *ends[:-1]], ends, strict=True)]
    if not all(isinstance(x, (list, tuple)) for x in sequences):
        return None
    try:
        return [bytes(x) for x in sequences]
    except (TypeError, ValueError):
        return None
