"""Modules of flax and plain functions as pure ``init``/``apply`` models.

Parameters are the trainable arrays alone, as nested dicts. What a network keeps
besides them (batch statistics) is ``model.state``; ``apply`` reads it, and
``apply_with_state`` also returns it updated.
"""

from __future__ import annotations

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import jax
from flax import errors as flax_errors
from flax import linen, nnx
from jaxtyping import Array

from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import PyTree

__all__ = [
    "LINEN_LAYERS",
    "NNX_LAYERS",
    "CallableModel",
    "LinenModel",
    "NnxModel",
    "Tap",
    "from_callable",
    "from_linen",
    "from_nnx",
    "reseed",
]

NNX_LAYERS = (nnx.Linear, nnx.LinearGeneral, nnx.Conv)
LINEN_LAYERS = (linen.Dense, linen.DenseGeneral, linen.Conv)

_KEY_NEEDED = "key must be given, because the module draws random numbers"

# (layer name, call of the rest of the layer on its input, input) -> output
Tap: TypeAlias = Callable[[str, Callable[[Any], Any], Any], Any]


@functools.cache
def _tapped_class(kind: type) -> type:
    """Return a subclass of a layer class whose calls go through ``self.tap``."""

    def call(self: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        rest = functools.partial(kind.__call__, self)
        return self.tap(lambda h: rest(h, *args, **kwargs), inputs)

    return type(kind.__name__, (kind,), {"__call__": call, "tap": None})


def _attach(module: nnx.Module, tap: Tap) -> None:
    """Send every dense and convolution layer of a module through a tap.

    The class of the instance changes, not the attribute of its parent, so that a
    layer that two parents share is tapped in both.
    """
    for path, layer in nnx.iter_modules(module):
        if isinstance(layer, NNX_LAYERS):
            name = ".".join(map(str, path))
            object.__setattr__(layer, "__class__", _tapped_class(type(layer)))
            object.__setattr__(layer, "tap", functools.partial(tap, name))


class _Network(ABC):
    """What the models of both libraries share: two ways to call one forward pass."""

    state: PyTree

    @abstractmethod
    def run(
        self,
        params: PyTree,
        state: PyTree,
        x: Any,
        key: Any,
        train: bool,
        tap: Tap | None = None,
    ) -> tuple[Any, PyTree]:
        """Return the outputs and the state, with the layers' calls through `tap`."""

    def apply(
        self,
        params: PyTree,
        x: Array,
        /,
        *,
        key: Array | None = None,
        train: bool = False,
    ) -> Array:
        """Return the outputs for the batch `x`."""
        return self.apply_with_state(params, self.state, x, key=key, train=train)[0]

    def apply_with_state(
        self,
        params: PyTree,
        state: PyTree,
        x: Array,
        /,
        *,
        key: Array | None = None,
        train: bool = False,
    ) -> tuple[Array, PyTree]:
        """Return the outputs, and the state after them."""
        return self.run(params, state, x, key, train)


@dataclass(frozen=True, eq=False)
class NnxModel(_Network):
    """A flax.nnx module as pure functions; made by :func:`from_nnx`.

    Attributes
    ----------
    state : pytree
        What the module holds besides parameters and random streams.
    """

    state: PyTree
    _make: Callable[[Any], nnx.Module] = field(repr=False)
    _graphs: dict[bool, Any] = field(repr=False)
    _streams: Any = field(repr=False)

    @property
    def graphs(self) -> tuple[Any, Any]:
        """The static parts of the module in training and in evaluation mode."""
        return self._graphs[True], self._graphs[False]

    def init(self, key: Array, sample: Array, /) -> PyTree:
        """Return new parameters; a module that was given built returns its own."""
        del sample
        return _split(self._make(key))[1]

    def merge(self, params: PyTree, state: PyTree, train: bool) -> Any:
        """Return a new module with these arrays."""
        # copied, because the streams of the adapter must not be advanced
        return nnx.merge(self._graphs[train], params, self._streams, state, copy=True)

    def run(
        self,
        params: PyTree,
        state: PyTree,
        x: Any,
        key: Any,
        train: bool,
        tap: Tap | None = None,
    ) -> tuple[Any, PyTree]:
        """Return the outputs and the state, with the layers' calls through `tap`."""
        module = self.merge(params, state, train)
        if train:
            reseed(module, key)
        if tap is not None:
            _attach(module, tap)
            return module(x), state
        y = module(x)
        return y, _split(module)[3] if train else state


def _split(module: nnx.Module) -> tuple[Any, PyTree, Any, PyTree]:
    parts: Any = nnx.split(module, nnx.Param, nnx.RngState, ...)
    graph, params, streams, state = parts
    return graph, nnx.to_pure_dict(params), streams, nnx.to_pure_dict(state)


def reseed(module: nnx.Module, key: Any) -> None:
    """Let the random streams of a module start from `key`."""
    streams = [
        node for _, node in nnx.iter_graph(module) if isinstance(node, nnx.RngStream)
    ]
    if streams and key is None:
        raise InvalidInputError(_KEY_NEEDED)
    for i, stream in enumerate(streams):
        stream.key.set_value(jax.random.fold_in(key, i))
        stream.count.set_value(jax.numpy.zeros((), "uint32"))


def from_nnx(module: nnx.Module | Callable[..., nnx.Module]) -> NnxModel:
    """Return a flax.nnx module as a model of pure functions.

    Parameters
    ----------
    module : nnx.Module or callable
        A built module, which is not changed, or what builds one from the keyword
        ``rngs``, such as ``functools.partial(nnx.Linear, 3, 4)``. Only the second can
        be initialised from a key: `init` of a built module returns its parameters.

    Returns
    -------
    NnxModel
        ``train`` switches the attributes ``deterministic`` and
        ``use_running_average`` that dropout and batch normalisation obey.

    Raises
    ------
    InvalidInputError
        If `module` is neither.

    Examples
    --------
    >>> import functools, jax, jax.numpy as jnp
    >>> from flax import nnx
    >>> from mlmethods_jax.adapters import from_nnx
    >>> model = from_nnx(functools.partial(nnx.Linear, 3, 4))
    >>> x = jnp.ones((2, 3))
    >>> params = model.init(jax.random.key(0), x)
    >>> jax.jit(model.apply)(params, x).shape
    (2, 4)
    """
    if isinstance(module, nnx.Module):
        built = nnx.clone(module)

        def make(key: Any) -> nnx.Module:
            del key
            return built

    elif callable(module):
        factory = module

        def make(key: Any) -> nnx.Module:
            return factory(rngs=nnx.Rngs(key))

        built = make(jax.random.key(0))
    else:
        raise InvalidInputError(
            f"module must be an nnx.Module or build one from rngs, got {module!r}"
        )
    switched = nnx.clone(built)
    graphs = {}
    for train in (True, False):
        if train:
            switched.train()
        else:
            switched.eval()
        graphs[train], _params, streams, state = _split(switched)
    return NnxModel(state, make, graphs, streams)


_MODE_FLAGS = {
    "train": True,
    "training": True,
    "deterministic": False,
    "use_running_average": False,
}


@dataclass(frozen=True, eq=False)
class LinenModel(_Network):
    """A flax.linen module as pure functions; made by :func:`from_linen`.

    Attributes
    ----------
    module : linen.Module
        The network.
    state : dict
        Its variable collections besides ``"params"``.
    """

    module: linen.Module
    state: PyTree

    def init(self, key: Array, sample: Array, /) -> PyTree:
        """Return new parameters for inputs shaped like `sample`.

        Raises
        ------
        InvalidInputError
            If the module keeps state and was adapted without variables.
        """
        variables = self.module.init(key, sample, **self.mode_flags(train=False))
        missing = set(variables) - {"params", "intermediates"} - set(self.state)
        if missing:
            raise InvalidInputError(
                f"variables must be given to from_linen, because the module keeps "
                f"{', '.join(sorted(missing))}; use variables=module.init(key, sample)"
            )
        return variables.get("params", {})

    def mode_flags(self, *, train: bool) -> dict[str, Any]:
        """Return the keywords by which the module is told whether it trains."""
        accepted = inspect.signature(self.module.__call__).parameters
        return {
            name: train == when
            for name, when in _MODE_FLAGS.items()
            if name in accepted
        }

    def run(
        self,
        params: PyTree,
        state: PyTree,
        x: Any,
        key: Any,
        train: bool,
        tap: Tap | None = None,
    ) -> tuple[Any, PyTree]:
        """Return the outputs and the state, with the layers' calls through `tap`."""

        def intercept(
            rest: Callable[..., Any],
            args: tuple[Any, ...],
            kwargs: dict[str, Any],
            context: linen.module.InterceptorContext,
        ) -> Any:
            layer = context.module
            if (
                tap is None
                or context.method_name != "__call__"
                or not isinstance(layer, LINEN_LAYERS)
            ):
                return rest(*args, **kwargs)
            inputs = args[0] if args else kwargs.pop("inputs")
            return tap(
                ".".join(layer.path), lambda h: rest(h, *args[1:], **kwargs), inputs
            )

        mutable = list(state) if train and state else False
        try:
            with linen.intercept_methods(intercept):
                result = self.module.apply(
                    {"params": params, **state},
                    x,
                    # streams that a layer asks for by another name fall back to it
                    rngs=None if key is None else {"params": key},
                    mutable=mutable,
                    **self.mode_flags(train=train),
                )
        except flax_errors.InvalidRngError as error:
            raise InvalidInputError(_KEY_NEEDED) from error
        return result if mutable else (result, state)


def from_linen(
    module: linen.Module, variables: Mapping[str, PyTree] | None = None
) -> LinenModel:
    """Return a flax.linen module as a model of pure functions.

    Parameters
    ----------
    module : linen.Module
        Called as ``module(x)``; of ``train``, ``training``, ``deterministic`` and
        ``use_running_average`` it receives those that its ``__call__`` names.
    variables : mapping, optional
        The variables of ``module.init``, needed where it keeps more than parameters;
        what is not under ``"params"`` becomes the model's state.

    Raises
    ------
    InvalidInputError
        If `module` is no linen module or `variables` lacks ``"params"``.
    """
    if not isinstance(module, linen.Module):
        raise InvalidInputError(f"module must be a linen.Module, got {module!r}")
    if variables is not None and "params" not in variables:
        raise InvalidInputError(
            f"variables must have the collection 'params', got {sorted(variables)}"
        )
    kept = variables or {}
    return LinenModel(module, {k: v for k, v in kept.items() if k != "params"})


@dataclass(frozen=True, eq=False)
class CallableModel:
    """Two plain functions as a model; made by :func:`from_callable`."""

    _init: Callable[..., PyTree]
    _apply: Callable[..., Array]
    _accepts: frozenset[str]

    def init(self, key: Array, sample: Array, /) -> PyTree:
        """Return new parameters for inputs shaped like `sample`."""
        return self._init(key, sample)

    def apply(
        self,
        params: PyTree,
        x: Array,
        /,
        *,
        key: Array | None = None,
        train: bool = False,
    ) -> Array:
        """Return the outputs for the batch `x`."""
        given = {"key": key, "train": train}
        return self._apply(params, x, **{k: given[k] for k in self._accepts})


def from_callable(
    init: Callable[[Array, Array], PyTree], apply: Callable[..., Array]
) -> CallableModel:
    """Return two functions as a model.

    Parameters
    ----------
    init : callable
        ``init(key, sample)`` returns parameters.
    apply : callable
        ``apply(params, x)`` returns outputs; it receives ``key`` and ``train`` as
        keywords where it has parameters of these names.

    Raises
    ------
    InvalidInputError
        If one of them cannot be called.
    """
    for name, function in (("init", init), ("apply", apply)):
        if not callable(function):
            raise InvalidInputError(f"{name} must be callable, got {function!r}")
    accepted = inspect.signature(apply).parameters
    return CallableModel(init, apply, frozenset({"key", "train"} & set(accepted)))
