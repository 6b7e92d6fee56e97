"""The cost of noise of one kernel on one set of rows, with its interval."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mlmethods.common.validation import check_choice, check_real
from mlmethods.errors import EffectiveRidgeWarning, InvalidInputError
from mlmethods.interfaces import ArrayLike, Backend, NDArray
from mlmethods.kernels.base import Kernel
from mlmethods.kernels.diagnostics import KernelDiagnostics, kernel_diagnostics
from mlmethods.kernels.resolve import resolve_kernel
from mlmethods.kernels.ridge import KernelRidge

__all__ = ["OverfittingCoefficient", "overfitting_coefficient"]

_METHODS = ("loo", "gcv", "test")


@dataclass(frozen=True, eq=False, kw_only=True)
class OverfittingCoefficient:
    """What :func:`overfitting_coefficient` finds.

    Attributes
    ----------
    value : float
        E0: expected squared error on pure noise of variance one, that of the test
        targets included. 1 means that fitting noise costs nothing. NaN where the
        kernel matrix could not be factorized.
    ci : tuple of float
        Confidence interval over rows; NaN for ``method="gcv"``, which has no terms to
        resample.
    resolved : bool
        Whether rounding and jitter play no part in it; if not, do not trust the value.
    method : {"loo", "gcv", "test"}
        How it was measured.
    kappa : float
        Effective ridge.
    cond : float
        Condition number of the kernel matrix with the ridge.
    n : int
        Training rows.
    rows : ndarray
        The terms whose mean is the value, one for each left-out row; empty for
        ``method="gcv"``.
    """

    value: float
    ci: tuple[float, float]
    resolved: bool
    method: str
    kappa: float
    cond: float
    n: int
    rows: NDArray = field(repr=False)

    def __float__(self) -> float:
        return self.value


def overfitting_coefficient(
    kernel: str | Kernel,
    X: ArrayLike,
    reg: float = 0.0,
    *,
    method: str = "loo",
    X_test: ArrayLike | None = None,
    bandwidth: float | str | None = None,
    jitter: float = 0.0,
    level: float = 0.95,
    dtype: str = "float64",
    memory_limit: int | str = "auto",
    backend: str | Backend = "auto",
) -> OverfittingCoefficient:
    """Return what fitting noise costs with a kernel on given rows, without targets.

    Parameters
    ----------
    kernel : str or Kernel
        A name with the defaults of its class, or an object.
    X : array-like of shape (n, d)
        Training rows.
    reg : float, default=0.0
        Ridge >= 0, added to the diagonal and not divided by n; 0 interpolates.
    method : {"loo", "gcv", "test"}, default="loo"
        ``"loo"`` averages over the rows, each left out once, exactly. ``"test"``
        averages over the rows of `X_test`. ``"gcv"`` replaces the terms of ``"loo"``
        by averages; it is too large in few dimensions.
    X_test : array-like of shape (m, d), optional
        Rows of the same distribution; needed for ``"test"`` and only then.
    bandwidth : float, "median" or None, default=None
        Length scale for a named kernel.
    jitter : float, default=0.0
        Added to the diagonal and counted as an artifact.
    level : float, default=0.95
        Confidence of the interval.
    dtype : {"float64", "float32", "auto"}, default="float64"
        Precision.
    memory_limit : int or "auto", default="auto"
        Bytes; ``"auto"`` is 80 % of what is available.
    backend : str or Backend, default="auto"
        What computes; see :func:`mlmethods.get_backend`.

    Returns
    -------
    OverfittingCoefficient

    Raises
    ------
    InvalidInputError
        If an argument is outside its range.
    MemoryLimitError
        If it would exceed `memory_limit`; nothing was allocated.

    Notes
    -----
    With ``M = (K + reg I)^-1`` and independent noise of variance one as targets, the
    expected squared error at a new row x is ``1 + |M k(x)|^2``, and that at a left-out
    training row ``(M^2)_ii / (M_ii)^2``, where n - 1 rows are fitted. Both are in closed
    form: no noise is drawn.

    The interval is that of the jackknife over rows, which for a mean is the standard
    error. It speaks of the rows left out, with the fitted rows as they are.

    References
    ----------
    N. Mallinar, J. B. Simon, A. Abedsoltan, P. Pandit, M. Belkin, P. Nakkiran, "Benign,
    Tempered, or Catastrophic: A Taxonomy of Overfitting", NeurIPS 2022.

    Examples
    --------
    In one dimension the Laplace kernel interpolates almost linearly, which costs 5/3:

    >>> import numpy as np
    >>> from mlmethods.kernels import LaplaceKernel
    >>> from mlmethods.overfitting import overfitting_coefficient
    >>> X = np.random.default_rng(0).uniform(size=(1000, 1))
    >>> found = overfitting_coefficient(LaplaceKernel(bandwidth=1.0), X)
    >>> found.ci[0] < 5 / 3 < found.ci[1], found.resolved
    (True, True)
    """
    check_choice("method", method, _METHODS)
    level = check_real(
        "level", level, minimum=0, maximum=1, open_minimum=True, open_maximum=True
    )
    if (X_test is None) == (method == "test"):
        raise InvalidInputError(
            "X_test must be given with method='test' and only then, got "
            f"method={method!r} and X_test={'None' if X_test is None else 'rows'}"
        )
    shared: Any = {"dtype": dtype, "memory_limit": memory_limit, "backend": backend}
    kernel = resolve_kernel(kernel, bandwidth, X=np.asarray(X), rng=0)
    found: KernelDiagnostics = kernel_diagnostics(
        kernel, X, reg, jitter=jitter, **shared
    )
    value, rows = found.e0, np.empty(0)
    if method == "gcv":
        value = found.e0_gcv
    elif method == "loo":
        rows = np.asarray(found.e0_rows, dtype=np.float64)
    else:
        columns = kernel(X, X_test, backend=backend, dtype="float64")
        rows = _at_new_rows(kernel, X, columns, reg + jitter, shared)
        value = float(rows.mean())
    return OverfittingCoefficient(
        value=float(value),
        ci=_jackknife(value, rows, level),
        resolved=found.resolved,
        method=method,
        kappa=found.kappa,
        cond=found.cond,
        n=len(np.asarray(X)),
        rows=rows,
    )


def _at_new_rows(
    kernel: Kernel, X: ArrayLike, columns: NDArray, reg: float, settings: Any
) -> NDArray:
    """Return ``1 + |M k(x)|^2`` for the columns k(x)."""
    model = KernelRidge(kernel, reg=reg, on_singular="pinv", **settings)
    with warnings.catch_warnings():
        # `resolved` says it.
        warnings.simplefilter("ignore", EffectiveRidgeWarning)
        # The columns M k(x) are the coefficients of a fit to the columns k(x).
        model.fit(X, columns)
    coefficients = np.asarray(model.dual_coef_, dtype=np.float64)
    return 1 + np.sum(coefficients**2, axis=0)


def _jackknife(value: float, rows: NDArray, level: float) -> tuple[float, float]:
    """Return the interval of a mean over rows; NaN where there is none."""
    from scipy import stats

    if len(rows) < 2 or not np.isfinite(rows).all():
        return (np.nan, np.nan)
    error = rows.std(ddof=1) / np.sqrt(len(rows))
    reach = float(stats.norm.ppf(0.5 + level / 2) * error)
    return (value - reach, value + reach)
