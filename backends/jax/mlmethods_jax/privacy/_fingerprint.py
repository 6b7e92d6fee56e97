"""Keys under which functions that were made alike are found again.

``optax.sgd(0.1)`` returns new functions each time. A compiled program belongs to its
functions, so that every trainer of a sweep would compile anew.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Hashable
from typing import Any

__all__ = ["fingerprint"]

_PLAIN = (str, bytes, int, float, complex, bool, type(None), type, types.CodeType)


class _Same:
    """An object that equals itself only; it is kept alive, so that its id is its own."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.value is self.value

    def __hash__(self) -> int:
        return id(self.value)


def fingerprint(value: Any) -> Hashable:
    """Return a key that is equal for functions with equal code and equal constants.

    Parameters
    ----------
    value : object
        Functions are compared by their code and the values they close over, partial
        functions and tuples by their parts, numbers and strings by value and type.
        Anything else, mutable containers among it, equals itself only.

    Examples
    --------
    >>> import optax
    >>> from mlmethods_jax.privacy._fingerprint import fingerprint
    >>> fingerprint(optax.sgd(0.1)) == fingerprint(optax.sgd(0.1))
    True
    >>> fingerprint(optax.sgd(0.1)) == fingerprint(optax.sgd(0.2))
    False
    """
    return _of(value, ())


def _of(value: Any, open_functions: tuple[int, ...]) -> Hashable:
    if isinstance(value, _PLAIN):
        # 1, 1.0 and True are equal; 0.0 and -0.0 too
        return type(value), repr(value) if isinstance(value, float) else value
    if isinstance(value, tuple):
        return type(value), tuple(_of(item, open_functions) for item in value)
    if type(value) is functools.partial:
        words = tuple(sorted(value.keywords.items()))
        return (
            functools.partial,
            _of((value.func, value.args, words), open_functions),
        )
    if type(value) is types.FunctionType and id(value) not in open_functions:
        return _of_function(value, (*open_functions, id(value)))
    return _Same(value)


def _of_function(
    function: types.FunctionType, open_functions: tuple[int, ...]
) -> Hashable:
    try:
        closed = tuple(cell.cell_contents for cell in function.__closure__ or ())
    except ValueError:  # a cell that is not filled yet
        return _Same(function)
    words = tuple(sorted((function.__kwdefaults__ or {}).items()))
    inner = _of((closed, function.__defaults__ or (), words), open_functions)
    # attributes of a function are its user's own: they may decide what it does
    own = _Same(function) if function.__dict__.keys() - {"__wrapped__"} else None
    return function.__code__, _Same(function.__globals__), inner, own
