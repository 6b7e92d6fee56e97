"""Verdicts on synthetic curves whose answer is known."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from mlmethods.errors import InvalidInputError
from mlmethods.overfitting import Verdict, classify_overfitting

N = np.array([100, 200, 400, 800, 1600])
NOISE = np.array([0.0, 0.5, 1.0])
COSTS = {
    "tempered": lambda n: 1.5 + 0.0 * n,
    "benign": lambda n: 1 + 20.0 / n,
    "benign by a logarithm": lambda n: 1 + 1 / np.log(n),
    "benign from the start": lambda n: 1 + 0.0 * n,
    "catastrophic": lambda n: 1 + 0.01 * n**0.7,
}


def curves(cost, *, n=N, noise=NOISE, seeds=5, spread=0.005, seed=0):
    """Synthetic risks with a bias that falls, and seeds that all sizes share."""
    rng = np.random.default_rng(seed)
    risk = 10 / n[:, None, None] + cost(n)[:, None, None] * noise
    shape = (len(n), seeds, len(noise))
    errors = rng.normal(size=shape) + 0.5 * rng.normal(size=(1, seeds, 1))
    return risk * (1 + spread * errors)


@pytest.mark.parametrize("name", COSTS)
@pytest.mark.parametrize("seed", range(4))
def test_the_label_of_known_curves(name, seed):
    verdict = classify_overfitting(N, curves(COSTS[name], seed=seed), NOISE)
    assert verdict.label == name.split()[0]
    assert verdict.probabilities[verdict.label] > 0.9
    assert sum(verdict.probabilities.values()) == pytest.approx(1)
    assert_allclose(verdict.e0["e0"], COSTS[name](N), rtol=0.03)
    assert verdict.e0["resolved"].all()
    low, high = verdict.slope_ci
    assert low - 1e-9 <= verdict.slope <= high + 1e-9
    assert verdict.interpolates is None
    assert verdict.evidence["notes"] == []
    assert np.isnan(verdict.tau)


def test_exact_curves_give_exact_numbers():
    n = np.array([64, 128, 256, 512, 1024, 2048])
    risk = curves(lambda n: 1 + 0.1 * n**0.5, n=n, spread=0.0)
    verdict = classify_overfitting(n, risk, NOISE)
    assert_allclose(verdict.e0["e0"], 1 + 0.1 * n**0.5, rtol=1e-9)
    assert_allclose(verdict.e0["lower"], verdict.e0["upper"], rtol=1e-9)
    assert verdict.slope == pytest.approx(0.5)
    assert_allclose(verdict.slope_ci, 0.5)
    assert_allclose(verdict.evidence["risk_without_noise"], 10 / n, rtol=1e-8)


def test_evidence_compares_three_models():
    best = {
        name: classify_overfitting(N, curves(cost), NOISE).evidence["best_model"]
        for name, cost in COSTS.items()
    }
    assert best["tempered"] == "constant"
    assert best["benign"] == best["benign by a logarithm"] == "decay"
    assert best["catastrophic"] == "growth"


@pytest.mark.parametrize("noise", [[0.0, 1.0], [0.3, 0.7], [0, 0.01, 0.1, 1, 4]])
def test_any_noise_levels_give_the_same_cost(noise):
    noise = np.array(noise)
    verdict = classify_overfitting(N, curves(COSTS["tempered"], noise=noise), noise)
    assert verdict.label == "tempered"
    assert_allclose(verdict.e0["e0"], 1.5, atol=0.03)


def test_one_level_needs_the_bayes_risk():
    noise = np.array([1.0])
    risk = curves(COSTS["tempered"], noise=noise) - (10 / N)[:, None, None]
    assert classify_overfitting(N, risk, noise, bayes=1.0).label == "tempered"
    with pytest.raises(InvalidInputError, match="two levels, or bayes"):
        classify_overfitting(N, risk, noise)


def test_few_seeds_or_wide_spreads_are_undetermined():
    two = classify_overfitting(
        N, curves(COSTS["tempered"], seeds=2, spread=0.02), NOISE
    )
    wide = classify_overfitting(N, curves(COSTS["tempered"], spread=0.1), NOISE)
    one = classify_overfitting(N, curves(COSTS["catastrophic"], seeds=1), NOISE)
    assert {two.label, wide.label, one.label} == {"undetermined"}
    assert wide.probabilities["tempered"] < 0.95
    assert np.isnan(list(one.probabilities.values())).all()
    assert np.isnan(one.e0["lower"]).all()
    assert "1 seeds are too few" in one.evidence["notes"][0]


def test_growth_from_the_noise_floor_is_no_catastrophe():
    # The excess is not above its error at the largest size.
    risk = curves(COSTS["benign from the start"], spread=0.02)
    verdict = classify_overfitting(N, risk, NOISE)
    assert verdict.evidence["excess_at_floor"]
    assert verdict.label in ("benign", "undetermined")
    assert verdict.probabilities["catastrophic"] < 0.1


def test_unresolved_sizes_are_left_out():
    risk = curves(COSTS["catastrophic"])
    # Rounding makes the cost of the largest sizes look like none.
    risk[3:] = curves(COSTS["benign from the start"])[3:]
    resolved = np.array([True, True, True, False, False])
    verdict = classify_overfitting(N, risk, NOISE, resolved=resolved)
    assert verdict.label == "catastrophic"
    assert verdict.e0["resolved"].tolist() == resolved.tolist()
    assert verdict.evidence["n_resolved"] == 3
    per_run = np.ones(risk.shape, dtype=bool)
    per_run[2:, 1, 0] = False
    fewer = classify_overfitting(N, risk, NOISE, resolved=per_run)
    assert fewer.label == "undetermined"
    assert "2 sizes are resolved" in fewer.evidence["notes"][0]
    assert "2 of 5 sizes resolved" in str(fewer)


def test_fewer_sizes_than_advised_are_named():
    risk = curves(COSTS["tempered"], n=N[:4])
    verdict = classify_overfitting(N[:4], risk, NOISE)
    assert verdict.label == "tempered"
    assert verdict.evidence["notes"] == ["4 sizes were measured; 5 or more are advised"]


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 9999), name=st.sampled_from(sorted(COSTS)))
def test_the_order_of_everything_means_nothing(seed, name):
    rng = np.random.default_rng(seed)
    risk = curves(COSTS[name], spread=0.02, seed=seed)
    first = classify_overfitting(N, risk, NOISE, n_bootstrap=200)
    k, s, level = (rng.permutation(size) for size in risk.shape)
    mixed = risk[np.ix_(k, s, level)]
    again = classify_overfitting(N[k], mixed, NOISE[level], n_bootstrap=200)
    assert again.label == first.label
    assert_allclose(again.slope_ci, first.slope_ci, rtol=1e-9)
    pd.testing.assert_frame_equal(again.e0, first.e0)
    # Units of the noise do not matter either.
    scaled = classify_overfitting(N, 9 * risk, 9 * NOISE, n_bootstrap=200)
    assert_allclose(scaled.slope_ci, first.slope_ci, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [4, 10])
@pytest.mark.parametrize("name", ["tempered", "catastrophic"])
def test_intervals_cover_the_truth(name, seeds):
    covered = np.zeros(2)
    for seed in range(300):
        risk = curves(COSTS[name], seeds=seeds, spread=0.02, seed=seed)
        verdict = classify_overfitting(N, risk, NOISE, n_bootstrap=400)
        upper = COSTS[name](N[2:]) - 1
        slope = np.polyfit(np.log(N[2:]), np.log(upper), 1)[0]
        last = verdict.e0.iloc[-1]
        covered += [
            verdict.slope_ci[0] <= slope <= verdict.slope_ci[1],
            last["lower"] <= COSTS[name](N)[-1] <= last["upper"],
        ]
    assert (covered / 300 > 0.88).all()


@pytest.mark.slow
def test_a_wrong_label_is_rare():
    wrong = 0
    for name, cost in COSTS.items():
        for seed in range(60):
            risk = curves(cost, spread=0.03, seed=seed)
            label = classify_overfitting(N, risk, NOISE, n_bootstrap=300).label
            wrong += label not in (name.split()[0], "undetermined")
    assert wrong <= 0.05 * 60 * len(COSTS)


# Classification --------------------------------------------------------------

RATES = np.array([0.0, 0.1, 0.2, 0.3, 0.4])


def profiles(tau, *, n=N, seeds=5, spread=0.004, seed=0, bias=lambda n: 1 / n):
    """Errors that go the share tau of the way to chance, on top of a falling bias."""
    rng = np.random.default_rng(seed)
    base = 0.02 + bias(n)[:, None, None]
    # Twice the trapezoid mean of RATES / 0.4 is 1, so that tau is the area.
    rise = 2 * np.broadcast_to(tau, n.shape)[:, None, None] * RATES / 0.4
    risk = base + (0.5 - base) * np.minimum(rise, 1.0)
    return np.clip(risk + spread * rng.normal(size=(len(n), seeds, len(RATES))), 0, 1)


@pytest.mark.parametrize(
    ("tau", "label"), [(0.01, "benign"), (0.4, "tempered"), (0.05, "undetermined")]
)
def test_tau_decides_for_classes(tau, label):
    verdict = classify_overfitting(
        N, profiles(tau), RATES, task="classification", n_classes=2
    )
    assert verdict.label == label
    assert verdict.tau == pytest.approx(tau, abs=0.02)
    assert verdict.tau_ci[0] < tau < verdict.tau_ci[1]
    assert verdict.tau_by_n["tau"].iloc[-1] == verdict.tau
    assert verdict.e0.empty


def test_catastrophic_is_guessing_from_the_first_flip():
    risk = np.full((5, 5, 5), 0.5)
    risk[:, :, 0] = 0.02
    rates = np.array([0.0, 0.001, 0.1, 0.2, 0.4])
    noisy = risk + 0.001 * np.random.default_rng(0).normal(size=risk.shape)
    verdict = classify_overfitting(N, noisy, rates, task="classification", n_classes=2)
    assert verdict.label == "catastrophic"
    assert verdict.tau > 0.95


def test_a_known_bayes_risk_and_another_chance():
    risk = profiles(0.4, spread=0.0)
    own = classify_overfitting(N, risk, RATES, task="classification", n_classes=2)
    known = classify_overfitting(
        N, risk, RATES, bayes=0.0, task="classification", chance=0.6
    )
    area = np.trapezoid(risk[-1, 0], RATES)
    assert known.tau == pytest.approx(area / (0.6 * 0.4))
    assert own.tau == pytest.approx(0.4)
    assert known.evidence["chance"] == 0.6
    # The bias falls; what noise adds keeps its share, and that is the trend.
    assert own.slope == pytest.approx(0, abs=1e-9)
    assert known.slope == pytest.approx(0, abs=1e-2)


def test_a_learner_that_only_guesses_has_no_tau():
    risk = np.full((5, 3, 5), 0.5) - 0.001 * np.arange(3)[:, None]
    verdict = classify_overfitting(N, risk, RATES, task="classification", n_classes=2)
    assert verdict.label == "undetermined"
    assert verdict.evidence["near_chance_without_noise"] == N.tolist()
    assert np.isnan(verdict.tau)
    assert "no size is resolved" in str(verdict)


# Tables and documents --------------------------------------------------------


def as_table(risk, noise=NOISE, n=N):
    k, s, level = (index.ravel() for index in np.indices(risk.shape))
    return pd.DataFrame(
        {"n": n[k], "seed": s, "noise": noise[level], "risk": risk.ravel()}
    )


def test_a_table_is_the_same_as_arrays():
    risk = curves(COSTS["tempered"])
    table = as_table(risk).sample(frac=1, random_state=0)
    ours = classify_overfitting(table)
    theirs = classify_overfitting(N, risk, NOISE)
    pd.testing.assert_frame_equal(ours.e0, theirs.e0)
    assert ours.slope_ci == theirs.slope_ci


def test_columns_of_a_table():
    table = as_table(curves(COSTS["tempered"]))
    table["resolved"] = table["n"] != 1600
    table["train_error"] = 1e-15
    verdict = classify_overfitting(table)
    assert verdict.interpolates is True
    assert verdict.evidence["n_resolved"] == 4
    table.loc[3, "train_error"] = 0.1
    assert classify_overfitting(table).interpolates is False
    table["interpolates"] = True
    assert classify_overfitting(table).interpolates is True
    part = table[~((table["n"] == 800) & (table["seed"] == 2))]
    found = classify_overfitting(part)
    assert found.e0["n"].tolist() == [100, 200, 400, 1600]
    assert "n = 800" in found.evidence["notes"][0]


def test_no_whole_size_is_undetermined():
    table = as_table(curves(COSTS["tempered"])).iloc[[0, 4]]
    verdict = classify_overfitting(table)
    assert verdict.label == "undetermined"
    assert len(verdict.e0) == 0
    assert "no size is resolved" in str(verdict)


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_a_verdict_as_text_and_back(task):
    if task == "regression":
        arguments = (N, curves(COSTS["tempered"]), NOISE)
    else:
        arguments = (N, profiles(0.4), RATES)
    verdict = classify_overfitting(*arguments, task=task, n_classes=2, theory="benign")
    lines = str(verdict).split("\n")
    assert len(lines) == 2
    assert lines[0].startswith("tempered: ")
    assert "theory disagrees: benign" in lines[1]
    document = json.loads(verdict.to_json())
    assert document["disagrees"]
    again = Verdict.from_dict(document)
    assert again.to_dict() == verdict.to_dict()
    assert str(again) == str(verdict)
    pd.testing.assert_frame_equal(again.e0, verdict.e0, check_dtype=False)
    with pytest.raises(InvalidInputError, match="all its entries"):
        Verdict.from_dict({"label": "benign"})


def test_theory_agrees_or_cannot_be_judged():
    risk = curves(COSTS["tempered"])
    assert not classify_overfitting(N, risk, NOISE, theory="tempered").disagrees
    assert not classify_overfitting(N, risk, NOISE).disagrees
    wide = curves(COSTS["tempered"], spread=0.1)
    assert not classify_overfitting(N, wide, NOISE, theory="benign").disagrees


RISK = curves(COSTS["tempered"])


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((N, RISK[0], NOISE), {}, r"shape \(n_sizes, n_seeds, n_levels\)"),
        ((N[:4], RISK, NOISE), {}, r"shape \(4, n_seeds, 3\)"),
        ((N, RISK, NOISE[:2]), {}, r"shape \(5, n_seeds, 2\)"),
        ((N, RISK * np.nan, NOISE), {}, "75 values that are not"),
        ((N, -RISK, NOISE), {}, "risk must be finite and >= 0"),
        ((N, RISK, [0, 1, 1]), {}, "noise must hold different values"),
        ((N, RISK, [0, -1, 1]), {}, "noise must be finite and >= 0"),
        ((N, RISK, [0, np.inf, 1]), {}, "noise must be finite and >= 0"),
        (([0, 1, 2, 3, 4], RISK, NOISE), {}, "n must be finite and >= 1"),
        (([2, 2, 3, 4, 5], RISK, NOISE), {}, "n must hold different"),
        ((["a"] * 5, RISK, NOISE), {}, "n must be numbers"),
        ((N, RISK), {}, "risk and noise must be given"),
        ((as_table(RISK), RISK), {}, "columns of the table"),
        ((as_table(RISK).drop(columns="seed"),), {}, "none called seed"),
        ((pd.concat([as_table(RISK)] * 2),), {}, "got two for"),
        ((N, RISK, NOISE), {"task": "regressio"}, "did you mean 'regression'"),
        ((N, RISK, NOISE), {"theory": "bening"}, "did you mean 'benign'"),
        ((N, RISK, NOISE), {"g0": 0}, "g0 must be"),
        ((N, RISK, NOISE), {"level": 1.0}, "level must be"),
        ((N, RISK, NOISE), {"n_bootstrap": 10}, "n_bootstrap must be"),
        ((N, RISK, NOISE), {"bayes": 0.0}, "bayes must be"),
        ((N, RISK, NOISE), {"resolved": [True]}, "resolved must have one entry"),
        ((N, RISK, NOISE), {"random_state": -1}, "random_state must be"),
        ((N, RISK, NOISE), {"task": "classification"}, "n_classes or chance"),
    ],
)
def test_bad_input(arguments, options, message):
    with pytest.raises(InvalidInputError, match=message):
        classify_overfitting(*arguments, **options)


@pytest.mark.parametrize(
    ("risk", "noise", "options", "message"),
    [
        (RISK, NOISE, {"n_classes": 2}, "shares in"),
        (RISK / 99, NOISE, {"n_classes": 1}, "n_classes must be"),
        (RISK / 99, NOISE, {"chance": 1.0}, "chance must be"),
        (RISK / 99, NOISE + 0.1, {"n_classes": 2}, "shares in"),
        (RISK / 99, NOISE / 3 + 0.1, {"n_classes": 2}, "bayes must be given"),
        (RISK / 99, NOISE, {"n_classes": 2, "bayes": 0.6}, "bayes must be"),
        (RISK[:, :, :1] / 99, NOISE[:1], {"n_classes": 2}, "at least two levels"),
    ],
)
def test_bad_input_for_classes(risk, noise, options, message):
    with pytest.raises(InvalidInputError, match=message):
        classify_overfitting(N, risk, noise, task="classification", **options)
