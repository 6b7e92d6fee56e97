"""Diagnostics of a kernel matrix with as many digits as it needs.

The distances are exact, the kernel values come from mpmath, and the linear algebra is
done in fixed point with Python's integers in NumPy arrays, which is far faster than
with floating numbers of that length.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mlmethods.errors import InvalidInputError, OperationNotSupportedError
from mlmethods.interfaces import KernelSpec, NDArray
from mlmethods.kernels.base import Kernel

if TYPE_CHECKING:
    from mlmethods.kernels.diagnostics import KernelDiagnostics

__all__ = ["exact_diagnostics"]

_MOST_ROWS = 256
_FIRST_BITS, _MOST_BITS = 192, 1 << 14
# What must be right of a result, in bits: more than a double has.
_RIGHT_BITS = 60
_LARGEST_EXPONENT = 1000


class _Inverse(NamedTuple):
    """The inverse M in fixed point: its lower triangle times ``2^(2 bits)``."""

    rows: list[NDArray]
    squares: list[int]
    bits: int


def exact_diagnostics(
    kernel: Kernel, X: NDArray, reg: float, jitter: float
) -> KernelDiagnostics:
    """Return the diagnostics of at most 256 rows, right to double precision.

    Parameters
    ----------
    kernel : Kernel
        A Laplace, Gaussian or exponential power kernel, or a Matern kernel with nu =
        1/2, 3/2, 5/2, ....
    X : ndarray of shape (n, d)
        Finite float64 rows, taken as the exact numbers that they are.
    reg, jitter : float
        As for :func:`mlmethods.kernels.kernel_diagnostics`.

    Returns
    -------
    KernelDiagnostics
        Its `dtype` names the bits that were needed, and `floor` is the rounding of
        these.

    Raises
    ------
    InvalidInputError
        If there are more rows, or more than 16384 bits do not suffice.
    OperationNotSupportedError
        If the kernel has no closed form here.

    Notes
    -----
    The bits are doubled until ``n^2 tr(M) 2^-bits``, which bounds the relative error
    of the inverse, is below 2^-60. O(n^3) products of integers: seconds for 256 rows.
    """
    n = len(X)
    if n > _MOST_ROWS:
        raise InvalidInputError(
            f"precision='exact' takes at most {_MOST_ROWS} rows, got {n}"
        )
    function = _function(kernel.to_spec())
    distances, scale = _squared_distances(X)
    shift = Fraction(reg) + Fraction(jitter)
    bits = _FIRST_BITS
    if shift == 0 and any(v == 0 for row in distances for v in row):
        return _summary(None, float(n), bits, (n, reg, jitter))
    while bits <= _MOST_BITS:
        A = _matrix(function, distances, scale, bits)
        # Never more than the largest row sum.
        largest = max(sum(map(abs, row)) for row in _symmetric(A)) / (1 << bits)
        A[np.diag_indices(n)] += int(shift * (1 << bits))
        found = _invert(A, bits)
        if found is not None:
            return _summary(found, largest, bits, (n, reg, jitter))
        bits *= 2
    raise InvalidInputError(
        f"precision='exact' needs more than {_MOST_BITS} bits for {kernel!r} on these "
        "rows; take fewer rows or a smaller bandwidth"
    )


def _summary(
    found: _Inverse | None, largest: float, bits: int, given: tuple[int, float, float]
) -> KernelDiagnostics:
    from mlmethods.kernels.diagnostics import KernelDiagnostics, failed
    from mlmethods.kernels.path import is_resolved

    n, reg, jitter = given
    floor = math.ldexp(largest, -bits) + jitter
    if found is None:
        return failed(
            n=n, floor=floor, rank=n - 1, reg=reg, jitter=jitter, dtype="exact"
        )
    diagonal = [int(row[-1]) for row in found.rows]
    trace, one = sum(diagonal), 1 << 2 * bits
    terms = [s / d**2 for s, d in zip(found.squares, diagonal, strict=True)]
    kappa, e0_gcv = one / trace, n * sum(found.squares) / trace**2
    return KernelDiagnostics(
        e0=math.fsum(terms) / n,
        e0_rows=np.array(terms),
        e0_gcv=e0_gcv,
        kappa=kappa,
        floor=floor,
        cond=_condition(found, largest + reg + jitter),
        rank=n,
        resolved=bool(is_resolved(floor, kappa, e0_gcv, n)),
        reg=reg,
        jitter=jitter,
        dtype=f"exact, {bits} bits",
    )


def _condition(found: _Inverse, largest: float) -> float:
    n = len(found.rows)
    most = max(int(row[-1]) for row in found.rows)
    M = np.zeros((n, n))
    for i, row in enumerate(found.rows):
        M[i, : i + 1] = M[: i + 1, i] = [int(value) / most for value in row]
    try:
        return float(largest * np.linalg.norm(M, 2) * (most / (1 << 2 * found.bits)))
    except OverflowError:
        return math.inf


def _squared_distances(X: NDArray) -> tuple[NDArray, int]:
    """Return ``4^scale |x_i - x_j|^2`` for j < i as integers, without rounding."""
    mantissa, exponent = np.frexp(X)
    scale = max(0, 53 - int(exponent[mantissa != 0].min(initial=53)))
    if scale > _LARGEST_EXPONENT or int(exponent.max()) > _LARGEST_EXPONENT // 2:
        raise InvalidInputError(
            "precision='exact' takes rows whose entries are 0 or between 1e-285 and "
            f"1e150, got {np.abs(X[X != 0]).min():g} to {np.abs(X).max():g}"
        )
    whole = np.array(
        [[int(Fraction(float(v)) * 2**scale) for v in row] for row in X], dtype=object
    )
    rows = np.empty(len(X), dtype=object)
    for i in range(len(X)):
        difference = whole[:i] - whole[i]
        rows[i] = (difference * difference).sum(axis=1) if i else np.empty(0, object)
    return rows, scale


def _matrix(
    function: Callable[[Any], Any], distances: NDArray, scale: int, bits: int
) -> NDArray:
    """Return the lower triangle of the kernel matrix in fixed point."""
    import mpmath

    n = len(distances)
    A = np.zeros((n, n), dtype=object)
    with mpmath.workprec(bits + 32):
        one, unit = mpmath.mpf(1 << bits), mpmath.mpf(2) ** (-2 * scale)
        for i, row in enumerate(distances):
            for j, squared in enumerate(row):
                A[i, j] = int(mpmath.nint(function(squared * unit) * one))
            A[i, i] = 1 << bits
    return A


def _symmetric(A: NDArray) -> NDArray:
    return A + A.T - np.diag(np.diagonal(A))


def _invert(A: NDArray, bits: int) -> _Inverse | None:
    """Return the inverse of a matrix in fixed point, None if it needs more bits."""
    n = len(A)
    one = 1 << bits
    L = np.zeros((n, n), dtype=object)
    for k in range(n):
        column = A[k:, k] * one - L[k:, :k] @ L[k, :k]
        if column[0] <= 0:
            return None
        pivot = math.isqrt(column[0])
        if pivot == 0:
            return None
        L[k, k] = pivot
        L[k + 1 :, k] = column[1:] // pivot
    half = np.zeros((n, n), dtype=object)
    for k in range(n):
        half[k, :k] = -(L[k, :k] @ half[:k, :k]) // L[k, k]
        half[k, k] = one * one // L[k, k]
    rows = [half[i:, i] @ half[i:, : i + 1] for i in range(n)]
    trace = sum(int(row[-1]) for row in rows)
    # A relative error of the inverse: rounding of the factor times its norm.
    if n * n * trace >> (3 * bits - _RIGHT_BITS):
        return None
    squares = [0] * n
    for i, row in enumerate(rows):
        values = [int(v) ** 2 for v in row]
        squares[i] += sum(values)
        for j, value in enumerate(values[:-1]):
            squares[j] += value
    return _Inverse(rows, squares, bits)


def _function(spec: KernelSpec) -> Callable[[Any], Any]:
    """Return the kernel as a function of the squared distance, for mpmath numbers."""
    import mpmath

    bandwidth = Fraction(float(np.asarray(spec.bandwidth)))

    def length(squared: Any) -> Any:
        r = mpmath.sqrt(squared)
        return r * bandwidth.denominator / bandwidth.numerator

    def power(squared: Any) -> Any:
        return mpmath.exp(-(length(squared) ** mpmath.mpf(float(spec.params["q"]))))

    def matern(squared: Any) -> Any:
        p = round(spec.option("nu") - 0.5)
        y = mpmath.sqrt(2 * p + 1) * length(squared)
        terms = (
            mpmath.mpf(math.factorial(p + k))
            / (math.factorial(k) * math.factorial(p - k))
            * (2 * y) ** (p - k)
            for k in range(p + 1)
        )
        scale = mpmath.mpf(math.factorial(p)) / math.factorial(2 * p)
        return mpmath.exp(-y) * scale * sum(terms)

    functions = {
        "laplace": lambda squared: mpmath.exp(-length(squared)),
        "gaussian": lambda squared: mpmath.exp(-(length(squared) ** 2) / 2),
        "exp_power": power,
        "matern": matern,
    }
    whole = spec.name == "matern" and (spec.option("nu") - 0.5) % 1 == 0
    if spec.name not in functions or (spec.name == "matern" and not whole):
        raise OperationNotSupportedError(
            "precision='exact' has Laplace, Gaussian and exponential power kernels and "
            f"Matern kernels with nu = 0.5, 1.5, ..., not {spec.name!r}"
            + (f" with nu={spec.option('nu')}" if spec.name == "matern" else "")
        )
    return functions[spec.name]
