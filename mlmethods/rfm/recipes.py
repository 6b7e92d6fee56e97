"""Reproduction experiments of Recursive Feature Machines."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mlmethods.common.recipe import RecipeContext, recipe
from mlmethods.interfaces import Backend, NDArray

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from sklearn.pipeline import Pipeline

_PAPER = (
    "Radhakrishnan, Beaglehole, Pandit, Belkin: Mechanism for feature learning in "
    "neural networks and backpropagation-free machine learning models, Science 383 "
    "(2024)"
)
_FOREST = "random forest"
_LAPLACE = "Laplace kernel"
_RFM = "RFM"


# ---------------------------------------------------------------- rfm-tables

_TABLES = ("diabetes", "breast_cancer")
_TABLE_REG = 1.0
_DRAWN_COLUMNS = 10
_TABLE_SLACK = 0.02


@recipe(
    "rfm-tables",
    title="Which columns matter, learned from the data",
    claim=(
        "RFM matches strong tabular learners, and its matrix says which directions of "
        "the input it uses"
    ),
    source=_PAPER,
    criterion=(
        "on both tables, the mean score of RFM over five folds is no more than "
        f"{_TABLE_SLACK} below the Laplace kernel's and the random forest's"
    ),
    demo=True,
    about=(
        "A Recursive Feature Machine fits a kernel machine, averages the outer product "
        "of its gradients into a matrix M, and fits again in the geometry of M. A few "
        "rounds turn a kernel into a learner of features, without backpropagation."
    ),
    code="""
    from sklearn.datasets import load_diabetes
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from mlmethods.rfm import RFMRegressor
    from mlmethods.rfm.plots import plot_feature_matrix

    X, y = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
    model = make_pipeline(StandardScaler(), RFMRegressor(reg=1.0)).fit(X, y)
    plot_feature_matrix(model[-1], names=X.columns)
    """,
)
def tables(context: RecipeContext) -> None:
    """Predict two real tables by five-fold cross-validation.

    The tables are disease progression (442 patients) and breast cancer (569 tumors),
    both shipped with scikit-learn. Columns are standardized inside each training fold;
    the kernel without feature learning and RFM share the ridge 1, and nothing is tuned.
    """
    import pandas as pd
    from sklearn.model_selection import cross_validate

    from mlmethods.datasets import load_table

    rows = []
    fitted = []
    for position, name in enumerate(_TABLES):
        table = load_table(name, root=context.data_root)
        folds = _folds(table.task, 5, context.seed)
        for method, model in _table_models(table.task, context).items():
            start = time.perf_counter()
            run = cross_validate(
                model, table.X, table.y, cv=folds, return_estimator=True
            )
            scores = run["test_score"]
            rows.append(
                {
                    "table": name,
                    "measure": "R2" if table.task == "regression" else "accuracy",
                    "method": method,
                    "score": scores.mean(),
                    "deviation": scores.std(ddof=1),
                    "seconds": time.perf_counter() - start,
                }
            )
            if method == _RFM:
                mean = np.mean([fold[-1].M_ for fold in run["estimator"]], axis=0)
                fitted.append((name, mean, list(table.X.columns)))
        context.progress(position + 1, len(_TABLES))
    frame = pd.DataFrame(rows)
    context.table(frame, "scores")
    for key, part in frame.groupby("table", sort=False):
        name = str(key)
        scores = dict(zip(part["method"], part["score"], strict=True))
        measure = part["measure"].iloc[0]
        for method, score in scores.items():
            context.value(**{_key(name, method, measure): score})
        for peer in (_LAPLACE, _FOREST):
            context.check(
                claim=f"{name}: RFM is no worse than the {peer} ({measure})",
                published=scores[peer],
                ours=scores[_RFM],
                tolerance_text=f"at least the {peer} - {_TABLE_SLACK}",
                passed=scores[_RFM] >= scores[peer] - _TABLE_SLACK,
            )
    context.note(
        "The number beside ours is the peer's in the same run, on the same folds; the "
        "paper does not use these two tables this way."
    )
    context.figure(_draw_feature_matrices(fitted), "feature-matrices")


def _key(*words: object) -> str:
    """Return words as the name of a number in the result."""
    return "_".join(map(str, words)).lower().replace(" ", "_")


def _folds(task: str, count: int, seed: int) -> Any:
    from sklearn.model_selection import KFold, StratifiedKFold

    kind = StratifiedKFold if task == "classification" else KFold
    return kind(count, shuffle=True, random_state=seed)


def _table_models(task: str, context: RecipeContext) -> dict[str, Any]:
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from mlmethods.rfm import RFMClassifier, RFMRegressor

    classify = task == "classification"

    def machine(n_iter: int) -> Pipeline:
        model = (RFMClassifier if classify else RFMRegressor)(
            n_iter=n_iter,
            reg=_TABLE_REG,
            backend=context.backend,
            dtype=context.dtype,
            random_state=context.seed,
        )
        return make_pipeline(StandardScaler(), model)

    forest = (RandomForestClassifier if classify else RandomForestRegressor)(
        n_estimators=200, random_state=context.seed
    )
    return {_RFM: machine(5), _LAPLACE: machine(0), _FOREST: forest}


def _draw_feature_matrices(fitted: list[tuple[str, NDArray, list[str]]]) -> Figure:
    from mlmethods.common.plotting import INK, new_figure, style
    from mlmethods.rfm.plots import plot_feature_matrix

    with style():
        figure, axes = new_figure(1, len(fitted), size=(11.0, 5.0))
        for ax, (name, matrix, names) in zip(axes, fitted, strict=True):
            plot_feature_matrix(
                matrix, names=names, k=min(_DRAWN_COLUMNS, len(names)), ax=ax
            )
            title = ax.get_title(loc="left").partition(": ")[2] or "every column"
            ax.set_title(f"{name.replace('_', ' ')}\n{title}")
        figure.suptitle("Feature matrix, mean of five folds", color=INK)
    return figure


# ---------------------------------------------------------------- rfm-lowrank

_NOTEBOOK_MSE = (0.01229, 0.00630, 0.00317, 0.00235, 0.00209, 0.00200)
_LOWRANK_ROWS = {False: 2000, True: 4000}
_LOWRANK_FACTOR = {False: 2.5, True: 5.0}
_HERMITE_ROWS = (500, 1000, 2000, 4000)


@recipe(
    "rfm-lowrank",
    title="The matrix finds the coordinates that matter",
    claim="RFM recovers the support of a low-rank polynomial; the kernel alone does not",
    source=f"{_PAPER}; the notebook of its code",
    criterion=(
        "five updates divide the test error by at least 2.5 (2,000 rows; in full 4,000 "
        "rows and 5), and the three largest of diag(M) are the coordinates 0, 1 and 5"
    ),
)
def lowrank(context: RecipeContext) -> None:
    """Learn y = x0 x1 [x5 > 0] from 2,000 rows of 20 normal coordinates (4,000 in full).

    The settings are those of the paper's notebook: standard deviation 0.5, Laplace
    kernel with L = 10, ridge 1e-3, five updates, the last iterate.
    """
    import pandas as pd

    from mlmethods.datasets import low_rank_polynomial
    from mlmethods.rfm import RFMRegressor

    n = _LOWRANK_ROWS[context.full]
    X, y, support = low_rank_polynomial(2 * n, rng=context.seed)
    model = RFMRegressor(**_reference(context, n_iter=5, reg=1e-3, keep_iterates=True))
    model.fit(X[:n], y[:n])
    errors = [
        float(np.mean((prediction - y[n:]) ** 2))
        for prediction in model.staged_predict(X[n:])
    ]
    diagonal = np.diagonal(model.M_)
    top = sorted(int(index) for index in np.argsort(-diagonal)[: len(support)])
    gain = errors[0] / errors[-1]
    for update, error in enumerate(errors):
        context.value(**{f"mse_{update}": error})
    context.value(gain=gain, support_share=diagonal[top].sum() / diagonal.sum())
    context.table(
        pd.DataFrame(
            {
                "update": range(len(errors)),
                "mse": errors,
                "published_mse_4000_rows": _NOTEBOOK_MSE,
            }
        ),
        "errors",
    )
    factor = _LOWRANK_FACTOR[context.full]
    context.check(
        claim="test error of the kernel over that of RFM",
        published=_NOTEBOOK_MSE[0] / _NOTEBOOK_MSE[-1],
        ours=gain,
        tolerance_text=f"at least {factor:g}",
        passed=gain >= factor,
    )
    context.check(
        claim="the largest three of diag(M)",
        published=", ".join(map(str, support)),
        ours=", ".join(map(str, top)),
        tolerance_text="the same coordinates",
        passed=tuple(top) == support,
    )
    sequence = ", ".join(f"{error:.4f}" for error in errors)
    published = ", ".join(f"{error:.4f}" for error in _NOTEBOOK_MSE)
    context.note(
        f"Test errors after 0 to 5 updates: {sequence} with {n:,} rows; published, with "
        f"4,000 rows: {published}."
    )
    context.figure(_draw_lowrank(errors, diagonal, n), "lowrank")
    if context.full:
        _learn_hermite(context)


def _reference(context: RecipeContext, **changes: Any) -> dict[str, Any]:
    """Return the published package's settings, to be computed as the run asks."""
    from mlmethods.rfm import reference_params

    own = {
        "backend": context.backend,
        "dtype": context.dtype,
        "random_state": context.seed,
    }
    return {**reference_params(), **own, **changes}


def _draw_lowrank(errors: list[float], diagonal: NDArray, n: int) -> Figure:
    from mlmethods.common.plotting import MUTED, new_figure, style
    from mlmethods.rfm.plots import plot_feature_matrix

    with style():
        figure, (left, right) = new_figure(1, 2, size=(10.0, 4.2))
        left.semilogy(errors, marker="o", label=f"here, {n:,} rows")
        left.semilogy(
            _NOTEBOOK_MSE, marker="s", color=MUTED, ls="--", label="published, 4,000"
        )
        left.set_xlabel("updates of the feature matrix")
        left.set_ylabel("mean squared error on new rows")
        left.set_title("Test error")
        left.legend()
        plot_feature_matrix(diagonal, ax=right)
        right.set_title("Diagonal of M: x0, x1 and x5 make the target")
    return figure


def _learn_hermite(context: RecipeContext) -> None:
    """Compare RFM, its kernel and a network on a cubic of 4 of 100 coordinates."""
    import pandas as pd
    from sklearn.neural_network import MLPRegressor

    from mlmethods.common.plotting import new_figure, style
    from mlmethods.datasets import low_rank_polynomial
    from mlmethods.rfm import RFMRegressor

    most = max(_HERMITE_ROWS)
    X, y, support = low_rank_polynomial(
        2 * most, 100, function="hermite", scale=1.0, rng=context.seed
    )
    projector = np.zeros((100, 100))
    projector[support, support] = 1.0
    rows = []
    for n in _HERMITE_ROWS:
        machine = RFMRegressor(**_reference(context, n_iter=5, reg=1e-3))
        models = {
            _RFM: machine,
            _LAPLACE: RFMRegressor(**_reference(context, n_iter=0, reg=1e-3)),
            "network": MLPRegressor(
                (256, 256, 256), early_stopping=True, random_state=context.seed
            ),
        }
        for method, model in models.items():
            score = model.fit(X[:n], y[:n]).score(X[most:], y[most:])
            rows.append({"n": n, "method": method, "r2": score})
        vectors = np.linalg.eigh(machine.M_)[1][:, -len(support) :]
        error = float(np.linalg.norm(vectors @ vectors.T - projector))
        context.value(**{f"hermite_subspace_error_{n}": error})
    frame = pd.DataFrame(rows)
    context.table(frame, "hermite")
    with style():
        figure, axes = new_figure()
        for label, part in frame.groupby("method", sort=False):
            axes.plot(part["n"], part["r2"], marker="o", label=label)
        axes.set_xlabel("training rows")
        axes.set_ylabel("R2 on new rows")
        axes.set_title("He2(x0) + x1 x2 x3 in 100 coordinates")
        axes.legend()
    context.figure(figure, "hermite")


# ---------------------------------------------------------------- rfm-nfa

_NFA_ROWS = 4000
_AGOP_ROWS = 1000
_NFA_EPOCHS = (2, 4, 6, 8, 10)
_NFA_CORRELATION = 0.85
_NFA_GAIN = 0.3
_NFA_QUICK = {"init_scale": 0.2, "optimizer": "adam", "learning_rate": 3e-4}
_NFA_RATES = {"sgd": 0.1, "adam": 3e-4}


@recipe(
    "rfm-nfa",
    title="What a network's weights have learned",
    claim=(
        "training makes the Gram matrix of a layer's weights proportional to a power "
        "of the average gradient outer product at its input"
    ),
    source=_PAPER,
    criterion=(
        "in the first layer, after training, the correlation with the square root of "
        f"the AGOP is at least {_NFA_CORRELATION}, and that with the AGOP at least "
        f"{_NFA_GAIN} above its value before"
    ),
)
def nfa(context: RecipeContext) -> None:
    """Train a perceptron with five hidden layers of 512 on 4,000 MNIST digits.

    Mean squared error, no biases, batches of 128, ten epochs; quick: initial weights
    at 0.2 of their usual scale, Adam; in full: also scales 1 and 0.1, SGD, and a weight
    decay of 1e-4. Gradients are averaged over 1,000 of the training digits.
    """
    import pandas as pd

    from mlmethods.datasets import load_images
    from mlmethods.rfm.network import network_engine

    backend, engine = network_engine(context.backend, "train_perceptron")
    images, labels = load_images("mnist-5k", root=context.data_root)
    order = np.random.default_rng(context.seed).permutation(len(images))
    X = images[order].reshape(len(images), -1) / 255.0
    digits = _Digits(X, labels[order])
    settings = [_NFA_QUICK] + (_nfa_grid() if context.full else [])
    frames = []
    for position, options in enumerate(settings):
        rows = _ansatz_of_training(context, backend, engine, digits, options)
        frames.append(pd.DataFrame(rows).assign(**options))
        context.progress(position + 1, len(settings))
    frame = pd.concat(frames)
    context.table(frame, "correlations")
    quick = frames[0]
    first = quick[quick["layer"] == quick["layer"].iloc[0]]
    series = {
        power: part.set_index("epoch")["pearson"]
        for power, part in first.groupby("power")
    }
    before, after = series[1.0].iloc[0], series[1.0].iloc[-1]
    context.value(
        layer_1_sqrt_agop=series[0.5].iloc[-1],
        layer_1_agop_before=before,
        layer_1_agop_after=after,
        accuracy=quick["accuracy"].iloc[-1],
    )
    context.check(
        claim="correlation of the first layer with the square root of the AGOP",
        published="high in every layer",
        ours=series[0.5].iloc[-1],
        tolerance_text=f"at least {_NFA_CORRELATION}",
        passed=series[0.5].iloc[-1] >= _NFA_CORRELATION,
    )
    context.check(
        claim="correlation of the first layer with the AGOP, less that before training",
        published="grows",
        ours=after - before,
        tolerance_text=f"at least {_NFA_GAIN}",
        passed=after - before >= _NFA_GAIN,
    )
    context.note(
        "Before training the two matrices already share the range of the weights, "
        "hence correlations far from zero; those with the change of the weights alone "
        "are in the table (centered_pearson). Far into training, beyond these epochs, "
        "the correlation with the AGOP itself falls again."
    )
    context.figure(_draw_ansatz(quick), "ansatz")


class _Digits(NamedTuple):
    """Digits in random order: the first rows are for training."""

    X: NDArray
    labels: NDArray


def _nfa_grid() -> list[dict[str, Any]]:
    return [
        {
            "init_scale": scale,
            "optimizer": optimizer,
            "learning_rate": rate,
            "weight_decay": decay,
        }
        for scale in (1.0, 0.1)
        for optimizer, rate in _NFA_RATES.items()
        for decay in (0.0, 1e-4)
    ]


def _ansatz_of_training(
    context: RecipeContext,
    backend: Backend,
    engine: Any,
    digits: _Digits,
    options: dict[str, Any],
) -> Iterator[dict[str, Any]]:
    """Yield the correlations of each layer and power at each kept epoch."""
    from mlmethods.rfm.contract import PerceptronConfig
    from mlmethods.rfm.network import feature_ansatz

    config = PerceptronConfig(hidden=(512,) * 5, keep_epochs=_NFA_EPOCHS, **options)
    X, labels = digits
    trained = engine.train_perceptron(
        config,
        X[:_NFA_ROWS],
        np.eye(10)[labels[:_NFA_ROWS]],
        seed=context.seed,
        callback=context.callback,
    )
    unseen = backend.asarray(X[_NFA_ROWS:], dtype="float32")
    for epoch, params, loss in zip(
        trained.epochs, trained.params, trained.losses, strict=True
    ):
        report = feature_ansatz(
            trained.model,
            X[:_AGOP_ROWS],
            params=params,
            init_params=trained.params[0],
            backend=backend,
        )
        outputs = backend.to_numpy(trained.model.apply(params, unseen))
        accuracy = float(np.mean(outputs.argmax(axis=1) == labels[_NFA_ROWS:]))
        for row in report.correlations:
            yield {"epoch": epoch, "loss": loss, "accuracy": accuracy, **row._asdict()}


def _draw_ansatz(frame: pd.DataFrame) -> Figure:
    from mlmethods.common.plotting import MUTED, new_figure, style

    layers = list(dict.fromkeys(frame["layer"]))
    last = frame["epoch"].max()
    with style():
        figure, (left, right) = new_figure(1, 2, size=(10.0, 4.2))
        for power, part in frame.groupby("power"):
            label = "AGOP" if power == 1 else f"AGOP to the power {power:g}"
            trained = part[part["epoch"] == last]["pearson"]
            line = left.plot(
                range(1, len(layers) + 1), trained, marker="o", label=label
            )
            start = part[part["epoch"] == 0]["pearson"]
            left.plot(
                range(1, len(layers) + 1),
                start,
                marker="o",
                ls=":",
                color=line[0].get_color(),
                label=f"{label}, before training",
            )
            first = part[part["layer"] == layers[0]]
            right.plot(first["epoch"], first["pearson"], marker="o", label=label)
        change = frame[(frame["layer"] == layers[0]) & (frame["power"] == 0.5)]
        right.plot(
            change["epoch"],
            change["centered_pearson"],
            marker="s",
            color=MUTED,
            label="power 0.5, change of the weights",
        )
        left.set_xlabel("layer")
        left.set_ylabel("correlation with the Gram matrix of the weights")
        left.set_title("Every layer")
        right.set_xlabel("epoch")
        right.set_title("First layer")
        left.legend()
        right.legend()
    return figure


# ---------------------------------------------------------------- rfm-uci

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
_REGS = {False: (1.0, 0.1, 0.001), True: (10.0, 1.0, 0.1, 0.01, 0.001)}
_TREES = {False: 200, True: 500}
_UCI_SLACK = {_LAPLACE: 0.005, _FOREST: 0.01}
_UCI_PUBLISHED = {_LAPLACE: "85.4 and 83.8 %", _FOREST: "85.4 and 82.0 %"}


@recipe(
    "rfm-uci",
    title="Twenty small tables, six methods, no leak",
    claim="RFM has the best average accuracy on 121 small classification tables",
    source=_PAPER,
    criterion=(
        "the mean accuracy of RFM is at least the Laplace kernel's - 0.005 and at least "
        "the random forest's - 0.01: no worse than"
    ),
)
def uci(context: RecipeContext) -> None:
    """Classify the first twenty sound KEEL sets below 1,000 rows; in full, every one.

    Four stratified folds. Scaling, one-hot codes, ridge, row normalization and the
    number of updates are learned inside each training fold, the choices on a fifth of
    it; the feature matrix never sees a test row's label.
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
    summary = summarize(by_set)
    context.table(summary, "summary")
    mean = summary["accuracy"]
    for method, measures in summary.iterrows():
        context.value(**{_key(method, name): x for name, x in measures.items()})
    for peer, slack in _UCI_SLACK.items():
        context.check(
            claim=f"mean accuracy of RFM and of the {peer}",
            published=_UCI_PUBLISHED[peer],
            ours=f"{100 * mean[_RFM]:.1f} and {100 * mean[peer]:.1f} %",
            tolerance_text=f"RFM at least the {peer} - {slack}",
            passed=mean[_RFM] >= mean[peer] - slack,
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

    folds = _folds("classification", _UCI_FOLDS, context.seed)
    for fold, (train, test) in enumerate(folds.split(problem.X, problem.y)):
        X, y = problem.X.iloc[train], problem.y[train]
        # One split decides for every method.
        split = train_test_split(
            np.arange(len(train)), test_size=0.2, stratify=y, random_state=context.seed
        )
        for method, search in _searches(problem.X, context).items():
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
        return RFMClassifier(**_reference(context, **settings))

    regs = {"model__reg": list(_REGS[context.full])}
    forest = RandomForestClassifier(
        _TREES[context.full], random_state=context.seed, n_jobs=1
    )
    models: dict[str, tuple[Any, dict[str, list[Any]]]] = {
        _LAPLACE: (kernel_machine(n_iter=0), regs),
        "Gaussian kernel": (
            kernel_machine(kernel="gaussian", bandwidth="median", n_iter=0),
            regs,
        ),
        "ridge": (RidgeClassifierCV(np.logspace(-3, 3, 7)), {}),
        "SVC": (SVC(), {"model__C": [0.1, 1.0, 10.0, 100.0]}),
        _FOREST: (forest, {"rows": ["passthrough"]}),
    }
    if context.full:
        models.update(_further_models(context.seed))
    searches = {
        method: _search_grid(_pipeline(X, model), grid)
        for method, (model, grid) in models.items()
    }
    return {_RFM: _search_updates(_pipeline(X, kernel_machine()), regs), **searches}


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
    from sklearn.model_selection import ParameterGrid

    def search(X: pd.DataFrame, y: NDArray, seen: NDArray, held: NDArray) -> _Chosen:
        best, chosen = -1.0, {}
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
                    best, chosen = accuracy, {**settings, "model__n_iter": updates}
        model = clone(pipeline).set_params(**chosen).fit(X, y)
        return _Chosen(model, _settings_text(chosen))

    return search


def _draw_relative_accuracy(by_set: pd.DataFrame) -> Figure:
    from mlmethods.common.plotting import MUTED, PALETTE, new_figure, style

    relative = by_set.div(by_set.max(axis=1), axis=0)
    order = by_set.mean().sort_values().index
    with style():
        figure, axes = new_figure(size=(8.0, 0.5 * len(order) + 1.4))
        for position, method in enumerate(order):
            color = PALETTE[1] if method == _RFM else PALETTE[0]
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
