"""A forest on statistics of short windows, the cheapest baseline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from mlmethods.common.validation import check_integer, check_real
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import Callback, NDArray
from mlmethods.motion._estimator import NORMALIZER, WINDOW, PathLike
from mlmethods.motion._framewise import FramewiseEstimator
from mlmethods.motion._recordings import as_recordings
from mlmethods.motion._stored import read_model, write_model
from mlmethods.motion.collection import check_subjects_apart
from mlmethods.motion.recording import Recording
from mlmethods.motion.windows import WindowSpec

__all__ = ["WindowForest"]

_LEAF = -1
# Rows whose trees are gone through at a time.
_BLOCK = 4096


class WindowForest(FramewiseEstimator):
    """A random forest on mean, deviation, range and change of short windows.

    Windows of `span` seconds are centered on every `hop` seconds; frames take the
    probabilities of the nearest center.

    Parameters
    ----------
    n_estimators : int
        Trees.
    max_depth : int, optional
        Of a tree; unlimited by default.
    min_samples_leaf : int
        Windows in a leaf.
    span, hop : float
        Seconds of a window, and between windows.
    smoothing : tuple of (int, float), optional
        Width in frames and beta of a Kaiser window that probabilities are smoothed with
        before the most likely class is taken.
    min_frames : int, optional
        Runs with fewer frames take the label of their longer neighbor.
    window : WindowSpec
        For streaming; it decides nothing here.
    normalizer : ZNormalizer or None
        Applied in `fit` and in `predict`; None means that recordings are normalized.
    features : {"strict", "auto"}
        Whether recordings that lack up to 30 % of the features are filled in with the
        mean, with a warning, or refused.
    n_jobs : int, optional
        Processes of scikit-learn.
    random_state : int
        Of everything random.

    Attributes
    ----------
    trees_ : dict of str to ndarray
        All trees as arrays: ``left``, ``right`` and ``feature`` of each node,
        ``threshold``, ``value`` [nodes, C] and the ``root`` of each tree.
    classes_, feature_names_, fs_ : tuple of str, list of str, float
        What the training recordings had.

    Examples
    --------
    >>> import numpy as np
    >>> from mlmethods.motion import Channel, Recording, Segments, WindowForest
    >>> y = np.repeat([0, 1, 0, 1], 100)
    >>> recording = Recording(
    ...     np.stack([y, -y], axis=1), 50.0,
    ...     [Channel("a", "accel", "m/s2"), Channel("b", "accel", "m/s2")],
    ...     subject="s1", labels=Segments.from_frames(y, 50.0, ("idle", "reach")))
    >>> model = WindowForest(n_estimators=10, smoothing=(25, 3)).fit([recording])
    >>> model.predict_sequence([recording])
    [[0, 1, 0, 1]]
    """

    trees_: dict[str, NDArray]

    def __init__(
        self,
        n_estimators: int = 100,
        *,
        max_depth: int | None = None,
        min_samples_leaf: int = 1,
        span: float = 1.0,
        hop: float = 0.1,
        smoothing: tuple[int, float] | None = None,
        min_frames: int | None = None,
        window: WindowSpec = WINDOW,
        normalizer: Any = NORMALIZER,
        features: str = "strict",
        n_jobs: int | None = None,
        random_state: int = 0,
    ) -> None:
        self.n_estimators = n_estimators
        self.max_depth = max_depth
        self.min_samples_leaf = min_samples_leaf
        self.span = span
        self.hop = hop
        self.smoothing = smoothing
        self.min_frames = min_frames
        self.window = window
        self.normalizer = normalizer
        self.features = features
        self.n_jobs = n_jobs
        self.random_state = random_state

    def fit(
        self,
        train: Any,
        val: Any = None,
        callbacks: Sequence[Callback] = (),
        *,
        allow_subject_overlap: bool = False,
    ) -> Self:
        """Grow the trees on labeled recordings.

        Parameters
        ----------
        train : sequence of Recording
            With labels, of one rate and with the same channels.
        val : sequence of Recording, optional
            Only checked for subjects that are in `train` too.
        callbacks : sequence of callable
            Not called, as there are no epochs.
        allow_subject_overlap : bool
            Whether a subject may be in both parts.

        Returns
        -------
        self

        Raises
        ------
        InvalidInputError
            If recordings have no labels, or other channels, rates or classes than the
            others; if a subject is in both parts; or an argument is out of its range.
        """
        from sklearn.ensemble import RandomForestClassifier

        check_integer("n_estimators", self.n_estimators, minimum=1)
        check_real("span", self.span, minimum=0, open_minimum=True)
        check_real("hop", self.hop, minimum=0, open_minimum=True)
        self._check_smoothing()
        recordings = as_recordings(train, "train")
        if val is not None and not allow_subject_overlap:
            held_out = [item.subject for item in as_recordings(val, "val")]
            own = [item.subject for item in recordings]
            check_subjects_apart(own, held_out, what="val")
        self._learn_features(train, recordings)
        examples = self._examples(recordings, labels=True)
        rows, targets = [], []
        for example in examples:
            centers = self._centers(len(example.x))
            y = example.y[centers]  # type: ignore[index]
            rows.append(self._statistics(example.x, centers)[y >= 0])
            targets.append(y[y >= 0])
        target = np.concatenate(targets)
        if not len(target):
            raise InvalidInputError("train must hold labels, got none")
        forest = RandomForestClassifier(
            self.n_estimators,
            max_depth=self.max_depth,
            min_samples_leaf=self.min_samples_leaf,
            n_jobs=self.n_jobs,
            random_state=self.random_state,
        )
        forest.fit(np.concatenate(rows), target)
        self.trees_ = _as_arrays(forest, len(self.classes_))
        return self

    def _centers(self, n_frames: int) -> NDArray:
        step = max(1, round(self.hop * self.fs_))
        return np.arange(min(step // 2, n_frames - 1), n_frames, step)

    def _statistics(self, x: NDArray, centers: NDArray) -> NDArray:
        """Return float32 statistics [n, 5 D] of the windows around some frames."""
        length = max(2, math.ceil(self.span * self.fs_))
        before = length // 2
        padded = np.pad(x, [(before, length - before), (0, 0)], mode="edge")
        windows = sliding_window_view(padded, length, axis=0)[centers]
        change = np.abs(np.diff(windows, axis=2))
        parts = [
            windows.mean(axis=2),
            windows.std(axis=2),
            windows.min(axis=2),
            windows.max(axis=2),
            change.mean(axis=2),
        ]
        return np.concatenate(parts, axis=1, dtype=np.float32)

    def _scores(self, prepared: Sequence[Recording]) -> list[Any]:
        found = []
        for item in prepared:
            centers = self._centers(item.n_frames)
            proba = _leaf_means(self.trees_, self._statistics(item.data, centers))
            middles = (centers[1:] + centers[:-1] + 1) // 2
            nearest = np.searchsorted(middles, np.arange(item.n_frames), side="right")
            found.append(proba[nearest])
        return found

    def save_pretrained(self, directory: PathLike) -> None:
        """Write the forest into a folder: ``config.json`` and ``model.safetensors``.

        Raises
        ------
        CheckpointError
            If something else is in the way.
        """
        write_model(directory, self, *self._state())

    @classmethod
    def from_pretrained(cls, directory: PathLike) -> Self:
        """Return the model that :meth:`save_pretrained` wrote.

        Raises
        ------
        CheckpointError
            If the folder is damaged or holds a model of another class.
        """
        model, arrays, state = read_model(cls, directory)
        return model._with_state(arrays, state)

    def _state(self) -> tuple[dict[str, NDArray], dict[str, Any]]:
        self._check_fitted()
        return self.trees_, {}

    def _with_state(self, arrays: dict[str, NDArray], state: dict[str, Any]) -> Self:
        self.trees_ = arrays
        return self


def _as_arrays(forest: Any, n_classes: int) -> dict[str, NDArray]:
    """Return the trees of a forest one after another; children are node numbers."""
    trees = [estimator.tree_ for estimator in forest.estimators_]
    root = np.cumsum([0, *(tree.node_count for tree in trees[:-1])])
    left, right = [], []
    for tree, first in zip(trees, root, strict=True):
        leaf = tree.children_left == _LEAF
        left.append(np.where(leaf, _LEAF, tree.children_left + first))
        right.append(np.where(leaf, _LEAF, tree.children_right + first))
    counts = np.concatenate([tree.value[:, 0] for tree in trees])
    value = np.zeros((len(counts), n_classes), np.float64)
    value[:, forest.classes_] = counts / counts.sum(axis=1, keepdims=True)
    return {
        "left": np.concatenate(left).astype(np.int32),
        "right": np.concatenate(right).astype(np.int32),
        "feature": np.concatenate([tree.feature for tree in trees]).astype(np.int32),
        "threshold": np.concatenate([tree.threshold for tree in trees]),
        "value": value,
        "root": root.astype(np.int32),
    }


def _leaf_means(trees: dict[str, NDArray], rows: NDArray) -> NDArray:
    """Return the mean over trees of the class shares in the leaf of each row."""
    parts = [
        _leaf_means_of(trees, rows[first : first + _BLOCK])
        for first in range(0, len(rows), _BLOCK)
    ]
    return np.concatenate(parts)


def _leaf_means_of(trees: dict[str, NDArray], rows: NDArray) -> NDArray:
    node = np.broadcast_to(trees["root"], (len(rows), len(trees["root"]))).copy()
    while True:
        inner = trees["left"][node] != _LEAF
        if not inner.any():
            return trees["value"][node].mean(axis=1).astype(np.float32)
        value = np.take_along_axis(rows, np.maximum(trees["feature"][node], 0), axis=1)
        below = value <= trees["threshold"][node]
        child = np.where(below, trees["left"][node], trees["right"][node])
        node = np.where(inner, child, node)
