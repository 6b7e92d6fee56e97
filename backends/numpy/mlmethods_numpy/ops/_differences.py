"""Kernels of the difference x - z as functions of ``u = M^{1/2} (x - z)``."""

from __future__ import annotations

import numpy as np
from scipy import special

from mlmethods.errors import OperationNotSupportedError
from mlmethods.interfaces import KERNEL_NAMES, KernelSpec, NDArray

__all__ = ["difference_slope", "difference_value", "smooth_at_zero"]


def difference_value(kernel: KernelSpec, u: NDArray) -> NDArray:
    """Return k for u [..., d]."""
    if kernel.name == "lpq":
        p, q = kernel.params["p"], kernel.params["q"]
        return np.exp(-((_p_norm(u, p) / kernel.bandwidth) ** q))
    if kernel.name == "sum_power":
        return _sum_of_powers(kernel, u) ** kernel.params["power"]
    return _radial_value(kernel, np.sqrt((u**2).sum(axis=-1)))


def difference_slope(kernel: KernelSpec, u: NDArray) -> NDArray:
    """Return dk/du for u [..., d]; zero where the whole of u is zero."""
    L = kernel.bandwidth
    if kernel.name == "lpq":
        p, q = kernel.params["p"], kernel.params["q"]
        norm = _p_norm(u, p)[..., None]
        safe = np.where(norm > 0, norm, 1.0)
        k = np.exp(-((norm / L) ** q))
        return -(q / L**q) * k * safe ** (q - 1) * _odd_power(u / safe, p - 1)
    if kernel.name == "sum_power":
        q, power = kernel.params["q"], kernel.params["power"]
        share = (1 - kernel.params["const_mix"]) / u.shape[-1]
        outer = power * _sum_of_powers(kernel, u)[..., None] ** (power - 1)
        h = np.exp(-((np.abs(u) / L) ** q))
        return -outer * share * (q / L**q) * _odd_power(u, q - 1) * h
    r = np.sqrt((u**2).sum(axis=-1))
    return -_radial_weight(kernel, r)[..., None] * u


def _odd_power(u: NDArray, exponent: float) -> NDArray:
    """Return ``|u|^exponent sign(u)``, 0 at u = 0 for negative exponents too."""
    return np.where(u == 0, 1.0, np.abs(u)) ** exponent * np.sign(u)


def _p_norm(u: NDArray, p: float) -> NDArray:
    return (np.abs(u) ** p).sum(axis=-1) ** (1 / p)


def _sum_of_powers(kernel: KernelSpec, u: NDArray) -> NDArray:
    q, mix = kernel.params["q"], kernel.params["const_mix"]
    h = np.exp(-((np.abs(u) / kernel.bandwidth) ** q))
    return mix + (1 - mix) * h.mean(axis=-1)


def _radial_value(kernel: KernelSpec, r: NDArray) -> NDArray:
    s = r / kernel.bandwidth
    match kernel.name:
        case "laplace":
            return np.exp(-s)
        case "gaussian":
            return np.exp(-(s**2) / 2)
        case "exp_power":
            return np.exp(-(s ** kernel.params["q"]))
        case "rational_quadratic":
            a = kernel.params["alpha"]
            return (1 + s**2 / (2 * a)) ** -a
        case "matern":
            return _matern_value(kernel.option("nu"), s)
    raise OperationNotSupportedError(
        f"the NumPy backend has no kernel {kernel.name!r}; it has: "
        f"{', '.join(sorted(KERNEL_NAMES))}"
    )


def _radial_weight(kernel: KernelSpec, r: NDArray) -> NDArray:
    """Return w with ``dk/du = -w u``; 0 at r = 0 where w is infinite there."""
    L = kernel.bandwidth
    safe = np.where(r > 0, r, 1.0)
    k = _radial_value(kernel, r)
    match kernel.name:
        case "laplace":
            return np.where(r > 0, k / (L * safe), 0.0)
        case "gaussian":
            return k / L**2
        case "exp_power":
            q = kernel.params["q"]
            return np.where(r > 0, q * (safe / L) ** (q - 2) * k / L**2, 0.0)
        case "rational_quadratic":
            a = kernel.params["alpha"]
            return (1 + (r / L) ** 2 / (2 * a)) ** (-a - 1) / L**2
        case _:
            return _matern_weight(kernel.option("nu"), r / L) / L**2


def _matern_value(nu: float, s: NDArray) -> NDArray:
    """Return the Matern function of s = r / L."""
    y = np.sqrt(2 * nu) * s
    if nu == 0.5:
        return np.exp(-y)
    if nu == 1.5:
        return (1 + y) * np.exp(-y)
    if nu == 2.5:
        return (1 + y + y**2 / 3) * np.exp(-y)
    value = 2 * _scaled_bessel(nu, y) / special.gamma(nu) * 0.5**nu
    return np.where(y == 0, 1.0, value)


def _matern_weight(nu: float, s: NDArray) -> NDArray:
    """Return w(r) L^2, 0 at s = 0 where it is infinite there (nu <= 1)."""
    y = np.sqrt(2 * nu) * s
    if nu == 0.5:
        return np.where(s > 0, np.exp(-y) / np.where(s > 0, s, 1.0), 0.0)
    if nu == 1.5:
        return 3 * np.exp(-y)
    if nu == 2.5:
        return 5 / 3 * (1 + y) * np.exp(-y)
    return 4 * nu * _scaled_bessel(nu - 1, y) / special.gamma(nu) * 0.5**nu


def _scaled_bessel(order: float, y: NDArray) -> NDArray:
    """Return ``y^order K_order(y)``; at y = 0 its limit, or 0 if that is infinite."""
    limit = 2 ** (order - 1) * special.gamma(order) if order > 0 else 0.0
    bessel = special.kve(order, np.where(y > 0, y, 1.0))
    usable = (y > 0) & np.isfinite(bessel) & (bessel > 0)
    log_value = order * np.log(np.where(usable, y, 1.0)) - y
    value = np.exp(log_value + np.log(np.where(usable, bessel, 1.0)))
    return np.where(usable, value, np.where(np.isnan(y), np.nan, limit))


def smooth_at_zero(kernel: KernelSpec) -> bool:
    """Return whether the kernel has a gradient at u = 0."""
    match kernel.name:
        case "gaussian" | "rational_quadratic":
            return True
        case "exp_power":
            return kernel.params["q"] == 2
        case "matern":
            return kernel.option("nu") > 1
    return False
