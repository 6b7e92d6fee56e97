"""A fit on many rows: EigenPro in place of the direct solve, on any backend."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from mlmethods.interfaces import Array, Backend, KernelSpec, NDArray, SolveStatus
from mlmethods.kernels.contract import (
    EigenProConfig,
    EigenProProblem,
    Passes,
    run_epochs,
)
from mlmethods.kernels.generic_eigenpro import eigenpro_engine
from mlmethods.rfm._columns import expand
from mlmethods.rfm.contract import RFMConfig, Rows, Step
from mlmethods.rfm.generic_engine import full_diagonal, normalized

__all__ = ["IterativeProblem"]

# Relative residual below which further passes change nothing.
_ROUND_OFF = 1e-6


class IterativeProblem:
    """A fit on fixed rows whose solves are passes over them.

    Parameters
    ----------
    backend : Backend
        What computes.
    config : RFMConfig
        With one reg; its ``passes`` says how many there are at most.
    rows : Rows
        Training rows.
    validation : Rows or None
        Rows whose loss ends the passes; the best pass counts.
    agop_rows : int ndarray of shape (k,) or None
        Rows to average gradients over; None means all.
    sub_index : int ndarray of shape (s,)
        Rows that the preconditioner is made from.
    seed : numpy.random.SeedSequence
        Draws the order of the passes, the same for each solve, so that a fit that is
        resumed is the same.
    reads_tables : bool
        Whether the backend's operations read categories from tables.
    """

    def __init__(
        self,
        backend: Backend,
        config: RFMConfig,
        rows: Rows,
        validation: Rows | None,
        agop_rows: NDArray | None,
        sub_index: NDArray,
        seed: np.random.SeedSequence,
        reads_tables: bool = False,
    ) -> None:
        self._backend, self._config, self._seed = backend, config, seed
        self._kernel = config.lookup_kernel if reads_tables else config.kernel
        self._expands = () if reads_tables else config.lookup
        self._d = config.features(rows.X.shape[1])
        rows = self._readable(rows)
        self._validation = None if validation is None else self._readable(validation)
        self._problem: EigenProProblem = eigenpro_engine(backend).eigenpro(
            EigenProConfig(kernel=self._kernel, reg=config.regs[0], dtype=config.dtype),
            rows.X,
            rows.Y,
            rows.weights,
            sub_index,
        )
        self._X_agop = self._w_agop = None
        if agop_rows is not None:
            self._X_agop = self._native(rows.X[agop_rows])
            self._w_agop = self._native(rows.weights[agop_rows])
        self._mask = None
        if config.blocks and not config.diagonal:
            groups = np.repeat(np.arange(len(config.blocks)), config.blocks)
            self._mask = groups[:, None] == groups[None, :]

    def _readable(self, rows: Rows) -> Rows:
        return rows._replace(X=expand(rows.X, self._expands))

    def _native(self, x: NDArray) -> Array:
        return self._backend.asarray(x, dtype=self._config.dtype)

    def initial_metric(self) -> Array:
        """Return the identity."""
        d = self._d
        return self._native(np.ones(d) if self._config.diagonal else np.eye(d))

    def as_metric(self, M: NDArray) -> Array:
        """Bring a Mahalanobis matrix to the device."""
        return self._native(M)

    def step(self, M: Array, *, update: bool, bandwidth: float | None = None) -> Step:
        """Solve with M by passes and, if `update`, compute the next M."""
        kernel, problem = self._kernel, self._problem
        if bandwidth is not None:
            kernel = dataclasses.replace(kernel, bandwidth=bandwidth)
        problem.prepare(M, bandwidth=bandwidth)
        found = run_epochs(
            problem,
            epochs=self._config.passes,
            rng=np.random.default_rng(self._seed),
            tol=_ROUND_OFF,
            validate=None if self._validation is None else self._loss,
            stop_multiplier=self._config.pass_stop_multiplier,
        )
        predictions, validation_loss = None, np.nan
        if self._validation is not None:
            predictions = problem.predict(self._validation.X, found.state)
            validation_loss = self._loss(found.state)
        scale, M_next = 0.0, M
        if update:
            G = self._agop(kernel, found, M)
            scale = float(full_diagonal(G, None).max())
            if scale > 0:
                M_next = self._native(normalized(G, self._config))
        residual = found.history[-1]["residual"]
        return Step(
            found.state,
            M_next,
            predictions,
            int(SolveStatus.OK),
            0.0,
            residual,
            residual**2 * problem.start_loss,
            validation_loss,
            scale,
            self._config.regs[0],
            found.best_epoch,
        )

    def _loss(self, state: Array) -> float:
        assert self._validation is not None  # only then is there a loss
        errors = self._problem.predict(self._validation.X, state) - self._validation.Y
        each = np.mean(errors**2, axis=1)
        return float(np.average(each, weights=self._validation.weights))

    def _agop(self, kernel: KernelSpec, found: Passes, M: Array) -> NDArray:
        config = self._config
        options: dict[str, Any] = {
            "diagonal": config.diagonal,
            "center": config.center,
        }
        own = getattr(self._problem, "agop", None)
        if own is not None:
            G = own(found.state, **options)
        else:
            machine = self._problem.native(found.state)
            G = self._backend.kernels.agop(
                kernel,
                machine.X if self._X_agop is None else self._X_agop,
                None if self._X_agop is None else machine.X,
                machine.alpha,
                M,
                weights=machine.weights if self._X_agop is None else self._w_agop,
                **options,
            )
        matrix = np.asarray(self._backend.to_numpy(G))
        return matrix if self._mask is None else np.where(self._mask, matrix, 0.0)

    def coefficients(self, alpha: Array) -> NDArray:
        """Return the coefficients of the rows given, as NumPy."""
        return self._problem.coefficients(alpha)

    def scores(self, predictions: Array) -> NDArray:
        """Return the predictions at the validation rows as NumPy."""
        return np.asarray(predictions)
