"""MS-TCN: stages of dilated convolutions, each refining the one before.

``MSTCNModule``
    the network as a flax module.
``make_mstcn(config, rngs)``
    what ``_state.init``, ``_state.merge`` and ``_state.check`` take.
``mstcn_logits(config, params, x, mask=None, key=None)``
    logits of all stages [S, B, T, C]; compiled; with `key` dropout is on.
``mstcn_loss(config, params, batch, key, class_weights=None)``
    one loss a recording [B]; the batch has "x", "mask" and "labels".
``mstcn_halo(config)``
    frames on each side that an output depends on.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from mlmethods.motion.contract import MSTCNConfig
from mlmethods_jax.layers.tcn import DilatedStage, masked
from mlmethods_jax.motion._state import merge
from mlmethods_jax.motion.losses_frame import (
    cross_entropy,
    smoothing_loss,
    valid_frames,
)

__all__ = [
    "MSTCNModule",
    "make_mstcn",
    "mstcn_halo",
    "mstcn_logits",
    "mstcn_loss",
    "stage_losses",
]


class MSTCNModule(nnx.Module):
    """Multi-stage temporal convolutional network.

    The first stage sees the frames, every other one the class probabilities of the
    stage before.

    Parameters
    ----------
    n_features, n_classes : int
        Channels D of a frame, and classes C.
    stages, layers, maps : int
        Stages S, residual layers in each, and their channels.
    dropout : float
        Rate within the residual layers; off until ``module.train()``.
    param_dtype : dtype
        Of the parameters.
    rngs : nnx.Rngs
        Source of the parameters and of dropout.

    References
    ----------
    Abu Farha and Gall (2019), MS-TCN: multi-stage temporal convolutional network for
    action segmentation, CVPR; arXiv:1903.01945.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from mlmethods_jax.motion import MSTCNModule
    >>> network = MSTCNModule(6, 3, stages=2, layers=4, maps=8, rngs=nnx.Rngs(0))
    >>> network(jnp.ones((1, 50, 6))).shape
    (2, 1, 50, 3)
    """

    def __init__(
        self,
        n_features: int,
        n_classes: int,
        *,
        stages: int = 4,
        layers: int = 10,
        maps: int = 64,
        dropout: float = 0.5,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        self.stages = nnx.List(
            DilatedStage(
                n_features if s == 0 else n_classes,
                n_classes,
                layers=layers,
                maps=maps,
                dropout=dropout,
                param_dtype=param_dtype,
                rngs=rngs,
            )
            for s in range(stages)
        )

    def __call__(
        self, x: Float[Array, "b t d"], mask: Bool[Array, "b t"] | None = None
    ) -> Float[Array, "s b t c"]:
        """Return float32 logits of all stages, zero where `mask` is False."""
        dtype, outputs = x.dtype, []
        x = masked(x, mask)
        for stage in self.stages:
            logits = stage(x, mask).astype(jnp.float32)
            outputs.append(logits)
            x = masked(jax.nn.softmax(logits), mask).astype(dtype)
        return jnp.stack(outputs)


def make_mstcn(config: MSTCNConfig, rngs: nnx.Rngs) -> MSTCNModule:
    """Return the module of a configuration."""
    return MSTCNModule(
        config.n_features,
        config.n_classes,
        stages=config.stages,
        layers=config.layers,
        maps=config.maps,
        dropout=config.dropout,
        rngs=rngs,
    )


def mstcn_halo(config: MSTCNConfig) -> int:
    """Return how many frames on each side an output depends on."""
    return config.stages * (2**config.layers - 1)


@functools.partial(jax.jit, static_argnames="config")
def mstcn_logits(
    config: MSTCNConfig,
    params: Mapping[str, Any],
    x: Float[Array, "b t d"],
    mask: Bool[Array, "b t"] | None = None,
    key: Any = None,
) -> Float[Array, "s b t c"]:
    """Return the logits of all stages; with `key` units are dropped."""
    return merge(make_mstcn, config, params, key)(x, mask)


def stage_losses(
    logits: Float[Array, "s b t c"],
    batch: Mapping[str, Any],
    smoothing_weight: float,
    class_weights: Array | None = None,
) -> Float[Array, " b"]:
    """Return the sum over stages of cross-entropy and smoothing, for each recording."""
    mask = valid_frames(batch)
    labels = jnp.where(mask, batch["labels"], -1)
    loss = jnp.zeros(labels.shape[0], jnp.float32)
    for own in logits:
        loss = loss + cross_entropy(own, labels, class_weights)
        loss = loss + smoothing_weight * smoothing_loss(own, mask)
    return loss


def mstcn_loss(
    config: MSTCNConfig,
    params: Mapping[str, Any],
    batch: Mapping[str, Any],
    key: Any = None,
    class_weights: Float[Array, " c"] | None = None,
) -> Float[Array, " b"]:
    """Return the loss of each recording.

    The sum over stages of the mean cross-entropy of the labeled frames and
    ``config.smoothing_weight`` times the clipped mean squared change of the
    log-probabilities from frame to frame.

    Parameters
    ----------
    config : MSTCNConfig
        Sizes.
    params : mapping of str to array
        Parameters.
    batch : mapping
        ``x`` [B, T, D], ``mask`` [B, T] and ``labels`` [B, T], -1 where there is none.
    key : key, optional
        Source of dropout; without one nothing is dropped.
    class_weights : float32 array of shape (C,), optional
        Weights of the classes.

    Returns
    -------
    float32 array of shape (B,)
    """
    logits = mstcn_logits(config, params, batch["x"], batch.get("mask"), key)
    return stage_losses(logits, batch, config.smoothing_weight, class_weights)
