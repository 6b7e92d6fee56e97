"""What the tabular benchmark does with one table."""

from __future__ import annotations

import functools
import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mlmethods.interfaces import Backend, NDArray
from mlmethods.rfm.benchmarks.methods import Choice, Method, build_methods

if TYPE_CHECKING:
    import pandas as pd

    from mlmethods.common.cells import CellStore

__all__ = ["LeakFree", "Leaky", "Problem", "Settings", "run_table"]

_HELD_OUT = 0.2
# The published script never divides the rows of this one by their norm.
_NEVER_UNIT_ROWS = ("balance-scale",)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What all tables of a run share."""

    leaky: bool
    n_folds: int
    regs: tuple[float, ...]
    n_trees: int
    backend: str | Backend
    dtype: str
    seed: int
    cells: Path | None

    def store(self) -> CellStore | None:
        """Return where finished cells are kept, if anywhere."""
        if self.cells is None:
            return None
        from mlmethods import __version__
        from mlmethods.common.cells import CellStore

        backend = self.backend
        config = {
            "experiment": "rfm-tabular",
            "version": __version__,
            "leaky": self.leaky,
            "n_folds": self.n_folds,
            "regs": list(self.regs),
            "n_trees": self.n_trees,
            "backend": backend if isinstance(backend, str) else backend.info.name,
            "dtype": self.dtype,
            "seed": self.seed,
        }
        return CellStore(self.cells, config)


@dataclass(frozen=True, eq=False)
class Problem:
    """A classification table, with its classes as 0, 1, ..."""

    name: str
    X: pd.DataFrame
    y: NDArray
    selection: tuple[NDArray, NDArray] | None
    folds: tuple[tuple[NDArray, NDArray], ...]

    def digest(self) -> str:
        """Return a hash of the data, by which a finished cell is found again."""
        import pandas as pd

        rows = pd.util.hash_pandas_object(self.X, index=False).to_numpy()
        content = hashlib.sha256(rows.tobytes() + self.y.astype(np.int64).tobytes())
        selection = () if self.selection is None else (self.selection,)
        for split in (*selection, *self.folds):
            content.update(b"".join(part.astype(np.int64).tobytes() for part in split))
        return content.hexdigest()


def run_table(
    problem: Problem, own: Mapping[str, Any], settings: Settings
) -> list[pd.DataFrame]:
    """Return one frame for each fold and method, in a process that may be its own."""
    known = build_methods(
        regs=settings.regs,
        n_trees=settings.n_trees,
        backend=settings.backend,
        dtype=settings.dtype,
        seed=settings.seed,
    )
    methods = {
        name: known[name] if classifier is None else _as_it_is(classifier)
        for name, classifier in own.items()
    }
    store = settings.store()
    digest = "" if store is None else problem.digest()
    trial = (Leaky if settings.leaky else LeakFree)(problem, methods, settings)
    frames = []
    for fold, split in enumerate(folds(problem, settings)):
        for name in methods:
            run = functools.partial(_cell, problem, trial, name, fold, *split)
            if store is None:
                frames.append(run())
                continue
            cell = {
                "dataset": problem.name,
                "data": digest,
                "method": name,
                "classifier": _description(own[name]),
                "fold": fold,
            }
            frames.append(store.compute(run, **cell))
    return frames


def _as_it_is(classifier: Any) -> Method:
    from sklearn.base import clone

    return Method(build=lambda y: clone(classifier), scales_rows=False)


def _description(classifier: Any) -> str:
    if classifier is None:
        return ""
    return f"{type(classifier).__qualname__} {sorted(classifier.get_params().items())}"


def folds(problem: Problem, settings: Settings) -> Sequence[tuple[NDArray, NDArray]]:
    """Return the published folds, or stratified ones."""
    from sklearn.model_selection import StratifiedKFold

    if problem.folds:
        return problem.folds
    folds = StratifiedKFold(settings.n_folds, shuffle=True, random_state=settings.seed)
    return list(folds.split(problem.X, problem.y))


def _cell(
    problem: Problem,
    trial: LeakFree | Leaky,
    name: str,
    fold: int,
    train: NDArray,
    test: NDArray,
) -> pd.DataFrame:
    import pandas as pd

    start = time.perf_counter()
    labels, choice = trial.predict(name, train, test)
    return pd.DataFrame(
        {
            "dataset": [problem.name],
            "n": [len(problem.y)],
            "d": [problem.X.shape[1]],
            "classes": [int(problem.y.max()) + 1],
            "method": [name],
            "fold": [fold],
            "accuracy": [float(np.mean(labels == problem.y[test]))],
            "seconds": [time.perf_counter() - start],
            "chosen": [str(choice)],
        }
    )


class _Fold(NamedTuple):
    """A training fold, and as its rows are coded for the choice and for the fit."""

    seen: NDArray
    held: NDArray
    choice: tuple[NDArray, NDArray]
    fit: tuple[NDArray, NDArray]


class LeakFree:
    """Choose settings inside each training fold; test rows are only predicted."""

    def __init__(
        self, problem: Problem, methods: Mapping[str, Method], settings: Settings
    ) -> None:
        self._problem = problem
        self._methods = methods
        self._seed = settings.seed
        self._scale = problem.name not in _NEVER_UNIT_ROWS
        self._coded: dict[bytes, _Fold] = {}

    def predict(
        self, name: str, train: NDArray, test: NDArray
    ) -> tuple[NDArray, Choice]:
        """Return the labels of the test rows, and what they were predicted with."""
        y, method = self._problem.y, self._methods[name]
        fold = self._fold(train, test)
        X_seen, X_held = fold.choice
        choice = method.choose(
            X_seen, y[fold.seen], X_held, y[fold.held], scale=self._scale
        )
        X_train, X_test = fold.fit
        return method.predict(choice, X_train, y[train], X_test), choice

    def _fold(self, train: NDArray, test: NDArray) -> _Fold:
        key = np.asarray(train).tobytes()
        if key not in self._coded:
            # One split decides for every method.
            seen, held = _two_parts(
                train, self._problem.y[train], _HELD_OUT, self._seed
            )
            X = self._problem.X
            self._coded = {
                key: _Fold(seen, held, _coded(X, seen, held), _coded(X, train, test))
            }
        return self._coded[key]


class Leaky:
    """Choose settings and the matrix on halves of the whole table, as published."""

    def __init__(
        self, problem: Problem, methods: Mapping[str, Method], settings: Settings
    ) -> None:
        everything = np.arange(len(problem.y))
        self._y = problem.y
        self._methods = methods
        self._scale = problem.name not in _NEVER_UNIT_ROWS
        # Coded as a whole, like the paper's files.
        self._X = _coded(problem.X, everything, everything)[0]
        self._halves = problem.selection or _two_parts(
            everything, problem.y, 0.5, settings.seed
        )
        self._choose = functools.cache(self._choice)

    def _choice(self, name: str) -> Choice:
        seen, held = self._halves
        X, y = self._X, self._y
        return self._methods[name].choose(
            X[seen], y[seen], X[held], y[held], scale=self._scale
        )

    def predict(
        self, name: str, train: NDArray, test: NDArray
    ) -> tuple[NDArray, Choice]:
        """Return the labels of the test rows, and what they were predicted with."""
        choice, method = self._choose(name), self._methods[name]
        predict = method.predict if choice.M is None else method.predict_with_matrix
        X, y = self._X, self._y
        return predict(choice, X[train], y[train], X[test]), choice


def _two_parts(
    rows: NDArray, y: NDArray, share: float, seed: int
) -> tuple[NDArray, NDArray]:
    """Split rows, stratified where there are enough of each class."""
    from sklearn.model_selection import train_test_split

    counts = np.bincount(y)
    counts = counts[counts > 0]
    enough = counts.min() >= 2 and int(share * len(y)) >= len(counts)
    first, second = train_test_split(
        rows, test_size=share, stratify=y if enough else None, random_state=seed
    )
    return first, second


def _coded(X: pd.DataFrame, train: NDArray, other: NDArray) -> tuple[NDArray, NDArray]:
    """Return rows as numbers; scales, medians and codes are those of `train`."""
    from sklearn.compose import ColumnTransformer, make_column_selector
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    fill = SimpleImputer(strategy="median", keep_empty_features=True)
    codes = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    encode = ColumnTransformer(
        [
            (
                "numbers",
                make_pipeline(fill, StandardScaler()),
                make_column_selector(dtype_include="number"),
            ),
            ("codes", codes, make_column_selector(dtype_exclude="number")),
        ]
    )
    return encode.fit_transform(X.iloc[train]), encode.transform(X.iloc[other])
