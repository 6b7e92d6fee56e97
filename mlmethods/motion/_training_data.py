"""The frames and windows that a network is trained on."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Sequence

import numpy as np

from mlmethods.errors import InvalidInputError, MLMethodsWarning
from mlmethods.interfaces import NDArray
from mlmethods.motion._recordings import Example
from mlmethods.motion.contract import TrainingData
from mlmethods.motion.windows import WindowSpec, plan

__all__ = ["MAX_TOKENS", "whole_recordings", "windows_of", "with_transcripts"]

MAX_TOKENS = 35
"""Most tokens of a window, the end included."""

# Room for tokens grows in steps, so that data sets share compiled programs.
_TOKEN_STEP = 4


def windows_of(
    examples: Sequence[Example],
    fs: float,
    spec: WindowSpec,
    *,
    hop: float,
    start_token: int = 0,
) -> TrainingData:
    """Return overlapping windows of labeled recordings.

    Parameters
    ----------
    examples : sequence of Example
        Recordings with labels.
    fs : float
        Frames per second.
    spec : WindowSpec
        Windows of prediction.
    hop : float
        Seconds between windows of training, at most the hop of `spec`.
    start_token : int
        What a decoder sees before a recording.

    Raises
    ------
    InvalidInputError
        If no recording has a window with a label in its core.

    Warns
    -----
    MLMethodsWarning
        If cores have more motions than there is room for.
    """
    spec = dataclasses.replace(spec, hop=min(hop, spec.hop))
    size, _, context = spec.frames(fs)
    frames, labels, places = [], [], []
    base, most = 0, 0
    for example in examples:
        where = plan(len(example.x), fs, spec)
        y = _labels(example).copy()
        if spec.mode == "paper":
            y[:context] = -1  # never a target, and not known when predicting
        # a blank frame separates recordings: no window begins with a foreign label
        before, after = where.before + 1, where.after
        frames.append(np.pad(example.x, [(before, after), (0, 0)], mode="edge"))
        labels.append(np.pad(y, (before, after), constant_values=-1))
        kept = _has_label(labels[-1], where.start + 1, where.core)
        columns = (base + 1 + where.start, where.length, where.core, where.shift)
        places.append([column[kept] for column in columns])
        most = max(most, _most_runs(y, size - 2 * context))
        base += len(frames[-1])
    start, length, core, shift = (
        np.concatenate(column).astype(np.int32) for column in zip(*places, strict=True)
    )
    if not len(start):
        raise InvalidInputError("train must hold labels in at least one window")
    return TrainingData(
        frames=_with_room(frames, size),
        labels=np.pad(np.concatenate(labels), (0, size), constant_values=-1),
        start=start,
        length=length,
        core=core,
        shift=shift,
        tokens=None,
        size=size,
        max_tokens=_room(most, warn=True),
        start_token=start_token,
    )


def whole_recordings(
    examples: Sequence[Example], *, multiple: int = 1, start_token: int = 0
) -> TrainingData:
    """Return each recording as one window, with a common padded length.

    Examples without labels have the label -1 in every frame.
    """
    length = np.array([len(example.x) for example in examples], np.int32)
    y = [
        np.full(len(example.x), -1, np.int32) if example.y is None else example.y
        for example in examples
    ]
    size = _padded(int(length.max()), multiple)
    blank = np.zeros((1, examples[0].x.shape[1]), np.float32)
    parts = [part for example in examples for part in (blank, example.x)]
    marks = [part for own in y for part in (np.full(1, -1, np.int32), own)]
    start = np.cumsum(length + 1) - length
    return TrainingData(
        frames=_with_room(parts, size),
        labels=np.pad(np.concatenate(marks), (0, size), constant_values=-1),
        start=start.astype(np.int32),
        length=length,
        core=np.stack([np.zeros_like(length), length], axis=1),
        shift=np.zeros_like(length),
        tokens=None,
        size=size,
        max_tokens=_room(max(_most_runs(own, len(own)) for own in y), warn=False),
        start_token=start_token,
    )


def with_transcripts(
    data: TrainingData, transcripts: Sequence[Sequence[int]], n_classes: int
) -> TrainingData:
    """Return the same recordings with the classes of each in order, without times."""
    room = _room(max(map(len, transcripts), default=0), warn=False)
    tokens = np.zeros((len(transcripts), room), np.int32)
    for row, classes in zip(tokens, transcripts, strict=True):
        row[: len(classes)] = np.asarray(classes, np.int32) + 1
        row[len(classes)] = n_classes + 1
    return data._replace(tokens=tokens, max_tokens=room)


def _labels(example: Example) -> NDArray:
    if example.y is None:
        raise InvalidInputError(f"train must have labels, got none in {example.name!r}")
    return example.y


def _has_label(labels: NDArray, start: NDArray, core: NDArray) -> NDArray:
    """Return which cores hold a labeled frame; `start` counts from the blank."""
    known = np.concatenate([[0], np.cumsum(labels >= 0)])
    first, last = start + core[:, 0], start + core[:, 1]
    return known[np.minimum(last, len(labels))] > known[np.minimum(first, len(labels))]


def _most_runs(y: NDArray, span: int) -> int:
    """Return how many runs of equal labels so many frames can hold at most."""
    begins = (y >= 0) & (y != np.append(-1, y[:-1]))
    total = np.concatenate([[0], np.cumsum(begins)])
    first = np.arange(len(y))
    last = np.minimum(first + span, len(y))
    # a span that begins within a run counts it as well
    within = (y >= 0) & ~begins
    return int(np.max(total[last] - total[first] + within, initial=0))


def _room(most: int, *, warn: bool) -> int:
    room = -(-(most + 1) // _TOKEN_STEP) * _TOKEN_STEP
    if not warn or room <= MAX_TOKENS:
        return room
    if most + 1 > MAX_TOKENS:
        warnings.warn(
            f"a window holds up to {most} motions, of which {MAX_TOKENS - 1} are "
            "targets; shorter windows hold fewer",
            MLMethodsWarning,
            stacklevel=4,
        )
    return MAX_TOKENS


def _with_room(parts: Sequence[NDArray], size: int) -> NDArray:
    """Return frames one after another, with a whole window of zeros behind them."""
    room = np.zeros((size, parts[0].shape[1]), np.float32)
    return np.concatenate([*parts, room], dtype=np.float32)


def _padded(frames: int, multiple: int) -> int:
    """Return a common length: the next power of the square root of 2, or above."""
    power = math.ceil(2 * math.log2(frames) - 1e-9)
    length = max(math.ceil(2 ** (power / 2) - 1e-9), frames)
    return -(-length // multiple) * multiple
