"""Networks and optimizers by name, for callers that cannot import flax or optax."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import optax
from flax import nnx

from mlmethods.errors import InvalidInputError
from mlmethods_jax.layers.conv import LeNet
from mlmethods_jax.layers.mlp import MLP

__all__ = ["network", "optimizer"]

_OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "adam": optax.adam,
    "momentum": functools.partial(optax.sgd, momentum=0.9),
    "sgd": optax.sgd,
}
_ACTIVATIONS = {"relu": nnx.relu, "sigmoid": nnx.sigmoid, "tanh": nnx.tanh}


class _FlatMLP(nnx.Module):
    """A perceptron on images: the pixels are one row."""

    def __init__(self, perceptron: MLP) -> None:
        self.perceptron = perceptron

    def __call__(self, x: Any) -> Any:
        return self.perceptron(x.reshape(len(x), -1))


def network(
    kind: str,
    shape: tuple[int, ...],
    num_classes: int,
    *,
    hidden: Sequence[int] = (32,),
    activation: str = "relu",
) -> Callable[..., nnx.Module]:
    """Return what builds a network from ``rngs``.

    Parameters
    ----------
    kind : {"mlp", "lenet"}
        A perceptron on the pixels, or LeNet.
    shape : tuple of int
        Of one input: (height, width, channels), or (features,) for the perceptron.
    num_classes : int
        Outputs.
    hidden : sequence of int
        Units of the perceptron's hidden layers.
    activation : {"relu", "sigmoid", "tanh"}
        Of the perceptron.

    Raises
    ------
    InvalidInputError
        If a name is unknown.
    """
    if kind == "lenet":
        return functools.partial(_lenet, shape, num_classes)
    if kind != "mlp":
        raise InvalidInputError(f"kind must be 'mlp' or 'lenet', got {kind!r}")
    if activation not in _ACTIVATIONS:
        raise InvalidInputError(
            f"activation must be one of {', '.join(_ACTIVATIONS)}, got {activation!r}"
        )
    return functools.partial(
        _mlp, shape, num_classes, tuple(hidden), _ACTIVATIONS[activation]
    )


def _mlp(
    shape: tuple[int, ...],
    num_classes: int,
    hidden: tuple[int, ...],
    activation: Callable[[Any], Any],
    *,
    rngs: nnx.Rngs,
) -> nnx.Module:
    features = functools.reduce(int.__mul__, shape, 1)
    perceptron = MLP(features, hidden, num_classes, activation=activation, rngs=rngs)
    return _FlatMLP(perceptron)


def _lenet(shape: tuple[int, ...], num_classes: int, *, rngs: nnx.Rngs) -> nnx.Module:
    return LeNet(shape, num_classes, rngs=rngs)


@functools.lru_cache(maxsize=64)
def optimizer(name: str, learning_rate: float) -> optax.GradientTransformation:
    """Return an optax optimizer; the same object for the same arguments.

    Parameters
    ----------
    name : {"sgd", "momentum", "adam"}
        ``"momentum"`` is SGD with momentum 0.9.
    learning_rate : float
        Constant.

    Raises
    ------
    InvalidInputError
        If the name is unknown or the rate is not positive.
    """
    if name not in _OPTIMIZERS:
        raise InvalidInputError(
            f"name must be one of {', '.join(_OPTIMIZERS)}, got {name!r}"
        )
    if not learning_rate > 0:
        raise InvalidInputError(f"learning_rate must be > 0, got {learning_rate!r}")
    return _OPTIMIZERS[name](learning_rate)
