"""Whether each output of a network depends on its own example alone.

Private training bounds what one example changes through its own gradient. That bound
says nothing where another example's output depends on it too, as with batch
normalization.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx

from mlmethods.errors import CrossExampleLayerError, InvalidInputError
from mlmethods.interfaces import Key, NDArray, PyTree
from mlmethods_jax._networks import reseed
from mlmethods_jax.adapters import LinenModel, NnxModel, from_linen, from_nnx

__all__ = ["as_model", "check_no_cross_example"]

_WHOLE = "the model"

# name of a module, what it returned
Record = Callable[[str, PyTree], None]


def as_model(model: Any, sample: NDArray, key: Key) -> Any:
    """Return a network as ``init``/``apply`` functions.

    Parameters
    ----------
    model : object
        A flax.nnx module or what builds one from ``rngs``, a flax.linen module, or an
        object with ``init`` and ``apply``, which is returned as it is.
    sample : array of shape (n, ...)
        Inputs, of which shape and dtype count: what a linen module keeps besides its
        parameters is made for ones.
    key : key
        For the same.

    Raises
    ------
    InvalidInputError
        If it is none of these.
    """
    if isinstance(model, linen.Module):
        flags = from_linen(model).mode_flags(train=False)
        variables = model.init(key, np.ones_like(sample[:1]), **flags)
        return from_linen(model, {"params": {}, **variables})
    if isinstance(model, nnx.Module):
        return from_nnx(model)
    if callable(getattr(model, "init", None)) and callable(
        getattr(model, "apply", None)
    ):
        return model
    if callable(model):
        return from_nnx(model)
    raise InvalidInputError(
        "model must be a flax module, build one from rngs, or have init and apply, got "
        f"{model!r}"
    )


def check_no_cross_example(
    model: Any, params: PyTree, sample: NDArray, *, key: Key
) -> None:
    """Refuse a network in which an example's output depends on another example.

    Two probes of a batch of two, in training mode: the derivative of the first
    example's output with respect to the second example, which must be exactly zero,
    and the output itself, which must not change with the second example (a mean that
    differentiation does not see is found so). Normalization over the values of one
    example passes, and so does dropout, whose mask does not depend on the examples.

    Parameters
    ----------
    model : object
        As :func:`as_model` takes it.
    params : pytree
        Its parameters.
    sample : array of shape (n, ...)
        Inputs, of which shape and dtype count; integers such as tokens stay within
        their range.
    key : key
        For random layers and for the values of the probe.

    Raises
    ------
    CrossExampleLayerError
        Naming the first module, in the order in which they finish, whose output for
        one example depends on the other; ``"the model"`` where it is not within a
        module of flax.
    InvalidInputError
        If `sample` has no leading axis.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from flax import nnx
    >>> from mlmethods_jax.privacy import check_no_cross_example
    >>> from mlmethods_jax.adapters import from_nnx
    >>> model = from_nnx(nnx.BatchNorm(3, rngs=nnx.Rngs(0)))
    >>> x, key = jnp.ones((2, 3)), jax.random.key(0)
    >>> try:
    ...     check_no_cross_example(model, model.init(key, x), x, key=key)
    ... except ValueError as error:
    ...     print(type(error).__name__)
    CrossExampleLayerError
    """
    pair, other = _probe_inputs(sample, key)
    model = as_model(model, pair, key)
    forward = functools.partial(_outputs, model)
    if not _mixed(forward, params, pair, other, key):
        return
    name = _WHOLE
    if isinstance(model, NnxModel | LinenModel):
        traced = functools.partial(_module_outputs, model)
        # a module within a transformation of its own cannot be looked into
        with contextlib.suppress(jax.errors.UnexpectedTracerError):
            name = next(iter(_mixed(traced, params, pair, other, key)), _WHOLE)
    raise CrossExampleLayerError(
        f"{name if name == _WHOLE else f'layer {name}'} computes an example's output "
        "from other examples of the batch, so that no example has a gradient of its "
        "own; use a layer that works on each example alone, such as GroupNorm or "
        "LayerNorm in place of BatchNorm"
    )


def _probe_inputs(sample: NDArray, key: Key) -> tuple[NDArray, NDArray]:
    """Return two batches of two examples, of which only the second one differs."""
    sample = np.asarray(sample)
    if sample.ndim == 0 or len(sample) == 0:
        raise InvalidInputError(
            f"sample must have shape (n, ...) with n >= 1, got shape {sample.shape}"
        )
    shape = (3, *sample.shape[1:])
    if sample.dtype.kind == "f" or not np.issubdtype(sample.dtype, np.number):
        # generic values: no unit is at a kink, no derivative vanishes by chance
        values = np.asarray(jax.random.normal(key, shape)).astype(sample.dtype)
    else:
        low, high = int(sample.min()), int(sample.max())
        seed = jax.random.randint(key, shape, low, max(high, low + 1) + 1)
        values = np.asarray(seed).astype(sample.dtype)
        values[2] = (low + max(high, low + 1)) - values[1]
    return values[:2], values[[0, 2]]


def _outputs(model: Any, params: PyTree, x: Any, key: Key) -> list[tuple[str, PyTree]]:
    return [(_WHOLE, model.apply(params, x, key=key, train=True))]


def _module_outputs(
    model: NnxModel | LinenModel, params: PyTree, x: Any, key: Key
) -> list[tuple[str, PyTree]]:
    """Return what every module returns, in the order in which they finish."""
    found: list[tuple[str, PyTree]] = []

    def record(name: str, output: PyTree) -> None:
        found.append((name, output))

    if isinstance(model, LinenModel):
        return [*_tapped_linen(model, params, x, key, record, found)]
    module = model.merge(params, model.state, True)
    _reseed_and_tap(module, key, record)
    output = module(x)
    return [*found, (_WHOLE, output)]


def _tapped_linen(
    model: LinenModel,
    params: PyTree,
    x: Any,
    key: Key,
    record: Record,
    found: list[tuple[str, PyTree]],
) -> list[tuple[str, PyTree]]:
    def intercept(
        rest: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        context: linen.module.InterceptorContext,
    ) -> Any:
        output = rest(*args, **kwargs)
        if context.method_name == "__call__":
            layer = context.module
            record(_described(".".join(layer.path), type(layer)), output)
        return output

    with linen.intercept_methods(intercept):
        output = model.apply(params, x, key=key, train=True)
    return [*found, (_WHOLE, output)]


def _described(path: str, kind: type) -> str:
    return f"{path!r} ({kind.__name__})" if path else f"{kind.__name__}"


@functools.cache
def _recording_class(kind: type) -> type:
    """Return a subclass of a module class that hands on what its calls return."""

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        output = kind.__call__(self, *args, **kwargs)  # type: ignore[operator]
        self.record(output)
        return output

    return type(kind.__name__, (kind,), {"__call__": call, "record": None})


def _reseed_and_tap(module: nnx.Module, key: Key, record: Record) -> None:
    reseed(module, key)
    for path, layer in list(nnx.iter_modules(module)):
        if callable(layer):
            kind = type(layer)
            name = _described(".".join(map(str, path)), kind)
            object.__setattr__(layer, "__class__", _recording_class(kind))
            object.__setattr__(layer, "record", functools.partial(record, name))


@functools.partial(jax.jit, static_argnames=("forward", "reverse"))
def _probe(
    forward: Callable[..., list[tuple[str, PyTree]]],
    params: PyTree,
    pair: Any,
    other: Any,
    key: Any,
    reverse: bool,
) -> list[tuple[Any, Any]]:
    """Return, for each output, whether its first example depends on the second one."""

    def first(x: Any) -> list[PyTree]:
        # what has no axis of two examples belongs to no example
        return [
            [leaf[0] for leaf in jax.tree.leaves(output) if leaf.shape[:1] == (2,)]
            for _, output in forward(params, x, key)
        ]

    values, changed = first(pair), first(other)
    differs = [_any_differs(a, b) for a, b in zip(values, changed, strict=True)]
    if not jnp.issubdtype(pair.dtype, jnp.floating):
        return [(d, d) for d in differs]
    if reverse:
        return list(zip(differs, _slopes(first, pair), strict=True))
    direction = jnp.ones_like(pair).at[0].set(0)
    _, tangents = jax.jvp(first, (pair,), (direction,))
    slopes = [_any_nonzero(tangent) for tangent in tangents]
    return list(zip(differs, slopes, strict=True))


def _slopes(first: Callable[[Any], list[PyTree]], pair: Any) -> list[Any]:
    """Return, for each output, whether it has a slope in the second example."""
    outputs, pull_back = jax.vjp(first, pair)
    slopes = []
    for number in range(len(outputs)):
        weights = [
            [_weights(leaf) if i == number else _zeros(leaf) for leaf in leaves]
            for i, leaves in enumerate(outputs)
        ]
        (slope,) = pull_back(weights)
        slopes.append(_any_nonzero([slope[1]]))
    return slopes


def _weights(leaf: Any) -> Any:
    """Return irregular weights: slopes of an output do not cancel in its sum."""
    if not jnp.issubdtype(leaf.dtype, jnp.floating):
        return _zeros(leaf)
    phase = jnp.arange(leaf.size, dtype=leaf.dtype)
    return jnp.cos(phase * phase + 1).reshape(leaf.shape)


def _zeros(leaf: Any) -> Any:
    if not jnp.issubdtype(leaf.dtype, jnp.inexact):
        return np.zeros(leaf.shape, jax.dtypes.float0)
    return jnp.zeros_like(leaf)


def _any_differs(a: list[Any], b: list[Any]) -> Any:
    # two NaN are alike
    unequal = [
        jnp.any((x != y) & ~((x != x) & (y != y))) for x, y in zip(a, b, strict=True)
    ]
    return functools.reduce(jnp.logical_or, unequal, jnp.array(False))


def _any_nonzero(tangents: list[Any]) -> Any:
    nonzero = [
        jnp.any((t != 0) & (t == t))
        for t in tangents
        if jnp.issubdtype(t.dtype, jnp.floating)
    ]
    return functools.reduce(jnp.logical_or, nonzero, jnp.array(False))


def _mixed(
    forward: Callable[..., list[tuple[str, PyTree]]],
    params: PyTree,
    pair: NDArray,
    other: NDArray,
    key: Key,
) -> list[str]:
    """Return the names of the outputs that mix examples."""
    named: list[str] = []

    def arrays(params: PyTree, x: Any, key: Key) -> list[tuple[str, PyTree]]:
        found = forward(params, x, key)
        named[:] = [name for name, _ in found]
        return found

    try:
        found = _probe(arrays, params, pair, other, key, reverse=False)
    except TypeError:
        # layers with a rule for reverse mode alone have no forward mode
        found = _probe(arrays, params, pair, other, key, reverse=True)
    found = jax.device_get(found)
    return [
        name for name, (a, b) in zip(named, found, strict=True) if bool(a) or bool(b)
    ]
