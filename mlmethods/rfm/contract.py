"""What the RFM front and a backend's RFM engine agree on.

The loop over the updates is the front's; an engine provides the step that it
repeats, so that every backend stops, resumes and reports alike.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

from mlmethods.interfaces import Array, Center, KernelSpec, NDArray, PyTree

__all__ = [
    "Engine",
    "PerceptronConfig",
    "Problem",
    "RFMConfig",
    "Rows",
    "Step",
    "TrainedPerceptron",
    "direct_bytes",
]


@dataclass(frozen=True, kw_only=True)
class RFMConfig:
    """Settings of one fit, checked.

    Attributes
    ----------
    kernel : KernelSpec
        The kernel; its bandwidth is resolved.
    reg : float or tuple of float
        Ridge added to the diagonal, not divided by n. Of several, each solve takes
        the one of least leave-one-out error.
    diagonal : bool
        Whether M is a diagonal.
    center : {"none", "per_output", "pooled"}
        How the AGOP is centered.
    agop_power : float
        s in M = normalize(AGOP)^s.
    agop_shrinkage : float
        Share of the AGOP that is replaced by its mean diagonal, before all else.
    normalize : {"max", "trace", "none"}
        What the AGOP is divided by before the power.
    dtype : {"float32", "float64"}
        Of the kernel matrix and of M.
    solve_dtype : {"auto", "float32", "float64"}
        Of the factorization.
    leave_one_out : bool
        Whether the training rows validate themselves, each left out in turn.
    lookup : tuple of int
        The last columns of the rows are codes of so many categories each, and stand
        for one-hot blocks (-1 for zeros); M and gradients have the expanded shape.
    blocks : tuple of int
        Sizes of the diagonal blocks that M has; empty means one.
    passes : int
        Most passes of EigenPro over the rows in each solve; 0 solves directly.
    pass_stop_multiplier : float or None
        Passes end when the validation loss exceeds this times the lowest.
    """

    kernel: KernelSpec
    reg: float | tuple[float, ...] = 1e-3
    diagonal: bool = False
    center: Center = "none"
    agop_power: float = 1.0
    agop_shrinkage: float = 0.0
    normalize: str = "max"
    dtype: str = "float32"
    solve_dtype: str = "auto"
    leave_one_out: bool = False
    lookup: tuple[int, ...] = ()
    blocks: tuple[int, ...] = ()
    passes: int = 0
    pass_stop_multiplier: float | None = None

    @property
    def lookup_kernel(self) -> KernelSpec:
        """The kernel, told which columns are codes."""
        if not self.lookup:
            return self.kernel
        static = (*self.kernel.static, ("lookup", self.lookup))
        return replace(self.kernel, static=static)

    def features(self, columns: int) -> int:
        """Return the features of M for rows of so many columns."""
        return columns - len(self.lookup) + sum(self.lookup)

    @property
    def regs(self) -> tuple[float, ...]:
        """The ridges to choose from."""
        return self.reg if isinstance(self.reg, tuple) else (self.reg,)

    def at(self, bandwidth: float) -> RFMConfig:
        """Return the same with another bandwidth."""
        return replace(self, kernel=replace(self.kernel, bandwidth=bandwidth))

    @property
    def in_closed_form(self) -> bool:
        """Whether leave-one-out errors are needed."""
        return self.leave_one_out or isinstance(self.reg, tuple)


class Rows(NamedTuple):
    """Samples: X (n, d), targets Y (n, c) and weights (n,), NumPy arrays."""

    X: NDArray
    Y: NDArray
    weights: NDArray


class Step(NamedTuple):
    """One solve and, where asked for, the update that follows it.

    Arrays are native; numbers are scalars on the host.
    """

    alpha: Array
    M_next: Array
    predictions: Array
    status: int
    jitter: float
    residual: float
    training_loss: float
    validation_loss: float
    agop_scale: float
    reg: float
    passes: int = 0


class Problem(Protocol):
    """A fit on fixed rows, held on the device."""

    def initial_metric(self) -> Array:
        """Return the identity, in the shape that the steps use."""
        ...

    def as_metric(self, M: NDArray) -> Array:
        """Bring a Mahalanobis matrix to the device."""
        ...

    def step(self, M: Array, *, update: bool, bandwidth: float | None = None) -> Step:
        """Solve with M and, if `update`, compute the next M.

        `training_loss` and `validation_loss` are mean squared errors (NaN without
        validation); `agop_scale` is the largest entry of the AGOP. `bandwidth`
        replaces that of the kernel. With ``leave_one_out``, `predictions` are those
        for each training row from the others.
        """
        ...

    def coefficients(self, alpha: Array) -> NDArray:
        """Return the coefficients of the rows given, as NumPy (n, c)."""
        ...

    def scores(self, predictions: Array) -> NDArray:
        """Return the predictions at the rows that validate, as NumPy."""
        ...


class Engine(Protocol):
    """The RFM engine of a backend.

    Attributes
    ----------
    reads_tables : bool
        Whether the backend's kernel operations know kernels with a lookup.
    """

    reads_tables: bool

    def problem(
        self,
        config: RFMConfig,
        rows: Rows,
        validation: Rows | None = None,
        agop_rows: NDArray | None = None,
        basis: NDArray | None = None,
    ) -> Problem:
        """Put a fit on the device.

        `agop_rows` (int) restrict the AGOP to a sample. With `basis` (d, r), of
        orthonormal columns, the rows and M are coordinates in it, and M is normalized
        as the matrix ``basis M basis.T`` of the d features.
        """
        ...

    def predict(
        self,
        config: RFMConfig,
        X: NDArray,
        centers: NDArray,
        alpha: NDArray,
        M: NDArray,
    ) -> NDArray:
        """Return predictions (n, c)."""
        ...

    def gradients(
        self,
        config: RFMConfig,
        X: NDArray,
        centers: NDArray,
        alpha: NDArray,
        M: NDArray,
    ) -> NDArray:
        """Return the gradients of the predictions, (n, c, d)."""
        ...


@dataclass(frozen=True, kw_only=True)
class PerceptronConfig:
    """A perceptron and its training, for tests of the feature ansatz.

    Attributes
    ----------
    hidden : tuple of int
        Units of each hidden layer.
    init_scale : float
        Multiplies the initial weights, whose variance is else 2 / inputs.
    optimizer : {"sgd", "adam"}
        Who turns gradients into updates.
    learning_rate, weight_decay : float
        Its settings; the decay is added to the gradient.
    batch_size : int
        Rows in a batch.
    keep_epochs : tuple of int
        Epochs after which the weights are kept, ascending; the last ends the training.
    """

    hidden: tuple[int, ...]
    init_scale: float = 1.0
    optimizer: str = "sgd"
    learning_rate: float = 0.1
    weight_decay: float = 0.0
    batch_size: int = 128
    keep_epochs: tuple[int, ...] = (10,)


class TrainedPerceptron(NamedTuple):
    """A network and what it was at the start and after the kept epochs.

    `model` and the pytrees of `params` are the backend's; `epochs` begins with 0, and
    the loss of epoch 0 is NaN.
    """

    model: Any
    epochs: tuple[int, ...]
    params: list[PyTree]
    losses: list[float]


def direct_bytes(
    n: int, d: int, c: int, dtype: str, *, leave_one_out: bool = False
) -> int:
    """Return the bytes that a direct fit on `n` rows needs at its peak.

    The kernel matrix and its factor in `dtype`, and both in float64 for a solve that
    float32 cannot do; for leave-one-out errors a part of the inverse; data, gradients
    and M besides.
    """
    itemsize = 4 if dtype == "float32" else 8
    return n * n * (2 * itemsize + 16 + 8 * leave_one_out) + itemsize * (
        6 * n * (d + c) + 4 * d * d
    )
