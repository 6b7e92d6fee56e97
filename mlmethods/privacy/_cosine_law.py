"""The law of the cosine ``w = mu.y`` of von Mises-Fisher vectors, to float64.

It is worked with in the angle ``theta = arccos w``, whose density is proportional to
``exp(k cos(theta)) sin(theta)^(p - 2)``: free of singularities for every p >= 2, and as
precise near w = 1 as anywhere. Relative to its mode theta0 its logarithm is, with
``n = p - 2``, ``a = theta - theta0`` and ``x = sin(theta) / sin(theta0) - 1``,

``n (log1p(x) - x) - 2 (n + k cos(theta0)) sin(a / 2)^2``,

where the linear terms have canceled analytically. No Bessel function is formed.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
from numpy.polynomial import chebyshev, legendre

from mlmethods.interfaces import NDArray

__all__ = ["angle_of_versine", "antipodal_delta", "cosine_cdf", "cosine_survival"]

# Chebyshev nodes of a panel; with panels of half a deviation the error is of rounding.
_NODES = 16
_STEP = 0.5
# Largest fall of the log density within a panel; the fall at which a side is left.
_FALL = 2.0
_LEFT_END, _RIGHT_END = -800.0, -60.0
# Below this share of the scale the law is a power of the angle.
_POWER_BELOW = 1e-7
# The window of the other world's mass is left after a fall of this much.
_WINDOW = 40.0
_WINDOW_NODES = 40


class _Shape(NamedTuple):
    """The angle's log density relative to its mode, for concentration of any sign."""

    kappa: float
    n: int
    mode: float
    sine: float
    """sin(mode)."""
    pull: float
    """kappa cos(mode), never negative."""

    @classmethod
    def of(cls, p: int, kappa: float) -> _Shape:
        n = p - 2
        total = n + math.hypot(n, 2 * kappa)
        cosine = 2 * kappa / total if total else 0.0
        sine = math.sqrt(2 * n / total) if n else 0.0
        return cls(kappa, n, math.atan2(sine, cosine), sine, kappa * cosine)

    @property
    def scale(self) -> float:
        """Standard deviation of the Gaussian with the curvature of the mode."""
        curvature = self.pull + (self.n / self.sine**2 if self.n else 0.0)
        return min(1.0, 1 / math.sqrt(curvature)) if curvature else 1.0

    def log_density(self, angle: NDArray) -> NDArray:
        """Return the log density relative to the mode."""
        away = angle - self.mode
        fall = -2 * (self.n + self.pull) * np.sin(away / 2) ** 2
        if self.n == 0:
            return fall
        cotangent = math.cos(self.mode) / self.sine
        x = cotangent * np.sin(away) - 2 * np.sin(away / 2) ** 2
        with np.errstate(divide="ignore"):
            far = np.log(np.sin(angle) / self.sine) - x
        return fall + self.n * np.where(np.abs(x) < 0.2, _log1p_less(x), far)

    def slope(self, angle: float) -> float:
        """Return the derivative of the log density."""
        sine = math.sin(angle)
        fall = self.n * math.cos(angle) / sine if self.n else 0.0
        return fall - self.kappa * sine


def _log1p_less(x: NDArray) -> NDArray:
    """Return ``log1p(x) - x`` to full relative precision for ``|x| < 0.2``."""
    # With r = x / (2 + x), log1p(x) = 2 atanh(r) and x = 2 r / (1 - r).
    near = np.clip(x, -0.2, 0.2)
    r = near / (2 + near)
    square = r * r
    total = np.zeros_like(near)
    for j in reversed(range(9)):
        total = total * square + 1 / (2 * j + 3)
    return r * (2 * square * total - near)


class _Table(NamedTuple):
    """Log of the integral of the density from angle 0, piecewise in the angle.

    Attributes
    ----------
    shape : _Shape
    edges : array of shape (m + 1,)
        Ends of the panels, ascending.
    nodes : array of shape (m, 16)
        Chebyshev points of the panels.
    log_lower : array of shape (16, m)
        Chebyshev coefficients of the logarithm, one column a panel.
    log_first, log_total : float
        The logarithm at both ends.
    """

    shape: _Shape
    edges: NDArray
    nodes: NDArray
    log_lower: NDArray
    log_first: float
    log_total: float

    def log_cdf(self, angle: NDArray) -> NDArray:
        """Return the log probability of a smaller angle."""
        first, last = self.edges[0], self.edges[-1]
        value = _interpolate(self.edges, self.log_lower, np.clip(angle, first, last))
        with np.errstate(divide="ignore", invalid="ignore"):
            power = (self.shape.n + 1) * np.log(angle / first)
            # Where the march ended by its fall, nothing representable is below.
            power = power if self.log_first > -np.inf else np.full_like(angle, -np.inf)
        value = np.where(angle < first, self.log_first + power, value)
        return np.minimum(np.where(angle > last, self.log_total, value), self.log_total)


@functools.cache
def _matrices() -> tuple[NDArray, NDArray, NDArray]:
    """Return Chebyshev points, the map to coefficients, and integrals from -1.

    The integrals are those of the interpolant to each point, and to 1 in the last row.
    """
    points = -np.cos(np.pi * (np.arange(_NODES) + 0.5) / _NODES)
    to_coefficients = np.linalg.inv(chebyshev.chebvander(points, _NODES - 1))
    ends = np.append(points, 1.0)
    integrals = np.stack(
        [
            chebyshev.chebval(ends, chebyshev.chebint(row, lbnd=-1))
            for row in np.eye(_NODES)
        ],
        axis=1,
    )
    return points, to_coefficients, integrals @ to_coefficients


def _interpolate(edges: NDArray, coefficients: NDArray, angle: NDArray) -> NDArray:
    """Return piecewise Chebyshev series at `angle`, within the edges."""
    last = len(edges) - 2
    panel = np.clip(np.searchsorted(edges, angle, side="right") - 1, 0, last)
    low, high = edges[panel], edges[panel + 1]
    t = (2 * angle - low - high) / (high - low)
    # Clenshaw, from the highest coefficient down.
    b1 = b2 = np.zeros_like(angle)
    for row in coefficients[:0:-1]:
        b1, b2 = 2 * t * b1 - b2 + row[panel], b1
    return t * b1 - b2 + coefficients[0][panel]


def _left_edges(shape: _Shape) -> list[float]:
    """Return edges from the mode down to angle 0, or to where nothing is left."""
    edges, scale = [shape.mode], shape.scale
    while edges[-1] > _POWER_BELOW * scale:
        angle = edges[-1]
        step = min(_STEP * scale, angle / 2)
        if angle < shape.mode:
            step = min(step, _FALL / max(shape.slope(angle), 1e-300))
        edges.append(angle - step)
        if shape.log_density(np.asarray(edges[-1])) < _LEFT_END:
            break
    return edges[::-1]


def _right_edges(shape: _Shape) -> list[float]:
    """Return edges from the mode up to pi, or to where nothing is left."""
    if shape.mode == 0.0:
        # Down to where the law is a power of the angle, as on the left of a mode.
        count = math.ceil(-math.log2(_POWER_BELOW))
        edges = [_STEP * shape.scale * 2.0**-j for j in range(count, -1, -1)]
    else:
        edges = [shape.mode]
    step = _STEP * shape.scale
    while edges[-1] < math.pi:
        edges.append(min(edges[-1] + step, math.pi))
        if shape.log_density(np.asarray(edges[-1])) < _RIGHT_END:
            break
    return edges


@functools.lru_cache(maxsize=64)
def _table(p: int, kappa: float) -> _Table:
    shape = _Shape.of(p, kappa)
    left = _left_edges(shape) if shape.mode else []
    edges = np.array(left[:-1] + _right_edges(shape))
    points, to_coefficients, integrals = _matrices()
    half = np.diff(edges)[:, None] / 2
    nodes = edges[:-1, None] + half * (1 + points)
    log_density = shape.log_density(nodes)
    # Relative to the largest value of a panel nothing under- or overflows.
    top = log_density.max(axis=1, keepdims=True)
    inside = half * (np.exp(log_density - top) @ integrals.T)
    log_inside = np.log(np.maximum(inside, 1e-300)) + top
    first = float(shape.log_density(edges[:1])[0])
    # The integral of a power of the angle, and nothing where the march fell to its end.
    log_first = (
        first + math.log(edges[0] / (shape.n + 1)) if first > _LEFT_END else -np.inf
    )
    log_edges = np.logaddexp.accumulate(np.append(log_first, log_inside[:, -1]))
    log_lower = np.logaddexp(log_edges[:-1, None], log_inside[:, :-1])
    return _Table(
        shape,
        edges,
        nodes,
        to_coefficients @ log_lower.T,
        log_first,
        float(log_edges[-1]),
    )


@functools.lru_cache(maxsize=64)
def _log_other_mills(p: int, kappa: float) -> NDArray:
    """Return coefficients of the log of the antipodal world's mass over its density.

    One column a panel of the table, for angles up to pi / 2: the integral of
    ``g(x) / g(theta)`` over x < theta, where g is the density with -kappa.
    """
    table = _table(p, kappa)
    n = table.shape.n
    columns = np.flatnonzero(table.edges[:-1] < math.pi / 2)
    angle = table.nodes[columns].ravel()
    # From here down the density has fallen by 40 in the logarithm, and by 80 at most.
    with np.errstate(divide="ignore"):
        by_pull = np.arccos(np.minimum(1, np.cos(angle) + _WINDOW / np.float64(kappa)))
        by_sine = np.arcsin(np.sin(angle) * np.exp(-_WINDOW / np.float64(n)))
    width = angle - np.maximum(by_pull, by_sine)
    roots, weights = legendre.leggauss(_WINDOW_NODES)
    below = width[:, None] * (1 + roots) / 2
    # Differences of cosines and sines by products, which do not cancel.
    halfway, half = angle[:, None] - below / 2, np.sin(below / 2)
    fall = 2 * kappa * np.sin(halfway) * half
    if n:
        share = 2 * np.cos(halfway) * half / np.sin(angle)[:, None]
        with np.errstate(divide="ignore"):
            fall -= n * np.log1p(-np.minimum(share, 1))
    mass = width / 2 * (np.exp(-fall) @ weights)
    result = np.zeros_like(table.log_lower)
    values = np.log(mass).reshape(len(columns), _NODES)
    result[:, columns] = _matrices()[1] @ values.T
    return result


def angle_of_versine(versine: NDArray) -> NDArray:
    """Return ``arccos(1 - versine)`` without its loss of digits near 0."""
    return 2 * np.arcsin(np.sqrt(np.clip(versine, 0, 2) / 2))


def cosine_survival(p: int, kappa: float, w: NDArray | float) -> NDArray:
    """Return the probability that the cosine exceeds `w`.

    Parameters
    ----------
    p : int
        Dimension, at least 2.
    kappa : float
        Concentration, of any sign; a negative one is that of the direction -mu.
    w : float or array of shape (...)
        Cosines; below -1 the answer is 1, above 1 it is 0.

    Returns
    -------
    float64 array of shape (...)
        To a relative 1e-10 down to 1e-300.
    """
    w = np.asarray(w, np.float64)
    table = _table(int(p), float(kappa))
    log_cdf = table.log_cdf(angle_of_versine(1 - w))
    return np.exp(log_cdf - table.log_total)


def cosine_cdf(p: int, kappa: float, w: NDArray | float) -> NDArray:
    """Return the probability that the cosine is at most `w`.

    As :func:`cosine_survival`, and as precise where the probability is small.
    """
    return cosine_survival(p, -kappa, -np.asarray(w, np.float64))


def antipodal_delta(p: int, kappa: float, epsilon: NDArray) -> NDArray:
    """Return ``P(w > t) - exp(epsilon) Q(w > t)`` for ``t = epsilon / (2 kappa)``.

    P is the law of the cosine with mean direction mu and Q that with -mu: this is the
    hockey-stick divergence of the antipodal pair.

    Parameters
    ----------
    p : int
        Dimension, at least 2.
    kappa : float
        Concentration, > 0.
    epsilon : array of shape (...)
        At least 0.

    Returns
    -------
    float64 array of shape (...)
        To an absolute 1e-12.
    """
    table = _table(int(p), float(kappa))
    versine = (2 * kappa - epsilon) / (2 * kappa)
    angle = angle_of_versine(np.clip(versine, 0, 1))
    log_survival = table.log_cdf(angle)
    within = np.clip(angle, table.edges[0], table.edges[-1])
    log_other = _interpolate(
        table.edges, _log_other_mills(int(p), float(kappa)), within
    )
    # The densities of both worlds, the second times exp(epsilon), are equal at t.
    log_other = log_other + table.shape.log_density(within)
    with np.errstate(invalid="ignore"):
        share = -np.expm1(np.minimum(log_other - log_survival, 0))
        delta = np.exp(log_survival - table.log_total) * share
    return np.where((versine > 0) & (angle >= table.edges[0]), delta, 0.0)
