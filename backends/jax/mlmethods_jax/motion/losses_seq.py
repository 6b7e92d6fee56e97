"""Losses of token sequences: one number for each window, whatever its neighbors.

``token_loss`` is the cross-entropy of tokens, ``frame_labels`` picks the labels at the
rate of an encoder for ``losses_frame.cross_entropy``, and ``draw_own`` the steps of
scheduled sampling.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

__all__ = ["draw_own", "frame_labels", "token_loss"]


def token_loss(
    log_probs: Float[Array, "b l v"],
    tokens: Int[Array, "b l"],
    label_smoothing: float = 0.0,
) -> Float[Array, " b"]:
    """Return the mean cross-entropy of the tokens of each sequence.

    The target of a token is ``1 - s`` of itself and ``s / v`` of every one of the v
    tokens, with the smoothing s. Padding is not a target: the loss of a sequence is
    the same in every batch.

    Parameters
    ----------
    log_probs : float32 array [b, l, v]
        Log-probabilities of the tokens.
    tokens : integer array [b, l]
        Targets, their end included; 0 is padding.
    label_smoothing : float
        Share of the target that is spread over all tokens.

    Returns
    -------
    float32 array [b]
        0 for a sequence without tokens.

    References
    ----------
    Szegedy, Vanhoucke, Ioffe, Shlens, Wojna (2016), Rethinking the inception
    architecture for computer vision, CVPR, section 7; arXiv:1512.00567.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from mlmethods_jax.motion.losses_seq import token_loss
    >>> log_probs = jax.nn.log_softmax(jnp.zeros((1, 3, 4)))
    >>> loss = token_loss(log_probs, jnp.array([[1, 3, 0]]), 0.1)
    >>> round(float(loss[0]), 4)
    1.3863
    """
    # a product with the one-hot targets: its gradient is no scatter
    marks = jax.nn.one_hot(tokens, log_probs.shape[-1], dtype=log_probs.dtype)
    chosen = jnp.sum(log_probs * marks, axis=-1)
    losses = -(1.0 - label_smoothing) * chosen
    losses = losses - label_smoothing * jnp.mean(log_probs, axis=-1)
    counted = tokens > 0
    total = jnp.sum(jnp.where(counted, losses, jnp.zeros_like(losses)), axis=1)
    length = jnp.sum(counted, axis=1, dtype=jnp.int32).astype(total.dtype)
    return total / jnp.maximum(length, 1.0)


def frame_labels(
    labels: Int[Array, "b t"], mask: Bool[Array, "b t"], rate: int
) -> Int[Array, "b s"]:
    """Return the label of every `rate`-th frame, -1 where the mask is False.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from mlmethods_jax.motion.losses_seq import frame_labels
    >>> mask = jnp.array([[True, True, True, False, False, False]])
    >>> frame_labels(jnp.array([[2, 2, 1, 1, 0, 0]]), mask, 2).tolist()
    [[2, 1, -1]]
    """
    return jnp.where(mask, labels, -1)[:, ::rate]


def draw_own(
    key: Array, shape: tuple[int, int], teacher: Float[Array, ""]
) -> Bool[Array, "b l"]:
    """Return where a step sees the decoder's own token, with probability 1 - teacher.

    Every token is drawn on its own.

    References
    ----------
    Bengio, Vinyals, Jaitly, Shazeer (2015), Scheduled sampling for sequence prediction
    with recurrent neural networks, NeurIPS; arXiv:1506.03099.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from mlmethods_jax.motion.losses_seq import draw_own
    >>> draw_own(jax.random.key(0), (1, 4), jnp.float32(1.0)).tolist()
    [[False, False, False, False]]
    """
    # a flat draw compiles faster; [0, 1) is never above a probability of 1
    draws = jax.random.uniform(key, (shape[0] * shape[1],), jnp.float32)
    return (draws >= teacher).reshape(shape)
