"""Counts of actions, agreement of counts, and rates from counts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mlmethods.errors import InvalidInputError
from mlmethods.motion import Segments
from mlmethods.motion.metrics import (
    align_counts,
    bland_altman,
    count_error,
    count_table,
    icc,
    primseq_counts,
    rates_from_counts,
)

COLUMNS = ["group", "gt_len", "pred_len", "sub", "missed", "extra"]


def test_counts_have_a_row_for_each_recording_and_class():
    table = count_table(
        [["a", "b", "a"], ["c"]],
        [["a"], ["c", "a"]],
        groups={"patient": ["s1", "s2"]},
    )
    assert list(table) == ["recording", "patient", "class", "true", "pred"]
    assert table[["patient", "class", "true", "pred"]].values.tolist() == [
        ["s1", "a", 2, 1],
        ["s1", "b", 1, 0],
        ["s1", "c", 0, 0],
        ["s2", "a", 0, 1],
        ["s2", "b", 0, 0],
        ["s2", "c", 1, 1],
    ]
    with pytest.raises(InvalidInputError, match="patient must have one entry for each"):
        count_table([["a"]], [["a"]], groups={"patient": []})


def test_counts_of_segments_have_their_classes():
    spans = Segments([0, 1, 2], [1, 2, 3], [1, 1, 0], ("idle", "reach"))
    table = count_table([spans], [spans])
    assert table[["class", "true"]].values.tolist() == [["idle", 1], ["reach", 2]]
    merged = count_table([spans], [spans], background="idle", collapse_repeats=True)
    assert merged["true"].tolist() == [0, 1]
    chosen = count_table([spans], [spans], classes=["reach"])
    assert chosen["pred"].tolist() == [2]


def test_count_errors_by_group():
    table = count_table(
        [["a", "b", "a"], ["a"]], [["a"], ["a", "b", "a"]], groups={"who": ["x", "y"]}
    )
    by_class = count_error(table)
    assert by_class.loc["a"].tolist() == [3, 3, 0, 0, 1]
    assert by_class.loc["b"].tolist() == [1, 1, 0, 0, 1]
    by_both = count_error(table, by=["who", "class"])
    assert by_both.loc[("x", "a"), "relative"] == -0.5
    assert np.isnan(by_both.loc[("y", "b"), "relative"])
    with pytest.raises(InvalidInputError, match="it lacks patient"):
        count_error(table, by="patient")


def test_icc_of_the_published_example():
    # Shrout and Fleiss 1979, table 2: six targets, four judges; ICC(2,1) is .29.
    judges = [[9, 6, 8, 7, 10, 6], [2, 1, 4, 1, 5, 2], [5, 3, 6, 2, 6, 4]]
    judges.append([8, 2, 8, 6, 9, 7])
    assert icc(*judges) == pytest.approx(0.29, abs=0.005)


def test_icc_in_simple_cases():
    assert icc([1, 2, 3], [1, 2, 3]) == pytest.approx(1)
    assert np.isnan(icc([2, 2], [2, 2]))
    # A constant shift is disagreement: rows 1, columns 1.5 times 9 / 2, no rest.
    assert icc([1, 2, 3], [4, 5, 6]) == pytest.approx(2 / (2 + 2 * 13.5 / 3))


def test_limits_of_agreement():
    rng = np.random.default_rng(0)
    true = rng.integers(0, 30, 4000)
    pred = true + rng.normal(1.5, 2.0, 4000)
    bias, low, high = bland_altman(true, pred, level=0.9)
    assert (bias, low, high) == pytest.approx((1.5, 1.5 - 3.29, 1.5 + 3.29), abs=0.15)
    inside = (pred - true >= low) & (pred - true <= high)
    assert inside.mean() == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize(
    "columns",
    [([1, 2],), ([1, 2], [1]), ([1], [1]), ([1, np.nan], [1, 2]), (["a", "b"], [1, 2])],
)
def test_agreement_needs_two_raters_and_cases(columns):
    with pytest.raises(InvalidInputError, match="ratings must be"):
        icc(*columns)


def test_rates_of_the_published_counts():
    # The notebook of the release prints these sums and means.
    table = primseq_counts()
    totals = table[COLUMNS[1:]].sum().tolist()
    assert totals == [12668, 10800, 1091, 2547, 679]
    found = rates_from_counts(table, group="patient").attrs
    assert found["mean_sensitivity"] == pytest.approx(0.7148012414523255, rel=1e-12)
    assert found["mean_fdr"] == pytest.approx(0.15632962242467718, rel=1e-12)
    assert found["micro_aer"] == pytest.approx(0.3408, abs=5e-5)


def test_rates_of_the_published_totals():
    total = pd.DataFrame([["all", 12668, 10800, 1091, 2547, 679]], columns=COLUMNS)
    row = rates_from_counts(total).loc["all"]
    assert row["hits"] == 12668 - 1091 - 2547 == 10800 - 1091 - 679
    assert row["sensitivity"] == pytest.approx(1 - 3638 / 12668)
    assert row["fdr"] == pytest.approx(1770 / 10800)
    assert row["f1"] == pytest.approx(2 * 9030 / (12668 + 10800))
    assert row["aer"] == pytest.approx(0.3408, abs=5e-5)


def test_published_sensitivity_by_activity():
    found = rates_from_counts(primseq_counts(), group="activity")["sensitivity"]
    published = {
        **{"RTT": 0.910, "shelf": 0.909, "combing": 0.742, "drinking": 0.672},
        **{"glasses": 0.636, "feeding": 0.625, "deodorant": 0.616, "face wash": 0.612},
        "brushing": 0.521,
    }
    assert found.round(3).to_dict() == published


def test_rates_pool_a_group_first_and_average_groups_last():
    rows = [("s1", 10, 9, 1, 2, 1), ("s1", 30, 30, 0, 5, 5), ("s2", 10, 0, 0, 10, 0)]
    rates = rates_from_counts(pd.DataFrame(rows, columns=COLUMNS))
    assert rates.loc["s1", "sensitivity"] == pytest.approx(1 - 8 / 40)
    assert rates.loc["s1", "fdr"] == pytest.approx(7 / 39)
    # Nothing predicted: nothing found, and nothing found wrongly.
    assert rates.loc["s2", ["sensitivity", "fdr", "f1", "aer"]].tolist() == [0, 0, 0, 1]
    assert rates.attrs["mean_sensitivity"] == pytest.approx((0.8 + 0) / 2)
    assert rates.attrs["mean_fdr"] == pytest.approx(7 / 39 / 2)
    assert rates.attrs["mean_aer"] == pytest.approx((14 / 40 + 1) / 2)
    assert rates.attrs["micro_aer"] == pytest.approx(24 / 50)


def test_rates_equal_those_of_an_alignment():
    truth, pred = [0, 1, 2, 3, 1, 0, 2], [0, 2, 3, 3, 0, 1, 2]
    counts = align_counts(truth, pred)
    row = ("s1", counts.truth_length, counts.pred_length, *counts[1:])
    rates = rates_from_counts(pd.DataFrame([row], columns=COLUMNS)).loc["s1"]
    names = ["sensitivity", "fdr", "f1", "aer"]
    assert rates[names].tolist() == [getattr(counts, name) for name in names]


def test_rates_of_a_group_without_actions_are_not_averaged():
    rows = [("s1", 10, 10, 0, 0, 0), ("s2", 0, 2, 0, 0, 2)]
    rates = rates_from_counts(
        pd.DataFrame(rows, columns=["who", *COLUMNS[1:]]), group="who"
    )
    assert np.isnan(rates.loc["s2", ["sensitivity", "f1", "aer"]].astype(float)).all()
    assert rates.loc["s2", "fdr"] == 1
    assert rates.attrs["mean_sensitivity"] == 1


@pytest.mark.parametrize(
    "row",
    [
        ("s1", 10, 9, 1, 2, 2),
        ("s1", 10, 9, 9, 2, 1),
        ("s1", 10, 9, 1, -1, -2),
        ("s1", 10, 9, 0.5, 2, 1),
        ("s1", 10, np.nan, 1, 2, 1),
    ],
)
def test_counts_that_contradict_each_other_are_refused(row):
    table = pd.DataFrame([("s0", 1, 1, 0, 0, 0), row], columns=COLUMNS)
    with pytest.raises(InvalidInputError, match="in row 1"):
        rates_from_counts(table)


def test_rates_need_their_columns():
    with pytest.raises(InvalidInputError, match="it lacks sub, extra"):
        rates_from_counts(
            pd.DataFrame(columns=["group", "gt_len", "pred_len", "missed"])
        )
