"""EigenPro in JAX: preconditioned stochastic descent on a kernel ridge system.

A pass is one compiled scan over blocks of rows. The rows of the subsample come first,
so that its columns are a slice of every block. How many blocks make a batch, reg,
bandwidth and M are traced: another of them compiles nothing.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from mlmethods.interfaces import NDArray
from mlmethods.kernels.contract import (
    EigenProConfig,
    NativeMachine,
    Preconditioner,
    SpectralFilter,
    batch_and_step,
    largest_rank,
    spectral_filter,
    split_batches,
)
from mlmethods_jax.ops import kernels
from mlmethods_jax.ops._blocks import default_budget, padded_size
from mlmethods_jax.ops._precision import as_dtype, as_spec, scope
from mlmethods_jax.solvers import programs
from mlmethods_jax.solvers.path import device_inverse_diagonals, device_path

__all__ = ["EigenProProblem", "KernelEngine", "choose_rows", "engine"]

_SMALLEST_BLOCK = 8
# A batch is made of whole blocks, so that these must not be large beside the rows.
_BLOCKS = 32


def choose_rows(size: int, itemsize: int, batch_size: int | None) -> int:
    """Return how many rows a block has: a power of two, or a part of `batch_size`."""
    affordable = default_budget() // max(1, 3 * size * itemsize)
    wanted = min(affordable, max(_SMALLEST_BLOCK, size // _BLOCKS))
    block = 1 << (max(wanted, _SMALLEST_BLOCK).bit_length() - 1)
    if batch_size is None:
        return block
    batch_size = min(batch_size, size)
    return -(-batch_size // -(-batch_size // block))


class EigenProProblem:
    """A ridge system on fixed rows, padded and on the device."""

    def __init__(
        self,
        config: EigenProConfig,
        X: NDArray,
        Y: NDArray,
        weights: NDArray,
        sub_index: NDArray,
    ) -> None:
        self._config = config
        self._dtype = np.dtype(config.dtype)
        self.n, self._count = len(X), len(sub_index)
        self._order, slots = self._layout(np.asarray(sub_index))
        present = self._order >= 0
        self._size = len(self._order)
        self._position = np.empty(self.n, np.int32)
        self._position[self._order[present]] = np.flatnonzero(present)
        self._block = choose_rows(
            padded_size(self.n), self._dtype.itemsize, config.batch_size
        )
        self.start_loss = float(np.mean(weights[:, None] * np.square(Y, dtype=float)))
        root = self._arranged(np.sqrt(weights), 0.0)
        # The mean row moves no mean.
        rows = self._arranged(X, X.mean(axis=0, dtype=np.float64))
        zero = np.zeros((self._size, Y.shape[1]), self._dtype)
        with scope(self._dtype):
            self._X, self._Y, self._root = self._put(
                (rows, self._arranged(Y, 0.0), root)
            )
            self._zero: jax.Array = self._put(zero)
            chosen = np.isin(self._order[slots], sub_index)
            self._hold_subsample(rows, np.where(chosen, root[slots], 0), slots)
        self._alpha = self._zero

    def _layout(self, sub_index: NDArray) -> tuple[NDArray, NDArray]:
        """Return the row at each position, -1 for padding, and the subsample's.

        The positions of the subsample may include others, which get no weight.
        """
        rest = np.setdiff1d(np.arange(self.n), sub_index)
        size = padded_size(self.n)
        order = np.full(size, -1)
        order[: self.n] = np.concatenate([sub_index, rest])
        return order, np.arange(min(padded_size(len(sub_index)), size))

    def _arranged(self, rows: NDArray, fill: Any) -> NDArray:
        out = np.asarray(rows, self._dtype)[self._order]
        out[self._order < 0] = fill
        return out

    def _put(self, arrays: Any) -> Any:
        """Bring arrays of all rows to the device."""
        return jax.device_put(arrays)

    def _hold_subsample(self, rows: NDArray, root: NDArray, slots: NDArray) -> None:
        place = np.full(self._size, -1, np.int32)
        place[slots] = np.where(root > 0, slots, -1)
        self._sub, self._sub_root, self._place = jax.device_put(
            (rows[slots], root.astype(self._dtype), place)
        )

    def prepare(
        self,
        M: Any | None = None,
        *,
        bandwidth: float | None = None,
        reg: float | None = None,
    ) -> Preconditioner:
        """Build the preconditioner, and set the coefficients to zero."""
        config = self._config
        spec = config.kernel
        if bandwidth is not None:
            spec = dataclasses.replace(spec, bandwidth=bandwidth)
        reg = config.reg if reg is None else float(reg)
        rank = self._rank()
        with scope(self._dtype):
            self._kernel = as_spec(spec, self._dtype)
            self._reg = np.asarray(reg, self._dtype)
            self._hold_metric(as_dtype(M, self._dtype))
            values, self._basis = self._spectrum(rank)
            filtered = spectral_filter(
                np.asarray(values),
                self._count,
                self.n,
                reg,
                config.top_q,
                rank,
                float(np.finfo(self._dtype).eps),
            )
            self._damping = jax.device_put(filtered.weights.astype(self._dtype))
            diagonal = float(self._largest_diagonal())
        self.reset()
        return self._choose_batch(filtered, diagonal)

    def _hold_metric(self, M: Any | None) -> None:
        self._M = None if M is None else jax.device_put(M)

    def _rank(self) -> int:
        """Return the columns of E: the same for a few subsamples' sizes."""
        return largest_rank(len(self._sub_root), self._config.top_q)

    def _spectrum(self, rank: int) -> tuple[jax.Array, jax.Array]:
        return programs.subsample_spectrum(
            self._kernel,
            self._M,
            self._sub,
            self._sub_root,
            np.asarray(self._count, self._dtype),
            rank=rank,
        )

    def _largest_diagonal(self) -> jax.Array:
        return programs.largest_diagonal(
            self._kernel,
            self._M,
            self._X,
            self._root,
            self._place,
            self._sub,
            self._sub_root,
            self._basis,
            self._damping,
            self._reg,
        )

    def _choose_batch(
        self, filtered: SpectralFilter, diagonal: float
    ) -> Preconditioner:
        wanted = self._config.batch_size
        self._batch, self._step, critical = batch_and_step(
            diagonal, filtered.largest_eigenvalue, self.n, wanted, self._block
        )
        return Preconditioner(
            filtered.top_q,
            self._batch,
            self._step,
            critical,
            diagonal,
            filtered.largest_eigenvalue,
        )

    def _blocks(self, order: NDArray) -> tuple[NDArray, NDArray]:
        """Return the rows of each block, in shapes that a new M leaves as they are."""
        wanted, block = self._config.batch_size, self._block
        batch, count = self._batch, -(-self._size // block)
        if wanted is None:
            # Only the last batch may be cut within a block.
            batch = -(-batch // block) * block
        else:
            batch = min(wanted, self._size)
            count = -(-self._size // batch) * -(-batch // block)
        order = self._position[np.asarray(order)]
        return split_batches(order, batch, block, count, self._size)

    def epoch(self, order: NDArray, *, damping: float = 1.0) -> float:
        """Pass once over the rows; one number comes back to the host."""
        blocks, ends = self._blocks(order)
        with scope(self._dtype):
            step = np.asarray(self._step * damping, self._dtype)
            self._alpha, total = self._pass(step, *jax.device_put((blocks, ends)))
            return float(total) / (self.n * self._Y.shape[1])

    def _pass(
        self, step: NDArray, blocks: jax.Array, ends: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        return programs.epoch(
            self._kernel,
            self._M,
            self._X,
            self._Y,
            self._root,
            self._alpha,
            self._basis,
            self._damping,
            self._reg,
            step,
            blocks,
            ends,
        )

    def reset(self) -> None:
        """Set the coefficients to zero."""
        self._alpha = self._zero

    @property
    def state(self) -> jax.Array:
        """The coefficients on the device; a pass makes new ones."""
        return self._alpha

    def coefficients(self, state: jax.Array | None = None) -> NDArray:
        """Return coefficients as NumPy (n, c) in the order of the rows given."""
        alpha = self._alpha if state is None else state
        return np.asarray(alpha)[self._position]

    def predict(self, X: NDArray, state: jax.Array | None = None) -> NDArray:
        """Return the predictions (m, c) at NumPy rows."""
        alpha = self._alpha if state is None else state
        with scope(self._dtype):
            # A few sizes of query serve all, so that new lengths compile nothing.
            extra = padded_size(len(X)) - len(X)
            padded = np.pad(np.asarray(X, self._dtype), [(0, extra), (0, 0)], "edge")
            rows = jax.device_put(padded)
            product = kernels.matvec(self._kernel, rows, self._X, alpha, self._M)
            return np.asarray(product)[: len(X)]

    def native(self, state: jax.Array | None = None) -> NativeMachine:
        """Return rows, coefficients and weights on the device."""
        alpha = self._alpha if state is None else state
        with scope(self._dtype):
            return NativeMachine(self._X, alpha, _square(self._root))


@jax.jit
def _square(x: jax.Array) -> jax.Array:
    return x * x


class KernelEngine:
    """The engine ``"kernels"`` of the JAX backend."""

    ridge_path = staticmethod(device_path)
    inverse_diagonals = staticmethod(device_inverse_diagonals)

    def eigenpro(
        self,
        config: EigenProConfig,
        X: NDArray,
        Y: NDArray,
        weights: NDArray,
        sub_index: NDArray,
    ) -> EigenProProblem:
        """Put a system on the device."""
        return EigenProProblem(config, X, Y, weights, sub_index)

    def predict(
        self,
        config: EigenProConfig,
        X: NDArray,
        centers: NDArray,
        alpha: NDArray,
        M: NDArray | None = None,
    ) -> NDArray:
        """Return the predictions (m, c) of a fitted machine."""
        dtype = np.dtype(config.dtype)
        with scope(dtype):
            x, z, a, m = (as_dtype(array, dtype) for array in (X, centers, alpha, M))
            x, z, a = jax.device_put((x, z, a))
            return np.asarray(kernels.matvec(config.kernel, x, z, a, m))


engine = KernelEngine()
