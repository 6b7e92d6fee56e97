"""An RFM engine made of backend operations alone.

Any backend with the families ``kernels`` and ``linalg`` can fit an RFM through it.
"""

from __future__ import annotations

import numpy as np

from mlmethods.interfaces import Array, Backend, NDArray, SolveStatus
from mlmethods.rfm.contract import RFMConfig, Rows, Step

__all__ = ["OPERATIONS", "GenericEngine", "GenericProblem", "normalized"]

OPERATIONS = (
    "kernels.pairwise",
    "kernels.matvec",
    "kernels.grad",
    "kernels.agop",
    "linalg.ridge_solve",
)
"""What a backend must have for this engine."""


def normalized(M: NDArray, normalize: str, power: float) -> NDArray:
    """Return ``(M / scale)^power``; M is (d, d) or a diagonal (d,), not all zero."""
    diagonal = M if M.ndim == 1 else np.diag(M)
    scale = {
        "max": M.max(),
        "trace": diagonal.mean(),
        "none": 1.0,
    }[normalize]
    M = M / scale
    if power == 1.0:
        return M
    if M.ndim == 1:
        return np.maximum(M, 0.0) ** power
    w, V = np.linalg.eigh(M)
    root = (V * np.maximum(w, 0.0) ** power) @ V.T
    return (root + root.T) / 2


class GenericProblem:
    """A fit on fixed rows, step by step, through the operations of a backend."""

    def __init__(
        self,
        backend: Backend,
        config: RFMConfig,
        rows: Rows,
        validation: Rows | None,
        agop_rows: NDArray | None,
    ) -> None:
        self._backend = backend
        self._config = config
        self._rows = rows
        self._validation = validation
        self._index = agop_rows
        self._X = self._native(rows.X)
        self._Y = self._native(rows.Y)
        unit = bool(np.all(rows.weights == 1))
        self._weights = None if unit else self._native(rows.weights)
        if agop_rows is not None:
            self._X_agop = self._native(rows.X[agop_rows])
            self._w_agop = self._native(rows.weights[agop_rows])
            self._self_index = backend.asarray(agop_rows.astype(np.int32))
        if validation is not None:
            self._X_val = self._native(validation.X)

    def _native(self, x: NDArray) -> Array:
        return self._backend.asarray(x, dtype=self._config.dtype)

    def initial_metric(self) -> Array:
        """Return the identity."""
        d = self._rows.X.shape[1]
        return self._native(np.ones(d) if self._config.diagonal else np.eye(d))

    def as_metric(self, M: NDArray) -> Array:
        """Bring a Mahalanobis matrix to the device."""
        return self._native(M)

    def step(self, M: Array, *, update: bool) -> Step:
        """Solve with M and, if `update`, compute the next M."""
        config, kernels = self._config, self._backend.kernels
        to_numpy = self._backend.to_numpy
        K = kernels.pairwise(config.kernel, self._X, None, M)
        solved = self._backend.linalg.ridge_solve(
            K,
            self._Y,
            config.reg,
            weights=self._weights,
            solve_dtype=config.solve_dtype,
        )
        alpha = to_numpy(solved.alpha)
        status = SolveStatus(int(to_numpy(solved.status)))
        jitter = float(to_numpy(solved.jitter))
        predictions = None
        validation_loss = training_loss = np.nan
        scale, M_next = 0.0, M
        if status.ok:
            training_loss = self._training_loss(np.asarray(alpha), jitter)
            if self._validation is not None:
                predictions = to_numpy(
                    kernels.matvec(config.kernel, self._X_val, self._X, solved.alpha, M)
                )
                validation_loss = _loss(predictions, self._validation)
            if update:
                matrix = np.asarray(to_numpy(self._agop(solved.alpha, M)))
                scale = float(matrix.max())
                if scale > 0:
                    M_next = self._native(
                        normalized(matrix, config.normalize, config.agop_power)
                    )
        return Step(
            alpha,
            M_next,
            predictions,
            int(status),
            jitter,
            float(to_numpy(solved.residual)),
            training_loss,
            validation_loss,
            scale,
        )

    def _training_loss(self, alpha: NDArray, jitter: float) -> float:
        # The residual of a ridge solve is known from its solution: reg alpha / w.
        weights = self._rows.weights
        errors = (self._config.reg + jitter) * alpha / weights[:, None]
        return float(np.average(np.mean(errors**2, axis=1), weights=weights))

    def _agop(self, alpha: Array, M: Array) -> Array:
        config, kernels = self._config, self._backend.kernels
        if self._index is None:
            return kernels.agop(
                config.kernel,
                self._X,
                None,
                alpha,
                M,
                weights=self._weights,
                diagonal=config.diagonal,
                center=config.center,
            )
        return kernels.agop(
            config.kernel,
            self._X_agop,
            self._X,
            alpha,
            M,
            weights=self._w_agop,
            diagonal=config.diagonal,
            center=config.center,
            self_index=self._self_index,
        )

    def coefficients(self, alpha: Array) -> NDArray:
        """Return the coefficients as NumPy."""
        return np.asarray(alpha)

    def scores(self, predictions: Array) -> NDArray:
        """Return the predictions at the validation rows as NumPy."""
        return np.asarray(predictions)


def _loss(predictions: NDArray, rows: Rows) -> float:
    errors = np.mean((predictions - rows.Y) ** 2, axis=1)
    return float(np.average(errors, weights=rows.weights))


class GenericEngine:
    """The engine of a backend that brings none of its own."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def problem(
        self,
        config: RFMConfig,
        rows: Rows,
        validation: Rows | None = None,
        agop_rows: NDArray | None = None,
    ) -> GenericProblem:
        """Put a fit on the device."""
        return GenericProblem(self._backend, config, rows, validation, agop_rows)

    def _native(self, config: RFMConfig, *arrays: NDArray) -> list[Array]:
        return [self._backend.asarray(a, dtype=config.dtype) for a in arrays]

    def predict(
        self,
        config: RFMConfig,
        X: NDArray,
        centers: NDArray,
        alpha: NDArray,
        M: NDArray,
    ) -> NDArray:
        """Return predictions (n, c)."""
        arrays = self._native(config, X, centers, alpha, M)
        product = self._backend.kernels.matvec(config.kernel, *arrays)
        return np.asarray(self._backend.to_numpy(product))

    def gradients(
        self,
        config: RFMConfig,
        X: NDArray,
        centers: NDArray,
        alpha: NDArray,
        M: NDArray,
    ) -> NDArray:
        """Return the gradients of the predictions, (n, c, d)."""
        arrays = self._native(config, X, centers, alpha, M)
        gradients = self._backend.kernels.grad(config.kernel, *arrays)
        return np.asarray(self._backend.to_numpy(gradients))
