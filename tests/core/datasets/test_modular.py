"""The tables of modular arithmetic, against arithmetic on their pairs."""

from __future__ import annotations

import operator

import numpy as np
import pytest

from mlmethods.datasets.modular import modular_arithmetic
from mlmethods.errors import InvalidInputError


@pytest.mark.parametrize("p", [2, 6, 7])
@pytest.mark.parametrize(
    ("op", "function"),
    [
        ("add", operator.add),
        ("subtract", operator.sub),
        ("multiply", operator.mul),
    ],
)
def test_each_row_is_one_pair_and_its_result(p: int, op: str, function) -> None:
    X, Y = modular_arithmetic(p, op)
    assert X.dtype == Y.dtype == np.float64
    assert X.shape == (p * p, 2 * p)
    assert Y.shape == (p * p, p)
    assert set(np.unique(X)) == set(np.unique(Y)) == {0.0, 1.0}
    pairs = [(a, b) for a in range(p) for b in range(p)]
    for (a, b), row, result in zip(pairs, X, Y, strict=True):
        assert np.flatnonzero(row).tolist() == [a, p + b]
        assert np.flatnonzero(result).tolist() == [function(a, b) % p]


def test_addition_is_the_default() -> None:
    for given, default in zip(
        modular_arithmetic(5, "add"), modular_arithmetic(5), strict=True
    ):
        np.testing.assert_array_equal(given, default)


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        ({"p": 1}, "p must be an integer >= 2, got 1"),
        ({"p": 5.0}, "p must be an integer"),
        ({"p": 5, "op": "multiplied"}, "did you mean 'multiply'"),
    ],
)
def test_bad_arguments(arguments, fragment) -> None:
    with pytest.raises(InvalidInputError, match=fragment):
        modular_arithmetic(**arguments)
