"""Laws of the privacy loss of one release, for the worst pair of neighbors."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np
from numpy.polynomial.legendre import leggauss

from mlmethods.interfaces import NDArray
from mlmethods.privacy._ledger import Release
from mlmethods.privacy.mechanisms import GaussianMechanism, VonMisesFisherMechanism

__all__ = ["LossLaw", "gaussian_laws", "loss_law", "vmf_grid"]

# A law is cut where its density has fallen by exp(-50) from its mode.
_FALL = 50.0
# Panels and points a panel of a coarse law; points a panel of a grid.
_PANELS = 64
_NODES = 6
# Fewest panels of a grid, however few its cells.
_FEWEST = 2000


class LossLaw(NamedTuple):
    """Losses and their probabilities in the first of two worlds.

    Attributes
    ----------
    losses, probs : arrays of shape (m,)
        The probabilities sum to one.
    """

    losses: NDArray
    probs: NDArray

    @property
    def mean(self) -> float:
        """Expected loss."""
        return float(self.probs @ self.losses)

    @property
    def variance(self) -> float:
        """Variance of the loss."""
        return float(self.probs @ (self.losses - self.mean) ** 2)

    def log_moment(self, order: NDArray) -> NDArray:
        """Return ``log E exp(order * loss)`` for each order."""
        with np.errstate(divide="ignore"):
            terms = np.log(self.probs) + order[:, None] * self.losses
        top = terms.max(axis=1)
        return top + np.log(np.exp(terms - top[:, None]).sum(axis=1))

    def on_grid(self, interval: float) -> tuple[int, NDArray]:
        """Return the index of the first loss on the grid, and all probabilities.

        Each loss is split between its two neighbors so that the masses of both worlds
        are kept: the pessimistic rounding of Doroshenko et al. (arXiv:2207.04380).
        """
        place = np.floor(self.losses / interval).astype(np.int64)
        first = int(place.min())
        upper = np.expm1(place * interval - self.losses) / math.expm1(-interval)
        upper = self.probs * np.clip(upper, 0.0, 1.0)
        probs = np.zeros(int(place.max()) - first + 2)
        np.add.at(probs, place - first, self.probs - upper)
        np.add.at(probs, place - first + 1, upper)
        return first, probs


@functools.lru_cache(maxsize=256)
def loss_law(release: Release) -> LossLaw:
    """Return the law of one release's loss: coarse, exact for pure privacy.

    Raises
    ------
    OverflowError
        If the loss is not bounded and its law is not known.
    """
    found: Any = release.mechanism
    if isinstance(found, VonMisesFisherMechanism):
        return _vmf_law(_kappa(found), int(release.p or 2))
    if isinstance(found, GaussianMechanism):
        return gaussian_laws(found.noise_multiplier / found.sensitivity, 1.0)[0]
    epsilon = release.pure_epsilon()
    if not math.isfinite(epsilon):
        raise OverflowError
    # No pair of an epsilon-private mechanism is worse than randomized response:
    # Kairouz, Oh, Viswanath (2015).
    kept = 1 / (1 + math.exp(-epsilon))
    losses = np.array([epsilon, -epsilon])
    return LossLaw(losses, np.array([kept, math.exp(-epsilon) * kept]))


def gaussian_laws(sigma: float, rate: float) -> tuple[LossLaw, LossLaw]:
    """Return the laws of a sampled Gaussian: of a removed and of an added example."""
    reach = sigma * math.sqrt(2 * _FALL)
    # Little noise leaves two narrow hills with nothing between.
    hill = np.linspace(-reach, reach, 2 * _PANELS + 1)
    edges = np.unique(np.concatenate([hill, 1 + hill]))
    x, weight = _points(edges, _NODES)
    without = np.exp(-0.5 * (x / sigma) ** 2) * weight
    along = (2 * x - 1) / (2 * sigma**2)
    loss = along
    if rate < 1:
        loss = np.logaddexp(math.log1p(-rate), math.log(rate) + along)
    present = np.exp(-0.5 * ((x - 1) / sigma) ** 2) * weight
    mixed = rate * present + (1 - rate) * without
    return (
        LossLaw(loss, mixed / mixed.sum()),
        LossLaw(-loss, without / without.sum()),
    )


@functools.lru_cache(maxsize=256)
def _vmf_law(kappa: float, p: int) -> LossLaw:
    """Return the law of ``2 kappa w``, with panels of equal width in the angle."""
    low, high = _vmf_angles(kappa, p)
    angle, weight = _points(np.linspace(low, high, _PANELS + 1), _NODES)
    mass = weight * np.exp(_vmf_log_density(kappa, p, angle))
    return LossLaw(2 * kappa * np.cos(angle), mass / mass.sum())


def vmf_grid(release: Release, interval: float) -> tuple[int, NDArray]:
    """Return the law of the antipodal pair's loss on a grid, as `on_grid` does.

    The masses of a cell are integrals over it, so that the grid, and not the coarse
    law, decides how precise they are.
    """
    kappa, dimension = _kappa(release.mechanism), int(release.p or 2)
    if kappa == 0:
        return 0, np.ones(1)
    low, high = _vmf_angles(kappa, dimension)
    first = math.floor(2 * kappa * math.cos(high) / interval)
    last = max(math.ceil(2 * kappa * math.cos(low) / interval), first + 1)
    cells = last - first
    split = math.ceil(_FEWEST / cells)
    losses = interval * (first + np.arange(cells * split + 1) / split)
    cosine = np.clip(losses / (2 * kappa), -1, 1)
    edges = np.clip(np.arccos(cosine), low, high)[::-1]
    angle, weight = _points(edges, _NODES)
    mass = weight * np.exp(_vmf_log_density(kappa, dimension, angle))
    # What the cut leaves out counts as an infinite loss.
    mass *= (1 - math.exp(-_FALL)) / mass.sum()
    cell = (cells - 1) - np.arange(cells * split) // split
    cell = np.repeat(cell, _NODES)
    above = 2 * kappa * np.cos(angle) - interval * (first + cell)
    upper = mass * np.clip(np.expm1(-above) / math.expm1(-interval), 0.0, 1.0)
    probs = np.bincount(cell, mass - upper, cells + 1)
    return first, probs + np.bincount(cell + 1, upper, cells + 1)


def _kappa(mechanism: Any) -> float:
    """Return the concentration of one group's mechanism."""
    return float(mechanism.kappa)


def _points(edges: NDArray, n_nodes: int) -> tuple[NDArray, NDArray]:
    """Return Gauss points of all panels, and their weights, flat."""
    roots, weights = leggauss(n_nodes)
    width = np.diff(edges)[:, None]
    points = edges[:-1, None] + width * (1 + roots) / 2
    return points.ravel(), (width / 2 * weights).ravel()


def _vmf_log_density(kappa: float, p: int, angle: NDArray) -> NDArray:
    """Return the log density of the angle to the mean, relative to its mode.

    In the angle it is smooth up to both ends, for every p.
    """
    mode = _vmf_mode(kappa, p)
    sine = math.sin(mode) if p > 2 else 1.0
    fall = -2 * kappa * np.sin((angle - mode) / 2) * np.sin((angle + mode) / 2)
    return fall + (p - 2) * np.log(np.sin(angle) / sine)


def _vmf_mode(kappa: float, p: int) -> float:
    n = p - 2
    if n == 0:
        return 0.0
    return math.acos(2 * kappa / (n + math.hypot(n, 2 * kappa)))


def _vmf_angles(kappa: float, p: int) -> tuple[float, float]:
    """Return the angles beyond which the density is below exp(-50) of its mode."""
    mode = _vmf_mode(kappa, p)
    ends = []
    for end in (0.0, math.pi):
        inside, outside = mode, end
        for _ in range(80):
            middle = (inside + outside) / 2
            if middle in (inside, outside):
                break
            density = _vmf_log_density(kappa, p, np.array([middle]))[0]
            inside, outside = (
                (middle, outside) if density > -_FALL else (inside, middle)
            )
        ends.append(outside)
    return ends[0], ends[1]
