"""The experiments on modular arithmetic and on digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlmethods.common.recipe import run_recipe
from mlmethods.rfm.recipes import digits, modular

DIGITS = ("rfm-grokking", "rfm-lottery", "rfm-simplicity", "rfm-spurious")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the digits by two blobs of 12 x 12 pixels, and shorten everything."""
    rng = np.random.default_rng(0)
    side = 12
    labels = np.tile([4, 9], 60)
    images = 0.1 * rng.random((len(labels), side, side))
    images[labels == 4, 8:11, 2:5] += 0.6
    images[labels == 9, 8:11, 7:10] += 0.6
    blobs = digits._Images(images, labels)
    monkeypatch.setattr(
        digits, "_load", lambda context: digits._Images(*map(np.copy, blobs))
    )
    monkeypatch.setattr(digits, "_SEEDS", 2)
    monkeypatch.setattr(digits, "_TEST_ROWS", 40)
    monkeypatch.setattr(digits, "_GROK_ROWS", 80)
    monkeypatch.setattr(digits, "_GROK_HIDDEN", (8,))
    monkeypatch.setitem(digits._GROK_EPOCHS, False, (1,))
    monkeypatch.setitem(digits._LOTTERY_ROWS, False, 60)
    monkeypatch.setitem(digits._SIMPLE_ROWS, False, 60)
    monkeypatch.setattr(digits, "_SPURIOUS_ROWS", 60)


def test_modular_counts_solves_from_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(modular._TASKS, False, (modular._Task(7, 80),))
    monkeypatch.setattr(modular, "_UPDATES", 3)
    result = run_recipe("rfm-modular", out=tmp_path, backend="numpy")
    frame = pd.read_csv(tmp_path / "rfm-modular" / "solves.csv")
    assert frame["solve"].tolist() == [1, 2, 3, 4]
    assert result.dtype == "float64"
    # M is the identity at first, whose block is 0.
    assert frame["circulant_deviation"].isna().tolist() == [True] + [False] * 3
    assert frame["alignment"].iloc[-1] == pytest.approx(1)
    assert (frame["train_accuracy"] == 1).all()
    early, late, rise, growth = result.rows
    assert early.passed == (frame["test_accuracy"].iloc[-1] <= 0.05)
    assert late.passed == (frame["test_accuracy"].max() >= 0.99)
    deviation = frame["circulant_deviation"].iloc[1:].to_numpy()
    rises = [deviation[i] - deviation[: i + 1].min() for i in range(3)]
    assert rise.passed == (max(rises) <= 0.05 * deviation[0])
    assert growth.passed == frame["alignment"].is_monotonic_increasing


@pytest.mark.usefixtures("small")
def test_the_patch_is_black_in_one_class_and_white_in_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def keep(context, X, codes, patch):
        seen.append((X, codes, patch.ravel()))
        entry = {"epoch": 0, "train_accuracy": 0.5, "test_accuracy": 0.5}
        yield {**entry, "patch_share": 0.5}

    monkeypatch.setattr(digits, "_train_network", keep)
    monkeypatch.setattr("mlmethods.rfm.network.network_engine", lambda *_: None)
    result = run_recipe("rfm-grokking", out=tmp_path, backend="numpy")
    X, codes, patch = seen[0]
    assert patch.sum() == 25
    assert np.flatnonzero(patch)[0] == 2 * 12 + 7
    np.testing.assert_array_equal(X[:, patch], np.repeat(codes[:, None], 25, axis=1))
    frame = pd.read_csv(tmp_path / "rfm-grokking" / "updates.csv")
    assert frame["patch_share"].iloc[0] == pytest.approx(25 / 144)
    assert frame["patch_share"].iloc[1] > 2 * 25 / 144
    share, worst = result.rows
    assert share.passed == (frame["patch_share"].iloc[-1] >= 0.6)
    assert worst.passed == (frame["train_accuracy"].min() == 1)


@pytest.mark.usefixtures("small")
def test_the_lottery_keeps_the_pixels_that_differ(tmp_path: Path) -> None:
    result = run_recipe("rfm-lottery", out=tmp_path, backend="numpy")
    frame = pd.read_csv(tmp_path / "rfm-lottery" / "accuracies.csv")
    assert set(frame["seed"]) == {0, 1}
    pixels = frame.groupby("mask")["pixels"].agg(["min", "max"])
    assert pixels.loc["all"].tolist() == [144, 144]
    assert pixels.loc["random"].tolist() == [round(0.05 * 144), 72]
    kept = frame[frame["share"] == 0.1].groupby("mask")["accuracy"].mean()
    every = frame[frame["mask"] == "all"]["accuracy"].mean()
    assert kept["M"] == every == 1
    assert result.values["accuracy_m"] == kept["M"]
    against_all, against_random = result.rows
    assert against_all.passed
    assert against_random.passed == (kept["M"] >= kept["random"] + 0.05)


@pytest.mark.usefixtures("small")
def test_partners_share_the_label_and_not_the_split() -> None:
    images, labels = digits._load(None)
    # Each image says who it is.
    images = np.broadcast_to(np.arange(len(labels))[:, None, None], images.shape) + 0.0
    rng = np.random.default_rng(0)
    partners = digits._faint_partners(images, labels, rng).mean(axis=1)
    who = np.round(partners / digits._FAINT).astype(int)
    np.testing.assert_array_equal(labels[who], labels)
    test = np.arange(len(labels)) >= len(labels) - 40
    np.testing.assert_array_equal(test[who], test)
    assert sorted(who) == list(range(len(labels)))


@pytest.mark.usefixtures("small")
def test_simplicity_reports_what_each_half_is_worth(tmp_path: Path) -> None:
    result = run_recipe("rfm-simplicity", out=tmp_path, backend="numpy")
    frame = pd.read_csv(tmp_path / "rfm-simplicity" / "splits.csv")
    assert len(frame) == 2
    assert (frame["accuracy"] > 0.9).all()
    assert frame["easy_share"].between(0, 1).all()
    share, shuffled = result.rows
    assert share.passed == (frame["easy_share"].mean() >= 0.9)
    # Twice chance is certainty for two classes.
    assert shuffled.passed


@pytest.mark.usefixtures("small")
def test_spurious_compares_regions_of_equal_size(tmp_path: Path) -> None:
    result = run_recipe("rfm-spurious", out=tmp_path, backend="numpy")
    frame = pd.read_csv(tmp_path / "rfm-spurious" / "splits.csv")
    lost = frame[["lost_mask", "lost_nominal"]].mean()
    assert lost["lost_mask"] > 0.3
    (row,) = result.rows
    assert row.passed == (lost["lost_mask"] >= 3 * lost["lost_nominal"])


@pytest.mark.parametrize("count", [1, 4, 9, 144])
def test_the_middle_is_around_the_center(count: int) -> None:
    mask = digits._middle((12, 12), count)
    assert mask.sum() == count
    assert mask[5, 5]
    rows, columns = np.nonzero(mask)
    reach = np.hypot(rows - 5.5, columns - 5.5).max()
    outside = np.argwhere(~mask) - 5.5
    assert not len(outside) or np.hypot(*outside.T).min() >= reach - 1e-9


@pytest.mark.slow
def test_modular_arithmetic_is_grokked(tmp_path: Path) -> None:
    result = run_recipe("rfm-modular", out=tmp_path)
    assert result.passed, result.rows


@pytest.mark.slow
@pytest.mark.parametrize("name", DIGITS)
def test_the_experiment_on_digits_ends_as_recorded(name: str, tmp_path: Path) -> None:
    result = run_recipe(name, out=tmp_path)
    verdicts = [row.passed for row in result.rows]
    assert verdicts == RECORDED[name], result.rows
    assert all((tmp_path / name / figure).exists() for figure in result.figures)


RECORDED = {
    "rfm-grokking": [True, True],
    "rfm-lottery": [False, True],
    "rfm-simplicity": [False, True],
    "rfm-spurious": [True],
}
