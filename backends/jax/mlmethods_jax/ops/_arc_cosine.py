"""One ReLU layer of an infinitely wide network, in terms of ``m = 1 - cos(angle)``.

Near-duplicates have cosines within round-off of 1; their m is small and keeps its
digits. With the smaller of the angle and its supplement, s = 1 - |cos| and
``r = sqrt(2 s)``, two functions are smooth on [0, 1]: angle / r, and
``(s angle - (angle - sin angle)) / (r s)``.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from mlmethods_jax.ops._kernel_functions import safe_root

__all__ = ["relu_layer"]

# Polynomials in s, constant first, through the Chebyshev nodes of [0, 1], computed with
# 60 digits: relative errors 1.8e-8 and 2e-17, then 1.8e-8 and 5e-17.
_ANGLE_7 = (
    0.9999999887111962,
    0.08333477335804672,
    0.018720286104555818,
    0.005810106182867109,
    0.0010457118094042118,
    0.002360617306944364,
    -0.0014075971361058445,
    0.0008568279940530558,
)
_ANGLE_18 = (
    1.0,
    0.08333333333332493,
    0.01875000000100454,
    0.005580357095326875,
    0.0018988727122969892,
    0.0006991120243537611,
    0.0002713168974859926,
    0.00010783942106165609,
    5.1527353795913684e-05,
    -5.081128609960328e-06,
    7.68712046582239e-05,
    -0.00014495631985790157,
    0.0002461429846321823,
    -0.00030406259919709615,
    0.00028332940124443625,
    -0.00019010314561151078,
    8.785920457938688e-05,
    -2.501627469436502e-05,
    3.392373797469592e-06,
)
_CURVE_6 = (
    0.6666666743265199,
    0.033332585655865735,
    0.0053688618619712235,
    0.0011725843604247616,
    0.0005248584761172332,
    -0.00012459246588548492,
    0.00016579629327443404,
)
_CURVE_16 = (
    0.6666666666666667,
    0.03333333333332229,
    0.005357142858198758,
    0.001240079325241702,
    0.0003452501570096057,
    0.00010754902951408494,
    3.6225608465473854e-05,
    1.2433494867450564e-05,
    6.30966511428234e-06,
    -2.601674254740422e-06,
    9.933422107277233e-06,
    -1.3907157819931378e-05,
    1.6060960953685205e-05,
    -1.2705414656954406e-05,
    6.937111280820056e-06,
    -2.292598728927048e-06,
    3.6639926592577406e-07,
)


def relu_layer(m: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return m of the next layer, and ``(pi - angle) / (2 pi)``; m is in [0, 2].

    The slope of the second is infinite at 0 and 2 and is given as 0 there.
    """
    wide = m.dtype == jnp.float64
    acute = m <= 1
    s = jnp.where(acute, m, 2.0 - m)
    r = safe_root(2.0 * s)
    bent = r * s * _polynomial(s, _CURVE_16 if wide else _CURVE_6) / math.pi
    share = r * _polynomial(s, _ANGLE_18 if wide else _ANGLE_7) / (2 * math.pi)
    return (
        jnp.where(acute, s - bent, 1.0 - bent),
        jnp.where(acute, 0.5 - share, share),
    )


def _polynomial(s: jax.Array, coefficients: tuple[float, ...]) -> jax.Array:
    total = jnp.full_like(s, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        total = total * s + coefficient
    return total
