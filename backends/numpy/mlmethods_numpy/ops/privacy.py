"""The von Mises-Fisher distribution and norm clipping, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import SampleResult, SampleStatus
from mlmethods_numpy.ops._bessel import (
    check_dimension,
    log_norm_ratio,
    mean_resultant,
    vmf_log_normalizer,
)

__all__ = [
    "clip_by_norm",
    "log_norm_ratio",
    "mean_resultant",
    "vmf_cosine",
    "vmf_log_normalizer",
    "vmf_sample",
    "vmf_sample_with_status",
]

MAX_ROUNDS = 100


def _check_generator(key: Any) -> None:
    if not isinstance(key, np.random.Generator):
        raise InvalidInputError(
            f"key must be a numpy.random.Generator, got {type(key).__name__}"
        )


def _require_broadcast(name: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
    try:
        np.broadcast_to(array, shape)
    except ValueError:
        raise InvalidInputError(
            f"{name} must broadcast to shape {shape}, got shape {array.shape}"
        ) from None


def _versines(
    rng: np.random.Generator, p: int, kappa: np.ndarray
) -> tuple[np.ndarray, np.ndarray, int]:
    """Draw ``1 - w`` and ``1 + w`` by the rejection of Ulrich and Wood.

    Returns
    -------
    versine, complement : arrays of the shape of `kappa`
        NaN where no candidate was accepted.
    rounds : int
        How many candidates the slowest lane had.
    """
    shape, kappa = kappa.shape, kappa.ravel()
    b = (p - 1) / (np.hypot(2 * kappa, p - 1) + 2 * kappa)
    # x0 = (1 - b) / (1 + b) by its distance from 1; everything follows without
    # subtracting neighbours: 1 - x0 w = y0 + x0 t for t = 1 - w and y0 = 1 - x0.
    y0 = 2 * b / (1 + b)
    x0 = (1 - b) / (1 + b)
    versine, complement = np.full((2, kappa.size), np.nan)
    pending = np.arange(kappa.size)
    rounds = 0
    while pending.size and rounds < MAX_ROUNDS:
        rounds += 1
        z = rng.beta((p - 1) / 2, (p - 1) / 2, size=pending.size)
        u = rng.random(pending.size)
        b_, x0_, y0_ = b[pending], x0[pending], y0[pending]
        scale = 1 - (1 - b_) * z
        t = 2 * b_ * z / scale
        log_ratio = kappa[pending] * (y0_ - t) + (p - 1) * np.log(
            (y0_ + x0_ * t) / (y0_ * (1 + x0_))
        )
        accepted = log_ratio >= np.log1p(-u)
        done = pending[accepted]
        versine[done] = t[accepted]
        complement[done] = 2 * (1 - z[accepted]) / scale[accepted]
        pending = pending[~accepted]
    return versine.reshape(shape), complement.reshape(shape), rounds


def vmf_sample_with_status(
    key: np.random.Generator, mu: Any, kappa: Any
) -> SampleResult:
    """Draw from von Mises-Fisher distributions, and say how each lane ended.

    Parameters
    ----------
    key : numpy.random.Generator
        Advanced by the draws.
    mu : array of shape (..., p)
        Mean directions, p >= 2; only their direction counts.
    kappa : array that broadcasts to the shape (...)
        Concentrations, 0 (uniform) to 1e8.

    Returns
    -------
    SampleResult
        `value` (..., p) holds unit vectors. Where `status` (...) is not OK, the lane is
        NaN: INVALID_PARAMETERS for a zero or non-finite `mu` and for `kappa` that is
        negative or not finite, MAX_ROUNDS where no candidate was accepted in 100
        rounds.

    Raises
    ------
    InvalidInputError
        If `mu` has no axis of at least two components, `kappa` does not broadcast, or
        `key` is not a generator.

    References
    ----------
    A. T. A. Wood, "Simulation of the von Mises Fisher distribution", Communications in
    Statistics - Simulation and Computation 23 (1994) 157-164.

    Examples
    --------
    >>> import numpy as np
    >>> from mlmethods_numpy.ops.privacy import vmf_sample_with_status
    >>> result = vmf_sample_with_status(np.random.default_rng(0), np.eye(3), 10.0)
    >>> result.value.shape, bool(result.ok.all())
    ((3, 3), True)
    """
    _check_generator(key)
    mu, kappa = np.asarray(mu, np.float64), np.asarray(kappa, np.float64)
    if mu.ndim == 0 or mu.shape[-1] < 2:
        raise InvalidInputError(
            f"mu must have shape (..., p) with p >= 2, got shape {mu.shape}"
        )
    batch, p = mu.shape[:-1], mu.shape[-1]
    _require_broadcast("kappa", kappa, batch)
    kappa = np.broadcast_to(kappa, batch)
    largest = np.abs(mu).max(axis=-1)
    valid = (kappa >= 0) & np.isfinite(kappa) & (largest > 0) & np.isfinite(largest)
    # Invalid lanes draw about an arbitrary direction and are masked at the end.
    unit = np.where(valid[..., None], mu, 1.0)
    unit = unit / np.abs(unit).max(axis=-1, keepdims=True)
    unit /= np.linalg.norm(unit, axis=-1, keepdims=True)
    versine, complement, rounds = _versines(key, p, np.where(valid, kappa, 0.0))
    tangent = key.standard_normal(mu.shape)
    # The second pass removes the rounding of the first where little is left.
    for _ in range(2):
        tangent -= np.sum(tangent * unit, axis=-1, keepdims=True) * unit
        tangent /= np.linalg.norm(tangent, axis=-1, keepdims=True)
    value = (1 - versine)[..., None] * unit
    value += np.sqrt(versine * complement)[..., None] * tangent
    value[~valid] = np.nan
    status = np.where(
        valid,
        np.where(np.isnan(versine), SampleStatus.MAX_ROUNDS, SampleStatus.OK),
        SampleStatus.INVALID_PARAMETERS,
    )
    return SampleResult(value, status.astype(np.int32), np.asarray(rounds))


def vmf_sample(key: np.random.Generator, mu: Any, kappa: Any) -> np.ndarray:
    """Draw unit vectors from von Mises-Fisher distributions.

    The density of y on the unit sphere is proportional to ``exp(kappa mu.y)``. This is
    the `value` of :func:`vmf_sample_with_status`, whose documentation holds: a lane
    without an accepted draw is NaN.

    Parameters
    ----------
    key : numpy.random.Generator
        Advanced by the draws.
    mu : array of shape (..., p)
        Mean directions, p >= 2; only their direction counts.
    kappa : array that broadcasts to the shape (...)
        Concentrations, 0 (uniform) to 1e8.

    Returns
    -------
    float64 array of shape (..., p)
        Unit vectors.

    Raises
    ------
    InvalidInputError
        As :func:`vmf_sample_with_status`.

    Examples
    --------
    >>> import numpy as np
    >>> from mlmethods_numpy.ops.privacy import vmf_sample
    >>> y = vmf_sample(np.random.default_rng(0), [0.0, 0.0, 1.0], 100.0)
    >>> bool(np.isclose(np.linalg.norm(y), 1.0)), bool(y[2] > 0.8)
    (True, True)
    """
    return vmf_sample_with_status(key, mu, kappa).value


def vmf_cosine(
    key: np.random.Generator, p: int, kappa: Any, shape: int | tuple[int, ...] = ()
) -> np.ndarray:
    """Draw the cosine ``w = mu.y`` of von Mises-Fisher vectors y, without the vectors.

    The density of w is proportional to ``exp(kappa w) (1 - w^2)^((p - 3) / 2)``.

    Parameters
    ----------
    key : numpy.random.Generator
        Advanced by the draws.
    p : int
        Dimension, 2 to 1e7.
    kappa : array that broadcasts to `shape`
        Concentrations, 0 to 1e8.
    shape : int or tuple of int
        Shape of the result.

    Returns
    -------
    float64 array of shape `shape`
        NaN where `kappa` is negative or not finite.

    Raises
    ------
    InvalidInputError
        If `p` is not an integer >= 2, `kappa` does not broadcast to `shape`, or `key` is
        not a generator.

    Examples
    --------
    >>> import numpy as np
    >>> from mlmethods_numpy.ops.privacy import mean_resultant, vmf_cosine
    >>> w = vmf_cosine(np.random.default_rng(0), 10_000_000, 1e6, 1000)
    >>> bool(abs(w.mean() - mean_resultant(10_000_000, 1e6)) < 1e-4)
    True
    """
    _check_generator(key)
    p = check_dimension(p)
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    kappa = np.asarray(kappa, np.float64)
    _require_broadcast("kappa", kappa, shape)
    kappa = np.broadcast_to(kappa, shape)
    valid = (kappa >= 0) & np.isfinite(kappa)
    versine, _, _ = _versines(key, p, np.where(valid, kappa, 0.0))
    return np.where(valid, 1 - versine, np.nan)


def clip_by_norm(g: Any, max_norm: Any) -> tuple[np.ndarray, np.ndarray]:
    """Scale each row of `g` to a Euclidean norm of at most `max_norm`.

    Parameters
    ----------
    g : array of shape (b, p)
        One gradient a row; further leading axes are allowed.
    max_norm : float or array of shape (b,)
        The bound, at least 0.

    Returns
    -------
    clipped : float64 array of shape (b, p)
        Rows within the bound are unchanged, so zero rows stay zero. Rows with NaN or inf
        become NaN.
    norms : float64 array of shape (b,)
        Norms before clipping.

    Raises
    ------
    InvalidInputError
        If `g` is a scalar, or `max_norm` is negative or NaN or does not broadcast.

    Notes
    -----
    Each row is divided by its largest entry first: squares neither over- nor underflow.

    References
    ----------
    M. Abadi et al., "Deep learning with differential privacy", CCS 2016, Algorithm 1.

    Examples
    --------
    >>> from mlmethods_numpy.ops.privacy import clip_by_norm
    >>> clipped, norms = clip_by_norm([[3.0, 4.0], [0.0, 0.5]], 1.0)
    >>> norms.tolist(), clipped.round(3).tolist()
    ([5.0, 0.5], [[0.6, 0.8], [0.0, 0.5]])
    """
    g, limit = np.asarray(g, np.float64), np.asarray(max_norm, np.float64)
    if g.ndim == 0:
        raise InvalidInputError("g must have shape (b, p), got a scalar")
    if not np.all(limit >= 0):
        raise InvalidInputError(f"max_norm must be >= 0, got {max_norm!r}")
    _require_broadcast("max_norm", limit, g.shape[:-1])
    largest = np.abs(g).max(axis=-1)
    scale = np.where(largest == 0, 1.0, largest)
    with np.errstate(invalid="ignore"):
        scaled = g / scale[..., None]
    relative = np.linalg.norm(scaled, axis=-1)
    norms = scale * relative
    inside = norms <= limit
    factor = limit / np.where(inside, 1.0, relative)
    return np.where(inside[..., None], g, scaled * factor[..., None]), norms
