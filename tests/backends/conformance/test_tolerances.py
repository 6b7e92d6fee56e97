from __future__ import annotations

import numpy as np
import pytest

from mlmethods.errors import InvalidInputError
from mlmethods.testing import assert_close, relative_tolerance


def test_the_table():
    assert relative_tolerance("float32") == relative_tolerance(np.float32) == 5e-4
    assert relative_tolerance(np.dtype("float64")) == 5e-7
    with pytest.raises(InvalidInputError, match=r"float32, float64, got 'float16'"):
        relative_tolerance("float16")


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        ([1.0004, -2.0], [1.0, -2.0]),
        # An entry that cancels is judged by the scale of the array.
        ([100.0, 0.04], [100.0, 0.0]),
        ([np.nan, 1.0], [np.nan, 1.0]),
        ([np.inf, 1.0], [np.inf, 1.0]),
        (np.zeros((0, 3)), np.zeros((0, 3))),
        (3, 3.0),
    ],
)
def test_what_agrees(actual, expected):
    assert_close(actual, expected, dtype="float32")


@pytest.mark.parametrize(
    ("actual", "expected", "message"),
    [
        ([1.0, 2.01], [1.0, 2.0], r"is 2.01 at \(1,\), expected 2 \(1 of 2 entries"),
        ([[1.0]], [1.0], r"has shape \(1, 1\), expected \(1,\)"),
        ([np.nan], [1.0], "is nan"),
        ([1.0], [np.nan], r"is 1 at \(0,\), expected nan"),
        ([np.inf], [-np.inf], "is inf"),
        (0.1, 0.0, "is 0.1, expected 0"),
    ],
)
def test_what_does_not(actual, expected, message):
    with pytest.raises(AssertionError, match=f"^alpha {message}"):
        assert_close(actual, expected, dtype="float32", label="alpha")


def test_rtol_overrides_the_table():
    assert_close(1.05, 1.0, dtype="float64", rtol=0.1)
    with pytest.raises(AssertionError, match=r"more than 0\.001 relative"):
        assert_close(1.05, 1.0, dtype="float32", rtol=1e-3)
