"""From what a user passes as ``kernel=`` and ``bandwidth=`` to one kernel object."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlmethods.common.rng import generator
from mlmethods.common.validation import check_choice, check_integer, check_real
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import ArrayLike
from mlmethods.kernels import family, network
from mlmethods.kernels._arrays import matrices
from mlmethods.kernels.base import Kernel

__all__ = ["median_bandwidth", "resolve_kernel"]

_NAMES: dict[str, type[Kernel]] = {
    "laplace": family.LaplaceKernel,
    "gaussian": family.GaussianKernel,
    "exp_power": family.ExpPowerKernel,
    "matern": family.MaternKernel,
    "lpq": family.LpqKernel,
    "sum_power": family.SumPowerLaplaceKernel,
    "quadratic": family.QuadraticKernel,
    "linear": family.LinearKernel,
    "polynomial": family.PolynomialKernel,
    "rational_quadratic": family.RationalQuadraticKernel,
    "nngp": network.NNGPKernel,
    "ntk": network.NTKKernel,
}
# A distance below this, relative to unit scale, is no scale at all.
_SMALLEST_MEDIAN = 1e-14


def resolve_kernel(
    kernel: str | Kernel,
    bandwidth: float | str | None = None,
    *,
    X: ArrayLike | None = None,
    rng: Any = None,
) -> Kernel:
    """Return the kernel object that a name or an object means.

    Parameters
    ----------
    kernel : str or Kernel
        ``"laplace"``, ``"gaussian"``, ``"exp_power"``, ``"matern"``, ``"lpq"``,
        ``"sum_power"``, ``"quadratic"``, ``"linear"``, ``"polynomial"``,
        ``"rational_quadratic"``, ``"nngp"`` or ``"ntk"`` with the defaults of its
        class, or an object, which carries its parameters.
    bandwidth : float, "median" or None, default=None
        Length scale for a name: None is 10, ``"median"`` the median distance between
        rows of `X`. An object has its own; giving both is refused.
    X : array-like of shape (n, d), optional
        Data for ``"median"``.
    rng : None, int, SeedSequence or Generator, optional
        Draws the rows for ``"median"`` where there are more than 5000.

    Returns
    -------
    Kernel
        With parameters in range.

    Raises
    ------
    InvalidInputError
        If the name is unknown, both are given, or a value is out of range.

    Examples
    --------
    >>> from mlmethods.kernels import resolve_kernel
    >>> resolve_kernel("laplace")
    LaplaceKernel(bandwidth=10.0)
    >>> resolve_kernel("gaussian", 2.0)
    GaussianKernel(bandwidth=2.0)
    """
    if isinstance(kernel, Kernel):
        if bandwidth is not None:
            raise InvalidInputError(
                f"bandwidth must be None with a kernel object, which has its own, "
                f"got bandwidth={bandwidth!r} and kernel={kernel!r}"
            )
        kernel.to_spec()
        return kernel
    if not isinstance(kernel, str):
        raise InvalidInputError(
            f"kernel must be a name ({', '.join(_NAMES)}) or a Kernel object, "
            f"got {kernel!r}"
        )
    made = _NAMES[check_choice("kernel", kernel, _NAMES)]()
    if bandwidth is None:
        return made
    if "bandwidth" not in made.get_params():
        raise InvalidInputError(
            f"bandwidth must be None for kernel {kernel!r}, which has no length "
            f"scale, got {bandwidth!r}"
        )
    if isinstance(bandwidth, str):
        check_choice("bandwidth", bandwidth, ("median",))
        if kernel == "sum_power":
            raise InvalidInputError(
                "bandwidth='median' is refused for kernel 'sum_power', whose scale "
                "is that of one coordinate; give a number"
            )
        if X is None:
            raise InvalidInputError("bandwidth='median' needs X, got None")
        bandwidth = median_bandwidth(X, rng=rng)
    made.set_params(bandwidth=bandwidth).to_spec()
    return made


def median_bandwidth(
    X: ArrayLike,
    M: ArrayLike | None = None,
    *,
    p: float = 2.0,
    max_samples: int = 5000,
    rng: Any = None,
) -> float:
    """Return the median distance between different rows, a common length scale.

    Parameters
    ----------
    X : array-like of shape (n, d)
        Data.
    M : array-like of shape (d, d) or (d,), optional
        Mahalanobis matrix of the distance, or its diagonal.
    p : float, default=2
        Order of the norm of ``M^{1/2} (x - z)``.
    max_samples : int, default=5000
        Use at most so many rows, drawn without replacement.
    rng : None, int, SeedSequence or Generator, optional
        Draws them.

    Returns
    -------
    float
        1.0 where the median is below 1e-14, as with a single row.

    Examples
    --------
    >>> from mlmethods.kernels import median_bandwidth
    >>> median_bandwidth([[0.0], [1.0], [3.0]])
    2.0
    """
    from scipy.spatial.distance import pdist

    X, _, M = matrices(X, None, M)
    check_integer("max_samples", max_samples, minimum=2)
    if len(X) > max_samples:
        X = X[generator(rng).choice(len(X), size=max_samples, replace=False)]
    if len(X) < 2:
        return 1.0
    if M is not None and M.ndim == 2:
        values, vectors = np.linalg.eigh((M + M.T) / 2)
        # The symmetric root: only for p = 2 would any other do.
        X = X @ (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    elif M is not None:
        X = X * np.sqrt(np.maximum(M, 0.0))
    check_real("p", p, minimum=0, open_minimum=True)
    distances = pdist(X) if p == 2 else pdist(X, "minkowski", p=p)
    median = float(np.median(distances))
    return median if median > _SMALLEST_MEDIAN else 1.0
