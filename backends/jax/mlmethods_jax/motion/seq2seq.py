"""Sequence networks: an encoder that lowers the rate, and a decoder that attends.

For engines, pure functions of a configuration, flat parameters and arrays:

``init_seq2seq(config, seed)``
    initial parameters (numpy arrays under dotted names).
``seq2seq_forward(config, params, x, mask, previous, tokens=None, *, max_tokens=35)``
    all that the network computes, as a dictionary (compiled).
``seq2seq_loss(config, params, batch, key, teacher, class_weights=None)``
    one loss a window; ``batch`` has "x" [B, T, D], "mask" [B, T], "labels" [B, T]
    (-1 for none), "tokens" [B, L] (classes from 1, the end, then 0) and "previous"
    [B] (token of the earlier window). `teacher` is the probability that a step sees
    the true token; with `key` None nothing is dropped.

``mlmethods_jax.motion.decode`` finds sequences. Frames are padded within to a multiple
of the rate. A row whose mask is False everywhere is padding.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import NDArray
from mlmethods.motion.contract import Seq2SeqConfig
from mlmethods_jax.layers.gru import GRUCell
from mlmethods_jax.layers.tcn import Pointwise
from mlmethods_jax.motion import _decoder_loop as loop
from mlmethods_jax.motion._greedy import greedy_trace
from mlmethods_jax.motion._state import init, merge
from mlmethods_jax.motion.encoders import PyramidBiGRU, StridedTCN, pad_frames
from mlmethods_jax.motion.losses_frame import cross_entropy
from mlmethods_jax.motion.losses_seq import draw_own, frame_labels, token_loss

__all__ = [
    "LASDecoder",
    "Seq2SeqModule",
    "init_seq2seq",
    "make_seq2seq",
    "seq2seq_forward",
    "seq2seq_loss",
]

_ATTENTION = ("dot", "mlp", "mean")
_ENCODERS = ("pyramid-gru", "tcn-stride")


class LASDecoder(nnx.Module):
    """A recurrent layer that attends to the encoder and spells tokens.

    Its state and contexts have the width of the encoder's outputs.

    Parameters
    ----------
    features : int
        Width of the encoder's outputs.
    n_classes : int
        Classes C; there are ``C + 2`` tokens, of which 0 is padding and ``C + 1`` the
        end.
    attention : {"dot", "mlp", "mean"}
        Whether states are compared with outputs as they are, after a rectified dense
        layer of each, or not at all: the context is then the mean of the outputs.
    heads : int
        Queries of the attention ``"mlp"``; the keys are shared, and their contexts
        become one by a dense layer.
    width : int
        Of the dense layers of ``"mlp"``.
    rngs : nnx.Rngs
        Source of the parameters.

    Raises
    ------
    InvalidInputError
        If the attention is unknown, or has several heads but is not ``"mlp"``.

    References
    ----------
    Chan, Jaitly, Le, Vinyals (2016), Listen, attend and spell, ICASSP, section 3.2;
    arXiv:1508.01211.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from mlmethods_jax.motion import LASDecoder
    >>> decoder = LASDecoder(8, 5, rngs=nnx.Rngs(0))
    >>> log_probs, attention = decoder(
    ...     jnp.ones((1, 3, 8)), previous=jnp.array([1]), tokens=jnp.array([[2, 6]])
    ... )
    >>> log_probs.shape, attention.shape
    ((1, 2, 7), (1, 2, 3))
    """

    def __init__(
        self,
        features: int,
        n_classes: int,
        *,
        attention: str = "dot",
        heads: int = 1,
        width: int = 256,
        rngs: nnx.Rngs,
    ) -> None:
        if attention not in _ATTENTION:
            raise InvalidInputError(
                f"attention must be one of {', '.join(_ATTENTION)}, got {attention!r}"
            )
        if heads < 1 or (heads > 1 and attention != "mlp"):
            raise InvalidInputError(
                "heads must be 1, or more with the attention 'mlp', got "
                f"{heads} with {attention!r}"
            )
        vocabulary = n_classes + 2
        self.attention, self.heads, self.n_classes = attention, heads, n_classes
        self.cell = GRUCell(vocabulary + features, features, rngs=rngs)
        if attention == "mlp":
            self.phi = Pointwise(features, heads * width, rngs=rngs)
            self.psi = Pointwise(features, width, rngs=rngs)
        if heads > 1:
            self.dim_reduce = Pointwise(heads * features, features, rngs=rngs)
        self.readout = Pointwise(2 * features, vocabulary, rngs=rngs)

    def weights(self) -> loop.Weights:
        """Return the weights as the loops of the decoder take them."""
        cell = self.cell
        recurrent = loop.Recurrent(
            cell.kernel[...],
            cell.bias[...],
            cell.recurrent_kernel[...],
            cell.recurrent_bias[...],
        )
        attention = loop.Attention(self._pair("phi"), self._pair("dim_reduce"))
        return loop.Weights(
            recurrent, attention, self._pair("psi"), self._pair("readout")
        )

    def _pair(self, name: str) -> Any:
        layer = getattr(self, name, None)
        return None if layer is None else (layer.kernel[...], layer.bias[...])

    def memory(self, encoded: Array, mask: Array | None) -> loop.Memory:
        """Return what the decoder looks at: encoder outputs, 0 outside of the mask."""
        if mask is None:
            mask = jnp.ones(encoded.shape[:2], bool)
        return loop.memory_of(self.attention, self._pair("psi"), encoded, mask)

    def __call__(
        self,
        encoded: Float[Array, "b t n"],
        mask: Bool[Array, "b t"] | None = None,
        *,
        previous: Int[Array, " b"],
        tokens: Int[Array, "b l"],
        own: Bool[Array, "b l"] | None = None,
    ) -> tuple[Array, Array]:
        """Return log-probabilities [b, l, C + 2] of known targets and the attention.

        `own` says where the next step sees the likeliest class instead of the target.
        """
        if own is None:
            own = jnp.zeros(tokens.shape, bool)
        weights = self.weights()
        states, contexts, attention = loop.teacher_forced(
            self.heads, weights, self.memory(encoded, mask), previous, tokens, own
        )
        logits = loop.readout(weights, states, contexts)
        return jax.nn.log_softmax(logits), attention


class Seq2SeqModule(nnx.Module):
    """An encoder at a lower rate, a classifier of its steps, and a decoder of tokens.

    Parameters
    ----------
    config : Seq2SeqConfig
        Sizes and kinds.
    rngs : nnx.Rngs
        Source of the parameters and of dropout.

    Raises
    ------
    InvalidInputError
        If the encoder or the attention is unknown.
    """

    def __init__(self, config: Seq2SeqConfig, *, rngs: nnx.Rngs) -> None:
        if config.encoder not in _ENCODERS:
            raise InvalidInputError(
                f"encoder must be one of {', '.join(_ENCODERS)}, got {config.encoder!r}"
            )
        make: Any = PyramidBiGRU if config.encoder == _ENCODERS[0] else StridedTCN
        self.rate = 2**config.layers
        self.encoder = make(
            config.n_features,
            config.hidden,
            layers=config.layers,
            dropout=config.dropout,
            rngs=rngs,
        )
        self.frame_head = Pointwise(2 * config.hidden, config.n_classes, rngs=rngs)
        self.decoder = LASDecoder(
            2 * config.hidden,
            config.n_classes,
            attention=config.attention,
            heads=config.heads,
            width=config.attention_width,
            rngs=rngs,
        )

    def encode(self, x: Array, mask: Array | None = None) -> tuple[Array, Array, Array]:
        """Return encoder outputs, their mask and the logits of the steps."""
        encoded, kept = self.encoder(*pad_frames(x, mask, self.rate))
        return encoded, kept, self.frame_head(encoded)

    def __call__(
        self,
        x: Float[Array, "b t d"],
        mask: Bool[Array, "b t"] | None = None,
        *,
        previous: Int[Array, " b"] | None = None,
        tokens: Int[Array, "b l"] | None = None,
        own: Bool[Array, "b l"] | None = None,
        max_tokens: int = 35,
    ) -> dict[str, Array]:
        """Return all that the network computes.

        Parameters
        ----------
        x : float32 array [b, t, d]
            Frames.
        mask : bool array [b, t], optional
            Frames that count.
        previous : int32 array [b], optional
            Token before the first one; 1, the first class, by default.
        tokens : int32 array [b, l], optional
            Targets that the decoder sees; else it sees its own choices, and stops when
            all rows have ended.
        own : bool array [b, l], optional
            Where the next step sees the likeliest class instead of the target.
        max_tokens : int
            Room for tokens where there are no targets.

        Returns
        -------
        dict
            ``encoder`` [b, t', 2 H], ``frame_logits`` [b, t', C], ``log_probs``
            [b, l, C + 2], ``ids`` [b, l], the likeliest token of each step with the end
            among them, and ``attention`` [b, l, t']. Steps behind the end of a row,
            or of its targets, are 0.
        """
        encoded, kept, frame_logits = self.encode(x, mask)
        if previous is None:
            previous = jnp.ones(x.shape[0], jnp.int32)
        if tokens is None:
            weights, memory = self.decoder.weights(), self.decoder.memory(encoded, kept)
            log_probs, ids, attention = greedy_trace(
                self.decoder.heads, weights, memory, previous, max_tokens
            )
        else:
            log_probs, attention = self.decoder(
                encoded, kept, previous=previous, tokens=tokens, own=own
            )
            ids = jnp.where(tokens > 0, jnp.argmax(log_probs, -1).astype(jnp.int32), 0)
            counted = (tokens > 0)[..., None]
            log_probs = jnp.where(counted, log_probs, jnp.zeros_like(log_probs))
            attention = jnp.where(counted, attention, jnp.zeros_like(attention))
        return {
            "encoder": encoded,
            "frame_logits": frame_logits,
            "log_probs": log_probs,
            "ids": ids,
            "attention": attention,
        }


def make_seq2seq(config: Seq2SeqConfig, rngs: nnx.Rngs) -> Seq2SeqModule:
    """Return the network of a configuration."""
    return Seq2SeqModule(config, rngs=rngs)


def init_seq2seq(config: Seq2SeqConfig, seed: int) -> dict[str, NDArray]:
    """Return initial parameters.

    Examples
    --------
    >>> from mlmethods.motion.contract import Seq2SeqConfig
    >>> from mlmethods_jax.motion.seq2seq import init_seq2seq
    >>> config = Seq2SeqConfig(n_features=6, n_classes=5, hidden=4, layers=1)
    >>> sorted(init_seq2seq(config, 0))[:2]
    ['decoder.cell.bias', 'decoder.cell.kernel']
    """
    return init(make_seq2seq, config, seed)


@functools.partial(jax.jit, static_argnames=("config", "max_tokens"))
def seq2seq_forward(
    config: Seq2SeqConfig,
    params: Mapping[str, Any],
    x: Any,
    mask: Any = None,
    previous: Any = None,
    tokens: Any = None,
    *,
    max_tokens: int = 35,
) -> dict[str, Array]:
    """Return what :class:`Seq2SeqModule` computes in evaluation mode."""
    module = merge(make_seq2seq, config, params)
    return module(x, mask, previous=previous, tokens=tokens, max_tokens=max_tokens)


def seq2seq_loss(
    config: Seq2SeqConfig,
    params: Mapping[str, Any],
    batch: Mapping[str, Array],
    key: Any,
    teacher: Any,
    class_weights: Any = None,
) -> Float[Array, " b"]:
    """Return the loss of each window: that of its tokens and that of its frames.

    Parameters
    ----------
    config : Seq2SeqConfig
        Of the network; it has the smoothing of the tokens and the weight of the frames.
    params : mapping of str to array
        Its parameters.
    batch : mapping
        ``x``, ``mask``, ``labels``, ``tokens`` and ``previous``; see above.
    key : key or None
        Source of dropout and of the steps that see the decoder's own tokens; without
        it nothing is dropped and every step sees the true token.
    teacher : float32 array of shape ()
        Probability that a step sees the true token.
    class_weights : float32 array [C], optional
        Weights of the frames by their class.

    Returns
    -------
    float32 array [b]
        The same in every batch, but for what is drawn.
    """
    tokens, own, dropout = batch["tokens"], None, None
    if key is not None:
        dropout, drawn = jax.random.split(key)
        rows, room = tokens.shape
        own = draw_own(drawn, (rows, room), jnp.asarray(teacher, jnp.float32))
    module = merge(make_seq2seq, config, params, dropout)
    found = module(
        batch["x"], batch["mask"], previous=batch["previous"], tokens=tokens, own=own
    )
    losses = token_loss(found["log_probs"], tokens, config.label_smoothing)
    if config.frame_loss == 0.0:
        return losses
    _, mask = pad_frames(batch["x"], batch["mask"], module.rate)
    extra = mask.shape[1] - batch["labels"].shape[1]
    labels = jnp.pad(batch["labels"], ((0, 0), (0, extra)), constant_values=-1)
    labels = frame_labels(labels, mask, module.rate)
    frames = cross_entropy(found["frame_logits"], labels, class_weights)
    return losses + config.frame_loss * frames
