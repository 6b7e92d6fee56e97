"""Privacy loss distributions of runs, on one grid that is chosen from the whole run."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mlmethods.interfaces import NDArray
from mlmethods.privacy._ledger import Entry, Release
from mlmethods.privacy._loss_law import LossLaw, gaussian_laws, loss_law, vmf_grid
from mlmethods.privacy.mechanisms import GaussianMechanism, VonMisesFisherMechanism

if TYPE_CHECKING:
    from dp_accounting.pld.privacy_loss_distribution import PrivacyLossDistribution

__all__ = ["compose"]

# Points over which the total loss spreads, and the most that are ever used.
_POINTS = 1e5
_MOST_POINTS = 4e6
# The library lists a Gaussian's losses one by one.
_MOST_LISTED = 1e6
# The grid adds variance; with this many cells a deviation, a thousandth at most.
_CELLS = 13.0
# Mass outside the range of the total loss.
_TAIL = 1e-15
# Longer compositions go in stages, so that the bounds on the range stay tight.
_STAGE = 4096


class _Step(NamedTuple):
    """The law of the loss of one step, coarsely, in one of the two directions.

    Attributes
    ----------
    laws : tuple of (LossLaw, int)
        Of a participation's releases, and how many are equal.
    rate : float
        Probability of a participation.
    n_steps : int
        How many are equal.
    """

    laws: tuple[tuple[LossLaw, int], ...]
    rate: float
    n_steps: int

    def variance(self) -> float:
        """Return the variance of all steps together."""
        mean = sum(times * law.mean for law, times in self.laws)
        variance = sum(times * law.variance for law, times in self.laws)
        spread = self.rate * variance + self.rate * (1 - self.rate) * mean**2
        return self.n_steps * spread

    def log_moment(self, order: NDArray) -> NDArray:
        """Return the log of ``E exp(order * loss)`` of all steps together."""
        whole = np.zeros_like(order)
        for law, times in self.laws:
            whole += times * law.log_moment(order)
        if self.rate == 1:
            return self.n_steps * whole
        mixed = np.logaddexp(math.log1p(-self.rate), math.log(self.rate) + whole)
        return self.n_steps * mixed


@functools.lru_cache(maxsize=4)
def compose(entries: tuple[Entry, ...]) -> PrivacyLossDistribution | None:
    """Return the privacy loss distribution of a run.

    Parameters
    ----------
    entries : tuple of Entry
        None of them without noise.

    Returns
    -------
    dp_accounting PrivacyLossDistribution or None
        Of a pair that dominates every pair of neighbors; losses are rounded so that
        neither epsilon nor delta comes out too small. None where the loss is zero.

    Raises
    ------
    OverflowError
        If no grid that fits into memory holds the losses.
    """
    interval = _interval(entries)
    if interval == 0:
        return None
    total = None
    for entry in entries:
        steps = _repeat(_step(entry, interval), entry.count)
        total = steps if total is None else total.compose(steps)
    return total


def _interval(entries: tuple[Entry, ...]) -> float:
    """Return the width of the grid's cells; 0 where no step has any loss."""
    directions = _directions(entries)
    deviation = math.sqrt(max(sum(s.variance() for s in steps) for steps in directions))
    if not math.isfinite(deviation):
        raise OverflowError
    if deviation == 0:
        return 0.0
    width = max(_width(steps, deviation) for steps in directions)
    n_releases = sum(entry.count * entry.n_releases for entry in entries)
    fine = deviation / math.sqrt(n_releases) / _CELLS
    interval = min(width / _POINTS, fine)
    if not math.isfinite(width) or width > _MOST_POINTS * interval:
        raise OverflowError
    return interval


def _directions(entries: tuple[Entry, ...]) -> list[list[_Step]]:
    """Return the coarse laws when an example is removed, and when one is added."""
    found: list[list[_Step]] = [[], []]
    for entry in entries:
        if _sampled_gaussian(entry):
            sigma = entry.mechanism.noise_multiplier  # type: ignore[attr-defined]
            laws = gaussian_laws(sigma, entry.rate or 1.0)
            pairs: list[Any] = [(((law, 1),), 1.0) for law in laws]
        else:
            releases = tuple((loss_law(r), r.times) for r in entry.releases)
            pairs = [(releases, entry.rate or 1.0)] * 2
        for steps, (laws_of_step, rate) in zip(found, pairs, strict=True):
            steps.append(_Step(laws_of_step, rate, entry.count))
    return found


def _width(steps: list[_Step], deviation: float) -> float:
    """Return the width of a range that the total loss leaves with mass 1e-15."""
    order = np.geomspace(0.05, 50, 40) / deviation
    with np.errstate(over="ignore", invalid="ignore"):
        above = sum(step.log_moment(order) for step in steps) - math.log(_TAIL)
        below = sum(step.log_moment(-order) for step in steps) - math.log(_TAIL)
    return float(np.nanmin(above / order) + np.nanmin(below / order))


def _sampled_gaussian(entry: Entry) -> bool:
    """Whether two directions differ: the library has both for this case."""
    sampled = entry.rate is not None and entry.mechanism.adjacency == "add_remove"
    return sampled and isinstance(entry.mechanism, GaussianMechanism)


def _step(entry: Entry, interval: float) -> PrivacyLossDistribution:
    """Return the distribution of one step."""
    if _sampled_gaussian(entry):
        return _gaussian(entry.mechanism, entry.rate or 1.0, interval)
    whole: Any = None
    for release in entry.releases:
        part = _repeat(_release(release, interval), release.times)
        whole = part if whole is None else whole.compose(part)
    if entry.rate is None:
        return whole
    from dp_accounting.pld import privacy_loss_distribution

    # Whether the replaced example takes part is the same in both worlds; where it does
    # not, they are equal and the loss is zero.
    idle = privacy_loss_distribution.identity(interval)
    return whole.compute_mixture(idle, entry.rate)


def _release(release: Release, interval: float) -> PrivacyLossDistribution:
    """Return the distribution of one release of one group."""
    from dp_accounting.pld import pld_pmf, privacy_loss_distribution

    mechanism: Any = release.mechanism
    if isinstance(mechanism, GaussianMechanism):
        return _gaussian(mechanism, 1.0, interval)
    if isinstance(mechanism, VonMisesFisherMechanism):
        first, probs = vmf_grid(release, interval)
    else:
        first, probs = loss_law(release).on_grid(interval)
    infinite = max(0.0, 1.0 - float(probs.sum()))
    pmf = pld_pmf.DensePLDPmf(interval, first, probs, infinite, True)
    return privacy_loss_distribution.PrivacyLossDistribution(pmf)


def _gaussian(mechanism: Any, rate: float, interval: float) -> PrivacyLossDistribution:
    """Return the distribution of one Gaussian release, by the library."""
    from dp_accounting.pld import privacy_loss_distribution

    mu = mechanism.sensitivity / mechanism.noise_multiplier
    # It lists all losses within ten deviations, and their mirror images.
    if mu * (mu + 20) > _MOST_LISTED * interval:
        raise OverflowError
    return privacy_loss_distribution.from_gaussian_mechanism(
        mechanism.noise_multiplier,
        sensitivity=mechanism.sensitivity,
        value_discretization_interval=interval,
        sampling_prob=rate,
    )


def _repeat(pld: PrivacyLossDistribution, count: int) -> PrivacyLossDistribution:
    """Return a distribution composed with itself, in stages if that is often."""
    if count == 1:
        return pld
    if count <= _STAGE:
        # What rounding may have hidden grows with the count, and so is added.
        return pld.self_compose(count, _TAIL * count)
    stages, rest = divmod(count, _STAGE)
    whole = _repeat(_repeat(pld, _STAGE), stages)
    return whole.compose(_repeat(pld, rest)) if rest else whole
