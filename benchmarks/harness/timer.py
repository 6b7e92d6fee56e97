"""Timing: interleaved rounds, wall and processor seconds, paired ratios."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["Clock", "Samples", "first_call", "growth_exponent", "paired_ratio", "race"]

MIN_ROUNDS = 7
# Below this a clock's own resolution and the call overhead show.
_SHORTEST_REGION = 0.05
_RESAMPLES = 2000


@dataclass(frozen=True)
class Clock:
    """Seconds by the wall and by the processor, all threads together."""

    wall: float
    cpu: float


@dataclass
class Samples:
    """Seconds for one call, one entry a round."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def of(self, clock: str) -> np.ndarray:
        """Return the samples of ``"wall"`` or ``"cpu"``."""
        return np.array(getattr(self, clock))


def _timed(call: Callable[[], Any], repeats: int) -> tuple[Any, Clock]:
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(repeats):
        result = call()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return result, Clock(wall / repeats, cpu / repeats)


def first_call(call: Callable[[], Any]) -> tuple[Any, Clock]:
    """Return the result and the time of the first call, compilation included."""
    return _timed(call, 1)


def race(
    calls: Mapping[str, Callable[[], Any]], *, rounds: int, seconds: float
) -> dict[str, Samples]:
    """Time warm calls in rounds; each round starts with another implementation.

    Parameters
    ----------
    calls : mapping of str to callable
        Each must have been called once before.
    rounds : int
        At least 7.
    seconds : float
        Further rounds are added until this much time has passed, at most four times
        as many.
    """
    if rounds < MIN_ROUNDS:
        raise ValueError(f"rounds must be >= {MIN_ROUNDS}, got {rounds}")
    names = list(calls)
    repeats = {}
    for name, call in calls.items():
        _, clock = _timed(call, 1)
        repeats[name] = max(1, round(_SHORTEST_REGION / max(clock.wall, 1e-9)))
    samples = {name: Samples() for name in names}
    started = time.perf_counter()
    for number in range(4 * rounds):
        if number >= rounds and time.perf_counter() - started > seconds:
            break
        # Between rounds, so that no one pays for another's garbage.
        gc.collect()
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            _, clock = _timed(calls[name], repeats[name])
            samples[name].wall.append(clock.wall)
            samples[name].cpu.append(clock.cpu)
    return samples


def paired_ratio(
    ours: np.ndarray, other: np.ndarray, *, seed: int
) -> tuple[float, float, float]:
    """Return the median over rounds of ours / other, and its 95 % interval.

    Rounds are resampled (percentile bootstrap), so that a slow moment of the machine,
    which falls on both, cancels.
    """
    ratios = np.asarray(ours) / np.maximum(np.asarray(other), 1e-12)
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, len(ratios), (_RESAMPLES, len(ratios)))
    low, high = np.quantile(np.median(ratios[draws], axis=1), [0.025, 0.975])
    return float(np.median(ratios)), float(low), float(high)


def growth_exponent(sizes: list[int], seconds: list[float]) -> float:
    """Return the slope of log seconds over log size, by least squares."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])
