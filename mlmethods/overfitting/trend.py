"""A verdict on a kernel from its matrices alone: no labels, no test set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlmethods.common.rng import generator
from mlmethods.common.validation import check_integer
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import ArrayLike, Backend, NDArray
from mlmethods.kernels.base import Kernel
from mlmethods.kernels.diagnostics import kernel_diagnostics
from mlmethods.kernels.resolve import resolve_kernel
from mlmethods.overfitting.problems import Problem
from mlmethods.overfitting.verdict import Verdict, classify_overfitting

__all__ = ["kernel_verdict"]

_SIZES = 5
_SMALLEST = 24


def kernel_verdict(
    kernel: str | Kernel,
    X: ArrayLike | Problem,
    *,
    bandwidth: float | str | None = None,
    n_grid: Sequence[int] | None = None,
    n_seeds: int = 5,
    reg: float = 0.0,
    jitter: float = 0.0,
    dtype: str = "float64",
    check_floor: bool = True,
    theory: str | None = None,
    n_bootstrap: int = 1000,
    backend: str | Backend = "auto",
    random_state: Any = None,
) -> Verdict:
    """Say what fitting noise costs with a kernel, and how that changes with n.

    At each size the overfitting coefficient E0, test error over noise variance, comes
    from the kernel matrix of a random subset through leave-one-out in closed form; its
    trend decides.

    Parameters
    ----------
    kernel : str or Kernel
        As in :func:`mlmethods.kernels.resolve_kernel`.
    X : array-like of shape (n_samples, n_features) or Problem
        Rows to draw subsets of, or a source of fresh points.
    bandwidth : float, "median" or None
        For a named kernel.
    n_grid : sequence of int, optional
        Sizes; by default five, at most twice the one before, up to half of the rows,
        so that the subsets of the largest size still differ.
    n_seeds : int, default=5
        Subsets of each size; a smaller one is the beginning of a larger one.
    reg : float, default=0
        Ridge >= 0 added to the diagonal, not divided by n.
    jitter : float, default=0
        A further multiple of the identity that counts as rounding, not as a ridge.
    dtype : {"float64", "float32"}
        Precision to compute in.
    check_floor : bool, default=True
        Leave out the sizes at which rounding or jitter does the work of a ridge. False
        believes every number; it is there to show what that does.
    theory : {"benign", "tempered", "catastrophic"}, optional
        What theory predicts, for comparison only.
    n_bootstrap : int, default=1000
        Resamples of the seeds.
    backend : str or Backend, default="auto"
        What computes.
    random_state : None, int or numpy.random.Generator
        Draws the subsets and the resamples.

    Returns
    -------
    Verdict

    Raises
    ------
    InvalidInputError
        If a parameter is outside its range, or there are fewer rows than `n_grid`
        asks for.

    Notes
    -----
    Cost: one Cholesky factorization and inverse for each size and seed. On subsets of
    one table the seeds are not independent; the interval is then that of the table,
    not of its population.

    Examples
    --------
    >>> from mlmethods.kernels import LaplaceKernel
    >>> from mlmethods.overfitting import kernel_verdict, sphere_problem
    >>> verdict = kernel_verdict(
    ...     LaplaceKernel(bandwidth=1.0),
    ...     sphere_problem(6),
    ...     n_grid=[32, 64, 128, 256, 512],
    ...     backend="numpy",
    ...     random_state=0,
    ... )
    >>> verdict.label
    'tempered'
    """
    import pandas as pd

    n_seeds = check_integer("n_seeds", n_seeds, minimum=1)
    if hasattr(X, "toarray"):
        raise InvalidInputError("X must be dense, got a sparse matrix; use X.toarray()")
    rows = None if isinstance(X, Problem) else np.asarray(X)
    if rows is not None and rows.ndim != 2:
        raise InvalidInputError(
            f"X must have shape (n_samples, n_features), got shape {rows.shape}"
        )
    sizes = _sizes(n_grid, rows)
    found = resolve_kernel(kernel, bandwidth, X=rows, rng=0)
    root = generator(random_state)
    records: list[dict[str, Any]] = []
    for seed, stream in enumerate(root.spawn(n_seeds)):
        points = _draw(X, rows, sizes[-1], stream)
        for n in sizes:
            measured = kernel_diagnostics(
                found, points[:n], reg, dtype=dtype, jitter=jitter, backend=backend
            )
            resolved = not check_floor or measured.resolved
            records += _cells(n, seed, measured, resolved)
    frame = pd.DataFrame(records)
    failed = frame["n"][frame["risk"].isna()].unique()
    # A size without a number has no vote, and no number in the result either.
    frame.loc[frame["n"].isin(failed), "resolved"] = False
    verdict = classify_overfitting(
        frame.fillna({"risk": 1.0}),
        task="regression",
        n_bootstrap=n_bootstrap,
        random_state=root,
        theory=theory,
    )
    unknown = verdict.e0["n"].isin(failed)
    numbers = ["e0", "lower", "upper"]
    verdict.e0.loc[unknown, numbers] = np.nan
    return verdict


def _sizes(n_grid: Sequence[int] | None, rows: NDArray | None) -> list[int]:
    if n_grid is None:
        if rows is None:
            raise InvalidInputError("n_grid must be given with a Problem, got None")
        largest = len(rows) // 2
        if largest < 2 * _SMALLEST:
            raise InvalidInputError(
                f"X must have at least {4 * _SMALLEST} rows for the default n_grid, got "
                f"{len(rows)}; give n_grid"
            )
        smallest = max(_SMALLEST, largest // 2 ** (_SIZES - 1))
        return np.geomspace(smallest, largest, _SIZES).round().astype(int).tolist()
    sizes = sorted({check_integer("n_grid", n, minimum=2) for n in n_grid})
    if not sizes:
        raise InvalidInputError("n_grid must name at least one size, got none")
    if rows is not None and sizes[-1] > len(rows):
        raise InvalidInputError(
            f"n_grid must be at most the number of rows {len(rows)}, got {sizes[-1]}"
        )
    return sizes


def _draw(
    X: ArrayLike | Problem, rows: NDArray | None, n: int, rng: np.random.Generator
) -> NDArray:
    if isinstance(X, Problem):
        return X.draw(n, rng)[0]
    assert rows is not None
    return rows[rng.permutation(len(rows))[:n]]


def _cells(n: int, seed: int, measured: Any, resolved: bool) -> list[dict[str, Any]]:
    """Return what E0 means for the risk: none without noise, E0 for a variance of 1."""
    base = {"n": n, "seed": seed, "resolved": bool(resolved)}
    return [{**base, "noise": s2, "risk": s2 * measured.e0} for s2 in (0.0, 0.5, 1.0)]
