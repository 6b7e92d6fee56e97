"""Draws of the angle of the Purkayastha distribution, in float64."""

from __future__ import annotations

import numpy as np

__all__ = ["draw_angles"]

_MAX_ROUNDS = 100
# Tangents touch the log density at about this many deviations from its mode.
_REACH = np.sqrt(2)


def _log_density(offset: np.ndarray, n: int, kappa: float, mode: float) -> np.ndarray:
    """Return the log density relative to the mode; -inf outside (0, pi)."""
    angle = mode + offset
    inside = (angle > 0) & (angle < np.pi)
    ratio = np.sin(np.where(inside, angle, mode)) / np.sin(mode)
    return np.where(inside, n * np.log(ratio) - kappa * offset, -np.inf)


def _slope(offset: float, n: int, mode: float) -> float:
    return -n * np.sin(offset) / (np.sin(mode + offset) * np.sin(mode))


def draw_angles(
    rng: np.random.Generator, p: int, kappa: float, count: int
) -> np.ndarray:
    """Draw angles with density proportional to ``exp(-kappa t) sin(t)^(p - 2)``.

    The logarithm is concave. Candidates come from a hat that is 1 about the mode, and
    beyond falls along the tangents at about 1.4 deviations.

    Returns
    -------
    float64 array of shape (count,)
        NaN where no candidate was accepted in 100 rounds.
    """
    n = p - 2
    if n == 0:
        u = rng.random(count)
        if kappa < 1e-12:
            return np.pi * u
        return -np.log1p(u * np.expm1(-np.pi * kappa)) / kappa
    mode = float(np.arctan2(n, kappa))
    reach = _REACH * np.sin(mode) / np.sqrt(n)
    below, above = mode, np.pi - mode
    left, right = -reach * below / (reach + below), reach * above / (reach + above)
    rise, fall = _slope(left, n, mode), -_slope(right, n, mode)
    start = left - float(_log_density(np.asarray(left), n, kappa, mode)) / rise
    stop = right + float(_log_density(np.asarray(right), n, kappa, mode)) / fall
    areas = np.cumsum([stop - start, 1 / rise, 1 / fall])
    result = np.full(count, np.nan)
    pending = np.arange(count)
    for _ in range(_MAX_ROUNDS):
        if not pending.size:
            break
        position = rng.random(pending.size) * areas[-1]
        depth = rng.standard_exponential(pending.size)
        offset = np.where(
            position < areas[0],
            start + position,
            np.where(position < areas[1], start - depth / rise, stop + depth / fall),
        )
        hat = np.where(position < areas[0], 0.0, -depth)
        ratio = _log_density(offset, n, kappa, mode) - hat
        accepted = ratio >= -rng.standard_exponential(pending.size)
        result[pending[accepted]] = mode + offset[accepted]
        pending = pending[~accepted]
    return result
