"""Rows spread over devices: meshes, padding and a check that nothing is replicated.

The mesh axes of this library are called ``"data"``, ``"fsdp"`` and ``"tensor"``; rows
are spread over ``"data"``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import NDArray

__all__ = [
    "DATA_AXIS",
    "assert_not_replicated",
    "check_mesh",
    "make_mesh",
    "pad_to_multiple",
    "shard_leading_axis",
]

DATA_AXIS = "data"
"""Name of the mesh axis that rows are spread over."""


def make_mesh(
    shape: int | None = None, *, devices: Sequence[Any] | None = None
) -> Mesh:
    """Return a mesh with the one axis ``"data"``.

    Parameters
    ----------
    shape : int or None, default=None
        Devices to use; None takes all.
    devices : sequence of jax devices, optional
        Where to take them from; ``jax.devices()`` by default.

    Returns
    -------
    jax.sharding.Mesh

    Raises
    ------
    InvalidInputError
        If there are not so many devices.

    Examples
    --------
    >>> from mlmethods_jax.sharding import make_mesh
    >>> make_mesh(1).shape["data"]
    1
    """
    available = list(jax.devices() if devices is None else devices)
    count = len(available) if shape is None else shape
    if not 1 <= count <= len(available):
        raise InvalidInputError(
            f"shape must be between 1 and the {len(available)} devices there are, "
            f"got {shape!r}"
        )
    return Mesh(np.array(available[:count]), (DATA_AXIS,))


def check_mesh(mesh: Any) -> Mesh:
    """Return a mesh whose one axis longer than 1 is ``"data"``.

    Raises
    ------
    InvalidInputError
        If it is another mesh, or none.
    """
    axes = dict(mesh.shape) if isinstance(mesh, Mesh) else {}
    if DATA_AXIS not in axes or math.prod(axes.values()) != axes[DATA_AXIS]:
        raise InvalidInputError(
            f"mesh must be a jax Mesh whose devices all lie on the axis "
            f"{DATA_AXIS!r}, as make_mesh() returns, got "
            f"{axes or type(mesh).__name__}"
        )
    return mesh


def pad_to_multiple(
    x: NDArray, multiple: int, *, fill: Any = 0.0
) -> tuple[NDArray, NDArray]:
    """Append rows until their number is a multiple.

    Parameters
    ----------
    x : array of shape (n, ...)
        Rows.
    multiple : int
        Such as the number of devices.
    fill : scalar or array that broadcasts to a row, default=0.0
        What the new rows hold.

    Returns
    -------
    padded : ndarray of shape (m, ...)
        m is n rounded up.
    mask : bool ndarray of shape (m,)
        True for the rows of `x`.

    Examples
    --------
    >>> import numpy as np
    >>> from mlmethods_jax.sharding import pad_to_multiple
    >>> padded, mask = pad_to_multiple(np.ones((3, 2)), 4)
    >>> padded.shape, mask.tolist()
    ((4, 2), [True, True, True, False])
    """
    x = np.asarray(x)
    n = len(x)
    size = -(-n // multiple) * multiple
    padded = np.empty((size, *x.shape[1:]), x.dtype)
    padded[:n] = x
    padded[n:] = fill
    return padded, np.arange(size) < n


def shard_leading_axis(tree: Any, mesh: Mesh) -> Any:
    """Put arrays on the mesh, their rows spread over the axis ``"data"``.

    Parameters
    ----------
    tree : pytree of arrays
        Their lengths are multiples of the axis, as :func:`pad_to_multiple` makes them.
    mesh : jax.sharding.Mesh
        The devices.

    Returns
    -------
    pytree of jax arrays

    Raises
    ------
    InvalidInputError
        If a length is no multiple.
    """
    parts = mesh.shape[DATA_AXIS]
    for x in jax.tree.leaves(tree):
        if x.shape[0] % parts:
            raise InvalidInputError(
                f"arrays must have a number of rows that the {parts} devices of the "
                f"mesh divide, got shape {tuple(x.shape)}; use pad_to_multiple"
            )
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec(DATA_AXIS)))


def assert_not_replicated(tree: Any, max_rows: int) -> None:
    """Require that no device holds more than so many rows of any array.

    Parameters
    ----------
    tree : pytree of jax arrays
        What is held; scalars are ignored.
    max_rows : int
        The bound, such as ``ceil(n / devices)``.

    Raises
    ------
    AssertionError
        Naming the array, the device and its rows.
    """
    for path, x in jax.tree_util.tree_leaves_with_path(tree):
        if x.ndim == 0:
            continue
        for shard in x.addressable_shards:
            rows = shard.data.shape[0]
            if rows > max_rows:
                raise AssertionError(
                    f"{jax.tree_util.keystr(path) or 'the array'} of shape {x.shape} "
                    f"has {rows} rows on {shard.device}, more than {max_rows}"
                )
