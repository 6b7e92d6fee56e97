"""Models that name every frame of a recording: convolutions and attention."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from mlmethods.common.validation import check_real
from mlmethods.interfaces import Backend, NDArray
from mlmethods.motion import postprocess
from mlmethods.motion._estimator import NORMALIZER, WINDOW
from mlmethods.motion._segmentation import ImportedSegmentation, SegmentationEstimator
from mlmethods.motion._window_passes import softmax
from mlmethods.motion.contract import (
    ASFormerConfig,
    ASRFConfig,
    MSTCNConfig,
    NetworkConfig,
    TrainingConfig,
    TrainingData,
)
from mlmethods.motion.taggers import BiGRUTagger, CNNTagger
from mlmethods.motion.windows import WindowSpec

__all__ = [
    "ASRF",
    "MSTCN",
    "ASFormer",
    "BiGRUTagger",
    "CNNTagger",
    "SegmentationEstimator",
]


class MSTCN(ImportedSegmentation):
    """Stages of dilated convolutions, each of which refines the one before.

    Parameters
    ----------
    stages, layers, maps : int
        Stages, layers of each, and channels within.
    smoothing_weight : float
        Weight of the penalty on changes from frame to frame.
    dropout : float
        Probability that a unit is dropped in training.
    lr, weight_decay, batch_size, epochs : float, float, int, int
        Of Adam; a batch is a number of recordings.
    smoothing : tuple of (int, float), optional
        Width in frames and beta of a Kaiser window that probabilities are smoothed with
        before the most likely class is taken.
    min_frames : int, optional
        Runs with fewer frames take the label of their longer neighbor.
    window : WindowSpec
        For streaming; whole recordings are what is trained on and predicted.
    train_hop : float
        Not used, as whole recordings are examples.
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

    References
    ----------
    Y. Abu Farha and J. Gall, MS-TCN: Multi-Stage Temporal Convolutional Network for
    Action Segmentation, CVPR 2019.
    """

    _whole = True
    _kind = "mstcn"

    def __init__(
        self,
        *,
        stages: int = 4,
        layers: int = 10,
        maps: int = 64,
        smoothing_weight: float = 0.15,
        dropout: float = 0.5,
        lr: float = 5e-4,
        weight_decay: float = 0.0,
        batch_size: int = 1,
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
        self.stages = stages
        self.layers = layers
        self.maps = maps
        self.smoothing_weight = smoothing_weight
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
        return MSTCNConfig(
            n_features=n_features,
            n_classes=n_classes,
            stages=self.stages,
            layers=self.layers,
            maps=self.maps,
            smoothing_weight=self.smoothing_weight,
            dropout=self.dropout,
        )


class ASRF(ImportedSegmentation):
    """A branch of classes and one of boundaries, which refine each other.

    The segments of a recording lie between peaks of the boundary probability; each has
    the class of most of its frames.

    Parameters
    ----------
    stages, layers, maps : int
        Stages of each branch with its head, layers of each, and channels within.
    boundary_weight, similarity_weight : float
        Weights of the loss of boundaries, and of the penalty on changes between alike
        frames.
    dropout : float
        Probability that a unit is dropped in training.
    refine : bool
        Whether boundaries decide where segments end.
    threshold : float
        Least probability of a boundary.
    lr, weight_decay, batch_size, epochs : float, float, int, int
        Of Adam; a batch is a number of recordings.
    smoothing : tuple of (int, float), optional
        Width in frames and beta of a Kaiser window that probabilities are smoothed with
        before the most likely class is taken.
    min_frames : int, optional
        Runs with fewer frames take the label of their longer neighbor.
    window : WindowSpec
        For streaming; whole recordings are what is trained on and predicted.
    train_hop : float
        Not used, as whole recordings are examples.
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

    References
    ----------
    Y. Ishikawa et al., Alleviating Over-segmentation Errors by Detecting Action
    Boundaries, WACV 2021.
    """

    _whole = True
    _kind = "asrf"

    def __init__(
        self,
        *,
        stages: int = 4,
        layers: int = 10,
        maps: int = 64,
        boundary_weight: float = 0.1,
        similarity_weight: float = 1.0,
        dropout: float = 0.5,
        refine: bool = True,
        threshold: float = 0.5,
        lr: float = 5e-4,
        weight_decay: float = 1e-4,
        batch_size: int = 1,
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
        self.stages = stages
        self.layers = layers
        self.maps = maps
        self.boundary_weight = boundary_weight
        self.similarity_weight = similarity_weight
        self.dropout = dropout
        self.refine = refine
        self.threshold = threshold
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
        return ASRFConfig(
            n_features=n_features,
            n_classes=n_classes,
            stages=self.stages,
            layers=self.layers,
            maps=self.maps,
            boundary_weight=self.boundary_weight,
            similarity_weight=self.similarity_weight,
            dropout=self.dropout,
        )

    def _training_config(self, data: TrainingData) -> TrainingConfig:
        """Return the training, with rare classes weighted up."""
        config = super()._training_config(data)
        y = data.labels[data.labels >= 0]
        share = np.bincount(y, minlength=len(self.classes_)) / max(len(y), 1)
        seen = share > 0
        weights = np.where(seen, np.median(share[seen]) / np.where(seen, share, 1), 0)
        return dataclasses.replace(config, class_weights=tuple(weights.tolist()))

    def _check_smoothing(self) -> None:
        super()._check_smoothing()
        check_real("threshold", self.threshold, minimum=0, maximum=1)

    def _last(self, logits: Any) -> tuple[NDArray, NDArray]:
        """Return class probabilities [T, C] and boundary probabilities [T]."""
        classes, boundaries = logits
        chance = 1.0 / (1.0 + np.exp(-boundaries[0].astype(np.float64)))
        return softmax(classes[0]), chance

    def _proba(self, scores: Any) -> NDArray:
        return np.asarray(scores[0])

    def _labels(self, scores: Any) -> tuple[NDArray, NDArray]:
        if not self.refine:
            return super()._labels(scores)
        proba = super()._labels(scores)[0]
        refined = postprocess.refine_with_boundaries(proba, scores[1], self.threshold)
        return proba, self._without_short(np.asarray(refined, np.int32))


class ASFormer(ImportedSegmentation):
    """An encoder and decoders of dilated convolutions and windowed attention.

    Parameters
    ----------
    decoders, layers, maps : int
        Decoders, blocks of each, and channels within.
    reduction : int
        Factor by which queries, keys and values are narrower.
    channel_dropout : float
        Probability that a channel of the input is dropped in training.
    smoothing_weight : float
        Weight of the penalty on changes from frame to frame.
    dropout : float
        Probability that a unit is dropped in training.
    lr, weight_decay, batch_size, epochs : float, float, int, int
        Of Adam, whose rate is halved after 4 epochs without a lower loss; a batch is
        a number of recordings.
    smoothing : tuple of (int, float), optional
        Width in frames and beta of a Kaiser window that probabilities are smoothed with
        before the most likely class is taken.
    min_frames : int, optional
        Runs with fewer frames take the label of their longer neighbor.
    window : WindowSpec
        For streaming; whole recordings are what is trained on and predicted.
    train_hop : float
        Not used, as whole recordings are examples.
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

    References
    ----------
    F. Yi, H. Wen and T. Jiang, ASFormer: Transformer for Action Segmentation,
    BMVC 2021.
    """

    _whole = True
    _kind = "asformer"
    _schedule = "plateau"

    def __init__(
        self,
        *,
        decoders: int = 3,
        layers: int = 10,
        maps: int = 64,
        reduction: int = 2,
        channel_dropout: float = 0.3,
        smoothing_weight: float = 0.15,
        dropout: float = 0.5,
        lr: float = 5e-4,
        weight_decay: float = 1e-5,
        batch_size: int = 1,
        epochs: int = 120,
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
        self.decoders = decoders
        self.layers = layers
        self.maps = maps
        self.reduction = reduction
        self.channel_dropout = channel_dropout
        self.smoothing_weight = smoothing_weight
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
        return ASFormerConfig(
            n_features=n_features,
            n_classes=n_classes,
            decoders=self.decoders,
            layers=self.layers,
            maps=self.maps,
            reduction=self.reduction,
            channel_dropout=self.channel_dropout,
            smoothing_weight=self.smoothing_weight,
            dropout=self.dropout,
        )
