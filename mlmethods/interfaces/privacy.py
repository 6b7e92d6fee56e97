"""What a privacy mechanism guarantees, how it acts, and what was spent.

A mechanism has two sides. :class:`PrivacyMechanism` is the guarantee: numbers that an
accountant composes, in float64 and without an accelerator. :class:`GradientMechanism`
acts: it turns the gradients of examples into the gradient that an optimizer sees, on
the device, within a compiled step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

from mlmethods.interfaces.arrays import Array, ArrayLike, Key, NDArray, PyTree

__all__ = ["Adjacency", "GradientMechanism", "PrivacyMechanism", "PrivacySpent"]

Adjacency = Literal["replace_one", "add_remove"]
"""What neighboring datasets differ in: one example's values, or its presence."""


class PrivacyMechanism(Protocol):
    """The guarantee of one release of one example."""

    @property
    def adjacency(self) -> Adjacency:
        """The relation between neighbors that the guarantee is about."""
        ...

    @property
    def unit(self) -> str:
        """What is protected, in words."""
        ...

    def pure_epsilon(self) -> float:
        """Return epsilon of pure differential privacy; inf where there is none."""
        ...

    def metric_epsilon(self, metric: str = "chord") -> float:
        """Return the bound on the log ratio of densities per unit of a metric.

        The metric is on directions: ``"chord"`` or ``"angle"``.
        """
        ...

    def rdp(self, orders: ArrayLike, p: int) -> NDArray:
        """Return the Renyi divergence of the worst pair, one for each order.

        `p` is the dimension of what is released.
        """
        ...

    def delta(self, epsilon: ArrayLike, p: int) -> NDArray:
        """Return delta of the worst pair, one for each epsilon."""
        ...

    def sample(self, rng: Any, unit_vectors: ArrayLike) -> NDArray:
        """Release each row of `unit_vectors` [n, p] on its own, in float64."""
        ...

    def event(self) -> Any:
        """Return one release as an event of the dp-accounting library."""
        ...


class GradientMechanism(Protocol):
    """What turns gradients of examples into the gradient that the optimizer sees.

    ``randomize`` is called once a microbatch, each time with a key of its own, and
    returns a sum over the examples where ``mask`` is True. The step divides the total
    by their number, unless the mechanism also has ``finalize(key, total, count, state)
    -> (gradient, state)``: called once a step, the place for noise on the sum.
    """

    def init(self, params: PyTree) -> PyTree:
        """Return the initial state."""
        ...

    def randomize(
        self, key: Key, per_example: PyTree, mask: Array, state: PyTree
    ) -> tuple[PyTree, PyTree]:
        """Return the sum of what is released of gradients [b, ...], and the state."""
        ...


@dataclass(frozen=True, kw_only=True)
class PrivacySpent:
    """What has been spent, with everything that a reader needs to judge it.

    Attributes
    ----------
    epsilon, delta : float
        The guarantee. ``delta`` is 0 for pure differential privacy.
    adjacency : {"replace_one", "add_remove"}
        The relation between neighbors.
    unit : str
        What is protected.
    method : str
        How it was composed: ``"rdp"``, ``"pld"``, ``"pure"`` or ``"metric"``.
    proven : bool
        False where a step of the argument is a conjecture that ``assumptions`` names.
    assumptions : tuple of str
        What the guarantee rests on.
    """

    epsilon: float
    delta: float
    adjacency: Adjacency
    unit: str
    method: str
    proven: bool = True
    assumptions: tuple[str, ...] = ()
