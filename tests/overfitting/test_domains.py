"""Spectra on the sphere, the circle and the cube against closed forms and matrices."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import comb, gamma, iv, ive

from mlmethods.errors import (
    InvalidInputError,
    NumericalWarning,
    OperationNotSupportedError,
    SpectrumError,
)
from mlmethods.kernels import (
    ExpPowerKernel,
    GaussianKernel,
    InnerProductKernel,
    LaplaceKernel,
    LinearKernel,
    LpqKernel,
    MaternKernel,
    NNGPKernel,
    NTKKernel,
    QuadraticKernel,
)
from mlmethods.overfitting import (
    Spectrum,
    circle_spectrum,
    domains,
    effective_regularization,
    hypercube_spectrum,
    predict,
    sphere_spectrum,
)

# The Gaussian kernel by another name, which has no closed form of its own.
DISGUISED = ExpPowerKernel(2.0, bandwidth=0.8 * math.sqrt(2))
GAUSSIAN = GaussianKernel(bandwidth=0.8)


def uniform(n: int, d: int, seed: int = 0) -> np.ndarray:
    X = np.random.default_rng(seed).normal(size=(n, d))
    return X / np.linalg.norm(X, axis=1, keepdims=True)


# Sphere -------------------------------------------------------------------------


@pytest.mark.parametrize("d", [2, 3, 7, 40])
def test_multiplicities_count_harmonic_polynomials(d) -> None:
    counts = sphere_spectrum(LinearKernel(), d, 6).multiplicities
    # Homogeneous polynomials of degree k, less those of degree k - 2.
    polynomials = [comb(k + d - 1, d - 1, exact=True) for k in range(7)]
    exact = np.array(polynomials) - np.array([0, 0, *polynomials[:5]])
    assert_array_equal(counts, exact)


@pytest.mark.parametrize("d", [2, 3, 11, 100])
def test_polynomials_have_few_levels(d) -> None:
    linear = sphere_spectrum(LinearKernel(), d, 5)
    assert_allclose(linear.values, [0, 1 / d, 0, 0, 0, 0], rtol=1e-13)
    # t^2 = 1 / d + (t^2 - 1 / d).
    quadratic = sphere_spectrum(QuadraticKernel(), d, 5)
    rest = (1 - 1 / d) / quadratic.multiplicities[2]
    assert_allclose(quadratic.values, [1 / d, 0, rest, 0, 0, 0], rtol=1e-12)
    assert quadratic.tail == 0.0


def test_the_radius_scales_inner_products() -> None:
    assert_allclose(sphere_spectrum(LinearKernel(), 4, 2, radius=3.0).values[1], 9 / 4)


@pytest.mark.parametrize("d", [2, 3, 6, 20])
def test_the_gaussian_kernel_by_bessel_functions(d) -> None:
    t, nu = 1 / 0.8**2, d / 2 - 1
    k = np.arange(9)
    exact = gamma(nu + 1) * (2 / t) ** nu * ive(k + nu, t)
    closed = sphere_spectrum(GAUSSIAN, d, 8)
    assert_allclose(closed.values, exact, rtol=1e-12)
    assert_allclose(closed.trace, 1.0, rtol=1e-13)
    # The quadrature knows an eigenvalue to rounding of the largest terms.
    general = sphere_spectrum(DISGUISED, d, 8)
    assert_allclose(general.values, exact, rtol=1e-6)
    assert_allclose(general.values[:5], exact[:5], rtol=1e-10)


@pytest.mark.parametrize(("d", "bandwidth"), [(3, 0.02), (2, 30.0), (60, 0.1)])
def test_gaussian_spectra_at_extreme_bandwidths(d, bandwidth) -> None:
    spectrum = sphere_spectrum(GaussianKernel(bandwidth=bandwidth), d, 400)
    assert_allclose(spectrum.trace, 1.0, rtol=1e-12)
    positive = spectrum.values[spectrum.values > 0]
    assert np.all(np.diff(positive) < 0)
    assert len(positive) > 80 or bandwidth > 1


@pytest.mark.parametrize("bandwidth", [1e-3, 0.1, 1.0, 1e3])
def test_the_mean_of_a_gaussian_kernel_on_the_two_sphere(bandwidth) -> None:
    t = bandwidth**-2
    spectrum = sphere_spectrum(GaussianKernel(bandwidth=bandwidth), 3, 3)
    # The cosine is uniform, so degree 0 is the mean of exp(-t (1 - c)).
    assert_allclose(spectrum.values[0], -np.expm1(-2 * t) / (2 * t), rtol=1e-10)
    assert_allclose(spectrum.trace, 1.0, rtol=1e-10)


def test_the_laplace_kernel_on_the_two_sphere() -> None:
    spectrum = sphere_spectrum(LaplaceKernel(bandwidth=1.0), 3, 300)
    # Degree 0 is the integral of exp(-r) r / 2 over the distances, 0 to 2.
    assert_allclose(spectrum.values[0], (1 - 3 * np.exp(-2)) / 2, rtol=1e-13)
    assert_allclose(spectrum.trace, 1.0, rtol=1e-14)
    slope = np.log(spectrum.values[300] / spectrum.values[150]) / np.log(2)
    assert_allclose(slope, -3, atol=0.03)
    # Far out it is the plane's transform, 2 pi / k^3, over the area 4 pi.
    assert_allclose(spectrum.tail, 1 / 300.5, rtol=5e-3)


@pytest.mark.parametrize(
    "kernel",
    [
        LaplaceKernel(bandwidth=0.03),
        MaternKernel(0.3, bandwidth=0.2),
        MaternKernel(2.5, bandwidth=0.5),
        NTKKernel(3, b_std=0.1),
        NNGPKernel(1, b_std=0.2),
    ],
)
@pytest.mark.parametrize("d", [2, 3, 8])
def test_twice_the_nodes_change_nothing(kernel, d, monkeypatch) -> None:
    once = sphere_spectrum(kernel, d, 60)
    monkeypatch.setattr(domains, "_FEWEST_PANELS", 2 * domains._FEWEST_PANELS)
    monkeypatch.setattr(domains, "_PHASE", 0.5 * domains._PHASE)
    twice = sphere_spectrum(kernel, d, 60)
    known = (once.values > 0) & (twice.values > 0)
    assert known[:20].all()
    assert_allclose(once.values[:20], twice.values[:20], rtol=1e-8)
    assert_allclose(once.values[known], twice.values[known], rtol=1e-2)
    assert_allclose(once.tail, twice.tail, rtol=1e-3, atol=1e-12)


@pytest.mark.parametrize("d", [3, 6, 11])
def test_one_hidden_layer_without_bias_has_no_odd_degrees(d) -> None:
    spectrum = sphere_spectrum(NTKKernel(1), d, 41)
    assert_array_equal(spectrum.values[3::2], 0.0)
    assert np.all(spectrum.values[[0, 1, *range(2, 41, 2)]] > 0)
    deeper = sphere_spectrum(NTKKernel(2), d, 11)
    assert np.all(deeper.values > 0)
    # The harmonics of degree 1: an average over the angle of t k(t).
    assert_allclose(spectrum.values[1], 1 / d, rtol=1e-12)


@pytest.mark.parametrize(
    ("kernel", "decay"),
    [(NTKKernel(2, b_std=0.5), 6), (NNGPKernel(2, b_std=0.5), 8)],
)
def test_network_kernels_decay_like_the_theory(kernel, decay) -> None:
    values = sphere_spectrum(kernel, 6, 200).values
    slope = np.log(values[160] / values[80]) / np.log(2)
    assert_allclose(slope, -decay, rtol=0.03)


def test_a_large_sample_has_the_same_eigenvalues() -> None:
    kernel = LaplaceKernel(bandwidth=1.0)
    X = uniform(900, 3)
    measured = np.linalg.eigvalsh(kernel(X, backend="numpy") / 900)[::-1]
    exact = sphere_spectrum(kernel, 3, 10)
    modes = np.repeat(exact.values, exact.multiplicities.astype(int))[:25]
    assert_allclose(measured[:25], modes, rtol=0.2)
    levels = [measured[k**2 : (k + 1) ** 2].mean() for k in range(4)]
    assert_allclose(levels, exact.values[:4], rtol=0.04)


def test_high_degrees_in_high_dimension_are_in_the_tail() -> None:
    spectrum = sphere_spectrum(LaplaceKernel(bandwidth=3.0), 100, 300)
    assert_allclose(spectrum.trace, 1.0, rtol=1e-6)
    assert spectrum.values[2] > 0
    assert spectrum.values[250] == 0.0
    # Every degree kept has a place in k(1): rounding does not grow to mass.
    assert np.all(spectrum.values * spectrum.multiplicities < 1.0)
    assert predict(spectrum, None, 2000).e0 > 1.0


def test_laplace_is_tempered_and_gaussian_catastrophic_on_the_sphere() -> None:
    laplace = sphere_spectrum(LaplaceKernel(bandwidth=1.0), 3, 400)
    assert_allclose(predict(laplace, None, [1000, 10_000]).e0, 1.5, rtol=2e-3)
    gaussian = sphere_spectrum(GaussianKernel(bandwidth=0.5), 3, 80)
    cost = predict(gaussian, None, [50, 500, 2000]).e0
    assert cost[2] > cost[1] > cost[0] > 2


# Circle -------------------------------------------------------------------------


def test_the_circle_has_the_fourier_coefficients() -> None:
    t = 1 / 0.8**2
    spectrum = circle_spectrum(GAUSSIAN, 6)
    assert_allclose(spectrum.values, np.exp(-t) * iv(np.arange(7), t), rtol=1e-12)
    assert_array_equal(spectrum.multiplicities, [1, 2, 2, 2, 2, 2, 2])
    angle = 2 * np.pi * np.arange(2**12) / 2**12
    kernel = MaternKernel(2.5, bandwidth=0.7)
    profile = kernel.zonal(np.cos(angle), 2, radius=1.0)
    fourier = np.fft.rfft(profile).real[:30] / 2**12
    assert_allclose(circle_spectrum(kernel, 29).values, fourier, rtol=1e-6)


def test_the_laplace_kernel_on_the_circle_has_no_aliasing() -> None:
    spectrum = circle_spectrum(LaplaceKernel(bandwidth=1.0), 2000)
    # |sin| has the coefficients -4 / (pi (4 k^2 - 1)): lambda_k tends to 1 / (pi k^2).
    k = np.array([500, 1000, 2000])
    assert_allclose(spectrum.values[k] * np.pi * k**2, 1.0, rtol=1e-4)


# Cube ---------------------------------------------------------------------------


@pytest.mark.parametrize("d", [1, 2, 5, 8])
@pytest.mark.parametrize(
    "kernel",
    [
        LaplaceKernel(bandwidth=2.0),
        GaussianKernel(bandwidth=1.5),
        LpqKernel(1.0, 1.0, bandwidth=3.0),
        NTKKernel(2, b_std=0.3),
        QuadraticKernel(),
    ],
)
def test_a_cube_has_the_eigenvalues_of_its_matrix(kernel, d) -> None:
    vertices = np.array(list(itertools.product([-1.0, 1.0], repeat=d)))
    matrix = kernel(vertices, backend="numpy", dtype="float64")
    exact = np.linalg.eigvalsh(matrix / 2**d)
    spectrum = hypercube_spectrum(kernel, d)
    assert_array_equal(spectrum.multiplicities, comb(d, np.arange(d + 1)))
    ours = np.repeat(spectrum.values, spectrum.multiplicities.astype(int))
    assert_allclose(np.sort(ours), exact, rtol=1e-8, atol=1e-14 * exact[-1])
    # Level k belongs to the products of k coordinates.
    parity = vertices[:, : (d + 1) // 2].prod(axis=1)
    level = spectrum.values[(d + 1) // 2]
    assert_allclose(matrix @ parity / 2**d, level * parity, atol=1e-13 * exact[-1])


def test_a_cube_of_many_dimensions_keeps_its_trace() -> None:
    closed = hypercube_spectrum(GaussianKernel(bandwidth=4.0), 300)
    general = hypercube_spectrum(ExpPowerKernel(2.0, bandwidth=4 * math.sqrt(2)), 300)
    for spectrum in (closed, general):
        assert_allclose(spectrum.trace, 1.0, rtol=1e-11)
    assert_allclose(general.values[:8], closed.values[:8], rtol=1e-9)
    known = general.values > 0
    assert_allclose(general.values[known], closed.values[known], rtol=0.05)
    assert closed.values[100] > 0
    assert closed.tail == 0.0


# Bad input ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda k: sphere_spectrum(k, 1, 5), "d must"),
        (lambda k: sphere_spectrum(k, 3, -1), "k_max must"),
        (lambda k: sphere_spectrum(k, 3, 2.5), "k_max must"),
        (lambda k: sphere_spectrum(k, 3, 5, radius=0.0), "radius must"),
        (lambda k: sphere_spectrum(k, 2000, 5000), "more harmonics"),
        (lambda k: sphere_spectrum("laplace", 3, 5), "kernel must"),
        (lambda k: sphere_spectrum(LaplaceKernel(bandwidth=0.0), 3, 5), "bandwidth"),
        (lambda k: sphere_spectrum(GaussianKernel(bandwidth=1e-7), 3, 5), "nearer"),
        (lambda k: circle_spectrum(k, -1), "k_max must"),
        (lambda k: hypercube_spectrum(k, 0), "d must"),
        (lambda k: hypercube_spectrum(k, 1001), "d must"),
        (lambda k: hypercube_spectrum(None, 3), "kernel must"),
    ],
)
def test_bad_arguments_are_named(call, message) -> None:
    with pytest.raises(InvalidInputError, match=message):
        call(LaplaceKernel(bandwidth=1.0))


def test_a_kernel_that_rotation_changes_has_no_zonal_spectrum() -> None:
    with pytest.raises(OperationNotSupportedError, match="rotated"):
        sphere_spectrum(LpqKernel(1.0, 1.0), 3, 5)


def shifted(t):
    return t - 0.5


def slope(t):
    return 0 * t + 1


def test_a_kernel_that_is_not_positive_definite_is_reported() -> None:
    with pytest.warns(NumericalWarning, match="-5.00e-01"):
        spectrum = sphere_spectrum(InnerProductKernel(shifted, slope), 3, 3)
    assert spectrum.values[0] == 0.0


def test_degree_zero_alone_is_a_spectrum() -> None:
    spectrum = sphere_spectrum(LaplaceKernel(bandwidth=1.0), 3, 0)
    assert len(spectrum) == 1
    assert_allclose(spectrum.trace, 1.0)
    with pytest.raises(SpectrumError):
        effective_regularization(Spectrum(spectrum.values), 1)
