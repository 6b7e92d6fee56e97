"""How near reconstructed examples are to the true ones."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mlmethods.common.validation import check_integer, check_real
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import ArrayLike, NDArray

__all__ = ["ReconstructionMetrics", "reconstruction_metrics"]


class ReconstructionMetrics(NamedTuple):
    """Errors of reconstructed examples, one entry an example.

    Attributes
    ----------
    mse : float64 ndarray of shape (n,)
        Mean squared error.
    psnr : float64 ndarray of shape (n,)
        Peak signal-to-noise ratio in decibels; infinite where nothing differs.
    ssim : float64 ndarray of shape (n,)
        Structural similarity, at most 1; NaN where the examples are not images.
    order : int ndarray of shape (n,)
        Which reconstruction each target was compared with.
    """

    mse: NDArray
    psnr: NDArray
    ssim: NDArray
    order: NDArray

    def to_dict(self) -> dict[str, Any]:
        """Return the means for JSON; None where a mean is not finite."""
        means = {name: float(np.mean(getattr(self, name))) for name in _NAMES}
        return {k: v if np.isfinite(v) else None for k, v in means.items()}


_NAMES = ("mse", "psnr", "ssim")
_K1, _K2 = 0.01, 0.03


def reconstruction_metrics(
    inputs: ArrayLike,
    targets: ArrayLike,
    *,
    data_range: float = 1.0,
    window: int = 7,
    match: bool = True,
) -> ReconstructionMetrics:
    """Compare reconstructed examples with the true ones.

    Parameters
    ----------
    inputs : array-like of shape (n, ...)
        Reconstructions, in any order.
    targets : array-like of shape (n, ...)
        True examples. Images are (n, height, width) or (n, height, width, channels).
    data_range : float
        Distance of the smallest and the largest possible value, > 0.
    window : int
        Side of the uniform window of the structural similarity, odd and >= 3.
    match : bool
        Whether reconstructions are assigned to targets so that the sum of squared
        errors is smallest; a gradient says nothing of the order in its batch.

    Returns
    -------
    ReconstructionMetrics

    Raises
    ------
    InvalidInputError
        If the shapes differ, a number is not finite, or an option is outside its range.

    Notes
    -----
    The structural similarity is that of scikit-image: a uniform window, sample
    covariances, constants 0.01 and 0.03, the mean over channels and over windows that
    lie within the image.

    References
    ----------
    Z. Wang, A. C. Bovik, H. R. Sheikh, E. P. Simoncelli, "Image quality assessment:
    from error visibility to structural similarity", IEEE Transactions on Image
    Processing 13 (2004).

    Examples
    --------
    >>> import numpy as np
    >>> from mlmethods.privacy.attacks import reconstruction_metrics
    >>> image = np.linspace(0, 1, 64).reshape(1, 8, 8)
    >>> found = reconstruction_metrics(image + 0.1, image)
    >>> found.mse.round(4), found.psnr.round(2)
    (array([0.01]), array([20.]))
    """
    ours, truth = _examples("inputs", inputs), _examples("targets", targets)
    if ours.shape != truth.shape:
        raise InvalidInputError(
            f"inputs must have the shape of targets {truth.shape}, got {ours.shape}"
        )
    span = check_real("data_range", data_range, minimum=0, open_minimum=True)
    window = check_integer("window", window, minimum=3)
    if window % 2 == 0:
        raise InvalidInputError(f"window must be odd, got {window}")
    order = np.arange(len(truth))
    if match and len(truth) > 1:
        order = _assignment(ours, truth)
        ours = ours[order]
    mse = np.mean((ours - truth).reshape(len(truth), -1) ** 2, axis=1)
    with np.errstate(divide="ignore"):
        psnr = 10 * (2 * np.log10(span) - np.log10(mse))
    return ReconstructionMetrics(mse, psnr, _ssim(ours, truth, span, window), order)


def _assignment(ours: NDArray, truth: NDArray) -> NDArray:
    """Return the reconstruction of each target."""
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    rows = (array.reshape(len(array), -1) for array in (truth, ours))
    return linear_sum_assignment(cdist(*rows, "sqeuclidean"))[1]


def _ssim(ours: NDArray, truth: NDArray, span: float, window: int) -> NDArray:
    """Return the mean structural similarity of each pair of images, or NaN."""
    from scipy.ndimage import uniform_filter

    if ours.ndim not in (3, 4) or min(ours.shape[1:3]) < window:
        return np.full(len(ours), np.nan)
    x, y = (a.reshape(*a.shape[:3], -1) for a in (ours, truth))

    def smooth(a: NDArray) -> NDArray:
        edge = window // 2
        means = uniform_filter(a, (1, window, window, 1))
        return means[:, edge : a.shape[1] - edge, edge : a.shape[2] - edge]

    mean_x, mean_y = smooth(x), smooth(y)
    size = window**2
    scale = size / (size - 1)
    var_x = scale * (smooth(x * x) - mean_x**2)
    var_y = scale * (smooth(y * y) - mean_y**2)
    covariance = scale * (smooth(x * y) - mean_x * mean_y)
    c1, c2 = (_K1 * span) ** 2, (_K2 * span) ** 2
    similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    similarity /= (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    return similarity.mean(axis=(1, 2, 3))


def _examples(name: str, values: ArrayLike) -> NDArray:
    array = np.asarray(values)
    if array.dtype.kind not in "fiu" or array.ndim < 2 or 0 in array.shape:
        raise InvalidInputError(
            f"{name} must be real numbers of shape (n, ...), got {array.dtype} of "
            f"shape {array.shape}"
        )
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        raise InvalidInputError(f"{name} must be finite, got NaN or infinity")
    return array
