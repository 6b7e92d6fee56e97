import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.model_selection import ParameterSampler, RandomizedSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlmethods.kernels import LpqKernel
from mlmethods.rfm import RFMRegressor, search_space


def test_draws_are_valid_and_spread_as_published():
    draws = list(ParameterSampler(search_space(), 400, random_state=0))
    kernels = [draw["kernel"] for draw in draws]
    for kernel in kernels:
        kernel.to_spec()
    lpq = [kernel for kernel in kernels if isinstance(kernel, LpqKernel)]
    assert 0.74 < len(lpq) / 400 < 0.86
    q, p = (np.array([getattr(kernel, name) for kernel in lpq]) for name in "qp")
    assert q.min() >= 0.7
    assert q.max() <= 1.4
    share = (p - q) / (2 - q)
    assert 0 <= share.min() < 0.05 < 0.75 < share.max() <= 0.8
    bandwidths = np.log([kernel.bandwidth for kernel in kernels])
    assert np.log(0.5) <= bandwidths.min() < 0 < 4.5 < bandwidths.max() <= np.log(200)
    regs = np.log10([draw["reg"] for draw in draws])
    assert -6 <= regs.min() < -5 < 0 < regs.max() <= 1


def test_the_same_state_draws_the_same_kernels():
    first, second = (
        [str(draw) for draw in ParameterSampler(search_space(), 5, random_state=3)]
        for _ in range(2)
    )
    assert first == second


def test_searches_in_a_pipeline():
    X, y = load_diabetes(return_X_y=True)
    pipeline = make_pipeline(
        StandardScaler(), RFMRegressor(backend="numpy", n_iter=1, random_state=0)
    )
    search = RandomizedSearchCV(
        pipeline, search_space("rfmregressor__"), n_iter=3, cv=2, random_state=0
    ).fit(X[:120], y[:120])
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
