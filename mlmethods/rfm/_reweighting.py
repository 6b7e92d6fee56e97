"""What the linear machines share: the schedule of epsilon and the power of the AGOP."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from mlmethods.common.validation import check_integer, check_real
from mlmethods.interfaces import NDArray
from mlmethods.rfm.network import matrix_power_psd

__all__ = ["Schedule", "metric_power", "share"]

# Relative to the first AGOP: below it epsilon is lost in the rounding of float64.
_SMALLEST_EPSILON = 1e-14


class Schedule:
    """The checked parameters of the iteration, and the next epsilon."""

    def __init__(self, estimator: Any) -> None:
        self.alpha = check_real("alpha", estimator.alpha, minimum=0, open_minimum=True)
        self.n_iter = check_integer("n_iter", estimator.n_iter, minimum=0)
        self.tol = check_real("tol", estimator.tol, minimum=0)
        self.epsilon = check_real(
            "epsilon", estimator.epsilon, minimum=0, open_minimum=True
        )
        self.decay = check_real(
            "epsilon_decay",
            estimator.epsilon_decay,
            minimum=0,
            maximum=1,
            open_minimum=True,
        )
        self.floor = 0.0

    def next(self, eps: float, scale: float) -> float:
        """Return the epsilon after `eps`; the first is in units of `scale`."""
        if eps == 0.0:
            self.floor = _SMALLEST_EPSILON * scale
            return self.epsilon * scale
        return max(eps * self.decay, self.floor)

    def warn_unless(self, change: float, name: str) -> None:
        """Warn if the last update changed more than `tol`; 0 updates are no loop."""
        if change > self.tol and self.n_iter > 0:
            warnings.warn(
                f"{name}: the last of n_iter={self.n_iter} updates changed the solution "
                f"by {change:.1e} of its norm, more than tol={self.tol:g}; raise n_iter, "
                "reg or tol",
                ConvergenceWarning,
                stacklevel=3,
            )


def share(part: float, whole: float) -> float:
    """Return part / whole, or 0 of nothing."""
    return part / whole if whole > 0 else 0.0


def metric_power(agop: NDArray, eps: float, alpha: float) -> NDArray:
    """Return ``(agop + eps I)^alpha``; `agop` is overwritten."""
    agop[np.diag_indices(len(agop))] += eps
    return agop if alpha == 1 else matrix_power_psd(agop, alpha)
