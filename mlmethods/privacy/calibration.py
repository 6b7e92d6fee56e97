"""Find the noise at which a mechanism costs a given amount, in any currency."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

from mlmethods.common.validation import check_choice, check_integer, check_real
from mlmethods.errors import InvalidInputError
from mlmethods.privacy.accountant import Accountant

__all__ = ["calibrate"]

_Mechanism = TypeVar("_Mechanism")

_SPENT = ("rdp", "pld", "pure")
_MEASURED = ("mia", "reconstruction")
_CURRENCIES = (*_SPENT, "snr", "gdp", "bayes", *_MEASURED)

# What is searched, by the field that a mechanism has; more of the last two is more
# noise, more of the first two is less.
_SCALES = ("kappa", "epsilon", "noise_multiplier", "sigma")
_NOISY = ("noise_multiplier", "sigma")
# The search ends here.
_SMALLEST, _LARGEST = 1e-9, 1e12
_TOLERANCE = 1e-5
_MEASURED_TOLERANCE = 0.05


def calibrate(
    mechanism_cls: Callable[..., _Mechanism],
    *,
    target: float,
    p: int | Sequence[int] | None = None,
    batch_size: int | None = None,
    data_size: int | None = None,
    steps: int = 1,
    q: float | None = None,
    delta: float = 1e-5,
    by: Literal[
        "rdp", "pld", "pure", "snr", "gdp", "bayes", "mia", "reconstruction"
    ] = "rdp",
    measure: Callable[[_Mechanism], float] | None = None,
    sampling: Literal["poisson", "shuffle"] | None = None,
    bounds: tuple[float, float] | None = None,
    **fixed: Any,
) -> _Mechanism:
    """Return a mechanism with the noise at which it costs `target`.

    Parameters
    ----------
    mechanism_cls : class
        A mechanism whose first field is kappa, epsilon, noise_multiplier or sigma.
    target : float
        What it may cost, in the currency `by`, > 0.
    p : int or sequence of int, optional
        Dimension of each direction group; see :meth:`Accountant.step`.
    batch_size, data_size : int, optional
        Expected batch and number of rows; their ratio is the rate of Poisson sampling.
    steps : int, default=1
        Steps of the run.
    q : float, optional
        Rate of Poisson sampling instead of both sizes.
    delta : float, default=1e-5
        For ``"rdp"`` and ``"pld"``.
    by : str, default="rdp"
        ``"rdp"``, ``"pld"``: epsilon at `delta` of the whole run. ``"pure"``: its pure
        epsilon. ``"gdp"``, ``"bayes"``: :func:`gdp_mu`, :func:`bayes_capacity` of one
        release. ``"snr"``: the noise multiplier of the Gaussian mechanism with equal
        signal-to-noise, :func:`signal_to_noise`; a statement about utility.
        ``"mia"``, ``"reconstruction"``: what `measure` returns.
    measure : callable, optional
        ``measure(mechanism) -> float``, an attack's success or error, which noise must
        move in one direction; for ``"mia"`` and ``"reconstruction"``.
    sampling : {"poisson", "shuffle"}, optional
        By default Poisson if there is a rate, and every step is one participation if
        there is none. Shuffled batches need both sizes: an example takes part once an
        epoch, and an epoch has the whole batches only.
    bounds : pair of float, optional
        Smallest and largest parameter that are tried.
    **fixed
        Further fields of the mechanism, such as ``granularity="layer"``.

    Returns
    -------
    mechanism
        Of `mechanism_cls`. A guarantee is met, not nearly met: what ``"rdp"``,
        ``"pld"``, ``"pure"``, ``"gdp"`` and ``"bayes"`` say of it is at most `target`,
        and within a relative 1e-4 of it where it can be. A measured one is to 5 % of
        the parameter.

    Raises
    ------
    InvalidInputError
        If an argument is missing or outside its range, or no parameter reaches the
        target: the message names what can be reached.
    AdjacencyError
        If the currency has no meaning for the mechanism's neighbors and sampling.

    Notes
    -----
    Adjacency and unit are those of the mechanism; two mechanisms with different ones
    are not comparable by epsilon. Equal success of one attack makes them comparable
    against that attack.

    Examples
    --------
    >>> from mlmethods.privacy import GaussianMechanism, calibrate
    >>> run = {"batch_size": 256, "data_size": 60_000, "steps": 3515, "delta": 1e-5}
    >>> found = calibrate(GaussianMechanism, target=2.0, **run)
    >>> round(found.noise_multiplier, 3)
    0.899
    """
    check_choice("by", by, _CURRENCIES)
    check_real("target", target, minimum=0, open_minimum=True)
    check_real(
        "delta", delta, minimum=0, maximum=1, open_minimum=True, open_maximum=True
    )
    name = _scale_name(mechanism_cls)
    low, high = _check_bounds(bounds)
    rate, count = _participation(
        sampling, q, batch_size, data_size, check_integer("steps", steps, minimum=1)
    )
    cost = _cost(by, p, batch_size, rate, count, delta, measure)

    def build(value: float) -> _Mechanism:
        return mechanism_cls(**{name: value}, **fixed)

    search = _Search(lambda value: cost(build(value)), target, low, high)
    if by in _MEASURED:
        return build(search.bisect())
    # More of a noise multiplier is less cost, but more of the currency "snr".
    rising = (name not in _NOISY) != (by == "snr")
    return build(search.solve(rising, safe=by != "snr"))


class _Search:
    """A monotone function of a positive parameter, searched on a log scale.

    Parameters
    ----------
    function : callable
        Evaluated once for each parameter.
    target : float
        The value that is looked for.
    low, high : float
        The ends of the search.
    """

    def __init__(
        self, function: Callable[[float], float], target: float, low: float, high: float
    ) -> None:
        self.function = function
        self.target = target
        self.low, self.high = low, high
        self._known: dict[float, float] = {}

    def __call__(self, place: float) -> float:
        """Return the value at the parameter ``exp(place)``."""
        if place not in self._known:
            value = float(self.function(min(max(math.exp(place), self.low), self.high)))
            if math.isnan(value):
                raise InvalidInputError(
                    f"what is calibrated must be a number, got nan at {math.exp(place):g}"
                )
            self._known[place] = value
        return self._known[place]

    def solve(self, rising: bool, *, safe: bool) -> float:
        """Return the parameter of the target; with `safe`, one that stays below it."""
        from scipy.optimize import brentq

        sign = 1.0 if rising else -1.0
        first, last = self._bracket(sign)

        def gap(place: float) -> float:
            # Bounded, so that an infinite cost does not stop the interpolation.
            value = self(place)
            ratio = math.log(value / self.target) if value > 0 else -50.0
            return min(max(ratio, -50.0), 50.0)

        if gap(first) * gap(last) >= 0:
            place = min((first, last), key=lambda x: abs(gap(x)))
        else:
            place = brentq(gap, first, last, xtol=_TOLERANCE, rtol=1e-12)
        move = _TOLERANCE
        while safe and self(place) > self.target:
            place -= sign * move
            move *= 2
        return min(max(math.exp(place), self.low), self.high)

    def _bracket(self, sign: float) -> tuple[float, float]:
        """Return two places about the target, from a factor of 4 on."""
        bottom, top = math.log(self.low), math.log(self.high)
        first = last = min(max(0.0, bottom), top)
        step = math.log(4)
        # Where the function rises, too large a value asks for a smaller parameter.
        while sign * (self(first) - self.target) > 0 and first > bottom:
            first, last, step = max(first - step, bottom), first, 1.5 * step
        while sign * (self(last) - self.target) < 0 and last < top:
            first, last, step = last, min(last + step, top), 1.5 * step
        for place, beyond in ((first, sign), (last, -sign)):
            if beyond * (self(place) - self.target) > 0:
                bound = "at least" if self(place) > self.target else "at most"
                raise InvalidInputError(
                    f"target must be {bound} {self(place):g}, which the parameter "
                    f"{math.exp(place):g} reaches, got {self.target:g}"
                )
        return first, last

    def bisect(self) -> float:
        """Return the parameter of the target for a noisy function of any direction."""
        first, last = math.log(self.low), math.log(self.high)
        rising = self(last) > self(first)
        lowest, highest = sorted((self(first), self(last)))
        if not lowest <= self.target <= highest:
            raise InvalidInputError(
                f"target must be between {lowest:g} and {highest:g}, which parameters "
                f"from {self.low:g} to {self.high:g} reach, got {self.target:g}"
            )
        while last - first > _MEASURED_TOLERANCE:
            middle = (first + last) / 2
            if (self(middle) < self.target) == rising:
                first = middle
            else:
                last = middle
        return math.exp((first + last) / 2)


def _scale_name(mechanism_cls: Any) -> str:
    """Return the field that is searched."""
    named: tuple[str, ...] = ()
    if dataclasses.is_dataclass(mechanism_cls):
        named = tuple(field.name for field in dataclasses.fields(mechanism_cls))
    for name in _SCALES:
        if name in named:
            return name
    raise InvalidInputError(
        f"mechanism_cls must be a mechanism with one of the fields "
        f"{', '.join(_SCALES)}, got {mechanism_cls!r}"
    )


def _check_bounds(bounds: Any) -> tuple[float, float]:
    if bounds is None:
        return _SMALLEST, _LARGEST
    if not isinstance(bounds, Sequence) or len(bounds) != 2:
        raise InvalidInputError(f"bounds must be a pair of numbers, got {bounds!r}")
    low, high = (check_real("bounds", x, minimum=0, open_minimum=True) for x in bounds)
    if low >= high:
        raise InvalidInputError(f"bounds must be increasing, got {bounds!r}")
    return low, high


def _participation(
    sampling: str | None,
    q: float | None,
    batch_size: int | None,
    data_size: int | None,
    steps: int,
) -> tuple[float | None, int]:
    """Return the rate of Poisson sampling, and how many steps count."""
    if sampling is not None:
        check_choice("sampling", sampling, ("poisson", "shuffle"))
    for name, size in (("batch_size", batch_size), ("data_size", data_size)):
        if size is not None:
            check_integer(name, size, minimum=1)
    if batch_size is not None and data_size is not None and batch_size > data_size:
        raise InvalidInputError(
            f"batch_size must be at most data_size, {data_size}, got {batch_size}"
        )
    if q is not None:
        check_real("q", q, minimum=0, maximum=1, open_minimum=True)
    sized = batch_size is not None and data_size is not None
    if sampling == "shuffle":
        if batch_size is None or data_size is None or q is not None:
            raise InvalidInputError(
                "batch_size and data_size must be given, and q not, with "
                "sampling='shuffle'"
            )
        return None, -(-steps // (data_size // batch_size))
    if q is not None and sized:
        raise InvalidInputError("q must not be given beside batch_size and data_size")
    if batch_size is not None and data_size is not None:
        return batch_size / data_size, steps
    if q is None and sampling == "poisson":
        raise InvalidInputError(
            "q, or batch_size and data_size, must be given with sampling='poisson'"
        )
    return q, steps


def _cost(
    by: str,
    p: int | Sequence[int] | None,
    batch_size: int | None,
    rate: float | None,
    count: int,
    delta: float,
    measure: Callable[[Any], float] | None,
) -> Callable[[Any], float]:
    """Return what a mechanism costs in a currency."""
    if by in _MEASURED:
        if measure is None:
            raise InvalidInputError(
                f"measure must be given with by={by!r}: a function of the mechanism"
            )
        return measure
    if measure is not None:
        raise InvalidInputError(
            f"measure must be None with by={by!r}; it is for 'mia' and 'reconstruction'"
        )
    if by in _SPENT:

        def spent(mechanism: Any) -> float:
            accountant = Accountant()
            accountant.step(mechanism, rate, count, p=p)
            if by == "pure":
                return accountant.pure_epsilon()
            return accountant.epsilon(delta, "pld" if by == "pld" else "rdp")

        return spent
    if p is None:
        raise InvalidInputError(f"p must be given with by={by!r}")
    if by == "snr" and batch_size is None:
        raise InvalidInputError("batch_size must be given with by='snr'")
    return lambda mechanism: _release_cost(by, mechanism, p, batch_size or 1)


def _release_cost(
    by: str, mechanism: Any, p: int | Sequence[int], batch_size: int
) -> float:
    """Return what one release of every group costs together."""
    from mlmethods.privacy import currencies

    parts = mechanism.parts(p)
    if by == "bayes":
        # Independent releases of independent secrets: capacities multiply.
        return sum(currencies.bayes_capacity(part, size) for part, size in parts)
    if by == "gdp":
        return math.hypot(*(currencies.gdp_mu(part, size) for part, size in parts))
    if len(parts) > 1:
        raise InvalidInputError(
            f"by='snr' is about one direction, got a mechanism with {len(parts)} groups"
        )
    ((part, size),) = parts
    return currencies.signal_to_noise(part, size, batch_size=batch_size)
