"""The motion engine: networks by their configuration, on arrays of NumPy."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from mlmethods.errors import InvalidInputError, OperationNotSupportedError
from mlmethods.interfaces import Array, Key, NDArray, PyTree
from mlmethods.motion.contract import (
    ASFormerConfig,
    ASRFConfig,
    BiGRUConfig,
    CNNConfig,
    CTCConfig,
    DecodeResult,
    MSTCNConfig,
    NetworkConfig,
    Seq2SeqConfig,
    TrainingConfig,
    TrainingData,
)
from mlmethods_jax.motion import _state
from mlmethods_jax.motion._sizes import padded_batch, padded_length
from mlmethods_jax.motion._trainer import BatchLoss, MotionTrainer
from mlmethods_jax.sharding import check_mesh

__all__ = ["MotionEngine", "MotionNetwork", "engine"]


class _Family(NamedTuple):
    """Where the functions of a kind of network are, and what they are called."""

    module: str
    name: str
    halo: bool = False

    def function(self, pattern: str) -> Callable[..., Any]:
        module = importlib.import_module(f"mlmethods_jax.motion.{self.module}")
        found: Callable[..., Any] = getattr(module, pattern.format(self.name))
        return found


_FAMILIES: dict[type[NetworkConfig], _Family] = {
    Seq2SeqConfig: _Family("seq2seq", "seq2seq"),
    CTCConfig: _Family("ctc", "ctc"),
    BiGRUConfig: _Family("taggers", "bigru"),
    CNNConfig: _Family("cnn", "cnn", halo=True),
    MSTCNConfig: _Family("mstcn", "mstcn", halo=True),
    ASRFConfig: _Family("asrf", "asrf", halo=True),
    ASFormerConfig: _Family("asformer", "asformer"),
}
# Frames of a recording above which local networks go through it in chunks.
_LONG = 65_536


@functools.lru_cache(maxsize=64)
def _loss_of(config: NetworkConfig) -> BatchLoss:
    """Return the loss of a network; the same function every time."""
    family = _FAMILIES[type(config)]
    own = family.function("{}_loss")

    def loss(params: PyTree, batch: Mapping[str, Array], key: Key) -> Array:
        weights = batch.get("class_weights")
        if weights is not None:
            weights = weights[0]  # the same in every row
        if isinstance(config, CTCConfig):
            return own(config, params, batch, key)
        if isinstance(config, Seq2SeqConfig):
            return own(config, params, batch, key, batch["teacher"][0], weights)
        return own(config, params, batch, key, weights)

    return loss


class MotionNetwork:
    """A network of one configuration; what it computes with is compiled once.

    Parameters
    ----------
    config : NetworkConfig
        The network.
    mesh : jax.sharding.Mesh, optional
        Devices that batches of training are spread over.
    """

    def __init__(self, config: NetworkConfig, mesh: Mesh | None = None) -> None:
        self.config = config
        self._mesh = mesh
        self._family = _FAMILIES[type(config)]
        self._make = self._family.function("make_{}")

    @property
    def rate(self) -> int:
        """Frames for each step of the encoder."""
        return 2 ** int(getattr(self.config, "layers", 0)) if self._sequences else 1

    @property
    def _sequences(self) -> bool:
        return isinstance(self.config, Seq2SeqConfig | CTCConfig)

    def init(self, seed: int) -> dict[str, NDArray]:
        """Return initial parameters."""
        return _state.init(self._make, self.config, seed)

    def check(self, params: Mapping[str, NDArray]) -> None:
        """Raise CheckpointError unless the parameters are those of this network."""
        _state.check(self._make, self.config, params)

    def logits(
        self, params: Mapping[str, NDArray], x: NDArray, mask: NDArray | None = None
    ) -> Any:
        """Return what the network says of frames.

        Parameters
        ----------
        params : mapping of str to ndarray
            Parameters.
        x : float32 array of shape (B, T, D)
            Frames.
        mask : bool array of shape (B, T), optional
            Which frames are there; all by default. They are in front.

        Returns
        -------
        float32 array of shape (S, B, T, C), or a pair
            Of all stages. ASRF gives class logits [B, T, C] and boundary logits [B, T]
            of its last ones, CTC log-probabilities [B, T / rate, C + 1].
        """
        if isinstance(self.config, Seq2SeqConfig):
            raise OperationNotSupportedError(
                "logits is for networks of frames and CTC; use forward for Seq2Seq"
            )
        x, mask, (rows, frames) = self._padded(x, mask)
        function = self._family.function("{}_logits")
        if self._family.halo and x.shape[1] > _LONG:
            out = self._in_chunks(function, params, x, mask)
        else:
            out = function(self.config, dict(params), x, mask)
        out = jax.device_get(out)
        if isinstance(out, tuple):
            return tuple(np.asarray(part)[:rows, :frames] for part in out)
        if isinstance(self.config, CTCConfig):
            return np.asarray(out)[:rows, : -(-frames // self.rate)]
        return np.asarray(out)[:, :rows, :frames]

    def _in_chunks(
        self,
        function: Callable[..., Any],
        params: Mapping[str, NDArray],
        x: NDArray,
        mask: NDArray,
    ) -> Any:
        """Return logits of a long recording, a part of it at a time."""
        from mlmethods_jax.motion.chunks import apply_in_chunks

        halo = self._family.function("{}_halo")(self.config)
        own = {name: jax.device_put(array) for name, array in params.items()}
        time = 1 if isinstance(self.config, ASRFConfig) else 2
        return apply_in_chunks(
            lambda part, kept: function(self.config, own, part, kept),
            x,
            mask,
            halo=halo,
            axis=time,
        )

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
        """Return all that Seq2Seq computes; see the contract.

        Parameters
        ----------
        params : mapping of str to ndarray
            Parameters.
        x : float32 array of shape (B, T, D)
            Frames of windows.
        mask : bool array of shape (B, T), optional
            Which frames are there.
        previous : int32 array of shape (B,), optional
            Last token of the window before; 0 by default.
        tokens : int32 array of shape (B, L), optional
            What the decoder sees as its own output.
        max_tokens : int
            Steps, where there are no tokens.
        """
        if not isinstance(self.config, Seq2SeqConfig):
            raise OperationNotSupportedError("forward is for Seq2Seq alone")
        x, mask, (rows, frames) = self._padded(x, mask)
        before = _rows(previous, len(x), rows, "previous")
        if tokens is not None:
            given = np.asarray(tokens, np.int32)
            tokens = np.zeros((len(x), given.shape[1]), np.int32)
            tokens[:rows] = given
        out = self._family.function("{}_forward")(
            self.config, dict(params), x, mask, before, tokens, max_tokens=max_tokens
        )
        steps = -(-frames // self.rate)
        found = {name: np.asarray(a)[:rows] for name, a in jax.device_get(out).items()}
        for name in ("encoder", "frame_logits"):
            found[name] = found[name][:, :steps]
        found["attention"] = found["attention"][..., :steps]
        return found

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
        """Return the best token sequences of windows.

        Parameters
        ----------
        params, x, mask, previous
            See :meth:`forward`; CTC does not look at `previous`.
        beam : int
            Hypotheses that are followed.
        length_penalty : float
            Power of the length that log-probabilities are divided by; of Seq2Seq.
        max_tokens : int
            Room for the tokens of a window, the end included.
        """
        if not self._sequences:
            raise OperationNotSupportedError("decode is for Seq2Seq and CTC alone")
        x, mask, (rows, frames) = self._padded(x, mask)
        if isinstance(self.config, CTCConfig):
            from mlmethods_jax.motion.ctc import ctc_decode

            out = ctc_decode(
                self.config, dict(params), x, mask, beam=beam, max_tokens=max_tokens
            )
        else:
            from mlmethods_jax.motion.decode import seq2seq_decode

            before = _rows(previous, len(x), rows, "previous")
            out = seq2seq_decode(
                self.config,
                dict(params),
                x,
                mask,
                before,
                np.float32(length_penalty),
                beam=beam,
                max_tokens=max_tokens,
            )
        found = DecodeResult(*(np.asarray(a)[:rows] for a in jax.device_get(out)))
        steps = -(-frames // self.rate)
        return found._replace(frame_logits=found.frame_logits[:, :steps])

    def trainer(
        self,
        params: Mapping[str, NDArray],
        data: TrainingData,
        config: TrainingConfig,
        *,
        seed: int,
    ) -> MotionTrainer:
        """Return a trainer that starts from these parameters."""
        return MotionTrainer(
            _loss_of(self.config),
            params,
            data,
            config,
            end_token=self.config.n_classes + 1,
            seed=seed,
            multiple=max(self.rate, 8),
            mesh=self._mesh,
        )

    def _padded(
        self, x: NDArray, mask: NDArray | None
    ) -> tuple[NDArray, NDArray, tuple[int, int]]:
        """Return frames and mask of a size that others share, and the true size."""
        x = np.asarray(x, np.float32)
        if x.ndim != 3 or x.shape[2] != self.config.n_features or 0 in x.shape:
            raise InvalidInputError(
                f"x must have shape (B, T, {self.config.n_features}), got {x.shape}"
            )
        rows, frames, features = x.shape
        if mask is None:
            mask = np.ones((rows, frames), bool)
        mask = np.asarray(mask, bool)
        if mask.shape != (rows, frames):
            raise InvalidInputError(
                f"mask must have shape {(rows, frames)}, got {mask.shape}"
            )
        if self._family.halo and frames > _LONG:
            return x, mask, (rows, frames)  # chunks have one size already
        size = (padded_batch(rows), padded_length(frames, max(self.rate, 8)))
        padded = np.zeros((*size, features), np.float32)
        padded[:rows, :frames] = x
        padded[:rows, :frames][~mask] = 0
        kept = np.zeros(size, bool)
        kept[:rows, :frames] = mask
        return padded, kept, (rows, frames)


def _rows(values: NDArray | None, size: int, rows: int, name: str) -> NDArray:
    """Return int32 values [size], 0 behind the rows that are given."""
    out = np.zeros(size, np.int32)
    if values is not None:
        given = np.asarray(values)
        if given.shape != (rows,):
            raise InvalidInputError(
                f"{name} must have shape ({rows},), got {given.shape}"
            )
        out[:rows] = given
    return out


class MotionEngine:
    """The motion engine of the JAX backend.

    Parameters
    ----------
    mesh : jax.sharding.Mesh, optional
        Devices whose axis ``"data"`` batches of training are spread over.
    """

    def __init__(self, mesh: Mesh | None = None) -> None:
        self._mesh = None if mesh is None else check_mesh(mesh)

    def network(self, config: NetworkConfig) -> MotionNetwork:
        """Return the network of a configuration; equal ones share compiled code.

        Raises
        ------
        OperationNotSupportedError
            If there is no network of this kind.
        """
        if type(config) not in _FAMILIES:
            raise OperationNotSupportedError(
                f"the JAX backend has no network for a {type(config).__name__}"
            )
        return MotionNetwork(config, self._mesh)

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
        module, name = "torch_framewise", f"{kind}_from_torch"
        if kind == "seq2seq":
            module, name = "torch_seq2seq", "from_torch"
        found = importlib.import_module(f"mlmethods_jax.motion.{module}")
        convert: Callable[..., Any] = getattr(found, name)
        read, params = convert(arrays, config)
        return read, params


engine = MotionEngine()
"""The engine on one device."""
