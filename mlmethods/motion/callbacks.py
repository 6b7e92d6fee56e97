"""Callbacks of training: early stopping, and a table of the epochs."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

from mlmethods.common.validation import check_choice, check_integer
from mlmethods.interfaces import Event

__all__ = ["CSVLogger", "EarlyStopping"]


class EarlyStopping:
    """Stop a training whose metric does not improve.

    Parameters
    ----------
    monitor : str, default="val_aer"
        Name of a metric of an epoch.
    patience : int, default=10
        Epochs without improvement that are waited for.
    mode : {"min", "max"}, default="min"
        Which values are better.

    Attributes
    ----------
    should_stop : bool
        Whether the training ends after this epoch.
    best : float or None
        The best value so far.

    Raises
    ------
    InvalidInputError
        If `patience` is below 1 or `mode` is unknown.

    Examples
    --------
    >>> from mlmethods.interfaces import Event
    >>> from mlmethods.motion.callbacks import EarlyStopping
    >>> stop = EarlyStopping(patience=2)
    >>> for epoch, aer in enumerate([0.5, 0.6, 0.7]):
    ...     stop(Event(kind="step", task="motion", step=epoch, metrics={"val_aer": aer}))
    >>> stop.should_stop, stop.best
    (True, 0.5)
    """

    def __init__(
        self, monitor: str = "val_aer", patience: int = 10, mode: str = "min"
    ) -> None:
        self.monitor = monitor
        self.patience = check_integer("patience", patience, minimum=1)
        self.mode = check_choice("mode", mode, ("min", "max"))
        self._reset()

    def _reset(self) -> None:
        self.should_stop = False
        self.best: float | None = None
        self._waited = 0

    def __call__(self, event: Event, /) -> None:
        """Receive one event."""
        if event.kind == "start":
            self._reset()
        if event.kind != "step" or self.monitor not in event.metrics:
            return
        value = float(event.metrics[self.monitor])
        gain = self.best is None or (
            value < self.best if self.mode == "min" else value > self.best
        )
        if gain:
            self.best, self._waited = value, 0
            return
        self._waited += 1
        self.should_stop = self._waited >= self.patience


class CSVLogger:
    """Write one line for each epoch: its number, the seconds, and the metrics.

    Parameters
    ----------
    path : path-like
        The file; the first epoch of a training begins it anew.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from mlmethods.interfaces import Event
    >>> from mlmethods.motion.callbacks import CSVLogger
    >>> path = pathlib.Path(tempfile.mkdtemp(), "log.csv")
    >>> log = CSVLogger(path)
    >>> log(Event(kind="step", task="motion", step=1, metrics={"loss": 0.5}))
    >>> path.read_text().splitlines()
    ['epoch,elapsed,loss', '1,0.0,0.5']
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._names: list[str] = []

    def __call__(self, event: Event, /) -> None:
        """Receive one event."""
        if event.kind == "start":
            self._names = []
        if event.kind != "step":
            return
        first = not self._names
        if first:
            self._names = list(event.metrics)
            self.path.parent.mkdir(parents=True, exist_ok=True)
        row: list[Any] = [event.step, round(event.elapsed, 3)]
        row += [event.metrics.get(name, "") for name in self._names]
        mode = "w" if first else "a"
        with self.path.open(mode, encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            if first:
                writer.writerow(["epoch", "elapsed", *self._names])
            writer.writerow(row)
