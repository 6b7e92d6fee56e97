"""Releases of directions as events of the dp-accounting library.

This module imports dp-accounting; mechanisms load it when an event is asked for.
"""

from __future__ import annotations

from typing import Any

import attr
import dp_accounting

__all__ = ["DirectionDpEvent", "noise_event"]


@attr.s(frozen=True, auto_attribs=True)
class DirectionDpEvent(dp_accounting.DpEvent):
    """One release of one direction by a mechanism of this library.

    Accountants of dp-accounting do not know it and refuse it, rather than take it for
    a Gaussian; :class:`mlmethods.privacy.Accountant` composes it.

    Attributes
    ----------
    mechanism : mechanism
        With its adjacency, replace-one, and its unit.
    """

    mechanism: Any


def noise_event(noise_multiplier: float) -> dp_accounting.DpEvent:
    """Return the event of a Gaussian release with noise relative to sensitivity."""
    return dp_accounting.GaussianDpEvent(noise_multiplier)
