"""The NumPy solves against NumPy's own, scikit-learn's and the definition."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.kernel_ridge import KernelRidge

from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import KernelSpec, SolveStatus
from mlmethods_numpy.ops import kernels, linalg

GAUSSIAN = KernelSpec(name="gaussian", bandwidth=2.0)


@pytest.fixture
def system(rng):
    X, Y = rng.normal(size=(40, 3)), rng.normal(size=(40, 2))
    return X, kernels.pairwise(GAUSSIAN, X), Y


@pytest.mark.parametrize("solve_dtype", ["float64", "float32", "auto"])
def test_ridge_solve_is_the_solution(system, solve_dtype):
    _, K, Y = system
    result = linalg.ridge_solve(K, Y, 0.1, solve_dtype=solve_dtype)
    assert_allclose(result.alpha, np.linalg.solve(K + 0.1 * np.eye(40), Y), rtol=1e-9)
    assert result.ok
    assert result.status == SolveStatus.OK
    assert result.jitter == 0
    assert result.residual < 1e-13
    assert result.status.shape == ()


@pytest.mark.parametrize("count", [1, 3, 12, 15])
def test_several_regs_equal_single_solves(system, count):
    _, K, Y = system
    regs = np.geomspace(1e-3, 10, count)
    weights = np.linspace(0, 2, 40)
    result = linalg.ridge_solve(K, Y, regs, weights=weights)
    assert result.alpha.shape == (count, 40, 2)
    assert (
        result.status.shape == result.jitter.shape == result.residual.shape == (count,)
    )
    for reg, alpha in zip(regs, result.alpha, strict=True):
        single = linalg.ridge_solve(K, Y, float(reg), weights=weights).alpha
        assert_allclose(alpha, single, rtol=1e-8, atol=1e-9)


def test_weights_are_sample_weights_of_scikit_learn(system):
    X, K, Y = system
    weights = np.linspace(0.5, 3, 40)
    peer = KernelRidge(kernel="rbf", gamma=1 / 8, alpha=0.3).fit(X, Y, weights)
    result = linalg.ridge_solve(K, Y, 0.3, weights=weights)
    assert_allclose(result.alpha, peer.dual_coef_, rtol=1e-10, atol=1e-12)


def test_integer_weights_repeat_rows_and_zero_removes_them(system):
    X, _, Y = system
    weights = np.arange(40) % 3
    repeated = np.repeat(np.arange(40), weights)
    new = X[:5] + 0.1
    predictions = []
    for rows, w in ((np.arange(40), weights), (repeated, None)):
        K = kernels.pairwise(GAUSSIAN, X[rows])
        alpha = linalg.ridge_solve(K, Y[rows], 0.3, weights=w).alpha
        predictions.append(kernels.matvec(GAUSSIAN, new, X[rows], alpha))
    assert_allclose(predictions[0], predictions[1], rtol=1e-9)


@pytest.mark.parametrize("count", [1, 12])
def test_a_singular_matrix_is_solved_with_reported_jitter(count):
    K, Y = np.ones((4, 4)), np.ones((4, 1))
    result = linalg.ridge_solve(K, Y, np.zeros(count))
    assert (result.status == SolveStatus.JITTERED).all()
    assert (result.jitter >= 1e-12).all()
    assert (result.jitter <= 1e-6).all()
    assert_allclose(K @ result.alpha[0], Y, rtol=1e-6)
    assert (result.residual < 1e-6).all()


@pytest.mark.parametrize("count", [1, 12])
@pytest.mark.parametrize(
    ("K", "jitter"), [(np.ones((4, 4)), "none"), (-np.eye(4), "ladder")]
)
def test_an_indefinite_matrix_gives_a_status_and_nan(count, K, jitter):
    result = linalg.ridge_solve(K, np.ones((4, 1)), np.zeros(count), jitter=jitter)
    assert (result.status == SolveStatus.NOT_POSITIVE_DEFINITE).all()
    assert np.isnan(result.alpha).all()
    assert not result.ok.any()


@pytest.mark.parametrize("place", ["K", "Y", "reg", "weights"])
def test_what_is_not_finite_gives_a_status(place):
    arguments = {
        "K": np.eye(3),
        "Y": np.ones((3, 1)),
        "reg": 1.0,
        "weights": np.ones(3),
    }
    arguments[place] = arguments[place] * np.nan
    result = linalg.ridge_solve(**arguments)
    assert result.status == SolveStatus.NOT_FINITE
    assert np.isnan(result.alpha).all()


def test_targets_of_zero_give_zero(system):
    _, K, Y = system
    result = linalg.ridge_solve(K, 0 * Y, 0.1)
    assert_array_equal(result.alpha, 0 * Y)
    assert result.residual == 0


@pytest.mark.parametrize("kind", ["none", "diagonal", "full"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("rank", [None, 1, 7])
def test_ridge_cg_equals_the_direct_solve(system, kind, weighted, rank, rng):
    X, _, Y = system
    A = rng.normal(size=(3, 3))
    M = {"none": None, "diagonal": np.array([0.5, 0.0, 2.0]), "full": A @ A.T}[kind]
    weights = np.linspace(0, 2, 40) if weighted else None
    K = kernels.pairwise(GAUSSIAN, X, None, M)
    expected = linalg.ridge_solve(K, Y, 1e-2, weights=weights).alpha
    result = linalg.ridge_cg(
        GAUSSIAN, X, Y, 1e-2, M, weights=weights, rank=rank, tol=1e-12
    )
    assert result.status == SolveStatus.OK
    assert result.residual <= 1e-12
    assert_allclose(result.alpha, expected, rtol=1e-6, atol=1e-8)


def test_ridge_cg_is_deterministic_and_takes_several_regs(system):
    X, _, Y = system
    first = linalg.ridge_cg(GAUSSIAN, X, Y, np.array([0.1, 1.0]), rank=5)
    second = linalg.ridge_cg(GAUSSIAN, X, Y, np.array([0.1, 1.0]), rank=5)
    assert_array_equal(first.alpha, second.alpha)
    assert_allclose(first.alpha[1], linalg.ridge_cg(GAUSSIAN, X, Y, 1.0, rank=5).alpha)


def test_the_preconditioner_reduces_the_iterations(rng):
    X, Y = rng.normal(size=(150, 2)), rng.normal(size=(150, 1))
    few = {"tol": 1e-8, "max_iter": 12}
    assert linalg.ridge_cg(GAUSSIAN, X, Y, 1e-4, rank=60, **few).ok
    crude = linalg.ridge_cg(GAUSSIAN, X, Y, 1e-4, rank=1, **few)
    assert crude.status == SolveStatus.MAX_ITERATIONS
    assert np.isnan(crude.alpha).all()
    assert crude.residual > 1e-8


def test_ridge_cg_interpolates_without_reg(rng):
    X, Y = rng.normal(size=(60, 3)), rng.normal(size=(60, 2))
    laplace = KernelSpec(name="laplace")
    result = linalg.ridge_cg(laplace, X, Y, 0.0, rank=10)
    assert result.ok
    assert_allclose(kernels.pairwise(laplace, X) @ result.alpha, Y, atol=1e-6)


def test_ridge_cg_reports_what_is_not_finite(system):
    X, _, Y = system
    result = linalg.ridge_cg(GAUSSIAN, X * np.nan, Y, 0.1)
    assert result.status == SolveStatus.NOT_FINITE


def test_eigh_descends_and_fixes_the_sign(system):
    _, K, _ = system
    values, vectors = linalg.eigh(K)
    assert (np.diff(values) <= 0).all()
    assert_allclose((vectors * values) @ vectors.T, K, atol=1e-12)
    assert_allclose(vectors.T @ vectors, np.eye(40), atol=1e-12)
    assert_allclose(values[::-1], np.linalg.eigvalsh(K), atol=1e-12)
    largest = vectors[np.abs(vectors).argmax(axis=0), np.arange(40)]
    assert (largest > 0).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"K": np.eye(2)}, r"K must have shape \(3, 3\)"),
        ({"Y": np.ones(3)}, r"Y must have shape \(n, c\)"),
        ({"reg": np.ones((2, 2))}, "reg must be a number"),
        ({"weights": np.ones(2)}, r"weights must have shape \(3,\)"),
        ({"jitter": True}, "jitter must be 'ladder' or 'none'"),
        ({"solve_dtype": "float16"}, "solve_dtype must be one of"),
    ],
)
def test_bad_input(change, message):
    arguments = {"K": np.eye(3), "Y": np.ones((3, 1)), "reg": 1.0}
    with pytest.raises(InvalidInputError, match=message):
        linalg.ridge_solve(**(arguments | change))
