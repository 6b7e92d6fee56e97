"""Kernel objects: values, gradients, parameters, ranges, storage."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import approx_fprime
from sklearn.base import clone
from sklearn.gaussian_process import kernels as peers

import mlmethods
from mlmethods.errors import (
    ConfigError,
    InvalidInputError,
    OperationNotSupportedError,
)
from mlmethods.interfaces import KernelSpec
from mlmethods.kernels import (
    ExpPowerKernel,
    GaussianKernel,
    InnerProductKernel,
    Kernel,
    LaplaceKernel,
    LaplaceL1Kernel,
    LinearKernel,
    LpqKernel,
    MaternKernel,
    PolynomialKernel,
    QuadraticKernel,
    RationalQuadraticKernel,
    SumPowerLaplaceKernel,
    kernel_from_config,
    kernel_to_config,
    median_bandwidth,
    resolve_kernel,
)


def cube(t):
    return (1 + t) ** 3


def cube_slope(t):
    return 3 * (1 + t) ** 2


STORABLE = [
    LaplaceKernel(bandwidth=1.5),
    GaussianKernel(bandwidth=1.5),
    ExpPowerKernel(0.7, bandwidth=1.5),
    MaternKernel(2.5, bandwidth=1.5),
    LpqKernel(1.5, 1.2, bandwidth=1.5),
    SumPowerLaplaceKernel(1.2, 3, 0.1, bandwidth=1.5),
    QuadraticKernel(),
    LaplaceL1Kernel(bandwidth=1.5),
    LinearKernel(),
    PolynomialKernel(2, constant=0.5, scale=0.3),
    RationalQuadraticKernel(0.7, bandwidth=1.5),
]
KERNELS = [*STORABLE, InnerProductKernel(cube, cube_slope)]


def by_name(kernel):
    return type(kernel).__name__


@pytest.fixture(params=KERNELS, ids=by_name)
def kernel(request):
    return clone(request.param, safe=False)


@pytest.fixture
def points(rng):
    return rng.normal(size=(6, 3)), rng.normal(size=(5, 3))


@pytest.mark.parametrize(
    ("kernel", "peer"),
    [
        (LaplaceKernel(bandwidth=2.0), peers.Matern(2.0, nu=0.5)),
        (GaussianKernel(bandwidth=2.0), peers.RBF(2.0)),
        (MaternKernel(0.5, bandwidth=2.0), peers.Matern(2.0, nu=0.5)),
        (MaternKernel(1.5, bandwidth=2.0), peers.Matern(2.0, nu=1.5)),
        (MaternKernel(3.3, bandwidth=2.0), peers.Matern(2.0, nu=3.3)),
        (QuadraticKernel(), peers.DotProduct(0.0) ** 2),
    ],
    ids=lambda value: type(value).__name__,
)
def test_to_sklearn_is_the_same_function(kernel, peer, points):
    X, Z = points
    assert kernel.to_sklearn() == peer
    values = kernel(X, Z, backend="numpy")
    assert_allclose(values, kernel.to_sklearn()(X, Z), rtol=1e-12)


def test_a_kernel_without_equivalent_says_so():
    with pytest.raises(OperationNotSupportedError, match="no kernel equal to Lpq"):
        LpqKernel().to_sklearn()


def test_diag_is_the_diagonal(kernel, points):
    X, _ = points
    for M in (None, np.array([0.5, 1.0, 2.0]), np.diag([1.0, 2.0, 3.0]) + 0.1):
        matrix = kernel(X, None, M, backend="numpy")
        assert_allclose(kernel.diag(X, M), np.diagonal(matrix), rtol=1e-12)


def test_grad_is_the_numerical_gradient(kernel, points, rng):
    X, Z = points
    alpha, M = rng.normal(size=5), np.diag([1.0, 2.0, 3.0]) + 0.1
    gradient = kernel.grad(X, Z, alpha, M, backend="numpy")
    expected = [
        approx_fprime(
            x, lambda v: float((kernel(v[None], Z, M, backend="numpy") @ alpha)[0])
        )
        for x in X
    ]
    scale = np.abs(expected).max()
    assert_allclose(gradient, expected, rtol=1e-5, atol=1e-6 * scale)
    columns = kernel.grad(
        X, Z, np.stack([alpha, 2 * alpha], axis=1), M, backend="numpy"
    )
    assert columns.shape == (6, 2, 3)
    assert_allclose(columns[:, 1], 2 * gradient)


def test_both_backends_agree(kernel, points):
    X, Z = points
    M = np.diag([1.0, 2.0, 3.0]) + 0.1
    expected = kernel(X, Z, M, backend="numpy")
    assert expected.dtype == np.float64
    wide = kernel(X, Z, M, backend="jax", dtype="float64")
    assert wide.dtype == np.float64
    assert_allclose(wide, expected, rtol=1e-11)
    narrow = kernel(X, Z, M, backend="jax", dtype="float32")
    assert narrow.dtype == np.float32
    assert_allclose(narrow, expected, rtol=1e-4)
    gradient = kernel.grad(X, None, np.ones(6), M, backend="jax", dtype="float64")
    assert_allclose(
        gradient, kernel.grad(X, None, np.ones(6), M, backend="numpy"), rtol=1e-9
    )


def test_the_automatic_backend_is_one_that_has_the_kernel(points):
    X, _ = points
    kernel = MaternKernel(3.3)
    assert kernel(X).dtype == np.float64  # NumPy: JAX has no Bessel functions
    with pytest.raises(OperationNotSupportedError, match="numpy"):
        kernel(X, backend="jax")
    with mlmethods.use_backend("numpy"):
        assert LaplaceKernel()(X).dtype == np.float64


def test_parameters_follow_scikit_learn(kernel):
    copy = clone(kernel, safe=False)
    assert copy is not kernel
    assert copy == kernel
    params = kernel.get_params()
    if "bandwidth" in params:
        assert kernel.set_params(bandwidth=4.0) is kernel
        assert kernel.to_spec().bandwidth == 4.0
        assert copy != kernel
    with pytest.raises(InvalidInputError, match="no parameter 'bandwith'"):
        kernel.set_params(bandwith=1.0)
    assert repr(LpqKernel(1.5, 1)) == "LpqKernel(p=1.5, q=1, bandwidth=10.0)"
    assert LaplaceKernel() != GaussianKernel()


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (LaplaceKernel(bandwidth=0), r"bandwidth must be a finite number > 0, got 0"),
        (GaussianKernel(bandwidth=-1.0), "bandwidth must be a finite number > 0"),
        (GaussianKernel(bandwidth="median"), "bandwidth must be a finite number"),
        (GaussianKernel(bandwidth=np.inf), "bandwidth must be a finite number"),
        (ExpPowerKernel(2.1), "q must be a finite number > 0 and <= 2, got 2.1"),
        (MaternKernel(0.0), "nu must be a finite number > 0 and <= 30"),
        (MaternKernel(31), "nu must be"),
        (LpqKernel(2.5, 1), "p must be a finite number > 0 and <= 2"),
        (LpqKernel(1.0, 1.5), "q must be at most p"),
        (LpqKernel(1.0, 0), "q must be a finite number > 0"),
        (SumPowerLaplaceKernel(power=1.5), "power must be an integer >= 1"),
        (SumPowerLaplaceKernel(const_mix=1.0), "const_mix must be a finite number"),
        (SumPowerLaplaceKernel(q=0), "q must be"),
        (InnerProductKernel(cube, None), "dh must be a function"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_parameter_out_of_range_is_refused_at_use(kernel, message):
    with pytest.raises(InvalidInputError, match=message):
        kernel(np.ones((2, 2)), backend="numpy")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda k: k([1.0, 2.0]), r"X must have shape \(n, d\), got shape \(2,\)"),
        (lambda k: k([["a"]]), "X must be an array of real numbers"),
        (lambda k: k(np.ones((2, 3)), np.ones((2, 4))), r"Z must have shape \(m, 3\)"),
        (lambda k: k(np.ones((2, 3)), None, np.ones(2)), r"M must have shape \(3, 3\)"),
        (lambda k: k.grad(np.ones((2, 3)), None, np.ones(3)), "alpha must have shape"),
    ],
)
def test_bad_arrays(call, message):
    with pytest.raises(InvalidInputError, match=message):
        call(LaplaceKernel())


@pytest.mark.parametrize("kernel", STORABLE, ids=by_name)
def test_config_round_trip_through_json(kernel):
    config = json.loads(json.dumps(kernel_to_config(kernel)))
    assert kernel_from_config(config) == kernel


def test_numpy_numbers_become_json():
    kernel = SumPowerLaplaceKernel(power=np.int64(3), bandwidth=np.float32(0.5))
    assert json.loads(json.dumps(kernel_to_config(kernel)))["params"]["power"] == 3


class Foreign(LaplaceKernel):
    pass


@pytest.mark.parametrize(
    "kernel", [InnerProductKernel(cube, cube_slope), Foreign()], ids=by_name
)
def test_code_is_never_stored(kernel):
    with pytest.raises(InvalidInputError, match="never its code"):
        kernel_to_config(kernel)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"class": "os.system", "params": {}}, "no kernel class 'os.system'"),
        ({"class": "InnerProductKernel", "params": {}}, "no kernel class"),
        ({"class": "LaplaceKernel", "params": {"width": 1}}, "no parameter 'width'"),
        ({"class": "LaplaceKernel", "params": {"bandwidth": 0}}, "damaged"),
        ({"class": "LaplaceKernel"}, "class and params"),
        ("laplace", "class and params"),
    ],
)
def test_a_damaged_config_is_refused(config, message):
    with pytest.raises(ConfigError, match=message):
        kernel_from_config(config)


@pytest.mark.parametrize(
    ("name", "kernel"),
    [
        ("laplace", LaplaceKernel()),
        ("gaussian", GaussianKernel()),
        ("exp_power", ExpPowerKernel()),
        ("matern", MaternKernel()),
        ("lpq", LpqKernel()),
        ("sum_power", SumPowerLaplaceKernel()),
        ("quadratic", QuadraticKernel()),
        ("linear", LinearKernel()),
        ("polynomial", PolynomialKernel()),
        ("rational_quadratic", RationalQuadraticKernel()),
    ],
)
def test_resolve_by_name_gives_the_defaults_of_the_class(name, kernel):
    resolved = resolve_kernel(name)
    assert resolved == kernel
    if "bandwidth" in kernel.get_params():
        assert resolved.to_spec().bandwidth == 10.0
        assert resolve_kernel(name, 3).to_spec().bandwidth == 3.0


def test_resolve_keeps_an_object_and_finds_the_median():
    kernel = GaussianKernel(bandwidth=2.0)
    assert resolve_kernel(kernel) is kernel
    X = [[0.0], [1.0], [3.0]]
    assert resolve_kernel("laplace", "median", X=X) == LaplaceKernel(bandwidth=2.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gausian",), "did you mean 'gaussian'"),
        ((3,), "kernel must be a name"),
        ((LaplaceKernel(), 2.0), "bandwidth must be None with a kernel object"),
        ((LaplaceKernel(), "median"), "bandwidth must be None with a kernel object"),
        (("laplace", "mean"), "bandwidth must be one of 'median'"),
        (("laplace", "median"), "needs X"),
        (("laplace", -1), "bandwidth must be a finite number > 0"),
        (("quadratic", 1.0), "has no length scale"),
        (("sum_power", "median"), "refused for kernel 'sum_power'"),
        ((LpqKernel(1, 2),), "q must be at most p"),
    ],
)
def test_resolve_refuses(arguments, message):
    with pytest.raises(InvalidInputError, match=message):
        resolve_kernel(*arguments)


def test_median_bandwidth_is_the_median_distance(rng):
    X = rng.normal(size=(30, 3))
    A = rng.normal(size=(3, 3))
    for M, full in ((None, np.eye(3)), (np.array([1, 2, 3]), np.diag([1, 2, 3])), (A @ A.T, A @ A.T)):  # fmt: skip
        distances = [
            np.sqrt((X[i] - X[j]) @ full @ (X[i] - X[j]))
            for i in range(30)
            for j in range(i)
        ]
        assert_allclose(median_bandwidth(X, M), np.median(distances), rtol=1e-12)


def test_median_bandwidth_of_a_sample(rng):
    X = rng.normal(size=(400, 2))
    full = median_bandwidth(X)
    sampled = median_bandwidth(X, max_samples=200, rng=0)
    assert sampled == median_bandwidth(X, max_samples=200, rng=0)
    assert sampled != full
    assert_allclose(sampled, full, rtol=0.1)
    assert median_bandwidth(np.ones((4, 2))) == 1.0
    assert median_bandwidth(np.ones((1, 2))) == 1.0
    with pytest.raises(InvalidInputError, match="max_samples"):
        median_bandwidth(X, max_samples=1)


def test_a_kernel_of_ones_own_needs_to_spec_only(points):
    class Doubled(Kernel):
        def __init__(self, bandwidth=1.0):
            self.bandwidth = bandwidth

        def to_spec(self):
            return KernelSpec(name="gaussian", bandwidth=2 * self.bandwidth)

    X, Z = points
    assert_allclose(
        Doubled(1.5)(X, Z, backend="numpy"),
        GaussianKernel(bandwidth=3.0)(X, Z, backend="numpy"),
    )


def test_importing_the_family_loads_neither_jax_nor_scikit_learn():
    code = (
        "import sys, mlmethods.kernels as k; k.LaplaceKernel; k.resolve_kernel; "
        "k.kernel_to_config; print([m for m in ('jax', 'sklearn') if m in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "[]"
