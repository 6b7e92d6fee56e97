"""Parameters of a network as a flat dictionary, and the module that they belong to.

A network is named by a factory, ``make(config, rngs)``, and its configuration; both
are hashable, so that compiled code takes them as static arguments and the dictionary
of parameters as its pytree:

``init(make, config, seed)``
    initial parameters.
``merge(make, config, params, key=None)``
    the module, in evaluation mode, or in training mode with dropout drawn from `key`.
``shapes(make, config)``, ``check(make, config, params)``
    what the parameters are called, and whether they fit.
``flatten(tree)``, ``unflatten(flat)``
    between nested dictionaries and names such as ``"encoder.layers.0.bias"``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax
import numpy as np
from flax import nnx

from mlmethods.errors import CheckpointError
from mlmethods.interfaces import NDArray, PyTree
from mlmethods_jax._networks import reseed
from mlmethods_jax.random import STREAM_INIT, key_from_seed, stream

__all__ = ["check", "flatten", "init", "merge", "shapes", "unflatten"]

Make: TypeAlias = Callable[[Any, nnx.Rngs], nnx.Module]
"""``make(config, rngs)`` returns a module."""


def flatten(tree: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the leaves of nested dictionaries under dotted names."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{rest}": leaf for rest, leaf in flatten(value).items()}
        else:
            flat[str(name)] = value
    return flat


def unflatten(flat: Mapping[str, Any]) -> dict[Any, Any]:
    """Return nested dictionaries; parts of a name that are numbers become integers."""
    tree: dict[Any, Any] = {}
    for name, leaf in flat.items():
        *path, last = (
            int(part) if part.isdigit() else part for part in name.split(".")
        )
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        node[last] = leaf
    return tree


def _split(module: nnx.Module) -> tuple[Any, PyTree, PyTree]:
    parts: Any = nnx.split(module, nnx.Param, ...)
    graph, params, rest = parts
    return graph, nnx.to_pure_dict(params), rest


@functools.lru_cache(maxsize=256)
def _abstract(make: Make, config: Any, train: bool) -> tuple[Any, PyTree, PyTree]:
    """Return the static part, the shapes of the parameters and the random streams."""
    module = nnx.eval_shape(lambda: make(config, nnx.Rngs(0)))
    if train:
        module.train()
    else:
        module.eval()
    return _split(module)


def init(make: Make, config: Any, seed: int) -> dict[str, NDArray]:
    """Return initial parameters.

    Parameters
    ----------
    make : callable
        ``make(config, rngs)`` returns the module.
    config : hashable
        Its configuration.
    seed : int
        Seed of the draws.

    Returns
    -------
    dict of str to numpy array
        The parameters under dotted names.
    """
    key = stream(key_from_seed(seed), STREAM_INIT)
    # not compiled as a whole: draws of equal shapes share a program, here and elsewhere
    params = flatten(_split(make(config, nnx.Rngs(key)))[1])
    return jax.tree.map(np.array, jax.device_get(params))


def shapes(make: Make, config: Any) -> dict[str, Any]:
    """Return the shape and dtype of every parameter, as ``jax.ShapeDtypeStruct``."""
    return flatten(_abstract(make, config, False)[1])


def merge(make: Make, config: Any, params: Mapping[str, Any], key: Any = None) -> Any:
    """Return the module with these parameters; the call may be traced.

    Parameters
    ----------
    make, config : callable, hashable
        See :func:`init`.
    params : mapping of str to array
        The parameters under dotted names.
    key : key, optional
        Source of the dropout of a module in training mode; without one the module
        evaluates.
    """
    graph, _, rest = _abstract(make, config, key is not None)
    # the streams are shapes alone: their arrays are those of the key, or unused
    filled = jax.tree.map(_blank, rest)
    arrays = {name: jax.numpy.asarray(value) for name, value in params.items()}
    module = nnx.merge(graph, unflatten(arrays), filled, copy=True)
    if key is not None:
        reseed(module, key)
    return module


def _blank(leaf: Any) -> Any:
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.key(0)
    return jax.numpy.zeros(leaf.shape, leaf.dtype)


def check(make: Make, config: Any, params: Mapping[str, Any]) -> None:
    """Raise unless the names and shapes of parameters are those of the network.

    Raises
    ------
    CheckpointError
        If a name is missing or unknown or a shape differs; it lists them.
    """
    known = shapes(make, config)
    missing = sorted(known.keys() - params.keys())
    unknown = sorted(params.keys() - known.keys())
    differing = [
        f"{name} {list(np.shape(params[name]))} instead of {list(known[name].shape)}"
        for name in sorted(known.keys() & params.keys())
        if tuple(np.shape(params[name])) != tuple(known[name].shape)
    ]
    parts = [
        f"{title}: {', '.join(names)}"
        for title, names in (
            ("missing", missing),
            ("unknown", unknown),
            ("of another shape", differing),
        )
        if names
    ]
    if parts:
        raise CheckpointError(
            f"params must be the parameters of {config!r}; {'; '.join(parts)}"
        )
