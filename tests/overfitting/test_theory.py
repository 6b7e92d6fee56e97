"""The eigenframework against naive sums, laws, and the numbers of its limits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import brentq

from mlmethods.errors import InvalidInputError, SpectrumError
from mlmethods.kernels import (
    GaussianKernel,
    LaplaceKernel,
    MaternKernel,
    NNGPKernel,
    NTKKernel,
    QuadraticKernel,
)
from mlmethods.overfitting import (
    E0_powerlaw,
    Spectrum,
    effective_regularization,
    predict,
    ridge_for_target_cost,
    sphere_exponent,
)


def naive(spectrum, coeffs, n, reg, noise):
    """Return kappa, E0, test and train error by a root search and plain sums."""
    values, counts = spectrum.values, spectrum.multiplicities
    ridge = reg + spectrum.tail

    def excess(u):
        kappa = np.exp(u)
        return np.sum(counts * values / (values + kappa)) + ridge / kappa - n

    kappa = np.exp(brentq(excess, -60, 10, xtol=1e-14, rtol=1e-15))
    L = values / (values + kappa)
    e0 = n / (n - np.sum(counts * L**2))
    test = e0 * (np.sum((1 - L) ** 2 * coeffs**2) + noise)
    return kappa, e0, test, (reg / (n * kappa)) ** 2 * test


SPECTRA = {
    "power": Spectrum.powerlaw(1.5, 3000),
    "cut": Spectrum(np.arange(1.0, 501) ** -2),
    "exponential": Spectrum.exponential(0.05, 2000),
    "levels": Spectrum([0.1, 1.0, 0.0, 0.01], [5, 1.5, 7, 900], tail=0.02),
}


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("n", [1, 0.5, 37, 300])
@pytest.mark.parametrize("reg", [0.0, 1e-6, 0.3, 1e3])
def test_a_prediction_equals_plain_sums(name, n, reg, rng) -> None:
    spectrum = SPECTRA[name]
    coeffs = rng.normal(size=len(spectrum))
    ours = predict(spectrum, coeffs, n, reg, noise_var=0.7)
    kappa, e0, test, train = naive(spectrum, coeffs, n, reg, 0.7)
    assert_allclose(ours.kappa, kappa, rtol=1e-11)
    assert_allclose(effective_regularization(spectrum, n, reg), ours.kappa, rtol=1e-14)
    assert_allclose(ours.e0, e0, rtol=1e-9)
    assert_allclose(ours.test_mse, test, rtol=1e-9)
    assert_allclose(ours.train_mse, train, rtol=1e-9)
    L = spectrum.values / (spectrum.values + kappa)
    assert_allclose(ours.learnabilities, L, rtol=1e-11)
    assert_allclose(ours.coef_mean, L * coeffs, rtol=1e-11)
    assert_allclose(ours.coef_var, L**2 / n * test, rtol=1e-9)
    assert_allclose(
        ours.learnability, np.sum(L * coeffs**2) / np.sum(coeffs**2), rtol=1e-10
    )


@pytest.mark.parametrize("name", SPECTRA)
def test_many_pairs_are_as_exact_as_one(name, rng) -> None:
    spectrum = SPECTRA[name]
    coeffs = rng.normal(size=len(spectrum))
    n = rng.uniform(1, 400, size=(20, 1))
    reg = np.append(0.0, 10 ** rng.uniform(-9, 3, size=19))
    noise = 0.1
    many = predict(spectrum, coeffs, n, reg, noise)
    assert many.kappa.shape == many.test_mse.shape == (20, 20)
    assert many.learnabilities.shape == (20, 20, len(spectrum))
    for i, j in [(0, 0), (3, 0), (19, 19), (7, 2), (11, 15)]:
        one = predict(spectrum, coeffs, n[i, 0], reg[j], noise)
        for field in ("kappa", "e0", "test_mse", "train_mse", "learnability"):
            assert_allclose(getattr(many, field)[i, j], getattr(one, field), rtol=1e-11)
        assert_allclose(many.coef_var[i, j], one.coef_var, rtol=1e-11)


def test_one_mode_in_closed_form() -> None:
    # n k^2 + (n - 1 - d) k - d = 0 for lambda = 1.
    spectrum, d, n = Spectrum([1.0]), 0.3, 5.0
    b = n - 1 - d
    kappa = (-b + np.sqrt(b**2 + 4 * n * d)) / (2 * n)
    prediction = predict(spectrum, [2.0], n, d)
    assert_allclose(prediction.kappa, kappa, rtol=1e-13)
    L = 1 / (1 + kappa)
    assert_allclose(prediction.test_mse, n / (n - L**2) * (1 - L) ** 2 * 4)
    assert_allclose(prediction.learnability, L)


def test_a_spectrum_of_zeros_learns_nothing() -> None:
    prediction = predict(Spectrum([0.0, 0.0]), [1.0, 2.0], 4, reg=2.0, noise_var=1.0)
    assert_allclose(prediction.kappa, 0.5, rtol=1e-12)
    assert_allclose([prediction.e0, prediction.test_mse], [1.0, 6.0])
    assert prediction.learnability == 0.0


def test_kappa_is_found_where_an_absolute_tolerance_fails() -> None:
    spectrum = Spectrum.exponential(0.1, 6500)
    kappa = effective_regularization(spectrum, [1000, 4600])
    # Half of the modes around the n-th are learned: kappa is lambda_(n + 1/2).
    assert_allclose(np.log(kappa), [-0.1 * 1000.5, -0.1 * 4600.5], atol=1e-3)
    assert kappa[1] < 1e-199
    wide = Spectrum([1.0, 1e-100], [10, 1000])
    assert_allclose(effective_regularization(wide, 20), 1e-100 * 99, rtol=1e-9)


def test_tables_reach_as_far_down_as_single_roots() -> None:
    spectrum = Spectrum.exponential(0.1, 6500)
    n = np.linspace(10, 4600, 200)
    many = predict(spectrum, None, n)
    one = [predict(spectrum, None, size) for size in n[::40]]
    assert_allclose(many.kappa[::40], [p.kappa for p in one], rtol=1e-12)
    assert_allclose(many.e0[::40], [p.e0 for p in one], rtol=1e-12)


@pytest.mark.parametrize("reg", [0.0, 0.05])
def test_simulated_ridge_regression_does_what_is_predicted(reg) -> None:
    rng = np.random.default_rng(7)
    n, noise, draws = 60, 0.5, 200
    spectrum = Spectrum(np.arange(1.0, 301) ** -1.5)
    v = np.arange(1.0, 301) ** -0.8
    features = rng.normal(size=(draws, n, 300))
    y = features @ v + np.sqrt(noise) * rng.normal(size=(draws, n))
    K = (features * spectrum.values) @ features.transpose(0, 2, 1)
    alpha = np.linalg.solve(K + reg * np.eye(n), y[..., None])
    learned = spectrum.values * (features.transpose(0, 2, 1) @ alpha)[..., 0]
    test = np.sum((learned - v) ** 2, axis=1) + noise
    train = np.mean((y - (K @ alpha)[..., 0]) ** 2, axis=1)
    prediction = predict(spectrum, v, n, reg, noise)
    assert_allclose(test.mean(), prediction.test_mse, rtol=0.03)
    assert_allclose(train.mean(), prediction.train_mse, rtol=0.06, atol=1e-20)
    assert_allclose(learned.mean(axis=0)[:5], prediction.coef_mean[:5], rtol=0.05)
    spread = learned.var(axis=0)[20:].sum()
    assert_allclose(spread, prediction.coef_var[20:].sum(), rtol=0.05)


# The three regimes ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("alpha", "without", "with_one"),
    [(1.5, 1.4996, 1.0171), (2.0, 1.9995, 1.0025), (3.0, 2.9993, 1.0004)],
)
def test_a_power_law_costs_its_exponent_and_a_ridge_cures_it(
    alpha, without, with_one
) -> None:
    spectrum = Spectrum.powerlaw(alpha, 300_000)
    assert_allclose(predict(spectrum, None, 2048).e0, without, atol=1e-4)
    assert_allclose(predict(spectrum, None, 1e5, 1.0).e0, with_one, atol=1e-4)


def test_the_cost_of_a_log_decaying_spectrum_falls_because_of_its_tail() -> None:
    spectrum = Spectrum.log_powerlaw(2.0, 1_000_000)
    e0 = predict(spectrum, None, [256, 2048, 20_000, 100_000]).e0
    # Those of ten times as many modes; the last one still shows the cut.
    assert_allclose(e0, [1.2273, 1.1609, 1.1204, 1.1020], atol=3e-4)
    cut = predict(Spectrum(spectrum.values), None, [2048, 100_000]).e0
    assert cut[1] > cut[0]


def test_exponential_decay_costs_ever_more() -> None:
    spectrum = Spectrum.exponential(0.05, 8000)
    e0 = predict(spectrum, None, [256, 4096]).e0
    assert_allclose(e0, [12.80, 0.05 * 4096], rtol=1e-4)
    fast = predict(Spectrum.superpolynomial(30_000), None, [100, 1000, 10_000]).e0
    assert np.all(np.diff(fast) > 1)


@pytest.mark.parametrize(
    ("alpha", "law"), [(1.5, 1.42087), (2.0, 1.74316), (3.0, 2.25634)]
)
def test_the_cost_follows_from_the_train_to_test_ratio(alpha, law) -> None:
    spectrum = Spectrum.powerlaw(alpha, 1_000_000)
    n = 1e4
    prediction = predict(spectrum, None, n, 0.5 * n ** (1 - alpha), 1.0)
    s = 1 - np.sqrt(prediction.train_mse / prediction.test_mse)
    assert_allclose(E0_powerlaw(alpha, s), law, atol=1e-5)
    assert_allclose(prediction.e0, law, rtol=1e-4)
    learned = prediction.learnabilities.sum() + spectrum.tail / prediction.kappa
    assert_allclose(learned / n, s, rtol=1e-9)


# Laws ---------------------------------------------------------------------------

eigenvalues = st.lists(st.floats(1e-6, 10.0), min_size=2, max_size=12)
ridges = st.floats(1e-6, 100.0)


@settings(max_examples=25, deadline=None)
@given(eigenvalues, st.floats(0.1, 0.9), ridges)
def test_learnabilities_add_up_to_n_without_ridge_and_to_less_with_one(
    values, share, reg
) -> None:
    spectrum = Spectrum(values)
    n = share * len(values)
    free = predict(spectrum, None, n)
    assert_allclose(free.learnabilities.sum(), n, rtol=1e-11)
    bound = predict(spectrum, None, n, reg)
    learned = bound.learnabilities.sum()
    assert learned < n
    assert_allclose(n - learned, reg / bound.kappa, rtol=1e-9, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(eigenvalues, st.floats(0.1, 30.0), ridges, st.floats(1e-3, 1e3))
def test_scaling_and_ordering(values, n, reg, scale) -> None:
    spectrum = Spectrum(values, tail=0.1)
    base = predict(spectrum, None, n, [reg, 2 * reg])
    assert base.e0[1] <= base.e0[0] * (1 + 1e-13)
    assert base.kappa[1] > base.kappa[0]
    scaled = Spectrum(scale * np.array(values), tail=0.1 * scale)
    other = predict(scaled, None, n, scale * reg)
    assert_allclose(other.e0, base.e0[0], rtol=1e-10)
    assert_allclose(other.kappa, scale * base.kappa[0], rtol=1e-10)


@settings(max_examples=25, deadline=None)
@given(eigenvalues, st.floats(0.1, 30.0), ridges)
def test_a_multiplicity_is_a_repeated_value(values, n, reg) -> None:
    counts = 1 + np.arange(len(values)) % 3
    power = np.linspace(0.5, 2.0, len(values))
    levels = predict(Spectrum(values, counts), np.sqrt(power), n, reg, 0.2)
    repeated = Spectrum(np.repeat(values, counts))
    each = np.sqrt(np.repeat(power / counts, counts))
    modes = predict(repeated, each, n, reg, 0.2)
    for field in ("kappa", "e0", "test_mse", "train_mse", "learnability"):
        assert_allclose(getattr(levels, field), getattr(modes, field), rtol=1e-10)


@pytest.mark.parametrize("reg", [1e-4, 0.1])
def test_the_cost_is_the_derivative_of_kappa(reg) -> None:
    spectrum, n, step = SPECTRA["power"], 100.0, 1e-6
    ends = effective_regularization(spectrum, n, [reg - step, reg + step])
    slope = n * (ends[1] - ends[0]) / (2 * step)
    assert_allclose(slope, predict(spectrum, None, n, reg).e0, rtol=1e-6)


def test_a_tail_is_many_small_modes() -> None:
    values = np.arange(1.0, 51) ** -1.5
    tiny = np.full(200_000, 1e-6)
    split = predict(Spectrum(np.append(values, tiny)), None, 40, 0.01, 1.0)
    tailed = predict(Spectrum(values, tail=0.2), None, 40, 0.01, 1.0)
    for field in ("kappa", "e0", "test_mse", "train_mse"):
        assert_allclose(getattr(tailed, field), getattr(split, field), rtol=1e-3)


# The ridge of a cost --------------------------------------------------------------


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("n", [1, 40, 300])
@pytest.mark.parametrize("cost", [1.001, 1.05, 1.4, 3.0, 1e4])
def test_the_ridge_reaches_the_cost_and_none_smaller_does(name, n, cost) -> None:
    spectrum = SPECTRA[name]
    reg = ridge_for_target_cost(spectrum, n, cost)
    free = predict(spectrum, None, n, 1e-290).e0
    if reg == 0:
        assert free <= cost * (1 + 1e-9)
    else:
        assert free > cost
        assert_allclose(predict(spectrum, None, n, reg).e0, cost, rtol=1e-8)


def test_ridges_of_many_costs_are_as_exact_as_one() -> None:
    n, cost = np.arange(10, 30)[:, None], np.linspace(1.01, 1.5, 20)
    many = ridge_for_target_cost(SPECTRA["power"], n, cost)
    assert many.shape == (20, 20)
    assert_allclose(many[3, 7], ridge_for_target_cost(SPECTRA["power"], 13, cost[7]))
    assert np.all(np.diff(many, axis=1) <= 0)


# Exponents ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kernel", "d", "alpha"),
    [
        (LaplaceKernel(), 3, 1.5),
        (LaplaceKernel(), 11, 1.1),
        (MaternKernel(0.5), 6, 1.2),
        (MaternKernel(2.5), 6, 2.0),
        (GaussianKernel(), 4, np.inf),
        (NTKKernel(3, b_std=0.1), 6, 1.2),
        (NNGPKernel(2, b_std=0.1), 6, 1.6),
    ],
)
def test_exponents_on_the_sphere(kernel, d, alpha) -> None:
    assert_allclose(sphere_exponent(kernel, d), alpha)


@pytest.mark.parametrize(
    ("kernel", "d", "message"),
    [
        (QuadraticKernel(), 3, "kernel must be"),
        (NTKKernel(), 3, "b_std"),
        (NTKKernel(activation="erf", b_std=1.0), 3, "ReLU"),
        ("laplace", 3, "kernel must be"),
        (LaplaceKernel(), 1, "d must be"),
        (LaplaceKernel(bandwidth=-1.0), 3, "bandwidth"),
    ],
)
def test_unknown_exponents_are_refused(kernel, d, message) -> None:
    with pytest.raises(InvalidInputError, match=message):
        sphere_exponent(kernel, d)


def test_the_law_of_interpolation_at_its_ends() -> None:
    assert_array_equal(E0_powerlaw([1.5, 3.0], 0.0), [1.0, 1.0])
    assert_allclose(E0_powerlaw([1.5, 3.0]), [1.5, 3.0])


# Bad input ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "n must be finite and > 0"),
        ({"n": -3}, "n must"),
        ({"n": np.nan}, "n must"),
        ({"n": "10"}, "n must"),
        ({"n": True}, "n must"),
        ({"reg": -1e-9}, "reg must be finite and >= 0"),
        ({"reg": np.inf}, "reg must"),
        ({"noise_var": -1}, "noise_var must"),
        ({"n": [1, 2], "reg": [1, 2, 3]}, "do not broadcast"),
        ({"coeffs": [1.0]}, "coeffs must be real numbers of shape"),
        ({"coeffs": np.full(500, np.nan)}, "coeffs must be finite"),
        ({"coeffs": np.full(500, 1j)}, "coeffs"),
        ({"spectrum": np.ones(500)}, "spectrum must be a Spectrum"),
    ],
)
def test_bad_arguments_are_named(arguments, message) -> None:
    good = {"spectrum": SPECTRA["cut"], "coeffs": None, "n": 10}
    with pytest.raises(InvalidInputError, match=message):
        predict(**{**good, **arguments})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ridge_for_target_cost(SPECTRA["cut"], 10, 1.0), "cost must"),
        (lambda: ridge_for_target_cost(SPECTRA["cut"], 0, 1.1), "n must"),
        (lambda: ridge_for_target_cost(None, 10, 1.1), "spectrum must"),
        (lambda: E0_powerlaw(1.0), "alpha must"),
        (lambda: E0_powerlaw(2.0, 1.2), "s must"),
        (lambda: effective_regularization([1.0], 1), "spectrum must"),
    ],
)
def test_bad_arguments_of_the_other_functions_are_named(call, message) -> None:
    with pytest.raises(InvalidInputError, match=message):
        call()


@pytest.mark.parametrize("n", [500, 501, 1e6, [10, 500]])
def test_too_few_modes_are_reported_with_both_numbers(n) -> None:
    with pytest.raises(SpectrumError, match=r"n=\S+ samples .* M=500 modes"):
        predict(SPECTRA["cut"], None, n)
    assert np.all(predict(SPECTRA["cut"], None, n, 1e-8).e0 > 1)


def test_modes_of_eigenvalue_zero_do_not_count() -> None:
    spectrum = Spectrum([1.0, 0.5, 0.0, 0.0])
    with pytest.raises(SpectrumError, match=r"n=2 samples .* M=2 modes"):
        effective_regularization(spectrum, 2)


def test_representations() -> None:
    one = predict(SPECTRA["cut"], None, 10, 0.1, 1.0)
    assert repr(one).startswith("EigenPrediction(kappa=0.0")
    many = predict(SPECTRA["cut"], None, [10, 20])
    assert repr(many) == "EigenPrediction(2 pairs of n and reg)"
    assert np.isnan(many.learnability).all()
    assert_array_equal(many.coef_mean, 0.0)
