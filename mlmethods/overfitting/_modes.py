"""Sums over eigenmodes as functions of kappa, and the roots of equations in them.

With the learnability ``L = lambda / (lambda + kappa)`` of a mode, every quantity of the
eigenframework is a sum of products of L, 1 - L and weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from mlmethods.interfaces import NDArray

__all__ = ["BIAS", "CURVE", "FLOW", "LEARNED", "SIGNAL", "Gap", "ModeSums", "solve"]

# Columns of the sums: L, L (1 - L) and L^2 (1 - L) over modes; (1 - L)^2 and L over
# the power of the target.
LEARNED, FLOW, CURVE, BIAS, SIGNAL = range(5)

# Eigenvalues below count as zero: their reciprocals would overflow.
_SMALLEST = 1e-300
# A tile of these sizes stays in the second-level cache.
_TILE_KAPPAS, _TILE_MODES = 8, 8192
# Up to so many values of kappa direct sums are cheaper than a table.
_FEW = 64
# Sums are analytic in log kappa within pi of the real line, so the interpolation
# error on a panel falls like 3.4^-nodes and reaches rounding.
_PANEL_WIDTH, _PANEL_NODES = 4.0, 32
_MOST_STEPS = 400
# Rows of one interpolation, to bound its memory.
_CHUNK = 4096


Gap: TypeAlias = Callable[[NDArray, NDArray, NDArray], tuple[NDArray, NDArray]]
"""A decreasing function of kappa for each pair, with its derivative in log kappa."""


class ModeSums:
    """Exact sums over the modes of a spectrum.

    Parameters
    ----------
    values : ndarray of shape (levels,)
        Eigenvalues >= 0.
    multiplicities : ndarray of shape (levels,)
        Modes of each level.
    power : ndarray of shape (levels,) or None
        Squared coefficients of the target; None means zero.
    """

    def __init__(
        self,
        values: NDArray,
        multiplicities: NDArray,
        power: NDArray | None = None,
    ) -> None:
        positive = values >= _SMALLEST
        # A slice copies nothing.
        keep = slice(None) if positive.all() else positive
        self.values = values[keep]
        self._weights = multiplicities[keep]
        self._power = None if power is None else power[keep]
        # A mode without eigenvalue is never learned.
        self._unlearned = 0.0 if power is None else float(power[~positive].sum())
        self.count = float(self._weights.sum())
        self.total = float(self.values @ self._weights)
        self.smallest = float(self.values.min()) if len(self.values) else 0.0

    def __call__(self, kappa: NDArray) -> NDArray:
        """Return the sums, of shape (len(kappa), 5)."""
        sums = np.zeros((len(kappa), 5))
        tiles = np.empty((3, _TILE_KAPPAS, min(_TILE_MODES, len(self.values))))
        for first in range(0, len(kappa), _TILE_KAPPAS):
            rows = slice(first, first + _TILE_KAPPAS)
            for start in range(0, len(self.values), _TILE_MODES):
                modes = slice(start, start + _TILE_MODES)
                self._add_tile(sums[rows], kappa[rows, None], modes, tiles)
        sums[:, BIAS] += self._unlearned
        return sums

    def _add_tile(
        self, sums: NDArray, kappa: NDArray, modes: slice, tiles: NDArray
    ) -> None:
        values, weights = self.values[modes], self._weights[modes]
        learned, missed, product = tiles[:, : len(kappa), : len(values)]
        np.add(values, kappa, out=learned)
        # Each by a division of its own: 1 - L would lose the digits of a small one.
        np.divide(kappa, learned, out=missed)
        np.divide(values, learned, out=learned)
        np.multiply(learned, missed, out=product)
        sums[:, LEARNED] += learned @ weights
        sums[:, FLOW] += product @ weights
        if self._power is not None:
            power = self._power[modes]
            sums[:, SIGNAL] += learned @ power
            np.multiply(missed, missed, out=missed)
            sums[:, BIAS] += missed @ power
        np.multiply(product, learned, out=product)
        sums[:, CURVE] += product @ weights


class _Table:
    """Sums interpolated in log kappa to rounding, on panels filled when needed."""

    def __init__(self, exact: ModeSums, low: float, high: float) -> None:
        self._exact = exact
        self._low = low
        panels = max(1, int(np.ceil((high - low) / _PANEL_WIDTH)))
        self._width = max((high - low) / panels, 1e-3)
        self.edges = low + self._width * np.arange(panels + 1)
        angles = (2 * np.arange(_PANEL_NODES) + 1) * np.pi / (2 * _PANEL_NODES)
        self._nodes = np.cos(angles)
        signs = np.where(np.arange(_PANEL_NODES) % 2, -1.0, 1.0)
        self._barycentric = signs * np.sin(angles)
        self._filled = np.zeros(panels, dtype=bool)
        self._at_nodes = np.empty((panels, _PANEL_NODES, 5))
        self.at_edges = exact(np.exp(self.edges))

    def __call__(self, kappa: NDArray) -> NDArray:
        """Return the sums, of shape (len(kappa), 5)."""
        sums = np.empty((len(kappa), 5))
        for first in range(0, len(kappa), _CHUNK):
            rows = slice(first, first + _CHUNK)
            sums[rows] = self._interpolate(np.log(kappa[rows]))
        return sums

    def _interpolate(self, u: NDArray) -> NDArray:
        last = len(self._filled) - 1
        panel = np.clip(((u - self._low) / self._width).astype(int), 0, last)
        for index in np.unique(panel[~self._filled[panel]]):
            center = self._low + (index + 0.5) * self._width
            nodes = np.exp(center + 0.5 * self._width * self._nodes)
            self._at_nodes[index] = self._exact(nodes)
            self._filled[index] = True
        place = 2 * ((u - self._low) / self._width - panel) - 1
        away = place[:, None] - self._nodes
        # At a node its weight then exceeds all others by far.
        away[away == 0] = 1e-30
        weights = self._barycentric / away
        sums = np.einsum("pn,pnc->pc", weights, self._at_nodes[panel])
        return sums / weights.sum(axis=1, keepdims=True)

    def narrow(self, gap: Gap, lower: NDArray, upper: NDArray) -> list[NDArray]:
        """Return the intervals cut to the panel of each root."""
        edges = np.exp(self.edges)
        first = np.zeros(len(lower), dtype=int)
        last = np.full(len(lower), len(edges) - 1)
        index = np.arange(len(lower))
        while np.any(last - first > 1):
            middle = (first + last) // 2
            value, _ = gap(self.at_edges[middle], edges[middle], index)
            split = last - first > 1
            first = np.where(split & (value > 0), middle, first)
            last = np.where(split & ~(value > 0), middle, last)
        return [np.maximum(lower, edges[first]), np.minimum(upper, edges[last])]


def solve(
    modes: ModeSums, gap: Gap, lower: NDArray, upper: NDArray
) -> tuple[NDArray, NDArray]:
    """Return the roots in kappa of decreasing functions and the sums there.

    Safeguarded Newton steps in log kappa: a step that leaves the interval, or is not
    half of the one before the last, is replaced by a bisection.

    Parameters
    ----------
    modes : ModeSums
        What the functions depend on.
    gap : callable
        ``gap(sums, kappa, index)`` gives the values of the functions number `index`,
        of shape (len(index),), and their derivatives in log kappa.
    lower, upper : ndarray of shape (p,)
        Positive ends of an interval for each root.

    Returns
    -------
    kappa : ndarray of shape (p,)
        To a relative 1e-12, unless rounding of the function itself is larger.
    sums : ndarray of shape (p, 5)
        At kappa.
    """
    sums: ModeSums | _Table = modes
    if len(lower) > _FEW:
        table = _Table(modes, np.log(lower.min()), np.log(upper.max()))
        lower, upper = table.narrow(gap, lower, upper)
        sums = table
    low, high = np.log(lower), np.log(upper)
    u = 0.5 * (low + high)
    step, before = high - low, high - low
    active = np.arange(len(u))
    for _ in range(_MOST_STEPS):
        if not len(active):
            break
        kappa = np.exp(u[active])
        value, slope = gap(sums(kappa), kappa, active)
        low[active] = np.where(value > 0, u[active], low[active])
        high[active] = np.where(value > 0, high[active], u[active])
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            newton = u[active] - value / slope
        inside = (newton >= low[active]) & (newton <= high[active])
        quick = np.abs(newton - u[active]) <= 0.5 * before[active]
        taken = inside & quick
        middle = 0.5 * (low[active] + high[active])
        new = np.where(taken, newton, middle)
        before[active], step[active] = step[active], np.abs(new - u[active])
        u[active] = new
        width = high[active] - low[active]
        # Newton's error is squared by the step that was just taken.
        done = (taken & (step[active] <= 1e-8)) | (
            width <= 4e-16 * np.maximum(np.abs(new), 1.0)
        )
        active = active[~done]
    kappa = np.exp(u)
    return kappa, sums(kappa)
