"""Kernel matrices, their products, their gradients and the AGOP.

Every function takes ``M``, the Mahalanobis matrix: [d, d], a diagonal [d], or None
for the identity; and ``Z=None``, which means that the centers are `X` itself:
diagonals are exact and a sample contributes nothing to its own gradient. The result
has the dtype of the JAX arrays given. A kernel's bandwidth and parameters are traced:
a new value compiles nothing. All functions work under ``jit``, ``vmap`` and ``grad``.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

import mlmethods_jax._pytrees  # noqa: F401
from mlmethods.errors import InvalidInputError, OperationNotSupportedError
from mlmethods.interfaces import Center, KernelSpec
from mlmethods_jax.ops import (
    _composite,
    _coordinatewise,
    _inner_product,
    _lookup,
    _network,
    _radial,
)
from mlmethods_jax.ops import _distances as dist
from mlmethods_jax.ops._blocks import choose_block, map_row_blocks, scan_row_blocks
from mlmethods_jax.ops._kernel_functions import family
from mlmethods_jax.ops._lookup import expanded_size, lookup_sizes
from mlmethods_jax.ops._precision import (
    as_dtype,
    as_spec,
    compute_dtype,
    scope,
    working_dtype,
)

__all__ = ["agop", "grad", "matvec", "pairwise"]

# Each has prepare(X, Z, M) -> Setup: the `rows` that blocks are cut from; values of a
# block, weights of its pairs and what they pull gradients to; and the `factor` (M or its
# root) that these still lack. Networks and composites prepare with the kernel at hand.
_FAMILIES: dict[str, Any] = {
    "radial": _radial,
    "coordinatewise": _coordinatewise,
    "inner_product": _inner_product,
}


def prepare(kernel: KernelSpec, X: Array, Z: Array | None, M: Array | None) -> Any:
    """Return what the blocks of rows share; for use inside a compiled function."""
    kind = family(kernel)
    if kind in _FAMILIES:
        module = _FAMILIES[kind]
        if lookup_sizes(kernel):
            return _lookup.prepare(module, kernel, X, Z, M)
        return module.prepare(X, Z, M)
    if lookup_sizes(kernel):
        raise OperationNotSupportedError(
            f"kernel {kernel.name!r} takes no category codes: encode categories as "
            "numbers first, or use a kernel that is no network, sum or product"
        )
    if kind == "network":
        return _network.prepare(kernel, X, Z, M)
    return _composite.prepare(kernel, X, Z, M, prepare)


def pairwise(
    kernel: KernelSpec,
    X: Float[Array, "n d"],
    Z: Float[Array, "m d"] | None = None,
    M: Float[Array, ...] | None = None,
) -> Float[Array, "n m"]:
    """Return the kernel matrix.

    Parameters
    ----------
    kernel : KernelSpec
        The kernel function.
    X : array of shape (n, d)
        Points.
    Z : array of shape (m, d) or None
        Centers; None means `X`, with an exact diagonal.
    M : array of shape (d, d) or (d,), or None
        Mahalanobis matrix.

    Returns
    -------
    array of shape (n, m)

    Raises
    ------
    InvalidInputError
        If shapes do not match.
    OperationNotSupportedError
        If the kernel is not known to this backend.

    Notes
    -----
    Squared distances come from matrix products, after the mean of Z is taken off
    both sets. Peak memory is O(n m + (n + m) d).

    Examples
    --------
    >>> import numpy as np
    >>> from mlmethods.interfaces import KernelSpec
    >>> from mlmethods_jax.ops.kernels import pairwise
    >>> K = pairwise(KernelSpec(name="laplace", bandwidth=1.0), np.eye(2))
    >>> [round(float(v), 4) for v in K[0]]
    [1.0, 0.2431]
    """
    check_arguments(kernel, X, Z, M)
    dtype = compute_dtype(X, Z, M)
    work = working_dtype(dtype)
    with scope(work):
        K = _pairwise(as_spec(kernel, work), *(as_dtype(a, work) for a in (X, Z, M)))
        return as_dtype(K, dtype)


@jax.jit
def _pairwise(kernel: KernelSpec, X: Array, Z: Array | None, M: Array | None) -> Array:
    setup = prepare(kernel, X, Z, M)
    index = _own_index(X, Z, None)
    block = _even_block(setup, X, X.shape[0] if Z is None else Z.shape[0])
    return map_row_blocks(
        lambda *a: setup.values(kernel, a[:-1], a[-1]), block, *setup.rows, index
    )


def padded_gram(kernel: KernelSpec, X: Array, M: Array | None, present: Array) -> Array:
    """Return the kernel matrix of `X`, that of the identity where rows are padding.

    For use inside a compiled function; `present` (n,) is False for padding.
    """
    setup = prepare(kernel, X, None, M)
    index = _own_index(X, None, None)

    def values(*rows: Array) -> Array:
        *rest, index, here = rows
        eye = dist.self_mask(index, X.shape[0]).astype(X.dtype)
        both = here[:, None] & present[None, :]
        return jnp.where(both, setup.values(kernel, tuple(rest), index), eye)

    block = _even_block(setup, X, X.shape[0])
    return map_row_blocks(values, block, *setup.rows, index, present)


def matvec(
    kernel: KernelSpec,
    X: Float[Array, "n d"],
    Z: Float[Array, "m d"] | None,
    alpha: Float[Array, "m c"],
    M: Float[Array, ...] | None = None,
    *,
    block_size: int | None = None,
) -> Float[Array, "n c"]:
    """Return ``K(X, Z) @ alpha`` without forming the n x m matrix.

    Parameters
    ----------
    kernel : KernelSpec
        The kernel function.
    X : array of shape (n, d)
        Points.
    Z : array of shape (m, d) or None
        Centers; None means `X`.
    alpha : array of shape (m, c)
        Coefficients.
    M : array of shape (d, d) or (d,), or None
        Mahalanobis matrix.
    block_size : int or None
        Rows of `X` at a time; None chooses 32 MiB of temporaries on a
        CPU and 512 MiB elsewhere.

    Returns
    -------
    array of shape (n, c)

    Notes
    -----
    Peak memory is O(block_size m + (n + m) (d + c)), in the backward pass as well.

    Examples
    --------
    >>> import numpy as np
    >>> from mlmethods.interfaces import KernelSpec
    >>> from mlmethods_jax.ops.kernels import matvec
    >>> kernel = KernelSpec(name="gaussian", bandwidth=1.0)
    >>> matvec(kernel, np.zeros((3, 2)), np.zeros((4, 2)), np.ones((4, 1))).shape
    (3, 1)
    """
    check_arguments(kernel, X, Z, M, alpha)
    check_block(block_size)
    dtype = compute_dtype(X, Z, alpha, M)
    work = working_dtype(dtype)
    with scope(work):
        out = _matvec(
            as_spec(kernel, work),
            *(as_dtype(a, work) for a in (X, Z, alpha, M)),
            block_size=block_size,
        )
        return as_dtype(out, dtype)


@functools.partial(jax.jit, static_argnames=("block_size",))
def _matvec(
    kernel: KernelSpec,
    X: Array,
    Z: Array | None,
    alpha: Array,
    M: Array | None,
    *,
    block_size: int | None,
) -> Array:
    setup = prepare(kernel, X, Z, M)
    index = _own_index(X, Z, None)
    block = _block(setup, X, alpha.shape[0], 3, block_size)

    def product(rows: Any, index: Array) -> Array:
        return dist.dot(setup.values(kernel, rows, index), alpha)

    return map_row_blocks(lambda *a: product(a[:-1], a[-1]), block, *setup.rows, index)


def grad(
    kernel: KernelSpec,
    X: Float[Array, "n d"],
    Z: Float[Array, "m d"] | None,
    alpha: Float[Array, "m c"],
    M: Float[Array, ...] | None = None,
    *,
    self_index: Int[Array, n] | None = None,
    block_size: int | None = None,
) -> Float[Array, "n c d"]:
    """Return the gradients at each x of ``sum_j alpha_j k(x, z_j)``.

    Parameters
    ----------
    kernel : KernelSpec
        The kernel function.
    X : array of shape (n, d)
        Points at which to differentiate.
    Z : array of shape (m, d) or None
        Centers; None means `X`.
    alpha : array of shape (m, c)
        Coefficients.
    M : array of shape (d, d) or (d,), or None
        Mahalanobis matrix.
    self_index : int array of shape (n,) or None
        For each x the row of Z that is the same sample, or -1. Its pair contributes
        nothing, whatever round-off makes of the distance.
    block_size : int or None
        Rows of `X` at a time; None chooses 32 MiB of temporaries on a
        CPU and 512 MiB elsewhere.

    Returns
    -------
    array of shape (n, c, d)

    Notes
    -----
    Where x coincides with a center, a kernel that is not smooth there contributes
    zero, never NaN. Peak memory is O(n c d + block_size m).

    Examples
    --------
    >>> import numpy as np
    >>> from mlmethods.interfaces import KernelSpec
    >>> from mlmethods_jax.ops.kernels import grad
    >>> kernel = KernelSpec(name="laplace", bandwidth=1.0)
    >>> g = grad(kernel, np.ones((1, 1)), np.zeros((1, 1)), np.ones((1, 1)))
    >>> round(float(g[0, 0, 0]), 4)
    -0.3679
    """
    check_arguments(kernel, X, Z, M, alpha, self_index=self_index)
    check_block(block_size)
    dtype = compute_dtype(X, Z, alpha, M)
    work = working_dtype(dtype)
    with scope(work):
        out = _grad(
            as_spec(kernel, work),
            *(as_dtype(a, work) for a in (X, Z, alpha, M)),
            self_index,
            block_size=block_size,
        )
        return as_dtype(out, dtype)


@functools.partial(jax.jit, static_argnames=("block_size",))
def _grad(
    kernel: KernelSpec,
    X: Array,
    Z: Array | None,
    alpha: Array,
    M: Array | None,
    self_index: Array | None,
    *,
    block_size: int | None,
) -> Array:
    setup = prepare(kernel, X, Z, M)
    index = _own_index(X, Z, self_index)
    block = _block(setup, X, alpha.shape[0], 4, block_size)

    def gradients(rows: Any, index: Array) -> Array:
        inner = _inner_gradients(setup, kernel, rows, index, alpha)
        return dist.outer(inner, setup.factor)

    return map_row_blocks(
        lambda *a: gradients(a[:-1], a[-1]), block, *setup.rows, index
    )


def agop(
    kernel: KernelSpec,
    X: Float[Array, "n d"],
    Z: Float[Array, "m d"] | None,
    alpha: Float[Array, "m c"],
    M: Float[Array, ...] | None = None,
    *,
    weights: Float[Array, n] | None = None,
    diagonal: bool = False,
    center: Center = "none",
    self_index: Int[Array, n] | None = None,
    block_size: int | None = None,
) -> Float[Array, ...]:
    """Return the average gradient outer product of a kernel machine.

    With ``g_l(x)`` the gradient of output l at x, the mean over the samples of
    ``sum_l g_l(x) g_l(x)^T``.

    Parameters
    ----------
    kernel : KernelSpec
        The kernel function.
    X : array of shape (n, d)
        Samples to average over.
    Z : array of shape (m, d) or None
        Centers of the machine; None means `X`.
    alpha : array of shape (m, c)
        Its coefficients.
    M : array of shape (d, d) or (d,), or None
        Mahalanobis matrix.
    weights : array of shape (n,) or None
        Weights of the mean; 0 removes a row (padding).
    diagonal : bool
        Whether to return the diagonal only, in O(d) memory.
    center : {"none", "per_output", "pooled"}
        Subtract the mean gradient over the samples, for each output or over all
        outputs together.
    self_index : int array of shape (n,) or None
        For each x the row of Z that is the same sample, or -1.
    block_size : int or None
        Rows of `X` at a time; None chooses 32 MiB of temporaries on a
        CPU and 512 MiB elsewhere. It does not
        change the result beyond round-off.

    Returns
    -------
    array of shape (d, d) or (d,)

    Notes
    -----
    The Mahalanobis matrix is applied once at the end, not to each gradient: the cost
    is 2 n m c d + n c d^2 multiply-adds and the peak memory is
    O(block_size (m + c d) + (m + d) d).

    References
    ----------
    Radhakrishnan, Beaglehole, Pandit, Belkin (2024), Science 383:1461-1467, eq. 2.

    Examples
    --------
    >>> import numpy as np
    >>> from mlmethods.interfaces import KernelSpec
    >>> from mlmethods_jax.ops.kernels import agop
    >>> X = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
    >>> kernel = KernelSpec(name="gaussian", bandwidth=1.0)
    >>> agop(kernel, X, None, np.ones((3, 1))).shape
    (2, 2)
    """
    check_arguments(kernel, X, Z, M, alpha, weights=weights, self_index=self_index)
    check_block(block_size)
    if center not in ("none", "per_output", "pooled"):
        raise InvalidInputError(
            f"center must be 'none', 'per_output' or 'pooled', got {center!r}"
        )
    dtype = compute_dtype(X, Z, alpha, M)
    work = working_dtype(dtype)
    with scope(work):
        result = _agop(
            as_spec(kernel, work),
            *(as_dtype(a, work) for a in (X, Z, alpha, M, weights)),
            self_index,
            diagonal=diagonal,
            center=center,
            block_size=block_size,
        )
        return as_dtype(result, dtype)


@functools.partial(jax.jit, static_argnames=("diagonal", "center", "block_size"))
def _agop(
    kernel: KernelSpec,
    X: Array,
    Z: Array | None,
    alpha: Array,
    M: Array | None,
    weights: Array | None,
    self_index: Array | None,
    *,
    diagonal: bool,
    center: Center,
    block_size: int | None,
) -> Array:
    n, c = X.shape[0], alpha.shape[1]
    setup = prepare(kernel, X, Z, M)
    index = _own_index(X, Z, self_index)
    w = jnp.ones(n, X.dtype) if weights is None else weights
    # Only the diagonal of a full metric needs each gradient by itself.
    factor = setup.factor
    each = diagonal and factor is not None and factor.ndim == 2
    block = _block(
        setup,
        X,
        alpha.shape[0],
        4,
        block_size,
        extra=c * expanded_size(kernel, X.shape[1]),
    )

    def moments(*args: Array) -> tuple[Array, Array]:
        *rows, index, w = args
        g = _inner_gradients(setup, kernel, tuple(rows), index, alpha)
        if each:
            g = dist.outer(g, factor)
        mean = jnp.einsum("b,bcd->cd", w, g, precision=jax.lax.Precision.HIGHEST)
        if diagonal:
            return jnp.einsum("b,bcd->d", w, g**2), mean
        # The root of the weights would have an infinite slope at 0.
        flat = g.reshape(-1, g.shape[2])
        weighted = (g * w[:, None, None]).reshape(flat.shape)
        return dist.dot(weighted.T, flat), mean

    second, first = scan_row_blocks(moments, block, *setup.rows, index, w)
    total = jnp.sum(w)
    total = jnp.where(total > 0, total, 1.0)
    second, first = second / total, first / total
    if center == "pooled":
        first = jnp.mean(first, axis=0, keepdims=True) * c**0.5
    if center != "none":
        products = first**2 if diagonal else first[:, :, None] * first[:, None, :]
        second = second - jnp.sum(products, axis=0)
    if diagonal:
        outer = second if each else dist.outer_diagonal(second, factor)
        return jnp.maximum(outer, 0.0)
    result = dist.outer_both(second, factor)
    return (result + result.T) / 2.0


def _inner_gradients(
    setup: Any, kernel: KernelSpec, rows: Any, index: Array, alpha: Array
) -> Array:
    """Return the gradients (rows, c, d) that still lack the factor of the setup."""
    return setup.pulled(kernel, setup.weights(kernel, rows, index), rows, alpha)


def _own_index(X: Array, Z: Array | None, self_index: Array | None) -> Array:
    """Return, for each row, the column that is the same sample (-1: none)."""
    n = X.shape[0]
    if self_index is not None:
        return jnp.asarray(self_index, jnp.int32)
    if Z is None:
        return jnp.arange(n, dtype=jnp.int32)
    return jnp.full(n, -1, jnp.int32)


def _block(
    setup: Any, X: Array, m: int, arrays: int, block_size: int | None, extra: int = 0
) -> int:
    bytes_per_row = X.dtype.itemsize * (arrays * m + 2 * extra)
    return choose_block(X.shape[0], bytes_per_row, block_size)


def _even_block(setup: Any, X: Array, m: int) -> int:
    """Return a block that divides the rows, so that no result is cut and copied."""
    n = X.shape[0]
    block = _block(setup, X, m, 3, None)
    even = next((b for b in range(block, 0, -1) if n % b == 0), n)
    return even if 4 * even >= block else n


def check_block(block_size: Any) -> None:
    """Refuse a block of less than one row."""
    if block_size is not None and block_size < 1:
        raise InvalidInputError(f"block_size must be None or >= 1, got {block_size!r}")


def check_arguments(
    kernel: KernelSpec,
    X: Any,
    Z: Any,
    M: Any,
    alpha: Any = None,
    **of_rows: Any,
) -> None:
    """Refuse shapes that do not fit; shapes are static, so this works in a trace."""
    family(kernel)
    if getattr(X, "ndim", None) != 2:
        raise InvalidInputError(f"X must be an array of shape (n, d), got {_shape(X)}")
    n, d = X.shape
    if Z is not None and (getattr(Z, "ndim", None) != 2 or Z.shape[1] != d):
        raise InvalidInputError(
            f"Z must have shape (m, {d}) to match X of shape {X.shape}, got {_shape(Z)}"
        )
    size = expanded_size(kernel, d)
    if M is not None and getattr(M, "shape", None) not in ((size,), (size, size)):
        raise InvalidInputError(
            f"M must have shape ({size}, {size}) or ({size},) to match X of shape {X.shape}, "
            f"got {_shape(M)}"
        )
    m = n if Z is None else Z.shape[0]
    if alpha is not None and (getattr(alpha, "ndim", None) != 2 or alpha.shape[0] != m):
        raise InvalidInputError(
            f"alpha must have shape ({m}, c), one row a center, got {_shape(alpha)}"
        )
    for name, x in of_rows.items():
        if x is not None and getattr(x, "shape", None) != (n,):
            raise InvalidInputError(
                f"{name} must have shape ({n},), one entry a row of X, got {_shape(x)}"
            )


def _shape(x: Any) -> str:
    shape = getattr(x, "shape", None)
    return f"shape {tuple(shape)}" if shape is not None else type(x).__name__
