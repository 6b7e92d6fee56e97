"""The Laplace and the Gaussian kernel, by way of transformed points.

With ``M = R R^T`` the distance of x and z under M is that of the rows ``x R`` and
``z R``, so SciPy's distances do the work.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import eigh
from scipy.spatial.distance import cdist

from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import Center, KernelSpec

__all__ = ["agop", "grad", "matvec", "pairwise"]


def pairwise(
    kernel: KernelSpec,
    X: np.ndarray,
    Z: np.ndarray | None = None,
    M: np.ndarray | None = None,
) -> np.ndarray:
    """Return the kernel matrix [n, m]."""
    return _profile(kernel, _distances(X, X if Z is None else Z, M))


def matvec(
    kernel: KernelSpec,
    X: np.ndarray,
    Z: np.ndarray | None,
    alpha: np.ndarray,
    M: np.ndarray | None = None,
    *,
    block_size: int | None = None,
) -> np.ndarray:
    """Return ``K(X, Z) @ alpha`` [n, c], a block of rows at a time."""
    Z = X if Z is None else Z
    return np.concatenate(
        [pairwise(kernel, X[rows], Z, M) @ alpha for rows in _blocks(X, block_size)]
    )


def grad(
    kernel: KernelSpec,
    X: np.ndarray,
    Z: np.ndarray | None,
    alpha: np.ndarray,
    M: np.ndarray | None = None,
    *,
    self_index: np.ndarray | None = None,
    block_size: int | None = None,
) -> np.ndarray:
    """Return the gradients [n, c, d] of ``sum_j alpha_j k(x, z_j)``.

    They are ``-M sum_j w_j alpha_j (x - z_j)`` with w = -k'(r) / r, which is taken as
    zero where x and z are the same point.
    """
    if Z is None:
        Z, self_index = X, np.arange(len(X))
    out = np.empty((len(X), alpha.shape[1], X.shape[1]))
    for rows in _blocks(X, block_size):
        r = _distances(X[rows], Z, M)
        if self_index is not None:
            mine = np.flatnonzero(self_index[rows] >= 0)
            r[mine, self_index[rows][mine]] = 0.0
        weighted = _slope(kernel, r)[:, None, :] * alpha.T
        total = weighted.sum(axis=-1)[..., None] * X[rows][:, None, :]
        out[rows] = _apply(weighted @ Z - total, M)
    return out


def agop(
    kernel: KernelSpec,
    X: np.ndarray,
    Z: np.ndarray | None,
    alpha: np.ndarray,
    M: np.ndarray | None = None,
    *,
    weights: np.ndarray | None = None,
    diagonal: bool = False,
    center: Center = "none",
    self_index: np.ndarray | None = None,
    block_size: int | None = None,
) -> np.ndarray:
    """Return the average gradient outer product [d, d], or its diagonal [d]."""
    if center not in ("none", "per_output", "pooled"):
        raise InvalidInputError(
            f"center must be 'none', 'per_output' or 'pooled', got {center!r}"
        )
    g = grad(kernel, X, Z, alpha, M, self_index=self_index, block_size=block_size)
    weights = np.ones(len(X)) if weights is None else weights
    if center != "none":
        mean = np.average(g, axis=0, weights=weights)
        g = g - (mean if center == "per_output" else mean.mean(axis=0))
    g = g * np.sqrt(weights / weights.sum())[:, None, None]
    flat = g.reshape(-1, X.shape[1])
    return (flat**2).sum(axis=0) if diagonal else flat.T @ flat


def _profile(kernel: KernelSpec, r: np.ndarray) -> np.ndarray:
    scaled = r / kernel.bandwidth
    return np.exp(-(scaled**2) / 2) if kernel.name == "gaussian" else np.exp(-scaled)


def _slope(kernel: KernelSpec, r: np.ndarray) -> np.ndarray:
    """Return ``-k'(r) / r``, zero at r = 0 where that is infinite."""
    k = _profile(kernel, r)
    if kernel.name == "gaussian":
        return k / kernel.bandwidth**2
    scaled = r * kernel.bandwidth
    return np.divide(k, scaled, out=np.zeros_like(r), where=scaled > 0)


def _distances(X: np.ndarray, Z: np.ndarray, M: np.ndarray | None) -> np.ndarray:
    if M is None:
        return cdist(X, Z)
    if M.ndim == 1:
        root = np.sqrt(M)
        return cdist(X * root, Z * root)
    values, vectors = eigh(M)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    return cdist(X @ root, Z @ root)


def _apply(g: np.ndarray, M: np.ndarray | None) -> np.ndarray:
    if M is None:
        return g
    return g * M if M.ndim == 1 else g @ M


def _blocks(X: np.ndarray, block_size: int | None) -> list[slice]:
    size = block_size or 1024
    return [slice(start, start + size) for start in range(0, len(X), size)]
