"""The runs of a study of networks at one size, side by side."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mlmethods.interfaces import Callback, NDArray
from mlmethods.overfitting._network_plan import Data, Plan
from mlmethods.overfitting._samples import NOISE, SUBSET, level_key, stream
from mlmethods.overfitting.contract import (
    EARLY,
    LaneGroup,
    LaneOutcome,
    NetworkTrainer,
)
from mlmethods.overfitting.noise import replace_codes
from mlmethods.overfitting.study import COLUMNS

if TYPE_CHECKING:
    import pandas as pd

    from mlmethods.overfitting.networks import InterpolationStudy

__all__ = ["Cells", "Run"]

# First words of the keys of streams, besides those of the other studies.
_WEIGHTS, _ORDER = 16, 17
_EXTRA_COLUMNS = (
    "stop",
    "epochs",
    "epochs_run",
    "stopped",
    "train_loss",
    "memorized",
    "validation_error",
)


class Run(NamedTuple):
    """One training at one size."""

    seed: int
    noise: float
    stop: str | int

    def cell(self, n: int) -> dict[str, Any]:
        """Return what names its cell."""
        return {"n": n, "seed": self.seed, "noise": self.noise, "stop": str(self.stop)}


class Cells:
    """The runs of one size that are to be done."""

    def __init__(
        self,
        plan: Plan,
        data: Data,
        transition: NDArray,
        n: int,
        runs: Sequence[Run],
    ) -> None:
        self.plan, self.data, self.n, self.runs = plan, data, n, runs
        self.rows = np.stack([self._rows(run.seed) for run in runs])
        self.clean = data.codes[self.rows]
        self.noisy = np.stack(
            [
                replace_codes(
                    codes,
                    round(run.noise * n),
                    transition,
                    stream(plan.base, NOISE, n, run.seed, *level_key(run.noise), 0),
                )
                for run, codes in zip(runs, self.clean, strict=True)
            ]
        )
        # the order of the rows is random already: the last ones are a random sample
        count = min(max(round(plan.validation_fraction * n), 1), n - 1)
        early = np.array([run.stop == EARLY for run in runs])
        self.held_out = early[:, None] & (np.arange(n) >= n - count)

    def _rows(self, seed: int) -> NDArray:
        rng = np.random.default_rng(stream(self.plan.base, SUBSET, seed))
        return rng.permutation(self.data.pool)[: self.n]

    def train(
        self,
        trainer: NetworkTrainer,
        study: InterpolationStudy,
        callback: Callback,
    ) -> list[tuple[Run, pd.DataFrame]]:
        """Train all runs side by side; one row of the table each."""
        import pandas as pd

        plan, n = self.plan, self.n
        group = LaneGroup(
            rows=self.rows,
            labels=self.noisy,
            held_out=self.held_out,
            stop=tuple(run.stop for run in self.runs),
            seeds=tuple(stream(plan.base, _WEIGHTS, run.seed) for run in self.runs),
            order_seed=stream(plan.base, _ORDER, n),
            batch_size=plan.batch(n),
            max_epochs=plan.epochs(n),
            check_every=study.check_every,
            patience=study.patience,
            monitor=study.monitor,
        )
        began = time.perf_counter()
        outcome = trainer.train(group, callback)
        seconds = (time.perf_counter() - began) / len(self.runs)
        names = (*COLUMNS, *_EXTRA_COLUMNS)
        return [
            (
                run,
                pd.DataFrame(
                    {k: [v] for k, v in self._row(i, outcome, seconds).items()}
                )[list(names)],
            )
            for i, run in enumerate(self.runs)
        ]

    def _row(self, i: int, outcome: LaneOutcome, seconds: float) -> dict[str, Any]:
        run, held_out = self.runs[i], self.held_out[i]
        wrong = outcome.predictions[i] != self.noisy[i]
        flipped = (self.noisy[i] != self.clean[i]) & ~held_out
        train_error = float(wrong[~held_out].mean())
        return {
            **run.cell(self.n),
            "risk": float(np.mean(outcome.test_predictions[i] != self.data.test_codes)),
            "train_error": train_error,
            "interpolates": train_error == 0,
            "resolved": True,
            "cond": np.nan,
            "seconds": seconds,
            "epochs": int(outcome.epochs[i]),
            "epochs_run": int(outcome.epochs_run[i]),
            "stopped": bool(outcome.stopped[i]),
            "train_loss": float(outcome.train_loss[i]),
            "memorized": 1 - float(wrong[flipped].mean()) if flipped.any() else np.nan,
            "validation_error": float(wrong[held_out].mean())
            if held_out.any()
            else np.nan,
        }
