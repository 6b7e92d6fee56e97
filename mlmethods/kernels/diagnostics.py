"""What a kernel matrix alone says about interpolating with it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mlmethods.common.memory import require_memory, resolve_memory_limit
from mlmethods.common.validation import check_choice, check_real
from mlmethods.interfaces import ArrayLike, Backend, NDArray
from mlmethods.kernels._inverse import (
    Diagonals,
    inverse_diagonals,
    largest_eigenvalue,
    numerical_rank,
)
from mlmethods.kernels._training import KernelMatrix, read_rows
from mlmethods.kernels.base import Kernel
from mlmethods.kernels.path import is_resolved
from mlmethods.kernels.resolve import resolve_kernel

__all__ = ["KernelDiagnostics", "kernel_diagnostics"]

# The kernel matrix and the copy that becomes its inverse.
_MATRICES = 2


@dataclass(frozen=True, eq=False, kw_only=True)
class KernelDiagnostics:
    """What :func:`kernel_diagnostics` finds, with ``M = (K + (reg + jitter) I)^-1``.

    Attributes
    ----------
    e0 : float
        Cost of overfitting: the mean of `e0_rows`. It is the expected squared error
        at a left-out row, noise included, of a fit to pure noise of variance one; 1
        means that fitting the noise costs nothing. NaN where the factorization
        failed.
    e0_rows : ndarray of shape (n,)
        Its terms, ``(M^2)_ii / (M_ii)^2``; a row that is far from the others has 1.
    e0_gcv : float
        ``n tr(M^2) / (tr M)^2``, the same with the mean of M_ii for each: too large
        in few dimensions, where rows are unevenly close. For comparison only.
    kappa : float
        Effective ridge of the population, ``1 / tr M``.
    floor : float
        Ridge that rounding and jitter amount to: ``eps max(eigenvalue) + jitter``.
    cond : float
        Condition number of ``K + reg I``, estimated; infinite where the factorization
        failed.
    rank : int
        Numerical rank of ``K + reg I``.
    resolved : bool
        Whether ``floor / kappa <= 0.01 n / e0_gcv``: the floor contributes at most 1 %
        to ``n - sum L^2``, which decides the cost. If not, rounding or jitter is the
        ridge, and `e0` says nothing about the kernel.
    reg, jitter : float
        As given.
    dtype : str
        Precision of the computation.
    """

    e0: float
    e0_rows: NDArray = field(repr=False)
    e0_gcv: float
    kappa: float
    floor: float
    cond: float
    rank: int
    resolved: bool
    reg: float
    jitter: float
    dtype: str

    @property
    def definite(self) -> bool:
        """Whether the matrix was factorized: with reg=0, whether it interpolates."""
        return bool(np.isfinite(self.e0))


def kernel_diagnostics(
    kernel: str | Kernel,
    X: ArrayLike,
    reg: float = 0.0,
    *,
    bandwidth: float | str | None = None,
    jitter: float = 0.0,
    dtype: str = "float64",
    precision: str = "working",
    memory_limit: int | str = "auto",
    backend: str | Backend = "auto",
) -> KernelDiagnostics:
    """Return what overfitting costs with a kernel on these rows, without targets.

    Parameters
    ----------
    kernel : str or Kernel
        A name with the defaults of its class, or an object.
    X : array-like of shape (n, d)
        Rows.
    reg : float, default=0.0
        Ridge >= 0, added to the diagonal and not divided by n; 0 interpolates.
    bandwidth : float, "median" or None, default=None
        Length scale for a named kernel; see :func:`resolve_kernel`.
    jitter : float, default=0.0
        Added to the diagonal too, but counted as an artifact: it belongs to `floor`.
        None is ever added unasked.
    dtype : {"float64", "float32", "auto"}, default="float64"
        Precision of the whole computation.
    precision : {"working", "exact"}, default="working"
        ``"exact"`` computes kernel and inverse with as many digits as the matrix
        needs, for at most 256 rows and kernels with a closed form; `dtype` and
        `backend` play no part then.
    memory_limit : int or "auto", default="auto"
        Bytes; ``"auto"`` is 80 % of what is available.
    backend : str or Backend, default="auto"
        What computes; see :func:`mlmethods.get_backend`.

    Returns
    -------
    KernelDiagnostics

    Raises
    ------
    InvalidInputError
        If an argument is out of its range or `X` is not finite.
    MemoryLimitError
        If it would exceed `memory_limit`; nothing was allocated.

    Notes
    -----
    One Cholesky factorization and the inverse from it, O(n^3), about as long as three
    fits. No eigenvalues are computed: the largest is that of four power steps.

    The matrix is not repaired. A Gaussian kernel on many rows is singular to every
    fixed precision; then the factorization fails, or its result is made of rounding,
    and `resolved` is false. The same holds for a jitter, which is a ridge: with it a
    ruinous kernel looks harmless.

    References
    ----------
    Mallinar et al. (2022), Benign, Tempered, or Catastrophic: A Taxonomy of
    Overfitting, NeurIPS; arXiv:2207.06569.

    Examples
    --------
    Uniform points on the sphere (synthetic), where the Laplace kernel interpolates
    noise at a bounded cost and the Gaussian kernel needs more digits than there are:

    >>> import numpy as np
    >>> from mlmethods.kernels import kernel_diagnostics
    >>> X = np.random.default_rng(0).normal(size=(600, 3))
    >>> X /= np.linalg.norm(X, axis=1, keepdims=True)
    >>> found = kernel_diagnostics("laplace", X, bandwidth=1.0)
    >>> round(found.e0, 1), found.resolved
    (1.4, True)
    >>> kernel_diagnostics("gaussian", X, bandwidth=0.5).resolved
    False
    """
    reg = check_real("reg", reg, minimum=0)
    jitter = check_real("jitter", jitter, minimum=0)
    check_choice("precision", precision, ("working", "exact"))
    rows = read_rows(X)
    chosen = resolve_kernel(kernel, bandwidth, X=rows, rng=0)
    if precision == "exact":
        from mlmethods.kernels.exact import exact_diagnostics

        return exact_diagnostics(chosen, rows, reg, jitter)
    n = len(rows)
    matrix = KernelMatrix(chosen, rows, dtype, backend)
    itemsize = np.dtype(matrix.dtype).itemsize
    require_memory(
        _MATRICES * itemsize * n**2,
        resolve_memory_limit(memory_limit),
        what=f"kernel_diagnostics on n={n} rows",
        alternative="use fewer rows or a larger memory_limit",
    )
    A = matrix.host()
    largest = largest_eigenvalue(A)
    A[np.diag_indices(n)] += reg + jitter
    found = _invert(matrix, A)
    if found is None:
        # The factorization has overwritten the matrix.
        del A
        A = matrix.host()
        A[np.diag_indices(n)] += reg + jitter
    return summarize(
        found,
        largest=largest,
        eps=float(np.finfo(matrix.dtype).eps),
        n=n,
        rank=n if found is not None else numerical_rank(A),
        reg=reg,
        jitter=jitter,
        dtype=matrix.dtype,
    )


def _invert(matrix: KernelMatrix, A: NDArray) -> Diagonals | None:
    on_device = matrix.engine("inverse_diagonals")
    if on_device is not None:
        found = on_device(matrix.backend.asarray(A, dtype=matrix.dtype))
        if found is not None:
            return Diagonals(*found) if np.isfinite(found[2]) else None
    return inverse_diagonals(A)


def summarize(
    found: Diagonals | None,
    *,
    largest: float,
    eps: float,
    n: int,
    rank: int,
    reg: float,
    jitter: float,
    dtype: str,
) -> KernelDiagnostics:
    """Return the diagnostics of an inverse, or of a failed factorization."""
    floor = eps * largest + jitter
    if found is None:
        return failed(n=n, floor=floor, rank=rank, reg=reg, jitter=jitter, dtype=dtype)
    inverse, square = (np.asarray(a, np.float64) for a in found[:2])
    trace = inverse.sum()
    kappa = float(1 / trace)
    terms = square / inverse**2
    e0_gcv = float(n * square.sum() / trace**2)
    return KernelDiagnostics(
        e0=float(terms.mean()),
        e0_rows=terms,
        e0_gcv=e0_gcv,
        kappa=kappa,
        floor=floor,
        cond=float((largest + reg + jitter) * found.norm),
        rank=rank,
        resolved=bool(is_resolved(floor, kappa, e0_gcv, n)),
        reg=reg,
        jitter=jitter,
        dtype=dtype,
    )


def failed(
    *, n: int, floor: float, rank: int, reg: float, jitter: float, dtype: str
) -> KernelDiagnostics:
    """Return the diagnostics of a matrix that could not be factorized."""
    nan = float("nan")
    return KernelDiagnostics(
        e0=nan,
        e0_rows=np.full(n, nan),
        e0_gcv=nan,
        kappa=nan,
        floor=floor,
        cond=float("inf"),
        rank=rank,
        resolved=False,
        reg=reg,
        jitter=jitter,
        dtype=dtype,
    )
