"""Gaussian expectations of activations, and their derivatives, in float64."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from mlmethods.interfaces import NDArray

__all__ = ["ends", "moments", "slopes"]

_DEGREE = 64
_PI = np.pi


def moments(
    activation: Any, S: NDArray, q_x: NDArray, q_z: NDArray, m: Any = None
) -> tuple[NDArray, NDArray]:
    """Return ``E[phi(u) phi(v)]`` and ``E[phi'(u) phi'(v)]``.

    (u, v) have variances q_x [n, 1], q_z [1, m] and covariance S [n, m]; ReLU also
    needs m, 1 less their correlation.
    """
    if activation == "relu":
        angle = 2 * np.arcsin(np.sqrt(m / 2))
        root = np.sqrt(q_x * q_z)
        sine = np.sqrt(m * (2 - m))
        k0 = (_PI - angle) / (2 * _PI)
        return root * (sine / (2 * _PI) + (1 - m) * k0), k0
    if activation == "erf":
        root = np.sqrt((1 + 2 * q_x) * (1 + 2 * q_z) - 4 * S**2)
        return np.arctan2(2 * S, root) * (2 / _PI), 4 / (_PI * root)
    if activation == "gelu":
        root, mix, top = _gelu_parts(S, q_x, q_z)
        both = 0.25 + np.arctan2(S, root) / (2 * _PI)
        k1 = S * both + top / (2 * _PI * root)
        return k1, both + S * (1 + 2 * mix + top / root**2) / (2 * _PI * root)
    phi, dphi = activation
    return _mehler(phi, S, q_x, q_z), _mehler(dphi, S, q_x, q_z)


def ends(activation: Any, q: NDArray) -> NDArray:
    """Return ``E[phi(u)^2]`` for variances `q`."""
    if activation == "relu":
        return q / 2
    if isinstance(activation, str):
        return moments(activation, q, q, q)[0]
    nodes, weights, _ = _quadrature()
    return (activation[0](np.sqrt(q)[..., None] * nodes) ** 2 * weights).sum(axis=-1)


def slopes(
    activation: str, S: NDArray, q_x: NDArray, q_z: NDArray, m: Any = None
) -> tuple[NDArray, NDArray, NDArray]:
    """Return dk0/dS, dk1/dq_x and dk0/dq_x; dk1/dS is k0."""
    if activation == "relu":
        return _relu_slopes(S, q_x, q_z, m)
    if activation == "erf":
        a, b = 1 + 2 * q_x, 1 + 2 * q_z
        root = np.sqrt(a * b - 4 * S**2)
        return (
            16 / _PI * S / root**3,
            -4 / _PI * S / (root * a),
            -4 / _PI * b / root**3,
        )
    root, mix, top = _gelu_parts(S, q_x, q_z)
    a, b = 1 + q_x, 1 + q_z
    arc_q = -S / (2 * root * a)
    mix_q, top_q = -1 / a**2, q_z - S**2 / a**2
    k0_S = (
        2 + 2 * mix + (S**2 * (1 + 4 * mix) + top) / root**2 + 3 * S**2 * top / root**4
    ) / (2 * _PI * root)
    k1_q = (S * arc_q + top_q / root - top * b / (2 * root**3)) / (2 * _PI)
    k0_q = (
        arc_q
        + S * (2 * mix_q / root - (1 + 2 * mix) * b / (2 * root**3))
        + S * (top_q / root**3 - 1.5 * top * b / root**5)
    ) / (2 * _PI)
    return k0_S, k1_q, k0_q


def _relu_slopes(
    S: NDArray, q_x: NDArray, q_z: NDArray, m: Any
) -> tuple[NDArray, NDArray, NDArray]:
    """k1 is homogeneous of degree 1 in the scale of u, and k0 of degree 0."""
    root, sine = np.sqrt(q_x * q_z), np.sqrt(m * (2 - m))
    flat = (root == 0) | (sine == 0)
    k0_S = np.where(flat, 0.0, 1 / (2 * _PI * np.where(flat, 1.0, root * sine)))
    safe = np.where(q_x == 0, 1.0, q_x)
    return k0_S, root * sine / (4 * _PI * safe), -S * k0_S / (2 * safe)


def _gelu_parts(
    S: NDArray, q_x: NDArray, q_z: NDArray
) -> tuple[NDArray, NDArray, NDArray]:
    root = np.sqrt(1 + q_x + q_z + np.maximum(q_x * q_z - S**2, 0.0))
    mix = 1 / (1 + q_x) + 1 / (1 + q_z) - 1
    return root, mix, q_x * q_z + S**2 * mix


@functools.cache
def _quadrature() -> tuple[NDArray, NDArray, NDArray]:
    """Return nodes, weights and the map from values at nodes to coefficients."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(_DEGREE)
    weights = weights / weights.sum()
    basis = np.ones((_DEGREE, _DEGREE))
    basis[1] = nodes
    for k in range(1, _DEGREE - 1):
        # Hermite polynomials over the roots of factorials: no overflow.
        basis[k + 1] = (nodes * basis[k] - k**0.5 * basis[k - 1]) / (k + 1) ** 0.5
    return nodes, weights, basis * weights


def _mehler(phi: Any, S: NDArray, q_x: NDArray, q_z: NDArray) -> NDArray:
    """Return the series of E[phi(u) phi(v)] in powers of the correlation."""
    nodes, _, basis = _quadrature()
    left, right = (
        np.broadcast_to(phi(np.sqrt(q)[..., None] * nodes), (*q.shape, _DEGREE))
        @ basis.T
        for q in (q_x, q_z)
    )
    product = q_x * q_z
    zero = product == 0
    cosine = np.where(zero, 1.0, S / np.sqrt(np.where(zero, 1.0, product)))
    cosine = np.clip(cosine, -1.0, 1.0)
    total = np.zeros_like(cosine)
    for k in reversed(range(_DEGREE)):
        total = total * cosine + left[..., k] * right[..., k]
    return total
