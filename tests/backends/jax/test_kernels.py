"""Kernel operations under transformations, their derivatives, edges and memory."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.extend.core import ClosedJaxpr, Jaxpr

import mlmethods_numpy.ops.kernels as oracle
from mlmethods.interfaces import KernelSpec
from mlmethods.testing import assert_close
from mlmethods_jax.ops import _blocks, kernels
from mlmethods_jax.testing import compile_guard


def cube(t):
    return (1.0 + t) ** 3


def cube_slope(t):
    return 3.0 * (1.0 + t) ** 2


KERNELS = {
    spec.name: spec
    for spec in (
        KernelSpec(name="laplace", bandwidth=1.5),
        KernelSpec(name="gaussian", bandwidth=1.5),
        KernelSpec(name="matern", bandwidth=1.5, static=(("nu", 1.5),)),
        KernelSpec(name="lpq", bandwidth=1.5, params={"p": 1.5, "q": 1.0}),
        KernelSpec(
            name="sum_power",
            bandwidth=1.5,
            params={"q": 1.2, "power": 2.0, "const_mix": 0.2},
        ),
        KernelSpec(name="quadratic"),
        KernelSpec(
            name="inner_product",
            bandwidth=1.0,
            static=(("h", cube), ("dh", cube_slope)),
        ),
    )
}
ONE_OF_EACH = ("laplace", "lpq", "inner_product")
OF_DIFFERENCES = ("laplace", "gaussian", "matern", "lpq", "sum_power")
BLOCKED = ("matvec", "grad", "agop")
OPS = ("pairwise", *BLOCKED)
FORMS = ("none", "diagonal", "full")


def run(op, args, module=kernels, **options):
    """Call an operation of either backend on (kernel, X, Z, alpha, M)."""
    if op == "pairwise":
        kernel, X, Z, _, M = args
        return module.pairwise(kernel, X, Z, M)
    return getattr(module, op)(*args, **options)


def make(name, form, own=False, n=7, m=5, d=3, c=2, seed=0):
    """Return the arguments of an operation as NumPy float64; `own` means Z=None."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(d, d)) / 2
    M = {
        "none": None,
        "diagonal": rng.uniform(0.3, 2.0, d),
        "full": root @ root.T + 0.3 * np.eye(d),
    }[form]
    kernel = jax.tree.map(np.float64, KERNELS[name])
    Z = None if own else rng.normal(size=(m, d))
    X = rng.normal(size=(n, d))
    return kernel, X, Z, rng.normal(size=(n if own else m, c)), M


def cast(args, dtype):
    return jax.tree.map(lambda x: jnp.asarray(x, dtype), args)


def loss(args, op, module=kernels, **options):
    """Return a number to which every entry of the result contributes its own part."""
    out = run(op, args, module, **options)
    weights = np.cos(np.arange(out.size)).reshape(out.shape).astype(out.dtype)
    return (out * weights).sum()


def check_close(got, want, rtol=1e-4):
    """Compare trees entry by entry, on the scale of each array."""
    got, want = jax.tree.leaves(got), jax.tree.leaves(want)
    assert len(got) == len(want)
    for a, b in zip(got, want, strict=True):
        scale = max(float(np.max(np.abs(b), initial=0.0)), 1e-3)
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * scale)


def is_finite(tree):
    return all(bool(jnp.all(jnp.isfinite(x))) for x in jax.tree.leaves(tree))


# ---------------------------------------------------------------- transformations

NAMED_FORMS = [(name, FORMS[i % 3]) for i, name in enumerate(KERNELS)]
ONE_OF_EACH_FORM = [("laplace", "full"), ("lpq", "none"), ("inner_product", "diagonal")]
OTHERS = [x for x in NAMED_FORMS if x[0] not in ONE_OF_EACH]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("op", "name", "form"),
    [
        *((op, *x) for op in OPS for x in ONE_OF_EACH_FORM),
        *(("agop", *x) for x in OTHERS),
    ],
)
def test_transformations_equal_plain_calls(op, name, form):
    with jax.enable_x64(False):
        args = cast(make(name, form), "float32")
        other = jax.tree.map(lambda x: 0.8 * x, args)
        values = functools.partial(run, op)
        f = functools.partial(loss, op=op)
        both = jax.tree.map(lambda a, b: jnp.stack([a, b]), args, other)

        def scanned(args):
            def step(total, factor):
                return total + f((args[0], factor * args[1], *args[2:])), None

            factors = jnp.array([1.0, 0.5], "float32")
            return jax.lax.scan(step, jnp.zeros((), "float32"), factors)[0]

        def looped(args):
            return f(args) + f((args[0], 0.5 * args[1], *args[2:]))

        def stacked(function):
            pair = function(args), function(other)
            return jax.tree.map(lambda a, b: np.stack([a, b]), *pair)

        check_close(jax.jit(values)(args), values(args))
        check_close(jax.grad(jax.jit(f))(args), jax.grad(f)(args))
        check_close(jax.grad(scanned)(args), jax.grad(looped)(args))
        check_close(jax.vmap(values)(both), stacked(values))
        check_close(jax.jit(jax.vmap(values))(both), stacked(values))
        check_close(jax.vmap(jax.grad(f))(both), stacked(jax.grad(f)))


# ---------------------------------------------------------------- derivatives


def slopes(f, args, directions, step=1e-5):
    """Return the central difference along a direction in each argument by itself."""
    leaves, tree = jax.tree.flatten(args)
    result = []
    for i, v in enumerate(jax.tree.leaves(directions)):
        pair = (
            f(tree.unflatten([*leaves[:i], leaves[i] + h * v, *leaves[i + 1 :]]))
            for h in (step, -step)
        )
        result.append((next(pair) - next(pair)) / (2 * step))
    return np.array(result)


def slope(op, **options):
    return jax.jit(jax.grad(functools.partial(loss, op=op, **options)))


def random_directions(args, seed=1):
    rng = np.random.default_rng(seed)
    *rest, M = jax.tree.map(lambda x: rng.normal(size=np.shape(x)), args)
    return *rest, M if M is None or M.ndim == 1 else (M + M.T) / 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("op", "name", "form", "own"),
    [
        (op, name, FORMS[(i + j) % 3], (i + j) % 2 == 0)
        for i, op in enumerate(OPS)
        for j, name in enumerate(KERNELS)
    ],
)
def test_derivatives_equal_differences_of_the_oracle(op, name, form, own):
    args = make(name, form, own)
    directions = random_directions(args)
    want = slopes(functools.partial(loss, op=op, module=oracle), args, directions)
    for dtype, rtol in (("float64", 1e-6), ("float32", 2e-3)):
        with jax.enable_x64(dtype == "float64"):
            gradient = slope(op)(cast(args, dtype))
            assert {str(g.dtype) for g in jax.tree.leaves(gradient)} == {dtype}
        got = jax.tree.map(lambda g, v: np.sum(np.asarray(g) * v), gradient, directions)
        scale = np.abs(want).max()
        got = np.array(jax.tree.leaves(got))
        np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol * scale)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("op", "name", "own", "dtype"),
    [
        (op, name, own, ("float32", "float64")[(i + j + own) % 2])
        for i, op in enumerate(("matvec", "agop"))
        for j, name in enumerate(OF_DIFFERENCES)
        for own in (True, False)
    ],
)
def test_derivatives_are_finite_where_points_coincide(op, name, own, dtype):
    kernel, X, Z, alpha, M = make(name, "full", own)
    X[4:] = X[0]
    if Z is not None:
        Z[:3] = X[:3]
    with jax.enable_x64(dtype == "float64"):
        args = cast((kernel, X, Z, alpha, M), dtype)
        assert is_finite(slope(op)(args))
        if dtype == "float64":
            values = run(op, args)
            want = run(op, (kernel, X, Z, alpha, M), oracle)
            # The root of a distance that is round-off: 1e-8, not 1e-16.
            np.testing.assert_allclose(values, want, rtol=1e-6, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize("center", ["none", "per_output", "pooled"])
def test_derivatives_of_agop_options_equal_differences(center, diagonal):
    args = make("laplace", "full")
    weights = np.linspace(0.5, 2.0, 7)
    options = {"center": center, "diagonal": diagonal}

    def f(both, module=kernels):
        return loss(both[0], "agop", module, weights=both[1], **options)

    rng = np.random.default_rng(3)
    directions = random_directions(args), rng.normal(size=7)
    both = args, weights
    want = slopes(functools.partial(f, module=oracle), both, directions)
    with jax.enable_x64(True):
        gradient = jax.jit(jax.grad(f))(cast(both, "float64"))
    got = jax.tree.map(lambda g, v: np.sum(np.asarray(g) * v), gradient, directions)
    scale = np.abs(want).max()
    got = np.array(jax.tree.leaves(got))
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6 * scale)


def test_derivative_by_a_weight_of_zero():
    args = make("laplace", "none")
    weights = np.array([0.0, 1, 2, 1, 0.5, 1, 1])
    with jax.enable_x64(True):
        wide = cast(args, "float64")
        f = jax.jit(jax.grad(lambda w: loss(wide, "agop", weights=w)))
        gradient = f(jnp.asarray(weights))
    step = np.eye(7)[0] * 1e-7
    f = functools.partial(loss, args, "agop", oracle)
    want = (f(weights=weights + step) - f(weights=weights)) / 1e-7
    np.testing.assert_allclose(gradient[0], want, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("laplace", "diagonal"),
        ("laplace", "full"),
        ("lpq", "full"),
        ("lpq", "diagonal"),
    ],
)
@pytest.mark.parametrize("op", ["matvec", "agop"])
def test_derivatives_are_finite_for_a_singular_metric(op, name, form):
    kernel, X, Z, alpha, _ = make(name, "none")
    M = np.array([0.0, 1.0, 2.0])
    M = M if form == "diagonal" else np.diag(M)
    args = cast((kernel, X, Z, alpha, M), "float32")
    assert is_finite(slope(op)(args))


# ---------------------------------------------------------------- blocks


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "own"), list(zip(ONE_OF_EACH, (True, False, True), strict=True))
)
@pytest.mark.parametrize("op", BLOCKED)
def test_blocks_change_neither_values_nor_derivatives(op, name, own):
    args = cast(make(name, "full", own), "float32")
    values, gradient = jax.jit(jax.value_and_grad(functools.partial(loss, op=op)))(args)
    for block_size in (1, 3) if name == "laplace" else (3,):
        f = functools.partial(loss, op=op, block_size=block_size)
        blocked, blocked_gradient = jax.jit(jax.value_and_grad(f))(args)
        np.testing.assert_allclose(blocked, values, rtol=1e-4, atol=1e-5)
        check_close(blocked_gradient, gradient)


@pytest.mark.parametrize(("n", "rows"), [(12, 6), (10, 5), (22, 2), (13, 13), (6, 6)])
def test_blocks_of_a_matrix_divide_its_rows(n, rows, monkeypatch):
    # The budget is 6 rows; a prime has no even block and is taken in one piece.
    monkeypatch.setattr(_blocks, "default_budget", lambda: 6 * 3 * 5 * 4)
    kernel, X, Z, _, M = cast(make("laplace", "full", n=n), "float32")

    def whole(*args):
        return kernels._pairwise.__wrapped__(*args)

    shapes = shapes_inside(jax.make_jaxpr(whole)(kernel, X, Z, M).jaxpr)
    assert (n, 5) in shapes
    assert ((n // rows, rows, 5) in shapes) == (rows < n)
    got = jax.jit(whole)(kernel, X, Z, M)
    check_close(got, kernels.pairwise(kernel, X, Z, M), 1e-6)


@pytest.mark.parametrize("budget", [2**25, 3 * 11 * 4 * 4])
@pytest.mark.parametrize(("name", "form"), ONE_OF_EACH_FORM)
def test_padded_gram(name, form, budget, monkeypatch):
    monkeypatch.setattr(_blocks, "default_budget", lambda: budget)
    kernel, X, _, _, M = cast(make(name, form, own=True, n=11), "float32")
    present = np.arange(11) < 8
    X = jnp.where(present[:, None], X, 0.0)

    def gram(*args):  # a function of its own, or a cached program serves it
        return kernels.padded_gram(*args)

    got = np.asarray(jax.jit(gram)(kernel, X, M, present))
    want = np.eye(11, dtype=np.float32)
    want[:8, :8] = kernels.pairwise(kernel, X[:8], None, M)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(got[8:], want[8:])
    np.testing.assert_array_equal(got[:, 8:], want[:, 8:])


# ---------------------------------------------------------------- edges


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("laplace", (1, 1, 1, 1)),
        ("lpq", (1, 4, 1, 2)),
        ("inner_product", (4, 1, 3, 1)),
        ("laplace", (1, None, 2, 1)),
        ("lpq", (3, 2, 1, 3)),
    ],
)
def test_axes_of_length_one(name, sizes):
    n, m, d, c = sizes
    args = make(name, "full", m is None, n=n, m=m, d=d, c=c)
    given = cast(args, "float32")
    for op in OPS:
        assert_close(run(op, given), run(op, args, oracle), dtype="float32")
    assert is_finite(slope("agop")(given))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", OF_DIFFERENCES)
def test_duplicated_rows(name, dtype):
    kernel, X, _, alpha, M = make(name, "full", own=True, n=40, d=8)
    X[20:] = X[:20]
    with jax.enable_x64(dtype == "float64"):
        kernel, X, M, alpha = cast((kernel, X + 10.0, M, alpha), dtype)
        K = np.asarray(kernels.pairwise(kernel, X, None, M))
        g = np.asarray(kernels.grad(kernel, X, None, alpha, M))
    assert np.all(np.diagonal(K) == 1)
    twins = np.diagonal(K[:20, 20:])
    if dtype == "float64":
        assert np.all(twins == 1)
    # A squared distance of 1e-6 is a distance of 1e-3 under a cusp.
    np.testing.assert_allclose(twins, 1.0, atol=3e-3)
    np.testing.assert_allclose(g[:20], g[20:], rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "form", "dtype"),
    [
        *((*x, "bfloat16") for x in ONE_OF_EACH_FORM),
        *((*x, "float16") for x in OTHERS),
        ("lpq", "full", "float16"),
    ],
)
def test_half_precision_keeps_its_dtype_and_its_digits(name, form, dtype):
    args = cast(make(name, form), dtype)
    exact = cast(args, "float32")
    for op in ("pairwise", "agop"):
        got = run(op, args)
        assert got.dtype == dtype
        want = np.asarray(run(op, exact))
        # Computed in float32 and rounded once.
        worst = np.max(np.abs(np.asarray(got, np.float32) - want))
        assert worst <= float(jnp.finfo(dtype).eps) * np.max(np.abs(want))


def test_integers_are_taken_as_the_default_dtype(rng):
    X, Z = rng.integers(-3, 4, size=(6, 3)), rng.integers(-3, 4, size=(5, 3))
    alpha = rng.integers(-3, 4, size=(5, 2))
    for op in OPS:
        want = run(op, (KERNELS["laplace"], X, Z, alpha, None), oracle)
        for convert in (np.asarray, jnp.asarray):
            args = (*map(convert, (X, Z, alpha)), None)
            got = run(op, (KERNELS["laplace"], *args))
            assert got.dtype == jnp.result_type(float)
            assert_close(got, want, dtype="float32")


# ---------------------------------------------------------------- memory


def shapes_inside(jaxpr: Any) -> set[tuple[int, ...]]:
    """Return the shapes of everything that a jaxpr computes, inner ones included."""
    shapes = set()
    for equation in jaxpr.eqns:
        shapes |= {tuple(getattr(x.aval, "shape", ())) for x in equation.outvars}
        for inner in jax.tree.leaves(
            list(equation.params.values()),
            is_leaf=lambda x: isinstance(x, Jaxpr | ClosedJaxpr),
        ):
            if isinstance(inner, ClosedJaxpr):
                inner = inner.jaxpr
            if isinstance(inner, Jaxpr):
                shapes |= shapes_inside(inner)
    return shapes


def largest(args, op, block_size, backward):
    f = functools.partial(loss, op=op, block_size=block_size)
    traced = jax.make_jaxpr(jax.grad(f) if backward else f)(args)
    shapes = shapes_inside(traced.jaxpr)
    assert block_size is None or any(x[-2:] == (block_size, 96) for x in shapes)
    return max(int(np.prod(x)) for x in shapes)


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("name", ONE_OF_EACH)
@pytest.mark.parametrize("op", BLOCKED)
def test_no_array_of_n_times_m_exists_with_blocks(op, name, backward):
    args = cast(make(name, "full", n=80, m=96), "float32")
    assert largest(args, op, 8, backward) < 80 * 96
    assert largest(args, op, None, backward) >= 80 * 96


@pytest.mark.parametrize("op", BLOCKED)
@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_the_backward_pass_keeps_no_block_for_each_feature(op, name):
    args = cast(make(name, "full", n=80, m=96, d=24), "float32")
    assert largest(args, op, 8, True) < 24 * 8 * 96


@pytest.mark.parametrize("name", ["laplace", "lpq"])
def test_matvec_takes_less_than_200_mb(name):
    n, d = 8192, 10
    shape = functools.partial(jax.ShapeDtypeStruct, dtype=jnp.float32)
    kernel = jax.tree.map(lambda _: shape(()), KERNELS[name])
    compiled = kernels._matvec.lower(
        kernel, shape((n, d)), shape((n, d)), shape((n, 1)), None, block_size=None
    ).compile()
    # The matrix would take 268 MB.
    assert compiled.memory_analysis().temp_size_in_bytes < 200e6


# ---------------------------------------------------------------- compilations


@pytest.mark.slow
@pytest.mark.parametrize("name", ["laplace", "lpq"])
@pytest.mark.parametrize("op", OPS)
def test_other_values_compile_nothing(op, name):
    args = make(name, "full")
    narrow = jax.tree.map(lambda x: np.asarray(x, np.float32), args)
    run(op, narrow)
    with compile_guard(max_compiles=0):
        for factor in (1, 0.9):  # a Python number, a NumPy one, an array
            scaled = jax.tree.map(lambda x, f=factor: x * np.float32(f), narrow)
            for number in (float, np.float64, np.asarray):
                kernel = jax.tree.map(number, scaled[0])
                run(op, (kernel, *scaled[1:]))


# ---------------------------------------------------------------- properties

seeds = st.integers(0, 2**16)
few = settings(max_examples=8, deadline=None, derandomize=True)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "form"), ONE_OF_EACH_FORM)
@given(seed=seeds)
@few
def test_the_order_of_rows_and_centers_does_not_matter(name, form, seed):
    rng = np.random.default_rng(seed)
    args = cast(make(name, form, seed=seed), "float32")
    kernel, X, Z, alpha, M = args
    rows, columns = rng.permutation(7), rng.permutation(5)
    moved = kernel, X[rows], Z[columns], alpha[columns], M
    check_close(run("pairwise", moved), run("pairwise", args)[rows][:, columns])
    for op in ("matvec", "grad"):
        check_close(run(op, moved), run(op, args)[rows])
    check_close(run("agop", moved), run("agop", args))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["laplace", "matern", "lpq"])
@given(seed=seeds, size=st.sampled_from([1.0, 30.0, 1e3]))
@few
def test_translation_changes_nothing(name, seed, size):
    kernel, X, Z, alpha, M = make(name, "full", seed=seed)
    shift = size * np.random.default_rng(seed).normal(size=3)
    # The points that float32 has there, not those that were meant.
    X, Z = ((np.asarray(a + shift, np.float32) - shift) for a in (X, Z))
    near = kernel, X, Z, alpha, M
    far = cast((kernel, X + shift, Z + shift, alpha, M), "float32")
    for op in OPS:
        check_close(run(op, far), run(op, near, oracle), 5e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "form", "center"),
    [
        (*x, center)
        for x, center in zip(
            ONE_OF_EACH_FORM, ("none", "per_output", "pooled"), strict=True
        )
    ],
)
@given(seed=seeds)
@few
def test_agop_is_a_weighted_mean_of_outer_products(name, form, center, seed):
    kernel, X, Z, alpha, M = cast(make(name, form, seed=seed), "float32")
    agop = functools.partial(kernels.agop, kernel, center=center)
    weights = jnp.asarray([2.0, 1, 1, 0, 1, 1, 1], "float32")
    A = np.asarray(agop(X, Z, alpha, M, weights=weights))
    np.testing.assert_allclose(A, A.T, rtol=1e-6)
    eigenvalues = np.linalg.eigvalsh(A.astype(np.float64))
    assert eigenvalues[0] >= -1e-5 * eigenvalues[-1]
    rows = np.array([0, 0, 1, 2, 4, 5, 6])
    check_close(agop(X[rows], Z, alpha, M), A)
    check_close(agop(X, Z, alpha, M, weights=weights, block_size=2), A)
    diagonal = agop(X, Z, alpha, M, weights=weights, diagonal=True)
    check_close(diagonal, np.diagonal(A), 2e-4)
