"""What the RFM regressor and classifier share: a fit on encoded targets."""

from __future__ import annotations

import math
import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.metrics import get_scorer
from sklearn.model_selection import train_test_split
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from mlmethods.backend import get_backend
from mlmethods.common.buckets import pad_rows
from mlmethods.common.checkpoint import load_estimator, save_estimator
from mlmethods.common.memory import require_memory, resolve_memory_limit
from mlmethods.common.progress import progress_callback
from mlmethods.common.rng import seed_sequence
from mlmethods.common.validation import check_choice, check_integer, check_real
from mlmethods.errors import InvalidInputError, NumericalWarning
from mlmethods.interfaces import ArrayLike, Backend, Callback, Event, NDArray
from mlmethods.kernels import Kernel, resolve_kernel
from mlmethods.rfm._inputs import warn_of_scales
from mlmethods.rfm.contract import Engine, RFMConfig, Rows, direct_bytes
from mlmethods.rfm.generic_engine import OPERATIONS, GenericEngine
from mlmethods.rfm.loop import Iterates, fingerprint, run
from mlmethods.rfm.network import matrix_power_psd

__all__ = ["RecursiveFeatureMachine"]

_SMALLEST_EARLY_STOPPING = 50
_PREDICT_BLOCK = 1024


class RecursiveFeatureMachine(TransformerMixin, BaseEstimator, ABC):
    """What the regressor and the classifier share."""

    def __init__(
        self,
        kernel: str | Kernel = "laplace",
        *,
        bandwidth: float | str | None = None,
        reg: float = 1e-3,
        n_iter: int = 5,
        diagonal: bool = False,
        center: str = "none",
        agop_power: float = 1.0,
        normalize: str = "max",
        agop_samples: int = 20000,
        early_stopping: bool | str = "auto",
        validation_fraction: float = 0.2,
        early_stop_multiplier: float = 1.1,
        scoring: Any = None,
        refit: bool = True,
        fit_intercept: bool = True,
        keep_iterates: bool = False,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        dtype: str = "auto",
        solve_dtype: str = "auto",
        memory_limit: float | str = "auto",
        backend: str | Backend = "auto",
        random_state: Any = None,
        verbose: int = 0,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.kernel = kernel
        self.bandwidth = bandwidth
        self.reg = reg
        self.n_iter = n_iter
        self.diagonal = diagonal
        self.center = center
        self.agop_power = agop_power
        self.normalize = normalize
        self.agop_samples = agop_samples
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.early_stop_multiplier = early_stop_multiplier
        self.scoring = scoring
        self.refit = refit
        self.fit_intercept = fit_intercept
        self.keep_iterates = keep_iterates
        self.checkpoint_dir = checkpoint_dir
        self.dtype = dtype
        self.solve_dtype = solve_dtype
        self.memory_limit = memory_limit
        self.backend = backend
        self.random_state = random_state
        self.verbose = verbose
        self.callbacks = callbacks

    # Fitting -----------------------------------------------------------------

    def _check_parameters(self) -> None:
        check_real("reg", self.reg, minimum=0)
        check_integer("n_iter", self.n_iter, minimum=0)
        check_choice("center", self.center, ("none", "per_output", "pooled"))
        check_real("agop_power", self.agop_power, minimum=0, open_minimum=True)
        check_choice("normalize", self.normalize, ("max", "trace", "none"))
        check_integer("agop_samples", self.agop_samples, minimum=1)
        if self.early_stopping not in (True, False, "auto"):
            raise InvalidInputError(
                f"early_stopping must be True, False or 'auto', got "
                f"{self.early_stopping!r}"
            )
        check_real(
            "validation_fraction",
            self.validation_fraction,
            minimum=0,
            maximum=1,
            open_minimum=True,
            open_maximum=True,
        )
        check_real("early_stop_multiplier", self.early_stop_multiplier, minimum=1)
        check_choice("dtype", self.dtype, ("auto", "float32", "float64"))
        check_choice("solve_dtype", self.solve_dtype, ("auto", "float32", "float64"))

    def _fit_encoded(
        self,
        X: NDArray,
        Y: NDArray,
        weights: NDArray,
        validation: tuple[NDArray, NDArray] | None,
        labels: NDArray | None,
    ) -> None:
        """Fit on encoded targets Y (n, c)."""
        self._check_parameters()
        seed = seed_sequence(self.random_state)
        split_seed, agop_seed, bandwidth_seed = seed.spawn(3)
        positive = weights > 0
        if not positive.any():
            raise InvalidInputError(
                "sample_weight must have at least one positive entry, got none"
            )
        X, Y, weights = X[positive], Y[positive], weights[positive]
        labels = None if labels is None else labels[positive]
        warn_of_scales(X)
        kernel = resolve_kernel(
            self.kernel, self.bandwidth, X=X, rng=np.random.default_rng(bandwidth_seed)
        )
        spec = kernel.to_spec()
        backend = self._resolve_backend(spec, len(X), X.shape[1])
        dtype = backend.info.default_dtype if self.dtype == "auto" else self.dtype
        config = RFMConfig(
            kernel=spec,
            reg=float(self.reg),
            diagonal=bool(self.diagonal),
            center=self.center,  # type: ignore[arg-type]
            agop_power=float(self.agop_power),
            normalize=self.normalize,
            dtype=dtype,
            solve_dtype=self.solve_dtype,
        )
        require_memory(
            direct_bytes(len(X), X.shape[1], Y.shape[1], dtype),
            resolve_memory_limit(self.memory_limit),
            what=f"the direct solve on n={len(X)} rows",
            alternative="fit on fewer rows, or raise memory_limit",
        )
        held_out = None
        train = np.arange(len(X))
        if validation is None and self._stops_early(len(X)):
            train, held_out = self._split(len(X), labels, split_seed)
            validation = X[held_out], Y[held_out]
            validation_weights = weights[held_out]
        elif validation is not None:
            validation_weights = np.ones(len(validation[0]))
        else:
            validation_weights = np.ones(0)
        rows, intercept = self._rows(X[train], Y[train], weights[train], dtype)
        val_rows = None
        if validation is not None:
            val_rows = Rows(
                validation[0].astype(dtype),
                (validation[1] - intercept).astype(dtype),
                validation_weights.astype(dtype),
            )
        agop_rows = None
        if len(train) > self.agop_samples:
            generator = np.random.default_rng(agop_seed)
            agop_rows = np.sort(
                generator.choice(len(train), self.agop_samples, replace=False)
            )
        engine = _engine(backend)
        problem = engine.problem(config, rows, val_rows, agop_rows)
        self._config, self._backend = config, backend
        self.backend_ = backend.info.name
        self.bandwidth_ = float(spec.bandwidth)
        self.dtype_ = dtype
        progress = progress_callback(self.verbose)

        def report(event: Event) -> None:
            progress(event)
            for callback in self.callbacks:
                callback(event)

        def finish(found: Iterates) -> None:
            self._keep(found, rows, intercept)

        try:
            with progress:
                found = run(
                    problem,
                    to_numpy=backend.to_numpy,
                    n_iter=self.n_iter,
                    stop_multiplier=(
                        self.early_stop_multiplier
                        if validation is not None and self.early_stopping is not False
                        else None
                    ),
                    score=self._score_function(validation, intercept),
                    has_validation=validation is not None,
                    keep_iterates=self.keep_iterates,
                    callback=report,
                    checkpoint_dir=self.checkpoint_dir,
                    identity=fingerprint(
                        config,
                        self.n_iter,
                        rows,
                        val_rows,
                        agop_rows,
                        policy=(
                            backend.info.name,
                            self.early_stopping,
                            self.early_stop_multiplier,
                            self.keep_iterates,
                            getattr(self.scoring, "__qualname__", str(self.scoring)),
                        ),
                    ),
                    bandwidth=self.bandwidth_,
                )
        except KeyboardInterrupt as interrupt:
            partial = getattr(interrupt, "iterates", None)
            if partial is not None and partial.alpha is not None:
                finish(partial)
            raise
        finish(found)
        if held_out is not None and self.refit:
            self._refit(engine, config, X, Y, weights, found)

    def _refit(
        self,
        engine: Engine,
        config: RFMConfig,
        X: NDArray,
        Y: NDArray,
        weights: NDArray,
        found: Iterates,
    ) -> None:
        """Solve once more on all rows with the chosen metric."""
        rows, intercept = self._rows(X, Y, weights, config.dtype)
        problem = engine.problem(config, rows)
        step = problem.step(problem.as_metric(found.M), update=False)  # type: ignore[arg-type]
        if not np.isfinite(step.training_loss):
            warnings.warn(
                "the solve on all rows failed; the model of the training rows is kept",
                NumericalWarning,
                stacklevel=4,
            )
            return
        found.alpha = problem.coefficients(step.alpha)
        self._keep(found, rows, intercept)

    def _keep(self, found: Iterates, rows: Rows, intercept: NDArray) -> None:
        self.M_ = np.asarray(found.M)
        self.dual_coef_ = np.asarray(found.alpha)
        self.X_fit_ = rows.X
        self.intercept_ = intercept
        self.n_iter_ = int(found.best_iteration)
        self.history_ = found.history
        if self.keep_iterates and not hasattr(self, "iterates_"):
            self.iterates_ = found.kept
            self.iterates_X_ = rows.X
            self.iterates_intercept_ = intercept

    def _rows(
        self, X: NDArray, Y: NDArray, weights: NDArray, dtype: str
    ) -> tuple[Rows, NDArray]:
        if self._centers_targets():
            intercept = np.average(Y, axis=0, weights=weights)
        else:
            intercept = np.zeros(Y.shape[1])
        rows = Rows(
            np.ascontiguousarray(X, dtype=dtype),
            (Y - intercept).astype(dtype),
            weights.astype(dtype),
        )
        return rows, intercept

    def _centers_targets(self) -> bool:
        return bool(self.fit_intercept)

    def _stops_early(self, n: int) -> bool:
        if self.early_stopping == "auto":
            return n >= _SMALLEST_EARLY_STOPPING
        return bool(self.early_stopping)

    def _split(
        self, n: int, labels: NDArray | None, seed: np.random.SeedSequence
    ) -> tuple[NDArray, NDArray]:
        state = int(seed.generate_state(1)[0])
        stratify = None
        if labels is not None:
            counts = np.unique(labels, return_counts=True)[1]
            size = math.ceil(self.validation_fraction * n)
            if counts.min() >= 2 and min(size, n - size) >= len(counts):
                stratify = labels
        if n < 2:
            raise InvalidInputError(
                f"early_stopping=True needs at least 2 samples to hold one out, got {n}"
            )
        train, held_out = train_test_split(
            np.arange(n),
            test_size=self.validation_fraction,
            random_state=state,
            stratify=stratify,
        )
        return np.sort(train), np.sort(held_out)

    def _score_function(
        self, validation: tuple[NDArray, NDArray] | None, intercept: NDArray
    ) -> Callable[[NDArray], float] | None:
        if self.scoring is None or validation is None:
            return None
        scorer = get_scorer(self.scoring)
        X, Y = validation
        proxy = self._proxy()
        target = self._decode(Y)

        def score(predictions: NDArray) -> float:
            proxy.outputs = predictions + intercept
            return float(scorer(proxy, X, target))

        return score

    @abstractmethod
    def _proxy(self) -> Any:
        """Return what a scorer takes for the estimator."""

    @abstractmethod
    def _decode(self, Y: NDArray) -> NDArray:
        """Return the predictions that encoded outputs stand for."""

    def _resolve_backend(self, spec: Any, n: int, d: int) -> Backend:
        dtype = None if self.dtype == "auto" else self.dtype
        facts = {"kernel": spec, "n": n, "d": d, "dtype": dtype}
        return get_backend(self.backend, *OPERATIONS, **facts)

    # Using -------------------------------------------------------------------

    def _fitted(self) -> tuple[Engine, RFMConfig]:
        check_is_fitted(self, "M_")
        if not hasattr(self, "_config"):
            # A loaded or unpickled model finds its backend again on first use.
            spec = resolve_kernel(self.kernel, self._stored_bandwidth()).to_spec()
            self._config = RFMConfig(
                kernel=spec,
                reg=float(self.reg),
                diagonal=bool(self.diagonal),
                dtype=self.dtype_,
            )
            name = self.backend_ if self.backend == "auto" else self.backend
            self._backend = get_backend(name, *OPERATIONS, kernel=spec)
        return _engine(self._backend), self._config

    def _stored_bandwidth(self) -> float | None:
        has_own = isinstance(self.kernel, Kernel) or self.kernel == "quadratic"
        return None if has_own else self.bandwidth_

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        return {k: v for k, v in state.items() if k not in ("_config", "_backend")}

    def _outputs(
        self, X: NDArray, alpha: NDArray, M: NDArray, centers: NDArray
    ) -> NDArray:
        engine, config = self._fitted()
        parts = []
        for start in range(0, len(X), _PREDICT_BLOCK):
            block = X[start : start + _PREDICT_BLOCK].astype(config.dtype)
            # A few sizes of query serve all, so that new lengths compile nothing.
            outputs = engine.predict(config, pad_rows(block), centers, alpha, M)
            parts.append(outputs[: len(block)])
        return np.concatenate(parts)

    def _predict_encoded(self, X: ArrayLike) -> NDArray:
        check_is_fitted(self, "M_")
        points = self._queries(X)
        outputs = self._outputs(points, self.dual_coef_, self.M_, self.X_fit_)
        return outputs + self.intercept_.astype(outputs.dtype)

    def _queries(self, X: ArrayLike) -> NDArray:
        checked = validate_data(self, X, reset=False, dtype=[np.float64, np.float32])
        return np.asarray(checked)

    def gradients(self, X: ArrayLike) -> NDArray:
        """Return the gradients of the outputs with respect to the features.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Where to differentiate.

        Returns
        -------
        ndarray of shape (n_samples, n_outputs, n_features)
        """
        engine, config = self._fitted()
        points = self._queries(X)
        return engine.gradients(
            config, points.astype(config.dtype), self.X_fit_, self.dual_coef_, self.M_
        )

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
        backend = self._backend
        centers, alpha, M = (
            backend.asarray(a, dtype=config.dtype)
            for a in (self.X_fit_, self.dual_coef_, self.M_)
        )
        if X is None:
            samples, others = centers, None
        else:
            points = self._queries(X)
            samples, others = backend.asarray(points, dtype=config.dtype), centers
        result = backend.kernels.agop(config.kernel, samples, others, alpha, M)
        return np.asarray(backend.to_numpy(result))

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
        check_is_fitted(self, "M_")
        points = self._queries(X)
        root = matrix_power_psd(self.M_, 0.5)
        return points * root if root.ndim == 1 else points @ root

    def _staged(self, X: ArrayLike) -> Iterator[NDArray]:
        check_is_fitted(self, "M_")
        if not hasattr(self, "iterates_"):
            raise InvalidInputError(
                "keep_iterates must be True at fit for staged_predict, got False"
            )
        points = self._queries(X)
        for alpha, M in self.iterates_:
            outputs = self._outputs(points, alpha, M, self.iterates_X_)
            yield outputs + self.iterates_intercept_.astype(outputs.dtype)

    @property
    def feature_importances_(self) -> NDArray:
        """The diagonal of M, divided by its sum; shape (n_features,)."""
        check_is_fitted(self, "M_")
        diagonal = self.M_ if self.M_.ndim == 1 else np.diag(self.M_)
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
        check_is_fitted(self, "M_")
        arrays = {"M_": self.M_, "dual_coef_": self.dual_coef_, "X_fit_": self.X_fit_}
        arrays["intercept_"] = self.intercept_
        state = {
            "n_iter_": self.n_iter_,
            "history_": self.history_,
            "bandwidth_": self.bandwidth_,
            "dtype_": self.dtype_,
            "backend_": self.backend_,
            "n_features_in_": self.n_features_in_,
            **self._state(),
        }
        if hasattr(self, "feature_names_in_"):
            state["feature_names_in_"] = self.feature_names_in_
        save_estimator(self, directory, arrays, state)

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


def _engine(backend: Backend) -> Engine:
    """Return the backend's own engine, or the one made of its operations."""
    if "rfm" in backend.info.engines:
        return backend.engine("rfm")
    return GenericEngine(backend)
