"""Kernel machines whose rows are spread over the devices of a mesh.

For products and the AGOP the blocks of rows and coefficients go round the ring of
devices, so that each device sees every center while it holds a share. In a pass of
EigenPro the rows of a batch are sent to all devices, each of which has its own columns
of the kernel matrix. All functions here take arrays that are sharded by their first
axis over the mesh axis ``"data"``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from mlmethods.interfaces import Center, KernelSpec
from mlmethods_jax.ops import _distances as dist
from mlmethods_jax.ops import kernels
from mlmethods_jax.ops._blocks import choose_block, scan_row_blocks
from mlmethods_jax.ops._kernel_functions import safe_root
from mlmethods_jax.ops._lookup import expanded_size
from mlmethods_jax.sharding import DATA_AXIS
from mlmethods_jax.solvers.programs import kernel_diagonal

__all__ = ["agop", "epoch", "largest_diagonal", "matvec", "to_metric"]

_ROWS, _SAME = PartitionSpec(DATA_AXIS), PartitionSpec()


def _ring(
    function: Callable[[Any, Any], Any], start: Any, travelling: Any, parts: int
) -> Any:
    """Fold `function` over the shares of all the other devices."""
    following = [(i, (i + 1) % parts) for i in range(parts)]

    def step(carry: Any, _: None) -> tuple[Any, None]:
        total, held = carry
        held = jax.tree.map(lambda a: jax.lax.ppermute(a, DATA_AXIS, following), held)
        return (function(total, held), held), None

    (total, _), _ = jax.lax.scan(step, (start, travelling), None, length=parts - 1)
    return total


def _product(
    kernel: KernelSpec,
    M: jax.Array | None,
    X: jax.Array,
    centers: jax.Array,
    alpha: jax.Array,
    parts: int,
    own: bool,
) -> jax.Array:
    """Return ``K(X, all centers) alpha`` on one device."""

    def part(Z: jax.Array | None, alpha: jax.Array) -> jax.Array:
        return kernels._matvec(kernel, X, Z, alpha, M, block_size=None)

    # Rows that are their own centers have an exact diagonal.
    first = part(None if own else centers, alpha)
    return _ring(
        lambda total, held: total + part(*held), first, (centers, alpha), parts
    )


@functools.partial(jax.jit, static_argnames=("mesh",))
def matvec(
    kernel: KernelSpec,
    X: jax.Array,
    centers: jax.Array | None,
    alpha: jax.Array,
    M: jax.Array | None = None,
    *,
    mesh: Mesh,
) -> jax.Array:
    """Return ``K(X, centers) @ alpha``, of shape (n, c), sharded as `X` is.

    Parameters
    ----------
    kernel : KernelSpec
        The kernel.
    X : array of shape (n, d), sharded
        Points.
    centers : array of shape (m, d), sharded, or None
        Centers; None means `X`.
    alpha : array of shape (m, c), sharded
        Coefficients; 0 for padding.
    M : array of shape (d, d) or (d,), or None
        Mahalanobis matrix, on every device.
    mesh : jax.sharding.Mesh
        With the axis ``"data"``.
    """
    own, parts = centers is None, mesh.shape[DATA_AXIS]

    def local(kernel: Any, M: Any, X: Any, Z: Any, alpha: Any) -> jax.Array:
        return _product(kernel, M, X, Z, alpha, parts, own)

    return jax.shard_map(
        local,
        mesh=mesh,
        in_specs=(_SAME, _SAME, _ROWS, _ROWS, _ROWS),
        out_specs=_ROWS,
        check_vma=False,
    )(kernel, M, X, X if own else centers, alpha)


@functools.partial(jax.jit, static_argnames=("mesh", "diagonal", "center"))
def agop(
    kernel: KernelSpec,
    X: jax.Array,
    alpha: jax.Array,
    M: jax.Array | None = None,
    *,
    weights: jax.Array,
    mesh: Mesh,
    diagonal: bool = False,
    center: Center = "none",
) -> jax.Array:
    """Return the average gradient outer product of a machine at its own centers.

    Parameters
    ----------
    kernel : KernelSpec
        The kernel.
    X, alpha, weights : arrays of shape (n, d), (n, c), (n,), sharded
        Centers, coefficients and weights of the mean; padding has 0 of the last two.
    M : array of shape (d, d) or (d,), or None
        Mahalanobis matrix, on every device.
    mesh : jax.sharding.Mesh
        With the axis ``"data"``.
    diagonal, center
        As in :func:`mlmethods_jax.ops.kernels.agop`.

    Returns
    -------
    array of shape (d, d) or (d,)
        On every device.
    """
    parts = mesh.shape[DATA_AXIS]
    c, d = alpha.shape[1], expanded_size(kernel, X.shape[1])

    def local(kernel: Any, M: Any, X: Any, alpha: Any, weights: Any) -> jax.Array:
        n = X.shape[0]

        def moments(x: jax.Array, w: jax.Array, place: jax.Array) -> Any:
            def part(Z: jax.Array, alpha: jax.Array, index: jax.Array) -> jax.Array:
                return kernels._grad(kernel, x, Z, alpha, M, index, block_size=None)

            nowhere = jnp.full_like(place, -1)
            g = _ring(
                lambda total, held: total + part(held[0], held[1], nowhere),
                part(X, alpha, place),
                (X, alpha),
                parts,
            )
            mean = jnp.einsum("b,bcd->cd", w, g, precision=jax.lax.Precision.HIGHEST)
            if diagonal:
                return jnp.einsum("b,bcd->d", w, g**2), mean
            flat = g.reshape(-1, d)
            return dist.dot((g * w[:, None, None]).reshape(flat.shape).T, flat), mean

        block = choose_block(n, 4 * c * d * X.dtype.itemsize, None)
        place = jnp.arange(n, dtype=jnp.int32)
        second, first = scan_row_blocks(moments, block, X, weights, place)
        total = jax.lax.psum(jnp.sum(weights), DATA_AXIS)
        total = jnp.where(total > 0, total, 1.0)
        second, first = jax.lax.psum((second, first), DATA_AXIS)
        second, first = second / total, first / total
        if center == "pooled":
            first = jnp.mean(first, axis=0, keepdims=True) * c**0.5
        if center != "none":
            squares = first**2 if diagonal else first[:, :, None] * first[:, None, :]
            second = second - jnp.sum(squares, axis=0)
        if diagonal:
            return jnp.maximum(second, 0.0)
        return (second + second.T) / 2.0

    return jax.shard_map(
        local,
        mesh=mesh,
        in_specs=(_SAME, _SAME, _ROWS, _ROWS, _ROWS),
        out_specs=_SAME,
        check_vma=False,
    )(kernel, M, X, alpha, weights)


@jax.jit
def to_metric(X: jax.Array, M: jax.Array | None) -> jax.Array:
    """Return ``X M^{1/2}``, in which a kernel of M is one of the identity."""
    if M is None:
        return X
    root = safe_root(M) if M.ndim == 1 else dist.metric_root(M)
    return dist.apply_metric(X, root)


@functools.partial(jax.jit, static_argnames=("mesh",))
def largest_diagonal(
    kernel: KernelSpec,
    M: jax.Array | None,
    X: jax.Array,
    root: jax.Array,
    basis: jax.Array,
    damping: jax.Array,
    reg: jax.Array,
    *,
    mesh: Mesh,
) -> jax.Array:
    """Return the largest diagonal entry of the preconditioned matrix, of shape ().

    Parameters
    ----------
    kernel : KernelSpec
        The kernel.
    M : array of shape (d, d) or (d,), or None
        Mahalanobis matrix, on every device.
    X, root : arrays of shape (n, d), (n,), sharded
        Rows, and roots of weights; root 0 is padding.
    basis : array of shape (s, rank), sharded
        E; on each device, of its first rows.
    damping : array of shape (rank,)
        D.
    reg : array of shape ()
        Ridge.
    mesh : jax.sharding.Mesh
        With the axis ``"data"``.
    """
    parts = mesh.shape[DATA_AXIS]

    def local(
        kernel: Any, M: Any, X: Any, root: Any, E: Any, D: Any, reg: Any
    ) -> jax.Array:
        s = E.shape[0]
        held = (X[:s], root[:s, None] * E)
        T = root[:, None] * _product(kernel, M, X, *held, parts, False)
        T = T.at[:s].add(reg * E)
        own = kernel_diagonal(kernel, X, M)
        after = own * root**2 + reg - jnp.sum(T**2 * D[None, :], axis=1)
        return jax.lax.pmax(jnp.max(jnp.where(root > 0, after, 0.0)), DATA_AXIS)

    return jax.shard_map(
        local,
        mesh=mesh,
        in_specs=(_SAME, _SAME, _ROWS, _ROWS, _ROWS, _SAME, _SAME),
        out_specs=_SAME,
        check_vma=False,
    )(kernel, M, X, root, basis, damping, reg)


@functools.partial(jax.jit, static_argnames=("mesh",))
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
    *,
    mesh: Mesh,
) -> tuple[jax.Array, jax.Array]:
    """Pass once over the rows, in the steps of the solver on one device.

    Parameters
    ----------
    kernel : KernelSpec
        The kernel.
    M : array of shape (d, d) or (d,), or None
        Mahalanobis matrix, on every device. Each block applies it to all rows: give
        rows in the metric (:func:`to_metric`) and None where the kernel allows it.
    X, Y, root, alpha : arrays of shape (n, d), (n, c), (n,), (n, c), sharded
        Rows, targets, roots of weights and coefficients.
    basis : array of shape (s, rank), sharded
        E; on each device, of its first rows.
    damping, reg, step : arrays of shape (rank,), (), ()
        D, ridge, and factor of one row's residual; on every device.
    blocks, ends : arrays of shape (count, b), (count,)
        As in :func:`mlmethods_jax.solvers.programs.epoch`; on every device.
    mesh : jax.sharding.Mesh
        With the axis ``"data"``.

    Returns
    -------
    alpha : array of shape (n, c), sharded
        The coefficients after the pass.
    total : array of shape ()
        Sum of the squared residuals met.

    Notes
    -----
    A block of b rows costs three sums over the devices, of b (d + 2 c + 1), b c and
    rank c numbers, and b n / devices kernel values on each.
    """
    d, c = X.shape[1], Y.shape[1]

    def local(
        kernel: Any,
        M: Any,
        X: jax.Array,
        Y: jax.Array,
        root: jax.Array,
        alpha: jax.Array,
        E: jax.Array,
        D: jax.Array,
        reg: jax.Array,
        step: jax.Array,
        blocks: jax.Array,
        ends: jax.Array,
    ) -> tuple[jax.Array, jax.Array]:
        n, s = X.shape[0], E.shape[0]
        first = jax.lax.axis_index(DATA_AXIS).astype(jnp.int32) * n
        inverse = jnp.where(root > 0, 1.0 / jnp.where(root > 0, root, 1.0), 0.0)

        def one_block(carry: Any, args: tuple[jax.Array, jax.Array]) -> Any:
            seen, pending, inner, total = carry
            index, end = args
            place = index - first
            # Rows of other devices fall off the end.
            place = jnp.where((place >= 0) & (place < n), place, n)
            parts = (X, Y, seen * inverse[:, None], root[:, None])
            mine = [a.at[place].get(mode="fill", fill_value=0.0) for a in parts]
            sent = jax.lax.psum(jnp.concatenate(mine, axis=1), DATA_AXIS)
            x, y = sent[:, :d], sent[:, d : d + c]
            own, w = sent[:, d + c : d + 2 * c], sent[:, d + 2 * c :]
            setup = kernels.prepare(kernel, x, X, M)
            K = setup.values(kernel, setup.rows, place)
            product = jax.lax.psum(dist.dot(K, seen), DATA_AXIS)
            error = w * (product - y) + reg * own
            weighted = w * error
            pending = pending.at[place].add(-step * weighted, mode="drop")
            inner = inner + root[:s, None] * dist.dot(K[:, :s].T, weighted)
            inner = inner.at[place].add(reg * error, mode="drop")
            total = total + jnp.sum(error**2)
            # Summed in every block: sums must not depend on a branch.
            along = jax.lax.psum(dist.dot(E.T, inner), DATA_AXIS)
            moved = step * root[:s, None] * dist.dot(E, D[:, None] * along)
            acted = pending.at[:s].add(moved)
            seen = jnp.where(end, acted, seen)
            pending = jnp.where(end, acted, pending)
            inner = jnp.where(end, 0.0, inner)
            return (seen, pending, inner, total), None

        zero = jnp.zeros((s, c), X.dtype)
        start = (alpha, alpha, zero, jnp.zeros((), X.dtype))
        (_, alpha, _, total), _ = jax.lax.scan(one_block, start, (blocks, ends))
        return alpha, total

    same = (_SAME,) * 5
    return jax.shard_map(
        local,
        mesh=mesh,
        in_specs=(_SAME, _SAME, _ROWS, _ROWS, _ROWS, _ROWS, _ROWS, *same),
        out_specs=(_ROWS, _SAME),
        check_vma=False,
    )(kernel, M, X, Y, root, alpha, basis, damping, reg, step, blocks, ends)
