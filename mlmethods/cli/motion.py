"""``mlmethods motion``: look into recordings, train, predict, count, evaluate, convert."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlmethods.cli.command import Options, command
from mlmethods.cli.output import print_json, print_table, say, tell

if TYPE_CHECKING:
    import pandas as pd

    from mlmethods.interfaces import Event
    from mlmethods.motion import PrimSeqResult, Recording

__all__ = ["app"]

app = typer.Typer(
    help="From wearable-sensor recordings to counted motions.", no_args_is_help=True
)


class Format(StrEnum):
    """Layouts of labeled data."""

    STROKEREHAB = "strokerehab"
    TAS = "tas"
    JIGSAWS = "jigsaws"
    BIDS = "bids"
    WATCH = "watch"


class Model(StrEnum):
    """What can be trained."""

    SEQ2SEQ = "seq2seq"
    CTC = "ctc"
    MSTCN = "mstcn"
    ASRF = "asrf"
    ASFORMER = "asformer"
    BIGRU = "bigru"
    CNN = "cnn"
    FOREST = "forest"


class Side(StrEnum):
    """Which arm."""

    LEFT = "left"
    RIGHT = "right"
    BOTH = "both"


class Interval(StrEnum):
    """How far counts may be off."""

    CONFORMAL = "conformal"
    POISSON_BINOMIAL = "poisson-binomial"
    NONE = "none"


_Files = Annotated[
    list[Path],
    typer.Argument(exists=True, metavar="PATH", help="Recordings, or folders of them."),
]
_Trained = Annotated[
    Path, typer.Option("--model", exists=True, file_okay=False, help="A trained model.")
]
_Out = Annotated[Path, typer.Option(file_okay=False, help="Where results go.")]
_Arm = Annotated[Side, typer.Option(help="The arm to look at.")]
_Columns = Annotated[
    Path | None,
    typer.Option(
        exists=True, dir_okay=False, help="What columns are: a YAML or JSON file."
    ),
]
_Rate = Annotated[
    float | None, typer.Option(help="Samples per second, where files do not tell.")
]

# Epochs of a network on the whole of its data, as published.
_EPOCHS = {
    Model.SEQ2SEQ: 150,
    Model.CTC: 150,
    Model.MSTCN: 50,
    Model.ASRF: 50,
    Model.ASFORMER: 120,
    Model.BIGRU: 50,
    Model.CNN: 50,
}


def _read(
    paths: list[Path], column_map: Path | None = None, fs: float | None = None
) -> list[Recording]:
    from mlmethods.motion import Recording, io

    found: list[Recording] = []
    for path in paths:
        own = io.read(path, column_map=column_map, fs=fs)
        found += [own] if isinstance(own, Recording) else own
    return found


def info(
    options: Options,
    paths: _Files,
    *,
    column_map: _Columns = None,
    fs: _Rate = None,
) -> None:
    """Say what is understood of recordings: channels, rate, units and gaps."""
    rows = [_described(recording) for recording in _read(paths, column_map, fs)]
    if options.json:
        print_json(rows)
        return
    print_table(
        ("recording", "subject", "side", "rate", "seconds", "channels", "missing"),
        [
            (
                row["recording"],
                row["subject"],
                row["side"] or "",
                f"{row['fs']:g} Hz",
                f"{row['seconds']:.1f}",
                ", ".join(f"{count} {kind}" for kind, count in row["channels"].items()),
                f"{row['missing']:.2%}",
            )
            for row in rows
        ],
    )
    for row in rows:
        for entry in row["quality"]:
            say(f"{row['recording']}: {entry}")


def _described(recording: Recording) -> dict[str, Any]:
    import numpy as np

    kinds: dict[str, int] = {}
    for channel in recording.channels:
        label = f"{channel.kind} ({channel.unit})"
        kinds[label] = kinds.get(label, 0) + 1
    return {
        "recording": recording.name,
        "subject": recording.subject,
        "session": recording.session,
        "activity": recording.activity,
        "side": recording.side,
        "fs": recording.fs,
        "frames": recording.n_frames,
        "seconds": recording.duration,
        "channels": kinds,
        "missing": float(np.isnan(recording.data).mean())
        if recording.n_frames
        else 0.0,
        "quality": [
            f"{entry.channel}: {entry.issue}, {entry.action}"
            for entry in recording.quality
        ],
    }


def _of_side(recordings: list[Recording], side: Side) -> list[Recording]:
    from mlmethods.errors import InvalidInputError

    if side is Side.BOTH:
        return recordings
    kept = [r for r in recordings if r.side in (None, side.value)]
    if not kept:
        raise InvalidInputError(f"no recording is of the {side.value} side")
    return kept


def _run(
    recordings: list[Recording],
    model: Path,
    side: Side,
    interval: Interval = Interval.NONE,
    calibration: Path | None = None,
) -> PrimSeqResult:
    """Repair, recognize and count."""
    from mlmethods.motion import CountCalibration, PrimSeq, load_model
    from mlmethods.motion.preprocess import SensorSanitizer

    trained = load_model(model)
    pipeline = PrimSeq(
        trained,
        SensorSanitizer(fs_out=trained.fs_),
        interval=None if interval is Interval.NONE else interval.value,
        calibration=None if calibration is None else CountCalibration.load(calibration),
    )
    return pipeline.predict(_of_side(recordings, side))


def predict(
    options: Options,
    paths: _Files,
    *,
    model: _Trained,
    out: _Out,
    side: _Arm = Side.BOTH,
    column_map: _Columns = None,
    fs: _Rate = None,
) -> None:
    """Find the motions in recordings; writes tables and annotation files."""
    result = _run(_read(paths, column_map, fs), model, side)
    result.export(out)
    if options.json:
        print_json(result.to_dataframe().to_dict("records"))
        return
    say(f"{result!r} in {out}")


def count(
    options: Options,
    paths: _Files,
    *,
    model: _Trained,
    out: _Out,
    side: _Arm = Side.BOTH,
    interval: Annotated[
        Interval, typer.Option(help="How far counts may be off.")
    ] = Interval.CONFORMAL,
    calibration: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="What train wrote beside a model."
        ),
    ] = None,
    column_map: _Columns = None,
    fs: _Rate = None,
) -> None:
    """Count the motions in recordings, with a report, tables and annotation files."""
    beside = model / "calibration.json"
    if calibration is None and beside.exists():
        calibration = beside
    result = _run(_read(paths, column_map, fs), model, side, interval, calibration)
    result.provenance["command"] = f"mlmethods motion count --model {model}"
    result.export(out)
    result.report(out)
    totals = result.totals()
    if options.json:
        print_json(totals.to_dict("records"))
        return
    print_table(
        ("subject", "session", "side", "motion", "count", "interval", "per minute"),
        [_total(row) for row in totals.to_dict("records")],
    )
    repaired = len(result.quality)
    say(f"{repaired} repairs are listed in the report, {out / 'report.html'}")


def _total(row: dict[str, Any]) -> tuple[Any, ...]:
    known = row["low"] == row["low"] and row["low"] is not None
    return (
        row["subject"],
        row["session"] or "",
        row["side"] or "",
        row["class"],
        row["count"],
        f"{row['low']:g} to {row['high']:g}" if known else "not known",
        f"{row['per_minute']:.1f}",
    )


def train(
    options: Options,
    *,
    data: Annotated[
        Path | None, typer.Option(help="Root of the data; watch needs none.")
    ] = None,
    format: Annotated[Format, typer.Option(help="Layout of the data.")],
    split: Annotated[
        str, typer.Option(help="Which split: fold_1, or a number from 1.")
    ] = "1",
    task: Annotated[
        str, typer.Option(help="The set of tas, or the task of jigsaws.")
    ] = "50salads",
    model: Annotated[Model, typer.Option(help="What to train.")] = Model.SEQ2SEQ,
    hidden: Annotated[
        int | None, typer.Option(help="Units or maps of a layer.", min=1)
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs.", min=1)] = None,
    out: _Out,
    resume: Annotated[
        bool, typer.Option(help="Go on from the checkpoint in --out.")
    ] = False,
) -> None:
    """Train a model on labeled recordings, and calibrate its counts."""
    from mlmethods.motion import PrimSeq

    training, validation = _parts(format, data, split, task)
    estimator = _estimator(model, hidden, epochs, options.seed)
    settings: dict[str, Any] = {}
    if model is not Model.FOREST:
        settings = {
            "checkpoint": out / "checkpoint",
            "resume": out / "checkpoint" if resume else None,
            "callbacks": (_progress(options),),
        }
    estimator.fit(training, validation, **settings)
    estimator.save_pretrained(out / "model")
    scores: dict[str, float] = {}
    if validation is not None:
        pipeline = PrimSeq(estimator).calibrate(list(validation))
        assert pipeline.calibration is not None
        pipeline.calibration.save(out / "model" / "calibration.json")
        scores["validation_aer"] = -float(estimator.score(validation))
    if options.json:
        print_json({"model": str(out / "model"), **scores})
        return
    aer = "".join(f", validation AER {value:.3f}" for value in scores.values())
    say(f"{type(estimator).__name__} is in {out / 'model'}{aer}")


def _progress(options: Options) -> Callable[[Event], None]:
    def report(event: Event) -> None:
        if options.quiet or event.kind != "step":
            return
        metrics = ", ".join(f"{name} {v:.4g}" for name, v in event.metrics.items())
        tell(f"epoch {event.step} of {event.total}: {metrics}")

    return report


def _parts(format: Format, root: Path | None, split: str, task: str) -> tuple[Any, Any]:
    """Return recordings to train on and to validate on, or None."""
    from mlmethods.errors import InvalidInputError
    from mlmethods.motion import datasets, io

    if format is Format.WATCH:
        # two subjects are left for a test
        known, _ = datasets.make_watch_sessions().split_by_subject(["9", "10"])
        return known.split_by_subject(["8"])
    if root is None:
        raise InvalidInputError(f"--data must name the root of the {format.value} data")
    if format is Format.STROKEREHAB:
        fold = split if split.startswith("fold") else f"fold_{split}"
        load = datasets.load_strokerehab
        return load(root, split=fold, part="train"), load(root, split=fold, part="val")
    if format is Format.BIDS:
        return io.read_folder(root, format="bids"), None
    if not split.isdigit():
        raise InvalidInputError(f"--split must be a number from 1, got {split!r}")
    if format is Format.TAS:
        return datasets.load_tas(root, task, split=int(split), part="train"), None
    return datasets.load_jigsaws(root, task=task, out=int(split), part="train"), None


def _estimator(model: Model, hidden: int | None, epochs: int | None, seed: int) -> Any:
    from mlmethods import motion

    if model is Model.FOREST:
        return motion.WindowForest(random_state=seed)
    classes = {
        Model.SEQ2SEQ: (motion.Seq2SeqRecognizer, "hidden"),
        Model.CTC: (motion.CTCRecognizer, "hidden"),
        Model.MSTCN: (motion.MSTCN, "maps"),
        Model.ASRF: (motion.ASRF, "maps"),
        Model.ASFORMER: (motion.ASFormer, "maps"),
        Model.BIGRU: (motion.BiGRUTagger, "hidden"),
        Model.CNN: (motion.CNNTagger, "maps"),
    }
    build, width = classes[model]
    settings = {} if hidden is None else {width: hidden}
    return build(epochs=epochs or _EPOCHS[model], random_state=seed, **settings)


def evaluate(
    options: Options,
    *,
    pred: Annotated[
        Path,
        typer.Option(exists=True, help="segments.csv, or the folder that has it."),
    ],
    truth: Annotated[
        Path, typer.Option(exists=True, help="Labeled recordings, or their folder.")
    ],
    by: Annotated[
        str, typer.Option(help="What to keep apart: patient, activity, or both.")
    ] = "",
) -> None:
    """Compare found motions with labels, by the metrics of the field."""
    from mlmethods.motion.metrics import evaluate as compare

    labeled, found = _matched(_read([truth]), pred)
    result = compare(
        [recording.labels.names for recording in labeled],
        [spans.names for spans in found],
        patients=[recording.subject for recording in labeled],
        groups={"activity": [recording.activity or "" for recording in labeled]},
        framewise=False,
        collapse_repeats=True,
    )
    if options.json:
        print_json(result.to_dict())
        return
    numbers = result.to_dict()
    print_table(("metric", "value"), [(k, _number(v)) for k, v in numbers.items()])
    for group in filter(None, by.split(",")):
        table: pd.DataFrame = result.by(group).reset_index()
        print_table(
            list(map(str, table.columns)),
            [[_number(cell) for cell in row] for row in table.to_numpy()],
        )


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _matched(
    recordings: list[Recording], pred: Path
) -> tuple[list[Recording], list[Any]]:
    """Return labeled recordings and the predictions for them, by name."""
    from mlmethods.errors import InvalidInputError
    from mlmethods.motion import export

    path = pred / "segments.csv" if pred.is_dir() else pred
    tracks = export.read_csv(path)
    labeled = [recording for recording in recordings if recording.labels is not None]
    if not labeled:
        raise InvalidInputError("--truth must hold labeled recordings, got none")
    found = []
    for recording in labeled:
        # a long gap splits a recording into parts with numbered names
        own = [
            spans
            for (name, _), spans in tracks.items()
            if name == recording.name or name.startswith(f"{recording.name} (")
        ]
        if not own:
            raise InvalidInputError(f"--pred has no track for {recording.name}")
        found.append(_in_classes(own, recording.labels.classes))
    return labeled, found


def _in_classes(parts: list[Any], classes: tuple[str, ...]) -> Any:
    """Return the spans of all parts as one, with the classes of the truth."""
    from mlmethods.motion import Segments

    spans = [span for part in parts for span in part]
    return Segments.from_names(
        [span.start for span in spans],
        [span.end for span in spans],
        [span.name for span in spans],
        tuple(dict.fromkeys((*classes, *(span.name for span in spans)))),
    )


def convert(
    options: Options,
    source: Annotated[
        Path,
        typer.Argument(
            exists=True, dir_okay=False, help=".csv, .eaf, .TextGrid or events .tsv."
        ),
    ],
    target: Annotated[Path, typer.Argument(dir_okay=False, help="The file to write.")],
) -> None:
    """Write annotations in the format that the name of the target tells."""
    from mlmethods.motion import export

    export.convert(source, target)
    if options.json:
        print_json({"written": str(target)})
    else:
        say(f"wrote {target}")


command(app)(info)
command(app, computes=True)(predict)
command(app, computes=True)(count)
command(app, computes=True)(train)
command(app)(evaluate)
command(app)(convert)
