"""Rows spread over eight devices: the same numbers, and a share of the rows on each."""

from __future__ import annotations

import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from mlmethods.errors import InvalidInputError, OperationNotSupportedError
from mlmethods.interfaces import KernelSpec
from mlmethods.kernels import EigenProRegressor, KernelRidge
from mlmethods.kernels.contract import EigenProConfig
from mlmethods.rfm import RFMRegressor
from mlmethods_jax import JaxBackend
from mlmethods_jax.ops import kernels
from mlmethods_jax.sharding import (
    assert_not_replicated,
    check_mesh,
    make_mesh,
    pad_to_multiple,
    shard_leading_axis,
)
from mlmethods_jax.solvers import sharded
from mlmethods_jax.testing import compile_guard

DEVICES = 8
enough = jax.device_count() >= DEVICES
on_eight = pytest.mark.skipif(not enough, reason="runs in the process with 8 devices")

N, SHARE = 1003, 126
LAPLACE = KernelSpec(name="laplace", bandwidth=2.0)
KERNELS = [
    LAPLACE,
    KernelSpec(name="lpq", bandwidth=2.0, params={"p": 1.5, "q": 1.0}),
    KernelSpec(name="quadratic"),
]
FULL = np.diag([1.0, 0.5, 0.2]) + 0.05


@pytest.mark.multidevice
@pytest.mark.timeout(600)
@pytest.mark.skipif(enough, reason="this is the process with 8 devices")
def test_the_file_passes_on_eight_simulated_devices():
    flags = f"--xla_force_host_platform_device_count={DEVICES}"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "pytest", __file__, "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "-m", "multidevice", "-n", "0"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "1 skipped" in done.stdout


@pytest.fixture
def rows(rng):
    X = rng.normal(size=(N, 3))
    Y = np.stack([np.sin(2 * X[:, 0]), X[:, 1] * X[:, 2]], axis=1)
    return X, Y, rng.uniform(0.5, 2.0, N)


@pytest.fixture
def wide():
    with jax.enable_x64(True):
        yield


def _shards(mesh, *arrays):
    return shard_leading_axis([pad_to_multiple(a, DEVICES)[0] for a in arrays], mesh)


# Operations ------------------------------------------------------------------


@on_eight
@pytest.mark.multidevice
@pytest.mark.parametrize("spec", KERNELS, ids=lambda spec: spec.name)
def test_products_go_round_the_ring(rows, wide, spec):
    X, Y, _ = rows
    mesh = make_mesh()
    queries = X[:100] + 0.1
    x, z, alpha = _shards(mesh, queries, X, Y)
    out = sharded.matvec(spec, x, z, alpha, FULL, mesh=mesh)
    M, device = jax.device_put(FULL), jax.device_put
    expected = kernels.matvec(spec, device(queries), device(X), device(Y), M)
    assert_allclose(np.asarray(out)[:100], expected, rtol=1e-9, atol=1e-9)
    assert_not_replicated(out, 13)
    own = sharded.matvec(spec, z, None, alpha, FULL, mesh=mesh)
    expected = kernels.matvec(spec, device(X), None, device(Y), M)
    assert_allclose(np.asarray(own)[:N], expected, rtol=1e-9, atol=1e-9)


@on_eight
@pytest.mark.multidevice
@pytest.mark.parametrize(
    ("spec", "diagonal", "center"),
    [
        (KERNELS[0], False, "none"),
        (KERNELS[0], True, "pooled"),
        (KERNELS[1], False, "per_output"),
        (KERNELS[2], True, "none"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_the_agop_is_that_of_one_device(rows, wide, spec, diagonal, center):
    X, Y, weights = rows
    mesh = make_mesh()
    x, alpha, w = _shards(mesh, X, Y, weights)
    options = {"diagonal": diagonal, "center": center}
    G = sharded.agop(spec, x, alpha, FULL, weights=w, mesh=mesh, **options)
    expected = kernels.agop(
        spec,
        jax.device_put(X),
        None,
        jax.device_put(Y),
        jax.device_put(FULL),
        weights=jax.device_put(weights),
        **options,
    )
    assert_allclose(G, expected, rtol=1e-9)


# The solver ------------------------------------------------------------------


def _problem(backend, rows, dtype="float64", n=N, size=333, kernel=LAPLACE):
    X, Y, weights = (a[:n] for a in rows)
    sub = np.sort(np.random.default_rng(2).choice(n, size, replace=False))
    config = EigenProConfig(kernel=kernel, reg=0.3, dtype=dtype)
    return backend.engine("kernels").eigenpro(config, X, Y, weights, sub)


def _native_arrays(problem):
    # D has one number for each direction, not for each row.
    held = {k: v for k, v in vars(problem).items() if k != "_damping"}
    leaves = [x for x in jax.tree.leaves(held) if isinstance(x, jax.Array)]
    assert len(leaves) >= 7
    return [*leaves, *problem.native()]


@on_eight
@pytest.mark.multidevice
@pytest.mark.parametrize(
    ("dtype", "M"),
    [
        ("float64", None),
        ("float64", FULL),
        ("float64", np.diag(FULL).copy()),
        ("float32", FULL),
    ],
    ids=["none", "full", "diagonal", "float32"],
)
def test_eigenpro_takes_the_steps_of_one_device(rows, dtype, M):
    numbers, losses, found = [], [], []
    for backend in (JaxBackend(), JaxBackend(mesh=make_mesh())):
        problem = _problem(backend, rows, dtype)
        numbers.append(problem.prepare(M))
        order = np.random.default_rng(1)
        losses.append([problem.epoch(order.permutation(N)) for _ in range(4)])
        new = rows[0][:50] + 0.1
        found.append((problem.coefficients(), problem.predict(new)))
    assert_not_replicated(_native_arrays(problem), SHARE)
    rtol = 1e-10 if dtype == "float64" else 2e-3
    assert_allclose(numbers[1], numbers[0], rtol=rtol)
    assert_allclose(losses[1], losses[0], rtol=10 * rtol)
    for ours, single in zip(found[1], found[0], strict=True):
        assert ours.dtype == dtype
        assert_allclose(ours, single, atol=rtol * np.abs(single).max())
    if dtype == "float64":
        _same_agop(problem, rows, M, found[0][0])


def _same_agop(problem, rows, M, alpha):
    X, _, weights = rows
    with jax.enable_x64(True):
        device = jax.device_put((X, alpha, M, weights))
        expected = kernels.agop(
            LAPLACE, device[0], None, *device[1:3], weights=device[3]
        )
    assert_allclose(problem.agop(), expected, rtol=1e-5)


@on_eight
@pytest.mark.multidevice
def test_categories_from_tables(rows):
    X, Y, weights = rows
    codes = np.random.default_rng(3).integers(0, 4, size=(N, 1)).astype(float)
    X = np.concatenate([X[:, :2], codes], axis=1)
    spec = KernelSpec(name="laplace", bandwidth=2.0, static=(("lookup", (4,)),))
    M = np.diag([1.0, 0.5, 1.0, 0.8, 0.6, 0.4])
    found = []
    for backend in (JaxBackend(), JaxBackend(mesh=make_mesh())):
        problem = _problem(backend, (X, Y, weights), kernel=spec)
        problem.prepare(M)
        problem.epoch(np.arange(N))
        found.append((problem.coefficients(), problem.predict(X[:40])))
    for ours, single in zip(found[1], found[0], strict=True):
        assert_allclose(ours, single, atol=1e-10 * np.abs(single).max())
    with jax.enable_x64(True):
        device = jax.device_put((X, found[0][0], M, weights))
        expected = kernels.agop(spec, device[0], None, *device[1:3], weights=device[3])
    assert_allclose(problem.agop(), expected, rtol=1e-9, atol=1e-12)


@on_eight
@pytest.mark.multidevice
def test_fewer_rows_than_devices(rows):
    problem = _problem(JaxBackend(mesh=make_mesh()), rows, n=5, size=3)
    problem.prepare()
    for _ in range(200):
        problem.epoch(np.arange(5))
    X, Y, weights = (a[:5] for a in rows)
    exact = KernelRidge("laplace", bandwidth=2.0, reg=0.3, backend="numpy")
    exact.fit(X, Y, sample_weight=weights)
    assert_allclose(problem.coefficients(), exact.dual_coef_, atol=1e-8)
    assert_not_replicated(_native_arrays(problem), 1)


@on_eight
@pytest.mark.multidevice
def test_a_new_metric_bandwidth_or_reg_compiles_nothing(rows):
    problem = _problem(JaxBackend(mesh=make_mesh()), rows, "float32")
    problem.prepare(np.eye(3))
    problem.epoch(np.arange(N))
    with compile_guard(max_compiles=0):
        problem.prepare(FULL, bandwidth=5.0, reg=1.0)
        problem.epoch(np.arange(N)[::-1])


@on_eight
@pytest.mark.multidevice
def test_an_estimator_on_a_mesh(rows):
    X, Y, weights = rows
    common = {"bandwidth": 2.0, "reg": 1.0, "dtype": "float64"}
    model = EigenProRegressor(
        **common,
        epochs=200,
        n_subsample=200,
        tol=1e-9,
        fit_intercept=False,
        backend=JaxBackend(mesh=make_mesh()),
        random_state=0,
    )
    model = clone(model).fit(X, Y, sample_weight=weights)
    exact = KernelRidge(**common, backend="numpy").fit(X, Y, sample_weight=weights)
    scale = np.abs(exact.dual_coef_).max()
    assert_allclose(model.dual_coef_, exact.dual_coef_, atol=1e-6 * scale)
    new = X[:77] + 0.1
    assert_allclose(model.predict(new), exact.predict(new), rtol=1e-5, atol=1e-7)


@on_eight
@pytest.mark.multidevice
def test_replicated_arrays_are_found():
    mesh = make_mesh()
    spread = shard_leading_axis(np.zeros((16, 2), np.float32), mesh)
    assert_not_replicated({"x": spread}, 2)
    everywhere = jax.device_put(spread, NamedSharding(mesh, PartitionSpec()))
    with pytest.raises(AssertionError, match=r"\['x'\] .* has 16 rows .* than 2"):
        assert_not_replicated({"x": everywhere}, 2)
    with pytest.raises(InvalidInputError, match=r"8 devices .* use pad_to"):
        shard_leading_axis(np.zeros((12, 2), np.float32), mesh)


# Helpers, on any number of devices -------------------------------------------


def test_padding_is_masked():
    padded, mask = pad_to_multiple(np.arange(6.0).reshape(3, 2), 4, fill=[7.0, 8.0])
    assert_array_equal(padded[3], [7.0, 8.0])
    assert_array_equal(mask, [True, True, True, False])
    same, mask = pad_to_multiple(padded, 4)
    assert_array_equal(same, padded)
    assert mask.all()


def test_meshes():
    assert make_mesh(1).axis_names == ("data",)
    with pytest.raises(InvalidInputError, match="shape must be between 1 and the"):
        make_mesh(jax.device_count() + 1)
    other = Mesh(np.array(jax.devices()[:1]), ("tensor",))
    for bad in (other, None):
        with pytest.raises(InvalidInputError, match="lie on the axis 'data'"):
            check_mesh(bad)


def test_a_mesh_of_one_device_is_that_device(rng):
    X, Y = rng.normal(size=(60, 3)), rng.normal(size=(60, 2))
    backend = JaxBackend(mesh=make_mesh(1))
    model = EigenProRegressor(reg=1.0, epochs=3, tol=0.0, random_state=0)
    model.set_params(dtype="float64", backend=backend)
    predictions = clone(model).fit(X, Y).predict(X)
    single = model.set_params(backend="jax").fit(X, Y).predict(X)
    assert_allclose(predictions, single, atol=1e-9)
    with pytest.raises(OperationNotSupportedError, match="no engine for 'other'"):
        backend.engine("other")


# Recursive Feature Machines --------------------------------------------------


@on_eight
@pytest.mark.multidevice
@pytest.mark.parametrize("diagonal", [False, True])
def test_a_feature_machine_is_that_of_one_device(rows, diagonal):
    X, Y, weights = rows
    settings = {
        "reg": 0.1,
        "n_iter": 2,
        "solver": "eigenpro",
        "epochs": 4,
        "diagonal": diagonal,
        "dtype": "float64",
        "random_state": 0,
    }
    one = RFMRegressor(backend="jax", **settings).fit(X, Y, weights)
    eight = RFMRegressor(backend=JaxBackend(make_mesh()), **settings)
    eight.fit(X, Y, weights)
    assert one.n_iter_ == eight.n_iter_
    assert_allclose(eight.M_, one.M_, rtol=1e-5, atol=1e-9)
    assert_allclose(eight.dual_coef_, one.dual_coef_, rtol=1e-5, atol=1e-9)
    assert_allclose(eight.predict(X), one.predict(X), rtol=1e-5, atol=1e-9)
