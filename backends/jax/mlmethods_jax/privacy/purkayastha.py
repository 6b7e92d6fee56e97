"""The Purkayastha distribution: directions with density falling with the angle."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Key

from mlmethods.errors import InvalidInputError
from mlmethods_jax.ops._bessel import check_dimension
from mlmethods_jax.ops._draws import uniform
from mlmethods_jax.ops._precision import as_dtype, compute_dtype, scope
from mlmethods_jax.ops._rejection import (
    Proposal,
    TangentHat,
    first_accepted,
    log1p_less,
)
from mlmethods_jax.ops.privacy import (
    _require_broadcast,
    _scaled,
    _sum_last,
    _tangent,
    _valid_kappa,
    _work_dtype,
)

__all__ = ["purkayastha_angle", "purkayastha_sample"]


class _Turn(NamedTuple):
    """A drawn angle, its cosine and its sine, one entry a lane."""

    angle: Array
    cosine: Array
    sine: Array


def _less_than_sine(x: Array) -> Array:
    """Return ``sin(x) - x`` to full relative precision, for ``|x| <= pi``."""
    square = x * x
    total = jnp.zeros_like(x)
    for j in range(11, 1, -1):
        total = (1 - total) * (square / ((2 * j) * (2 * j + 1)))
    near = -x * square / 6 * (1 - total)
    return jnp.where(jnp.abs(x) < 1, near, jnp.sin(x) - x)


def _circle(key: Array, kappa: Array) -> _Turn:
    """Return exact draws for p = 2: the angle is a truncated exponential."""
    u = uniform(key, kappa.shape, kappa.dtype)
    flat = kappa < 1e-20
    rate = jnp.where(flat, 1, kappa)
    # Two forms of one logarithm: the first for small, the second for large rates.
    log = jnp.where(
        rate < 0.2,
        jnp.log1p((1 - u) * jnp.expm1(-math.pi * rate)),
        jnp.log(u + (1 - u) * jnp.exp(-math.pi * rate)),
    )
    angle = jnp.clip(jnp.where(flat, math.pi * (1 - u), -log / rate), 0, math.pi)
    return _Turn(angle, jnp.cos(angle), jnp.sin(angle))


def _log_concave(n: Array, kappa: Array) -> Proposal:
    """Return the proposal for p >= 3, where the density of the angle is log-concave.

    The density, ``exp(-kappa t) sin(t)^n``, is taken relative to its mode t0, in
    ``e = t - t0``. With ``x = sin(t) / sin(t0) - 1`` its logarithm is
    ``n (log1p(x) - x) + kappa (sin(e) - e) - 2 n sin(e / 2)^2``: the linear terms cancel
    analytically, so float32 suffices at any p and kappa.

    Parameters
    ----------
    n : array of shape ()
        p - 2.
    kappa : array
        Concentration, one entry a lane.
    """
    radius = jnp.hypot(jnp.broadcast_to(n, kappa.shape), kappa)
    mode = jnp.arctan2(jnp.broadcast_to(n, kappa.shape), kappa)
    sine, cosine, cotangent = n / radius, kappa / radius, kappa / n

    def growth(e: Array) -> Array:
        half = jnp.sin(e / 2)
        return jnp.maximum(cotangent * jnp.sin(e) - 2 * half * half, -1)

    def log_density(e: Array) -> Array:
        half = jnp.sin(e / 2)
        bend = kappa * _less_than_sine(e) - 2 * n * half * half
        return n * log1p_less(growth(e)) + bend

    def slope(e: Array) -> Array:
        return -n * jnp.sin(e) / (sine * sine * (1 + growth(e)))

    below, above = mode, math.pi - mode
    reach = math.sqrt(2) * sine / jnp.sqrt(n)
    touch = (-reach * below / (reach + below), reach * above / (reach + above))
    hat = TangentHat.of(log_density, slope, touch, (-below, above))

    def parts(e: Array) -> _Turn:
        sin_e, cos_e = jnp.sin(e), jnp.cos(e)
        return _Turn(
            mode + e,
            cosine * cos_e - sine * sin_e,
            jnp.maximum(sine * cos_e + cosine * sin_e, 0),
        )

    return Proposal(functools.partial(hat.propose, log_density), parts)


def _turn(
    key: Array, kind: int, n: Array, kappa: Array, valid: Array
) -> tuple[_Turn, Array]:
    """Draw angles, one for each entry of `kappa`, and say which were accepted.

    Parameters
    ----------
    key : key
        Consumed.
    kind : int
        2, or 3 for every dimension above; static.
    n : array of shape ()
        p - 2; used for kind 3.
    kappa : array
        Concentration, one entry a lane.
    valid : bool array of the shape of `kappa`
        Lanes to draw.
    """
    kappa = jnp.where(valid, kappa, 0)
    if kind == 2:
        return _circle(key, kappa), valid
    proposal = _log_concave(n, kappa)
    value, done, _ = first_accepted(key, proposal.propose, kappa, valid)
    return proposal.parts(value), done


@functools.partial(jax.jit, static_argnames=("kind", "shape"))
def _angle(
    key: Array, n: Array, kappa: Array, kind: int, shape: tuple[int, ...]
) -> Array:
    work = _work_dtype(kappa.dtype)
    wide = jnp.broadcast_to(kappa.astype(work), shape)
    turn, accepted = _turn(key, kind, n, wide, _valid_kappa(wide))
    return jnp.where(accepted, turn.angle, jnp.nan).astype(kappa.dtype)


@jax.jit
def _sample(key: Array, mu: Array, kappa: Array) -> Array:
    dtype = mu.dtype
    work = _work_dtype(dtype)
    mu, p = mu.astype(work), mu.shape[-1]
    kappa = jnp.broadcast_to(kappa.astype(work), mu.shape[:-1])
    unit, largest = _scaled(mu)
    valid = _valid_kappa(kappa) & (largest > 0) & (largest < jnp.inf)
    unit = unit / jnp.sqrt(_sum_last(unit * unit))[..., None]
    key_angle, key_tangent = jax.random.split(key)
    turn, accepted = _turn(key_angle, min(p, 3), jnp.asarray(p - 2, work), kappa, valid)
    tangent, length = _tangent(key_tangent, unit)
    value = turn.cosine[..., None] * unit + turn.sine[..., None] * tangent
    accepted = accepted & (length > 0)
    return jnp.where(accepted[..., None], value, jnp.nan).astype(dtype)


def purkayastha_angle(
    key: Key[Array, ""],
    p: int,
    kappa: ArrayLike,
    shape: int | tuple[int, ...] = (),
) -> Float[Array, "*shape"]:
    """Draw the angle between a Purkayastha draw and its mean direction.

    The density of t is proportional to ``exp(-kappa t) sin(t)^(p - 2)`` on (0, pi).

    Parameters
    ----------
    key : key
        Consumed.
    p : int
        Dimension, 2 to 1e7. Another value compiles again only below 3.
    kappa : array that broadcasts to `shape`
        Concentrations, 0 (uniform directions) to 1e8.
    shape : int or tuple of int
        Shape of the result.

    Returns
    -------
    array of shape `shape`
        In the dtype of `kappa`; NaN where `kappa` is negative or not finite, or no
        candidate was accepted in 100 rounds.

    Raises
    ------
    InvalidInputError
        If `p` is not an integer >= 2 or `kappa` does not broadcast to `shape`.

    References
    ----------
    B. Weggenmann, F. Kerschbaum, "Differential Privacy for Directional Data", CCS
    (2021). The sampler here is rejection from tangents at the log-concave density.

    Examples
    --------
    >>> import jax
    >>> from mlmethods_jax.privacy import purkayastha_angle
    >>> t = purkayastha_angle(jax.random.key(0), 1000, 1000.0, 5000)
    >>> bool(abs(t.mean() - 0.785) < 0.01)  # the mode is arctan((p - 2) / kappa)
    True
    """
    p = check_dimension(p)
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    lanes = as_dtype(kappa, compute_dtype(kappa))
    _require_broadcast("kappa", lanes.shape, shape)
    n = np.asarray(p - 2, _work_dtype(lanes.dtype))
    with scope(lanes.dtype):
        return _angle(key, n, lanes, kind=min(p, 3), shape=shape)


def purkayastha_sample(
    key: Key[Array, ""], mu: Float[Array, "*batch p"], kappa: ArrayLike
) -> Float[Array, "*batch p"]:
    """Draw unit vectors with density proportional to ``exp(-kappa arccos(mu.y))``.

    Parameters
    ----------
    key : key
        Consumed.
    mu : array of shape (..., p)
        Mean directions, p >= 2; only their direction counts.
    kappa : array that broadcasts to the shape (...)
        Concentrations, 0 (uniform) to 1e8.

    Returns
    -------
    array of shape (..., p)
        Unit vectors in the dtype of `mu`. A lane is NaN for a zero or non-finite `mu`,
        for `kappa` that is negative or not finite, and where no candidate was accepted
        in 100 rounds. An unaccepted draw is never returned.

    Raises
    ------
    InvalidInputError
        If `mu` has no axis of at least two components, or `kappa` does not broadcast.

    Notes
    -----
    For neighbors that differ in one example's direction a draw is ``kappa`` times the
    angle metric private, and ``pi kappa`` pure differentially private, for draws of real
    numbers; see :class:`mlmethods.privacy.PurkayasthaMechanism`. Work and memory are a
    few arrays of the shape of `mu`.

    Examples
    --------
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from mlmethods_jax.privacy import purkayastha_sample
    >>> y = purkayastha_sample(jax.random.key(0), jnp.array([0.0, 0.0, 1.0]), 100.0)
    >>> bool(jnp.isclose(jnp.linalg.norm(y), 1.0)), bool(y[2] > 0.9)
    (True, True)
    """
    dtype = compute_dtype(mu)
    mu, lanes = as_dtype(mu, dtype), as_dtype(kappa, compute_dtype(kappa))
    if mu.ndim == 0 or mu.shape[-1] < 2:
        raise InvalidInputError(
            f"mu must have shape (..., p) with p >= 2, got shape {mu.shape}"
        )
    _require_broadcast("kappa", lanes.shape, mu.shape[:-1])
    with scope(max(dtype, lanes.dtype, key=lambda x: x.itemsize)):
        return _sample(key, mu, lanes)
