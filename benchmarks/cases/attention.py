"""Softmax attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from benchmarks.harness.case import Case, Implementation, Size

__all__ = ["CASES"]


class Heads(NamedTuple):
    """Queries, keys and values of shape [b, n, h, e], float32."""

    q: np.ndarray
    k: np.ndarray
    v: np.ndarray


def _heads(size: Size, rng: np.random.Generator) -> Heads:
    shape = (size["b"], size["n"], size["h"], size["e"])
    return Heads(*(rng.standard_normal(shape).astype(np.float32) for _ in range(3)))


def _ours(data: Heads) -> Callable[[], Any]:
    import jax

    from mlmethods_jax.ops.nn import attention

    arrays = [jax.device_put(array) for array in data]
    run = jax.jit(lambda q, k, v: attention(q, k, v, causal=True, block_size="auto"))
    return lambda: jax.block_until_ready(run(*arrays))


def _plain(data: Heads) -> Callable[[], Any]:
    """Set up attention as it is written in a paper, with the whole score matrix."""
    import jax
    import jax.numpy as jnp

    @jax.jit
    def plain(q: Any, k: Any, v: Any) -> Any:
        scores = jnp.einsum("bthe,bshe->bhts", q, k, precision="highest")
        scores /= np.float32(np.sqrt(q.shape[-1]))
        allowed = jnp.tril(jnp.ones(scores.shape[-2:], bool))
        weights = jax.nn.softmax(jnp.where(allowed, scores, -jnp.inf), axis=-1)
        return jnp.einsum("bhts,bshe->bthe", weights, v, precision="highest")

    arrays = [jax.device_put(array) for array in data]
    return lambda: jax.block_until_ready(plain(*arrays))


def _torch(data: Heads) -> Callable[[], Any]:
    import torch

    q, k, v = (torch.from_numpy(array).transpose(1, 2) for array in data)
    attention = torch.nn.functional.scaled_dot_product_attention
    return lambda: attention(q, k, v, is_causal=True).transpose(1, 2)


CASES = (
    Case(
        name="attention.causal",
        title="causal attention, forward",
        sizes=tuple({"n": n, "b": 1, "h": 8, "e": 64} for n in (512, 1024, 2048)),
        quick_sizes=({"n": 256, "b": 1, "h": 4, "e": 32},),
        make_data=_heads,
        implementations={
            "mlmethods": Implementation(setup=_ours),
            "plain-jax": Implementation(setup=_plain),
            "torch": Implementation(setup=_torch, requires=("torch",)),
        },
        tolerance=1e-4,
        work=lambda size: 4.0 * size["b"] * size["h"] * size["e"] * size["n"] ** 2,
    ),
)
