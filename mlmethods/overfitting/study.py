"""The risk of any learner over sizes, seeds and noise levels."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlmethods.common.cells import CellStore
from mlmethods.common.progress import progress_callback
from mlmethods.common.rng import seed_sequence
from mlmethods.common.validation import check_choice, check_integer, check_real
from mlmethods.errors import (
    InvalidInputError,
    NotInterpolatedWarning,
)
from mlmethods.interfaces import ArrayLike, Backend, Callback, Event, NDArray
from mlmethods.overfitting._cells import COLUMNS, Cells
from mlmethods.overfitting._learners import resolve_task
from mlmethods.overfitting._samples import (
    VERDICT,
    DataSource,
    ProblemSource,
    Source,
    check_rows,
    stream,
)
from mlmethods.overfitting.problems import Problem
from mlmethods.overfitting.result import StudyResult
from mlmethods.overfitting.verdict import TASKS, classify_overfitting

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["OverfittingStudy", "StudyResult"]

_FORMAT_VERSION = 1


class OverfittingStudy:
    """Fit a learner at several sizes and noise levels, and say what noise costs.

    Parameters
    ----------
    learner : Kernel, or object with fit and predict
        What is studied: any estimator or pipeline of scikit-learn's kind, cloned for
        every run. A kernel stands for ``KernelRidge(kernel, reg=0)``. Every parameter
        called `random_state` is set from the stream of the run.
    n_grid : sequence of int
        Numbers of training rows, best five or more that grow geometrically.
    noise_levels : sequence of float, optional
        Variances of the Gaussian noise added to training targets for regression;
        shares of training labels replaced for classification. Best three or more, 0
        among them. By default 0, half of the variance of the targets and all of it
        (1 where they are constant), or shares of 0, 0.2 and 0.4.
    n_seeds : int, default=5
        Repetitions, each with its own rows and noise.
    task : {"auto", "regression", "classification"}, default="auto"
        ``"auto"``: classifiers classify and regressors regress. A kernel or a
        :class:`~mlmethods.kernels.KernelRidge` takes targets of a floating dtype as
        numbers and all others as labels.
    nested : bool, default=True
        Whether the rows of a smaller n are the first rows of a larger one of the same
        seed. False draws them independently.
    test_size : float or int, optional
        Share or number of the rows held out; by default a fifth, 5000 at most. A
        problem brings its own.
    n_draws : int, optional
        Draws of the noise that each run averages over, with the rows fixed; by default
        16 for a kernel, a ``KernelRidge`` and regressors of nearest neighbors, to which
        they cost little, and 1 for any other learner.
    noise_kind : {"symmetric", "uniform", "pair", "matrix"}, default="symmetric"
        How labels are replaced; see :func:`add_label_noise`.
    matrix : array-like of shape (K, K), optional
        For ``noise_kind="matrix"``.
    bayes : float, optional
        The least possible risk; see :func:`classify_overfitting`.
    theory : {"benign", "tempered", "catastrophic"}, optional
        What theory predicts, for comparison only.
    store : path-like, optional
        A folder that keeps every finished run, so that a study that was stopped, even
        killed, continues, and one with more sizes, seeds or levels adds to it. Needs
        an integer `random_state`.
    max_seconds : float, optional
        No size and seed is started after this time; the result then has
        ``complete=False``.
    n_bootstrap : int, default=1000
        Resamples for the verdict.
    backend : str or Backend, default="auto"
        What computes where `learner` is a kernel; see :func:`mlmethods.get_backend`.
    random_state : None, int, numpy.random.RandomState or Generator, default=0
        The root of all streams.
    verbose : int, default=0
        Above 0 draws progress.
    callbacks : sequence of callables, default=()
        Each receives a :class:`mlmethods.interfaces.Event` after each size and seed.

    Notes
    -----
    The given targets count as noiseless. Noise is added to those of training rows
    only. The risk is measured on noiseless test targets: the share of wrong labels, or
    the mean squared error plus the variance of the noise, which is the expected error
    on noisy test targets with less variance. Whatever noise the given targets already
    have is part of the risk at level 0.

    Every run has its own stream of random numbers, derived from `random_state` and
    its size, seed and level. More sizes, seeds or levels leave the other runs as they
    are. With data of limited size the rows of different seeds overlap.

    ``KernelRidge`` fits all noise levels of a size and seed with one factorization,
    and `resolved` and `cond` come from
    :func:`mlmethods.kernels.kernel_diagnostics`. For other learners, and for solvers
    that iterate, `cond` is NaN and `resolved` True.

    A run interpolates if its training error is 0: no wrong label, or a mean squared
    error of at most 1e-8 of the variance of its targets.

    References
    ----------
    N. Mallinar, J. B. Simon, A. Abedsoltan, P. Pandit, M. Belkin, P. Nakkiran, "Benign,
    Tempered, or Catastrophic: A Taxonomy of Overfitting", NeurIPS 2022.

    Examples
    --------
    Averages of the nearest 20 neighbors on a synthetic problem:

    >>> from sklearn.neighbors import KNeighborsRegressor
    >>> from mlmethods.overfitting import OverfittingStudy, sphere_problem
    >>> study = OverfittingStudy(
    ...     KNeighborsRegressor(20), n_grid=[50, 100, 200], noise_levels=[0, 1]
    ... )
    >>> result = study.run(sphere_problem(3))
    >>> bool(abs(result.verdict.e0["e0"].iloc[-1] - 1.05) < 0.02)
    True
    """

    def __init__(
        self,
        learner: Any,
        n_grid: Sequence[int],
        noise_levels: Sequence[float] | None = None,
        n_seeds: int = 5,
        *,
        task: str = "auto",
        nested: bool = True,
        test_size: float | None = None,
        n_draws: int | None = None,
        noise_kind: str = "symmetric",
        matrix: ArrayLike | None = None,
        bayes: float | None = None,
        theory: str | None = None,
        store: str | os.PathLike[str] | None = None,
        max_seconds: float | None = None,
        n_bootstrap: int = 1000,
        backend: str | Backend = "auto",
        random_state: Any = 0,
        verbose: int = 0,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.learner = learner
        self.n_grid = n_grid
        self.noise_levels = noise_levels
        self.n_seeds = n_seeds
        self.task = task
        self.nested = nested
        self.test_size = test_size
        self.n_draws = n_draws
        self.noise_kind = noise_kind
        self.matrix = matrix
        self.bayes = bayes
        self.theory = theory
        self.store = store
        self.max_seconds = max_seconds
        self.n_bootstrap = n_bootstrap
        self.backend = backend
        self.random_state = random_state
        self.verbose = verbose
        self.callbacks = callbacks

    def run(self, X: ArrayLike | Problem, y: ArrayLike | None = None) -> StudyResult:
        """Do all runs and judge them.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features), or Problem
            Rows, of which a test set is held out; or a problem to draw from.
        y : array-like of shape (n_samples,), optional
            Targets, taken as noiseless; None for a problem.

        Returns
        -------
        StudyResult

        Raises
        ------
        InvalidInputError
            If an argument is outside its range, or the targets are constant or of one
            class.

        Warns
        -----
        NotInterpolatedWarning
            If a kernel without a ridge does not fit its training set.
        MLMethodsWarning
            If a class is missing from a training set after its labels were replaced.
        """
        plan = _Plan(self)
        source, targets, task = self._source(X, y, plan)
        plan.choose_levels(targets, task)
        cells = Cells(
            self.learner,
            task,
            source,
            targets,
            base=plan.base,
            levels=plan.levels,
            noise_kind=self.noise_kind,
            matrix=self.matrix,
            n_draws=self.n_draws,
            backend=self.backend,
        )
        store = self._open_store(plan, source, cells)
        table, complete = self._sweep(plan, cells, store)
        if cells.learner.must_interpolate and not table["interpolates"].all():
            warnings.warn(
                f"{int((~table['interpolates']).sum())} of {len(table)} runs of "
                f"{cells.learner.estimator!r} do not fit their training set, because "
                "of rounding or of equal rows",
                NotInterpolatedWarning,
                stacklevel=2,
            )
        verdict = classify_overfitting(
            table,
            bayes=plan.bayes,
            task=task,
            n_bootstrap=self.n_bootstrap,
            random_state=np.random.default_rng(stream(plan.base, VERDICT)),
            chance=cells.chance,
            theory=self.theory,
        )
        settings = {
            "learner": repr(cells.learner.estimator),
            "task": task,
            "n_grid": plan.n_grid,
            "noise_levels": plan.levels,
            "n_seeds": plan.n_seeds,
            "nested": bool(self.nested),
            "n_draws": cells.n_draws,
            "noise_kind": self.noise_kind if task == "classification" else "gaussian",
            "n_test": len(source.y_test),
            "random_state": str(plan.base.entropy),
        }
        return StudyResult(
            table=table, verdict=verdict, settings=settings, complete=complete
        )

    def _source(
        self, X: Any, y: Any, plan: _Plan
    ) -> tuple[DataSource | ProblemSource, NDArray, str]:
        """Return where rows come from, all targets that are known, and the task."""
        if isinstance(X, Problem):
            if y is not None or self.test_size is not None:
                raise InvalidInputError(
                    "y and test_size must be None for a problem, which has its own"
                )
            drawn = ProblemSource(X, plan.base, nested=bool(self.nested))
            task = self.task if self.task != "auto" else X.task
            return drawn, drawn.y_test, resolve_task(task, self.learner, drawn.y_test)
        if y is None:
            raise InvalidInputError("y must be given unless X is a Problem")
        rows, targets = check_rows(X, y)
        task = resolve_task(self.task, self.learner, targets)
        if len(targets) and (targets == targets[0]).all():
            what = "of one class" if task == "classification" else "constant"
            raise InvalidInputError(
                f"y must vary, got targets that are {what}; the cost of noise alone is "
                "measured on a Problem such as sphere_problem"
            )
        given = DataSource(
            rows,
            targets,
            plan.base,
            nested=bool(self.nested),
            test_size=self.test_size,
            largest=plan.n_grid[-1],
        )
        return given, targets, task

    def _open_store(
        self, plan: _Plan, source: Source, cells: Cells
    ) -> CellStore | None:
        if self.store is None:
            return None
        if not isinstance(self.random_state, int | np.integer):
            raise InvalidInputError(
                "random_state must be an integer for a study with a store, got "
                f"{self.random_state!r}"
            )
        config = {
            "version": _FORMAT_VERSION,
            "learner": cells.learner.describe(),
            "task": cells.task,
            "source": source.fingerprint(),
            "nested": bool(self.nested),
            "n_draws": cells.n_draws,
            "random_state": int(self.random_state),
        }
        if cells.task == "classification":
            config["noise"] = cells.transition.tolist()
        return CellStore(self.store, config)

    def _sweep(
        self, plan: _Plan, cells: Cells, store: CellStore | None
    ) -> tuple[pd.DataFrame, bool]:
        import pandas as pd

        start = time.perf_counter()
        total = len(plan.n_grid) * plan.n_seeds
        progress = progress_callback(self.verbose)

        def report(kind: str, step: int, **metrics: Any) -> None:
            event = Event(
                kind=kind,
                task="overfitting",
                step=step,
                total=total,
                metrics=metrics,
                elapsed=time.perf_counter() - start,
            )
            for callback in (progress, *self.callbacks):
                callback(event)

        frames: list[pd.DataFrame] = []
        # Small sizes first: what a limit of time leaves is whole sizes.
        groups = [(n, seed) for n in plan.n_grid for seed in range(plan.n_seeds)]
        with progress:
            report("start", 0)
            for step, (n, seed) in enumerate(groups):
                late = time.perf_counter() - start > plan.max_seconds
                if late and step > 0:
                    break
                rows = _stored(store, n, seed, plan.levels)
                if rows is None:
                    rows = cells.compute(n, seed)
                    if store is not None:
                        for level, row in zip(plan.levels, rows, strict=True):
                            store.put(row, n=n, seed=seed, noise=level)
                frames += rows
                risk = float(np.mean([row["risk"].iloc[0] for row in rows]))
                report("step", step + 1, n=n, seed=seed, risk=risk)
            report("end", len(frames) // len(plan.levels))
        table = pd.concat(frames, ignore_index=True)[list(COLUMNS)]
        return table, len(frames) == total * len(plan.levels)


class _Plan:
    """The arguments of a study, checked."""

    def __init__(self, study: OverfittingStudy) -> None:
        sizes = [
            check_integer("n_grid", n, minimum=2)
            for n in np.atleast_1d(np.asarray(study.n_grid)).tolist()
        ]
        check_choice("task", study.task, ("auto", *TASKS))
        self.n_grid = _different("n_grid", sizes)
        self.levels: list[float] = []
        self.n_seeds = check_integer("n_seeds", study.n_seeds, minimum=1)
        self.bayes = study.bayes
        if study.noise_levels is not None:
            levels = [
                check_real("noise_levels", level, minimum=0) + 0.0
                for level in np.atleast_1d(np.asarray(study.noise_levels)).tolist()
            ]
            self.levels = _different("noise_levels", levels)
            if len(levels) < 2 and self.bayes is None:
                raise InvalidInputError(
                    "noise_levels must hold at least two levels unless bayes is given, "
                    f"got {levels}"
                )
        self.max_seconds = np.inf
        if study.max_seconds is not None:
            self.max_seconds = check_real(
                "max_seconds", study.max_seconds, minimum=0, open_minimum=True
            )
        self.base = seed_sequence(study.random_state)

    def choose_levels(self, targets: NDArray, task: str) -> None:
        """Choose noise levels for these targets if none were given."""
        if self.levels:
            return
        if task == "classification":
            self.levels = [0.0, 0.2, 0.4]
            return
        variance = float(np.var(targets)) or 1.0
        self.levels = [0.0, variance / 2, variance]


def _different(name: str, values: list[Any]) -> list[Any]:
    if not values or len(set(values)) < len(values):
        raise InvalidInputError(
            f"{name} must hold different values, at least one, got {values}"
        )
    return sorted(values)


def _stored(
    store: CellStore | None, n: int, seed: int, levels: Sequence[float]
) -> list[pd.DataFrame] | None:
    """Return the runs of a size and seed if the store has all of them."""
    if store is None:
        return None
    rows = []
    for level in levels:
        row = store.get(n=n, seed=seed, noise=level)
        if row is None or list(row.columns) != list(COLUMNS):
            return None
        rows.append(row)
    return rows
