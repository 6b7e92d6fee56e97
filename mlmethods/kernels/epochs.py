"""Passes of EigenPro over the data: their order, their guard and when they stop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mlmethods.errors import DivergenceError
from mlmethods.interfaces import Array

if TYPE_CHECKING:
    from mlmethods.kernels.contract import EigenProProblem

__all__ = ["Passes", "run_epochs"]

_RESTARTS = 5
# A pass may meet a residual this much above the lowest before; noise stays below.
_GROWTH = 2.0
# Squared residuals below this share of the first are round-off.
_ROUND_OFF = 1e-8


class Passes(NamedTuple):
    """What the passes found.

    Attributes
    ----------
    state : array
        The coefficients of the best pass, native; see ``EigenProProblem.state``.
    best_epoch : int
        Which pass that was, from 1; 0 is the start, and the last without validation.
    history : list of dict
        One entry a pass: epoch, residual, validation_loss, damping, seconds.
    """

    state: Array
    best_epoch: int
    history: list[dict[str, Any]]


def run_epochs(
    problem: EigenProProblem,
    *,
    epochs: int,
    rng: np.random.Generator,
    tol: float = 0.0,
    validate: Callable[[Array], float] | None = None,
    stop_multiplier: float | None = None,
    report: Callable[[dict[str, Any]], None] | None = None,
) -> Passes:
    """Run passes on a prepared problem, from its present coefficients.

    A pass whose residual grows means that the step is too large for these data: the
    step is halved and the passes begin again from zero.

    Parameters
    ----------
    problem : EigenProProblem
        Prepared.
    epochs : int
        Most passes; every one of them is done, the first included.
    rng : numpy.random.Generator
        Draws the order of each pass.
    tol : float
        Stop when the residual relative to that of zero coefficients is not larger.
    validate : callable, optional
        From a state to a validation loss; the state of the lowest is returned.
    stop_multiplier : float, optional
        Stop when the validation loss exceeds this times the lowest.
    report : callable, optional
        Receives the entry of each pass.

    Returns
    -------
    Passes

    Raises
    ------
    DivergenceError
        If halving the step does not help; a KeyboardInterrupt has the best passes so
        far as its ``passes`` attribute.
    """
    damping, start = 1.0, time.perf_counter()
    history: list[dict[str, Any]] = []
    state, best, lowest = problem.state, 0, math.inf
    met, restarts, epoch = problem.start_loss, 0, 0
    try:
        while epoch < epochs:
            loss = problem.epoch(rng.permutation(problem.n), damping=damping)
            bound = _GROWTH * met + _ROUND_OFF * problem.start_loss
            if not loss <= bound:
                restarts += 1
                if restarts > _RESTARTS:
                    raise DivergenceError(_diverged(loss, problem.start_loss))
                problem.reset()
                damping, epoch, history = damping / 2, 0, []
                state, best, lowest = problem.state, 0, math.inf
                met = problem.start_loss
                continue
            epoch += 1
            met = min(met, loss)
            value = math.nan if validate is None else validate(problem.state)
            if validate is None or value < lowest:
                state, best, lowest = problem.state, epoch, value
            residual = _relative(loss, problem.start_loss)
            history.append(
                {
                    "epoch": epoch,
                    "residual": residual,
                    "validation_loss": value,
                    "damping": damping,
                    "seconds": time.perf_counter() - start,
                }
            )
            if report is not None:
                report(history[-1])
            if residual <= tol or _worse(value, lowest, stop_multiplier):
                break
    except KeyboardInterrupt as interrupt:
        interrupt.passes = Passes(state, best, history)  # type: ignore[attr-defined]
        raise
    return Passes(state, best, history)


def _relative(loss: float, start: float) -> float:
    return math.sqrt(loss / start) if start > 0 else 0.0


def _worse(value: float, lowest: float, multiplier: float | None) -> bool:
    return multiplier is not None and value > multiplier * lowest


def _diverged(loss: float, start: float) -> str:
    return (
        f"EigenPro met a mean squared residual of {loss:.3g} in a pass, {start:.3g} "
        f"at zero coefficients, with the step halved {_RESTARTS} times; raise "
        "n_subsample or reg, or set a smaller batch_size"
    )
