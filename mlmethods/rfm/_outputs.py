"""From the outputs of a kernel machine to labels, probabilities and scores."""

from __future__ import annotations

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from mlmethods.interfaces import NDArray

__all__ = ["ClassifierOutputs", "RegressorOutputs", "decision", "probabilities"]

_PROBABILITY_FLOOR = 1e-3


class RegressorOutputs(RegressorMixin, BaseEstimator):
    """Stands in for the regressor where a scorer asks for predictions."""

    outputs: NDArray

    def __init__(self, single_output: bool) -> None:
        self.single_output = single_output

    def predict(self, X: NDArray) -> NDArray:
        return self.outputs[:, 0] if self.single_output else self.outputs

    def __sklearn_is_fitted__(self) -> bool:
        return True


class ClassifierOutputs(ClassifierMixin, BaseEstimator):
    """Stands in for the classifier where a scorer asks for predictions."""

    outputs: NDArray

    def __init__(self, classes: NDArray) -> None:
        self.classes = classes
        self.classes_ = classes

    def predict(self, X: NDArray) -> NDArray:
        return self.classes_[np.argmax(self.outputs, axis=1)]

    def decision_function(self, X: NDArray) -> NDArray:
        return decision(self.outputs)

    def predict_proba(self, X: NDArray) -> NDArray:
        return probabilities(self.outputs)

    def __sklearn_is_fitted__(self) -> bool:
        return True


def decision(outputs: NDArray) -> NDArray:
    return outputs[:, 1] - outputs[:, 0] if outputs.shape[1] == 2 else outputs


def probabilities(outputs: NDArray) -> NDArray:
    clipped = np.clip(outputs, _PROBABILITY_FLOOR, 1 - _PROBABILITY_FLOOR)
    return clipped / clipped.sum(axis=1, keepdims=True)
