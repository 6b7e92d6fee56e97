"""How a tree of machines is grown: thresholds, and who goes where."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from mlmethods.interfaces import NDArray
from mlmethods.rfm.trees.directions import Sample, find_direction
from mlmethods.rfm.trees.routing import Router, project

__all__ = ["Cut", "Growth", "cut", "grow"]

# A threshold that leaves a child a smaller share of the rows halves them instead.
_SMALLEST_SHARE = 0.25
_BLOCK = 65536


@dataclass(frozen=True, kw_only=True)
class Growth:
    """Settings of a tree; `machine` holds those of the machine that finds directions.

    Attributes
    ----------
    max_leaf_size : int
        Nodes with more rows are split.
    split : str
        A key of ``SPLITS``.
    split_samples : int
        Most rows that a direction is computed from.
    overlap_fraction : float
        Share of a node's rows that both children get.
    subsample : bool
        Draw at most half of a node's rows, so that trees differ.
    machine : dict
        Backend, dtype and memory limit.
    """

    max_leaf_size: int
    split: str = "agop"
    split_samples: int = 1000
    overlap_fraction: float = 0.0
    subsample: bool = False
    machine: dict[str, Any]


class Cut(NamedTuple):
    """A threshold, its scale, and the positions of the rows of both children."""

    threshold: float
    scale: float
    left: NDArray
    right: NDArray


def grow(
    X: NDArray,
    Y: NDArray,
    weights: NDArray,
    settings: Growth,
    rng: np.random.Generator,
) -> tuple[Router, list[NDArray]]:
    """Split the rows until no node is too large, or its targets are all equal.

    Parameters
    ----------
    X, Y, weights : ndarrays of shape (n, d), (n, c), (n,)
        Rows, targets and positive weights.
    settings : Growth
        The settings.
    rng : numpy.random.Generator
        Draws the samples and the random directions.

    Returns
    -------
    Router
        The splits, level by level.
    list of int ndarray
        The rows of each leaf, ascending.
    """
    directions: list[NDArray] = []
    cuts: list[Cut] = []
    children: list[list[int]] = []
    leaves: list[NDArray] = []
    waiting = deque([(np.arange(len(X)), -1, 0)])
    while waiting:
        rows, parent, side = waiting.popleft()
        if len(rows) <= settings.max_leaf_size or _all_equal(Y, rows):
            name = -1 - len(leaves)
            leaves.append(rows)
        else:
            name = len(cuts)
            v = _direction(X, Y, weights, rows, settings, rng)
            found = cut(_projections(X, rows, v), settings.overlap_fraction)
            directions.append(v)
            cuts.append(found)
            children.append([0, 0])
            waiting.append((np.sort(rows[found.left]), name, 0))
            waiting.append((np.sort(rows[found.right]), name, 1))
        if parent >= 0:
            children[parent][side] = name
    router = Router(
        np.array(directions).reshape(len(cuts), X.shape[1]),
        np.array([found.threshold for found in cuts]),
        np.array([found.scale for found in cuts]),
        np.array(children, dtype=np.int64).reshape(len(cuts), 2),
    )
    return router, leaves


def _all_equal(Y: NDArray, rows: NDArray) -> bool:
    # Most nodes are told apart by a few rows.
    first = Y[rows[0]]
    return bool((Y[rows[:64]] == first).all() and (Y[rows] == first).all())


def _projections(X: NDArray, rows: NDArray, v: NDArray) -> NDArray:
    parts = [
        project(X[rows[start : start + _BLOCK]], v)
        for start in range(0, len(rows), _BLOCK)
    ]
    return np.concatenate(parts)


def cut(projections: NDArray, overlap_fraction: float = 0.0) -> Cut:
    """Split rows at the median of their projections.

    The threshold lies halfway between the two projections at the middle, or, where
    those are equal, at the nearest two that differ. If that leaves one child less than
    a quarter of the rows, the rows are halved in the order of their projections, so
    that equal ones go both ways. Of the rows nearest to the middle, up to
    `overlap_fraction` n go to both children, none of which gets more than 3/4 of n.

    Parameters
    ----------
    projections : ndarray of shape (n,)
        At least two numbers.
    overlap_fraction : float, default=0.0
        Share of the rows that both children get.

    Returns
    -------
    Cut
        With positions in the order of the projections.
    """
    n = len(projections)
    order = np.argsort(projections, kind="stable")
    ranked = projections[order]
    # Differences of round-off are ties: no tree should turn on them.
    tolerance = 16 * np.finfo(np.float64).eps * np.abs(ranked[[0, -1]]).max()
    steps = np.flatnonzero(np.diff(ranked) > tolerance) + 1
    half = (n + 1) // 2
    if steps.size:
        k = int(steps[np.argmin(np.abs(steps - half))])
        threshold = (ranked[k - 1] + ranked[k]) / 2
    else:
        k, threshold = n, ranked[-1]
    if min(k, n - k) < _SMALLEST_SHARE * n:
        k = half
    most = int((1 - _SMALLEST_SHARE) * n)
    shared = int(overlap_fraction * n / 2)
    right_extra = min(shared, max(0, most - (n - k)))
    left_extra = min(shared, max(0, most - k))
    low, high = np.percentile(ranked, [25, 75])
    scale = high - low if high - low > tolerance else 0.0
    return Cut(
        float(threshold),
        float(scale),
        order[: k + left_extra],
        order[k - right_extra :],
    )


def _direction(
    X: NDArray,
    Y: NDArray,
    weights: NDArray,
    rows: NDArray,
    settings: Growth,
    rng: np.random.Generator,
) -> NDArray:
    """Return the direction, of length one, along which a node is split."""
    count = _sample_size(len(rows), settings)
    sample = rows
    if count < len(rows):
        sample = np.sort(rng.choice(rows, count, replace=False))
    drawn = Sample(X[sample].astype(np.float64), Y[sample], weights[sample])
    v = find_direction(settings.split, drawn, settings.machine, rng)
    return v * np.sign(v[np.argmax(np.abs(v))])


def _sample_size(n: int, settings: Growth) -> int:
    """Return how many of n rows to draw: of a few sizes, so that little compiles."""
    if settings.subsample:
        n = max(2, n // 2)
    if n >= settings.split_samples:
        return settings.split_samples
    return 1 << (n.bit_length() - 1) if n <= 256 else n // 64 * 64
