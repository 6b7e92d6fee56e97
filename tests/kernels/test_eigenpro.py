"""EigenPro against direct solves, and its preconditioner against dense matrices."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_diabetes
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import mlmethods
from mlmethods.errors import (
    CheckpointError,
    DivergenceError,
    InvalidInputError,
    MemoryLimitError,
)
from mlmethods.interfaces import KernelSpec
from mlmethods.kernels import (
    EigenProRegressor,
    KernelRidge,
    LaplaceKernel,
    QuadraticKernel,
)
from mlmethods.kernels._eigenpro_rows import choose_subsample
from mlmethods.kernels.contract import EigenProConfig, eigenpro_bytes
from mlmethods.kernels.epochs import run_epochs
from mlmethods.kernels.generic_eigenpro import eigenpro_engine
from mlmethods.kernels.preconditioner import (
    batch_and_step,
    largest_rank,
    spectral_filter,
    split_batches,
)

PRECISIONS = [("numpy", "float64"), ("jax", "float64"), ("jax", "float32")]
# Where JAX adds little but the time to compile.
numpy_first = pytest.mark.parametrize(
    "backend", ["numpy", pytest.param("jax", marks=pytest.mark.slow)]
)
LAPLACE = KernelSpec(name="laplace", bandwidth=2.0)


# Weights equal repetitions, to the digits that the checks ask for, at the solution.
_CONVERGED = {"reg": 1.0, "epochs": 500, "tol": 1e-11, "dtype": "float64"}


@parametrize_with_checks([EigenProRegressor(backend="numpy", **_CONVERGED)])
def test_scikit_learn_conventions(estimator, check):
    check(estimator)


# What JAX adds is compiling for the checks' many shapes.
@pytest.mark.slow
@parametrize_with_checks([EigenProRegressor(backend="jax", **_CONVERGED)])
def test_scikit_learn_conventions_on_jax(estimator, check):
    check(estimator)


@pytest.fixture(params=["numpy", "jax"])
def backend(request):
    return request.param


@pytest.fixture
def data(rng):
    X = rng.normal(size=(120, 3))
    Y = np.stack([np.sin(2 * X[:, 0]), X[:, 1] * X[:, 2]], axis=1)
    return X, Y, rng.uniform(0.5, 2.0, 120)


def _problem(backend, data, *, size=60, dtype="float64", kernel=LAPLACE, **settings):
    X, Y, weights = data
    engine = eigenpro_engine(mlmethods.get_backend(backend))
    config = EigenProConfig(kernel=kernel, dtype=dtype, **settings)
    sub = np.sort(np.random.default_rng(5).choice(len(X), size, replace=False))
    return engine.eigenpro(config, X, Y, weights, sub), sub


def _dense(spec, X, M=None, weights=None):
    K = mlmethods.get_backend("numpy").kernels.pairwise(spec, X, None, M)
    root = np.ones(len(X)) if weights is None else np.sqrt(weights)
    return root[:, None] * K * root, root


# The solution ----------------------------------------------------------------


@pytest.mark.parametrize(("backend", "dtype"), PRECISIONS)
@pytest.mark.parametrize("weighted", [False, True])
def test_many_passes_give_the_ridge_solution(data, backend, dtype, weighted):
    X, Y, weights = data
    weights = weights if weighted else None
    exact = KernelRidge("laplace", bandwidth=2.0, reg=0.3, backend="numpy")
    exact.fit(X, Y, sample_weight=weights)
    model = EigenProRegressor(
        "laplace",
        bandwidth=2.0,
        reg=0.3,
        epochs=120,
        n_subsample=80,
        tol=1e-8,
        fit_intercept=False,
        backend=backend,
        dtype=dtype,
        random_state=0,
    ).fit(X, Y, sample_weight=weights)
    bound = 1e-6 if dtype == "float64" else 2e-5
    scale = np.abs(exact.dual_coef_).max()
    assert_allclose(model.dual_coef_, exact.dual_coef_, atol=bound * scale)
    new = X[:9] + 0.1
    assert_allclose(model.predict(new), exact.predict(new), atol=10 * bound)
    assert model.dual_coef_.dtype == dtype
    assert model.n_iter_ == len(model.history_)


@pytest.mark.parametrize(
    ("backend", "diagonal"), [("numpy", False), ("numpy", True), ("jax", False)]
)
def test_the_metric_is_that_of_the_kernel(data, backend, diagonal):
    X, Y, weights = data
    A = np.array([[1.0, 0.4, 0.0], [0.4, 0.5, 0.1], [0.0, 0.1, 0.2]])
    M = np.diag(A).copy() if diagonal else A
    problem, _ = _problem(backend, data, reg=0.3)
    K, root = _dense(KernelSpec(name="laplace", bandwidth=1.5), X, M, weights)
    beta = np.linalg.solve(K + 0.7 * np.eye(len(X)), root[:, None] * Y)
    problem.prepare()
    problem.epoch(np.arange(len(X)))
    # A new metric, bandwidth and reg replace the old and start from zero.
    problem.prepare(M, bandwidth=1.5, reg=0.7)
    assert not np.any(problem.coefficients())
    found = run_epochs(problem, epochs=100, rng=np.random.default_rng(0), tol=1e-9)
    alpha = root[:, None] * beta
    assert_allclose(problem.coefficients(), alpha, atol=1e-7 * np.abs(alpha).max())
    new = X[:5] + 0.1
    values = mlmethods.get_backend("numpy").kernels.matvec(
        KernelSpec(name="laplace", bandwidth=1.5), new, X, alpha, M
    )
    assert_allclose(problem.predict(new), values, atol=1e-6)
    assert_allclose(problem.predict(new, found.state), values, atol=1e-6)


def test_native_arrays_are_what_the_agop_takes(data, backend):
    X, _, weights = data
    problem, _ = _problem(backend, data, reg=0.5)
    problem.prepare()
    run_epochs(problem, epochs=3, rng=np.random.default_rng(0))
    backend = mlmethods.get_backend(backend)
    held = problem.native()
    G = backend.kernels.agop(LAPLACE, held.X, None, held.alpha, weights=held.weights)
    oracle = mlmethods.get_backend("numpy").kernels.agop(
        LAPLACE, X, None, problem.coefficients(), weights=weights
    )
    assert_allclose(backend.to_numpy(G), oracle, rtol=1e-8)


def test_weight_two_is_a_duplicated_row(rng):
    X, y = rng.normal(size=(40, 2)), rng.normal(size=40)
    weights = np.ones(40)
    weights[:10], weights[10:13] = 2, 0
    model = EigenProRegressor(
        "gaussian", bandwidth=0.7, reg=1.0, epochs=200, tol=1e-10, backend="numpy"
    )
    weighted = model.fit(X, y, sample_weight=weights).predict(X)
    index = np.repeat(np.arange(40), weights.astype(int))
    repeated = model.fit(X[index], y[index]).predict(X)
    assert_allclose(weighted, repeated, atol=1e-7)


def test_backends_take_the_same_steps(data):
    numbers, losses, found = [], [], []
    for name in ("numpy", "jax"):
        problem, _ = _problem(name, data, reg=0.1, top_q=7, batch_size=13)
        numbers.append(problem.prepare())
        order = np.random.default_rng(3)
        losses.append([problem.epoch(order.permutation(120)) for _ in range(4)])
        found.append(problem.coefficients())
    assert_allclose(numbers[0], numbers[1], rtol=1e-9)
    assert numbers[0].top_q == 7
    assert numbers[0].batch_size == 13
    assert_allclose(losses[0], losses[1], rtol=1e-9)
    assert_allclose(found[0], found[1], atol=1e-9 * np.abs(found[0]).max())


def test_a_kernel_of_inner_products(rng, backend):
    X, y = rng.normal(size=(120, 3)), rng.normal(size=120)
    common = {"kernel": QuadraticKernel(), "reg": 5.0, "backend": backend}
    exact = KernelRidge(**common).fit(X, y)
    model = EigenProRegressor(
        **common, epochs=300, tol=1e-9, dtype="float64", fit_intercept=False
    ).fit(X, y)
    assert_allclose(model.predict(X), exact.predict(X), atol=1e-6)


# Small and odd data ----------------------------------------------------------


@pytest.mark.parametrize(
    ("backend", "batch_size"),
    [("numpy", 5), ("numpy", 1000), ("numpy", "auto"), ("jax", 5), ("jax", 1000)],
)
def test_any_batch_size(data, backend, batch_size):
    X, Y, _ = data
    model = EigenProRegressor(
        "laplace",
        bandwidth=1.0,
        reg=2.0,
        epochs=40,
        batch_size=batch_size,
        backend=backend,
        random_state=0,
    ).fit(X, Y[:, 0])
    exact = KernelRidge("laplace", bandwidth=1.0, reg=2.0, backend="numpy")
    exact.fit(X, Y[:, 0] - Y[:, 0].mean())
    expected = exact.predict(X) + Y[:, 0].mean()
    assert_allclose(model.predict(X), expected, atol=1e-3)
    assert model.batch_size_ <= len(X)


def test_one_row(backend):
    model = EigenProRegressor(reg=1.0, fit_intercept=False, backend=backend)
    model.fit([[1.0, 2.0]], [3.0])
    assert model.predict([[1.0, 2.0]]) == pytest.approx(1.5, rel=1e-5)
    assert_allclose(model.dual_coef_, [1.5], rtol=1e-5)


@numpy_first
def test_constant_targets_need_nothing_but_the_intercept(backend, rng):
    X = rng.normal(size=(120, 3))
    model = EigenProRegressor(reg=0.1, backend=backend).fit(X, np.full(120, 7.0))
    assert_allclose(model.predict(X), 7.0)
    assert not model.dual_coef_.any()
    assert len(model.history_) == 1


@numpy_first
def test_duplicated_rows_without_ridge_get_their_mean(backend, rng):
    X = np.repeat(rng.normal(size=(60, 3)), 2, axis=0)
    y = rng.normal(size=120)
    # Smaller batches, one of two labels at a time, would swing about the mean.
    model = EigenProRegressor(
        "laplace",
        bandwidth=1.0,
        epochs=300,
        batch_size=120,
        early_stopping=False,
        dtype="float64",
        backend=backend,
    ).fit(X, y)
    means = y.reshape(60, 2).mean(axis=1)
    assert_allclose(model.predict(X[::2]), means, atol=1e-3)


# The preconditioner ----------------------------------------------------------


@pytest.mark.parametrize(("backend", "dtype"), PRECISIONS)
@pytest.mark.parametrize("reg", [0.0, 0.5])
def test_it_bounds_the_preconditioned_matrix(data, backend, dtype, reg):
    X, _, weights = data
    problem, sub = _problem(
        backend, data, size=60, dtype=dtype, reg=reg, top_q=8, batch_size=16
    )
    found = problem.prepare()
    K, _ = _dense(LAPLACE, X, weights=weights)
    A = K + reg * np.eye(len(X))
    S, V = np.linalg.eigh(K[np.ix_(sub, sub)] / 60)
    S, V = S[::-1] + reg / 60, V[:, ::-1]
    # psi_i have norm 1 in the space of the kernel A.
    psi = A[:, sub] @ V[:, :8] / np.sqrt(60 * S[:8])
    damped = 1 - (S[8] / S[:8]) ** 0.95
    after = A - (psi * damped) @ psi.T
    rtol = 1e-9 if dtype == "float64" else 1e-3
    assert found.largest_diagonal == pytest.approx(np.diag(after).max(), rel=rtol)
    values = np.linalg.eigvalsh(after) / len(X)
    assert values.min() > -1e-12
    # Damped to S_q for the subsample, and near it for all rows.
    assert values.max() < 2 * found.largest_eigenvalue
    assert np.linalg.eigvalsh(A).max() / len(X) > 5 * values.max()
    assert found.step == pytest.approx(
        1 / found.largest_diagonal
        if found.batch_size < found.critical_batch
        else 1.98 / (found.largest_diagonal + 15 * found.largest_eigenvalue)
    )


def test_the_fewest_directions_that_make_batches_large():
    S = np.arange(1, 2001) ** -0.3
    chosen = spectral_filter(S, 2000, 50_000, 0.0, None, 200, 1e-7)
    ratio = (S[chosen.top_q] / S[: chosen.top_q]) ** 0.95
    diagonal = np.sum(S[: chosen.top_q] * ratio) + np.sum(S[chosen.top_q :])
    assert diagonal / chosen.largest_eigenvalue + 1 >= 1024
    fewer = spectral_filter(S, 2000, 50_000, 0.0, chosen.top_q - 1, 200, 1e-7)
    assert fewer.largest_eigenvalue > chosen.largest_eigenvalue
    assert 1 < chosen.top_q < 200
    assert_allclose(
        chosen.weights[: chosen.top_q] * S[: chosen.top_q], 1 - ratio, atol=1e-12
    )
    assert not chosen.weights[chosen.top_q :].any()


def test_directions_of_round_off_are_left_alone():
    S = np.array([1.0, 0.5, 0.25, 1e-9, 0.0, 0.0])
    chosen = spectral_filter(S, 6, 6, 0.0, 5, 5, 1e-7)
    assert chosen.top_q == 2
    assert spectral_filter(np.zeros(3), 3, 3, 0.0, 2, 2, 1e-7).top_q == 0


def test_batches_and_steps():
    m, step, critical = batch_and_step(0.5, 1e-3, 10_000, None, 64)
    assert (m, step, critical) == (192, 2.0, 501.0)
    m, step, _ = batch_and_step(0.5, 1e-3, 10_000, 800)
    assert (m, step) == (800, pytest.approx(1.98 / (0.5 + 799e-3)))
    assert batch_and_step(0.5, 1e-3, 100, 800)[0] == 100
    assert batch_and_step(0.5, 1.0, 100, None, 8)[0] == 8
    assert batch_and_step(0.0, 0.0, 10, None)[1] == 0.0
    assert [largest_rank(s, None) for s in (1, 60, 2000)] == [1, 6, 200]


def test_blocks_hold_every_row_once_and_batches_end_where_they_should():
    blocks, ends = split_batches(np.arange(10)[::-1], 4, 3, 8, 99)
    assert_array_equal(blocks[0], [9, 8, 7])
    assert_array_equal(blocks[1], [6, 99, 99])
    assert sorted(blocks[blocks < 99]) == list(range(10))
    assert_array_equal(np.flatnonzero(ends[:5]), [1, 3, 4])


def test_a_new_reg_bandwidth_metric_or_fold_compiles_nothing(data):
    from mlmethods_jax.testing import compile_guard

    X, Y, weights = data
    problem, _ = _problem("jax", data, dtype="float32", reg=0.1)
    with compile_guard() as first:
        problem.prepare(np.eye(3))
        problem.epoch(np.arange(120))
        problem.predict(X[:7])
    assert first.count > 0
    other = (X[:115], Y[:115], weights[:115])
    with compile_guard(max_compiles=0):
        problem.prepare(np.diag([1.0, 0.1, 0.0]), bandwidth=5.0, reg=3.0)
        problem.epoch(np.arange(120)[::-1])
        problem, _ = _problem("jax", other, size=58, dtype="float32", reg=0.7)
        problem.prepare(0.5 * np.eye(3))
        problem.epoch(np.arange(115))
        problem.predict(X[:6])


# The passes ------------------------------------------------------------------


class _Fixed:
    """A problem whose residuals are given."""

    n, start_loss, state = 3, 1.0, None

    def __init__(self, losses):
        self.losses, self.damping, self.resets = losses, [], 0

    def epoch(self, order, *, damping=1.0):
        self.damping.append(damping)
        return self.losses(damping)

    def reset(self):
        self.resets += 1


def test_a_growing_residual_halves_the_step():
    problem = _Fixed(lambda damping: 0.1 if damping < 0.3 else np.nan)
    found = run_epochs(problem, epochs=3, rng=np.random.default_rng(0))
    assert problem.damping == [1.0, 0.5, 0.25, 0.25, 0.25]
    assert problem.resets == 2
    assert [entry["damping"] for entry in found.history] == [0.25] * 3


def test_too_large_steps_are_found_on_real_passes(data, backend):
    problem, _ = _problem(backend, data, reg=0.5)
    problem.prepare()
    problem._step *= 12
    found = run_epochs(problem, epochs=60, rng=np.random.default_rng(0), tol=1e-4)
    assert found.history[-1]["damping"] < 1
    assert found.history[-1]["residual"] <= 1e-4
    problem.prepare()
    problem._step *= 1e4
    with pytest.raises(DivergenceError, match="the step halved 5 times; raise"):
        run_epochs(problem, epochs=60, rng=np.random.default_rng(0))


@numpy_first
def test_every_pass_is_done_unless_the_tolerance_is_met(data, backend):
    X, Y, _ = data
    model = EigenProRegressor(reg=1.0, epochs=3, tol=0.0, backend=backend).fit(X, Y)
    assert [entry["epoch"] for entry in model.history_] == [1, 2, 3]
    residuals = [entry["residual"] for entry in model.history_]
    assert residuals[2] < residuals[0] < 1.5
    model.set_params(epochs=500, tol=0.5 * residuals[2]).fit(X, Y)
    assert 3 < len(model.history_) < 500
    assert model.history_[-1]["residual"] <= 0.5 * residuals[2]


def test_the_best_pass_on_validation_rows_is_kept(rng, backend):
    X, X_val = rng.normal(size=(120, 3)), rng.normal(size=(40, 3))
    y, y_val = X[:, 0] + rng.normal(size=120), X_val[:, 0] + rng.normal(size=40)
    model = EigenProRegressor(
        "laplace",
        bandwidth=5.0,
        epochs=40,
        early_stop_multiplier=1.02,
        backend=backend,
        random_state=0,
    ).fit(X, y, X_val=X_val, y_val=y_val)
    losses = [entry["validation_loss"] for entry in model.history_]
    assert model.n_iter_ == np.argmin(losses) + 1
    assert model.n_iter_ < len(losses) < 40
    assert losses[-1] > 1.02 * min(losses)
    loss = np.mean((model.predict(X_val) - y_val) ** 2)
    assert loss == pytest.approx(min(losses), rel=1e-4)
    assert len(model.X_fit_) == 120
    patient = model.set_params(early_stopping=False)
    patient.fit(X, y, X_val=X_val, y_val=y_val)
    assert len(patient.history_) == 40
    assert patient.n_iter_ < 40


def test_rows_are_held_out_where_nothing_else_stops_it(rng):
    X, y = rng.normal(size=(60, 2)), rng.normal(size=60)
    model = EigenProRegressor(epochs=2, backend="numpy", random_state=0)
    assert len(model.fit(X, y).X_fit_) == 54
    assert len(model.set_params(reg=0.1).fit(X, y).X_fit_) == 60
    assert np.isnan(model.history_[0]["validation_loss"])
    assert len(model.set_params(early_stopping=True).fit(X, y).X_fit_) == 54


def test_an_interrupt_leaves_the_passes_so_far(rng):
    X, y = rng.normal(size=(30, 2)), rng.normal(size=30)

    def interrupt(event):
        if event.kind == "step" and event.step == 2:
            raise KeyboardInterrupt

    model = EigenProRegressor(reg=0.1, backend="numpy", callbacks=[interrupt])
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert model.n_iter_ == 2
    assert np.isfinite(model.predict(X)).all()


@numpy_first
def test_a_seed_fixes_everything(data, backend):
    X, Y, _ = data
    model = EigenProRegressor(reg=0.1, n_subsample=60, backend=backend)
    first = model.set_params(random_state=4).fit(X, Y).dual_coef_
    assert_array_equal(model.fit(X, Y).dual_coef_, first)
    assert np.any(model.set_params(random_state=5).fit(X, Y).dual_coef_ != first)


# The estimator ---------------------------------------------------------------


@numpy_first
def test_it_agrees_with_kernel_ridge_on_real_data(backend):
    X, y = load_diabetes(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    model = EigenProRegressor(reg=1.0, epochs=60, backend=backend, random_state=0)
    model.fit(X[:400], y[:400])
    exact = KernelRidge(reg=1.0, backend="numpy").fit(X[:400], y[:400] - y[:400].mean())
    expected = exact.predict(X[400:]) + y[:400].mean()
    assert_allclose(model.predict(X[400:]), expected, atol=1e-3 * y.std())


def test_memory_is_refused_before_anything_is_allocated(monkeypatch):
    X, y = np.zeros((5000, 4)), np.zeros(5000)
    X[:, 0] = np.arange(5000)

    def forbidden(*_):
        raise AssertionError("the engine was reached")

    monkeypatch.setattr("mlmethods.kernels.eigenpro.eigenpro_engine", forbidden)
    model = EigenProRegressor(reg=1.0, memory_limit=10**7, backend="numpy")
    with pytest.raises(MemoryLimitError, match=r"n=5000 rows .* smaller n_subsample"):
        model.fit(X, y)


def test_memory_grows_with_the_rows_and_not_their_square():
    small, large = (
        eigenpro_bytes(n, 20, 1, 2000, "float32") for n in (10**6, 2 * 10**6)
    )
    assert large < 2 * small
    assert eigenpro_bytes(10**5, 20, 1, 2000, "float32") < 4 * 10**5 * 10**5 / 50
    assert choose_subsample(400_000, 10, 1, "float32", 2**40) == 12_000
    assert choose_subsample(400_000, 10, 1, "float32", 2**30) <= 6000


@pytest.mark.parametrize("targets", [1, 2])
def test_save_and_load(tmp_path, data, targets, backend):
    X, Y, _ = data
    model = EigenProRegressor(LaplaceKernel(bandwidth=2.0), reg=0.5, backend=backend)
    model.fit(X, Y[:, 0] if targets == 1 else Y)
    model.save(tmp_path / "model")
    again = mlmethods.load(tmp_path / "model")
    assert type(again) is mlmethods.rfm.EigenProRegressor
    assert_array_equal(again.predict(X), model.predict(X))
    assert again.history_ == model.history_
    with pytest.raises(CheckpointError, match="EigenProRegressor"):
        KernelRidge.load(tmp_path / "model")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"reg": -1.0}, "reg must be a finite number >= 0"),
        ({"epochs": 0}, "epochs must be an integer >= 1, got 0"),
        ({"n_subsample": "half"}, "n_subsample must be one of 'auto', got 'half'"),
        ({"top_q": 0}, "top_q must be an integer >= 1"),
        ({"batch_size": 2.5}, "batch_size must be an integer >= 1, got 2.5"),
        ({"tol": -1.0}, "tol must be"),
        ({"early_stopping": "yes"}, "early_stopping must be True, False or 'auto'"),
        ({"validation_fraction": 1.0}, "validation_fraction must be .* < 1"),
        ({"early_stop_multiplier": 0.5}, "early_stop_multiplier must be"),
        ({"dtype": "float16"}, "dtype must be one of"),
        ({"bandwidth": -1.0}, "bandwidth must be"),
        ({"memory_limit": "4GB"}, "memory_limit must be"),
    ],
)
def test_bad_parameters(params, message):
    with pytest.raises(InvalidInputError, match=message):
        EigenProRegressor(backend="numpy", **params).fit(np.eye(3), np.arange(3.0))


def test_a_single_row_cannot_be_held_out():
    model = EigenProRegressor(early_stopping=True, backend="numpy")
    with pytest.raises(InvalidInputError, match=r"needs at least 2 samples .* got 1"):
        model.fit([[1.0]], [2.0])


@pytest.mark.parametrize(
    ("validation", "message"),
    [
        ({"X_val": np.eye(3)}, "given together, got no y_val"),
        ({"X_val": np.eye(2), "y_val": np.ones(2)}, "X_val must have 3 features"),
        ({"X_val": np.eye(3), "y_val": np.ones(2)}, r"y_val must have shape \(3, 1\)"),
    ],
)
def test_bad_validation_rows(validation, message):
    model = EigenProRegressor(backend="numpy")
    with pytest.raises(InvalidInputError, match=message):
        model.fit(np.eye(3), np.arange(3.0), **validation)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_fifty_thousand_rows_take_less_than_three_gigabytes():
    # Synthetic rows: only sizes matter. Their kernel matrix would take 10 GB.
    script = """
    import resource
    import numpy as np
    from mlmethods.kernels import EigenProRegressor
    from mlmethods.kernels.contract import eigenpro_bytes
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50_000, 10))
    y = np.sin(X[:, 0]) + X[:, 1] * X[:, 2]
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    model = EigenProRegressor(reg=1e-2, epochs=2, backend="jax", random_state=0)
    model.fit(X, y)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    error = model.predict(X[:2000]) - y[:2000]
    print(start, peak, eigenpro_bytes(50_000, 10, 1, 2000, "float32"))
    print(np.mean(error**2) / np.var(y))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        check=True,
    )
    sizes, error = done.stdout.splitlines()
    start, peak, predicted = map(int, sizes.split())
    assert peak < 3 * 10**9
    # jax and its compiler themselves take some hundred megabytes.
    assert peak - start < predicted + 8 * 10**8
    assert float(error) < 0.1
