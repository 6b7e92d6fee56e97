"""Spectra: what they hold, what lies beyond them, what they refuse."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from mlmethods.errors import InvalidInputError, NumericalWarning, SpectrumError
from mlmethods.overfitting import Spectrum


def test_it_keeps_the_order_and_adds_up() -> None:
    spectrum = Spectrum([0.5, 2, 0], multiplicities=[3, 1, 4], tail=0.25)
    assert_array_equal(spectrum.values, [0.5, 2.0, 0.0])
    assert_array_equal(spectrum.multiplicities, [3.0, 1.0, 4.0])
    assert (spectrum.trace, spectrum.tail) == (3.75, 0.25)
    assert (len(spectrum), spectrum.n_modes) == (3, 8.0)
    assert repr(spectrum) == "Spectrum(3 levels, 8 modes, trace=3.75, tail=0.25)"


def test_it_is_immutable_and_keeps_a_copy() -> None:
    values = np.array([1.0, 0.5])
    spectrum = Spectrum(values)
    values[0] = 7.0
    assert_array_equal(spectrum.values, [1.0, 0.5])
    with pytest.raises(ValueError, match="read-only"):
        spectrum.values[0] = 2.0
    with pytest.raises(ValueError, match="read-only"):
        spectrum.multiplicities[0] = 2.0
    with pytest.raises(AttributeError):
        spectrum.tail = 1.0


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"values": [1.0, -1e-9]}, SpectrumError, "values .* at level 1"),
        ({"values": [np.nan]}, SpectrumError, "values"),
        ({"values": [np.inf, 1]}, SpectrumError, "values"),
        ({"values": []}, SpectrumError, "at least one"),
        ({"values": [[1.0]]}, InvalidInputError, r"shape \(levels,\)"),
        ({"values": ["a"]}, InvalidInputError, "real numbers"),
        ({"values": [1j]}, InvalidInputError, "real numbers"),
        ({"values": [1.0], "multiplicities": [0]}, SpectrumError, "> 0"),
        ({"values": [1.0], "multiplicities": [-1]}, SpectrumError, "multiplicities"),
        ({"values": [1.0], "multiplicities": [1, 2]}, InvalidInputError, "shape"),
        ({"values": [1.0], "tail": -0.1}, SpectrumError, "tail"),
        ({"values": [1.0], "tail": np.nan}, SpectrumError, "tail"),
        ({"values": [1.0], "tail": "powerlaw"}, SpectrumError, "tail"),
    ],
)
def test_bad_arguments_are_named(arguments, error, message) -> None:
    with pytest.raises(error, match=message):
        Spectrum(**arguments)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Spectrum.powerlaw(1.0, 10),
        lambda: Spectrum.powerlaw(math.nan, 10),
        lambda: Spectrum.log_powerlaw(1.0, 10),
        lambda: Spectrum.exponential(0.0, 10),
        lambda: Spectrum.powerlaw(2.0, 0),
        lambda: Spectrum.superpolynomial(2.5),
        lambda: Spectrum.log_powerlaw(2.0, True),
    ],
)
def test_constructors_refuse_what_has_no_sum(make) -> None:
    with pytest.raises(InvalidInputError):
        make()


# Tails --------------------------------------------------------------------------


def _zeta_tail(alpha: float, M: int) -> float:
    with mpmath.workdps(30):
        return float(mpmath.zeta(alpha, M + 1))


def _log_tail(a: float, M: int) -> float:
    """Return the rest of the series by Euler and Maclaurin, from 2000 on."""
    with mpmath.workdps(25):
        last = max(M, 2000)
        f = lambda x: 1 / (x * mpmath.log(x + 1) ** a)  # noqa: E731
        head = mpmath.fsum(f(mpmath.mpf(i)) for i in range(M + 1, last))
        substituted = lambda t: f(mpmath.e**t) * mpmath.e**t  # noqa: E731
        # In log x the integrand is nearly t^-a, whose integral is known far out.
        start, far = mpmath.log(last), mpmath.mpf(60)
        body = mpmath.quad(substituted, [start, 15, 30, far])
        tail = body + far ** (1 - a) / (a - 1)
        return float(head + tail + f(last) / 2 - mpmath.diff(f, last) / 12)


def _superpolynomial_tail(M: int) -> float:
    with mpmath.workdps(25):
        f = lambda i: mpmath.exp(-(mpmath.log(i) ** 2))  # noqa: E731
        return float(mpmath.fsum(f(i) for i in range(M + 1, 5000)))


@pytest.mark.parametrize("M", [1, 10, 1000])
def test_tails_are_the_rest_of_the_series(M) -> None:
    power = Spectrum.powerlaw(1.5, M)
    assert_allclose(power.tail, _zeta_tail(1.5, M), rtol=1e-12)
    assert_allclose(power.values, np.arange(1, M + 1) ** -1.5)
    geometric = Spectrum.exponential(0.05, M)
    exact = math.exp(-0.05) / (1 - math.exp(-0.05))
    assert_allclose(geometric.trace, exact, rtol=1e-12)
    assert_allclose(geometric.values[-1], math.exp(-0.05 * M))
    fast = Spectrum.superpolynomial(M)
    assert_allclose(fast.tail, _superpolynomial_tail(M), rtol=1e-9)
    assert fast.values[0] == 1.0
    slow = Spectrum.log_powerlaw(2.0, M)
    assert_allclose(slow.tail, _log_tail(2.0, M), rtol=1e-8)


@pytest.mark.parametrize(
    "make",
    [
        lambda M: Spectrum.log_powerlaw(1.5, M),
        Spectrum.superpolynomial,
        lambda M: Spectrum.powerlaw(1.1, M),
    ],
)
def test_the_trace_does_not_depend_on_the_cut(make) -> None:
    assert_allclose(make(50_000).trace, make(7).trace, rtol=1e-9)


def test_the_tail_of_the_slowest_spectrum_is_one_over_the_logarithm() -> None:
    M = 100_000
    assert_allclose(
        Spectrum.log_powerlaw(2.0, M).tail, 1 / math.log(M + 1.5), rtol=1e-6
    )


# Measured spectra ---------------------------------------------------------------


def test_a_measured_power_law_is_continued(rng) -> None:
    exact = Spectrum.powerlaw(2.0, 400).values
    spectrum = Spectrum.from_empirical(rng.permutation(exact))
    assert_allclose(spectrum.values[:400], exact, rtol=1e-10)
    assert len(spectrum) == 50 * 400
    assert_allclose(spectrum.trace, np.pi**2 / 6, rtol=1e-9)


def test_only_the_reliable_quarter_of_a_measured_spectrum_is_kept() -> None:
    values = Spectrum.powerlaw(2.0, 400).values.copy()
    values[200:] = 0.0
    spectrum = Spectrum.from_empirical(values)
    assert_allclose(spectrum.values[200:400], np.arange(201.0, 401) ** -2, rtol=1e-9)


def test_with_a_number_all_measured_values_are_kept_and_sorted() -> None:
    spectrum = Spectrum.from_empirical([0.1, 1.0, 0.5], tail=0.2)
    assert_array_equal(spectrum.values, [1.0, 0.5, 0.1])
    assert spectrum.tail == 0.2


def test_negative_measured_values_are_clipped_and_large_ones_reported() -> None:
    assert Spectrum.from_empirical([1.0, -1e-12], tail=0.0).values[1] == 0.0
    with pytest.warns(NumericalWarning, match="-1.00e-03"):
        clipped = Spectrum.from_empirical([1.0, -1e-3], tail=0.0)
    assert clipped.values[1] == 0.0


def test_a_spectrum_too_slow_to_be_summed_is_refused() -> None:
    with pytest.raises(SpectrumError, match=r"fitted exponent is 0\.8"):
        Spectrum.from_empirical(np.arange(1.0, 401) ** -0.8)
    with pytest.raises(InvalidInputError, match="at least 8"):
        Spectrum.from_empirical([1.0, 0.5])
    with pytest.raises(SpectrumError):
        Spectrum.from_empirical([1.0, np.nan], tail=0.0)
    with pytest.raises(InvalidInputError, match="shape"):
        Spectrum.from_empirical(np.ones((9, 9)), tail=0.0)
    with pytest.raises(SpectrumError, match="tail"):
        Spectrum.from_empirical([1.0, 0.5], tail=-1.0)
