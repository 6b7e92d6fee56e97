"""Write vmf_reference.json: von Mises-Fisher constants to full float64 precision.

Run ``python tests/golden/make_vmf_reference.py`` with mpmath installed. Two routes that
share nothing with the library: Bessel functions below p = 1000, quadrature of the
density of the cosine above.
"""

from __future__ import annotations

import json
import platform
from pathlib import Path

import mpmath as mp

DIGITS = 60
DIMENSIONS = (2, 3, 4, 5, 10, 33, 61, 62, 100, 1000, 61706, 10_000_000, 100_000_000)
KAPPAS = (0.0, 1e-12, 0.01, 1.0, 7.5, 30.0, 500.0, 1e4, 1e6, 1e8)
PAIRS = (
    (0.0, 1e-3),
    (1.0, 1.0009765625),
    (500.0, 1500.0),
    (1.0, 1e4),
    (1e6, 1000001.0),
    (1e8, 99999999.0),
    (1e8, 0.5),
)


def by_bessel(p: int, kappa: mp.mpf) -> tuple[mp.mpf, mp.mpf]:
    """Return log(C(0) / C(kappa)) and A from Bessel functions."""
    order = mp.mpf(p) / 2 - 1
    bessel = mp.besseli(order, kappa)
    partition = mp.log(bessel) + mp.loggamma(order + 1) + order * mp.log(2 / kappa)
    return partition, mp.besseli(order + 1, kappa) / bessel


def by_quadrature(p: int, kappa: mp.mpf) -> tuple[mp.mpf, mp.mpf]:
    """Return the same from the trapezoidal rule, centred and scaled at the mode."""
    power = mp.mpf(p - 3) / 2
    mode = kappa / (power + mp.sqrt(power**2 + kappa**2))
    complement = 1 - mode**2
    scale = complement / mp.sqrt(2 * power * (1 + mode**2))
    step = mp.mpf(1) / 32
    total = moment = mp.mpf(0)
    for index in range(-24 * 32, 24 * 32 + 1):
        delta = scale * step * index
        ratio = 1 - (2 * mode * delta + delta**2) / complement
        if ratio > 0:
            weight = mp.exp(kappa * delta + power * mp.log(ratio))
            total += weight
            moment += weight * (mode + delta)
    peak = kappa * mode + power * mp.log(complement)
    half = mp.mpf(1) / 2
    beta = mp.loggamma(half) + mp.loggamma(power + 1) - mp.loggamma(power + 1 + half)
    return peak + mp.log(total * step * scale) - beta, moment / total


def constants(p: int, kappa: float) -> tuple[mp.mpf, mp.mpf]:
    """Return log(C(0) / C(kappa)) and A."""
    if kappa == 0:
        return mp.mpf(0), mp.mpf(0)
    # For tiny kappa the quadrature would lose what it subtracts: two series terms.
    if kappa**2 < 1e-12 * p:
        x = mp.mpf(kappa)
        return (
            x**2 / (2 * p) - x**4 / (4 * mp.mpf(p) ** 2 * (p + 2)),
            x / p - x**3 / (mp.mpf(p) ** 2 * (p + 2)),
        )
    return (by_bessel if p < 1000 else by_quadrature)(p, mp.mpf(kappa))


def main() -> None:
    """Compute and write the table."""
    mp.mp.dps = DIGITS
    rows, ratios = [], []
    for p in DIMENSIONS:
        uniform = mp.loggamma(mp.mpf(p) / 2) - mp.log(2) - mp.mpf(p) / 2 * mp.log(mp.pi)
        for kappa in KAPPAS:
            partition, mean = constants(p, kappa)
            rows.append(
                {
                    "p": p,
                    "kappa": kappa,
                    "log_normalizer": float(uniform - partition),
                    "log_partition": float(partition),
                    "mean_resultant": float(mean),
                }
            )
        for first, second in PAIRS:
            ratio = constants(p, second)[0] - constants(p, first)[0]
            ratios.append(
                {"p": p, "kappa1": first, "kappa2": second, "value": float(ratio)}
            )
    document = {
        "provenance": {
            "program": "tests/golden/make_vmf_reference.py",
            "mpmath": mp.__version__,
            "python": platform.python_version(),
            "decimal_digits": DIGITS,
            "method": "Bessel functions for p < 1000, quadrature of the density above",
        },
        "constants": rows,
        "log_norm_ratio": ratios,
    }
    path = Path(__file__).with_name("vmf_reference.json")
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
