"""Controls: releases that look private and are not, and the release without noise."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, Literal

import numpy as np

from mlmethods.errors import OperationNotSupportedError
from mlmethods.interfaces import ArrayLike, NDArray
from mlmethods.privacy.contract import Granularity
from mlmethods.privacy.mechanisms.base import (
    Mechanism,
    check_epsilon,
    check_metric,
    check_numbers,
    check_orders,
)

__all__ = ["NoPrivacy", "ProjectedNormalMechanism"]


@dataclass(frozen=True)
class ProjectedNormalMechanism(Mechanism):
    """Add Gaussian noise to a unit vector and scale the result back to norm 1.

    A cheap control for experiments. It is **not** metric private: no accounting is
    implemented for it, and accountants refuse it.

    Parameters
    ----------
    sigma : float or tuple of float
        Standard deviation of the noise on unit vectors, > 0. A tuple has one for each
        group of parameters.
    norm : float or tuple of float, default=1.0
        Norm of what is released, > 0.
    granularity : "model", "layer" or groups of path prefixes, default="model"
        What is one direction.

    Raises
    ------
    InvalidInputError
        If a number is outside its range, or a tuple does not fit the groups.

    Notes
    -----
    Adjacency would be replace-one and the unit the direction of one example's gradient
    in one group; no guarantee is stated.

    Examples
    --------
    >>> from mlmethods.privacy import ProjectedNormalMechanism
    >>> ProjectedNormalMechanism(0.1).pure_epsilon()
    inf
    """

    sigma: float | tuple[float, ...]
    _: KW_ONLY
    norm: float | tuple[float, ...] = 1.0
    granularity: Granularity = "model"

    kind: ClassVar[Literal["projected_normal"]] = "projected_normal"
    scale_field: ClassVar[str] = "sigma"

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "sigma", check_numbers("sigma", self.sigma, positive=True)
        )
        object.__setattr__(
            self, "norm", check_numbers("norm", self.norm, positive=True)
        )
        self._check_groups()

    def pure_epsilon(self, p: int | None = None) -> float:
        """Return inf: no guarantee is stated."""
        return math.inf

    def metric_epsilon(self, metric: str = "chord", p: int | None = None) -> float:
        """Return inf: no guarantee is stated."""
        check_metric(metric)
        return math.inf

    def rdp(self, orders: ArrayLike, p: int) -> NDArray:
        """Refuse: this control has no accounting.

        Raises
        ------
        OperationNotSupportedError
            Always.
        """
        raise OperationNotSupportedError(_REFUSAL)

    def delta(self, epsilon: ArrayLike, p: int) -> NDArray:
        """Refuse: this control has no accounting.

        Raises
        ------
        OperationNotSupportedError
            Always.
        """
        raise OperationNotSupportedError(_REFUSAL)


_REFUSAL = (
    "ProjectedNormalMechanism is a control without accounting; "
    "VonMisesFisherMechanism releases directions with a guarantee"
)


@dataclass(frozen=True)
class NoPrivacy(Mechanism):
    """Release the gradients' plain sum: no noise, no scaling, no guarantee.

    Notes
    -----
    Adjacency is replace-one and the unit is one example; every epsilon is inf.

    Examples
    --------
    >>> from mlmethods.privacy import NoPrivacy
    >>> NoPrivacy().pure_epsilon()
    inf
    """

    kind: ClassVar[Literal["none"]] = "none"
    scale_field: ClassVar[str] = ""
    norm_field: ClassVar[str] = ""

    @property
    def unit(self) -> str:
        """What is protected, in words."""
        return "one example"

    def pure_epsilon(self, p: int | None = None) -> float:
        """Return inf."""
        return math.inf

    def metric_epsilon(self, metric: str = "chord", p: int | None = None) -> float:
        """Return inf."""
        check_metric(metric)
        return math.inf

    def rdp(self, orders: ArrayLike, p: int | None = None) -> NDArray:
        """Return inf for every order.

        Raises
        ------
        InvalidInputError
            If an order is below 1 or NaN.
        """
        return np.full(check_orders(orders).shape, math.inf)

    def delta(self, epsilon: ArrayLike, p: int | None = None) -> NDArray:
        """Return 1 for every finite epsilon.

        Raises
        ------
        InvalidInputError
            If an epsilon is NaN.
        """
        return np.where(check_epsilon(epsilon) < math.inf, 1.0, 0.0)

    def event(self) -> object:
        """Return the event of a release without privacy."""
        import dp_accounting

        return dp_accounting.NonPrivateDpEvent()
