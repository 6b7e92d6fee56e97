"""From the tokens of a core to runs of frames, and from cores to a recording."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mlmethods.interfaces import NDArray
from mlmethods.motion.align import attention_align, refine_boundaries, viterbi_align
from mlmethods.motion.calibration import Temperature
from mlmethods.motion.segments import Segments

__all__ = ["Joiner", "Runs", "align_core", "frame_runs", "log_softmax", "to_segments"]

# What attention outside of the core leaves to a token inside of it.
_FAINT = 1e-9


class Runs(NamedTuple):
    """Runs of frames of one class, in order.

    Attributes
    ----------
    start, end : int64 arrays of shape (n,)
        Frames of the recording; ends are exclusive.
    label : int64 array of shape (n,)
        Class ids.
    confidence : float64 array of shape (n,)
        In [0, 1], before any temperature.
    valid : bool array of shape (n,)
        Whether every frame has a usable signal.
    """

    start: NDArray
    end: NDArray
    label: NDArray
    confidence: NDArray
    valid: NDArray

    @classmethod
    def none(cls) -> Runs:
        """Return no runs."""
        whole = np.zeros(0, np.int64)
        return cls(whole, whole, whole, np.zeros(0), np.zeros(0, bool))

    @classmethod
    def concat(cls, parts: list[Runs]) -> Runs:
        """Return the runs of all parts."""
        if not parts:
            return cls.none()
        return cls(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def log_softmax(logits: NDArray) -> NDArray:
    """Return float64 log-probabilities over the last axis."""
    values = np.asarray(logits, dtype=np.float64)
    shifted = values - values.max(axis=-1, keepdims=True)
    log_sum = np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return np.asarray(shifted - log_sum)


def align_core(
    tokens: NDArray,
    confidence: NDArray,
    frame_logits: NDArray,
    core: tuple[int, int],
    rate: int,
    attention: NDArray | None = None,
) -> tuple[NDArray, NDArray, NDArray]:
    """Return the frames that the tokens of a window's core take.

    More tokens than frames cannot all take one: those with the least confidence go.

    Parameters
    ----------
    tokens : int array of shape (n,)
        Class ids.
    confidence : float array of shape (n,)
        Of each token.
    frame_logits : array of shape (steps, C)
        Of the window, at the rate of the encoder: step k speaks of frame ``k * rate``.
    core : (int, int)
        First and last + 1 frame of the core, from the start of the window.
    rate : int
        Frames of a step.
    attention : array of shape (n, steps), optional
        If given, it decides instead of the logits.

    Returns
    -------
    label, confidence : arrays of shape (m,)
        Of the tokens that have a place.
    bounds : int64 array of shape (m + 1,)
        From 0 to the length of the core.
    """
    first, last = core
    length = last - first
    if len(tokens) > length:
        kept = np.sort(np.argsort(-confidence, kind="stable")[:length])
        tokens, confidence = tokens[kept], confidence[kept]
        attention = None if attention is None else attention[kept]
    if not len(tokens):
        return tokens, confidence, np.zeros(1, np.int64)
    low, high = first // rate, min(-(-last // rate), len(frame_logits))
    if attention is not None:
        inside = np.asarray(attention, np.float64)[:, low:high] + _FAINT
        return tokens, confidence, attention_align(inside, length)
    log_probs = log_softmax(frame_logits)
    edges = np.clip(np.arange(low, high + 1) * rate, first, last) - first
    # The last step also speaks for what the encoder rounded away.
    edges[-1] = length
    share = np.diff(edges)
    steps = log_probs[low:high]
    if len(tokens) <= len(steps):
        bounds = edges[viterbi_align(steps, tokens, weights=share)]
    else:
        bounds = viterbi_align(np.repeat(steps, share, axis=0), tokens)
    place = np.arange(first, last) / rate
    before = np.minimum(place.astype(np.int64), high - 1)
    part = (place - before)[:, None].clip(0, 1)
    fine = (1 - part) * log_probs[before]
    fine += part * log_probs[np.minimum(before + 1, high - 1)]
    return tokens, confidence, refine_boundaries(fine, tokens, bounds, rate)


def frame_runs(proba: NDArray, first: int, valid: NDArray) -> Runs:
    """Return the runs of the most likely class of frames that begin at `first`.

    The confidence of a run is the mean probability of its class.
    """
    label = proba.argmax(axis=1)
    start = np.flatnonzero(np.diff(label, prepend=-1))
    end = np.append(start[1:], len(label))
    chosen = np.take_along_axis(proba, label[:, None], axis=1)[:, 0]
    total = np.add.reduceat(chosen.astype(np.float64), start)
    return Runs(
        first + start,
        first + end,
        label[start].astype(np.int64),
        np.clip(total / (end - start), 0, 1),
        all_valid(valid, start, end),
    )


def all_valid(valid: NDArray, start: NDArray, end: NDArray) -> NDArray:
    """Return whether all of `valid` is True in each of [start, end)."""
    bad = np.concatenate([[0], np.cumsum(~valid)])
    return np.asarray(bad[end] == bad[start])


class Joiner:
    """Joins the runs of cores that follow one another.

    Equal neighbors on both sides of the edge of a core are one; inside of a core they
    are if `collapse` is True. The last run stays open until it is known where it ends.
    """

    def __init__(self, collapse: bool = True) -> None:
        self.collapse = collapse
        self._open = Runs.none()

    def push(self, runs: Runs) -> Runs:
        """Return what is complete, now that the runs of a further core are known."""
        if not len(runs.start):
            return self.flush()
        carried = len(self._open.start)
        all_runs = Runs.concat([self._open, runs])
        same = (all_runs.label[1:] == all_runs.label[:-1]) & (
            all_runs.start[1:] == all_runs.end[:-1]
        )
        if not self.collapse:
            same[carried:] = False
        head = np.flatnonzero(np.concatenate([[True], ~same]))
        tail = np.append(head[1:], len(same) + 1) - 1
        length = (all_runs.end - all_runs.start).astype(np.float64)
        weighted = np.add.reduceat(all_runs.confidence * length, head)
        joined = Runs(
            all_runs.start[head],
            all_runs.end[tail],
            all_runs.label[head],
            np.minimum(weighted / np.add.reduceat(length, head), 1),
            np.logical_and.reduceat(all_runs.valid, head),
        )
        self._open = Runs(*(column[-1:] for column in joined))
        return Runs(*(column[:-1] for column in joined))

    def flush(self) -> Runs:
        """Return the open run, if there is one; nothing joins it any more."""
        runs, self._open = self._open, Runs.none()
        return runs

    def state(self) -> dict[str, list[Any]]:
        """Return the open run as plain lists."""
        return {name: column.tolist() for name, column in self._open._asdict().items()}

    def restore(self, state: dict[str, list[Any]]) -> None:
        """Take over an open run."""
        none = Runs.none()
        self._open = Runs(
            *(
                np.asarray(state[name], dtype=getattr(none, name).dtype)
                for name in Runs._fields
            )
        )


def to_segments(
    runs: Runs, fs: float, classes: tuple[str, ...], temperature: Temperature
) -> Segments:
    """Return runs of frames as spans of seconds, with calibrated confidences."""
    return Segments(
        runs.start / fs,
        runs.end / fs,
        runs.label.astype(np.int32),
        classes,
        temperature.apply(runs.confidence),
        runs.valid,
    )
