"""Label noise: exact counts, destinations, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from mlmethods.errors import InvalidInputError
from mlmethods.overfitting import add_label_noise

KINDS = ("symmetric", "uniform", "pair")


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(1, 60),
    K=st.integers(2, 5),
    share=st.floats(0, 1),
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 99),
)
def test_the_count_is_exact_and_every_replaced_label_is_wrong(n, K, share, kind, seed):
    y = np.random.default_rng(seed).integers(K, size=n)
    present = len(np.unique(y))
    rate = share * (1 - 1 / present)
    noisy, mask = add_label_noise(y, rate, kind, seed)
    assert mask.dtype == bool
    assert mask.sum() == round(rate * n)
    assert_array_equal(noisy != y, mask)
    assert set(noisy) <= set(y)


@pytest.mark.parametrize(
    "y",
    [
        np.array(["dog", "hedgehog", "ox"] * 7),
        np.array(["dog", "hedgehog", "ox"] * 7, dtype=object),
        np.array([True, False, True] * 7),
        np.array([0.0, 2.0, 5.0] * 7, dtype=np.float32),
        np.array([7, -3, 9] * 7, dtype=np.int8),
    ],
)
def test_labels_of_any_type_keep_it(y):
    noisy, mask = add_label_noise(y, 0.4, random_state=1)
    assert noisy.dtype == y.dtype
    assert mask.sum() == round(0.4 * len(y))
    assert_array_equal(noisy != y, mask)
    listed, _ = add_label_noise(pd.Series(y), 0.4, random_state=1)
    assert_array_equal(listed, noisy)


def test_the_argument_is_not_changed():
    y = np.array([0, 1] * 10)
    kept = y.copy()
    add_label_noise(y, 0.5, random_state=0)
    assert_array_equal(y, kept)


def test_uniform_reaches_every_other_class_alike():
    y = np.repeat([0, 1, 2, 3], 3000)
    noisy, mask = add_label_noise(y, 0.75, "uniform", 3)
    counts = np.array(
        [[np.sum((y == a) & (noisy == b)) for b in range(4)] for a in y[::3000]]
    )
    # 3000 a cell where replaced labels carry no information; 4 standard errors.
    assert np.abs(counts - 750).max() < 4 * np.sqrt(750)
    assert mask.sum() == 9000
    same, _ = add_label_noise(y, 0.75, "symmetric", 3)
    assert_array_equal(same, noisy)


def test_pair_goes_to_the_next_class():
    y = np.array(["a", "b", "c"] * 20)
    noisy, mask = add_label_noise(y, 0.3, "pair", 0)
    following = {"a": "b", "b": "c", "c": "a"}
    assert [following[label] for label in y[mask]] == noisy[mask].tolist()


def test_a_matrix_sets_who_changes_and_into_what():
    T = np.array([[1.0, 0.0, 0.0], [0.1, 0.7, 0.2], [0.0, 0.6, 0.4]])
    y = np.repeat(["a", "b", "c"], 4000)
    noisy, mask = add_label_noise(y, None, "matrix", 0, T)
    assert mask.sum() == round(4000 * (0.3 + 0.6))
    assert not mask[:4000].any()
    share = np.array([[np.mean(noisy[y == a] == b) for b in "abc"] for a in "abc"])
    # Weighted draws without replacement of an exact number: near T, not equal to it.
    assert np.abs(share - T)[0].max() == 0
    among = share[1, [0, 2]] / share[1, [0, 2]].sum()
    assert np.abs(among - [1 / 3, 2 / 3]).max() < 0.06
    assert noisy[(y == "c") & mask].tolist() == ["b"] * int(mask[8000:].sum())
    few, some = add_label_noise(y, 0.01, "matrix", 0, T)
    assert some.sum() == 120
    rate = [some[y == "b"].sum(), some[y == "c"].sum()]
    assert 1.4 < rate[1] / rate[0] < 3.0
    assert_array_equal(few[some], noisy[some])


@pytest.mark.parametrize("kind", KINDS)
def test_a_higher_rate_adds_to_a_lower_one(kind):
    y = np.random.default_rng(0).integers(4, size=300)
    low, low_mask = add_label_noise(y, 0.2, kind, 5)
    high, high_mask = add_label_noise(y, 0.6, kind, 5)
    assert (high_mask | ~low_mask).all()
    assert_array_equal(high[low_mask], low[low_mask])


def test_a_prefix_loses_few_flips():
    y = np.random.default_rng(0).integers(3, size=1000)
    whole, mask = add_label_noise(y, 0.3, random_state=2)
    part, part_mask = add_label_noise(y[:800], 0.3, random_state=2)
    # The threshold on the clocks moves with the sample only.
    assert np.mean(mask[:800] != part_mask) < 0.06
    both = mask[:800] & part_mask
    assert_array_equal(whole[:800][both], part[both])


def test_seeds():
    y = np.arange(50) % 2
    a, b = (add_label_noise(y, 0.3, random_state=4)[0] for _ in range(2))
    assert_array_equal(a, b)
    generator = np.random.default_rng(4)
    c, d = (add_label_noise(y, 0.3, random_state=generator)[0] for _ in range(2))
    assert (c != d).any()


@pytest.mark.parametrize(("n", "y"), [(1, [3]), (4, ["x"] * 4)])
def test_one_class_allows_no_noise_but_none(n, y):
    noisy, mask = add_label_noise(y, 0.0)
    assert noisy.tolist() == y
    assert mask.sum() == 0
    with pytest.raises(InvalidInputError, match="one class"):
        add_label_noise(y, 0.1)


T2 = [[0.5, 0.5], [0.0, 1.0]]


@pytest.mark.parametrize(
    ("y", "rate", "options", "message"),
    [
        ([0, 1], -0.1, {}, "rate must be a finite number >= 0"),
        ([0, 1], 0.51, {}, r"at most 1 - 1/K = 0.5 \(for 2 classes\)"),
        ([0, 1], float("nan"), {}, "rate must be a finite number"),
        ([0, 1], "half", {}, "rate must be a finite number"),
        ([0, 1], None, {}, "rate must be a number unless"),
        ([0, 1], 0.1, {"kind": "uniforme"}, "did you mean 'uniform'"),
        ([0, 1], 0.1, {"kind": "matrix"}, "matrix must be given"),
        ([0, 1], 0.1, {"matrix": T2}, "matrix must be given"),
        ([0, 1], 0.1, {"random_state": "x"}, "random_state must be"),
        ([0, 1, 2], 0.1, {"kind": "matrix", "matrix": T2}, r"shape \(3, 3\)"),
        ([0, 1], 0.1, {"kind": "matrix", "matrix": [[0.5, 0.6], [0, 1]]}, "sum to"),
        ([0, 1], 0.1, {"kind": "matrix", "matrix": [[-1, 2], [0, 1]]}, "entries >= 0"),
        (
            [0, 1, 1, 1],
            0.5,
            {"kind": "matrix", "matrix": T2},
            "only 1 of them may differ",
        ),
        ([[0], [1]], 0.1, {}, "one dimension"),
        ([], 0.1, {}, "one dimension"),
        ([0.5, 1.5], 0.1, {}, "whole numbers"),
        ([0.0, np.nan], 0.1, {}, "whole numbers"),
        (np.array(["a", None], dtype=object), 0.1, {}, "labels of one type"),
        (np.array([1.0, np.nan], dtype=object), 0.1, {}, "NaN"),
        ([1j, 2j], 0.1, {}, "dtype complex"),
    ],
)
def test_bad_input(y, rate, options, message):
    with pytest.raises(InvalidInputError, match=message):
        add_label_noise(y, rate, **options)
