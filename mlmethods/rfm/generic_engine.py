"""An RFM engine made of backend operations alone.

Any backend with the families ``kernels`` and ``linalg`` can fit an RFM through it.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from mlmethods.interfaces import (
    Array,
    Backend,
    KernelSpec,
    NDArray,
    SolveResult,
    SolveStatus,
)
from mlmethods.rfm._columns import expand
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


def full_diagonal(M: NDArray, basis: NDArray | None) -> NDArray:
    """Return the diagonal of a matrix, or of ``basis M basis.T``."""
    if basis is not None:
        return np.einsum("ij,ij->i", basis @ M, basis)
    return M if M.ndim == 1 else np.diag(M)


def normalized(M: NDArray, config: RFMConfig, basis: NDArray | None = None) -> NDArray:
    """Return ``(M / scale)^power``; M is (d, d) or a diagonal (d,), not all zero.

    The scale is the largest entry, which for a positive semidefinite matrix is on its
    diagonal, or the mean of the diagonal. A shrunk M is never in a basis.
    """
    normalize, power = config.normalize, config.agop_power
    if config.agop_shrinkage:
        share, mean = config.agop_shrinkage, full_diagonal(M, None).mean()
        constant = np.ones(len(M)) if M.ndim == 1 else np.eye(len(M))
        M = (1 - share) * M + share * mean * constant
    if normalize != "none":
        diagonal = full_diagonal(M, basis)
        M = M / (diagonal.mean() if normalize == "trace" else diagonal.max())
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
        basis: NDArray | None = None,
    ) -> None:
        rows = _expanded(config, rows)
        validation = None if validation is None else _expanded(config, validation)
        self._basis = basis
        self._backend = backend
        self._config = config
        self._rows = rows
        self._validation = validation
        self._index = agop_rows
        self._mask = None
        if config.blocks and not config.diagonal:
            groups = np.repeat(np.arange(len(config.blocks)), config.blocks)
            self._mask = groups[:, None] == groups[None, :]
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

    def step(self, M: Array, *, update: bool, bandwidth: float | None = None) -> Step:
        """Solve with M and, if `update`, compute the next M."""
        config, to_numpy = self._config, self._backend.to_numpy
        kernel = config.kernel
        if bandwidth is not None:
            kernel = dataclasses.replace(kernel, bandwidth=bandwidth)
        solved, reg, errors = self._solve(
            self._backend.kernels.pairwise(kernel, self._X, None, M)
        )
        alpha = np.asarray(to_numpy(solved.alpha))
        status = SolveStatus(int(to_numpy(solved.status)))
        jitter = float(to_numpy(solved.jitter))
        predictions = None
        validation_loss = training_loss = np.nan
        scale, M_next = 0.0, M
        if status.ok:
            training_loss = self._training_loss(alpha, reg + jitter)
            predictions, validation_loss = self._validate(kernel, alpha, M, errors)
            if update:
                G = np.asarray(to_numpy(self._agop(kernel, solved.alpha, M)))
                G = G if self._mask is None else np.where(self._mask, G, 0.0)
                scale = float(full_diagonal(G, self._basis).max())
                if scale > 0:
                    M_next = self._native(normalized(G, config, self._basis))
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
            reg,
        )

    def _solve(self, K: Array) -> tuple[SolveResult, float, NDArray | None]:
        """Return the solution, its reg and, where asked for, leave-one-out errors."""
        config, solve = self._config, self._backend.linalg.ridge_solve
        options: dict[str, Any] = {
            "weights": self._weights,
            "solve_dtype": config.solve_dtype,
        }
        if not config.in_closed_form:
            return solve(K, self._Y, config.reg, **options), config.regs[0], None
        options["solve_dtype"] = "float64"
        best: tuple[SolveResult, float, NDArray] | None = None
        least = np.inf
        for reg in config.regs:
            solved = solve(K, self._Y, reg, **options)
            alpha = np.asarray(self._backend.to_numpy(solved.alpha))
            # Weighted inverse: row i of its diagonal is w_i (A^-1)_ii.
            inverse = solve(K, self._native(np.eye(len(alpha))), reg, **options)
            diagonal = np.diag(np.asarray(self._backend.to_numpy(inverse.alpha)))
            errors = alpha / diagonal[:, None]
            loss = self._mean_square(errors)
            if best is None or loss < least:
                best, least = (solved, reg, errors), loss
        assert best is not None  # there is at least one reg
        return best

    def _validate(
        self, kernel: KernelSpec, alpha: NDArray, M: Array, errors: NDArray | None
    ) -> tuple[NDArray | None, float]:
        """Return predictions at the rows that validate, and their loss."""
        if self._config.leave_one_out:
            assert errors is not None  # such a fit is solved in closed form
            return self._rows.Y - errors, self._mean_square(errors)
        if self._validation is None:
            return None, np.nan
        product = self._backend.kernels.matvec(
            kernel, self._X_val, self._X, self._native(alpha), M
        )
        predictions = np.asarray(self._backend.to_numpy(product))
        return predictions, _loss(predictions, self._validation)

    def _mean_square(self, errors: NDArray) -> float:
        each = np.mean(errors**2, axis=1)
        return float(np.average(each, weights=self._rows.weights))

    def _training_loss(self, alpha: NDArray, shift: float) -> float:
        # The residual of a ridge solve is known from its solution: reg alpha / w.
        return self._mean_square(shift * alpha / self._rows.weights[:, None])

    def _agop(self, kernel: KernelSpec, alpha: Array, M: Array) -> Array:
        config, kernels = self._config, self._backend.kernels
        if self._index is None:
            return kernels.agop(
                kernel,
                self._X,
                None,
                alpha,
                M,
                weights=self._weights,
                diagonal=config.diagonal,
                center=config.center,
            )
        return kernels.agop(
            kernel,
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


def _expanded(config: RFMConfig, rows: Rows) -> Rows:
    return rows._replace(X=expand(rows.X, config.lookup)) if config.lookup else rows


def _loss(predictions: NDArray, rows: Rows) -> float:
    errors = np.mean((predictions - rows.Y) ** 2, axis=1)
    return float(np.average(errors, weights=rows.weights))


class GenericEngine:
    """The engine of a backend that brings none of its own."""

    reads_tables = False

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def problem(
        self,
        config: RFMConfig,
        rows: Rows,
        validation: Rows | None = None,
        agop_rows: NDArray | None = None,
        basis: NDArray | None = None,
    ) -> GenericProblem:
        """Put a fit on the device."""
        return GenericProblem(self._backend, config, rows, validation, agop_rows, basis)

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
        X, centers = (expand(a, config.lookup) for a in (X, centers))
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
        X, centers = (expand(a, config.lookup) for a in (X, centers))
        arrays = self._native(config, X, centers, alpha, M)
        gradients = self._backend.kernels.grad(config.kernel, *arrays)
        return np.asarray(self._backend.to_numpy(gradients))
