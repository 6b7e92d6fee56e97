"""The length scale of a fit: one number, or one for each metric."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mlmethods.common.validation import check_choice
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import KernelSpec, NDArray
from mlmethods.kernels import Kernel, median_bandwidth, resolve_kernel

__all__ = ["Bandwidth"]

_SAMPLE = 2000
_BY_DISTANCE = (
    "laplace",
    "gaussian",
    "exp_power",
    "matern",
    "lpq",
    "rational_quadratic",
)


@dataclass(frozen=True)
class Bandwidth:
    """A kernel and how its bandwidth follows the metric.

    Attributes
    ----------
    kernel : KernelSpec
        The kernel; its bandwidth is the length scale, or the factor before a median.
    seed : SeedSequence
        Draws the rows of the median.
    adaptive : bool
        Whether the bandwidth is a multiple of the median distance under each metric.
    """

    kernel: KernelSpec
    seed: np.random.SeedSequence
    adaptive: bool = False

    @classmethod
    def resolve(
        cls,
        kernel: str | Kernel,
        bandwidth: float | str | None,
        mode: str,
        X: NDArray,
        seed: np.random.SeedSequence,
    ) -> Bandwidth:
        """Return what the arguments of an estimator mean on its rows X."""
        check_choice("bandwidth_mode", mode, ("constant", "adaptive"))
        adaptive = mode == "adaptive"
        if adaptive and isinstance(bandwidth, str):
            raise InvalidInputError(
                f"bandwidth must be a number or None with bandwidth_mode='adaptive', "
                f"which multiplies it by the median distance, got {bandwidth!r}"
            )
        made = resolve_kernel(
            kernel, bandwidth, X=X, rng=np.random.default_rng(seed)
        ).to_spec()
        if adaptive and made.name not in _BY_DISTANCE:
            raise InvalidInputError(
                f"bandwidth_mode='adaptive' is refused for kernel {made.name!r}, whose "
                "values do not depend on a distance alone; use 'constant'"
            )
        if adaptive and isinstance(kernel, str) and bandwidth is None:
            made = dataclasses.replace(made, bandwidth=1.0)
        return cls(made, seed, adaptive)

    def on(self, X: NDArray) -> float | Callable[[NDArray], float]:
        """Return the bandwidth on rows X: a number, or a function of the metric."""
        factor = float(self.kernel.bandwidth)
        if not self.adaptive:
            return factor
        p = float(self.kernel.params.get("p", 2.0))
        if len(X) > _SAMPLE:
            rng = np.random.default_rng(self.seed)
            X = X[rng.choice(len(X), _SAMPLE, replace=False)]
        return lambda M: factor * median_bandwidth(X, M, p=p)
