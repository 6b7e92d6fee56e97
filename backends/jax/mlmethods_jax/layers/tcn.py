"""Dilated convolutions over time, channels last, as matrix products.

``temporal_conv(x, kernel, dilation)``
    the convolution itself.
``TemporalConv``, ``Pointwise``
    its layer, and the layer of frames alone.
``LayerDropout``
    dropout of several layers that one draw serves.
``DilatedResidual``, ``DilatedStage``
    the residual layer and the stack of layers of temporal convolutional networks.
``masked(x, mask)``
    frames outside of a recording as zeros, which is what a convolution pads with.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Bool, Float

from mlmethods.errors import InvalidInputError

__all__ = [
    "DilatedResidual",
    "DilatedStage",
    "LayerDropout",
    "Pointwise",
    "TemporalConv",
    "masked",
    "temporal_conv",
]


def masked(x: Float[Array, "b t d"], mask: Bool[Array, "b t"] | None) -> Array:
    """Return `x` with zeros where `mask` is False, whatever was there."""
    if mask is None:
        return x
    return jnp.where(mask[:, :, None], x, jnp.zeros((), x.dtype))


def _views(x: Array, width: int, dilation: int) -> Array:
    """Return the frames that each output sees, side by side: [b, t, width d]."""
    if width == 1:
        return x
    length, reach = x.shape[1], dilation * (width // 2)
    padded = jnp.pad(x, ((0, 0), (reach, reach), (0, 0)))
    return jnp.concatenate(
        [padded[:, k * dilation : k * dilation + length] for k in range(width)], axis=-1
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _product(x: Array, kernel: Array, dilation: int) -> Array:
    width, _, out = kernel.shape
    return _views(x, width, dilation) @ kernel.reshape(-1, out)


def _forward(x: Array, kernel: Array, dilation: int) -> tuple[Array, Any]:
    return _product(x, kernel, dilation), (x, kernel)


def _backward(dilation: int, saved: Any, dy: Array) -> tuple[Array, Array]:
    """Return both gradients from one set of views of `dy`.

    Input and output swap roles, and what was before is after: a fifth faster than the
    transposed products, which add up arrays of the size of the views.
    """
    x, kernel = saved
    width, inputs, out = kernel.shape
    views = _views(dy, width, dilation)
    dx = views @ kernel[::-1].transpose(0, 2, 1).reshape(-1, inputs)
    dk = jnp.einsum("bti,btk->ik", x, views).reshape(inputs, width, out)
    return dx, dk[:, ::-1].transpose(1, 0, 2)


_product.defvjp(_forward, _backward)


def temporal_conv(
    x: Float[Array, "b t i"], kernel: Float[Array, "k i o"], dilation: int = 1
) -> Float[Array, "b t o"]:
    """Return the convolution over time, zero-padded to the same length.

    Output t is the sum over k of ``x[t + dilation (k - width // 2)] @ kernel[k]``: one
    product of the shifted inputs, side by side, with the kernel. On a CPU it is as fast
    as a matrix product of that size, in compiled loops too.

    Parameters
    ----------
    x : floating array [b, t, i]
        Frames.
    kernel : array of the same dtype [width, i, o]
        Weights; the width is odd.
    dilation : int
        Frames from one tap to the next.

    Returns
    -------
    array [b, t, o]

    Raises
    ------
    InvalidInputError
        If the width is even, the dilation below 1, or the channels do not fit.

    Notes
    -----
    It has its own rule for gradients, and none for forward mode.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from mlmethods_jax.layers.tcn import temporal_conv
    >>> x = jnp.arange(4.0).reshape(1, 4, 1)
    >>> temporal_conv(x, jnp.ones((3, 1, 1)), 2)[0, :, 0].tolist()
    [2.0, 4.0, 2.0, 4.0]
    """
    if kernel.ndim != 3 or kernel.shape[0] % 2 == 0:
        raise InvalidInputError(
            f"kernel must be of shape (width, inputs, outputs) with an odd width, got "
            f"{kernel.shape}"
        )
    if dilation < 1:
        raise InvalidInputError(f"dilation must be at least 1, got {dilation}")
    if x.ndim != 3 or x.shape[-1] != kernel.shape[1]:
        raise InvalidInputError(
            f"x must be of shape (batch, time, {kernel.shape[1]}), got {x.shape}"
        )
    return _product(x, kernel, dilation)


def _uniform(fan_in: int) -> Callable[..., Array]:
    """Return the initializer U(-1/sqrt(fan_in), 1/sqrt(fan_in)).

    Drawn along one axis, which compiles several times faster.
    """
    bound = 1.0 / math.sqrt(fan_in)

    def draw(key: Any, shape: Sequence[int], dtype: Any = jnp.float32) -> Array:
        flat = jax.random.uniform(key, (math.prod(shape),), dtype, -bound, bound)
        return flat.reshape(tuple(shape))

    return draw


def _add_bias(y: Array, bias: Any) -> Array:
    return y + bias[...].astype(y.dtype).reshape((1,) * (y.ndim - 1) + (-1,))


class Pointwise(nnx.Linear):
    """A dense layer of every frame, computed in the dtype of its input.

    Weights and biases start uniform within ``1 / sqrt(in_features)``.

    Parameters
    ----------
    in_features, out_features : int
        Channels.
    param_dtype : dtype
        Of the parameters.
    rngs : nnx.Rngs
        Source of the parameters.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from mlmethods_jax.layers.tcn import Pointwise
    >>> Pointwise(3, 5, rngs=nnx.Rngs(0))(jnp.ones((2, 7, 3))).shape
    (2, 7, 5)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        super().__init__(
            in_features,
            out_features,
            kernel_init=_uniform(in_features),
            bias_init=_uniform(in_features),
            param_dtype=param_dtype,
            rngs=rngs,
        )

    def __call__(self, inputs: Array, *args: Any, **kwargs: Any) -> Array:
        """Return the outputs [..., out_features] for inputs [..., in_features]."""
        return _add_bias(inputs @ self.kernel[...].astype(inputs.dtype), self.bias)


class TemporalConv(nnx.Conv):
    """A convolution over time by :func:`temporal_conv`, in the dtype of its input.

    Its parameters are those of nnx.Conv with zero padding that keeps the length.

    Parameters
    ----------
    in_features, out_features : int
        Channels.
    width : int
        Taps, an odd number.
    dilation : int
        Frames from one tap to the next.
    param_dtype : dtype
        Of the parameters.
    rngs : nnx.Rngs
        Source of the parameters.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from mlmethods_jax.layers.tcn import TemporalConv
    >>> layer = TemporalConv(3, 5, dilation=4, rngs=nnx.Rngs(0))
    >>> layer(jnp.ones((2, 7, 3))).shape
    (2, 7, 5)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        width: int = 3,
        dilation: int = 1,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        initial = _uniform(in_features * width)
        super().__init__(
            in_features,
            out_features,
            (width,),
            kernel_dilation=dilation,
            kernel_init=initial,
            bias_init=initial,
            param_dtype=param_dtype,
            rngs=rngs,
        )
        self.dilation = dilation

    def __call__(self, inputs: Array, *args: Any, **kwargs: Any) -> Array:
        """Return the outputs [b, t, out_features] for inputs [b, t, in_features]."""
        kernel = self.kernel[...].astype(inputs.dtype)
        return _add_bias(temporal_conv(inputs, kernel, self.dilation), self.bias)


class LayerDropout(nnx.Module):
    """Dropout of several layers of one shape, drawn at once.

    One draw of few random bits serves all layers: half of all units needs one bit a
    unit. Random numbers would else take as long as the convolutions, and a draw for
    each layer is compiled as often.

    Parameters
    ----------
    rate : float
        Probability that a unit is dropped, to a 65536th.
    rngs : nnx.Rngs
        Source of the draws.

    Examples
    --------
    >>> from flax import nnx
    >>> from mlmethods_jax.layers.tcn import LayerDropout
    >>> dropout = LayerDropout(0.5, rngs=nnx.Rngs(0))
    >>> dropout(2, (1, 3, 4))
    [None, None]
    >>> dropout.train()
    >>> sorted(set(dropout(1, (1, 3, 4))[0].ravel().tolist()))
    [0.0, 2.0]
    """

    def __init__(self, rate: float, *, rngs: nnx.Rngs) -> None:
        if not 0.0 <= rate < 1.0:
            raise InvalidInputError(f"dropout must be in [0, 1), got {rate!r}")
        self.rate = rate
        self.deterministic = True
        self.rngs = rngs["dropout"].fork()

    def __call__(
        self, layers: int, shape: tuple[int, ...], dtype: Any = jnp.float32
    ) -> list[Array | None]:
        """Return the factors of the units of each layer, or None in evaluation."""
        if self.deterministic or self.rate == 0.0 or layers == 0:
            return [None] * layers
        bits = next(n for n in (1, 2, 4, 16) if n == 16 or self.rate * 2**n % 1 == 0)
        dropped = round(self.rate * 2**bits)
        each, per_word = math.prod(shape), 32 // bits
        words = jax.random.bits(self.rngs(), (-(-layers * each // per_word),), "uint32")
        # else every layer would draw again what it reads
        words = lax.optimization_barrier(words)
        # the bits of a word are spread, so that neighbors read neighboring words
        shifts = bits * jnp.arange(per_word, dtype=jnp.uint32)[:, None]
        values = (words[None, :] >> shifts) & jnp.uint32(2**bits - 1)
        kept = values.reshape(-1)[: layers * each].reshape(layers, *shape) >= dropped
        scale = jnp.asarray(2**bits / (2**bits - dropped), dtype)
        return [jnp.where(k, scale, jnp.zeros((), dtype)) for k in kept]


class DilatedResidual(nnx.Module):
    """``x + dropout(pointwise(relu(conv(x))))``, zero outside of the recording.

    Parameters
    ----------
    maps : int
        Channels.
    dilation : int
        Of the convolution of width 3.
    param_dtype : dtype
        Of the parameters.
    rngs : nnx.Rngs
        Source of the parameters.
    """

    def __init__(
        self,
        maps: int,
        dilation: int,
        *,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        self.conv_dilated = TemporalConv(
            maps, maps, dilation=dilation, param_dtype=param_dtype, rngs=rngs
        )
        self.conv_1x1 = Pointwise(maps, maps, param_dtype=param_dtype, rngs=rngs)

    def __call__(
        self, x: Array, mask: Array | None = None, factors: Array | None = None
    ) -> Array:
        """Return [b, t, maps]; `factors` are those of :class:`LayerDropout`.

        `x` is zero where `mask` is False.
        """
        y = self.conv_1x1(jax.nn.relu(self.conv_dilated(x)))
        if factors is not None:
            y = y * factors
        # not the sum: XLA would compute the masked sums of all layers anew in each
        return x + masked(y, mask)


class DilatedStage(nnx.Module):
    """Residual layers of dilations 1, 2, 4 and so on, and a layer of frames around.

    Parameters
    ----------
    in_features, out_features : int
        Channels; without outputs the last layer is left out.
    layers, maps : int
        Residual layers and their channels.
    dropout : float
        Rate within the residual layers.
    param_dtype : dtype
        Of the parameters.
    rngs : nnx.Rngs
        Source of the parameters and of dropout.

    References
    ----------
    Abu Farha and Gall (2019), MS-TCN: multi-stage temporal convolutional network for
    action segmentation, CVPR; arXiv:1903.01945, section 3.1.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from mlmethods_jax.layers.tcn import DilatedStage
    >>> stage = DilatedStage(6, 3, layers=2, maps=8, rngs=nnx.Rngs(0))
    >>> stage(jnp.ones((1, 20, 6))).shape
    (1, 20, 3)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int | None,
        *,
        layers: int = 10,
        maps: int = 64,
        dropout: float = 0.5,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        self.conv_in = Pointwise(in_features, maps, param_dtype=param_dtype, rngs=rngs)
        self.layers = nnx.List(
            DilatedResidual(maps, 2**i, param_dtype=param_dtype, rngs=rngs)
            for i in range(layers)
        )
        self.dropout = LayerDropout(dropout, rngs=rngs)
        if out_features is not None:
            self.conv_out = Pointwise(
                maps, out_features, param_dtype=param_dtype, rngs=rngs
            )
        self.out_features = out_features

    def __call__(self, x: Array, mask: Array | None = None) -> Array:
        """Return [b, t, out_features], zero where `mask` [b, t] is False."""
        x = masked(self.conv_in(x), mask)
        factors = self.dropout(len(self.layers), x.shape, x.dtype)
        for layer, own in zip(self.layers, factors, strict=True):
            x = layer(x, mask, own)
        return x if self.out_features is None else masked(self.conv_out(x), mask)
