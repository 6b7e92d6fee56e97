"""Networks at work on the windows of many recordings, in batches of equal size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import NDArray
from mlmethods.motion.contract import DecodeResult
from mlmethods.motion.recording import Recording
from mlmethods.motion.windows import WindowPlan, WindowSpec, plan

__all__ = ["AllWindows", "class_probabilities", "decode_all", "softmax"]

_BATCH = 64


class AllWindows:
    """The windows of several recordings, numbered one after another.

    Frames are copied when they are asked for.

    Parameters
    ----------
    recordings : sequence of Recording
        Normalized, all of one rate.
    spec : WindowSpec or None
        How to cut; None takes each recording as one window.

    Attributes
    ----------
    plans : list of WindowPlan
        Of each recording.
    owner, number : int arrays of shape (n,)
        Recording of each window, and its number in it.
    """

    def __init__(
        self, recordings: Sequence[Recording], spec: WindowSpec | None
    ) -> None:
        self._recordings = recordings
        self.plans: list[WindowPlan] = [
            _whole(item.n_frames)
            if spec is None
            else plan(item.n_frames, item.fs, spec)
            for item in recordings
        ]
        counts = [len(where.start) for where in self.plans]
        if 0 in counts:
            short = recordings[counts.index(0)]
            raise InvalidInputError(
                f"recordings must be longer than the context of a window, got "
                f"{short.n_frames} frames in {short.name!r}"
            )
        self.owner = np.repeat(np.arange(len(counts)), counts)
        first = np.cumsum(counts) - counts
        self.number = np.arange(len(self.owner)) - np.repeat(first, counts)

    def __len__(self) -> int:
        return len(self.owner)

    def of(self, recording: int) -> NDArray:
        """Return the numbers of the windows of a recording."""
        return np.flatnonzero(self.owner == recording)

    def take(self, rows: NDArray) -> tuple[NDArray, NDArray]:
        """Return frames [B, W, D] of some windows, and which are there [B, W]."""
        size = self.plans[0].size
        offset = np.arange(size)
        x = np.zeros((len(rows), size, self._recordings[0].data.shape[1]), np.float32)
        mask = np.zeros((len(rows), size), bool)
        for place, row in enumerate(rows):
            where, k = self.plans[self.owner[row]], self.number[row]
            data = self._recordings[self.owner[row]].data
            own = int(where.length[k])
            frame = int(where.start[k]) - where.before + offset[:own]
            x[place, :own] = data[np.clip(frame, 0, len(data) - 1)]
            mask[place, :own] = True
        return x, mask

    def batches(
        self, rows: NDArray | None = None
    ) -> Iterator[tuple[NDArray, NDArray, NDArray]]:
        """Yield numbers, frames and masks of a few windows at a time."""
        rows = np.arange(len(self)) if rows is None else rows
        for first in range(0, len(rows), _BATCH):
            part = rows[first : first + _BATCH]
            yield (part, *self.take(part))

    def spread(self, recording: int, values: NDArray, rate: int) -> NDArray:
        """Return values for each frame of a recording, from those of its windows.

        Each frame takes those of the window whose core it is in; frames in no core
        those of the nearest window.

        Parameters
        ----------
        recording : int
            Which one.
        values : array of shape (n, S, C)
            One row for each of its windows, a value for each step.
        rate : int
            Frames of a step.
        """
        where, T = self.plans[recording], self._recordings[recording].n_frames
        frame = np.arange(T)
        first = where.frames[:, 0]
        window = np.maximum(np.searchsorted(first, frame, side="right") - 1, 0)
        place = frame - (where.start[window].astype(np.int64) - where.before)
        place = np.clip(place, 0, where.length[window] - 1)
        return values[window, place // rate]


def _whole(n_frames: int) -> WindowPlan:
    zero = np.zeros(1, np.int32)
    length = np.array([n_frames], np.int32)
    core = np.array([[0, n_frames]], np.int32)
    return WindowPlan(zero, length, core, zero, np.zeros(1, bool), n_frames, 0, 0)


def decode_all(
    windows: AllWindows,
    decode: Callable[[NDArray, NDArray, NDArray], DecodeResult],
    start_token: int,
) -> list[DecodeResult]:
    """Decode all windows, each of which sees the last token of the one before.

    All are decoded at once as if nothing had been before; then those whose last token
    before is another one, until there are none. That is what decoding one after another
    gives, because the first window of a recording is right from the beginning.

    Parameters
    ----------
    windows : AllWindows
        The windows.
    decode : callable
        ``decode(x, mask, previous)``.
    start_token : int
        What is before a recording.

    Returns
    -------
    list of DecodeResult
        Of each recording.
    """
    n = len(windows)
    previous = np.full(n, start_token, np.int32)
    found: list[DecodeResult] = []
    pending = np.arange(n)
    while len(pending):
        for rows, x, mask in windows.batches(pending):
            part = decode(x, mask, previous[rows])
            if not found:
                found.append(_empty_like(part, n))
            for whole, own in zip(found[0], part, strict=True):
                whole[rows] = own
        after = _tokens_before(windows, found[0].ids, start_token)
        pending = np.flatnonzero(after != previous)
        previous = after
    each = [windows.of(index) for index in range(len(windows.plans))]
    return [DecodeResult(*(array[rows] for array in found[0])) for rows in each]


def _empty_like(part: DecodeResult, n: int) -> DecodeResult:
    return DecodeResult(*(np.zeros((n, *a.shape[1:]), a.dtype) for a in part))


def _tokens_before(windows: AllWindows, ids: NDArray, start_token: int) -> NDArray:
    """Return the last token before each window; one that found nothing passes it on."""
    n, count = len(ids), (ids > 0).sum(axis=1)
    last = ids[np.arange(n), np.maximum(count - 1, 0)]
    first = windows.number == 0
    # the latest window before that found something, or the first of the recording
    speaks = np.append(0, np.where(count[:-1] > 0, np.arange(1, n), 0))
    latest = np.maximum.accumulate(np.where(first, np.arange(n), speaks))
    said = last[np.maximum(latest - 1, 0)]
    return np.where(windows.number[latest] == 0, start_token, said).astype(np.int32)


def class_probabilities(
    windows: AllWindows, logits: Callable[[NDArray, NDArray], NDArray]
) -> list[NDArray]:
    """Return the probabilities of classes [T, C] of each recording.

    Parameters
    ----------
    windows : AllWindows
        The windows.
    logits : callable
        ``logits(x, mask)`` returns [B, W, C].
    """
    parts = [softmax(logits(x, mask)) for _, x, mask in windows.batches()]
    values = np.concatenate(parts)
    return [
        windows.spread(index, values[windows.of(index)], 1)
        for index in range(len(windows.plans))
    ]


def softmax(logits: NDArray) -> NDArray:
    """Return float32 probabilities over the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return (shifted / shifted.sum(axis=-1, keepdims=True)).astype(np.float32)
