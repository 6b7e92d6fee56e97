"""Measured spectra, coefficients and exponents."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from mlmethods.errors import InvalidInputError, SpectrumError
from mlmethods.kernels import GaussianKernel, LaplaceKernel, LinearKernel
from mlmethods.overfitting import (
    Spectrum,
    empirical_spectrum,
    fit_exponent,
    predict,
    sphere_spectrum,
    target_coefficients,
)

LAPLACE = LaplaceKernel(bandwidth=1.0)


def uniform(n: int, d: int, seed: int = 0) -> np.ndarray:
    X = np.random.default_rng(seed).normal(size=(n, d))
    return X / np.linalg.norm(X, axis=1, keepdims=True)


# Spectra and coefficients ---------------------------------------------------------


def test_a_measured_spectrum_is_that_of_the_matrix(rng) -> None:
    X = rng.normal(size=(40, 3))
    spectrum = empirical_spectrum(LAPLACE, X, backend="numpy")
    K = LAPLACE(X, backend="numpy")
    assert_allclose(spectrum.values, np.linalg.svd(K / 40, compute_uv=False), rtol=1e-8)
    assert np.all(np.diff(spectrum.values) <= 0)
    assert_allclose(spectrum.trace, 1.0)
    assert spectrum.tail == 0.0


def test_rank_deficiency_gives_zeros_and_no_warning(rng) -> None:
    X = rng.normal(size=(60, 3))
    values = empirical_spectrum(LinearKernel(), X, backend="numpy").values
    exact = np.linalg.eigvalsh(X.T @ X / 60)[::-1]
    assert_allclose(values[:3], exact, rtol=1e-12)
    assert_allclose(values[3:], 0.0, atol=1e-14)


def test_coefficients_rebuild_the_target(rng) -> None:
    X, Y = rng.normal(size=(30, 2)), rng.normal(size=(30, 3))
    v = target_coefficients(LAPLACE, X, Y, backend="numpy")
    assert_allclose((v**2).sum(axis=0), (Y**2).mean(axis=0))
    K = LAPLACE(X, backend="numpy")
    values = empirical_spectrum(LAPLACE, X, backend="numpy").values
    # y' K^-1 y in the eigenbasis, which fixes the order.
    quadratic = np.einsum("ij,ij->j", Y, np.linalg.solve(K, Y))
    assert_allclose((v**2 / values[:, None]).sum(axis=0), quadratic, rtol=1e-8)
    single = target_coefficients(LAPLACE, X, Y[:, 0], backend="numpy")
    assert_allclose(np.abs(single), np.abs(v[:, 0]))


def test_coefficients_of_an_eigenvector_are_one_entry(rng) -> None:
    X = rng.normal(size=(25, 2))
    K = LAPLACE(X, backend="numpy")
    vector = np.linalg.eigh(K)[1][:, -3]
    v = target_coefficients(LAPLACE, X, 5 * vector, backend="numpy")
    expected = np.zeros(25)
    expected[2] = 1.0
    assert_allclose(np.abs(v), expected, atol=1e-12)


def test_one_row() -> None:
    assert_array_equal(
        empirical_spectrum(LAPLACE, [[1.0, 2.0]], backend="numpy").values, [1.0]
    )
    v = target_coefficients(LAPLACE, [[1.0, 2.0]], [3], backend="numpy")
    assert_allclose(np.abs(v), [3.0])


def test_a_measured_spectrum_predicts_the_cost_of_interpolation() -> None:
    X = uniform(600, 3)
    spectrum = Spectrum.from_empirical(
        empirical_spectrum(LAPLACE, X, backend="numpy").values
    )
    exact = predict(sphere_spectrum(LAPLACE, 3, 300), None, [50, 100]).e0
    assert_allclose(predict(spectrum, None, [50, 100]).e0, exact, rtol=0.1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda k, X, y: empirical_spectrum("laplace", X), "kernel must"),
        (lambda k, X, y: empirical_spectrum(k, X[0]), "X must be real numbers of"),
        (lambda k, X, y: empirical_spectrum(k, X[:0]), "X must"),
        (lambda k, X, y: empirical_spectrum(k, X * np.nan), "X must be finite"),
        (lambda k, X, y: empirical_spectrum(k, X * 1j), "X must"),
        (lambda k, X, y: target_coefficients(k, X, y[1:]), "each of the 4 rows"),
        (lambda k, X, y: target_coefficients(k, X, y / 0), "y must be finite"),
        (lambda k, X, y: target_coefficients(k, X, [*"abcd"]), "y must be real"),
        (lambda k, X, y: target_coefficients(k, X, 1.0), "y must be real"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
def test_bad_arguments_are_named(call, message) -> None:
    X, y = np.arange(8.0).reshape(4, 2), np.ones(4)
    with pytest.raises(InvalidInputError, match=message):
        call(LAPLACE, X, y)


# Exponents ----------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [1.1, 2.0, 4.0])
def test_a_power_law_is_found_exactly(alpha) -> None:
    fit = fit_exponent(3 * np.arange(1.0, 801) ** -alpha, random_state=0)
    assert_allclose(fit.alpha, alpha, rtol=1e-10)
    assert_allclose(fit.intercept, np.log(3), atol=1e-10)
    assert_allclose(fit.curvature, 0, atol=1e-10)
    assert not fit.superpolynomial
    assert (fit.i_min, fit.i_max) == (10, 200)


@pytest.mark.parametrize(
    "spectrum", [Spectrum.exponential(0.05, 600), Spectrum.superpolynomial(600)]
)
def test_decay_faster_than_every_power_bends_down(spectrum) -> None:
    fit = fit_exponent(spectrum, random_state=0)
    assert fit.superpolynomial
    assert fit.curvature_ci[0] <= fit.curvature <= fit.curvature_ci[1] + 1e-12
    assert fit.curvature < -0.9


def test_a_logarithm_bends_the_other_way() -> None:
    fit = fit_exponent(Spectrum.log_powerlaw(2.0, 2000), random_state=0)
    assert not fit.superpolynomial
    assert fit.curvature_ci[0] > 0
    assert 1 < fit.alpha < 1.6


def test_measured_spectra_on_the_sphere() -> None:
    X = uniform(600, 3)
    laplace = fit_exponent(
        empirical_spectrum(LAPLACE, X, backend="numpy").values, random_state=0
    )
    assert not laplace.superpolynomial
    assert abs(laplace.alpha - 1.5) < 0.15
    gaussian = empirical_spectrum(GaussianKernel(bandwidth=1.0), X, backend="numpy")
    fit = fit_exponent(gaussian.values, random_state=0)
    assert fit.superpolynomial
    assert fit.alpha > 5


def test_rounding_is_left_out() -> None:
    values = np.maximum(np.exp(-np.arange(1.0, 201)), 1e-17)
    fit = fit_exponent(values, i_max=200, random_state=0)
    # exp(-30) is the last above 1e-13 of the first.
    assert fit.i_max == 30
    assert fit.superpolynomial


def test_order_and_multiplicities_do_not_matter(rng) -> None:
    values = np.arange(1.0, 201) ** -1.5 * np.exp(0.1 * rng.normal(size=200))
    base = fit_exponent(values, random_state=3)
    assert fit_exponent(rng.permutation(values), random_state=3) == base
    halves = fit_exponent(Spectrum(values, np.full(200, 2)), random_state=3)
    repeated = fit_exponent(np.repeat(values, 2), random_state=3)
    assert halves == repeated


def test_without_bootstrap_there_is_no_interval() -> None:
    fit = fit_exponent(np.exp(-np.arange(1.0, 101)), i_min=1, n_bootstrap=0)
    assert np.isnan([*fit.ci, *fit.curvature_ci]).all()
    assert not fit.superpolynomial


def test_intervals_hold_what_made_the_values() -> None:
    rng = np.random.default_rng(5)
    held = curved = 0
    for _ in range(60):
        # Errors alike among neighbors, as those of sorted eigenvalues.
        noise = np.convolve(rng.normal(size=403), np.ones(4) / 2, mode="valid")
        values = np.arange(1.0, 401) ** -2.0 * np.exp(0.02 * noise)
        fit = fit_exponent(values, i_min=10, i_max=390, random_state=rng)
        # A nominal 95 %, less under such errors; see the notes.
        held += fit.ci[0] <= 2.0 <= fit.ci[1]
        curved += fit.curvature_ci[0] <= 0.0 <= fit.curvature_ci[1]
    assert held >= 48
    assert curved >= 48


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"values": [1.0, 0.5]}, InvalidInputError, "at least 8"),
        ({"values": np.zeros(100)}, InvalidInputError, "at least 8"),
        ({"values": np.ones((9, 9))}, InvalidInputError, "shape"),
        ({"values": [*"abc"]}, InvalidInputError, "real numbers"),
        ({"values": -np.ones(100)}, SpectrumError, "values"),
        ({"values": np.full(100, np.nan)}, SpectrumError, "values"),
        ({"i_min": 0}, InvalidInputError, "i_min"),
        ({"i_min": 95}, InvalidInputError, "from index 95"),
        ({"i_max": 101}, InvalidInputError, "i_max must be an integer >= 1 and <= 100"),
        ({"i_max": -5}, InvalidInputError, "i_max"),
        ({"i_max": 2.5}, InvalidInputError, "i_max"),
        ({"n_bootstrap": -1}, InvalidInputError, "n_bootstrap"),
        ({"random_state": "x"}, InvalidInputError, "random_state"),
    ],
)
def test_bad_arguments_of_the_fit_are_named(arguments, error, message) -> None:
    with pytest.raises(error, match=message):
        fit_exponent(**{"values": np.arange(1.0, 101) ** -2, **arguments})
