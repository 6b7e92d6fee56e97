"""Audits: bounds that hold, mechanisms that are caught, and runs that leak or do not."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from mlmethods.errors import InvalidInputError, SamplerError
from mlmethods.privacy import (
    CoordinateLaplaceMechanism,
    EuclideanLaplaceMechanism,
    GaussianMechanism,
    NoPrivacy,
    ProjectedNormalMechanism,
    PurkayasthaMechanism,
    VonMisesFisherMechanism,
)
from mlmethods.privacy.audit import AuditResult, canary_epsilon, train_audit
from mlmethods_jax.privacy.audit import lower_bound


@dataclass(frozen=True)
class Sabotaged(VonMisesFisherMechanism):
    """Claims kappa and releases with twice as much."""

    def config(self) -> Any:
        honest = super().config()
        return replace(honest, scale=2 * honest.scale)


@pytest.mark.parametrize("kappa", [1.0, 50.0, 500.0])
@pytest.mark.parametrize(("p", "n"), [(3, 10_000), (10, 10_000), (1000, 2000)])
def test_no_bound_exceeds_the_claim(p, n, kappa) -> None:
    found = canary_epsilon(VonMisesFisherMechanism(kappa), p, n, rng=7)
    assert found.consistent
    assert 0 <= found.lower <= found.upper_claimed <= 2 * kappa
    assert 0 <= found.lower_delta <= found.claimed_delta
    assert (found.n, found.adjacency) == (n, "replace_one")


def test_no_bound_exceeds_the_claim_in_the_dimension_of_lenet() -> None:
    found = canary_epsilon(VonMisesFisherMechanism(500.0), 61_706, 150, rng=3)
    assert found.consistent
    assert found.lower <= found.upper_claimed
    # 2 kappa / sqrt p is 4.03: far from nothing, in so few releases already
    assert 0.6 < found.lower_delta < found.claimed_delta < 0.957


@pytest.mark.slow
@pytest.mark.parametrize("kappa", [1.0, 50.0, 500.0])
def test_the_compiled_sampler_keeps_its_claim_in_that_dimension(kappa) -> None:
    mechanism = VonMisesFisherMechanism(kappa)
    found = canary_epsilon(mechanism, 61_706, 2000, rng=3, backend="jax")
    assert found.consistent
    if kappa == 500:
        assert found.lower > 3
        assert found.lower_delta > 0.9


@pytest.mark.parametrize("backend", ["numpy", "jax"])
def test_the_bounds_come_near_the_truth(backend) -> None:
    mechanism = VonMisesFisherMechanism(1.0)
    found = canary_epsilon(mechanism, 3, 20_000, rng=0, backend=backend)
    # total variation tanh(1/2), and log(TPR / FPR) of the best threshold
    assert 0.40 <= found.lower_delta <= found.claimed_delta
    assert found.claimed_delta == pytest.approx(math.tanh(0.5), abs=1e-9)
    assert 1.2 < found.lower < found.upper_claimed < 2.0
    # the claim is where the mechanism's delta is 1e-5
    at = mechanism.delta(found.upper_claimed, 3)
    assert at == pytest.approx(1e-5, rel=1e-4)
    assert found.consistent


@pytest.mark.parametrize(("p", "kappa"), [(3, 1.0), (10, 3.0), (1000, 50.0)])
def test_twice_the_declared_concentration_is_caught(p, kappa) -> None:
    found = canary_epsilon(Sabotaged(kappa), p, 6000, rng=1)
    assert not found.consistent
    assert found.lower_delta > found.claimed_delta
    assert found.upper_claimed <= 2 * kappa
    assert "INCONSISTENT" in str(found)
    if p == 3:
        assert found.lower > found.upper_claimed


@pytest.mark.parametrize(
    "mechanism",
    [
        GaussianMechanism(1.0),
        GaussianMechanism(1.0, adjacency="replace_one"),
        PurkayasthaMechanism(2.0),
        EuclideanLaplaceMechanism(2.0),
        CoordinateLaplaceMechanism(0.3),
        VonMisesFisherMechanism((2.0, 3.0), granularity=(("a",), ("b",))),
    ],
)
def test_every_mechanism_is_audited(mechanism) -> None:
    if isinstance(mechanism, VonMisesFisherMechanism):
        mechanism = mechanism.parts((10, 5))[0][0]
    found = canary_epsilon(mechanism, 10, 4000, rng=2)
    assert found.consistent
    assert found.lower > 0.3
    assert found.adjacency == mechanism.adjacency


def test_the_gaussian_pair_has_its_own_sensitivity() -> None:
    for adjacency, shift in (("add_remove", 1.0), ("replace_one", 2.0)):
        mechanism = GaussianMechanism(1.0, adjacency=adjacency)
        found = canary_epsilon(mechanism, 5, 20_000, rng=0)
        truth = 2 * stats.norm.cdf(shift / 2) - 1
        assert found.claimed_delta == pytest.approx(truth, rel=1e-6)
        assert truth - 0.05 < found.lower_delta < truth


def test_controls_without_a_guarantee_claim_nothing() -> None:
    for mechanism in (NoPrivacy(), ProjectedNormalMechanism(0.5)):
        found = canary_epsilon(mechanism, 4, 2000, rng=0)
        assert found.upper_claimed == math.inf
        assert found.lower > 4
        assert json.loads(json.dumps(found.to_dict()))["upper_claimed"] is None


def test_a_pure_claim_holds_without_delta() -> None:
    found = canary_epsilon(VonMisesFisherMechanism(1.0), 3, 5000, delta=0.0, rng=0)
    assert found.upper_claimed == 2.0
    assert 1.0 < found.lower <= 2.0


def test_a_result_says_what_it_is_about() -> None:
    found = canary_epsilon(VonMisesFisherMechanism(1.0), 3, 500, rng=0)
    again = canary_epsilon(VonMisesFisherMechanism(1.0), 3, 500, rng=0)
    assert found == again
    data = json.loads(json.dumps(found.to_dict()))
    assert data["lower"] == found.lower
    assert data["adjacency"] == "replace_one"
    text = str(found)
    assert "values of one example" in text
    assert "significance 0.0001" in text


def test_blocks_of_releases_change_no_law(monkeypatch) -> None:
    from mlmethods.privacy import audit

    monkeypatch.setattr(audit, "_BLOCK", 700)
    found = canary_epsilon(VonMisesFisherMechanism(1.0), 7, 2501, rng=0)
    assert found.n == 2501
    assert found.consistent
    assert found.lower_delta > 0.15


def test_a_draw_that_was_not_accepted_is_no_score(monkeypatch) -> None:
    from mlmethods_numpy.engines import privacy

    engine = privacy.engine
    monkeypatch.setattr(
        type(engine), "release", lambda self, key, rows, config: rows * np.nan
    )
    with pytest.raises(SamplerError):
        canary_epsilon(VonMisesFisherMechanism(1.0), 3, 100, rng=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"p": 1}, "p must"),
        ({"n": 10}, "n must"),
        ({"delta": -0.1}, "delta must"),
        ({"delta": math.nan}, "delta must"),
        ({"significance": 0.5}, "significance must"),
        ({"significance": 0.0}, "significance must"),
        ({"significance": "low"}, "significance must"),
        ({"rng": "x"}, "rng must"),
    ],
)
def test_bad_arguments_are_named(changes, message) -> None:
    good = {"mechanism": VonMisesFisherMechanism(1.0), "p": 3, "n": 100}
    with pytest.raises(InvalidInputError, match=message):
        canary_epsilon(**{**good, **changes})


# The library's bounds, by the cases whose epsilon is known.


def responses(rng, epsilon: float, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return scores of randomized response, in and out."""
    truth = 1 / (1 + np.exp(-epsilon))
    inside = (rng.random(n) < truth).astype(float)
    return inside, (rng.random(n) < 1 - truth).astype(float)


@pytest.mark.parametrize("method", ["clopper_pearson", "one_run"])
def test_a_bound_is_wrong_no_more_often_than_it_says(method) -> None:
    rng = np.random.default_rng(0)
    epsilon, significance, trials = 1.0, 0.2, 150
    options = {"significance": significance}
    if method == "one_run":
        options["delta"] = 1e-9
    found = []
    for seed in range(trials):
        inside, outside = responses(rng, epsilon, 300)
        found.append(lower_bound(method, inside, outside, seed=seed, **options))
    wrong = int(np.sum(np.array(found) > epsilon))
    assert wrong <= stats.binom.ppf(1 - 1e-4, trials, significance)
    assert 0.4 < np.median(found) < epsilon


def test_gdp_finds_the_epsilon_of_a_gaussian() -> None:
    rng = np.random.default_rng(1)
    inside, outside = rng.normal(1, 1, 20_000), rng.normal(0, 1, 20_000)
    found = lower_bound("gdp", inside, outside, significance=0.05, delta=1e-5)
    truth = 4.3772  # of one Gaussian release with noise multiplier 1
    assert 0.8 * truth < found < truth


def test_thresholds_are_chosen_as_asked() -> None:
    rng = np.random.default_rng(2)
    inside, outside = rng.normal(2, 1, 3000), rng.normal(0, 1, 3000)
    bounds = {
        strategy: lower_bound(
            "clopper_pearson",
            inside,
            outside,
            significance=0.05,
            strategy=strategy,
            threshold=1.5 if strategy == "explicit" else None,
        )
        for strategy in ("split", "explicit", "bonferroni")
    }
    found, false = (inside >= 1.5).mean(), (outside >= 1.5).mean()
    level = 1 - 0.025
    low = stats.beta.ppf(1 - level, found * 3000, 3000 - found * 3000 + 1)
    high = stats.beta.ppf(level, false * 3000 + 1, 3000 - false * 3000)
    # or the other direction of the same two intervals, whichever is larger
    expected = max(np.log(low / high), np.log((1 - high) / (1 - low)))
    assert bounds["explicit"] == pytest.approx(expected, rel=1e-9)
    assert all(1 < bound < 8 for bound in bounds.values())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "guess"}, "method must"),
        ({"strategy": "best"}, "strategy must"),
        ({"significance": 0.5}, "significance must"),
        ({"delta": 1.0}, "delta must"),
        ({"method": "one_run"}, "delta must"),
        ({"method": "gdp"}, "delta must"),
        ({"threshold": 0.5}, "threshold must"),
        ({"strategy": "explicit"}, "threshold must"),
        ({"in_scores": [np.nan, 1.0]}, "in_scores must"),
        ({"out_scores": []}, "out_scores must"),
        ({"out_scores": [1.0]}, "to be split"),
    ],
)
def test_bad_arguments_of_a_bound_are_named(changes, message) -> None:
    good = {
        "method": "clopper_pearson",
        "in_scores": [1.0, 2.0],
        "out_scores": [0.0, 1.0],
        "significance": 0.05,
    }
    with pytest.raises(InvalidInputError, match=message):
        lower_bound(**{**good, **changes})


# Training runs.


@dataclass
class Account:
    claim: float

    def epsilon(self, delta: float) -> float:
        del delta
        return self.claim


class Memory:
    """A trainer double that remembers all of its rows, or none."""

    def __init__(self, leaks: bool, claim: float, adjacency: str) -> None:
        self.mechanism = (
            VonMisesFisherMechanism(1.0)
            if adjacency == "replace_one"
            else GaussianMechanism(1.0)
        )
        self.accountant = Account(claim)
        self.leaks = leaks
        self.seen: set[tuple[float, ...]] = set()
        self.calls: list[tuple[int, Any]] = []

    @staticmethod
    def _rows(ds: Any) -> list[tuple[float, ...]]:
        return [(*x.ravel().tolist(), int(y)) for x, y in zip(*ds, strict=True)]

    def fit(self, ds: Any, *, epochs: int, key: Any) -> None:
        self.calls.append((epochs, key))
        self.seen = set(self._rows(ds))
        self.size = len(ds[1])

    def losses(self, ds: Any) -> np.ndarray:
        rows = self._rows(ds)
        if not self.leaks:
            return np.random.default_rng(len(rows)).random(len(rows))
        return np.array([0.0 if row in self.seen else 1.0 for row in rows])


def rows(rng, n: int) -> tuple[np.ndarray, np.ndarray]:
    return rng.normal(size=(n, 3)).astype(np.float32), rng.integers(0, 4, n)


@pytest.mark.parametrize("adjacency", ["replace_one", "add_remove"])
@pytest.mark.parametrize("method", ["one_run", "clopper_pearson", "gdp"])
def test_a_run_that_remembers_its_rows_is_caught(rng, method, adjacency) -> None:
    made = []

    def make(claim: float) -> Any:
        def build() -> Memory:
            made.append(Memory(True, claim, adjacency))
            return made[-1]

        return build

    ds, canaries = rows(rng, 50), rows(rng, 400)
    options = {"epochs": 3, "key": 5, "method": method, "rng": 0}
    found = train_audit(make(1.0), ds, canaries, **options)
    assert not found.consistent
    assert found.lower > 2
    assert found.n == 400
    assert made[0].calls == [(3, 5)]
    expected = 450 if adjacency == "replace_one" else (150, 350)
    if adjacency == "replace_one":
        assert made[0].size == expected
    else:
        assert expected[0] < made[0].size < expected[1]
    assert found.proven == (method == "one_run")
    assert found.adjacency == adjacency
    assert train_audit(make(100.0), ds, canaries, **options).consistent


@pytest.mark.parametrize("method", ["one_run", "clopper_pearson", "gdp"])
def test_a_run_that_remembers_nothing_passes(rng, method) -> None:
    found = train_audit(
        lambda: Memory(False, 0.1, "replace_one"),
        rows(rng, 50),
        rows(rng, 400),
        epochs=1,
        key=0,
        method=method,
        significance=1e-4,
        rng=1,
    )
    assert isinstance(found, AuditResult)
    assert found.consistent
    assert found.lower < 0.1


def test_the_alternative_takes_the_place_of_a_canary(rng) -> None:
    trainer = Memory(True, 50.0, "replace_one")
    ds, canaries, others = rows(rng, 10), rows(rng, 60), rows(rng, 60)
    train_audit(
        lambda: trainer, ds, canaries, alternatives=others, epochs=1, key=0, rng=0
    )
    both = zip(trainer._rows(canaries), trainer._rows(others), strict=True)
    inside = [(a in trainer.seen, b in trainer.seen) for a, b in both]
    assert all(a != b for a, b in inside)
    assert 10 < sum(a for a, _ in inside) < 50
    assert set(trainer._rows(ds)) <= trainer.seen


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ds": 3}, "ds must"),
        ({"canaries": (np.ones((4, 2)), np.arange(4))}, "canaries must have inputs"),
        ({"canaries": (np.ones((1, 3)), np.arange(1))}, "canaries must be enough"),
        ({"alternatives": (np.ones((3, 3)), np.arange(3))}, "alternatives must"),
        ({"epochs": 0}, "epochs must"),
        ({"delta": 0.0}, "delta must"),
        ({"significance": 0.7}, "significance must"),
        ({"method": "best"}, "method must"),
    ],
)
def test_bad_arguments_of_a_training_audit_are_named(rng, changes, message) -> None:
    good = {
        "make_trainer": lambda: Memory(True, 1.0, "replace_one"),
        "ds": rows(rng, 10),
        "canaries": rows(rng, 20),
        "epochs": 1,
        "key": 0,
        "rng": 0,
    }
    with pytest.raises(InvalidInputError, match=message):
        train_audit(**{**good, **changes})


@pytest.mark.slow
def test_a_real_run_without_noise_is_found_out_and_one_with_noise_is_not() -> None:
    from sklearn.datasets import load_digits

    from mlmethods.backend import get_backend
    from mlmethods.privacy import make_private

    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    images = (images[order] / 16).astype(np.float32)
    labels = labels[order].astype(np.int32)
    ds = images[:200], labels[:200]
    canaries = images[600:800], (labels[600:800] + 3) % 10  # wrong labels
    engine = get_backend("jax").engine("privacy")
    bounds = {}
    for mechanism in (NoPrivacy(), VonMisesFisherMechanism(200.0)):
        found = train_audit(
            lambda m=mechanism: make_private(
                engine.network("mlp", (64,), 10, hidden=(64,)),
                engine.optimizer("adam", 3e-3),
                m,
                data_size=400,
                batch_size=64,
                sampling="shuffle",
            ),
            ds,
            canaries,
            epochs=40,
            key=0,
            rng=0,
        )
        assert found.consistent
        bounds[type(mechanism)] = found.lower
    assert bounds[NoPrivacy] > 0.2
    assert bounds[VonMisesFisherMechanism] < 0.1
