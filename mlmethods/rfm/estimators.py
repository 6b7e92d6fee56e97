"""Recursive Feature Machines as scikit-learn estimators."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    RegressorMixin,
    TransformerMixin,
)
from sklearn.metrics import get_scorer
from sklearn.model_selection import train_test_split
from sklearn.utils import Tags, compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    _check_sample_weight,
    check_array,
    check_is_fitted,
    validate_data,
)

from mlmethods.backend import get_backend
from mlmethods.common.checkpoint import load_estimator, save_estimator
from mlmethods.common.memory import require_memory, resolve_memory_limit
from mlmethods.common.progress import progress_callback
from mlmethods.common.rng import seed_sequence
from mlmethods.common.validation import check_choice, check_integer, check_real
from mlmethods.errors import (
    InvalidInputError,
    NumericalWarning,
)
from mlmethods.interfaces import ArrayLike, Backend, Callback, Event, NDArray
from mlmethods.kernels import Kernel, resolve_kernel
from mlmethods.rfm.contract import Engine, RFMConfig, Rows, direct_bytes
from mlmethods.rfm.generic_engine import OPERATIONS, GenericEngine
from mlmethods.rfm.loop import Iterates, fingerprint, run

__all__ = ["RFMClassifier", "RFMRegressor"]

_SMALLEST_EARLY_STOPPING = 50
_SCALE_RATIO = 1e4
_PROBABILITY_FLOOR = 1e-3
_PREDICT_BLOCK = 1024


class _RFM(TransformerMixin, BaseEstimator):
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
        check_choice("normalize", self.normalize, ("max", "trace", "mean_diag", "none"))
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
        _warn_of_scales(X)
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
                        config, self.n_iter, rows, val_rows, agop_rows
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

    def _proxy(self) -> Any:
        raise NotImplementedError

    def _decode(self, Y: NDArray) -> NDArray:
        raise NotImplementedError

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
            rows = _bucket(len(block))
            # A few sizes of query serve all, so that new lengths compile nothing.
            padded = np.concatenate([block, np.repeat(block[:1], rows - len(block), 0)])
            parts.append(
                engine.predict(config, padded, centers, alpha, M)[: len(block)]
            )
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
        g = self.gradients(self.X_fit_ if X is None else X)
        return np.einsum("ncd,nce->de", g, g) / len(g)

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
        if self.M_.ndim == 1:
            return points * np.sqrt(np.maximum(self.M_, 0))
        w, V = np.linalg.eigh(self.M_.astype(np.float64))
        return points @ ((V * np.sqrt(np.maximum(w, 0))) @ V.T)

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


class RFMRegressor(RegressorMixin, _RFM):
    """Recursive Feature Machine for regression.

    Parameters
    ----------
    kernel : str or Kernel, default="laplace"
        A name, with the defaults of its class, or a kernel object.
    bandwidth : float, "median" or None, default=None
        Length scale L; None means the kernel object's own, or 10 for a name, which is
        meant for standardized columns.
    reg : float, default=1e-3
        Ridge added to the diagonal of the kernel matrix, not divided by n.
    n_iter : int, default=5
        Updates of M; there is one more solve than updates. 0 is the plain kernel
        machine.
    diagonal : bool, default=False
        Whether M is a diagonal: cheaper, one weight a feature.
    center : {"none", "per_output", "pooled"}, default="none"
        Which mean gradient the AGOP subtracts.
    agop_power : float, default=1.0
        s in M = normalize(AGOP)^s, a power of the Mahalanobis matrix.
    normalize : {"max", "trace", "mean_diag", "none"}, default="max"
        What divides the AGOP before the power: its largest entry, its trace over d,
        or nothing.
    agop_samples : int, default=20000
        Most rows that the AGOP averages over, drawn without replacement.
    early_stopping : bool or "auto", default="auto"
        Hold out rows, keep the best iterate on them and stop when they get worse;
        auto does so from 50 rows on.
    validation_fraction : float, default=0.2
        Share of the rows that is held out.
    early_stop_multiplier : float, default=1.1
        Stop when the validation loss exceeds this times the best.
    scoring : str, callable or None, default=None
        A scikit-learn scorer for the choice of the iterate; None is the mean squared
        error on the encoded targets.
    refit : bool, default=True
        Solve once more on all rows with the chosen M.
    fit_intercept : bool, default=True
        Subtract the (weighted) mean of the targets first.
    keep_iterates : bool, default=False
        Keep every iterate for ``staged_predict``.
    checkpoint_dir : path-like or None, default=None
        Write the state after every update there, and resume from it.
    dtype : {"auto", "float32", "float64"}, default="auto"
        Precision; auto is the backend's own (float32 on JAX, float64 on NumPy).
    solve_dtype : {"auto", "float32", "float64"}, default="auto"
        Precision of the factorization; auto is float32 refined to a verified
        residual, float64 where that is not reached.
    memory_limit : float or "auto", default="auto"
        Bytes that the fit may take; more raises MemoryLimitError beforehand.
    backend : str or Backend, default="auto"
        Which backend computes; an explicit one never falls back.
    random_state : int, RandomState, SeedSequence or None, default=None
        Seeds the hold-out, the AGOP's sample and the median heuristic.
    verbose : int, default=0
        1 draws a progress bar.
    callbacks : sequence of callables, default=()
        Each receives the events of the fit.

    Attributes
    ----------
    M_ : ndarray of shape (n_features, n_features) or (n_features,)
        The Mahalanobis matrix that was learned.
    dual_coef_ : ndarray of shape (n_samples, n_outputs)
        Coefficients of the kernel machine.
    X_fit_ : ndarray of shape (n_samples, n_features)
        Its centers.
    intercept_ : ndarray of shape (n_outputs,)
        What is added to its outputs.
    n_iter_ : int
        The update whose M was chosen; 0 is the plain kernel machine.
    history_ : list of dict
        One entry a solve: iteration, scores, losses, jitter, seconds.
    feature_importances_ : ndarray of shape (n_features,)
        Diagonal of M over its sum.
    bandwidth_, backend_, dtype_ : float, str, str
        What was used.

    Notes
    -----
    Time is O(n^3) for each solve, memory about 3 n^2 float64 numbers. Sources write
    the power of the AGOP differently; here it is a power of the Mahalanobis matrix
    M, so that 1 is the published algorithm and xRFM's ``agop_power=0.5``.

    References
    ----------
    Radhakrishnan, Beaglehole, Pandit, Belkin (2024), Science 383:1461-1467.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from mlmethods.rfm import RFMRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = make_pipeline(
    ...     StandardScaler(), RFMRegressor(reg=1.0, backend="numpy", random_state=0)
    ... )
    >>> model.fit(X, y).predict(X[:3]).shape
    (3,)
    """

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        X_val: ArrayLike | None = None,
        y_val: ArrayLike | None = None,
    ) -> RFMRegressor:
        """Fit the machine.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Standardized numeric features.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,), optional
            Weights; 2 equals a duplicated row.
        X_val, y_val : array-like, optional
            Validation rows, in place of held-out ones.

        Returns
        -------
        RFMRegressor

        Raises
        ------
        InvalidInputError
            If a parameter is out of range.
        MemoryLimitError
            If the fit would exceed `memory_limit`; nothing was allocated.
        NotPositiveDefiniteError, DivergenceError
            If a solve fails beyond jitter.
        """
        checked: Any = validate_data(
            self,
            _numeric(X),
            y,
            multi_output=True,
            y_numeric=True,
            dtype=[np.float64, np.float32],
        )
        points, targets = checked
        weights = _check_sample_weight(sample_weight, points, dtype=np.float64)
        _check_weights(weights)
        Y = np.asarray(targets, dtype=np.float64)
        self.__dict__.pop("iterates_", None)
        self._single_output = Y.ndim == 1
        Y = Y[:, None] if Y.ndim == 1 else Y
        validation = None
        if _both(X_val, y_val):
            X_v = check_array(X_val, dtype=[np.float64, np.float32])
            Y_v = np.asarray(y_val, dtype=np.float64).reshape(len(X_v), -1)
            _same_width(X_v, points)
            validation = X_v, Y_v
        self.single_output_ = self._single_output
        self._fit_encoded(points, Y, weights, validation, None)
        return self

    def predict(self, X: ArrayLike) -> NDArray:
        """Return predictions.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        return self._shaped(self._predict_encoded(X))

    def staged_predict(self, X: ArrayLike) -> Iterator[NDArray]:
        """Yield the predictions of each iterate; needs ``keep_iterates=True``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Yields
        ------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        for outputs in self._staged(X):
            yield self._shaped(outputs)

    def _shaped(self, outputs: NDArray) -> NDArray:
        return outputs[:, 0] if self.single_output_ else outputs

    def _decode(self, Y: NDArray) -> NDArray:
        return Y[:, 0] if self._single_output else Y

    def _proxy(self) -> Any:
        return _RegressorOutputs(self._single_output)

    def _state(self) -> dict[str, Any]:
        return {"single_output_": self.single_output_}

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = True
        return tags


class RFMClassifier(ClassifierMixin, _RFM):
    """Recursive Feature Machine for classification.

    One output a class is regressed on {0, 1}; the largest decides.

    Parameters
    ----------
    kernel, bandwidth, reg, n_iter, diagonal, center, agop_power, normalize, \
agop_samples, early_stopping, validation_fraction, early_stop_multiplier, scoring, \
refit, fit_intercept, keep_iterates, checkpoint_dir, dtype, solve_dtype, \
memory_limit, backend, random_state, verbose, callbacks
        As in :class:`RFMRegressor`, except that `fit_intercept` is False by default.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, multiplied into the sample weights.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels.
    M_, dual_coef_, X_fit_, n_iter_, history_, feature_importances_
        As in :class:`RFMRegressor`.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from mlmethods.rfm import RFMClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = RFMClassifier(backend="numpy", random_state=0).fit(X, y)
    >>> model.predict_proba(X[:2]).shape
    (2, 3)
    """

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
        fit_intercept: bool = False,
        keep_iterates: bool = False,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        dtype: str = "auto",
        solve_dtype: str = "auto",
        memory_limit: float | str = "auto",
        backend: str | Backend = "auto",
        random_state: Any = None,
        verbose: int = 0,
        callbacks: Sequence[Callback] = (),
        class_weight: Any = None,
    ) -> None:
        super().__init__(
            kernel,
            bandwidth=bandwidth,
            reg=reg,
            n_iter=n_iter,
            diagonal=diagonal,
            center=center,
            agop_power=agop_power,
            normalize=normalize,
            agop_samples=agop_samples,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            early_stop_multiplier=early_stop_multiplier,
            scoring=scoring,
            refit=refit,
            fit_intercept=fit_intercept,
            keep_iterates=keep_iterates,
            checkpoint_dir=checkpoint_dir,
            dtype=dtype,
            solve_dtype=solve_dtype,
            memory_limit=memory_limit,
            backend=backend,
            random_state=random_state,
            verbose=verbose,
            callbacks=callbacks,
        )
        self.class_weight = class_weight

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        X_val: ArrayLike | None = None,
        y_val: ArrayLike | None = None,
    ) -> RFMClassifier:
        """Fit the machine.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Standardized numeric features.
        y : array-like of shape (n_samples,)
            Labels.
        sample_weight : array-like of shape (n_samples,), optional
            Weights; 2 equals a duplicated row.
        X_val, y_val : array-like, optional
            Validation rows, in place of held-out ones.

        Returns
        -------
        RFMClassifier

        Raises
        ------
        InvalidInputError
            If a parameter is out of range, or there is only one class.
        MemoryLimitError
            If the fit would exceed `memory_limit`; nothing was allocated.
        """
        checked: Any = validate_data(
            self, _numeric(X), y, dtype=[np.float64, np.float32]
        )
        points, labels = checked[0], np.asarray(checked[1])
        check_classification_targets(labels)
        weights = _check_sample_weight(sample_weight, points, dtype=np.float64)
        _check_weights(weights)
        self.__dict__.pop("iterates_", None)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(np.unique(codes[weights > 0])) < 2:
            raise InvalidInputError(
                f"y must have at least 2 classes, got one class: {self.classes_[0]!r}"
            )
        if self.class_weight is not None:
            weights = weights * compute_sample_weight(self.class_weight, labels)
        Y = np.eye(len(self.classes_))[codes]
        validation = None
        if _both(X_val, y_val):
            X_v = check_array(X_val, dtype=[np.float64, np.float32])
            _same_width(X_v, points)
            val_labels = np.asarray(y_val)
            unknown = np.setdiff1d(val_labels, self.classes_)
            if unknown.size:
                raise InvalidInputError(
                    f"y_val must have classes of y only, got also {unknown.tolist()}"
                )
            validation = (
                X_v,
                np.eye(len(self.classes_))[np.searchsorted(self.classes_, val_labels)],
            )
        self._fit_encoded(points, Y, weights, validation, codes)
        return self

    def predict(self, X: ArrayLike) -> NDArray:
        """Return the label of the largest output.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        return self._decode(self._predict_encoded(X))

    def decision_function(self, X: ArrayLike) -> NDArray:
        """Return the outputs; for two classes, their difference.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples, n_classes) or (n_samples,)
        """
        return _decision(self._predict_encoded(X))

    def predict_proba(self, X: ArrayLike) -> NDArray:
        """Return the outputs clipped to [1e-3, 1 - 1e-3] and renormalized.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        return _probabilities(self._predict_encoded(X))

    def staged_predict(self, X: ArrayLike) -> Iterator[NDArray]:
        """Yield the labels of each iterate; needs ``keep_iterates=True``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Yields
        ------
        ndarray of shape (n_samples,)
        """
        for outputs in self._staged(X):
            yield self._decode(outputs)

    def _decode(self, Y: NDArray) -> NDArray:
        return self.classes_[np.argmax(Y, axis=1)]

    def _proxy(self) -> Any:
        return _ClassifierOutputs(self.classes_)

    def _state(self) -> dict[str, Any]:
        return {"classes_": self.classes_}


class _RegressorOutputs(RegressorMixin, BaseEstimator):
    """Stands in for the regressor where a scorer asks for predictions."""

    outputs: NDArray

    def __init__(self, single_output: bool) -> None:
        self.single_output = single_output

    def predict(self, X: NDArray) -> NDArray:
        return self.outputs[:, 0] if self.single_output else self.outputs

    def __sklearn_is_fitted__(self) -> bool:
        return True


class _ClassifierOutputs(ClassifierMixin, BaseEstimator):
    """Stands in for the classifier where a scorer asks for predictions."""

    outputs: NDArray

    def __init__(self, classes: NDArray) -> None:
        self.classes = classes
        self.classes_ = classes

    def predict(self, X: NDArray) -> NDArray:
        return self.classes_[np.argmax(self.outputs, axis=1)]

    def decision_function(self, X: NDArray) -> NDArray:
        return _decision(self.outputs)

    def predict_proba(self, X: NDArray) -> NDArray:
        return _probabilities(self.outputs)

    def __sklearn_is_fitted__(self) -> bool:
        return True


def _decision(outputs: NDArray) -> NDArray:
    return outputs[:, 1] - outputs[:, 0] if outputs.shape[1] == 2 else outputs


def _probabilities(outputs: NDArray) -> NDArray:
    clipped = np.clip(outputs, _PROBABILITY_FLOOR, 1 - _PROBABILITY_FLOOR)
    return clipped / clipped.sum(axis=1, keepdims=True)


def _engine(backend: Backend) -> Engine:
    """Return the backend's own engine, or the one made of its operations."""
    if "rfm" in backend.info.engines:
        return backend.engine("rfm")
    return GenericEngine(backend)


def _bucket(n: int) -> int:
    """Return the padded size of `n` rows: a power of two, then multiples of 64."""
    if n <= 256:
        return 1 << max(0, n - 1).bit_length()
    return -(-n // 64) * 64


def _both(X_val: ArrayLike | None, y_val: ArrayLike | None) -> bool:
    if (X_val is None) != (y_val is None):
        missing = "y_val" if y_val is None else "X_val"
        raise InvalidInputError(
            f"X_val and y_val must be given together, got no {missing}"
        )
    return X_val is not None


def _same_width(X_val: NDArray, X: NDArray) -> None:
    if X_val.shape[1] != X.shape[1]:
        raise InvalidInputError(
            f"X_val must have {X.shape[1]} features as X has, got {X_val.shape[1]}"
        )


def _check_weights(weights: NDArray) -> None:
    if np.any(weights < 0):
        raise InvalidInputError(
            f"sample_weight must be >= 0, got a smallest entry of {weights.min()}"
        )


def _numeric(X: Any) -> Any:
    """Refuse string columns with advice; scikit-learn checks the rest."""
    dtypes = getattr(X, "dtypes", None)
    if dtypes is not None and hasattr(X, "columns"):
        bad = [
            str(name)
            for name, dtype in zip(X.columns, dtypes, strict=True)
            if getattr(dtype, "kind", "O") in "OUS" or str(dtype) in ("category", "str")
        ]
        if bad:
            raise InvalidInputError(
                f"X must be numeric, got text columns {', '.join(bad[:5])}; encode "
                "them first, for example with ColumnTransformer and OneHotEncoder"
            )
    return X


def _warn_of_scales(X: NDArray) -> None:
    scales = X.std(axis=0)
    scales = scales[scales > 0]
    if scales.size > 1 and scales.max() > _SCALE_RATIO * scales.min():
        warnings.warn(
            f"the columns of X differ in scale by a factor of "
            f"{scales.max() / scales.min():.1g}; standardize them (StandardScaler), "
            "since one bandwidth serves all",
            NumericalWarning,
            stacklevel=4,
        )
