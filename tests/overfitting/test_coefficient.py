"""E0 of a kernel matrix against definitions, draws of noise and known numbers."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mlmethods.errors import InvalidInputError
from mlmethods.kernels import GaussianKernel, KernelRidge, LaplaceKernel
from mlmethods.overfitting import overfitting_coefficient, sphere_problem

LAPLACE = LaplaceKernel(bandwidth=1.0)
NUMPY = {"backend": "numpy"}


@pytest.fixture(scope="module")
def sphere():
    rng = np.random.default_rng(0)
    return tuple(sphere_problem(3).sample(n, rng)[0] for n in (200, 300))


@pytest.mark.parametrize("reg", [0.0, 0.5])
def test_the_terms_are_those_of_the_definition(sphere, reg):
    X, Z = sphere
    K = LAPLACE(X, **NUMPY)
    M = np.linalg.inv(K + reg * np.eye(len(X)))
    loo = overfitting_coefficient(LAPLACE, X, reg, **NUMPY)
    rows = np.diagonal(M @ M) / np.diagonal(M) ** 2
    assert_allclose(loo.rows, rows, rtol=1e-8)
    assert loo.value == pytest.approx(rows.mean())
    assert loo.kappa == pytest.approx(1 / np.trace(M))
    error = rows.std(ddof=1) / np.sqrt(len(rows))
    assert_allclose(loo.ci, rows.mean() + 1.959964 * error * np.array([-1, 1]))
    gcv = overfitting_coefficient(LAPLACE, X, reg, method="gcv", **NUMPY)
    assert gcv.value == pytest.approx(len(X) * np.trace(M @ M) / np.trace(M) ** 2)
    assert np.isnan(gcv.ci).all()
    test = overfitting_coefficient(LAPLACE, X, reg, method="test", X_test=Z, **NUMPY)
    weights = M @ LAPLACE(X, Z, **NUMPY)
    assert_allclose(test.rows, 1 + np.sum(weights**2, axis=0), rtol=1e-7)
    assert test.n == 200
    assert float(test) == test.value


def test_the_closed_form_is_the_mean_over_noise(sphere, rng):
    X, Z = sphere
    noise = rng.normal(size=(len(X), 4000))
    model = KernelRidge(LAPLACE, reg=0.0, **NUMPY).fit(X, noise)
    measured = 1 + np.mean(model.predict(Z) ** 2)
    exact = overfitting_coefficient(LAPLACE, X, method="test", X_test=Z, **NUMPY)
    assert measured == pytest.approx(exact.value, abs=0.01)


@pytest.mark.parametrize("method", ["loo", "test"])
def test_the_laplace_kernel_on_the_sphere(method):
    """Spec'd value: 1.417 to 1.421 in three dimensions, measured at 256 to 2048."""
    rng = np.random.default_rng(1)
    X, Z = (sphere_problem(3).sample(n, rng)[0] for n in (600, 600))
    options = {"X_test": Z} if method == "test" else {}
    found = overfitting_coefficient(LAPLACE, X, method=method, **options, **NUMPY)
    assert found.value == pytest.approx(1.419, abs=0.03)
    assert found.ci[0] < 1.43
    assert found.ci[1] > 1.41
    assert found.resolved


def test_a_ridge_lowers_the_cost(sphere):
    values = [
        overfitting_coefficient(LAPLACE, sphere[0], reg, **NUMPY).value
        for reg in (0.0, 0.1, 1.0, 10.0)
    ]
    assert values == sorted(values, reverse=True)
    assert 1 < values[-1] < 1.1


def test_rounding_is_admitted():
    X, _ = sphere_problem(3).sample(300, np.random.default_rng(0))
    found = overfitting_coefficient(GaussianKernel(bandwidth=1.0), X, **NUMPY)
    assert not found.resolved
    jitter = overfitting_coefficient(
        GaussianKernel(bandwidth=0.5), X, jitter=1e-6, **NUMPY
    )
    assert not jitter.resolved
    assert jitter.value > 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "lou"}, "did you mean 'loo'"),
        ({"method": "test"}, "X_test must be given"),
        ({"X_test": [[0.0]]}, "X_test must be given"),
        ({"level": 1.0}, "level must be"),
        ({"reg": -1.0}, "reg must be"),
        ({"reg": np.nan}, "reg must be"),
        ({"jitter": -1.0}, "jitter must be"),
        ({"dtype": "float16"}, "dtype must be"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(InvalidInputError, match=message):
        overfitting_coefficient("laplace", [[0.0], [1.0]], **options)


def test_rows_that_are_not_finite():
    with pytest.raises(ValueError, match=r"(?i)nan"):
        overfitting_coefficient("laplace", [[0.0], [np.nan]])
