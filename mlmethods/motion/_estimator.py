"""What all motion models share: features, probabilities, sequences, scores."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError

from mlmethods.common.validation import check_choice
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import NDArray
from mlmethods.motion._recordings import (
    Example,
    as_recordings,
    class_frames,
    common_classes,
    same_rate,
    with_features,
)
from mlmethods.motion.normalize import ZNormalizer
from mlmethods.motion.recording import Recording
from mlmethods.motion.segments import Segments
from mlmethods.motion.windows import WindowSpec

__all__ = ["NORMALIZER", "WINDOW", "MotionEstimator", "PathLike"]

PathLike = str | os.PathLike[str]

WINDOW = WindowSpec()
"""The windows of the published system, without its leftovers."""
NORMALIZER = ZNormalizer(per="recording")
"""Never fitted itself: estimators fit a clone."""


class MotionEstimator(BaseEstimator, ABC):
    """A model that recognizes motions: recordings in, segments and sequences out.

    Attributes
    ----------
    classes_ : tuple of str
        Names of the classes in the order of their ids.
    feature_names_ : list of str
        Channels that the model was trained on.
    n_features_in_ : int
        Their number.
    fs_ : float
        Frames per second of the recordings.
    normalizer_ : ZNormalizer or None
        The fitted normalizer.
    """

    # Set by the constructors of the estimators.
    window: WindowSpec
    normalizer: Any
    features: str

    classes_: tuple[str, ...]
    feature_names_: list[str]
    n_features_in_: int
    fs_: float
    normalizer_: Any

    @abstractmethod
    def predict(self, X: Any) -> list[Segments]:
        """Return the segments of each recording."""

    @abstractmethod
    def predict_proba(self, X: Any) -> list[NDArray]:
        """Return the probability of each class in each frame, float32 [T, C]."""

    def predict_sequence(self, X: Any) -> list[list[int]]:
        """Return the class ids of each recording in order.

        Parameters
        ----------
        X : sequence of Recording
            With the features and the rate of training.

        Returns
        -------
        list of lists of int
            Ids from 0 to C - 1.

        Raises
        ------
        InvalidInputError
            If features or rate differ from those of training.
        """
        return [spans.sequence() for spans in self.predict(X)]

    def score(self, X: Any, y: Any = None) -> float:
        """Return the negative action error rate, pooled over labeled recordings.

        Parameters
        ----------
        X : sequence of Recording
            With labels.
        y : None
            Ignored; labels are those of the recordings.

        Raises
        ------
        InvalidInputError
            If a recording has no labels, or all have none in any frame.
        """
        from mlmethods.motion.metrics import levenshtein

        recordings = as_recordings(X)
        truths = [self._true_sequence(recording) for recording in recordings]
        total = sum(map(len, truths))
        if not total:
            raise InvalidInputError("X must hold labels to be scored, got none")
        found = self.predict_sequence(recordings)
        return -sum(map(levenshtein, truths, found)) / total

    def prepare(self, X: Any) -> list[Recording]:
        """Return recordings as the network sees them.

        Their channels are those of training, in that order, and normalized.

        Parameters
        ----------
        X : sequence of Recording
            What would be given to :meth:`predict`.

        Raises
        ------
        InvalidInputError
            If features or rate differ, or a value is not finite.
        """
        self._check_fitted()
        recordings = as_recordings(X)
        same_rate(recordings, self.fs_)
        check_choice("features", self.features, ("strict", "auto"))
        means = getattr(self.normalizer_, "mean_", None)
        fitted = with_features(
            recordings,
            self.feature_names_,
            fill=self.features == "auto",
            values=means,
        )
        return self._normalized(fitted)

    def _normalized(self, recordings: Sequence[Recording]) -> list[Recording]:
        if self.normalizer_ is not None:
            recordings = self.normalizer_.transform(recordings)
        for item in recordings:
            _check_finite(item)
        return list(recordings)

    def _true_sequence(self, recording: Recording) -> list[int]:
        """Return the labels of a recording in order, as ids of this model."""
        spans = recording.labels
        if spans is not None and spans.classes == self.classes_:
            return spans.sequence()
        # names decide where the order of the classes differs
        frames = class_frames(recording, self.classes_)
        return Segments.from_frames(frames, recording.fs, self.classes_).sequence()

    def _learn_features(
        self,
        train: Any,
        recordings: Sequence[Recording],
        classes: Sequence[str] | None = None,
    ) -> None:
        """Take classes, features, rate and normalizer from a training set."""
        first = recordings[0]
        same_rate(recordings, first.fs, "train")
        with_features(recordings, first.feature_names, fill=False)
        if classes is None:
            classes = common_classes(train, recordings)
        self.classes_ = tuple(str(name) for name in classes)
        self.feature_names_ = list(first.feature_names)
        self.n_features_in_ = len(self.feature_names_)
        self.fs_ = float(first.fs)
        self.normalizer_ = None
        if self.normalizer is not None:
            self.normalizer_ = clone(self.normalizer).fit(list(recordings))

    def _check_fitted(self) -> None:
        if not hasattr(self, "feature_names_"):
            raise NotFittedError(
                f"this {type(self).__name__} is not fitted; call fit first"
            )

    def _examples(self, X: Sequence[Recording], *, labels: bool) -> list[Example]:
        """Return normalized frames of recordings, and their labels."""
        y = [class_frames(item, self.classes_) if labels else None for item in X]
        return [
            Example(item.data, own, item.name)
            for item, own in zip(self.prepare(X), y, strict=True)
        ]


def _check_finite(recording: Recording) -> None:
    bad = ~np.isfinite(recording.data)
    if bad.any():
        frame, column = np.unravel_index(int(np.argmax(bad)), bad.shape)
        raise InvalidInputError(
            f"recordings must hold finite values, got {recording.data[frame, column]} "
            f"in {recording.name!r}, channel {recording.feature_names[column]!r}, "
            f"frame {frame}; SensorSanitizer repairs gaps"
        )
