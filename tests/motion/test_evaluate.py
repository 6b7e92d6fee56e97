"""All metrics together, their groups and their intervals."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

from mlmethods.common import statistics
from mlmethods.errors import InvalidInputError, MLMethodsWarning
from mlmethods.motion import Segments
from mlmethods.motion.metrics import (
    action_error_rate,
    align_counts,
    bootstrap_ci,
    edit_score,
    evaluate,
    f1_at,
    framewise_accuracy,
    rates_from_counts,
    substitution_table,
)

NAMES = ["edit", "accuracy", "f1@10", "f1@25", "f1@50", "aer", "sensitivity", "fdr"]
NAMES.append("f1")


def recordings(count, runs=10, seed=0):
    """Return runs of labels, and a copy with wrong, missing and further runs."""
    rng = np.random.default_rng(seed)
    truths, preds = [], []
    for _ in range(count):
        labels = rng.integers(0, 4, runs)
        wrong = np.where(rng.random(runs) < 0.3, rng.integers(0, 4, runs), labels)
        truths.append(np.repeat(labels, 6))
        noise = rng.random(6 * runs) < 0.04
        preds.append(np.where(noise, rng.integers(0, 4, 6 * runs), np.repeat(wrong, 6)))
    return truths, preds


PATIENTS = ["s1", "s2", "s1", "s3", "s2", "s4"]


@pytest.fixture(scope="module")
def result():
    truths, preds = recordings(6)
    groups = {"activity": ["x", "x", "y", "y", "x", "y"]}
    return evaluate(truths, preds, patients=PATIENTS, groups=groups)


def test_metrics_are_those_of_the_functions(result):
    truths, preds = recordings(6)
    found = result.to_dict()
    assert list(found) == NAMES
    assert all(type(value) is float for value in found.values())
    assert found["edit"] == pytest.approx(edit_score(truths, preds))
    assert found["accuracy"] == pytest.approx(framewise_accuracy(truths, preds))
    for percent in (10, 25, 50):
        expected = f1_at(truths, preds, percent / 100)
        assert found[f"f1@{percent}"] == pytest.approx(expected)
    assert found["aer"] == pytest.approx(action_error_rate(truths, preds))
    summary = result.summary()
    for name, average in (("aer_macro", "macro"), ("aer_patient", "patient")):
        expected = action_error_rate(truths, preds, average=average, patients=PATIENTS)
        assert summary[name] == pytest.approx(expected)
    assert summary[["recordings", "patients"]].tolist() == [6, 4]
    pd.testing.assert_frame_equal(result.confusion, substitution_table(truths, preds))


def test_rates_are_means_over_patients_of_pooled_counts(result):
    truths, preds = recordings(6)
    counts = [align_counts(a, b) for a, b in zip(truths, preds, strict=True)]
    rows = [
        (who, c.truth_length, c.pred_length, c.sub, c.missed, c.extra)
        for who, c in zip(PATIENTS, counts, strict=True)
    ]
    columns = ["group", "gt_len", "pred_len", "sub", "missed", "extra"]
    rates = rates_from_counts(pd.DataFrame(rows, columns=columns))
    for name in ("sensitivity", "fdr", "f1"):
        assert result.to_dict()[name] == pytest.approx(rates.attrs[f"mean_{name}"])
    per_patient = result.by("patient")
    np.testing.assert_allclose(
        per_patient["sensitivity"], rates.loc[per_patient.index, "sensitivity"]
    )
    assert list(per_patient.index) == ["s1", "s2", "s3", "s4"]


def test_groups_are_evaluated_apart(result):
    truths, preds = recordings(6)
    found = result.by("activity")
    part = [0, 1, 4]
    # Counts of a group are pooled, whoever they are of.
    alone = evaluate([truths[k] for k in part], [preds[k] for k in part])
    assert found.loc["x", NAMES].tolist() == list(alone.to_dict().values())
    assert found.loc["x", "aer_patient"] == action_error_rate(
        [truths[k] for k in part],
        [preds[k] for k in part],
        average="patient",
        patients=[PATIENTS[k] for k in part],
    )
    with pytest.raises(InvalidInputError, match="column must be one of"):
        result.by("camera")


def test_without_patients_all_counts_are_pooled():
    truths, preds = recordings(6)
    found = evaluate(truths, preds)
    assert "patient" not in found.to_dataframe()
    assert found.to_dict()["sensitivity"] == pytest.approx(
        align_counts(truths, preds).sensitivity
    )
    assert found.bootstrap(n=20).loc["edit", "low"] < found.to_dict()["edit"]


def test_segments_give_the_metrics_of_their_frames(result):
    classes = ("a", "b", "c", "d")
    truths, preds = (
        [Segments.from_frames(y, 30.0, classes) for y in side] for side in recordings(6)
    )
    found = evaluate(truths, preds, patients=PATIENTS)
    assert found.to_dict() == pytest.approx(result.to_dict())
    assert list(found.confusion.index) == [*classes, "(extra)"]


def test_sequences_without_times_have_no_frames():
    found = evaluate([["a", "b"]], [["a", "b", "c"]], framewise=False).to_dict()
    assert found["edit"] == pytest.approx(200 / 3)
    assert np.isnan([found["accuracy"], found["f1@10"], found["f1@50"]]).all()
    with pytest.raises(InvalidInputError, match="as many frames"):
        evaluate([["a", "b"]], [["a", "b", "c"]])


def test_background_counts_for_accuracy_alone():
    truth, pred = [[0, 0, 1, 1, 0, 1]], [[0, 1, 1, 1, 1, 1]]
    found = evaluate(truth, pred, background=0).to_dict()
    assert found["accuracy"] == pytest.approx(400 / 6)
    # Two actions remain where the prediction has one.
    assert found["aer"] == 0.5
    assert found["f1@50"] == 0
    kept = evaluate(truth, pred, background=0, collapse_repeats=True).to_dict()
    assert kept == found


def test_empty_predictions_and_truths():
    nothing = evaluate([[1, 2]], [[0, 0]], background=0).to_dict()
    expected = {"edit": 0, "aer": 1, "sensitivity": 0, "fdr": 0, "f1@50": 0}
    assert {name: nothing[name] for name in expected} == expected
    with pytest.warns(MLMethodsWarning, match="1 of 2 recordings have no true action"):
        found = evaluate([[0, 0], [1, 2]], [[0, 1], [1, 0]], background=0)
    assert found.to_dict()["aer"] == 0.5
    assert np.isnan(found.to_dataframe()["aer"][0])
    with pytest.warns(MLMethodsWarning, match="1 of 1"):
        both = evaluate([[0, 0]], [[0, 0]], background=0).to_dict()
    assert both["edit"] == 100
    assert np.isnan([both["aer"], both["sensitivity"]]).all()


def test_columns_that_do_not_fit_are_refused():
    with pytest.raises(InvalidInputError, match="patient must have one entry for each"):
        evaluate([[0]], [[0]], patients=[])
    with pytest.raises(InvalidInputError, match="not metrics, got 'edit'"):
        evaluate([[0]], [[0]], groups={"edit": [1]})
    with pytest.raises(InvalidInputError, match="truth must be a list of recordings"):
        evaluate([0, 1], [0, 1])
    with pytest.raises(InvalidInputError, match="truth must be a list of recordings"):
        evaluate([], [])


def test_the_table_is_a_copy(result):
    table = result.to_dataframe()
    table["edit"] = 0
    assert result.to_dataframe()["edit"].min() > 0
    assert "6 recordings, edit=" in repr(result)


def test_intervals_are_those_of_the_shared_bootstrap(result):
    table = result.to_dataframe()
    found = bootstrap_ci(table, "edit", n=50, seed=3)
    expected = statistics.bootstrap_ci(
        table["edit"], groups=table["patient"], n=50, rng=3
    )
    assert found == pytest.approx(expected)
    rows = bootstrap_ci(table, "edit", None, n=50, seed=3)
    assert rows == pytest.approx(statistics.bootstrap_ci(table["edit"], n=50, rng=3))
    other = bootstrap_ci(table.assign(other=table["edit"]), "other", n=50, seed=3)
    assert other == pytest.approx(found)


def test_a_patient_drawn_twice_is_two_patients(result):
    columns = {"patient": "group"}

    def sensitivity(rows):
        rates = rates_from_counts(rows.rename(columns=columns))
        return rates.attrs["mean_sensitivity"]

    table = result.to_dataframe()
    slow = bootstrap_ci(table, sensitivity, n=30, seed=5)
    fast = bootstrap_ci(table, "sensitivity", n=30, seed=5)
    assert fast == pytest.approx(slow)
    assert fast.low < fast.estimate < fast.high


def test_intervals_of_all_metrics(result):
    table = result.bootstrap(n=40, seed=1)
    assert list(table.index) == NAMES
    assert (table["low"] <= table["estimate"]).all()
    assert (table["estimate"] <= table["high"]).all()
    np.testing.assert_allclose(table["estimate"], list(result.to_dict().values()))
    pd.testing.assert_frame_equal(table, result.bootstrap(n=40, seed=1))


def test_the_published_scheme_draws_a_quarter_of_the_recordings():
    table = pd.DataFrame({"edit": np.arange(40.0), "patient": 0})
    drawn = []

    def size(rows):
        drawn.append(len(rows))
        return rows["edit"].mean()

    found = bootstrap_ci(table, size, n=200, scheme="paper")
    assert set(drawn[:-1]) == {10}
    assert drawn[-1] == 40
    assert found.estimate == 19.5
    # The mean of ten draws from 0..39 has a standard deviation of 3.65.
    assert found.high - found.low == pytest.approx(2 * 1.96 * 3.65, rel=0.25)
    assert bootstrap_ci(table, "edit", n=200, scheme="paper") == pytest.approx(found)
    with pytest.raises(InvalidInputError, match="at least 4 rows"):
        bootstrap_ci(table[:3], "edit", scheme="paper")


def test_intervals_need_two_patients_and_a_metric(result):
    table = result.to_dataframe()
    with pytest.raises(InvalidInputError, match="at least two values or groups"):
        bootstrap_ci(table[table["patient"] == "s1"], "edit")
    with pytest.raises(InvalidInputError, match="column must be one of"):
        bootstrap_ci(table, "recall")
    with pytest.raises(InvalidInputError, match="column must be one of"):
        bootstrap_ci(table, "edit", "site")
    with pytest.raises(InvalidInputError, match="scheme must be one of"):
        bootstrap_ci(table, "edit", scheme="trials")
    assert np.isnan(
        evaluate([["a"], ["b"]], [["a"], ["b"]], framewise=False)
        .bootstrap(n=5)
        .loc["accuracy"]
    ).all()


def test_no_warning_when_all_is_well():
    truths, preds = recordings(3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = evaluate(truths, preds).bootstrap(n=5)
    assert len(table) > 0
