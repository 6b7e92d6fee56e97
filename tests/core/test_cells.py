"""A store of finished cells, whole, damaged, and of another sweep."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from mlmethods.common.cells import CellStore
from mlmethods.errors import InvalidInputError, MLMethodsWarning

FRAME = pd.DataFrame(
    {"method": ["a", "b"], "accuracy": [0.25, np.nan], "n": [3, 4]}, index=[5, 9]
)


def never() -> pd.DataFrame:
    raise AssertionError("the cell is there already")


def test_a_finished_cell_is_not_computed_again(tmp_path: Path) -> None:
    store = CellStore(tmp_path / "cells", {"seed": 0, "regs": (1.0, 0.1)})
    assert store.get(dataset="iris", fold=0) is None
    first = store.compute(FRAME.copy, dataset="iris", fold=0)
    pd.testing.assert_frame_equal(first, FRAME)
    again = CellStore(str(tmp_path / "cells"), {"regs": (1.0, 0.1), "seed": 0})
    # The order of the arguments means nothing.
    found = again.compute(never, fold=0, dataset="iris")
    pd.testing.assert_frame_equal(found, FRAME.reset_index(drop=True))
    names = [path.name for path in (tmp_path / "cells").iterdir()]
    assert names == [store.path(dataset="iris", fold=0).name]
    pd.testing.assert_frame_equal(
        pq.read_table(store.path(dataset="iris", fold=0)).to_pandas(), found
    )


@pytest.mark.parametrize(
    ("config", "cell"),
    [
        ({"seed": 1}, {"fold": 0}),
        ({"seed": 0, "depth": 2}, {"fold": 0}),
        ({"seed": 0}, {"fold": 1}),
        ({"seed": 0}, {"fold": 0, "method": "a"}),
        ({"seed": 0.0}, {"fold": 0}),
    ],
)
def test_other_settings_are_another_cell(tmp_path: Path, config, cell) -> None:
    store = CellStore(tmp_path, {"seed": 0})
    store.put(FRAME, fold=0)
    assert CellStore(tmp_path, config).get(**cell) is None


@pytest.mark.parametrize("damage", ["cut", "empty", "text"])
def test_a_damaged_cell_warns_and_is_computed_again(tmp_path: Path, damage) -> None:
    store = CellStore(tmp_path, {})
    store.put(FRAME, fold=0)
    path = store.path(fold=0)
    content = path.read_bytes()
    kept = {"cut": content[: len(content) // 2], "empty": b"", "text": b"a,b\n1,2\n"}
    path.write_bytes(kept[damage])
    with pytest.warns(MLMethodsWarning, match=f"{path.name} is damaged.*again"):
        found = store.compute(lambda: FRAME * 2, fold=0)
    assert found["n"].tolist() == [6, 8]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert store.compute(never, fold=0)["n"].tolist() == [6, 8]


def test_a_cell_under_the_name_of_another_is_not_believed(tmp_path: Path) -> None:
    store = CellStore(tmp_path, {})
    store.put(FRAME, fold=0)
    shutil.copy(store.path(fold=0), store.path(fold=1))
    with pytest.warns(MLMethodsWarning, match="holds another cell"):
        assert store.get(fold=1) is None
    pd.DataFrame({"n": [1]}).to_parquet(store.path(fold=2))
    with pytest.warns(MLMethodsWarning, match="holds another cell"):
        assert store.get(fold=2) is None


def test_a_failed_cell_leaves_nothing(tmp_path: Path) -> None:
    store = CellStore(tmp_path, {})

    def fail() -> pd.DataFrame:
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        store.compute(fail, fold=0)
    mixed = pd.DataFrame({"value": [1, "one"]})
    with pytest.raises(InvalidInputError, match="Parquet can store"):
        store.put(mixed, fold=0)
    assert list(tmp_path.iterdir()) == []


def test_settings_must_be_plain_values(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"config\.config\.rng holds"):
        CellStore(tmp_path, {"rng": np.random.default_rng(0)})
    with pytest.raises(InvalidInputError, match="cannot be stored as JSON"):
        CellStore(tmp_path, {}).path(model=object())
