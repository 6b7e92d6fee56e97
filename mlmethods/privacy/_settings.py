"""The public numbers of a private run, checked."""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import dataclass
from typing import Any

from mlmethods.common.validation import check_choice, check_integer, check_real
from mlmethods.errors import (
    AdjacencyError,
    InvalidInputError,
    NumericalWarning,
    PrivacyBudgetExceededError,
)
from mlmethods.privacy.accountant import Accountant
from mlmethods.privacy.contract import Sampling, TrainerConfig

__all__ = ["RunSettings", "run_settings", "warn_of_noise"]

_MICROBATCH = 16
# below this signal-to-noise ratio an average carries almost nothing
_FAINT = 0.05


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What is public about a run, and what its steps cost.

    Attributes
    ----------
    mechanism : PrivacyMechanism
        What releases gradients.
    config : TrainerConfig
        How batches are drawn.
    data_size : int
        Rows of the training set.
    budget : tuple of float or None
        Epsilon and delta that the run may spend.
    """

    mechanism: Any
    config: TrainerConfig
    data_size: int
    budget: tuple[float, float] | None

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in the data."""
        return self.data_size // self.config.batch_size

    @property
    def accounted(self) -> bool:
        """Whether the mechanism has a guarantee that an account can hold."""
        return self.mechanism.config().kind != "projected_normal"

    def stored(self) -> dict[str, Any]:
        """Return what a saved run must agree in, as JSON has it."""
        return {
            "mechanism": json.loads(json.dumps(self.mechanism.to_dict())),
            "sampling": self.config.sampling,
            "data_size": self.data_size,
            "batch_size": self.config.batch_size,
            "microbatch": self.config.microbatch,
        }

    def spend(
        self, accountant: Accountant, taken: int, count: int, p: tuple[int, ...]
    ) -> None:
        """Add `count` steps after `taken` to an account.

        For neighbors as the mechanism has them, and one example as the unit.
        """
        if not self.accounted:
            return
        rate: float | None = self.config.rate
        if self.config.sampling == "shuffle":
            # an example takes part once in every epoch that is begun
            per_epoch = self.steps_per_epoch
            count = -(-(taken + count) // per_epoch) - -(-taken // per_epoch)
            rate = None
        if count:
            accountant.step(self.mechanism, rate, count, p=p)

    def require_budget(
        self, accountant: Accountant, taken: int, count: int, p: tuple[int, ...]
    ) -> None:
        """Refuse `count` steps after `taken` if they would exceed the budget.

        Raises
        ------
        PrivacyBudgetExceededError
            Saying how many steps would fit.
        """
        if self.budget is None:
            return
        target, delta = self.budget

        def spent(steps: int) -> float:
            if not self.accounted:
                return math.inf if taken + steps else 0.0
            trial = accountant.copy()
            self.spend(trial, taken, steps, p)
            return trial.epsilon(delta)

        epsilon = spent(count)
        if epsilon <= target:
            return
        low, high = 0, count
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if spent(middle) <= target else (low, middle)
        raise PrivacyBudgetExceededError(
            f"{count} steps after {taken} would spend epsilon={epsilon:.4g} at "
            f"delta={delta:g}, more than target_epsilon={target:g}; no step was taken, "
            f"and {low} would fit"
        )


def run_settings(
    mechanism: Any,
    *,
    data_size: int,
    batch_size: int,
    sampling: Sampling,
    microbatch: int | None,
    target_epsilon: float | None,
    delta: float | None,
) -> RunSettings:
    """Return checked settings; arguments are those of ``make_private``.

    Raises
    ------
    InvalidInputError, AdjacencyError
        As ``make_private`` says.
    """
    check_choice("sampling", sampling, ("poisson", "shuffle"))
    data_size = check_integer("data_size", data_size, minimum=1)
    batch_size = check_integer("batch_size", batch_size, minimum=1, maximum=data_size)
    return RunSettings(
        mechanism=_check_mechanism(mechanism, sampling),
        config=TrainerConfig(
            sampling=sampling,
            batch_size=batch_size,
            rate=batch_size / data_size,
            microbatch=_microbatch(microbatch, batch_size),
        ),
        data_size=data_size,
        budget=_check_budget(target_epsilon, delta),
    )


def _microbatch(microbatch: int | None, batch_size: int) -> int:
    """Return the rows that are differentiated at once."""
    if microbatch is not None:
        size = check_integer("microbatch", microbatch, minimum=1)
        if batch_size % size:
            raise InvalidInputError(
                f"microbatch must divide batch_size={batch_size}, got {size}"
            )
        return size
    largest = min(_MICROBATCH, batch_size)
    divisors = [size for size in range(largest // 4, largest + 1) if size]
    fitting = [size for size in divisors if batch_size % size == 0]
    # a batch is padded to whole microbatches where nothing suitable divides it
    return max(fitting, default=largest)


def _check_mechanism(mechanism: Any, sampling: Sampling) -> Any:
    if not hasattr(mechanism, "config") or not hasattr(mechanism, "adjacency"):
        raise InvalidInputError(
            "mechanism must be a PrivacyMechanism such as VonMisesFisherMechanism, got "
            f"{mechanism!r}"
        )
    if sampling == "shuffle" and mechanism.adjacency != "replace_one":
        raise AdjacencyError(
            "sampling='shuffle' needs neighbors that replace one example, and "
            f"{type(mechanism).__name__} has adjacency={mechanism.adjacency!r}; use "
            "adjacency='replace_one' or sampling='poisson'"
        )
    return mechanism


def _check_budget(
    target_epsilon: float | None, delta: float | None
) -> tuple[float, float] | None:
    if (target_epsilon is None) != (delta is None):
        raise InvalidInputError(
            "target_epsilon and delta must be given together, got "
            f"target_epsilon={target_epsilon!r} and delta={delta!r}"
        )
    if target_epsilon is None or delta is None:
        return None
    bounds: dict[str, Any] = {"open_minimum": True, "open_maximum": True}
    return (
        check_real("target_epsilon", target_epsilon, minimum=0, open_minimum=True),
        check_real("delta", delta, minimum=0, maximum=1, **bounds),
    )


def warn_of_noise(settings: RunSettings, dimensions: tuple[int, ...]) -> None:
    """Warn if an average of whole-model directions carries almost no signal.

    Warns
    -----
    NumericalWarning
        Naming kappa, the dimension, and a kappa that gives more.
    """
    config = settings.mechanism.config()
    if config.kind != "vmf" or config.granularity != "model" or config.scale == 0:
        return
    from mlmethods.privacy.currencies import kappa_for_gdp
    from mlmethods.privacy.vmf import mean_resultant

    p, kappa, batch = sum(dimensions), float(config.scale), settings.config.batch_size
    ratio = float(mean_resultant(p, kappa)) * math.sqrt(batch)
    if ratio < _FAINT:
        warnings.warn(
            f"with kappa={kappa:g} and p={p} parameters the average of {batch} "
            f"directions carries almost no signal (ratio {ratio:.2g}); "
            f"kappa={float(kappa_for_gdp(1.0, p)):.3g} is that of 1-GDP for a release, "
            "kappa_for_gdp gives others",
            NumericalWarning,
            stacklevel=4,
        )
