"""A recognizer on top of a segmentation model."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any, Self

from mlmethods.common.checkpoint import read_store, write_store
from mlmethods.common.machine import versions
from mlmethods.errors import CheckpointError, InvalidInputError
from mlmethods.interfaces import Callback, NDArray
from mlmethods.motion._estimator import MotionEstimator, PathLike
from mlmethods.motion._recordings import as_recordings
from mlmethods.motion._stored import model_config, model_from
from mlmethods.motion.contract import DecodeResult
from mlmethods.motion.recording import Channel, Recording
from mlmethods.motion.segments import Segments

__all__ = ["Seg2Seq"]

_PARTS = ("segmenter", "recognizer")
_CLASSES = {
    "ASFormer": "mlmethods.motion.segmentation",
    "ASRF": "mlmethods.motion.segmentation",
    "BiGRUTagger": "mlmethods.motion.taggers",
    "CNNTagger": "mlmethods.motion.taggers",
    "CTCRecognizer": "mlmethods.motion.ctc",
    "MSTCN": "mlmethods.motion.segmentation",
    "Seq2SeqRecognizer": "mlmethods.motion.recognizers",
    "WindowForest": "mlmethods.motion.forest",
}


class Seg2Seq(MotionEstimator):
    """A recognizer that sees the frame probabilities of a trained segmentation model.

    The segmentation model stays as it is; only the recognizer is trained.

    Parameters
    ----------
    segmenter : estimator
        Fitted, with ``predict_proba``, such as :class:`mlmethods.motion.ASRF`.
    recognizer : Seq2SeqRecognizer or CTCRecognizer
        With ``normalizer=None``, as probabilities are on one scale already.

    Attributes
    ----------
    classes_, feature_names_, fs_ : tuple of str, list of str, float
        Those of the recognizer and, for the features, of the segmentation model.
    """

    def __init__(self, segmenter: Any = None, recognizer: Any = None) -> None:
        self.segmenter = segmenter
        self.recognizer = recognizer

    @property
    def window(self) -> Any:  # type: ignore[override]
        """How the recognizer cuts recordings."""
        return self.recognizer.window

    def fit(
        self,
        train: Any,
        val: Any = None,
        callbacks: Sequence[Callback] = (),
        *,
        checkpoint: PathLike | None = None,
        resume: PathLike | None = None,
        allow_subject_overlap: bool = False,
    ) -> Self:
        """Train the recognizer on the probabilities of the segmentation model.

        Parameters
        ----------
        train, val, callbacks, checkpoint, resume, allow_subject_overlap
            See :meth:`Seq2SeqRecognizer.fit`.

        Returns
        -------
        self

        Raises
        ------
        InvalidInputError
            As there; also if a model is missing, or the segmentation model is not
            fitted.
        """
        if self.segmenter is None or self.recognizer is None:
            raise InvalidInputError("segmenter and recognizer must both be given")
        if not hasattr(self.segmenter, "classes_"):
            raise InvalidInputError("segmenter must be fitted")
        self.recognizer.fit(
            self._probabilities(as_recordings(train, "train")),
            None if val is None else self._probabilities(as_recordings(val, "val")),
            callbacks,
            checkpoint=checkpoint,
            resume=resume,
            allow_subject_overlap=allow_subject_overlap,
        )
        return self._take_names()

    def _take_names(self) -> Self:
        self.classes_ = self.recognizer.classes_
        self.feature_names_ = list(self.segmenter.feature_names_)
        self.n_features_in_ = len(self.feature_names_)
        self.fs_ = self.recognizer.fs_
        self.normalizer_ = None
        return self

    def _probabilities(self, X: Sequence[Recording]) -> list[Recording]:
        """Return recordings whose channels are the probabilities of classes."""
        channels = [
            Channel(f"p({name})", "feature", "1") for name in self.segmenter.classes_
        ]
        return [
            item.with_data(proba, channels=channels)
            for item, proba in zip(X, self.segmenter.predict_proba(X), strict=True)
        ]

    def prepare(self, X: Any) -> list[Recording]:
        """Return recordings as the recognizer sees them."""
        self._check_fitted()
        prepared: list[Recording] = self.recognizer.prepare(
            self._probabilities(as_recordings(X))
        )
        return prepared

    def decode_windows(
        self, x: Any, mask: Any = None, previous: Any = None
    ) -> DecodeResult:
        """Return the best token sequences of windows of what :meth:`prepare` gives.

        See :meth:`Seq2SeqRecognizer.decode_windows`.
        """
        found: DecodeResult = self.recognizer.decode_windows(x, mask, previous)
        return found

    def predict(self, X: Any) -> list[Segments]:
        """Return the segments of each recording."""
        self._check_fitted()
        spans: list[Segments] = self.recognizer.predict(
            self._probabilities(as_recordings(X))
        )
        return spans

    def predict_sequence(self, X: Any) -> list[list[int]]:
        """Return the class ids of each recording in order."""
        self._check_fitted()
        found: list[list[int]] = self.recognizer.predict_sequence(
            self._probabilities(as_recordings(X))
        )
        return found

    def predict_proba(self, X: Any) -> list[NDArray]:
        """Return the probability of each class in each frame, by the recognizer."""
        self._check_fitted()
        found: list[NDArray] = self.recognizer.predict_proba(
            self._probabilities(as_recordings(X))
        )
        return found

    def save_pretrained(self, directory: PathLike) -> None:
        """Write both models into a folder: ``config.json`` and ``model.safetensors``.

        Raises
        ------
        CheckpointError
            If something else is in the way.
        """
        self._check_fitted()
        arrays: dict[str, NDArray] = {}
        config: dict[str, Any] = {"class": "Seg2Seq", "versions": versions()}
        for part in _PARTS:
            model = getattr(self, part)
            own, state = model._state()
            arrays |= {f"{part}/{name}": array for name, array in own.items()}
            config[part] = model_config(model, state)
        write_store(directory, arrays=arrays, config=config)

    @classmethod
    def from_pretrained(cls, directory: PathLike) -> Self:
        """Return the model that :meth:`save_pretrained` wrote.

        Raises
        ------
        CheckpointError
            If the folder is damaged or holds a model of another class.
        """
        arrays, config = read_store(directory)
        if config.get("class") != "Seg2Seq":
            raise CheckpointError(
                f"{directory} holds a {config.get('class')}, not a Seg2Seq"
            )
        parts = {}
        for part in _PARTS:
            stored = config.get(part)
            if not isinstance(stored, dict):
                raise CheckpointError(f"{directory} is damaged: {part} is missing")
            model, state = model_from(_class_of(stored, directory), directory, stored)
            size = len(part) + 1
            own = {
                name[size:]: array
                for name, array in arrays.items()
                if name.startswith(f"{part}/")
            }
            parts[part] = model._with_state(own, state)
        return cls(**parts)._take_names()


def _class_of(stored: Mapping[str, Any], directory: PathLike) -> type[Any]:
    name = stored.get("class")
    if name not in _CLASSES:
        raise CheckpointError(f"{directory} is damaged: {name!r} is no motion model")
    found: type[Any] = getattr(importlib.import_module(_CLASSES[name]), name)
    return found
