"""What all models share that are networks: training, validation, storage."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from mlmethods.backend import get_backend
from mlmethods.common.validation import check_choice, check_integer, check_real
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import Backend, Callback, NDArray
from mlmethods.motion._estimator import MotionEstimator, PathLike
from mlmethods.motion._fit import CheckpointFolder, Progress, run_epochs
from mlmethods.motion._recordings import Example, as_recordings, same_rate
from mlmethods.motion._stored import read_model, write_model
from mlmethods.motion._training_data import whole_recordings, windows_of
from mlmethods.motion.collection import check_subjects_apart
from mlmethods.motion.contract import (
    Engine,
    Network,
    NetworkConfig,
    TrainingConfig,
    TrainingData,
)
from mlmethods.motion.recording import Recording
from mlmethods.motion.windows import start_token

__all__ = ["NetworkEstimator"]

_SEED_LIMIT = 2**63 - 1


class NetworkEstimator(MotionEstimator):
    """A model that is a network, trained by the engine of a backend.

    Attributes
    ----------
    config_ : NetworkConfig
        The network.
    params_ : dict of str to ndarray
        Its parameters.
    history_ : list of dict
        Metrics of each epoch: ``epoch``, ``loss``, ``grad_norm`` and, with recordings
        for validation, ``val_aer``.
    best_epoch_ : int
        The epoch whose parameters these are, counted from 1.
    """

    # Whether windows or whole recordings are examples, and how the network is trained.
    _whole: ClassVar[bool] = False
    _optimizer: ClassVar[str] = "adam"
    _schedule: ClassVar[str] = "constant"
    # Fitted attributes that are stored besides those of every network.
    _further: ClassVar[tuple[str, ...]] = ()

    lr: float
    weight_decay: float
    batch_size: int
    epochs: int
    train_hop: float
    patience: int | None
    random_state: int
    backend: str | Backend | None

    config_: NetworkConfig
    params_: dict[str, NDArray]
    history_: list[dict[str, float]]
    best_epoch_: int

    @abstractmethod
    def _network_config(self, n_features: int, n_classes: int) -> NetworkConfig:
        """Return the network of the constructor's arguments."""

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
        """Train on labeled recordings.

        Parameters
        ----------
        train : sequence of Recording
            With labels, of one rate and with the same channels.
        val : sequence of Recording, optional
            Of other subjects. The parameters of the epoch with the lowest action error
            rate on them are kept: the mean over subjects of the rate pooled over their
            recordings. Without it the last parameters are.
        callbacks : sequence of callable
            They receive an event after each epoch, see
            :mod:`mlmethods.motion.callbacks`.
        checkpoint : path-like, optional
            Folder that the state is written to after each epoch.
        resume : path-like, optional
            Such a folder: training goes on from its last state, and gives what it would
            have given without the interruption, on the same machine.
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
        CheckpointError
            If the state to resume is damaged or of another training.
        DivergenceError
            If the loss is no longer finite; the best parameters before are kept.
        KeyboardInterrupt
            The best parameters so far are kept.
        """
        self._check_arguments()
        recordings = as_recordings(train, "train")
        self._learn_features(train, recordings)
        examples = self._examples(recordings, labels=True)
        return self._train(
            self._training_data(examples),
            self._validation(recordings, val, allow_subject_overlap),
            callbacks,
            checkpoint,
            resume,
        )

    def _check_arguments(self) -> None:
        check_real("lr", self.lr, minimum=0, open_minimum=True)
        check_real("weight_decay", self.weight_decay, minimum=0)
        check_integer("batch_size", self.batch_size, minimum=1)
        check_integer("epochs", self.epochs, minimum=1)
        check_real("train_hop", self.train_hop, minimum=0, open_minimum=True)
        if self.patience is not None:
            check_integer("patience", self.patience, minimum=1)
        check_integer("random_state", self.random_state, minimum=0, maximum=_SEED_LIMIT)
        check_choice("features", self.features, ("strict", "auto"))

    def _training_data(self, examples: Sequence[Example]) -> TrainingData:
        token = start_token(self.classes_)
        if self._whole:
            return whole_recordings(examples, multiple=8, start_token=token)
        return windows_of(
            examples, self.fs_, self.window, hop=self.train_hop, start_token=token
        )

    def _training_config(self, data: TrainingData) -> TrainingConfig:
        return TrainingConfig(
            optimizer=self._optimizer,
            schedule=self._schedule,
            lr=float(self.lr),
            weight_decay=float(self.weight_decay),
            batch_size=self.batch_size,
            epochs=self.epochs,
        )

    def _validation(
        self, train: Sequence[Recording], val: Any, allow_overlap: bool
    ) -> Callable[[Mapping[str, NDArray]], dict[str, float]] | None:
        """Return what measures parameters on the recordings for validation."""
        if val is None:
            return None
        recordings = as_recordings(val, "val")
        same_rate(recordings, self.fs_, "val")
        if not allow_overlap:
            check_subjects_apart(
                [item.subject for item in train],
                [item.subject for item in recordings],
                what="val",
            )
        truths = [self._true_sequence(item) for item in recordings]
        prepared = self.prepare(recordings)
        subjects = [item.subject for item in recordings]

        def validate(params: Mapping[str, NDArray]) -> dict[str, float]:
            self.params_ = dict(params)
            return {
                "val_aer": _subject_aer(truths, self._sequences(prepared), subjects)
            }

        return validate

    @abstractmethod
    def _sequences(self, prepared: Sequence[Recording]) -> list[list[int]]:
        """Return the class ids of prepared recordings in order."""

    def predict_sequence(self, X: Any) -> list[list[int]]:
        """Return the class ids of each recording in order, 0 to C - 1.

        See :meth:`MotionEstimator.predict_sequence`.
        """
        return self._sequences(self.prepare(X))

    def _train(
        self,
        data: TrainingData,
        validate: Callable[[Mapping[str, NDArray]], dict[str, float]] | None,
        callbacks: Sequence[Callback],
        checkpoint: PathLike | None,
        resume: PathLike | None,
    ) -> Self:
        self.config_ = self._network_config(self.n_features_in_, len(self.classes_))
        config = self._training_config(data)
        network = self._network()
        start = network.init(self.random_state)
        trainer = network.trainer(start, data, config, seed=self.random_state)
        settings = self._fingerprint(data, config)
        progress = Progress(start)
        if resume is not None:
            progress = CheckpointFolder(resume, settings).read(trainer)
        folder = None if checkpoint is None else CheckpointFolder(checkpoint, settings)
        try:
            run_epochs(
                trainer,
                progress,
                epochs=self.epochs,
                validate=validate,
                callbacks=callbacks,
                patience=self.patience,
                folder=folder,
            )
        finally:
            # also where the run was interrupted: the best so far is usable
            self.params_ = progress.params
            self.history_ = progress.history
            self.best_epoch_ = progress.best_epoch
        return self

    def _fingerprint(
        self, data: TrainingData, config: TrainingConfig
    ) -> dict[str, Any]:
        """Return what a state must agree with to be resumed."""
        return {
            "class": type(self).__name__,
            "network": repr(self.config_),
            "training": repr(config),
            "classes": list(self.classes_),
            "features": list(self.feature_names_),
            "windows": len(data.start),
            "frames": float(np.abs(data.frames).sum(dtype=np.float64)),
            "seed": self.random_state,
        }

    def _engine(self) -> Engine:
        chosen = get_backend(self.backend, "engine:motion")
        engine: Engine = chosen.engine("motion")
        return engine

    def _network(self) -> Network:
        return self._engine().network(self.config_)

    def save_pretrained(self, directory: PathLike) -> None:
        """Write the model into a folder: ``config.json`` and ``model.safetensors``.

        Nothing is pickled.

        Parameters
        ----------
        directory : path-like
            A new folder, or one with an earlier model, which is replaced as a whole.

        Raises
        ------
        CheckpointError
            If something else is in the way.
        InvalidInputError
            If an argument of the constructor cannot be stored, such as a backend
            object.
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
        """Return what is stored besides what every model has: arrays, and values."""
        self._check_fitted()
        names = ("config_", "history_", "best_epoch_", *self._further)
        return self.params_, {name: getattr(self, name) for name in names}

    def _with_state(self, arrays: dict[str, NDArray], state: dict[str, Any]) -> Self:
        self.params_ = arrays
        for name, value in state.items():
            setattr(self, name, value)
        return self


def _subject_aer(
    truths: Sequence[list[int]], found: Sequence[list[int]], subjects: Sequence[str]
) -> float:
    """Return the mean over subjects of the error rate pooled over their recordings."""
    from mlmethods.motion.metrics import levenshtein

    errors = np.array([levenshtein(a, b) for a, b in zip(truths, found, strict=True)])
    lengths = np.array([len(truth) for truth in truths])
    names, number = np.unique(np.asarray(subjects, str), return_inverse=True)
    total = np.bincount(number, lengths, len(names))
    if not total.any():
        raise InvalidInputError("val must hold labels, got none")
    kept = total > 0
    return float((np.bincount(number, errors, len(names))[kept] / total[kept]).mean())
