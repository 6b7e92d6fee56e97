"""Convolutional networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from mlmethods.errors import InvalidInputError

__all__ = ["LeNet"]

_SMALLEST = 12


def _mean_pool(x: Array) -> Array:
    """Average 2 x 2 windows; a last odd row or column is left out."""
    height, width = (size // 2 for size in x.shape[-3:-1])
    x = x[..., : 2 * height, : 2 * width, :]
    windows = x.reshape(*x.shape[:-3], height, 2, width, 2, x.shape[-1])
    return jnp.mean(windows, axis=(-4, -2))


class LeNet(nnx.Module):
    """The convolutional network LeNet-5 with rectifiers and full connections.

    A 5 x 5 convolution to 6 channels that keeps the size, a 5 x 5 convolution to 16
    channels without padding, 2 x 2 average pooling after each, and dense layers of 120
    and 84 units. Images of 28 x 28 x 1 and ten classes give 61,706 parameters.

    Parameters
    ----------
    shape : tuple of int
        Height, width and channels of an image; height and width at least 12.
    n_classes : int
        Outputs.
    activation : callable
        Applied after each layer but the last, elementwise.
    param_dtype : dtype
        Of the parameters.
    rngs : nnx.Rngs
        Source of the parameters.

    Raises
    ------
    InvalidInputError
        If `shape` is not three positive integers, an image is smaller than 12 x 12, or
        `n_classes` is below 1; from the call, if images have another shape.

    Notes
    -----
    Pooling is by the mean, as in the original, without its trained scale and bias:
    smooth, and cheap to differentiate for each example.

    References
    ----------
    LeCun, Bottou, Bengio, Haffner (1998), Gradient-based learning applied to document
    recognition, Proceedings of the IEEE 86(11), 2278-2324.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from mlmethods_jax.layers.conv import LeNet
    >>> network = LeNet((28, 28, 1), 10, rngs=nnx.Rngs(0))
    >>> network(jnp.zeros((3, 28, 28, 1))).shape
    (3, 10)
    """

    def __init__(
        self,
        shape: Sequence[int] = (28, 28, 1),
        n_classes: int = 10,
        *,
        activation: Callable[[Array], Array] = jax.nn.relu,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        shape = tuple(shape)
        if len(shape) != 3 or min(shape[:2]) < _SMALLEST or shape[2] < 1:
            raise InvalidInputError(
                f"shape must be height and width of at least {_SMALLEST} and channels, "
                f"got {shape}"
            )
        if n_classes < 1:
            raise InvalidInputError(f"n_classes must be at least 1, got {n_classes}")
        height, width = ((size // 2 - 4) // 2 for size in shape[:2])
        self.shape = shape
        self.activation = activation
        self.conv1 = nnx.Conv(
            shape[2], 6, (5, 5), padding="SAME", param_dtype=param_dtype, rngs=rngs
        )
        self.conv2 = nnx.Conv(
            6, 16, (5, 5), padding="VALID", param_dtype=param_dtype, rngs=rngs
        )
        self.dense1 = nnx.Linear(
            16 * height * width, 120, param_dtype=param_dtype, rngs=rngs
        )
        self.dense2 = nnx.Linear(120, 84, param_dtype=param_dtype, rngs=rngs)
        self.readout = nnx.Linear(84, n_classes, param_dtype=param_dtype, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        """Return the outputs [b, n_classes] for images [b, height, width, channels]."""
        if x.shape[1:] != self.shape:
            raise InvalidInputError(
                f"images must have shape (b, {', '.join(map(str, self.shape))}), got "
                f"{x.shape}"
            )
        x = _mean_pool(self.activation(self.conv1(x)))
        x = _mean_pool(self.activation(self.conv2(x)))
        x = self.activation(self.dense1(x.reshape(len(x), -1)))
        return self.readout(self.activation(self.dense2(x)))
