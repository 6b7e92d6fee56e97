"""Learners whose overfitting is known by heart: nearest neighbors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mlmethods.common.recipe import RecipeContext, recipe
from mlmethods.interfaces import NDArray
from mlmethods.overfitting.recipes._shared import (
    PAPER,
    between,
    value_name,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DIMENSIONS = (1, 2, 3)
_SIZES = (128, 256, 512, 1024, 2048)
_FLIPS = (0.0, 0.1, 0.2, 0.3, 0.4)
_FLIP_SIZE = 2000


@recipe(
    "overfitting-knn-anchors",
    title="Nearest neighbors, where the answer is known",
    claim=(
        "one nearest neighbor doubles the noise in any dimension, and a number of "
        "neighbors that grows with log n costs less and less"
    ),
    source=PAPER,
    criterion=(
        "E0 of one neighbor is 2.00 within .05 at the largest n in d = 1, 2 and 3 and "
        "its verdict is tempered; of ceil(log n) neighbors E0 falls with n; with a "
        "share p of flipped labels one neighbor errs p on clean labels and 2 p (1 - p) "
        "on flipped ones, within .03"
    ),
)
def knn_anchors(context: RecipeContext) -> None:
    """Study k nearest neighbors on the cube, and flip labels of a separable problem.

    Synthetic points, uniform on the unit cube, targets of zero plus noise of variance
    0, 0.5 and 1; five draws of 128 to 2,048 rows.
    """
    from sklearn.neighbors import KNeighborsRegressor

    from mlmethods.overfitting import LogNeighborsRegressor, OverfittingStudy, Problem

    context.dtype = "float64"
    learners = {
        "one neighbor": KNeighborsRegressor(1),
        "log n neighbors": LogNeighborsRegressor(),
    }
    verdicts: dict[tuple[str, int], Any] = {}
    for d in _DIMENSIONS:
        problem = Problem(sample=_cube(d), name=f"cube-{d}", task="regression")
        for name, learner in learners.items():
            study = OverfittingStudy(
                learner,
                n_grid=_SIZES,
                noise_levels=(0.0, 0.5, 1.0),
                n_seeds=5,
                task="regression",
                random_state=context.seed,
            )
            verdicts[name, d] = study.run(problem).verdict
            context.progress(len(verdicts), 2 * len(_DIMENSIONS) + 1)
    for d in _DIMENSIONS:
        one = verdicts["one neighbor", d]
        e0 = float(one.e0["e0"].iloc[-1])
        context.value(**{value_name("one neighbor e0", d): e0})
        context.check(
            claim=f"one neighbor, d = {d}",
            published="E0 2, tempered",
            ours=f"E0 {e0:.3f}, {one.label}",
            tolerance_text="E0 within .05, the same label",
            passed=between(e0, 2.0, 0.05) and one.label == "tempered",
        )
        costs = verdicts["log n neighbors", d].e0["e0"].to_numpy()
        context.value(**{value_name("log neighbors e0", d): costs[-1]})
        context.check(
            claim=f"ceil(log n) neighbors, d = {d}: E0 from n = 128 to 2,048",
            published="towards 1, as 1 + 1/log n",
            ours=f"{costs[0]:.3f} to {costs[-1]:.3f}",
            tolerance_text="falls, and below that of one neighbor",
            passed=bool(costs[-1] < costs[0] < 2.0),
        )
    clean, noisy = _flipped_neighbor(context)
    for name, errors, law in (
        ("clean", clean, np.array(_FLIPS)),
        ("flipped", noisy, 2 * np.array(_FLIPS) * (1 - np.array(_FLIPS))),
    ):
        worst = float(np.abs(errors - law).max())
        context.value(**{value_name("one neighbor", name, "worst"): worst})
        context.check(
            claim=f"one neighbor and flipped labels: error on {name} ones",
            published=", ".join(f"{value:.3f}" for value in law),
            ours=", ".join(f"{value:.3f}" for value in errors),
            tolerance_text="each within .03",
            passed=worst < 0.03,
        )
    context.progress(2 * len(_DIMENSIONS) + 1, 2 * len(_DIMENSIONS) + 1)
    context.figure(_draw_anchors(verdicts), "anchors")


def _cube(d: int) -> Any:
    def sample(n: int, rng: np.random.Generator) -> tuple[NDArray, NDArray]:
        return rng.uniform(size=(n, d)), np.zeros(n)

    return sample


def _flipped_neighbor(context: RecipeContext) -> tuple[NDArray, NDArray]:
    """Return mean errors of one neighbor over five draws, on clean and flipped labels."""
    from sklearn.neighbors import KNeighborsClassifier

    from mlmethods.overfitting import add_label_noise

    clean, noisy = [], []
    for stream in np.random.SeedSequence([context.seed, 1]).spawn(5):
        rng = np.random.default_rng(stream)
        X = rng.uniform(-1, 1, size=(2 * _FLIP_SIZE, 2))
        # A gap, so that the clean task has no error of its own.
        X[:, 0] += np.sign(X[:, 0])
        y = (X[:, 0] > 0).astype(np.int64)
        train, test = slice(0, _FLIP_SIZE), slice(_FLIP_SIZE, None)
        rows = []
        for rate in _FLIPS:
            labels, _ = add_label_noise(y[train], rate, random_state=rng)
            other, _ = add_label_noise(y[test], rate, random_state=rng)
            found = KNeighborsClassifier(1).fit(X[train], labels).predict(X[test])
            rows.append((np.mean(found != y[test]), np.mean(found != other)))
        clean.append([row[0] for row in rows])
        noisy.append([row[1] for row in rows])
    return np.mean(clean, axis=0), np.mean(noisy, axis=0)


def _draw_anchors(verdicts: dict[tuple[str, int], Any]) -> Figure:
    from mlmethods.common.plotting import MUTED, PALETTE, new_figure, style
    from mlmethods.overfitting.plots import scale_samples

    with style():
        figure, axes = new_figure(size=(7.6, 4.2))
        for (name, d), verdict in verdicts.items():
            table = verdict.e0
            axes.semilogx(
                table["n"],
                table["e0"],
                marker="o" if name.startswith("one") else "s",
                color=PALETTE[d - 1],
                ls="-" if name.startswith("one") else "--",
                label=f"{name}, d = {d}",
            )
        axes.axhline(2.0, color=MUTED, lw=1, ls=":")
        axes.axhline(1.0, color=MUTED, lw=1, ls=":")
        scale_samples(axes, _SIZES)
        axes.set_ylabel("E0: test error over noise")
        axes.set_title("One neighbor stays at 2, log n neighbors fall towards 1")
        axes.legend()
    return figure
