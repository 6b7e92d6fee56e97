"""From rows to the leaves of a tree of linear splits."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import expit

from mlmethods.interfaces import NDArray

__all__ = ["Assignment", "Router", "project"]

# Softly routed rows ask the likeliest leaves that hold this share, at most so many.
_KEPT_MASS = 0.99
_MOST_LEAVES = 12
_BLOCK = 4096


def project(X: NDArray, directions: NDArray) -> NDArray:
    """Return the inner product of each row with its direction, (n,).

    `directions` has shape (n, d) or (d,). Equal rows give equal numbers wherever they
    stand, unlike a matrix product, so that a row always takes the same way.
    """
    shared = directions.ndim == 1
    return np.einsum("ij,j->i" if shared else "ij,ij->i", X, directions)


class Assignment(NamedTuple):
    """Which leaves answer for which rows; the weights of a row sum to one."""

    rows: NDArray
    leaves: NDArray
    weights: NDArray


class Router(NamedTuple):
    """A binary tree of splits ``v.x <= b``; a parent stands before its children.

    Attributes
    ----------
    directions : ndarray of shape (n_splits, d)
        v of each split, of length one.
    thresholds : ndarray of shape (n_splits,)
        b; rows below go to the left.
    scales : ndarray of shape (n_splits,)
        Interquartile range of ``v.x`` over the rows of the split, the unit of the
        temperature; 0 where nearly all of them are equal.
    children : int ndarray of shape (n_splits, 2)
        Left and right: the number of a split, or ``-1 - k`` for leaf k.
    """

    directions: NDArray
    thresholds: NDArray
    scales: NDArray
    children: NDArray

    @property
    def n_leaves(self) -> int:
        """How many leaves there are."""
        return len(self.thresholds) + 1

    def leaf_depths(self) -> NDArray:
        """Return the number of splits above each leaf, (n_leaves,)."""
        above = np.zeros(len(self.thresholds), dtype=np.int64)
        depths = np.zeros(self.n_leaves, dtype=np.int64)
        for split, pair in enumerate(self.children):
            for child in pair:
                if child < 0:
                    depths[-1 - child] = above[split] + 1
                else:
                    above[child] = above[split] + 1
        return depths

    def leaf_of(self, X: NDArray) -> NDArray:
        """Return the leaf of each row, (n,), level by level."""
        if not len(self.thresholds):
            return np.zeros(len(X), dtype=np.int64)
        parts = [
            self._leaf_of_block(X[start : start + _BLOCK])
            for start in range(0, len(X), _BLOCK)
        ]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)

    def _leaf_of_block(self, X: NDArray) -> NDArray:
        at = np.zeros(len(X), dtype=np.int64)
        moving = np.arange(len(X))
        while moving.size:
            split = at[moving]
            right = project(X[moving], self.directions[split]) > self.thresholds[split]
            at[moving] = self.children[split, right.astype(np.int64)]
            moving = moving[at[moving] >= 0]
        return -1 - at

    def weights(self, X: NDArray, temperature: float) -> NDArray:
        """Return the weight of each leaf in the answer to each row, (n, n_leaves).

        The probability of a leaf is the product of ``sigmoid(-(v.x - b) / (T scale))``
        along its path. The likeliest leaves are kept, until they hold a share of 0.99
        or are 12, and their weights divided by their sum. T = 0 is the leaf alone that
        :meth:`leaf_of` names.
        """
        mass = np.zeros((len(X), self.n_leaves))
        if temperature == 0 or self.n_leaves == 1:
            mass[np.arange(len(X)), self.leaf_of(X)] = 1.0
            return mass
        reach = np.zeros((len(self.thresholds), len(X)))
        reach[0] = 1.0
        for split, pair in enumerate(self.children):
            below = self.thresholds[split] - project(X, self.directions[split])
            scale = temperature * self.scales[split]
            # A split of equal projections has no unit: it stays hard.
            left = expit(below / scale) if scale > 0 else (below >= 0).astype(float)
            shares = (reach[split] * left, reach[split] * (1.0 - left))
            for child, share in zip(pair, shares, strict=True):
                if child < 0:
                    mass[:, -1 - child] = share
                else:
                    reach[child] = share
        return _likeliest(mass)

    def assign(self, X: NDArray, temperature: float) -> Assignment:
        """Return the leaves that answer for each row, with their weights."""
        if temperature == 0 or self.n_leaves == 1:
            return Assignment(np.arange(len(X)), self.leaf_of(X), np.ones(len(X)))
        found = []
        for start in range(0, len(X), _BLOCK):
            weights = self.weights(X[start : start + _BLOCK], temperature)
            rows, leaves = np.nonzero(weights)
            found.append((rows + start, leaves, weights[rows, leaves]))
        return Assignment(*(np.concatenate(part) for part in zip(*found, strict=True)))


def _likeliest(mass: NDArray) -> NDArray:
    """Keep the likeliest leaves of each row, (n, n_leaves), and renormalize."""
    order = np.argsort(-mass, axis=1, kind="stable")[:, :_MOST_LEAVES]
    kept = np.take_along_axis(mass, order, axis=1)
    before = np.cumsum(kept, axis=1) - kept
    kept = np.where(before < _KEPT_MASS, kept, 0.0)
    kept /= kept.sum(axis=1, keepdims=True)
    weights = np.zeros_like(mass)
    np.put_along_axis(weights, order, kept, axis=1)
    return weights
