"""The von Mises-Fisher distribution and norm clipping."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Key

from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import SampleResult, SampleStatus
from mlmethods_jax.ops._bessel import (
    check_dimension,
    log_norm_ratio,
    mean_resultant,
    vmf_log_normalizer,
)
from mlmethods_jax.ops._draws import uniform as _uniform
from mlmethods_jax.ops._precision import as_dtype, compute_dtype, scope
from mlmethods_jax.ops._rejection import (
    CANDIDATES,
    Proposal,
    TangentHat,
    first_accepted,
)
from mlmethods_jax.ops._rejection import log1p_less as _log1p_less

__all__ = [
    "clip_by_norm",
    "log_norm_ratio",
    "mean_resultant",
    "vmf_cosine",
    "vmf_log_normalizer",
    "vmf_sample",
    "vmf_sample_with_status",
]

_BLOCK = 1024
# Below this dimension what is left of z beside mu may be short; project it twice.
_REPROJECT_BELOW = 64


class _Polar(NamedTuple):
    """A draw in polar form about the mean direction, one entry a lane.

    Attributes
    ----------
    cosine, versine, sine : arrays
        w, ``1 - w`` and ``sqrt(1 - w^2)``, each free of cancellation.
    accepted : bool array
        Whether the lane holds a draw; the rest is meaningless where it does not.
    rounds : int array of shape ()
        Rejection rounds that were run.
    """

    cosine: Array
    versine: Array
    sine: Array
    accepted: Array
    rounds: Array


_Parts: TypeAlias = tuple[Array, Array, Array]


def _work_dtype(dtype: np.dtype) -> np.dtype:
    """Return `dtype`, or float32 for the half-width formats."""
    return np.dtype(np.float32) if dtype.itemsize < 4 else np.dtype(dtype)


def _sphere(key: Array, kappa: Array) -> _Parts:
    """Return exact draws for p = 3: the versine is a truncated exponential."""
    u = _uniform(key, kappa.shape, kappa.dtype)
    flat = kappa < 1e-20
    rate = jnp.where(flat, 1, kappa)
    # Two forms of one logarithm: the first for small, the second for large rates.
    log = jnp.where(
        rate < 0.5,
        jnp.log1p((1 - u) * jnp.expm1(-2 * rate)),
        jnp.log(u + (1 - u) * jnp.exp(-2 * rate)),
    )
    versine = jnp.clip(jnp.where(flat, 2 * (1 - u), -log / rate), 0, 2)
    return 1 - versine, versine, jnp.sqrt(versine * (2 - versine))


def _circle(kappa: Array) -> Proposal:
    """Return the wrapped Cauchy proposal for p = 2.

    Best and Fisher (1979), with r = (1 + sqrt(1 + 4 kappa^2)) / (2 kappa) and
    c0 = kappa (r - 1), which is 1 at kappa = 0 and loses no digits at large kappa.
    """
    double = 2 * kappa
    offset = (1 + 1 / (jnp.hypot(jnp.ones_like(kappa), double) + double)) / 2
    spread = double / offset

    def halves(u: Array) -> tuple[Array, Array, Array]:
        sine, cosine = jnp.sin(u * (math.pi / 2)), jnp.cos(u * (math.pi / 2))
        return sine, cosine, 1 + spread * cosine * cosine

    def propose(key: Array) -> tuple[Array, Array]:
        key_angle, key_accept = jax.random.split(key)
        shape = (CANDIDATES, *kappa.shape)
        u = _uniform(key_angle, shape, kappa.dtype)
        sine, _, scale = jax.vmap(halves)(u)
        level = offset[None] + kappa[None] * (2 * sine * sine / scale)
        accept = jnp.log(_uniform(key_accept, shape, kappa.dtype))
        return u, accept <= jnp.log(level) + 1 - level

    def parts(u: Array) -> _Parts:
        sine, cosine, scale = halves(u)
        versine = 2 * sine * sine / scale
        return (
            1 - versine,
            versine,
            2 * sine * jnp.abs(cosine) * jnp.sqrt(1 + spread) / scale,
        )

    return Proposal(propose, parts)


def _log_concave(excess: Array, kappa: Array) -> Proposal:
    """Return the proposal for p >= 4, where the density of w is log-concave.

    The density is taken relative to its mode w0, in e = w0 - w. The linear terms cancel
    analytically, so float32 suffices at any p and kappa: with q = 1 - w0^2 and
    x = e (2 w0 - e) / q its logarithm is
    ``(p - 3) / 2 * (log1p(x) - x - e^2 / q)``. The hat is the smallest of 1 and the
    tangents at about sqrt(2) standard deviations on either side; the logarithm is
    concave, so the hat is above it and the draws are exact.

    Parameters
    ----------
    excess : array of shape ()
        p - 3.
    kappa : array
        Concentration, one entry a lane.
    """
    double = 2 * kappa
    radius = jnp.hypot(excess, double)
    mode = double / (excess + radius)
    # 1 - mode and 1 + mode are the distances to the ends of the support.
    upper = excess * (1 + excess / (radius + double)) / (excess + radius)
    lower = 1 + mode
    q = upper * lower
    reach = math.sqrt(2) * q / jnp.sqrt(excess * (1 + mode * mode))

    def log_density(e: Array) -> Array:
        x = e * ((2 * mode - e) / q)
        return excess / 2 * (_log1p_less(x) - e * (e / q))

    def slope(e: Array) -> Array:
        x = e * ((2 * mode - e) / q)
        return -excess / q * ((mode - e) * (x / (1 + x)) + e)

    left = -reach * upper / (reach + upper)
    right = reach * lower / (reach + lower)
    hat = TangentHat.of(log_density, slope, (left, right), (-upper, lower))

    def parts(e: Array) -> _Parts:
        narrow = mode > 0.5
        versine = jnp.where(narrow, upper + e, 1 - (mode - e))
        cosine = jnp.where(narrow, 1 - versine, mode - e)
        return cosine, versine, jnp.sqrt(versine * (1 + cosine))

    return Proposal(functools.partial(hat.propose, log_density), parts)


def _polar(key: Array, kind: int, excess: Array, kappa: Array, valid: Array) -> _Polar:
    """Draw cosines, one for each entry of `kappa`.

    Parameters
    ----------
    key : key
        Consumed.
    kind : int
        2, 3, or 4 for every dimension above; static.
    excess : array of shape ()
        p - 3; used for kind 4.
    kappa : array
        Concentration, one entry a lane.
    valid : bool array of the shape of `kappa`
        Lanes to draw; the others are not accepted.
    """
    kappa = jnp.where(valid, kappa, 0)
    if kind == 3:
        return _Polar(*_sphere(key, kappa), valid, jnp.int32(1))
    proposal = _circle(kappa) if kind == 2 else _log_concave(excess, kappa)

    value, done, rounds = first_accepted(key, proposal.propose, kappa, valid)
    cosine, versine, sine = proposal.parts(value)
    return _Polar(cosine, versine, sine, done, rounds)


def _valid_kappa(kappa: Array) -> Array:
    return (kappa >= 0) & (kappa < jnp.inf)


def _sum_last(x: Array) -> Array:
    """Sum the last axis in blocks, so that float32 loses no digits at p = 1e7."""
    count = x.shape[-1] // _BLOCK
    if count < 2:
        return jnp.sum(x, axis=-1)
    head = x[..., : count * _BLOCK].reshape(*x.shape[:-1], count, _BLOCK)
    blocks = jnp.sum(jnp.sum(head, axis=-1), axis=-1)
    return blocks + jnp.sum(x[..., count * _BLOCK :], axis=-1)


def _scaled(x: Array) -> tuple[Array, Array]:
    """Return the rows of `x` over their largest magnitudes, and these magnitudes.

    Zero rows stay zero. The magnitudes are constants to differentiation.
    """
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(x), axis=-1))
    # A divisor near an end of the format has a reciprocal that is flushed to zero, and
    # compilers multiply by reciprocals: move to the middle of the format first.
    half = 2.0 ** (jnp.finfo(x.dtype).maxexp // 2)
    move = jnp.where(largest > 1, 1 / half, half)
    divisor = jnp.where(largest == 0, 1, largest * move)
    return x * move[..., None] / divisor[..., None], largest


def _tangent(key: Array, unit: Array) -> tuple[Array, Array]:
    """Return uniform directions orthogonal to `unit`, and their lengths before scaling."""
    if unit.shape[-1] == 2:
        turned = jnp.stack([-unit[..., 1], unit[..., 0]], axis=-1)
        sign = jax.random.rademacher(key, unit.shape[:-1], unit.dtype)
        return turned * sign[..., None], jnp.ones_like(sign)
    u = jax.random.normal(key, unit.shape, unit.dtype)
    length = jnp.ones(unit.shape[:-1], unit.dtype)
    for _ in range(2 if unit.shape[-1] < _REPROJECT_BELOW else 1):
        u = u - _sum_last(u * unit)[..., None] * unit
        norm = jnp.sqrt(_sum_last(u * u))
        length = length * norm
        u = u / norm[..., None]
    return u, length


def _combine(key: Array, mu: Array, size: Array, polar: _Polar) -> tuple[Array, Array]:
    """Return draws about directions of length `size`, and the lengths of tangents.

    Neither the unit vector nor the tangent is stored: what is left of a normal vector u
    beside mu is u less a multiple of mu, and never short in many dimensions.
    """
    u = jax.random.normal(key, mu.shape, mu.dtype)
    along = _sum_last(u * mu) / size
    length = jnp.sqrt(_sum_last(u * u) - along * along)
    part = polar.sine / length
    rest = (polar.cosine - part * along) / size
    return rest[..., None] * mu + part[..., None] * u, length


@jax.jit
def _sample(key: Array, mu: Array, kappa: Array) -> SampleResult:
    dtype = mu.dtype
    work = _work_dtype(dtype)
    mu, p = mu.astype(work), mu.shape[-1]
    kappa = jnp.broadcast_to(kappa.astype(work), mu.shape[:-1])
    unit, largest = _scaled(mu)
    valid = _valid_kappa(kappa) & (largest > 0) & (largest < jnp.inf)
    size = jnp.sqrt(_sum_last(unit * unit))
    key_cosine, key_tangent = jax.random.split(key)
    polar = _polar(key_cosine, min(p, 4), jnp.asarray(p - 3, work), kappa, valid)
    if p < _REPROJECT_BELOW:
        unit = unit / size[..., None]
        tangent, length = _tangent(key_tangent, unit)
        value = polar.cosine[..., None] * unit + polar.sine[..., None] * tangent
    else:
        value, length = _combine(key_tangent, unit, size, polar)
    accepted = polar.accepted & (length > 0)
    failed = jnp.where(valid, SampleStatus.MAX_ROUNDS, SampleStatus.INVALID_PARAMETERS)
    return SampleResult(
        value=jnp.where(accepted[..., None], value, jnp.nan).astype(dtype),
        status=jnp.where(accepted, SampleStatus.OK, failed).astype(jnp.int32),
        rounds=polar.rounds,
    )


@functools.partial(jax.jit, static_argnames=("kind", "shape"))
def _cosine(
    key: Array, excess: Array, kappa: Array, kind: int, shape: tuple[int, ...]
) -> Array:
    work = _work_dtype(kappa.dtype)
    wide = jnp.broadcast_to(kappa.astype(work), shape)
    polar = _polar(key, kind, excess, wide, _valid_kappa(wide))
    return jnp.where(polar.accepted, polar.cosine, jnp.nan).astype(kappa.dtype)


def _require_broadcast(name: str, shape: tuple[int, ...], to: tuple[int, ...]) -> None:
    """Raise unless an argument of `shape` broadcasts to exactly `to`."""
    extra = len(to) - len(shape)
    if extra < 0 or any(
        a not in (1, b) for a, b in zip(shape, to[extra:], strict=True)
    ):
        raise InvalidInputError(
            f"{name} must broadcast to shape {to}, got shape {shape}"
        )


def vmf_sample_with_status(
    key: Key[Array, ""], mu: Float[Array, "*batch p"], kappa: ArrayLike
) -> SampleResult:
    """Draw from von Mises-Fisher distributions, and say how each lane ended.

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
    SampleResult
        `value` (..., p) holds unit vectors in the dtype of `mu`. Where `status` (...)
        is not OK, the lane is NaN: INVALID_PARAMETERS for a zero or non-finite `mu` and
        for `kappa` that is negative or not finite, MAX_ROUNDS where no candidate was
        accepted in 100 rounds. An unaccepted draw is never returned.

    Raises
    ------
    InvalidInputError
        If `mu` has no axis of at least two components, or `kappa` does not broadcast.

    Notes
    -----
    Draws are exact for any p up to 1e7, in float32 too: the cosine w with `mu` by
    rejection from its own density, centred at the mode, and the rest uniform on the
    sphere orthogonal to `mu`, by projection. Work and memory are a few arrays of the
    shape of `mu`; no p x p array exists. There are no derivatives.

    References
    ----------
    G. Ulrich, "Computer generation of distributions on the m-sphere", Applied Statistics
    33 (1984) 158-163 (the decomposition).
    D. J. Best, N. I. Fisher, "Efficient simulation of the von Mises distribution",
    Applied Statistics 28 (1979) 152-157 (p = 2).

    Examples
    --------
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from mlmethods_jax.ops.privacy import vmf_sample_with_status
    >>> mu = jnp.zeros((4, 1000)).at[:, 0].set(1.0)
    >>> result = vmf_sample_with_status(jax.random.key(0), mu, 500.0)
    >>> result.value.shape, bool(result.ok.all())
    ((4, 1000), True)
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


def vmf_sample(
    key: Key[Array, ""], mu: Float[Array, "*batch p"], kappa: ArrayLike
) -> Float[Array, "*batch p"]:
    """Draw unit vectors from von Mises-Fisher distributions.

    The density of y on the unit sphere is proportional to ``exp(kappa mu.y)``. This is
    the `value` of :func:`vmf_sample_with_status`, whose documentation holds: a lane
    without an accepted draw is NaN.

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
        Unit vectors in the dtype of `mu`.

    Raises
    ------
    InvalidInputError
        If `mu` has no axis of at least two components, or `kappa` does not broadcast.

    Examples
    --------
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from mlmethods_jax.ops.privacy import vmf_sample
    >>> y = vmf_sample(jax.random.key(0), jnp.array([0.0, 0.0, 1.0]), 100.0)
    >>> bool(jnp.isclose(jnp.linalg.norm(y), 1.0)), bool(y[2] > 0.8)
    (True, True)
    """
    return vmf_sample_with_status(key, mu, kappa).value


def vmf_cosine(
    key: Key[Array, ""],
    p: int,
    kappa: ArrayLike,
    shape: int | tuple[int, ...] = (),
) -> Float[Array, "*shape"]:
    """Draw the cosine ``w = mu.y`` of von Mises-Fisher vectors y, without the vectors.

    The density of w is proportional to ``exp(kappa w) (1 - w^2)^((p - 3) / 2)``.

    Parameters
    ----------
    key : key
        Consumed.
    p : int
        Dimension, 2 to 1e7. Another value compiles again only below 4.
    kappa : array that broadcasts to `shape`
        Concentrations, 0 to 1e8.
    shape : int or tuple of int
        Shape of the result.

    Returns
    -------
    array of shape `shape`
        In the dtype of `kappa`; NaN where `kappa` is negative or not finite.

    Raises
    ------
    InvalidInputError
        If `p` is not an integer >= 2 or `kappa` does not broadcast to `shape`.

    Examples
    --------
    >>> import jax
    >>> from mlmethods_jax.ops.privacy import mean_resultant, vmf_cosine
    >>> w = vmf_cosine(jax.random.key(0), 10_000_000, 1e6, 1000)
    >>> bool(abs(w.mean() - mean_resultant(10_000_000, 1e6)) < 1e-4)
    True
    """
    p = check_dimension(p)
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    lanes = as_dtype(kappa, compute_dtype(kappa))
    _require_broadcast("kappa", lanes.shape, shape)
    excess = np.asarray(p - 3, _work_dtype(lanes.dtype))
    with scope(lanes.dtype):
        return _cosine(key, excess, lanes, kind=min(p, 4), shape=shape)


@jax.jit
def _clip(g: Array, max_norm: Array) -> tuple[Array, Array]:
    dtype = g.dtype
    work = _work_dtype(dtype)
    g, max_norm = g.astype(work), max_norm.astype(work)
    limit = jnp.broadcast_to(jnp.where(max_norm >= 0, max_norm, jnp.nan), g.shape[:-1])
    # The norm does not depend on the scale, so no derivative need pass through it.
    scaled, largest = _scaled(g)
    zero = largest == 0
    squares = _sum_last(scaled * scaled)
    relative = jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, squares)))
    norms = largest * relative
    inside = norms <= limit
    factor = limit / jnp.where(inside, 1, relative)
    clipped = jnp.where(inside[..., None], g, scaled * factor[..., None])
    return clipped.astype(dtype), norms.astype(dtype)


def clip_by_norm(
    g: Float[Array, "*batch p"], max_norm: ArrayLike
) -> tuple[Float[Array, "*batch p"], Float[Array, "*batch"]]:
    """Scale each row of `g` to a Euclidean norm of at most `max_norm`.

    Parameters
    ----------
    g : array of shape (b, p)
        One gradient a row; further leading axes are allowed.
    max_norm : float or array of shape (b,)
        The bound, at least 0.

    Returns
    -------
    clipped : array of shape (b, p)
        In the dtype of `g`. Rows within the bound are unchanged, so zero rows stay zero.
        Rows with NaN or inf become NaN, as do all rows under a traced `max_norm` that
        is negative or NaN.
    norms : array of shape (b,)
        Norms before clipping.

    Raises
    ------
    InvalidInputError
        If `g` is a scalar, or `max_norm` is a negative number or does not broadcast.

    Notes
    -----
    Each row is divided by its largest entry first: squares neither over- nor underflow.
    Subnormal entries may count as zero where the hardware flushes them. The derivative
    at a zero row is that of the identity.

    References
    ----------
    M. Abadi et al., "Deep learning with differential privacy", CCS 2016, Algorithm 1.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from mlmethods_jax.ops.privacy import clip_by_norm
    >>> clipped, norms = clip_by_norm(jnp.array([[3.0, 4.0], [0.0, 0.5]]), 1.0)
    >>> norms.tolist(), [[round(x, 3) for x in row] for row in clipped.tolist()]
    ([5.0, 0.5], [[0.6, 0.8], [0.0, 0.5]])
    """
    dtype = compute_dtype(g)
    g, limit = as_dtype(g, dtype), as_dtype(max_norm, compute_dtype(g, max_norm))
    if g.ndim == 0:
        raise InvalidInputError("g must have shape (b, p), got a scalar")
    if isinstance(limit, np.ndarray) and not np.all(limit >= 0):
        raise InvalidInputError(f"max_norm must be >= 0, got {max_norm!r}")
    _require_broadcast("max_norm", limit.shape, g.shape[:-1])
    with scope(dtype):
        return _clip(g, limit)
