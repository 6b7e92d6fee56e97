"""A model that learns from motions in order, or from counts, without times."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import Backend, Callback
from mlmethods.motion._estimator import NORMALIZER, WINDOW, PathLike
from mlmethods.motion._recordings import as_recordings
from mlmethods.motion._sequence import SequenceEstimator, class_ids, transcripts_of
from mlmethods.motion._training_data import whole_recordings, with_transcripts
from mlmethods.motion._window_passes import AllWindows
from mlmethods.motion.contract import CTCConfig, DecodeResult
from mlmethods.motion.recording import Recording
from mlmethods.motion.windows import WindowSpec

__all__ = ["CTCRecognizer"]


class CTCRecognizer(SequenceEstimator):
    """The same encoder with the CTC loss: it needs no times, and repeats a motion.

    It trains on labels of frames like the other models, or on whole recordings of which
    only the motions in order, or their number, are known.

    Parameters
    ----------
    preset : {"base"}
        The sizes below.
    hidden, layers : int
        Units of a direction of the encoder, and its layers, each of which halves the
        rate.
    dropout : float
        Probability that a unit is dropped in training.
    lr, weight_decay, batch_size, epochs : float, float, int, int
        Of AdamW with a one-cycle schedule; a batch is a number of windows, or of whole
        recordings.
    beam : int
        Prefixes that are followed, 1 to 16.
    window : WindowSpec
        How recordings are cut.
    train_hop : float
        Seconds between windows of training, which also move at random.
    normalizer : ZNormalizer or None
        Applied in `fit` and in `predict`; None means that recordings are normalized.
    features : {"strict", "auto"}
        Whether recordings that lack up to 30 % of the features are filled in with the
        mean, with a warning, or refused.
    patience : int, optional
        Epochs without a better rate in validation after which training stops.
    backend : str or Backend
        What computes.
    random_state : int
        Of everything random.

    Attributes
    ----------
    whole_ : bool
        Whether it was trained on whole recordings and recognizes them as a whole.
    classes_, feature_names_, fs_ : tuple of str, list of str, float
        What the training recordings had.
    params_, history_, best_epoch_ : dict, list of dict, int
        Parameters, metrics of each epoch, and the epoch that they are from.

    References
    ----------
    A. Graves et al., Connectionist Temporal Classification, ICML 2006.
    """

    whole_: bool
    _further = ("whole_",)

    def __init__(
        self,
        preset: str = "base",
        *,
        hidden: int = 256,
        layers: int = 3,
        dropout: float = 0.1,
        lr: float = 5e-4,
        weight_decay: float = 1e-4,
        batch_size: int = 128,
        epochs: int = 150,
        beam: int = 1,
        window: WindowSpec = WINDOW,
        train_hop: float = 0.5,
        normalizer: Any = NORMALIZER,
        features: str = "strict",
        patience: int | None = None,
        backend: str | Backend | None = "auto",
        random_state: int = 0,
    ) -> None:
        self.preset = preset
        self.hidden = hidden
        self.layers = layers
        self.dropout = dropout
        self.lr = lr
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.epochs = epochs
        self.beam = beam
        self.window = window
        self.train_hop = train_hop
        self.normalizer = normalizer
        self.features = features
        self.patience = patience
        self.backend = backend
        self.random_state = random_state

    def _network_config(self, n_features: int, n_classes: int) -> CTCConfig:
        return CTCConfig(
            n_features=n_features,
            n_classes=n_classes,
            dropout=float(self.dropout),
            hidden=self.hidden,
            layers=self.layers,
        )

    def fit(  # type: ignore[override]
        self,
        train: Any,
        val: Any = None,
        callbacks: Sequence[Callback] = (),
        *,
        targets: Sequence[Sequence[Any]] | None = None,
        counts: Sequence[Mapping[Any, int]] | None = None,
        classes: Sequence[str] | None = None,
        checkpoint: PathLike | None = None,
        resume: PathLike | None = None,
        allow_subject_overlap: bool = False,
    ) -> Self:
        """Train on labeled recordings, or on what happened in each of them.

        Parameters
        ----------
        train, val, callbacks, checkpoint, resume, allow_subject_overlap
            See :meth:`NetworkEstimator.fit`. With `targets` or `counts` recordings for
            training need no labels.
        targets : sequence of sequences, optional
            Class ids or names of each recording, in order.
        counts : sequence of mappings, optional
            How often the one motion of each recording was done, by its class.
        classes : sequence of str, optional
            Names of the classes, where the recordings have no labels.

        Returns
        -------
        self

        Raises
        ------
        InvalidInputError
            As for labels; also if both are given, are not one for each recording, name
            unknown classes, or hold more motions than a recording has room for.
        """
        if targets is None and counts is None:
            self.whole_ = False
            return super().fit(
                train,
                val,
                callbacks,
                checkpoint=checkpoint,
                resume=resume,
                allow_subject_overlap=allow_subject_overlap,
            )
        if targets is not None and counts is not None:
            raise InvalidInputError("targets and counts must not both be given")
        self._check_arguments()
        recordings = as_recordings(train, "train")
        name, given = ("targets", targets) if counts is None else ("counts", counts)
        if given is None or len(given) != len(recordings):
            raise InvalidInputError(
                f"{name} must have one entry for each of {len(recordings)} recordings, "
                f"got {0 if given is None else len(given)}"
            )
        if classes is None and not any(item.labels for item in recordings):
            raise InvalidInputError(
                "classes must be given where recordings have no labels"
            )
        self._learn_features(train, recordings, classes)
        if counts is None:
            transcripts = class_ids(given, self.classes_)  # type: ignore[arg-type]
        else:
            transcripts = transcripts_of(counts, self.classes_)
        self.whole_ = True
        examples = self._examples(recordings, labels=False)
        self._check_room(recordings, transcripts)
        data = whole_recordings(examples, multiple=max(8, 2**self.layers))
        return self._train(
            with_transcripts(data, transcripts, len(self.classes_)),
            self._validation(recordings, val, allow_subject_overlap),
            callbacks,
            checkpoint,
            resume,
        )

    def _check_room(
        self, recordings: Sequence[Recording], transcripts: Sequence[Sequence[int]]
    ) -> None:
        for item, own in zip(recordings, transcripts, strict=True):
            # a blank must part equal neighbors
            repeats = sum(a == b for a, b in itertools.pairwise(own))
            steps = -(-item.n_frames // 2**self.layers)
            if len(own) + repeats > steps:
                raise InvalidInputError(
                    f"targets must fit: {len(own)} motions need {len(own) + repeats} "
                    f"steps, recording {item.name!r} has {steps} at this rate; fewer "
                    "layers keep more"
                )

    @property
    def _collapses(self) -> bool:
        return not self.whole_

    def _decoded(
        self, prepared: Sequence[Recording]
    ) -> tuple[AllWindows, list[DecodeResult]]:
        if not self.whole_:
            return super()._decoded(prepared)
        self._check_beam()
        windows = AllWindows(prepared, None)
        results = []
        for item in prepared:
            steps = -(-item.n_frames // self._rate)
            room = 1 << steps.bit_length()
            previous = np.zeros(1, np.int32)
            results.append(self._decode(item.data[None], None, previous, room))
        return windows, results

    def _sequences(self, prepared: Sequence[Recording]) -> list[list[int]]:
        if not self.whole_:
            return super()._sequences(prepared)
        return [
            [int(token) - 1 for token in result.ids[0] if token > 0]
            for result in self._decoded(prepared)[1]
        ]
