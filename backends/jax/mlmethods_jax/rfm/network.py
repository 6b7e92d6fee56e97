"""Average gradient outer product of any function that JAX differentiates."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import errors as flax_errors
from flax import linen, nnx
from jax import lax
from jaxtyping import Array, Float

from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import Center, PyTree
from mlmethods_jax.adapters import (
    LinenModel,
    NnxModel,
    from_linen,
    from_nnx,
    intermediate,
    layer_kernel,
    layer_names,
)
from mlmethods_jax.ops._precision import as_dtype, compute_dtype, scope

__all__ = ["LayerReport", "layer_agop", "layer_reports", "network_agop"]

_CENTERS = ("none", "per_output", "pooled")
_JACOBIAN_ENTRIES = 2**24
_MAX_BATCH = 256


class LayerReport(NamedTuple):
    """Weights of a layer and the gradient outer product at its input.

    Attributes
    ----------
    layer : str
        Dotted path of the layer.
    kernel : array [inputs, outputs]
        Its weights.
    agop : array [inputs, inputs] or None
        None if it was not asked for.
    init_kernel : array [inputs, outputs] or None
        Its weights under the initial parameters, if these were given.
    """

    layer: str
    kernel: Array
    agop: Array | None
    init_kernel: Array | None


def _cast(tree: PyTree, dtype: Any) -> PyTree:
    def leaf(a: Any) -> Any:
        return a.astype(dtype) if jnp.issubdtype(a.dtype, jnp.floating) else a

    return jax.tree.map(leaf, tree)


@dataclasses.dataclass(frozen=True)
class _Subject:
    """What is differentiated: a function, a model, or a model from a layer on.

    It is a static argument of the compiled function, so equal subjects share one
    program, whatever their parameters.
    """

    target: Any
    layer: str | None = None

    def __call__(
        self, params: PyTree, x: Array, dtype: Any
    ) -> tuple[Callable[[Array], Array], Array]:
        """Return a function and the point at which it is differentiated for `x`."""
        model = self.target
        if not _is_model(model):
            return model, x
        if isinstance(model, LinenModel | NnxModel):
            model = dataclasses.replace(model, state=_cast(model.state, dtype))
        if self.layer is None:
            return lambda z: model.apply(params, z[None])[0], x
        view = intermediate(model, params, self.layer)
        return lambda h: view.output(h[None], x[None])[0], view.input(x[None])[0]


def _is_model(target: Any) -> bool:
    return hasattr(target, "init") and hasattr(target, "apply")


def _refuse_train_mode(module: nnx.Module) -> None:
    for path, part in nnx.iter_modules(module):
        for flag in ("deterministic", "use_running_average"):
            if getattr(part, flag, None) is False:
                name = ".".join(map(str, path)) or type(part).__name__
                raise InvalidInputError(
                    f"model must be in evaluation mode, but {name!r} has "
                    f"{flag}=False; call model.eval() first"
                )


def _pure_params(given: Any) -> PyTree:
    """Return parameters alone, of variables, of an nnx module, or as they are."""
    if isinstance(given, nnx.Module):
        return from_nnx(given).init(None, None)  # type: ignore[arg-type]
    if isinstance(given, Mapping) and "params" in given:
        return given["params"]
    return given


def _as_model(target: Any, params: PyTree) -> tuple[Any, PyTree]:
    """Return the model of a flax module, and its parameters."""
    if isinstance(target, tuple) and len(target) == 2:
        if params is not None:
            raise InvalidInputError(
                "params must be None where the model is a pair (module, variables)"
            )
        target, params = target
    if isinstance(target, nnx.Module):
        _refuse_train_mode(target)
        model = from_nnx(target)
        return model, _pure_params(target if params is None else params)
    if isinstance(target, linen.Module):
        if not isinstance(params, Mapping):
            raise InvalidInputError(
                f"params must be the parameters or variables of the linen module, got "
                f"{type(params).__name__}"
            )
        variables = params if "params" in params else None
        return from_linen(target, variables), _pure_params(params)
    if _is_model(target):
        if params is None:
            raise InvalidInputError("params must be given for a model, got None")
        return target, _pure_params(params)
    raise InvalidInputError(
        f"model must be a flax module or a model of pure functions, got "
        f"{type(target).__name__}"
    )


def network_agop(
    fn: Any,
    X: Float[Array, "n ..."],
    *,
    params: PyTree = None,
    layer: str | None = None,
    per_output: bool = False,
    diagonal: bool = False,
    center: Center = "none",
    batch_size: int | None = None,
    weights: Float[Array, " n"] | None = None,
) -> Float[Array, " ..."]:
    """Return the average gradient outer product of a function over samples.

    It is the mean over the samples of ``J.T @ J``, where ``J`` [c, d] is the Jacobian
    of the c outputs with respect to the d entries of one sample [1]_. The samples are
    visited in batches, so that memory does not grow with their number.

    Parameters
    ----------
    fn : callable, model or flax module
        A function of one sample that returns a number or an array; or a network,
        which is called with a batch of one sample, in evaluation mode: a model of
        :mod:`mlmethods_jax.adapters`, an ``nnx.Module``, a ``linen.Module``, or a pair
        of such a module and its variables.
    X : array [n, ...]
        Samples; the entries of each are flattened.
    params : pytree, optional
        Parameters of a network; those of an ``nnx.Module`` are its own by default.
        Other values of them do not compile the program of a model anew.
    layer : str, optional
        Differentiate with respect to the input of this layer.
    per_output : bool, default=False
        Return one matrix for each output instead of their sum.
    diagonal : bool, default=False
        Return diagonals only.
    center : {"none", "per_output", "pooled"}
        Subtract the mean gradient of each output, or that of all outputs, over all
        samples.
    batch_size : int, optional
        Samples differentiated at once.
    weights : array [n], optional
        Weights of the mean over the samples; rows of weight 0 count for nothing.

    Returns
    -------
    array [d, d], [d], [c, d, d] or [c, d]
        In the dtype of `X`, in which the network is evaluated too.

    Raises
    ------
    InvalidInputError
        If an argument has the wrong shape or value, the function is not
        differentiable, or a network is not in evaluation mode.

    References
    ----------
    .. [1] A. Radhakrishnan et al., "Mechanism for feature learning in neural networks
       and backpropagation-free machine learning models", Science 383 (2024), eq. (2).

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from mlmethods_jax.rfm.network import network_agop
    >>> network_agop(lambda x: x[0] * x[1], jnp.array([[1.0, 2.0], [3.0, 4.0]]))
    Array([[10.,  7.],
           [ 7.,  5.]], dtype=float32)
    """
    if center not in _CENTERS:
        raise InvalidInputError(f"center must be one of {_CENTERS}, got {center!r}")
    dtype = compute_dtype(X)
    X = as_dtype(X, dtype)
    if X.ndim < 2 or X.size == 0:
        raise InvalidInputError(
            f"X must have shape (n, ...) with at least one sample, got shape {X.shape}"
        )
    weights = as_dtype(weights, dtype)
    if weights is not None and weights.shape != X.shape[:1]:
        raise InvalidInputError(
            f"weights must have shape ({len(X)},), got shape {weights.shape}"
        )
    if batch_size is not None and batch_size < 1:
        raise InvalidInputError(f"batch_size must be at least 1, got {batch_size}")
    if isinstance(fn, nnx.Module | linen.Module | tuple) or _is_model(fn):
        fn, params = _as_model(fn, params)
    elif params is not None or layer is not None:
        raise InvalidInputError(
            "params and layer must be None for a plain function; bind its parameters "
            "with functools.partial"
        )
    elif not callable(fn):
        raise InvalidInputError(
            f"fn must be callable or a network, got {type(fn).__name__}"
        )
    try:
        hash(fn)
    except TypeError:
        fn = functools.partial(fn)  # hashed by identity
    try:
        with scope(dtype):
            return _agop(
                params,
                X,
                weights,
                subject=_Subject(fn, layer),
                per_output=per_output,
                diagonal=diagonal,
                center=center,
                batch_size=batch_size,
            )
    except (
        jax.errors.TracerArrayConversionError,
        jax.errors.ConcretizationTypeError,
    ) as error:
        raise InvalidInputError(
            "fn must be written in jax.numpy and free of branches on values, because "
            f"JAX could not trace it ({type(error).__name__}); give jac= for a NumPy "
            "function"
        ) from error
    except (flax_errors.ModifyScopeVariableError, InvalidInputError) as error:
        random = isinstance(error.__cause__, flax_errors.InvalidRngError)
        if isinstance(error, InvalidInputError) and not random:
            raise
        raise InvalidInputError(
            "model must be in evaluation mode, but it "
            f"{'draws random numbers' if random else 'updates its statistics'}; build "
            "it with deterministic=True and use_running_average=True"
        ) from error


def layer_agop(
    model: Any,
    params: PyTree,
    X: Float[Array, "n ..."],
    layer: str,
    **options: Any,
) -> Float[Array, " ..."]:
    """Return the average gradient outer product at the input of a layer.

    Parameters
    ----------
    model, params, X, layer
        As in :func:`network_agop`.
    **options
        Its other keywords.
    """
    return network_agop(model, X, params=params, layer=layer, **options)


def _jacobian(subject: _Subject, params: PyTree, x: Array, dtype: Any) -> Array:
    """Return the Jacobian [c, d] for one sample."""
    function, point = subject(params, x, dtype)

    def flat(z: Array) -> Array:
        return jnp.ravel(function(z))

    output = jax.eval_shape(function, point)
    if not isinstance(output, jax.ShapeDtypeStruct):
        raise InvalidInputError(
            f"fn must return one array, got {type(output).__name__}"
        )
    if not jnp.issubdtype(output.dtype, jnp.floating):
        raise InvalidInputError(
            f"fn must return real floating numbers to be differentiable, got dtype "
            f"{output.dtype}"
        )
    mode = jax.jacrev if output.size <= point.size else jax.jacfwd
    return mode(flat)(point).reshape(output.size, point.size).astype(dtype)


def _products(
    a: Array, b: Array, *, samples: str, per_output: bool, diagonal: bool
) -> Array:
    """Return sums of outer products of gradients [(b,) c, d]."""
    second = "p" if diagonal else "q"
    result = ("c" if per_output else "") + ("p" if diagonal else "pq")
    return jnp.einsum(
        f"{samples}cp,{samples}c{second}->{result}",
        a,
        b,
        precision=lax.Precision.HIGHEST,
    )


def _add(carry: PyTree, update: PyTree) -> PyTree:
    """Add with the rounding error carried along (Kahan)."""
    total, lost = carry
    update = jax.tree.map(jnp.subtract, update, lost)
    new = jax.tree.map(jnp.add, total, update)
    lost = jax.tree.map(lambda n, t, u: (n - t) - u, new, total, update)
    return new, lost


@functools.partial(
    jax.jit,
    static_argnames=("subject", "per_output", "diagonal", "center", "batch_size"),
)
def _agop(
    params: PyTree,
    X: Array,
    weights: Array | None,
    *,
    subject: _Subject,
    per_output: bool,
    diagonal: bool,
    center: str,
    batch_size: int | None,
) -> Array:
    n, dtype = len(X), X.dtype
    params = _cast(params, dtype)
    weights = jnp.ones(n, dtype) if weights is None else weights
    jacobian = functools.partial(_jacobian, subject, params, dtype=dtype)
    c, d = jax.eval_shape(jacobian, jax.ShapeDtypeStruct(X.shape[1:], dtype)).shape
    size = batch_size or max(1, min(_MAX_BATCH, _JACOBIAN_ENTRIES // (c * d)))
    size = min(size, n)
    products = functools.partial(_products, per_output=per_output, diagonal=diagonal)

    shift = jnp.zeros((c, d), dtype)
    if center != "none":
        # any constant may be subtracted first; one near the mean avoids cancellation
        shift = _center(jacobian(X[0]), center)
        shift = jnp.where(jnp.isfinite(shift), shift, 0)

    def batch(carry: PyTree, start: Array) -> tuple[PyTree, None]:
        index = start + jnp.arange(size)
        rows = jnp.minimum(index, n - 1)
        root = jnp.sqrt(jnp.where(index < n, weights[rows], 0))
        root = root[:, None, None]
        gradients = jax.vmap(jacobian)(X[rows]) - shift[None]
        gradients = jnp.where(root > 0, root * gradients, 0)
        update = products(gradients, gradients, samples="b")
        return _add(carry, (update, jnp.sum(root * gradients, axis=0))), None

    zeros = (
        jnp.zeros((c,) * per_output + (d,) * (1 if diagonal else 2), dtype),
        jnp.zeros((c, d), dtype),
    )
    starts = jnp.arange(0, n, size)
    ((second, first), _lost), _ = lax.scan(batch, (zeros, zeros), starts)
    total = jnp.sum(weights)
    result, mean = second / total, first / total
    if center != "none":
        subtracted = _center(mean, center)
        result = (
            result
            - products(mean, subtracted, samples="")
            - products(subtracted, mean, samples="")
            + products(subtracted, subtracted, samples="")
        )
    if diagonal:
        return jnp.maximum(result, 0)
    return (result + jnp.swapaxes(result, -1, -2)) / 2


def _center(gradients: Array, center: str) -> Array:
    """Return what centering subtracts from mean gradients [c, d]."""
    if center == "per_output":
        return gradients
    return jnp.broadcast_to(jnp.mean(gradients, axis=0, keepdims=True), gradients.shape)


def layer_reports(
    model: Any,
    X: Float[Array, "n ..."] | None,
    *,
    params: PyTree = None,
    layers: Sequence[str] | None = None,
    init_params: PyTree = None,
    with_agop: bool = True,
    batch_size: int | None = None,
) -> list[LayerReport]:
    """Return weights and gradient outer products of the layers of a network.

    Parameters
    ----------
    model, X, params, batch_size
        As in :func:`network_agop`. Without `with_agop`, X serves for its shape and
        may be None where `layers` are given and their kernels have two axes.
    layers : sequence of str, optional
        Paths of layers; by default all dense layers whose input is one vector for
        each sample.
    init_params : pytree or nnx.Module, optional
        The parameters before training.
    with_agop : bool, default=True
        False returns weights only.

    Raises
    ------
    InvalidInputError
        If a layer does not exist, or with `with_agop` is given more than one vector
        for each sample (convolutions, token-wise layers).
    """
    model, params = _as_model(model, params)
    if not isinstance(model, LinenModel | NnxModel):
        raise InvalidInputError(
            f"model must be a flax network to have layers, got {type(model).__name__}"
        )
    init_params = _pure_params(init_params)
    sample: Any = None
    if X is not None:
        # only its shape matters; in float32 it is traced without a float64 scope
        sample = jax.ShapeDtypeStruct((1, *X.shape[1:]), jnp.float32)
    elif with_agop or layers is None:
        raise InvalidInputError("X must be given, got None")
    names = layer_names(model, sample) if layers is None else list(layers)
    reports = []
    for name in names:
        kernel = layer_kernel(model, params, name, sample=sample)
        agop = None
        if with_agop:
            layer_input = functools.partial(_layer_input, model, name)
            shape = jax.eval_shape(layer_input, params, sample).shape[1:]
            if shape != kernel.shape[:1]:
                if layers is None:
                    continue
                raise InvalidInputError(
                    f"layers must name dense layers that are given one vector for each "
                    f"sample, but the input of {name!r} has shape {shape}"
                )
            agop = network_agop(
                model,
                X,  # type: ignore[arg-type]
                params=params,
                layer=name,
                batch_size=batch_size,
            )
        init_kernel = (
            None
            if init_params is None
            else layer_kernel(model, init_params, name, sample=sample)
        )
        reports.append(LayerReport(name, kernel, agop, init_kernel))
    return reports


def _layer_input(model: Any, layer: str, params: PyTree, x: Array) -> Array:
    params = _cast(params, x.dtype)
    model = dataclasses.replace(model, state=_cast(model.state, x.dtype))
    return intermediate(model, params, layer).input(x)
