from __future__ import annotations

import numpy as np
import pytest

from mlmethods.common.validation import check_choice, check_integer, check_real
from mlmethods.errors import InvalidInputError


@pytest.mark.parametrize("value", [0, 0.5, 1, np.float32(0.25), np.int64(1)])
def test_real_numbers_within_the_interval_become_floats(value: object) -> None:
    result = check_real("reg", value, minimum=0, maximum=1)
    assert type(result) is float
    assert result == value


@pytest.mark.parametrize(
    ("value", "bounds", "message"),
    [
        (-1, {"minimum": 0}, "reg must be a finite number >= 0, got -1"),
        (0, {"minimum": 0, "open_minimum": True}, "number > 0, got 0"),
        (2, {"minimum": 0, "maximum": 1}, "number >= 0 and <= 1, got 2"),
        (1, {"maximum": 1, "open_maximum": True}, "number < 1, got 1"),
        (float("nan"), {}, "reg must be a finite number, got nan"),
        (float("inf"), {"minimum": 0}, "got inf"),
        (True, {}, "got True"),
        ("1", {}, "got '1'"),
        (None, {}, "got None"),
    ],
)
def test_other_numbers_are_refused(value, bounds, message: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        check_real("reg", value, **bounds)
    assert message in str(caught.value)


@pytest.mark.parametrize("value", [3, np.uint8(3)])
def test_integers_within_the_interval_become_ints(value: object) -> None:
    assert type(check_integer("n_iter", value, minimum=0, maximum=3)) is int


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (-1, "n_iter must be an integer >= 0 and <= 9, got -1"),
        (10, "got 10"),
        (2.0, "got 2.0"),
        (True, "got True"),
    ],
)
def test_other_integers_are_refused(value, message: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        check_integer("n_iter", value, minimum=0, maximum=9)
    assert message in str(caught.value)


def test_a_misspelled_choice_gets_a_suggestion() -> None:
    assert check_choice("center", "none", ("none", "pooled")) == "none"
    with pytest.raises(InvalidInputError) as caught:
        check_choice("center", "poled", ("none", "pooled"))
    assert str(caught.value) == (
        "center must be one of 'none', 'pooled', got 'poled'; did you mean 'pooled'?"
    )
    with pytest.raises(InvalidInputError, match=r"got None$"):
        check_choice("center", None, ("pooled", "per_output"))
