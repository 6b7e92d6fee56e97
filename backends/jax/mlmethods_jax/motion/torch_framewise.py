"""Weights of MS-TCN, ASRF and ASFormer under their names in PyTorch.

``mstcn_from_torch``, ``asrf_from_torch``, ``asformer_from_torch``
    ``(arrays, config=None)``: the configuration and the parameters.
``mstcn_to_torch``, ``asrf_to_torch``, ``asformer_to_torch``
    ``(params)``: the arrays again.

Names are those of the code that was released with each network. Layers are convolutions
there, of shape [outputs, inputs, width]; here kernels are [width, inputs, outputs], or
[inputs, outputs] for layers of frames.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mlmethods.errors import CheckpointError
from mlmethods.interfaces import NDArray
from mlmethods.motion.contract import (
    ASFormerConfig,
    ASRFConfig,
    MSTCNConfig,
    NetworkConfig,
)
from mlmethods_jax.motion._state import shapes
from mlmethods_jax.motion.asformer import make_asformer
from mlmethods_jax.motion.asrf import make_asrf
from mlmethods_jax.motion.mstcn import make_mstcn

__all__ = [
    "asformer_from_torch",
    "asformer_to_torch",
    "asrf_from_torch",
    "asrf_to_torch",
    "mstcn_from_torch",
    "mstcn_to_torch",
]

# Masks that the released ASFormer may store with its weights.
_BUFFER = re.compile(r".*\.window_mask")

Rename = Callable[[str], str]


def _leaf(name: str) -> str:
    return re.sub(r"\.kernel$", ".weight", name)


def _mstcn_name(name: str) -> str:
    """Return what a parameter of MS-TCN is called in PyTorch."""
    _, stage, rest = name.split(".", 2)
    stage = "stage1" if stage == "0" else f"stages.{int(stage) - 1}"
    return _leaf(f"{stage}.{rest}").replace(".conv_in.", ".conv_1x1.")


def _asrf_name(name: str) -> str:
    """Return what a parameter of ASRF is called in PyTorch."""
    name = re.sub(r"^shared\.layers\.", "shared_layers.", name)
    name = re.sub(r"^shared\.", "", name)
    return _leaf(name).replace(".conv_1x1.", ".conv_in.")


def _asformer_name(name: str) -> str:
    """Return what a parameter of ASFormer is called in PyTorch."""
    return _leaf(name).replace(".feed_forward.", ".feed_forward.layer.0.")


def _torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of a parameter in PyTorch."""
    return (*shape[::-1], 1) if len(shape) == 2 else shape[::-1]


def _size(arrays: Mapping[str, NDArray], name: str, axis: int) -> int:
    """Return a size of a weight, or complain that it is missing."""
    if name not in arrays:
        raise CheckpointError(
            f"arrays must have {name!r}, from which sizes are read; missing: {name}"
        )
    shape = np.shape(arrays[name])
    if len(shape) != 3 or 0 in shape:
        raise CheckpointError(
            f"{name} must have shape [outputs, inputs, width], got {list(shape)}"
        )
    return int(shape[axis])


def _count(arrays: Mapping[str, NDArray], prefix: str) -> int:
    """Return how many numbered parts there are, by the largest number."""
    pattern = re.compile(re.escape(prefix) + r"\.(\d+)\.")
    found = [pattern.match(name) for name in arrays]
    return 1 + max((int(m.group(1)) for m in found if m), default=-1)


def _convert(
    kind: str,
    arrays: Mapping[str, NDArray],
    expected: Mapping[str, Any],
    rename: Rename,
) -> dict[str, NDArray]:
    """Return parameters, or complain of names and shapes that do not fit."""
    wanted = {rename(name): name for name in expected}
    given = {name for name in arrays if not _BUFFER.fullmatch(name)}
    sizes = {name: _torch_shape(expected[own].shape) for name, own in wanted.items()}
    differing = [
        f"{name} {list(np.shape(arrays[name]))} instead of {list(sizes[name])}"
        for name in sorted(wanted.keys() & given)
        if np.shape(arrays[name]) != sizes[name]
    ]
    problems = {
        "missing": sorted(wanted.keys() - given),
        "unknown": sorted(given - wanted.keys()),
        "of another shape": differing,
    }
    if any(problems.values()):
        listed = "; ".join(f"{k}: {', '.join(v)}" for k, v in problems.items() if v)
        raise CheckpointError(f"arrays must be the weights of {kind}; {listed}")
    params = {}
    for name, own in wanted.items():
        turned = np.asarray(arrays[name], np.float32).T
        params[own] = np.ascontiguousarray(turned.reshape(expected[own].shape))
    return params


def _export(params: Mapping[str, NDArray], rename: Rename) -> dict[str, NDArray]:
    arrays = {}
    for name, value in params.items():
        shape = _torch_shape(np.shape(value))
        turned = np.asarray(value, np.float32).T.reshape(shape)
        arrays[rename(name)] = np.ascontiguousarray(turned)
    return arrays


def mstcn_from_torch(
    arrays: Mapping[str, NDArray], config: NetworkConfig | None = None
) -> tuple[MSTCNConfig, dict[str, NDArray]]:
    """Return the configuration and the parameters of weights of MS-TCN.

    Parameters
    ----------
    arrays : mapping of str to array
        The weights; ``stage1.conv_1x1.weight`` and so on.
    config : MSTCNConfig, optional
        The sizes; read off the shapes by default.

    Raises
    ------
    CheckpointError
        If a name is unknown or missing, or a shape does not fit; it lists them.
    """
    if config is None:
        config = MSTCNConfig(
            n_features=_size(arrays, "stage1.conv_1x1.weight", 1),
            n_classes=_size(arrays, "stage1.conv_out.weight", 0),
            stages=1 + _count(arrays, "stages"),
            layers=_count(arrays, "stage1.layers"),
            maps=_size(arrays, "stage1.conv_1x1.weight", 0),
        )
    own: MSTCNConfig = _checked(config, MSTCNConfig)
    expected = shapes(make_mstcn, own)
    return own, _convert("MS-TCN", arrays, expected, _mstcn_name)


def asrf_from_torch(
    arrays: Mapping[str, NDArray], config: NetworkConfig | None = None
) -> tuple[ASRFConfig, dict[str, NDArray]]:
    """Return the configuration and the parameters of weights of ASRF.

    See :func:`mstcn_from_torch`; both branches must have as many stages.
    """
    if config is None:
        config = ASRFConfig(
            n_features=_size(arrays, "conv_in.weight", 1),
            n_classes=_size(arrays, "conv_cls.weight", 0),
            stages=1 + _count(arrays, "asb"),
            layers=_count(arrays, "shared_layers"),
            maps=_size(arrays, "conv_in.weight", 0),
        )
    own: ASRFConfig = _checked(config, ASRFConfig)
    expected = shapes(make_asrf, own)
    return own, _convert("ASRF", arrays, expected, _asrf_name)


def asformer_from_torch(
    arrays: Mapping[str, NDArray], config: NetworkConfig | None = None
) -> tuple[ASFormerConfig, dict[str, NDArray]]:
    """Return the configuration and the parameters of weights of ASFormer.

    See :func:`mstcn_from_torch`. Entries that end with ``.window_mask`` are left out.
    Weights do not tell how the windows were masked: give a `config` with
    ``window="block"`` for those of the unchanged released code.
    """
    if config is None:
        maps = _size(arrays, "encoder.conv_1x1.weight", 0)
        inner = _size(arrays, "encoder.layers.0.att_layer.query_conv.weight", 0)
        config = ASFormerConfig(
            n_features=_size(arrays, "encoder.conv_1x1.weight", 1),
            n_classes=_size(arrays, "encoder.conv_out.weight", 0),
            decoders=_count(arrays, "decoders"),
            layers=_count(arrays, "encoder.layers"),
            maps=maps,
            reduction=max(1, maps // inner),
        )
    own: ASFormerConfig = _checked(config, ASFormerConfig)
    expected = shapes(make_asformer, own)
    return own, _convert("ASFormer", arrays, expected, _asformer_name)


def _checked(config: Any, kind: type) -> Any:
    if not isinstance(config, kind):
        raise CheckpointError(f"config must be a {kind.__name__}, got {config!r}")
    return config


def mstcn_to_torch(params: Mapping[str, NDArray]) -> dict[str, NDArray]:
    """Return parameters of MS-TCN under their names and in their shapes of PyTorch."""
    return _export(params, _mstcn_name)


def asrf_to_torch(params: Mapping[str, NDArray]) -> dict[str, NDArray]:
    """Return parameters of ASRF under their names and in their shapes of PyTorch."""
    return _export(params, _asrf_name)


def asformer_to_torch(params: Mapping[str, NDArray]) -> dict[str, NDArray]:
    """Return parameters of ASFormer under their names and in their shapes of PyTorch."""
    return _export(params, _asformer_name)
