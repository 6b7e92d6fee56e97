"""Predictions of the eigenframework for many sample sizes and ridges."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from benchmarks.harness.case import Case, Implementation, Size

__all__ = ["CASES"]

_NOISE = 0.3


class Pairs(NamedTuple):
    """A power-law spectrum, a target and pairs of a sample size and a ridge."""

    values: np.ndarray
    tail: float
    coeffs: np.ndarray
    n: np.ndarray
    reg: np.ndarray


def _pairs(size: Size, rng: np.random.Generator) -> Pairs:
    from mlmethods.overfitting import Spectrum

    spectrum = Spectrum.powerlaw(1.5, size["modes"])
    n = rng.integers(10, size["modes"] // 10, size=size["n"])
    reg = 10 ** rng.uniform(-5, 1, size=size["n"])
    coeffs = spectrum.values**0.6
    return Pairs(spectrum.values, spectrum.tail, coeffs, n, reg)


def _ours(data: Pairs) -> Callable[[], Any]:
    from mlmethods.overfitting import Spectrum, predict

    spectrum = Spectrum(data.values, tail=data.tail)

    def call() -> np.ndarray:
        prediction = predict(spectrum, data.coeffs, data.n, data.reg, _NOISE)
        return np.stack([prediction.e0, prediction.test_mse, prediction.train_mse])

    return call


def _one_by_one(data: Pairs) -> Callable[[], Any]:
    """Return the plain way: a bracketing root search for each pair."""
    from scipy.optimize import brentq

    def predict(n: int, reg: float) -> tuple[float, float, float]:
        ridge = reg + data.tail

        def excess(u: float) -> float:
            kappa = np.exp(u)
            learned = np.sum(data.values / (data.values + kappa))
            return float(learned + ridge / kappa - n)

        total = float(data.values.sum())
        ends = np.log(ridge / n) - 1e-9, np.log((total + ridge) / n) + 1e-9
        kappa = np.exp(brentq(excess, *ends, xtol=1e-12))
        learned = data.values / (data.values + kappa)
        e0 = n / (n - np.sum(learned**2))
        test = e0 * (np.sum((1 - learned) ** 2 * data.coeffs**2) + _NOISE)
        return e0, test, (reg / (n * kappa)) ** 2 * test

    def call() -> np.ndarray:
        return np.array([predict(*pair) for pair in zip(data.n, data.reg, strict=True)])

    return call


CASES = (
    Case(
        name="eigen.predict",
        title="eigenframework, errors of pairs of n and ridge on a power law",
        sizes=({"n": 1000, "modes": 100_000},),
        quick_sizes=({"n": 200, "modes": 20_000},),
        make_data=_pairs,
        implementations={
            "mlmethods": Implementation(setup=_ours),
            "scipy-brentq": Implementation(setup=_one_by_one, collect=np.transpose),
        },
        tolerance=1e-8,
        dtype="float64",
    ),
)
