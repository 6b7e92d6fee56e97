"""The AGOP of a kernel machine, and the settings of the published package."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlmethods.backend import get_backend
from mlmethods.common.validation import check_choice
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import ArrayLike, Center, NDArray
from mlmethods.kernels import Kernel, resolve_kernel

__all__ = ["kernel_agop", "reference_params"]


def kernel_agop(
    kernel: str | Kernel,
    X: ArrayLike,
    alpha: ArrayLike,
    X_eval: ArrayLike | None = None,
    M: ArrayLike | None = None,
    *,
    weights: ArrayLike | None = None,
    diagonal: bool = False,
    center: Center = "none",
    dtype: str = "auto",
    backend: Any = "auto",
) -> NDArray:
    """Return the average gradient outer product of a kernel machine.

    Parameters
    ----------
    kernel : str or Kernel
        The kernel of the machine.
    X : array-like of shape (n, d)
        Its centers.
    alpha : array-like of shape (n, c) or (n,)
        Its coefficients.
    X_eval : array-like of shape (m, d), optional
        Samples to average over; None means `X`, where a sample contributes nothing to
        its own gradient.
    M : array-like of shape (d, d) or (d,), optional
        Mahalanobis matrix.
    weights : array-like of shape (m,), optional
        Weights of the samples.
    diagonal : bool, default=False
        Whether to return the diagonal only.
    center : {"none", "per_output", "pooled"}, default="none"
        Which mean gradient to subtract.
    dtype : {"auto", "float32", "float64"}, default="auto"
        Precision; auto is the backend's own.
    backend : str or Backend, default="auto"
        Which backend computes.

    Returns
    -------
    ndarray of shape (d, d) or (d,)

    Raises
    ------
    InvalidInputError
        If shapes or options do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from mlmethods.rfm import kernel_agop
    >>> X = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
    >>> kernel_agop("gaussian", X, [1.0, -1.0, 0.5], backend="numpy").shape
    (2, 2)
    """
    check_choice("center", center, ("none", "per_output", "pooled"))
    spec = resolve_kernel(kernel).to_spec()
    chosen = get_backend(backend, "kernels.agop", kernel=spec, dtype=dtype)
    own = chosen.info.default_dtype if dtype == "auto" else dtype

    def native(x: ArrayLike | None) -> Any:
        return None if x is None else chosen.asarray(np.asarray(x), dtype=own)

    coefficients = np.asarray(alpha)
    if coefficients.ndim == 1:
        coefficients = coefficients[:, None]
    points = np.asarray(X)
    if points.ndim != 2 or coefficients.shape[:1] != points.shape[:1]:
        raise InvalidInputError(
            f"X must have shape (n, d) and alpha (n, c), got {points.shape} and "
            f"{coefficients.shape}"
        )
    centers = native(points)
    result = chosen.kernels.agop(
        spec,
        centers if X_eval is None else native(X_eval),
        None if X_eval is None else centers,
        native(coefficients),
        native(M),
        weights=native(weights),
        diagonal=diagonal,
        center=center,
    )
    return np.asarray(chosen.to_numpy(result))


def reference_params() -> dict[str, Any]:
    """Return the settings of the published package, as keywords of the estimators.

    No early stopping, no intercept, the last iterate, reg 1e-3, bandwidth 10, five
    updates, the AGOP divided by its largest entry.

    Examples
    --------
    >>> from mlmethods.rfm import reference_params
    >>> reference_params()["n_iter"]
    5
    """
    return {
        "kernel": "laplace",
        "bandwidth": 10.0,
        "reg": 1e-3,
        "n_iter": 5,
        "diagonal": False,
        "center": "none",
        "agop_power": 1.0,
        "normalize": "max",
        "early_stopping": False,
        "fit_intercept": False,
    }
