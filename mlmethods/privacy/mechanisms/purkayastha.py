"""The Purkayastha mechanism."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, Literal

from mlmethods.privacy.contract import Granularity
from mlmethods.privacy.mechanisms.base import (
    PureMechanism,
    check_metric,
    check_numbers,
)

__all__ = ["PurkayasthaMechanism"]


@dataclass(frozen=True)
class PurkayasthaMechanism(PureMechanism):
    """Release a direction y near mu with density proportional to ``exp(-kappa angle)``.

    Parameters
    ----------
    kappa : float or tuple of float
        Concentration, finite and >= 0; 0 is uniform. A tuple has one for each group of
        parameters. It has no meaning without the dimension.
    norm : float or tuple of float, default=1.0
        Norm of what is released, > 0. It does not enter the guarantee.
    granularity : "model", "layer" or groups of path prefixes, default="model"
        What is one direction; costs add over groups.

    Raises
    ------
    InvalidInputError
        If a number is outside its range, or a tuple does not fit the groups.

    Notes
    -----
    Adjacency is replace-one; the unit is the direction of one example's gradient in one
    group. Angles satisfy the triangle inequality, so that the log ratio of densities is
    at most kappa times the angle between the directions.

    References
    ----------
    B. Weggenmann, F. Kerschbaum, "Differential Privacy for Directional Data", CCS
    (2021).

    Examples
    --------
    >>> from mlmethods.privacy import PurkayasthaMechanism
    >>> mechanism = PurkayasthaMechanism(2.0)
    >>> mechanism.metric_epsilon("angle"), round(mechanism.pure_epsilon(), 5)
    (2.0, 6.28319)
    """

    kappa: float | tuple[float, ...]
    _: KW_ONLY
    norm: float | tuple[float, ...] = 1.0
    granularity: Granularity = "model"

    kind: ClassVar[Literal["purkayastha"]] = "purkayastha"
    scale_field: ClassVar[str] = "kappa"

    def __post_init__(self) -> None:
        object.__setattr__(self, "kappa", check_numbers("kappa", self.kappa))
        object.__setattr__(
            self, "norm", check_numbers("norm", self.norm, positive=True)
        )
        self._check_groups()

    def pure_epsilon(self, p: int | None = None) -> float:
        """Return ``pi kappa``, for neighbors that differ in one example's direction.

        Proven, for any dimension; `p` is not needed. With a tuple, the sum over groups.
        """
        return math.pi * self._total()

    def metric_epsilon(self, metric: str = "angle", p: int | None = None) -> float:
        """Return ``kappa`` per unit of angle, ``kappa pi / 2`` per unit of chord.

        Proven. With a tuple, the sum over groups.

        Raises
        ------
        InvalidInputError
            If `metric` is another.
        """
        # An angle is at most pi / 2 times its chord.
        factor = 1.0 if check_metric(metric) == "angle" else math.pi / 2
        return factor * self._total()
