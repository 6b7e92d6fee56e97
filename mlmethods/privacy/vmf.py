"""The von Mises-Fisher distribution on the unit sphere, in float64.

The density at the unit vector y in R^p, with respect to the surface measure, is
``C_p(kappa) exp(kappa mu.y)``. Every function is exact from p = 2 to 1e7 and kappa from
0 to 1e8: no Bessel function, which would under- or overflow, is formed.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mlmethods.backend import get_backend
from mlmethods.common.rng import generator
from mlmethods.common.validation import check_integer
from mlmethods.errors import InvalidInputError, SamplerError
from mlmethods.interfaces import ArrayLike, NDArray, SampleStatus

__all__ = [
    "entropy",
    "fit",
    "kappa_from_resultant",
    "log_norm",
    "log_norm_ratio",
    "log_prob",
    "mean_resultant",
    "rvs",
]

_UNIT_TOLERANCE = 1e-4
_ITERATIONS = 60


def log_norm(p: int, kappa: ArrayLike) -> Any:
    """Return ``log C_p(kappa)``, the constant of the density.

    Parameters
    ----------
    p : int
        Dimension, at least 2.
    kappa : float or array-like of shape (...)
        Concentration, finite and >= 0.

    Returns
    -------
    float or float64 ndarray of shape (...)

    Raises
    ------
    InvalidInputError
        If `p` is not an integer >= 2, or `kappa` is negative, NaN or infinite.

    References
    ----------
    K. V. Mardia, P. E. Jupp, *Directional Statistics*, Wiley (2000), section 9.3.

    Examples
    --------
    >>> import math
    >>> from mlmethods.privacy import vmf
    >>> math.isclose(vmf.log_norm(3, 0.0), -math.log(4 * math.pi))
    True
    """
    p, kappa = _check(p, kappa)
    return _unwrap(_ops().vmf_log_normalizer(p, kappa))


def log_norm_ratio(p: int, kappa1: ArrayLike, kappa2: ArrayLike) -> Any:
    """Return ``log C_p(kappa1) - log C_p(kappa2)`` to full relative precision.

    In many dimensions both terms are huge and their difference is not: it is not
    computed by subtraction.

    Parameters
    ----------
    p : int
        Dimension, at least 2.
    kappa1, kappa2 : float or array-like
        Concentrations, finite and >= 0; they broadcast with each other.

    Returns
    -------
    float or float64 ndarray of the broadcast shape

    Raises
    ------
    InvalidInputError
        If `p` is not an integer >= 2, or a concentration is negative, NaN or infinite.

    Examples
    --------
    >>> from mlmethods.privacy import vmf
    >>> f"{vmf.log_norm_ratio(10_000_000, 0.0, 10.0):.4e}"  # about 10^2 / (2 p)
    '5.0000e-06'
    """
    p, first = _check(p, kappa1, "kappa1")
    p, second = _check(p, kappa2, "kappa2")
    return _unwrap(_ops().log_norm_ratio(p, first, second))


def mean_resultant(p: int, kappa: ArrayLike) -> Any:
    """Return the expected cosine of a draw with its mean direction.

    Parameters
    ----------
    p : int
        Dimension, at least 2.
    kappa : float or array-like of shape (...)
        Concentration, finite and >= 0.

    Returns
    -------
    float or float64 ndarray of shape (...)
        ``A_p(kappa) = I_(p/2)(kappa) / I_(p/2-1)(kappa)``, from 0 to 1.

    Raises
    ------
    InvalidInputError
        If `p` is not an integer >= 2, or `kappa` is negative, NaN or infinite.

    Examples
    --------
    >>> from mlmethods.privacy import vmf
    >>> round(vmf.mean_resultant(3, 1.0), 6)  # coth(1) - 1
    0.313035
    """
    p, kappa = _check(p, kappa)
    return _unwrap(_ops().mean_resultant(p, kappa))


def kappa_from_resultant(p: int, resultant: ArrayLike) -> Any:
    """Return the concentration whose mean resultant length is `resultant`.

    Parameters
    ----------
    p : int
        Dimension, at least 2.
    resultant : float or array-like of shape (...)
        ``0 <= resultant < 1``.

    Returns
    -------
    float or float64 ndarray of shape (...)
        The inverse of :func:`mean_resultant`.

    Raises
    ------
    InvalidInputError
        If `p` is not an integer >= 2, or a length is outside its range.

    Notes
    -----
    Newton's method inside a bracket, from ``R (p - R^2) / (1 - R^2)``.

    References
    ----------
    A. Banerjee, I. S. Dhillon, J. Ghosh, S. Sra, "Clustering on the Unit Hypersphere
    using von Mises-Fisher Distributions", JMLR 6 (2005).

    S. Sra, "A short note on parameter approximation for von Mises-Fisher
    distributions", Computational Statistics 27 (2012).

    Examples
    --------
    >>> from mlmethods.privacy import vmf
    >>> round(vmf.kappa_from_resultant(4096, vmf.mean_resultant(4096, 10.0)), 9)
    10.0
    """
    p = check_integer("p", p, minimum=2)
    length = np.asarray(resultant, np.float64)
    if not np.all((length >= 0) & (length < 1)):
        raise InvalidInputError(
            f"resultant must be >= 0 and < 1, got {_first_bad(length, length < 1)!r}"
        )
    return _unwrap(_invert_resultant(p, length))


def _invert_resultant(p: int, length: NDArray) -> NDArray:
    """Return the root of ``A_p(kappa) = length``, entry by entry."""
    ops = _ops()
    room = (1 - length) * (1 + length)
    # Amos' bounds of A, solved for kappa, bracket the root.
    low = length * (p - 2) / room
    high = length * p / room
    kappa = np.clip(length * (p - length**2) / room, low, high)
    for _ in range(_ITERATIONS):
        mean = np.asarray(ops.mean_resultant(p, kappa))
        excess = mean - length
        low = np.where(excess < 0, kappa, low)
        high = np.where(excess >= 0, kappa, high)
        slope = _variance(p, kappa, mean)
        with np.errstate(divide="ignore", invalid="ignore"):
            step = np.where(excess == 0, 0.0, excess / slope)
        moved = kappa - step
        outside = ~((moved >= low) & (moved <= high))
        moved = np.where(outside, (low + high) / 2, moved)
        settled = np.abs(moved - kappa) <= 4e-16 * kappa
        kappa = moved
        if settled.all():
            break
    return kappa


def _variance(p: int, kappa: NDArray, mean: NDArray) -> NDArray:
    """Return ``1 - A^2 - (p - 1) A / kappa``, the slope of A; its size suffices."""
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = 1 - mean**2 - (p - 1) * mean / kappa
        # Where the terms cancel: the slope of kappa / (h + sqrt(h^2 + kappa^2)).
        half = (p - 1) / 2
        radius = np.hypot(half, kappa)
        rough = half / (radius * (half + radius))
    return np.where((variance > rough / 2) & (variance < 2 * rough), variance, rough)


def log_prob(
    y: ArrayLike, mu: ArrayLike, kappa: ArrayLike, normalize: bool = False
) -> Any:
    """Return the log density of unit vectors.

    Parameters
    ----------
    y : array-like of shape (..., p)
        Unit vectors.
    mu : array-like of shape (..., p)
        Mean directions.
    kappa : float or array-like of shape (...)
        Concentrations, finite and >= 0.
    normalize : bool, default=False
        Whether to scale `y` and `mu` to norm 1.

    Returns
    -------
    float or float64 ndarray
        Of the shape to which the leading axes broadcast.

    Raises
    ------
    InvalidInputError
        If a vector is no unit vector to within 1e-4 and `normalize` is False, `kappa`
        is outside its range, or the shapes do not broadcast.

    Examples
    --------
    >>> import numpy as np
    >>> from mlmethods.privacy import vmf
    >>> axis = np.array([0.0, 0.0, 1.0])
    >>> round(vmf.log_prob(axis, axis, 2.0), 6)
    -1.126244
    """
    y, mu = _check_unit("y", y, normalize), _check_unit("mu", mu, normalize)
    if y.shape[-1] != mu.shape[-1]:
        raise InvalidInputError(
            f"y and mu must have the same dimension, got {y.shape[-1]} and "
            f"{mu.shape[-1]}"
        )
    p, kappa = _check(y.shape[-1], kappa)
    try:
        cosine = np.einsum("...i,...i->...", y, mu)
        value = _ops().vmf_log_normalizer(p, kappa) + kappa * cosine
    except ValueError:
        raise InvalidInputError(
            f"y {y.shape}, mu {mu.shape} and kappa {kappa.shape} do not broadcast"
        ) from None
    return _unwrap(value)


def entropy(p: int, kappa: ArrayLike) -> Any:
    """Return the differential entropy, in nats.

    Parameters
    ----------
    p : int
        Dimension, at least 2.
    kappa : float or array-like of shape (...)
        Concentration, finite and >= 0.

    Returns
    -------
    float or float64 ndarray of shape (...)
        ``-(log C_p(kappa) + kappa A_p(kappa))``.

    Raises
    ------
    InvalidInputError
        If `p` is not an integer >= 2, or `kappa` is negative, NaN or infinite.

    Examples
    --------
    >>> from mlmethods.privacy import vmf
    >>> round(vmf.entropy(3, 0.0), 6)  # log(4 pi)
    2.531024
    """
    p, kappa = _check(p, kappa)
    ops = _ops()
    value = ops.vmf_log_normalizer(p, kappa) + kappa * ops.mean_resultant(p, kappa)
    return _unwrap(-value)


def rvs(
    mu: ArrayLike,
    kappa: ArrayLike,
    size: int | tuple[int, ...] = (),
    rng: Any = None,
    normalize: bool = False,
) -> NDArray:
    """Draw unit vectors.

    Parameters
    ----------
    mu : array-like of shape (..., p)
        Mean directions.
    kappa : float or array-like of shape (...)
        Concentrations, finite and >= 0.
    size : int or tuple of int, default=()
        How many draws of each; these axes come first.
    rng : None, int or numpy.random.Generator
        Randomness; a generator is advanced.
    normalize : bool, default=False
        Whether to scale `mu` to norm 1.

    Returns
    -------
    float64 ndarray of shape size + (..., p)

    Raises
    ------
    InvalidInputError
        If `mu` is no unit vector to within 1e-4 and `normalize` is False, or `kappa` is
        outside its range or does not broadcast.
    SamplerError
        If a draw was not accepted within 100 rounds.

    Notes
    -----
    Work and memory are linear in p: the cosine with `mu` is drawn by rejection, and the
    rest is uniform on the sphere orthogonal to `mu`, by projection.

    Examples
    --------
    >>> import numpy as np
    >>> from mlmethods.privacy import vmf
    >>> y = vmf.rvs(np.eye(1000)[0], 500.0, size=4, rng=0)
    >>> y.shape, bool(np.allclose(np.linalg.norm(y, axis=1), 1.0))
    ((4, 1000), True)
    """
    mu = _check_unit("mu", mu, normalize)
    _, kappa = _check(mu.shape[-1], kappa)
    lead = (size,) if isinstance(size, int) else tuple(size)
    try:
        batch = np.broadcast_shapes(mu.shape[:-1], kappa.shape)
    except ValueError:
        raise InvalidInputError(
            f"kappa must broadcast with the directions of mu, got shapes {kappa.shape} "
            f"and {mu.shape[:-1]}"
        ) from None
    wide = np.broadcast_to(mu, (*lead, *batch, mu.shape[-1]))
    result = _ops().vmf_sample_with_status(
        generator(rng), wide, np.broadcast_to(kappa, (*lead, *batch))
    )
    if np.any(result.status != SampleStatus.OK):
        raise SamplerError("the sampler did not accept a draw for every direction")
    return result.value


def fit(X: ArrayLike, normalize: bool = False) -> tuple[NDArray, float]:
    """Return the maximum likelihood estimate from unit vectors.

    Parameters
    ----------
    X : array-like of shape (n, p)
        Unit vectors; two different ones at least.
    normalize : bool, default=False
        Whether to scale the rows to norm 1.

    Returns
    -------
    mu : float64 ndarray of shape (p,)
        Mean direction.
    kappa : float
        Concentration.

    Raises
    ------
    InvalidInputError
        If a row is no unit vector to within 1e-4 and `normalize` is False, the rows sum
        to zero, or all rows are equal.

    Examples
    --------
    >>> import numpy as np
    >>> from mlmethods.privacy import vmf
    >>> X = vmf.rvs(np.eye(1024)[0], 50.0, size=20_000, rng=0)
    >>> mu, kappa = vmf.fit(X)
    >>> bool(abs(kappa - 50) < 2), bool(mu[0] > 0.9)
    (True, True)
    """
    rows = _check_unit("X", X, normalize)
    if rows.ndim != 2:
        raise InvalidInputError(f"X must have shape (n, p), got shape {rows.shape}")
    # Rows within the tolerance of a unit vector count as one.
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    mean = rows.mean(axis=0)
    length = float(np.linalg.norm(mean))
    if length < 1e-12:
        raise InvalidInputError("X has rows that sum to zero, so no mean direction")
    mu = mean / length
    # 1 - length from the distances to the mean direction, free of cancellation.
    versine = float(np.mean(np.sum((rows - mu) ** 2, axis=1))) / 2
    if versine < 1e-15:
        raise InvalidInputError("X has equal rows only: the concentration is infinite")
    return mu, _from_versine(rows.shape[1], versine)


def _from_versine(p: int, versine: float) -> float:
    """Return the kappa with ``1 - A_p(kappa) = versine``."""
    if versine > 1e-3:
        return float(_invert_resultant(p, np.asarray(1 - versine)))
    # Near 1 the digits of A are those of 1 - A: five terms of its series in 1 / kappa,
    # which solve A' = 1 - A^2 - (p - 1) A / kappa order by order.
    first = (p - 1) / 2
    second = first * (2 - (p - 1)) / 4
    fourth = (3 * second + second**2) / 2
    terms = [0.0, first, second, second, fourth, 2 * fourth + second**2]
    series = np.polynomial.Polynomial(terms)
    slope = series.deriv()
    inverse = versine / first
    for _ in range(_ITERATIONS):
        step = (series(inverse) - versine) / slope(inverse)
        inverse -= step
        if abs(step) <= 4e-16 * inverse:
            break
    return 1 / inverse


def _ops() -> Any:
    return get_backend("numpy").privacy


def _check(p: Any, kappa: ArrayLike, name: str = "kappa") -> tuple[int, NDArray]:
    """Return the dimension and concentrations, in their ranges."""
    p = check_integer("p", p, minimum=2)
    values = np.asarray(kappa, np.float64)
    good = (values >= 0) & np.isfinite(values)
    if not good.all():
        raise InvalidInputError(
            f"{name} must be finite and >= 0, got {_first_bad(values, good)!r}"
        )
    return p, values


def _first_bad(values: NDArray, good: NDArray) -> float:
    good = good & (values >= 0)
    return float(values.ravel()[np.argmin(good.ravel())])


def _check_unit(name: str, rows: ArrayLike, normalize: bool) -> NDArray:
    """Return vectors of norm 1 along the last axis, as float64."""
    vectors = np.asarray(rows, np.float64)
    if vectors.ndim == 0 or vectors.shape[-1] < 2:
        raise InvalidInputError(
            f"{name} must have shape (..., p) with p >= 2, got shape {vectors.shape}"
        )
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    if normalize:
        if not np.all((norms > 0) & np.isfinite(norms)):
            raise InvalidInputError(f"{name} has a vector that is zero or not finite")
        return vectors / norms
    if not np.all(np.abs(norms - 1) <= _UNIT_TOLERANCE):
        bad = norms.ravel()
        worst = bad[np.argmax(np.nan_to_num(np.abs(bad - 1), nan=math.inf))]
        raise InvalidInputError(
            f"{name} must be unit vectors to within {_UNIT_TOLERANCE:g}, got one of norm "
            f"{worst:.6g}; normalize=True scales them"
        )
    return vectors


def _unwrap(value: NDArray) -> Any:
    return float(value) if np.ndim(value) == 0 else value
