"""The published search space of Recursive Feature Machines."""

from __future__ import annotations

from typing import Any

from scipy.stats import loguniform
from sklearn.utils import check_random_state

from mlmethods.kernels import Kernel, LaplaceKernel, LpqKernel

__all__ = ["KernelPrior", "search_space"]

_BANDWIDTH = (0.5, 200.0)
_Q = (0.7, 1.4)
_TOWARDS_TWO = (0.0, 0.8)
_LPQ_SHARE = 0.8
_REG = (1e-6, 10.0)


class KernelPrior:
    """A distribution over kernels, for ``RandomizedSearchCV``.

    Four in five draws are an l_pq kernel with q uniform in [0.7, 1.4] and p between q
    and 2, the others a Laplace kernel; the bandwidth is log-uniform in [0.5, 200].

    Examples
    --------
    >>> from mlmethods.rfm.search import KernelPrior
    >>> kernel = KernelPrior().rvs(random_state=0)
    >>> kernel.q <= kernel.p <= 2
    True
    """

    def rvs(self, random_state: Any = None) -> Kernel:
        """Return a kernel.

        Parameters
        ----------
        random_state : None, int or numpy.random.RandomState
            Source of the draw.
        """
        random = check_random_state(random_state)
        bandwidth = float(loguniform(*_BANDWIDTH).rvs(random_state=random))
        if random.uniform() >= _LPQ_SHARE:
            return LaplaceKernel(bandwidth=bandwidth)
        q = random.uniform(*_Q)
        p = q + random.uniform(*_TOWARDS_TWO) * (2.0 - q)
        return LpqKernel(p=p, q=q, bandwidth=bandwidth)


def search_space(prefix: str = "") -> dict[str, Any]:
    """Return the search space of the TabArena benchmark for this method.

    Parameters
    ----------
    prefix : str, default=""
        What stands before each name, such as ``"rfmregressor__"`` in a pipeline.

    Returns
    -------
    dict
        ``param_distributions`` for scikit-learn's ``RandomizedSearchCV``: `kernel`
        with its bandwidth, `reg` and `diagonal`. A classifier adds
        ``target_encoding``: the benchmark used "prevalence".

    References
    ----------
    Beaglehole, Holzmüller, Radhakrishnan, Belkin (2025), xRFM: accurate, scalable,
    and interpretable feature learning models for tabular data, arXiv:2508.10053.

    Examples
    --------
    >>> from mlmethods.rfm import search_space
    >>> sorted(search_space("model__"))
    ['model__diagonal', 'model__kernel', 'model__reg']
    """
    space = {
        "kernel": KernelPrior(),
        "reg": loguniform(*_REG),
        "diagonal": [False, True],
    }
    return {prefix + name: values for name, values in space.items()}
