"""A small convolutional network of frames, the cheap baseline.

``CNNModule``
    the network as a flax module; its logits are [B, T, C].
``make_cnn(config, rngs)``
    what ``_state.init``, ``_state.merge`` and ``_state.check`` take.
``cnn_logits(config, params, x, mask=None, key=None)``
    logits [1, B, T, C], as of one stage; compiled; with `key` dropout is on.
``cnn_loss(config, params, batch, key, class_weights=None)``
    one loss a recording [B]; the batch has "x", "mask" and "labels".
``cnn_halo(config)``
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

from mlmethods.motion.contract import CNNConfig
from mlmethods_jax.layers.tcn import LayerDropout, Pointwise, TemporalConv, masked
from mlmethods_jax.motion._state import merge
from mlmethods_jax.motion.losses_frame import cross_entropy, valid_frames

__all__ = ["CNNModule", "cnn_halo", "cnn_logits", "cnn_loss", "make_cnn"]


class CNNModule(nnx.Module):
    """Convolutions over time with rectifiers, and a classifier of frames.

    Parameters
    ----------
    n_features, n_classes : int
        Channels D of a frame, and classes C.
    layers, maps, width : int
        Convolutions, their channels and their taps, an odd number.
    dropout : float
        Rate after each rectifier; off until ``module.train()``.
    param_dtype : dtype
        Of the parameters.
    rngs : nnx.Rngs
        Source of the parameters and of dropout.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from mlmethods_jax.motion import CNNModule
    >>> network = CNNModule(6, 3, layers=2, maps=8, width=5, rngs=nnx.Rngs(0))
    >>> network(jnp.ones((4, 50, 6))).shape
    (4, 50, 3)
    """

    def __init__(
        self,
        n_features: int,
        n_classes: int,
        *,
        layers: int = 3,
        maps: int = 64,
        width: int = 9,
        dropout: float = 0.1,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        self.layers = nnx.List(
            TemporalConv(
                n_features if i == 0 else maps,
                maps,
                width=width,
                param_dtype=param_dtype,
                rngs=rngs,
            )
            for i in range(layers)
        )
        self.dropout = LayerDropout(dropout, rngs=rngs)
        self.conv_out = Pointwise(
            maps if layers else n_features,
            n_classes,
            param_dtype=param_dtype,
            rngs=rngs,
        )
        self.maps = maps

    def __call__(
        self, x: Float[Array, "b t d"], mask: Bool[Array, "b t"] | None = None
    ) -> Float[Array, "b t c"]:
        """Return float32 logits of the frames, zero where `mask` is False."""
        x = masked(x, mask)
        factors = self.dropout(len(self.layers), (*x.shape[:2], self.maps), x.dtype)
        for layer, own in zip(self.layers, factors, strict=True):
            x = jax.nn.relu(layer(x))
            x = masked(x if own is None else x * own, mask)
        return masked(self.conv_out(x).astype(jnp.float32), mask)


def make_cnn(config: CNNConfig, rngs: nnx.Rngs) -> CNNModule:
    """Return the module of a configuration."""
    return CNNModule(
        config.n_features,
        config.n_classes,
        layers=config.layers,
        maps=config.maps,
        width=config.width,
        dropout=config.dropout,
        rngs=rngs,
    )


def cnn_halo(config: CNNConfig) -> int:
    """Return how many frames on each side an output depends on."""
    return config.layers * (config.width // 2)


@functools.partial(jax.jit, static_argnames="config")
def cnn_logits(
    config: CNNConfig,
    params: Mapping[str, Any],
    x: Float[Array, "b t d"],
    mask: Bool[Array, "b t"] | None = None,
    key: Any = None,
) -> Float[Array, "s b t c"]:
    """Return the logits as of one stage; with `key` units are dropped."""
    return merge(make_cnn, config, params, key)(x, mask)[None]


def cnn_loss(
    config: CNNConfig,
    params: Mapping[str, Any],
    batch: Mapping[str, Any],
    key: Any = None,
    class_weights: Float[Array, " c"] | None = None,
) -> Float[Array, " b"]:
    """Return the mean cross-entropy of the labeled frames of each recording.

    The arguments are those of :func:`mlmethods_jax.motion.mstcn.mstcn_loss`.
    """
    logits = cnn_logits(config, params, batch["x"], batch.get("mask"), key)
    labels = jnp.where(valid_frames(batch), batch["labels"], -1)
    return cross_entropy(logits[0], labels, class_weights)
