"""Figures of a learned feature matrix and of the iterations that led to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlmethods.common.plotting import new_figure, style
from mlmethods.common.validation import check_integer
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_feature_image", "plot_feature_matrix", "plot_history"]

# More labels than this overlap on a figure of the default size.
_MOST_LABELS = 40


def plot_feature_matrix(
    estimator_or_M: Any,
    *,
    names: Sequence[str] | None = None,
    k: int | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the feature matrix: a heat map, or bars where it is diagonal.

    Parameters
    ----------
    estimator_or_M : fitted RFM, or array-like of shape (d, d) or (d,)
        What to draw.
    names : sequence of str of length d, optional
        The columns; by default those that the estimator saw, or ``x0``, ``x1``, ...
    k : int, optional
        Draw the `k` columns of the largest diagonal only, the largest first; the
        title states the share of the trace that they hold.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        Its figure is ``axes.figure``.

    Raises
    ------
    InvalidInputError
        If the matrix is not square or not finite, or `names` or `k` do not fit it.

    Examples
    --------
    >>> from mlmethods.rfm.plots import plot_feature_matrix
    >>> axes = plot_feature_matrix([[1.0, 0.2], [0.2, 0.5]], names=["age", "bmi"])
    >>> axes.get_title(loc="left")
    'Feature matrix'
    """
    matrix = _feature_matrix(estimator_or_M)
    labels = _labels(estimator_or_M, names, len(matrix))
    diagonal = matrix if matrix.ndim == 1 else np.diagonal(matrix)
    title = "Feature matrix"
    if k is not None:
        if check_integer("k", k, minimum=1) > len(matrix):
            raise InvalidInputError(
                f"k must be at most the number of columns, {len(matrix)}, got {k}"
            )
        top = np.argsort(-diagonal, kind="stable")[:k]
        if k < len(matrix) and diagonal.sum() > 0:
            share = diagonal[top].sum() / diagonal.sum()
            title += f": {k} of {len(matrix)} columns, {share:.0%} of the trace"
        labels = [labels[index] for index in top]
        matrix = matrix[top] if matrix.ndim == 1 else matrix[np.ix_(top, top)]
    with style():
        axes = new_figure()[1] if ax is None else ax
        if matrix.ndim == 1:
            _draw_bars(axes, matrix, labels)
        else:
            _draw_matrix(axes, matrix, labels)
        axes.set_title(title)
    return axes


def plot_feature_image(
    M_or_diag: Any, shape: tuple[int, ...], *, ax: Axes | None = None
) -> Axes:
    """Draw the diagonal of a feature matrix as the image that its columns are.

    Parameters
    ----------
    M_or_diag : fitted RFM, or array-like of shape (d, d) or (d,)
        Its diagonal is drawn; a fitted estimator's is that of ``M_``.
    shape : tuple of int
        ``(height, width)``, or ``(channels, height, width)``, whose channels are
        added up; the product is d.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InvalidInputError
        If `shape` does not fit the matrix.

    Examples
    --------
    >>> import numpy as np
    >>> from mlmethods.rfm.plots import plot_feature_image
    >>> axes = plot_feature_image(np.arange(6.0), (2, 3))
    >>> axes.images[0].get_array().shape
    (2, 3)
    """
    matrix = _feature_matrix(M_or_diag)
    diagonal = matrix if matrix.ndim == 1 else np.diagonal(matrix)
    if len(shape) not in (2, 3) or np.prod(shape) != len(diagonal):
        raise InvalidInputError(
            f"shape must be (height, width) or (channels, height, width) of "
            f"{len(diagonal)} values, got {shape!r}"
        )
    image = diagonal.reshape(-1, *shape[-2:]).sum(axis=0)
    with style():
        axes = new_figure(size=(4.6, 4.0))[1] if ax is None else ax
        drawn = axes.imshow(image)
        axes.set_axis_off()
        axes.figure.colorbar(drawn, ax=axes, shrink=0.8)
        axes.set_title("Diagonal of the feature matrix")
    return axes


def plot_history(estimator: Any, *, ax: Axes | None = None) -> Axes:
    """Draw the score on the held-out rows after each update; the chosen one is marked.

    Parameters
    ----------
    estimator : fitted RFM
        With rows held out: ``early_stopping=True``, or ``X_val`` given to ``fit``.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InvalidInputError
        If it is not fitted, or no rows were held out.
    """
    history = getattr(estimator, "history_", None)
    if history is None:
        raise InvalidInputError(
            f"estimator must be a fitted RFM, got {type(estimator).__name__} without "
            "history_"
        )
    scored = [
        (row["iteration"], row["validation_score"])
        for row in history
        if row.get("validation_score") is not None
        and np.isfinite(row["validation_score"])
    ]
    if not scored:
        raise InvalidInputError(
            "estimator must have been fitted with rows held out, its history_ has no "
            "validation score; set early_stopping=True or give X_val to fit"
        )
    iterations, scores = map(list, zip(*scored, strict=True))
    chosen = int(estimator.n_iter_)
    with style():
        from matplotlib.ticker import MaxNLocator

        axes = new_figure()[1] if ax is None else ax
        axes.plot(iterations, scores, marker="o")
        if chosen in iterations:
            best = scores[iterations.index(chosen)]
            axes.plot([chosen], [best], marker="o", markersize=11, fillstyle="none")
            axes.annotate(
                f"chosen: {best:.4g}",
                (chosen, best),
                xytext=(0, 12),
                textcoords="offset points",
                ha="center",
            )
        axes.margins(y=0.2)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("updates of the feature matrix")
        axes.set_ylabel("score on held-out rows (higher is better)")
        axes.set_title("Iterations")
    return axes


def _feature_matrix(estimator_or_M: Any) -> NDArray:
    matrix = np.asarray(getattr(estimator_or_M, "M_", estimator_or_M))
    if matrix.dtype.kind not in "fiu":
        raise InvalidInputError(
            "estimator_or_M must be a fitted RFM or an array of numbers, got "
            f"{type(estimator_or_M).__name__}"
        )
    square = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1]
    if not matrix.size or not (matrix.ndim == 1 or square):
        raise InvalidInputError(
            f"a feature matrix has shape (d, d) or (d,), got {matrix.shape}"
        )
    if not np.isfinite(matrix).all():
        raise InvalidInputError("a feature matrix must be finite, got NaN or infinity")
    return matrix


def _labels(estimator: Any, names: Sequence[str] | None, d: int) -> list[str]:
    if names is None:
        names = getattr(estimator, "feature_names_in_", None)
    if names is None:
        return [f"x{index}" for index in range(d)]
    if len(names) != d:
        raise InvalidInputError(
            f"names must have one entry for each of {d} columns, got {len(names)}"
        )
    return [str(name) for name in names]


def _draw_bars(axes: Axes, diagonal: NDArray, labels: list[str]) -> None:
    axes.barh(range(len(diagonal)), diagonal)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("diagonal")
    if len(labels) <= _MOST_LABELS:
        axes.set_yticks(range(len(labels)), labels)


def _draw_matrix(axes: Axes, matrix: NDArray, labels: list[str]) -> None:
    # Zero in the middle of a diverging map: the sign of an entry is its meaning.
    limit = float(np.abs(matrix).max()) or 1.0
    drawn = axes.imshow(matrix, cmap="RdBu_r", vmin=-limit, vmax=limit)
    axes.grid(visible=False)
    axes.figure.colorbar(drawn, ax=axes, shrink=0.8)
    if len(labels) <= _MOST_LABELS:
        positions = range(len(labels))
        axes.set_xticks(
            positions, labels, rotation=60, ha="right", rotation_mode="anchor"
        )
        axes.set_yticks(positions, labels)
