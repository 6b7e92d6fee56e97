"""The iteration of an RFM: solve, score, update the metric, keep the best."""

from __future__ import annotations

import hashlib
import math
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mlmethods.common.checkpoint import read_store, write_store
from mlmethods.errors import (
    CheckpointError,
    DivergenceError,
    NotPositiveDefiniteError,
    NumericalWarning,
)
from mlmethods.interfaces import Array, Event, NDArray, SolveStatus
from mlmethods.rfm.contract import Problem, RFMConfig, Rows, Step

__all__ = ["Iterates", "fingerprint", "run"]


@dataclass
class Iterates:
    """What the loop has found so far; arrays are NumPy's."""

    best_iteration: int = -1
    best_score: float = -math.inf
    alpha: NDArray | None = None
    M: NDArray | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    kept: list[tuple[NDArray, NDArray]] = field(default_factory=list)

    @property
    def best(self) -> dict[str, Any]:
        """The history's entry of the iterate that was chosen."""
        return self.history[self.best_iteration]


def run(
    problem: Problem,
    *,
    to_numpy: Callable[[Any], NDArray],
    n_iter: int,
    stop_multiplier: float | None,
    score: Callable[[NDArray], float] | None,
    has_validation: bool,
    keep_iterates: bool,
    callback: Callable[[Event], None],
    checkpoint_dir: str | os.PathLike[str] | None,
    identity: str,
    bandwidth: Callable[[NDArray], float] | float,
) -> Iterates:
    """Run ``n_iter`` updates, ``n_iter + 1`` solves, unless a stop comes earlier.

    With validation rows the iterate of the best score wins, the earliest of equals;
    without, the last. `bandwidth` is a number, or gives one for each M. After an interrupt the checkpoint is written and the best
    iterate travels as the exception's ``iterates`` attribute.

    Raises
    ------
    NotPositiveDefiniteError
        If a solve fails beyond jitter.
    DivergenceError
        If values stop being finite.
    CheckpointError
        If `checkpoint_dir` holds the state of another fit.
    """
    found = Iterates()
    M, first = problem.initial_metric(), 0
    if checkpoint_dir is not None:
        state = _resume(checkpoint_dir, identity)
        if state is not None:
            found, M_next, first = state
            M = problem.as_metric(M_next)
    start = time.perf_counter()
    best: tuple[Array, Array] | None = None
    total = n_iter + 1
    callback(Event(kind="start", task="rfm", step=first, total=total))

    def keep_best() -> None:
        if best is not None:
            found.alpha = problem.coefficients(best[0])
            found.M = np.asarray(to_numpy(best[1]))

    try:
        for t in range(first, total):
            begun = time.perf_counter()
            length = bandwidth
            if callable(length):
                length = length(np.asarray(to_numpy(M)))
            step = problem.step(M, update=t < n_iter, bandwidth=length)
            _check(step, t)
            value = _score(step, problem, score, has_validation)
            better = not has_validation or value > found.best_score
            if better:
                found.best_iteration, found.best_score = t, value
                best = (step.alpha, M)
            found.history.append(
                {
                    "iteration": t,
                    "validation_score": value,
                    "validation_loss": step.validation_loss,
                    "training_loss": step.training_loss,
                    "bandwidth": length,
                    "reg": step.reg,
                    "passes": step.passes,
                    "jitter": step.jitter,
                    "seconds": time.perf_counter() - begun,
                }
            )
            if keep_iterates:
                kept = (problem.coefficients(step.alpha), np.asarray(to_numpy(M)))
                found.kept.append(kept)
            callback(
                Event(
                    kind="step",
                    task="rfm",
                    step=t + 1,
                    total=total,
                    metrics=found.history[-1],
                    elapsed=time.perf_counter() - start,
                )
            )
            flat = t < n_iter and step.agop_scale <= 0
            if flat:
                warnings.warn(
                    "the average gradient outer product is zero (the targets are "
                    "constant or reg is very large); M stays as it was",
                    NumericalWarning,
                    stacklevel=4,
                )
            M = step.M_next
            worse = has_validation and _should_stop(
                value, found.best_score, stop_multiplier
            )
            done = total if flat or worse else t + 1
            if checkpoint_dir is not None:
                keep_best()
                _write(checkpoint_dir, identity, found, np.asarray(to_numpy(M)), done)
            if done == total:
                break
    except KeyboardInterrupt as interrupt:
        keep_best()
        interrupt.iterates = found  # type: ignore[attr-defined]
        raise
    keep_best()
    callback(
        Event(
            kind="end",
            task="rfm",
            step=len(found.history),
            total=total,
            elapsed=time.perf_counter() - start,
        )
    )
    return found


def _score(
    step: Step,
    problem: Problem,
    score: Callable[[NDArray], float] | None,
    has_validation: bool,
) -> float:
    if not has_validation:
        return math.nan
    if score is None:
        return -step.validation_loss
    return score(problem.scores(step.predictions))


def _check(step: Step, t: int) -> None:
    status = SolveStatus(step.status)
    if status == SolveStatus.NOT_FINITE:
        raise DivergenceError(f"iteration {t}: {status.message}")
    if not status.ok:
        raise NotPositiveDefiniteError(f"iteration {t}: {status.message}")
    if not math.isfinite(step.agop_scale):
        raise DivergenceError(
            f"iteration {t}: the average gradient outer product is not finite; "
            "raise reg or bandwidth, or standardize the columns of X"
        )
    if status == SolveStatus.JITTERED:
        warnings.warn(
            f"iteration {t}: the kernel matrix is nearly singular; jitter "
            f"{step.jitter:.3g} was added to its diagonal (raise reg, or remove "
            "duplicated rows)",
            NumericalWarning,
            stacklevel=5,
        )


def _should_stop(value: float, best: float, multiplier: float | None) -> bool:
    """Return whether a score, where larger is better, is out of reach of the best."""
    if multiplier is None:
        return False
    return value < (best / multiplier if best > 0 else best * multiplier)


def fingerprint(
    config: RFMConfig,
    n_iter: int,
    rows: Rows,
    validation: Rows | None,
    agop_rows: NDArray | None,
    policy: tuple[Any, ...],
) -> str:
    """Return a hash of everything that determines the run.

    `policy` is what decides besides configuration and data, such as the scorer.
    """
    digest = hashlib.sha256()
    kernel = config.kernel
    settings = (
        kernel.name,
        float(kernel.bandwidth),
        sorted((k, np.asarray(v, float).tolist()) for k, v in kernel.params.items()),
        # Parts of a sum or a product.
        *map(repr, kernel.children),
        kernel.static,
        config.reg,
        config.leave_one_out,
        config.lookup,
        config.blocks,
        config.passes,
        config.pass_stop_multiplier,
        config.diagonal,
        config.center,
        config.agop_power,
        config.agop_shrinkage,
        config.normalize,
        config.dtype,
        config.solve_dtype,
        n_iter,
        *policy,
    )
    digest.update(repr(settings).encode())
    for part in (rows, validation, agop_rows):
        arrays = () if part is None else part if isinstance(part, Rows) else (part,)
        for array in arrays:
            digest.update(repr((array.shape, array.dtype.str)).encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _write(
    directory: str | os.PathLike[str],
    identity: str,
    found: Iterates,
    M_next: NDArray,
    done: int,
) -> None:
    arrays = {"M_next": M_next, "alpha": found.alpha, "M": found.M}
    for i, (alpha, M) in enumerate(found.kept):
        arrays[f"kept_alpha_{i}"], arrays[f"kept_M_{i}"] = alpha, M
    write_store(
        Path(directory) / "rfm",
        arrays={k: v for k, v in arrays.items() if v is not None},
        config={
            "kind": "rfm-checkpoint",
            "identity": identity,
            "done": done,
            "best_iteration": found.best_iteration,
            "best_score": found.best_score,
            "history": found.history,
            "kept": len(found.kept),
        },
    )


def _resume(
    directory: str | os.PathLike[str], identity: str
) -> tuple[Iterates, NDArray, int] | None:
    path = Path(directory) / "rfm"
    if not path.exists():
        return None
    arrays, config = read_store(path)
    if config.get("kind") != "rfm-checkpoint" or config.get("identity") != identity:
        raise CheckpointError(
            f"checkpoint_dir {os.fspath(directory)!r} holds the state of another fit "
            "(other data or settings; with random_state=None each fit holds out other "
            "rows); give another folder, or delete it"
        )
    kept = [
        (arrays[f"kept_alpha_{i}"], arrays[f"kept_M_{i}"])
        for i in range(config["kept"])
    ]
    found = Iterates(
        best_iteration=config["best_iteration"],
        best_score=config["best_score"],
        alpha=arrays.get("alpha"),
        M=arrays.get("M"),
        history=list(config["history"]),
        kept=kept,
    )
    return found, arrays["M_next"], config["done"]
