"""Linear RFM and matrix completion against closed forms, laws and peers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_diabetes
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Lasso, Ridge
from sklearn.utils.estimator_checks import parametrize_with_checks

from mlmethods.common.recipe import find_recipes, run_recipe
from mlmethods.errors import CheckpointError, InvalidInputError, MemoryLimitError
from mlmethods.rfm.completion import MatrixCompletion
from mlmethods.rfm.linear import LinearRFMRegressor
from mlmethods.rfm.recipes import completion


@parametrize_with_checks(
    [
        LinearRFMRegressor(),
        LinearRFMRegressor(diagonal=True, reg=1.0),
        MatrixCompletion(),
    ]
)
def test_scikit_learn_conventions(estimator, check):
    check(estimator)


# Regression ------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(30, 8), (8, 30)])
@pytest.mark.parametrize("diagonal", [False, True])
def test_without_updates_it_is_ridge(rng, shape, diagonal):
    X, Y = rng.normal(size=shape) + 1, rng.normal(size=(shape[0], 2))
    weights = rng.uniform(0, 2, shape[0])
    ours = LinearRFMRegressor(reg=0.7, n_iter=0, diagonal=diagonal)
    ours.fit(X, Y, sample_weight=weights)
    theirs = Ridge(alpha=0.7).fit(X, Y, sample_weight=weights)
    assert_allclose(ours.coef_, theirs.coef_, atol=1e-10)
    assert_allclose(ours.intercept_, theirs.intercept_, atol=1e-10)
    assert ours.n_iter_ == 0
    assert len(ours.history_) == 1


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("shape", [(20, 4), (4, 20)])
def test_one_update_in_closed_form(rng, shape, alpha):
    n, d = shape
    X, Y = rng.normal(size=shape), rng.normal(size=(n, 2))
    model = LinearRFMRegressor(
        alpha=alpha, reg=0.3, n_iter=1, epsilon=0.2, tol=0.0, fit_intercept=False
    )
    with pytest.warns(ConvergenceWarning):
        model.fit(X, Y)
    W = np.linalg.solve(X.T @ X + 0.3 * np.eye(d), X.T @ Y)
    G = W @ W.T
    values, vectors = np.linalg.eigh(G + 0.2 * np.diag(G).max() * np.eye(d))
    M = (vectors * values**alpha) @ vectors.T
    expected = np.linalg.solve(X.T @ X + 0.3 * np.linalg.inv(M), X.T @ Y)
    assert_allclose(model.M_, M, rtol=1e-8, atol=1e-10)
    assert_allclose(model.coef_, expected.T, rtol=1e-7, atol=1e-9)
    assert model.n_iter_ == 1
    loss = np.mean(np.sum((Y - model.predict(X)) ** 2, axis=1))
    assert model.history_[-1]["training_loss"] == pytest.approx(loss)


@pytest.mark.parametrize("penalty", [0.1, 1.0])
def test_alpha_one_half_is_the_lasso(penalty):
    X, y = load_diabetes(return_X_y=True)
    X = X / X.std(axis=0)
    ours = LinearRFMRegressor(
        diagonal=True, reg=penalty * len(X), n_iter=2000, tol=1e-9
    ).fit(X, y)
    theirs = Lasso(alpha=penalty, tol=1e-10, max_iter=100_000).fit(X, y)
    assert_allclose(ours.coef_, theirs.coef_, atol=1e-4 * np.abs(theirs.coef_).max())
    assert ours.intercept_ == pytest.approx(theirs.intercept_, rel=1e-6)


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_a_sparse_vector_is_recovered_where_ridge_fails(alpha, rng):
    X = rng.normal(size=(60, 200))
    support = np.sort(rng.choice(200, 5, replace=False))
    coef = np.zeros(200)
    coef[support] = rng.choice([-1, 1], 5) * rng.uniform(0.5, 2, 5)
    y = X @ coef + 3
    model = LinearRFMRegressor(alpha=alpha, diagonal=True).fit(X, y)
    assert_array_equal(np.flatnonzero(np.abs(model.coef_) > 1e-3), support)
    assert_allclose(model.coef_, coef, atol=1e-4)
    assert model.intercept_ == pytest.approx(3, abs=1e-4)
    ridge = LinearRFMRegressor(n_iter=0).fit(X, y)
    assert np.abs(ridge.coef_ - coef).max() > 0.3
    assert_array_equal(np.sort(np.argsort(model.M_)[-5:]), support)


def test_a_full_metric_keeps_the_solution_of_least_norm(rng):
    X, Y = rng.normal(size=(10, 25)), rng.normal(size=(10, 3))
    model = LinearRFMRegressor(reg=0, fit_intercept=False).fit(X, Y)
    assert_allclose(model.coef_.T, np.linalg.pinv(X) @ Y, atol=1e-10)


def test_a_full_metric_shrinks_to_a_low_rank(rng):
    X = rng.normal(size=(200, 20))
    truth = rng.normal(size=(20, 2)) @ rng.normal(size=(2, 8))
    Y = X @ truth + 0.5 * rng.normal(size=(200, 8))
    model = LinearRFMRegressor(alpha=1.0, reg=10.0, n_iter=300).fit(X, Y)
    values = np.linalg.svd(model.coef_, compute_uv=False)
    assert values[2] < 1e-3 * values[1]
    ridge = Ridge(1e-6).fit(X, Y)
    ours, theirs = (np.linalg.norm(m.coef_.T - truth) for m in (model, ridge))
    assert ours < 0.7 * theirs


def test_duplicated_columns_and_no_ridge(rng):
    X = np.repeat(rng.normal(size=(12, 3)), 2, axis=1)
    y = X[:, 0] - X[:, 4]
    for diagonal in (False, True):
        model = LinearRFMRegressor(reg=0, diagonal=diagonal).fit(X, y)
        assert_allclose(model.predict(X), y, atol=1e-8)
        assert_allclose(model.coef_[::2], model.coef_[1::2], atol=1e-8)


def test_units_that_leave_the_ridge_below_rounding(rng):
    X, Y = rng.normal(size=(12, 30)), rng.normal(size=(12, 2))
    for diagonal in (False, True):
        model = LinearRFMRegressor(diagonal=diagonal, n_iter=0).fit(1e7 * X, Y)
        assert_allclose(model.predict(1e7 * X), Y, atol=1e-8)
        assert_allclose(1e7 * model.coef_, Ridge(1e-12).fit(X, Y).coef_, atol=1e-8)


def test_a_constant_target(rng):
    model = LinearRFMRegressor(diagonal=True).fit(
        rng.normal(size=(9, 3)), np.full(9, 2)
    )
    assert_array_equal(model.coef_, np.zeros(3))
    assert model.intercept_ == 2.0


def test_weight_two_is_a_duplicated_row(rng):
    X, y = rng.normal(size=(15, 4)), rng.normal(size=15)
    weights = np.r_[np.full(5, 2.0), np.ones(9), 0.0]
    twice = np.r_[np.arange(14), np.arange(5)]
    a = LinearRFMRegressor(diagonal=True, reg=1.0).fit(X, y, sample_weight=weights)
    b = LinearRFMRegressor(diagonal=True, reg=1.0).fit(X[twice], y[twice])
    assert_allclose(a.coef_, b.coef_, atol=1e-8)


# Completion ------------------------------------------------------------------


def _low_rank(shape, rank, fraction, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(shape[0], rank)) @ rng.normal(size=(rank, shape[1]))
    return truth, rng.random(shape) < fraction


def _error(estimate, truth):
    return np.linalg.norm(estimate - truth) / np.linalg.norm(truth)


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_one_update_is_the_rows_least_squares(alpha):
    truth, mask = _low_rank((7, 5), 2, 0.7)
    with pytest.warns(ConvergenceWarning):
        model = MatrixCompletion(
            alpha=alpha, reg=0.1, n_iter=1, epsilon=0.3, alternate=False
        ).fit(truth, mask=mask)
    Y = truth / np.sqrt(np.mean(truth[mask] ** 2))

    def rows(M):
        X = np.empty_like(Y)
        for i, seen in enumerate(mask):
            K = M[np.ix_(seen, seen)] + 0.1 * np.eye(seen.sum())
            X[i] = np.linalg.solve(K, Y[i, seen]) @ M[seen]
        return X

    X = rows(np.eye(5))
    values, vectors = np.linalg.eigh(X.T @ X / 7 + 0.3 * np.mean(X**2) * np.eye(5))
    M = (vectors * values**alpha) @ vectors.T
    assert_allclose(model.M_, M, atol=1e-10)
    assert_allclose(model.estimate_ / model.scale_, rows(M), atol=1e-9)


@pytest.mark.parametrize(
    ("shape", "settings"),
    [
        ((100, 100), {}),
        ((60, 160), {}),
        ((160, 60), {"alpha": 2.0}),
        ((100, 100), {"rank": 3}),
        ((60, 160), {"rank": 3}),
        ((100, 100), {"alpha": 0.5}),
        ((100, 100), {"alternate": False, "epsilon_decay": 0.9, "n_iter": 200}),
    ],
)
def test_a_matrix_of_low_rank_is_recovered(shape, settings):
    truth, mask = _low_rank(shape, 3, 0.35)
    model = MatrixCompletion(**settings).fit(np.where(mask, 100 * truth, np.nan))
    assert _error(model.completed_, 100 * truth) < 2e-4
    assert_array_equal(model.completed_[mask], 100 * truth[mask])
    assert _error(model.estimate_, 100 * truth) < 2e-4
    assert model.M_.shape == (shape[1], shape[1])
    assert model.history_[-1]["change"] <= model.tol
    if "rank" in settings:
        assert np.linalg.matrix_rank(model.estimate_, rtol=1e-9) == 3


def test_a_larger_matrix_is_recovered():
    truth, mask = _low_rank((300, 300), 5, 0.2)
    assert _error(MatrixCompletion().fit(truth, mask=mask).completed_, truth) < 1e-4


def test_alpha_one_half_minimizes_the_nuclear_norm():
    truth, mask = _low_rank((30, 24), 2, 0.6)
    noisy = truth + 0.1 * np.random.default_rng(1).normal(size=truth.shape)
    model = MatrixCompletion(alpha=0.5, reg=0.2, n_iter=500, tol=1e-9)
    model.fit(noisy, mask=mask)
    penalty = 0.2 * np.sqrt(30) * model.scale_
    peer, converged = completion.soft_impute(
        np.where(mask, noisy, 0), mask, penalties=np.array([penalty]), tol=1e-11
    )
    assert converged
    assert_allclose(model.estimate_, peer, atol=1e-4 * np.abs(peer).max())


def test_soft_impute_is_stationary():
    truth, mask = _low_rank((30, 24), 2, 0.6)
    X, _ = completion.soft_impute(
        np.where(mask, truth, 0), mask, penalties=np.array([5.0, 2.0]), tol=1e-12
    )
    U, s, Vt = np.linalg.svd(X)
    kept = s > 1e-8
    residual = np.where(mask, truth - X, 0) / 2.0
    # A subgradient: U V^T on the singular subspaces, norm below 1 beyond them.
    assert_allclose(U[:, : len(s)][:, kept].T @ residual, Vt[: len(s)][kept], atol=1e-6)
    assert np.linalg.norm(residual, 2) <= 1 + 1e-6


def test_scale_and_order_change_nothing():
    truth, mask = _low_rank((40, 30), 2, 0.5)
    first = MatrixCompletion(reg=1e-3).fit(truth, mask=mask)
    scaled = MatrixCompletion(reg=1e-3).fit(1e6 * truth, mask=mask)
    assert_allclose(scaled.completed_, 1e6 * first.completed_, rtol=1e-6, atol=1e-3)
    rows, columns = np.random.default_rng(1).permutation(40), np.arange(30)[::-1]
    moved = np.ix_(rows, columns)
    other = MatrixCompletion(reg=1e-3).fit(truth[moved], mask=mask[moved])
    assert_allclose(other.completed_, first.completed_[moved], atol=1e-6)


def test_small_batches_change_nothing(monkeypatch):
    truth, mask = _low_rank((40, 30), 2, 0.5)
    whole = MatrixCompletion().fit(truth, mask=mask)
    monkeypatch.setattr("mlmethods.rfm.completion._BATCH_BYTES", 1)
    single = MatrixCompletion().fit(truth, mask=mask)
    assert_allclose(single.completed_, whole.completed_, atol=1e-7)


def test_transform_fills_the_same_and_new_rows():
    truth, mask = _low_rank((90, 40), 2, 0.5)
    model = MatrixCompletion()
    completed = model.fit_transform(truth[:80], mask=mask[:80])
    assert_allclose(completed, model.completed_, atol=1e-9)
    new = model.transform(np.where(mask[80:], truth[80:], np.nan))
    assert _error(new, truth[80:]) < 1e-4
    frame = pd.DataFrame(np.where(mask, truth, np.nan)).add_prefix("c")
    filled = MatrixCompletion().set_output(transform="pandas").fit_transform(frame)
    assert list(filled.columns) == list(frame.columns)
    assert not filled.isna().any(axis=None)


def test_complete_and_zero_matrices():
    truth, _ = _low_rank((12, 6), 2, 1.0)
    assert_array_equal(MatrixCompletion().fit_transform(truth), truth)
    zeros = np.where(np.eye(4, dtype=bool), np.nan, 0.0)
    assert_array_equal(MatrixCompletion().fit_transform(zeros), np.zeros((4, 4)))


def test_too_few_entries_warn():
    truth, mask = _low_rank((40, 40), 8, 0.3)
    with pytest.warns(ConvergenceWarning, match="raise n_iter, reg or tol"):
        MatrixCompletion(n_iter=5).fit(truth, mask=mask)


def test_what_is_wrong_with_the_matrix_is_named():
    X = np.ones((4, 6))
    model = MatrixCompletion()
    mask = np.ones((4, 6), dtype=bool)
    mask[:, [1, 3]] = False
    with pytest.raises(InvalidInputError, match=r"columns 1, 3 \(2 in all\)"):
        model.fit(X, mask=mask)
    with pytest.raises(InvalidInputError, match=r"row 2 \(1 in all\)"):
        model.fit(np.where(np.arange(4)[:, None] == 2, np.nan, X))
    with pytest.raises(InvalidInputError, match=r"shape of X, \(4, 6\), got \(6, 4\)"):
        model.fit(X, mask=mask.T)
    with pytest.raises(InvalidInputError, match="must be boolean"):
        model.fit(X, mask=np.ones((4, 6)))
    with pytest.raises(InvalidInputError, match=r"call fit\(X, mask=mask\)"):
        model.fit(X, mask)
    X[3, 5] = np.inf
    with pytest.raises(InvalidInputError, match="got inf in row 3, column 5"):
        model.fit(X)
    X[3, 5] = np.nan
    with pytest.raises(InvalidInputError, match="got nan in row 3, column 5"):
        model.fit(X, mask=np.ones((4, 6), dtype=bool))
    assert np.isfinite(model.fit(X).completed_).all()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"alpha": 0.0}, "alpha must be a finite number > 0, got 0.0"),
        ({"reg": -1.0}, "reg must be a finite number >"),
        ({"n_iter": -1}, "n_iter must be an integer >= 0, got -1"),
        ({"epsilon": 0.0}, "epsilon must be"),
        ({"epsilon_decay": 1.5}, "epsilon_decay must be .* <= 1, got 1.5"),
        ({"tol": -1e-3}, "tol must be"),
        ({"memory_limit": "4GB"}, "memory_limit must be"),
    ],
)
@pytest.mark.parametrize("kind", [LinearRFMRegressor, MatrixCompletion])
def test_bad_parameters(kind, params, message):
    X = np.arange(12.0).reshape(4, 3)
    with pytest.raises(InvalidInputError, match=message):
        kind(**params).fit(X, np.arange(4.0))


@pytest.mark.parametrize(("rank", "message"), [(4, "rank must be <= 3"), (0, ">= 1")])
def test_bad_ranks(rank, message):
    with pytest.raises(InvalidInputError, match=message):
        MatrixCompletion(rank=rank).fit(np.ones((5, 3)))


@pytest.mark.parametrize("kind", [LinearRFMRegressor, MatrixCompletion])
def test_memory_limit_refuses_before_allocating(kind):
    X = np.ones((5, 400))
    with pytest.raises(MemoryLimitError, match=r"columns needs .* raise memory_limit"):
        kind(memory_limit=1000).fit(X, np.ones(5))


@pytest.mark.parametrize("targets", [1, 2])
def test_save_and_load_the_regressor(tmp_path: Path, rng, targets):
    X, Y = rng.normal(size=(20, 4)), rng.normal(size=(20, targets))
    model = LinearRFMRegressor(reg=1.0).fit(X, Y[:, 0] if targets == 1 else Y)
    model.save(tmp_path / "model")
    again = LinearRFMRegressor.load(tmp_path / "model")
    assert_array_equal(again.predict(X), model.predict(X))
    assert again.history_ == model.history_
    assert again.get_params() == model.get_params()
    with pytest.raises(CheckpointError, match="LinearRFMRegressor"):
        MatrixCompletion.load(tmp_path / "model")


def test_save_and_load_a_completion(tmp_path: Path):
    truth, mask = _low_rank((30, 20), 2, 0.6)
    model = MatrixCompletion(rank=2).fit(truth, mask=mask)
    model.save(tmp_path / "model")
    again = MatrixCompletion.load(tmp_path / "model")
    assert_array_equal(again.completed_, model.completed_)
    new = np.where(mask, truth, np.nan)
    assert_array_equal(again.transform(new), model.transform(new))


# The experiment --------------------------------------------------------------


def test_the_experiment_on_small_matrices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(completion._SIDE, False, 100)
    monkeypatch.setattr(completion, "_FRACTION", 0.6)
    monkeypatch.setitem(completion._SWEEP_SIDE, False, 80)
    monkeypatch.setitem(completion._SWEEP_RATIOS, False, (4.0, 5.0))
    monkeypatch.setattr(completion, "_SWEEP_END", 1e-3)
    monkeypatch.setattr(completion, "_END", 1e-3)
    name = "rfm-matrix-completion"
    (entry,) = [e for e in find_recipes("rfm") if e.name == name]
    result = run_recipe(entry, out=tmp_path, backend="numpy")
    frame = pd.read_csv(tmp_path / name / "sweep.csv")
    assert len(frame) == 4
    assert result.values["error_lin_rfm"] < 1e-4
    assert result.rows[0].passed
    threshold = completion._threshold(frame, "nuclear norm")
    assert result.values["smallest_fraction_nuclear_norm"] == threshold
    assert all((tmp_path / name / figure).exists() for figure in result.figures)


def test_the_threshold_is_where_recovery_begins_for_good() -> None:
    frame = pd.DataFrame(
        {
            "method": "m",
            "fraction": [0.1, 0.2, 0.3, 0.3, 0.4],
            "error": [1e-5, 1e-2, 1e-5, 1e-6, 1e-6],
        }
    )
    assert completion._threshold(frame, "m") == 0.3
    assert completion._threshold(frame.assign(error=1.0), "m") == float("inf")


@pytest.mark.slow
def test_the_quick_experiment_meets_its_criterion(tmp_path: Path) -> None:
    (entry,) = [e for e in find_recipes("rfm") if e.name == "rfm-matrix-completion"]
    result = run_recipe(entry, out=tmp_path, backend="numpy")
    assert result.passed, result.rows
