"""Renyi divergences of steps, their sums, and what they say about epsilon and delta."""

from __future__ import annotations

import contextlib
import functools
import logging
import math
from collections.abc import Iterable, Iterator

import numpy as np

from mlmethods.interfaces import NDArray
from mlmethods.privacy._ledger import Entry
from mlmethods.privacy.mechanisms import GaussianMechanism

__all__ = ["ORDERS", "rdp_delta", "rdp_epsilon", "total_rdp"]


def _orders() -> NDArray:
    tiny = 1 + np.geomspace(1e-4, 0.1, 20)
    small = 1 + np.arange(1, 100) / 10
    middle = np.arange(11, 64)
    large = np.round(np.geomspace(64, 1024, 24))
    huge = np.round(np.geomspace(1024, 1e6, 40))
    return np.unique(np.concatenate([tiny, small, middle, large, huge]))


# Low orders serve losses in the thousands, high ones losses below a thousandth.
ORDERS = _orders()
# The library's sum of a sampled Gaussian takes as many terms as the order, and loses
# its digits near order 1.
_LOWEST_SAMPLED, _HIGHEST_SAMPLED = 1.1, 1024.0
# What rounding may have hidden in the logarithm that it divides by the order less one.
_ROUNDING = 1e-15
# Below this order the library's conversion does not answer.
_LOWEST_CONVERTED = 1.01
_SMALLEST = 1e-15


@functools.lru_cache(maxsize=256)
def _step_rdp(step: Entry) -> NDArray:
    """Return the Renyi divergences of one step, float64, one for each order."""
    mechanism, rate = step.mechanism, step.rate
    with np.errstate(over="ignore"):
        whole = np.zeros(len(ORDERS))
        for release in step.releases:
            # A mechanism whose divergence depends on p was given one: see Accountant.
            divergence = release.mechanism.rdp(ORDERS, release.p or 2)
            whole += release.times * np.asarray(divergence, dtype=np.float64)
        if rate is None:
            result = whole
        elif mechanism.adjacency == "add_remove":
            # The ledger admits sampling of no other mechanism there.
            assert isinstance(mechanism, GaussianMechanism)
            result = np.minimum(_sampled_gaussian(mechanism, rate), whole)
        else:
            result = _participation(whole, rate)
    result.flags.writeable = False
    return result


def _participation(divergence: NDArray, rate: float) -> NDArray:
    """Return ``log(1 - q + q exp((a - 1) D_a)) / (a - 1)``.

    Whether the replaced example takes part is the same in both worlds, and where it
    does not they are equal. All its direction groups share that one coin.
    """
    exponent = (ORDERS - 1) * divergence
    small = np.minimum(exponent, 30.0)
    near = np.log1p(rate * np.expm1(small))
    shifted = np.log(rate) + np.log1p(
        np.exp(-np.maximum(exponent, 30)) * (1 / rate - 1)
    )
    return np.where(exponent < 30, near, exponent + shifted) / (ORDERS - 1)


def _sampled_gaussian(mechanism: GaussianMechanism, rate: float) -> NDArray:
    """Return the divergences of a Poisson-sampled Gaussian under add or remove."""
    import dp_accounting
    from dp_accounting.rdp import RdpAccountant

    served = (ORDERS >= _LOWEST_SAMPLED) & (ORDERS <= _HIGHEST_SAMPLED)
    accountant = RdpAccountant(ORDERS[served])
    with _quiet():
        accountant.compose(dp_accounting.PoissonSampledDpEvent(rate, mechanism.event()))
    result = np.full(len(ORDERS), np.inf)
    found = np.nan_to_num(accountant.rdp, nan=np.inf, posinf=np.inf)
    result[served] = np.maximum(found, 0.0) + _ROUNDING / (ORDERS[served] - 1)
    return result


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library from logging the orders that it leaves out; others serve."""
    logger = logging.getLogger("absl")

    def drop(record: logging.LogRecord) -> bool:
        return "failed to converge" not in record.getMessage()

    logger.addFilter(drop)
    try:
        yield
    finally:
        logger.removeFilter(drop)


def total_rdp(entries: Iterable[Entry]) -> NDArray:
    """Return the sum over all steps, one for each of `ORDERS`."""
    total = np.zeros(len(ORDERS))
    with np.errstate(over="ignore"):
        for entry in entries:
            total += entry.count * _step_rdp(entry.step)
    return total


def rdp_epsilon(rdp: NDArray, delta: float) -> float:
    """Return the smallest epsilon at `delta` that divergences of `ORDERS` imply."""
    from dp_accounting.rdp import compute_epsilon

    if not np.isfinite(rdp).any():
        return math.inf
    low = ORDERS <= _LOWEST_CONVERTED
    # Mironov (2017), Proposition 3: looser, but it holds at every order above 1.
    basic = np.min(rdp[low] - math.log(delta) / (ORDERS[low] - 1))
    improved = compute_epsilon(ORDERS[~low], rdp[~low], delta)[0]
    return float(max(0.0, min(basic, improved)))


def rdp_delta(rdp: NDArray, epsilon: float) -> float:
    """Return the smallest delta at `epsilon` that divergences of `ORDERS` imply."""
    from dp_accounting.rdp.rdp_privacy_accountant import compute_delta

    if not np.isfinite(rdp).any():
        return 1.0
    low = ORDERS <= _LOWEST_CONVERTED
    basic = np.min((ORDERS[low] - 1) * (rdp[low] - epsilon))
    # The library takes a logarithm of 1 - exp(-r), which must not be zero.
    improved = compute_delta(ORDERS, np.maximum(rdp, _SMALLEST), epsilon)[0]
    return float(min(improved, math.exp(min(basic, 0.0))))
