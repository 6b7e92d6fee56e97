"""Private aggregation of per-example gradients as optax transformations."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Key

from mlmethods.interfaces import PyTree
from mlmethods.privacy.contract import Granularity, MechanismConfig
from mlmethods_jax.privacy.aggregate import Aggregation
from mlmethods_jax.privacy.groups import GradientRows
from mlmethods_jax.privacy.mechanisms import (
    ActingMechanism,
    MechanismState,
    gradient_mechanism,
)

__all__ = ["AggregateState", "dp_gaussian", "dp_vmf"]


class AggregateState(NamedTuple):
    """State of a private aggregation.

    Attributes
    ----------
    key : key
        Of the run; step t uses ``fold_in(key, t)``.
    step : int32 array ()
        Updates so far.
    mechanism : MechanismState
        Its numbers.
    """

    key: Array
    step: Array
    mechanism: MechanismState


def _transform(mechanism: ActingMechanism, key: Any) -> optax.GradientTransformation:
    def init(params: PyTree) -> AggregateState:
        return AggregateState(key, jnp.zeros((), jnp.int32), mechanism.init(params))

    def update(
        updates: PyTree, state: AggregateState, params: PyTree | None = None
    ) -> tuple[PyTree, AggregateState]:
        size = GradientRows.of(updates, mechanism.granularity).size
        step_key = jax.random.fold_in(state.key, state.step)
        sum_key, noise_key = jax.random.split(step_key)
        total, numbers = mechanism.randomize(
            sum_key, updates, jnp.ones(size, bool), state.mechanism
        )
        mean, numbers = mechanism.finalize(
            noise_key, total, jnp.full((), size, jnp.int32), numbers
        )
        mean = jax.tree.map(lambda leaf, like: leaf.astype(like.dtype), mean, updates)
        return mean, AggregateState(state.key, state.step + 1, numbers)

    return optax.GradientTransformation(init, update)


def dp_vmf(
    kappa: float | tuple[float, ...],
    norm: float | tuple[float, ...] = 1.0,
    *,
    key: Key[Array, ""],
    granularity: Granularity = "model",
    aggregation: Aggregation = "auto",
    expected_batch_size: float | None = None,
) -> optax.GradientTransformation:
    """Release the direction of each example's gradient, and average.

    It takes per-example gradients, leaves [b, ...], and must come first in
    ``optax.chain``. Each gradient is scaled to `norm` (not clipped), its direction is
    replaced by a von Mises-Fisher draw about it, and the sum is divided by
    `expected_batch_size`.

    One update is ``2 kappa``-differentially private for replace-one adjacency, the unit
    being one example; the costs of groups and of updates add.

    Parameters
    ----------
    kappa : float or tuple of float
        Concentration, >= 0; a tuple has one for each group. It has no meaning without
        the number of parameters p of a group: the same value is far more noise for a
        larger p.
    norm : float or tuple of float, default=1.0
        Norm of each gradient after scaling, shared equally over groups; a tuple has one
        for each group.
    key : key
        Root of all draws: update t uses ``fold_in(key, t)``. Never use it again.
    granularity : "model", "layer" or groups of path prefixes, default="model"
        What is one direction.
    aggregation : {"auto", "exact", "naive"}, default="auto"
        How the sum is drawn, as in :func:`vmf_aggregate`; the law is the same.
    expected_batch_size : float, optional
        A public constant; without it the number of gradients, which must then be public.

    Returns
    -------
    optax.GradientTransformation
        The update has no batch axis. Leaves that are None or integers are passed over.

    Raises
    ------
    InvalidInputError
        If a number is outside its range; from the update, if a leaf has no batch axis
        (the message names it and its shape).

    Notes
    -----
    Gradients that are zero or not finite are released as uniform directions. Where a
    draw did not end, the update is NaN.

    References
    ----------
    P. Faustini, N. Fernandes, S. Tonni, A. McIver, M. Dras, "Directional Privacy for
    Deep Learning" (2022), arXiv:2211.04686.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, optax
    >>> from mlmethods_jax.privacy import dp_vmf
    >>> params = {"w": jnp.zeros(1000)}
    >>> optimizer = optax.chain(dp_vmf(1e8, key=jax.random.key(0)), optax.sgd(1.0))
    >>> gradients = {"w": jnp.eye(4, 1000) * 7}
    >>> updates, state = optimizer.update(gradients, optimizer.init(params), params)
    >>> [round(x, 2) for x in updates["w"][:4].tolist()]
    [-0.25, -0.25, -0.25, -0.25]
    """
    config = MechanismConfig(
        kind="vmf", scale=kappa, norm=norm, granularity=granularity
    )
    mechanism = gradient_mechanism(
        config, expected_batch_size=expected_batch_size, aggregation=aggregation
    )
    return _transform(mechanism, key)


def dp_gaussian(
    noise_multiplier: float,
    clip_norm: float | tuple[float, ...] = 1.0,
    *,
    key: Key[Array, ""],
    granularity: Granularity = "model",
    expected_batch_size: float | None = None,
) -> optax.GradientTransformation:
    """Clip each example's gradient, sum, add normal noise once, and average.

    It takes per-example gradients, leaves [b, ...], and must come first in
    ``optax.chain``. The noise on the sum has deviation ``noise_multiplier * clip_norm``.

    One update is the Gaussian mechanism of that noise multiplier for add-or-remove
    adjacency, the unit being one example (half of it for replace-one).

    Parameters
    ----------
    noise_multiplier : float
        Deviation of the noise in units of the clipping norm, >= 0.
    clip_norm : float or tuple of float, default=1.0
        Bound on the norm of each gradient, shared equally over groups; a tuple has one
        for each group.
    key : key
        Root of all draws: update t uses ``fold_in(key, t)``. Never use it again.
    granularity : "model", "layer" or groups of path prefixes, default="model"
        What is clipped together.
    expected_batch_size : float, optional
        A public constant; without it the number of gradients, which must then be public.

    Returns
    -------
    optax.GradientTransformation
        The update has no batch axis. Leaves that are None or integers are passed over.

    Raises
    ------
    InvalidInputError
        If a number is outside its range; from the update, if a leaf has no batch axis
        (the message names it and its shape).

    Notes
    -----
    Gradients that are not finite count as zero.

    References
    ----------
    M. Abadi et al., "Deep learning with differential privacy", CCS 2016, Algorithm 1.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, optax
    >>> from mlmethods_jax.privacy import dp_gaussian
    >>> transform = dp_gaussian(0.0, 1.0, key=jax.random.key(0))
    >>> gradients = jnp.array([[3.0, 4.0], [0.0, 0.5]])
    >>> update, _ = transform.update(gradients, transform.init(jnp.zeros(2)))
    >>> [round(x, 3) for x in update.tolist()]
    [0.3, 0.65]
    """
    config = MechanismConfig(
        kind="gaussian",
        scale=noise_multiplier,
        norm=clip_norm,
        granularity=granularity,
    )
    mechanism = gradient_mechanism(config, expected_batch_size=expected_batch_size)
    return _transform(mechanism, key)
