"""Readers of tables, on files written in each format, whole and damaged."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import sklearn.datasets
from scipy.io import arff as scipy_arff

from mlmethods.datasets import (
    check_data,
    list_datasets,
    load_table,
    load_uci121,
    read_arff,
    read_keel,
    read_table,
)
from mlmethods.errors import (
    DataFormatError,
    DatasetNotFoundError,
    InvalidInputError,
)

ARFF = """\
% a comment
@RELATION 'some weather'

@attribute temperature NUMERIC
@attribute 'wind speed' integer
@attribute "out\\'look" {sunny, 'light rain', over\\ cast}
@attribute remark string
@attribute day date "yyyy-MM-dd"
@attribute play {yes,no}
@data
21.5, 3, sunny, 'hot, dry', 2020-01-31, yes
% another comment
?, 4,'light rain', "it's", 1999-12-01 ,no
-1e1,5,over\\ cast,'?',?,yes
"""


def test_arff_with_every_kind_of_attribute(write) -> None:
    frame = read_arff(write("weather.arff", ARFF))
    assert frame.columns.tolist() == [
        "temperature",
        "wind speed",
        "out'look",
        "remark",
        "day",
        "play",
    ]
    np.testing.assert_array_equal(frame["temperature"], [21.5, np.nan, -10.0])
    assert frame["wind speed"].dtype == np.int64
    assert frame["out'look"].tolist() == ["sunny", "light rain", "over cast"]
    assert frame["out'look"].cat.categories.tolist() == [
        "sunny",
        "light rain",
        "over cast",
    ]
    # A quoted question mark is text, a bare one is missing.
    assert frame["remark"].tolist() == ["hot, dry", "it's", "?"]
    assert frame["day"].tolist()[:2] == [
        pd.Timestamp("2020-01-31"),
        pd.Timestamp("1999-12-01"),
    ]
    assert pd.isna(frame["day"][2])
    table = load_table(write("weather.arff", ARFF))
    assert (table.task, table.y.tolist()) == ("classification", ["yes", "no", "yes"])


def test_arff_agrees_with_scipy_where_scipy_can_read(write, rng) -> None:
    values = rng.standard_normal((40, 3))
    labels = rng.choice(["a", "b c", "d"], 40)
    lines = ["@relation r", *(f"@attribute x{j} real" for j in range(3))]
    lines += ["@attribute label {a, 'b c', d}", "@data"]
    lines += [
        ",".join([*map(repr, map(float, row)), f"'{label}'"])
        for row, label in zip(values, labels, strict=True)
    ]
    path = write("numbers.arff", "\n".join(lines))
    frame = read_arff(path)
    theirs = pd.DataFrame(scipy_arff.loadarff(path)[0])
    np.testing.assert_array_equal(frame.iloc[:, :3], theirs.iloc[:, :3])
    # SciPy keeps the quotes of a nominal value.
    expected = [label.decode().strip("'") for label in theirs["label"]]
    assert frame["label"].tolist() == expected == labels.tolist()


HEADER = "@relation r\n@attribute x real\n@attribute y {a,b}\n@data\n"


@pytest.mark.parametrize(
    ("text", "line", "fragment"),
    [
        ("", 1, "empty"),
        ("@relation r\n@attribute x real\n", 2, "ends before @data"),
        (HEADER, 4, "no rows"),
        (HEADER + "1,a\n2\n", 6, "expected 2 values, found 1"),
        (HEADER + "1,a\n2,b,3\n", 6, "expected 2 values, found 3"),
        (HEADER + "one,a\n", 5, "'one' is not a finite number, as 'x' requires"),
        (HEADER + "inf,a\n", 5, "finite"),
        (HEADER + "1,c\n", 5, "'c' is not a declared value of 'y'"),
        (HEADER + "{0 1, 1 a}\n", 5, "sparse"),
        (HEADER + "1,a,{3}\n", 5, "weights"),
        (HEADER + "1,'a\n", 5, "never closed"),
        (HEADER + "1,'a'b\n", 5, "after a closing quote"),
        ("@relation r\n@attribute x\n@data\n", 2, "a name and a type"),
        ("@relation r\n@attribute x blob\n@data\n", 2, "type 'blob'"),
        ("@relation r\n@attribute x relational\n@data\n", 2, "relational"),
        ("@relation r\n@attribute x {a,b\n@data\n", 2, "closing brace"),
        ("@relation r\n@attribute x {a,a}\n@data\n", 2, "twice"),
        ("@relation r\n@attribute x date 'EEE d'\n@data\n", 2, "date format"),
        ("@relation r\n@attribute x real\n@attribute x real\n@data\n", 4, "twice"),
        ("@relation r\n@data\n1\n", 2, "no attribute"),
        ("@relation r\n1,2\n", 2, "expected @relation"),
        ("@relation r\n@attribute d date\n@data\n2020-13-01\n", 4, "not a date"),
        (b"@relation r\n@attribute \xff real\n", 2, "UTF-8"),
        (b"@relation r\n@attri\x00", 2, "null byte"),
    ],
)
def test_damaged_arff_names_file_and_line(write, text, line, fragment) -> None:
    path = write("damaged.arff", text)
    with pytest.raises(DataFormatError) as caught:
        read_arff(path)
    assert str(caught.value).startswith(f"{path}, line {line}: ")
    assert fragment in str(caught.value)


KEEL = """\
@relation thing
@attribute First real [0.5, 4.0]
@attribute second integer[1,9]
@attribute Kind{one, two}
@attribute third real [0, 1]
@inputs First, second, third
@outputs Kind
@data
1.5, 3, one, 0.25
<null>, 9, two, ?
"""


def test_keel_with_its_header_puts_the_output_last(write) -> None:
    frame = read_keel(write("thing.dat", KEEL))
    assert frame.columns.tolist() == ["First", "second", "third", "Kind"]
    np.testing.assert_array_equal(frame["First"], [1.5, np.nan])
    assert frame["second"].tolist() == [3, 9]
    assert frame["Kind"].cat.categories.tolist() == ["one", "two"]
    table = load_table("keel:thing", root=write("keel/thing.dat", KEEL).parents[1])
    assert (table.task, table.name) == ("classification", "keel:thing")


def test_keel_rows_without_header(write) -> None:
    text = "1, 2.50,a ,  x,-1.0\n2,3.25,b,?,1.0\n\n"
    frame = read_keel(write("rows.dat", text))
    assert frame.columns.tolist() == ["x1", "x2", "x3", "x4", "class"]
    assert frame["x1"].dtype == np.int64
    assert frame["x2"].tolist() == [2.5, 3.25]
    assert frame["x3"].tolist() == ["a", "b"]
    assert frame["x4"].isna().tolist() == [False, True]
    assert frame["class"].tolist() == [-1, 1]
    assert frame["class"].dtype == np.int64


@pytest.mark.parametrize(
    ("text", "line", "fragment"),
    [
        ("", 1, "empty"),
        ("1,2,a\n1,2\n", 2, "expected 3 values, found 2"),
        ("1,2,a\n1,2,\n", 2, "label is missing"),
        ("1\n2\n", 1, "label last"),
        (KEEL.replace("@data", "@date"), 8, "'@date' is not a keyword"),
        (KEEL.replace("9, two", "nine, two"), 10, "not a finite number"),
        (KEEL.replace("9, two", "9, ten"), 10, "not a declared value"),
        (KEEL.replace("@outputs Kind", "@outputs Sort"), 1, "not a declared attribute"),
        (KEEL.replace("@outputs Kind", "@outputs Kind, third"), 7, "one output"),
        (KEEL.partition("1.5")[0], 8, "no rows"),
        (b"1,2,a\n1,\xff,b\n", 2, "UTF-8"),
    ],
)
def test_damaged_keel_names_file_and_line(write, text, line, fragment) -> None:
    path = write("damaged.dat", text)
    with pytest.raises(DataFormatError) as caught:
        read_keel(path)
    assert str(caught.value).startswith(f"{path}, line {line}: ")
    assert fragment in str(caught.value)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_plain_files_keep_values_and_choose_the_target(tmp_path, suffix) -> None:
    frame = pd.DataFrame(
        {"size": [1.5, 2.5, np.nan], "kind": ["a", "b", "a"], "count": [7, 8, 9]}
    )
    path = tmp_path / f"plain{suffix}"
    if suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if suffix == ".tsv" else ",")
    table = load_table(path)
    assert table.y.tolist() == [7, 8, 9]
    assert table.task == "classification"
    np.testing.assert_array_equal(table.X["size"], frame["size"])
    assert load_table(str(path), target="kind").X.columns.tolist() == ["size", "count"]
    with pytest.raises(InvalidInputError, match="target must be a column"):
        load_table(path, target="weight")
    with pytest.raises(InvalidInputError, match="missing in 1 rows"):
        load_table(path, target="size")


@pytest.mark.parametrize(
    ("name", "content", "fragment"),
    [
        ("short.csv", "a,b,c\n1,2,3\n1,2\n", "line 3: expected 3 values, found 2"),
        ("long.csv", "a,b\n1,2\n1,2,3\n", "line 3: expected 2 values, found 3"),
        ("longer.csv", "a,b\n1,2,3\n4,5,6\n", "line 2: expected 2 values, found 3"),
        ("empty.csv", "", "not a table"),
        ("header.csv", "a,b\n", "no rows"),
        ("bytes.csv", b"a,b\n1,2\n\xff\xfe,1\n", "line 3: it is not text in UTF-8"),
        ("cut.parquet", b"PAR1\x00\x00", "not a Parquet file"),
        ("narrow.csv", "a\n1\n2\n", "no column besides the target"),
    ],
)
def test_damaged_plain_files_are_refused(write, name, content, fragment) -> None:
    path = write(name, content)
    with pytest.raises(DataFormatError) as caught:
        load_table(path)
    assert str(caught.value).startswith(str(path))
    assert fragment in str(caught.value)


def test_values_missing_from_the_last_column_are_no_damage(write) -> None:
    frame = read_table(write("gaps.csv", "a,b\n1,2\n3,\n"))
    assert frame["b"].isna().tolist() == [False, True]


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "digits"])
def test_bundled_classification_sets(name: str) -> None:
    table = load_table(name)
    theirs = getattr(sklearn.datasets, f"load_{name}")()
    np.testing.assert_array_equal(table.X, theirs.data)
    np.testing.assert_array_equal(table.y, theirs.target)
    assert (table.task, table.source) == ("classification", "scikit-learn")


def test_the_bundled_regression_set() -> None:
    table = load_table("diabetes")
    assert table.task == "regression"
    np.testing.assert_array_equal(table.y, sklearn.datasets.load_diabetes().target)
    # A column other than the published target has a task of its own.
    assert load_table("iris", target="sepal width (cm)").task == "regression"


@pytest.mark.parametrize(
    ("name", "error", "fragment"),
    [
        ("mnist-5k", InvalidInputError, "use load_images"),
        ("iriss", DatasetNotFoundError, "Did you mean 'iris'"),
        ("table.xlsx", DatasetNotFoundError, "no dataset 'table.xlsx'"),
        ("absent.csv", DatasetNotFoundError, "no file absent.csv"),
    ],
)
def test_names_that_are_no_table(name, error, fragment) -> None:
    with pytest.raises(error, match=fragment):
        load_table(name)


UCI = {
    "toy/toy.txt": "n_patrons1= 6\nn_entradas= 2\nn_clases= 2\nfich1= toy_R.dat\n",
    "toy/toy_R.dat": "\tf1\tf2\tclase\n"
    + "".join(f"{i + 1}\t{i / 2}\t-{i}\t{i % 2}\n" for i in range(6)),
    "toy/conxuntos.dat": "0 2 4\n1 3\n",
    "toy/conxuntos_kfold.dat": "".join(
        f"{' '.join(str(i) for i in range(6) if i != k)}\n{k}\n" for k in range(4)
    ),
}


def test_uci121_layout(write) -> None:
    for name, text in UCI.items():
        root = write(name, text).parents[1]
    table = load_uci121(root, "toy")
    np.testing.assert_array_equal(table.X["f1"], np.arange(6) / 2)
    np.testing.assert_array_equal(table.X["f2"], -np.arange(6))
    assert table.y.tolist() == [0, 1, 0, 1, 0, 1]
    assert [part.tolist() for part in table.selection] == [[0, 2, 4], [1, 3]]
    assert len(table.folds) == 4
    assert table.folds[2][0].tolist() == [0, 1, 3, 4, 5]
    assert table.folds[2][1].tolist() == [2]


def test_uci121_with_a_test_file_of_its_own(write) -> None:
    header = "n_patrons1= 6\nn_patrons2= 2\nn_entradas= 2\nn_clases= 2\n"
    write("toy/toy.txt", header + "fich1= toy_R.dat\nfich2= test_R.dat\n")
    write("toy/toy_R.dat", UCI["toy/toy_R.dat"])
    root = write("toy/test_R.dat", "f1 f2 clase\n1 9 9 1\n2 8 8 0\n").parents[1]
    table = load_uci121(root, "toy")
    assert table.X.shape == (8, 2)
    assert table.y.tolist()[-2:] == [1, 0]
    assert [part.tolist() for part in table.folds[0]] == [[*range(6)], [6, 7]]
    assert table.selection is None


@pytest.mark.parametrize(
    ("file", "content", "fragment"),
    [
        ("toy.txt", "n_patrons1 6\n", "line 1: expected 'key= value'"),
        ("toy.txt", "n_patrons1= 6\nn_entradas= 2\nn_clases= 2\n", "no data file"),
        (
            "toy.txt",
            UCI["toy/toy.txt"].replace("n_clases= 2", "n_clases= ?"),
            "n_clases as a positive integer",
        ),
        (
            "toy_R.dat",
            UCI["toy/toy_R.dat"][:-20],
            "expected 6 rows, found 5",
        ),
        ("toy_R.dat", UCI["toy/toy_R.dat"][:-3], "line 7: expected an index"),
        ("toy_R.dat", UCI["toy/toy_R.dat"].replace("-3", "x"), "line 5: could not"),
        ("toy_R.dat", UCI["toy/toy_R.dat"].replace("-3", "nan"), "line 5: expected"),
        ("conxuntos.dat", "0 2 4\n", "line 1: expected 2 lines"),
        ("conxuntos.dat", "0 2 4\n1 6\n", "line 2: a row number is outside 0..5"),
        ("conxuntos.dat", "0 2 4\n1 2\n", "line 2: a row is on both sides"),
        ("conxuntos_kfold.dat", "0 1\n2 b\n" * 4, "line 2: expected row numbers"),
    ],
)
def test_damaged_uci121_names_file_and_line(write, file, content, fragment) -> None:
    for name, text in UCI.items():
        root = write(name, text).parents[1]
    path = write(f"toy/{file}", content)
    with pytest.raises(DataFormatError) as caught:
        load_uci121(root, "toy")
    assert str(caught.value).startswith(str(path))
    assert fragment in str(caught.value)


def test_a_missing_uci121_problem_names_the_layout(tmp_path) -> None:
    with pytest.raises(DatasetNotFoundError, match=r"abalone.abalone\.txt.*archive"):
        load_uci121(tmp_path, "abalone")


def test_a_damaged_set_is_reported_and_does_not_stop_the_others(write) -> None:
    write("keel/sonar.dat", "1,a\n2\n")
    root = write("keel/iris.dat", "1,2,a\n2,3,b\n").parents[1]
    found = {check.name: check for check in check_data(root)}
    assert "line 2: expected 2 values" in found["keel:sonar"].problem
    assert (found["keel:iris"].problem, found["keel:iris"].shape) == ("", "2 x 2")
    assert found["iris"].shape == "150 x 4"
    present = [record.name for record in list_datasets(root) if record.present]
    assert list(found) == present
