"""Mechanisms that act: gradients of examples in, what is released of them out."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Key

from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import PyTree
from mlmethods.privacy.contract import Granularity, MechanismConfig, MechanismKind
from mlmethods_jax.ops._draws import normal_like
from mlmethods_jax.ops._precision import as_dtype, compute_dtype, scope
from mlmethods_jax.ops.privacy import (
    _clip,
    _sum_last,
    _work_dtype,
    vmf_sample,
)
from mlmethods_jax.privacy.aggregate import (
    check_aggregation,
    chi,
    inspect_rows,
    row_squares,
    sums_of_directions,
    unit_rows,
)
from mlmethods_jax.privacy.groups import GradientRows, group_dimensions, leaf_groups

__all__ = ["ActingMechanism", "MechanismState", "gradient_mechanism", "release"]

# Largest squared norm that the fast clipping takes; above, rows are scaled first.
_MOST_SQUARE = 1e30
# Smaller norms may lose squares to underflow; below this bound rows are scaled first.
_LEAST_CLIP = 1e-9

_dot = functools.partial(jnp.einsum, precision=lax.Precision.HIGHEST)


class MechanismState(NamedTuple):
    """The numbers of a mechanism: another value compiles nothing.

    Attributes
    ----------
    scale : float32 array (groups,)
        Concentration, noise multiplier, rate or deviation; of shape (1,) for the
        Gaussian.
    norm : float32 array (groups,)
        Norm of each group's gradient.
    batch_size : float32 array ()
        The public constant that sums are divided by; 0 where they are divided by the
        number of examples.
    zero_gradients : int32 array ()
        Gradients so far with a group that is zero or not finite, where they are counted.
    """

    scale: Array
    norm: Array
    batch_size: Array
    zero_gradients: Array


# Releases of unit rows [n, p], each on its own, at norm 1 ---------------------


def _release_euclidean(key: Array, unit: Array, epsilon: Array) -> Array:
    """Add noise of a uniform direction whose length is gamma with shape p."""
    key_length, key_direction = jax.random.split(key)
    n, p = unit.shape
    z = jax.random.normal(key_direction, unit.shape, unit.dtype)
    # half a chi-square variable with 2 p degrees of freedom is gamma with shape p
    root, done = chi(key_length, jnp.full(n, 2 * p, unit.dtype))
    length = jnp.where(done, root * root / 2, jnp.nan) / epsilon
    return unit + (length / jnp.sqrt(_sum_last(z * z)))[:, None] * z


def _release_coordinates(key: Array, unit: Array, epsilon: Array) -> Array:
    """Add Laplace noise to each coordinate."""
    noise = jax.random.laplace(key, unit.shape, unit.dtype)
    return unit + noise / epsilon[:, None]


def _release_projected(key: Array, unit: Array, deviation: Array) -> Array:
    """Add normal noise and return to the sphere."""
    noise = jax.random.normal(key, unit.shape, unit.dtype)
    moved = unit + deviation[:, None] * noise
    return moved / jnp.sqrt(_sum_last(moved * moved))[:, None]


def _release_normal(key: Array, unit: Array, deviation: Array) -> Array:
    noise = jax.random.normal(key, unit.shape, unit.dtype)
    return unit + deviation[:, None] * noise


def _release_purkayastha(key: Array, unit: Array, kappa: Array) -> Array:
    from mlmethods_jax.privacy.purkayastha import purkayastha_sample

    return purkayastha_sample(key, unit, kappa)


_RELEASES: dict[str, Callable[[Array, Array, Array], Array]] = {
    "vmf": vmf_sample,
    "gaussian": _release_normal,
    "purkayastha": _release_purkayastha,
    "euclidean_laplace": _release_euclidean,
    "coordinate_laplace": _release_coordinates,
    "projected_normal": _release_projected,
    "none": lambda key, unit, scale: unit,
}
# A concentration of 0 makes a uniform direction of a gradient without one.
_CONCENTRATED = ("vmf", "purkayastha")


# Sums over the examples of one group ------------------------------------------


def _split(total: Array, leaves: Sequence[Array]) -> list[Array]:
    ends = np.cumsum([leaf.shape[-1] for leaf in leaves])
    return jnp.split(total, ends[:-1].tolist())


def _sum_clipped(leaves: Sequence[Array], limit: Array, mask: Array) -> list[Array]:
    """Return the sum of rows clipped to norm `limit`; not finite rows count as zero."""
    squares = row_squares(leaves)

    norms = jnp.sqrt(squares)
    inside = norms <= limit
    factor = jnp.where(inside, 1, limit / jnp.where(inside, 1, norms))
    kept = jnp.where(mask, factor, 0)
    # outside the branches: XLA is slower within them on a CPU
    fast = [_dot("b,bp->p", kept, leaf) for leaf in leaves]

    def careful() -> list[Array]:
        clipped, norms = _clip(jnp.concatenate(leaves, axis=-1), limit)
        # a norm may overflow where the clipped row is finite
        kept = mask & ~jnp.isnan(norms) & jnp.isfinite(clipped[:, 0])
        rows = jnp.where(kept[:, None] & jnp.isfinite(clipped), clipped, 0)
        return _split(jnp.sum(rows, axis=0), leaves)

    # a row of weight 0 must be finite too, for 0 times it to be 0
    fits = jnp.all(squares <= _MOST_SQUARE) & (limit >= _LEAST_CLIP)
    return lax.cond(fits, lambda: fast, careful)


def _sum_plain(leaves: Sequence[Array], mask: Array) -> list[Array]:
    kept = mask & inspect_rows(leaves)[0]
    return [jnp.sum(jnp.where(kept[:, None], x, 0), axis=0) for x in leaves]


def _sum_each(
    kind: str, key: Array, leaves: Sequence[Array], scale: Array, mask: Array
) -> list[Array]:
    """Return the sum of releases, each row on its own, at norm 1."""
    directed, _ = inspect_rows(leaves)
    unit = unit_rows(leaves, directed)
    scales = jnp.broadcast_to(scale, mask.shape)
    if kind in _CONCENTRATED:
        scales = jnp.where(directed, scales, 0)
    else:
        unit = jnp.where(directed[:, None], unit, 0)
    draws = _RELEASES[kind](key, unit, scales)
    return _split(jnp.sum(jnp.where(mask[:, None], draws, 0), axis=0), leaves)


@dataclass(frozen=True, kw_only=True)
class ActingMechanism:
    """A mechanism within a compiled step; see :func:`gradient_mechanism`.

    Two of them are equal, and share compiled code, if they differ in numbers only. The
    numbers go into the state that :meth:`init` returns, so `init` must not be traced
    with the mechanism as a static argument.
    """

    kind: MechanismKind
    granularity: Granularity = "model"
    nan_safe: bool = True
    count_zero_gradients: bool = False
    aggregation: str = "auto"
    fixed_batch_size: bool = False
    scale: float | tuple[float, ...] = field(default=0.0, compare=False)
    norm: float | tuple[float, ...] = field(default=1.0, compare=False)
    batch_size: float = field(default=0.0, compare=False)

    def init(self, params: PyTree) -> MechanismState:
        """Return the state before the first step.

        Raises
        ------
        InvalidInputError
            If a number a group is given for another number of groups, or a group is
            too small for a direction.
        """
        dimensions = group_dimensions(params, self.granularity)
        groups = len(dimensions)
        if self.kind in (*_CONCENTRATED, "projected_normal") and min(dimensions) < 2:
            raise InvalidInputError(
                f"granularity must make groups of at least 2 parameters for "
                f"{self.kind!r}, got groups of {dimensions}"
            )
        norm = self.norm
        if not isinstance(norm, tuple):
            norm = (norm / math.sqrt(groups),) * groups
        scale = self.scale if isinstance(self.scale, tuple) else (self.scale,)
        if self.kind != "gaussian" and not isinstance(self.scale, tuple):
            scale = scale * groups
        for name, value in (("scale", scale), ("norm", norm)):
            if len(value) != groups and not (name == "scale" and len(value) == 1):
                raise InvalidInputError(
                    f"{name} must have one number for each of {groups} groups, got "
                    f"{len(value)}"
                )
        return MechanismState(
            jax.device_put(np.asarray(scale, np.float32)),
            jax.device_put(np.asarray(norm, np.float32)),
            jax.device_put(np.float32(self.batch_size)),
            jax.device_put(np.int32(0)),
        )

    def randomize(
        self, key: Array, per_example: PyTree, mask: Array, state: MechanismState
    ) -> tuple[PyTree, MechanismState]:
        """Return the sum of what is released of gradients [b, ...], and the state.

        Rows where `mask` is False contribute exactly zero. For the Gaussian this is the
        sum of clipped gradients: its noise comes in :meth:`finalize`.

        Raises
        ------
        InvalidInputError
            If leaves have no common leading axis.
        """
        rows = GradientRows.of(per_example, self.granularity)
        groups = [rows.group(number) for number in range(len(rows.groups))]
        sums = self._sums(key, groups, mask, state)
        if self.count_zero_gradients:
            missing = [~inspect_rows(leaves)[0] for leaves in groups]
            lost = functools.reduce(jnp.logical_or, missing)
            found = jnp.sum(lost & mask, dtype=jnp.int32)
            state = state._replace(zero_gradients=state.zero_gradients + found)
        if not self.nan_safe:
            sums = [
                self._poisoned(total, leaves, mask)
                for total, leaves in zip(sums, groups, strict=True)
            ]
        return rows.join(sums), state

    def _sums(
        self,
        key: Array,
        groups: Sequence[list[Array]],
        mask: Array,
        state: MechanismState,
    ) -> list[list[Array]]:
        """Return the sum of what is released of each group."""
        if self.kind == "none":
            return [_sum_plain(leaves, mask) for leaves in groups]
        dtypes = [leaves[0].dtype for leaves in groups]
        norms = [state.norm[i].astype(dtype) for i, dtype in enumerate(dtypes)]
        if self.kind == "gaussian":
            return [
                _sum_clipped(leaves, norms[i], mask) for i, leaves in enumerate(groups)
            ]
        if self.kind == "vmf":
            work = max(dtypes, key=lambda dtype: dtype.itemsize)
            shape = (len(groups), len(mask))
            sums = sums_of_directions(
                key,
                groups,
                jnp.broadcast_to(state.scale.astype(work)[:, None], shape),
                mask.astype(work),
                aggregation=self.aggregation,
            )
        else:
            keys = jax.random.split(key, len(groups))
            sums = [
                _sum_each(
                    self.kind, keys[i], leaves, state.scale[i].astype(dtypes[i]), mask
                )
                for i, leaves in enumerate(groups)
            ]
        return [[norms[i] * part for part in parts] for i, parts in enumerate(sums)]

    @staticmethod
    def _poisoned(total: list[Array], leaves: list[Array], mask: Array) -> list[Array]:
        """Return NaN where a row that counts is not finite."""
        finite = [jnp.all(jnp.isfinite(x) | ~mask[:, None]) for x in leaves]
        good = functools.reduce(jnp.logical_and, finite)
        return [jnp.where(good, part, jnp.nan) for part in total]

    def finalize(
        self, key: Array, total: PyTree, count: Array, state: MechanismState
    ) -> tuple[PyTree, MechanismState]:
        """Return the average of the batch; the Gaussian adds its noise to the sum.

        The sum is divided by the public batch size, or by `count` if there is none.
        """
        leaves, treedef = jax.tree.flatten(total)
        floating = [i for g in leaf_groups(total, "model") for i in g]
        if self.kind == "gaussian":
            deviation = state.scale[0] * jnp.sqrt(jnp.sum(state.norm * state.norm))
            noise = normal_like(key, [leaves[i] for i in floating])
            for i, z in zip(floating, noise, strict=True):
                leaves[i] = leaves[i] + deviation.astype(z.dtype) * z
        size = jnp.maximum(count, 1).astype(jnp.float32)
        if self.fixed_batch_size:
            size = state.batch_size
        for i in floating:
            leaves[i] = leaves[i] / size.astype(leaves[i].dtype)
        return jax.tree.unflatten(treedef, leaves), state


def _check_numbers(config: MechanismConfig) -> None:
    positive = config.kind in ("euclidean_laplace", "coordinate_laplace")
    for name, least in (("scale", positive), ("norm", True)):
        value = getattr(config, name)
        numbers = value if isinstance(value, tuple) else (value,)
        if not all(math.isfinite(x) and (x > 0 if least else x >= 0) for x in numbers):
            bound = "> 0" if least else ">= 0"
            raise InvalidInputError(f"{name} must be finite and {bound}, got {value!r}")


def gradient_mechanism(
    config: MechanismConfig,
    *,
    expected_batch_size: float | None = None,
    aggregation: str = "auto",
) -> ActingMechanism:
    """Return what a training step needs to act as a mechanism.

    The Gaussian clips the gradient of each example and adds noise once, to the sum (its
    guarantee is for add-or-remove adjacency, one example being the unit). All others
    scale the gradient of each example to a public norm, group by group, and release it
    on its own; their guarantee is for replace-one adjacency, and the unit is the
    direction of one example's gradient in one group.

    Parameters
    ----------
    config : MechanismConfig
        The mechanism. ``kind``, ``granularity``, ``nan_safe`` and
        ``count_zero_gradients`` decide what is compiled.
    expected_batch_size : float, optional
        A public constant that sums are divided by; without it, the number of examples,
        which is not private under Poisson sampling.
    aggregation : {"auto", "exact", "naive"}, default="auto"
        How sums of von Mises-Fisher draws are drawn, as in :func:`vmf_aggregate`.

    Returns
    -------
    ActingMechanism
        With ``init``, ``randomize`` and ``finalize``: see
        :class:`~mlmethods.interfaces.GradientMechanism`.

    Raises
    ------
    InvalidInputError
        If a number is outside its range or a word is not known.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from mlmethods.privacy.contract import MechanismConfig
    >>> from mlmethods_jax.privacy import gradient_mechanism
    >>> config = MechanismConfig(kind="gaussian", scale=0.0, norm=1.0)
    >>> mechanism = gradient_mechanism(config, expected_batch_size=2)
    >>> state = mechanism.init(jnp.zeros(2))
    >>> gradients, mask = jnp.array([[3.0, 4.0], [0.0, 0.5]]), jnp.ones(2, bool)
    >>> total, state = mechanism.randomize(jax.random.key(0), gradients, mask, state)
    >>> mean, _ = mechanism.finalize(jax.random.key(1), total, jnp.int32(2), state)
    >>> [round(x, 3) for x in mean.tolist()]
    [0.3, 0.65]
    """
    if config.kind not in get_args(MechanismKind):
        raise InvalidInputError(
            f"kind must be one of {', '.join(get_args(MechanismKind))}, got "
            f"{config.kind!r}"
        )
    _check_numbers(config)
    if config.kind == "gaussian" and isinstance(config.scale, tuple):
        raise InvalidInputError(
            f"scale must be one number for the Gaussian, got {config.scale!r}"
        )
    if expected_batch_size is not None and not 0 < expected_batch_size < math.inf:
        raise InvalidInputError(
            f"expected_batch_size must be positive, got {expected_batch_size!r}"
        )
    granularity = config.granularity
    if not isinstance(granularity, str):
        granularity = tuple(tuple(group) for group in granularity)
    return ActingMechanism(
        kind=config.kind,
        granularity=granularity,
        nan_safe=config.nan_safe,
        count_zero_gradients=config.count_zero_gradients,
        aggregation=check_aggregation(aggregation),
        fixed_batch_size=expected_batch_size is not None,
        scale=config.scale,
        norm=config.norm,
        batch_size=float(expected_batch_size or 0.0),
    )


@functools.partial(jax.jit, static_argnames="kind")
def _release(key: Array, unit: Array, scale: Array, kind: str) -> Array:
    work = _work_dtype(unit.dtype)
    scales = jnp.broadcast_to(scale.astype(work), unit.shape[:1])
    return _RELEASES[kind](key, unit.astype(work), scales).astype(unit.dtype)


def release(
    key: Key[Array, ""], unit_vectors: Float[Array, "n p"], config: MechanismConfig
) -> Float[Array, "n p"]:
    """Release each unit vector on its own, at norm 1.

    For direction mechanisms the guarantee is that of one release: replace-one
    adjacency, the unit is one vector.

    Parameters
    ----------
    key : key
        Consumed.
    unit_vectors : array of shape (n, p)
        One direction a row; p >= 2.
    config : MechanismConfig
        The mechanism; ``norm`` and ``granularity`` are not used.

    Returns
    -------
    array of shape (n, p)
        NaN where a rejection sampler did not end.

    Raises
    ------
    InvalidInputError
        If `unit_vectors` has another shape, or ``scale`` is not one number in its range.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from mlmethods.privacy.contract import MechanismConfig
    >>> from mlmethods_jax.privacy.mechanisms import release
    >>> config = MechanismConfig(kind="vmf", scale=50.0)
    >>> out = release(jax.random.key(0), jnp.eye(3, 10), config)
    >>> bool(jnp.allclose(jnp.linalg.norm(out, axis=1), 1.0, atol=1e-5))
    True
    """
    _check_numbers(config)
    if isinstance(config.scale, tuple):
        raise InvalidInputError(
            f"scale must be one number for a release, got {config.scale!r}"
        )
    dtype = compute_dtype(unit_vectors)
    unit = as_dtype(unit_vectors, dtype)
    if unit.ndim != 2 or unit.shape[1] < 2:
        raise InvalidInputError(
            f"unit_vectors must have shape (n, p) with p >= 2, got shape {unit.shape}"
        )
    with scope(dtype):
        scale = np.asarray(config.scale, _work_dtype(dtype))
        return _release(key, unit, scale, config.kind)
