"""The multilayer perceptron, in the standard and in the NTK parameterization."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from mlmethods.errors import InvalidInputError

__all__ = ["MLP", "NTKLinear"]

_PARAMETERIZATIONS = ("standard", "ntk")


class NTKLinear(nnx.Linear):
    """A dense layer whose scale is in the forward pass, not in the parameters.

    ``y = w_std / sqrt(in_features) x @ kernel + b_std offset``, all parameters drawn
    from N(0, 1).

    Parameters
    ----------
    in_features, out_features : int
        Inputs and outputs.
    w_std, b_std : float
        Standard deviations of the effective weights (times ``sqrt(in_features)``) and
        biases; with ``b_std=0`` the layer has no biases.
    param_dtype : dtype
        Of the parameters.
    rngs : nnx.Rngs
        Source of the parameters.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from mlmethods_jax.layers.mlp import NTKLinear
    >>> NTKLinear(4, 2, w_std=1.0, b_std=0.1, rngs=nnx.Rngs(0))(jnp.ones((3, 4))).shape
    (3, 2)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        w_std: float,
        b_std: float,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        normal = nnx.initializers.normal(1.0)
        super().__init__(
            in_features,
            out_features,
            use_bias=False,
            kernel_init=normal,
            param_dtype=param_dtype,
            rngs=rngs,
        )
        self.input_scale = w_std / math.sqrt(in_features)
        self.b_std = b_std
        if b_std > 0:
            self.offset = nnx.Param(normal(rngs.params(), (out_features,), param_dtype))

    def __call__(self, inputs: Array, *args: Any, **kwargs: Any) -> Array:
        """Return the outputs [..., out_features] for inputs [..., in_features]."""
        y = super().__call__(inputs * self.input_scale, *args, **kwargs)
        if self.b_std > 0:
            offset = self.offset[...].astype(y.dtype)
            y = y + self.b_std * offset.reshape((1,) * (y.ndim - 1) + (-1,))
        return y


class MLP(nnx.Module):
    """Dense layers with an activation between them.

    At its start it is the same random function in both parameterizations (for equal
    standard deviations): weights of variance ``w_std**2 / inputs`` and biases of
    variance ``b_std**2``. They differ in training: in the NTK parameterization the
    scale multiplies standard normal parameters, so that the gradient flow has a limit
    of infinite width, the neural tangent kernel.

    Parameters
    ----------
    in_features : int
        Inputs.
    hidden : sequence of int
        Units of each hidden layer; empty for a linear map.
    out_features : int
        Outputs.
    parameterization : {"standard", "ntk"}
        ``"standard"`` draws weights of small variance, and every layer has biases,
        which start at 0 where their standard deviation is 0. ``"ntk"`` keeps the scale
        in the forward pass and has biases only where that is positive.
    activation : callable
        Applied between the layers, elementwise.
    w_std, b_std : float
        Of the hidden layers; ``sqrt(2)`` and 0 are He's initialization for rectifiers.
    readout_w_std, readout_b_std : float
        Of the last layer.
    param_dtype : dtype
        Of the parameters.
    rngs : nnx.Rngs
        Source of the parameters.

    Raises
    ------
    InvalidInputError
        If a size is below 1, a standard deviation is negative or not finite, or the
        parameterization is unknown.

    References
    ----------
    Jacot, Gabriel, Hongler (2018), Neural tangent kernel, NeurIPS; arXiv:1806.07572.

    He, Zhang, Ren, Sun (2015), Delving deep into rectifiers, ICCV; arXiv:1502.01852.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from mlmethods_jax.layers.mlp import MLP
    >>> network = MLP(4, (16, 16), 2, parameterization="ntk", rngs=nnx.Rngs(0))
    >>> network(jnp.ones((3, 4))).shape
    (3, 2)
    """

    def __init__(
        self,
        in_features: int,
        hidden: Sequence[int],
        out_features: int,
        *,
        parameterization: str = "standard",
        activation: Callable[[Array], Array] = jax.nn.relu,
        w_std: float = math.sqrt(2.0),
        b_std: float = 0.0,
        readout_w_std: float = 1.0,
        readout_b_std: float = 0.0,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        sizes = (in_features, *hidden, out_features)
        if min(sizes) < 1:
            raise InvalidInputError(
                f"in_features, hidden and out_features must be at least 1, got "
                f"{in_features}, {tuple(hidden)} and {out_features}"
            )
        if parameterization not in _PARAMETERIZATIONS:
            raise InvalidInputError(
                f"parameterization must be one of {', '.join(_PARAMETERIZATIONS)}, got "
                f"{parameterization!r}"
            )
        scales = {
            "w_std": w_std,
            "b_std": b_std,
            "readout_w_std": readout_w_std,
            "readout_b_std": readout_b_std,
        }
        for name, value in scales.items():
            if not (math.isfinite(value) and value >= 0):
                raise InvalidInputError(
                    f"{name} must be a finite number >= 0, got {value!r}"
                )
        dense = NTKLinear if parameterization == "ntk" else _standard_linear
        deviations = [(w_std, b_std)] * len(hidden) + [(readout_w_std, readout_b_std)]
        self.activation = activation
        self.layers = nnx.List(
            dense(a, b, w_std=w, b_std=s, param_dtype=param_dtype, rngs=rngs)
            for (a, b), (w, s) in zip(
                itertools.pairwise(sizes), deviations, strict=True
            )
        )

    def __call__(self, x: Array) -> Array:
        """Return the outputs [..., out_features] for inputs [..., in_features]."""
        *hidden, last = self.layers
        for layer in hidden:
            x = self.activation(layer(x))
        return last(x)


def _standard_linear(
    in_features: int,
    out_features: int,
    *,
    w_std: float,
    b_std: float,
    param_dtype: Any,
    rngs: nnx.Rngs,
) -> nnx.Linear:
    return nnx.Linear(
        in_features,
        out_features,
        kernel_init=nnx.initializers.normal(w_std / math.sqrt(in_features)),
        bias_init=nnx.initializers.normal(b_std),
        param_dtype=param_dtype,
        rngs=rngs,
    )
