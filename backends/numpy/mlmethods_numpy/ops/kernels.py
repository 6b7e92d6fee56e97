"""Kernel matrices, their products and their gradients, straight from the formulas.

Everything is float64 and uses direct differences x - z, a block of rows at a time:
slower than the expansion |x|^2 + |z|^2 - 2 x.z, and free of its cancellation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import special

from mlmethods.errors import InvalidInputError, OperationNotSupportedError
from mlmethods.interfaces import KERNEL_NAMES, Center, KernelSpec, NDArray

__all__ = ["agop", "grad", "kernel_diagonal", "matvec", "pairwise"]

_INNER_PRODUCT = ("quadratic", "inner_product")
# Doubles in a [rows, m, d] block: about 16 MiB, so that its passes stay near cache.
_BLOCK_ELEMENTS = 2**21


def pairwise(
    kernel: KernelSpec, X: Any, Z: Any | None = None, M: Any | None = None
) -> NDArray:
    """Return the kernel matrix.

    Parameters
    ----------
    kernel : KernelSpec
        The kernel.
    X : ndarray of shape (n, d)
        Left points.
    Z : ndarray of shape (m, d), optional
        Right points; `X` by default.
    M : ndarray of shape (d, d) or (d,), optional
        Mahalanobis matrix or its diagonal; the identity by default.

    Returns
    -------
    ndarray of shape (n, m), float64

    Examples
    --------
    >>> import numpy as np
    >>> from mlmethods.interfaces import KernelSpec
    >>> pairwise(KernelSpec(name="laplace"), np.array([[0.0], [1.0]])).round(3)
    array([[1.   , 0.368],
           [0.368, 1.   ]])
    """
    X, Z, M = _points(X, Z, M)
    metric = _metric(kernel, M)
    K = np.empty((len(X), len(Z)))
    for rows in _blocks(len(X), Z.size, None):
        K[rows] = _values(kernel, X[rows], Z, metric)
    return K


def matvec(
    kernel: KernelSpec,
    X: Any,
    Z: Any | None,
    alpha: Any,
    M: Any | None = None,
    *,
    block_size: int | None = None,
) -> NDArray:
    """Return ``K(X, Z) @ alpha`` without the matrix.

    Parameters
    ----------
    kernel, X, Z, M
        As in :func:`pairwise`.
    alpha : ndarray of shape (m, c)
        Coefficients.
    block_size : int, optional
        Rows of `X` in one block.

    Returns
    -------
    ndarray of shape (n, c), float64
    """
    X, Z, M = _points(X, Z, M)
    alpha = _coefficients(alpha, Z)
    metric = _metric(kernel, M)
    out = np.empty((len(X), alpha.shape[1]))
    for rows in _blocks(len(X), Z.size, block_size):
        out[rows] = _values(kernel, X[rows], Z, metric) @ alpha
    return out


def grad(
    kernel: KernelSpec,
    X: Any,
    Z: Any | None,
    alpha: Any,
    M: Any | None = None,
    *,
    self_index: Any | None = None,
    block_size: int | None = None,
) -> NDArray:
    """Return the gradient at each x of ``sum_j alpha_j k(x, z_j)``.

    Parameters
    ----------
    kernel, X, Z, M
        As in :func:`pairwise`.
    alpha : ndarray of shape (m, c)
        Coefficients.
    self_index : int ndarray of shape (n,), optional
        For each x the row of Z that is the same sample, -1 for none. With ``Z=None``
        it is 0, 1, ..., n - 1. Kernels of x - z ignore these pairs; kernels of the
        inner product are smooth there and keep them.
    block_size : int, optional
        Rows of `X` in one block.

    Returns
    -------
    ndarray of shape (n, c, d), float64

    Notes
    -----
    Where the kernel has no gradient at x = z, a pair with
    ``r^2 < 16 eps (|x|_M^2 + |z|_M^2)``, measured from the mean of Z, contributes
    nothing.
    """
    gradients = _Gradients(kernel, X, Z, alpha, M, self_index, block_size)
    out = np.empty(gradients.shape)
    for rows, block in gradients:
        out[rows] = block
    return out


def agop(
    kernel: KernelSpec,
    X: Any,
    Z: Any | None,
    alpha: Any,
    M: Any | None = None,
    *,
    weights: Any | None = None,
    diagonal: bool = False,
    center: Center = "none",
    self_index: Any | None = None,
    block_size: int | None = None,
) -> NDArray:
    """Return the average gradient outer product of ``sum_j alpha_j k(x, z_j)``.

    Parameters
    ----------
    kernel, X, Z, alpha, M, self_index, block_size
        As in :func:`grad`.
    weights : ndarray of shape (n,), optional
        Weights of the samples in the mean; 0 leaves a sample out.
    diagonal : bool, default=False
        Return the diagonal only.
    center : {"none", "per_output", "pooled"}, default="none"
        Which weighted mean gradient to subtract first: none, that of each output, or
        that of all samples and outputs together.

    Returns
    -------
    ndarray of shape (d, d), or (d,) with `diagonal`, float64
        The weighted mean over samples of the sum over outputs of ``g g^T``.
    """
    if center not in ("none", "per_output", "pooled"):
        raise InvalidInputError(
            f"center must be 'none', 'per_output' or 'pooled', got {center!r}"
        )
    gradients = _Gradients(kernel, X, Z, alpha, M, self_index, block_size)
    n, c, d = gradients.shape
    share = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)
    share = share / share.sum()
    # A second pass over the gradients costs time and avoids E[gg] - E[g]E[g].
    mean = np.zeros((c, d))
    if center != "none":
        for rows, block in gradients:
            mean += np.einsum("n,ncd->cd", share[rows], block)
    if center == "pooled":
        mean[:] = mean.mean(axis=0)
    total = np.zeros(d if diagonal else (d, d))
    for rows, block in gradients:
        scaled = ((block - mean) * np.sqrt(share[rows])[:, None, None]).reshape(-1, d)
        total += (scaled**2).sum(axis=0) if diagonal else scaled.T @ scaled
    return total


def kernel_diagonal(kernel: KernelSpec, X: Any, M: Any | None = None) -> NDArray:
    """Return ``k(x, x)`` for each row of X [n, d], as an array of shape (n,)."""
    X, _, M = _points(X, None, M)
    if kernel.name in _INNER_PRODUCT:
        return _inner_value(kernel, (X * _times(X, M)).sum(axis=1))
    return np.ones(len(X))


class _Gradients:
    """The gradients of a kernel expansion, one block of rows at a time."""

    def __init__(
        self,
        kernel: KernelSpec,
        X: Any,
        Z: Any | None,
        alpha: Any,
        M: Any | None,
        self_index: Any | None,
        block_size: int | None,
    ) -> None:
        self.kernel = kernel
        self.X, self.Z, M = _points(X, Z, M)
        self.metric = _metric(kernel, M)
        self.alpha = _coefficients(alpha, self.Z)
        if self_index is None and Z is None:
            self_index = np.arange(len(self.X))
        self.self_index = None if self_index is None else np.asarray(self_index)
        self.block_size = block_size
        self.shape = (len(self.X), self.alpha.shape[1], self.X.shape[1])

    def __iter__(self) -> Iterator[tuple[slice, NDArray]]:
        one_block = (
            self._inner_block
            if self.kernel.name in _INNER_PRODUCT
            else self._difference_block
        )
        for rows in _blocks(len(self.X), self.Z.size, self.block_size):
            yield rows, one_block(rows)

    def _inner_block(self, rows: slice) -> NDArray:
        MZ = _times(self.Z, self.metric)
        slope = _inner_slope(self.kernel, self.X[rows] @ MZ.T)
        return (slope[:, None, :] * self.alpha.T) @ MZ

    def _difference_block(self, rows: slice) -> NDArray:
        u = _times(self.X[rows][:, None, :] - self.Z[None, :, :], self.metric)
        if self.self_index is not None:
            own = self.self_index[rows]
            has_own = np.flatnonzero(own >= 0)
            u[has_own, own[has_own]] = 0.0
        if not _smooth_at_zero(self.kernel):
            origin = self.Z.mean(axis=0)
            norm_x = (_times(self.X[rows] - origin, self.metric) ** 2).sum(axis=-1)
            norm_z = (_times(self.Z - origin, self.metric) ** 2).sum(axis=-1)
            threshold = 16 * np.finfo(np.float64).eps * (norm_x[:, None] + norm_z)
            u[(u**2).sum(axis=-1) < threshold] = 0.0
        # [c, m] @ [rows, m, d], then du/dx = M^{1/2}.
        return _times(self.alpha.T @ _slope(self.kernel, u), self.metric)


def _points(
    X: Any, Z: Any | None, M: Any | None
) -> tuple[NDArray, NDArray, NDArray | None]:
    X = np.asarray(X, dtype=np.float64)
    if X.ndim != 2:
        raise InvalidInputError(f"X must have shape (n, d), got shape {X.shape}")
    Z = X if Z is None else np.asarray(Z, dtype=np.float64)
    if Z.ndim != 2 or Z.shape[1] != X.shape[1]:
        raise InvalidInputError(
            f"Z must have shape (m, {X.shape[1]}) as X has {X.shape[1]} columns, "
            f"got shape {Z.shape}"
        )
    if M is not None:
        M = np.asarray(M, dtype=np.float64)
        d = X.shape[1]
        if M.shape not in ((d,), (d, d)):
            raise InvalidInputError(
                f"M must have shape ({d}, {d}) or ({d},), got shape {M.shape}"
            )
    return X, Z, M


def _coefficients(alpha: Any, Z: NDArray) -> NDArray:
    alpha = np.asarray(alpha, dtype=np.float64)
    if alpha.ndim != 2 or len(alpha) != len(Z):
        raise InvalidInputError(
            f"alpha must have shape ({len(Z)}, c), one row for each center, "
            f"got shape {alpha.shape}"
        )
    return alpha


def _blocks(n: int, row_elements: int, block_size: int | None) -> Iterator[slice]:
    step = block_size or max(1, _BLOCK_ELEMENTS // max(1, row_elements))
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))


def _metric(kernel: KernelSpec, M: NDArray | None) -> NDArray | None:
    """Return what multiplies differences (M^{1/2}), or centers in an inner product."""
    if M is None or kernel.name in _INNER_PRODUCT:
        return M
    if M.ndim == 1:
        return np.sqrt(np.maximum(M, 0.0))
    # The symmetric root: which root it is matters to kernels that are not radial.
    values, vectors = np.linalg.eigh((M + M.T) / 2)
    return (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T


def _times(x: NDArray, metric: NDArray | None) -> NDArray:
    if metric is None:
        return x
    return x * metric if metric.ndim == 1 else x @ metric


def _values(
    kernel: KernelSpec, X: NDArray, Z: NDArray, metric: NDArray | None
) -> NDArray:
    if kernel.name in _INNER_PRODUCT:
        return _inner_value(kernel, X @ _times(Z, metric).T)
    u = _times(X[:, None, :] - Z[None, :, :], metric)
    L = kernel.bandwidth
    if kernel.name == "lpq":
        p, q = kernel.params["p"], kernel.params["q"]
        return np.exp(-((_p_norm(u, p) / L) ** q))
    if kernel.name == "sum_power":
        return _sum_of_powers(kernel, u) ** kernel.params["power"]
    return _radial_value(kernel, np.sqrt((u**2).sum(axis=-1)))


def _slope(kernel: KernelSpec, u: NDArray) -> NDArray:
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


def _smooth_at_zero(kernel: KernelSpec) -> bool:
    match kernel.name:
        case "gaussian":
            return True
        case "exp_power":
            return kernel.params["q"] == 2
        case "matern":
            return kernel.option("nu") > 1
    return False


def _inner_value(kernel: KernelSpec, product: NDArray) -> NDArray:
    if kernel.name == "quadratic":
        return product**2
    return np.asarray(kernel.option("h")(product), dtype=np.float64)


def _inner_slope(kernel: KernelSpec, product: NDArray) -> NDArray:
    if kernel.name == "quadratic":
        return 2 * product
    return np.asarray(kernel.option("dh")(product), dtype=np.float64)
