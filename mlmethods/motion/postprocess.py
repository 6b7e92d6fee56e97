"""What turns scores of frames into labels with fewer spurious segments.

Every function is pure: inputs stay as they are, and equal ones give equal results.
"""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np

from mlmethods.common.validation import check_integer, check_real
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import ArrayLike, NDArray

__all__ = ["median_filter", "refine_with_boundaries", "relabel_short", "smooth_kaiser"]


def smooth_kaiser(p: ArrayLike, width: int, beta: float) -> NDArray:
    """Smooth the scores of each class over time with a Kaiser window.

    Parameters
    ----------
    p : array-like of shape (T, C)
        Scores or probabilities of frames.
    width : int
        Frames of the window. An even one reaches one frame further back than ahead.
    beta : float
        Shape of the window; 0 is rectangular, larger is narrower.

    Returns
    -------
    ndarray of shape (T, C)
        float32 for float32, else float64. Frames before the first and after the last
        count as 0, so that rows there no longer add up to 1.

    Raises
    ------
    InvalidInputError
        If `p` is not finite or not of two dimensions, `width` is below 1, or `beta`
        below 0.

    References
    ----------
    J. F. Kaiser, R. W. Schafer, "On the use of the I0-sinh window for spectrum
    analysis", IEEE Transactions on Acoustics, Speech, and Signal Processing 28 (1980).

    Examples
    --------
    >>> from mlmethods.motion.postprocess import smooth_kaiser
    >>> smooth_kaiser([[0.0], [3.0], [0.0]], width=3, beta=0.0).ravel().round(6).tolist()
    [1.0, 1.0, 1.0]
    """
    scores = _scores("p", p)
    size = check_integer("width", width, minimum=1)
    window = np.kaiser(size, check_real("beta", beta, minimum=0))
    window = window / window.sum()
    first = (size - 1) // 2
    columns = [np.convolve(column, window) for column in scores.T.astype(np.float64)]
    smooth = np.stack(columns, axis=1)[first : first + len(scores)]
    return smooth.astype(_float_of(scores))


def median_filter(p: ArrayLike, width: int) -> NDArray:
    """Replace the scores of each class by their running median over time.

    Parameters
    ----------
    p : array-like of shape (T, C)
        Scores or probabilities of frames. Of labels, filter their indicators: the
        median of class ids means nothing.
    width : int
        Frames of the window, odd. The first and the last frame are repeated where it
        reaches further.

    Returns
    -------
    ndarray of shape (T, C)
        float32 for float32, else float64.

    Raises
    ------
    InvalidInputError
        If `p` is not finite or not of two dimensions, or `width` is not odd.

    Examples
    --------
    >>> from mlmethods.motion.postprocess import median_filter
    >>> median_filter([[0.1], [0.9], [0.2], [0.3]], width=3).ravel().tolist()
    [0.1, 0.2, 0.3, 0.3]
    """
    from scipy.ndimage import median_filter as running_median

    scores = _scores("p", p)
    size = check_integer("width", width, minimum=1)
    if size % 2 == 0:
        raise InvalidInputError(f"width must be odd, got {size}")
    filtered = running_median(
        scores.astype(_float_of(scores)), size=(size, 1), mode="nearest"
    )
    return np.asarray(filtered)


def refine_with_boundaries(
    scores: ArrayLike, boundary: ArrayLike, threshold: float = 0.5
) -> NDArray:
    """Return one label for all frames between two boundaries.

    Boundaries are the first frame, and every frame whose boundary score is at least
    `threshold` and above that of both neighbors. A segment takes the label that most
    of its frames score highest; of labels that as many frames do, the one with the
    larger sum of scores.

    Parameters
    ----------
    scores : array-like of shape (T, C)
        Scores of classes.
    boundary : array-like of shape (T,)
        Probability that a segment begins.
    threshold : float
        Least probability of a boundary, in [0, 1].

    Returns
    -------
    int32 ndarray of shape (T,)
        Class ids.

    Raises
    ------
    InvalidInputError
        If a score is not finite, or the lengths differ.

    References
    ----------
    Y. Ishikawa, S. Kasai, Y. Aoki, H. Kataoka, "Alleviating over-segmentation errors by
    detecting action boundaries", WACV 2021.

    Examples
    --------
    >>> from mlmethods.motion.postprocess import refine_with_boundaries
    >>> scores = [[0.9, 0.1], [0.4, 0.6], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8]]
    >>> refine_with_boundaries(scores, [0.0, 0.1, 0.2, 0.9, 0.1]).tolist()
    [0, 0, 0, 1, 1]
    """
    table = _scores("scores", scores).astype(np.float64)
    least = check_real("threshold", threshold, minimum=0, maximum=1)
    edge = np.asarray(boundary)
    if edge.shape != table.shape[:1] or edge.dtype.kind not in "fiu":
        raise InvalidInputError(
            f"boundary must be one number for each of {len(table)} frames, got "
            f"{edge.dtype} of shape {edge.shape}"
        )
    if not np.isfinite(edge).all():
        raise InvalidInputError("boundary must be finite, got NaN or infinity")
    begins = np.zeros(len(table), bool)
    begins[0] = True
    begins[1:-1] = (
        (edge[1:-1] > edge[:-2]) & (edge[1:-1] > edge[2:]) & (edge[1:-1] >= least)
    )
    segment = np.cumsum(begins) - 1
    first = np.flatnonzero(begins)
    classes = table.shape[1]
    votes = np.bincount(
        segment * classes + table.argmax(axis=1), minlength=len(first) * classes
    ).reshape(len(first), classes)
    sums = np.add.reduceat(table, first, axis=0)
    most = votes == votes.max(axis=1, keepdims=True)
    return np.where(most, sums, -np.inf).argmax(axis=1).astype(np.int32)[segment]


def relabel_short(y: ArrayLike, theta: int) -> NDArray:
    """Give short runs of frames the label of a neighbor.

    Every run shorter than `theta` takes the label of the longer of the two runs next to
    it, of the earlier one if they are equally long. The shortest run is first, the
    earliest of equals, and what has grown together counts as one run from then on.

    Parameters
    ----------
    y : int array-like of shape (T,)
        Class ids. -1 has no label: such runs stay, and are no neighbors.
    theta : int
        Frames that a run needs to stay.

    Returns
    -------
    int32 ndarray of shape (T,)

    Raises
    ------
    InvalidInputError
        If `y` is not one dimension of integers, or `theta` below 0.

    Examples
    --------
    >>> from mlmethods.motion.postprocess import relabel_short
    >>> relabel_short([0, 0, 0, 1, 2, 2, 2, 2], theta=2).tolist()
    [0, 0, 0, 2, 2, 2, 2, 2]
    """
    labels = np.asarray(y)
    if labels.ndim != 1 or (labels.size and labels.dtype.kind not in "iu"):
        raise InvalidInputError(
            f"y must be integers of one dimension, got {labels.dtype} of shape "
            f"{labels.shape}"
        )
    least = check_integer("theta", theta, minimum=0)
    if not labels.size:
        return labels.astype(np.int32)
    first = np.append(0, np.flatnonzero(np.diff(labels)) + 1)
    length = np.diff(np.append(first, len(labels)))
    runs = _Runs(labels[first].tolist(), length.tolist())
    runs.relabel(least)
    return np.repeat(np.asarray(runs.final(), np.int32), length)


class _Runs:
    """Runs in a linked list; a run that is joined to an earlier one is gone."""

    def __init__(self, label: list[int], length: list[int]) -> None:
        self.label, self.length = label, length
        count = len(label)
        self.before = list(range(-1, count - 1))
        self.after = [*range(1, count), -1]
        self.owner = list(range(count))

    def relabel(self, least: int) -> None:
        heap = [
            (length, run)
            for run, length in enumerate(self.length)
            if length < least and self.label[run] >= 0
        ]
        heapq.heapify(heap)
        while heap:
            length, run = heapq.heappop(heap)
            # Entries of runs that have grown or are gone are left in the heap.
            if self.owner[run] != run or self.length[run] != length:
                continue
            neighbors = [
                k
                for k in (self.before[run], self.after[run])
                if k >= 0 and self.label[k] >= 0
            ]
            if not neighbors:
                continue
            # max() returns the first of equals, which is the earlier one.
            self.label[run] = self.label[max(neighbors, key=self.length.__getitem__)]
            for k in neighbors:
                if self.label[k] == self.label[run]:
                    run = self._join(min(k, run), max(k, run))
            if self.length[run] < least:
                heapq.heappush(heap, (self.length[run], run))

    def final(self) -> list[int]:
        """Return the label of each run there was at first."""
        # Owners come before what they own, and are settled when it is reached.
        for run, owner in enumerate(self.owner):
            self.owner[run] = self.owner[owner]
        return [self.label[owner] for owner in self.owner]

    def _join(self, first: int, second: int) -> int:
        self.owner[second] = first
        self.length[first] += self.length[second]
        follower = self.after[second]
        self.after[first] = follower
        if follower >= 0:
            self.before[follower] = first
        return first


def _scores(name: str, values: Any) -> NDArray:
    array = np.asarray(values)
    if array.ndim != 2 or 0 in array.shape or array.dtype.kind not in "fiub":
        raise InvalidInputError(
            f"{name} must be numbers of shape (T, C), got {array.dtype} of shape "
            f"{array.shape}"
        )
    if not np.isfinite(array).all():
        raise InvalidInputError(f"{name} must be finite, got NaN or infinity")
    return array


def _float_of(array: NDArray) -> Any:
    return np.float32 if array.dtype == np.float32 else np.float64
