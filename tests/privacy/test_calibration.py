"""Noise for a target in every currency."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from mlmethods.errors import AdjacencyError, InvalidInputError
from mlmethods.privacy import (
    Accountant,
    EuclideanLaplaceMechanism,
    GaussianMechanism,
    NoPrivacy,
    ProjectedNormalMechanism,
    PurkayasthaMechanism,
    VonMisesFisherMechanism,
    bayes_capacity,
    calibrate,
    gdp_mu,
    kappa_for_gdp,
    signal_to_noise,
)

RUN = {"batch_size": 100, "data_size": 10_000, "steps": 300}


def epsilon(mechanism, method, *, q=0.01, count=300, p=None, delta=1e-5):
    accountant = Accountant()
    accountant.step(mechanism, q, count, p=p)
    return accountant.epsilon(delta, method)


@pytest.mark.parametrize(
    ("method", "mechanism_cls", "fixed"),
    [
        ("rdp", GaussianMechanism, {}),
        ("pld", GaussianMechanism, {"adjacency": "replace_one"}),
        ("rdp", VonMisesFisherMechanism, {"p": 5000}),
        ("pld", VonMisesFisherMechanism, {"p": [200, 3000], "granularity": "layer"}),
        ("pld", PurkayasthaMechanism, {"p": 40}),
    ],
)
def test_the_epsilon_of_the_run_is_met_from_below(method, mechanism_cls, fixed) -> None:
    found = calibrate(mechanism_cls, target=2.0, by=method, **RUN, **fixed)
    reached = epsilon(found, method, p=fixed.get("p"))
    assert 2.0 * (1 - 1e-3) <= reached <= 2.0
    for name in ("adjacency", "granularity"):
        if name in fixed:
            assert getattr(found, name) == fixed[name]


@settings(max_examples=5, deadline=None)
@given(target=st.floats(1e-4, 1e5), p=st.integers(2, 10**6))
def test_any_epsilon_is_met_from_below(target, p) -> None:
    found = calibrate(VonMisesFisherMechanism, target=target, p=p, steps=10)
    reached = epsilon(found, "rdp", q=None, count=10, p=p)
    # Where the bound jumps to zero, as the conversion does, it can stay below.
    assert reached <= target
    more = VonMisesFisherMechanism(found.kappa * 1.001)
    assert epsilon(more, "rdp", q=None, count=10, p=p) > target


def test_pure_epsilon_is_shared_by_groups_and_participations() -> None:
    found = calibrate(VonMisesFisherMechanism, target=1000.0, by="pure")
    assert_allclose(found.kappa, 500)
    found = calibrate(
        VonMisesFisherMechanism,
        target=1000.0,
        by="pure",
        p=[9] * 10,
        steps=2,
        granularity="layer",
    )
    assert_allclose(found.kappa, 25)
    found = calibrate(EuclideanLaplaceMechanism, target=4.0, by="pure")
    assert_allclose(found.epsilon, 2)
    with pytest.raises(AdjacencyError, match="shuffled"):
        calibrate(VonMisesFisherMechanism, target=1.0, by="pure", **RUN)


def test_shuffled_batches_count_their_epochs() -> None:
    sizes = {"batch_size": 100, "data_size": 1050, "sampling": "shuffle"}
    found = calibrate(
        VonMisesFisherMechanism, target=30.0, by="pure", steps=21, **sizes
    )
    # Ten whole batches an epoch: the 21st step begins the third.
    assert_allclose(found.kappa, 5)


def test_rates_come_from_sizes_or_directly() -> None:
    by_sizes = calibrate(GaussianMechanism, target=1.0, **RUN)
    by_rate = calibrate(GaussianMechanism, target=1.0, q=0.01, steps=300)
    assert by_sizes == by_rate
    poisson = calibrate(
        GaussianMechanism, target=1.0, q=0.01, steps=300, sampling="poisson"
    )
    assert poisson == by_rate
    whole = calibrate(GaussianMechanism, target=1.0, steps=300, batch_size=100)
    assert whole.noise_multiplier > 10 * by_rate.noise_multiplier


@pytest.mark.parametrize("p", [100, 61706])
def test_currencies_of_one_release(p) -> None:
    found = calibrate(VonMisesFisherMechanism, target=1.5, by="gdp", p=p)
    assert_allclose(found.kappa, kappa_for_gdp(1.5, p), rtol=1e-4)
    found = calibrate(GaussianMechanism, target=1.5, by="gdp", p=p)
    assert_allclose(found.noise_multiplier, 1 / 1.5, rtol=1e-4)
    for mechanism_cls in (VonMisesFisherMechanism, PurkayasthaMechanism):
        found = calibrate(
            mechanism_cls, target=3.0, by="snr", p=p, batch_size=50, steps=7
        )
        assert_allclose(signal_to_noise(found, p, 50), 3.0, rtol=1e-4)
    for mechanism_cls in (VonMisesFisherMechanism, GaussianMechanism):
        found = calibrate(mechanism_cls, target=2.0, by="bayes", p=p)
        assert 2.0 * (1 - 1e-3) <= bayes_capacity(found, p) <= 2.0


def test_currencies_over_groups() -> None:
    sizes, layers = [64, 900], {"granularity": "layer"}
    found = calibrate(VonMisesFisherMechanism, target=1.0, by="gdp", p=sizes, **layers)
    parts = [VonMisesFisherMechanism(found.kappa)] * 2
    mus = [gdp_mu(part, p) for part, p in zip(parts, sizes, strict=True)]
    assert_allclose(math.hypot(*mus), 1.0, rtol=1e-4)
    found = calibrate(
        VonMisesFisherMechanism, target=1.0, by="bayes", p=sizes, **layers
    )
    parts = [VonMisesFisherMechanism(found.kappa)] * 2
    both = sum(bayes_capacity(part, p) for part, p in zip(parts, sizes, strict=True))
    assert_allclose(both, 1.0, rtol=1e-3)
    with pytest.raises(InvalidInputError, match="one direction"):
        calibrate(
            VonMisesFisherMechanism,
            target=1.0,
            by="snr",
            p=sizes,
            batch_size=2,
            **layers,
        )


@pytest.mark.parametrize("by", ["mia", "reconstruction"])
def test_an_attack_is_brought_to_a_success(by) -> None:
    calls = []

    def success(mechanism):
        calls.append(mechanism)
        # Synthetic: success rises from guessing as the concentration does, or an
        # error falls.
        gain = mechanism.kappa / (mechanism.kappa + 30)
        return 0.5 + 0.4 * gain if by == "mia" else 1 - gain

    found = calibrate(
        VonMisesFisherMechanism,
        target=0.6,
        by=by,
        measure=success,
        bounds=(0.1, 1e4),
        norm=2.0,
    )
    expected = 10 if by == "mia" else 20
    assert_allclose(found.kappa, expected, rtol=0.06)
    assert found.norm == 2.0
    assert len(calls) <= 12


def test_a_measure_calibrates_a_control_too() -> None:
    found = calibrate(
        ProjectedNormalMechanism,
        target=0.3,
        by="reconstruction",
        measure=lambda mechanism: mechanism.sigma,
        bounds=(0.01, 10),
    )
    assert_allclose(found.sigma, 0.3, rtol=0.06)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"target": 100.0, "bounds": (0.5, 2.0), "by": "pure"}, "at most 4, which"),
        ({"target": 0.1, "bounds": (0.5, 2.0), "by": "pure"}, "at least 1, which"),
        (
            {
                "target": 0.9,
                "bounds": (0.5, 2.0),
                "by": "mia",
                "measure": lambda mechanism: mechanism.kappa / 10,
            },
            r"between 0.05 and 0.2",
        ),
        (
            {"target": 0.9, "by": "mia", "measure": lambda mechanism: math.nan},
            "must be a number",
        ),
    ],
)
def test_a_target_out_of_reach_is_refused_with_the_range(arguments, match) -> None:
    with pytest.raises(InvalidInputError, match=match):
        calibrate(VonMisesFisherMechanism, **arguments)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"target": 0.0}, "target must be"),
        ({"target": math.nan}, "target must be"),
        ({"delta": 0.0}, "delta must be"),
        ({"by": "eps"}, "by must be one of"),
        ({"steps": 0}, "steps must be"),
        ({"q": 1.5}, "q must be"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"data_size": 2.5}, "data_size must be"),
        ({"batch_size": 9, "data_size": 3}, "at most data_size"),
        ({"batch_size": 3, "data_size": 9, "q": 0.1}, "q must not be given"),
        ({"sampling": "poisson"}, "must be given with sampling='poisson'"),
        ({"sampling": "shuffle", "batch_size": 3}, "sampling='shuffle'"),
        ({"sampling": "epochs"}, "sampling must be one of"),
        ({"by": "mia"}, "measure must be given"),
        ({"measure": lambda mechanism: 1.0}, "measure must be None"),
        ({"by": "gdp", "p": None}, "p must be given"),
        ({"by": "snr"}, "batch_size must be given"),
        ({"p": None}, "p must be given"),
        ({"bounds": 3.0}, "bounds must be a pair"),
        ({"bounds": (2.0, 1.0)}, "bounds must be increasing"),
        ({"bounds": (0.0, 1.0)}, "bounds must be"),
        ({"mechanism_cls": NoPrivacy}, "mechanism_cls must be"),
        ({"mechanism_cls": "vmf"}, "mechanism_cls must be"),
    ],
)
def test_bad_arguments_are_refused(arguments, match) -> None:
    known = {"mechanism_cls": VonMisesFisherMechanism, "target": 1.0, "p": 100}
    with pytest.raises(InvalidInputError, match=match):
        calibrate(**{**known, **arguments})


def test_sizes_of_dimensions_may_be_an_array() -> None:
    sizes = np.array([50, 60])
    layers = {"granularity": "layer", "steps": 3, "target": 1.0}
    found = calibrate(VonMisesFisherMechanism, p=sizes, **layers)
    assert found == calibrate(VonMisesFisherMechanism, p=[50, 60], **layers)
