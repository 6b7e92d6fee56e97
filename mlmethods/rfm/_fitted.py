"""What a fitted RFM offers: predictions, gradients, its metric, persistence."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import (
    _check_feature_names,
    _check_n_features,
    check_is_fitted,
    validate_data,
)

from mlmethods.backend import get_backend
from mlmethods.common.buckets import pad_rows
from mlmethods.common.checkpoint import load_estimator, save_estimator
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import ArrayLike, Backend, KernelSpec, NDArray
from mlmethods.kernels import Kernel, resolve_kernel
from mlmethods.rfm._columns import Columns, expand
from mlmethods.rfm._metric import Metric
from mlmethods.rfm._solvers import engine_of
from mlmethods.rfm.contract import Engine, RFMConfig
from mlmethods.rfm.generic_engine import OPERATIONS

__all__ = ["FittedMachine", "Iterates"]

_PREDICT_BLOCK = 1024


class Iterates(NamedTuple):
    """The machines of all iterates: coefficients, metric and bandwidth of each."""

    machines: list[tuple[NDArray, Metric, float]]
    X: NDArray
    intercept: NDArray


class FittedMachine(TransformerMixin, BaseEstimator):
    """A kernel machine with a learned metric.

    The metric is ``metric_matrix_``, in the coordinates of ``metric_basis_`` where
    there are more features than rows.
    """

    kernel: str | Kernel
    reg: Any
    diagonal: bool
    backend: str | Backend
    categorical_features: Any
    categories_: dict[int, NDArray] | None
    n_features_in_: int
    metric_matrix_: NDArray
    metric_basis_: NDArray | None
    dual_coef_: NDArray
    X_fit_: NDArray
    intercept_: NDArray
    history_: list[dict[str, Any]]
    _iterates: Iterates
    n_iter_: int
    bandwidth_: float
    dtype_: str
    backend_: str

    @property
    def M_(self) -> NDArray:
        """The Mahalanobis matrix that was learned, (d, d), or its diagonal (d,)."""
        return self._matrix(self._metric())

    def _matrix(self, metric: Metric) -> NDArray:
        if metric.matrix.ndim == 1 and not self.diagonal:
            return np.diag(metric.matrix)
        return metric.lift_matrix(metric.matrix)

    def _metric(self) -> Metric:
        if "metric_matrix_" not in self.__dict__:
            raise AttributeError("M_ exists after fit")
        return Metric(self.metric_matrix_, self.metric_basis_)

    def _fitted(self) -> tuple[Engine, RFMConfig]:
        check_is_fitted(self, "dual_coef_")
        if not hasattr(self, "_config"):
            # A loaded or unpickled model finds its backend again on first use.
            self._config = RFMConfig(
                kernel=self._stored_spec(),
                diagonal=bool(self.diagonal),
                dtype=self.dtype_,
                lookup=self._columns().lookup if self.categories_ else (),
            )
            name = self.backend_ if self.backend == "auto" else self.backend
            self._backend = get_backend(name, *OPERATIONS, kernel=self._config.kernel)
        return engine_of(self._backend), self._config

    def _stored_spec(self) -> KernelSpec:
        named = isinstance(self.kernel, str) and self.kernel != "quadratic"
        kernel = resolve_kernel(self.kernel, self.bandwidth_ if named else None)
        return dataclasses.replace(kernel.to_spec(), bandwidth=self.bandwidth_)

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        hidden = ("_config", "_backend", "_solver_seed")
        return {k: v for k, v in state.items() if k not in hidden}

    def _outputs(
        self,
        X: NDArray,
        alpha: NDArray,
        metric: Metric,
        centers: NDArray,
        bandwidth: float | None = None,
    ) -> NDArray:
        engine, config = self._fitted()
        if bandwidth is not None:
            config = config.at(bandwidth)
        centers = metric.coordinates(centers)
        parts = []
        for start in range(0, len(X), _PREDICT_BLOCK):
            block = metric.coordinates(X[start : start + _PREDICT_BLOCK])
            # A few sizes of query serve all, so that new lengths compile nothing.
            outputs = engine.predict(
                config,
                pad_rows(block.astype(config.dtype)),
                centers,
                alpha,
                metric.matrix,
            )
            parts.append(outputs[: len(block)])
        return np.concatenate(parts)

    def _predict_encoded(self, X: ArrayLike) -> NDArray:
        check_is_fitted(self, "dual_coef_")
        points = self._queries(X)
        outputs = self._outputs(points, self.dual_coef_, self._metric(), self.X_fit_)
        return outputs + self.intercept_.astype(outputs.dtype)

    def _columns(self) -> Columns:
        assert self.categories_ is not None  # callers have asked
        return Columns(self.n_features_in_, self.categories_)

    def _queries(self, X: ArrayLike) -> NDArray:
        if self.categories_ is not None:
            _check_feature_names(self, X, reset=False)
            _check_n_features(self, X, reset=False)
            return self._columns().encode(X)
        checked = validate_data(self, X, reset=False, dtype=[np.float64, np.float32])
        return np.asarray(checked)

    def _expanded_queries(self, X: ArrayLike) -> NDArray:
        """Return rows as the features that M has."""
        return expand(self._queries(X), self._fitted()[1].lookup)

    def gradients(self, X: ArrayLike) -> NDArray:
        """Return the gradients of the outputs with respect to the features.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Where to differentiate.

        Returns
        -------
        ndarray of shape (n_samples, n_outputs, n_features)
            With categorical columns the features are those of ``M_``.
        """
        engine, config = self._fitted()
        metric = self._metric()
        points = metric.coordinates(self._queries(X)).astype(config.dtype)
        centers = metric.coordinates(self.X_fit_)
        inner = engine.gradients(
            config, points, centers, self.dual_coef_, metric.matrix
        )
        return metric.lift(inner)

    def agop(self, X: ArrayLike | None = None) -> NDArray:
        """Return the average gradient outer product of the fitted model.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), optional
            Samples to average over; None means the rows that were fitted.

        Returns
        -------
        ndarray of shape (n_features, n_features)
        """
        _, config = self._fitted()
        backend, metric = self._backend, self._metric()
        centers, alpha, M = (
            backend.asarray(a, dtype=config.dtype)
            for a in (
                metric.coordinates(expand(self.X_fit_, config.lookup)),
                self.dual_coef_,
                metric.matrix,
            )
        )
        if X is None:
            samples, others = centers, None
        else:
            points = metric.coordinates(self._expanded_queries(X))
            samples, others = backend.asarray(points, dtype=config.dtype), centers
        result = backend.kernels.agop(config.kernel, samples, others, alpha, M)
        return metric.lift_matrix(np.asarray(backend.to_numpy(result)))

    def transform(self, X: ArrayLike) -> NDArray:
        """Return ``X M^{1/2}``, in which the kernel's distances are Euclidean.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        check_is_fitted(self, "dual_coef_")
        return self._metric().transform(self._expanded_queries(X))

    def _staged(self, X: ArrayLike) -> Iterator[NDArray]:
        check_is_fitted(self, "dual_coef_")
        if not hasattr(self, "_iterates"):
            raise InvalidInputError(
                "keep_iterates must be True at fit for staged_predict, got False"
            )
        points, kept = self._queries(X), self._iterates
        for alpha, metric, bandwidth in kept.machines:
            outputs = self._outputs(points, alpha, metric, kept.X, bandwidth)
            yield outputs + kept.intercept.astype(outputs.dtype)

    @property
    def iterates_(self) -> list[tuple[NDArray, NDArray]]:
        """Coefficients and Mahalanobis matrix after each number of updates.

        Kept with ``keep_iterates=True``.
        """
        if "_iterates" not in self.__dict__:
            raise AttributeError("iterates_ exists after a fit with keep_iterates=True")
        return [
            (alpha, self._matrix(metric))
            for alpha, metric, _ in self._iterates.machines
        ]

    @property
    def feature_importances_(self) -> NDArray:
        """The diagonal of M, divided by its sum; shape (n_features,).

        That of a categorical column is summed over its categories.
        """
        check_is_fitted(self, "dual_coef_")
        diagonal = self._metric().diagonal()
        if self.categories_ is not None:
            diagonal = self._columns().gather(diagonal)
        return diagonal / diagonal.sum()

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        return tags

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Write the fitted model to a folder (safetensors and JSON).

        Parameters
        ----------
        directory : path-like
            The folder; an earlier model there is replaced as a whole.
        """
        check_is_fitted(self, "dual_coef_")
        names = ["metric_matrix_", "dual_coef_", "X_fit_", "intercept_"]
        state = {
            name: getattr(self, name)
            for name in (
                "n_iter_",
                "history_",
                "bandwidth_",
                "reg_",
                "dtype_",
                "backend_",
                "categories_",
            )
        }
        if self.metric_basis_ is None:
            state["metric_basis_"] = None
        else:
            names.append("metric_basis_")
        arrays = {name: getattr(self, name) for name in names}
        save_estimator(self, directory, arrays, {**state, **self._state()})

    def _state(self) -> dict[str, Any]:
        return {}

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> Any:
        """Return the model that :meth:`save` wrote.

        Raises
        ------
        CheckpointError
            If the folder is missing, damaged or holds another class.
        """
        return load_estimator(cls, directory)
