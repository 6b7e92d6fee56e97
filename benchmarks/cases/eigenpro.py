"""Kernel ridge regression by passes over the rows, against a factorization."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from benchmarks.harness.case import Case, Implementation, Size

__all__ = ["CASES"]

_BANDWIDTH = 10.0
_REG = 1.0
_EPOCHS = 10
_QUERIES = 256


class Regression(NamedTuple):
    """Rows X [n, d] with targets y [n], and rows to predict at; synthetic."""

    X: np.ndarray
    y: np.ndarray
    queries: np.ndarray


def _regression(size: Size, rng: np.random.Generator) -> Regression:
    rows = rng.standard_normal((size["n"] + _QUERIES, size["d"]))
    X, queries = rows[: size["n"]], rows[size["n"] :]
    y = np.sin(X[:, 0]) + X[:, 1] * X[:, 2]
    return Regression(X, y - y.mean(), queries)


def _eigenpro(data: Regression) -> Callable[[], Any]:
    from mlmethods.kernels import EigenProRegressor

    model = EigenProRegressor(
        "laplace",
        bandwidth=_BANDWIDTH,
        reg=_REG,
        epochs=_EPOCHS,
        fit_intercept=False,
        backend="jax",
        random_state=0,
    )
    return lambda: model.fit(data.X, data.y).predict(data.queries)


def _ridge(solver: str) -> Callable[[Regression], Callable[[], Any]]:
    def setup(data: Regression) -> Callable[[], Any]:
        from mlmethods.kernels import KernelRidge

        model = KernelRidge(
            "laplace",
            bandwidth=_BANDWIDTH,
            reg=_REG,
            solver=solver,
            dtype="float32",
            backend="jax",
        )
        return lambda: model.fit(data.X, data.y).predict(data.queries)

    return setup


CASES = (
    Case(
        name="eigenpro.ridge",
        title="kernel ridge, ten passes of EigenPro",
        sizes=tuple({"n": n, "d": 20} for n in (2500, 5000, 10000)),
        quick_sizes=({"n": 600, "d": 10},),
        make_data=_regression,
        implementations={
            "mlmethods": Implementation(setup=_eigenpro),
            "cholesky": Implementation(setup=_ridge("cholesky")),
            "conjugate-gradients": Implementation(setup=_ridge("cg")),
        },
        # Ten passes, not the last digit.
        tolerance=1e-3,
    ),
)
