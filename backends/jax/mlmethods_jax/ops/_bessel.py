"""Normaliser and mean resultant length of the von Mises-Fisher distribution.

With v = p/2 - 1 the constants are those of the Bessel function I_v, which under- and
overflows; it is never formed. Everything follows from the ratio r_v = I_(v+1)/I_v:

* above order 30, the uniform expansion ``r = a0(z) sum_j c_j(t) / h^j`` in h = (p-1)/2,
  z = kappa/h, t = 1/sqrt(1+z^2), a0 = z/(1+sqrt(1+z^2)). Its terms solve the Riccati
  equation ``r' = 1 - r^2 - (2h/kappa) r`` (DLMF 10.29.2) order by order;
* below, the backward recurrence ``r_v = 1 / (2(v+1)/kappa + r_(v+1))`` (DLMF 10.29.1)
  from order 30 down, which is stable.

``log C(0) - log C(kappa)`` is the integral of r: each term of the expansion has a closed
integral that vanishes at 0, and each step of the recurrence adds a positive logarithm,
so no digits cancel at any kappa.
"""

from __future__ import annotations

import functools
import math
import numbers
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float
from numpy.polynomial import polynomial

from mlmethods.errors import InvalidInputError, OperationNotSupportedError
from mlmethods_jax.ops._precision import as_dtype, compute_dtype, x64

__all__ = ["check_dimension", "log_norm_ratio", "mean_resultant", "vmf_log_normalizer"]

# Order and number of terms at which the expansion is exact to float64 (error 2e-16).
_ORDER = 30
_TERMS = 12
_WIDTH = 3 * _TERMS


class _Series(NamedTuple):
    """What the functions of one dimension are evaluated from.

    Attributes
    ----------
    half : float64 array of shape ()
        h of the dimension at which the expansion is used.
    ratio, integral : float64 arrays of shape (_WIDTH,)
        Coefficients in t of ``sum_j c_j / h^j`` and of its integral over (1 - t),
        less the terms j < 2 that are logarithms.
    ladder : float64 array of shape (steps,)
        2(v+1) of the recurrence, from the order of the expansion down.
    """

    half: Any
    ratio: Any
    integral: Any
    ladder: Any


@functools.cache
def _expansion() -> tuple[np.ndarray, np.ndarray]:
    """Return the coefficients in t, by row j, of c_j and of its integral.

    The coefficients are dyadic fractions, so float64 holds all that matter exactly.
    """
    terms = [np.ones(1)]
    for j in range(_TERMS):
        derivative = polynomial.polyder(terms[j]) if j else np.zeros(1)
        total = polynomial.polysub(
            polynomial.polymul([0, 0, 1], terms[j]),
            polynomial.polymul([0, 0, 1, 0, -1], derivative),
        )
        for i in range(1, j + 1):
            product = polynomial.polymul(terms[i], terms[j + 1 - i])
            total = polynomial.polyadd(total, polynomial.polymul([1, -1], product))
        terms.append(-total / 2)
    ratio = np.zeros((_TERMS + 1, _WIDTH))
    integral = np.zeros((_TERMS + 1, _WIDTH))
    for j, term in enumerate(terms):
        ratio[j, : term.size] = term
        if j >= 2:
            # int_t^1 c_j(u) / (u^2 (1 + u)) du, divided by (1 - t).
            quotient = polynomial.polydiv(term[2:], [1, 1])[0]
            primitive = polynomial.polyint(quotient)
            value = polynomial.polydiv(
                polynomial.polysub([primitive.sum()], primitive), [1, -1]
            )[0]
            integral[j, : value.size] = value
    return ratio, integral


@functools.lru_cache(maxsize=4096)
def _series(p: int) -> _Series:
    """Return the coefficients for dimension `p`, collapsed over the powers of h."""
    steps = max(0, math.ceil(_ORDER + 1 - p / 2))
    half = (p + 2 * steps - 1) / 2
    ratio, integral = _expansion()
    powers = half ** -np.arange(_TERMS + 1.0)
    return _Series(
        half=np.asarray(half, np.float64),
        ratio=powers @ ratio,
        integral=half * powers @ integral,
        ladder=p + 2.0 * np.arange(steps - 1, -1, -1),
    )


def _horner(coefficients: Array, t: Array) -> Array:
    total = jnp.zeros_like(t)
    for i in reversed(range(_WIDTH)):
        total = total * t + coefficients[i]
    return total


class _Constants(NamedTuple):
    """``log C(0) - log C(kappa)``, A(kappa) and A'(kappa)."""

    log_partition: Array
    mean: Array
    slope: Array


def _evaluate(series: _Series, kappa: Array) -> _Constants:
    """Evaluate in float64; NaN where kappa is negative or not finite."""
    kappa = jnp.where((kappa >= 0) & (kappa < jnp.inf), kappa, jnp.nan)
    half = series.half
    radius = jnp.sqrt(half * half + kappa * kappa)
    t = half / radius
    # sqrt(1 + z^2) - 1 without its cancellation.
    growth = kappa / half * (kappa / (half + radius))
    correction = _horner(series.ratio, t)
    powers = jnp.asarray(np.arange(1.0, _WIDTH))
    derivative = _horner(jnp.concatenate([series.ratio[1:] * powers, jnp.zeros(1)]), t)
    mean = kappa / (half + radius) * correction
    slope = t * t / (half * (1 + t)) * (correction - (1 - t * t) * derivative)
    log_partition = (
        half * (growth - jnp.log1p(growth / 2))
        - jnp.log1p(growth / (2 + growth)) / 2
        + growth / (1 + growth) * _horner(series.integral, t)
    )

    def descend(above: _Constants, step: Array) -> tuple[_Constants, None]:
        product = kappa * above.mean
        per_kappa = 1 / (step + product)
        mean = kappa * per_kappa
        slope = step * per_kappa**2 - mean**2 * above.slope
        log_partition = above.log_partition + jnp.log1p(product / step)
        return _Constants(log_partition, mean, slope), None

    constants = _Constants(log_partition, mean, slope)
    if series.ladder.shape[0]:
        constants, _ = jax.lax.scan(descend, constants, series.ladder)
    return constants


@jax.jit
def _constants(series: _Series, log_uniform: Array, kappa: Array) -> _Constants:
    """Return log C in place of the log partition, all in the dtype of `kappa`."""
    value = _evaluate(series, kappa.astype(jnp.float64))
    value = value._replace(log_partition=log_uniform - value.log_partition)
    return _Constants(*(x.astype(kappa.dtype) for x in value))


@jax.jit
def _log_norm_ratio(
    series: _Series, nodes: Array, pole: Array, kappa1: Array, kappa2: Array
) -> Array:
    shape = jnp.broadcast_shapes(kappa1.shape, kappa2.shape)
    first = jnp.broadcast_to(kappa1.astype(jnp.float64), shape)
    second = jnp.broadcast_to(kappa2.astype(jnp.float64), shape)
    both = _evaluate(series, jnp.stack([first, second])).log_partition
    far = both[1] - both[0]
    # Close arguments: Gauss-Legendre on A. Its poles are imaginary, of modulus above
    # `pole`; within a quarter of their distance 12 nodes are exact to float64.
    middle, radius = (first + second) / 2, (second - first) / 2
    offsets, weights = nodes
    column = (-1, *[1] * len(shape))
    grid = middle[None] + radius[None] * offsets.reshape(column)
    # A product and a sum: the batching rule of dot would leave the float64 scope.
    integrand = weights.reshape(column) * _evaluate(series, grid).mean
    near = radius * jnp.sum(integrand, axis=0)
    close = jnp.abs(radius) <= jnp.sqrt(middle**2 + pole**2) / 4
    return jnp.where(close, near, far).astype(kappa1.dtype)


@functools.cache
def _log_uniform(p: int) -> np.ndarray:
    """Return ``log C_p(0)``, the negative logarithm of the area of the sphere."""
    return np.asarray(
        math.lgamma(p / 2) - math.log(2) - p / 2 * math.log(math.pi), np.float64
    )


@functools.cache
def _gauss_legendre() -> np.ndarray:
    return np.stack(np.polynomial.legendre.leggauss(12))


def _in_float64(p: int, kappa: Array) -> _Constants:
    with x64():
        return _constants(_series(p), _log_uniform(p), kappa)


# The tangents below are linear in the dtype of the caller and no float64 value enters
# their linear part, so that they transpose outside of the float64 scope too.


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _normalizer_op(p: int, kappa: Array) -> Array:
    return _in_float64(p, kappa).log_partition


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _mean_op(p: int, kappa: Array) -> Array:
    return _in_float64(p, kappa).mean


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _slope_op(p: int, kappa: Array) -> Array:
    return _in_float64(p, kappa).slope


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _ratio_op(p: int, kappa1: Array, kappa2: Array) -> Array:
    with x64():
        pole = np.asarray(p / 2, np.float64)
        return _log_norm_ratio(_series(p), _gauss_legendre(), pole, kappa1, kappa2)


@_normalizer_op.defjvp
def _normalizer_jvp(p: int, primals: Any, tangents: Any) -> tuple[Array, Array]:
    return _normalizer_op(p, *primals), -_mean_op(p, *primals) * tangents[0]


@_mean_op.defjvp
def _mean_jvp(p: int, primals: Any, tangents: Any) -> tuple[Array, Array]:
    return _mean_op(p, *primals), _slope_op(p, *primals) * tangents[0]


@_slope_op.defjvp
def _slope_jvp(p: int, primals: Any, tangents: Any) -> tuple[Array, Array]:
    raise OperationNotSupportedError(
        "log C_p is differentiable in kappa twice and mean_resultant once; "
        "a further derivative was asked for"
    )


@_ratio_op.defjvp
def _ratio_jvp(p: int, primals: Any, tangents: Any) -> tuple[Array, Array]:
    value = _ratio_op(p, *primals)
    first, second = (
        jnp.broadcast_to(_mean_op(p, k) * dk, value.shape)
        for k, dk in zip(primals, tangents, strict=True)
    )
    return value, second - first


def check_dimension(p: Any) -> int:
    """Return `p` as an int of at least 2.

    Raises
    ------
    InvalidInputError
        If it is not one.
    """
    if isinstance(p, bool) or not isinstance(p, numbers.Integral) or p < 2:
        raise InvalidInputError(f"p must be an integer >= 2, got {p!r}")
    return int(p)


def vmf_log_normalizer(p: int, kappa: ArrayLike) -> Float[Array, "*shape"]:
    """Return ``log C_p(kappa)`` of the density ``C_p(kappa) exp(kappa mu.y)``.

    The density is with respect to the surface measure of the unit sphere in R^p.

    Parameters
    ----------
    p : int
        Dimension, from 2 to 1e8; static.
    kappa : array of shape (...)
        Concentration, from 0 to 1e8.

    Returns
    -------
    array of shape (...) and the dtype of `kappa`
        Computed in float64 whatever the dtype. NaN where `kappa` is negative or not
        finite.

    Raises
    ------
    InvalidInputError
        If `p` is not an integer >= 2.

    See Also
    --------
    log_norm_ratio : the difference of two values, without their cancellation.

    Notes
    -----
    Differentiable twice in `kappa`, forward and reverse; the derivative is
    ``-mean_resultant(p, kappa)``.

    References
    ----------
    K. V. Mardia, P. E. Jupp, *Directional Statistics* (2000), equation 9.3.4.
    NIST Digital Library of Mathematical Functions, sections 10.29 and 10.41.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from mlmethods_jax.ops.privacy import vmf_log_normalizer
    >>> bool(jnp.isclose(vmf_log_normalizer(3, 0.0), -jnp.log(4 * jnp.pi)))
    True
    """
    p = check_dimension(p)
    return _normalizer_op(p, as_dtype(kappa, compute_dtype(kappa)))


def mean_resultant(p: int, kappa: ArrayLike) -> Float[Array, "*shape"]:
    """Return A_p(kappa), the expected cosine of a draw with its mean direction.

    Parameters
    ----------
    p : int
        Dimension, from 2 to 1e8; static.
    kappa : array of shape (...)
        Concentration, from 0 to 1e8.

    Returns
    -------
    array of shape (...) and the dtype of `kappa`
        ``I_(p/2)(kappa) / I_(p/2-1)(kappa)`` in [0, 1], computed in float64. NaN where
        `kappa` is negative or not finite.

    Raises
    ------
    InvalidInputError
        If `p` is not an integer >= 2.

    Notes
    -----
    Differentiable once in `kappa`, forward and reverse; the derivative is the variance
    of the cosine.

    References
    ----------
    D. E. Amos, "Computation of modified Bessel functions and their ratios", Mathematics
    of Computation 28 (1974) 239-251.

    Examples
    --------
    >>> from mlmethods_jax.ops.privacy import mean_resultant
    >>> round(float(mean_resultant(3, 1.0)), 4)  # coth(1) - 1
    0.313
    """
    p = check_dimension(p)
    return _mean_op(p, as_dtype(kappa, compute_dtype(kappa)))


def log_norm_ratio(
    p: int, kappa1: ArrayLike, kappa2: ArrayLike
) -> Float[Array, "*shape"]:
    """Return ``log C_p(kappa1) - log C_p(kappa2)`` to full relative precision.

    At p = 1e7 each logarithm is about 6.6e7, so their floating difference would lose
    eight digits.

    Parameters
    ----------
    p : int
        Dimension, from 2 to 1e8; static.
    kappa1, kappa2 : arrays that broadcast with each other
        Concentrations, from 0 to 1e8.

    Returns
    -------
    array of the broadcast shape
        The integral of A_p from `kappa1` to `kappa2`, computed in float64. NaN where
        either is negative or not finite.

    Raises
    ------
    InvalidInputError
        If `p` is not an integer >= 2.

    Examples
    --------
    >>> from mlmethods_jax.ops.privacy import log_norm_ratio
    >>> f"{float(log_norm_ratio(10_000_000, 0.0, 10.0)):.2e}"  # about 10^2 / (2 p)
    '5.00e-06'
    """
    p = check_dimension(p)
    dtype = compute_dtype(kappa1, kappa2)
    return _ratio_op(p, as_dtype(kappa1, dtype), as_dtype(kappa2, dtype))
