"""Edit distances, scores and alignments, against slow references."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlmethods.errors import InvalidInputError
from mlmethods.motion import Segments
from mlmethods.motion.metrics import (
    AlignCounts,
    action_error_rate,
    align_counts,
    align_pairs,
    edit_score,
    levenshtein,
    levenshtein_pairs,
    substitution_table,
)

TRUTH = ["reach", "idle", "stabilize"]
few = settings(max_examples=100, deadline=None)
sequences = st.lists(st.integers(0, 3), max_size=9)
# Names that need more than a byte, or look like numbers.
odd = st.lists(st.sampled_from(["a", "aa", "", "1", "ü", "-1"]), max_size=8)


def slow_table(a, b, cost=1):
    """Return all edit distances of beginnings, by the definition."""
    table = {}
    for i, j in itertools.product(range(len(a) + 1), range(len(b) + 1)):
        if not i or not j:
            table[i, j] = i + j
            continue
        change = 0 if a[i - 1] == b[j - 1] else cost
        table[i, j] = min(
            table[i - 1, j - 1] + change, table[i - 1, j] + 1, table[i, j - 1] + 1
        )
    return table


def slow_counts(truth, pred):
    """Walk back from the end: match, then substitution, then missed, then extra."""
    table = slow_table(truth, pred)
    i, j = len(truth), len(pred)
    found = dict.fromkeys(("hits", "sub", "missed", "extra"), 0)
    while (i, j) != (0, 0):
        here = table[i, j]
        if i and j and truth[i - 1] == pred[j - 1] and here == table[i - 1, j - 1]:
            found["hits"] += 1
            i, j = i - 1, j - 1
        elif i and j and here == table[i - 1, j - 1] + 1:
            found["sub"] += 1
            i, j = i - 1, j - 1
        elif i and here == table[i - 1, j] + 1:
            found["missed"] += 1
            i -= 1
        else:
            found["extra"] += 1
            j -= 1
    return AlignCounts(**found)


@pytest.mark.parametrize(
    ("pred", "distance", "score", "rate"),
    [
        (["reach", "transport"], 2, 100 / 3, 2 / 3),
        (["reach", "idle"], 1, 200 / 3, 1 / 3),
        ([*TRUTH, "transport"], 1, 75.0, 1 / 3),
        ([], 3, 0.0, 1.0),
        (TRUTH, 0, 100.0, 0.0),
        (["idle"] * 1 + ["reach", "idle"] * 3, 5, 100 * 2 / 7, 5 / 3),
    ],
)
def test_worked_examples(pred, distance, score, rate):
    assert levenshtein(TRUTH, pred) == distance
    assert edit_score(TRUTH, pred) == pytest.approx(score)
    assert action_error_rate(TRUTH, pred) == pytest.approx(rate)


# Trials of patient s44 as a notebook of the code of Kaku et al. prints them
# (github.com/aakashrkaku/seq2seq_hrar, imu_data/raw_ensembling_las_2.ipynb): true and
# predicted primitives; missed, extra and substituted ones; error rate and edit score.
PUBLISHED = [
    ("020202020", "014030343020", (0, 3, 3), 0.666667, 50.0),
    (
        *("0141420141424142014141420120142020", "0142020143201431434142020142020"),
        *((3, 0, 6), 0.264706, 73.529412),
    ),
    (
        *("01340141343410134341434201343202020102013420", "0141312010302010131431420"),
        *((19, 0, 7), 0.590909, 40.909091),
    ),
    (
        *("01414313201434201434014120", "014134201431421421420"),
        *((6, 1, 2), 0.346154, 65.384615),
    ),
    ("014342014342020", "014343432020", (3, 0, 1), 0.266667, 73.333333),
    (
        "0142014201421420140420141420141420142014201420",
        "01342014214201420142014214201201201420142013420",
        *((3, 4, 3), 0.217391, 78.723404),
    ),
    (
        *("0131313131313434131313134341320214320", "01413434343134341343201343021420"),
        *((5, 0, 7), 0.324324, 67.567568),
    ),
    ("013434143414132020", "0143414341413202020", (1, 2, 0), 0.166667, 84.210526),
    ("01413432014141420", "01343201343420", (3, 0, 2), 0.294118, 70.588235),
    (
        *("01343434343201413432020", "0143134124320134132020"),
        *((3, 2, 2), 0.304348, 69.565217),
    ),
]


@pytest.mark.parametrize(("truth", "pred", "errors", "rate", "score"), PUBLISHED)
def test_trials_of_the_release(truth, pred, errors, rate, score):
    truth, pred = list(truth), list(pred)
    counts = align_counts(truth, pred)
    assert (counts.missed, counts.extra, counts.sub) == errors
    assert action_error_rate(truth, pred) == pytest.approx(rate, abs=5e-7)
    assert edit_score(truth, pred) == pytest.approx(score, abs=5e-7)


@few
@given(sequences | odd, sequences | odd, st.integers(0, 4))
def test_distance_is_that_of_the_definition(a, b, cost):
    expected = slow_table(a, b, cost)[len(a), len(b)]
    assert levenshtein(a, b, substitution_cost=cost) == expected


@few
@given(sequences, sequences, sequences)
def test_distance_is_a_metric(a, b, c):
    ab, ba = levenshtein(a, b), levenshtein(b, a)
    assert ab == ba >= abs(len(a) - len(b))
    assert (ab == 0) == (a == b)
    assert ab <= levenshtein(a, c) + levenshtein(c, b)
    assert ab <= max(len(a), len(b))


def test_batches_equal_single_pairs_whatever_holds_the_labels():
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 6, rng.integers(0, 12)) for _ in range(60)]
    others = arrays[::-1]
    expected = [
        levenshtein(a.tolist(), b.tolist()) for a, b in zip(arrays, others, strict=True)
    ]
    views = {
        "arrays": lambda a: a,
        "lists": lambda a: a.tolist(),
        "int8": lambda a: a.astype(np.int8),
        "negative": lambda a: a - 3,
        "large": lambda a: (a * 1000).tolist(),
        "names": lambda a: [f"class {k}" for k in a],
        "array of names": lambda a: a.astype(str),
        "NumPy integers": list,
    }
    for name, view in views.items():
        found = levenshtein_pairs([view(a) for a in arrays], [view(b) for b in others])
        assert found.dtype == np.int64, name
        np.testing.assert_array_equal(found, expected, name)
    assert levenshtein_pairs([], []).shape == (0,)


def test_labels_that_share_a_hash_differ():
    # Python's hash of -1 is that of -2.
    assert levenshtein([-1], [-2]) == 1
    assert levenshtein(list(range(300)), list(range(1, 301))) == 2


def test_distance_refuses_bad_arguments():
    with pytest.raises(InvalidInputError, match="substitution_cost must be"):
        levenshtein([1], [2], substitution_cost=0.5)
    with pytest.raises(InvalidInputError, match="one sequence for each of 2, got 1"):
        levenshtein_pairs([[1], [2]], [[1]])


@few
@given(sequences, sequences)
def test_counts_follow_the_preference_of_the_definition(truth, pred):
    found = align_counts(truth, pred, collapse_repeats=False)
    assert found == slow_counts(truth, pred)
    assert found.distance == levenshtein(truth, pred)
    assert (found.truth_length, found.pred_length) == (len(truth), len(pred))


@few
@given(sequences, sequences)
def test_alignments_are_monotone_and_complete(truth, pred):
    rows, columns = align_pairs(truth, pred, collapse_repeats=False)
    assert rows[rows >= 0].tolist() == list(range(len(truth)))
    assert columns[columns >= 0].tolist() == list(range(len(pred)))
    assert ((rows >= 0) | (columns >= 0)).all()


@few
@given(sequences, sequences)
def test_scores_stay_in_their_range(truth, pred):
    score = edit_score(truth, pred)
    assert 0 <= score <= 100
    assert score == edit_score(pred, truth)
    assert edit_score(truth, truth) == 100
    counts = align_counts(truth, pred)
    assert 0 <= counts.fdr <= 1
    if truth:
        assert action_error_rate(truth, pred) == counts.aer
        assert 0 <= counts.sensitivity <= 1
        assert 0 <= counts.f1 <= 1


def test_long_sequences_are_aligned():
    rng = np.random.default_rng(1)
    truth, pred = rng.integers(0, 5, 700), rng.integers(0, 5, 650)
    counts = align_counts(truth, pred, collapse_repeats=False)
    assert counts.distance == levenshtein(truth, pred)


def test_empty_sequences():
    assert edit_score([], []) == 100
    assert edit_score([], [1]) == 0
    nothing = align_counts([1, 2], [])
    assert nothing == AlignCounts(hits=0, sub=0, missed=2, extra=0)
    assert (nothing.aer, nothing.sensitivity, nothing.fdr, nothing.f1) == (1, 0, 0, 0)
    with pytest.raises(InvalidInputError, match="none in recording 0"):
        action_error_rate([], [1])
    with pytest.raises(InvalidInputError, match="none in recording 1"):
        action_error_rate([[1], [0, 0]], [[1], [1]], background=0)
    assert np.isnan(align_counts([], [1]).sensitivity)
    assert np.isnan(align_counts([], [1]).f1)
    assert align_counts([], [1]).fdr == 1


def test_runs_are_collapsed_unless_told_otherwise():
    assert edit_score([0, 0, 0, 1, 1], [0, 1, 1, 1, 1]) == 100
    assert edit_score([0, 0, 1], [0, 1], collapse_repeats=False) < 100
    repeats = Segments([0, 1], [1, 2], [1, 1], ("idle", "reach"))
    once = Segments([0], [2], [1], ("idle", "reach"))
    assert edit_score(repeats, once) == 50
    assert edit_score(repeats, once, collapse_repeats=True) == 100
    framed = Segments.from_frames([1, 1], 1.0, ("idle", "reach"))
    assert edit_score(framed, once) == 100
    # Truth that cannot hold repeats does not blame a prediction that can.
    assert edit_score(framed, repeats) == edit_score([1], repeats) == 100
    assert edit_score(repeats, framed) == 50


def test_background_is_left_out_and_never_merges_neighbors():
    truth, pred = [0, 1, 1, 0, 1, 2, 0], [1, 1, 1, 1, 2, 2, 0]
    assert align_counts(truth, pred, background=0) == AlignCounts(2, 0, 1, 0)
    assert align_counts(truth, pred, background=[0, 1]) == AlignCounts(1, 0, 0, 0)
    named = ["bg", "a", "bg", "b"]
    assert edit_score(named, ["a", "b"], background="bg") == 100
    # No label at all is background too.
    assert edit_score([-1, 1, -1, 2], [1, 2]) == 100
    spans = Segments([0, 1], [1, 2], [0, 1], ("idle", "reach"))
    assert edit_score(spans, [1], background="idle") == 100
    assert edit_score(["idle", "reach"], spans, background=["idle"]) == 100
    with pytest.raises(InvalidInputError, match="background must be an id"):
        edit_score([0, 1], [0, 1], background="idle")
    with pytest.raises(InvalidInputError, match="did you mean 'idle'"):
        edit_score(spans, spans, background="Idle")


def test_several_recordings_are_averaged():
    truths = [[0, 1, 2, 3], [0, 1], [2]]
    preds = [[0, 1, 2, 3], [1], []]
    assert edit_score(truths, preds) == pytest.approx((100 + 50 + 0) / 3)
    rate = action_error_rate
    assert rate(truths, preds) == pytest.approx(2 / 7)
    assert rate(truths, preds, average="macro") == pytest.approx((0 + 0.5 + 1) / 3)
    patients = ["a", "a", "b"]
    per_patient = rate(truths, preds, average="patient", patients=patients)
    assert per_patient == pytest.approx((1 / 6 + 1) / 2)
    assert align_counts(truths, preds) == AlignCounts(5, 0, 2, 0)
    with pytest.raises(InvalidInputError, match="patients must have one entry"):
        rate(truths, preds, average="patient")
    with pytest.raises(InvalidInputError, match="one entry for each of 3 recordings"):
        edit_score(truths, preds[:2])
    with pytest.raises(InvalidInputError, match="average must be one of"):
        rate(truths, preds, average="mean")


@pytest.mark.parametrize(
    ("truth", "pred", "message"),
    [
        ([0.5, 1.0], [1], "truth must be Segments, or integers or strings"),
        ([1], 3, "pred must be Segments, or integers or strings"),
        ([1, "a"], ["a"], "truth must be Segments, or integers or strings"),
        ([True], [True], "truth must be Segments, or integers or strings"),
        (["a"], [1], "pred must hold names where truth does"),
        (
            Segments([], [], [], ("a",)),
            Segments([], [], [], ("b",)),
            "pred must have the classes",
        ),
        (["Reach"], Segments([], [], [], ("reach",)), "truth must be one of 'reach'"),
        (Segments([], [], [], ("reach",)), [1], r"pred must hold ids in 0\.\.0"),
        ([[1], [2]], [1, 2], "pred must be a list of recordings"),
    ],
)
def test_refuses_what_cannot_be_compared(truth, pred, message):
    with pytest.raises(InvalidInputError, match=message):
        edit_score(truth, pred)


def test_substitutions_by_class():
    truths = [["a", "b", "c"], ["a", "b"]]
    preds = [["a", "c"], ["b", "b", "a"]]
    table = substitution_table(truths, preds, collapse_repeats=False)
    assert table.loc["b", "(missed)"] == 1
    assert table.loc["a"].tolist() == [1, 1, 0, 0]
    assert table.loc["(extra)"].tolist() == [1, 0, 0, 0]
    counts = align_counts(truths, preds, collapse_repeats=False)
    inner = table.iloc[:-1, :-1].to_numpy()
    assert np.trace(inner) == counts.hits
    assert inner.sum() - np.trace(inner) == counts.sub
    assert table["(missed)"].sum() == counts.missed
    assert table.loc["(extra)"].sum() == counts.extra


def test_substitutions_have_the_classes_of_segments():
    spans = Segments([0, 1], [1, 2], [2, 0], ("idle", "reach", "transport"))
    table = substitution_table([spans], [[2, 1]])
    assert list(table.index) == ["idle", "reach", "transport", "(extra)"]
    assert table.loc["transport", "transport"] == 1
    assert table.loc["idle", "reach"] == 1
    chosen = substitution_table([spans], [spans], classes=["transport"])
    assert chosen.to_numpy().tolist() == [[1, 0], [0, 0]]


@pytest.mark.slow
def test_large_alignment_agrees_with_the_distance():
    rng = np.random.default_rng(2)
    truth, pred = rng.integers(0, 5, 3000), rng.integers(0, 5, 3000)
    counts = align_counts(truth, pred, collapse_repeats=False)
    assert counts.distance == levenshtein(truth, pred)
