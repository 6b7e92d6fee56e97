"""Gradient outer products of networks, functions and fitted models."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mlmethods.backend import get_backend
from mlmethods.common.plotting import new_figure, style
from mlmethods.common.validation import check_choice, check_integer, check_real
from mlmethods.errors import (
    InvalidInputError,
    NotPositiveDefiniteError,
    OperationNotSupportedError,
)
from mlmethods.interfaces import ArrayLike, Backend, Center, NDArray, PyTree
from mlmethods.kernels._arrays import floating

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = [
    "FeatureAnsatzReport",
    "LayerCorrelation",
    "agop",
    "feature_ansatz",
    "matrix_power_psd",
    "neural_feature_matrix",
]

_CENTERS = ("none", "per_output", "pooled")
_DTYPES = ("auto", "float32", "float64")
_ROWS_AT_ONCE = 256


class LayerCorrelation(NamedTuple):
    """How the weights of one layer agree with a power of its gradient outer product.

    Attributes
    ----------
    layer : str
        Path of the layer.
    power : float
        Power to which the gradient outer product was raised.
    pearson, cosine : float
        Correlation and cosine of the flattened matrices; NaN where one is constant,
        or zero.
    centered_pearson : float or None
        Correlation where the weights at the start of training were subtracted from
        the weights; None if they were not given.
    """

    layer: str
    power: float
    pearson: float
    cosine: float
    centered_pearson: float | None


@dataclass(frozen=True)
class FeatureAnsatzReport:
    """Result of :func:`feature_ansatz`.

    Attributes
    ----------
    correlations : tuple of LayerCorrelation
        One row for each layer and power.
    """

    correlations: tuple[LayerCorrelation, ...]

    def to_frame(self) -> pd.DataFrame:
        """Return the rows as a pandas table."""
        import pandas as pd

        return pd.DataFrame(self.correlations, columns=list(LayerCorrelation._fields))

    def plot(self) -> Figure:
        """Return a bar chart of the Pearson correlations, with their values."""
        layers = list(dict.fromkeys(row.layer for row in self.correlations))
        powers = list(dict.fromkeys(row.power for row in self.correlations))
        width = 0.8 / len(powers)
        with style():
            figure, axes = new_figure()
            for i, power in enumerate(powers):
                rows = [row for row in self.correlations if row.power == power]
                positions = [
                    layers.index(row.layer) - 0.4 + (i + 0.5) * width for row in rows
                ]
                bars = axes.bar(
                    positions,
                    [row.pearson for row in rows],
                    width,
                    label=f"AGOP to the power {power:g}",
                )
                axes.bar_label(bars, fmt="%.2f")
            axes.set_xticks(range(len(layers)), layers)
            axes.set_xlabel("layer")
            axes.set_ylabel("Pearson correlation with weights")
            axes.legend()
        return figure


def agop(
    fn_or_model: Any,
    X: ArrayLike,
    *,
    params: PyTree = None,
    jac: Callable[[NDArray], ArrayLike] | None = None,
    wrt: str = "input",
    diagonal: bool = False,
    center: Center = "none",
    per_output: bool = False,
    batch_size: int | None = None,
    dtype: str = "auto",
    backend: str | Backend = "auto",
) -> NDArray:
    """Return the average gradient outer product of a function over samples.

    It is the mean over the rows x of X of ``J(x).T @ J(x)``, where ``J`` [c, d] is the
    Jacobian of the c outputs with respect to the d entries of x [1]_. Its top
    eigenvectors are the directions along which the function changes most.

    Parameters
    ----------
    fn_or_model : object
        One of:

        - a function of one sample, written in jax.numpy, that returns a number or an
          array;
        - an ``nnx.Module`` in evaluation mode;
        - a ``linen.Module`` with `params`, or a pair (module, variables);
        - a fitted estimator with a method ``gradients``;
        - any function of one sample, with `jac`.
    X : array-like of shape (n, ...)
        Samples; the entries of each are flattened, so that d is their number.
    params : pytree, optional
        Parameters, or variables, of a network.
    jac : callable, optional
        ``jac(x)`` returns the Jacobian of the function at one sample. No backend is
        used then.
    wrt : str, default="input"
        The path of a layer of a network differentiates with respect to its input.
    diagonal : bool, default=False
        Return the diagonal only.
    center : {"none", "per_output", "pooled"}
        Subtract the mean gradient of each output, or that of all outputs together.
        The mean is over all samples, so that `batch_size` changes nothing.
    per_output : bool, default=False
        Return one matrix for each output; by default they are summed.
    batch_size : int, optional
        Samples differentiated at once; memory grows with it, not with n.
    dtype : {"auto", "float32", "float64"}
        Precision; "auto" is that of the estimator, float64 with `jac`, else the
        default of the backend.
    backend : str or Backend, default="auto"
        Who differentiates; unused for estimators and with `jac`.

    Returns
    -------
    ndarray of shape (d, d), (d,), (c, d, d) or (c, d)

    Raises
    ------
    InvalidInputError
        If an argument is invalid, or the function is not differentiable.
    OperationNotSupportedError
        If the backend cannot differentiate functions.

    References
    ----------
    .. [1] A. Radhakrishnan et al., "Mechanism for feature learning in neural networks
       and backpropagation-free machine learning models", Science 383 (2024), eq. (2).

    Examples
    --------
    >>> import numpy as np
    >>> from mlmethods.rfm.network import agop
    >>> X = np.array([[1.0, 2.0], [3.0, 4.0]])
    >>> agop(lambda x: x[0] * x[1], X, jac=lambda x: x[::-1])
    array([[10.,  7.],
           [ 7.,  5.]])
    """
    check_choice("center", center, _CENTERS)
    check_choice("dtype", dtype, _DTYPES)
    if batch_size is not None:
        batch_size = check_integer("batch_size", batch_size, minimum=1)
    samples = _samples(X)
    analytic = jac is not None or hasattr(fn_or_model, "gradients")
    if not analytic:
        chosen, engine = network_engine(backend, "network_agop")
        wide = chosen.info.default_dtype if dtype == "auto" else dtype
        result = engine.network_agop(
            fn_or_model,
            chosen.asarray(samples, dtype=wide),
            params=params,
            layer=None if wrt == "input" else wrt,
            per_output=per_output,
            diagonal=diagonal,
            center=center,
            batch_size=batch_size,
        )
        return chosen.to_numpy(result)
    if wrt != "input" or params is not None:
        raise InvalidInputError(
            "wrt and params must be left at their defaults for a fitted estimator and "
            "with jac, which have no layers"
        )
    size = batch_size or _ROWS_AT_ONCE
    if jac is not None:
        batches = _jacobians(fn_or_model, jac, samples, size)
    else:
        batches = (
            np.asarray(fn_or_model.gradients(samples[i : i + size]))
            for i in range(0, len(samples), size)
        )
    return _accumulate(batches, diagonal, center, per_output, dtype)


def _samples(X: ArrayLike) -> NDArray:
    samples = floating("X", X)
    if samples.ndim < 2 or samples.size == 0:
        raise InvalidInputError(
            "X must have shape (n, ...) with at least one sample, got shape "
            f"{samples.shape}"
        )
    if not np.isfinite(samples).all():
        raise InvalidInputError("X must be finite, got NaN or infinity")
    return samples


def network_engine(backend: str | Backend, function: str) -> tuple[Backend, Any]:
    """Return a backend and its RFM engine, which must offer `function`."""
    chosen = get_backend(backend, "engine:rfm")
    engine = chosen.engine("rfm")
    if not hasattr(engine, function):
        raise OperationNotSupportedError(
            f"backend {chosen.info.name!r} cannot differentiate functions or read "
            "networks; give jac=, a fitted estimator, or a backend that can, such as "
            "'jax'"
        )
    return chosen, engine


def _jacobians(
    fn: Any, jac: Callable[[NDArray], ArrayLike], samples: NDArray, size: int
) -> Iterator[NDArray]:
    outputs = np.size(fn(samples[0])) if callable(fn) else None
    if outputs is None:
        raise InvalidInputError(f"fn_or_model must be callable, got {fn!r}")
    entries = samples[0].size
    for start in range(0, len(samples), size):
        rows = []
        for x in samples[start : start + size]:
            jacobian = floating("the result of jac", jac(x))
            if jacobian.size != outputs * entries:
                raise InvalidInputError(
                    f"jac must return {outputs} x {entries} entries, got shape "
                    f"{jacobian.shape}"
                )
            rows.append(jacobian.reshape(outputs, entries))
        yield np.stack(rows)


def _accumulate(
    batches: Iterator[NDArray],
    diagonal: bool,
    center: str,
    per_output: bool,
    dtype: str,
) -> NDArray:
    """Return the mean outer product of gradients [rows, c, d] that come in batches."""
    subscripts = (
        f"bcp,bc{'p' if diagonal else 'q'}->"
        f"{'c' if per_output else ''}{'p' if diagonal else 'pq'}"
    )
    n = 0
    second: Any = 0.0
    first: Any = 0.0
    shift: Any = None
    for gradients in batches:
        if dtype == "auto":
            dtype = gradients.dtype.name
        g = gradients.astype(np.float64)
        if shift is None:
            # any constant may be subtracted first; this one avoids cancellation
            shift = 0.0 if center == "none" else _mean(g, center)
        g = g - shift
        n += len(g)
        first = first + g.sum(axis=0)
        second = second + np.einsum(subscripts, g, g, optimize=True)
    result = second / n
    if center != "none":
        mean = first[None] / n
        subtracted = np.broadcast_to(_mean(mean, center), mean.shape)
        for sign, a, b in (
            (-1, mean, subtracted),
            (-1, subtracted, mean),
            (1, subtracted, subtracted),
        ):
            result = result + sign * np.einsum(subscripts, a, b)
    return result.astype(dtype)


def _mean(gradients: NDArray, center: str) -> NDArray:
    axes = 0 if center == "per_output" else (0, 1)
    return gradients.mean(axis=axes, keepdims=True)


def neural_feature_matrix(
    model: Any,
    layer: str,
    *,
    params: PyTree = None,
    sample: ArrayLike | None = None,
    backend: str | Backend = "auto",
) -> NDArray:
    """Return the neural feature matrix of a layer, the Gram matrix of its weights.

    For weights ``kernel`` [inputs, outputs] it is ``kernel @ kernel.T``; biases do not
    enter. The inputs of a convolution are its patch, (height, width, channel).

    Parameters
    ----------
    model : object
        A network, as in :func:`agop`.
    layer : str
        Dotted path of a dense or convolution layer.
    params : pytree, optional
        Parameters, or variables, of the network.
    sample : array-like, optional
        A batch of inputs, needed for the convolutions of a ``linen.Module``, which
        only a call tells from other layers.
    backend : str or Backend, default="auto"
        Who reads the network.

    Returns
    -------
    ndarray of shape (inputs, inputs)

    Raises
    ------
    InvalidInputError
        If there is no such layer.
    OperationNotSupportedError
        If the backend cannot read networks.
    """
    chosen, engine = network_engine(backend, "layer_reports")
    reports = engine.layer_reports(
        model,
        None if sample is None else chosen.asarray(_samples(sample), dtype="float32"),
        params=params,
        layers=[layer],
        with_agop=False,
    )
    kernel = chosen.to_numpy(reports[0].kernel)
    return kernel @ kernel.T


def feature_ansatz(
    model: Any,
    X: ArrayLike,
    *,
    params: PyTree = None,
    layers: Sequence[str] | None = None,
    powers: Sequence[float] = (1.0, 0.5),
    init_params: PyTree = None,
    batch_size: int | None = None,
    dtype: str = "auto",
    backend: str | Backend = "auto",
) -> FeatureAnsatzReport:
    """Compare the weights of layers with the gradients at their inputs.

    The neural feature ansatz says that after training the matrix ``W.T @ W`` of a
    layer is proportional to a power of the average gradient outer product of the
    network with respect to the layer's input [1]_.

    Parameters
    ----------
    model, params, batch_size, dtype, backend
        As in :func:`agop`.
    X : array-like of shape (n, ...)
        Inputs of the network.
    layers : sequence of str, optional
        Paths of dense layers that are given one vector for each sample; by default
        all of these.
    powers : sequence of float, default=(1.0, 0.5)
        Powers of the gradient outer product.
    init_params : pytree, optional
        Parameters before training. The matrix of the weights is close to a multiple of
        the identity at the start, which hides what training did to it; with these,
        the matrix of the change of the weights is compared too.

    Returns
    -------
    FeatureAnsatzReport

    Raises
    ------
    InvalidInputError
        If an argument is invalid, or the network has no such layer.
    OperationNotSupportedError
        If the backend cannot differentiate networks.

    References
    ----------
    .. [1] A. Radhakrishnan et al., "Mechanism for feature learning in neural networks
       and backpropagation-free machine learning models", Science 383 (2024), eq. (2).
    """
    check_choice("dtype", dtype, _DTYPES)
    powers = [check_real("powers", s, minimum=0.0, open_minimum=True) for s in powers]
    if not powers:
        raise InvalidInputError("powers must hold at least one power, got none")
    if isinstance(layers, str):
        raise InvalidInputError(f"layers must be a sequence of names, got {layers!r}")
    if batch_size is not None:
        batch_size = check_integer("batch_size", batch_size, minimum=1)
    chosen, engine = network_engine(backend, "layer_reports")
    wide = chosen.info.default_dtype if dtype == "auto" else dtype
    reports = engine.layer_reports(
        model,
        chosen.asarray(_samples(X), dtype=wide),
        params=params,
        layers=layers,
        init_params=init_params,
        batch_size=batch_size,
    )
    rows = []
    for report in reports:
        kernel, gradients, init = chosen.to_numpy(
            (report.kernel, report.agop, report.init_kernel)
        )
        features = kernel @ kernel.T
        change = None if init is None else (kernel - init) @ (kernel - init).T
        for power in powers:
            powered = matrix_power_psd(gradients, power)
            rows.append(
                LayerCorrelation(
                    report.layer,
                    power,
                    _cosine(features, powered, centered=True),
                    _cosine(features, powered, centered=False),
                    None if change is None else _cosine(change, powered, centered=True),
                )
            )
    return FeatureAnsatzReport(tuple(rows))


def _cosine(A: NDArray, B: NDArray, *, centered: bool) -> float:
    a, b = (M.astype(np.float64).ravel() for M in (A, B))
    if centered:
        a, b = a - a.mean(), b - b.mean()
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norms if norms > 0 else math.nan


def matrix_power_psd(M: ArrayLike, s: float) -> NDArray:
    """Return a power of a symmetric positive semidefinite matrix.

    Parameters
    ----------
    M : array-like of shape (d, d) or (d,)
        The matrix, or the diagonal of a diagonal matrix.
    s : float
        Positive power.

    Returns
    -------
    ndarray of the shape and floating dtype of M
        Eigenvalues that are no more than rounding count as zero.

    Raises
    ------
    InvalidInputError
        If M is not finite and symmetric, or s is not positive.
    NotPositiveDefiniteError
        If M has an eigenvalue below zero beyond rounding.

    Examples
    --------
    >>> from mlmethods.rfm.network import matrix_power_psd
    >>> matrix_power_psd([4.0, 9.0], 0.5)
    array([2., 3.])
    """
    s = check_real("s", s, minimum=0.0, open_minimum=True)
    matrix = floating("M", M)
    square = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1]
    if matrix.size == 0 or not (matrix.ndim == 1 or square):
        raise InvalidInputError(
            f"M must have shape (d, d) or (d,), got shape {matrix.shape}"
        )
    if not np.isfinite(matrix).all():
        raise InvalidInputError("M must be finite, got NaN or infinity")
    wide = matrix.astype(np.float64)
    tolerance = 10 * len(wide) * float(np.finfo(matrix.dtype).eps)
    tolerance *= float(np.abs(wide).max())
    if square:
        if np.abs(wide - wide.T).max() > tolerance:
            raise InvalidInputError("M must be symmetric")
        values, vectors = np.linalg.eigh((wide + wide.T) / 2)
    else:
        values = wide
    if values.min() < -tolerance:
        raise NotPositiveDefiniteError(
            f"M must be positive semidefinite, but has the eigenvalue {values.min():g}"
        )
    # The root of a rounding error of 1e-16 would be 1e-8.
    noise = tolerance / 10
    powered = np.where(values > noise, values, 0.0) ** s
    if square:
        return ((vectors * powered) @ vectors.T).astype(matrix.dtype)
    return powered.astype(matrix.dtype)
