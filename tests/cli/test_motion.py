"""Recordings, models, counts and annotations from the command line."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import praatio.textgrid
import pympi
import pytest

from mlmethods.motion import Recording, WindowForest, load_model
from mlmethods.motion.datasets import make_watch_sessions

FS = 50.0


@pytest.fixture(scope="module")
def sessions() -> Any:
    return make_watch_sessions(sessions=1, bouts=6)


@pytest.fixture(scope="module")
def model(sessions: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    train, _ = sessions.split_by_subject(["9", "10"])
    folder = tmp_path_factory.mktemp("model") / "forest"
    forest = WindowForest(n_estimators=10, smoothing=(51, 3.0), random_state=0)
    forest.fit(train).save_pretrained(folder)
    return folder


def write(path: Path, recording: Recording, *, labels: bool = True) -> pd.DataFrame:
    """Write a table in g and rad/s, as an export would be."""
    table = pd.DataFrame({"time_s": np.arange(recording.n_frames) / FS})
    for column, channel in zip(recording.data.T, recording.channels, strict=True):
        if channel.kind == "accel":
            table[f"{channel.name} (g)"] = column / 9.80665
        else:
            table[f"{channel.name} (rad/s)"] = column
    if labels:
        frames = recording.labels.to_frames(FS, recording.n_frames)
        table["label"] = [recording.labels.classes[i] for i in frames]
    table.to_csv(path, index=False)
    return table


@pytest.fixture
def folder(sessions: Any, tmp_path: Path) -> Path:
    """Exports of two subjects: one whole, one damaged."""
    root = tmp_path / "exports"
    root.mkdir()
    _, test = sessions.split_by_subject(["9", "10"])
    write(root / "s9_composed_1.csv", test[0])
    table = write(root / "s10_composed_1.csv", test[2])
    damaged = table.drop(index=range(100, 105))
    damaged.to_csv(root / "s10_composed_1.csv", index=False)
    return root


def test_info_says_what_was_understood(invoke, folder: Path) -> None:
    run = invoke("motion", "info", str(folder), "--json")
    assert run.exit_code == 0, run.output
    first, second = json.loads(run.stdout)
    assert {first["subject"], second["subject"]} == {"s9", "s10"}
    assert first["fs"] == FS
    assert first["channels"] == {"accel (m/s2)": 3, "gyro (rad/s)": 3}
    plain = invoke("motion", "info", str(folder))
    assert plain.exit_code == 0
    assert "50 Hz" in plain.stdout


def test_counts_come_with_a_report_and_annotations(
    invoke, folder: Path, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = ("--model", str(model), "--out", str(out))
    run = invoke("motion", "count", str(folder), *arguments)
    assert run.exit_code == 0, run.output
    assert "repairs are listed" in run.stdout
    quality = pd.read_csv(out / "quality.csv")
    assert quality["recording"].str.contains("s10").any()
    counts = pd.read_csv(out / "counts.csv")
    spans = pd.read_csv(out / "segments.csv")
    assert counts["count"].sum() == len(spans) > 4
    eaf = pympi.Elan.Eaf(str(out / "s9_composed_1.eaf"))
    (tier,) = (name for name in eaf.get_tier_names() if name != "default")
    found = spans[spans["recording"].str.startswith("s9")]
    assert len(eaf.get_annotation_data_for_tier(tier)) == len(found)
    grid = praatio.textgrid.openTextgrid(
        str(out / "s9_composed_1.TextGrid"), includeEmptyIntervals=False
    )
    assert len(grid.getTier(grid.tierNames[0]).entries) == len(found)
    HTMLParser().feed((out / "report.html").read_text())
    assert json.loads((out / "report.json").read_text())


def test_predictions_are_evaluated(
    invoke, folder: Path, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = ("--model", str(model), "--out", str(out))
    assert invoke("motion", "predict", str(folder), *arguments).exit_code == 0
    run = invoke(
        *("motion", "evaluate", "--pred", str(out), "--truth", str(folder), "--json")
    )
    assert run.exit_code == 0, run.output
    found = json.loads(run.stdout)
    assert 0 <= found["aer"] < 3
    plain = invoke(
        *("motion", "evaluate", "--pred", str(out), "--truth", str(folder)),
        *("--by", "patient"),
    )
    assert plain.exit_code == 0, plain.output
    assert "s10" in plain.stdout


def test_a_forest_is_trained_and_calibrated(
    invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlmethods.motion import datasets

    small = make_watch_sessions(sessions=1, bouts=4)
    monkeypatch.setattr(datasets, "make_watch_sessions", lambda: small)
    run = invoke(
        *("motion", "train", "--format", "watch", "--model", "forest"),
        *("--out", str(tmp_path), "--json"),
    )
    assert run.exit_code == 0, run.output
    found = json.loads(run.stdout)
    assert isinstance(load_model(found["model"]), WindowForest)
    assert (tmp_path / "model" / "calibration.json").exists()
    assert found["validation_aer"] > 0


def test_annotations_are_converted_there_and_back(
    invoke, folder: Path, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = ("--model", str(model), "--out", str(out))
    assert invoke("motion", "predict", str(folder), *arguments).exit_code == 0
    source, grid = out / "s9_composed_1.eaf", tmp_path / "one.TextGrid"
    assert invoke("motion", "convert", str(source), str(grid)).exit_code == 0
    back = tmp_path / "back.csv"
    assert invoke("motion", "convert", str(grid), str(back)).exit_code == 0
    spans = pd.read_csv(out / "segments.csv")
    known = spans[spans["recording"].str.startswith("s9")]
    found = pd.read_csv(back)
    assert found["label"].tolist() == known["label"].tolist()
    np.testing.assert_allclose(found["start_s"], known["start_s"], atol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "--format", "tas", "--out", "x"), "--data must name the root"),
        (("train", "--format", "nothing", "--out", "x"), "nothing"),
    ],
)
def test_bad_arguments_end_with_2(invoke, arguments, message: str) -> None:
    run = invoke("motion", *arguments)
    assert run.exit_code == 2
    assert message in run.output + str(run.stderr)


def test_a_damaged_file_ends_with_2_and_names_its_place(
    invoke, folder: Path, model: Path, tmp_path: Path
) -> None:
    path = folder / "s9_composed_1.csv"
    lines = path.read_text().splitlines()
    lines[5] = lines[5].replace(lines[5].split(",")[1], "oops")
    path.write_text("\n".join(lines))
    run = invoke(
        *("motion", "count", str(folder), "--model", str(model)),
        *("--out", str(tmp_path / "out")),
    )
    assert run.exit_code == 2
    assert "s9_composed_1.csv:6" in run.output + str(run.stderr)
    assert not (tmp_path / "out").exists()


def test_a_folder_without_a_model_is_refused(invoke, folder: Path) -> None:
    run = invoke(
        *("motion", "predict", str(folder), "--model", str(folder), "--out", "x")
    )
    assert run.exit_code == 2
