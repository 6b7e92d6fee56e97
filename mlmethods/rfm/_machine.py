"""What the RFM regressor and classifier share: a fit on encoded targets."""

from __future__ import annotations

import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.metrics import get_scorer
from sklearn.utils.validation import (
    _check_feature_names,
    _check_n_features,
    check_array,
    check_X_y,
    validate_data,
)

from mlmethods.backend import get_backend
from mlmethods.common.memory import resolve_memory_limit
from mlmethods.common.progress import progress_callback
from mlmethods.common.rng import seed_sequence
from mlmethods.common.validation import (
    check_choice,
    check_early_stopping,
    check_integer,
    check_real,
)
from mlmethods.errors import InvalidInputError, NumericalWarning
from mlmethods.interfaces import (
    ArrayLike,
    Backend,
    Callback,
    Event,
    KernelSpec,
    NDArray,
)
from mlmethods.kernels import Kernel
from mlmethods.rfm._bandwidth import Bandwidth
from mlmethods.rfm._columns import expand, find_categories
from mlmethods.rfm._fitted import FittedMachine
from mlmethods.rfm._fitted import Iterates as KeptIterates
from mlmethods.rfm._inputs import check_same_width, refuse_text, warn_of_scales
from mlmethods.rfm._metric import row_space
from mlmethods.rfm._rows import FitRows, hold_out, iterate_metric, make_rows, stored
from mlmethods.rfm._solvers import choose_solver, in_row_space, make_problem
from mlmethods.rfm.contract import RFMConfig
from mlmethods.rfm.generic_engine import OPERATIONS
from mlmethods.rfm.loop import Iterates, fingerprint, run

__all__ = ["RecursiveFeatureMachine"]

_SMALLEST_HOLDOUT = 50
_FLOATS = [np.float64, np.float32]


class RecursiveFeatureMachine(FittedMachine, ABC):
    """What the regressor and the classifier share."""

    def __init__(
        self,
        kernel: str | Kernel = "laplace",
        *,
        bandwidth: float | str | None = None,
        bandwidth_mode: str = "constant",
        reg: float | Sequence[float] = 1e-3,
        n_iter: int = 5,
        diagonal: bool = False,
        center: str = "none",
        agop_power: float = 1.0,
        agop_shrinkage: float = 0.0,
        normalize: str = "max",
        agop_samples: int = 20000,
        early_stopping: bool | str = "auto",
        selection: str = "holdout",
        validation_fraction: float = 0.2,
        early_stop_multiplier: float = 1.1,
        scoring: Any = None,
        refit: bool = True,
        fit_intercept: bool = True,
        categorical_features: Any = None,
        keep_iterates: bool = False,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        dtype: str = "auto",
        solver: str = "auto",
        epochs: int = 10,
        solve_dtype: str = "auto",
        memory_limit: float | str = "auto",
        backend: str | Backend = "auto",
        random_state: Any = None,
        verbose: int = 0,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.kernel = kernel
        self.bandwidth = bandwidth
        self.bandwidth_mode = bandwidth_mode
        self.reg = reg
        self.n_iter = n_iter
        self.diagonal = diagonal
        self.center = center
        self.agop_power = agop_power
        self.agop_shrinkage = agop_shrinkage
        self.normalize = normalize
        self.agop_samples = agop_samples
        self.early_stopping = early_stopping
        self.selection = selection
        self.validation_fraction = validation_fraction
        self.early_stop_multiplier = early_stop_multiplier
        self.scoring = scoring
        self.refit = refit
        self.fit_intercept = fit_intercept
        self.categorical_features = categorical_features
        self.keep_iterates = keep_iterates
        self.checkpoint_dir = checkpoint_dir
        self.dtype = dtype
        self.solver = solver
        self.epochs = epochs
        self.solve_dtype = solve_dtype
        self.memory_limit = memory_limit
        self.backend = backend
        self.random_state = random_state
        self.verbose = verbose
        self.callbacks = callbacks

    # Fitting -----------------------------------------------------------------

    def _read(self, X: ArrayLike, y: ArrayLike, **options: Any) -> tuple[Any, Any]:
        """Return checked rows, encoded where there are categorical columns, and y."""
        self.categories_ = None
        if self.categorical_features is None:
            rows, targets = validate_data(
                self, refuse_text(X), y, dtype=_FLOATS, **options
            )
            warn_of_scales(rows)
            return rows, targets
        if issparse(X) or np.ndim(X) != 2:
            raise InvalidInputError(
                "X must be a DataFrame or a dense array of shape (n, d) with "
                f"categorical_features, got {type(X).__name__} of {np.ndim(X)} dimensions"
            )
        _check_feature_names(self, X, reset=True)
        _check_n_features(self, X, reset=True)
        columns = find_categories(X, self.categorical_features)
        self.categories_ = columns.categories
        rows, targets = check_X_y(columns.encode(X), y, dtype=_FLOATS, **options)
        warn_of_scales(rows[:, : len(columns.numbers)])
        return rows, targets

    def _read_validation(self, X_val: ArrayLike | None, points: NDArray) -> NDArray:
        _check_feature_names(self, X_val, reset=False)
        if self.categories_ is not None:
            _check_n_features(self, X_val, reset=False)
            return self._columns().encode(X_val)
        rows = check_array(X_val, dtype=_FLOATS)
        check_same_width(rows, points)
        return rows

    def _check_parameters(self) -> None:
        if np.ndim(self.reg) and not len(self.reg):
            raise InvalidInputError("reg must have at least one value, got none")
        for reg in self.reg if np.ndim(self.reg) else [self.reg]:  # type: ignore[union-attr]
            check_real("reg", reg, minimum=0)
        check_choice("selection", self.selection, ("holdout", "loo"))
        check_integer("n_iter", self.n_iter, minimum=0)
        check_choice("center", self.center, ("none", "per_output", "pooled"))
        check_real("agop_power", self.agop_power, minimum=0, open_minimum=True)
        check_real("agop_shrinkage", self.agop_shrinkage, minimum=0, maximum=1)
        check_choice("normalize", self.normalize, ("max", "trace", "none"))
        check_integer("agop_samples", self.agop_samples, minimum=1)
        check_early_stopping(
            self.early_stopping, self.validation_fraction, self.early_stop_multiplier
        )
        check_choice("dtype", self.dtype, ("auto", "float32", "float64"))
        check_choice("solver", self.solver, ("auto", "cholesky", "eigenpro"))
        check_integer("epochs", self.epochs, minimum=1)
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
        self.__dict__.pop("_iterates", None)
        seeds = seed_sequence(self.random_state).spawn(4)
        split_seed, agop_seed, bandwidth_seed, self._solver_seed = seeds
        positive = weights > 0
        if not positive.any():
            raise InvalidInputError(
                "sample_weight must have at least one positive entry, got none"
            )
        X, Y, weights = X[positive], Y[positive], weights[positive]
        labels = None if labels is None else labels[positive]
        selection = self._selection(len(X), validation is not None)
        bandwidth = Bandwidth.resolve(
            self.kernel, self.bandwidth, self.bandwidth_mode, X, bandwidth_seed
        )
        config = self._configure(
            bandwidth.kernel, X.shape, Y.shape[1], selection == "loo"
        )
        held_out = None
        train = np.arange(len(X))
        if selection == "holdout":
            train, held_out = hold_out(
                len(X), labels, self.validation_fraction, split_seed
            )
            validation = X[held_out], Y[held_out]
        data = self._prepare(
            config,
            (X[train], Y[train], weights[train]),
            validation,
            None if held_out is None else weights[held_out],
        )
        agop_rows = None
        if len(train) > self.agop_samples:
            generator = np.random.default_rng(agop_seed)
            agop_rows = np.sort(
                generator.choice(len(train), self.agop_samples, replace=False)
            )
        if selection == "loo":
            validation = X, Y
        try:
            found = self._iterate(
                config,
                data,
                agop_rows,
                bandwidth,
                self._score_function(validation, data.intercept),
                selection,
            )
        except KeyboardInterrupt as interrupt:
            partial = getattr(interrupt, "iterates", None)
            if partial is not None and partial.alpha is not None:
                self._keep(config, partial, data)
            raise
        self._keep(config, found, data)
        if held_out is not None and self.refit:
            self._refit(config, X, Y, weights)

    def _selection(self, n: int, given: bool) -> str:
        """Return how the iterate is chosen: by rows "given", "holdout", "loo", "last"."""
        if given:
            return "given"
        if self.early_stopping is False:
            return "last"
        if self.early_stopping is True and n < 2:
            raise InvalidInputError(
                f"early_stopping=True needs at least 2 samples to hold one out, got {n}"
            )
        enough = _SMALLEST_HOLDOUT if self.selection == "holdout" else 2
        few = n < enough and self.early_stopping == "auto"
        return "last" if few else self.selection

    def _configure(
        self, kernel: KernelSpec, shape: tuple[int, ...], c: int, leave_one_out: bool
    ) -> RFMConfig:
        """Choose the backend, and refuse what does not fit in memory."""
        n, d = shape
        backend = self._resolve_backend(kernel, n, d)
        dtype = backend.info.default_dtype if self.dtype == "auto" else self.dtype
        reg = tuple(map(float, self.reg)) if np.ndim(self.reg) else float(self.reg)
        config = RFMConfig(
            kernel=kernel,
            reg=reg,
            diagonal=bool(self.diagonal),
            center=self.center,  # type: ignore[arg-type]
            agop_power=float(self.agop_power),
            agop_shrinkage=float(self.agop_shrinkage),
            normalize=self.normalize,
            dtype=dtype,
            solve_dtype=self.solve_dtype,
            leave_one_out=leave_one_out,
        )
        if self.categories_ is not None:
            columns = self._columns()
            config = replace(config, lookup=columns.lookup, blocks=columns.blocks)
        limit = resolve_memory_limit(self.memory_limit)
        stop = None if self.early_stopping is False else self.early_stop_multiplier
        config = choose_solver(
            config, self.solver, (n, config.features(d), c), limit, self.epochs, stop
        )
        self._backend = backend
        self.backend_ = backend.info.name
        self.dtype_ = dtype
        return config

    def _prepare(
        self,
        config: RFMConfig,
        training: tuple[NDArray, NDArray, NDArray],
        validation: tuple[NDArray, NDArray] | None,
        validation_weights: NDArray | None,
    ) -> FitRows:
        """Center the targets and find the coordinates to fit in."""
        X, Y, weights = training
        intercept = self._intercept(Y, weights)
        basis = None
        if in_row_space(config):
            parts = [X] if validation is None else [X, validation[0]]
            if sum(map(len, parts)) < X.shape[1]:
                basis = row_space(*parts)
        val_rows = None
        if validation is not None:
            X_val, Y_val = validation
            if validation_weights is None:
                validation_weights = np.ones(len(X_val))
            val_rows = make_rows(
                config, basis, X_val, Y_val - intercept, validation_weights
            )
        rows = make_rows(config, basis, X, Y - intercept, weights)
        return FitRows(rows, val_rows, basis, intercept, stored(X, config.dtype))

    def _intercept(self, Y: NDArray, weights: NDArray) -> NDArray:
        if self._centers_targets():
            return np.average(Y, axis=0, weights=weights)
        return np.zeros(Y.shape[1])

    def _iterate(
        self,
        config: RFMConfig,
        data: FitRows,
        agop_rows: NDArray | None,
        bandwidth: Bandwidth,
        score: Callable[[NDArray], float] | None,
        selection: str,
    ) -> Iterates:
        """Run the loop, with progress and checkpoints."""
        backend = self._backend
        problem = make_problem(
            backend,
            config,
            data.rows,
            data.validation,
            agop_rows,
            data.basis,
            limit=resolve_memory_limit(self.memory_limit),
            seed=self._solver_seed,
        )
        progress = progress_callback(self.verbose)

        def report(event: Event) -> None:
            progress(event)
            for callback in self.callbacks:
                callback(event)

        policy = (
            backend.info.name,
            self.early_stopping,
            self.early_stop_multiplier,
            self.keep_iterates,
            self.bandwidth_mode,
            getattr(self.scoring, "__qualname__", str(self.scoring)),
        )
        stops = selection != "last" and self.early_stopping is not False
        with progress:
            return run(
                problem,
                to_numpy=backend.to_numpy,
                n_iter=self.n_iter,
                stop_multiplier=self.early_stop_multiplier if stops else None,
                score=score,
                has_validation=selection != "last",
                keep_iterates=self.keep_iterates,
                callback=report,
                checkpoint_dir=self.checkpoint_dir,
                identity=fingerprint(
                    config,
                    self.n_iter,
                    data.rows,
                    data.validation,
                    agop_rows,
                    policy=policy,
                ),
                bandwidth=bandwidth.on(expand(data.rows.X, config.lookup)),
            )

    def _refit(
        self,
        config: RFMConfig,
        X: NDArray,
        Y: NDArray,
        weights: NDArray,
    ) -> None:
        """Solve once more on all rows with the chosen metric."""
        intercept = self._intercept(Y, weights)
        basis, matrix = self.metric_basis_, self.metric_matrix_
        if matrix.ndim == 1 and not config.diagonal:
            # The identity of more features than rows.
            basis = row_space(X)
            matrix = np.eye(basis.shape[1])
        rows = make_rows(config, basis, X, Y - intercept, weights)
        if config.passes:
            # As many passes as were best for the rows held out.
            best = self.history_[self.n_iter_]["passes"]
            config = replace(config, passes=max(1, best))
        problem = make_problem(
            self._backend,
            config,
            rows,
            limit=resolve_memory_limit(self.memory_limit),
            seed=self._solver_seed,
        )
        M = problem.as_metric(matrix)
        step = problem.step(M, update=False, bandwidth=self.bandwidth_)
        if not np.isfinite(step.training_loss):
            warnings.warn(
                "the solve on all rows failed; the model of the training rows is kept",
                NumericalWarning,
                stacklevel=4,
            )
            return
        self.dual_coef_ = problem.coefficients(step.alpha)
        self.X_fit_, self.intercept_ = stored(X, config.dtype), intercept
        self.reg_ = step.reg

    def _keep(self, config: RFMConfig, found: Iterates, data: FitRows) -> None:
        self.dual_coef_ = np.asarray(found.alpha)
        self.X_fit_ = data.X
        self.intercept_ = data.intercept
        self.n_iter_ = int(found.best_iteration)
        self.history_ = found.history
        self.bandwidth_ = float(found.best["bandwidth"])
        self.reg_ = float(found.best["reg"])
        self._config = config.at(self.bandwidth_)
        metrics = [
            iterate_metric(t, np.asarray(M), data.basis)
            for t, M in ((self.n_iter_, found.M), *enumerate(M for _, M in found.kept))
        ]
        self.metric_matrix_, self.metric_basis_ = metrics[0]
        if self.keep_iterates:
            machines = [
                (alpha, metric, entry["bandwidth"])
                for (alpha, _), metric, entry in zip(
                    found.kept, metrics[1:], found.history, strict=True
                )
            ]
            self._iterates = KeptIterates(machines, data.X, data.intercept)

    def _centers_targets(self) -> bool:
        return bool(self.fit_intercept)

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
