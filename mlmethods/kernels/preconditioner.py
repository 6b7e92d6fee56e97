"""The arithmetic of the EigenPro preconditioner that every backend shares.

With s the roots of the weights, the system is ``(s K s + reg I) beta = s y``: the
interpolation of ``s y`` in the kernel ``k'(i, j) = s_i k(x_i, x_j) s_j + reg [i = j]``.
A subsample of m rows gives eigenpairs ``K'_m / m = V S' V^T`` with ``S' = S + reg/m``.
Each gradient is multiplied by ``I - sum_i (1 - (S'_q / S'_i)^alpha) psi_i psi_i^T``,
where ``psi_i = k'(., sub) V_i / sqrt(m S'_i)`` are orthonormal functions; in
coefficients, by ``I - E D E^T k'(sub, .)`` with ``E = V / sqrt(m)`` and
``D_i = (1 - (S'_q / S'_i)^alpha) / S'_i``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mlmethods.interfaces import NDArray

__all__ = [
    "SpectralFilter",
    "batch_and_step",
    "largest_rank",
    "spectral_filter",
    "split_batches",
]

# Close to 1, which damps to S_q itself; the remainder keeps round-off at bay.
_POWER = 0.95
# Larger batches would cost more directions and, on a CPU, save no time.
_WANTED_CRITICAL_BATCH = 1024
# Beyond a tenth of the subsample its eigenvectors say little about other rows.
_SHARE = 10


class SpectralFilter(NamedTuple):
    """What the spectrum of the subsample decides.

    Attributes
    ----------
    top_q : int
        Directions that are damped.
    weights : ndarray of shape (rank,)
        D; zero from `top_q` on.
    largest_eigenvalue : float
        Of the preconditioned matrix over n.
    """

    top_q: int
    weights: NDArray
    largest_eigenvalue: float


def largest_rank(size: int, top_q: int | None) -> int:
    """Return how many eigenvectors of `size` rows may be needed, at least 1."""
    return max(1, min(size - 1, size // _SHARE if top_q is None else top_q))


def spectral_filter(
    values: NDArray,
    size: int,
    n: int,
    reg: float,
    top_q: int | None,
    rank: int,
    eps: float,
) -> SpectralFilter:
    """Choose the directions and their weights.

    Parameters
    ----------
    values : ndarray
        Eigenvalues of the weighted ``K_sub / size``, descending; at least `size`.
    size, n : int
        Rows of the subsample, and in all.
    reg : float
        Ridge.
    top_q : int or None
        Directions asked for; None takes the fewest that make batches large.
    rank : int
        Length of the weights returned.
    eps : float
        Round-off of the kernel values.
    """
    S = np.maximum(np.asarray(values, np.float64)[:size], 0.0)
    shifted = S + reg / size
    # Eigenvectors of values that are round-off are noise.
    sound = int(np.count_nonzero(S / max(S[0], 1e-300) > 16 * eps))
    limit = max(0, min(largest_rank(size, top_q), rank, sound - 1, size - 1))
    # The matrix of all n rows adds reg / n to each eigenvalue, not reg / size.
    true = S + reg / n
    if limit == 0:
        return SpectralFilter(0, np.zeros(rank), float(true[0]))
    q = limit
    if top_q is None:
        candidates = np.arange(1, limit + 1)
        damped = (shifted[candidates] / shifted[0]) ** _POWER * true[0]
        largest = np.maximum(damped, true[candidates])
        kept = np.cumsum(shifted ** (1 - _POWER))[candidates - 1]
        rest = np.sum(shifted) - np.cumsum(shifted)[candidates - 1]
        diagonal = shifted[candidates] ** _POWER * kept + rest
        enough = diagonal / largest + 1 >= _WANTED_CRITICAL_BATCH
        q = int(candidates[np.argmax(enough)]) if enough.any() else limit
    ratio = (shifted[q] / shifted[:q]) ** _POWER
    weights = np.zeros(rank)
    weights[:q] = (1 - ratio) / shifted[:q]
    largest_eigenvalue = max(float(np.max(ratio * true[:q])), float(true[q]))
    return SpectralFilter(q, weights, largest_eigenvalue)


def batch_and_step(
    diagonal: float,
    eigenvalue: float,
    n: int,
    batch_size: int | None,
    granularity: int = 1,
) -> tuple[int, float, float]:
    """Return the batch size, the step for one row and the critical batch size.

    Half of the critical size takes as few passes as any smaller one, and its step is
    half of the largest stable one. `granularity` rounds an automatic size.

    Parameters
    ----------
    diagonal, eigenvalue : float
        Largest diagonal entry, and largest eigenvalue over n, of the preconditioned
        matrix.
    n : int
        Rows.
    batch_size : int or None
        What was asked for.
    granularity : int
        An automatic size is a multiple of it.
    """
    if diagonal <= 0 or eigenvalue <= 0:
        return min(n, batch_size or n), 0.0, float(n)
    # The largest entry is at least their mean, the sum of the eigenvalues over n.
    diagonal = max(diagonal, eigenvalue)
    critical = diagonal / eigenvalue + 1
    if batch_size is None:
        wanted = int(min(critical / 2, n))
        batch_size = max(granularity, wanted // granularity * granularity)
    m = min(batch_size, n)
    if m < critical:
        return m, 1.0 / diagonal, critical
    return m, 1.98 / (diagonal + (m - 1) * eigenvalue), critical


def split_batches(
    order: NDArray, batch: int, block: int, count: int, fill: int
) -> tuple[NDArray, NDArray]:
    """Cut an order of rows into blocks, several of which make a batch.

    Parameters
    ----------
    order : int ndarray of shape (n,)
        The rows.
    batch, block : int
        Rows in a batch and, at most, in a block.
    count : int
        Blocks to return; the last ones may be empty.
    fill : int
        Stands for no row.

    Returns
    -------
    blocks : int32 ndarray of shape (count, block)
        Rows.
    ends : bool ndarray of shape (count,)
        Whether a batch ends with the block.
    """
    per_batch = -(-batch // block)
    batches = -(-len(order) // batch)
    rows = np.full(batches * batch, fill, np.int32)
    rows[: len(order)] = order
    padded = np.full((batches, per_batch * block), fill, np.int32)
    padded[:, :batch] = rows.reshape(batches, batch)
    filled = padded.reshape(-1, block)[:count]
    blocks = np.full((count, block), fill, np.int32)
    blocks[: len(filled)] = filled
    ends = np.arange(1, count + 1) % per_batch == 0
    # The last batch may be shorter.
    ends[np.flatnonzero((blocks != fill).any(axis=1))[-1]] = True
    return blocks, ends
