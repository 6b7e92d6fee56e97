"""Models trained on random halves of the data, for attacks on membership."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from mlmethods.common.rng import generator
from mlmethods.common.validation import check_integer
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import ArrayLike, Callback, Event, NDArray
from mlmethods.privacy.attacks._probabilities import check_labels, check_probabilities

__all__ = ["Shadows", "logit_confidence", "train_shadows"]

# Stands for a probability of zero, whose logarithm is infinite.
_FLOOR = 1e-45


class Shadows(NamedTuple):
    """What shadow models say of every example.

    Attributes
    ----------
    scores : float64 ndarray of shape (m, n)
        Logit-scaled confidence of each model in each example's label.
    inclusion : bool ndarray of shape (m, n)
        Which model was trained on which example.
    """

    scores: NDArray
    inclusion: NDArray


def logit_confidence(probabilities: ArrayLike, labels: ArrayLike) -> NDArray:
    """Return ``log(p_y / (1 - p_y))`` of each row.

    On this scale the confidence of many models is near a normal distribution. The
    second probability is summed from the other classes, which keeps its digits where
    the first is nearly 1.

    Parameters
    ----------
    probabilities : array-like of shape (n, c)
        Probabilities of the classes.
    labels : int array-like of shape (n,)
        True classes.

    Returns
    -------
    float64 ndarray of shape (n,)
        Finite: a probability of zero counts as 1e-45.

    Raises
    ------
    InvalidInputError
        If rows are not probabilities, or a label is no class.

    References
    ----------
    N. Carlini et al., "Membership inference attacks from first principles", IEEE S&P
    (2022), arXiv:2112.03570, section IV-C.

    Examples
    --------
    >>> from mlmethods.privacy.attacks import logit_confidence
    >>> logit_confidence([[0.5, 0.5], [0.9, 0.1]], [0, 1]).round(4)
    array([ 0.    , -2.1972])
    """
    table = check_probabilities("probabilities", probabilities)
    own_class = check_labels("labels", labels, table)
    own = np.arange(table.shape[1]) == own_class[:, None]
    parts = (np.where(side, table, 0).sum(axis=1) for side in (own, ~own))
    first, second = (np.log(np.maximum(part, _FLOOR)) for part in parts)
    return first - second


def train_shadows(
    fit: Callable[[NDArray, NDArray, int], Any],
    ds: Any,
    n_shadows: int,
    *,
    rng: Any = None,
    callback: Callback | None = None,
) -> Shadows:
    """Train models on random halves of the data, and score every example with each.

    Every example is in half of the models (rounded down), chosen at random for each.

    Parameters
    ----------
    fit : callable
        ``fit(X, y, seed)`` trains as the target was trained, and returns a function of
        inputs, or an object with ``predict_proba``, that gives probabilities [n, c].
    ds : pair of arrays, or dict with "x" and "y"
        Inputs [n, ...] and integer labels [n].
    n_shadows : int
        Number of models, at least 2; 16 for a quick look, 64 to 256 for a strong attack.
    rng : None, int or numpy.random.Generator
        Who draws the halves and the seeds.
    callback : callable, optional
        Receives ``"start"``, ``"step"`` and ``"end"`` events, a step for each model.

    Returns
    -------
    Shadows
        For :func:`mlmethods.privacy.attacks.lira`.

    Raises
    ------
    InvalidInputError
        If the data do not fit together, `n_shadows` is below 2, or a model does not
        return probabilities.

    Notes
    -----
    Shadow models see the same data as the target. They are an auditor's tool and
    themselves not private.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from mlmethods.privacy.attacks import train_shadows
    >>> def fit(X, y, seed):
    ...     return LogisticRegression(max_iter=1000).fit(X, y)
    >>> shadows = train_shadows(fit, load_iris(return_X_y=True), 4, rng=0)
    >>> shadows.scores.shape, np.unique(shadows.inclusion.sum(axis=0)).tolist()
    ((4, 150), [2])
    """
    X, y = read_pair("ds", ds)
    n_shadows = check_integer("n_shadows", n_shadows, minimum=2)
    if not callable(fit):
        raise InvalidInputError(f"fit must be callable, got {fit!r}")
    draw = generator(rng)
    ranks = draw.random((n_shadows, len(X))).argsort(axis=0)
    inclusion = ranks < n_shadows // 2
    seeds = draw.integers(0, 2**31, n_shadows)
    began = time.perf_counter()

    def emit(kind: str, done: int) -> None:
        if callback is not None:
            elapsed = time.perf_counter() - began
            callback(
                Event(
                    kind=kind,
                    task="shadow models",
                    step=done,
                    total=n_shadows,
                    elapsed=elapsed,
                )
            )

    emit("start", 0)
    scores = np.empty(inclusion.shape)
    for i, (kept, seed) in enumerate(zip(inclusion, seeds, strict=True)):
        if not kept.any():
            raise InvalidInputError(
                f"ds must be large enough that every model has data, got {len(X)} rows"
            )
        model = fit(X[kept], y[kept], int(seed))
        predict = getattr(model, "predict_proba", model)
        scores[i] = logit_confidence(np.asarray(predict(X)), y)
        emit("step", i + 1)
    emit("end", n_shadows)
    return Shadows(scores, inclusion)


def read_pair(name: str, ds: Any) -> tuple[NDArray, NDArray]:
    """Return inputs and integer labels of a dataset in memory.

    Raises
    ------
    InvalidInputError
        If it is neither a pair nor a mapping with "x" and "y", the lengths differ, or
        labels are not integers.
    """
    try:
        X, y = (ds["x"], ds["y"]) if hasattr(ds, "keys") else ds
    except (KeyError, TypeError, ValueError):
        raise InvalidInputError(
            f"{name} must be a pair (X, y) or a mapping with 'x' and 'y', got "
            f"{type(ds).__name__}"
        ) from None
    X, y = np.asarray(X), np.asarray(y)
    if y.ndim != 1 or y.dtype.kind not in "iu" or X.shape[:1] != y.shape or not len(y):
        raise InvalidInputError(
            f"{name} must hold inputs and as many integer labels, got shapes {X.shape} "
            f"and {y.shape}, labels {y.dtype}"
        )
    return X, y
