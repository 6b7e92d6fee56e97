"""Sums and products of kernels, and the kernels that became their parts."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.metrics.pairwise import laplacian_kernel, polynomial_kernel
from sklearn.model_selection import GridSearchCV

from mlmethods.errors import (
    ConfigError,
    InvalidInputError,
    OperationNotSupportedError,
)
from mlmethods.interfaces import KernelSpec
from mlmethods.kernels import (
    GaussianKernel,
    KernelRidge,
    LaplaceKernel,
    LaplaceL1Kernel,
    LinearKernel,
    LpqKernel,
    MaternKernel,
    NTKKernel,
    PolynomialKernel,
    ProductKernel,
    QuadraticKernel,
    RationalQuadraticKernel,
    SumKernel,
    kernel_from_config,
    kernel_to_config,
)
from mlmethods.testing import assert_close
from mlmethods_jax.ops import kernels
from mlmethods_jax.testing import compile_guard

LAPLACE, GAUSSIAN = LaplaceKernel(bandwidth=1.5), GaussianKernel(bandwidth=2.0)
NESTED = (0.5 * (LAPLACE * LinearKernel()) + GAUSSIAN) * (
    2.0 * RationalQuadraticKernel(bandwidth=3.0) + PolynomialKernel(2, scale=0.3)
)


@pytest.fixture
def points(rng):
    A = rng.normal(size=(3, 3))
    X, Z = rng.normal(size=(6, 3)), rng.normal(size=(5, 3))
    X[2] = Z[1]
    return X, Z, A @ A.T + 0.1 * np.eye(3)


def test_a_sum_and_a_product_are_what_they_say(points):
    X, Z, M = points
    left, right = (k(X, Z, M, backend="numpy") for k in (LAPLACE, GAUSSIAN))
    for backend in ("numpy", "jax"):
        options = {"backend": backend, "dtype": "float64"}
        total = (LAPLACE + 0.25 * GAUSSIAN)(X, Z, M, **options)
        assert_allclose(total, left + 0.25 * right, rtol=1e-11)
        product = (LAPLACE * GAUSSIAN)(X, Z, M, **options)
        assert_allclose(product, left * right, rtol=1e-11)


def test_operators_build_flat_sums_and_products():
    a, b, c = LAPLACE, GAUSSIAN, LinearKernel()
    assert a + b + c == SumKernel([a, b, c], [1.0, 1.0, 1.0])
    assert 2 * (a + 3 * b) == SumKernel([a, b], [2.0, 6.0])
    assert a * 2 == 2.0 * a == SumKernel([a], [2.0])
    assert a * b * c == ProductKernel([a, b, c])
    assert np.float32(0.5) * a == SumKernel([a], [0.5])
    assert a + b != b + a
    assert SumKernel([a, b], np.array([1.0, 2.0])) == SumKernel([a, b], [1, 2])
    assert SumKernel([a]) != ProductKernel([a])
    for wrong in (lambda: a + 1.0, lambda: a * "b", lambda: True * a):
        with pytest.raises(TypeError):
            wrong()
    with pytest.raises(InvalidInputError, match="factor of a kernel must be"):
        -1.0 * a


@pytest.mark.parametrize(
    "kernel", [NESTED, LAPLACE + 0.5 * NTKKernel(b_std=0.2)], ids=["nested", "sum"]
)
def test_diag_and_gradients(kernel, points, rng):
    X, Z, M = points
    matrix = kernel(X, None, M, backend="numpy")
    assert_allclose(kernel.diag(X, M), np.diagonal(matrix), rtol=1e-12)
    alpha, step = rng.normal(size=(5, 2)), 1e-6
    got = kernel.grad(X, Z, alpha, M, backend="numpy")
    sides = [
        [kernel(X + sign * step * e, Z, M, backend="numpy") @ alpha for e in np.eye(3)]
        for sign in (1, -1)
    ]
    expected = np.moveaxis(np.subtract(*sides) / (2 * step), 0, 2)
    assert_allclose(got, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    wide = kernel.grad(X, Z, alpha, M, backend="jax", dtype="float64")
    assert_close(wide, got, dtype="float64", rtol=1e-11)
    assert_close(kernel.grad(X, Z, alpha, M, backend="jax"), got, dtype="float32")


def test_one_part_changes_nothing(points):
    X, Z, _ = points
    expected = LAPLACE(X, Z, backend="jax", dtype="float64")
    for kernel in (SumKernel([LAPLACE]), ProductKernel([LAPLACE])):
        assert_allclose(kernel(X, Z, backend="jax", dtype="float64"), expected)
        assert_allclose(
            kernel.grad(X, Z, np.ones(5), backend="jax", dtype="float64"),
            LAPLACE.grad(X, Z, np.ones(5), backend="jax", dtype="float64"),
            rtol=1e-12,
        )


def test_matvec_and_agop_agree_with_the_oracle(points, rng):
    import mlmethods_numpy.ops.kernels as oracle

    X, Z, M = points
    spec, alpha = (
        (LAPLACE * QuadraticKernel() + 0.5 * GAUSSIAN).to_spec(),
        rng.normal(size=(5, 2)),
    )
    native = [jnp.asarray(a, "f4") for a in (X, Z, alpha, M)]
    for op in ("matvec", "agop"):
        got = getattr(kernels, op)(spec, *native, block_size=4)
        expected = getattr(oracle, op)(spec, X, Z, alpha, M)
        assert_close(got, expected, dtype="float32")
    diagonal = kernels.agop(spec, *native, diagonal=True)
    assert_close(diagonal, np.diagonal(expected), dtype="float32")


def test_weights_are_traced_and_have_gradients(points):
    X = jnp.asarray(points[0], "f4")

    def total(weights):
        spec = KernelSpec(
            name="sum",
            params={"weights": weights},
            children=(LAPLACE.to_spec(), GAUSSIAN.to_spec()),
        )
        return jnp.sum(kernels.pairwise(spec, X))

    slope = jax.grad(total)(jnp.array([1.0, 2.0], "f4"))
    expected = [float(k(X, backend="jax").sum()) for k in (LAPLACE, GAUSSIAN)]
    assert_allclose(slope, expected, rtol=1e-5)
    kernels.pairwise((LAPLACE + GAUSSIAN).to_spec(), X)
    with compile_guard(max_compiles=0):
        kernels.pairwise((3.0 * LAPLACE + GaussianKernel(bandwidth=7.0)).to_spec(), X)


def test_parameters_are_reached_by_place():
    kernel = clone(SumKernel([LAPLACE, LAPLACE * GAUSSIAN], [1.0, 2.0]), safe=False)
    assert kernel.get_params()["1__0__bandwidth"] == 1.5
    kernel.set_params(**{"0__bandwidth": 9.0, "1__1__bandwidth": 8.0, "weights": None})
    assert kernel.kernels[0].bandwidth == 9.0
    assert kernel.kernels[1].kernels[1].bandwidth == 8.0
    assert LAPLACE.bandwidth == 1.5  # a clone owns its parts
    kernel.set_params(**{"0__nu": 2.5, "0": MaternKernel()})
    assert kernel.kernels[0] == MaternKernel(2.5)
    for name in ("2__bandwidth", "left", "0__width"):
        with pytest.raises(InvalidInputError, match="has no parameter"):
            kernel.set_params(**{name: 1.0})


def test_an_estimator_is_cloned_and_searched_over_a_part(rng):
    X = rng.normal(size=(30, 2))
    y = np.sin(X[:, 0])
    model = KernelRidge(LAPLACE + 0.5 * GAUSSIAN, reg=1e-3, backend="numpy")
    assert clone(model).kernel == model.kernel
    search = GridSearchCV(
        model, {"kernel__1__bandwidth": [1e-3, 2.0], "reg": [1e-3]}, cv=2
    ).fit(X, y)
    assert search.best_params_["kernel__1__bandwidth"] == 2.0
    assert model.kernel.kernels[1].bandwidth == 2.0
    assert search.best_estimator_.score(X, y) > 0.9


def test_an_estimator_with_a_composite_is_stored(tmp_path, rng):
    X, y = rng.normal(size=(20, 2)), rng.normal(size=20)
    model = KernelRidge(NESTED, reg=0.1, backend="numpy").fit(X, y)
    model.save(tmp_path / "model")
    loaded = KernelRidge.load(tmp_path / "model")
    assert loaded.kernel_ == NESTED
    assert_allclose(loaded.predict(X), model.predict(X), rtol=1e-12)


def test_config_round_trip_through_json():
    kernel = NESTED + NTKKernel(2, "erf")
    config = json.loads(json.dumps(kernel_to_config(kernel)))
    assert kernel_from_config(config) == kernel
    assert kernel_from_config(kernel_to_config(SumKernel([LAPLACE]))).weights is None
    with pytest.raises(InvalidInputError, match="never its code"):
        kernel_to_config(LAPLACE + NTKKernel(1, (np.sin, np.cos)))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"class": "SumKernel", "params": {}}, "lacks 'kernels'"),
        ({"class": "SumKernel", "params": {"kernels": []}}, "at least one kernel"),
        ({"class": "SumKernel", "params": {"kernels": [1]}}, "hold Kernel objects"),
        ({"class": "ProductKernel", "params": {"kernels": [{"class": "x", "params": {}}]}}, "no kernel class 'x'"),
    ],
)  # fmt: skip
def test_a_damaged_config_is_refused(config, message):
    with pytest.raises(ConfigError, match=message):
        kernel_from_config(config)


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (SumKernel([]), "kernels must be a list of at least one kernel"),
        (SumKernel(LAPLACE), "kernels must be a list"),
        (ProductKernel(["laplace"]), "kernels must hold Kernel objects, got 'laplace'"),
        (SumKernel([LAPLACE], [-1.0]), "weights must be a finite number >= 0, got -1"),
        (SumKernel([LAPLACE], [np.nan]), "weights must be a finite number >= 0"),
        (SumKernel([LAPLACE], [1.0, 2.0]), "weights must be None or 1 numbers"),
        (SumKernel([LaplaceKernel(bandwidth=0)]), "bandwidth must be"),
        (PolynomialKernel(0), "degree must be an integer >= 1"),
        (PolynomialKernel(2.5), "degree must be an integer"),
        (PolynomialKernel(constant=-1), "constant must be a finite number >= 0"),
        (PolynomialKernel(scale=0), "scale must be a finite number > 0"),
        (RationalQuadraticKernel(0), "alpha must be a finite number > 0"),
        (LaplaceL1Kernel(bandwidth=-1), "bandwidth must be a finite number > 0"),
    ],
)
def test_a_parameter_out_of_range_is_refused(kernel, message):
    with pytest.raises(InvalidInputError, match=message):
        kernel(np.ones((2, 2)), backend="numpy")


def test_what_a_backend_lacks_it_lacks_in_a_composite(points):
    X, Z, _ = points
    kernel = LAPLACE + MaternKernel(3.3)
    assert kernel(X, Z).dtype == np.float64  # NumPy: JAX has no Bessel functions
    with pytest.raises(OperationNotSupportedError, match="Bessel"):
        kernel(X, Z, backend="jax")
    with pytest.raises(OperationNotSupportedError, match="Bessel"):
        kernels.pairwise(kernel.to_spec(), jnp.asarray(X, "f4"))
    spec = (LAPLACE + GAUSSIAN).to_spec()
    coded = KernelSpec(
        name="sum",
        params=spec.params,
        children=spec.children,
        static=(("lookup", (2,)),),
    )
    with pytest.raises(OperationNotSupportedError, match="takes no category codes"):
        kernels.pairwise(coded, jnp.zeros((2, 2)))


def test_equal_kernels_of_scikit_learn(points):
    X, Z, _ = points
    for kernel in (
        LaplaceL1Kernel(bandwidth=2.0),
        LinearKernel(),
        PolynomialKernel(2, constant=0.5, scale=0.3),
        RationalQuadraticKernel(0.7, bandwidth=2.0),
        LAPLACE + 0.5 * GAUSSIAN,
        LAPLACE * LinearKernel(),
    ):
        expected = kernel.to_sklearn()(X, Z)
        assert_allclose(kernel(X, Z, backend="numpy"), expected, rtol=1e-12)
    with pytest.raises(OperationNotSupportedError, match="no kernel equal to Lpq"):
        (LAPLACE + LpqKernel()).to_sklearn()
    expected = laplacian_kernel(X, Z, gamma=0.5)
    assert_allclose(LaplaceL1Kernel(bandwidth=2.0)(X, Z, backend="numpy"), expected)
    expected = polynomial_kernel(X, Z, degree=3, gamma=0.2, coef0=1.0)
    got = PolynomialKernel(3, scale=0.2)(X, Z, backend="numpy")
    assert_allclose(got, expected, rtol=1e-12)


def test_rational_quadratic_approaches_the_gaussian(points):
    X, Z, _ = points
    got = RationalQuadraticKernel(1e7, bandwidth=2.0)(X, Z, backend="numpy")
    assert_allclose(got, GAUSSIAN(X, Z, backend="numpy"), rtol=1e-6)


@pytest.mark.parametrize("solver", ["cholesky", "cg"])
def test_ridge_regression_with_a_diagonal_that_varies(solver, rng):
    X, y = rng.normal(size=(40, 3)), rng.normal(size=40)
    kernel = LAPLACE * LinearKernel() + 0.5 * QuadraticKernel()
    expected = np.linalg.solve(kernel(X, backend="numpy") + 0.3 * np.eye(40), y)
    for backend in ("numpy", "jax"):
        model = KernelRidge(kernel, reg=0.3, solver=solver, backend=backend)
        model.set_params(dtype="float64").fit(X, y)
        assert_allclose(model.dual_coef_, expected, rtol=1e-5, atol=1e-7)
