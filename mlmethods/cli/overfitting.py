"""``mlmethods overfitting``: what interpolation costs on your table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlmethods.cli.arguments import (
    Bandwidth,
    Drop,
    Index,
    TableFile,
    Task,
    parse_bandwidth,
)
from mlmethods.cli.command import Options, command
from mlmethods.cli.output import print_json, print_table, say

if TYPE_CHECKING:
    import numpy as np

__all__ = ["app"]

app = typer.Typer(
    help="Is it safe, costly or ruinous to fit your table exactly?",
    no_args_is_help=True,
)

_TARGET_COST = 1.05
# Relative to the trace over n, the mean eigenvalue that the ridges are compared with.
_RIDGES = (-8, 2, 41)

_Target = Annotated[str, typer.Option(help="The column to predict.")]
_Kernel = Annotated[str, typer.Option(help="Name of a kernel.")]
_Standardize = Annotated[
    bool, typer.Option(help="Bring every column to mean 0 and deviation 1.")
]
_Rows = Annotated[
    int, typer.Option(help="Use at most so many rows, drawn at random.", min=64)
]


def verdict(
    options: Options,
    table: TableFile,
    *,
    target: _Target,
    kernel: _Kernel = "laplace",
    bandwidth: Bandwidth = None,
    reg: Annotated[
        float, typer.Option(help="The ridge to judge; 0 fits exactly.")
    ] = 0.0,
    seeds: Annotated[int, typer.Option(help="Subsets of each size.", min=2)] = 10,
    rows: _Rows = 4000,
    task: Annotated[
        Task, typer.Option(help="Auto: text, booleans and few integers are classes.")
    ] = Task.AUTO,
    index: Index = None,
    drop: Drop = None,
    standardize: _Standardize = True,
) -> None:
    """Judge a kernel on a table, and name the ridges that bring its cost down."""
    from mlmethods.overfitting import kernel_verdict

    length = parse_bandwidth(bandwidth)
    X, y = _read(table, target, task, index, drop, standardize, rows, options.seed)
    backend = options.resolve_backend()
    found = kernel_verdict(
        kernel,
        X,
        bandwidth=length,
        n_seeds=seeds,
        reg=reg,
        backend=backend.info.name,
        random_state=options.seed,
    )
    ridges = _ridges(kernel, length, X, y, reg, backend.info.name)
    if options.json:
        print_json({"verdict": found.to_dict(), "rows": len(X), **ridges})
        return
    say(str(found))
    print_table(
        ("rows", "E0", "95 % interval", "resolved"),
        [
            (
                int(row["n"]),
                f"{row['e0']:.4g}",
                f"{row['lower']:.4g} to {row['upper']:.4g}",
                "✓" if row["resolved"] else "✗",
            )
            for row in found.e0.to_dict("records")
        ],
    )
    _say_ridges(ridges, len(X), reg)


def _read(
    table: Path,
    target: str,
    task: Task,
    index: str | None,
    drop: list[str] | None,
    standardize: bool,
    rows: int,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the features and the centered targets, one column a class."""
    import numpy as np

    from mlmethods.cli.tables import Columns, guess_task, read_table, target_of

    frame = read_table(table, index)
    y = target_of(frame, target, table)
    kind = guess_task(y) if task is Task.AUTO else task.value
    columns = Columns.learn(
        frame,
        target=target,
        task=kind,
        drop=drop or [],
        standardize=standardize,
        where=table,
    )
    X = columns.features(frame, table).to_numpy()
    if kind == "classification":
        codes = np.unique(y.astype(str), return_inverse=True)[1]
        Y = np.eye(codes.max() + 1)[codes]
    else:
        Y = y.to_numpy(dtype=np.float64)[:, None]
    if len(X) > rows:
        chosen = np.random.default_rng(seed).permutation(len(X))[:rows]
        X, Y = X[chosen], Y[chosen]
    return X, Y - Y.mean(axis=0)


def _ridges(
    kernel: str,
    bandwidth: float | str | None,
    X: np.ndarray,
    y: np.ndarray,
    reg: float,
    backend: str,
) -> dict[str, Any]:
    """Return what the ridge asked for, the cheap one and the best one come to."""
    import numpy as np

    from mlmethods.kernels import resolve_kernel, ridge_path

    found = resolve_kernel(kernel, bandwidth, X=X, rng=0)
    scale = float(found.diag(X).mean())
    regs = np.concatenate([[reg], scale * np.logspace(*_RIDGES)])
    path = ridge_path(found, X, y, regs, backend=backend)
    errors = (path.loo**2).mean(axis=(1, 2))
    best = 1 + int(np.nanargmin(errors[1:]))
    cheap = [i for i in range(1, len(regs)) if path.e0[i] <= _TARGET_COST]
    return {
        "e0": float(path.e0[0]),
        "loo_error": float(errors[0]),
        "best_reg": float(regs[best]),
        "best_loo_error": float(errors[best]),
        "target_cost": _TARGET_COST,
        "target_cost_reg": float(regs[cheap[0]]) if cheap else None,
        "target_cost_loo_error": float(errors[cheap[0]]) if cheap else None,
    }


def _say_ridges(ridges: dict[str, Any], n: int, reg: float) -> None:
    say(f"All {n} rows: E0 {ridges['e0']:.4g}; leave-one-out squared errors:")
    say(f"  with reg {reg:g}: {ridges['loo_error']:.4g}")
    say(f"  best with reg {ridges['best_reg']:.3g}: {ridges['best_loo_error']:.4g}")
    if ridges["target_cost_reg"] is not None:
        say(
            f"  noise costs at most {ridges['target_cost']:g} with reg "
            f"{ridges['target_cost_reg']:.3g}: {ridges['target_cost_loo_error']:.4g}"
        )


def spectrum(
    options: Options,
    table: TableFile,
    *,
    target: _Target,
    kernel: _Kernel = "laplace",
    bandwidth: Bandwidth = None,
    rows: _Rows = 4000,
    index: Index = None,
    drop: Drop = None,
    standardize: _Standardize = True,
    out: Annotated[
        Path | None, typer.Option(dir_okay=False, help="A CSV file of eigenvalues.")
    ] = None,
    figure: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="A figure; PNG and SVG are written."),
    ] = None,
) -> None:
    """Fit the decay of a kernel's eigenvalues on a table."""
    import pandas as pd

    from mlmethods.common.atomic import atomic_path
    from mlmethods.common.plotting import save_figure
    from mlmethods.kernels import resolve_kernel
    from mlmethods.overfitting import empirical_spectrum, fit_exponent, plot_spectrum

    length = parse_bandwidth(bandwidth)
    X, _ = _read(table, target, Task.AUTO, index, drop, standardize, rows, options.seed)
    backend = options.resolve_backend()
    resolved = resolve_kernel(kernel, length, X=X, rng=0)
    found = empirical_spectrum(resolved, X, backend=backend.info.name)
    fit = fit_exponent(found.values, random_state=options.seed)
    if out is not None:
        frame = pd.DataFrame({"eigenvalue": found.values})
        with atomic_path(out) as scratch:
            frame.to_csv(scratch, index_label="index")
    if figure is not None:
        drawn = plot_spectrum(found, fit).figure
        save_figure(drawn, figure.with_suffix(""))
    summary = {
        "rows": len(X),
        "exponent": fit.alpha,
        "interval": list(fit.ci),
        "curvature": fit.curvature,
        "superpolynomial": fit.superpolynomial,
    }
    if options.json:
        print_json(summary)
        return
    low, high = fit.ci
    say(f"eigenvalues fall as i^-{fit.alpha:.3f} (95 % {low:.3f} to {high:.3f})")
    say(
        "faster than any power: interpolating noise is catastrophic in theory"
        if fit.superpolynomial
        else f"in theory interpolating noise multiplies its error by {fit.alpha:.2f}"
    )


command(app, computes=True)(verdict)
command(app, computes=True)(spectrum)
