"""ASRF: shared dilated convolutions, a branch of classes and one of boundaries.

``ASRFModule``
    the network as a flax module: class logits [S, B, T, C], boundary logits [S, B, T].
``make_asrf(config, rngs)``
    what ``_state.init``, ``_state.merge`` and ``_state.check`` take.
``asrf_logits(config, params, x, mask=None, key=None)``
    logits of the last stage of each branch, [B, T, C] and [B, T]; compiled.
``asrf_loss(config, params, batch, key, class_weights=None, positive_weight=None)``
    one loss a recording [B]; the batch has "x", "mask" and "labels".
``asrf_halo(config)``
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

from mlmethods.motion.contract import ASRFConfig
from mlmethods_jax.layers.tcn import DilatedStage, Pointwise, masked
from mlmethods_jax.motion._state import merge
from mlmethods_jax.motion.losses_frame import (
    boundary_loss,
    cross_entropy,
    similarity,
    smoothing_loss,
    valid_frames,
)

__all__ = ["ASRFModule", "asrf_halo", "asrf_logits", "asrf_loss", "make_asrf"]


class ASRFModule(nnx.Module):
    """Action segment refinement: classes of frames, and where actions begin.

    Both branches start from the same features; the stages of a branch after its head
    see the probabilities of the stage before.

    Parameters
    ----------
    n_features, n_classes : int
        Channels D of a frame, and classes C.
    stages : int
        Stages S of each branch, the head included.
    layers, maps : int
        Residual layers in each stage, and their channels.
    dropout : float
        Rate within the residual layers; off until ``module.train()``.
    param_dtype : dtype
        Of the parameters.
    rngs : nnx.Rngs
        Source of the parameters and of dropout.

    References
    ----------
    Ishikawa, Kasai, Aoki, Kataoka (2021), Alleviating over-segmentation errors by
    detecting action boundaries, WACV; arXiv:2007.06866.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from mlmethods_jax.motion import ASRFModule
    >>> network = ASRFModule(6, 3, stages=2, layers=4, maps=8, rngs=nnx.Rngs(0))
    >>> classes, boundaries = network(jnp.ones((1, 50, 6)))
    >>> classes.shape, boundaries.shape
    ((2, 1, 50, 3), (2, 1, 50))
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
        stage = functools.partial(
            DilatedStage,
            layers=layers,
            maps=maps,
            dropout=dropout,
            param_dtype=param_dtype,
            rngs=rngs,
        )
        self.shared = stage(n_features, None)
        self.conv_cls = Pointwise(maps, n_classes, param_dtype=param_dtype, rngs=rngs)
        self.conv_bound = Pointwise(maps, 1, param_dtype=param_dtype, rngs=rngs)
        self.asb = nnx.List(stage(n_classes, n_classes) for _ in range(stages - 1))
        self.brb = nnx.List(stage(1, 1) for _ in range(stages - 1))

    def __call__(
        self, x: Float[Array, "b t d"], mask: Bool[Array, "b t"] | None = None
    ) -> tuple[Float[Array, "s b t c"], Float[Array, "s b t"]]:
        """Return float32 logits of all stages, zero where `mask` is False."""
        dtype = x.dtype
        features = self.shared(masked(x, mask), mask)
        classes = [masked(self.conv_cls(features), mask).astype(jnp.float32)]
        boundaries = [masked(self.conv_bound(features), mask).astype(jnp.float32)]
        for stage in self.asb:
            probs = masked(jax.nn.softmax(classes[-1]), mask)
            classes.append(stage(probs.astype(dtype), mask).astype(jnp.float32))
        for stage in self.brb:
            probs = masked(jax.nn.sigmoid(boundaries[-1]), mask)
            boundaries.append(stage(probs.astype(dtype), mask).astype(jnp.float32))
        return jnp.stack(classes), jnp.stack(boundaries)[..., 0]


def make_asrf(config: ASRFConfig, rngs: nnx.Rngs) -> ASRFModule:
    """Return the module of a configuration."""
    return ASRFModule(
        config.n_features,
        config.n_classes,
        stages=config.stages,
        layers=config.layers,
        maps=config.maps,
        dropout=config.dropout,
        rngs=rngs,
    )


def asrf_halo(config: ASRFConfig) -> int:
    """Return how many frames on each side an output depends on."""
    return config.stages * (2**config.layers - 1)


@functools.partial(jax.jit, static_argnames="config")
def asrf_logits(
    config: ASRFConfig,
    params: Mapping[str, Any],
    x: Float[Array, "b t d"],
    mask: Bool[Array, "b t"] | None = None,
    key: Any = None,
) -> tuple[Float[Array, "b t c"], Float[Array, "b t"]]:
    """Return class and boundary logits of the last stages."""
    classes, boundaries = merge(make_asrf, config, params, key)(x, mask)
    return classes[-1], boundaries[-1]


def asrf_loss(
    config: ASRFConfig,
    params: Mapping[str, Any],
    batch: Mapping[str, Any],
    key: Any = None,
    class_weights: Float[Array, " c"] | None = None,
    positive_weight: Float[Array, ""] | None = None,
) -> Float[Array, " b"]:
    """Return the loss of each recording.

    The mean over stages of the weighted cross-entropy of the labeled frames, plus
    ``config.similarity_weight`` times the clipped mean squared change of the
    log-probabilities, weighted by the similarity of the frames, plus
    ``config.boundary_weight`` times the cross-entropy of the beginnings of actions.

    Parameters
    ----------
    config : ASRFConfig
        Sizes and weights.
    params : mapping of str to array
        Parameters.
    batch : mapping
        ``x`` [B, T, D], ``mask`` [B, T] and ``labels`` [B, T], -1 where there is none.
    key : key, optional
        Source of dropout; without one nothing is dropped.
    class_weights : float32 array of shape (C,), optional
        Weights of the classes: the median of their frequencies over their frequency.
    positive_weight : float32 array of shape (), optional
        Weight of boundaries: frames over boundaries, by default of each recording.

    Returns
    -------
    float32 array of shape (B,)
    """
    module = merge(make_asrf, config, params, key)
    classes, boundaries = module(batch["x"], batch.get("mask"))
    mask = valid_frames(batch)
    labels = jnp.where(mask, batch["labels"], -1)
    alike = similarity(masked(batch["x"], mask))
    loss = jnp.zeros(labels.shape[0], jnp.float32)
    for own, begins in zip(classes, boundaries, strict=True):
        loss = loss + cross_entropy(own, labels, class_weights)
        loss = loss + config.similarity_weight * smoothing_loss(
            own, mask, weights=alike, both=True
        )
        loss = loss + config.boundary_weight * boundary_loss(
            begins, labels, positive_weight
        )
    return loss / config.stages
