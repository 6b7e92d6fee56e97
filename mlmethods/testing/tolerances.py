"""How closely a result must agree with a reference, by dtype."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlmethods.errors import InvalidInputError

__all__ = ["assert_close", "relative_tolerance"]

_RELATIVE = {"float32": 5e-4, "float64": 5e-7}


def relative_tolerance(dtype: Any) -> float:
    """Return the relative tolerance of results computed in `dtype`.

    Parameters
    ----------
    dtype : dtype-like
        float32 or float64.

    Raises
    ------
    InvalidInputError
        If the library computes in no such dtype.

    Examples
    --------
    >>> relative_tolerance("float32")
    0.0005
    """
    name = np.dtype(dtype).name
    if name not in _RELATIVE:
        raise InvalidInputError(
            f"dtype must be one of {', '.join(_RELATIVE)}, got {name!r}"
        )
    return _RELATIVE[name]


def assert_close(
    actual: Any,
    expected: Any,
    *,
    dtype: Any,
    rtol: float | None = None,
    label: str = "the result",
) -> None:
    """Raise unless two arrays agree to the tolerance of `dtype`.

    An entry may differ by `rtol` times its own magnitude plus `rtol` times the
    largest magnitude in `expected`, so that entries that cancel to about zero are
    judged by the scale of the array. NaN agrees with NaN only.

    Parameters
    ----------
    actual, expected : array_like
        Arrays of the same shape.
    dtype : dtype-like
        The dtype that `actual` was computed in.
    rtol : float, optional
        In place of :func:`relative_tolerance`; a looser value needs a reason.
    label : str
        What the message calls `actual`.

    Raises
    ------
    AssertionError
        If shapes differ or an entry is too far off.
    """
    actual, expected = np.asarray(actual), np.asarray(expected)
    if actual.shape != expected.shape:
        raise AssertionError(
            f"{label} has shape {actual.shape}, expected {expected.shape}"
        )
    if actual.size == 0:
        return
    if rtol is None:
        rtol = relative_tolerance(dtype)
    actual, expected = actual.astype(np.float64), expected.astype(np.float64)
    finite = np.isfinite(expected)
    scale = np.abs(expected[finite]).max(initial=0.0)
    near = np.isclose(actual, expected, rtol=rtol, atol=rtol * scale, equal_nan=True)
    if near.all():
        return
    where = np.unravel_index(np.argmin(near), near.shape)
    place = f" at {tuple(int(i) for i in where)}" if actual.ndim else ""
    raise AssertionError(
        f"{label} is {actual[where]:.9g}{place}, expected {expected[where]:.9g} "
        f"({np.count_nonzero(~near)} of {near.size} entries differ by more than "
        f"{rtol:g} relative)"
    )
