"""Checks of the solves and the eigenproblem."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlmethods.interfaces import NDArray, SolveStatus
from mlmethods.testing.trials import KERNELS, Trial, check, require

__all__: list[str] = []


def _system(trial: Trial) -> tuple[NDArray, NDArray, NDArray]:
    """Return points [12, 3], their Gaussian kernel matrix and targets [12, 2]."""
    rng = trial.rng()
    X, Y = rng.normal(size=(12, 3)), rng.normal(size=(12, 2))
    squared = ((X[:, None] - X[None]) ** 2).sum(axis=-1)
    K = np.exp(-squared / 2)
    # The system as the backend sees it, so that both solve the same one.
    X, K, Y = (a.astype(trial.dtype).astype(np.float64) for a in (X, K, Y))
    return X, K, Y


def _has_status(result: Any, expected: SolveStatus, where: str) -> None:
    status = np.asarray(result.status)
    require(
        status.dtype.kind in "iu" and status.shape == (),
        f"{where} the status is {result.status!r}, expected one integer",
    )
    require(
        int(status) == expected,
        f"{where} the status is {int(status)}, expected {expected.name} "
        f"({expected.value})",
    )


def _is_solved(trial: Trial, result: Any, expected: NDArray, where: str) -> None:
    _has_status(result, SolveStatus.OK, where)
    trial.close(result.alpha, expected, f"{where} alpha")
    require(float(result.jitter) == 0.0, f"{where} jitter was added without need")
    require(
        0.0 <= float(result.residual) < 1e-4,
        f"{where} the residual is {result.residual}",
    )


@check("linalg.ridge_solve")
def solves_a_well_conditioned_system(trial: Trial) -> None:
    _, K, Y = _system(trial)
    expected = np.linalg.solve(K + 0.5 * np.eye(12), Y)
    for solve_dtype in ("float64", "float32", "auto"):
        where = f"with solve_dtype={solve_dtype!r}"
        result = trial.run(K, Y, 0.5, solve_dtype=solve_dtype)
        if solve_dtype == "float64" or trial.dtype == "float32":
            _is_solved(trial, result, expected, where)
        else:
            status = SolveStatus(int(result.status))
            require(status.ok, f"{where} the status is {status.name}")


@check("linalg.ridge_solve")
def reaches_float64_accuracy_for_float32_callers(trial: Trial) -> None:
    _, K, Y = _system(trial)
    # At this regularization a float32 factorization is wrong in the first digits.
    expected = np.linalg.solve(K + 2.0**-20 * np.eye(12), Y)
    result = trial.run(K, Y, 2.0**-20)
    _is_solved(trial, result, expected, "with a small reg")
    refined = trial.run(K, Y, 2.0**-20, solve_dtype="auto")
    require(bool(refined.ok), f"with solve_dtype='auto' status is {refined.status}")
    trial.close(refined.alpha, expected, "with solve_dtype='auto' alpha")


@check("linalg.ridge_solve")
def solves_several_regs_in_one_call(trial: Trial) -> None:
    _, K, Y = _system(trial)
    for count in (1, 3, 14):
        regs = np.geomspace(0.125, 8.0, count)
        result = trial.run(K, Y, regs)
        where = f"with {count} regs"
        expected = [
            np.linalg.solve(K + float(trial_reg) * np.eye(12), Y)
            for trial_reg in regs.astype(trial.dtype)
        ]
        trial.close(result.alpha, np.stack(expected), f"{where} alpha")
        for field in ("status", "jitter", "residual", "ok"):
            shape = np.shape(getattr(result, field))
            require(shape == (count,), f"{where} {field} has shape {shape}")
        require(np.all(result.ok), f"{where} the statuses are {result.status}")


@check("linalg.ridge_solve")
def reports_each_reg_by_itself(trial: Trial) -> None:
    K, Y = -np.eye(5), np.arange(10.0).reshape(5, 2)
    result = trial.run(K, Y, np.array([0.5, 2.0]))
    statuses = np.asarray(result.status).tolist()
    require(
        statuses == [SolveStatus.NOT_POSITIVE_DEFINITE, SolveStatus.OK],
        f"K=-I with reg=[0.5, 2] gave the statuses {statuses}",
    )
    require(np.isnan(result.alpha[0]).all(), "a failed solve must give NaN")
    trial.close(result.alpha[1], Y, "alpha of the reg that can be solved")


@check("linalg.ridge_solve")
def weights_symmetrically_and_ignores_weight_zero(trial: Trial) -> None:
    _, K, Y = _system(trial)
    weights = np.array([1, 0.5, 2, 4, 1, 0.25, 1, 3, 1, 0, 0, 0], dtype=np.float64)
    root = np.sqrt(weights)[:, None]
    inner = np.linalg.solve(root * K * root.T + 0.5 * np.eye(12), root * Y)
    result = trial.run(K, Y, 0.5, weights=weights)
    _is_solved(trial, result, root * inner, "with weights")
    require((result.alpha[9:] == 0).all(), "rows of weight zero have coefficients")


@check("linalg.ridge_solve")
def climbs_the_jitter_ladder_on_a_singular_matrix(trial: Trial) -> None:
    K, Y = np.ones((6, 6)), np.ones((6, 1))
    result = trial.run(K, Y, 0.0)
    _has_status(result, SolveStatus.JITTERED, "on a matrix of ones with reg=0")
    require(
        0.0 < float(result.jitter) <= 1.001e-6,
        f"the jitter is {float(result.jitter):g}, expected at most 1e-6",
    )
    trial.close(K @ result.alpha, Y, "K alpha", rtol=1e-4)


@check("linalg.ridge_solve")
def reports_what_cannot_be_solved(trial: Trial) -> None:
    ones, Y = np.ones((6, 6)), np.ones((6, 1))
    nan, inf = np.eye(6), Y.copy()
    nan[2, 3] = nan[3, 2] = np.nan
    inf[1] = np.inf
    cases: tuple[tuple[str, NDArray, NDArray, dict[str, Any], SolveStatus], ...] = (
        (
            "on a singular matrix with jitter='none'",
            ones,
            Y,
            {"jitter": "none"},
            SolveStatus.NOT_POSITIVE_DEFINITE,
        ),
        (
            "on a negative definite matrix",
            -np.eye(6),
            Y,
            {},
            SolveStatus.NOT_POSITIVE_DEFINITE,
        ),
        ("on a matrix with NaN", nan, Y, {}, SolveStatus.NOT_FINITE),
        ("on targets with inf", np.eye(6), inf, {}, SolveStatus.NOT_FINITE),
    )
    for where, K, targets, options, expected in cases:
        result = trial.run(K, targets, 0.0, **options)
        _has_status(result, expected, where)
        require(np.isnan(result.alpha).all(), f"{where} alpha must be NaN throughout")
        require(not bool(result.ok), f"{where} the result says that it is ok")


@check("linalg.ridge_cg", kernels=("laplace", "gaussian", "matern 5/2"))
def agrees_with_a_direct_solve(trial: Trial, kernel: Any) -> None:
    X, _, Y = _system(trial)
    M = np.array([1.0, 0.5, 2.0])
    K = trial.reference(kernel, X, None, M, op="kernels.pairwise")
    expected = np.linalg.solve(K + 0.25 * np.eye(12), Y)
    result = trial.run(kernel, X, Y, 0.25, M)
    _is_solved(trial, result, expected, "with a diagonal M")


@check("linalg.ridge_cg")
def takes_weights_rank_and_blocks(trial: Trial) -> None:
    X, _, Y = _system(trial)
    kernel = KERNELS["laplace"]
    weights = np.array([1, 0.5, 2, 4, 1, 0.25, 1, 3, 1, 0, 0, 0], dtype=np.float64)
    root = np.sqrt(weights)[:, None]
    K = trial.reference(kernel, X, op="kernels.pairwise")
    inner = np.linalg.solve(root * K * root.T + 0.25 * np.eye(12), root * Y)
    result = trial.run(kernel, X, Y, 0.25, weights=weights, rank=2, block_size=5)
    _is_solved(trial, result, root * inner, "with weights")
    again = trial.run(kernel, X, Y, 0.25, weights=weights, rank=2, block_size=5)
    require(np.array_equal(result.alpha, again.alpha), "two equal calls differ")


@check("linalg.ridge_cg")
def reports_an_unfinished_or_impossible_solve(trial: Trial) -> None:
    X, _, Y = _system(trial)
    kernel = KERNELS["laplace"]
    short = trial.run(kernel, X, Y, 1e-6, rank=1, tol=1e-12, max_iter=1)
    _has_status(short, SolveStatus.MAX_ITERATIONS, "after one iteration")
    require(np.isnan(short.alpha).all(), "an unfinished solve must give NaN")
    bad = X.copy()
    bad[0, 0] = np.nan
    result = trial.run(kernel, bad, Y, 0.25)
    _has_status(result, SolveStatus.NOT_FINITE, "on points with NaN")
    require(np.isnan(result.alpha).all(), "a failed solve must give NaN")


@check("linalg.eigh")
def is_descending_orthonormal_and_of_fixed_sign(trial: Trial) -> None:
    rng = trial.rng()
    # Eigenvalues well apart, of both signs, so that the vectors are determined.
    basis, _ = np.linalg.qr(rng.normal(size=(7, 7)))
    exact = np.array([9.0, 5.0, 2.0, 1.0, -1.5, -4.0, -7.0])
    K = (basis * exact) @ basis.T
    K = (K + K.T) / 2
    for dtype in ("float64", "float32"):
        rtol = None if trial.dtype == "float32" or dtype == "float64" else 1e-5
        values, vectors = trial.run(K, dtype=dtype)
        where = f"with dtype={dtype!r}"
        trial.close(values, exact, f"{where} the eigenvalues", rtol)
        peak = np.abs(basis).argmax(axis=0)
        signed = basis * np.sign(basis[peak, np.arange(7)])
        trial.close(vectors, signed, f"{where} the eigenvectors", rtol)


@check("linalg.eigh")
def keeps_small_eigenvalues(trial: Trial) -> None:
    # In float32 the computation would lose the small one: the default is float64.
    K = np.array([[1.0, 1.0], [1.0, 1.0 + 2.0**-20]])
    values, _ = trial.run(K)
    exact = np.linalg.eigvalsh(K)[::-1]
    trial.close(values[1:], exact[1:], "the small eigenvalue")


@check("linalg.eigh")
def takes_one_row(trial: Trial) -> None:
    values, vectors = trial.run(np.array([[-3.0]]))
    require(values.tolist() == [-3.0], f"of [[-3]] the eigenvalue is {values}")
    require(vectors.tolist() == [[1.0]], f"of [[-3]] the eigenvector is {vectors}")
