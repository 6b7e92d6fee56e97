"""Kernel ridge regression: one ridge, many ridges, and the cost of interpolating."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from benchmarks.harness.case import Case, Implementation, Size

__all__ = ["CASES"]

_BANDWIDTH = 5.0
_REG = 1.0
_GAMMA = 1 / (2 * _BANDWIDTH**2)


class Regression(NamedTuple):
    """Rows X [n, d] with targets y [n] and ridges [r]; synthetic."""

    X: np.ndarray
    y: np.ndarray
    regs: np.ndarray


def _regression(size: Size, rng: np.random.Generator) -> Regression:
    X = rng.standard_normal((size["n"], size["d"]))
    y = np.sin(X[:, 0]) + X[:, 1] * X[:, 2] + 0.3 * rng.standard_normal(len(X))
    return Regression(X, y, np.geomspace(1e-3, 1e3, size.get("r", 1)))


def _path(backend: str) -> Callable[[Regression], Callable[[], Any]]:
    def setup(data: Regression) -> Callable[[], Any]:
        from mlmethods.kernels import GaussianKernel, ridge_path

        kernel = GaussianKernel(bandwidth=_BANDWIDTH)
        return lambda: ridge_path(kernel, data.X, data.y, data.regs, backend=backend)

    return setup


def _sklearn_loop(data: Regression) -> Callable[[], Any]:
    from sklearn.kernel_ridge import KernelRidge

    def loop() -> Any:
        # Without leave-one-out errors, which it does not have.
        return [
            KernelRidge(kernel="rbf", gamma=_GAMMA, alpha=reg).fit(data.X, data.y)
            for reg in data.regs
        ]

    return loop


def _fit(backend: str) -> Callable[[Regression], Callable[[], Any]]:
    def setup(data: Regression) -> Callable[[], Any]:
        from mlmethods.kernels import KernelRidge

        model = KernelRidge("gaussian", bandwidth=_BANDWIDTH, reg=_REG, backend=backend)
        return lambda: model.fit(data.X, data.y)

    return setup


def _sklearn_fit(data: Regression) -> Callable[[], Any]:
    from sklearn.kernel_ridge import KernelRidge

    model = KernelRidge(kernel="rbf", gamma=_GAMMA, alpha=_REG)
    return lambda: model.fit(data.X, data.y)


def _cost(data: Regression) -> Callable[[], Any]:
    from mlmethods.kernels import GaussianKernel, kernel_diagnostics

    kernel = GaussianKernel(bandwidth=_BANDWIDTH)
    return lambda: kernel_diagnostics(kernel, data.X, _REG, backend="jax")


def _coefficients(model: Any) -> np.ndarray:
    return np.asarray(model.dual_coef_)


CASES = (
    Case(
        name="ridge_path.path",
        title="r ridges; ours with all leave-one-out errors",
        sizes=({"n": 2000, "d": 20, "r": 20}, {"n": 2000, "d": 20, "r": 100}),
        quick_sizes=({"n": 300, "d": 10, "r": 20},),
        make_data=_regression,
        implementations={
            "mlmethods": Implementation(
                setup=_path("jax"), collect=lambda path: path.dual_coef
            ),
            "scikit-learn": Implementation(
                setup=_sklearn_loop,
                collect=lambda models: np.stack([m.dual_coef_ for m in models]),
            ),
        },
        tolerance=1e-8,
        dtype="float64",
    ),
    Case(
        name="ridge_path.fit",
        title="kernel ridge regression, one ridge",
        sizes=tuple({"n": n, "d": 20} for n in (500, 1000, 2000, 4000)),
        quick_sizes=({"n": 300, "d": 10},),
        make_data=_regression,
        implementations={
            "mlmethods": Implementation(setup=_fit("jax"), collect=_coefficients),
            "mlmethods-numpy": Implementation(
                setup=_fit("numpy"), collect=_coefficients
            ),
            "scikit-learn": Implementation(setup=_sklearn_fit, collect=_coefficients),
        },
        tolerance=1e-8,
        dtype="float64",
    ),
    Case(
        name="ridge_path.cost",
        title="cost of interpolating from the matrix, against one fit",
        sizes=({"n": 2000, "d": 20},),
        quick_sizes=({"n": 300, "d": 10},),
        make_data=_regression,
        implementations={
            "mlmethods": Implementation(
                setup=_cost, collect=lambda found: np.array([found.e0, found.kappa])
            ),
            # What the fit is asked for afterwards is not timed.
            "one-fit": Implementation(
                setup=_fit("jax"),
                collect=lambda model: np.array([model.e0_, model.kappa_]),
            ),
        },
        tolerance=1e-8,
        dtype="float64",
    ),
)
