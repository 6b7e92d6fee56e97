"""The von Mises-Fisher mechanism."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, Literal

import numpy as np

from mlmethods.backend import get_backend
from mlmethods.common.validation import check_integer, check_real
from mlmethods.interfaces import ArrayLike, NDArray
from mlmethods.privacy._cosine_law import antipodal_delta
from mlmethods.privacy.contract import Granularity
from mlmethods.privacy.mechanisms.base import (
    Mechanism,
    check_epsilon,
    check_metric,
    check_numbers,
    check_orders,
    reflected,
)

__all__ = ["VonMisesFisherMechanism"]

# Over intervals this short relative to their place, four nodes integrate A exactly.
_SHORT = 1e-2
_NODES = 4


@dataclass(frozen=True)
class VonMisesFisherMechanism(Mechanism):
    """Release a direction y near mu with density proportional to ``exp(kappa mu.y)``.

    The gradient of an example is scaled to `norm`, which is public, and its direction
    is replaced by the draw.

    Parameters
    ----------
    kappa : float or tuple of float
        Concentration, finite and >= 0; 0 is uniform. A tuple has one for each group of
        parameters. **It has no meaning without the dimension p**: the same kappa is far
        more noise in a larger model; see :func:`mlmethods.privacy.kappa_for_gdp`.
    norm : float or tuple of float, default=1.0
        Norm of what is released, > 0. It does not enter the guarantee.
    granularity : "model", "layer" or groups of path prefixes, default="model"
        What is one direction. Every group of an example is released on its own, and
        the costs add: ten arrays with kappa 50 cost 1000, not 100.

    Raises
    ------
    InvalidInputError
        If a number is outside its range, or a tuple does not fit the groups.

    Notes
    -----
    Adjacency is replace-one: neighbors differ in the values of one example. The unit
    is the direction of one example's gradient in one group. A gradient of norm zero
    is released as a uniform direction, which costs no more than any other pair.

    Pure and metric guarantees follow from ``log f(y; mu) / f(y; mu') = kappa (mu -
    mu').y``. The Renyi divergence grows with the angle, so that the antipodal pair is
    the worst. For `delta` that this pair is the worst is a conjecture: it is supported
    by numerical search, not proven. All hold for real numbers; outputs in floating
    point have low-order bits that no density describes.

    References
    ----------
    P. Faustini, N. Fernandes, S. Tonni, A. McIver, M. Dras, "Directional Privacy for
    Deep Learning" (2022), arXiv:2211.04686.

    Examples
    --------
    >>> from mlmethods.privacy import VonMisesFisherMechanism
    >>> mechanism = VonMisesFisherMechanism(1.0)
    >>> mechanism.pure_epsilon()
    2.0
    >>> round(float(mechanism.delta(0.0, p=3)), 5)  # tanh(1 / 2)
    0.46212
    """

    kappa: float | tuple[float, ...]
    _: KW_ONLY
    norm: float | tuple[float, ...] = 1.0
    granularity: Granularity = "model"

    kind: ClassVar[Literal["vmf"]] = "vmf"
    scale_field: ClassVar[str] = "kappa"

    def __post_init__(self) -> None:
        object.__setattr__(self, "kappa", check_numbers("kappa", self.kappa))
        object.__setattr__(
            self, "norm", check_numbers("norm", self.norm, positive=True)
        )
        self._check_groups()

    def pure_epsilon(self, p: int | None = None) -> float:
        """Return ``2 kappa``, for neighbors that differ in one example's direction.

        Proven, for any dimension; `p` is not needed. With a tuple, the sum over groups.
        """
        return 2 * self._total()

    def metric_epsilon(self, metric: str = "chord", p: int | None = None) -> float:
        """Return ``kappa``, per unit of the chord or of the angle between directions.

        Proven: replacing a direction by one at distance d costs ``kappa d`` at most.
        With a tuple, the sum over groups.

        Raises
        ------
        InvalidInputError
            If `metric` is another.
        """
        check_metric(metric)
        return self._total()

    def rdp(self, orders: ArrayLike, p: int) -> NDArray:
        """Return the Renyi divergence of the antipodal pair, one for each order.

        Parameters
        ----------
        orders : array-like of shape (...)
            Orders, at least 1; 1 is the Kullback-Leibler divergence.
        p : int
            Dimension of what is released.

        Returns
        -------
        float64 ndarray of shape (...)
            The worst over all neighbors that differ in one example's direction: proven.

        Raises
        ------
        InvalidInputError
            If an order is below 1 or NaN, `p` is not an integer >= 2, or the mechanism
            has several groups.
        """
        return self.renyi(orders, p, math.pi)

    def renyi(self, orders: ArrayLike, p: int, angle: float) -> NDArray:
        """Return the Renyi divergence of two directions at an angle.

        Parameters
        ----------
        orders : array-like of shape (...)
            Orders, at least 1.
        p : int
            Dimension of what is released.
        angle : float
            Angle between the directions, 0 to pi.

        Returns
        -------
        float64 ndarray of shape (...)
            ``(log C(k) - log C(k_a)) / (a - 1)`` for
            ``k_a = k sqrt(1 + 2 a (a - 1) (1 - cos(angle)))``; it grows with the angle.
            A guarantee for neighbors whose directions are no further apart.

        Raises
        ------
        InvalidInputError
            As `rdp`, and if `angle` is outside its interval.
        """
        kappa = self.single("rdp")
        p = check_integer("p", p, minimum=2)
        # Rounded up by a user's arithmetic, pi may exceed the constant.
        angle = min(check_real("angle", angle, minimum=0, maximum=3.1416), math.pi)
        orders = check_orders(orders)
        versine = 2 * math.sin(angle / 2) ** 2
        limit = kappa * math.sqrt(2 * versine)
        value = np.full(orders.shape, limit)
        finite = np.isfinite(orders)
        value[finite] = _renyi(kappa, p, versine, orders[finite])
        return np.minimum(value, limit)

    def delta(self, epsilon: ArrayLike, p: int) -> NDArray:
        """Return the hockey-stick divergence of the antipodal pair.

        Parameters
        ----------
        epsilon : array-like of shape (...)
            Any numbers.
        p : int
            Dimension of what is released.

        Returns
        -------
        float64 ndarray of shape (...)
            To an absolute 1e-12. For neighbors that differ in one example's direction
            it rests on the conjecture that the antipodal pair is the worst.

        Raises
        ------
        InvalidInputError
            If an epsilon is NaN, `p` is not an integer >= 2, or the mechanism has
            several groups.
        """
        kappa = self.single("delta")
        p = check_integer("p", p, minimum=2)
        epsilon = check_epsilon(epsilon)
        if kappa == 0:
            return np.maximum(-np.expm1(np.minimum(epsilon, 0)), 0)
        return reflected(lambda x: antipodal_delta(p, kappa, x), epsilon)


def _renyi(kappa: float, p: int, versine: float, orders: NDArray) -> NDArray:
    """Return ``(log C(k) - log C(k_a)) / (a - 1)``, also for orders next to 1."""
    ops = get_backend("numpy").privacy
    root = np.sqrt(1 + 2 * versine * orders * (orders - 1))
    # k_a - k over a - 1, without the difference.
    rate = kappa * 2 * versine * orders / (1 + root)
    width = (orders - 1) * rate
    far = ops.log_norm_ratio(p, kappa, kappa * root)
    # Near order 1 it is the rate times the mean of A from k to k_a.
    offsets, weights = np.polynomial.legendre.leggauss(_NODES)
    mean = sum(
        weight / 2 * ops.mean_resultant(p, kappa + width * (1 + offset) / 2)
        for offset, weight in zip(offsets, weights, strict=True)
    )
    short = width <= _SHORT * kappa
    return np.where(short, rate * mean, far / np.where(short, 1.0, orders - 1))
