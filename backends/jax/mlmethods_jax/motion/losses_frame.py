"""Losses of frames: one number for each recording, whatever the padding.

``cross_entropy``, ``smoothing_loss`` and ``similarity`` are for classes,
``boundary_targets`` and ``boundary_loss`` for the frames where an action begins.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

__all__ = [
    "boundary_loss",
    "boundary_targets",
    "cross_entropy",
    "similarity",
    "smoothing_loss",
    "valid_frames",
]

_CLIP = 16.0


def valid_frames(batch: Any) -> Bool[Array, "b t"]:
    """Return the mask of a batch, all True if it has none."""
    if batch.get("mask") is None:
        return jnp.ones(batch["x"].shape[:2], bool)
    return batch["mask"]


def _mean(values: Array, weights: Array) -> Array:
    """Return the weighted mean over time, 0 where there is no weight."""
    total = jnp.sum(weights, axis=1)
    return jnp.sum(values * weights, axis=1) / jnp.where(total > 0, total, 1.0)


def cross_entropy(
    logits: Float[Array, "b t c"],
    labels: Int[Array, "b t"],
    class_weights: Float[Array, " c"] | None = None,
) -> Float[Array, " b"]:
    """Return the mean cross-entropy of the labeled frames of each recording.

    Parameters
    ----------
    logits : float32 array [b, t, c]
        Scores of the classes.
    labels : integer array [b, t]
        Classes; -1 where there is none.
    class_weights : float32 array [c], optional
        Weights of the frames by their class; the mean is weighted with them.

    Returns
    -------
    float32 array [b]
        0 for a recording without labels.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from mlmethods_jax.motion.losses_frame import cross_entropy
    >>> loss = cross_entropy(jnp.zeros((1, 3, 4)), jnp.array([[0, 2, -1]]))
    >>> print(f"{loss[0]:.4f}")
    1.3863
    """
    index = jnp.maximum(labels, 0).astype(jnp.int32)
    # a product with the one-hot labels: its gradient is no scatter
    chosen = jax.nn.one_hot(index, logits.shape[-1], dtype=logits.dtype)
    nll = -jnp.sum(jax.nn.log_softmax(logits) * chosen, axis=-1)
    weights = (labels >= 0).astype(logits.dtype)
    if class_weights is not None:
        weights = weights * jnp.take(class_weights, index).astype(logits.dtype)
    return _mean(nll, weights)


def similarity(x: Float[Array, "b t d"], sigma: float = 1.0) -> Float[Array, "b s"]:
    """Return ``exp(-|x[t] - x[t - 1]| / (2 sigma**2))`` of neighboring frames.

    The result [b, t - 1] is a constant to gradients.
    """
    x = lax.stop_gradient(x).astype(jnp.float32)
    distance = jnp.linalg.norm(x[:, 1:] - x[:, :-1], axis=-1)
    return jnp.exp(-distance / (2.0 * sigma**2))


def smoothing_loss(
    logits: Float[Array, "b t c"],
    mask: Bool[Array, "b t"],
    *,
    weights: Float[Array, "b s"] | None = None,
    both: bool = False,
) -> Float[Array, " b"]:
    """Return the mean squared change of the log-probabilities, clipped at 16.

    Parameters
    ----------
    logits : float32 array [b, t, c]
        Scores of the classes.
    mask : bool array [b, t]
        Frames of the recording; pairs of them count.
    weights : float32 array [b, t - 1], optional
        Factors of the pairs; the mean is not normalized with them.
    both : bool
        Whether gradients reach the earlier frame of a pair too.

    Returns
    -------
    float32 array [b]
        0 for a recording of one frame.

    References
    ----------
    Abu Farha and Gall (2019), MS-TCN, CVPR, eqs. 8-10; with weights and `both`,
    Ishikawa et al. (2021), Alleviating over-segmentation errors by detecting action
    boundaries, WACV, eq. 5.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from mlmethods_jax.motion.losses_frame import smoothing_loss
    >>> logits = jnp.array([[[0.0, 0.0], [9.0, 0.0], [9.0, 0.0]]])
    >>> print(f"{smoothing_loss(logits, jnp.ones((1, 3), bool))[0]:.3f}")
    4.120
    """
    log_probs = jax.nn.log_softmax(logits)
    earlier = log_probs[:, :-1]
    if not both:
        earlier = lax.stop_gradient(earlier)
    change = jnp.minimum(jnp.square(log_probs[:, 1:] - earlier), _CLIP)
    change = jnp.mean(change, axis=-1)
    if weights is not None:
        change = change * weights
    pairs = (mask[:, 1:] & mask[:, :-1]).astype(change.dtype)
    return _mean(change, pairs)


def boundary_targets(
    labels: Int[Array, "b t"],
) -> tuple[Bool[Array, "b t"], Bool[Array, "b t"]]:
    """Return where an action begins, and where that is known.

    The first frame begins one; a frame is not known if it or the one before it has no
    label.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from mlmethods_jax.motion.losses_frame import boundary_targets
    >>> begins, known = boundary_targets(jnp.array([[1, 1, 0, -1, 0]]))
    >>> begins[0].tolist(), known[0].tolist()
    ([True, False, True, True, True], [True, True, True, False, False])
    """
    first = jnp.ones((labels.shape[0], 1), bool)
    begins = jnp.concatenate([first, labels[:, 1:] != labels[:, :-1]], axis=1)
    before = jnp.concatenate([first, labels[:, :-1] >= 0], axis=1)
    return begins, (labels >= 0) & before


def boundary_loss(
    logits: Float[Array, "b t"],
    labels: Int[Array, "b t"],
    positive_weight: Float[Array, ""] | None = None,
) -> Float[Array, " b"]:
    """Return the mean binary cross-entropy of the beginnings of actions.

    Parameters
    ----------
    logits : float32 array [b, t]
        Scores of the boundaries.
    labels : integer array [b, t]
        Classes; -1 where there is none.
    positive_weight : float32 array of shape (), optional
        Factor of the boundaries' terms; by default frames over boundaries, in each
        recording.

    Returns
    -------
    float32 array [b]
    """
    begins, known = boundary_targets(labels)
    target = begins.astype(logits.dtype)
    weights = known.astype(logits.dtype)
    if positive_weight is None:
        count = jnp.sum(target * weights, axis=1, keepdims=True)
        frames = jnp.sum(weights, axis=1, keepdims=True)
        positive = frames / jnp.maximum(count, 1.0)
    else:
        positive = jnp.asarray(positive_weight, logits.dtype).reshape(1, 1)
    loss = positive * target * jax.nn.softplus(-logits)
    return _mean(loss + (1.0 - target) * jax.nn.softplus(logits), weights)
