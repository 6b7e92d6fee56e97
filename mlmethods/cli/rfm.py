"""``mlmethods rfm``: fit, predict and explain on tables."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

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
from mlmethods.cli.output import print_json, print_table, say, tell

__all__ = ["app"]

app = typer.Typer(
    help="Recursive Feature Machines on your tables.", no_args_is_help=True
)

MODEL_FOLDER = "model"
COLUMNS_FILE = "table.json"

_Fitted = Annotated[
    Path, typer.Argument(metavar="DIR", help="What 'mlmethods rfm fit' wrote.")
]


def fit(
    options: Options,
    table: TableFile,
    *,
    target: Annotated[str, typer.Option(help="The column to predict.")],
    out: Annotated[Path, typer.Option(file_okay=False, help="Where the model goes.")],
    task: Annotated[
        Task, typer.Option(help="Auto: text, booleans and few integers are classes.")
    ] = Task.AUTO,
    index: Index = None,
    drop: Drop = None,
    standardize: Annotated[
        bool, typer.Option(help="Bring every column to mean 0 and deviation 1.")
    ] = True,
    kernel: Annotated[str, typer.Option(help="Name of a kernel.")] = "laplace",
    bandwidth: Bandwidth = None,
    reg: Annotated[
        float, typer.Option(help="Added to the kernel matrix's diagonal.")
    ] = 1e-3,
    n_iter: Annotated[int, typer.Option(help="Updates of the feature matrix.")] = 5,
    diagonal: Annotated[
        bool, typer.Option("--diagonal", help="Learn one weight a column only.")
    ] = False,
) -> None:
    """Fit a model to a table and save it."""
    from mlmethods.cli.tables import Columns, guess_task, read_table, target_of
    from mlmethods.common.progress import progress_callback

    _require_replaceable(out)
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
    backend = options.resolve_backend()
    start = time.perf_counter()
    with progress_callback(not options.quiet) as callback:
        model = _estimator(kind)(
            kernel=kernel,
            bandwidth=parse_bandwidth(bandwidth),
            reg=reg,
            n_iter=n_iter,
            diagonal=diagonal,
            dtype=options.dtype.value,
            backend=backend.info.name,
            random_state=options.seed,
            callbacks=(callback,),
        )
        model.fit(columns.features(frame, table), y.to_numpy())
    # A progress bar is not part of the model.
    model.set_params(callbacks=())
    seconds = time.perf_counter() - start
    _save(model, columns, out)
    summary = {
        "model": str(out),
        "class": type(model).__name__,
        "rows": len(frame),
        "columns": len(columns.names),
        "task": kind,
        "backend": backend.info.name,
        "seconds": round(seconds, 3),
    }
    if options.json:
        print_json(summary)
    else:
        say(
            f"{summary['class']} fitted on {len(frame)} rows and "
            f"{len(columns.names)} columns in {seconds:.1f} s ({kind} of {target!r}); "
            f"it is in {out}"
        )


def _estimator(task: str) -> Any:
    from mlmethods import rfm

    return rfm.RFMClassifier if task == "classification" else rfm.RFMRegressor


def _require_replaceable(out: Path) -> None:
    from mlmethods.errors import CheckpointError

    if not out.exists() or not any(out.iterdir()):
        return
    if {path.name for path in out.iterdir()} != {MODEL_FOLDER, COLUMNS_FILE}:
        raise CheckpointError(
            f"{out} holds other files and is not replaced; give a new or an empty folder"
        )


def _save(model: Any, columns: Any, out: Path) -> None:
    from mlmethods.common.atomic import atomic_directory, write_json

    with atomic_directory(out) as scratch:
        model.save(scratch / MODEL_FOLDER)
        write_json(scratch / COLUMNS_FILE, columns.to_dict())


def _load(folder: Path) -> tuple[Any, Any]:
    from mlmethods.cli.tables import Columns
    from mlmethods.common.checkpoint import load

    columns = Columns.read(folder / COLUMNS_FILE)
    return load(folder / MODEL_FOLDER), columns


def predict(
    options: Options,
    folder: _Fitted,
    table: TableFile,
    *,
    out: Annotated[Path, typer.Option(dir_okay=False, help="The CSV file to write.")],
    index: Index = None,
) -> None:
    """Predict every row of a table, in its order and with its index."""
    import pandas as pd

    from mlmethods.cli.tables import read_table
    from mlmethods.common.atomic import atomic_path

    model, columns = _load(folder)
    frame = read_table(table, index)
    features = columns.features(frame, table)
    result = pd.DataFrame(index=frame.index)
    result["prediction"] = model.predict(features)
    if columns.task == "classification":
        probabilities = model.predict_proba(features)
        for label, column in zip(model.classes_, probabilities.T, strict=True):
            result[f"probability_{label}"] = column
    with atomic_path(out) as scratch:
        result.to_csv(scratch, index_label=str(frame.index.name or "index"))
    if options.json:
        print_json({"out": str(out), "rows": len(result)})
    elif not options.quiet:
        tell(f"{len(result)} predictions of {columns.target!r} are in {out}")


def importance(options: Options, folder: _Fitted) -> None:
    """Rank the columns by the share of the learned feature matrix's diagonal."""
    model, columns = _load(folder)
    pairs = zip(columns.names, map(float, model.feature_importances_), strict=True)
    ranked = sorted(pairs, key=lambda pair: -pair[1])
    if options.json:
        print_json([{"column": name, "importance": share} for name, share in ranked])
        return
    print_table(
        ("column", "importance"), [(name, f"{share:.4f}") for name, share in ranked]
    )


command(app, computes=True)(fit)
command(app)(predict)
command(app)(importance)
