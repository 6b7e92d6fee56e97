"""A learned metric in the overfitting laboratory, and kernels of one in the other."""

from __future__ import annotations

import numpy as np
import pytest

from mlmethods.kernels import LaplaceKernel, NTKKernel, kernel_diagnostics
from mlmethods.overfitting import OverfittingStudy, empirical_spectrum
from mlmethods.rfm import RFMRegressor


@pytest.fixture(scope="module")
def problem():
    """Rows of six columns, of which one matters."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(160, 6))
    return X, np.sin(2 * X[:, 0])


@pytest.fixture(scope="module")
def machine(problem) -> RFMRegressor:
    X, y = problem
    settings = {"backend": "numpy", "early_stopping": False, "random_state": 0}
    return RFMRegressor(LaplaceKernel(bandwidth=3.0), n_iter=2, **settings).fit(X, y)


def test_the_spectrum_of_a_learned_metric_is_that_of_the_transformed_rows(
    problem, machine
) -> None:
    X, _ = problem
    kernel = LaplaceKernel(bandwidth=3.0)
    K = kernel(X, None, machine.M_, backend="numpy")
    expected = np.linalg.eigvalsh(K)[::-1] / len(X)
    found = empirical_spectrum(kernel, machine.transform(X), backend="numpy")
    np.testing.assert_allclose(found.values, expected, rtol=1e-8, atol=1e-12)
    # In the one direction that is left the Laplace kernel costs 5/3, not 6/5.
    before = kernel_diagnostics(kernel, X, backend="numpy").e0
    after = kernel_diagnostics(kernel, machine.transform(X), backend="numpy").e0
    assert before < after


def test_a_recursive_feature_machine_is_a_learner(problem) -> None:
    X, y = problem
    settings = {"backend": "numpy", "early_stopping": False, "random_state": 0}
    result = OverfittingStudy(
        RFMRegressor("laplace", n_iter=1, reg=1e-3, **settings),
        n_grid=(20, 40, 80),
        noise_levels=(0.0, 1.0),
        n_seeds=2,
    ).run(X, y)
    assert len(result.table) == 12
    assert (result.table["risk"] >= result.table["noise"]).all()


def test_a_network_kernel_learns_features(problem) -> None:
    X, y = problem
    settings = {"backend": "numpy", "early_stopping": False, "random_state": 0}
    model = RFMRegressor(NTKKernel(depth=2, b_std=0.5), n_iter=2, **settings)
    importances = model.fit(X, y).feature_importances_
    assert importances.argmax() == 0
    assert importances[0] > 0.5
