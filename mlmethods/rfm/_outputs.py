"""From the outputs of a kernel machine to labels, probabilities and scores."""

from __future__ import annotations

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from mlmethods.interfaces import NDArray
from mlmethods.rfm._encodings import Encoding

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

    def __init__(self, classes: NDArray, encoding: Encoding) -> None:
        self.classes = classes
        self.classes_ = classes
        self.encoding = encoding

    def predict(self, X: NDArray) -> NDArray:
        scores = self.encoding.scores(self.outputs)
        return self.classes_[np.argmax(scores, axis=1)]

    def decision_function(self, X: NDArray) -> NDArray:
        return decision(self.encoding.scores(self.outputs))

    def predict_proba(self, X: NDArray) -> NDArray:
        return probabilities(self.encoding.scores(self.outputs))

    def __sklearn_is_fitted__(self) -> bool:
        return True


def decision(scores: NDArray) -> NDArray:
    """Return the scores, or for two classes their difference."""
    return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores


def probabilities(scores: NDArray) -> NDArray:
    """Return scores (n, n_classes) as probabilities.

    Those of two classes depend on the difference alone, and order like the decision.
    """
    if scores.shape[1] == 2:
        scores = scores + (1 - scores.sum(axis=1, keepdims=True)) / 2
    clipped = np.clip(scores, _PROBABILITY_FLOOR, 1 - _PROBABILITY_FLOOR)
    return clipped / clipped.sum(axis=1, keepdims=True)
