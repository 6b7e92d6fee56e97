"""What models that name every frame share: probabilities, smoothing, segments."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from mlmethods.common.validation import check_integer, check_real
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import NDArray
from mlmethods.motion import postprocess
from mlmethods.motion._estimator import MotionEstimator
from mlmethods.motion.recording import Recording
from mlmethods.motion.segments import Segments

__all__ = ["FramewiseEstimator", "spans_of"]


def spans_of(
    labels: NDArray, proba: NDArray, recording: Recording, classes: tuple[str, ...]
) -> Segments:
    """Return the runs of equal labels, with their mean probability as confidence.

    Parameters
    ----------
    labels : int array of shape (T,)
        Class of every frame.
    proba : array of shape (T, C)
        Probabilities.
    recording : Recording
        Its rate, and ``meta["valid"]`` where some frames have no signal.
    classes : tuple of str
        Names.
    """
    first = np.flatnonzero(np.diff(labels, prepend=-1))
    last = np.append(first[1:], len(labels))
    chosen = np.take_along_axis(proba, labels[:, None], axis=1)[:, 0]
    total = np.add.reduceat(chosen.astype(np.float64), first)
    valid = recording.meta.get("valid")
    if valid is not None:
        valid = np.logical_and.reduceat(np.asarray(valid, bool), first)
    return Segments(
        first / recording.fs,
        last / recording.fs,
        labels[first],
        classes,
        np.clip(total / (last - first), 0, 1),
        valid,
    )


class FramewiseEstimator(MotionEstimator):
    """A model whose segments are runs of the most likely class.

    Parameters
    ----------
    smoothing : tuple of (int, float), optional
        Width in frames and beta of a Kaiser window that probabilities are smoothed
        with, see :func:`mlmethods.motion.postprocess.smooth_kaiser`.
    min_frames : int, optional
        Runs that are shorter take the label of a neighbor, see
        :func:`mlmethods.motion.postprocess.relabel_short`.
    """

    smoothing: tuple[int, float] | None
    min_frames: int | None

    def predict(self, X: Any) -> list[Segments]:
        """Return the segments of each recording.

        Parameters
        ----------
        X : sequence of Recording
            With the features and the rate of training.

        Returns
        -------
        list of Segments
            Without gaps; the confidence of a segment is the mean probability of its
            class.

        Raises
        ------
        InvalidInputError
            If features or rate differ from those of training.
        """
        self._check_smoothing()
        prepared = self.prepare(X)
        found = []
        for item, scores in zip(prepared, self._scores(prepared), strict=True):
            proba, labels = self._labels(scores)
            found.append(spans_of(labels, proba, item, self.classes_))
        return found

    def predict_proba(self, X: Any) -> list[NDArray]:
        """Return the probability of each class in each frame.

        Parameters
        ----------
        X : sequence of Recording
            With the features and the rate of training.

        Returns
        -------
        list of float32 arrays of shape (T, C)
            Before any smoothing.
        """
        return [self._proba(scores) for scores in self._scores(self.prepare(X))]

    def _sequences(self, prepared: Sequence[Recording]) -> list[list[int]]:
        found = []
        for item, scores in zip(prepared, self._scores(prepared), strict=True):
            labels = self._labels(scores)[1]
            spans = Segments.from_frames(labels, item.fs, self.classes_)
            found.append(spans.sequence())
        return found

    @abstractmethod
    def _scores(self, prepared: Sequence[Recording]) -> list[Any]:
        """Return what the model says of each recording; :meth:`_proba` reads it."""

    def _proba(self, scores: Any) -> NDArray:
        return np.asarray(scores)

    def _labels(self, scores: Any) -> tuple[NDArray, NDArray]:
        """Return smoothed probabilities [T, C], and the class of every frame."""
        proba = self._proba(scores)
        if self.smoothing is not None:
            width, beta = self.smoothing
            proba = np.clip(postprocess.smooth_kaiser(proba, width, beta), 0, 1)
        labels = proba.argmax(axis=1).astype(np.int32)
        return proba, self._without_short(labels)

    def _without_short(self, labels: NDArray) -> NDArray:
        if self.min_frames is None:
            return labels
        return np.asarray(postprocess.relabel_short(labels, self.min_frames))

    def _check_smoothing(self) -> None:
        if self.smoothing is not None:
            if len(self.smoothing) != 2:
                raise InvalidInputError(
                    f"smoothing must be (width, beta) or None, got {self.smoothing!r}"
                )
            check_integer("smoothing[0]", self.smoothing[0], minimum=1)
            check_real("smoothing[1]", self.smoothing[1], minimum=0)
        if self.min_frames is not None:
            check_integer("min_frames", self.min_frames, minimum=1)
