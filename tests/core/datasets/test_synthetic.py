"""The generated sample, against its formula and the published error sequence."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
from scipy.spatial.distance import cdist

from mlmethods.datasets import low_rank_polynomial
from mlmethods.errors import InvalidInputError


def test_targets_follow_the_formulas() -> None:
    X, y, support = low_rank_polynomial(5000, 7, rng=1)
    np.testing.assert_array_equal(y, np.where(X[:, 5] > 0, X[:, 0] * X[:, 1], 0))
    assert support == (0, 1, 5)
    # E[y^2] = scale^4 / 2; its standard error at n = 5000 is 6 %.
    assert np.mean(y**2) == pytest.approx(0.5**4 / 2, rel=0.2)
    X, y, _ = low_rank_polynomial(5000, 8, function="hermite", scale=3.0, rng=1)
    U = X / 3
    np.testing.assert_allclose(
        y, (U[:, 0] ** 2 - 1) / 2**0.5 + U[:, 1] * U[:, 2] * U[:, 3], rtol=1e-12
    )
    assert X.std() == pytest.approx(3, rel=0.02)


def test_the_seed_is_the_only_source_of_randomness() -> None:
    first, second = (low_rank_polynomial(10, rng=5) for _ in range(2))
    np.testing.assert_array_equal(first.X, second.X)
    assert not np.array_equal(first.X, low_rank_polynomial(10, rng=6).X)


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        ({"n": 0}, "n must be"),
        ({"n": 5, "d": 5}, "d must be"),
        ({"n": 5, "scale": 0.0}, "scale must be"),
        ({"n": 5, "function": "hermit"}, "did you mean 'hermite'"),
    ],
)
def test_bad_arguments(arguments, fragment) -> None:
    with pytest.raises(InvalidInputError, match=fragment):
        low_rank_polynomial(**arguments)


@pytest.mark.slow
def test_the_published_kernel_error_is_reproduced() -> None:
    # The first number of the published sequence, before any feature is learned.
    n = 4000
    X, y, _ = low_rank_polynomial(2 * n, rng=0)
    K = np.exp(-cdist(X[:n], X[:n]) / 10)
    alpha = scipy.linalg.solve(K + 1e-3 * np.eye(n), y[:n], assume_a="pos")
    predicted = np.exp(-cdist(X[n:], X[:n]) / 10) @ alpha
    assert np.mean((predicted - y[n:]) ** 2) == pytest.approx(0.01229, rel=0.1)
