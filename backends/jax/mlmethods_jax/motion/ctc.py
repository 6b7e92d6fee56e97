"""Connectionist temporal classification: sequences without the times of their tokens.

``init_ctc(config, seed)``
    initial parameters.
``ctc_logits(config, params, x, mask)``
    log-probabilities [B, T / rate, C + 1], blank first (compiled).
``ctc_loss(config, params, batch, key)``
    one loss a window; ``batch`` has "x", "mask" and "tokens" [B, L] (classes from 1,
    then 0; an end token counts as padding).
``ctc_decode(config, params, x, mask, *, beam=1, max_tokens=35)``
    the best sequences, as a ``DecodeResult`` (compiled).

Frames are padded within to a multiple of the rate.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from mlmethods.interfaces import NDArray
from mlmethods.motion.contract import CTCConfig, DecodeResult
from mlmethods_jax.layers.tcn import Pointwise
from mlmethods_jax.motion._prefix_beam import prefix_beam
from mlmethods_jax.motion._state import init, merge
from mlmethods_jax.motion.decode import check_beam
from mlmethods_jax.motion.encoders import PyramidBiGRU, pad_frames

__all__ = [
    "CTCModule",
    "collapse",
    "ctc_decode",
    "ctc_logits",
    "ctc_loss",
    "init_ctc",
    "make_ctc",
    "sequence_loss",
]


class CTCModule(nnx.Module):
    """The recurrent pyramid and a classifier of its steps, of which one is the blank.

    Parameters
    ----------
    config : CTCConfig
        Sizes.
    rngs : nnx.Rngs
        Source of the parameters and of dropout.

    References
    ----------
    Graves, Fernandez, Gomez, Schmidhuber (2006), Connectionist temporal
    classification, ICML.
    """

    def __init__(self, config: CTCConfig, *, rngs: nnx.Rngs) -> None:
        self.rate = 2**config.layers
        self.encoder = PyramidBiGRU(
            config.n_features,
            config.hidden,
            layers=config.layers,
            dropout=config.dropout,
            rngs=rngs,
        )
        self.readout = Pointwise(2 * config.hidden, config.n_classes + 1, rngs=rngs)

    def __call__(
        self, x: Float[Array, "b t d"], mask: Bool[Array, "b t"] | None = None
    ) -> tuple[Array, Array]:
        """Return log-probabilities [b, t', C + 1], blank first, and their mask."""
        encoded, kept = self.encoder(*pad_frames(x, mask, self.rate))
        return jax.nn.log_softmax(self.readout(encoded)), kept


def make_ctc(config: CTCConfig, rngs: nnx.Rngs) -> CTCModule:
    """Return the network of a configuration."""
    return CTCModule(config, rngs=rngs)


def init_ctc(config: CTCConfig, seed: int) -> dict[str, NDArray]:
    """Return initial parameters."""
    return init(make_ctc, config, seed)


@functools.partial(jax.jit, static_argnames="config")
def ctc_logits(
    config: CTCConfig, params: Mapping[str, Any], x: Any, mask: Any = None
) -> Float[Array, "b s v"]:
    """Return the log-probabilities of the steps, blank first."""
    return merge(make_ctc, config, params)(x, mask)[0]


def sequence_loss(
    log_probs: Float[Array, "b s v"],
    mask: Bool[Array, "b s"],
    tokens: Int[Array, "b l"],
) -> Float[Array, " b"]:
    """Return the negative log-probability of each sequence over its length.

    Parameters
    ----------
    log_probs : float32 array [b, s, v]
        Log-probabilities of the steps, blank first.
    mask : bool array [b, s]
        Steps that count: some at the front.
    tokens : integer array [b, l]
        Classes from 1, then 0.

    Returns
    -------
    float32 array [b]
        0 where the steps are too few for the tokens, one each and one between equal
        ones: no path exists, and nothing can be learned.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from mlmethods_jax.motion.ctc import sequence_loss
    >>> log_probs = jax.nn.log_softmax(jnp.zeros((1, 2, 2)))
    >>> loss = sequence_loss(log_probs, jnp.ones((1, 2), bool), jnp.array([[1]]))
    >>> round(float(jnp.exp(-loss[0])), 4)
    0.75
    """
    counted = tokens > 0
    # optax adds integers and floats where the program promotes strictly
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        losses = optax.ctc_loss(
            log_probs,
            1.0 - mask.astype(log_probs.dtype),
            tokens,
            1.0 - counted.astype(log_probs.dtype),
            blank_id=0,
        )
    length = jnp.sum(counted, axis=1, dtype=jnp.int32)
    equal = (tokens[:, 1:] == tokens[:, :-1]) & counted[:, 1:]
    needed = length + jnp.sum(equal, axis=1, dtype=jnp.int32)
    feasible = (needed <= jnp.sum(mask, axis=1, dtype=jnp.int32)) & jnp.any(mask, 1)
    mean = losses / jnp.maximum(length, 1).astype(losses.dtype)
    return jnp.where(feasible, mean, jnp.zeros_like(mean))


def ctc_loss(
    config: CTCConfig,
    params: Mapping[str, Any],
    batch: Mapping[str, Array],
    key: Any,
) -> Float[Array, " b"]:
    """Return the loss of each window; see :func:`sequence_loss`.

    With `key` None nothing is dropped.
    """
    log_probs, mask = merge(make_ctc, config, params, key)(batch["x"], batch["mask"])
    tokens = batch["tokens"]
    tokens = jnp.where(tokens <= config.n_classes, tokens, 0)
    return sequence_loss(log_probs, mask, tokens)


def collapse(
    log_probs: Float[Array, "b s v"], mask: Bool[Array, "b s"], max_tokens: int
) -> tuple[Array, Array, Array]:
    """Return the sequences of the likeliest token of each step.

    Equal tokens next to each other become one, and blanks are left out.

    Parameters
    ----------
    log_probs : float32 array [b, s, v]
        Log-probabilities of the steps, blank first.
    mask : bool array [b, s]
        Steps that count.
    max_tokens : int
        Room; further tokens are left out.

    Returns
    -------
    ids : int32 array [b, max_tokens]
        Tokens from 1, then 0.
    log_probs : float32 array [b, max_tokens]
        The largest log-probability in the steps of each token.
    truncated : bool array [b]
        Whether tokens were left out.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from mlmethods_jax.motion.ctc import collapse
    >>> steps = jax.nn.one_hot(jnp.array([[1, 1, 0, 1, 2, 2]]), 3)
    >>> collapse(jnp.log(steps), jnp.ones((1, 6), bool), 4)[0].tolist()
    [[1, 1, 2, 0]]
    """
    best = jnp.where(mask, jnp.argmax(log_probs, -1).astype(jnp.int32), 0)
    value = jnp.max(log_probs, axis=-1)
    before = jnp.pad(best[:, :-1], ((0, 0), (1, 0)))
    begins = (best > 0) & (best != before)
    count = jnp.cumsum(begins, axis=1, dtype=jnp.int32)
    # steps without a token, and those without room, go to a place behind the last
    place = jnp.where((best > 0) & (count <= max_tokens), count - 1, max_tokens)
    rows = jnp.arange(len(best), dtype=jnp.int32)[:, None]
    ids = jnp.zeros((len(best), max_tokens + 1), jnp.int32).at[rows, place].max(best)
    lowest = jnp.full(ids.shape, -jnp.inf, value.dtype)
    logs = lowest.at[rows, place].max(value)[:, :-1]
    ids = ids[:, :-1]
    logs = jnp.where(ids > 0, logs, jnp.zeros_like(logs))
    return ids, logs, count[:, -1] > max_tokens


@functools.partial(jax.jit, static_argnames=("config", "beam", "max_tokens"))
def ctc_decode(
    config: CTCConfig,
    params: Mapping[str, Any],
    x: Any,
    mask: Any = None,
    *,
    beam: int = 1,
    max_tokens: int = 35,
) -> DecodeResult:
    """Return the best sequence of each window.

    Parameters
    ----------
    config : CTCConfig
        Of the network.
    params : mapping of str to array
        Its parameters.
    x : float32 array of shape (b, t, d)
        Frames.
    mask : bool array of shape (b, t), optional
        Frames that count.
    beam : int
        1 takes the likeliest token of each step; more keep so many prefixes, each
        with the probability of all its paths.
    max_tokens : int
        Most tokens; what has more is cut and marked as truncated.

    Returns
    -------
    DecodeResult
        Of jax arrays; its frame logits are the log-probabilities of the classes,
        without the blank.

    Raises
    ------
    InvalidInputError
        If the width is not from 1 to 16 or there is no room.
    """
    check_beam(beam, max_tokens)
    log_probs, kept = merge(make_ctc, config, params)(x, mask)
    found: Any
    if beam == 1:
        found = collapse(log_probs, kept, max_tokens)
    else:
        search = functools.partial(prefix_beam, beam=beam, max_tokens=max_tokens)
        found = jax.vmap(search)(log_probs, kept)
    ids, values, truncated = found
    return DecodeResult(ids, values, truncated, log_probs[..., 1:])
