"""EigenPro made of backend operations alone.

Any backend with the families ``kernels`` and ``linalg`` can solve through it. The
coefficients stay on the host, and one step is one call for each batch.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from mlmethods.interfaces import Array, Backend, NDArray
from mlmethods.kernels.contract import (
    EigenProConfig,
    EigenProEngine,
    EigenProProblem,
    NativeMachine,
    Preconditioner,
)
from mlmethods.kernels.preconditioner import (
    batch_and_step,
    largest_rank,
    spectral_filter,
)

__all__ = ["OPERATIONS", "GenericEigenPro", "GenericEngine", "eigenpro_engine"]

OPERATIONS = ("kernels.pairwise", "kernels.matvec", "linalg.eigh")
"""What a backend must have for this engine."""

# Kernel entries between blocks of rows and the subsample at a time.
_BLOCK_ELEMENTS = 2**21
_DIAGONAL_BLOCK = 64


class GenericEigenPro:
    """A ridge system on fixed rows, pass by pass, through a backend's operations."""

    def __init__(
        self,
        backend: Backend,
        config: EigenProConfig,
        X: NDArray,
        Y: NDArray,
        weights: NDArray,
        sub_index: NDArray,
    ) -> None:
        self._backend = backend
        self._config = config
        self.n = len(X)
        self._sub = np.asarray(sub_index)
        # Where each row is in the subsample; its length stands for nowhere.
        self._place = np.full(self.n, len(self._sub))
        self._place[self._sub] = np.arange(len(self._sub))
        self._root = np.sqrt(np.asarray(weights, np.float64))[:, None]
        self._rows = np.asarray(X)
        self._X = self._native(X)
        self._X_sub = self._native(X[self._sub])
        self._Y = np.asarray(Y, np.float64)
        self.start_loss = float(np.mean((self._root * self._Y) ** 2))
        self._alpha = np.zeros(self._Y.shape)

    def _native(self, x: Any) -> Array:
        return self._backend.asarray(x, dtype=self._config.dtype)

    def _numpy(self, x: Array) -> NDArray:
        return np.asarray(self._backend.to_numpy(x), np.float64)

    def prepare(
        self,
        M: Any | None = None,
        *,
        bandwidth: float | None = None,
        reg: float | None = None,
    ) -> Preconditioner:
        """Build the preconditioner, and set the coefficients to zero."""
        config = self._config
        self._kernel = config.kernel
        if bandwidth is not None:
            self._kernel = dataclasses.replace(config.kernel, bandwidth=bandwidth)
        self._reg = config.reg if reg is None else float(reg)
        # A matrix that is already on the device stays there.
        self._M = self._native(M) if isinstance(M, np.ndarray) else M
        size = len(self._sub)
        root = self._root[self._sub]
        K = self._numpy(
            self._backend.kernels.pairwise(self._kernel, self._X_sub, None, self._M)
        )
        A = self._backend.asarray(root * K * root.T / size, dtype="float64")
        values, vectors = map(
            self._numpy, self._backend.linalg.eigh(A, dtype="float64")
        )
        rank = largest_rank(size, config.top_q)
        filtered = spectral_filter(
            values,
            size,
            self.n,
            self._reg,
            config.top_q,
            rank,
            float(np.finfo(config.dtype).eps),
        )
        self._basis = vectors[:, :rank] / np.sqrt(size)
        self._weights = filtered.weights[:, None]
        diagonal = self._largest_diagonal()
        self._batch, self._step, critical = batch_and_step(
            diagonal, filtered.largest_eigenvalue, self.n, config.batch_size
        )
        self.reset()
        return Preconditioner(
            filtered.top_q,
            self._batch,
            self._step,
            critical,
            diagonal,
            filtered.largest_eigenvalue,
        )

    def _largest_diagonal(self) -> float:
        """Return the largest diagonal entry of the preconditioned matrix."""
        size = len(self._sub)
        block = max(_DIAGONAL_BLOCK, _BLOCK_ELEMENTS // size)
        largest = 0.0
        for start in range(0, self.n, block):
            rows = np.arange(start, min(start + block, self.n))
            projected = self._to_subsample(rows).T @ self._basis
            damped = projected**2 @ self._weights[:, 0]
            own = self._diagonal(rows) * self._root[rows, 0] ** 2 + self._reg
            largest = max(largest, float(np.max(own - damped)))
        return largest

    def _diagonal(self, rows: NDArray) -> NDArray:
        parts = []
        for start in range(0, len(rows), _DIAGONAL_BLOCK):
            x = self._native(self._rows[rows[start : start + _DIAGONAL_BLOCK]])
            K = self._backend.kernels.pairwise(self._kernel, x, None, self._M)
            parts.append(np.diag(self._numpy(K)))
        return np.concatenate(parts)

    def _to_subsample(self, rows: NDArray) -> NDArray:
        """Return the system's matrix between the subsample and `rows`."""
        x = self._native(self._rows[rows])
        K = self._numpy(
            self._backend.kernels.pairwise(self._kernel, self._X_sub, x, self._M)
        )
        K = self._root[self._sub] * K * self._root[rows].T
        inside = np.flatnonzero(self._place[rows] < len(K))
        K[self._place[rows[inside]], inside] += self._reg
        return K

    def epoch(self, order: NDArray, *, damping: float = 1.0) -> float:
        """Pass once over the rows in this order."""
        step, total = self._step * damping, 0.0
        alpha = self._alpha.copy()
        for start in range(0, self.n, self._batch):
            rows = np.asarray(order[start : start + self._batch])
            root = self._root[rows]
            product = self._backend.kernels.matvec(
                self._kernel,
                self._native(self._rows[rows]),
                self._X,
                self._native(alpha),
                self._M,
            )
            error = root * (self._numpy(product) - self._Y[rows])
            error += self._reg * alpha[rows] / root
            total += float(np.sum(error**2))
            inner = self._basis.T @ (self._to_subsample(rows) @ error)
            alpha[rows] -= step * root * error
            correction = self._basis @ (self._weights * inner)
            alpha[self._sub] += step * self._root[self._sub] * correction
        self._alpha = alpha
        return total / self._Y.size

    def reset(self) -> None:
        """Set the coefficients to zero."""
        self._alpha = np.zeros(self._Y.shape)

    @property
    def state(self) -> NDArray:
        """The coefficients; a pass makes new ones."""
        return self._alpha

    def coefficients(self, state: Array | None = None) -> NDArray:
        """Return coefficients as NumPy."""
        alpha = self._alpha if state is None else state
        return np.asarray(alpha, self._config.dtype)

    def predict(self, X: NDArray, state: Array | None = None) -> NDArray:
        """Return the predictions (m, c)."""
        alpha = self._native(self._alpha if state is None else state)
        product = self._backend.kernels.matvec(
            self._kernel, self._native(X), self._X, alpha, self._M
        )
        return np.asarray(self._backend.to_numpy(product))

    def native(self, state: Array | None = None) -> NativeMachine:
        """Return rows, coefficients and weights on the device."""
        alpha = self._native(self._alpha if state is None else state)
        return NativeMachine(self._X, alpha, self._native(self._root[:, 0] ** 2))


class GenericEngine:
    """The engine of a backend that brings none of its own."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def eigenpro(
        self,
        config: EigenProConfig,
        X: NDArray,
        Y: NDArray,
        weights: NDArray,
        sub_index: NDArray,
    ) -> EigenProProblem:
        """Put a system on the device."""
        return GenericEigenPro(self._backend, config, X, Y, weights, sub_index)

    def predict(
        self,
        config: EigenProConfig,
        X: NDArray,
        centers: NDArray,
        alpha: NDArray,
        M: NDArray | None = None,
    ) -> NDArray:
        """Return the predictions (m, c) of a fitted machine."""
        arrays = [
            None if a is None else self._backend.asarray(a, dtype=config.dtype)
            for a in (X, centers, alpha, M)
        ]
        product = self._backend.kernels.matvec(config.kernel, *arrays)
        return np.asarray(self._backend.to_numpy(product))


def eigenpro_engine(backend: Backend) -> EigenProEngine:
    """Return the backend's own engine, or the one made of its operations."""
    if "kernels" in backend.info.engines:
        return backend.engine("kernels")
    return GenericEngine(backend)
