"""Checks of scalar arguments, with one sentence for each failure."""

from __future__ import annotations

import difflib
import math
import numbers
from collections.abc import Collection
from typing import Any

from mlmethods.errors import InvalidInputError

__all__ = ["check_choice", "check_early_stopping", "check_integer", "check_real"]


def _interval(
    minimum: float | None, maximum: float | None, open_minimum: bool, open_maximum: bool
) -> str:
    parts = []
    if minimum is not None:
        parts.append(f"{'>' if open_minimum else '>='} {minimum:g}")
    if maximum is not None:
        parts.append(f"{'<' if open_maximum else '<='} {maximum:g}")
    return " and ".join(parts)


def check_real(
    name: str,
    value: Any,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    open_minimum: bool = False,
    open_maximum: bool = False,
) -> float:
    """Return `value` as a float within an interval.

    Parameters
    ----------
    name : str
        The public name of the argument, for the message.
    value : object
        What the caller gave; booleans are refused.
    minimum, maximum : float or None
        Bounds; None means unbounded. The value must be finite in any case.
    open_minimum, open_maximum : bool
        Whether the bound itself is excluded.

    Raises
    ------
    InvalidInputError
        If it is not a finite real number within the bounds.
    """
    interval = _interval(minimum, maximum, open_minimum, open_maximum)
    required = f"a finite number {interval}".rstrip()
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise InvalidInputError(f"{name} must be {required}, got {value!r}")
    number = float(value)
    if (
        not math.isfinite(number)
        or (
            minimum is not None
            and (number < minimum or (open_minimum and number == minimum))
        )
        or (
            maximum is not None
            and (number > maximum or (open_maximum and number == maximum))
        )
    ):
        raise InvalidInputError(f"{name} must be {required}, got {value!r}")
    return number


def check_integer(
    name: str, value: Any, *, minimum: int | None = None, maximum: int | None = None
) -> int:
    """Return `value` as an int within an interval.

    Raises
    ------
    InvalidInputError
        If it is not an integer within the bounds.
    """
    interval = _interval(minimum, maximum, False, False)
    if (
        isinstance(value, bool)
        or not isinstance(value, numbers.Integral)
        or (minimum is not None and int(value) < minimum)
        or (maximum is not None and int(value) > maximum)
    ):
        raise InvalidInputError(
            f"{name} must be {f'an integer {interval}'.rstrip()}, got {value!r}"
        )
    return int(value)


def check_choice(name: str, value: Any, choices: Collection[str]) -> str:
    """Return `value` if it is one of `choices`.

    Raises
    ------
    InvalidInputError
        If it is not; the message suggests the closest choice.
    """
    if isinstance(value, str) and value in choices:
        return value
    close = difflib.get_close_matches(str(value), list(choices), n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    options = ", ".join(repr(choice) for choice in choices)
    raise InvalidInputError(f"{name} must be one of {options}, got {value!r}{hint}")


def check_early_stopping(
    early_stopping: bool | str, validation_fraction: float, multiplier: float
) -> None:
    """Refuse arguments of an estimator that holds rows out, out of their ranges.

    Raises
    ------
    InvalidInputError
        If `early_stopping` is no boolean or "auto", `validation_fraction` is not
        between 0 and 1, or `early_stop_multiplier` is below 1.
    """
    if early_stopping not in (True, False, "auto"):
        raise InvalidInputError(
            f"early_stopping must be True, False or 'auto', got {early_stopping!r}"
        )
    check_real(
        "validation_fraction",
        validation_fraction,
        minimum=0,
        maximum=1,
        open_minimum=True,
        open_maximum=True,
    )
    check_real("early_stop_multiplier", multiplier, minimum=1)
