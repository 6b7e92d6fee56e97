"""Kernel ridge regression for many ridges at the cost of about one."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mlmethods.common.memory import require_memory, resolve_memory_limit
from mlmethods.common.validation import check_choice
from mlmethods.errors import EffectiveRidgeWarning, InvalidInputError
from mlmethods.interfaces import ArrayLike, Backend, NDArray
from mlmethods.kernels._spectral import (
    PathArrays,
    path_arrays,
    path_bytes,
    require_definite,
)
from mlmethods.kernels._training import (
    KernelMatrix,
    Training,
    read_regs,
    read_training,
)
from mlmethods.kernels.base import Kernel
from mlmethods.kernels.resolve import resolve_kernel

__all__ = ["RidgePath", "ridge_path"]

CRITERIA = ("loo", "gcv", "mll")
# What rounding may contribute to n - sum L^2, which decides the cost of overfitting.
_FLOOR_SHARE = 0.01


@dataclass(frozen=True, eq=False, kw_only=True)
class RidgePath:
    """Kernel ridge regression for r ridges, as :func:`ridge_path` returns it.

    With ``M = (K + reg I)^-1`` for each ridge; arrays with "[, c]" have the axis of
    the outputs where y had it. With weights w and ``s = sqrt(w)``, M is
    ``(s K s + reg I)^-1``, and rows of weight 0 count in `residuals` and `loo` alone.

    Attributes
    ----------
    regs : ndarray of shape (r,)
        The ridges, in the order given.
    dual_coef : ndarray of shape (r, n[, c])
        Coefficients alpha of ``f(x) = sum_i alpha_i k(x, x_i)``.
    residuals : ndarray of shape (r, n[, c])
        Targets minus predictions at the training rows.
    loo : ndarray of shape (r, n[, c])
        Target minus the prediction of the other rows, exactly:
        ``(M y)_i / M_ii``.
    gcv : ndarray of shape (r,)
        Generalized cross-validation: the mean square of `residuals` over
        ``(1 - df / n)^2``.
    df : ndarray of shape (r,)
        Degrees of freedom, ``tr(K M)``.
    mll : ndarray of shape (r,)
        Log marginal likelihood of a Gaussian process with noise variance reg (over
        the weight), summed over the outputs; NaN where directions are dropped.
    e0 : ndarray of shape (r,)
        Cost of overfitting: ``mean_i (M^2)_ii / (M_ii)^2``, the mean squared
        leave-one-out error on pure noise of variance one.
    kappa : ndarray of shape (r,)
        Effective ridge of the population, ``1 / tr M``.
    cond : ndarray of shape (r,)
        Condition number of ``K + reg I``.
    rank : int
        Number of eigenvalues of K above ``n eps max(eigenvalues)``.
    floor : float
        Ridge that rounding amounts to, ``eps max(eigenvalues)``.
    eigenvalues : ndarray of shape (n,)
        Of K, or of ``s K s`` for the rows of positive weight, descending.
    sample_weight : ndarray of shape (n,) or None
        The weights.
    backend : str
        Name of the backend that computed the kernel.
    """

    regs: NDArray
    dual_coef: NDArray = field(repr=False)
    residuals: NDArray = field(repr=False)
    loo: NDArray = field(repr=False)
    gcv: NDArray
    df: NDArray
    mll: NDArray
    e0: NDArray
    kappa: NDArray
    cond: NDArray
    rank: int
    floor: float
    eigenvalues: NDArray = field(repr=False)
    sample_weight: NDArray | None = field(repr=False)
    backend: str

    @property
    def loo_mse(self) -> NDArray:
        """(Weighted) mean square of `loo`, over rows and outputs, of shape (r,)."""
        squares = self.loo.reshape(*self.loo.shape[:2], -1) ** 2
        means: NDArray = np.average(
            squares.mean(axis=2), axis=1, weights=self.sample_weight
        )
        return means

    @property
    def resolved(self) -> NDArray:
        """Whether rounding does not act as a ridge, of shape (r,).

        See :class:`KernelDiagnostics`; without it `e0` and `kappa` describe the
        arithmetic rather than the kernel.
        """
        shifted = np.maximum(self.eigenvalues + self.regs[:, None], self.floor)
        inverse = 1 / shifted
        n = len(self.eigenvalues)
        e0_gcv = n * (inverse**2).sum(axis=1) / inverse.sum(axis=1) ** 2
        return is_resolved(self.floor, self.kappa, e0_gcv, n)

    def best(self, by: str = "loo") -> int:
        """Return the index of the best ridge; of equal ones the largest.

        Parameters
        ----------
        by : {"loo", "gcv", "mll"}, default="loo"
            Least mean squared leave-one-out error, least `gcv` or largest `mll`.

        Raises
        ------
        InvalidInputError
            If the criterion is unknown, or no ridge has a finite value of it.
        """
        return choose_ridge(self.regs, self.scores(by), f"by={by!r}")

    def scores(self, by: str = "loo") -> NDArray:
        """Return the criterion of every ridge, larger is better, of shape (r,)."""
        check_choice("by", by, CRITERIA)
        return {"loo": lambda: -self.loo_mse, "gcv": lambda: -self.gcv}.get(
            by, lambda: self.mll
        )()


def choose_ridge(regs: NDArray, score: NDArray, what: str) -> int:
    """Return the index of the largest score, of equal ones that of the largest ridge.

    Raises
    ------
    InvalidInputError
        If no score is finite.
    """
    finite = np.isfinite(score)
    if not finite.any():
        raise InvalidInputError(
            f"{what} is finite for none of the ridges {regs.tolist()}"
        )
    return int(np.lexsort((regs, np.where(finite, score, -np.inf)))[-1])


def is_resolved(floor: Any, kappa: Any, e0_gcv: Any, n: int) -> Any:
    """Return whether rounding contributes at most 1 % to what decides the cost.

    A ridge takes reg / kappa of the n that the learnabilities L sum to, and the cost is
    ``n / (n - sum L^2)``, which `e0_gcv` estimates: what rounding takes must be small
    beside n / e0_gcv, not beside n alone, or a large cost is resolved by name only.
    """
    return floor * e0_gcv <= _FLOOR_SHARE * n * kappa


def ridge_path(
    kernel: str | Kernel,
    X: ArrayLike,
    y: ArrayLike,
    regs: ArrayLike,
    *,
    bandwidth: float | str | None = None,
    sample_weight: ArrayLike | None = None,
    dtype: str = "float64",
    memory_limit: int | str = "auto",
    backend: str | Backend = "auto",
) -> RidgePath:
    """Fit kernel ridge regression for many ridges, with exact leave-one-out errors.

    One eigendecomposition serves all ridges.

    Parameters
    ----------
    kernel : str or Kernel
        A name with the defaults of its class, or an object.
    X : array-like of shape (n, d)
        Training rows.
    y : array-like of shape (n,) or (n, c)
        Targets. Nothing is subtracted first.
    regs : array-like of shape (r,)
        Ridges >= 0, added to the diagonal and not divided by n.
    bandwidth : float, "median" or None, default=None
        Length scale for a named kernel; see :func:`resolve_kernel`.
    sample_weight : array-like of shape (n,), optional
        Weights of the squared errors, 0 leaves a row out.
    dtype : {"float64", "float32", "auto"}, default="float64"
        Precision of the whole computation.
    memory_limit : int or "auto", default="auto"
        Bytes; ``"auto"`` is 80 % of what is available.
    backend : str or Backend, default="auto"
        What computes; see :func:`mlmethods.get_backend`.

    Returns
    -------
    RidgePath

    Raises
    ------
    InvalidInputError
        If an array has another shape or is not finite, or a ridge is negative.
    NotPositiveDefiniteError
        If the kernel matrix has a negative eigenvalue and a ridge is too small for
        it.
    MemoryLimitError
        If it would exceed `memory_limit`; nothing was allocated.

    Warns
    -----
    EffectiveRidgeWarning
        If directions were dropped for a ridge that is zero to this precision.

    Notes
    -----
    O(n^3) once and O(n^2 r c). On a CPU it is LAPACK's divide and conquer, in place;
    on an accelerator one compiled function of the backend.

    A ridge of at most `floor` is zero to this precision. If the matrix is singular
    then, its coefficients are those of least norm, from the eigenvalues above
    ``n floor``, and the other results are their limits for a ridge that goes to zero:
    a row that a duplicate explains has the leave-one-out error that the duplicate
    leaves; `kappa` is about zero.

    References
    ----------
    Simon, Dickens, Karkada, DeWeese (2023), The Eigenlearning Framework, TMLR;
    arXiv:2110.03922. Mallinar et al. (2022), Benign, Tempered, or Catastrophic,
    NeurIPS; arXiv:2207.06569.

    Examples
    --------
    >>> import numpy as np
    >>> from mlmethods.kernels import ridge_path
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-3, 3, (40, 1))
    >>> y = np.sin(X[:, 0]) + 0.3 * rng.normal(size=40)
    >>> path = ridge_path("gaussian", X, y, [0.001, 0.1, 10], bandwidth=1.0)
    >>> path.loo.shape, path.best("loo")
    ((3, 40), 1)
    >>> path.df.round(1)
    array([10.3,  7. ,  2.1])
    """
    values = read_regs("regs", regs)
    data = read_training(X, y, sample_weight)
    chosen = resolve_kernel(kernel, bandwidth, X=data.X, rng=0)
    return path_of(chosen, data, values, dtype, memory_limit, backend)


def path_of(
    kernel: Kernel,
    data: Training,
    regs: NDArray,
    dtype: str,
    memory_limit: int | str,
    backend: str | Backend,
) -> RidgePath:
    """Return the path of checked data."""
    active = slice(None) if data.weights is None else np.flatnonzero(data.weights)
    X, Y = data.X[active], data.Y[active]
    weights = None if data.weights is None else data.weights[active]
    matrix = KernelMatrix(kernel, X, dtype, backend)
    require_memory(
        path_bytes(len(X), Y.shape[1], len(regs), np.dtype(matrix.dtype).itemsize),
        resolve_memory_limit(memory_limit),
        what=f"ridge_path on n={len(X)} rows with {len(regs)} ridges",
        alternative="use fewer rows or a larger memory_limit",
    )
    found = solve_path(matrix, Y, regs, weights)
    _warn_of_dropped(found, regs)
    alpha, residuals, loo = found.alpha, found.residuals, found.loo
    if data.weights is not None and len(X) < len(data.X):
        parts = _with_passive(matrix, data, data.weights > 0, (alpha, residuals, loo))
        alpha, residuals, loo = parts
    if data.single:
        alpha, residuals, loo = (a[:, :, 0] for a in (alpha, residuals, loo))
    descending = found.eigenvalues[::-1]
    floor = float(np.finfo(matrix.dtype).eps * np.abs(descending).max())
    least = np.maximum(descending[-1] + regs, 0)
    # A matrix of zeros has no smaller condition number than other singular ones.
    cond = np.divide(
        descending[0] + regs, least, where=least > 0, out=np.full(len(regs), np.inf)
    )
    return RidgePath(
        regs=regs,
        dual_coef=alpha,
        residuals=residuals,
        loo=loo,
        gcv=found.gcv,
        df=found.df,
        mll=found.mll,
        e0=found.e0,
        kappa=found.kappa,
        cond=cond,
        rank=int(np.sum(descending > len(X) * floor)),
        floor=floor,
        eigenvalues=descending,
        sample_weight=data.weights,
        backend=matrix.backend.info.name,
    )


def solve_path(
    matrix: KernelMatrix, Y: NDArray, regs: NDArray, weights: NDArray | None
) -> PathArrays:
    """Return the arrays of a path, from the device or from LAPACK on the host."""
    K = matrix.native()
    device_path = matrix.engine("ridge_path")
    if device_path is not None:
        found = device_path(K, Y, regs, weights)
        if found is not None:
            require_definite(found[-2], regs)
            return PathArrays(*found)
    return path_arrays(matrix.host(K), Y, regs, weights)


def _with_passive(
    matrix: KernelMatrix,
    data: Training,
    active: NDArray,
    parts: tuple[NDArray, NDArray, NDArray],
) -> list[NDArray]:
    """Return coefficients, residuals and errors with the rows of weight zero.

    These are only predicted at.
    """
    K = matrix.backend.to_numpy(matrix.native(data.X[~active]))
    predictions = np.einsum("nm,rnc->rmc", K, parts[0], optimize=True)
    error = data.Y[~active] - predictions
    whole = []
    for part, rest in zip(parts, (0.0, error, error), strict=True):
        full = np.empty((len(part), *data.Y.shape), part.dtype)
        full[:, active], full[:, ~active] = part, rest
        whole.append(full)
    return whole


def _warn_of_dropped(found: PathArrays, regs: NDArray) -> None:
    n = len(found.eigenvalues)
    cut = found.kept < n
    if cut.any():
        warnings.warn(
            f"reg={regs[cut].max():g} is zero to this precision and the kernel matrix "
            f"singular: {n - found.kept.min()} of {n} directions were dropped, as if "
            "they had no target; raise reg to choose that yourself",
            EffectiveRidgeWarning,
            stacklevel=4,
        )
