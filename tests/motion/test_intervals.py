"""Intervals of counts: exact quantiles, coverage by simulation, exact laws."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mlmethods.errors import InvalidInputError
from mlmethods.motion.calibration import (
    Temperature,
    expected_calibration_error,
    fit_temperature,
)
from mlmethods.motion.intervals import (
    ConformalQuantile,
    conformal_interval,
    conformal_quantile,
    count_residuals,
    poisson_binomial,
    poisson_binomial_interval,
)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.floats(0.5, 0.95))
def test_one_residual_a_patient_is_the_usual_rank(seed, count, level):
    scores = np.random.default_rng(seed).gamma(2.0, size=count)
    found = conformal_quantile(scores, np.arange(count), level=level)
    rank = math.ceil((count + 1) * level - 1e-9)
    if rank > count:
        assert found.nominal
        assert found.value == scores.max()
    else:
        assert found.value == np.sort(scores)[rank - 1]
        assert found.nominal == (count < 8)


@pytest.mark.parametrize("patients", [9, 20])
def test_coverage_of_exchangeable_patients(patients):
    # Exact: the new residual is below the k-th of K with probability k / (K + 1).
    rng = np.random.default_rng(patients)
    trials, level = 4000, 0.9
    skill = rng.gamma(1.5, 0.1, size=(trials, patients + 1))
    predicted = rng.integers(5, 80, size=(trials, patients + 1))
    true = rng.poisson(predicted * np.exp(rng.normal(0, skill)))
    # A little noise breaks ties between counts: with ties coverage is only larger.
    scores = count_residuals(true.ravel(), predicted.ravel()).reshape(true.shape)
    scores += rng.uniform(0, 1e-6, size=scores.shape)
    hits = 0
    for row in scores:
        found = conformal_quantile(row[:-1], np.arange(patients), level=level)
        assert not found.nominal
        hits += row[-1] <= found.value
    exact = math.ceil((patients + 1) * level - 1e-9) / (patients + 1)
    bound = 4 * math.sqrt(exact * (1 - exact) / trials)
    assert abs(hits / trials - exact) < bound


def test_coverage_with_several_sessions_a_patient():
    rng = np.random.default_rng(3)
    trials, patients, level = 1500, 15, 0.8
    hits = 0
    for _ in range(trials):
        sizes = rng.integers(1, 6, size=patients + 1)
        # Sessions of one patient share an error: they are far from independent.
        spread = rng.gamma(1.0, 1.0, size=patients + 1)
        owner = np.repeat(np.arange(patients + 1), sizes)
        scores = spread[owner] * rng.uniform(0.8, 1.2, size=len(owner))
        known = owner < patients
        found = conformal_quantile(scores[known], owner[known], level=level)
        new = scores[~known]
        hits += new[rng.integers(len(new))] <= found.value
    assert hits / trials > level - 4 * math.sqrt(level * (1 - level) / trials)
    assert hits / trials < level + 1 / (patients + 1) + 0.05


def test_few_patients_are_nominal():
    found = conformal_quantile([0.1, 0.4, 0.2], ["a", "b", "a"])
    assert found == ConformalQuantile(0.4, 0.9, 2, True)
    # Eight patients cannot support 90 %: the largest of 8 covers 8 of 9.
    assert conformal_quantile(np.arange(8.0), np.arange(8), level=0.9).nominal
    assert not conformal_quantile(np.arange(8.0), np.arange(8), level=0.8).nominal


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 200), st.floats(0, 3))
def test_interval_holds_exactly_the_counts_within_the_residual(predicted, value):
    low, high = conformal_interval(predicted, ConformalQuantile(value, 0.9, 9, False))
    counts = np.arange(0, 900)
    # Counts at a distance of rounding from the edge may fall on either side.
    gap = np.abs(counts - predicted) / max(predicted, 1) - value
    assert ((counts >= low) & (counts <= high))[gap <= 0].all()
    assert not ((counts >= low) & (counts <= high))[gap > 1e-8].any()


def test_poisson_binomial_against_all_outcomes_and_the_binomial():
    chances = np.array([0.1, 0.5, 0.93, 0.0, 1.0, 0.37])
    expected = np.zeros(7)
    for outcome in itertools.product([0, 1], repeat=6):
        happened = np.array(outcome)
        expected[sum(outcome)] += np.prod(
            np.where(happened, chances, 1 - chances), dtype=np.float64
        )
    np.testing.assert_allclose(poisson_binomial(chances), expected, atol=1e-14)
    np.testing.assert_allclose(
        poisson_binomial(np.full(1000, 0.3)),
        stats.binom.pmf(np.arange(1001), 1000, 0.3),
        atol=1e-13,
    )
    assert poisson_binomial([]).tolist() == [1.0]


def test_poisson_binomial_interval_covers():
    rng = np.random.default_rng(5)
    chances = rng.uniform(0.5, 1.0, size=60)
    low, high = poisson_binomial_interval(chances, level=0.9, miss_rate=0.2)
    found = (rng.random((20_000, 60)) < chances).sum(axis=1)
    total = found + rng.poisson(0.25 * chances.sum(), size=20_000)
    share = ((total >= low) & (total <= high)).mean()
    assert 0.9 <= share < 0.95
    assert poisson_binomial_interval([]) == (0, 0)
    assert poisson_binomial_interval([1.0] * 7) == (7, 7)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: conformal_quantile([], []), "above 0"),
        (lambda: conformal_quantile([1.0, np.nan], [1, 2]), "finite"),
        (lambda: conformal_quantile([1.0], [1], level=1.0), "level"),
        (lambda: count_residuals([1], [1, 2]), "one shape"),
        (lambda: count_residuals([-1], [1]), "true must be >= 0"),
        (lambda: poisson_binomial([1.2]), "in \\[0, 1\\]"),
        (lambda: poisson_binomial_interval([0.5], miss_rate=1.0), "miss_rate"),
        (lambda: fit_temperature([0.5], [True, False]), "one length"),
        (lambda: expected_calibration_error([1.5], [True]), "in \\[0, 1\\]"),
    ],
)
def test_refused(call, message):
    with pytest.raises(InvalidInputError, match=message):
        call()


@pytest.mark.parametrize("true_temperature", [0.5, 1.0, 3.0])
def test_temperature_is_recovered(true_temperature):
    rng = np.random.default_rng(0)
    odds = rng.normal(1.0, 2.5, size=20_000)
    right = rng.random(20_000) < 1 / (1 + np.exp(-odds / true_temperature))
    fitted = fit_temperature(1 / (1 + np.exp(-odds)), right)
    assert fitted.value == pytest.approx(true_temperature, rel=0.08)
    assert fitted.ece_after < 0.02
    assert fitted.n == 20_000
    if true_temperature != 1:
        assert fitted.ece_after < fitted.ece_before / 2


def test_temperature_of_too_little_is_one():
    assert fit_temperature([0.8, 0.9], [True, True]).value == 1
    assert fit_temperature([], []).value == 1
    same = Temperature().apply([0.0, 0.3, 1.0])
    assert same.tolist() == [0.0, 0.3, 1.0]


def test_temperature_keeps_the_order_and_the_range():
    chances = np.linspace(0, 1, 21)
    for value in (0.3, 4.0):
        warm = Temperature(value).apply(chances)
        assert (np.diff(warm) >= 0).all()
        assert warm.min() >= 0
        assert warm.max() <= 1


def test_calibration_error_by_hand():
    # Two bins: (0.9 + 0.9 - 1) / 3 and (0.3 - 0) / 3.
    error = expected_calibration_error([0.9, 0.9, 0.3], [True, False, False])
    assert error == pytest.approx((0.8 + 0.3) / 3)
    assert math.isnan(expected_calibration_error([], []))
