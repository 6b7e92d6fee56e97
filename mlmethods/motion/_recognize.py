"""Models at work on whole recordings: windows, decoding, and runs with times."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import NDArray
from mlmethods.motion._pieces import (
    Joiner,
    Runs,
    align_core,
    all_valid,
    frame_runs,
    log_softmax,
)
from mlmethods.motion._window_passes import AllWindows, decode_all
from mlmethods.motion.contract import DecodeResult
from mlmethods.motion.recording import QualityEntry, Recording
from mlmethods.motion.segments import Segments
from mlmethods.motion.windows import start_token

__all__ = [
    "Recognized",
    "decode_core",
    "frame_core",
    "is_sequence_model",
    "model_classes",
    "of_whole_recordings",
    "recognize",
    "valid_frames",
]


class Recognized(NamedTuple):
    """What a model found in one recording.

    Attributes
    ----------
    runs : Runs
        Runs of frames.
    truncated : int
        Windows whose sequence had not ended within the room for it.
    quality : tuple of QualityEntry
        What was wrong with its signals, as the model saw them.
    """

    runs: Runs
    truncated: int
    quality: tuple[QualityEntry, ...]


def is_sequence_model(model: Any) -> bool:
    """Return whether a model gives sequences that need times."""
    return hasattr(model, "decode_windows")


def of_whole_recordings(model: Any) -> bool:
    """Return whether a sequence model sees whole recordings instead of windows."""
    return bool(getattr(model, "whole_", False))


def model_classes(model: Any) -> tuple[str, ...]:
    """Return the names of a fitted model's classes.

    Raises
    ------
    InvalidInputError
        If it has none.
    """
    classes = getattr(model, "classes_", None)
    if classes is None:
        raise InvalidInputError(
            f"model must be a fitted estimator, got {type(model).__name__} without "
            "classes_"
        )
    return tuple(str(name) for name in classes)


def valid_frames(recording: Recording) -> NDArray:
    """Return which frames have a usable signal, bool [T]."""
    valid = recording.meta.get("valid")
    if valid is None:
        return np.ones(recording.n_frames, bool)
    return np.asarray(valid, dtype=bool)


def recognize(
    model: Any, recordings: Sequence[Recording], *, align: str, collapse: bool
) -> list[Recognized]:
    """Return what a model finds in each recording."""
    if is_sequence_model(model) and not of_whole_recordings(model):
        return _sequences(model, recordings, align, collapse)
    return _spans(model, recordings)


def decode_core(
    model: Any,
    x: NDArray,
    mask: NDArray,
    previous: NDArray,
    core: tuple[int, int],
    first: int,
    valid: NDArray,
    align: str,
) -> tuple[Runs, int]:
    """Return the runs of one window of a sequence model.

    Parameters
    ----------
    model : object
        A sequence model.
    x : float32 array of shape (1, W, D)
        Normalized frames.
    mask : bool array of shape (1, W)
        Which frames are there.
    previous : int32 array of shape (1,)
        Token before the window.
    core : (int, int)
        First and last + 1 frame of the core in the window.
    first : int
        Frame of the recording at which the core begins.
    valid : bool array
        Whether each frame of the core is usable.
    align : {"viterbi", "attention"}
        How tokens get their times.

    Returns
    -------
    runs : Runs
        Of frames of the recording.
    last : int
        Token for the next window: `previous` where nothing was found.
    """
    result = model.decode_windows(x, mask, previous)
    ids = np.asarray(result.ids)
    attention = None
    if align == "attention":
        attention = _attention(model, x, mask, previous, ids)[0]
    rate = _rate(result, x.shape[1])
    runs = _core_runs(result, 0, rate, core, first, valid, attention)
    return runs, _last_token(ids[0], int(previous[0]))


def frame_core(
    model: Any,
    x: NDArray,
    mask: NDArray,
    core: tuple[int, int],
    first: int,
    valid: NDArray,
) -> Runs:
    """Return the runs of one window of a framewise model, by its likeliest classes."""
    logits = model.predict_logits(x, mask)
    # Boundary-aware models answer with classes and boundaries.
    classes = logits[0] if isinstance(logits, tuple) else logits[-1]
    proba = np.exp(log_softmax(np.asarray(classes)[0, slice(*core)]))
    return frame_runs(proba, first, valid)


def _rate(result: DecodeResult, size: int) -> int:
    """Return how many frames of windows of this size a step of the encoder takes."""
    # Each layer of an encoder halves the rate; windows are padded within.
    return 1 << round(math.log2(size / result.frame_logits.shape[1]))


def _last_token(ids: NDArray, before: int) -> int:
    """Return the last token of a window, or that before if nothing was found."""
    count = int((ids > 0).sum())
    return int(ids[count - 1]) if count else before


def _core_runs(
    result: DecodeResult,
    row: int,
    rate: int,
    core: tuple[int, int],
    first: int,
    valid: NDArray,
    attention: NDArray | None,
) -> Runs:
    """Return the runs that a row of decoded windows says of its core."""
    ids = np.asarray(result.ids[row])
    count = int((ids > 0).sum())
    confidence = np.exp(np.asarray(result.log_probs[row, :count], np.float64))
    label, chance, bounds = align_core(
        ids[:count].astype(np.int64) - 1,
        np.clip(confidence, 0, 1),
        np.asarray(result.frame_logits[row]),
        core,
        rate,
        None if attention is None else attention[:count],
    )
    begin, end = bounds[:-1], bounds[1:]
    return Runs(first + begin, first + end, label, chance, all_valid(valid, begin, end))


def _attention(
    model: Any, x: NDArray, mask: NDArray, previous: NDArray, ids: NDArray
) -> NDArray:
    if not hasattr(model, "attention_windows"):
        raise InvalidInputError(
            f'align="attention" needs a model with attention, got {type(model).__name__}'
        )
    return np.asarray(model.attention_windows(x, mask, previous, ids))


def _sequences(
    model: Any, recordings: Sequence[Recording], align: str, collapse: bool
) -> list[Recognized]:
    prepared = model.prepare(recordings)
    windows = AllWindows(prepared, model.window)
    start = start_token(model_classes(model))
    results = decode_all(windows, model.decode_windows, start)
    found = []
    for index, (recording, result) in enumerate(zip(prepared, results, strict=True)):
        where, rows = windows.plans[index], windows.of(index)
        valid, joiner, parts = valid_frames(recording), Joiner(collapse), []
        rate, token = _rate(result, where.size), start
        for k, (first, end) in enumerate(where.frames.tolist()):
            attention = None
            if align == "attention":
                x, mask = windows.take(rows[[k]])
                before, ids = np.array([token], np.int32), result.ids[[k]]
                attention = _attention(model, x, mask, before, ids)[0]
                token = _last_token(result.ids[k], token)
            core = (int(where.core[k, 0]), int(where.core[k, 1]))
            runs = _core_runs(result, k, rate, core, first, valid[first:end], attention)
            parts.append(joiner.push(runs))
        parts.append(joiner.flush())
        truncated = int(result.truncated.sum())
        found.append(Recognized(Runs.concat(parts), truncated, recording.quality))
    return found


def _spans(model: Any, recordings: Sequence[Recording]) -> list[Recognized]:
    """Return the segments that a model gives itself."""
    found = []
    for recording, segments in zip(recordings, model.predict(recordings), strict=True):
        edge = np.rint(np.stack([segments.start, segments.end]) * recording.fs)
        start, end = edge.astype(np.int64).clip(0, recording.n_frames)
        confidence = segments.confidence
        if confidence is None:
            confidence = _mean_proba(model, recording, segments, start, end)
        valid = all_valid(valid_frames(recording), start, end)
        label = segments.label.astype(np.int64)
        kept = end > start
        runs = Runs(start, end, label, np.asarray(confidence), valid)
        runs = Runs(*(column[kept] for column in runs))
        found.append(Recognized(runs, 0, _prepared_quality(model, recording)))
    return found


def _prepared_quality(model: Any, recording: Recording) -> tuple[QualityEntry, ...]:
    """Return the quality of a recording, with what preparing it adds."""
    if not hasattr(model, "prepare"):
        return recording.quality
    with warnings.catch_warnings():
        # The model has warned before, when it predicted.
        warnings.simplefilter("ignore")
        quality: tuple[QualityEntry, ...] = model.prepare([recording])[0].quality
    return quality


def _mean_proba(
    model: Any, recording: Recording, segments: Segments, start: NDArray, end: NDArray
) -> NDArray:
    """Return the mean probability of the class of each segment over its frames."""
    proba = model.predict_proba([recording])[0]
    total = np.zeros((len(proba) + 1, proba.shape[1]))
    np.cumsum(proba, axis=0, out=total[1:])
    gained = total[end, segments.label] - total[start, segments.label]
    return np.clip(gained / np.maximum(end - start, 1), 0, 1)
