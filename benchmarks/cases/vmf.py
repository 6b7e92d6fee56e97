"""Draws from the von Mises-Fisher distribution."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from benchmarks.harness.case import Case, Implementation, Size

__all__ = ["CASES"]

_KAPPA = 50.0


class Direction(NamedTuple):
    """A mean direction mu [p] and the number of draws."""

    mu: np.ndarray
    n: int


def _direction(size: Size, rng: np.random.Generator) -> Direction:
    mu = rng.standard_normal(size["p"])
    return Direction(mu / np.linalg.norm(mu), size["n"])


def _ours(data: Direction) -> Callable[[], Any]:
    import mlmethods

    backend = mlmethods.get_backend("jax")
    mu = np.broadcast_to(data.mu.astype(np.float32), (data.n, len(data.mu)))
    mu = backend.asarray(np.ascontiguousarray(mu))
    kappa = backend.asarray(np.full(data.n, _KAPPA, np.float32))
    key = backend.key(0)

    def call() -> Any:
        draws = backend.privacy.vmf_sample(key, mu, kappa)
        backend.synchronize(draws)
        return draws, data.mu

    return call


def _scipy(data: Direction) -> Callable[[], Any]:
    from scipy.stats import vonmises_fisher

    frozen = vonmises_fisher(data.mu, _KAPPA, seed=0)
    return lambda: (frozen.rvs(data.n), data.mu)


def _moments(result: Any) -> np.ndarray:
    """Return two moments of the cosine: the draws are random, their law is compared."""
    draws, mu = result
    cosine = np.asarray(draws, dtype=np.float64) @ mu
    return np.array([cosine.mean(), (cosine**2).mean()])


CASES = (
    Case(
        name="vmf.sample",
        title=f"von Mises-Fisher draws, concentration {_KAPPA:g}",
        # SciPy builds a p x p rotation: the last size is beyond it.
        sizes=(
            *({"n": 20000, "p": p} for p in (3, 10, 100)),
            {"n": 2000, "p": 1000},
            {"n": 1, "p": 100000},
        ),
        quick_sizes=({"n": 5000, "p": 10},),
        make_data=_direction,
        implementations={
            "mlmethods": Implementation(setup=_ours, collect=_moments),
            "scipy": Implementation(setup=_scipy, collect=_moments),
        },
        tolerance=0.1,
    ),
)
