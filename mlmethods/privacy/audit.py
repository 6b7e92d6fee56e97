"""Measure what a mechanism, or a whole training run, reveals at least."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mlmethods.backend import get_backend
from mlmethods.common.rng import generator
from mlmethods.common.statistics import clopper_pearson
from mlmethods.common.validation import check_choice, check_integer, check_real
from mlmethods.errors import (
    InvalidInputError,
    OperationNotSupportedError,
    SamplerError,
)
from mlmethods.interfaces import Adjacency, Backend, Key, NDArray, PrivacyMechanism
from mlmethods.privacy.attacks.shadows import read_pair

__all__ = ["AuditResult", "canary_epsilon", "train_audit"]

# Numbers in one block of releases.
_BLOCK = 4_000_000
_NEIGHBORS = {
    "replace_one": "neighbors differ in the values of one example",
    "add_remove": "neighbors differ in the presence of one example",
}


@dataclass(frozen=True, kw_only=True)
class AuditResult:
    """A lower bound on what is revealed, beside the claim.

    Attributes
    ----------
    lower : float
        Lower bound on epsilon at `delta`.
    upper_claimed : float
        Epsilon at `delta` that the mechanism, or the accountant, claims.
    consistent : bool
        Whether no lower bound exceeds its claim. True is no proof of the claim; False
        refutes it, but for an event of probability `significance`.
    delta : float
        Of both bounds.
    significance : float
        Probability that a lower bound is wrong, all of them together.
    n : int
        Releases of each of two canaries, or canaries of a run.
    method : str
        How the bound on epsilon was found.
    adjacency : {"replace_one", "add_remove"}
        What the two worlds differ in.
    unit : str
        What is protected, in words.
    lower_delta, claimed_delta : float or None
        Lower bound on delta at epsilon 0, the total variation between the two worlds,
        and its claim; None where it was not measured.
    proven : bool
        Whether the lower bound is rigorous; `assumptions` says what it rests on.
    assumptions : tuple of str
        What the bounds rest on.
    """

    lower: float
    upper_claimed: float
    consistent: bool
    delta: float
    significance: float
    n: int
    method: str
    adjacency: Adjacency
    unit: str
    lower_delta: float | None = None
    claimed_delta: float | None = None
    proven: bool = True
    assumptions: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the fields for JSON; an infinite claim is None."""
        fields = dataclasses.asdict(self)
        fields["assumptions"] = list(self.assumptions)
        if math.isinf(self.upper_claimed):
            fields["upper_claimed"] = None
        return fields

    def __str__(self) -> str:
        lines = [
            f"epsilon at delta {self.delta:g}: at least {self.lower:.4g}, claimed at "
            f"most {self.upper_claimed:.4g} ({self.method}, n = {self.n:,}, "
            f"significance {self.significance:g})",
            f"{_NEIGHBORS[self.adjacency]}; unit: {self.unit}",
        ]
        if self.lower_delta is not None and self.claimed_delta is not None:
            lines.append(
                f"delta at epsilon 0: at least {self.lower_delta:.4g}, claimed at most "
                f"{self.claimed_delta:.4g}"
            )
        if not self.consistent:
            lines.append("INCONSISTENT: a lower bound exceeds its claim")
        return "\n".join(lines)


def canary_epsilon(
    mechanism: PrivacyMechanism,
    p: int,
    n: int = 10_000,
    delta: float = 1e-5,
    significance: float = 1e-4,
    *,
    rng: Any = None,
    backend: str | Backend = "numpy",
) -> AuditResult:
    """Release two neighboring gradients many times, and bound epsilon from below.

    The gradients are the worst pair of one release: opposite directions for replace-one
    neighbors; one direction and nothing but noise for a Gaussian under add-remove. They
    are told apart by their likelihood ratio.

    Parameters
    ----------
    mechanism : PrivacyMechanism
        One of this package, for one direction; take one with numbers for several groups
        apart with its ``parts(dimensions)``, and audit each part.
    p : int
        Dimension of what is released, at least 2.
    n : int
        Releases of each gradient, at least 20.
    delta : float
        Where epsilon is bounded, in [0, 1).
    significance : float
        Probability that a lower bound exceeds the truth, in (0, 0.5). The bounds on
        epsilon and on delta have one half each.
    rng : None, int or numpy.random.Generator
        Who draws the direction, the releases and the split of the scores.
    backend : str or Backend, default="numpy"
        Whose releases are audited; see :func:`mlmethods.get_backend`. The bound itself
        is that of the JAX-Privacy library.

    Returns
    -------
    AuditResult
        `upper_claimed` is the smaller of the mechanism's pure epsilon and the epsilon
        at which its delta is `delta`, for one release without sampling.

    Raises
    ------
    InvalidInputError
        If an argument is outside its range.
    SamplerError
        If the mechanism did not accept a draw.

    Notes
    -----
    No bound from n releases can exceed about ``log n``, so that a large epsilon is never
    reached; the bound on delta at epsilon 0 then says more. It uses a threshold that is
    fixed beforehand; that on epsilon is chosen on half of the releases and evaluated on
    the other half. Work is O(n p) in blocks of bounded memory.

    References
    ----------
    M. Nasr, S. Song, A. Thakurta, N. Papernot, N. Carlini, "Adversary instantiation:
    lower bounds for differentially private machine learning" (2021), arXiv:2101.04535.

    Examples
    --------
    >>> from mlmethods.privacy import VonMisesFisherMechanism
    >>> from mlmethods.privacy.audit import canary_epsilon
    >>> result = canary_epsilon(VonMisesFisherMechanism(1.0), p=3, rng=0)
    >>> result.consistent, result.lower > 0.8, result.lower_delta > 0.4
    (True, True, True)
    """
    p = check_integer("p", p, minimum=2)
    n = check_integer("n", n, minimum=20)
    delta = check_real("delta", delta, minimum=0, maximum=1)
    significance = _significance(significance)
    part = mechanism.parts(p)[0][0] if hasattr(mechanism, "parts") else mechanism
    draw = generator(rng)
    inside, outside, threshold = _canary_scores(part, p, n, draw, backend)
    lower = _engine_bound(
        "clopper_pearson",
        inside,
        outside,
        significance=significance / 2,
        delta=delta,
        seed=int(draw.integers(2**31)),
    )
    # Both rates at a quarter each: with the bound on epsilon, the whole significance.
    level = 1 - significance / 4
    found, false = int((inside > threshold).sum()), int((outside > threshold).sum())
    share = clopper_pearson(found, n, level=level, side="lower").low
    share -= clopper_pearson(false, n, level=level, side="upper").high
    lower_delta = max(0.0, share)
    claimed = _claimed_epsilon(part, p, delta)
    claimed_delta = _claimed_delta(part, p)
    return AuditResult(
        lower=lower,
        upper_claimed=claimed,
        consistent=lower <= claimed and lower_delta <= claimed_delta,
        delta=delta,
        significance=significance,
        n=n,
        method="clopper_pearson",
        adjacency=part.adjacency,
        unit=part.unit,
        lower_delta=lower_delta,
        claimed_delta=claimed_delta,
        assumptions=(
            "one release without sampling of a direction that the attacker chose",
        ),
    )


def _canary_scores(
    mechanism: Any, p: int, n: int, rng: np.random.Generator, backend: Any
) -> tuple[NDArray, NDArray, float]:
    """Return scores of both worlds, and a threshold between them."""
    chosen = get_backend(backend, "engine:privacy")
    engine = chosen.engine("privacy")
    config = dataclasses.replace(mechanism.config(), granularity="model", norm=1.0)
    direction = rng.standard_normal(p)
    direction /= np.linalg.norm(direction)
    additive = mechanism.adjacency == "add_remove"
    if additive and config.kind != "gaussian":
        raise OperationNotSupportedError(
            f"an audit of {config.kind!r} needs adjacency 'replace_one': what an absent "
            "example releases is not defined"
        )
    block = max(1, min(n, _BLOCK // p))
    seeds = np.random.SeedSequence(int(rng.integers(2**63))).spawn(2 * -(-n // block))

    def world(sign: float, seeds: list[np.random.SeedSequence]) -> NDArray:
        rows = np.tile(sign * direction, (block, 1))
        scores = []
        for seed in seeds:
            released = np.asarray(
                engine.release(chosen.key(seed), rows, config), np.float64
            )
            if not np.isfinite(released).all():
                raise SamplerError("the mechanism did not accept a draw for every row")
            scores.append(_statistic(config.kind, released, direction))
        return np.concatenate(scores)[:n]

    half = len(seeds) // 2
    inside = world(1.0, seeds[:half])
    if additive:
        # Its noise is added: without the example it is what is left.
        return inside, world(1.0, seeds[half:]) - 1.0, 0.5
    return inside, world(-1.0, seeds[half:]), 0.0


def _statistic(kind: str, released: NDArray, direction: NDArray) -> NDArray:
    """Return what the likelihood ratio of the two directions grows with."""
    if kind == "euclidean_laplace":
        near = np.linalg.norm(released - direction, axis=1)
        return np.linalg.norm(released + direction, axis=1) - near
    if kind == "coordinate_laplace":
        near = np.abs(released - direction).sum(axis=1)
        return np.abs(released + direction).sum(axis=1) - near
    return released @ direction


def _claimed_epsilon(mechanism: Any, p: int, delta: float) -> float:
    """Return the smallest epsilon that the mechanism claims at `delta`."""
    pure = float(mechanism.pure_epsilon(p))
    if delta == 0:
        return pure
    try:
        if float(mechanism.delta(0.0, p)) <= delta:
            return 0.0
        low, high = 0.0, 1.0
        while float(mechanism.delta(high, p)) > delta:
            low, high = high, 2 * high
            if high > 1e9:
                return pure
    except OperationNotSupportedError:
        return pure
    # Each round narrows the interval 64 times; the upper end keeps the claim.
    for _ in range(6):
        grid = np.linspace(low, high, 65)
        first = int(np.argmax(np.asarray(mechanism.delta(grid, p)) <= delta))
        low, high = float(grid[first - 1]), float(grid[first])
    return min(pure, high)


def _claimed_delta(mechanism: Any, p: int) -> float:
    try:
        return float(mechanism.delta(0.0, p))
    except OperationNotSupportedError:
        return 1.0


def train_audit(
    make_trainer: Callable[[], Any],
    ds: Any,
    canaries: Any,
    *,
    alternatives: Any = None,
    epochs: int,
    key: Key | int,
    delta: float = 1e-5,
    significance: float = 0.05,
    method: Literal["one_run", "clopper_pearson", "gdp"] = "one_run",
    rng: Any = None,
) -> AuditResult:
    """Train once with canaries that are in or out by coins, and bound epsilon below.

    Under replace-one neighbors each canary, or the alternative in its place, is in the
    data; under add-remove it is in or absent. The trained network's losses say which.

    Parameters
    ----------
    make_trainer : callable
        Returns a new :class:`mlmethods.privacy.DPTrainer`. Its `data_size` is the
        number of rows with all canaries.
    ds : pair of arrays, or dict with "x" and "y"
        The other rows; integer labels.
    canaries : pair of arrays, or dict with "x" and "y"
        Examples that leave a trace, such as images with wrong labels; some hundreds.
    alternatives : pair of arrays, or dict with "x" and "y", optional
        What takes the place of each canary under replace-one; by default the same
        inputs with the next label, ``(y + 1)`` modulo the number of classes.
    epochs : int
        For ``trainer.fit``.
    key : key or int
        Of the training run; independent of `rng`.
    delta : float
        Where epsilon is bounded, in (0, 1).
    significance : float
        Probability that the lower bound is wrong, in (0, 0.5).
    method : {"one_run", "clopper_pearson", "gdp"}
        Only the first is valid for the canaries of one run. The others take their
        scores for independent, and ``"gdp"`` also takes the trade-off for a Gaussian
        one; they find more and prove nothing.
    rng : None, int or numpy.random.Generator
        Who draws the coins and the split of the scores.

    Returns
    -------
    AuditResult
        `upper_claimed` is the trainer's accountant's epsilon.

    Raises
    ------
    InvalidInputError
        If the data do not fit together, or an option is outside its range.

    References
    ----------
    T. Steinke, M. Nasr, M. Jagielski, "Privacy auditing with one (1) training run",
    NeurIPS (2023), arXiv:2305.08846.
    """
    X, y = read_pair("ds", ds)
    canary = read_pair("canaries", canaries)
    epochs = check_integer("epochs", epochs, minimum=1)
    delta = check_real(
        "delta", delta, minimum=0, maximum=1, open_minimum=True, open_maximum=True
    )
    significance = _significance(significance)
    check_choice("method", method, ("one_run", "clopper_pearson", "gdp"))
    if canary[0].shape[1:] != X.shape[1:]:
        raise InvalidInputError(
            f"canaries must have inputs of shape {X.shape[1:]}, got "
            f"{canary[0].shape[1:]}"
        )
    trainer = make_trainer()
    adjacency = trainer.mechanism.adjacency
    other = (
        _alternatives(alternatives, canary, y) if adjacency == "replace_one" else None
    )
    draw = generator(rng)
    kept = draw.random(len(canary[1])) < 0.5
    if kept.all() or not kept.any():
        raise InvalidInputError(
            f"canaries must be enough that some are in and some out, got {len(kept)}"
        )
    data = _with_canaries((X, y), canary, other, kept, draw)
    trainer.fit(data, epochs=epochs, key=key)
    scores = -np.asarray(trainer.losses(canary), np.float64)
    if other is not None:
        scores = scores + np.asarray(trainer.losses(other), np.float64)
    lower = _engine_bound(
        method,
        scores[kept],
        scores[~kept],
        significance=significance,
        delta=delta,
        seed=int(draw.integers(2**31)),
    )
    claimed = float(trainer.accountant.epsilon(delta))
    notes = ["each canary was in or out by a fair coin of its own"]
    if method != "one_run":
        notes.append("the scores of one run's canaries are taken for independent")
    if method == "gdp":
        notes.append("error rates are those of a Gaussian mechanism, at all thresholds")
    return AuditResult(
        lower=lower,
        upper_claimed=claimed,
        consistent=lower <= claimed,
        delta=delta,
        significance=significance,
        n=len(kept),
        method=method,
        adjacency=adjacency,
        unit=trainer.mechanism.unit,
        proven=method == "one_run",
        assumptions=tuple(notes),
    )


def _alternatives(
    given: Any, canary: tuple[NDArray, NDArray], y: NDArray
) -> tuple[NDArray, NDArray]:
    """Return what stands in for each canary."""
    X, labels = canary
    if given is None:
        classes = int(max(y.max(), labels.max())) + 1
        return X, ((labels + 1) % classes).astype(labels.dtype)
    other = read_pair("alternatives", given)
    if other[0].shape != X.shape:
        raise InvalidInputError(
            f"alternatives must have the shape of canaries {X.shape}, got "
            f"{other[0].shape}"
        )
    return other


def _with_canaries(
    data: tuple[NDArray, NDArray],
    canary: tuple[NDArray, NDArray],
    other: tuple[NDArray, NDArray] | None,
    kept: NDArray,
    rng: np.random.Generator,
) -> tuple[NDArray, NDArray]:
    """Return the training rows of one outcome of the coins, in an order without trace."""
    parts = []
    for i, rows in enumerate(data):
        if other is None:
            added = canary[i][kept]
        else:
            flags = kept.reshape(-1, *[1] * (canary[i].ndim - 1))
            added = np.where(flags, canary[i], other[i])
        parts.append(np.concatenate([rows, added.astype(rows.dtype)]))
    order = rng.permutation(len(parts[0]))
    return parts[0][order], parts[1][order]


def _engine_bound(
    method: str, inside: NDArray, outside: NDArray, **options: Any
) -> float:
    engine = get_backend("jax", "engine:privacy").engine("privacy")
    return float(engine.audit(method, inside, outside, **options))


def _significance(value: Any) -> float:
    return check_real(
        "significance",
        value,
        minimum=0,
        maximum=0.5,
        open_minimum=True,
        open_maximum=True,
    )
