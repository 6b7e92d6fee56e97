"""What the kernel fronts and a backend's kernel engine agree on: EigenPro.

An engine provides the preconditioner and one pass over the rows. The arithmetic that
all engines share and the loop over the passes are given here as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from mlmethods.interfaces import Array, KernelSpec, NDArray
from mlmethods.kernels.epochs import Passes, run_epochs
from mlmethods.kernels.preconditioner import (
    SpectralFilter,
    batch_and_step,
    largest_rank,
    spectral_filter,
    split_batches,
)

__all__ = [
    "EigenProConfig",
    "EigenProEngine",
    "EigenProProblem",
    "NativeMachine",
    "Passes",
    "Preconditioner",
    "SpectralFilter",
    "batch_and_step",
    "eigenpro_bytes",
    "largest_rank",
    "run_epochs",
    "spectral_filter",
    "split_batches",
]

# Temporary arrays of one block of kernel rows, as the backends choose their blocks.
_BLOCK_BYTES = 2**26


@dataclass(frozen=True, kw_only=True)
class EigenProConfig:
    """Settings of one EigenPro solve, checked.

    Attributes
    ----------
    kernel : KernelSpec
        The kernel; its bandwidth is resolved.
    reg : float
        Ridge >= 0 added to the diagonal, not divided by n.
    top_q : int or None
        Directions of the subsample's kernel matrix that are damped; None lets the
        spectrum decide.
    batch_size : int or None
        Rows in a step; None is half of the critical size.
    dtype : {"float32", "float64"}
        Of the kernel values and the coefficients.
    """

    kernel: KernelSpec
    reg: float = 0.0
    top_q: int | None = None
    batch_size: int | None = None
    dtype: str = "float32"


class Preconditioner(NamedTuple):
    """What a preconditioner was found to be; numbers on the host.

    Attributes
    ----------
    top_q : int
        Directions that are damped.
    batch_size : int
        Rows in a step.
    step : float
        Factor of the residual of one row (eta over the batch size).
    critical_batch : float
        The size beyond which larger batches save no passes.
    largest_diagonal : float
        Of the preconditioned kernel, reg included.
    largest_eigenvalue : float
        Of the preconditioned kernel matrix over n.
    """

    top_q: int
    batch_size: int
    step: float
    critical_batch: float
    largest_diagonal: float
    largest_eigenvalue: float


class NativeMachine(NamedTuple):
    """The fit in native arrays, rows in the problem's own order.

    Padding has weight 0 and coefficient 0, so that these go straight into
    ``kernels.agop(kernel, X, None, alpha, M, weights=weights)``.
    """

    X: Array
    alpha: Array
    weights: Array


class EigenProProblem(Protocol):
    """A ridge system on fixed rows, held on the device."""

    n: int
    start_loss: float
    """Mean squared residual of zero coefficients."""

    def prepare(
        self,
        M: Any | None = None,
        *,
        bandwidth: float | None = None,
        reg: float | None = None,
    ) -> Preconditioner:
        """Build the preconditioner, and set the coefficients to zero.

        Parameters
        ----------
        M : array of shape (d, d) or (d,), or None
            Mahalanobis matrix, NumPy or native; None is the identity.
        bandwidth, reg : float or None
            In place of those of the configuration; nothing is compiled for them.
        """
        ...

    def epoch(self, order: NDArray, *, damping: float = 1.0) -> float:
        """Pass once over the rows in this order, a permutation of 0 ... n - 1.

        Returns the mean squared residual that the steps met, each before it acted.
        `damping` multiplies the step.
        """
        ...

    def reset(self) -> None:
        """Set the coefficients to zero."""
        ...

    @property
    def state(self) -> Array:
        """The coefficients, native, in the problem's own order; never overwritten."""
        ...

    def coefficients(self, state: Array | None = None) -> NDArray:
        """Return coefficients as NumPy (n, c) in the order of the rows given."""
        ...

    def predict(self, X: NDArray, state: Array | None = None) -> NDArray:
        """Return the predictions (m, c) at NumPy rows."""
        ...

    def native(self, state: Array | None = None) -> NativeMachine:
        """Return rows, coefficients and weights on the device, without a transfer."""
        ...


class EigenProEngine(Protocol):
    """The engine ``"kernels"`` of a backend."""

    def eigenpro(
        self,
        config: EigenProConfig,
        X: NDArray,
        Y: NDArray,
        weights: NDArray,
        sub_index: NDArray,
    ) -> EigenProProblem:
        """Put a system on the device.

        Parameters
        ----------
        config : EigenProConfig
            Settings.
        X, Y, weights : ndarrays of shape (n, d), (n, c), (n,)
            Rows, targets and positive weights.
        sub_index : int ndarray of shape (s,)
            Different rows that the preconditioner is made from.
        """
        ...

    def predict(
        self,
        config: EigenProConfig,
        X: NDArray,
        centers: NDArray,
        alpha: NDArray,
        M: NDArray | None = None,
    ) -> NDArray:
        """Return the predictions (m, c) of a fitted machine."""
        ...


def eigenpro_bytes(n: int, d: int, c: int, s: int, dtype: str) -> int:
    """Return the bytes that EigenPro on `n` rows needs at its peak.

    The rows with their products with M, host copies and the coefficients, O(n (d +
    c)); the eigenvectors of the subsample in float64, O(s^2); and one block of kernel
    rows of bounded size. There is no array of n^2.

    Examples
    --------
    >>> from mlmethods.common.memory import format_bytes
    >>> format_bytes(eigenpro_bytes(1_000_000, 20, 1, 2000, "float32"))
    '960 MB'
    """
    itemsize = 4 if dtype == "float32" else 8
    rows = n * (itemsize * (4 * d + 8 * c + 8) + 16 * d)
    spectrum = s * s * (2 * itemsize + 4 * 8)
    # A block has at least eight rows, however long they are.
    block = max(_BLOCK_BYTES, 8 * 3 * n * itemsize)
    return rows + spectrum + block
