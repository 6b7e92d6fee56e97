"""What a run has spent: a ledger of releases, composed in several ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, Self

from mlmethods.common.validation import check_choice, check_real
from mlmethods.errors import (
    AccountantMismatchError,
    AdjacencyError,
    InvalidInputError,
    OperationNotSupportedError,
)
from mlmethods.interfaces import Adjacency, PrivacyMechanism, PrivacySpent
from mlmethods.privacy._composition import (
    best_delta,
    best_epsilon,
    delta_by,
    epsilon_by,
    pld_is_proven,
    pure_total,
    run_event,
)
from mlmethods.privacy._ledger import Entry, Metric, make_entry
from mlmethods.privacy._statement import assumptions, format_report, make_report, unit
from mlmethods.privacy.mechanisms import (
    GaussianMechanism,
    ProjectedNormalMechanism,
)

__all__ = ["Accountant"]

_ADJACENCIES = ("replace_one", "add_remove")
_METHODS = ("auto", "rdp", "pld")

Method = Literal["auto", "rdp", "pld"]


class Accountant:
    """Record the releases of a run and say what they spend together.

    Parameters
    ----------
    adjacency : {"replace_one", "add_remove"} or None, default=None
        The relation between neighboring datasets; None is that of the first mechanism.

    Attributes
    ----------
    adjacency : {"replace_one", "add_remove"} or None
        None before the first step.
    entries : tuple of Entry
        Equal consecutive steps are one entry with their count.
    n_steps : int
        Steps that were recorded.

    Raises
    ------
    AdjacencyError
        If `adjacency` is another.

    Notes
    -----
    The unit is one example: the guarantee is about its values (replace-one) or its
    presence (add or remove), and holds against whoever sees every release. Composition
    is adaptive: later steps may depend on earlier releases.

    Direction mechanisms are accounted for under replace-one only. With Poisson batches
    the example that is replaced takes part in both worlds or in neither, and its coin
    stays hidden; letting the adversary see it can only cost more, so that the pair
    ``(1 - q) atom + q P, (1 - q) atom + q Q`` dominates, where P and Q are the worst
    pair without sampling. With shuffled batches nothing is amplified: count the epochs,
    and give no rate.

    What is proven: Renyi divergences of every mechanism, and the loss distributions of
    all but the von Mises-Fisher mechanism, whose antipodal pair is conjectured, not
    proven, to be the worst for hockey-stick divergences. ``method="auto"`` uses what is
    proven only.

    Losses are composed in float64 by Fourier transforms: `delta` below about 1e-15
    times the number of steps is not resolved by ``"pld"`` and gives inf, never a value
    that is too small. So do losses that no grid in memory holds: a single Gaussian
    release with epsilon above 1e4, or more than about 1e8 steps.

    References
    ----------
    I. Mironov, "Renyi Differential Privacy", CSF (2017), arXiv:1702.07476.

    V. Doroshenko, B. Ghazi, P. Kamath, R. Kumar, P. Manurangsi, "Connect the Dots:
    Tighter Discrete Approximations of Privacy Loss Distributions", PoPETs (2022),
    arXiv:2207.04380.

    Examples
    --------
    Gaussian training of 15 epochs on 60,000 rows in Poisson batches of 256 on average:

    >>> from mlmethods.privacy import Accountant, GaussianMechanism
    >>> from mlmethods.privacy import VonMisesFisherMechanism
    >>> accountant = Accountant()
    >>> accountant.step(GaussianMechanism(1.1), q=256 / 60_000, count=3515)
    >>> round(accountant.epsilon(1e-5), 2)
    1.13

    Ten arrays of one gradient are ten releases:

    >>> accountant = Accountant()
    >>> layers = VonMisesFisherMechanism(50.0, granularity="layer")
    >>> accountant.step(layers, n_groups=10)
    >>> accountant.pure_epsilon()
    1000.0
    """

    def __init__(self, adjacency: Adjacency | None = None) -> None:
        self.adjacency = None if adjacency is None else _check_adjacency(adjacency)
        self.entries: tuple[Entry, ...] = ()
        # Mechanisms that a loaded account is bound to.
        self._bound: tuple[PrivacyMechanism, ...] | None = None

    def step(
        self,
        mechanism: PrivacyMechanism,
        q: float | None = None,
        count: int = 1,
        *,
        p: int | Sequence[int] | None = None,
        n_groups: int = 1,
    ) -> None:
        """Record equal steps of a run.

        Parameters
        ----------
        mechanism : PrivacyMechanism
            What releases the gradient of an example.
        q : float or None, default=None
            Rate of Poisson sampling, in (0, 1]. None where every step is one
            participation of each example: full batches, or `count` epochs of shuffled
            batches.
        count : int, default=1
            Number of steps.
        p : int or sequence of int, optional
            Dimension of each direction group; one number is that of every group.
            Direction mechanisms need it for Renyi and loss accounting, but not for
            pure epsilon. Under granularity ``"model"`` a sequence is summed.
        n_groups : int, default=1
            Number of direction groups where `p` does not tell: each is a release of
            its own. The Gaussian mechanism is one release whatever the groups.

        Raises
        ------
        AdjacencyError
            If the mechanism's relation is not the account's.
        AccountantMismatchError
            If the account was loaded and `mechanism` is not in it.
        OperationNotSupportedError
            If the mechanism has no guarantee to account for.
        InvalidInputError
            If a value is outside its range, or the groups do not fit the mechanism.
        """
        entry = make_entry(mechanism, q, count, p, n_groups)
        if isinstance(mechanism, ProjectedNormalMechanism):
            raise OperationNotSupportedError(
                "ProjectedNormalMechanism has no guarantee that could be accounted for; "
                "use VonMisesFisherMechanism, or train without an accountant"
            )
        if self._bound is not None and mechanism not in self._bound:
            raise AccountantMismatchError(
                f"mechanism must be one that the loaded account was opened for "
                f"({', '.join(map(repr, self._bound))}), got {mechanism!r}"
            )
        self._check_relation(entry)
        self.adjacency = mechanism.adjacency
        *before, last = self.entries or (None,)
        if last is not None and last.step == entry.step:
            merged = replace(last, count=last.count + entry.count)
            self.entries = (*before, merged)  # type: ignore[arg-type]
        else:
            self.entries = (*self.entries, entry)

    @property
    def n_steps(self) -> int:
        """Steps that were recorded."""
        return sum(entry.count for entry in self.entries)

    @property
    def pld_is_proven(self) -> bool:
        """Whether loss distributions rest on no conjecture: no von Mises-Fisher."""
        return pld_is_proven(self.entries)

    def epsilon(self, delta: float, method: Method = "auto") -> float:
        """Return epsilon at `delta` for one example under `adjacency`.

        Parameters
        ----------
        delta : float
            In (0, 1).
        method : {"auto", "rdp", "pld"}, default="auto"
            Renyi divergences, privacy loss distributions, or the smallest that is
            proven, pure epsilon included.

        Returns
        -------
        float
            An upper bound; inf where there is none.

        Raises
        ------
        InvalidInputError
            If `delta` or `method` is outside its range, or dimensions are missing.
        """
        _check_delta(delta)
        return self._resolve(delta, check_choice("method", method, _METHODS))[0]

    def delta(self, epsilon: float, method: Method = "auto") -> float:
        """Return delta at `epsilon` for one example under `adjacency`.

        Parameters
        ----------
        epsilon : float
            At least 0.
        method : {"auto", "rdp", "pld"}, default="auto"
            As for `epsilon`.

        Returns
        -------
        float
            An upper bound, in [0, 1].

        Raises
        ------
        InvalidInputError
            If `epsilon` or `method` is outside its range, or dimensions are missing.
        """
        check_real("epsilon", epsilon, minimum=0)
        check_choice("method", method, _METHODS)
        if not self.entries:
            return 0.0
        if method == "auto":
            return best_delta(self.entries, epsilon)
        return delta_by(method, self.entries, epsilon)

    def pure_epsilon(self) -> float:
        """Return epsilon of pure differential privacy for one example.

        The sum over direction groups and participations, for the account's adjacency.

        Returns
        -------
        float
            inf where a mechanism has none.

        Raises
        ------
        AdjacencyError
            If batches are Poisson and neighbors replace one example: amplification of
            pure privacy is a statement about an example's presence, and an absent
            example has no direction to release.
        """
        return pure_total(self.entries)

    def metric_epsilon(self, metric: Metric = "chord") -> float:
        """Return the bound on the log ratio of densities per unit of a metric.

        The sum over direction groups and participations: what it costs, for the
        account's adjacency, if each direction of one example's gradients moves by one
        unit. It needs no delta, and sampling does not raise it.

        Parameters
        ----------
        metric : {"chord", "angle"}, default="chord"
            Distance between unit vectors.

        Returns
        -------
        float
            inf where a mechanism has none.

        Raises
        ------
        InvalidInputError
            If `metric` is another.
        """
        check_choice("metric", metric, ("chord", "angle"))
        return sum(
            (
                entry.count * release.times * release.metric_epsilon(metric)
                for entry in self.entries
                for release in entry.releases
            ),
            start=0.0,
        )

    def spent(
        self, delta: float, method: Literal["auto", "rdp", "pld", "pure"] = "auto"
    ) -> PrivacySpent:
        """Return epsilon with everything that a reader needs to judge it.

        Parameters
        ----------
        delta : float
            In (0, 1); not read by ``"pure"``, whose delta is 0.
        method : {"auto", "rdp", "pld", "pure"}, default="auto"
            As for `epsilon`; what ``"auto"`` used is in the result.

        Returns
        -------
        PrivacySpent

        Raises
        ------
        InvalidInputError
            If nothing was recorded, or as `epsilon` does.
        AdjacencyError
            As `pure_epsilon` does.

        Examples
        --------
        >>> from mlmethods.privacy import Accountant, VonMisesFisherMechanism
        >>> accountant = Accountant()
        >>> accountant.step(VonMisesFisherMechanism(0.5), p=1000)
        >>> spent = accountant.spent(1e-5)
        >>> spent.method, spent.adjacency, round(spent.epsilon, 3)
        ('rdp', 'replace_one', 0.108)
        """
        check_choice("method", method, (*_METHODS, "pure"))
        if self.adjacency is None or not self.entries:
            raise InvalidInputError("the accountant has recorded no step yet")
        used: str = method
        if method == "pure":
            epsilon, delta = self.pure_epsilon(), 0.0
        else:
            _check_delta(delta)
            epsilon, used = self._resolve(delta, method)
        return PrivacySpent(
            epsilon=epsilon,
            delta=delta,
            adjacency=self.adjacency,
            unit=unit(self.entries),
            method=used,
            proven=used != "pld" or self.pld_is_proven,
            assumptions=assumptions(self.entries, used),
        )

    def report(self, delta: float = 1e-5) -> dict[str, Any]:
        """Return what was spent, by every way of composing, as a dictionary.

        Parameters
        ----------
        delta : float, default=1e-5
            In (0, 1).

        Returns
        -------
        dict
            ``adjacency``, ``unit``, ``steps``, ``delta``, ``epsilon`` (the smallest
            that is proven) with its ``method``, ``rdp_epsilon``, ``pld_epsilon`` with
            ``pld_proven``, ``pure_epsilon``, ``metric_epsilon`` (per unit of chord),
            ``releases`` (one a kind of step: the mechanism, how batches were drawn,
            steps, groups, and what one participation costs in all its groups) and
            ``assumptions``. None where a number is not defined, with the reason in
            ``notes``; inf where there is no bound.

        Raises
        ------
        InvalidInputError
            If `delta` is outside its range.
        """
        return make_report(self, _check_delta(delta))

    def dp_event(self) -> Any:
        """Return the run as an event of the dp-accounting library.

        Returns
        -------
        dp_accounting.DpEvent
            Noise multipliers are relative to the sensitivity under the account's
            adjacency. Releases of directions are events of this library, which
            accountants of dp-accounting refuse.

        Examples
        --------
        >>> from mlmethods.privacy import Accountant, GaussianMechanism
        >>> accountant = Accountant()
        >>> accountant.step(GaussianMechanism(1.1), q=0.01, count=100)
        >>> accountant.dp_event().count
        100
        """
        return run_event(self.entries)

    def state_dict(self) -> dict[str, Any]:
        """Return the account as JSON-able values for `load_state_dict`."""
        return {
            "version": 1,
            "adjacency": self.adjacency,
            "entries": [entry.to_dict() for entry in self.entries],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replace the account by a stored one, and bind it to its mechanisms.

        Later steps must be of a mechanism that the stored account has.

        Parameters
        ----------
        state : mapping
            Of `state_dict`.

        Raises
        ------
        InvalidInputError
            If it is not a stored account.
        AdjacencyError
            If this account was opened for another relation between neighbors.
        """
        try:
            version = state["version"]
            adjacency = state["adjacency"]
            entries = tuple(Entry.from_dict(values) for values in state["entries"])
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInputError(
                f"state must be the state_dict of an Accountant: {error!r}"
            ) from error
        if version != 1:
            raise InvalidInputError(f"state must be of version 1, got {version!r}")
        if adjacency is not None:
            _check_adjacency(adjacency)
        loaded = Accountant(adjacency)
        for entry in entries:
            loaded._check_relation(entry)
        if adjacency is not None and self.adjacency not in (None, adjacency):
            raise AdjacencyError(
                f"the account is for adjacency {self.adjacency!r}, the state for "
                f"{adjacency!r}"
            )
        self.adjacency = adjacency or self.adjacency
        self.entries = entries
        bound = dict.fromkeys(entry.mechanism for entry in entries)
        self._bound = tuple(bound) or None

    def copy(self) -> Self:
        """Return an account that goes on from here on its own."""
        other = type(self)(self.adjacency)
        other.entries, other._bound = self.entries, self._bound
        return other

    def __repr__(self) -> str:
        return f"Accountant(adjacency={self.adjacency!r}, {self.n_steps} steps)"

    def __str__(self) -> str:
        return format_report(self.report())

    def _check_relation(self, entry: Entry) -> None:
        """Refuse a mechanism for other neighbors than the account's."""
        mechanism = entry.mechanism
        adjacency = _check_adjacency(mechanism.adjacency)
        directional = not isinstance(mechanism, GaussianMechanism)
        if entry.rate is not None and directional and self.adjacency == "add_remove":
            raise AdjacencyError(
                f"Poisson sampling under adjacency 'add_remove' needs an output for an "
                f"absent example, which {type(mechanism).__name__} does not have; use "
                f"adjacency 'replace_one'"
            )
        if self.adjacency not in (None, adjacency):
            raise AdjacencyError(
                f"the account is for adjacency {self.adjacency!r} and "
                f"{type(mechanism).__name__} for {adjacency!r}; guarantees for "
                f"different neighbors do not add up"
                + (
                    ""
                    if directional
                    else f" (GaussianMechanism takes adjacency={self.adjacency!r})"
                )
            )

    def _resolve(self, delta: float, method: str) -> tuple[float, str]:
        """Return epsilon and the method that gave it."""
        if not self.entries:
            return 0.0, "rdp" if method == "auto" else method
        if method == "auto":
            return best_epsilon(self.entries, delta)
        return epsilon_by(method, self.entries, delta), method


def _check_adjacency(adjacency: Any) -> Adjacency:
    if adjacency not in _ADJACENCIES:
        raise AdjacencyError(
            f"adjacency must be one of 'replace_one', 'add_remove', got {adjacency!r}"
        )
    return adjacency


def _check_delta(delta: float) -> float:
    bounds: Any = {"minimum": 0, "maximum": 1}
    return check_real("delta", delta, **bounds, open_minimum=True, open_maximum=True)
