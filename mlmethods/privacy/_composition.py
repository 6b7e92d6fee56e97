"""Epsilon and delta of a ledger, by each way of composing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from mlmethods.errors import AdjacencyError, InvalidInputError
from mlmethods.privacy._ledger import Entry
from mlmethods.privacy._pld import compose
from mlmethods.privacy._rdp import rdp_delta, rdp_epsilon, total_rdp
from mlmethods.privacy.mechanisms import (
    GaussianMechanism,
    NoPrivacy,
    VonMisesFisherMechanism,
)

__all__ = [
    "best_delta",
    "best_epsilon",
    "delta_by",
    "epsilon_by",
    "pld_is_proven",
    "pure_total",
    "run_event",
]

Entries = tuple[Entry, ...]

# Beyond it the amplification of pure privacy is lost in rounding.
_LARGE = 500.0


def epsilon_by(method: str, entries: Entries, delta: float) -> float:
    """Return epsilon at `delta` by Renyi divergences or by loss distributions."""
    _check_dimensions(entries)
    if method == "rdp":
        return rdp_epsilon(total_rdp(entries), delta)
    return _by_loss(entries, lambda pld: pld.get_epsilon_for_delta(delta), math.inf)


def delta_by(method: str, entries: Entries, epsilon: float) -> float:
    """Return delta at `epsilon` by Renyi divergences or by loss distributions."""
    _check_dimensions(entries)
    if method == "rdp":
        return rdp_delta(total_rdp(entries), epsilon)
    found = _by_loss(entries, lambda pld: pld.get_delta_for_epsilon(epsilon), 1.0)
    # Rounding in the transforms may leave the unit interval.
    return min(1.0, max(0.0, found))


def best_epsilon(entries: Entries, delta: float) -> tuple[float, str]:
    """Return the smallest proven epsilon at `delta`, and the method that gave it."""
    found = [
        (epsilon_by("rdp", entries, delta), "rdp"),
        (_pure_or_inf(entries), "pure"),
    ]
    if pld_is_proven(entries):
        found.insert(0, (epsilon_by("pld", entries, delta), "pld"))
    return min(found, key=lambda pair: pair[0])


def best_delta(entries: Entries, epsilon: float) -> float:
    """Return the smallest proven delta at `epsilon`."""
    found = [delta_by("rdp", entries, epsilon)]
    if pld_is_proven(entries):
        found.append(delta_by("pld", entries, epsilon))
    if _pure_or_inf(entries) <= epsilon:
        found.append(0.0)
    return min(found)


def pld_is_proven(entries: Entries) -> bool:
    """Whether the loss distributions rest on no conjecture."""
    return not any(isinstance(e.mechanism, VonMisesFisherMechanism) for e in entries)


def pure_total(entries: Entries) -> float:
    """Return the sum of pure epsilon over groups and participations."""
    total = 0.0
    for entry in entries:
        if entry.rate is not None and entry.mechanism.adjacency == "replace_one":
            raise AdjacencyError(
                "pure epsilon under Poisson sampling needs adjacency 'add_remove', "
                "which direction mechanisms do not have; use epsilon(delta), or "
                "shuffled batches"
            )
        single = sum(r.times * r.pure_epsilon() for r in entry.releases)
        if entry.rate is not None and single < _LARGE:
            single = math.log1p(entry.rate * math.expm1(single))
        total += entry.count * single
    return total


def run_event(entries: Entries) -> Any:
    """Return the ledger as an event of the dp-accounting library."""
    import dp_accounting

    found = []
    for entry in entries:
        parts: list[Any] = []
        for release in entry.releases:
            event = release.mechanism.event()
            if release.times > 1:
                event = dp_accounting.SelfComposedDpEvent(event, release.times)
            parts.append(event)
        step = parts[0] if len(parts) == 1 else dp_accounting.ComposedDpEvent(parts)
        if entry.rate is not None:
            step = dp_accounting.PoissonSampledDpEvent(entry.rate, step)
        if entry.count > 1:
            step = dp_accounting.SelfComposedDpEvent(step, entry.count)
        found.append(step)
    if not found:
        return dp_accounting.NoOpDpEvent()
    return found[0] if len(found) == 1 else dp_accounting.ComposedDpEvent(found)


def _pure_or_inf(entries: Entries) -> float:
    try:
        return pure_total(entries)
    except AdjacencyError:
        return math.inf


def _check_dimensions(entries: Entries) -> None:
    """Refuse direction mechanisms without the dimension of their groups."""
    for entry in entries:
        if isinstance(entry.mechanism, GaussianMechanism | NoPrivacy):
            continue
        if entry.dimensions is None or min(entry.dimensions) < 2:
            raise InvalidInputError(
                f"p must be given to step() as the dimension, >= 2, of each direction "
                f"group, to account for {type(entry.mechanism).__name__} beyond pure "
                f"epsilon, got {entry.dimensions}"
            )


def _by_loss(entries: Entries, read: Callable[[Any], Any], unbounded: float) -> float:
    """Return what a loss distribution says; `unbounded` where there is none."""
    if any(isinstance(entry.mechanism, NoPrivacy) for entry in entries):
        return unbounded
    try:
        composed = compose(entries)
    except OverflowError:
        return unbounded
    return 0.0 if composed is None else float(read(composed))
