"""What the privacy front and a backend's engine agree on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from mlmethods.interfaces import ArrayLike, Callback, Key, NDArray, PyTree

__all__ = [
    "Engine",
    "FitOutcome",
    "Granularity",
    "MechanismConfig",
    "MechanismKind",
    "Program",
    "Reconstruction",
    "Sampling",
    "TrainerConfig",
]

MechanismKind = Literal[
    "vmf",
    "gaussian",
    "purkayastha",
    "euclidean_laplace",
    "coordinate_laplace",
    "projected_normal",
    "none",
]

Granularity = Literal["model", "layer"] | tuple[tuple[str, ...], ...]
"""One direction for all parameters, one for each array, or groups of path prefixes.

A path is the names from the root of the parameters, joined by ``"."``; a prefix is whole
names. Every parameter belongs to exactly one group.
"""

Sampling = Literal["poisson", "shuffle"]
"""How batches are drawn: each example on its own, or a new order every epoch."""


@dataclass(frozen=True, kw_only=True)
class MechanismConfig:
    """What a backend must know to act as a mechanism.

    ``kind``, ``granularity``, ``nan_safe`` and ``count_zero_gradients`` decide what is
    compiled; ``scale`` and ``norm`` are numbers that change nothing there.

    Attributes
    ----------
    kind : str
        ``"gaussian"`` clips each gradient to `norm` and adds noise once, to the sum.
        The others scale each gradient to `norm` and randomize it on its own, but for
        ``"none"``, which releases the plain sum.
    scale : float or tuple of float
        Concentration kappa (vmf, purkayastha), noise multiplier (gaussian; noise has
        deviation ``scale * norm``), epsilon per unit of distance between directions
        (laplace; the noise grows with `norm`), standard deviation on unit vectors (projected normal). A tuple
        has one for each group; the Gaussian takes one number.
    norm : float or tuple of float
        Of the whole gradient, shared equally over groups (``norm / sqrt(groups)`` each);
        a tuple has one for each group.
    granularity : "model", "layer" or tuple of tuples of str
        What is one direction.
    nan_safe : bool
        Whether gradients with values that are not finite are released as gradients of
        norm zero are; without it they pass, and the step is skipped.
    count_zero_gradients : bool
        Whether the state counts zero and non-finite gradients. The count is not private.
    """

    kind: MechanismKind
    scale: float | tuple[float, ...] = 0.0
    norm: float | tuple[float, ...] = 1.0
    granularity: Granularity = "model"
    nan_safe: bool = True
    count_zero_gradients: bool = False


@dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """How batches are drawn and differentiated.

    Attributes
    ----------
    sampling : {"poisson", "shuffle"}
        Poisson batches include each row on its own with rate `rate`.
    batch_size : int
        The expected batch size, a public constant: noisy sums are divided by it.
    rate : float
        ``batch_size / data_size`` for Poisson batches.
    microbatch : int
        Rows that are differentiated at once.
    """

    sampling: Sampling
    batch_size: int
    rate: float
    microbatch: int


class FitOutcome(NamedTuple):
    """What a number of steps came to.

    Attributes
    ----------
    state : pytree
        Parameters, optimizer, step and mechanism, on the device.
    history : dict of str to array, one entry a step
        Metrics of every step; they are not private.
    """

    state: PyTree
    history: dict[str, NDArray]


class Reconstruction(NamedTuple):
    """What a gradient inversion found.

    Attributes
    ----------
    inputs : array of shape (n, ...)
        Reconstructed examples.
    labels : int array of shape (n,)
        Their labels, given or inferred.
    distance : float
        The objective at the best restart.
    """

    inputs: NDArray
    labels: NDArray
    distance: float


class Program(Protocol):
    """A model, its loss, its optimizer and a mechanism, ready to run.

    Programs with equal static parts share compiled code.
    """

    dimensions: tuple[int, ...]
    """Number of parameters in each group; known after `init`."""

    def init(self, key: Key, sample: NDArray) -> PyTree:
        """Return the state before the first step, for inputs like `sample` [n, ...].

        Raises
        ------
        CrossExampleLayerError
            If an output depends on another example of the batch; it names the module.
        """
        ...

    def fit(
        self,
        state: PyTree,
        data: tuple[NDArray, NDArray],
        *,
        key: Key,
        num_steps: int,
        callback: Callback | None = None,
    ) -> FitOutcome:
        """Take further steps on the rows of `data`; `key` is the root key of the run.

        An exception that ends it early, a KeyboardInterrupt too, has the attribute
        ``result``, the outcome of the steps that count as taken.

        Raises
        ------
        DivergenceError
            If the loss is no longer finite; the parameters of its outcome are those
            before.
        """
        ...

    def outputs(self, state: PyTree, inputs: NDArray) -> NDArray:
        """Return the network's outputs for each row, in evaluation mode."""
        ...

    def losses(self, state: PyTree, inputs: NDArray, targets: NDArray) -> NDArray:
        """Return the loss of each row, in evaluation mode."""
        ...

    def gradients(self, state: PyTree, inputs: NDArray, targets: NDArray) -> PyTree:
        """Return the gradient of each row's loss, leaves [n, ...]."""
        ...

    def release(
        self, state: PyTree, inputs: NDArray, targets: NDArray, *, key: Key
    ) -> PyTree:
        """Return what the mechanism releases of a batch that is exactly these rows."""
        ...

    def params(self, state: PyTree) -> PyTree:
        """Return the parameters."""
        ...

    def arrays(self, state: PyTree) -> dict[str, NDArray]:
        """Return everything in the state under names, for a checkpoint."""
        ...

    def restore(self, state: PyTree, arrays: Mapping[str, NDArray]) -> PyTree:
        """Return a state like `state` with these arrays.

        Raises
        ------
        CheckpointError
            If a name, shape or dtype differs.
        """
        ...


class Engine(Protocol):
    """The privacy engine of a backend.

    The NumPy backend has `release` alone.
    """

    def release(
        self, key: Key, unit_vectors: ArrayLike, config: MechanismConfig
    ) -> NDArray:
        """Release each row of `unit_vectors` [n, p] on its own, scaled to norm 1.

        The Gaussian adds noise of deviation ``scale`` to every row.
        """
        ...

    def program(
        self,
        model: Any,
        optimizer: Any,
        mechanism: MechanismConfig,
        config: TrainerConfig,
        loss: Callable[..., Any] | None = None,
    ) -> Program:
        """Return a program; `loss` is ``(outputs, targets) -> one loss an example``.

        None is the softmax cross entropy with integer targets.
        """
        ...

    def pack_key(self, key: Key) -> NDArray:
        """Return the uint32 words of a key, for comparison and storage."""
        ...

    def unpack_key(self, words: NDArray) -> Key:
        """Return the key of these words."""
        ...

    def network(
        self, kind: str, shape: tuple[int, ...], num_classes: int, **options: Any
    ) -> Any:
        """Return a network by name, ``"mlp"`` or ``"lenet"``, as `program` takes it."""
        ...

    def optimizer(self, name: str, learning_rate: float) -> Any:
        """Return an optimizer by name; equal arguments give the same object."""
        ...

    def invert(
        self,
        key: Key,
        program: Program,
        state: PyTree,
        gradient: PyTree,
        *,
        shape: tuple[int, ...],
        method: Literal["dlg", "idlg", "cosine"],
        **options: Any,
    ) -> Reconstruction:
        """Search inputs whose gradient is near `gradient` (a pytree like params)."""
        ...

    def audit(
        self, method: str, in_scores: Any, out_scores: Any, **options: Any
    ) -> Any:
        """Return an auditing library's lower bound on epsilon from canaries' scores."""
        ...
