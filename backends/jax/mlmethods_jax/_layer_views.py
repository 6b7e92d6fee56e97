"""Networks cut at the input of a layer, and the weights of layers as matrices."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
from flax import linen, nnx
from jaxtyping import Array, Float

from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import PyTree
from mlmethods_jax._networks import NNX_LAYERS, LinenModel, NnxModel

__all__ = ["LayerView", "intermediate", "layer_kernel", "layer_names"]


class LayerView(NamedTuple):
    """A network cut at the input of one of its layers.

    Attributes
    ----------
    input : callable
        ``input(x)`` is what the layer receives when the network sees the batch `x`.
    output : callable
        ``output(h, x)`` is what the network returns for `x` when the layer receives
        `h` instead; ``output(input(x), x)`` is the network itself.
    """

    input: Callable[[Any], Any]
    output: Callable[[Any, Any], Any]


def _require_layers(model: Any) -> NnxModel | LinenModel:
    if not isinstance(model, NnxModel | LinenModel):
        raise InvalidInputError(
            "model must come from from_nnx or from_linen to have layers with names, "
            f"got {type(model).__name__}"
        )
    return model


def _run_to_layer(
    model: NnxModel | LinenModel, params: PyTree, layer: str, x: Any, replaced: Any
) -> tuple[Any, Any]:
    """Run the network; return the layer's input and the output of the network."""
    names: list[str] = []
    inputs: list[Any] = []

    def tap(name: str, rest: Callable[[Any], Any], h: Any) -> Any:
        names.append(name)
        if name != layer:
            return rest(h)
        inputs.append(h)
        return rest(h if replaced is None else replaced)

    y, _state = model.run(params, model.state, x, None, False, tap)
    if len(inputs) != 1:
        called = ", ".join(repr(name) for name in dict.fromkeys(names)) or "none"
        raise InvalidInputError(
            f"layer must name a dense or convolution layer that is called once, got "
            f"{layer!r}, called {len(inputs)} times; the layers are {called}"
        )
    return inputs[0], y


def intermediate(model: Any, params: PyTree, layer: str) -> LayerView:
    """Return a network, in evaluation mode, cut at the input of a layer.

    Both parts are pure, so that the Jacobian of the output with respect to the
    layer's input is ``jax.jacrev(view.output)(view.input(x), x)``.

    Parameters
    ----------
    model : NnxModel or LinenModel
        The network.
    params : pytree
        Its parameters.
    layer : str
        Dotted path of a dense or convolution layer (:func:`layer_names`) that the
        network calls once.

    Raises
    ------
    InvalidInputError
        If the model has no named layers; from the parts, when they are called, if the
        network does not call `layer` exactly once.

    Examples
    --------
    >>> import functools, jax, jax.numpy as jnp
    >>> from flax import linen
    >>> from mlmethods_jax.adapters import from_linen, intermediate
    >>> model = from_linen(linen.Sequential([linen.Dense(4), jnp.tanh, linen.Dense(1)]))
    >>> x = jnp.ones((1, 3))
    >>> params = model.init(jax.random.key(0), x)
    >>> view = intermediate(model, params, "layers_2")
    >>> jax.jacrev(view.output)(view.input(x), x).shape
    (1, 1, 1, 4)
    """
    network = _require_layers(model)

    def layer_input(x: Any) -> Any:
        return _run_to_layer(network, params, layer, x, None)[0]

    def output(h: Any, x: Any) -> Any:
        return _run_to_layer(network, params, layer, x, h)[1]

    return LayerView(layer_input, output)


def layer_names(model: Any, sample: Array) -> list[str]:
    """Return the dotted paths of dense and convolution layers, in call order.

    Nothing is computed: the network is traced for inputs shaped like `sample`.

    Raises
    ------
    InvalidInputError
        If the model has no named layers.
    """
    network = _require_layers(model)
    names: dict[str, None] = {}

    def tap(name: str, rest: Callable[[Any], Any], h: Any) -> Any:
        names[name] = None
        return rest(h)

    def trace(sample: Any) -> Any:
        params = network.init(jax.random.key(0), sample)
        names.clear()
        return network.run(params, network.state, sample, None, False, tap)[0]

    jax.eval_shape(trace, sample)
    return list(names)


def _linen_layer(model: LinenModel, params: PyTree, layer: str, sample: Any) -> Any:
    """Return the linen layer object at a path, by tracing the network."""
    found: list[Any] = []

    def note(
        rest: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        context: linen.module.InterceptorContext,
    ) -> Any:
        if ".".join(context.module.path) == layer:
            found.append(context.module.clone(parent=None))
        return rest(*args, **kwargs)

    with linen.intercept_methods(note):
        jax.eval_shape(model.apply, params, sample)
    return found[0] if found else None


def layer_kernel(
    model: Any, params: PyTree, layer: str, *, sample: Array | None = None
) -> Float[Array, "i o"]:
    """Return the weights of a layer as a matrix from inputs to outputs.

    Parameters
    ----------
    model : NnxModel or LinenModel
        The network.
    params : pytree
        Its parameters.
    layer : str
        Dotted path of the layer.
    sample : array, optional
        A batch of inputs, of which only shape and dtype are used. Needed for a linen
        layer whose kernel has more than two axes: its parameters do not say whether it
        is a convolution.

    Returns
    -------
    array [inputs, outputs]
        The inputs of a convolution are its flattened patch, (height, width, channel);
        those of a layer that contracts several axes are these axes, flattened.

    Raises
    ------
    InvalidInputError
        If there is no such layer, or its kernel is no single matrix (grouped
        convolution, batched axes).
    """
    network = _require_layers(model)
    found: Any = None
    if isinstance(network, NnxModel):
        module = network.merge(params, network.state, False)
        paths = {".".join(map(str, p)): m for p, m in nnx.iter_modules(module)}
        found = paths.get(layer)
        kernel = found.kernel[...] if isinstance(found, NNX_LAYERS) else None
    else:
        kernel = params
        for name in filter(None, (*layer.split("."), "kernel")):
            kernel = kernel.get(name) if isinstance(kernel, Mapping) else None
        if kernel is not None and kernel.ndim > 2:
            if sample is None:
                raise InvalidInputError(
                    f"sample must be given for layer {layer!r}, whose kernel of shape "
                    f"{kernel.shape} may be that of a convolution or of several axes"
                )
            found = _linen_layer(network, params, layer, sample)
    if kernel is None or (kernel.ndim > 2 and found is None):
        raise InvalidInputError(
            f"layer must name a dense or convolution layer, got {layer!r}"
        )
    return kernel.reshape(_num_inputs(found, kernel.shape, layer), -1)


def _num_inputs(layer: Any, shape: tuple[int, ...], name: str) -> int:
    if isinstance(layer, nnx.LinearGeneral | linen.DenseGeneral):
        batched = (
            layer.batch_axis
            if isinstance(layer, nnx.LinearGeneral)
            else layer.batch_dims
        )
        axes = 1 if isinstance(layer.axis, int) else len(layer.axis)
        problem = "batched axes" if batched else None
    else:
        axes = len(shape) - 1
        grouped = getattr(layer, "feature_group_count", 1) != 1
        problem = "several groups" if grouped else None
    if problem:
        raise InvalidInputError(
            f"layer must have one weight matrix, but {name!r} has {problem}"
        )
    return math.prod(shape[:axes])
