"""Linear solves under transformations, their derivatives, statuses and fallbacks."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mlmethods_numpy.ops.kernels as oracle
from mlmethods.interfaces import KernelSpec, SolveStatus
from mlmethods_jax.ops import _cg, _cholesky
from mlmethods_jax.ops.linalg import eigh, ridge_cg, ridge_solve
from mlmethods_jax.testing import compile_guard

N = 6
KERNEL = KernelSpec(name="gaussian", bandwidth=1.2)
LPQ = KernelSpec(name="lpq", bandwidth=1.5, params={"p": 1.5, "q": 1.0})
REGS = {"one": 0.3, "three": np.array([0.1, 0.5, 2.0]), "twelve": np.geomspace(0.1, 5, 12)}  # fmt: skip
WEIGHTS = np.array([0.5, 1.0, 0.0, 2.0, 1.0, 0.7])
PRECISIONS = ("float64", "float32", "auto")
KINDS = {
    "float64": ("float64", "one"),
    "float64, three regs": ("float64", "three"),
    "float64, twelve regs": ("float64", "twelve"),
    "float32": ("float32", "one"),
    "auto": ("auto", "one"),
    "auto, three regs": ("auto", "three"),
}


def cast(args, dtype):
    return jax.tree.map(lambda x: jnp.asarray(x, dtype), args)


def contract(out):
    """Return a number to which every entry of a result contributes its own part."""
    total = 0.0
    for x in jax.tree.leaves(out):
        total += (x * np.cos(np.arange(x.size)).reshape(x.shape).astype(x.dtype)).sum()
    return total


def points(seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(N, 3)), rng.normal(size=(N, 2))


def check_close(got, want, rtol=1e-4):
    got, want = jax.tree.leaves(got), jax.tree.leaves(want)
    assert len(got) == len(want)
    for a, b in zip(got, want, strict=True):
        scale = max(float(np.max(np.abs(b), initial=0.0)), 1e-3)
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * scale)


def alpha_of(K, Y, reg, weights):
    """Solve the system in its unsymmetric form, which any weight allows."""
    eye = np.eye(len(K))
    solved = [
        np.linalg.solve(weights[:, None] * K + r * eye, weights[:, None] * Y)
        for r in np.atleast_1d(reg)
    ]
    return np.stack(solved) if np.ndim(reg) else solved[0]


def eigen_of(K):
    w, V = np.linalg.eigh(K)
    w, V = w[::-1], V[:, ::-1]
    largest = V[np.abs(V).argmax(axis=0), np.arange(len(V))]
    return w, V * np.sign(largest)


def make(op):
    """Return an operation on one pytree, its truth in NumPy, and the pytree."""
    X, Y = points()
    K = oracle.pairwise(KERNEL, X)
    if op == "eigh":
        return (lambda a: eigh(*a)), (lambda a: eigen_of(*a)), (K,)
    if op in KINDS:
        precision, regs = KINDS[op]

        def solve(args):
            K, Y, reg, weights = args
            given = {"weights": weights, "solve_dtype": precision}
            return ridge_solve(K, Y, reg, **given).alpha

        return solve, (lambda a: alpha_of(*a)), (K, Y, REGS[regs], WEIGHTS)
    kernel, regs, M = {
        "cg": (KERNEL, "one", np.array([0.5, 1.0, 2.0])),
        "cg, three regs": (KERNEL, "three", None),
        "cg, lpq": (LPQ, "one", np.eye(3) + 0.2),
    }[op]

    def iterate(args):
        kernel, X, Y, reg, M, weights = args
        options = {"weights": weights, "tol": 1e-13, "rank": 3, "block_size": 4}
        return ridge_cg(kernel, X, Y, reg, M, **options).alpha

    def truth(args):
        kernel, X, Y, reg, M, weights = args
        return alpha_of(oracle.pairwise(kernel, X, None, M), Y, reg, weights)

    return iterate, truth, (kernel, X, Y, REGS[regs], M, WEIGHTS)


EVERY = [*KINDS, "cg", "cg, three regs", "cg, lpq", "eigh"]


# ---------------------------------------------------------------- transformations


@pytest.mark.slow
@pytest.mark.parametrize(
    "op", ["float64", "float64, three regs", "float32", "auto", "cg", "eigh"]
)
def test_transformations_equal_plain_calls(op):
    function, _, args = make(op)
    with jax.enable_x64(False):
        args = cast(args, "float32")
        other = jax.tree.map(lambda x: 0.9 * x, args)
        both = jax.tree.map(lambda a, b: jnp.stack([a, b]), args, other)

        def loss(args):
            return contract(function(args))

        def scanned(args):
            def step(total, factor):
                scaled = jax.tree.map(lambda x: factor * x, args)
                return total + loss(scaled), None

            factors = jnp.array([1.0, 0.9], "float32")
            return jax.lax.scan(step, jnp.zeros((), "float32"), factors)[0]

        def looped(args):
            return loss(args) + loss(jax.tree.map(lambda x: 0.9 * x, args))

        def stacked(f):
            return jax.tree.map(lambda a, b: np.stack([a, b]), f(args), f(other))

        slope = jax.grad(loss)
        check_close(jax.jit(function)(args), function(args))
        check_close(jax.grad(jax.jit(loss))(args), slope(args))
        check_close(jax.grad(scanned)(args), jax.grad(looped)(args))
        check_close(jax.vmap(function)(both), stacked(function))
        check_close(jax.jit(jax.vmap(function))(both), stacked(function))
        check_close(jax.vmap(slope)(both), stacked(slope), 1e-3)


@pytest.mark.slow
def test_many_regs_under_jit_and_vmap():
    function, _, args = make("float64, twelve regs")
    with jax.enable_x64(False):
        args = cast(args, "float32")
        both = jax.tree.map(lambda x: jnp.stack([x, 0.9 * x]), args)
        alone = [function(jax.tree.map(lambda x, i=i: x[i], both)) for i in (0, 1)]
        check_close(jax.jit(jax.vmap(function))(both), np.stack(alone))


# ---------------------------------------------------------------- derivatives


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("op", EVERY)
def test_derivatives_equal_differences(op, dtype):
    function, truth, args = make(op)
    leaves, tree = jax.tree.flatten(args)
    rng = np.random.default_rng(1)
    want, directions = [], []
    for i, x in enumerate(leaves):
        v, step = rng.normal(size=np.shape(x)), 1e-5
        if np.ndim(x) == 2 and len(x) == x.shape[1]:
            v = (v + v.T) / 2
        pair = (
            contract(truth(tree.unflatten([*leaves[:i], x + h * v, *leaves[i + 1 :]])))
            for h in (step, -step)
        )
        want.append((next(pair) - next(pair)) / (2 * step))
        directions.append(v)
    with jax.enable_x64(dtype == "float64"):
        slope = jax.jit(jax.grad(lambda args: contract(function(args))))
        gradient = jax.tree.leaves(slope(cast(args, dtype)))
        assert {str(g.dtype) for g in gradient} == {dtype}
    pairs = zip(gradient, directions, strict=True)
    got = [np.sum(np.asarray(g, np.float64) * v) for g, v in pairs]
    rtol = 1e-6 if dtype == "float64" else 5e-3
    atol = rtol * np.abs(want).max()
    np.testing.assert_allclose(got, want, rtol=rtol, atol=atol)


@pytest.mark.slow
@pytest.mark.parametrize("op", [ridge_solve, ridge_cg])
def test_derivative_by_weights_keeps_its_digits_at_a_small_reg(op):
    X, Y = points()
    first = (oracle.pairwise(KERNEL, X),) if op is ridge_solve else (KERNEL, X)

    def slope(dtype):
        with jax.enable_x64(dtype == "float64"):
            *given, y = cast((*first, Y), "float32")
            *given, y, w = cast((*given, y, np.ones(N)), dtype)

            def loss(w):
                return contract(op(*given, y, 1e-6, weights=w).alpha)

            return np.asarray(jax.jit(jax.grad(loss))(w))

    check_close(slope("float32"), slope("float64"), 1e-3)


@pytest.mark.slow
def test_derivatives_are_finite_for_duplicated_samples():
    X, Y = points()
    X[3:] = X[0]
    args = cast((KERNEL, X, Y, 0.1, np.ones(N)), "float32")

    def loss(args):
        kernel, X, Y, reg, weights = args
        return contract(ridge_cg(kernel, X, Y, reg, weights=weights).alpha)

    gradient = jax.jit(jax.grad(loss))(args)
    assert all(bool(jnp.all(jnp.isfinite(g))) for g in jax.tree.leaves(gradient))


@pytest.mark.slow
def test_eigenvectors_of_a_repeated_eigenvalue_have_finite_derivatives():
    slope = jax.jit(jax.grad(lambda K: contract(eigh(K))))
    assert bool(jnp.all(jnp.isfinite(slope(jnp.eye(3, dtype="float32")))))


# ---------------------------------------------------------------- statuses

SIZES = {"cholesky": 1, "eigh": 12}
Y4 = np.array([[1.0, -1.0], [2.0, 0.0], [0.0, 1.0], [1.0, 3.0]], np.float32)
SOUND = np.eye(4, dtype=np.float32) + 0.5
SINGULAR = np.ones((4, 4), np.float32)
INDEFINITE = np.diag([1.0, 2.0, -1.0, 1.0]).astype(np.float32)
# Condition 1.7e7, and every entry is exact in float32.
HARD = (np.ones((4, 4)) + 2.0**-22 * np.eye(4)).astype(np.float32)


def has(result, status):
    """Require a status everywhere, and NaN where and only where it is a failure."""
    np.testing.assert_array_equal(result.status, status)
    assert bool(jnp.all(jnp.isnan(result.alpha))) == (not SolveStatus(status).ok)
    assert bool(jnp.all(jnp.isfinite(result.alpha))) == SolveStatus(status).ok


@pytest.fixture(params=[(p, s) for p in PRECISIONS for s in SIZES], ids=str)
def solve(request):
    """Solve in a precision, with one reg or with many of the same value."""
    precision, size = request.param

    def run(K, Y=Y4, reg=0.0, **options):
        regs = np.full(SIZES[size], reg, np.float32)
        return ridge_solve(K, Y, regs, solve_dtype=precision, **options)

    run.precision, run.size = request.param
    return run


@pytest.mark.slow
def test_a_singular_matrix_is_solved_with_a_jitter_that_is_told(solve):
    lowest = 1e-7 if solve.precision == "float32" else 1e-12
    result = solve(SINGULAR)
    has(result, SolveStatus.JITTERED)
    assert np.all((0.99 * lowest <= result.jitter) & (result.jitter <= 1.01e-6))
    consistent = solve(SINGULAR, SINGULAR[:, :1] * 3.0)
    np.testing.assert_allclose(np.sum(consistent.alpha, axis=1), 3.0, rtol=1e-5)
    refused = solve(SINGULAR, jitter="none")
    has(refused, SolveStatus.NOT_POSITIVE_DEFINITE)
    np.testing.assert_array_equal(refused.jitter, 0.0)


@pytest.mark.slow
def test_a_matrix_that_is_not_positive(solve):
    has(solve(INDEFINITE), SolveStatus.NOT_POSITIVE_DEFINITE)
    has(solve(INDEFINITE, reg=2.0), SolveStatus.OK)


@pytest.mark.slow
@pytest.mark.parametrize("number", [np.nan, np.inf])
@pytest.mark.parametrize("place", ["upper", "lower", "both", "Y", "weights", "reg"])
def test_what_is_not_finite_is_told(solve, place, number):
    K, Y, weights, reg = SOUND.copy(), Y4.copy(), np.ones(4, np.float32), 0.5
    if place in ("upper", "both"):
        K[0, 2] = number
    if place in ("lower", "both"):
        K[2, 0] = number
    if place == "Y":
        Y[1, 1] = number
    if place == "weights":
        weights[1] = number
    reg = number if place == "reg" else reg
    has(solve(K, Y, reg, weights=weights), SolveStatus.NOT_FINITE)


def test_a_negative_weight_has_no_root(solve):
    weights = np.array([1.0, -1.0, 1.0, 1.0], np.float32)
    has(solve(SOUND, reg=0.5, weights=weights), SolveStatus.NOT_FINITE)


@pytest.mark.slow
def test_a_reg_of_zero_interpolates(solve):
    result = solve(SOUND)
    has(result, SolveStatus.OK)
    np.testing.assert_array_equal(result.jitter, 0.0)
    np.testing.assert_allclose(SOUND @ np.asarray(result.alpha[0]), Y4, atol=1e-5)


@pytest.mark.slow
def test_zeros_on_the_right_give_zero(solve):
    result = solve(SOUND, 0 * Y4, 0.5)
    has(result, SolveStatus.OK)
    np.testing.assert_array_equal(result.alpha, 0.0)
    np.testing.assert_array_equal(result.residual, 0.0)


def test_automatic_precision_falls_back_to_float64():
    K, Y = cast((HARD, Y4), "float32")
    options = {"reg": np.float32(0), "jitter": "none"}
    result = ridge_solve(K, Y, solve_dtype="auto", **options)
    has(result, SolveStatus.REFINEMENT_FELL_BACK)
    wide = ridge_solve(K, Y, **options)
    np.testing.assert_array_equal(result.alpha, wide.alpha)
    truth = np.linalg.solve(HARD.astype(float), Y4.astype(float))
    np.testing.assert_allclose(result.alpha, truth, rtol=1e-6)
    narrow = ridge_solve(K, Y, solve_dtype="float32", **options)
    assert not np.allclose(np.asarray(narrow.alpha), truth, rtol=1e-3)


def mixed_batch(solve_dtype):
    """Return a batch of sound and unsound matrices, and what becomes of each."""
    broken = SOUND.copy()
    broken[0, 1] = np.nan
    fell_back = SolveStatus.REFINEMENT_FELL_BACK
    expected = [
        SolveStatus.OK,
        SolveStatus.NOT_FINITE,
        SolveStatus.NOT_POSITIVE_DEFINITE,
        SolveStatus.JITTERED,
        fell_back if solve_dtype == "auto" else SolveStatus.OK,
    ]
    return np.stack([SOUND, broken, INDEFINITE, SINGULAR, HARD]), expected


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 12])
@pytest.mark.parametrize("solve_dtype", ["float64", "auto"])
def test_status_under_vmap_belongs_to_each_item(solve_dtype, count):
    Ks, expected = mixed_batch(solve_dtype)
    if count == 12:  # an eigendecomposition needs no refinement
        expected = [0 if s == SolveStatus.REFINEMENT_FELL_BACK else s for s in expected]

    def one(K):
        return ridge_solve(K, Y4, np.zeros(count, np.float32), solve_dtype=solve_dtype)

    Ks = cast(Ks, "float32")
    batch = jax.jit(jax.vmap(one))(Ks)
    np.testing.assert_array_equal(batch.status, np.tile(expected, (count, 1)).T)
    for i, K in enumerate(Ks):
        alone = one(K)
        np.testing.assert_allclose(batch.alpha[i], alone.alpha, rtol=1e-5)
        np.testing.assert_allclose(batch.jitter[i], alone.jitter, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("K", "reg", "solve_dtype"),
    [(SOUND, 0.1, "float64"), (SOUND, 0.1, "float32"), (SINGULAR, 0.0, "float64")],
)
def test_residual_is_that_of_the_system_with_jitter(K, reg, solve_dtype):
    with jax.enable_x64(True):
        K = jnp.asarray(K, "float64")
        result = ridge_solve(K, Y4, reg, solve_dtype=solve_dtype)
    shifted = np.asarray(K) + (reg + float(result.jitter)) * np.eye(4)
    error = shifted @ np.asarray(result.alpha) - Y4
    true = np.linalg.norm(error) / np.linalg.norm(Y4)
    told = float(result.residual)
    size = 1e-6 if solve_dtype == "float32" else 1e-3 if reg == 0 else 1e-15
    # Both are round-off: as large, not equal.
    assert max(told, true) <= size


@pytest.mark.parametrize("weighted", [False, True])
def test_residual_of_unfinished_conjugate_gradients(weighted):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 2)), rng.normal(size=(40, 1))
    w = np.linspace(0.0, 2.0, 40) if weighted else np.ones(40)
    with jax.enable_x64(True):
        options = {"tol": 0.1, "rank": 2, "weights": jnp.asarray(w)}
        result = ridge_cg(KERNEL, jnp.asarray(X), jnp.asarray(y), 0.01, **options)
        stopped = ridge_cg(
            KERNEL, jnp.asarray(X), jnp.asarray(y), 0.01, max_iter=1, rank=1
        )
    s = np.sqrt(np.where(w > 0, w, 1.0))[:, None]
    present = (w > 0)[:, None]
    alpha, K = np.asarray(result.alpha), oracle.pairwise(KERNEL, X)
    error = np.where(present, s * (y - K @ alpha) - 0.01 * alpha / s, 0.0)
    true = np.linalg.norm(error) / np.linalg.norm(np.sqrt(w)[:, None] * y)
    np.testing.assert_allclose(float(result.residual), true, rtol=1e-9)
    assert 1e-6 < true <= 0.1
    has(stopped, SolveStatus.MAX_ITERATIONS)
    assert float(stopped.residual) > 1e-8


def test_conjugate_gradients_in_float32():
    X, Y = points()
    has(ridge_cg(KERNEL, X, Y, 0.1, solve_dtype="float32"), SolveStatus.OK)


# ---------------------------------------------------------------- dtypes and sizes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("op", "dtype"),
    [
        ("float64", "float16"),
        ("float32", "bfloat16"),
        ("auto", "float16"),
        ("auto", "bfloat16"),
        ("cg", "float16"),
        ("cg", "bfloat16"),
        ("eigh", "float16"),
    ],
)
def test_half_precision_keeps_its_dtype_and_its_digits(op, dtype):
    function, _, args = make(op)
    if op == "cg":
        function = lambda a: ridge_cg(*a[:5], weights=a[5]).alpha  # noqa: E731
    args = cast(args, dtype)
    for got, want in zip(
        jax.tree.leaves(function(args)),
        jax.tree.leaves(function(cast(args, "float32"))),
        strict=True,
    ):
        assert got.dtype == dtype
        tolerance = 2 * float(jnp.finfo(dtype).eps)
        assert np.max(np.abs(np.asarray(got, np.float32) - want)) <= tolerance * max(
            1.0, float(np.max(np.abs(want)))
        )


def test_integers_are_taken_as_the_default_dtype():
    K, Y = np.array([[2, 1], [1, 3]]), np.array([[1], [2]])
    for convert in (np.asarray, jnp.asarray):
        result = ridge_solve(convert(K), convert(Y), 1)
        assert result.alpha.dtype == jnp.result_type(float)
        np.testing.assert_allclose(result.alpha, np.linalg.solve(K + np.eye(2), Y))


@pytest.mark.parametrize("solve_dtype", PRECISIONS)
def test_one_sample(solve_dtype):
    one = np.full((1, 1), 2.0, np.float32)
    for reg in (0.0, 0.5):
        options = {"solve_dtype": solve_dtype, "weights": np.full(1, 3.0, np.float32)}
        result = ridge_solve(one, one, reg, **options)
        np.testing.assert_allclose(result.alpha, 6.0 / (6.0 + reg), rtol=1e-6)
    many = ridge_solve(one, one, np.ones(12, np.float32), solve_dtype=solve_dtype)
    np.testing.assert_allclose(many.alpha, np.full((12, 1, 1), 2 / 3), rtol=1e-6)


def test_nine_targets_take_the_blocked_product():
    rng = np.random.default_rng(0)
    Y = rng.normal(size=(N, 9))
    K = oracle.pairwise(KERNEL, points()[0])
    result = ridge_solve(K, Y, 0.1, solve_dtype="auto")
    has(result, SolveStatus.OK)
    check_close(result.alpha, alpha_of(K, Y, 0.1, np.ones(N)), 1e-5)


# ---------------------------------------------------------------- the public way


@pytest.fixture
def without_lapack(monkeypatch):
    monkeypatch.setattr(_cholesky, "lapack", None)
    jax.clear_caches()
    yield
    # Programs traced without it must not serve later tests.
    monkeypatch.undo()
    jax.clear_caches()


@pytest.fixture
def answers():
    """Return a function that solves, differentiates and maps."""

    def run():
        result = []
        for solve_dtype in PRECISIONS:

            def one(K, solve_dtype=solve_dtype):
                reg = jnp.zeros((), "float32")
                return ridge_solve(K, Y4, reg, solve_dtype=solve_dtype)

            Ks = jnp.asarray(mixed_batch(solve_dtype)[0][:4], "float32")
            slope = jax.jit(jax.grad(lambda K, one=one: contract(one(K).alpha)))
            result += [*map(one, Ks), jax.jit(jax.vmap(one))(Ks), slope(Ks[0])]
        return jax.tree.map(np.asarray, result)

    return run


@pytest.mark.slow
def test_the_public_factorization_gives_the_same_answers(answers, request):
    want = answers()
    request.getfixturevalue("without_lapack")
    got = answers()
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        if a.dtype.kind == "i":
            np.testing.assert_array_equal(a, b)
        # A jittered float32 system has condition 1e7.
        np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-2)


# ---------------------------------------------------------------- memory, compilations


@pytest.mark.slow
def test_conjugate_gradients_take_less_than_200_mb():
    shape = functools.partial(jax.ShapeDtypeStruct, dtype=jnp.float32)
    n = 8192
    arrays = (shape((n, 10)), shape((n, 1)), shape(()), None, None, shape(()))
    compiled = _cg.solve.lower(
        KernelSpec(name="gaussian", bandwidth=shape(())),
        *arrays,
        jax.ShapeDtypeStruct((), jnp.int32),
        rank=100,
        block_size=None,
        wide=True,
    ).compile()
    # The matrix would take 537 MB.
    assert compiled.memory_analysis().temp_size_in_bytes < 200e6


@pytest.mark.slow
def test_other_values_compile_nothing():
    X, Y = (np.asarray(x, np.float32) for x in points())

    def run(factor, number):
        bandwidth = number(1.5 * factor)
        kernel = KernelSpec(name="gaussian", bandwidth=bandwidth)
        reg = number(0.1 * factor)
        K = np.asarray(oracle.pairwise(KERNEL, factor * X), np.float32)
        for solve_dtype in PRECISIONS:
            ridge_solve(K, factor * Y, reg, solve_dtype=solve_dtype)
        ridge_solve(K, Y, np.full(3, reg), weights=np.full(N, np.float32(factor)))
        ridge_solve(SINGULAR * np.float32(factor), Y4, reg)
        ridge_cg(kernel, X, Y, reg, tol=number(1e-6 * factor), max_iter=int(9 / factor))
        eigh(K)

    run(1.0, float)
    with compile_guard(max_compiles=0):
        for number in (float, np.float32, np.asarray):
            run(0.9, number)


# ---------------------------------------------------------------- properties


@pytest.mark.slow
@given(seed=st.integers(0, 2**16))
@settings(max_examples=8, deadline=None, derandomize=True)
def test_solutions_follow_the_order_of_samples_and_multiply_weights(seed):
    X, Y = points(seed)
    rng = np.random.default_rng(seed)
    order = rng.permutation(N)
    weights = rng.integers(0, 3, N).astype(float)
    K = oracle.pairwise(KERNEL, X)
    solve = functools.partial(ridge_solve, solve_dtype="auto")
    alpha = np.asarray(solve(K, Y, 0.1, weights=weights).alpha)
    moved = solve(K[order][:, order], Y[order], 0.1, weights=weights[order])
    check_close(moved.alpha, alpha[order])
    assert np.all(alpha[weights == 0] == 0)
    # A weight of two is a duplicated row: the coefficients of the copies add up.
    rows = np.repeat(np.arange(N), weights.astype(int))
    split = alpha_of(K[rows][:, rows], Y[rows], 0.1, np.ones(len(rows)))
    summed = np.zeros_like(alpha)
    np.add.at(summed, rows, split)
    check_close(alpha, summed)
    iterated = ridge_cg(KERNEL, X, Y, 0.1, weights=weights)
    check_close(iterated.alpha, alpha)
