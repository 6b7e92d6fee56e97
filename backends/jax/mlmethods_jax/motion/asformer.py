"""ASFormer: an encoder and decoders of windowed attention.

``ASFormerModule``
    the network as a flax module.
``make_asformer(config, rngs)``
    what ``_state.init``, ``_state.merge`` and ``_state.check`` take.
``asformer_logits(config, params, x, mask=None, key=None)``
    logits of the encoder and all decoders [S, B, T, C]; compiled; with `key` dropout
    is on.
``asformer_loss(config, params, batch, key, class_weights=None)``
    one loss a recording [B]; the batch has "x", "mask" and "labels".
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from mlmethods.motion.contract import ASFormerConfig
from mlmethods_jax.layers.local_attention import local_attention
from mlmethods_jax.layers.tcn import LayerDropout, Pointwise, TemporalConv, masked
from mlmethods_jax.motion._state import merge
from mlmethods_jax.motion.mstcn import stage_losses

__all__ = [
    "ASFormerModule",
    "asformer_logits",
    "asformer_loss",
    "instance_norm",
    "make_asformer",
]

_EPSILON = 1e-5
# The residual scale of decoder s is exp(-3 s).
_DECAY = 3.0


def instance_norm(
    x: Float[Array, "b t d"], mask: Bool[Array, "b t"] | None = None
) -> Float[Array, "b t d"]:
    """Return each channel with mean 0 and variance 1 over the frames of a recording.

    Frames outside of `mask` do not count, and are zero in the result.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from mlmethods_jax.motion.asformer import instance_norm
    >>> x, mask = jnp.array([[[1.0], [3.0], [7.0]]]), jnp.array([[True, True, False]])
    >>> instance_norm(x, mask)[0, :, 0].round(3).tolist()
    [-1.0, 1.0, 0.0]
    """
    dtype, x = x.dtype, x.astype(jnp.float32)
    if mask is None:
        mask = jnp.ones(x.shape[:2], bool)
    count = jnp.maximum(jnp.sum(mask, axis=1), 1).astype(x.dtype)[:, None, None]
    mean = jnp.sum(masked(x, mask), axis=1, keepdims=True) / count
    centered = masked(x - mean, mask)
    variance = jnp.sum(jnp.square(centered), axis=1, keepdims=True) / count
    return (centered * jax.lax.rsqrt(variance + _EPSILON)).astype(dtype)


class _Attention(nnx.Module):
    """Windowed attention between projections to fewer channels."""

    def __init__(
        self, maps: int, reduction: int, window: int, pattern: Any, **given: Any
    ) -> None:
        inner = maps // reduction
        self.query_conv = Pointwise(maps, inner, **given)
        self.key_conv = Pointwise(maps, inner, **given)
        self.value_conv = Pointwise(maps, inner, **given)
        self.conv_out = Pointwise(inner, maps, **given)
        self.window = window
        self.pattern = pattern

    def __call__(self, x: Array, values: Array, mask: Array | None) -> Array:
        found = local_attention(
            self.query_conv(x),
            self.key_conv(x),
            self.value_conv(values),
            self.window,
            mask,
            pattern=self.pattern,
        )
        return self.conv_out(jax.nn.relu(found))


class _Block(nnx.Module):
    """A dilated convolution, attention to as many frames, and a residual."""

    def __init__(
        self,
        maps: int,
        reduction: int,
        dilation: int,
        scale: float,
        pattern: Any,
        **given: Any,
    ) -> None:
        self.feed_forward = TemporalConv(maps, maps, dilation=dilation, **given)
        self.att_layer = _Attention(maps, reduction, dilation, pattern, **given)
        self.conv_1x1 = Pointwise(maps, maps, **given)
        self.scale = scale

    def __call__(
        self,
        x: Array,
        source: Array | None,
        mask: Array | None,
        factors: Array | None,
    ) -> Array:
        y = jax.nn.relu(self.feed_forward(x))
        normal = instance_norm(y, mask)
        found = self.att_layer(normal, normal if source is None else source, mask)
        y = self.conv_1x1(jnp.asarray(self.scale, y.dtype) * found + y)
        if factors is not None:
            y = y * factors
        return x + masked(y, mask)  # as in DilatedResidual


class _Stage(nnx.Module):
    """The encoder, or a decoder: blocks between two layers of frames."""

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        *,
        layers: int,
        maps: int,
        reduction: int,
        scale: float,
        dropout: float,
        pattern: Any,
        **given: Any,
    ) -> None:
        self.conv_1x1 = Pointwise(in_features, maps, **given)
        self.layers = nnx.List(
            _Block(maps, reduction, 2**i, scale, pattern, **given)
            for i in range(layers)
        )
        self.dropout = LayerDropout(dropout, rngs=given["rngs"])
        self.conv_out = Pointwise(maps, n_classes, **given)

    def __call__(
        self, x: Array, source: Array | None, mask: Array | None
    ) -> tuple[Array, Array]:
        """Return float32 logits and features."""
        x = masked(self.conv_1x1(x), mask)
        factors = self.dropout(len(self.layers), x.shape, x.dtype)
        for layer, own in zip(self.layers, factors, strict=True):
            x = layer(x, source, mask, own)
        return masked(self.conv_out(x), mask).astype(jnp.float32), x


class ASFormerModule(nnx.Module):
    """Segmentation transformer with attention to windows that grow with depth.

    Layer i attends to ``2**i`` frames. A decoder sees the class probabilities of the
    stage before, and attends to the features of that stage.

    Parameters
    ----------
    n_features, n_classes : int
        Channels D of a frame, and classes C.
    decoders, layers, maps : int
        Decoders, layers in each and in the encoder, and their channels.
    reduction : int
        Channels over those of queries, keys and values.
    channel_dropout : float
        Probability that a channel of the input is dropped; off until
        ``module.train()``.
    dropout : float
        Rate within the layers; off until ``module.train()``.
    window : {"frame", "block"}
        See :func:`mlmethods_jax.layers.local_attention.local_attention`.
    param_dtype : dtype
        Of the parameters.
    rngs : nnx.Rngs
        Source of the parameters and of dropout.

    References
    ----------
    Yi, Wen, Jiang (2021), ASFormer: transformer for action segmentation, BMVC;
    arXiv:2110.08568.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from mlmethods_jax.motion import ASFormerModule
    >>> network = ASFormerModule(6, 3, decoders=1, layers=2, maps=8, rngs=nnx.Rngs(0))
    >>> network(jnp.ones((1, 20, 6))).shape
    (2, 1, 20, 3)
    """

    def __init__(
        self,
        n_features: int,
        n_classes: int,
        *,
        decoders: int = 3,
        layers: int = 10,
        maps: int = 64,
        reduction: int = 2,
        channel_dropout: float = 0.3,
        dropout: float = 0.5,
        window: str = "frame",
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        stage = functools.partial(
            _Stage,
            layers=layers,
            maps=maps,
            reduction=reduction,
            dropout=dropout,
            pattern=window,
            param_dtype=param_dtype,
            rngs=rngs,
        )
        self.encoder = stage(n_features, n_classes, scale=1.0)
        self.decoders = nnx.List(
            stage(n_classes, n_classes, scale=math.exp(-_DECAY * s))
            for s in range(decoders)
        )
        self.channel_dropout = LayerDropout(channel_dropout, rngs=rngs)

    def __call__(
        self, x: Float[Array, "b t d"], mask: Bool[Array, "b t"] | None = None
    ) -> Float[Array, "s b t c"]:
        """Return float32 logits of encoder and decoders, zero where `mask` is False."""
        dtype, (batch, _, channels) = x.dtype, x.shape
        x = masked(x, mask)
        (factors,) = self.channel_dropout(1, (batch, 1, channels), dtype)
        if factors is not None:
            x = x * factors
        logits, features = self.encoder(x, None, mask)
        outputs = [logits]
        for decoder in self.decoders:
            probs = masked(jax.nn.softmax(logits), mask).astype(dtype)
            logits, features = decoder(probs, features, mask)
            outputs.append(logits)
        return jnp.stack(outputs)


def make_asformer(config: ASFormerConfig, rngs: nnx.Rngs) -> ASFormerModule:
    """Return the module of a configuration."""
    return ASFormerModule(
        config.n_features,
        config.n_classes,
        decoders=config.decoders,
        layers=config.layers,
        maps=config.maps,
        reduction=config.reduction,
        channel_dropout=config.channel_dropout,
        dropout=config.dropout,
        window=config.window,
        rngs=rngs,
    )


@functools.partial(jax.jit, static_argnames="config")
def asformer_logits(
    config: ASFormerConfig,
    params: Mapping[str, Any],
    x: Float[Array, "b t d"],
    mask: Bool[Array, "b t"] | None = None,
    key: Any = None,
) -> Float[Array, "s b t c"]:
    """Return the logits of all stages; with `key` units are dropped."""
    return merge(make_asformer, config, params, key)(x, mask)


def asformer_loss(
    config: ASFormerConfig,
    params: Mapping[str, Any],
    batch: Mapping[str, Any],
    key: Any = None,
    class_weights: Float[Array, " c"] | None = None,
) -> Float[Array, " b"]:
    """Return the loss of each recording, that of MS-TCN.

    The arguments are those of :func:`mlmethods_jax.motion.mstcn.mstcn_loss`.
    """
    logits = asformer_logits(config, params, batch["x"], batch.get("mask"), key)
    return stage_losses(logits, batch, config.smoothing_weight, class_weights)
