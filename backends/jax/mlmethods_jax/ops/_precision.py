"""Dtypes and the float64 scope at the edge of an operation."""

from __future__ import annotations

import contextlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlmethods.interfaces import KernelSpec

__all__ = ["as_dtype", "as_spec", "compute_dtype", "scope", "working_dtype", "x64"]


def x64() -> contextlib.AbstractContextManager[Any]:
    """Return a scope in which float64 exists, whatever the global mode."""
    return jax.enable_x64(True)


def scope(dtype: np.dtype) -> contextlib.AbstractContextManager[Any]:
    """Return the scope that computing in `dtype` needs."""
    return x64() if dtype == np.float64 else contextlib.nullcontext()


def compute_dtype(*arrays: Any) -> np.dtype:
    """Return the floating dtype of an operation on these inputs.

    JAX floating arrays decide, the widest first; NumPy arrays and Python numbers
    follow JAX's rule, which is float32 unless x64 mode is on.
    """
    floats = [
        np.dtype(a.dtype)
        for a in arrays
        if isinstance(a, jax.Array) and jnp.issubdtype(a.dtype, jnp.floating)
    ]
    if floats:
        return max(floats, key=lambda dtype: dtype.itemsize)
    return np.dtype(np.float64 if jax.config.read("jax_enable_x64") else np.float32)


def working_dtype(dtype: np.dtype) -> np.dtype:
    """Return the dtype to compute in: distances and solves need 32 bits at least."""
    return np.dtype(np.float32) if dtype.itemsize < 4 else dtype


def as_dtype(x: Any, dtype: np.dtype) -> Any:
    """Return `x` in `dtype`; host values stay on the host, None stays None."""
    if x is None:
        return None
    if isinstance(x, jax.Array):
        return x if x.dtype == dtype else x.astype(dtype)
    return np.asarray(x, dtype=dtype)


def as_spec(kernel: KernelSpec, dtype: np.dtype) -> KernelSpec:
    """Return `kernel` with its numbers in `dtype`, so that values never retrace."""
    return KernelSpec(
        name=kernel.name,
        bandwidth=as_dtype(kernel.bandwidth, dtype),
        params={name: as_dtype(v, dtype) for name, v in kernel.params.items()},
        static=kernel.static,
        children=tuple(as_spec(child, dtype) for child in kernel.children),
    )
