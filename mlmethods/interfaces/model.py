"""What a trainable model and a fitted predictor look like to the library."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from mlmethods.interfaces.arrays import Array, ArrayLike, Key, NDArray, PyTree

__all__ = ["Model", "Predictor"]


class Model(Protocol):
    """A network as a pair of pure functions over a pytree of parameters."""

    def init(self, key: Key, sample: Array, /) -> PyTree:
        """Return new parameters for inputs shaped like `sample`."""
        ...

    def apply(
        self,
        params: PyTree,
        x: Array,
        /,
        *,
        key: Key | None = None,
        train: bool = False,
    ) -> Array:
        """Return the outputs of the network for the batch `x`."""
        ...


@runtime_checkable
class Predictor(Protocol):
    """A fitted estimator."""

    def predict(self, X: ArrayLike, /) -> NDArray:
        """Return predictions for the rows of `X`."""
        ...
