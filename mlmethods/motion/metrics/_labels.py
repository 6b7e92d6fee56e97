"""What the metrics accept as labels of a recording."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from mlmethods.common.validation import check_choice
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import NDArray
from mlmethods.motion.segments import Segments

UNLABELED = -1


class Spans(NamedTuple):
    """Spans of one recording; times are frames or seconds."""

    start: NDArray
    end: NDArray
    label: NDArray


def as_labels(name: str, values: Any) -> NDArray:
    """Return labels as an array of integers or of strings.

    Raises
    ------
    InvalidInputError
        If they are neither, or not of one dimension.
    """
    try:
        array = np.asarray(values)
    except ValueError:
        array = np.empty((0, 0))
    if array.ndim == 1 and array.size == 0:
        return np.empty(0, np.int64)
    if array.dtype.kind == "O" and all(isinstance(value, str) for value in array.flat):
        array = array.astype(str)
    # NumPy turns numbers among strings into strings, which would hide a mistake.
    mixed = array.dtype.kind == "U" and not isinstance(values, np.ndarray)
    if mixed and not all(isinstance(value, str) for value in values):
        array = np.empty((0, 0))
    if array.ndim != 1 or array.dtype.kind not in "iuU":
        raise InvalidInputError(
            f"{name} must be Segments, or integers or strings of one dimension, got "
            f"{describe(values)}"
        )
    return array


def describe(values: Any) -> str:
    """Return a few words on what a caller gave."""
    if isinstance(values, np.ndarray):
        return f"{values.dtype} of shape {values.shape}"
    if isinstance(values, Sequence) and not isinstance(values, str):
        kinds = sorted({type(value).__name__ for value in values})
        return f"a {type(values).__name__} of {', '.join(kinds) or 'nothing'}"
    return repr(values)


def is_many(values: Any) -> bool:
    """Whether this is a list of recordings rather than one."""
    if isinstance(values, (Segments, np.ndarray, str)):
        return isinstance(values, np.ndarray) and values.ndim == 2
    if not isinstance(values, Iterable):
        return False
    first = next(iter(values), None)
    if isinstance(first, np.ndarray):
        return first.ndim > 0
    return isinstance(first, (Segments, list, tuple))


def check_recordings(truth: Any, pred: Any) -> tuple[list[Any], list[Any]]:
    """Return two lists of recordings, as long as each other.

    Raises
    ------
    InvalidInputError
        If they are no lists of recordings or of different lengths.
    """
    for name, values in (("truth", truth), ("pred", pred)):
        if not is_many(values):
            raise InvalidInputError(
                f"{name} must be a list of recordings, at least one, got "
                f"{describe(values)}"
            )
    truths, preds = list(truth), list(pred)
    if len(truths) != len(preds):
        raise InvalidInputError(
            f"pred must have one entry for each of {len(truths)} recordings, got "
            f"{len(preds)}"
        )
    return truths, preds


def check_same_kind(truth: Any, pred: Any) -> None:
    """Refuse a pair that cannot be compared.

    Raises
    ------
    InvalidInputError
        If the classes differ, or one has names and the other ids.
    """
    both = isinstance(truth, Segments), isinstance(pred, Segments)
    if all(both):
        if truth.classes != pred.classes:
            raise InvalidInputError(
                f"pred must have the classes {truth.classes} of truth, got "
                f"{pred.classes}"
            )
        return
    if any(both):
        return
    left, right = as_labels("truth", truth), as_labels("pred", pred)
    if (
        left.size
        and right.size
        and (left.dtype.kind == "U") != (right.dtype.kind == "U")
    ):
        raise InvalidInputError(
            "pred must hold names where truth does, and ids where truth does, got "
            f"{right.dtype} for {left.dtype}"
        )


def token_pair(
    truth: Any, pred: Any, background: Any = None, collapse_repeats: bool | None = None
) -> tuple[NDArray, NDArray, tuple[str, ...] | None]:
    """Return two sequences of labels, and the classes if they are their ids.

    Runs count once, and background is left out; neighbors that only background had
    kept apart are not merged.

    Raises
    ------
    InvalidInputError
        If the two cannot be compared.
    """
    check_same_kind(truth, pred)
    named = [x.classes for x in (truth, pred) if isinstance(x, Segments)]
    classes = named[0] if named else None
    left = _tokens("truth", truth, background, collapse_repeats, classes)
    collapse = collapse_pred(truth, collapse_repeats)
    right = _tokens("pred", pred, background, collapse, classes)
    return left, right, classes


def collapse_pred(truth: Any, collapse_repeats: bool | None) -> bool | None:
    """Return whether runs of a prediction count once.

    Labels of frames cannot hold two equal actions in a row. A prediction that can must
    not be blamed for it.
    """
    framed = not isinstance(truth, Segments) or truth._from_frames
    return True if collapse_repeats is None and framed else collapse_repeats


def _tokens(
    name: str,
    values: Any,
    background: Any,
    collapse_repeats: bool | None,
    classes: tuple[str, ...] | None,
) -> NDArray:
    if isinstance(values, Segments):
        labels = np.asarray(values.sequence(collapse_repeats), np.int64)
    else:
        labels = as_labels(name, values)
        if collapse_repeats is not False:
            labels = labels[run_starts(labels)]
        if classes is not None and labels.dtype.kind == "U":
            for label in set(labels.tolist()):
                check_choice(name, label, classes)
            labels = np.array([classes.index(label) for label in labels], np.int64)
        if classes is not None and labels.size and labels.max() >= len(classes):
            raise InvalidInputError(
                f"{name} must hold ids in 0..{len(classes) - 1} as the Segments do, got "
                f"{labels.max()}"
            )
    return labels[~is_background(labels, background, classes)]


def named(labels: NDArray, classes: Sequence[str] | None) -> list[Any]:
    """Return labels as Python values, with names for ids of classes."""
    if classes is None:
        return labels.tolist()
    return [classes[label] for label in labels]


def classes_of(recordings: Iterable[Any], found: Iterable[Any]) -> Sequence[Any]:
    """Return the classes of Segments, or the labels that were found, sorted."""
    for values in recordings:
        if isinstance(values, Segments):
            return values.classes
    return sorted(found)


def run_starts(labels: NDArray) -> NDArray:
    """Return where runs of equal labels begin."""
    changes = np.flatnonzero(labels[1:] != labels[:-1]) + 1
    return np.append(0, changes)[: len(labels)]


def is_background(
    labels: NDArray, background: Any, classes: Sequence[str] | None = None
) -> NDArray:
    """Return which labels are background, or -1, which has no label.

    Raises
    ------
    InvalidInputError
        If the background is a name and the labels are ids without names, or the other
        way round.
    """
    text = labels.dtype.kind == "U"
    found = np.zeros(len(labels), bool) if text else labels == UNLABELED
    if background is None:
        return found
    one = isinstance(background, (str, int, np.integer))
    for label in (background,) if one else background:
        if classes is not None and isinstance(label, str):
            check_choice("background", label, classes)
            label = classes.index(label)
        if labels.size and text != isinstance(label, str):
            raise InvalidInputError(
                f"background must be {'a name' if text else 'an id'} as the labels "
                f"are, got {label!r}"
            )
        found = found | (labels == label)
    return found


def spans(
    name: str, values: Any, background: Any = None, collapse_repeats: bool | None = None
) -> Spans:
    """Return the spans of a recording, in seconds for Segments and else in frames."""
    if isinstance(values, Segments):
        merged = values.merge_repeats() if collapse_repeats else values
        kept = ~is_background(merged.label, background, merged.classes)
        return Spans(merged.start[kept], merged.end[kept], merged.label[kept])
    labels = as_labels(name, values)
    first = run_starts(labels)
    last = np.append(first[1:], len(labels))[: len(first)]
    kept = ~is_background(labels[first], background)
    return Spans(first[kept], last[kept], labels[first[kept]])


def span_pair(
    truth: Any, pred: Any, background: Any = None, collapse_repeats: bool | None = None
) -> tuple[Spans, Spans]:
    """Return the spans of a pair, background left out."""
    return (
        spans("truth", truth, background, collapse_repeats),
        spans("pred", pred, background, collapse_pred(truth, collapse_repeats)),
    )


def check_same_length(truth: Any, pred: Any, align: str | None) -> tuple[Any, Any]:
    """Return a pair on one time axis.

    Raises
    ------
    InvalidInputError
        If one has times and the other frames, or frames differ in number.
    """
    if align is not None:
        check_choice("align", align, ("nearest",))
    check_same_kind(truth, pred)
    if isinstance(truth, Segments) != isinstance(pred, Segments):
        raise InvalidInputError(
            "truth and pred must both be labels of frames or both be Segments, got "
            f"{type(truth).__name__} and {type(pred).__name__}"
        )
    if isinstance(truth, Segments):
        return truth, pred
    left, right = as_labels("truth", truth), as_labels("pred", pred)
    if len(left) == len(right):
        return left, right
    if align is None:
        raise InvalidInputError(
            f"pred must have as many frames as truth, {len(left)}, got {len(right)}; "
            'align="nearest" stretches it'
        )
    if not len(right):
        raise InvalidInputError("pred must have frames to stretch, got none")
    place = (2 * np.arange(len(left)) + 1) * len(right) // (2 * max(len(left), 1))
    return left, right[place]


def overlaps(a: Spans, b: Spans) -> tuple[NDArray, NDArray, NDArray]:
    """Return which spans of a and b overlap, in order, and by how much."""
    first = np.searchsorted(b.end, a.start, side="right")
    count = np.maximum(np.searchsorted(b.start, a.end, side="left") - first, 0)
    left = np.repeat(np.arange(len(a.start)), count)
    before = np.repeat(np.cumsum(count) - count, count)
    right = np.repeat(first, count) + np.arange(len(left)) - before
    shared = np.minimum(a.end[left], b.end[right]) - np.maximum(
        a.start[left], b.start[right]
    )
    return left, right, shared
