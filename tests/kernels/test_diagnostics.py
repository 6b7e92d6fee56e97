"""kernel_diagnostics: definitions, published numbers, and what rounding hides."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.datasets import load_diabetes

from mlmethods.errors import (
    InvalidInputError,
    MemoryLimitError,
    OperationNotSupportedError,
)
from mlmethods.kernels import (
    ExpPowerKernel,
    GaussianKernel,
    InnerProductKernel,
    KernelRidge,
    LaplaceKernel,
    MaternKernel,
    QuadraticKernel,
    kernel_diagnostics,
    ridge_path,
)


@pytest.fixture(params=["numpy", "jax"])
def backend(request):
    return request.param


def sphere(n, d, seed=0):
    """Return uniform points on the sphere in d dimensions; synthetic."""
    X = np.random.default_rng(seed).normal(size=(n, d))
    return X / np.linalg.norm(X, axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("backend", "kernel", "reg"),
    [
        ("numpy", LaplaceKernel(bandwidth=2.0), 0.0),
        ("numpy", MaternKernel(1.5), 0.2),
        ("jax", LaplaceKernel(bandwidth=2.0), 0.2),
    ],
)
def test_everything_equals_its_definition(backend, kernel, reg):
    X = sphere(60, 3) * 3
    found = kernel_diagnostics(kernel, X, reg, jitter=0.01, backend=backend)
    A = kernel(X, backend="numpy") + (reg + 0.01) * np.eye(60)
    M = np.linalg.inv(A)
    rows = np.diag(M @ M) / np.diag(M) ** 2
    assert_allclose(found.e0_rows, rows, rtol=1e-9)
    assert_allclose(found.e0, rows.mean(), rtol=1e-9)
    assert_allclose(found.e0_gcv, 60 * np.trace(M @ M) / np.trace(M) ** 2, rtol=1e-9)
    assert_allclose(found.kappa, 1 / np.trace(M), rtol=1e-9)
    largest = np.linalg.eigvalsh(A)[-1] - reg - 0.01
    assert_allclose(found.floor, 0.01 + 2.0**-52 * largest)
    # Four power steps find it from below.
    assert np.linalg.cond(A) / 1.6 < found.cond < 1.001 * np.linalg.cond(A)
    assert found.rank == 60
    assert found.definite
    assert (found.reg, found.jitter, found.dtype) == (reg, 0.01, "float64")


def test_equal_to_the_path_and_the_estimator(backend):
    X = sphere(40, 4)
    kernel = LaplaceKernel(bandwidth=1.0)
    found = kernel_diagnostics(kernel, X, 0.1, backend=backend)
    path = ridge_path(kernel, X, X[:, 0], [0.1], backend=backend)
    model = KernelRidge(kernel, reg=0.1, backend=backend).fit(X, X[:, 0])
    for name in ("e0", "kappa"):
        assert getattr(found, name) == pytest.approx(getattr(path, name)[0], rel=1e-9)
        assert getattr(found, name) == pytest.approx(getattr(model, f"{name}_"))


def test_cost_is_the_error_on_noise_at_new_points():
    # Test points of the same distribution cost what left-out rows cost.
    X, new = sphere(500, 6), sphere(3000, 6, seed=1)
    kernel = LaplaceKernel(bandwidth=1.0)
    found = kernel_diagnostics(kernel, X, backend="jax")
    K = kernel(X, backend="jax", dtype="float64")
    S = np.linalg.solve(K, kernel(X, new, backend="jax", dtype="float64"))
    assert found.e0 == pytest.approx(1 + np.mean(np.sum(S**2, axis=0)), rel=0.02)


@pytest.mark.parametrize(("d", "expected"), [(3, 1.42), (6, 1.203), (11, 1.124)])
@pytest.mark.parametrize("n", [256, 1024])
def test_laplace_kernel_on_the_sphere_is_tempered(d, expected, n):
    seeds = range(3) if n < 1000 else (0,)
    costs = [
        kernel_diagnostics("laplace", sphere(n, d, s), bandwidth=1.0, backend="jax")
        for s in seeds
    ]
    assert np.mean([c.e0 for c in costs]) == pytest.approx(expected, abs=0.02)
    assert all(c.resolved for c in costs)


def test_gaussian_kernel_on_the_sphere_grows():
    costs = [
        kernel_diagnostics("gaussian", sphere(n, 6), bandwidth=0.5, backend="jax")
        for n in (256, 512, 1024)
    ]
    assert_allclose([c.e0 for c in costs], [2.16, 2.79, 3.56], rtol=0.05)
    assert all(c.resolved for c in costs)


@pytest.mark.slow
def test_costs_at_two_thousand_rows():
    for d, expected in ((3, 1.42), (6, 1.203), (11, 1.124)):
        found = kernel_diagnostics("laplace", sphere(2048, d), bandwidth=1.0, backend="jax")  # fmt: skip
        assert found.e0 == pytest.approx(expected, abs=0.02)
    found = kernel_diagnostics("gaussian", sphere(2048, 6), bandwidth=0.5, backend="jax")  # fmt: skip
    assert found.e0 == pytest.approx(4.59, rel=0.05)


@pytest.mark.parametrize("jitter", [0.0, 1e-12, 1e-6])
@pytest.mark.parametrize("n", [512, 1024])
def test_jitter_and_rounding_are_not_taken_for_the_kernel(n, jitter):
    X = sphere(n, 3)
    found = kernel_diagnostics("gaussian", X, bandwidth=0.5, jitter=jitter, backend="jax")  # fmt: skip
    assert not found.resolved
    assert not found.e0 > 30  # as if it were harmless


@pytest.mark.parametrize("jitter", [0.0, 1e-6])
def test_float32_says_so(jitter):
    X = sphere(256, 3)
    settings = {"bandwidth": 0.5, "backend": "jax"}
    narrow = kernel_diagnostics("gaussian", X, jitter=jitter, dtype="float32", **settings)  # fmt: skip
    assert not narrow.resolved
    assert kernel_diagnostics("gaussian", X, **settings).resolved
    fine = kernel_diagnostics("laplace", sphere(256, 11), bandwidth=1.0, dtype="float32", backend="jax")  # fmt: skip
    assert fine.resolved
    assert fine.dtype == "float32"
    assert fine.e0 == pytest.approx(1.124, abs=0.02)


def test_a_singular_matrix(backend):
    X = load_diabetes().data[:60]
    found = kernel_diagnostics(QuadraticKernel(), X, backend=backend)
    assert found.rank == 55  # products of 10 columns
    assert not found.resolved
    duplicated = np.concatenate([X, X[:7]])
    found = kernel_diagnostics("laplace", duplicated, backend=backend)
    assert not found.resolved
    ridged = kernel_diagnostics("laplace", duplicated, 1e-3, backend=backend)
    assert ridged.resolved
    assert ridged.rank == 67


def _minus(t):
    return -t


def _minus_slope(t):
    return -1 + 0 * t


def test_an_indefinite_matrix():
    kernel = InnerProductKernel(_minus, _minus_slope)
    found = kernel_diagnostics(kernel, np.eye(3), backend="numpy")
    assert np.isnan([found.e0, found.kappa, found.e0_gcv, *found.e0_rows]).all()
    assert found.e0_rows.shape == (3,)
    assert found.cond == np.inf
    assert not found.resolved
    assert not found.definite


def test_one_row(backend):
    found = kernel_diagnostics("laplace", [[2.0]], backend=backend)
    assert (found.e0, found.kappa, found.cond, found.rank) == (1.0, 1.0, 1.0, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"X": [[np.nan]]}, "X must be finite, got nan in row 0, column 0"),
        ({"X": [1.0]}, "X must have shape"),
        ({"X": [[1j]]}, "X must be an array of real numbers"),
        ({"reg": -1.0}, "reg must be a finite number >= 0"),
        ({"reg": np.nan}, "reg must be a finite number >= 0"),
        ({"jitter": -1.0}, "jitter must be a finite number >= 0"),
        ({"dtype": "float16"}, "dtype must be one of"),
        ({"precision": "quad"}, "precision must be one of 'working', 'exact'"),
        ({"bandwidth": 0.0}, "bandwidth must be a finite number > 0"),
        ({"kernel": "laplac"}, "did you mean 'laplace'"),
    ],
)
def test_bad_input(change, message):
    arguments = {"kernel": "laplace", "X": [[0.0], [1.0]], **change}
    with pytest.raises(InvalidInputError, match=message):
        kernel_diagnostics(**arguments, backend="numpy")


def test_memory_limit_refuses_before_allocating():
    with pytest.raises(MemoryLimitError, match="kernel_diagnostics on n=300 rows"):
        kernel_diagnostics("laplace", np.zeros((300, 1)), memory_limit=10**6)


# With as many digits as it needs


def _with_mpmath(kernel, X, shift):
    """Return e0 and kappa by mpmath's own linear algebra, with 150 digits."""
    import mpmath

    with mpmath.workdps(150):
        spec = kernel.to_spec()
        bandwidth = mpmath.mpf(float(spec.bandwidth))
        A = mpmath.zeros(len(X))
        for i, x in enumerate(X):
            for j, z in enumerate(X):
                squares = [
                    (mpmath.mpf(a) - mpmath.mpf(b)) ** 2
                    for a, b in zip(x, z, strict=True)
                ]
                r = mpmath.sqrt(sum(squares)) / bandwidth
                A[i, j] = {
                    "laplace": lambda r: mpmath.exp(-r),
                    "gaussian": lambda r: mpmath.exp(-r * r / 2),
                    "exp_power": lambda r: mpmath.exp(-(r ** mpmath.mpf(1.7))),
                    "matern": lambda r: (
                        (1 + mpmath.sqrt(5) * r + 5 * r**2 / 3)
                        * mpmath.exp(-mpmath.sqrt(5) * r)
                    ),
                }[spec.name](r)
            A[i, i] += mpmath.mpf(shift)
        M = A**-1
        square = M * M
        n = len(X)
        e0 = sum(square[i, i] / M[i, i] ** 2 for i in range(n)) / n
        return float(e0), float(1 / sum(M[i, i] for i in range(n)))


@pytest.mark.parametrize("shift", [0.0, 1e-12])
@pytest.mark.parametrize(
    "kernel",
    [
        LaplaceKernel(bandwidth=0.7),
        GaussianKernel(bandwidth=3.0),
        ExpPowerKernel(1.7, bandwidth=2.0),
        MaternKernel(2.5, bandwidth=20.0),
    ],
)
def test_exact_equals_high_precision(kernel, shift):
    X = sphere(9, 3) * 2
    found = kernel_diagnostics(kernel, X, shift, precision="exact")
    e0, kappa = _with_mpmath(kernel, X, shift)
    assert found.e0 == pytest.approx(e0, rel=1e-14)
    assert found.kappa == pytest.approx(kappa, rel=1e-14)
    assert found.resolved


def test_exact_equals_float64_where_that_suffices():
    X = sphere(60, 3)
    exact = kernel_diagnostics("laplace", X, 0.01, bandwidth=1.0, precision="exact")
    double = kernel_diagnostics("laplace", X, 0.01, bandwidth=1.0, backend="numpy")
    assert_allclose(exact.e0_rows, double.e0_rows, rtol=1e-10)
    assert exact.e0_gcv == pytest.approx(double.e0_gcv)
    assert exact.cond == pytest.approx(double.cond, rel=0.6)
    assert exact.rank == 60
    assert "bits" in exact.dtype


def test_exact_goes_where_float64_fails():
    X = sphere(64, 3)
    kernel = GaussianKernel(bandwidth=2.0)
    double = kernel_diagnostics(kernel, X, backend="numpy")
    exact = kernel_diagnostics(kernel, X, precision="exact")
    assert not double.resolved
    assert exact.resolved
    assert exact.cond > 1e16
    assert exact.e0 > 100
    # More jitter, lower cost: it is the ridge that makes it look harmless.
    costs = [
        kernel_diagnostics(kernel, X, jitter=j, precision="exact")
        for j in (1e-40, 1e-12, 1e-6)
    ]
    assert [c.resolved for c in costs] == [True, False, False]
    assert costs[0].e0 == pytest.approx(exact.e0)
    assert costs[0].e0 > 10 * costs[1].e0 > 20 * costs[2].e0


@pytest.mark.slow
def test_exact_catastrophe_on_the_sphere():
    costs = [
        kernel_diagnostics("gaussian", sphere(n, 3), bandwidth=0.5, precision="exact")
        for n in (32, 64, 128, 256)
    ]
    assert all(c.resolved for c in costs)
    assert costs[3].e0 > 100 * costs[0].e0


def test_exact_of_duplicates_and_of_one_row():
    found = kernel_diagnostics("laplace", [[0.0], [1.0], [0.0]], precision="exact")
    assert not found.resolved
    assert np.isnan(found.e0)
    one = kernel_diagnostics("gaussian", [[0.0, 0.0]], 1.0, precision="exact")
    assert (one.e0, one.kappa) == (1.0, 2.0)


@pytest.mark.parametrize(
    ("kernel", "X", "error", "message"),
    [
        (LaplaceKernel(), np.zeros((257, 1)), InvalidInputError, "at most 256 rows, got 257"),
        (QuadraticKernel(), np.eye(2), OperationNotSupportedError, "not 'quadratic'"),
        (MaternKernel(1.7), np.eye(2), OperationNotSupportedError, "nu=1.7"),
        (LaplaceKernel(), [[1e-310], [1.0]], InvalidInputError, "between 1e-285 and"),
        (LaplaceKernel(), [[1e200], [1.0]], InvalidInputError, "to 1e\\+200"),
    ],
)  # fmt: skip
def test_what_exact_refuses(kernel, X, error, message):
    with pytest.raises(error, match=message):
        kernel_diagnostics(kernel, X, precision="exact")


@pytest.mark.parametrize("n", [64, 128, 181])
@pytest.mark.parametrize("jitter", [0.0, 1e-13, 1e-12, 1e-10, 1e-8])
def test_what_is_resolved_is_right(n, jitter):
    # Synthetic; a large cost is spoiled by a floor that is small beside n.
    X = sphere(n, 3)
    exact = kernel_diagnostics("gaussian", X, bandwidth=0.5, precision="exact")
    found = kernel_diagnostics(
        "gaussian", X, bandwidth=0.5, jitter=jitter, backend="numpy"
    )
    off = abs(found.e0 / exact.e0 - 1)
    assert exact.resolved
    assert off < 0.02 if found.resolved else off > 1e-4
