"""What an account records: equal releases, how often, and of which dimensions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np

from mlmethods.common.validation import check_integer, check_real
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import PrivacyMechanism
from mlmethods.privacy.mechanisms import GaussianMechanism, mechanism_from_dict
from mlmethods.privacy.mechanisms.base import Mechanism

__all__ = ["Entry", "Release", "make_entry"]

Metric = Literal["chord", "angle"]

# Beyond it, counts are no longer exact in float64 nor fit an int64.
_MOST_STEPS = 2**53


class Release(NamedTuple):
    """Equal and independent releases of one example within one step.

    Attributes
    ----------
    mechanism : PrivacyMechanism
        Of one direction group.
    p : int or None
        Dimension of the group; None where it was not given.
    times : int
        Number of such groups.
    """

    mechanism: PrivacyMechanism
    p: int | None
    times: int

    def pure_epsilon(self) -> float:
        """Return epsilon of pure differential privacy of one of them."""
        if isinstance(self.mechanism, Mechanism):
            return self.mechanism.pure_epsilon(self.p)
        return self.mechanism.pure_epsilon()

    def metric_epsilon(self, metric: Metric) -> float:
        """Return the cost of one of them per unit of a metric."""
        if isinstance(self.mechanism, Mechanism):
            return self.mechanism.metric_epsilon(metric, self.p)
        return self.mechanism.metric_epsilon(metric)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Equal steps of a run.

    Attributes
    ----------
    mechanism : PrivacyMechanism
    rate : float or None
        Poisson sampling rate; None where every step is one participation.
    count : int
        Number of steps.
    dimensions : tuple of int or None
        Of every direction group, where the caller gave them.
    n_groups : int
        Number of direction groups.
    """

    mechanism: PrivacyMechanism
    rate: float | None
    count: int
    dimensions: tuple[int, ...] | None
    n_groups: int

    @property
    def step(self) -> Entry:
        """One step: what a cache is keyed by."""
        return replace(self, count=1)

    @property
    def releases(self) -> tuple[Release, ...]:
        """What one participation of an example releases."""
        found = Counter(self._groups())
        return tuple(Release(*group, times) for group, times in found.items())

    @property
    def n_releases(self) -> int:
        """Number of releases of one participation."""
        return sum(release.times for release in self.releases)

    def _groups(self) -> list[tuple[PrivacyMechanism, int | None]]:
        split = getattr(self.mechanism, "parts", None)
        # Stand-ins for unknown dimensions: which mechanism a group has needs none.
        sizes = self.dimensions or (2,) * self.n_groups
        found = [(self.mechanism, p) for p in sizes]
        if split is not None and not self._repeats_one_direction:
            found = list(split(sizes))
        return [(part, p if self.dimensions else None) for part, p in found]

    @property
    def _repeats_one_direction(self) -> bool:
        """Whether `n_groups` counts whole releases of a mechanism without groups."""
        whole = getattr(self.mechanism, "granularity", "model") == "model"
        return whole and self.n_groups > 1

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        described: Any = self.mechanism
        return {
            "mechanism": described.to_dict(),
            "rate": self.rate,
            "count": self.count,
            "dimensions": None if self.dimensions is None else list(self.dimensions),
            "n_groups": self.n_groups,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Entry:
        """Return the entry that `to_dict` described."""
        dimensions = values["dimensions"]
        rate = values["rate"]
        return cls(
            mechanism=mechanism_from_dict(values["mechanism"]),
            rate=None if rate is None else _check_rate(rate),
            count=check_integer(
                "count", values["count"], minimum=1, maximum=_MOST_STEPS
            ),
            dimensions=None if dimensions is None else _check_dimensions(dimensions),
            n_groups=check_integer("n_groups", values["n_groups"], minimum=1),
        )


def make_entry(
    mechanism: PrivacyMechanism,
    q: float | None,
    count: int,
    p: int | Sequence[int] | None,
    n_groups: int,
) -> Entry:
    """Return an entry of checked values."""
    known = all(hasattr(mechanism, name) for name in ("adjacency", "unit", "rdp"))
    if not known or not isinstance(mechanism, Hashable):
        raise InvalidInputError(
            f"mechanism must be a hashable PrivacyMechanism, got {mechanism!r}"
        )
    check_integer("n_groups", n_groups, minimum=1)
    per_group = _longest(mechanism)
    if per_group is not None and n_groups not in (1, per_group):
        raise InvalidInputError(
            f"n_groups must be {per_group} for a mechanism with {per_group} scales, "
            f"got {n_groups}"
        )
    dimensions = None
    whole = getattr(mechanism, "granularity", "model") == "model"
    if isinstance(mechanism, GaussianMechanism):
        # One sensitivity bounds the whole gradient, so its groups are one release.
        whole, n_groups, per_group = True, 1, None
    if p is None:
        n_groups = per_group or n_groups
    elif isinstance(p, Sequence | np.ndarray) and not isinstance(p, str):
        dimensions = _check_dimensions(p)
        if n_groups not in (1, len(dimensions)):
            raise InvalidInputError(
                f"n_groups must be the number of dimensions in p, {len(dimensions)}, "
                f"got {n_groups}"
            )
        if per_group is not None and per_group != len(dimensions):
            raise InvalidInputError(
                f"p must have {per_group} dimensions, one for each scale of the "
                f"mechanism, got {len(dimensions)}"
            )
        # One direction over all parameters, however the caller lists them.
        dimensions = (sum(dimensions),) if whole else dimensions
        n_groups = len(dimensions)
    else:
        n_groups = per_group or n_groups
        dimensions = (check_integer("p", p, minimum=1),) * n_groups
    rate = None if q is None else _check_rate(q)
    return Entry(
        mechanism=mechanism,
        # At rate 1 every example takes part in every step.
        rate=None if rate == 1 else rate,
        count=check_integer("count", count, minimum=1, maximum=_MOST_STEPS),
        dimensions=dimensions,
        n_groups=n_groups,
    )


def _longest(mechanism: PrivacyMechanism) -> int | None:
    """Return how many groups a mechanism with a scale for each group has."""
    for name in ("kappa", "epsilon", "sigma", "norm"):
        value = getattr(mechanism, name, None)
        if isinstance(value, tuple):
            return len(value)
    return None


def _check_rate(q: float) -> float:
    return check_real("q", q, minimum=0, maximum=1, open_minimum=True)


def _check_dimensions(p: Any) -> tuple[int, ...]:
    values = tuple(x.item() if isinstance(x, np.generic) else x for x in p)
    if not values:
        raise InvalidInputError("p must hold at least one dimension, got none")
    return tuple(check_integer(f"p[{i}]", x, minimum=1) for i, x in enumerate(values))
