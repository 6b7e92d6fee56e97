"""What mechanisms share: checked numbers, groups of directions, configurations."""

from __future__ import annotations

import abc
import dataclasses
import importlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from mlmethods.backend import get_backend
from mlmethods.common.rng import generator
from mlmethods.common.validation import check_choice, check_integer
from mlmethods.errors import ConfigError, InvalidInputError, SamplerError
from mlmethods.interfaces import Adjacency, ArrayLike, NDArray
from mlmethods.privacy.contract import Granularity, MechanismConfig, MechanismKind

__all__ = [
    "Mechanism",
    "PureMechanism",
    "check_metric",
    "check_numbers",
    "check_unit_rows",
    "mechanism_from_dict",
]

_UNIT_TOLERANCE = 1e-4

# Where the class of each kind lives, for `mechanism_from_dict`.
_CLASSES = {
    "vmf": ("vonmisesfisher", "VonMisesFisherMechanism"),
    "gaussian": ("gaussian", "GaussianMechanism"),
    "purkayastha": ("purkayastha", "PurkayasthaMechanism"),
    "euclidean_laplace": ("laplace", "EuclideanLaplaceMechanism"),
    "coordinate_laplace": ("laplace", "CoordinateLaplaceMechanism"),
    "projected_normal": ("controls", "ProjectedNormalMechanism"),
    "none": ("controls", "NoPrivacy"),
}


class Mechanism(abc.ABC):
    """What every mechanism can say; a subclass is a frozen dataclass.

    Numbers of the guarantee are about one release of one direction. With a tuple of
    numbers, one for each group, `pure_epsilon` and `metric_epsilon` are sums over the
    groups; `parts` takes a mechanism apart for the rest.
    """

    kind: ClassVar[MechanismKind]
    scale_field: ClassVar[str]
    """The field that is ``scale`` of the configuration; empty where there is none."""
    norm_field: ClassVar[str] = "norm"
    adjacency: Adjacency = "replace_one"

    @property
    def unit(self) -> str:
        """What is protected, in words."""
        return "one example's gradient, its direction"

    @abc.abstractmethod
    def pure_epsilon(self, p: int | None = None) -> float:
        """Return epsilon of pure differential privacy; inf where there is none."""

    @abc.abstractmethod
    def metric_epsilon(self, metric: str = "chord", p: int | None = None) -> float:
        """Return the bound on the log ratio of densities per unit of a metric."""

    @abc.abstractmethod
    def rdp(self, orders: ArrayLike, p: int) -> NDArray:
        """Return the Renyi divergence of the worst pair, one for each order."""

    @abc.abstractmethod
    def delta(self, epsilon: ArrayLike, p: int) -> NDArray:
        """Return delta of the worst pair, one for each epsilon."""

    def event(self) -> Any:
        """Return one release as an event of the dp-accounting library."""
        from mlmethods.privacy.mechanisms.events import DirectionDpEvent

        return DirectionDpEvent(self)

    def sample(
        self, rng: Any, unit_vectors: ArrayLike, normalize: bool = False
    ) -> NDArray:
        """Release each row of `unit_vectors` on its own, in float64.

        Parameters
        ----------
        rng : numpy.random.Generator or int
            A generator is advanced by the draws.
        unit_vectors : array-like of shape (n, p)
            Directions, of norm 1 to within 1e-4.
        normalize : bool, default=False
            Whether to scale the rows to norm 1 first.

        Returns
        -------
        float64 ndarray of shape (n, p)

        Raises
        ------
        InvalidInputError
            If a row is not a unit vector, or the mechanism has several groups.
        SamplerError
            If a draw was not accepted within its bounded number of rounds.
        """
        self.single("sample")
        rows = check_unit_rows("unit_vectors", unit_vectors, normalize)
        config = dataclasses.replace(self.config(), granularity="model", norm=1.0)
        engine = get_backend("numpy").engine("privacy")
        released = engine.release(generator(rng), rows, config)
        if np.isnan(released).any():
            raise SamplerError("the sampler did not accept a draw for every row")
        return released

    def parts(
        self, dimensions: int | Iterable[int]
    ) -> tuple[tuple[Mechanism, int], ...]:
        """Return the releases that one example's gradient takes part in.

        Parameters
        ----------
        dimensions : int or sequence of int
            The dimension of each group of parameters.

        Returns
        -------
        tuple of (mechanism, p)
            One for each group, with numbers of its own; their costs add up. With
            granularity ``"model"`` it is one, of the summed dimension.

        Raises
        ------
        InvalidInputError
            If a tuple of numbers has another length than `dimensions`.
        """
        listed = [dimensions] if isinstance(dimensions, int) else list(dimensions)
        checked = [check_integer("dimensions", p, minimum=1) for p in listed]
        if not checked:
            raise InvalidInputError("dimensions must name one group at least, got none")
        if self._granularity() == "model":
            return ((self, sum(checked)),)
        return tuple(
            (self._group(index, len(checked)), p) for index, p in enumerate(checked)
        )

    def config(self) -> MechanismConfig:
        """Return what a backend must know to act as this mechanism."""
        scale = getattr(self, self.scale_field) if self.scale_field else 0.0
        norm = getattr(self, self.norm_field) if self.norm_field else 1.0
        return MechanismConfig(
            kind=self.kind, scale=scale, norm=norm, granularity=self._granularity()
        )

    def to_dict(self) -> dict[str, Any]:
        """Return a dictionary of JSON types that `mechanism_from_dict` reads."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        values = {field.name: _listed(getattr(self, field.name)) for field in fields}
        return {"mechanism": self.kind, **values}

    def _granularity(self) -> Granularity:
        return getattr(self, "granularity", "model")

    def _group(self, index: int, count: int) -> Self:
        """Return the mechanism of one group of `count`."""
        changes: dict[str, Any] = {"granularity": "model"}
        for name in (self.scale_field, self.norm_field):
            value = getattr(self, name)
            if isinstance(value, tuple) and len(value) != count:
                raise InvalidInputError(
                    f"{name} has {len(value)} numbers for {count} groups"
                )
            if isinstance(value, tuple):
                changes[name] = value[index]
            elif name == self.norm_field:
                changes[name] = value / math.sqrt(count)
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]

    def _check_groups(self) -> None:
        """Refuse groups that are malformed, and tuples that do not fit them.

        Raises
        ------
        InvalidInputError
            If they are.
        """
        groups = _check_granularity(self._granularity())
        object.__setattr__(self, "granularity", groups)
        for name in (self.scale_field, self.norm_field):
            value = getattr(self, name)
            if not isinstance(value, tuple):
                continue
            if groups == "model":
                raise InvalidInputError(
                    f"{name} must be one number with granularity 'model', got {value!r}"
                )
            if isinstance(groups, tuple) and len(value) != len(groups):
                raise InvalidInputError(
                    f"{name} must have one number for each of {len(groups)} groups, "
                    f"got {value!r}"
                )

    def single(self, what: str) -> float:
        """Return the one number of the mechanism.

        Raises
        ------
        InvalidInputError
            If it has one for each group.
        """
        value = getattr(self, self.scale_field) if self.scale_field else 0.0
        if isinstance(value, tuple):
            raise InvalidInputError(
                f"{what} is of one direction and {self.scale_field} has {len(value)} "
                "numbers; take the mechanism apart with parts(dimensions)"
            )
        return value

    def _total(self) -> float:
        """Return the sum of the numbers over groups."""
        value = getattr(self, self.scale_field)
        return math.fsum(value) if isinstance(value, tuple) else value


class PureMechanism(Mechanism):
    """A mechanism with pure epsilon and no closed form beside it.

    Its curves are those of randomized response with the same epsilon, the worst of all
    mechanisms with that epsilon (Kairouz, Oh, Viswanath, 2015, arXiv:1311.0776).
    """

    def rdp(self, orders: ArrayLike, p: int) -> NDArray:
        """Bound the Renyi divergence of neighbors, one for each order.

        Parameters
        ----------
        orders : array-like of shape (...)
            Orders, at least 1.
        p : int
            Dimension of what is released.

        Returns
        -------
        float64 ndarray of shape (...)
            That of randomized response with the same pure epsilon, for neighbors that
            differ in one example's direction.

        Raises
        ------
        InvalidInputError
            If an order is below 1 or NaN, `p` is not an integer >= 2, or the mechanism
            has several groups.
        """
        self.single("rdp")
        epsilon = self.pure_epsilon(check_integer("p", p, minimum=2))
        return _response_rdp(epsilon, check_orders(orders))

    def delta(self, epsilon: ArrayLike, p: int) -> NDArray:
        """Bound delta of neighbors, one for each epsilon.

        Parameters
        ----------
        epsilon : array-like of shape (...)
            Any numbers.
        p : int
            Dimension of what is released.

        Returns
        -------
        float64 ndarray of shape (...)
            That of randomized response with the same pure epsilon, for neighbors that
            differ in one example's direction.

        Raises
        ------
        InvalidInputError
            If an epsilon is NaN, `p` is not an integer >= 2, or the mechanism has
            several groups.
        """
        self.single("delta")
        pure = self.pure_epsilon(check_integer("p", p, minimum=2))
        x = check_epsilon(epsilon)
        # Of the two outcomes, the first gives all for x >= 0; -x mirrors the pair.
        return reflected(lambda y: _response_delta(pure, y), x)


def _response_delta(pure: float, x: NDArray) -> NDArray:
    return np.maximum(-np.expm1(np.minimum(x - pure, 0)), 0) / (1 + math.exp(-pure))


def _response_rdp(epsilon: float, orders: NDArray) -> NDArray:
    """Return the Renyi divergence of randomized response, for orders >= 1."""
    excess = orders - 1
    finite = np.isfinite(excess)
    u = np.where(finite, excess, 1.0) * epsilon
    first = -math.expm1(-epsilon) / (1 + math.exp(-epsilon))
    # (e^(a eps) + e^((1 - a) eps)) / (1 + e^eps) less 1, factored: nothing cancels.
    with np.errstate(over="ignore"):
        near = np.log1p(
            np.expm1(u) * -np.expm1(-u - epsilon) / (1 + math.exp(-epsilon))
        )
    far = np.logaddexp(u + epsilon, -u) - np.logaddexp(0, epsilon)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = np.where(u < 1, near, far) / np.where(finite, excess, 1.0)
    value = np.where(excess == 0, epsilon * first, np.where(finite, value, epsilon))
    return np.minimum(value, epsilon)


def reflected(delta: Any, epsilon: NDArray) -> NDArray:
    """Return delta at any epsilon, from a function for epsilon >= 0.

    For a pair whose worlds may be swapped, ``delta(-x) = 1 - exp(-x) (1 - delta(x))``.
    """
    size = np.abs(epsilon)
    value = delta(size)
    mirrored = -np.expm1(-size) + np.exp(-size) * value
    return np.where(epsilon < 0, mirrored, value)


def check_orders(orders: ArrayLike) -> NDArray:
    """Return orders of Renyi divergence as float64, each at least 1."""
    values = np.asarray(orders, np.float64)
    if not np.all(values >= 1):
        raise InvalidInputError(f"orders must be >= 1, got {orders!r}")
    return values


def check_epsilon(epsilon: ArrayLike) -> NDArray:
    """Return epsilons as float64, none of them NaN."""
    values = np.asarray(epsilon, np.float64)
    if np.isnan(values).any():
        raise InvalidInputError("epsilon must not be NaN")
    return values


def check_metric(metric: Any) -> str:
    """Return the name of a metric on directions."""
    return check_choice("metric", metric, ("chord", "angle"))


def check_numbers(
    name: str, value: Any, *, positive: bool = False
) -> float | tuple[float, ...]:
    """Return one number, or a tuple of them, each finite and not negative.

    Raises
    ------
    InvalidInputError
        If a number is NaN, infinite, negative, or zero where it must be positive.
    """
    several = isinstance(value, tuple | list | np.ndarray)
    if several and np.ndim(value) == 1 and len(value):
        return tuple(_check_number(name, item, positive) for item in value)
    return _check_number(name, value, positive)


def _check_number(name: str, value: Any, positive: bool) -> float:
    bound = "> 0" if positive else ">= 0"
    try:
        number = math.nan if isinstance(value, bool | str) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number) or number < 0 or (positive and number == 0):
        hint = "; NoPrivacy() releases without noise" if number == math.inf else ""
        raise InvalidInputError(
            f"{name} must be finite and {bound}, got {value!r}{hint}"
        )
    return number


def check_unit_rows(name: str, rows: ArrayLike, normalize: bool) -> NDArray:
    """Return directions as float64 rows [n, p] of norm 1.

    Raises
    ------
    InvalidInputError
        If the shape is another, or a norm is further from 1 than 1e-4 and `normalize`
        is False, or a row has no direction.
    """
    vectors = np.asarray(rows, np.float64)
    if vectors.ndim != 2 or vectors.shape[1] < 2:
        raise InvalidInputError(
            f"{name} must have shape (n, p) with p >= 2, got shape {vectors.shape}"
        )
    norms = np.linalg.norm(vectors, axis=1)
    if normalize:
        if not np.all((norms > 0) & np.isfinite(norms)):
            raise InvalidInputError(f"{name} has a row that is zero or not finite")
        return vectors / norms[:, None]
    if not np.all(np.abs(norms - 1) <= _UNIT_TOLERANCE):
        worst = norms[np.argmax(np.abs(np.nan_to_num(norms, nan=np.inf) - 1))]
        raise InvalidInputError(
            f"{name} must be unit vectors to within {_UNIT_TOLERANCE:g}, got one of norm "
            f"{worst:.6g}; normalize=True scales them"
        )
    return vectors


def _check_granularity(granularity: Any) -> Granularity:
    if isinstance(granularity, str):
        check_choice("granularity", granularity, ("model", "layer"))
        return granularity  # type: ignore[return-value]
    if isinstance(granularity, Sequence):
        groups = tuple(
            () if isinstance(group, str) else tuple(group) for group in granularity
        )
        if groups and all(
            group and all(isinstance(path, str) for path in group) for group in groups
        ):
            return groups
    raise InvalidInputError(
        "granularity must be 'model', 'layer' or groups of path prefixes such as "
        f"(('conv',), ('dense', 'head')), got {granularity!r}"
    )


def _listed(value: Any) -> Any:
    return [_listed(item) for item in value] if isinstance(value, tuple) else value


def mechanism_from_dict(values: Mapping[str, Any]) -> Mechanism:
    """Return the mechanism that ``to_dict`` described.

    Parameters
    ----------
    values : mapping
        Its kind under ``"mechanism"``, and its fields.

    Raises
    ------
    ConfigError
        If the kind or a field is unknown.
    InvalidInputError
        If a number is outside its range.

    Examples
    --------
    >>> from mlmethods.privacy import VonMisesFisherMechanism
    >>> from mlmethods.privacy.mechanisms import mechanism_from_dict
    >>> mechanism = VonMisesFisherMechanism(50.0)
    >>> mechanism_from_dict(mechanism.to_dict()) == mechanism
    True
    """
    fields = dict(values)
    kind = fields.pop("mechanism", None)
    if kind not in _CLASSES:
        raise ConfigError(
            f"mechanism must be one of {', '.join(map(repr, _CLASSES))}, got {kind!r}"
        )
    module, name = _CLASSES[kind]
    chosen = getattr(importlib.import_module(f"{__package__}.{module}"), name)
    known = {field.name for field in dataclasses.fields(chosen)}
    if unknown := sorted(set(fields) - known):
        raise ConfigError(f"{name} has no field {unknown[0]!r}")
    return chosen(**fields)
