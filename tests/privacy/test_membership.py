"""Attacks on membership against closed forms, SciPy's bootstrap and real models."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from mlmethods.common.statistics import auc, tpr_at_fpr
from mlmethods.errors import InvalidInputError
from mlmethods.privacy.attacks import (
    confidence_threshold,
    entropy_threshold,
    lira,
    logit_confidence,
    loss_threshold,
    train_shadows,
)


def test_the_area_of_two_normal_distributions(rng) -> None:
    # Synthetic losses: AUC is Phi(d / sqrt 2), balanced accuracy Phi(d / 2).
    d, n = 0.8, 4000
    found = loss_threshold(rng.normal(0, 1, n), rng.normal(d, 1, n), rng=1)
    area, accuracy = stats.norm.cdf([d / np.sqrt(2), d / 2])
    # 4 standard errors: a false alarm in 1e-4
    deviation = (found.auc_interval[1] - found.auc_interval[0]) / (2 * 1.96)
    assert abs(found.auc - area) < 4 * deviation
    assert deviation == pytest.approx(0.0061, rel=0.15)
    assert found.balanced_accuracy == pytest.approx(accuracy, abs=0.025)
    for rate in (0.001, 0.01):
        expected = stats.norm.cdf(d + stats.norm.ppf(rate))
        assert found.tpr_at_fpr[rate] == pytest.approx(expected, abs=0.03)


def test_every_number_is_that_of_the_scores(rng) -> None:
    members, others = rng.gamma(1.0, size=70), rng.gamma(2.0, size=110)
    members[:5] = others[:5]  # ties between the sides
    found = loss_threshold(members, others, n_bootstrap=50, rng=0)
    labels = np.arange(180) < 70
    scores = -np.concatenate([members, others])
    assert_array_equal(found.membership, labels)
    assert_array_equal(found.scores, scores)
    assert found.auc == pytest.approx(auc(labels, scores), rel=1e-12)
    assert found.intervals["auc"].estimate == pytest.approx(found.auc, rel=1e-12)
    cuts = scores[:, None] <= scores[None]
    accuracy = (cuts[:, :70].mean(axis=1) + 1 - cuts[:, 70:].mean(axis=1)) / 2
    assert found.balanced_accuracy == pytest.approx(accuracy.max())
    rows = found.low_fpr_rows()
    assert [row[0] for row in rows] == [0.001, 0.01]
    for rate, value, (low, high) in rows:
        assert value == found.tpr_at_fpr[rate] == tpr_at_fpr(labels, scores, rate)
        assert low <= high
    assert_allclose(np.trapezoid(found.tpr, found.fpr), found.auc, rtol=1e-12)
    data = json.loads(json.dumps(found.to_dict()))
    assert (data["members"], data["others"], data["attack"]) == (70, 110, "loss")
    assert data["auc_low"] < data["auc"] < data["auc_high"]
    assert data["tpr_at_fpr_0.01"] == found.tpr_at_fpr[0.01]
    assert "loss" in repr(found)


def test_the_bootstrap_is_that_of_scipy(rng) -> None:
    members, others = rng.normal(0, 1, 60), rng.normal(0.7, 1, 90)
    ours = loss_threshold(members, others, n_bootstrap=4000, level=0.9, rng=0)

    def statistic(a, b):
        labels = np.arange(150) < 60
        return auc(labels, -np.concatenate([a, b]))

    theirs = stats.bootstrap(
        (members, others),
        statistic,
        vectorized=False,
        n_resamples=400,
        confidence_level=0.9,
        method="percentile",
        rng=1,
    ).confidence_interval
    assert_allclose(ours.auc_interval, theirs, atol=0.015)
    again = loss_threshold(members, others, n_bootstrap=4000, level=0.9, rng=0)
    assert again.intervals == ours.intervals


def test_blocks_of_the_bootstrap_change_nothing(rng, monkeypatch) -> None:
    from mlmethods.privacy.attacks import _result

    members, others = rng.normal(0, 1, 30), rng.normal(0.7, 1, 40)
    whole = loss_threshold(members, others, n_bootstrap=2000, rng=0)
    monkeypatch.setattr(_result, "_BLOCK", 500)
    parts = loss_threshold(members, others, n_bootstrap=2000, rng=0)
    assert_allclose(parts.auc_interval, whole.auc_interval, atol=0.02)


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=12),
    st.lists(st.integers(0, 6), min_size=1, max_size=12),
)
def test_rates_stay_in_their_ranges(members, others) -> None:
    found = loss_threshold(members, others, n_bootstrap=20, rng=0)
    turned = loss_threshold(others, members, n_bootstrap=2, rng=0)
    assert found.auc == pytest.approx(1 - turned.auc)
    assert 0.5 <= found.balanced_accuracy <= 1
    assert found.tpr_at_fpr[0.001] <= found.tpr_at_fpr[0.01] <= 1
    for interval in found.intervals.values():
        assert 0 <= interval.low <= interval.high <= 1
    # a monotone map of the losses changes no rate
    moved = loss_threshold(np.exp(members), np.exp(others), n_bootstrap=20, rng=0)
    assert moved.to_dict() == found.to_dict()


def test_confidence_and_entropy_from_their_definitions(rng) -> None:
    table = rng.dirichlet(np.full(4, 0.5), 40)
    table[0] = [1, 0, 0, 0]
    table[1] = [0, 1, 0, 0]
    labels = rng.integers(0, 4, 40)
    labels[:2] = 0
    inside, outside = table[:25], table[25:]
    sides = labels[:25], labels[25:]
    own = table[np.arange(40), labels]
    assert_allclose(
        confidence_threshold(inside, outside, *sides, n_bootstrap=2).scores, own
    )
    assert_allclose(
        confidence_threshold(inside, outside, n_bootstrap=2).scores, table.max(axis=1)
    )
    plain = entropy_threshold(inside, outside, n_bootstrap=2).scores
    assert_allclose(-plain, stats.entropy(table, axis=1), atol=1e-12)
    modified = -entropy_threshold(inside, outside, *sides, n_bootstrap=2).scores
    naive = [
        -(1 - row[y]) * np.log(row[y])
        - sum(row[j] * np.log(1 - row[j]) for j in range(4) if j != y)
        for row, y in zip(table[2:], labels[2:], strict=True)
    ]
    assert_allclose(modified[2:], naive, rtol=1e-9)
    # certain and right is 0, certain and wrong is the largest, and finite
    assert modified[0] == pytest.approx(0, abs=1e-12)
    assert modified[1] == modified.max() < np.inf


def test_logit_confidence_keeps_its_digits() -> None:
    tiny = 1e-12
    table = np.array([[1 - tiny, tiny], [0.25, 0.75], [1.0, 0.0], [0.0, 1.0]])
    found = logit_confidence(table, [0, 0, 0, 0])
    assert found[0] == pytest.approx(-np.log(tiny), rel=1e-9)
    assert found[1] == pytest.approx(np.log(1 / 3))
    assert found[2] == -found[3] > 100
    assert np.isfinite(found).all()


def synthetic_shadows(rng, m=20, n=1500, gap=1.5, spread=4.0):
    """Return synthetic scores: examples differ in hardness, members score higher."""
    hardness = rng.normal(0, spread, n)
    inclusion = rng.random((m + 1, n)).argsort(axis=0) < (m + 1) // 2
    scores = hardness + gap * inclusion + rng.normal(size=(m + 1, n))
    return scores, inclusion


def test_lira_reaches_the_best_possible_rate(rng) -> None:
    # With the moments known the ratio is that of two normals at distance `gap`.
    scores, inclusion = synthetic_shadows(rng, m=64)
    best = stats.norm.cdf(1.5 / np.sqrt(2))
    args = scores[0], scores[1:], inclusion[1:], inclusion[0]
    for online in (True, False):
        for variance in (True, "auto"):
            found = lira(*args, online=online, fixed_variance=variance, rng=0)
            assert abs(found.auc - best) < 0.03
    losses = -scores[0]
    plain = loss_threshold(losses[inclusion[0]], losses[~inclusion[0]], rng=0)
    assert plain.auc < 0.65
    assert "64 shadow models" in found.attack


def test_lira_is_the_ratio_of_normal_densities(rng) -> None:
    scores, inclusion = synthetic_shadows(rng, m=10, n=30)
    target, shadows, kept = scores[0], scores[1:], inclusion[1:]
    own = lira(target, shadows, kept, inclusion[0], fixed_variance=False, rng=0)
    pooled = lira(target, shadows, kept, inclusion[0], fixed_variance=True, rng=0)
    auto = lira(target, shadows, kept, inclusion[0], rng=0)
    assert_array_equal(auto.scores, pooled.scores)  # fewer than 32
    parts = {True: [], False: []}
    for j in range(30):
        for side in (True, False):
            parts[side].append(shadows[kept[:, j] == side, j])
    freedom = {s: sum(len(x) - 1 for x in parts[s]) for s in parts}
    shared = {
        s: sum(((x - x.mean()) ** 2).sum() for x in parts[s]) / freedom[s]
        for s in parts
    }
    for found, deviation in (
        (own, lambda s, x: x.std(ddof=1)),
        (pooled, lambda s, x: np.sqrt(shared[s])),
    ):
        expected = [
            stats.norm.logpdf(target[j], x.mean(), deviation(True, x))
            - stats.norm.logpdf(target[j], z.mean(), deviation(False, z))
            for j, (x, z) in enumerate(zip(parts[True], parts[False], strict=True))
        ]
        assert_allclose(found.scores, expected, rtol=1e-9, atol=1e-9)
    offline = lira(target, shadows, kept, inclusion[0], online=False, rng=0)
    means = np.array([z.mean() for z in parts[False]])
    assert_allclose(offline.scores, (target - means) / np.sqrt(shared[False]))


def test_lira_does_not_leak_what_is_not_there(rng) -> None:
    scores, inclusion = synthetic_shadows(rng, gap=0.0)
    found = lira(
        scores[0], scores[1:], inclusion[1:], inclusion[0], level=0.9999, rng=0
    )
    low, high = found.auc_interval
    assert low < 0.5 < high


def fit_digits(X, y, seed):
    del seed
    return LogisticRegression(C=100.0, max_iter=100, tol=1e-2).fit(X, y)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_lira_beats_the_loss_on_an_overfitted_model_of_real_digits() -> None:
    X, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    rows = rng.permutation(len(X))[:800]
    X, y = X[rows] / 16, y[rows]
    wrong = rng.random(800) < 0.2
    y[wrong] = rng.integers(0, 10, wrong.sum())  # labels to be memorized
    shadows = train_shadows(fit_digits, (X, y), 17, rng=1)
    scores, inclusion = shadows
    found = lira(scores[0], scores[1:], inclusion[1:], inclusion[0], rng=0)
    losses = np.logaddexp(0, -scores[0])
    plain = loss_threshold(losses[inclusion[0]], losses[~inclusion[0]], rng=0)
    assert found.auc > 0.60
    assert found.auc_interval[0] > plain.auc
    assert found.tpr_at_fpr[0.01] > 5 * plain.tpr_at_fpr[0.01]


def test_shadows_are_trained_on_random_halves(rng) -> None:
    X = np.arange(60.0)[:, None]
    y = rng.integers(0, 3, 60)
    seen, events = [], []

    def fit(inputs, labels, seed):
        assert_array_equal(labels, y[inputs[:, 0].astype(int)])
        seen.append((inputs[:, 0].astype(int), seed))

        def predict(inputs):
            inside = np.isin(inputs[:, 0], seen[-1][0])
            right = np.where(inside, 0.8, 0.4)[:, None]
            return np.where(np.arange(3) == y[:, None], right, (1 - right) / 2)

        return predict

    shadows = train_shadows(fit, {"x": X, "y": y}, 7, rng=5, callback=events.append)
    for kept, (rows, _) in zip(shadows.inclusion, seen, strict=True):
        assert_array_equal(np.flatnonzero(kept), rows)
    assert_array_equal(shadows.inclusion.sum(axis=0), 3)
    assert len({seed for _, seed in seen}) == 7
    expected = np.where(shadows.inclusion, np.log(4), np.log(2 / 3))
    assert_allclose(shadows.scores, expected)
    assert [e.kind for e in events] == ["start", *["step"] * 7, "end"]
    assert [e.step for e in events] == [0, *range(1, 8), 7]
    first = shadows.inclusion
    seen.clear()
    assert_array_equal(train_shadows(fit, (X, y), 7, rng=5).inclusion, first)


TWO = np.full((2, 2), 0.5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: loss_threshold([], [1.0]), "member_losses must"),
        (lambda: loss_threshold([1.0], []), "nonmember_losses must"),
        (lambda: loss_threshold([np.nan], [1.0]), "member_losses must be finite"),
        (lambda: loss_threshold([np.inf], [1.0]), "member_losses must be finite"),
        (lambda: loss_threshold([[1.0]], [1.0]), "member_losses must"),
        (lambda: loss_threshold(["a"], [1.0]), "member_losses must"),
        (lambda: loss_threshold([1.0], [1.0], n_bootstrap=1), "n_bootstrap must"),
        (lambda: loss_threshold([1.0], [1.0], level=1.0), "level must"),
        (lambda: loss_threshold([1.0], [1.0], rng="x"), "rng must"),
        (lambda: confidence_threshold(TWO, TWO, [0, 1]), "given together"),
        (lambda: confidence_threshold(TWO + 1, TWO), "member_probabilities must have"),
        (lambda: confidence_threshold(TWO, TWO / 2), "nonmember_probabilities must"),
        (lambda: confidence_threshold(TWO[0], TWO), "member_probabilities must have"),
        (
            lambda: entropy_threshold(TWO, TWO, [0, 2], [0, 1]),
            "member_labels must be in",
        ),
        (lambda: entropy_threshold(TWO, TWO, [0], [0, 1]), "member_labels must be int"),
        (
            lambda: entropy_threshold(TWO, TWO, [0, 1], [0.0, 1]),
            "nonmember_labels must",
        ),
        (lambda: logit_confidence(TWO * np.nan, [0, 1]), "probabilities must"),
        (lambda: train_shadows(None, (TWO, [0, 1]), 4), "fit must be callable"),
        (lambda: train_shadows(fit_digits, (TWO, [0, 1]), 1), "n_shadows must"),
        (lambda: train_shadows(fit_digits, (TWO, [0.5, 1]), 4), "ds must hold"),
        (lambda: train_shadows(fit_digits, (TWO, [0]), 4), "ds must hold"),
        (lambda: train_shadows(fit_digits, 7, 4), "ds must be a pair"),
        (lambda: train_shadows(fit_digits, {"x": TWO}, 4), "ds must be a pair"),
    ],
)
def test_bad_arguments_are_named(call, message) -> None:
    with pytest.raises(InvalidInputError, match=message):
        call()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target_scores": [np.nan] * 3}, "target_scores must be finite"),
        ({"shadow_scores": np.ones((4, 2))}, "shadow_scores must have shape"),
        ({"shadow_scores": np.full((4, 3), np.inf)}, "shadow_scores must be finite"),
        ({"inclusion": np.ones((4, 3))}, "inclusion must be boolean"),
        ({"inclusion": np.ones((3, 3), bool)}, "inclusion must be boolean of shape"),
        ({"inclusion": np.ones((4, 3), bool)}, "1 shadow models without each example"),
        ({"inclusion": np.zeros((4, 3), bool)}, "1 shadow models with each example"),
        ({"membership": [0, 1, 1]}, "membership must be boolean"),
        ({"membership": np.ones(3, bool)}, "labels must have both"),
        ({"fixed_variance": "yes"}, "fixed_variance must"),
        (
            {"fixed_variance": False, "inclusion": np.eye(4, 3, dtype=bool)},
            "at least 2",
        ),
    ],
)
def test_bad_arguments_of_lira_are_named(changes, message) -> None:
    inclusion = np.arange(4)[:, None] % 2 == np.arange(3) % 2
    good = {
        "target_scores": [0.0, 1.0, 2.0],
        "shadow_scores": np.arange(12.0).reshape(4, 3),
        "inclusion": inclusion,
        "membership": np.array([True, False, True]),
    }
    assert lira(**good, n_bootstrap=5, rng=0).scores.shape == (3,)
    with pytest.raises(InvalidInputError, match=message):
        lira(**{**good, **changes})


def test_equal_scores_of_shadows_are_no_division_by_zero() -> None:
    inclusion = np.arange(4)[:, None] % 2 == np.arange(3) % 2
    scores = np.where(inclusion, 1.0, 0.0)
    found = lira([1.0, 0.0, 1.0], scores, inclusion, inclusion[0], n_bootstrap=5, rng=0)
    assert np.isfinite(found.scores).all()
    assert found.auc == 1.0


def test_one_shadow_a_side_has_no_variance() -> None:
    with pytest.raises(InvalidInputError, match="there is no variance"):
        lira([0.0, 1.0], np.eye(2), np.eye(2, dtype=bool), np.array([True, False]))
