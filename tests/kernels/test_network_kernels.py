"""Network kernels: golden values, near-duplicates, gradients, derivatives, ranges."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import special

from mlmethods.errors import InvalidInputError, OperationNotSupportedError
from mlmethods.interfaces import KernelSpec
from mlmethods.kernels import (
    GaussianKernel,
    LaplaceKernel,
    LaplaceL1Kernel,
    LinearKernel,
    LpqKernel,
    NNGPKernel,
    NTKKernel,
    SumPowerLaplaceKernel,
    kernel_from_config,
    kernel_to_config,
    resolve_kernel,
)
from mlmethods.testing import assert_close
from mlmethods_jax.ops import kernels
from mlmethods_jax.ops._arc_cosine import relu_layer
from mlmethods_jax.testing import compile_guard

GOLDEN = json.loads(
    (Path(__file__).parents[1] / "golden" / "network_kernels.json").read_text()
)
CLASSES = {"nngp": NNGPKernel, "ntk": NTKKernel}


def sine(t):
    return np.sin(t)


def cosine(t):
    return np.cos(t)


def bend(t):
    return t + 0.3 * t * t


def bend_slope(t):
    return 1 + 0.6 * t


def label(entry):
    case = entry["case"]
    skip = " skip" if case["skip"] else ""
    bias = " bias" if case["b_std"] else ""
    return f"{case['activation']} {case['depth']}{bias}{skip}"


def scaled_error(actual, expected):
    """Return the largest error in units of sqrt(k(x, x) k(z, z))."""
    own = np.sqrt(np.diagonal(expected))
    scale = np.outer(own, own)
    return np.max(np.abs(actual - expected) / np.where(scale == 0, 1.0, scale))


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("entry", GOLDEN["peer"], ids=label)
def test_numpy_equals_neural_tangents(entry, name):
    X, expected = np.array(GOLDEN["points"]), np.array(entry[name])
    kernel = CLASSES[name](**entry["case"])
    assert scaled_error(kernel(X, backend="numpy"), expected) < 1e-12
    assert_allclose(kernel.diag(X), np.diagonal(expected), rtol=1e-12)


# One of each activation in the fast tests, with biases and residual layers among them.
FAST = {("relu 2 bias", "float32"), ("relu 2 bias", "float64")}
FAST |= {(case, "float64") for case in ("relu 3 bias skip", "erf 1", "gelu 1")}
ON_JAX = [
    pytest.param(
        entry,
        dtype,
        id=f"{label(entry)} {dtype}",
        marks=[] if (label(entry), dtype) in FAST else [pytest.mark.slow],
    )
    for entry in GOLDEN["peer"]
    for dtype in ("float32", "float64")
]


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize(("entry", "dtype"), ON_JAX)
def test_jax_equals_neural_tangents(entry, dtype, name):
    X, expected = np.array(GOLDEN["points"]), np.array(entry[name])
    K = CLASSES[name](**entry["case"])(X, backend="jax", dtype=dtype)
    assert scaled_error(K, expected) < (1e-12 if dtype == "float64" else 3e-6)


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("entry", GOLDEN["near"], ids=label)
def test_near_duplicates_opposites_and_rows_of_zeros_keep_their_digits(entry, name):
    X, expected = np.array(GOLDEN["near_points"]), np.array(entry[name])
    kernel = CLASSES[name](**entry["case"])
    for Z in (None, X):
        assert scaled_error(kernel(X, Z, backend="numpy"), expected) < 1e-12
    assert_allclose(kernel.diag(X), np.diagonal(expected), rtol=1e-12)


@pytest.mark.parametrize("name", CLASSES)
def test_near_duplicates_on_jax(name):
    entry = next(e for e in GOLDEN["near"] if e["case"]["b_std"] == 0.1)
    X, expected = np.array(GOLDEN["near_points"]), np.array(entry[name])
    kernel = CLASSES[name](**entry["case"])
    wide = kernel(X, backend="jax", dtype="float64")
    # Squared distances from a matrix product round to 1e-16: angles to 1e-9.
    assert scaled_error(wide, expected) < (1e-12 if name == "nngp" else 1e-9)
    narrow = kernel(X, backend="jax", dtype="float32")
    assert scaled_error(narrow, expected) < (3e-6 if name == "nngp" else 2e-4)
    assert_allclose(np.diagonal(narrow), np.diagonal(expected), rtol=2e-6)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float32", 3e-7), ("float64", 5e-16)]
)
def test_a_relu_layer_in_terms_of_one_less_the_cosine(dtype, tolerance):
    m = np.r_[0.0, np.geomspace(1e-12, 1.0, 60), 2 - np.geomspace(1e-3, 1, 20), 2.0]
    m = m.astype(dtype).astype(np.float64)
    angle = 2 * np.arctan2(np.sqrt(m), np.sqrt(2 - m))
    # The series where the difference of the angle and its sine would cancel.
    bent = np.where(
        angle < 0.1,
        angle**3 / 6 - angle**5 / 120 + angle**7 / 5040 - angle**9 / 362880,
        angle - np.sin(angle),
    )
    expected = (bent + (np.pi - angle) * m) / np.pi
    with jax.enable_x64(dtype == "float64"):
        got, share = map(np.asarray, relu_layer(jnp.asarray(m, dtype)))
    assert_allclose(got, expected, rtol=3 * tolerance, atol=0)
    assert_allclose(share, (np.pi - angle) / (2 * np.pi), rtol=0, atol=tolerance)


@pytest.mark.parametrize("cls", [NNGPKernel, NTKKernel])
@pytest.mark.parametrize("activation", ["relu", "erf", "gelu"])
def test_one_layer_is_the_expectation_over_random_weights(cls, activation, rng):
    """Monte Carlo over the weights of the first layer, with its standard error."""
    functions = {
        "relu": (lambda u: np.maximum(u, 0), lambda u: (u > 0) * 1.0),
        "erf": (special.erf, lambda u: 2 / np.sqrt(np.pi) * np.exp(-(u**2))),
        "gelu": (
            lambda u: u * special.ndtr(u),
            lambda u: special.ndtr(u) + u * np.exp(-(u**2) / 2) / np.sqrt(2 * np.pi),
        ),
    }
    phi, dphi = functions[activation]
    x, z = rng.normal(size=(2, 3))
    w, b = 1.3, 0.4
    W = rng.normal(size=(200_000, 3))
    bias = b * rng.normal(size=len(W))
    u, v = (w * W @ p / 3**0.5 + bias for p in (x, z))
    S = w**2 * (x @ z) / 3 + b**2
    draws = phi(u) * phi(v)
    if cls is NTKKernel:
        draws = draws + S * dphi(u) * dphi(v)
    got = cls(activation=activation, w_std=w, b_std=b)([x], [z], backend="numpy")
    error = draws.std() / len(draws) ** 0.5
    assert abs(float(got[0, 0]) - draws.mean()) < 5 * error


def test_functions_of_ones_own(rng):
    X, Z = rng.normal(size=(4, 3)), rng.normal(size=(3, 3))
    # E[(u + .3 u^2)(v + .3 v^2)] = S + .09 (q_x q_z + 2 S^2), in closed form.
    S, q = X @ Z.T / 3, ((X**2).sum(1) / 3, (Z**2).sum(1) / 3)
    value = S + 0.09 * (np.outer(*q) + 2 * S**2)
    slope = 1 + 0.36 * S
    for backend in ("numpy", "jax"):
        options = {"w_std": 1.0, "readout_w_std": 1.0}
        own = NTKKernel(1, (bend, bend_slope), **options)
        K = own(X, Z, backend=backend, dtype="float64")
        assert_allclose(K, value + S * slope, rtol=1e-12, atol=1e-13)
    # sin is the odd relative of erf: E[sin u sin v] = e^{-(q_x + q_z) / 2} sinh S.
    K = NNGPKernel(1, (sine, cosine), w_std=1.0)(X, Z, backend="numpy")
    decay = np.exp(-(q[0][:, None] + q[1]) / 2)
    assert_allclose(K, decay * np.sinh(S), rtol=1e-11, atol=1e-14)
    assert_allclose(own.diag(X), np.diagonal(own(X, backend="numpy")), rtol=1e-12)


@pytest.fixture
def gradient_case(rng):
    X, Z = rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
    # A coincidence, one direction with two lengths, and a row of zeros.
    X[1], X[2], X[3] = Z[2], 2 * Z[1], 0.0
    A = rng.normal(size=(3, 3))
    return X, Z, rng.normal(size=(5, 2)), A @ A.T + 0.1 * np.eye(3)


GRADIENTS = [
    NTKKernel(2, b_std=0.3),
    NTKKernel(3),
    NNGPKernel(3, skip=True, b_std=0.3),
    NTKKernel(3, "erf", skip=True, b_std=0.2),
    NNGPKernel(1, "gelu", b_std=0.2),
    NTKKernel(2, "gelu"),
]


@pytest.mark.parametrize("kernel", GRADIENTS, ids=lambda k: type(k).__name__)
def test_numpy_gradient_is_the_central_difference(kernel, gradient_case):
    X, Z, alpha, M = gradient_case
    step = 1e-5
    got = kernel.grad(X, Z, alpha, M, backend="numpy")
    sides = [
        [kernel(X + sign * step * e, Z, M, backend="numpy") @ alpha for e in np.eye(3)]
        for sign in (1, -1)
    ]
    expected = np.moveaxis(np.subtract(*sides) / (2 * step), 0, 2)
    if kernel.activation == "relu" and kernel.b_std == 0:
        assert (got[3] == 0).all()  # k is |x| times a function of the direction
        got, expected = np.delete(got, 3, axis=0), np.delete(expected, 3, axis=0)
    # Second differences of a cone are of the order of the step.
    assert_allclose(got, expected, rtol=1e-5, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    "kernel",
    [
        pytest.param(k, marks=[] if i in (0, 4) else [pytest.mark.slow])
        for i, k in enumerate(GRADIENTS)
    ],
    ids=lambda k: type(k).__name__,
)
@pytest.mark.parametrize("own", [False, True])
def test_jax_gradient_is_that_of_numpy(kernel, own, gradient_case):
    X, Z, alpha, M = gradient_case
    centers = None if own else Z
    expected = kernel.grad(X, centers, alpha, M, backend="numpy")
    wide = kernel.grad(X, centers, alpha, M, backend="jax", dtype="float64")
    assert_close(wide, expected, dtype="float64", rtol=1e-11)


def test_gradient_of_ones_own_activation_needs_jax(gradient_case):
    X, Z, alpha, _ = gradient_case
    kernel = NTKKernel(1, (bend, bend_slope), b_std=0.5)
    with pytest.raises(OperationNotSupportedError, match="relu, erf or gelu only"):
        kernel.grad(X, Z, alpha, backend="numpy")
    with pytest.raises(OperationNotSupportedError, match="relu, erf or gelu only"):
        (kernel + LaplaceKernel()).grad(X, Z, alpha, backend="numpy")
    got = kernel.grad(X, Z, alpha, backend="jax", dtype="float64")
    step = 1e-5
    sides = [
        [kernel(X + sign * step * e, Z, backend="numpy") @ alpha for e in np.eye(3)]
        for sign in (1, -1)
    ]
    expected = np.moveaxis(np.subtract(*sides) / (2 * step), 0, 2)
    assert_allclose(got, expected, rtol=1e-6, atol=1e-8)


def spec_in(dtype, **options):
    spec = NTKKernel(**options).to_spec()
    return jax.tree.map(lambda leaf: np.asarray(leaf, dtype), spec)


def test_values_under_jit_vmap_and_differentiation(rng):
    spec, X = spec_in(np.float32, depth=1), jnp.asarray(rng.normal(size=(4, 3)), "f4")
    plain = kernels.pairwise(spec, X)
    assert_allclose(jax.jit(kernels.pairwise)(spec, X), plain, rtol=1e-6)
    stacked = jax.vmap(lambda x: kernels.pairwise(spec, x))(jnp.stack([X, 2 * X]))
    assert_allclose(stacked[0], plain, rtol=1e-6)
    assert_allclose(stacked[1], 4 * plain, rtol=1e-5)  # homogeneous without biases

    def total(spec, X):
        return jnp.sum(jnp.sin(kernels.pairwise(spec, X)))

    by_spec, by_x = jax.grad(total, argnums=(0, 1))(spec, X.at[1].set(X[0]))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((by_spec, by_x)))
    step = np.float32(1e-2)
    sides = []
    for sign in (1, -1):
        params = {**spec.params, "w_std": spec.params["w_std"] + sign * step}
        moved = KernelSpec(name="ntk", params=params, static=spec.static)
        sides.append(float(total(moved, X.at[1].set(X[0]))))
    numeric = (sides[0] - sides[1]) / (2 * float(step))
    assert_allclose(by_spec.params["w_std"], numeric, rtol=2e-2)


def test_new_numbers_compile_nothing(rng):
    X = jnp.asarray(rng.normal(size=(5, 3)), "f4")
    kernels.pairwise(NTKKernel(b_std=0.1).to_spec(), X)
    other = NTKKernel(w_std=1.1, b_std=0.0)
    with compile_guard(max_compiles=0):
        K = kernels.pairwise(other.to_spec(), X)
    assert_allclose(K, other(np.asarray(X), backend="numpy"), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cls", [NNGPKernel, NTKKernel])
@given(
    seed=st.integers(0, 2**16), depth=st.integers(1, 4), b=st.sampled_from([0.0, 0.5])
)
@settings(max_examples=15, deadline=None)
def test_laws(cls, seed, depth, b):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(6, 3))
    kernel = cls(depth, b_std=b)
    K = kernel(X, backend="numpy")
    assert_allclose(K, K.T, rtol=1e-13)
    assert np.linalg.eigvalsh(K)[0] > -1e-12 * np.trace(K)
    assert_allclose(np.diagonal(K), kernel.diag(X), rtol=1e-13)
    Q = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    assert_allclose(kernel(X @ Q, backend="numpy"), K, rtol=1e-9)
    if b == 0:  # the default weights keep variances, and ReLU is homogeneous
        own = (X**2).sum(axis=1) / 3
        factor = depth + 1 if cls is NTKKernel else 1
        assert_allclose(np.diagonal(K), factor * own, rtol=1e-12)
        assert_allclose(kernel(3 * X, backend="numpy"), 9 * K, rtol=1e-11)


def test_one_row_one_column_and_a_metric(rng):
    kernel = NTKKernel(2)
    assert_allclose(kernel([[2.0]], backend="numpy"), [[12.0]], rtol=1e-14)
    assert_allclose(
        kernel([[2.0]], [[-2.0]], backend="numpy"), [[4 / np.pi]], rtol=1e-12
    )
    X, A = rng.normal(size=(5, 3)), rng.normal(size=(3, 3))
    moved = kernel(X @ A, backend="numpy")
    assert_allclose(kernel(X, None, A @ A.T, backend="numpy"), moved, rtol=1e-11)
    assert_allclose(kernel.diag(X, A @ A.T), np.diagonal(moved), rtol=1e-12)


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (NTKKernel(0), "depth must be an integer >= 1"),
        (NTKKernel(1.5), "depth must be an integer"),
        (NTKKernel(activation="relo"), "activation must be one of .* did you mean"),
        (NTKKernel(activation=(sine,)), r"a pair of functions \(phi, dphi\)"),
        (NTKKernel(activation=(sine, 1.0)), "a pair of functions"),
        (NTKKernel(w_std=0.0), "w_std must be a finite number > 0"),
        (NTKKernel(readout_w_std=-1), "readout_w_std must be a finite number > 0"),
        (NNGPKernel(b_std=-0.1), "b_std must be a finite number >= 0"),
        (NNGPKernel(readout_b_std=np.nan), "readout_b_std must be a finite number"),
        (NNGPKernel(skip=1), "skip must be True or False"),
    ],
)
def test_a_parameter_out_of_range_is_refused(kernel, message):
    with pytest.raises(InvalidInputError, match=message):
        kernel(np.ones((2, 2)), backend="numpy")
    with pytest.raises(InvalidInputError, match=message):
        kernel.diag(np.ones((2, 2)))


def test_storage_names_and_categories():
    kernel = NTKKernel(np.int64(2), "gelu", b_std=np.float32(0.5), skip=True)
    assert (
        kernel_from_config(json.loads(json.dumps(kernel_to_config(kernel)))) == kernel
    )
    with pytest.raises(InvalidInputError, match="never its code"):
        kernel_to_config(NTKKernel(1, (bend, bend_slope)))
    assert resolve_kernel("ntk") == NTKKernel()
    assert resolve_kernel("nngp") == NNGPKernel()
    with pytest.raises(InvalidInputError, match="has no length scale"):
        resolve_kernel("ntk", 2.0)
    spec = NTKKernel().to_spec()
    coded = KernelSpec(
        name="ntk", params=spec.params, static=(*spec.static, ("lookup", (3,)))
    )
    with pytest.raises(OperationNotSupportedError, match="takes no category codes"):
        kernels.pairwise(coded, np.zeros((2, 2), "f4"))


C = np.array([1.0, 0.7, 0.0, -0.4, -1.0])


@pytest.mark.parametrize("backend", ["numpy", "jax"])
def test_zonal_is_the_kernel_on_the_sphere(backend, rng):
    d = 4
    Q = np.linalg.qr(rng.normal(size=(d, d)))[0]
    points = np.zeros((len(C), d))
    points[:, 0], points[:, 1] = C, np.sqrt(1 - C**2)
    mixed = 0.5 * NNGPKernel() + LaplaceKernel(bandwidth=1.0) * LinearKernel()
    cases = [(mixed, 2.0)]
    if backend == "numpy":
        cases += [(GaussianKernel(bandwidth=0.8), 1.0), (NTKKernel(2, b_std=0.3), 2.0)]
    for kernel, radius in cases[::-1]:
        on_sphere = radius * points @ Q
        expected = kernel(on_sphere, radius * Q[:1], backend="numpy")[:, 0]
        # Opposite points off the axes are opposite but for round-off.
        got = kernel.zonal(C, d, backend=backend)
        assert_allclose(got, expected, rtol=2e-7)
        assert_allclose(got[:4], expected[:4], rtol=1e-10)
    half = kernel.zonal(C[1], d, radius=0.5, backend=backend)
    assert half.shape == ()
    expected = kernel(0.5 * points[1:2], 0.5 * np.eye(d)[:1], backend="numpy")
    assert_allclose(half, expected[0, 0], rtol=1e-10)


def test_zonal_needs_no_points_of_many_columns():
    got = NTKKernel(2).zonal([1.0, 0.0], 10**9)
    assert_allclose(got, NTKKernel(2).zonal([1.0, 0.0], 2), rtol=1e-12)
    assert GaussianKernel(bandwidth=1.0).zonal([[1.0, 0.0]], 1).shape == (1, 2)


@pytest.mark.parametrize(
    ("kernel", "arguments", "error", "message"),
    [
        (LpqKernel(), (C, 3), OperationNotSupportedError, "points are rotated"),
        (LaplaceL1Kernel(), (C, 3), OperationNotSupportedError, "points are rotated"),
        (SumPowerLaplaceKernel(), (C, 3), OperationNotSupportedError, "rotated"),
        (NTKKernel() * LpqKernel(), (C, 3), OperationNotSupportedError, "rotated"),
        (NTKKernel(), ([1.1], 3), InvalidInputError, "cosines from -1 to 1"),
        (NTKKernel(), ([np.nan], 3), InvalidInputError, "cosines from -1 to 1"),
        (NTKKernel(), (C, 0), InvalidInputError, "d must be an integer >= 1"),
        (NTKKernel(), (C, 2.5), InvalidInputError, "d must be an integer"),
    ],
)
def test_zonal_refuses(kernel, arguments, error, message):
    with pytest.raises(error, match=message):
        kernel.zonal(*arguments)
    if error is InvalidInputError:
        with pytest.raises(InvalidInputError, match="radius must be a finite"):
            kernel.zonal(C, 3, radius=0.0)


def test_zonal_knows_the_euclidean_lpq():
    kernel = LpqKernel(2.0, 1.0, bandwidth=1.5)
    expected = LaplaceKernel(bandwidth=1.5).zonal(C, 3)
    assert_allclose(kernel.zonal(C, 3), expected, rtol=1e-12)
