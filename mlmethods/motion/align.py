"""Times for sequences: which frames each token of a decoded sequence takes.

A sequence model says what happened and in which order. Monotone alignment to what the
frames say gives each token its own run of frames, and the runs cover all frames.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mlmethods.common.validation import check_integer
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import ArrayLike, NDArray

__all__ = ["attention_align", "refine_boundaries", "viterbi_align"]

# What impossible costs: cumulated sums stay exact to 1e-7 over an hour of frames.
_FLOOR = -1e5


def viterbi_align(
    log_probs: ArrayLike, tokens: ArrayLike, *, weights: ArrayLike | None = None
) -> NDArray:
    """Return the most likely monotone segmentation of frames into given tokens.

    Every token takes at least one frame, in the order given; repeated tokens are
    allowed. Among equally likely segmentations the boundaries are the earliest,
    decided from the last one. It takes O(tokens x frames) time and memory.

    Parameters
    ----------
    log_probs : array-like of shape (T, C)
        Log-probability, or any score, of each class in each frame; minus infinity
        counts as -1e5.
    tokens : int array-like of shape (N,)
        Classes in 0..C-1, N <= T.
    weights : array-like of shape (T,), optional
        How much each frame counts, >= 0; by default 1.

    Returns
    -------
    int64 ndarray of shape (N + 1,)
        Token n takes the frames ``bounds[n]`` to ``bounds[n + 1]``, exclusive; the
        first bound is 0 and the last T. Without tokens only ``[0]``.

    Raises
    ------
    InvalidInputError
        If shapes do not fit, a score is NaN, a token is no class, or there are more
        tokens than frames.

    References
    ----------
    L. R. Rabiner, "A tutorial on hidden Markov models and selected applications in
    speech recognition", Proceedings of the IEEE 77 (1989).

    Examples
    --------
    >>> import numpy as np
    >>> from mlmethods.motion.align import viterbi_align
    >>> p = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.2, 0.8], [0.6, 0.4]])
    >>> viterbi_align(np.log(p), [0, 1, 0]).tolist()
    [0, 2, 4, 5]
    """
    scores, labels = _scores(log_probs), _tokens(tokens)
    length, count = len(scores), len(labels)
    _check_classes(labels, scores.shape[1])
    if weights is not None:
        factor = np.asarray(weights, dtype=np.float64)
        if factor.shape != (length,) or not (factor >= 0).all():
            raise InvalidInputError(
                f"weights must be one number >= 0 for each of {length} frames, got "
                f"shape {factor.shape}"
            )
        scores = scores * factor[:, None]
    if count > length:
        raise InvalidInputError(
            f"tokens must not outnumber the frames, got {count} tokens for {length} "
            "frames"
        )
    if not count:
        return np.zeros(1, dtype=np.int64)
    # total[c, t]: score of the frames before t, if all are of class c.
    total = np.zeros((scores.shape[1], length + 1))
    np.cumsum(scores.T, axis=1, out=total[:, 1:])
    places = np.arange(length + 1)
    best = np.full(length + 1, -np.inf)
    best[0] = 0.0
    came_from = np.zeros((count, length + 1), dtype=np.int32)
    for n, label in enumerate(labels.tolist()):
        # The token begins at b and ends before t: best(b) + total(t) - total(b), so
        # that a running maximum over b replaces the search for every t.
        gain = best - total[label]
        running = np.maximum.accumulate(gain)
        risen = np.concatenate([[True], running[1:] > running[:-1]])
        source = np.maximum.accumulate(np.where(risen, places, 0))
        # Shifted by one: the token takes at least one frame.
        best = np.full(length + 1, -np.inf)
        best[1:] = running[:-1] + total[label][1:]
        came_from[n, 1:] = source[:-1]
    bounds = np.empty(count + 1, dtype=np.int64)
    bounds[count] = length
    for n in range(count - 1, -1, -1):
        bounds[n] = came_from[n, bounds[n + 1]]
    return bounds


def refine_boundaries(
    log_probs: ArrayLike, tokens: ArrayLike, bounds: ArrayLike, reach: int
) -> NDArray:
    """Move each boundary to the frame where the likelihood changes most, nearby.

    A boundary goes to where the frames before it fit the token before and those after
    it the token after best, at most `reach` frames away and not past the middle
    between it and its neighbors, so that no token loses its last frame. A boundary
    between equal tokens stays.

    Parameters
    ----------
    log_probs : array-like of shape (T, C)
        Log-probability of each class in each frame, at the rate of the bounds.
    tokens : int array-like of shape (N,)
        Classes in 0..C-1.
    bounds : int array-like of shape (N + 1,)
        As of :func:`viterbi_align`: from 0 to T, increasing.
    reach : int
        Frames, >= 0.

    Returns
    -------
    int64 ndarray of shape (N + 1,)
        The new bounds; the outer ones are as they were.

    Raises
    ------
    InvalidInputError
        If the bounds do not increase from 0 to T, or shapes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from mlmethods.motion.align import refine_boundaries
    >>> p = np.array([[0.9, 0.1]] * 5 + [[0.2, 0.8]] * 3)
    >>> refine_boundaries(np.log(p), [0, 1], [0, 4, 8], reach=2).tolist()
    [0, 5, 8]
    """
    scores, labels = _scores(log_probs), _tokens(tokens)
    _check_classes(labels, scores.shape[1])
    reach = check_integer("reach", reach, minimum=0)
    edges = np.asarray(bounds)
    length, count = len(scores), len(labels)
    whole = edges.dtype.kind in "iu" and edges.shape == (count + 1,)
    if not whole or edges[0] != 0 or not (np.diff(edges) > 0).all():
        raise InvalidInputError(
            f"bounds must be {count + 1} increasing integers from 0, got {edges}"
        )
    edges = edges.astype(np.int64)
    if count and edges[-1] != length:
        raise InvalidInputError(
            f"bounds must end with the number of frames, {length}, got {edges[-1]}"
        )
    if count < 2 or not reach:
        return edges
    total = np.zeros((scores.shape[1], length + 1))
    np.cumsum(scores.T, axis=1, out=total[:, 1:])
    before, after = labels[:-1, None], labels[1:, None]
    middle = (edges[:-1] + edges[1:]) // 2
    inner = edges[1:-1, None]
    # The place itself comes first: a tie moves nothing; then the nearer ones.
    offsets = np.arange(-reach, reach + 1)
    offsets = offsets[np.argsort(np.abs(offsets), kind="stable")]
    places = inner + offsets
    allowed = (places > middle[:-1, None]) & (places <= middle[1:, None])
    places = np.clip(places, 0, length)
    gain = total[before, places] - total[after, places]
    chosen = np.where(allowed, gain, -np.inf).argmax(axis=1)
    edges[1:-1] = np.where(
        before == after, inner, np.take_along_axis(places, chosen[:, None], axis=1)
    )[:, 0]
    return edges


def attention_align(attention: ArrayLike, n_frames: int) -> NDArray:
    """Return a segmentation of frames from the attention of a decoder.

    Each token stands at the center of mass of its attention; boundaries lie halfway
    between neighbors. Centers that go back in time are put where the one before is.

    Parameters
    ----------
    attention : array-like of shape (N, T')
        Weights of each token on the steps of the encoder, >= 0 with a positive sum.
        The T' steps share the frames equally.
    n_frames : int
        Frames T >= N to be covered.

    Returns
    -------
    int64 ndarray of shape (N + 1,)
        Bounds as of :func:`viterbi_align`.

    Raises
    ------
    InvalidInputError
        If a weight is negative or not finite, a token has none, or there are more
        tokens than frames.

    Examples
    --------
    >>> from mlmethods.motion.align import attention_align
    >>> attention_align([[1, 0, 0, 0], [0, 0, 0.5, 0.5]], 32).tolist()
    [0, 14, 32]
    """
    weights = np.asarray(attention, dtype=np.float64)
    n_frames = check_integer("n_frames", n_frames, minimum=0)
    if weights.ndim != 2 or not np.isfinite(weights).all() or (weights < 0).any():
        raise InvalidInputError(
            "attention must be finite numbers >= 0 of shape (tokens, steps), got "
            f"shape {weights.shape}"
        )
    count, steps = weights.shape
    if not count:
        return np.zeros(1, dtype=np.int64)
    if not (weights.sum(axis=1) > 0).all():
        raise InvalidInputError("attention must be positive somewhere for each token")
    if count > n_frames:
        raise InvalidInputError(
            f"attention must not have more tokens than frames, got {count} tokens for "
            f"{n_frames} frames"
        )
    centers = weights @ (np.arange(steps) + 0.5) / weights.sum(axis=1)
    centers = np.maximum.accumulate(centers * (n_frames / steps))
    bounds = np.empty(count + 1, dtype=np.int64)
    bounds[0], bounds[-1] = 0, n_frames
    bounds[1:-1] = np.rint((centers[:-1] + centers[1:]) / 2)
    return spread(bounds)


def spread(bounds: NDArray) -> NDArray:
    """Return bounds that increase by at least one, near those given, ends unmoved."""
    steps = np.arange(len(bounds))
    pushed = np.maximum.accumulate(bounds - steps) + steps
    last = bounds[-1] - steps[::-1]
    return np.minimum(pushed, last)


def _scores(log_probs: ArrayLike) -> NDArray:
    scores = np.asarray(log_probs, dtype=np.float64)
    if scores.ndim != 2 or not scores.shape[1]:
        raise InvalidInputError(
            f"log_probs must have shape (frames, classes), got {scores.shape}"
        )
    if np.isnan(scores).any() or (scores == np.inf).any():
        raise InvalidInputError("log_probs must be finite or minus infinity")
    return np.maximum(scores, _FLOOR)


def _tokens(tokens: Any) -> NDArray:
    labels = np.asarray(tokens)
    if labels.ndim != 1 or (labels.size and labels.dtype.kind not in "iu"):
        raise InvalidInputError(
            f"tokens must be integers of one dimension, got {labels.dtype} of shape "
            f"{labels.shape}"
        )
    return labels.astype(np.int64)


def _check_classes(labels: NDArray, n_classes: int) -> None:
    if labels.size and (labels.min() < 0 or labels.max() >= n_classes):
        raise InvalidInputError(
            f"tokens must be in 0..{n_classes - 1}, got {labels.min()} to "
            f"{labels.max()}"
        )
