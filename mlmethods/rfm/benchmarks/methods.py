"""The classifiers of the tabular benchmark, and how each chooses its settings."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from mlmethods.interfaces import Backend, NDArray

__all__ = ["METHODS", "Choice", "Method", "build_methods"]

METHODS = (
    "RFM",
    "Laplace kernel",
    "Gaussian kernel",
    "ridge",
    "random forest",
    "gradient boosting",
    "SVM",
    "MLP",
    "kNN",
)
"""The methods that :func:`mlmethods.rfm.benchmarks.run_tabular` knows by name."""

# The published loop scores the iterate before each of five updates.
_UPDATES = 4
_WIDTH = 32
_HELD_SHARE = 0.1
_PASSES = 60


class Choice(NamedTuple):
    """What did best on the validation rows.

    Attributes
    ----------
    unit_rows : bool
        Whether rows are divided by their norm.
    params : dict
        Settings of the classifier.
    M : ndarray or None
        The matrix that an RFM learned from the rows that were seen.
    """

    unit_rows: bool
    params: dict[str, Any]
    M: NDArray | None = None

    def __str__(self) -> str:
        settings = {"unit_rows": self.unit_rows, **self.params}
        return ", ".join(f"{name}={value}" for name, value in settings.items())


@dataclass(frozen=True, kw_only=True)
class Method:
    """A classifier with the settings that are tried.

    Attributes
    ----------
    build : callable
        Makes the classifier for the labels of its training rows.
    grid : mapping
        Values to try of each of its settings.
    scales_rows : bool
        Whether rows of unit norm are tried too.
    machine : bool
        Whether it is an RFM, which is scored after each of its updates.
    width : int
        Columns of zeros are added up to a multiple of it.
    """

    build: Callable[[NDArray], Any]
    grid: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    scales_rows: bool = True
    machine: bool = False
    width: int = 1

    def choose(
        self, X: NDArray, y: NDArray, X_val: NDArray, y_val: NDArray, *, scale: bool
    ) -> Choice:
        """Try every setting on validation rows; the earliest of equals wins.

        `scale` says whether unit rows may be tried.
        """
        from sklearn.model_selection import ParameterGrid

        both = (False, True) if self.scales_rows and scale else (False,)
        candidates = [
            (params, unit_rows)
            for params in ParameterGrid(dict(self.grid))
            for unit_rows in both
            # There are no more neighbors than rows.
            if params.get("n_neighbors", 1) <= len(X)
        ]
        if len(candidates) == 1 and not self.machine:
            params, unit_rows = candidates[0]
            return Choice(unit_rows, params)
        best, chosen = -1.0, None
        for params, unit_rows in candidates:
            rows, held = (self._inputs(part, unit_rows) for part in (X, X_val))
            found = self._scores(params, unit_rows, rows, y, held, y_val)
            for choice, score in found:
                if score > best:
                    best, chosen = score, choice
        assert chosen is not None  # every score exceeds -1
        return chosen

    def _scores(
        self,
        params: dict[str, Any],
        unit_rows: bool,
        X: NDArray,
        y: NDArray,
        X_val: NDArray,
        y_val: NDArray,
    ) -> Iterator[tuple[Choice, float]]:
        model = self.build(y).set_params(**params)
        if not self.machine:
            score = _quietly(model.fit, X, y).score(X_val, y_val)
            yield Choice(unit_rows, params), float(score)
            return
        # A class that was not seen counts against every setting alike.
        known = np.isin(y_val, y)
        model.set_params(scoring="accuracy", refit=False)
        model.fit(X, y, X_val=X_val[known], y_val=y_val[known])
        scores = [row["validation_score"] for row in model.history_]
        chosen = {**params, "n_iter": int(np.argmax(scores))}
        yield Choice(unit_rows, chosen, model.M_), max(scores)

    def predict(self, choice: Choice, X: NDArray, y: NDArray, X_new: NDArray) -> Any:
        """Fit with the chosen settings and return the labels of other rows."""
        rows, new = (self._inputs(part, choice.unit_rows) for part in (X, X_new))
        model = self.build(y).set_params(**choice.params)
        return _quietly(model.fit, rows, y).predict(new)

    def predict_with_matrix(
        self, choice: Choice, X: NDArray, y: NDArray, X_new: NDArray
    ) -> Any:
        """Do the same with the matrix that was chosen, which is not learned again."""
        from mlmethods.rfm.network import matrix_power_psd

        assert choice.M is not None  # it is an RFM
        root = matrix_power_psd(choice.M, 0.5)
        rows, new = (self._inputs(part, choice.unit_rows) @ root for part in (X, X_new))
        model = self.build(y).set_params(**{**choice.params, "n_iter": 0})
        return model.fit(rows, y).predict(new)

    def _inputs(self, X: NDArray, unit_rows: bool) -> NDArray:
        if unit_rows:
            from sklearn.preprocessing import normalize

            X = normalize(X)
        # Zeros change no distance and no gradient; fewer widths compile less.
        return np.pad(X, [(0, 0), (0, -X.shape[1] % self.width)])


def _quietly(fit: Callable[..., Any], X: NDArray, y: NDArray) -> Any:
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        # A network that is stopped at its last pass is a model like any other.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return fit(X, y)


def build_methods(
    *,
    regs: Sequence[float],
    n_trees: int,
    backend: str | Backend,
    dtype: str,
    seed: int,
) -> dict[str, Method]:
    """Return the methods of the benchmark by name."""
    from sklearn.linear_model import RidgeClassifierCV
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.svm import SVC

    from mlmethods.rfm.estimators import RFMClassifier
    from mlmethods.rfm.functions import reference_params

    own = {"backend": backend, "dtype": dtype, "random_state": seed}
    # One precision of the solve: "auto" compiles two.
    own["solve_dtype"] = "float64"
    compiles = backend != "numpy"

    def kernel_machine(**settings: Any) -> Method:
        return Method(
            build=lambda y: RFMClassifier(**{**reference_params(), **own, **settings}),
            grid={"reg": list(regs)},
            machine=True,
            width=_WIDTH if compiles else 1,
        )

    # For a single solve a kernel of its own is not worth compiling.
    plain = {"backend": "numpy", "dtype": "auto"} if compiles else {}
    gaussian = {"kernel": "gaussian", "bandwidth": "median", "n_iter": 0, **plain}
    neighbors: dict[str, Sequence[Any]] = {"n_neighbors": [1, 5, 15]}
    return {
        "RFM": kernel_machine(n_iter=_UPDATES),
        "Laplace kernel": kernel_machine(n_iter=0),
        "Gaussian kernel": kernel_machine(**gaussian),
        "ridge": Method(build=lambda y: RidgeClassifierCV(np.logspace(-3, 3, 7))),
        "SVM": Method(build=lambda y: SVC(), grid={"C": [0.1, 1.0, 10.0, 100.0]}),
        "kNN": Method(build=lambda y: KNeighborsClassifier(), grid=neighbors),
        **_trees_and_network(n_trees, seed),
    }


def _trees_and_network(n_trees: int, seed: int) -> dict[str, Method]:
    """Return the methods that draw random numbers."""
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.neural_network import MLPClassifier

    def forest(y: NDArray) -> Any:
        return RandomForestClassifier(n_trees, random_state=seed, n_jobs=1)

    def boosting(y: NDArray) -> Any:
        return HistGradientBoostingClassifier(
            early_stopping=_can_hold_out(y), random_state=seed
        )

    def network(y: NDArray) -> Any:
        # A tenth of a small table is too little to stop by.
        return MLPClassifier((256, 256), max_iter=_PASSES, random_state=seed)

    return {
        "random forest": Method(build=forest, scales_rows=False),
        "gradient boosting": Method(build=boosting, scales_rows=False),
        "MLP": Method(build=network, scales_rows=False),
    }


def _can_hold_out(y: NDArray) -> bool:
    """Return whether a tenth of the rows can hold a row of each class."""
    counts = np.unique(y, return_counts=True)[1]
    return bool(counts.min() >= 2 and int(_HELD_SHARE * len(y)) >= len(counts))
