"""Small classification tables, without a leak."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mlmethods.common.recipe import RecipeContext, recipe
from mlmethods.interfaces import NDArray
from mlmethods.rfm.recipes._shared import (
    FOREST,
    LAPLACE,
    PAPER,
    RFM,
    reference,
    splitter,
    value_name,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from sklearn.pipeline import Pipeline

_UCI_FOLDS = 4

# fmt: off
QUICK_SETS = (
    "bands", "breast", "bupa", "hayes-roth", "heart", "housevotes",
    "ionosphere", "iris", "led7digit", "mammographic", "monk-2",
    "movement_libras", "pima", "saheart", "sonar", "tae",
    "tic-tac-toe", "vehicle", "vowel", "wdbc",
)
# fmt: on
"""The first twenty of KEEL's sound balanced sets below 1,000 rows, by name."""
_UCI_UPDATES = 4
_LEAKY = "RFM, paper's protocol"
_REGS = {False: (1.0, 0.1, 0.001), True: (10.0, 1.0, 0.1, 0.01, 0.001)}
_TREES = {False: 100, True: 500}
_UCI_SLACK = {LAPLACE: 0.005, FOREST: 0.01}
_UCI_PUBLISHED = {LAPLACE: "85.4 and 83.8 %", FOREST: "85.4 and 82.0 %"}


@recipe(
    "rfm-uci",
    title="Twenty small tables, six methods, no leak",
    claim="RFM has the best average accuracy on 121 small classification tables",
    source=PAPER,
    criterion=(
        "the mean accuracy of RFM is at least the Laplace kernel's - 0.005 and at least "
        "the random forest's - 0.01: no worse than"
    ),
)
def uci(context: RecipeContext) -> None:
    """Classify the first twenty sound KEEL sets below 1,000 rows; in full, every one.

    Four stratified folds. Scaling, one-hot codes, ridge, row normalization and the
    number of updates are learned inside each training fold, the choices on a fifth of
    it; the feature matrix never sees a test row's label. Beside it stands the protocol of
    the paper's script, in which it does.
    """
    import pandas as pd

    problems = _uci_problems(context)
    rows: list[dict[str, Any]] = []
    for position, problem in enumerate(problems):
        rows += _classify(problem, context)
        context.progress(position + 1, len(problems))
    frame = pd.DataFrame(rows)
    context.table(frame, "folds")
    by_set = frame.pivot_table(index="dataset", columns="method", values="accuracy")
    context.table(by_set, "sets")
    leaky = by_set.pop(_LEAKY).mean()
    summary = summarize(by_set)
    context.table(summary, "summary")
    mean = summary["accuracy"]
    for method, measures in summary.iterrows():
        context.value(**{value_name(method, name): x for name, x in measures.items()})
    for peer, slack in _UCI_SLACK.items():
        context.check(
            claim=f"mean accuracy of RFM and of the {peer}",
            published=_UCI_PUBLISHED[peer],
            ours=f"{100 * mean[RFM]:.1f} and {100 * mean[peer]:.1f} %",
            tolerance_text=f"RFM at least the {peer} - {slack}",
            passed=mean[RFM] >= mean[peer] - slack,
        )
    context.value(rfm_accuracy_paper_protocol=leaky)
    context.note(
        f"The paper's protocol chooses the matrix on half of each table and keeps it for "
        "every fold, so that it has seen labels of test rows. Here that gives RFM "
        f"{100 * leaky:.1f} %; the table and the criterion are without that leak: "
        f"{100 * mean[RFM]:.1f} %."
    )
    context.note(
        f"Published averages are over 121 UCI sets, ours over {len(problems)} KEEL "
        "sets; there the matrix was chosen on a split that shares labels with the test "
        "folds, here it is learned again in each training fold."
    )
    context.figure(_draw_relative_accuracy(by_set), "accuracy")


@dataclass(frozen=True, eq=False)
class _Problem:
    """A classification table, with its classes as 0, 1, ..."""

    name: str
    X: pd.DataFrame
    y: NDArray


def _uci_problems(context: RecipeContext) -> list[_Problem]:
    from mlmethods.datasets import load_table
    from mlmethods.datasets.catalog import KEEL_NAMES, lookup

    problems = []
    for name in KEEL_NAMES if context.full else QUICK_SETS:
        entry = lookup(f"keel:{name}")
        if entry is not None and entry.sound:
            table = load_table(entry.name, root=context.data_root)
            y = np.unique(np.asarray(table.y), return_inverse=True)[1]
            problems.append(_Problem(name, table.X, y))
    return problems


def _classify(problem: _Problem, context: RecipeContext) -> Iterator[dict[str, Any]]:
    """Yield one row for each method and fold of a table."""
    from sklearn.model_selection import train_test_split

    folds = splitter("classification", _UCI_FOLDS, context.seed)
    leaky = _search_with_leak(problem, context)
    for fold, (train, test) in enumerate(folds.split(problem.X, problem.y)):
        X, y = problem.X.iloc[train], problem.y[train]
        # One split decides for every method.
        split = train_test_split(
            np.arange(len(train)), test_size=0.2, stratify=y, random_state=context.seed
        )
        searches = {**_searches(problem.X, context), _LEAKY: leaky}
        for method, search in searches.items():
            start = time.perf_counter()
            chosen = search(X, y, *split)
            accuracy = chosen.model.score(problem.X.iloc[test], problem.y[test])
            yield {
                "dataset": problem.name,
                "n": len(problem.X),
                "d": problem.X.shape[1],
                "classes": int(problem.y.max()) + 1,
                "method": method,
                "fold": fold,
                "accuracy": accuracy,
                "seconds": time.perf_counter() - start,
                "chosen": chosen.settings,
            }


def summarize(by_set: pd.DataFrame) -> pd.DataFrame:
    """Summarize accuracies of methods over datasets.

    Parameters
    ----------
    by_set : pandas.DataFrame of shape (n_datasets, n_methods)
        Accuracies.

    Returns
    -------
    pandas.DataFrame
        For each method, the best first: mean ``accuracy``; ``P90`` and ``P95``, the
        shares of datasets on which it reaches 90 and 95 percent of the best accuracy;
        ``PMA``, its mean fraction of the best accuracy; its mean ``rank``, ties
        sharing the average.

    References
    ----------
    M. Fernandez-Delgado, E. Cernadas, S. Barro, D. Amorim, "Do we need hundreds of
    classifiers to solve real world classification problems?", JMLR 15 (2014).
    """
    import pandas as pd

    relative = by_set.div(by_set.max(axis=1), axis=0)
    summary = pd.DataFrame(
        {
            "accuracy": by_set.mean(),
            "P90": (relative >= 0.9).mean(),
            "P95": (relative >= 0.95).mean(),
            "PMA": relative.mean(),
            "rank": by_set.rank(axis=1, ascending=False).mean(),
        }
    )
    return summary.rename_axis("method").sort_values("accuracy", ascending=False)


@dataclass(frozen=True, eq=False)
class _Chosen:
    """A model with the settings that did best on the validation rows, fitted on all."""

    model: Any
    settings: str


_Search = Callable[["pd.DataFrame", NDArray, NDArray, NDArray], _Chosen]


def _searches(X: pd.DataFrame, context: RecipeContext) -> dict[str, _Search]:
    """Return what chooses and fits each method from rows, classes and a split."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import RidgeClassifierCV
    from sklearn.svm import SVC

    from mlmethods.rfm import RFMClassifier

    def kernel_machine(**settings: Any) -> RFMClassifier:
        return RFMClassifier(**reference(context, **settings))

    regs = {"model__reg": list(_REGS[context.full])}
    # A kernel of its own would be compiled for each shape of table, for a single solve.
    plain = {"backend": "numpy"} if context.backend == "jax" else {}
    forest = RandomForestClassifier(
        _TREES[context.full], random_state=context.seed, n_jobs=1
    )
    models: dict[str, tuple[Any, dict[str, list[Any]]]] = {
        LAPLACE: (kernel_machine(n_iter=0), regs),
        "Gaussian kernel": (
            kernel_machine(kernel="gaussian", bandwidth="median", n_iter=0, **plain),
            regs,
        ),
        "ridge": (RidgeClassifierCV(np.logspace(-3, 3, 7)), {}),
        "SVC": (SVC(), {"model__C": [0.1, 1.0, 10.0, 100.0]}),
        FOREST: (forest, {"rows": ["passthrough"]}),
    }
    if context.full:
        models.update(_further_models(context.seed))
    searches = {
        method: _search_grid(_pipeline(X, model), grid)
        for method, (model, grid) in models.items()
    }
    return {RFM: _search_updates(_pipeline(X, kernel_machine()), regs), **searches}


def _further_models(seed: int) -> dict[str, tuple[Any, dict[str, list[Any]]]]:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.neural_network import MLPClassifier

    boosting = HistGradientBoostingClassifier(early_stopping=True, random_state=seed)
    network = MLPClassifier((256, 256), early_stopping=True, random_state=seed)
    return {
        "boosting": (boosting, {}),
        "network": (network, {"model__alpha": [1e-4, 1e-2]}),
        "neighbors": (KNeighborsClassifier(), {"model__n_neighbors": [1, 5, 15]}),
    }


def _pipeline(X: pd.DataFrame, model: Any) -> Pipeline:
    from sklearn.compose import ColumnTransformer, make_column_selector
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    codes = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    encode = ColumnTransformer(
        [
            ("numbers", StandardScaler(), make_column_selector(dtype_include="number")),
            ("codes", codes, make_column_selector(dtype_exclude="number")),
        ]
    )
    return Pipeline([("encode", encode), ("rows", "passthrough"), ("model", model)])


def _search_with_leak(problem: _Problem, context: RecipeContext) -> _Search:
    """Return the protocol of the paper's script, to show what its leak is worth.

    Settings and matrix are chosen on two halves of the whole table; each fold only
    solves again in the geometry of that matrix.
    """
    import pandas as pd
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import FunctionTransformer

    from mlmethods.rfm import RFMClassifier, matrix_power_psd

    halves = train_test_split(
        np.arange(len(problem.X)),
        test_size=0.5,
        stratify=problem.y,
        random_state=context.seed,
    )
    machine = _pipeline(problem.X, RFMClassifier(**reference(context)))
    # Encoded as a whole, like the paper's files: rows are looked up by their labels.
    encoded = pd.DataFrame(machine[0].fit_transform(problem.X), index=problem.X.index)
    machine.steps[0] = ("encode", FunctionTransformer(lambda X: encoded.loc[X.index]))
    regs = {"model__reg": list(_REGS[context.full])}
    chosen = _choose_updates(machine, regs, problem.X, problem.y, *halves)
    root = matrix_power_psd(chosen.M, 0.5)
    model = machine.set_params(**{**chosen.settings, "model__n_iter": 0})
    model.steps.insert(2, ("metric", FunctionTransformer(lambda X: X @ root)))

    def search(X: pd.DataFrame, y: NDArray, seen: NDArray, held: NDArray) -> _Chosen:
        return _Chosen(model.fit(X, y), _settings_text(chosen.settings))

    return search


def _row_scalings() -> list[Any]:
    from sklearn.preprocessing import Normalizer

    return ["passthrough", Normalizer()]


def _settings_text(settings: dict[str, Any]) -> str:
    return ", ".join(f"{key.rpartition('_')[2]}={x}" for key, x in settings.items())


def _search_grid(pipeline: Pipeline, grid: dict[str, list[Any]]) -> _Search:
    """Return a search over settings that cost one fit each."""
    from sklearn.model_selection import GridSearchCV

    def search(X: pd.DataFrame, y: NDArray, seen: NDArray, held: NDArray) -> _Chosen:
        found = GridSearchCV(
            pipeline, {"rows": _row_scalings(), **grid}, cv=[(seen, held)]
        ).fit(X, y)
        return _Chosen(found.best_estimator_, _settings_text(found.best_params_))

    return search


def _search_updates(pipeline: Pipeline, grid: dict[str, list[Any]]) -> _Search:
    """Return a search that gets the scores after 0 to 4 updates from one fit."""
    from sklearn.base import clone

    def search(X: pd.DataFrame, y: NDArray, seen: NDArray, held: NDArray) -> _Chosen:
        settings = _choose_updates(pipeline, grid, X, y, seen, held).settings
        model = clone(pipeline).set_params(**settings).fit(X, y)
        return _Chosen(model, _settings_text(settings))

    return search


class _Updates(NamedTuple):
    """The settings that did best on the validation rows, and their matrix."""

    settings: dict[str, Any]
    M: NDArray


def _choose_updates(
    pipeline: Pipeline,
    grid: dict[str, list[Any]],
    X: pd.DataFrame,
    y: NDArray,
    seen: NDArray,
    held: NDArray,
) -> _Updates:
    """Try each setting and each number of updates; the earliest of equals wins."""
    from sklearn.base import clone
    from sklearn.model_selection import ParameterGrid

    best, chosen = -1.0, None
    for settings in ParameterGrid({"rows": _row_scalings(), **grid}):
        candidate = clone(pipeline).set_params(
            **settings, model__n_iter=_UCI_UPDATES, model__keep_iterates=True
        )
        candidate.fit(X.iloc[seen], y[seen])
        features = candidate[:-1].transform(X.iloc[held])
        stages = candidate[-1].staged_predict(features)
        for updates, labels in enumerate(stages):
            accuracy = float(np.mean(labels == y[held]))
            if accuracy > best:
                M = candidate[-1].iterates_[updates][1]
                best = accuracy
                chosen = _Updates({**settings, "model__n_iter": updates}, M)
    assert chosen is not None  # every accuracy exceeds -1
    return chosen


def _draw_relative_accuracy(by_set: pd.DataFrame) -> Figure:
    from mlmethods.common.plotting import MUTED, PALETTE, new_figure, style

    relative = by_set.div(by_set.max(axis=1), axis=0)
    order = by_set.mean().sort_values().index
    with style():
        figure, axes = new_figure(size=(8.0, 0.5 * len(order) + 1.4))
        for position, method in enumerate(order):
            color = PALETTE[1] if method == RFM else PALETTE[0]
            accuracies = relative[method]
            heights = [position] * len(accuracies)
            axes.plot(accuracies, heights, "|", color=color, ms=12, alpha=0.6)
            axes.plot(accuracies.mean(), position, "D", color=color, ms=7)
        labels = [f"{method}  {100 * by_set[method].mean():.1f} %" for method in order]
        axes.set_yticks(range(len(order)), labels)
        axes.axvline(1.0, color=MUTED, lw=0.8)
        axes.set_xlabel("accuracy over the best method's; one mark a table, their mean")
        axes.set_title(f"Mean accuracy on {len(by_set)} tables")
    return figure
