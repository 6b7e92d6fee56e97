"""Fits of recursive feature machines and of kernel ridge regression."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from benchmarks.harness.case import Case, Implementation, Size

__all__ = ["CASES"]

_BANDWIDTH = 10.0
_REG = 1e-3
_UPDATES = 5
_TEST_ROWS = 500
_NORM, _POWER = 1.5, 1.0


class Regression(NamedTuple):
    """Training and test rows of a synthetic regression problem, float32."""

    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray


def _regression(size: Size, rng: np.random.Generator) -> Regression:
    """Draw a function of three coordinates: only the cost matters here."""
    n, d = size["n"], size["d"]
    X = rng.standard_normal((n + _TEST_ROWS, d)).astype(np.float32)
    y = X[:n, 0] * X[:n, 1] * (X[:n, 5] > 0)
    return Regression(X[:n], y.astype(np.float32), X[n:])


def _rfm_ours(kernel: str, data: Regression) -> Callable[[], Any]:
    from mlmethods.kernels import LpqKernel
    from mlmethods.rfm import RFMRegressor, reference_params

    settings = {**reference_params(), "backend": "jax", "dtype": "float32"}
    if kernel == "lpq":
        lpq = LpqKernel(p=_NORM, q=_POWER, bandwidth=_BANDWIDTH)
        settings.update(kernel=lpq, bandwidth=None)

    def call() -> np.ndarray:
        return RFMRegressor(**settings).fit(data.X, data.y)

    return _with_test_rows(call, data)


def _xrfm(kernel: str, solver: str, data: Regression) -> Callable[[], Any]:
    """Set up the peer with the same settings: last iterate, no early stop.

    It insists on validation rows and scores them at each iteration; sixteen of them
    cost nothing that shows.
    """
    import torch
    from xrfm import RFM

    X, y = torch.from_numpy(data.X), torch.from_numpy(data.y)[:, None]
    validation = X[:16], y[:16]

    def call() -> Any:
        model = RFM(
            kernel=kernel,
            bandwidth=_BANDWIDTH,
            exponent=_POWER,
            norm_p=_NORM,
            iters=_UPDATES,
            device="cpu",
            verbose=False,
        )
        model.fit(
            (X, y),
            validation,
            iters=_UPDATES,
            reg=_REG,
            solver=solver,
            early_stop_rfm=False,
            return_best_params=False,
            verbose=False,
        )
        return model

    return _with_test_rows(call, data)


def _with_test_rows(call: Callable[[], Any], data: Regression) -> Callable[[], Any]:
    """Return the fit paired with the rows on which it will be compared."""
    return lambda: (call(), data.X_test)


def _predictions(result: Any) -> np.ndarray:
    model, X = result
    return np.asarray(model.predict(X), dtype=np.float64).reshape(len(X))


def _ridge_ours(data: Regression) -> Callable[[], Any]:
    from mlmethods.kernels import KernelRidge

    model = KernelRidge(
        "gaussian", bandwidth=_BANDWIDTH, reg=_REG, dtype="float64", backend="jax"
    )
    return _with_test_rows(lambda: model.fit(data.X, data.y), data)


def _ridge_sklearn(data: Regression) -> Callable[[], Any]:
    from sklearn.kernel_ridge import KernelRidge

    model = KernelRidge(kernel="rbf", gamma=0.5 / _BANDWIDTH**2, alpha=_REG)
    X, y = data.X.astype(np.float64), data.y.astype(np.float64)
    return _with_test_rows(lambda: model.fit(X, y), data)


_PEERS = ("torch", "xrfm")
# The peer's float32 result is up to 1.3e-3 away from that of float64 (n=3000, d=100).
_AGREEMENT = 2e-3

CASES = (
    Case(
        name="rfm.laplace",
        title="RFM, Laplace kernel, 5 updates, the published settings",
        sizes=tuple({"n": n, "d": d} for d in (20, 50, 100) for n in (3000, 6000)),
        quick_sizes=({"n": 800, "d": 20},),
        make_data=_regression,
        implementations={
            "mlmethods": Implementation(
                setup=functools.partial(_rfm_ours, "laplace"), collect=_predictions
            ),
            "xrfm": Implementation(
                setup=functools.partial(_xrfm, "l2", "solve"),
                collect=_predictions,
                requires=_PEERS,
            ),
            # Its faster option; the default is the LU factorisation above.
            "xrfm-cholesky": Implementation(
                setup=functools.partial(_xrfm, "l2", "cholesky"),
                collect=_predictions,
                requires=_PEERS,
            ),
        },
        tolerance=_AGREEMENT,
        work=lambda size: (
            (_UPDATES + 1) * size["n"] ** 3 / 3.0
            + _UPDATES * 4.0 * size["n"] ** 2 * size["d"]
        ),
    ),
    Case(
        name="rfm.lpq",
        title=f"RFM, l_pq kernel with p={_NORM:g}, q={_POWER:g}, 5 updates",
        sizes=({"n": 2000, "d": 20},),
        quick_sizes=({"n": 300, "d": 10},),
        make_data=_regression,
        implementations={
            "mlmethods": Implementation(
                setup=functools.partial(_rfm_ours, "lpq"), collect=_predictions
            ),
            "xrfm": Implementation(
                setup=functools.partial(_xrfm, "lpq", "solve"),
                collect=_predictions,
                requires=_PEERS,
            ),
        },
        tolerance=_AGREEMENT,
    ),
    Case(
        name="rfm.kernel_ridge",
        title="Gaussian kernel ridge regression in float64",
        sizes=({"n": 3000, "d": 50}, {"n": 6000, "d": 50}),
        quick_sizes=({"n": 800, "d": 20},),
        make_data=_regression,
        implementations={
            "mlmethods": Implementation(setup=_ridge_ours, collect=_predictions),
            "scikit-learn": Implementation(setup=_ridge_sklearn, collect=_predictions),
        },
        tolerance=1e-6,
        work=lambda size: size["n"] ** 3 / 3.0,
        dtype="float64",
    ),
)
