"""Intervals and ranks, against SciPy, published tables and known answers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from mlmethods.common.plotting import plot_critical_difference
from mlmethods.common.statistics import (
    auc,
    bootstrap_ci,
    clopper_pearson,
    friedman_ranks,
    roc_curve,
    tpr_at_fpr,
)
from mlmethods.errors import InvalidInputError

# Table 6 of Demsar (2006): AUC of C4.5, C4.5+m, C4.5+cf and C4.5+m+cf on 14 datasets.
DEMSAR = np.array(
    [
        [0.763, 0.768, 0.771, 0.798],
        [0.599, 0.591, 0.590, 0.569],
        [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657],
        [0.882, 0.888, 0.886, 0.898],
        [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685],
        [0.583, 0.583, 0.563, 0.625],
        [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000],
        [0.940, 0.962, 0.965, 0.962],
        [0.619, 0.666, 0.614, 0.669],
        # Printed as a tie, which the paper's ranks tell apart.
        [0.972, 0.981, 0.975, 0.9749],
        [0.957, 0.978, 0.946, 0.970],
    ]
)


def test_ranks_of_the_published_example() -> None:
    result = friedman_ranks(DEMSAR)
    np.testing.assert_allclose(result.ranks, [3.143, 2.000, 2.893, 1.964], atol=5e-4)
    # The paper's statistic, 9.28, has no correction for ties.
    n, k = DEMSAR.shape
    plain = 12 * n / (k * (k + 1)) * (np.sum(result.ranks**2) - k * (k + 1) ** 2 / 4)
    assert plain == pytest.approx(9.28, abs=5e-3)
    assert result.chi2 >= plain
    assert result.chi2 == pytest.approx(stats.friedmanchisquare(*DEMSAR.T).statistic)
    expected = (n - 1) * result.chi2 / (n * (k - 1) - result.chi2)
    assert result.statistic == pytest.approx(expected)
    assert result.p_value == pytest.approx(stats.f.sf(expected, 3, 39))
    # Table 5 (a): 2.291 for four methods in the test of Nemenyi is 2.569.
    assert result.critical_difference == pytest.approx(
        2.569 * np.sqrt(4 * 5 / (6 * 14)), abs=1e-3
    )
    assert friedman_ranks(DEMSAR, level=0.9).critical_difference == pytest.approx(
        2.291 * np.sqrt(4 * 5 / (6 * 14)), abs=1e-3
    )


@pytest.mark.parametrize(
    ("k", "quantile"), [(3, 2.343), (5, 2.728), (7, 2.949), (9, 3.102), (10, 3.164)]
)
def test_the_critical_values_of_the_published_table(k: int, quantile: float) -> None:
    scores = np.random.default_rng(k).random((12, k))
    cd = friedman_ranks(scores).critical_difference
    assert cd == pytest.approx(quantile * np.sqrt(k * (k + 1) / 72), abs=1e-3)


def test_lower_is_better_turns_the_ranks_round() -> None:
    scores = np.random.default_rng(0).random((6, 4))
    up, down = (friedman_ranks(scores, higher_is_better=b) for b in (True, False))
    np.testing.assert_allclose(up.ranks + down.ranks, 5)
    assert up.p_value == pytest.approx(down.p_value)


def test_agreement_and_ties_have_their_limits() -> None:
    agreed = friedman_ranks(np.tile([3.0, 2.0, 1.0], (4, 1)))
    assert agreed.ranks.tolist() == [1, 2, 3]
    assert agreed.chi2 == pytest.approx(8)
    assert (agreed.statistic, agreed.p_value) == (np.inf, 0)
    tied = friedman_ranks(np.ones((4, 3)))
    assert tied.ranks.tolist() == [2, 2, 2]
    assert (tied.chi2, tied.p_value) == (0, 1)


@pytest.mark.parametrize(
    "scores",
    [np.ones((1, 3)), np.ones((4, 2)), np.ones(4), [[1, 2, np.nan], [1, 2, 3]]],
)
def test_too_few_scores_to_rank_are_refused(scores) -> None:
    with pytest.raises(InvalidInputError, match="scores must be finite numbers"):
        friedman_ranks(scores)


def test_the_bootstrap_of_a_mean_is_that_of_scipy() -> None:
    values = np.random.default_rng(0).normal(2, 1, 60)
    ours = bootstrap_ci(values, n=3000, rng=1)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=3000, method="percentile", rng=2
    ).confidence_interval
    assert ours.estimate == pytest.approx(values.mean())
    np.testing.assert_allclose([ours.low, ours.high], theirs, atol=0.03)
    narrow = bootstrap_ci(values, n=3000, level=0.5, rng=1)
    assert ours.low < narrow.low < narrow.high < ours.high
    assert bootstrap_ci(values, n=50, rng=3) == bootstrap_ci(values, n=50, rng=3)


def test_groups_are_drawn_whole() -> None:
    # Values that repeat within a group hold no more than one of them does.
    means = np.random.default_rng(0).normal(0, 1, 20)
    values, groups = np.repeat(means, 25), np.repeat(np.arange(20)[::-1], 25)
    grouped = bootstrap_ci(values, groups=groups, n=1500, rng=0)
    single = bootstrap_ci(means, n=1500, rng=0)
    naive = bootstrap_ci(values, n=300, rng=0)
    width = grouped.high - grouped.low
    assert width == pytest.approx(single.high - single.low, rel=0.15)
    assert width > 3 * (naive.high - naive.low)


def test_uneven_groups_keep_their_values_together() -> None:
    values = np.array([1.0, 1, 1, 5])
    drawn = set()

    def record(sample: np.ndarray) -> float:
        drawn.add(tuple(sorted(sample)))
        return float(sample.mean())

    bootstrap_ci(values, record, groups=["a", "a", "a", "b"], n=60, rng=0)
    assert drawn == {(1, 1, 1, 5), (1,) * 6, (5, 5)}


def test_pairs_take_out_what_the_cases_share() -> None:
    rng = np.random.default_rng(0)
    cases, noise = rng.normal(0, 10, 40), rng.normal(0, 0.1, 40)
    better = bootstrap_ci(cases + 1, paired=cases + noise, rng=0)
    assert 0.9 < better.low < better.estimate < better.high < 1.1
    flat = bootstrap_ci(cases, paired=cases, rng=0)
    assert flat == (0, 0, 0)


def test_another_statistic_is_computed_on_each_resample() -> None:
    values = np.random.default_rng(0).exponential(1, 80)
    median = bootstrap_ci(values, np.median, n=1000, rng=0)
    assert median.estimate == np.median(values)
    assert median.low < np.log(2) < median.high


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"values": [1.0]}, "at least two values or groups, got 1"),
        ({"values": [1.0, 2.0], "groups": [0, 0]}, "got 1"),
        ({"values": [1.0, np.nan]}, "values must be finite"),
        ({"values": [[1.0, 2.0]]}, "of one dimension"),
        ({"values": ["a", "b"]}, "values must be numbers"),
        ({"values": [1.0, 2.0], "paired": [1.0]}, "paired must have one entry"),
        ({"values": [1.0, 2.0], "groups": [1]}, "groups must have one entry"),
        ({"values": [1.0, 2.0], "level": 1.0}, "level must be"),
        ({"values": [1.0, 2.0], "n": 0}, "n must be an integer >= 1"),
        ({"values": [1.0, 2.0], "rng": "seed"}, "rng must be"),
    ],
)
def test_what_cannot_be_resampled_is_refused(arguments, message) -> None:
    with pytest.raises(InvalidInputError, match=message):
        bootstrap_ci(**arguments)


def bars(axes) -> list[tuple[float, float]]:
    """Return the rows that each bar beside the figure spans."""
    lines = [line for line in axes.lines if not line.get_clip_on()]
    return [tuple(np.round(line.get_ydata()).astype(int)) for line in lines]


def test_the_figure_joins_what_is_not_told_apart() -> None:
    ranks = {"d": 4.6, "a": 1.2, "b": 1.9, "c": 2.6, "e": 4.9}
    axes = plot_critical_difference(ranks, 0.9)
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["a  1.20", "b  1.90", "c  2.60", "d  4.60", "e  4.90"]
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), sorted(ranks.values()))
    assert bars(axes) == [(0, 1), (1, 2), (3, 4)]
    assert bars(plot_critical_difference(ranks, 9.0)) == [(0, 4)]
    assert bars(plot_critical_difference(ranks, 0.1)) == []
    assert "0.90" in axes.get_title(loc="left")


@pytest.mark.parametrize(
    ("ranks", "width", "message"),
    [
        ({"a": 1.0}, 1.0, "at least two methods"),
        ({"a": 1.0, "b": np.nan}, 1.0, r"ranks\['b'\] must be"),
        ({"a": 1.0, "b": 2.0}, 0.0, "critical_difference must be"),
    ],
)
def test_ranks_that_cannot_be_drawn_are_refused(ranks, width, message) -> None:
    with pytest.raises(InvalidInputError, match=message):
        plot_critical_difference(ranks, width)


@pytest.mark.parametrize(("k", "n"), [(0, 10), (3, 10), (10, 10), (481, 1263)])
def test_clopper_pearson_by_its_beta_quantiles(k: int, n: int) -> None:
    both = clopper_pearson(k, n, level=0.9)
    assert both.estimate == k / n
    low = 0.0 if k == 0 else stats.beta.ppf(0.05, k, n - k + 1)
    high = 1.0 if k == n else stats.beta.ppf(0.95, k + 1, n - k)
    np.testing.assert_allclose(both[1:], [low, high], rtol=1e-8)
    # one side at 95 % is one end of two sides at 90 %
    lower, upper = (clopper_pearson(k, n, side=s) for s in ("lower", "upper"))
    np.testing.assert_allclose(lower[1:], [low, 1], rtol=1e-8)
    np.testing.assert_allclose(upper[1:], [0, high], rtol=1e-8)


def test_clopper_pearson_covers_at_least_its_level() -> None:
    n, level = 30, 0.9
    ends = np.array([clopper_pearson(k, n, level=level)[1:] for k in range(n + 1)])
    for p in np.linspace(0.01, 0.99, 25):
        inside = (ends[:, 0] <= p) & (p <= ends[:, 1])
        assert stats.binom.pmf(np.arange(n + 1), n, p)[inside].sum() >= level


def test_the_area_under_the_curve_counts_pairs(rng: np.random.Generator) -> None:
    labels = rng.random(80) < 0.4
    scores = rng.integers(0, 12, 80) + 2 * labels
    above = scores[labels][:, None] - scores[~labels][None]
    pairs = np.mean((above > 0) + 0.5 * (above == 0))
    assert auc(labels, scores) == pytest.approx(pairs, rel=1e-12)
    assert auc(labels, -scores) == pytest.approx(1 - pairs, rel=1e-12)
    fpr, tpr = roc_curve(labels, scores)
    assert np.trapezoid(tpr, fpr) == pytest.approx(pairs, rel=1e-12)
    for bound in (0.0, 0.01, 0.1, 0.5, 1.0):
        cuts = np.append(scores, np.inf)
        rates = [
            ((scores >= c)[~labels].mean(), (scores >= c)[labels].mean()) for c in cuts
        ]
        best = max(t for f, t in rates if f <= bound)
        assert tpr_at_fpr(labels, scores, bound) == pytest.approx(best)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: clopper_pearson(1, 0), "trials must"),
        (lambda: clopper_pearson(3, 2), "successes must"),
        (lambda: clopper_pearson(-1, 2), "successes must"),
        (lambda: clopper_pearson(1, 2, level=1.0), "level must"),
        (lambda: clopper_pearson(1, 2, side="left"), "side must"),
        (lambda: auc([True, True], [1.0, 2.0]), "labels must have both"),
        (lambda: auc([True, False], [1.0, np.nan]), "scores must be finite"),
        (lambda: auc([True], [1.0, 2.0]), "labels must have one entry"),
        (lambda: roc_curve([0.5, 0.1], [1.0, 2.0]), "labels must be boolean"),
        (lambda: roc_curve([2, 1], [1.0, 2.0]), "labels must be boolean"),
        (lambda: tpr_at_fpr([True, False], [1.0, 2.0], 1.1), "fpr must"),
    ],
)
def test_bad_rates_are_named(call, message) -> None:
    with pytest.raises(InvalidInputError, match=message):
        call()
