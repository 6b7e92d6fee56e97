"""Runs of private training in segments, so that what diverges can be given up."""

from __future__ import annotations

import dataclasses
import time

import jax
import numpy as np

from mlmethods.errors import DivergenceError
from mlmethods.interfaces import Callback, Event, Key, NDArray, PyTree
from mlmethods.privacy.contract import FitOutcome, TrainerConfig
from mlmethods_jax.training import (
    FitInterrupted,
    FitResult,
    TrainState,
    TrainStep,
    fit_loop,
)

__all__ = ["run"]

# steps in one compiled call, and between two looks at the loss
_SEGMENT = 50


def run(
    step: TrainStep,
    state: TrainState,
    data: PyTree,
    *,
    key: Key,
    num_steps: int,
    config: TrainerConfig,
    callback: Callback | None,
) -> FitOutcome:
    """Take `num_steps` further steps.

    Raises
    ------
    DivergenceError
        If a loss is not finite. Its outcome has the parameters before that segment and
        the number of steps after it: their noise has been drawn, and no key may serve
        twice.
    FitInterrupted
        On KeyboardInterrupt.

    Notes
    -----
    Whatever ends the run early has the attribute ``result``, the outcome so far.
    """
    began, first = time.perf_counter(), int(state.step)
    parts: list[dict[str, NDArray]] = []
    data = jax.device_put(data)

    def done() -> int:
        return int(state.step) - first

    def outcome() -> FitOutcome:
        names = parts[0] if parts else {}
        joined = {n: np.concatenate([part[n] for part in parts]) for n in names}
        # an interrupt can leave a segment whose state was not taken over
        return FitOutcome(state, {n: values[: done()] for n, values in joined.items()})

    def emit(kind: str, message: str = "") -> None:
        if callback is None:
            return
        metrics = {}
        if kind == "step":
            metrics = {name: _summary(name, v) for name, v in parts[-1].items()}
        callback(
            Event(
                kind=kind,
                task="training",
                step=done(),
                total=num_steps,
                metrics=metrics,
                elapsed=time.perf_counter() - began,
                message=message,
            )
        )

    try:
        emit("start")
        while done() < num_steps:
            count = min(_SEGMENT, num_steps - done())
            result = _segment(step, state, data, key, count, config)
            parts.append(result.history)
            if np.isfinite(result.history["loss"]).all():
                state = result.state
                emit("step")
                continue
            state = dataclasses.replace(
                result.state, params=state.params, opt_state=state.opt_state
            )
            raise DivergenceError(
                f"the loss is not finite after {done()} steps; the parameters are those "
                "before the last steps, which count as taken. Use a smaller learning rate"
            )
        emit("end", f"finished {done()} steps")
    except FitInterrupted as error:
        if error.result.history:
            parts.append(error.result.history)
        state = error.result.state
        raise FitInterrupted(FitResult(*outcome())) from error
    except KeyboardInterrupt as error:
        raise FitInterrupted(FitResult(*outcome())) from error
    except Exception as error:
        error.result = outcome()  # type: ignore[attr-defined]
        raise
    return outcome()


def _segment(
    step: TrainStep,
    state: TrainState,
    data: PyTree,
    key: Key,
    num_steps: int,
    config: TrainerConfig,
) -> FitResult:
    poisson = config.sampling == "poisson"
    return fit_loop(
        step,
        state,
        data,
        key=key,
        num_steps=num_steps,
        batch_size=config.batch_size,
        sampling=config.sampling,
        rate=config.rate if poisson else None,
        log_every=_SEGMENT,
        scan_chunk=_SEGMENT,
    )


def _summary(name: str, values: NDArray) -> float:
    return int(values.sum()) if name == "skipped" else float(values.mean())
