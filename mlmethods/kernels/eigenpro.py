"""Kernel regression on many rows: EigenPro, which never forms the kernel matrix."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import Tags
from sklearn.utils.validation import (
    _check_sample_weight,
    check_is_fitted,
    validate_data,
)

from mlmethods.backend import get_backend
from mlmethods.common.buckets import pad_rows
from mlmethods.common.checkpoint import load_estimator, save_estimator
from mlmethods.common.memory import require_memory, resolve_memory_limit
from mlmethods.common.progress import progress_callback
from mlmethods.common.rng import seed_sequence
from mlmethods.common.validation import (
    check_choice,
    check_early_stopping,
    check_integer,
    check_real,
)
from mlmethods.interfaces import (
    Array,
    ArrayLike,
    Backend,
    Callback,
    Event,
    KernelSpec,
    NDArray,
)
from mlmethods.kernels._eigenpro_rows import (
    Rows,
    choose_subsample,
    given_validation,
    hold_out,
    with_weight,
)
from mlmethods.kernels.base import Kernel
from mlmethods.kernels.contract import (
    EigenProConfig,
    EigenProProblem,
    eigenpro_bytes,
)
from mlmethods.kernels.epochs import Passes, run_epochs
from mlmethods.kernels.generic_eigenpro import OPERATIONS, eigenpro_engine
from mlmethods.kernels.resolve import resolve_kernel

__all__ = ["EigenProRegressor"]

_SMALLEST_EARLY_STOPPING = 50
_PREDICT_BLOCK = 1024


class EigenProRegressor(RegressorMixin, BaseEstimator):
    """Kernel ridge regression by preconditioned stochastic descent (EigenPro).

    Passes over the rows lead to the solution of ``(K + reg I) alpha = y``, that of
    :class:`KernelRidge`, for every ``reg >= 0``: the ridge is part of each step, not
    replaced by stopping early. Memory is O(n (d + c) + s^2) for a subsample of s rows.

    Parameters
    ----------
    kernel : str or Kernel, default="laplace"
        A name with the defaults of its class, or an object; see
        :func:`mlmethods.kernels.resolve_kernel`.
    bandwidth : float, "median" or None, default=None
        Length scale for a named kernel: None is 10, meant for standardized columns;
        ``"median"`` the median distance between at most 5000 training rows.
    reg : float, default=0.0
        Ridge >= 0, added to the diagonal and not divided by n; 0 interpolates.
    epochs : int, default=10
        Most passes over the rows; all of them are done.
    n_subsample : int or "auto", default="auto"
        Rows s that the preconditioner is made from; ``"auto"`` is 2000, and from
        50,000 rows on a 25th of them, at most 12,000, where `memory_limit` allows it.
    top_q : int or "auto", default="auto"
        Directions that it damps; ``"auto"`` takes the fewest that make batches of
        about 500 rows possible, at most a tenth of the subsample.
    batch_size : int or "auto", default="auto"
        Rows in a step; ``"auto"`` is half of the critical size, beyond which larger
        batches need more passes.
    tol : float, default=1e-5
        Stop when the residual of a pass, relative to that of zero coefficients, is
        not larger.
    early_stopping : bool or "auto", default="auto"
        Hold out rows, keep the best pass on them and stop when they get worse;
        ``"auto"`` does so for ``reg=0`` from 50 rows on. With ``reg > 0`` the passes
        lead to the ridge solution instead. What was held out is not trained on.
    validation_fraction : float, default=0.1
        Share of the rows that is held out.
    early_stop_multiplier : float, default=1.1
        Stop when the validation loss exceeds this times the lowest.
    fit_intercept : bool, default=True
        Subtract the (weighted) mean of the targets first.
    dtype : {"auto", "float32", "float64"}, default="auto"
        Precision; auto is the backend's own (float32 on JAX, float64 on NumPy).
    memory_limit : int or "auto", default="auto"
        Bytes; ``"auto"`` is 80 % of what is available.
    backend : str or Backend, default="auto"
        What computes; see :func:`mlmethods.get_backend`.
    random_state : int, RandomState, Generator or None, default=None
        Seeds the hold-out, the subsample, the order of the rows and the median.
    verbose : int, default=0
        1 draws a progress bar.
    callbacks : sequence of callables, default=()
        Each receives the events of the fit.

    Attributes
    ----------
    dual_coef_ : ndarray of shape (n_samples,) or (n_samples, n_targets)
        The coefficients alpha of the rows that were trained on.
    X_fit_ : ndarray of shape (n_samples, n_features)
        Those rows.
    intercept_ : float or ndarray of shape (n_targets,)
        What is added.
    kernel_ : Kernel
        The kernel with its bandwidth.
    n_iter_ : int
        The pass whose coefficients were kept: the best on the validation rows, or
        the last.
    history_ : list of dict
        One entry a pass: epoch, residual, validation_loss, damping (of the step),
        seconds.
    n_subsample_, top_q_, batch_size_ : int
        What was used.
    backend_, dtype_ : str
        What computed, and in which precision.
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : ndarray of str
        Their names, where `X` had names.

    Notes
    -----
    A pass costs O(n^2 (d + c)), the preconditioner O(n s q + s^3). A step descends on
    the residual of one batch in the kernel ``k(x_i, x_j) + reg [i = j]``, whose
    interpolation is the ridge solution; the directions of its q largest eigenvalues,
    estimated on the subsample, are damped. The small eigenvalues converge slowly: with
    a very small `reg` many passes are needed to the last digit, while predictions
    settle long before.

    References
    ----------
    Ma, Belkin (2019), Kernel machines that adapt to GPUs for effective large batch
    training, MLSys; arXiv:1806.06144.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from mlmethods.kernels import EigenProRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = make_pipeline(
    ...     StandardScaler(),
    ...     EigenProRegressor(reg=1.0, backend="numpy", random_state=0),
    ... )
    >>> model.fit(X, y).predict(X[:3]).shape
    (3,)
    """

    def __init__(
        self,
        kernel: str | Kernel = "laplace",
        *,
        bandwidth: float | str | None = None,
        reg: float = 0.0,
        epochs: int = 10,
        n_subsample: int | str = "auto",
        top_q: int | str = "auto",
        batch_size: int | str = "auto",
        tol: float = 1e-5,
        early_stopping: bool | str = "auto",
        validation_fraction: float = 0.1,
        early_stop_multiplier: float = 1.1,
        fit_intercept: bool = True,
        dtype: str = "auto",
        memory_limit: int | str = "auto",
        backend: str | Backend = "auto",
        random_state: Any = None,
        verbose: int = 0,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.kernel = kernel
        self.bandwidth = bandwidth
        self.reg = reg
        self.epochs = epochs
        self.n_subsample = n_subsample
        self.top_q = top_q
        self.batch_size = batch_size
        self.tol = tol
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.early_stop_multiplier = early_stop_multiplier
        self.fit_intercept = fit_intercept
        self.dtype = dtype
        self.memory_limit = memory_limit
        self.backend = backend
        self.random_state = random_state
        self.verbose = verbose
        self.callbacks = callbacks

    def __sklearn_tags__(self) -> Tags:
        """Return the tags: several targets are accepted."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        X_val: ArrayLike | None = None,
        y_val: ArrayLike | None = None,
    ) -> EigenProRegressor:
        """Fit the coefficients.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training rows.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets.
        sample_weight : float or array-like of shape (n_samples,), optional
            Weights of the squared errors; 0 leaves a row out, 2 counts it twice.
        X_val, y_val : array-like, optional
            Validation rows, in place of held-out ones; the best pass on them is kept,
            and they stop the fit unless `early_stopping` is False.

        Returns
        -------
        EigenProRegressor
            The fitted estimator.

        Raises
        ------
        InvalidInputError
            If a parameter is outside its range.
        MemoryLimitError
            If the fit would exceed `memory_limit`; nothing was allocated.
        DivergenceError
            If the residual grows however small the steps are.
        """
        self._check_parameters()
        rows, targets = validate_data(
            self,
            X,
            y,
            multi_output=True,
            y_numeric=True,
            dtype=[np.float64, np.float32],
        )
        weights = _check_sample_weight(
            sample_weight, rows, dtype=np.float64, ensure_non_negative=True
        )
        self._single = targets.ndim == 1
        data = with_weight(rows, targets.reshape(len(rows), -1), weights)
        validation = given_validation(X_val, y_val, data)
        seeds = seed_sequence(self.random_state).spawn(4)
        split, sub, order, bandwidth = map(np.random.default_rng, seeds)
        self.kernel_ = resolve_kernel(
            self.kernel, self.bandwidth, X=data.X, rng=bandwidth
        )
        spec = self.kernel_.to_spec()
        backend = self._get_backend(spec, *data.X.shape)
        default = backend.info.default_dtype
        self.dtype_ = default if self.dtype == "auto" else self.dtype
        self.backend_ = backend.info.name
        holds_out = validation is None and self._stops_early(len(data.X))
        n_train = len(data.X)
        if holds_out:
            n_train -= int(np.ceil(self.validation_fraction * n_train))
        self.n_subsample_ = self._plan_memory(n_train, data)
        if holds_out:
            data, validation = hold_out(data, self.validation_fraction, split)
        center = np.zeros(data.Y.shape[1])
        if self.fit_intercept:
            center = np.average(data.Y, axis=0, weights=data.weights)
        self._intercept = center
        problem = self._problem(backend, spec, data, center, sub)
        self._run(problem, data, validation, order)
        return self

    def _check_parameters(self) -> None:
        check_real("reg", self.reg, minimum=0)
        check_integer("epochs", self.epochs, minimum=1)
        for name in ("n_subsample", "top_q", "batch_size"):
            value = getattr(self, name)
            if isinstance(value, str):
                check_choice(name, value, ("auto",))
            else:
                check_integer(name, value, minimum=1)
        check_real("tol", self.tol, minimum=0)
        check_early_stopping(
            self.early_stopping, self.validation_fraction, self.early_stop_multiplier
        )
        check_choice("dtype", self.dtype, ("auto", "float32", "float64"))

    def _stops_early(self, n: int) -> bool:
        if self.early_stopping == "auto":
            return self.reg == 0 and n >= _SMALLEST_EARLY_STOPPING
        return bool(self.early_stopping)

    def _plan_memory(self, n: int, data: Rows) -> int:
        """Return the size of the subsample, or refuse before anything is allocated."""
        limit = resolve_memory_limit(self.memory_limit)
        d, c = data.X.shape[1], data.Y.shape[1]
        if isinstance(self.n_subsample, str):
            size = choose_subsample(n, d, c, self.dtype_, limit)
        else:
            size = min(self.n_subsample, n)
        require_memory(
            eigenpro_bytes(n, d, c, size, self.dtype_),
            limit,
            what=f"EigenProRegressor on n={n} rows with n_subsample={size}",
            alternative="set a smaller n_subsample, take fewer rows or raise "
            "memory_limit",
        )
        return size

    def _problem(
        self,
        backend: Backend,
        spec: KernelSpec,
        data: Rows,
        center: NDArray,
        rng: np.random.Generator,
    ) -> EigenProProblem:
        config = EigenProConfig(
            kernel=spec,
            reg=float(self.reg),
            top_q=None if isinstance(self.top_q, str) else int(self.top_q),
            batch_size=(
                None if isinstance(self.batch_size, str) else int(self.batch_size)
            ),
            dtype=self.dtype_,
        )
        n = len(data.X)
        self.n_subsample_ = min(self.n_subsample_, n)
        sub = np.sort(rng.choice(n, self.n_subsample_, replace=False))
        problem = eigenpro_engine(backend).eigenpro(
            config, data.X, data.Y - center, data.weights, sub
        )
        found = problem.prepare()
        self.top_q_, self.batch_size_ = found.top_q, found.batch_size
        return problem

    def _run(
        self,
        problem: EigenProProblem,
        data: Rows,
        validation: Rows | None,
        rng: np.random.Generator,
    ) -> None:
        progress, start = progress_callback(self.verbose), time.perf_counter()

        def send(kind: str, step: int, metrics: dict[str, Any]) -> None:
            event = Event(
                kind=kind,
                task="eigenpro",
                step=step,
                total=self.epochs,
                metrics=metrics,
                elapsed=time.perf_counter() - start,
            )
            for callback in (progress, *self.callbacks):
                callback(event)

        stops = validation is not None and self.early_stopping is not False
        with progress:
            send("start", 0, {})
            try:
                found = run_epochs(
                    problem,
                    epochs=self.epochs,
                    rng=rng,
                    tol=float(self.tol),
                    validate=_validator(problem, validation, self._intercept),
                    stop_multiplier=self.early_stop_multiplier if stops else None,
                    report=lambda entry: send("step", entry["epoch"], entry),
                )
            except KeyboardInterrupt as interrupt:
                partial = getattr(interrupt, "passes", None)
                if partial is not None and partial.best_epoch > 0:
                    self._keep(problem, data, partial)
                raise
            self._keep(problem, data, found)
            send("end", len(found.history), {})

    def _keep(self, problem: EigenProProblem, data: Rows, found: Passes) -> None:
        alpha = problem.coefficients(found.state)
        single = self._single
        self.dual_coef_ = alpha[:, 0] if single else alpha
        self.intercept_ = float(self._intercept[0]) if single else self._intercept
        self.X_fit_ = np.ascontiguousarray(data.X, dtype=self.dtype_)
        self.n_iter_ = found.best_epoch
        self.history_ = found.history

    def predict(self, X: ArrayLike) -> NDArray:
        """Return the predictions.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_targets)
            In the precision of `dtype`.
        """
        check_is_fitted(self)
        rows = validate_data(self, X, reset=False, dtype=[np.float64, np.float32])
        spec = self.kernel_.to_spec()
        engine = eigenpro_engine(self._get_backend(spec, *self.X_fit_.shape))
        config = EigenProConfig(kernel=spec, dtype=self.dtype_)
        alpha = self.dual_coef_.reshape(len(self.X_fit_), -1)
        parts = []
        for start in range(0, len(rows), _PREDICT_BLOCK):
            block = rows[start : start + _PREDICT_BLOCK]
            # A few sizes of query serve all, so that new lengths compile nothing.
            outputs = engine.predict(config, pad_rows(block), self.X_fit_, alpha)
            parts.append(outputs[: len(block)])
        values = np.concatenate(parts).reshape(len(rows), *self.dual_coef_.shape[1:])
        return values + np.asarray(self.intercept_, values.dtype)

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Save the fitted estimator in a folder; nothing is pickled.

        Raises
        ------
        InvalidInputError
            If a parameter cannot be stored, such as a kernel made of functions.
        """
        check_is_fitted(self)
        arrays: dict[str, Any] = {
            "dual_coef_": self.dual_coef_,
            "X_fit_": self.X_fit_,
        }
        names = ("kernel_", "n_iter_", "history_", "n_subsample_", "top_q_")
        state = {
            name: getattr(self, name)
            for name in (*names, "batch_size_", "backend_", "dtype_")
        }
        single = isinstance(self.intercept_, float)
        (state if single else arrays).update(intercept_=self.intercept_)
        save_estimator(self, directory, arrays, state)

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> EigenProRegressor:
        """Return the estimator that :meth:`save` wrote.

        Raises
        ------
        CheckpointError
            If the folder is missing, damaged or holds another class.
        """
        return load_estimator(cls, directory)

    def _get_backend(self, spec: KernelSpec, n: int, d: int) -> Backend:
        dtype = None if self.dtype == "auto" else self.dtype
        return get_backend(
            self.backend, *OPERATIONS, kernel=spec, dtype=dtype, n=n, d=d
        )


def _validator(
    problem: EigenProProblem, validation: Rows | None, intercept: NDArray
) -> Callable[[Array], float] | None:
    """Return the mean squared error of a state at the validation rows."""
    if validation is None:
        return None

    def validate(state: Array) -> float:
        outputs = problem.predict(validation.X, state)
        loss = np.mean((outputs + intercept - validation.Y) ** 2, axis=1)
        return float(np.average(loss, weights=validation.weights))

    return validate
