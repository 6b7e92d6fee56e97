"""Convolutional networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from mlmethods.errors import InvalidInputError

__all__ = ["LeNet", "PatchConv"]

_SMALLEST = 12


def _mean_pool(x: Array) -> Array:
    """Average 2 x 2 windows; a last odd row or column is left out."""
    height, width = (size // 2 for size in x.shape[-3:-1])
    x = x[..., : 2 * height, : 2 * width, :]
    windows = x.reshape(*x.shape[:-3], height, 2, width, 2, x.shape[-1])
    return jnp.mean(windows, axis=(-4, -2))


class PatchConv(nnx.Conv):
    """A convolution as one matrix product of patches, with the parameters of nnx.Conv.

    Equal to ``nnx.Conv`` with stride 1. XLA on a CPU computes convolutions inside
    compiled loops, as training has them, several times slower than outside; matrix
    products are as fast in both, and for gradients of single examples they are faster
    than convolutions. Patches take the memory of the input times the entries of the
    kernel's window.

    Parameters
    ----------
    in_features, out_features : int
        Channels.
    kernel_size : tuple of two int
        Height and width of the window.
    padding : {"SAME", "VALID"}
        ``"SAME"`` keeps the size, for odd windows.
    param_dtype : dtype
        Of the parameters.
    rngs : nnx.Rngs
        Source of the parameters.

    Raises
    ------
    InvalidInputError
        If the padding is another, or keeps the size under an even window.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from mlmethods_jax.layers.conv import PatchConv
    >>> layer = PatchConv(3, 8, (5, 5), padding="SAME", rngs=nnx.Rngs(0))
    >>> layer(jnp.zeros((2, 28, 28, 3))).shape
    (2, 28, 28, 8)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: tuple[int, int],
        *,
        padding: str = "SAME",
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        if padding not in ("SAME", "VALID"):
            raise InvalidInputError(
                f"padding must be 'SAME' or 'VALID', got {padding!r}"
            )
        if padding == "SAME" and any(size % 2 == 0 for size in kernel_size):
            raise InvalidInputError(
                f"kernel_size must be odd for padding 'SAME', got {kernel_size}"
            )
        super().__init__(
            in_features,
            out_features,
            kernel_size,
            padding=padding,
            param_dtype=param_dtype,
            rngs=rngs,
        )

    def __call__(self, inputs: Array, *args: Any, **kwargs: Any) -> Array:
        """Return the outputs for images [..., height, width, in_features]."""
        rows, columns = self.kernel_size
        x = inputs
        if self.padding == "SAME":
            none = [(0, 0)] * (x.ndim - 3)
            x = jnp.pad(x, [*none, (rows // 2,) * 2, (columns // 2,) * 2, (0, 0)])
        height, width = x.shape[-3] - rows + 1, x.shape[-2] - columns + 1
        patches = jnp.concatenate(
            [
                x[..., i : i + height, j : j + width, :]
                for i in range(rows)
                for j in range(columns)
            ],
            axis=-1,
        )
        kernel = self.kernel[...].astype(x.dtype)
        y = patches @ kernel.reshape(-1, kernel.shape[-1])
        bias = self.bias[...].astype(x.dtype)  # type: ignore[index]
        return y + bias.reshape((1,) * (y.ndim - 1) + (-1,))


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
        self.conv1 = PatchConv(
            shape[2], 6, (5, 5), padding="SAME", param_dtype=param_dtype, rngs=rngs
        )
        self.conv2 = PatchConv(
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
