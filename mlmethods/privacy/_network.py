"""What can be read off a trained network; none of it is private."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import ArrayLike, Backend, NDArray, PyTree
from mlmethods.privacy._rows import as_inputs, as_rows
from mlmethods.privacy.contract import Engine, Program

__all__ = ["TrainedNetwork"]


class TrainedNetwork:
    """A program with a state: predictions, losses and gradients.

    Attributes
    ----------
    program : Program
        What is compiled.
    state : pytree
        Its state on the device; None before the start.
    """

    def __init__(self, program: Program, engine: Engine, backend: Backend) -> None:
        self.program = program
        self.state: PyTree = None
        self._engine = engine
        self._backend = backend

    @property
    def backend(self) -> Backend:
        """What computes."""
        return self._backend

    @property
    def dimensions(self) -> tuple[int, ...]:
        """Number of parameters in each group of directions."""
        return self.program.dimensions

    @property
    def params(self) -> PyTree:
        """The parameters, as NumPy arrays; their release is what is accounted for."""
        return self.program.params(self._started())

    def evaluate(
        self, ds: Any, *, columns: tuple[str, str] | None = None
    ) -> dict[str, float]:
        """Return mean loss and accuracy on a dataset; they are not private.

        Parameters
        ----------
        ds : tuple, mapping or datasets.Dataset
            As for `fit`.
        columns : tuple of two str, optional
            As for `fit`.

        Returns
        -------
        dict
            ``"loss"`` and, where targets are classes, ``"accuracy"``.
        """
        inputs, targets = as_rows(ds, columns)
        state = self._started()
        losses = self.program.losses(state, inputs, targets)
        found = {"loss": float(np.mean(losses, dtype=np.float64))}
        outputs = self.program.outputs(state, inputs)
        if targets.ndim == 1 and targets.dtype.kind == "i" and outputs.ndim == 2:
            found["accuracy"] = float(np.mean(outputs.argmax(1) == targets))
        return found

    def losses(self, ds: Any, *, columns: tuple[str, str] | None = None) -> NDArray:
        """Return the loss of each row of a dataset, of shape (n,); not private."""
        return self.program.losses(self._started(), *as_rows(ds, columns))

    def outputs(self, inputs: ArrayLike) -> NDArray:
        """Return what the network computes for each row, in evaluation mode."""
        return self.program.outputs(self._started(), as_inputs(inputs))

    def predict(self, inputs: ArrayLike) -> NDArray:
        """Return the class of each row, of shape (n,)."""
        return self._scores(inputs).argmax(axis=1)

    def predict_proba(self, inputs: ArrayLike) -> NDArray:
        """Return the softmax of the outputs, float64 of shape (n, classes)."""
        scores = self._scores(inputs).astype(np.float64)
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        return weights / weights.sum(axis=1, keepdims=True)

    def _scores(self, inputs: ArrayLike) -> NDArray:
        outputs = self.outputs(inputs)
        if outputs.ndim != 2 or outputs.shape[1] < 2:
            raise InvalidInputError(
                "the network must have one output a class to predict classes, got "
                f"outputs of shape {outputs.shape}; use outputs()"
            )
        return outputs

    def gradients(self, ds: Any, *, columns: tuple[str, str] | None = None) -> PyTree:
        """Return the gradient of each row's loss, leaves [n, ...]; not private.

        For attacks that play the part of one who knows them.
        """
        return self.program.gradients(self._started(), *as_rows(ds, columns))

    def released_gradient(
        self, ds: Any, key: Any, *, columns: tuple[str, str] | None = None
    ) -> PyTree:
        """Return what a step would release of a batch that is exactly `ds`.

        The mechanism's sum over `batch_size`, as someone sees it who follows the
        training. It is for attacks on data that are the attacker's own: nothing is
        added to the account.

        Parameters
        ----------
        ds : tuple, mapping or datasets.Dataset
            The rows of the batch.
        key : int or key
            Of this release; another one draws new noise.
        columns : tuple of two str, optional
            As for `fit`.

        Returns
        -------
        pytree like `params`
        """
        inputs, targets = as_rows(ds, columns)
        words = self._words(key)
        return self.program.release(
            self._started(), inputs, targets, key=self._engine.unpack_key(words)
        )

    def _started(self) -> PyTree:
        if self.state is None:
            raise InvalidInputError(
                "the trainer has no parameters yet: call fit, initialize or restore"
            )
        return self.state

    def _words(self, key: Any) -> NDArray:
        """Return the words of a key, of an integer's key too."""
        if isinstance(key, bool) or key is None:
            raise InvalidInputError(f"key must be an integer or a key, got {key!r}")
        if isinstance(key, int | np.integer):
            key = self._backend.key(int(key))
        elif isinstance(key, np.random.SeedSequence):
            key = self._backend.key(key)
        return self._engine.pack_key(key)
