"""Categorical features by lookup equal their one-hot codes."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.linalg import block_diag

from mlmethods.interfaces import KernelSpec
from mlmethods_jax.ops import kernels

SIZES = (5, 40)
NUMBERS = 3
SPECS = [
    KernelSpec(name="laplace", bandwidth=2.0),
    KernelSpec(name="gaussian", bandwidth=2.0),
    KernelSpec(name="exp_power", bandwidth=2.0, params={"q": 0.7}),
    KernelSpec(name="matern", bandwidth=2.0, static=(("nu", 1.5),)),
    KernelSpec(name="lpq", bandwidth=2.0, params={"p": 1.4, "q": 0.9}),
    KernelSpec(
        name="sum_power",
        bandwidth=2.0,
        params={"q": 1.0, "power": 2.0, "const_mix": 0.1},
    ),
    KernelSpec(name="quadratic"),
]


def with_lookup(spec):
    return dataclasses.replace(spec, static=(*spec.static, ("lookup", SIZES)))


def rows(n, seed, unknown=False):
    rng = np.random.default_rng(seed)
    codes = np.stack([rng.integers(0, k, n) for k in SIZES], axis=1)
    if unknown:
        codes[::3] = -1
    return np.concatenate([rng.standard_normal((n, NUMBERS)), codes], axis=1)


def one_hot(X):
    parts = [X[:, :NUMBERS]]
    for column, size in enumerate(SIZES):
        parts.append(X[:, NUMBERS + column, None] == np.arange(size))
    return np.concatenate(parts, axis=1).astype(float)


def metric(kind):
    rng = np.random.default_rng(3)
    if kind == "none":
        return None
    if kind == "diagonal":
        return rng.uniform(0.1, 1.0, NUMBERS + sum(SIZES))
    blocks = [rng.standard_normal((k, k)) for k in (NUMBERS, *SIZES)]
    return block_diag(*(B @ B.T / len(B) for B in blocks))


TIGHT = {"rtol": 1e-9, "atol": 1e-10}


@pytest.mark.parametrize(
    "spec",
    [SPECS[0], *(pytest.param(spec, marks=pytest.mark.slow) for spec in SPECS[1:])],
    ids=lambda spec: spec.name,
)
def test_lookup_equals_one_hot(spec):
    X, Z, M = rows(30, 0, unknown=True), rows(50, 1), metric("full")
    alpha = np.random.default_rng(2).standard_normal((50, 2))
    own = with_lookup(spec)
    with jax.enable_x64(True):
        assert_allclose(
            kernels.pairwise(own, X, Z, M),
            kernels.pairwise(spec, one_hot(X), one_hot(Z), M),
            **TIGHT,
        )
        assert_allclose(
            kernels.agop(own, X, Z, alpha, M, block_size=7),
            kernels.agop(spec, one_hot(X), one_hot(Z), alpha, M),
            **TIGHT,
        )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["none", "diagonal", "full"])
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_every_operation_with_lookup_equals_one_hot(spec, kind):
    X, M = rows(50, 0, unknown=True), metric(kind)
    alpha = np.random.default_rng(2).standard_normal((50, 2))
    own = with_lookup(spec)
    with jax.enable_x64(True):
        for op in (kernels.matvec, kernels.grad):
            ours = op(own, X, None, alpha, M, block_size=7)
            assert_allclose(ours, op(spec, one_hot(X), None, alpha, M), **TIGHT)
        for options in ({"diagonal": True}, {"center": "per_output"}):
            ours = kernels.agop(own, X, None, alpha, M, **options)
            plain = kernels.agop(spec, one_hot(X), None, alpha, M, **options)
            assert_allclose(ours, plain, **TIGHT)


def test_duplicated_categories_have_no_gradient_in_float32():
    X = np.repeat(rows(4, 0), 3, axis=0)
    alpha = np.ones((12, 1))
    g = kernels.grad(with_lookup(SPECS[0]), X, None, alpha, metric("full"))
    assert np.isfinite(g).all()
    expected = kernels.grad(SPECS[0], one_hot(X), None, alpha, metric("full"))
    assert_allclose(g, expected, rtol=1e-3, atol=1e-4)


def test_a_thousand_categories():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 1000, (200, 1)).astype(float)
    spec = KernelSpec(name="laplace", bandwidth=1.0, static=(("lookup", (1000,)),))
    K = np.asarray(kernels.pairwise(spec, X))
    same = X == X.T
    assert_allclose(K[same], 1.0)
    assert_allclose(K[~same], np.exp(-np.sqrt(2.0)), rtol=1e-6)
