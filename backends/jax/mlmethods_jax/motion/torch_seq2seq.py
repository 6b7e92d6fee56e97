"""Weights of sequence networks under the names of PyTorch modules, in and out.

``from_torch(arrays, config=None)`` returns ``(config, params)``, and
``to_torch(config, params)`` the arrays. The encoder is ``listener`` with layers
``pLSTM_layer{l}.BLSTM`` and the classifier of frames ``fc``; the decoder is ``speller``
with ``rnn_layer``, ``attention`` and ``character_distribution``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from mlmethods.errors import CheckpointError, OperationNotSupportedError
from mlmethods.interfaces import NDArray
from mlmethods.motion.contract import Seq2SeqConfig
from mlmethods_jax.motion._state import check
from mlmethods_jax.motion.seq2seq import make_seq2seq

__all__ = ["from_torch", "to_torch"]

_LAYER = "listener.pLSTM_layer{}.BLSTM"
_LAYER_PATTERN = re.compile(r"listener\.pLSTM_layer(\d+)\.BLSTM\.weight_ih_l0$")
_CELL = "speller.rnn_layer"
# part of a recurrent layer: PyTorch's name and ours
_RECURRENT = {
    "weight_ih_l0": "kernel",
    "bias_ih_l0": "bias",
    "weight_hh_l0": "recurrent_kernel",
    "bias_hh_l0": "recurrent_bias",
}
_DENSE = {
    "listener.fc": "frame_head",
    "speller.attention.phi": "decoder.phi",
    "speller.attention.psi": "decoder.psi",
    "speller.attention.dim_reduce": "decoder.dim_reduce",
    "speller.character_distribution": "decoder.readout",
}
_REVERSE = "_reverse"


def _expected(config: Seq2SeqConfig) -> list[str]:
    """Return PyTorch's names of all weights of a configuration."""
    names = [
        f"{_LAYER.format(i)}.{part}{direction}"
        for i in range(config.layers)
        for part in _RECURRENT
        for direction in ("", _REVERSE)
    ]
    names += [f"{_CELL}.{part}" for part in _RECURRENT]
    absent = set()
    if config.attention != "mlp":
        absent |= {"speller.attention.phi", "speller.attention.psi"}
    if config.heads == 1:
        absent |= {"speller.attention.dim_reduce"}
    names += [
        f"{layer}.{part}"
        for layer in _DENSE
        if layer not in absent
        for part in ("weight", "bias")
    ]
    return names


def _inferred(arrays: Mapping[str, NDArray]) -> Seq2SeqConfig:
    """Return the configuration that the names and shapes of weights say.

    What the shapes cannot say is the default; names that lack are told later.
    """
    layers = [int(m[1]) for m in map(_LAYER_PATTERN.match, arrays) if m is not None]

    def size(name: str, axis: int) -> int:
        array = arrays.get(name)
        if array is None or np.ndim(array) <= axis:
            raise CheckpointError(
                f"arrays must have the matrix {name!r} of a sequence network, got the "
                f"names {', '.join(sorted(arrays)) or 'none'}"
            )
        return int(np.shape(array)[axis])

    first = _LAYER.format(0)
    mlp = "speller.attention.psi.weight" in arrays
    width = size("speller.attention.psi.weight", 0) if mlp else 256
    queries = size("speller.attention.phi.weight", 0) if mlp else width
    return Seq2SeqConfig(
        n_features=size(f"{first}.weight_ih_l0", 1) // 2,
        n_classes=size("listener.fc.weight", 0),
        hidden=size(f"{first}.weight_hh_l0", 1),
        layers=max(layers) + 1,
        attention="mlp" if mlp else "dot",
        heads=max(queries // max(width, 1), 1),
        attention_width=width,
    )


def _check_names(arrays: Mapping[str, NDArray], config: Seq2SeqConfig) -> None:
    expected = set(_expected(config))
    missing, unknown = sorted(expected - set(arrays)), sorted(set(arrays) - expected)
    parts = [
        f"{title}: {', '.join(names)}"
        for title, names in (("missing", missing), ("unknown", unknown))
        if names
    ]
    if parts:
        raise CheckpointError(
            "arrays must be the weights of a sequence network with "
            f"{config.layers} layers and attention {config.attention!r}; "
            f"{'; '.join(parts)}"
        )


def _check_kind(config: Seq2SeqConfig) -> None:
    if config.encoder != "pyramid-gru":
        raise OperationNotSupportedError(
            "weights of PyTorch are known for the encoder 'pyramid-gru' only, got "
            f"{config.encoder!r}"
        )


def from_torch(
    arrays: Mapping[str, NDArray], config: Seq2SeqConfig | None = None
) -> tuple[Seq2SeqConfig, dict[str, NDArray]]:
    """Return the configuration and parameters of weights with PyTorch's names.

    Parameters
    ----------
    arrays : mapping of str to array
        Weights.
    config : Seq2SeqConfig, optional
        Of the network; by default sizes come from the shapes, and a network whose
        attention has no weights compares by ``"dot"``.

    Returns
    -------
    config : Seq2SeqConfig
        The one given, or the one found.
    params : dict of str to float32 array
        Parameters.

    Raises
    ------
    CheckpointError
        If names are missing or unknown or shapes differ; it lists them.
    OperationNotSupportedError
        If the configuration has another encoder.
    """
    if config is None:
        config = _inferred(arrays)
    _check_kind(config)
    _check_names(arrays, config)
    params: dict[str, NDArray] = {}
    for i in range(config.layers):
        for part, ours in _RECURRENT.items():
            name = f"{_LAYER.format(i)}.{part}"
            pair = [
                np.asarray(arrays[name + end], np.float32) for end in ("", _REVERSE)
            ]
            if pair[0].shape != pair[1].shape:
                raise CheckpointError(
                    f"{name} and {name}{_REVERSE} must have the same shape, got "
                    f"{list(pair[0].shape)} and {list(pair[1].shape)}"
                )
            # transposed: [k, ...] or, of the inputs, [n, k, 3 H]
            stacked = np.stack([array.T for array in pair])
            if ours == "kernel":
                stacked = np.moveaxis(stacked, 0, 1)
            params[f"encoder.layers.{i}.{ours}"] = np.ascontiguousarray(stacked)
    single = {f"{_CELL}.{part}": f"decoder.cell.{n}" for part, n in _RECURRENT.items()}
    single |= {f"{layer}.weight": f"{ours}.kernel" for layer, ours in _DENSE.items()}
    single |= {f"{layer}.bias": f"{ours}.bias" for layer, ours in _DENSE.items()}
    for name, ours in single.items():
        if name in arrays:
            array = np.asarray(arrays[name], np.float32)
            params[ours] = np.ascontiguousarray(array.T)
    check(make_seq2seq, config, params)
    return config, params


def to_torch(
    config: Seq2SeqConfig, params: Mapping[str, NDArray]
) -> dict[str, NDArray]:
    """Return parameters under PyTorch's names, as :func:`from_torch` takes them.

    Raises
    ------
    CheckpointError
        If they are not the parameters of the configuration.
    OperationNotSupportedError
        If the encoder has no such names.
    """
    _check_kind(config)
    check(make_seq2seq, config, params)
    arrays: dict[str, NDArray] = {}
    for name in _expected(config):
        owner, part = name.rsplit(".", 1)
        layer = re.match(r"listener\.pLSTM_layer(\d+)\.BLSTM$", owner)
        if layer is not None:
            direction = int(part.endswith(_REVERSE))
            ours = _RECURRENT[part.removesuffix(_REVERSE)]
            array = np.asarray(params[f"encoder.layers.{layer[1]}.{ours}"])
            array = array[:, direction] if ours == "kernel" else array[direction]
        elif owner == _CELL:
            array = np.asarray(params[f"decoder.cell.{_RECURRENT[part]}"])
        else:
            end = "kernel" if part == "weight" else "bias"
            array = np.asarray(params[f"{_DENSE[owner]}.{end}"])
        arrays[name] = np.ascontiguousarray(array.T)
    return arrays
