"""Kernel matrices, their products and gradients, and ridge solves."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from benchmarks.harness.case import Case, Implementation, Size
from mlmethods.interfaces import KernelSpec

__all__ = ["CASES"]

_BANDWIDTH = 10.0
_REG = 1e-3


class Points(NamedTuple):
    """Points X [n, d], centers Z [m, d] and coefficients alpha [m, 1], float32."""

    X: np.ndarray
    Z: np.ndarray
    alpha: np.ndarray


def _points(size: Size, rng: np.random.Generator) -> Points:
    n, m, d = size["n"], size.get("m", size["n"]), size["d"]
    X = rng.standard_normal((n, d))
    Z = rng.standard_normal((m, d))
    alpha = rng.standard_normal((m, 1))
    return Points(*(array.astype(np.float32) for array in (X, Z, alpha)))


def _ours(name: str) -> Callable[..., Any]:
    """Return an operation of the JAX backend that waits for its result."""
    import mlmethods

    backend = mlmethods.get_backend("jax")
    family, _, operation = name.partition(".")
    run = getattr(getattr(backend, family), operation)

    def call(*arguments: Any, **keywords: Any) -> Any:
        result = run(*arguments, **keywords)
        backend.synchronize(result)
        return result

    return call


def _on_device(*arrays: np.ndarray) -> list[Any]:
    import mlmethods

    backend = mlmethods.get_backend("jax")
    placed = [backend.asarray(array) for array in arrays]
    backend.synchronize(placed)
    return placed


def _spec(name: str) -> KernelSpec:
    return KernelSpec(name=name, bandwidth=_BANDWIDTH)


def _pairwise_ours(name: str, data: Points) -> Callable[[], Any]:
    X, Z = _on_device(data.X, data.Z)
    return functools.partial(_ours("kernels.pairwise"), _spec(name), X, Z)


def _laplace_scipy(data: Points) -> Callable[[], Any]:
    from scipy.spatial.distance import cdist

    return lambda: np.exp(cdist(data.X, data.Z) / -_BANDWIDTH)


def _laplace_torch(data: Points) -> Callable[[], Any]:
    import torch

    X, Z = torch.from_numpy(data.X), torch.from_numpy(data.Z)
    return lambda: torch.cdist(X, Z).mul_(-1 / _BANDWIDTH).exp_()


def _gaussian_sklearn(data: Points) -> Callable[[], Any]:
    from sklearn.metrics.pairwise import rbf_kernel

    return lambda: rbf_kernel(data.X, data.Z, gamma=0.5 / _BANDWIDTH**2)


def _matvec_ours(data: Points) -> Callable[[], Any]:
    X, Z, alpha = _on_device(data.X, data.Z, data.alpha)
    return functools.partial(
        _ours("kernels.matvec"), _spec("laplace"), X, Z, alpha, None
    )


def _matvec_floor(data: Points) -> Callable[[], Any]:
    """Set up the least that any implementation must do: GEMM, root, exp, product."""
    import jax
    import jax.numpy as jnp

    @jax.jit
    def floor(X: Any, Z: Any, alpha: Any) -> Any:
        squared = (X * X).sum(1)[:, None] + (Z * Z).sum(1)[None, :]
        squared -= 2 * jnp.matmul(X, Z.T, precision="highest")
        return jnp.exp(jnp.sqrt(jnp.maximum(squared, 0)) / -_BANDWIDTH) @ alpha

    arrays = _on_device(data.X, data.Z, data.alpha)
    return lambda: jax.block_until_ready(floor(*arrays))


def _agop_ours(data: Points) -> Callable[[], Any]:
    X, alpha = _on_device(data.X, data.alpha)
    return functools.partial(
        _ours("kernels.agop"), _spec("laplace"), X, None, alpha, None
    )


def _agop_numpy(data: Points) -> Callable[[], Any]:
    """Set up the textbook form in float32: weights, two products, one outer product."""
    from sklearn.metrics.pairwise import euclidean_distances

    X, alpha = data.X, data.alpha

    def call() -> np.ndarray:
        distance = euclidean_distances(X)
        weight = np.exp(distance / -_BANDWIDTH)
        np.divide(weight, _BANDWIDTH * distance, out=weight, where=distance > 0)
        np.fill_diagonal(weight, 0)
        weight *= alpha[:, 0]
        gradients = weight @ X - weight.sum(1)[:, None] * X
        return gradients.T @ gradients / len(X)

    return call


class System(NamedTuple):
    """A kernel matrix K [n, n] and right-hand sides Y [n, c], float32."""

    K: np.ndarray
    Y: np.ndarray


def _system(size: Size, rng: np.random.Generator) -> System:
    from scipy.spatial.distance import cdist

    X = rng.standard_normal((size["n"], 50))
    K = np.exp(cdist(X, X) / -_BANDWIDTH).astype(np.float32)
    return System(K, rng.standard_normal((size["n"], 1)).astype(np.float32))


def _solve_ours(solve_dtype: str, data: System) -> Callable[[], Any]:
    K, Y = _on_device(data.K, data.Y)
    solve = _ours("linalg.ridge_solve")
    return lambda: solve(K, Y, _REG, solve_dtype=solve_dtype)


def _solve_scipy(data: System) -> Callable[[], Any]:
    import scipy.linalg

    def call() -> np.ndarray:
        K = data.K.astype(np.float64)
        K[np.diag_indices_from(K)] += _REG
        return scipy.linalg.solve(
            K, data.Y, assume_a="pos", overwrite_a=True, check_finite=False
        )

    return call


def _alpha(result: Any) -> np.ndarray:
    return np.asarray(result.alpha)


_TORCH = Implementation(setup=_laplace_torch, requires=("torch",))

CASES = (
    Case(
        name="kernels.laplace",
        title="Laplace kernel matrix",
        sizes=({"n": 3000, "d": 50}, {"n": 6000, "d": 50}),
        quick_sizes=({"n": 600, "d": 20},),
        make_data=_points,
        implementations={
            "mlmethods": Implementation(
                setup=functools.partial(_pairwise_ours, "laplace")
            ),
            "scipy": Implementation(setup=_laplace_scipy),
            "torch": _TORCH,
        },
        tolerance=1e-4,
        work=lambda size: 2.0 * size["n"] ** 2 * size["d"],
    ),
    Case(
        name="kernels.gaussian",
        title="Gaussian kernel matrix",
        sizes=({"n": 3000, "d": 50}, {"n": 6000, "d": 50}),
        quick_sizes=({"n": 600, "d": 20},),
        make_data=_points,
        implementations={
            "mlmethods": Implementation(
                setup=functools.partial(_pairwise_ours, "gaussian")
            ),
            "scikit-learn": Implementation(setup=_gaussian_sklearn),
        },
        tolerance=1e-4,
        work=lambda size: 2.0 * size["n"] ** 2 * size["d"],
    ),
    Case(
        name="kernels.matvec",
        title="prediction with a Laplace kernel",
        sizes=({"n": 10000, "m": 5000, "d": 50},),
        quick_sizes=({"n": 1000, "m": 500, "d": 50},),
        make_data=_points,
        implementations={
            "mlmethods": Implementation(setup=_matvec_ours),
            "gemm-exp-floor": Implementation(setup=_matvec_floor),
        },
        tolerance=1e-4,
        work=lambda size: 2.0 * size["n"] * size["m"] * (size["d"] + 1),
    ),
    Case(
        name="kernels.agop",
        title="AGOP of a Laplace kernel machine",
        sizes=({"n": 3000, "d": 50}, {"n": 6000, "d": 50}, {"n": 3000, "d": 100}),
        quick_sizes=({"n": 600, "d": 20},),
        make_data=_points,
        implementations={
            "mlmethods": Implementation(setup=_agop_ours),
            "numpy": Implementation(setup=_agop_numpy),
        },
        tolerance=1e-3,
        work=lambda size: 4.0 * size["n"] ** 2 * size["d"],
    ),
    Case(
        name="kernels.ridge_solve",
        title="(K + reg I) alpha = y for a Laplace kernel matrix",
        sizes=({"n": 3000}, {"n": 6000}),
        quick_sizes=({"n": 600},),
        make_data=_system,
        implementations={
            "mlmethods": Implementation(
                setup=functools.partial(_solve_ours, "auto"), collect=_alpha
            ),
            "mlmethods-float64": Implementation(
                setup=functools.partial(_solve_ours, "float64"), collect=_alpha
            ),
            "scipy": Implementation(setup=_solve_scipy),
        },
        tolerance=1e-4,
        work=lambda size: size["n"] ** 3 / 3.0,
    ),
)
