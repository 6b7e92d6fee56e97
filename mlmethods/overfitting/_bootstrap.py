"""Resampling a few seeds, with intervals as wide as few seeds deserve."""

from __future__ import annotations

import numpy as np

from mlmethods.interfaces import NDArray

__all__ = ["Resamples", "interval"]


class Resamples:
    """How often each seed counts in each bootstrap replicate.

    Parameters
    ----------
    n_seeds : int
        Seeds that there are.
    n_bootstrap : int
        Replicates.
    level : float
        Confidence that intervals shall have.
    rng : numpy.random.Generator
        Who draws.

    Notes
    -----
    A percentile interval from S values is too narrow twice: the replicates vary by
    the factor ``sqrt((S-1)/S)`` too little, and the quantiles are normal, not
    Student's. :meth:`spread` widens the replicates about the estimate by both; for a
    mean the interval is then about that of Student's t.
    """

    def __init__(
        self, n_seeds: int, n_bootstrap: int, level: float, rng: np.random.Generator
    ) -> None:
        from scipy import stats

        shares = np.full(n_seeds, 1.0 / n_seeds)
        self.weights = rng.multinomial(n_seeds, shares, size=n_bootstrap) / n_seeds
        self.level = level
        # One seed has no spread to widen: whoever asks must not take it for none.
        self.widening = 1.0
        if n_seeds > 1:
            tail = 0.5 + level / 2
            ratio = stats.t.ppf(tail, n_seeds - 1) / stats.norm.ppf(tail)
            self.widening = float(np.sqrt(n_seeds / (n_seeds - 1)) * ratio)

    def means(self, values: NDArray) -> NDArray:
        """Return the replicates, of shape (B, ...), of a mean over the first axis."""
        return np.tensordot(self.weights, values, axes=1)

    def spread(self, estimate: NDArray | float, replicates: NDArray) -> NDArray:
        """Return the replicates, farther from the estimate as the notes say."""
        return estimate + self.widening * (replicates - estimate)


def interval(replicates: NDArray, level: float) -> NDArray:
    """Return the two ends, of shape (2, ...), over the first axis."""
    tail = (1 - level) / 2
    return np.quantile(replicates, [tail, 1 - tail], axis=0)
