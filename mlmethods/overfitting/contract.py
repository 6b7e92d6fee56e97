"""What the overfitting front and a backend's engine agree on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from mlmethods.interfaces import Callback, NDArray, Seed

__all__ = [
    "EARLY",
    "INTERPOLATE",
    "Engine",
    "LaneGroup",
    "LaneOutcome",
    "NetworkConfig",
    "NetworkTrainer",
]

INTERPOLATE = "interpolate"
"""Stop when the training set is fitted exactly."""
EARLY = "early"
"""Stop when the held-out error no longer falls; the best epoch counts."""


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """A network, its loss and its optimizer.

    Attributes
    ----------
    model : "mlp" or callable
        A callable gets ``(in_features, out_features, rngs)``.
    depth, width : int
        Hidden layers of the perceptron and units of each.
    parameterization : {"standard", "ntk"}
        Of the perceptron.
    loss : {"mse", "cross_entropy"}
        The mean squared error is of one-hot targets that are centered and scaled to
        mean square 1.
    optimizer : {"sgd", "adam"}
        ``"sgd"`` has momentum 0.9.
    learning_rate : float
        Of the optimizer, constant.
    n_classes : int
        Outputs of the network.
    """

    model: str | Callable[..., Any] = "mlp"
    depth: int = 3
    width: int = 512
    parameterization: str = "standard"
    loss: str = "mse"
    optimizer: str = "sgd"
    learning_rate: float = 1e-2
    n_classes: int = 2


@dataclass(frozen=True, kw_only=True)
class LaneGroup:
    """Trainings of one number of rows n, which run side by side.

    Attributes
    ----------
    rows : int array of shape (lanes, n)
        Rows of X that each lane sees, in an order of its own.
    labels : int array of shape (lanes, n)
        Their labels, 0 to classes - 1.
    held_out : bool array of shape (lanes, n)
        Rows that validate and do not train.
    stop : tuple of str or int, one for each lane
        ``"interpolate"``, ``"early"``, or a number of epochs.
    seeds : tuple of Seed, one for each lane
        Of the weights.
    order_seed : Seed
        Of the order of the batches.
    batch_size, max_epochs, check_every, patience : int
        Rows in a batch, the cap on epochs, epochs between two looks at the stop rules,
        epochs without a better validation score.
    monitor : {"error", "loss"}
        What the rule ``"early"`` compares on the rows held out; the other one decides
        between equals.
    """

    rows: NDArray
    labels: NDArray
    held_out: NDArray
    stop: tuple[str | int, ...]
    seeds: tuple[Seed, ...]
    order_seed: Seed
    batch_size: int
    max_epochs: int
    check_every: int = 1
    patience: int = 20
    monitor: str = "error"


class LaneOutcome(NamedTuple):
    """What each lane came to, at the epoch that counts.

    Attributes
    ----------
    epochs : int array of shape (lanes,)
        Epochs of training behind the weights that are judged.
    epochs_run : int array of shape (lanes,)
        Epochs until the lane stopped; more where an earlier epoch was better.
    stopped : bool array of shape (lanes,)
        Whether the rule stopped the lane before the cap.
    train_loss : array of shape (lanes,)
        Mean loss of the rows that train.
    predictions : int array of shape (lanes, n)
        Predicted labels of the lane's rows, held out or not.
    test_predictions : int array of shape (lanes, m)
        Predicted labels of the test rows.
    """

    epochs: NDArray
    epochs_run: NDArray
    stopped: NDArray
    train_loss: NDArray
    predictions: NDArray
    test_predictions: NDArray


class NetworkTrainer(Protocol):
    """A network on data that is held on the device."""

    def train(self, group: LaneGroup, callback: Callback | None = None) -> LaneOutcome:
        """Train the lanes of a group until each has stopped.

        `callback` receives an event after every look, whose metric ``stopped`` is the
        number of lanes that have.

        Raises
        ------
        DivergenceError
            If a loss or a gradient stops being finite.
        """
        ...


class Engine(Protocol):
    """The overfitting engine of a backend."""

    def networks(
        self, config: NetworkConfig, X: NDArray, X_test: NDArray, max_rows: int
    ) -> NetworkTrainer:
        """Put the rows on the device; groups have at most `max_rows` rows a lane."""
        ...
