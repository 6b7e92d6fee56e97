"""Neural tangent kernel matrices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.harness.case import Case, Implementation, Size

__all__ = ["CASES"]

_DEPTH = 3


def _points(size: Size, rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((size["n"], size["d"])).astype(np.float32)


def _ours(X: np.ndarray) -> Callable[[], Any]:
    import jax

    from mlmethods.kernels import NTKKernel
    from mlmethods_jax.ops.kernels import pairwise

    spec, points = NTKKernel(_DEPTH).to_spec(), jax.device_put(X)
    return lambda: jax.block_until_ready(pairwise(spec, points))


def _recursion(X: np.ndarray) -> Callable[[], Any]:
    """Set up the recursion as the papers write it, with the arc cosine."""
    import jax
    import jax.numpy as jnp

    @jax.jit
    def recursion(X: Any) -> Any:
        S = 2 * jnp.matmul(X, X.T, precision="highest") / X.shape[1]
        q = jnp.diagonal(S)
        T, root = S, jnp.sqrt(q[:, None] * q[None, :])
        for w2 in (2.0,) * (_DEPTH - 1) + (1.0,):
            angle = jnp.arccos(jnp.clip(S / root, -1.0, 1.0))
            k0 = (jnp.pi - angle) / (2 * jnp.pi)
            S = w2 * root * (jnp.sin(angle) / (2 * jnp.pi) + jnp.cos(angle) * k0)
            T = S + w2 * T * k0
        return T

    points = jax.device_put(X)
    return lambda: jax.block_until_ready(recursion(points))


CASES = (
    Case(
        name="ntk.gram",
        title="tangent kernel matrix of a ReLU network with 3 hidden layers",
        sizes=({"n": 2000, "d": 64}, {"n": 4000, "d": 64}),
        quick_sizes=({"n": 500, "d": 64},),
        make_data=_points,
        implementations={
            "mlmethods": Implementation(setup=_ours),
            "arc-cosine-recursion": Implementation(setup=_recursion),
        },
        # The recursion itself is off by 1e-3 on the diagonal in float32.
        tolerance=2e-3,
        work=lambda size: 2.0 * size["n"] ** 2 * size["d"],
    ),
)
