"""The machines in the leaves of a tree: their validation rows, fit and outputs."""

from __future__ import annotations

import bisect
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import clone

from mlmethods.common.buckets import padded_size
from mlmethods.interfaces import NDArray
from mlmethods.rfm._outputs import probabilities
from mlmethods.rfm.contract import direct_bytes
from mlmethods.rfm.trees.routing import Router

__all__ = [
    "ConstantLeaf",
    "LeafRows",
    "automatic_leaf_size",
    "choose_temperature",
    "fit_again",
    "fit_leaf",
    "leaf_outputs",
    "summarized_warnings",
    "tree_outputs",
]

# Rows in a leaf with 40 GB of memory; a direct solve grows with their square.
_ROWS = 60_000
_MEMORY = 40e9
_LARGEST_REFILL = 0.2
_SMALLEST_EARLY_STOPPING = 50
_QUERY_BLOCK = 1024
_TEMPERATURES = np.concatenate([[0.0], np.geomspace(0.025, 4.5, 20)])
_TEMPERATURE_ROWS = 4096
# Bounds the memory for the answers and weights of all leaves and temperatures.
_TEMPERATURE_CELLS = 2e6


@dataclass(frozen=True)
class ConstantLeaf:
    """A leaf whose targets are all equal.

    Attributes
    ----------
    output : ndarray of shape (n_outputs,)
        What it answers: the target, or the probabilities of the classes.
    """

    output: NDArray


class LeafRows(NamedTuple):
    """What one leaf is fitted on.

    Attributes
    ----------
    X, y, weights : ndarrays of length n
        Training rows, with targets or labels as the estimator takes them.
    validation : tuple of ndarrays (X, y), or None
        Rows of the tree's validation set that were routed here; None means that the
        tree has no such set, and that the leaf holds out rows of its own.
    """

    X: NDArray
    y: NDArray
    weights: NDArray
    validation: tuple[NDArray, NDArray] | None


def automatic_leaf_size(limit: int, d: int, c: int, dtype: str, jobs: int) -> int:
    """Return how many rows a leaf may hold.

    60,000 for a limit of 40 GB, growing with its square root, and no more than `jobs`
    direct solves at a time can hold within the limit.

    Examples
    --------
    >>> automatic_leaf_size(40 * 10**9, 10, 1, "float32", 1) > 40_000
    True
    """
    most = int(_ROWS * (limit / _MEMORY) ** 0.5)
    share = limit // jobs
    fits = bisect.bisect_right(
        range(most + 1), share, key=lambda n: direct_bytes(n, d, c, dtype)
    )
    return max(2, fits - 1)


def fit_leaf(
    prototype: Any,
    rows: LeafRows,
    classes: NDArray | None,
    seed: int,
    refill_size: int,
) -> tuple[Any, float]:
    """Fit one leaf.

    Parameters
    ----------
    prototype : RFMRegressor or RFMClassifier
        Settings; it is cloned.
    rows : LeafRows
        The rows.
    classes : ndarray of shape (n_classes,) or None
        Labels of the tree, sorted; None for a regression.
    seed : int
        For the machine.
    refill_size : int
        Validation rows to aim at, taken from at most 20 % of the training rows.

    Returns
    -------
    model : RFMRegressor, RFMClassifier or ConstantLeaf
        The fitted leaf.
    score : float
        Validation score of its iterate, NaN without validation rows.
    """
    X, y, weights = rows.X, rows.y, rows.weights
    if (y == y[0]).all():
        return _constant(y[0], classes), np.nan
    model = _unfitted(prototype, classes, seed)
    if rows.validation is None:
        share = min(model.validation_fraction, refill_size / len(X))
        model.set_params(validation_fraction=share).fit(X, y, weights)
        return model, _score(model)
    X_val, y_val = rows.validation
    labels = None if classes is None else y
    if labels is not None:
        known = np.isin(y_val, labels)
        X_val, y_val = X_val[known], y_val[known]
    lent = _lent_rows(model, labels, len(X), refill_size - len(X_val))
    kept = np.setdiff1d(np.arange(len(X)), lent)
    X_val, y_val = np.concatenate([X_val, X[lent]]), np.concatenate([y_val, y[lent]])
    if not len(X_val):
        model.fit(X, y, weights)
        return model, _score(model)
    model.fit(X[kept], y[kept], weights[kept], X_val=X_val, y_val=y_val)
    score = _score(model)
    if lent.size and model.refit:
        model = fit_again(model, rows, classes)
    return model, score


def _constant(value: Any, classes: NDArray | None) -> ConstantLeaf:
    if classes is None:
        return ConstantLeaf(np.array(value, dtype=np.float64).reshape(-1))
    return ConstantLeaf(probabilities((classes == value)[None].astype(np.float64))[0])


def _unfitted(prototype: Any, classes: NDArray | None, seed: int) -> Any:
    model = clone(prototype).set_params(random_state=seed)
    if classes is not None:
        # The tree has multiplied the weights of the classes into those of the rows.
        model.set_params(class_weight=None)
    return model


def _score(model: Any) -> float:
    return float(model.history_[model.n_iter_]["validation_score"])


def fit_again(model: Any, rows: LeafRows, classes: NDArray | None) -> Any:
    """Return a leaf fitted on all these rows, with the updates that were best.

    Parameters
    ----------
    model : RFMRegressor, RFMClassifier or ConstantLeaf
        The leaf as it was fitted on some of them.
    rows : LeafRows
        The rows; its validation rows are not looked at.
    classes : ndarray of shape (n_classes,) or None
        Labels of the tree.

    Returns
    -------
    RFMRegressor, RFMClassifier or ConstantLeaf
    """
    if isinstance(model, ConstantLeaf) or (rows.y == rows.y[0]).all():
        return model
    again = _unfitted(model, classes, model.random_state)
    again.set_params(n_iter=model.n_iter_, early_stopping=False)
    return again.fit(rows.X, rows.y, rows.weights)


def _lent_rows(model: Any, labels: NDArray | None, n: int, missing: int) -> NDArray:
    """Return the training rows that fill up the validation rows of a leaf."""
    stops = model.early_stopping
    few = stops == "auto" and n < _SMALLEST_EARLY_STOPPING
    if stops is False or few or model.selection == "loo":
        return np.zeros(0, dtype=np.int64)
    count = max(0, min(missing, int(_LARGEST_REFILL * n)))
    order = np.random.default_rng(model.random_state).permutation(n)
    if labels is not None:
        # The first of each class in the order stays: no class is lost to the fit.
        first = np.unique(labels[order], return_index=True)[1]
        order = np.delete(order, first)
    return np.sort(order[:count])


def leaf_outputs(leaf: Any, X: NDArray, classes: NDArray | None) -> NDArray:
    """Return the outputs (n, c) of a leaf: predictions, or probabilities of `classes`.

    A class that the leaf has not seen gets the smallest probability that machines
    give, before the sum is made one.
    """
    if isinstance(leaf, ConstantLeaf):
        return np.broadcast_to(leaf.output, (len(X), len(leaf.output)))
    # Few sizes of query: a leaf gets any number of rows.
    extra = _query_size(len(X)) - len(X)
    padded = np.pad(X, [(0, extra), (0, 0)], mode="edge")
    if classes is None:
        return leaf.predict(padded)[: len(X)].reshape(len(X), -1)
    found = leaf.predict_proba(padded)[: len(X)]
    if found.shape[1] == len(classes):
        return found
    wide = np.zeros((len(X), len(classes)), dtype=found.dtype)
    wide[:, np.searchsorted(classes, leaf.classes_)] = found
    return probabilities(wide)


def tree_outputs(
    router: Router,
    leaves: Sequence[Any],
    X: NDArray,
    classes: NDArray | None,
    temperature: float,
    n_outputs: int,
) -> NDArray:
    """Return the outputs (n, c) of a tree, each leaf asked once."""
    outputs = np.zeros((len(X), n_outputs))
    found = router.assign(X, temperature)
    order = np.argsort(found.leaves, kind="stable")
    bounds = np.searchsorted(found.leaves[order], np.arange(len(leaves) + 1))
    for leaf, start, stop in zip(leaves, bounds[:-1], bounds[1:], strict=True):
        if start < stop:
            here = order[start:stop]
            rows = found.rows[here]
            answers = leaf_outputs(leaf, X[rows], classes)
            outputs[rows] += found.weights[here, None] * answers
    return outputs


def choose_temperature(
    trees: Sequence[tuple[Router, Sequence[Any]]],
    X: NDArray,
    Y: NDArray,
    classes: NDArray | None,
    rng: np.random.Generator,
) -> float:
    """Return the temperature of the least mean squared error, the smallest of equals.

    Tried are 0, hard routing, and 20 values from 0.025 to 4.5; each leaf answers once
    for each row, whatever the number of temperatures.
    """
    n_leaves = max(router.n_leaves for router, _ in trees)
    most = max(
        256, min(_TEMPERATURE_ROWS, int(_TEMPERATURE_CELLS / (n_leaves * Y.shape[1])))
    )
    if len(X) > most:
        sample = rng.choice(len(X), most, replace=False)
        X, Y = X[sample], Y[sample]
    predictions = np.zeros((len(_TEMPERATURES), *Y.shape))
    for router, leaves in trees:
        weights = np.stack([router.weights(X, value) for value in _TEMPERATURES])
        answers = np.zeros((len(leaves), *Y.shape))
        for k, leaf in enumerate(leaves):
            asked = np.flatnonzero(weights[:, :, k].any(axis=0))
            if asked.size:
                answers[k, asked] = leaf_outputs(leaf, X[asked], classes)
        predictions += np.einsum("tml,lmc->tmc", weights, answers) / len(trees)
    losses = np.mean((predictions - Y) ** 2, axis=(1, 2))
    return float(_TEMPERATURES[int(np.argmin(losses))])


def _query_size(n: int) -> int:
    """Return `n` rounded up: whole blocks of 1024, and a power of two."""
    blocks, rest = divmod(n, _QUERY_BLOCK)
    tail = padded_size(rest) if rest <= 256 else 1 << (rest - 1).bit_length()
    return blocks * _QUERY_BLOCK + (tail if rest else 0)


@contextmanager
def summarized_warnings() -> Iterator[None]:
    """Give the warnings of many fits once each, with their number."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # Judged over all rows; in a leaf a column may well be all but constant.
        warnings.filterwarnings("ignore", "the columns of X differ in scale")
        yield
    kinds: dict[tuple[type[Warning], str], list[str]] = {}
    for entry in caught:
        text = str(entry.message)
        # The same sentence with other numbers is the same warning.
        key = (entry.category, re.sub(r"[-+.\d]+(e[-+]?\d+)?", "#", text))
        kinds.setdefault(key, []).append(text)
    for (category, _), texts in kinds.items():
        _warn(category, texts)


def _warn(category: type[Warning], texts: Sequence[str]) -> None:
    more = f" ({len(texts)} such warnings in the leaves)" if len(texts) > 1 else ""
    warnings.warn(texts[0] + more, category, stacklevel=6)
