"""When each of several trainings has seen enough, on the host."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mlmethods.interfaces import NDArray
from mlmethods.overfitting.contract import EARLY, INTERPOLATE

__all__ = ["Look", "StopRules"]

# A network interpolates if it has no training error and, for the squared error, less
# loss than this, at so many looks in a row.
_SMALL_LOSS = 1e-4
_LOOKS_IN_A_ROW = 3
# The loss during an epoch is above the loss after it, but not by more than this.
_LOSS_DURING_EPOCH = 100.0


class Look(NamedTuple):
    """Errors and mean losses of each lane, arrays of shape (lanes,).

    Without rows held out, the last two are NaN.
    """

    train_error: NDArray
    train_loss: NDArray
    validation_error: NDArray
    validation_loss: NDArray


class StopRules:
    """The stop rule of each lane.

    Parameters
    ----------
    stop : tuple of str or int
        ``"interpolate"``, ``"early"`` or a number of epochs, for each lane.
    squared : bool
        Whether the loss is the squared error, which must be small as well.
    patience, max_epochs, check_every, monitor
        As in :class:`~mlmethods.overfitting.contract.LaneGroup`.

    Attributes
    ----------
    training : bool array of shape (lanes,)
        Lanes that still train.
    stopped : bool array of shape (lanes,)
        Lanes whose rule ended them, not the cap.
    epochs, epochs_run : int arrays of shape (lanes,)
        The epoch that counts, and the last one.
    """

    def __init__(
        self,
        stop: tuple[str | int, ...],
        *,
        squared: bool,
        patience: int,
        max_epochs: int,
        check_every: int,
        monitor: str,
    ) -> None:
        count = len(stop)
        self.early = np.array([rule == EARLY for rule in stop])
        self.interpolate = np.array([rule == INTERPOLATE for rule in stop])
        self.caps = np.array(
            [max_epochs if isinstance(rule, str) else rule for rule in stop]
        )
        self.squared = squared
        self.patience = patience
        self.check_every = check_every
        self.monitor = monitor
        self.training = np.ones(count, bool)
        self.stopped = np.zeros(count, bool)
        self.epochs = np.zeros(count, int)
        self.epochs_run = np.zeros(count, int)
        self.done = 0
        self._in_a_row = np.zeros(count, int)
        self._best = np.full((count, 2), np.inf)

    def next_look(self) -> int:
        """Return how many epochs to train until the next look."""
        nearest = int(self.caps[self.training].min())
        return min(self.check_every, nearest - self.done)

    def to_look_at(self, running_loss: NDArray) -> NDArray:
        """Return the lanes whose errors the rules need after an epoch.

        `running_loss` is the mean loss of each lane's batches in that epoch; where it
        is far from small, there is no need to look.
        """
        far = np.zeros(len(self.caps), bool)
        if self.squared:
            far = running_loss > _LOSS_DURING_EPOCH * _SMALL_LOSS
        return self.training & (self.early | (self.interpolate & ~far))

    def update(self, epochs: int, looked: NDArray, look: Look) -> NDArray:
        """Apply the rules after `epochs` further epochs.

        Returns
        -------
        bool array of shape (lanes,)
            Lanes of the rule ``"early"`` that were never as good.
        """
        self.done += epochs
        self.epochs_run[self.training] = self.done
        fitted = looked & (look.train_error == 0)
        if self.squared:
            fitted &= look.train_loss < _SMALL_LOSS
        self._in_a_row = np.where(fitted, self._in_a_row + 1, 0)

        scores = np.stack([look.validation_error, look.validation_loss], 1)
        if self.monitor == "loss":
            scores = scores[:, ::-1]
        # the other one decides between equals
        lower = (scores[:, 0] < self._best[:, 0]) | (
            (scores[:, 0] == self._best[:, 0]) & (scores[:, 1] < self._best[:, 1])
        )
        better = self.training & self.early & looked & lower
        self._best[better] = scores[better]

        self.epochs[self.training & (~self.early | better)] = self.done
        at_cap = self.done >= self.caps
        by_rule = (
            (self.interpolate & (self._in_a_row >= _LOOKS_IN_A_ROW))
            | (self.early & (self.done - self.epochs >= self.patience))
            | (~self.early & ~self.interpolate & at_cap)
        )
        self.stopped |= self.training & by_rule
        self.training = self.training & ~by_rule & ~at_cap
        return better
