"""The Gaussian mechanism of private gradient descent."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from mlmethods.common.validation import check_choice
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import Adjacency, ArrayLike, NDArray
from mlmethods.privacy.contract import Granularity
from mlmethods.privacy.mechanisms.base import (
    Mechanism,
    check_epsilon,
    check_metric,
    check_numbers,
    check_orders,
    reflected,
)

__all__ = ["GaussianMechanism"]


@dataclass(frozen=True)
class GaussianMechanism(Mechanism):
    """Clip gradients to a norm, sum them, and add Gaussian noise once, to the sum.

    Parameters
    ----------
    noise_multiplier : float
        Standard deviation of the noise relative to `clip_norm`, > 0.
    clip_norm : float or tuple of float, default=1.0
        Largest norm of one example's gradient, > 0. With groups each is clipped to its
        own share, ``clip_norm / sqrt(groups)`` or its number of the tuple.
    granularity : "model", "layer" or groups of path prefixes, default="model"
        What is clipped together. The guarantee is the same.
    adjacency : {"add_remove", "replace_one"}, default="add_remove"
        What neighbors differ in. Replacing an example moves the sum by up to twice the
        norm.

    Raises
    ------
    InvalidInputError
        If a number is outside its range.

    Notes
    -----
    The unit is one example: its presence, or with ``"replace_one"`` its values. The
    guarantee is about the noisy sum; dividing it by a public batch size costs nothing.

    References
    ----------
    M. Abadi et al., "Deep Learning with Differential Privacy", CCS (2016).

    B. Balle, Y.-X. Wang, "Improving the Gaussian Mechanism for Differential Privacy:
    Analytical Calibration and Optimal Denoising", ICML (2018).

    Examples
    --------
    >>> from mlmethods.privacy import GaussianMechanism
    >>> mechanism = GaussianMechanism(1.0)
    >>> round(float(mechanism.delta(1.0)), 6)
    0.126937
    """

    noise_multiplier: float
    _: KW_ONLY
    clip_norm: float | tuple[float, ...] = 1.0
    granularity: Granularity = "model"
    adjacency: Adjacency = "add_remove"

    kind: ClassVar[Literal["gaussian"]] = "gaussian"
    scale_field: ClassVar[str] = "noise_multiplier"
    norm_field: ClassVar[str] = "clip_norm"

    def __post_init__(self) -> None:
        multiplier = check_numbers(
            "noise_multiplier", self.noise_multiplier, positive=True
        )
        if isinstance(multiplier, tuple):
            raise InvalidInputError(
                f"noise_multiplier must be one number, got {self.noise_multiplier!r}"
            )
        object.__setattr__(self, "noise_multiplier", multiplier)
        object.__setattr__(
            self, "clip_norm", check_numbers("clip_norm", self.clip_norm, positive=True)
        )
        check_choice("adjacency", self.adjacency, ("add_remove", "replace_one"))
        self._check_groups()

    @property
    def unit(self) -> str:
        """What is protected, in words."""
        if self.adjacency == "add_remove":
            return "one example, its presence"
        return "one example, its values"

    @property
    def sensitivity(self) -> float:
        """How far neighbors move the sum, in units of `clip_norm`: 1 or 2."""
        return 1.0 if self.adjacency == "add_remove" else 2.0

    def parts(self, dimensions: Any) -> tuple[tuple[Mechanism, int], ...]:
        """Return this mechanism once, with the summed dimension.

        The norm of the whole clipped gradient bounds what an example moves.
        """
        listed = [dimensions] if isinstance(dimensions, int) else list(dimensions)
        return ((self, int(sum(listed))),)

    def pure_epsilon(self, p: int | None = None) -> float:
        """Return inf: Gaussian noise has no pure guarantee."""
        return math.inf

    def metric_epsilon(self, metric: str = "chord", p: int | None = None) -> float:
        """Return inf: the ratio of densities is not bounded."""
        check_metric(metric)
        return math.inf

    def rdp(self, orders: ArrayLike, p: int | None = None) -> NDArray:
        """Return the Renyi divergence ``a s^2 / (2 sigma^2)``, one for each order a.

        Parameters
        ----------
        orders : array-like of shape (...)
            Orders, at least 1.
        p : int, optional
            Not needed.

        Returns
        -------
        float64 ndarray of shape (...)
            For one release without sampling, and neighbors as `adjacency` says.

        Raises
        ------
        InvalidInputError
            If an order is below 1 or NaN.
        """
        ratio = self.sensitivity / self.noise_multiplier
        return check_orders(orders) * (ratio**2 / 2)

    def delta(self, epsilon: ArrayLike, p: int | None = None) -> NDArray:
        """Return the exact delta, one for each epsilon.

        Parameters
        ----------
        epsilon : array-like of shape (...)
            Any numbers.
        p : int, optional
            Not needed.

        Returns
        -------
        float64 ndarray of shape (...)
            For one release without sampling, and neighbors as `adjacency` says.

        Raises
        ------
        InvalidInputError
            If an epsilon is NaN.
        """
        from scipy.special import erfcx, ndtr

        mu = self.sensitivity / self.noise_multiplier

        def at_least_zero(x: NDArray) -> NDArray:
            near, far = mu / 2 - x / mu, -mu / 2 - x / mu
            # exp(x) times the second density is the first one: ratios of Mills ratios.
            with np.errstate(over="ignore", invalid="ignore"):
                ratio = erfcx(-far / math.sqrt(2)) / erfcx(-near / math.sqrt(2))
            ratio = np.where(np.isfinite(x), ratio, 1.0)
            return ndtr(near) * (1 - ratio)

        return reflected(at_least_zero, check_epsilon(epsilon))

    def event(self) -> Any:
        """Return one release as a GaussianDpEvent, with noise over sensitivity."""
        from mlmethods.privacy.mechanisms.events import noise_event

        return noise_event(self.noise_multiplier / self.sensitivity)
