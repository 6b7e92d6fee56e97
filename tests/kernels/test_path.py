"""ridge_path against refits, dense algebra, scikit-learn, and NumPy against JAX."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn import kernel_ridge as peer
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, Matern, WhiteKernel

from mlmethods.errors import (
    EffectiveRidgeWarning,
    InvalidInputError,
    MemoryLimitError,
    NotPositiveDefiniteError,
    OperationNotSupportedError,
)
from mlmethods.kernels import (
    GaussianKernel,
    InnerProductKernel,
    LaplaceKernel,
    QuadraticKernel,
    kernel_diagnostics,
    ridge_path,
)
from mlmethods.kernels._spectral import PathArrays, path_arrays
from mlmethods_jax.solvers import path as device
from mlmethods_jax.testing import compile_guard

REGS = np.array([1e-3, 0.1, 3.0])
KERNEL = LaplaceKernel(bandwidth=2.0)


@pytest.fixture(params=["numpy", "jax"])
def backend(request):
    return request.param


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(24, 3)), rng.normal(size=(24, 2))


def weights_of(n, zero=True):
    w = np.random.default_rng(1).uniform(0.3, 3, n)
    if zero:
        w[[2, 5]] = 0
    return w


def dense(K, Y, reg, w):
    """Return s, the inverse of the weighted matrix, and the coefficients."""
    s = np.sqrt(w)
    M = np.linalg.inv(s[:, None] * K * s + reg * np.eye(len(K)))
    return s, M, s[:, None] * (M @ (s[:, None] * Y))


@pytest.mark.parametrize("weighted", [False, True])
def test_everything_equals_its_definition(data, backend, weighted):
    X, Y = data
    w = weights_of(24, zero=False) if weighted else np.ones(24)
    path = ridge_path(KERNEL, X, Y, REGS, sample_weight=w, backend=backend)
    K = KERNEL(X, backend="numpy")
    for k, reg in enumerate(REGS):
        s, M, alpha = dense(K, Y, reg, w)
        error = Y - K @ alpha
        assert_allclose(path.dual_coef[k], alpha, rtol=1e-9, atol=1e-11)
        assert_allclose(path.residuals[k], error, rtol=1e-8, atol=1e-11)
        df = np.trace((s[:, None] * K * s) @ M)
        assert_allclose(path.df[k], df)
        mean = np.average((error**2).mean(axis=1), weights=w)
        assert_allclose(path.gcv[k], mean / (1 - df / 24) ** 2)
        C = K + reg * np.diag(1 / w)
        mll = [-0.5 * (y @ np.linalg.solve(C, y) + np.linalg.slogdet(2 * np.pi * C)[1]) for y in Y.T]  # fmt: skip
        assert_allclose(path.mll[k], sum(mll))
        assert_allclose(path.kappa[k], 1 / np.trace(M))
        assert_allclose(path.e0[k], np.mean(np.diag(M @ M) / np.diag(M) ** 2))
        A = s[:, None] * K * s + reg * np.eye(24)
        assert_allclose(path.cond[k], np.linalg.cond(A), rtol=1e-8)
    assert path.rank == 24
    assert path.backend == backend
    assert path.floor == pytest.approx(path.eigenvalues[0] * 2.0**-52)


@pytest.mark.parametrize("weighted", [False, True])
def test_leave_one_out_equals_refits(data, backend, weighted):
    X, Y = data
    w = weights_of(24) if weighted else None
    path = ridge_path(KERNEL, X, Y, REGS, sample_weight=w, backend=backend)
    expected = np.empty_like(path.loo)
    for i in range(24):
        rest = np.arange(24) != i
        part = ridge_path(
            KERNEL,
            X[rest],
            Y[rest],
            REGS,
            sample_weight=None if w is None else w[rest],
            backend="numpy",
        )
        k = KERNEL(X[[i]], X[rest], backend="numpy")
        expected[:, i] = Y[i] - (k @ part.dual_coef)[:, 0]
    assert_allclose(path.loo, expected, rtol=1e-8, atol=1e-10)
    mse = np.average((expected**2).mean(axis=2), axis=1, weights=w)
    assert_allclose(path.loo_mse, mse)


def test_rows_of_weight_zero_are_as_if_absent(data, backend):
    X, Y = data
    w = weights_of(24)
    path = ridge_path(KERNEL, X, Y, REGS, sample_weight=w, backend=backend)
    kept = w > 0
    part = ridge_path(KERNEL, X[kept], Y[kept], REGS, sample_weight=w[kept], backend=backend)  # fmt: skip
    for name in ("gcv", "df", "mll", "e0", "kappa", "cond"):
        assert_allclose(getattr(path, name), getattr(part, name), rtol=1e-9)
    assert_allclose(path.dual_coef[:, kept], part.dual_coef)
    assert not path.dual_coef[:, ~kept].any()
    passive = Y[~kept] - KERNEL(X[~kept], X[kept], backend="numpy") @ part.dual_coef
    assert_allclose(path.residuals[:, ~kept], passive, rtol=1e-8)
    assert_allclose(path.loo[:, ~kept], passive, rtol=1e-8)


def test_equal_to_scikit_learn(data, backend):
    X, Y = data
    path = ridge_path("gaussian", X, Y, REGS, bandwidth=1.5, backend=backend)
    for alpha, reg in zip(path.dual_coef, REGS, strict=True):
        model = peer.KernelRidge(kernel="rbf", gamma=1 / 4.5, alpha=reg).fit(X, Y)
        assert_allclose(alpha, model.dual_coef_, rtol=1e-9)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(GaussianKernel(bandwidth=1.5), RBF(1.5)), (KERNEL, Matern(2.0, nu=0.5))],
)
def test_likelihood_equals_that_of_a_gaussian_process(data, ours, theirs):
    X, Y = data
    path = ridge_path(ours, X, Y[:, 0], REGS, backend="numpy")
    expected = [
        GaussianProcessRegressor(theirs + WhiteKernel(reg), alpha=0, optimizer=None)
        .fit(X, Y[:, 0])
        .log_marginal_likelihood_value_
        for reg in REGS
    ]
    assert_allclose(path.mll, expected, rtol=1e-9)


def test_cost_is_the_leave_one_out_error_on_noise(data):
    X, _ = data
    noise = np.random.default_rng(3).normal(size=(24, 20000))
    path = ridge_path(KERNEL, X, noise, [0.0, 0.5], backend="numpy")
    assert_allclose(path.loo_mse, path.e0, rtol=0.01)


def test_numpy_equals_jax(data):
    X, Y = data
    ours, theirs = (
        ridge_path(KERNEL, X, Y, [0.0, *REGS], backend=name)
        for name in ("numpy", "jax")
    )
    assert ours.cond[0] < 1e8
    for name in ("dual_coef", "loo", "gcv", "df", "mll", "e0", "kappa"):
        a, b = getattr(ours, name), getattr(theirs, name)
        assert np.max(np.abs(a - b)) <= 1e-9 * np.max(np.abs(a)), name


# Singular matrices


@pytest.fixture
def duplicated(data):
    X, Y = data
    return np.concatenate([X, X[:4]]), np.concatenate(
        [Y, Y[:4] + np.array([1.0, -2.0])]
    )


@pytest.mark.parametrize("weighted", [False, True])
def test_reg_zero_on_duplicates_is_a_limit(duplicated, backend, weighted):
    X, Y = duplicated
    w = weights_of(28) if weighted else None
    with pytest.warns(EffectiveRidgeWarning, match="reg=0 is zero to this precision"):
        path = ridge_path(KERNEL, X, Y, [0.0], sample_weight=w, backend=backend)
    limit = ridge_path(KERNEL, X, Y, [1e-9], sample_weight=w, backend=backend)
    for name in ("residuals", "loo", "e0", "gcv", "df"):
        a, b = getattr(path, name), getattr(limit, name)
        assert_allclose(a, b, rtol=1e-5, atol=1e-5 * np.abs(b).max())
    assert path.rank == (23 if weighted else 24)  # without rows 2 and 5
    assert np.isnan(path.mll).all()
    assert not path.resolved.any()
    if not weighted:
        # The other copy is all that is left where a row is left out.
        assert_allclose(path.loo[0, 24:], Y[24:] - Y[:4], rtol=1e-6)
        assert_allclose(path.loo[0, :4], Y[:4] - Y[24:], rtol=1e-6)


def test_fewer_directions_than_rows(data):
    X, Y = data
    with pytest.warns(EffectiveRidgeWarning, match="18 of 24 directions were dropped"):
        path = ridge_path(QuadraticKernel(), X, Y, [0.0], backend="numpy")
    i, j = np.triu_indices(3)
    F = X[:, i] * X[:, j] * np.where(i == j, 1, np.sqrt(2))
    H = F @ np.linalg.pinv(F)
    assert path.rank == 6
    assert_allclose(path.df, 6)
    assert_allclose(path.residuals[0], Y - H @ Y, atol=1e-9)
    # Least squares: the classical formula with the leverages.
    assert_allclose(path.loo[0], (Y - H @ Y) / (1 - np.diag(H))[:, None], rtol=1e-6)
    assert_allclose(path.gcv, np.mean((Y - H @ Y) ** 2) / (1 - 6 / 24) ** 2)


def test_a_kernel_of_zeros(backend):
    path_of_zero = [[0.0, 0.0], [0.0, 0.0]], [1.0, 2.0], [0.0, 1.0]
    with pytest.warns(EffectiveRidgeWarning, match="2 of 2"):
        path = ridge_path(QuadraticKernel(), *path_of_zero, backend=backend)
    assert_allclose(path.dual_coef, [[0, 0], [1, 2]])
    assert_allclose(path.loo, [[1, 2], [1, 2]])


def _minus(t):
    return -t


def _minus_slope(t):
    return -1 + 0 * t


def test_a_kernel_that_is_not_positive(data):
    kernel = InnerProductKernel(_minus, _minus_slope)
    with pytest.raises(NotPositiveDefiniteError, match="not positive definite"):
        ridge_path(kernel, np.eye(3), np.ones(3), [0.5], backend="numpy")
    path = ridge_path(kernel, np.eye(3), np.ones(3), [2.0], backend="numpy")
    assert_allclose(path.dual_coef, 1.0)


# Edges, choices and refusals


def test_one_row(backend):
    path = ridge_path("laplace", [[1.0]], [3.0], [0.0, 1.0], backend=backend)
    assert_allclose(path.dual_coef, [[3.0], [1.5]])
    assert_allclose(path.loo, [[3.0], [3.0]])  # nothing is left to predict from
    assert_allclose(path.e0, 1.0)


def test_the_best_ridge_is_the_largest_of_equal_ones(data):
    X, Y = data
    path = ridge_path(KERNEL, X, np.zeros(24), [1.0, 5.0, 0.1], backend="numpy")
    assert path.best() == path.best("gcv") == 1
    path = ridge_path(KERNEL, X, Y, REGS, backend="numpy")
    assert path.best("loo") == np.argmin(path.loo_mse)
    assert path.best("mll") == np.argmax(path.mll)
    with pytest.raises(InvalidInputError, match="did you mean 'loo'"):
        path.best("looo")


def test_likelihood_that_is_nowhere_finite(duplicated):
    with pytest.warns(EffectiveRidgeWarning):
        path = ridge_path(KERNEL, *duplicated, [0.0], backend="numpy")
    with pytest.raises(InvalidInputError, match="by='mll' is finite for none"):
        path.best("mll")


def test_float32_is_near_and_says_what_it_cannot_resolve(data):
    X, Y = data
    single = ridge_path(KERNEL, X, Y, REGS, dtype="float32", backend="jax")
    double = ridge_path(KERNEL, X, Y, REGS, backend="jax")
    for name in ("dual_coef", "loo", "gcv", "df", "mll", "e0", "kappa"):
        a, b = getattr(single, name), getattr(double, name)
        assert a.dtype == np.float32
        assert_allclose(a, b, rtol=5e-3, atol=5e-4 * np.abs(b).max())
    assert single.floor > 1e8 * double.floor
    narrow = ridge_path("gaussian", X / 20, Y, [1e-5], bandwidth=1.0, dtype="float32", backend="jax")  # fmt: skip
    assert not narrow.resolved.any()
    with pytest.raises(OperationNotSupportedError, match="float64 only"):
        ridge_path(KERNEL, X, Y, REGS, dtype="float32", backend="numpy")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, int, bool])
def test_other_dtypes_are_converted(dtype):
    X = np.array([[0], [1], [3]]).astype(dtype)
    path = ridge_path("laplace", X, X[:, 0], [1.0], backend="numpy")
    assert path.dual_coef.dtype == np.float64
    assert path.dual_coef.shape == (1, 3)


GOOD = {"kernel": "laplace", "X": [[0.0], [1.0]], "y": [1.0, 2.0], "regs": [1.0]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"X": [[0.0], [np.nan]]}, r"X must be finite, got nan in row 1, column 0"),
        ({"X": [[np.inf], [np.nan]]}, r"got inf in row 0, column 0 and 1 more"),
        ({"X": [0.0, 1.0]}, r"X must have shape \(n, d\).*\(2,\)"),
        ({"X": np.zeros((0, 2)), "y": []}, r"X must have shape.*\(0, 2\)"),
        ({"X": sparse.eye(2)}, "X must be a dense array"),
        ({"X": [[1j], [0]]}, "X must be an array of real numbers, got dtype complex"),
        ({"X": [["a"], ["b"]]}, "X must be an array of real numbers"),
        ({"y": [1.0]}, r"y must have shape \(2,\) or \(2, c\).*got shape \(1,\)"),
        ({"y": [1.0, np.inf]}, "y must be finite, got inf in row 1"),
        ({"y": [1j, 0]}, "y must be an array of real numbers"),
        ({"regs": []}, "regs must be a sequence of at least one ridge"),
        ({"regs": 1.0}, r"regs must be a sequence.*got shape \(\)"),
        ({"regs": [1.0, -2.0]}, r"regs must be finite numbers >= 0, got regs\[1\]"),
        ({"regs": [np.inf]}, r"got regs\[0\]=.*inf"),
        ({"sample_weight": [1.0]}, r"sample_weight must have shape \(2,\)"),
        ({"sample_weight": [1.0, -1.0]}, "sample_weight must be >= 0"),
        ({"sample_weight": [0.0, 0.0]}, "at least one positive entry"),
        ({"sample_weight": [1.0, np.nan]}, "sample_weight must be finite, got nan"),
        ({"bandwidth": -1.0}, "bandwidth must be a finite number > 0"),
        ({"dtype": "float16"}, "dtype must be one of"),
        ({"kernel": "laplac"}, "did you mean 'laplace'"),
    ],
)
def test_bad_input(change, message):
    with pytest.raises(InvalidInputError, match=message):
        ridge_path(**{**GOOD, **change}, backend="numpy")


def test_memory_limit_refuses_before_allocating():
    X = np.zeros((300, 2))
    with pytest.raises(MemoryLimitError, match="ridge_path on n=300 rows with 1 ridge"):
        ridge_path("laplace", X, X[:, 0], [1.0], memory_limit=10**6, backend="numpy")


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.floats(1e-6, 1e3))
def test_laws(seed, n, reg):
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(n, 2)), rng.normal(size=n)
    order = rng.permutation(n)
    path = ridge_path(KERNEL, X, y, [reg, 2 * reg], backend="numpy")
    other = ridge_path(KERNEL, X[order], 3 * y[order], [reg], backend="numpy")
    assert_allclose(other.loo[0], 3 * path.loo[0, order], rtol=1e-6, atol=1e-9)
    assert_allclose(other.gcv[0], 9 * path.gcv[0], rtol=1e-6)
    # Conservation: df + reg / kappa = n; and overfitting never pays.
    assert_allclose(path.df + path.regs / path.kappa, n, rtol=1e-9)
    assert path.df[1] <= path.df[0]
    assert 1 - 1e-9 <= path.e0[1] <= path.e0[0] + 1e-9


# The pure functions of arrays in JAX


def matrix(n, seed=0):
    X = np.random.default_rng(seed).normal(size=(n, 3))
    return KERNEL(X, backend="numpy"), X


@pytest.mark.parametrize("weighted", [False, True])
def test_the_device_function_equals_lapack(data, weighted):
    _, Y = data
    K, _ = matrix(24)
    K[:, 3], K[3], K[3, 3] = K[:, 4], K[4], K[4, 4]  # singular: equal rows
    w = weights_of(24, zero=False) if weighted else None
    regs = np.array([0.0, *REGS])
    want = path_arrays(K.copy(), Y, regs, w)
    with jax.enable_x64(True):
        got = device.ridge_path(jnp.asarray(K), Y, regs, weights=w)
        assert got._fields == PathArrays._fields
        for name, a, b in zip(got._fields, got, want, strict=True):
            atol = 1e-9 * np.nanmax(np.abs(b))
            # That of the singular ridge is of the size of the threshold itself.
            rtol = 1e-6 if name in ("alpha", "residuals", "loo") else 1e-9
            assert_allclose(a, b, rtol=rtol, atol=atol, err_msg=name)
    assert int(got.kept[0]) == 23


def test_jit_and_vmap_of_the_device_function(data):
    _, Y = data
    Ks = np.stack([matrix(24, seed)[0] for seed in (0, 1)])
    with jax.enable_x64(True):
        many = jax.jit(jax.vmap(lambda K: device.ridge_path(K, Y, REGS)))(Ks)
    for k in range(2):
        one = path_arrays(Ks[k].copy(), Y, REGS)
        for a, b in zip(many, one, strict=True):
            assert_allclose(a[k], b, rtol=1e-8, atol=1e-10)


@pytest.mark.slow
def test_gradient_by_the_ridge(data):
    _, Y = data
    K, _ = matrix(24)

    def error(reg):
        return np.mean(path_arrays(K.copy(), Y, np.array([reg])).loo ** 2)

    with jax.enable_x64(True):

        def loss(reg):
            return jnp.mean(device.ridge_path(jnp.asarray(K), Y, reg[None]).loo ** 2)

        slope = jax.jit(jax.grad(loss))(jnp.asarray(0.3))
    assert_allclose(slope, (error(0.30001) - error(0.29999)) / 2e-5, rtol=1e-6)


@pytest.mark.slow
def test_gradient_by_the_bandwidth(data):
    _, Y = data
    _, X = matrix(12)
    distances = np.linalg.norm(X[:, None] - X, axis=2)
    with jax.enable_x64(True):
        r, y = jnp.asarray(distances), jnp.asarray(Y[:12])

        def loss(bandwidth):
            path = device.ridge_path(jnp.exp(-r / bandwidth), y, jnp.asarray([0.1]))
            return jnp.mean(path.loo**2)

        check_grads(loss, (jnp.asarray(1.5),), 1, modes=["rev"])


def test_new_numbers_compile_nothing(data):
    _, Y = data
    K, _ = matrix(24)
    K, Y = jnp.asarray(K, jnp.float32), jnp.asarray(Y, jnp.float32)
    device.ridge_path(K, Y, REGS)
    with compile_guard(max_compiles=0):
        device.ridge_path(K, Y, 2 * REGS)
        got = device.ridge_path(K, Y, [0.3, 0.4, 0.5])
    assert got.alpha.dtype == jnp.float32


def test_a_second_path_compiles_nothing(data):
    X, Y = data
    ridge_path(KERNEL, X, Y, REGS, backend="jax")
    with compile_guard(max_compiles=0):
        other = LaplaceKernel(bandwidth=3.0)
        regs = np.geomspace(1e-3, 1, 5)
        path = ridge_path(other, X + 1, Y, regs, backend="jax")
    expected = ridge_path(other, X + 1, Y, regs, backend="numpy")
    assert_allclose(path.loo, expected.loo, rtol=1e-6, atol=1e-9)


def test_on_an_accelerator_the_device_computes(data, monkeypatch):
    X, Y = data
    w = weights_of(24)
    on_host = ridge_path(KERNEL, X, Y, REGS, sample_weight=w, backend="jax")
    diagnosis = kernel_diagnostics(KERNEL, X, backend="jax")
    monkeypatch.setattr(device, "_on_cpu", lambda K: False)
    monkeypatch.delattr("mlmethods.kernels.path.path_arrays")
    monkeypatch.delattr("mlmethods.kernels.diagnostics.inverse_diagonals")
    path = ridge_path(KERNEL, X, Y, REGS, sample_weight=w, backend="jax")
    for name in ("dual_coef", "residuals", "loo", "gcv", "df", "mll", "e0", "kappa"):
        a, b = getattr(path, name), getattr(on_host, name)
        assert a.dtype == np.float64
        assert_allclose(a, b, rtol=1e-8, atol=1e-10)
    found = kernel_diagnostics(KERNEL, X, backend="jax")
    assert_allclose(found.e0_rows, diagnosis.e0_rows, rtol=1e-9)
    # The shapes are those of before, so that nothing is compiled again.
    kernel = InnerProductKernel(_minus, _minus_slope)
    with pytest.raises(NotPositiveDefiniteError, match="not positive definite"):
        ridge_path(kernel, X, Y, REGS, sample_weight=w, backend="jax")
    assert not kernel_diagnostics(kernel, X, backend="jax").definite


@pytest.mark.parametrize("n", [1, 9])
def test_inverse_diagonals_of_the_device(n):
    K, _ = matrix(n)
    A = K + 0.1 * np.eye(n)
    M = np.linalg.inv(A)
    with jax.enable_x64(True):
        found = jax.jit(device.inverse_diagonals)(jnp.asarray(A))
        bad = device.inverse_diagonals(jnp.asarray(-A))
    assert_allclose(found.inverse, np.diag(M), rtol=1e-10)
    assert_allclose(found.square, np.diag(M @ M), rtol=1e-10)
    assert (
        0.5 * np.linalg.norm(M, 2) < float(found.norm) < 1.0001 * np.linalg.norm(M, 2)
    )
    assert np.isnan(bad.norm)
