"""The state of training as named NumPy arrays, for checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlmethods.errors import CheckpointError
from mlmethods.interfaces import NDArray, PyTree

__all__ = ["from_arrays", "to_arrays"]


def _named(state: PyTree) -> list[tuple[str, Any]]:
    paths = jax.tree_util.tree_leaves_with_path(state)
    return [
        (jax.tree_util.keystr(path, simple=True, separator="/"), leaf)
        for path, leaf in paths
    ]


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _stored(leaf: Any) -> Any:
    """Return a leaf as numbers that a file can hold, with its bits."""
    if _is_key(leaf):
        return jax.random.key_data(leaf)
    if leaf.dtype.kind == "V":  # bfloat16 and narrower formats
        return leaf.view(f"uint{8 * leaf.dtype.itemsize}")
    return leaf


def to_arrays(state: PyTree) -> dict[str, NDArray]:
    """Return every leaf under its path, such as ``"params/out/kernel"``."""
    named = {name: _stored(leaf) for name, leaf in _named(state)}
    return {name: np.asarray(leaf) for name, leaf in jax.device_get(named).items()}


def from_arrays(state: PyTree, arrays: Mapping[str, NDArray]) -> PyTree:
    """Return a state like `state` with these arrays, on the device.

    Raises
    ------
    CheckpointError
        If a name, shape or dtype differs.
    """
    named = _named(state)
    different = {name for name, _ in named} ^ set(arrays)
    if different:
        raise CheckpointError(
            f"the stored state has other arrays than this program: {min(different)!r} "
            "is in one of them only; build the trainer as the stored one was built"
        )
    leaves = []
    for name, leaf in named:
        like, array = _stored(leaf), np.asarray(arrays[name])
        if (array.shape, array.dtype) != (like.shape, like.dtype):
            raise CheckpointError(
                f"the stored array {name!r} is {array.dtype} {list(array.shape)}, this "
                f"program has {like.dtype} {list(like.shape)}"
            )
        if _is_key(leaf):
            impl = jax.random.key_impl(leaf)
            leaves.append(jax.random.wrap_key_data(jnp.asarray(array), impl=impl))
        else:
            leaves.append(jax.device_put(array.view(leaf.dtype)))
    return jax.tree.unflatten(jax.tree.structure(state), leaves)
