"""Numbers and masks that say what a feature matrix has learned."""

from __future__ import annotations

import numpy as np

from mlmethods.common.validation import check_integer, check_real
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import ArrayLike, NDArray

__all__ = ["agop_alignment", "circulant_deviation", "feature_mask"]

_PUBLISHED_THRESHOLD = 0.05


def circulant_deviation(M: ArrayLike, p: int) -> float:
    """Return how far the bottom-left block of a feature matrix is from circulant.

    A circulant matrix is constant along each of its wrapped diagonals. The deviation
    is the share of the block's squared Frobenius norm that is the squared distance of
    its entries from the mean of their diagonal.

    Parameters
    ----------
    M : array-like of shape (2 * p, 2 * p) or (p, p)
        A feature matrix over two one-hot residues, whose block ``M[p:, :p]`` is
        measured; or the block itself.
    p : int
        The modulus.

    Returns
    -------
    float
        Between 0, a circulant block, and 1, every diagonal of which has the mean 0;
        NaN for a block of zeros, such as that of the identity.

    Raises
    ------
    InvalidInputError
        If the shape does not fit `p`, or an entry is not finite.

    Notes
    -----
    Rows and columns must be in an order in which the operation is a shift: as they
    are for sums and differences, in the order of the discrete logarithm for products.

    References
    ----------
    N. Mallinar, D. Beaglehole, L. Zhu, A. Radhakrishnan, P. Pandit, M. Belkin,
    "Emergence in non-neural models: grokking modular arithmetic via average gradient
    outer product", ICML 2025.

    Examples
    --------
    >>> from scipy.linalg import circulant
    >>> from mlmethods.rfm.measures import circulant_deviation
    >>> circulant_deviation(circulant([1.0, 2.0, 4.0]), 3)
    0.0
    >>> circulant_deviation([[1.0, 0.0], [0.0, -1.0]], 2)
    1.0
    """
    p = check_integer("p", p, minimum=1)
    matrix = _finite("M", M)
    if matrix.shape not in ((2 * p, 2 * p), (p, p)):
        raise InvalidInputError(
            f"M must have shape {(2 * p, 2 * p)} or {(p, p)} for p={p}, got "
            f"{matrix.shape}"
        )
    block = matrix[-p:, :p]
    norm = float(np.sum(block**2))
    if norm == 0:
        return float("nan")
    row = np.arange(p)
    diagonals = block[row, (row + row[:, None]) % p]
    spread = diagonals - diagonals.mean(axis=1, keepdims=True)
    return float(np.sum(spread**2) / norm)


def agop_alignment(A: ArrayLike, B: ArrayLike) -> float:
    """Return the cosine of the angle between two feature matrices.

    Parameters
    ----------
    A, B : array-like of shape (d, d) or (d,)
        Feature matrices, or diagonals, of one shape.

    Returns
    -------
    float
        1 for matrices that are positive multiples of each other; never negative for
        positive semidefinite ones; NaN where one is zero.

    Raises
    ------
    InvalidInputError
        If the shapes differ or are no feature matrix's, or an entry is not finite.

    References
    ----------
    N. Mallinar, D. Beaglehole, L. Zhu, A. Radhakrishnan, P. Pandit, M. Belkin,
    "Emergence in non-neural models: grokking modular arithmetic via average gradient
    outer product", ICML 2025.

    Examples
    --------
    >>> import numpy as np
    >>> from mlmethods.rfm.measures import agop_alignment
    >>> round(agop_alignment(np.eye(2), np.ones((2, 2))), 4)
    0.7071
    """
    first, second = _feature_matrix("A", A), _feature_matrix("B", B)
    if first.shape != second.shape:
        raise InvalidInputError(
            f"A and B must have one shape, got {first.shape} and {second.shape}"
        )
    norms = np.linalg.norm(first) * np.linalg.norm(second)
    return float(np.sum(first * second) / norms) if norms > 0 else float("nan")


def feature_mask(
    M: ArrayLike,
    *,
    shape: tuple[int, ...] | None = None,
    threshold: float | None = None,
    quantile: float | None = None,
) -> NDArray:
    """Return which features have a large entry on the diagonal of a feature matrix.

    Parameters
    ----------
    M : array-like of shape (d, d) or (d,)
        A feature matrix, or its diagonal.
    shape : tuple of int, optional
        The image that the features are: ``(height, width)`` or ``(channels, height,
        width)``, of d pixels; the mask gets this shape.
    threshold : float, optional
        In [0, 1). Keep the features that exceed it once the diagonal is scaled to
        [0, 1], each channel by its own smallest and largest entry; none where they
        are equal. 0.05, as published, where `quantile` is not given either.
    quantile : float, optional
        In [0, 1). Keep the share ``1 - quantile`` of all features with the largest
        entries, at least one: exactly ``round((1 - quantile) * d)`` of them; of equal
        ones the first.

    Returns
    -------
    ndarray of bool of shape (d,) or `shape`

    Raises
    ------
    InvalidInputError
        If both `threshold` and `quantile` are given or out of range, `shape` does not
        fit the matrix, or an entry is not finite.

    References
    ----------
    A. Radhakrishnan, D. Beaglehole, P. Pandit, M. Belkin, "Mechanism for feature
    learning in neural networks and backpropagation-free machine learning models",
    Science 383 (2024).

    Examples
    --------
    >>> from mlmethods.rfm.measures import feature_mask
    >>> feature_mask([0.0, 0.02, 0.7, 1.0])
    array([False, False,  True,  True])
    >>> feature_mask([0.0, 0.02, 0.7, 1.0], shape=(2, 2), quantile=0.75)
    array([[False, False],
           [False,  True]])
    """
    matrix = _feature_matrix("M", M)
    diagonal = matrix if matrix.ndim == 1 else np.diagonal(matrix)
    if shape is None:
        shape = diagonal.shape
    elif len(shape) not in (2, 3) or np.prod(shape) != len(diagonal):
        raise InvalidInputError(
            "shape must be (height, width) or (channels, height, width) of "
            f"{len(diagonal)} values, got {shape!r}"
        )
    if quantile is not None:
        if threshold is not None:
            raise InvalidInputError(
                f"give threshold or quantile, got both: {threshold!r} and {quantile!r}"
            )
        quantile = check_real(
            "quantile", quantile, minimum=0, maximum=1, open_maximum=True
        )
        kept = max(1, round((1 - quantile) * len(diagonal)))
        mask = np.zeros(len(diagonal), dtype=bool)
        mask[np.argsort(-diagonal, kind="stable")[:kept]] = True
        return mask.reshape(shape)
    threshold = check_real(
        "threshold",
        _PUBLISHED_THRESHOLD if threshold is None else threshold,
        minimum=0,
        maximum=1,
        open_maximum=True,
    )
    channels = diagonal.reshape(shape[0] if len(shape) == 3 else 1, -1)
    low = channels.min(axis=1, keepdims=True)
    span = channels.max(axis=1, keepdims=True) - low
    exceeds = (channels - low > threshold * span) & (span > 0)
    return np.asarray(exceeds).reshape(shape)


def _finite(name: str, values: ArrayLike) -> NDArray:
    array = np.asarray(values)
    if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
        raise InvalidInputError(f"{name} must hold finite real numbers")
    return array.astype(np.float64)


def _feature_matrix(name: str, values: ArrayLike) -> NDArray:
    array = _finite(name, values)
    square = array.ndim == 2 and array.shape[0] == array.shape[1]
    if not array.size or not (array.ndim == 1 or square):
        raise InvalidInputError(
            f"{name} must have shape (d, d) or (d,), got {array.shape}"
        )
    return array
