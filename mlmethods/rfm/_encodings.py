"""How classes become numbers that are regressed on, and back."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg import helmert

from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import NDArray

__all__ = ["ENCODINGS", "Encoding", "make_encoding"]

ENCODINGS = ("onehot", "pm1", "prevalence")


class Encoding(NamedTuple):
    """A code for each class, and the affine way from outputs to class scores.

    Attributes
    ----------
    codes : ndarray of shape (n_classes, n_outputs)
        What each class is regressed on.
    offset : ndarray of shape (n_classes,)
        Scores of the output zero.
    matrix : ndarray of shape (n_outputs, n_classes)
        The code of class k has the score 1 for k and 0 for the others.
    """

    codes: NDArray
    offset: NDArray
    matrix: NDArray

    def scores(self, outputs: NDArray) -> NDArray:
        """Return the scores (n, n_classes) of outputs (n, n_outputs)."""
        scores = self.offset + outputs @ self.matrix
        return scores.astype(outputs.dtype)


def make_encoding(name: str, priors: NDArray) -> Encoding:
    """Return an encoding.

    Parameters
    ----------
    name : {"onehot", "pm1", "prevalence"}
        Zeros and a one; -1 and 1 for two classes; or the corners of a regular simplex
        around the origin, shifted so that the output zero stands for the priors.
    priors : ndarray of shape (n_classes,)
        Shares of the classes.

    Raises
    ------
    InvalidInputError
        If "pm1" is asked for with more than two classes.

    Examples
    --------
    >>> import numpy as np
    >>> code = make_encoding("prevalence", np.array([0.25, 0.75]))
    >>> code.scores(np.zeros((1, 1))), code.scores(code.codes[:1]).round(6)
    (array([[0.25, 0.75]]), array([[1., 0.]]))
    """
    count = len(priors)
    if name == "pm1":
        if count != 2:
            raise InvalidInputError(
                f"target_encoding='pm1' needs two classes, got {count}; use "
                "'prevalence' or 'onehot'"
            )
        codes = np.array([[-1.0], [1.0]])
        return Encoding(codes, np.full(2, 0.5), codes.T / 2)
    if name == "prevalence":
        # Rows of the basis are orthonormal and sum to zero: scores sum to one.
        basis = helmert(count)
        return Encoding((np.eye(count) - priors) @ basis.T, priors, basis)
    return Encoding(np.eye(count), np.zeros(count), np.eye(count))
