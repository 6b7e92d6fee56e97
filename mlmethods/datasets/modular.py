"""Arithmetic modulo a number, as a table of one-hot pairs."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mlmethods.common.validation import check_choice, check_integer

__all__ = ["ModularTable", "modular_arithmetic"]

_OPERATIONS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
}


class ModularTable(NamedTuple):
    """Every pair of residues, and the residue that an operation makes of it.

    Attributes
    ----------
    X : ndarray of shape (p * p, 2 * p), float64
        The pairs (a, b) in order of a, then of b: one-hot a beside one-hot b.
    Y : ndarray of shape (p * p, p), float64
        The results, one-hot.
    """

    X: np.ndarray
    Y: np.ndarray


def modular_arithmetic(p: int, op: str = "add") -> ModularTable:
    """Return the whole table of an operation on residues modulo `p`.

    Parameters
    ----------
    p : int
        The modulus, at least 2; it need not be prime.
    op : {"add", "subtract", "multiply"}
        ``a + b``, ``a - b`` or ``a b``.

    Returns
    -------
    ModularTable

    Raises
    ------
    InvalidInputError
        If `p` is no integer of at least 2, or the operation is unknown.

    References
    ----------
    N. Mallinar, D. Beaglehole, L. Zhu, A. Radhakrishnan, P. Pandit, M. Belkin,
    "Emergence in non-neural models: grokking modular arithmetic via average gradient
    outer product", ICML 2025.

    Examples
    --------
    >>> from mlmethods.datasets.modular import modular_arithmetic
    >>> X, Y = modular_arithmetic(5, "multiply")
    >>> X.shape, Y.shape
    ((25, 10), (25, 5))
    >>> row = 3 * 5 + 4  # the pair (3, 4)
    >>> int(Y[row].argmax())
    2
    """
    p = check_integer("p", p, minimum=2)
    check_choice("op", op, tuple(_OPERATIONS))
    first, second = np.divmod(np.arange(p * p), p)
    one_hot = np.eye(p)
    X = np.hstack([one_hot[first], one_hot[second]])
    return ModularTable(X, one_hot[_OPERATIONS[op](first, second) % p])
