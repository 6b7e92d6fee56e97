"""The input of a first dense layer, from its gradient in closed form."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from mlmethods.common.validation import check_choice, check_integer
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import ArrayLike, NDArray

__all__ = ["first_layer_exact"]


def first_layer_exact(
    dW: ArrayLike,
    db: ArrayLike,
    *,
    layout: Literal["auto", "in_out", "out_in"] = "auto",
    neurons: int | None = None,
) -> NDArray:
    """Return the input of a dense layer with a bias, from the gradient of one example.

    The gradient of neuron i's weights is the input times that of its bias, so that
    ``x = dW_i / db_i`` for every neuron with ``db_i != 0``. The answer is the least
    squares fit over neurons, ``sum_i db_i dW_i / sum_i db_i^2``: without noise it is
    exact, and with it neurons with a large gradient count most.

    Parameters
    ----------
    dW : array-like of shape (in, out) or (out, in)
        Gradient of the weights.
    db : array-like of shape (out,)
        Gradient of the bias, not zero. Both may carry one common factor.
    layout : {"auto", "in_out", "out_in"}
        ``"in_out"`` is a flax kernel, ``"out_in"`` a torch weight. ``"auto"`` looks at
        the shapes; where both fit, it takes the one in which the neurons agree.
    neurons : int, optional
        Use only so many neurons, those with the largest ``|db_i|``; all by default.

    Returns
    -------
    float64 ndarray of shape (in,)
        Not clipped to any range. For the average gradient of a batch it is a mixture of
        the batch's inputs, weighted by how each moves the neurons: only where an input
        is alone in activating some neuron does ``neurons=1`` find it unmixed.

    Raises
    ------
    InvalidInputError
        If the shapes do not fit, a number is not finite, or `db` is zero.

    References
    ----------
    J. Geiping, H. Bauermeister, H. Droege, M. Moeller, "Inverting gradients" (2020),
    arXiv:2003.14053, proposition 3.1.

    Examples
    --------
    >>> import numpy as np
    >>> from mlmethods.privacy.attacks import first_layer_exact
    >>> x, db = np.array([0.1, 0.5, 0.9]), np.array([0.3, -0.2])
    >>> first_layer_exact(np.outer(x, db), db)
    array([0.1, 0.5, 0.9])
    """
    check_choice("layout", layout, ("auto", "in_out", "out_in"))
    weights, bias = _finite("dW", dW, 2), _finite("db", db, 1)
    fits = {
        "in_out": weights.shape[1] == len(bias),
        "out_in": weights.shape[0] == len(bias),
    }
    if not (any(fits.values()) if layout == "auto" else fits[layout]):
        raise InvalidInputError(
            "dW must have one axis of the length of db, "
            f"{'either' if layout == 'auto' else layout}, got shapes {weights.shape} "
            f"and {bias.shape}"
        )
    largest = np.abs(bias).max(initial=0.0)
    if largest == 0:
        raise InvalidInputError(
            "db must not be zero: no neuron of the layer saw this example"
        )
    if neurons is not None:
        neurons = check_integer("neurons", neurons, minimum=1, maximum=len(bias))
    layouts = [layout] if layout != "auto" else [name for name in fits if fits[name]]
    found = [
        _fit(weights if name == "in_out" else weights.T, bias / largest, neurons)
        for name in layouts
    ]
    return min(found, key=lambda pair: pair[1])[0] / largest


def _fit(weights: NDArray, bias: NDArray, neurons: int | None) -> tuple[NDArray, float]:
    """Return the fit of weights [in, out], and how far the neurons are from it."""
    if neurons is not None:
        chosen = np.argsort(-np.abs(bias), kind="stable")[:neurons]
        used, weighed = weights[:, chosen], bias[chosen]
    else:
        used, weighed = weights, bias
    x = used @ weighed / (weighed @ weighed)
    return x, float(np.linalg.norm(weights - np.outer(x, bias)))


def _finite(name: str, values: Any, ndim: int) -> NDArray:
    array = np.asarray(values)
    if array.dtype.kind not in "fiu" or array.ndim != ndim or 0 in array.shape:
        raise InvalidInputError(
            f"{name} must be real numbers of {ndim} axes, got {array.dtype} of shape "
            f"{array.shape}"
        )
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        raise InvalidInputError(f"{name} must be finite, got NaN or infinity")
    return array
