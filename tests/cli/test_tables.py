from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlmethods.cli.tables import Columns, guess_task, read_table, target_of
from mlmethods.errors import CheckpointError, DataFormatError, InvalidInputError

HERE = Path("t.csv")


@pytest.fixture
def frame(rng: np.random.Generator) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "a": rng.normal(3.0, 5.0, 50),
            "flat": 2,
            "flag": rng.random(50) < 0.5,
            "name": "x",
            "y": rng.normal(size=50),
        }
    )


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_tables_of_every_format_read_the_same(tmp_path, frame, suffix: str) -> None:
    path = tmp_path / f"table{suffix}"
    if suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if suffix == ".tsv" else ",")
    read = read_table(path)
    pd.testing.assert_frame_equal(read, frame, check_dtype=False)
    assert read_table(path, index="a").index.name == "a"


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("t.xlsx", b"", InvalidInputError, "must end in .csv, .tsv or .parquet"),
        ("t.csv", b"", DataFormatError, "t.csv is not a readable table"),
        ("t.csv", b"a,b\n1,2\n1,2,3,4\n", DataFormatError, "line 3"),
        ("t.csv", b"\xff\xfe\x00a", DataFormatError, "t.csv is not a readable table"),
        ("t.parquet", b"PAR1 no", DataFormatError, "t.parquet is not a readable table"),
    ],
)
def test_other_files_are_one_sentence(tmp_path, name, content, error, message) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=message):
        read_table(tmp_path / name)


@pytest.mark.parametrize(
    ("values", "task"),
    [
        ([0.5, 1.5, 2.0], "regression"),
        ([1.0, 2.0, 1.0], "regression"),
        ([0, 1, 0], "classification"),
        (range(21), "regression"),
        (["a", "b", "a"], "classification"),
        ([True, False, True], "classification"),
        (pd.Categorical([1, 2, 1]), "classification"),
    ],
)
def test_the_task_follows_from_the_target(values, task: str) -> None:
    assert guess_task(pd.Series(values)) == task


def learn(frame: pd.DataFrame, **settings) -> Columns:
    defaults = {"target": "y", "task": "regression", "drop": ["name"]}
    return Columns.learn(
        frame, where=HERE, **{**defaults, "standardize": True, **settings}
    )


def test_training_columns_become_standard_and_others_use_the_same_scale(frame) -> None:
    columns = learn(frame)
    assert columns.names == ["a", "flat", "flag"]
    scaled = columns.features(frame, HERE)
    np.testing.assert_allclose(scaled[["a", "flag"]].mean(), 0, atol=1e-12)
    np.testing.assert_allclose(scaled[["a", "flag"]].std(ddof=0), 1)
    assert (scaled["flat"] == 0).all()
    other = frame.iloc[[7, 3]][["flag", "name", "flat", "a"]]
    pd.testing.assert_frame_equal(columns.features(other, HERE), scaled.iloc[[7, 3]])


def test_without_standardizing_the_numbers_stay(frame) -> None:
    columns = learn(frame, standardize=False)
    expected = frame[columns.names].astype("float64")
    pd.testing.assert_frame_equal(columns.features(frame, HERE), expected)


def test_columns_survive_a_file_exactly(tmp_path: Path, frame) -> None:
    import json

    columns = learn(frame)
    (tmp_path / "table.json").write_text(json.dumps(columns.to_dict()))
    assert Columns.read(tmp_path / "table.json") == columns


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        ({}, {"drop": []}, r"column 'name' of t\.csv holds .*--drop name"),
        ({"a": np.nan}, {}, "column 'a' of t.csv lacks 50 values"),
        ({}, {"drop": ["b"]}, "t.csv lacks the columns 'b'; it has 'a', 'flat'"),
        ({}, {"drop": ["a", "flat", "flag", "name"]}, "no column besides the target"),
    ],
)
def test_unusable_columns_are_named(frame, change, settings, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        learn(frame.assign(**change), **settings)


def test_unusable_targets_are_named(frame) -> None:
    with pytest.raises(InvalidInputError, match="lacks the columns 'z'"):
        target_of(frame, "z", HERE)
    frame.loc[3, "y"] = np.nan
    with pytest.raises(InvalidInputError, match="'y' is missing in 1 rows"):
        target_of(frame, "y", HERE)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "not written by 'mlmethods rfm fit'"), ("{}", "damaged"), ("x", "damaged")],
)
def test_damaged_columns_are_refused(tmp_path, content, message: str) -> None:
    path = tmp_path / "table.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(CheckpointError, match=message):
        Columns.read(path)
