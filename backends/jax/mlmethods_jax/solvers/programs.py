"""The compiled programs of EigenPro: spectrum, largest diagonal entry, one pass."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

import mlmethods_jax._pytrees  # noqa: F401
from mlmethods.interfaces import KernelSpec
from mlmethods_jax.ops import _distances as dist
from mlmethods_jax.ops import kernels
from mlmethods_jax.ops._blocks import choose_block, map_row_blocks
from mlmethods_jax.ops._kernel_functions import has_unit_diagonal
from mlmethods_jax.ops._precision import x64

__all__ = ["epoch", "kernel_diagonal", "largest_diagonal", "subsample_spectrum"]


@functools.partial(jax.jit, static_argnames=("rank",))
def subsample_spectrum(
    kernel: KernelSpec,
    M: jax.Array | None,
    X: jax.Array,
    root: jax.Array,
    size: jax.Array,
    *,
    rank: int,
) -> tuple[jax.Array, jax.Array]:
    """Return the eigenvalues of the weighted ``K / size`` and the basis E.

    Parameters
    ----------
    kernel : KernelSpec
        The kernel.
    M : array of shape (d, d) or (d,), or None
        Mahalanobis matrix.
    X : array of shape (s, d)
        Rows of the subsample, and padding.
    root : array of shape (s,)
        Roots of the weights; 0 for padding.
    size : array of shape ()
        How many rows are none.
    rank : int
        Columns of E.

    Returns
    -------
    values : array of shape (s,), float64
        Descending.
    basis : array of shape (s, rank)
        Eigenvectors over the root of `size`; rows of padding are 0.
    """
    K = kernels._pairwise(kernel, X, None, M)
    with x64():
        wide = (root[:, None] * K * root[None, :]).astype(jnp.float64)
        values, vectors = jnp.linalg.eigh(wide / size.astype(jnp.float64))
        # Descending: eigh returns ascending order.
        basis = vectors[:, ::-1][:, :rank] / jnp.sqrt(size.astype(jnp.float64))
        basis = jnp.where(root[:, None] > 0, basis, 0.0)
        return values[::-1], basis.astype(X.dtype)


@jax.jit
def largest_diagonal(
    kernel: KernelSpec,
    M: jax.Array | None,
    X: jax.Array,
    root: jax.Array,
    place: jax.Array,
    centers: jax.Array,
    center_root: jax.Array,
    basis: jax.Array,
    damping: jax.Array,
    reg: jax.Array,
) -> jax.Array:
    """Return the largest diagonal entry of the preconditioned matrix, of shape ().

    Parameters
    ----------
    kernel, M
        As in :func:`subsample_spectrum`.
    X, root : arrays of shape (n, d), (n,)
        Rows and roots of weights; root 0 is padding.
    place : int array of shape (n,)
        Where a row is in the subsample; -1 is nowhere.
    centers, center_root : arrays of shape (s, d), (s,)
        The subsample.
    basis, damping : arrays of shape (s, rank), (rank,)
        E and D.
    reg : array of shape ()
        Ridge.
    """
    setup = kernels.prepare(kernel, X, centers, M)
    own = kernel_diagonal(kernel, X, M)
    count = centers.shape[0]

    def deflated(*args: jax.Array) -> jax.Array:
        *rows, place, root, own = args
        K = setup.values(kernel, tuple(rows), place)
        K = root[:, None] * K * center_root[None, :]
        K = K + jnp.where(dist.self_mask(place, count), reg, 0.0)
        projected = dist.dot(K, basis)
        lost = jnp.sum(projected**2 * damping[None, :], axis=1)
        return jnp.where(root > 0, own * root**2 + reg - lost, 0.0)

    block = choose_block(X.shape[0], 3 * count * X.dtype.itemsize, None)
    return jnp.max(map_row_blocks(deflated, block, *setup.rows, place, root, own))


def kernel_diagonal(kernel: KernelSpec, X: jax.Array, M: jax.Array | None) -> jax.Array:
    """Return k(x, x), of shape (n,); kernels of the difference are 1 there."""
    if has_unit_diagonal(kernel):
        return jnp.ones(X.shape[0], X.dtype)
    return jax.lax.map(
        lambda row: kernels._pairwise(kernel, row[None], None, M)[0, 0],
        X,
        batch_size=256,
    )


@jax.jit
def epoch(
    kernel: KernelSpec,
    M: jax.Array | None,
    X: jax.Array,
    Y: jax.Array,
    root: jax.Array,
    alpha: jax.Array,
    basis: jax.Array,
    damping: jax.Array,
    reg: jax.Array,
    step: jax.Array,
    blocks: jax.Array,
    ends: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Pass once over the rows.

    Parameters
    ----------
    kernel, M
        As in :func:`subsample_spectrum`.
    X, Y, root : arrays of shape (n, d), (n, c), (n,)
        Rows, the subsample first; targets; roots of the weights, 0 for padding.
    alpha : array of shape (n, c)
        Coefficients.
    basis, damping : arrays of shape (s, rank), (rank,)
        E and D of the subsample.
    reg, step : arrays of shape ()
        Ridge, and the factor of one row's residual.
    blocks : int array of shape (count, b)
        Rows of each block; n is none.
    ends : bool array of shape (count,)
        Whether a batch ends with the block.

    Returns
    -------
    alpha : array of shape (n, c)
        The coefficients after the pass.
    total : array of shape ()
        Sum of the squared residuals met.

    Notes
    -----
    All blocks of a batch see the coefficients from before the batch. Peak memory is
    O(n (d + c) + b n).
    """
    setup = kernels.prepare(kernel, X, None, M)
    s = basis.shape[0]
    inverse = jnp.where(root > 0, 1.0 / jnp.where(root > 0, root, 1.0), 0.0)

    def one_block(carry: Any, args: tuple[jax.Array, jax.Array]) -> Any:
        seen, pending, inner, total = carry
        index, end = args
        rows = tuple(_take(a, index) for a in setup.rows)
        K = setup.values(kernel, rows, index)
        w = root.at[index].get(mode="fill", fill_value=0.0)[:, None]
        own = (seen * inverse[:, None]).at[index].get(mode="fill", fill_value=0.0)
        error = w * (dist.dot(K, seen) - _take(Y, index)) + reg * own
        weighted = w * error
        pending = pending.at[index].add(-step * weighted, mode="drop")
        inner = inner + root[:s, None] * dist.dot(K[:, :s].T, weighted)
        # Rows beyond the subsample fall off the end, or meet rows of E that are 0.
        inner = inner.at[index].add(reg * error, mode="drop")
        total = total + jnp.sum(error**2)
        seen, pending, inner = jax.lax.cond(
            end, act, lambda *carry: carry, seen, pending, inner
        )
        return (seen, pending, inner, total), None

    def act(_: jax.Array, pending: jax.Array, inner: jax.Array) -> Any:
        moved = dist.dot(basis, damping[:, None] * dist.dot(basis.T, inner))
        pending = pending.at[:s].add(step * root[:s, None] * moved)
        return pending, pending, jnp.zeros_like(inner)

    zero = jnp.zeros((s, Y.shape[1]), X.dtype)
    start = (alpha, alpha, zero, jnp.zeros((), X.dtype))
    (_, alpha, _, total), _ = jax.lax.scan(one_block, start, (blocks, ends))
    return alpha, total


def _take(a: jax.Array, index: jax.Array) -> jax.Array:
    """Return rows; an index beyond the end gives some row, which counts for nothing."""
    return a.at[index].get(mode="clip")
