"""What runs spend: against the library's accountants, closed forms and quadrature."""

from __future__ import annotations

import json
import math

import dp_accounting
import numpy as np
import pytest
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import brentq
from scipy.special import comb
from scipy.stats import norm

from mlmethods.errors import (
    AccountantMismatchError,
    AdjacencyError,
    InvalidInputError,
    OperationNotSupportedError,
)
from mlmethods.privacy import (
    Accountant,
    CoordinateLaplaceMechanism,
    EuclideanLaplaceMechanism,
    GaussianMechanism,
    NoPrivacy,
    ProjectedNormalMechanism,
    PurkayasthaMechanism,
    VonMisesFisherMechanism,
)
from mlmethods.privacy._rdp import ORDERS, total_rdp

DELTA = 1e-5


def spent(mechanism, q=None, count=1, **groups) -> Accountant:
    accountant = Accountant()
    accountant.step(mechanism, q, count, **groups)
    return accountant


def gdp_delta(mu, epsilon):
    return norm.cdf(mu / 2 - epsilon / mu) - np.exp(epsilon) * norm.cdf(
        -mu / 2 - epsilon / mu
    )


def gdp_epsilon(mu, delta):
    top = mu**2 / 2 + 40 * mu
    # Beyond exp's range the second term is below any delta.
    return brentq(lambda x: gdp_delta(mu, x) - delta, 0, min(top, 600))


def sphere_loss(kappa, n=400):
    """Return losses and probabilities of the antipodal pair in three dimensions."""
    roots, weights = np.polynomial.legendre.leggauss(n)
    # The density of the cosine is kappa exp(kappa w) / (2 sinh kappa).
    density = kappa * np.exp(kappa * (roots - 1)) / -np.expm1(-2 * kappa)
    return 2 * kappa * roots, weights * density


def hockey_stick(losses, probs, epsilon):
    """Return ``E (1 - exp(epsilon - loss))_+``."""
    return float(probs @ -np.expm1(np.minimum(epsilon - losses, 0)))


def sphere_delta(kappa, epsilon):
    """Return the hockey-stick divergence of that pair, for any epsilon."""
    t = np.clip(epsilon / (2 * kappa), -1, 1)
    first = np.exp(kappa) - np.exp(kappa * t)
    second = np.exp(-kappa * t) - np.exp(-kappa)
    return (first - np.exp(epsilon) * second) / (2 * np.sinh(kappa))


def two_spheres_delta(kappa, other, epsilon):
    """Return that of one release of each: the first shifts the second's epsilon."""
    losses, probs = sphere_loss(kappa)
    return float(probs @ sphere_delta(other, epsilon - losses))


@pytest.mark.parametrize(
    ("sigma", "batch", "epochs"), [(1.1, 256, 15), (4.0, 1024, 60)]
)
def test_gaussian_training_agrees_with_the_accountants_of_the_library(
    sigma, batch, epochs
) -> None:
    q, count = batch / 60_000, epochs * 60_000 // batch
    event = dp_accounting.SelfComposedDpEvent(
        dp_accounting.PoissonSampledDpEvent(q, dp_accounting.GaussianDpEvent(sigma)),
        count,
    )
    pld = PLDAccountant().compose(event)
    rdp = RdpAccountant().compose(event)
    accountant = spent(GaussianMechanism(sigma), q, count)
    assert_allclose(accountant.epsilon(DELTA, "pld"), pld.get_epsilon(DELTA), rtol=1e-3)
    assert_allclose(accountant.epsilon(DELTA, "rdp"), rdp.get_epsilon(DELTA), rtol=2e-3)
    assert_allclose(accountant.delta(1.0, "pld"), pld.get_delta(1.0), rtol=3e-3)
    assert accountant.epsilon(DELTA) == accountant.epsilon(DELTA, "pld")
    assert PLDAccountant().compose(accountant.dp_event()).get_epsilon(
        DELTA
    ) == pytest.approx(pld.get_epsilon(DELTA))


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
def test_gaussian_training_agrees_with_opacus() -> None:
    from opacus.accountants import PRVAccountant, RDPAccountant

    accountant = spent(GaussianMechanism(1.1), 256 / 60_000, 3515)
    for peer, method, rtol in (
        (RDPAccountant(), "rdp", 5e-3),
        (PRVAccountant(), "pld", 1e-2),
    ):
        peer.history = [(1.1, 256 / 60_000, 3515)]
        theirs = peer.get_epsilon(delta=DELTA)
        assert_allclose(accountant.epsilon(DELTA, method), theirs, rtol=rtol)


@pytest.mark.parametrize(
    ("sigma", "count", "adjacency"),
    [
        (1.0, 1, "add_remove"),
        (5.0, 100, "add_remove"),
        (300.0, 10_000, "add_remove"),
        (20.0, 60, "replace_one"),
    ],
)
def test_gaussian_without_sampling_has_a_closed_form(sigma, count, adjacency) -> None:
    sensitivity = 2 if adjacency == "replace_one" else 1
    mu = sensitivity * math.sqrt(count) / sigma
    accountant = spent(GaussianMechanism(sigma, adjacency=adjacency), count=count)
    truth = gdp_epsilon(mu, DELTA)
    found = accountant.epsilon(DELTA, "pld")
    assert_allclose(found, truth, rtol=1e-4)
    assert found >= truth * (1 - 1e-9)
    # Renyi divergences lose a little, and never gain.
    assert truth <= accountant.epsilon(DELTA, "rdp") <= 1.15 * truth
    assert_allclose(accountant.delta(truth, "pld"), DELTA, rtol=1e-3)
    assert accountant.delta(truth, "rdp") >= DELTA


@pytest.mark.parametrize(
    ("p", "kappa"),
    [
        (2, 3.0),
        (3, 1.0),
        (3, 50.0),
        (10, 50.0),
        (1000, 1e4),
        (61706, 500.0),
        (10**7, 0.01),
        (10**7, 1e6),
    ],
)
def test_one_direction_costs_what_its_delta_says(p, kappa) -> None:
    mechanism = VonMisesFisherMechanism(kappa)
    accountant = spent(mechanism, p=p)
    pld, rdp = (accountant.epsilon(DELTA, method) for method in ("pld", "rdp"))
    assert pld <= rdp * (1 + 1e-9)
    assert rdp <= accountant.pure_epsilon() == 2 * kappa
    for epsilon in (0.0, pld / 2, pld, 1.5 * kappa):
        truth = float(mechanism.delta(epsilon, p))
        found = accountant.delta(epsilon, "pld")
        # The last cells before 2 kappa hold all of a small delta in few dimensions.
        assert_allclose(found, truth, rtol=5e-3, atol=1e-15)
        # Pessimistic up to the precision of the mechanism's own curve.
        assert found >= truth * (1 - 1e-9) - 1e-12
        assert accountant.delta(epsilon, "rdp") >= truth - 1e-12


@pytest.mark.parametrize("count", [1, 10, 1000])
def test_directions_in_many_dimensions_compose_like_gaussians(count) -> None:
    mu = 2 * 500 / math.sqrt(61706) * math.sqrt(count) / 20
    accountant = spent(VonMisesFisherMechanism(500.0 / 20), count=count, p=61706)
    truth = gdp_epsilon(mu, DELTA)
    assert_allclose(accountant.epsilon(DELTA, "pld"), truth, rtol=0.02)
    assert accountant.epsilon(DELTA, "rdp") >= accountant.epsilon(DELTA, "pld")


def test_a_sampled_step_costs_what_the_mixture_does() -> None:
    kappa, q, epsilon = 1.5, 0.3, 0.7
    mechanism = VonMisesFisherMechanism(kappa)
    losses, probs = sphere_loss(kappa)
    single = sphere_delta(kappa, epsilon)
    assert_allclose(probs.sum(), 1, rtol=1e-12)
    accountant = spent(mechanism, q, p=3)
    assert_allclose(accountant.delta(epsilon, "pld"), q * single, rtol=1e-6)
    # The moments of the mixture itself: the atom's ratio is one.
    moments = np.log1p(q * (np.expm1(np.outer(ORDERS[:120] - 1, losses)) @ probs))
    expected = moments / (ORDERS[:120] - 1)
    assert_allclose(total_rdp(accountant.entries)[:120], expected, rtol=1e-9)
    accountant.step(mechanism, q, p=3)
    both = two_spheres_delta(kappa, kappa, epsilon)
    expected = 2 * q * (1 - q) * single + q**2 * both
    assert_allclose(accountant.delta(epsilon, "pld"), expected, rtol=1e-5)


def test_the_groups_of_an_example_share_its_coin() -> None:
    kappas, q, epsilon = (1.0, 2.5), 0.2, 1.1
    mechanism = VonMisesFisherMechanism(kappas, granularity="layer")
    accountant = spent(mechanism, q, p=[3, 3])
    laws = [sphere_loss(kappa) for kappa in kappas]
    expected = q * two_spheres_delta(*kappas, epsilon)
    assert_allclose(accountant.delta(epsilon, "pld"), expected, rtol=1e-5)
    order = 40
    moments = [probs @ np.exp((ORDERS[order] - 1) * losses) for losses, probs in laws]
    expected = np.log1p(q * (np.prod(moments) - 1)) / (ORDERS[order] - 1)
    assert_allclose(total_rdp(accountant.entries)[order], expected, rtol=1e-9)


@pytest.mark.parametrize(
    "mechanism",
    [
        PurkayasthaMechanism(0.1),
        EuclideanLaplaceMechanism(0.05 * math.pi),
        CoordinateLaplaceMechanism(0.005 * math.pi),
    ],
)
def test_pure_mechanisms_compose_like_randomized_response(mechanism) -> None:
    count, epsilon = 20, 1.3
    pure = 0.1 * math.pi
    accountant = spent(mechanism, count=count, p=100)
    assert_allclose(accountant.pure_epsilon(), count * pure)
    kept = 1 / (1 + math.exp(-pure))
    j = np.arange(count + 1)
    probs = comb(count, j) * kept**j * (1 - kept) ** (count - j)
    truth = hockey_stick((2 * j - count) * pure, probs, epsilon)
    assert_allclose(accountant.delta(epsilon, "pld"), truth, rtol=1e-6)
    assert accountant.delta(epsilon) == accountant.delta(epsilon, "pld")
    assert truth <= accountant.delta(epsilon, "rdp") <= 20 * truth
    assert accountant.delta(count * pure) == 0.0


def test_sampling_a_replaced_gaussian_reveals_its_coin() -> None:
    q, sigma, epsilon = 0.1, 2.0, 0.5
    accountant = spent(GaussianMechanism(sigma, adjacency="replace_one"), q)
    truth = q * gdp_delta(2 / sigma, epsilon)
    assert_allclose(accountant.delta(epsilon, "pld"), truth, rtol=1e-5)
    assert accountant.delta(epsilon, "rdp") >= truth


@settings(max_examples=6, deadline=None)
@given(
    kappa=st.floats(0.1, 30),
    p=st.integers(2, 5000),
    q=st.floats(0.001, 1),
    count=st.integers(1, 2000),
    factor=st.floats(1.2, 5),
)
def test_more_of_anything_costs_more(kappa, p, q, count, factor) -> None:
    def epsilons(kappa, q, count):
        accountant = spent(VonMisesFisherMechanism(kappa), q, count, p=p)
        return np.array([accountant.epsilon(DELTA, m) for m in ("rdp", "pld")])

    base = epsilons(kappa, q, count)
    assert base[1] <= base[0] * 1.01
    # Grids differ between two runs; what they add is far below these factors.
    assert (epsilons(kappa * factor, q, count) >= base * (1 - 1e-3)).all()
    assert (epsilons(kappa, min(1.0, q * factor), count) >= base * (1 - 1e-3)).all()
    more = math.ceil(count * factor)
    assert (epsilons(kappa, q, more) >= base * (1 - 1e-3)).all()


@pytest.mark.parametrize(
    ("mechanism", "q", "count", "p"),
    [
        (VonMisesFisherMechanism(1e-12), None, 1, 2),
        (VonMisesFisherMechanism(1e8), 0.5, 10**9, 3),
        (VonMisesFisherMechanism(0.1), 1e-9, 2**53, 10**9),
        (GaussianMechanism(1e-4), 0.5, 10**6, None),
        (GaussianMechanism(1e9), None, 2**53, None),
        (PurkayasthaMechanism(1e6), 0.1, 10**12, 5),
        (PurkayasthaMechanism(1e-9), None, 10**12, 5),
    ],
)
def test_extreme_runs_give_a_number_or_infinity(mechanism, q, count, p) -> None:
    accountant = spent(mechanism, q, count, p=p)
    for method in ("rdp", "pld", "auto"):
        assert accountant.epsilon(DELTA, method) >= 0
        assert 0 <= accountant.delta(0.5, method) <= 1


def test_ten_million_steps_lose_little() -> None:
    count = 10**7
    accountant = spent(VonMisesFisherMechanism(0.03), count=count, p=1000)
    truth = gdp_epsilon(2 * 0.03 / math.sqrt(1000) * math.sqrt(count), DELTA)
    assert_allclose(accountant.epsilon(DELTA, "pld"), truth, rtol=0.01)


def test_what_the_transforms_do_not_resolve_is_infinite_and_not_small() -> None:
    accountant = spent(GaussianMechanism(50.0), 0.01, 1000)
    assert accountant.epsilon(1e-30, "pld") == math.inf
    assert accountant.epsilon(1e-30) == accountant.epsilon(1e-30, "rdp") < math.inf


def test_losses_below_rounding_still_count() -> None:
    # About Gaussian-private with mu = q sqrt(count (e - 1)) = 0.12.
    accountant = spent(GaussianMechanism(1.0), 1e-9, 2**53)
    assert accountant.epsilon(DELTA, "rdp") > gdp_epsilon(0.12, DELTA)
    # Noise far below the sensitivity: the mean loss is 5000, and 5e7, which no grid holds.
    for sigma, loss in ((0.01, 5e3), (1e-4, 5e7)):
        accountant = spent(GaussianMechanism(sigma))
        assert_allclose(accountant.epsilon(DELTA, "rdp"), loss, rtol=0.12)
        assert_allclose(accountant.epsilon(DELTA), loss, rtol=0.1)
    assert accountant.epsilon(DELTA, "pld") == math.inf


def test_mixed_runs_add_up() -> None:
    gaussian = GaussianMechanism(8.0, adjacency="replace_one")
    accountant = spent(gaussian, count=4)
    accountant.step(VonMisesFisherMechanism(20.0), count=9, p=10_000)
    mu = math.hypot(2 / 8 * 2, 2 * 20 / 100 * 3)
    assert_allclose(accountant.epsilon(DELTA, "pld"), gdp_epsilon(mu, DELTA), rtol=5e-3)
    assert accountant.pure_epsilon() == math.inf
    silent = spent(VonMisesFisherMechanism(0.0), count=7, p=10)
    assert silent.epsilon(DELTA, "pld") == silent.epsilon(DELTA, "rdp") == 0.0
    assert silent.delta(0.0, "pld") == 0.0
    silent.step(gaussian, count=4)
    assert_allclose(silent.epsilon(DELTA, "pld"), gdp_epsilon(0.5, DELTA), rtol=1e-4)


def test_pure_and_metric_epsilon_are_sums_over_groups_and_participations() -> None:
    layers = VonMisesFisherMechanism(50.0, granularity="layer")
    assert spent(layers, n_groups=10).pure_epsilon() == 1000
    assert spent(layers, p=[7, 8, 9], count=4).pure_epsilon() == 1200
    # One direction over all parameters, in however many arrays they come.
    assert spent(VonMisesFisherMechanism(50.0), p=[7, 8, 9]).pure_epsilon() == 100
    assert spent(VonMisesFisherMechanism(50.0), n_groups=10).pure_epsilon() == 1000
    uneven = VonMisesFisherMechanism((1.0, 2.0), granularity="layer")
    assert spent(uneven, count=2).pure_epsilon() == 12
    assert spent(uneven, count=2).metric_epsilon() == 6
    sampled = spent(VonMisesFisherMechanism(3.0), 0.1, 5)
    assert sampled.metric_epsilon() == sampled.metric_epsilon("angle") == 15
    purkayastha = spent(PurkayasthaMechanism(2.0))
    assert_allclose(
        [purkayastha.metric_epsilon("angle"), purkayastha.metric_epsilon("chord")],
        [2, math.pi],
    )
    assert spent(GaussianMechanism(1.0), p=[3, 4]).pure_epsilon() == math.inf
    assert Accountant().pure_epsilon() == Accountant().metric_epsilon() == 0


def test_one_number_of_dimensions_is_that_of_every_group() -> None:
    layers = VonMisesFisherMechanism(5.0, granularity="layer")
    given_once = spent(layers, count=3, p=50, n_groups=4)
    given_each = spent(layers, count=3, p=[50] * 4)
    assert given_once.epsilon(DELTA) == given_each.epsilon(DELTA)
    alone = total_rdp(spent(VonMisesFisherMechanism(5.0), p=50).entries)
    assert_allclose(total_rdp(given_each.entries), 12 * alone)


def test_equal_consecutive_steps_are_one_entry() -> None:
    accountant = spent(GaussianMechanism(2.0), 0.1, 3)
    accountant.step(GaussianMechanism(2.0), 0.1, 4)
    accountant.step(GaussianMechanism(2.0), 0.2)
    accountant.step(GaussianMechanism(2.0), 1.0)
    assert [(e.rate, e.count) for e in accountant.entries] == [
        (0.1, 7),
        (0.2, 1),
        (None, 1),
    ]
    assert accountant.n_steps == 9
    assert repr(accountant) == "Accountant(adjacency='add_remove', 9 steps)"


def test_neighbors_are_never_mixed() -> None:
    accountant = spent(GaussianMechanism(2.0))
    with pytest.raises(AdjacencyError, match="adjacency='add_remove'"):
        accountant.step(GaussianMechanism(2.0, adjacency="replace_one"))
    with pytest.raises(AdjacencyError, match="do not add up"):
        accountant.step(VonMisesFisherMechanism(1.0), p=3)
    with pytest.raises(AdjacencyError, match="absent example"):
        Accountant("add_remove").step(VonMisesFisherMechanism(1.0), 0.1, p=3)
    with pytest.raises(AdjacencyError, match="got 'substitute'"):
        Accountant("substitute")
    sampled = spent(VonMisesFisherMechanism(1.0), 0.1, p=3)
    with pytest.raises(AdjacencyError, match="shuffled batches"):
        sampled.pure_epsilon()
    with pytest.raises(AdjacencyError, match="shuffled batches"):
        sampled.spent(DELTA, "pure")
    assert len(accountant.entries) == 1
    assert math.isfinite(sampled.epsilon(DELTA))


def test_controls_have_no_guarantee() -> None:
    with pytest.raises(OperationNotSupportedError, match="no guarantee"):
        Accountant().step(ProjectedNormalMechanism(0.1), p=3)
    accountant = spent(NoPrivacy())
    for method in ("rdp", "pld", "auto"):
        assert accountant.epsilon(DELTA, method) == math.inf
        assert accountant.delta(10.0, method) == 1.0
    assert accountant.pure_epsilon() == accountant.metric_epsilon() == math.inf


class Halves:
    """Answer truly with probability 3/4: a mechanism of a user."""

    adjacency = "replace_one"
    unit = "one bit"

    def pure_epsilon(self) -> float:
        return math.log(3)

    def metric_epsilon(self, metric: str = "chord") -> float:
        return math.log(3) / 2

    def rdp(self, orders, p):
        a = np.asarray(orders)
        log_moment = np.logaddexp(
            a * np.log(0.75) + (1 - a) * np.log(0.25),
            a * np.log(0.25) + (1 - a) * np.log(0.75),
        )
        return log_moment / (a - 1)


def test_any_mechanism_with_the_protocol_is_accounted_for() -> None:
    accountant = spent(Halves(), count=3, p=2)
    assert_allclose(accountant.pure_epsilon(), 3 * math.log(3))
    assert_allclose(accountant.metric_epsilon(), 1.5 * math.log(3))
    assert_allclose(accountant.delta(0.0, "pld"), 0.6875, rtol=1e-9)
    assert accountant.epsilon(1e-9, "rdp") <= 3 * math.log(3) + 1e-3


def test_an_account_is_stored_and_bound_to_its_mechanisms() -> None:
    layers = VonMisesFisherMechanism((2.0, 3.0), granularity="layer")
    accountant = spent(layers, 0.1, 20, p=[5, 60])
    accountant.step(layers, None, 2, p=[5, 60])
    state = json.loads(json.dumps(accountant.state_dict()))
    loaded = Accountant()
    loaded.load_state_dict(state)
    assert loaded.entries == accountant.entries
    assert loaded.epsilon(DELTA) == accountant.epsilon(DELTA)
    loaded.step(layers, 0.1, p=[5, 60])
    for again in (loaded, loaded.copy()):
        with pytest.raises(AccountantMismatchError, match="opened for"):
            again.step(VonMisesFisherMechanism((2.0, 4.0), granularity="layer"))
    assert accountant.n_steps == 22
    with pytest.raises(AdjacencyError, match="for adjacency 'add_remove'"):
        Accountant("add_remove").load_state_dict(state)
    fresh = Accountant()
    fresh.load_state_dict(Accountant("add_remove").state_dict())
    fresh.step(GaussianMechanism(1.0))
    assert fresh.n_steps == 1


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"entries": 3},
        {"entries": [{"rate": 0.1}]},
        {"entries": None},
    ],
)
def test_a_malformed_state_is_refused(change) -> None:
    accountant = spent(GaussianMechanism(2.0), 0.1)
    with pytest.raises(InvalidInputError, match="state must be"):
        accountant.load_state_dict({**accountant.state_dict(), **change})
    assert accountant.n_steps == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [("count", 0), ("rate", 2.0), ("n_groups", 0), ("mechanism", {"mechanism": "x"})],
)
def test_a_malformed_entry_is_refused(name, value) -> None:
    state = spent(VonMisesFisherMechanism(2.0), 0.1, p=5).state_dict()
    state["entries"][0][name] = value
    with pytest.raises(InvalidInputError, match="state must be"):
        Accountant().load_state_dict(state)


def test_copies_are_independent() -> None:
    accountant = spent(GaussianMechanism(2.0), 0.1)
    other = accountant.copy()
    other.step(GaussianMechanism(2.0), 0.1, 9)
    assert (accountant.n_steps, other.n_steps) == (1, 10)
    assert other.adjacency == "add_remove"


def test_what_was_spent_says_what_it_rests_on() -> None:
    accountant = spent(VonMisesFisherMechanism(0.5), p=1000)
    auto, pld, pure = (accountant.spent(DELTA, m) for m in ("auto", "pld", "pure"))
    assert (auto.method, auto.proven, auto.delta) == ("rdp", True, DELTA)
    assert auto.epsilon == accountant.epsilon(DELTA)
    assert not any("conjecture" in text for text in auto.assumptions)
    assert (pld.method, pld.proven) == ("pld", False)
    assert any("conjecture" in text for text in pld.assumptions)
    assert (pure.epsilon, pure.delta, pure.proven) == (1.0, 0.0, True)
    assert pld.adjacency == "replace_one"
    assert "direction" in pld.unit
    assert not accountant.pld_is_proven
    # Where pure epsilon is the smallest, it is what "auto" reports.
    assert spent(VonMisesFisherMechanism(0.5), p=2).spent(1e-12).method == "pure"
    gaussian = spent(GaussianMechanism(1.0), 0.01, 100).spent(DELTA)
    assert (gaussian.method, gaussian.proven) == ("pld", True)
    assert any("Poisson" in text for text in gaussian.assumptions)
    with pytest.raises(InvalidInputError, match="no step"):
        Accountant().spent(DELTA)


def test_the_report_shows_the_total_over_groups() -> None:
    layers = VonMisesFisherMechanism(50.0, granularity="layer")
    accountant = spent(layers, 0.01, 3, p=[100 + i for i in range(10)])
    report = accountant.report(1e-6)
    assert json.loads(json.dumps(report)) == report
    (release,) = report["releases"]
    assert release["pure_epsilon_of_participation"] == 1000
    assert release["groups"] == 10
    assert release["sampling"] == "poisson"
    assert release["mechanism"] == layers.to_dict() | {"kappa": 50.0}
    assert (report["adjacency"], report["steps"]) == ("replace_one", 3)
    assert report["delta"] == 1e-6
    assert report["rdp_epsilon"] == accountant.epsilon(1e-6, "rdp")
    assert report["pld_epsilon"] == accountant.epsilon(1e-6, "pld")
    assert report["epsilon"] == accountant.epsilon(1e-6)
    assert report["pure_epsilon"] is None
    assert "shuffled" in report["notes"]["pure"]
    assert report["metric_epsilon"] == 1500
    assert report["pld_proven"] is False
    text = str(accountant)
    assert "1,000 = 10 groups of 100" in text
    assert "replace" not in text or "values of one example" in text
    assert "rests on a conjecture" in text
    assert str(Accountant()) == "No release was recorded: nothing is spent."
    assert Accountant().report()["epsilon"] is None
    unsized = spent(layers, n_groups=10).report()
    assert unsized["pure_epsilon"] == 1000
    assert unsized["rdp_epsilon"] is None
    assert "p must be given" in unsized["notes"]["rdp"]


def test_events_tell_the_structure_of_the_run() -> None:
    accountant = spent(
        VonMisesFisherMechanism(5.0, granularity="layer"), 0.1, 3, p=[4, 4, 9]
    )
    event = accountant.dp_event()
    assert isinstance(event, dp_accounting.SelfComposedDpEvent)
    assert (event.count, event.event.sampling_probability) == (3, 0.1)
    assert not RdpAccountant().supports(event)
    assert isinstance(Accountant().dp_event(), dp_accounting.NoOpDpEvent)
    gaussian = spent(GaussianMechanism(3.0))
    gaussian.step(GaussianMechanism(3.0), 0.5, 2)
    assert len(gaussian.dp_event().events) == 2


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"mechanism": "gaussian"}, "mechanism must be a hashable PrivacyMechanism"),
        ({"q": 0.0}, "q must be"),
        ({"q": 1.5}, "q must be"),
        ({"q": math.nan}, "q must be"),
        ({"count": 0}, "count must be"),
        ({"count": 2.0}, "count must be"),
        ({"count": 2**60}, "count must be"),
        ({"p": 0}, "p must be"),
        ({"p": "10"}, "p must be"),
        ({"p": []}, "p must hold"),
        ({"p": [3, 0]}, r"p\[1\] must be"),
        ({"p": [3, 2.5]}, r"p\[1\] must be"),
        ({"n_groups": 0}, "n_groups must be"),
        ({"p": [3, 4], "n_groups": 3}, "n_groups must be the number"),
    ],
)
def test_bad_steps_are_refused(arguments, match) -> None:
    accountant = Accountant()
    with pytest.raises(InvalidInputError, match=match):
        accountant.step(**{"mechanism": VonMisesFisherMechanism(1.0), **arguments})
    assert accountant.entries == ()


def test_groups_must_fit_the_scales_of_a_mechanism() -> None:
    uneven = VonMisesFisherMechanism((1.0, 2.0), granularity="layer")
    with pytest.raises(InvalidInputError, match="p must have 2 dimensions"):
        spent(uneven, p=[3, 4, 5])
    with pytest.raises(InvalidInputError, match="n_groups must be 2"):
        spent(uneven, n_groups=3)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda a: a.epsilon(0.0), "delta must be"),
        (lambda a: a.epsilon(1.0), "delta must be"),
        (lambda a: a.epsilon(DELTA, "moments"), "method must be one of"),
        (lambda a: a.delta(-1.0), "epsilon must be"),
        (lambda a: a.delta(math.inf), "epsilon must be"),
        (lambda a: a.delta(1.0, "pure"), "method must be one of"),
        (lambda a: a.metric_epsilon("cosine"), "metric must be one of"),
        (lambda a: a.spent(DELTA, "prv"), "method must be one of"),
        (lambda a: a.report(2.0), "delta must be"),
        (lambda a: a.epsilon(DELTA), "p must be given"),
        (lambda a: a.delta(1.0, "pld"), "p must be given"),
    ],
)
def test_bad_questions_are_refused(call, match) -> None:
    with pytest.raises(InvalidInputError, match=match):
        call(spent(VonMisesFisherMechanism(1.0)))


def test_nothing_recorded_is_nothing_spent() -> None:
    accountant = Accountant()
    assert accountant.epsilon(DELTA) == accountant.epsilon(DELTA, "pld") == 0.0
    assert accountant.delta(1.0) == accountant.delta(0.0, "rdp") == 0.0


def test_a_direction_needs_two_dimensions() -> None:
    layers = VonMisesFisherMechanism(1.0, granularity="layer")
    with pytest.raises(InvalidInputError, match="dimension, >= 2"):
        spent(layers, p=[1, 5]).epsilon(DELTA)
