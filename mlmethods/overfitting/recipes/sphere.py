"""Kernels on the uniform sphere, where the theory has closed answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mlmethods.common.recipe import RecipeContext, recipe
from mlmethods.interfaces import NDArray
from mlmethods.overfitting.recipes._shared import (
    PAPER,
    THEORY,
    between,
    record_costs,
    value_name,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DIMENSIONS = (3, 6, 11)
_SIZES = {False: (128, 256, 512, 1024, 2048), True: (128, 512, 2048, 8192, 16384)}
_SEEDS = {False: 4, True: 20}
_LAPLACE = {3: (1.42, 0.03), 6: (1.20, 0.02), 11: (1.12, 0.02)}
_RIDGE = 0.1
_FLIP_SIZES = (128, 181, 256, 362, 512, 724, 1024)


@recipe(
    "overfitting-sphere-kernels",
    title="Tempered and catastrophic kernels on the sphere",
    claim=(
        "without a ridge the Laplace kernel and the ReLU tangent kernel are tempered, "
        "the Gaussian is catastrophic, and a fixed ridge is benign"
    ),
    source=PAPER,
    criterion=(
        "at the largest n, E0 of the Laplace kernel is 1.42 (within .03), 1.20 and 1.12 "
        "(.02) in d = 3, 6 and 11, and it is labelled tempered in each, the tangent "
        "kernel in d = 3; the Gaussian of bandwidth 0.5 in d = 6 has a growing E0 and "
        "is labelled catastrophic; the Laplace kernel with a ridge of 0.1 in d = 3 is "
        "benign"
    ),
)
def sphere_kernels(context: RecipeContext) -> None:
    """Measure E0 from kernel matrices alone for uniform points on spheres in R^d.

    Synthetic points, 128 to 2,048 of them and four draws of each (in full up to 16,384
    and twenty draws); no labels are needed: the cost of noise is a property of the
    matrix.
    """
    from mlmethods.kernels import GaussianKernel, LaplaceKernel, NTKKernel
    from mlmethods.overfitting import kernel_verdict, sphere_exponent, sphere_problem

    context.dtype = "float64"
    laplace = LaplaceKernel(bandwidth=1.0)
    tangent = NTKKernel(depth=2, b_std=0.5)
    gaussian = GaussianKernel(bandwidth=0.5)
    runs: list[tuple[str, Any, int, float]] = []
    for d in _DIMENSIONS:
        runs += [("Laplace", laplace, d, 0.0), ("tangent", tangent, d, 0.0)]
    runs += [("Gaussian", gaussian, 6, 0.0), ("Laplace, ridge 0.1", laplace, 3, _RIDGE)]
    verdicts = {}
    for position, (name, kernel, d, reg) in enumerate(runs):
        verdict = kernel_verdict(
            kernel,
            sphere_problem(d),
            n_grid=_SIZES[context.full],
            n_seeds=_SEEDS[context.full],
            reg=reg,
            backend=context.backend,
            random_state=context.seed,
        )
        verdicts[name, d] = verdict
        record_costs(context, value_name(name, d), verdict.e0)
        context.progress(position + 1, len(runs))
    for d in _DIMENSIONS:
        found = float(verdicts["Laplace", d].e0["e0"].iloc[-1])
        expected, tolerance = _LAPLACE[d]
        context.check(
            claim=f"E0 of the Laplace kernel, d = {d}",
            published=f"{expected} (theory {sphere_exponent(laplace, d):.3g})",
            ours=found,
            tolerance_text=f"within {tolerance} of {expected}",
            passed=between(found, expected, tolerance),
        )
    expected_labels = {
        **{("Laplace", d): "tempered" for d in _DIMENSIONS},
        ("tangent", 3): "tempered",
        ("Gaussian", 6): "catastrophic",
        ("Laplace, ridge 0.1", 3): "benign",
    }
    for (name, d), label in expected_labels.items():
        verdict = verdicts[name, d]
        low, high = verdict.slope_ci
        context.check(
            claim=f"{name}, d = {d}",
            published=label,
            ours=f"{verdict.label} (slope of log(E0 - 1) {low:.2f} to {high:.2f})",
            tolerance_text="the same label",
            passed=verdict.label == label,
        )
    context.note(
        "In low dimension the theory is off: its features are Gaussian, those of three "
        "coordinates are not. In d = 3 it says 1.5, measured is 1.42."
    )
    for d in _DIMENSIONS[1:]:
        verdict = verdicts["tangent", d]
        costs = verdict.e0["e0"]
        context.note(
            f"The tangent kernel in d = {d} is not yet at its limit, "
            f"{sphere_exponent(tangent, d):.3g} in theory: E0 falls from "
            f"{costs.iloc[0]:.3f} to {costs.iloc[-1]:.3f} and the measured label is "
            f"{verdict.label}."
        )
    context.figure(_draw_costs(verdicts), "costs")


def _draw_costs(verdicts: dict[tuple[str, int], Any]) -> Figure:
    from mlmethods.common.plotting import MUTED, PALETTE, new_figure, style
    from mlmethods.overfitting.plots import scale_samples

    with style():
        figure, axes = new_figure(size=(8.0, 4.4))
        for index, ((name, d), verdict) in enumerate(verdicts.items()):
            table = verdict.e0
            axes.loglog(
                table["n"],
                table["e0"] - 1.0,
                marker="os^D"[index % 4],
                color=PALETTE[index % len(PALETTE)],
                label=f"{name}, d = {d}: {verdict.label}",
            )
        axes.axhline(1.0, color=MUTED, lw=1, ls="--")
        scale_samples(axes, table["n"])
        axes.set_ylabel("E0 - 1: excess cost of the noise")
        axes.set_title("Level is tempered, rising catastrophic, falling benign")
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


@recipe(
    "overfitting-jitter-flip",
    title="Rounding must not pass for a ridge",
    claim=(
        "the jitter or the precision that makes a Gaussian kernel solvable turns a "
        "catastrophic interpolant into one that looks benign; counted as the ridge "
        "that it is, it cannot"
    ),
    source="the overfitting coefficient from the kernel matrix, this library",
    criterion=(
        "for the Gaussian kernel of bandwidth 0.5 on the sphere in R^3, n = 128 to "
        "1,024, no verdict is benign, whatever the jitter and the precision; and "
        "without the check at least one of them would be"
    ),
)
def jitter_flip(context: RecipeContext) -> None:
    """Judge one kernel with jitters of 0, 1e-12 and 1e-6 and in float32.

    Each is judged twice: by the numbers alone, and with the floor of the arithmetic
    counted, which leaves out every size at which the floor does the work of a ridge.
    """
    import pandas as pd

    from mlmethods.kernels import GaussianKernel
    from mlmethods.overfitting import kernel_verdict, sphere_problem

    context.dtype = "float64"
    kernel = GaussianKernel(bandwidth=0.5)
    settings: dict[str, dict[str, Any]] = {
        "float64": {},
        "float64, jitter 1e-12": {"jitter": 1e-12},
        "float64, jitter 1e-6": {"jitter": 1e-6},
        "float32, jitter 1e-6": {"jitter": 1e-6, "dtype": "float32"},
    }
    tables, naive, checked = {}, {}, {}
    for position, (name, options) in enumerate(settings.items()):
        common = {
            "n_grid": _FLIP_SIZES,
            "n_seeds": 5,
            "backend": context.backend,
            "random_state": context.seed,
            **options,
        }
        if "dtype" in options and not _computes(context.backend, options["dtype"]):
            context.note(f"{name} was left out: the backend computes in float64 only.")
            continue
        verdict = kernel_verdict(kernel, sphere_problem(3), **common)
        blind = kernel_verdict(kernel, sphere_problem(3), check_floor=False, **common)
        tables[name], naive[name], checked[name] = blind.e0, blind.label, verdict.label
        resolved = int(verdict.e0["resolved"].sum())
        context.value(**{value_name(name, "resolved"): resolved})
        context.check(
            claim=f"{name}: the verdict with the floor counted",
            published=f"without it: {blind.label}",
            ours=f"{verdict.label} ({resolved} of {len(_FLIP_SIZES)} sizes resolved)",
            tolerance_text="not benign",
            passed=verdict.label != "benign",
        )
        context.progress(position + 1, len(settings))
    flipped = [name for name, label in naive.items() if label == "benign"]
    context.check(
        claim="settings that look benign without the check",
        published="some",
        ours=", ".join(flipped) or "none",
        tolerance_text="at least one",
        passed=bool(flipped),
    )
    frame = pd.concat([part.assign(setting=name) for name, part in tables.items()])
    context.table(frame, "costs")
    context.figure(_draw_flip(tables), "flip")


def _computes(backend: Any, dtype: str) -> bool:
    from mlmethods.backend import get_backend

    return dtype in get_backend(backend).info.dtypes


def _draw_flip(tables: dict[str, Any]) -> Figure:
    from mlmethods.common.plotting import new_figure, style
    from mlmethods.overfitting.plots import scale_samples

    with style():
        figure, axes = new_figure(size=(7.2, 4.2))
        for name, table in tables.items():
            axes.loglog(table["n"], table["e0"], marker="o", label=name)
        scale_samples(axes, _FLIP_SIZES)
        axes.set_ylabel("E0 as computed")
        axes.set_title("One kernel; the arithmetic decides what it seems to cost")
        axes.legend()
    return figure


_TARGET_DEGREES = (1, 2, 3)
_TEST_ROWS = 2000
_PREDICTED = {
    False: ((6, 11), (128, 256, 512, 1024), 8),
    True: ((6, 11), (128, 256, 512, 1024, 2048, 4096), 30),
}
_REGS = (0.0, 0.1, 1.0)
_NOISE = 0.1


@recipe(
    "overfitting-eigen-vs-empirical",
    title="The predicted error against the measured one",
    claim="the eigenframework predicts the test error of kernel ridge regression",
    source=THEORY,
    criterion=(
        "on spheres in R^6 and R^11, with targets of degree 1 to 3, noise variance 0.1 "
        "and ridges 0, 0.1 and 1, the median relative error of the predicted test "
        "error is below 6 %"
    ),
)
def eigen_vs_empirical(context: RecipeContext) -> None:
    """Fit the Laplace kernel to noisy harmonics at uniform points, and predict the error.

    Synthetic data: 128 to 1,024 points, eight draws, 2,000 new points to test at. One
    eigendecomposition of each kernel matrix serves all targets and ridges.
    """
    import pandas as pd

    from mlmethods.kernels import LaplaceKernel
    from mlmethods.overfitting import predict, sphere_spectrum

    context.dtype = "float64"
    kernel = LaplaceKernel(bandwidth=1.0)
    dimensions, sizes, seeds = _PREDICTED[context.full]
    rows = []
    for position, d in enumerate(dimensions):
        spectrum = sphere_spectrum(kernel, d, 100)
        measured = _measure(context, kernel, d, sizes, seeds)
        for column, degree in enumerate(_TARGET_DEGREES):
            coefficients = np.zeros(len(spectrum.values))
            coefficients[degree] = 1.0
            for index, reg in enumerate(_REGS):
                found = predict(
                    spectrum, coefficients, np.array(sizes), reg, noise_var=_NOISE
                )
                for at, n in enumerate(sizes):
                    rows.append(
                        {
                            "d": d,
                            "degree": degree,
                            "reg": reg,
                            "n": n,
                            "predicted": float(found.test_mse[at]),
                            "measured": measured[at, index, column],
                        }
                    )
        context.progress(position + 1, len(dimensions))
    frame = pd.DataFrame(rows)
    frame["error"] = (frame["predicted"] / frame["measured"] - 1).abs()
    context.table(frame, "errors")
    for d in dimensions:
        median = float(frame["error"][frame["d"] == d].median())
        context.value(**{value_name("median_error", d): median})
        context.check(
            claim=f"d = {d}: median relative error of the prediction",
            published=0.0,
            ours=median,
            tolerance_text="below .06",
            passed=median < 0.06,
        )
    context.note(
        f"The largest relative error is {frame['error'].max():.3f}, over "
        f"{len(frame)} combinations of dimension, degree, ridge and n."
    )
    context.figure(_draw_predictions(frame), "predictions")


def _measure(
    context: RecipeContext, kernel: Any, d: int, sizes: tuple[int, ...], seeds: int
) -> NDArray:
    """Return mean test errors (sizes, ridges, targets), noise of the tests included."""
    from mlmethods.kernels import ridge_path
    from mlmethods.overfitting import sphere_problem

    errors = np.zeros((len(sizes), len(_REGS), len(_TARGET_DEGREES)))
    streams = np.random.SeedSequence([context.seed, d]).spawn(seeds)
    for stream in streams:
        rng = np.random.default_rng(stream)
        X, _ = sphere_problem(d).sample(max(sizes) + _TEST_ROWS, rng)
        Y = _harmonics(X, rng)
        noisy = Y + np.sqrt(_NOISE) * rng.normal(size=Y.shape)
        tests = slice(max(sizes), None)
        for at, n in enumerate(sizes):
            path = ridge_path(kernel, X[:n], noisy[:n], _REGS, backend=context.backend)
            K = kernel(X[tests], X[:n], backend=context.backend, dtype="float64")
            wrong = K @ path.dual_coef - Y[tests]
            errors[at] += (wrong**2).mean(axis=1) + _NOISE
    return errors / seeds


def _harmonics(X: NDArray, rng: np.random.Generator) -> NDArray:
    """Return a harmonic of mean square 1 for each degree, about random directions."""
    from scipy.special import eval_gegenbauer, gammaln

    d = X.shape[1]
    order = d / 2 - 1
    columns = []
    for degree in _TARGET_DEGREES:
        direction: NDArray = rng.normal(size=(d,))
        direction /= np.linalg.norm(direction)
        log_peak = gammaln(degree + d - 2) - gammaln(degree + 1) - gammaln(d - 2)
        peak = float(np.exp(log_peak))
        count = (2 * degree + d - 2) / (d - 2) * peak
        # The normalized zonal harmonic has mean square 1 / (number of harmonics).
        values = eval_gegenbauer(degree, order, X @ direction) / peak
        columns.append(np.sqrt(count) * values)
    return np.stack(columns, axis=1)


def _draw_predictions(frame: Any) -> Figure:
    from mlmethods.common.plotting import MUTED, PALETTE, new_figure, style

    with style():
        figure, axes = new_figure(size=(6.4, 4.6))
        span = [frame["measured"].min() * 0.9, frame["measured"].max() * 1.1]
        axes.loglog(span, span, color=MUTED, lw=1, ls="--")
        for color, (d, part) in zip(PALETTE, frame.groupby("d"), strict=False):
            axes.loglog(
                part["predicted"], part["measured"], "o", color=color, label=f"d = {d}"
            )
        axes.set_xlabel("predicted test error")
        axes.set_ylabel("measured test error")
        axes.set_title("Theory against experiment, noise included")
        axes.legend()
    return figure
