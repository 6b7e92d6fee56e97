"""What the motion front and a backend's engine agree on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from mlmethods.interfaces import Callback, NDArray

__all__ = [
    "ASFormerConfig",
    "ASRFConfig",
    "BiGRUConfig",
    "CNNConfig",
    "CTCConfig",
    "DecodeResult",
    "Engine",
    "MSTCNConfig",
    "Network",
    "NetworkConfig",
    "Seq2SeqConfig",
    "Trainer",
    "TrainingConfig",
    "TrainingData",
]


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """What every network has.

    Tokens are 0 for padding, 1 to ``n_classes`` for the classes and ``n_classes + 1``
    for the end.

    Attributes
    ----------
    n_features : int
        Channels of a frame.
    n_classes : int
        Classes C.
    dropout : float
        Probability that a unit is dropped in training.
    """

    n_features: int
    n_classes: int
    dropout: float = 0.1


@dataclass(frozen=True, kw_only=True)
class Seq2SeqConfig(NetworkConfig):
    """Pyramid of recurrent layers, and a decoder that attends to it.

    Attributes
    ----------
    hidden : int
        Units H of a direction of the encoder; the decoder has 2 H.
    layers : int
        Layers of the pyramid, each of which halves the rate.
    attention : {"dot", "mlp", "mean"}
        How the decoder looks at the encoder; ``"mean"`` is no attention.
    heads : int
        Query blocks of the attention ``"mlp"``.
    attention_width : int
        Width of its queries and keys.
    encoder : {"pyramid-gru", "tcn-stride"}
        The second is for features of video: dilated convolutions with strides of 2.
    frame_loss : float
        Weight of the classification of frames.
    label_smoothing : float
        Of the loss over tokens.
    """

    hidden: int = 256
    layers: int = 3
    attention: str = "dot"
    heads: int = 1
    attention_width: int = 256
    encoder: str = "pyramid-gru"
    frame_loss: float = 0.5
    label_smoothing: float = 0.1


@dataclass(frozen=True, kw_only=True)
class CTCConfig(NetworkConfig):
    """The same pyramid, with a classifier and the CTC loss; blank is 0."""

    hidden: int = 256
    layers: int = 3


@dataclass(frozen=True, kw_only=True)
class MSTCNConfig(NetworkConfig):
    """Stages of dilated convolutions."""

    stages: int = 4
    layers: int = 10
    maps: int = 64
    smoothing_weight: float = 0.15
    dropout: float = 0.5


@dataclass(frozen=True, kw_only=True)
class ASRFConfig(NetworkConfig):
    """Shared dilated convolutions, a branch of classes and one of boundaries.

    ``stages`` counts the head and the refinement stages of each branch.
    """

    stages: int = 4
    layers: int = 10
    maps: int = 64
    boundary_weight: float = 0.1
    similarity_weight: float = 1.0
    dropout: float = 0.5


@dataclass(frozen=True, kw_only=True)
class ASFormerConfig(NetworkConfig):
    """An encoder and decoders of windowed attention.

    ``window`` is ``"frame"`` or ``"block"``: whether every frame has a window of its
    own, or all frames of a block have the same, as in the code that was released.
    """

    decoders: int = 3
    layers: int = 10
    maps: int = 64
    reduction: int = 2
    channel_dropout: float = 0.3
    window: str = "frame"
    smoothing_weight: float = 0.15
    dropout: float = 0.5


@dataclass(frozen=True, kw_only=True)
class BiGRUConfig(NetworkConfig):
    """Recurrent layers at the full rate, and a classifier of frames."""

    hidden: int = 256
    layers: int = 2


@dataclass(frozen=True, kw_only=True)
class CNNConfig(NetworkConfig):
    """Convolutions over a window, and a classifier of frames."""

    maps: int = 64
    layers: int = 3
    width: int = 9


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How a network is trained.

    Attributes
    ----------
    optimizer : {"adam", "adamw"}
        The update rule.
    schedule : {"constant", "one-cycle", "plateau"}
        ``"one-cycle"`` rises linearly from ``lr / 25`` over 30 % of all steps and falls
        back linearly; ``"plateau"`` halves the rate when the mean loss of more than 3
        epochs in a row has not fallen.
    lr, weight_decay : float
        Of the optimizer.
    batch_size : int
        Windows, or recordings, in a batch.
    epochs : int
        Planned epochs; the schedules need them.
    random_shift : bool
        Whether each window starts at a random place before the next one, in every
        epoch anew.
    teacher_final : float
        Probability that the decoder sees the true token, at the last epoch; it falls
        linearly from 1.
    class_weights : tuple of float, optional
        One for each class, in the loss of frames.
    """

    optimizer: str = "adamw"
    schedule: str = "one-cycle"
    lr: float = 5e-4
    weight_decay: float = 1e-4
    batch_size: int = 128
    epochs: int = 150
    random_shift: bool = True
    teacher_final: float = 0.05
    class_weights: tuple[float, ...] | None = None


class TrainingData(NamedTuple):
    """Recordings one after another, and the windows in them.

    A window w takes the frames from ``start[w]``, of which the first ``length[w]`` are
    its own; the rest, up to the common length, is padding. Frames outside of the
    recording are never read: `frames` is padded by whole windows.

    Attributes
    ----------
    frames : float32 array of shape (total, D)
        Normalized frames of all recordings.
    labels : int32 array of shape (total,)
        Class of every frame, -1 where there is none.
    start, length : int32 arrays of shape (n,)
        Windows.
    core : int32 array of shape (n, 2)
        First and last + 1 frame of the core of each window, from its start: what its
        target is about.
    shift : int32 array of shape (n,)
        By how many frames at most the window may be moved to later ones.
    tokens : int32 array of shape (n, L), optional
        Targets that are given without times; else they come from `labels`.
    size : int
        Frames of a window, padding included.
    max_tokens : int
        Room for the tokens of a window, the end included.
    start_token : int
        What a decoder sees as the last token before a recording.
    """

    frames: NDArray
    labels: NDArray
    start: NDArray
    length: NDArray
    core: NDArray
    shift: NDArray
    tokens: NDArray | None
    size: int
    max_tokens: int
    start_token: int = 0


class DecodeResult(NamedTuple):
    """What a sequence model found in windows.

    Attributes
    ----------
    ids : int32 array of shape (n, L)
        Token ids, 0 after the end; the end token is not among them.
    log_probs : float32 array of shape (n, L)
        Log-probability of each token.
    truncated : bool array of shape (n,)
        Whether no end was found within the room.
    frame_logits : float32 array of shape (n, W / rate, C)
        Logits of the frames, at the rate of the encoder.
    """

    ids: NDArray
    log_probs: NDArray
    truncated: NDArray
    frame_logits: NDArray


class Trainer(Protocol):
    """A network in training; epochs are taken one at a time."""

    steps: int
    """Steps taken."""

    def epoch(self, callback: Callback | None = None) -> Mapping[str, float]:
        """Take one epoch and return its mean metrics, ``loss`` among them.

        Raises
        ------
        DivergenceError
            If the loss is no longer finite; the parameters are those before.
        """
        ...

    def params(self) -> dict[str, NDArray]:
        """Return the parameters under flat names."""
        ...

    def arrays(self) -> dict[str, NDArray]:
        """Return everything that a resumed run needs, under names."""
        ...

    def restore(self, arrays: Mapping[str, NDArray]) -> None:
        """Go on from these arrays.

        Raises
        ------
        CheckpointError
            If a name, shape or dtype differs.
        """
        ...


class Network(Protocol):
    """A network of one configuration; parameters are flat dictionaries of arrays.

    Inputs are padded to few sizes within: other lengths and batch sizes compile little.
    Results of a row do not depend on its neighbors or on padding.
    """

    config: NetworkConfig

    def init(self, seed: int) -> dict[str, NDArray]:
        """Return initial parameters."""
        ...

    def logits(
        self, params: Mapping[str, NDArray], x: NDArray, mask: NDArray | None = None
    ) -> Any:
        """Return what the network says of frames `x` [B, T, D].

        Framewise networks give float32 logits [S, B, T, C] of all stages; ASRF the pair
        of class logits [B, T, C] and boundary logits [B, T] of its last ones. CTC gives
        log-probabilities [B, T / rate, C + 1].
        """
        ...

    def forward(
        self,
        params: Mapping[str, NDArray],
        x: NDArray,
        mask: NDArray | None = None,
        *,
        previous: NDArray | None = None,
        tokens: NDArray | None = None,
        max_tokens: int = 35,
    ) -> dict[str, NDArray]:
        """Return all that Seq2Seq computes; `tokens` given means teacher forcing.

        ``encoder`` [B, T', 2H], ``frame_logits`` [B, T', C], ``log_probs`` [B, L, C+2],
        ``ids`` [B, L] and ``attention`` [B, L, T'].
        """
        ...

    def decode(
        self,
        params: Mapping[str, NDArray],
        x: NDArray,
        mask: NDArray | None = None,
        *,
        previous: NDArray | None = None,
        beam: int = 1,
        length_penalty: float = 0.0,
        max_tokens: int = 35,
    ) -> DecodeResult:
        """Return the best token sequences of windows (Seq2Seq and CTC).

        It stops when all sequences have ended.
        """
        ...

    def trainer(
        self,
        params: Mapping[str, NDArray],
        data: TrainingData,
        config: TrainingConfig,
        *,
        seed: int,
    ) -> Trainer:
        """Return a trainer that starts from these parameters."""
        ...


class Engine(Protocol):
    """The motion engine of a backend."""

    def network(self, config: NetworkConfig) -> Network:
        """Return the network of a configuration; equal ones share compiled code."""
        ...

    def from_torch(
        self,
        kind: Literal["seq2seq", "mstcn", "asrf", "asformer"],
        arrays: Mapping[str, NDArray],
        config: NetworkConfig | None = None,
    ) -> tuple[NetworkConfig, dict[str, NDArray]]:
        """Return the configuration and parameters of weights with PyTorch's names.

        Raises
        ------
        CheckpointError
            If a name is unknown or missing, or a shape does not fit; it lists them.
        """
        ...
