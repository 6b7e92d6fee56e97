"""Dropout in the form that compiles fast."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

__all__ = ["Dropout"]


class Dropout(nnx.Dropout):
    """Dropout whose mask is one flat draw, and which begins in evaluation mode.

    Equal to ``nnx.Dropout``, but for the draws and the mode at the start:
    ``module.train()`` turns it on.

    Parameters
    ----------
    rate : float
        Probability that an entry is set to 0; the others are scaled by its complement.
    channels : bool
        Whether whole channels (the last axis) of each example (the first axis) are
        dropped, at all steps between.
    rngs : nnx.Rngs
        Source of the masks.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from mlmethods_jax.layers.dropout import Dropout
    >>> layer = Dropout(0.5, rngs=nnx.Rngs(0))
    >>> layer(jnp.ones((1, 3))).tolist()
    [[1.0, 1.0, 1.0]]
    >>> layer.train()
    >>> sorted(set(layer(jnp.ones((1, 64)))[0].tolist()))
    [0.0, 2.0]
    """

    def __init__(self, rate: float, *, channels: bool = False, rngs: nnx.Rngs) -> None:
        super().__init__(rate, deterministic=True, rngs=rngs)
        self.channels = channels

    def __call__(self, inputs: Array, **kwargs: Any) -> Array:
        """Return the inputs [b, ..., c], thinned out in training mode."""
        if self.deterministic or self.rate == 0.0:
            return inputs
        shape = inputs.shape
        if self.channels:
            shape = (shape[0], *(1,) * (len(shape) - 2), shape[-1])
        # draws of several axes compile several times slower on a CPU
        size = 1
        for n in shape:
            size *= n
        bits = jax.random.bits(self.rngs(), (size,), "uint16").reshape(shape)
        kept = bits >= jnp.uint16(round(self.rate * 2**16))
        scale = jnp.asarray(1.0 / (1.0 - self.rate), inputs.dtype)
        return jnp.where(kept, inputs * scale, jnp.zeros((), inputs.dtype))
