"""Categorical features by lookup: what two categories add is read from a table.

A kernel whose static ``lookup`` is (K_1, ..., K_F) takes the last F columns of its
points for codes 0 ... K_f - 1, and equals the kernel of points in which each code is a
block of K_f coordinates, one-hot; -1 is a block of zeros. The Mahalanobis matrix has
the shape of that expanded space, and no blocks may meet: what is outside the diagonal
blocks of the codes is ignored.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mlmethods.interfaces import KernelSpec
from mlmethods_jax.ops import _coordinatewise as coordinatewise
from mlmethods_jax.ops import _distances as dist
from mlmethods_jax.ops._kernel_functions import family, safe_root
from mlmethods_jax.ops._radial import Extra

__all__ = ["expanded_size", "lookup_sizes", "prepare"]


def lookup_sizes(kernel: KernelSpec) -> tuple[int, ...]:
    """Return the number of categories of each code column."""
    sizes: Any = dict(kernel.static).get("lookup", ())
    return sizes


def expanded_size(kernel: KernelSpec, d: int) -> int:
    """Return the features of the expanded space for points of `d` columns."""
    sizes = lookup_sizes(kernel)
    return d - len(sizes) + sum(sizes)


class Setup(NamedTuple):
    """The setup of the numbers, and tables and center codes of each code column.

    The last entries of `rows` are the codes of the points, (n,) each, in which the
    number of categories stands for -1.
    """

    rows: tuple[jax.Array, ...]
    numbers: Any
    codes: tuple[jax.Array, ...]
    squared: tuple[jax.Array, ...]
    totals: tuple[jax.Array, ...]
    roots: tuple[jax.Array, ...]
    factor: jax.Array | None

    def _split(self, rows: tuple[jax.Array, ...]) -> tuple[Any, Any]:
        count = len(self.codes)
        return rows[:-count], rows[-count:]

    def _extra(self, codes: tuple[jax.Array, ...]) -> Extra:
        def pairs(tables: tuple[jax.Array, ...]) -> jax.Array:
            parts = [
                jnp.take(table[mine], theirs, axis=1)
                for table, mine, theirs in zip(tables, codes, self.codes, strict=True)
            ]
            return sum(parts[1:], parts[0])

        # Radial kernels have one kind of table.
        squared = pairs(self.squared)
        total = squared if self.totals is self.squared else pairs(self.totals)
        return Extra(squared, total, sum(len(table) - 1 for table in self.squared))

    def values(
        self, kernel: KernelSpec, rows: tuple[jax.Array, ...], index: jax.Array
    ) -> jax.Array:
        """Return the kernel matrix of a block of rows."""
        numbers, codes = self._split(rows)
        return self.numbers.values(kernel, numbers, index, self._extra(codes))

    def weights(
        self, kernel: KernelSpec, rows: tuple[jax.Array, ...], index: jax.Array
    ) -> jax.Array:
        """Return the weights of the pairs, as the setup of the numbers has them."""
        numbers, codes = self._split(rows)
        return self.numbers.weights(kernel, numbers, index, self._extra(codes))

    def pulled(
        self,
        kernel: KernelSpec,
        w: jax.Array,
        rows: tuple[jax.Array, ...],
        alpha: jax.Array,
    ) -> jax.Array:
        """Return b of shape (rows, c, d) in the expanded space."""
        numbers, codes = self._split(rows)
        parts = [self.numbers.pulled(kernel, w, numbers, alpha)]
        for mine, theirs, root in zip(codes, self.codes, self.roots, strict=True):
            sums = _by_category(w, alpha, theirs, len(root))
            parts.append(_block(kernel, sums, mine, root))
        return jnp.concatenate(parts, axis=2)


def _by_category(
    w: jax.Array, alpha: jax.Array, codes: jax.Array, count: int
) -> jax.Array:
    """Return the sums of ``w_ij alpha_jl`` over the centers j of each category."""

    def one_output(a: jax.Array) -> jax.Array:
        return jax.ops.segment_sum((w * a[None, :]).T, codes, count).T

    return jnp.swapaxes(jax.lax.map(one_output, alpha.T), 0, 1)


def _block(
    kernel: KernelSpec, sums: jax.Array, mine: jax.Array, root: jax.Array
) -> jax.Array:
    """Return the inner gradients of one code column, (rows, c, K).

    `sums` (rows, c, K + 1) are over the centers of each category; the last is -1.
    """
    known = sums[:, :, :-1]
    if family(kernel) == "inner_product":
        return known
    if family(kernel) == "radial":
        own = jax.nn.one_hot(mine, known.shape[2], dtype=sums.dtype)
        return known - jnp.sum(sums, axis=2, keepdims=True) * own[:, None, :]

    def one_coordinate(column: jax.Array) -> jax.Array:
        slopes = coordinatewise.slope(kernel, column[mine][:, None] - column[None, :])
        return -jnp.einsum(
            "bk,bck->bc", slopes, sums, precision=jax.lax.Precision.HIGHEST
        )

    return jnp.moveaxis(jax.lax.map(one_coordinate, root.T), 0, 2)


def prepare(
    numbers: Any, kernel: KernelSpec, X: jax.Array, Z: jax.Array | None, M: Any
) -> Setup:
    """Return the setup; `numbers` is the module of the kernel's family."""
    sizes = lookup_sizes(kernel)
    p = X.shape[1] - len(sizes)
    root = factor = M
    if family(kernel) == "coordinatewise" and M is not None:
        root = factor = safe_root(M) if M.ndim == 1 else dist.metric_root(M)
    base = numbers.prepare(X[:, :p], None if Z is None else Z[:, :p], _corner(M, 0, p))
    squared, totals, roots = [], [], []
    start = p
    for size in sizes:
        block = _square(_corner(M, start, size), size, X.dtype)
        squared.append(_squared_distances(block))
        top = _square(_corner(root, start, size), size, X.dtype)
        # The last row is that of the code -1: a block of zeros.
        roots.append(jnp.pad(top, ((0, 1), (0, 0))))
        if family(kernel) == "coordinatewise":
            totals.append(_coordinate_sums(kernel, roots[-1]))
        elif family(kernel) == "inner_product":
            totals.append(jnp.pad(block, ((0, 1), (0, 1))))
        start += size
    same = not totals
    tables = tuple(squared)
    own = _codes(X, p, sizes)
    return Setup(
        (*base.rows, *own),
        base,
        own if Z is None else _codes(Z, p, sizes),
        tables,
        tables if same else tuple(totals),
        tuple(roots),
        factor,
    )


def _codes(X: jax.Array, p: int, sizes: tuple[int, ...]) -> tuple[jax.Array, ...]:
    """Return the codes as indices, -1 (and what is out of range) as the last."""
    out = []
    for column, size in enumerate(sizes):
        code = jnp.round(X[:, p + column]).astype(jnp.int32)
        out.append(jnp.where((code < 0) | (code >= size), size, code))
    return tuple(out)


def _corner(M: jax.Array | None, start: int, size: int) -> jax.Array | None:
    if M is None:
        return None
    stop = start + size
    return M[start:stop] if M.ndim == 1 else M[start:stop, start:stop]


def _square(block: jax.Array | None, size: int, dtype: Any) -> jax.Array:
    if block is None:
        return jnp.eye(size, dtype=dtype)
    return jnp.diag(block) if block.ndim == 1 else block


def _squared_distances(block: jax.Array) -> jax.Array:
    """Return the squared distances between the categories, and from none."""
    padded = jnp.pad((block + block.T) / 2, ((0, 1), (0, 1)))
    norms = jnp.diagonal(padded)
    squared = jnp.maximum(norms[:, None] + norms[None, :] - 2 * padded, 0.0)
    return jnp.where(jnp.eye(len(norms), dtype=bool), 0.0, squared)


def _coordinate_sums(kernel: KernelSpec, root: jax.Array) -> jax.Array:
    """Return what each pair of categories adds to the sum over the coordinates."""

    def add(total: jax.Array, column: jax.Array) -> tuple[jax.Array, None]:
        difference = column[:, None] - column[None, :]
        return total + coordinatewise.phi(kernel, difference), None

    zero = jnp.zeros((len(root), len(root)), root.dtype)
    return jax.lax.scan(add, zero, root.T)[0]
