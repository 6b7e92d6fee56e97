"""Models that name the frames of windows: recurrent layers, and small convolutions."""

from __future__ import annotations

from typing import Any

from mlmethods.interfaces import Backend
from mlmethods.motion._estimator import NORMALIZER, WINDOW
from mlmethods.motion._segmentation import SegmentationEstimator
from mlmethods.motion.contract import BiGRUConfig, CNNConfig, NetworkConfig
from mlmethods.motion.windows import WindowSpec

__all__ = ["BiGRUTagger", "CNNTagger"]


class BiGRUTagger(SegmentationEstimator):
    """Bidirectional recurrent layers at the full rate, and a classifier of frames.

    Parameters
    ----------
    hidden, layers : int
        Units of a direction, and layers.
    dropout : float
        Probability that a unit is dropped in training.
    lr, weight_decay, batch_size, epochs : float, float, int, int
        Of AdamW with a one-cycle schedule; a batch is a number of windows.
    smoothing : tuple of (int, float), optional
        Width in frames and beta of a Kaiser window that probabilities are smoothed with
        before the most likely class is taken.
    min_frames : int, optional
        Runs with fewer frames take the label of their longer neighbor.
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
    classes_, feature_names_, fs_ : tuple of str, list of str, float
        What the training recordings had.
    params_, history_, best_epoch_ : dict, list of dict, int
        Parameters, metrics of each epoch, and the epoch that they are from.

    Examples
    --------
    >>> from mlmethods.motion import BiGRUTagger
    >>> model = BiGRUTagger(hidden=64, smoothing=(25, 3.0))
    >>> model.hidden, model.window.core  # units, seconds
    (64, 4.0)
    """

    _optimizer = "adamw"
    _schedule = "one-cycle"

    def __init__(
        self,
        *,
        hidden: int = 256,
        layers: int = 2,
        dropout: float = 0.1,
        lr: float = 5e-4,
        weight_decay: float = 1e-4,
        batch_size: int = 64,
        epochs: int = 50,
        smoothing: tuple[int, float] | None = None,
        min_frames: int | None = None,
        window: WindowSpec = WINDOW,
        train_hop: float = 0.5,
        normalizer: Any = NORMALIZER,
        features: str = "strict",
        patience: int | None = None,
        backend: str | Backend | None = "auto",
        random_state: int = 0,
    ) -> None:
        self.hidden = hidden
        self.layers = layers
        self.dropout = dropout
        self.lr = lr
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.epochs = epochs
        self.smoothing = smoothing
        self.min_frames = min_frames
        self.window = window
        self.train_hop = train_hop
        self.normalizer = normalizer
        self.features = features
        self.patience = patience
        self.backend = backend
        self.random_state = random_state

    def _network_config(self, n_features: int, n_classes: int) -> NetworkConfig:
        return BiGRUConfig(
            n_features=n_features,
            n_classes=n_classes,
            hidden=self.hidden,
            layers=self.layers,
            dropout=self.dropout,
        )


class CNNTagger(SegmentationEstimator):
    """Convolutions over a short time, and a classifier of frames: a cheap baseline.

    Parameters
    ----------
    maps, layers, width : int
        Channels, layers, and frames that a layer sees.
    dropout : float
        Probability that a unit is dropped in training.
    lr, weight_decay, batch_size, epochs : float, float, int, int
        Of AdamW with a one-cycle schedule; a batch is a number of windows.
    smoothing : tuple of (int, float), optional
        Width in frames and beta of a Kaiser window that probabilities are smoothed with
        before the most likely class is taken.
    min_frames : int, optional
        Runs with fewer frames take the label of their longer neighbor.
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
    classes_, feature_names_, fs_ : tuple of str, list of str, float
        What the training recordings had.
    params_, history_, best_epoch_ : dict, list of dict, int
        Parameters, metrics of each epoch, and the epoch that they are from.
    """

    _optimizer = "adamw"
    _schedule = "one-cycle"

    def __init__(
        self,
        *,
        maps: int = 64,
        layers: int = 3,
        width: int = 9,
        dropout: float = 0.1,
        lr: float = 1e-3,
        weight_decay: float = 1e-4,
        batch_size: int = 64,
        epochs: int = 50,
        smoothing: tuple[int, float] | None = None,
        min_frames: int | None = None,
        window: WindowSpec = WINDOW,
        train_hop: float = 0.5,
        normalizer: Any = NORMALIZER,
        features: str = "strict",
        patience: int | None = None,
        backend: str | Backend | None = "auto",
        random_state: int = 0,
    ) -> None:
        self.maps = maps
        self.layers = layers
        self.width = width
        self.dropout = dropout
        self.lr = lr
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.epochs = epochs
        self.smoothing = smoothing
        self.min_frames = min_frames
        self.window = window
        self.train_hop = train_hop
        self.normalizer = normalizer
        self.features = features
        self.patience = patience
        self.backend = backend
        self.random_state = random_state

    def _network_config(self, n_features: int, n_classes: int) -> NetworkConfig:
        return CNNConfig(
            n_features=n_features,
            n_classes=n_classes,
            maps=self.maps,
            layers=self.layers,
            width=self.width,
            dropout=self.dropout,
        )
