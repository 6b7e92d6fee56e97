"""Sums and products of kernels: setups of the children side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from mlmethods.interfaces import KernelSpec
from mlmethods_jax.ops import _distances as dist

__all__ = ["prepare"]


def _combined(kernel: KernelSpec, parts: list[jax.Array]) -> jax.Array:
    """Return the sum or the product of the children's values."""
    if kernel.name == "sum":
        weights = kernel.params["weights"]
        parts = [weights[place] * part for place, part in enumerate(parts)]
    total = parts[0]
    for part in parts[1:]:
        total = total + part if kernel.name == "sum" else total * part
    return total


class Setup(NamedTuple):
    """The children's setups; `rows` are theirs, one after the other."""

    rows: tuple[jax.Array, ...]
    setups: tuple[Any, ...]
    factor: None = None

    def _children(
        self, kernel: KernelSpec, rows: tuple[jax.Array, ...]
    ) -> list[tuple[KernelSpec, Any, tuple[jax.Array, ...]]]:
        out, start = [], 0
        for child, setup in zip(kernel.children, self.setups, strict=True):
            stop = start + len(setup.rows)
            out.append((child, setup, rows[start:stop]))
            start = stop
        return out

    def _values(
        self, kernel: KernelSpec, rows: tuple[jax.Array, ...], index: jax.Array
    ) -> list[jax.Array]:
        return [
            setup.values(child, own, index)
            for child, setup, own in self._children(kernel, rows)
        ]

    def values(
        self, kernel: KernelSpec, rows: tuple[jax.Array, ...], index: jax.Array
    ) -> jax.Array:
        """Return the kernel matrix of a block of rows."""
        return _combined(kernel, self._values(kernel, rows, index))

    def weights(
        self, kernel: KernelSpec, rows: tuple[jax.Array, ...], index: jax.Array
    ) -> tuple[Any, ...]:
        """Return the children's weights, each times what multiplies the child."""
        if kernel.name == "sum":
            factors = [kernel.params["weights"][i] for i in range(len(self.setups))]
        else:
            factors = _products_of_the_others(self._values(kernel, rows, index))
        # Gradients are linear in the weights, whatever these are made of.
        return tuple(
            jax.tree.map(lambda w, f=factor: w * f, setup.weights(child, own, index))
            for (child, setup, own), factor in zip(
                self._children(kernel, rows), factors, strict=True
            )
        )

    def pulled(
        self,
        kernel: KernelSpec,
        w: tuple[Any, ...],
        rows: tuple[jax.Array, ...],
        alpha: jax.Array,
    ) -> jax.Array:
        """Return the gradients, of shape (rows, c, d)."""
        parts = [
            dist.outer(setup.pulled(child, weights, own, alpha), setup.factor)
            for weights, (child, setup, own) in zip(
                w, self._children(kernel, rows), strict=True
            )
        ]
        return sum(parts[1:], parts[0])


def _products_of_the_others(values: list[jax.Array]) -> list[Any]:
    """Return for each place the product of all other values; 1 where there are none."""
    before: list[Any] = [1.0]
    for value in values[:-1]:
        before.append(before[-1] * value)
    after: Any = 1.0
    out: list[Any] = []
    for value, first in zip(values[::-1], before[::-1], strict=True):
        out.append(first * after)
        after = after * value
    return out[::-1]


def prepare(
    kernel: KernelSpec,
    X: jax.Array,
    Z: jax.Array | None,
    M: jax.Array | None,
    child: Callable[..., Any],
) -> Setup:
    """Prepare each child with the function `child`."""
    setups = tuple(child(spec, X, Z, M) for spec in kernel.children)
    return Setup(tuple(row for setup in setups for row in setup.rows), setups)
