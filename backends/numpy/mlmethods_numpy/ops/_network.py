"""Covariance and tangent kernels of infinitely wide networks, in float64.

With variances q and covariance S of two points at one layer, the next has
``S' = w^2 k1 + b^2`` and the tangent kernel ``T' = S' + w^2 T k0``, where
``k1 = E[phi(u) phi(v)]`` and ``k0 = E[phi'(u) phi'(v)]``; dk1/dS is k0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mlmethods.errors import OperationNotSupportedError
from mlmethods.interfaces import KernelSpec, NDArray
from mlmethods_numpy.ops._activations import ends, moments, slopes

__all__ = ["declines_gradients", "diagonal", "gradient", "values"]

_EPS = np.finfo(np.float64).eps


def declines_gradients(kernel: KernelSpec) -> bool:
    """Return whether this backend cannot differentiate the kernel."""
    if kernel.name in ("nngp", "ntk"):
        return not isinstance(kernel.option("activation"), str)
    return any(declines_gradients(child) for child in kernel.children)


@dataclass
class _Pairs:
    """Inputs of the network: S = t and variances by row; m = 1 - cos for ReLU."""

    t: NDArray
    q_x: NDArray
    q_z: NDArray
    m: NDArray | None
    same: NDArray | None


def _times(x: NDArray, M: NDArray | None) -> NDArray:
    if M is None:
        return x
    return x * M if M.ndim == 1 else x @ M


def _pairs(
    kernel: KernelSpec,
    X: NDArray,
    Z: NDArray,
    M: NDArray | None,
    own: NDArray | None,
    gradients: bool,
) -> _Pairs:
    """Return the inputs; `own` names the center that is a row's own sample, or -1."""
    scale = kernel.params["scale"] / X.shape[1]
    q_x = np.maximum((_times(X, M) * X).sum(axis=1), 0.0)[:, None]
    q_z = np.maximum((_times(Z, M) * Z).sum(axis=1), 0.0)[None, :]
    t = X @ _times(Z, M).T
    is_own = np.zeros(t.shape, dtype=bool)
    if own is not None:
        here = np.flatnonzero(own >= 0)
        is_own[here, own[here]] = True
        t = np.where(is_own, q_x, t)
    m = same = None
    if kernel.option("activation") == "relu":
        m, same = _half_squared_angles(X, Z, M, q_x, q_z, is_own, gradients)
        t = np.sqrt(q_x * q_z) * (1 - m)
    return _Pairs(scale * t, scale * q_x, scale * q_z, m, same)


def _half_squared_angles(
    X: NDArray,
    Z: NDArray,
    M: NDArray | None,
    q_x: NDArray,
    q_z: NDArray,
    is_own: NDArray,
    gradients: bool,
) -> tuple[NDArray, NDArray]:
    """Return 1 - cos from the differences of unit vectors, and where it is 0."""
    x = X * _inverse(np.sqrt(q_x))
    z = Z * _inverse(np.sqrt(q_z.T))
    difference = x[:, None, :] - z[None, :, :]
    r2 = np.maximum((_times(difference, M) * difference).sum(axis=-1), 0.0)
    same = is_own
    if gradients:
        mean = z.mean(axis=0)
        norms = [(_times(a - mean, M) * (a - mean)).sum(axis=1) for a in (x, z)]
        same = same | (r2 < 16 * _EPS * (norms[0][:, None] + norms[1][None, :]))
    m = np.where(same, 0.0, r2 / 2)
    # The angle to the opposite direction would lose half of the digits.
    return np.where(m > 2 - 8 * _EPS, 2.0, m), same


def _inverse(x: NDArray) -> NDArray:
    """Return 1 / x, and 0 at x = 0."""
    return np.where(x == 0, 0.0, 1 / np.where(x == 0, 1.0, x))


def _layers(kernel: KernelSpec) -> list[tuple[float, float, bool]]:
    """Return (w, b, skip) of the dense layers after activations, the readout last."""
    p = kernel.params
    hidden = (float(p["w_std"]), float(p["b_std"]), bool(kernel.option("skip")))
    readout = (float(p["readout_w_std"]), float(p["readout_b_std"]), False)
    return [hidden] * (kernel.option("depth") - 1) + [readout]


def values(
    kernel: KernelSpec,
    X: NDArray,
    Z: NDArray,
    M: NDArray | None,
    own: NDArray | None = None,
) -> NDArray:
    """Return the kernel matrix [n, m]."""
    pairs = _pairs(kernel, X, Z, M, own, gradients=False)
    if kernel.option("activation") == "relu":
        return _relu(kernel, pairs)
    return _general(kernel, pairs)


def diagonal(kernel: KernelSpec, squared: NDArray, d: int) -> NDArray:
    """Return k(x, x), given ``x^T M x`` for points of `d` columns."""
    q = (kernel.params["scale"] / d * squared)[:, None]
    if kernel.option("activation") == "relu":
        pairs = _Pairs(q, q, q, np.zeros_like(q), None)
        return _relu(kernel, pairs)[:, 0]
    return _general(kernel, _Pairs(q, q, q, None, None))[:, 0]


def _general(kernel: KernelSpec, pairs: _Pairs) -> NDArray:
    activation = kernel.option("activation")
    w, b = kernel.params["w_std"], kernel.params["b_std"]
    S, q_x, q_z = (w**2 * a + b**2 for a in (pairs.t, pairs.q_x, pairs.q_z))
    T = S
    for w, b, skip in _layers(kernel):
        k1, k0 = moments(activation, S, q_x, q_z)
        grown = w**2 * k1 + b**2
        T = grown + w**2 * T * k0 + (T if skip else 0.0)
        S = grown + (S if skip else 0.0)
        q_x, q_z = (
            w**2 * ends(activation, q) + b**2 + (q if skip else 0.0) for q in (q_x, q_z)
        )
    return T if kernel.name == "ntk" else S


def _relu(kernel: KernelSpec, pairs: _Pairs) -> NDArray:
    """Return the kernel, with m = 1 - cos carried from layer to layer."""
    w, b = kernel.params["w_std"], kernel.params["b_std"]
    u_x, u_z = w * np.sqrt(pairs.q_x), w * np.sqrt(pairs.q_z)
    m, r_x, r_z = _with_bias(u_x * u_z * pairs.m, u_x, u_z, b)
    T = r_x * r_z * (1 - m)
    for w, b, skip in _layers(kernel):
        angle = 2 * np.arcsin(np.sqrt(m / 2))
        sine = np.sqrt(m * (2 - m))
        next_m = (angle - sine + (np.pi - angle) * m) / np.pi
        v_x, v_z = w * r_x / 2**0.5, w * r_z / 2**0.5
        grown = v_x * v_z * (1 - next_m) + b**2
        S = grown + (r_x * r_z * (1 - m) if skip else 0.0)
        k0 = (np.pi - angle) / (2 * np.pi)
        T = grown + w**2 * T * k0 + (T if skip else 0.0)
        p = v_x * v_z * next_m
        if skip:
            p = p + r_x * r_z * m
            v_x, v_z = (r * (1 + w**2 / 2) ** 0.5 for r in (r_x, r_z))
        m, r_x, r_z = _with_bias(p, v_x, v_z, b)
    return T if kernel.name == "ntk" else S


def _with_bias(
    p: NDArray, v_x: NDArray, v_z: NDArray, b: float
) -> tuple[NDArray, NDArray, NDArray]:
    """Return 1 - cos and roots of variances for S = v_x v_z - p + b^2."""
    r_x, r_z = np.sqrt(v_x**2 + b**2), np.sqrt(v_z**2 + b**2)
    apart = b**2 * (v_x - v_z) ** 2 * _inverse(r_x * r_z + v_x * v_z + b**2)
    return np.clip((apart + p) * _inverse(r_x * r_z), 0.0, 2.0), r_x, r_z


def gradient(
    kernel: KernelSpec,
    X: NDArray,
    Z: NDArray,
    M: NDArray | None,
    own: NDArray | None,
    alpha: NDArray,
) -> NDArray:
    """Return the gradients [n, c, d] of ``sum_j alpha_j k(x, z_j)``.

    `alpha` is [m, c], or [n, m, c] where it differs between the rows.
    """
    if declines_gradients(kernel):
        raise OperationNotSupportedError(
            "the NumPy backend differentiates networks with activation 'relu', 'erf' "
            "or 'gelu' only; use the JAX backend for an activation of your own"
        )
    pairs = _pairs(kernel, X, Z, M, own, gradients=True)
    by_t, by_q = _slopes(kernel, pairs)
    scale = kernel.params["scale"] / X.shape[1]
    weights = "nm,nmc" if alpha.ndim == 3 else "nm,mc"
    to_centers = np.einsum(f"{weights},md->ncd", by_t, alpha, Z, optimize=True)
    along = np.einsum(f"{weights}->nc", by_q, alpha, optimize=True)
    return scale * _times(to_centers + 2 * along[:, :, None] * X[:, None, :], M)


def _slopes(kernel: KernelSpec, pairs: _Pairs) -> tuple[NDArray, NDArray]:
    """Return dk/dt and dk/dq_x for each pair.

    Where directions coincide the ReLU kernels have no slope across; the mean over all
    directions, which is along x, is returned.
    """
    activation = kernel.option("activation")
    w, b = kernel.params["w_std"], kernel.params["b_std"]
    S, q_x, q_z = (w**2 * a + b**2 for a in (pairs.t, pairs.q_x, pairs.q_z))
    one = np.full_like(S, w**2)
    # Derivatives (by t, by q_x) of S and T, and of q_x by q_x.
    dS, dq = [one, np.zeros_like(S)], np.full_like(q_x, w**2)
    T, dT = S, list(dS)
    cosine_gap: Any = None
    if activation == "relu":
        u_x, u_z = w * np.sqrt(pairs.q_x), w * np.sqrt(pairs.q_z)
        m = _with_bias(u_x * u_z * pairs.m, u_x, u_z, b)[0]
    for w, b, skip in _layers(kernel):
        if activation == "relu":
            # Of the same direction and, but for round-off, of the same length.
            touching = pairs.same & (np.abs(q_x - q_z) <= 16 * _EPS * (q_x + q_z))
            cosine_gap = np.where(touching, 0.0, m)
        k1, k0 = moments(activation, S, q_x, q_z, cosine_gap)
        k0_S, k1_q, k0_q = slopes(activation, S, q_x, q_z, cosine_gap)
        dk1 = [k0 * dS[0], k0 * dS[1] + k1_q * dq]
        dk0 = [k0_S * dS[0], k0_S * dS[1] + k0_q * dq]
        keep = 1.0 if skip else 0.0
        for i in range(2):
            dT[i] = w**2 * (dk1[i] + dT[i] * k0 + T * dk0[i]) + keep * dT[i]
            dS[i] = w**2 * dk1[i] + keep * dS[i]
        grown = w**2 * k1 + b**2
        T = grown + w**2 * T * k0 + keep * T
        S = grown + keep * S
        end_slope = _end_slope(activation, q_x)
        new_x, new_z = (
            w**2 * ends(activation, q) + b**2 + keep * q for q in (q_x, q_z)
        )
        dq = (w**2 * end_slope + keep) * dq
        if activation == "relu":
            root = np.sqrt(new_x * new_z)
            m = _next_gap(cosine_gap, q_x, q_z, w, b, keep)
            S = root * (1 - m)
        q_x, q_z = new_x, new_z
    if activation == "relu":
        # A network without biases has no slope at a row of norm 0.
        regular = (pairs.q_x > 0) | (kernel.params["b_std"] > 0)
        dS, dT = ([np.where(regular, d, 0.0) for d in both] for both in (dS, dT))
    return (dT[0], dT[1]) if kernel.name == "ntk" else (dS[0], dS[1])


def _next_gap(
    m: NDArray, q_x: NDArray, q_z: NDArray, w: float, b: float, keep: float
) -> NDArray:
    """Return 1 - cos after one more layer."""
    angle = 2 * np.arcsin(np.sqrt(m / 2))
    bent = (angle - np.sqrt(m * (2 - m)) + (np.pi - angle) * m) / np.pi
    r_x, r_z = np.sqrt(q_x), np.sqrt(q_z)
    grown = (keep + w**2 / 2) ** 0.5
    p = r_x * r_z * (w**2 / 2 * bent + keep * m)
    return _with_bias(p, grown * r_x, grown * r_z, b)[0]


def _end_slope(activation: Any, q: NDArray) -> NDArray:
    """Return the derivative of ``E[phi(u)^2]`` by the variance."""
    if activation == "relu":
        return np.full_like(q, 0.5)
    _, k0 = moments(activation, q, q, q)
    _, k1_q, _ = slopes(activation, q, q, q)
    return k0 + 2 * k1_q
