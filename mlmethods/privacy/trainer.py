"""Private training of a network, with its account."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np

from mlmethods.backend import get_backend
from mlmethods.common.validation import check_integer, check_real
from mlmethods.errors import CheckpointError, InvalidInputError
from mlmethods.interfaces import (
    ArrayLike,
    Backend,
    Callback,
    Event,
    Key,
    NDArray,
    PyTree,
)
from mlmethods.privacy._network import TrainedNetwork
from mlmethods.privacy._rows import as_inputs, as_rows
from mlmethods.privacy._settings import RunSettings, run_settings, warn_of_noise
from mlmethods.privacy._trainer_store import PathLike, Stored, read_run, write_run
from mlmethods.privacy.accountant import Accountant
from mlmethods.privacy.contract import Engine, Program, Sampling

__all__ = ["DPTrainer", "make_private"]


def make_private(
    model: Any,
    optimizer: Any,
    mechanism: Any,
    *,
    loss: Callable[..., Any] | None = None,
    data_size: int,
    batch_size: int,
    sampling: Sampling = "poisson",
    microbatch: int | None = None,
    target_epsilon: float | None = None,
    delta: float | None = None,
    callbacks: Sequence[Callback] = (),
    backend: str | Backend | None = "auto",
) -> DPTrainer:
    """Return a trainer in which every gradient of an example passes a mechanism.

    Parameters
    ----------
    model : object
        A flax.nnx module, or what builds one from ``rngs``; a flax.linen module; or an
        object with ``init(key, sample)`` and ``apply(params, x, key=, train=)``. An
        output may depend on its own example only.
    optimizer : optax.GradientTransformation
        Any.
    mechanism : PrivacyMechanism
        Such as :class:`VonMisesFisherMechanism` or :class:`GaussianMechanism`.
    loss : callable, optional
        ``loss(outputs, targets)`` returns one loss an example; the softmax cross
        entropy with integer targets by default.
    data_size, batch_size : int
        Public numbers: rows of the training set, and the expected size of a batch.
        Noisy sums are divided by `batch_size`, whatever a batch has.
    sampling : {"poisson", "shuffle"}
        ``"poisson"`` includes each row with probability ``batch_size / data_size`` in
        each batch, independently. ``"shuffle"`` goes through the rows in a new order
        every epoch: nothing is amplified, an example takes part once an epoch, and
        neighbors replace one example.
    microbatch : int, optional
        Rows that are differentiated at once, a divisor of `batch_size`: memory grows
        with it times the number of parameters. 16 at most by default.
    target_epsilon, delta : float, optional
        The budget; give both. What would exceed it is refused before the first step.
    callbacks : sequence of callable
        They receive events of the training; the metrics in them are not private.
    backend : str or Backend, default="auto"
        What computes.

    Returns
    -------
    DPTrainer

    Raises
    ------
    InvalidInputError
        If a number is out of its range, `microbatch` does not divide `batch_size`, or
        only one of `target_epsilon` and `delta` is given.
    AdjacencyError
        If batches are shuffled and the neighbors of the mechanism are not those that
        replace one example.
    OperationNotSupportedError
        If the backend does not train.

    Notes
    -----
    The guarantee is that of the mechanism: its neighbors (replaced, or added and
    removed examples) and its unit, as ``statement`` says them, for the parameters after
    every step. Hyperparameters that are chosen by looking at private results are not
    covered, and neither are histories, events, and losses.

    Examples
    --------
    >>> import functools, optax
    >>> from flax import nnx
    >>> from sklearn.datasets import load_digits
    >>> from mlmethods.privacy import GaussianMechanism, make_private
    >>> X, y = load_digits(return_X_y=True)
    >>> trainer = make_private(
    ...     functools.partial(nnx.Linear, 64, 10), optax.sgd(2.0),
    ...     GaussianMechanism(1.0), data_size=len(X), batch_size=128)
    >>> _ = trainer.fit((X / 16, y), epochs=4, key=0)
    >>> trainer.evaluate((X / 16, y))["accuracy"] > 0.8
    True
    >>> round(trainer.accountant.epsilon(1e-5), 1)
    3.9
    """
    settings = run_settings(
        mechanism,
        data_size=data_size,
        batch_size=batch_size,
        sampling=sampling,
        microbatch=microbatch,
        target_epsilon=target_epsilon,
        delta=delta,
    )
    chosen = get_backend(backend, "engine:privacy")
    engine: Engine = chosen.engine("privacy")
    return DPTrainer(
        engine.program(model, optimizer, mechanism.config(), settings.config, loss),
        settings,
        engine=engine,
        backend=chosen,
        callbacks=callbacks,
        class_targets=loss is None,
    )


class DPTrainer(TrainedNetwork):
    """A network that is trained privately; made by :func:`make_private`.

    Parameters
    ----------
    program : Program
        The network, its optimizer and the acting mechanism.
    settings : RunSettings
        What is public about the run.
    engine, backend : Engine, Backend
        What computes.
    callbacks : sequence of callable
        Receive events.
    class_targets : bool
        Whether targets must be classes, one for each output.

    Attributes
    ----------
    accountant : Accountant
        What has been spent; it counts every step that was taken.
    history_ : dict of str to ndarray, one entry a step
        ``loss``, ``grad_norm``, ``skipped`` and, with Poisson batches, ``examples``.
        They are not private.
    steps_ : int
        Steps taken.
    dimensions : tuple of int
        Number of parameters in each group of directions; empty before the start.
    program, state
        The compiled program, and its state on the device, None before the start.

    Notes
    -----
    Every draw is a function of the root key and the step: a run that is saved and
    restored continues bit for bit as if it had not been interrupted, on the same
    machine. The trainer keeps its key, because a key that serves two runs voids the
    guarantee of both.
    """

    def __init__(
        self,
        program: Program,
        settings: RunSettings,
        *,
        engine: Engine,
        backend: Backend,
        callbacks: Sequence[Callback] = (),
        class_targets: bool = True,
    ) -> None:
        super().__init__(program, engine, backend)
        self._settings = settings
        self._callbacks = tuple(callbacks)
        self._class_targets = class_targets
        self.accountant = Accountant(settings.mechanism.adjacency)
        self.history_: dict[str, NDArray] = {}
        self.steps_ = 0
        self._key: Key = None
        self._key_words: NDArray | None = None
        self._sample: dict[str, Any] = {}

    @property
    def mechanism(self) -> Any:
        """The mechanism."""
        return self._settings.mechanism

    def initialize(self, inputs: ArrayLike, key: Any) -> Self:
        """Draw the parameters, without a step.

        Parameters
        ----------
        inputs : array-like of shape (n, ...)
            Inputs, of which shape and dtype count.
        key : int or key
            Root of everything random in the run.

        Returns
        -------
        DPTrainer
            Itself.

        Raises
        ------
        CrossExampleLayerError
            If an output depends on another example of the batch.
        InvalidInputError
            If the run has another key.

        Warns
        -----
        NumericalWarning
            If so little of a direction is left that nothing can be learned.
        """
        rows = as_inputs(inputs)
        self._set_key(key)
        if self.state is None:
            sample = np.zeros((1, *rows.shape[1:]), rows.dtype)
            state = self.program.init(self._key, sample)
            self._sample = {"shape": list(rows.shape[1:]), "dtype": rows.dtype.name}
            self.state = state
            warn_of_noise(self._settings, self.dimensions)
        return self

    def fit(
        self,
        ds: Any,
        epochs: int | None = None,
        key: Any = None,
        *,
        steps: int | None = None,
        columns: tuple[str, str] | None = None,
    ) -> Self:
        """Train further, in addition to what has been trained.

        Parameters
        ----------
        ds : tuple, mapping or datasets.Dataset
            Inputs and targets: ``(X, y)``, ``{"x": X, "y": y}``, or two columns. Inputs
            reach the network as they are, float64 as float32.
        epochs : int, optional
            Each is ``data_size // batch_size`` steps.
        key : int or key, optional
            Root of everything random; needed by the first call, and fixed by it.
        steps : int, optional
            In place of `epochs`.
        columns : tuple of two str, optional
            Names of inputs and targets where they are not ``x, y`` or ``image, label``.

        Returns
        -------
        DPTrainer
            Itself.

        Raises
        ------
        PrivacyBudgetExceededError
            If the last step would exceed the budget; none is taken.
        InvalidInputError
            If an argument is out of its range, the key differs from that of the run, or
            shuffled rows are not as many as `data_size`.
        DivergenceError
            If the loss is no longer finite. The parameters before it are kept; the
            steps count as taken.
        KeyboardInterrupt
            State and account then hold the steps that were done.
        """
        inputs, targets = as_rows(ds, columns)
        count = self._step_count(epochs, steps)
        if (
            self._settings.config.sampling == "shuffle"
            and len(inputs) != self._settings.data_size
        ):
            raise InvalidInputError(
                f"ds must have data_size={self._settings.data_size} rows where they are shuffled, "
                f"got {len(inputs)}"
            )
        self.initialize(inputs, self._key if key is None else key)
        self._check_targets(targets)
        self._settings.require_budget(
            self.accountant, self.steps_, count, self.dimensions
        )
        try:
            outcome = self.program.fit(
                self.state,
                (inputs, targets),
                key=self._key,
                num_steps=count,
                callback=self._emit if self._callbacks else None,
            )
        except BaseException as error:
            done = getattr(error, "result", None)
            if done is not None:
                self._record(done.state, done.history)
            raise
        self._record(outcome.state, outcome.history)
        return self

    def statement(self, delta: float = 1e-5) -> dict[str, Any]:
        """Return what the run guarantees, as JSON-able values.

        Parameters
        ----------
        delta : float
            In (0, 1).

        Returns
        -------
        dict
            ``mechanism``, ``adjacency``, ``unit``, ``sampling``, ``rate`` (None where
            shuffled), ``data_size``, ``batch_size``, ``steps``, ``dimensions``, and
            what :meth:`Accountant.report` says: ``epsilon`` at ``delta`` with its
            ``method``, pure and metric epsilon with ``notes`` where there is none, and
            ``assumptions``.
        """
        if not self._settings.accounted:
            check_real("delta", delta, minimum=0, maximum=1, open_minimum=True)
            spent: dict[str, Any] = {
                "epsilon": math.inf,
                "delta": delta,
                "adjacency": self.mechanism.adjacency,
                "unit": self.mechanism.unit,
                "notes": {"epsilon": "this mechanism has no guarantee"},
                "assumptions": [],
            }
        else:
            spent = self.accountant.report(delta)
        poisson = self._settings.config.sampling == "poisson"
        return {
            **spent,
            "mechanism": self.mechanism.to_dict(),
            "sampling": self._settings.config.sampling,
            "rate": self._settings.config.rate if poisson else None,
            "data_size": self._settings.data_size,
            "batch_size": self._settings.config.batch_size,
            "steps": self.steps_,
            "dimensions": list(self.dimensions),
        }

    def save(self, path: PathLike) -> None:
        """Write the run into a folder, atomically: state, account, key, settings.

        Raises
        ------
        CheckpointError
            If something that is not a store is in the way.
        InvalidInputError
            If nothing has been initialized.
        """
        state = self.program.arrays(self._started())
        stored = Stored(
            state=state,
            history=self.history_,
            key=self._key_words,  # type: ignore[arg-type]
            settings=self._settings.stored(),
            sample=self._sample,
            steps=self.steps_,
            accountant=self.accountant.state_dict(),
        )
        write_run(path, stored)

    def restore(self, path: PathLike) -> Self:
        """Continue a saved run; the trainer is new and built as the saved one was.

        Returns
        -------
        DPTrainer
            Itself.

        Raises
        ------
        AccountantMismatchError
            If the run had another mechanism.
        CheckpointError
            If the folder is damaged, or settings or the network differ.
        InvalidInputError
            If this trainer has begun: what it released would not be accounted for.
        """
        if self.state is not None:
            raise InvalidInputError(
                "restore needs a new trainer: this one has begun a run of its own"
            )
        stored = read_run(path, self._settings.stored())
        accountant = Accountant(self.mechanism.adjacency)
        accountant.load_state_dict(stored.accountant)
        try:
            shape = (1, *stored.sample["shape"])
            sample = np.zeros(shape, stored.sample["dtype"])
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path} is damaged: sample is malformed") from error
        key = self._engine.unpack_key(stored.key)
        state = self.program.restore(self.program.init(key, sample), stored.state)
        self.state, self.accountant = state, accountant
        self._key, self._key_words = key, stored.key
        self._sample, self.steps_ = dict(stored.sample), stored.steps
        self.history_ = dict(stored.history)
        return self

    def __repr__(self) -> str:
        p = "unknown" if self.state is None else f"{sum(self.dimensions)}"
        return (
            f"DPTrainer({self.mechanism!r}, p={p}, groups={len(self.dimensions)}, "
            f"sampling={self._settings.config.sampling!r}, batch_size="
            f"{self._settings.config.batch_size}, data_size={self._settings.data_size}, "
            f"steps={self.steps_})"
        )

    def _set_key(self, key: Any) -> None:
        if key is None:
            raise InvalidInputError("key must be given to the first fit, got None")
        words = self._words(key)
        if self._key_words is None:
            self._key, self._key_words = self._engine.unpack_key(words), words
        elif not np.array_equal(words, self._key_words):
            raise InvalidInputError(
                "key must be that of the first fit: the run continues with its own "
                "stream of noise; leave it out"
            )

    def _step_count(self, epochs: int | None, steps: int | None) -> int:
        if (epochs is None) == (steps is None):
            raise InvalidInputError(
                f"one of epochs and steps must be given, got epochs={epochs!r} and "
                f"steps={steps!r}"
            )
        if steps is not None:
            return check_integer("steps", steps, minimum=1)
        per_epoch = self._settings.steps_per_epoch
        return check_integer("epochs", epochs, minimum=1) * per_epoch

    def _check_targets(self, targets: NDArray) -> None:
        if not self._class_targets:
            return
        if targets.dtype.kind != "i" or targets.ndim != 1:
            raise InvalidInputError(
                "targets must be integers of shape (n,) for the softmax cross entropy, "
                f"got {targets.dtype} {targets.shape}; give loss= for others"
            )
        sample = np.zeros((1, *self._sample["shape"]), self._sample["dtype"])
        classes = self.program.outputs(self._started(), sample).shape[-1]
        if targets.min() < 0 or targets.max() >= classes:
            raise InvalidInputError(
                f"targets must be from 0 to {classes - 1}, one for each output, got "
                f"{targets.min()} to {targets.max()}"
            )

    def _record(self, state: PyTree, history: dict[str, NDArray]) -> None:
        """Take over what was done, and account for it."""
        count = len(history.get("loss", ()))
        # the account first: it may be ahead of the state, but never behind
        self._settings.spend(self.accountant, self.steps_, count, self.dimensions)
        self.state = state
        self.steps_ += count
        if count:
            before = self.history_
            self.history_ = {
                name: np.concatenate([before.get(name, values[:0]), values])
                for name, values in history.items()
            }

    def _emit(self, event: Event, /) -> None:
        for callback in self._callbacks:
            callback(event)
