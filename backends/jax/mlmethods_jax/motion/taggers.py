"""Recurrent layers at the full rate, and a classifier of frames.

``bigru_logits(config, params, x, mask)`` gives [1, B, T, C] (compiled),
``bigru_loss(config, params, batch, key, class_weights=None)`` one loss a window for
``batch`` with "x" [B, T, D], "mask" [B, T] and "labels" [B, T] (-1 for none).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import NDArray
from mlmethods.motion.contract import BiGRUConfig
from mlmethods_jax.layers.dropout import Dropout
from mlmethods_jax.layers.gru import GRU
from mlmethods_jax.layers.tcn import Pointwise, masked
from mlmethods_jax.motion._state import init, merge
from mlmethods_jax.motion.losses_frame import cross_entropy, valid_frames

__all__ = ["BiGRUModule", "bigru_logits", "bigru_loss", "init_bigru", "make_bigru"]


class BiGRUModule(nnx.Module):
    """Bidirectional recurrent layers and a classifier of every frame.

    Parameters
    ----------
    n_features : int
        Channels of a frame.
    n_classes : int
        Classes C.
    hidden : int
        Units of a direction.
    layers : int
        Recurrent layers.
    dropout : float
        Rate at the outputs of every layer.
    dtype : dtype, optional
        Of the factors of products, such as bfloat16; outputs are float32.
    rngs : nnx.Rngs
        Source of the parameters and of dropout.

    Raises
    ------
    InvalidInputError
        If a size is below 1; from the call, if frames have other channels.

    References
    ----------
    Graves, Schmidhuber (2005), Framewise phoneme classification with bidirectional
    LSTM and other neural network architectures, Neural Networks 18(5-6), 602-610.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from mlmethods_jax.motion import BiGRUModule
    >>> network = BiGRUModule(6, 5, hidden=4, layers=1, rngs=nnx.Rngs(0))
    >>> network(jnp.ones((2, 7, 6))).shape
    (2, 7, 5)
    """

    def __init__(
        self,
        n_features: int,
        n_classes: int,
        *,
        hidden: int = 256,
        layers: int = 2,
        dropout: float = 0.1,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ) -> None:
        if layers < 1:
            raise InvalidInputError(f"layers must be at least 1, got {layers}")
        sizes = [n_features, *[2 * hidden] * (layers - 1)]
        self.layers = nnx.List(
            GRU(size, hidden, dtype=dtype, rngs=rngs) for size in sizes
        )
        self.dropout = Dropout(dropout, rngs=rngs)
        self.readout = Pointwise(2 * hidden, n_classes, rngs=rngs)

    def __call__(
        self, x: Float[Array, "b t d"], mask: Bool[Array, "b t"] | None = None
    ) -> Array:
        """Return the logits [b, t, C]."""
        x = masked(x, mask)
        for layer in self.layers:
            x = self.dropout(layer(x, mask))
        return self.readout(x)


def make_bigru(config: BiGRUConfig, rngs: nnx.Rngs) -> BiGRUModule:
    """Return the network of a configuration."""
    return BiGRUModule(
        config.n_features,
        config.n_classes,
        hidden=config.hidden,
        layers=config.layers,
        dropout=config.dropout,
        rngs=rngs,
    )


def init_bigru(config: BiGRUConfig, seed: int) -> dict[str, NDArray]:
    """Return initial parameters."""
    return init(make_bigru, config, seed)


@functools.partial(jax.jit, static_argnames="config")
def bigru_logits(
    config: BiGRUConfig, params: Mapping[str, Any], x: Any, mask: Any = None
) -> Float[Array, "1 b t c"]:
    """Return the logits of frames [b, t, d], as the one stage of the network."""
    return merge(make_bigru, config, params)(x, mask)[None]


def bigru_loss(
    config: BiGRUConfig,
    params: Mapping[str, Any],
    batch: Mapping[str, Array],
    key: Any,
    class_weights: Any = None,
) -> Float[Array, " b"]:
    """Return the mean cross-entropy of the labeled frames of each window.

    With `key` None nothing is dropped.
    """
    mask = valid_frames(batch)
    logits = merge(make_bigru, config, params, key)(batch["x"], mask)
    labels = jnp.where(mask, batch["labels"], -1)
    return cross_entropy(logits, labels, class_weights)
