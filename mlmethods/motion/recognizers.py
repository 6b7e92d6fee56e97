"""Models that write down motions in order: attention, CTC, and both in a row."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from mlmethods.common.validation import check_real
from mlmethods.interfaces import Backend, NDArray
from mlmethods.motion._estimator import NORMALIZER, WINDOW
from mlmethods.motion._imported import set_up_imported
from mlmethods.motion._sequence import SequenceEstimator
from mlmethods.motion.contract import Seq2SeqConfig, TrainingConfig, TrainingData
from mlmethods.motion.ctc import CTCRecognizer
from mlmethods.motion.seg2seq import Seg2Seq
from mlmethods.motion.windows import WindowSpec, start_token

__all__ = ["CTCRecognizer", "Seg2Seq", "Seq2SeqRecognizer"]


class Seq2SeqRecognizer(SequenceEstimator):
    """An encoder of sensor frames, and a decoder that names the motions in order.

    Each window is decoded into the motions of its core; the decoder sees the last
    motion of the window before. Sequences of windows are joined, equal neighbors
    counted once.

    Parameters
    ----------
    preset : {"base"}
        The sizes below.
    hidden, layers : int
        Units of a direction of the encoder, and its layers, each of which halves the
        rate.
    attention : {"dot", "mlp", "mean"}
        How the decoder looks at the encoder; ``"mean"`` is no attention.
    heads : int
        Query blocks of the attention ``"mlp"``.
    encoder : {"pyramid-gru", "tcn-stride"}
        The second is for features of video.
    frame_loss : float
        Weight of the classification of frames.
    label_smoothing : float
        Of the loss over tokens.
    dropout : float
        Probability that a unit is dropped in training.
    lr, weight_decay, batch_size, epochs : float, float, int, int
        Of AdamW with a one-cycle schedule; a batch is a number of windows.
    tf_final : float
        Probability that the decoder sees the true token at the last epoch; it falls
        linearly from 1.
    beam : int
        Hypotheses that are followed, 1 to 16.
    length_penalty : float
        Power of the length that log-probabilities are divided by where hypotheses are
        compared.
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

    References
    ----------
    A. Kaku et al., StrokeRehab: A Benchmark Dataset for Sub-second Action
    Identification, NeurIPS 2022.

    Examples
    --------
    >>> from mlmethods.motion import Seq2SeqRecognizer
    >>> model = Seq2SeqRecognizer(hidden=64, epochs=10)
    >>> model.window.size, model.window.core  # seconds
    (6.0, 4.0)
    """

    def __init__(
        self,
        preset: str = "base",
        *,
        hidden: int = 256,
        layers: int = 3,
        attention: str = "dot",
        heads: int = 1,
        encoder: str = "pyramid-gru",
        frame_loss: float = 0.5,
        label_smoothing: float = 0.1,
        dropout: float = 0.1,
        lr: float = 5e-4,
        weight_decay: float = 1e-4,
        batch_size: int = 128,
        epochs: int = 150,
        tf_final: float = 0.05,
        beam: int = 1,
        length_penalty: float = 0.0,
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
        self.attention = attention
        self.heads = heads
        self.encoder = encoder
        self.frame_loss = frame_loss
        self.label_smoothing = label_smoothing
        self.dropout = dropout
        self.lr = lr
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.epochs = epochs
        self.tf_final = tf_final
        self.beam = beam
        self.length_penalty = length_penalty
        self.window = window
        self.train_hop = train_hop
        self.normalizer = normalizer
        self.features = features
        self.patience = patience
        self.backend = backend
        self.random_state = random_state

    def _network_config(self, n_features: int, n_classes: int) -> Seq2SeqConfig:
        return Seq2SeqConfig(
            n_features=n_features,
            n_classes=n_classes,
            dropout=float(self.dropout),
            hidden=self.hidden,
            layers=self.layers,
            attention=self.attention,
            heads=self.heads,
            encoder=self.encoder,
            frame_loss=float(self.frame_loss),
            label_smoothing=float(self.label_smoothing),
        )

    def _check_arguments(self) -> None:
        super()._check_arguments()
        check_real("tf_final", self.tf_final, minimum=0, maximum=1)
        check_real("length_penalty", self.length_penalty, minimum=0)
        check_real("frame_loss", self.frame_loss, minimum=0)
        check_real("label_smoothing", self.label_smoothing, minimum=0, maximum=1)

    def _training_config(self, data: TrainingData) -> TrainingConfig:
        config = super()._training_config(data)
        return dataclasses.replace(config, teacher_final=float(self.tf_final))

    def forward(
        self,
        x: Any,
        prev: Any = None,
        tokens: Any = None,
        max_tokens: int = 35,
        *,
        mask: Any = None,
    ) -> dict[str, NDArray]:
        """Return all that the network computes of windows that are normalized.

        Parameters
        ----------
        x : array of shape (B, T, D)
            Frames.
        prev : int array of shape (B,), optional
            Last token of the window before; that of the start of a recording by
            default.
        tokens : int array of shape (B, L), optional
            What the decoder sees as its own output: 0 for padding, 1 to C for classes,
            C + 1 for the end.
        max_tokens : int
            Steps, where there are no tokens.
        mask : bool array of shape (B, T), optional
            Which frames are there; those in front.

        Returns
        -------
        dict
            ``encoder`` [B, T', 2H], ``frame_logits`` [B, T', C], ``log_probs``
            [B, L, C + 2], ``ids`` [B, L] and ``attention`` [B, L, T'], where T' is the
            length at the rate of the encoder.

        Raises
        ------
        InvalidInputError
            If a shape does not fit.
        """
        self._check_fitted()
        if prev is None:
            prev = np.full(len(np.asarray(x)), start_token(self.classes_), np.int32)
        return self._network().forward(
            self.params_, x, mask, previous=prev, tokens=tokens, max_tokens=max_tokens
        )

    def attention_windows(
        self, x: Any, mask: Any = None, previous: Any = None, ids: Any = None
    ) -> NDArray:
        """Return where the decoder looked while it found tokens, [B, L, T'].

        Parameters
        ----------
        x, mask, previous
            See :meth:`decode_windows`.
        ids : int array of shape (B, L)
            The tokens that were found; by default they are found again.
        """
        tokens = None if ids is None else np.asarray(ids, np.int32)
        return self.forward(x, previous, tokens, mask=mask)["attention"]

    @classmethod
    def from_torch_state_dict(
        cls,
        mapping: Mapping[str, Any],
        config: Seq2SeqConfig | None = None,
        *,
        classes: Sequence[str] | None = None,
        feature_names: Sequence[str] | None = None,
        fs: float = 100.0,
        **options: Any,
    ) -> Self:
        """Return a model with weights under the names of the public PyTorch code.

        Parameters
        ----------
        mapping : mapping of str to array
            Weights; torch is not needed.
        config : Seq2SeqConfig, optional
            The network; by default its sizes are those of the weights, and weights of
            an attention without parameters mean ``"dot"``.
        classes, feature_names : sequence of str, optional
            In the order of the outputs and the inputs; numbered by default.
        fs : float
            Frames per second of the recordings that it is for.
        **options
            Arguments of the constructor, such as ``normalizer``.

        Raises
        ------
        CheckpointError
            If a name is unknown or missing, or a shape does not fit; it lists them.
        """
        model = cls(**options)
        arrays = {name: np.asarray(array) for name, array in mapping.items()}
        found, params = model._engine().from_torch("seq2seq", arrays, config)
        sizes = {n: getattr(found, n) for n in model.get_params() if hasattr(found, n)}
        model.set_params(**sizes)
        set_up_imported(
            model,
            found,
            params,
            classes=classes,
            feature_names=feature_names,
            fs=fs,
        )
        return model
