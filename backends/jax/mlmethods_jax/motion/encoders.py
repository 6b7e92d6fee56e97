"""Encoders that lower the rate of frames: a recurrent pyramid, and one for video.

Frames are a multiple of ``2**layers``; ``pad_frames`` adds what is missing.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from mlmethods.errors import InvalidInputError
from mlmethods_jax.layers.dropout import Dropout
from mlmethods_jax.layers.gru import GRU
from mlmethods_jax.layers.tcn import DilatedStage, TemporalConv, masked

__all__ = ["PyramidBiGRU", "StridedTCN", "pad_frames"]

# of each stage of the encoder for video
_STAGE_LAYERS, _STAGE_MAPS = 10, 64


def pad_frames(
    x: Float[Array, "b t d"], mask: Bool[Array, "b t"] | None, multiple: int
) -> tuple[Array, Array]:
    """Return frames and mask with the fewest frames of zeros behind that fit.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from mlmethods_jax.motion.encoders import pad_frames
    >>> x, mask = pad_frames(jnp.ones((1, 3, 2)), None, 4)
    >>> x.shape, mask.tolist()
    ((1, 4, 2), [[True, True, True, False]])
    """
    if mask is None:
        mask = jnp.ones(x.shape[:2], bool)
    extra = -x.shape[1] % multiple
    padded = jnp.pad(x, ((0, 0), (0, extra), (0, 0)))
    return padded, jnp.pad(mask, ((0, 0), (0, extra)))


def _pairs(x: Array, mask: Array) -> tuple[Array, Array]:
    """Concatenate the frames of pairs; a pair counts if one of them does."""
    batch, steps, size = x.shape
    both = x.reshape(batch, steps // 2, 2 * size)
    return both, jnp.any(mask.reshape(batch, steps // 2, 2), axis=2)


def _check_frames(x: Array, in_features: int, layers: int) -> None:
    if x.ndim != 3 or x.shape[-1] != in_features:
        raise InvalidInputError(
            f"x must have shape (b, t, {in_features}), got {x.shape}"
        )
    if x.shape[1] % 2**layers or x.shape[1] == 0:
        raise InvalidInputError(
            f"x must have a multiple of 2**{layers} = {2**layers} frames for {layers} "
            f"layers that halve the rate, got {x.shape[1]}; pad it with frames that "
            "mask leaves out"
        )


class PyramidBiGRU(nnx.Module):
    """Bidirectional recurrent layers, each of which sees pairs of the steps before.

    Parameters
    ----------
    in_features : int
        Channels of a frame.
    hidden : int
        Units H of a direction.
    layers : int
        Layers; each halves the rate.
    dropout : float
        Rate at the outputs of every layer.
    dtype : dtype, optional
        Of the factors of products, such as bfloat16; outputs are float32.
    rngs : nnx.Rngs
        Source of the parameters and of dropout.

    Raises
    ------
    InvalidInputError
        From the call, if the frames are not a multiple of ``2**layers`` or have other
        channels.

    Notes
    -----
    A pair of steps counts if one of them does. What frames outside of the mask hold
    does not matter.

    References
    ----------
    Chan, Jaitly, Le, Vinyals (2016), Listen, attend and spell, ICASSP, section 3.1;
    arXiv:1508.01211.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from mlmethods_jax.motion import PyramidBiGRU
    >>> encoder = PyramidBiGRU(3, 4, layers=1, rngs=nnx.Rngs(0))
    >>> y, mask = encoder(jnp.ones((2, 4, 3)))
    >>> y.shape, mask.shape
    ((2, 2, 8), (2, 2))
    """

    def __init__(
        self,
        in_features: int,
        hidden: int,
        *,
        layers: int = 3,
        dropout: float = 0.0,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ) -> None:
        if layers < 1:
            raise InvalidInputError(f"layers must be at least 1, got {layers}")
        self.in_features = in_features
        sizes = [2 * in_features, *[4 * hidden] * (layers - 1)]
        self.layers = nnx.List(
            GRU(size, hidden, dtype=dtype, rngs=rngs) for size in sizes
        )
        self.dropout = Dropout(dropout, rngs=rngs)

    def __call__(self, x: Array, mask: Array | None = None) -> tuple[Array, Array]:
        """Return outputs [b, t / 2**layers, 2 H], 0 where the mask is False, and it."""
        _check_frames(x, self.in_features, len(self.layers))
        x, mask = pad_frames(x, mask, 1)
        x = masked(x, mask)
        for layer in self.layers:
            x, mask = _pairs(x, mask)
            x = self.dropout(layer(x, mask))
        return x, mask


class StridedTCN(nnx.Module):
    """Stages of dilated convolutions, each of which halves the rate.

    A stage is a layer of frames to 64 maps, ten dilated residual layers, a convolution
    of width 3 and stride 2, and a rectifier. Made for features of video.

    Parameters
    ----------
    in_features, hidden, layers, dropout, rngs
        As of :class:`PyramidBiGRU`; outputs have ``2 * hidden`` channels.

    Raises
    ------
    InvalidInputError
        As :class:`PyramidBiGRU`.
    """

    def __init__(
        self,
        in_features: int,
        hidden: int,
        *,
        layers: int = 4,
        dropout: float = 0.0,
        rngs: nnx.Rngs,
    ) -> None:
        if layers < 1:
            raise InvalidInputError(f"layers must be at least 1, got {layers}")
        self.in_features = in_features
        sizes = [in_features, *[2 * hidden] * (layers - 1)]
        self.layers = nnx.List(
            DilatedStage(
                size,
                None,
                layers=_STAGE_LAYERS,
                maps=_STAGE_MAPS,
                dropout=dropout,
                rngs=rngs,
            )
            for size in sizes
        )
        self.strided = nnx.List(
            TemporalConv(_STAGE_MAPS, 2 * hidden, rngs=rngs) for _ in sizes
        )

    def __call__(self, x: Array, mask: Array | None = None) -> tuple[Array, Array]:
        """Return outputs [b, t / 2**layers, 2 H], 0 where the mask is False, and it."""
        _check_frames(x, self.in_features, len(self.layers))
        x, mask = pad_frames(x, mask, 1)
        x = masked(x, mask)
        for stage, conv in zip(self.layers, self.strided, strict=True):
            x, mask = _halved(conv, stage(x, mask), mask)
        return x, mask


def _halved(conv: TemporalConv, x: Array, mask: Array) -> tuple[Array, Array]:
    """Return every second output of a convolution of width 3, and no others."""
    x, mask = _pairs(x, mask)
    size = x.shape[-1] // 2
    # of output t, which sees the frames 2t - 1, 2t and 2t + 1
    earlier = jnp.pad(x[:, :-1, size:], ((0, 0), (1, 0), (0, 0)))
    kernel = conv.kernel[...].reshape(3 * size, -1)
    bias: Any = conv.bias
    y = jnp.concatenate((earlier, x), -1) @ kernel + bias[...].reshape(1, 1, -1)
    return masked(jax.nn.relu(y), mask), mask
