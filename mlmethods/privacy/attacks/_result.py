"""Error rates of an attack on membership, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlmethods.common.rng import generator
from mlmethods.common.statistics import Interval, auc, roc_curve
from mlmethods.common.validation import check_integer, check_real
from mlmethods.interfaces import NDArray

__all__ = ["MembershipResult", "membership_result"]

LOW_RATES = (0.001, 0.01)
"""False positive rates at which the true positive rate is reported."""

# Numbers in one block of bootstrap resamples.
_BLOCK = 4_000_000


@dataclass(frozen=True, kw_only=True, eq=False)
class MembershipResult:
    """Scores of an attack on membership, and its error rates.

    Attributes
    ----------
    attack : str
        Name of the attack.
    scores : ndarray of shape (n,)
        Higher says member.
    membership : bool ndarray of shape (n,)
        Who was a member.
    fpr, tpr : ndarray of shape (thresholds + 1,)
        Share of others taken for members, and of members found, at every threshold.
    auc : float
        Area under that curve; 0.5 is guessing.
    balanced_accuracy : float
        Mean of both rates of correct answers at the best threshold in hindsight, so
        that it is above 0.5 for guesses too.
    tpr_at_fpr : dict of float to float
        Largest true positive rate at a false positive rate of at most 0.1 % and 1 %.
    intervals : dict of str to Interval
        Bootstrap intervals of ``"auc"``, ``"balanced_accuracy"``,
        ``"tpr_at_fpr_0.001"`` and ``"tpr_at_fpr_0.01"``.
    level : float
        Confidence of the intervals.
    """

    attack: str
    scores: NDArray
    membership: NDArray
    fpr: NDArray
    tpr: NDArray
    auc: float
    balanced_accuracy: float
    tpr_at_fpr: Mapping[float, float]
    intervals: Mapping[str, Interval]
    level: float

    @property
    def auc_interval(self) -> tuple[float, float]:
        """The ends of the interval of the area under the curve."""
        found = self.intervals["auc"]
        return found.low, found.high

    def low_fpr_rows(self) -> list[tuple[float, float, tuple[float, float]]]:
        """Return false positive rate, true positive rate and its interval, each low rate.

        Few others make the first rate coarse: with fewer than 1000 of them, at most
        0.1 % false positives means none.
        """
        rows = []
        for rate, found in self.tpr_at_fpr.items():
            interval = self.intervals[f"tpr_at_fpr_{rate:g}"]
            rows.append((rate, found, (interval.low, interval.high)))
        return rows

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers for JSON, without scores and curve."""
        members = int(self.membership.sum())
        result: dict[str, Any] = {
            "attack": self.attack,
            "members": members,
            "others": len(self.membership) - members,
            "level": self.level,
        }
        for name, interval in self.intervals.items():
            result[name] = interval.estimate
            result[f"{name}_low"] = interval.low
            result[f"{name}_high"] = interval.high
        return result

    def __repr__(self) -> str:
        low, high = self.auc_interval
        return (
            f"MembershipResult({self.attack}: auc={self.auc:.3f} "
            f"[{low:.3f}, {high:.3f}], {len(self.scores)} examples)"
        )


def membership_result(
    attack: str,
    scores: NDArray,
    membership: NDArray,
    n_bootstrap: int,
    level: float,
    rng: Any,
) -> MembershipResult:
    """Return the rates of an attack's scores, and their intervals."""
    n_bootstrap = check_integer("n_bootstrap", n_bootstrap, minimum=2)
    level = check_real(
        "level", level, minimum=0, maximum=1, open_minimum=True, open_maximum=True
    )
    area = auc(membership, scores)
    fpr, tpr = roc_curve(membership, scores)
    estimates = _rates(fpr[None], tpr[None])[0]
    drawn = _bootstrap(scores, membership, n_bootstrap, generator(rng))
    ends = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    names = ["auc", "balanced_accuracy", *(f"tpr_at_fpr_{r:g}" for r in LOW_RATES)]
    intervals = {
        name: Interval(float(value), float(low), float(high))
        for name, value, low, high in zip(names, estimates, *ends, strict=True)
    }
    return MembershipResult(
        attack=attack,
        scores=scores,
        membership=membership,
        fpr=fpr,
        tpr=tpr,
        auc=area,
        balanced_accuracy=float(estimates[1]),
        tpr_at_fpr=dict(zip(LOW_RATES, map(float, estimates[2:]), strict=True)),
        intervals=intervals,
        level=level,
    )


def _rates(fpr: NDArray, tpr: NDArray) -> NDArray:
    """Return [curves, 4]: area, balanced accuracy, and true positives at low rates."""
    low = [np.where(fpr <= rate, tpr, 0).max(axis=1) for rate in LOW_RATES]
    balanced = 0.5 + (tpr - fpr).max(axis=1) / 2
    return np.stack([np.trapezoid(tpr, fpr, axis=1), balanced, *low], axis=1)


def _bootstrap(
    scores: NDArray, membership: NDArray, n: int, rng: np.random.Generator
) -> NDArray:
    """Return the rates of `n` resamples of members and of others, each drawn apart."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    # A threshold lies after the last of equal scores.
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    members = membership[order]
    parts = []
    block = max(1, _BLOCK // len(scores))
    for first in range(0, n, block):
        count = min(block, n - first)
        curves = []
        for side in (~members, members):
            places = np.flatnonzero(side)
            chosen = places[rng.integers(0, len(places), (count, len(places)))]
            flat = chosen + len(scores) * np.arange(count)[:, None]
            times = np.bincount(flat.ravel(), minlength=count * len(scores))
            found = np.cumsum(times.reshape(count, -1), axis=1)[:, ends]
            curves.append(np.pad(found / len(places), ((0, 0), (1, 0))))
        parts.append(_rates(*curves))
    return np.concatenate(parts)
