"""Classifiers on many small tables, beside RFM, with and without the paper's leak."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlmethods.common.validation import check_choice, check_integer
from mlmethods.errors import InvalidInputError, MLMethodsWarning
from mlmethods.interfaces import Backend, Callback, Event
from mlmethods.rfm.benchmarks.methods import METHODS
from mlmethods.rfm.benchmarks.trials import Problem, Settings, run_table

if TYPE_CHECKING:
    import pandas as pd

    from mlmethods.datasets import Table

__all__ = ["accuracy_by_dataset", "run_tabular", "summarize"]

# Fold means of equal hits differ in the last bits, and would not tie.
_DECIMALS = 12


def run_tabular(
    datasets: Sequence[str | Table],
    methods: Sequence[str] | Mapping[str, Any] = METHODS,
    *,
    protocol: str = "leak_free",
    n_folds: int = 4,
    regs: Sequence[float] = (10.0, 1.0, 0.1, 0.01, 0.001),
    n_trees: int = 500,
    backend: str | Backend = "auto",
    dtype: str = "auto",
    random_state: int = 0,
    n_jobs: int = 1,
    cells: str | os.PathLike[str] | None = None,
    data_root: str | os.PathLike[str] | None = None,
    callbacks: Sequence[Callback] = (),
) -> pd.DataFrame:
    """Measure the accuracy of classifiers on tables by cross-validation.

    Parameters
    ----------
    datasets : sequence of str or Table
        Classification tables, or their names for
        :func:`mlmethods.datasets.load_table`. Published folds are used where a table
        has them.
    methods : sequence of str, or mapping of str to classifier
        Names in :data:`METHODS`, or scikit-learn classifiers of your own with their
        names, which are fitted as they are. A mapping may give None for a name in
        :data:`METHODS`.
    protocol : {"leak_free", "paper"}
        Where settings are chosen. ``"leak_free"``: inside each training fold, on a
        fifth of it; scaling, codes and the matrix of RFM are learned there too.
        ``"paper"``: once, on two halves of the whole table, as in the published
        script, with the matrix of RFM, which has then seen labels of test rows; it
        warns of it.
    n_folds : int
        Stratified folds, where none are published.
    regs : sequence of float
        Ridges that the kernel machines try.
    n_trees : int
        Of the random forest.
    backend, dtype
        Of RFM and the Laplace kernel.
    random_state : int
        For the folds and every method.
    n_jobs : int
        Tables at a time, in threads.
    cells : path-like, optional
        A folder in which every finished (table, method, fold) is kept, and found by
        the next run with the same settings: a long run that was interrupted goes on.
    data_root : path-like, optional
        Where named tables are looked for first.
    callbacks : sequence of callable
        Receive an event after each table.

    Returns
    -------
    pandas.DataFrame
        One row for each table, method and fold: ``dataset``, ``n``, ``d``,
        ``classes``, ``method``, ``fold``, ``accuracy``, ``seconds`` (to choose, fit
        and predict) and the settings ``chosen``.

    Raises
    ------
    InvalidInputError
        If a method or protocol is unknown, a table is no classification, or a name is
        given twice.
    DatasetNotFoundError
        If a named table is not on this machine.

    Notes
    -----
    Columns of numbers are standardized, missing ones filled with the median, and text
    is one-hot coded. RFM (bandwidth 10, four updates) is scored after each update;
    kernel machines, ridge, the SVM and the neighbors also try rows of unit norm. The
    SVM tries C in {.1, 1, 10, 100}, kNN 1, 5 and 15 neighbors, ridge seven penalties
    by leave-one-out. The MLP has two layers of 256 and 60 passes, gradient boosting
    stops early on a tenth of its rows, and neither tries anything.

    References
    ----------
    A. Radhakrishnan, D. Beaglehole, P. Pandit, M. Belkin, "Mechanism for feature
    learning in neural networks and backpropagation-free machine learning models",
    Science 383 (2024).

    Examples
    --------
    >>> from mlmethods.rfm.benchmarks import run_tabular
    >>> scores = run_tabular(["iris"], ["ridge", "kNN"])
    >>> scores.groupby("method")["accuracy"].count().tolist()
    [4, 4]
    """
    check_choice("protocol", protocol, ("leak_free", "paper"))
    settings = Settings(
        leaky=protocol == "paper",
        n_folds=check_integer("n_folds", n_folds, minimum=2),
        regs=tuple(float(reg) for reg in regs),
        n_trees=check_integer("n_trees", n_trees, minimum=1),
        backend=backend,
        dtype=dtype,
        seed=check_integer("random_state", random_state, minimum=0),
        cells=None if cells is None else Path(cells),
    )
    own = _own_classifiers(methods)
    problems = [_problem(entry, data_root) for entry in datasets]
    names = [problem.name for problem in problems]
    if not names or len(set(names)) != len(names):
        raise InvalidInputError(
            f"datasets must be tables of different names, got {', '.join(names)}"
        )
    if settings.leaky:
        warnings.warn(
            "protocol='paper' chooses settings and the matrix of RFM on rows that are "
            "test rows later; its accuracies are too high",
            MLMethodsWarning,
            stacklevel=2,
        )
    workers = check_integer("n_jobs", n_jobs, minimum=1)
    return _run(problems, own, settings, workers, callbacks)


def _run(
    problems: list[Problem],
    own: dict[str, Any],
    settings: Settings,
    workers: int,
    callbacks: Sequence[Callback],
) -> pd.DataFrame:
    """Run every method on every table, and say so after each table."""
    import pandas as pd
    from joblib import Parallel, delayed

    # The longest first, so that no thread ends up with one at the end.
    order = sorted(range(len(problems)), key=lambda i: -len(problems[i].y))
    runs = Parallel(n_jobs=workers, prefer="threads", return_as="generator")(
        delayed(run_table)(problems[i], own, settings) for i in order
    )
    start = time.perf_counter()
    found: dict[int, list[pd.DataFrame]] = {}
    for step, (i, frames) in enumerate(zip(order, runs, strict=True), start=1):
        found[i] = frames
        event = Event(
            kind="end" if step == len(order) else "step",
            task="rfm-tabular",
            step=step,
            total=len(order),
            elapsed=time.perf_counter() - start,
        )
        for callback in callbacks:
            callback(event)
    frames = [frame for i in range(len(problems)) for frame in found[i]]
    return pd.concat(frames, ignore_index=True)


def summarize(
    scores: pd.DataFrame,
    *,
    reference: str = "RFM",
    level: float = 0.95,
    n_resamples: int = 2000,
    random_state: Any = 0,
) -> pd.DataFrame:
    """Summarize the result of :func:`run_tabular` by method.

    Parameters
    ----------
    scores : pandas.DataFrame
        With the columns ``dataset``, ``method``, ``accuracy`` and ``seconds``; every
        method on every dataset.
    reference : str
        The method that the others are compared with.
    level : float
        Confidence of the intervals.
    n_resamples : int
        Of the bootstrap, which draws datasets.
    random_state : None, int or numpy.random.Generator
        Who draws.

    Returns
    -------
    pandas.DataFrame
        For each method, the best first: mean ``accuracy`` over datasets with its
        interval ``low``, ``high``; ``P90`` and ``P95``, the shares of datasets on
        which it reaches 90 and 95 percent of the best accuracy; ``PMA``, its mean
        fraction of the best accuracy; its mean ``rank``, ties sharing the average;
        ``gain``, the mean accuracy of the reference less its own, with the interval
        ``gain_low``, ``gain_high`` of the paired differences; total ``seconds``.

    Raises
    ------
    InvalidInputError
        If a method lacks a dataset, there are fewer than two datasets, or the
        reference is not among the methods.

    References
    ----------
    M. Fernandez-Delgado, E. Cernadas, S. Barro, D. Amorim, "Do we need hundreds of
    classifiers to solve real world classification problems?", JMLR 15 (2014).
    """
    import pandas as pd

    from mlmethods.common.rng import generator
    from mlmethods.common.statistics import bootstrap_ci

    by_set = accuracy_by_dataset(scores)
    if reference not in by_set.columns:
        raise InvalidInputError(
            f"reference must be one of {', '.join(by_set.columns)}, got {reference!r}"
        )
    rng = generator(random_state)
    options: dict[str, Any] = {"n": n_resamples, "level": level, "rng": rng}
    relative = by_set.div(by_set.max(axis=1), axis=0)
    ranks = by_set.rank(axis=1, ascending=False).mean()
    seconds = scores.groupby("method")["seconds"].sum()
    rows = {}
    for name, accuracy in by_set.items():
        method = str(name)
        mean = bootstrap_ci(accuracy, **options)
        gain = bootstrap_ci(by_set[reference], paired=accuracy, **options)
        rows[method] = {
            "accuracy": mean.estimate,
            "low": mean.low,
            "high": mean.high,
            "P90": (relative[method] >= 0.9).mean(),
            "P95": (relative[method] >= 0.95).mean(),
            "PMA": relative[method].mean(),
            "rank": ranks[method],
            "gain": gain.estimate,
            "gain_low": gain.low,
            "gain_high": gain.high,
            "seconds": seconds[method],
        }
    summary = pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")
    return summary.sort_values("accuracy", ascending=False)


def accuracy_by_dataset(scores: pd.DataFrame) -> pd.DataFrame:
    """Return mean accuracies, one row for each dataset and one column for each method.

    Raises
    ------
    InvalidInputError
        If a method lacks a dataset.
    """
    by_set = scores.pivot_table(index="dataset", columns="method", values="accuracy")
    if by_set.isna().any(axis=None):
        lacking = by_set.columns[by_set.isna().any()]
        raise InvalidInputError(
            f"scores must hold every method on every dataset, {', '.join(lacking)} "
            "lacks some"
        )
    return by_set.round(_DECIMALS)


def _problem(entry: str | Table, root: str | os.PathLike[str] | None) -> Problem:
    from mlmethods.datasets import load_table

    table = load_table(entry, root=root) if isinstance(entry, str) else entry
    if table.task != "classification":
        raise InvalidInputError(
            f"datasets must be classifications, {table.name!r} is a {table.task}"
        )
    y = np.unique(np.asarray(table.y), return_inverse=True)[1]
    return Problem(table.name, table.X, y, table.selection, table.folds)


def _own_classifiers(methods: Sequence[str] | Mapping[str, Any]) -> dict[str, Any]:
    """Return the methods asked for; None stands for one that is known by name."""
    own = dict(methods) if isinstance(methods, Mapping) else dict.fromkeys(methods)
    if isinstance(methods, str) or not own:
        raise InvalidInputError(
            f"methods must be a sequence of names or a mapping, got {methods!r}"
        )
    for name, classifier in own.items():
        if classifier is None:
            check_choice("methods", name, METHODS)
        elif not hasattr(classifier, "predict"):
            raise InvalidInputError(
                f"methods must map {name!r} to a classifier, got {classifier!r}"
            )
    return own
