"""The verdict on a kernel from its matrices alone."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse

from mlmethods.errors import InvalidInputError
from mlmethods.kernels import GaussianKernel, KernelRidge, LaplaceKernel
from mlmethods.overfitting import kernel_verdict, sphere_problem

SIZES = (32, 64, 128, 256, 512)
LAPLACE = LaplaceKernel(bandwidth=1.0)
GAUSSIAN = GaussianKernel(bandwidth=0.5)
SETTINGS = {"n_grid": SIZES, "backend": "numpy", "random_state": 0}


@pytest.mark.parametrize(
    ("kernel", "d", "reg", "label"),
    [
        (LAPLACE, 6, 0.0, "tempered"),
        (GAUSSIAN, 6, 0.0, "catastrophic"),
        (LAPLACE, 3, 1.0, "benign"),
    ],
)
def test_the_three_kinds_on_the_sphere(kernel, d: int, reg: float, label: str) -> None:
    found = kernel_verdict(kernel, sphere_problem(d), reg=reg, **SETTINGS)
    assert found.label == label
    assert found.e0["resolved"].all()
    assert found.probabilities[label] > 0.95


def test_the_coefficient_is_that_of_noise_fitted_and_tested() -> None:
    rng = np.random.default_rng(0)
    problem = sphere_problem(6)
    found = kernel_verdict(LAPLACE, problem, n_seeds=3, **SETTINGS).e0
    errors = []
    for _ in range(3):
        X, _ = problem.draw(512 + 1000, rng)
        noise = rng.normal(size=(1512, 40))
        model = KernelRidge(LAPLACE, reg=0.0, backend="numpy")
        fit = model.fit(X[:512], noise[:512])
        errors.append(((fit.predict(X[512:]) - noise[512:]) ** 2).mean())
    assert float(found["e0"].iloc[-1]) == pytest.approx(np.mean(errors), rel=0.03)


@pytest.mark.parametrize("jitter", [0.0, 1e-12, 1e-9, 1e-6])
def test_rounding_never_makes_a_catastrophic_kernel_benign(jitter: float) -> None:
    sizes = (128, 181, 256, 362, 512)
    settings = {**SETTINGS, "n_grid": sizes, "jitter": jitter}
    found = kernel_verdict(GAUSSIAN, sphere_problem(3), **settings)
    assert found.label != "benign"
    assert not found.e0["resolved"].iloc[-1]


def test_jitter_looks_benign_to_those_who_believe_it() -> None:
    settings = {**SETTINGS, "n_grid": (128, 181, 256, 362, 512), "jitter": 1e-6}
    problem = sphere_problem(3)
    believed = kernel_verdict(GAUSSIAN, problem, check_floor=False, **settings)
    assert believed.label == "benign"
    assert kernel_verdict(GAUSSIAN, problem, **settings).label == "undetermined"


def test_a_table_is_judged_on_its_subsets() -> None:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(1100, 3))
    found = kernel_verdict("laplace", X, bandwidth="median", backend="numpy")
    assert found.e0["n"].tolist() == [34, 68, 137, 274, 550]
    assert found.e0["e0"].between(1.2, 1.7).all()
    again = [
        kernel_verdict("laplace", X, bandwidth=1.0, n_grid=(50, 100, 200), **rest)
        for rest in [{"backend": "numpy", "random_state": 7}] * 2
    ]
    np.testing.assert_array_equal(again[0].e0["e0"], again[1].e0["e0"])


def test_a_size_that_fails_has_no_number() -> None:
    X = np.repeat(np.random.default_rng(0).normal(size=(60, 2)), 3, axis=0)
    found = kernel_verdict(LAPLACE, X, n_grid=(8, 16, 180), backend="numpy")
    assert found.label == "undetermined"
    assert np.isnan(found.e0["e0"].iloc[-1])
    assert not found.e0["resolved"].iloc[-1]


@pytest.mark.parametrize(
    ("changes", "fragment"),
    [
        ({"n_grid": None}, "n_grid must be given"),
        ({"n_grid": ()}, "at least one size"),
        ({"n_grid": (1, 64)}, "n_grid must be"),
        ({"n_seeds": 0}, "n_seeds must be"),
        ({"reg": -1.0}, "reg must be"),
        ({"jitter": np.nan}, "jitter must be"),
        ({"theory": "fine"}, "theory must be"),
    ],
)
def test_bad_settings(changes: dict, fragment: str) -> None:
    with pytest.raises(InvalidInputError, match=fragment):
        kernel_verdict(LAPLACE, sphere_problem(3), **{**SETTINGS, **changes})


@pytest.mark.parametrize(
    ("X", "n_grid", "fragment"),
    [
        (np.zeros(5), None, "X must have shape"),
        (scipy.sparse.eye(120), None, "X must be dense"),
        (np.full((120, 2), np.nan), None, "X must be finite"),
        (np.full((120, 2), "a"), None, "array of real numbers"),
        (np.zeros((90, 2)), None, "at least 96 rows"),
        (np.zeros((100, 2)), (200,), "at most the number of rows 100"),
    ],
)
def test_bad_tables(X, n_grid, fragment: str) -> None:
    with pytest.raises(InvalidInputError, match=fragment):
        kernel_verdict(LAPLACE, X, n_grid=n_grid)
