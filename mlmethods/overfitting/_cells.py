"""The runs of one size and seed of a study."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlmethods.common.validation import check_integer
from mlmethods.errors import InvalidInputError, MLMethodsWarning
from mlmethods.interfaces import ArrayLike, Backend, NDArray
from mlmethods.overfitting._learners import Learner
from mlmethods.overfitting._samples import LEARNER, NOISE, Source, level_key, stream
from mlmethods.overfitting.noise import check_rate, label_transition, replace_codes

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COLUMNS", "Cells"]

COLUMNS = (
    "n",
    "seed",
    "noise",
    "risk",
    "train_error",
    "interpolates",
    "resolved",
    "cond",
    "seconds",
)
# A mean squared training error below this share of the variance is a perfect fit.
TRAIN_TOLERANCE = 1e-8
_JOINT_DRAWS = 16


class Cells:
    """The runs of one size and seed, at all noise levels."""

    transition: NDArray

    def __init__(
        self,
        learner: Any,
        task: str,
        source: Source,
        targets: NDArray,
        *,
        base: np.random.SeedSequence,
        levels: Sequence[float],
        noise_kind: str,
        matrix: ArrayLike | None,
        n_draws: int | None,
        backend: str | Backend,
    ) -> None:
        self.source, self.task, self.base, self.levels = source, task, base, levels
        self.classes: NDArray | None = None
        self.chance: float | None = None
        self._warned = False
        if task == "classification":
            self.classes, counts = np.unique(targets, return_counts=True)
            K = len(self.classes)
            for level in levels:
                check_rate(level, K)
            self.transition = label_transition(noise_kind, matrix, K)
            # No better than always naming the commonest class.
            self.chance = 1 - float(counts.max()) / len(targets)
        elif targets.dtype.kind not in "biuf":
            raise InvalidInputError(
                f"y must be numbers for regression, got dtype {targets.dtype}"
            )
        self.learner = Learner(learner, task, self.classes, backend)
        self.n_draws = _JOINT_DRAWS if self.learner.is_joint else 1
        if n_draws is not None:
            self.n_draws = check_integer("n_draws", n_draws, minimum=1)

    def compute(self, n: int, seed: int) -> list[pd.DataFrame]:
        """Fit every noise level on the rows of a size and seed; one row each."""
        import pandas as pd

        X, clean = self.source.training(n, seed)
        base, owner, noisy, seeds = self.base, [], [], []
        for index, level in enumerate(self.levels):
            # Without noise all draws are one.
            for draw in range(self.n_draws if level > 0 else 1):
                key = (n, seed, *level_key(level), draw)
                noisy.append(self._noisy(clean, level, stream(base, NOISE, *key)))
                seeds.append(stream(base, LEARNER, *key))
                owner.append(index)
        fits = self.learner.fit(X, noisy, self.source.X_test, seeds)
        rows = []
        for index, level in enumerate(self.levels):
            mine = np.flatnonzero(np.equal(owner, index))
            risks = [self._risk(fits.test[i], level) for i in mine]
            errors, exact = zip(
                *(self._training(fits.train[i], noisy[i]) for i in mine), strict=True
            )
            values = (
                *(n, seed, level, np.mean(risks), np.mean(errors), all(exact)),
                *(fits.resolved, fits.cond, fits.seconds * len(mine)),
            )
            row = dict(zip(COLUMNS, ([value] for value in values), strict=True))
            rows.append(pd.DataFrame(row))
        return rows

    def _noisy(
        self, clean: NDArray, level: float, seed: np.random.SeedSequence
    ) -> NDArray:
        if self.classes is None:
            noise = np.random.default_rng(seed).standard_normal(len(clean))
            return clean + np.sqrt(level) * noise
        codes = np.searchsorted(self.classes, clean)
        noisy = replace_codes(codes, round(level * len(codes)), self.transition, seed)
        present = np.unique(noisy)
        if len(present) < 2:
            raise InvalidInputError(
                f"n_grid must leave two classes in every training set, got one class "
                f"at n={len(clean)}, noise={level:g}"
            )
        lost = np.setdiff1d(codes, noisy)
        if len(lost) and not self._warned:
            self._warned = True
            warnings.warn(
                f"class {self.classes[lost[0]]!r} is missing from a training set of "
                f"n={len(clean)} after a share of {level:g} of the labels was replaced",
                MLMethodsWarning,
                stacklevel=2,
            )
        return self.classes[noisy]

    def _risk(self, predicted: NDArray, level: float) -> float:
        if self.task == "classification":
            return float(np.mean(predicted != self.source.y_test))
        return float(np.mean((predicted - self.source.y_test) ** 2)) + level

    def _training(self, predicted: NDArray, targets: NDArray) -> tuple[float, bool]:
        """Return the training error and whether it counts as none."""
        if self.task == "classification":
            error = float(np.mean(predicted != targets))
            return error, error == 0
        error = float(np.mean((predicted - targets) ** 2))
        return error, error <= TRAIN_TOLERANCE * float(np.var(targets))
