"""Mechanisms that add noise with an exponential density to a unit vector."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, Literal

from mlmethods.common.validation import check_integer
from mlmethods.privacy.contract import Granularity
from mlmethods.privacy.mechanisms.base import (
    PureMechanism,
    check_metric,
    check_numbers,
)

__all__ = ["CoordinateLaplaceMechanism", "EuclideanLaplaceMechanism"]


@dataclass(frozen=True)
class EuclideanLaplaceMechanism(PureMechanism):
    """Add noise with density proportional to ``exp(-epsilon |z|)`` to a unit vector.

    The noise is a uniform direction times a length drawn from a gamma distribution of
    shape p. The result, times `norm`, is no unit vector.

    Parameters
    ----------
    epsilon : float or tuple of float
        Rate per unit of Euclidean distance between unit vectors, > 0. A tuple has one
        for each group of parameters.
    norm : float or tuple of float, default=1.0
        Norm of the gradient that the noise is added to, > 0; the noise scales with it.
    granularity : "model", "layer" or groups of path prefixes, default="model"
        What is one vector; costs add over groups.

    Raises
    ------
    InvalidInputError
        If a number is outside its range, or a tuple does not fit the groups.

    Notes
    -----
    Adjacency is replace-one; the unit is the direction of one example's gradient in one
    group.

    References
    ----------
    K. Chatzikokolakis, M. Andres, N. Bordenabe, C. Palamidessi, "Broadening the Scope
    of Differential Privacy Using Metrics", PETS (2013).

    Examples
    --------
    >>> from mlmethods.privacy import EuclideanLaplaceMechanism
    >>> EuclideanLaplaceMechanism(3.0).pure_epsilon()
    6.0
    """

    epsilon: float | tuple[float, ...]
    _: KW_ONLY
    norm: float | tuple[float, ...] = 1.0
    granularity: Granularity = "model"

    kind: ClassVar[Literal["euclidean_laplace"]] = "euclidean_laplace"
    scale_field: ClassVar[str] = "epsilon"

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "epsilon", check_numbers("epsilon", self.epsilon, positive=True)
        )
        object.__setattr__(
            self, "norm", check_numbers("norm", self.norm, positive=True)
        )
        self._check_groups()

    def pure_epsilon(self, p: int | None = None) -> float:
        """Return ``2 epsilon``, for neighbors that differ in one example's direction.

        Proven, for any dimension; `p` is not needed. With a tuple, the sum over groups.
        """
        return 2 * self._total()

    def metric_epsilon(self, metric: str = "chord", p: int | None = None) -> float:
        """Return ``epsilon``, per unit of the chord or of the angle.

        Proven. With a tuple, the sum over groups.

        Raises
        ------
        InvalidInputError
            If `metric` is another.
        """
        check_metric(metric)
        return self._total()


@dataclass(frozen=True)
class CoordinateLaplaceMechanism(PureMechanism):
    """Add independent Laplace noise to each coordinate of a unit vector.

    Parameters
    ----------
    epsilon : float or tuple of float
        Rate per unit of the sum of coordinate distances (d_1) between unit vectors,
        > 0. A tuple has one for each group of parameters.
    norm : float or tuple of float, default=1.0
        Norm of the gradient that the noise is added to, > 0; the noise scales with it.
    granularity : "model", "layer" or groups of path prefixes, default="model"
        What is one vector; costs add over groups.

    Raises
    ------
    InvalidInputError
        If a number is outside its range, or a tuple does not fit the groups.

    Notes
    -----
    Adjacency is replace-one; the unit is the direction of one example's gradient in one
    group. Unit vectors in p dimensions are up to ``2 sqrt(p)`` apart in d_1: the
    guarantee needs p, and without it is inf.

    References
    ----------
    C. Dwork, F. McSherry, K. Nissim, A. Smith, "Calibrating Noise to Sensitivity in
    Private Data Analysis", TCC (2006).

    Examples
    --------
    >>> from mlmethods.privacy import CoordinateLaplaceMechanism
    >>> CoordinateLaplaceMechanism(0.5).pure_epsilon(p=100)
    10.0
    """

    epsilon: float | tuple[float, ...]
    _: KW_ONLY
    norm: float | tuple[float, ...] = 1.0
    granularity: Granularity = "model"

    kind: ClassVar[Literal["coordinate_laplace"]] = "coordinate_laplace"
    scale_field: ClassVar[str] = "epsilon"

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "epsilon", check_numbers("epsilon", self.epsilon, positive=True)
        )
        object.__setattr__(
            self, "norm", check_numbers("norm", self.norm, positive=True)
        )
        self._check_groups()

    def pure_epsilon(self, p: int | None = None) -> float:
        """Return ``2 epsilon sqrt(p)``, for neighbors that differ in one direction.

        Proven; inf without `p`.

        Raises
        ------
        InvalidInputError
            If `p` is not an integer >= 2, or the mechanism has several groups.
        """
        return 2 * self.metric_epsilon("chord", p)

    def metric_epsilon(self, metric: str = "chord", p: int | None = None) -> float:
        """Return ``epsilon sqrt(p)``, per unit of the chord or of the angle.

        Proven; inf without `p`.

        Raises
        ------
        InvalidInputError
            If `metric` is another, `p` is not an integer >= 2, or the mechanism has
            several groups.
        """
        check_metric(metric)
        if p is None:
            return math.inf
        epsilon = self.single("metric_epsilon")
        return epsilon * math.sqrt(check_integer("p", p, minimum=2))
