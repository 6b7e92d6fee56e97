"""EigenPro with its rows spread over the devices of a mesh.

Each device holds at most ``ceil(n / devices)`` rows of X, Y, the coefficients and the
basis of the preconditioner. Only the subsample's kernel matrix, whose eigenvectors one
device computes, is not spread, and not kept.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from mlmethods.interfaces import NDArray
from mlmethods.kernels.contract import EigenProConfig
from mlmethods_jax.ops._lookup import lookup_sizes
from mlmethods_jax.ops._precision import as_dtype, as_spec, scope
from mlmethods_jax.sharding import (
    DATA_AXIS,
    check_mesh,
    pad_to_multiple,
    shard_leading_axis,
)
from mlmethods_jax.solvers import sharded
from mlmethods_jax.solvers.eigenpro import EigenProProblem
from mlmethods_jax.solvers.programs import subsample_spectrum

__all__ = ["ShardedEigenProProblem", "ShardedKernelEngine"]


class ShardedEigenProProblem(EigenProProblem):
    """A ridge system on fixed rows that are spread over a mesh.

    With the same order of rows, batch size and subsample it takes the steps of
    :class:`mlmethods_jax.solvers.eigenpro.EigenProProblem`.
    """

    def __init__(
        self,
        mesh: Mesh,
        config: EigenProConfig,
        X: NDArray,
        Y: NDArray,
        weights: NDArray,
        sub_index: NDArray,
    ) -> None:
        self._mesh = mesh
        super().__init__(config, X, Y, weights, sub_index)

    def _layout(self, sub_index: NDArray) -> tuple[NDArray, NDArray]:
        """Spread the subsample evenly; it comes first on every device."""
        parts = self._mesh.shape[DATA_AXIS]
        share, slots = -(-self.n // parts), -(-len(sub_index) // parts)
        order = np.full((parts, share), -1)
        dealt = np.full(parts * slots, -1)
        dealt[: len(sub_index)] = sub_index
        order[:, :slots] = dealt.reshape(slots, parts).T
        rest = np.setdiff1d(np.arange(self.n), sub_index)
        free = np.argwhere(order < 0)[: len(rest)]
        order[tuple(free.T)] = rest
        first = np.arange(parts)[:, None] * share
        return order.ravel(), (first + np.arange(slots)).ravel()

    def _put(self, arrays: Any) -> Any:
        return shard_leading_axis(arrays, self._mesh)

    def _hold_subsample(self, rows: NDArray, root: NDArray, slots: NDArray) -> None:
        # On the host: no device keeps rows of the others.
        self._sub, self._sub_root = rows[slots], root.astype(self._dtype)

    def _hold_metric(self, M: Any | None) -> None:
        self._M = None if M is None else np.asarray(M)
        # The kernel's metric, and the rows that it is applied to.
        self._metric = (self._M, self._X)
        if not lookup_sizes(self._kernel):
            self._metric = (None, sharded.to_metric(self._X, self._M))

    def _spectrum(self, rank: int) -> tuple[jax.Array, jax.Array]:
        values, basis = subsample_spectrum(
            self._kernel,
            self._M,
            *jax.device_put((self._sub, self._sub_root), self._mesh.devices.flat[0]),
            np.asarray(self._count, self._dtype),
            rank=rank,
        )
        return values, self._put(basis)

    def _largest_diagonal(self) -> jax.Array:
        return sharded.largest_diagonal(
            self._kernel,
            *self._metric,
            self._root,
            self._basis,
            self._damping,
            self._reg,
            mesh=self._mesh,
        )

    def _pass(
        self, step: NDArray, blocks: jax.Array, ends: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        return sharded.epoch(
            self._kernel,
            *self._metric,
            self._Y,
            self._root,
            self._alpha,
            self._basis,
            self._damping,
            self._reg,
            step,
            blocks,
            ends,
            mesh=self._mesh,
        )

    def predict(self, X: NDArray, state: jax.Array | None = None) -> NDArray:
        """Return the predictions (m, c) at NumPy rows."""
        alpha = self._alpha if state is None else state
        with scope(self._dtype):
            rows = self._put(_queries(X, self._dtype, self._mesh))
            product = sharded.matvec(
                self._kernel, rows, self._X, alpha, self._M, mesh=self._mesh
            )
            return np.asarray(product)[: len(X)]

    def agop(
        self,
        state: jax.Array | None = None,
        *,
        diagonal: bool = False,
        center: Any = "none",
    ) -> jax.Array:
        """Return the average gradient outer product, on every device."""
        held = self.native(state)
        with scope(self._dtype):
            return sharded.agop(
                self._kernel,
                held.X,
                held.alpha,
                self._M,
                weights=held.weights,
                mesh=self._mesh,
                diagonal=diagonal,
                center=center,
            )


def _queries(X: NDArray, dtype: np.dtype, mesh: Mesh) -> NDArray:
    parts = mesh.shape[DATA_AXIS]
    return pad_to_multiple(np.asarray(X, dtype), parts, fill=X.mean(axis=0))[0]


class ShardedKernelEngine:
    """The engine ``"kernels"`` of a JAX backend with a mesh."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = check_mesh(mesh)

    def eigenpro(
        self,
        config: EigenProConfig,
        X: NDArray,
        Y: NDArray,
        weights: NDArray,
        sub_index: NDArray,
    ) -> ShardedEigenProProblem:
        """Put a system on the devices."""
        return ShardedEigenProProblem(self._mesh, config, X, Y, weights, sub_index)

    def predict(
        self,
        config: EigenProConfig,
        X: NDArray,
        centers: NDArray,
        alpha: NDArray,
        M: NDArray | None = None,
    ) -> NDArray:
        """Return the predictions (m, c) of a fitted machine."""
        dtype, parts = np.dtype(config.dtype), self._mesh.shape[DATA_AXIS]
        with scope(dtype):
            arrays = (
                _queries(X, dtype, self._mesh),
                _queries(centers, dtype, self._mesh),
                pad_to_multiple(np.asarray(alpha, dtype), parts)[0],
            )
            product = sharded.matvec(
                as_spec(config.kernel, dtype),
                *shard_leading_axis(arrays, self._mesh),
                as_dtype(M, dtype),
                mesh=self._mesh,
            )
            return np.asarray(product)[: len(X)]
