"""Kernels of infinitely wide, fully connected networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mlmethods.common.validation import check_choice, check_integer, check_real
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import ArrayLike, KernelSpec, NDArray
from mlmethods.kernels._arrays import matrices, squared_norms
from mlmethods.kernels.base import Kernel

__all__ = ["NNGPKernel", "NTKKernel"]

_ACTIVATIONS = ("relu", "erf", "gelu")
_DEGREE = 64

Activation = str | tuple[Callable[[Any], Any], Callable[[Any], Any]]


class _NetworkKernel(Kernel):
    """What both kernels share; a subclass names its specification."""

    _name: str

    def __init__(
        self,
        depth: int = 1,
        activation: Activation = "relu",
        *,
        w_std: float = 2.0**0.5,
        b_std: float = 0.0,
        readout_w_std: float = 1.0,
        readout_b_std: float = 0.0,
        skip: bool = False,
    ) -> None:
        self.depth = depth
        self.activation = activation
        self.w_std = w_std
        self.b_std = b_std
        self.readout_w_std = readout_w_std
        self.readout_b_std = readout_b_std
        self.skip = skip

    def to_spec(self) -> KernelSpec:
        """Return the kernel as data."""
        depth = check_integer("depth", self.depth, minimum=1)
        if not isinstance(self.skip, bool | np.bool_):
            raise InvalidInputError(f"skip must be True or False, got {self.skip!r}")
        params = {
            name: check_real(
                name,
                getattr(self, name),
                minimum=0,
                open_minimum=name.endswith("w_std"),
            )
            for name in ("w_std", "b_std", "readout_w_std", "readout_b_std")
        }
        return KernelSpec(
            name=self._name,
            params={**params, "scale": 1.0},
            static=(
                ("activation", self._checked_activation()),
                ("depth", depth),
                ("skip", bool(self.skip)),
            ),
        )

    def _checked_activation(self) -> Activation:
        activation = self.activation
        if isinstance(activation, str):
            return check_choice("activation", activation, _ACTIVATIONS)
        pair = isinstance(activation, list | tuple) and len(activation) == 2
        if not pair or not all(map(callable, activation)):
            raise InvalidInputError(
                f"activation must be one of {', '.join(_ACTIVATIONS)} or a pair of "
                f"functions (phi, dphi), got {activation!r}"
            )
        return (activation[0], activation[1])

    def diag(self, X: ArrayLike, M: ArrayLike | None = None) -> NDArray:
        """Return k(x, x) for each row of `X`, an array of shape (n,)."""
        spec = self.to_spec()
        columns = matrices(X, None, M)[0].shape[1]
        t = np.maximum(squared_norms(X, M), 0.0) / columns
        p, activation = spec.params, spec.option("activation")
        S = p["w_std"] ** 2 * t + p["b_std"] ** 2
        T = S
        for layer in range(spec.option("depth")):
            last = layer + 1 == spec.option("depth")
            prefix, skip = ("readout_", False) if last else ("", self.skip)
            w, b = p[f"{prefix}w_std"], p[f"{prefix}b_std"]
            value, slope = _second_moments(activation, S)
            grown = w**2 * value + b**2
            T = grown + w**2 * T * slope + (T if skip else 0.0)
            S = grown + (S if skip else 0.0)
        return T if spec.name == "ntk" else S


class NNGPKernel(_NetworkKernel):
    r"""The covariance of an infinitely wide network with random weights.

    The network is fully connected with `depth` hidden layers in the NTK
    parameterization: a dense layer maps f to ``w_std W f / sqrt(width) + b_std b`` with
    standard normal W and b. In the limit of wide layers its outputs are a Gaussian
    process (NNGP) whose covariance is this kernel.

    Parameters
    ----------
    depth : int, default=1
        Hidden layers.
    activation : {"relu", "erf", "gelu"} or pair of functions, default="relu"
        The activation, or ``(phi, dphi)``: elementwise functions of an array, written
        with operators alone or with the functions of one backend's array library.
        ``gelu`` is the exact one, ``u Phi(u)``.
    w_std, b_std : float, default=sqrt(2), 0.0
        Standard deviations of weights and biases.
    readout_w_std, readout_b_std : float, default=1.0, 0.0
        The same of the last layer.
    skip : bool, default=False
        Whether hidden layers 2 to `depth` are residual: their input is added to their
        output, ``f + w_std W phi(f) / sqrt(width) + b_std b``.

    Notes
    -----
    With d columns, ``S = w_std^2 x^T M z / d + b_std^2``. For each layer after an
    activation, with (u, v) Gaussian of the covariance so far,

    ``S <- w^2 E[phi(u) phi(v)] + b^2`` (``+ S`` with `skip`, except for the readout).

    ReLU, erf and gelu have closed forms. For ReLU, one less the cosine is computed
    from differences of rows of unit length, so that near-duplicates keep their digits.
    A pair of functions is expanded in 64 Hermite polynomials: exact to round-off for
    smooth functions, to about 1e-3 for those with a kink, at 64 times the cost. Its
    gradients need the JAX backend, and such a kernel cannot be saved.

    Rows of norm 0 are no special case: with ``b_std=0`` their ReLU kernel is 0.

    References
    ----------
    Cho, Saul (2009), NeurIPS 22. Lee et al. (2018), ICLR.

    Examples
    --------
    >>> from mlmethods.kernels import NNGPKernel
    >>> NNGPKernel()([[1.0, 0.0]], [[0.0, 1.0]], backend="numpy").round(4)
    array([[0.1592]])
    """

    _name = "nngp"


class NTKKernel(_NetworkKernel):
    r"""The neural tangent kernel of an infinitely wide network.

    The inner product of the gradients of the network's output by all of its weights:
    training a wide network by gradient descent is regression with this kernel. The
    network, the parameters and the notes are those of :class:`NNGPKernel`.

    Parameters
    ----------
    depth : int, default=1
        Hidden layers.
    activation : {"relu", "erf", "gelu"} or pair of functions, default="relu"
        The activation, or ``(phi, dphi)``.
    w_std, b_std : float, default=sqrt(2), 0.0
        Standard deviations of weights and biases.
    readout_w_std, readout_b_std : float, default=1.0, 0.0
        The same of the last layer.
    skip : bool, default=False
        Whether hidden layers 2 to `depth` add their input to their output.

    Notes
    -----
    ``T = S`` after the first dense layer; then, with S' the covariance of the next,

    ``T <- S' + w^2 T E[phi'(u) phi'(v)]`` (``+ T`` with `skip`, where S' is what the
    layer adds to S).

    Where the directions of x and z coincide the ReLU kernel has no gradient across
    them: the gradient returned is the mean over all directions, which is along x.

    References
    ----------
    Jacot, Gabriel, Hongler (2018), NeurIPS 31.

    Examples
    --------
    >>> from mlmethods.kernels import NTKKernel
    >>> kernel = NTKKernel(depth=3)
    >>> kernel([[1.0, 0.0], [0.0, 1.0]], backend="numpy").round(4)
    array([[2.    , 0.5302],
           [0.5302, 2.    ]])
    """

    _name = "ntk"


def _second_moments(activation: Any, q: NDArray) -> tuple[NDArray, NDArray]:
    """Return ``E[phi(u)^2]`` and ``E[phi'(u)^2]`` for u of variance `q`."""
    if activation == "relu":
        return q / 2, np.full_like(q, 0.5)
    if activation == "erf":
        root = np.sqrt(1 + 4 * q)
        return np.arctan2(2 * q, root) * (2 / np.pi), 4 / (np.pi * root)
    if activation == "gelu":
        root = np.sqrt(1 + 2 * q)
        both = 0.25 + np.arctan2(q, root) / (2 * np.pi)
        mix = 2 / (1 + q) - 1
        top = q**2 * (1 + mix)
        value = q * both + top / (2 * np.pi * root)
        slope = q * (1 + 2 * mix + top / root**2) / (2 * np.pi * root)
        return value, both + slope
    nodes, weights = np.polynomial.hermite_e.hermegauss(_DEGREE)
    weights = weights / weights.sum()
    at = np.sqrt(q)[:, None] * nodes
    value, slope = ((np.asarray(f(at)) ** 2 * weights).sum(axis=1) for f in activation)
    return value, slope
