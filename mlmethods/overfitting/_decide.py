"""From curves over sizes and noise levels to one of four labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import NDArray
from mlmethods.overfitting._bootstrap import Resamples, interval
from mlmethods.overfitting._curves import Curves

__all__ = [
    "Decision",
    "decide_classification",
    "decide_regression",
    "share_of_chance",
]

LABELS = ("benign", "tempered", "catastrophic")
LEAST_RESOLVED = 3
# An excess cost, or a share of the way to chance, that nobody minds.
NEGLIGIBLE = 0.05
# A learner this close to guessing without any noise has no way to fall.
_SMALLEST_GAP = 0.02
# Keeps a level at which a learner happens to be perfect from deciding alone.
_WEIGHT_FLOOR = 0.05
_SMALLEST_EXCESS = 1e-9


@dataclass(frozen=True)
class Decision:
    """What the curves say; arrays have one entry for each size."""

    label: str
    probabilities: dict[str, float]
    estimate: NDArray
    ends: NDArray
    slope: float
    slope_ends: NDArray
    evidence: dict[str, Any]


def decide_regression(
    curves: Curves, bayes: float | None, resamples: Resamples, g0: float
) -> Decision:
    """Decide on E0, the slope of the risk in the noise variance, and its trend."""
    per_seed, intercept = _costs(curves, bayes)
    estimate = per_seed.mean(axis=1)
    drawn = resamples.means(per_seed.T)
    spread = resamples.spread(estimate, drawn)
    ends = interval(spread, resamples.level)
    evidence: dict[str, Any] = {"risk_without_noise": intercept.tolist()}
    used = np.flatnonzero(curves.resolved)
    trend = _Trend(curves.n[used], estimate[used] - 1, drawn[:, used] - 1, resamples)
    evidence.update(trend.evidence())
    if len(used) < LEAST_RESOLVED:
        return Decision(
            "undetermined", _unknown(), estimate, ends, *trend.slopes(), evidence
        )
    last = used[-1]
    low, high = ends[:, last] - 1
    at_floor = bool(low <= 0)
    evidence["excess_at_floor"] = at_floor
    slope = trend.replicates
    if at_floor:
        # The logarithm of noise around zero has no slope: its size decides.
        benign = (spread[:, last] - 1 < NEGLIGIBLE) | (slope < -g0)
    else:
        benign = (slope < -g0) | (spread[:, last] <= 1)
    growing = ~benign & (slope > g0)
    probabilities = _shares(benign, ~benign & ~growing, growing)
    first, second = trend.ends
    if second < -g0 or (at_floor and high < NEGLIGIBLE):
        label = "benign"
    elif first > g0 and not at_floor:
        label = "catastrophic"
    elif -g0 <= first and second <= g0 and not at_floor:
        label = "tempered"
    else:
        label = "undetermined"
    return Decision(label, probabilities, estimate, ends, *trend.slopes(), evidence)


def decide_classification(
    curves: Curves,
    bayes: float | None,
    chance: float,
    resamples: Resamples,
) -> Decision:
    """Decide on tau, how far noise takes the risk towards chance at the largest n."""
    has_clean = curves.noise[0] == 0
    if bayes is None and not has_clean:
        raise InvalidInputError(
            "bayes must be given for noise levels that do not include 0, got "
            f"noise={curves.noise.tolist()}"
        )
    by_seed = curves.risk.transpose(1, 0, 2)
    drawn = resamples.means(by_seed)
    middle = by_seed.mean(axis=0)
    estimate = share_of_chance(middle, curves.noise, bayes, chance)
    replicates = share_of_chance(drawn, curves.noise, bayes, chance)
    spread = resamples.spread(estimate, replicates)
    defined = np.isfinite(replicates).all(axis=0) & np.isfinite(estimate)
    ends = np.full((2, len(curves.n)), np.nan)
    ends[:, defined] = interval(spread[:, defined], resamples.level)
    used = np.flatnonzero(curves.resolved & defined)
    evidence: dict[str, Any] = {
        "bayes": bayes if bayes is not None else "the risk without noise at each n",
        "chance": chance,
        "risk_without_noise": middle[:, 0].tolist() if has_clean else None,
        "near_chance_without_noise": curves.n[~defined].tolist(),
    }
    # The trend is of what noise adds, else a falling bias would look like one.
    own = None if has_clean else bayes
    trend = _Trend(
        curves.n[used],
        share_of_chance(middle, curves.noise, own, chance)[used],
        share_of_chance(drawn, curves.noise, own, chance)[:, used],
        resamples,
    )
    evidence.update(trend.evidence())
    if len(used) < LEAST_RESOLVED:
        return Decision(
            "undetermined", _unknown(), estimate, ends, *trend.slopes(), evidence
        )
    last = spread[:, used[-1]]
    low, high = ends[:, used[-1]]
    probabilities = _shares(
        last < NEGLIGIBLE,
        (last >= NEGLIGIBLE) & (last <= 1 - NEGLIGIBLE),
        last > 1 - NEGLIGIBLE,
    )
    if high < NEGLIGIBLE:
        label = "benign"
    elif low > 1 - NEGLIGIBLE:
        label = "catastrophic"
    elif low >= NEGLIGIBLE and high <= 1 - NEGLIGIBLE:
        label = "tempered"
    else:
        label = "undetermined"
    return Decision(label, probabilities, estimate, ends, *trend.slopes(), evidence)


def _costs(curves: Curves, bayes: float | None) -> tuple[NDArray, NDArray]:
    """Return E0 of each size and seed, (K, S), and the risk at no noise, (K,).

    The line in the noise variance has weights from the mean risks, about the inverse
    squared spread of a risk, so that it is a linear function of the risks of a seed.
    """
    risk, noise = curves.risk, curves.noise
    if len(noise) == 1:
        if bayes is None:
            raise InvalidInputError(
                "noise must hold at least two levels, or bayes must be given, to tell "
                f"the cost of noise from bias; got noise={noise.tolist()}"
            )
        return risk[:, :, 0] / bayes, np.full(len(risk), np.nan)
    middle = risk.mean(axis=1)
    largest = middle.max(axis=1, keepdims=True)
    scale = middle + _WEIGHT_FLOOR * largest
    weights = np.where(largest > 0, scale, 1.0) ** -2.0
    weights /= weights.sum(axis=1, keepdims=True)
    centered = noise - (weights @ noise)[:, None]
    rule = weights * centered
    rule /= np.sum(rule * centered, axis=1, keepdims=True)
    per_seed = np.einsum("ksl,kl->ks", risk, rule)
    intercept = np.sum(weights * middle, axis=1)
    return per_seed, intercept - per_seed.mean(axis=1) * (weights @ noise)


def share_of_chance(
    risk: NDArray, noise: NDArray, bayes: float | None, chance: float
) -> NDArray:
    """Return the area above Bayes over the area of chance above it; last axis: noise.

    NaN where chance leaves hardly any room.
    """
    base = risk[..., :1] if bayes is None else bayes
    above = np.trapezoid(risk - base, noise, axis=-1)
    room = np.trapezoid(chance - base + 0.0 * risk, noise, axis=-1)
    enough = room > _SMALLEST_GAP * (noise[-1] - noise[0])
    return np.divide(above, room, out=np.full(room.shape, np.nan), where=enough)


class _Trend:
    """The slope of log excess in log n over the upper half of the sizes.

    An excess below its own standard error is raised to it, in the replicates too.
    """

    def __init__(
        self, n: NDArray, excess: NDArray, drawn: NDArray, resamples: Resamples
    ) -> None:
        self.replicates = np.full(len(drawn), np.nan)
        self.slope = np.nan
        self.ends = np.full(2, np.nan)
        self._log_n = np.log(n.astype(np.float64))
        if len(n) < 2:
            return
        S = resamples.weights.shape[1]
        error = drawn.std(axis=0) * np.sqrt(S / max(S - 1, 1))
        floor = np.maximum(error, _SMALLEST_EXCESS)
        raised = np.maximum(excess, floor)
        self._log_excess = np.log(raised)
        self._variance = (error / raised) ** 2
        half = min(len(n), max(LEAST_RESOLVED, -(-len(n) // 2)))
        upper = slice(len(n) - half, None)
        typical = np.median(self._variance[upper])
        weights = np.ones(half)
        if typical > 0:
            weights = 1 / (self._variance[upper] + typical)
        x = self._log_n[upper] - np.average(self._log_n[upper], weights=weights)
        rule = weights * x / np.sum(weights * x**2)
        self.slope = float(rule @ self._log_excess[upper])
        if S > 1:
            drawn_slopes = np.log(np.maximum(drawn, floor))[:, upper] @ rule
            self.replicates = resamples.spread(self.slope, drawn_slopes)
            self.ends = interval(self.replicates, resamples.level)

    def slopes(self) -> tuple[float, NDArray]:
        """Return the estimate and the ends of its interval."""
        return self.slope, self.ends

    def evidence(self) -> dict[str, Any]:
        """Return the small-sample Akaike criteria of three models of the excess.

        The errors of the logarithms are taken as known, from the bootstrap.
        """
        names = ("decay", "constant", "growth")
        K = len(self._log_n)
        if K < LEAST_RESOLVED or not (self._variance > 0).all():
            return {"aicc": dict.fromkeys(names, np.nan), "best_model": None}
        scores = {"constant": self._misfit(None, 0.0) + _penalty(1, K)}
        decays = [self._misfit(self._log_n, -1.0)]
        if self._log_n[0] > 1:
            decays.append(self._misfit(np.log(self._log_n), -1.0))
        scores["decay"] = min(decays) + _penalty(2, K)
        scores["growth"] = self._misfit(self._log_n, 1.0) + _penalty(2, K)
        best = min(names, key=lambda name: (scores[name], name != "constant"))
        return {"aicc": {name: scores[name] for name in names}, "best_model": best}

    def _misfit(self, x: NDArray | None, sign: float) -> float:
        """Return chi squared of a line whose slope has the sign; a constant for x=None."""
        w = 1 / (self._variance + np.median(self._variance))
        y = self._log_excess - np.average(self._log_excess, weights=w)
        slope, centered = 0.0, np.zeros_like(y)
        if x is not None:
            centered = x - np.average(x, weights=w)
            slope = float(np.sum(w * centered * y) / np.sum(w * centered**2))
            slope = slope if slope * sign > 0 else 0.0
        # Twice the smoothed variance is the variance where all of them are equal.
        return float(np.sum(2 * w * (y - slope * centered) ** 2))


def _penalty(k: int, K: int) -> float:
    return 2 * k + (2 * k * (k + 1) / (K - k - 1) if k + 1 < K else np.inf)


def _shares(*masks: NDArray) -> dict[str, float]:
    return {name: float(mask.mean()) for name, mask in zip(LABELS, masks, strict=True)}


def _unknown() -> dict[str, float]:
    return dict.fromkeys(LABELS, float("nan"))
