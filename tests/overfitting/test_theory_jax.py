"""The JAX form of the effective regularization against NumPy, and its derivatives."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from mlmethods.overfitting import Spectrum, predict
from mlmethods_jax.overfitting.theory import (
    effective_regularization,
    overfitting_coefficient,
)

N = np.array([1.0, 10.0, 100.0, 380.0])
REG = np.array([0.0, 1e-4, 2.0])
SPECTRA = {
    "power": Spectrum.powerlaw(1.5, 400),
    "exponential": Spectrum.exponential(0.05, 400),
    # As long as the others, so that all run the same program.
    "levels": Spectrum(
        np.append([1.0, 0.1, 0.0, 1e-5], np.zeros(396)),
        np.append([3, 5.5, 2, 500], np.ones(396)),
        tail=0.01,
    ),
}


def both(values, counts, tail, n, reg):
    """Return kappa and the cost for each n and each reg."""
    system = (values, counts, tail)
    functions = (effective_regularization, overfitting_coefficient)
    rows = [jax.vmap(f, in_axes=(None, None, None, None, 0)) for f in functions]
    grid = [jax.vmap(f, in_axes=(None, None, None, 0, None)) for f in rows]
    return [f(*system, n, reg) for f in grid]


GRID = jax.jit(both)


def arrays(spectrum, dtype):
    return [
        jnp.asarray(x, dtype)
        for x in (spectrum.values, spectrum.multiplicities, spectrum.tail)
    ]


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-12), ("float32", 3e-5)])
def test_it_equals_numpy(name, dtype, rtol) -> None:
    expected = predict(SPECTRA[name], None, N[:, None], REG)
    with jax.enable_x64(dtype == "float64"):
        system = arrays(SPECTRA[name], dtype)
        n, reg = jnp.asarray(N, dtype), jnp.asarray(REG, dtype)
        kappa, cost = GRID(*system, n, reg)
    assert kappa.dtype == cost.dtype == dtype
    assert_allclose(kappa, expected.kappa, rtol=rtol)
    assert_allclose(cost, expected.e0, rtol=10 * rtol)


def test_no_root_is_nan_and_one_mode_more_has_one() -> None:
    with jax.enable_x64(True):
        values = jnp.zeros(400).at[:2].set(jnp.asarray([1.0, 0.5]))
        numbers = (
            jnp.ones(400),
            jnp.float64(0),
            jnp.asarray([1.0, 2, 3, 4]),
            jnp.asarray(REG),
        )
        kappa, cost = GRID(values, *numbers)
        nothing, _ = GRID(0.0 * values, *numbers)
    assert_allclose(kappa[0, 0], np.sqrt(0.5), rtol=1e-13)
    assert np.isnan(kappa[1:, 0]).all()
    assert np.isnan(cost[1:, 0]).all()
    assert np.isfinite(kappa[:, 1:]).all()
    assert_allclose(nothing[:, 2], 2.0 / np.arange(1, 5), rtol=1e-13)


@pytest.mark.parametrize("reg", [0.0, 0.3])
def test_derivatives_equal_finite_differences(reg) -> None:
    spectrum = SPECTRA["levels"]
    with jax.enable_x64(True):
        point = [*arrays(spectrum, "float64"), jnp.float64(20.0), jnp.float64(reg)]
        gradient = jax.jit(jax.grad(effective_regularization, argnums=range(5)))(*point)
        for place in range(5):
            flat = np.atleast_1d(point[place])
            # The eigenvalue 0 is left out: its derivative is one-sided.
            for index in [0, 1, 3][: flat.size]:
                step = 1e-6 * max(abs(float(flat[index])), 1e-2)
                ends = []
                for sign in (1, -1):
                    moved = [np.array(x) for x in point]
                    moved[place].reshape(-1)[index] += sign * step
                    ends.append(float(effective_regularization(*moved_to(moved))))
                expected = (ends[0] - ends[1]) / (2 * step)
                got = np.atleast_1d(gradient[place])[index]
                assert_allclose(got, expected, rtol=2e-5, atol=1e-12)


def moved_to(point):
    return [jnp.asarray(x) for x in point]


def test_the_cost_is_the_derivative_and_second_derivatives_are_right() -> None:
    spectrum = SPECTRA["power"]
    with jax.enable_x64(True):
        system = arrays(spectrum, "float64")
        slope = jax.grad(effective_regularization, argnums=4)
        cost = overfitting_coefficient(*system, 50.0, 0.3)
        twice = jax.jit(lambda *x: (slope(*x), jax.jacfwd(slope, argnums=4)(*x)))
        first, second = twice(*system, 50.0, 0.3)
        assert_allclose(50.0 * first, cost, rtol=1e-12)
        ends = [twice(*system, 50.0, reg)[0] for reg in (0.3001, 0.2999)]
        assert_allclose(second, (ends[0] - ends[1]) / 2e-4, rtol=1e-5)


def test_new_numbers_do_not_compile_again() -> None:
    system = arrays(SPECTRA["power"], "float32")
    effective_regularization(*system, 10.0, 0.1)
    before = effective_regularization._cache_size()
    for n, reg in [(20.0, 0.0), (7.5, 3.0)]:
        effective_regularization(*system, n, reg)
    assert effective_regularization._cache_size() == before
