"""Kernel matrices, their products and their gradients, straight from the formulas.

Everything is float64 and uses direct differences x - z, a block of rows at a time:
slower than the expansion |x|^2 + |z|^2 - 2 x.z, and free of its cancellation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import Center, KernelSpec, NDArray
from mlmethods_numpy.ops import _network
from mlmethods_numpy.ops._differences import (
    difference_slope,
    difference_value,
    smooth_at_zero,
)

__all__ = ["agop", "grad", "kernel_diagonal", "matvec", "pairwise"]

_INNER_PRODUCT = ("quadratic", "inner_product", "linear", "polynomial")
_NETWORK = ("nngp", "ntk")
_COMPOSITE = ("sum", "product")
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
    own = _own(X, Z, None)
    X, Z, M = _points(X, Z, M)
    metric = _metric(kernel, M)
    K = np.empty((len(X), len(Z)))
    for rows in _blocks(len(X), Z.size, None):
        K[rows] = _values(kernel, X[rows], Z, metric, _of(own, rows))
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
    own = _own(X, Z, None)
    X, Z, M = _points(X, Z, M)
    alpha = _coefficients(alpha, Z)
    metric = _metric(kernel, M)
    out = np.empty((len(X), alpha.shape[1]))
    for rows in _blocks(len(X), Z.size, block_size):
        out[rows] = _values(kernel, X[rows], Z, metric, _of(own, rows)) @ alpha
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
        inner product are smooth there and keep them; networks keep what has a slope.
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
    if kernel.name in _COMPOSITE:
        parts = [kernel_diagonal(child, X, M) for child in kernel.children]
        return _combined(kernel, parts)
    if kernel.name in _INNER_PRODUCT + _NETWORK:
        squared = (X * _times(X, M)).sum(axis=1)
        if kernel.name in _NETWORK:
            return _network.diagonal(kernel, np.maximum(squared, 0.0), X.shape[1])
        return _inner_value(kernel, squared)
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
        self.own = _own(X, Z, self_index)
        self.X, self.Z, M = _points(X, Z, M)
        self.metric = _metric(kernel, M)
        self.alpha = _coefficients(alpha, self.Z)
        self.block_size = block_size
        self.shape = (len(self.X), self.alpha.shape[1], self.X.shape[1])

    def __iter__(self) -> Iterator[tuple[slice, NDArray]]:
        for rows in _blocks(len(self.X), self.Z.size, self.block_size):
            yield (
                rows,
                _gradient(
                    self.kernel,
                    self.X[rows],
                    self.Z,
                    self.metric,
                    _of(self.own, rows),
                    self.alpha,
                ),
            )


def _gradient(
    kernel: KernelSpec,
    X: NDArray,
    Z: NDArray,
    metric: Any,
    own: NDArray | None,
    alpha: NDArray,
) -> NDArray:
    """Return the gradients [n, c, d]; alpha is [m, c], or [n, m, c] by row."""
    if kernel.name in _COMPOSITE:
        factors = _factors(kernel, X, Z, metric, own)
        # Each pair's coefficient takes what multiplies the child there.
        parts = [
            _gradient(child, X, Z, root, own, np.multiply(factor, alpha))
            for child, root, factor in zip(
                kernel.children, metric, factors, strict=True
            )
        ]
        return sum(parts[1:], parts[0])
    if kernel.name in _NETWORK:
        return _network.gradient(kernel, X, Z, metric, own, alpha)
    transposed = np.swapaxes(alpha, -1, -2)
    if kernel.name in _INNER_PRODUCT:
        MZ = _times(Z, metric)
        slope = _inner_slope(kernel, X @ MZ.T)
        return (slope[:, None, :] * transposed) @ MZ
    u = _times(X[:, None, :] - Z[None, :, :], metric)
    if own is not None:
        has_own = np.flatnonzero(own >= 0)
        u[has_own, own[has_own]] = 0.0
    if not smooth_at_zero(kernel):
        origin = Z.mean(axis=0)
        norm_x = (_times(X - origin, metric) ** 2).sum(axis=-1)
        norm_z = (_times(Z - origin, metric) ** 2).sum(axis=-1)
        threshold = 16 * np.finfo(np.float64).eps * (norm_x[:, None] + norm_z)
        u[(u**2).sum(axis=-1) < threshold] = 0.0
    # [c, m] @ [rows, m, d], then du/dx = M^{1/2}.
    return _times(transposed @ difference_slope(kernel, u), metric)


def _factors(
    kernel: KernelSpec, X: NDArray, Z: NDArray, metric: Any, own: NDArray | None
) -> list[Any]:
    """Return what multiplies each child: weights, or the others' values [n, m, 1]."""
    if kernel.name == "sum":
        return [float(weight) for weight in kernel.params["weights"]]
    values = [
        _values(child, X, Z, root, own)
        for child, root in zip(kernel.children, metric, strict=True)
    ]
    ones = np.ones((len(X), len(Z)))
    return [
        np.prod([ones, *values[:i], *values[i + 1 :]], axis=0)[:, :, None]
        for i in range(len(values))
    ]


def _combined(kernel: KernelSpec, parts: list[NDArray]) -> NDArray:
    if kernel.name == "product":
        return np.prod(parts, axis=0)
    return np.tensordot(np.asarray(kernel.params["weights"], float), parts, axes=1)


def _own(X: Any, Z: Any | None, self_index: Any | None) -> NDArray | None:
    """Return for each row the center that is the same sample, -1 for none."""
    if self_index is not None:
        return np.asarray(self_index)
    return np.arange(len(X)) if Z is None else None


def _of(own: NDArray | None, rows: slice) -> NDArray | None:
    return None if own is None else own[rows]


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


def _metric(kernel: KernelSpec, M: NDArray | None) -> Any:
    """Return what multiplies differences (M^{1/2}), or centers in an inner product.

    For a sum or a product, that of each child.
    """
    if kernel.name in _COMPOSITE:
        return [_metric(child, M) for child in kernel.children]
    if M is None or kernel.name in _INNER_PRODUCT + _NETWORK:
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
    kernel: KernelSpec, X: NDArray, Z: NDArray, metric: Any, own: NDArray | None
) -> NDArray:
    if kernel.name in _COMPOSITE:
        parts = [
            _values(child, X, Z, root, own)
            for child, root in zip(kernel.children, metric, strict=True)
        ]
        return _combined(kernel, parts)
    if kernel.name in _NETWORK:
        return _network.values(kernel, X, Z, metric, own)
    if kernel.name in _INNER_PRODUCT:
        return _inner_value(kernel, X @ _times(Z, metric).T)
    return difference_value(kernel, _times(X[:, None, :] - Z[None, :, :], metric))


def _inner_value(kernel: KernelSpec, product: NDArray) -> NDArray:
    if kernel.name == "linear":
        return product
    if kernel.name == "quadratic":
        return product**2
    if kernel.name == "polynomial":
        return _polynomial_base(kernel, product) ** kernel.option("degree")
    return np.asarray(kernel.option("h")(product), dtype=np.float64)


def _inner_slope(kernel: KernelSpec, product: NDArray) -> NDArray:
    if kernel.name == "linear":
        # Not plain ones: NaN must come through.
        return 0.0 * product + 1.0
    if kernel.name == "quadratic":
        return 2 * product
    if kernel.name == "polynomial":
        degree = kernel.option("degree")
        base = _polynomial_base(kernel, product)
        return degree * kernel.params["scale"] * base ** (degree - 1)
    return np.asarray(kernel.option("dh")(product), dtype=np.float64)


def _polynomial_base(kernel: KernelSpec, product: NDArray) -> NDArray:
    return kernel.params["constant"] + kernel.params["scale"] * product
