"""Wrong labels in an exact number."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlmethods.common.rng import seed_sequence
from mlmethods.common.validation import check_choice, check_real
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import ArrayLike, NDArray

__all__ = [
    "NOISE_KINDS",
    "add_label_noise",
    "check_rate",
    "label_transition",
    "replace_codes",
]

NOISE_KINDS = ("symmetric", "uniform", "pair", "matrix")
# A rate such as 1 - 1/3 is not exact in binary.
_RATE_SLACK = 1e-9
_ROW_SUM_SLACK = 1e-6


def add_label_noise(
    y: ArrayLike,
    rate: float | None,
    kind: str = "symmetric",
    random_state: Any = None,
    matrix: ArrayLike | None = None,
) -> tuple[NDArray, NDArray]:
    """Replace an exact number of labels by wrong ones.

    Parameters
    ----------
    y : array-like of shape (n,)
        Labels of any type: integers, strings, booleans, or floats with integer values.
    rate : float or None
        Share of the labels to replace, in [0, 1 - 1/K] for the K classes in `y`;
        exactly ``round(rate * n)`` are replaced. None, for ``kind="matrix"`` only, is
        the share that the matrix itself implies for `y`.
    kind : {"symmetric", "uniform", "pair", "matrix"}, default="symmetric"
        What replaces a label. ``"symmetric"`` and ``"uniform"`` are two names of one
        rule: any other class with equal probability, the other one of two.
        ``"pair"``: the next class in sorted order, the first after the last.
        ``"matrix"``: drawn by `matrix`, such as the confusions of human annotators.
    random_state : None, int, numpy.random.RandomState or numpy.random.Generator
        The same integer gives the same result.
    matrix : array-like of shape (K, K), optional
        Row c holds the probabilities of each label where class c, in sorted order,
        is the truth. Rows in proportion to the chance ``1 - matrix[c, c]`` of their
        class are replaced, by the other entries of the row.

    Returns
    -------
    y_noisy : ndarray of shape (n,)
        The labels, of the dtype of `y`.
    mask : ndarray of shape (n,), bool
        Which were replaced; a replaced label always differs from the true one.

    Raises
    ------
    InvalidInputError
        If `y` is not labels, the rate is outside its range or more than the matrix
        can replace, or `matrix` is not a stochastic matrix for the classes of `y`.

    Notes
    -----
    Every row draws its own two numbers, so that with the same integer seed the rows
    replaced at a lower rate are replaced by the same labels at a higher one.

    Examples
    --------
    >>> from mlmethods.overfitting import add_label_noise
    >>> noisy, mask = add_label_noise(["cat", "dog"] * 5, 0.2, random_state=0)
    >>> int(mask.sum()), noisy[mask].tolist()
    (2, ['dog', 'dog'])
    """
    labels = _labels(y)
    classes, codes = np.unique(labels, return_inverse=True)
    codes, K, n = codes.ravel(), len(classes), len(labels)
    transition = label_transition(kind, matrix, K)
    if rate is None:
        if kind != "matrix":
            raise InvalidInputError("rate must be a number unless kind is 'matrix'")
        count = round(float((1.0 - np.diagonal(transition))[codes].sum()))
    else:
        count = round(check_rate(rate, K) * n)
    noisy = replace_codes(codes, count, transition, seed_sequence(random_state))
    return classes[noisy], noisy != codes


def replace_codes(
    codes: NDArray, count: int, transition: NDArray, seed: np.random.SeedSequence
) -> NDArray:
    """Return class numbers of which exactly `count` are replaced.

    Parameters
    ----------
    codes : ndarray of shape (n,), int
        Class numbers below K.
    count : int
        How many to replace.
    transition : ndarray of shape (K, K)
        What :func:`label_transition` returns.
    seed : numpy.random.SeedSequence
        Who draws; it is spawned from.

    Raises
    ------
    InvalidInputError
        If fewer than `count` rows may change.
    """
    weights = (1.0 - np.diagonal(transition))[codes]
    if count > np.count_nonzero(weights):
        raise InvalidInputError(
            f"rate asks to replace {count} labels, but only "
            f"{np.count_nonzero(weights)} of them may differ from the truth"
        )
    which, whither = (np.random.default_rng(child) for child in seed.spawn(2))
    # The first arrivals of exponential clocks are a weighted draw without replacement.
    arrival = which.standard_exponential(len(codes))
    with np.errstate(divide="ignore"):
        arrival = np.where(weights > 0, arrival / weights, np.inf)
    chosen = np.argsort(arrival, kind="stable")[:count]
    places = whither.random(len(codes))[chosen]
    noisy = codes.copy()
    noisy[chosen] = _destinations(transition, codes[chosen], places)
    return noisy


def _labels(y: ArrayLike) -> NDArray:
    labels = np.asarray(y)
    if labels.ndim != 1 or len(labels) == 0:
        raise InvalidInputError(
            f"y must hold labels in one dimension, got shape {labels.shape}"
        )
    kind = labels.dtype.kind
    if kind == "f" and not (labels == np.rint(labels)).all():
        raise InvalidInputError(
            "y must hold class labels, got floats that are not whole numbers or not "
            "finite"
        )
    if kind not in "biufUSO":
        raise InvalidInputError(f"y must hold class labels, got dtype {labels.dtype}")
    if kind == "O":
        try:
            np.unique(labels)
        except TypeError:
            raise InvalidInputError(
                "y must hold labels of one type, got an object array that cannot be "
                "sorted (None and NaN are no labels)"
            ) from None
        if any(label != label for label in labels):
            raise InvalidInputError("y must hold labels, got NaN among them")
    return labels


def check_rate(rate: float, K: int) -> float:
    """Return a share of labels that may be replaced for K classes."""
    most = 1.0 - 1.0 / K
    value = check_real("rate", rate, minimum=0)
    if value > most + _RATE_SLACK:
        reason = "y holds one class only" if K == 1 else f"for {K} classes"
        raise InvalidInputError(
            f"rate must be at most 1 - 1/K = {most:g} ({reason}), got {rate!r}"
        )
    return value


def label_transition(kind: str, matrix: ArrayLike | None, K: int) -> NDArray:
    """Return the probabilities of each label for each true class, of shape (K, K)."""
    check_choice("kind", kind, NOISE_KINDS)
    if (matrix is None) == (kind == "matrix"):
        raise InvalidInputError(
            "matrix must be given with kind='matrix' and only then, got "
            f"kind={kind!r} and matrix={'None' if matrix is None else 'an array'}"
        )
    if matrix is None:
        if K == 1:
            return np.eye(1)
        if kind == "pair":
            return np.roll(np.eye(K), 1, axis=1)
        return (np.ones((K, K)) - np.eye(K)) / (K - 1)
    table = np.asarray(matrix)
    if table.dtype.kind not in "biuf" or table.shape != (K, K):
        raise InvalidInputError(
            f"matrix must hold numbers of shape ({K}, {K}), one row for each class in "
            f"y, got {table.dtype} of shape {table.shape}"
        )
    table = table.astype(np.float64)
    sums = table.sum(axis=1)
    if not ((table >= 0).all() and (np.abs(sums - 1) <= _ROW_SUM_SLACK).all()):
        raise InvalidInputError(
            "matrix must have entries >= 0 and rows that sum to 1, got rows that sum "
            f"to {np.round(sums, 6).tolist()} and the smallest entry {table.min():g}"
        )
    table = table / sums[:, None]
    # Rounding must not leave a class that never changes a tiny chance to.
    stays = table.sum(axis=1) == np.diagonal(table)
    table[stays] = np.eye(K)[stays]
    return table


def _destinations(transition: NDArray, codes: NDArray, places: NDArray) -> NDArray:
    """Return a wrong class for each code by inverting the distribution over them."""
    wrong = transition * (1 - np.eye(len(transition)))
    reached = np.cumsum(wrong, axis=1)
    total = reached[codes, -1]
    passed = reached[codes] <= (places * total)[:, None]
    return np.minimum(passed.sum(axis=1), _last_positive(wrong)[codes])


def _last_positive(table: NDArray) -> NDArray:
    """Return the last column with a positive entry, a guard against rounding."""
    K = table.shape[1]
    return K - 1 - np.argmax(table[:, ::-1] > 0, axis=1)
