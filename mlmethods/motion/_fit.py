"""The epochs of a training: validation, the best parameters, checkpoints, resuming."""

from __future__ import annotations

import os
import re
import shutil
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mlmethods.common.checkpoint import read_store, write_store
from mlmethods.errors import CheckpointError, InvalidInputError, MLMethodsWarning
from mlmethods.interfaces import Callback, Event, NDArray
from mlmethods.motion.contract import Trainer

__all__ = ["CheckpointFolder", "Progress", "run_epochs"]

Validate = Callable[[Mapping[str, NDArray]], Mapping[str, float]]
"""Returns metrics of parameters, ``val_aer`` among them."""

_MONITOR = "val_aer"
_KEPT = 2
_NAME = re.compile(r"epoch-(\d{5,})")
_TRAINER, _BEST = "trainer/", "best/"


@dataclass
class Progress:
    """How far a training has come.

    Attributes
    ----------
    params : dict of str to ndarray
        The best parameters so far; the last ones where nothing is validated.
    epoch : int
        Epochs done.
    best_epoch : int
        The epoch after which the parameters were the best, counted from 1.
    best_value : float
        Their action error rate in validation.
    history : list of dict
        Metrics of each epoch.
    """

    params: dict[str, NDArray]
    epoch: int = 0
    best_epoch: int = 0
    best_value: float = float("inf")
    history: list[dict[str, float]] = field(default_factory=list)


class CheckpointFolder:
    """States of a training, one folder an epoch; the last two are kept.

    Parameters
    ----------
    path : path-like
        Where they are.
    settings : mapping
        What the training is; a state of another training is refused.
    """

    def __init__(
        self, path: str | os.PathLike[str], settings: Mapping[str, Any]
    ) -> None:
        self.path = Path(path)
        self.settings = dict(settings)

    def _epochs(self) -> list[tuple[int, Path]]:
        if not self.path.is_dir():
            return []
        found = ((_NAME.fullmatch(path.name), path) for path in self.path.iterdir())
        return sorted((int(match[1]), path) for match, path in found if match)

    def write(self, trainer: Trainer, progress: Progress) -> None:
        """Write a state, complete or not at all, and remove the ones before the last.

        Raises
        ------
        CheckpointError
            If something else is in the way.
        """
        arrays = {_TRAINER + name: a for name, a in trainer.arrays().items()}
        arrays |= {_BEST + name: a for name, a in progress.params.items()}
        write_store(
            self.path / f"epoch-{progress.epoch:05d}",
            arrays=arrays,
            config={
                "settings": self.settings,
                "epoch": progress.epoch,
                "best_epoch": progress.best_epoch,
                "best_value": progress.best_value,
                "history": progress.history,
            },
        )
        for _, path in self._epochs()[:-_KEPT]:
            shutil.rmtree(path)

    def read(self, trainer: Trainer) -> Progress:
        """Put the last state that is intact into a trainer.

        Raises
        ------
        CheckpointError
            If there is none, or it is of another training.

        Warns
        -----
        MLMethodsWarning
            If a later state is damaged.
        """
        damage = "it holds no state"
        for epoch, path in reversed(self._epochs()):
            try:
                arrays, config = read_store(path)
                progress = _progress(arrays, config)
            except (CheckpointError, KeyError, TypeError, ValueError) as error:
                damage = f"epoch {epoch} is damaged ({error})"
                warnings.warn(
                    f"{self.path}: {damage}; the state before it is used",
                    MLMethodsWarning,
                    stacklevel=4,
                )
                continue
            self._check(config["settings"])
            trainer.restore(_below(arrays, _TRAINER))
            return progress
        raise CheckpointError(f"{self.path} cannot be resumed: {damage}")

    def _check(self, stored: Mapping[str, Any]) -> None:
        names = stored.keys() | self.settings.keys()
        different = sorted(n for n in names if stored.get(n) != self.settings.get(n))
        if different:
            name = different[0]
            raise CheckpointError(
                f"{self.path} is of another training: {name} is {stored.get(name)!r} "
                f"there and {self.settings.get(name)!r} here"
            )


def _below(arrays: Mapping[str, NDArray], prefix: str) -> dict[str, NDArray]:
    size = len(prefix)
    return {name[size:]: a for name, a in arrays.items() if name.startswith(prefix)}


def _progress(arrays: Mapping[str, NDArray], config: Mapping[str, Any]) -> Progress:
    return Progress(
        params=_below(arrays, _BEST),
        epoch=int(config["epoch"]),
        best_epoch=int(config["best_epoch"]),
        best_value=float(config["best_value"]),
        history=[dict(row) for row in config["history"]],
    )


def run_epochs(
    trainer: Trainer,
    progress: Progress,
    *,
    epochs: int,
    validate: Validate | None = None,
    callbacks: Sequence[Callback] = (),
    patience: int | None = None,
    folder: CheckpointFolder | None = None,
) -> None:
    """Train, and keep in `progress` what is best; it is right at any interruption.

    Parameters
    ----------
    trainer : Trainer
        It stands where `progress` says.
    progress : Progress
        Changed in place after each epoch.
    epochs : int
        Epochs to come to.
    validate : callable, optional
        Metrics of parameters; the lowest ``val_aer`` decides which are the best.
    callbacks : sequence of callable
        They receive a ``"start"`` event, a ``"step"`` event after each epoch and an
        ``"end"`` event. The training stops after an epoch at which the attribute
        ``should_stop`` of one is true.
    patience : int, optional
        Epochs without a better ``val_aer`` after which the training stops.
    folder : CheckpointFolder, optional
        Where the state is written after each epoch.

    Raises
    ------
    DivergenceError
        If the loss is no longer finite.
    InvalidInputError
        If there is a patience and nothing to validate.
    """
    if patience is not None and validate is None:
        raise InvalidInputError("patience needs val, the recordings for validation")
    began = time.perf_counter()

    def emit(kind: str, message: str = "") -> None:
        metrics = progress.history[-1] if kind == "step" else {}
        event = Event(
            kind=kind,
            task="motion",
            step=progress.epoch,
            total=epochs,
            metrics=dict(metrics),
            elapsed=time.perf_counter() - began,
            message=message,
        )
        for callback in callbacks:
            callback(event)

    emit("start")
    message = f"finished {epochs} epochs"
    while progress.epoch < epochs:
        metrics = dict(trainer.epoch())
        params = trainer.params()
        if validate is not None:
            metrics |= validate(params)
        _take(progress, params, metrics)
        if folder is not None:
            folder.write(trainer, progress)
        emit("step")
        waited = progress.epoch - progress.best_epoch
        tired = patience is not None and waited >= patience
        if tired or any(getattr(c, "should_stop", False) for c in callbacks):
            message = f"stopped early after {progress.epoch} epochs"
            break
    emit("end", message)


def _take(
    progress: Progress, params: dict[str, NDArray], metrics: dict[str, float]
) -> None:
    """Count an epoch, and keep its parameters if they are the best."""
    progress.epoch += 1
    progress.history.append({"epoch": progress.epoch, **metrics})
    value = metrics.get(_MONITOR, -np.inf)
    # without validation every epoch is the best one so far
    if value < progress.best_value or value == -np.inf or not progress.best_epoch:
        progress.params, progress.best_epoch = params, progress.epoch
        progress.best_value = float("inf") if value == -np.inf else value
